/// Frames to bytes (RFC 6455, section 5.2).
///
/// ```
/// FIN RSV RSV RSV opcode:4 | MASK length:7 | length: none, 16 or 64 bits | key: none or 32 bits | payload
/// ```
///
/// A stream of bytes is cut into binary messages of one frame each; where the cuts are means nothing. Whoever sends
/// writes header and payload one behind the other into its own output buffer, masking while copying, so that a byte is
/// touched once on its way to the socket. A client draws a new key for every frame and hands it in (section 5.3: it must
/// not be foreseen); a server has none.
public enum WebSocketFrame {
  /// Two bytes, a length of eight, a key of four.
  public static let maximumHeaderSize = 14
  /// Section 5.5: what a control frame may carry, in bytes.
  public static let maximumControlPayload = 125
  /// What we put into one frame at the most, in bytes. A peer that reads a message whole has to hold no more; beyond it
  /// the header costs nothing that could be measured.
  public static let maximumPayload = 65_536

  /// What a frame is for (section 5.2). Codes that nobody has defined are a violation and have no case.
  public enum Kind: UInt8, Sendable, CaseIterable {
    case continuation = 0
    case text = 1
    case binary = 2
    case close = 8
    case ping = 9
    case pong = 10

    /// Control frames may stand between the frames of a message, and are never fragmented.
    public var isControl: Bool { rawValue >= 8 }
  }

  /// The bytes in front of a payload of this size.
  public static func headerSize(payload count: Int, isMasked: Bool) -> Int {
    (count <= 125 ? 2 : count <= 0xFFFF ? 4 : 10) + (isMasked ? 4 : 0)
  }

  /// Writes a whole frame, the last of its message, at the front of `space` and returns its size; 0 when it does not
  /// fit there, and for a control frame of more than 125 bytes. `payload` may not lie in `space`.
  public static func write(
    _ kind: Kind, _ payload: UnsafeRawBufferPointer, mask key: UInt32?, into space: UnsafeMutableRawBufferPointer
  ) -> Int {
    let count = payload.count
    let head = headerSize(payload: count, isMasked: key != nil)
    guard !kind.isControl || count <= maximumControlPayload, space.count >= head, space.count &- head >= count,
      let base = space.baseAddress
    else { return 0 }
    base.storeBytes(of: 0x80 | kind.rawValue, as: UInt8.self)
    let flag: UInt8 = key == nil ? 0 : 0x80
    switch head &- (key == nil ? 0 : 4) {
    case 2: base.storeBytes(of: flag | UInt8(truncatingIfNeeded: count), toByteOffset: 1, as: UInt8.self)
    case 4:
      base.storeBytes(of: flag | 126, toByteOffset: 1, as: UInt8.self)
      base.storeBytes(of: UInt16(truncatingIfNeeded: count).bigEndian, toByteOffset: 2, as: UInt16.self)
    default:
      base.storeBytes(of: flag | 127, toByteOffset: 1, as: UInt8.self)
      base.storeBytes(of: UInt64(truncatingIfNeeded: count).bigEndian, toByteOffset: 2, as: UInt64.self)
    }
    if let key { base.storeBytes(of: key.littleEndian, toByteOffset: head &- 4, as: UInt32.self) }
    guard let source = payload.baseAddress, count > 0 else { return head }
    if let key {
      WebSocketMask(key: key).copy(source, to: base + head, count: count)
    } else {
      (base + head).copyMemory(from: source, byteCount: count)
    }
    return head &+ count
  }

  /// Writes a close frame with its code (section 5.5.1) and returns its size; 0 when it does not fit.
  public static func writeClose(
    _ code: WebSocketCloseCode, mask key: UInt32?, into space: UnsafeMutableRawBufferPointer
  ) -> Int {
    withUnsafeBytes(of: code.rawValue.bigEndian) { write(.close, $0, mask: key, into: space) }
  }
}

/// Why an end closed (section 7.4).
public struct WebSocketCloseCode: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// All was said.
  public static let normal = WebSocketCloseCode(rawValue: 1000)
  /// A server goes down, or a page is left.
  public static let goingAway = WebSocketCloseCode(rawValue: 1001)
  /// The other end broke the protocol.
  public static let protocolError = WebSocketCloseCode(rawValue: 1002)

  /// Whether the code may stand in a frame: 1004 to 1006 and 1015 are for programs to tell themselves, below 1000 and
  /// from 1016 to 2999 nothing is defined.
  public var mayBeSent: Bool {
    switch rawValue {
    case 1000...1003, 1007...1014, 3000...4999: true
    default: false
    }
  }

  /// Whether nothing went wrong.
  public var isOrderly: Bool { self == .normal || self == .goingAway }
}

extension WebSocketCloseCode: CustomStringConvertible {
  public var description: String {
    let words: String? =
      switch rawValue {
      case 1000: "normal"
      case 1001: "going away"
      case 1002: "protocol error"
      case 1003: "data that it cannot take"
      case 1007: "text that is none"
      case 1008: "against its policy"
      case 1009: "message too big"
      case 1010: "extension missing"
      case 1011: "internal error"
      case 1012: "restarting"
      case 1013: "try again later"
      case 1014: "bad gateway"
      default: nil
      }
    return words.map { "\(rawValue), \($0)" } ?? "\(rawValue)"
  }
}
