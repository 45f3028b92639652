/// A cursor over bytes that somebody else owns. Every read checks the length first and returns `nil` past the end,
/// so a truncated packet can neither trap nor read outside its bytes.
///
/// The pointer is valid only inside the closure or call that handed out the buffer; a reader is never stored.
public struct ByteReader {
  @usableFromInline let bytes: UnsafeRawBufferPointer
  /// Bytes consumed so far.
  public private(set) var offset = 0

  @inlinable
  public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  @inlinable
  public var remaining: Int { bytes.count &- offset }

  public mutating func readUInt8() -> UInt8? {
    guard remaining >= 1 else { return nil }
    defer { offset &+= 1 }
    return bytes[offset]
  }

  /// Reads a big-endian number.
  public mutating func readUInt16() -> UInt16? { readInteger() }
  /// Reads a big-endian number.
  public mutating func readUInt32() -> UInt32? { readInteger() }
  /// Reads a big-endian number.
  public mutating func readUInt64() -> UInt64? { readInteger() }
  /// Reads a big-endian number.
  public mutating func readUInt128() -> UInt128? { readInteger() }

  private mutating func readInteger<Number: FixedWidthInteger>() -> Number? {
    let size = MemoryLayout<Number>.size
    guard remaining >= size else { return nil }
    defer { offset &+= size }
    return Number(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
  }

  /// Reads `count` bytes without copying them.
  public mutating func readBytes(_ count: Int) -> UnsafeRawBufferPointer? {
    guard count >= 0, remaining >= count else { return nil }
    defer { offset &+= count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset &+ count)])
  }

  /// All that is left.
  public mutating func readRest() -> UnsafeRawBufferPointer {
    defer { offset = bytes.count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset...])
  }
}

extension Array where Element == UInt8 {
  /// Appends a number in network byte order.
  @inlinable
  public mutating func append<Number: FixedWidthInteger>(bigEndian number: Number) {
    Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
  }
}
