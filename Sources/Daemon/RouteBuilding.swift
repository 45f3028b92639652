import Configuration
import CulvertLink
import LinuxIO
import PartDescriptors
import Parts
import QUICCodec
import TLSCodec
import Values

/// From a chain of the file to a `Route` at work.
struct RouteBuilding {
  let context: ServiceContext
  let configuration: Configuration
  let log: Log

  /// A way, and the name of its only node where it has only one.
  struct Built {
    let way: any Way
    let nodeName: String?
  }

  /// - Parameters:
  ///   - chain: by name; `nil` goes straight to targets, and so does a service that ignores chains.
  ///   - policy: which targets may be dialled straight from here.
  func way(
    for service: ServiceConfiguration, chain: Located<String>?, policy: EgressPolicy, guardian: (any DialGuardian)?
  ) throws(StartReason) -> Built {
    let used = service.ignoresChains ? nil : chain.flatMap { configuration.chain(named: $0.value) }
    let leaving = configuration.leaving(service, by: used)
    let options = SocketOptions(interface: leaving.interface?.value, mark: leaving.mark?.value ?? 0)
    let direct = DirectWay(
      loop: context.loop, arena: context.arena, options: options, policy: policy,
      guardian: guardian, timeout: service.metadata.duration("dialTimeout") ?? DirectWay.defaultTimeout)
    guard let name = chain?.value, !service.ignoresChains else { return Built(way: direct, nodeName: nil) }
    guard let found = configuration.chain(named: name) else { throw StartReason("there is no chain named \(name)") }
    var hops: [ChainWay.Hop] = []
    for (number, hop) in configuration.hops(of: found).enumerated() {
      hops.append(try build(hop, isFirst: number == 0, service, leaving, guardian))
    }
    guard !hops.isEmpty else { throw StartReason("the chain \(name) has no hops") }
    let way = ChainWay(
      loop: context.loop, hops: hops, direct: direct,
      hashesTarget: service.handler.metadata.string("hash") == "host")
    return Built(way: way, nodeName: way.nodeName)
  }

  private func build(
    _ hop: HopConfiguration, isFirst: Bool, _ service: ServiceConfiguration, _ leaving: Leaving,
    _ guardian: (any DialGuardian)?
  ) throws(StartReason) -> ChainWay.Hop {
    var nodes: [ChainWay.Node] = []
    for node in hop.nodes { nodes.append(try build(node, hop, isFirst: isFirst, service, leaving, guardian)) }
    guard !nodes.isEmpty else { throw StartReason("the hop \(hop.name.value) has no nodes") }
    return ChainWay.Hop(
      name: hop.name.value, nodes: nodes, selector: nodeSelector(hop.selection, hop.nodes.map(\.metadata)))
  }

  private func build(
    _ node: NodeConfiguration, _ hop: HopConfiguration, isFirst: Bool, _ service: ServiceConfiguration,
    _ leaving: Leaving, _ guardian: (any DialGuardian)?
  ) throws(StartReason) -> ChainWay.Node {
    let name = node.name.value
    if node.isDirect {
      return ChainWay.Node(name: name, address: nil, kind: .transparent(rejects: node.rejects))
    }
    guard let address = node.address else {
      throw StartReason("node \(name): bad address \(node.addr.value)")
    }
    let own = leaving.to(node)
    let target = NodeTarget(
      name: name, address: address, family: node.dialer.descriptor?.family,
      options: SocketOptions(
        interface: own.interface?.value, mark: own.mark?.value ?? 0, keepalive: tcpKeepalive(node.dialer.metadata)),
      guardian: isFirst ? guardian : nil)
    // A handshake that may take longer than an attempt makes the attempt longer.
    let handshakeTimeout = node.dialer.metadata.duration("handshakeTimeout")
    let timeout = service.metadata.duration("dialTimeout") ?? max(DialTiming.attempt, handshakeTimeout ?? .zero)
    return ChainWay.Node(
      name: name, address: address,
      kind: .dialled(
        try dialer(node, target, address, timeout: timeout, handshakeTimeout: handshakeTimeout),
        try connector(node, target)))
  }

  private func dialer(
    _ node: NodeConfiguration, _ target: NodeTarget, _ address: HostPort, timeout: TimeSpan,
    handshakeTimeout: TimeSpan?
  ) throws(StartReason) -> any Dialer {
    let type = node.dialer.type.value.lowercased()
    switch type {
    case "udp":
      return UDPDialer(loop: context.loop, arena: context.arena, target: target, role: .hop(node.name.value))
    case "turn":
      guard let turn = node.turn else { throw StartReason("node \(node.name.value): no TURN server") }
      return TURNDialer(
        loop: context.loop, arena: context.arena, log: log,
        server: try turnServer(
          turn, name: node.name.value, in: configuration.sources, options: target.options, guardian: target.guardian))
    case "wireguard": return try throughWireGuard(node, target, timeout: timeout)
    case "tcp", "tls", "ws", "wss", "mtcp", "mtls", "mws", "mwss":
      let streams = StreamDialer(
        loop: context.loop, target: target, proxyProtocol: node.proxyProtocol.flatMap { $0 > 0 ? $0 : nil },
        upgrades: try upgrades(type, node, address, handshakeTimeout: handshakeTimeout), timeout: timeout)
      guard let version = MuxDefaults.version(of: type) else { return streams }
      return MuxDialer(
        loop: context.loop, below: streams, settings: smuxSettings(node.dialer.metadata, version: version))
    case "quic", "icmp", "icmp6":
      let carrier: QUICDialer.Carrier = type == "quic" ? .udp : .icmp(type == "icmp" ? .ipv4 : .ipv6)
      return QUICDialer(
        loop: context.loop, arena: context.arena, sendBuffer: context.sendBuffer, log: log,
        target: target, carrier: carrier, credentials: try CredentialLoading.client(node.dialer.tls),
        serverName: serverName(node, address), settings: quicSettings(node.dialer),
        timeout: timeout)
    default: throw StartReason("node \(node.name.value): the dialer \(type) is not supported yet")
    }
  }

  /// TCP by the interface of a WireGuard service of this file.
  private func throughWireGuard(
    _ node: NodeConfiguration, _ target: NodeTarget, timeout: TimeSpan
  ) throws(StartReason) -> any Dialer {
    let service = configuration.services.first { $0.name.value == node.dialer.metadata.string("service") }
    guard let service, service.isWireGuard, let interface = service.interfaceName else {
      throw StartReason("node \(node.name.value): there is no WireGuard interface to dial by")
    }
    var options = target.options
    options.interface = interface
    return StreamDialer(
      loop: context.loop,
      target: NodeTarget(
        name: target.name, address: target.address, family: target.family, options: options, guardian: nil),
      proxyProtocol: node.proxyProtocol.flatMap { $0 > 0 ? $0 : nil }, below: [.wireGuard], upgrades: [],
      timeout: timeout)
  }

  /// The layers over a connection, from the outermost in.
  private func upgrades(
    _ type: String, _ node: NodeConfiguration, _ address: HostPort, handshakeTimeout: TimeSpan?
  ) throws(StartReason) -> [StreamUpgrade] {
    var upgrades: [StreamUpgrade] = []
    if ["tls", "mtls", "wss", "mwss"].contains(type) {
      upgrades.append(.tls(try security(node, address, handshakeTimeout: handshakeTimeout)))
    }
    if ["ws", "wss", "mws", "mwss"].contains(type) {
      let host = node.dialer.metadata.string("ws.host") ?? address.description
      upgrades.append(.webSocket(host: host, webSocketSettings(node.dialer.metadata, isClient: true)))
    }
    return upgrades
  }

  private func security(
    _ node: NodeConfiguration, _ address: HostPort, handshakeTimeout: TimeSpan?
  ) throws(StartReason) -> TLSSecurity {
    TLSSecurity(
      credentials: try CredentialLoading.client(node.dialer.tls), serverName: serverName(node, address),
      applicationProtocols: node.dialer.tls?.alpn.map(\.value) ?? [], handshakeTimeout: handshakeTimeout)
  }

  private func connector(_ node: NodeConfiguration, _ target: NodeTarget) throws(StartReason) -> any Connector {
    let auth = node.connector.auth.map { ($0.username.value, $0.password?.value.reveal() ?? "") }
    let metadata = node.connector.metadata
    let timeout = metadata.duration("timeout") ?? DirectWay.defaultTimeout
    switch node.connector.type.value.lowercased() {
    case "relay":
      return RelayConnector(
        loop: context.loop, credentials: auth, mux: smuxSettings(metadata, version: MuxDefaults.ofBind),
        timeout: metadata.duration("connectTimeout") ?? DialTiming.attempt)
    case "http":
      return HTTPConnector(
        loop: context.loop,
        settings: HTTPConnector.Settings(
          credentials: auth, headers: metadata.texts("header").map { ($0.name, $0.text) }, timeout: timeout))
    case "socks4", "socks4a":
      return SOCKS4Connector(
        loop: context.loop, user: auth?.0, sendsNames: metadata.bool("disable4a") != true, timeout: timeout)
    case "socks5", "socks":
      var tls: StreamUpgrade?
      if metadata.bool("notls") != true {
        tls = .tls(
          TLSSecurity(
            credentials: try CredentialLoading.client(node.connector.tls),
            serverName: node.connector.tls?.serverName?.value ?? target.address.host,
            applicationProtocols: []))
      }
      var options = target.options
      options.keepalive = nil
      return SOCKS5Connector(
        loop: context.loop, arena: context.arena,
        settings: SOCKS5Connector.Settings(
          credentials: auth, tls: tls, associatesByUDP: metadata.string("relay")?.lowercased() == "udp",
          options: options, timeout: timeout, mux: smuxSettings(metadata, version: MuxDefaults.ofBind)))
    // Nothing is spoken on a stream to a TURN server but what its dialer says.
    case "forward", "tcp", "turn": return ForwardConnector(loop: context.loop)
    case let type: throw StartReason("node \(node.name.value): the connector \(type) is not supported yet")
    }
  }

  /// GOST's default is the node's host. An address is not sent, but with `secure` it is compared with the certificate.
  private func serverName(_ node: NodeConfiguration, _ address: HostPort) -> String? {
    if let written = node.dialer.tls?.serverName?.value, !written.isEmpty { return written }
    let host = address.host.split(separator: "%").first.map(String.init) ?? ""
    return host.isEmpty ? nil : host
  }

  private func quicSettings(_ dialer: DialerConfiguration) -> QUICSettings {
    var settings = QUICSettings.dialer
    settings.applicationProtocols =
      dialer.tls.flatMap { $0.alpn.isEmpty ? nil : $0.alpn.map(\.value) } ?? QUICDefaults.applicationProtocols
    let metadata = dialer.metadata
    if metadata.bool("keepalive") == false { settings.keepAlive = .zero }
    if let ttl = metadata.duration("ttl"), ttl > .zero, settings.keepAlive > .zero { settings.keepAlive = ttl }
    if let timeout = metadata.duration("handshakeTimeout") { settings.handshakeTimeout = timeout }
    if let idle = metadata.duration("maxIdleTimeout") { settings.idleTimeout = idle }
    if let streams = metadata.int("maxStreams"), streams > 0 { settings.maximumStreams = streams }
    if let packets = dialer.descriptor?.overhead.packets { settings.maximumPacket = packets.largest }
    return settings
  }
}

/// What QUIC is set to, over UDP and inside ICMP.
enum QUICDefaults {
  /// Culvert's own first, then GOST's.
  static let applicationProtocols = [LinkMessage.applicationProtocol, "h3", "quic/v1"]
  /// GOST's default for both sides.
  static let keepAlive = TimeSpan.seconds(10)
  /// Bytes: what arrives at 5 Gb/s while the loop is busy elsewhere for 6 ms.
  static let socketBuffer = 4 << 20
}

/// TCP keepalive as GOST has it: on unless `keepalive` is false, each number by its own key.
func tcpKeepalive(_ metadata: Metadata) -> TCPKeepalive? {
  guard metadata.bool("keepalive") != false else { return nil }
  var keepalive = TCPKeepalive()
  if let idle = metadata.duration("keepalive.idle") { keepalive.idle = idle }
  if let interval = metadata.duration("keepalive.interval") { keepalive.interval = interval }
  if let count = metadata.int("keepalive.count") { keepalive.count = count }
  return keepalive
}

/// Where a service listens: the address of its `addr`, or every address of the host.
///
/// - Parameter family: what the listener's carrier demands, or `nil` for both.
func listenEndpoint(_ service: ServiceConfiguration, family: AddressFamily?) throws(StartReason) -> Endpoint {
  guard let address = service.address else { throw StartReason("bad address \(service.addr.value)") }
  if address.host.isEmpty {
    if let family { return Endpoint(family == .ipv4 ? .anyIPv4 : .anyIPv6, port: address.port) }
    return Endpoint(HostFamilies.hasIPv6 ? .anyIPv6 : .anyIPv4, port: address.port)
  }
  switch Resolver.resolveNow(address.host, family: family) {
  case .success(let addresses):
    guard let first = addresses.first else { throw StartReason("\(address.host) has no address") }
    return Endpoint(first, port: address.port)
  case .failure(let failure): throw StartReason("cannot listen on \(address.host): \(failure)")
  }
}

/// WebSocket as the file has it.
func webSocketSettings(_ metadata: Metadata, isClient: Bool = false) -> WebSocketSettings {
  let headers = metadata.texts("ws.header").map { (name: $0.name, value: $0.text) }
  // A listener's `keepalive` is that of TCP, as in GOST; a dialer's is pings.
  let pings = isClient && metadata.bool("ws.keepalive") == true
  return WebSocketSettings(
    path: metadata.string("ws.path") ?? "/ws", headers: headers,
    keepalive: pings ? metadata.duration("ttl") ?? .seconds(15) : nil,
    handshakeTimeout: metadata.duration("ws.handshakeTimeout"))
}
