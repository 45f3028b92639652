/// Bytes that wait for a stream below, in one piece: what a layer has framed and the socket has not taken.
///
/// It holds at most what its owner puts in before it has drained, a frame and a few control frames. Small memory is
/// given back as soon as it is empty, as the allocator has such pieces at hand; large memory stays until the owner says
/// that the stream is quiet (`trim`), because a busy one would ask for fresh pages with every write.
struct FrameBuffer: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var head = 0
  private var tail = 0

  private static let page = 4096

  deinit { base?.deallocate() }

  var isEmpty: Bool { head == tail }

  /// Whether an empty buffer holds memory.
  var isRoomy: Bool { capacity > 0 }

  /// What was not taken yet; valid until the next change.
  var pending: UnsafeRawBufferPointer {
    guard let base, tail > head else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: base + head, count: tail &- head)
  }

  /// Hands out room for `count` bytes behind the last one; `body` says how many it filled.
  mutating func append(room count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int) {
    if capacity &- tail < count { makeRoom(count) }
    guard let base else { return }
    let space = UnsafeMutableRawBufferPointer(start: base + tail, count: capacity &- tail)
    tail &+= min(max(body(space), 0), capacity &- tail)
  }

  mutating func append(_ bytes: [UInt8]) {
    append(room: bytes.count) { space in
      bytes.withUnsafeBytes { space.copyMemory(from: $0) }
      return bytes.count
    }
  }

  mutating func consume(_ count: Int) {
    head &+= min(max(count, 0), tail &- head)
    guard head == tail else { return }
    head = 0
    tail = 0
    if capacity <= Self.page { trim() }
  }

  /// Gives the memory of an empty buffer back.
  mutating func trim() {
    guard head == tail else { return }
    base?.deallocate()
    base = nil
    capacity = 0
    head = 0
    tail = 0
  }

  private mutating func makeRoom(_ count: Int) {
    let used = tail &- head
    if let base, capacity &- used >= count {
      base.copyMemory(from: base + head, byteCount: used)
    } else {
      // Whole pages, but for a first small frame.
      let needed = used + count
      let size = needed <= 512 ? 512 : (needed + Self.page - 1) / Self.page * Self.page
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
