import STUN
import Values

/// A client of one TURN server (RFC 8656), without its socket: an allocation, who may send to it, and the packets that
/// cross it.
///
/// ```
///              packets for peers ┌────────────┐ ChannelData, in place; Send indications until a channel stands
///   owner ──────────────────────▶│ TURNClient │ ─────────────────────────────────▶ socket or stream to the server
///    ▲        events, packets    │ allocation │ ◀───────────────────────────────── ChannelData, Data, answers
///    └────────────────────────── │ peers      │
///                                └────────────┘
/// ```
///
/// The life of an allocation: `begin` sends an Allocate that proves nothing → 401 with realm and nonce (`answered`: this
/// server is alive; of several addresses the owner goes on with the first) → `proceed` sends it signed → `allocated`. From
/// then on it is refreshed well before its end, and each peer has a channel, which is bound anew every four minutes, as
/// the permission that comes with it lives for five.
///
/// Silence. While packets leave and nothing comes back for a second, the server is asked for a refresh; without an answer
/// for two more the machine fails (`silent`), and the owner begins anew on a fresh socket, with all addresses. It is a
/// refresh that is asked for, and no Binding, because a server that has forgotten us would answer that one gladly. Where
/// nothing leaves either, the same question is asked every twenty seconds, which also keeps a NAT's mapping.
///
/// A server that began anew says so (437, or 401 with a nonce that is not ours): the machine tells `lost` and asks for a
/// new allocation by the same socket; peers and permissions are asked for again. Our own move, to another address, is told
/// by `moved`: with a ticket (RFC 8016) the allocation comes along, without one it is made anew.
///
/// What strangers can do: an answer that is not proven with our key is as if it had not come (RFC 8489, section 9.2.5),
/// but for those which ask for credentials, and those bring no more than some rounds. An unproven error, which coturn has
/// some of, only shortens the wait for a proven answer, and stands for what happened when none comes. Contents of ChannelData are not
/// proven by anything: whoever can send with the server's address can put packets in, as the protocol has it.
///
/// It does not know the time or chance: both are arguments, the wall clock too, which only credentials that are made from a
/// secret need. After any call poll `pollTransmit` and `pollEvent` until they have nothing, and ask for `nextDeadline`.
public struct TURNClient: ~Copyable {
  /// Until a question without an answer is given up.
  static let patience = TimeSpan.seconds(3)
  /// Of a question whether the server lives, which is asked after `quiet`.
  static let probePatience = TimeSpan.seconds(2)
  /// Without a packet from the server, while some leave.
  static let quiet = TimeSpan.seconds(1)
  /// The same while none leave.
  static let idle = TimeSpan.seconds(20)
  /// A permission lives for five minutes (RFC 8656, section 9), a channel for ten.
  static let peerRefresh = TimeSpan.seconds(240)
  /// Of the nonce's rounds for one purpose: a stale one, another server's, and what a server does beside the RFC.
  static let mostRounds = 4

  enum Phase: Equatable {
    case fresh
    /// The first Allocate, which proves nothing.
    case asking
    /// The server asks for credentials, and the owner has not said `proceed`.
    case answered
    case allocating
    /// From a new address, with the ticket.
    case moving
    case standing
    case releasing
    case over
  }

  let settings: TURNClientSettings
  /// Whether messages go over a stream; changed by `moved`.
  public private(set) var isStream: Bool
  var phase = Phase.fresh
  var authentication: ClientAuthentication
  var transactions = ClientTransactions()
  var random: any RandomNumberGenerator
  private var wall: (unixTime: Int64, at: Instant)
  var outgoing: [[UInt8]] = []
  var events: [TURNClientEvent] = []

  public internal(set) var allocation: TURNAllocation?
  var allocatedAt: Instant
  /// When the allocation ends by itself, and when it is refreshed.
  var expiry = Instant.distantFuture
  var refreshDue = Instant.distantFuture
  var ticket: [UInt8]?
  /// Cleared when the server forbids it.
  var wantsTicket: Bool
  /// The owner said so before there was an answer.
  var hasProceeded = false

  var peers = PeerTable()

  /// The last packet from the server, whether one left since, and when to look.
  var heard: Instant
  var hasSent = false
  var look = Instant.distantFuture
  /// A deadline is earlier than the owner knows: ask for `nextDeadline` again.
  public internal(set) var isDeadlineNew = false

  /// Packets of peers that were received last, and how many of them were taken.
  var found: [Found] = []
  var foundTaken = 0

  /// In a replay, whether an answer is proven: what stands there for our key could not tell.
  public var isProven: ((STUNMessage) -> Bool)?

  /// What could not be read or was of no use.
  public internal(set) var ignored: UInt64 = 0
  /// Round trip of the last answered question that was sent once.
  public internal(set) var roundTrip: TimeSpan?

  /// - Parameters:
  ///   - isStream: messages go over TCP or TLS.
  ///   - random: a generator for secrets.
  ///   - unixTime: seconds since 1970, for credentials that are made from a secret.
  public init(
    _ settings: TURNClientSettings, isStream: Bool, random: any RandomNumberGenerator, unixTime: Int64, at now: Instant
  ) {
    self.settings = settings
    self.isStream = isStream
    self.random = random
    wall = (unixTime, now)
    authentication = ClientAuthentication(settings.credentials)
    wantsTicket = settings.mobility
    heard = now
    allocatedAt = now
  }

  /// Whether a move keeps the allocation.
  public var canMove: Bool { ticket != nil && allocation != nil && phase != .over }

  public var isStanding: Bool { phase == .standing }

  /// Whether packets of peers without a channel are taken.
  public var takesIndications: Bool { phase == .standing || phase == .moving }

  // MARK: Life

  /// Asks for an allocation. The first request proves nothing, so that the server does nothing for it yet.
  public mutating func begin(at now: Instant) {
    guard phase == .fresh else { return }
    phase = .asking
    requestAllocation(rounds: 0, at: now)
  }

  /// Goes on after `answered`.
  public mutating func proceed(at now: Instant) {
    hasProceeded = true
    guard phase == .answered else { return }
    phase = .allocating
    requestAllocation(rounds: 1, at: now)
  }

  /// There is a new socket or stream to the same server: with a ticket the allocation moves along, else it is made anew.
  public mutating func moved(isStream: Bool, at now: Instant) {
    guard phase != .over, phase != .releasing else { return }
    self.isStream = isStream
    outgoing = []
    transactions.removeAll()
    heard = now
    look = .distantFuture
    if ticket != nil, allocation != nil {
      phase = .moving
      requestRefresh(rounds: 0, at: now)
    } else {
      if allocation != nil { lose(.forgotten) }
      phase = .allocating
      requestAllocation(rounds: 0, at: now)
    }
  }

  /// Gives the allocation back. What is to be sent for that is polled as usual; there is no need to wait for an answer.
  public mutating func release(at now: Instant) {
    switch phase {
    case .standing, .moving:
      transactions.removeAll()
      phase = .releasing
      request(.release, rounds: 0, patience: Self.patience, at: now) { $0.add(.lifetime, UInt32(0)) }
    case .allocating where !isStream:
      // It may stand without our knowledge: the server's timer ends it.
      stop()
    default: stop()
    }
  }

  public var isOver: Bool { phase == .over }

  mutating func stop() {
    phase = .over
    transactions.removeAll()
    refreshDue = .distantFuture
    look = .distantFuture
    allocation = nil
  }

  mutating func fail(_ failure: TURNClientEvent.Failure) {
    guard phase != .over else { return }
    let wasReleasing = phase == .releasing
    stop()
    if !wasReleasing { events.append(.failed(failure)) }
  }

  /// The allocation is gone; peers have to be made known to the next one.
  mutating func lose(_ loss: TURNClientEvent.Loss) {
    allocation = nil
    ticket = nil
    refreshDue = .distantFuture
    expiry = .distantFuture
    look = .distantFuture
    transactions.removeAll()
    peers.forgetServer()
    authentication.forgetName()
    events.append(.lost(loss))
  }

  mutating func beginAnew(after loss: TURNClientEvent.Loss, at now: Instant) {
    lose(loss)
    phase = .allocating
    requestAllocation(rounds: 0, at: now)
  }

  // MARK: Verbs

  public mutating func handleTimeout(at now: Instant) {
    guard phase != .over else { return }
    let (again, over) = transactions.handleTimeout(at: now)
    outgoing += again
    // The end of one may be the end of all.
    for transaction in over where phase != .over { gaveUp(transaction, at: now) }
    guard phase == .standing else { return }
    if now >= expiry {
      beginAnew(after: .expired, at: now)
      return
    }
    if now >= refreshDue {
      refreshDue = .distantFuture
      requestRefresh(rounds: 0, at: now)
    }
    lookForSilence(at: now)
    refreshPeers(at: now)
  }

  private mutating func gaveUp(_ transaction: ClientTransactions.Transaction, at now: Instant) {
    switch transaction.purpose {
    case .refresh(moved: false) where transaction.hint?.number == STUNErrorCode.allocationMismatch.number:
      // coturn proves nothing when it knows of no allocation. Whoever forges that could as well drop our packets.
      if phase == .standing { forgotten(at: now) }
    case .refresh(moved: false) where heard > transaction.began:
      // The answer was lost, and the server lives.
      if phase == .standing { requestRefresh(rounds: 0, at: now) }
    case .allocate, .refresh(moved: false): fail(.silent(hint: transaction.hint))
    case .refresh(moved: true):
      // The server may be one that cannot do it; the allocation's end is found by itself.
      beginAnew(after: .forgotten, at: now)
    case .release: stop()
    case .permission, .channel: peerRequestLost(transaction, at: now)
    }
  }

  /// The server knows of no allocation at our address: a NAT may have given us another, which a ticket heals.
  mutating func forgotten(at now: Instant) {
    if ticket != nil {
      phase = .moving
      requestRefresh(rounds: 0, at: now)
    } else {
      beginAnew(after: .forgotten, at: now)
    }
  }

  /// While packets leave and nothing comes, or nothing happens at all, asks whether the server lives.
  private mutating func lookForSilence(at now: Instant) {
    guard now >= look else { return }
    let silence = now - heard
    let limit = hasSent ? Self.quiet : Self.idle
    if silence >= limit {
      look = .distantFuture
      guard !transactions.contains(where: { if case .refresh = $0 { true } else { false } }) else { return }
      requestRefresh(rounds: 0, at: now)
    } else {
      look = heard + limit
    }
  }

  /// The server said something: it lives.
  mutating func hear(at now: Instant) {
    heard = now
    hasSent = false
    if phase == .standing { look = now + Self.idle }
  }

  /// Something leaves for a peer.
  mutating func noteSent(at now: Instant) {
    guard !hasSent else { return }
    hasSent = true
    guard phase == .standing else { return }
    let due = now + Self.quiet
    if due < look {
      look = due
      isDeadlineNew = true
    }
  }

  public mutating func nextDeadline() -> Instant? {
    isDeadlineNew = false
    return deadline
  }

  public var deadline: Instant? {
    guard phase != .over else { return nil }
    var next = transactions.nextDeadline() ?? .distantFuture
    if phase == .standing { next = min(next, refreshDue, expiry, look, peers.nextDeadline()) }
    return next == .distantFuture ? nil : next
  }

  /// The next message for the server.
  public mutating func pollTransmit() -> [UInt8]? { outgoing.isEmpty ? nil : outgoing.removeFirst() }

  public mutating func pollEvent() -> TURNClientEvent? { events.isEmpty ? nil : events.removeFirst() }

  /// The wall clock was set.
  public mutating func setWallClock(unixTime: Int64, at now: Instant) { wall = (unixTime, now) }

  // MARK: Requests

  mutating func requestAllocation(rounds: Int, at now: Instant) {
    let families = settings.families
    let ticket = wantsTicket
    let lifetime = Self.seconds(settings.lifetime)
    request(.allocate, rounds: rounds, patience: Self.patience, at: now) { writer in
      writer.add(.requestedTransport, byte: 17)
      writer.add(.lifetime, lifetime)
      switch families {
      // Older servers do not know the attribute, and IPv4 is what they give without it.
      case .ipv4: break
      case .ipv6: writer.add(.requestedAddressFamily, byte: STUNFamily.code(.ipv6))
      case .both: writer.add(.additionalAddressFamily, byte: STUNFamily.code(.ipv6))
      }
      if ticket { writer.add(.mobilityTicket) }
    }
  }

  mutating func requestRefresh(rounds: Int, at now: Instant) {
    let isMove = phase == .moving
    let ticket = isMove ? ticket : nil
    let lifetime = Self.seconds(settings.lifetime)
    request(
      .refresh(moved: isMove), rounds: rounds, patience: isMove ? Self.patience : Self.probePatience, at: now
    ) { writer in
      writer.add(.lifetime, lifetime)
      if let ticket { writer.add(.mobilityTicket, ticket) }
    }
  }

  /// Composes a request, signs it where the server asked for that, and sends it.
  mutating func request(
    _ purpose: ClientTransactions.Purpose, rounds: Int, patience: TimeSpan, at now: Instant,
    _ compose: (inout STUNWriter) -> Void
  ) {
    let id = TransactionID(using: &random)
    var writer = STUNWriter(.request, purpose.method, id)
    compose(&writer)
    let key = authentication.sign(&writer, unixTime: unixTime(at: now))
    transactions.add(
      id, purpose, writer.bytes, key: key, rounds: rounds, isStream: isStream, patience: patience, at: now)
    outgoing.append(writer.bytes)
  }

  private func unixTime(at now: Instant) -> Int64 {
    wall.unixTime.addingReportingOverflow((now - wall.at).nanoseconds / 1_000_000_000).partialValue
  }

  static func seconds(_ span: TimeSpan) -> UInt32 {
    UInt32(clamping: max(1, span.nanoseconds / 1_000_000_000))
  }
}

extension ClientTransactions.Purpose {
  var method: STUNMethod {
    switch self {
    case .allocate: .allocate
    case .refresh, .release: .refresh
    case .permission: .createPermission
    case .channel: .channelBind
    }
  }
}
