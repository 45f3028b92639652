import Values

/// The controller of one flow: when to tell its sender that its packets wait too long (RFC 8289).
///
/// A queue that comes and goes is a good one; a queue that stays is only delay. So nothing happens until packets have
/// been above the target for a whole interval. Then one signal is due at once, and if that does not help, the next
/// after interval/√2, interval/√3, …: a TCP's rate goes with the inverse root of its losses, so signals at this pace
/// lower it steadily. When packets are below the target again it is over; if it starts anew soon, it goes on at nearly
/// the pace that it had reached.
///
/// The pace is for a queue that is being served. A carrier that stands still for seconds (a lost connection's
/// retransmissions, a radio out of reach) is no fault of the flow, and no signal of that time would have reached the
/// sender: signals more than an interval overdue are not made up for. Without that, a hundred packets would be dropped
/// in one go after a halt of two seconds.
struct CoDel {
  /// When it will have been above the target for an interval; the distant future while it is not above.
  private var patience = Instant.distantFuture
  /// When the next signal is due.
  private var nextSignal = Instant(nanoseconds: .min)
  /// Signals of this series, and how many of them the last series brought along.
  private var count: UInt32 = 0
  private var lastCount: UInt32 = 0
  private var isSignalling = false

  /// Asked for each packet that is about to leave.
  ///
  /// - Parameter isAbove: the packet has waited for the target time or longer, and there is a queue behind it.
  /// - Returns: the packet must be dropped or marked.
  @inline(__always)
  mutating func isSignalDue(isAbove: Bool, at now: Instant, interval: TimeSpan) -> Bool {
    guard isAbove else {
      ranEmpty()
      return false
    }
    return isSignalDueAbove(at: now, interval: interval)
  }

  /// The flow has no packets.
  @inline(__always)
  mutating func ranEmpty() {
    patience = .distantFuture
    isSignalling = false
  }

  private mutating func isSignalDueAbove(at now: Instant, interval: TimeSpan) -> Bool {
    if patience == .distantFuture {
      patience = now + interval
      isSignalling = false
      return false
    }
    guard now >= patience else { return false }
    if isSignalling {
      guard now >= nextSignal else { return false }
      if now - nextSignal > interval { nextSignal = now }
      count = count == .max ? count : count &+ 1
      nextSignal = nextSignal + Self.spacing(count, interval)
      return true
    }
    // RFC 8289, section 5.5: within 16 intervals the pace of before is about right, less what it was begun with.
    let reached = count &- lastCount
    count = reached > 1 && now - nextSignal < interval * 16 ? reached : 1
    lastCount = count
    nextSignal = now + Self.spacing(count, interval)
    isSignalling = true
    return true
  }

  /// The time from the signal `count` to the next (RFC 8289, section 5.6: the control law).
  private static func spacing(_ count: UInt32, _ interval: TimeSpan) -> TimeSpan {
    // 9e18 is less than the largest number that fits, to which the longest interval would be rounded up and trap.
    TimeSpan(nanoseconds: Int64(min(Double(interval.nanoseconds) / Double(count).squareRoot(), 9e18)))
  }
}
