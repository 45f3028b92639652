import Values

/// A bucket of tokens, each a byte.
struct TokenBucket {
  let rate: Int
  let burst: Int
  private var tokens: Int
  private var filledAt: Instant

  init(rate: Int, burst: Int, at now: Instant) {
    self.rate = rate
    self.burst = burst
    tokens = burst
    filledAt = now
  }

  /// One for each direction, of a second's worth; none without a rate.
  static func pair(_ rate: Int?, at now: Instant) -> [TokenBucket] {
    guard let rate else { return [] }
    return [TokenBucket](repeating: TokenBucket(rate: rate, burst: rate, at: now), count: 2)
  }

  /// Takes so many; false, and none is taken, when there are fewer.
  mutating func take(_ count: Int, at now: Instant) -> Bool {
    refill(at: now)
    guard tokens >= count else { return false }
    tokens -= count
    return true
  }

  private mutating func refill(at now: Instant) {
    // A millisecond at least, so that a fast caller does not round everything away.
    let span = min(max(0, (now - filledAt).nanoseconds), 10_000_000_000)
    guard span >= 1_000_000 else { return }
    let (product, overflow) = (span / 1_000).multipliedReportingOverflow(by: Int64(rate))
    tokens = min(burst, tokens + Int(overflow ? Int64(burst) : min(Int64(burst), product / 1_000_000)))
    filledAt = now
  }
}

/// How much strangers are sent (attack row 1): a budget of bytes for each source, without its port, in a table whose
/// size does not depend on how many there are. Sources that fall into the same place share a budget; which ones do is
/// not known to anybody outside.
///
/// IPv6 sources count by their /64, of which one host has as many addresses as it likes.
public struct SourceBudget {
  private struct Place {
    var tokens: Int32
    var millisecond: Int64
  }

  private var places: [Place]
  private let seed: UInt64
  private let rate: Int
  private let burst: Int
  private static let count = 8_192

  /// What strangers are sent by a relay: `TurnLimit.sourceRate` with `TurnLimit.sourceBurst`.
  public init(seed: UInt64) { self.init(rate: TurnLimit.sourceRate, burst: TurnLimit.sourceBurst, seed: seed) }

  init(rate: Int, burst: Int, seed: UInt64) {
    self.rate = rate
    self.burst = burst
    self.seed = seed
    places = [Place](repeating: Place(tokens: Int32(clamping: burst), millisecond: 0), count: Self.count)
  }

  /// Takes so many bytes; false, and none is taken, when the source has fewer.
  public mutating func take(_ bytes: Int, for source: IPAddress, at now: Instant) -> Bool {
    let bits = Self.name(of: source).mapped
    var sum = seed
    for word in [UInt64(truncatingIfNeeded: bits >> 64), UInt64(truncatingIfNeeded: bits)] {
      sum = Self.mixed(sum ^ word)
    }
    let index = Int(sum % UInt64(Self.count))
    let millisecond = now.nanoseconds / 1_000_000
    var place = places[index]
    let span = min(max(0, millisecond - place.millisecond), 60_000)
    let refilled = min(Int64(burst), Int64(place.tokens) + span * Int64(rate) / 1_000)
    place = Place(tokens: Int32(clamping: refilled), millisecond: millisecond)
    let isEnough = place.tokens >= bytes
    if isEnough { place.tokens -= Int32(clamping: bytes) }
    places[index] = place
    return isEnough
  }

  /// A round of splitmix64: all bits of a number decide over all of another.
  private static func mixed(_ number: UInt64) -> UInt64 {
    var sum = number &+ 0x9E37_79B9_7F4A_7C15
    sum = (sum ^ sum >> 30) &* 0xBF58_476D_1CE4_E5B9
    sum = (sum ^ sum >> 27) &* 0x94D0_49BB_1331_11EB
    return sum ^ sum >> 31
  }

  /// What counts as one source.
  public static func name(of source: IPAddress) -> IPAddress {
    guard case .v6(let bits) = source.canonical else { return source.canonical }
    return .v6((bits >> 64) << 64)
  }
}
