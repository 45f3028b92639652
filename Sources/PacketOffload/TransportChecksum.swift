import Values

/// Checksums of TCP and UDP with their pseudo-header (RFC 9293, section 3.1; RFC 768; RFC 8200, section 8.1).
///
/// Safety: callers have checked that the IP header of `base` and `length` bytes from `transport` on are there.
enum TransportChecksum {
  /// The pseudo-header without the length: addresses, as they lie in the packet, and the protocol.
  @inline(__always)
  static func pseudoHeader(_ base: UnsafeRawPointer, isIPv4: Bool, protocolNumber: UInt8) -> InternetChecksum {
    var sum = InternetChecksum()
    if isIPv4 {
      sum.add(base.bytes(IPField.v4Source, 8))
    } else {
      sum.add(base.bytes(IPField.v6Source, 32))
    }
    sum.add(UInt16(protocolNumber))
    return sum
  }

  /// Whether the checksum that the segment carries is right. A UDP checksum of 0 ("none") is not.
  @inline(__always)
  static func isValid(
    _ base: UnsafeRawPointer, isIPv4: Bool, protocolNumber: UInt8, transport: Int, length: Int
  ) -> Bool {
    if protocolNumber == ProtocolNumber.udp, base.word16(transport &+ UDPField.checksum) == 0 { return false }
    var sum = pseudoHeader(base, isIPv4: isIPv4, protocolNumber: protocolNumber)
    sum.add(UInt16(truncatingIfNeeded: length))
    sum.add(base.bytes(transport, length))
    return sum.folded == 0xFFFF
  }

  /// What a checksum becomes when a 16-bit word that it covers changes (RFC 1624, equation 3).
  @inline(__always)
  static func updated(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
    var sum = InternetChecksum()
    sum.add(~checksum)
    sum.add(~old)
    sum.add(new)
    return sum.value
  }
}
