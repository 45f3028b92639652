import Testing
import Values

/// Batches: slots are checked against the arena, and a run of equal packets is what one segmented send takes.
@Suite struct PacketBatchTests {
  /// Slots with these lengths, back to back.
  private func batch(_ lengths: [Int], headroom: Int = 0) -> PacketBatch {
    var batch = PacketBatch(capacity: 65_536, maximumCount: 64, headroom: headroom)
    for (index, length) in lengths.enumerated() {
      let room = batch.reserve(length)
      #expect(room?.count == length)
      room?.initializeMemory(as: UInt8.self, repeating: UInt8(index))
    }
    return batch
  }

  private func lengths(_ batch: borrowing PacketBatch) -> [Int] { (0..<batch.count).map { batch.slot($0).length } }

  /// The byte that every packet was filled with.
  private func marks(_ batch: borrowing PacketBatch) -> [UInt8] { (0..<batch.count).compactMap { batch[$0].first } }

  @Test func `packets lie one after the other, headroom between`() {
    let batch = batch([3, 5, 1], headroom: 2)
    #expect((0..<3).map { batch.slot($0).offset } == [2, 7, 14])
    #expect(batch.end == 15)
    #expect(marks(batch) == [0, 1, 2])
    #expect(batch.isEmpty == false)
  }

  @Test func `slots outside the arena are refused`() {
    var batch = PacketBatch(capacity: 100, maximumCount: 3)
    for (offset, length) in [(-1, 5), (0, -1), (96, 5), (101, 0), (Int.max, 1), (1, Int.max), (Int.min, 1), (50, 51)] {
      let added = batch.appendSlot(offset: offset, length: length)
      #expect(!added, "\(offset), \(length)")
    }
    #expect(batch.isEmpty == true && batch.end == 0)
    for (offset, length) in [(95, 5), (100, 0), (0, 100)] {
      let added = batch.appendSlot(offset: offset, length: length)
      #expect(added, "\(offset), \(length)")
    }
    let fourth = batch.appendSlot(offset: 0, length: 1)
    #expect(!fourth)
    #expect(batch.count == 3 && batch.end == 100)
  }

  @Test func `a full batch has no room, and room again when it is emptied`() {
    var batch = PacketBatch(capacity: 10, maximumCount: 8, headroom: 2)
    #expect(batch.reserve(9) == nil)
    #expect(batch.reserve(-1) == nil)
    #expect(batch.reserve(8) != nil)
    #expect(batch.reserve(0) == nil)
    batch.removeAll()
    #expect(batch.isEmpty == true && batch.end == 0)
    let copied = [UInt8](1...8).withUnsafeBytes { batch.append(copying: $0) }
    #expect(copied)
    #expect(Array(batch[0]) == Array(1...8))
  }

  @Test func `the end of the last packet is given back`() {
    var batch = batch([10, 20])
    batch.shrinkLast(to: 5)
    #expect(lengths(batch) == [10, 5])
    #expect(batch.end == 15)
    batch.shrinkLast(to: 6)
    batch.shrinkLast(to: -1)
    #expect(lengths(batch) == [10, 5])
    batch.shrinkLast(to: 0)
    #expect(lengths(batch) == [10, 0] && batch.end == 10)
    var empty = PacketBatch(capacity: 1, maximumCount: 1)
    empty.shrinkLast(to: 0)
    empty.removeLast()
    #expect(empty.isEmpty == true)
  }

  @Test func `the last packet is taken out with its place`() {
    var batch = batch([10, 20], headroom: 2)
    batch.removeLast()
    #expect(lengths(batch) == [10] && batch.end == 12)
    batch.removeLast()
    #expect(batch.isEmpty == true && batch.end == 0)
  }

  @Test func `a packet in the middle goes and the others stay where they are`() {
    for gone in 0..<5 {
      var batch = batch([1, 2, 3, 4, 5])
      let end = batch.end
      batch.removeSlot(at: gone)
      let left = (0..<5).filter { $0 != gone }
      #expect(lengths(batch) == left.map { $0 + 1 })
      #expect(marks(batch) == left.map { UInt8($0) })
      #expect(batch.end == end)
    }
  }

  @Test func `a run ends with a longer, after a shorter, and before a gap`() {
    let batch = batch([100, 100, 100, 40, 100, 120, 120])
    #expect(batch.equalRun(from: 0, limit: 64, byteLimit: 65_535) == 4)
    #expect(batch.equalRun(from: 3, limit: 64, byteLimit: 65_535) == 1)
    #expect(batch.equalRun(from: 4, limit: 64, byteLimit: 65_535) == 1)
    #expect(batch.equalRun(from: 5, limit: 64, byteLimit: 65_535) == 2)
    #expect(batch.equalRun(from: 0, limit: 2, byteLimit: 65_535) == 2)
    #expect(batch.equalRun(from: 0, limit: 64, byteLimit: 300) == 3)
    #expect(batch.equalRun(from: 0, limit: 64, byteLimit: 299) == 2)
    #expect(batch.equalRun(from: 7, limit: 64, byteLimit: 65_535) == 0)
    #expect(batch.equalRun(from: -1, limit: 64, byteLimit: 65_535) == 0)
  }

  @Test func `headroom, a removed packet and an empty one end a run`() {
    #expect(batch([9, 9, 9], headroom: 2).equalRun(from: 0, limit: 64, byteLimit: 1_000) == 1)
    var holed = batch([9, 9, 9, 9])
    holed.removeSlot(at: 1)
    #expect(holed.equalRun(from: 0, limit: 64, byteLimit: 1_000) == 1)
    #expect(holed.equalRun(from: 1, limit: 64, byteLimit: 1_000) == 2)
    #expect(batch([9, 0, 9]).equalRun(from: 0, limit: 64, byteLimit: 1_000) == 1)
  }

  @Test(arguments: 1...40 as ClosedRange<UInt64>) func `runs cover a batch and each is what a segmented send takes`(
    seed: UInt64
  ) {
    var random = SeededGenerator(seed)
    let sizes = (0..<random.number(1...60)).map { _ in [1, 7, 100, 100, 100, 900][random.number(0...5)] }
    let batch = batch(sizes)
    let limit = random.number(1...70)
    let byteLimit = random.number(900...4_000)
    var start = 0
    while start < batch.count {
      let run = batch.equalRun(from: start, limit: limit, byteLimit: byteLimit)
      #expect(run >= 1 && run <= limit)
      let taken = sizes[start..<(start + run)]
      #expect(taken.reduce(0, +) <= byteLimit)
      #expect(taken.dropLast().allSatisfy { $0 == taken.first } && (taken.last ?? 0) <= (taken.first ?? 0))
      let next = start + run
      if next < sizes.count, run < limit, taken.reduce(0, +) + sizes[next] <= byteLimit {
        // It could not have been longer.
        #expect(taken.last != taken.first || sizes[next] > (taken.first ?? 0))
      }
      start = next
    }
    #expect(start == batch.count)
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>) func `whatever is done to it, a batch stays inside its arena`(
    seed: UInt64
  ) {
    var random = SeededGenerator(seed)
    var batch = PacketBatch(capacity: 500, maximumCount: 12, headroom: random.number(0...3))
    for _ in 0..<500 {
      switch random.number(0...6) {
      case 0, 1: _ = batch.reserve(random.number(0...80))
      case 2: _ = batch.appendSlot(offset: random.number(-5...510), length: random.number(-5...510))
      case 3: batch.shrinkLast(to: random.number(-2...90))
      case 4: batch.removeLast()
      case 5 where !batch.isEmpty: batch.removeSlot(at: random.number(0...batch.count - 1))
      default: if random.chance(10) { batch.removeAll() }
      }
      check(batch.count <= 12 && batch.end >= 0 && batch.end <= 500, "seed \(seed)")
      for index in 0..<batch.count {
        let slot = batch.slot(index)
        check(slot.offset >= 0 && slot.length >= 0 && slot.offset + slot.length <= 500, "seed \(seed)")
      }
    }
  }

  @Test func `packets with gaps between them become runs, whole and in order`() {
    var batch = batch([8, 8, 8, 3, 8, 8, 9, 2, 0, 1], headroom: 2)
    batch.closeGaps()
    #expect(lengths(batch) == [8, 8, 8, 3, 8, 8, 9, 2, 0, 1])
    let filled = (0..<batch.count).allSatisfy { index in batch[index].allSatisfy { $0 == UInt8(index) } }
    #expect(filled)
    var runs: [Int] = []
    var index = 0
    while index < batch.count {
      let run = max(1, batch.equalRun(from: index, limit: 64, byteLimit: 65_000))
      runs.append(run)
      index += run
    }
    #expect(runs == [4, 2, 2, 1, 1])
  }

  @Test func `packets that lie back to back, apart backwards or alone stay where they are`() {
    var whole = batch([8, 8, 4])
    whole.closeGaps()
    #expect((0..<3).map { whole.slot($0).offset } == [0, 8, 16])
    var backwards = PacketBatch(capacity: 100, maximumCount: 4)
    let added = backwards.appendSlot(offset: 50, length: 10) && backwards.appendSlot(offset: 20, length: 10)
    #expect(added)
    backwards.closeGaps()
    #expect((0..<2).map { backwards.slot($0).offset } == [50, 20])
    var empty = PacketBatch(capacity: 10, maximumCount: 1)
    empty.closeGaps()
    #expect(empty.isEmpty == true)
  }

  @Test func `tailroom is padding up to a limit and a trailer, and packets that grow into it lie back to back`() {
    let tailroom = PacketBatch.Tailroom(padding: 16, limit: 100, trailer: 16)
    #expect([0, 1, 15, 16, 17, 96, 97, 100, 101].map(tailroom.after) == [16, 31, 17, 16, 31, 16, 19, 16, 16])
    #expect(PacketBatch.Tailroom.none.after(77) == 0)
    var batch = PacketBatch(capacity: 1_000, maximumCount: 9, headroom: 16, tailroom: tailroom)
    for size in [100, 100, 100, 100, 50] { check(batch.reserve(size) != nil, "\(size)") }
    for index in 0..<4 { check(batch.widenSlot(index, to: index, before: 16, length: 132), "\(index)") }
    check(batch.widenSlot(4, to: 4, before: 16, length: 96), "the last")
    #expect(batch.equalRun(from: 0, limit: 9, byteLimit: 10_000) == 5)
    #expect(batch.end == 4 * 132 + 96)
  }

  @Test func `a packet whose tailroom does not fit is not taken, and taking one back gives its tailroom back`() {
    var batch = PacketBatch(
      capacity: 64, maximumCount: 4, tailroom: PacketBatch.Tailroom(padding: 1, limit: 0, trailer: 10))
    check(batch.reserve(55) == nil, "55 bytes")
    check(batch.reserve(20) != nil, "20 bytes")
    #expect(batch.end == 30)
    batch.shrinkLast(to: 5)
    #expect(batch.end == 15)
    check(batch.reserve(40) == nil, "40 bytes")
    check(batch.reserve(39) != nil, "39 bytes")
    batch.removeLast()
    #expect(batch.end == 15)
    batch.removeLast()
    #expect(batch.end == 0)
  }

  @Test func `going through a batch keeps what is good, in order and cut`() {
    var batch = batch([8, 9, 10, 11])
    batch.moveSlot(1, to: 0, skipping: 2, length: 5)
    batch.moveSlot(3, to: 1, skipping: 0, length: 11)
    batch.keepFirst(2)
    #expect(lengths(batch) == [5, 11])
    #expect((0..<2).map { batch.slot($0).offset } == [10, 27])
    let isWide = batch.widenSlot(1, to: 1, before: 28, length: 40)
    let isLong = batch.widenSlot(1, to: 1, before: 0, length: 1 << 20)
    let isShort = batch.widenSlot(1, to: 1, before: 4, length: 3)
    #expect(!isWide && !isLong && !isShort)
    batch.keepFirst(0)
    #expect(batch.isEmpty == true)
  }
}
