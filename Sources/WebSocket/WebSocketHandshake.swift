import Values

/// The opening handshake (RFC 6455, section 4): one HTTP request, one answer, and then frames on the same bytes.
///
/// Both ends are small machines over bytes that grow. They are asked again with all that has come so far until they say
/// how long the head was; what stands behind it belongs to the frames. Two things a protocol module does not have are
/// handed in: the sixteen random bytes of a client's key, and SHA-1, which here only shows that the other end has read
/// the request as one for WebSocket.
///
/// The wire is GOST 3.2.6's to the byte where it is fixed: the order of the fields, and a path that is percent-encoded
/// and compared decoded, as Go does.
public enum WebSocketReading<Message> {
  /// The head has not come whole.
  case needsMore
  /// What the head said, and the bytes it took.
  case message(Message, consumed: Int)
}

/// What a client asked for.
public struct WebSocketRequest: Equatable, Sendable {
  /// The path, decoded and without a query.
  public let path: String
  public let host: String
  /// All fields, in their order.
  public let fields: [WebSocketField]
  /// As it came, in Base64.
  let key: String
}

/// The client's side: writes a request, reads the answer.
public struct WebSocketClientHandshake {
  /// The bytes to send. Nothing may be sent behind them before the answer (GOST's server refuses it).
  public let request: [UInt8]
  private let path: String
  private let accept: String
  private let mayHaveProtocol: Bool
  private var scanner = HTTPHeadScanner()

  /// - Parameters:
  ///   - host: what the `Host` field says: a name or an address, with a port where it is not the usual one.
  ///   - path: not encoded; a missing `/` in front is added.
  ///   - headers: the user's fields. `Host` and `User-Agent` replace ours; those of the handshake itself are refused.
  ///   - nonce: sixteen random bytes.
  public init(
    host: String, path: String, headers: [WebSocketField] = [], nonce: [UInt8], sha1: ([UInt8]) -> [UInt8]
  ) throws(WebSocketError) {
    try checkHeaders(headers)
    let host = headers.values(of: "Host").last ?? host
    guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw .badField("Host") }
    let key = Base64.encode(nonce)
    self.path = rooted(path)
    accept = acceptance(of: key, sha1: sha1)
    mayHaveProtocol = !headers.values(of: "Sec-WebSocket-Protocol").isEmpty
    // Go's client names itself when the user does not; an end that is as picky about that as about the path exists.
    let agent = headers.values(of: "User-Agent").last ?? "Go-http-client/1.1"
    var fields = [
      WebSocketField("Connection", "Upgrade"), WebSocketField("Sec-WebSocket-Key", key),
      WebSocketField("Sec-WebSocket-Version", "13"), WebSocketField("Upgrade", "websocket"),
    ]
    fields += headers.filter { !["host", "user-agent"].contains($0.name.lowercased()) }
    fields.sort { $0.name.lowercased() < $1.name.lowercased() }
    fields.insert(WebSocketField("User-Agent", agent), at: 0)
    fields.insert(WebSocketField("Host", host), at: 0)
    request = headBytes("GET \(percentEncoded(self.path)) HTTP/1.1", fields)
    guard request.count <= HTTPHead.maximumSize else { throw .headTooLong }
  }

  /// Reads the answer from all the bytes that have come; throws when it is not a yes, and is not called again then.
  public mutating func read(_ bytes: UnsafeRawBufferPointer) throws(WebSocketError) -> WebSocketReading<
    [WebSocketField]
  > {
    try checkBeginning(bytes, expected: Array("HTTP/1.".utf8))
    guard let size = try scanner.size(in: bytes) else { return .needsMore }
    let head = try HTTPHead(UnsafeRawBufferPointer(rebasing: bytes[..<size]))
    let words = head.startLine.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count >= 2, ["HTTP/1.1", "HTTP/1.0"].contains(words[0]), words[1].utf8.count == 3,
      words[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let status = Int(words[1])
    else { throw .malformedHead("a status line that is none") }
    guard status == 101, words[0] == "HTTP/1.1" else {
      throw .refused(
        WebSocketRefusal(
          status: status, reason: shown((words.count > 2 ? String(words[2]) : "").utf8, limit: 40), path: path,
          location: head.single("Location").map { shown($0.utf8, limit: 200) },
          body: shown(firstLine(bytes[size...]), limit: 100)))
    }
    guard head.lists("websocket", in: "Upgrade"), head.lists("upgrade", in: "Connection") else {
      throw .badAnswer("it switches protocols, but not to WebSocket")
    }
    guard head.single("Sec-WebSocket-Accept") == accept else {
      throw .badAnswer("its Sec-WebSocket-Accept does not fit our key, so it has not read the request")
    }
    guard head.fields.values(of: "Sec-WebSocket-Extensions").isEmpty else {
      throw .badAnswer("it uses an extension that was not offered")
    }
    guard mayHaveProtocol || head.fields.values(of: "Sec-WebSocket-Protocol").isEmpty else {
      throw .badAnswer("it chose a subprotocol, and none was offered")
    }
    return .message(head.fields, consumed: size)
  }
}

/// The server's side: reads a request, writes the answer.
public struct WebSocketServerHandshake {
  private let path: String
  private let headers: [WebSocketField]
  private var scanner = HTTPHeadScanner()

  /// - Parameters:
  ///   - path: not encoded; nothing else is served.
  ///   - headers: the user's fields for the answer.
  public init(path: String, headers: [WebSocketField] = []) throws(WebSocketError) {
    try checkHeaders(headers)
    self.path = rooted(path)
    self.headers = headers
  }

  /// Reads the request from all the bytes that have come; throws when it is none that is served here, and is not called
  /// again then.
  public mutating func read(_ bytes: UnsafeRawBufferPointer) throws(WebSocketError) -> WebSocketReading<
    WebSocketRequest
  > {
    try checkBeginning(bytes, expected: nil)
    guard let size = try scanner.size(in: bytes) else { return .needsMore }
    let head = try HTTPHead(UnsafeRawBufferPointer(rebasing: bytes[..<size]))
    let words = head.startLine.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 3, !words[0].isEmpty, words[0].utf8.allSatisfy(isTokenByte), !words[1].isEmpty,
      words[1].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
    else { throw .malformedHead("a request line that is none") }
    guard words[2] == "HTTP/1.1" else { throw .wrongHTTPVersion(shown(words[2].utf8, limit: 20)) }
    guard words[0] == "GET" else { throw .wrongMethod(shown(words[0].utf8, limit: 20)) }
    // Section 4.1, 2.: exactly one, since two programs could believe two different ones.
    guard let host = head.single("Host") else { throw .missing("Host") }
    guard let asked = requestedPath(words[1]) else { throw .malformedHead("a path that is none") }
    guard asked == path else { throw .wrongPath(shown(asked.utf8, limit: 100), served: path) }
    guard head.lists("websocket", in: "Upgrade"), head.lists("upgrade", in: "Connection") else { throw .noUpgrade }
    guard let version = head.single("Sec-WebSocket-Version") else { throw .missing("Sec-WebSocket-Version") }
    guard version == "13" else { throw .wrongVersion(shown(version.utf8, limit: 20)) }
    guard let key = head.single("Sec-WebSocket-Key") else { throw .missing("Sec-WebSocket-Key") }
    guard key.utf8.count == 24, Base64.decode(key.utf8)?.count == 16 else { throw .badKey }
    return .message(WebSocketRequest(path: asked, host: host, fields: head.fields, key: key), consumed: size)
  }

  /// The yes. Offers of extensions and subprotocols are passed over, which is how they are declined.
  public func answer(to request: WebSocketRequest, sha1: ([UInt8]) -> [UInt8]) -> [UInt8] {
    let fields = [
      WebSocketField("Upgrade", "websocket"), WebSocketField("Connection", "Upgrade"),
      WebSocketField("Sec-WebSocket-Accept", acceptance(of: request.key, sha1: sha1)),
    ]
    return headBytes("HTTP/1.1 101 Switching Protocols", fields + headers)
  }

  /// What a client reads that is not served; `nil` when it would not understand HTTP. The connection ends behind it.
  public static func refusal(for error: WebSocketError) -> [UInt8]? {
    var fields = [WebSocketField("Connection", "close"), WebSocketField("Content-Length", "0")]
    let status: String
    switch error {
    case .wrongPath: status = "404 Not Found"
    case .wrongMethod:
      status = "405 Method Not Allowed"
      fields.append(WebSocketField("Allow", "GET"))
    case .noUpgrade, .wrongVersion:
      status = "426 Upgrade Required"
      fields[0] = WebSocketField("Connection", "close, Upgrade")
      fields.append(WebSocketField("Upgrade", "websocket"))
      fields.append(WebSocketField("Sec-WebSocket-Version", "13"))
    case .headTooLong: status = "431 Request Header Fields Too Large"
    case .wrongHTTPVersion: status = "505 HTTP Version Not Supported"
    case .malformedHead, .missing, .badKey: status = "400 Bad Request"
    default: return nil
    }
    return headBytes("HTTP/1.1 \(status)", fields)
  }
}

// MARK: What both sides need

/// Section 4.2.2, 5.4: what shows that a server has understood.
private func acceptance(of key: String, sha1: ([UInt8]) -> [UInt8]) -> String {
  Base64.encode(sha1(Array("\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)))
}

private func headBytes(_ startLine: String, _ fields: [WebSocketField]) -> [UInt8] {
  var text = startLine + "\r\n"
  for field in fields { text += "\(field.name): \(field.value)\r\n" }
  return Array((text + "\r\n").utf8)
}

/// The user's fields may say anything but what the handshake says itself, or what changes where the head ends.
private func checkHeaders(_ headers: [WebSocketField]) throws(WebSocketError) {
  let ours = [
    "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-accept",
    "sec-websocket-extensions", "content-length", "transfer-encoding",
  ]
  for field in headers where !field.isWritable || ours.contains(field.name.lowercased()) {
    throw .badField(shown(field.name.utf8, limit: 40))
  }
}

private func rooted(_ path: String) -> String { path.hasPrefix("/") ? path : "/" + path }

/// Finds out by its first bytes an end that does not speak HTTP: it may never send the end of a line. A server knows
/// how an answer begins; a request begins with some method.
private func checkBeginning(_ bytes: UnsafeRawBufferPointer, expected: [UInt8]?) throws(WebSocketError) {
  guard let first = bytes.first else { return }
  // A TLS record: alert or handshake, of version 3.
  if first == 0x15 || first == 0x16 {
    guard bytes.count >= 2 else { return }
    if bytes[1] == 3 { throw .isTLS }
  }
  let isHTTP =
    if let expected { zip(bytes, expected).allSatisfy { $0 == $1 } } else { isTokenByte(first) }
  guard isHTTP else { throw .notHTTP(shown(firstLine(bytes[...]), limit: 40)) }
}

/// The path of a request's target, in origin form or absolute form, decoded; `nil` when it is neither.
private func requestedPath(_ target: Substring) -> String? {
  var rest = target
  if !rest.hasPrefix("/") {
    guard let scheme = rest.firstRange(of: "://"), ["http", "https", "ws", "wss"].contains(rest[..<scheme.lowerBound])
    else { return nil }
    rest = rest[scheme.upperBound...]
    rest = rest.firstIndex(of: "/").map { rest[$0...] } ?? "/"
  }
  return percentDecoded(rest.prefix { $0 != "?" })
}

private func percentDecoded(_ text: Substring) -> String? {
  var bytes: [UInt8] = []
  var rest = Array(text.utf8)[...]
  while let byte = rest.popFirst() {
    guard byte == 0x25 else {
      bytes.append(byte)
      continue
    }
    guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else { return nil }
    bytes.append(high << 4 | low)
  }
  return String(validating: bytes, as: UTF8.self)
}

private func digit(_ byte: UInt8) -> UInt8? {
  switch byte {
  case 0x30...0x39: byte - 0x30
  case 0x41...0x46: byte - 0x41 + 10
  case 0x61...0x66: byte - 0x61 + 10
  default: nil
  }
}

/// Encodes what Go encodes in a path, `?` and `%` among it.
private func percentEncoded(_ path: String) -> String {
  let digits = Array("0123456789ABCDEF".utf8)
  var bytes: [UInt8] = []
  for byte in path.utf8 {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: bytes.append(byte)
    case _ where "-_.~$&+,/:;=@".utf8.contains(byte): bytes.append(byte)
    default: bytes += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
    }
  }
  return String(decoding: bytes, as: UTF8.self)
}

private func firstLine(_ bytes: Slice<UnsafeRawBufferPointer>) -> some Sequence<UInt8> {
  bytes.prefix(200).prefix { $0 != 10 && $0 != 13 }
}

/// The other end's words for a log: visible ASCII, cut to a length; the rest as dots.
private func shown(_ bytes: some Sequence<UInt8>, limit: Int) -> String {
  let clean = bytes.prefix(limit + 1).map { (0x20...0x7E).contains($0) ? $0 : 0x2E }
  let text = String(decoding: clean.prefix(limit), as: UTF8.self)
  return clean.count > limit ? text + "…" : text
}
