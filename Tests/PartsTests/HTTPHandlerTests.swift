import HTTPProxy
import LinuxIO
import SOCKS
import Testing
import Values

@testable import Parts

@Suite struct HTTPHandlerTests {
  private func until(_ kit: ProxyKit, _ owner: Owner, has text: String) -> Bool {
    kit.loop.run { !owner.text.contains(text) && owner.failure == nil }
  }

  @Test func `a tunnel carries what came behind its request, and what the target says first`() throws {
    let kit = try ProxyKit()
    let handler = HTTPHandler(core: kit.core)
    let client = kit.client(of: handler)
    for byte in Array("CONNECT a.example:22 HTTP/1.1\r\nHost: a.example:22\r\n\r\nearly".utf8) { client.send([byte]) }
    let target = try kit.waitForTarget()
    target.send("SSH-2.0-x\r\n")
    #expect(until(kit, client, has: "SSH-2.0-x\r\n"))
    #expect(client.text == "HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0-x\r\n")
    #expect(until(kit, target, has: "early"))
    #expect(target.text == "early")
    #expect(kit.way.asked == [HostPort(host: "a.example", port: 22)])
    #expect(kit.core.connectionCount == 1)
    client.send("bye", finish: true)
    target.send("bye", finish: true)
    #expect(kit.loop.run { kit.core.connectionCount > 0 })
    #expect(target.text == "earlybye")
  }

  @Test func `requests on one connection go each to its own target`() throws {
    let kit = try ProxyKit()
    let handler = HTTPHandler(core: kit.core)
    let client = kit.client(of: handler)
    // Both at once: the second waits for the first.
    client.send(
      "GET http://one.example/a HTTP/1.1\r\nHost: ignored\r\nProxy-Connection: keep-alive\r\n\r\n"
        + "POST http://two.example:81/b HTTP/1.1\r\nHost: two\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    let one = try kit.waitForTarget()
    #expect(until(kit, one, has: "\r\n\r\n"))
    #expect(one.text == "GET /a HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n")
    #expect(kit.way.asked.count == 1)
    #expect(handler.paths.map(\.name) == ["http to one.example:80"])
    one.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
    let two = try kit.waitForTarget(1)
    #expect(until(kit, two, has: "0\r\n\r\n"))
    #expect(
      two.text == "POST /b HTTP/1.1\r\nHost: two.example:81\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + "3\r\nabc\r\n0\r\n\r\n")
    two.send("HTTP/1.1 404 Gone\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\nX: y\r\n\r\n")
    #expect(until(kit, client, has: "X: y\r\n\r\n"))
    #expect(
      client.text == "HTTP/1.1 100 Continue\r\n\r\n"
        + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nfirst"
        + "HTTP/1.1 404 Gone\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n6\r\nsecond\r\n0\r\nX: y\r\n\r\n"
    )
    #expect(!client.hasEnded)
    // A response without a length lasts until the connection ends, and so does the client's.
    client.send("GET http://one.example/c HTTP/1.1\r\n\r\n")
    let three = try kit.waitForTarget(2)
    three.send("HTTP/1.0 200 OK\n\nto the end", finish: true)
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.text.hasSuffix("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"))
    #expect(kit.way.asked.map(\.port) == [80, 81, 80])
  }

  @Test func `large bodies pass both ways however little is taken at a time`() throws {
    let kit = try ProxyKit()
    kit.way.capacity = 1_500
    let handler = HTTPHandler(core: kit.core)
    let client = kit.client(of: handler, capacity: 1_500)
    let body = (0..<400_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    client.send("PUT http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.count)\r\n\r\n")
    client.send(body)
    let target = try kit.waitForTarget()
    #expect(kit.loop.run { target.received.count < body.count })
    #expect(kit.loop.run { target.received.suffix(body.count) != body[...] })
    client.isReading = false
    target.send("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n")
    target.send(body)
    client.isReading = true
    #expect(kit.loop.run { client.received.suffix(body.count) != body[...] })
  }

  static let refused = [
    ("GET /path HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("CONNECT  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET http://a/ HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400), ("GET http://a/ HTTP/3.0\r\n\r\n", 505),
    ("GET http://a/ HTTP/1.1\r\n" + String(repeating: "X: y\r\n", count: 200) + "\r\n", 431),
    ("GET http://a/ HTTP/1.1\r\nX: " + String(repeating: "y", count: 70_000), 431), ("\u{16}\u{3}\u{1}", 400),
    ("CONNECT a:1 HTTP/1.1\r\nX-Gost-Protocol: udp\r\n\r\n", 403),
  ]

  @Test("What cannot be served safely is answered, and no target is asked", arguments: refused)
  func refuse(_ text: String, _ status: Int) throws {
    let kit = try ProxyKit()
    let client = kit.client(of: HTTPHandler(core: kit.core))
    client.send(text)
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.text.hasPrefix("HTTP/1.1 \(status) "), "\(client.text)")
    #expect(client.text.contains("Connection: close\r\n"))
    #expect(kit.way.asked.isEmpty)
    #expect(kit.core.refusals == 1)
    #expect(kit.said.lines.count == 1)
  }

  @Test func `nobody gets in without the password, and it does not travel on`() throws {
    let kit = try ProxyKit(password: "p")
    let handler = HTTPHandler(core: kit.core, settings: HTTPHandler.Settings(realm: "my \"own\""))
    for fields in ["", "Proxy-Authorization: Basic dTp4\r\n", "Authorization: Basic dTpw\r\n"] {
      for line in ["CONNECT a:1", "GET http://a/"] {
        let client = kit.client(of: handler)
        client.send("\(line) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n")
        #expect(kit.loop.run { !client.hasEnded })
        #expect(client.text.hasPrefix("HTTP/1.1 407 "))
        #expect(client.text.contains("Proxy-Authenticate: Basic realm=\"my \\\"own\\\"\"\r\n"))
      }
    }
    #expect(kit.way.asked.isEmpty)
    let client = kit.client(of: handler)
    client.send("GET http://a/ HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\nAuthorization: Basic eA==\r\n\r\n")
    let target = try kit.waitForTarget()
    #expect(until(kit, target, has: "\r\n\r\n"))
    #expect(target.text == "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\nConnection: close\r\n\r\n")
  }

  static let failures: [(TransportFailure.Kind, Int)] = [
    (.forbidden, 403), (.refused, 502), (.unreachable, 502), (.timeout, 504), (.local, 503),
  ]

  @Test("A target that cannot be reached is told by its status, without what only we should know", arguments: failures)
  func unreachable(_ kind: TransportFailure.Kind, _ status: Int) throws {
    let kit = try ProxyKit()
    kit.way.failure = TransportFailure(kind, "node secret-node: 10.9.8.7")
    for line in ["CONNECT a:1", "HEAD http://a/"] {
      let client = kit.client(of: HTTPHandler(core: kit.core))
      client.send("\(line) HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(kit.loop.run { !client.hasEnded })
      #expect(client.text.hasPrefix("HTTP/1.1 \(status) "), "\(client.text)")
      #expect(!client.text.contains("secret") && !client.text.contains("10.9.8.7"))
      #expect(client.text.hasSuffix("\r\n\r\n") == line.hasPrefix("HEAD"))
    }
  }

  static let brokenOnes = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false), ("", true), ("SSH-2.0-x\r\n", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", true),
    ("HTTP/1.1 101 Surprise\r\n\r\n", true),
    ("HTTP/1.1 200", true),
  ]

  @Test("A response that breaks off does not look whole, and one that is none is told", arguments: brokenOnes)
  func broken(_ response: String, _ isTold: Bool) throws {
    let kit = try ProxyKit()
    let client = kit.client(of: HTTPHandler(core: kit.core))
    client.send("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
    let target = try kit.waitForTarget()
    target.send(response, finish: true)
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.text.hasPrefix(isTold ? "HTTP/1.1 502 " : "HTTP/1.1 200 "), "\(client.text)")
  }

  @Test func `an answer that comes before the body is over is the connection's last`() throws {
    let kit = try ProxyKit()
    let client = kit.client(of: HTTPHandler(core: kit.core))
    client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin")
    let target = try kit.waitForTarget()
    #expect(until(kit, target, has: "begin"))
    target.send("HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.text == "HTTP/1.1 413 Too much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
  }

  @Test func `a client that leaves in the middle of its body takes the request with it`() throws {
    let kit = try ProxyKit()
    let client = kit.client(of: HTTPHandler(core: kit.core))
    client.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin", finish: true)
    let target = try kit.waitForTarget()
    #expect(kit.loop.run { !target.hasEnded })
    #expect(kit.loop.run { !client.hasEnded })
    #expect(client.text == "")
  }

  @Test func `a connection that becomes something else is joined`() throws {
    let kit = try ProxyKit()
    let client = kit.client(of: HTTPHandler(core: kit.core))
    client.send("GET http://a/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    let target = try kit.waitForTarget()
    target.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    #expect(until(kit, client, has: "hello"))
    client.send("back")
    #expect(until(kit, target, has: "back"))
    #expect(kit.core.connectionCount == 1)
  }

  @Test func `whoever sends no whole request in time is closed`() throws {
    let kit = try ProxyKit(readTimeout: .milliseconds(50))
    let handler = AutoHandler(
      http: HTTPHandler(core: kit.core), socks4: SOCKS4Handler(core: kit.core),
      socks5: SOCKS5Handler(core: kit.core, settings: SOCKS5Handler.Settings(tls: nil)))
    let slow = ["", "G", "GET http://a/ HTTP/1.1\r\nX: ", "\u{5}", "\u{5}\u{1}\0\u{5}\u{1}", "\u{4}\u{1}"].map {
      let client = kit.client(of: handler)
      client.send($0)
      return client
    }
    #expect(kit.loop.run { slow.contains { !$0.hasEnded } })
    #expect(handler.dropped.contains { $0.what == "clients that took too long" && $0.count == 6 })
    #expect(kit.way.asked.isEmpty)
  }

  @Test func `datagrams for a client of GOST's, which names no target`() throws {
    let kit = try ProxyKit()
    let handler = HTTPHandler(core: kit.core, settings: HTTPHandler.Settings(carriesDatagrams: true))
    let client = kit.client(of: handler)
    client.send("CONNECT  HTTP/1.1\r\nHost: \r\nX-Gost-Protocol: udp\r\n\r\n")
    client.send([0, 2, 0xFF, 1, 192, 0, 2, 1, 0, 53, 0x68, 0x69])
    #expect(kit.loop.run { kit.way.associations.first?.sent.isEmpty != false })
    let far = try #require(kit.way.associations.first)
    let target = HostPort(host: "192.0.2.1", port: 53)
    #expect(far.sent.map(\.payload) == [[0x68, 0x69]] && far.sent.map(\.target) == [target])
    let head = "HTTP/1.1 200 Connection established\r\n\r\n"
    far.deliver([0x79, 0x6F], from: target)
    #expect(kit.wait(client, for: head.utf8.count + 12))
    #expect(client.received == Array(head.utf8) + [0, 2, 0xFF, 1, 192, 0, 2, 1, 0, 53, 0x79, 0x6F])
    #expect(handler.paths.map(\.name) == ["datagrams to any target"])
    client.send([], finish: true)
    #expect(kit.loop.run { !far.isClosed })
    #expect(handler.paths.isEmpty)
  }
}
