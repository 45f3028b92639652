import LinuxIO
import ProxyProtocol
import RecordedMachines
import Values

/// Reads the PROXY header in front of accepted connections and hands them on behind it, with the client that the proxy
/// names.
///
/// Whoever can connect can claim any client, so the claim goes beside the stream and never into its receipt: it chooses
/// and is counted, it is no fact. Connections that are being read are bounded in number and in time.
public final class ProxyProtocolAcceptor {
  public enum Policy: Sendable {
    /// A connection without a header is refused.
    case required
    /// A connection without a header is its own client, as GOST has it. Who knows this can connect without the proxy;
    /// one whose client speaks only when spoken to waits for the deadline.
    case optional
  }

  public struct Accepted {
    public let stream: any ByteStream
    /// The client, by the proxy's word; `nil` when the proxy named none, or there was none.
    public let client: Endpoint?
  }

  public typealias Completion = (Result<Accepted, TransportFailure>) -> Void

  private let loop: EventLoop
  private let policy: Policy
  private let timeout: TimeSpan
  private let limit: Int
  private var readings: [ObjectIdentifier: Reading] = [:]

  /// - Parameters:
  ///   - timeout: for the whole header. GOST waits as long.
  ///   - limit: connections whose header is awaited; more are refused.
  public init(loop: EventLoop, policy: Policy, timeout: TimeSpan = .seconds(10), limit: Int = 512) {
    self.loop = loop
    self.policy = policy
    self.timeout = timeout
    self.limit = limit
  }

  deinit { close() }

  /// Connections whose header is awaited.
  public var pendingCount: Int { readings.count }

  /// Takes an accepted stream over. `completion` is called once, from the loop, unless the acceptor is closed before; a
  /// failure leaves nothing open.
  public func accept(_ stream: any ByteStream, _ completion: @escaping Completion) {
    guard readings.count < limit else {
      stream.close()
      loop.later {
        completion(.failure(TransportFailure(.local, "too many connections are waiting for their PROXY header")))
      }
      return
    }
    let reading = Reading(loop: loop, stream: stream, policy: policy)
    let key = ObjectIdentifier(reading)
    reading.completion = { [weak self] result in
      self?.readings[key] = nil
      completion(result)
    }
    readings[key] = reading
    reading.start(timeout: timeout)
  }

  public func close() {
    for reading in readings.values { reading.abandon() }
    readings = [:]
  }
}

/// One connection until its header has come.
private final class Reading: ByteStreamObserver {
  private let loop: EventLoop
  private let stream: any ByteStream
  private let policy: ProxyProtocolAcceptor.Policy
  private var input: [UInt8] = []
  private var decoder: RecordedDecoder<ProxyHeaderDecoder>
  private var timer: LoopTimer?
  var completion: ProxyProtocolAcceptor.Completion?

  init(loop: EventLoop, stream: any ByteStream, policy: ProxyProtocolAcceptor.Policy) {
    self.loop = loop
    self.stream = stream
    self.policy = policy
    decoder = RecordedDecoder(ProxyHeaderDecoder(), loop.recorder, about: stream.recordedName)
  }

  func start(timeout: TimeSpan) {
    timer = loop.makeTimer { [weak self] in self?.expire(timeout) }
    timer?.arm(after: timeout)
    stream.observer = self
    stream.readLater()
  }

  func streamReadable(_ stream: any ByteStream) {
    guard completion != nil else { return }
    // At most one header and one buffer are held: nothing is read once the header is decided.
    let read = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer -> StreamRead in
      while completion != nil {
        let read = stream.read(into: buffer)
        guard case .bytes(let count) = read else { return read }
        input.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        decide()
      }
      return .blocked
    }
    switch read {
    case .bytes, .blocked: break
    case .end:
      // What an optional header's connection has said may be all that it says.
      if policy == .optional, !input.isEmpty {
        hand(on: nil, consumed: 0)
      } else {
        fail(TransportFailure(.refused, "the connection ended before its PROXY header"))
      }
    case .failed(let failure): fail(failure)
    }
  }

  func streamWritable(_ stream: any ByteStream) {}

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  private func decide() {
    let result = input.withUnsafeBytes { bytes in
      Result { () throws(ProxyProtocolError) in try decoder.step(bytes) }
    }
    switch result {
    case .success(.needs): return
    case .success(.message(let header, let consumed)): hand(on: header.client, consumed: consumed)
    case .failure(.noHeader) where policy == .optional: hand(on: nil, consumed: 0)
    case .failure(let error): fail(TransportFailure(.violation, "\(error)"))
    }
  }

  private func expire(_ timeout: TimeSpan) {
    if policy == .optional {
      hand(on: nil, consumed: 0)
    } else {
      fail(TransportFailure(.timeout, "the PROXY header did not come within \(timeout)"))
    }
  }

  private func hand(on client: Endpoint?, consumed: Int) {
    guard let completion = end() else { return }
    stream.observer = nil
    let rest = input.withUnsafeBytes {
      PrefixedStream.wrap(loop: loop, stream, prefix: UnsafeRawBufferPointer(rebasing: $0[consumed...]))
    }
    completion(.success(ProxyProtocolAcceptor.Accepted(stream: rest, client: client)))
  }

  private func fail(_ failure: TransportFailure) {
    guard let completion = end() else { return }
    stream.close()
    completion(.failure(failure))
  }

  func abandon() {
    guard end() != nil else { return }
    stream.observer = nil
    stream.close()
  }

  private func end() -> ProxyProtocolAcceptor.Completion? {
    timer?.cancel()
    timer = nil
    defer { completion = nil }
    return completion
  }
}
