import Configuration
import LinuxIO
import NodeSelection
import Parts
import Values

/// From a service's handler in the file to one at work.
struct HandlerBuilding {
  let context: ServiceContext
  let configuration: Configuration
  let log: Log

  func handler(for service: ServiceConfiguration) throws(StartReason) -> any StreamHandler {
    let core = try core(for: service)
    let metadata = service.handler.metadata
    switch service.handler.type.value.lowercased() {
    case "relay":
      return RelayHandler(
        core: core,
        settings: RelayHandler.Settings(
          binds: metadata.bool("bind") == true, mux: smuxSettings(metadata, version: MuxDefaults.ofBind),
          options: SocketOptions(), targets: try targets(of: service)))
    // One handler under all its names, as in GOST: the listener decides whether streams or datagrams are forwarded.
    case "tcp", "udp", "forward", "rtcp", "rudp":
      return ForwardHandler(core: core, targets: try forwardTargets(of: service))
    case "http": return http(core, metadata)
    case "socks4", "socks4a": return SOCKS4Handler(core: core)
    case "socks5", "socks": return try socks5(core, service)
    case "auto":
      return AutoHandler(
        http: http(core, metadata), socks4: SOCKS4Handler(core: core), socks5: try socks5(core, service))
    case "metrics":
      return MetricsHandler(
        core: core, path: metadata.string("metrics.path") ?? MetricsHandler.defaultPath, page: context.metrics)
    case let type: throw StartReason("the handler \(type) is not supported yet")
    }
  }

  private func http(_ core: HandlerCore, _ metadata: Metadata) -> HTTPHandler {
    var headers = metadata.texts("http.header").map { (name: $0.name, value: $0.text) }
    if let agent = metadata.string("http.proxyAgent") { headers.append((name: "Proxy-Agent", value: agent)) }
    return HTTPHandler(
      core: core,
      settings: HTTPHandler.Settings(
        carriesDatagrams: metadata.bool("udp") == true, realm: metadata.string("authBasicRealm") ?? "gost",
        headers: headers))
  }

  private func socks5(_ core: HandlerCore, _ service: ServiceConfiguration) throws(StartReason) -> SOCKS5Handler {
    let metadata = service.handler.metadata
    var tls: StreamUpgrade?
    if metadata.bool("notls") != true {
      tls = .tls(
        TLSSecurity(
          credentials: try CredentialLoading.server(service.handler.tls, fallback: configuration.tls, log: log),
          serverName: nil, applicationProtocols: []))
    }
    var ports: ClosedRange<UInt16>?
    if let low = metadata.int("udp.bindRange.min"), let high = metadata.int("udp.bindRange.max"), low <= high {
      ports = UInt16(clamping: low)...UInt16(clamping: high)
    }
    return SOCKS5Handler(
      core: core,
      settings: SOCKS5Handler.Settings(
        tls: tls, carriesDatagrams: metadata.bool("udp") == true, binds: metadata.bool("bind") == true,
        isCompatible: metadata.bool("comp") == true,
        publicAddress: metadata.string("socks.publicAddr").flatMap { IPAddress($0) }, datagramPorts: ports,
        mux: smuxSettings(metadata, version: MuxDefaults.ofBind)))
  }

  private func core(for service: ServiceConfiguration) throws(StartReason) -> HandlerCore {
    let policy = policy(of: service)
    let way = try RouteBuilding(context: context, configuration: configuration, log: log).way(
      for: service, chain: service.handler.chain, policy: policy, guardian: nil)
    return HandlerCore(
      loop: context.loop, arena: context.arena, shared: context.joints, log: log, way: way.way,
      settings: HandlerCore.Settings(
        readTimeout: service.handler.metadata.duration("readTimeout") ?? HandlerCore.defaultReadTimeout,
        isAllowed: authenticator(of: service), trusted: service.handler.metadata.prefixes("skipauth"),
        retries: service.handler.retries, bindPolicy: policy))
  }

  /// What the service's clients may name as targets. Targets that stand in the file are everybody's.
  func policy(of service: ServiceConfiguration) -> EgressPolicy {
    guard service.forwarder?.nodes.isEmpty != false, let egress = configuration.egress(of: service) else {
      return .unrestricted
    }
    let allowed = egress.allow.map(EgressRule.init) + egress.own.flatMap(EgressRule.own)
    let denied = egress.deny.map(EgressRule.init)
    return egress.isOpen
      ? .open(exceptions: allowed, denials: denied) : .trusting(exceptions: allowed, denials: denied)
  }

  private func authenticator(of service: ServiceConfiguration) -> (([UInt8], [UInt8]) -> Bool)? {
    let credentials = configuration.credentials(of: service.handler)
    guard !credentials.isEmpty else { return nil }
    return { user, password in
      // Every entry is looked at, whatever matches: the time tells nothing.
      credentials.reduce(false) { found, entry in
        let sameUser = constantTimeEqual(Array(entry.username.value.utf8), user)
        let samePassword = constantTimeEqual(Array((entry.password?.value.reveal() ?? "").utf8), password)
        return found || (sameUser && samePassword)
      }
    }
  }

  /// The targets of a forward. Behind a chain whose last node decides where the bytes go there may be none in the file.
  func forwardTargets(of service: ServiceConfiguration) throws(StartReason) -> TargetGroup {
    if let targets = try targets(of: service) { return targets }
    guard configuration.nodeDecides(of: service) else { throw StartReason("a forward needs a target") }
    let nobody = TargetGroup.Target(address: HostPort(host: "", port: 0))
    return TargetGroup(
      targets: [nobody], selector: NodeSelector(strategy: .fifo, nodes: [NodeSelector.Node()], seed: 0))
  }

  /// The forwarder's nodes; `nil` where there are none.
  func targets(of service: ServiceConfiguration) throws(StartReason) -> TargetGroup? {
    guard let forwarder = service.forwarder, !forwarder.nodes.isEmpty else { return nil }
    var targets: [TargetGroup.Target] = []
    let version = service.handler.metadata.int("proxyProtocol").flatMap { $0 > 0 ? $0 : nil }
    for node in forwarder.nodes {
      guard let address = node.address else { throw StartReason("bad target address \(node.addr.value)") }
      targets.append(TargetGroup.Target(address: address, proxyProtocol: version))
    }
    return TargetGroup(
      targets: targets, selector: nodeSelector(forwarder.selection, forwarder.nodes.map(\.metadata)),
      recorder: context.loop.recorder)
  }
}

/// A selector over nodes or targets with their metadata.
func nodeSelector(_ selection: Selection, _ nodes: [Metadata]) -> NodeSelector {
  let strategy: NodeSelector.Strategy =
    switch selection.strategy {
    case .round: .round
    case .random: .random
    case .fifo: .fifo
    case .hash: .hash
    }
  return NodeSelector(
    strategy: strategy,
    nodes: nodes.map { metadata in
      let candidate = selection.candidate(metadata)
      return NodeSelector.Node(
        weight: candidate.weight, isBackup: candidate.isBackup, maxFails: candidate.maxFails,
        failTimeout: candidate.failTimeout)
    },
    maxFails: selection.maxFails, failTimeout: selection.failTimeout, seed: .random(in: .min ... .max))
}

extension EgressRule {
  /// An entry of `egress.allow` or `egress.deny`.
  init(_ pattern: TargetPattern) {
    self.init(prefix: pattern.network, ports: pattern.ports ?? 0...UInt16.max)
  }
}
