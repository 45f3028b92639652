import Values

/// A warning that somebody has looked at and taken responsibility for, written beside what it is about.
///
///     - name: relay           # culvert: accept CV0708 only the office's network reaches this port
///
/// A comment, because GOST never sees it. It stands behind the line that is meant, or on lines of its own above it, and
/// covers that line with all that is indented below it: a whole service when it stands at the service's first line.
/// JSON has no comments, so the same can be said in a top-level `x-culvert`, which GOST passes over as it does every
/// key that it does not know; there an object is meant by its name, or the whole file. `--accept CODE=REASON` is for
/// what is given on the command line.
///
/// An acceptance says why, names a code that exists, and is about a warning that is really given: one that is none of
/// these is itself reported, since it would be read as protection by the next one who looks.
struct Acceptance: Sendable {
  enum Scope: Sendable {
    /// Byte offsets of the file.
    case range(Range<Int>)
    case file
    /// All that was given, up to the argument that says so.
    case everything
    /// A name that no object has: reported already.
    case nothing
  }

  let code: DiagnosticCode
  let reason: String
  /// Where the code is written.
  let span: SourceSpan
  let scope: Scope

  func covers(_ diagnostic: Diagnostic) -> Bool {
    guard diagnostic.code == code else { return false }
    switch scope {
    case .nothing: return false
    case .everything: return diagnostic.primary.map { $0.span.file < span.file } ?? true
    case .file: return diagnostic.primary?.span.file ?? span.file == span.file
    case .range(let range):
      guard let place = diagnostic.primary?.span, place.file == span.file else { return false }
      return range.contains(place.start)
    }
  }
}

/// A warning with the reason why it stands.
public struct AcceptedWarning: Sendable {
  public let diagnostic: Diagnostic
  public let reason: String
  /// Whether it is accepted by an argument, and not where it stands.
  public let isExternal: Bool

  init(_ diagnostic: Diagnostic, _ acceptance: Acceptance) {
    self.diagnostic = diagnostic
    reason = acceptance.reason
    isExternal = if case .everything = acceptance.scope { true } else { false }
  }
}

extension [Acceptance] {
  /// Parts the warnings that are accepted from the rest, and adds to the rest what is wrong with acceptances.
  func apply(to diagnostics: [Diagnostic], alone: Bool) -> (left: [Diagnostic], accepted: [AcceptedWarning]) {
    if isEmpty { return (diagnostics, []) }
    var left: [Diagnostic] = []
    var accepted: [AcceptedWarning] = []
    var isUsed = [Bool](repeating: false, count: count)
    var refused: [Int: Diagnostic] = [:]
    for diagnostic in diagnostics {
      guard let index = firstIndex(where: { $0.covers(diagnostic) }) else {
        left.append(diagnostic)
        continue
      }
      isUsed[index] = true
      if diagnostic.severity == .warning {
        accepted.append(AcceptedWarning(diagnostic, self[index]))
      } else {
        refused[index] = refused[index] ?? diagnostic
        left.append(diagnostic)
      }
    }
    // In a file with errors not every rule has spoken.
    let isWhole = !diagnostics.contains { $0.severity <= .notYet }
    for (index, acceptance) in enumerated() {
      let code = acceptance.code.rawValue
      if let diagnostic = refused[index] {
        left.append(
          Diagnostic(
            .acceptanceOfError, "\(code) is \(diagnostic.severity == .error ? "an error" : "a \"not yet\"") here",
            .warning, at: .init(acceptance.span, "cannot be accepted"),
            and: diagnostic.primary.map { [.init($0.span, "the \(diagnostic.severity.word)")] } ?? [],
            help: ["only a warning can be accepted: mend the cause"]))
      } else if !isUsed[index], isWhole, !acceptance.code.needsHost, !(alone && acceptance.code.needsPeer) {
        if case .nothing = acceptance.scope { continue }
        left.append(
          Diagnostic(
            .unusedAcceptance, "there is no \(code) to accept here", .warning,
            at: .init(acceptance.span, "accepts nothing"),
            help: ["remove it, or put it at the line that the warning is about"]))
      }
    }
    return (left.inFileOrder(), accepted)
  }
}
