import LinuxIO
import Values

/// The handler `rudp`: datagrams that come to a port at the far end of a chain go to the forwarder's targets here.
///
/// All clients of the far port share one association, which says of each datagram who sent it. So the sources become
/// sessions, as at a listener of our own, and a `UDPForwardHandler` does the rest. When the association ends, so do the
/// sessions: their clients' way back is gone. Whoever bound the port binds it again and gives it here.
public final class RemoteUDPHandler: DatagramAssociationObserver {
  private let loop: EventLoop
  private let log: Log
  private let forward: UDPForwardHandler
  private let table: DatagramSessionTable<HostPort>
  private var remote: (any RemoteListener)?
  private var association: (any DatagramAssociation)?
  private var complaints = ComplaintLimiter<String>()
  /// Holds one datagram at a time: that is how an association gives them.
  private let single = Single()

  private final class Single {
    var batch: PacketBatch? = nil
  }

  private static let capacity = 65_536

  /// - Parameter forward: takes the sessions; may serve other listeners as well.
  public init(loop: EventLoop, log: Log, forward: UDPForwardHandler, limits: DatagramSessionLimits) {
    self.loop = loop
    self.log = log
    self.forward = forward
    table = DatagramSessionTable(loop: loop, limits: limits)
  }

  /// Takes a bound port over, in place of the one before. Its `failed` stays the owner's and is called when the
  /// association ends. False when it is not one for UDP.
  public func accept(_ listener: any RemoteListener) -> Bool {
    guard let association = listener.association else { return false }
    release()
    remote = listener
    self.association = association
    association.observer = self
    return true
  }

  public var sessionCount: Int { table.count }

  /// Datagrams of new clients for which there was no place.
  public var refused: UInt64 { table.refused }

  public func datagramArrived(
    _ payload: UnsafeRawBufferPointer, from source: HostPort, on association: any DatagramAssociation
  ) {
    guard association === self.association else { return }
    // Taken out for the time of the call: what is called may come back here.
    var batch = single.batch.take() ?? PacketBatch(capacity: Self.capacity, maximumCount: 1)
    batch.removeAll()
    if batch.append(copying: payload) {
      let refused = table.refused
      table.take(
        &batch, from: source, make: { RemoteSession(handler: self, source: source, at: loop.now) },
        accept: forward.accept)
      if table.refused != refused, complaints.isDue("", "", at: loop.now) {
        log.warn("there is no place for more clients; datagrams of new ones are dropped", ["clients": table.count])
      }
    }
    // A large datagram's memory is not kept: most are small, and pages that were touched stay.
    if payload.count <= 4096 { single.batch = consume batch }
  }

  public func associationFailed(_ association: any DatagramAssociation, _ failure: TransportFailure) {
    guard association === self.association else { return }
    let failed = remote?.failed
    release()
    failed?(failure)
  }

  fileprivate func answer(_ batch: inout PacketBatch, to session: RemoteSession) {
    table.answered(session)
    for index in 0..<batch.count { association?.send(UnsafeRawBufferPointer(batch[index]), to: session.source) }
  }

  fileprivate var farLegs: [Leg] { association?.legs ?? [] }
  fileprivate func leftBacklog() { table.leftBacklog() }
  fileprivate func remove(_ session: RemoteSession) { table.remove(session, at: session.source) }

  private func release() {
    association?.observer = nil
    association = nil
    remote = nil
    table.close()
  }

  /// Ends the sessions and gives the port up.
  public func close() {
    let listener = remote
    release()
    listener?.close()
  }
}

/// One source at the far port.
private final class RemoteSession: DatagramSession {
  private weak var handler: RemoteUDPHandler?
  let source: HostPort

  init(handler: RemoteUDPHandler, source: HostPort, at now: Instant) {
    self.handler = handler
    self.source = source
    super.init(at: now)
  }

  override var client: Endpoint? { source.literal.map { Endpoint($0, port: source.port) } }
  override var name: String { source.description }

  /// Those of the association, from its far end to us: a client's datagrams come that way.
  override var legs: [Leg] { handler?.farLegs.reversed().map(\.turned) ?? [] }

  override func transmit(_ batch: inout PacketBatch) { handler?.answer(&batch, to: self) }
  override func leaveBacklog() { handler?.leftBacklog() }
  override func remove() { handler?.remove(self) }
}

extension Leg {
  /// The same leg seen from its other end.
  fileprivate var turned: Leg {
    Leg(
      from: to, to: from, local: remote, remote: local, transport: transport,
      traffic: traffic.map { Traffic(forward: $0.back, back: $0.forward) }, roundTrip: roundTrip)
  }
}
