/// A point on a clock that is never set and goes on while the machine sleeps, in nanoseconds since an arbitrary start.
///
/// Nothing below the machine floor reads a clock: time is an argument. The machine floor fills an `Instant` from
/// `CLOCK_BOOTTIME`, the simulator from its own counter, and wall time appears only where something is printed.
public struct Instant: Hashable, Comparable, Sendable, Codable {
  /// Nanoseconds since the clock's start.
  public let nanoseconds: Int64

  @inlinable
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  @inlinable
  public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

  /// Adds a span; saturates instead of trapping, so that "for ever" stays in the far future.
  @inlinable
  public static func + (instant: Instant, span: TimeSpan) -> Instant {
    let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(span.nanoseconds)
    return Instant(nanoseconds: overflow ? (span.nanoseconds > 0 ? .max : .min) : sum)
  }

  /// Saturates like the sum: from any point the distant future is far ahead, not behind.
  @inlinable
  public static func - (later: Instant, earlier: Instant) -> TimeSpan {
    let (span, overflow) = later.nanoseconds.subtractingReportingOverflow(earlier.nanoseconds)
    return TimeSpan(nanoseconds: overflow ? (later > earlier ? .max : .min) : span)
  }

  public static let distantFuture = Instant(nanoseconds: .max)
}

/// A length of time in nanoseconds; may be negative.
public struct TimeSpan: Hashable, Comparable, Sendable, Codable {
  public let nanoseconds: Int64

  @inlinable
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  @inlinable
  public static func < (left: TimeSpan, right: TimeSpan) -> Bool { left.nanoseconds < right.nanoseconds }

  @inlinable
  public static func seconds(_ count: Int64) -> TimeSpan { scaled(count, 1_000_000_000) }
  @inlinable
  public static func milliseconds(_ count: Int64) -> TimeSpan { scaled(count, 1_000_000) }
  @inlinable
  public static func microseconds(_ count: Int64) -> TimeSpan { scaled(count, 1_000) }

  @inlinable
  static func scaled(_ count: Int64, _ unit: Int64) -> TimeSpan {
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    return TimeSpan(nanoseconds: overflow ? (count > 0 ? .max : .min) : product)
  }

  @inlinable
  public static func * (span: TimeSpan, factor: Int64) -> TimeSpan { scaled(span.nanoseconds, factor) }

  @inlinable
  public static func + (left: TimeSpan, right: TimeSpan) -> TimeSpan {
    let (sum, overflow) = left.nanoseconds.addingReportingOverflow(right.nanoseconds)
    return TimeSpan(nanoseconds: overflow ? (right.nanoseconds > 0 ? .max : .min) : sum)
  }

  public static let zero = TimeSpan(nanoseconds: 0)

  /// Seconds as a floating-point number, for printing.
  public var inSeconds: Double { Double(nanoseconds) / 1e9 }
}

extension TimeSpan: CustomStringConvertible {
  /// The shortest exact form in GOST's (Go's) notation: `10s`, `1m30s`, `250ms`.
  public var description: String {
    var rest = nanoseconds.magnitude
    let sign = nanoseconds < 0 ? "-" : ""
    if rest == 0 { return "0s" }
    if rest < 1_000 { return "\(sign)\(rest)ns" }
    if rest < 1_000_000, rest % 1_000 == 0 { return "\(sign)\(rest / 1_000)us" }
    if rest < 1_000_000_000, rest % 1_000_000 == 0 { return "\(sign)\(rest / 1_000_000)ms" }
    if rest < 60_000_000_000 { return "\(sign)\(Self.decimalSeconds(rest))s" }
    var text = sign
    let hours = rest / 3_600_000_000_000
    rest %= 3_600_000_000_000
    let minutes = rest / 60_000_000_000
    rest %= 60_000_000_000
    if hours > 0 { text += "\(hours)h" }
    if minutes > 0 || (hours > 0 && rest > 0) { text += "\(minutes)m" }
    if rest > 0 { text += "\(Self.decimalSeconds(rest))s" }
    return text
  }

  private static func decimalSeconds(_ nanoseconds: UInt64) -> String {
    let whole = nanoseconds / 1_000_000_000
    var fraction = String(nanoseconds % 1_000_000_000)
    if fraction == "0" { return "\(whole)" }
    fraction = String(repeating: "0", count: 9 - fraction.count) + fraction
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return "\(whole).\(fraction)"
  }
}
