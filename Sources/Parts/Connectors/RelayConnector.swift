import LinuxIO
import RelayProtocol
import Values

/// The connector `relay`: GOST's relay protocol, with the node's credentials if it wants any.
///
/// The request leaves at once and the response is read when it comes: a GOST server without `nodelay` sends it with the
/// target's first byte only, so that a client which waits for it can wait for ever (`RelayMessage`). The stream that is
/// given is therefore open before the node has said yes; a no ends it, with the node's reason.
public final class RelayConnector: Connector {
  private let loop: EventLoop
  private let credentials: (user: String, password: String)?

  public init(
    loop: EventLoop, credentials: (user: String, password: String)?
  ) {
    self.loop = loop
    self.credentials = credentials
  }

  public var layer: Layer? { .relay }

  public func connect(
    _ stream: any ByteStream, to target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    guard let request = RelayRequest.connect(to: target, over: .tcp, credentials: credentials).encode() else {
      tooLong(stream, completion)
      return
    }
    let opened = RelayClientStream(loop: loop, stream, request: request)
    loop.later { completion(.success(opened)) }
  }

  public func openDatagrams(
    _ stream: any ByteStream, to target: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    guard let request = RelayRequest.connect(to: target, over: .udp, credentials: credentials).encode() else {
      tooLong(stream, completion)
      return
    }
    completion(
      .success(
        RelayDatagramCarrier(loop: loop, stream: stream, request: request, legs: facts.legs, notice: facts.notice)))
  }

  private func tooLong<Value>(
    _ stream: any ByteStream, _ completion: @escaping (Result<Value, TransportFailure>) -> Void
  ) {
    stream.close()
    loop.later {
      completion(.failure(TransportFailure(.local, "the target or the credentials are too long for relay")))
    }
  }
}

extension RelayResponse {
  /// The first address: what was bound, or who came.
  var address: HostPort? {
    for case .address(let address) in features { return address }
    return nil
  }
}

/// A stream behind a relay's TCP connect: sends the request in front, takes the response off the front, and is
/// transparent from then on.
final class RelayClientStream: ByteStream, ByteStreamObserver {
  private let loop: EventLoop
  private let below: any ByteStream
  private var request: StreamWriter?
  /// The response as far as it has come; `nil` once it was read.
  private var response: [UInt8]? = []
  /// What came behind the response.
  private var rest: [UInt8] = []
  private var restOffset = 0
  private var sawByte = false
  private var isFinishing = false
  weak var observer: (any ByteStreamObserver)?

  init(loop: EventLoop, _ below: any ByteStream, request: [UInt8]) {
    self.loop = loop
    self.below = below
    var writer = StreamWriter(stream: below)
    below.observer = self
    if !request.withUnsafeBytes({ writer.write($0) }) { self.request = writer }
  }

  var layers: [Layer] { below.layers }
  var receipt: Receipt { below.receipt }
  var roundTrip: TimeSpan? { below.roundTrip }
  var settled: any ByteStream { response == nil && rest.isEmpty && request == nil ? below.settled : self }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    if response != nil {
      if let outcome = readResponse(buffer) { return outcome }
    }
    guard rest.isEmpty else { return readRest(buffer) }
    let outcome = below.read(into: buffer)
    return outcome
  }

  /// `nil` when the response is complete.
  private func readResponse(_ buffer: UnsafeMutableRawBufferPointer) -> StreamRead? {
    while let soFar = response {
      // The reader's own buffer serves for the response as well.
      let count: Int
      switch below.read(into: buffer) {
      case .bytes(let read): count = read
      case .blocked: return .blocked
      case .end:
        return .failed(
          sawByte
            ? TransportFailure(.lost, "the relay ended the connection before its response was complete")
            : TransportFailure(.refused, Self.notRelay))
      case .failed(let failure):
        return .failed(failure.kind == .lost && !sawByte ? TransportFailure(.refused, Self.notRelay) : failure)
      }
      guard count > 0 else { return .blocked }
      sawByte = true
      var bytes = soFar
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
      do {
        switch try bytes.withUnsafeBytes({ (raw) throws(RelayError) in try RelayResponse.decode(raw) }) {
        case .needs: response = bytes
        case .message(let answer, let consumed):
          guard answer.status == .ok else {
            return .failed(TransportFailure(.refused, "the relay refused: \(answer.status)"))
          }
          response = nil
          rest = Array(bytes[consumed...])
        }
      } catch {
        return .failed(TransportFailure(.violation, "the other end does not speak relay: \(error)"))
      }
    }
    return nil
  }

  private static let notRelay = "the other end does not speak relay: it closed the connection without a byte"

  private func readRest(_ buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    let count = min(buffer.count, rest.count - restOffset)
    rest.withUnsafeBytes {
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[restOffset..<(restOffset + count)]))
    }
    restOffset += count
    if restOffset == rest.count { rest = [] }
    return .bytes(count)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    request == nil ? below.write(bytes) : 0
  }

  func finish() {
    isFinishing = true
    if request == nil { below.finish() }
  }

  func close() {
    below.observer = nil
    below.close()
  }

  func readLater() {
    guard !rest.isEmpty else {
      below.readLater()
      return
    }
    loop.later { [weak self] in
      guard let self else { return }
      self.observer?.streamReadable(self)
    }
  }

  func streamReadable(_ stream: any ByteStream) { observer?.streamReadable(self) }

  func streamWritable(_ stream: any ByteStream) {
    if var writer = request {
      guard writer.drain() else {
        request = writer
        return
      }
      request = nil
      if isFinishing { below.finish() }
    }
    observer?.streamWritable(self)
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { observer?.streamFailed(self, failure) }
}
