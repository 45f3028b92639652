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

  /// What is said beside packets; `nil` while the device has no key.
  var talk: PeerTalk?
  /// What was told of the session in use.
  var wasPostQuantum = false

  enum HandshakeState: Equatable {
    case none
    /// Our initiation, with our index, waits for its response. It had a mark, by which it named a secret; 0 for none.
    case initiated(UInt32, mark: UInt8?)
  }

  /// A session as the device sees it: its keys are with the pumps.
  struct Session {
    let localIndex: UInt32
    let birth: Instant
    let isInitiator: Bool
    let talk: SessionTalk
  }

  init(_ id: PeerID, _ publicKey: PublicKey) {
    self.id = id
    self.publicKey = publicKey
    jar = CookieJar(of: publicKey)
  }

  var sessions: [Session] { [previous, current, next].compactMap { $0 } }

  func nextDeadline() -> (Instant, String)? {
    let timer = timers.nextDeadline().map { ($0.0, $0.1.rawValue) }
    guard let talk = talk?.nextDeadline() else { return timer }
    if let timer, timer.0 <= talk { return timer }
    return (talk, "an answer inside the tunnel")
  }

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
  /// Of handshakes, and of probes where the other end answers them.
  public let roundTrip: TimeSpan?
  /// Of all authentic messages, their headers and padding included.
  public let receivedBytes: UInt64
  public let sentBytes: UInt64
  /// The other end is a Culvert that has answered inside of the session in use.
  public let isCulvert: Bool
  /// The session in use was made with a secret of ML-KEM-768.
  public let isPostQuantum: Bool
  /// The largest packet that gets through to the peer, as far as it was asked; in bytes.
  public let pathMTU: Int?
}
