import LinuxIO
import TLSCodec
import Values

/// The dialers `tcp` and `tls`: a connection of its own for each stream.
public final class TCPDialer: Dialer {
  /// What `tls` adds.
  public struct Security {
    public let credentials: TLSCredentials
    public let serverName: String?
    public let applicationProtocols: [String]
    /// From the standing TCP connection on; `nil` for the attempt's own limit alone.
    public let handshakeTimeout: TimeSpan?

    public init(
      credentials: TLSCredentials, serverName: String?, applicationProtocols: [String],
      handshakeTimeout: TimeSpan? = nil
    ) {
      self.credentials = credentials
      self.serverName = serverName
      self.applicationProtocols = applicationProtocols
      self.handshakeTimeout = handshakeTimeout
    }
  }

  private let loop: EventLoop
  private let resolver: Resolver
  private let target: NodeTarget
  private let security: Security?
  private let timeout: TimeSpan
  private var dials: [ObjectIdentifier: Dial] = [:]

  /// One stream on its way.
  private final class Dial {
    var attempt: Attempt<any ByteStream>?
    /// What there is of it so far; closed when the attempt ends without it.
    var stream: (any ByteStream)?
    /// TCP stands, and the other end owes its part of the TLS handshake.
    var isHandshaking = false
    var handshakeTimer: LoopTimer?

    func abandon() {
      attempt?.cancel()
      handshakeTimer?.cancel()
      stream?.close()
      stream = nil
    }
  }

  public init(loop: EventLoop, target: NodeTarget, security: Security?, timeout: TimeSpan = DialTiming.attempt) {
    self.loop = loop
    self.target = target
    self.security = security
    self.timeout = timeout
    resolver = Resolver(loop: loop)
  }

  public func openStream(_ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void) {
    let dial = Dial()
    dial.attempt = Attempt<any ByteStream>(
      loop: loop, limit: timeout,
      onTimeout: { [weak self, weak dial] in
        guard let self, let dial else { return TransportFailure(.timeout, "closed") }
        return self.expired(dial, after: self.timeout)
      }, completion)
    dials[ObjectIdentifier(dial)] = dial
    target.resolve(resolver) { [weak self] result in
      switch result {
      case .failure(let failure): self?.end(dial, .failure(failure))
      case .success(let endpoints): self?.connect(endpoints[...], dial, last: nil)
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
    return TransportFailure(
      .timeout,
      dial.isHandshaking
        ? "\(address) takes the connection and does not answer TLS within \(limit); most likely first: no TLS is spoken "
          + "there; something between drops it. They cannot be told apart from here"
        : "no answer from \(address) within \(limit); most likely first: a firewall drops packets to that port; the "
          + "address is wrong; the host is down. They cannot be told apart from here")
  }

  private func connect(_ endpoints: ArraySlice<Endpoint>, _ dial: Dial, last: TransportFailure?) {
    guard dial.attempt?.isPending == true else { return }
    guard let endpoint = endpoints.first else {
      end(dial, .failure(last ?? TransportFailure(.unreachable, "\(target.address.host) has no address")))
      return
    }
    do {
      dial.stream = try TCPStream(loop: loop, to: endpoint, options: target.options) { [weak self, weak dial] failure in
        guard let self, let dial else { return }
        if let failure {
          let located = TransportFailure(failure.kind, "\(endpoint): \(failure)")
          self.connect(endpoints.dropFirst(), dial, last: located)
        } else {
          self.secure(dial)
        }
      }
    } catch {
      connect(endpoints.dropFirst(), dial, last: TransportFailure(error))
    }
  }

  private func secure(_ dial: Dial) {
    guard dial.attempt?.isPending == true, let stream = dial.stream else { return }
    guard let security else {
      end(dial, .success(stream))
      return
    }
    dial.isHandshaking = true
    if let limit = security.handshakeTimeout {
      dial.handshakeTimer = loop.makeTimer { [weak self, weak dial] in
        guard let self, let dial, let attempt = dial.attempt else { return }
        attempt.complete(.failure(self.expired(dial, after: limit)))
      }
      dial.handshakeTimer?.arm(after: limit)
    }
    do {
      dial.stream = try TLSStream(
        loop: loop, below: stream, credentials: security.credentials, serverName: security.serverName,
        applicationProtocols: security.applicationProtocols
      ) { [weak self, weak dial] failure in
        guard let self, let dial else { return }
        if let failure {
          self.end(dial, .failure(failure))
        } else if let secured = dial.stream {
          self.end(dial, .success(secured))
        }
      }
    } catch {
      end(dial, .failure(TransportFailure(.local, "\(error)")))
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
