import Values

/// Finds a fix for an error that has none: makes up changes that a reader of the file could think of, tries each on
/// the file, and offers the one after which the file passes.
///
/// A rule knows its cause and not the file. That a line slipped two columns to the left shows as an unknown key here
/// and a missing one there, and no rule can tell; but of the few columns in which the line could begin, one makes all
/// of it good. So each error yields candidates (other columns, other mappings for a key, a value of the form that is
/// wanted), each is applied to a copy and checked in full, and what counts is what the check says then: the error is
/// gone, and nothing new has come. A candidate that leaves the least is taken. All that is found here is a guess for a
/// person to confirm, but for a key that stands twice in the same words.
///
/// The number of checks is bounded by the size of the file, so that a hostile file costs no more than a large one.
struct FixSearch {
  /// The files with the bytes of one of them exchanged.
  let check: (_ file: Int, _ bytes: [UInt8]) -> CheckReport
  /// Files of our own, which may be changed; those behind them are other ends'.
  let count: Int
  /// Bytes that each check reads.
  let size: Int
  let fragment: Bool

  /// Checks for one report, and bytes read in all of them together.
  private static let mostTrials = 120
  private static let mostBytes = 4 << 20
  private static let largestFile = 128 << 10
  /// Beside the model of the file that of each candidate is in memory.
  private static let mostItems = 1_000
  private static let mostProblems = 5
  private static let mostAlternatives = 2

  /// The report with what was found.
  func complete(_ report: CheckReport) -> CheckReport {
    guard report.exitCode != 0, report.diagnostics.count < Report.limit, items(report) <= Self.mostItems else {
      return report
    }
    var search = Search(report: report, owner: self)
    return search.run()
  }

  private func items(_ report: CheckReport) -> Int {
    guard let configuration = report.configuration else { return 0 }
    return configuration.services.count + configuration.chains.count + configuration.allHops.count
      + configuration.allNodes.count + configuration.authers.reduce(0) { $0 + 1 + $1.credentials.count }
  }

  private struct Attempt {
    let problem: Int
    let fix: Diagnostic.Fix
    /// The keys of what is left, each as often as it is.
    let left: [Key: Int]
    let warnings: Int
    let order: Int
    /// Whether it is worth showing beside another one of its problem.
    let isDistinct: Bool

    var errors: Int { left.values.reduce(0, +) }
  }

  /// What an error is, wherever it stands by then.
  private struct Key: Hashable {
    let code: DiagnosticCode
    let message: String

    init(_ diagnostic: Diagnostic) {
      code = diagnostic.code
      message = diagnostic.message
    }
  }

  private struct Search {
    let report: CheckReport
    let owner: FixSearch
    let problems: [Int]
    let base: [Key: Int]
    let isUnreadable: Bool
    var trials = 0
    var bytesRead = 0
    var attempts: [Attempt] = []
    private var texts: [FileID: TextLines] = [:]
    private var outlines: [FileID: Outline] = [:]

    init(report: CheckReport, owner: FixSearch) {
      self.report = report
      self.owner = owner
      problems = Array(
        report.diagnostics.indices.filter { report.diagnostics[$0].severity <= .notYet }.prefix(mostProblems))
      base = FixSearch.keys(report)
      isUnreadable = report.exitCode == 2
    }

    mutating func run() -> CheckReport {
      let known = problems.compactMap { report.diagnostics[$0].fix }
      if !known.contains(where: isBlank), isMended(by: known) { return report }
      for (offset, problem) in problems.enumerated() where search(problem, isFirst: offset == 0) { break }
      return chosen()
    }

    // MARK: Trying

    /// Whether all fixes that are there already do it.
    private mutating func isMended(by fixes: [Diagnostic.Fix]) -> Bool {
      let edits = fixes.flatMap(\.edits)
      guard let first = edits.first, fixes.count == problems.count,
        edits.allSatisfy({ $0.span.file == first.span.file }), let after = attempt(edits)
      else { return false }
      return after.exitCode == 0
    }

    private mutating func attempt(_ edits: [Diagnostic.Fix.Edit]) -> CheckReport? {
      guard let id = edits.first?.span.file, id.number < owner.count, let file = report.sources.file(id),
        !file.isArgument, file.foreignFormat == nil,
        trials < mostTrials(file), bytesRead + owner.size < mostBytes, file.bytes.count <= largestFile,
        edits.allSatisfy({ $0.span.file == id })
      else { return nil }
      trials += 1
      bytesRead += owner.size
      return owner.check(id.number, Self.applied(edits, to: file.bytes))
    }

    /// What aliases repeat is read as often as that, and nobody knows how often before.
    private func mostTrials(_ file: SourceFile) -> Int {
      file.bytes.count { $0 == UInt8(ascii: "*") } > 16 ? FixSearch.mostTrials / 8 : FixSearch.mostTrials
    }

    /// From the end; of two that overlap the later one counts.
    static func applied(_ edits: [Diagnostic.Fix.Edit], to bytes: [UInt8]) -> [UInt8] {
      var bytes = bytes
      var limit = bytes.count
      for edit in edits.enumerated().sorted(by: {
        ($0.element.span.start, $0.element.span.end, $0.offset) > (
          $1.element.span.start, $1.element.span.end, $1.offset
        )
      }).map(\.element) where edit.span.end <= limit {
        bytes.replaceSubrange(edit.span.start..<edit.span.end, with: Array(edit.replacement.utf8))
        limit = edit.span.start
      }
      return bytes
    }

    /// Tries what could mend a problem; whether something left nothing at all.
    private mutating func search(_ problem: Int, isFirst: Bool) -> Bool {
      let diagnostic = report.diagnostics[problem]
      // Spaces for a tab: how many is found by trying.
      if let own = diagnostic.fix, !isBlank(own) {
        let isGood = judge(own, for: problem)
        if isGood == .passes || own.isCertain && isGood == .helps && !isUnreadable { return isGood == .passes }
      }
      for group in groups(for: diagnostic) {
        var passed = false
        for fix in group.fixes where judge(fix, for: problem, isDistinct: group.areDistinct(fix)) == .passes {
          passed = true
        }
        if passed { return true }
      }
      if let own = diagnostic.fix, isBlank(own) { return judge(own, for: problem) == .passes }
      return false
    }

    /// Whether a fix changes nothing but spaces and tabs.
    private func isBlank(_ fix: Diagnostic.Fix) -> Bool {
      fix.edits.allSatisfy { edit in
        let text = report.sources.file(edit.span.file)?.slice(edit.span.start..<edit.span.end) ?? []
        return (text + Array(edit.replacement.utf8)).allSatisfy { $0 == 0x20 || $0 == 0x09 }
      }
    }

    private enum Judgement { case passes, helps, fails }

    private mutating func judge(
      _ fix: Diagnostic.Fix, for problem: Int, isDistinct: Bool = false
    ) -> Judgement {
      let fix = fix.keepingQuotes(in: report.sources)
      guard !fix.edits.isEmpty, let after = attempt(fix.edits) else { return .fails }
      let left = FixSearch.keys(after)
      let key = Key(report.diagnostics[problem])
      if isUnreadable {
        guard after.exitCode != 2, after.exitCode == 0 || isAtHome(fix, after) else { return .fails }
      } else {
        guard left[key, default: 0] < base[key, default: 0], left.allSatisfy({ base[$0.key, default: 0] >= $0.value }),
          left.isEmpty || isAtHome(fix, after), !isIdle(fix, after)
        else { return .fails }
      }
      attempts.append(
        Attempt(
          problem: problem, fix: fix, left: left, warnings: Self.warnings(after), order: attempts.count,
          isDistinct: isDistinct))
      return left.isEmpty ? .passes : .helps
    }

    /// A transport that encrypts is not worse for verifying nothing: without it there would be nothing to verify.
    private static func warnings(_ report: CheckReport) -> Int {
      report.diagnostics.count { $0.severity == .warning && $0.code != .unverifiedTLS }
    }

    /// Whether no error about the shape of the file stands where something was changed.
    private func isAtHome(_ fix: Diagnostic.Fix, _ after: CheckReport) -> Bool {
      !after.diagnostics.contains { diagnostic in
        diagnostic.severity == .error
          && [.unknownKey, .misplacedKey, .wrongType, .duplicateKey, .missingKey].contains(diagnostic.code)
          && touches(fix, diagnostic, after)
      }
    }

    /// A key that was moved to where it does nothing mends nothing.
    private func isIdle(_ fix: Diagnostic.Fix, _ after: CheckReport) -> Bool {
      after.diagnostics.contains { $0.code == .keyWithoutEffect && touches(fix, $0, after) }
    }

    private func touches(_ fix: Diagnostic.Fix, _ diagnostic: Diagnostic, _ after: CheckReport) -> Bool {
      guard let place = diagnostic.primary?.span, let first = fix.edits.first, place.file == first.span.file,
        let file = after.sources.file(place.file)
      else { return false }
      let line = file.position(at: place.start).line
      var shift = 0
      return fix.edits.sorted { $0.span.start < $1.span.start }.contains { edit in
        let start = edit.span.start + shift
        let count = edit.replacement.utf8.count
        shift += count - (edit.span.end - edit.span.start)
        guard count > 0 else { return false }
        let lines = file.position(at: start).line...file.position(at: start + count).line
        return lines.contains(line)
      }
    }

    // MARK: Choosing

    private func chosen() -> CheckReport {
      var report = report
      var open = Set(problems)
      let ordered = attempts.sorted { ($0.errors, $0.warnings, $0.order) < ($1.errors, $1.warnings, $1.order) }
      for attempt in ordered where open.contains(attempt.problem) {
        open.remove(attempt.problem)
        let own = report.diagnostics[attempt.problem].fix
        let others = ordered.filter {
          $0.problem == attempt.problem && $0.errors == attempt.errors && $0.order != attempt.order
        }
        // A tab has to go in any case; where one column alone is good, that is where its line was meant to begin.
        let isCertain = isUnreadable && own?.isCertain == true && attempt.errors == 0 && others.isEmpty
        report.diagnostics[attempt.problem].fix = Diagnostic.Fix(
          attempt.fix.title, attempt.fix.edits, isCertain: isCertain || attempt.fix.isCertain)
        report.diagnostics[attempt.problem].alternatives = others.filter { attempt.isDistinct && $0.isDistinct }
          .prefix(mostAlternatives).map(\.fix)
        // What goes with it is no cause of its own.
        for other in open where attempt.left[Key(report.diagnostics[other]), default: 0] == 0 {
          open.remove(other)
          if attempts.contains(where: { $0.problem == other && $0.errors == 0 }) { continue }
          report.diagnostics[other].fix = nil
          if let line = line(of: attempt.fix) {
            report.diagnostics[other].help.append("the fix at line \(line) mends this too")
          }
        }
      }
      return report
    }

    private func line(of fix: Diagnostic.Fix) -> Int? {
      fix.edits.first.flatMap { report.sources.position(of: $0.span)?.start.line }
    }

    // MARK: Candidates

    /// Fixes of one kind: after a group in which something passed no other is tried.
    private struct Group {
      let fixes: [Diagnostic.Fix]
      /// Whether they mean different things, among which a reader may choose.
      var areDistinct: (Diagnostic.Fix) -> Bool = { _ in true }
    }

    private mutating func groups(for diagnostic: Diagnostic) -> [Group] {
      guard let id = diagnostic.primary?.span.file, id.number < owner.count, let file = report.sources.file(id),
        !file.isArgument, file.bytes.count <= largestFile
      else { return [] }
      if diagnostic.code == .invalidUTF8 { return [Group(fixes: ByteFixes.candidates(for: file))] }
      if [.fileTooLarge, .tooDeep, .tooManyValues, .scalarTooLong].contains(diagnostic.code) { return [] }
      let text = texts[id] ?? TextLines(file)
      texts[id] = text
      let duplicates = Group(fixes: DuplicateFixes(text: text).candidates(for: diagnostic))
      // The same line in another column is another meaning; with what stands below it, it is seldom one.
      let slips =
        diagnostic.isAboutColumns && !isJSON(file) ? IndentationFixes(text: text).candidates(for: diagnostic) : []
      let lines = slips.map { fixes in
        Group(fixes: fixes, areDistinct: { $0.edits.count == 1 })
      }
      guard !isUnreadable, let outline = outline(of: file) else { return [duplicates] + lines }
      let values = Group(
        fixes: ValueFixes(text: text, outline: outline, isJSON: isJSON(file)).candidates(for: diagnostic),
        areDistinct: { $0.title.hasPrefix("write `") })
      let parts = Group(
        fixes: PartFixes(file: file, outline: outline).candidates(for: diagnostic), areDistinct: { _ in false })
      let moves = Group(
        fixes: isJSON(file) ? [] : MoveFixes(text: text, outline: outline).candidates(for: diagnostic))
      let groups: [Group] =
        switch diagnostic.code {
        case .unknownKey, .misplacedKey, .duplicateKey: [duplicates] + lines + [moves]
        case .keyNotYet: [moves]
        case .wrongType, .valueOutOfRange: [parts, values] + lines
        default: [parts] + lines
        }
      return groups.filter { !$0.fixes.isEmpty }
    }

    private func isJSON(_ file: SourceFile) -> Bool {
      file.name.lowercased().hasSuffix(".json") || file.bytes.first { $0 > 0x20 } == UInt8(ascii: "{")
    }

    private mutating func outline(of file: SourceFile) -> Outline? {
      if let known = outlines[file.id] { return known }
      var map = report.sources
      guard let root = YAMLReader.read(file.id, in: &map).root else { return nil }
      let outline = Outline(owner.fragment ? Fragment(root, isJSON: false).root : root)
      outlines[file.id] = outline
      return outline
    }
  }

  private static func keys(_ report: CheckReport) -> [Key: Int] {
    report.diagnostics.reduce(into: [:]) { keys, diagnostic in
      if diagnostic.severity <= .notYet { keys[Key(diagnostic), default: 0] += 1 }
    }
  }
}
