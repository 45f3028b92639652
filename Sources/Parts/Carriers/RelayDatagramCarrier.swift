import LinuxIO
import RecordedMachines
import RelayProtocol
import Values

/// Datagrams framed on a stream behind a relay's UDP connect, the client's end.
///
/// The request leaves at once, with the first packets if there are any, and nothing waits for the response: a server
/// without `nodelay` sends it with its first data only (`RelayMessage`). A response that is not "ok" or not a response
/// ends the carrier with what it says.
public final class RelayDatagramCarrier: DatagramCarrier, ByteStreamObserver, DatagramLaneObserver {
  private let stream: any ByteStream
  private let loop: EventLoop
  private let ownLegs: () -> [Leg]
  private let notice: () -> String?
  private let lane: (any DatagramLane)?
  private var writer: StreamWriter
  private var reader = PacketBatch(capacity: 256 * 1024, maximumCount: 1024, headroom: 0)
  private var filled = 0
  private var decoder: RecordedDecoder<RelayResponseDecoder>
  private var isOpen = false
  private var isClosed = false
  private var sawByte = false
  public weak var receiver: (any DatagramReceiver)?
  public var lastReport: String? { nil }
  public var nodeAnswered: Bool? { isOpen }

  public var headroom: Int { DatagramFraming.headroom }

  /// - Parameters:
  ///   - legs: the legs up to and behind the relay, asked anew each time.
  ///   - notice: what the relay said of a failure in words, if it is a Culvert.
  public init(
    loop: EventLoop, stream: any ByteStream, request: [UInt8], legs: @escaping () -> [Leg],
    notice: @escaping () -> String?
  ) {
    self.loop = loop
    self.stream = stream
    ownLegs = legs
    self.notice = notice
    writer = StreamWriter(stream: stream)
    lane = stream as? any DatagramLane
    decoder = RecordedDecoder(RelayResponseDecoder(), loop.recorder, about: stream.recordedName)
    stream.observer = self
    lane?.laneObserver = self
    request.withUnsafeBytes { _ = writer.write($0) }
    loop.later { [weak self] in
      guard let self, !self.isClosed else { return }
      self.streamReadable(self.stream)
    }
  }

  public var legs: [Leg] { ownLegs() }

  public func send(_ batch: inout PacketBatch) -> Bool {
    guard !isClosed else { return true }
    if isOpen, let lane, let limit = lane.maximumLanePacket {
      sendOnLane(&batch, lane, limit)
      return !lane.laneIsFull() && writer.pendingBytes == 0
    }
    let range = DatagramFraming.frame(&batch)
    return writer.write(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(batch.storage)[range]))
  }

  public var packetLimit: Int? { isOpen ? lane?.maximumLanePacket : nil }

  /// Packets that fit leave on the lane, the others on the stream, in runs.
  private func sendOnLane(_ batch: inout PacketBatch, _ lane: any DatagramLane, _ limit: Int) {
    for index in 0..<batch.count {
      let packet = batch[index]
      if packet.count <= limit, lane.sendOnLane(packet) { continue }
      let framed = DatagramFraming.frame(&batch, at: index)
      _ = writer.write(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(batch.storage)[framed]))
    }
  }

  // MARK: The lane

  func laneReceived(_ batch: inout PacketBatch) {
    guard !isClosed else { return }
    receiver?.carrierReceived(&batch, from: self)
  }

  func laneWritable() {
    if !isClosed, writer.pendingBytes == 0 { receiver?.carrierWritable(self) }
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    stream.observer = nil
    stream.close()
  }

  public func streamWritable(_ stream: any ByteStream) {
    if writer.drain(), lane?.laneIsFull() != true { receiver?.carrierWritable(self) }
  }

  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { cutShort(failure) }

  public func streamReadable(_ stream: any ByteStream) {
    for _ in 0..<64 {
      guard !isClosed else { return }
      let room = UnsafeMutableRawBufferPointer(rebasing: reader.storage[filled...])
      switch stream.read(into: room) {
      case .bytes(let count):
        filled += count
        sawByte = true
        if !isOpen, !readResponse() { continue }
        deliver()
      case .blocked: return
      case .end:
        fail(
          sawByte
            ? TransportFailure(.lost, "the relay ended the connection")
            : TransportFailure(.refused, Self.notRelay))
        return
      case .failed(let failure):
        cutShort(failure)
        return
      }
    }
    stream.readLater()
  }

  /// Takes the response off the front; false when more bytes are needed or the carrier ended.
  private func readResponse() -> Bool {
    let bytes = UnsafeRawBufferPointer(rebasing: reader.storage[..<filled])
    do throws(RelayError) {
      switch try decoder.step(bytes) {
      case .needs: return false
      case .message(let response, let consumed):
        guard response.status == .ok else {
          let words = notice().map { ": \($0)" } ?? ""
          fail(TransportFailure(.refused, "the relay refused (\(response.status))\(words)"))
          return false
        }
        isOpen = true
        consume(consumed)
        return true
      }
    } catch {
      fail(TransportFailure(.violation, "the other end does not speak relay: \(error)"))
      return false
    }
  }

  /// What takes our request for rubbish closes; with a reset, when it left bytes unread.
  private static let notRelay = "the other end does not speak relay: it closed the connection without a byte"

  private func cutShort(_ failure: TransportFailure) {
    let isStranger = failure.kind == .lost && !sawByte && notice() == nil
    fail(isStranger ? TransportFailure(.refused, Self.notRelay) : failure)
  }

  private func deliver() {
    while !isClosed {
      reader.removeAll()
      let consumed = DatagramFraming.scan(&reader, filled: filled)
      guard consumed > 0 else { return }
      if !reader.isEmpty { receiver?.carrierReceived(&reader, from: self) }
      consume(consumed)
    }
  }

  private func consume(_ count: Int) {
    let rest = filled - count
    if rest > 0 {
      // Safe: both ranges lie inside the arena, and the move copes with overlap.
      let storage = reader.storage
      storage.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[count..<filled]))
    }
    filled = rest
  }

  private func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    close()
    receiver?.carrierFailed(self, failure)
  }
}
