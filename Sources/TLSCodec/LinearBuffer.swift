/// Bytes between a producer and a consumer, in one contiguous piece so that either end can be a system call.
///
/// The owner bounds what goes in; the buffer itself only grows, and keeps its memory when it runs empty: a busy session
/// would otherwise allocate with every flight, and large pieces would be fresh pages of the kernel's each time. Most
/// sessions are idle most of the time, so the owner calls `trim` when one has been quiet for a while.
struct LinearBuffer: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var head = 0
  private var tail = 0

  /// Bytes.
  private static let leastCapacity = 512

  init() {}

  deinit { base?.deallocate() }

  var count: Int { tail &- head }

  /// The bytes that were not consumed yet; valid until the next change.
  var readable: UnsafeRawBufferPointer {
    guard let base, tail > head else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: base + head, count: tail &- head)
  }

  mutating func consume(_ count: Int) {
    head += min(max(count, 0), tail &- head)
    guard head == tail else { return }
    head = 0
    tail = 0
  }

  /// Whether the buffer keeps memory that `trim` would give back, now or once it is empty.
  var isRoomy: Bool { capacity > 0 }

  /// Gives back the memory of an empty buffer.
  mutating func trim() {
    guard head == tail else { return }
    base?.deallocate()
    base = nil
    capacity = 0
    head = 0
    tail = 0
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    guard let space = writable(bytes.count).baseAddress else { return }
    space.copyMemory(from: source, byteCount: bytes.count)
    filled(bytes.count)
  }

  /// Room for at least `minimum` bytes after the last one; fill it and then say how much by `filled`.
  mutating func writable(_ minimum: Int) -> UnsafeMutableRawBufferPointer {
    if capacity &- tail < minimum { makeRoom(minimum) }
    return UnsafeMutableRawBufferPointer(start: base.map { $0 + tail }, count: capacity &- tail)
  }

  mutating func filled(_ count: Int) { tail += min(max(count, 0), capacity &- tail) }

  private mutating func makeRoom(_ minimum: Int) {
    let used = tail &- head
    if let base, capacity &- used >= minimum, head >= used {
      base.copyMemory(from: base + head, byteCount: used)
    } else {
      let size = max(Self.leastCapacity, (used + minimum).nextPowerOf2)
      let grown = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
      if let base {
        grown.copyMemory(from: base + head, byteCount: used)
        base.deallocate()
      }
      base = grown
      capacity = size
    }
    head = 0
    tail = used
  }
}

extension Int {
  /// The smallest power of two that is not below a positive number.
  var nextPowerOf2: Int { self <= 1 ? 1 : 1 << (Int.bitWidth &- (self &- 1).leadingZeroBitCount) }
}
