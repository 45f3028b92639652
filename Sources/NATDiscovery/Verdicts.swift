import Values

/// Whether one of Culvert's transports would work in this network, and what says so.
public struct Verdict: Sendable, Hashable {
  public enum Transport: String, Sendable, CaseIterable {
    case udp, tcp, tls, quic, icmp, icmp6
    /// WireGuard's datagrams straight to a peer whose address is open to all.
    case wireguard
    /// The same to a peer behind a NAT of its own.
    case wireguardBehindNAT = "wireguard-behind-nat"
    case relay
  }

  public enum Outcome: String, Sendable {
    /// It was seen to.
    case works
    /// Nothing came back where an answer was to be expected; what silence means cannot be told for certain.
    case unlikely
    /// It was seen not to.
    case fails
    case unknown
  }

  public let transport: Transport
  public let outcome: Outcome
  /// The facts, in sentences without a full stop at the end.
  public let reason: String
}

extension NetworkReport {
  /// One for each transport, in their order.
  public var verdicts: [Verdict] {
    let udp = overUDP
    return [
      udp, over(.tcp, as: .tcp), over(.tls, as: .tls), overQUIC(udp), overEcho(.ipv4, as: .icmp),
      overEcho(.ipv6, as: .icmp6), direct(udp), betweenNATs(udp), throughRelay,
    ]
  }

  private static func list(_ reports: [TransportReport]) -> String {
    var seen: [String] = []
    for report in reports where !seen.contains("\(report.server)") { seen.append("\(report.server)") }
    return seen.joined(separator: ", ")
  }

  /// Whether anything at all came back from a server, over another transport.
  private func otherSign(of reports: [TransportReport]) -> String? {
    let hosts = Set(reports.map(\.server.address))
    if let other = transports.first(where: { report in
      hosts.contains(report.server.address) && report.reaches && report.transport != reports.first?.transport
    }) {
      return "\(other.server) answers over \(other.transport.rawValue)"
    }
    for endpoint in servers.flatMap(\.endpoints) where hosts.contains(endpoint.address) {
      if case .answered = endpoint.echo { return "\(endpoint.address) answers an ICMP echo" }
    }
    if let other = transports.first(where: { $0.reaches }) {
      return "\(other.server) answers over \(other.transport.rawValue)"
    }
    return nil
  }

  /// The verdict over UDP, TCP or TLS: one that reaches its server decides.
  private func over(_ transport: ServerWord.Transport, as name: Verdict.Transport) -> Verdict {
    let tried = transports.filter { $0.transport == transport }
    guard !tried.isEmpty else {
      return Verdict(
        transport: name, outcome: .unknown, reason: "no server was given that is asked over \(name.rawValue)")
    }
    let good = tried.filter(\.reaches)
    if !good.isEmpty {
      var reason = "\(Self.list(good)) \(good.count == 1 ? "answers" : "answer"); other ports were not tried"
      if let problem = good.compactMap(\.certificate).first, transport == .tls {
        reason += "; its certificate is not accepted here: \(problem)"
      }
      return Verdict(transport: name, outcome: .works, reason: reason)
    }
    // A session of TLS needs a connection of TCP, whatever became of it.
    if transport == .tcp, let below = transports.first(where: { $0.transport == .tls && $0.connects }) {
      return Verdict(
        transport: name, outcome: .works,
        reason: "a connection to \(below.server) stands"
          + (tried.isEmpty ? "; other ports were not tried" : ", and none to \(Self.list(tried))"))
    }
    if let refused = tried.first(where: { if case .refused = $0.state { true } else { false } }),
      case .refused(let text) = refused.state
    {
      // The refusal itself came back: the way is not closed to everything.
      return Verdict(transport: name, outcome: .unknown, reason: "\(refused.server) refuses: \(text)")
    }
    let silent = tried.filter { if case .silent = $0.state { true } else { false } }
    if let first = silent.first, case .silent(let text) = first.state {
      if let sign = otherSign(of: silent) {
        return Verdict(
          transport: name, outcome: .unlikely,
          reason: "\(Self.list(silent)): \(text), while \(sign); most likely first: a firewall drops "
            + "\(name.rawValue) to that port; the server does not speak it there")
      }
      return Verdict(
        transport: name, outcome: .unknown, reason: "\(Self.list(silent)): \(text), and nothing else answers either")
    }
    if let first = tried.first(where: { if case .unreachable = $0.state { true } else { false } }),
      case .unreachable(let text) = first.state
    {
      return Verdict(transport: name, outcome: .fails, reason: "\(first.server): \(text)")
    }
    return Verdict(transport: name, outcome: .unknown, reason: "the time was over")
  }

  private var overUDP: Verdict { over(.udp, as: .udp) }

  /// QUIC's first packets have 1,200 bytes in a datagram (RFC 9000, section 14.1).
  private func overQUIC(_ udp: Verdict) -> Verdict {
    guard udp.outcome == .works else {
      return Verdict(
        transport: .quic, outcome: udp.outcome, reason: udp.outcome == .unknown ? udp.reason : "it needs udp")
    }
    let sizes = transports.compactMap { report in
      report.discovery?.size.value.map { (server: report.server, size: $0) }
    }
    let need = { (server: Endpoint) in server.family == .ipv4 ? 1228 : 1248 }
    if let wide = sizes.first(where: { $0.size.largest >= need($0.server) }) {
      return Verdict(
        transport: .quic, outcome: .works,
        reason: "UDP packets of \(wide.size.largest) bytes reach \(wide.server), and QUIC needs \(need(wide.server)); "
          + "whether something on the way picks QUIC out was not tried")
    }
    if let narrow = sizes.first {
      return Verdict(
        transport: .quic, outcome: .fails,
        reason: "no UDP packet of more than \(narrow.size.largest) bytes reaches \(narrow.server), and QUIC needs "
          + "\(need(narrow.server))")
    }
    return Verdict(
      transport: .quic, outcome: .unknown,
      reason: "UDP works; which sizes pass is not known, and QUIC needs 1,228 bytes")
  }

  private func overEcho(_ family: AddressFamily, as name: Verdict.Transport) -> Verdict {
    let endpoints = servers.flatMap(\.endpoints).filter { $0.address.family == family }
    func verdict(_ outcome: Verdict.Outcome, _ reason: String) -> Verdict {
      Verdict(transport: name, outcome: outcome, reason: reason)
    }
    guard !endpoints.isEmpty else { return verdict(.unknown, "no server has an \(family) address") }
    var small: IPAddress?
    for endpoint in endpoints {
      if case .answered(_, let large) = endpoint.echo {
        if large {
          return verdict(
            .works, "\(endpoint.address) answers echoes, also of 1,200 bytes (the transport needs CAP_NET_RAW)")
        }
        small = endpoint.address
      }
    }
    if let small { return verdict(.fails, "\(small) answers small echoes and none of 1,200 bytes") }
    for endpoint in endpoints {
      if case .refused(let reason) = endpoint.echo { return verdict(.fails, "\(endpoint.address): \(reason)") }
    }
    let silent = endpoints.filter { if case .silent = $0.echo { true } else { false } }
    if let first = silent.first {
      let hosts = Set(silent.map(\.address))
      if let other = transports.first(where: { hosts.contains($0.server.address) && $0.reaches }) {
        return verdict(
          .unlikely,
          "\(other.server.address) answers no echo, while it answers over \(other.transport.rawValue); most likely first: "
            + "echoes are dropped on the way; the server answers none")
      }
      return verdict(.unknown, "\(first.address) answers no echo, and nothing else that is tried in \(family)")
    }
    if case .notTried(let reason)? = endpoints.first?.echo { return verdict(.unknown, reason) }
    return verdict(.unknown, "the time was over")
  }

  private func direct(_ udp: Verdict) -> Verdict {
    guard udp.outcome == .works else {
      return Verdict(
        transport: .wireguard, outcome: udp.outcome, reason: udp.outcome == .unknown ? udp.reason : "it needs udp")
    }
    return Verdict(
      transport: .wireguard, outcome: .works,
      reason: "to a peer whose address is open to all: UDP passes; other ports were not tried")
  }

  private func betweenNATs(_ udp: Verdict) -> Verdict {
    func verdict(_ outcome: Verdict.Outcome, _ reason: String) -> Verdict {
      Verdict(transport: .wireguardBehindNAT, outcome: outcome, reason: reason)
    }
    guard udp.outcome == .works else {
      return verdict(udp.outcome, udp.outcome == .unknown ? udp.reason : "it needs udp")
    }
    var unknown = "no server told how this NAT maps"
    for family in [AddressFamily.ipv6, .ipv4] {
      guard let nat = nat(family) else { continue }
      switch nat.mapping {
      case .known(.noTranslation):
        return verdict(.works, "over \(family): this host's address is its own, so a peer can send to it once both do")
      case .known(.endpointIndependent):
        return verdict(
          .works,
          "over \(family): the mapping is endpoint-independent, so a peer can be told where to send; if the peer's is not, "
            + (nat.filtering.value == .endpointIndependent
              ? "it still reaches this host, which lets everybody in" : "it needs a relay"))
      case .known(let mapping):
        return verdict(
          .unlikely,
          "over \(family): the mapping is \(mapping.rawValue), so only a peer whose NAT lets everybody in can be reached; "
            + "else a relay")
      case .unknown(let reason): unknown = "over \(family) the mapping is unknown: \(reason)"
      }
    }
    return verdict(.unknown, unknown)
  }

  private var throughRelay: Verdict {
    func verdict(_ outcome: Verdict.Outcome, _ reason: String) -> Verdict {
      Verdict(transport: .relay, outcome: outcome, reason: reason)
    }
    var asked = false
    var closed: String?
    var refused: String?
    var granted: [String] = []
    for report in transports {
      let place = "\(report.server) over \(report.transport.rawValue)"
      var addresses: [String] = []
      for (family, outcome) in report.allocations {
        asked = true
        switch outcome {
        case .granted(let relayed, _): addresses.append("\(relayed.address)")
        case .needsCredentials(let realm): closed = closed ?? "\(place) relays for those it knows (realm \(realm))"
        case .refused(let code, let reason):
          refused = refused ?? "\(place) refuses an allocation\(family.map { " of \($0)" } ?? ""): \(code) \(reason)"
        case .strange(let reason): refused = refused ?? "\(place): \(reason)"
        case .silent, .notAsked: break
        }
      }
      if !addresses.isEmpty { granted.append("\(place) relays by \(addresses.joined(separator: " and "))") }
    }
    if !granted.isEmpty { return verdict(.works, granted.joined(separator: "; ")) }
    if let closed { return verdict(.unknown, "\(closed); `--user` and `--password`, or `--secret`, let it be tried") }
    if let refused { return verdict(.fails, refused) }
    return verdict(.unknown, asked ? "no server answered" : "no server was asked to relay")
  }
}
