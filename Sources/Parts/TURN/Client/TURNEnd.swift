import CLinux
import LinuxIO
import RecordedMachines
import TURN
import Values

/// Told of what comes from a server.
protocol TURNEndOwner: AnyObject {
  func turnEnd(_ end: TURNEnd, said event: TURNClientEvent)
  /// Packets of a peer; valid inside the call, and may be changed in place.
  func turnEnd(_ end: TURNEnd, received batch: inout PacketBatch, from peer: Endpoint)
  func turnEndWritable(_ end: TURNEnd)
  /// The stream to the server is gone, or a socket could not send before the server had said anything.
  func turnEnd(_ end: TURNEnd, lost failure: TransportFailure)
}

/// One address of a TURN server, the socket or stream to it, and the machine (`TURNClient`) that speaks over that.
///
/// Packets for peers leave as datagrams of the socket with four bytes in front, packets of one size together; on a stream
/// they go one behind the other. What a full stream does not take waits in its writer, and the owner hears when it is gone.
final class TURNEnd: DatagramSocketHandler, ByteStreamObserver {
  private enum Wire {
    case socket(UDPSocket)
    case stream(any ByteStream)
    case closed
  }

  private let loop: EventLoop
  private(set) var client: RecordedTURNClient
  private var wire: Wire
  private var writer: StreamWriter?
  private var timer: LoopTimer?
  weak var owner: (any TURNEndOwner)?
  private var heard: Receipt?
  private var hasAnswered = false
  /// What the kernel said last of what was sent.
  private(set) var lastReport: String?
  /// Packets that did not leave.
  private(set) var unsent: UInt64 = 0

  /// Of a stream: bytes that came and are no whole message yet.
  private var reader: PacketBatchBox?
  private var filled = 0
  private var frames: [UInt8] = []

  private static let readerSize = 256 * 1024
  private static let roundsPerTurn = 64

  init(loop: EventLoop, socket: UDPSocket, _ settings: TURNClientSettings) {
    self.loop = loop
    wire = .socket(socket)
    client = RecordedTURNClient(
      settings, isStream: false, random: SystemRandomNumberGenerator(), unixTime: Self.unixTime, loop.recorder,
      about: socket.receipt.remote?.description ?? "", at: loop.now)
    adopt()
  }

  init(loop: EventLoop, stream: any ByteStream, _ settings: TURNClientSettings) {
    self.loop = loop
    wire = .stream(stream)
    client = RecordedTURNClient(
      settings, isStream: true, random: SystemRandomNumberGenerator(), unixTime: Self.unixTime, loop.recorder,
      about: stream.recordedName, at: loop.now)
    adopt()
  }

  private static var unixTime: Int64 { culvert_realtime_ns() / 1_000_000_000 }

  private func adopt() {
    timer = loop.makeTimer { [weak self] in
      guard let self else { return }
      self.client.handleTimeout(at: self.loop.now)
      self.pump()
    }
    switch wire {
    case .socket(let socket):
      socket.handler = self
      writer = nil
    case .stream(let stream):
      stream.observer = self
      writer = StreamWriter(stream: stream)
      if reader == nil { reader = PacketBatchBox(capacity: Self.readerSize, maximumCount: 1024, headroom: 0) }
      filled = 0
      stream.readLater()
    case .closed: break
    }
  }

  // MARK: What is known

  var isStream: Bool { if case .stream = wire { true } else { false } }

  /// The two ends as our socket saw them.
  var receipt: Receipt? {
    switch wire {
    case .socket(let socket): heard ?? socket.receipt
    case .stream(let stream): stream.receipt
    case .closed: nil
    }
  }

  var layers: [Layer] {
    switch wire {
    case .socket: [.udp, .turn]
    case .stream(let stream): stream.layers + [.turn]
    case .closed: []
    }
  }

  var roundTrip: TimeSpan? {
    if case .stream(let stream) = wire, let own = stream.roundTrip { return own }
    return client.roundTrip
  }

  /// The largest packet that leaves in one of its own, bytes; `nil` where sizes do not matter.
  var packetLimit: Int? {
    guard case .socket(let socket) = wire else { return nil }
    return socket.wholeDatagram.map { $0 - TURNClient.headroom }
  }

  // MARK: The machine

  func begin() { change { client, now in client.begin(at: now) } }
  func proceed() { change { client, now in client.proceed(at: now) } }

  /// Changes the machine, and does what follows from it.
  func change<Result>(_ body: (inout RecordedTURNClient, Instant) -> Result) -> Result {
    let result = body(&client, loop.now)
    pump()
    return result
  }

  /// Goes on by another socket or stream.
  func move(to socket: UDPSocket) { move(.socket(socket), isStream: false) }
  func move(to stream: any ByteStream) { move(.stream(stream), isStream: true) }

  private func move(_ fresh: Wire, isStream: Bool) {
    closeWire()
    wire = fresh
    heard = nil
    adopt()
    client.setWallClock(unixTime: Self.unixTime, at: loop.now)
    client.moved(isStream: isStream, at: loop.now)
    pump()
  }

  private func pump() {
    while let message = client.pollTransmit() { send(message) }
    withExtendedLifetime(self) {
      while let event = client.pollEvent() {
        if event == .answered { hasAnswered = true }
        owner?.turnEnd(self, said: event)
      }
    }
    while let message = client.pollTransmit() { send(message) }
    arm()
  }

  private func arm() {
    if case .closed = wire { return }
    timer?.arm(at: client.nextDeadline())
  }

  private func send(_ message: [UInt8]) {
    message.withUnsafeBytes { bytes in
      switch wire {
      case .socket(let socket): take(socket.send(bytes, segment: bytes.count, to: nil, from: nil, ecn: 0), 1)
      case .stream: _ = writer?.write(bytes)
      case .closed: break
      }
    }
  }

  private func take(_ outcome: SendOutcome, _ count: Int) {
    switch outcome {
    case .sent: return
    // A full socket buffer drains within microseconds; what does not fit is lost like on any full link.
    case .blocked: unsent &+= UInt64(count)
    case .failed(let error):
      unsent &+= UInt64(count)
      report(error)
    }
  }

  /// A rumour, as anybody can forge a refusal: before the server said anything it lets another address have its turn.
  private func report(_ error: SystemError) {
    lastReport = "\(error)"
    guard !hasAnswered else { return }
    loop.later { [weak self] in
      guard let self, !self.hasAnswered else { return }
      self.owner?.turnEnd(self, lost: TransportFailure(error))
    }
  }

  // MARK: Out

  /// Sends packets that have the machine's headroom to a peer. False when no more should come until `turnEndWritable`.
  func send(_ batch: inout PacketBatch, to peer: Endpoint) -> Bool {
    guard !batch.isEmpty else { return true }
    let count = batch.count
    switch wire {
    case .closed: unsent &+= UInt64(count)
    case .socket(let socket):
      switch client.frame(&batch, to: peer, at: loop.now) {
      case .framed: send(framed: &batch, by: socket)
      case .unbound: sendIndications(batch, to: peer)
      case .nowhere: unsent &+= UInt64(count)
      }
    case .stream:
      frames.removeAll(keepingCapacity: true)
      switch client.append(batch, to: peer, into: &frames, at: loop.now) {
      case .framed: _ = frames.withUnsafeBytes { writer?.write($0) }
      case .unbound: sendIndications(batch, to: peer)
      case .nowhere: unsent &+= UInt64(count)
      }
    }
    if client.isDeadlineNew { arm() }
    return writer.map { $0.pendingBytes == 0 } ?? true
  }

  private func send(framed batch: inout PacketBatch, by socket: UDPSocket) {
    batch.closeGaps()
    let storage = UnsafeRawBufferPointer(batch.storage)
    var index = 0
    while index < batch.count {
      let run = max(1, batch.equalRun(from: index, limit: 64, byteLimit: 65_000))
      let first = batch.slot(index)
      let last = batch.slot(index + run - 1)
      let bytes = UnsafeRawBufferPointer(rebasing: storage[first.offset..<(last.offset + last.length)])
      take(socket.send(bytes, segment: first.length, to: nil, from: nil, ecn: 0), run)
      index += run
    }
  }

  private func sendIndications(_ batch: borrowing PacketBatch, to peer: Endpoint) {
    for index in 0..<batch.count {
      if let message = client.indication(UnsafeRawBufferPointer(batch[index]), to: peer, at: loop.now) {
        send(message)
      } else {
        unsent &+= 1
      }
    }
  }

  // MARK: In, from a socket

  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    guard case .socket(let own) = wire, own === socket else { return }
    if heard == nil { heard = socket.receipt(of: arrival, at: loop.now) }
    client.receive(batch, at: loop.now)
    deliver(&batch)
    pump()
  }

  func socketWritable(_ socket: any DatagramSocket) {}

  func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    guard case .socket(let own) = wire, own === socket else { return }
    report(error)
  }

  private func deliver(_ batch: inout PacketBatch) {
    withExtendedLifetime(self) {
      while let peer = client.nextRun(&batch) { owner?.turnEnd(self, received: &batch, from: peer) }
    }
  }

  // MARK: In, from a stream

  func streamReadable(_ stream: any ByteStream) {
    for _ in 0..<Self.roundsPerTurn {
      guard case .stream(let own) = wire, own === stream, let reader else { return }
      switch stream.read(into: UnsafeMutableRawBufferPointer(rebasing: reader.batch.storage[filled...])) {
      case .bytes(let count):
        filled += count
        if !takeFrames(reader) {
          lose(TransportFailure(.violation, "the server does not speak TURN on this stream"))
          return
        }
      case .blocked: return
      case .end:
        lose(TransportFailure(.lost, "the server ended the connection"))
        return
      case .failed(let failure):
        lose(failure)
        return
      }
    }
    stream.readLater()
  }

  /// False when the stream cannot be understood.
  private func takeFrames(_ reader: PacketBatchBox) -> Bool {
    while true {
      let outcome = client.receive(stream: reader.batch, filled: filled, at: loop.now)
      deliver(&reader.batch)
      pump()
      guard case .bytes(let consumed) = outcome else { return false }
      guard consumed > 0 else { return filled < Self.readerSize }
      let rest = max(0, filled - consumed)
      if rest > 0 {
        // Safe: both ranges lie inside the arena, and the move copes with overlap.
        let storage = reader.batch.storage
        storage.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[consumed..<filled]))
      }
      filled = rest
      if rest == 0 { return true }
    }
  }

  func streamWritable(_ stream: any ByteStream) {
    if writer?.drain() == true { owner?.turnEndWritable(self) }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) {
    guard case .stream(let own) = wire, own === stream else { return }
    lose(failure)
  }

  private func lose(_ failure: TransportFailure) {
    closeWire()
    owner?.turnEnd(self, lost: failure)
  }

  // MARK: The end

  /// Gives the allocation back and closes; nobody is told.
  func release() {
    owner = nil
    client.release(at: loop.now)
    while let message = client.pollTransmit() { send(message) }
    close()
  }

  func close() {
    owner = nil
    timer?.cancel()
    timer = nil
    closeWire()
  }

  private func closeWire() {
    switch wire {
    case .socket(let socket):
      socket.handler = nil
      socket.close()
    case .stream(let stream):
      stream.observer = nil
      stream.finish()
      stream.close()
    case .closed: break
    }
    wire = .closed
  }
}
