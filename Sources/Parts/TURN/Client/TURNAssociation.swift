import LinuxIO
import TURN
import Values

/// Datagrams to and from any target through allocations of its own, one for each family that is used: SOCKS5's UDP
/// through a TURN server.
///
/// Each target gets a channel when it is first sent to, and with it the permission to answer; one that was silent for
/// minutes is forgotten when there are too many. Names are resolved by the allocation's policy and kept for half a minute.
final class TURNAssociation: DatagramAssociation, TURNSessionOwner {
  typealias Lookup = (HostPort, @escaping (Result<[Endpoint], TransportFailure>) -> Void) -> Void

  private let loop: EventLoop
  private let arena: ReceiveArena
  private let log: Log
  private let server: TURNServer
  private let lookup: Lookup
  private var sessions: [AddressFamily: TURNSession] = [:]
  private var known: [HostPort: (peer: Endpoint?, until: Instant)] = [:]
  private var used: [Endpoint: Instant] = [:]
  private var waiting: [(target: HostPort, payload: [UInt8])] = []
  private var scratch = PacketBatch(capacity: 66_000, maximumCount: 1, headroom: TURNClient.headroom)
  private var lastPeer: Endpoint?
  private var forth: UInt64 = 0
  private var back: UInt64 = 0
  private var isClosed = false
  weak var observer: (any DatagramAssociationObserver)?
  /// Its owner forgets it.
  var ended: (() -> Void)?
  private(set) var dropped: UInt64 = 0

  private static let memory = TimeSpan.seconds(30)
  private static let mostWaiting = 64
  private static let mostPeers = 1024
  private static let mostNames = 256

  init(loop: EventLoop, arena: ReceiveArena, log: Log, server: TURNServer, lookup: @escaping Lookup) {
    self.loop = loop
    self.arena = arena
    self.log = log
    self.server = server
    self.lookup = lookup
  }

  var legs: [Leg] {
    guard let peer = lastPeer, let session = session(of: peer.family) else {
      return [Leg(from: .us, to: .relay(server.name), local: nil, remote: nil, transport: [])]
    }
    return [
      session.ownLeg(traffic: Traffic(forward: forth, back: back)), session.farLeg(to: peer, .target("\(peer)")),
    ]
  }

  func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) {
    guard !isClosed else { return }
    if let entry = known[target], loop.now < entry.until {
      if let peer = entry.peer { send(payload, to: peer) } else { dropped &+= 1 }
      return
    }
    guard waiting.count < Self.mostWaiting else {
      dropped &+= 1
      return
    }
    let isAsked = waiting.contains { $0.target == target }
    waiting.append((target, Array(payload)))
    guard !isAsked else { return }
    lookup(target) { [weak self] result in self?.found(target, result) }
  }

  private func found(_ target: HostPort, _ result: Result<[Endpoint], TransportFailure>) {
    guard !isClosed else { return }
    if known.count >= Self.mostNames { known = [:] }
    switch result {
    case .success(let peers): known[target] = (peers.first, loop.now + Self.memory)
    case .failure(let failure):
      known[target] = (nil, loop.now + Self.memory)
      log.debug("a target is not reached: \(failure)", ["target": target])
    }
    let ready = waiting.filter { $0.target == target }
    waiting.removeAll { $0.target == target }
    for (target, payload) in ready { payload.withUnsafeBytes { send($0, to: target) } }
  }

  private func session(of family: AddressFamily) -> TURNSession? {
    sessions[server.allocation == .both ? .ipv4 : family]
  }

  private func send(_ payload: UnsafeRawBufferPointer, to peer: Endpoint) {
    let place: AddressFamily = server.allocation == .both ? .ipv4 : peer.family
    let session: TURNSession
    if let there = sessions[place] {
      session = there
    } else {
      session = TURNSession(
        loop: loop, arena: arena, log: log, server: server, families: server.families(for: peer.family))
      session.owner = self
      sessions[place] = session
    }
    lastPeer = peer
    if session.allocation == nil {
      hold(payload, for: peer)
      return
    }
    if used[peer] == nil {
      forgetSome()
      session.bind(peer)
    }
    used[peer] = loop.now
    scratch.removeAll()
    guard scratch.append(copying: payload) else {
      dropped &+= 1
      return
    }
    forth &+= UInt64(payload.count)
    _ = session.send(&scratch, to: peer)
  }

  /// Until there is an allocation.
  private func hold(_ payload: UnsafeRawBufferPointer, for peer: Endpoint) {
    guard waiting.count < Self.mostWaiting else {
      dropped &+= 1
      return
    }
    waiting.append((HostPort(host: "\(peer.address)", port: peer.port), Array(payload)))
  }

  private func forgetSome() {
    guard used.count >= Self.mostPeers else { return }
    for (peer, _) in used.sorted(by: { $0.value < $1.value }).prefix(Self.mostPeers / 2) {
      used[peer] = nil
      session(of: peer.family)?.unbind(peer)
    }
  }

  // MARK: Sessions

  func sessionAllocated(_ session: TURNSession, _ allocation: TURNAllocation) {
    for peer in used.keys where self.session(of: peer.family) === session { session.bind(peer) }
    let held = waiting
    waiting = []
    for (target, payload) in held {
      guard let literal = target.literal else {
        waiting.append((target, payload))
        continue
      }
      payload.withUnsafeBytes { send($0, to: Endpoint(literal.canonical, port: target.port)) }
    }
  }

  func session(_ session: TURNSession, received batch: inout PacketBatch, from peer: Endpoint) {
    let source = HostPort(host: "\(peer.address)", port: peer.port)
    for index in 0..<batch.count {
      guard !isClosed else { return }
      let payload = UnsafeRawBufferPointer(batch[index])
      back &+= UInt64(payload.count)
      observer?.datagramArrived(payload, from: source, on: self)
    }
  }

  func sessionWritable(_ session: TURNSession) {}

  func sessionEnded(_ session: TURNSession, _ failure: TransportFailure) {
    guard !isClosed else { return }
    let observer = observer
    close()
    observer?.associationFailed(self, failure)
  }

  func networkChanged() { for session in sessions.values { session.networkChanged() } }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    for session in sessions.values { session.close() }
    sessions = [:]
    dropped &+= UInt64(waiting.count)
    waiting = []
    ended?()
    ended = nil
  }
}
