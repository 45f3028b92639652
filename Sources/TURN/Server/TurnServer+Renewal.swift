import STUN
import Values

/// What changes while a relay is at work: its file, and the host's addresses.
///
/// Allocations live on, also at an address that new ones do not get any more: whether the host still has it is the
/// socket's business. What the policy does not allow any more ends at once, permissions, channels and connections: an
/// operator who denies a network means now, and an address that has become the host's own was never meant.
extension TurnServer {
  /// New settings. Ports, realm and the places of behaviour discovery stay as they were: another relay has others.
  ///
  /// - Parameter users: `nil` when they are as they were.
  public mutating func renew(
    _ settings: TurnSettings, users: TurnUsers? = nil, at now: Instant, judge: @escaping Judge
  ) {
    self.judge = judge
    var next = settings
    next.ports = self.settings.ports
    next.realm = self.settings.realm
    next.alternates = self.settings.alternates
    self.settings = next
    openPools()
    if let users {
      self.users = users
      nonces = nonces.hidingNames(users.canHideNames)
    }
    totalBuckets = TokenBucket.pair(settings.totalBandwidth, at: now)
    userStates.setRate(settings.userBandwidth, at: now)
    for id in allocations.compactMap({ $0?.id }) { revoke(id, at: now) }
  }

  /// The ports of addresses that are new. Those of others are kept while there are allocations at them.
  mutating func openPools() {
    let wanted = Set(settings.addresses.map(\.local))
    pools = pools.filter { $0.value.used > 0 || wanted.contains($0.key) }
    for address in settings.addresses where pools[address.local] == nil {
      pools[address.local] = PortPool(settings.ports)
    }
  }

  /// The peers of all allocations, as `renew` asks the policy for them; a port of 0 is a permission's.
  public var judgedPeers: Set<Endpoint> {
    var peers = Set(connections.values.map(\.peer))
    for allocation in allocations {
      guard let allocation else { continue }
      peers.formUnion(allocation.permissions.map { Endpoint($0.address, port: 0) })
      peers.formUnion(allocation.channels.map(\.peer))
    }
    return peers
  }

  private mutating func revoke(_ id: AllocationID, at now: Instant) {
    guard var allocation = self[id] else { return }
    allocation.judged = nil
    for index in allocation.channels.indices where !allocation.channels[index].hasEnded {
      let channel = allocation.channels[index]
      guard objection(to: channel.peer, allocation) != nil else { continue }
      allocation.channels[index].expiry = now
      allocation.channels[index].permittedUntil = now
      allocation.channels[index].hasEnded = true
      queue(.channelEnded(id, relay: Int(channel.relay), number: channel.number, peer: channel.wire))
    }
    // A channel's permission came with it, and was not judged alone.
    let bound = Set(allocation.channels.filter { !$0.hasEnded }.map(\.peer.address))
    allocation.permissions = allocation.permissions.filter {
      bound.contains($0.address) || objection(to: Endpoint($0.address, port: 0), allocation) == nil
    }
    allocations[Int(id.slot)] = allocation
    for connection in connectionsInOrder(where: { $0.allocation == id && objection(to: $0.peer, allocation) != nil }) {
      connected(connection, false, at: now)
      disconnected(connection)
      queue(.drop(connection))
    }
  }
}
