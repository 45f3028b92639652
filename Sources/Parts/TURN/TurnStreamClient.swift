import LinuxIO
import STUN
import TURN
import Values

/// A client of a relay that came over TCP or TLS: its stream is cut into messages and channel data, and what goes to it is
/// padded to four bytes (RFC 8656, section 12.5).
///
/// A client that does not read has data dropped, as on any full link; answers wait for it.
final class TurnStreamClient: ByteStreamObserver {
  let stream: any ByteStream
  let flow: TurnFlow
  private unowned let relay: TurnRelay
  private var writer: StreamWriter
  private var input = FrameBuffer()
  private var isClosed = false
  private(set) var lost: UInt64 = 0

  private static let piece = 16_384
  /// Bytes that may wait for the client.
  private static let maximumWaiting = 262_144

  init(relay: TurnRelay, stream: any ByteStream, flow: TurnFlow) {
    self.relay = relay
    self.stream = stream
    self.flow = flow
    writer = StreamWriter(stream: stream)
  }

  func start() {
    stream.observer = self
    stream.readLater()
  }

  /// Hands the stream over to carry a peer's bytes: with what was read of it behind the last message.
  func release() -> any ByteStream {
    isClosed = true
    stream.observer = nil
    return PrefixedStream.wrap(loop: relay.loop, stream, prefix: input.pending)
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    stream.observer = nil
    stream.close()
  }

  private func end() {
    guard !isClosed else { return }
    close()
    relay.streamEnded(flow)
  }

  // MARK: From the client

  func streamReadable(_ stream: any ByteStream) {
    for _ in 0..<16 {
      guard !isClosed else { return }
      var outcome = StreamRead.blocked
      input.append(room: Self.piece) { room in
        outcome = stream.read(into: UnsafeMutableRawBufferPointer(rebasing: room[..<Self.piece]))
        if case .bytes(let count) = outcome { return count }
        return 0
      }
      switch outcome {
      case .bytes: if !takeFrames() { return end() }
      case .blocked: return input.trim()
      case .end, .failed: return end()
      }
    }
    stream.readLater()
  }

  /// False when the stream is none of ours.
  private func takeFrames() -> Bool {
    while !isClosed {
      let pending = input.pending
      switch STUNStreamFramer.next(pending) {
      case .frame(let count, let consumed):
        relay.handle(UnsafeRawBufferPointer(rebasing: pending[..<count]), flow, ecn: 0) { self.stream.receipt }
        // What was noted of these bytes has to leave before they do.
        relay.flushOutbox()
        input.consume(consumed)
      case .needs: return true
      case .broken: return false
      }
    }
    return true
  }

  func streamWritable(_ stream: any ByteStream) { _ = writer.drain() }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }

  // MARK: To the client

  func send(message: [UInt8]) {
    guard !isClosed else { return }
    message.withUnsafeBytes { _ = writer.write($0) }
  }

  /// Data of a peer.
  func send(_ data: UnsafeRawBufferPointer, _ delivery: TurnServer.Delivery, _ transaction: TransactionID) {
    guard !isClosed, writer.pendingBytes < Self.maximumWaiting else {
      lost &+= 1
      return
    }
    let size =
      delivery.channel == nil
      ? DataIndication.size(delivery.peer.family, data.count) : ChannelData.headerSize + (data.count + 3) & ~3
    withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { room in
      guard let base = room.baseAddress else { return }
      if let channel = delivery.channel {
        ChannelData.writeHeader(channel, length: data.count, into: base)
        if let source = data.baseAddress {
          (base + ChannelData.headerSize).copyMemory(from: source, byteCount: data.count)
        }
        for place in (ChannelData.headerSize + data.count)..<size { room[place] = 0 }
      } else {
        DataIndication.write(data, from: delivery.peer, transaction, into: room)
      }
      _ = writer.write(UnsafeRawBufferPointer(room))
    }
  }
}
