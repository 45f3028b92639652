import HTTPProxy
import Recording
import Values

/// Heads of requests and responses on tape.
public struct HTTPRequestDecoder: HeadDecoder {
  public static var kind: String { "http.request" }

  private var parser = HTTPHeadParser()

  public init() {}
  public init(seed: RecordFields) {}

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> HeadStep<HTTPRequestHead> {
    switch try parser.request(bytes) {
    case .needsMore: .needs(nil)
    case .head(let head, let consumed): .message(head, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { HTTPRedaction.head(bytes, keepsPath: false) }

  public static func describe(_ head: HTTPRequestHead, _ line: inout RecordLine) {
    line.text("method", head.method)
    line.number("minor", head.minorVersion)
    line.texts("fields", head.headers.fields.map(\.name))
    do throws(HTTPError) {
      line.text("body", "\(try head.bodyLength())")
    } catch {
      line.text("body", "\(error)")
    }
    line.flag("persistent", head.isPersistent)
  }
}

public struct HTTPResponseDecoder: HeadDecoder {
  public static var kind: String { "http.response" }

  private var parser = HTTPHeadParser()

  public init() {}
  public init(seed: RecordFields) {}

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> HeadStep<HTTPResponseHead> {
    switch try parser.response(bytes) {
    case .needsMore: .needs(nil)
    case .head(let head, let consumed): .message(head, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { HTTPRedaction.head(bytes, keepsPath: false) }

  public static func describe(_ head: HTTPResponseHead, _ line: inout RecordLine) {
    line.number("status", head.status)
    line.number("minor", head.minorVersion)
    line.texts("fields", head.headers.fields.map(\.name))
    do throws(HTTPError) {
      line.text("body", "\(try head.bodyLength(toMethod: "GET"))")
    } catch {
      line.text("body", "\(error)")
    }
  }
}
