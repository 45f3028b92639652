import LinuxIO
import Values

/// What is spoken to a node once its transport stands: how to ask it for a target. One value for each node.
///
/// A connector takes the stream over and completes once, from the loop and never from inside the call. Its handshake
/// has a time limit of its own, closes the stream when it fails, and hands on what it read too far (`PrefixedStream`).
/// The streams that it gives add no layer of their own: `layer` says what was spoken.
public protocol Connector: AnyObject {
  /// What a path prints behind the transport's layers.
  var layer: Layer? { get }

  func connect(
    _ stream: any ByteStream, to target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void)

  /// Datagrams to one target.
  func openDatagrams(
    _ stream: any ByteStream, to target: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void)

  /// Datagrams to any target.
  func associate(
    _ stream: any ByteStream, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void)

  /// A port of the node.
  func bind(
    _ stream: any ByteStream, _ network: BindNetwork, at address: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void)
}

/// What a way knows of the stream that it hands to a connector.
public struct RouteFacts {
  public let loop: EventLoop
  /// The legs up to and behind the node, asked anew each time.
  public let legs: () -> [Leg]
  /// What the node said of a failure in words, if it is a Culvert.
  public let notice: () -> String?

  public init(loop: EventLoop, legs: @escaping () -> [Leg], notice: @escaping () -> String? = { nil }) {
    self.loop = loop
    self.legs = legs
    self.notice = notice
  }
}

extension Connector {
  public func openDatagrams(
    _ stream: any ByteStream, to target: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    refuse(stream, facts, "this connector carries no UDP; relay and socks5 do", completion)
  }

  public func associate(
    _ stream: any ByteStream, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    refuse(stream, facts, "this connector carries no UDP; relay and socks5 do", completion)
  }

  public func bind(
    _ stream: any ByteStream, _ network: BindNetwork, at address: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {
    refuse(stream, facts, "this connector cannot bind a port of its node; relay and socks5 can", completion)
  }

  private func refuse<Value>(
    _ stream: any ByteStream, _ facts: RouteFacts, _ reason: String,
    _ completion: @escaping (Result<Value, TransportFailure>) -> Void
  ) {
    stream.observer = nil
    stream.close()
    facts.loop.later { completion(.failure(TransportFailure(.local, reason))) }
  }
}

/// The connectors `forward` and `tcp`: nothing is spoken, the node's other end decides what the bytes are for.
public final class ForwardConnector: Connector {
  private let loop: EventLoop

  public init(loop: EventLoop) { self.loop = loop }

  public var layer: Layer? { nil }

  public func connect(
    _ stream: any ByteStream, to target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    loop.later { completion(.success(stream)) }
  }
}
