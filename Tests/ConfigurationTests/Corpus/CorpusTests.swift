import Configuration
import Testing

/// Thousands of broken files, each with the mutator's own record of what was broken and where.
///
/// A mutant passes when the check refuses it within one line of the edit, or when it means what the original means: its
/// normal form is the same. Of the refused ones most offer a fix, and the file that the fix makes passes the check.
@Suite struct CorpusTests {
  /// What became of the mutants of one kind.
  struct Tally {
    var made = 0
    var same = 0
    var refused = 0
    var mended = 0
    var missed: [String] = []
    var notMended: [String] = []
  }

  static let originals: [(name: String, text: String)] =
    [("server.yaml", Examples.server), ("client.yaml", Examples.client)]
    + (UserFile.accepted + UserFile.proxies).map { ($0.name, $0.text) }

  @Test("Every mistake in a good file is refused where it stands, or changes nothing")
  func corpus() throws {
    var tallies: [Mutant.Kind: Tally] = [:]
    for (name, text) in Self.originals {
      let original = check(text, name: name)
      let form = NormalForm.text(of: try #require(original.configuration))
      for mutant in Mutator(file: name, text: text).mutants {
        Self.judge(mutant, form, &tallies[mutant.kind, default: Tally()])
      }
    }
    let all = tallies.values.reduce(into: Tally()) { sum, tally in
      sum.made += tally.made
      sum.refused += tally.refused
      sum.mended += tally.mended
    }
    for kind in Mutant.Kind.allCases {
      let tally = tallies[kind] ?? Tally()
      print(
        "\(kind.rawValue): \(tally.made) made, \(tally.same) mean the same, \(tally.refused) refused,",
        "\(tally.mended) mended, \(tally.missed.count) missed")
      #expect(tally.made > 5)
    }
    print("in all: \(all.made) made, \(all.refused) refused, \(all.mended) mended")
    let missed = tallies.values.flatMap(\.missed)
    #expect(all.made >= 2_000)
    // Anchors and several lines of one text: the error stands where the value is used or ends.
    #expect(missed.count <= all.made / 1_000, "\(missed.count) missed\n\(missed.prefix(40).joined(separator: "\n"))")
  }

  private static func judge(_ mutant: Mutant, _ form: String, _ tally: inout Tally) {
    tally.made += 1
    let file = mutant.name.split(separator: ":").first.map(String.init) ?? "a.yaml"
    let report = Checker.check([(name: file, bytes: mutant.bytes)])
    let refusals = report.diagnostics.filter { $0.severity == .error || $0.severity == .notYet }
    guard !refusals.isEmpty else {
      // A misspelt name may be one that GOST's documentation has and that does nothing: that is said in a warning.
      let isSaid = report.diagnostics.contains { $0.code == .keyWithoutEffect && isNear($0, mutant, report.sources) }
      if let configuration = report.configuration, NormalForm.text(of: configuration) == form || isSaid {
        tally.same += 1
      } else {
        tally.missed.append("accepted: \(mutant.name) \(report.codes.map(\.rawValue))")
      }
      return
    }
    let near = refusals.filter { isNear($0, mutant, report.sources) }
    guard !near.isEmpty else {
      let places = refusals.map { "\($0.code.rawValue)@\(line($0, report.sources).map { "\($0)" } ?? "-")" }
      tally.missed.append("elsewhere: \(mutant.name), lines \(mutant.lines.sorted()), \(places)")
      return
    }
    tally.refused += 1
    if isMended(mutant, file, refusals) {
      tally.mended += 1
    } else {
      tally.notMended.append("\(mutant.name) \(refusals.map(\.code.rawValue))")
    }
  }

  private static func line(_ diagnostic: Diagnostic, _ sources: SourceMap) -> Int? {
    diagnostic.primary.flatMap { sources.position(of: $0.span)?.start.line }
  }

  private static func isNear(_ diagnostic: Diagnostic, _ mutant: Mutant, _ sources: SourceMap) -> Bool {
    // What has no place at all is the whole file, as with one that is too large.
    guard let label = diagnostic.primary, let (_, start, end) = sources.position(of: label.span) else {
      return mutant.kind == .aliasBomb || mutant.kind == .hugeScalar
    }
    let around = ([label] + diagnostic.secondary).compactMap { sources.position(of: $0.span) }
    _ = end
    return around.contains { place in
      mutant.lines.contains { abs($0 - place.start.line) <= 1 } || mutant.lines.contains { abs($0 - start.line) <= 1 }
    }
  }

  /// Whether the fixes that are offered make a file that passes.
  private static func isMended(_ mutant: Mutant, _ file: String, _ refusals: [Diagnostic]) -> Bool {
    var bytes = mutant.bytes
    var end = Int.max
    let edits = refusals.compactMap(\.fix).flatMap(\.edits).sorted {
      ($0.span.start, $0.span.end) > ($1.span.start, $1.span.end)
    }
    guard !edits.isEmpty else { return false }
    for edit in edits where edit.span.end <= end {
      bytes.replaceSubrange(edit.span.start..<edit.span.end, with: Array(edit.replacement.utf8))
      end = edit.span.start
    }
    return Checker.check([(name: file, bytes: bytes)]).exitCode == 0
  }
}
