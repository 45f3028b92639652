import HTTPProxy
import Testing
import Values

/// Heads of HTTP/1.x: what other programs write, what may not pass, in every split.
@Suite struct HTTPHeadTests {
  private func request(_ text: String) throws -> (head: HTTPRequestHead, consumed: Int)? {
    var parser = HTTPHeadParser()
    return try Array(text.utf8).withUnsafeBytes { bytes in try parser.request(bytes).whole }
  }

  private func response(_ text: String) throws -> (head: HTTPResponseHead, consumed: Int)? {
    var parser = HTTPHeadParser()
    return try Array(text.utf8).withUnsafeBytes { bytes in try parser.response(bytes).whole }
  }

  @Test func `requests of curl and nc, in every split, and what follows is left alone`() throws {
    let curl =
      "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nProxy-Authorization: Basic dTpw\r\n"
      + "User-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n"
    let nc = "CONNECT 127.0.0.1:22 HTTP/1.0\r\n\r\n"
    for (text, minor, count) in [(curl, 1, 4), (nc, 0, 0)] {
      for pieces in splits(Array(text.utf8) + [0x16, 3, 1]) {
        var parser = HTTPHeadParser()
        var pending: [UInt8] = []
        var found: (head: HTTPRequestHead, consumed: Int)?
        for piece in pieces where found == nil {
          pending += piece
          found = try pending.withUnsafeBytes { bytes in try parser.request(bytes).whole }
          if pending.count < text.utf8.count { #expect(found == nil) }
        }
        let (head, consumed) = try #require(found)
        #expect(consumed == text.utf8.count)
        #expect(head.method == "CONNECT")
        #expect(head.minorVersion == minor)
        #expect(head.headers.fields.count == count)
        #expect(head.encode() == Array(text.utf8))
      }
    }
  }

  @Test func `values lose the blanks around them, names keep their letters and are found by any`() throws {
    let head = try #require(try request("GET http://a/ HTTP/1.1\r\nhOsT:a\r\nX-Blank: \t b  c \t\r\nEmpty:\r\n\r\n"))
      .head
    #expect(head.headers["HOST"].map(\.text) == ["a"])
    #expect(head.headers["x-blank"].map(\.text) == ["b  c"])
    #expect(head.headers["empty"].map(\.value) == [[]])
    #expect(head.headers.fields.first?.name == "hOsT")
  }

  @Test func `GOST's client names no target when it asks for datagrams to any`() throws {
    // As GOST 3.2.6 sent it.
    let text =
      "CONNECT  HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nProxy-Connection: keep-alive\r\n"
      + "X-Gost-Protocol: udp\r\n\r\n"
    let head = try #require(try request(text)).head
    #expect(head.target == [] && head.destination == nil)
    #expect(head.headers.lists(HTTPGost.datagrams, in: HTTPGost.protocolField))
    #expect(head.encode() == Array(text.utf8))
    #expect(throws: HTTPError.malformedLine) { _ = try request("GET  HTTP/1.1\r\n\r\n") }
  }

  @Test func `empty lines in front are passed over, a few`() throws {
    #expect(try request("\r\n\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")?.head.method == "GET")
    #expect(try request("\r\n") == nil)
    #expect(throws: HTTPError.malformedLine) {
      _ = try request(String(repeating: "\r\n", count: 5) + "GET http://a/ HTTP/1.1\r\n\r\n")
    }
  }

  static let refused: [(String, HTTPError)] = [
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\nHost: a\n\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\u{7F}\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\n: a\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nno colon\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nX(y): a\r\n\r\n", .malformedField),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .host),
    ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", .host),
    ("GET / HTTP/2.0\r\n\r\n", .version), ("GET / HTTP/1.2\r\n\r\n", .version), ("PRI * HTTP/2.0\r\n\r\n", .version),
    ("GET / HTTP/1.1 \r\n\r\n", .malformedLine), ("GET  / HTTP/1.1\r\n\r\n", .malformedLine),
    ("GET / http/1.1\r\n\r\n", .malformedLine), ("GET /\r\n\r\n", .malformedLine), ("GET\r\n\r\n", .malformedLine),
    (" GET / HTTP/1.1\r\n\r\n", .malformedLine), ("G\tET / HTTP/1.1\r\n\r\n", .malformedLine),
    ("GET /\0 HTTP/1.1\r\n\r\n", .malformedLine), ("GET /a b HTTP/1.1\r\n\r\n", .malformedLine),
    ("GET /\r HTTP/1.1\r\n\r\n", .malformedField), ("\r\rGET / HTTP/1.1\r\n\r\n", .malformedLine),
    (String(repeating: "M", count: 33) + " / HTTP/1.1\r\n\r\n", .malformedLine),
    ("\u{16}\u{3}\u{1}\u{2}", .malformedLine), ("\u{5}\u{1}\0", .malformedLine), ("\u{1}\u{1}\0\u{A}", .malformedLine),
  ]

  @Test("A request that two readers could take for two things is refused", arguments: refused)
  func refuse(_ text: String, _ error: HTTPError) {
    #expect(throws: error) { _ = try request(text) }
    // And however it is cut, at the latest when all is there.
    var parser = HTTPHeadParser()
    let bytes = Array(text.utf8)
    var seen: HTTPError?
    for length in 1...bytes.count where seen == nil {
      do {
        let outcome = try Array(bytes[..<length]).withUnsafeBytes { bytes in
          try parser.request(bytes).whole
        }
        #expect(outcome == nil)
      } catch { seen = error as? HTTPError }
    }
    #expect(seen == error)
  }

  @Test func `a head is refused at 64 KiB and at 128 fields, not one byte or field before`() throws {
    let start = "GET http://a/ HTTP/1.1\r\nHost: a\r\n"
    let filler = HTTPLimits.head - start.utf8.count - "X: \r\n\r\n".utf8.count
    let longest = start + "X: " + String(repeating: "x", count: filler) + "\r\n\r\n"
    #expect(longest.utf8.count == HTTPLimits.head)
    #expect(try request(longest)?.consumed == HTTPLimits.head)
    #expect(throws: HTTPError.headTooLong) {
      _ = try request(start + "X: x" + String(longest.dropFirst(start.count + 3)))
    }
    #expect(throws: HTTPError.headTooLong) {
      _ = try request(start + "X: " + String(repeating: "x", count: HTTPLimits.head))
    }
    #expect(try request(start + "X: " + String(repeating: "x", count: 1_000)) == nil)
    let fields = { (count: Int) in start + String(repeating: "X: 1\r\n", count: count - 1) + "\r\n" }
    #expect(try request(fields(HTTPLimits.fields))?.head.headers.fields.count == HTTPLimits.fields)
    #expect(throws: HTTPError.tooManyFields) { _ = try request(fields(HTTPLimits.fields + 1)) }
  }

  @Test func `responses, also with lines that end in a line feed alone`() throws {
    let head = try #require(try response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")).head
    #expect(head.status == 200 && String(decoding: head.reason, as: UTF8.self) == "OK")
    #expect(
      try response("HTTP/1.0 404 \nServer: old\n\n")?.head.encode()
        == Array("HTTP/1.0 404 \r\nServer: old\r\n\r\n".utf8))
    #expect(try response("HTTP/1.1 204\r\n\r\n")?.head.status == 204)
    #expect(try response("HTTP") == nil)
    for text in [
      "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 +20 OK\r\n\r\n",
      "SSH-2.0-OpenSSH\r\n", "\u{5}\0", "HTTP/1.1 200 a\u{1}b\r\n\r\n", "HTTP/1.1\r\n\r\n",
    ] {
      #expect(throws: HTTPError.malformedLine, "\(text)") { _ = try response(text) }
    }
    #expect(throws: HTTPError.version) { _ = try response("HTTP/1.9 200 OK\r\n\r\n") }
    #expect(throws: HTTPError.malformedField) { _ = try response("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n") }
  }

  static let injected = ["a\r\nX: y", "a\nX: y", "a\rb", "a\0b", "a\u{7F}"]

  @Test("Nothing that is given becomes a line of its own", arguments: injected)
  func injection(_ text: String) {
    var headers = HTTPHeaders()
    let added = [
      headers.append("X", text), headers.append(text, "y"), headers.append("X y", "z"), headers.set("X", text),
    ]
    #expect(added == [false, false, false, false])
    #expect(headers.fields.isEmpty)
    #expect(HTTPRequestHead(method: "GET", target: text.utf8, headers: headers) == nil)
    #expect(HTTPRequestHead(method: text, target: "/".utf8, headers: headers) == nil)
    #expect(HTTPRequestHead.connect(to: HostPort(host: text, port: 1)) == nil)
    #expect(HTTPRequestHead.connect(to: HostPort(host: "a", port: 1), extra: [("X", text)]) == nil)
    #expect(HTTPResponseHead(status: 200, reason: text.utf8).reason.isEmpty)
    #expect(HTTPBasic.challenge(realm: text).value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F })
    let answer = String(decoding: HTTPResponseHead.answer(403, "no", isLast: true, extra: [("X", text)]), as: UTF8.self)
    #expect(!answer.contains("X:"))
  }

  @Test func `a CONNECT as GOST's client writes it`() throws {
    let head = try #require(
      HTTPRequestHead.connect(
        to: HostPort(host: "2001:db8::1", port: 443), credentials: (user: "u", password: "p:q"),
        extra: [("User-Agent", "x"), ("Host", "ignored")], isForDatagrams: true))
    #expect(
      String(decoding: head.encode(), as: UTF8.self)
        == "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\nUser-Agent: x\r\n"
        + "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic dTpwOnE=\r\nX-Gost-Protocol: udp\r\n\r\n")
    #expect(try request(String(decoding: head.encode(), as: UTF8.self))?.head == head)
    #expect(HTTPRequestHead.connect(to: HostPort(host: "", port: 1)) == nil)
    #expect(HTTPRequestHead.connect(to: HostPort(host: "a/b", port: 1)) == nil)
    #expect(HTTPRequestHead.connect(to: HostPort(host: "a@b", port: 1)) == nil)
    #expect(HTTPRequestHead.connect(to: HostPort(host: "a", port: 1), credentials: (user: "a:b", password: "")) == nil)
  }

  @Test func `random and mutilated heads are judged without a trap, and what passes is written as it was read`() throws
  {
    let seed = Array("POST http://a.example:8080/p?q HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\nabc".utf8)
    var random = SeededGenerator(29)
    let alphabet = Array("\r\n\0\t :;,a1GET/HTTP/1.1".utf8)
    var inputs = mutilations(seed)
    for _ in 0..<3_000 {
      var bytes = seed
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = alphabet.randomElement(using: &random) ?? 0
      }
      inputs.append(bytes)
    }
    var passed = 0
    for input in inputs {
      var parser = HTTPHeadParser()
      guard let (head, consumed) = try? input.withUnsafeBytes({ try parser.request($0).whole }) else { continue }
      passed += 1
      #expect(consumed <= input.count)
      var again = HTTPHeadParser()
      let second = try head.encode().withUnsafeBytes { bytes in try again.request(bytes).whole }
      #expect(second?.head == head)
      _ = head.destination
      _ = try? head.bodyLength()
    }
    #expect(passed > 100 && passed < inputs.count)
  }
}

extension HTTPHeadParser.Outcome {
  var whole: (head: Head, consumed: Int)? {
    if case .head(let head, let consumed) = self { (head, consumed) } else { nil }
  }
}
