import LinuxIO
import RelayProtocol
import Values

/// What is spoken to a node once its transport stands: how to ask it for a target.
public enum Connector {
  /// GOST's relay protocol, with the node's credentials if it wants any.
  case relay(credentials: (user: String, password: String)?)
  /// Nothing: the node's other end decides what the bytes are for.
  case forward
}

/// A chain as a tunnel uses it: a way to a target through its node.
///
/// A chain of several hops, and a hop of several nodes, are refused before it comes to this (`Configuration`).
public final class Route {
  public struct Node {
    public let name: String
    public let dialer: any Dialer
    public let connector: Connector

    public init(name: String, dialer: any Dialer, connector: Connector) {
      self.name = name
      self.dialer = dialer
      self.connector = connector
    }
  }

  private let loop: EventLoop
  private let node: Node?
  private let direct: (HostPort) -> any Dialer
  private var directDialer: (any Dialer)?

  /// - Parameters:
  ///   - node: `nil` goes to the target directly.
  ///   - direct: makes the dialer for a target without a node.
  public init(loop: EventLoop, node: Node?, direct: @escaping (HostPort) -> any Dialer) {
    self.loop = loop
    self.node = node
    self.direct = direct
  }

  /// The node's name, for a log line; `nil` without a node.
  public var nodeName: String? { node?.name }

  /// Opens datagrams to a target. `completion` is called once, from the loop.
  public func openDatagrams(
    to target: HostPort, _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    guard let node else {
      let dialer = directDialer ?? direct(target)
      directDialer = dialer
      dialer.openDatagrams(completion)
      return
    }
    switch node.connector {
    case .forward: node.dialer.openDatagrams(completion)
    case .relay(let credentials):
      let request = RelayRequest.connect(to: target, over: .udp, credentials: credentials)
      guard let bytes = request.encode() else {
        loop.later {
          completion(.failure(TransportFailure(.local, "the target or the credentials are too long for relay")))
        }
        return
      }
      let loop = loop
      node.dialer.openStream { result in
        completion(
          result.map { stream in
            RelayDatagramCarrier(
              loop: loop, stream: stream, request: bytes,
              legs: { Self.legs(of: stream, node: node, target: target) },
              notice: { node.dialer.reportedFailure(of: stream) })
          })
      }
    }
  }

  /// Ours, and the one behind the node: told by the node if it is a Culvert, else unknown.
  private static func legs(of stream: any ByteStream, node: Node, target: HostPort) -> [Leg] {
    let receipt = stream.receipt
    let own = Leg(
      from: .us, to: .hop(node.name), local: receipt.localFact, remote: receipt.remoteFact,
      transport: stream.layers + [.relay])
    let behind =
      node.dialer.reportedLegs(of: stream) ?? [
        Leg(
          from: .hop(node.name), to: .target(target.description), local: nil, remote: nil, transport: [])
      ]
    return [own] + behind
  }

  public func reset() {
    node?.dialer.reset()
    directDialer?.reset()
  }

  public func close() {
    node?.dialer.close()
    directDialer?.close()
  }
}
