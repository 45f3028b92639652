import STUN
import Values

/// Requests of clients: who asks (RFC 8489, section 9.2), and then what for (RFC 8656).
extension TurnServer {
  /// Attributes that must be understood and are.
  static let understood: Set<STUNAttribute> = [
    .username, .messageIntegrity, .realm, .nonce, .messageIntegritySHA256, .passwordAlgorithm, .userHash,
    .channelNumber, .lifetime, .xorPeerAddress, .data, .requestedAddressFamily, .evenPort, .requestedTransport,
    .dontFragment, .reservationToken, .connectionID,
  ]

  /// Somebody who has proved to have a password.
  struct Asker {
    let flow: TurnFlow
    let name: String
    let quotaName: String
    let key: STUNKey
  }

  mutating func handleRequest(_ message: STUNMessage, _ flow: TurnFlow, _ proof: TurnProof?, at now: Instant) {
    let methods: Set<STUNMethod> = [
      .allocate, .refresh, .createPermission, .channelBind, .connect, .connectionBind,
    ]
    guard !settings.isSTUNOnly, methods.contains(message.method) else {
      return refuse(.badRequest, message, flow, "the method \(message.method) is not served", at: now)
    }
    guard let asker = authenticate(message, flow, proof, at: now) else { return }
    let unknown = message.unknownAttributes(besides: Self.understood)
    guard unknown.isEmpty else {
      var writer = STUNWriter(.unknownAttribute, to: message)
      writer.add(unknown: unknown)
      return finish(writer, message, asker)
    }
    let own = byFlow[flow]
    if let own, let allocation = self[own], allocation.username != asker.name {
      return fail(.wrongCredentials, message, asker, "the allocation is another user's")
    }
    switch message.method {
    case .allocate: allocate(message, asker, at: now)
    case .refresh: refresh(message, asker, at: now)
    case .createPermission: createPermission(message, asker, at: now)
    case .channelBind: bindChannel(message, asker, at: now)
    case .connect: connect(message, asker, at: now)
    case .connectionBind: bindConnection(message, asker, at: now)
    default: break
    }
  }

  // MARK: Who asks

  private mutating func authenticate(
    _ message: STUNMessage, _ flow: TurnFlow, _ proof: TurnProof?, at now: Instant
  ) -> Asker? {
    if settings.isOpen, !message.hasIntegrity {
      return Asker(
        flow: flow, name: "", quotaName: "\(SourceBudget.name(of: flow.remote.address))", key: STUNKey([], .sha1))
    }
    switch proof ?? self.proof(in: message, flow, at: now) {
    case .nothing: challenge(.unauthenticated, message, flow, nil, at: now)
    case .incomplete: refuse(.badRequest, message, flow, "name, realm or nonce is missing", at: now)
    case .staleNonce: challenge(.staleNonce, message, flow, nil, at: now)
    case .otherAlgorithms:
      refuse(.badRequest, message, flow, "the password algorithms are not those that were offered", at: now)
    case .otherRealm: challenge(.unauthenticated, message, flow, "another realm, or no name", at: now)
    case .wrong: challenge(.unauthenticated, message, flow, "wrong name or password", at: now)
    case .user(let name, let quotaName, let key, let isExpired):
      // Whoever has an allocation keeps it; credentials that have expired make no new one.
      guard !isExpired || byFlow[flow].flatMap({ self[$0]?.username }) == name else {
        challenge(.unauthenticated, message, flow, "the credentials have expired", at: now)
        return nil
      }
      return Asker(flow: flow, name: name, quotaName: quotaName, key: key)
    }
    return nil
  }

  /// 401 and 438: what a client needs to ask again. At most `TurnLimit.challenge` bytes.
  private mutating func challenge(
    _ error: STUNErrorCode, _ message: STUNMessage, _ flow: TurnFlow, _ detail: String?, at now: Instant
  ) {
    func written(_ error: STUNErrorCode) -> STUNWriter {
      var writer = STUNWriter(error, to: message)
      writer.add(.realm, settings.realm)
      writer.add(.nonce, nonces.make(for: flow, at: now))
      writer.add(.passwordAlgorithms, PasswordAlgorithm.encoded(Self.offeredAlgorithms))
      return writer
    }
    var writer = written(error)
    let fingerprint = message.isFingerprintRight == nil ? 0 : 8
    if writer.bytes.count + fingerprint > TurnLimit.challenge { writer = written(STUNErrorCode(error.number, "")) }
    note(error, message, flow, detail)
    answerStranger(writer, message, flow, at: now)
  }

  /// An error for somebody who is not known.
  mutating func refuse(
    _ error: STUNErrorCode, _ message: STUNMessage, _ flow: TurnFlow, _ detail: String, at now: Instant
  ) {
    note(error, message, flow, detail)
    answerStranger(STUNWriter(error, to: message), message, flow, at: now)
  }

  /// An error for somebody who is.
  mutating func fail(_ error: STUNErrorCode, _ message: STUNMessage, _ asker: Asker, _ detail: String) {
    note(error, message, asker.flow, detail)
    finish(STUNWriter(error, to: message), message, asker)
  }

  private mutating func note(_ error: STUNErrorCode, _ message: STUNMessage, _ flow: TurnFlow, _ detail: String?) {
    counters.refusals[error.number, default: 0] &+= 1
    if let detail { queue(.refused(flow, message.method, error, detail: detail)) }
  }

  /// Guards an answer as the request was, and sends it.
  mutating func finish(_ writer: STUNWriter, _ message: STUNMessage, _ asker: Asker) {
    var writer = writer
    if let software = settings.software { writer.add(.software, software) }
    if message.hasIntegrity { writer.add(integrity: asker.key) }
    if message.isFingerprintRight != nil { writer.addFingerprint() }
    queue(writer.bytes, to: asker.flow)
  }

  // MARK: Refresh (RFC 8656, section 7.3; RFC 8016)

  mutating func refresh(_ message: STUNMessage, _ asker: Asker, at now: Instant) {
    var asker = asker
    if let ticket = message.bytes(.mobilityTicket) {
      guard let moved = move(message, ticket, asker, at: now) else { return }
      asker = moved
    }
    guard let id = byFlow[asker.flow], let allocation = self[id] else {
      // Whoever wants to be rid of what is not there has what it wants.
      if message.number(.lifetime) == 0 {
        var writer = STUNWriter(.success, to: message)
        writer.add(.lifetime, UInt32(0))
        return finish(writer, message, asker)
      }
      return fail(.allocationMismatch, message, asker, "there is no allocation")
    }
    var only: AddressFamily?
    if let code = message.byte(.requestedAddressFamily) {
      guard let family = STUNFamily.family(code), allocation.relay(of: family) != nil else {
        return fail(.peerFamilyMismatch, message, asker, "the allocation has no address of that family")
      }
      only = family
    }
    let seconds = grantedLifetime(message, allowsZero: true)
    var writer = STUNWriter(.success, to: message)
    writer.add(.lifetime, UInt32(clamping: seconds))
    if seconds > 0, message[.mobilityTicket] != nil, let ticket = self[id]?.ticket {
      writer.add(.mobilityTicket, ticket)
    }
    for index in allocation.relays.indices where only == nil || allocation.relays[index].family == only {
      allocations[Int(id.slot)]?.relays[index].expiry = now + .seconds(Int64(seconds))
    }
    finish(writer, message, asker)
    if seconds > 0 {
      watch(id, at: self[id]?.nextEnd ?? now)
    } else if let next = sweep(id, at: now) {
      watch(id, at: next)
    }
  }

  /// Seconds: between the usual lifetime and the longest one.
  func grantedLifetime(_ message: STUNMessage, allowsZero: Bool) -> Int {
    let usual = Int(settings.lifetime.nanoseconds / 1_000_000_000)
    let longest = Int(settings.maximumLifetime.nanoseconds / 1_000_000_000)
    guard let wanted = message.number(.lifetime) else { return min(usual, longest) }
    if wanted == 0, allowsZero { return 0 }
    return min(max(Int(wanted), usual), longest)
  }

  /// An allocation follows its ticket to another flow. One allocation stays one: nothing is made and no quota is passed
  /// (attack row 9). The client goes on with its own name only.
  private mutating func move(
    _ message: STUNMessage, _ ticket: [UInt8], _ asker: Asker, at now: Instant
  ) -> Asker? {
    guard settings.isMobile else {
      fail(.mobilityForbidden, message, asker, "mobility is not offered")
      return nil
    }
    guard let id = byTicket[ticket], let allocation = self[id] else {
      fail(.badRequest, message, asker, "the ticket is unknown")
      return nil
    }
    guard allocation.username == asker.name else {
      fail(.wrongCredentials, message, asker, "the ticket is another user's")
      return nil
    }
    if allocation.flow != asker.flow {
      guard byFlow[asker.flow] == nil else {
        fail(.allocationMismatch, message, asker, "this flow has another allocation")
        return nil
      }
      byFlow[allocation.flow] = nil
      byFlow[asker.flow] = id
      let source = SourceBudget.name(of: asker.flow.remote.address)
      leaveSource(allocation.source)
      enterSource(source)
      allocations[Int(id.slot)]?.flow = asker.flow
      allocations[Int(id.slot)]?.source = source
      forgetRecent()
      queue(.moved(id, from: allocation.flow))
    }
    // The last answer was lost, and the ticket in it: it is still the one to use.
    if ticket == allocation.formerTicket { return asker }
    if let former = allocation.formerTicket { byTicket[former] = nil }
    let next = drawTicket()
    allocations[Int(id.slot)]?.formerTicket = ticket
    allocations[Int(id.slot)]?.ticket = next
    byTicket[next] = id
    return asker
  }

  mutating func drawTicket() -> [UInt8] { TurnTicket.text(of: [drawSecret(), drawSecret()]) }

  // MARK: Permissions and channels (RFC 8656, sections 10 and 12)

  mutating func createPermission(_ message: STUNMessage, _ asker: Asker, at now: Instant) {
    guard let id = byFlow[asker.flow], let allocation = self[id] else {
      return fail(.allocationMismatch, message, asker, "there is no allocation")
    }
    let peers = message.xorAddresses(.xorPeerAddress, limit: TurnLimit.peers + 1)
    guard !peers.isEmpty else { return fail(.badRequest, message, asker, "no peer is named") }
    for peer in peers {
      if let error = objection(to: Endpoint(peer.address, port: 0), allocation) {
        return fail(error.code, message, asker, error.detail)
      }
    }
    let new = Set(peers.map(\.address.canonical)).subtracting(allocation.permissions.map(\.address))
    guard allocation.permissions.count + new.count <= TurnLimit.peers else {
      return fail(.insufficientCapacity, message, asker, "too many permissions")
    }
    for peer in peers { permit(peer.address.canonical, id, at: now) }
    finish(STUNWriter(.success, to: message), message, asker)
  }

  private mutating func permit(_ address: IPAddress, _ id: AllocationID, at now: Instant) {
    let slot = Int(id.slot)
    let expiry = now + TurnLimit.permission
    if let index = allocations[slot]?.permissions.firstIndex(where: { $0.address == address }) {
      allocations[slot]?.permissions[index].expiry = expiry
    } else {
      allocations[slot]?.permissions.append(.init(address: address, expiry: expiry))
      watch(id, at: expiry)
    }
    let channels = allocations[slot]?.channels ?? []
    for (index, channel) in channels.enumerated() where channel.peer.address == address {
      allocations[slot]?.channels[index].permittedUntil = expiry
    }
  }

  mutating func bindChannel(_ message: STUNMessage, _ asker: Asker, at now: Instant) {
    guard let id = byFlow[asker.flow], let allocation = self[id] else {
      return fail(.allocationMismatch, message, asker, "there is no allocation")
    }
    guard let number = message.channelNumber, ChannelData.acceptedNumbers.contains(number), !allocation.isTCP,
      let named = message.xorAddress(.xorPeerAddress), named.port != 0
    else { return fail(.badRequest, message, asker, "no channel, or no peer") }
    let peer = Endpoint(named.address.canonical, port: named.port)
    if let error = objection(to: peer, allocation) { return fail(error.code, message, asker, error.detail) }
    guard let relay = allocation.relay(of: peer.family) else { return }
    let same = allocation.channels.firstIndex { $0.number == number && $0.peer == peer }
    // For a while after its end a number stays its peer's, and the other way round.
    if same == nil, allocation.channels.contains(where: { $0.number == number || $0.peer == peer }) {
      return fail(.badRequest, message, asker, "the channel has another peer, or the peer another channel")
    }
    guard
      same != nil
        || allocation.channels.count < TurnLimit.peers
          && (allocation.isPermitted(peer.address, at: now) || allocation.permissions.count < TurnLimit.peers)
    else { return fail(.insufficientCapacity, message, asker, "too many channels") }
    let slot = Int(id.slot)
    let expiry = now + TurnLimit.channel
    if let same {
      let wasOver = allocation.channels[same].expiry <= now
      allocations[slot]?.channels[same].expiry = expiry
      allocations[slot]?.channels[same].hasEnded = false
      queue(.channelBound(id, relay: relay, number: number, peer: allocation.channels[same].wire, isNew: wasOver))
    } else {
      let wire = wire(peer)
      allocations[slot]?.channels.append(
        .init(number: number, peer: peer, wire: wire, expiry: expiry, permittedUntil: now, relay: UInt8(relay)))
      queue(.channelBound(id, relay: relay, number: number, peer: wire, isNew: true))
    }
    permit(peer.address, id, at: now)
    watch(id, at: expiry)
    finish(STUNWriter(.success, to: message), message, asker)
  }

  /// Why a peer is not spoken to.
  func objection(to peer: Endpoint, _ allocation: Allocation) -> (code: STUNErrorCode, detail: String)? {
    let peer = Endpoint(peer.address.canonical, port: peer.port)
    guard allocation.relay(of: peer.family) != nil else {
      return (.peerFamilyMismatch, "the allocation has no \(peer.family) address")
    }
    if isOwn(peer.address) {
      // Ports of allocations are for everybody; everything else at this address is this host's own business.
      guard peer.port == 0 || byRelayed[peer] != nil else {
        return (.forbidden, "\(peer) is this relay's own, and no allocation")
      }
      return nil
    }
    return judge(peer).map { (.forbidden, $0) }
  }

  func isOwn(_ address: IPAddress) -> Bool {
    settings.addresses.contains { $0.external == address || $0.local == address }
  }

  /// How packets to a peer are addressed: those to our own allocations stay on this host.
  func wire(_ peer: Endpoint) -> Endpoint {
    guard let id = byRelayed[peer], let allocation = self[id],
      let relay = allocation.relays.first(where: { $0.external == peer })
    else { return peer }
    return relay.local
  }

  /// The other way round.
  func worldly(_ source: Endpoint) -> Endpoint {
    let source = Endpoint(source.address.canonical, port: source.port)
    guard let own = settings.addresses.first(where: { $0.local == source.address }), own.local != own.external else {
      return source
    }
    let external = Endpoint(own.external, port: source.port)
    return byRelayed[external] == nil ? source : external
  }

  // MARK: Send indications (RFC 8656, section 11)

  /// Whether a message has nothing that it must not be acted on without.
  public static func understands(_ message: STUNMessage) -> Bool {
    message.unknownAttributes(besides: understood).isEmpty
  }

  mutating func send(_ message: STUNMessage, _ flow: TurnFlow, at now: Instant) -> SendRequest? {
    guard let id = byFlow[flow], let allocation = self[id], !allocation.isTCP else {
      drop(.noAllocation)
      return nil
    }
    guard let named = message.xorAddress(.xorPeerAddress), let data = message[.data], named.port != 0,
      Self.understands(message)
    else {
      drop(.malformed)
      return nil
    }
    let peer = Endpoint(named.address.canonical, port: named.port)
    guard let relay = allocation.relay(of: peer.family) else {
      drop(.wrongFamily)
      return nil
    }
    guard allocation.isPermitted(peer.address, at: now) else {
      drop(.noPermission)
      return nil
    }
    // A permission is for an address; the ports of it are judged where they are used.
    if allocation.judged != peer {
      guard objection(to: peer, allocation) == nil else {
        drop(isOwn(peer.address) ? .ownAddress : .forbidden)
        return nil
      }
      // An allocation of our own may be gone with the next packet.
      let remembered = isOwn(peer.address) ? nil : peer
      allocations[Int(id.slot)]?.judged = remembered
    }
    guard let forward = passed(toPeer: wire(peer), relay, id, flow, 1, data.count, at: now) else { return nil }
    return SendRequest(forward: forward, data: data, dontFragment: message[.dontFragment] != nil)
  }
}
