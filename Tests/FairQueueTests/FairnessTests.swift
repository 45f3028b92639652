import Testing
import Values

@testable import FairQueue

@Suite struct FairnessTests {
  /// Fills up a flow's backlog to a number of packets, whatever leaves.
  private struct Bulk {
    let forge: Forge
    let size: Int
    let backlog: Int
    var number: UInt32 = 0
    var sent = 0

    init(port: UInt16, size: Int, backlog: Int = 30, ecn: ECN = .none) {
      forge = Forge(port: port, ecn: ecn)
      self.size = size
      self.backlog = backlog
    }

    mutating func fill(_ bench: inout Bench) {
      let packet = forge.packet(number, size: size)
      let missing = backlog - bench.backlog(packet) / PacketLog.size(ofRecord: size)
      for _ in 0..<max(0, missing) {
        bench.put(forge.packet(number, size: size))
        number += 1
      }
    }
  }

  @Test("Two flows that both want more get the same, whatever the sizes of their packets and their appetite")
  func halves() {
    for (rate, sizes) in [
      (1e6 / 8, (1400, 500)), (1e7 / 8, (1400, 1400)), (1e8 / 8, (1400, 300)), (1e9 / 8, (9000, 200)),
    ] {
      var bench = Bench(FairQueue(seed: 3, limit: 1 << 22))
      var bulks = [Bulk(port: 1, size: sizes.0, backlog: 100), Bulk(port: 2, size: sizes.1, backlog: 20)]
      let bytes = 1_500_000
      var sent = 0
      while sent < bytes {
        for index in bulks.indices { bulks[index].fill(&bench) }
        guard let packet = bench.transmit(bytesPerSecond: rate) else { break }
        let flow = Int(Forge.port(of: packet)) - 1
        bulks[flow].sent += packet.count
        sent += packet.count
      }
      // A packet's bookkeeping counts, so 200 bytes pay for 224.
      let share = Double(bulks[0].sent) / Double(sent)
      #expect((0.47...0.54).contains(share), "\(share) at \(rate)")
    }
  }

  @Test(
    "A ping beside bulk flows waits a packet mostly, and never more than a quantum of each", arguments: [1, 10, 100])
  func ping(_ megabits: Int) {
    let rate = Double(megabits) * 1e6 / 8
    let number = 4
    var bench = Bench(FairQueue(seed: 5, limit: 1 << 22))
    var bulks = (0..<number).map { Bulk(port: UInt16($0 + 1), size: 1400) }
    let ping = Forge(protocolNumber: 17, port: 999)
    var dice = Dice(11)
    var waits: [Double] = []
    var queued: Instant?
    var nextPing = bench.now
    let end = bench.now + (megabits == 1 ? .seconds(60) : .seconds(8))
    while bench.now < end {
      for index in bulks.indices { bulks[index].fill(&bench) }
      if bench.now >= nextPing, queued == nil {
        bench.put(ping.packet(0, size: 84), at: nextPing)
        queued = nextPing
        nextPing = nextPing + .milliseconds(Int64(20 + dice.below(100)))
      }
      guard let packet = bench.takeOne() else { break }
      if Forge.port(of: packet) == 999, let since = queued {
        waits.append((bench.now - since).inSeconds)
        queued = nil
      }
      bench.wait(TimeSpan(nanoseconds: Int64(Double(packet.count) / rate * 1e9)))
    }
    #expect(waits.count > 50)
    waits.sort()
    // The quantum is what the link takes in a millisecond, but a packet at least; the last packet of a turn may exceed
    // it, and one is on the link already.
    let quantum = max(1514, min(rate / 1000 * 1.1, 24_000))
    let bound = (Double(number) * (quantum + 1424) + 1400) / rate
    let median = waits[waits.count / 2] * 1000
    let worst = (waits.last ?? 0) * 1000
    #expect(worst <= bound * 1000, "median \(median), worst \(worst), bound \(bound * 1000) ms")
    #expect(median <= 2 * 1400 / rate * 1000)
  }

  @Test("A flow that comes back before the others had a turn does not pass by them again")
  func noStarvation() {
    var bench = Bench(FairQueue(seed: 5, limit: 1 << 22, quantum: 1514...1514))
    let bulk = Forge(port: 1)
    let eager = Forge(port: 2)
    for number in 0..<100 as Range<UInt32> { bench.put(bulk.packet(number, size: 1400)) }
    // Always one small packet there, a new one as soon as the last has left.
    var shares = [0, 0]
    for number in 0..<2000 as Range<UInt32> {
      if bench.backlog(eager.packet(0, size: 700)) == 0 { bench.put(eager.packet(number, size: 700)) }
      guard let packet = bench.takeOne() else { break }
      shares[Int(Forge.port(of: packet)) - 1] += packet.count
      if Forge.port(of: packet) == 1 { bench.put(bulk.packet(100 + number, size: 1400)) }
    }
    #expect(shares[0] >= shares[1], "\(shares)")
    #expect(shares[1] * 3 >= shares[0])
  }

  @Test("Packets of a flow leave in runs of a quantum, which grows with the link from 1 packet to 16")
  func runs() {
    for (rate, expected) in [(1e6 / 8, 2), (1e8 / 8, 9), (1e9 / 8, 17)] {
      var bench = Bench(FairQueue(seed: 3, limit: 1 << 23))
      var bulks = [Bulk(port: 1, size: 1400, backlog: 60), Bulk(port: 2, size: 1400, backlog: 60)]
      var runs: [Int] = []
      var last: UInt16 = 0
      for _ in 0..<2000 {
        for index in bulks.indices { bulks[index].fill(&bench) }
        guard let packet = bench.transmit(bytesPerSecond: rate) else { break }
        if Forge.port(of: packet) == last, !runs.isEmpty { runs[runs.count - 1] += 1 } else { runs.append(1) }
        last = Forge.port(of: packet)
      }
      let late = runs.suffix(21).dropLast()
      #expect(late.allSatisfy { (expected - 1...expected).contains($0) }, "\(rate): \(late)")
    }
  }

  @Test("Someone who sends fragments gets the share of one flow")
  func fragments() {
    var bench = Bench(FairQueue(seed: 3, limit: 1 << 22))
    var bulk = Bulk(port: 1, size: 1400)
    var shares = [0, 0]
    for number in 0..<3000 as Range<UInt32> {
      bulk.fill(&bench)
      // Two first fragments for each packet that leaves, each of another datagram.
      for part in 0..<2 as Range<UInt32> {
        var fragment = Forge(protocolNumber: 17, port: 2).packet(0, size: 1400)
        let identification = number * 2 + part
        fragment[4] = UInt8(truncatingIfNeeded: identification >> 8)
        fragment[5] = UInt8(truncatingIfNeeded: identification)
        fragment[6] = 0x20
        Forge.complete(&fragment)
        bench.put(fragment)
      }
      guard let packet = bench.transmit(bytesPerSecond: 1_250_000) else { break }
      shares[Int(Forge.port(of: packet)) - 1] += 1
    }
    let share = Double(shares[0]) / Double(shares[0] + shares[1])
    #expect((0.48...0.52).contains(share), "\(shares)")
  }
}

@Suite struct BatchTests {
  @Test("A batch is filled up to its slots, its bytes, or the bytes asked for; each packet behind the headroom")
  func limits() {
    let forge = Forge()
    for (capacity, slots, atMost, expected) in [
      (100_000, 5, Int.max, 5), (1402 * 4, 100, .max, 4), (1402 * 4 - 1, 100, .max, 3), (100_000, 100, 1400 * 3, 3),
      (100_000, 100, 1400 * 3 - 1, 2), (100_000, 100, 0, 1), (100_000, 100, -5, 1), (100_000, 100, .max, 20),
    ] {
      var bench = Bench(FairQueue(seed: 1, limit: 1 << 20), capacity: capacity, maximumCount: slots, headroom: 2)
      for number in 0..<20 as Range<UInt32> { bench.put(forge.packet(number, size: 1400)) }
      let packets = bench.take(atMost: atMost)
      #expect(packets == (0..<UInt32(expected)).map { forge.packet($0, size: 1400) })
      for index in 0..<packets.count { #expect(bench.batch.slot(index).offset == index * 1402 + 2) }
      #expect(bench.queue.count == 20 - expected)
      #expect(bench.queue.bytes == (20 - expected) * 1400)
    }
  }

  @Test("What is in the batch already stays there, and a full batch takes nothing and loses nothing")
  func appends() {
    var queue = FairQueue(seed: 1, limit: 1 << 20)
    var source = PacketBatch(capacity: 10_000, maximumCount: 10, headroom: 3)
    let packets = (0..<6 as Range<UInt32>).map { Forge().packet($0, size: 100 + Int($0)) }
    for packet in packets { #expect(packet.withUnsafeBytes { source.append(copying: $0) }) }
    let now = Instant(nanoseconds: 0)
    queue.enqueue(contentsOf: source, at: now)
    #expect(queue.count == 6)
    var batch = PacketBatch(capacity: 10_000, maximumCount: 3)
    #expect([9, 9].withUnsafeBytes { batch.append(copying: $0) })
    #expect(queue.dequeue(into: &batch, at: now) == 2)
    #expect(queue.dequeue(into: &batch, at: now) == 0)
    #expect((1..<3).map { Array(batch[$0]) } == Array(packets[..<2]))
    batch.removeAll()
    #expect(queue.dequeue(into: &batch, at: now) == 3)
    batch.removeAll()
    #expect(queue.dequeue(into: &batch, at: now) == 1)
    #expect(Array(batch[0]) == packets[5])
    let isEmpty = queue.isEmpty
    #expect(isEmpty && queue.enqueued == 6 && queue.dequeued == 6)
  }

  @Test("A packet that no batch can take does not block the others")
  func tooLarge() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 20), capacity: 2000, maximumCount: 10)
    bench.put(Forge(port: 1).packet(0, size: 3000))
    bench.put(Forge(port: 1).packet(1, size: 1000))
    #expect(bench.take() == [Forge(port: 1).packet(1, size: 1000)])
    #expect(bench.queue.overflowed == 1)
    #expect(bench.queue.count == 0)
  }
}
