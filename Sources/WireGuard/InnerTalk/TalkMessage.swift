import Values

/// What one Culvert says to another inside a tunnel: the content of a transport message whose first half-byte is neither
/// 4 nor 6, so that it is no IP packet, and one who does not know it drops it as such.
///
/// ```
///   0xC1 · type · size of the body (2) · body · zeros
///
///   1  hello          token (4) · capabilities (2)                  the responder, once the session is proven
///   2  hello answer   token (4) · capabilities (2)                  the initiator
///   3  probe          token (4) · size of the whole content (2)     padded with zeros to that size
///   4  probe answer   token (4) · size (2)
///   5  KEM key        place (2) · bytes                             a public key in pieces: no path is too narrow
///   6  KEM text       place (2) · bytes                             a ciphertext with its proof, the same way
///   7  KEM done       proof (16)
/// ```
///
/// Numbers are little-endian, as WireGuard's are. The low half of the first byte is a version: another one, and a type
/// that is not known, are passed over. A body may be longer than it is here; what is behind the fields that are known
/// is passed over too, except that a probe must have the size that it says.
public enum TalkMessage: Sendable, Equatable {
  case hello(token: UInt32, TalkCapabilities)
  case helloAnswer(token: UInt32, TalkCapabilities)
  /// The size of the whole content, bytes.
  case probe(token: UInt32, size: Int)
  case probeAnswer(token: UInt32, size: Int)
  case kemKey(place: Int, [UInt8])
  case kemText(place: Int, [UInt8])
  case kemDone([UInt8])

  /// How a content reads.
  public enum Reading: Sendable, Equatable {
    case message(TalkMessage)
    /// Of a version or a type that is not known here.
    case unknown
    case malformed
  }

  private static let first: UInt8 = 0xC1
  static let headerSize = 4
  /// Of a body, except for pieces.
  private static let fixedSize = 6
  static let proofSize = 16

  /// Whether a content is no IP packet and may be a message. It is not empty.
  @inline(__always)
  static func mayBe(_ content: UnsafeRawBufferPointer) -> Bool {
    guard let base = content.baseAddress, content.count >= headerSize else { return false }
    let kind = base.byte(0) >> 4
    return kind != 4 && kind != 6
  }

  /// Reads a content, padding included.
  public static func read(_ content: UnsafeRawBufferPointer) -> Reading {
    guard mayBe(content), let base = content.baseAddress else { return .malformed }
    guard base.byte(0) == first else { return .unknown }
    let size = base.number16(2)
    guard size <= content.count &- headerSize else { return .malformed }
    // Padding says nothing: what is there is either a mistake or a secret.
    for place in (headerSize &+ size)..<content.count where base.byte(place) != 0 { return .malformed }
    let body = UnsafeRawBufferPointer(start: base + headerSize, count: size)
    return read(type: base.byte(1), body, contentSize: content.count).map { .message($0) }
      ?? (1...7 ~= base.byte(1) ? .malformed : .unknown)
  }

  private static func read(type: UInt8, _ body: UnsafeRawBufferPointer, contentSize: Int) -> TalkMessage? {
    guard let base = body.baseAddress else { return nil }
    switch type {
    case 1...4:
      guard body.count >= fixedSize else { return nil }
      let token = base.number32(0)
      let number = base.number16(4)
      switch type {
      case 1: return .hello(token: token, TalkCapabilities(rawValue: UInt16(truncatingIfNeeded: number)))
      case 2: return .helloAnswer(token: token, TalkCapabilities(rawValue: UInt16(truncatingIfNeeded: number)))
      case 3: return number == contentSize ? .probe(token: token, size: number) : nil
      default: return .probeAnswer(token: token, size: number)
      }
    case 5, 6:
      guard body.count > 2 else { return nil }
      let bytes = Array(UnsafeRawBufferPointer(rebasing: body[2...]))
      return type == 5 ? .kemKey(place: base.number16(0), bytes) : .kemText(place: base.number16(0), bytes)
    case 7:
      guard body.count >= proofSize else { return nil }
      return .kemDone(Array(UnsafeRawBufferPointer(rebasing: body[..<proofSize])))
    default: return nil
    }
  }

  /// The content without its padding.
  public var bytes: [UInt8] {
    var body: [UInt8] = []
    let type: UInt8
    switch self {
    case .hello(let token, let capabilities):
      type = 1
      body.append(littleEndian: token)
      body.append(littleEndian: capabilities.rawValue)
    case .helloAnswer(let token, let capabilities):
      type = 2
      body.append(littleEndian: token)
      body.append(littleEndian: capabilities.rawValue)
    case .probe(let token, let size):
      type = 3
      body.append(littleEndian: token)
      body.append(littleEndian: UInt16(clamping: size))
    case .probeAnswer(let token, let size):
      type = 4
      body.append(littleEndian: token)
      body.append(littleEndian: UInt16(clamping: size))
    case .kemKey(let place, let bytes):
      type = 5
      body.append(littleEndian: UInt16(clamping: place))
      body += bytes
    case .kemText(let place, let bytes):
      type = 6
      body.append(littleEndian: UInt16(clamping: place))
      body += bytes
    case .kemDone(let proof):
      type = 7
      body += proof
    }
    var content = [Self.first, type]
    content.append(littleEndian: UInt16(clamping: body.count))
    return content + body
  }
}

/// What an end can do beside packets.
public struct TalkCapabilities: OptionSet, Sendable, Codable, Hashable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// It makes post-quantum keys.
  public static let postQuantum = TalkCapabilities(rawValue: 1)
  /// It answers probes.
  public static let probes = TalkCapabilities(rawValue: 2)
}

extension [UInt8] {
  fileprivate mutating func append(littleEndian number: UInt16) {
    append(UInt8(truncatingIfNeeded: number))
    append(UInt8(truncatingIfNeeded: number >> 8))
  }

  fileprivate mutating func append(littleEndian number: UInt32) {
    append(littleEndian: UInt16(truncatingIfNeeded: number))
    append(littleEndian: UInt16(truncatingIfNeeded: number >> 16))
  }
}

extension UnsafeRawPointer {
  /// Safety: as `number32`, it checks nothing.
  fileprivate func number16(_ offset: Int) -> Int {
    Int(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
  }
}
