@_spi(PeerReports) import Values

/// What two Culverts tell each other, on a stream of its own beside the tunnels.
///
/// Two ends know each other by the application protocol `culvert/1`, which a Culvert offers before GOST's and a GOST
/// never selects. The client's first stream is then the link: messages in both directions, each a 16-bit length, a
/// type and its fields. Nothing is added to the relay protocol itself, because GOST 3.2.6 rejects what it does not
/// know; a relay that is a Culvert tells here what only it can see: the leg behind it, or why there is none.
///
/// Messages of an unknown type are skipped, so that a later version can say more.
///
/// ```
/// length u16 | type u8 | fields           strings: length u8 or u16, UTF-8         endpoint: family, address, port
/// ```
public enum LinkMessage: Equatable, Sendable {
  /// Once, first, in both directions.
  case hello(version: UInt8, name: String)
  /// The leg behind the sender for a stream of this connection.
  case leg(stream: UInt64, LegReport)
  /// Why something went wrong on a stream, in a sentence for the user.
  case notice(stream: UInt64, text: String)

  /// The application protocol that both ends must have selected.
  public static let applicationProtocol = "culvert/1"
  public static let version: UInt8 = 1
  /// A longer message breaks the protocol: it bounds what a peer can make us keep.
  public static let maximumLength = 4096
}

/// A leg as its owner saw it.
public struct LegReport: Equatable, Sendable {
  public let target: String
  public let local: Endpoint?
  public let remote: Endpoint?
  public let transport: [String]

  public init(target: String, local: Endpoint?, remote: Endpoint?, transport: [String]) {
    self.target = target
    self.local = local
    self.remote = remote
    self.transport = transport
  }

  /// The leg with the sender's word as its evidence.
  public func leg(from role: Role, reportedBy node: String, at now: Instant) -> Leg {
    Leg(
      from: role, to: .target(target), local: local.map { .reported($0, by: node, at: now) },
      remote: remote.map { .reported($0, by: node, at: now) },
      transport: transport.compactMap(Self.layer))
  }

  /// Only layers without facts of their own can be reported by name.
  private static func layer(_ name: String) -> Layer? {
    switch name {
    case "udp": .udp
    case "tcp": .tcp
    default: nil
    }
  }
}

/// What is wrong with bytes on a link. The peer is to blame.
public enum LinkError: Error, Equatable, Sendable {
  case tooLong(Int)
  case malformed(type: UInt8)
}

extension LinkMessage {
  public func encode() -> [UInt8] {
    var body: [UInt8] = []
    switch self {
    case .hello(let version, let name):
      body = [1, version]
      Self.append(name, to: &body)
    case .leg(let stream, let report):
      body = [2]
      body.append(bigEndian: stream)
      Self.append(report.target, to: &body)
      Self.append(report.local, to: &body)
      Self.append(report.remote, to: &body)
      body.append(UInt8(min(report.transport.count, 8)))
      for layer in report.transport.prefix(8) { Self.append(layer, to: &body, limit: 255) }
    case .notice(let stream, let text):
      body = [3]
      body.append(bigEndian: stream)
      Self.append(text, to: &body)
    }
    var message: [UInt8] = []
    message.append(bigEndian: UInt16(body.count))
    return message + body
  }

  /// Takes the messages off the front of the bytes and says how many bytes they took.
  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(LinkError) -> ([LinkMessage], consumed: Int) {
    var messages: [LinkMessage] = []
    var reader = ByteReader(bytes)
    var consumed = 0
    while let length = reader.readUInt16() {
      guard length <= maximumLength else { throw .tooLong(Int(length)) }
      guard let body = reader.readBytes(Int(length)) else { break }
      consumed = reader.offset
      if let message = try decodeBody(body) { messages.append(message) }
    }
    return (messages, consumed)
  }

  private static func decodeBody(_ body: UnsafeRawBufferPointer) throws(LinkError) -> LinkMessage? {
    var reader = ByteReader(body)
    guard let type = reader.readUInt8() else { return nil }
    switch type {
    case 1:
      guard let version = reader.readUInt8(), let name = readString(&reader) else { throw .malformed(type: type) }
      return .hello(version: version, name: name)
    case 2:
      guard let stream = reader.readUInt64(), let target = readString(&reader),
        let local = readEndpoint(&reader), let remote = readEndpoint(&reader), let count = reader.readUInt8(),
        count <= 8
      else { throw .malformed(type: type) }
      var transport: [String] = []
      for _ in 0..<count {
        guard let layer = readString(&reader) else { throw .malformed(type: type) }
        transport.append(layer)
      }
      return .leg(
        stream: stream, LegReport(target: target, local: local.value, remote: remote.value, transport: transport))
    case 3:
      guard let stream = reader.readUInt64(), let text = readString(&reader) else { throw .malformed(type: type) }
      return .notice(stream: stream, text: text)
    default: return nil
    }
  }

  /// Texts are cut so that no message is longer than `maximumLength`, and between characters: half of one is not UTF-8
  /// and would be refused.
  private static func append(_ text: String, to bytes: inout [UInt8], limit: Int = 1024) {
    let utf8 = Array(text.utf8)
    var count = min(utf8.count, limit)
    while count > 0, count < utf8.count, utf8[count] & 0xC0 == 0x80 { count -= 1 }
    bytes.append(bigEndian: UInt16(count))
    bytes += utf8[..<count]
  }

  private static func append(_ endpoint: Endpoint?, to bytes: inout [UInt8]) {
    switch endpoint?.address {
    case nil: bytes.append(0)
    case .v4(let bits):
      bytes.append(4)
      bytes.append(bigEndian: bits)
      bytes.append(bigEndian: endpoint?.port ?? 0)
    case .v6(let bits):
      bytes.append(6)
      bytes.append(bigEndian: bits)
      bytes.append(bigEndian: endpoint?.port ?? 0)
    }
  }

  private static func readString(_ reader: inout ByteReader) -> String? {
    guard let length = reader.readUInt16(), length <= 1024, let bytes = reader.readBytes(Int(length)) else {
      return nil
    }
    return String(validating: bytes, as: UTF8.self)
  }

  /// An absent endpoint is a value of its own; `nil` is a broken message.
  private static func readEndpoint(_ reader: inout ByteReader) -> (value: Endpoint?, Void)? {
    switch reader.readUInt8() {
    case 0?: return (nil, ())
    case 4?:
      guard let bits = reader.readUInt32(), let port = reader.readUInt16() else { return nil }
      return (Endpoint(.v4(bits), port: port), ())
    case 6?:
      guard let bits = reader.readUInt128(), let port = reader.readUInt16() else { return nil }
      return (Endpoint(.v6(bits), port: port), ())
    default: return nil
    }
  }
}
