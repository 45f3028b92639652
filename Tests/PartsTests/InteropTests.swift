/// Our layers against programs that share no code with them, over real sockets on loopback.
///
/// WebSocket needs a Python with the package websockets: `CULVERT_AIOQUIC_PYTHON`, the one that `scripts/test` makes in
/// `.build/test-venv`, or `python3`. The PROXY protocol needs curl. Where one is not found the tests say that they were
/// skipped and why.
import Glibc
import LinuxIO
import Testing
import Values

@testable import Parts

/// The command in front of the peer's role; `nil` without such a Python.
private let webSocketPeer: [String]? = {
  let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
  let package = parts.dropLast(2).joined(separator: "/")
  let pythons = [
    getenv("CULVERT_AIOQUIC_PYTHON").map { String(cString: $0) }, package + "/.build/test-venv/bin/python3", "python3",
  ].compactMap { $0 }
  return pythons.first { PeerProgram.succeeds([$0, "-c", "import websockets.asyncio.client"]) }.map {
    [$0, parts.joined(separator: "/") + "/Interop/websockets_peer.py"]
  }
}()

/// Sends back what comes, and ends when the other end does.
private final class Echo: ByteStreamObserver {
  private let stream: any ByteStream
  private var rest: [UInt8] = []

  init(_ stream: any ByteStream) {
    self.stream = stream
    stream.observer = self
    stream.readLater()
  }

  func streamReadable(_ stream: any ByteStream) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while rest.isEmpty {
      switch buffer.withUnsafeMutableBytes({ stream.read(into: $0) }) {
      case .bytes(let count): send(buffer[..<count])
      case .end: return stream.finish()
      case .blocked, .failed: return
      }
    }
  }

  func streamWritable(_ stream: any ByteStream) {
    let waiting = rest
    rest = []
    send(waiting[...])
    if rest.isEmpty { stream.readLater() }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) {}

  private func send(_ bytes: ArraySlice<UInt8>) {
    let taken = bytes.withUnsafeBytes { stream.write($0) }
    rest = Array(bytes.dropFirst(taken))
  }
}

@Suite(
  "WebSocket: with another's",
  .enabled(
    if: webSocketPeer != nil,
    "no Python with websockets here (scripts/test makes one, or set CULVERT_AIOQUIC_PYTHON)"),
  .serialized)
struct WebSocketInteropTests {
  private let loop: EventLoop

  init() throws { loop = try EventLoop() }

  /// What becomes of a connection of ours to their server.
  private func connect(path: String, port: UInt16) throws -> Result<any ByteStream, TransportFailure> {
    var result: Result<any ByteStream, TransportFailure>?
    var connection: TCPStream?
    connection = try TCPStream(
      loop: loop, to: Endpoint(.v4(0x7F00_0001), port: port), options: SocketOptions()
    ) { [loop] failure in
      guard let below = connection, failure == nil else { return }
      let settings = WebSocketSettings(path: path, keepalive: .milliseconds(50))
      _ = StreamUpgrade.webSocket(host: "127.0.0.1:\(port)", settings).start(loop, below) { result = $0 }
    }
    #expect(loop.run { result == nil })
    connection = nil
    return try #require(result)
  }

  private func startServer() throws -> (PeerProgram, UInt16) {
    let command = try #require(webSocketPeer)
    let peer = try #require(PeerProgram(command + ["server"]))
    var port: UInt16?
    #expect(
      loop.run {
        port = peer.printed.split(whereSeparator: \.isWhitespace).drop { $0 != "READY" }.dropFirst().first
          .flatMap { UInt16($0) }
        return port == nil
      }, "\(peer.printed)")
    return (peer, try #require(port))
  }

  @Test("our client sends a megabyte and has it back, over pings both ways, and says that it closes")
  func client() throws {
    let (peer, port) = try startServer()
    let owner = Owner(try connect(path: "/ws", port: port).get())
    let data = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
    owner.send(data)
    #expect(loop.run { owner.received.count < data.count && owner.failure == nil })
    #expect(owner.received.elementsEqual(data))
    #expect(owner.stream.layers == [.tcp, .webSocket])
    owner.stream.close()
    #expect(loop.run { !peer.printed.contains("CLOSED 1000\n") }, "\(peer.printed)")
  }

  @Test("our client says what their server says of a wrong path")
  func wrongPath() throws {
    let (peer, port) = try startServer()
    guard case .failure(let failure) = try connect(path: "/other", port: port) else {
      Issue.record("taken: \(peer.printed)")
      return
    }
    #expect(failure.reason == "WebSocket: it answers HTTP 404 Not Found: the path /other is not served there")
  }

  @Test("our server echoes to their client, and tells it of a wrong path", arguments: ["client", "refused"])
  func server(role: String) throws {
    var echoes: [Echo] = []
    var failures: [TransportFailure] = []
    let listener = try TCPListener(loop: loop, at: Endpoint(.v4(0x7F00_0001), port: 0)) { [loop] stream in
      _ = StreamUpgrade.webSocketServer(WebSocketSettings()).start(loop, stream) { result in
        switch result {
        case .success(let stream): echoes.append(Echo(stream))
        case .failure(let failure): failures.append(failure)
        }
      }
    }
    defer { listener.close() }
    let port = try #require(listener.receipt.local?.port)
    let command = try #require(webSocketPeer)
    let peer = try #require(PeerProgram(command + [role, "\(port)"]))
    #expect(loop.run { !peer.printed.contains("\n") })
    #expect(peer.printed == (role == "client" ? "OK\n" : "STATUS 404\n"))
    #expect(echoes.count == (role == "client" ? 1 : 0))
    #expect(
      failures.map(\.reason)
        == (role == "client" ? [] : ["WebSocket: it asks for the path /other, and /ws is served here"]))
  }
}

@Suite(
  "The PROXY protocol: with curl",
  .enabled(if: PeerProgram.succeeds(["curl", "--haproxy-protocol", "--version"]), "no curl here that speaks it"))
struct ProxyProtocolInteropTests {
  @Test("curl's header names the address that curl comes from, and its request follows")
  func curl() throws {
    let loop = try EventLoop()
    let acceptor = ProxyProtocolAcceptor(loop: loop, policy: .required)
    var claims: [Endpoint?] = []
    var seen: [Endpoint?] = []
    var owners: [Owner] = []
    let listener = try TCPListener(loop: loop, at: Endpoint(.v4(0x7F00_0001), port: 0)) { stream in
      seen.append(stream.receipt.remote)
      acceptor.accept(stream) { result in
        guard case .success(let accepted) = result else { return }
        claims.append(accepted.client)
        let owner = Owner(accepted.stream)
        owners.append(owner)
        owner.send(Array("HTTP/1.0 200 OK\r\n\r\nwell read\n".utf8), finish: true)
      }
    }
    defer { listener.close() }
    let port = try #require(listener.receipt.local?.port)
    let curl = try #require(PeerProgram(["curl", "-s", "--haproxy-protocol", "http://127.0.0.1:\(port)/x"]))
    #expect(loop.run { !curl.printed.contains("well read") || owners.first.map { $0.received.count < 7 } ?? true })
    #expect(claims == seen && claims.count == 1)
    #expect(owners.first.map { String(decoding: $0.received.prefix(7), as: UTF8.self) } == "GET /x ")
  }
}
