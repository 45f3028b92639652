import Values

/// All waiting that is done for one peer (section 6), as a machine of its own: what happened goes in, what is to be done
/// comes out. It knows neither keys nor packets.
///
/// ```
///   timer              set by                                 unset by                   when it is over
///   retransmission     initiation sent or held back (5 s      session with the peer      initiation again, 18 times;
///                      + jitter)                                                         then give up
///   passive keepalive  data received (10 s), if unset         anything sent              an empty packet
///   new handshake      data sent (15 s + jitter), if unset    anything received          initiation
///   forgetting         session (540 s), given up              the next session           the keys are wiped
///   persistent         anything sent or received              –                          an empty packet
/// ```
///
/// - A passive keepalive answers data only, never another keepalive: else two silent ends would talk for ever. If more
///   data came while it waited, it is set anew when it is over.
/// - Every wait for an initiation has jitter of up to a third of a second, so that two ends which began in the same
///   moment do not go on doing so.
/// - An interval that is asked for by the user (persistent keepalive, against a NAT's forgetting) counts from the last
///   packet in either direction, so that it costs nothing while there is traffic.
public struct PeerTimers: Sendable, Equatable {
  public enum Input: Sendable, Codable, Equatable {
    /// A packet with content was sent.
    case dataSent
    /// A packet with content was received and opened.
    case dataReceived
    /// Anything authentic was sent: content, an empty packet, a handshake message.
    case sent
    /// Anything authentic was received; a cookie reply is not.
    case received
    case initiationSent
    /// An initiation was wanted, but a handshake message was sent less than five seconds ago: at that moment.
    case initiationHeldBack(since: Instant)
    /// The peer has proven that it has the keys of the newest session.
    case handshakeCompleted
    /// There are new keys.
    case sessionDerived
    /// The interval of the persistent keepalive; 0 for none.
    case persistentKeepalive(TimeSpan)
    /// The device was closed, or the peer's keys are gone: nothing is waited for any more.
    case stopped
  }

  public enum Action: Sendable, Equatable, CaseIterable {
    /// Send an initiation; it is a further try.
    case retry
    /// Begin a handshake: the peer has gone silent.
    case initiate
    /// Send what is queued, or an empty packet.
    case keepalive
    /// There has been no answer for 90 seconds: drop what is queued.
    case giveUp
    /// Wipe the sessions' keys.
    case forget

    fileprivate var bit: UInt8 {
      switch self {
      case .retry: 1
      case .initiate: 2
      case .keepalive: 4
      case .giveUp: 8
      case .forget: 16
      }
    }
  }

  public enum Reason: String, Sendable, CaseIterable {
    case retransmission = "the response to an initiation"
    case passiveKeepalive = "a keepalive for what was received"
    case newHandshake = "an answer to what was sent"
    case forgetting = "forgetting old keys"
    case persistentKeepalive = "the persistent keepalive"
  }

  /// Tries before giving up: as many as fit into the attempt time.
  static let maximumAttempts = Int(
    WireGuardLimit.rekeyAttemptTime.nanoseconds / WireGuardLimit.rekeyTimeout.nanoseconds)

  private var retransmission: Instant?
  private var passiveKeepalive: Instant?
  private var newHandshake: Instant?
  private var forgetting: Instant?
  private var persistent: Instant?
  private var interval = TimeSpan.zero
  private var needsAnotherKeepalive = false
  /// A bit for each action, in their order.
  private var due: UInt8 = 0
  /// Initiations sent since the first of this handshake.
  public private(set) var attempts = 0

  public init() {}

  public var persistentInterval: TimeSpan { interval }

  public mutating func handle(_ input: Input, at now: Instant, using random: inout some RandomNumberGenerator) {
    switch input {
    case .dataSent:
      if newHandshake == nil {
        newHandshake =
          now + WireGuardLimit.keepaliveTimeout + WireGuardLimit.rekeyTimeout + Self.jitter(using: &random)
      }
    case .dataReceived:
      if passiveKeepalive == nil {
        passiveKeepalive = now + WireGuardLimit.keepaliveTimeout
      } else {
        needsAnotherKeepalive = true
      }
    case .sent:
      passiveKeepalive = nil
      needsAnotherKeepalive = false
      restartPersistent(at: now)
    case .received:
      newHandshake = nil
      restartPersistent(at: now)
    case .initiationSent:
      retransmission = now + WireGuardLimit.rekeyTimeout + Self.jitter(using: &random)
    case .initiationHeldBack(let last):
      // What waits must not wait for a packet more.
      if retransmission == nil { retransmission = last + WireGuardLimit.rekeyTimeout + Self.jitter(using: &random) }
    case .handshakeCompleted:
      retransmission = nil
      attempts = 0
    case .sessionDerived:
      forgetting = now + WireGuardLimit.forgetAfterTime
    case .persistentKeepalive(let interval):
      self.interval = max(interval, .zero)
      persistent = nil
      restartPersistent(at: now)
    case .stopped:
      let interval = interval
      self = PeerTimers()
      self.interval = interval
    }
  }

  /// A handshake begins for a reason of its own: its tries are counted from here.
  public mutating func resetAttempts() { attempts = 0 }

  public mutating func handleTimeout(at now: Instant, using random: inout some RandomNumberGenerator) {
    if let instant = retransmission, instant <= now {
      retransmission = nil
      attempts += 1
      if attempts > Self.maximumAttempts {
        passiveKeepalive = nil
        needsAnotherKeepalive = false
        want(.giveUp)
        if forgetting == nil { forgetting = now + WireGuardLimit.forgetAfterTime }
      } else {
        want(.retry)
      }
    }
    if let instant = passiveKeepalive, instant <= now {
      passiveKeepalive = nil
      want(.keepalive)
      if needsAnotherKeepalive {
        needsAnotherKeepalive = false
        passiveKeepalive = now + WireGuardLimit.keepaliveTimeout
      }
    }
    if let instant = newHandshake, instant <= now {
      newHandshake = nil
      want(.initiate)
    }
    if let instant = forgetting, instant <= now {
      forgetting = nil
      want(.forget)
    }
    if let instant = persistent, instant <= now {
      // Sending will set it again; this is for a packet that cannot be sent.
      persistent = now + interval
      want(.keepalive)
    }
  }

  public func nextDeadline() -> (Instant, Reason)? {
    var next: (Instant, Reason)?
    for (instant, reason) in [
      (retransmission, Reason.retransmission), (passiveKeepalive, .passiveKeepalive), (newHandshake, .newHandshake),
      (forgetting, .forgetting), (persistent, .persistentKeepalive),
    ] {
      guard let instant else { continue }
      if let earliest = next, earliest.0 <= instant { continue }
      next = (instant, reason)
    }
    return next
  }

  /// What is to be done now. Poll after each timeout, until `nil`.
  public mutating func pollAction() -> Action? {
    for action in Action.allCases where due & action.bit != 0 {
      due &= ~action.bit
      return action
    }
    return nil
  }

  private mutating func want(_ action: Action) { due |= action.bit }

  private mutating func restartPersistent(at now: Instant) {
    if interval > .zero { persistent = now + interval }
  }

  private static func jitter(using random: inout some RandomNumberGenerator) -> TimeSpan {
    TimeSpan(nanoseconds: Int64.random(in: 0...WireGuardLimit.maximumJitter.nanoseconds, using: &random))
  }
}
