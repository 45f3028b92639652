import Values

/// What `culvert check` does, and `run`, `reload` and `lab` before they do anything: files, other ends and the host in,
/// one ordered list of diagnostics out.
public enum Checker {
  public typealias File = (name: String, bytes: [UInt8])

  /// - Parameters:
  ///   - files: one configuration.
  ///   - arguments: more of the same configuration, in the short form.
  ///   - peers: the files of other ends, each a configuration of its own.
  ///   - host: facts about this host, where somebody looked.
  ///   - fragment: the files are pieces of files.
  ///   - strict: warnings about security are errors, unless the file accepts them.
  public static func check(
    _ files: [File], arguments: CommandLineArguments = CommandLineArguments(), with peers: [File] = [],
    host: HostFacts? = nil, strict: Bool = false, fragment: Bool = false
  ) -> CheckReport {
    let report = judge(files, arguments: arguments, with: peers, host: host, strict: strict, fragment: fragment)
    let search = FixSearch(
      check: { number, bytes in
        var files = files
        if files.indices.contains(number) { files[number].bytes = bytes }
        return judge(files, arguments: arguments, with: peers, host: host, strict: strict, fragment: fragment)
      }, count: files.count, size: (files + peers).reduce(512) { $0 + $1.bytes.count }, fragment: fragment)
    return search.complete(report)
  }

  /// The same without the search for fixes.
  private static func judge(
    _ files: [File], arguments: CommandLineArguments, with peers: [File], host: HostFacts?, strict: Bool,
    fragment: Bool
  ) -> CheckReport {
    let own = ConfigurationLoader.load(sources: files, arguments: arguments, fragment: fragment)
    var map = own.sources
    var diagnostics = own.diagnostics
    var others: [Configuration] = []
    for peer in peers {
      let result = ConfigurationLoader.load(sources: [peer], into: map)
      map = result.sources
      // The other end may be GOST: what Culvert lacks, or warns of, is not that file's fault here.
      diagnostics += result.diagnostics.filter { $0.severity == .error && $0.code != .badAcceptance }
      if let configuration = result.configuration { others.append(configuration) }
    }
    if let configuration = own.configuration {
      if let host {
        diagnostics += checkHost(configuration, host, files: own.sources.files)
        if let network = host.network { diagnostics.removeAll { isRuled($0, configuration, network) } }
      }
      let pair = checkPair(configuration, others)
      // A part that the other end needs changed is not worth a "not yet" as well.
      let places = Set(pair.filter { $0.severity == .error }.compactMap(\.primary?.span))
      diagnostics.removeAll { $0.severity == .notYet && $0.primary.map { places.contains($0.span) } == true }
      diagnostics += pair
    }
    let ordered = diagnostics.inFileOrder().map { $0.keepingQuotes(in: map) }.tellingOnce()
    let (left, accepted) = own.acceptances.apply(to: ordered, alone: peers.isEmpty)
    return CheckReport(
      configuration: own.configuration, diagnostics: strict ? left.map { $0.strict(in: map) } : left, sources: map,
      accepted: accepted)
  }

  /// Whether a warning is about a mark without a routing rule, and this host has one.
  private static func isRuled(_ diagnostic: Diagnostic, _ configuration: Configuration, _ network: NetworkFacts) -> Bool
  {
    guard diagnostic.code == .interfaceIntoTunnel, diagnostic.severity == .warning else { return false }
    let marks = configuration.services.map(\.mark) + configuration.allNodes.map(\.mark)
    guard let mark = marks.compactMap({ $0 }).first(where: { $0.span == diagnostic.primary?.span }) else {
      return false
    }
    return network.markRules.contains { $0.concerns(mark.value) }
  }

  /// What the files of two or more ends say about each other.
  public static func checkPair(_ own: Configuration, _ peers: [Configuration]) -> [Diagnostic] {
    guard !peers.isEmpty else { return [] }
    let report = Report()
    PairRules(ends: [own] + peers, report: report).apply()
    return report.diagnostics
  }

  /// What a configuration and this host say about each other.
  /// `files`: those of the configuration.
  public static func checkHost(
    _ configuration: Configuration, _ host: HostFacts, files: [SourceFile] = []
  ) -> [Diagnostic] {
    let report = Report()
    HostRules(configuration: configuration, host: host, files: files, report: report).apply()
    return report.diagnostics
  }
}

public struct CheckReport: Sendable {
  public var configuration: Configuration?
  public var diagnostics: [Diagnostic]
  public var sources: SourceMap
  /// Warnings that the file accepts, each with its reason.
  public var accepted: [AcceptedWarning]

  public init(
    configuration: Configuration?, diagnostics: [Diagnostic], sources: SourceMap, accepted: [AcceptedWarning] = []
  ) {
    self.accepted = accepted
    self.configuration = configuration
    self.diagnostics = diagnostics
    self.sources = sources
  }

  /// 0 good, 1 errors, 2 unreadable, 3 only "not yet".
  public var exitCode: Int32 { diagnostics.exitCode }

  public var mayRun: Bool { exitCode == 0 && configuration != nil }
}

extension Diagnostic {
  /// As `--strict` has it.
  fileprivate func strict(in sources: SourceMap) -> Diagnostic {
    guard severity == .warning, code.isSecurity else { return self }
    var copy = self
    copy.severity = .error
    let isArgument = primary.flatMap { sources.file($0.span.file)?.isArgument } ?? true
    let acceptance = isArgument ? "--accept \(code.rawValue)=reason" : "# culvert: accept \(code.rawValue) reason"
    copy.notes.append("an error because of `--strict`; `\(acceptance)` accepts it")
    return copy
  }
}
