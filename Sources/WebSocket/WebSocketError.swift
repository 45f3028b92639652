/// Why there is no WebSocket, or no longer. The description is a sentence about the other end without a full stop.
public enum WebSocketError: Error, Equatable, Sendable {
  // The opening handshake, either side.
  case isTLS
  /// How it began.
  case notHTTP(String)
  case headTooLong
  case malformedHead(String)
  /// A field of ours or of the user's that cannot be written.
  case badField(String)
  // At a client.
  case refused(WebSocketRefusal)
  case badAnswer(String)
  // At a server.
  case wrongHTTPVersion(String)
  case wrongMethod(String)
  case wrongPath(String, served: String)
  case noUpgrade
  case wrongVersion(String)
  case missing(String)
  case badKey
  // Frames.
  case reservedBits(UInt8)
  case unknownOpcode(UInt8)
  case notMasked
  case masked
  case fragmentedControl(WebSocketFrame.Kind)
  case longControl(WebSocketFrame.Kind)
  case nothingToContinue
  case messageInMessage
  case frameTooLong(UInt64)
  case badClose(WebSocketCloseCode?)
}

/// An answer that is a no. All words are the other end's, made fit to print.
public struct WebSocketRefusal: Equatable, Sendable {
  public let status: Int
  public let reason: String
  /// What was asked for.
  public let path: String
  public let location: String?
  /// The first line of the answer's body, as far as it came along; empty when there was none.
  public let body: String
}

extension WebSocketRefusal: CustomStringConvertible {
  public var description: String {
    let answer = "it answers HTTP \(status)\(reason.isEmpty ? "" : " \(reason)")"
    switch status {
    case 404: return "\(answer): the path \(path) is not served there"
    case 200...299: return "\(answer): it serves \(path), but not as a WebSocket"
    case 300...399:
      return location.map { "\(answer): what was at \(path) is at \($0)" } ?? "\(answer): \(path) is elsewhere"
    case 401, 403: return "\(answer): it asks for credentials or a header that it was not given"
    case 407: return "\(answer): a proxy in between asks for credentials"
    case 426: return "\(answer): it speaks another version of WebSocket, or did not see the upgrade"
    case 502, 503, 504: return "\(answer): what should be behind it does not answer"
    default: return body.isEmpty ? answer : "\(answer): \"\(body)\""
    }
  }
}

extension WebSocketError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .isTLS: "it speaks TLS, and plain WebSocket was expected (ws where it should be wss?)"
    case .notHTTP(let beginning): "it does not speak HTTP; it began with \"\(beginning)\""
    case .headTooLong: "the head of its handshake has more than \(HTTPHead.maximumSize) bytes"
    case .malformedHead(let what): "the head of its handshake is malformed: \(what)"
    case .badField(let name): "the field \"\(name)\" cannot be in the handshake"
    case .refused(let refusal): "\(refusal)"
    case .badAnswer(let what): "its answer is no handshake: \(what)"
    case .wrongHTTPVersion(let version): "it speaks \"\(version)\", not HTTP/1.1"
    case .wrongMethod(let method): "its request is a \(method), not a GET"
    case .wrongPath(let path, let served): "it asks for the path \(path), and \(served) is served here"
    case .noUpgrade: "it asks for a page, not for a WebSocket"
    case .wrongVersion(let version): "it speaks version \(version) of WebSocket, not 13"
    case .missing(let name): "its request has no \(name), or more than one"
    case .badKey: "its Sec-WebSocket-Key is not 16 bytes in Base64"
    case .reservedBits(let bits): "a frame has the reserved bits \(bits) set, and no extension was agreed on"
    case .unknownOpcode(let code): "a frame has the unknown opcode \(code)"
    case .notMasked: "a client's frame is not masked"
    case .masked: "a server's frame is masked"
    case .fragmentedControl(let kind): "a \(kind) frame is fragmented"
    case .longControl(let kind): "a \(kind) frame has more than \(WebSocketFrame.maximumControlPayload) bytes"
    case .nothingToContinue: "a frame goes on with a message that was not begun"
    case .messageInMessage: "a message begins inside another"
    case .frameTooLong(let length): "a frame claims to have \(length) bytes"
    case .badClose(let code): "a close frame has \(code.map { "the code \($0.rawValue)" } ?? "half a code")"
    }
  }

  /// Whether the framing itself is broken, for a close frame that says so.
  public var isViolation: Bool {
    switch self {
    case .reservedBits, .unknownOpcode, .notMasked, .masked, .fragmentedControl, .longControl, .nothingToContinue,
      .messageInMessage, .frameTooLong, .badClose:
      true
    default: false
    }
  }
}
