import PartDescriptors
import Values

/// The ways of one service: each hop with its node, dialer, connector and encryption, what the parts add to a packet, and
/// how large one may be so that it crosses whole.
struct ChainPlanning {
  let builder: PlanBuilder
  let service: ServiceConfiguration

  private var configuration: Configuration { builder.configuration }

  /// To the targets, and to the far port of a remote listener.
  var ways: [Plan.Chain] {
    var list: [Plan.Chain] = []
    if let chain = configuration.listenerChain(of: service) {
      let network = service.carriesDatagrams ? "UDP" : "TCP"
      list.append(
        Plan.Chain(
          name: chain.name.value, hops: hops(chain), targets: [], remotePort: "\(network) \(service.addr.value)",
          packets: nil))
    }
    // Peers without an endpoint come to us; a page of numbers leads nowhere.
    guard !service.isTunServer, service.handler.descriptor?.name != "metrics",
      !service.isWireGuard || service.peers.contains(where: { $0.endpoint != nil })
    else {
      return list
    }
    let chain = configuration.chain(of: service)
    list.append(
      Plan.Chain(
        name: chain?.name.value, hops: chain.map(hops) ?? [], targets: targets, remotePort: nil,
        packets: service.carriesDatagrams ? packets(chain) : nil))
    return list
  }

  private var targets: [String] {
    if service.isWireGuard { return service.peers.compactMap { $0.endpoint?.value } }
    if let nodes = service.forwarder?.nodes, !nodes.isEmpty { return nodes.map(\.addr.value) }
    return [configuration.nodeDecides(of: service) ? "where the last node leads" : "what clients ask for"]
  }

  // MARK: Hops

  private func hops(_ chain: ChainConfiguration) -> [Plan.Hop] {
    let leaving = configuration.leaving(service, by: chain)
    var before: [NodeConfiguration] = []
    var list: [Plan.Hop] = []
    let all = configuration.hops(of: chain)
    let last = all.lastIndex { $0.nodes.contains { !$0.isDirect } }
    for (index, hop) in all.enumerated() {
      let nodes = hop.nodes.map {
        node($0, leaving, dialledBy: before.isEmpty ? nil : names(before), isLast: index == last)
      }
      list.append(Plan.Hop(nodes: nodes, strategy: nodes.count > 1 ? hop.selection.strategy.rawValue : nil))
      let own = hop.nodes.filter { !$0.isDirect }
      if !own.isEmpty { before = own }
    }
    return list
  }

  /// One of them, whichever is taken.
  private func names(_ nodes: [NodeConfiguration]) -> String {
    nodes.map { $0.name.value.isEmpty ? $0.addr.value : $0.name.value }.joined(separator: " or ")
  }

  /// Whether packets cross in frames of their own, so that the connector adds nothing to them.
  private var hasFrames: Bool {
    guard service.hasInterface, let chain = configuration.chain(of: service) else { return false }
    let nodes = configuration.hops(of: chain).compactMap { hop in hop.nodes.first { !$0.isDirect } }
    return nodes.count == 1 && nodes.first?.dialer.descriptor?.overhead.packets != nil
  }

  private func node(_ node: NodeConfiguration, _ leaving: Leaving, dialledBy: String?, isLast: Bool) -> Plan.Node {
    let own = leaving.to(node)
    let isFromHere = dialledBy == nil && !node.isDirect
    var addresses: [IPAddress] = []
    if isFromHere, let address = node.address {
      addresses = (builder.host.addresses(of: address.host) ?? []).map(\.canonical).filter {
        node.dialer.descriptor?.family == nil || $0.family == node.dialer.descriptor?.family
      }
    }
    let families = Set(addresses.map(\.family))
    return Plan.Node(
      name: node.name.value, address: node.addr.value, isDirect: node.isDirect, rejects: node.rejects,
      dialer: part(node.dialer.type.value, node.dialer.descriptor),
      connector: part(
        node.connector.type.value, node.connector.descriptor, adds: isLast && service.carriesDatagrams && !hasFrames),
      dialledBy: dialledBy,
      addresses: addresses,
      family: node.dialer.descriptor?.family ?? node.address?.literal?.canonical.family
        ?? (families.count == 1 ? families.first : nil),
      certificate: certificate(node), sendsCredentials: node.connector.auth != nil,
      interface: isFromHere ? own.interface?.value : nil, mark: isFromHere ? own.mark?.value : nil)
  }

  /// - Parameter adds: whether it adds to each packet: a connector asks once, and frames datagrams alone.
  private func part(_ type: String, _ descriptor: PartDescriptor?, adds: Bool = true) -> Plan.Part {
    Plan.Part(type: type, summary: descriptor?.summary ?? "", overhead: adds ? descriptor?.overhead.bytes ?? 0 : 0)
  }

  private func certificate(_ node: NodeConfiguration) -> Plan.Node.Certificate {
    guard node.encrypts else { return .none }
    if node.dialer.tls?.secure?.value == true { return .verified }
    return node.dialer.tls?.caFile?.value.isEmpty == false ? .chain : .unverified
  }

  // MARK: Packets

  private func packets(_ chain: ChainConfiguration?) -> Plan.Packets {
    var packets = carried(chain)
    if service.isWireGuard {
      packets.layers.append(("WireGuard", PacketSizes.wireGuardHeader))
      packets.largest = packets.largest.map { $0 - PacketSizes.wireGuardHeader }
    }
    return packets
  }

  private func carried(_ chain: ChainConfiguration?) -> Plan.Packets {
    let nodes = (chain.map(configuration.hops(of:)) ?? []).compactMap { hop in hop.nodes.first { !$0.isDirect } }
    let way = outer
    let family = way.family
    guard let first = nodes.first, let last = nodes.last else {
      return inDatagrams(way, family)
    }
    // The connector `forward` over `udp` is a datagram as it is.
    if nodes.count == 1, first.dialer.descriptor?.carries == .datagrams, first.turn?.transport ?? .udp == .udp {
      let header = first.dialer.descriptor?.overhead.bytes ?? 0
      return inDatagrams(way, family, and: header > 0 ? (first.dialer.type.value, header) : nil)
    }
    // SOCKS5's own UDP, beside the connection.
    if nodes.count == 1, first.connector.metadata.string("relay") == "udp" {
      return inDatagrams(
        way, family, and: (first.connector.type.value, first.connector.descriptor?.overhead.bytes ?? 0))
    }
    let framing = last.connector.descriptor?.overhead.bytes ?? 0
    if nodes.count == 1, let carrier = first.dialer.descriptor?.overhead.packets, service.hasInterface {
      var layers = [(name: "\(family)", bytes: PacketSizes.ipHeader(family))]
      layers +=
        carrier == .echo
        ? [(family == .ipv4 ? "ICMP" : "ICMPv6", 8), ("envelope", carrier.header - 8)] : [("UDP", carrier.header)]
      layers.append(("QUIC", PacketCarrier.frame))
      return Plan.Packets(
        layers: layers, largest: carrier.innerPacket(link: way.link?.mtu ?? 1500, family), link: way.link,
        beyond: .stream)
    }
    var layers: [(name: String, bytes: Int)] = []
    for node in nodes {
      let bytes = node.dialer.descriptor?.overhead.bytes ?? 0
      if bytes > 0 { layers.append((node.dialer.type.value, bytes)) }
    }
    if framing > 0 { layers.append((last.connector.type.value, framing)) }
    return Plan.Packets(layers: layers, largest: nil, link: way.link, beyond: .nothing)
  }

  private func inDatagrams(
    _ way: (link: (name: String, mtu: Int)?, family: AddressFamily), _ family: AddressFamily,
    and inner: (name: String, bytes: Int)? = nil
  ) -> Plan.Packets {
    let outer = [(name: "\(family)", bytes: PacketSizes.ipHeader(family)), (name: "UDP", bytes: PacketSizes.udpHeader)]
    let layers = outer + (inner.map { [$0] } ?? [])
    let mtu = way.link?.mtu ?? 1500
    return Plan.Packets(
      layers: layers, largest: mtu - layers.reduce(0) { $0 + $1.bytes }, link: way.link, beyond: .fragments)
  }

  /// The link by which the service's first packets leave, and their family; IPv6, the larger, where it is not known.
  private var outer: (link: (name: String, mtu: Int)?, family: AddressFamily) {
    for socket in configuration.dialSockets(service) {
      for address in builder.usable(socket) {
        if let name = builder.network.ways[WayQuestion(address, socket.leaving)]?.interface,
          let link = builder.network.interface(name)
        {
          return ((name, link.mtu), address.family)
        }
      }
      if let family = socket.family ?? builder.usable(socket).first?.family { return (nil, family) }
    }
    return (nil, .ipv6)
  }

  // MARK: Names

  /// Names that are resolved behind the first node: of further nodes by the one before, of targets by the last.
  var farNames: [(name: String, resolver: Plan.Name.Resolver)] {
    var list: [(name: String, resolver: Plan.Name.Resolver)] = []
    let chains = [configuration.chain(of: service), configuration.listenerChain(of: service)].compactMap { $0 }
    for chain in chains {
      var before: [NodeConfiguration] = []
      for hop in configuration.hops(of: chain) {
        let nodes = hop.nodes.filter { !$0.isDirect }
        if !before.isEmpty { list += nodes.compactMap { $0.address }.map { ($0.host, resolver(before)) } }
        if !nodes.isEmpty { before = nodes }
      }
      // A node that is spoken to in plain bytes hears of no target.
      guard chain.name.value == configuration.chain(of: service)?.name.value, !before.isEmpty,
        !before.allSatisfy({ $0.connector.descriptor?.speaks == [.raw] })
      else { continue }
      let targets =
        (service.forwarder?.nodes ?? []).compactMap(\.address).filter { $0.port != 0 }
        + service.peers.compactMap { $0.endpoint.flatMap { HostPort($0.value) } }
      list += targets.map { ($0.host, resolver(before)) }
    }
    return list
  }

  /// SOCKS4 without 4a has no room for a name.
  private func resolver(_ nodes: [NodeConfiguration]) -> Plan.Name.Resolver {
    nodes.contains { $0.connector.descriptor?.name == "socks4" && $0.connector.metadata.bool("disable4a") == true }
      ? .here : .node(names(nodes))
  }
}
