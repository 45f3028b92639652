import LinuxIO
import ProxyProtocol
import Values

/// The dialers `tcp`, `tls`, `ws` and `wss`: a connection of its own for each stream, with layers over it.
///
/// Below is TCP from this host, or a stream through the hops before this node.
public final class StreamDialer: Dialer {
  private let loop: EventLoop
  private let resolver: Resolver
  private let target: NodeTarget
  private let proxyProtocol: Int?
  private let below: [Layer]
  private let upgrades: [StreamUpgrade]
  private let timeout: TimeSpan
  private var dials: [ObjectIdentifier: Dial] = [:]

  /// One stream on its way.
  private final class Dial {
    var attempt: Attempt<any ByteStream>?
    var race: TCPRace?
    /// What there is of it so far; closed when the attempt ends without it.
    var stream: (any ByteStream)?
    /// The layer whose handshake is under way: below stands, and the other end owes its part.
    var handshaking: StreamUpgrade?
    var handshakeTimer: LoopTimer?
    let client: Endpoint?

    init(client: Endpoint?) { self.client = client }

    func abandon() {
      attempt?.cancel()
      handshakeTimer?.cancel()
      race?.cancel()
      race = nil
      stream?.close()
      stream = nil
    }
  }

  /// - Parameters:
  ///   - proxyProtocol: the version of the PROXY protocol by which the node hears of the client; `nil` for none.
  ///   - below: what TCP itself is inside of, for those who ask for the way: a tunnel of ours.
  ///   - upgrades: from the one directly over the connection to the innermost.
  public init(
    loop: EventLoop, target: NodeTarget, proxyProtocol: Int? = nil, below: [Layer] = [],
    upgrades: [StreamUpgrade], timeout: TimeSpan = DialTiming.attempt
  ) {
    self.proxyProtocol = proxyProtocol
    self.loop = loop
    self.target = target
    self.below = below
    self.upgrades = upgrades
    self.timeout = timeout
    resolver = Resolver(loop: loop)
  }

  public func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    let dial = Dial(client: client)
    dial.attempt = Attempt<any ByteStream>(
      loop: loop, limit: timeout,
      onTimeout: { [weak self, weak dial] in
        guard let self, let dial else { return TransportFailure(.timeout, "closed") }
        return self.expired(dial, after: self.timeout)
      }, completion)
    dials[ObjectIdentifier(dial)] = dial
    if let source {
      source(target.address) { [weak self] result in
        guard let self, dial.attempt?.isPending == true else {
          if case .success(let stream) = result { stream.close() }
          return
        }
        switch result {
        case .failure(let failure): self.end(dial, .failure(failure))
        case .success(let stream): self.upgrade(self.introduced(stream, dial), dial, self.upgrades[...])
        }
      }
      return
    }
    target.resolve(resolver) { [weak self] result in
      switch result {
      case .failure(let failure): self?.end(dial, .failure(failure))
      case .success(let endpoints): self?.connect(endpoints, dial)
      }
    }
  }

  /// Gives back what an attempt has so far, and says what its silence can mean.
  private func expired(_ dial: Dial, after limit: TimeSpan) -> TransportFailure {
    dials[ObjectIdentifier(dial)] = nil
    // The attempt is about to be completed with what is said here.
    dial.attempt = nil
    dial.abandon()
    let address = target.address
    if let upgrade = dial.handshaking {
      return TransportFailure(
        .timeout,
        "\(address) takes the connection and does not answer \(upgrade.name) within \(limit); most likely first: no "
          + "\(upgrade.name) is spoken there; something between drops it. They cannot be told apart from here")
    }
    return TransportFailure(
      .timeout,
      "no answer from \(address) within \(limit); most likely first: a firewall drops packets to that port; the "
        + "address is wrong; the host is down. They cannot be told apart from here")
  }

  private func connect(_ endpoints: [Endpoint], _ dial: Dial) {
    guard dial.attempt?.isPending == true else { return }
    dial.race = TCPRace(loop: loop, to: endpoints, options: target.options) { [weak self, weak dial] result in
      guard let self, let dial else { return }
      dial.race = nil
      switch result {
      case .failure(let failure): self.end(dial, .failure(failure))
      case .success(let stream): self.upgrade(self.introduced(stream, dial), dial, self.upgrades[...])
      }
    }
  }

  /// The stream with a PROXY header in front, where the node wants one.
  private func introduced(_ stream: any ByteStream, _ dial: Dial) -> any ByteStream {
    if !below.isEmpty { (stream as? TCPStream)?.below = below }
    guard let proxyProtocol else { return stream }
    let receipt = stream.receipt
    let header = ProxyHeader(
      version: proxyProtocol == 1 ? .one : .two, source: dial.client ?? receipt.local, destination: receipt.remote)
    return PrefacedStream(stream, preface: header.encode())
  }

  private func upgrade(_ stream: any ByteStream, _ dial: Dial, _ rest: ArraySlice<StreamUpgrade>) {
    dial.stream = stream
    dial.handshakeTimer?.cancel()
    dial.handshaking = nil
    guard dial.attempt?.isPending == true else { return }
    guard let next = rest.first else {
      end(dial, .success(stream))
      return
    }
    dial.handshaking = next
    if let limit = next.handshakeTimeout {
      dial.handshakeTimer = loop.makeTimer { [weak self, weak dial] in
        guard let self, let dial, let attempt = dial.attempt else { return }
        attempt.complete(.failure(self.expired(dial, after: limit)))
      }
      dial.handshakeTimer?.arm(after: limit)
    }
    dial.stream = next.start(loop, stream) { [weak self, weak dial] result in
      guard let self, let dial else { return }
      switch result {
      case .failure(let failure): self.end(dial, .failure(failure))
      case .success(let stream): self.upgrade(stream, dial, rest.dropFirst())
      }
    }
  }

  private func end(_ dial: Dial, _ result: Result<any ByteStream, TransportFailure>) {
    dials[ObjectIdentifier(dial)] = nil
    dial.handshakeTimer?.cancel()
    guard let attempt = dial.attempt, attempt.isPending else {
      dial.abandon()
      return
    }
    if case .success = result { dial.stream = nil }
    attempt.complete(result)
    dial.stream?.close()
  }

  public func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
    loop.later {
      completion(.failure(TransportFailure(.local, "a stream transport has no datagrams of its own; use relay")))
    }
  }

  public func reset() {}

  public func close() {
    for dial in dials.values { dial.abandon() }
    dials = [:]
  }

  public func reportedLegs(of stream: any ByteStream) -> [Leg]? { nil }
  public func reportedFailure(of stream: any ByteStream) -> String? { nil }
}
