import Values

/// Which of a server's addresses is used: the one that answers first, with a head start for the preferred family
/// (RFC 8305's way, for a server that is reached by datagrams).
///
/// The next address is tried a quarter of a second after the last, or as soon as that one failed, families taking turns.
/// What the policy forbids is not in the race. The one that answers first wins; what else was begun is given up.
public struct ServerRace: Sendable {
  public enum Step: Sendable, Equatable {
    /// Try the address with that place in `candidates`.
    case start(Int)
    /// Nobody is left.
    case lost
  }

  /// RFC 8305, section 8: Connection Attempt Delay.
  public static let delay = TimeSpan.milliseconds(250)

  public let candidates: [IPAddress]
  private var started = 0
  private var running: Set<Int> = []
  private var due: Instant?
  private var isOver = false
  private var steps: [Step] = []

  /// - Parameter addresses: in the resolver's order.
  public init(_ addresses: [IPAddress], _ policy: FamilyPolicy, at now: Instant) {
    candidates = Self.order(addresses, policy)
    due = now
    handleTimeout(at: now)
  }

  /// Families take turns, beginning with the preferred one or, without a preference, with the resolver's first.
  static func order(_ addresses: [IPAddress], _ policy: FamilyPolicy) -> [IPAddress] {
    var seen: Set<IPAddress> = []
    return policy.ordered(addresses.map(\.canonical)).filter { seen.insert($0).inserted }
      .familiesTakingTurns(\.family)
  }

  public mutating func handleTimeout(at now: Instant) {
    guard !isOver, let due, now >= due else { return }
    startNext(at: now)
  }

  private mutating func startNext(at now: Instant) {
    guard started < candidates.count else {
      due = nil
      if running.isEmpty {
        isOver = true
        steps.append(.lost)
      }
      return
    }
    running.insert(started)
    steps.append(.start(started))
    started += 1
    due = started < candidates.count ? now + Self.delay : nil
  }

  /// An attempt came to nothing.
  public mutating func failed(_ place: Int, at now: Instant) {
    guard !isOver, running.remove(place) != nil else { return }
    startNext(at: now)
  }

  /// An attempt was answered; false when another one was before.
  public mutating func answered(_ place: Int) -> Bool {
    guard !isOver, running.contains(place) else { return false }
    isOver = true
    due = nil
    return true
  }

  public func nextDeadline() -> Instant? { due }

  public mutating func pollStep() -> Step? { steps.isEmpty ? nil : steps.removeFirst() }
}
