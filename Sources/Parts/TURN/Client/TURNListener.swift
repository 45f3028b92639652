import LinuxIO
import TURN
import Values

/// The listener `turn`: an allocation at a TURN server, at which peers arrive like clients at a port of our own.
///
/// Whoever may send is in the file, by address: a relay drops everything else. Each peer is a session, and gets a channel
/// when it is taken, so that what goes to and fro has four bytes in front of it and no more. The allocation is asked for at
/// the start and whenever it was lost, for as long as the listener lives; its addresses are the server's choice and are
/// others each time, which the log and `culvert path` tell.
public final class TURNListener: DatagramListener, TURNSessionOwner {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let log: Log
  private let server: TURNServer
  private let permit: [IPAddress]
  private let accept: DatagramAcceptor
  private let table: DatagramSessionTable<Endpoint>
  /// One for each family that peers have; one alone where the server gives both together.
  private var sessions: [TURNSession] = []
  private var retry: LoopTimer?
  private var wanted: [TURNClientSettings.Families]
  private var complaints = ComplaintLimiter<String>()
  private var scratch: PacketBatchBox?
  private var isClosed = false
  fileprivate var unsent: UInt64 = 0

  /// - Parameter permit: addresses of peers.
  public init(
    loop: EventLoop, arena: ReceiveArena, log: Log, server: TURNServer, permit: [IPAddress],
    limits: DatagramSessionLimits, accept: @escaping DatagramAcceptor
  ) {
    self.loop = loop
    self.arena = arena
    self.log = log
    self.server = server
    self.permit = permit.map(\.canonical).filter { server.allocation.policy.allows($0.family) }
    self.accept = accept
    table = DatagramSessionTable(loop: loop, limits: limits)
    wanted = Self.families(server.allocation, self.permit)
    retry = loop.makeTimer { [weak self] in self?.start() }
    start()
  }

  /// What to ask for: both at once where the file says so, else what the peers need, and IPv4 where that is nothing.
  static func families(_ allocation: AllocationFamilies, _ permit: [IPAddress]) -> [TURNClientSettings.Families] {
    switch allocation {
    case .both: return [.both]
    case .ipv4: return [.ipv4]
    case .ipv6: return [.ipv6]
    case .any, .preferIPv4, .preferIPv6:
      let families = Set(permit.map(\.family))
      if families.isEmpty { return [allocation == .preferIPv6 ? .ipv6 : .ipv4] }
      return (families.contains(.ipv4) ? [.ipv4] : []) + (families.contains(.ipv6) ? [.ipv6] : [])
    }
  }

  private func start() {
    guard !isClosed else { return }
    for families in wanted where !sessions.contains(where: { $0.families == families }) {
      let session = TURNSession(loop: loop, arena: arena, log: log, server: server, families: families)
      session.owner = self
      session.permit(permit)
      sessions.append(session)
    }
  }

  // MARK: What is known

  private var relayed: [Endpoint] { sessions.flatMap { $0.allocation?.relayed ?? [] } }

  public var place: String {
    let list = relayed.map(\.description)
    return list.isEmpty ? "nowhere yet: asking \(server.target.address)" : list.joined(separator: ", ")
  }

  public var details: [(key: String, value: String)] {
    var list = [("relay", "\(server.target.address)")]
    list.append(("permitted", permit.isEmpty ? "nobody" : permit.map(\.description).joined(separator: ", ")))
    let renewals = sessions.reduce(0) { $0 &+ $1.renewals }
    if renewals > 0 { list.append(("allocations lost", "\(renewals)")) }
    return list
  }

  /// Our leg to the relay, with nobody behind it yet.
  public var paths: [(name: String, path: Path)] {
    sessions.compactMap { session in
      guard let allocation = session.allocation else { return nil }
      let name = allocation.relayed.map(\.description).joined(separator: ", ")
      return ("allocation \(name)", Path(legs: [session.ownLeg()], since: session.since))
    }
  }

  public var sessionCount: Int { table.count }

  public var dropped: [(what: String, count: UInt64)] {
    [("datagrams of new peers beyond the limit", table.refused), ("answers", unsent)].filter { $0.1 > 0 }
      .map { (what: $0.0, count: $0.1) }
  }

  // MARK: Sessions at the relay

  func sessionAllocated(_ session: TURNSession, _ allocation: TURNAllocation) {
    log.info(
      "peers reach us at the relay",
      ["relay": server.name, "at": allocation.relayed.map(\.description).joined(separator: ",")])
    // Older servers pass over the wish for both without a word.
    guard session.families == .both, allocation.relayed.count == 1, allocation.refused == nil else { return }
    let other: TURNClientSettings.Families = allocation.relayed.first?.family == .ipv4 ? .ipv6 : .ipv4
    guard !wanted.contains(other) else { return }
    wanted.append(other)
    loop.later { [weak self] in self?.start() }
  }

  func session(_ session: TURNSession, received batch: inout PacketBatch, from peer: Endpoint) {
    guard !isClosed else { return }
    let refused = table.refused
    table.take(
      &batch, from: peer,
      make: {
        session.bind(peer)
        return TURNPeerSession(listener: self, session: session, peer: peer, at: loop.now)
      }, accept: accept)
    if table.refused != refused { complain("there is no place for more peers; datagrams of new ones are dropped") }
  }

  func sessionWritable(_ session: TURNSession) {}

  func sessionEnded(_ session: TURNSession, _ failure: TransportFailure) {
    sessions.removeAll { $0 === session }
    complain("the relay cannot be used: \(failure)")
    retry?.arm(after: DialTiming.pause)
  }

  private func complain(_ text: String) {
    if complaints.isDue("", text, at: loop.now) { log.warn(text, ["relay": server.name]) }
  }

  // MARK: Answers

  /// With room for a header in front of each datagram, which the batch of an answer has not.
  fileprivate func answer(_ batch: borrowing PacketBatch, to peer: TURNPeerSession) {
    table.answered(peer)
    guard let session = peer.session else { return }
    let box = scratch ?? PacketBatchBox(capacity: 192 * 1024, maximumCount: 256, headroom: TURNClient.headroom)
    scratch = nil
    box.batch.removeAll()
    for index in 0..<batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      if box.batch.append(copying: packet) { continue }
      _ = session.send(&box.batch, to: peer.peer)
      box.batch.removeAll()
      if !box.batch.append(copying: packet) { unsent &+= 1 }
    }
    if !box.batch.isEmpty { _ = session.send(&box.batch, to: peer.peer) }
    scratch = box
  }

  fileprivate func leftBacklog() { table.leftBacklog() }

  fileprivate func remove(_ peer: TURNPeerSession) {
    peer.session?.unbind(peer.peer)
    table.remove(peer, at: peer.peer)
  }

  public func renew(_ limits: DatagramSessionLimits) { table.renew(limits) }
  public func endSessions() { table.close() }
  public func networkChanged() { for session in sessions { session.networkChanged() } }

  public func close() {
    isClosed = true
    retry?.cancel()
    retry = nil
    table.close()
    for session in sessions { session.close() }
    sessions = []
  }
}

/// One peer of the allocation.
private final class TURNPeerSession: DatagramSession {
  private weak var listener: TURNListener?
  weak var session: TURNSession?
  let peer: Endpoint

  init(listener: TURNListener, session: TURNSession, peer: Endpoint, at now: Instant) {
    self.listener = listener
    self.session = session
    self.peer = peer
    super.init(at: now)
  }

  override var client: Endpoint? { peer }

  override var legs: [Leg] {
    guard let session else { return [] }
    let far = session.farLeg(to: peer, .client)
    let own = session.ownLeg()
    let traffic = Traffic(forward: received, back: sent)
    // From the peer's side: the legs that a carrier has, the other way round.
    return [
      Leg(
        from: .client, to: far.from, local: far.remote, remote: far.local, transport: far.transport, traffic: traffic,
        forbidden: far.forbidden),
      Leg(
        from: own.to, to: .us, local: own.remote, remote: own.local, transport: own.transport, traffic: traffic,
        roundTrip: own.roundTrip, forbidden: own.forbidden),
    ]
  }

  override func transmit(_ batch: inout PacketBatch) { listener?.answer(batch, to: self) }
  override func leaveBacklog() { listener?.leftBacklog() }
  override func remove() { listener?.remove(self) }
}
