import Values

/// The packets of one flow, oldest first, written one after the other over a chain of chunks.
///
/// A packet is a record: 16 bytes that say when it came, how long it is and how it may be marked, then its bytes, then
/// up to 15 bytes of padding. A record's header never lies across two chunks, since chunks are a multiple of 16 bytes;
/// its bytes may. Packets only come in at the end and go out at the start, so nothing ever lies unused in the middle,
/// and the only waste is in the first and the last chunk. A flow without packets has no chunk.
///
/// Safety: `headOffset` and `tailOffset` lie between 16 and the chunk's size; a record is written whole before
/// `packets` counts it, so what is read was written. The owner of a log gives its chunks back: `removeFirst` the packets
/// or `deallocate`.
struct PacketLog {
  struct Record {
    let arrival: Instant
    let length: Int
    let marking: Marking
  }

  static let recordHeader = 16

  private var head: UnsafeMutableRawPointer?
  private var tail: UnsafeMutableRawPointer?
  private var headOffset = ChunkStore.size
  private var tailOffset = ChunkStore.size
  private(set) var packets = 0

  /// What a packet takes in the log, in bytes.
  @inline(__always)
  static func size(ofRecord length: Int) -> Int { (length &+ recordHeader &+ 15) & ~15 }

  /// The packet that has waited longest. There must be one; an empty log gives a packet of no bytes.
  @inline(__always)
  var first: Record {
    guard packets > 0, let head else { return Record(arrival: .distantFuture, length: 0, marking: .impossible) }
    let record = head + headOffset
    return Record(
      arrival: Instant(nanoseconds: record.load(as: Int64.self)),
      length: Int(record.load(fromByteOffset: 8, as: UInt32.self)),
      marking: Marking(rawValue: record.load(fromByteOffset: 12, as: UInt8.self)))
  }

  mutating func append(
    _ packet: UnsafeRawBufferPointer, marking: Marking, at now: Instant, from store: inout ChunkStore
  ) {
    var chunk = room(in: &store)
    let record = chunk + tailOffset
    record.storeBytes(of: now.nanoseconds, as: Int64.self)
    record.storeBytes(of: UInt32(truncatingIfNeeded: packet.count), toByteOffset: 8, as: UInt32.self)
    record.storeBytes(of: marking.rawValue, toByteOffset: 12, as: UInt8.self)
    tailOffset &+= Self.recordHeader
    if var source = packet.baseAddress {
      var left = packet.count
      while left > 0 {
        chunk = room(in: &store)
        let piece = min(left, ChunkStore.size &- tailOffset)
        (chunk + tailOffset).copyMemory(from: source, byteCount: piece)
        source += piece
        tailOffset &+= piece
        left &-= piece
      }
    }
    tailOffset = (tailOffset &+ 15) & ~15
    packets &+= 1
  }

  /// Takes the oldest packet out and gives the chunks that it leaves behind to the store.
  ///
  /// - Parameter room: where to copy it: `first.length` bytes; `nil` to throw it away.
  /// - Returns: its length.
  mutating func removeFirst(copyingTo room: UnsafeMutableRawPointer?, to store: inout ChunkStore) -> Int {
    guard packets > 0, var chunk = head else { return 0 }
    let length = first.length
    var offset = headOffset &+ Self.recordHeader
    var done = 0
    while done < length {
      if offset == ChunkStore.size {
        guard let next = store.giveBack(chunk) else { break }
        chunk = next
        offset = ChunkStore.firstByte
      }
      let piece = min(length &- done, ChunkStore.size &- offset)
      if let room { (room + done).copyMemory(from: chunk + offset, byteCount: piece) }
      offset &+= piece
      done &+= piece
    }
    offset = (offset &+ 15) & ~15
    packets &-= 1
    if packets == 0 {
      store.giveBack(chunk)
      self = PacketLog()
      return length
    }
    if offset == ChunkStore.size, let next = store.giveBack(chunk) {
      chunk = next
      offset = ChunkStore.firstByte
    }
    head = chunk
    headOffset = offset
    return length
  }

  /// Frees the chunks, for an owner that goes away.
  func deallocate() {
    var chunk = head
    while let used = chunk {
      chunk = ChunkStore.next(after: used)
      used.deallocate()
    }
  }

  /// The last chunk, with at least a byte left in it (16 at a record's start).
  @inline(__always)
  private mutating func room(in store: inout ChunkStore) -> UnsafeMutableRawPointer {
    if let tail, tailOffset < ChunkStore.size { return tail }
    let chunk = store.take(after: tail)
    if head == nil {
      head = chunk
      headOffset = ChunkStore.firstByte
    }
    tail = chunk
    tailOffset = ChunkStore.firstByte
    return chunk
  }
}

/// Chunks of memory for the logs, and those that no log uses at the moment.
///
/// A chunk begins with a pointer to the next one of its chain, which is a log or the unused ones. 2 KiB: a flow of one
/// small packet should not hold much more than that packet, and a full-sized packet should be copied in two pieces at
/// most.
struct ChunkStore: ~Copyable {
  /// Bytes of a chunk, and where a log's bytes begin in it; both multiples of 16.
  static let size = 2048
  static let firstByte = 16

  private var unused: UnsafeMutableRawPointer?
  private(set) var total = 0
  private(set) var allocations = 0

  var footprint: Int { total &* Self.size }

  deinit {
    var chunk = unused
    while let free = chunk {
      chunk = Self.next(after: free)
      free.deallocate()
    }
  }

  /// A chunk for the end of a chain.
  @inline(__always)
  mutating func take(after last: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer {
    let chunk: UnsafeMutableRawPointer
    if let free = unused {
      unused = Self.next(after: free)
      chunk = free
    } else {
      chunk = allocate()
    }
    Self.link(chunk, to: nil)
    if let last { Self.link(last, to: chunk) }
    return chunk
  }

  /// Takes back the first chunk of a chain; returns the second.
  @inline(__always)
  @discardableResult
  mutating func giveBack(_ chunk: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let next = Self.next(after: chunk)
    Self.link(chunk, to: unused)
    unused = chunk
    return next
  }

  mutating func releaseUnused() {
    while let free = unused {
      unused = Self.next(after: free)
      free.deallocate()
      total &-= 1
    }
  }

  @inline(__always)
  static func next(after chunk: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    chunk.load(as: UnsafeMutableRawPointer?.self)
  }

  @inline(__always)
  private static func link(_ chunk: UnsafeMutableRawPointer, to next: UnsafeMutableRawPointer?) {
    chunk.storeBytes(of: next, as: UnsafeMutableRawPointer?.self)
  }

  @inline(never)
  private mutating func allocate() -> UnsafeMutableRawPointer {
    total &+= 1
    allocations &+= 1
    return .allocate(byteCount: Self.size, alignment: 16)
  }
}
