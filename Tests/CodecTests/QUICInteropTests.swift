/// Our QUIC against stacks that share no code with it, over real UDP sockets, each in both roles: aioquic, and quic-go,
/// which is what GOST speaks.
///
/// aioquic needs a Python that has it: `CULVERT_AIOQUIC_PYTHON`, the one that `scripts/test` makes in `.build/test-venv`,
/// or `python3`. quic-go needs the program that `Interop/quicgo_peer.go` makes (`CULVERT_QUIC_GO_PEER`). Where one is
/// not found the tests say that they were skipped and why.
import Glibc
import QUICCodec
import TLSCodec
import Testing
import Values

/// The other end's program and the arguments before the role.
private struct Peer: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let command: [String]
}

private let peers: [Peer] = {
  var found: [Peer] = []
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast()
  let script = parts.joined(separator: "/") + "/Interop/aioquic_peer.py"
  let package = parts.dropLast(2).joined(separator: "/")
  let pythons = [
    getenv("CULVERT_AIOQUIC_PYTHON").map { String(cString: $0) }, package + "/.build/test-venv/bin/python3", "python3",
  ].compactMap { $0 }
  if let python = pythons.first(where: { ChildProgram.succeeds([$0, "-c", "import aioquic"]) }) {
    found.append(Peer(testDescription: "aioquic", command: [python, script]))
  }
  if let program = getenv("CULVERT_QUIC_GO_PEER").map({ String(cString: $0) }) {
    found.append(Peer(testDescription: "quic-go", command: [program]))
  }
  return found
}()

@Suite(
  "QUIC: with other stacks",
  .enabled(
    if: !peers.isEmpty,
    "no Python with aioquic here (scripts/test makes one, or set CULVERT_AIOQUIC_PYTHON), nor CULVERT_QUIC_GO_PEER"),
  .serialized)
struct QUICInteropTests {
  @Test("our client speaks with another's server: streams and datagrams come back whole", arguments: peers)
  private func client(other: Peer) throws {
    let certificate = try SelfSignedCertificate(now: wallClock())
    let chain = try TemporaryFile(certificate.certificate)
    let key = try TemporaryFile(certificate.key)
    let port = try LoopbackSocket(datagrams: true).port
    let peer = try #require(ChildProgram(other.command + ["server", "\(port)", chain.path, key.path]))
    #expect(peer.waitFor("READY"), "\(peer.printed())")

    let socket = try LoopbackSocket(datagrams: true)
    let connection = try QUICConnection(
      client: .client(), serverName: "localhost", settings: .dialer, local: socket.endpoint,
      remote: Endpoint(.v4(0x7F00_0001), port: port), at: monotonicNow())
    var sent: [Int64: [UInt8]] = [:]
    var got: [Int64: [UInt8]] = [:]
    var ended = 0
    var datagrams = 0
    let end = monotonicNow() + .seconds(20)
    while monotonicNow() < end, ended < 5 || datagrams < 10 {
      while let event = connection.pollEvent() {
        switch event {
        case .connected(let facts):
          #expect(facts.applicationProtocol == "h3")
          for index in 0..<5 {
            let id = try connection.openStream()
            let bytes = [UInt8].pattern(300_000, seed: UInt64(index))
            sent[id] = bytes
            connection.write(id, bytes)
            connection.finish(id)
          }
          for index in 0..<10 { #expect(connection.sendDatagram([UInt8](repeating: UInt8(index), count: 100))) }
        case .streamReadable(let id):
          let (bytes, result) = connection.readAll(id)
          got[id, default: []] += bytes
          if result == .end { ended += 1 }
        case .datagramReadable: while connection.receiveDatagram() != nil { datagrams += 1 }
        case .closed(let reason): Issue.record("\(reason)")
        default: break
        }
      }
      turn(socket, connection)
    }
    #expect(datagrams == 10)
    #expect(got == sent)
    connection.close(at: monotonicNow())
    turn(socket, connection)
  }

  @Test("another's client speaks with our server: streams and datagrams come back whole", arguments: peers)
  private func server(other: Peer) throws {
    let socket = try LoopbackSocket(datagrams: true)
    let endpoint = QUICEndpoint(
      credentials: try TestCredentials.server(), settings: .listener, secret: TestCredentials.secret)
    let peer = try #require(ChildProgram(other.command + ["client", "\(socket.port)"]))
    let end = monotonicNow() + .seconds(30)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
    defer { buffer.deallocate() }
    var echoes: [Int64: [UInt8]] = [:]
    while monotonicNow() < end, !peer.printed().contains("OK"), !peer.printed().contains("rror") {
      let now = monotonicNow()
      while let news = endpoint.pollEvent() {
        switch news.event {
        case .streamReadable(let id):
          let (bytes, result) = news.connection.readAll(id)
          echoes[id, default: []] += bytes
          if result == .end {
            news.connection.write(id, echoes[id] ?? [])
            news.connection.finish(id)
          }
        case .datagramReadable:
          while let datagram = news.connection.receiveDatagram() { news.connection.sendDatagram(datagram) }
        default: break
        }
      }
      while let transmit = endpoint.pollTransmit(into: buffer, at: now) { send(transmit, buffer, socket) }
      socket.wait(milliseconds: waitTime(endpoint.nextDeadline()))
      while let (count, port) = socket.receive(into: buffer) {
        endpoint.handle(
          UnsafeRawBufferPointer(rebasing: buffer[..<count]), from: Endpoint(.v4(0x7F00_0001), port: port),
          to: socket.endpoint, ecn: 0, at: monotonicNow())
      }
      if let deadline = endpoint.nextDeadline(), deadline <= monotonicNow() {
        endpoint.handleTimeout(at: monotonicNow())
      }
    }
    #expect(peer.printed().contains("OK"), "\(peer.printed())")
  }

  private func waitTime(_ deadline: Instant?) -> Int32 {
    guard let deadline else { return 50 }
    return Int32(clamping: max(0, min(50, (deadline - monotonicNow()).nanoseconds / 1_000_000 + 1)))
  }

  private func send(_ transmit: QUICTransmit, _ buffer: UnsafeMutableRawBufferPointer, _ socket: LoopbackSocket) {
    var offset = 0
    while offset < transmit.length {
      let size = min(transmit.segmentSize, transmit.length - offset)
      socket.send(UnsafeRawBufferPointer(rebasing: buffer[offset..<(offset + size)]), to: transmit.remote.port)
      offset += size
    }
  }

  /// One round of a client's loop.
  private func turn(_ socket: LoopbackSocket, _ connection: QUICConnection) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
    defer { buffer.deallocate() }
    while let transmit = connection.pollTransmit(into: buffer, at: monotonicNow()) { send(transmit, buffer, socket) }
    socket.wait(milliseconds: waitTime(connection.nextDeadline()))
    while let (count, port) = socket.receive(into: buffer) {
      connection.handle(
        UnsafeRawBufferPointer(rebasing: buffer[..<count]), from: Endpoint(.v4(0x7F00_0001), port: port),
        to: socket.endpoint, ecn: 0, at: monotonicNow())
    }
    if let deadline = connection.nextDeadline(), deadline <= monotonicNow() {
      connection.handleTimeout(at: monotonicNow())
    }
  }
}
