import LinuxIO
import Values

/// How bytes leave for a node: one value for each node of a chain, which keeps what its connections share (a QUIC
/// session, TLS credentials, the addresses that its name had).
public protocol Dialer: AnyObject {
  /// Opens a stream to the node. `completion` is called once, from the loop and never from inside this call.
  ///
  /// - Parameters:
  ///   - source: opens streams to the node's address where hops come before it; `nil` goes there from here.
  ///   - client: for whom, where the node wants to hear that (PROXY protocol).
  func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void)

  /// Opens datagrams to the node, where the transport has them.
  func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void)

  /// Drops what is shared and may be dead, so that the next connection starts anew.
  func reset()

  /// The node owes an answer to a request that was made at that time. What is shared may be dead, or the request was the
  /// node's trouble alone: the next connection starts anew where nothing shows that what is shared lives, and nobody
  /// else's connection ends on a suspicion.
  func suspect(since: Instant)

  /// The host's addresses or routes changed: what is shared may have to go another way.
  func networkChanged()

  /// Ends everything; no completion is called afterwards.
  func close()

  /// What the other end of a stream told us of the way behind it; empty where it is no Culvert.
  func reportedLegs(of stream: any ByteStream) -> [Leg]?

  /// What the other end said of a failure on a stream, in words; `nil` where it said nothing or is no Culvert.
  func reportedFailure(of stream: any ByteStream) -> String?
}

extension Dialer {
  /// Where nothing is shared.
  public func suspect(since: Instant) { reset() }
  public func networkChanged() {}
}

/// How datagrams reach targets through a node that itself sends them on, and knows each target: a relay.
public protocol RelayingDialer: Dialer {
  func openDatagrams(
    to target: HostPort, _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void)
}

/// Opens a stream to an address through what comes before.
public typealias StreamSource = (
  _ address: HostPort, _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
) -> Void

/// Timing of ours.
public enum DialTiming {
  /// One attempt: with QUIC's and TCP's retransmissions at 0, 1 and 3 s the network's return is never missed by more
  /// than two seconds.
  public static let attempt = TimeSpan.seconds(4)
  /// Between attempts, as GOST has it.
  public static let pause = TimeSpan.seconds(1)
}

/// A node's address as the file has it, with what its transport demands of it.
public struct NodeTarget {
  public let name: String
  public let address: HostPort
  public let family: AddressFamily?
  /// Of the leg to the node, where its transport has one.
  public let policy: FamilyPolicy
  /// Where the file says so, when it forbids a family.
  public let forbidden: ForbiddenFamily?
  public let options: SocketOptions
  /// Asked for each address before it is dialled: a refusal keeps a tunnel from being sent into itself.
  public let guardian: (any DialGuardian)?

  public init(
    name: String, address: HostPort, family: AddressFamily?, policy: FamilyPolicy = .any,
    forbidden: ForbiddenFamily? = nil, options: SocketOptions, guardian: (any DialGuardian)?
  ) {
    self.policy = policy
    self.forbidden = forbidden
    self.name = name
    self.address = address
    self.family = family
    self.options = options
    self.guardian = guardian
  }
}

/// Prepares the way to an address, or says why it must not be dialled.
public protocol DialGuardian: AnyObject {
  func prepare(_ address: IPAddress) -> TransportFailure?
}

extension NodeTarget {
  /// Resolves the node's host anew for each attempt: an address may change while a tunnel is down.
  func resolve(
    _ resolver: Resolver, _ completion: @escaping (Result<[Endpoint], TransportFailure>) -> Void
  ) {
    let target = self
    let take: (Result<[IPAddress], Resolver.Failure>) -> Void = { result in
      switch result {
      case .success(let addresses):
        for address in addresses {
          if let failure = target.guardian?.prepare(address) {
            completion(.failure(failure))
            return
          }
        }
        completion(.success(addresses.map { Endpoint($0, port: target.address.port) }))
      case .failure(.noAddress(let family, let has)) where target.family != nil:
        let carrier = family == .ipv4 ? "icmp" : "icmp6"
        let other = family == .ipv4 ? "icmp6" : "icmp"
        let list = has.map(\.description).joined(separator: ", ")
        completion(
          .failure(
            TransportFailure(
              .unreachable,
              "\(target.address.host) has no \(family) address, only \(list): the dialer \(carrier) needs one; "
                + "use `type: \(other)` here and at the other end")))
      case .failure(.forbidden):
        completion(.failure(TransportFailure(.forbidden, "\(target.address.host): \(target.prohibition)")))
      case .failure(let failure):
        let note = target.forbidden.map { "; \($0)" } ?? ""
        completion(
          .failure(TransportFailure(.unreachable, "cannot resolve \(target.address.host): \(failure)\(note)")))
      }
    }
    if family == nil, policy != .any {
      resolver.resolve(address.host, policy: policy, completion: take)
    } else {
      resolver.resolve(address.host, family: family, completion: take)
    }
  }

  /// What the policy says, for a failure.
  var prohibition: String { forbidden.map { "\($0)" } ?? "its family is forbidden by policy" }
}

/// A completion that is called at most once, by whichever comes first of an answer and a time limit.
final class Attempt<Value> {
  private var completion: ((Result<Value, TransportFailure>) -> Void)?
  private var timer: LoopTimer?

  init(
    loop: EventLoop, limit: TimeSpan, onTimeout: @escaping () -> TransportFailure,
    _ completion: @escaping (Result<Value, TransportFailure>) -> Void
  ) {
    self.completion = completion
    timer = loop.makeTimer { [weak self] in self?.complete(.failure(onTimeout())) }
    timer?.arm(after: limit)
  }

  var isPending: Bool { completion != nil }

  func complete(_ result: Result<Value, TransportFailure>) {
    guard let completion else { return }
    cancel()
    completion(result)
  }

  func cancel() {
    completion = nil
    timer?.cancel()
    timer = nil
  }
}
