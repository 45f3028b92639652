import PartDescriptors
import Values

/// Rules that need to know the host: what a name resolves to.
struct HostRules {
  let configuration: Configuration
  let host: HostFacts
  let report: Report

  func apply() {
    for node in configuration.dialledNodes { family(node) }
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
