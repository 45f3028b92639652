import LinuxIO
import SOCKS
import Values

/// Datagrams with their addresses, framed on a stream (`DatagramTunnel`): both ends of SOCKS5's command 0xF3, of HTTP's
/// `X-Gost-Protocol: udp` and of relay's associate and UDP bind.
///
/// What is sent in one turn of the loop leaves as one write. A stream that takes no more has its datagrams dropped
/// behind a bound, as any full link does; it never holds up who sends them. An idle association holds no buffers.
public final class StreamAssociation: DatagramAssociation, ByteStreamObserver, TurnFlusher {
  private let loop: EventLoop
  private let stream: any ByteStream
  private let pathLegs: () -> [Leg]
  /// The beginning of a frame whose rest has not come.
  private var pending: [UInt8] = []
  /// Frames that have not left, from `outgoingOffset` on.
  private var outgoing: [UInt8] = []
  private var outgoingOffset = 0
  private var isFlushQueued = false
  private var isBlocked = false
  private var isClosed = false
  /// Most datagrams go to and come from where the one before did, so an address is read and written once.
  private var lastTarget: (name: HostPort, bytes: [UInt8])?
  private var lastSource: (bytes: [UInt8], name: HostPort)?
  private var sentBytes: UInt64 = 0
  private var receivedBytes: UInt64 = 0
  public weak var observer: (any DatagramAssociationObserver)?
  public private(set) var dropped: UInt64 = 0

  /// Bytes that may wait for the stream before datagrams are dropped.
  private static let maximumWaiting = 256 * 1024
  /// Bytes that are gathered before they leave inside a turn.
  private static let batch = 64 * 1024
  private static let roundsPerTurn = 16
  /// Twice the longest frame, so that a whole one fits behind any beginning of one.
  private static let readSize = 2 * DatagramTunnel.longestFrame

  /// Takes the stream over.
  /// - Parameter legs: the way that the stream takes, asked anew each time.
  public init(loop: EventLoop, stream: any ByteStream, legs: @escaping () -> [Leg]) {
    self.loop = loop
    self.stream = stream
    pathLegs = legs
    stream.observer = self
    stream.readLater()
  }

  public var legs: [Leg] {
    var legs = pathLegs()
    if let own = legs.first, own.from == .us {
      legs[0] = own.with(Traffic(forward: sentBytes, back: receivedBytes))
    }
    return legs
  }

  // MARK: Out

  public func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) {
    guard !isClosed, outgoing.count - outgoingOffset < Self.maximumWaiting, let address = address(of: target),
      DatagramTunnel.append(payload, address: address, to: &outgoing)
    else {
      dropped &+= 1
      return
    }
    sentBytes &+= UInt64(payload.count)
    guard !isBlocked else { return }
    if outgoing.count - outgoingOffset >= Self.batch {
      writeOut()
    } else if !isFlushQueued {
      isFlushQueued = true
      loop.requestFlush(self)
    }
  }

  private func address(of target: HostPort) -> [UInt8]? {
    if let lastTarget, lastTarget.name == target { return lastTarget.bytes }
    guard let bytes = SOCKSAddress.encode(target) else { return nil }
    lastTarget = (target, bytes)
    return bytes
  }

  public func flush() {
    isFlushQueued = false
    if !isBlocked { writeOut() }
  }

  private func writeOut() {
    guard !isClosed, outgoingOffset < outgoing.count else { return }
    outgoingOffset += outgoing.withUnsafeBytes { stream.write(UnsafeRawBufferPointer(rebasing: $0[outgoingOffset...])) }
    isBlocked = outgoingOffset < outgoing.count
    guard !isBlocked else {
      // What has left is given back when it is the larger part, so that no byte is moved more than once on average.
      if outgoingOffset > outgoing.count / 2 {
        outgoing.removeFirst(outgoingOffset)
        outgoingOffset = 0
      }
      return
    }
    outgoing = []
    outgoingOffset = 0
  }

  public func streamWritable(_ stream: any ByteStream) { writeOut() }

  // MARK: In

  public func streamReadable(_ stream: any ByteStream) {
    guard !isClosed else { return }
    let end = withUnsafeTemporaryAllocation(byteCount: Self.readSize, alignment: 16) { buffer -> TransportFailure? in
      var filled = pending.count
      buffer.copyBytes(from: pending)
      pending = []
      defer { if !isClosed { pending = Array(buffer[..<filled]) } }
      for _ in 0..<Self.roundsPerTurn {
        switch stream.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])) {
        case .bytes(let count): filled += count
        case .blocked: return nil
        case .end: return TransportFailure(.lost, "the other end closed the connection that carries the datagrams")
        case .failed(let failure): return failure
        }
        do {
          let taken = try deliver(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<filled]))
          guard !isClosed else { return nil }
          // Safe: both ranges lie inside the buffer, and the move copes with overlap.
          buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[taken..<filled]))
          filled -= taken
        } catch {
          return TransportFailure(.violation, "the other end does not frame datagrams as GOST does: \(error)")
        }
      }
      stream.readLater()
      return nil
    }
    if let end { fail(end) }
  }

  /// Hands out the whole frames and returns how many bytes they were.
  private func deliver(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> Int {
    var offset = 0
    while !isClosed, case .message(let frame, let consumed) = try DatagramTunnel.frame(in: bytes, at: offset) {
      offset += consumed
      guard !frame.payload.isEmpty, let source = source(UnsafeRawBufferPointer(rebasing: bytes[frame.address])) else {
        dropped &+= 1
        continue
      }
      receivedBytes &+= UInt64(frame.payload.count)
      observer?.datagramArrived(UnsafeRawBufferPointer(rebasing: bytes[frame.payload]), from: source, on: self)
    }
    return offset
  }

  private func source(_ bytes: UnsafeRawBufferPointer) -> HostPort? {
    if let lastSource, lastSource.bytes.elementsEqual(bytes) { return lastSource.name }
    guard let name = try? SOCKSAddress.decode(bytes) else { return nil }
    lastSource = (Array(bytes), name)
    return name
  }

  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  private func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    let observer = observer
    close()
    observer?.associationFailed(self, failure)
  }

  /// What was sent before leaves if the stream takes it.
  public func close() {
    guard !isClosed else { return }
    writeOut()
    isClosed = true
    outgoing = []
    outgoingOffset = 0
    pending = []
    stream.observer = nil
    stream.close()
  }
}
