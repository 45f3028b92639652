import STUN
import Values

/// Peers and permissions: asked for when there is an allocation, confirmed, asked for again every four minutes.
extension TURNClient {
  /// Packets will go to a peer, and come from it: a channel is bound, which permits its address as well. False when the
  /// allocation has no address of its family, or never will.
  @discardableResult
  public mutating func add(peer: Endpoint, at now: Instant) -> Bool {
    guard settings.families.has(peer.family), phase != .over else { return false }
    if let allocation, allocation.relayed(peer.family) == nil { return false }
    let number = peers.add(peer, at: now)
    guard phase == .standing else { return true }
    if let number {
      if peers.channels[peer]?.isBound == true {
        events.append(.peerReady(peer))
      } else {
        requestChannel(number, peer, rounds: 0, at: now)
      }
    } else {
      permit(peer.address, at: now)
    }
    return true
  }

  /// Its channel is not bound again; the server forgets it by itself.
  public mutating func remove(peer: Endpoint) { peers.remove(peer) }

  /// Packets may come from an address, whatever the port.
  public mutating func permit(_ address: IPAddress, at now: Instant) {
    guard settings.families.has(address.family), phase != .over else { return }
    peers.permit(address)
    if phase == .standing, peers.permissions[address]?.isThere == false {
      requestPermission(address, rounds: 0, at: now)
    }
  }

  public mutating func forbid(_ address: IPAddress) { peers.forbid(address) }

  /// Peers that are wanted, in the order of their channels.
  public var wantedPeers: [Endpoint] { peers.wantedPeers }
  public var permittedAddresses: [IPAddress] { peers.wantedAddresses }

  /// The peer of a channel that was asked for.
  public func peer(ofChannel number: UInt16) -> Endpoint? { peers.peer(of: number) }

  /// Whether packets to a peer go by a channel.
  public func hasChannel(to peer: Endpoint) -> Bool { peers.channel(to: peer) != nil }

  /// Asks for everything that is wanted.
  mutating func bindAll(at now: Instant) {
    for peer in peers.wantedPeers {
      guard let channel = peers.channels[peer] else { continue }
      guard allocation?.relayed(peer.family) != nil else {
        events.append(.peerRefused(peer, allocation?.refused?.error ?? .peerFamilyMismatch))
        continue
      }
      requestChannel(channel.number, peer, rounds: 0, at: now)
    }
    for address in peers.wantedAddresses where allocation?.relayed(address.family) != nil {
      requestPermission(address, rounds: 0, at: now)
    }
  }

  mutating func refreshPeers(at now: Instant) {
    for peer in peers.wantedPeers {
      guard let channel = peers.channels[peer], now >= channel.due else { continue }
      if channel.isRefused {
        peers.change(peer) { $0.due = now + Self.peerRefresh }
        requestPermission(peer.address, rounds: 0, at: now)
      } else {
        requestChannel(channel.number, peer, rounds: 0, at: now)
      }
    }
    for address in peers.wantedAddresses {
      guard let permission = peers.permissions[address], now >= permission.due else { continue }
      requestPermission(address, rounds: 0, at: now)
    }
  }

  mutating func requestChannel(_ number: UInt16, _ peer: Endpoint, rounds: Int, at now: Instant) {
    peers.change(peer) {
      $0.asked = now
      $0.due = .distantFuture
    }
    guard !transactions.contains(.channel(number, peer)) else { return }
    request(.channel(number, peer), rounds: rounds, patience: Self.patience, at: now) { writer in
      writer.add(channel: number)
      writer.add(.xorPeerAddress, xor: peer)
    }
  }

  mutating func requestPermission(_ address: IPAddress, rounds: Int, at now: Instant) {
    peers.change(address) { $0.due = .distantFuture }
    guard !transactions.contains(.permission(address)) else { return }
    request(.permission(address), rounds: rounds, patience: Self.patience, at: now) { writer in
      writer.add(.xorPeerAddress, xor: Endpoint(address, port: 0))
    }
  }

  mutating func channelTaken(_ number: UInt16, _ peer: Endpoint, at now: Instant) {
    guard let channel = peers.channels[peer], channel.number == number else { return }
    let isNew = !channel.isBound
    peers.change(peer) {
      $0.isBound = true
      $0.due = $0.isWanted ? now + Self.peerRefresh : .distantFuture
    }
    if isNew { events.append(.peerReady(peer)) }
  }

  mutating func permissionTaken(_ address: IPAddress, at now: Instant) {
    let wasThere = peers.permissions[address]?.isThere
    peers.change(address) {
      $0.isThere = true
      $0.due = now + Self.peerRefresh
    }
    if wasThere == false { events.append(.permitted(address)) }
    // Peers that the server gives no channel are reached by indications.
    for peer in peers.wantedPeers where peer.address == address {
      guard let channel = peers.channels[peer], channel.isRefused, channel.due == .distantFuture else { continue }
      peers.change(peer) { $0.due = now + Self.peerRefresh }
      events.append(.peerReady(peer))
    }
  }

  /// The server says no to a peer or an address.
  mutating func peerRequestRefused(
    _ purpose: ClientTransactions.Purpose, _ error: STUNErrorCode, at now: Instant
  ) {
    switch purpose {
    case .channel(_, let peer):
      guard peers.channels[peer]?.isWanted == true else { return }
      peers.change(peer) { $0.isBound = false }
      let isOfPeer =
        error.number == STUNErrorCode.forbidden.number || error.number == STUNErrorCode.peerFamilyMismatch.number
      if isOfPeer {
        peers.remove(peer)
        events.append(.peerRefused(peer, error))
      } else {
        // Of the channel alone: without one there is still the slower way.
        peers.change(peer) {
          $0.isRefused = true
          $0.due = .distantFuture
        }
        requestPermission(peer.address, rounds: 0, at: now)
      }
    case .permission(let address):
      if peers.permissions[address] != nil {
        peers.change(address) {
          $0.isThere = false
          $0.due = now + Self.peerRefresh
        }
        events.append(.permissionRefused(address, error))
      }
      for peer in peers.wantedPeers where peer.address == address && peers.channels[peer]?.isRefused == true {
        peers.remove(peer)
        events.append(.peerRefused(peer, error))
      }
    case .allocate, .refresh, .release: break
    }
  }

  /// No answer: the silence will be found by itself if the server is gone; else it is asked again.
  mutating func peerRequestLost(_ transaction: ClientTransactions.Transaction, at now: Instant) {
    guard phase == .standing else { return }
    if let hint = transaction.hint, hint.number != STUNErrorCode.allocationMismatch.number {
      peerRequestRefused(transaction.purpose, hint, at: now)
      return
    }
    switch transaction.purpose {
    case .channel(_, let peer): peers.change(peer) { if $0.isWanted { $0.due = now + Self.quiet } }
    case .permission(let address):
      peers.change(address) { $0.due = now + Self.quiet }
      for (peer, channel) in peers.channels where peer.address == address && channel.isRefused && channel.isWanted {
        peers.change(peer) { $0.due = now + Self.quiet }
      }
    case .allocate, .refresh, .release: break
    }
    hasSent = true
    if look > now { look = now }
    isDeadlineNew = true
  }
}
