import CryptoPrimitives
import Recording
import Values
import WebSocket

/// Both ends of the opening handshake on tape, and the request and the answer that they write.
///
/// The values of the user's own fields are covered: a token often stands in one. Of what the other end says in words,
/// nothing is written.
public typealias RecordedWebSocketClient = RecordedDecoder<WebSocketAnswerDecoder>
public typealias RecordedWebSocketServer = RecordedDecoder<WebSocketRequestDecoder>

public struct WebSocketAnswerDecoder: HeadDecoder {
  public static var kind: String { "websocket.client" }

  private var handshake: WebSocketClientHandshake
  private let host: String
  private let path: String
  private let headers: [WebSocketField]
  private let nonce: [UInt8]

  public init(
    host: String, path: String, headers: [WebSocketField], nonce: [UInt8], sha1: ([UInt8]) -> [UInt8]
  ) throws(WebSocketError) {
    handshake = try WebSocketClientHandshake(host: host, path: path, headers: headers, nonce: nonce, sha1: sha1)
    (self.host, self.path, self.headers, self.nonce) = (host, path, headers, nonce)
  }

  /// What to send.
  public var request: [UInt8] { handshake.request }

  public init(seed: RecordFields) throws(RecordingError) {
    let nonce = try seed.data("nonce")
    guard nonce.count <= 64 else { throw RecordingError("a nonce of \(nonce.count) bytes") }
    do {
      try self.init(
        host: try seed.text("host"), path: try seed.text("path"), headers: try recordedFields(seed), nonce: nonce,
        sha1: SHA1.digest)
    } catch let error as RecordingError {
      throw error
    } catch { throw RecordingError("a handshake that cannot be written") }
  }

  public func seed(_ line: inout RecordLine) {
    line.text("host", host)
    line.text("path", path)
    line.texts("fields", headers.map(\.name))
    line.texts("values", headers.map { HTTPRedaction.value($0.value, of: $0.name) })
    line.data("nonce", nonce)
    line.data("request", request.withUnsafeBytes { HTTPRedaction.head($0, keepsPath: true) })
  }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(WebSocketError) -> HeadStep<[WebSocketField]> {
    switch try handshake.read(bytes) {
    case .needsMore: .needs(nil)
    case .message(let fields, let consumed): .message(fields, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { HTTPRedaction.head(bytes, keepsPath: true) }

  public static func describe(_ fields: [WebSocketField], _ line: inout RecordLine) {
    line.texts("fields", fields.map(\.name))
  }

  public static func describe(_ failure: WebSocketError) -> String { failure.withoutWords }
}

/// What a server has read of a client, and what it answers.
public struct WebSocketAcceptance {
  public let request: WebSocketRequest
  public let answer: [UInt8]
}

public struct WebSocketRequestDecoder: HeadDecoder {
  public static var kind: String { "websocket.server" }

  private var handshake: WebSocketServerHandshake
  private let path: String
  private let headers: [WebSocketField]
  private let sha1: ([UInt8]) -> [UInt8]

  public init(
    path: String, headers: [WebSocketField], sha1: @escaping ([UInt8]) -> [UInt8]
  ) throws(WebSocketError) {
    handshake = try WebSocketServerHandshake(path: path, headers: headers)
    (self.path, self.headers, self.sha1) = (path, headers, sha1)
  }

  public init(seed: RecordFields) throws(RecordingError) {
    do {
      try self.init(path: try seed.text("path"), headers: try recordedFields(seed), sha1: SHA1.digest)
    } catch let error as RecordingError {
      throw error
    } catch { throw RecordingError("a handshake that cannot be written") }
  }

  public func seed(_ line: inout RecordLine) {
    line.text("path", path)
    line.texts("fields", headers.map(\.name))
    line.texts("values", headers.map { HTTPRedaction.value($0.value, of: $0.name) })
  }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(WebSocketError) -> HeadStep<WebSocketAcceptance> {
    switch try handshake.read(bytes) {
    case .needsMore: .needs(nil)
    case .message(let request, let consumed):
      .message(
        WebSocketAcceptance(request: request, answer: handshake.answer(to: request, sha1: sha1)), consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { HTTPRedaction.head(bytes, keepsPath: true) }

  public static func describe(_ acceptance: WebSocketAcceptance, _ line: inout RecordLine) {
    line.text("path", acceptance.request.path)
    line.text("host", acceptance.request.host)
    line.data("answer", acceptance.answer.withUnsafeBytes { HTTPRedaction.head($0, keepsPath: true) })
  }

  public static func describe(_ failure: WebSocketError) -> String { failure.withoutWords }
}

/// The user's fields of a seed.
private func recordedFields(_ seed: RecordFields) throws(RecordingError) -> [WebSocketField] {
  let names = try seed.texts("fields")
  let values = try seed.texts("values")
  guard names.count == values.count else { throw RecordingError("fields and values that do not belong together") }
  return zip(names, values).map { WebSocketField($0, $1) }
}

extension WebSocketError {
  /// What is wrong, without what the other end said.
  fileprivate var withoutWords: String {
    switch self {
    case .notHTTP: "it does not speak HTTP"
    case .refused(let refusal): "it answers HTTP \(refusal.status)"
    case .badField: "a field that cannot be written"
    case .wrongHTTPVersion: "it does not speak HTTP/1.1"
    case .wrongMethod: "its request is not a GET"
    case .wrongPath: "it asks for another path"
    case .wrongVersion: "it speaks another version of WebSocket"
    default: "\(self)"
    }
  }
}
