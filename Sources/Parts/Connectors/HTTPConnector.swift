import HTTPProxy
import LinuxIO
import RecordedMachines
import Values

/// The connector `http`: a tunnel by CONNECT, with credentials and fields of the user's own.
///
/// What comes behind the answer belongs to the target and is kept, also when it came in the same read: a server that
/// speaks first is heard. Datagrams go to a GOST or a Culvert that lets them: CONNECT with a field of GOST's, and behind
/// the answer the frames of `StreamAssociation`.
public final class HTTPConnector: Connector {
  public struct Settings {
    public var credentials: (user: String, password: String)?
    /// Fields of each request.
    public var headers: [(name: String, value: String)]
    /// For the proxy's answer, which comes when it has reached the target.
    public var timeout: TimeSpan

    public init(
      credentials: (user: String, password: String)? = nil, headers: [(name: String, value: String)] = [],
      timeout: TimeSpan = DirectWay.defaultTimeout
    ) {
      self.credentials = credentials
      self.headers = headers
      self.timeout = timeout
    }
  }

  private let loop: EventLoop
  private let settings: Settings

  public init(loop: EventLoop, settings: Settings) {
    self.loop = loop
    self.settings = settings
  }

  public var layer: Layer? { .http }

  public func connect(
    _ stream: any ByteStream, to target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    ask(stream, for: target, isForDatagrams: false, completion)
  }

  public func openDatagrams(
    _ stream: any ByteStream, to target: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    let loop = loop
    ask(stream, for: target, isForDatagrams: true) { result in
      completion(
        result.map { stream in
          AssociationCarrier(
            loop: loop, association: StreamAssociation(loop: loop, stream: stream, legs: facts.legs), target: target)
        })
    }
  }

  public func associate(
    _ stream: any ByteStream, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    let loop = loop
    // Each frame says where it goes; here something has to stand.
    ask(stream, for: HostPort(host: "0.0.0.0", port: 0), isForDatagrams: true) { result in
      completion(result.map { StreamAssociation(loop: loop, stream: $0, legs: facts.legs) })
    }
  }

  private func ask(
    _ stream: any ByteStream, for target: HostPort, isForDatagrams: Bool,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    guard
      let head = HTTPRequestHead.connect(
        to: target, credentials: settings.credentials, extra: settings.headers, isForDatagrams: isForDatagrams)
    else {
      stream.observer = nil
      stream.close()
      loop.later {
        completion(
          .failure(
            TransportFailure(
              .local, "`\(target)`, the credentials or a header cannot be written in a request of HTTP")))
      }
      return
    }
    var parser = RecordedDecoder(HTTPResponseDecoder(), loop.recorder, about: stream.recordedName)
    var offset = 0
    HeadExchange<HTTPResponseHead>.start(
      loop: loop, stream: stream, request: head.encode(), limit: settings.timeout,
      awaiting: "the HTTP proxy's answer", maximum: 2 * HTTPLimits.head,
      decode: { bytes in
        do {
          while true {
            switch try parser.step(UnsafeRawBufferPointer(rebasing: bytes[offset...])) {
            case .needs: return .needsMore
            case .message(let head, let consumed):
              offset += consumed
              // A word in between; the answer follows.
              if head.status < 200, head.status != 101 { continue }
              return .message(head, consumed: offset)
            }
          }
        } catch {
          return .wrong("the other end does not speak HTTP: \(error)")
        }
      },
      completion: { result in
        switch result {
        case .failure(let failure): completion(.failure(failure))
        case .success(let (head, stream)):
          guard (200..<300).contains(head.status) else {
            stream.close()
            completion(.failure(Self.failure(head)))
            return
          }
          completion(.success(stream))
        }
      })
  }

  private static func failure(_ head: HTTPResponseHead) -> TransportFailure {
    let text = "\(head.status) \(String(decoding: head.reason, as: UTF8.self))"
    return switch head.status {
    case 407: TransportFailure(.refused, "the HTTP proxy wants another user and password: \(text)")
    case 403: TransportFailure(.refused, "the HTTP proxy does not allow it: \(text)")
    // These speak of the target, or of the way there.
    case 502, 503, 504: TransportFailure(.unreachable, "the HTTP proxy cannot reach the target: \(text)")
    default: TransportFailure(.refused, "the HTTP proxy refused: \(text)")
    }
  }
}
