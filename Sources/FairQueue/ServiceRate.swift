import Values

/// How fast the carrier has lately taken packets, measured only while there were some to take.
///
/// What leaves between two calls is what the carrier had room for meanwhile. Windows of at least 10 ms are averaged, a
/// new one counting for a quarter; a window ends when the queue runs empty, for what follows says nothing about the
/// carrier. The number sets a quantum: a factor of two either way does no harm.
struct ServiceRate {
  /// Bytes a second; 0 before the first measurement.
  private(set) var bytesPerSecond = 0.0
  private var windowStart = Instant(nanoseconds: 0)
  private var served = 0
  private var isMeasuring = false

  private static let window = TimeSpan.milliseconds(10)
  private static let weight = 0.25

  /// Before packets are taken. True when there is a new measurement.
  @inline(__always)
  mutating func resume(at now: Instant) -> Bool {
    guard isMeasuring else {
      windowStart = now
      served = 0
      return false
    }
    let elapsed = now - windowStart
    guard elapsed >= Self.window else { return false }
    let measured = Double(served) / elapsed.inSeconds
    bytesPerSecond = bytesPerSecond == 0 ? measured : bytesPerSecond + (measured - bytesPerSecond) * Self.weight
    windowStart = now
    served = 0
    return true
  }

  /// After packets were taken.
  @inline(__always)
  mutating func pause(after bytes: Int, isBacklogged: Bool) {
    served &+= bytes
    isMeasuring = isBacklogged
  }

  /// What the carrier takes in this time; a clock that jumps gives a large number, not a trap.
  func bytes(in span: TimeSpan) -> Int { Int(min(max(bytesPerSecond * span.inSeconds, 0), 1e12)) }
}
