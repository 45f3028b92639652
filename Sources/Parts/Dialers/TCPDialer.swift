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

    public init(credentials: TLSCredentials, serverName: String?, applicationProtocols: [String]) {
      self.credentials = credentials
      self.serverName = serverName
      self.applicationProtocols = applicationProtocols
    }
  }

  private let loop: EventLoop
  private let resolver: Resolver
  private let target: NodeTarget
  private let security: Security?
  private let timeout: TimeSpan
  private var attempts: [ObjectIdentifier: Attempt<any ByteStream>] = [:]

  public init(loop: EventLoop, target: NodeTarget, security: Security?, timeout: TimeSpan = DialTiming.attempt) {
    self.loop = loop
    self.target = target
    self.security = security
    self.timeout = timeout
    resolver = Resolver(loop: loop)
  }

  public func openStream(_ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void) {
    let address = target.address
    let limit = timeout
    let attempt = Attempt<any ByteStream>(
      loop: loop, limit: timeout,
      onTimeout: {
        TransportFailure(
          .timeout,
          "no answer from \(address) within \(limit); most likely first: a firewall drops packets to that port; the "
            + "address is wrong; the host is down. They cannot be told apart from here")
      }, completion)
    attempts[ObjectIdentifier(attempt)] = attempt
    target.resolve(resolver) { [weak self] result in
      switch result {
      case .failure(let failure): self?.end(attempt, .failure(failure))
      case .success(let endpoints): self?.connect(endpoints[...], attempt, last: nil)
      }
    }
  }

  private func connect(_ endpoints: ArraySlice<Endpoint>, _ attempt: Attempt<any ByteStream>, last: TransportFailure?) {
    guard attempt.isPending else { return }
    guard let endpoint = endpoints.first else {
      end(attempt, .failure(last ?? TransportFailure(.unreachable, "\(target.address.host) has no address")))
      return
    }
    var stream: TCPStream?
    do {
      stream = try TCPStream(loop: loop, to: endpoint, options: target.options) { [weak self] failure in
        guard let self else { return }
        if let failure {
          let located = TransportFailure(failure.kind, "\(endpoint): \(failure)")
          self.connect(endpoints.dropFirst(), attempt, last: located)
        } else if let stream {
          self.secure(stream, attempt)
        }
        stream = nil
      }
    } catch {
      connect(endpoints.dropFirst(), attempt, last: TransportFailure(error))
    }
  }

  private func secure(_ stream: TCPStream, _ attempt: Attempt<any ByteStream>) {
    guard attempt.isPending else { return }
    guard let security else {
      end(attempt, .success(stream))
      return
    }
    do {
      var secured: TLSStream?
      secured = try TLSStream(
        loop: loop, below: stream, credentials: security.credentials, serverName: security.serverName,
        applicationProtocols: security.applicationProtocols
      ) { [weak self] failure in
        if let failure {
          self?.end(attempt, .failure(failure))
        } else if let secured {
          self?.end(attempt, .success(secured))
        }
        secured = nil
      }
    } catch {
      end(attempt, .failure(TransportFailure(.local, "\(error)")))
    }
  }

  private func end(_ attempt: Attempt<any ByteStream>, _ result: Result<any ByteStream, TransportFailure>) {
    attempts[ObjectIdentifier(attempt)] = nil
    if case .success(let stream) = result, !attempt.isPending { stream.close() }
    attempt.complete(result)
  }

  public func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
    loop.later {
      completion(.failure(TransportFailure(.local, "a stream transport has no datagrams of its own; use relay")))
    }
  }

  public func reset() {}

  public func close() {
    for attempt in attempts.values { attempt.cancel() }
    attempts = [:]
  }

  public func reportedLegs(of stream: any ByteStream) -> [Leg]? { nil }
  public func reportedFailure(of stream: any ByteStream) -> String? { nil }
}
