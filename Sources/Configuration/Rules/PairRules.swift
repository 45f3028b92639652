import PartDescriptors
import Values

/// Two ends against each other: does anybody at the other end listen for what is dialled, speak what is spoken, let
/// this user in, and serve the target?
///
/// Every chain of every end is followed through the files of the others. A node finds its service by transport (a
/// dialer `icmp6` reaches a listener `icmp6`) and, where the transport has ports, by port; hosts are not compared,
/// because a name, a NAT or a test setup may stand between. A chain that finds nobody is an error only when no chain
/// of any file finds anybody: a server may have a chain of its own to somewhere else.
struct PairRules {
  let ends: [Configuration]
  let report: Report

  func apply() {
    var unreached: [(end: Int, chain: ChainConfiguration)] = []
    var reached = false
    for (index, end) in ends.enumerated() {
      for chain in usedChains(of: end) {
        if follow(chain, of: index) { reached = true } else { unreached.append((index, chain)) }
      }
    }
    if !reached {
      let own = unreached.filter { $0.end == 0 }
      for (end, chain) in own.isEmpty ? unreached : own { nobodyListens(chain, of: end) }
    }
    for (index, end) in ends.enumerated() {
      for client in end.services {
        if client.isTunClient { tunnel(client, of: index) }
        wishes(client, of: index)
      }
    }
    clients()
    PairWireGuard(ends: ends, report: report).apply()
  }

  private func usedChains(of end: Configuration) -> [ChainConfiguration] {
    let used = end.services.flatMap { [end.chain(of: $0), end.listenerChain(of: $0)] }.compactMap { $0?.name.value }
    return end.chains.filter { used.contains($0.name.value) }
  }

  private func others(than index: Int) -> [(index: Int, end: Configuration)] {
    ends.enumerated().filter { $0.offset != index }.map { ($0.offset, $0.element) }
  }

  // MARK: Chains

  struct Match {
    let end: Configuration
    let service: ServiceConfiguration
  }

  /// Whether at least one node found a listener of its transport.
  private func follow(_ chain: ChainConfiguration, of index: Int) -> Bool {
    var found = false
    for hop in ends[index].hops(of: chain) {
      for node in hop.nodes {
        let matches = listeners(for: node, from: index)
        guard !matches.isEmpty else { continue }
        found = true
        judge(node, matches)
      }
    }
    return found
  }

  private func listeners(for node: NodeConfiguration, from index: Int) -> [Match] {
    guard let transport = transport(of: node) else { return [] }
    return others(than: index).flatMap { other in
      other.end.services.filter { self.transport(of: $0) == transport }.map { Match(end: other.end, service: $0) }
    }
  }

  private func transport(of node: NodeConfiguration) -> String? {
    node.turn?.transport.rawValue ?? node.dialer.descriptor?.transport
  }

  /// What a service's listener is reached by: a TUN server has a UDP port.
  private func transport(of service: ServiceConfiguration) -> String? {
    if service.isTunServer { return "udp" }
    return service.listener.descriptor?.transport
  }

  /// Those with the node's port, where there are ports.
  private func onPort(of node: NodeConfiguration, _ matches: [Match]) -> [Match] {
    guard node.dialer.descriptor?.portMeaning == .port, let port = node.address?.port, port != 0 else { return matches }
    return matches.filter { match in
      guard let address = match.service.address else { return true }
      return address.port == port || address.port == 0
    }
  }

  private func speaking(_ connector: PartDescriptor, _ matches: [Match]) -> [Match] {
    matches.filter { match in
      // An unknown type was reported where it stands.
      guard let handler = match.service.handler.descriptor else { return true }
      return handler.speaks.contains { connector.speaks.contains($0) }
    }
  }

  /// The service that a node leads to, without a word about one that it does not.
  func partner(of node: NodeConfiguration, from index: Int) -> Match? {
    guard let connector = node.connector.descriptor else { return nil }
    return speaking(connector, onPort(of: node, listeners(for: node, from: index))).first
  }

  private func judge(_ node: NodeConfiguration, _ all: [Match]) {
    let matches = onPort(of: node, all)
    if matches.isEmpty, let first = all.first, let port = node.address?.port {
      wrongPort(node, port, first, count: all.count)
      return
    }
    if let first = matches.first {
      path(node, first)
      session(node, first)
      handshake(node, first)
    }
    guard let connector = node.connector.descriptor, connector.speaks != [.raw], !connector.speaks.isEmpty else {
      return
    }
    guard let partner = speaking(connector, matches).first else {
      if let first = matches.first { doesNotSpeak(node, connector, first.service) }
      return
    }
    credentials(node, partner)
    nodelay(node, partner)
  }

  private func doesNotSpeak(_ node: NodeConfiguration, _ connector: PartDescriptor, _ service: ServiceConfiguration) {
    guard let handler = service.handler.descriptor else { return }
    let wire = connector.speaks.first ?? .raw
    let spoken = listed(handler.speaks.map(\.title))
    let fitting =
      PartCatalog.handlers(understanding: wire).first { $0.isAvailable }
      ?? PartCatalog.handlers(understanding: wire).first
    let type = service.handler.type
    let written = type.span.end - type.span.start >= type.value.utf8.count
    let name = node.name.value.isEmpty ? "the client's node" : "the client's node `\(printable(node.name.value))`"
    report.add(
      Diagnostic(
        .peerDoesNotSpeak,
        "\(name) speaks \(wire.title) to \(service.title), whose handler `\(type.value)` does not understand it",
        at: .init(type.span, spoken.isEmpty ? "speaks nothing to a client" : "`\(type.value)` speaks \(spoken)"),
        and: [.init(node.connector.type.span, "the client speaks \(wire.title) here")],
        notes: ["GOST starts both ends and never says so: the client logs `<nil>` and tries again for ever"],
        fix: written ? fitting.map { .replace(type.span, with: $0.name, "write `\($0.name)`") } : nil))
  }

  private func wrongPort(_ node: NodeConfiguration, _ port: UInt16, _ match: Match, count: Int) {
    guard let address = match.service.address, let own = node.address else { return }
    report.add(
      Diagnostic(
        .peerListensElsewhere,
        "the client dials port \(port), and \(match.service.title) listens on port \(address.port)",
        at: .init(node.addr.span, "port \(port)"), and: [.init(match.service.addr.span, "port \(address.port)")],
        help: ["if something between the two translates ports, this is as it should be"],
        fix: count == 1
          ? Diagnostic.Fix(
            "write `\(HostPort(host: own.host, port: address.port))`",
            [.init(node.addr.span, "\(HostPort(host: own.host, port: address.port))")], isCertain: false) : nil))
  }

  private func nobodyListens(_ chain: ChainConfiguration, of index: Int) {
    guard let node = ends[index].hops(of: chain).first?.nodes.first, let transport = transport(of: node) else { return }
    let services = others(than: index).flatMap(\.end.services).filter { $0.handler.descriptor?.carries != .device }
    // The service that was probably meant: one that speaks the right protocol.
    let meant = services.filter { service in
      service.handler.descriptor?.speaks.contains { node.connector.descriptor?.speaks.contains($0) == true } == true
    }
    let only = meant.count == 1 ? meant.first : nil
    let fitting = only?.listener.descriptor?.transport.flatMap { wanted in
      PartCatalog.dialers.first { $0.transport == wanted && $0.isAvailable }
    }
    report.add(
      Diagnostic(
        .peerHasNoListener,
        "the client dials with `\(node.dialer.type.value)`, and no listener `\(transport)` is at the other end",
        at: .init(node.dialer.type.span, "nobody answers this"),
        and: (only.map { [$0] } ?? Array(services.prefix(3))).map {
          .init($0.listener.type.span, "\($0.title) listens with `\($0.listener.type.value)`")
        },
        help: services.isEmpty ? ["the other end needs a service with the listener `\(transport)`"] : [],
        fix: fitting.map {
          Diagnostic.Fix("write `\($0.name)`", [.init(node.dialer.type.span, $0.name)], isCertain: false)
        }))
  }

  private func credentials(_ node: NodeConfiguration, _ match: Match) {
    guard [.credentials, .userName].contains(match.service.handler.descriptor?.authentication) else { return }
    let known = match.end.credentials(of: match.service.handler)
    // Time-limited credentials are made of a secret, and name whom they like.
    if match.service.handler.metadata.entry("secret") != nil
      || match.service.handler.metadata.entry("secretFile") != nil
      || node.turn?.secret != nil
    {
      return
    }
    // Whether the client stands among those that need none is not known here.
    guard let first = known.first, match.service.handler.metadata.entry("skipauth") == nil else { return }
    let sendsPassword = node.connector.descriptor?.authentication != .userName
    guard let own = node.connector.auth else {
      report.add(
        Diagnostic(
          .peerAuthentication,
          "\(match.service.title) asks for a user name\(sendsPassword ? " and a password" : ""), and the client sends none",
          at: .init(node.connector.type.span, "`auth` is missing beside this"),
          and: [.init(first.username.span, "a user that it knows")],
          help: ["give the connector `auth` with `username`\(sendsPassword ? " and `password`" : "")"]))
      return
    }
    if known.contains(where: { $0.matches(own) }) { return }
    if !sendsPassword, let same = known.first(where: { $0.username.value == own.username.value }) {
      guard let password = same.password, !password.value.isEmpty else { return }
      report.add(
        Diagnostic(
          .peerAuthentication, "SOCKS4 sends no password, and \(match.service.title) asks for one",
          at: .init(node.connector.type.span, "sends the user name alone"), and: [.init(password.span, "asked for")],
          fix: .replace(node.connector.type.span, with: "socks5", "write `socks5`, if the handler understands it")))
      return
    }
    if let same = known.first(where: { $0.username.value == own.username.value }) {
      report.add(
        Diagnostic(
          .peerAuthentication, "the passwords of `\(printable(own.username.value))` differ at the two ends",
          at: .init(own.password?.span ?? own.username.span, "the client's"),
          and: [.init(same.password?.span ?? same.username.span, "the server's")]))
    } else {
      report.add(
        Diagnostic(
          .peerAuthentication, "\(match.service.title) knows no user `\(printable(own.username.value))`",
          at: .init(own.username.span, "unknown at the other end"),
          and: [.init(first.username.span, "a user that it knows")]))
    }
  }

  /// GOST's client waits for an answer that GOST's server sends only with the first data.
  private func nodelay(_ node: NodeConfiguration, _ match: Match) {
    let client = node.connector.metadata
    let server = match.service.handler.metadata
    guard match.service.handler.type.value == "relay",
      client.bool("nodelay") ?? false != server.bool("nodelay") ?? false
    else { return }
    let isClient = client.bool("nodelay") == true
    guard let entry = (isClient ? client : server).entry("nodelay") else { return }
    report.add(
      Diagnostic(
        .nodelayOnOneSide, "`nodelay` is on at the \(isClient ? "client" : "server") only", .warning,
        at: .init(entry.key.span, "on"),
        and: [.init(isClient ? match.service.handler.type.span : node.connector.type.span, "off")],
        notes: [
          isClient
            ? "Culvert answers at once either way; a GOST server would leave this client waiting"
            : "Culvert asks at once either way; a GOST client would wait with its request until somebody speaks"
        ], help: ["write `nodelay: true` into the \(isClient ? "handler" : "connector")'s metadata as well"]))
  }

  // MARK: Tunnels

  private func tunnel(_ client: ServiceConfiguration, of index: Int) {
    guard let node = client.forwarder?.nodes.first, let target = node.address else { return }
    let servers = others(than: index).flatMap { other in
      other.end.services.filter(\.isTunServer).map { Match(end: other.end, service: $0) }
    }
    guard let server = servers.first(where: { $0.service.address?.port == target.port }) else {
      notServed(client, node, target, servers.map(\.service), from: index)
      return
    }
    innerAddresses(client, server.service)
    passphrase(client, server)
  }

  private func notServed(
    _ client: ServiceConfiguration, _ node: ForwardNodeConfiguration, _ target: HostPort,
    _ servers: [ServiceConfiguration],
    from index: Int
  ) {
    if servers.isEmpty {
      // The files of a relay alone say nothing about the TUN server behind it.
      guard let literal = target.literal, literal.isLoopback, client.handler.chain != nil else { return }
    }
    let literal = target.literal?.canonical
    let isPeers =
      literal.map { address in
        address.isLoopback || servers.contains { $0.nets.contains { $0.value.address == address } }
      } ?? false
    let only = servers.count == 1 ? servers.first : nil
    let port = only?.address?.port ?? 0
    report.add(
      Diagnostic(
        .targetNotServed, "no TUN server of the other end has port \(target.port)", isPeers ? .error : .warning,
        at: .init(node.addr.span, "nobody serves this port"),
        and: servers.prefix(3).map { .init($0.addr.span, "\($0.title) serves this one") },
        fix: port != 0
          ? .replace(node.addr.span, with: "\(HostPort(host: target.host, port: port))", "write port \(port)") : nil))
  }

  private func innerAddresses(_ client: ServiceConfiguration, _ server: ServiceConfiguration) {
    for net in client.nets {
      if let same = server.nets.first(where: { $0.value.address == net.value.address }) {
        report.add(
          Diagnostic(
            .sameInnerAddress, "both ends of the tunnel have the address `\(net.value.address)`",
            at: .init(net.span, "the client's"), and: [.init(same.span, "the server's")],
            notes: ["a GOST server ignores a client that announces the server's own address"],
            help: ["give the client another address of the network"]))
      } else if !server.nets.isEmpty, !server.nets.contains(where: { $0.value.contains(net.value.address) }) {
        report.add(
          Diagnostic(
            .outsidePeerNetwork, "the client's address `\(net.value.address)` is in no network of the server", .warning,
            at: .init(net.span, "the client's"), and: server.nets.map { .init($0.span, "the server's") },
            notes: ["the server's host has no route back to it, unless one is written"],
            help: ["take an address of the server's network, or give the server a route to this one"]))
      }
    }
    for own in server.nets where client.nets.contains(where: { own.value.contains($0.value.address) }) {
      let reaches =
        client.nets.contains { $0.value.contains(own.value.address) } || routes(client, to: own.value.address)
      let isSame = client.nets.contains { $0.value.address == own.value.address }
      guard !reaches, !isSame, let net = client.nets.first(where: { own.value.contains($0.value.address) }) else {
        continue
      }
      report.add(
        Diagnostic(
          .outsidePeerNetwork, "the client has no route to the server's address `\(own.value.address)`", .warning,
          at: .init(net.span, "a network without it"), and: [.init(own.span, "the server's")],
          help: ["write the server's prefix length, `/\(own.value.length)`, or a route to the server's address"]))
    }
  }

  private func routes(_ client: ServiceConfiguration, to address: IPAddress) -> Bool {
    let metadata = client.listener.metadata
    return metadata.prefixes("route").contains { $0.contains(address) }
      || metadata.routes("routes").contains { $0.destination.contains(address) }
  }

  private func passphrase(_ client: ServiceConfiguration, _ server: Match) {
    let known = server.end.credentials(of: server.service.handler)
    guard !known.isEmpty else { return }
    let entry = client.handler.metadata.entry("passphrase")
    let own = client.handler.metadata.secret("passphrase") ?? Secret("")
    if own.byteCount > TunHandshakeLimits.passphraseBytes { return }
    for net in client.nets {
      guard let user = known.first(where: { IPAddress($0.username.value)?.canonical == net.value.address.canonical })
      else {
        report.add(
          Diagnostic(
            .peerPassphrase, "\(server.service.title) has no user for the client's address `\(net.value.address)`",
            at: .init(net.span, "unknown at the other end"),
            and: [.init(known[0].username.span, "a user that it knows")],
            notes: ["a TUN server's users are its clients' addresses; it does not answer others, and does not say so"]))
        continue
      }
      if (user.password?.value ?? Secret("")) == own { continue }
      report.add(
        Diagnostic(
          .peerPassphrase, "the client's passphrase is not the one that the server has for `\(net.value.address)`",
          at: .init(
            entry?.valueSpan ?? client.handler.type.span,
            entry == nil ? "`metadata.passphrase` is missing" : "the client's"),
          and: [.init(user.password?.span ?? user.username.span, "the server's")],
          notes: ["the server does not answer a client with another passphrase, and does not say so"]))
    }
  }

  /// Two clients, in two files, with one inner address.
  private func clients() {
    var seen: [(end: Int, net: Located<IPPrefix>)] = []
    for (index, end) in ends.enumerated() {
      for client in end.services where client.isTunClient {
        for net in client.nets {
          if let other = seen.first(where: { $0.end != index && $0.net.value.address == net.value.address }) {
            report.add(
              Diagnostic(
                .sameInnerAddress, "two clients have the address `\(net.value.address)`",
                at: .init(other.net.span, "here"),
                and: [.init(net.span, "and here")], help: ["give each client an address of its own"]))
          }
          seen.append((index, net))
        }
      }
    }
  }

  private func listed(_ words: [String]) -> String {
    guard let last = words.last, words.count > 1 else { return words.first ?? "" }
    return words.dropLast().joined(separator: ", ") + " and " + last
  }
}
