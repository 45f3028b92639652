import LinuxIO
import Values

/// The listener `udp`: one socket, and a session for each source that sends to it.
///
/// Datagrams come whole, whatever their size: GOST's `readBufferSize`, beyond which it cuts them off, has no meaning
/// here. Sessions live until they have been silent for `ttl`, with `keepalive` and without: GOST without `keepalive` ends
/// a session with its first answer and drops the others, which no protocol that answers twice survives. See `docs/udp.md`.
///
/// The socket reads in batches that the kernel joined, and answers leave the same way. An answer leaves from the address
/// that the client sent to.
public final class UDPSessionListener: DatagramListener, DatagramSocketHandler {
  private let log: Log
  private let socket: UDPSocket
  private let loop: EventLoop
  private let accept: DatagramAcceptor
  private let table: DatagramSessionTable<Endpoint>
  private var complaints = ComplaintLimiter<String>()
  fileprivate var unsent: UInt64 = 0

  /// - Parameter local: the unspecified IPv6 address takes IPv4 as well.
  public init(
    loop: EventLoop, arena: ReceiveArena, log: Log, local: Endpoint, options: SocketOptions,
    limits: DatagramSessionLimits, accept: @escaping DatagramAcceptor
  ) throws(SystemError) {
    self.loop = loop
    self.log = log
    self.accept = accept
    table = DatagramSessionTable(loop: loop, limits: limits)
    socket = try UDPSocket(loop: loop, arena: arena, at: local, options: options)
    socket.takesEmpty = true
    socket.handler = self
  }

  deinit { socket.close() }

  /// The local end as the kernel has it.
  public var receipt: Receipt { socket.receipt }

  public var place: String { receipt.local?.description ?? "stopped" }

  public var sessionCount: Int { table.count }

  /// What was of no use or could not leave, by what it was; only kinds that came.
  public var dropped: [(what: String, count: UInt64)] {
    [
      ("datagrams of new clients beyond the limit", table.refused), ("answers", unsent),
      ("datagrams cut off", UInt64(clamping: socket.truncated)),
    ].filter { $0.1 > 0 }.map { (what: $0.0, count: $0.1) }
  }

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    let refused = table.refused
    table.take(
      &batch, from: arrival.remote,
      make: { UDPSession(listener: self, receipt: socket.receipt(of: arrival, at: loop.now), arrival, at: loop.now) },
      accept: accept)
    if table.refused != refused { complain("there is no place for more clients; datagrams of new ones are dropped") }
  }

  private func complain(_ text: String) {
    if complaints.isDue("", text, at: loop.now) { log.warn(text, ["clients": table.count]) }
  }

  public func socketWritable(_ socket: any DatagramSocket) {}

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) { complain("\(error)") }

  fileprivate func answer(_ batch: inout PacketBatch, to session: UDPSession) {
    table.answered(session)
    batch.closeGaps()
    let storage = UnsafeRawBufferPointer(batch.storage)
    var index = 0
    while index < batch.count {
      let run = max(1, batch.equalRun(from: index, limit: 64, byteLimit: 65_000))
      let first = batch.slot(index)
      let last = batch.slot(index + run - 1)
      send(UnsafeRawBufferPointer(rebasing: storage[first.offset..<(last.offset + last.length)]), first.length, session)
      index += run
    }
  }

  private func send(_ bytes: UnsafeRawBufferPointer, _ segment: Int, _ session: UDPSession) {
    let count = segment == 0 ? 1 : (bytes.count + segment - 1) / segment
    switch transmit(bytes, segment, session) {
    case .sent: return
    case .blocked(let sent): unsent &+= UInt64(count - min(count, segment == 0 ? 0 : sent / segment))
    case .failed(let error):
      // The address that the client sent to may be one to which many listen, or have gone: the kernel chooses then.
      if session.local != nil {
        session.local = nil
        if case .sent = transmit(bytes, segment, session) { return }
      }
      unsent &+= UInt64(count)
      complain("cannot answer: \(error)")
    }
  }

  private func transmit(_ bytes: UnsafeRawBufferPointer, _ segment: Int, _ session: UDPSession) -> SendOutcome {
    segment == 0
      ? socket.sendEmpty(to: session.remote, from: session.local)
      : socket.send(bytes, segment: segment, to: session.remote, from: session.local, ecn: 0)
  }

  fileprivate func leftBacklog() { table.leftBacklog() }
  fileprivate func remove(_ session: UDPSession) { table.remove(session, at: session.remote) }

  /// For sessions from now on.
  public func renew(_ limits: DatagramSessionLimits) { table.renew(limits) }

  /// Ends all sessions, whose receivers are told; the socket stays.
  public func endSessions() { table.close() }

  /// Ends all sessions, whose receivers are told, and the socket.
  public func close() {
    table.close()
    socket.close()
  }
}

/// One source of a UDP listener.
private final class UDPSession: DatagramSession {
  private weak var listener: UDPSessionListener?
  private let receipt: Receipt
  let remote: Endpoint
  /// The address to answer from.
  var local: IPAddress?

  init(listener: UDPSessionListener, receipt: Receipt, _ arrival: Arrival, at now: Instant) {
    self.listener = listener
    self.receipt = receipt
    remote = arrival.remote
    local = arrival.local.flatMap { $0.isMulticast ? nil : $0 }
    super.init(at: now)
  }

  override var client: Endpoint? { remote }

  override var legs: [Leg] {
    [
      Leg(
        from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact, transport: [.udp],
        traffic: Traffic(forward: received, back: sent))
    ]
  }

  override func transmit(_ batch: inout PacketBatch) { listener?.answer(&batch, to: self) }
  override func leaveBacklog() { listener?.leftBacklog() }
  override func remove() { listener?.remove(self) }
}
