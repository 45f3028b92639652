import Values

/// Composes a message, attribute after attribute. What guards it comes last, in this order: MESSAGE-INTEGRITY,
/// MESSAGE-INTEGRITY-SHA256, FINGERPRINT.
public struct STUNWriter {
  public private(set) var bytes: [UInt8]
  public let method: STUNMethod
  public let transaction: TransactionID

  public init(_ kind: STUNClass, _ method: STUNMethod, _ transaction: TransactionID) {
    self.method = method
    self.transaction = transaction
    bytes = []
    bytes.reserveCapacity(160)
    bytes.append(bigEndian: kind.type(of: method))
    bytes.append(bigEndian: UInt16(0))
    bytes.append(bigEndian: STUNMessage.magicCookie)
    bytes.append(bigEndian: transaction.high)
    bytes.append(bigEndian: transaction.low)
  }

  /// An answer to a request.
  public init(_ kind: STUNClass, to request: STUNMessage) {
    self.init(kind, request.method, request.transaction)
  }

  /// A failure with its code.
  public init(_ error: STUNErrorCode, to request: STUNMessage) {
    self.init(.failure, to: request)
    add(error)
  }

  public mutating func add(_ attribute: STUNAttribute, _ value: some Collection<UInt8>) {
    begin(attribute, value.count)
    bytes.append(contentsOf: value)
    pad()
  }

  public mutating func add(_ attribute: STUNAttribute, _ text: String) { add(attribute, text.utf8) }

  /// An attribute without a value.
  public mutating func add(_ attribute: STUNAttribute) { begin(attribute, 0) }

  public mutating func add(_ attribute: STUNAttribute, _ number: UInt32) {
    begin(attribute, 4)
    bytes.append(bigEndian: number)
  }

  public mutating func add(_ attribute: STUNAttribute, _ number: UInt64) {
    begin(attribute, 8)
    bytes.append(bigEndian: number)
  }

  /// A byte and three reserved ones.
  public mutating func add(_ attribute: STUNAttribute, byte: UInt8) { add(attribute, UInt32(byte) << 24) }

  public mutating func add(channel: UInt16) { add(.channelNumber, UInt32(channel) << 16) }

  public mutating func add(_ attribute: STUNAttribute, xor endpoint: Endpoint) {
    begin(attribute, endpoint.family == .ipv4 ? 8 : 20)
    STUNAddress.append(endpoint, mask: transaction, to: &bytes)
  }

  public mutating func add(_ attribute: STUNAttribute, plain endpoint: Endpoint) {
    begin(attribute, endpoint.family == .ipv4 ? 8 : 20)
    STUNAddress.append(endpoint, mask: nil, to: &bytes)
  }

  public mutating func add(_ error: STUNErrorCode) {
    begin(.errorCode, 4 + error.reason.utf8.count)
    bytes.append(bigEndian: UInt32(error.number / 100 % 8) << 8 | UInt32(error.number % 100))
    bytes.append(contentsOf: error.reason.utf8)
    pad()
  }

  /// ADDRESS-ERROR-CODE (RFC 8656, section 18.12): the family that could not be had, and why.
  public mutating func add(_ error: STUNErrorCode, for family: AddressFamily) {
    begin(.addressErrorCode, 4 + error.reason.utf8.count)
    bytes.append(
      bigEndian: UInt32(STUNFamily.code(family)) << 24 | UInt32(error.number / 100 % 8) << 8
        | UInt32(error.number % 100))
    bytes.append(contentsOf: error.reason.utf8)
    pad()
  }

  public mutating func add(unknown attributes: [STUNAttribute]) {
    begin(.unknownAttributes, attributes.count * 2)
    for attribute in attributes { bytes.append(bigEndian: attribute.rawValue) }
    pad()
  }

  /// MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, by the key's kind.
  public mutating func add(integrity key: STUNKey) {
    let count = key.integrity.tagSize
    begin(key.integrity.attribute, count)
    let end = bytes.count - 4
    let tag = bytes.withUnsafeBytes { key.tag(of: $0, upTo: end) }
    bytes.append(contentsOf: tag)
  }

  /// FINGERPRINT (RFC 8489, section 14.7).
  public mutating func addFingerprint() {
    begin(.fingerprint, 4)
    let end = bytes.count - 4
    let sum = bytes.withUnsafeBytes { STUNFingerprint.value(of: UnsafeRawBufferPointer(rebasing: $0[..<end])) }
    bytes.append(bigEndian: sum)
  }

  /// Writes the attribute's head and the message's length with it.
  private mutating func begin(_ attribute: STUNAttribute, _ count: Int) {
    bytes.append(bigEndian: attribute.rawValue)
    bytes.append(bigEndian: UInt16(truncatingIfNeeded: count))
    let length = UInt16(truncatingIfNeeded: bytes.count - STUNMessage.headerSize + (count + 3) & ~3)
    bytes[2] = UInt8(length >> 8)
    bytes[3] = UInt8(truncatingIfNeeded: length)
  }

  private mutating func pad() { while bytes.count & 3 != 0 { bytes.append(0) } }
}

/// Families as TURN's attributes name them (RFC 8656, section 18.6).
public enum STUNFamily {
  public static func code(_ family: AddressFamily) -> UInt8 { family == .ipv4 ? 1 : 2 }

  public static func family(_ code: UInt8) -> AddressFamily? {
    switch code {
    case 1: .ipv4
    case 2: .ipv6
    default: nil
    }
  }
}
