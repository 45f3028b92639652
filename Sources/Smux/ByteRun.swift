/// Bytes between a producer and a consumer in one contiguous piece, so that many frames leave with one system call.
///
/// The owner bounds what goes in. Memory is taken when the first byte comes; an emptied run gives it back when asked
/// (`trim`), so that what is idle holds none.
struct ByteRun: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var head = 0
  private var tail = 0

  init() {}

  deinit { base?.deallocate() }

  var count: Int { tail &- head }
  var isEmpty: Bool { head == tail }

  /// What was not consumed yet; valid until the next change.
  var readable: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base.map { UnsafeRawPointer($0 + head) }, count: tail &- head)
  }

  mutating func consume(_ count: Int) {
    head &+= min(max(count, 0), tail &- head)
    guard head == tail else { return }
    head = 0
    tail = 0
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    room(bytes.count).copyMemory(from: source, byteCount: bytes.count)
    tail &+= bytes.count
  }

  mutating func append(word: UInt64) {
    room(8).storeBytes(of: word.littleEndian, as: UInt64.self)
    tail &+= 8
  }

  /// Overwrites two bytes, as little-endian, that begin `distance` bytes before the end.
  mutating func patch(_ value: UInt16, beforeEnd distance: Int) {
    guard let base, distance >= 2, distance <= count else { return }
    base.storeBytes(of: value.littleEndian, toByteOffset: tail &- distance, as: UInt16.self)
  }

  /// Gives the memory back if nothing is in it.
  mutating func trim() {
    guard head == tail else { return }
    base?.deallocate()
    base = nil
    capacity = 0
    head = 0
    tail = 0
  }

  var holdsMemory: Bool { base != nil }

  /// Memory for so many bytes behind the last one.
  private mutating func room(_ minimum: Int) -> UnsafeMutableRawPointer {
    if let base, capacity &- tail >= minimum { return base + tail }
    let used = tail &- head
    if let base, capacity &- used >= minimum, head >= used {
      base.copyMemory(from: base + head, byteCount: used)
      head = 0
      tail = used
      return base + used
    }
    let needed = used + minimum
    let size = max(256, needed <= 1 ? 1 : 1 << (Int.bitWidth &- (needed &- 1).leadingZeroBitCount))
    let grown = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    if let base {
      grown.copyMemory(from: base + head, byteCount: used)
      base.deallocate()
    }
    base = grown
    capacity = size
    head = 0
    tail = used
    return grown + used
  }
}
