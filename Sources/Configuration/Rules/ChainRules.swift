import PartDescriptors
import Values

/// Chains: which hop may stand where, what the last one can carry, and how one of several nodes is chosen.
///
/// A chain is dialled from the first hop on: the first node by this host's own sockets, each further one through a
/// stream that the hop before it opens. What needs a socket of its own can only be the first, and the last hop's
/// connector has to be able to do what the service wants of it: streams, datagrams, or a port at the far end.
struct ChainRules {
  let configuration: Configuration
  let report: Report
  /// Where the first hops of chains are written, and the others: found once, as a file may have thousands.
  private let firstHops: Set<SourceSpan>
  private let furtherHops: Set<SourceSpan>

  init(configuration: Configuration, report: Report) {
    self.configuration = configuration
    self.report = report
    let hops = configuration.chains.map { configuration.hops(of: $0).map(\.span) }
    firstHops = Set(hops.compactMap(\.first))
    furtherHops = Set(hops.flatMap { $0.dropFirst() })
  }

  func apply() {
    for chain in configuration.chains { order(chain) }
    for service in configuration.services {
      carriage(service)
      binding(service)
      if let last = configuration.route(of: service)?.last {
        for target in service.forwarder?.nodes ?? [] { reach(last, target.address, target.addr) }
      }
    }
    for hop in configuration.allHops {
      choice(hop.nodes.map(\.metadata), hop.selection, of: "node of the hop")
      for node in hop.nodes { proxyHeader(node, of: hop) }
    }
    for service in configuration.services {
      guard let forwarder = service.forwarder else { continue }
      choice(forwarder.nodes.map(\.metadata), forwarder.selection, of: "target of the forwarder")
    }
  }

  // MARK: The order of hops

  private func order(_ chain: ChainConfiguration) {
    let hops = configuration.hops(of: chain)
    for (hop, next) in zip(hops, hops.dropFirst()) {
      for node in next.nodes { reach(hop, node.address, node.addr) }
    }
    for (index, hop) in hops.enumerated() {
      for node in hop.nodes {
        guard let dialer = node.dialer.descriptor, let connector = node.connector.descriptor, dialer.isAvailable,
          connector.isAvailable
        else { continue }
        if index > 0 { further(node, dialer, in: chain) }
        if index > 0 { sockets(node, hop, in: chain) }
        if index < hops.count - 1, dialer.carries == .datagrams, connector.speaks == [.raw] || dialer.name == "turn" {
          report.add(
            Diagnostic(
              .chainOrder, "the dialer `\(node.dialer.type.value)` can only be the last hop of a chain",
              at: .init(node.dialer.type.span, "gives datagrams"), and: [.init(chain.name.span, "in this chain")],
              notes: ["the next hop is spoken to in a stream"], help: ["take a dialer that gives streams"]))
        }
      }
    }
  }

  /// A node that is not the first: it is reached through a stream of the hop before it.
  private func further(_ node: NodeConfiguration, _ dialer: PartDescriptor, in chain: ChainConfiguration) {
    let type = node.dialer.type
    if dialer.portMeaning == .echoIdentifier {
      report.add(
        Diagnostic(
          .chainOrder, "the dialer `\(type.value)` can only be the first hop of a chain",
          at: .init(type.span, "sends from this host, whatever stands before it"),
          and: [.init(chain.name.span, "in this chain")],
          notes: ["GOST would leave out the hops before it, and connect from here"],
          help: ["put this hop first, or take another dialer"]))
    } else if node.isDirect || dialer.name == "direct" {
      report.add(
        Diagnostic(
          .chainOrder, "a node of the type `\(type.value)` can only be the first hop of a chain",
          at: .init(type.span, "goes straight from this host, whatever stands before it"),
          and: [.init(chain.name.span, "in this chain")],
          notes: ["GOST would connect to the hops before it and then go around them"],
          help: ["remove this hop: the last node before it dials the target anyway"]))
    } else if dialer.name == "quic" {
      report.add(
        Diagnostic(
          .chainOrder, "the dialer `quic` behind another hop is not yet supported", .notYet,
          at: .init(type.span, "needs datagrams from the hop before it"),
          and: [.init(chain.name.span, "in this chain")], help: ["put this hop first, or take another dialer"]))
    } else if dialer.carries == .datagrams {
      report.add(
        Diagnostic(
          .chainOrder, "the dialer `\(type.value)` can only be the first hop of a chain",
          at: .init(type.span, "the hop before it opens a stream"), and: [.init(chain.name.span, "in this chain")],
          notes: ["GOST would connect by TCP here, whatever the dialer says"],
          help: [
            dialer.name == "turn"
              ? "put this hop first and leave the others out" : "leave the last hop out: its node is the target then"
          ]))
    }
  }

  /// `interface` and the mark are of sockets, and only the first hop is dialled by one of this host's.
  private func sockets(_ node: NodeConfiguration, _ hop: HopConfiguration, in chain: ChainConfiguration) {
    guard let place = node.interface?.span ?? node.mark?.span, !firstHops.contains(hop.span) else { return }
    report.add(
      Diagnostic(
        .keyWithoutEffect,
        "`\(node.interface != nil ? "interface" : "so_mark")` has no effect on a node behind another hop",
        .warning, at: .init(place, "has no effect"), and: [.init(chain.name.span, "in this chain")],
        notes: ["it is reached through the hop before it, by no socket of this host"],
        help: ["write it at the first hop, or remove it"]))
  }

  /// SOCKS4 has room for IPv4 addresses and, as SOCKS4A, for names.
  private func reach(_ hop: HopConfiguration, _ address: HostPort?, _ addr: Located<String>) {
    guard let literal = address?.literal, literal.canonical.family == .ipv6,
      let node = hop.nodes.first(where: { $0.connector.descriptor?.speaks == [.socks4] })
    else { return }
    let type = node.connector.type
    report.add(
      Diagnostic(
        .familyMismatch, "the connector `\(type.value)` cannot ask for `\(literal)`: SOCKS4 knows IPv4 and names alone",
        at: .init(addr.span, "an IPv6 address"), and: [.init(type.span, "is asked for it")],
        fix: written(type)
          ? Diagnostic.Fix("write `socks5`, if the node understands it", [.init(type.span, "socks5")], isCertain: false)
          : nil))
  }

  // MARK: What the last hop carries

  private func carriage(_ service: ServiceConfiguration) {
    guard let handler = service.handler.descriptor, let listener = service.listener.descriptor, handler.isAvailable,
      listener.isAvailable, let hops = configuration.route(of: service), let last = hops.last
    else { return }
    let needsDatagrams = service.isTunClient || handler.carries == .streamsOrDatagrams && listener.carries == .datagrams
    let needsStreams =
      handler.carries == .streams || handler.carries == .streamsOrDatagrams && listener.carries == .streams
    for node in last.nodes {
      guard let connector = node.connector.descriptor, let dialer = node.dialer.descriptor, connector.isAvailable,
        dialer.isAvailable, isPair(connector, dialer)
      else { continue }
      let givesDatagrams = connector.abilities.contains(.datagrams) || dialer.carries == .datagrams
      if needsDatagrams, !givesDatagrams {
        noDatagrams(service, node, connector)
      } else if needsStreams, dialer.carries == .datagrams {
        report.add(
          Diagnostic(
            .connectorCannotCarry, "the dialer `\(node.dialer.type.value)` cannot carry connections",
            at: .init(node.dialer.type.span, "gives datagrams"),
            and: [.init(service.handler.type.span, "needs a stream through this node")],
            help: ["take a dialer that gives streams"]))
      } else if service.handler.metadata.bool("udp") == true, !givesDatagrams,
        let entry = service.handler.metadata.entry("udp")
      {
        report.add(
          Diagnostic(
            .connectorCannotCarry, "the connector `\(node.connector.type.value)` cannot carry the clients' UDP",
            .warning, at: .init(node.connector.type.span, "streams only"),
            and: [.init(entry.key.span, "lets clients send UDP through this node")],
            help: ["the connectors that carry datagrams are \(able(.datagrams))"]))
      }
    }
  }

  /// Two parts that do not fit each other are reported as a pair.
  private func isPair(_ connector: PartDescriptor, _ dialer: PartDescriptor) -> Bool {
    if (connector.name == "turn") != (dialer.name == "turn") { return false }
    if dialer.carries == .datagrams, connector.speaks != [.raw], connector.name != "turn" { return false }
    return (connector.name == "direct") == (dialer.name == "direct")
  }

  private func noDatagrams(_ service: ServiceConfiguration, _ node: NodeConfiguration, _ connector: PartDescriptor) {
    let isRaw = connector.speaks == [.raw]
    let type = node.connector.type
    report.add(
      Diagnostic(
        .connectorCannotCarry,
        isRaw
          ? "the connector `\(type.value)` over `\(node.dialer.type.value)` cannot carry \(service.isTun ? "a TUN tunnel" : "datagrams")"
          : "the connector `\(type.value)` cannot carry \(service.isTun ? "a TUN tunnel" : "datagrams")",
        at: .init(type.span, isRaw ? "passes bytes on as they are" : "streams only"),
        and: [.init(service.handler.type.span, "sends datagrams through this node")],
        notes: isRaw ? ["in a plain stream nothing tells where one packet ends and the next begins"] : [],
        help: isRaw ? [] : ["the connectors that carry datagrams are \(able(.datagrams))"],
        fix: isRaw && written(type)
          ? .replace(type.span, with: "relay", "write `relay`, and the handler `relay` at the node") : nil))
  }

  /// A remote listener asks the last node for a port there.
  private func binding(_ service: ServiceConfiguration) {
    guard let listener = service.listener.descriptor, listener.isAvailable, listener.abilities.contains(.remote),
      let chain = configuration.listenerChain(of: service), let last = configuration.hops(of: chain).last
    else { return }
    for node in last.nodes {
      guard let connector = node.connector.descriptor, connector.isAvailable, !connector.abilities.contains(.bind)
      else { continue }
      report.add(
        Diagnostic(
          .connectorCannotBind,
          "the connector `\(node.connector.type.value)` cannot open a port at its node, and the listener `\(service.listener.type.value)` needs one there",
          at: .init(node.connector.type.span, "cannot bind"),
          and: [.init(service.listener.type.span, "listens at the last node of its chain")],
          notes: ["GOST tries again for ever, and logs it"],
          help: ["the connectors that can are \(able(.bind)); the node's handler then needs `bind: true`"]))
    }
  }

  private func able(_ ability: Ability) -> String {
    quotedList(PartCatalog.connectors.filter { $0.isAvailable && $0.abilities.contains(ability) }.map(\.name))
  }

  private func written(_ type: Located<String>) -> Bool { type.span.end - type.span.start >= type.value.utf8.count }

  // MARK: Choosing

  private func choice(_ all: [Metadata], _ selection: Selection, of what: String) {
    let backups = all.compactMap { $0.bool("backup") == true ? $0.entry("backup") : nil }
    if let first = backups.first, backups.count == all.count {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`backup` has no effect: every \(what) is one", .warning,
          at: .init(first.key.span, "has no effect"),
          and: backups.dropFirst().prefix(3).map { .init($0.key.span, "a backup as well") },
          notes: ["a backup is taken while all those fail that are none"]))
    }
    if let weight = all.lazy.compactMap({ $0.entry("weight") }).first, selection.strategy != .random {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`weight` has no effect with the strategy `\(selection.strategy.rawValue)`", .warning,
          at: .init(weight.key.span, "has no effect"),
          help: ["write `strategy: random` into the `selector`, or remove the weights"]))
    }
  }

  // MARK: PROXY protocol towards nodes

  private func proxyHeader(_ node: NodeConfiguration, of hop: HopConfiguration) {
    guard node.proxyProtocol != nil, let dialer = node.dialer.descriptor, dialer.isAvailable,
      let entry = node.metadata.entry("proxyProtocol") ?? hop.metadata.entry("proxyProtocol")
    else { return }
    let isFurther = furtherHops.contains(hop.span)
    guard isFurther || !dialer.abilities.contains(.proxyProtocol) else { return }
    report.add(
      Diagnostic(
        .keyWithoutEffect, "`proxyProtocol` has no effect on this node", .warning,
        at: .init(entry.key.span, "no header is sent"),
        and: [.init(node.dialer.type.span, isFurther ? "behind another hop" : "has no such header")],
        notes: [
          isFurther
            ? "only a node that is dialled from this host is sent the header" : "the header is for TCP connections"
        ], help: ["remove it"]))
  }
}

extension Configuration {
  /// Every hop, inline or named, each once.
  var allHops: [HopConfiguration] {
    chains.flatMap { chain in
      chain.hops.compactMap { hop -> HopConfiguration? in
        if case .inline(let hop) = hop { hop } else { nil }
      }
    } + hops
  }
}
