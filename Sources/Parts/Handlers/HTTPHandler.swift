import HTTPProxy
import LinuxIO
import Values

/// The handler `http`: a proxy for CONNECT and for requests with an absolute URI.
///
/// A tunnel is joined to its target and forgotten (`HandlerCore.join`). A request for a resource goes to its own target
/// on a connection of its own, whatever the one before asked for, and the client's connection lives on for the next
/// (`HTTPSession`). What goes on is written anew from what was understood (`HTTPProxy`), so that nothing a client sends
/// reaches a target as a second request.
public final class HTTPHandler: StreamHandler {
  public struct Settings {
    /// Serve datagrams to a client that asks for them in GOST's way.
    public var carriesDatagrams: Bool
    /// What a client is asked to log in to.
    public var realm: String
    /// Fields of every answer of ours.
    public var headers: [(name: String, value: String)]
    /// Between a client's requests on one connection.
    public var idleTimeout: TimeSpan

    public init(
      carriesDatagrams: Bool = false, realm: String = "gost", headers: [(name: String, value: String)] = [],
      idleTimeout: TimeSpan = .seconds(60)
    ) {
      self.carriesDatagrams = carriesDatagrams
      self.realm = realm
      self.headers = headers
      self.idleTimeout = idleTimeout
    }
  }

  public let core: HandlerCore
  let settings: Settings
  private let keeper = SessionKeeper()

  public init(core: HandlerCore, settings: Settings = Settings()) {
    self.core = core
    self.settings = settings
  }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    let session = HTTPSession(handler: self, stream: stream, report: report)
    keep(session)
    session.start()
  }

  func keep(_ session: any ProxySession) { keeper.keep(session) }
  func ended(_ session: any ProxySession) { keeper.ended(session) }

  public var paths: [(name: String, path: Path)] { core.paths + keeper.paths }
  public var dropped: [(what: String, count: UInt64)] { core.dropped + keeper.dropped }
  public var standing: Int { core.standing + keeper.count }

  /// Without what the core knows, which others may share.
  var own: SessionKeeper { keeper }

  /// For who speaks neither HTTP nor anything else that is served.
  static let notUnderstood = HTTPResponseHead.answer(
    400, "this is a proxy, and that is no request for one", isLast: true)

  public func close() {
    keeper.close()
    core.close()
  }
}

/// A client that is served by more than two joined streams.
protocol ProxySession: AnyObject {
  var paths: [(name: String, path: Path)] { get }
  /// Datagrams that were dropped.
  var lost: UInt64 { get }
  func close()
}

/// The sessions of a handler, kept alive until they end.
final class SessionKeeper {
  private var sessions: [ObjectIdentifier: any ProxySession] = [:]
  private var lostBefore: UInt64 = 0

  func keep(_ session: any ProxySession) { sessions[ObjectIdentifier(session)] = session }

  func ended(_ session: any ProxySession) {
    guard sessions.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
    lostBefore &+= session.lost
  }

  var count: Int { sessions.count }

  var paths: [(name: String, path: Path)] { sessions.values.flatMap(\.paths) }

  var dropped: [(what: String, count: UInt64)] {
    let lost = sessions.values.reduce(lostBefore) { $0 &+ $1.lost }
    return lost > 0 ? [("datagrams of clients", lost)] : []
  }

  func close() {
    let all = sessions.values
    sessions = [:]
    for session in all { session.close() }
  }
}

extension Leg {
  /// The leg of a client's stream, as far as our own socket saw it.
  init(client stream: any ByteStream, speaking layer: Layer, traffic: Traffic? = nil) {
    let receipt = stream.receipt
    self.init(
      from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact,
      transport: stream.layers + [layer], traffic: traffic, roundTrip: stream.roundTrip)
  }
}
