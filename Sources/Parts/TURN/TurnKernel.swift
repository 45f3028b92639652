import LinuxIO
import LinuxNet
import TURN
import Values

/// Hands a relay's channels to the kernel (`ChannelForwarder`), and keeps what it does with them true.
///
/// A channel is entered when it is bound, or when its peer may send again; it is taken out when it ends, when the
/// peer's permission does, and when the client's address changes. Whether a peer may still send is looked at every
/// second. What the kernel has counted is fetched now and then and counted as ours.
///
/// Bandwidth limits are the machine's, packet by packet: a relay that has any keeps its channels to itself.
public final class TurnKernel: TurnForwarder {
  private struct Name: Hashable {
    let id: AllocationID
    let number: UInt16
  }

  private struct Place {
    var entry: ChannelForwarder.Entry
    var isEntered = false
    /// What of its counters is counted already.
    var counted = TurnTraffic()
  }

  /// How and where, in words: `driver mode on eth0, eth1`.
  public let summary: String
  private let forwarder: ChannelForwarder
  private unowned let relay: TurnRelay
  private let log: Log
  private var places: [Name: Place] = [:]
  private var timer: LoopTimer?
  private var turn = 0
  private var hasComplained = false
  /// Packets that the kernel forwarded, as far as they are counted.
  private var forwarded: UInt64 = 0

  private static let interval = TimeSpan.seconds(1)
  /// Intervals between two looks at the counters.
  private static let turnsPerCount = 10

  /// - Throws: what the kernel refused.
  public init(
    relay: TurnRelay, interfaces: [(index: UInt32, name: String)], mode: ChannelForwarder.Mode, serverPorts: [UInt16],
    log: Log
  ) throws(BPFError) {
    self.relay = relay
    self.log = log
    forwarder = try ChannelForwarder(
      interfaces: interfaces.map(\.index), mode: mode, serverPorts: serverPorts, relayedPorts: relay.settings.ports)
    summary = "\(forwarder.mode) mode on \(interfaces.map(\.name).joined(separator: ", "))"
    for remark in forwarder.remarks { log.warn("not forwarded in the kernel", ["because": remark]) }
    timer = relay.loop.makeTimer { [weak self] in self?.look() }
    timer?.arm(after: Self.interval)
  }

  // MARK: TurnForwarder

  public var status: String { "\(summary), \(places.values.count { $0.isEntered }) channels, \(forwarded) packets" }

  public func begin(_ channel: ForwardedChannel) {
    let entry = ChannelForwarder.Entry(
      client: canonical(channel.flow.remote), server: canonical(channel.flow.local), channel: channel.number,
      relayed: canonical(channel.relayed), peer: canonical(channel.peer))
    let name = Name(id: channel.id, number: channel.number)
    if places[name]?.entry == entry { return }
    end(channel.id, number: channel.number, peer: channel.peer)
    places[name] = Place(entry: entry)
    enter(name)
  }

  public func end(_ id: AllocationID, number: UInt16, peer: Endpoint) {
    let name = Name(id: id, number: number)
    withdraw(name)
    places[name] = nil
  }

  public func moved(_ id: AllocationID, to flow: TurnFlow) {
    for (name, place) in places where name.id == id {
      withdraw(name)
      let old = place.entry
      places[name]?.entry = ChannelForwarder.Entry(
        client: canonical(flow.remote), server: canonical(flow.local), channel: old.channel, relayed: old.relayed,
        peer: old.peer)
      if flow.transport == .udp { enter(name) } else { places[name] = nil }
    }
  }

  private func look() {
    timer?.arm(after: Self.interval)
    turn += 1
    let isDue = turn % Self.turnsPerCount == 0
    for (name, place) in places {
      let isPermitted = relay.mayReceive(name.id, channel: name.number)
      if isPermitted != place.isEntered {
        if isPermitted { enter(name) } else { withdraw(name) }
      } else if isDue, place.isEntered {
        count(name, forwarder.traffic(of: place.entry))
      }
    }
  }

  private func enter(_ name: Name) {
    guard let place = places[name] else { return }
    do {
      try forwarder.add(place.entry)
      places[name]?.isEntered = true
      places[name]?.counted = TurnTraffic()
    } catch {
      if !hasComplained { log.warn("a channel stays in user space", ["because": "\(error)"]) }
      hasComplained = true
    }
  }

  private func withdraw(_ name: Name) {
    guard let place = places[name], place.isEntered else { return }
    count(name, forwarder.remove(place.entry))
    places[name]?.isEntered = false
  }

  /// What is new of an entry's counters.
  private func count(_ name: Name, _ traffic: ChannelForwarder.Traffic?) {
    guard let traffic, let place = places[name] else { return }
    var total = TurnTraffic()
    total.packetsToPeers = traffic.toPeer.packets
    total.bytesToPeers = traffic.toPeer.bytes
    total.packetsToClient = traffic.toClient.packets
    total.bytesToClient = traffic.toClient.bytes
    var new = TurnTraffic()
    new.packetsToPeers = total.packetsToPeers &- place.counted.packetsToPeers
    new.bytesToPeers = total.bytesToPeers &- place.counted.bytesToPeers
    new.packetsToClient = total.packetsToClient &- place.counted.packetsToClient
    new.bytesToClient = total.bytesToClient &- place.counted.bytesToClient
    places[name]?.counted = total
    forwarded &+= new.packetsToPeers &+ new.packetsToClient
    relay.count(
      new, of: name.id, TurnTranslation(client: place.entry.client.family, peer: place.entry.peer.family))
  }

  private func canonical(_ endpoint: Endpoint) -> Endpoint {
    Endpoint(endpoint.address.canonical, port: endpoint.port, scope: endpoint.scope)
  }
}
