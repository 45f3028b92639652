/// The two bits of explicit congestion notification in an IP header (RFC 3168, section 5).
public enum ECN {
  /// The sender does not understand marks; also the answer for what is no IP packet.
  public static let incapable: UInt8 = 0
  /// ECT(1): marks are to be expected often (RFC 9331).
  public static let scalable: UInt8 = 1
  /// ECT(0): marks are understood.
  public static let capable: UInt8 = 2
  /// CE: there was congestion on the way.
  public static let congested: UInt8 = 3

  /// The bits of a packet.
  @inlinable
  public static func bits(of packet: UnsafeRawBufferPointer) -> UInt8 {
    guard packet.count >= 20 else { return incapable }
    switch packet[0] >> 4 {
    case 4: return packet[1] & 3
    case 6: return packet[1] >> 4 & 3
    default: return incapable
    }
  }

  /// Sets the bits of a packet; what is no IP packet stays as it is.
  ///
  /// IPv4's header checksum is updated by the difference (RFC 1624, equation 3), so that a wrong one stays wrong for
  /// the receiver to see.
  public static func set(_ bits: UInt8, in packet: UnsafeMutableRawBufferPointer) {
    guard packet.count >= 20, bits <= 3 else { return }
    switch packet[0] >> 4 {
    case 4:
      let old = word(0, of: packet)
      packet[1] = packet[1] & ~3 | bits
      var sum = InternetChecksum()
      sum.add(~word(10, of: packet))
      sum.add(~old)
      sum.add(word(0, of: packet))
      packet.storeBytes(of: sum.value.bigEndian, toByteOffset: 10, as: UInt16.self)
    case 6: packet[1] = packet[1] & 0xCF | bits << 4
    default: return
    }
  }

  /// Puts what the outer header of a tunnel says into the packet that came in it (RFC 6040, figure 4).
  ///
  /// - Returns: false when it is to be dropped: it went through congestion, and its sender would not understand a mark.
  @inlinable
  public static func decapsulate(_ packet: UnsafeMutableRawBufferPointer, outer: UInt8) -> Bool {
    guard outer == congested || outer == scalable else { return true }
    switch (bits(of: UnsafeRawBufferPointer(packet)), outer) {
    case (incapable, congested): return false
    case (capable, _), (scalable, congested): set(outer, in: packet)
    default: break
    }
    return true
  }

  private static func word(_ offset: Int, of packet: UnsafeMutableRawBufferPointer) -> UInt16 {
    UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }
}
