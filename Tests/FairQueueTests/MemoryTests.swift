import Testing
import Values

@testable import FairQueue

@Suite struct OverflowTests {
  @Test("At the limit the oldest packets of the fattest flow go, and nobody else's")
  func fattest() {
    var bench = Bench(FairQueue(seed: 1, limit: 200_000))
    let thin = (2..<10 as Range<UInt16>).map { Forge(port: $0) }
    let fat = Forge(port: 1)
    for forge in thin { for number in 0..<3 as Range<UInt32> { bench.put(forge.packet(number, size: 500)) } }
    for number in 0..<1000 as Range<UInt32> { bench.put(fat.packet(number, size: 1400)) }
    for forge in thin { bench.put(forge.packet(3, size: 500)) }
    #expect(bench.queue.overflowed > 800)
    #expect(bench.queue.bytes <= 200_000)
    var seen: [UInt16: [UInt32]] = [:]
    while let packet = bench.takeOne() { seen[Forge.port(of: packet), default: []].append(Forge.number(of: packet)) }
    for forge in thin { #expect(seen[forge.port] == [0, 1, 2, 3]) }
    let rest = seen[1] ?? []
    #expect(rest == Array((1000 - UInt32(rest.count))..<1000))
    #expect(rest.count == 1000 - Int(bench.queue.overflowed))
    #expect(rest.count > 100)
  }

  @Test("A packet larger than the limit or than IP allows is refused, and costs nobody else a place")
  func larger() {
    for (limit, size) in [(10_000, 10_001), (1 << 20, 65_576)] {
      var bench = Bench(FairQueue(seed: 1, limit: limit))
      bench.put(Forge().packet(0, size: 100))
      bench.put([UInt8](repeating: 0x45, count: size))
      #expect(bench.queue.count == 1)
      #expect(bench.queue.overflowed == 1)
      #expect(bench.queue.enqueued == 2)
    }
  }

  @Test("The largest packets pass as they are")
  func largest() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 20))
    var dice = Dice(1)
    for size in [65_575, 65_535, 40_000, 2032, 2016, 2017, 4096, 16, 1, 0] {
      let packet = dice.bytes(size)
      bench.put(packet)
      #expect(bench.takeOne() == packet)
    }
  }

  @Test("Size classes grow with the size, and those of one class differ by less than an eighth")
  func classes() {
    var last = 0
    var smallest = 0
    for units in 1..<300_000 {
      let size = BacklogIndex.sizeClass(of: units * 16)
      #expect(size == last || size == last + 1)
      if size != last { smallest = units }
      #expect(units * 8 <= smallest * 9)
      last = size
    }
    #expect(BacklogIndex.sizeClass(of: 0) == 0)
    #expect(BacklogIndex.sizeClass(of: FairQueue.maximumLimit + 70_000) < BacklogIndex.classes)
    #expect(BacklogIndex.sizeClass(of: .max) < BacklogIndex.classes)
  }
}

@Suite struct MemoryTests {
  @Test("A queue that has never had a packet, or was emptied and trimmed, holds nothing")
  func idle() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 22))
    #expect(bench.queue.footprint == 0)
    bench.put(Forge().packet(0, size: 84))
    // 2 KB of buckets, a chunk, and a few flows.
    #expect(bench.queue.footprint < 6_000)
    for port in 0..<2000 as Range<UInt16> { bench.put(Forge(port: port).packet(0, size: 1400)) }
    #expect(bench.queue.footprint > 2_000_000)
    while bench.takeOne() != nil {}
    #expect(bench.queue.footprint > 2_000_000)
    bench.queue.trim()
    #expect(bench.queue.footprint == 0)
    // And it works as before.
    bench.put(Forge().packet(5, size: 84))
    #expect(bench.takeOne() == Forge().packet(5, size: 84))
  }

  @Test("Trimming a queue with packets gives back what they do not need, and keeps them")
  func partly() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 22))
    for number in 0..<1000 as Range<UInt32> { bench.put(Forge().packet(number, size: 1400)) }
    for _ in 0..<990 { #expect(bench.takeOne() != nil) }
    bench.queue.trim()
    #expect(bench.queue.footprint < 20_000)
    #expect(bench.take().map(Forge.number) == Array(990..<1000))
  }

  @Test("With flows that go on as they are, nothing is allocated")
  func steady() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 20))
    var allocations = 0
    for round in 0..<20_000 as Range<UInt32> {
      if round == 1_000 { allocations = bench.queue.allocations }
      for port in 0..<20 as Range<UInt16> where bench.queue.count < 400 {
        bench.put(Forge(isIPv4: port % 2 == 0, port: port).packet(round, size: 60 + Int(port) * 70))
      }
      _ = bench.take(atMost: 3000)
      bench.wait(.microseconds(100))
      if round % 500 == 0 { while bench.takeOne() != nil {} }
    }
    #expect(bench.queue.allocations == allocations)
    #expect(bench.queue.dequeued > 20_000)
  }

  @Test("What is held stays within its bound, and so do the allocations ever made")
  func bounded() {
    let (limit, flows) = (300_000, 64)
    var bench = Bench(FairQueue(seed: 1, limit: limit, flows: flows))
    var dice = Dice(5)
    for round in 0..<60_000 {
      let forge = Forge(port: UInt16(dice.below(200)))
      bench.put(forge.packet(UInt32(round), size: 40 + dice.below(dice.below(4) == 0 ? 9000 : 1400)))
      if dice.below(3) == 0 { _ = bench.take(atMost: dice.below(8000)) }
      if round % 7000 == 0 { while bench.takeOne() != nil {} }
    }
    #expect(bench.queue.overflowed > 100)
    // The limit and the packet that goes beyond it; two chunks that are not full, and the entry, for each flow.
    #expect(bench.queue.footprint <= limit + 9056 + flows * (4096 + 256))
    #expect(bench.queue.allocations <= (limit + 9056) / 2032 + flows * 2 + 10)
  }

  @Test("Numbers out of range are brought into it")
  func ranges() {
    var bench = Bench(
      FairQueue(
        seed: 0, limit: -1, flows: -1, target: TimeSpan(nanoseconds: -1), interval: TimeSpan(nanoseconds: .min),
        quantum: -5...(-1)))
    #expect(bench.queue.limit == 4096)
    for number in 0..<100 as Range<UInt32> {
      bench.put(Forge(port: UInt16(number)).packet(number, size: 100))
      if number % 3 == 0 { #expect(bench.takeOne() != nil) }
    }
    bench.now = Instant(nanoseconds: .min)
    _ = bench.takeOne()
    bench.now = .distantFuture
    _ = bench.takeOne()
    let large = FairQueue(seed: 0, limit: .max, flows: .max)
    #expect(large.limit == 1 << 30)
  }
}
