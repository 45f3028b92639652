import LinuxIO
import NATDiscovery
import Values

/// A report in plain words: this host, each server, the NAT of each family, and what would work. Whatever a server said is
/// escaped.
struct NetcheckText {
  private let report: NetworkReport

  init(_ report: NetworkReport) { self.report = report }

  func render() -> String {
    var lines = ["This host"]
    for family in report.families { lines += host(family) }
    for server in report.servers { lines += [""] + text(server) }
    for family in report.families {
      guard let nat = report.nat(family.family) else { continue }
      lines += ["", "Between here and the servers, \(family.family)"] + text(nat, family)
    }
    lines += ["", "What would work"]
    for verdict in report.verdicts {
      let head = "  \(Self.padded(verdict.transport.rawValue, 22))\(Self.padded(Self.word(verdict.outcome), 10))"
      lines += Self.wrapped(Log.escape(verdict.reason), after: head)
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// A sentence behind a head, its further lines below its first.
  private static func wrapped(_ text: String, after head: String, width: Int = 110) -> [String] {
    let indent = String(repeating: " ", count: head.count)
    var lines: [String] = []
    var line = head
    var isEmpty = true
    for word in text.split(separator: " ") {
      if !isEmpty, line.count + word.count >= width {
        lines.append(line)
        line = indent
        isEmpty = true
      }
      line += isEmpty ? "\(word)" : " \(word)"
      isEmpty = false
    }
    return lines + [line]
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
  }

  private static func word(_ outcome: Verdict.Outcome) -> String {
    switch outcome {
    case .works: "yes"
    case .unlikely: "unlikely"
    case .fails: "no"
    case .unknown: "unknown"
    }
  }

  /// `0.42 ms`, `12.3 ms`, `142 ms`.
  static func milliseconds(_ span: TimeSpan) -> String {
    let hundredths = max(0, span.nanoseconds) / 10_000
    let fraction = hundredths % 100
    if hundredths >= 10_000 { return "\(hundredths / 100) ms" }
    if hundredths >= 1000 { return "\(hundredths / 100).\(fraction / 10) ms" }
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) ms"
  }

  // MARK: This host

  private func host(_ family: FamilyReport) -> [String] {
    let head = "  \(family.family)  "
    if let obstacle = family.obstacle { return [head + "none: \(obstacle)"] }
    guard !family.addresses.isEmpty else { return [head + "no address that is good beyond one link"] }
    let addresses = family.addresses.map { "\($0.address) on \(Log.escape($0.interface))" }.joined(separator: ", ")
    let route =
      family.defaultRoute.map { route in
        "default route \(route.gateway.map { "by \($0) " } ?? "")on \(Log.escape(route.interface))"
      } ?? "no default route"
    return [head + "\(addresses); \(route)"]
  }

  // MARK: Servers

  private func text(_ server: ServerReport) -> [String] {
    var lines = [Log.escape(server.word.text)]
    if let failure = server.failure { lines.append("  no address: \(Log.escape(failure))") }
    for endpoint in server.endpoints {
      for transport in endpoint.transports { lines += text(transport) }
      lines.append("  \(Self.padded("echo", 6))\(endpoint.address): \(text(endpoint.echo))")
    }
    return lines
  }

  private func text(_ transport: TransportReport) -> [String] {
    let head = "  \(Self.padded(transport.transport.rawValue, 6))\(transport.server): "
    var lines: [String] = []
    switch transport.state {
    case .answered:
      var line = head + "answers"
      if let roundTrip = transport.roundTrip {
        line += " in \(Self.milliseconds(roundTrip))"
        if transport.lost > 0 { line += ", \(transport.lost) of \(transport.lost + transport.roundTrips.count) lost" }
      }
      if let session = transport.session { line += ", \(session)" }
      if let mapped = transport.mapped {
        line += mapped == transport.local ? ", sees \(mapped), which is ours" : ", sees \(mapped)"
        if mapped != transport.local, let local = transport.local { line += " for our \(local)" }
      }
      lines.append(line)
    case .connected(let reason): lines.append(head + Log.escape(reason))
    case .refused(let reason): lines.append(head + "refused: \(Log.escape(reason))")
    case .unreachable(let reason): lines.append(head + "cannot be reached: \(Log.escape(reason))")
    case .silent(let reason): lines.append(head + Log.escape(reason))
    case .pending: lines.append(head + "unknown: the time was over")
    }
    if let certificate = transport.certificate {
      lines.append("        certificate not accepted: \(Log.escape(certificate))")
    }
    if transport.isAnswered, let size = transport.discovery?.size { lines.append("        \(text(size))") }
    for (family, outcome) in transport.allocations {
      guard let words = text(outcome) else { continue }
      lines.append("        \(family.map { "allocation of \($0)" } ?? "allocation"): \(words)")
    }
    return lines
  }

  private func text(_ size: Judgement<PathSize>) -> String {
    guard let size = size.value else { return "path MTU unknown: \(Log.escape(size.reason ?? ""))" }
    if size.refused == nil { return "path MTU \(size.pathMTU), all that our link takes" }
    if size.isTold { return "path MTU \(size.pathMTU), as a router on the way says" }
    return "path MTU \(size.largest): larger packets vanish and no router says so (a black hole)"
  }

  private func text(_ outcome: RelayDialogue.Allocation) -> String? {
    switch outcome {
    case .notAsked: nil
    case .granted(let relayed, let lifetime): "granted, \(relayed) for \(lifetime), and given back"
    case .needsCredentials(let realm): "for those whom it knows (realm \(Log.escape(realm)))"
    case .refused(let code, let reason): "refused: \(code) \(Log.escape(reason))"
    case .silent: "no answer"
    case .strange(let reason): Log.escape(reason)
    }
  }

  private func text(_ echo: EchoReport) -> String {
    switch echo {
    case .notTried(let reason): "unknown: \(reason)"
    case .silent(let requests): "\(requests) small and \(requests) large ICMP echoes, no answer"
    case .refused(let reason): "ICMP echo refused: \(Log.escape(reason))"
    case .answered(let roundTrip, let large):
      "answers ICMP echoes in \(Self.milliseconds(roundTrip)), \(large ? "also" : "none") of 1,200 bytes"
    }
  }

  // MARK: NAT

  private func text(_ nat: NATReport, _ family: FamilyReport) -> [String] {
    func line(_ name: String, _ value: String) -> String { "  \(Self.padded(name, 12))\(value)" }
    func unknown<Value>(_ judgement: Judgement<Value>) -> String {
      "unknown: \(Log.escape(judgement.reason ?? "it was not tried"))"
    }
    var lines: [String] = []
    let isTranslated = nat.mapping.value != .noTranslation
    switch (nat.mapping, nat.filtering) {
    case (.known(.noTranslation), .known(.endpointIndependent)):
      lines.append(line("kind", "no NAT, and nothing filtered"))
    case (.known(.noTranslation), .known): lines.append(line("kind", "no NAT, a firewall only"))
    case (.known(.noTranslation), .unknown): lines.append(line("kind", "no NAT"))
    default: lines.append(line("kind", "NAT"))
    }
    let by = nat.mappingBy.isEmpty ? "" : " (told by \(nat.mappingBy.map(\.description).joined(separator: " and ")))"
    lines.append(line("mapping", nat.mapping.value.map { "\($0.rawValue)\(by)" } ?? unknown(nat.mapping)))
    lines.append(line("filtering", nat.filtering.value?.rawValue ?? unknown(nat.filtering)))
    if isTranslated {
      lines.append(line("hairpin", nat.hairpin.value.map { $0 ? "yes" : "no" } ?? unknown(nat.hairpin)))
      lines.append(
        line("ports", nat.portPreservation.value.map { $0 ? "kept" : "changed" } ?? unknown(nat.portPreservation)))
      lines.append(line("outside", nat.externals.map(\.description).joined(separator: ", ")))
    }
    if let lifetime = family.lifetime {
      let words =
        lifetime.value.map { value in
          value.lessThan.map { "a silent socket is remembered for \(value.atLeast) and not for \($0)" }
            ?? "a silent socket is remembered for \(value.atLeast) at least"
        } ?? unknown(lifetime)
      lines.append(line("lifetime", words))
    }
    for oddity in nat.oddities { lines.append(line("strange", Log.escape(oddity))) }
    return lines
  }
}
