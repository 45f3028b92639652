import Values

/// A STUN message as it lies in a packet (RFC 8489, section 5): a header of 20 bytes, then attributes, each a type, a
/// length and a value that is padded to four bytes.
///
/// ```
///   00 type (class and method) | length | magic cookie | transaction ID | attributes …
/// ```
///
/// A view is made once, and then nothing can be outside of the packet: `init` walks over all attributes. It ends where the
/// protected part ends: what stands behind MESSAGE-INTEGRITY is ignored but for MESSAGE-INTEGRITY-SHA256 and FINGERPRINT,
/// and what stands behind those too (sections 14.5 and 14.6), so that nobody on the way can add a word to a message.
///
/// Safety: the bytes belong to the caller and are read inside of the buffer only; a view is never kept.
public struct STUNMessage {
  public static let headerSize = 20
  public static let magicCookie: UInt32 = 0x2112_A442

  /// The whole message, without what may follow it in a stream.
  public let bytes: UnsafeRawBufferPointer
  public let kind: STUNClass
  public let method: STUNMethod
  public let transaction: TransactionID
  /// Where the attributes end that count.
  private let end: Int
  /// Offsets of the attributes that guard a message; they may stand behind `end`.
  let integrity: Int?
  let integritySHA256: Int?
  let fingerprint: Int?

  /// Whether a packet may be one: the first two bits and the cookie say so (RFC 8489, section 5; RFC 7983).
  public static func isLikely(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count >= headerSize && bytes[0] & 0xC0 == 0
      && UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)) == magicCookie
  }

  /// `nil` unless the bytes are one whole message.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Self.headerSize, Self.isLikely(bytes) else { return nil }
    let type = UInt16(bigEndian: bytes.loadUnaligned(as: UInt16.self))
    let length = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    guard let (kind, method) = STUNClass.split(type), length & 3 == 0, bytes.count == Self.headerSize + length else {
      return nil
    }
    self.bytes = bytes
    self.kind = kind
    self.method = method
    transaction = TransactionID(
      high: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
      low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt64.self)))
    var offset = Self.headerSize
    var end: Int?
    var (integrity, integritySHA256, fingerprint): (Int?, Int?, Int?) = (nil, nil, nil)
    while offset < bytes.count {
      guard let (attribute, size) = Self.attribute(in: bytes, at: offset) else { return nil }
      if fingerprint == nil {
        switch attribute {
        case .messageIntegrity where end == nil:
          integrity = offset
          end = offset
        case .messageIntegritySHA256 where integritySHA256 == nil:
          integritySHA256 = offset
          end = end ?? offset
        case .fingerprint:
          fingerprint = offset
          end = end ?? offset
        default: break
        }
      }
      offset += 4 + (size + 3) & ~3
    }
    self.end = end ?? bytes.count
    self.integrity = integrity
    self.integritySHA256 = integritySHA256
    self.fingerprint = fingerprint
  }

  /// An attribute's type and the bytes of its value, if all of it lies inside.
  private static func attribute(in bytes: UnsafeRawBufferPointer, at offset: Int) -> (STUNAttribute, Int)? {
    guard offset + 4 <= bytes.count else { return nil }
    let type = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    let size = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self)))
    guard offset + 4 + (size + 3) & ~3 <= bytes.count else { return nil }
    return (STUNAttribute(rawValue: type), size)
  }

  // MARK: Attributes

  /// Calls the body with each attribute that counts, in order.
  public func forEach(_ body: (STUNAttribute, UnsafeRawBufferPointer) -> Void) {
    var offset = Self.headerSize
    while offset < end, let (attribute, size) = Self.attribute(in: bytes, at: offset) {
      body(attribute, UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + 4 + size)]))
      offset += 4 + (size + 3) & ~3
    }
  }

  /// The value of the first attribute of a type: only the first counts (RFC 8489, section 14).
  public subscript(_ wanted: STUNAttribute) -> UnsafeRawBufferPointer? {
    var offset = Self.headerSize
    while offset < end, let (attribute, size) = Self.attribute(in: bytes, at: offset) {
      if attribute == wanted {
        return UnsafeRawBufferPointer(rebasing: bytes[(offset + 4)..<(offset + 4 + size)])
      }
      offset += 4 + (size + 3) & ~3
    }
    return nil
  }

  /// Attributes that must be understood and are none of these, each once.
  public func unknownAttributes(besides known: Set<STUNAttribute>) -> [STUNAttribute] {
    var found: [STUNAttribute] = []
    forEach { attribute, _ in
      if attribute.isComprehensionRequired, !known.contains(attribute), !found.contains(attribute), found.count < 16 {
        found.append(attribute)
      }
    }
    return found
  }

  /// A text: UTF-8 as it must be, at most so many bytes of it.
  public func text(_ attribute: STUNAttribute, limit: Int = 763) -> String? {
    guard let value = self[attribute], value.count <= limit else { return nil }
    return String(validating: value, as: UTF8.self)
  }

  public func bytes(_ attribute: STUNAttribute) -> [UInt8]? { self[attribute].map { [UInt8]($0) } }

  /// A number of four bytes.
  public func number(_ attribute: STUNAttribute) -> UInt32? {
    guard let value = self[attribute], value.count == 4 else { return nil }
    return UInt32(bigEndian: value.loadUnaligned(as: UInt32.self))
  }

  /// A number of eight bytes.
  public func longNumber(_ attribute: STUNAttribute) -> UInt64? {
    guard let value = self[attribute], value.count == 8 else { return nil }
    return UInt64(bigEndian: value.loadUnaligned(as: UInt64.self))
  }

  /// The first byte of a value of four: a family, a protocol.
  public func byte(_ attribute: STUNAttribute) -> UInt8? {
    number(attribute).map { UInt8(truncatingIfNeeded: $0 >> 24) }
  }

  /// The channel of CHANNEL-NUMBER (RFC 8656, section 18.1), whichever it is.
  public var channelNumber: UInt16? { number(.channelNumber).map { UInt16(truncatingIfNeeded: $0 >> 16) } }

  /// An address as it is (section 14.1).
  public func address(_ attribute: STUNAttribute) -> Endpoint? {
    self[attribute].flatMap { STUNAddress.read($0, mask: nil) }
  }

  /// An address under the mask (section 14.2).
  public func xorAddress(_ attribute: STUNAttribute) -> Endpoint? {
    self[attribute].flatMap { STUNAddress.read($0, mask: transaction) }
  }

  /// All addresses of a type, at most so many.
  public func xorAddresses(_ wanted: STUNAttribute, limit: Int) -> [Endpoint] {
    var found: [Endpoint] = []
    forEach { attribute, value in
      guard attribute == wanted, found.count < limit, let one = STUNAddress.read(value, mask: transaction) else {
        return
      }
      found.append(one)
    }
    return found
  }

  /// The code and reason of ERROR-CODE, or of ADDRESS-ERROR-CODE, whose first byte is a family.
  public func error(_ attribute: STUNAttribute = .errorCode) -> STUNErrorCode? {
    guard let value = self[attribute], value.count >= 4, (3...6).contains(value[2] & 7), value[3] < 100 else {
      return nil
    }
    // coturn counts the padding in, which is zeros.
    let text = value[4...].prefix(763).prefix { $0 != 0 }
    let reason = String(decoding: UnsafeRawBufferPointer(rebasing: text), as: UTF8.self)
    return STUNErrorCode(Int(value[2] & 7) * 100 + Int(value[3]), reason)
  }

  /// The types that UNKNOWN-ATTRIBUTES lists.
  public var listedUnknown: [STUNAttribute] {
    guard let value = self[.unknownAttributes] else { return [] }
    return (0..<min(32, value.count / 2)).map {
      STUNAttribute(rawValue: UInt16(bigEndian: value.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self)))
    }
  }
}

/// The form of addresses in attributes: a zero, the family (1 or 2), the port, the address; with a mask, port and address
/// are combined with the cookie and the transaction ID so that no translator on the way recognises its own addresses.
enum STUNAddress {
  static func read(_ value: UnsafeRawBufferPointer, mask transaction: TransactionID?) -> Endpoint? {
    guard value.count >= 8 else { return nil }
    var port = UInt16(bigEndian: value.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    if transaction != nil { port ^= UInt16(truncatingIfNeeded: STUNMessage.magicCookie >> 16) }
    switch (value[1], value.count) {
    case (1, 8):
      let bits = UInt32(bigEndian: value.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
      return Endpoint(.v4(transaction == nil ? bits : bits ^ STUNMessage.magicCookie), port: port)
    case (2, 20):
      let bits = UInt128(bigEndian: value.loadUnaligned(fromByteOffset: 4, as: UInt128.self))
      return Endpoint(.v6(transaction.map { bits ^ $0.mask } ?? bits), port: port)
    default: return nil
    }
  }

  static func append(_ endpoint: Endpoint, mask transaction: TransactionID?, to bytes: inout [UInt8]) {
    var port = endpoint.port
    if transaction != nil { port ^= UInt16(truncatingIfNeeded: STUNMessage.magicCookie >> 16) }
    switch endpoint.address {
    case .v4(let bits):
      bytes.append(bigEndian: UInt16(1))
      bytes.append(bigEndian: port)
      bytes.append(bigEndian: transaction == nil ? bits : bits ^ STUNMessage.magicCookie)
    case .v6(let bits):
      bytes.append(bigEndian: UInt16(2))
      bytes.append(bigEndian: port)
      bytes.append(bigEndian: transaction.map { bits ^ $0.mask } ?? bits)
    }
  }
}

extension TransactionID {
  var mask: UInt128 { UInt128(STUNMessage.magicCookie) << 96 | UInt128(high) << 64 | UInt128(low) }
}
