import LinuxIO
import RecordedMachines
import SOCKS
import Smux
import Values

/// The connector `socks5`: CONNECT, datagrams, and ports of the server.
///
/// TLS is offered unless it is switched off (`notls`), as GOST does: two GOSTs speak SOCKS5 inside TLS without being told
/// to. Datagrams take GOST's command 0xF3, which carries them on the same stream; `relay: udp` takes the standard's
/// UDP ASSOCIATE instead, for servers of other makes. A port of the server is GOST's command 0xF2: what connects there
/// comes as streams of smux.
public final class SOCKS5Connector: Connector {
  public struct Settings {
    public var credentials: (user: String, password: String)?
    /// `nil` for `notls`.
    public var tls: StreamUpgrade?
    /// `relay: udp`: datagrams by the standard's UDP ASSOCIATE.
    public var associatesByUDP: Bool
    /// Of the UDP socket for that.
    public var options: SocketOptions
    /// For the server's answers, the last of which comes when it has reached the target.
    public var timeout: TimeSpan
    /// Of the session that a port of the server becomes.
    public var mux: SmuxSettings

    public init(
      credentials: (user: String, password: String)? = nil, tls: StreamUpgrade?, associatesByUDP: Bool = false,
      options: SocketOptions = SocketOptions(), timeout: TimeSpan = DirectWay.defaultTimeout,
      mux: SmuxSettings = SmuxSettings()
    ) {
      self.credentials = credentials
      self.tls = tls
      self.associatesByUDP = associatesByUDP
      self.options = options
      self.timeout = timeout
      self.mux = mux
    }
  }

  private let loop: EventLoop
  private let arena: ReceiveArena
  private let settings: Settings

  public init(loop: EventLoop, arena: ReceiveArena, settings: Settings) {
    self.loop = loop
    self.arena = arena
    self.settings = settings
  }

  public var layer: Layer? { .socks5 }

  /// What a command for no target in particular names.
  private static let any = HostPort(host: "0.0.0.0", port: 0)

  public func connect(
    _ stream: any ByteStream, to target: HostPort,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    ask(stream, SOCKS5Request(.connect, target)) { result in completion(result.map(\.stream)) }
  }

  public func openDatagrams(
    _ stream: any ByteStream, to target: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    let loop = loop
    associate(stream, facts: facts) { result in
      completion(result.map { AssociationCarrier(loop: loop, association: $0, target: target) })
    }
  }

  public func associate(
    _ stream: any ByteStream, facts: RouteFacts,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    let loop = loop
    let command: SOCKS5Command = settings.associatesByUDP ? .associate : .datagramTunnel
    ask(stream, SOCKS5Request(command, Self.any)) { [arena, settings] result in
      switch result {
      case .failure(let failure): completion(.failure(failure))
      case .success(let (_, stream)) where command == .datagramTunnel:
        completion(.success(StreamAssociation(loop: loop, stream: stream, legs: facts.legs)))
      case .success(let (reply, stream)):
        do throws(TransportFailure) {
          completion(
            .success(
              try SOCKS5RelayAssociation(
                loop: loop, arena: arena, control: stream, relay: reply.address, options: settings.options,
                legs: facts.legs)))
        } catch {
          stream.close()
          completion(.failure(error))
        }
      }
    }
  }

  public func bind(
    _ stream: any ByteStream, _ network: BindNetwork, at address: HostPort, facts: RouteFacts,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {
    let command: SOCKS5Command = network == .tcp ? .muxBind : .datagramTunnel
    ask(stream, SOCKS5Request(command, address)) { [loop, settings] result in
      completion(
        result.map { reply, stream in
          switch network {
          case .tcp:
            RemotePort(
              loop: loop, over: stream, address: reply.address, mux: settings.mux, legs: facts.legs,
              preface: { Self.preface(loop, $0) })
          case .udp:
            RemoteUDPPort(
              association: StreamAssociation(loop: loop, stream: stream, legs: facts.legs), address: reply.address)
          }
        })
    }
  }

  /// Each stream of a bound port begins with a reply that says who came.
  private static func preface(
    _ loop: EventLoop, _ stream: any ByteStream
  ) -> (UnsafeRawBufferPointer) -> HeadDecoding<HostPort?> {
    var decoder = RecordedDecoder(SOCKS5ReplyDecoder(), loop.recorder, about: stream.recordedName)
    return { bytes in
      do throws(SOCKSError) {
        switch try decoder.step(bytes) {
        case .needs: return .needsMore
        case .message(let reply, let consumed):
          guard reply.status == .succeeded else { return .wrong("the SOCKS5 server says \(reply.status)") }
          return .message(reply.address, consumed: consumed)
        }
      } catch {
        return .wrong("the SOCKS5 server does not say who came: \(error)")
      }
    }
  }

  /// Speaks the handshake with a request.
  func ask(
    _ stream: any ByteStream, _ request: SOCKS5Request,
    _ completion: @escaping (SOCKS5Exchange.Outcome) -> Void
  ) {
    let credentials = settings.credentials.map {
      SOCKS5Credentials(user: Array($0.user.utf8), password: Array($0.password.utf8))
    }
    guard
      let client = RecordedSOCKS5Client(
        request: request, credentials: credentials, offersTLS: settings.tls != nil, loop.recorder,
        about: stream.recordedName)
    else {
      stream.observer = nil
      stream.close()
      loop.later {
        completion(
          .failure(TransportFailure(.local, "`\(request.address)` or the credentials cannot be said in SOCKS5")))
      }
      return
    }
    SOCKS5Exchange.start(
      loop: loop, stream: stream, client: client, tls: settings.tls, limit: settings.timeout, completion: completion)
  }
}
