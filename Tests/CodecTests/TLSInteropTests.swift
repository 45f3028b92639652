/// Our TLS against OpenSSL's programs over real sockets, in both roles and versions.
import Glibc
import TLSCodec
import Testing
import Values

@Suite(
  "TLS: with openssl",
  .enabled(if: ChildProgram.succeeds(["openssl", "version"]), "no openssl program here"), .serialized)
struct TLSInteropTests {
  private struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  @Test("our client speaks with openssl s_server and verifies its certificate", arguments: ["-tls1_3", "-tls1_2"])
  func client(version: String) throws {
    let certificate = try SelfSignedCertificate(commonName: "tunnel.example", now: wallClock())
    let chain = try TemporaryFile(certificate.certificate)
    let key = try TemporaryFile(certificate.key)
    let port = try LoopbackSocket(datagrams: false).port
    // With -rev the server sends each line back in reverse.
    let peer = try #require(
      ChildProgram([
        "openssl", "s_server", "-accept", "127.0.0.1:\(port)", "-cert", chain.path, "-key", key.path, "-rev", version,
        "-alpn", "h2,test/1",
      ]))
    #expect(peer.waitFor("ACCEPT"), "\(peer.printed())")
    let socket = try LoopbackSocket(datagrams: false)
    var address = LoopbackSocket.address(port)
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(socket.descriptor, $0, 16) }
    }
    let session = try TLSSession(
      credentials: .client(trust: .chainAndName(authorities: certificate.certificate)), serverName: "tunnel.example",
      applicationProtocols: ["test/1"])
    var got: [UInt8] = []
    var asked = false
    try drive(socket.descriptor, session) {
      if session.state == .open, !asked {
        asked = true
        _ = Array("stressed\n".utf8).withUnsafeBytes { session.write($0) }
      }
      got += try read(session).bytes
      return got.contains(10)
    }
    #expect(String(decoding: got, as: UTF8.self) == "desserts\n")
    #expect(session.facts?.peerVerified == true)
    #expect(session.applicationProtocol == "test/1")
    #expect(session.facts?.version == (version == "-tls1_3" ? "TLS1.3" : "TLS1.2"))
  }

  @Test("openssl s_client verifies our server and reads a megabyte to its end", arguments: ["-tls1_3", "-tls1_2"])
  func server(version: String) throws {
    let certificate = try SelfSignedCertificate(commonName: "tunnel.example", now: wallClock())
    let chain = try TemporaryFile(certificate.certificate)
    let listener = try LoopbackSocket(datagrams: false)
    #expect(listen(listener.descriptor, 1) == 0)
    let peer = try #require(
      ChildProgram([
        "openssl", "s_client", "-connect", "127.0.0.1:\(listener.port)", "-CAfile", chain.path, "-verify_return_error",
        "-verify_hostname", "tunnel.example", "-ign_eof", version, "-alpn", "test/1",
      ]))
    var descriptor: Int32 = -1
    for _ in 0..<1000 where descriptor < 0 {
      listener.wait(milliseconds: 10)
      descriptor = accept(listener.descriptor, nil, nil)
    }
    try #require(descriptor >= 0)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    defer { close(descriptor) }
    let session = try TLSSession(credentials: .selfSigned(certificate), applicationProtocols: ["test/1"])
    let text = [UInt8]((0..<20_000).flatMap { Array("line \($0) of what our server has to say to it\n".utf8) })
    var sent = 0
    try drive(descriptor, session) {
      if session.state == .open, sent < text.count {
        sent += text[sent...].withUnsafeBytes { session.write($0) }
        if sent == text.count { session.close() }
      }
      return peer.printed().contains("line 19999 of")
    }
    #expect(peer.printed().contains("Verify return code: 0 (ok)"))
    #expect(peer.printed().contains("ALPN protocol: test/1"))
    #expect(session.facts?.version == (version == "-tls1_3" ? "TLS1.3" : "TLS1.2"))
  }

  private func read(_ session: TLSSession) throws -> (bytes: [UInt8], ended: Bool) {
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      switch piece.withUnsafeMutableBytes({ session.read(into: $0) }) {
      case .bytes(let count): all += piece[..<count]
      case .wouldBlock: return (all, false)
      case .end: return (all, true)
      case .failed(let error): throw Failure(description: "\(error)")
      }
    }
  }

  /// Carries ciphertext between the socket and the session until `done` says so, at most twenty seconds.
  private func drive(_ descriptor: Int32, _ session: TLSSession, until done: () throws -> Bool) throws {
    let end = monotonicNow() + .seconds(20)
    while try !done() {
      if case .failed(let error) = session.state { throw Failure(description: "\(error)") }
      guard monotonicNow() < end else { throw Failure(description: "timed out in state \(session.state)") }
      while session.pendingOutput.count > 0 {
        let pending = session.pendingOutput
        let sent = Glibc.send(descriptor, pending.baseAddress, pending.count, Int32(MSG_NOSIGNAL))
        guard sent > 0 else { break }
        session.consumeOutput(sent)
      }
      var entry = pollfd(
        fd: descriptor, events: Int16(POLLIN) | (session.pendingOutput.count > 0 ? Int16(POLLOUT) : 0), revents: 0)
      _ = poll(&entry, 1, 10)
      while true {
        let space = session.inputSpace()
        guard !space.isEmpty else { break }
        let count = recv(descriptor, space.baseAddress, space.count, 0)
        if count > 0 { session.inputFilled(count) }
        if count == 0 { session.receiveEnd() }
        if count <= 0 { break }
      }
    }
  }
}
