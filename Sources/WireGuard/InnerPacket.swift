import Values

/// What WireGuard needs to know of the IP packets inside: an address, and where the padding begins.
///
/// Safety: each function compares the size first.
enum InnerPacket {
  private static let v4Header = 20
  private static let v6Header = 40
  private static let udpHeader = 8
  private static let udp: UInt8 = 17

  /// The destination; `nil` for what is not IP.
  @inline(__always)
  static func destination(_ packet: UnsafeRawBufferPointer) -> IPAddress? { address(packet, v4: 16, v6: 24) }

  /// The source; `nil` for what is not IP.
  @inline(__always)
  static func source(_ packet: UnsafeRawBufferPointer) -> IPAddress? { address(packet, v4: 12, v6: 8) }

  /// The size that the header gives; `nil` when it is no IP header or the packet is cut short.
  @inline(__always)
  static func size(_ packet: UnsafeRawBufferPointer) -> Int? {
    guard packet.count >= v4Header, let base = packet.baseAddress else { return nil }
    let size: Int
    switch base.byte(0) >> 4 {
    case 4:
      size = Int(UInt16(bigEndian: base.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
      guard size >= v4Header else { return nil }
    case 6:
      guard packet.count >= v6Header else { return nil }
      size = v6Header &+ Int(UInt16(bigEndian: base.loadUnaligned(fromByteOffset: 4, as: UInt16.self)))
    default: return nil
    }
    return size <= packet.count ? size : nil
  }

  /// Whether it carries a transport message of WireGuard to that index.
  @inline(__always)
  static func isMessage(_ packet: UnsafeRawBufferPointer, to index: UInt32) -> Bool {
    guard packet.count >= v6Header &+ udpHeader &+ 8, let base = packet.baseAddress else { return false }
    let offset: Int
    switch base.byte(0) >> 4 {
    case 4 where base.byte(9) == udp: offset = Int(base.byte(0) & 15) &* 4 &+ udpHeader
    case 6 where base.byte(6) == udp: offset = v6Header &+ udpHeader
    default: return false
    }
    guard packet.count >= offset &+ 8 else { return false }
    return base.number32(offset) == MessageType.transport.rawValue
      && base.number32(offset &+ TransportMessage.receiverOffset) == index
  }

  @inline(__always)
  private static func address(_ packet: UnsafeRawBufferPointer, v4: Int, v6: Int) -> IPAddress? {
    guard packet.count >= v4Header, let base = packet.baseAddress else { return nil }
    switch base.byte(0) >> 4 {
    case 4: return .v4(UInt32(bigEndian: base.loadUnaligned(fromByteOffset: v4, as: UInt32.self)))
    case 6:
      guard packet.count >= v6Header else { return nil }
      return .v6(UInt128(bigEndian: base.loadUnaligned(fromByteOffset: v6, as: UInt128.self)))
    default: return nil
    }
  }
}
