import PartDescriptors
import Values

/// Names: given once, and given to something that exists.
///
/// GOST reads a missing chain as a direct connection and a missing auther as no authentication (`gost.md` E.1), which
/// makes these the rules that keep traffic from leaking.
struct ReferenceRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    names(configuration.services.map { ($0.name, $0.span) }, "service", "GOST never serves a service without a name")
    names(configuration.chains.map { ($0.name, $0.span) }, "chain", "nothing can refer to it")
    names(configuration.hops.map { ($0.name, $0.span) }, "hop", "nothing can refer to it")
    names(configuration.authers.map { ($0.name, $0.span) }, "auther", "nothing can refer to it")

    let chains = Set(configuration.chains.map(\.name.value))
    let authers = Set(configuration.authers.map(\.name.value))
    let hops = Set(configuration.hops.map(\.name.value))
    for service in configuration.services {
      for chain in chainNames(of: service) where !chains.contains(chain.value) {
        missing(
          chain, "chain", configuration.chains.map(\.name.value),
          "GOST would connect directly, around the chain")
      }
      for auther in service.handler.authers where !authers.contains(auther.value) {
        missing(
          auther, "auther", configuration.authers.map(\.name.value), "GOST would let everybody in")
      }
    }
    for chain in configuration.chains {
      for case .reference(let name) in chain.hops
      where !hops.contains(name.value) && !report.mends("nodes", inside: chain.span) {
        missing(
          name, "hop", configuration.hops.map(\.name.value), "GOST would end the chain there",
          help: configuration.hops.isEmpty
            ? ["give the hop its `nodes` here, or write it in the top-level list `hops`"] : [])
      }
      if chain.hops.isEmpty, !report.hasMisplacedKey(inside: chain.span), !report.mends("hops", inside: chain.span) {
        report.add(
          Diagnostic(
            .emptyChain, "the chain \(shown(chain.name)) has no hops", at: .init(chain.name.span, "no hops"),
            notes: ["GOST would connect directly"], help: ["give it `hops`, a list"]))
      }
      for case .inline(let hop) in chain.hops { check(hop) }
    }
    configuration.hops.forEach(check)
    unused()
  }

  /// A listener's chain counts where the listener is one that has it, or one that is not there yet.
  private func chainNames(of service: ServiceConfiguration) -> [Located<String>] {
    let listener = service.listener.descriptor
    let counts = listener?.isAvailable != true || listener?.abilities.contains(.remote) == true
    return [service.handler.chain, counts ? service.listener.chain : nil].compactMap { $0 }
  }

  private func check(_ hop: HopConfiguration) {
    if hop.nodes.isEmpty, !hop.isLoaded, !report.hasMisplacedKey(inside: hop.span),
      !report.mends("nodes", inside: hop.span), !report.mends("name", inside: hop.span)
    {
      report.add(
        Diagnostic(
          .emptyChain, "the hop \(shown(hop.name)) has no nodes", at: .init(hop.name.span, "no nodes"),
          notes: ["GOST would connect directly"], help: ["give it `nodes`, a list"]))
    }
  }

  private func names(_ objects: [(name: Located<String>, span: SourceSpan)], _ kind: String, _ why: String) {
    var first: [String: SourceSpan] = [:]
    for (index, object) in objects.enumerated() {
      let name = object.name
      if name.value.isEmpty {
        if report.mends("name", inside: object.span) { continue }
        // An explicitly empty name has a place of its own.
        let written = name.span.start != object.span.start
        report.add(
          Diagnostic(
            .emptyName, "a \(kind) without a name", at: .init(name.span, "no name"), notes: [why],
            fix: written
              ? .replace(name.span, with: "\(kind)-\(index)", "give it a name")
              : report.fix(inserting: "name", "\(kind)-\(index)", into: object.span, "give it a name")))
      } else if let previous = first[name.value] {
        report.add(
          Diagnostic(
            .duplicateName, "two \(kind)s are named `\(printable(name.value))`", at: .init(name.span, "again here"),
            and: [.init(previous, "first here")], notes: ["GOST stops in the middle of loading, or takes the first"],
            help: ["give one of them another name"]))
      } else {
        first[name.value] = name.span
      }
    }
  }

  private func missing(
    _ name: Located<String>, _ kind: String, _ known: [String], _ why: String, help: [String] = []
  ) {
    // A list whose own name is misspelt has them.
    let file = SourceSpan(file: name.span.file, start: 0, end: .max)
    if report.isFull || report.mends("\(kind)s", inside: file) { return }
    // So does one that slipped into another object.
    let slipped = report.diagnostics.contains { diagnostic in
      diagnostic.code == .misplacedKey
        && diagnostic.primary.map { report.sources.text(of: $0.span).lowercased() == "\(kind)s" } == true
    }
    if slipped { return }
    // One whose key `name` is misspelt may be the one.
    let nameless: [SourceSpan] =
      switch kind {
      case "chain": configuration.chains.filter(\.name.value.isEmpty).map(\.span)
      case "auther": configuration.authers.filter(\.name.value.isEmpty).map(\.span)
      default: configuration.hops.filter(\.name.value.isEmpty).map(\.span)
      }
    if nameless.contains(where: { report.mends("name", inside: $0) }) { return }
    let known = known.filter { !$0.isEmpty }
    let near = NearNames.best(for: name.value, among: known)
    let only = near == nil && known.count == 1 ? known.first : nil
    var help = help
    if help.isEmpty, near == nil, only == nil {
      help = known.isEmpty ? ["there is no \(kind) in the file"] : ["the \(kind)s are \(quotedList(known))"]
    }
    report.add(
      Diagnostic(
        .missingReference, "there is no \(kind) named `\(printable(name.value))`",
        at: .init(name.span, near.map { "did you mean `\(printable($0))`?" } ?? "no such \(kind)"), notes: [why],
        help: help,
        fix: (near ?? only).map {
          Diagnostic.Fix(
            "write `\(printable($0))`", [.init(name.span, $0)], isCertain: near.map { isSlip(name.value, $0) } ?? false)
        }))
  }

  /// `hop-1` is no slip of `hop-0`: names that are counted differ on purpose.
  private func isSlip(_ name: String, _ other: String) -> Bool {
    name.filter(\.isNumber) == other.filter(\.isNumber)
  }

  /// Not judged in a file with other faults, or with parts that are not there yet and have references of their own.
  private func unused() {
    if report.diagnostics.contains(where: { $0.severity <= .notYet }) { return }
    let chains = Set(configuration.services.flatMap { chainNames(of: $0) }.map(\.value))
    for chain in configuration.chains where !chain.name.value.isEmpty && !chains.contains(chain.name.value) {
      unused(chain.name, "chain", "no service's `chain` names it")
    }
    let authers = Set(configuration.services.flatMap(\.handler.authers).map(\.value))
    for auther in configuration.authers where !auther.name.value.isEmpty && !authers.contains(auther.name.value) {
      unused(auther.name, "auther", "no handler's `auther` names it")
    }
    let hops = Set(
      configuration.chains.flatMap(\.hops).compactMap { hop -> String? in
        if case .reference(let name) = hop { name.value } else { nil }
      })
    for hop in configuration.hops where !hop.name.value.isEmpty && !hops.contains(hop.name.value) {
      unused(hop.name, "hop", "no chain names it")
    }
  }

  private func unused(_ name: Located<String>, _ kind: String, _ why: String) {
    report.add(
      Diagnostic(
        .unusedObject, "the \(kind) \(shown(name)) is used by nothing", .warning, at: .init(name.span, why)))
  }

  private func shown(_ name: Located<String>) -> String {
    name.value.isEmpty ? "here" : "`\(printable(name.value))`"
  }
}
