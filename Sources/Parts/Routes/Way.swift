import LinuxIO
import Values

/// A way to targets: straight from this host, or through the hops of a chain.
///
/// Handlers know only this. Each opening picks its nodes anew, so that selectors spread connections and pass by nodes
/// that failed. Completions are called once, from the loop and never from inside the call.
public protocol Way: AnyObject {
  /// A stream whose bytes are the target's.
  ///
  /// - Parameter client: for whom, where a selector goes by that.
  func openStream(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void)

  /// Datagrams to one target.
  func openDatagrams(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void)

  /// Datagrams to any target.
  func openAssociation(
    for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void)

  /// A port at the far end of the way.
  func bind(
    _ network: BindNetwork, at address: HostPort,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void)

  /// What is shared and may be dead is given up, so that the next opening starts anew.
  func reset()

  /// The host's addresses or routes changed.
  func networkChanged()

  /// Ends everything; no completion is called afterwards.
  func close()
}

extension Way {
  public func networkChanged() {}
}

/// A stream and what is known of the way that it took, asked anew each time.
public struct RoutedStream {
  public let stream: any ByteStream
  public let legs: () -> [Leg]

  public init(stream: any ByteStream, legs: @escaping () -> [Leg]) {
    self.stream = stream
    self.legs = legs
  }
}

public enum BindNetwork: Sendable {
  case tcp
  case udp
}

/// A port at the far end of a way, as long as the way stands.
public protocol RemoteListener: AnyObject {
  /// As the far end says.
  var address: HostPort { get }
  /// TCP: takes a connection that came to the port, and who made it where the far end says.
  var accepted: ((_ stream: any ByteStream, _ peer: HostPort?) -> Void)? { get set }
  /// UDP: the datagrams that come to the port.
  var association: (any DatagramAssociation)? { get }
  /// The port is gone; nothing follows.
  var failed: ((TransportFailure) -> Void)? { get set }
  var legs: [Leg] { get }
  func close()
}
