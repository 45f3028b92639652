import PartDescriptors
import Values

/// The sockets of a configuration: those that a service opens when it starts, and those that it dials with. What is
/// judged against the host, what `culvert plan` prints and what the daemon opens are these.
public enum SocketTransport: String, Sendable, Hashable, CaseIterable {
  case tcp, udp, icmp, icmp6

  public var title: String {
    switch self {
    case .tcp: "TCP"
    case .udp: "UDP"
    case .icmp: "raw ICMP"
    case .icmp6: "raw ICMPv6"
    }
  }

  public var isRaw: Bool { self == .icmp || self == .icmp6 }

  /// The only family that it has.
  public var family: AddressFamily? { self == .icmp ? .ipv4 : self == .icmp6 ? .ipv6 : nil }
}

/// A socket that waits for clients.
public struct ListenSocket: Sendable {
  /// The service's name.
  public let service: String
  public let transport: SocketTransport
  /// Empty: every address of the host.
  public let host: String
  /// 0: the kernel chooses one, or the transport has none.
  public let port: UInt16
  /// `addr`, or the service's name where it has none.
  public let span: SourceSpan
}

/// A socket to a node of a chain, or to a target that is reached straight from here.
public struct DialSocket: Sendable {
  public let service: String
  /// The name of a node; `nil` for a target.
  public let node: String?
  public let transport: SocketTransport
  public let address: HostPort
  /// The only one that its dialer works over.
  public let family: AddressFamily?
  public let leaving: Leaving
  public let span: SourceSpan
  /// Whether another node of the same hop, or another target, may stand in for it.
  public let hasAlternative: Bool
}

/// How sockets leave this host: nothing is bound where both are absent.
public struct Leaving: Sendable {
  public var interface: Located<String>?
  public var mark: Located<UInt32>?

  /// To a node, whose own settings (or its hop's) come first.
  public func to(_ node: NodeConfiguration) -> Leaving {
    Leaving(interface: node.interface ?? interface, mark: node.mark ?? mark)
  }
}

extension Configuration {
  /// How a service's connections leave: as a chain's first hop says where that is a `direct` node, which GOST users
  /// write to choose an interface, else as the service says.
  public func leaving(_ service: ServiceConfiguration, by chain: ChainConfiguration?) -> Leaving {
    let own = Leaving(interface: service.interface, mark: service.mark)
    guard let first = chain.flatMap({ hops(of: $0).first }), first.nodes.count == 1, let node = first.nodes.first,
      node.isDirect
    else { return own }
    return own.to(node)
  }

  /// In the order of the services.
  public var listenSockets: [ListenSocket] { services.compactMap(listenSocket) }

  /// `nil` for a service that listens at another host, or nowhere.
  public func listenSocket(_ service: ServiceConfiguration) -> ListenSocket? {
    guard let listener = service.listener.descriptor, listener.isAvailable, let address = service.address else {
      return nil
    }
    let transport: SocketTransport
    switch listener.name {
    case "tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "mtcp": transport = .tcp
    // Without a chain to listen at the end of, these listen here.
    case "rtcp" where listenerChain(of: service) == nil: transport = .tcp
    case "rudp" where listenerChain(of: service) == nil: transport = .udp
    // All messages take the chain, unless a port is written for peers that come by themselves.
    case "wireguard" where chain(of: service) != nil && address.port == 0: return nil
    case "udp", "dtls", "quic", "wireguard": transport = .udp
    case "tun" where service.isTunServer: transport = .udp
    case "icmp": transport = .icmp
    case "icmp6": transport = .icmp6
    default: return nil
    }
    return ListenSocket(
      service: service.name.value, transport: transport, host: address.host,
      port: transport.isRaw ? 0 : address.port,
      span: service.addr.value.isEmpty ? service.name.span : service.addr.span)
  }

  /// What a service dials from this host, as far as the file names it: a proxy's targets are its clients' choice.
  public func dialSockets(_ service: ServiceConfiguration) -> [DialSocket] {
    var list: [DialSocket] = []
    for chain in [chain(of: service), listenerChain(of: service)].compactMap({ $0 }) {
      let leaving = leaving(service, by: chain)
      for hop in hops(of: chain) {
        for node in hop.nodes where !node.isDirect {
          guard let dialer = node.dialer.descriptor, let address = node.address, !address.host.isEmpty else { continue }
          list.append(
            DialSocket(
              service: service.name.value, node: node.name.value,
              transport: node.turn.map { $0.transport == .udp ? .udp : .tcp } ?? SocketTransport(dialer: dialer),
              address: address, family: dialer.family ?? node.turn?.family.only, leaving: leaving.to(node),
              span: node.addr.span,
              hasAlternative: hop.nodes.count > 1))
        }
        // Behind a node that is none the next hop is dialled from here.
        if !hop.nodes.contains(where: \.isDirect) { break }
      }
    }
    let leaving = leaving(service, by: chain(of: service))
    if let turn = service.turnClient {
      list.append(
        DialSocket(
          service: service.name.value, node: "", transport: turn.transport == .udp ? .udp : .tcp, address: turn.server,
          family: turn.family.only, leaving: leaving, span: turn.span, hasAlternative: false))
    }
    guard goesStraight(service) else { return list }
    if service.isWireGuard {
      for peer in service.peers {
        guard let endpoint = peer.endpoint, let address = HostPort(endpoint.value) else { continue }
        list.append(
          DialSocket(
            service: service.name.value, node: nil, transport: .udp, address: address, family: nil, leaving: leaving,
            span: endpoint.span, hasAlternative: service.peers.count > 1))
      }
      return list
    }
    guard let forwarder = service.forwarder else { return list }
    for node in forwarder.nodes {
      guard let address = node.address else { continue }
      let isDatagram = service.carriesDatagrams
      list.append(
        DialSocket(
          service: service.name.value, node: nil, transport: isDatagram ? .udp : .tcp,
          // As in GOST's own examples, `:8421` is this host's.
          address: address.host.isEmpty ? HostPort(host: "127.0.0.1", port: address.port) : address,
          family: nil, leaving: leaving, span: node.addr.span, hasAlternative: forwarder.nodes.count > 1))
    }
    return list
  }

  /// Whether a service's clients choose where it goes, and it goes there straight from this host.
  func reachesAnywhere(_ service: ServiceConfiguration) -> Bool {
    service.handler.descriptor?.abilities.contains(.proxies) == true && service.forwarder?.nodes.isEmpty != false
      && goesStraight(service)
  }
}

extension SocketTransport {
  /// What a dialer opens.
  init(dialer: PartDescriptor) {
    switch dialer.name {
    case "icmp": self = .icmp
    case "icmp6": self = .icmp6
    case "udp", "quic": self = .udp
    default: self = .tcp
    }
  }
}

extension ServiceConfiguration {
  /// Whether what its clients send are packets or datagrams.
  var carriesDatagrams: Bool {
    hasInterface || ["udp", "dtls", "rudp", "turn"].contains(listener.descriptor?.name)
  }

  /// What the interface is named: as the file says, else a WireGuard interface as its service where that can be;
  /// `nil`: the kernel chooses.
  public var interfaceName: String? {
    if let name = listener.metadata.string("name"), !name.isEmpty { return name }
    return isWireGuard && InterfaceName.isLegal(name.value) ? name.value : nil
  }

  /// The routes of a TUN service: `route` by `gw`, and `routes` each by its own gateway or `gw`. Of a WireGuard service:
  /// what its peers may send from, but for what the interface's own addresses lead there anyway.
  public var tunRoutes: [(destination: IPPrefix, gateway: IPAddress?, span: SourceSpan)] {
    if isWireGuard { return listener.metadata.string("table") == "off" ? [] : peerRoutes }
    let metadata = listener.metadata
    let common = metadata.address("gw")
    func via(_ prefix: IPPrefix, _ own: IPAddress?) -> IPAddress? {
      own ?? (common?.family == prefix.family ? common : nil)
    }
    var routes: [(destination: IPPrefix, gateway: IPAddress?, span: SourceSpan)] = []
    for name in ["route", "routes"] {
      guard let entry = metadata.entry(name) else { continue }
      switch entry.value {
      case .prefixes(let prefixes):
        for (index, prefix) in prefixes.enumerated() {
          routes.append((prefix, via(prefix, nil), entry.itemSpan(index)))
        }
      case .routes(let list):
        for (index, route) in list.enumerated() {
          routes.append((route.destination, via(route.destination, route.gateway), entry.itemSpan(index)))
        }
      default: break
      }
    }
    return routes
  }

  private var peerRoutes: [(destination: IPPrefix, gateway: IPAddress?, span: SourceSpan)] {
    var routes: [(destination: IPPrefix, gateway: IPAddress?, span: SourceSpan)] = []
    var seen = Set(nets.map(\.value.network))
    let networks = nets.map(\.value)
    for allowed in peers.flatMap(\.allowedIPs) {
      let destination = allowed.value.network
      let isInside = networks.contains { $0.length <= destination.length && $0.contains(destination.address) }
      if !isInside, seen.insert(destination).inserted { routes.append((destination, nil, allowed.span)) }
    }
    return routes
  }

  /// The MTU of a service's interface, bytes, and whether the file says so.
  public var tunMTU: (bytes: Int, isWritten: Bool) {
    listener.metadata.int("mtu").map { ($0, true) } ?? (PacketSizes.defaultMTU, false)
  }
}

extension Metadata.Entry {
  func itemSpan(_ index: Int) -> SourceSpan { itemSpans.indices.contains(index) ? itemSpans[index] : valueSpan }
}
