import LinuxIO
import Values

/// The way without a chain: targets are resolved and reached from this host, as far as the service's egress policy
/// lets them be.
///
/// The policy judges addresses, after resolution and immediately before the connection, so that a name cannot be good
/// when it is asked about and bad when it is dialled.
public final class DirectWay: Way {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let options: SocketOptions
  private let policy: EgressPolicy
  private let guardian: (any DialGuardian)?
  private let timeout: TimeSpan
  private let resolver: Resolver
  private var openings: [ObjectIdentifier: Opening] = [:]
  private var isClosed = false

  /// What GOST allows a dial without a chain.
  public static let defaultTimeout = TimeSpan.seconds(15)
  /// What a target without a host means, as in GOST's own examples (`:8421`).
  static let thisHost = "127.0.0.1"

  /// Bytes that a socket for datagrams may hold: a tunnel's burst.
  private static let datagramBuffer = 4 << 20

  private final class Opening {
    var attempt: Attempt<RoutedStream>?
    var race: TCPRace?
  }

  public init(
    loop: EventLoop, arena: ReceiveArena, options: SocketOptions, policy: EgressPolicy,
    guardian: (any DialGuardian)? = nil, timeout: TimeSpan = defaultTimeout
  ) {
    self.loop = loop
    self.arena = arena
    self.options = options
    self.policy = policy
    self.guardian = guardian
    self.timeout = timeout
    resolver = Resolver(loop: loop)
  }

  public func openStream(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void
  ) {
    let opening = Opening()
    let key = ObjectIdentifier(opening)
    let limit = timeout
    opening.attempt = Attempt<RoutedStream>(
      loop: loop, limit: limit,
      onTimeout: { [weak self] in
        self?.openings[key] = nil
        opening.race?.cancel()
        return TransportFailure(.timeout, "no answer from \(target) within \(limit)")
      }, completion)
    openings[key] = opening
    resolve(target) { [weak self] result in
      guard let self, opening.attempt?.isPending == true else { return }
      switch result {
      case .failure(let failure): self.end(opening, .failure(failure))
      case .success(let endpoints):
        opening.race = TCPRace(loop: self.loop, to: endpoints, options: self.options) { [weak self] result in
          self?.end(opening, result.map { stream in Self.routed(stream, target) })
        }
      }
    }
  }

  private static func routed(_ stream: TCPStream, _ target: HostPort) -> RoutedStream {
    let role = Role.target(target.description)
    return RoutedStream(stream: stream) {
      [
        Leg(
          from: .us, to: role, local: stream.receipt.localFact, remote: stream.receipt.remoteFact,
          transport: stream.layers, roundTrip: stream.roundTrip)
      ]
    }
  }

  private func end(_ opening: Opening, _ result: Result<RoutedStream, TransportFailure>) {
    openings[ObjectIdentifier(opening)] = nil
    opening.race = nil
    opening.attempt?.complete(result)
  }

  /// Linux takes the unspecified address for its own loopback, and so does the judge: what listens on every address of
  /// this host is found there.
  private static func meant(_ address: IPAddress) -> IPAddress {
    guard address.isUnspecified else { return address }
    return address.family == .ipv4 ? .v4(0x7f00_0001) : .v6(1)
  }

  /// The addresses of a target that may be dialled.
  private func resolve(
    _ target: HostPort, _ completion: @escaping (Result<[Endpoint], TransportFailure>) -> Void
  ) {
    let policy = policy
    let guardian = guardian
    let host = target.host.isEmpty ? Self.thisHost : target.host
    resolver.resolve(host, family: nil) { result in
      switch result {
      case .failure(let failure):
        completion(.failure(TransportFailure(.unreachable, "cannot resolve \(host): \(failure)")))
      case .success(let addresses):
        var refusal: EgressPolicy.Refusal?
        let allowed = addresses.map(Self.meant).filter { address in
          guard let reason = policy.judge(address, port: target.port) else { return true }
          refusal = reason
          return false
        }
        if allowed.isEmpty, let refusal {
          completion(.failure(TransportFailure(.forbidden, refusal.description)))
        } else if allowed.isEmpty {
          completion(.failure(TransportFailure(.unreachable, "\(host) has no address")))
        } else if let failure = allowed.lazy.compactMap({ guardian?.prepare($0) }).first {
          completion(.failure(failure))
        } else {
          completion(.success(allowed.map { Endpoint($0, port: target.port) }))
        }
      }
    }
  }

  public func openDatagrams(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    open(
      to: target,
      make: { [loop, arena] endpoint, options throws(SystemError) in
        try UDPCarrier(
          loop: loop, arena: arena, to: endpoint, role: .target(target.description), options: options)
          as any DatagramCarrier
      }, completion)
  }

  /// A connected socket, for who moves batches himself.
  func openSocket(
    to target: HostPort, _ completion: @escaping (Result<UDPSocket, TransportFailure>) -> Void
  ) {
    open(
      to: target,
      make: { [loop, arena] endpoint, options throws(SystemError) in
        try UDPSocket(loop: loop, arena: arena, to: endpoint, options: options)
      }, completion)
  }

  /// Makes something for the first address that lets it be made.
  private func open<Value>(
    to target: HostPort, make: @escaping (Endpoint, SocketOptions) throws(SystemError) -> Value,
    _ completion: @escaping (Result<Value, TransportFailure>) -> Void
  ) {
    resolve(target) { [weak self] result in
      guard let self, !self.isClosed else { return }
      switch result {
      case .failure(let failure): completion(.failure(failure))
      case .success(let endpoints):
        var options = self.options
        options.bufferSize = Self.datagramBuffer
        var last = TransportFailure(.unreachable, "\(target.host) has no address")
        for endpoint in endpoints {
          do throws(SystemError) {
            completion(.success(try make(endpoint, options)))
            return
          } catch {
            last = TransportFailure(error)
          }
        }
        completion(.failure(last))
      }
    }
  }

  public func openAssociation(
    for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    let association = DirectAssociation(loop: loop, arena: arena, options: options, policy: policy)
    loop.later { completion(.success(association)) }
  }

  public func bind(
    _ network: BindNetwork, at address: HostPort,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {
    loop.later {
      completion(.failure(TransportFailure(.local, "a port of another host needs a chain that ends there")))
    }
  }

  public func reset() {}

  public func close() {
    isClosed = true
    for opening in openings.values {
      opening.attempt?.cancel()
      opening.race?.cancel()
    }
    openings = [:]
  }
}
