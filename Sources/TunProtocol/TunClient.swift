import Values

/// The client's side of a TUN tunnel: when to announce our addresses, and when to give a carrier up.
///
/// GOST announces once a dial, and every `ttl` only with `keepalive`; without it a restarted server has no route to
/// us and never learns one. This machine announces whenever the tunnel looks one-sided, so that `ttl` is a question of
/// traffic, not of survival:
///
/// ```
///             carrierOpened            any datagram arrives
///   idle ───────────────────▶ joining ───────────────────────▶ joined ──┐ every ttl, if keepalive: announce
///    ▲                          │  ▲                              │ ◀────┘
///    │   3 announcements        │  └──────────────────────────────┘
///    └──── unanswered ──────────┘     sent, and heard nothing for 2 s: announce again
///         (giveUp: redial)
/// ```
///
/// An answer is the proof that the server has our addresses; data proves that the way back works. Either one counts as
/// heard. `giveUp` is an event for the owner, who closes the carrier and dials anew.
public struct TunClient: Sendable, Equatable {
  /// Times of ours; `ttl` is the user's.
  public enum Timing {
    /// Sent, and nothing heard for this long: announce.
    public static let silence = TimeSpan.seconds(2)
    /// Between announcements while none is answered.
    public static let retry = TimeSpan.milliseconds(1000)
    /// Announcements without an answer before the carrier is given up.
    public static let attempts = 3
    /// Of the keepalive, GOST's default.
    public static let defaultTTL = TimeSpan.seconds(10)
  }

  public enum Input: Sendable, Codable {
    /// A carrier is there; announce on it.
    case carrierOpened
    case carrierClosed
    /// A packet of the device went out.
    case sent
    /// A packet of the tunnel came in.
    case heard
    /// The server answered an announcement with the address that it sees us at.
    case answered(observed: IPAddress)
    /// The machine's network changed: find out at once whether the way still stands.
    case networkChanged
  }

  public enum Event: Equatable, Sendable {
    /// The server answered for the first time on this carrier.
    case joined(observed: IPAddress)
    /// Nothing came back: close the carrier and dial again.
    case giveUp(unanswered: Int)
  }

  private enum State: Sendable, Equatable {
    case idle
    case joining(attempts: Int, next: Instant)
    case joined
  }

  private let announcement: [UInt8]
  private let keepalive: TimeSpan?
  private var state = State.idle
  private var events: [Event] = []
  private var announcementsDue = 0
  /// The first packet sent since something was heard.
  private var unansweredSince: Instant?
  private var nextKeepalive: Instant?
  private var hasAnswer = false

  /// - Parameter keepalive: the `ttl` when the file asks for keepalives, else `nil`.
  public init(addresses: [IPAddress], passphrase: [UInt8], keepalive: TimeSpan?) {
    announcement = TunHandshake.encode(.init(passphrase: passphrase, addresses: addresses))
    self.keepalive = keepalive
  }

  public var isJoined: Bool {
    if case .joined = state { return true }
    return false
  }

  /// Whether the server has ever answered on this carrier.
  public var wasAnswered: Bool { hasAnswer }

  public mutating func handle(_ input: Input, at now: Instant) {
    switch input {
    case .carrierOpened:
      hasAnswer = false
      unansweredSince = nil
      announce(attempt: 1, at: now)
    case .carrierClosed:
      state = .idle
      unansweredSince = nil
      nextKeepalive = nil
      announcementsDue = 0
    case .sent:
      if unansweredSince == nil { unansweredSince = now }
    case .heard:
      hear()
    case .answered(let observed):
      hear()
      if !hasAnswer, !isIdle {
        hasAnswer = true
        events.append(.joined(observed: observed))
      }
    case .networkChanged:
      switch state {
      case .idle: return
      // Ask once more, but let no series of changes put off the moment when the user reads that nothing comes back.
      case .joining: announcementsDue = 1
      case .joined: announce(attempt: 1, at: now)
      }
    }
  }

  private mutating func hear() {
    guard !isIdle else { return }
    unansweredSince = nil
    state = .joined
  }

  private mutating func announce(attempt: Int, at now: Instant) {
    announcementsDue = 1
    state = .joining(attempts: attempt, next: now + Timing.retry)
    if let keepalive { nextKeepalive = now + keepalive }
  }

  public mutating func handleTimeout(at now: Instant) {
    switch state {
    case .idle: return
    case .joining(let attempts, let next):
      guard next <= now else { return }
      if attempts >= Timing.attempts {
        state = .idle
        announcementsDue = 0
        events.append(.giveUp(unanswered: attempts))
      } else {
        announce(attempt: attempts + 1, at: now)
      }
    case .joined:
      if let since = unansweredSince, since + Timing.silence <= now {
        announce(attempt: 1, at: now)
      } else if let due = nextKeepalive, due <= now {
        announce(attempt: 1, at: now)
      }
    }
  }

  /// When `handleTimeout` is due, and why.
  public func nextDeadline() -> (Instant, String)? {
    if announcementsDue > 0 || !events.isEmpty { return (Instant(nanoseconds: .min), "output is queued") }
    switch state {
    case .idle: return nil
    case .joining(_, let next): return (next, "the announcement's answer")
    case .joined:
      let silence = unansweredSince.map { $0 + Timing.silence }
      switch (silence, nextKeepalive) {
      case (let silence?, let due?): return silence < due ? (silence, "nothing heard") : (due, "keepalive")
      case (let silence?, nil): return (silence, "nothing heard")
      case (nil, let due?): return (due, "keepalive")
      case (nil, nil): return nil
      }
    }
  }

  /// The announcement to send now, if one is due. Poll after each input and timeout.
  public mutating func pollTransmit() -> [UInt8]? {
    guard announcementsDue > 0 else { return nil }
    announcementsDue = 0
    return announcement
  }

  /// Poll after each input and timeout, until `nil`.
  public mutating func pollEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  private var isIdle: Bool {
    if case .idle = state { return true }
    return false
  }
}
