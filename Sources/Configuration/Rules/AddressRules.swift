import PartDescriptors
import Values

/// Addresses: readable, of a family that the part works with, with a port where one is needed, and used once.
struct AddressRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for service in configuration.services {
      listening(service)
      for node in service.forwarder?.nodes ?? [] { target(node, of: service) }
    }
    for node in configuration.allNodes { dialled(node) }
    clashes()
  }

  // MARK: Services

  private func listening(_ service: ServiceConfiguration) {
    guard let listener = service.listener.descriptor, listener.isAvailable else { return }
    let addr = service.addr
    let isServer = service.isTun ? service.isTunServer : !service.isWireGuard
    guard !addr.value.isEmpty else {
      if isServer, listener.portMeaning == .port, service.handler.descriptor?.isAvailable == true {
        noPort(service, listener, at: service.name.span)
      }
      return
    }
    if configuration.nodeIsUnknown(listening: service) { return }
    guard let address = checked(addr, of: listener) else { return }
    if let literal = address.literal, let family = listener.family, literal.canonical.family != family {
      familyError(addr, literal, listener, service.listener.type)
    }
    if listener.portMeaning == .echoIdentifier, address.port != 0 {
      report.add(
        Diagnostic(
          .portWithoutMeaning, "the listener `\(service.listener.type.value)` has no port", .warning,
          at: .init(addr.span, "\(address.port) has no effect"),
          notes: ["ICMP has no ports: the listener answers every echo request that is meant for it"],
          fix: .replace(addr.span, with: "\(HostPort(host: address.host, port: 0))", "write port 0")))
    }
    if isServer, listener.portMeaning == .port, address.port == 0, service.handler.descriptor?.isAvailable == true {
      noPort(service, listener, at: addr.span)
    }
  }

  private func noPort(_ service: ServiceConfiguration, _ listener: PartDescriptor, at span: SourceSpan) {
    let tun = service.isTun
    let keys = ["addr"] + (tun ? ["forwarder", "nodes"] : [])
    if keys.contains(where: { report.mends($0, inside: service.span) }) { return }
    report.add(
      Diagnostic(
        .missingPort,
        tun
          ? "the TUN server \(service.title) has no port for its clients"
          : "\(service.title) listens on a port that the kernel chooses anew each time",
        tun ? .error : .warning, at: .init(span, "no fixed port"),
        notes: tun ? ["without a `forwarder` this service is a server"] : [],
        help: [
          tun
            ? "write a port such as `:8421`, or a `forwarder` if this is meant as a client"
            : "write a port, such as `:8443`"
        ]))
  }

  // MARK: Nodes and targets

  private func dialled(_ node: NodeConfiguration) {
    guard let dialer = node.dialer.descriptor, dialer.isAvailable, dialer.portMeaning != .none,
      !node.addr.value.isEmpty
    else { return }
    let isEcho = dialer.portMeaning == .echoIdentifier
    guard let address = checked(node.addr, of: dialer) else { return }
    // A `direct` half without the other was reported.
    if address.port == 0, !isEcho, !node.isDirect {
      report.add(
        Diagnostic(
          .missingPort, "the dialer `\(node.dialer.type.value)` needs the port of the node",
          at: .init(node.addr.span, "port 0"),
          help: ["write the port on which the node listens"]))
    }
    if let literal = address.literal, let family = dialer.family, literal.canonical.family != family {
      familyError(node.addr, literal, dialer, node.dialer.type)
    }
    if let literal = address.literal, literal.isMulticast || literal.isUnspecified && isEcho {
      report.add(
        Diagnostic(
          .badAddress, "`\(literal)` is not the address of a node",
          at: .init(node.addr.span, literal.isMulticast ? "a multicast address" : "the unspecified address")))
    }
  }

  private func target(_ node: ForwardNodeConfiguration, of service: ServiceConfiguration) {
    guard !node.addr.value.isEmpty, service.handler.descriptor?.isAvailable == true,
      !configuration.nodeIsUnknown(of: service)
    else { return }
    if service.isTun, !node.addr.value.contains(":") || IPAddress(node.addr.value) != nil,
      IPAddress(node.addr.value)?.family != .ipv6
    {
      report.add(
        Diagnostic(
          .targetWithoutPortNotYet, "a TUN client's target without a port is not yet supported", .notYet,
          at: .init(node.addr.span, "no port"),
          notes: ["GOST then speaks its router protocol through the chain"],
          help: ["for a TUN server write its port: `\(printable(node.addr.value)):8421`"]))
      return
    }
    guard let address = checked(node.addr, of: nil) else { return }
    if address.port == 0, service.isTun || !configuration.nodeDecides(of: service),
      report.knowsRoute(of: service, in: configuration)
    {
      report.add(
        Diagnostic(
          .missingPort, "the target has no port", at: .init(node.addr.span, "port 0"),
          help: ["write the port on which the target listens"]))
    }
  }

  private func familyError(
    _ addr: Located<String>, _ literal: IPAddress, _ part: PartDescriptor, _ type: Located<String>
  ) {
    let other = part.kind == .dialer || part.kind == .listener ? PartCatalog.counterpart(of: part) : nil
    report.add(
      Diagnostic(
        .familyMismatch,
        "the \(part.kind.rawValue) `\(type.value)` works over \(part.family?.description ?? "another family") only, and `\(literal)` is an \(literal.canonical.family) address",
        at: .init(addr.span, "an \(literal.canonical.family) address"),
        and: [.init(type.span, "\(part.family?.description ?? "") only")],
        fix: other.map {
          // The other end has to change with it.
          .init("write `\($0)`, here and at the other end", [.init(type.span, $0)], isCertain: part.kind == .dialer)
        }))
  }

  // MARK: Reading an address

  private func checked(_ addr: Located<String>, of part: PartDescriptor?) -> HostPort? {
    switch AddressText.read(addr.value) {
    case .success(let address): return address
    case .failure(let problem):
      // A part without ports takes a host alone.
      if problem.isMissingPort || IPAddress(addr.value) != nil, part?.portMeaning == .echoIdentifier,
        case .success(let address) = AddressText.read(HostPort.withPortZero(addr.value))
      {
        return address
      }
      let fix = problem.replacement.map { Diagnostic.Fix.replace(addr.span, with: $0, "write `\(printable($0))`") }
      report.add(
        Diagnostic(
          .badAddress, "`\(printable(addr.value))` is not an address with a port", at: .init(addr.span, problem.label),
          help: problem.help, fix: fix))
      return nil
    }
  }

  // MARK: Clashes

  private func clashes() {
    // By protocol and port, so that a file with thousands of services is judged at once.
    var taken: [String: [(address: HostPort, service: ServiceConfiguration)]] = [:]
    for service in configuration.services {
      guard let listener = service.listener.descriptor, listener.isAvailable, let address = service.address,
        !report.mends("addr", inside: service.span)
      else { continue }
      let kind: String
      switch listener.name {
      case "tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "mtcp": kind = "TCP"
      case "udp", "dtls", "quic", "wireguard": kind = "UDP"
      case "tun" where service.isTunServer: kind = "UDP"
      case "icmp", "icmp6": kind = listener.name
      case "rtcp", "rudp":
        // At the last node of the chain, or here where there is none. Of several nodes each may have its own.
        let chain = configuration.listenerChain(of: service)
        if let chain, configuration.hops(of: chain).last?.nodes.count != 1 { continue }
        let place = chain.map { " at the end of `\(printable($0.name.value))`" } ?? ""
        kind = (listener.name == "rtcp" ? "TCP" : "UDP") + place
      default: continue
      }
      let isEcho = listener.portMeaning == .echoIdentifier
      if !isEcho, address.port == 0 { continue }
      let key = isEcho ? kind : "\(kind) \(address.port)"
      if let other = taken[key]?.first(where: { hostsOverlap($0.address, address) }) {
        report.add(
          Diagnostic(
            .duplicateListenAddress,
            isEcho
              ? "two services take the echo requests of \(kind)"
              : "two services listen on \(kind.split(separator: " ", maxSplits: 1)[0]) port \(address.port)\(kind.dropFirst(3))",
            at: .init(place(service), "again here"), and: [.init(place(other.service), "first here")],
            help: [isEcho ? "give each its own local address, or join them" : "give one of them another port"]))
      } else {
        taken[key, default: []].append((address, service))
      }
    }
  }

  private func place(_ service: ServiceConfiguration) -> SourceSpan {
    service.addr.value.isEmpty ? service.name.span : service.addr.span
  }

  private func hostsOverlap(_ a: HostPort, _ b: HostPort) -> Bool {
    guard let left = a.literal, let right = b.literal else {
      return a.host.isEmpty || b.host.isEmpty || a.host == b.host
    }
    if left.isUnspecified || right.isUnspecified {
      // `::` takes IPv4 as well; `0.0.0.0` takes IPv4 only.
      return left.family == right.family || (left.isUnspecified && left.family == .ipv6)
        || (right.isUnspecified && right.family == .ipv6)
    }
    return left.canonical == right.canonical
  }
}

extension PartCatalog {
  /// `icmp6` for `icmp` and the reverse.
  static func counterpart(of part: PartDescriptor) -> String? {
    switch part.name {
    case "icmp": "icmp6"
    case "icmp6": "icmp"
    default: nil
    }
  }
}
