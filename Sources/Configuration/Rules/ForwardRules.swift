import PartDescriptors
import Values

/// Forwards: where they send, and on which side of a chain a remote one listens (`gost.md` E.2, numbers 8 and 27).
struct ForwardRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for service in configuration.services {
      guard let handler = service.handler.descriptor, let listener = service.listener.descriptor, handler.isAvailable,
        listener.isAvailable
      else { continue }
      targets(service, handler, listener)
      remote(service, listener)
      proxyHeader(service, handler, listener)
    }
  }

  // MARK: Targets

  private func targets(_ service: ServiceConfiguration, _ handler: PartDescriptor, _ listener: PartDescriptor) {
    let nodes = service.forwarder?.nodes ?? []
    if service.isTun {
      severalTargets(nodes)
    } else if !handler.abilities.contains(.forwards) {
      ignored(service)
    } else if handler.carries == .streamsOrDatagrams, configuration.leavesTargetToNode(service) {
      relayDecides(service)
    } else if handler.carries == .streamsOrDatagrams, nodes.isEmpty, service.forwarder?.refersToHop != true,
      !configuration.nodeDecides(of: service), !configuration.nodeIsUnknown(of: service),
      report.knowsRoute(of: service, in: configuration),
      !report.hasMisplacedKey(inside: service.span), !report.mends("forwarder", inside: service.span),
      !report.mends("nodes", inside: service.span)
    {
      report.add(
        Diagnostic(
          .missingForwarder, "the handler `\(service.handler.type.value)` of \(service.title) has no target",
          at: .init(service.handler.type.span, "sends to the targets of a `forwarder`"),
          notes: ["GOST accepts connections and closes each of them"],
          help: [
            (report.isArgument(service.handler.type.span)
              ? "write the target behind the port, as in `:8080/192.0.2.1:80`"
              : "give the service a `forwarder` with `nodes`")
              + "; without one, the last node of the chain needs the connector `forward` and decides"
          ]))
    }
    for node in nodes { network(node, service, listener) }
    if let first = nodes.first, handler.abilities.contains(.proxies), handler.abilities.contains(.forwards),
      let entry = service.handler.metadata.entry("bind"), service.handler.metadata.bool("bind") == true
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`bind` has no effect beside a `forwarder`", .warning,
          at: .init(entry.key.span, "opens no ports"), and: [.init(first.addr.span, "every client is sent here")],
          notes: ["a relay with a `forwarder` looks at no request"], help: ["remove one of the two"]))
    }
    itself(service, nodes, listener)
  }

  /// A relay has a target of its own or none, which only its own file tells.
  private func relayDecides(_ service: ServiceConfiguration) {
    guard
      let node = configuration.route(of: service)?.last?.nodes.first(where: {
        $0.connector.descriptor?.speaks == [.relay]
      })
    else { return }
    let target = service.forwarder?.nodes.first
    report.add(
      Diagnostic(
        .missingForwarder, "\(service.title) leaves its target to the relay at the end of its chain", .warning,
        at: .init(target?.addr.span ?? service.handler.type.span, target == nil ? "has no target" : "no target"),
        and: [.init(node.connector.type.span, "has to have one")],
        notes: ["a relay without a `forwarder` of its own refuses each connection"],
        help: [
          "give the relay a `forwarder`, or "
            + (report.isArgument(service.handler.type.span)
              ? "write the target behind the port, as in `:8080/192.0.2.1:80`" : "this service one")
        ]))
  }

  private func severalTargets(_ nodes: [ForwardNodeConfiguration]) {
    guard nodes.count > 1 else { return }
    report.add(
      Diagnostic(
        .severalTargetsNotYet, "a TUN client with several targets is not yet supported", .notYet,
        at: .init(nodes[1].name?.span ?? nodes[1].addr.span, "a second target"),
        help: ["give the forwarder one node"]))
  }

  private func ignored(_ service: ServiceConfiguration) {
    guard let forwarder = service.forwarder, let first = forwarder.nodes.first,
      !report.has(.handlerListenerMismatch, inside: service.span), !report.has(.unknownKey, inside: service.span)
    else { return }
    let type = service.handler.type
    let answers = service.handler.descriptor?.name == "metrics"
    let isWritten = !answers && type.span.end - type.span.start == type.value.utf8.count
    report.add(
      Diagnostic(
        .forwarderIgnored,
        "the handler `\(type.value)` sends to no `forwarder`: "
          + (answers ? "it answers by itself" : "its clients say where they want to go"),
        at: .init(first.addr.span, "never a target"),
        and: [.init(type.span, answers ? "leads nowhere" : "goes where its clients want")],
        notes: ["GOST ignores the forwarder without a word"],
        fix: isWritten
          ? Diagnostic.Fix("write `forward`, for a port forward", [.init(type.span, "forward")], isCertain: false)
          : nil))
  }

  /// `network` of a target, where it is not the listener's own.
  private func network(
    _ node: ForwardNodeConfiguration, _ service: ServiceConfiguration, _ listener: PartDescriptor
  ) {
    guard let network = node.network else { return }
    let own = service.isTun || listener.carries == .datagrams ? "udp" : "tcp"
    if network.value == own || service.handler.type.value == "relay" && ["tcp", "udp"].contains(network.value) {
      return
    }
    let known = ["tcp", "udp", "tcp4", "tcp6", "udp4", "udp6", "unix", "serial", "ip"]
    guard known.contains(network.value) else {
      let near = NearNames.best(for: network.value, among: known)
      report.add(
        Diagnostic(
          .valueOutOfRange, "unknown network `\(printable(network.value))`", at: .init(network.span, "not a network"),
          help: near == nil ? ["the networks are `tcp` and `udp`"] : [],
          fix: near.map { .replace(network.span, with: $0, "write `\($0)`") }))
      return
    }
    report.add(
      Diagnostic(
        .keyNotYet,
        "`network: \(network.value)` behind the listener `\(service.listener.type.value)` is not yet supported",
        .notYet, at: .init(network.span, "GOST has it, Culvert not yet"),
        help: ["remove it, or write `\(own)`, which this listener gives"]))
  }

  /// A forward that sends to its own listener, which sends to its own listener, and so on.
  private func itself(
    _ service: ServiceConfiguration, _ nodes: [ForwardNodeConfiguration], _ listener: PartDescriptor
  ) {
    guard service.handler.descriptor?.carries == .streamsOrDatagrams, configuration.goesStraight(service),
      !report.mends("chain", inside: service.span),
      !listener.abilities.contains(.remote) || configuration.listenerChain(of: service) == nil,
      let own = service.address, own.port != 0
    else { return }
    for node in nodes {
      guard let target = node.address, target.port == own.port, leadsHere(target, own) else { continue }
      report.add(
        Diagnostic(
          .forwarderIsSelf, "\(service.title) forwards to itself", at: .init(node.addr.span, "its own address"),
          and: [.init(service.addr.span, "listens here")],
          notes: ["each connection would open another one, until there are no descriptors left"],
          help: ["write the address of the program that is meant, or another port to listen on"]))
    }
  }

  private func leadsHere(_ target: HostPort, _ own: HostPort) -> Bool {
    let targetHost = target.literal?.canonical
    let isLocal =
      target.host.isEmpty || target.host == "localhost" || targetHost.map { $0.isLoopback || $0.isUnspecified } == true
    guard let ownHost = own.literal?.canonical else { return isLocal && (own.host.isEmpty || own.host == target.host) }
    if ownHost.isUnspecified { return isLocal && (ownHost.family == .ipv6 || targetHost?.family != .ipv6) }
    return ownHost == targetHost || ownHost.isLoopback && isLocal && targetHost == nil && ownHost.family == .ipv4
  }

  // MARK: Remote listeners

  private func remote(_ service: ServiceConfiguration, _ listener: PartDescriptor) {
    guard listener.abilities.contains(.remote), service.listener.chain == nil,
      !report.mends("chain", inside: service.listener.span)
    else { return }
    let type = service.listener.type
    if let chain = service.handler.chain {
      report.add(
        Diagnostic(
          .chainOnWrongSide,
          "the chain of \(service.title) stands at the handler, and the listener `\(type.value)` needs it",
          at: .init(chain.span, "move this to the listener"), and: [.init(type.span, "listens at the end of a chain")],
          notes: [
            "GOST would listen on this host, and reach the targets through the chain: the other way round",
            "`handler.chain` is for targets that are behind a chain of their own, beside `listener.chain`",
          ], help: ["write `chain: \(printable(chain.value))` into the `listener`"],
          fix: move(chain, to: service.listener)))
    } else {
      report.add(
        Diagnostic(
          .remoteWithoutChain,
          "the listener `\(type.value)` of \(service.title) has no chain, and listens on this host",
          .warning, at: .init(type.span, "without `chain`"),
          help: [
            "write `chain` beside it for a port at the chain's last node, or the listener `\(listener.carries == .datagrams ? "udp" : "tcp")` if this host is meant"
          ]))
    }
  }

  /// For a file in lines: the line goes from the one block to the other.
  private func move(_ chain: Located<String>, to listener: ListenerConfiguration) -> Diagnostic.Fix? {
    let type = listener.type
    guard let file = report.sources.file(chain.span.file), type.span.file == chain.span.file,
      type.span.end - type.span.start == type.value.utf8.count
    else { return nil }
    let bytes = file.bytes
    let newline = UInt8(ascii: "\n")
    let start = bytes[..<chain.span.start].lastIndex(of: newline).map { $0 + 1 } ?? 0
    let end = bytes[chain.span.end...].firstIndex(of: newline).map { $0 + 1 } ?? bytes.endIndex
    let typeStart = bytes[..<type.span.start].lastIndex(of: newline).map { $0 + 1 } ?? 0
    guard String(decoding: bytes[start..<end], as: UTF8.self).trimmed == "chain: \(chain.value)",
      String(decoding: bytes[typeStart..<type.span.end], as: UTF8.self).trimmed == "type: \(type.value)"
    else { return nil }
    let indent = String(decoding: bytes[typeStart..<type.span.start].prefix { $0 == 0x20 }, as: UTF8.self)
    let place = SourceSpan(file: type.span.file, start: type.span.end, end: type.span.end)
    return Diagnostic.Fix(
      "move it",
      [
        .init(SourceSpan(file: chain.span.file, start: start, end: end), ""),
        .init(place, "\n\(indent)chain: \(chain.value)"),
      ])
  }

  // MARK: PROXY protocol

  private func proxyHeader(_ service: ServiceConfiguration, _ handler: PartDescriptor, _ listener: PartDescriptor) {
    if service.expectsProxyHeader, !listener.abilities.contains(.proxyProtocol),
      let entry = service.metadata.entry("proxyProtocol")
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`proxyProtocol` has no effect behind the listener `\(service.listener.type.value)`",
          .warning, at: .init(entry.key.span, "no header is read"),
          and: [.init(service.listener.type.span, "has none")],
          notes: ["the header stands before TCP connections"], help: ["remove it"]))
    }
    if handler.key("proxyProtocol") != nil, listener.carries == .datagrams,
      (service.handler.metadata.int("proxyProtocol") ?? 0) > 0,
      let entry = service.handler.metadata.entry("proxyProtocol")
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`proxyProtocol` has no effect on datagrams", .warning,
          at: .init(entry.key.span, "no header is sent"), and: [.init(service.listener.type.span, "gives datagrams")],
          notes: ["the header stands before TCP connections"], help: ["remove it"]))
    }
  }
}

extension Configuration {
  /// Whether the last node of the handler's chain decides where the bytes go: a target is not needed then, and one that
  /// is written, such as `:0`, is only a placeholder.
  public func nodeDecides(of service: ServiceConfiguration) -> Bool {
    guard let nodes = route(of: service)?.last?.nodes, !nodes.isEmpty else { return false }
    return nodes.allSatisfy(\.mayDecide)
  }

  /// Whether a forward names no target and its chain ends at a relay, which may have one.
  func leavesTargetToNode(_ service: ServiceConfiguration) -> Bool {
    guard nodeDecides(of: service), service.forwarder?.refersToHop != true,
      route(of: service)?.last?.nodes.contains(where: { $0.connector.descriptor?.speaks == [.relay] }) == true
    else { return false }
    return service.forwarder?.nodes.allSatisfy { $0.address?.port == 0 } ?? true
  }

  /// Whether the chain's last node is spoken to by a connector that is not there yet: what a target has to look like is
  /// not known then. A name alone is one for `tunnel` and `router`.
  func nodeIsUnknown(of service: ServiceConfiguration) -> Bool { isUnknown(chain(of: service)) }

  /// The same for the node at which a service listens.
  func nodeIsUnknown(listening service: ServiceConfiguration) -> Bool { isUnknown(listenerChain(of: service)) }

  private func isUnknown(_ chain: ChainConfiguration?) -> Bool {
    guard let chain else { return false }
    return hops(of: chain).last?.nodes.contains { $0.connector.descriptor?.isAvailable != true } == true
  }
}

extension NodeConfiguration {
  /// Whether the node can have a target of its own: what it is sent as it is, or a relay, which sends all to its
  /// forwarder where it has one.
  var mayDecide: Bool {
    connector.descriptor.map { $0.speaks == [.raw] || $0.speaks == [.relay] } ?? false
  }
}
