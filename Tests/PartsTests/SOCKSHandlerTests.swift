import LinuxIO
import SOCKS
import TLSCodec
import Testing
import Values

@testable import Parts

@Suite struct SOCKSHandlerTests {
  private func auto(_ kit: ProxyKit, _ settings: SOCKS5Handler.Settings = SOCKS5Handler.Settings(tls: nil))
    -> AutoHandler
  {
    AutoHandler(
      http: HTTPHandler(core: kit.core), socks4: SOCKS4Handler(core: kit.core),
      socks5: SOCKS5Handler(core: kit.core, settings: settings))
  }

  private static let request: [UInt8] = [5, 1, 0, 3, 1, 0x61, 0, 80]
  private static let ok: [UInt8] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]

  @Test func `a SOCKS5 client that waits for nothing is served all the same`() throws {
    let kit = try ProxyKit()
    let client = kit.client(of: auto(kit))
    for byte in [5, 1, 0] + Self.request + Array("early".utf8) { client.send([byte]) }
    let target = try kit.waitForTarget()
    target.send("hello")
    #expect(kit.wait(client, for: 17))
    #expect(client.received == [5, 0] + Self.ok + Array("hello".utf8))
    #expect(kit.loop.run { target.text != "early" })
    #expect(kit.way.asked == [HostPort(host: "a", port: 80)])
  }

  @Test func `SOCKS4 by address and by name`() throws {
    let kit = try ProxyKit()
    for (bytes, target) in [
      ([4, 1, 0, 80, 192, 0, 2, 1, 0x75, 0], HostPort(host: "192.0.2.1", port: 80)),
      ([4, 1, 0, 80, 0, 0, 0, 1, 0, 0x61, 0] as [UInt8], HostPort(host: "a", port: 80)),
    ] {
      let client = kit.client(of: auto(kit))
      client.send(bytes)
      #expect(kit.wait(client, for: 8))
      #expect(client.received == [0, 90, 0, 0, 0, 0, 0, 0])
      #expect(kit.way.asked.last == target)
    }
  }

  static let strangers: [[UInt8]] = [
    [5, 1, 0] + request, [5, 1, 2, 1, 1, 0x75, 1, 0x78] + request, [5, 1, 2, 1, 0, 0] + request,
    [4, 1, 0, 80, 192, 0, 2, 1, 0x75, 0], [4, 1, 0, 80, 192, 0, 2, 1, 0], Array("CONNECT a:1 HTTP/1.1\r\n\r\n".utf8),
    Array("GET http://a/ HTTP/1.1\r\n\r\n".utf8), [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3], [1, 1, 0, 0],
    [5, 1, 0x80, 0x16, 3, 1], [0], [0xFF],
  ]

  @Test("No protocol is a way around the password", arguments: strangers)
  func isKeptOut(_ bytes: [UInt8]) throws {
    let kit = try ProxyKit(password: "p")
    let client = kit.client(of: auto(kit, SOCKS5Handler.Settings(tls: nil, carriesDatagrams: true, binds: true)))
    client.send(bytes)
    #expect(kit.loop.run { !client.hasEnded })
    #expect(kit.way.asked.isEmpty && kit.way.associations.isEmpty)
    #expect(kit.core.refusals == 1)
    #expect(kit.core.connectionCount == 0)
  }

  @Test func `what is neither is told so, and in the log once`() throws {
    let kit = try ProxyKit()
    for _ in 0..<3 {
      let client = kit.client(of: auto(kit))
      client.send([0x16, 3, 1])
      #expect(kit.loop.run { !client.hasEnded })
      #expect(client.text.hasPrefix("HTTP/1.1 400 "))
    }
    #expect(kit.said.lines.count == 1)
    #expect(kit.core.refusals == 3)
  }

  static let failures: [(TransportFailure.Kind, UInt8)] = [
    (.forbidden, 2), (.refused, 5), (.unreachable, 3), (.timeout, 4), (.lost, 1), (.local, 1),
  ]

  @Test("A target that cannot be reached is told by its code", arguments: failures)
  func unreachable(_ kind: TransportFailure.Kind, _ code: UInt8) throws {
    let kit = try ProxyKit()
    kit.way.failure = TransportFailure(kind, "no")
    let client = kit.client(of: auto(kit))
    client.send([5, 1, 0] + Self.request)
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.received == [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0])
    let four = kit.client(of: auto(kit))
    four.send([4, 1, 0, 80, 192, 0, 2, 1, 0])
    #expect(kit.loop.run { !four.hasEnded })
    #expect(four.received == [0, 91, 0, 0, 0, 0, 0, 0])
  }

  static let commands: [(UInt8, UInt8)] = [(2, 2), (3, 2), (0xF2, 2), (0xF3, 2), (0xF0, 7), (0xF1, 7), (0, 7), (9, 7)]

  @Test("Commands that are not switched on, or not known, are refused", arguments: commands)
  func command(_ command: UInt8, _ code: UInt8) throws {
    let kit = try ProxyKit()
    let client = kit.client(of: auto(kit))
    client.send([5, 1, 0, 5, command, 0, 1, 0, 0, 0, 0, 0, 0])
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.received == [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0])
  }

  @Test func `datagrams on the stream, and the association ends with it`() throws {
    let kit = try ProxyKit()
    let handler = auto(kit, SOCKS5Handler.Settings(tls: nil, carriesDatagrams: true))
    let client = kit.client(of: handler)
    client.send([5, 1, 0, 5, 0xF3, 0, 1, 0, 0, 0, 0, 0, 0])
    client.send([0, 1, 0xFF, 3, 1, 0x61, 0, 53, 42])
    #expect(kit.loop.run { kit.way.associations.first?.sent.isEmpty != false })
    let far = try #require(kit.way.associations.first)
    #expect(far.sent.first?.target == HostPort(host: "a", port: 53))
    far.deliver([7], from: HostPort(host: "2001:db8::1", port: 53))
    #expect(kit.wait(client, for: 12 + 23))
    #expect(client.received.suffix(4) == [0, 53, 7].prefix(0) + [1, 0, 53, 7])
    client.send([], finish: true)
    #expect(kit.loop.run { !far.isClosed })
    #expect(handler.paths.isEmpty)
  }

  // MARK: Our connectors at our handlers

  private func through(
    _ kit: ProxyKit, _ handler: some StreamHandler, _ connector: some Connector,
    _ target: HostPort = HostPort(host: "a.example", port: 7)
  ) throws -> Result<any ByteStream, TransportFailure> {
    let near = kit.serve(handler)
    var result: Result<any ByteStream, TransportFailure>?
    connector.connect(near, to: target) { result = $0 }
    #expect(kit.loop.run { result == nil })
    return try #require(result)
  }

  @Test func `each connector reaches a target through its handler, and bytes pass both ways`() throws {
    let kit = try ProxyKit(password: "p")
    let loop = kit.loop
    let open = try ProxyKit()
    let connectors: [(ProxyKit, any Connector)] = [
      (
        kit,
        HTTPConnector(
          loop: loop, settings: HTTPConnector.Settings(credentials: ("u", "p"), headers: [("X", "y")]))
      ),
      (
        kit,
        SOCKS5Connector(
          loop: loop, arena: ReceiveArena(), settings: SOCKS5Connector.Settings(credentials: ("u", "p"), tls: nil))
      ),
      (open, SOCKS4Connector(loop: open.loop, user: "u", sendsNames: true)),
    ]
    for (kit, connector) in connectors {
      let before = kit.way.targets.count
      let stream = try through(kit, auto(kit), connector).get()
      let mine = Owner(stream)
      let target = try kit.waitForTarget(before)
      target.send("first", finish: true)
      mine.send("mine", finish: true)
      #expect(kit.loop.run { !(mine.hasEnded && target.hasEnded) })
      #expect(mine.text == "first" && target.text == "mine")
      #expect(kit.way.asked.last == HostPort(host: "a.example", port: 7))
    }
  }

  @Test func `two ends that may speak TLS inside SOCKS5 do, with and without a password`() throws {
    for password in [nil, "p"] as [String?] {
      let kit = try ProxyKit(password: password)
      let certificate = try SelfSignedCertificate(now: 1_800_000_000)
      let served = StreamUpgrade.tls(
        TLSSecurity(credentials: try .selfSigned(certificate), serverName: nil, applicationProtocols: []))
      let used = StreamUpgrade.tls(
        TLSSecurity(credentials: try .client(), serverName: nil, applicationProtocols: []))
      let connector = SOCKS5Connector(
        loop: kit.loop, arena: ReceiveArena(),
        settings: SOCKS5Connector.Settings(credentials: password.map { ("u", $0) }, tls: used))
      let stream = try through(kit, auto(kit, SOCKS5Handler.Settings(tls: served)), connector).get()
      #expect(stream.layers.contains { if case .tls = $0 { true } else { false } })
      let mine = Owner(stream)
      let target = try kit.waitForTarget()
      target.send("first")
      mine.send("mine")
      #expect(kit.loop.run { mine.text != "first" || target.text != "mine" })
    }
  }

  @Test func `a connector says why it was sent away`() throws {
    let kit = try ProxyKit(password: "p")
    let loop = kit.loop
    for (connector, words) in [
      (
        HTTPConnector(loop: loop, settings: HTTPConnector.Settings(credentials: ("u", "x"))) as any Connector,
        "another user and password"
      ),
      (
        SOCKS5Connector(loop: loop, arena: ReceiveArena(), settings: SOCKS5Connector.Settings(tls: nil)),
        "none are given"
      ),
      (
        SOCKS5Connector(
          loop: loop, arena: ReceiveArena(), settings: SOCKS5Connector.Settings(credentials: ("u", "x"), tls: nil)),
        "refused the user or the password"
      ),
      (SOCKS4Connector(loop: loop, user: "u", sendsNames: true), "user is not allowed"),
    ] {
      guard case .failure(let failure) = try through(kit, auto(kit), connector) else {
        Issue.record("it was let in")
        continue
      }
      #expect(failure.kind == .refused && failure.reason.contains(words), "\(failure)")
    }
    #expect(kit.way.asked.isEmpty)
  }

  @Test func `a server that says nothing is given up`() throws {
    let kit = try ProxyKit()
    let limit = TimeSpan.milliseconds(30)
    for connector in [
      HTTPConnector(loop: kit.loop, settings: HTTPConnector.Settings(timeout: limit)) as any Connector,
      SOCKS5Connector(
        loop: kit.loop, arena: ReceiveArena(), settings: SOCKS5Connector.Settings(tls: nil, timeout: limit)),
      SOCKS4Connector(loop: kit.loop, user: nil, sendsNames: true, timeout: limit),
    ] {
      let (near, far) = Wire.pair(loop: kit.loop)
      let silent = Owner(far)
      var result: Result<any ByteStream, TransportFailure>?
      connector.connect(near, to: HostPort(host: "a", port: 1)) { result = $0 }
      #expect(kit.loop.run { result == nil })
      guard case .failure(let failure)? = result else {
        Issue.record("it was answered")
        continue
      }
      #expect(failure.kind == .timeout)
      #expect(kit.loop.run { !silent.hasEnded })
    }
  }

  @Test func `datagrams of a connector pass to a handler and back`() throws {
    let kit = try ProxyKit()
    let handler = AutoHandler(
      http: HTTPHandler(core: kit.core, settings: HTTPHandler.Settings(carriesDatagrams: true)),
      socks4: SOCKS4Handler(core: kit.core),
      socks5: SOCKS5Handler(core: kit.core, settings: SOCKS5Handler.Settings(tls: nil, carriesDatagrams: true)))
    let facts = RouteFacts(loop: kit.loop, legs: { [] })
    for (number, connector) in [
      HTTPConnector(loop: kit.loop, settings: HTTPConnector.Settings()) as any Connector,
      SOCKS5Connector(loop: kit.loop, arena: ReceiveArena(), settings: SOCKS5Connector.Settings(tls: nil)),
    ].enumerated() {
      let (near, far) = Wire.pair(loop: kit.loop)
      handler.accept(far, report: .unheard)
      var result: Result<any DatagramAssociation, TransportFailure>?
      connector.associate(near, facts: facts) { result = $0 }
      #expect(kit.loop.run { result == nil })
      let association = try #require(try result?.get())
      let heard = Heard(association)
      let target = HostPort(host: "name.example", port: 53)
      for payload in [[1], [2, 3], Array(repeating: 4, count: 9_000)] as [[UInt8]] {
        payload.withUnsafeBytes { association.send($0, to: target) }
      }
      [].withUnsafeBytes { association.send($0, to: target) }
      #expect(association.dropped == 1)
      #expect(kit.loop.run { kit.way.associations.count <= number || kit.way.associations[number].sent.count < 3 })
      let far2 = kit.way.associations[number]
      #expect(far2.sent.map(\.payload.count) == [1, 2, 9_000] && far2.sent.allSatisfy { $0.target == target })
      far2.deliver([9], from: HostPort(host: "192.0.2.7", port: 53))
      #expect(kit.loop.run { heard.datagrams.isEmpty })
      #expect(heard.datagrams.first?.source == HostPort(host: "192.0.2.7", port: 53))
      association.close()
      #expect(kit.loop.run { !far2.isClosed })
    }
  }

  private final class Heard: DatagramAssociationObserver {
    private(set) var datagrams: [(payload: [UInt8], source: HostPort)] = []
    private(set) var failure: TransportFailure?

    init(_ association: any DatagramAssociation) { association.observer = self }

    func datagramArrived(
      _ payload: UnsafeRawBufferPointer, from source: HostPort, on association: any DatagramAssociation
    ) {
      datagrams.append((Array(payload), source))
    }

    func associationFailed(_ association: any DatagramAssociation, _ failure: TransportFailure) {
      self.failure = failure
    }
  }

  @Test func `a stream that takes nothing has datagrams dropped, not held for ever`() throws {
    let loop = try EventLoop()
    let (near, far) = Wire.pair(loop: loop, capacity: 5_000)
    let association = StreamAssociation(loop: loop, stream: near, legs: { [] })
    let reader = Owner(far)
    reader.isReading = false
    let payload = [UInt8](repeating: 1, count: 1_000)
    for _ in 0..<1_000 { payload.withUnsafeBytes { association.send($0, to: HostPort(host: "192.0.2.1", port: 5)) } }
    #expect(association.dropped > 600)
    reader.isReading = true
    let kept = Int(1_000 - association.dropped)
    #expect(loop.run { reader.received.count < kept * 1_010 })
    #expect(reader.received.count == kept * 1_010)
    // It has room again.
    payload.withUnsafeBytes { association.send($0, to: HostPort(host: "192.0.2.1", port: 5)) }
    #expect(loop.run { reader.received.count < (kept + 1) * 1_010 })
  }

  @Test func `a stream that loses its frames ends the association with a word`() throws {
    let loop = try EventLoop()
    for (bytes, kind) in [([0, 1, 0xFF, 9, 0], TransportFailure.Kind.violation), ([] as [UInt8], .lost)] {
      let (near, far) = Wire.pair(loop: loop)
      let association = StreamAssociation(loop: loop, stream: near, legs: { [] })
      let heard = Heard(association)
      Owner(far).send(bytes, finish: true)
      #expect(loop.run { heard.failure == nil })
      #expect(heard.failure?.kind == kind)
      #expect(near.isClosed)
    }
  }
}
