import PartDescriptors
import Values

/// The rules that need nothing but the files.
///
/// Each rule looks at the finished model and reports one cause once: a part whose type is unknown or not there yet is
/// skipped by the rules about pairs, an address that cannot be read by the rules about addresses.
enum Rules {
  static func apply(to configuration: Configuration, _ report: Report) {
    ReferenceRules(configuration: configuration, report: report).apply()
    PartRules(configuration: configuration, report: report).apply()
    ChainRules(configuration: configuration, report: report).apply()
    ForwardRules(configuration: configuration, report: report).apply()
    SessionRules(configuration: configuration, report: report).apply()
    AddressRules(configuration: configuration, report: report).apply()
    TunRules(configuration: configuration, report: report).apply()
    TunnelPathRules(configuration: configuration, report: report).apply()
    WireGuardRules(configuration: configuration, report: report).apply()
    TurnRules(configuration: configuration, report: report).apply()
    TurnClientRules(configuration: configuration, report: report).apply()
    SecurityRules(configuration: configuration, report: report).apply()
    PostureRules(configuration: configuration, report: report).apply()
  }
}

extension Report {
  /// Whether the chain that a service goes through is whole, or there is none. What is wrong with it has been said, and
  /// what its last node can do is not known then.
  func knowsRoute(of service: ServiceConfiguration, in configuration: Configuration) -> Bool {
    guard let name = service.handler.chain, !service.ignoresChains else { return !mends("chain", inside: service.span) }
    guard let chain = configuration.chain(named: name.value) else { return false }
    let hops = configuration.hops(of: chain)
    return hops.count == chain.hops.count && !hops.isEmpty && !hops.contains(where: \.nodes.isEmpty)
  }
}

extension PartDescriptor {
  var isAvailable: Bool { availability == .available }
}

extension Configuration {
  /// Every node of every chain and named hop, each once, with the chain's name and the hop's place in the chain where
  /// there is one.
  var allNodes: [NodeConfiguration] {
    chains.flatMap { chain in
      chain.hops.flatMap { hop -> [NodeConfiguration] in
        if case .inline(let hop) = hop { hop.nodes } else { [] }
      }
    } + hops.flatMap(\.nodes)
  }

  /// Whether a service's targets are dialled by this host itself: without a chain, or through one that is none.
  /// Not one whose chain or hop is missing: that has been said, and where it goes is not known.
  func goesStraight(_ service: ServiceConfiguration) -> Bool {
    guard !service.ignoresChains, let name = service.handler.chain else { return true }
    guard let chain = chain(named: name.value) else { return false }
    let hops = hops(of: chain)
    return hops.count == chain.hops.count && !hops.isEmpty
      && hops.allSatisfy { !$0.nodes.isEmpty && $0.nodes.allSatisfy(\.isDirect) }
  }

  /// The hops that a service's handler dials through.
  func route(of service: ServiceConfiguration) -> [HopConfiguration]? {
    chain(of: service).map(hops(of:))
  }
}

extension ServiceConfiguration {
  /// A `tun` handler on a `tun` listener.
  var isTun: Bool { handler.type.value == "tun" && listener.type.value == "tun" }

  /// A `wireguard` handler on a `wireguard` listener.
  public var isWireGuard: Bool { handler.type.value == "wireguard" && listener.type.value == "wireguard" }

  /// Whether it makes an interface on this host.
  public var hasInterface: Bool { isTun || isWireGuard }

  /// A TUN service that sends to a server.
  var isTunClient: Bool { isTun && !(forwarder?.nodes.isEmpty ?? true) }

  var isTunServer: Bool { isTun && forwarder.map { $0.nodes.isEmpty && !$0.refersToHop } ?? true }

  /// The addresses of a service's interface with their places.
  var nets: [Located<IPPrefix>] {
    guard hasInterface, let entry = listener.metadata.entry("net"), case .prefixes(let prefixes) = entry.value else {
      return []
    }
    return zip(prefixes, entry.itemSpans).map { Located($0, at: $1) }
  }

  /// A name for messages.
  var title: String { name.value.isEmpty ? "this service" : "`\(printable(name.value))`" }
}
