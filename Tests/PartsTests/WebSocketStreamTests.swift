import LinuxIO
import Testing
import Values

@testable import Parts
@testable import WebSocket

@Suite("WebSocket over a stream")
struct WebSocketStreamTests {
  private let loop: EventLoop

  init() throws { loop = try EventLoop() }

  /// Both ends with their handshakes behind them.
  private func pair(
    _ below: (Wire, Wire), keepalive: TimeSpan? = nil
  ) throws -> (client: WebSocketStream, server: WebSocketStream) {
    var failures: [TransportFailure?] = []
    let server = try WebSocketStream.server(loop: loop, below: below.1, settings: WebSocketSettings()) {
      failures.append($0)
    }
    let client = try WebSocketStream.client(
      loop: loop, below: below.0, host: "example.com", settings: WebSocketSettings(keepalive: keepalive)
    ) { failures.append($0) }
    #expect(failures.isEmpty)
    #expect(loop.run { failures.count < 2 })
    #expect(failures == [nil, nil])
    return (client, server)
  }

  private func bytes(_ count: Int, _ step: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* step &+ $0 >> 8) }
  }

  @Test("A megabyte goes each way at once, whatever the wire takes and gives, and both ends end")
  func megabyte() throws {
    for (capacity, readSize) in [(10_000, 20_000), (300_000, 65_536), (700, 100)] {
      let (client, server) = try pair(Wire.pair(loop: loop, capacity: capacity))
      #expect(client.layers == [.tcp, .webSocket] && server.layers == [.tcp, .webSocket])
      let up = bytes(1 << 20, 7)
      let down = bytes(1 << 20, 13)
      let (one, two) = (Owner(client, readSize: readSize), Owner(server, readSize: readSize))
      one.send(up, finish: true)
      two.send(down, finish: true)
      #expect(loop.run { !one.hasEnded || !two.hasEnded })
      #expect(two.received.elementsEqual(up))
      #expect(one.received.elementsEqual(down))
      #expect(one.failure == nil && two.failure == nil)
      client.close()
      server.close()
    }
  }

  @Test("One direction ends and the other goes on")
  func halfOpen() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below)
    let (one, two) = (Owner(client), Owner(server))
    one.send(Array("question".utf8), finish: true)
    #expect(loop.run { !two.hasEnded })
    #expect(two.received == Array("question".utf8))
    #expect(!one.hasEnded && below.0.isFinished && !below.1.isFinished)
    let answer = bytes(100_000, 3)
    two.send(answer, finish: true)
    #expect(loop.run { !one.hasEnded })
    #expect(one.received.elementsEqual(answer))
    #expect(below.1.isFinished)
  }

  @Test("A first end is told without a close frame, which would end both directions; a last one with it")
  func endings() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below)
    server.observer = nil
    let near = Owner(client)
    let far = Owner(below.1)
    // Their close frame ends their direction, ours goes on.
    far.send([0x88, 2, 0x03, 0xE8])
    #expect(loop.run { !near.hasEnded })
    #expect(near.failure == nil && !below.0.isFinished)
    near.send([1, 2, 3], finish: true)
    #expect(loop.run { !far.hasEnded })
    var frames = far.received
    var receiver = WebSocketReceiver(role: .server)
    let count = try frames.withUnsafeMutableBytes { try receiver.receive($0) }
    #expect(Array(frames[..<count]) == [1, 2, 3])
    #expect(receiver.close?.code == .normal)

    let other = Wire.pair(loop: loop)
    let (first, second) = try pair(other)
    second.observer = nil
    let end = Owner(other.1)
    first.finish()
    #expect(loop.run { !end.hasEnded })
    #expect(end.received == [])
  }

  @Test("Closing says so in a close frame")
  func closing() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below)
    server.observer = nil
    let far = Owner(below.1)
    client.close()
    #expect(loop.run { !far.hasEnded })
    #expect(below.0.isClosed)
    var frames = far.received
    var receiver = WebSocketReceiver(role: .server)
    _ = try frames.withUnsafeMutableBytes { try receiver.receive($0) }
    #expect(receiver.close?.code == .normal)
  }

  @Test("What was written before the end arrives although the stream is closed at once")
  func lastBytes() throws {
    let (client, server) = try pair(Wire.pair(loop: loop, capacity: 5_000))
    let two = Owner(server)
    two.isReading = false
    let last = bytes(60_000, 5)
    #expect(last.withUnsafeBytes { client.write($0) } == last.count)
    client.finish()
    client.close()
    two.isReading = true
    #expect(loop.run { !two.hasEnded })
    #expect(two.received.elementsEqual(last))
  }

  @Test("Bytes behind either head belong to the frames")
  func leftover() throws {
    let (near, far) = Wire.pair(loop: loop)
    var failures: [TransportFailure?] = []
    let server = try WebSocketStream.server(
      loop: loop, below: near, settings: WebSocketSettings(path: "/chat", headers: [("X-By", "us")])
    ) { failures.append($0) }
    let peer = Owner(far)
    let request = """
      GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
      """
    // A frame, and the beginning of another.
    peer.send(Array(request.utf8) + [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58, 0x82, 0x81, 1])
    #expect(loop.run { failures.isEmpty || peer.received.isEmpty })
    #expect(failures == [nil])
    let answer = String(decoding: peer.received, as: UTF8.self)
    #expect(answer.contains("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") && answer.contains("X-By: us\r\n"))
    let owner = Owner(server)
    #expect(loop.run { owner.received.count < 5 })
    peer.send([2, 3, 4, 0x21 ^ 1])
    #expect(loop.run { owner.received.count < 6 })
    #expect(owner.received == Array("Hello!".utf8))
    // Without a close frame, between two messages: as GOST ends.
    far.finish()
    #expect(loop.run { !owner.hasEnded })
    #expect(owner.failure == nil)
  }

  @Test("A connection that ends inside a frame is lost, not ended")
  func cutOff() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below)
    let owner = Owner(client)
    server.observer = nil
    _ = ([0x82, 5, 1, 2] as [UInt8]).withUnsafeBytes { below.1.write($0) }
    below.1.finish()
    #expect(loop.run { owner.failure == nil })
    #expect(owner.failure?.kind == .lost)
    #expect(owner.received == [1, 2])
    #expect(!owner.hasEnded)
  }

  @Test("Who asks for another path is told so in HTTP, and both ends say why")
  func refused() throws {
    let below = Wire.pair(loop: loop)
    var failures: [TransportFailure?] = []
    let server = try WebSocketStream.server(loop: loop, below: below.1, settings: WebSocketSettings()) {
      failures.append($0)
    }
    let client = try WebSocketStream.client(
      loop: loop, below: below.0, host: "example.com", settings: WebSocketSettings(path: "/other")
    ) { failures.append($0) }
    #expect(loop.run { failures.count < 2 })
    #expect(
      failures.map { $0?.reason } == [
        "WebSocket: it asks for the path /other, and /ws is served here",
        "WebSocket: it answers HTTP 404 Not Found: the path /other is not served there",
      ])
    #expect(failures.allSatisfy { $0?.kind == .refused })
    #expect(loop.run { !below.0.isClosed || !below.1.isClosed })
    #expect(client.layers == [.tcp] && server.layers == [.tcp])
  }

  @Test(
    "A handshake that the other end does not complete fails once",
    arguments: ["", "HTTP/1.1 101 Swit", "SSH-2.0-x\r\n"])
  func incomplete(_ words: String) throws {
    let below = Wire.pair(loop: loop)
    var failures: [TransportFailure?] = []
    let client = try WebSocketStream.client(
      loop: loop, below: below.0, host: "example.com", settings: WebSocketSettings()
    ) { failures.append($0) }
    _ = Array(words.utf8).withUnsafeBytes { below.1.write($0) }
    below.1.finish()
    #expect(loop.run { failures.isEmpty })
    #expect(failures.count == 1 && failures.first??.kind == .refused)
    #expect(below.0.isClosed)
    client.close()
  }

  @Test("A field that cannot be sent is refused before anything is")
  func badField() throws {
    let (near, _) = Wire.pair(loop: loop)
    #expect(throws: TransportFailure(.local, "WebSocket: the field \"Upgrade\" cannot be in the handshake")) {
      _ = try WebSocketStream.client(
        loop: loop, below: near, host: "example.com", settings: WebSocketSettings(headers: [("Upgrade", "x")])
      ) { _ in }
    }
  }

  @Test("A broken frame ends the stream, and the other end is told")
  func violation() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below)
    let owner = Owner(server)
    let other = Owner(client)
    // Not masked.
    _ = ([0x82, 1, 9] as [UInt8]).withUnsafeBytes { below.0.write($0) }
    #expect(loop.run { owner.failure == nil || other.failure == nil })
    #expect(owner.failure?.kind == .violation)
    #expect(owner.failure?.reason == "WebSocket: a client's frame is not masked")
    #expect(other.failure?.reason == "WebSocket: it closed with 1002, protocol error")
  }

  @Test("Pings are answered with what they carry, the last one of many, and data goes on")
  func pings() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below)
    server.observer = nil
    let owner = Owner(client)
    let far = Owner(below.1)
    let frames = (0..<50).flatMap { webSocketBytes(.ping, [UInt8($0)]) } + webSocketBytes(.binary, [7])
    far.send(frames)
    #expect(loop.run { owner.received.isEmpty || far.received.isEmpty })
    #expect(owner.received == [7])
    var receiver = WebSocketReceiver(role: .server)
    var answers = far.received
    _ = try answers.withUnsafeMutableBytes { try receiver.receive($0) }
    #expect(receiver.controlFrames >= 1 && receiver.controlFrames <= 50)
    // The last frame is the answer to the last ping.
    let last = Array(far.received.suffix(7))
    #expect(last[0] == 0x8A && last[1] == 0x81 && last[6] ^ last[2] == 49)
  }

  @Test("A silent end is given up after twice the time between pings; one that answers is not")
  func silence() throws {
    let (client, server) = try pair(Wire.pair(loop: loop), keepalive: .milliseconds(30))
    let (one, two) = (Owner(client), Owner(server))
    let start = loop.refreshNow()
    _ = loop.run { one.failure == nil && loop.refreshNow() - start < .milliseconds(200) }
    #expect(one.failure == nil, "an end that answers pings is alive")
    #expect(two.received.isEmpty)
    two.isReading = false
    #expect(loop.run { one.failure == nil })
    #expect(one.failure?.kind == .timeout)
  }

  @Test("Silence does not count while the owner reads nothing")
  func unread() throws {
    let below = Wire.pair(loop: loop)
    let (client, server) = try pair(below, keepalive: .milliseconds(10))
    let (one, two) = (Owner(client), Owner(server))
    one.isReading = false
    two.send([1])
    two.isReading = false
    let start = loop.refreshNow()
    _ = loop.run { loop.refreshNow() - start < .milliseconds(100) }
    #expect(one.failure == nil)
    one.isReading = true
    #expect(loop.run { one.failure == nil })
    #expect(one.received == [1])
    #expect(one.failure?.kind == .timeout)
  }

  @Test("An idle stream holds no buffer")
  func idle() throws {
    let (client, server) = try pair(Wire.pair(loop: loop, capacity: 300_000))
    let two = Owner(server)
    let piece = bytes(50_000, 1)
    _ = piece.withUnsafeBytes { client.write($0) }
    #expect(client.holdsBuffer)
    #expect(loop.run { client.holdsBuffer || two.received.count < piece.count })
    #expect(two.received.elementsEqual(piece))
    // Small ones hold none even for a moment.
    _ = piece[..<100].withUnsafeBytes { client.write($0) }
    #expect(!client.holdsBuffer)
  }

  @Test("A handshake that is given up leaves nothing behind", arguments: [false, true])
  func abandoned(isServer: Bool) {
    let below = Wire.pair(loop: loop)
    var called = false
    weak var kept: (any ByteStream)?
    do {
      let upgrade: StreamUpgrade =
        isServer ? .webSocketServer(WebSocketSettings()) : .webSocket(host: "h", WebSocketSettings())
      let stream = upgrade.start(loop, below.0) { _ in called = true }
      kept = stream
      _ = loop.run { below.0.incoming.isEmpty && below.1.incoming.isEmpty && !isServer }
      stream.close()
    }
    #expect(loop.run { kept != nil })
    #expect(!called)
    #expect(below.0.isClosed)
  }

  @Test("As layers of a connection both ends complete and carry")
  func upgrades() throws {
    let below = Wire.pair(loop: loop)
    var ends: [any ByteStream] = []
    let completion = { (result: Result<any ByteStream, TransportFailure>) in
      if case .success(let stream) = result { ends.append(stream) }
    }
    _ = StreamUpgrade.webSocketServer(WebSocketSettings()).start(loop, below.1, completion)
    _ = StreamUpgrade.webSocket(host: "h", WebSocketSettings()).start(loop, below.0, completion)
    #expect(loop.run { ends.count < 2 })
    let owners = ends.map { Owner($0) }
    owners.first?.send([1, 2, 3])
    #expect(loop.run { owners.last?.received != [1, 2, 3] })
  }

  private func webSocketBytes(_ kind: WebSocketFrame.Kind, _ payload: [UInt8]) -> [UInt8] {
    var space = [UInt8](repeating: 0, count: payload.count + WebSocketFrame.maximumHeaderSize)
    let count = space.withUnsafeMutableBytes { space in
      payload.withUnsafeBytes { WebSocketFrame.write(kind, $0, mask: nil, into: space) }
    }
    return Array(space[..<count])
  }
}
