import CryptoPrimitives
import Values

/// When a device is under load, and how much each source may ask of it then.
///
/// An exchange of keys costs us about a hundred times what an initiation costs a stranger who knows our public key. So
/// messages with a right `mac1` are counted in a bucket of the device; when that is empty the device is under load, for
/// a second after the last time at least, and wants cookies. Who has shown one is counted in a bucket of its own
/// address. Cookie replies have a bucket too, so that the flood cannot buy more than so much of a processor.
///
/// The sources' buckets lie in a table that is made once: sets of four, chosen by a keyed hash, in which the one that
/// was idle longest makes room. So memory is bounded and no stranger chooses whom it pushes out.
struct LoadGuard: ~Copyable {
  /// What becomes of a handshake message under load.
  enum Verdict: Equatable { case take, demandCookie, drop }

  private let limits: LoadLimits
  private var device: TokenBucket
  private var cookies: TokenBucket
  private var loadedUntil: Instant?
  private let sources: UnsafeMutableBufferPointer<SourceBucket>
  private let secret: SecretKey

  private struct SourceBucket {
    var high: UInt64
    var low: UInt64
    var bucket: TokenBucket
    var used: Instant
  }

  private static let ways = 4

  init(_ limits: LoadLimits, using random: inout some RandomNumberGenerator, at now: Instant) {
    self.limits = limits
    device = TokenBucket(rate: limits.handshakes, burst: limits.burst, at: now)
    cookies = TokenBucket(rate: limits.cookies, burst: limits.cookies, at: now)
    var count = Self.ways
    while count < limits.sources { count &*= 2 }
    sources = .allocate(capacity: count)
    sources.initialize(
      repeating: SourceBucket(
        high: 0, low: 0, bucket: TokenBucket(rate: 0, burst: 0, at: now), used: Instant(nanoseconds: .min)))
    secret = SecretKey(using: &random)
  }

  deinit { sources.deallocate() }

  func isUnderLoad(at now: Instant) -> Bool { loadedUntil.map { now < $0 } ?? false }

  /// Whether somebody can be asked for a cookie now.
  func hasCookies(at now: Instant) -> Bool { cookies.has(at: now) }

  /// Counts a message with a right `mac1`, and says whether the device is under load now.
  mutating func count(at now: Instant) -> Bool {
    if !device.take(at: now) { loadedUntil = now + limits.calm }
    return isUnderLoad(at: now)
  }

  /// What to do with a message that was counted under load.
  mutating func judge(from source: Endpoint, hasCookie: Bool, at now: Instant) -> Verdict {
    if hasCookie { return takeFromSource(source, at: now) ? .take : .drop }
    return cookies.take(at: now) ? .demandCookie : .drop
  }

  private mutating func takeFromSource(_ source: Endpoint, at now: Instant) -> Bool {
    let high: UInt64
    var low: UInt64 = 0
    switch source.address.canonical {
    case .v4(let bits):
      high = .max
      low = UInt64(bits)
    case .v6(let bits): high = UInt64(truncatingIfNeeded: bits >> 64)
    }
    let set = place(high, low)
    var oldest = set
    for index in set..<(set &+ Self.ways) {
      if sources[index].high == high, sources[index].low == low {
        sources[index].used = now
        return sources[index].bucket.take(at: now)
      }
      if sources[index].used < sources[oldest].used { oldest = index }
    }
    sources[oldest] = SourceBucket(
      high: high, low: low, bucket: TokenBucket(rate: limits.perSource, burst: limits.perSourceBurst, at: now),
      used: now)
    return sources[oldest].bucket.take(at: now)
  }

  /// The first place of the set that a source falls into.
  private func place(_ high: UInt64, _ low: UInt64) -> Int {
    let hash = withUnsafeBytes(of: (high, low)) { words in
      secret.withUnsafeBytes { key in
        MAC.withMAC(of: words, key: key) { $0.loadUnaligned(as: UInt64.self) }
      }
    }
    // Safe: the count is a power of two and at least `ways`.
    return Int(truncatingIfNeeded: hash & UInt64(sources.count &- 1)) & ~(Self.ways &- 1)
  }
}

/// So many at once, and so many a second.
struct TokenBucket {
  private let perToken: Int64
  private let capacity: Int64
  /// In nanoseconds of waiting.
  private var credit: Int64
  private var last: Instant

  init(rate: Int, burst: Int, at now: Instant) {
    perToken = 1_000_000_000 / Int64(max(rate, 1))
    capacity = perToken &* Int64(min(max(burst, 0), 1 << 30))
    credit = capacity
    last = now
  }

  mutating func take(at now: Instant) -> Bool {
    credit = credit(at: now)
    last = max(last, now)
    guard credit >= perToken else { return false }
    credit &-= perToken
    return true
  }

  func has(at now: Instant) -> Bool { credit(at: now) >= perToken }

  private func credit(at now: Instant) -> Int64 {
    guard now > last else { return credit }
    let (sum, overflow) = credit.addingReportingOverflow((now - last).nanoseconds)
    return overflow ? capacity : min(sum, capacity)
  }
}
