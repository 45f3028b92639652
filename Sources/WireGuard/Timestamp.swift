import Values

/// A point in time on the wall clock, for the timestamps of initiations and for what is shown to people.
public struct WallTime: Hashable, Comparable, Sendable, Codable {
  /// Since 1970 (UTC, without leap seconds).
  public let seconds: Int64
  /// 0...999,999,999.
  public let nanoseconds: Int32

  public init(seconds: Int64, nanoseconds: Int32 = 0) {
    self.seconds = seconds
    self.nanoseconds = min(max(nanoseconds, 0), 999_999_999)
  }

  public static func < (left: WallTime, right: WallTime) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }

  /// Saturates, as `Instant` does.
  public static func + (time: WallTime, span: TimeSpan) -> WallTime {
    let (whole, rest) = span.nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
    var parts = Int64(time.nanoseconds) + rest
    var carry: Int64 = 0
    if parts < 0 {
      parts += 1_000_000_000
      carry = -1
    } else if parts >= 1_000_000_000 {
      parts -= 1_000_000_000
      carry = 1
    }
    let (sum, overflow) = time.seconds.addingReportingOverflow(whole + carry)
    return WallTime(seconds: overflow ? (whole > 0 ? .max : .min) : sum, nanoseconds: Int32(parts))
  }
}

/// TAI64N (section 5.1): 12 bytes whose order is time's. An initiation carries one, and a peer takes only initiations
/// with a later one than it has seen, so that none can be replayed.
///
/// It is made of the wall clock, but only ever goes forward: a clock that was set back would make the other end ignore
/// us until it has caught up. The lowest 24 bits of the nanoseconds are cleared, so that it says no more about the
/// machine than it must; or else they are a mark, by which a Culvert tells another what it is (`PeerTalk`), and which
/// preshared key it could use. Timestamps of one end differ in the other bits: a mark makes none older or newer.
public struct Timestamp: Comparable, Sendable {
  static let size = 12

  private let high: UInt64
  private let low: UInt32

  /// Before all others.
  static let zero = Timestamp(high: 0, low: 0)

  /// "Cv", so that nanoseconds stay below a second. Of implementations that send the nanoseconds of their clock one
  /// initiation in 65,536 looks like this, and leads to four small packets that the sender drops.
  private static let sign: UInt32 = 0x43_7600
  private static let markMask: UInt32 = 0xFF_FFFF

  private init(high: UInt64, low: UInt32) {
    self.high = high
    self.low = low
  }

  init(_ time: WallTime, mark: UInt8? = nil) {
    // TAI is 10 seconds ahead of UTC by TAI64's convention for 1970; leap seconds are not counted.
    high = 0x4000_0000_0000_000A &+ UInt64(bitPattern: time.seconds)
    low = UInt32(bitPattern: time.nanoseconds) & ~Self.markMask | Self.bits(mark)
  }

  private static func bits(_ mark: UInt8?) -> UInt32 { mark.map { sign | UInt32($0) } ?? 0 }

  /// The byte that a Culvert says; `nil` when it is another's timestamp.
  var mark: UInt8? {
    low & Self.markMask & ~0xFF == Self.sign ? UInt8(truncatingIfNeeded: low) : nil
  }

  /// Reads 12 bytes.
  init(_ bytes: UnsafeRawPointer) {
    high = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    low = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
  }

  /// Writes 12 bytes.
  func store(to bytes: UnsafeMutableRawPointer) {
    bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
    bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt32.self)
  }

  /// This one where it is later than another, marks aside, else the next after that.
  func after(_ other: Timestamp) -> Timestamp {
    let bits = low & Self.markMask
    let mine = (high, low & ~Self.markMask)
    let last = (other.high, other.low & ~Self.markMask)
    if mine > last { return self }
    let (sum, overflow) = last.1.addingReportingOverflow(1 << 24)
    let isNextSecond = overflow || sum > 999_999_999
    return Timestamp(high: isNextSecond ? other.high &+ 1 : other.high, low: (isNextSecond ? 0 : sum) | bits)
  }

  public static func < (left: Timestamp, right: Timestamp) -> Bool {
    (left.high, left.low) < (right.high, right.low)
  }
}
