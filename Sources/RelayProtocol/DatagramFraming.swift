import Values

/// Datagrams on a stream: a 16-bit big-endian length, then that many bytes (relay over UDP connect).
///
/// GOST writes the length and the data apart, so that a frame may arrive in any split, and a TLS record or a read may
/// hold half a length. We write both together, many frames a write: a `PacketBatch` with `headroom` bytes before each
/// packet is one run of memory with the frames in place.
public enum DatagramFraming {
  /// The length field's size.
  public static let headroom = 2

  /// Writes the length fields into the headroom of each packet of the batch and returns the run of bytes to write, as
  /// offsets into the batch's storage. Packets must have been added with `reserve` or `append` to a batch whose
  /// headroom is `DatagramFraming.headroom`.
  public static func frame(_ batch: inout PacketBatch, from first: Int = 0) -> Range<Int> {
    precondition(batch.headroom == headroom)
    guard first < batch.count else { return 0..<0 }
    let storage = batch.storage
    for index in first..<batch.count {
      let slot = batch.slot(index)
      storage.storeBytes(
        of: UInt16(truncatingIfNeeded: slot.length).bigEndian, toByteOffset: slot.offset &- headroom, as: UInt16.self)
    }
    return (batch.slot(first).offset &- headroom)..<batch.end
  }

  /// Writes one packet's length field and returns its frame's bytes.
  public static func frame(_ batch: inout PacketBatch, at index: Int) -> Range<Int> {
    precondition(batch.headroom == headroom)
    let slot = batch.slot(index)
    batch.storage.storeBytes(
      of: UInt16(truncatingIfNeeded: slot.length).bigEndian, toByteOffset: slot.offset &- headroom, as: UInt16.self)
    return (slot.offset &- headroom)..<(slot.offset &+ slot.length)
  }

  /// Finds the whole frames in `filled` bytes at the start of the batch's storage and adds a slot for each. Returns
  /// the bytes consumed: what lies behind them is the beginning of the next frame. Empty frames are skipped.
  public static func scan(_ batch: inout PacketBatch, filled: Int) -> Int {
    let storage = batch.storage
    let limit = min(filled, storage.count)
    var offset = 0
    while offset &+ headroom <= limit {
      let length = Int(UInt16(bigEndian: storage.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
      guard length <= limit &- offset &- headroom else { break }
      if length > 0, !batch.appendSlot(offset: offset &+ headroom, length: length) { break }
      offset &+= headroom &+ length
    }
    return offset
  }
}
