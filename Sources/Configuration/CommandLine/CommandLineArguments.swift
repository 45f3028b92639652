/// GOST's short form: services and nodes as addresses on the command line.
///
///     culvert -L tun://:0/10.0.0.1:8421?net=10.0.0.2/24 -F relay+tls://example.com:8443
///
/// Each argument becomes a small file of its own, named `-L #1`, with the text as typed. The expander makes of it the
/// tree that the YAML reader would have made of the long form, every node with its place in the argument; then the same
/// reader and the same rules go over it. So there is one truth about keys and parts, and a diagnostic marks the letters
/// of the argument that it is about.
public struct CommandLineArguments: Sendable {
  /// The values of `-L`, in order.
  public var services: [String]
  /// The values of `-F`, in order: the hops of the chain.
  public var nodes: [String]
  /// `_GOST_ID`, in a worker process.
  public var worker: String?
  /// The values of `--accept`: warnings that somebody has looked at, each `CODE=REASON`. An address has no room for a
  /// comment; these hold for the files beside it too.
  public var acceptances: [String]
  /// The options of `culvert relay`, which takes neither `-L` nor `-F`; `nil` for any other command.
  public var relay: [RelayOption]?

  public init(
    services: [String] = [], nodes: [String] = [], worker: String? = nil, acceptances: [String] = [],
    relay: [RelayOption]? = nil
  ) {
    self.services = services
    self.nodes = nodes
    self.worker = worker
    self.acceptances = acceptances
    self.relay = relay
  }

  /// Whether they add nothing to what runs.
  public var isEmpty: Bool { services.isEmpty && nodes.isEmpty && relay == nil }

  /// The acceptances, each of which becomes a small file behind all that they hold for.
  func accepted(into map: inout SourceMap, _ report: Report) -> [Acceptance] {
    acceptances.enumerated().flatMap { index, text -> [Acceptance] in
      let id = map.add(argument: "--accept #\(index + 1)", bytes: Array(text.utf8))
      return map.file(id).map { AcceptanceReader(file: $0, root: nil, report: report).argument() } ?? []
    }
  }

  /// What could be read of the arguments, which are added to the map; what could not has been reported. `nil` for
  /// nothing at all.
  struct Expansion {
    let root: YAMLNode?
    /// Whether the chain is whole, so that services can be judged which go through it.
    let hasWholeChain: Bool
  }

  func expand(into map: inout SourceMap, _ report: Report) -> Expansion {
    if let relay {
      return Expansion(root: RelayArguments(options: relay, report: report).expand(into: &map), hasWholeChain: true)
    }
    var objects = SharedObjects()
    var hops: [YAMLNode] = []
    for (index, node) in nodes.enumerated() {
      let argument = Self.add(node, "-F #\(index + 1)", &map)
      if let hop = NodeExpansion(argument: argument, report: report, index: index).expand(&objects) {
        hops.append(hop)
      }
    }
    var expanded: [YAMLNode] = []
    var count = 0
    for (index, service) in services.enumerated() {
      let argument = Self.add(service, "-L #\(index + 1)", &map)
      expanded += ServiceExpansion(
        argument: argument, report: report, chain: nodes.isEmpty ? nil : "chain-0", worker: worker
      ).expand(&objects, index: &count)
    }
    let hasWholeChain = hops.count == nodes.count
    guard let first = expanded.first ?? hops.first else { return Expansion(root: nil, hasWholeChain: hasWholeChain) }
    var root = Tree(at: first.span)
    root.set("services", list: expanded)
    if let hop = hops.first {
      var chain = Tree(at: hop.span)
      chain.set("name", Located("chain-0", at: hop.span))
      chain.set("hops", list: hops)
      root.set("chains", list: [chain.node])
    }
    for list in objects.lists { root.set(list.name, list: list.items, key: list.key) }
    return Expansion(root: root.node, hasWholeChain: hasWholeChain)
  }

  private static func add(_ text: String, _ name: String, _ map: inout SourceMap) -> ArgumentText {
    let bytes = Array(text.utf8)
    let id = map.add(argument: name, bytes: bytes)
    for secret in ArgumentURL.secrets(in: bytes) {
      map.conceal(SourceSpan(file: id, start: secret.lowerBound, end: secret.upperBound))
    }
    return ArgumentText(bytes, in: id)
  }
}
