/// A TURN server made of tables, and a wire to it that loses, doubles and delays: what the client's machine is tried with.
///
/// It keeps the RFC's times to the second, so that a client which refreshes too late is found out: a packet through a
/// channel, a permission or an allocation that has ended is not relayed, and counted.
import CryptoPrimitives
import STUN
import TURN
import Testing
import Values

struct Dice: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}

func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

func endpoint(_ text: String) -> Endpoint {
  guard let endpoint = Endpoint(text) else { preconditionFailure(text) }
  return endpoint
}

extension String {
  var bytes: [UInt8] { Array(utf8) }
}

/// The server.
final class ModelServer {
  var realm = "example.org"
  var nonce = "nonce-1".bytes
  var password = "secret"
  /// As in PASSWORD-ALGORITHMS; the nonce should promise it.
  var algorithms: [PasswordAlgorithm]?
  var asksForCredentials = true
  var families: Set<AddressFamily> = [.ipv4, .ipv6]
  var grantsMobility = false
  var forbidsMobility = false
  var alternate: Endpoint?
  var forbidden: Set<IPAddress> = []
  var refusesChannels = false
  var isDead = false
  var isForgetful = false
  /// The largest lifetime that is given, seconds.
  var largestLifetime: Int64 = 3600
  /// Each nonce is good for nothing but the next answer.
  var isFickle = false
  /// Errors are not signed, as coturn has it when it knows of no allocation.
  var provesErrors = true
  /// Answers are signed with another key.
  var isForger = false

  struct Allocation {
    var owner: Int
    var relayed: [Endpoint]
    var end: Instant
    var transaction: TransactionID
    var answer: [UInt8]
    var ticket: [UInt8]
    var permissions: [IPAddress: Instant] = [:]
    var channels: [UInt16: (peer: Endpoint, end: Instant)] = [:]
    var username = ""
  }

  var allocation: Allocation?
  private var nextPort: UInt16 = 50_000
  private var nextTicket: UInt8 = 1
  private(set) var requests: [(method: STUNMethod, at: Instant, bytes: [UInt8])] = []
  /// What went to peers.
  private(set) var relayed: [(peer: Endpoint, bytes: [UInt8])] = []
  /// What a client sent that had no right to it any more.
  private(set) var unentitled = 0
  private(set) var allocations = 0
  /// Names that were used.
  private(set) var usernames: [String] = []

  /// All is forgotten.
  func restart() {
    allocation = nil
    nonce = "nonce-\(allocations)-after".bytes
  }

  func count(_ method: STUNMethod) -> Int { requests.count { $0.method == method } }

  /// What it answers to a packet from the client's address with that number.
  func take(_ packet: [UInt8], from owner: Int, at now: Instant) -> [[UInt8]] {
    guard !isDead else { return [] }
    return packet.withUnsafeBytes { bytes in
      if ChannelData.isLikely(bytes) {
        guard let data = ChannelData(bytes) else { return [] }
        relay(data, from: owner, at: now)
        return []
      }
      guard let message = STUNMessage(bytes) else { return [] }
      if message.kind == .indication {
        if message.method == .send, let peer = message.xorAddress(.xorPeerAddress), let data = message.bytes(.data) {
          relay(data, to: peer, from: owner, at: now)
        }
        return []
      }
      requests.append((message.method, now, packet))
      return answer(message, from: owner, at: now).map { [$0] } ?? []
    }
  }

  private func relay(_ data: ChannelData, from owner: Int, at now: Instant) {
    guard let allocation, allocation.owner == owner, allocation.end > now,
      let channel = allocation.channels[data.number], channel.end > now
    else {
      unentitled += 1
      return
    }
    relay([UInt8](data.data), to: channel.peer, from: owner, at: now)
  }

  private func relay(_ data: [UInt8], to peer: Endpoint, from owner: Int, at now: Instant) {
    guard let allocation, allocation.owner == owner, allocation.end > now,
      let permission = allocation.permissions[peer.address], permission > now
    else {
      unentitled += 1
      return
    }
    relayed.append((peer, data))
  }

  /// What a packet of a peer becomes on its way to the client; `nil` when the peer may not send.
  func deliver(_ bytes: [UInt8], from peer: Endpoint, at now: Instant) -> [UInt8]? {
    guard let allocation, allocation.end > now, let permission = allocation.permissions[peer.address], permission > now
    else { return nil }
    if let number = allocation.channels.first(where: { $0.value.peer == peer && $0.value.end > now })?.key {
      return channelData(number, bytes)
    }
    var writer = STUNWriter(.indication, .data, TransactionID(high: 9, low: 9))
    writer.add(.xorPeerAddress, xor: peer)
    writer.add(.data, bytes)
    return writer.bytes
  }

  private func answer(_ message: STUNMessage, from owner: Int, at now: Instant) -> [UInt8]? {
    if let alternate, message.method == .allocate {
      var writer = STUNWriter(.tryAlternate, to: message)
      writer.add(.alternateServer, plain: alternate)
      return writer.bytes
    }
    var key: STUNKey?
    if asksForCredentials {
      guard message.hasIntegrity else { return challenge(.unauthenticated, message) }
      guard message.bytes(.nonce) == nonce, !isFickle else { return challenge(.staleNonce, message) }
      guard let username = message.text(.username) else { return challenge(.unauthenticated, message) }
      var algorithm = PasswordAlgorithm.md5
      if let algorithms {
        let echoed = message[.passwordAlgorithms].map { [UInt8]($0) }
        guard echoed == PasswordAlgorithm.encoded(algorithms),
          let chosen = message[.passwordAlgorithm].flatMap({ PasswordAlgorithm.list($0)?.first }),
          message.integrities == [.sha256]
        else { return challenge(.unauthenticated, message) }
        algorithm = chosen
      }
      let made = algorithm.key(
        username: username, realm: realm, password: password, algorithms == nil ? .sha1 : .sha256)
      guard message.isAuthentic(made) else { return challenge(.unauthenticated, message) }
      usernames.append(username)
      key = isForger ? STUNKey([1, 2, 3], made.integrity) : made
    }
    var writer = respond(to: message, from: owner, at: now)
    let isError = writer.bytes.first.map { $0 & 1 == 1 && writer.bytes[1] & 0x10 != 0 } ?? false
    if let key, provesErrors || !isError { writer.add(integrity: key) }
    if message.method == .allocate, allocation?.transaction == message.transaction {
      if let known = allocation?.answer, !known.isEmpty { return known }
      allocation?.answer = writer.bytes
    }
    return writer.bytes
  }

  private func challenge(_ error: STUNErrorCode, _ message: STUNMessage) -> [UInt8] {
    if isFickle { nonce = "nonce \(requests.count)".bytes }
    var writer = STUNWriter(error, to: message)
    writer.add(.realm, realm)
    writer.add(.nonce, nonce)
    if let algorithms { writer.add(.passwordAlgorithms, PasswordAlgorithm.encoded(algorithms)) }
    return writer.bytes
  }

  private func respond(to message: STUNMessage, from owner: Int, at now: Instant) -> STUNWriter {
    if let end = allocation?.end, end <= now { allocation = nil }
    if message.method == .allocate { return allocate(message, from: owner, at: now) }
    if message.method == .refresh, let ticket = message.bytes(.mobilityTicket), ticket == allocation?.ticket {
      allocation?.owner = owner
    }
    guard var held = allocation, held.owner == owner else { return STUNWriter(.allocationMismatch, to: message) }
    var writer = STUNWriter(.success, to: message)
    switch message.method {
    case .refresh:
      let seconds = min(Int64(message.number(.lifetime) ?? 600), largestLifetime)
      writer.add(.lifetime, UInt32(seconds))
      held.end = now + .seconds(seconds)
      if grantsMobility, message[.mobilityTicket] != nil {
        held.ticket = [nextTicket]
        nextTicket += 1
        writer.add(.mobilityTicket, held.ticket)
      }
      allocation = seconds == 0 ? nil : held
      return writer
    case .createPermission:
      for peer in message.xorAddresses(.xorPeerAddress, limit: 8) {
        if forbidden.contains(peer.address) { return STUNWriter(.forbidden, to: message) }
        held.permissions[peer.address] = now + .seconds(300)
      }
    case .channelBind:
      guard let number = message.channelNumber, let peer = message.xorAddress(.xorPeerAddress) else {
        return STUNWriter(.badRequest, to: message)
      }
      if refusesChannels { return STUNWriter(.insufficientCapacity, to: message) }
      if forbidden.contains(peer.address) { return STUNWriter(.forbidden, to: message) }
      let isOthers = held.channels.contains { $0.value.end > now && ($0.key == number) != ($0.value.peer == peer) }
      if isOthers { return STUNWriter(.badRequest, to: message) }
      held.channels[number] = (peer, now + .seconds(600))
      held.permissions[peer.address] = now + .seconds(300)
    default: return STUNWriter(.badRequest, to: message)
    }
    allocation = held
    return writer
  }

  private func allocate(_ message: STUNMessage, from owner: Int, at now: Instant) -> STUNWriter {
    if let held = allocation, held.owner == owner, held.transaction != message.transaction {
      return STUNWriter(.allocationMismatch, to: message)
    }
    var writer = STUNWriter(.success, to: message)
    if forbidsMobility, message[.mobilityTicket] != nil { return STUNWriter(.mobilityForbidden, to: message) }
    let requested = message.byte(.requestedAddressFamily).flatMap { STUNFamily.family($0) } ?? .ipv4
    let extra = message.byte(.additionalAddressFamily).flatMap { STUNFamily.family($0) }
    guard families.contains(requested) || extra.map({ families.contains($0) }) == true else {
      return STUNWriter(.familyNotSupported, to: message)
    }
    var own: [Endpoint] = []
    for family in [requested] + (extra.map { [$0] } ?? []) {
      guard families.contains(family) else {
        writer.add(.familyNotSupported, for: family)
        continue
      }
      own.append(endpoint(family == .ipv4 ? "192.0.2.9:\(nextPort)" : "[2001:db8::9]:\(nextPort)"))
    }
    nextPort += 1
    for one in own { writer.add(.xorRelayedAddress, xor: one) }
    writer.add(.xorMappedAddress, xor: endpoint("198.51.100.\(owner):4000"))
    let seconds = min(Int64(message.number(.lifetime) ?? 600), largestLifetime)
    writer.add(.lifetime, UInt32(seconds))
    var ticket: [UInt8] = []
    if grantsMobility, message[.mobilityTicket]?.isEmpty == true {
      ticket = [nextTicket]
      nextTicket += 1
      writer.add(.mobilityTicket, ticket)
    }
    if allocation?.transaction != message.transaction { allocations += 1 }
    allocation = Allocation(
      owner: owner, relayed: own, end: now + .seconds(seconds), transaction: message.transaction, answer: [],
      ticket: ticket)
    return writer
  }
}

func channelData(_ number: UInt16, _ bytes: [UInt8]) -> [UInt8] {
  [UInt8(number >> 8), UInt8(truncatingIfNeeded: number), UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
}

/// A client and the model server with a wire between them, in a time of their own.
final class ClientBench {
  var client: TURNClient
  let server = ModelServer()
  private(set) var now = at(0)
  private var dice: Dice
  /// Out of a hundred.
  var loss: UInt64 = 0
  var doubling: UInt64 = 0
  /// The longest that a packet takes, milliseconds; one way.
  var latency: UInt64 = 10
  /// Which address of ours packets come from.
  var address = 1
  private var wire: [(due: Instant, order: Int, isForth: Bool, from: Int, bytes: [UInt8])] = []
  private var order = 0
  private(set) var events: [(event: TURNClientEvent, at: Instant)] = []
  private(set) var received: [(peer: Endpoint, bytes: [UInt8])] = []
  private(set) var sent: [(bytes: [UInt8], at: Instant)] = []
  /// Says `proceed` by itself.
  var proceeds = true
  private var batch = PacketBatch(capacity: 256 * 1024, maximumCount: 128, headroom: TURNClient.headroom)

  init(
    _ settings: TURNClientSettings = TURNClientSettings(
      credentials: .password(username: "user", password: "secret")), seed: UInt64 = 1, isStream: Bool = false
  ) {
    dice = Dice(seed)
    client = TURNClient(settings, isStream: isStream, random: Dice(seed &+ 99), unixTime: 1_000_000, at: at(0))
  }

  var isStanding: Bool { client.isStanding }
  var isOver: Bool { client.isOver }
  var allocation: TURNAllocation? { client.allocation }
  var ignored: UInt64 { client.ignored }
  var wantedPeers: [Endpoint] { client.wantedPeers }

  @discardableResult
  func add(_ peer: Endpoint) -> Bool { client.add(peer: peer, at: now) }
  func hasChannel(to peer: Endpoint) -> Bool { client.hasChannel(to: peer) }

  /// Goes on by another address of ours.
  func move(to number: Int, isStream: Bool = false) {
    address = number
    client.moved(isStream: isStream, at: now)
    settle()
  }
  func count(_ match: (TURNClientEvent) -> Bool) -> Int { events.count { match($0.event) } }
  func time(of match: (TURNClientEvent) -> Bool) -> Instant? { events.first { match($0.event) }?.at }

  var failure: TURNClientEvent.Failure? {
    for (event, _) in events { if case .failed(let failure) = event { return failure } }
    return nil
  }

  /// Begins, and waits until the allocation stands or there is a failure.
  func stand(within milliseconds: Int64 = 5000) {
    client.begin(at: now)
    settle()
    let end = now + .milliseconds(milliseconds)
    while now < end, !client.isStanding, failure == nil { run(milliseconds: 5) }
  }

  func send(_ bytes: [UInt8], to peer: Endpoint) -> TURNClient.Framing {
    batch.removeAll()
    _ = bytes.withUnsafeBytes { batch.append(copying: $0) }
    let framing = client.frame(&batch, to: peer, at: now)
    switch framing {
    case .framed:
      for index in 0..<batch.count { carry([UInt8](batch[index]), isForth: true) }
    case .unbound:
      if let message = bytes.withUnsafeBytes({ client.indication($0, to: peer, at: now) }) {
        carry(message, isForth: true)
      }
    case .nowhere: break
    }
    return framing
  }

  func fromPeer(_ bytes: [UInt8], _ peer: Endpoint) {
    if let packet = server.deliver(bytes, from: peer, at: now) { carry(packet, isForth: false) }
  }

  /// Something arrives from the server's address.
  func inject(_ bytes: [UInt8]) {
    batch.removeAll()
    _ = bytes.withUnsafeBytes { batch.append(copying: $0) }
    client.receive(batch, at: now)
    while let peer = client.nextRun(&batch) {
      for index in 0..<batch.count { received.append((peer, [UInt8](batch[index]))) }
    }
    settle()
  }

  /// Time passes.
  func run(milliseconds: Int64) {
    let end = now + .milliseconds(milliseconds)
    while true {
      let packet = wire.min { ($0.due, $0.order) < ($1.due, $1.order) }
      let next = min(packet?.due ?? .distantFuture, client.nextDeadline() ?? .distantFuture)
      guard next <= end else { break }
      now = max(now, next)
      if let packet, packet.due <= now {
        wire.removeAll { $0.order == packet.order }
        if packet.isForth {
          for answer in server.take(packet.bytes, from: packet.from, at: now) { carry(answer, isForth: false) }
        } else if packet.from == address {
          inject(packet.bytes)
        }
      } else {
        client.handleTimeout(at: now)
      }
      settle()
    }
    now = end
  }

  func settle() {
    while let event = client.pollEvent() {
      events.append((event, now))
      if event == .answered, proceeds { client.proceed(at: now) }
    }
    while let message = client.pollTransmit() {
      sent.append((message, now))
      carry(message, isForth: true)
    }
  }

  private func carry(_ bytes: [UInt8], isForth: Bool) {
    let copies = dice.next() % 100 < loss ? 0 : dice.next() % 100 < doubling ? 2 : 1
    for _ in 0..<copies {
      let delay = latency == 0 ? 0 : Int64(dice.next() % latency) + 1
      wire.append((now + .milliseconds(delay), order, isForth, address, bytes))
      order += 1
    }
  }
}

/// Reads a message that is known to be one.
func reading<Result>(_ bytes: [UInt8], _ body: (STUNMessage) throws -> Result) throws -> Result {
  try bytes.withUnsafeBytes { try body(try #require(STUNMessage($0))) }
}
