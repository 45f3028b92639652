import LinuxIO
import SOCKS
import Values

/// A server's end of SOCKS5's UDP ASSOCIATE: a UDP port of this host for one client, for as long as its TCP connection
/// stands (RFC 1928, section 7).
///
/// The port is at the address that the client connected to, and takes datagrams of the client's address alone. Answers
/// go to the port that the client sent from last: what it announced in its request is often nothing, or from behind a
/// NAT.
final class SOCKS5ServedAssociation: DatagramAssociation, ByteStreamObserver, DatagramSocketHandler {
  private let loop: EventLoop
  private let control: any ByteStream
  private let socket: UDPSocket
  private let client: IPAddress?
  private var writer: StreamWriter
  private var remote: Endpoint?
  private var isClosed = false
  private var scratch: [UInt8] = []
  private var lastTarget: (bytes: [UInt8], name: HostPort)?
  private var lastSource: (name: HostPort, bytes: [UInt8])?
  weak var observer: (any DatagramAssociationObserver)?
  private(set) var dropped: UInt64 = 0

  /// Ports of a range that are tried before it is taken to be full.
  private static let attempts = 64

  /// Takes the control stream over when it succeeds.
  init(
    loop: EventLoop, arena: ReceiveArena, control: any ByteStream, ports: ClosedRange<UInt16>?, options: SocketOptions
  ) throws(SystemError) {
    self.loop = loop
    self.control = control
    client = control.client?.address.canonical
    let local = control.receipt.local ?? Endpoint(.anyIPv4, port: 0)
    socket = try Self.open(loop, arena, Endpoint(local.address.canonical, port: 0, scope: local.scope), ports, options)
    writer = StreamWriter(stream: control)
    socket.handler = self
    control.observer = self
    control.readLater()
  }

  private static func open(
    _ loop: EventLoop, _ arena: ReceiveArena, _ local: Endpoint, _ ports: ClosedRange<UInt16>?, _ options: SocketOptions
  ) throws(SystemError) -> UDPSocket {
    guard let ports else { return try UDPSocket(loop: loop, arena: arena, at: local, options: options) }
    // Beginning anywhere, so that clients do not all try the first.
    let start = Int.random(in: 0..<ports.count)
    var last: SystemError?
    for step in 0..<min(ports.count, attempts) {
      let port = ports.lowerBound &+ UInt16(truncatingIfNeeded: (start + step) % ports.count)
      do throws(SystemError) {
        return try UDPSocket(
          loop: loop, arena: arena, at: Endpoint(local.address, port: port, scope: local.scope), options: options)
      } catch {
        last = error
      }
    }
    throw last ?? SystemError("find a UDP port", code: 98)
  }

  var port: UInt16 { socket.receipt.local?.port ?? 0 }
  var legs: [Leg] { [] }

  /// Says something on the control stream.
  func say(_ bytes: UnsafeRawBufferPointer) { _ = writer.write(bytes) }

  func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) {
    guard !isClosed, let remote, let address = address(of: target) else {
      dropped &+= 1
      return
    }
    scratch.removeAll(keepingCapacity: true)
    SOCKS5Datagram.appendHeader(address: address, to: &scratch)
    scratch += payload
    let outcome = scratch.withUnsafeBytes { socket.send($0, segment: $0.count, to: remote, from: nil, ecn: 0) }
    if case .sent = outcome { return }
    dropped &+= 1
  }

  private func address(of source: HostPort) -> [UInt8]? {
    if let lastSource, lastSource.name == source { return lastSource.bytes }
    guard let bytes = SOCKSAddress.encode(source) else { return nil }
    lastSource = (source, bytes)
    return bytes
  }

  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    guard client == nil || arrival.remote.address.canonical == client else {
      dropped &+= UInt64(batch.count)
      return
    }
    for index in 0..<batch.count {
      guard !isClosed else { return }
      let bytes = UnsafeRawBufferPointer(batch[index])
      guard let parts = SOCKS5Datagram.parts(bytes),
        let target = target(UnsafeRawBufferPointer(rebasing: bytes[parts.address]))
      else {
        dropped &+= 1
        continue
      }
      remote = arrival.remote
      observer?.datagramArrived(UnsafeRawBufferPointer(rebasing: bytes[parts.payload]), from: target, on: self)
    }
  }

  private func target(_ bytes: UnsafeRawBufferPointer) -> HostPort? {
    if let lastTarget, lastTarget.bytes.elementsEqual(bytes) { return lastTarget.name }
    guard let name = try? SOCKSAddress.decode(bytes) else { return nil }
    lastTarget = (Array(bytes), name)
    return name
  }

  func socketWritable(_ socket: any DatagramSocket) {}
  func socketReported(_ error: SystemError, on socket: any DatagramSocket) {}

  // MARK: The control stream

  func streamReadable(_ stream: any ByteStream) {
    withUnsafeTemporaryAllocation(byteCount: 512, alignment: 16) { buffer in
      for _ in 0..<64 {
        switch stream.read(into: buffer) {
        case .bytes: continue
        case .blocked: return
        case .end, .failed:
          fail(TransportFailure(.lost, "the client ended its UDP association"))
          return
        }
      }
      fail(TransportFailure(.violation, "the client writes on the connection of its UDP association"))
    }
  }

  func streamWritable(_ stream: any ByteStream) { _ = writer.drain() }
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  private func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    let observer = observer
    close()
    observer?.associationFailed(self, failure)
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    socket.close()
    control.observer = nil
    control.close()
  }
}
