/// Datagrams that wait, in one ring of a fixed size that is allocated with the first of them.
///
/// A record is four bytes of length and the bytes, padded to four, never split: where it does not fit before the
/// ring's end, a marker sends the reader to the start.
struct DatagramQueue: ~Copyable {
  private var ring: UnsafeMutableRawPointer?
  private let capacity: Int
  private var head = 0
  private var tail = 0
  /// Bytes of the ring that are taken.
  private(set) var used = 0
  private(set) var count = 0

  private static let wrap = UInt32.max

  init(capacity: Int) { self.capacity = max(0, capacity) & ~3 }

  deinit { ring?.deallocate() }

  var isEmpty: Bool { count == 0 }

  /// `false` when it does not fit now; nothing is kept of it then.
  mutating func append(_ datagram: UnsafeRawBufferPointer) -> Bool {
    let size = 4 + (datagram.count + 3) & ~3
    guard size <= capacity else { return false }
    let toEnd = capacity - tail
    let skipped = size > toEnd ? toEnd : 0
    guard used + skipped + size <= capacity else { return false }
    let memory = ring ?? .allocate(byteCount: capacity, alignment: 64)
    ring = memory
    if skipped > 0 {
      memory.storeBytes(of: Self.wrap, toByteOffset: tail, as: UInt32.self)
      used += skipped
      tail = 0
    }
    memory.storeBytes(of: UInt32(datagram.count), toByteOffset: tail, as: UInt32.self)
    if let source = datagram.baseAddress { (memory + tail + 4).copyMemory(from: source, byteCount: datagram.count) }
    tail += size
    if tail == capacity { tail = 0 }
    used += size
    count += 1
    return true
  }

  /// The oldest datagram; valid until the next change. `nil` when there is none.
  mutating func first() -> UnsafeRawBufferPointer? {
    guard count > 0, let ring else { return nil }
    var length = ring.load(fromByteOffset: head, as: UInt32.self)
    if length == Self.wrap {
      used -= capacity - head
      head = 0
      length = ring.load(fromByteOffset: 0, as: UInt32.self)
    }
    return UnsafeRawBufferPointer(start: ring + head + 4, count: Int(length))
  }

  mutating func removeFirst() {
    guard let datagram = first() else { return }
    let size = 4 + (datagram.count + 3) & ~3
    head += size
    if head == capacity { head = 0 }
    used -= size
    count -= 1
    if count == 0 {
      head = 0
      tail = 0
      used = 0
    }
  }
}
