import LinuxIO
import RelayProtocol
import Smux
import Values

/// A port of this host that a client of a relay asked for: what comes to it goes to the client, as long as its
/// connection stands.
///
/// For TCP the client's connection becomes a mux session of which we are the client, since we open the streams: one for
/// each connection that comes, beginning with a response that says who came. For UDP each datagram is framed with its
/// source.
final class RelayBindSession: RelaySession, ByteStreamObserver {
  private let core: HandlerCore
  private let client: RelayHandler.Client
  private let network: BindNetwork
  private let asked: HostPort
  private let mux: SmuxSettings
  private let options: SocketOptions
  private let ended: (RelayBindSession) -> Void
  private var listener: TCPListener?
  private var session: MuxSession?
  private var joint: AssociationJoint?
  private var bound: Receipt?
  private var isOver = false
  private let since: Instant

  init(
    core: HandlerCore, client: RelayHandler.Client, network: BindNetwork, address: HostPort, mux: SmuxSettings,
    options: SocketOptions, ended: @escaping (RelayBindSession) -> Void
  ) {
    self.core = core
    self.client = client
    self.network = network
    asked = address
    self.mux = mux
    self.options = options
    self.ended = ended
    since = core.loop.now
  }

  func start() {
    client.stream.observer = self
    guard let local = Self.endpoint(asked) else {
      refuse("`\(asked)` is no address of this host to listen on", .badRequest)
      return
    }
    do throws(SystemError) {
      switch network {
      case .tcp:
        let listener = try TCPListener(loop: core.loop, at: local, options: options) { [weak self] in
          self?.arrived($0)
        }
        self.listener = listener
        bound = listener.receipt
      case .udp:
        let association = try BoundAssociation(
          loop: core.loop, arena: core.arena, at: local, options: options, policy: core.settings.bindPolicy)
        bound = association.receipt
        answer()
        joint = AssociationJoint(
          StreamAssociation(loop: core.loop, stream: client.stream, legs: { [] }), association
        ) { [weak self] in self?.end() }
        return
      }
    } catch {
      refuse("\(asked) cannot be opened: \(error)", .serviceUnavailable)
      return
    }
    answer()
    let stream = client.stream
    session = MuxSession(
      loop: core.loop, below: stream, side: .client, settings: mux, accept: nil,
      closed: { [weak self] _ in self?.end() })
    core.log.info(
      "a client opened a port",
      ["client": stream.client?.description ?? "unknown", "port": bound?.local?.description ?? ""])
  }

  /// GOST's clients send `0.0.0.0` or nothing for every address, and one version a doubled colon.
  private static func endpoint(_ address: HostPort) -> Endpoint? {
    if address.host.isEmpty { return Endpoint(HostFamilies.any, port: address.port) }
    if let literal = address.literal { return Endpoint(literal, port: address.port) }
    if address.host == "localhost" { return Endpoint(.v4(0x7f00_0001), port: address.port) }
    return nil
  }

  private func answer() {
    var features: [RelayFeature] = []
    if let local = bound?.local {
      features.append(.address(HostPort(host: local.address.description, port: local.port)))
    }
    guard let bytes = RelayResponse(status: .ok, features: features).encode() else { return }
    // The stream is empty, so that so few bytes fit.
    bytes.withUnsafeBytes { _ = client.stream.write($0) }
  }

  private func refuse(_ reason: String, _ status: RelayStatus) {
    isOver = true
    core.refuse(client, status, because: reason)
    ended(self)
  }

  /// A connection came to the port.
  private func arrived(_ stream: TCPStream) {
    guard let session, let upstream = session.openStream() else {
      stream.close()
      return
    }
    var features: [RelayFeature] = []
    if let peer = stream.client {
      features.append(.address(HostPort(host: peer.address.canonical.description, port: peer.port)))
    }
    let preface = RelayResponse(status: .ok, features: features).encode() ?? []
    let port = bound?.local?.description ?? "\(asked)"
    let client = client
    core.join(
      stream,
      RoutedStream(stream: PrefacedStream(upstream, preface: preface)) {
        let receipt = client.stream.receipt
        return [
          Leg(
            from: .us, to: .client, local: receipt.localFact, remote: receipt.remoteFact,
            transport: upstream.layers, roundTrip: upstream.roundTrip)
        ]
      }, layer: nil, name: "bind \(port)")
  }

  var paths: [(name: String, path: Path)] {
    guard let bound else { return [] }
    let receipt = client.stream.receipt
    let leg = Leg(
      from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact,
      transport: client.stream.layers + [.relay], roundTrip: client.stream.roundTrip)
    return [("bind \(bound.local?.description ?? "\(asked)")", Path(legs: [leg], since: since))]
  }

  var lost: UInt64 { 0 }

  func close() {
    guard !isOver else { return }
    isOver = true
    listener?.close()
    listener = nil
    joint?.close()
    session?.close()
    if session == nil, joint == nil {
      client.stream.observer = nil
      client.stream.close()
    }
    session = nil
    joint = nil
  }

  private func end() {
    guard !isOver else { return }
    close()
    ended(self)
  }

  func streamReadable(_ stream: any ByteStream) {}
  func streamWritable(_ stream: any ByteStream) {}
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }
}

/// A client of a relay that sends datagrams to any target.
final class RelayAssociationSession: RelaySession {
  private let core: HandlerCore
  private let client: RelayHandler.Client
  private let ended: (RelayAssociationSession) -> Void
  private var joint: AssociationJoint?
  private var far: (any DatagramAssociation)?
  private var waiting: WaitingClient?
  private var isOver = false
  private let since: Instant

  init(core: HandlerCore, client: RelayHandler.Client, ended: @escaping (RelayAssociationSession) -> Void) {
    self.core = core
    self.client = client
    self.ended = ended
    since = core.loop.now
  }

  func start() {
    let waiting = WaitingClient(client.stream)
    self.waiting = waiting
    core.way.openAssociation(for: client.stream.client) { [weak self] result in
      guard let self, !self.isOver, let stream = waiting.take() else {
        if case .success(let association) = result { association.close() }
        self?.end()
        return
      }
      switch result {
      case .failure(let failure):
        self.isOver = true
        self.core.refuse(self.client, RelayStatus(failure), because: "it asked for UDP: \(failure)")
        self.ended(self)
      case .success(let far):
        self.far = far
        let response = RelayResponse(
          status: .ok, features: [.address(HostPort(host: "0.0.0.0", port: 0))])
        let answered = PrefacedStream(stream, preface: response.encode() ?? [])
        self.joint = AssociationJoint(
          StreamAssociation(loop: self.core.loop, stream: answered, legs: { [] }), far
        ) { [weak self] in self?.end() }
      }
    }
  }

  var paths: [(name: String, path: Path)] {
    guard let far else { return [] }
    let receipt = client.stream.receipt
    let leg = Leg(
      from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact,
      transport: client.stream.layers + [.relay], roundTrip: client.stream.roundTrip)
    return [("datagrams to any target", Path(legs: [leg] + far.legs, since: since))]
  }

  var lost: UInt64 { far?.dropped ?? 0 }

  func close() {
    guard !isOver else { return }
    isOver = true
    if let joint { joint.close() } else { waiting?.take()?.close() }
    joint = nil
  }

  private func end() {
    guard !isOver else { return }
    close()
    ended(self)
  }
}
