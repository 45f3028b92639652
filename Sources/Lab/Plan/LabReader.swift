import Configuration
import LinuxNet
import Values

/// Reads `lab.yaml` into a `LabPlan`, with every mistake at its place.
///
///     hosts:
///       client: {run: client.yaml}
///       server: {run: server.yaml}
///     links:
///     - families: [ipv6]
///       between:
///         client: 2001:db8:562::1/64
///         server: 2001:db8:562::2/64
///     names:
///       ipv6.server.com: server
///     proofs:
///     - ping: {from: client, to: 10.90.57.30, count: 10}
///     - transfer: {from: client, to: server, address: 10.90.57.30, size: 16MiB}
///     - path: {host: client, service: tun-client, to: relay-node, family: ipv6, transport: [icmp6, quic, relay]}
///
/// Between proofs, trouble can be made: `restart: {host: server, for: 2s}`,
/// `cut: {between: [client, server], for: 5s}`,
/// `readdress: {host: client, from: 2001:db8:562::1/64, to: 2001:db8:562::9/64}`.
///
/// A host may be a router for others (`router: {forwards: true}`, `desk: {gateway: router}`), and a link may have a
/// firewall (`drops: [udp]`).
///
/// `between` may be a list of two hosts; the addresses are then chosen here, from the ranges for documentation and
/// benchmarks. A name leads to a host (all its addresses), to an address, or to a list of these.
struct LabReader {
  private(set) var diagnostics: [Diagnostic] = []
  private var hosts: [LabPlan.Host] = []
  private var cables: [LabPlan.Cable] = []
  private var interfaces: [String: Int] = [:]
  /// By host: the name of the one that is its gateway.
  private var gateways: [(host: Int, node: YAMLNode)] = []

  /// The plan, `nil` when a diagnostic of severity error says why.
  static func read(name: String, bytes: [UInt8]) -> (plan: LabPlan?, diagnostics: [Diagnostic], sources: SourceMap) {
    var sources = SourceMap()
    let id = sources.add(name: name, bytes: bytes)
    let (root, syntax) = YAMLReader.read(id, in: &sources)
    var reader = LabReader()
    reader.diagnostics = syntax
    var plan: LabPlan?
    if let root {
      plan = reader.plan(root)
    } else if syntax.isEmpty {
      reader.diagnostics.append(Diagnostic(.nothingToDo, "`\(name)` is empty", help: ["begin with `hosts:`"]))
    }
    let found = reader.diagnostics.inFileOrder()
    return (found.contains { $0.severity == .error } ? nil : plan, found, sources)
  }

  private mutating func plan(_ root: YAMLNode) -> LabPlan? {
    guard root.mapping != nil else {
      wrongType(root, "a lab", "a mapping")
      return nil
    }
    checkKeys(root, ["hosts", "links", "names", "proofs"], in: "a lab")
    guard let hostsNode = required(root, "hosts", in: "a lab") else { return nil }
    readHosts(hostsNode)
    for link in list(root["links"], "links") { readLink(link) }
    for (host, node) in gateways { readGateway(node, of: host) }
    let names = (root["names"].map { entries($0, "names") } ?? []).compactMap { readName($0) }
    var proofs: [LabPlan.Proof] = []
    for node in list(root["proofs"], "proofs") {
      if let proof = readProof(node) { proofs.append(proof) }
    }
    if proofs.isEmpty, diagnostics.isEmpty {
      diagnostics.append(
        Diagnostic(
          .nothingToDo, "the lab proves nothing", .warning, at: .init(root.entry("proofs")?.key.span ?? hostsNode.span),
          help: ["add `proofs:` with a `ping`, a `transfer` or a `path`"]))
    }
    return LabPlan(hosts: hosts, cables: cables, names: names, proofs: proofs)
  }

  private mutating func readHosts(_ node: YAMLNode) {
    for entry in entries(node, "hosts") {
      let name = entry.name
      let plain = name.utf8.allSatisfy { isHostNameByte($0) }
      guard (1...63).contains(name.utf8.count), plain, name.first != "-" else {
        error(.badAddress, "`\(name)` is no host name", entry.key.span, "letters, digits and `-`, at most 63")
        continue
      }
      var host = LabPlan.Host(name: name, file: nil)
      if !entry.value.isNull {
        guard entry.value.mapping != nil else {
          wrongType(entry.value, "host `\(name)`", "a mapping such as `{run: \(name).yaml}`")
          continue
        }
        checkKeys(entry.value, ["run", "forwards", "gateway"], in: "host `\(name)`")
        if let run = entry.value["run"] { host = LabPlan.Host(name: name, file: text(run, "run")) }
        if let forwards = entry.value["forwards"] { host.forwards = truth(forwards, "forwards") ?? false }
        if let gateway = entry.value["gateway"] { gateways.append((hosts.count, gateway)) }
      }
      hosts.append(host)
    }
  }

  /// The addresses of the gateway on the links that it shares with the host, one of each family.
  private mutating func readGateway(_ node: YAMLNode, of index: Int) {
    guard let name = hostName(node), hosts.indices.contains(index) else { return }
    let shared = cables.filter { Set($0.ends.map(\.host)) == [hosts[index].name, name] }
    let addresses = shared.flatMap(\.ends).filter { $0.host == name }.flatMap(\.addresses).map(\.address)
    for family in AddressFamily.allCases {
      if let first = addresses.first(where: { $0.family == family }) { hosts[index].gateway.append(first) }
    }
    if hosts[index].gateway.isEmpty {
      error(.missingReference, "no link joins `\(hosts[index].name)` and `\(name)`", node.span, "cannot be its gateway")
    }
  }

  private mutating func readLink(_ node: YAMLNode) {
    guard node.mapping != nil else { return wrongType(node, "a link", "a mapping") }
    checkKeys(node, ["between", "families", "drops"], in: "a link")
    let drops = (node["drops"].map { $0.sequence ?? [$0] } ?? []).compactMap { dropped($0) }
    var families: Set<AddressFamily> = []
    let familyItems = node["families"].map { $0.sequence ?? [$0] } ?? []
    for item in familyItems {
      guard let family = family(item) else { continue }
      families.insert(family)
    }
    guard let between = required(node, "between", in: "a link") else { return }
    var ends: [(host: String, written: [IPPrefix], span: SourceSpan)] = []
    if let items = between.sequence {
      for item in items {
        if let host = hostName(item) { ends.append((host, [], item.span)) }
      }
    } else {
      for entry in entries(between, "between") {
        guard let host = hostName(entry.key) else { continue }
        let values = entry.value.isNull ? [] : entry.value.sequence ?? [entry.value]
        ends.append((host, values.compactMap { prefix($0, families) }, entry.key.span))
      }
    }
    guard ends.count == 2, ends[0].host != ends[1].host else {
      if (between.sequence?.count ?? between.mapping?.count) != 2 || ends.count == 2 {
        error(.valueOutOfRange, "a link joins two different hosts", between.span, "needs exactly two")
      }
      return
    }
    if families.isEmpty {
      families = Set(ends.flatMap { $0.written.map(\.family) })
      if families.isEmpty { families = [.ipv4, .ipv6] }
    }
    let number = cables.count + 1
    guard number < 200 else {
      return error(.tooManyValues, "a lab has fewer than 200 links", node.span, "one too many")
    }
    cables.append(
      LabPlan.Cable(
        ends: ends.enumerated().map { place, end in
          let index = interfaces[end.host, default: 0]
          interfaces[end.host] = index + 1
          let chosen = families.sorted { $0.rawValue < $1.rawValue }
            .filter { family in !end.written.contains { $0.family == family } }
            .filter { _ in end.written.isEmpty }
            .compactMap { Self.chosenAddress($0, link: number, end: place + 1) }
          return LabPlan.End(host: end.host, interface: "eth\(index)", addresses: end.written + chosen)
        }, families: families, drops: drops))
  }

  private mutating func dropped(_ node: YAMLNode) -> LinkFilter.Dropped? {
    if let dropped = LinkFilter.Dropped(rawValue: node.scalar?.text ?? "") { return dropped }
    let known = LinkFilter.Dropped.allCases.map(\.rawValue).joined(separator: ", ")
    error(.valueOutOfRange, "a link drops some of \(known)", node.span, "not one of these")
    return nil
  }

  private mutating func truth(_ node: YAMLNode, _ key: String) -> Bool? {
    if let truth = node.scalar?.bool { return truth }
    wrongType(node, "`\(key)`", "`true` or `false`")
    return nil
  }

  /// 198.18.N.1/24 (RFC 2544) and 2001:db8:N::1/64 (RFC 3849).
  private static func chosenAddress(_ family: AddressFamily, link: Int, end: Int) -> IPPrefix? {
    switch family {
    case .ipv4: IPPrefix("198.18.\(link).\(end)/24")
    case .ipv6: IPPrefix("2001:db8:\(String(link, radix: 16))::\(end)/64")
    }
  }

  private mutating func readName(_ entry: YAMLEntry) -> LabPlan.Name? {
    var addresses: [IPAddress] = []
    guard !entry.name.isEmpty, entry.name.utf8.allSatisfy({ isHostNameByte($0) || $0 == UInt8(ascii: ".") }) else {
      error(.badAddress, "`\(entry.name)` is no name that can be resolved", entry.key.span, "")
      return nil
    }
    for item in entry.value.sequence ?? [entry.value] {
      guard let word = text(item, "names") else { return nil }
      if let address = IPAddress(word) {
        addresses.append(address)
      } else if let host = hostName(item) {
        addresses += cables.flatMap(\.ends).filter { $0.host == host }.flatMap { $0.addresses.map(\.address) }
      } else {
        return nil
      }
    }
    return LabPlan.Name(name: entry.name, addresses: addresses)
  }

  // MARK: - Proofs

  private mutating func readProof(_ node: YAMLNode) -> LabPlan.Proof? {
    guard let entry = node.mapping?.first, node.mapping?.count == 1 else {
      wrongType(node, "a proof", "a mapping with one key, such as `ping`")
      return nil
    }
    guard entry.value.mapping != nil else {
      wrongType(entry.value, "`\(entry.name)`", "a mapping")
      return nil
    }
    let kind: LabPlan.Proof.Kind?
    switch entry.name {
    case "ping": kind = readPing(entry.value).map { .ping($0) }
    case "transfer": kind = readTransfer(entry.value).map { .transfer($0) }
    case "path": kind = readPath(entry.value).map { .path($0) }
    case "restart": kind = readRestart(entry.value).map { .trouble($0) }
    case "cut": kind = readCut(entry.value).map { .trouble($0) }
    case "readdress": kind = readReaddress(entry.value).map { .trouble($0) }
    default:
      unknownKey(entry.key, ["ping", "transfer", "path", "restart", "cut", "readdress"], in: "a proof")
      kind = nil
    }
    return kind.map { LabPlan.Proof(kind: $0, span: entry.key.span) }
  }

  private mutating func readPing(_ node: YAMLNode) -> LabPlan.Ping? {
    checkKeys(node, ["from", "to", "count", "within"], in: "a ping")
    let count = number(node["count"], "count", 1...100_000) ?? 10
    let within = number(node["within"], "within", 1...600, unit: "s") ?? 10
    guard let from = requiredHost(node, "from", in: "a ping"), let to = requiredAddress(node, "to", in: "a ping")
    else { return nil }
    return LabPlan.Ping(from: from, to: to, count: count, within: .seconds(Int64(within)))
  }

  private mutating func readTransfer(_ node: YAMLNode) -> LabPlan.Transfer? {
    checkKeys(node, ["from", "to", "address", "size"], in: "a transfer")
    let size = node["size"].flatMap { self.size($0) } ?? 16 << 20
    guard let from = requiredHost(node, "from", in: "a transfer"), let to = requiredHost(node, "to", in: "a transfer"),
      let address = requiredAddress(node, "address", in: "a transfer")
    else { return nil }
    return LabPlan.Transfer(from: from, to: to, address: address, size: size)
  }

  private mutating func readPath(_ node: YAMLNode) -> LabPlan.PathExpectation? {
    checkKeys(node, ["host", "service", "to", "family", "transport", "evidence"], in: "a path")
    let evidence = node["evidence"].flatMap { text($0, "evidence") }
    let known = ["observed", "reported", "told", "configured", "unknown"]
    if let evidence, !known.contains(evidence), let span = node["evidence"]?.span {
      error(.valueOutOfRange, "`\(evidence)` is no kind of evidence", span, "one of \(known.joined(separator: ", "))")
    }
    let transport = (node["transport"].map { $0.sequence ?? [$0] } ?? []).compactMap { text($0, "transport") }
    guard let host = requiredHost(node, "host", in: "a path") else { return nil }
    return LabPlan.PathExpectation(
      host: host, service: node["service"].flatMap { text($0, "service") }, to: node["to"].flatMap { text($0, "to") },
      family: node["family"].flatMap { family($0) }, transport: transport, evidence: evidence)
  }

  private mutating func readRestart(_ node: YAMLNode) -> LabPlan.Trouble? {
    checkKeys(node, ["host", "for"], in: "a restart")
    let pause = number(node["for"], "for", 0...600, unit: "s") ?? 1
    return requiredHost(node, "host", in: "a restart").map { .restart(host: $0, pause: .seconds(Int64(pause))) }
  }

  private mutating func readCut(_ node: YAMLNode) -> LabPlan.Trouble? {
    checkKeys(node, ["between", "for"], in: "a cut")
    let pause = number(node["for"], "for", 0...600, unit: "s") ?? 1
    guard let between = required(node, "between", in: "a cut") else { return nil }
    let names = Set((between.sequence ?? [between]).compactMap { hostName($0) })
    guard let place = cables.firstIndex(where: { Set($0.ends.map(\.host)) == names }) else {
      error(.missingReference, "there is no link between these hosts", between.span, "")
      return nil
    }
    return .cut(cable: place, pause: .seconds(Int64(pause)))
  }

  private mutating func readReaddress(_ node: YAMLNode) -> LabPlan.Trouble? {
    checkKeys(node, ["host", "from", "to"], in: "a readdress")
    guard let host = requiredHost(node, "host", in: "a readdress"),
      let old = required(node, "from", in: "a readdress").flatMap({ prefix($0, []) }),
      let new = required(node, "to", in: "a readdress").flatMap({ prefix($0, []) })
    else { return nil }
    guard cables.flatMap(\.ends).contains(where: { $0.host == host && $0.addresses.contains(old) }) else {
      error(.missingReference, "host `\(host)` has no address \(old)", node["from"]?.span ?? node.span, "")
      return nil
    }
    return .readdress(host: host, from: old, to: new)
  }

  // MARK: - Values

  private mutating func text(_ node: YAMLNode, _ key: String) -> String? {
    guard let scalar = node.scalar, !scalar.isNull, !scalar.text.isEmpty else {
      wrongType(node, "`\(key)`", "text")
      return nil
    }
    return scalar.text
  }

  private mutating func number(_ node: YAMLNode?, _ key: String, _ range: ClosedRange<Int>, unit: String = "") -> Int? {
    guard let node else { return nil }
    let text = node.scalar?.text ?? ""
    let digits = unit.isEmpty ? text : text.hasSuffix(unit) ? String(text.dropLast(unit.count)) : ""
    guard let number = Int(digits), range.contains(number) else {
      let example = unit.isEmpty ? "" : ", such as `10\(unit)`"
      error(
        .valueOutOfRange, "`\(key)` is a number from \(range.lowerBound) to \(range.upperBound)\(example)", node.span,
        "")
      return nil
    }
    return number
  }

  /// `16MiB`, `512KiB`, `1GiB`, or bytes.
  private mutating func size(_ node: YAMLNode) -> Int? {
    let text = node.scalar?.text ?? ""
    for (suffix, shift) in [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)] where text.hasSuffix(suffix) {
      let digits = text.dropLast(suffix.count)
      if let count = Int(digits), count > 0, count <= (1 << 36) >> shift { return count << shift }
    }
    error(.valueOutOfRange, "`size` is a number of bytes, such as `16MiB`", node.span, "at most 64GiB")
    return nil
  }

  private mutating func family(_ node: YAMLNode) -> AddressFamily? {
    switch node.scalar?.text.lowercased() {
    case "ipv4": return .ipv4
    case "ipv6": return .ipv6
    default:
      error(.valueOutOfRange, "a family is `ipv4` or `ipv6`", node.span, "")
      return nil
    }
  }

  private mutating func prefix(_ node: YAMLNode, _ families: Set<AddressFamily>) -> IPPrefix? {
    guard let text = node.scalar?.text, text.contains("/"), let prefix = IPPrefix(text) else {
      error(
        .badPrefix, "an address on a link is written with its network's length, such as `192.0.2.1/24`", node.span, "")
      return nil
    }
    if !families.isEmpty, !families.contains(prefix.family) {
      error(.familyMismatch, "the link carries no \(prefix.family)", node.span, "not among its `families`")
      return nil
    }
    return prefix
  }

  private mutating func hostName(_ node: YAMLNode) -> String? {
    let name = node.scalar?.text ?? ""
    if hosts.contains(where: { $0.name == name }) { return name }
    let near = NearNames.best(for: name, among: hosts.map(\.name))
    diagnostics.append(
      Diagnostic(
        .missingReference, "there is no host `\(name)`", at: .init(node.span, "not among `hosts`"),
        fix: near.map { .replace(node.span, with: $0, "write `\($0)`") }))
    return nil
  }

  private mutating func requiredHost(_ node: YAMLNode, _ key: String, in what: String) -> String? {
    required(node, key, in: what).flatMap { hostName($0) }
  }

  private mutating func requiredAddress(_ node: YAMLNode, _ key: String, in what: String) -> IPAddress? {
    guard let value = required(node, key, in: what) else { return nil }
    if let address = IPAddress(value.scalar?.text ?? "") { return address }
    error(.badAddress, "`\(key)` is an IP address", value.span, "not an address")
    return nil
  }

  // MARK: - Shape

  private mutating func required(_ node: YAMLNode, _ key: String, in what: String) -> YAMLNode? {
    if let value = node[key], !value.isNull { return value }
    error(.missingKey, "\(what) needs `\(key)`", node.span, "`\(key)` is missing")
    return nil
  }

  private mutating func list(_ node: YAMLNode?, _ key: String) -> [YAMLNode] {
    guard let node, !node.isNull else { return [] }
    if let items = node.sequence { return items }
    wrongType(node, "`\(key)`", "a list")
    return []
  }

  private mutating func entries(_ node: YAMLNode, _ key: String) -> [YAMLEntry] {
    if let entries = node.mapping { return entries }
    if !node.isNull { wrongType(node, "`\(key)`", "a mapping") }
    return []
  }

  private mutating func checkKeys(_ node: YAMLNode, _ known: [String], in what: String) {
    for entry in node.mapping ?? [] where !known.contains(entry.name.lowercased()) {
      unknownKey(entry.key, known, in: what)
    }
  }

  private mutating func unknownKey(_ key: YAMLNode, _ known: [String], in what: String) {
    let name = key.scalar?.text ?? ""
    let near = NearNames.best(for: name, among: known)
    diagnostics.append(
      Diagnostic(
        .unknownKey, "\(what) has no key `\(name)`", at: .init(key.span, "unknown"),
        help: ["the keys are \(known.map { "`\($0)`" }.joined(separator: ", "))"],
        fix: near.map { .replace(key.span, with: $0, "write `\($0)`") }))
  }

  private mutating func wrongType(_ node: YAMLNode, _ what: String, _ wanted: String) {
    error(.wrongType, "\(what) is \(wanted), not \(node.kind)", node.span, "\(node.kind)")
  }

  private mutating func error(_ code: DiagnosticCode, _ message: String, _ span: SourceSpan, _ label: String) {
    diagnostics.append(Diagnostic(code, message, at: .init(span, label)))
  }
}

private func isHostNameByte(_ byte: UInt8) -> Bool {
  (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
}
