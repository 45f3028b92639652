import Values

/// Reads configuration files: bytes in, a model and diagnostics out. The one door of this module.
///
///     var result = ConfigurationLoader.load(sources: [(name: "server.yaml", bytes: bytes)])
///     print(DiagnosticRenderer(sources: result.sources).render(result.diagnostics))
///     guard let configuration = result.configuration, result.mayRun else { exit(result.exitCode) }
///
/// Several files are one configuration: their lists are appended in order, the last `tls` and `log` win. Arguments of
/// `-L` and `-F` are one more file behind them. Every rule
/// that needs nothing but the files has been applied when `load` returns; `Checker` has those that need the host or
/// the other end.
public enum ConfigurationLoader {
  /// `sources` may hold files of an earlier call (the other end's); spans of all stay distinct. A `fragment` is a piece
  /// of a file, see `Fragment`.
  public static func load(
    sources: [(name: String, bytes: [UInt8])], arguments: CommandLineArguments = CommandLineArguments(),
    into map: SourceMap = SourceMap(),
    limits: YAMLReader.Limits = YAMLReader.Limits(), fragment: Bool = false
  ) -> LoadResult {
    var map = map
    let report = Report()
    var configuration = Configuration()
    var readable = true
    var acceptances: [Acceptance] = []
    var pieces: [Fragment] = []
    var mentionsServices = false
    for source in sources {
      let id = map.add(name: source.name, bytes: source.bytes)
      let (root, diagnostics) = SourceReader.read(id, in: &map, limits: limits)
      diagnostics.forEach(report.add)
      if diagnostics.contains(where: { $0.code.isUnreadable && $0.severity == .error }) { readable = false }
      guard let root else { continue }
      report.sources = map
      if let file = map.file(id) { acceptances += AcceptanceReader(file: file, root: root, report: report).read() }
      if root["services"] != nil { mentionsServices = true }
      let piece = fragment ? Fragment(root, isJSON: isJSON(source)) : nil
      if let piece { pieces.append(piece) }
      ConfigurationReader(report: report, isJSON: isJSON(source)).read(piece?.root ?? root, into: &configuration)
    }
    if !arguments.isEmpty {
      let expansion = arguments.expand(into: &map, report)
      if let root = expansion.root {
        ConfigurationReader(report: report, isJSON: false).read(root, into: &configuration)
      }
      if expansion.root == nil || !expansion.hasWholeChain { readable = false }
    }
    acceptances += arguments.accepted(into: &map, report)
    if readable, !fragment, configuration.services.isEmpty,
      !report.diagnostics.contains(where: { $0.severity == .error })
    {
      let what = sources.count == 1 ? "`\(sources.first?.name ?? "")` has" : "the files have"
      let isArguments = sources.isEmpty && !arguments.isEmpty
      report.add(
        Diagnostic(
          .nothingToDo,
          isArguments
            ? "`-F` says where to go, and nothing says what to serve"
            : "\(what) no services, so there is nothing to run",
          help: [
            isArguments
              ? "give a service: `-L http://:8080`"
              : mentionsServices ? "give `services` an item" : "begin with `services:`, a list of what to run"
          ]))
    }
    report.sources = map
    if readable, !report.isFull {
      if pieces.allSatisfy(\.isWhole) {
        Rules.apply(to: configuration, report)
      } else {
        ReferenceRules(configuration: configuration, report: report).apply()
      }
    }
    configuration.sources = map
    let findings = report.findings.withoutForeignNotes(in: configuration, map)
    return LoadResult(
      configuration: readable ? configuration : nil,
      diagnostics: pieces.reduce(findings) { $1.judged($0) }, sources: map, acceptances: acceptances)
  }

  /// A file that could not be opened, as a diagnostic; `reason` such as "No such file or directory".
  public static func unreadable(name: String, reason: String) -> Diagnostic {
    Diagnostic(.fileUnreadable, "`\(printable(name, limit: 200))` cannot be read: \(reason)")
  }

  private static func isJSON(_ source: (name: String, bytes: [UInt8])) -> Bool {
    let name = source.name.lowercased()
    if name.hasSuffix(".json") { return true }
    if name.hasSuffix(".yaml") || name.hasSuffix(".yml") { return false }
    return source.bytes.first { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 } == UInt8(ascii: "{")
  }
}

extension [Diagnostic] {
  /// What GOST would do is of no use to whoever sets up WireGuard or TURN, which GOST does not have.
  fileprivate func withoutForeignNotes(in configuration: Configuration, _ sources: SourceMap) -> [Diagnostic] {
    let services =
      configuration.services.filter { service in
        service.isWireGuard || service.handler.descriptor?.name == "turn" || service.listener.descriptor?.name == "turn"
      }.map(\.span)
      + configuration.allNodes.filter { $0.dialer.descriptor?.name == "turn" }.map(\.span)
    guard !services.isEmpty || sources.files.contains(where: { $0.foreignFormat != nil }) else { return self }
    return map { diagnostic in
      guard let place = diagnostic.primary?.span,
        sources.file(place.file)?.foreignFormat != nil
          || services.contains(where: { $0.file == place.file && $0.start <= place.start && place.end <= $0.end })
      else { return diagnostic }
      var copy = diagnostic
      copy.notes.removeAll { $0.hasPrefix("GOST") }
      // A fix for YAML would not be one for coturn's lines.
      if sources.file(place.file)?.foreignFormat == .coturn { copy.fix = nil }
      return copy
    }
  }
}

/// What reading gave.
public struct LoadResult: Sendable {
  /// `nil` when a file could not be read at all. Complete only when `mayRun`.
  public var configuration: Configuration?
  /// In file order.
  public var diagnostics: [Diagnostic]
  public var sources: SourceMap
  /// Of warnings among the diagnostics; the `Checker` takes these out.
  var acceptances: [Acceptance] = []

  /// 0 good, 1 errors, 2 unreadable, 3 only "not yet".
  public var exitCode: Int32 { diagnostics.exitCode }

  public var mayRun: Bool { exitCode == 0 && configuration != nil }
}
