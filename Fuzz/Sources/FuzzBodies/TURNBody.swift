import STUN
import TURN
import Values

enum TURNPlace: Int, CaseIterable {
  case challenged, allocated, refreshed, ended, expired, permitted, bound, forwarded, delivered, indicated
  case refused, moved, taken, reserved, connected, accepted, joined, dropped, bindingAnswered
}

/// A relay's machine with clients, peers and time: what they do is chosen by the bytes. In the end, two hours later,
/// nothing may be left.
func fuzzTURN(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  var scene = RelayScene(feed.byte())
  var steps = 0
  while !feed.isEmpty, steps < 400 {
    steps += 1
    try scene.step(&feed, &marks)
  }
  scene.now = scene.now + .seconds(7_200)
  for _ in 0..<3 {
    scene.server.handleTimeout(at: scene.now)
    try scene.settle(&marks)
    scene.now = scene.now + .seconds(1_000)
  }
  try check(scene.server.allocationCount == 0, "\(scene.server.allocationCount) allocations are left")
  try check(scene.server.usedPorts == 0, "\(scene.server.usedPorts) ports are left")
  try check(scene.server.nextDeadline() == nil, "something is still to come")
}

/// Draws that are the same every time.
private struct Draws: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

private struct RelayScene {
  var server: TurnServer
  var now = Instant(nanoseconds: 1_000_000_000)
  private var ids: [AllocationID] = []
  private var tickets: [[UInt8]] = []
  private var tokens: [UInt64] = []
  private var connections: [ConnectionID] = []
  private var nonces: [TurnFlow: [UInt8]] = [:]
  private var transaction: UInt64 = 0
  private var isTaken = false
  private let userQuota: Int?

  private static let local = IPAddress.v4(0xC633_6401)

  init(_ options: UInt8) {
    var settings = TurnSettings()
    settings.realm = "r"
    settings.addresses = [
      RelayAddress(local: options & 1 == 0 ? Self.local : .v4(0x0A00_0001), external: Self.local),
      RelayAddress(local: .v6(0x2001_0DB8 << 96 | 1)),
    ]
    settings.ports = 50_000...50_015
    settings.isMobile = options & 2 == 0
    settings.relaysTCP = options & 4 == 0
    settings.userQuota = options & 8 == 0 ? nil : 2
    settings.isOpen = options & 16 != 0
    settings.userBandwidth = options & 32 == 0 ? nil : 5_000
    userQuota = settings.isOpen ? nil : settings.userQuota
    server = TurnServer(
      settings, users: TurnUsers(realm: "r", users: ["a": .password("p")]), random: Draws(state: UInt64(options)),
      at: now, unixSeconds: 0
    ) { $0.address == .v4(0x7F00_0001) ? "loopback" : nil }
  }

  private static func flow(_ choice: UInt8) -> TurnFlow {
    TurnFlow(
      listener: 1, transport: choice & 4 == 0 ? .udp : .tcp,
      remote: Endpoint(.v4(0xC000_0200 + UInt32(choice & 3)), port: 1_000 + UInt16(choice >> 3)),
      local: Endpoint(local, port: 3_478))
  }

  private static func peer(_ choice: UInt8) -> Endpoint {
    let port = 7_000 + UInt16(choice >> 5)
    switch choice & 7 {
    case 0: return Endpoint(.v4(0x7F00_0001), port: port)
    case 1: return Endpoint(local, port: 50_000 + UInt16(choice >> 4))
    case 2: return Endpoint(.v6(0x2001_0DB8 << 96 | UInt128(choice)), port: port)
    case 3: return Endpoint(.v6(0xFFFF_CB00_7101), port: port)
    default: return Endpoint(.v4(0xCB00_7100 + UInt32(choice & 3)), port: port)
    }
  }

  mutating func step(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    let choice = feed.byte()
    let flow = Self.flow(feed.byte())
    switch choice % 12 {
    case 0:
      let bytes = feed.bytes(Int(feed.byte()))
      try exactly(bytes) { memory throws(Breach) in
        _ = server.receive(UnsafeRawBufferPointer(memory), from: flow, at: now)
      }
    case 1: try request(.allocate, flow, &feed, &marks)
    case 2: try request(.refresh, flow, &feed, &marks)
    case 3: try request(.createPermission, flow, &feed, &marks)
    case 4: try request(.channelBind, flow, &feed, &marks)
    case 5: try request(feed.byte() & 1 == 0 ? .connect : .connectionBind, flow, &feed, &marks)
    case 6:
      let number = 0x4000 + UInt16(feed.byte() & 3)
      if server.forward(channel: number, from: flow, packets: 1, bytes: 1_000, at: now) != nil {
        marks.reach(TURNPlace.forwarded)
      }
    case 7:
      let id = ids.isEmpty ? AllocationID(slot: UInt32(choice), generation: 1) : ids[Int(feed.byte()) % ids.count]
      let peer = Self.peer(feed.byte())
      if server.arrival(on: id, relay: Int(choice & 1), from: peer, packets: 1, bytes: 10, at: now) != nil {
        marks.reach(TURNPlace.delivered)
      }
    case 8:
      var writer = STUNWriter(.indication, .send, TransactionID(high: 0, low: 0))
      writer.add(.xorPeerAddress, xor: Self.peer(feed.byte()))
      writer.add(.data, feed.bytes(4))
      if writer.bytes.withUnsafeBytes({ server.receive($0, from: flow, at: now) }) != nil {
        marks.reach(TURNPlace.indicated)
      }
    case 9:
      now = now + .seconds(Int64(feed.byte()) * 4)
      let before = server.allocationCount
      server.handleTimeout(at: now)
      if server.allocationCount < before { marks.reach(TURNPlace.expired) }
      if let next = server.nextDeadline() {
        try check(next > now || next.nanoseconds == .min, "a deadline that has passed stays")
      }
    case 10:
      switch feed.byte() & 3 {
      case 0: server.closed(flow, at: now)
      case 1: isTaken.toggle()
      case 2:
        let id = ids.isEmpty ? AllocationID(slot: 0, generation: 1) : ids[Int(feed.byte()) % ids.count]
        if let connection = server.accepted(on: id, from: Self.peer(feed.byte()), at: now) {
          connections.append(connection)
          marks.reach(TURNPlace.accepted)
        }
      default:
        let connection = connections.isEmpty ? ConnectionID(number: 1) : connections[Int(choice) % connections.count]
        if feed.byte() & 1 == 0 {
          server.connected(connection, feed.byte() & 1 == 0, at: now)
        } else {
          server.disconnected(connection)
        }
      }
    default:
      var writer = STUNWriter(.request, .binding, TransactionID(high: 0, low: 0))
      if choice & 16 != 0 { writer.add(.changeRequest, UInt32(feed.byte())) }
      writer.bytes.withUnsafeBytes { _ = server.receive($0, from: flow, at: now) }
    }
    try settle(&marks)
    if let userQuota {
      try check(server.allocationCount <= userQuota, "\(server.allocationCount) allocations of one user")
    }
    try check(server.counters.drops.count <= TurnDrop.allCases.count, "more names than there are")
  }

  /// A request with the right password, as a rule, and attributes that the bytes choose.
  private mutating func request(
    _ method: STUNMethod, _ flow: TurnFlow, _ feed: inout Feed, _ marks: inout Marks
  ) throws(Breach) {
    let options = feed.byte()
    transaction &+= options & 128 == 0 ? 1 : 0
    var writer = STUNWriter(.request, method, TransactionID(high: 7, low: transaction))
    if method == .allocate { writer.add(.requestedTransport, byte: options & 1 == 0 ? 17 : 6) }
    if options & 2 != 0 { writer.add(.lifetime, UInt32(feed.byte()) * 16) }
    if options & 4 != 0 { writer.add(.requestedAddressFamily, byte: feed.byte() & 3) }
    if options & 8 != 0 { writer.add(.additionalAddressFamily, byte: feed.byte() & 3) }
    if options & 16 != 0 {
      switch feed.byte() & 3 {
      case 0: writer.add(.evenPort, [feed.byte() & 0x80])
      case 1: writer.add(.reservationToken, tokens.last ?? 1)
      case 2: writer.add(.mobilityTicket, method == .allocate ? [] : tickets.last ?? [1])
      default: writer.add(.connectionID, connections.last?.number ?? 1)
      }
    }
    if method != .allocate, method != .refresh {
      for _ in 0...Int(options >> 5 & 1) { writer.add(.xorPeerAddress, xor: Self.peer(feed.byte())) }
      writer.add(channel: 0x4000 + UInt16(feed.byte() & 3))
    }
    if let nonce = nonces[flow] {
      writer.add(.username, "a")
      writer.add(.realm, "r")
      writer.add(.nonce, nonce)
      let password = options & 64 == 0 ? "p" : feed.byte() == 1 ? "wrong" : "p"
      writer.add(integrity: PasswordAlgorithm.md5.key(username: "a", realm: "r", password: password, .sha1))
    }
    writer.bytes.withUnsafeBytes { _ = server.receive($0, from: flow, at: now) }
    try settle(&marks)
  }

  mutating func settle(_ marks: inout Marks) throws(Breach) {
    var count = 0
    while let event = server.pollEvent() {
      count += 1
      try check(count < 10_000, "events without an end")
      switch event {
      case .bind(let id, let relay, _, _):
        if isTaken { marks.reach(TURNPlace.taken) }
        server.bound(id, relay: relay, !isTaken, at: now)
      case .began(let id):
        ids.append(id)
        marks.reach(TURNPlace.allocated)
      case .close(let id, relay: nil):
        ids.removeAll { $0 == id }
        marks.reach(TURNPlace.ended)
      case .moved: marks.reach(TURNPlace.moved)
      case .channelBound: marks.reach(TURNPlace.bound)
      case .connect(_, let connection, _):
        connections.append(connection)
        marks.reach(TURNPlace.connected)
      case .join: marks.reach(TURNPlace.joined)
      case .drop: marks.reach(TURNPlace.dropped)
      case .refused: marks.reach(TURNPlace.refused)
      case .close, .channelEnded: break
      }
    }
    while let answer = server.pollTransmit() { try look(answer, &marks) }
  }

  private mutating func look(_ answer: TurnServer.Transmit, _ marks: inout Marks) throws(Breach) {
    var breach: Breach?
    answer.bytes.withUnsafeBytes { bytes in
      guard let message = STUNMessage(bytes) else {
        breach = Breach(description: "an answer that is no message: \(answer.bytes)")
        return
      }
      if let nonce = message.bytes(.nonce) {
        nonces[answer.flow] = nonce
        marks.reach(TURNPlace.challenged)
        if answer.bytes.count > TurnLimit.challenge {
          breach = Breach(description: "a challenge of \(answer.bytes.count) bytes")
        }
      }
      if let ticket = message.bytes(.mobilityTicket) { tickets.append(ticket) }
      if let token = message.longNumber(.reservationToken) {
        tokens.append(token)
        marks.reach(TURNPlace.reserved)
      }
      if let number = message.number(.connectionID), let known = connections.last, known.number == number {
        marks.reach(TURNPlace.connected)
      }
      guard message.kind == .success else { return }
      switch message.method {
      case .binding: marks.reach(TURNPlace.bindingAnswered)
      case .refresh: marks.reach(TURNPlace.refreshed)
      case .createPermission: marks.reach(TURNPlace.permitted)
      default: break
      }
    }
    if let breach { throw breach }
  }
}
