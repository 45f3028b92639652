import Values

/// Datagrams on a stream, each with its address, as GOST frames them: what a SOCKS5 client gets for command 0xF3, an
/// HTTP client for `X-Gost-Protocol: udp`, a relay client for a UDP bind.
///
/// ```
/// LENGTH u16 | FF | address | LENGTH bytes
/// ```
///
/// The address is the target's on the way out and the source's on the way back. It is SOCKS5's UDP header with the
/// payload's length where that has two reserved bytes, and 0xFF for the fragment; earlier GOST wrote 0, so what stands
/// there is passed over. GOST takes a length of 0 for a datagram that ends with the read, and everything behind it for
/// its payload: an empty datagram cannot be sent.
public enum DatagramTunnel {
  /// The longest payload.
  public static let longestPayload = 0xFFFF
  /// The longest frame.
  public static let longestFrame = 3 + 2 + 255 + 2 + longestPayload

  /// Where in the bytes a frame has its parts.
  public struct Frame: Equatable, Sendable {
    public let address: Range<Int>
    public let payload: Range<Int>
  }

  /// The frame that begins at the offset. Its address is of a known type and length; `SOCKSAddress.decode` says whether
  /// it is one. The payload is empty only where a sender wrote a frame that it must not write.
  public static func frame(
    in bytes: UnsafeRawBufferPointer, at offset: Int
  ) throws(SOCKSError) -> SOCKSDecoding<Frame> {
    guard offset >= 0, offset < bytes.count else { return .needs(headSize + 2) }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
    guard let length = reader.readUInt16(), reader.readUInt8() != nil else {
      return .needs(headSize + 2 - (bytes.count - offset))
    }
    var probe = reader
    guard let addressLength = try SOCKSAddress.length(probe.readRest()) else {
      return .needs(reader.remaining == 0 ? 2 : 1)
    }
    let missing = addressLength + Int(length) - reader.remaining
    guard missing <= 0 else { return .needs(missing) }
    let address = (offset + headSize)..<(offset + headSize + addressLength)
    let payload = address.upperBound..<(address.upperBound + Int(length))
    return .message(Frame(address: address, payload: payload), consumed: payload.upperBound - offset)
  }

  /// Appends a frame; false for an empty payload and one that is too long, which cannot be said.
  /// - Parameter address: as `SOCKSAddress.encode` writes it.
  public static func append(
    _ payload: UnsafeRawBufferPointer, address: [UInt8], to bytes: inout [UInt8]
  ) -> Bool {
    guard !payload.isEmpty, payload.count <= longestPayload else { return false }
    bytes.append(bigEndian: UInt16(payload.count))
    bytes.append(fragment)
    bytes += address
    bytes += payload
    return true
  }

  private static let headSize = 3
  private static let fragment: UInt8 = 0xFF
}

/// A datagram between a client and a SOCKS5 server's relay (RFC 1928, section 7): `00 00 | FRAG | address | payload`.
public enum SOCKS5Datagram {
  /// Where a datagram has its parts; `nil` when it is none, or a fragment: nobody puts those together.
  public static func parts(_ bytes: UnsafeRawBufferPointer) -> DatagramTunnel.Frame? {
    guard bytes.count > headSize, bytes[2] == 0 else { return nil }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[headSize...])
    guard let length = try? SOCKSAddress.length(rest), length <= rest.count else { return nil }
    return DatagramTunnel.Frame(
      address: headSize..<(headSize + length), payload: (headSize + length)..<bytes.count)
  }

  /// Appends what stands in front of a payload.
  /// - Parameter address: as `SOCKSAddress.encode` writes it.
  public static func appendHeader(address: [UInt8], to bytes: inout [UInt8]) {
    bytes += [0, 0, 0]
    bytes += address
  }

  private static let headSize = 3
}
