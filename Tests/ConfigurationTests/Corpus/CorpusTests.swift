import Configuration
import PartDescriptors
import Testing

/// Thousands of broken files, each with the mutator's own record of what was broken and where.
///
/// A mutant passes when the check refuses it within one line of the edit, or when it means what the original means: its
/// normal form is the same. Of the refused ones most offer a fix, and the file that the fix makes passes the check. What
/// is offered as certain, where the original can still be read in the file, gives the original back.
@Suite struct CorpusTests {
  /// What became of the mutants of one kind.
  struct Tally {
    var made = 0
    var same = 0
    var refused = 0
    var mended = 0
    /// Mended by what is certain alone.
    var certain = 0
    var missed: [String: CheckReport] = [:]
    /// Certain, and another meaning than that of the original.
    var wrong: [String] = []
  }

  static let originals: [(name: String, text: String)] =
    [
      ("server.yaml", Examples.server), ("client.yaml", Examples.client), ("server-auto.yaml", Examples.serverAuto),
      ("server-tls.yaml", Examples.serverTLS), ("client-tls.yaml", Examples.clientTLS),
    ]
    + (UserFile.accepted + UserFile.proxies).map { ($0.name, $0.text) }

  /// `metadata` with `proxyProtocol` in it slipped from a handler to its service, where the key is one too: to expect
  /// the header and not to send it. Nothing in the file says that it was not meant, and nothing in it is open to more
  /// than before: a client that sends no header is refused.
  static let anotherGoodFile = "accepted: proxy-protocol.yaml: indentation line 6 by -2"

  @Test("Every mistake in a good file is refused where it stands, or changes nothing, and most are mended")
  func corpus() throws {
    var tallies: [Mutant.Kind: Tally] = [:]
    for (name, text) in Self.originals {
      let original = check(text, name: name)
      let form = NormalForm.text(of: try #require(original.configuration))
      for mutant in Mutator(file: name, text: text).mutants {
        Self.judge(mutant, form, &tallies[mutant.kind, default: Tally()])
      }
    }
    for kind in Mutant.Kind.allCases {
      let tally = tallies[kind] ?? Tally()
      print(
        "\(kind.rawValue): \(tally.made) made, \(tally.same) mean the same, \(tally.refused) refused,",
        "\(tally.mended) mended, \(tally.certain) of them for certain, \(tally.missed.count) missed")
      #expect(tally.made > 5)
    }
    let all = tallies.values
    let made = all.reduce(0) { $0 + $1.made }
    let refused = all.reduce(0) { $0 + $1.refused }
    let mended = all.reduce(0) { $0 + $1.mended }
    print("in all: \(made) made, \(refused) refused, \(mended) mended: \(mended * 1000 / max(1, refused)) of 1,000")
    #expect(made >= 2_000)
    #expect(mended * 100 >= refused * 80)
    let wrong = all.flatMap(\.wrong)
    #expect(wrong.isEmpty, "\(wrong.prefix(40).joined(separator: "\n"))")
    let missed = all.reduce(into: [:]) { $0.merge($1.missed) { first, _ in first } }
    let names = missed.keys.filter { $0 != Self.anotherGoodFile }.sorted()
    #expect(names.isEmpty, "\(names.prefix(40).joined(separator: "\n"))")
    let other = try #require(missed[Self.anotherGoodFile]?.configuration?.services.first)
    #expect(other.metadata.int("proxyProtocol") == 2 && other.handler.metadata.entries.isEmpty)
    for keys in [PartCatalog.serviceKeys, other.handler.descriptor?.keys ?? []] {
      #expect(keys.contains { $0.answers(to: "proxyProtocol") && $0.availability == .available })
    }
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
        tally.missed["accepted: \(mutant.name)"] = report
      }
      return
    }
    let near = refusals.filter { isNear($0, mutant, report.sources) }
    guard !near.isEmpty else {
      let places = refusals.map { "\($0.code.rawValue)@\(line($0, report.sources).map { "\($0)" } ?? "-")" }
      tally.missed["elsewhere: \(mutant.name), lines \(mutant.lines.sorted()), \(places)"] = report
      return
    }
    tally.refused += 1
    if isMended(mutant, file, refusals) { tally.mended += 1 }
    let certain = refusals.compactMap(\.fix).filter(\.isCertain)
    if certain.isEmpty { return }
    let mended = Checker.check([(name: file, bytes: applied(certain, to: mutant.bytes))])
    guard mended.exitCode == 0, let configuration = mended.configuration else { return }
    tally.certain += 1
    if mutant.keepsMeaning, NormalForm.text(of: configuration) != form {
      tally.wrong.append("\(mutant.name): \(certain.map(\.title))")
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

  /// Whether the fixes that are offered make a file that passes: all of them at once, or one after the other as they
  /// are offered, the first in the file first.
  private static func isMended(_ mutant: Mutant, _ file: String, _ refusals: [Diagnostic]) -> Bool {
    let all = refusals.compactMap(\.fix)
    if all.isEmpty { return false }
    if Checker.check([(name: file, bytes: applied(all, to: mutant.bytes))]).exitCode == 0 { return true }
    var bytes = mutant.bytes
    var fix = all.first
    for _ in 0..<4 {
      guard let next = fix else { return false }
      bytes = applied([next], to: bytes)
      let report = Checker.check([(name: file, bytes: bytes)])
      if report.exitCode == 0 { return true }
      fix = report.diagnostics.first { $0.severity <= .notYet && $0.fix != nil }?.fix
    }
    return false
  }

  /// From the end, so that what comes before keeps its place; of two that overlap one is left out.
  private static func applied(_ fixes: [Diagnostic.Fix], to bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    var end = Int.max
    let edits = fixes.flatMap(\.edits).enumerated().sorted {
      ($0.element.span.start, $0.element.span.end, $0.offset) > ($1.element.span.start, $1.element.span.end, $1.offset)
    }.map(\.element)
    for edit in edits where edit.span.end <= end {
      bytes.replaceSubrange(edit.span.start..<edit.span.end, with: Array(edit.replacement.utf8))
      end = edit.span.start
    }
    return bytes
  }
}
