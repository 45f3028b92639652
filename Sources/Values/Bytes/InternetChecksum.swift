/// The one's complement sum of RFC 1071, folded late.
///
/// The sum is kept in 64 bits in memory order (RFC 1071, section 2B: the sum is independent of byte order), four
/// 32-bit words a step, which the compiler turns into vector code; the bytes are swapped once, at the end.
public struct InternetChecksum: Sendable {
  @usableFromInline var sum: UInt64 = 0

  @inlinable
  public init() {}

  /// Adds bytes that begin at an even offset of the checksummed data.
  @inlinable
  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    var offset = 0
    let count = bytes.count
    // Safe: every load below is inside `count`; 64 bits hold 2^32 additions of 32-bit words without overflow.
    var total: UInt64 = 0
    while offset &+ 4 <= count {
      total &+= UInt64(base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      offset &+= 4
    }
    if offset &+ 2 <= count {
      total &+= UInt64(base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      offset &+= 2
    }
    if offset < count {
      total &+= UInt64(UInt16(bigEndian: UInt16(base.load(fromByteOffset: offset, as: UInt8.self)) &<< 8))
    }
    add(total)
  }

  @usableFromInline
  mutating func add(_ value: UInt64) {
    let (result, overflow) = sum.addingReportingOverflow(value)
    sum = overflow ? result &+ 1 : result
  }

  /// Adds a 16-bit number of the header, in host order.
  @inlinable
  public mutating func add(_ value: UInt16) { add(UInt64(value.bigEndian)) }

  /// Adds an address, as in a pseudo-header.
  @inlinable
  public mutating func add(_ address: IPAddress) {
    switch address {
    case .v4(let bits): add(UInt64(bits.bigEndian))
    case .v6(let bits):
      let wire = bits.bigEndian
      add(UInt64(truncatingIfNeeded: wire) & 0xFFFF_FFFF)
      add(UInt64(truncatingIfNeeded: wire >> 32) & 0xFFFF_FFFF)
      add(UInt64(truncatingIfNeeded: wire >> 64) & 0xFFFF_FFFF)
      add(UInt64(truncatingIfNeeded: wire >> 96))
    }
  }

  /// The sum folded to 16 bits, in host order, not complemented (the form of a partial checksum).
  @inlinable
  public var folded: UInt16 {
    var value = sum
    value = (value & 0xFFFF_FFFF) &+ (value >> 32)
    value = (value & 0xFFFF_FFFF) &+ (value >> 32)
    value = (value & 0xFFFF) &+ (value >> 16)
    value = (value & 0xFFFF) &+ (value >> 16)
    value = (value & 0xFFFF) &+ (value >> 16)
    return UInt16(bigEndian: UInt16(truncatingIfNeeded: value))
  }

  /// The checksum field's value, in host order.
  @inlinable
  public var value: UInt16 { ~folded }
}
