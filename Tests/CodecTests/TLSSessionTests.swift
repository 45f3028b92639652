import TLSCodec
import Testing
import Values

/// Two sessions joined by hand; the pieces in which ciphertext crosses come from a seed.
private final class TLSPair {
  let client: TLSSession
  let server: TLSSession
  private var generator: SeededGenerator
  private let largestPiece: Int
  /// Changes what crosses.
  var tamper: ((inout [UInt8]) -> Void)?

  init(
    client: TLSCredentials, server: TLSCredentials, name: String? = nil, clientProtocols: [String] = [],
    serverProtocols: [String] = [], seed: UInt64 = 1, largestPiece: Int = 65_536
  ) throws {
    self.client = try TLSSession(credentials: client, serverName: name, applicationProtocols: clientProtocols)
    self.server = try TLSSession(credentials: server, applicationProtocols: serverProtocols)
    generator = SeededGenerator(seed: seed)
    self.largestPiece = largestPiece
  }

  func exchange() {
    while move(from: client, to: server) || move(from: server, to: client) {}
  }

  private func move(from: TLSSession, to: TLSSession) -> Bool {
    guard from.pendingOutput.count > 0 else { return false }
    let size = Int.random(in: 1...min(largestPiece, from.pendingOutput.count), using: &generator)
    var bytes = Array(from.pendingOutput.prefix(size))
    from.consumeOutput(size)
    tamper?(&bytes)
    // By turns through each of the two ways in.
    if size.isMultiple(of: 2) {
      let taken = bytes.withUnsafeBytes { to.receive($0) }
      #expect(taken == size)
    } else {
      let space = to.inputSpace(size)
      #expect(space.count >= size)
      space.copyBytes(from: bytes)
      to.inputFilled(size)
    }
    return true
  }
}

extension TLSSession {
  fileprivate func write(_ bytes: [UInt8]) -> Int { bytes.withUnsafeBytes { write($0) } }

  fileprivate func readAll() -> (bytes: [UInt8], result: ReadResult) {
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 40_000)
    while true {
      let result = piece.withUnsafeMutableBytes { read(into: $0) }
      guard case .bytes(let count) = result else { return (all, result) }
      all += piece[..<count]
    }
  }
}

@Suite("TLS: sessions")
struct TLSSessionTests {
  private func pair(seed: UInt64 = 1, largestPiece: Int = 65_536) throws -> TLSPair {
    let pair = try TLSPair(
      client: TestCredentials.client(), server: TestCredentials.server(), name: "gost.run", seed: seed,
      largestPiece: largestPiece)
    pair.exchange()
    #expect(pair.client.state == .open && pair.server.state == .open)
    return pair
  }

  @Test("the handshake settles TLS 1.3 with AES-128-GCM and both ends know it")
  func handshake() throws {
    let pair = try pair()
    let facts = try #require(pair.client.facts)
    #expect(facts.version == "TLS1.3")
    #expect(facts.cipherSuite.contains("AES_128_GCM"))
    #expect(facts.peerVerified == false)
    #expect(facts.applicationProtocol == nil)
    #expect(pair.server.facts?.peerVerified == nil)
  }

  @Test("a megabyte crosses whole each way, in pieces of any size", arguments: [1, 2, 7, 100, 3000, 65_536])
  func anySplit(largestPiece: Int) throws {
    let pair = try pair(seed: UInt64(largestPiece), largestPiece: largestPiece)
    let size = largestPiece < 100 ? 50_000 : 1 << 20
    let up = [UInt8].pattern(size, seed: 1)
    let down = [UInt8].pattern(size, seed: 2)
    var upSent = 0
    var downSent = 0
    var upGot: [UInt8] = []
    var downGot: [UInt8] = []
    while upGot.count < size || downGot.count < size {
      if upSent < size { upSent += up[upSent...].withUnsafeBytes { pair.client.write($0) } }
      if downSent < size { downSent += down[downSent...].withUnsafeBytes { pair.server.write($0) } }
      #expect(pair.client.pendingOutput.count <= TLSSession.outputLimit + 17_000)
      pair.exchange()
      upGot += pair.server.readAll().bytes
      downGot += pair.client.readAll().bytes
    }
    #expect(same(upGot, up))
    #expect(same(downGot, down))
  }

  @Test("the output is bounded: plaintext is refused until the owner has sent")
  func boundedOutput() throws {
    let pair = try pair()
    let bytes = [UInt8].pattern(1 << 20)
    let taken = pair.client.write(bytes)
    #expect(taken > 0 && taken <= TLSSession.outputLimit + 16_384)
    #expect(pair.client.write(bytes) == 0)
    pair.exchange()
    #expect(pair.client.write(bytes) > 0)
  }

  @Test("the input is bounded: ciphertext is refused until somebody reads")
  func boundedInput() throws {
    let pair = try pair()
    var offered = 0
    var taken = 0
    for _ in 0..<20 {
      _ = pair.client.write(.pattern(100_000))
      let waiting = pair.client.pendingOutput
      offered += waiting.count
      taken += pair.server.receive(waiting)
      pair.client.consumeOutput(waiting.count)
    }
    #expect(taken == TLSSession.inputLimit)
    #expect(offered > taken)
    #expect(pair.server.inputSpace().isEmpty)
  }

  @Test("closing is by halves: the other direction goes on")
  func halfClose() throws {
    let pair = try pair()
    _ = pair.client.write(Array("question".utf8))
    pair.client.close()
    pair.exchange()
    #expect(pair.server.readAll() == (Array("question".utf8), .end))
    #expect(pair.server.peerClosed)
    #expect(pair.client.write([1]) == 0)
    #expect(pair.server.write(Array("answer".utf8)) == 6)
    pair.server.close()
    pair.exchange()
    #expect(pair.client.readAll() == (Array("answer".utf8), .end))
  }

  @Test("a stream that ends without a close_notify is told from one that ends with it")
  func truncated() throws {
    let pair = try pair()
    _ = pair.client.write(Array("half".utf8))
    pair.exchange()
    pair.server.receiveEnd()
    #expect(pair.server.readAll() == (Array("half".utf8), .failed(.truncated)))
    #expect(pair.server.state == .failed(.truncated))
    #expect(TLSError.truncated.blame == .network)
  }

  @Test("a stream that ends in the handshake fails as cut")
  func truncatedHandshake() throws {
    let session = try TLSSession(credentials: TestCredentials.server())
    session.receiveEnd()
    #expect(session.state == .failed(.truncated))
  }

  @Test("the server's order of protocols decides")
  func protocols() throws {
    let pair = try TLSPair(
      client: TestCredentials.client(), server: TestCredentials.server(), clientProtocols: ["a", "b"],
      serverProtocols: ["b", "a"])
    pair.exchange()
    #expect(pair.client.applicationProtocol == "b")
    #expect(pair.server.applicationProtocol == "b")
  }

  @Test("without a common protocol the handshake ends and both ends know why")
  func noCommonProtocol() throws {
    let pair = try TLSPair(
      client: TestCredentials.client(), server: TestCredentials.server(), clientProtocols: ["a"],
      serverProtocols: ["b"])
    pair.exchange()
    #expect(pair.server.state == .failed(.noCommonApplicationProtocol))
    #expect(pair.client.state == .failed(.noCommonApplicationProtocol))
  }

  @Test("a verified chain and name pass; a wrong name, an unknown authority and an expired certificate are named")
  func verification() throws {
    let good = try SelfSignedCertificate(commonName: "tunnel.example", now: wallClock())
    let other = try SelfSignedCertificate(commonName: "tunnel.example", organization: "Other", now: wallClock())
    let expired = try SelfSignedCertificate(commonName: "tunnel.example", now: wallClock() - 1000, validity: 500)
    let attempt = { (server: SelfSignedCertificate, trust: TLSTrust, name: String) throws -> TLSSession in
      let pair = try TLSPair(client: .client(trust: trust), server: .selfSigned(server), name: name)
      pair.exchange()
      if case .failed = pair.client.state {
        guard case .failed(.alertReceived) = pair.server.state else {
          Issue.record("the server was not told")
          return pair.client
        }
      }
      return pair.client
    }
    let authority = good.certificate
    #expect(
      try attempt(good, .chainAndName(authorities: authority), "tunnel.example").facts?.peerVerified == true)
    #expect(try attempt(good, .chain(authorities: authority), "other.example").facts?.peerVerified == true)
    let refusals: [(TLSSession, String)] = [
      (try attempt(good, .chainAndName(authorities: authority), "other.example"), "name"),
      (try attempt(other, .chain(authorities: authority), "tunnel.example"), "issuer"),
      (try attempt(expired, .chain(authorities: expired.certificate), "tunnel.example"), "expired"),
      (try attempt(good, .chain(authorities: nil), "tunnel.example"), "issuer"),
    ]
    for (session, word) in refusals {
      guard case .failed(.certificateRefused(let text)) = session.state else {
        Issue.record("\(session.state)")
        continue
      }
      #expect(text.contains(word), "\(text)")
    }
    #expect(throws: TLSError.badOptions("verification needs the server's name")) {
      try TLSSession(credentials: .client(trust: .chainAndName(authorities: authority)))
    }
  }

  @Test("a server that wants a certificate takes the right one and refuses none and another")
  func clientCertificates() throws {
    let server = try SelfSignedCertificate(now: wallClock())
    let known = try SelfSignedCertificate(commonName: "client", now: wallClock())
    let stranger = try SelfSignedCertificate(commonName: "client", now: wallClock())
    let credentials = try TLSCredentials.server(
      certificate: server.certificate, key: server.key, clientAuthorities: known.certificate)
    for (identity, passes) in [(known, true), (stranger, false), (nil, false)] {
      let client = try TLSCredentials.client(identity: identity.map { ($0.certificate, $0.key) })
      let pair = try TLSPair(client: client, server: credentials)
      pair.exchange()
      if passes {
        #expect(pair.server.facts?.peerVerified == true)
      } else {
        guard case .failed(.certificateRefused) = pair.server.state else {
          Issue.record("\(pair.server.state)")
          continue
        }
        // With TLS 1.3 the client learns of it with its first read.
        _ = pair.client.readAll()
        guard case .failed(.alertReceived) = pair.client.state else {
          Issue.record("\(pair.client.state)")
          continue
        }
      }
    }
  }

  @Test("versions are kept to, and two ends without a common one say so")
  func versions() throws {
    let old = TLSOptions(minimumVersion: .tls12, maximumVersion: .tls12)
    let new = TLSOptions(minimumVersion: .tls13, maximumVersion: .tls13)
    guard let certificate = TestCredentials.certificate else { throw TLSError.closed }
    let settled = try TLSPair(client: .client(options: old), server: .selfSigned(certificate))
    settled.exchange()
    #expect(settled.client.facts?.version == "TLS1.2")
    #expect(settled.client.facts?.cipherSuite.contains("AES_128_GCM") == true)
    let apart = try TLSPair(client: .client(options: old), server: .selfSigned(certificate, options: new))
    apart.exchange()
    guard case .failed(.nothingInCommon) = apart.server.state, case .failed(.alertReceived) = apart.client.state else {
      Issue.record("\(apart.server.state), \(apart.client.state)")
      return
    }
    #expect(throws: TLSError.self) {
      try TLSCredentials.client(options: TLSOptions(minimumVersion: .tls13, maximumVersion: .tls12))
    }
  }

  @Test(
    "what is not TLS is called that", arguments: ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\u{5}\u{1}\0", "SSH-2.0-x\r\n"])
  func notTLS(text: String) throws {
    let server = try TLSSession(credentials: TestCredentials.server())
    Array(text.utf8).withUnsafeBytes { _ = server.receive($0) }
    server.receiveEnd()
    guard case .failed(let error) = server.state else {
      Issue.record("\(server.state)")
      return
    }
    #expect(error == .notTLS || error == .truncated)
    let client = try TLSSession(credentials: TestCredentials.client())
    Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8).withUnsafeBytes { _ = client.receive($0) }
    #expect(client.state == .failed(.notTLS))
  }

  @Test("damaged records end the session with a cause and never trap", arguments: 1...200)
  func damaged(seed: UInt64) throws {
    let pair = try TLSPair(
      client: TestCredentials.client(), server: TestCredentials.server(), seed: seed, largestPiece: 400)
    var generator = SeededGenerator(seed: seed)
    var left = Int.random(in: 0...5000, using: &generator)
    var damaged = false
    pair.tamper = { bytes in
      guard !damaged else { return }
      left -= bytes.count
      guard left <= 0 else { return }
      damaged = true
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      bytes[place] ^= UInt8.random(in: 1...255, using: &generator)
    }
    pair.exchange()
    for _ in 0..<3 {
      _ = pair.client.write(.pattern(2000))
      _ = pair.server.write(.pattern(2000))
      pair.exchange()
      _ = pair.client.readAll()
      _ = pair.server.readAll()
    }
    #expect(damaged)
    let ends = [pair.client.state, pair.server.state]
    // A changed length may leave an end waiting; nobody believes a damaged record.
    #expect(
      ends.contains { if case .failed = $0 { true } else { false } } || ends.contains(.handshake)
        || pair.server.readAll().bytes.count < 2000 || pair.client.readAll().bytes.count < 2000)
  }

  @Test("an unusable certificate or key is the configuration's fault, and the text says what is wrong")
  func badCertificates() throws {
    guard let certificate = TestCredentials.certificate else { throw TLSError.closed }
    let other = try SelfSignedCertificate(now: TestCredentials.wallClock)
    for (chain, key) in [
      (Array("nonsense".utf8), certificate.key), (certificate.certificate, Array("nonsense".utf8)),
      (certificate.certificate, other.key), ([], []),
    ] {
      #expect { try TLSCredentials.server(certificate: chain, key: key) } throws: { error in
        guard let error = error as? TLSError, case .badCertificate(let text) = error else { return false }
        return error.blame == .configuration && !text.isEmpty
      }
    }
    #expect(throws: TLSError.self) { try TLSCredentials.client(trust: .chain(authorities: [1, 2, 3])) }
  }

  @Test("a generated key is written with its number in exactly 32 bytes, whatever the number")
  func keyEncoding() throws {
    for _ in 0..<40 {
      let key = try SelfSignedCertificate(now: TestCredentials.wallClock).key
      let text = String(decoding: key, as: UTF8.self).split(separator: "\n")
      #expect(text.first == "-----BEGIN EC PRIVATE KEY-----")
      // RFC 5915 for P-256: 121 bytes, of which the first seven are always the same.
      #expect(text.dropFirst().dropLast().joined().count == 164)
      #expect(text.dropFirst().first?.hasPrefix("MHcCAQEEI") == true)
    }
  }

  @Test("alerts have the names of the registry")
  func alertNames() {
    #expect("\(TLSAlert.noApplicationProtocol)" == "no_application_protocol (120)")
    #expect("\(TLSAlert(number: 48))" == "unknown_ca (48)")
    #expect("\(TLSAlert(number: 200))" == "200")
  }
}
