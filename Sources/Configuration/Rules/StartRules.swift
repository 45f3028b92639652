import PartDescriptors
import Values

/// What would keep a service from starting on this host: ports that are taken, addresses that are not here, interfaces
/// that exist, capabilities that are missing, a kernel without a family, too few descriptors.
///
/// `run` refuses to start for each of these errors, so a rule says "error" only where the kernel would refuse for sure.
struct StartRules {
  let configuration: Configuration
  let host: HostFacts
  let network: NetworkFacts
  let report: Report

  func apply() {
    for socket in configuration.listenSockets { listening(socket) }
    for service in configuration.services {
      if service.hasInterface { tun(service) }
      if let turn = configuration.turn(of: service) { relayAddresses(turn, service.handler.metadata) }
      for socket in configuration.dialSockets(service) { dialled(socket) }
    }
    descriptors()
  }

  // MARK: Listening

  private func listening(_ socket: ListenSocket) {
    if socket.transport.isRaw {
      raw(socket.transport, at: socket.span, "listens")
      reflection(socket)
      if socket.transport == .icmp6, network.hasIPv6, network.isIPv6Off {
        report.add(
          Diagnostic(
            .familyMissing, "IPv6 is switched off on this host, so nobody can reach this listener", .warning,
            at: .init(socket.span, "listens to ICMPv6"), help: [Self.switchOn]))
      } else if socket.transport == .icmp6, !network.hasIPv6 {
        noIPv6(at: socket.span, "listens to ICMPv6")
      }
    }
    for address in (host.addresses(of: socket.host) ?? []).prefix(1) { here(address, socket) }
    guard socket.port != 0 else { return }
    if socket.port < network.firstFreePort, !network.capabilities.contains(.lowPorts) {
      report.add(
        Diagnostic(
          .missingCapability,
          "port \(socket.port) needs \(Capability.lowPorts.rawValue), which this process does not have",
          at: .init(socket.span, "below \(network.firstFreePort)"),
          help: ["run it as root, with `setcap cap_net_bind_service+ep`, or listen on a higher port"]))
    }
    taken(socket)
  }

  private func here(_ address: IPAddress, _ socket: ListenSocket) {
    let address = address.canonical
    guard !address.isUnspecified, !address.isLinkLocal, !address.isMulticast, !network.has(address),
      network.ways[WayQuestion(address)] != .local
    else { return }
    if address.family == .ipv6, !network.has(.ipv6) { return noIPv6(at: socket.span, "an IPv6 address") }
    if address.family == .ipv4, address.isLoopback || network.bindsForeign.contains(.ipv4) { return }
    guard !network.bindsForeign.contains(address.family), !willExist(address) else { return }
    let name = socket.host == "\(address)" ? "`\(address)`" : "`\(printable(socket.host))`, which is \(address),"
    report.add(
      Diagnostic(
        .addressNotHere, "\(name) is not an address of this host", at: .init(socket.span, "cannot be listened at"),
        notes: [addressesHere(address.family)],
        help: ["leave the host out to listen at every address: `:\(socket.port)`"]))
  }

  /// Allocations are made at addresses that this host has, and questions about NAT answered from one.
  private func relayAddresses(_ turn: TurnServerConfiguration, _ metadata: Metadata) {
    let named: [(key: String, addresses: [IPAddress?])] = [
      ("addresses", turn.addresses), ("alternate", turn.alternate.map(\.address)),
      ("external", turn.external.map(\.local)),
    ]
    for (key, addresses) in named {
      guard let entry = metadata.entry(key) else { continue }
      for (index, address) in addresses.enumerated() {
        guard let address = address?.canonical, !address.isUnspecified, !address.isLoopback, !network.has(address),
          !willExist(address)
        else { continue }
        report.add(
          Diagnostic(
            .addressNotHere, "`\(address)` is not an address of this host",
            key == "external" ? .warning : .error,
            at: .init(entry.itemSpan(index), key == "external" ? "never used" : "no socket can be bound to it"),
            notes: [addressesHere(address.family)],
            help: key == "external" ? ["write this host's own address behind the slash"] : []))
      }
    }
  }

  /// An address of a TUN interface that a service before it, or it itself, brings up.
  private func willExist(_ address: IPAddress) -> Bool {
    configuration.services.contains { $0.nets.contains { $0.value.address == address } }
  }

  private func addressesHere(_ family: AddressFamily) -> String {
    let all = network.interfaces.filter { !$0.isLoopback }.flatMap { interface in
      interface.addresses.map(\.address).filter { $0.family == family && !$0.isLinkLocal }.map {
        "\($0) (\(printable(interface.name)))"
      }
    }
    if all.isEmpty { return "this host has no \(family) address but loopback" }
    return "this host has \(all.prefix(4).joined(separator: ", "))" + (all.count > 4 ? ", …" : "")
  }

  private func taken(_ socket: ListenSocket) {
    let wanted: IPAddress
    if socket.host.isEmpty {
      wanted = network.hasIPv6 ? .anyIPv6 : .anyIPv4
    } else if let first = host.addresses(of: socket.host)?.first {
      wanted = first
    } else {
      return
    }
    guard
      let other = network.boundSockets.first(where: {
        $0.transport == socket.transport && $0.port == socket.port && Self.overlap(wanted, $0)
      })
    else { return }
    let place = HostPort(host: "\(other.address)", port: other.port)
    let owner = other.owner.map { " by \(printable($0))" } ?? ""
    report.add(
      Diagnostic(
        .portInUse, "\(socket.transport.title) port \(socket.port) is in use\(owner)",
        at: .init(socket.span, "\(place) is taken"),
        help: ["end the other program, or listen on another port"]))
  }

  /// Whether two sockets at one port stand in each other's way. Ours takes IPv4 as well where it is `::`.
  static func overlap(_ ours: IPAddress, _ other: BoundSocket) -> Bool {
    let theirs = other.address
    if ours.isUnspecified, ours.family == .ipv6 { return true }
    if theirs.isUnspecified, theirs.family == .ipv6 { return ours.canonical.family == .ipv6 || !other.isIPv6Only }
    guard ours.canonical.family == theirs.canonical.family else { return false }
    return ours.isUnspecified || theirs.isUnspecified || ours.canonical == theirs.canonical
  }

  private func raw(
    _ transport: SocketTransport, at span: SourceSpan, _ verb: String, _ severity: Diagnostic.Severity = .error
  ) {
    guard !network.capabilities.contains(.rawSockets) else { return }
    report.add(
      Diagnostic(
        .missingCapability,
        "\(transport.rawValue) needs \(Capability.rawSockets.rawValue), which this process does not have",
        severity, at: .init(span, "\(verb) with a raw socket"),
        notes: [
          "the datagram sockets of `ping` (`net.ipv4.ping_group_range`) are of no use here: the kernel chooses their identifiers"
        ],
        help: ["run it as root, or give the program the capability: `setcap cap_net_raw+ep`"]))
  }

  /// Without it the tunnel works, and uploads come back as noise.
  private func reflection(_ socket: ListenSocket) {
    guard !network.capabilities.contains(.administerNetwork), network.capabilities.contains(.rawSockets) else { return }
    report.add(
      Diagnostic(
        .missingCapability,
        "the kernel's answers to our own echo messages cannot be stopped without \(Capability.administerNetwork.rawValue)",
        .warning, at: .init(socket.span, "needs an nftables rule"),
        notes: ["every upload is sent back to its client once more; nothing else changes"]))
  }

  // MARK: TUN

  private func tun(_ service: ServiceConfiguration) {
    let type = service.listener.type
    switch network.tunAccess {
    case .usable: break
    case .missing:
      report.add(
        Diagnostic(
          .noTunDevice, "this host has no `/dev/net/tun`", at: .init(type.span, "makes a TUN interface"),
          help: ["`modprobe tun`; in a container, pass the device in (`--device /dev/net/tun`)"]))
      return
    case .forbidden:
      report.add(
        Diagnostic(
          .noTunDevice, "`/dev/net/tun` may not be opened by this process",
          at: .init(type.span, "makes a TUN interface"),
          help: ["run it as root, or give its user the right to read and write the device"]))
      return
    }
    if !network.capabilities.contains(.administerNetwork) {
      report.add(
        Diagnostic(
          .missingCapability,
          "a TUN interface needs \(Capability.administerNetwork.rawValue), which this process does not have",
          at: .init(type.span, "makes an interface, gives it addresses and routes"),
          help: ["run it as root, or give the program the capability: `setcap cap_net_admin+ep`"]))
    }
    name(service)
    if !network.hasIPv6 || network.isIPv6OffForNew {
      let wanting =
        service.nets.first { $0.value.family == .ipv6 }.map { ($0.span, "\($0.value)") }
        ?? service.tunRoutes.first { $0.destination.family == .ipv6 }.map { ($0.span, "\($0.destination)") }
      if let (span, what) = wanting { noIPv6(at: span, "`\(what)` needs it") }
    }
  }

  private func name(_ service: ServiceConfiguration) {
    guard let name = service.interfaceName, let present = network.interface(name) else { return }
    let written = service.listener.metadata.entry("name")?.valueSpan
    let addresses = present.addresses.filter { !$0.address.isLinkLocal }.map(\.description)
    report.add(
      Diagnostic(
        .interfaceExists, "there is an interface `\(printable(name))` on this host already",
        at: .init(written ?? service.name.span, "cannot be made once more"),
        notes: addresses.isEmpty ? [] : ["it has \(addresses.prefix(3).joined(separator: ", "))"],
        help: ["end the program that made it, or write another name"]))
  }

  // MARK: Dialling

  private func dialled(_ socket: DialSocket) {
    if socket.transport.isRaw {
      raw(socket.transport, at: socket.span, "dials", socket.hasAlternative ? .warning : .error)
    }
    let families = Set((host.addresses(of: socket.address.host) ?? []).map(\.canonical.family))
    let needsIPv6 = socket.family == .ipv6 || families == [.ipv6]
    if needsIPv6, !network.has(.ipv6) {
      report.add(
        Diagnostic(
          .familyMissing, Self.withoutIPv6(network), socket.node != nil && !socket.hasAlternative ? .error : .warning,
          at: .init(socket.span, "is reached over IPv6 only"), help: network.hasIPv6 ? [Self.switchOn] : []))
    }
    if let mark = socket.leaving.mark, mark.value != 0,
      network.capabilities.isDisjoint(with: [.administerNetwork, .rawSockets])
    {
      report.add(
        Diagnostic(
          .missingCapability,
          "a mark needs \(Capability.administerNetwork.rawValue), which this process does not have",
          at: .init(mark.span, "is set on each socket that is dialled"),
          help: ["run it as root, or give the program the capability: `setcap cap_net_admin+ep`"]))
    }
    if let device = socket.leaving.device, let interface = socket.leaving.interface,
      network.interface(device) == nil, !isOwn(device)
    {
      report.add(
        Diagnostic(
          .interfaceMissing, "there is no interface `\(printable(device))` on this host", .warning,
          at: .init(interface.span, "connections leave by it"),
          notes: ["until it is there every dial fails"], help: interfacesHere))
    }
  }

  private func isOwn(_ name: String) -> Bool {
    configuration.services.contains { $0.hasInterface && $0.interfaceName == name }
  }

  private var interfacesHere: [String] {
    let names = network.interfaces.filter { !$0.isLoopback }.prefix(6).map { "`\(printable($0.name))`" }
    return names.isEmpty ? [] : ["the interfaces are \(names.joined(separator: ", "))"]
  }

  // MARK: IPv6

  private func noIPv6(at span: SourceSpan, _ label: String) {
    report.add(
      Diagnostic(
        .familyMissing, Self.withoutIPv6(network), at: .init(span, label), help: network.hasIPv6 ? [Self.switchOn] : [])
    )
  }

  private static func withoutIPv6(_ network: NetworkFacts) -> String {
    network.hasIPv6 ? "IPv6 is switched off on this host" : "this kernel has no IPv6"
  }

  private static let switchOn =
    "`sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0` switches it on"

  // MARK: Descriptors

  /// What the program has open beside its services: the loop, signals, the control socket, netlink, the log.
  private static let ownDescriptors = 10

  /// Sockets that are open from the start on; what clients need comes on top.
  private func descriptors() {
    let sockets = configuration.listenSockets
    let needed = Self.ownDescriptors + sockets.count + 4 * configuration.services.count(where: \.hasInterface)
    guard needed > network.descriptorLimit, let last = sockets.last else { return }
    report.add(
      Diagnostic(
        .descriptorLimit,
        "\(sockets.count) services need about \(needed) descriptors, and this process may have \(network.descriptorLimit)",
        at: .init(last.span, "would not open"),
        help: ["raise the limit (`ulimit -Hn`, `LimitNOFILE=` of systemd), or serve fewer ports"]))
  }
}
