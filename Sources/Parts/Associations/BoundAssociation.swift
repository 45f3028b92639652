import LinuxIO
import Values

/// Datagrams at a port of this host that a client asked for: what comes to it, and the answers to where it came from.
///
/// Targets are addresses, since they were sources before; the port is open to everybody by its nature, and what may be
/// sent from it is judged like any other datagram.
public final class BoundAssociation: DatagramAssociation, DatagramSocketHandler {
  private let loop: EventLoop
  private let socket: UDPSocket
  private let policy: EgressPolicy
  private var heard: Receipt?
  public weak var observer: (any DatagramAssociationObserver)?
  public private(set) var dropped: UInt64 = 0

  public init(
    loop: EventLoop, arena: ReceiveArena, at local: Endpoint, options: SocketOptions, policy: EgressPolicy
  ) throws(SystemError) {
    self.loop = loop
    self.policy = policy
    socket = try UDPSocket(loop: loop, arena: arena, at: local, options: options)
    socket.handler = self
  }

  /// The port as the kernel has it.
  public var receipt: Receipt { socket.receipt }

  public var legs: [Leg] {
    let receipt = heard ?? socket.receipt
    return [
      Leg(
        from: .us, to: .target("any"), local: receipt.localFact, remote: receipt.remoteFact, transport: [.udp])
    ]
  }

  public func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) {
    guard let address = target.literal, policy.judge(address, port: target.port) == nil, !payload.isEmpty,
      case .sent = socket.send(
        payload, segment: payload.count, to: Endpoint(address, port: target.port), from: nil, ecn: 0)
    else {
      dropped &+= 1
      return
    }
  }

  public func close() { socket.close() }

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    heard = socket.receipt(of: arrival, at: loop.now)
    let source = HostPort(host: arrival.remote.address.canonical.description, port: arrival.remote.port)
    for index in 0..<batch.count {
      observer?.datagramArrived(UnsafeRawBufferPointer(batch[index]), from: source, on: self)
    }
  }

  public func socketWritable(_ socket: any DatagramSocket) {}
  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {}
}
