import LinuxIO
import TLSCodec
import Values

/// A layer that is put over a stream: TLS, WebSocket. The same value serves every connection of a dialer or listener.
public struct StreamUpgrade {
  /// For an error text: "TLS".
  public let name: String
  /// For the handshake, from the stream below being there; `nil` for the whole attempt's limit alone.
  public let handshakeTimeout: TimeSpan?
  /// Starts the handshake. The completion is called once, from the loop; the stream that is returned is what to close
  /// until then. A failure leaves nothing open.
  let start:
    (
      _ loop: EventLoop, _ below: any ByteStream,
      _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
    ) -> any ByteStream

  init(
    name: String, handshakeTimeout: TimeSpan? = nil,
    start:
      @escaping (
        EventLoop, any ByteStream, @escaping (Result<any ByteStream, TransportFailure>) -> Void
      ) -> any ByteStream
  ) {
    self.name = name
    self.handshakeTimeout = handshakeTimeout
    self.start = start
  }
}

/// What TLS needs to know on either side.
public struct TLSSecurity {
  public let credentials: TLSCredentials
  public let serverName: String?
  public let applicationProtocols: [String]
  /// From the standing connection on; `nil` for the attempt's own limit alone.
  public let handshakeTimeout: TimeSpan?

  public init(
    credentials: TLSCredentials, serverName: String?, applicationProtocols: [String],
    handshakeTimeout: TimeSpan? = nil
  ) {
    self.credentials = credentials
    self.serverName = serverName
    self.applicationProtocols = applicationProtocols
    self.handshakeTimeout = handshakeTimeout
  }
}

extension StreamUpgrade {
  /// TLS, as client or server as the credentials are.
  public static func tls(_ security: TLSSecurity) -> StreamUpgrade {
    StreamUpgrade(name: "TLS", handshakeTimeout: security.handshakeTimeout) { loop, below, completion in
      let pending = Pending()
      do {
        let stream = try TLSStream(
          loop: loop, below: below, credentials: security.credentials, serverName: security.serverName,
          applicationProtocols: security.applicationProtocols
        ) { failure in
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
        below.close()
        loop.later { completion(.failure(TransportFailure(.local, "\(error)"))) }
        return below
      }
    }
  }

  /// Ties a stream to its own completion, until that has run.
  final class Pending {
    var stream: (any ByteStream)?
  }
}
