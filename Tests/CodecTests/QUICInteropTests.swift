/// Our QUIC against aioquic, which shares no code with it, over real UDP sockets, each in both roles.
///
/// The tests run where a Python with aioquic is found (`CULVERT_AIOQUIC_PYTHON`, else `python3`); elsewhere they say
/// that they were skipped and why.
import Glibc
import QUICCodec
import TLSCodec
import Testing
import Values

private let python: String? = {
  let candidates = [getenv("CULVERT_AIOQUIC_PYTHON").map { String(cString: $0) }, "python3"].compactMap { $0 }
  return candidates.first { ChildProgram.succeeds([$0, "-c", "import aioquic"]) }
}()

private let script: String = {
  var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
  parts.removeLast()
  return parts.joined(separator: "/") + "/Interop/aioquic_peer.py"
}()

@Suite(
  "QUIC: with aioquic",
  .enabled(if: python != nil, "no Python with aioquic here: pip install aioquic, or set CULVERT_AIOQUIC_PYTHON"),
  .serialized)
struct QUICInteropTests {
  @Test("our client speaks with aioquic's server: streams and datagrams come back whole")
  func client() throws {
    let certificate = try SelfSignedCertificate(now: wallClock())
    let chain = try TemporaryFile(certificate.certificate)
    let key = try TemporaryFile(certificate.key)
    let port = try LoopbackSocket(datagrams: true).port
    let program = try #require(python)
    let peer = try #require(ChildProgram([program, script, "server", "\(port)", chain.path, key.path]))
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

  @Test("aioquic's client speaks with our server: streams and datagrams come back whole")
  func server() throws {
    let socket = try LoopbackSocket(datagrams: true)
    let endpoint = QUICEndpoint(
      credentials: try TestCredentials.server(), settings: .listener, secret: TestCredentials.secret)
    let program = try #require(python)
    let peer = try #require(ChildProgram([program, script, "client", "\(socket.port)"]))
    let end = monotonicNow() + .seconds(30)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
    defer { buffer.deallocate() }
    var echoes: [Int64: [UInt8]] = [:]
    while monotonicNow() < end, !peer.printed().contains("OK"), !peer.printed().contains("Error") {
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
