import LinuxIO
import RecordedMachines
import SOCKS
import Values

/// A client's handshake with a SOCKS5 server: method, TLS if it comes to that, credentials, request, reply.
///
/// It keeps itself alive until it completes, closes the stream when it fails, and gives back what it read too far.
final class SOCKS5Exchange: ByteStreamObserver {
  typealias Outcome = Result<(reply: SOCKS5Reply, stream: any ByteStream), TransportFailure>

  private let loop: EventLoop
  private let tls: StreamUpgrade?
  private var client: RecordedSOCKS5Client
  /// What to close when it fails, TLS included.
  private var stream: any ByteStream
  private var writer: StreamWriter
  private var isSecuring = false
  private var input: [UInt8] = []
  private var timer: LoopTimer?
  private var completion: ((Outcome) -> Void)?
  private var keptAlive: SOCKS5Exchange?

  /// - Parameter client: offers TLS only if there is one.
  static func start(
    loop: EventLoop, stream: any ByteStream, client: RecordedSOCKS5Client, tls: StreamUpgrade?, limit: TimeSpan,
    completion: @escaping (Outcome) -> Void
  ) {
    let exchange = SOCKS5Exchange(loop: loop, stream: stream, client: client, tls: tls, completion: completion)
    exchange.keptAlive = exchange
    exchange.timer = loop.makeTimer { [weak exchange] in
      exchange?.fail(TransportFailure(.timeout, "the SOCKS5 server's answer did not come within \(limit)"))
    }
    exchange.timer?.arm(after: limit)
    stream.observer = exchange
    exchange.send(client.greeting)
    stream.readLater()
  }

  private init(
    loop: EventLoop, stream: any ByteStream, client: RecordedSOCKS5Client, tls: StreamUpgrade?,
    completion: @escaping (Outcome) -> Void
  ) {
    self.loop = loop
    self.stream = stream
    self.client = client
    self.tls = tls
    self.completion = completion
    writer = StreamWriter(stream: stream)
  }

  func streamReadable(_ stream: any ByteStream) {
    guard completion != nil, !isSecuring else { return }
    let outcome = withUnsafeTemporaryAllocation(byteCount: 2048, alignment: 16) { buffer -> StreamRead in
      while true {
        let read = stream.read(into: buffer)
        guard case .bytes(let count) = read else { return read }
        input.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        if advance() { return .blocked }
      }
    }
    switch outcome {
    case .bytes, .blocked: break
    case .end: fail(TransportFailure(.lost, "the SOCKS5 server closed the connection in place of an answer"))
    case .failed(let failure): fail(failure)
    }
  }

  /// True when nothing more is to be read for now.
  private func advance() -> Bool {
    while completion != nil {
      let step: SOCKS5Client.Step
      do {
        let (next, consumed) = try input.withUnsafeBytes { try client.step($0) }
        step = next
        input.removeFirst(consumed)
      } catch {
        fail(TransportFailure(.violation, "the other end does not speak SOCKS5: \(error)"))
        return true
      }
      switch step {
      case .needs: return false
      case .send(let bytes): send(bytes)
      case .startTLS:
        secure()
        return true
      case .failed(let failure):
        fail(TransportFailure(.refused, "\(failure)"))
        return true
      case .reply(let reply):
        finish(reply)
        return true
      }
    }
    return true
  }

  private func send(_ bytes: [UInt8]) { bytes.withUnsafeBytes { _ = writer.write($0) } }

  private func secure() {
    guard let tls else {
      fail(TransportFailure(.violation, "the SOCKS5 server wants TLS, which was not offered"))
      return
    }
    isSecuring = true
    stream.observer = nil
    let below = leftover()
    stream = tls.start(loop, below) { result in
      // Held here until TLS has answered: what is alive only by its timer would go with it.
      self.secured(result)
    }
  }

  private func secured(_ result: Result<any ByteStream, TransportFailure>) {
    guard completion != nil else {
      if case .success(let stream) = result { stream.close() }
      return
    }
    switch result {
    case .failure(let failure): fail(failure)
    case .success(let secured):
      isSecuring = false
      stream = secured
      writer = StreamWriter(stream: secured)
      secured.observer = self
      send(client.secured())
      secured.readLater()
    }
  }

  /// The stream with what was read too far in front.
  private func leftover() -> any ByteStream {
    defer { input = [] }
    return input.withUnsafeBytes { PrefixedStream.wrap(loop: loop, stream, prefix: $0) }
  }

  private func finish(_ reply: SOCKS5Reply) {
    guard reply.status == .succeeded else {
      fail(TransportFailure(reply.status))
      return
    }
    guard let completion = end() else { return }
    stream.observer = nil
    completion(.success((reply, leftover())))
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

  func streamWritable(_ stream: any ByteStream) { _ = writer.drain() }
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }
}

extension TransportFailure {
  /// What a SOCKS5 server says of a request that it did not grant. None of it blames the server: it answered.
  init(_ status: SOCKS5Status) {
    switch status {
    case .networkUnreachable, .hostUnreachable, .timeToLiveExpired:
      self.init(.unreachable, "the SOCKS5 server cannot reach the target: \(status)")
    default: self.init(.refused, "the SOCKS5 server refused: \(status)")
    }
  }
}
