import Values

/// Lowers the maximum segment size that a TCP SYN announces to what a tunnel takes, in place.
///
/// Path MTU discovery does the same, one lost packet later, and not at all where ICMP is filtered. Only SYN packets
/// (and SYN-ACK) carry the option; for any other packet the look costs a few comparisons. An announcement that is
/// already small enough is left alone, and none is added where there is none: without one the other end takes 536 or
/// 1,220 bytes (RFC 9293, section 3.7.1).
///
/// The checksum is updated for the changed word only (RFC 1624), so a wrong one stays wrong for the host to see.
public enum MSSClamp {
  private static let endOfOptions: UInt8 = 0
  private static let noOperation: UInt8 = 1
  private static let maximumSegmentSize: UInt8 = 2

  /// Clamps to `mtu` less the fixed headers (RFC 6691): 40 bytes for IPv4, 60 for IPv6. True when the packet changed.
  /// `mtu` is the largest IP packet that the tunnel takes, in bytes.
  @discardableResult
  public static func clamp(_ packet: UnsafeMutableRawBufferPointer, mtu: Int) -> Bool {
    let bytes = UnsafeRawBufferPointer(packet)
    guard let tcp = synOffset(bytes), let base = packet.baseAddress else { return false }
    let isIPv4 = bytes[0] >> 4 == 4
    let room = mtu &- (isIPv4 ? IPField.v4Header : IPField.v6Header) &- TCPField.minimumHeader
    guard room > 0, room < 0xFFFF, let option = optionOffset(bytes, tcp: tcp) else { return false }
    let old = UnsafeRawPointer(base).number16(option)
    let new = UInt16(truncatingIfNeeded: room)
    guard old > new else { return false }
    base.store(new, at: option)
    // At an odd place the two bytes belong to two words of the sum, with their weights exchanged.
    let isOdd = (option &- tcp) & 1 != 0
    let checksum = UnsafeRawPointer(base).number16(tcp &+ TCPField.checksum)
    base.store(
      TransportChecksum.updated(
        checksum, from: isOdd ? old.byteSwapped : old, to: isOdd ? new.byteSwapped : new),
      at: tcp &+ TCPField.checksum)
    return true
  }

  /// Where the TCP header of a SYN begins; the whole header is in the packet then.
  private static func synOffset(_ bytes: UnsafeRawBufferPointer) -> Int? {
    guard let view = try? IPPacketView(bytes), let upper = view.upperLayer, !upper.isFragment,
      upper.protocolNumber == ProtocolNumber.tcp, view.totalLength &- upper.offset >= TCPField.minimumHeader,
      view.base.byte(upper.offset &+ TCPField.flags) & TCPField.syn != 0
    else { return nil }
    let header = Int(view.base.byte(upper.offset &+ TCPField.dataOffset) >> 4) &* 4
    guard header >= TCPField.minimumHeader, header <= view.totalLength &- upper.offset else { return nil }
    return upper.offset
  }

  /// Where the option's value lies, from the start of the packet.
  private static func optionOffset(_ bytes: UnsafeRawBufferPointer, tcp: Int) -> Int? {
    guard let base = bytes.baseAddress else { return nil }
    let end = tcp &+ Int(base.byte(tcp &+ TCPField.dataOffset) >> 4) &* 4
    var offset = tcp &+ TCPField.minimumHeader
    while offset < end {
      let kind = base.byte(offset)
      if kind == endOfOptions { return nil }
      if kind == noOperation {
        offset &+= 1
        continue
      }
      guard offset &+ 1 < end else { return nil }
      let length = Int(base.byte(offset &+ 1))
      guard length >= 2, offset &+ length <= end else { return nil }
      if kind == maximumSegmentSize { return length == 4 ? offset &+ 2 : nil }
      offset &+= length
    }
    return nil
  }
}
