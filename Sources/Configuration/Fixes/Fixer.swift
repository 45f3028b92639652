import Values

/// `culvert check --fix`: applies the fixes that are certain until none is left, and says what it did.
///
/// A fix is a few edits of bytes, so what the user wrote around them stays: comments, order, quotes, line ends. All
/// fixes of one look at the files that do not touch each other are applied together; then the files are checked again,
/// since one mistake may hide others and a mended type brings the rules of its part with it. A fix that would make a
/// file unreadable, or a key or a name stand twice, was not certain after all: it is left out and its diagnostic stays.
/// That ends: rounds are counted, and a text that was there before is not made again.
public enum Fixer {
  /// What was done to one file or argument.
  public struct Change: Sendable {
    public let before: SourceFile
    public let after: SourceFile

    public var isChanged: Bool { before.bytes != after.bytes }
  }

  public struct Outcome: Sendable {
    /// What is left to say, about the texts as they are now.
    public let report: CheckReport
    /// One for each file, in order.
    public let files: [Change]
    /// One for each argument, those of `-F` first.
    public let arguments: [Change]
    /// The codes of the fixes that were applied, in order.
    public let applied: [DiagnosticCode]
  }

  /// Each round mends at least one mistake; nobody has so many that hide each other.
  static let rounds = 64

  /// The parameters are those of `Checker.check`; the other ends' files are looked at and left as they are.
  public static func fix(
    _ files: [Checker.File], arguments: CommandLineArguments = CommandLineArguments(), with peers: [Checker.File] = [],
    strict: Bool = false, fragment: Bool = false
  ) -> Outcome {
    var texts = Texts(files: files, arguments: arguments)
    let check = { (texts: Texts) in
      Checker.check(texts.files, arguments: texts.arguments, with: peers, strict: strict, fragment: fragment)
    }
    let first = check(texts)
    var report = first
    var applied: [DiagnosticCode] = []
    var refused: Set<Proposal.Key> = []
    var seen: Set<[[UInt8]]> = [texts.all]
    for _ in 0..<rounds {
      let proposals = report.diagnostics.compactMap { Proposal($0, in: report.sources, count: texts.count) }
        .filter { !refused.contains($0.key) }
      let together = apart(proposals)
      if together.isEmpty { break }
      // All at once, and when that goes wrong each by itself.
      for attempt in [together] + (together.count > 1 ? together.map { [$0] } : []) {
        var copy = texts
        copy.apply(attempt.flatMap(\.fix.edits))
        let next = check(copy)
        if !seen.contains(copy.all), isSound(next, after: report) {
          seen.insert(copy.all)
          texts = copy
          report = next
          applied += attempt.map(\.code)
          break
        }
        if attempt.count == 1, let only = attempt.first { refused.insert(only.key) }
      }
    }
    let changes = (0..<texts.count).compactMap { number -> Change? in
      let id = FileID(number: number)
      guard let before = first.sources.file(id), let after = report.sources.file(id) else { return nil }
      return Change(before: before, after: after)
    }
    return Outcome(
      report: report, files: Array(changes.prefix(files.count)), arguments: Array(changes.dropFirst(files.count)),
      applied: applied)
  }

  /// Those of the proposals, in order, whose edits do not touch those before them.
  private static func apart(_ proposals: [Proposal]) -> [Proposal] {
    var taken: [SourceSpan] = []
    return proposals.filter { proposal in
      let spans = proposal.fix.edits.map(\.span)
      let isFree = spans.allSatisfy { span in
        !taken.contains { $0.file == span.file && $0.start <= span.end && span.start <= $0.end }
      }
      if isFree { taken += spans }
      return isFree
    }
  }

  private static func isSound(_ next: CheckReport, after report: CheckReport) -> Bool {
    if next.exitCode == 2 {
      guard report.exitCode == 2 else { return false }
      // The first thing that cannot be read has to lie further on.
      return fault(next) > fault(report)
    }
    return [DiagnosticCode.duplicateKey, .duplicateName].allSatisfy { code in
      report.exitCode == 2
        || next.diagnostics.count { $0.code == code } <= report.diagnostics.count { $0.code == code }
    }
  }

  private static func fault(_ report: CheckReport) -> (Int, Int) {
    let span = report.diagnostics.first { $0.code.isUnreadable && $0.severity == .error }?.primary?.span
    // From the end, which edits before it do not move.
    let length = span.flatMap { report.sources.file($0.file)?.bytes.count } ?? 0
    return (span?.file.number ?? 0, (span?.start ?? 0) - length)
  }
}

/// A fix that may be applied without asking.
private struct Proposal {
  /// What the fix would do, wherever that is by now.
  struct Key: Hashable {
    let code: DiagnosticCode
    let file: FileID
    let replaced: [UInt8]
    let replacement: String
    /// From the end, so that edits before it do not move it.
    let distance: Int
  }

  let code: DiagnosticCode
  let fix: Diagnostic.Fix
  let key: Key

  init?(_ diagnostic: Diagnostic, in sources: SourceMap, count: Int) {
    guard let fix = diagnostic.fix, fix.isCertain, let first = fix.edits.first,
      let file = sources.file(first.span.file),
      // The other ends' files come behind ours.
      fix.edits.allSatisfy({ $0.span.file.number < count })
    else { return nil }
    code = diagnostic.code
    self.fix = fix
    key = Key(
      code: code, file: file.id, replaced: Array(file.slice(first.span.start..<first.span.end)),
      replacement: first.replacement, distance: file.bytes.count - first.span.end)
  }
}

/// The files and arguments as they are by now, in the order of the source map.
private struct Texts {
  var files: [Checker.File]
  var arguments: CommandLineArguments

  var count: Int { files.count + (arguments.isEmpty ? 0 : arguments.nodes.count + arguments.services.count) }

  var all: [[UInt8]] { files.map(\.bytes) + (arguments.nodes + arguments.services).map { Array($0.utf8) } }

  mutating func apply(_ edits: [Diagnostic.Fix.Edit]) {
    // From the end, so that those before keep their places.
    for edit in edits.sorted(by: { ($0.span.start, $0.span.end) > ($1.span.start, $1.span.end) }) {
      let number = edit.span.file.number
      if files.indices.contains(number) {
        Self.apply(edit, to: &files[number].bytes)
        continue
      }
      let node = number - files.count
      let service = node - arguments.nodes.count
      if arguments.nodes.indices.contains(node) {
        arguments.nodes[node] = Self.applied(edit, to: arguments.nodes[node])
      } else if arguments.services.indices.contains(service) {
        arguments.services[service] = Self.applied(edit, to: arguments.services[service])
      }
    }
  }

  private static func apply(_ edit: Diagnostic.Fix.Edit, to bytes: inout [UInt8]) {
    let range = (edit.span.start..<edit.span.end).clamped(to: 0..<bytes.count)
    bytes.replaceSubrange(range, with: Array(edit.replacement.utf8))
  }

  private static func applied(_ edit: Diagnostic.Fix.Edit, to text: String) -> String {
    var bytes = Array(text.utf8)
    apply(edit, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}
