/// Numbers in network byte order at any address.
///
/// Safety: these check nothing. Each caller has compared the offset with the length of the packet before, and says so
/// where it does; the functions exist so that the byte order is written in one place.
extension UnsafeRawPointer {
  @inline(__always)
  func byte(_ offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }

  @inline(__always)
  func number16(_ offset: Int) -> UInt16 {
    UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always)
  func number32(_ offset: Int) -> UInt32 {
    UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func number128(_ offset: Int) -> UInt128 {
    UInt128(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt128.self))
  }

  /// Eight bytes as they lie, for comparing.
  @inline(__always)
  func word64(_ offset: Int) -> UInt64 { loadUnaligned(fromByteOffset: offset, as: UInt64.self) }

  /// Four bytes as they lie, for comparing.
  @inline(__always)
  func word32(_ offset: Int) -> UInt32 { loadUnaligned(fromByteOffset: offset, as: UInt32.self) }

  /// Two bytes as they lie, for comparing.
  @inline(__always)
  func word16(_ offset: Int) -> UInt16 { loadUnaligned(fromByteOffset: offset, as: UInt16.self) }

  @inline(__always)
  func bytes(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: self + offset, count: count)
  }
}

extension UnsafeMutableRawPointer {
  @inline(__always)
  func store(_ value: UInt8, at offset: Int) { storeBytes(of: value, toByteOffset: offset, as: UInt8.self) }

  @inline(__always)
  func store(_ value: UInt16, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
  }

  @inline(__always)
  func store(_ value: UInt32, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
  }

  @inline(__always)
  func store(_ value: UInt128, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt128.self)
  }
}

/// Protocol numbers (IANA, "Assigned Internet Protocol Numbers").
enum ProtocolNumber {
  static let hopByHop: UInt8 = 0
  static let icmp: UInt8 = 1
  static let tcp: UInt8 = 6
  static let udp: UInt8 = 17
  static let routing: UInt8 = 43
  static let fragment: UInt8 = 44
  static let authentication: UInt8 = 51
  static let icmp6: UInt8 = 58
  static let destinationOptions: UInt8 = 60
  static let mobility: UInt8 = 135
  static let hostIdentity: UInt8 = 139
  static let shim6: UInt8 = 140
}

/// TCP header offsets and flags (RFC 9293, section 3.1; ECN flags: RFC 3168, section 6.1).
enum TCPField {
  static let sequence = 4
  static let acknowledgment = 8
  static let dataOffset = 12
  static let flags = 13
  static let window = 14
  static let checksum = 16
  static let minimumHeader = 20
  static let fin: UInt8 = 0x01
  static let syn: UInt8 = 0x02
  static let push: UInt8 = 0x08
  static let ack: UInt8 = 0x10
  static let cwr: UInt8 = 0x80
}

/// UDP header offsets (RFC 768).
enum UDPField {
  static let length = 4
  static let checksum = 6
  static let header = 8
}

/// IP header offsets (RFC 791, section 3.1; RFC 8200, section 3).
enum IPField {
  static let v4Header = 20
  static let v4TotalLength = 2
  static let v4Identification = 4
  static let v4Fragment = 6
  static let v4TimeToLive = 8
  static let v4Protocol = 9
  static let v4Checksum = 10
  static let v4Source = 12
  static let v4Destination = 16
  static let v6Header = 40
  static let v6PayloadLength = 4
  static let v6NextHeader = 6
  static let v6HopLimit = 7
  static let v6Source = 8
  static let v6Destination = 24
  /// The most that the 16-bit length fields say.
  static let maximumPacket = 65_535
}
