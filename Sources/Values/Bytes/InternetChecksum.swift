/// The one's complement sum of RFC 1071, folded late.
///
/// The sum is kept in 64 bits in memory order (RFC 1071, section 2B: the sum is independent of byte order); the bytes
/// are swapped once, at the end. Long runs go 64 bytes a step through two vector sums: of whole 64-bit lanes, which
/// wraps, and of their upper halves, which does not; from the two the exact sum of the lower halves follows, so the
/// loop has two additions and a shift for each vector instead of a widening.
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
    // Safe: every load below is inside `count`; the 64-bit sums take 2^32 additions of 32-bit words without overflow.
    var total: UInt64 = 0
    if count >= 64 {
      var whole = SIMD8<UInt64>()
      var upper = SIMD8<UInt64>()
      while offset &+ 64 <= count {
        let lanes = base.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
        whole = whole &+ lanes
        upper = upper &+ (lanes &>> 32)
        offset &+= 64
      }
      total = upper.wrappedSum() &+ (whole &- (upper &<< 32)).wrappedSum()
    }
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

  /// Copies bytes that begin at an even offset of the checksummed data and adds them on the way: one pass over memory
  /// in place of two. `destination` has room for `bytes.count` bytes and does not overlap them.
  @inlinable
  public mutating func add(copying bytes: UnsafeRawBufferPointer, to destination: UnsafeMutableRawPointer) {
    guard let base = bytes.baseAddress else { return }
    var offset = 0
    let count = bytes.count
    // Safe: every load and store below is inside `count`; `storeBytes` of a trivial type asks for no alignment.
    var total: UInt64 = 0
    if count >= 64 {
      var whole = SIMD8<UInt64>()
      var upper = SIMD8<UInt64>()
      while offset &+ 64 <= count {
        let lanes = base.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
        destination.storeBytes(of: lanes, toByteOffset: offset, as: SIMD8<UInt64>.self)
        whole = whole &+ lanes
        upper = upper &+ (lanes &>> 32)
        offset &+= 64
      }
      total = upper.wrappedSum() &+ (whole &- (upper &<< 32)).wrappedSum()
    }
    while offset &+ 4 <= count {
      let word = base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      destination.storeBytes(of: word, toByteOffset: offset, as: UInt32.self)
      total &+= UInt64(word)
      offset &+= 4
    }
    if offset &+ 2 <= count {
      let word = base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
      destination.storeBytes(of: word, toByteOffset: offset, as: UInt16.self)
      total &+= UInt64(word)
      offset &+= 2
    }
    if offset < count {
      let byte = base.load(fromByteOffset: offset, as: UInt8.self)
      destination.storeBytes(of: byte, toByteOffset: offset, as: UInt8.self)
      total &+= UInt64(UInt16(bigEndian: UInt16(byte) &<< 8))
    }
    add(total)
  }

  /// Adds any number of 16-bit words that are already in memory order.
  @inlinable
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
