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

  func route(for service: ServiceConfiguration, guardian: (any DialGuardian)?) throws(StartReason) -> Route {
    let options = socketOptions(of: service, bufferSize: 4 << 20)
    let context = context
    let direct: (HostPort) -> any Dialer = { target in
      UDPDialer(
        loop: context.loop, arena: context.arena,
        target: NodeTarget(
          name: target.description, address: target, family: nil, options: options, guardian: guardian),
        role: .target(target.description))
    }
    guard let name = service.handler.chain?.value else { return Route(loop: context.loop, node: nil, direct: direct) }
    guard let chain = configuration.chain(named: name) else {
      throw StartReason("there is no chain named \(name)")
    }
    let hops = configuration.hops(of: chain)
    guard hops.count == 1, let hop = hops.first, hop.nodes.count == 1, let node = hop.nodes.first else {
      throw StartReason("the chain \(name) needs exactly one hop with one node; more are not supported yet")
    }
    return Route(loop: context.loop, node: try build(node, hop, service, guardian), direct: direct)
  }

  private func build(
    _ node: NodeConfiguration, _ hop: HopConfiguration, _ service: ServiceConfiguration,
    _ guardian: (any DialGuardian)?
  ) throws(StartReason) -> Route.Node {
    guard let address = node.address else {
      throw StartReason("node \(node.name.value): bad address \(node.addr.value)")
    }
    let interface =
      node.interface?.value ?? hop.metadata.string("interface") ?? service.interface?.value
    let mark = node.mark?.value ?? hop.metadata.int("so_mark").map { UInt32(clamping: $0) } ?? service.mark?.value
    let type = node.dialer.type.value.lowercased()
    let target = NodeTarget(
      name: node.name.value, address: address, family: node.dialer.descriptor?.family,
      options: SocketOptions(
        interface: interface, mark: mark ?? 0, keepalive: tcpKeepalive(node.dialer.metadata)),
      guardian: guardian)
    // A handshake that may take longer than an attempt makes the attempt longer.
    let handshakeTimeout = node.dialer.metadata.duration("handshakeTimeout")
    let timeout = service.metadata.duration("dialTimeout") ?? max(DialTiming.attempt, handshakeTimeout ?? .zero)
    let dialer: any Dialer
    switch type {
    case "udp":
      dialer = UDPDialer(
        loop: context.loop, arena: context.arena, target: target, role: .hop(node.name.value))
    case "tcp": dialer = TCPDialer(loop: context.loop, target: target, security: nil, timeout: timeout)
    case "tls":
      let security = TCPDialer.Security(
        credentials: try CredentialLoading.client(node.dialer.tls), serverName: serverName(node, address),
        applicationProtocols: node.dialer.tls?.alpn.map(\.value) ?? [], handshakeTimeout: handshakeTimeout)
      dialer = TCPDialer(loop: context.loop, target: target, security: security, timeout: timeout)
    case "quic", "icmp", "icmp6":
      let carrier: QUICDialer.Carrier = type == "quic" ? .udp : .icmp(type == "icmp" ? .ipv4 : .ipv6)
      dialer = QUICDialer(
        loop: context.loop, arena: context.arena, sendBuffer: context.sendBuffer, log: log,
        target: target, carrier: carrier, credentials: try CredentialLoading.client(node.dialer.tls),
        serverName: serverName(node, address), settings: quicSettings(node.dialer, isICMP: type != "quic"),
        timeout: timeout)
    default: throw StartReason("node \(node.name.value): the dialer \(type) is not supported yet")
    }
    return Route.Node(name: node.name.value, dialer: dialer, connector: try connector(node))
  }

  private func connector(_ node: NodeConfiguration) throws(StartReason) -> Connector {
    switch node.connector.type.value.lowercased() {
    case "relay":
      let auth = node.connector.auth
      return .relay(credentials: auth.map { ($0.username.value, $0.password?.value.reveal() ?? "") })
    case "forward": return .forward
    case let type: throw StartReason("node \(node.name.value): the connector \(type) is not supported yet")
    }
  }

  /// GOST's default is the node's host. An address is not sent, but with `secure` it is compared with the certificate.
  private func serverName(_ node: NodeConfiguration, _ address: HostPort) -> String? {
    if let written = node.dialer.tls?.serverName?.value, !written.isEmpty { return written }
    let host = address.host.split(separator: "%").first.map(String.init) ?? ""
    return host.isEmpty ? nil : host
  }

  private func quicSettings(_ dialer: DialerConfiguration, isICMP: Bool) -> QUICSettings {
    var settings = QUICSettings.dialer
    settings.applicationProtocols =
      dialer.tls.flatMap { $0.alpn.isEmpty ? nil : $0.alpn.map(\.value) } ?? QUICDefaults.applicationProtocols
    let metadata = dialer.metadata
    if metadata.bool("keepalive") == false { settings.keepAlive = .zero }
    if let ttl = metadata.duration("ttl"), ttl > .zero, settings.keepAlive > .zero { settings.keepAlive = ttl }
    if let timeout = metadata.duration("handshakeTimeout") { settings.handshakeTimeout = timeout }
    if let idle = metadata.duration("maxIdleTimeout") { settings.idleTimeout = idle }
    if let streams = metadata.int("maxStreams"), streams > 0 { settings.maximumStreams = streams }
    if isICMP { settings.maximumPacket = QUICDefaults.maximumPacketInICMP }
    return settings
  }
}

/// What QUIC is set to, over UDP and inside ICMP.
enum QUICDefaults {
  /// Culvert's own first, then GOST's.
  static let applicationProtocols = [LinkMessage.applicationProtocol, "h3", "quic/v1"]
  /// An Ethernet link's 1,500 bytes less the IPv6 header (40), the ICMP header (8) and the envelope (10).
  static let maximumPacketInICMP = 1442
  /// GOST's default for both sides.
  static let keepAlive = TimeSpan.seconds(10)
  /// Bytes: what arrives at 5 Gb/s while the loop is busy elsewhere for 6 ms.
  static let socketBuffer = 4 << 20
}

/// The sockets' options that a service asks for.
func socketOptions(of service: ServiceConfiguration, bufferSize: Int) -> SocketOptions {
  SocketOptions(interface: service.interface?.value, mark: service.mark?.value ?? 0, bufferSize: bufferSize)
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
