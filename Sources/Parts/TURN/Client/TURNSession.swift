import LinuxIO
import TURN
import Values

/// Told of what happens to an allocation.
protocol TURNSessionOwner: AnyObject {
  /// The relayed addresses are there, or are others now.
  func sessionAllocated(_ session: TURNSession, _ allocation: TURNAllocation)
  /// Packets of a peer that nobody opened a carrier to.
  func session(_ session: TURNSession, received batch: inout PacketBatch, from peer: Endpoint)
  func sessionWritable(_ session: TURNSession)
  /// It could not be had, or was lost and could not be had again. Nothing follows.
  func sessionEnded(_ session: TURNSession, _ failure: TransportFailure)
}

/// An allocation at a TURN server, as long as somebody wants it: found (`TURNApproach`), kept, moved when our address
/// changes, and made anew once when the server forgot it or fell silent.
///
/// What is carried through it stays open meanwhile and loses packets, and hears afterwards that the way is another
/// (`carrierRenewed`): peers know us by the relayed address, which has changed. When the server cannot be reached at all
/// everything that is carried ends, so that a chain can choose another node.
final class TURNSession: TURNEndOwner {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let log: Log
  let server: TURNServer
  let families: TURNClientSettings.Families
  weak var owner: (any TURNSessionOwner)?
  private(set) var end: TURNEnd?
  private var approach: TURNApproach?
  private var mover: StreamDialer?
  private var carriers: [Endpoint: TURNCarrier] = [:]
  private var openings: [Endpoint: Opening] = [:]
  private var permitted: [IPAddress] = []
  /// The relayed address is another than the one that peers know.
  private var isRenewed = false
  /// There was an allocation since the server was looked for: without one it is not looked for again.
  private var wasThere = false
  /// The server's address, for a stream that is made anew.
  private var remote: Endpoint?
  private var isClosed = false
  private(set) var since: Instant
  /// Packets of peers that nobody waits for.
  private(set) var unexpected: UInt64 = 0
  /// How often the allocation had to be made anew.
  private(set) var renewals: UInt64 = 0

  private final class Opening {
    let name: Role
    let completion: (Result<any DatagramCarrier, TransportFailure>) -> Void
    init(_ name: Role, _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
      self.name = name
      self.completion = completion
    }
  }

  init(
    loop: EventLoop, arena: ReceiveArena, log: Log, server: TURNServer, families: TURNClientSettings.Families
  ) {
    self.loop = loop
    self.arena = arena
    self.log = log
    self.server = server
    self.families = families
    since = loop.now
    seek(nil)
  }

  // MARK: What is known

  var isEmpty: Bool { carriers.isEmpty && openings.isEmpty }
  var allocation: TURNAllocation? { end?.client.allocation }

  func isFree(for peer: Endpoint) -> Bool {
    guard !isClosed, carriers[peer] == nil, openings[peer] == nil else { return false }
    switch families {
    case .both: break
    case .ipv4: if peer.family != .ipv4 { return false }
    case .ipv6: if peer.family != .ipv6 { return false }
    }
    return allocation.map { $0.relayed(peer.family) != nil } ?? true
  }

  /// Our leg to the relay.
  func ownLeg(traffic: Traffic? = nil) -> Leg {
    let receipt = end?.receipt
    return Leg(
      from: .us, to: .relay(server.name), local: receipt?.localFact, remote: receipt?.remoteFact,
      transport: end?.layers ?? [], traffic: traffic, roundTrip: end?.roundTrip, forbidden: server.target.forbidden)
  }

  /// The relay's leg to a peer: from the allocation, as the relay reported it, to where it was told to send.
  func farLeg(to peer: Endpoint, _ role: Role) -> Leg {
    Leg(
      from: .relay(server.name), to: role,
      local: end?.client.relayedFact(peer.family, relay: server.name),
      remote: end?.client.peerFact(peer, relay: server.name) ?? .configured(peer, at: since), transport: [.udp],
      forbidden: server.forbiddenBehind)
  }

  // MARK: What is wanted

  /// Opens datagrams to a peer; `completion` runs from the loop.
  func open(
    _ peer: Endpoint, _ role: Role, _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    openings[peer] = Opening(role, completion)
    if let end { want(peer, at: end) }
  }

  private func want(_ peer: Endpoint, at end: TURNEnd) {
    let isPossible = end.change { client, now in client.add(peer: peer, at: now) }
    guard !isPossible else { return }
    loop.later { [weak self] in
      guard let self else { return }
      let reason = self.allocation?.refused.map { ", which says \($0.error)" } ?? ""
      self.refuse(peer, TransportFailure(.unreachable, "no \(peer.family) address at the relay\(reason)"))
    }
  }

  private func refuse(_ peer: Endpoint, _ failure: TransportFailure) {
    if let opening = openings.removeValue(forKey: peer) { opening.completion(.failure(failure)) }
    if let carrier = carriers.removeValue(forKey: peer) { carrier.fail(failure) }
  }

  /// Lets an address send to us without having been sent to.
  func permit(_ addresses: [IPAddress]) {
    permitted = addresses
    end?.change { client, now in for address in addresses { client.permit(address, at: now) } }
  }

  /// A peer that came by itself: a channel to it saves bytes.
  func bind(_ peer: Endpoint) { _ = end?.change { client, now in client.add(peer: peer, at: now) } }
  func unbind(_ peer: Endpoint) { end?.change { client, _ in client.remove(peer: peer) } }

  func remove(_ carrier: TURNCarrier) {
    guard carriers[carrier.peer] === carrier else { return }
    carriers[carrier.peer] = nil
    unbind(carrier.peer)
  }

  // MARK: To and from the server

  private func seek(_ alternate: (address: Endpoint, domain: String?)?) {
    end?.release()
    end = nil
    mover?.close()
    mover = nil
    approach?.cancel()
    approach = TURNApproach(
      loop: loop, arena: arena, log: log, server: server, server.settings(families), alternate: alternate
    ) { [weak self] result in
      guard let self, !self.isClosed else {
        if case .success(let end) = result { end.release() }
        return
      }
      self.approach = nil
      switch result {
      case .success(let end): self.adopt(end)
      case .failure(let failure): self.finish(failure)
      }
    }
  }

  private func adopt(_ end: TURNEnd) {
    self.end = end
    end.owner = self
    remote = end.receipt?.remote
    since = loop.now
    end.change { client, now in
      for peer in carriers.keys { client.add(peer: peer, at: now) }
      for peer in openings.keys { client.add(peer: peer, at: now) }
      for address in permitted { client.permit(address, at: now) }
      client.proceed(at: now)
    }
  }

  func turnEnd(_ end: TURNEnd, said event: TURNClientEvent) {
    guard end === self.end, !isClosed else { return }
    switch event {
    case .answered: end.proceed()
    case .allocated(let allocation, let isSame): allocated(allocation, isSame: isSame)
    case .lost(let loss):
      renewals &+= 1
      isRenewed = true
      log.warn("the allocation is gone and is asked for again: \(loss)", ["relay": server.name])
    case .peerReady(let peer): ready(peer)
    case .peerRefused(let peer, let error):
      refuse(peer, TransportFailure(.forbidden, "the relay \(server.name) does not send to \(peer): \(error)"))
    case .peerReported(let peer, let report):
      for carrier in carriers.values where carrier.peer.address == peer.address {
        guard peer.port == 0 || peer.port == carrier.peer.port else { continue }
        carrier.lastReport = "the relay \(server.name) was told of \(peer): \(report.description(peer.family))"
      }
    case .permitted(let address): log.debug("permitted", ["relay": server.name, "peer": address])
    case .permissionRefused(let address, let error):
      log.warn("the relay permits nothing from a peer: \(error)", ["relay": server.name, "peer": address])
    case .alternate(let address, let domain): seek((address, domain))
    case .failed(let failure): recover("\(failure)", TransportFailure(failure.kind, "\(failure)"))
    }
  }

  private func allocated(_ allocation: TURNAllocation, isSame: Bool) {
    wasThere = true
    let receipt = end?.receipt
    log.info(
      isSame ? "the allocation moved along" : "the relay gives an address",
      [
        "relay": server.name, "relayed": allocation.relayed.map(\.description).joined(separator: ","),
        "leg to it": receipt.map { "\($0.local?.description ?? "?") → \($0.remote?.description ?? "?")" } ?? "?",
        "over": end?.layers.map(Self.word).joined(separator: "+") ?? "",
      ])
    if let refused = allocation.refused {
      log.warn("the relay gives no \(refused.family) address: \(refused.error)", ["relay": server.name])
    }
    owner?.sessionAllocated(self, allocation)
    guard isRenewed, !isSame else { return }
    isRenewed = false
    for carrier in Array(carriers.values) { carrier.renewed() }
  }

  private static func word(_ layer: Layer) -> String {
    switch layer {
    case .udp: "udp"
    case .tcp: "tcp"
    case .tls: "tls"
    default: "turn"
    }
  }

  private func ready(_ peer: Endpoint) {
    guard let opening = openings.removeValue(forKey: peer) else { return }
    let carrier = TURNCarrier(session: self, peer: peer, role: opening.name)
    carriers[peer] = carrier
    opening.completion(.success(carrier))
  }

  /// The server fell silent or the stream broke, which may be the network's doing: everything is tried once more.
  private func recover(_ words: String, _ failure: TransportFailure) {
    guard wasThere else {
      finish(failure)
      return
    }
    log.warn("lost the relay, which is looked for again: \(words)", ["relay": server.name])
    renewals &+= 1
    isRenewed = true
    wasThere = false
    seek(nil)
  }

  func turnEnd(_ end: TURNEnd, lost failure: TransportFailure) {
    guard end === self.end, !isClosed else { return }
    if end.client.canMove, case .udp = server.transport {
    } else if end.client.canMove {
      wasThere = true
      move(end)
      return
    }
    recover("\(failure)", failure)
  }

  func turnEnd(_ end: TURNEnd, received batch: inout PacketBatch, from peer: Endpoint) {
    if let carrier = carriers[peer] {
      carrier.take(&batch)
    } else if let owner {
      owner.session(self, received: &batch, from: peer)
    } else {
      unexpected &+= UInt64(batch.count)
    }
  }

  func turnEndWritable(_ end: TURNEnd) {
    for carrier in Array(carriers.values) { carrier.writable() }
    owner?.sessionWritable(self)
  }

  /// Sends packets with the machine's headroom. False when no more should come until there is room.
  func send(_ batch: inout PacketBatch, to peer: Endpoint) -> Bool { end?.send(&batch, to: peer) ?? true }

  // MARK: Another network

  /// The host's addresses or routes changed. When packets to the server would leave from another address now, the
  /// allocation is moved there, or made anew.
  func networkChanged() {
    guard !isClosed, let end, let remote = end.receipt?.remote, let local = end.receipt?.local else { return }
    do throws(SystemError) {
      var options = server.target.options
      options.bufferSize = TURNApproach.socketBuffer
      let fresh = try UDPSocket(loop: loop, arena: arena, to: remote, options: options)
      guard fresh.receipt.local?.address.canonical != local.address.canonical else {
        fresh.close()
        return
      }
      log.info(
        "packets to the relay leave from another address now",
        ["relay": server.name, "before": local.address, "now": fresh.receipt.local?.address.description ?? "?"])
      if end.isStream || !end.client.canMove {
        fresh.close()
        if end.client.canMove { move(end) } else { recover("our address changed", TransportFailure(.lost, "moved")) }
      } else {
        end.move(to: fresh)
      }
    } catch {
      recover("\(error)", TransportFailure(error))
    }
  }

  /// A new stream to the same address, with the ticket.
  private func move(_ end: TURNEnd) {
    guard let remote else { return seek(nil) }
    let target = server.target
    let own = NodeTarget(
      name: target.name, address: HostPort(host: "\(remote.address)", port: remote.port), family: target.family,
      policy: target.policy, forbidden: target.forbidden, options: target.options, guardian: target.guardian)
    var upgrades: [StreamUpgrade] = []
    if case .tls(let layer) = server.transport { upgrades = [layer(nil)] }
    let dialer = StreamDialer(loop: loop, target: own, upgrades: upgrades)
    mover = dialer
    dialer.openStream(from: nil, for: nil) { [weak self, weak end] result in
      guard let self, let end, self.end === end, !self.isClosed else {
        if case .success(let stream) = result { stream.close() }
        return
      }
      self.mover = nil
      switch result {
      case .success(let stream): end.move(to: stream)
      case .failure(let failure): self.recover("\(failure)", failure)
      }
    }
  }

  // MARK: The end

  private func finish(_ failure: TransportFailure) {
    guard !isClosed else { return }
    let owner = owner
    let carriers = Array(carriers.values)
    let openings = Array(openings.values)
    close()
    for opening in openings { opening.completion(.failure(failure)) }
    for carrier in carriers { carrier.fail(failure) }
    owner?.sessionEnded(self, failure)
  }

  /// Gives the allocation back and tells nobody.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    approach?.cancel()
    approach = nil
    mover?.close()
    mover = nil
    end?.release()
    end = nil
    carriers = [:]
    openings = [:]
    owner = nil
  }
}
