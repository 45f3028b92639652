import STUN
import Values

/// Finds out over UDP what lies between this host and one STUN server (RFC 5780), as far as that server can tell.
///
/// ```
///   contact ──answered──▶ round trips                     silence, or a refusal ──▶ finished
///      │                  mapping:   asks the server's other address and port for what they see
///      │                  filtering: has the server answer from its other address and port
///      │                  hairpin:   two sockets of ours talk to each other by their outside addresses
///      │                  size:      larger and smaller requests that nobody may cut in pieces
///      ▼
///   all of them at once, each to its own end ──▶ finished
/// ```
///
/// Facts are collected as they come, and judged only in `result`, from whatever has come by then: an answer that was
/// given up is still taken, and a check that is ended early has what it knows, and says of the rest why it is unknown.
///
/// Silence is evidence only where an answer was possible. That nothing came from the server's other address counts
/// against the NAT's filter only when the same address answered another socket that had asked it.
///
/// What arrives is matched by 96 bits that nobody can guess. Whatever a server says, requests go to at most three more
/// addresses than it was asked at, each a few times, none of them a loopback or multicast address (but on a host that
/// asks itself). Nothing here traps or waits for ever: every request is given up after a few sends.
public struct NATDiscovery: Sendable {
  public struct Settings: Sendable, Equatable {
    /// Round trips to measure, the first included.
    public var samples = 5
    public var testsHairpin = true
    /// Of the link to the server, bytes; `nil` leaves the path's size alone.
    public var linkMTU: Int?

    public init(linkMTU: Int? = nil) { self.linkMTU = linkMTU }
  }

  /// What the owner can tell of before everything is over.
  public enum Event: Sendable, Equatable {
    /// The server answers.
    case answered(mapped: Endpoint?)
    /// It will not be asked any more.
    case gaveUp
    case finished
  }

  enum Tag: Hashable, Sendable {
    case contact, connectedContact, sample(Int)
    case otherAddress, otherPort, otherBoth
    case changeBoth, changePort, filterControl
    case hairpinContact, hairpinForth, hairpinBack
    case size(Int)

    var isContact: Bool { self == .contact || self == .connectedContact }
  }

  private let server: Endpoint
  private let locals: [ProbeSocket: Endpoint]
  private let settings: Settings
  private var transactions: TransactionSource
  private var exchanges = Exchanges<Tag>()
  private var search: SizeSearch?
  private var events: [Event] = []
  private var isFinished = false
  private var facts = DiscoveryFacts()

  /// Begins to ask at once.
  ///
  /// - Parameters:
  ///   - locals: where our sockets are, as the kernel has them: `mapping`, `filtering`, `hairpin` and `size`.
  ///   - secret: at least 16 random bytes, other ones for each check.
  public init(
    server: Endpoint, locals: [ProbeSocket: Endpoint], settings: Settings = Settings(), secret: [UInt8], at now: Instant
  ) {
    self.server = server
    self.locals = locals
    self.settings = settings
    transactions = TransactionSource(secret: secret)
    ask(.contact, from: .mapping, pace: .contact, at: now)
    if locals[.size] != nil { ask(.connectedContact, from: .size, pace: .contact, at: now) }
  }

  // MARK: Input

  /// A datagram on one of the sockets. False when it belongs to somebody else.
  public mutating func handle(
    _ bytes: UnsafeRawBufferPointer, from source: Endpoint, on socket: ProbeSocket, at now: Instant
  ) -> Bool {
    guard let message = STUNMessage(bytes), message.method == .binding,
      let request = exchanges.request(of: message.transaction)
    else { return false }
    if message.isFingerprintRight == false { return true }
    switch message.kind {
    case .success, .failure:
      guard socket == request.socket else { return true }
      answered(request, message, from: source, at: now)
    case .request:
      // Ours, come back: the NAT turns around what goes to its own outside.
      guard request.tag == .hairpinForth || request.tag == .hairpinBack, socket != request.socket else { return true }
      facts.hairpinSource = source
      exchanges.giveUp { $0 == .hairpinForth || $0 == .hairpinBack }
    case .indication: return true
    }
    finishIfDone()
    return true
  }

  /// The kernel says that what the connected socket sent was refused, or cannot go there.
  public mutating func handleRefusal(_ reason: String, on socket: ProbeSocket, at now: Instant) {
    guard socket == .size, facts.answer == nil else { return }
    // Only the socket that is connected hears of it; the other asks the same place.
    facts.refusal = reason
    exchanges.giveUp { $0.isContact }
    finishIfDone()
  }

  /// The kernel knows by now how large packets to the server may be.
  public mutating func handlePathMTU(_ size: Int, at now: Instant) {
    guard var search, facts.answer != nil else { return }
    let sizes = search.heard(size)
    self.search = search
    // Larger ones need not be sent again; an answer to one that was sent still counts.
    if search.told == size {
      exchanges.giveUp {
        if case .size(let asked) = $0 { return asked > size }
        return false
      }
    }
    ask(sizes: sizes, at: now)
  }

  public mutating func handleTimeout(at now: Instant) {
    for tag in exchanges.expire(at: now) { expired(tag, at: now) }
    finishIfDone()
  }

  // MARK: Output

  public var nextDeadline: Instant? { isFinished ? nil : exchanges.nextDeadline }

  public mutating func pollTransmit(at now: Instant) -> ProbePacket? {
    isFinished ? nil : exchanges.pollTransmit(at: now)
  }

  public mutating func pollEvent() -> Event? { events.isEmpty ? nil : events.removeFirst() }

  /// Whatever is known by now.
  public var result: DiscoveryResult {
    facts.judge(server: server, locals: locals, settings: settings, search: search, isFinished: isFinished)
  }

  // MARK: Answers

  private mutating func answered(
    _ request: Exchanges<Tag>.Open, _ message: STUNMessage, from source: Endpoint, at now: Instant
  ) {
    switch request.tag {
    case .changeBoth, .changePort:
      exchanges.close(message.transaction)
      guard message.kind == .success else {
        facts.changeRefusal = message.error().map { "\($0)" } ?? "a failure without a code"
        return
      }
      facts.noteChanged(source, server: server)
      return
    default: break
    }
    guard source == request.remote else {
      // A server with several addresses that answers from the wrong one; a NAT would have dropped it.
      facts.foreignSource = source
      return
    }
    exchanges.close(message.transaction)
    let isFirst = facts.answer == nil
    // Which of several sends was answered is not known, so they say nothing of the time (Karn's rule).
    if request.sends == 1, let sent = request.firstSent, request.tag.isContact || request.tag.isSample {
      facts.roundTrips.append(now - sent)
    }
    let answer = BindingAnswer(message)
    switch request.tag {
    case .contact, .connectedContact:
      if request.tag == .contact { facts.mapping = answer } else { facts.connected = answer }
      if isFirst { begin(answer, at: now) }
    case .sample(let number): sample(number + 1, at: now)
    case .otherAddress: facts.otherAddress = answer
    case .otherPort: facts.otherPort = answer
    case .otherBoth: facts.otherBoth = answer
    case .filterControl: facts.filterControl = answer
    case .hairpinContact:
      facts.hairpinMapped = answer.mapped
      beginHairpin(at: now)
    case .size(let size): continueSearch(at: now) { $0.answered(size) }
    case .changeBoth, .changePort, .hairpinForth, .hairpinBack: break
    }
    // The mapping test needs what the mapping socket was told, whichever socket was answered first.
    if request.tag == .contact { beginHairpin(at: now) }
  }

  private mutating func expired(_ tag: Tag, at now: Instant) {
    switch tag {
    case .contact, .connectedContact:
      facts.silences += tag == .contact ? Pace.contact.sends : 0
    case .sample(let number):
      facts.lost += 1
      if facts.lost < settings.samples { sample(number + 1, at: now) }
    case .size(let size): continueSearch(at: now) { $0.unanswered(size) }
    default: break
    }
  }

  /// The server answers: everything else is asked now.
  private mutating func begin(_ answer: BindingAnswer, at now: Instant) {
    events.append(.answered(mapped: answer.mapped))
    sample(1, at: now)
    facts.other = answer.other(of: server)
    if case .named(let other) = facts.other {
      let pace = self.pace(4)
      ask(
        .otherAddress, from: .mapping, to: Endpoint(other.address, port: server.port, scope: other.scope), pace, at: now
      )
      ask(
        .otherPort, from: .mapping, to: Endpoint(server.address, port: other.port, scope: server.scope), pace, at: now)
      ask(.otherBoth, from: .mapping, to: other, pace, at: now)
      ask(.filterControl, from: .filtering, pace: pace, at: now)
      ask(.changeBoth, from: .filtering, pace: pace, at: now)
      ask(.changePort, from: .filtering, pace: pace, at: now)
    }
    if settings.testsHairpin, locals[.hairpin] != nil { ask(.hairpinContact, from: .hairpin, pace: pace(4), at: now) }
    if let linkMTU = settings.linkMTU, locals[.size] != nil {
      var search = SizeSearch(linkMTU: linkMTU)
      let sizes = search.begin(server.family)
      self.search = search
      ask(sizes: sizes, at: now)
    }
  }

  private mutating func sample(_ number: Int, at now: Instant) {
    guard number < settings.samples, !isFinished else { return }
    let roundTrip = DiscoveryResult.median(facts.roundTrips) ?? .milliseconds(150)
    let patience = Pace(gap: max(.milliseconds(200), min(.milliseconds(1500), roundTrip * 3)), sends: 1)
    ask(.sample(number), from: .mapping, pace: patience, at: now)
  }

  /// Both sockets send to the other's outside address, so that a filter that lets in whom was sent to lets them in.
  private mutating func beginHairpin(at now: Instant) {
    guard !facts.hairpinAsked, let other = facts.hairpinMapped, let own = facts.mapping?.mapped,
      own != locals[.mapping], [own, other].allSatisfy({ AddressScope.objection(to: $0, of: server) == nil })
    else { return }
    facts.hairpinAsked = true
    let pace = Pace(gap: .milliseconds(150), sends: 3)
    ask(.hairpinBack, from: .mapping, to: other, pace, at: now)
    ask(.hairpinForth, from: .hairpin, to: own, pace, at: now)
  }

  private mutating func continueSearch(at now: Instant, _ step: (inout SizeSearch) -> [Int]) {
    guard var search else { return }
    let sizes = step(&search)
    self.search = search
    if search.isDone {
      exchanges.giveUp {
        if case .size = $0 { return true }
        return false
      }
    }
    ask(sizes: sizes, at: now)
  }

  // MARK: Requests

  private func pace(_ sends: Int) -> Pace {
    Pace.after(DiscoveryResult.median(facts.roundTrips) ?? .milliseconds(150), sends: sends)
  }

  private mutating func ask(_ tag: Tag, from socket: ProbeSocket, pace: Pace, at now: Instant) {
    ask(tag, from: socket, to: server, pace, at: now)
  }

  private mutating func ask(
    _ tag: Tag, from socket: ProbeSocket, to remote: Endpoint, _ pace: Pace, at now: Instant
  ) {
    guard !isFinished else { return }
    let transaction = transactions.next()
    let bytes = BindingRequest.bytes(
      transaction, changeAddress: tag == .changeBoth, changePort: tag == .changeBoth || tag == .changePort)
    exchanges.ask(tag, transaction, bytes, from: socket, to: remote, pace, at: now)
  }

  private mutating func ask(sizes: [Int], at now: Instant) {
    guard !isFinished else { return }
    let headers = server.family == .ipv4 ? 28 : 48
    for size in sizes {
      let transaction = transactions.next()
      let bytes = BindingRequest.bytes(transaction, packetSize: size, headers: headers)
      exchanges.ask(.size(size), transaction, bytes, from: .size, to: server, pace(3), at: now)
    }
  }

  private mutating func finishIfDone() {
    guard !isFinished else { return }
    if facts.answer != nil { exchanges.giveUp { $0.isContact && $0 != .contact } }
    guard !exchanges.waits({ _ in true }) else { return }
    isFinished = true
    events.append(facts.answer == nil ? .gaveUp : .finished)
  }
}

extension NATDiscovery.Tag {
  var isSample: Bool {
    if case .sample = self { return true }
    return false
  }
}
