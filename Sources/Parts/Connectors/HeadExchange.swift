import LinuxIO
import Values

/// What the first bytes of an answer are.
public enum HeadDecoding<Message> {
  case needsMore
  case message(Message, consumed: Int)
  /// One sentence without a full stop.
  case wrong(String)
}

/// One request and one answer at the beginning of a stream, which is then somebody else's: the handshake of most
/// connectors, and the preface of a stream that a far port sends us.
///
/// The exchange keeps itself alive until it completes. It closes the stream when it fails, and gives back what it read
/// too far.
public final class HeadExchange<Message>: ByteStreamObserver {
  public typealias Outcome = Result<(message: Message, stream: any ByteStream), TransportFailure>

  private let loop: EventLoop
  private let stream: any ByteStream
  private let awaited: String
  private let decode: (UnsafeRawBufferPointer) -> HeadDecoding<Message>
  private var completion: ((Outcome) -> Void)?
  private var writer: StreamWriter
  private var input: [UInt8] = []
  private var timer: LoopTimer?
  private var keptAlive: HeadExchange?

  /// - Parameters:
  ///   - awaiting: what is waited for, for an error text: "a relay response".
  ///   - maximum: bytes that an answer may have.
  public static func start(
    loop: EventLoop, stream: any ByteStream, request: [UInt8], limit: TimeSpan, awaiting: String,
    maximum: Int = 64 * 1024,
    decode: @escaping (UnsafeRawBufferPointer) -> HeadDecoding<Message>,
    completion: @escaping (Outcome) -> Void
  ) {
    let exchange = HeadExchange(
      loop: loop, stream: stream, limit: limit, awaiting: awaiting, maximum: maximum, decode: decode,
      completion: completion)
    exchange.keptAlive = exchange
    stream.observer = exchange
    request.withUnsafeBytes { _ = exchange.writer.write($0) }
    stream.readLater()
  }

  private let maximum: Int

  private init(
    loop: EventLoop, stream: any ByteStream, limit: TimeSpan, awaiting: String, maximum: Int,
    decode: @escaping (UnsafeRawBufferPointer) -> HeadDecoding<Message>, completion: @escaping (Outcome) -> Void
  ) {
    self.loop = loop
    self.stream = stream
    awaited = awaiting
    self.maximum = maximum
    self.decode = decode
    self.completion = completion
    writer = StreamWriter(stream: stream)
    timer = loop.makeTimer { [weak self] in
      self?.fail(TransportFailure(.timeout, "\(awaiting) did not come within \(limit)"))
    }
    timer?.arm(after: limit)
  }

  public func streamReadable(_ stream: any ByteStream) {
    guard completion != nil else { return }
    let outcome = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer -> StreamRead in
      while true {
        let read = stream.read(into: buffer)
        guard case .bytes(let count) = read else { return read }
        input.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        if take() { return .blocked }
      }
    }
    switch outcome {
    case .bytes, .blocked: break
    case .end: fail(TransportFailure(.lost, "the other end closed the connection in place of \(awaited)"))
    case .failed(let failure): fail(failure)
    }
  }

  /// True when the exchange is over.
  private func take() -> Bool {
    switch input.withUnsafeBytes(decode) {
    case .needsMore:
      guard input.count < maximum else {
        fail(TransportFailure(.violation, "\(awaited) is longer than \(maximum) bytes"))
        return true
      }
      return false
    case .wrong(let reason):
      fail(TransportFailure(.violation, reason))
      return true
    case .message(let message, let consumed):
      let rest = input.withUnsafeBytes { bytes in
        PrefixedStream.wrap(loop: loop, stream, prefix: UnsafeRawBufferPointer(rebasing: bytes[consumed...]))
      }
      if rest === stream { stream.observer = nil }
      end()?(.success((message, rest)))
      return true
    }
  }

  private func end() -> ((Outcome) -> Void)? {
    defer { completion = nil }
    timer?.cancel()
    timer = nil
    keptAlive = nil
    return completion
  }

  private func fail(_ failure: TransportFailure) {
    guard let completion = end() else { return }
    stream.observer = nil
    stream.close()
    completion(.failure(failure))
  }

  public func streamWritable(_ stream: any ByteStream) { _ = writer.drain() }
  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }
}
