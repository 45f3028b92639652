import Glibc
import RecordedMachines
import Recording
import Testing
import Values

/// A recording in memory, and the clock of the machines that are on it.
final class Studio {
  private final class Reel {
    var bytes: [UInt8] = []
    var now = Instant(nanoseconds: 1_000)
  }

  private let reel = Reel()
  private(set) var recorder: Recorder?

  init(veil: Veil = Veil(), limit: Int = Recorder.defaultLimit) {
    let reel = reel
    let recorder = Recorder(now: { reel.now }, veil: veil, limit: limit) { reel.bytes += $0 }
    recorder.start(program: "test", wallTime: "2026-11-21T00:00:00.000Z")
    self.recorder = recorder
  }

  var now: Instant {
    get { reel.now }
    set { reel.now = newValue }
  }

  func wait(_ span: TimeSpan) { reel.now = reel.now + span }

  /// What was recorded. Machines that are still there have no end in it.
  var bytes: [UInt8] { reel.bytes }

  var text: String { String(decoding: reel.bytes, as: UTF8.self) }

  func finish() -> [UInt8] {
    recorder?.finish("the test is over")
    return bytes
  }
}

/// Runs a recording again.
func replayed(_ bytes: some Collection<UInt8>, only: Int? = nil) throws(RecordingError) -> Replay.Report {
  var replay = Replay()
  replay.only = only
  var rest = bytes[...]
  while let end = rest.firstIndex(of: 0x0A) {
    try replay.feed(rest[..<end])
    rest = rest[rest.index(after: end)...]
  }
  replay.feed(rest: rest)
  return replay.report
}

/// Expects that nothing differs, and says what does.
func expectSame(
  _ bytes: [UInt8], machines: Int? = nil, calls: ClosedRange<Int> = 1...Int.max,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let report = try replayed(bytes)
  if let first = report.differences.first {
    Issue.record("line \(first.line)\n- \(first.expected)\n+ \(first.got)", sourceLocation: sourceLocation)
  }
  if let machines { #expect(report.machines == machines, sourceLocation: sourceLocation) }
  #expect(calls.contains(report.calls), "\(report.calls) calls", sourceLocation: sourceLocation)
}

/// SplitMix64: a failing seed can be run again.
struct Dice: RandomNumberGenerator {
  var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  mutating func chance(_ one: Int) -> Bool { below(one) == 0 }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
  mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }
}

extension Array where Element == UInt8 {
  /// Whether the other bytes stand in these.
  func contains(run other: [UInt8]) -> Bool {
    if contains(0) || other.contains(0) { return firstRange(of: other) != nil }
    // Many secrets are looked for in long recordings.
    return (self + [0]).withUnsafeBufferPointer { text in
      (other + [0]).withUnsafeBufferPointer { run in
        guard let text = text.baseAddress, let run = run.baseAddress else { return false }
        return text.withMemoryRebound(to: CChar.self, capacity: count + 1) { text in
          run.withMemoryRebound(to: CChar.self, capacity: other.count + 1) { strstr(text, $0) != nil }
        }
      }
    }
  }
}

/// Expects that a text stands nowhere in a recording: as it is, in Base64 however it is aligned, in hexadecimal.
func expectNone(_ secret: String, in text: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
  var forms = [Array(secret.utf8)]
  forms.append(Array(secret.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined().utf8))
  for lead in 0..<3 {
    let base64 = Base64.encode(Array(repeating: 0x41, count: lead) + secret.utf8, isPadded: false)
    forms.append(Array(base64.utf8.dropFirst(lead + 1).dropLast(2)))
  }
  for form in forms {
    // Not inside the macro, which would print the whole recording.
    let isThere = text.contains(run: form)
    #expect(!isThere, "\(secret) as \(String(decoding: form, as: UTF8.self))", sourceLocation: sourceLocation)
  }
}
