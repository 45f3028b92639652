import LinuxIO
import TURN
import Values

/// Finds the address of a TURN server that answers, by the server's own first word.
///
/// Over UDP each address gets a socket of its own and the first, unproven Allocate; the first that is answered wins
/// (`ServerRace`), and the others are closed before there is anything at them. Over TCP and TLS the connection is the race
/// (`TCPRace`). A server that sends us elsewhere (300) is followed a few times, never to where we were already, and never
/// to a family that the policy forbids.
final class TURNApproach: TURNEndOwner {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let log: Log
  private let server: TURNServer
  private let settings: TURNClientSettings
  private var completion: ((Result<TURNEnd, TransportFailure>) -> Void)?
  private var target: NodeTarget
  private var domain: String?
  private var visited: Set<String>
  private let resolver: Resolver
  private var race: ServerRace?
  private var ends: [Int: TURNEnd] = [:]
  private var endpoints: [Endpoint] = []
  private var dialer: StreamDialer?
  private var timer: LoopTimer?
  private var failure: TransportFailure?

  private static let mostRedirections = 4
  /// Messages and packets of a burst, in bytes.
  static let socketBuffer = 4 << 20

  /// - Parameters:
  ///   - alternate: where the server sent us, in the place of its own address.
  ///   - completion: called once, from the loop, with an end that was answered and waits for `proceed`.
  init(
    loop: EventLoop, arena: ReceiveArena, log: Log, server: TURNServer, _ settings: TURNClientSettings,
    alternate: (address: Endpoint, domain: String?)? = nil,
    _ completion: @escaping (Result<TURNEnd, TransportFailure>) -> Void
  ) {
    self.loop = loop
    self.arena = arena
    self.log = log
    self.server = server
    self.settings = settings
    self.completion = completion
    target = server.target
    visited = ["\(server.target.address)"]
    resolver = Resolver(loop: loop)
    timer = loop.makeTimer { [weak self] in
      guard let self else { return }
      self.race?.handleTimeout(at: self.loop.now)
      self.step()
    }
    if let alternate { target = redirected(to: alternate.address, alternate.domain) }
    start()
  }

  private func redirected(to address: Endpoint, _ domain: String?) -> NodeTarget {
    self.domain = domain ?? self.domain
    return NodeTarget(
      name: target.name, address: HostPort(host: "\(address.address)", port: address.port), family: target.family,
      policy: target.policy, forbidden: target.forbidden, options: target.options, guardian: target.guardian)
  }

  private func start() {
    switch server.transport {
    case .udp:
      target.resolve(resolver) { [weak self] result in
        guard let self, self.completion != nil else { return }
        switch result {
        case .failure(let failure): self.end(.failure(failure))
        case .success(let endpoints):
          self.endpoints = endpoints
          self.race = ServerRace(endpoints.map(\.address), self.target.policy, at: self.loop.now)
          self.step()
        }
      }
    case .tcp: connect([])
    case .tls(let layer): connect([layer(domain)])
    }
  }

  // MARK: UDP

  private func step() {
    while completion != nil, let step = race?.pollStep() {
      switch step {
      case .start(let place): open(place)
      case .lost: end(.failure(failure ?? TransportFailure(.unreachable, "\(target.address.host) has no address")))
      }
    }
    timer?.arm(at: race?.nextDeadline())
  }

  private func open(_ place: Int) {
    guard let address = race?.candidates[place] else { return }
    let scope = endpoints.first { $0.address == address }?.scope ?? 0
    let endpoint = Endpoint(address, port: target.address.port, scope: scope)
    do throws(SystemError) {
      var options = target.options
      options.bufferSize = Self.socketBuffer
      let socket = try UDPSocket(loop: loop, arena: arena, to: endpoint, options: options)
      let end = TURNEnd(loop: loop, socket: socket, settings)
      ends[place] = end
      end.owner = self
      end.begin()
    } catch {
      failed(place, TransportFailure(error))
    }
  }

  private func failed(_ place: Int, _ reason: TransportFailure) {
    ends.removeValue(forKey: place)?.close()
    failure = TransportFailure(reason.kind, "\(server.name) at \(target.address): \(reason)")
    guard race != nil else {
      end(.failure(failure ?? reason))
      return
    }
    race?.failed(place, at: loop.now)
    step()
  }

  // MARK: TCP and TLS

  private func connect(_ upgrades: [StreamUpgrade]) {
    let dialer = StreamDialer(loop: loop, target: target, upgrades: upgrades)
    self.dialer = dialer
    dialer.openStream(from: nil, for: nil) { [weak self] result in
      guard let self, self.completion != nil else {
        if case .success(let stream) = result { stream.close() }
        return
      }
      switch result {
      case .failure(let failure): self.end(.failure(failure))
      case .success(let stream):
        let end = TURNEnd(loop: self.loop, stream: stream, self.settings)
        self.ends[0] = end
        end.owner = self
        end.begin()
      }
    }
  }

  // MARK: What the server says

  private func place(of end: TURNEnd) -> Int? { ends.first { $0.value === end }?.key }

  func turnEnd(_ end: TURNEnd, said event: TURNClientEvent) {
    guard completion != nil, let place = place(of: end) else { return }
    switch event {
    case .answered:
      if race != nil, race?.answered(place) != true { return }
      ends[place] = nil
      self.end(.success(end))
    case .failed(let reason): failed(place, TransportFailure(reason.kind, "\(reason)"))
    case .alternate(let address, let domain): follow(address, domain)
    case .allocated, .lost, .peerReady, .peerRefused, .peerReported, .permitted, .permissionRefused: break
    }
  }

  private func follow(_ address: Endpoint, _ domain: String?) {
    let old = target.address
    for end in ends.values { end.close() }
    ends = [:]
    race = nil
    dialer?.close()
    target = redirected(to: address, domain)
    guard visited.insert("\(target.address)").inserted, visited.count <= Self.mostRedirections else {
      end(.failure(TransportFailure(.violation, "\(server.name) at \(old) sends us in circles, to \(address)")))
      return
    }
    log.info("the relay sends us to another", ["relay": server.name, "from": old, "to": address])
    start()
  }

  func turnEnd(_ end: TURNEnd, received batch: inout PacketBatch, from peer: Endpoint) {}
  func turnEndWritable(_ end: TURNEnd) {}

  func turnEnd(_ end: TURNEnd, lost failure: TransportFailure) {
    if let place = place(of: end) { failed(place, failure) }
  }

  // MARK: The end

  private func end(_ result: Result<TURNEnd, TransportFailure>) {
    guard let completion else { return }
    cancel()
    completion(result)
  }

  func cancel() {
    completion = nil
    timer?.cancel()
    timer = nil
    race = nil
    dialer?.close()
    dialer = nil
    for end in ends.values { end.release() }
    ends = [:]
  }
}

extension TURNClientEvent.Failure {
  /// Of a failure to reach the server.
  var kind: TransportFailure.Kind {
    switch self {
    case .silent: .timeout
    case .unauthorised, .refused: .refused
    case .downgraded, .violation: .violation
    }
  }
}
