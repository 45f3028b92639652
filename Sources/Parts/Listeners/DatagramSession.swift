import LinuxIO
import Values

/// What one client sends to a datagram listener, and the way back to it: a connection, as far as UDP has any.
///
/// A listener makes a session when a datagram comes from a source that it does not know, gives it to its acceptor, and
/// then hands it that datagram and all that follow. The session ends a time to live after its last datagram in either
/// direction, or when its receiver closes it.
///
/// A session holds nothing but who the client is and two counters: whoever takes it keeps what has to wait.
public class DatagramSession {
  /// Not kept alive by the session.
  public final weak var receiver: (any DatagramSessionReceiver)?
  /// Payload bytes from the client, and to it.
  public final fileprivate(set) var received: UInt64 = 0
  public final fileprivate(set) var sent: UInt64 = 0
  public final let since: Instant
  fileprivate final var lastActivity: Instant
  fileprivate final var isPending = true
  fileprivate final var isClosed = false

  init(at now: Instant) {
    since = now
    lastActivity = now
  }

  /// Where the client is, as an address; `nil` where another host took its datagrams and gave a name.
  public var client: Endpoint? { nil }

  /// Who the client is, for logs.
  public var name: String { client?.description ?? "unknown" }

  /// The legs from the client to us.
  public var legs: [Leg] { [] }

  /// Sends answers to the client. What cannot leave is dropped and counted by the listener.
  public final func send(_ batch: inout PacketBatch) {
    guard !isClosed, !batch.isEmpty else { return }
    for index in 0..<batch.count { sent &+= UInt64(batch.slot(index).length) }
    transmit(&batch)
  }

  /// The way behind the session stands: it leaves the backlog.
  public final func opened() {
    guard isPending, !isClosed else { return }
    isPending = false
    leaveBacklog()
  }

  /// Ends the session and tells nobody; a later datagram of the client begins another one.
  public final func close() {
    guard !isClosed else { return }
    remove()
  }

  /// For subclasses: sends, and reports the activity to the table.
  func transmit(_ batch: inout PacketBatch) {}
  func leaveBacklog() {}
  func remove() {}
}

public protocol DatagramSessionReceiver: AnyObject {
  /// Datagrams of the client; valid inside the call, and may be changed in place.
  func sessionReceived(_ batch: inout PacketBatch, on session: DatagramSession)
  /// It was silent for too long, or its listener closed. Nothing follows.
  func sessionEnded(_ session: DatagramSession)
}

/// What takes datagrams of many clients, and makes a session for each.
public protocol DatagramListener: AnyObject {
  /// Where it is reached, for a report.
  var place: String { get }
  /// More for a report, by name.
  var details: [(key: String, value: String)] { get }
  /// Ways of its own, beside those of its sessions.
  var paths: [(name: String, path: Path)] { get }
  var sessionCount: Int { get }
  /// What was of no use or could not leave, by what it was; only kinds that came.
  var dropped: [(what: String, count: UInt64)] { get }
  /// For sessions from now on.
  func renew(_ limits: DatagramSessionLimits)
  /// Ends all sessions, whose receivers are told; the listener stays.
  func endSessions()
  /// The host's addresses or routes changed.
  func networkChanged()
  /// Ends all sessions, whose receivers are told, and the listener.
  func close()
}

extension DatagramListener {
  public var details: [(key: String, value: String)] { [] }
  public var paths: [(name: String, path: Path)] { [] }
  public func networkChanged() {}
}

/// Takes a new session and sets its receiver; the first datagrams follow at once. Without a receiver it is closed again.
public typealias DatagramAcceptor = (DatagramSession) -> Void

/// How many sessions there may be and how long they live.
public struct DatagramSessionLimits: Hashable, Sendable {
  /// GOST's default.
  public static let defaultTimeToLive = TimeSpan.seconds(5)

  /// Silence in both directions after which a session ends; at least 10 ms.
  public var timeToLive: TimeSpan
  /// Sessions in all.
  public var sessions: Int
  /// Sessions whose way does not stand yet. (GOST's `backlog` is the same at its listener, with 128.)
  public var backlog: Int

  public init(timeToLive: TimeSpan = defaultTimeToLive, sessions: Int = 8192, backlog: Int = 1024) {
    self.timeToLive = max(timeToLive, .milliseconds(10))
    self.sessions = max(1, sessions)
    self.backlog = max(1, backlog)
  }
}

/// The sessions of a listener by where their datagrams come from.
///
/// The table is bounded in two ways: in all, and in those whose way does not stand yet, which are what forged sources
/// cost most. A datagram for which there is no place is dropped and counted. One timer looks for silent sessions four
/// times in a time to live, and only while there are any.
final class DatagramSessionTable<Key: Hashable> {
  private let loop: EventLoop
  private var limits: DatagramSessionLimits
  private var sessions: [Key: DatagramSession] = [:]
  private var pending = 0
  private var timer: LoopTimer?
  /// Datagrams from new sources for which there was no place.
  private(set) var refused: UInt64 = 0

  init(loop: EventLoop, limits: DatagramSessionLimits) {
    self.loop = loop
    self.limits = limits
  }

  var count: Int { sessions.count }
  var all: some Collection<DatagramSession> { sessions.values }

  /// Hands a batch to its session; makes one where there is none and there is a place for it.
  func take(
    _ batch: inout PacketBatch, from key: Key, make: () -> DatagramSession, accept: (DatagramSession) -> Void
  ) {
    let session: DatagramSession
    if let known = sessions[key] {
      session = known
    } else {
      guard sessions.count < limits.sessions, pending < limits.backlog else {
        refused &+= UInt64(batch.count)
        return
      }
      session = make()
      sessions[key] = session
      pending += 1
      armTimer()
      accept(session)
      guard session.receiver != nil else {
        session.close()
        return
      }
    }
    session.lastActivity = loop.now
    for index in 0..<batch.count { session.received &+= UInt64(batch.slot(index).length) }
    session.receiver?.sessionReceived(&batch, on: session)
  }

  func answered(_ session: DatagramSession) { session.lastActivity = loop.now }

  func leftBacklog() { pending -= 1 }

  func remove(_ session: DatagramSession, at key: Key) {
    guard !session.isClosed else { return }
    session.isClosed = true
    if session.isPending { pending -= 1 }
    if sessions[key] === session { sessions[key] = nil }
    if sessions.isEmpty { timer?.cancel() }
  }

  func renew(_ limits: DatagramSessionLimits) { self.limits = limits }

  /// Ends all sessions and tells their receivers.
  func close() {
    timer?.cancel()
    end(Array(sessions.values))
  }

  private func armTimer() {
    let timer = timer ?? loop.makeTimer { [weak self] in self?.sweep() }
    self.timer = timer
    if !timer.isArmed { timer.arm(after: TimeSpan(nanoseconds: limits.timeToLive.nanoseconds / 4)) }
  }

  private func sweep() {
    let now = loop.now
    end(sessions.values.filter { now - $0.lastActivity >= limits.timeToLive })
    if !sessions.isEmpty { armTimer() }
  }

  private func end(_ silent: [DatagramSession]) {
    for session in silent where !session.isClosed {
      session.remove()
      session.receiver?.sessionEnded(session)
    }
  }
}
