import LinuxIO
import RecordedMachines
import SOCKS
import Values

/// The connectors `socks4` and `socks4a`: CONNECT, by name unless that is switched off (`disable4a`), when the name is
/// resolved here. The user of the credentials is the user id.
public final class SOCKS4Connector: Connector {
  private let loop: EventLoop
  private let user: [UInt8]
  private let sendsNames: Bool
  private let timeout: TimeSpan
  private let resolver: Resolver

  public init(loop: EventLoop, user: String?, sendsNames: Bool, timeout: TimeSpan = DirectWay.defaultTimeout) {
    self.loop = loop
    self.user = user.map { Array($0.utf8) } ?? []
    self.sendsNames = sendsNames
    self.timeout = timeout
    resolver = Resolver(loop: loop)
  }

  public var layer: Layer? { .socks4 }

  public func connect(
    _ stream: any ByteStream, to target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    guard !sendsNames, target.literal == nil else {
      ask(stream, for: target, completion)
      return
    }
    let waiting = WaitingClient(stream)
    resolver.resolve(target.host, family: .ipv4) { [weak self] result in
      guard let self, let stream = waiting.take() else {
        completion(.failure(TransportFailure(.lost, "the connection ended while \(target.host) was looked up")))
        return
      }
      switch result {
      case .success(let addresses) where !addresses.isEmpty:
        self.ask(stream, for: HostPort(host: addresses[0].description, port: target.port), completion)
      case .success: self.fail(stream, .unreachable, "\(target.host) has no IPv4 address", completion)
      case .failure(let failure):
        self.fail(stream, .unreachable, "cannot resolve \(target.host): \(failure)", completion)
      }
    }
  }

  private func ask(
    _ stream: any ByteStream, for target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    guard let request = SOCKS4Request(.connect, target, user: user).encode(allowsName: sendsNames) else {
      let why =
        target.literal?.family == .ipv6
        ? "SOCKS4 has no IPv6 addresses; use socks5" : "`\(target)` or the user cannot be said in SOCKS4"
      fail(stream, .local, why, completion)
      return
    }
    var decoder = RecordedDecoder(SOCKS4ReplyDecoder(), loop.recorder, about: stream.recordedName)
    HeadExchange<SOCKS4Reply>.start(
      loop: loop, stream: stream, request: request, limit: timeout, awaiting: "the SOCKS4 server's answer",
      decode: { bytes in
        do throws(SOCKSError) {
          switch try decoder.step(bytes) {
          case .needs: return .needsMore
          case .message(let reply, let consumed): return .message(reply, consumed: consumed)
          }
        } catch {
          return .wrong("the other end does not speak SOCKS4: \(error)")
        }
      },
      completion: { result in
        switch result {
        case .failure(let failure): completion(.failure(failure))
        case .success(let (reply, stream)):
          guard reply.code == .granted else {
            stream.close()
            completion(.failure(TransportFailure(.refused, "the SOCKS4 server refused: \(reply.code)")))
            return
          }
          completion(.success(stream))
        }
      })
  }

  private func fail(
    _ stream: any ByteStream, _ kind: TransportFailure.Kind, _ reason: String,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    stream.observer = nil
    stream.close()
    loop.later { completion(.failure(TransportFailure(kind, reason))) }
  }
}
