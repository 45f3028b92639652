import Testing
import Values

@testable import WebSocket

/// The opening handshake: RFC 6455's example, GOST's bytes, and what is said about ends that are something else.
@Suite struct WebSocketHandshakeTests {
  private static let nonce = Array("the sample nonce".utf8)

  private func client(
    path: String = "/ws", headers: [WebSocketField] = [], nonce: [UInt8] = nonce
  ) throws -> WebSocketClientHandshake {
    try WebSocketClientHandshake(
      host: "10.99.0.2:8443", path: path, headers: headers, nonce: nonce, sha1: slowSHA1)
  }

  /// What a client makes of an answer, in every split the same.
  private func outcome(_ answer: String, of client: WebSocketClientHandshake) -> Result<Int, WebSocketError>? {
    outcome(Array(answer.utf8)) { bytes throws(WebSocketError) in
      var client = client
      return try self.consumed(bytes) { bytes throws(WebSocketError) in try client.read(bytes) }
    }
  }

  /// What a server makes of a request.
  private func outcome(_ request: String, path: String = "/ws") throws -> Result<Int, WebSocketError>? {
    let server = try WebSocketServerHandshake(path: path)
    return outcome(Array(request.utf8)) { bytes throws(WebSocketError) in
      var server = server
      return try self.consumed(bytes) { bytes throws(WebSocketError) in try server.read(bytes) }
    }
  }

  private func outcome(
    _ bytes: [UInt8], _ read: ([ArraySlice<UInt8>]) throws(WebSocketError) -> Int?
  ) -> Result<Int, WebSocketError>? {
    let outcomes = splits(bytes, seeds: 1...3).map { way -> Result<Int, WebSocketError>? in
      do throws(WebSocketError) { return try read(way).map { .success($0) } } catch { return .failure(error) }
    }
    // Who is no HTTP is known by the first bytes; how much of them is shown depends on how many came.
    if case .failure(.notHTTP)?? = outcomes.first {
      #expect(outcomes.allSatisfy { if case .failure(.notHTTP)? = $0 { true } else { false } })
    } else if case .failure(.refused)?? = outcomes.first {
      #expect(outcomes.allSatisfy { if case .failure(.refused)? = $0 { true } else { false } })
    } else {
      #expect(Set(outcomes.map { "\(String(describing: $0))" }).count == 1, "\(outcomes)")
    }
    return outcomes.first ?? nil
  }

  private func consumed<Message>(
    _ way: [ArraySlice<UInt8>],
    _ read: (UnsafeRawBufferPointer) throws(WebSocketError) -> WebSocketReading<Message>
  ) throws(WebSocketError) -> Int? {
    var all: [UInt8] = []
    for piece in way {
      all += piece
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: all.count, alignment: 1)
      defer { copy.deallocate() }
      copy.copyBytes(from: all)
      if case .message(_, let consumed) = try read(UnsafeRawBufferPointer(copy)) { return consumed }
    }
    return nil
  }

  private static func request(_ change: (inout [String]) -> Void = { _ in }) -> String {
    var lines = [
      "GET /ws HTTP/1.1", "Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
    ]
    change(&lines)
    return lines.joined(separator: "\r\n") + "\r\n\r\n"
  }

  private static let answer = """
    HTTP/1.1 101 Switching Protocols\r
    Upgrade: websocket\r
    Connection: Upgrade\r
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r
    \r

    """

  @Test func `the slow SHA-1 is SHA-1`() {
    #expect(slowSHA1(Array("abc".utf8)) == hex("a9993e364706816aba3e25717850c26c9cd0d89d"))
    #expect(
      slowSHA1(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8))
        == hex("84983e441c3bd26ebaae4aa1f95129e5e54670f1"))
  }

  @Test func `RFC 6455's key is accepted with its answer, and bytes behind the head stay`() throws {
    #expect(String(decoding: try client().request, as: UTF8.self).contains("Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))
    #expect(try outcome(Self.answer, of: client()) == .success(Self.answer.utf8.count))
    #expect(try outcome(Self.answer + "\u{1}\u{2}leftover", of: client()) == .success(Self.answer.utf8.count))
    let request = Self.request()
    #expect(try outcome(request + "more") == .success(request.utf8.count))
    var server = try WebSocketServerHandshake(path: "/ws")
    guard case .message(let asked, _) = try Array(request.utf8).withUnsafeBytes({ try server.read($0) }) else {
      Issue.record("no request")
      return
    }
    #expect(asked.path == "/ws")
    #expect(asked.host == "server.example.com")
    #expect(server.answer(to: asked, sha1: slowSHA1) == Array(Self.answer.utf8))
  }

  @Test func `GOST's handshake is written as GOST writes it`() throws {
    for transcript in [Transcript.relayWebSocket, .relayMuxedWebSocket] {
      let head = try #require(transcript.messages(.client).first)
      let text = String(decoding: head, as: UTF8.self)
      let key = try #require(text.split(separator: "\r\n").first { $0.hasPrefix("Sec-WebSocket-Key: ") })
      let nonce = try #require(Base64.decode(Array(key.utf8.dropFirst(19))))
      #expect(try client(nonce: nonce).request == head)
      var server = try WebSocketServerHandshake(path: "/ws")
      guard case .message(let asked, let consumed) = try head.withUnsafeBytes({ try server.read($0) }) else {
        Issue.record("no request")
        return
      }
      #expect(consumed == head.count)
      let answer = try #require(transcript.messages(.server).first)
      #expect(server.answer(to: asked, sha1: slowSHA1) == answer)
      #expect(try outcome(String(decoding: answer, as: UTF8.self), of: client(nonce: nonce)) == .success(answer.count))
    }
  }

  @Test func `GOST's frames are read to the last byte, and written as GOST writes them`() throws {
    for (transcript, up, down) in [
      (Transcript.relayWebSocket, "0101000a", "01000000"), (.relayMuxedWebSocket, "0100000003000000", "0102c000"),
    ] {
      for (side, role, start) in [
        (Transcript.Side.client, WebSocketReceiver.Role.server, up), (.server, .client, down),
      ] {
        let messages = transcript.messages(side).dropFirst()
        let stream = messages.flatMap { $0 }
        for way in splits(stream, seeds: 1...5) {
          var reader = WebSocketReader(role)
          for piece in way { try reader.read(piece) }
          #expect(reader.payload.starts(with: hex(start)))
          #expect(reader.isAtBoundary)
          #expect(reader.close == nil)
        }
        // Each of GOST's writes is one frame; ours of the same payload and key has the same bytes.
        for message in messages {
          let reader = try webSocketReading(message, role).get()
          let keyPlace = message[1] & 0x7F == 126 ? 4 : 2
          let key = message[keyPlace..<(keyPlace + 4)].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
          #expect(webSocketFrame(.binary, reader.payload, mask: side == .client ? key : nil) == message)
        }
      }
    }
  }

  @Test(
    "What an answer that is none says to a user",
    arguments: [
      ("HTTP/1.1 404 Not Found\r\n\r\n", "it answers HTTP 404 Not Found: the path /ws is not served there"),
      (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "it answers HTTP 200 OK: it serves /ws, but not as a WebSocket"
      ),
      (
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        "it answers HTTP 400 Bad Request: \"Client sent an HTTP request to an HTTPS server.\""
      ),
      (
        "HTTP/1.1 301 Moved\r\nLocation: https://other.example/ws\r\n\r\n",
        "it answers HTTP 301 Moved: what was at /ws is at https://other.example/ws"
      ),
      ("HTTP/1.1 401\r\n\r\n", "it answers HTTP 401: it asks for credentials or a header that it was not given"),
      ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "it answers HTTP 502 Bad Gateway: what should be behind it does not answer"),
      ("HTTP/1.1 500 \u{1B}[31mred\r\n\r\n", "the head of its handshake is malformed: a control character"),
      ("HTTP/1.1 500 Fehler für dich\r\n\r\n", "it answers HTTP 500 Fehler f..r dich"),
      (
        "\u{15}\u{3}\u{1}\0\u{2}\u{2}\n", "it speaks TLS, and plain WebSocket was expected (ws where it should be wss?)"
      ),
      ("SSH-2.0-OpenSSH_9.2\r\n", "it does not speak HTTP; it began with \"SSH-2.0-OpenSSH_9.2\""),
      ("\u{5}\u{1}\0", "it does not speak HTTP; it began with \"...\""),
      ("HTTP/1.1 abc\r\n\r\n", "the head of its handshake is malformed: a status line that is none"),
      (
        "HTTP/1.1 101 Yes\nUpgrade: websocket\n\n",
        "the head of its handshake is malformed: a line that does not end with CR LF"
      ),
    ])
  func refusals(_ answer: String, _ words: String) throws {
    guard case .failure(let error)? = try outcome(answer, of: client()) else {
      Issue.record("no failure")
      return
    }
    #expect(error.description == words)
    #expect(!error.isViolation)
  }

  @Test(
    "An answer that switches is checked",
    arguments: [
      ("Upgrade: websocket", "Upgrade: h2c"), ("Upgrade: websocket\r\n", ""),
      ("Connection: Upgrade", "Connection: close"),
      ("s3pPLMBi", "S3pPLMBi"), ("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "Accept: \r\n"),
      ("Connection: Upgrade", "Connection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate"),
      ("Connection: Upgrade", "Connection: Upgrade\r\nSec-WebSocket-Protocol: chat"),
      ("Connection: Upgrade", "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
      ("HTTP/1.1 101", "HTTP/1.0 101"), ("Upgrade: websocket", "Upgrade : websocket"),
      ("Upgrade: websocket", " Upgrade: websocket"), ("Upgrade: websocket", "Upgrade websocket"),
    ])
  func switching(_ old: String, _ new: String) throws {
    let changed = Self.answer.replacing(old, with: new)
    #expect(changed != Self.answer)
    guard case .failure? = try outcome(changed, of: client()) else {
      Issue.record("taken: \(changed)")
      return
    }
    // Case, blanks and lists are as HTTP allows them.
    let other = Self.answer.replacing("Upgrade: websocket", with: "upgrade:  foo, WebSocket \t").replacing(
      "Connection: Upgrade", with: "CONNECTION: keep-alive,upgrade")
    #expect(try outcome(other, of: client()) == .success(other.utf8.count))
    let asked = try client(headers: [WebSocketField("Sec-WebSocket-Protocol", "chat")])
    let chosen = Self.answer.replacing("Upgrade: w", with: "Sec-WebSocket-Protocol: chat\r\nUpgrade: w")
    #expect(outcome(chosen, of: asked) == .success(chosen.utf8.count))
  }

  @Test(
    "A request that is refused is told why",
    arguments: [
      ("GET /ws ", "POST /ws ", .wrongMethod("POST"), "405"),
      ("GET /ws ", "GET /other ", .wrongPath("/other", served: "/ws"), "404"),
      ("GET /ws ", "GET /ws/ ", .wrongPath("/ws/", served: "/ws"), "404"),
      ("GET /ws ", "GET  /ws ", .malformedHead("a request line that is none"), "400"),
      ("GET /ws ", "GET ws ", .malformedHead("a path that is none"), "400"),
      ("GET /ws ", "GET /%zz ", .malformedHead("a path that is none"), "400"),
      ("HTTP/1.1", "HTTP/1.0", .wrongHTTPVersion("HTTP/1.0"), "505"),
      ("Host: server.example.com\r\n", "", .missing("Host"), "400"),
      ("Host: ", "Host: other.example\r\nHost: ", .missing("Host"), "400"),
      ("Upgrade: websocket\r\n", "", .noUpgrade, "426"), ("Connection: Upgrade\r\n", "", .noUpgrade, "426"),
      ("Version: 13", "Version: 8", .wrongVersion("8"), "426"),
      ("Version: 13", "Versions: 13", .missing("Sec-WebSocket-Version"), "400"),
      ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: dGhlIHNhbXBsZSBub25jZQ", .badKey, "400"),
      ("Key: dGhl", "Key: dGh", .badKey, "400"), ("Sec-WebSocket-Key", "X", .missing("Sec-WebSocket-Key"), "400"),
    ] as [(String, String, WebSocketError, String)])
  func requests(_ old: String, _ new: String, _ error: WebSocketError, _ status: String) throws {
    #expect(try outcome(Self.request().replacing(old, with: new)) == .failure(error))
    let refusal = String(decoding: try #require(WebSocketServerHandshake.refusal(for: error)), as: UTF8.self)
    #expect(refusal.hasPrefix("HTTP/1.1 \(status) "))
    #expect(refusal.hasSuffix("\r\n\r\n"))
    #expect(refusal.contains("Connection: close"))
    // A client of ours says what the server says.
    guard case .failure(.refused(let refused))? = try outcome(refusal, of: client()) else {
      Issue.record("\(refusal)")
      return
    }
    #expect("\(refused.status)" == status)
  }

  @Test func `a client that speaks TLS or nothing known is found out by its first bytes, and answered nothing`() throws
  {
    #expect(try outcome("\u{16}\u{3}\u{1}\u{2}\0\u{1}") == .failure(.isTLS))
    #expect(try outcome("\u{5}\u{1}\0") == .failure(.notHTTP("...")))
    #expect(WebSocketServerHandshake.refusal(for: .isTLS) == nil)
    #expect(WebSocketServerHandshake.refusal(for: .notHTTP("")) == nil)
  }

  @Test func `a path is percent-encoded as Go does, and compared decoded and without its query`() throws {
    let strange = "/a b/ü?x=1%&;"
    let request = String(decoding: try client(path: strange).request, as: UTF8.self)
    #expect(request.hasPrefix("GET /a%20b/%C3%BC%3Fx=1%25&; HTTP/1.1\r\n"))
    #expect(try outcome(request, path: strange) == .success(request.utf8.count))
    #expect(try client(path: "x").request.starts(with: Array("GET /x ".utf8)))
    #expect(try client(path: "").request.starts(with: Array("GET / ".utf8)))
    for target in ["/ws?a=b", "http://server.example.com/ws", "ws://h/ws?x", "/%77s"] {
      #expect(try outcome(Self.request { $0[0] = "GET \(target) HTTP/1.1" }) != nil, "\(target)")
      guard case .success? = try outcome(Self.request { $0[0] = "GET \(target) HTTP/1.1" }) else {
        Issue.record("\(target) is refused")
        continue
      }
    }
  }

  @Test func `the user's fields are sent, replace Host and User-Agent, and can break nothing`() throws {
    let request = String(
      decoding: try client(headers: [
        WebSocketField("X-Token", "secret"), WebSocketField("host", "cdn.example"), WebSocketField("User-Agent", "me"),
      ]).request, as: UTF8.self)
    #expect(request.hasPrefix("GET /ws HTTP/1.1\r\nHost: cdn.example\r\nUser-Agent: me\r\nConnection: "))
    #expect(request.hasSuffix("X-Token: secret\r\n\r\n"))
    #expect(request.components(of: "ost: ") == 1)
    for (name, value) in [
      ("Upgrade", "h2c"), ("sec-websocket-key", "x"), ("Content-Length", "3"), ("", "x"), ("A B", "x"), ("A:", "x"),
      ("A", "x\r\nB: y"), ("A", "x\u{0}"), ("A", " x"),
    ] {
      let field = WebSocketField(name, value)
      #expect(throws: WebSocketError.badField(name)) { try client(headers: [field]) }
      #expect(throws: WebSocketError.badField(name)) { try WebSocketServerHandshake(path: "/", headers: [field]) }
    }
    #expect(throws: WebSocketError.badField("Host")) {
      try WebSocketClientHandshake(host: "a b", path: "/", nonce: Self.nonce, sha1: slowSHA1)
    }
    var server = try WebSocketServerHandshake(path: "/ws", headers: [WebSocketField("X-Served-By", "us")])
    guard case .message(let asked, _) = try Array(Self.request().utf8).withUnsafeBytes({ try server.read($0) }) else {
      Issue.record("no request")
      return
    }
    #expect(
      String(decoding: server.answer(to: asked, sha1: slowSHA1), as: UTF8.self).hasSuffix("X-Served-By: us\r\n\r\n"))
  }

  @Test func `a head is bounded in bytes and fields, and refused when it is over, not when it ends`() throws {
    let many = Self.request { $0 += (0..<95).map { "A\($0): x" } }
    #expect(try outcome(many) == .success(many.utf8.count))
    #expect(
      try outcome(Self.request { $0 += (0..<96).map { "A\($0): x" } })
        == .failure(.malformedHead("more than 100 fields")))
    var server = try WebSocketServerHandshake(path: "/ws")
    var long = Array("GET /ws HTTP/1.1\r\nX: ".utf8)
    long += [UInt8](repeating: 0x61, count: HTTPHead.maximumSize - 1 - long.count)
    guard case .needsMore = try long.withUnsafeBytes({ try server.read($0) }) else {
      Issue.record("a long head is read")
      return
    }
    long.append(0x61)
    #expect(throws: WebSocketError.headTooLong) { try long.withUnsafeBytes { try server.read($0) } }
  }

  @Test func `no mutilation of a handshake traps`() throws {
    var refused = 0
    for bytes in mutilations(Array(Self.request().utf8)) {
      var server = try WebSocketServerHandshake(path: "/ws")
      do {
        if case .message(let asked, let consumed) = try bytes.withUnsafeBytes({ try server.read($0) }) {
          #expect(consumed <= bytes.count && asked.path == "/ws")
        }
      } catch { refused += 1 }
    }
    #expect(refused > 200)
    refused = 0
    for bytes in mutilations(Array(Self.answer.utf8)) {
      var client = try client()
      do {
        _ = try bytes.withUnsafeBytes { try client.read($0) }
      } catch { refused += 1 }
    }
    #expect(refused > 200)
  }
}

extension String {
  /// How often a text stands in this one.
  fileprivate func components(of text: String) -> Int { ranges(of: text).count }
}
