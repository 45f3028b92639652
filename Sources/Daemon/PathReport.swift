import LinuxIO
import Values

/// What `culvert path` prints: for each service its connections, for each connection its legs, for each leg what was
/// seen and by whom. A fact that nobody saw is printed as unknown, in both forms.
///
/// The JSON form has a schema version and is described in `docs/path.md`; fields are added, never changed.
public struct PathReport {
  public static let schema = 1

  public struct Service {
    let name: String
    let summary: String
    let isUp: Bool?
    let details: [(key: String, value: String)]
    let connections: [(name: String, path: Path, facts: [(key: String, value: String)])]

    init(_ service: any RunningService) {
      name = service.name
      summary = service.summary
      isUp = service.isUp
      details = service.details
      connections = service.paths.map { ($0.name, $0.path, service.facts(of: $0.name)) }
    }
  }

  let services: [Service]
  let at: Instant

  func only(_ name: String) -> PathReport {
    PathReport(services: services.filter { $0.name == name }, at: at)
  }

  // MARK: Text

  public var text: String {
    if services.isEmpty { return "no such service\n" }
    return services.map(text).joined(separator: "\n")
  }

  private func text(_ service: Service) -> String {
    var lines = ["\(Log.escape(service.name))  (\(service.summary)\(state(service)))"]
    for (key, value) in service.details { lines.append("  \(key): \(Log.escape(value))") }
    if service.connections.isEmpty { lines.append("  no connections") }
    for (name, path, facts) in service.connections {
      lines.append("  \(Log.escape(name)), for \(age(path.since))")
      for (key, value) in facts { lines.append("    \(key): \(Log.escape(value))") }
      for (index, leg) in path.legs.enumerated() {
        lines.append("    leg \(index + 1)  \(Log.escape(leg.from.description)) → \(Log.escape(leg.to.description))")
        if let remote = leg.remote {
          let local = leg.local?.value.description ?? "unknown"
          lines.append("           \(local) → \(remote.value)   \(evidenceText(leg))")
          lines.append(
            "           \(leg.family?.description ?? "family unknown"), "
              + (leg.transport.isEmpty ? "transport unknown" : leg.transport.map(Self.text).joined(separator: " / ")))
        } else {
          lines.append(
            "           addresses unknown: only \(Log.escape(leg.from.description)) can see them, and it did not say")
          if !leg.transport.isEmpty {
            lines.append("           inside it, from us: \(leg.transport.map(Self.text).joined(separator: " / "))")
          }
        }
        if let forbidden = leg.forbidden { lines.append("           \(Log.escape("\(forbidden)"))") }
        if let counted = countedText(leg) { lines.append("           \(counted)") }
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private func state(_ service: Service) -> String {
    switch service.isUp {
    case true?: ", up"
    case false?: ", down"
    case nil: ""
    }
  }

  private func age(_ since: Instant) -> String {
    let seconds = max(0, Int((at - since).inSeconds))
    return TimeSpan.seconds(Int64(seconds)).description
  }

  private func evidenceText(_ leg: Leg) -> String {
    // The ends of a relay's leg are known in two ways.
    if case .told(let relay)? = leg.remote?.evidence, case .reported? = leg.local?.evidence {
      return "(the first reported by \(Log.escape(relay)), the second told to it)"
    }
    return switch leg.evidence {
    case .observed(let receipt)?: "(observed, \(age(receipt.at)) ago)"
    case .reported(let node)?: "(reported by \(Log.escape(node)))"
    case .told(let node)?: "(told to \(Log.escape(node)))"
    case .configured?: "(configured, nothing has crossed yet)"
    case nil: ""
    }
  }

  /// Bytes and round trip, as far as they are known.
  private func countedText(_ leg: Leg) -> String? {
    var parts: [String] = []
    if let traffic = leg.traffic { parts.append("\(traffic.forward) bytes forth, \(traffic.back) back") }
    if let roundTrip = leg.roundTrip { parts.append("round trip \(Self.milliseconds(roundTrip))") }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  /// Two digits below 10 ms, as `ping` has it: `0.18 ms`, `12.3 ms`.
  static func milliseconds(_ span: TimeSpan) -> String {
    let hundredths = max(0, span.nanoseconds) / 10_000
    let fraction = hundredths % 100
    return hundredths < 1000
      ? "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) ms"
      : "\(hundredths / 100).\(fraction / 10) ms"
  }

  private static func text(_ layer: Layer) -> String {
    switch layer {
    case .tcp: return "TCP"
    case .udp: return "UDP"
    case .icmpEcho(let family, let identifier):
      return "\(family == .ipv4 ? "ICMP" : "ICMPv6") echo, identifier \(identifier)"
    case .quic(let version, let name):
      return "QUIC v\(version == 0x6b33_43cf ? 2 : Int(version)), ALPN \(Log.escape(name))"
    case .tls(let facts):
      let verified =
        switch facts.peerVerified {
        case true?: ", verified"
        case false?: ", certificate not verified"
        case nil: ""
        }
      return "\(facts.version) \(facts.cipherSuite)\(verified)"
    case .webSocket: return "WebSocket"
    case .smux(let version): return "smux v\(version)"
    case .relay: return "relay"
    case .http: return "HTTP proxy"
    case .socks4: return "SOCKS4"
    case .socks5: return "SOCKS5"
    case .wireGuard: return "WireGuard"
    case .turn: return "TURN"
    }
  }

  // MARK: JSON

  public var json: String {
    let list = services.map(json).joined(separator: ",")
    return "{\"schema\":\(Self.schema),\"services\":[\(list)]}\n"
  }

  private func json(_ service: Service) -> String {
    let details = service.details.map { "\(JSONText.quote($0.key)):\(JSONText.quote($0.value))" }
    let connections = service.connections.map { name, path, facts in
      let facts = facts.map { "\(JSONText.quote($0.key)):\(JSONText.quote($0.value))" }.joined(separator: ",")
      return "{\"name\":\(JSONText.quote(name)),\"seconds\":\(max(0, Int((at - path.since).inSeconds))),"
        + (facts.isEmpty ? "" : "\"facts\":{\(facts)},") + "\"legs\":[\(path.legs.map(json).joined(separator: ","))]}"
    }
    return "{\"name\":\(JSONText.quote(service.name)),\"summary\":\(JSONText.quote(service.summary)),"
      + "\"up\":\(service.isUp.map { $0 ? "true" : "false" } ?? "null"),"
      + "\"details\":{\(details.joined(separator: ","))},\"connections\":[\(connections.joined(separator: ","))]}"
  }

  private func json(_ leg: Leg) -> String {
    let transport = leg.transport.map(Self.json).joined(separator: ",")
    return "{\"from\":\(json(leg.from)),\"to\":\(json(leg.to)),\"local\":\(json(leg.local)),"
      + "\"remote\":\(json(leg.remote)),\"family\":\(leg.family.map { JSONText.quote($0.description) } ?? "null"),"
      + "\"transport\":[\(transport)],"
      + "\"bytes\":\(leg.traffic.map { "{\"forth\":\($0.forward),\"back\":\($0.back)}" } ?? "null"),"
      + "\"roundTripMicroseconds\":\(leg.roundTrip.map { "\($0.nanoseconds / 1000)" } ?? "null")"
      + (leg.forbidden.map { ",\"forbidden\":\(json($0))" } ?? "") + "}"
  }

  private func json(_ forbidden: ForbiddenFamily) -> String {
    "{\"family\":\(JSONText.quote(forbidden.family.description)),\"place\":\(JSONText.quote(forbidden.place))}"
  }

  private func json(_ role: Role) -> String {
    "{\"role\":\(JSONText.quote(role.kind)),\"name\":\(role.name.map(JSONText.quote) ?? "null")}"
  }

  private func json(_ fact: Fact<Endpoint>?) -> String {
    guard let fact else { return "null" }
    let evidence: String
    switch fact.evidence {
    case .observed(let receipt):
      evidence = "\"evidence\":\"observed\",\"interface\":\(receipt.interface)"
    case .reported(let node): evidence = "\"evidence\":\"reported\",\"by\":\(JSONText.quote(node))"
    case .told(let node): evidence = "\"evidence\":\"told\",\"to\":\(JSONText.quote(node))"
    case .configured: evidence = "\"evidence\":\"configured\""
    }
    return "{\"address\":\(JSONText.quote(fact.value.address.description)),\"port\":\(fact.value.port),\(evidence)}"
  }

  private static func json(_ layer: Layer) -> String {
    switch layer {
    case .tcp: return "{\"layer\":\"tcp\"}"
    case .udp: return "{\"layer\":\"udp\"}"
    case .relay: return "{\"layer\":\"relay\"}"
    case .webSocket: return "{\"layer\":\"websocket\"}"
    case .smux(let version): return "{\"layer\":\"smux\",\"version\":\(version)}"
    case .http: return "{\"layer\":\"http\"}"
    case .socks4: return "{\"layer\":\"socks4\"}"
    case .socks5: return "{\"layer\":\"socks5\"}"
    case .wireGuard: return "{\"layer\":\"wireguard\"}"
    case .turn: return "{\"layer\":\"turn\"}"
    case .icmpEcho(let family, let identifier):
      return "{\"layer\":\"\(family == .ipv4 ? "icmp" : "icmp6")\",\"identifier\":\(identifier)}"
    case .quic(let version, let name):
      return "{\"layer\":\"quic\",\"version\":\(version),\"alpn\":\(JSONText.quote(name))}"
    case .tls(let facts):
      return "{\"layer\":\"\(facts.isDatagrams ? "dtls" : "tls")\",\"version\":\(JSONText.quote(facts.version)),"
        + "\"cipher\":\(JSONText.quote(facts.cipherSuite)),"
        + "\"alpn\":\(facts.applicationProtocol.map(JSONText.quote) ?? "null"),"
        + "\"verified\":\(facts.peerVerified.map { $0 ? "true" : "false" } ?? "null")}"
    }
  }
}
