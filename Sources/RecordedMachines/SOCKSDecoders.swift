import Recording
import SOCKS
import Values

/// Requests and replies of SOCKS4, and the reply of SOCKS5 that opens a stream of a bound port. The user id is covered.
public struct SOCKS4RequestDecoder: HeadDecoder {
  public static var kind: String { "socks4.request" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> HeadStep<SOCKS4Request> {
    switch try SOCKS4Request.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let request, let consumed): .message(request, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var message = StandIn(bytes)
    guard message.keep() == SOCKS4Request.version else {
      message.coverRest()
      return message.bytes
    }
    message.keep(7)
    let user = bytes.dropFirst(8).firstIndex(of: 0) ?? bytes.count
    message.cover(user - message.index)
    // The zero, a name, and its zero.
    message.keep(1 + 256)
    message.coverRest()
    return message.bytes
  }

  public static func describe(_ request: SOCKS4Request, _ line: inout RecordLine) {
    line.number("command", request.command.rawValue)
    line.text("address", request.address.recorded)
    line.number("user", request.user.count)
  }
}

public struct SOCKS4ReplyDecoder: HeadDecoder {
  public static var kind: String { "socks4.reply" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> HeadStep<SOCKS4Reply> {
    switch try SOCKS4Reply.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let reply, let consumed): .message(reply, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { keepingHead(bytes, 8) }

  public static func describe(_ reply: SOCKS4Reply, _ line: inout RecordLine) {
    line.number("code", reply.code.rawValue)
    line.text("address", "\(reply.address)")
  }
}

public struct SOCKS5ReplyDecoder: HeadDecoder {
  public static var kind: String { "socks5.reply" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> HeadStep<SOCKS5Reply> {
    switch try SOCKS5Reply.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let reply, let consumed): .message(reply, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { SOCKS5Bytes.message.redact(bytes) }

  public static func describe(_ reply: SOCKS5Reply, _ line: inout RecordLine) {
    line.text("status", "\(reply.status)")
    line.text("address", reply.address.recorded)
  }
}

/// What is longer than any message of its kind is something else.
func keepingHead(_ bytes: UnsafeRawBufferPointer, _ longest: Int) -> [UInt8] {
  var message = StandIn(bytes)
  message.keep(longest)
  message.coverRest()
  return message.bytes
}
