import LinuxIO
import Testing
import Values

@testable import Parts

/// Runs a loop until something is so, for a minute at most, since the machine may be busy; whether it came to be.
func runs(_ loop: EventLoop, until condition: () -> Bool) -> Bool {
  let deadline = loop.refreshNow() + .seconds(60)
  while !condition() {
    guard loop.refreshNow() < deadline else { return false }
    loop.run(until: loop.now + .milliseconds(2))
  }
  return true
}

func endpoint(_ text: String) throws -> Endpoint { try #require(Endpoint(text)) }

extension UDPSocket {
  /// Sends one datagram, empty or not; whether it left.
  func sendOne(_ payload: [UInt8], to remote: Endpoint? = nil) -> Bool {
    let outcome = payload.withUnsafeBytes { bytes in
      bytes.isEmpty
        ? sendEmpty(to: remote, from: nil)
        : send(bytes, segment: bytes.count, to: remote, from: nil, ecn: 0)
    }
    if case .sent = outcome { return true }
    return false
  }
}

/// A UDP program on loopback: keeps what comes, and may answer.
final class UDPPeer: DatagramSocketHandler {
  let socket: UDPSocket
  var received: [[UInt8]] = []
  var sources: [Endpoint] = []
  /// What to answer to a datagram.
  var answers: ([UInt8]) -> [[UInt8]] = { _ in [] }

  init(_ loop: EventLoop, at text: String = "127.0.0.1:0") throws {
    socket = try UDPSocket(loop: loop, arena: ReceiveArena(), at: endpoint(text), options: SocketOptions())
    socket.takesEmpty = true
    socket.handler = self
  }

  init(_ loop: EventLoop, connectedTo remote: Endpoint, from interface: String? = nil) throws {
    socket = try UDPSocket(
      loop: loop, arena: ReceiveArena(), to: remote, options: SocketOptions(interface: interface))
    socket.takesEmpty = true
    socket.handler = self
  }

  deinit { socket.close() }

  var local: Endpoint { socket.receipt.local ?? Endpoint(.anyIPv4, port: 0) }
  var address: HostPort { HostPort(host: local.address.description, port: local.port) }

  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    for index in 0..<batch.count {
      let payload = Array(batch[index])
      received.append(payload)
      sources.append(arrival.remote)
      for answer in answers(payload) { _ = self.socket.sendOne(answer, to: arrival.remote) }
    }
  }

  func socketWritable(_ socket: any DatagramSocket) {}
  func socketReported(_ error: SystemError, on socket: any DatagramSocket) {}
}

/// A carrier that keeps what it is given.
final class KeptCarrier: DatagramCarrier {
  weak var receiver: (any DatagramReceiver)?
  let headroom: Int
  var legs: [Leg] { [] }
  var lastReport: String? { nil }
  /// What to say to the next batches; then that more may come.
  var answers: [Bool] = []
  var sent: [[UInt8]] = []
  /// Whether each batch had room before its datagrams.
  var hadHeadroom = true
  var isClosed = false

  init(headroom: Int = 0) { self.headroom = headroom }

  func send(_ batch: inout PacketBatch) -> Bool {
    var end = 0
    for index in 0..<batch.count {
      if batch.slot(index).offset < end + headroom { hadHeadroom = false }
      end = batch.slot(index).offset + batch.slot(index).length
      sent.append(Array(batch[index]))
    }
    return answers.isEmpty ? true : answers.removeFirst()
  }

  func close() { isClosed = true }

  /// The far end answers.
  func deliver(_ payloads: [[UInt8]]) {
    var batch = PacketBatch(capacity: 1 << 17, maximumCount: 64)
    for payload in payloads { _ = payload.withUnsafeBytes { batch.append(copying: $0) } }
    receiver?.carrierReceived(&batch, from: self)
  }
}

/// A way whose openings the test answers, or that opens real sockets.
final class TestWay: Way {
  private let loop: EventLoop
  var asked: [HostPort] = []
  var clients: [Endpoint?] = []
  /// What an opening gives; `nil` leaves it open.
  var give: (HostPort) -> Result<any DatagramCarrier, TransportFailure>? = { _ in nil }
  var pending: [(Result<any DatagramCarrier, TransportFailure>) -> Void] = []

  init(loop: EventLoop) { self.loop = loop }

  /// UDP sockets of this host.
  static func direct(_ loop: EventLoop) -> TestWay {
    let way = TestWay(loop: loop)
    let arena = ReceiveArena()
    way.give = { target in
      guard let address = target.literal else { return .failure(TransportFailure(.unreachable, "no address")) }
      do throws(SystemError) {
        return .success(
          try UDPCarrier(
            loop: loop, arena: arena, to: Endpoint(address, port: target.port), role: .target(target.description),
            options: SocketOptions()))
      } catch {
        return .failure(TransportFailure(error))
      }
    }
    return way
  }

  func openDatagrams(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    asked.append(target)
    clients.append(client)
    loop.later { [weak self] in
      guard let self else { return }
      if let result = self.give(target) { completion(result) } else { self.pending.append(completion) }
    }
  }

  func openStream(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void
  ) {}
  func openAssociation(
    for client: Endpoint?, _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {}
  func bind(
    _ network: BindNetwork, at address: HostPort,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {}
  func reset() {}
  func close() {}
}

/// An association whose far end is the test.
final class KeptAssociation: DatagramAssociation {
  weak var observer: (any DatagramAssociationObserver)?
  var sent: [(payload: [UInt8], target: HostPort)] = []
  var dropped: UInt64 { 0 }
  var legs: [Leg] { [] }
  var isClosed = false

  func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) { sent.append((Array(payload), target)) }
  func close() { isClosed = true }

  func deliver(_ payload: [UInt8], from source: HostPort) {
    payload.withUnsafeBytes { observer?.datagramArrived($0, from: source, on: self) }
  }
}
