import LinuxIO
import TURN
import Values

/// The dialer `turn`: datagrams to targets through allocations at a TURN server.
///
/// One allocation serves many targets, each of which has a channel in it. Two carriers to the same target cannot share
/// one, as nothing in an answer would say whose it is: the second gets an allocation of its own. A target whose family the
/// allocation has not gets one that has it. An allocation that nobody uses any more is given back after a few seconds.
///
/// Targets by name are resolved here, as a relay knows addresses alone: by the policy of the allocation, so that a family
/// that may not be used there is not asked for either.
public final class TURNDialer: RelayingDialer, TURNSessionOwner {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let log: Log
  private let server: TURNServer
  private let resolver: Resolver
  private var sessions: [TURNSession] = []
  private var timer: LoopTimer?
  private var emptySince: [ObjectIdentifier: Instant] = [:]
  /// The server gives no allocation with both families, which older ones pass over without a word.
  private var givesOne = false
  private var isClosed = false

  /// How long an allocation without targets is kept.
  private static let linger = TimeSpan.seconds(10)
  /// Allocations at once: more is somebody's mistake.
  private static let mostSessions = 256

  public init(loop: EventLoop, arena: ReceiveArena, log: Log, server: TURNServer) {
    self.loop = loop
    self.arena = arena
    self.log = log
    self.server = server
    resolver = Resolver(loop: loop)
    timer = loop.makeTimer { [weak self] in self?.sweep() }
  }

  public func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    loop.later { completion(.failure(TransportFailure(.local, "turn carries datagrams, not a stream"))) }
  }

  public func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
    loop.later { completion(.failure(TransportFailure(.local, "turn carries datagrams to a target"))) }
  }

  public func openDatagrams(
    to target: HostPort, _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    resolve(target) { [weak self] result in
      guard let self, !self.isClosed else { return }
      switch result {
      case .failure(let failure): completion(.failure(failure))
      case .success(let peers): self.open(peers[...], target, nil, completion)
      }
    }
  }

  /// The addresses of a target that may be used, the preferred ones first; at least one.
  func resolve(_ target: HostPort, _ completion: @escaping (Result<[Endpoint], TransportFailure>) -> Void) {
    let server = server
    resolver.resolve(target.host, policy: server.allocation.policy) { result in
      switch result {
      case .success(let addresses):
        let peers = addresses.map { Endpoint($0.canonical, port: target.port) }
        if peers.isEmpty {
          completion(.failure(TransportFailure(.unreachable, "\(target.host) has no address")))
        } else {
          completion(.success(peers))
        }
      case .failure(.forbidden(let family)):
        let failure = server.objection(to: family)
        completion(.failure(failure ?? TransportFailure(.forbidden, "\(family) is forbidden by policy")))
      case .failure(let failure):
        let note = server.forbiddenBehind.map { "; at the relay \($0)" } ?? ""
        completion(.failure(TransportFailure(.unreachable, "cannot resolve \(target.host): \(failure)\(note)")))
      }
    }
  }

  /// Tries one address of a target after the other.
  private func open(
    _ peers: ArraySlice<Endpoint>, _ target: HostPort, _ last: TransportFailure?,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    guard let peer = peers.first, !isClosed else {
      completion(.failure(last ?? TransportFailure(.unreachable, "\(target.host) has no address")))
      return
    }
    guard let session = session(for: peer) else {
      completion(.failure(TransportFailure(.local, "there are \(Self.mostSessions) allocations at \(server.name)")))
      return
    }
    session.open(peer, .target(target.description)) { [weak self] result in
      guard let self, case .failure(let failure) = result, !failure.blamesNode else {
        completion(result)
        return
      }
      if session.families == .both, self.givesOne, session.allocation?.relayed(peer.family) == nil {
        self.open(peers, target, failure, completion)
        return
      }
      guard peers.count > 1 else {
        completion(result)
        return
      }
      self.open(peers.dropFirst(), target, failure, completion)
    }
  }

  private func session(for peer: Endpoint) -> TURNSession? {
    if let known = sessions.first(where: { $0.isFree(for: peer) }) {
      emptySince[ObjectIdentifier(known)] = nil
      return known
    }
    guard sessions.count < Self.mostSessions else { return nil }
    let fresh = TURNSession(
      loop: loop, arena: arena, log: log, server: server,
      families: givesOne ? (peer.family == .ipv4 ? .ipv4 : .ipv6) : server.families(for: peer.family))
    fresh.owner = self
    sessions.append(fresh)
    if timer?.isArmed == false { timer?.arm(after: Self.linger) }
    return fresh
  }

  /// Gives allocations back that nobody used for a while.
  private func sweep() {
    let now = loop.now
    for session in sessions {
      let key = ObjectIdentifier(session)
      guard session.isEmpty else {
        emptySince[key] = nil
        continue
      }
      let since = emptySince[key] ?? now
      emptySince[key] = since
      if now - since >= Self.linger { drop(session) }
    }
    if !sessions.isEmpty { timer?.arm(after: TimeSpan(nanoseconds: Self.linger.nanoseconds / 2)) }
  }

  private func drop(_ session: TURNSession) {
    session.close()
    sessions.removeAll { $0 === session }
    emptySince[ObjectIdentifier(session)] = nil
  }

  // MARK: Sessions

  func sessionAllocated(_ session: TURNSession, _ allocation: TURNAllocation) {
    if session.families == .both, allocation.relayed.count == 1 { givesOne = true }
  }

  func session(_ session: TURNSession, received batch: inout PacketBatch, from peer: Endpoint) {}
  func sessionWritable(_ session: TURNSession) {}

  func sessionEnded(_ session: TURNSession, _ failure: TransportFailure) {
    sessions.removeAll { $0 === session }
    emptySince[ObjectIdentifier(session)] = nil
  }

  // MARK: Dialer

  public func reset() { networkChanged() }

  /// Sessions find out by themselves that a server is dead, and are shared.
  public func suspect(since: Instant) {}

  public func networkChanged() {
    for session in sessions { session.networkChanged() }
  }

  public func close() {
    isClosed = true
    timer?.cancel()
    timer = nil
    for session in sessions { session.close() }
    sessions = []
  }

  public func reportedLegs(of stream: any ByteStream) -> [Leg]? { nil }
  public func reportedFailure(of stream: any ByteStream) -> String? { nil }
}
