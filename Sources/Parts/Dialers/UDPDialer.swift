import LinuxIO
import Values

/// The dialer `udp`: datagrams to the node as they are, which is what the connector `forward` and a TUN without a
/// chain use.
public final class UDPDialer: Dialer {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let resolver: Resolver
  private let target: NodeTarget
  private let role: Role
  private var isClosed = false

  public init(loop: EventLoop, arena: ReceiveArena, target: NodeTarget, role: Role) {
    self.loop = loop
    self.arena = arena
    self.target = target
    self.role = role
    resolver = Resolver(loop: loop)
  }

  public func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    loop.later {
      completion(.failure(TransportFailure(.local, "udp carries datagrams, not a stream")))
    }
  }

  public func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
    target.resolve(resolver) { [weak self] result in
      guard let self, !self.isClosed else { return }
      switch result {
      case .failure(let failure): completion(.failure(failure))
      case .success(let endpoints):
        var last = TransportFailure(.unreachable, "\(self.target.address.host) has no address")
        for endpoint in endpoints {
          do throws(SystemError) {
            let carrier = try UDPCarrier(
              loop: self.loop, arena: self.arena, to: endpoint, role: self.role, options: self.target.options)
            completion(.success(carrier))
            return
          } catch {
            last = TransportFailure(error)
          }
        }
        completion(.failure(last))
      }
    }
  }

  public func reset() {}
  public func close() { isClosed = true }
  public func reportedLegs(of stream: any ByteStream) -> [Leg]? { nil }
  public func reportedFailure(of stream: any ByteStream) -> String? { nil }
}
