/// Stream bytes in fixed chunks that never move: what `ngtcp2` needs of sent bytes until they are acknowledged, and a
/// place for received bytes until they are read.
///
/// A byte's chunk follows from its offset in the stream, so nothing is searched. Chunks come from a pool that the
/// connection's streams share; a queue that is empty holds none.
struct ByteQueue: ~Copyable {
  /// Chunks in the order of their offsets; the first holds the byte at `start`.
  private var chunks: [UnsafeMutableRawPointer] = []
  /// Index in `chunks` of the first one still in use: popping the front of an array would move the rest.
  private var firstChunk = 0
  /// The offset of the first byte that is kept.
  private(set) var start: UInt64 = 0
  /// The offset after the last byte.
  private(set) var end: UInt64 = 0

  init() {}

  var count: Int { Int(truncatingIfNeeded: end &- start) }

  private static func place(_ offset: UInt64) -> Int { Int(truncatingIfNeeded: offset) & (ChunkPool.chunkSize - 1) }

  /// The offset of the first byte of the first chunk.
  private var base: UInt64 { start &- UInt64(Self.place(start)) }

  mutating func append(_ bytes: UnsafeRawBufferPointer, pool: ChunkPool) {
    guard var source = bytes.baseAddress else { return }
    var left = bytes.count
    while left > 0 {
      let place = Self.place(end)
      if place == 0 || count == 0 && chunks.isEmpty { chunks.append(pool.take()) }
      guard let chunk = chunks.last else { return }
      let part = min(left, ChunkPool.chunkSize - place)
      (chunk + place).copyMemory(from: source, byteCount: part)
      source += part
      left -= part
      end &+= UInt64(part)
    }
  }

  /// The bytes from `offset` on that lie in one chunk; empty at and past the end.
  func contiguous(from offset: UInt64) -> UnsafeRawBufferPointer {
    guard offset >= start, offset < end else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let index = firstChunk + Int(truncatingIfNeeded: (offset &- base) / UInt64(ChunkPool.chunkSize))
    guard index < chunks.count else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let place = Self.place(offset)
    let part = min(UInt64(ChunkPool.chunkSize - place), end &- offset)
    return UnsafeRawBufferPointer(start: chunks[index] + place, count: Int(part))
  }

  /// Forgets the bytes before `offset`.
  mutating func drop(to offset: UInt64, pool: ChunkPool) {
    let target = min(max(offset, start), end)
    var chunkEnd = base &+ UInt64(ChunkPool.chunkSize)
    while chunkEnd <= target, firstChunk < chunks.count {
      pool.give(chunks[firstChunk])
      firstChunk += 1
      chunkEnd &+= UInt64(ChunkPool.chunkSize)
    }
    start = target
    if start == end {
      while firstChunk < chunks.count {
        pool.give(chunks[firstChunk])
        firstChunk += 1
      }
      chunks.removeAll(keepingCapacity: chunks.capacity <= 64)
      firstChunk = 0
    } else if firstChunk >= 64 {
      chunks.removeFirst(firstChunk)
      firstChunk = 0
    }
  }
}

/// Chunks that were used and will be again: at most `kept` of them, so that a burst is not held for ever.
final class ChunkPool {
  /// A power of two; larger than any packet, so that a packet's bytes lie in at most two chunks.
  static let chunkSize = 16 * 1024
  static let kept = 16

  private var free: [UnsafeMutableRawPointer] = []

  deinit { for chunk in free { chunk.deallocate() } }

  func take() -> UnsafeMutableRawPointer {
    free.popLast() ?? .allocate(byteCount: Self.chunkSize, alignment: 64)
  }

  func give(_ chunk: UnsafeMutableRawPointer) {
    if free.count < Self.kept { free.append(chunk) } else { chunk.deallocate() }
  }
}
