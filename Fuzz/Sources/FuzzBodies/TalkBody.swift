import Values
import WireGuard

enum TalkPlace: Int, CaseIterable {
  // What is said inside of a tunnel, as it reads.
  case hello, helloAnswer, probe, probeAnswer, kemKey, kemText, kemDone, unknown, malformed
  // The search for the path's MTU.
  case searching, settled, checking, narrowed, widened, refused, stopped
}

/// First byte: a content as it came out of a message, or a prober on a path that answers as it likes.
func fuzzTalk(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  if feed.byte() & 1 == 0 { try checkContent(&feed, &marks) } else { try checkProber(&feed, &marks) }
}

// MARK: - Contents

/// What reads as a message is written the same way: its bytes and its padding read as that message again.
private func checkContent(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let padding = Int(feed.byte())
  let content = feed.all() + [UInt8](repeating: 0, count: padding)
  try exactly(content) { memory throws(Breach) in
    switch TalkMessage.read(UnsafeRawBufferPointer(memory)) {
    case .malformed: marks.reach(TalkPlace.malformed)
    case .unknown: marks.reach(TalkPlace.unknown)
    case .message(let message):
      var written = message.bytes
      try check(written.count <= content.count, "it grows by being written: \(content)")
      written += [UInt8](repeating: 0, count: content.count - written.count)
      let again = written.withUnsafeBytes { TalkMessage.read($0) }
      try check(again == .message(message), "\(message) reads as \(again)")
      switch message {
      case .hello: marks.reach(TalkPlace.hello)
      case .helloAnswer: marks.reach(TalkPlace.helloAnswer)
      case .probe(_, let size):
        try check(size == content.count, "a probe of another size")
        marks.reach(TalkPlace.probe)
      case .probeAnswer: marks.reach(TalkPlace.probeAnswer)
      case .kemKey: marks.reach(TalkPlace.kemKey)
      case .kemText: marks.reach(TalkPlace.kemText)
      case .kemDone: marks.reach(TalkPlace.kemDone)
      }
    }
  }
}

// MARK: - The prober

/// Calls of a byte or two: probes are answered or lost, late or in any order; packets are sent, the path changes, time
/// passes. What it asks for and what it limits stays within what it was given, it does not chatter, and once the path is
/// honest nothing larger is sent than the path takes.
private func checkProber(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  var run = ProberRun(maximum: 600 + feed.number16() % 9_000, honest: 576 + feed.number16() % 2_000)
  run.prober.start(maximum: run.maximum, at: run.now)
  try run.look(&marks)
  var calls = 0
  while !feed.isEmpty, calls < 300 {
    calls += 1
    run.call(feed.byte(), &feed)
    try run.look(&marks)
  }
  try run.recover(&marks)
}

private struct ProberRun {
  var prober = PathProber(token: 1)
  var now = Instant(nanoseconds: 1_000_000_000)
  var maximum: Int
  let honest: Int
  private var waiting: [PathProber.Probe] = []
  private var last: Int?

  init(maximum: Int, honest: Int) {
    self.maximum = maximum
    self.honest = honest
  }

  mutating func call(_ call: UInt8, _ feed: inout Feed) {
    switch call & 15 {
    case 0...4:
      guard !waiting.isEmpty else { return }
      let probe = waiting.remove(at: Int(call >> 4) % waiting.count)
      prober.answered(token: probe.token, size: probe.size, at: now)
    case 5: waiting.removeAll()
    case 6:
      if let probe = waiting.last { prober.didNotFit(size: probe.size, at: now) }
    case 7: prober.answered(token: feed.number32(), size: feed.number16(), at: now)
    case 8: prober.pathChanged()
    case 9:
      maximum = 600 + feed.number16() % 9_000
      prober.start(maximum: maximum, at: now)
    case 10: prober.stop()
    case 11:
      prober.start(maximum: maximum, at: now)
    case 12: prober.sent(bytes: UInt64(feed.number16()), at: now)
    default:
      now = now + .milliseconds(Int64(feed.byte()) * Int64(call >> 4 + 1))
      prober.handleTimeout(at: now)
    }
  }

  mutating func look(_ marks: inout Marks) throws(Breach) {
    var count = 0
    while let probe = prober.pollTransmit() {
      count += 1
      try check(probe.size <= maximum && probe.size >= 64, "a probe of \(probe.size) with \(maximum)")
      waiting.append(probe)
    }
    try check(count <= 40, "\(count) probes at once")
    if let limit = prober.limit {
      try check(limit <= maximum && limit >= min(PathProber.floor, maximum), "a limit of \(limit) with \(maximum)")
      if let last, limit < last { marks.reach(TalkPlace.narrowed) }
      if let last, limit > last { marks.reach(TalkPlace.widened) }
      if limit < maximum { marks.reach(TalkPlace.refused) }
    }
    last = prober.limit
    switch prober.phase {
    case .idle:
      try check(prober.nextDeadline() == nil && prober.limit == nil, "an idle prober waits")
      marks.reach(TalkPlace.stopped)
    case .searching: marks.reach(TalkPlace.searching)
    case .settled:
      try check(prober.nextDeadline() == nil, "a settled prober waits")
      marks.reach(TalkPlace.settled)
    case .checking: marks.reach(TalkPlace.checking)
    }
  }

  /// Two minutes of traffic on a path that answers what fits, and nothing else.
  mutating func recover(_ marks: inout Marks) throws(Breach) {
    prober.start(maximum: maximum, at: now)
    waiting.removeAll()
    var asked = 0
    for _ in 0..<2_400 {
      prober.sent(bytes: 10_000, at: now)
      try look(&marks)
      let probes = waiting
      waiting.removeAll()
      asked += probes.count
      now = now + .milliseconds(20)
      for probe in probes where probe.size <= honest {
        prober.answered(token: probe.token, size: probe.size, at: now)
      }
      try look(&marks)
      now = now + .milliseconds(30)
      prober.handleTimeout(at: now)
    }
    try check((prober.limit ?? maximum) <= honest || maximum <= honest, "\(prober.limit ?? -1) is sent into \(honest)")
    try check(asked < 2_000, "\(asked) probes in two minutes")
  }
}
