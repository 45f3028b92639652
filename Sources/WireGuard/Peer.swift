import CryptoPrimitives
import Values

/// What a device knows of one peer: who it is, the handshake that is under way, the sessions, the timers.
///
/// ```
///   handshake     none ──initiation sent──▶ initiated ──response read──▶ none, session (initiator)
///                 none ──initiation read, response sent──▶ none, session (responder)
///
///   sessions      next ──first message opened──▶ current ──▶ previous ──▶ retired
///                  ▲ responder's                  ▲ initiator's
/// ```
///
/// The responder does not use a session before the initiator has: the response may be lost, and the initiator would
/// understand nothing. The session before stays, as messages sealed with it may still be under way.
///
/// A class, because the device's table holds it and its keys may not be copied; nobody outside of the device sees it.
final class Peer {
  let id: PeerID
  let publicKey: PublicKey
  /// DH of both static keys, where they can agree: not while the device has no key, nor with a point of low order.
  let staticStatic = SecretKey()
  var canAgree = false
  let preshared = SecretKey()

  let noise = NoiseState()
  var handshake = HandshakeState.none
  var jar: CookieJar
  var timers = PeerTimers()

  var previous: Session?
  var current: Session?
  var next: Session?
  /// The sending key of `next`, until the initiator has shown that it has the session.
  var nextSendKey: SendKey?

  var endpoint: Endpoint?
  /// Of initiations: the newest that was taken, and the newest that was sent.
  var newestTaken = Timestamp.zero
  var newestSent = Timestamp.zero
  var lastInitiationTaken: Instant?
  var lastHandshakeSent: Instant?
  /// The session's last minute has begun, and an initiation was sent for it.
  var isRenewing = false

  var receivedBytes: UInt64 = 0
  var sentBytes: UInt64 = 0
  var lastHandshake: Instant?
  var roundTrip: TimeSpan?

  /// Where the peer stands in the queue of those to be woken.
  var wakePlace: Int?

  enum HandshakeState: Equatable {
    case none
    /// Our initiation, with our index, waits for its response.
    case initiated(UInt32)
  }

  /// A session as the device sees it: its keys are with the pumps.
  struct Session: Equatable {
    let localIndex: UInt32
    let birth: Instant
    let isInitiator: Bool
  }

  init(_ id: PeerID, _ publicKey: PublicKey) {
    self.id = id
    self.publicKey = publicKey
    jar = CookieJar(of: publicKey)
  }

  var sessions: [Session] { [previous, current, next].compactMap { $0 } }

  /// Whether there is a session to send with.
  func canSend(at now: Instant) -> Bool {
    current.map { now - $0.birth < WireGuardLimit.rejectAfterTime } ?? false
  }
}

/// A peer as it is shown.
public struct PeerStatus: Sendable, Equatable {
  public let id: PeerID
  public let publicKey: PublicKey
  public let hasPresharedKey: Bool
  public let endpoint: Endpoint?
  public let persistentKeepalive: TimeSpan
  /// When the newest session was proven by both ends; `nil` for never.
  public let lastHandshake: Instant?
  /// From the last initiation of ours to its response.
  public let roundTrip: TimeSpan?
  /// Of all authentic messages, their headers and padding included.
  public let receivedBytes: UInt64
  public let sentBytes: UInt64
}
