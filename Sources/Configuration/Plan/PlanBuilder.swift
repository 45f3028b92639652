import PartDescriptors
import Values

/// From a configuration and the facts about a host to a plan.
public struct PlanBuilder {
  let configuration: Configuration
  let host: HostFacts
  let network: NetworkFacts

  public init(_ configuration: Configuration, _ host: HostFacts) {
    self.configuration = configuration
    self.host = host
    network = host.network ?? NetworkFacts()
  }

  public func build() -> Plan {
    var plan = Plan()
    plan.services = configuration.services.map(service)
    plan.sockets = configuration.services.flatMap(sockets)
    plan.names = names()
    plan.capabilities = capabilities()
    let listening = configuration.listenSockets.map(\.transport)
    plan.filteredFamilies = AddressFamily.allCases.filter { family in listening.contains { $0.family == family } }
    plan.files = files()
    return plan
  }

  // MARK: Services

  private func service(_ service: ServiceConfiguration) -> Plan.Service {
    let handler = service.handler.type.value.lowercased()
    let listener = service.listener.type.value.lowercased()
    let isRemote = configuration.listenerChain(of: service) != nil
    let summary =
      service.isTun
      ? "TUN \(service.isTunClient ? "client" : "server")"
      : service.isWireGuard
        ? "WireGuard, \(service.peers.count) \(service.peers.count == 1 ? "peer" : "peers")"
        : isRemote ? "\(handler) behind a port of another host" : "\(handler) over \(listener)"
    return Plan.Service(
      name: service.name.value, summary: summary, interface: service.hasInterface ? interface(service) : nil,
      certificate: certificate(service), ways: ChainPlanning(builder: self, service: service).ways,
      hooks: hooks(service))
  }

  /// In the order in which the daemon looks.
  private func certificate(_ service: ServiceConfiguration) -> String? {
    guard service.listener.descriptor?.encrypts == true else { return nil }
    for block in [service.listener.tls, configuration.tls] {
      if let block, let certificate = block.certFile, block.keyFile != nil {
        return certificate.value + (block.caFile == nil ? "" : ", and clients need one too")
      }
    }
    return host.standardCertificate.map { "\($0), which lies ready" } ?? "made at the start: the file names none"
  }

  private func hooks(_ service: ServiceConfiguration) -> [Plan.Hook] {
    ["preUp", "postUp", "preDown", "postDown"].flatMap { phase in
      service.metadata.strings(phase).map { Plan.Hook(phase: phase, command: $0) }
    }
  }

  private func interface(_ service: ServiceConfiguration) -> Plan.Interface {
    let metadata = service.listener.metadata
    let mtu = service.tunMTU
    return Plan.Interface(
      name: service.interfaceName, addresses: service.nets.map(\.value), mtu: mtu.bytes, isMTUWritten: mtu.isWritten,
      routes: service.tunRoutes.map {
        Plan.Route(destination: $0.destination, gateway: $0.gateway, set: set($0.destination))
      },
      exceptions: exceptions(service), nameServers: metadata.addresses("dns"),
      forwards: service.isTunServer || service.isWireGuard ? network.forwarding : nil)
  }

  /// Where a route to the same prefix stands, with the metric that ours would have, the two halves go beside it.
  private func set(_ destination: IPPrefix) -> [IPPrefix] {
    let wanted = destination.network
    let metric: UInt32 = wanted.family == .ipv6 ? 1 : 0
    guard network.routes.contains(where: { $0.destination == wanted && $0.metric == metric }),
      let halves = wanted.halves
    else { return [wanted] }
    return halves
  }

  /// Each address of a first node that a route of the tunnel covers gets a route of its own, by the present way.
  private func exceptions(_ service: ServiceConfiguration) -> [Plan.Exception] {
    guard service.isTunClient || service.isWireGuard, service.interface == nil, service.mark == nil else { return [] }
    let routes = service.tunRoutes.map(\.destination)
    var found: [Plan.Exception] = []
    for socket in configuration.dialSockets(service) {
      for address in usable(socket) where !address.isLoopback && !address.isLinkLocal {
        guard routes.contains(where: { $0.contains(address) }), !found.contains(where: { $0.node == address }),
          case .via(let interface, let gateway)? = network.ways[WayQuestion(address)]
        else { continue }
        found.append(Plan.Exception(node: address, interface: interface, gateway: gateway))
      }
    }
    return found
  }

  /// The addresses that a socket may be opened to, as they are known.
  func usable(_ socket: DialSocket) -> [IPAddress] {
    (host.addresses(of: socket.address.host) ?? []).map(\.canonical).filter {
      socket.family == nil || $0.family == socket.family
    }
  }

  // MARK: Sockets

  private func sockets(_ service: ServiceConfiguration) -> [Plan.Socket] {
    var list: [Plan.Socket] = []
    if let socket = configuration.listenSocket(service) { list.append(listening(socket)) }
    list += onDemand(service)
    for socket in configuration.dialSockets(service) {
      let families = Set(usable(socket).map(\.family))
      let known = socket.family.map { [$0] } ?? AddressFamily.allCases.filter(families.contains)
      list.append(
        Plan.Socket(
          use: .dial, service: service.name.value, transport: socket.transport,
          address: socket.transport.isRaw ? socket.address.host : "\(socket.address)", families: known,
          node: socket.node, interface: socket.leaving.interface?.value, mark: socket.leaving.mark?.value,
          remark: remark(socket, service)))
    }
    if configuration.reachesAnywhere(service) {
      let leaving = configuration.leaving(service, by: configuration.chain(of: service))
      list.append(
        Plan.Socket(
          use: .dial, service: service.name.value, transport: .tcp, address: "what clients ask for", families: [],
          interface: leaving.interface?.value, mark: leaving.mark?.value, remark: "one for each connection"))
    }
    return list
  }

  /// Ports that are opened for clients who ask for them.
  private func onDemand(_ service: ServiceConfiguration) -> [Plan.Socket] {
    guard let handler = service.handler.descriptor, configuration.chain(of: service) == nil else { return [] }
    let metadata = service.handler.metadata
    var list: [Plan.Socket] = []
    func add(_ transport: SocketTransport, _ address: String, _ remark: String) {
      list.append(
        Plan.Socket(
          use: .listen, service: service.name.value, transport: transport, address: address, families: [],
          remark: remark))
    }
    if ["socks5", "auto"].contains(handler.name), metadata.bool("udp") == true {
      let low = metadata.int("udp.bindRange.min")
      let high = metadata.int("udp.bindRange.max")
      let range = low.flatMap { low in high.map { "a port of \(low)-\($0)" } }
      add(.udp, range ?? "any port", "for each client that asks for UDP")
    }
    if ["socks5", "auto", "relay"].contains(handler.name), metadata.bool("bind") == true {
      add(.tcp, "the port that is asked for", "for each BIND")
    }
    return list
  }

  private func listening(_ socket: ListenSocket) -> Plan.Socket {
    let own = host.addresses(of: socket.host)?.first?.canonical
    let isEverywhere = socket.host.isEmpty
    let families: [AddressFamily] =
      socket.transport.family.map { [$0] } ?? own.map { own in
        own.isUnspecified && own.family == .ipv6 ? AddressFamily.allCases : [own.family]
      } ?? (isEverywhere ? (network.hasIPv6 ? AddressFamily.allCases : [.ipv4]) : [])
    let host = isEverywhere ? (families.contains(.ipv6) ? "::" : "0.0.0.0") : own.map { "\($0)" } ?? socket.host
    let address = socket.transport.isRaw ? host : "\(HostPort(host: host, port: socket.port))"
    return Plan.Socket(
      use: .listen, service: socket.service, transport: socket.transport, address: address, families: families,
      remark: socket.port == 0 && !socket.transport.isRaw ? "a port that the kernel chooses" : "")
  }

  private func remark(_ socket: DialSocket, _ service: ServiceConfiguration) -> String {
    if socket.transport.isRaw {
      return socket.address.port == 0 ? "a random identifier" : "identifier \(socket.address.port)"
    }
    let isShared = configuration.services.first { $0.name.value == service.name.value }.map {
      $0.hasInterface || configuration.listenerChain(of: $0) != nil
    }
    return isShared == true || socket.transport == .udp && socket.node != nil ? "" : "one for each connection"
  }

  // MARK: Names

  private func names() -> [Plan.Name] {
    var list: [Plan.Name] = []
    func add(_ name: String, _ resolver: Plan.Name.Resolver, _ service: String) {
      guard !name.isEmpty, IPAddress(name) == nil else { return }
      if let index = list.firstIndex(where: { $0.name == name && $0.resolver == resolver }) {
        if !list[index].services.contains(service) { list[index].services.append(service) }
        return
      }
      let isHere = if case .node = resolver { false } else { true }
      list.append(
        Plan.Name(
          name: name, resolver: resolver, addresses: isHere ? host.resolved[name] : nil,
          failure: isHere ? host.unresolved[name] : nil, services: [service]))
    }
    for service in configuration.services {
      let title = service.name.value
      if let socket = configuration.listenSocket(service) { add(socket.host, .hereAtStart, title) }
      for socket in configuration.dialSockets(service) { add(socket.address.host, .here, title) }
      for (name, resolver) in ChainPlanning(builder: self, service: service).farNames { add(name, resolver, title) }
    }
    return list
  }

  // MARK: Capabilities and files

  private func capabilities() -> [Plan.Needed] {
    var list: [Plan.Needed] = []
    func need(_ capability: Capability, _ reason: String, isOptional: Bool = false) {
      if let index = list.firstIndex(where: { $0.capability == capability }) {
        if !list[index].reasons.contains(reason) { list[index].reasons.append(reason) }
        list[index].isOptional = list[index].isOptional && isOptional
      } else {
        list.append(
          Plan.Needed(
            capability: capability, isHeld: network.capabilities.contains(capability), isOptional: isOptional,
            reasons: [reason]))
      }
    }
    for service in configuration.services {
      if service.hasInterface {
        need(.administerNetwork, "the interface of \(service.name.value), its addresses and routes")
      }
      let dialled = configuration.dialSockets(service)
      if dialled.contains(where: { ($0.leaving.mark?.value ?? 0) != 0 }) { need(.administerNetwork, "so_mark") }
      if dialled.contains(where: \.transport.isRaw) { need(.rawSockets, "raw ICMP sockets of \(service.name.value)") }
      guard let socket = configuration.listenSocket(service) else { continue }
      if socket.transport.isRaw {
        need(.rawSockets, "raw ICMP sockets of \(service.name.value)")
        need(.administerNetwork, "the nftables rule", isOptional: true)
      }
      if socket.port != 0, socket.port < network.firstFreePort {
        need(.lowPorts, "port \(socket.port) of \(service.name.value)")
      }
    }
    return Capability.allCases.compactMap { capability in list.first { $0.capability == capability } }
  }

  private func files() -> [Plan.File] {
    var list: [Plan.File] = []
    if configuration.services.contains(where: \.hasInterface) {
      list.append(Plan.File(path: "/dev/net/tun", use: .opened, purpose: "TUN interfaces", failure: nil))
    }
    for service in configuration.services where service.isWireGuard {
      let name = service.interfaceName ?? "INTERFACE"
      list.append(
        Plan.File(path: "/var/run/wireguard/\(name).sock", use: .made, purpose: "the socket for `wg`", failure: nil))
    }
    let keys = Set(configuration.keyFiles.map(\.value))
    for file in configuration.readFiles {
      list.append(
        Plan.File(
          path: file.value, use: .read, purpose: keys.contains(file.value) ? "a private key" : "certificates",
          failure: host.unreadable[file.value]))
    }
    switch configuration.log?.output?.value {
    case nil, "", "stderr"?, "stdout"?, "none"?: break
    case let path?: list.append(Plan.File(path: path, use: .written, purpose: "the log", failure: nil))
    }
    return list
  }
}
