import HTTPProxy
import Testing
import Values

/// Where a body ends: RFC 9112, sections 6 and 7, and the table of what would smuggle a second request past a proxy.
@Suite struct HTTPBodyTests {
  private func head(_ fields: String, minorVersion: Int = 1) throws -> HTTPRequestHead {
    var parser = HTTPHeadParser()
    let text = "POST http://a/ HTTP/1.\(minorVersion)\r\nHost: a\r\n\(fields)\r\n"
    let outcome = try Array(text.utf8).withUnsafeBytes { bytes in try parser.request(bytes).whole }
    return try #require(outcome).head
  }

  static let lengths: [(String, HTTPBody.Length)] = [
    ("", .none), ("Content-Length: 0\r\n", .bytes(0)), ("Content-Length: 42\r\n", .bytes(42)),
    ("Content-Length: 007\r\n", .bytes(7)), ("Transfer-Encoding: chunked\r\n", .chunked),
    ("transfer-encoding: CHUNKED\r\n", .chunked), ("Content-Length:  42\t\r\n", .bytes(42)),
  ]

  @Test("Bodies of requests", arguments: lengths)
  func length(_ fields: String, _ length: HTTPBody.Length) throws { #expect(try head(fields).bodyLength() == length) }

  static let smuggled: [(String, HTTPError)] = [
    ("Content-Length: 5\r\nContent-Length: 6\r\n", .ambiguousLength),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", .ambiguousLength),
    ("Content-Length: 5, 5\r\n", .ambiguousLength), ("Content-Length: +5\r\n", .ambiguousLength),
    ("Content-Length: -5\r\n", .ambiguousLength), ("Content-Length: 0x5\r\n", .ambiguousLength),
    ("Content-Length: 5 5\r\n", .ambiguousLength), ("Content-Length:\r\n", .ambiguousLength),
    ("Content-Length: 9999999999999999999\r\n", .ambiguousLength), ("Content-Length: ５\r\n", .ambiguousLength),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", .ambiguousLength),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", .ambiguousLength),
    ("Transfer-Encoding: gzip\r\n", .transferEncoding), ("Transfer-Encoding: gzip, chunked\r\n", .transferEncoding),
    ("Transfer-Encoding: chunked, identity\r\n", .transferEncoding),
    ("Transfer-Encoding: xchunked\r\n", .transferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", .transferEncoding),
    ("Transfer-Encoding: \"chunked\"\r\n", .transferEncoding), ("Transfer-Encoding: chunked;a\r\n", .transferEncoding),
    ("Transfer-Encoding:\r\n", .transferEncoding), ("Transfer-Encoding: \u{B}chunked\r\n", .malformedField),
    ("Transfer-Encoding : chunked\r\n", .malformedField),
  ]

  @Test("A length that two readers could take for two is refused", arguments: smuggled)
  func smuggle(_ fields: String, _ error: HTTPError) {
    #expect(throws: error) { _ = try head(fields).bodyLength() }
  }

  @Test func `HTTP 1.0 knows no chunks`() {
    #expect(throws: HTTPError.ambiguousLength) {
      _ = try head("Transfer-Encoding: chunked\r\n", minorVersion: 0).bodyLength()
    }
  }

  @Test func `bodies of responses depend on the request and the status`() throws {
    func length(_ status: Int, _ fields: [(String, String)], _ method: String = "GET") throws -> HTTPBody.Length {
      var headers = HTTPHeaders()
      for (name, value) in fields { headers.append(name, value) }
      return try HTTPResponseHead(status: status, reason: [], headers: headers).bodyLength(toMethod: method)
    }
    #expect(try length(200, []) == .untilClose)
    #expect(try length(200, [("Content-Length", "9")]) == .bytes(9))
    #expect(try length(200, [("Transfer-Encoding", "chunked")]) == .chunked)
    for status in [100, 103, 204, 304] { #expect(try length(status, [("Content-Length", "9")]) == .none) }
    #expect(try length(200, [("Content-Length", "9")], "HEAD") == .none)
    #expect(try length(404, [], "HEAD") == .none)
    #expect(throws: HTTPError.ambiguousLength) {
      _ = try length(200, [("Content-Length", "9"), ("Transfer-Encoding", "chunked")])
    }
    #expect(throws: HTTPError.ambiguousLength) {
      _ = try length(304, [("Content-Length", "9"), ("Content-Length", "8")])
    }
  }

  /// How much of a stream a body takes, whatever the pieces.
  private func take(_ pieces: [ArraySlice<UInt8>], _ length: HTTPBody.Length) throws -> (Int, HTTPBody) {
    var body = HTTPBody(length)
    var total = 0
    for piece in pieces {
      let count = try Array(piece).withUnsafeBytes { bytes in try body.take(bytes) }
      total += count
      if count < piece.count { break }
    }
    return (total, body)
  }

  static let chunked = [
    "0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "3;name=value\r\nabc\r\n0;last\r\n\r\n",
    "A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", "1\r\n\r\r\n1\r\n\n\r\n0\r\nExpires: never\r\nX:\r\n\r\n",
    "5 ; ext=\"x y\"\r\nhello\r\n0\r\nDigest: abc\r\n\r\n",
  ]

  @Test("Chunks end where they say, in every split, and what follows is left alone", arguments: chunked)
  func chunks(_ text: String) throws {
    let bytes = Array(text.utf8)
    let next = Array("GET /next HTTP/1.1\r\n\r\n".utf8)
    for pieces in splits(bytes + next) {
      let (total, body) = try take(pieces, .chunked)
      #expect(total == bytes.count)
      #expect(body.isComplete)
    }
    for length in bytes.indices {
      var (total, body) = try take([bytes[..<length]], .chunked)
      #expect(total == length && !body.isComplete)
      #expect(throws: HTTPError.truncated) { try body.end() }
    }
  }

  static let badChunks = [
    "\r\n", "g\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", "1\nx\r\n", "1\rx", "3\r\nabcd\r\n", "3\r\nabc\n0\r\n",
    "3\r\nabc\r0\r\n", "1234567890abcdef\r\n", ";a\r\n", "1;a\nb\r\nx", "1;\0\r\n", "1\u{B}\r\n",
    "3\r\nab\r\n0\r\n\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\nhost: b\r\n\r\n",
    "0\r\nno colon\r\n\r\n",
    "0\r\nA : b\r\n\r\n", "0\r\nA: b\n\r\n", "0\r\nA: \0\r\n\r\n", "0\r\n A: b\r\n\r\n",
    "1;" + String(repeating: "e", count: 1_100),
    "0\r\nA: " + String(repeating: "x", count: 17_000),
  ]

  @Test("A chunk that two readers could cut differently is refused", arguments: badChunks)
  func badChunk(_ text: String) {
    let bytes = Array(text.utf8)
    for pieces in [[bytes[...]], bytes.indices.map { bytes[$0...$0] }] {
      #expect(throws: HTTPError.malformedChunk) { _ = try take(pieces, .chunked) }
    }
  }

  @Test func `a counted body ends with its count, one without a count with the stream`() throws {
    let stream = Array("0123456789".utf8)
    for pieces in splits(stream) {
      let (total, body) = try take(pieces, .bytes(7))
      #expect(total == 7 && body.isComplete)
      var (all, open) = try take(pieces, .untilClose)
      #expect(all == 10 && !open.isComplete)
      try open.end()
      #expect(open.isComplete)
    }
    var (some, body) = try take([stream[...]], .bytes(11))
    #expect(some == 10)
    #expect(throws: HTTPError.truncated) { try body.end() }
    for length in [HTTPBody.Length.none, .bytes(0)] {
      let (none, body) = try take([stream[...]], length)
      #expect(none == 0 && body.isComplete)
    }
  }

  @Test func `random streams of chunks are cut the same in any split`() {
    var random = SeededGenerator(31)
    let alphabet = Array("0123aF;\r\n\r\n\r\n xyz:".utf8)
    var completed = 0
    for _ in 0..<3_000 {
      var stream = (0..<Int.random(in: 1...30, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? 0 }
      if random.chance(3) { stream = Array("2\r\nhi\r\n0\r\n".utf8) + stream }
      let whole = Result { try take([stream[...]], .chunked).0 }
      let cut = Result { try take(stream.indices.map { stream[$0...$0] }, .chunked).0 }
      #expect(
        (try? whole.get()) == (try? cut.get()), "\(String(decoding: stream, as: UTF8.self))")
      if case .success(let count) = whole, count < stream.count { completed += 1 }
    }
    #expect(completed > 5)
  }
}
