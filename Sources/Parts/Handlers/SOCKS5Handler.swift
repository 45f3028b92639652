import LinuxIO
import SOCKS
import Smux
import Values

/// The handler `socks5`: CONNECT, BIND, UDP ASSOCIATE and what GOST adds to them.
///
/// TLS is taken when a client offers it, as GOST does, unless it is switched off. Datagrams and ports of this host are
/// served where the file says so (`udp`, `bind`).
public final class SOCKS5Handler: StreamHandler {
  public struct Settings {
    /// `nil` for `notls`.
    public var tls: StreamUpgrade?
    /// Serve UDP ASSOCIATE and datagrams on the stream.
    public var carriesDatagrams: Bool
    /// Serve BIND in all its forms.
    public var binds: Bool
    /// `comp`: streams of a mux bind begin without saying who came, as GOST 2 has it.
    public var isCompatible: Bool
    /// What clients are told for this host's address, where it is not the one that they connected to.
    public var publicAddress: IPAddress?
    /// Of the UDP sockets towards clients; any port where there is none.
    public var datagramPorts: ClosedRange<UInt16>?
    public var mux: SmuxSettings
    /// Of the sockets that are opened for clients.
    public var options: SocketOptions

    public init(
      tls: StreamUpgrade?, carriesDatagrams: Bool = false, binds: Bool = false, isCompatible: Bool = false,
      publicAddress: IPAddress? = nil, datagramPorts: ClosedRange<UInt16>? = nil, mux: SmuxSettings = SmuxSettings(),
      options: SocketOptions = SocketOptions()
    ) {
      self.tls = tls
      self.carriesDatagrams = carriesDatagrams
      self.binds = binds
      self.isCompatible = isCompatible
      self.publicAddress = publicAddress
      self.datagramPorts = datagramPorts
      self.mux = mux
      self.options = options
    }
  }

  public let core: HandlerCore
  let settings: Settings
  private let keeper = SessionKeeper()

  public init(core: HandlerCore, settings: Settings) {
    self.core = core
    self.settings = settings
  }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    SOCKS5Greeter.start(core: core, stream: stream, tls: settings.tls, report: report) {
      [weak self] request, stream in
      guard let self else {
        stream.close()
        return
      }
      self.serve(request, Client(stream: stream, report: report))
    }
  }

  /// Who asked.
  struct Client {
    let stream: any ByteStream
    let report: ClientReport
  }

  private func serve(_ request: SOCKS5Request, _ client: Client) {
    switch request.command {
    case .connect: connect(client, to: request.address)
    case .associate:
      guard mayCarryDatagrams(client) else { return }
      associate(client) { [weak self] in self?.relay(client.stream, $0) }
    case .datagramTunnel where request.address.port == 0:
      guard mayCarryDatagrams(client) else { return }
      associate(client) { [weak self] far in self?.tunnel(client.stream, far, bound: nil) }
    case .datagramTunnel:
      guard mayBind(client) else { return }
      bindDatagrams(client, at: request.address)
    case .bind, .muxBind:
      guard mayBind(client) else { return }
      let session = SOCKS5BindSession(
        handler: self, client: client, at: request.address, isMuxed: request.command == .muxBind)
      keep(session)
      session.start()
    default: refuse(client, .commandNotSupported, "it asked for \(request.command), which is not served")
    }
  }

  private func mayCarryDatagrams(_ client: Client) -> Bool {
    if settings.carriesDatagrams { return true }
    refuse(client, .notAllowed, "it asked for UDP, and `udp` is not set in the handler's metadata")
    return false
  }

  private func mayBind(_ client: Client) -> Bool {
    if settings.binds { return true }
    refuse(client, .notAllowed, "it asked for a port of this host, and `bind` is not set in the handler's metadata")
    return false
  }

  // MARK: CONNECT

  private func connect(_ client: Client, to target: HostPort) {
    guard target.port != 0, !target.host.isEmpty else {
      refuse(client, .addressNotSupported, "it gave no target")
      return
    }
    let waiting = WaitingClient(client.stream)
    core.connect(target, client: client.stream) { [core] result in
      guard let stream = waiting.take() else {
        if case .success(let routed) = result { routed.stream.close() }
        return
      }
      switch result {
      case .failure(let failure):
        client.report.failure(failure.reason)
        core.dismiss(stream, with: SOCKS5Reply(SOCKS5Status(failure)).encode())
      case .success(let routed):
        if let own = routed.legs().first { client.report.leg(own) }
        core.join(
          PrefacedStream(stream, preface: SOCKS5Reply(.succeeded).encode()), routed, layer: .socks5,
          name: "socks5 to \(target)")
      }
    }
  }

  // MARK: Datagrams

  /// Opens an association of the way out, while the client waits.
  private func associate(_ client: Client, _ use: @escaping (any DatagramAssociation) -> Void) {
    let waiting = WaitingClient(client.stream)
    core.way.openAssociation(for: client.stream.client) { [weak self] result in
      guard let self, waiting.take() != nil else {
        if case .success(let association) = result { association.close() }
        client.stream.observer = nil
        client.stream.close()
        return
      }
      switch result {
      case .success(let far): use(far)
      case .failure(let failure):
        self.core.complain("cannot carry datagrams: \(failure)", from: client.stream.client)
        client.report.failure(failure.reason)
        self.core.dismiss(client.stream, with: SOCKS5Reply(SOCKS5Status(failure)).encode())
      }
    }
  }

  /// On the client's stream.
  private func tunnel(_ stream: any ByteStream, _ far: any DatagramAssociation, bound: HostPort?) {
    let reply = SOCKS5Reply(.succeeded, bound ?? HostPort(host: "0.0.0.0", port: 0))
    keep(
      AssociationSession(
        core: core, client: PrefacedStream(stream, preface: reply.encode()), layer: .socks5, far: far,
        name: bound.map { "datagrams at \($0)" } ?? "datagrams to any target"
      ) { [weak self] in self?.ended($0) })
  }

  /// By UDP beside the client's stream, which says how long.
  private func relay(_ stream: any ByteStream, _ far: any DatagramAssociation) {
    do throws(SystemError) {
      let near = try SOCKS5ServedAssociation(
        loop: core.loop, arena: core.arena, control: stream, ports: settings.datagramPorts, options: settings.options)
      let reply = SOCKS5Reply(.succeeded, named(near.port, stream))
      reply.encode().withUnsafeBytes { near.say($0) }
      keep(
        AssociationSession(
          core: core, client: stream, layer: .socks5, near: near, far: far, name: "datagrams to any target"
        ) { [weak self] in self?.ended($0) })
    } catch {
      far.close()
      core.complain("cannot open a UDP port for a client: \(error)", from: stream.client)
      core.dismiss(stream, with: SOCKS5Reply(.generalFailure).encode())
    }
  }

  private func bindDatagrams(_ client: Client, at address: HostPort) {
    guard let local = Self.endpoint(address) else {
      refuse(client, .addressNotSupported, "`\(address)` is no address of this host to listen on")
      return
    }
    do throws(SystemError) {
      let association = try BoundAssociation(
        loop: core.loop, arena: core.arena, at: local, options: settings.options, policy: core.settings.bindPolicy)
      let port = association.receipt.local?.port ?? local.port
      tunnel(client.stream, association, bound: named(port, client.stream))
    } catch {
      refuse(client, .generalFailure, "\(address) cannot be opened: \(error)")
    }
  }

  // MARK: Shared with the sessions

  /// A port of this host as the client is to call it: at the address that it came to, or what the file says.
  func named(_ port: UInt16, _ stream: any ByteStream) -> HostPort {
    let address = settings.publicAddress ?? stream.receipt.local?.address.canonical ?? .anyIPv4
    return HostPort(host: address.description, port: port)
  }

  /// Where a client wants to have a port. GOST's clients send `0.0.0.0` or nothing for every address.
  static func endpoint(_ address: HostPort) -> Endpoint? {
    if address.host.isEmpty || address.literal?.isUnspecified == true {
      return Endpoint(HostFamilies.any, port: address.port)
    }
    if let literal = address.literal { return Endpoint(literal, port: address.port) }
    return address.host == "localhost" ? Endpoint(.v4(0x7F00_0001), port: address.port) : nil
  }

  func refuse(_ client: Client, _ status: SOCKS5Status, _ reason: String) {
    core.refused(reason, from: client.stream.client)
    client.report.failure(reason)
    core.dismiss(client.stream, with: SOCKS5Reply(status).encode())
  }

  func keep(_ session: any ProxySession) { keeper.keep(session) }
  func ended(_ session: any ProxySession) { keeper.ended(session) }

  public var paths: [(name: String, path: Path)] { core.paths + keeper.paths }
  public var dropped: [(what: String, count: UInt64)] { core.dropped + keeper.dropped }
  public var standing: Int { core.standing + keeper.count }

  /// Without what the core knows, which others may share.
  var own: SessionKeeper { keeper }

  public func close() {
    keeper.close()
    core.close()
  }
}

extension SOCKS5Status {
  /// What a client is told of a target that could not be reached.
  init(_ failure: TransportFailure) {
    switch failure.kind {
    case .forbidden, .permission: self = .notAllowed
    case .refused: self = .connectionRefused
    case .timeout: self = .hostUnreachable
    case .unreachable: self = .networkUnreachable
    case .lost, .violation, .local: self = .generalFailure
    }
  }
}
