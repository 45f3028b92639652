/// One QUIC connection, client or server, without a socket and without a clock: ngtcp2 with GnuTLS inside, Culvert's
/// verbs outside.
///
/// The life of a packet. A datagram comes in by `handle`; ngtcp2 opens it and calls back with stream bytes, which are
/// copied into the stream's queue, and with everything else, which becomes events. After any verb the owner polls:
/// `pollTransmit` until it gives nothing, `pollEvent` likewise, and then sleeps until `nextDeadline`, at which it calls
/// `handleTimeout`. Time never runs backwards here: an earlier instant counts as the latest one seen.
///
/// The life of a written byte: `write` copies it into the stream's chunks, `pollTransmit` points ngtcp2 at it, and it
/// stays where it is until the other end acknowledged it. The life of a read byte: it counts against the stream's and
/// the connection's window until `read` hands it out or somebody discards it; a stream that is cut short with bytes
/// unread gives them back to the connection's window, without which a connection dies of a few cut uploads.
///
/// Every stream must be read to its end or reset, or be given up by `stopSending` or `abandon`; until then it counts
/// against the limit of streams. `.streamClosed` is the last event of a stream, `.closed` the last of a connection.
///
/// Traps. ngtcp2 must not be entered from its own callbacks, so these only note things and grant windows. A call that
/// said "write more" owns the packet until it is complete, so nothing else is asked of ngtcp2 between. ngtcp2 keeps
/// unretained pointers to the connection and its streams: both outlive it, because the connection deletes it.
import CNgtcp2
import TLSCodec
import Values

public final class QUICConnection {
  public enum State: Sendable, Hashable {
    case handshake
    case connected
    /// Over for the owner; late packets are still answered or ignored until `isFinished`.
    case closed
  }

  public let isClient: Bool
  public let settings: QUICSettings
  public private(set) var state: State = .handshake
  /// What the handshake settled; `nil` until it has.
  public internal(set) var facts: QUICFacts?
  /// Why the connection ended; `nil` while it has not.
  public private(set) var closeReason: QUICCloseReason?
  /// Where packets go from and to now.
  public private(set) var localEndpoint: Endpoint
  public private(set) var remoteEndpoint: Endpoint
  /// Datagrams that came while the receive queue was full.
  public internal(set) var droppedDatagrams: UInt64 = 0
  /// For the owner: what the connection belongs to.
  public var context: AnyObject?

  var conn: OpaquePointer?
  let tls: GnuTLSSession
  private let reference: UnsafeMutablePointer<culvert_reference>
  private let receivePath = PathStorage()
  let firstPath = PathStorage()
  let nextPath = PathStorage()

  var streams: [Int64: QUICStream] = [:]
  let pool = ChunkPool()
  /// Streams with something to send, taken in turns.
  var ready: [QUICStream] = []
  var turn = 0
  /// Streams that wait for flow control, their own or the connection's.
  var waiting: [QUICStream] = []
  /// Something came since the waiting ones were tried: room, or the news that nobody wants their bytes.
  var retriesWaiting = false
  var outgoingDatagrams: DatagramQueue
  var incomingDatagrams: DatagramQueue

  private var events: [QUICEvent] = []
  private var firstEvent = 0
  var streamLimitReached = false
  var datagramEventQueued = false
  /// A sender was told to wait until few datagrams are left.
  var datagramSenderWaits = false
  /// The last packet carried datagrams, so streams go first in the next: neither starves the other.
  var streamsGoFirst = false

  private var latest: UInt64 = 1
  /// Set by callbacks: which path is in use has to be looked at again.
  var pathMayHaveChanged = false
  var sawStatelessReset = false
  var offeredVersions: [UInt32] = []
  var handshakeRefusal: TLSError?
  private var heardAnything = false

  /// The last words, repeated to a peer that did not hear them, and until when.
  var closingPacket: [UInt8] = []
  var closingPending = false
  private var closingCounter = 0
  private var finishedAt: UInt64?
  /// A packet that did not fit into the run of equal ones: it leaves first next time.
  var heldPacket: [UInt8] = []
  var heldTransmit: QUICTransmit?

  /// Where a server's connections tell their endpoint about themselves.
  let host: QUICHost?
  /// The endpoint's notes: the place in its table, and whether the connection is in its lists.
  var slot = -1
  var ids: [UInt64] = []
  var firstID: FirstID?
  var isTouched = false
  var isEventful = false
  var isHalfOpen = false

  /// Starts a client's connection; its first packet waits in `pollTransmit`.
  ///
  /// - Parameters:
  ///   - serverName: sent to the server and, if the credentials say so, compared with its certificate.
  ///   - local: the address that packets leave from; a wildcard is as good as any as long as `handle` says the same.
  public init(
    client credentials: TLSCredentials, serverName: String?, settings: QUICSettings, local: Endpoint,
    remote: Endpoint, at now: Instant
  ) throws(QUICCloseReason) {
    isClient = true
    self.settings = settings
    localEndpoint = local
    remoteEndpoint = remote
    host = nil
    outgoingDatagrams = DatagramQueue(capacity: settings.datagramQueue)
    incomingDatagrams = DatagramQueue(capacity: settings.datagramQueue)
    tls = try Self.session(credentials, serverName, settings)
    reference = .allocate(capacity: 1)
    reference.initialize(to: culvert_reference())
    try start(QUICBirth(client: tick(now)))
  }

  /// A server's connection for a first packet that the endpoint has accepted.
  init(
    server credentials: TLSCredentials, settings: QUICSettings, local: Endpoint, remote: Endpoint,
    birth: QUICBirth, host: QUICHost
  ) throws(QUICCloseReason) {
    isClient = false
    self.settings = settings
    localEndpoint = local
    remoteEndpoint = remote
    self.host = host
    outgoingDatagrams = DatagramQueue(capacity: settings.datagramQueue)
    incomingDatagrams = DatagramQueue(capacity: settings.datagramQueue)
    tls = try Self.session(credentials, nil, settings)
    reference = .allocate(capacity: 1)
    reference.initialize(to: culvert_reference())
    latest = birth.now
    try start(birth)
  }

  deinit {
    ngtcp2_conn_del(conn)
    reference.deallocate()
    receivePath.deallocate()
    firstPath.deallocate()
    nextPath.deallocate()
    for stream in streams.values {
      stream.send.drop(to: .max, pool: pool)
      stream.receive.drop(to: .max, pool: pool)
    }
  }

  private static func session(
    _ credentials: TLSCredentials, _ serverName: String?, _ settings: QUICSettings
  ) throws(QUICCloseReason) -> GnuTLSSession {
    do throws(TLSError) {
      return try GnuTLSSession(
        credentials: credentials, carrier: .quic, serverName: serverName,
        applicationProtocols: settings.applicationProtocols)
    } catch {
      throw QUICCloseReason(.tls(error))
    }
  }

  private func start(_ birth: QUICBirth) throws(QUICCloseReason) {
    receivePath.set(local: localEndpoint, remote: remoteEndpoint)
    let me = Unmanaged.passUnretained(self).toOpaque()
    conn = try birth.makeConnection(settings: settings, path: receivePath.path, owner: me)
    culvert_reference_set(reference, conn, me)
    try birth.bind(tls, to: conn, reference: reference, keyLog: settings.keyLog != nil)
    if settings.keepAlive > .zero {
      ngtcp2_conn_set_keep_alive_timeout(conn, UInt64(settings.keepAlive.nanoseconds))
    }
  }

  // MARK: Packets and time

  /// One UDP payload that came `from` the other end `to` us, with its two ECN bits.
  public func handle(
    _ datagram: UnsafeRawBufferPointer, from remote: Endpoint, to local: Endpoint, ecn: UInt8, at now: Instant
  ) {
    guard let bytes = datagram.baseAddress, datagram.count > 0 else { return }
    let ts = tick(now)
    defer { host?.touch(self) }
    guard let conn else {
      repeatLastWords()
      return
    }
    // A client's socket may report a wildcard or not: its own address is whatever it said it was.
    receivePath.set(local: isClient ? localEndpoint : local, remote: remote)
    let result = culvert_read_packet(
      conn, receivePath.path, UInt32(ecn & 3), bytes.assumingMemoryBound(to: UInt8.self), datagram.count, ts)
    if ngtcp2_conn_get_handshake_completed(conn) != 0 || !isClient { heardAnything = true }
    retriesWaiting = true
    if result != 0 { end(with: result, ts) }
    if remote != remoteEndpoint || pathMayHaveChanged { followPath() }
  }

  /// Call when `nextDeadline` has come; earlier or later does no harm.
  public func handleTimeout(at now: Instant) {
    let ts = tick(now)
    guard let conn else {
      if let end = finishedAt, ts >= end { finishedAt = nil }
      return
    }
    defer { host?.touch(self) }
    let result = ngtcp2_conn_handle_expiry(conn, ts)
    if result != 0 { end(with: result, ts) }
    if pathMayHaveChanged { followPath() }
  }

  /// When `handleTimeout` has to be called next; `nil` when nothing waits for time.
  public func nextDeadline() -> Instant? {
    guard let conn else {
      guard let finishedAt else { return nil }
      return Instant(nanoseconds: Int64(clamping: finishedAt))
    }
    let expiry = ngtcp2_conn_get_expiry(conn)
    // Some of ngtcp2's timers are over only after their instant, not at it: without the one nanosecond a clock that
    // jumps from deadline to deadline, such as a simulator's, would stand still.
    return expiry == .max ? nil : Instant(nanoseconds: Int64(clamping: expiry &+ 1))
  }

  /// Whether the connection is over and its last words need no repeating any more: it can be forgotten.
  public func isFinished(at now: Instant) -> Bool {
    guard conn == nil, !closingPending else { return false }
    guard let finishedAt else { return true }
    return tick(now) >= finishedAt
  }

  public func pollEvent() -> QUICEvent? {
    guard firstEvent < events.count else { return nil }
    let event = events[firstEvent]
    firstEvent += 1
    if firstEvent == events.count {
      events.removeAll(keepingCapacity: events.capacity <= 256)
      firstEvent = 0
    }
    switch event {
    case .streamReadable(let id): streams[id]?.readableQueued = false
    case .streamWritable(let id): streams[id]?.writableQueued = false
    case .datagramReadable: datagramEventQueued = false
    default: break
    }
    return event
  }

  func post(_ event: QUICEvent) {
    events.append(event)
    host?.noteEvents(of: self)
  }

  /// The time for ngtcp2: nanoseconds that never go back and are never zero.
  func tick(_ now: Instant) -> UInt64 {
    latest = max(latest, UInt64(clamping: now.nanoseconds))
    return latest
  }

  // MARK: The end

  /// Closes at once with an application code; what was not acknowledged is lost. `finish` the streams and wait for
  /// their `.streamClosed` first where that matters.
  public func close(code: UInt64 = 0, reason: String = "", at now: Instant) {
    let ts = tick(now)
    guard conn != nil else { return }
    let text = Array(reason.utf8.prefix(200))
    var error = ngtcp2_connection_close_error()
    text.withUnsafeBufferPointer {
      ngtcp2_connection_close_error_set_application_error(&error, code, $0.baseAddress, $0.count)
      sayLastWords(&error, ts)
    }
    finish(QUICCloseReason(.closedByUs(code: code)), lingering: true, ts)
    host?.touch(self)
  }

  /// What an error of ngtcp2 on a packet or a timer means for the connection.
  func end(with code: Int32, _ ts: UInt64) {
    guard let conn else { return }
    var error = ngtcp2_connection_close_error()
    ngtcp2_connection_close_error_default(&error)
    switch code {
    case NGTCP2_ERR_DRAINING:
      ngtcp2_conn_get_connection_close_error(conn, &error)
      finish(sawStatelessReset ? QUICCloseReason(.statelessReset) : .received(error), lingering: true, ts)
    case NGTCP2_ERR_IDLE_CLOSE:
      finish(QUICCloseReason(.idleTimeout), lingering: false, ts)
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
      finish(QUICCloseReason(.handshakeTimeout(heard: heardAnything)), lingering: false, ts)
    case NGTCP2_ERR_DROP_CONN, NGTCP2_ERR_RETRY:
      finish(QUICCloseReason(.failed("the first packet was no beginning")), lingering: false, ts)
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
      finish(QUICCloseReason(.versions(offeredVersions)), lingering: false, ts)
    case NGTCP2_ERR_CRYPTO:
      let alert = ngtcp2_conn_get_tls_alert(conn)
      ngtcp2_connection_close_error_set_transport_error_tls_alert(&error, alert, nil, 0)
      sayLastWords(&error, ts)
      let cause = handshakeError(alert: TLSAlert(number: alert), session: tls.pointer)
      finish(QUICCloseReason(.tls(cause)), lingering: true, ts)
    case NGTCP2_ERR_CALLBACK_FAILURE where handshakeRefusal != nil:
      ngtcp2_connection_close_error_set_transport_error_tls_alert(
        &error, TLSAlert.noApplicationProtocol.number, nil, 0)
      sayLastWords(&error, ts)
      finish(QUICCloseReason(.tls(handshakeRefusal ?? .noCommonApplicationProtocol)), lingering: true, ts)
    default:
      ngtcp2_connection_close_error_set_transport_error_liberr(&error, code, nil, 0)
      sayLastWords(&error, ts)
      finish(QUICCloseReason(Self.cause(of: code, sent: error.error_code)), lingering: true, ts)
    }
  }

  private static func cause(of code: Int32, sent: UInt64) -> QUICCloseReason.Cause {
    let text = ngtcp2_strerror(code).map { String(cString: $0) } ?? "error \(code)"
    switch code {
    case NGTCP2_ERR_NO_VIABLE_PATH: return .noPath
    case NGTCP2_ERR_NOMEM, NGTCP2_ERR_CALLBACK_FAILURE, NGTCP2_ERR_INTERNAL, NGTCP2_ERR_INVALID_ARGUMENT,
      NGTCP2_ERR_INVALID_STATE, NGTCP2_ERR_NOBUF, NGTCP2_ERR_PKT_NUM_EXHAUSTED:
      return .failed(text)
    default: return .protocolViolation(code: sent, text: text)
    }
  }

  private func sayLastWords(_ error: inout ngtcp2_connection_close_error, _ ts: UInt64) {
    guard let conn else { return }
    var packet = [UInt8](repeating: 0, count: max(settings.maximumPacket, Int(NGTCP2_MAX_UDP_PAYLOAD_SIZE)))
    var info = ngtcp2_pkt_info()
    let length = packet.withUnsafeMutableBufferPointer {
      culvert_write_close(conn, firstPath.path, &info, $0.baseAddress, $0.count, &error, ts)
    }
    guard length > 0 else { return }
    packet.removeSubrange(length...)
    closingPacket = packet
    closingPending = true
  }

  /// Deletes ngtcp2's part. What was received stays readable; late packets are answered with the last words, fewer
  /// and fewer of them, for three probe timeouts (RFC 9000, section 10.2).
  private func finish(_ reason: QUICCloseReason, lingering: Bool, _ ts: UInt64) {
    guard let conn else { return }
    let probe = ngtcp2_conn_get_pto(conn)
    finishedAt = lingering ? ts &+ min(3 &* probe, 3_000_000_000) : nil
    ngtcp2_conn_del(conn)
    self.conn = nil
    culvert_reference_set(reference, nil, nil)
    ready = []
    waiting = []
    heldTransmit = nil
    for stream in streams.values {
      stream.send.drop(to: .max, pool: pool)
      stream.sendClosed = true
    }
    state = .closed
    closeReason = reason
    post(.closed(reason))
  }

  private func repeatLastWords() {
    guard !closingPacket.isEmpty else { return }
    closingCounter += 1
    if closingCounter & (closingCounter - 1) == 0 { closingPending = true }
  }

  // MARK: The path

  func followPath() {
    pathMayHaveChanged = false
    guard let conn, let current = ngtcp2_conn_get_path(conn), let ends = PathStorage.endpoints(of: current),
      ends.local != localEndpoint || ends.remote != remoteEndpoint
    else { return }
    localEndpoint = ends.local
    remoteEndpoint = ends.remote
    post(.pathChanged(local: ends.local, remote: ends.remote))
  }

  /// A client moves to another local address; the connection goes on (RFC 9000, section 9).
  public func migrate(to local: Endpoint, at now: Instant) throws(QUICError) {
    let ts = tick(now)
    guard let conn else { throw closedError }
    guard isClient else { throw .refused("only a client can move") }
    receivePath.set(local: local, remote: remoteEndpoint)
    switch ngtcp2_conn_initiate_immediate_migration(conn, receivePath.path, ts) {
    case 0: followPath()
    case NGTCP2_ERR_INVALID_ARGUMENT: throw .refused("that is the address in use")
    case NGTCP2_ERR_CONN_ID_BLOCKED: throw .refused("the other end has given no spare connection ID")
    default: throw .refused("the handshake is not confirmed, or the other end forbids it")
    }
  }

  var closedError: QUICError { closeReason.map { .closed($0) } ?? .notConnected }

  func becomeConnected(_ facts: QUICFacts) {
    self.facts = facts
    state = .connected
    post(.connected(facts))
  }

  // MARK: Numbers

  /// The smoothed round trip, congestion window and bytes in flight, for `culvert path` and metrics.
  public var statistics: QUICStatistics? {
    guard let conn else { return nil }
    var stat = ngtcp2_conn_stat()
    culvert_connection_stat(conn, &stat)
    return QUICStatistics(
      smoothedRTT: TimeSpan(nanoseconds: Int64(clamping: stat.smoothed_rtt)), congestionWindow: stat.cwnd,
      bytesInFlight: stat.bytes_in_flight, packetSize: ngtcp2_conn_get_path_max_tx_udp_payload_size(conn))
  }
}

public struct QUICStatistics: Sendable, Hashable {
  public let smoothedRTT: TimeSpan
  /// Bytes.
  public let congestionWindow: UInt64
  public let bytesInFlight: UInt64
  /// The largest UDP payload that the path carries as far as is known.
  public let packetSize: Int
}
