import LinuxIO
import RelayProtocol
import Values

/// The handler `relay`: reads a request from each stream and joins the stream to its target.
///
/// The answer goes out at once, also where GOST would wait for the target's first byte: a client of GOST reads it when
/// it reads first, so that no mix of `nodelay` settings can hang (`RelayMessage`). Here the target of a UDP connect is
/// a connected UDP socket; other requests are answered with the status that says that they are not served.
public final class RelayHandler {
  public struct Settings {
    public let readTimeout: TimeSpan
    /// `nil` when anybody may use the relay.
    public let isAllowed: ((_ user: [UInt8], _ password: [UInt8]) -> Bool)?
    public let options: SocketOptions

    public init(readTimeout: TimeSpan, isAllowed: (([UInt8], [UInt8]) -> Bool)?, options: SocketOptions) {
      self.readTimeout = readTimeout
      self.isAllowed = isAllowed
      self.options = options
    }
  }

  fileprivate let loop: EventLoop
  fileprivate let arena: ReceiveArena
  fileprivate let log: Log
  fileprivate let settings: Settings
  fileprivate let resolver: Resolver
  private var sessions: [ObjectIdentifier: RelaySession] = [:]
  private var complaints = ComplaintLimiter<IPAddress>()
  /// Requests that were cut short, wrong, or not allowed.
  public fileprivate(set) var refused: UInt64 = 0
  /// Packets that waited for a full client and were dropped: too long, or too many.
  public var lostWaiting: UInt64 { sessions.values.reduce(lostWithSessions) { $0 &+ $1.lostWaiting } }
  private var lostWithSessions: UInt64 = 0

  public init(loop: EventLoop, arena: ReceiveArena, log: Log, settings: Settings) {
    self.loop = loop
    self.arena = arena
    self.log = log
    self.settings = settings
    resolver = Resolver(loop: loop)
  }

  /// Takes a stream over. `report` tells a client that can hear it of the leg behind us, or why there is none.
  public func accept(_ stream: any ByteStream, report: ClientReport) {
    let session = RelaySession(handler: self, stream: stream, report: report)
    sessions[ObjectIdentifier(session)] = session
    session.start()
  }

  public var paths: [(name: String, path: Path)] { sessions.values.compactMap(\.path) }

  public func close() {
    for session in sessions.values { session.close() }
    sessions = [:]
  }

  fileprivate func ended(_ session: RelaySession) {
    guard sessions.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
    lostWithSessions &+= session.lostWaiting
  }

  fileprivate func complain(_ text: String, from remote: Endpoint?) {
    guard complaints.isDue(remote?.address ?? .anyIPv4, text, at: loop.now) else { return }
    log.warn(text, ["client": remote?.description ?? "unknown"])
  }
}

/// One stream of a client, from its request to its end.
private final class RelaySession: ByteStreamObserver, DatagramSocketHandler, DatagramLaneObserver {
  private enum State {
    case reading
    case resolving
    case joined(UDPSocket)
    case closed
  }

  private unowned let handler: RelayHandler
  private let stream: any ByteStream
  private let lane: (any DatagramLane)?
  private let report: ClientReport
  private var state = State.reading
  private var writer: StreamWriter
  private var input = PacketBatch(capacity: 128 * 1024, maximumCount: 512, headroom: 0)
  private var frames: PacketBatchBox
  private static let thisHost = "127.0.0.1"
  private let backlog: PacketBacklog
  private var filled = 0
  private var timer: LoopTimer?
  private var target: HostPort?
  private let since: Instant

  init(handler: RelayHandler, stream: any ByteStream, report: ClientReport) {
    self.handler = handler
    self.stream = stream
    lane = stream as? any DatagramLane
    self.report = report
    writer = StreamWriter(stream: stream)
    frames = PacketBatchBox(capacity: 256 * 1024, maximumCount: 512, headroom: DatagramFraming.headroom)
    since = handler.loop.now
    backlog = PacketBacklog(loop: handler.loop)
  }

  func start() {
    stream.observer = self
    lane?.laneObserver = self
    timer = handler.loop.makeTimer { [weak self] in
      guard let self else { return }
      self.handler.complain(
        "a client sent no relay request within \(self.handler.settings.readTimeout)", from: self.stream.receipt.remote)
      self.end()
    }
    timer?.arm(after: handler.settings.readTimeout)
    streamReadable(stream)
  }

  var path: (name: String, path: Path)? {
    guard case .joined(let socket) = state, let target else { return nil }
    let receipt = stream.receipt
    let legs = [
      Leg(
        from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact,
        transport: stream.layers + [.relay]),
      leg(of: socket, to: target),
    ]
    return ("relay to \(target)", Path(legs: legs, since: since))
  }

  private func leg(of socket: UDPSocket, to target: HostPort) -> Leg {
    Leg(
      from: .us, to: .target(target.description), local: socket.receipt.localFact, remote: socket.receipt.remoteFact,
      transport: [.udp])
  }

  func close() {
    timer?.cancel()
    backlog.close()
    if case .joined(let socket) = state { socket.close() }
    state = .closed
    stream.observer = nil
    stream.close()
  }

  private func end() {
    if case .reading = state { handler.refused &+= 1 }
    close()
    handler.ended(self)
  }

  // MARK: From the client

  func streamReadable(_ stream: any ByteStream) {
    for _ in 0..<64 {
      if case .closed = state { return }
      guard filled < input.capacity else { return }
      switch stream.read(into: UnsafeMutableRawBufferPointer(rebasing: input.storage[filled...])) {
      case .bytes(let count):
        filled += count
        if case .reading = state { readRequest() }
        if case .joined(let socket) = state { sendFrames(to: socket) }
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

  private func readRequest() {
    do {
      switch try RelayRequest.decode(UnsafeRawBufferPointer(rebasing: input.storage[..<filled])) {
      case .needs: return
      case .message(let request, let consumed):
        consume(consumed)
        timer?.cancel()
        serve(request)
      }
    } catch {
      refuse(.badRequest, because: "it does not speak relay: \(error)")
    }
  }

  private func serve(_ request: RelayRequest) {
    if let isAllowed = handler.settings.isAllowed {
      let given = request.credentials
      guard isAllowed(given?.user ?? [], given?.password ?? []) else {
        refuse(.unauthorized, because: "it gave a wrong user or password, or none")
        return
      }
    }
    guard request.command == .connect || request.command.rawValue == 0 else {
      refuse(.forbidden, because: "it asked to bind, which is not served yet")
      return
    }
    guard request.network == .udp else {
      refuse(.forbidden, because: "it asked for a network other than UDP, which is not served yet")
      return
    }
    guard let given = request.address, given.port != 0 else {
      refuse(.badRequest, because: "it gave no target")
      return
    }
    // GOST's own examples have targets such as `:8421`, which its client sends as an empty name: this host, by IPv4.
    let address = given.host.isEmpty ? HostPort(host: Self.thisHost, port: given.port) : given
    target = address
    state = .resolving
    handler.resolver.resolve(address.host, family: nil) { [weak self] result in self?.resolved(result, address) }
  }

  private func resolved(_ result: Result<[IPAddress], Resolver.Failure>, _ target: HostPort) {
    guard case .resolving = state else { return }
    let addresses: [IPAddress]
    switch result {
    case .success(let found): addresses = found
    case .failure(let failure):
      refuse(.hostUnreachable, because: "cannot resolve the target \(target.host): \(failure)")
      return
    }
    var last: SystemError?
    for address in addresses {
      do {
        let socket = try UDPSocket(
          loop: handler.loop, arena: handler.arena, to: Endpoint(address, port: target.port),
          options: handler.settings.options)
        join(socket, target)
        return
      } catch {
        last = error
      }
    }
    refuse(
      .networkUnreachable, because: "cannot reach the target \(target): \(last.map(\.description) ?? "no address")")
  }

  private func join(_ socket: UDPSocket, _ target: HostPort) {
    socket.handler = self
    state = .joined(socket)
    respond(.ok)
    report.leg(leg(of: socket, to: target))
    handler.log.debug(
      "relaying datagrams", ["client": stream.receipt.remote?.description ?? "unknown", "target": target])
    sendFrames(to: socket)
    stream.readLater()
  }

  private func respond(_ status: RelayStatus) {
    guard let bytes = RelayResponse(status: status).encode() else { return }
    bytes.withUnsafeBytes { _ = writer.write($0) }
  }

  /// Answers with the status, says why in our log and, where it can hear it, to the client.
  private func refuse(_ status: RelayStatus, because reason: String) {
    handler.refused &+= 1
    handler.complain("refused a client: \(reason)", from: stream.receipt.remote)
    report.failure(reason)
    respond(status)
    stream.finish()
    timer?.cancel()
    state = .closed
    // The answer has to reach the client before the stream goes: it ends when the client has closed its side, or soon.
    let linger = handler.loop.makeTimer { [weak self] in self?.end() }
    linger.arm(after: .seconds(1))
    timer = linger
  }

  private func sendFrames(to socket: UDPSocket) {
    while true {
      input.removeAll()
      let consumed = DatagramFraming.scan(&input, filled: filled)
      guard consumed > 0 else { return }
      send(to: socket)
      consume(consumed)
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
    if isFull || !backlog.isEmpty {
      backlog.add(batch)
      return
    }
    var index = 0
    while index < batch.count {
      frames.batch.removeAll()
      while index < batch.count, frames.batch.append(copying: UnsafeRawBufferPointer(batch[index])) { index += 1 }
      guard !frames.batch.isEmpty else { return }
      sendFrames()
    }
  }

  var lostWaiting: UInt64 { backlog.lost }

  /// Whether the client takes no more at the moment; it is told when it does again.
  private var isFull: Bool {
    if writer.pendingBytes > 0 { return true }
    guard let lane, lane.maximumLanePacket != nil else { return false }
    return lane.laneIsFull()
  }

  private func sendBacklog() {
    guard case .joined = state else { return }
    while !backlog.isEmpty, !isFull {
      frames.batch.removeAll()
      guard backlog.take(into: &frames.batch) else { return }
      sendFrames()
    }
  }

  /// Packets that fit leave on the lane if there is one, the others on the stream.
  private func sendFrames() {
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
    handler.complain("the target \(target?.description ?? "") answers: \(error)", from: stream.receipt.remote)
  }
}
