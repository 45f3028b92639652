import CryptoPrimitives
import Values

/// A WireGuard device without its sockets: our key, the peers, and all that is said before packets flow.
///
/// ```
///                 handshake messages ┌────────────────────┐ endpoints, allowed IPs, keys (events, taken by the owner)
///   Inbound ───────────────────────▶ │       Device       │ ────────────────────────────────▶ Inbound, Outbound
///      └────────── reports ────────▶ │ peers · timers ·   │
///   Outbound ───── reports ────────▶ │ cookies · load     │ ── handshake messages ──▶ the socket
///                                    └────────────────────┘
/// ```
///
/// The device sees no packet. `Inbound` and `Outbound` seal and open with keys that it hands out, each on its own
/// thread if need be, and report after each batch what came and went; timers, renewal and roaming follow from that.
///
/// The life of a session, begun by us: a packet waits (`Outbound` reports it) → initiation → response is read → the
/// events `receiveKey`, `sendKey` and `keepalive`, so that what waits leaves, or else an empty packet that proves the
/// session to the other end. Begun by the peer: its initiation is read → response and `receiveKey` → `Inbound` reports
/// the first message of the session → `sendKey`.
///
/// What strangers can do: nothing is answered that has no right `mac1`, and nothing is allocated for anybody before
/// its initiation is proven and newer than the last. See `CookieChecker` and `LoadGuard` for a device under load.
///
/// It does not know the time or chance: both are arguments. Its clock is never set; the wall clock is told by
/// `setWallClock` and goes into timestamps and nothing else. A clock that runs on while the machine sleeps is best:
/// sessions are then too old when it wakes, and are made anew.
///
/// After any call poll `pollTransmit` and `pollEvent` until they have nothing, and ask for `nextDeadline`.
public struct Device: ~Copyable {
  public enum Event: Sendable, Equatable {
    /// Take the key by `takeReceiveKey` and install it in `Inbound`.
    case receiveKey(localIndex: UInt32)
    /// Take the key by `takeSendKey` and install it in `Outbound`.
    case sendKey(PeerID, localIndex: UInt32)
    /// `Outbound` must not use the peer's key any more.
    case dropSendKey(PeerID)
    /// `Inbound` forgets a session.
    case retire(localIndex: UInt32)
    /// Release what waits for the peer; where nothing does, send an empty packet.
    case keepalive(PeerID)
    /// Release what waits for the peer.
    case release(PeerID)
    /// Drop what waits for the peer: it did not answer for 90 seconds.
    case gaveUp(PeerID)
    /// The peer is reached there now.
    case endpoint(PeerID, Endpoint?, EndpointChange)
    /// Both ends have proven a new session.
    case handshakeCompleted(PeerID)
    /// Give both pumps a copy of `allowedIPs`.
    case allowedIPsChanged
    /// The pumps forget the peer.
    case removed(PeerID)
    /// Contents for the peer are to be no larger than this; `nil` for as large as the device's MTU.
    case pathLimit(PeerID, Int?)
    /// The session in use is, or is not any more, one with a secret of ML-KEM-768.
    case postQuantum(PeerID, Bool)
  }

  /// Why a peer's endpoint is another.
  public enum EndpointChange: String, Sendable, Codable {
    case configured
    /// The name that was set has another address now.
    case resolved
    /// An authentic message came from there.
    case roamed
  }

  /// What came of a datagram, for counters.
  public enum Outcome: Sendable, Equatable, CaseIterable {
    case initiationTaken, responseTaken, cookieTaken
    /// Of no type and size that the device reads.
    case malformed
    /// Without the MAC that proves that the sender knows our key; or we have none.
    case wrongMAC
    /// The device is under load: the sender was asked for a cookie.
    case cookieDemanded
    /// The device is under load, and the sender or all together have had their share.
    case limited
    /// No peer of ours, or not made for this key.
    case unknownPeer
    /// An old initiation, or one too soon after another.
    case replayed
    /// An answer to nothing that we sent.
    case unexpected
    case forged
  }

  var identity: Identity?
  var checker: CookieChecker?
  var peers: [PeerID: Peer] = [:]
  var byKey: [PublicKey: PeerID] = [:]
  /// Whose index of ours is whose: of handshakes under way and of sessions.
  var indices: [UInt32: PeerID] = [:]
  public internal(set) var allowedIPs = AllowedIPs()

  /// Where the keys of handshakes are written for who looks for a fault; `nil`, as a rule: nowhere.
  public var keyLog: KeyLog?

  /// Told of what the timers go through; `nil`, as a rule. Set it before there are peers.
  public weak var witness: (any DeviceWitness)?

  var random: any RandomNumberGenerator
  private var guardian: LoadGuard
  /// For reading what strangers send; see `NoiseState`.
  let scratch = NoiseState()
  var outbox = Outbox()
  var events: [Event] = []
  private var eventsTaken = 0
  var sendKeys: [UInt32: KeyBox] = [:]
  var receiveKeys: [UInt32: KeyBox] = [:]
  var wakes = WakeQueue()
  private var lastPeer: UInt32 = 0
  public internal(set) var talk = TalkSettings.none
  /// What is to be said inside the tunnels.
  var talks: [Talk] = []
  var talksTaken = 0
  private var wall: (time: WallTime, at: Instant)?

  /// A key on its way to a pump.
  final class KeyBox {
    var send: SendKey?
    var receive: ReceiveKey?

    init(send: consuming SendKey? = nil, receive: consuming ReceiveKey? = nil) {
      self.send = send
      self.receive = receive
    }
  }

  /// - Parameter random: a generator for secrets.
  public init(limits: LoadLimits = LoadLimits(), random: any RandomNumberGenerator, at now: Instant) {
    var random = random
    guardian = LoadGuard(limits, using: &random, at: now)
    self.random = random
  }

  // MARK: The verbs

  /// Reads a handshake message that arrived.
  @discardableResult
  public mutating func receive(_ datagram: UnsafeRawBufferPointer, from source: Endpoint, at now: Instant) -> Outcome {
    switch MessageType(of: datagram) {
    case .initiation: receiveInitiation(datagram, from: source, at: now)
    case .response: receiveResponse(datagram, from: source, at: now)
    case .cookieReply: receiveCookie(datagram, at: now)
    case .transport, nil: .malformed
    }
  }

  /// What the outbound pump sent, and whether somebody waits.
  public mutating func handle(_ report: Outbound.Report, at now: Instant) {
    guard let peer = peers[report.peer] else { return }
    peer.sentBytes &+= report.bytes
    if report.packets > 0 {
      tell(peer, .dataSent, at: now)
      if let talk = peer.talk {
        talk.sent(bytes: report.bytes, at: now)
        hear(peer)
      }
    }
    // Talk is a sign of life, as a keepalive is. It asks for no answer, and no session is renewed for it.
    if report.talks > 0 { tell(peer, .sent, at: now) }
    if report.packets > 0 || report.keepalives > 0 {
      tell(peer, .sent, at: now)
      if let session = peer.current,
        report.counter > WireGuardLimit.rekeyAfterMessages
          || session.isInitiator && now - session.birth >= WireGuardLimit.rekeyAfterTime
      {
        initiate(peer, at: now)
      }
    }
    if report.isWaiting {
      if peer.canSend(at: now), peer.current?.localIndex != report.localIndex {
        // The key is on its way to the pump, or came there after this report.
        events.append(.release(peer.id))
      } else {
        initiate(peer, at: now)
      }
    }
    noteDeadline(of: peer)
  }

  /// What the inbound pump opened of a session.
  public mutating func handle(_ report: Inbound.Report, at now: Instant) {
    guard report.packets > 0 || report.keepalives > 0 || report.talks > 0, let peer = peers[report.peer] else { return }
    peer.receivedBytes &+= report.bytes
    if let next = peer.next, next.localIndex == report.localIndex { confirm(peer, next, at: now) }
    move(peer, to: report.source)
    tell(peer, .received, at: now)
    if report.packets > 0 { tell(peer, .dataReceived, at: now) }
    if report.packets > 0 || report.keepalives > 0 { renewWhereOld(peer, at: now) }
    noteDeadline(of: peer)
  }

  public mutating func handleTimeout(at now: Instant) {
    while let peer = wakes.popDue(at: now) {
      tellTime(peer, at: now)
      while let action = peer.timers.pollAction() { perform(action, peer, at: now) }
      if let talk = peer.talk {
        talk.handleTimeout(at: now)
        hear(peer, at: now)
      }
      noteDeadline(of: peer)
    }
  }

  /// When `handleTimeout` is due, and why.
  public func nextDeadline() -> (Instant, String)? {
    if !outbox.isEmpty || eventsTaken < events.count || talksTaken < talks.count {
      return (Instant(nanoseconds: .min), "output is queued")
    }
    guard let (instant, peer) = wakes.first else { return nil }
    guard let (due, reason) = peer.nextDeadline(), due <= instant else {
      return (instant, "a look at a peer")
    }
    return (instant, reason)
  }

  /// Copies the next handshake message into a room of at least 148 bytes. Poll after each call, until `nil`.
  public mutating func pollTransmit(
    into room: UnsafeMutableRawBufferPointer
  ) -> (size: Int, destination: Endpoint)? { outbox.take(into: room) }

  /// Poll after each call, until `nil`.
  public mutating func pollEvent() -> Event? {
    guard eventsTaken < events.count else { return nil }
    let event = events[eventsTaken]
    eventsTaken += 1
    if eventsTaken == events.count {
      events.removeAll(keepingCapacity: true)
      eventsTaken = 0
    }
    return event
  }

  /// The key of an event `sendKey`: once.
  public mutating func takeSendKey(_ localIndex: UInt32) -> SendKey? {
    sendKeys.removeValue(forKey: localIndex)?.send.take()
  }

  /// The key of an event `receiveKey`: once.
  public mutating func takeReceiveKey(_ localIndex: UInt32) -> ReceiveKey? {
    receiveKeys.removeValue(forKey: localIndex)?.receive.take()
  }

  /// What time it is outside, for timestamps. Say it at the beginning, and again when it has changed.
  public mutating func setWallClock(_ time: WallTime, at now: Instant) { wall = (time, now) }

  public func isUnderLoad(at now: Instant) -> Bool { guardian.isUnderLoad(at: now) }

  // MARK: Helpers of all parts

  var wakeCount: Int { wakes.count }

  func wallTime(at now: Instant) -> WallTime {
    guard let wall else { return WallTime(seconds: 0) + TimeSpan(nanoseconds: now.nanoseconds) }
    return wall.time + (now - wall.at)
  }

  mutating func nextPeerID() -> PeerID {
    lastPeer += 1
    return PeerID(rawValue: lastPeer)
  }

  /// An index that nobody can guess and that nothing else has.
  mutating func drawIndex(for peer: Peer) -> UInt32 {
    while true {
      let index = UInt32(truncatingIfNeeded: random.next())
      if indices[index] == nil {
        indices[index] = peer.id
        return index
      }
    }
  }

  /// Sees to it that `handleTimeout` comes to the peer in time.
  mutating func noteDeadline(of peer: Peer) {
    if let (instant, _) = peer.nextDeadline() { wakes.wake(peer, at: instant) }
  }

  /// An authentic message came from there.
  mutating func move(_ peer: Peer, to source: Endpoint) {
    guard peer.endpoint != source else { return }
    peer.endpoint = source
    events.append(.endpoint(peer.id, source, .roamed))
    peer.talk?.pathChanged()
  }

  /// Counts a handshake message with a right first MAC, and asks for a cookie where that is due; `nil` to go on.
  ///
  /// What costs nothing is looked at first: of a flood most messages bring no cookie, and most of those get none.
  mutating func admit(
    _ datagram: UnsafeRawBufferPointer, mac1Offset: Int, sender: UInt32, from source: Endpoint, at now: Instant
  ) -> Outcome? {
    let claimsCookie = CookieChecker.hasMAC2(datagram, mac1Offset: mac1Offset)
    if !claimsCookie, guardian.isUnderLoad(at: now), !guardian.hasCookies(at: now) { return .limited }
    guard checker?.isMAC1Right(datagram, mac1Offset: mac1Offset) == true else { return .wrongMAC }
    guard guardian.count(at: now) else { return nil }
    let hasCookie =
      claimsCookie && checker?.isMAC2Right(datagram, mac1Offset: mac1Offset, from: source, at: now) == true
    switch guardian.judge(from: source, hasCookie: hasCookie, at: now) {
    case .take: return nil
    case .drop: return .limited
    case .demandCookie:
      guard let room = outbox.add(CookieReplyMessage.size, to: source) else { return .limited }
      let isMade = checker?.writeReply(
        to: datagram, mac1Offset: mac1Offset, sender: sender, from: source, at: now, into: room, using: &random)
      if isMade != true { outbox.takeBack() }
      return .cookieDemanded
    }
  }
}
