import STUN
import Values

/// Asks one server on one socket or connection: a few round trips with Binding requests, and, where it is to relay,
/// whether it would: an allocation that is given back at once (RFC 8656, sections 7 and 8).
///
/// ```
///   Binding × n ──▶ Allocate ──401──▶ Allocate with a name ──granted──▶ Refresh with a lifetime of 0 ──▶ finished
///                      │ 401, and no name is known: the server relays for those whom it knows
///                      └ 400, 404, 420, silence: it does not relay, or says nothing
/// ```
///
/// The same machine serves datagrams, where requests are sent again, and streams, where they are sent once. A server
/// that never answers, or asks for another name or nonce for ever, is given up.
public struct RelayDialogue: Sendable {
  public struct Credentials: Sendable, Equatable {
    public let username: String
    public let password: String

    public init(username: String, password: String) {
      self.username = username
      self.password = password
    }
  }

  public struct Question: Sendable, Equatable {
    /// Whether requests arrive by themselves: TCP, TLS.
    public var isStream: Bool
    /// Binding requests to measure with.
    public var samples: Int
    public var asksAllocation: Bool
    /// The family of the allocation; `nil` leaves it to the server.
    public var family: AddressFamily?
    public var credentials: Credentials?

    public init(
      isStream: Bool, samples: Int, asksAllocation: Bool = false, family: AddressFamily? = nil,
      credentials: Credentials? = nil
    ) {
      self.isStream = isStream
      self.samples = samples
      self.asksAllocation = asksAllocation
      self.family = family
      self.credentials = credentials
    }
  }

  /// What became of an allocation.
  public enum Allocation: Sendable, Hashable {
    case notAsked
    case granted(relayed: Endpoint, lifetime: TimeSpan)
    /// The server relays, for those with a name of this realm; none was given.
    case needsCredentials(realm: String)
    /// Its code and words: 401 or 441 after a name was given, 440, 486, 508 and so on.
    case refused(code: Int, reason: String)
    case silent
    /// The answer cannot be understood, or is not signed.
    case strange(String)
  }

  private let question: Question
  private var transactions: TransactionSource
  private var open: Open?
  private var isFinished = false
  private var realm: [UInt8] = []
  private var nonce: [UInt8] = []
  private var algorithms: [UInt8]?
  private var chosen = PasswordAlgorithm.md5
  private var key: STUNKey?
  private var nonces = 0
  public private(set) var mapped: Endpoint?
  public private(set) var roundTrips: [TimeSpan] = []
  public private(set) var lost = 0
  /// The server's answer to Binding was a failure.
  public private(set) var failure: String?
  public private(set) var allocation = Allocation.notAsked

  /// A request that waits for its answer.
  private struct Open: Sendable {
    let transaction: TransactionID
    let step: Step
    let bytes: [UInt8]
    var sends = 0
    var sentAt: Instant?
    var due: Instant
  }

  private enum Step: Sendable, Equatable {
    case binding(Int), allocate, release

    var isBinding: Bool {
      if case .binding = self { return true }
      return false
    }
  }

  public init(_ question: Question, secret: [UInt8], at now: Instant) {
    self.question = question
    transactions = TransactionSource(secret: secret)
    if question.samples > 0 { ask(.binding(0), at: now) } else { askAllocation(at: now) }
  }

  // MARK: Input

  /// A datagram, or a message of a stream. False when it is no answer to what was asked.
  // Swift 6.3.1 breaks off where it makes one function of these and their callers in other modules.
  @inline(never)
  public mutating func handle(_ bytes: UnsafeRawBufferPointer, at now: Instant) -> Bool {
    guard let message = STUNMessage(bytes), let open, message.transaction == open.transaction,
      message.kind == .success || message.kind == .failure, message.isFingerprintRight != false
    else { return false }
    guard (message.method == .binding) == open.step.isBinding else { return false }
    self.open = nil
    switch open.step {
    case .binding(let number):
      let answer = BindingAnswer(message)
      mapped = mapped ?? answer.mapped
      failure = failure ?? answer.failure
      if open.sends == 1, let sent = open.sentAt { roundTrips.append(now - sent) }
      afterBinding(number, at: now)
    case .allocate: answered(message, at: now)
    case .release: isFinished = true
    }
    return true
  }

  @inline(never)
  public mutating func handleTimeout(at now: Instant) {
    guard let open, open.due <= now, open.sends >= pace(open.step).sends else { return }
    self.open = nil
    switch open.step {
    case .binding(let number):
      lost += 1
      // Nobody there: an allocation would not be answered either.
      if roundTrips.isEmpty, mapped == nil, failure == nil {
        isFinished = true
        if question.asksAllocation { allocation = .silent }
      } else {
        afterBinding(number, at: now)
      }
    case .allocate:
      allocation = .silent
      isFinished = true
    case .release: isFinished = true
    }
  }

  // MARK: Output

  public var isOver: Bool { isFinished }
  public var wasAnswered: Bool { mapped != nil || failure != nil || allocation.isAnswer }
  public var nextDeadline: Instant? { open?.due }

  /// Bytes for one datagram, or the next of a stream.
  @inline(never)
  public mutating func pollTransmit(at now: Instant) -> [UInt8]? {
    guard var open, open.due <= now, open.sends < pace(open.step).sends else { return nil }
    open.sends += 1
    if open.sentAt == nil { open.sentAt = now }
    open.due = now + pace(open.step).wait(after: open.sends)
    self.open = open
    return open.bytes
  }

  // MARK: Steps

  private func pace(_ step: Step) -> Pace {
    if question.isStream { return Pace(gap: .seconds(3), sends: 1) }
    if step == .release { return Pace(gap: .milliseconds(200), sends: 2) }
    return roundTrips.isEmpty ? .contact : .after(DiscoveryResult.median(roundTrips) ?? .milliseconds(150), sends: 4)
  }

  private mutating func afterBinding(_ number: Int, at now: Instant) {
    if number + 1 < question.samples { ask(.binding(number + 1), at: now) } else { askAllocation(at: now) }
  }

  private mutating func askAllocation(at now: Instant) {
    if question.asksAllocation { ask(.allocate, at: now) } else { isFinished = true }
  }

  private mutating func ask(_ step: Step, at now: Instant) {
    let transaction = transactions.next()
    let bytes: [UInt8]
    switch step {
    case .binding: bytes = BindingRequest.bytes(transaction)
    case .allocate:
      var writer = STUNWriter(.request, .allocate, transaction)
      // UDP.
      writer.add(.requestedTransport, byte: 17)
      if let family = question.family { writer.add(.requestedAddressFamily, byte: STUNFamily.code(family)) }
      bytes = signed(writer)
    case .release:
      var writer = STUNWriter(.request, .refresh, transaction)
      writer.add(.lifetime, UInt32(0))
      bytes = signed(writer)
    }
    open = Open(transaction: transaction, step: step, bytes: bytes, due: now)
  }

  private func signed(_ writer: STUNWriter) -> [UInt8] {
    guard let key, let credentials = question.credentials else { return writer.bytes }
    var writer = writer
    writer.add(.username, credentials.username)
    writer.add(.realm, realm)
    writer.add(.nonce, nonce)
    if let algorithms {
      writer.add(.passwordAlgorithms, algorithms)
      writer.add(.passwordAlgorithm, PasswordAlgorithm.encoded([chosen]))
    }
    writer.add(integrity: key)
    return writer.bytes
  }

  private mutating func answered(_ message: STUNMessage, at now: Instant) {
    guard message.method == .allocate else {
      end(.strange("its answer belongs to another request"))
      return
    }
    if message.kind == .success {
      if let key, !message.isAuthentic(key) {
        end(.strange("its answer is not signed with the password"))
        return
      }
      guard let relayed = message.xorAddress(.xorRelayedAddress) else {
        end(.strange("its answer holds no relayed address"))
        return
      }
      mapped = mapped ?? message.xorAddress(.xorMappedAddress)
      allocation = .granted(relayed: relayed, lifetime: .seconds(Int64(message.number(.lifetime) ?? 0)))
      ask(.release, at: now)
      return
    }
    guard let error = message.error() else {
      end(.strange("it refuses without a code"))
      return
    }
    guard error.number == 401 || error.number == 438, let realm = message.bytes(.realm) ?? known(self.realm),
      let nonce = message.bytes(.nonce)
    else {
      end(.refused(code: error.number, reason: error.reason))
      return
    }
    let text = String(decoding: realm, as: UTF8.self)
    guard let credentials = question.credentials else {
      end(.needsCredentials(realm: text))
      return
    }
    // A first 401 asks for the name, a later one refuses it; a nonce may be too old, but not for ever.
    nonces += 1
    guard error.number == 438 ? nonces <= 3 : key == nil else {
      end(.refused(code: error.number, reason: error.reason))
      return
    }
    (self.realm, self.nonce) = (realm, nonce)
    choose(message, realm: text, credentials)
    ask(.allocate, at: now)
  }

  /// The algorithm and the key (RFC 8489, section 9.2.5).
  private mutating func choose(_ message: STUNMessage, realm: String, _ credentials: Credentials) {
    chosen = .md5
    algorithms = nil
    var integrity = STUNIntegrity.sha1
    if NonceFeatures(nonce: nonce)?.hasPasswordAlgorithms == true, let offered = message[.passwordAlgorithms],
      let known = PasswordAlgorithm.list(offered)
    {
      algorithms = [UInt8](offered)
      chosen = known.contains(.sha256) ? .sha256 : .md5
      integrity = .sha256
    }
    key = chosen.key(username: credentials.username, realm: realm, password: credentials.password, integrity)
  }

  private func known(_ realm: [UInt8]) -> [UInt8]? { realm.isEmpty ? nil : realm }

  private mutating func end(_ result: Allocation) {
    allocation = result
    isFinished = true
  }
}

extension RelayDialogue.Allocation {
  /// Whether the server said anything to it.
  public var isAnswer: Bool {
    switch self {
    case .notAsked, .silent: false
    case .granted, .needsCredentials, .refused, .strange: true
    }
  }

  /// Whether the server relays, for us or for others.
  public var isRelay: Bool {
    switch self {
    case .granted, .needsCredentials: true
    // Everything that a server says who knows what an allocation is (RFC 8656, section 19).
    case .refused(let code, _): [401, 403, 437, 438, 440, 441, 442, 486, 508, 300].contains(code)
    case .notAsked, .silent, .strange: false
    }
  }
}
