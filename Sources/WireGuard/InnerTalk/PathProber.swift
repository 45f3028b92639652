import Values

/// Finds out how large a content gets through to a peer, by asking it (RFC 8899, with the names of its section 4): probes
/// of chosen sizes that the other end answers. It knows neither messages nor keys; sizes are those of contents, so that
/// what the path adds outside, whichever carrier it is, concerns nobody here.
///
/// ```
///   idle ──start──▶ searching ──nothing left between known and refused──▶ settled ──traffic──▶ checking
///                     ▲  ▲                                                 │   ▲                │   │
///                     │  └─────────── traffic, time to raise ──────────────┘   └── answered ────┘   │
///                     └───────────────────────── a black hole ──────────────────────────────────────┘
/// ```
///
/// - A search asks for several sizes at once: first 576, 1,200 and the largest, then six between what is known to pass
///   and what is known not to. Where everything passes, that is one round trip.
/// - A size that is not answered may have been lost by chance. It counts as too large when five probes of it in three
///   rounds were lost, and only rounds count in which a small probe was answered.
/// - While a known size is used, it is asked for again every 400 ms. One that is not answered is asked for three times
///   a round; after ten losses, with answers to small probes in each round, the path is a black hole for that size.
///   A late answer takes everything back.
/// - Where nothing is sent, nothing is asked: all of this is driven by traffic, an idle peer sets no timer.
///
/// Sizes are multiples of 16 or the largest, so that messages of full packets are padded by nothing and lie back to back.
public struct PathProber: Sendable {
  public struct Probe: Sendable, Equatable {
    public let token: UInt32
    /// Of the content, in bytes.
    public let size: Int
  }

  public enum Phase: String, Sendable, Codable {
    case idle, searching, settled, checking
  }

  /// Nobody's path is narrower; what is not answered at this size is not believed.
  public static let floor = 576
  /// BASE_PLPMTU: most paths take it.
  public static let base = 1200
  /// Of small probes.
  static let controlSize = 64
  static let checkInterval = TimeSpan.milliseconds(400)
  static let firstRaise = TimeSpan.seconds(30)
  /// PMTU_RAISE_TIMER.
  static let lastRaise = TimeSpan.seconds(600)

  private static let step = WireGuardLimit.padding
  private static let sizesAtOnce = 6
  /// Copies of each size in the rounds of a search.
  private static let searchCopies = [1, 2, 2]
  private static let checkCopies = [1, 3, 3, 3]
  private static let shortestWait = TimeSpan.milliseconds(100)
  private static let longestWait = TimeSpan.seconds(2)
  private static let firstWait = TimeSpan.milliseconds(500)
  private static let silentRounds = 6
  private static let patience = TimeSpan.seconds(30)

  public private(set) var phase = Phase.idle
  /// The largest content that is to be sent; `nil` while nothing is known that would speak against any.
  public private(set) var limit: Int?
  /// Smoothed, as RFC 6298 says.
  public private(set) var roundTrip: TimeSpan?

  private var maximum = 0
  /// The largest size that was answered.
  private var known = 0
  /// The smallest that was refused; beyond `maximum` when none was.
  private var refused = Int.max
  private var variation = TimeSpan.zero
  /// Sizes that this flight still waits for.
  private var open: [Int] = []
  private var sent: [(token: UInt32, size: Int, at: Instant)] = []
  private var round = 0
  private var silent = 0
  private var wasAnswered = false
  private var deadline: Instant?
  private var lastProof: Instant?
  private var raiseAt: Instant?
  private var raiseSpan = PathProber.firstRaise
  private var nextToken: UInt32
  private var probes: [Probe] = []
  private var retryAt: Instant?
  private var isStale = false
  /// The base size was answered in the check that is going on.
  private var sawBase = false

  public init(token: UInt32 = 0) { nextToken = token }

  // MARK: The verbs

  /// The other end answers from now on. `maximum` is the device's MTU. Nothing happens where all of that is known.
  public mutating func start(maximum: Int, at now: Instant) {
    guard phase == .idle || maximum != self.maximum else { return }
    let isNew = phase == .idle
    self.maximum = maximum
    if let limit, limit > maximum { self.limit = maximum }
    if isNew { known = 0 } else { known = min(known, maximum) }
    search(at: now)
  }

  /// The path is another: everything is asked for again, once there is something to send. The limit stays until something
  /// speaks against it.
  public mutating func pathChanged() {
    guard phase != .idle else { return }
    isStale = true
    roundTrip = nil
    sent = []
  }

  /// The other end does not answer any more, or is none that would.
  public mutating func stop() {
    let token = nextToken
    self = PathProber(token: token)
  }

  /// A round trip that somebody else has measured.
  public mutating func measured(_ span: TimeSpan) {
    guard span > .zero else { return }
    if let smooth = roundTrip {
      let difference = smooth.nanoseconds &- span.nanoseconds
      variation = TimeSpan(nanoseconds: variation.nanoseconds / 4 * 3 &+ abs(difference / 4))
      roundTrip = TimeSpan(nanoseconds: smooth.nanoseconds &- difference / 8)
    } else {
      roundTrip = span
      variation = TimeSpan(nanoseconds: span.nanoseconds / 2)
    }
  }

  /// Contents were sent, of so many bytes together.
  public mutating func sent(bytes: UInt64, at now: Instant) {
    guard phase == .settled else { return }
    if isStale {
      search(at: now)
      return
    }
    guard bytes >= UInt64(Self.base) else { return }
    if let retryAt {
      if now >= retryAt { search(at: now) }
      return
    }
    if let raiseAt, now >= raiseAt {
      raiseSpan = min(raiseSpan * 2, Self.lastRaise)
      search(at: now)
      return
    }
    guard (limit ?? 0) > Self.floor else { return }
    if let lastProof, now - lastProof < Self.checkInterval { return }
    phase = .checking
    round = 0
    silent = 0
    beginRound(at: now)
  }

  public mutating func answered(token: UInt32, size: Int, at now: Instant) {
    guard let place = sent.firstIndex(where: { $0.token == token && $0.size == size }) else { return }
    let isFirst = roundTrip == nil
    measured(now - sent[place].at)
    // The wait was a guess until now.
    if isFirst, let deadline { self.deadline = min(deadline, sent[place].at + wait) }
    sent.remove(at: place)
    wasAnswered = true
    // What was refused was lost by chance, or the path is another again.
    if size >= refused { refused = .max }
    known = max(known, size)
    if size == Self.base { sawBase = true }
    open.removeAll { $0 <= size }
    switch phase {
    case .idle: break
    case .searching:
      if open.isEmpty { nextFlight(at: now) }
    case .checking, .settled:
      if size >= (limit ?? maximum) {
        lastProof = now
        if phase == .checking { settle(at: now) }
      }
    }
    updateLimit()
  }

  /// The host could not send a probe of this size: its own link is too narrow.
  public mutating func didNotFit(size: Int, at now: Instant) {
    guard phase != .idle, size > Self.controlSize else { return }
    refused = min(refused, size)
    sent.removeAll { $0.size >= size }
    probes.removeAll { $0.size >= size }
    open.removeAll { $0 >= size }
    if known >= size {
      known = 0
      search(at: now, keepsRefused: true)
    } else if phase == .searching, open.isEmpty {
      nextFlight(at: now)
    }
    updateLimit()
  }

  public mutating func handleTimeout(at now: Instant) {
    guard let deadline, deadline <= now else { return }
    self.deadline = nil
    if isStale {
      search(at: now)
      return
    }
    if wasAnswered {
      silent = 0
      round += 1
    } else {
      // Not even a small probe came back: this says nothing of sizes.
      silent += 1
      if silent >= Self.silentRounds {
        retryAt = phase == .searching ? now + Self.patience : nil
        lastProof = now
        phase = .settled
        open = []
        return
      }
    }
    switch phase {
    case .searching:
      if round >= Self.searchCopies.count {
        refused = min(refused, open.min() ?? refused)
        updateLimit()
        nextFlight(at: now)
      } else {
        beginRound(at: now)
      }
    case .checking:
      if round >= Self.checkCopies.count {
        refused = limit ?? maximum
        known = sawBase ? Self.base : 0
        search(at: now, keepsRefused: true)
        updateLimit()
      } else {
        beginRound(at: now)
      }
    case .idle, .settled: break
    }
  }

  public func nextDeadline() -> Instant? { deadline }

  /// Poll after each call, until `nil`.
  public mutating func pollTransmit() -> Probe? { probes.isEmpty ? nil : probes.removeFirst() }

  // MARK: Steps

  private mutating func search(at now: Instant, keepsRefused: Bool = false) {
    phase = .searching
    retryAt = nil
    raiseAt = nil
    silent = 0
    if isStale { known = 0 }
    isStale = false
    if !keepsRefused { refused = .max }
    open = [Self.floor, Self.base, maximum].filter { $0 > known && $0 < refused && $0 <= maximum }
    // A raise: also the next size, as most paths grow by little or by everything.
    let next = known + Self.step
    if known >= Self.base, next < min(refused, maximum) { open.insert(next, at: 0) }
    launch(at: now)
  }

  private mutating func nextFlight(at now: Instant) {
    var candidates: [Int] = []
    let top = min(refused, maximum + 1)
    var size = (known / Self.step + 1) * Self.step
    if known < Self.floor { size = Self.floor }
    while size < top {
      candidates.append(size)
      size += Self.step
    }
    if maximum < refused, maximum > known, candidates.last != maximum { candidates.append(maximum) }
    if candidates.count > Self.sizesAtOnce {
      // Evenly, the ends left out: both are likely to be decided by those beside them.
      let count = candidates.count
      open = (1...Self.sizesAtOnce).map { candidates[$0 * count / (Self.sizesAtOnce + 1)] }
    } else {
      open = candidates
    }
    launch(at: now)
  }

  private mutating func launch(at now: Instant) {
    guard !open.isEmpty else {
      settle(at: now)
      return
    }
    phase = .searching
    round = 0
    beginRound(at: now)
  }

  private mutating func settle(at now: Instant) {
    phase = .settled
    deadline = nil
    open = []
    lastProof = now
    updateLimit()
    if known == 0, refused <= maximum { limit = min(Self.floor, maximum) }
    if known >= maximum {
      raiseAt = nil
      raiseSpan = Self.firstRaise
    } else if raiseAt == nil {
      raiseAt = now + raiseSpan
    }
  }

  private mutating func beginRound(at now: Instant) {
    wasAnswered = false
    sent.removeAll { now - $0.at > Self.longestWait * 2 }
    let copies: Int
    if phase == .checking {
      copies = Self.checkCopies[min(round, Self.checkCopies.count - 1)]
      if round == 0 { sawBase = false }
      send(limit ?? maximum, copies, at: now)
      if round > 0, Self.base < limit ?? maximum { send(Self.base, 1, at: now) }
    } else {
      copies = Self.searchCopies[min(round, Self.searchCopies.count - 1)]
      for size in open { send(size, copies, at: now) }
    }
    send(Self.controlSize, min(copies, 2), at: now)
    deadline = now + wait * Int64(1 << min(silent, 4))
  }

  private mutating func send(_ size: Int, _ copies: Int, at now: Instant) {
    for _ in 0..<copies {
      probes.append(Probe(token: nextToken, size: size))
      sent.append((nextToken, size, now))
      nextToken &+= 1
    }
  }

  private var wait: TimeSpan {
    guard let roundTrip else { return Self.firstWait }
    return min(max(roundTrip + variation * 4 + .milliseconds(20), Self.shortestWait), Self.longestWait)
  }

  private mutating func updateLimit() {
    if refused <= maximum {
      if known > 0 { limit = min(max(known, Self.floor), maximum) }
    } else if known >= maximum {
      limit = maximum
    }
  }
}
