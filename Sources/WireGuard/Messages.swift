import Values

/// The four messages (section 5.4) as views over bytes that somebody else owns.
///
/// ```
/// initiation  type 1 · sender · ephemeral 32 · static 32+16 · timestamp 12+16 · mac1 16 · mac2 16      148 bytes
/// response    type 2 · sender · receiver · ephemeral 32 · empty 16 · mac1 16 · mac2 16                  92 bytes
/// cookie      type 3 · receiver · nonce 24 · cookie 16+16                                               64 bytes
/// transport   type 4 · receiver · counter 8 · content, padded to 16, +16                             from 32 bytes
/// ```
///
/// Type and the three reserved zeros behind it are one little-endian number, and so are indices and counters. A view's
/// `init` compares type and size; after that no accessor can read outside the bytes. What a message says is believed
/// only by those who have opened it.
///
/// Safety: a view holds a pointer, is valid as long as its buffer and is never stored.
public enum MessageType: UInt32, Sendable {
  case initiation = 1
  case response = 2
  case cookieReply = 3
  case transport = 4

  /// The type of a datagram whose size a message of that type can have.
  public init?(of datagram: UnsafeRawBufferPointer) {
    guard datagram.count >= 4, let base = datagram.baseAddress,
      let type = MessageType(rawValue: base.number32(0)), type.allows(datagram.count)
    else { return nil }
    self = type
  }

  func allows(_ size: Int) -> Bool {
    switch self {
    case .initiation: size == InitiationMessage.size
    case .response: size == ResponseMessage.size
    case .cookieReply: size == CookieReplyMessage.size
    case .transport: size >= WireGuardLimit.overhead
    }
  }
}

struct InitiationMessage {
  static let size = 148
  static let senderOffset = 4
  static let ephemeralOffset = 8
  static let staticOffset = 40
  static let timestampOffset = 88
  /// Both MACs stand at the end.
  static let mac1Offset = 116

  let base: UnsafeRawPointer

  init?(_ datagram: UnsafeRawBufferPointer) {
    guard MessageType(of: datagram) == .initiation, let base = datagram.baseAddress else { return nil }
    self.base = base
  }

  var sender: UInt32 { base.number32(Self.senderOffset) }
  var ephemeral: UnsafeRawBufferPointer { base.bytes(Self.ephemeralOffset, 32) }
  /// The sealed static key.
  var sealedStatic: UnsafeRawBufferPointer { base.bytes(Self.staticOffset, 48) }
  var sealedTimestamp: UnsafeRawBufferPointer { base.bytes(Self.timestampOffset, 28) }
}

struct ResponseMessage {
  static let size = 92
  static let senderOffset = 4
  static let receiverOffset = 8
  static let ephemeralOffset = 12
  static let emptyOffset = 44
  static let mac1Offset = 60

  let base: UnsafeRawPointer

  init?(_ datagram: UnsafeRawBufferPointer) {
    guard MessageType(of: datagram) == .response, let base = datagram.baseAddress else { return nil }
    self.base = base
  }

  var sender: UInt32 { base.number32(Self.senderOffset) }
  var receiver: UInt32 { base.number32(Self.receiverOffset) }
  var ephemeral: UnsafeRawBufferPointer { base.bytes(Self.ephemeralOffset, 32) }
  var sealedEmpty: UnsafeRawBufferPointer { base.bytes(Self.emptyOffset, 16) }
}

struct CookieReplyMessage {
  static let size = 64
  static let receiverOffset = 4
  static let nonceOffset = 8
  static let cookieOffset = 32

  let base: UnsafeRawPointer

  init?(_ datagram: UnsafeRawBufferPointer) {
    guard MessageType(of: datagram) == .cookieReply, let base = datagram.baseAddress else { return nil }
    self.base = base
  }

  var receiver: UInt32 { base.number32(Self.receiverOffset) }
  var nonce: UnsafeRawBufferPointer { base.bytes(Self.nonceOffset, 24) }
  var sealedCookie: UnsafeRawBufferPointer { base.bytes(Self.cookieOffset, 32) }
}

struct TransportMessage {
  static let receiverOffset = 4
  static let counterOffset = 8
  static let contentOffset = 16

  let base: UnsafeRawPointer
  /// Of the content, padding included, the tag left out.
  let contentSize: Int

  @inline(__always)
  init?(_ datagram: UnsafeRawBufferPointer) {
    guard datagram.count >= WireGuardLimit.overhead, let base = datagram.baseAddress,
      base.number32(0) == MessageType.transport.rawValue
    else { return nil }
    self.base = base
    contentSize = datagram.count &- WireGuardLimit.overhead
  }

  var receiver: UInt32 { base.number32(Self.receiverOffset) }
  var counter: UInt64 { base.number64(Self.counterOffset) }
}

/// Little-endian numbers at any address.
///
/// Safety: these check nothing; the views have compared the size before.
extension UnsafeRawPointer {
  @inline(__always)
  func byte(_ offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }

  @inline(__always)
  func number32(_ offset: Int) -> UInt32 {
    UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func number64(_ offset: Int) -> UInt64 {
    UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @inline(__always)
  func bytes(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: self + offset, count: count)
  }
}

extension UnsafeMutableRawPointer {
  @inline(__always)
  func store32(_ value: UInt32, at offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
  }

  @inline(__always)
  func store64(_ value: UInt64, at offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
  }

  @inline(__always)
  func room(_ offset: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: self + offset, count: count)
  }
}
