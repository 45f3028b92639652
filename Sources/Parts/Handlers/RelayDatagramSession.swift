import LinuxIO
import RelayProtocol
import Values

/// A client of a relay that sends datagrams to one target: frames on its stream (or packets on its lane) to a UDP
/// socket of ours and back, or through a chain.
///
/// Straight from here, runs of equal datagrams leave as one segmented send. A client that takes nothing has its packets
/// wait in turns (`PacketBacklog`).
final class RelayDatagramSession: RelaySession, ByteStreamObserver, DatagramSocketHandler, DatagramLaneObserver,
  DatagramReceiver
{
  private enum State {
    case opening
    case joined(UDPSocket)
    /// Through a chain.
    case carried(any DatagramCarrier)
    case closed
  }

  private let core: HandlerCore
  private let stream: any ByteStream
  private let lane: (any DatagramLane)?
  private let report: ClientReport
  private let target: HostPort
  private let ended: (RelayDatagramSession) -> Void
  private var state = State.opening
  private var writer: StreamWriter
  private var input = PacketBatch(capacity: 128 * 1024, maximumCount: 512, headroom: 0)
  private var frames: PacketBatchBox
  /// For a carrier, with its headroom.
  private var outgoing: PacketBatchBox?
  private let backlog: PacketBacklog
  private var filled = 0
  /// Payload from the client, and from the target.
  private var forth: UInt64 = 0
  private var back: UInt64 = 0
  private let since: Instant

  init(
    core: HandlerCore, client: RelayHandler.Client, target: HostPort, ended: @escaping (RelayDatagramSession) -> Void
  ) {
    self.core = core
    stream = client.stream
    lane = client.lane
    report = client.report
    self.target = target
    self.ended = ended
    writer = StreamWriter(stream: stream)
    frames = PacketBatchBox(capacity: 256 * 1024, maximumCount: 512, headroom: DatagramFraming.headroom)
    since = core.loop.now
    backlog = PacketBacklog(loop: core.loop)
  }

  func start() {
    stream.observer = self
    lane?.laneObserver = self
    if let direct = core.way as? DirectWay {
      direct.openSocket(to: target) { [weak self] result in
        guard let self, case .opening = self.state else {
          if case .success(let socket) = result { socket.close() }
          return
        }
        switch result {
        case .success(let socket):
          socket.handler = self
          self.state = .joined(socket)
          self.opened(self.leg(of: socket))
        case .failure(let failure): self.refuse(failure)
        }
      }
    } else {
      core.way.openDatagrams(to: target, for: stream.client) { [weak self] result in
        guard let self, case .opening = self.state else {
          if case .success(let carrier) = result { carrier.close() }
          return
        }
        switch result {
        case .success(let carrier):
          carrier.receiver = self
          self.outgoing = PacketBatchBox(capacity: 192 * 1024, maximumCount: 512, headroom: carrier.headroom)
          self.state = .carried(carrier)
          self.opened(carrier.legs.first)
        case .failure(let failure): self.refuse(failure)
        }
      }
    }
  }

  private func opened(_ leg: Leg?) {
    if let bytes = RelayResponse(status: .ok).encode() { bytes.withUnsafeBytes { _ = writer.write($0) } }
    if let leg { report.leg(leg) }
    core.log.debug(
      "relaying datagrams", ["client": stream.client?.description ?? "unknown", "target": target])
    // What was read while the target was not there yet.
    sendFrames()
    stream.readLater()
  }

  private func refuse(_ failure: TransportFailure) {
    state = .closed
    backlog.close()
    core.refuse(
      RelayHandler.Client(stream: stream, lane: lane, report: report), RelayStatus(failure),
      because: "cannot reach the target \(target): \(failure)")
    ended(self)
  }

  var paths: [(name: String, path: Path)] {
    var behind: [Leg]
    switch state {
    case .joined(let socket): behind = [leg(of: socket)]
    case .carried(let carrier): behind = carrier.legs
    case .opening, .closed: return []
    }
    let traffic = Traffic(forward: forth, back: back)
    if let ours = behind.first, ours.from == .us { behind[0] = ours.with(traffic) }
    let receipt = stream.receipt
    let own = Leg(
      from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact,
      transport: stream.layers + [.relay], traffic: traffic, roundTrip: stream.roundTrip)
    return [("relay to \(target)", Path(legs: [own] + behind, since: since))]
  }

  private func leg(of socket: UDPSocket) -> Leg {
    Leg(
      from: .us, to: .target(target.description), local: socket.receipt.localFact, remote: socket.receipt.remoteFact,
      transport: [.udp])
  }

  var lost: UInt64 { backlog.lost }

  func close() {
    backlog.close()
    switch state {
    case .joined(let socket): socket.close()
    case .carried(let carrier):
      carrier.receiver = nil
      carrier.close()
    case .opening, .closed: break
    }
    state = .closed
    stream.observer = nil
    stream.close()
  }

  private func end() {
    close()
    ended(self)
  }

  // MARK: From the client

  func streamReadable(_ stream: any ByteStream) {
    for _ in 0..<64 {
      if case .closed = state { return }
      guard filled < input.capacity else { return }
      switch stream.read(into: UnsafeMutableRawBufferPointer(rebasing: input.storage[filled...])) {
      case .bytes(let count):
        filled += count
        sendFrames()
      case .blocked: return
      case .end, .failed:
        end()
        return
      }
    }
    stream.readLater()
  }

  func streamWritable(_ stream: any ByteStream) {
    if writer.drain() { sendBacklog() }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }

  private func sendFrames() {
    while true {
      switch state {
      case .opening, .closed: return
      case .joined, .carried: break
      }
      input.removeAll()
      let consumed = DatagramFraming.scan(&input, filled: filled)
      guard consumed > 0 else { return }
      switch state {
      case .joined(let socket): send(to: socket)
      case .carried(let carrier): send(input, to: carrier)
      case .opening, .closed: return
      }
      forth &+= UInt64(clamping: consumed &- DatagramFraming.headroom &* input.count)
      consume(consumed)
    }
  }

  /// A carrier that is full loses what comes, like any full link.
  private func send(_ packets: borrowing PacketBatch, to carrier: any DatagramCarrier) {
    guard let outgoing else { return }
    var index = 0
    while index < packets.count {
      outgoing.batch.removeAll()
      while index < packets.count, outgoing.batch.append(copying: UnsafeRawBufferPointer(packets[index])) {
        index += 1
      }
      guard !outgoing.batch.isEmpty else { return }
      _ = carrier.send(&outgoing.batch)
    }
  }

  /// Frames lie two bytes apart, so equal datagrams are moved together to leave as one segmented send.
  private func send(to socket: UDPSocket) {
    guard input.count > 0 else { return }
    let storage = input.storage
    var write = input.slot(0).offset
    var start = write
    var segment = 0
    for index in 0..<input.count {
      let slot = input.slot(index)
      let run = write - start
      if segment != 0, slot.length > segment || run % segment != 0 || run + slot.length > 65_000 {
        flush(storage, start..<write, segment, socket)
        start = slot.offset
        write = start
        segment = 0
      }
      if segment == 0 { segment = slot.length }
      if write != slot.offset {
        storage.baseAddress.map { ($0 + write).copyMemory(from: $0 + slot.offset, byteCount: slot.length) }
      }
      write += slot.length
    }
    flush(storage, start..<write, segment, socket)
  }

  private func flush(
    _ storage: UnsafeMutableRawBufferPointer, _ range: Range<Int>, _ segment: Int, _ socket: UDPSocket
  ) {
    guard segment > 0, !range.isEmpty else { return }
    let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(storage)[range])
    _ = socket.send(bytes, segment: segment, to: nil, from: nil, ecn: 0)
  }

  private func consume(_ count: Int) {
    let rest = filled - count
    if rest > 0 {
      // Safe: both ranges lie inside the arena, and the move copes with overlap.
      let storage = input.storage
      storage.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[count..<filled]))
    }
    filled = rest
  }

  // MARK: From the client's lane

  func laneReceived(_ batch: inout PacketBatch) {
    forth &+= Self.payload(of: batch)
    if case .carried(let carrier) = state { send(batch, to: carrier) }
    guard case .joined(let socket) = state else { return }
    let storage = UnsafeRawBufferPointer(batch.storage)
    var index = 0
    while index < batch.count {
      let run = batch.equalRun(from: index, limit: 64, byteLimit: 65_000)
      let first = batch.slot(index)
      let last = batch.slot(index + run - 1)
      let bytes = UnsafeRawBufferPointer(rebasing: storage[first.offset..<(last.offset + last.length)])
      _ = socket.send(bytes, segment: first.length, to: nil, from: nil, ecn: 0)
      index += run
    }
  }

  func laneWritable() { sendBacklog() }

  // MARK: From the target

  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    deliver(&batch)
  }

  func carrierReceived(_ batch: inout PacketBatch, from carrier: any DatagramCarrier) { deliver(&batch) }

  func carrierWritable(_ carrier: any DatagramCarrier) {}

  func carrierFailed(_ carrier: any DatagramCarrier, _ failure: TransportFailure) {
    core.complain("the way to \(target) is gone: \(failure)", from: stream.client)
    report.failure(failure.reason)
    end()
  }

  private static func payload(of batch: borrowing PacketBatch) -> UInt64 {
    var sum = 0
    for index in 0..<batch.count { sum &+= batch.slot(index).length }
    return UInt64(clamping: sum)
  }

  private func deliver(_ batch: inout PacketBatch) {
    back &+= Self.payload(of: batch)
    if isFull || !backlog.isEmpty {
      backlog.add(batch)
      return
    }
    var index = 0
    while index < batch.count {
      frames.batch.removeAll()
      while index < batch.count, frames.batch.append(copying: UnsafeRawBufferPointer(batch[index])) { index += 1 }
      guard !frames.batch.isEmpty else { return }
      writeFrames()
    }
  }

  /// Whether the client takes no more at the moment; it is told when it does again.
  private var isFull: Bool {
    if writer.pendingBytes > 0 { return true }
    guard let lane, lane.maximumLanePacket != nil else { return false }
    return lane.laneIsFull()
  }

  private func sendBacklog() {
    if case .closed = state { return }
    while !backlog.isEmpty, !isFull {
      frames.batch.removeAll()
      guard backlog.take(into: &frames.batch) else { return }
      writeFrames()
    }
  }

  /// Packets that fit leave on the lane if there is one, the others on the stream.
  private func writeFrames() {
    guard let lane, let limit = lane.maximumLanePacket else {
      let range = DatagramFraming.frame(&frames.batch)
      _ = writer.write(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(frames.batch.storage)[range]))
      return
    }
    for index in 0..<frames.batch.count {
      let packet = frames.batch[index]
      if packet.count <= limit, lane.sendOnLane(packet) { continue }
      let framed = DatagramFraming.frame(&frames.batch, at: index)
      _ = writer.write(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(frames.batch.storage)[framed]))
    }
  }

  func socketWritable(_ socket: any DatagramSocket) {}

  func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    core.complain("the target \(target) answers: \(error)", from: stream.client)
  }
}
