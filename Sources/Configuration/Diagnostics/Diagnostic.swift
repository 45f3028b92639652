/// What a user reads when something is wrong: what, where, why, and the fix.
///
/// Errors inside the program are small enums; this type is for people. A diagnostic is made beside the rule that
/// finds the cause, carries spans and no text of the source, and is printed by `DiagnosticRenderer` (for a terminal)
/// or `DiagnosticJSON` (for a program). Its message never contains a secret, and the renderer conceals those on the
/// lines it quotes.
public struct Diagnostic: Sendable {
  public enum Severity: String, Sendable, CaseIterable, Comparable {
    /// The file would not do what it says.
    case error
    /// GOST has it and Culvert does not, yet.
    case notYet
    case warning
    case note

    public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }

    private var rank: Int {
      switch self {
      case .error: 0
      case .notYet: 1
      case .warning: 2
      case .note: 3
      }
    }
  }

  /// A place and a few words about it.
  public struct Label: Sendable {
    public let span: SourceSpan
    public let text: String

    public init(_ span: SourceSpan, _ text: String = "") {
      self.span = span
      self.text = text
    }
  }

  /// A change to the file that removes the cause.
  public struct Fix: Sendable {
    public struct Edit: Sendable {
      public let span: SourceSpan
      public let replacement: String

      public init(_ span: SourceSpan, _ replacement: String) {
        self.span = span
        self.replacement = replacement
      }
    }

    /// An instruction such as "write `relay`".
    public let title: String
    public let edits: [Edit]
    /// Whether a program may apply it without asking.
    public let isCertain: Bool

    public init(_ title: String, _ edits: [Edit], isCertain: Bool = true) {
      self.title = title
      self.edits = edits
      self.isCertain = isCertain
    }

    public static func replace(_ span: SourceSpan, with text: String, _ title: String) -> Fix {
      Fix(title, [Edit(span, text)])
    }
  }

  public let code: DiagnosticCode
  public var severity: Severity
  /// One line, no full stop, the names in backquotes.
  public var message: String
  /// `nil` when the cause has no place in a file.
  public var primary: Label?
  public var secondary: [Label]
  public var notes: [String]
  public var help: [String]
  public var fix: Fix?
  /// Of a "not yet": what is missing, where it can be met in several places. See `tellingOnce`.
  var subject: String?
  /// Other fixes, each instead of `fix`, which is the best.
  public var alternatives: [Fix] = []

  /// Of a file that is not YAML: whether a line that begins in another column could be the cause.
  var isAboutColumns = true

  public init(
    _ code: DiagnosticCode, _ message: String, _ severity: Severity = .error, at primary: Label? = nil,
    and secondary: [Label] = [], notes: [String] = [], help: [String] = [], fix: Fix? = nil
  ) {
    self.code = code
    self.severity = severity
    self.message = message
    self.primary = primary
    self.secondary = secondary
    self.notes = notes
    self.help = help
    self.fix = fix
  }
}

extension Diagnostic {
  /// A fix that replaces a quoted text keeps its quotes, and one that would begin with a bracket gets some.
  func keepingQuotes(in sources: SourceMap) -> Diagnostic {
    guard let fix else { return self }
    if fix.edits.contains(where: { sources.file($0.span.file)?.isArgument == true }) { return fittingArgument(sources) }
    var copy = self
    copy.fix = fix.keepingQuotes(in: sources)
    return copy
  }
}

extension Diagnostic.Fix {
  func keepingQuotes(in sources: SourceMap) -> Diagnostic.Fix {
    let edits = edits.map { edit -> Edit in
      guard let first = sources.file(edit.span.file)?.slice(edit.span.start..<edit.span.end).first,
        first == UInt8(ascii: "\"") || first == UInt8(ascii: "'") || edit.replacement.hasPrefix("["),
        edit.span.end > edit.span.start + 1, !["{", "[{", "[\""].contains(where: edit.replacement.hasPrefix),
        !edit.replacement.isEmpty, edit.replacement.utf8.first != first,
        edit.replacement.utf8.first != UInt8(ascii: "\"")
      else { return edit }
      // A plain value that begins with a bracket would be a list.
      let isQuoted = first == UInt8(ascii: "\"") || first == UInt8(ascii: "'")
      guard isQuoted || edit.replacement.contains("]:") else { return edit }
      let quote = isQuoted ? String(UnicodeScalar(first)) : "\""
      return Edit(edit.span, quote + edit.replacement + quote)
    }
    return Diagnostic.Fix(title, edits, isCertain: isCertain)
  }
}

extension [Diagnostic] {
  /// In the order of the files, one for each cause: a second diagnostic of the same code at the same place (an anchor
  /// that is used twice) is left out.
  public func inFileOrder() -> [Diagnostic] {
    var seen: Set<SeenKey> = []
    let unique = filter { diagnostic in
      guard let span = diagnostic.primary?.span else { return true }
      return seen.insert(SeenKey(code: diagnostic.code, span: span)).inserted
    }
    return unique.enumerated().sorted { left, right in
      let a = left.element.primary?.span
      let b = right.element.primary?.span
      guard let a, let b else { return a == nil && b != nil || (a == nil) == (b == nil) && left.offset < right.offset }
      return (a.file, a.start, a.end, left.offset) < (b.file, b.start, b.end, right.offset)
    }.map(\.element)
  }

  /// 0 good, 1 errors, 2 a file that cannot be read, 3 nothing worse than "not yet".
  public var exitCode: Int32 {
    if contains(where: { $0.severity == .error && $0.code.isUnreadable }) { return 2 }
    if contains(where: { $0.severity == .error }) { return 1 }
    return contains { $0.severity == .notYet } ? 3 : 0
  }

  public func count(_ severity: Diagnostic.Severity) -> Int { count { $0.severity == severity } }
}

private struct SeenKey: Hashable {
  let code: DiagnosticCode
  let span: SourceSpan
}
