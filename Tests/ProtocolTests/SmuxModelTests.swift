import Testing
import Values

@testable import Smux

/// Two ends of a session against a model that knows only what was written: whatever the order of calls and however the
/// bytes are cut, each stream carries its bytes in order, ends where it was ended, and nothing is left behind.
@Suite("Smux: two ends and a model")
struct SmuxModelTests {
  @Test("Streams carry their bytes in order and end where they were ended", arguments: bothSmuxVersions)
  func model(_ version: SmuxVersion) throws {
    var carried = 0
    var ended = 0
    for seed: UInt64 in 1...30 {
      var world = SmuxWorld(seed, version)
      try world.run(steps: 300)
      try world.settle()
      carried += world.carried
      ended += world.ends.reduce(0) { $0 + $1.ended.count }
    }
    #expect(carried > 1_000_000)
    #expect(ended > 100)
  }
}

private struct SmuxWorld {
  private let seed: UInt64
  private var random: SeededGenerator
  /// The client and the server.
  let ends: [SmuxEnd]
  /// What is under way from each end.
  private var wires: [[UInt8]] = [[], []]
  /// By the writing end: what it wrote on each stream, and whether that was all.
  private var written: [[UInt32: [UInt8]]] = [[:], [:]]
  private var finished: [Set<UInt32>] = [[], []]
  private var closed: [Set<UInt32>] = [[], []]
  private var opened: [[UInt32]] = [[], []]
  private var now = Instant(nanoseconds: 0)
  private let limit = 6
  private let leaps: Bool

  init(_ seed: UInt64, _ version: SmuxVersion) {
    self.seed = seed
    random = SeededGenerator(seed)
    leaps = random.chance(2)
    let settings = SmuxSettings(
      version: version, keepaliveInterval: leaps ? nil : .seconds(10),
      maximumFrame: Int.random(in: 1...(random.chance(3) ? 40_000 : 200), using: &random),
      receiveBuffer: Int.random(in: 500...(random.chance(2) ? 4_000_000 : 9_000), using: &random),
      streamBuffer: Int.random(in: 2...(random.chance(2) ? 100_000 : 400), using: &random), maximumStreams: limit)
    ends = [SmuxEnd(.client, settings), SmuxEnd(.server, settings)]
    for end in ends { end.reads = false }
  }

  var carried: Int { ends.reduce(0) { $0 + $1.data.values.reduce(0) { $0 + $1.count } } }

  /// Streams that the end knows and has not closed.
  private func known(_ side: Int) -> [UInt32] {
    (opened[side] + ends[side].opened).filter { !closed[side].contains($0) }
  }

  mutating func run(steps: Int) throws {
    for _ in 0..<steps {
      let side = Int.random(in: 0...1, using: &random)
      let end = ends[side]
      let stream = known(side).randomElement(using: &random)
      switch Int.random(in: 0..<20, using: &random) {
      case 0 where opened[side].filter({ !closed[side].contains($0) }).count < limit:
        opened[side].append(try end.open())
      case 1...5: if let stream { write(side, stream) }
      case 6: while let writer = end.nextWriter() { if !random.chance(4) { write(side, writer) } }
      case 7...10: if let stream { try read(side, stream, Int.random(in: 1...30_000, using: &random)) }
      case 11 where random.chance(3):
        if let stream {
          end.session.finish(stream)
          finished[side].insert(stream)
        }
      case 12 where random.chance(3):
        if let stream {
          end.session.close(stream)
          closed[side].insert(stream)
          finished[side].insert(stream)
        }
      case 13: try pass(Int64.random(in: 0...(leaps && random.chance(5) ? 6_000 : 10), using: &random))
      default:
        send(side, Int.random(in: 1...(random.chance(3) ? 200_000 : 50), using: &random))
        try deliver(to: 1 - side, Int.random(in: 1...(random.chance(2) ? 100_000 : 20), using: &random))
      }
    }
  }

  /// Both ends read until nothing moves; then everything that was written must have been read.
  mutating func settle() throws {
    var isMoving = true
    while isMoving {
      isMoving = false
      for side in 0...1 {
        send(side, .max)
        // Whoever was in the line has changed its mind.
        while ends[side].nextWriter() != nil {}
        let before = wires[side].count
        try deliver(to: 1 - side, 10_000)
        if wires[side].count < before { isMoving = true }
        for stream in known(1 - side) where ends[1 - side].unread(stream) > 0 || !isMoving {
          let count = ends[1 - side].data[stream]?.count
          try read(1 - side, stream, 1_000_000)
          if ends[1 - side].data[stream]?.count != count { isMoving = true }
        }
      }
    }
    #expect(wires == [[], []], "seed \(seed)")
    for side in 0...1 {
      let other = 1 - side
      #expect(ends[side].output.isEmpty, "seed \(seed)")
      #expect(ends[side].streamCount == known(side).count, "seed \(seed)")
      for stream in known(side) where isKnown(stream, at: other) {
        #expect(ends[side].data[stream, default: []].count == written[other][stream, default: []].count, "seed \(seed)")
        #expect(ends[side].ended.contains(stream) == finished[other].contains(stream), "seed \(seed)")
      }
      // All is closed, and nothing is left.
      for stream in known(side) { ends[side].session.close(stream) }
      #expect(ends[side].streamCount == 0)
      #expect(ends[side].wantsInput)
    }
  }

  private func isKnown(_ stream: UInt32, at side: Int) -> Bool {
    opened[side].contains(stream) || ends[side].opened.contains(stream)
  }

  private mutating func write(_ side: Int, _ stream: UInt32) {
    let bytes = random.bytes(Int.random(in: 1...(random.chance(6) ? 60_000 : 600), using: &random))
    let isHeard = !finished[side].contains(stream) && !ends[side].isAbandoned(stream)
    let count = ends[side].write(stream, bytes)
    if isHeard { written[side][stream, default: []] += bytes[..<count] }
  }

  private mutating func read(_ side: Int, _ stream: UInt32, _ limit: Int) throws {
    let end = ends[side]
    let before = end.data[stream]?.count ?? 0
    end.read(stream, limit)
    let data = end.data[stream, default: []]
    let source = written[1 - side][stream, default: []]
    try #require(data.count <= source.count, "seed \(seed)")
    try #require(data[before...] == source[before..<data.count], "seed \(seed), stream \(stream)")
    if end.ended.contains(stream), isKnown(stream, at: 1 - side) {
      try #require(finished[1 - side].contains(stream), "seed \(seed)")
      try #require(data.count == source.count, "seed \(seed)")
    }
  }

  private mutating func send(_ side: Int, _ limit: Int) {
    wires[side] += ends[side].session.output.prefix(limit)
    ends[side].session.consumeOutput(limit)
  }

  private mutating func deliver(to side: Int, _ limit: Int) throws {
    guard ends[side].wantsInput else { return }
    let bytes = Array(wires[1 - side].prefix(limit))
    wires[1 - side].removeFirst(bytes.count)
    try ends[side].receive(bytes)
  }

  private mutating func pass(_ milliseconds: Int64) throws {
    now = now + .milliseconds(milliseconds)
    for end in ends {
      end.now = now
      if let deadline = end.nextDeadline, deadline <= now {
        try end.session.handleTimeout(at: now)
        end.poll()
        #expect((end.nextDeadline ?? .distantFuture) > now)
      }
    }
  }
}
