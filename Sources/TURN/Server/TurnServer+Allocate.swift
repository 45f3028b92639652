import STUN
import Values

/// From Allocate to the end (RFC 8656, sections 7.2 and 7.3).
///
/// ```
///   Allocate ──checked──▶ ports taken ──bind──▶ all bound ──▶ answered, lives ──expiry, Refresh 0, stream ends──▶ ended
///                                        └─ none could be ──▶ 508
/// ```
extension TurnServer {
  /// An Allocate whose sockets are being bound.
  struct PendingAllocate {
    let asker: Asker
    let head: STUNWriter
    let hasIntegrity: Bool
    let hasFingerprint: Bool
    let isMobile: Bool
    let lifetime: Int
    let isPair: Bool
    /// A family that was asked for in addition and cannot be had.
    let missing: AddressFamily?
    /// Ports that others on this host have: kept until another is found, so that none is tried twice.
    var tried: [Endpoint] = []
  }

  mutating func allocate(_ message: STUNMessage, _ asker: Asker, at now: Instant) {
    if let id = byFlow[asker.flow], let allocation = self[id] {
      // The answer was lost, or is on its way.
      if allocation.transaction == message.transaction {
        if allocation.missing == 0 { answerAllocate(id, message, asker, at: now) }
        return
      }
      return fail(.allocationMismatch, message, asker, "there is an allocation already")
    }
    guard let wanted = wish(message, asker, at: now) else { return }
    let slot: UInt32
    if let reused = freeSlots.popLast() {
      slot = reused
    } else {
      slot = UInt32(allocations.count)
      allocations.append(nil)
      generations.append(0)
    }
    generations[Int(slot)] &+= 1
    let id = AllocationID(slot: slot, generation: generations[Int(slot)])
    let source = SourceBudget.name(of: asker.flow.remote.address)
    let seconds = grantedLifetime(message, allowsZero: false)
    var allocation = Allocation(
      id: id, flow: asker.flow, username: asker.name,
      user: userStates.enter(asker.quotaName, rate: settings.userBandwidth, at: now), source: source,
      isTCP: wanted.isTCP, begin: now, transaction: message.transaction, relays: [])
    enterSource(source)
    let expiry = now + .seconds(Int64(seconds))
    for (address, port) in wanted.places {
      allocation.relays.append(
        .init(
          family: address.local.family, local: Endpoint(address.local, port: port),
          external: Endpoint(address.external, port: port), expiry: expiry))
    }
    allocation.missing = allocation.relays.count
    if let next = wanted.reserved {
      let token: UInt64 = random.next()
      reservations[token] = Reservation(
        address: next.address, port: next.port, expiry: now + TurnLimit.reservation)
      allocation.reservation = token
    }
    allocations[Int(slot)] = allocation
    byFlow[asker.flow] = id
    forgetRecent()
    pending[id] = PendingAllocate(
      asker: asker, head: STUNWriter(.success, to: message), hasIntegrity: message.hasIntegrity,
      hasFingerprint: message.isFingerprintRight != nil, isMobile: wanted.isMobile, lifetime: seconds,
      isPair: wanted.reserved != nil, missing: wanted.missing)
    for (index, relay) in allocation.relays.enumerated() {
      queue(.bind(id, relay: index, relay.local, isTCP: wanted.isTCP))
    }
  }

  /// What was asked for and can be given: ports are taken with it.
  private struct Wish {
    var isTCP = false
    var isMobile = false
    var places: [(address: RelayAddress, port: UInt16)] = []
    var reserved: (address: RelayAddress, port: UInt16)?
    var missing: AddressFamily?
  }

  private mutating func wish(_ message: STUNMessage, _ asker: Asker, at now: Instant) -> Wish? {
    var wish = Wish()
    guard let transport = message.byte(.requestedTransport) else {
      fail(.badRequest, message, asker, "no transport is asked for")
      return nil
    }
    switch transport {
    case 17: break
    case 6 where settings.relaysTCP && asker.flow.transport.isStream: wish.isTCP = true
    default:
      fail(.unsupportedTransport, message, asker, "the transport \(transport) is not relayed here")
      return nil
    }
    let token = message.longNumber(.reservationToken)
    let even = message[.evenPort]?.first
    let requested = message.byte(.requestedAddressFamily)
    let additional = message.byte(.additionalAddressFamily)
    // RFC 8656, section 7.2, steps 5, 7 and 9; RFC 6062, section 5.1.
    guard token == nil && message[.reservationToken] == nil || even == nil && requested == nil && additional == nil,
      additional == nil || requested == nil && additional == 2 && (even ?? 0) & 0x80 == 0,
      !wish.isTCP || even == nil && message[.reservationToken] == nil && message[.dontFragment] == nil,
      message[.evenPort].map({ $0.count == 1 }) ?? true,
      message[.reservationToken] == nil || token != nil
    else {
      fail(.badRequest, message, asker, "what is asked for does not go together")
      return nil
    }
    if let ticket = message[.mobilityTicket] {
      guard settings.isMobile else {
        fail(.mobilityForbidden, message, asker, "mobility is not offered")
        return nil
      }
      guard ticket.isEmpty else {
        fail(.badRequest, message, asker, "a new allocation has no ticket yet")
        return nil
      }
      wish.isMobile = true
    }
    // Nothing is taken before this.
    guard isWithinQuotas(message, asker) else { return nil }
    if let token {
      guard let reservation = reservations[token], reservation.expiry > now else {
        fail(.insufficientCapacity, message, asker, "nothing is reserved for the token")
        return nil
      }
      reservations[token] = nil
      wish.places = [(reservation.address, reservation.port)]
      return wish
    }
    // With a second one that is IPv6 the first is IPv4, whatever is usual here.
    let usual = additional == nil ? settings.defaultFamily : .ipv4
    guard let first = requested.map({ STUNFamily.family($0) }) ?? usual,
      let address = address(of: first, for: asker.flow)
    else {
      fail(.familyNotSupported, message, asker, "no address of the family that is asked for")
      return nil
    }
    let kind: PortPool.Kind = even == nil ? .any : even == 0x80 ? .pair : .even
    guard let port = pools[address.local]?.take(kind, using: &random) else {
      fail(.insufficientCapacity, message, asker, "no port is free")
      return nil
    }
    wish.places = [(address, port)]
    if kind == .pair { wish.reserved = (address, port + 1) }
    if additional != nil {
      if let second = self.address(of: .ipv6, for: asker.flow), second.local.family != address.local.family,
        let port = pools[second.local]?.take(.any, using: &random)
      {
        wish.places.append((second, port))
      } else {
        wish.missing = .ipv6
      }
    }
    return wish
  }

  /// The address that a client's packets came to, if it is one for allocations; else the first of the family.
  private func address(of family: AddressFamily, for flow: TurnFlow) -> RelayAddress? {
    let candidates = settings.addresses.filter { $0.local.family == family }
    return candidates.first { $0.local == flow.local.address.canonical } ?? candidates.first
  }

  private mutating func isWithinQuotas(_ message: STUNMessage, _ asker: Asker) -> Bool {
    if isDraining {
      fail(.insufficientCapacity, message, asker, "the relay is about to end")
      return false
    }
    if let quota = settings.userQuota, userStates.count(of: asker.quotaName) >= quota {
      fail(.quotaReached, message, asker, "the user has \(quota) allocations")
      return false
    }
    let source = SourceBudget.name(of: asker.flow.remote.address)
    if let quota = settings.sourceQuota, bySource[source, default: 0] >= quota {
      fail(.quotaReached, message, asker, "\(source) has \(quota) allocations")
      return false
    }
    if let quota = settings.totalQuota, allocationCount >= quota {
      fail(.insufficientCapacity, message, asker, "the relay has \(quota) allocations")
      return false
    }
    return true
  }

  mutating func enterSource(_ source: IPAddress) { bySource[source, default: 0] += 1 }

  mutating func leaveSource(_ source: IPAddress) {
    let left = bySource[source, default: 1] - 1
    bySource[source] = left > 0 ? left : nil
  }

  // MARK: Binding

  mutating func finishBinding(_ id: AllocationID, relay: Int, _ isGood: Bool, at now: Instant) {
    guard var waiting = pending[id], let allocation = self[id], allocation.relays.indices.contains(relay) else {
      return
    }
    let place = allocation.relays[relay]
    if isGood {
      byRelayed[place.external] = id
      allocations[Int(id.slot)]?.missing -= 1
    } else {
      // Somebody else on this host has the port: another one, but not for a pair, whose second port is promised.
      if waiting.tried.count + 1 < TurnLimit.attempts, !waiting.isPair,
        let port = pools[place.local.address]?.take(.any, using: &random)
      {
        waiting.tried.append(place.local)
        let next = Allocation.Relay(
          family: place.family, local: Endpoint(place.local.address, port: port),
          external: Endpoint(place.external.address, port: port), expiry: place.expiry)
        allocations[Int(id.slot)]?.relays[relay] = next
        pending[id] = waiting
        queue(.bind(id, relay: relay, next.local, isTCP: allocation.isTCP))
        return
      }
      answer(waiting, STUNWriter(failing: waiting.head, .insufficientCapacity))
      counters.refusals[STUNErrorCode.insufficientCapacity.number, default: 0] &+= 1
      end(id)
      return
    }
    pending[id] = waiting
    guard self[id]?.missing == 0 else { return }
    forgetPending(id)
    if waiting.isMobile {
      let ticket = drawTicket()
      allocations[Int(id.slot)]?.ticket = ticket
      byTicket[ticket] = id
    }
    counters.allocations &+= 1
    watch(id, at: self[id]?.nextEnd ?? now)
    queue(.began(id))
    var writer = waiting.head
    describe(id, lifetime: waiting.lifetime, missing: waiting.missing, into: &writer)
    answer(waiting, writer)
  }

  private mutating func forgetPending(_ id: AllocationID) {
    for place in pending.removeValue(forKey: id)?.tried ?? [] { pools[place.address]?.free(place.port) }
  }

  private mutating func answer(_ waiting: PendingAllocate, _ writer: STUNWriter) {
    var writer = writer
    if let software = settings.software { writer.add(.software, software) }
    if waiting.hasIntegrity { writer.add(integrity: waiting.asker.key) }
    if waiting.hasFingerprint { writer.addFingerprint() }
    queue(writer.bytes, to: waiting.asker.flow)
  }

  /// The same answer once more.
  private mutating func answerAllocate(_ id: AllocationID, _ message: STUNMessage, _ asker: Asker, at now: Instant) {
    guard let allocation = self[id] else { return }
    var writer = STUNWriter(.success, to: message)
    let left = (allocation.relays.map(\.expiry).max() ?? now) - now
    describe(id, lifetime: Int(left.nanoseconds / 1_000_000_000), missing: nil, into: &writer)
    finish(writer, message, asker)
  }

  private func describe(
    _ id: AllocationID, lifetime: Int, missing: AddressFamily?, into writer: inout STUNWriter
  ) {
    guard let allocation = self[id] else { return }
    for relay in allocation.relays { writer.add(.xorRelayedAddress, xor: relay.external) }
    if let missing { writer.add(.familyNotSupported, for: missing) }
    writer.add(.lifetime, UInt32(clamping: lifetime))
    let client = allocation.flow.remote
    writer.add(.xorMappedAddress, xor: Endpoint(client.address.canonical, port: client.port))
    if let token = allocation.reservation { writer.add(.reservationToken, token) }
    if let ticket = allocation.ticket { writer.add(.mobilityTicket, ticket) }
  }

  // MARK: Ends

  /// Takes away what has ended; when something of it ends next, `nil` when nothing is left.
  mutating func sweep(_ id: AllocationID, at now: Instant) -> Instant? {
    guard let allocation = self[id], allocation.missing == 0 else { return nil }
    let slot = Int(id.slot)
    for (index, relay) in allocation.relays.enumerated() where relay.isOpen && relay.expiry <= now {
      endRelay(id, index)
    }
    guard self[id]?.relays.contains(where: \.isOpen) == true else {
      end(id)
      return nil
    }
    allocations[slot]?.permissions.removeAll { $0.expiry <= now }
    var kept: [Allocation.Channel] = []
    for var channel in self[id]?.channels ?? [] {
      if channel.expiry + TurnLimit.channelRest <= now { continue }
      if channel.expiry <= now, !channel.hasEnded {
        channel.hasEnded = true
        queue(.channelEnded(id, relay: Int(channel.relay), number: channel.number, peer: channel.wire))
      }
      kept.append(channel)
    }
    allocations[slot]?.channels = kept
    return self[id]?.nextEnd
  }

  /// One of two families ends. The other keeps its place in the list, since sockets are known by it.
  private mutating func endRelay(_ id: AllocationID, _ index: Int) {
    guard let allocation = self[id] else { return }
    let slot = Int(id.slot)
    let relay = allocation.relays[index]
    allocations[slot]?.relays[index].isOpen = false
    byRelayed[relay.external] = nil
    pools[relay.local.address]?.free(relay.local.port)
    for channel in allocation.channels where Int(channel.relay) == index && !channel.hasEnded {
      queue(.channelEnded(id, relay: index, number: channel.number, peer: channel.wire))
    }
    allocations[slot]?.channels.removeAll { Int($0.relay) == index }
    allocations[slot]?.permissions.removeAll { $0.address.family == relay.family }
    queue(.close(id, relay: index))
  }

  mutating func end(_ id: AllocationID) {
    guard let allocation = self[id] else { return }
    let slot = Int(id.slot)
    for channel in allocation.channels where !channel.hasEnded {
      queue(.channelEnded(id, relay: Int(channel.relay), number: channel.number, peer: channel.wire))
    }
    for connection in connectionsInOrder(where: { $0.allocation == id }) {
      connections[connection] = nil
      queue(.drop(connection))
    }
    for relay in allocation.relays where relay.isOpen {
      if byRelayed[relay.external] == id { byRelayed[relay.external] = nil }
      pools[relay.local.address]?.free(relay.local.port)
    }
    if byFlow[allocation.flow] == id { byFlow[allocation.flow] = nil }
    if let ticket = allocation.ticket { byTicket[ticket] = nil }
    if let ticket = allocation.formerTicket { byTicket[ticket] = nil }
    // A pair's second port stays reserved for its time: the token is about.
    userStates.leave(allocation.user)
    leaveSource(allocation.source)
    forgetPending(id)
    allocations[slot] = nil
    freeSlots.append(id.slot)
    forgetRecent()
    queue(.close(id, relay: nil))
  }
}

extension STUNWriter {
  /// A failure in place of an answer that was begun.
  init(failing begun: STUNWriter, _ error: STUNErrorCode) {
    self.init(.failure, begun.method, begun.transaction)
    add(error)
  }
}
