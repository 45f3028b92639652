import Testing
import Values

@testable import FairQueue

/// A sender with a window that grows by a packet a round trip and is halved by a loss or a mark: Reno without its
/// details. Every packet that arrives is acknowledged; a gap in the numbers is a loss, known a round trip later.
private struct Sender {
  let forge: Forge
  let roundTrip: TimeSpan
  var window = 10.0
  var threshold = Double.infinity
  var next: UInt32 = 0
  var expected: UInt32 = 0
  var recovery: UInt32 = 0
  var flying = 0
  var heard: Instant
  var acknowledgments: [(time: Instant, number: UInt32, isMarked: Bool)] = []
  var read = 0
  var delivered = 0
  var sendTimes: [Instant] = []

  init(port: UInt16, ecn: ECN, roundTrip: TimeSpan, at now: Instant) {
    forge = Forge(port: port, ecn: ecn)
    self.roundTrip = roundTrip
    heard = now
  }

  /// When it acts next by itself.
  var due: Instant {
    read < acknowledgments.count ? acknowledgments[read].time : heard + .seconds(1)
  }

  mutating func act(_ bench: inout Bench) {
    let now = due
    if read < acknowledgments.count {
      let (_, number, isMarked) = acknowledgments[read]
      read += 1
      heard = now
      if number >= expected {
        let lost = Int(number - expected)
        flying -= lost + 1
        if isMarked, lost == 0, forge.ecn == .ect1 {
          // As DCTCP and Prague in the end do: half a packet for each mark.
          window = max(2, window - 0.5)
          threshold = window
        } else if lost > 0 || isMarked {
          if number - UInt32(lost) >= recovery {
            window = max(2, window / 2)
            threshold = window
            recovery = next
          }
        } else {
          window += window < threshold ? 1 : 1 / window
        }
        expected = number + 1
      }
    } else {
      // Nothing for a second: all that flew is lost.
      heard = now
      flying = 0
      expected = next
      recovery = next
      threshold = max(2, window / 2)
      window = 2
    }
    send(&bench, at: now)
  }

  mutating func send(_ bench: inout Bench, at now: Instant) {
    while Double(flying) < window {
      bench.put(forge.packet(next, size: 1400), at: now)
      sendTimes.append(now)
      next += 1
      flying += 1
    }
  }
}

private struct Outcome {
  /// Waits in the queue after the warm-up, in milliseconds, sorted.
  var waits: [Double] = []
  /// Of the link, after the warm-up.
  var use = 0.0
  var dropped: UInt64 = 0
  var marked: UInt64 = 0
  /// Bytes of each sender after the warm-up.
  var shares: [Int] = []

  func wait(_ part: Double) -> Double { waits[min(waits.count - 1, Int(Double(waits.count) * part))] }
}

/// Senders on one link, for a while; what is before the warm-up's end is not counted.
private func run(
  _ queue: consuming FairQueue, megabits: Double, ecn: [ECN], roundTrip: TimeSpan, seconds: Int64,
  warmUp: Int64
) -> Outcome {
  let rate = megabits * 1e6 / 8
  var bench = Bench(queue)
  let start = bench.now
  let counted = start + .seconds(warmUp)
  let end = start + .seconds(seconds)
  var outcome = Outcome()
  var senders = ecn.enumerated().map { Sender(port: UInt16($0 + 1), ecn: $1, roundTrip: roundTrip, at: start) }
  outcome.shares = [Int](repeating: 0, count: senders.count)
  for index in senders.indices { senders[index].send(&bench, at: start) }
  var before: (UInt64, UInt64) = (0, 0)
  while bench.now < end {
    while let index = senders.indices.min(by: { senders[$0].due < senders[$1].due }), senders[index].due <= bench.now {
      senders[index].act(&bench)
    }
    let from = bench.now
    if from < counted { before = (bench.queue.dropped, bench.queue.marked) }
    guard let packet = bench.transmit(bytesPerSecond: rate) else {
      bench.now = senders.map(\.due).min() ?? end
      continue
    }
    let index = Int(Forge.port(of: packet)) - 1
    let number = Forge.number(of: packet)
    if from >= counted {
      outcome.waits.append((from - senders[index].sendTimes[Int(number)]).inSeconds * 1000)
      outcome.shares[index] += packet.count
    }
    senders[index].acknowledgments.append(
      (time: bench.now + roundTrip, number: number, isMarked: Forge.ecn(of: packet) == .ce))
  }
  outcome.dropped = bench.queue.dropped - before.0
  outcome.marked = bench.queue.marked - before.1
  outcome.waits.sort()
  outcome.use = Double(outcome.shares.reduce(0, +)) / (Double(seconds - warmUp) * rate)
  return outcome
}

@Suite struct LinkTests {
  /// What half and 95 % of the packets may wait at most in ms, and how much of the link must be used.
  struct Case: Sendable {
    let megabits: Double
    let roundTrip: Int64
    let seconds: Int64
    let warmUp: Int64
    let half: (drops: Double, marks: Double)
    let most: Double
    let use: Double
  }

  // At 1 Mb/s a packet alone takes 11 ms, and what is marked instead of dropped stays in the queue.
  static let cases = [
    Case(megabits: 1, roundTrip: 100, seconds: 200, warmUp: 30, half: (30, 60), most: 80, use: 0.9),
    Case(megabits: 10, roundTrip: 40, seconds: 60, warmUp: 10, half: (7.5, 7.5), most: 20, use: 0.9),
    Case(megabits: 100, roundTrip: 20, seconds: 20, warmUp: 5, half: (7.5, 7.5), most: 15, use: 0.85),
  ]

  @Test("Two senders that listen keep the queue near the target and the link busy", arguments: cases.indices)
  func standing(_ index: Int) {
    let example = Self.cases[index]
    for ecn in [ECN.none, .ect0] {
      let outcome = run(
        FairQueue(seed: 9, limit: 1 << 23), megabits: example.megabits, ecn: [ecn, ecn],
        roundTrip: .milliseconds(example.roundTrip), seconds: example.seconds, warmUp: example.warmUp)
      #expect(outcome.wait(0.5) <= (ecn == .none ? example.half.drops : example.half.marks))
      #expect(outcome.wait(0.95) <= example.most)
      #expect(outcome.use >= example.use)
      let share = Double(outcome.shares[0]) / Double(outcome.shares[0] + outcome.shares[1])
      #expect((0.4...0.6).contains(share), "\(share)")
      #expect(ecn == .none ? outcome.marked == 0 && outcome.dropped > 5 : outcome.dropped == 0 && outcome.marked > 5)
    }
  }

  @Test("A scalable sender, told by ECT(1), waits no longer, loses nothing, and shares with others")
  func scalable() {
    let alone = run(
      FairQueue(seed: 9, limit: 1 << 23), megabits: 20, ecn: [.ect1, .ect1], roundTrip: .milliseconds(20), seconds: 30,
      warmUp: 5)
    let classic = run(
      FairQueue(seed: 9, limit: 1 << 23), megabits: 20, ecn: [.ect0, .ect0], roundTrip: .milliseconds(20), seconds: 30,
      warmUp: 5)
    let mixed = run(
      FairQueue(seed: 9, limit: 1 << 23), megabits: 20, ecn: [.ect1, .ect0], roundTrip: .milliseconds(20), seconds: 30,
      warmUp: 5)
    #expect(alone.dropped == 0 && alone.marked > 100)
    #expect(alone.wait(0.5) < 7.5 && alone.wait(0.95) <= classic.wait(0.95))
    #expect(alone.use >= 0.95)
    let share = Double(mixed.shares[0]) / Double(mixed.shares[0] + mixed.shares[1])
    #expect((0.4...0.6).contains(share), "\(share)")
  }

  @Test("Without signals the same senders fill the queue: the model can show what CoDel is for")
  func withoutSignals() {
    let outcome = run(
      FairQueue(seed: 9, limit: 1 << 20, interval: .seconds(100_000)), megabits: 10, ecn: [.none, .none],
      roundTrip: .milliseconds(40), seconds: 60, warmUp: 10)
    #expect(outcome.wait(0.5) > 200, "\(outcome.wait(0.5))")
  }

  @Test("A sender that heeds no marks does not slow down one that does")
  func deaf() {
    var bench = Bench(FairQueue(seed: 9, limit: 1 << 20))
    let rate = 1.25e6
    var sender = Sender(port: 1, ecn: .ect0, roundTrip: .milliseconds(40), at: bench.now)
    let start = bench.now
    sender.send(&bench, at: start)
    var flood: UInt32 = 0
    var shares = [0, 0]
    while bench.now - start < .seconds(30) {
      while sender.due <= bench.now { sender.act(&bench) }
      // Twice what the link takes.
      let due = UInt32((bench.now - start).inSeconds * rate * 2 / 1400)
      while flood < due {
        bench.put(Forge(port: 2, ecn: .ect0).packet(flood, size: 1400))
        flood += 1
      }
      guard let packet = bench.transmit(bytesPerSecond: rate) else {
        bench.wait(.microseconds(100))
        continue
      }
      let port = Forge.port(of: packet)
      shares[Int(port) - 1] += packet.count
      if port == 1 {
        sender.acknowledgments.append(
          (
            time: bench.now + sender.roundTrip, number: Forge.number(of: packet),
            isMarked: Forge.ecn(of: packet) == .ce
          ))
      }
    }
    #expect(Double(shares[0]) / Double(shares[0] + shares[1]) > 0.4, "\(shares)")
    #expect(bench.queue.overflowed > 1000)
  }
}
