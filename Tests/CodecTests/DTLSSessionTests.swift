/// A server's sessions against GnuTLS's client, over a wire that loses, repeats and turns round what it carries.
import Glibc
import TLSCodec
import Testing
import Values

private let client = Endpoint(.v4(0xC000_0201), port: 40_000)
private let server = Endpoint(.v4(0xC000_0202), port: 5_349)

/// Time as the machine has it, because GnuTLS measures by its own clock.
private func now() -> Instant {
  var time = timespec()
  clock_gettime(CLOCK_BOOTTIME, &time)
  return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
}

extension DTLSSession {
  fileprivate func takeOutput() -> [[UInt8]] {
    var all: [[UInt8]] = []
    drain { bytes, segment in
      for start in stride(from: 0, to: bytes.count, by: segment) {
        all.append(Array(bytes[start..<min(start + segment, bytes.count)]))
      }
    }
    return all
  }

  fileprivate func receive(_ datagram: [UInt8]) -> [[UInt8]] {
    var got: [[UInt8]] = []
    var room = [UInt8](repeating: 0, count: 20_000)
    _ = datagram.withUnsafeBytes { bytes in
      room.withUnsafeMutableBytes { receive(bytes, at: now(), into: $0) { got.append(Array($0)) } }
    }
    return got
  }

  fileprivate func write(_ bytes: [UInt8]) -> WriteResult { bytes.withUnsafeBytes { write($0) } }
}

/// A client and a server that is made when the client's cookie is right. What crosses is numbered, and a fate decides.
private final class DTLSPair {
  enum Fate { case arrives, isLost, comesTwice, comesLast }

  let client: DTLSSession
  private(set) var server: DTLSSession?
  let cookies: DTLSCookies
  let credentials: TLSCredentials
  private let fate: (Int) -> Fate
  private let protocols: [String]
  private(set) var crossed = 0
  var gotByServer: [[UInt8]] = []
  var gotByClient: [[UInt8]] = []
  static var settings: DTLSSession.Settings {
    var settings = DTLSSession.Settings()
    settings.retransmission = .milliseconds(15)
    return settings
  }

  init(
    trust: TLSTrust = .anyone, name: String? = nil, protocols: ([String], [String]) = ([], []), datagram: Int = 1_452,
    _ fate: @escaping (Int) -> Fate = { _ in .arrives }
  ) throws {
    cookies = try DTLSCookies()
    credentials = try TestCredentials.server()
    client = try DTLSSession(
      client: TestCredentials.client(trust), serverName: name, largestDatagram: datagram,
      applicationProtocols: protocols.0, settings: Self.settings, at: now())
    self.protocols = protocols.1
    self.fate = fate
  }

  /// Until nothing is under way and the timers of lost flights need not run.
  func exchange(until isDone: (DTLSPair) -> Bool = { _ in true }, within seconds: Int64 = 6) throws {
    let end = now() + .seconds(seconds)
    repeat {
      while try step() {}
      if isDone(self) { return }
      usleep(2_000)
      client.handleTimeout(at: now())
      server?.handleTimeout(at: now())
    } while now() < end
  }

  var isOpen: Bool { client.state == .open && server?.state == .open }

  private func step() throws -> Bool {
    let up = client.takeOutput()
    for datagram in fated(up) { try arrive(datagram) }
    let down = server?.takeOutput() ?? []
    for datagram in fated(down) { gotByClient += client.receive(datagram) }
    return !up.isEmpty || !down.isEmpty
  }

  private func fated(_ datagrams: [[UInt8]]) -> [[UInt8]] {
    var now: [[UInt8]] = []
    var last: [[UInt8]] = []
    for datagram in datagrams {
      defer { crossed += 1 }
      switch fate(crossed) {
      case .arrives: now.append(datagram)
      case .isLost: break
      case .comesTwice: now += [datagram, datagram]
      case .comesLast: last.insert(datagram, at: 0)
      }
    }
    return now + last
  }

  private func arrive(_ datagram: [UInt8]) throws {
    if let server {
      gotByServer += server.receive(datagram)
      return
    }
    let verdict = datagram.withUnsafeBytes {
      cookies.judge($0, from: CodecTests.client, to: CodecTests.server, at: now())
    }
    switch verdict {
    case .none: break
    case .unproven(let answer):
      #expect(answer.count <= datagram.count)
      gotByClient += client.receive(answer)
    case .proven(let hello):
      let made = try DTLSSession(
        credentials: credentials, hello: hello, largestDatagram: 1_452, applicationProtocols: protocols,
        settings: Self.settings, at: now())
      server = made
      gotByServer += made.receive(datagram)
    }
  }
}

@Suite("DTLS: sessions")
struct DTLSSessionTests {
  private func open(_ pair: DTLSPair) throws -> DTLSSession {
    try pair.exchange(until: \.isOpen)
    #expect(pair.isOpen, "\(pair.client.state) \(String(describing: pair.server?.state))")
    return try #require(pair.server)
  }

  @Test("the handshake settles DTLS 1.2 with AES-128-GCM, and data crosses datagram by datagram")
  func handshake() throws {
    let pair = try DTLSPair()
    let server = try open(pair)
    let facts = try #require(server.facts)
    #expect(facts.version == "DTLS1.2" && facts.cipherSuite.contains("ECDHE") && facts.cipherSuite.contains("AES_128"))
    #expect(pair.client.facts?.cipherSuite == facts.cipherSuite && facts.peerVerified == nil)
    let up = (0..<50).map { [UInt8].pattern(1 + $0 * 20, seed: UInt64($0)) }
    let down = (0..<50).map { [UInt8].pattern(1_001 - $0 * 20, seed: UInt64(100 + $0)) }
    for bytes in up { #expect(pair.client.write(bytes) == .written) }
    for bytes in down { #expect(server.write(bytes) == .written) }
    try pair.exchange()
    #expect(pair.gotByServer.elementsEqual(up) && pair.gotByClient.elementsEqual(down))
    #expect(server.dropped == 0 && server.nextDeadline == nil)
  }

  @Test("whichever datagrams of the handshake are lost, come twice or come last, it ends well", arguments: 0..<36)
  func unreliable(number: Int) throws {
    let place = number / 3
    let fates: [DTLSPair.Fate] = [.isLost, .comesTwice, .comesLast]
    let pair = try DTLSPair { $0 == place || $0 == place + 5 ? fates[number % 3] : .arrives }
    // The first flight has no server's timer behind it, and its cookie is asked for again by the client's.
    let server = try open(pair)
    #expect(pair.client.write([1, 2, 3]) == .written)
    #expect(server.write([4, 5]) == .written)
    try pair.exchange(until: { !$0.gotByServer.isEmpty && !$0.gotByClient.isEmpty }, within: 1)
    // Data is not sent again, and may be what was lost.
    #expect(pair.gotByServer.elementsEqual([[1, 2, 3]]) || pair.crossed <= place + 6)
    #expect(pair.gotByClient.elementsEqual([[4, 5]]) || pair.crossed <= place + 6)
  }

  @Test("a third of all datagrams may be lost", arguments: [1, 2, 3, 4] as [UInt64])
  func lossy(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let pair = try DTLSPair { _ in UInt8.random(in: 0..<3, using: &generator) == 0 ? .isLost : .arrives }
    _ = try open(pair)
  }

  @Test("what was changed on the way, comes again or is from before the handshake's end is dropped and ends nothing")
  func forged() throws {
    var hellos: [[UInt8]] = []
    let pair = try DTLSPair()
    let server = try open(pair)
    #expect(pair.client.write([7]) == .written)
    let good = try #require(pair.client.takeOutput().first)
    var changed = good
    changed[changed.count - 1] ^= 1
    var otherKeys = good
    otherKeys[4] = 2
    // An alert in the clear, as anybody can send it.
    let alert: [UInt8] = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 90, 0, 2, 2, 40]
    hellos = [changed, otherKeys, alert, [], [22], good.dropLast(9) + [], .pattern(1_200)]
    for datagram in hellos { #expect(server.receive(datagram).isEmpty) }
    #expect(server.state == .open && server.dropped == UInt64(hellos.count))
    #expect(server.receive(good).elementsEqual([[7]]))
    #expect(server.receive(good).isEmpty && server.dropped == UInt64(hellos.count) + 1)
    // Several records in one datagram are as many datagrams.
    for byte in 1...3 { #expect(pair.client.write([UInt8(byte)]) == .written) }
    let joined = pair.client.takeOutput().flatMap { $0 }
    #expect(server.receive(joined).elementsEqual([[1], [2], [3]]))
  }

  @Test("a datagram is as large as the path takes and no larger")
  func sizes() throws {
    let pair = try DTLSPair()
    let server = try open(pair)
    let largest = server.largestWrite
    #expect((1_400..<1_452).contains(largest))
    #expect(server.write(.pattern(largest + 1)) == .tooLarge)
    #expect(server.write(.pattern(largest)) == .written)
    #expect(server.takeOutput().map(\.count) == [1_452])
    server.setLargestDatagram(1_200)
    #expect(server.largestWrite == largest - 252)
    #expect(server.write(.pattern(largest)) == .tooLarge)
    #expect(server.write(.pattern(largest - 252)) == .written)
    server.setLargestDatagram(65_000)
    #expect(server.write(.pattern(server.largestWrite)) == .written)
    #expect(server.write(.pattern(server.largestWrite + 1)) == .tooLarge)
  }

  @Test("the handshake's datagrams are small, whatever the path takes")
  func small() throws {
    let pair = try DTLSPair(datagram: 9_000)
    var largest = 0
    for datagram in pair.client.takeOutput() { largest = max(largest, datagram.count) }
    #expect(largest > 0 && largest <= 1_200)
  }

  @Test("each end may close, and the other hears it")
  func closing() throws {
    for isServer in [true, false] {
      let pair = try DTLSPair()
      let server = try open(pair)
      if isServer { server.close() } else { pair.client.close() }
      try pair.exchange()
      #expect(server.state == .closed && pair.client.state == .closed)
      #expect(server.write([1]) == .refused)
    }
  }

  @Test("a handshake that does not go on is given up, at its deadline")
  func givingUp() throws {
    let pair = try DTLSPair { $0 > 3 ? .isLost : .arrives }
    try pair.exchange(until: { $0.server != nil })
    let server = try #require(pair.server)
    let deadline = try #require(server.nextDeadline)
    #expect(deadline <= now() + .milliseconds(15))
    server.handleTimeout(at: now() + .seconds(7))
    #expect(server.state == .handshake)
    server.handleTimeout(at: now() + .seconds(9))
    #expect(server.state == .failed(.handshakeTimedOut) && server.nextDeadline == nil)
  }

  @Test("application protocols and certificates are agreed on or refused as over TCP")
  func agreement() throws {
    let good = try DTLSPair(protocols: (["stun.turn"], ["stun.nat-discovery", "stun.turn"]))
    #expect(try open(good).applicationProtocol == "stun.turn")
    let other = try DTLSPair(protocols: (["webrtc"], ["stun.turn"]))
    try other.exchange(until: { $0.client.state != .handshake })
    #expect(other.client.state == .failed(.noCommonApplicationProtocol))
    #expect(other.server?.state == .failed(.noCommonApplicationProtocol))
    let careful = try DTLSPair(trust: .chainAndName(authorities: nil), name: "relay.example")
    try careful.exchange(until: { $0.client.state != .handshake })
    guard case .failed(.certificateRefused) = careful.client.state else {
      Issue.record("\(careful.client.state)")
      return
    }
  }

  @Test("without a cookie nothing begins: it is for two endpoints, and for two minutes at most")
  func cookies() throws {
    let cookies = try DTLSCookies()
    let session = try DTLSSession(client: TestCredentials.client(), largestDatagram: 1_452, at: now())
    let begin = Instant(nanoseconds: 1_000_000_000_000)
    func judge(_ datagram: [UInt8], from remote: Endpoint = client, to local: Endpoint = server, after: Int64 = 0)
      -> DTLSCookies.Verdict
    {
      datagram.withUnsafeBytes { cookies.judge($0, from: remote, to: local, at: begin + .seconds(after)) }
    }
    func isProven(_ verdict: DTLSCookies.Verdict) -> Bool {
      if case .proven = verdict { return true }
      return false
    }
    let hello = try #require(session.takeOutput().first)
    guard case .unproven(let answer) = judge(hello) else {
      Issue.record("not asked for a cookie")
      return
    }
    #expect(answer.count <= hello.count && answer.count < 64)
    #expect(session.receive(answer).isEmpty)
    let second = try #require(session.takeOutput().first)
    #expect(isProven(judge(second)) && isProven(judge(second, after: 59)))
    #expect(!isProven(judge(second, after: 121)))
    #expect(!isProven(judge(second, from: Endpoint(client.address, port: 40_001))))
    #expect(!isProven(judge(second, from: Endpoint(.v4(0xC000_0203), port: client.port))))
    #expect(!isProven(judge(second, to: Endpoint(server.address, port: 443))))
    #expect(!isProven(try DTLSCookies().judged(second, at: begin)))
    // In pieces, cut off, of other keys, of no client: no beginning, and no answer.
    for (place, value) in [(0, 23), (1, 3), (4, 1), (13, 2), (16, 0xFF), (21, 1), (24, 1)] as [(Int, UInt8)] {
      var changed = second
      changed[place] = value
      guard case .none = judge(changed) else {
        Issue.record("\(place)")
        continue
      }
    }
    for length in 0..<second.count {
      guard case .none = judge(Array(second[..<length])) else {
        Issue.record("\(length)")
        continue
      }
    }
  }

  @Test("TLS 1.3 alone leaves nothing for DTLS")
  func versions() throws {
    let certificate = try #require(TestCredentials.certificate)
    let credentials = try TLSCredentials.selfSigned(certificate, options: TLSOptions(minimumVersion: .tls13))
    #expect(throws: TLSError.self) {
      try DTLSSession(client: credentials, largestDatagram: 1_200, at: now())
    }
  }

  @Test("any bytes at any time end at most the session", arguments: [1, 2, 3] as [UInt64])
  func anything(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    for isOpen in [false, true] {
      for _ in 0..<40 {
        let pair = try DTLSPair { !isOpen && $0 > 3 ? .isLost : .arrives }
        try pair.exchange(until: { isOpen ? $0.isOpen : $0.server != nil })
        let server = try #require(pair.server)
        _ = pair.client.write(.pattern(100))
        let model = pair.client.takeOutput().first ?? []
        for _ in 0..<40 {
          var bytes = Bool.random(using: &generator) && !model.isEmpty ? model : .pattern(200, seed: generator.next())
          bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator))
          bytes[0] = UInt8.random(in: 20...26, using: &generator)
          for (place, value) in [(1, 0xFE), (2, 0xFD), (3, 0), (11, 0)] as [(Int, UInt8)] where place < bytes.count {
            bytes[place] = value
          }
          if bytes.count > 13 { bytes[12] = UInt8.random(in: 0...UInt8(clamping: bytes.count - 13), using: &generator) }
          if bytes.count > 13 { bytes[13] = UInt8.random(in: 0...24, using: &generator) }
          #expect(server.receive(bytes).isEmpty)
          server.handleTimeout(at: now())
          _ = server.takeOutput()
        }
        if isOpen { #expect(server.state == .open && server.dropped >= 40) }
      }
    }
  }
}

extension DTLSCookies {
  fileprivate func judged(_ datagram: [UInt8], at now: Instant) -> Verdict {
    datagram.withUnsafeBytes { judge($0, from: client, to: server, at: now) }
  }
}
