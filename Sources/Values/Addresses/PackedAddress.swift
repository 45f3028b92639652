/// An address in two 64-bit words, for structures that are passed by value.
///
/// `UInt128` asks for 16-byte alignment. Where a structure that holds one travels in registers, Swift 6.3 without
/// optimisation puts the registers back into memory that is aligned to 8 and reads it as if it were aligned to 16,
/// which faults for every second stack layout. An `IPAddress` alone is put back right; together with a port or a
/// length it is not. So `Endpoint` and `IPPrefix` store this form, whose alignment is 8, and compute the address.
@usableFromInline
struct PackedAddress: Hashable, Sendable {
  @usableFromInline let high: UInt64
  @usableFromInline let low: UInt64
  @usableFromInline let isIPv6: Bool

  @inlinable
  init(_ address: IPAddress) {
    switch address {
    case .v4(let bits):
      high = 0
      low = UInt64(bits)
      isIPv6 = false
    case .v6(let bits):
      high = UInt64(truncatingIfNeeded: bits >> 64)
      low = UInt64(truncatingIfNeeded: bits)
      isIPv6 = true
    }
  }

  @inlinable
  var address: IPAddress {
    isIPv6 ? .v6(UInt128(high) << 64 | UInt128(low)) : .v4(UInt32(truncatingIfNeeded: low))
  }
}
