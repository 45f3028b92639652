import Values

/// Data of a channel (RFC 8656, section 12.4): two bytes of its number, two of the length, and the bytes. Over a stream
/// they are padded to four.
public struct ChannelData {
  /// In bytes.
  public static let headerSize = 4
  /// Numbers that channels may have; 0x5000 and above are others' (RFC 8656, section 12; RFC 7983).
  public static let numbers: ClosedRange<UInt16> = 0x4000...0x4FFF
  /// Numbers that a server takes: clients of the former RFC 5766 have these, and nothing else comes to a server's port.
  public static let acceptedNumbers: ClosedRange<UInt16> = 0x4000...0x7FFF

  public let number: UInt16
  public let data: UnsafeRawBufferPointer

  /// Whether a packet may be one.
  @inlinable
  public static func isLikely(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.count >= 4 && bytes[0] & 0xC0 == 0x40 }

  /// `nil` when the number is none of a channel, or fewer bytes are there than the length says. More may be there:
  /// padding.
  @inlinable
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard Self.isLikely(bytes) else { return nil }
    number = UInt16(bigEndian: bytes.loadUnaligned(as: UInt16.self))
    let length = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    guard length <= bytes.count &- 4 else { return nil }
    data = UnsafeRawBufferPointer(rebasing: bytes[4..<(4 &+ length)])
  }

  /// Writes the header into four bytes.
  @inlinable
  public static func writeHeader(_ number: UInt16, length: Int, into room: UnsafeMutableRawPointer) {
    room.storeBytes(of: number.bigEndian, as: UInt16.self)
    room.storeBytes(of: UInt16(truncatingIfNeeded: length).bigEndian, toByteOffset: 2, as: UInt16.self)
  }
}

/// Cuts a stream into STUN messages and channel data (RFC 8489, section 6.2.2; RFC 8656, section 12.5), without a copy
/// where a whole one came at once.
public struct STUNStreamFramer {
  /// What was cut, or why nothing can be.
  public enum Step: Equatable {
    /// The first bytes are a message, or channel data without its padding; `consumed` go with it.
    case frame(count: Int, consumed: Int)
    /// So many bytes are needed at least.
    case needs(Int)
    /// It is neither: the stream cannot be understood any more.
    case broken
  }

  /// - Parameter limit: the largest message that is taken, bytes.
  public static func next(_ bytes: UnsafeRawBufferPointer, limit: Int = 65_555) -> Step {
    guard bytes.count >= 4 else { return .needs(4) }
    let length = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    switch bytes[0] & 0xC0 {
    case 0x00:
      let count = STUNMessage.headerSize + length
      guard length & 3 == 0, count <= limit else { return .broken }
      return bytes.count >= count ? .frame(count: count, consumed: count) : .needs(count)
    case 0x40:
      let count = ChannelData.headerSize + length
      let padded = (count + 3) & ~3
      guard ChannelData.isLikely(bytes), count <= limit else { return .broken }
      return bytes.count >= padded ? .frame(count: count, consumed: padded) : .needs(padded)
    default: return .broken
    }
  }
}
