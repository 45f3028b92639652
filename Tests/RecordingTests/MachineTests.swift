import CryptoPrimitives
import FairQueue
import HTTPProxy
import NodeSelection
import RecordedMachines
import Recording
import SOCKS
import Smux
import Testing
import TunProtocol
import Values
import WebSocket
import WireGuard

/// Machines that are driven by lots and then run again from what was recorded.
@Suite("Recorded machines") struct MachineTests {
  typealias Seeds = ClosedRange<UInt64>

  @Test("A TUN client", arguments: 1...30 as Seeds)
  func tunClient(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    let passphrase = Array(dice.pick(["", "p4ssphrase", "a-p4ssphrase-of-more-than-16"]).utf8)
    var machine = RecordedTunClient(
      addresses: [try #require(IPAddress("10.0.0.2")), try #require(IPAddress("fd00::2"))], passphrase: passphrase,
      keepalive: dice.chance(2) ? .seconds(3) : nil, studio.recorder, about: "office")
    let observed = try #require(IPAddress("192.0.2.1"))
    for _ in 0..<400 {
      studio.wait(.milliseconds(Int64(dice.below(700))))
      switch dice.below(9) {
      case 0: machine.handle(.carrierOpened, at: studio.now)
      case 1 where dice.chance(4): machine.handle(.carrierClosed, at: studio.now)
      case 2, 3: machine.handle(.sent, at: studio.now)
      case 4: machine.handle(.heard, at: studio.now)
      case 5: machine.handle(.answered(observed: observed), at: studio.now)
      case 6: machine.handle(.networkChanged, at: studio.now)
      default: machine.handleTimeout(at: studio.now)
      }
      while machine.pollTransmit() != nil {}
      while machine.pollEvent() != nil {}
    }
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1, calls: 100...5_000)
    expectNone("p4ssphrase", in: bytes)
  }

  @Test("The timers of a WireGuard peer", arguments: 1...30 as Seeds)
  func wireGuardTimers(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    var machine = RecordedPeerTimers(studio.recorder, about: "wg0 peer 1")
    for _ in 0..<400 {
      studio.wait(.milliseconds(Int64(dice.below(9_000))))
      let since = studio.now + .milliseconds(-Int64(dice.below(5_000)))
      let inputs: [PeerTimers.Input] = [
        .dataSent, .dataReceived, .sent, .received, .initiationSent, .initiationHeldBack(since: since),
        .handshakeCompleted, .sessionDerived, .persistentKeepalive(.seconds(Int64(dice.below(3) * 10))),
      ]
      switch dice.below(4) {
      case 0: machine.make(.timedOut(lots: UInt32(dice.below(1 << 30))), at: studio.now)
      case 1 where dice.chance(4): machine.make(dice.chance(4) ? .told(.stopped, lots: 0) : .begun, at: studio.now)
      default: machine.make(.told(dice.pick(inputs), lots: UInt32(dice.below(1 << 30))), at: studio.now)
      }
    }
    try expectSame(studio.finish(), machines: 1, calls: 50...400)
  }

  @Test(
    "A WireGuard device that calls a peer in vain: its timers are run again, and it writes no key and no byte of a message"
  )
  func wireGuardDevice() throws {
    let studio = Studio()
    let recorder = try #require(studio.recorder)
    let tape = WireGuardTape(recorder, about: "wg0")
    var random = SystemRandomNumberGenerator()
    let keys = (0..<2).map { _ in (0..<32).map { _ in UInt8.random(in: 0...255) } }
    let peerKey = X25519.publicKey(of: SecretKey(using: &random))
    var device = Device(random: random, at: studio.now)
    device.witness = tape
    device.setPrivateKey(SecretKey(keys[0]), at: studio.now)
    let added = device.addPeer(peerKey)
    let peer = try #require(added)
    device.setPresharedKey(SecretKey(keys[1]) ?? SecretKey(), of: peer)
    device.setEndpoint(try #require(Endpoint("192.0.2.1:51820")), of: peer)
    device.handle(Outbound.Report(peer: peer, isWaiting: true), at: studio.now)
    var messages: [[UInt8]] = []
    var room = [UInt8](repeating: 0, count: 148)
    func settle() {
      while let event = device.pollEvent() { tape.note(event) }
      while let (size, to) = room.withUnsafeMutableBytes({ device.pollTransmit(into: $0) }) {
        messages.append(Array(room[..<size]))
        tape.note(sent: size, to: to)
      }
    }
    settle()
    // Until it gives up.
    while let (due, _) = device.nextDeadline(), due < Instant(nanoseconds: 400_000_000_000) {
      studio.now = max(due, studio.now)
      device.handleTimeout(at: studio.now)
      settle()
    }
    #expect(messages.count == 19)
    device.removePeer(peer)
    settle()
    let bytes = studio.finish()
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.contains("giveUp") && text.contains("given up") && text.contains(#""end":true"#), "\(text)")
    #expect(text.ranges(of: #""sent":148"#).count == 19)
    try expectSame(bytes, machines: 1, calls: 38...60)
    for secret in keys + [peerKey.bytes] + messages.map({ Array($0[4..<8]) }) + messages.map({ Array($0[8..<40]) }) {
      let digits = secret.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
      #expect(!text.contains(digits) && !text.contains(Base64.encode(secret).prefix(10)))
    }
    withExtendedLifetime(tape) {}
  }

  @Test("Packets that change nothing are left out")
  func quietPackets() {
    let studio = Studio()
    var machine = RecordedTunClient(addresses: [], passphrase: [], keepalive: nil, studio.recorder, about: "")
    machine.handle(.carrierOpened, at: studio.now)
    let before = studio.bytes.count
    for _ in 0..<1_000 { machine.handle(.sent, at: studio.now) }
    #expect(studio.bytes.count < before + 200)
  }

  @Test("A TUN server's table", arguments: 1...30 as Seeds)
  func registry(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    let hasAuther = dice.chance(2)
    let addresses = try (1...5).map { try #require(IPAddress("10.0.0.\($0)")) }
    var machine = RecordedTunRegistry(
      ownAddresses: [addresses[0]], routes: [(try #require(IPPrefix("10.9.0.0/16")), gateway: addresses[2])],
      pointToPoint: dice.chance(4), studio.recorder, about: "")
    let clients = try ["192.0.2.1:5", "192.0.2.2:6", "[2001:db8::1]:7"].map { try #require(Endpoint($0)) }
    let scoped = Endpoint(try #require(IPAddress("fe80::1")), port: 9, scope: 3)
    for _ in 0..<300 {
      if dice.chance(2) { studio.wait(.milliseconds(Int64(dice.below(900)))) }
      let client = dice.chance(8) ? scoped : dice.pick(clients)
      switch dice.below(4) {
      case 0:
        let announcement = TunHandshake.Announcement(
          passphrase: Array("p4ssphrase".utf8), addresses: (0...dice.below(2)).map { _ in dice.pick(addresses) })
        let verdict = !dice.chance(3)
        _ = machine.announce(
          announcement, from: client, isAllowed: hasAuther ? { _ in verdict } : nil, at: studio.now)
      case 1: _ = machine.settleClaims(at: studio.now)
      default: _ = machine.admit(source: dice.pick(addresses), from: client, at: studio.now)
      }
    }
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1, calls: 50...400)
    expectNone("p4ssphrase", in: bytes)
  }

  @Test("Both ends of a smux session", arguments: 1...30 as Seeds)
  func smux(_ seed: UInt64) throws {
    let studio = Studio()
    var world = SmuxWorld(seed, studio)
    world.run(steps: 400)
    let bytes = studio.finish()
    try expectSame(bytes, machines: 2, calls: 200...100_000)
    #expect(world.carried > 10_000)
    expectNone("SECRET", in: bytes)
  }

  @Test("A smux session that is told rubbish", arguments: 1...30 as Seeds)
  func brokenSmux(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    var machine = RecordedSmux(side: .server, settings: SmuxSettings(), at: studio.now, studio.recorder, about: "")
    let rubbish = dice.chance(2) ? [1, UInt8(dice.below(6)), UInt8(dice.below(3)), 0] + dice.bytes(60) : dice.bytes(64)
    rubbish.withUnsafeBytes { bytes in
      try? machine.receive(bytes, at: studio.now)
      while machine.pollEvent() != nil {}
      machine.settle()
    }
    try expectSame(studio.finish(), machines: 1)
  }

  @Test("Both ends of a SOCKS5 handshake", arguments: 1...60 as Seeds)
  func socks5(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    let password = dice.chance(3) ? nil : SOCKS5Credentials(user: Array("us3r".utf8), password: Array("p4ss".utf8))
    var server = RecordedSOCKS5Server(
      wantsPassword: dice.chance(2), hasTLS: dice.chance(2), studio.recorder, about: "server")
    var client = try #require(
      RecordedSOCKS5Client(
        request: SOCKS5Request(.connect, HostPort(host: "target.example", port: 443)), credentials: password,
        offersTLS: dice.chance(2), studio.recorder, about: "client"))
    var toServer = client.greeting
    var toClient: [UInt8] = []
    if dice.chance(5) { toServer[dice.below(toServer.count)] ^= 1 }
    let isAllowed = !dice.chance(4)
    rounds: for _ in 0..<60 {
      studio.wait(.milliseconds(1))
      // Some of the bytes, as they might come.
      let upTo = min(toServer.count, 1 + dice.below(30))
      if upTo > 0 {
        guard let (step, consumed) = toServer[..<upTo].withUnsafeBytes({ raw in try? server.step(raw) }) else { break }
        toServer.removeFirst(consumed)
        var next = step
        if case .credentials = next { next = server.answer(isAllowed: isAllowed) }
        switch next {
        case .send(let bytes): toClient += bytes
        case .startTLS(let bytes): toClient += bytes
        case .refuse(let bytes, _): toClient += bytes
        case .request: toClient += SOCKS5Reply(dice.chance(2) ? .succeeded : .connectionRefused).encode()
        case .needs, .credentials: break
        }
      }
      guard !toClient.isEmpty else { continue }
      let some = min(toClient.count, 1 + dice.below(12))
      guard let (step, consumed) = toClient[..<some].withUnsafeBytes({ raw in try? client.step(raw) }) else { break }
      toClient.removeFirst(consumed)
      switch step {
      case .send(let bytes): toServer += bytes
      case .startTLS: toServer += client.secured()
      case .reply, .failed: break rounds
      case .needs: break
      }
    }
    let bytes = studio.finish()
    try expectSame(bytes, machines: 2, calls: 2...500)
    for secret in ["us3r", "p4ss"] { expectNone(secret, in: bytes) }
  }

  @Test("Bodies, in chunks and otherwise", arguments: 1...60 as Seeds)
  func bodies(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    var wire: [UInt8] = []
    for _ in 0..<dice.below(5) {
      let size = 1 + dice.below(300)
      let name = dice.chance(3) ? ";name=SECRET" : ""
      wire += Array("\(String(size, radix: 16))\(name)\r\n".utf8) + Array(repeating: UInt8(ascii: "S"), count: size)
      wire += [13, 10]
    }
    wire += Array("0\r\n\(dice.chance(2) ? "X-Sum: SECRET\r\n" : "")\r\n".utf8) + Array("SECRET behind".utf8)
    if dice.chance(3) { wire[dice.below(wire.count)] = UInt8(dice.below(256)) }
    let lengths: [HTTPBody.Length] = [.chunked, .chunked, .chunked, .bytes(700), .none, .untilClose]
    var body = RecordedHTTPBody(dice.pick(lengths), studio.recorder, about: "")
    var rest = wire[...]
    while !rest.isEmpty, !body.isComplete {
      let piece = rest.prefix(1 + dice.below(90))
      guard let taken = Array(piece).withUnsafeBytes({ raw in try? body.take(raw) }) else { break }
      rest = rest.dropFirst(taken)
      if taken < piece.count { break }
    }
    if dice.chance(2) { try? body.end() }
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1, calls: 0...1_000)
    expectNone("SECRET", in: bytes)
  }

  @Test("Frames of WebSocket at either end", arguments: 1...60 as Seeds)
  func frames(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    let isServer = dice.chance(2)
    var wire: [UInt8] = []
    var space = [UInt8](repeating: 0, count: 80_000)
    for _ in 0..<8 {
      let mask = isServer ? UInt32(truncatingIfNeeded: dice.next()) : nil
      let kinds: [WebSocketFrame.Kind] = [.binary, .binary, .binary, .ping, .pong]
      let kind = dice.pick(kinds)
      let sizes = kind == .binary ? [0, 5, 125, 126, 1_000, 70_000] : [0, 5, 125]
      let payload = Array("SECRET".utf8) + dice.bytes(max(0, dice.pick(sizes) - 6))
      let count = payload.prefix(kind == .binary ? .max : 125).withUnsafeBytes { raw in
        space.withUnsafeMutableBytes { WebSocketFrame.write(kind, raw, mask: mask, into: $0) }
      }
      wire += space[..<count]
    }
    let close = space.withUnsafeMutableBytes {
      WebSocketFrame.writeClose(.goingAway, mask: isServer ? 77 : nil, into: $0)
    }
    wire += space[..<close] + Array("SECRET behind".utf8)
    if dice.chance(3) { wire[dice.below(wire.count)] ^= 0x11 }
    var receiver = RecordedWebSocketReceiver(role: isServer ? .server : .client, studio.recorder, about: "")
    var rest = wire[...]
    while !rest.isEmpty {
      var piece = Array(rest.prefix(1 + dice.below(dice.chance(3) ? 40_000 : 30)))
      rest = rest.dropFirst(piece.count)
      guard (piece.withUnsafeMutableBytes { raw in try? receiver.receive(raw) }) != nil else { break }
      _ = receiver.takePing()
    }
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1)
    expectNone("SECRET", in: bytes)
  }

  @Test("The choice among nodes", arguments: 1...40 as Seeds)
  func selector(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    let nodes = (0..<(1 + dice.below(6))).map { _ in
      NodeSelector.Node(
        weight: dice.below(5), isBackup: dice.chance(4), maxFails: dice.chance(2) ? nil : 1 + dice.below(3),
        failTimeout: dice.chance(2) ? nil : .milliseconds(Int64(dice.below(4_000))))
    }
    var machine = RecordedNodeSelector(
      NodeSelector(strategy: dice.pick(NodeSelector.Strategy.allCases), nodes: nodes, seed: dice.next()),
      studio.recorder, about: "hop-0")
    for _ in 0..<200 {
      studio.wait(.milliseconds(Int64(dice.below(900))))
      let tried = Set((0..<dice.below(3)).map { _ in dice.below(nodes.count) })
      guard
        let index = machine.pick(
          hash: dice.chance(2) ? nil : UInt32(truncatingIfNeeded: dice.next()), at: studio.now, excluding: tried)
      else { continue }
      if dice.chance(2) { machine.failed(index, at: studio.now) } else { machine.succeeded(index) }
    }
    try expectSame(studio.finish(), machines: 1, calls: 200...600)
  }

  @Test("The queue before a full carrier", arguments: 1...30 as Seeds)
  func fairQueue(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    var queue = RecordedFairQueue(seed: dice.next(), limit: 60_000, studio.recorder, about: "")
    var batch = PacketBatch(capacity: 64 * 1024, maximumCount: 64, headroom: dice.pick([0, 2]))
    var out = 0
    for _ in 0..<300 {
      studio.wait(.microseconds(Int64(dice.below(30_000))))
      batch.removeAll()
      if dice.chance(2) {
        for _ in 0..<(1 + dice.below(12)) {
          var packet = dice.bytes(dice.pick([1, 20, 47, 48, 60, 400, 1_400, 1_400]))
          if packet.count >= 28 {
            // IPv4, UDP, one of a few flows, any congestion bits.
            packet.replaceSubrange(
              0..<24,
              with: [
                0x45, UInt8(dice.below(4)), UInt8(packet.count >> 8), UInt8(packet.count & 255), 0, 0, 0, 0, 64, 17,
              ]
                + [0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, UInt8(dice.below(6)), 0, 53])
          }
          packet.withUnsafeBytes { _ = batch.append(copying: $0) }
        }
        queue.enqueue(contentsOf: batch, at: studio.now)
      } else if dice.chance(20) {
        queue.trim()
      } else {
        queue.dequeue(into: &batch, at: studio.now, atMost: 1 + dice.below(8_000))
        out += batch.count
      }
    }
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1, calls: 200...600)
    #expect(out > 100)
    // Nobody's address is in it.
    expectNone("0a000001", in: bytes)
  }
}

/// Two ends of a session, with random calls and wires that cut anywhere.
private struct SmuxWorld {
  private final class End {
    var machine: RecordedSmux
    /// What is under way from here.
    var wire: [UInt8] = []
    var streams: [UInt32] = []

    init(_ side: SmuxSession.Side, _ settings: SmuxSettings, _ studio: Studio) {
      machine = RecordedSmux(side: side, settings: settings, at: studio.now, studio.recorder, about: "\(side)")
    }
  }

  private let studio: Studio
  private var dice: Dice
  private let ends: [End]
  private(set) var carried = 0

  init(_ seed: UInt64, _ studio: Studio) {
    self.studio = studio
    dice = Dice(seed)
    let settings = SmuxSettings(
      version: dice.chance(2) ? .one : .two, keepaliveInterval: dice.chance(2) ? .seconds(2) : nil,
      maximumFrame: dice.pick([200, 4_096, 32_768]), receiveBuffer: dice.pick([20_000, 1 << 20]),
      streamBuffer: dice.pick([2_000, 65_536]), maximumStreams: 5)
    ends = [End(.client, settings, studio), End(.server, settings, studio)]
  }

  mutating func run(steps: Int) {
    for _ in 0..<steps {
      studio.wait(.milliseconds(Int64(dice.below(40))))
      let side = dice.below(2)
      step(ends[side], ends[1 - side])
    }
  }

  private mutating func step(_ end: End, _ other: End) {
    switch dice.below(10) {
    case 0 where end.streams.count < 7:
      if let id = end.machine.open() { end.streams.append(id) }
    case 1, 2, 3:
      guard let id = end.streams.randomElement(using: &dice) else { break }
      let data = Array("SECRET".utf8) + [UInt8](repeating: 7, count: dice.below(9_000))
      _ = data.withUnsafeBytes { end.machine.write(id, $0) }
    case 4 where dice.chance(6):
      guard let id = end.streams.randomElement(using: &dice) else { break }
      end.machine.finish(id)
    case 5 where dice.chance(8):
      guard let id = end.streams.randomElement(using: &dice) else { break }
      end.machine.close(id)
      end.streams.removeAll { $0 == id }
    case 6: try? end.machine.handleTimeout(at: studio.now)
    case 7 where dice.chance(4): end.machine.trim()
    case 8: read(end)
    default: break
    }
    receive(end, from: other)
    while let id = end.machine.nextWriter() {
      let data = [UInt8](repeating: 9, count: dice.below(3_000))
      _ = data.withUnsafeBytes { end.machine.write(id, $0) }
    }
    let output = Array(end.machine.output)
    let count = dice.chance(3) ? dice.below(output.count + 1) : output.count
    end.wire += output[..<count]
    end.machine.consumeOutput(count)
  }

  private mutating func receive(_ end: End, from other: End) {
    guard end.machine.wantsInput, !other.wire.isEmpty else { return }
    let piece = Array(other.wire.prefix(1 + dice.below(20_000)))
    other.wire.removeFirst(piece.count)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: piece)
    try? end.machine.receive(UnsafeRawBufferPointer(memory), at: studio.now)
    while let event = end.machine.pollEvent() {
      if case .opened(let id) = event { end.streams.append(id) }
      if dice.chance(2) { read(end) }
    }
    end.machine.settle()
  }

  private mutating func read(_ end: End) {
    guard let id = end.streams.randomElement(using: &dice) else { return }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 + dice.below(6_000), alignment: 1)
    defer { room.deallocate() }
    if case .bytes(let count) = end.machine.read(id, into: room) { carried += count }
  }
}
