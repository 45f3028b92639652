import LinuxIO
import SOCKS
import Values

/// A client's end of SOCKS5's UDP ASSOCIATE: datagrams with a header to the server's UDP port, for as long as the TCP
/// connection stands that asked for it (RFC 1928, section 7).
public final class SOCKS5RelayAssociation: DatagramAssociation, ByteStreamObserver, DatagramSocketHandler {
  private let control: any ByteStream
  private let socket: UDPSocket
  private let pathLegs: () -> [Leg]
  private var isClosed = false
  private var scratch: [UInt8] = []
  private var lastTarget: (name: HostPort, bytes: [UInt8])?
  private var lastSource: (bytes: [UInt8], name: HostPort)?
  public weak var observer: (any DatagramAssociationObserver)?
  public private(set) var dropped: UInt64 = 0

  /// Takes the control stream over when it succeeds.
  /// - Parameter relay: as the server said it; one without an address is where the control stream goes.
  public init(
    loop: EventLoop, arena: ReceiveArena, control: any ByteStream, relay: HostPort, options: SocketOptions,
    legs: @escaping () -> [Leg]
  ) throws(TransportFailure) {
    let named = relay.literal.flatMap { $0.isUnspecified ? nil : $0 }
    guard let address = named ?? control.receipt.remote?.address, relay.port != 0 else {
      throw TransportFailure(.violation, "the SOCKS5 server named no UDP port")
    }
    do throws(SystemError) {
      socket = try UDPSocket(
        loop: loop, arena: arena, to: Endpoint(address.canonical, port: relay.port), options: options)
    } catch {
      throw TransportFailure(error)
    }
    self.control = control
    pathLegs = legs
    socket.handler = self
    control.observer = self
    control.readLater()
  }

  public var legs: [Leg] { pathLegs() }

  public func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) {
    guard !isClosed, let address = address(of: target) else {
      dropped &+= 1
      return
    }
    scratch.removeAll(keepingCapacity: true)
    SOCKS5Datagram.appendHeader(address: address, to: &scratch)
    scratch += payload
    let outcome = scratch.withUnsafeBytes { socket.send($0, segment: $0.count, to: nil, from: nil, ecn: 0) }
    if case .sent = outcome { return }
    dropped &+= 1
  }

  private func address(of target: HostPort) -> [UInt8]? {
    if let lastTarget, lastTarget.name == target { return lastTarget.bytes }
    guard let bytes = SOCKSAddress.encode(target) else { return nil }
    lastTarget = (target, bytes)
    return bytes
  }

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    for index in 0..<batch.count {
      guard !isClosed else { return }
      let bytes = UnsafeRawBufferPointer(batch[index])
      guard let parts = SOCKS5Datagram.parts(bytes),
        let source = source(UnsafeRawBufferPointer(rebasing: bytes[parts.address]))
      else {
        dropped &+= 1
        continue
      }
      observer?.datagramArrived(UnsafeRawBufferPointer(rebasing: bytes[parts.payload]), from: source, on: self)
    }
  }

  private func source(_ bytes: UnsafeRawBufferPointer) -> HostPort? {
    if let lastSource, lastSource.bytes.elementsEqual(bytes) { return lastSource.name }
    guard let name = try? SOCKSAddress.decode(bytes) else { return nil }
    lastSource = (Array(bytes), name)
    return name
  }

  public func socketWritable(_ socket: any DatagramSocket) {}
  /// The server may open its port a moment later; the control stream says when it is gone.
  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {}

  // MARK: The control stream

  public func streamReadable(_ stream: any ByteStream) {
    let end = withUnsafeTemporaryAllocation(byteCount: 512, alignment: 16) { buffer -> TransportFailure? in
      for _ in 0..<64 {
        switch stream.read(into: buffer) {
        case .bytes: continue
        case .blocked: return nil
        case .end: return TransportFailure(.lost, "the SOCKS5 server ended the UDP association")
        case .failed(let failure): return failure
        }
      }
      return TransportFailure(.violation, "the SOCKS5 server writes on the connection of a UDP association")
    }
    if let end { fail(end) }
  }

  public func streamWritable(_ stream: any ByteStream) {}
  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  private func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    let observer = observer
    close()
    observer?.associationFailed(self, failure)
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    socket.close()
    control.observer = nil
    control.close()
  }
}
