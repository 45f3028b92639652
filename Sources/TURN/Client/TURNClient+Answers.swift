import STUN
import Values

/// What the server says to our requests.
extension TURNClient {
  /// Attributes that we know, of those that must be understood.
  private static let known: Set<STUNAttribute> = [
    .mappedAddress, .username, .messageIntegrity, .errorCode, .unknownAttributes, .realm, .nonce,
    .messageIntegritySHA256, .passwordAlgorithm, .userHash, .xorMappedAddress, .channelNumber, .lifetime,
    .xorPeerAddress, .data, .xorRelayedAddress, .requestedAddressFamily, .evenPort, .requestedTransport,
    .dontFragment, .reservationToken, .connectionID,
  ]
  /// Of a lifetime that makes sense.
  private static let lifetimes = 10...86_400
  private static let defaultLifetime = 600
  private static let largestTicket = 1024

  /// What a message is to us.
  public enum Proof: Sendable, Equatable {
    /// It answers what we did not sign.
    case unsigned
    /// It answers a question that we signed, and is guarded by our key or is not.
    case right, wrong
  }

  /// `nil` when nobody asked.
  public func proof(of message: STUNMessage) -> Proof? {
    guard message.kind == .success || message.kind == .failure, let transaction = transactions[message.transaction]
    else {
      return nil
    }
    guard let key = transaction.key else { return .unsigned }
    return message.isAuthentic(key) ? .right : .wrong
  }

  /// A message that is no data.
  mutating func handleAnswer(_ message: STUNMessage, at now: Instant) {
    guard message.kind == .success || message.kind == .failure,
      let transaction = transactions[message.transaction], transaction.purpose.method == message.method,
      message.isFingerprintRight != false
    else {
      ignored &+= 1
      return
    }
    let error = message.kind == .failure ? message.error() : nil
    if message.kind == .failure, error == nil {
      ignored &+= 1
      return
    }
    let asksForProof = error.map { $0.number == 401 || $0.number == 438 } ?? false
    if let key = transaction.key, !asksForProof, !(isProven?(message) ?? message.isAuthentic(key)) {
      // As if it had not come; but when nothing better comes soon, it is what there is.
      if let error { transactions.hint(error, for: transaction.id, at: now) }
      ignored &+= 1
      return
    }
    _ = transactions.remove(transaction.id)
    if transaction.sent == 1 { roundTrip = now - transaction.began }
    hear(at: now)
    if let error {
      asksForProof ? takeChallenge(error, message, transaction, at: now) : take(error, message, transaction, at: now)
      return
    }
    let unknown = message.unknownAttributes(besides: Self.known)
    guard unknown.isEmpty else {
      fail(.violation("its answer has attributes that have to be understood and are not known"))
      return
    }
    switch transaction.purpose {
    case .allocate: takeAllocation(message, at: now)
    case .refresh(let moved): takeRefresh(message, moved: moved, at: now)
    case .release: stop()
    case .permission(let address): permissionTaken(address, at: now)
    case .channel(let number, let peer): channelTaken(number, peer, at: now)
    }
  }

  /// 401 and 438: credentials are asked for, or others.
  private mutating func takeChallenge(
    _ error: STUNErrorCode, _ message: STUNMessage, _ transaction: ClientTransactions.Transaction, at now: Instant
  ) {
    let verdict = authentication.take(error, message, wasSigned: transaction.key != nil)
    switch verdict {
    case .malformed:
      fail(.violation("\(error) without a realm or a nonce, or with algorithms that nobody knows"))
      return
    case .downgraded:
      fail(.downgraded)
      return
    case .rejected:
      // An allocation that stood was made with these: they have expired.
      if phase == .standing, transaction.rounds == 0, case .refresh = transaction.purpose {
        beginAnew(after: .credentials, at: now)
      } else if transaction.purpose == .release {
        stop()
      } else {
        fail(.unauthorised)
      }
      return
    case .again: break
    }
    guard transaction.rounds < Self.mostRounds else {
      fail(.unauthorised)
      return
    }
    if phase == .asking {
      phase = .answered
      events.append(.answered)
      if hasProceeded { proceed(at: now) }
      return
    }
    askAgain(transaction, at: now)
  }

  private mutating func askAgain(_ transaction: ClientTransactions.Transaction, at now: Instant) {
    let rounds = transaction.rounds + 1
    switch transaction.purpose {
    case .allocate: requestAllocation(rounds: rounds, at: now)
    case .refresh: requestRefresh(rounds: rounds, at: now)
    case .release:
      request(.release, rounds: rounds, patience: Self.patience, at: now) { $0.add(.lifetime, UInt32(0)) }
    case .permission(let address): requestPermission(address, rounds: rounds, at: now)
    case .channel(let number, let peer): requestChannel(number, peer, rounds: rounds, at: now)
    }
  }

  /// An error that is proven, or answers what we did not sign.
  private mutating func take(
    _ error: STUNErrorCode, _ message: STUNMessage, _ transaction: ClientTransactions.Transaction, at now: Instant
  ) {
    switch transaction.purpose {
    case .allocate:
      if error.number == 300, let address = message.address(.alternateServer) {
        events.append(.alternate(address, domain: message.text(.alternateDomain, limit: 255)))
        stop()
      } else if error.number == STUNErrorCode.mobilityForbidden.number, wantsTicket {
        wantsTicket = false
        requestAllocation(rounds: transaction.rounds, at: now)
      } else {
        fail(.refused(error))
      }
    case .refresh(moved: true): beginAnew(after: .forgotten, at: now)
    case .refresh:
      guard phase == .standing else { return }
      if error.number == STUNErrorCode.allocationMismatch.number {
        forgotten(at: now)
      } else {
        beginAnew(
          after: error.number == STUNErrorCode.wrongCredentials.number ? .credentials : .forgotten, at: now)
      }
    case .release: stop()
    case .permission, .channel:
      if error.number == STUNErrorCode.allocationMismatch.number {
        if phase == .standing { forgotten(at: now) }
      } else {
        peerRequestRefused(transaction.purpose, error, at: now)
      }
    }
  }

  private mutating func takeAllocation(_ message: STUNMessage, at now: Instant) {
    var relayed: [Endpoint] = []
    for one in message.xorAddresses(.xorRelayedAddress, limit: 4)
    where !one.address.isUnspecified && one.port != 0 && !relayed.contains(where: { $0.family == one.family }) {
      relayed.append(one)
    }
    guard !relayed.isEmpty else {
      fail(.violation("it gives an allocation without an address"))
      return
    }
    let wanted = relayed.filter { settings.families.has($0.family) }
    if phase == .asking { events.append(.answered) }
    phase = .standing
    guard !wanted.isEmpty else {
      // Said once, without waiting for an answer.
      release(at: now)
      stop()
      events.append(.failed(.violation("it gives an allocation of a family that was not asked for")))
      return
    }
    var refused: TURNAllocation.Refusal?
    if let value = message[.addressErrorCode], let first = value.first, let family = STUNFamily.family(first),
      let error = message.error(.addressErrorCode)
    {
      refused = TURNAllocation.Refusal(family: family, error: error)
    }
    let fresh = TURNAllocation(
      relayed: wanted, mapped: message.xorAddress(.xorMappedAddress), refused: refused,
      software: message.text(.software) ?? "")
    allocation = fresh
    allocatedAt = now
    takeTicket(message)
    takeLifetime(message, at: now)
    events.append(.allocated(fresh, isSame: false))
    hasSent = false
    look = now + Self.idle
    bindAll(at: now)
  }

  private mutating func takeRefresh(_ message: STUNMessage, moved: Bool, at now: Instant) {
    guard phase == .standing || phase == .moving, let allocation else { return }
    takeTicket(message)
    takeLifetime(message, at: now)
    if moved {
      phase = .standing
      look = now + Self.idle
      events.append(.allocated(allocation, isSame: true))
      bindAll(at: now)
    }
  }

  private mutating func takeTicket(_ message: STUNMessage) {
    guard wantsTicket, let fresh = message.bytes(.mobilityTicket), !fresh.isEmpty, fresh.count <= Self.largestTicket
    else { return }
    ticket = fresh
  }

  /// A minute before its end, or at half of it when it is short.
  private mutating func takeLifetime(_ message: STUNMessage, at now: Instant) {
    let told = message.number(.lifetime).map { Int($0) } ?? Self.defaultLifetime
    let seconds = Int64(min(max(told, Self.lifetimes.lowerBound), Self.lifetimes.upperBound))
    expiry = now + .seconds(seconds)
    refreshDue = now + .seconds(max(seconds - 60, seconds / 2))
  }
}
