import STUN
import Values

/// The requests that wait for an answer, and when they are sent again (RFC 8489, section 6.2.1).
///
/// Over datagrams a request is sent again after 500 ms, then after twice as long each time, seven times in all. A client
/// that has traffic cannot wait the 39.5 seconds that this takes to its end: a transaction has a time by which it is over,
/// three seconds as a rule. Over a stream nothing is sent again.
struct ClientTransactions {
  /// What is waited for.
  enum Purpose: Hashable {
    case allocate
    /// Keeps the allocation; with a ticket, after a move.
    case refresh(moved: Bool)
    /// Ends it.
    case release
    case permission(IPAddress)
    case channel(UInt16, Endpoint)
  }

  struct Transaction {
    let id: TransactionID
    let purpose: Purpose
    let bytes: [UInt8]
    /// What the answer has to be made with; `nil` for a request that was not signed.
    let key: STUNKey?
    /// How often the server had us begin anew, for this purpose and in a row.
    let rounds: Int
    fileprivate(set) var sent = 1
    fileprivate(set) var timeout: TimeSpan
    fileprivate(set) var next: Instant
    fileprivate(set) var end: Instant
    let began: Instant
    /// An error that came without a proof.
    fileprivate(set) var hint: STUNErrorCode?
  }

  /// How long a proven answer is still waited for when an unproven one has come: some servers prove no errors.
  static let grace = TimeSpan.milliseconds(300)

  /// RFC 8489, section 6.2.1.
  static let initialTimeout = TimeSpan.milliseconds(500)
  static let mostSends = 7

  private var all: [TransactionID: Transaction] = [:]

  var isEmpty: Bool { all.isEmpty }

  /// - Parameters:
  ///   - isStream: nothing is sent again.
  ///   - patience: until it is over.
  mutating func add(
    _ id: TransactionID, _ purpose: Purpose, _ bytes: [UInt8], key: STUNKey?, rounds: Int, isStream: Bool,
    patience: TimeSpan, at now: Instant
  ) {
    all[id] = Transaction(
      id: id, purpose: purpose, bytes: bytes, key: key, rounds: rounds, timeout: Self.initialTimeout,
      next: isStream ? .distantFuture : now + Self.initialTimeout, end: now + patience, began: now)
  }

  subscript(_ id: TransactionID) -> Transaction? { all[id] }

  mutating func remove(_ id: TransactionID) -> Transaction? { all.removeValue(forKey: id) }

  /// An error came that proves nothing.
  mutating func hint(_ error: STUNErrorCode, for id: TransactionID, at now: Instant) {
    guard let transaction = all[id], transaction.hint == nil else { return }
    all[id]?.hint = error
    all[id]?.end = min(transaction.end, now + Self.grace)
  }

  func contains(_ purpose: Purpose) -> Bool { all.values.contains { $0.purpose == purpose } }

  func contains(where match: (Purpose) -> Bool) -> Bool { all.values.contains { match($0.purpose) } }

  mutating func removeAll() { all = [:] }

  mutating func removeAll(where match: (Purpose) -> Bool) { all = all.filter { !match($0.value.purpose) } }

  /// What to send again now, and what is over.
  mutating func handleTimeout(at now: Instant) -> (again: [[UInt8]], over: [Transaction]) {
    var again: [[UInt8]] = []
    var over: [Transaction] = []
    // In an order that does not depend on a hash: what began first is first.
    let ordered = all.values.sorted { ($0.began, $0.id.low) < ($1.began, $1.id.low) }
    for transaction in ordered {
      let id = transaction.id
      if now >= transaction.end {
        over.append(transaction)
        all[id] = nil
      } else if now >= transaction.next {
        again.append(transaction.bytes)
        let timeout = transaction.timeout * 2
        all[id]?.sent += 1
        all[id]?.timeout = timeout
        all[id]?.next = transaction.sent + 1 >= Self.mostSends ? .distantFuture : now + timeout
      }
    }
    return (again, over)
  }

  func nextDeadline() -> Instant? { all.values.lazy.map { min($0.next, $0.end) }.min() }
}
