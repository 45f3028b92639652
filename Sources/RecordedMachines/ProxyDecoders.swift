import CulvertLink
import ProxyProtocol
import Recording
import Values

/// The PROXY header on tape. Addresses stay; the values of extensions, which name certificates and the like, do not, and
/// of a connection without a header only what shows that it has none.
public struct ProxyHeaderDecoder: HeadDecoder {
  public static var kind: String { "proxy" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(ProxyProtocolError) -> HeadStep<ProxyHeader> {
    switch try ProxyHeader.decode(bytes) {
    case .needs(let count): .needs(count)
    case .header(let header, let consumed): .message(header, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var header = StandIn(bytes)
    let beginning = bytes.first == Self.line[0] ? Self.line : Self.signature
    let common = zip(bytes, beginning).prefix { $0 == $1 }.count
    guard common == min(bytes.count, beginning.count) else {
      header.keep(common + 1)
      header.coverRest()
      return header.bytes
    }
    header.keep(common)
    if beginning == Self.line {
      let end = bytes.firstIndex(of: 0x0A).map { $0 + 1 } ?? bytes.count
      header.keep(min(end, 107) - common)
      header.coverRest()
      return header.bytes
    }
    guard let command = header.keep(), let family = header.keep() else { return header.bytes }
    header.keep(2)
    let isTold = command == 0x21 && (family & 15 == 1 || family & 15 == 2)
    switch family >> 4 {
    case 1 where isTold: header.keep(12)
    case 2 where isTold: header.keep(36)
    case 3 where isTold: header.cover(216)
    default: header.coverRest()
    }
    while header.remaining > 0 {
      header.keep(1)
      guard let high = header.keep(), let low = header.keep() else { break }
      header.cover(Int(high) << 8 | Int(low))
    }
    return header.bytes
  }

  private static let line = Array("PROXY ".utf8)
  private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]

  public static func describe(_ header: ProxyHeader, _ line: inout RecordLine) {
    line.number("version", header.version.rawValue)
    switch header.origin {
    case .client(let transport, let source, let destination):
      line.text("transport", transport == .stream ? "stream" : "datagram")
      line.text("source", "\(source)")
      line.text("destination", "\(destination)")
    case .local: line.text("origin", "local")
    case .unknown: line.text("origin", "unknown")
    }
  }
}

/// What two Culverts tell each other, on tape.
public struct LinkDecoder: HeadDecoder {
  public static var kind: String { "link" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(LinkError) -> HeadStep<[LinkMessage]> {
    let (messages, consumed) = try LinkMessage.decode(bytes)
    return consumed > 0 ? .message(messages, consumed: consumed) : .needs(nil)
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { keepingHead(bytes, ByteTrack.longest) }

  public static func describe(_ messages: [LinkMessage], _ line: inout RecordLine) {
    line.texts(
      "messages",
      messages.map { message in
        switch message {
        case .hello(let version, let name): "hello \(version) \(name)"
        case .leg(let stream, let report):
          "leg \(stream) to \(report.target) from \(report.local.map { "\($0)" } ?? "-") at "
            + "\(report.remote.map { "\($0)" } ?? "-") \(report.transport.joined(separator: "+"))"
        case .notice(let stream, let text): "notice \(stream) \(text)"
        }
      })
  }
}
