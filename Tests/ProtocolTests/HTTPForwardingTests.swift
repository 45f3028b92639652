import HTTPProxy
import Testing
import Values

/// What a proxy makes of a request and of its response.
@Suite struct HTTPForwardingTests {
  private func request(_ line: String, _ fields: String = "") throws -> HTTPRequestHead {
    var parser = HTTPHeadParser()
    let text = "\(line)\r\n\(fields)\r\n"
    let outcome = try Array(text.utf8).withUnsafeBytes { bytes in try parser.request(bytes).whole }
    return try #require(outcome).head
  }

  static let destinations: [(String, HTTPTarget?)] = [
    ("CONNECT example.com:443", .tunnel(HostPort(host: "example.com", port: 443))),
    ("CONNECT [2001:db8::1]:22", .tunnel(HostPort(host: "2001:db8::1", port: 22))),
    ("CONNECT 192.0.2.1:65535", .tunnel(HostPort(host: "192.0.2.1", port: 65_535))),
    (
      "GET http://example.com/a?b",
      .resource(HostPort(host: "example.com", port: 80), authority: "example.com", path: Array("/a?b".utf8))
    ),
    ("GET HTTP://a:80", .resource(HostPort(host: "a", port: 80), authority: "a", path: Array("/".utf8))),
    ("GET http://a:8080?q", .resource(HostPort(host: "a", port: 8_080), authority: "a:8080", path: Array("/?q".utf8))),
    ("GET http://[::1]/", .resource(HostPort(host: "::1", port: 80), authority: "[::1]", path: Array("/".utf8))),
    ("GET http://a:/x", .resource(HostPort(host: "a", port: 80), authority: "a", path: Array("/x".utf8))),
    ("OPTIONS http://a", .resource(HostPort(host: "a", port: 80), authority: "a", path: Array("*".utf8))),
    ("GET http://a/\u{E9}", .resource(HostPort(host: "a", port: 80), authority: "a", path: Array("/\u{E9}".utf8))),
    ("CONNECT example.com", nil), ("CONNECT example.com:", nil), ("CONNECT :443", nil), ("CONNECT a:0", nil),
    ("CONNECT a:65536", nil), ("CONNECT a:+1", nil), ("CONNECT a:1/", nil), ("CONNECT u@a:1", nil),
    ("CONNECT [::1:22", nil), ("CONNECT ::1:22", nil), ("CONNECT [127.0.0.1]:22", nil), ("CONNECT [::1]22", nil),
    ("CONNECT [fe80::1%25eth0]:22", nil), ("CONNECT a,b:1", nil), ("CONNECT http://a:1/", nil),
    ("GET /path", nil), ("GET *", nil), ("GET https://a/", nil), ("GET ftp://a/", nil), ("GET http:///x", nil),
    ("GET http://u:p@a/", nil), ("GET http://good.com\\@evil.com/", nil), ("GET http://a:b/", nil),
    ("GET http://a/#f", nil), ("GET http://", nil), ("GET a:80", nil),
  ]

  @Test("Where a request goes, and what a proxy does not serve", arguments: destinations)
  func destination(_ line: String, _ expected: HTTPTarget?) throws {
    #expect(try request("\(line) HTTP/1.1").destination == expected)
  }

  @Test func `a request goes on as a path, with the Host of its URI and nothing that was for us`() throws {
    let head = try request(
      "POST http://real.example:8080/p HTTP/1.1",
      "Accept: */*\r\nHost: other.example\r\nProxy-Authorization: Basic dTpw\r\nProxy-Connection: keep-alive\r\n"
        + "Connection: keep-alive, X-Hop, host, content-length\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nTE: trailers\r\n"
        + "Upgrade: h2c\r\nX-Gost-Target: abc\r\nGost-Target: abc\r\nContent-Length: 3\r\nVia: 1.0 a\r\n")
    guard case .resource(_, let authority, let path)? = head.destination else {
      Issue.record("no resource")
      return
    }
    let forwarded = try #require(head.forwarded(authority: authority, path: path))
    #expect(
      String(decoding: forwarded.encode(), as: UTF8.self)
        == "POST /p HTTP/1.1\r\nHost: real.example:8080\r\nAccept: */*\r\nContent-Length: 3\r\nVia: 1.0 a\r\n"
        + "Connection: close\r\n\r\n")
  }

  @Test func `a client of HTTP 1.0 speaks for itself`() throws {
    let head = try request("GET http://a/ HTTP/1.0", "Connection: keep-alive\r\n")
    let forwarded = try #require(head.forwarded(authority: "a", path: Array("/".utf8)))
    #expect(
      String(decoding: forwarded.encode(), as: UTF8.self) == "GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n")
  }

  @Test func `an upgrade that is asked for is handed on, and its answer too`() throws {
    let head = try request("GET http://a/ws HTTP/1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n")
    let forwarded = try #require(head.forwarded(authority: "a", path: Array("/ws".utf8)))
    #expect(
      String(decoding: forwarded.encode(), as: UTF8.self)
        == "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    var headers = HTTPHeaders()
    headers.append("Upgrade", "websocket")
    headers.append("Connection", "upgrade")
    let response = HTTPResponseHead(status: 101, reason: "Switching Protocols".utf8, headers: headers)
    #expect(
      String(decoding: response.forwarded(isLast: false).encode(), as: UTF8.self)
        == "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
  }

  @Test func `a response goes on without what was between the server and us`() {
    var headers = HTTPHeaders()
    for (name, value) in [
      ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "5"), ("Proxy-Authenticate", "Basic"),
      ("Transfer-Encoding", "chunked"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
    ] {
      headers.append(name, value)
    }
    for (isLast, word) in [(true, "close"), (false, "keep-alive")] {
      let head = HTTPResponseHead(status: 200, reason: "OK".utf8, minorVersion: 0, headers: headers)
      #expect(
        String(decoding: head.forwarded(isLast: isLast).encode(), as: UTF8.self)
          == "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: \(word)\r\n\r\n"
      )
    }
    let interim = HTTPResponseHead(status: 100, reason: "Continue".utf8, headers: headers).forwarded(isLast: false)
    #expect(!interim.headers.has("Transfer-Encoding") && !interim.headers.has("Connection"))
  }

  @Test func `whether a connection goes on`() throws {
    for (version, fields, isPersistent) in [
      ("1.1", "", true), ("1.0", "", false), ("1.0", "Connection: Keep-Alive\r\n", true),
      ("1.0", "Proxy-Connection: keep-alive\r\n", true), ("1.1", "Connection: close\r\n", false),
      ("1.1", "Proxy-Connection: close\r\n", false), ("1.1", "Connection: x, CLOSE\r\n", false),
      ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
      #expect(try request("GET http://a/ HTTP/\(version)", fields).isPersistent == isPersistent, "\(version) \(fields)")
    }
  }

  @Test func `credentials are read once or not at all`() throws {
    for (fields, user, password) in [
      ("Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", "Aladdin", "open sesame"),
      ("proxy-authorization: bAsIc   dTpwOnE\r\n", "u", "p:q"), ("Proxy-Authorization: Basic Og==\r\n", "", ""),
    ] {
      let given = try #require(try request("GET http://a/ HTTP/1.1", fields).proxyCredentials)
      #expect(given.user == Array(user.utf8) && given.password == Array(password.utf8))
    }
    for fields in [
      "", "Authorization: Basic dTpw\r\n", "Proxy-Authorization: Bearer dTpw\r\n", "Proxy-Authorization: Basic\r\n",
      "Proxy-Authorization: Basic dTpw dTpw\r\n", "Proxy-Authorization: Basic d!pw\r\n",
      "Proxy-Authorization: Basic dXA=\r\n", "Proxy-Authorization: Basic dTpw\r\nProxy-Authorization: Basic dTpw\r\n",
    ] {
      #expect(try request("GET http://a/ HTTP/1.1", fields).proxyCredentials == nil, "\(fields)")
    }
    #expect(HTTPBasic.encode(user: "Aladdin", password: "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    #expect(HTTPBasic.challenge(realm: "a \"b\" \\").value == "Basic realm=\"a \\\"b\\\" \\\\\"")
  }

  @Test func `our own answers are whole responses`() throws {
    for (isLast, hasBody) in [(true, true), (false, true), (false, false)] {
      let bytes = HTTPResponseHead.answer(
        407, "who are you", isLast: isLast, extra: [HTTPBasic.challenge(realm: "gost")], hasBody: hasBody)
      var parser = HTTPHeadParser()
      let (head, consumed) = try #require(
        try bytes.withUnsafeBytes { bytes in try parser.response(bytes).whole })
      #expect(head.status == 407)
      #expect(head.headers["Proxy-Authenticate"].map(\.text) == ["Basic realm=\"gost\""])
      #expect(try head.bodyLength(toMethod: "GET") == .bytes(12))
      #expect(bytes.count - consumed == (hasBody ? 12 : 0))
      #expect(head.headers.lists("close", in: "Connection") == isLast)
    }
  }
}
