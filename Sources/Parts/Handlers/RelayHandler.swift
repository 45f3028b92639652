import LinuxIO
import RecordedMachines
import RelayProtocol
import Smux
import Values

/// The handler `relay`: reads a request from each stream and does what it asks: joins the stream to a target, carries
/// datagrams to one target or to any, or opens a port of this host for the client.
///
/// The answer goes out as soon as the target stands, also where GOST would wait for the target's first byte: a client of
/// GOST reads it when it reads first, so that no mix of `nodelay` settings can hang (`RelayMessage`). With targets of
/// its own (a forwarder) the handler goes to those, whatever a client names, as GOST does.
public final class RelayHandler: StreamHandler {
  public struct Settings {
    /// Serve BIND requests.
    public var binds: Bool
    public var mux: SmuxSettings
    /// Of the sockets that are opened for clients.
    public var options: SocketOptions
    /// Fixed targets; `nil` where clients name theirs.
    public var targets: TargetGroup?

    public init(
      binds: Bool = false, mux: SmuxSettings = SmuxSettings(), options: SocketOptions = SocketOptions(),
      targets: TargetGroup? = nil
    ) {
      self.binds = binds
      self.mux = mux
      self.options = options
      self.targets = targets
    }
  }

  public let core: HandlerCore
  private let settings: Settings
  private var sessions: [ObjectIdentifier: any RelaySession] = [:]
  private var lostWithSessions: UInt64 = 0

  public init(core: HandlerCore, settings: Settings) {
    self.core = core
    self.settings = settings
  }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    let lane = stream as? any DatagramLane
    var decoder = RecordedDecoder(RelayRequestDecoder(), core.loop.recorder, about: stream.recordedName)
    HeadReader<RelayRequest>.start(
      core: core, stream: stream,
      decode: { bytes in
        do throws(RelayError) {
          switch try decoder.step(bytes) {
          case .needs: return .needsMore
          case .message(let request, let consumed): return .message(request, consumed: consumed)
          }
        } catch {
          return .wrong("it does not speak relay: \(error)")
        }
      },
      refuse: { [core] reason, stream in
        report.failure(reason)
        core.dismiss(stream, with: RelayResponse(status: .badRequest).encode() ?? [])
      },
      completion: { [weak self] request, stream in
        guard let self else {
          stream.close()
          return
        }
        self.serve(request, Client(stream: stream, lane: lane, report: report))
      })
  }

  /// Who asked.
  struct Client {
    let stream: any ByteStream
    let lane: (any DatagramLane)?
    let report: ClientReport
  }

  private func serve(_ request: RelayRequest, _ client: Client) {
    if let isAllowed = core.authenticator(for: client.stream) {
      let given = request.credentials
      guard isAllowed(given?.user ?? [], given?.password ?? []) else {
        refuse(client, .unauthorized, because: "it gave a wrong user or password, or none")
        return
      }
    }
    if let targets = settings.targets {
      forward(request, client, to: targets)
      return
    }
    switch (request.command, request.network) {
    case (.connect, .tcp), (RelayCommand(rawValue: 0), .tcp):
      guard let target = target(of: request, client) else { return }
      connect(client, to: target)
    case (.connect, .udp), (RelayCommand(rawValue: 0), .udp):
      guard let target = target(of: request, client) else { return }
      carry(client, to: target)
    case (.bind, .udp) where request.address?.port ?? 0 == 0, (.associate, .udp): associate(client)
    case (.bind, .tcp), (.bind, .udp):
      guard settings.binds else {
        refuse(
          client, .forbidden,
          because: "it asked for a port of this host, and `bind` is not set in the handler's metadata")
        return
      }
      bind(client, request.network == .udp ? .udp : .tcp, at: request.address ?? HostPort(host: "", port: 0))
    case (.connect, _), (.bind, _), (.associate, _):
      refuse(client, .forbidden, because: "it asked for a network other than TCP and UDP, which is not served yet")
    default: refuse(client, .badRequest, because: "it sent the unknown command \(request.command.rawValue)")
    }
  }

  /// GOST's own examples have targets such as `:8421`, which its client sends as an empty name: this host.
  private func target(of request: RelayRequest, _ client: Client) -> HostPort? {
    guard let target = request.address, target.port != 0 else {
      refuse(client, .badRequest, because: "it gave no target")
      return nil
    }
    return target
  }

  // MARK: Targets

  private func forward(_ request: RelayRequest, _ client: Client, to targets: TargetGroup) {
    if request.network == .udp {
      guard let index = targets.pick(for: client.stream.client, at: core.loop.now) else { return }
      carry(client, to: targets.targets[index].address)
      return
    }
    let waiting = WaitingClient(client.stream)
    core.connect(oneOf: targets, client: client.stream) { [weak self] result in
      self?.connected(client, waiting, result.map { routed, target in (routed, target.address) })
    }
  }

  private func connect(_ client: Client, to target: HostPort) {
    let waiting = WaitingClient(client.stream)
    core.connect(target, client: client.stream) { [weak self] result in
      self?.connected(client, waiting, result.map { ($0, target) })
    }
  }

  private func connected(
    _ client: Client, _ waiting: WaitingClient, _ result: Result<(RoutedStream, HostPort), TransportFailure>
  ) {
    guard let stream = waiting.take() else {
      if case .success(let (routed, _)) = result { routed.stream.close() }
      return
    }
    switch result {
    case .failure(let failure):
      client.report.failure(failure.reason)
      core.dismiss(stream, with: RelayResponse(status: RelayStatus(failure)).encode() ?? [])
    case .success(let (routed, target)):
      if let leg = routed.legs().first { client.report.leg(leg) }
      let answered = PrefacedStream(stream, preface: RelayResponse(status: .ok).encode() ?? [])
      core.join(answered, routed, layer: .relay, name: "relay to \(target)")
    }
  }

  // MARK: Datagrams

  private func carry(_ client: Client, to target: HostPort) {
    let session = RelayDatagramSession(core: core, client: client, target: target) { [weak self] in self?.ended($0) }
    keep(session)
    session.start()
  }

  private func associate(_ client: Client) {
    let session = RelayAssociationSession(core: core, client: client) { [weak self] in self?.ended($0) }
    keep(session)
    session.start()
  }

  private func bind(_ client: Client, _ network: BindNetwork, at address: HostPort) {
    let session = RelayBindSession(
      core: core, client: client, network: network, address: address, mux: settings.mux, options: settings.options
    ) { [weak self] in self?.ended($0) }
    keep(session)
    session.start()
  }

  private func keep(_ session: any RelaySession) { sessions[ObjectIdentifier(session)] = session }

  private func ended(_ session: any RelaySession) {
    guard sessions.removeValue(forKey: ObjectIdentifier(session)) != nil else { return }
    lostWithSessions &+= session.lost
  }

  // MARK: Ends

  private func refuse(_ client: Client, _ status: RelayStatus, because reason: String) {
    core.refuse(client, status, because: reason)
  }

  public var paths: [(name: String, path: Path)] { core.paths + sessions.values.flatMap(\.paths) }

  public var dropped: [(what: String, count: UInt64)] {
    let lost = sessions.values.reduce(lostWithSessions) { $0 &+ $1.lost }
    return core.dropped + (lost > 0 ? [("waited too long", lost)] : [])
  }

  public var standing: Int { core.standing + sessions.count }

  public func close() {
    let all = sessions.values
    sessions = [:]
    for session in all { session.close() }
    core.close()
  }
}

/// A client of a relay that is not simply joined to a target.
protocol RelaySession: AnyObject {
  var paths: [(name: String, path: Path)] { get }
  /// Datagrams that were dropped.
  var lost: UInt64 { get }
  func close()
}

extension HandlerCore {
  /// Answers with the status, says why in our log and, where it can hear it, to the client.
  func refuse(_ client: RelayHandler.Client, _ status: RelayStatus, because reason: String) {
    refused(reason, from: client.stream.client)
    client.report.failure(reason)
    dismiss(client.stream, with: RelayResponse(status: status).encode() ?? [])
  }
}

extension RelayStatus {
  /// What a client is told of a target that could not be reached.
  init(_ failure: TransportFailure) {
    switch failure.kind {
    case .forbidden, .permission: self = .forbidden
    case .timeout: self = .timeout
    case .refused, .lost: self = .hostUnreachable
    case .unreachable: self = .networkUnreachable
    case .violation, .local: self = .serviceUnavailable
    }
  }
}
