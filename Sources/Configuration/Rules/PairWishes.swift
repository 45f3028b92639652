import PartDescriptors
import Values

/// What one end wants of the other and the other has to agree to: the path of a WebSocket, the version of a
/// multiplexed session, a port to listen on, datagrams.
///
/// None of these is negotiated, and none of them fails in words: a WebSocket server answers "not found", a session of
/// another version ends with its first frame, BIND and UDP are refused once a second for ever (`gost.md` E.2, numbers 7
/// and 24).
extension PairRules {
  func path(_ node: NodeConfiguration, _ match: Match) {
    guard node.dialer.descriptor?.key("path") != nil, match.service.listener.descriptor?.key("path") != nil else {
      return
    }
    let own = node.dialer.metadata.entry("path")
    let other = match.service.listener.metadata.entry("path")
    let dialled = node.dialer.metadata.string("path") ?? Self.defaultPath
    let served = match.service.listener.metadata.string("path") ?? Self.defaultPath
    // The server compares the path; a query behind it is the client's own.
    guard dialled.split(separator: "?").first.map(String.init) ?? dialled != served else { return }
    report.add(
      Diagnostic(
        .peerPath,
        "the client asks for the path `\(printable(dialled))`, and \(match.service.title) serves `\(printable(served))`",
        at: .init(
          own?.valueSpan ?? node.dialer.type.span, own == nil ? "`/ws`, where `path` is not written" : "asked for"),
        and: [
          .init(
            other?.valueSpan ?? match.service.listener.type.span,
            other == nil ? "`/ws`, where `path` is not written" : "served")
        ],
        notes: ["the server answers any other path with \"not found\""],
        help: own == nil
          ? ["write `path: \(printable(served))` into the dialer's metadata"]
          : ["if a server between the two rewrites paths, this is as it should be"],
        fix: own.map {
          Diagnostic.Fix("write `\(printable(served))`", [.init($0.valueSpan, served)], isCertain: false)
        }))
  }

  private static let defaultPath = "/ws"

  func session(_ node: NodeConfiguration, _ match: Match) {
    guard let dialer = node.dialer.descriptor, dialer.abilities.contains(.multiplexes) else { return }
    sameVersion(
      node.dialer.metadata, node.dialer.type, match.service.listener.metadata, match.service.listener.type,
      default: dialer.name == "mtcp" ? 2 : 1, of: match.service)
  }

  private func sameVersion(
    _ own: Metadata, _ ownType: Located<String>, _ other: Metadata, _ otherType: Located<String>,
    default standard: Int, of service: ServiceConfiguration
  ) {
    let version = own.int("mux.version") ?? standard
    let otherVersion = other.int("mux.version") ?? standard
    guard version != otherVersion else { return }
    let entry = own.entry("mux.version")
    let otherEntry = other.entry("mux.version")
    let unwritten = "version \(standard), where `mux.version` is not written"
    report.add(
      Diagnostic(
        .peerMux,
        "the client's sessions are of smux \(version), and those of \(service.title) of smux \(otherVersion)",
        at: .init(entry?.valueSpan ?? ownType.span, entry == nil ? unwritten : "version \(version)"),
        and: [
          .init(otherEntry?.valueSpan ?? otherType.span, otherEntry == nil ? unwritten : "version \(otherVersion)")
        ],
        notes: ["nothing is negotiated: each session ends with its first frame"],
        help: entry == nil ? ["write `mux.version: \(otherVersion)` into the metadata beside this"] : [],
        fix: entry.map { .replace($0.valueSpan, with: "\(otherVersion)", "write `\(otherVersion)`") }))
  }

  /// What a service needs of the last node of its chains.
  func wishes(_ client: ServiceConfiguration, of index: Int) {
    let end = ends[index]
    guard let handler = client.handler.descriptor, let listener = client.listener.descriptor else { return }
    if listener.abilities.contains(.remote), let chain = end.listenerChain(of: client) {
      for node in end.hops(of: chain).last?.nodes ?? [] {
        guard node.connector.descriptor?.abilities.contains(.bind) == true, let match = partner(of: node, from: index)
        else { continue }
        bind(client, node, match)
      }
    }
    if handler.carries == .streamsOrDatagrams, end.leavesTargetToNode(client) {
      target(client, of: index)
    } else if end.chain(of: client) != nil {
      ownTarget(client, of: index)
    }
    let sendsDatagrams =
      client.isTunClient || handler.carries == .streamsOrDatagrams && listener.carries == .datagrams
    // Its own clients may send datagrams, or may not.
    let takesDatagrams = handler.abilities.contains(.proxies) && client.handler.metadata.bool("udp") == true
    if sendsDatagrams || takesDatagrams, let chain = end.chain(of: client) {
      for node in end.hops(of: chain).last?.nodes ?? [] {
        guard let match = partner(of: node, from: index) else { continue }
        datagrams(client, node, match, sendsDatagrams ? .error : .warning)
      }
    }
  }

  /// A forward that leaves its target to a relay, which has none.
  private func target(_ client: ServiceConfiguration, of index: Int) {
    for node in ends[index].route(of: client)?.last?.nodes ?? [] {
      guard let match = partner(of: node, from: index), match.service.handler.descriptor?.name == "relay",
        match.service.forwarder.map({ $0.nodes.isEmpty && !$0.refersToHop }) ?? true
      else { continue }
      report.add(
        Diagnostic(
          .peerHasNoTarget, "\(client.title) names no target, and \(match.service.title) has none either",
          at: .init(client.forwarder?.nodes.first?.addr.span ?? client.handler.type.span, "leaves it to the relay"),
          and: [.init(match.service.handler.type.span, "goes where it is told to")],
          notes: ["a relay without a `forwarder` refuses a request that names no target"],
          help: ["give this service a `forwarder`, or the relay one"]))
    }
  }

  /// A relay with a forwarder sends everything to its own target, whatever it is asked for (`gost.md` E.2, number 27).
  private func ownTarget(_ client: ServiceConfiguration, of index: Int) {
    let wanted = client.forwarder?.nodes ?? []
    for node in ends[index].route(of: client)?.last?.nodes ?? [] {
      guard let match = partner(of: node, from: index), match.service.handler.descriptor?.name == "relay",
        let targets = match.service.forwarder?.nodes, let own = targets.first
      else { continue }
      let isProxy = client.handler.descriptor?.abilities.contains(.proxies) == true && wanted.isEmpty
      // Hosts may have several names; a port that none of the relay's targets has is another service.
      let other = wanted.first { want in
        guard let port = want.address?.port, port != 0 else { return false }
        return !targets.contains { $0.address?.port == port }
      }
      guard isProxy || other != nil else { continue }
      report.add(
        Diagnostic(
          .peerHasOwnTarget,
          "\(match.service.title) sends everything to its own target, and \(client.title) asks for \(isProxy ? "what its clients want" : "another")",
          isProxy ? .error : .warning,
          at: .init(own.addr.span, "everything goes here"),
          and: [.init(other?.addr.span ?? client.handler.type.span, isProxy ? "never reached" : "asked for")],
          notes: ["a relay with a `forwarder` looks at no request, and GOST does not say so"],
          help: ["remove the relay's `forwarder`, or let a relay of its own have it"]))
    }
  }

  private func bind(_ client: ServiceConfiguration, _ node: NodeConfiguration, _ match: Match) {
    let handler = match.service.handler
    guard let key = handler.descriptor?.key("bind"), handler.descriptor?.isAvailable == true else { return }
    guard handler.metadata.bool("bind") == true else {
      let entry = handler.metadata.entry(key.name)
      report.add(
        Diagnostic(
          .peerDoesNotBind, "\(match.service.title) opens no ports for its clients, and \(client.title) asks for one",
          at: .init(entry?.valueSpan ?? handler.type.span, "`bind: true` is missing in the handler's metadata"),
          and: [.init(client.listener.type.span, "listens at this end")],
          notes: ["GOST's client tries again for ever; only its log tells why"],
          help: ["write `bind: true` into the `metadata` of the handler `\(handler.type.value)`"],
          fix: entry.map { .replace($0.valueSpan, with: "true", "write `true`") }))
      return
    }
    if client.listener.descriptor?.carries == .streams {
      sameVersion(
        node.connector.metadata, node.connector.type, handler.metadata, handler.type, default: 1, of: match.service)
    }
  }

  private func datagrams(
    _ client: ServiceConfiguration, _ node: NodeConfiguration, _ match: Match, _ severity: Diagnostic.Severity
  ) {
    let handler = match.service.handler
    guard let key = handler.descriptor?.key("udp"), handler.metadata.bool("udp") != true else { return }
    let entry = handler.metadata.entry(key.name)
    report.add(
      Diagnostic(
        .peerServesNoUDP,
        "\(match.service.title) serves no UDP, and \(client.title) sends \(severity == .error ? "datagrams" : "its clients' datagrams") through it",
        severity,
        at: .init(entry?.valueSpan ?? handler.type.span, "`udp: true` is missing in the handler's metadata"),
        and: [.init(node.connector.type.span, "the client sends datagrams here")],
        notes: ["GOST tells of it in the server's log only"],
        help: ["write `udp: true` into the `metadata` of the handler `\(handler.type.value)`"],
        fix: entry.map { .replace($0.valueSpan, with: "true", "write `true`") }))
  }
}
