import CulvertLink
import LinuxIO
import QUICCodec
import RecordedMachines
import Values

/// A stream of a QUIC connection as a `ByteStream`.
final class QUICByteStream: ByteStream {
  let session: QUICSession
  let id: Int64
  private let loop: EventLoop
  private var isClosed = false
  private var didFinish = false
  weak var observer: (any ByteStreamObserver)?
  weak var laneObserver: (any DatagramLaneObserver)?

  init(session: QUICSession, id: Int64, loop: EventLoop) {
    self.session = session
    self.id = id
    self.loop = loop
  }

  var layers: [Layer] { session.layers }
  var receipt: Receipt { session.receipt }
  var roundTrip: TimeSpan? {
    session.connection.facts == nil ? nil : session.connection.statistics?.smoothedRTT
  }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    guard !isClosed else { return .failed(TransportFailure(.local, "closed")) }
    switch session.connection.read(id, into: buffer) {
    case .bytes(let count):
      // Reading grants the sender more to send, which has to be said.
      session.requestFlush()
      return .bytes(count)
    case .wouldBlock: return .blocked
    case .end: return .end
    case .reset:
      let reason = session.notice(for: id) ?? "the other end cut the stream short"
      return .failed(TransportFailure(.lost, reason))
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed else { return bytes.count }
    let taken = session.connection.write(id, bytes)
    if taken > 0 { session.requestFlush() }
    return taken
  }

  func readLater() {
    loop.later { [weak self] in
      guard let self, !self.isClosed else { return }
      self.observer?.streamReadable(self)
    }
  }

  func finish() {
    guard !isClosed, !didFinish else { return }
    didFinish = true
    session.connection.finish(id)
    session.requestFlush()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    if didFinish { session.connection.stopSending(id) } else { session.connection.abandon(id) }
    session.forget(id)
    session.requestFlush()
  }
}

/// The link of two Culverts on its stream: what the other end has told us.
final class QUICLink: ByteStreamObserver {
  private let stream: QUICByteStream
  private unowned let session: QUICSession
  private var writer: StreamWriter
  private var input: [UInt8] = []
  private var decoder: RecordedDecoder<LinkDecoder>
  private(set) var legs: [Int64: LegReport] = [:]
  private(set) var notices: [Int64: String] = [:]
  private(set) var peerName: String?

  /// What a peer may make us remember.
  private static let maximumReports = 4096

  init(stream: QUICByteStream, session: QUICSession) {
    self.stream = stream
    self.session = session
    writer = StreamWriter(stream: stream)
    decoder = RecordedDecoder(LinkDecoder(), session.recorder, about: stream.recordedName)
    stream.observer = self
    send(.hello(version: LinkMessage.version, name: "culvert"))
    streamReadable(stream)
  }

  func send(_ message: LinkMessage) {
    message.encode().withUnsafeBytes { _ = writer.write($0) }
  }

  func streamReadable(_ stream: any ByteStream) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
    defer { buffer.deallocate() }
    while case .bytes(let count) = stream.read(into: buffer) {
      input.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      do {
        guard case .message(let messages, let consumed) = try input.withUnsafeBytes({ try decoder.step($0) }) else {
          continue
        }
        input.removeFirst(consumed)
        for message in messages { take(message) }
      } catch {
        // A link that breaks its own protocol is left alone; the tunnels beside it go on.
        stream.close()
        return
      }
    }
  }

  private func take(_ message: LinkMessage) {
    switch message {
    case .hello(_, let name): peerName = name
    case .leg(let stream, let report):
      if legs.count < Self.maximumReports, let id = Int64(exactly: stream) { legs[id] = report }
    case .notice(let stream, let text):
      if notices.count < Self.maximumReports, let id = Int64(exactly: stream) { notices[id] = text }
    }
  }

  func streamWritable(_ stream: any ByteStream) { _ = writer.drain() }
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) {}
}
