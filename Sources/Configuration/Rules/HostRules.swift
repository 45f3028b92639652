import PartDescriptors
import Values

/// Rules that need to know the host: what a name resolves to, who may read a key, and what is there before anything
/// starts (`StartRules`) and on the way out (`WayRules`).
struct HostRules {
  let configuration: Configuration
  let host: HostFacts
  /// The configuration's own files.
  let files: [SourceFile]
  let report: Report

  func apply() {
    for file in files { secrets(file) }
    for node in configuration.dialledNodes { family(node) }
    var judged: Set<String> = []
    for file in configuration.keyFiles where judged.insert(file.value).inserted { permissions(file) }
    for file in configuration.readFiles { readable(file) }
    for socket in configuration.listenSockets { resolved(socket) }
    for socket in configuration.services.flatMap(configuration.dialSockets) { resolved(socket) }
    guard let network = host.network else { return }
    StartRules(configuration: configuration, host: host, network: network, report: report).apply()
    WayRules(configuration: configuration, host: host, network: network, report: report).apply()
  }

  private func readable(_ file: Located<String>) {
    guard let reason = host.unreadable[file.value] else { return }
    report.add(
      Diagnostic(
        .fileNotReadable, "`\(printable(file.value))` cannot be read: \(reason)",
        at: .init(file.span, "is read at the start"),
        help: file.value.hasPrefix("/")
          ? [] : ["a path that does not begin with `/` starts at the folder in which the program is started"]))
  }

  /// A name that is listened at is needed to start; one that is dialled is asked for again each time.
  private func resolved(_ socket: ListenSocket) {
    guard let reason = unresolved(socket.host) else { return }
    report.add(
      Diagnostic(
        .unresolvedName, "`\(printable(socket.host))` does not resolve: \(printable(reason))",
        at: .init(socket.span, "to listen here its address is needed"), help: ["write an address of this host"]))
  }

  private func resolved(_ socket: DialSocket) {
    guard let reason = unresolved(socket.address.host) else { return }
    report.add(
      Diagnostic(
        .unresolvedName, "`\(printable(socket.address.host))` does not resolve: \(printable(reason))", .warning,
        at: .init(socket.span, "this host resolves it at each dial"),
        notes: [
          "it is asked for again each time; until it resolves \(socket.node == nil ? "the target" : "the node") cannot be reached"
        ]))
  }

  private func unresolved(_ name: String) -> String? {
    guard IPAddress(name) == nil, host.resolved[name]?.isEmpty == true else { return nil }
    return host.unresolved[name] ?? "it has no address"
  }

  /// A key that everybody on the host may read is no secret; one that others may replace is not ours. A group that may
  /// read it is a common way to share one between services.
  private func permissions(_ file: Located<String>) {
    guard let bits = host.permissions[file.value], bits & 0o026 != 0 else { return }
    let isReadable = bits & 0o004 != 0
    let mode = "0" + String(bits & 0o7777, radix: 8)
    report.add(
      Diagnostic(
        .looseKeyFile,
        "\(isReadable ? "everybody on this host may read" : "others than its owner may replace") the key `\(printable(file.value))`",
        .warning, at: .init(file.span, "has the mode \(mode)"),
        notes: isReadable ? ["whoever has the key can pretend to be this end"] : [],
        help: ["`chmod \(isReadable && bits & 0o040 != 0 ? "640" : "600") \(printable(file.value))`"]))
  }

  /// A file with passwords that everybody on the host may read, or others may change.
  private func secrets(_ file: SourceFile) {
    guard let bits = host.permissions[file.name], let first = file.concealed.min(by: { $0.lowerBound < $1.lowerBound })
    else { return }
    let isWritable = bits & 0o022 != 0
    guard isWritable || bits & 0o004 != 0 else { return }
    let mode = "0" + String(bits & 0o7777, radix: 8)
    let span = SourceSpan(file: file.id, start: first.lowerBound, end: first.upperBound)
    report.add(
      Diagnostic(
        .looseConfigurationFile,
        "\(isWritable ? "others than its owner may change" : "everybody on this host may read") `\(printable(file.name, limit: 200))`, which has secrets",
        .warning, at: .init(span, "a secret in a file of mode \(mode)"),
        help: ["`chmod \(bits & 0o040 != 0 ? "640" : "600") \(printable(file.name, limit: 200))`"]))
  }

  /// A name whose addresses are all of the other family: GOST hangs or logs an error for each packet (its issues
  /// #124 and #542).
  private func family(_ node: NodeConfiguration) {
    guard let dialer = node.dialer.descriptor, let family = dialer.family, let address = node.address,
      address.literal == nil, let found = host.resolved[address.host], !found.isEmpty,
      !found.contains(where: { $0.canonical.family == family })
    else { return }
    let other: AddressFamily = family == .ipv4 ? .ipv6 : .ipv4
    let shown = found.prefix(3).map { "`\($0)`" }.joined(separator: ", ") + (found.count > 3 ? ", …" : "")
    report.add(
      Diagnostic(
        .resolvedFamilyMismatch,
        "the dialer `\(node.dialer.type.value)` works over \(family) only, and `\(printable(address.host))` has only \(other) addresses",
        at: .init(node.addr.span, "resolves to \(shown)"), and: [.init(node.dialer.type.span, "\(family) only")],
        fix: PartCatalog.counterpart(of: dialer).map {
          .init("write `\($0)`, here and at the other end", [.init(node.dialer.type.span, $0)])
        }))
  }
}
