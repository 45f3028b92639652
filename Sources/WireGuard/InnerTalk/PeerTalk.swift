import CryptoPrimitives
import Values

/// What a device may say to peers inside the tunnel, beside packets. With none of it, it is as silent as any WireGuard.
public struct TalkSettings: Sendable, Equatable {
  /// Preshared keys that are made by ML-KEM-768, with those who can.
  public var postQuantum: Bool
  /// The path's MTU is found out, with those who answer.
  public var pathMTU: Bool
  /// Of the tunnel's device, in bytes: nothing larger is asked for.
  public var mtu: Int

  public init(postQuantum: Bool = true, pathMTU: Bool = true, mtu: Int = 1420) {
    self.postQuantum = postQuantum
    self.pathMTU = pathMTU
    self.mtu = mtu
  }

  public static let none = TalkSettings(postQuantum: false, pathMTU: false)

  var isOn: Bool { postQuantum || pathMTU }

  var capabilities: TalkCapabilities { postQuantum ? [.probes, .postQuantum] : .probes }
}

/// A message for a peer that is ready to be sealed.
public struct Talk: Sendable, Equatable {
  public let peer: PeerID
  /// The session in which the other end is known to understand it; in another it must not be sent.
  public let localIndex: UInt32
  public let content: [UInt8]
  /// Of the content with its padding, in bytes.
  public let size: Int
  /// A probe: it must not be cut in pieces on its way.
  public let isProbe: Bool
}

/// What a session is to those who talk in it. That the other end understands us belongs to the session and not to the
/// peer: its key may be in another program tomorrow.
final class SessionTalk {
  let localIndex: UInt32
  let isInitiator: Bool
  /// The initiation said that its sender talks, and we do: the responder may say hello.
  let isMarked: Bool
  let isPostQuantum: Bool
  /// A secret of both ends that is no key of anything; wiped with the session.
  let binding: SecretKey
  /// The other end's, once it has said them.
  var capabilities: TalkCapabilities?

  init(localIndex: UInt32, isInitiator: Bool, isMarked: Bool, isPostQuantum: Bool, binding: consuming SecretKey) {
    self.localIndex = localIndex
    self.isInitiator = isInitiator
    self.isMarked = isMarked
    self.isPostQuantum = isPostQuantum
    self.binding = binding
  }
}

/// All that is said to one peer beside packets, as a machine of its own: it tells the other end that it is understood,
/// and carries what the prober and the rotation of secrets want to say.
///
/// ```
///   initiator   initiation with a mark ─▶ session ─▶ waits five seconds for a hello ─▶ answers it: known
///   responder   reads the mark ─▶ session is proven ─▶ hello, four times at most ─▶ answer: known
/// ```
///
/// Before the other end is known nothing but hello is said. What it says in a session where it is not known, and what
/// cannot be read, is refused: for those who count, it is a packet that is no IP.
final class PeerTalk {
  enum Event: Equatable {
    /// The largest content for the peer; `nil` for the device's MTU.
    case limit(Int?)
    /// A session with a new secret is wanted soon.
    case renewal
  }

  private(set) var settings = TalkSettings.none
  let rotation = SecretRotation()
  private(set) var prober: PathProber
  /// The session that packets are sent in.
  private(set) var session: SessionTalk?
  private let statics: (ours: PublicKey, theirs: PublicKey)

  private var helloToken: UInt32
  private var helloTries = 0
  private var helloSent: Instant?
  private var deadline: Instant?
  private var saidLimit: Int?
  private var lastRenewal: Instant?
  private var outgoing: [TalkMessage] = []
  private var events: [Event] = []

  private static let maximumHellos = 4
  private static let firstWait = TimeSpan.seconds(1)
  /// So long an initiator believes that a hello may come.
  private static let patience = TimeSpan.seconds(5)

  init(ours: PublicKey, theirs: PublicKey, settings: TalkSettings, token: UInt32) {
    statics = (ours, theirs)
    self.settings = settings
    helloToken = token
    prober = PathProber(token: token)
  }

  var isKnown: Bool { session?.capabilities != nil }

  // MARK: The verbs

  /// A session is the one that packets are sent in from now on.
  func begin(_ session: SessionTalk, at now: Instant) {
    self.session = session
    if session.isPostQuantum { lastRenewal = nil }
    outgoing = []
    rotation.abandon()
    deadline = nil
    helloSent = nil
    guard settings.isOn, session.isMarked else {
      prober.stop()
      drain()
      return
    }
    if session.isInitiator {
      deadline = now + Self.patience
    } else {
      helloTries = 0
      helloToken &+= 1
      hello(at: now)
    }
    drain()
  }

  /// All sessions are over.
  func end() {
    session = nil
    outgoing = []
    rotation.abandon()
    deadline = nil
    prober.stop()
    drain()
  }

  func change(_ settings: TalkSettings, at now: Instant, using random: inout some RandomNumberGenerator) {
    guard settings != self.settings else { return }
    self.settings = settings
    if !settings.postQuantum { rotation.forget() }
    if !settings.pathMTU { prober.stop() }
    if isKnown { know(at: now, using: &random) }
    drain()
  }

  /// Reads a content that is no IP packet. False when it is none that may be said in that session.
  func receive(
    _ content: UnsafeRawBufferPointer, in session: SessionTalk, at now: Instant,
    using random: inout some RandomNumberGenerator
  ) -> Bool {
    guard settings.isOn, session.isMarked else { return false }
    defer { drain() }
    switch TalkMessage.read(content) {
    case .malformed: return false
    case .unknown: return session.capabilities != nil
    case .message(.hello(let token, let capabilities)):
      guard session.isInitiator else { return false }
      let isNew = session.capabilities == nil
      session.capabilities = capabilities
      guard session === self.session else { return true }
      outgoing.append(.helloAnswer(token: token, settings.capabilities))
      if isNew { know(at: now, using: &random) }
    case .message(.helloAnswer(let token, let capabilities)):
      guard !session.isInitiator, session === self.session, token == helloToken else { return false }
      if let helloSent { prober.measured(now - helloSent) }
      helloSent = nil
      guard session.capabilities == nil else { return true }
      session.capabilities = capabilities
      deadline = nil
      know(at: now, using: &random)
    case .message(let message):
      guard session.capabilities != nil else { return false }
      take(message, in: session, at: now, using: &random)
    }
    return true
  }

  /// Packets were sent, of so many bytes together.
  func sent(bytes: UInt64, at now: Instant) {
    guard isKnown, settings.pathMTU else { return }
    prober.sent(bytes: bytes, at: now)
    drain()
  }

  /// A handshake took so long.
  func measured(_ span: TimeSpan) { prober.measured(span) }

  /// The peer is elsewhere, or we are.
  func pathChanged() { prober.pathChanged() }

  func probeDidNotFit(size: Int, at now: Instant) {
    prober.didNotFit(size: size, at: now)
    drain()
  }

  func handleTimeout(at now: Instant) {
    if let instant = deadline, instant <= now {
      deadline = nil
      if session?.isInitiator == true {
        // Whoever has the key now is no Culvert.
        prober.stop()
      } else {
        hello(at: now)
      }
    }
    prober.handleTimeout(at: now)
    rotation.handleTimeout(at: now)
    drain()
  }

  func nextDeadline() -> Instant? {
    var next: Instant?
    for case let instant? in [deadline, prober.nextDeadline(), rotation.nextDeadline()] {
      next = next.map { min($0, instant) } ?? instant
    }
    return next
  }

  /// Poll after each call, until `nil`.
  func pollTransmit() -> TalkMessage? { outgoing.isEmpty ? nil : outgoing.removeFirst() }

  /// Poll after each call, until `nil`.
  func pollEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  // MARK: Steps

  private func hello(at now: Instant) {
    guard helloTries < Self.maximumHellos else {
      prober.stop()
      return
    }
    outgoing.append(.hello(token: helloToken, settings.capabilities))
    // A round trip is measured where it is clear which one was answered.
    helloSent = helloTries == 0 ? now : nil
    deadline = now + Self.firstWait * Int64(1 << helloTries)
    helloTries += 1
  }

  /// The other end understands.
  private func know(at now: Instant, using random: inout some RandomNumberGenerator) {
    guard let session, let theirs = session.capabilities else { return }
    deadline = nil
    if settings.pathMTU, theirs.contains(.probes) {
      prober.start(maximum: settings.mtu, at: now)
    } else {
      prober.stop()
    }
    if settings.postQuantum, theirs.contains(.postQuantum), session.isInitiator {
      rotation.begin(at: now, using: &random)
    }
  }

  private func take(
    _ message: TalkMessage, in session: SessionTalk, at now: Instant, using random: inout some RandomNumberGenerator
  ) {
    switch message {
    case .probe(let token, let size): outgoing.append(.probeAnswer(token: token, size: size))
    case .probeAnswer(let token, let size): prober.answered(token: token, size: size, at: now)
    case .kemKey, .kemText, .kemDone:
      guard settings.postQuantum, session === self.session else { return }
      let pair = session.isInitiator ? (statics.ours, statics.theirs) : (statics.theirs, statics.ours)
      rotation.receive(message, binding: session.binding, statics: pair, at: now, using: &random)
      while let output = rotation.pollOutput() { obey(output, at: now) }
    case .hello, .helloAnswer: break
    }
  }

  private func obey(_ output: SecretRotation.Output, at now: Instant) {
    switch output {
    case .send(let message): outgoing.append(message)
    case .adopted:
      // The first session is made without; whoever began it soon makes one that is better. Once, until that succeeds:
      // where the other end loses its secrets at once it would be all that is done.
      guard let session, session.isInitiator, !session.isPostQuantum else { return }
      if let last = lastRenewal, now - last < WireGuardLimit.rekeyAfterTime { return }
      lastRenewal = now
      events.append(.renewal)
    }
  }

  private func drain() {
    while let output = rotation.pollOutput() {
      if case .send(let message) = output { outgoing.append(message) }
    }
    while let probe = prober.pollTransmit() { outgoing.append(.probe(token: probe.token, size: probe.size)) }
    if prober.limit != saidLimit {
      saidLimit = prober.limit
      events.append(.limit(saidLimit))
    }
  }
}
