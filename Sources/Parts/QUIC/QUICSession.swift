import CulvertLink
import LinuxIO
import QUICCodec
import Recording
import Values

/// One QUIC connection's streams, whoever drives the machine: a client's own driver, or the server's for all of them.
///
/// With `culvert/1` the client's first stream is the link (`CulvertLink`), which this class reads and writes itself.
final class QUICSession {
  let connection: QUICConnection
  private let loop: EventLoop
  private let socket: any DatagramSocket
  private let requestFlushOfDriver: () -> Void
  private var streams: [Int64: QUICByteStream] = [:]
  private var link: QUICLink?
  private(set) var isOver = false
  /// What came on the lane for one stream, on its way up; made with the first datagram.
  private var laneBatch: PacketBatchBox?
  /// Datagrams that belonged to no stream.
  private(set) var strayDatagrams: UInt64 = 0
  /// The last packet's receipt, or the socket's before there was one.
  var receipt: Receipt

  var connected: (() -> Void)?
  var streamArrived: ((QUICByteStream) -> Void)?
  var closed: ((QUICCloseReason) -> Void)?
  /// After an `openStream` that failed with `.streamLimit`: another try may succeed.
  var streamsAvailable: (() -> Void)?

  init(
    loop: EventLoop, socket: any DatagramSocket, connection: QUICConnection, requestFlush: @escaping () -> Void
  ) {
    self.loop = loop
    self.socket = socket
    self.connection = connection
    requestFlushOfDriver = requestFlush
    receipt = socket.receipt
  }

  var isCulvert: Bool { connection.facts?.applicationProtocol == LinkMessage.applicationProtocol }

  var layers: [Layer] {
    let below = socket.layer(for: connection.remoteEndpoint)
    guard let facts = connection.facts else { return [below] }
    return [below, .quic(version: facts.version, applicationProtocol: facts.applicationProtocol), .tls(facts.tls)]
  }

  func requestFlush() { requestFlushOfDriver() }

  var recorder: Recorder? { loop.recorder }

  func handle(_ event: QUICEvent) {
    switch event {
    case .connected:
      note("connected")
      if isCulvert, connection.isClient { openLink() }
      connected?()
    case .streamOpened(let id):
      // The link is stream 0, whichever stream the first packet mentions first.
      if isCulvert, !connection.isClient, id == 0 {
        link = QUICLink(stream: makeStream(id), session: self)
      } else {
        streamArrived?(makeStream(id))
      }
    case .streamReadable(let id), .streamReset(let id, _):
      if let stream = streams[id] { stream.observer?.streamReadable(stream) }
    case .streamWritable(let id), .streamStopped(let id):
      if let stream = streams[id] { stream.observer?.streamWritable(stream) }
    case .streamClosed(let id): streams[id] = nil
    case .datagramReadable: readLane()
    case .datagramsSendable:
      for stream in streams.values { stream.laneObserver?.laneWritable() }
    case .streamsAvailable: streamsAvailable?()
    case .pathChanged: break
    case .closed(let reason): end(reason)
    }
  }

  /// The library has its own randomness and is not run again: a recording has what it says to us.
  private func note(_ event: String) {
    recorder?.note("quic") { line in
      line.text("event", event)
      line.text("side", connection.isClient ? "client" : "server")
      line.text("remote", "\(connection.remoteEndpoint)")
      if let facts = connection.facts {
        line.number("version", facts.version)
        line.text("alpn", facts.applicationProtocol)
      }
    }
  }

  private func end(_ reason: QUICCloseReason) {
    guard !isOver else { return }
    isOver = true
    note("\(reason)")
    let failure = TransportFailure(reason)
    let open = streams
    streams = [:]
    for stream in open.values { stream.observer?.streamFailed(stream, failure) }
    closed?(reason)
  }

  // MARK: Streams

  func openStream() throws(QUICError) -> QUICByteStream { makeStream(try connection.openStream()) }

  private func makeStream(_ id: Int64) -> QUICByteStream {
    let stream = QUICByteStream(session: self, id: id, loop: loop)
    streams[id] = stream
    return stream
  }

  func forget(_ id: Int64) { streams[id] = nil }

  // MARK: The lane

  /// Hands up what waits, as batches of one stream each.
  private func readLane() {
    let box = laneBatch ?? PacketBatchBox(capacity: 192 * 1024, maximumCount: 256, headroom: 0)
    laneBatch = box
    box.batch.removeAll()
    var current: Int64 = -1
    while !isOver, let frame = connection.peekDatagram() {
      guard let (id, packet) = QUICByteStream.splitFrame(frame), streams[id]?.laneObserver != nil else {
        strayDatagrams &+= 1
        connection.dropDatagram()
        continue
      }
      if id != current || !box.batch.append(copying: packet) {
        deliver(box, to: current)
        current = id
        _ = box.batch.append(copying: packet)
      }
      connection.dropDatagram()
    }
    deliver(box, to: current)
  }

  private func deliver(_ box: PacketBatchBox, to id: Int64) {
    if !box.batch.isEmpty { streams[id]?.laneObserver?.laneReceived(&box.batch) }
    box.batch.removeAll()
  }

  // MARK: The link

  private func openLink() {
    guard let stream = try? openStream() else { return }
    link = QUICLink(stream: stream, session: self)
  }

  func tell(_ message: LinkMessage) { link?.send(message) }
  func report(for stream: Int64) -> LegReport? { link?.legs[stream] }
  func notice(for stream: Int64) -> String? { link?.notices[stream] }

  /// Ends all streams for their owners, each in a turn of the loop of its own.
  func failStreams(_ failure: TransportFailure) {
    for stream in streams.values {
      loop.later { stream.observer?.streamFailed(stream, failure) }
    }
  }

  /// Says goodbye if that is still possible, and tells nobody here.
  func close(reason: String = "") {
    connected = nil
    streamArrived = nil
    closed = nil
    streamsAvailable = nil
    streams = [:]
    guard !isOver else { return }
    isOver = true
    connection.close(code: 0, reason: reason, at: loop.now)
    requestFlush()
  }
}

extension TransportFailure {
  init(_ reason: QUICCloseReason) {
    let kind: Kind =
      switch reason.blame {
      case .peer: .refused
      case .network: .timeout
      default: reason.isClean ? .lost : .violation
      }
    self.init(kind, "\(reason)")
  }
}
