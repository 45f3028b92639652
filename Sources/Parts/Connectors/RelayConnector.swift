import LinuxIO
import RecordedMachines
import RelayProtocol
import Smux
import Values

/// The connector `relay`: GOST's relay protocol, with the node's credentials if it wants any.
///
/// The request leaves at once and the response is read when it comes: a GOST server without `nodelay` sends it with the
/// target's first byte only, so that a client which waits for it can wait for ever (`RelayMessage`). The stream that is
/// given is therefore open before the node has said yes; a no ends it, with the node's reason.
public final class RelayConnector: Connector {
  private let loop: EventLoop
  private let credentials: (user: String, password: String)?
  private let muxSettings: SmuxSettings
  private let timeout: TimeSpan

  public init(
    loop: EventLoop, credentials: (user: String, password: String)?, mux: SmuxSettings = SmuxSettings(),
    timeout: TimeSpan = DialTiming.attempt
  ) {
    self.loop = loop
    self.credentials = credentials
    muxSettings = mux
    self.timeout = timeout
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

  public func associate(
    _ stream: any ByteStream, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    // What GOST's own client sends for datagrams without a target: a bind to no port.
    ask(stream, .udp, at: HostPort(host: "", port: 0)) { [loop] result in
      completion(
        result.map { answer in StreamAssociation(loop: loop, stream: answer.stream, legs: facts.legs) })
    }
  }

  public func bind(
    _ stream: any ByteStream, _ network: BindNetwork, at address: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {
    ask(stream, network, at: address) { [loop, muxSettings] result in
      completion(
        result.map { answer in
          switch network {
          case .tcp:
            RemotePort(
              loop: loop, over: answer.stream, address: answer.address ?? address, mux: muxSettings, legs: facts.legs,
              preface: { Self.preface(loop, $0) })
          case .udp:
            RemoteUDPPort(
              association: StreamAssociation(loop: loop, stream: answer.stream, legs: facts.legs),
              address: answer.address ?? address)
          }
        })
    }
  }

  /// Each stream of a bound port begins with a response that says who came.
  private static func preface(
    _ loop: EventLoop, _ stream: any ByteStream
  ) -> (UnsafeRawBufferPointer) -> HeadDecoding<HostPort?> {
    let decode = response(loop, stream)
    return { bytes in
      switch decode(bytes) {
      case .needsMore: .needsMore
      case .wrong(let reason): .wrong(reason)
      case .message(let response, let consumed):
        response.status == .ok
          ? .message(response.address, consumed: consumed) : .wrong("the relay says \(response.status)")
      }
    }
  }

  private static func response(
    _ loop: EventLoop, _ stream: any ByteStream
  ) -> (UnsafeRawBufferPointer) -> HeadDecoding<RelayResponse> {
    var decoder = RecordedDecoder(RelayResponseDecoder(), loop.recorder, about: stream.recordedName)
    return { bytes in
      do throws(RelayError) {
        switch try decoder.step(bytes) {
        case .needs: return .needsMore
        case .message(let response, let consumed): return .message(response, consumed: consumed)
        }
      } catch {
        return .wrong("the other end does not speak relay: \(error)")
      }
    }
  }

  private struct Answer {
    let stream: any ByteStream
    let address: HostPort?
  }

  /// Sends a bind and waits for the response, which here comes at once.
  private func ask(
    _ stream: any ByteStream, _ network: BindNetwork, at address: HostPort,
    _ completion: @escaping (Result<Answer, TransportFailure>) -> Void
  ) {
    // GOST's order: the network only for UDP binds without a target is behind the credentials; readers take any order.
    var features: [RelayFeature] = [.network(network == .udp ? .udp : .tcp)]
    if let credentials {
      features.append(.userAuth(user: Array(credentials.user.utf8), password: Array(credentials.password.utf8)))
    }
    features.append(.address(address))
    let request = RelayRequest(command: .bind, datagramFlag: network == .udp, features: features)
    guard let bytes = request.encode() else {
      tooLong(stream, completion)
      return
    }
    let loop = loop
    HeadExchange.start(
      loop: loop, stream: stream, request: bytes, limit: timeout, awaiting: "a relay response",
      decode: Self.response(loop, stream),
      completion: { result in
        switch result {
        case .failure(let failure): completion(.failure(failure))
        case .success(let (response, stream)):
          guard response.status == .ok else {
            stream.close()
            let hint = response.status == .forbidden ? " (a bind needs `bind: true` in the node's handler)" : ""
            completion(.failure(TransportFailure(.refused, "the relay refused: \(response.status)\(hint)")))
            return
          }
          completion(.success(Answer(stream: stream, address: response.address)))
        }
      })
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

/// A stream behind a relay's TCP connect: the request leaves in front (`PrefacedStream`), the response comes off the
/// front, and then it is transparent.
final class RelayClientStream: ByteStream, ByteStreamObserver {
  private let loop: EventLoop
  private let below: any ByteStream
  /// The response as far as it has come; `nil` once it was read.
  private var response: [UInt8]? = []
  private var decoder: RecordedDecoder<RelayResponseDecoder>
  /// What came behind the response.
  private var rest: [UInt8] = []
  private var restOffset = 0
  weak var observer: (any ByteStreamObserver)?

  init(loop: EventLoop, _ below: any ByteStream, request: [UInt8]) {
    self.loop = loop
    self.below = PrefacedStream(below, preface: request)
    decoder = RecordedDecoder(RelayResponseDecoder(), loop.recorder, about: below.recordedName)
    self.below.observer = self
  }

  var layers: [Layer] { below.layers }
  var receipt: Receipt { below.receipt }
  var roundTrip: TimeSpan? { below.roundTrip }
  var settled: any ByteStream { response == nil && rest.isEmpty ? below.settled : self }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    if response != nil, let outcome = readResponse(buffer) { return outcome }
    return rest.isEmpty ? below.read(into: buffer) : readRest(buffer)
  }

  /// `nil` when the response is complete. The reader's own buffer serves for the response as well.
  private func readResponse(_ buffer: UnsafeMutableRawBufferPointer) -> StreamRead? {
    while var bytes = response {
      switch below.read(into: buffer) {
      case .bytes(0), .blocked: return .blocked
      case .bytes(let count):
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
      case .end:
        return .failed(
          bytes.isEmpty
            ? TransportFailure(.refused, Self.notRelay)
            : TransportFailure(.lost, "the relay ended the connection before its response was complete"))
      case .failed(let failure):
        return .failed(failure.kind == .lost && bytes.isEmpty ? TransportFailure(.refused, Self.notRelay) : failure)
      }
      do {
        switch try bytes.withUnsafeBytes({ (raw) throws(RelayError) in try decoder.step(raw) }) {
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

  func write(_ bytes: UnsafeRawBufferPointer) -> Int { below.write(bytes) }
  func finish() { below.finish() }

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
  func streamWritable(_ stream: any ByteStream) { observer?.streamWritable(self) }
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { observer?.streamFailed(self, failure) }
}
