import CryptoPrimitives
import LinuxIO
import RecordedMachines
import TLSCodec
import Values
import WebSocket

/// What WebSocket needs to know on either side.
public struct WebSocketSettings {
  /// Not encoded. A server serves nothing else.
  public var path: String
  /// Further fields of the request, or of the answer. At a client, `Host` and `User-Agent` replace what stands there.
  public var headers: [(name: String, value: String)]
  /// Sends a ping as often as this and takes twice as long a silence for the end; `nil` for neither.
  public var keepalive: TimeSpan?
  /// From the standing connection on; `nil` for the attempt's own limit alone.
  public var handshakeTimeout: TimeSpan?

  public init(
    path: String = "/ws", headers: [(name: String, value: String)] = [], keepalive: TimeSpan? = nil,
    handshakeTimeout: TimeSpan? = nil
  ) {
    self.path = path
    self.headers = headers
    self.keepalive = keepalive
    self.handshakeTimeout = handshakeTimeout
  }

  fileprivate var fields: [WebSocketField] { headers.map { WebSocketField($0.name, $0.value) } }
}

/// WebSocket over a stream, itself a stream: binary messages whose borders mean nothing.
///
/// Bytes go through here once. What is written is masked while it is copied behind its header into the buffer that the
/// stream below is written from; what is read goes from below straight into the memory of whoever reads, where the
/// receiver takes out the headers and unmasks in place. So nothing is buffered on the way in, and how fast the other
/// end may send is decided by the stream below.
///
/// One direction ends as GOST ends it: between two frames the stream below is finished, and the other direction goes on.
/// A close frame would say the same in WebSocket's own words, but most who receive one, GOST's library among them, answer
/// it at once and then send nothing more, so that what was still on its way to us would be lost. It is the last word
/// instead: whoever ends the second direction sends one, and so does `close`. One that comes ends the other direction,
/// and ours goes on until its owner ends it (RFC 6455, section 5.5.1). An end in the middle of a frame is none: the
/// connection is lost.
public final class WebSocketStream: ByteStream, ByteStreamObserver {
  private let loop: EventLoop
  private let below: any ByteStream
  private let settings: WebSocketSettings
  private let role: WebSocketReceiver.Role
  public weak var observer: (any ByteStreamObserver)?

  // The handshake.
  private var client: RecordedWebSocketClient?
  private var server: RecordedWebSocketServer?
  private var completion: ((TransportFailure?) -> Void)?
  /// What has come of a head; behind it, until somebody reads them, the frames that came along.
  private var early: [UInt8] = []
  private var earlyOffset = 0

  // Frames.
  private var receiver: RecordedWebSocketReceiver
  private var masks = MaskKeys()
  private var output = FrameBuffer()
  /// What the last ping carried that was not answered yet.
  private var duePong: [UInt8]?
  private var isOpen = false
  private var isClosed = false
  private var belowEnded = false
  private var wroteShort = false
  /// Our direction ends behind what is in the output; no frame follows.
  private var finishing = false
  private var finishedBelow = false
  private var failure: TransportFailure?

  // Silence.
  private var keepalive: LoopTimer?
  private var lastHeard: Instant
  private var nextTick = Instant.distantFuture
  /// Below has bytes that the owner has not asked for: silence is ours, then.
  private var mayHaveUnread = true
  private var trimTimer: LoopTimer?
  private var wasUsed = false

  /// A stream that was quiet for this long gives its buffer back.
  private static let quiet = TimeSpan.seconds(1)
  /// Reads from below without any payload that one read may take: whoever sends nothing but headers and pings does not
  /// keep the loop from its other work.
  private static let emptyReads = 16

  /// Asks for a WebSocket. `completion` is called once, from the loop; a failure leaves nothing open.
  /// - Parameter host: what `Host` says: the node's name or address, with a port where it is not the usual one.
  public static func client(
    loop: EventLoop, below: any ByteStream, host: String, settings: WebSocketSettings,
    completion: @escaping (TransportFailure?) -> Void
  ) throws(TransportFailure) -> WebSocketStream {
    var nonce = [UInt8](repeating: 0, count: 16)
    guard nonce.withUnsafeMutableBytes(fillRandom) else { throw TransportFailure(.local, "no random bytes") }
    do throws(WebSocketError) {
      let handshake = try WebSocketAnswerDecoder(
        host: host, path: settings.path, headers: settings.fields, nonce: nonce, sha1: SHA1.digest)
      return WebSocketStream(
        loop: loop, below: below, settings: settings,
        client: RecordedWebSocketClient(handshake, loop.recorder, about: below.recordedName), server: nil,
        completion: completion)
    } catch { throw TransportFailure(.local, "WebSocket: \(error)") }
  }

  /// Waits for a client's request and answers it. `completion` is called once, from the loop. A client that asks for
  /// something else is told so in HTTP, and its connection ended.
  public static func server(
    loop: EventLoop, below: any ByteStream, settings: WebSocketSettings,
    completion: @escaping (TransportFailure?) -> Void
  ) throws(TransportFailure) -> WebSocketStream {
    do throws(WebSocketError) {
      let handshake = try WebSocketRequestDecoder(path: settings.path, headers: settings.fields, sha1: SHA1.digest)
      return WebSocketStream(
        loop: loop, below: below, settings: settings, client: nil,
        server: RecordedWebSocketServer(handshake, loop.recorder, about: below.recordedName), completion: completion)
    } catch { throw TransportFailure(.local, "WebSocket: \(error)") }
  }

  private init(
    loop: EventLoop, below: any ByteStream, settings: WebSocketSettings, client: RecordedWebSocketClient?,
    server: RecordedWebSocketServer?, completion: @escaping (TransportFailure?) -> Void
  ) {
    self.loop = loop
    self.below = below
    self.settings = settings
    self.client = client
    self.server = server
    self.completion = completion
    role = client != nil ? .client : .server
    receiver = RecordedWebSocketReceiver(role: role, loop.recorder, about: below.recordedName)
    lastHeard = loop.now
    below.observer = self
    loop.later { [weak self] in self?.begin() }
  }

  public var layers: [Layer] { below.layers + (isOpen ? [.webSocket] : []) }
  public var receipt: Receipt { below.receipt }
  public var roundTrip: TimeSpan? { below.roundTrip }
  public var claimedClient: Endpoint? { below.claimedClient }

  /// Whether it holds memory for bytes on their way out.
  var holdsBuffer: Bool { output.isRoomy }

  // MARK: The handshake

  private func begin() {
    guard !isClosed else { return }
    if let client { output.append(client.decoder.request) }
    flush()
    shake()
  }

  private func shake() {
    let read = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer -> StreamRead in
      while completion != nil, !isClosed {
        let read = below.read(into: buffer)
        guard case .bytes(let count) = read else { return read }
        early.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        takeHead()
      }
      return .blocked
    }
    switch read {
    case .bytes, .blocked: break
    case .end: fail(TransportFailure(.refused, "the other end closed without completing the WebSocket handshake"))
    case .failed(let failure): fail(failure)
    }
  }

  private func takeHead() {
    do throws(WebSocketError) {
      if client != nil {
        guard case .message(_, let consumed)? = try readAnswer() else { return }
        open(behind: consumed)
      } else {
        guard case .message(let accepted, let consumed)? = try readRequest() else { return }
        output.append(accepted.answer)
        open(behind: consumed)
      }
    } catch {
      refuse(error)
    }
  }

  private func readAnswer() throws(WebSocketError) -> HeadStep<[WebSocketField]>? {
    let result = early.withUnsafeBytes { bytes in
      Result { () throws(WebSocketError) in try client?.step(bytes) }
    }
    return try result.get()
  }

  private func readRequest() throws(WebSocketError) -> HeadStep<WebSocketAcceptance>? {
    let result = early.withUnsafeBytes { bytes in
      Result { () throws(WebSocketError) in try server?.step(bytes) }
    }
    return try result.get()
  }

  private func open(behind head: Int) {
    early = Array(early[head...])
    isOpen = true
    client = nil
    server = nil
    flush()
    lastHeard = loop.now
    if let span = settings.keepalive, span > .zero {
      let timer = loop.makeTimer { [weak self] in self?.tick() }
      nextTick = loop.now + span
      timer.arm(at: nextTick)
      keepalive = timer
    }
    let completion = completion
    self.completion = nil
    completion?(nil)
  }

  private func refuse(_ error: WebSocketError) {
    let failure = TransportFailure(.refused, "WebSocket: \(error)")
    let completion = completion
    self.completion = nil
    if server != nil, let words = WebSocketServerHandshake.refusal(for: error) {
      isClosed = true
      LingeringWrite.start(loop: loop, below, rest: words)
    } else {
      close()
    }
    completion?(failure)
  }

  // MARK: From below

  public func streamReadable(_ stream: any ByteStream) {
    guard !isClosed else { return }
    mayHaveUnread = true
    if isOpen { observer?.streamReadable(self) } else { shake() }
  }

  public func streamWritable(_ stream: any ByteStream) {
    guard !isClosed else { return }
    flush()
    guard isOpen, wroteShort, output.isEmpty else { return }
    wroteShort = false
    observer?.streamWritable(self)
  }

  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  private func flush() {
    repeat {
      while !output.isEmpty {
        let pending = output.pending
        let written = below.write(pending)
        output.consume(written)
        if written < pending.count { return }
      }
    } while writePong()
    if finishing, !finishedBelow {
      finishedBelow = true
      below.finish()
    }
  }

  private func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    let completion = completion
    self.completion = nil
    let observer = observer
    // Whatever the other end is told now, it does not hear.
    self.failure = failure
    close()
    if let completion { completion(failure) } else { observer?.streamFailed(self, failure) }
  }

  // MARK: To above

  public func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    guard !isClosed, isOpen else { return .failed(TransportFailure(.local, "closed")) }
    if let failure { return .failed(failure) }
    guard buffer.count > 0 else { return .bytes(0) }
    for _ in 0..<Self.emptyReads {
      if receiver.close != nil { return ended() }
      let count: Int
      if !early.isEmpty {
        count = takeEarly(into: buffer)
      } else {
        switch below.read(into: buffer) {
        case .bytes(let read): count = read
        case .blocked:
          mayHaveUnread = false
          return .blocked
        case .end:
          belowEnded = true
          guard receiver.isAtBoundary else {
            return broken(TransportFailure(.lost, "the connection ended in the middle of a WebSocket message"), nil)
          }
          return .end
        case .failed(let failure): return .failed(failure)
        }
      }
      lastHeard = loop.now
      do throws(WebSocketError) {
        let payload = try receiver.receive(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
        if let ping = receiver.takePing() {
          duePong = ping
          flush()
          noteUse()
        }
        if payload > 0 { return .bytes(payload) }
      } catch {
        return broken(TransportFailure(.violation, "WebSocket: \(error)"), .protocolError)
      }
    }
    readLater()
    return .blocked
  }

  private func takeEarly(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = min(buffer.count, early.count - earlyOffset)
    early.withUnsafeBytes {
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[earlyOffset..<(earlyOffset + count)]))
    }
    earlyOffset += count
    if earlyOffset == early.count {
      early = []
      earlyOffset = 0
    }
    return count
  }

  /// The other end has said that it is done; why, where something went wrong.
  private func ended() -> StreamRead {
    guard let close = receiver.close, let code = close.code, !code.isOrderly else { return .end }
    let words = String(decoding: close.reason.map { (0x20...0x7E).contains($0) ? $0 : 0x2E }, as: UTF8.self)
    let failure = TransportFailure(
      .lost, "WebSocket: it closed with \(code)\(words.isEmpty ? "" : ": \"\(words)\"")")
    self.failure = failure
    return .failed(failure)
  }

  /// Nothing more can be read; the other end is told so if there is something to tell.
  private func broken(_ failure: TransportFailure, _ code: WebSocketCloseCode?) -> StreamRead {
    if let code, !finishing {
      finishing = true
      writeClose(code)
      flush()
    }
    self.failure = failure
    return .failed(failure)
  }

  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed, isOpen, !finishing, failure == nil else { return bytes.count }
    defer { noteUse() }
    var written = 0
    flush()
    while written < bytes.count, output.isEmpty {
      let count = min(bytes.count &- written, WebSocketFrame.maximumPayload)
      writeFrame(.binary, UnsafeRawBufferPointer(rebasing: bytes[written..<(written &+ count)]))
      written &+= count
      flush()
    }
    if written < bytes.count { wroteShort = true }
    return written
  }

  private func writeFrame(_ kind: WebSocketFrame.Kind, _ payload: UnsafeRawBufferPointer) {
    let key = role == .client ? masks.next() : nil
    output.append(room: WebSocketFrame.headerSize(payload: payload.count, isMasked: key != nil) &+ payload.count) {
      WebSocketFrame.write(kind, payload, mask: key, into: $0)
    }
  }

  private func writeClose(_ code: WebSocketCloseCode) {
    let key = role == .client ? masks.next() : nil
    output.append(room: WebSocketFrame.maximumHeaderSize) { WebSocketFrame.writeClose(code, mask: key, into: $0) }
  }

  /// Answers the last ping as soon as there is room: while the other end reads nothing, its pings are not collected.
  private func writePong() -> Bool {
    guard let payload = duePong else { return false }
    duePong = nil
    guard !finishing else { return false }
    payload.withUnsafeBytes { writeFrame(.pong, $0) }
    return true
  }

  public func readLater() {
    mayHaveUnread = true
    guard early.isEmpty else {
      loop.later { [weak self] in
        guard let self, !self.isClosed else { return }
        self.observer?.streamReadable(self)
      }
      return
    }
    below.readLater()
  }

  public func finish() {
    guard !isClosed, isOpen, !finishing else { return }
    finishing = true
    if belowEnded || receiver.close != nil { writeClose(.normal) }
    flush()
    noteUse()
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    keepalive?.cancel()
    trimTimer?.cancel()
    completion = nil
    below.observer = nil
    let hasFinished = finishing
    if isOpen, failure == nil, !finishing {
      finishing = true
      writeClose(.normal)
    }
    if hasFinished, !output.isEmpty, failure == nil {
      // What was written before the end was asked for still belongs to the other end.
      LingeringWrite.start(loop: loop, below, rest: Array(output.pending))
    } else {
      if isOpen, !output.isEmpty { _ = below.write(output.pending) }
      below.close()
    }
  }

  // MARK: Time

  /// Pings, and the end of patience. Silence counts only while we listen: an owner that reads nothing hears nothing, and
  /// neither does a process that was stopped and comes late.
  private func tick() {
    guard !isClosed, let span = settings.keepalive else { return }
    // Nobody answers pings any more once one side has said that it is done.
    guard !finishing, !belowEnded, receiver.close == nil, failure == nil else { return }
    let isLate = loop.now - nextTick > TimeSpan(nanoseconds: span.nanoseconds / 2)
    if mayHaveUnread || isLate { lastHeard = loop.now }
    guard loop.now - lastHeard < span * 2 else {
      fail(TransportFailure(.timeout, "nothing came over the WebSocket for \(span * 2), not even answers to pings"))
      return
    }
    if output.isEmpty {
      writeFrame(.ping, UnsafeRawBufferPointer(start: nil, count: 0))
      flush()
    }
    nextTick = loop.now + span
    keepalive?.arm(at: nextTick)
  }

  /// Called at every use; the timer runs only while there is something to give back.
  private func noteUse() {
    wasUsed = true
    guard trimTimer == nil, output.isRoomy else { return }
    let timer = loop.makeTimer { [weak self] in self?.trimIfQuiet() }
    timer.arm(after: Self.quiet)
    trimTimer = timer
  }

  private func trimIfQuiet() {
    guard !isClosed else { return }
    if wasUsed || !output.isEmpty {
      wasUsed = false
      trimTimer?.arm(after: Self.quiet)
    } else {
      output.trim()
      trimTimer = nil
    }
  }
}

extension StreamUpgrade {
  /// WebSocket as a client of `host`.
  public static func webSocket(host: String, _ settings: WebSocketSettings) -> StreamUpgrade {
    webSocket(settings) { loop, below, completion throws(TransportFailure) in
      try WebSocketStream.client(loop: loop, below: below, host: host, settings: settings, completion: completion)
    }
  }

  /// WebSocket as a server.
  public static func webSocketServer(_ settings: WebSocketSettings) -> StreamUpgrade {
    webSocket(settings) { loop, below, completion throws(TransportFailure) in
      try WebSocketStream.server(loop: loop, below: below, settings: settings, completion: completion)
    }
  }

  private static func webSocket(
    _ settings: WebSocketSettings,
    _ make:
      @escaping (
        EventLoop, any ByteStream, @escaping (TransportFailure?) -> Void
      ) throws(TransportFailure) -> WebSocketStream
  ) -> StreamUpgrade {
    StreamUpgrade(name: "WebSocket", handshakeTimeout: settings.handshakeTimeout) { loop, below, completion in
      let pending = Pending()
      do throws(TransportFailure) {
        let stream = try make(loop, below) { failure in
          if let failure {
            completion(.failure(failure))
          } else if let stream = pending.stream {
            completion(.success(stream))
          }
          pending.stream = nil
        }
        pending.stream = stream
        return stream
      } catch {
        let failure = error
        below.close()
        loop.later { completion(.failure(failure)) }
        return below
      }
    }
  }
}

/// Keys for a client's frames, drawn from the library's generator sixteen at a time.
private struct MaskKeys {
  private var keys = SIMD16<UInt32>()
  private var left = 0

  mutating func next() -> UInt32 {
    if left == 0 {
      let isFilled = withUnsafeMutableBytes(of: &keys, fillRandom)
      var system = SystemRandomNumberGenerator()
      if !isFilled { for index in keys.indices { keys[index] = UInt32.random(in: 0 ... .max, using: &system) } }
      left = keys.scalarCount
    }
    left -= 1
    return keys[left]
  }
}
