import PartDescriptors
import Values

/// TUN interfaces: addresses, routes, MTU, and the traps of a tunnel that would carry itself (`gost.md` D and E.2).
struct TunRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    let interfaces = configuration.services.filter(\.hasInterface)
    for service in interfaces {
      addresses(service)
      mtu(service)
      interfaceName(service)
    }
    for service in interfaces where service.isTun {
      routes(service)
      side(service)
      passphrase(service)
      target(service)
    }
    overlaps(interfaces)
    interfaceNames(interfaces)
  }

  // MARK: Addresses

  private func addresses(_ service: ServiceConfiguration) {
    // An entry that could not be read was reported.
    if service.nets.isEmpty, !report.diagnostics.contains(where: { covers($0, service.span) }) {
      let client = service.isTunClient
      report.add(
        Diagnostic(
          .tunWithoutNet, "the interface of \(service.title) has no address", client ? .error : .warning,
          at: .init(service.listener.type.span, "`metadata.net` is missing"),
          notes: client ? ["a client announces its own addresses; without one the server cannot answer it"] : [],
          help: ["write the address of this end: `net: 10.0.0.\(client ? 2 : 1)/24`"]))
    }
    for (index, net) in service.nets.enumerated() {
      let prefix = net.value
      if let earlier = service.nets[..<index].first(where: { $0.value.address == prefix.address }) {
        report.add(
          Diagnostic(
            .overlappingNetworks, "`\(prefix.address)` stands twice in one `net`", at: .init(net.span, "again here"),
            and: [.init(earlier.span, "first here")]))
      } else if prefix.length < prefix.address.bitWidth - 1, prefix.network.address == prefix.address {
        report.add(
          Diagnostic(
            .networkAddress, "`\(prefix)` is the network itself, not an address in it", .warning,
            at: .init(net.span, "no host part"), help: ["write the address of this end, such as `\(example(prefix))`"]))
      } else if case .v4(let bits) = prefix.address, prefix.length < 31,
        bits | (UInt32.max >> UInt32(prefix.length)) == bits
      {
        report.add(
          Diagnostic(
            .networkAddress, "`\(prefix)` is the broadcast address of its network", .warning,
            at: .init(net.span, "the last address"), help: ["write another address of the network"]))
      }
      if prefix.address.isMulticast || prefix.address.isUnspecified || prefix.address.isLoopback {
        report.add(
          Diagnostic(
            .networkAddress, "`\(prefix.address)` cannot be the address of an interface",
            at: .init(
              net.span,
              prefix.address.isMulticast ? "multicast" : prefix.address.isLoopback ? "loopback" : "unspecified")))
      }
    }
  }

  private func covers(_ diagnostic: Diagnostic, _ span: SourceSpan?) -> Bool {
    guard diagnostic.severity == .error, let span, let place = diagnostic.primary?.span else { return false }
    return place.file == span.file && place.start >= span.start && place.end <= span.end
  }

  private func example(_ prefix: IPPrefix) -> String {
    switch prefix.address {
    case .v4(let bits): "\(IPAddress.v4(bits | 1))/\(prefix.length)"
    case .v6(let bits): "\(IPAddress.v6(bits | 1))/\(prefix.length)"
    }
  }

  private func mtu(_ service: ServiceConfiguration) {
    guard let entry = service.listener.metadata.entry("mtu"), case .int(let mtu) = entry.value, mtu < 1280,
      let net = service.nets.first(where: { $0.value.family == .ipv6 })
    else { return }
    report.add(
      Diagnostic(
        .mtuTooSmallForIPv6, "IPv6 needs an MTU of 1280 or more", at: .init(entry.valueSpan, "too small for IPv6"),
        and: [.init(net.span, "an IPv6 address")],
        notes: ["the kernel takes IPv6 away from an interface with a smaller MTU (RFC 8200, section 5)"],
        fix: .replace(entry.valueSpan, with: "1280", "write `1280`")))
  }

  // MARK: Routes

  private func routes(_ service: ServiceConfiguration) {
    let metadata = service.listener.metadata
    let nets = service.nets
    if let entry = metadata.entry("gw"), let gateway = metadata.address("gw") {
      check(gateway, at: entry.valueSpan, nets)
    }
    var destinations: [(prefix: IPPrefix, gateway: IPAddress?, span: SourceSpan)] = []
    if let entry = metadata.entry("route"), case .prefixes(let prefixes) = entry.value {
      for (prefix, span) in zip(prefixes, entry.itemSpans) { destinations.append((prefix, nil, span)) }
    }
    if let entry = metadata.entry("routes"), case .routes(let routes) = entry.value {
      for (route, span) in zip(routes, entry.itemSpans) {
        destinations.append((route.destination, route.gateway, span))
        if let gateway = route.gateway { check(gateway, at: span, nets) }
      }
    }
    for route in destinations {
      let gateway = route.gateway ?? metadata.address("gw")
      if let gateway, gateway.family != route.prefix.family {
        report.add(
          Diagnostic(
            .routeFamily, "an \(route.prefix.family) route cannot have an \(gateway.family) gateway",
            at: .init(route.span, "\(route.prefix.family)"),
            and: route.gateway == nil
              ? [.init(metadata.entry("gw")?.valueSpan ?? route.span, "\(gateway.family)")] : [],
            help: ["give the route a gateway of its own in `routes`"]))
      } else if gateway == nil, !nets.isEmpty, !nets.contains(where: { $0.value.family == route.prefix.family }) {
        report.add(
          Diagnostic(
            .routeFamily, "an \(route.prefix.family) route into an interface without an \(route.prefix.family) address",
            .warning,
            at: .init(route.span, "\(route.prefix.family)"),
            and: [.init(nets[0].span, "only \(nets[0].value.family)")],
            notes: ["the packets would have the address of another interface, and the far end may drop them"],
            help: ["add an \(route.prefix.family) address to `net`"]))
      }
      if route.prefix.network != route.prefix {
        report.add(
          Diagnostic(
            .networkAddress, "`\(route.prefix)` has bits behind its prefix length", .warning,
            at: .init(route.span, "routes `\(route.prefix.network)`")))
      }
    }
  }

  private func check(_ gateway: IPAddress, at span: SourceSpan, _ nets: [Located<IPPrefix>]) {
    guard !nets.isEmpty else { return }
    if let own = nets.first(where: { $0.value.address == gateway }) {
      report.add(
        Diagnostic(
          .gatewayOutsideNet, "the gateway `\(gateway)` is this end's own address", at: .init(span, "the same address"),
          and: [.init(own.span, "this end")], help: ["write the address of the other end"]))
    } else if !nets.contains(where: { $0.value.contains(gateway) }) {
      report.add(
        Diagnostic(
          .gatewayOutsideNet, "the gateway `\(gateway)` is in no network of the interface",
          at: .init(span, "not reachable through the interface"), and: nets.map { .init($0.span, "") },
          notes: ["the kernel refuses a route by a gateway that it cannot reach"]))
    }
  }

  // MARK: Sides

  private func side(_ service: ServiceConfiguration) {
    let metadata = service.handler.metadata
    if service.isTunServer {
      if let chain = service.handler.chain {
        report.add(
          Diagnostic(
            .chainWithoutForwarder, "\(service.title) has a chain and no target to reach through it", .warning,
            at: .init(chain.span, "never used"),
            notes: ["without a `forwarder` a TUN service is a server, and dials nothing"],
            help: ["write a `forwarder` with the TUN server's address, or remove `chain`"]))
      }
      if let entry = metadata.entry("passphrase"), service.handler.authers.isEmpty, service.handler.auth == nil {
        report.add(
          Diagnostic(
            .clientOnlyKey, "a TUN server does not compare clients with `passphrase`", .warning,
            at: .init(entry.key.span, "only a client sends it"),
            notes: ["any client may take any address of this server"],
            help: ["name an `auther` whose users are the clients' addresses and whose passwords are their passphrases"])
        )
      }
    } else if let entry = metadata.entry("ttl"), metadata.bool("keepalive") != true {
      report.add(
        Diagnostic(
          .ttlWithoutKeepalive, "`ttl` has no effect without `keepAlive: true`", .warning,
          at: .init(entry.key.span, "never used by GOST"),
          notes: ["without it a client of GOST announces itself once, and never again when the server was restarted"],
          help: ["add `keepAlive: true`"]))
    }
  }

  private func passphrase(_ service: ServiceConfiguration) {
    if let entry = service.handler.metadata.entry("passphrase"), case .secret(let secret) = entry.value,
      secret.byteCount > TunHandshakeLimits.passphraseBytes
    {
      report.add(
        Diagnostic(
          .passphraseTooLong, "a passphrase has at most 16 bytes, this one has \(secret.byteCount)", .warning,
          at: .init(entry.valueSpan, "is cut off"),
          notes: [
            "GOST sends the first 16 bytes only, and so do we; a GOST server compares them with the whole password, and a "
              + "server without an auther with nothing"
          ],
          help: ["choose one of 16 bytes or fewer, here and at the server"]))
    }
    guard service.isTunServer else { return }
    let users = configuration.credentials(of: service.handler)
    for user in users {
      guard let password = user.password, IPAddress(user.username.value) != nil,
        password.value.byteCount > TunHandshakeLimits.passphraseBytes
      else { continue }
      report.add(
        Diagnostic(
          .passphraseTooLong, "no TUN client can send a passphrase of \(password.value.byteCount) bytes",
          at: .init(password.span, "more than 16 bytes"),
          and: [.init(service.handler.type.span, "for clients of this server")],
          help: ["choose one of 16 bytes or fewer"]))
    }
    if !users.isEmpty, !users.contains(where: { IPAddress($0.username.value) != nil }), let first = users.first {
      report.add(
        Diagnostic(
          .passphraseUserName, "no TUN client can have the user name `\(printable(first.username.value))`",
          at: .init(first.username.span, "not an IP address"),
          and: [.init(service.handler.type.span, "this server asks for credentials")],
          notes: ["a TUN client's user name is its inner address, its password the passphrase"],
          help: ["write one user for each client address, such as `username: 10.0.0.2`"]))
    }
  }

  private func target(_ service: ServiceConfiguration) {
    guard let node = service.forwarder?.nodes.first, let host = node.address?.literal?.canonical else { return }
    if let own = service.nets.first(where: { $0.value.address == host }) {
      report.add(
        Diagnostic(
          .forwarderIsSelf, "the target of \(service.title) is its own address",
          at: .init(node.addr.span, "this end itself"),
          and: [.init(own.span, "the address of this end")], help: ["write the address of the TUN server"]))
    } else if configuration.goesStraight(service), !report.mends("chain", inside: service.span),
      let own = service.nets.first(where: { $0.value.contains(host) })
    {
      report.add(
        Diagnostic(
          .forwarderInsideTunnel, "the target of \(service.title) lies inside the tunnel that leads to it",
          at: .init(node.addr.span, "in `\(own.value.network)`"),
          and: [.init(own.span, "routes that network into the tunnel")],
          notes: ["the tunnel's own packets would go into the tunnel"],
          help: ["write an address by which the server is reached from outside, or a `chain` that leads to it"]))
    }
    for first in configuration.route(of: service)?.first?.nodes ?? [] {
      guard let address = first.address?.literal?.canonical,
        let own = service.nets.first(where: { $0.value.contains(address) })
      else { continue }
      report.add(
        Diagnostic(
          .forwarderInsideTunnel, "the first node of the chain lies inside the tunnel that leads through it",
          at: .init(first.addr.span, "in `\(own.value.network)`"),
          and: [.init(own.span, "routes that network into the tunnel")],
          help: ["write an address by which the node is reached from outside"]))
    }
  }

  // MARK: Between services

  private func overlaps(_ tuns: [ServiceConfiguration]) {
    var seen: [Located<IPPrefix>] = []
    for service in tuns {
      let nets = service.nets
      for net in nets {
        if let other = seen.first(where: { $0.value.overlaps(net.value) }) {
          let same = other.value.address == net.value.address
          report.add(
            Diagnostic(
              .overlappingNetworks,
              same
                ? "two interfaces have the address `\(net.value.address)`"
                : "the networks of two interfaces overlap",
              same ? .error : .warning, at: .init(net.span, "here"), and: [.init(other.span, "and here")],
              notes: same
                ? [] : ["the kernel sends all packets for `\(shared(net.value, other.value))` into one of the two"],
              help: ["give each tunnel a network of its own"]))
        }
      }
      seen += nets
    }
  }

  private func shared(_ a: IPPrefix, _ b: IPPrefix) -> IPPrefix { a.length > b.length ? a.network : b.network }

  private func interfaceName(_ service: ServiceConfiguration) {
    guard let entry = service.listener.metadata.entry("name"), case .string(let name) = entry.value else { return }
    guard let problem = InterfaceName.problem(name) else { return }
    report.add(
      Diagnostic(
        .interfaceName, "`\(printable(name))` cannot be the name of an interface", at: .init(entry.valueSpan, problem)))
  }

  private func interfaceNames(_ services: [ServiceConfiguration]) {
    var first: [String: SourceSpan] = [:]
    for service in services {
      guard let name = service.interfaceName, !name.contains("%") else { continue }
      let span = service.listener.metadata.entry("name")?.valueSpan ?? service.name.span
      if let previous = first[name] {
        report.add(
          Diagnostic(
            .duplicateName, "two interfaces are named `\(printable(name))`", at: .init(span, "again here"),
            and: [.init(previous, "first here")], help: ["give one of them another name"]))
      } else {
        first[name] = span
      }
    }
  }
}

/// What Linux takes as the name of an interface.
enum InterfaceName {
  static func isLegal(_ name: String) -> Bool { !name.isEmpty && problem(name) == nil }

  /// In words, where it does not.
  static func problem(_ name: String) -> String? {
    if name.utf8.count > 15 { return "\(name.utf8.count) bytes; Linux takes at most 15" }
    if name == "." || name == ".." || name.unicodeScalars.contains(where: { "/: \t".unicodeScalars.contains($0) }) {
      return "`/`, `:` and spaces cannot stand in it"
    }
    return nil
  }
}

/// What GOST's TUN handshake has room for (`gost.md` C.4).
enum TunHandshakeLimits {
  static let passphraseBytes = 16
}
