import Configuration
import Values

/// Compares what a daemon says about a path with what the file expects and with what the witness saw.
///
/// The daemon's word is not enough: a leg that it claims to have observed must be among the flows that crossed the
/// cables. A leg that the daemon calls unknown fails any expectation but `evidence: unknown`.
struct PathProof {
  /// One leg as the daemon's JSON has it (`docs/path.md`).
  struct ReportedLeg: Equatable {
    var from: String
    var to: String
    var local: Endpoint?
    var remote: Endpoint?
    var evidence: String
    var family: AddressFamily?
    /// Layers from the packet outwards in.
    var transport: [String]
    /// The echo identifier, where there is one.
    var identifier: Int?

    var text: String {
      let ends = "\(local.map { "\($0)" } ?? "unknown") -> \(remote.map { "\($0)" } ?? "unknown")"
      let carried = transport.isEmpty ? "transport unknown" : transport.joined(separator: " / ")
      return "\(from) -> \(to): \(ends), \(family.map { "\($0)" } ?? "family unknown"), \(carried), \(evidence)"
    }
  }

  struct Outcome {
    /// What was found, for the report.
    var legs: [String] = []
    /// Empty when the proof holds.
    var faults: [String] = []
  }

  static func check(_ json: String, _ expected: LabPlan.PathExpectation, flows: Set<Witness.Flow>) -> Outcome {
    guard let connections = read(json, service: expected.service) else {
      return Outcome(faults: ["the daemon's answer is not the JSON that was expected: \(json.prefix(200))"])
    }
    guard !connections.isEmpty else {
      return Outcome(faults: ["the daemon has no connection of \(expected.service ?? "any service")"])
    }
    var closest: Outcome?
    for legs in connections {
      var outcome = Outcome(legs: legs.map(\.text))
      let leg = expected.to.map { name in legs.first { $0.to == name } } ?? legs.first
      guard let leg else {
        outcome.faults = ["no leg leads to \(expected.to ?? "anywhere")"]
        closest = closest ?? outcome
        continue
      }
      outcome.faults = faults(leg, expected, flows)
      if outcome.faults.isEmpty { return outcome }
      if closest.map({ $0.faults.count > outcome.faults.count }) ?? true { closest = outcome }
    }
    return closest ?? Outcome(faults: ["no connection has a leg"])
  }

  private static func faults(
    _ leg: ReportedLeg, _ expected: LabPlan.PathExpectation, _ flows: Set<Witness.Flow>
  ) -> [String] {
    var faults: [String] = []
    if let evidence = expected.evidence, leg.evidence != evidence {
      faults.append("the leg to \(leg.to) is \(leg.evidence), not \(evidence)")
    }
    if let family = expected.family, leg.family != family {
      faults.append("the leg to \(leg.to) is \(leg.family.map { "\($0)" } ?? "of unknown family"), not \(family)")
    }
    if !expected.transport.isEmpty {
      var rest = leg.transport[...]
      for layer in expected.transport {
        guard let place = rest.firstIndex(of: layer) else {
          faults.append(
            "the leg to \(leg.to) is carried by \(leg.transport.joined(separator: " / ")), not by "
              + expected.transport.joined(separator: " / "))
          break
        }
        rest = rest[(place + 1)...]
      }
    }
    // A relay's leg is the relay's word; the cables know better.
    if leg.evidence == "observed" && leg.from == "us" || leg.evidence == "told", !seen(leg, flows) {
      let ends = [leg.local, leg.remote].map { $0.map { "\($0)" } ?? "?" }
      faults.append("nothing between \(ends[0]) and \(ends[1]) was seen on the cables")
    }
    return faults
  }

  /// Whether the cables carried packets between the leg's ends.
  private static func seen(_ leg: ReportedLeg, _ flows: Set<Witness.Flow>) -> Bool {
    guard let local = leg.local, let remote = leg.remote else { return false }
    let kinds: [Witness.Kind] =
      switch leg.transport.first {
      case "icmp6": [.icmp6Echo]
      case "icmp": [.icmpEcho]
      case "tcp": [.tcp4, .tcp6]
      default: [.udp4, .udp6]
      }
    return kinds.contains { kind in
      if kind == .icmp6Echo || kind == .icmpEcho, let identifier = leg.identifier.flatMap(UInt16.init(exactly:)) {
        let flow = Witness.Flow(
          kind, Endpoint(local.address, port: identifier), Endpoint(remote.address, port: identifier))
        return flows.contains(flow)
      }
      return flows.contains(
        Witness.Flow(kind, Endpoint(local.address, port: local.port), Endpoint(remote.address, port: remote.port)))
    }
  }

  /// The legs of each connection of the service; `nil` when the text has another shape.
  static func read(_ json: String, service: String?) -> [[ReportedLeg]]? {
    var sources = SourceMap()
    let id = sources.add(name: "path.json", bytes: Array(json.utf8))
    guard let root = YAMLReader.read(id, in: &sources).root, let services = root["services"]?.sequence else {
      return nil
    }
    return services.filter { service == nil || $0["name"]?.scalar?.text == service }
      .flatMap { $0["connections"]?.sequence ?? [] }
      .map { ($0["legs"]?.sequence ?? []).map(leg) }
  }

  private static func leg(_ node: YAMLNode) -> ReportedLeg {
    let layers = node["transport"]?.sequence ?? []
    let remote = node["remote"]
    return ReportedLeg(
      from: role(node["from"]), to: role(node["to"]), local: endpoint(node["local"]), remote: endpoint(remote),
      evidence: (remote ?? node["local"])?["evidence"]?.scalar?.text ?? "unknown", family: family(node["family"]),
      transport: layers.compactMap { $0["layer"]?.scalar?.text },
      identifier: layers.lazy.compactMap { $0["identifier"]?.scalar?.int }.first)
  }

  private static func role(_ node: YAMLNode?) -> String {
    if let name = node?["name"], !name.isNull, let text = name.scalar?.text { return text }
    return node?["role"]?.scalar?.text ?? "unknown"
  }

  private static func endpoint(_ node: YAMLNode?) -> Endpoint? {
    guard let address = node?["address"]?.scalar.flatMap({ IPAddress($0.text) }),
      let port = node?["port"]?.scalar?.int.flatMap({ UInt16(exactly: $0) })
    else { return nil }
    return Endpoint(address.canonical, port: port)
  }

  private static func family(_ node: YAMLNode?) -> AddressFamily? {
    switch node?.scalar?.text {
    case "IPv4": .ipv4
    case "IPv6": .ipv6
    default: nil
    }
  }
}
