import CryptoPrimitives
import Values

/// Which of the two attributes guards a message (RFC 8489, sections 14.5 and 14.6).
public enum STUNIntegrity: UInt8, Sendable, Hashable, Codable {
  /// MESSAGE-INTEGRITY: HMAC-SHA1, which every implementation knows.
  case sha1
  /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256, which may be cut to no less than 16 bytes.
  case sha256

  var tagSize: Int { self == .sha1 ? 20 : 32 }
  var attribute: STUNAttribute { self == .sha1 ? .messageIntegrity : .messageIntegritySHA256 }
}

/// The key of an exchange with the attribute that it is used for. It has no description, so that it is not printed by
/// accident.
public struct STUNKey: Hashable, Sendable {
  let bytes: [UInt8]
  public let integrity: STUNIntegrity

  public init(_ bytes: [UInt8], _ integrity: STUNIntegrity) {
    self.bytes = bytes
    self.integrity = integrity
  }

  /// Of short-term credentials (section 9.1.1): the prepared password itself.
  public static func shortTerm(password: String, _ integrity: STUNIntegrity = .sha1) -> STUNKey {
    STUNKey(Array(OpaqueString.prepared(password).utf8), integrity)
  }

  /// The tag of a message whose attributes up to an offset are protected. The header's length counts as if the message
  /// ended with the attribute of the tag.
  func tag(of message: UnsafeRawBufferPointer, upTo end: Int, size: Int? = nil) -> [UInt8] {
    let size = size ?? integrity.tagSize
    guard end >= STUNMessage.headerSize, end <= message.count else { return [] }
    let length = UInt16(truncatingIfNeeded: end - STUNMessage.headerSize + 4 + size)
    let head = (message[0], message[1], UInt8(length >> 8), UInt8(truncatingIfNeeded: length))
    return withUnsafeBytes(of: head) { head in
      let rest = UnsafeRawBufferPointer(rebasing: message[4..<end])
      return integrity == .sha1
        ? HMACSHA1.tag(key: bytes, head, rest) : HMACSHA256.tag(key: bytes, head, rest)
    }
  }
}

extension STUNKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "(a key)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: EmptyCollection()) }
}

extension STUNMessage {
  public var hasIntegrity: Bool { integrity != nil || integritySHA256 != nil }

  /// The attributes that guard this message.
  public var integrities: [STUNIntegrity] {
    (integrity == nil ? [] : [.sha1]) + (integritySHA256 == nil ? [] : [.sha256])
  }

  /// Whether the message was made with the key: the attribute of the key's kind is there and right, in a time that
  /// does not say where it is not.
  public func isAuthentic(_ key: STUNKey) -> Bool {
    guard let offset = key.integrity == .sha1 ? integrity : integritySHA256, offset + 4 <= bytes.count else {
      return false
    }
    let size = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self)))
    // A SHA-256 tag may be cut, to multiples of four from 16 on.
    guard key.integrity == .sha1 ? size == 20 : (16...32).contains(size) && size & 3 == 0,
      offset + 4 + size <= bytes.count
    else { return false }
    let tag = key.tag(of: bytes, upTo: offset, size: size)
    return tag.withUnsafeBytes { tag in
      ConstantTime.areEqual(
        UnsafeRawBufferPointer(rebasing: tag.prefix(size)),
        UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + 4 + size)]))
    }
  }

  /// `nil` without a FINGERPRINT; otherwise whether it is right, and the last attribute.
  public var isFingerprintRight: Bool? {
    guard let offset = fingerprint else { return nil }
    guard offset + 8 == bytes.count, bytes[offset + 2] == 0, bytes[offset + 3] == 4 else { return false }
    let value = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
    return value == STUNFingerprint.value(of: UnsafeRawBufferPointer(rebasing: bytes[..<offset]))
  }
}

/// CRC-32 (ITU-T V.42) under a mask: by it a STUN message is told from other packets on a socket.
public enum STUNFingerprint {
  public static func value(of bytes: UnsafeRawBufferPointer) -> UInt32 {
    var sum = UInt32.max
    for byte in bytes { sum = table[Int((sum ^ UInt32(byte)) & 0xFF)] ^ sum >> 8 }
    return ~sum ^ 0x5354_554E
  }

  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { sum, _ in sum & 1 == 1 ? sum >> 1 ^ 0xEDB8_8320 : sum >> 1 }
  }
}
