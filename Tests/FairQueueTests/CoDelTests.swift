import Testing
import Values

@testable import FairQueue

@Suite struct CoDelTests {
  static let interval = TimeSpan.milliseconds(100)

  /// Asks every `step` from `start` on; gives the times of the signals in milliseconds after the first question.
  static func signals(
    _ codel: inout CoDel, from start: Instant, for span: TimeSpan, step: TimeSpan = .microseconds(100),
    isAbove: (TimeSpan) -> Bool = { _ in true }
  ) -> [Double] {
    var times: [Double] = []
    var elapsed = TimeSpan.zero
    while elapsed < span {
      if codel.isSignalDue(isAbove: isAbove(elapsed), at: start + elapsed, interval: interval) {
        times.append(elapsed.inSeconds * 1000)
      }
      elapsed = elapsed + step
    }
    return times
  }

  @Test("The first signal comes after an interval, the next ones interval/√n after each other")
  func spacing() {
    var codel = CoDel()
    let times = Self.signals(&codel, from: Instant(nanoseconds: 5_000_000_000), for: .seconds(5))
    #expect(times.first == 100)
    var expected = 100.0
    for (index, time) in times.enumerated() {
      #expect(time >= expected - 0.001 && time < expected + 0.101, "signal \(index + 1) at \(time), not \(expected)")
      expected += 100 / Double(index + 1).squareRoot()
    }
    // The sum of 1/√k up to n is 2·√n - 1.46; 4.9 s are 49 intervals.
    #expect((630...640).contains(times.count))
  }

  @Test("Waits that come and go never cause a signal")
  func bursts() {
    var codel = CoDel()
    let times = Self.signals(&codel, from: Instant(nanoseconds: 0), for: .seconds(5)) {
      $0.nanoseconds % 99_000_000 >= 1_000_000
    }
    #expect(times == [])
  }

  @Test("One packet below the target ends the series")
  func ends() {
    var codel = CoDel()
    let times = Self.signals(&codel, from: Instant(nanoseconds: 0), for: .seconds(1)) {
      $0.nanoseconds < 400_000_000 || $0.nanoseconds > 401_000_000
    }
    #expect(times.contains { $0 > 350 && $0 < 400 })
    #expect(!times.contains { $0 >= 400 && $0 < 501 })
    #expect(times.contains { $0 > 501 })
  }

  @Test("Within 16 intervals a new series goes on at the pace of the last, later it begins anew")
  func resumes() {
    for (pause, isResumed) in [(TimeSpan.milliseconds(300), true), (.seconds(3), false)] {
      var codel = CoDel()
      let first = Self.signals(&codel, from: Instant(nanoseconds: 0), for: .seconds(1))
      codel.ranEmpty()
      let second = Self.signals(
        &codel, from: Instant(nanoseconds: 0) + .seconds(1) + pause, for: .milliseconds(300))
      #expect(second.first == 100)
      let gap = second[1] - second[0]
      // The first series began with 1: its length less that.
      let reached = isResumed ? Double(first.count - 1) : 1
      #expect(abs(gap - 100 / reached.squareRoot()) <= 0.1, "\(first.count) \(gap)")
    }
  }

  @Test("After a halt of the carrier one signal is due, not all that were missed")
  func halts() {
    var codel = CoDel()
    let start = Instant(nanoseconds: 0)
    _ = Self.signals(&codel, from: start, for: .milliseconds(300))
    let after = Self.signals(&codel, from: start + .seconds(10), for: .milliseconds(40))
    #expect(after == [0])
  }

  @Test("A clock that jumps, and a count that cannot grow, do not trap")
  func extremes() {
    var codel = CoDel()
    var dice = Dice(3)
    for _ in 0..<100_000 {
      let time = dice.below(4) == 0 ? Int64(bitPattern: dice.next()) : dice.below(2) == 0 ? .max : .min
      let interval = TimeSpan(nanoseconds: dice.below(2) == 0 ? 1 : .max)
      _ = codel.isSignalDue(isAbove: dice.below(10) > 0, at: Instant(nanoseconds: time), interval: interval)
    }
  }
}

/// The same law on whole packets, in the queue.
@Suite struct SignalTests {
  /// A flow that does not listen and fills the queue, sent at 10 Mb/s for three seconds; the times of the signals.
  private func overload(_ ecn: ECN, isIPv4: Bool, _ seen: ([UInt8]) -> Void) -> (
    times: [Double], drops: Int, marks: Int
  ) {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 22))
    let forge = Forge(isIPv4: isIPv4, ecn: ecn)
    let start = bench.now
    var number: UInt32 = 0
    var expected: UInt32 = 0
    var times: [Double] = []
    while bench.now - start < .seconds(3) {
      while bench.queue.count < 50 {
        bench.put(forge.packet(number, size: 1400))
        number += 1
      }
      let time = (bench.now - start).inSeconds * 1000
      let before = bench.queue.dropped + bench.queue.marked
      guard let packet = bench.transmit(bytesPerSecond: 1_250_000) else { break }
      seen(packet)
      let signals = Int(bench.queue.dropped + bench.queue.marked - before)
      times += [Double](repeating: time, count: signals)
      let missing = Int(Forge.number(of: packet) - expected)
      #expect(missing == (ecn == .none ? signals : 0))
      expected = Forge.number(of: packet) + 1
    }
    return (times, Int(bench.queue.dropped), Int(bench.queue.marked))
  }

  @Test(
    "Packets are dropped, or marked where the sender knows marks, and by the control law", arguments: [true, false])
  func law(_ isIPv4: Bool) {
    for ecn in [ECN.none, .ect0] {
      var wrong = 0
      var marked = 0
      let (times, drops, marks) = overload(ecn, isIPv4: isIPv4) { packet in
        if Forge.ecn(of: packet) == .ce { marked += 1 }
        if isIPv4, slowSum(Array(packet[..<20])) != 0xFFFF { wrong += 1 }
      }
      #expect(wrong == 0)
      #expect(ecn == .none ? marks == 0 && drops > 100 : drops == 0 && marks > 100)
      #expect(marked == marks)
      // The queue builds up at once, so patience begins with the first packets: 5 ms or so after the start.
      let first = times.first ?? 0
      #expect((100...110).contains(first), "\(first)")
      var expected = first
      for (index, time) in times.enumerated() {
        #expect(time >= expected - 0.01 && time <= expected + 1.2 + 0.01, "signal \(index + 1)")
        expected += 100 / Double(index + 1).squareRoot()
      }
    }
  }

  @Test("ECT(1) is marked from the target on, without waiting, and not dropped", arguments: [true, false])
  func scalable(_ isIPv4: Bool) {
    var before = 0
    var after = 0
    let (_, drops, marks) = overload(.ect1, isIPv4: isIPv4) { packet in
      if Forge.ecn(of: packet) == .ce { after += 1 } else { before += 1 }
    }
    #expect(drops == 0)
    #expect(marks == after)
    // The first 5 ms at 10 Mb/s.
    #expect((4...6).contains(before), "\(before)")
  }

  @Test("A queue of one packet is none: nothing is dropped however slow the link is")
  func slow() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 20))
    for number in 0..<100 as Range<UInt32> {
      bench.put(Forge().packet(number, size: 1400))
      bench.wait(.seconds(1))
      if number > 0 { #expect(bench.takeOne().map(Forge.number) == number - 1) }
    }
    #expect(bench.queue.dropped == 0)
  }

  @Test("After a halt of five seconds nearly all of what waited is delivered")
  func halt() {
    var bench = Bench(FairQueue(seed: 1, limit: 1 << 22))
    var number: UInt32 = 0
    func fill(_ bench: inout Bench) {
      while bench.queue.count < 300 {
        bench.put(Forge().packet(number, size: 1400))
        number += 1
      }
    }
    let start = bench.now
    while bench.now - start < .milliseconds(400) {
      fill(&bench)
      _ = bench.transmit(bytesPerSecond: 1_250_000)
    }
    fill(&bench)
    let before = bench.queue.dropped
    #expect(before > 2)
    bench.wait(.seconds(5))
    while bench.transmit(bytesPerSecond: 12_500_000) != nil {}
    #expect(bench.queue.dropped - before <= 3)
  }
}
