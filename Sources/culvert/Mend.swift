import Configuration
import Glibc
import LinuxIO

/// `culvert check --fix`: the certain fixes applied, the difference shown, files written in place.
///
/// What has no place to be written to (standard input, an address, JSON or arguments on the command line) is printed as
/// it is now; everything else then goes to standard error, so that the output is the configuration and nothing else.
struct Mend {
  let names: [String]
  let arguments: CommandLineArguments
  let peers: [String]
  let options: SourceFiles.Options
  let format: SourceFiles.Format
  /// Shows the difference and writes nothing.
  let isDry: Bool

  /// The exit code: that of what is left.
  func run() -> Int32 {
    var unreadable: [Diagnostic] = []
    let own = SourceFiles.read(names, &unreadable)
    let others = SourceFiles.read(peers, &unreadable)
    guard unreadable.isEmpty else {
      let report = CheckReport(configuration: nil, diagnostics: unreadable, sources: SourceMap())
      SourceFiles.printDiagnostics(report, format: format, to: .standardOutput)
      return report.exitCode
    }
    let outcome = Fixer.fix(
      own, arguments: arguments, with: others, strict: options.strict, fragment: options.fragment)
    let printsTexts = !isDry && (names.contains { !SourceFiles.isPath($0) } || !outcome.arguments.isEmpty)
    let changed = (outcome.files + outcome.arguments).filter(\.isChanged)
    // Of programs that read the findings nobody wants a difference among them.
    let place: SourceFiles.Destination = printsTexts || format != .text ? .standardError : .standardOutput
    let diff = UnifiedDiff(colors: SourceFiles.hasColors(place))
    for change in changed { SourceFiles.write(diff.render(change), to: place.descriptor) }
    if !isDry {
      for (name, change) in zip(names, outcome.files) {
        if !SourceFiles.isPath(name) {
          SourceFiles.write(String(decoding: change.after.bytes, as: UTF8.self), to: 1)
        } else if change.isChanged, !replace(name, change) {
          return 2
        }
      }
      printArguments(outcome.arguments)
    }
    if format == .text {
      if !changed.isEmpty { SourceFiles.write("\(summary(outcome, changed.count))\n", to: place.descriptor) }
      if !changed.isEmpty, !outcome.report.diagnostics.isEmpty { SourceFiles.write("\n", to: place.descriptor) }
    }
    SourceFiles.printDiagnostics(outcome.report, format: format, to: printsTexts ? .standardError : .standardOutput)
    if format == .text, changed.isEmpty {
      let left = outcome.report.diagnostics.isEmpty ? "no problems found" : "nothing here can be fixed for certain"
      SourceFiles.write("\(left)\n", to: place.descriptor)
    }
    return outcome.report.exitCode
  }

  private func summary(_ outcome: Fixer.Outcome, _ texts: Int) -> String {
    let fixes = outcome.applied.count
    let verb = isDry ? "would apply" : "applied"
    return "\(verb) \(fixes) \(fixes == 1 ? "fix" : "fixes")" + (texts > 1 ? " in \(texts) places" : "")
  }

  private func replace(_ name: String, _ change: Fixer.Change) -> Bool {
    do throws(SystemError) {
      try FileReplacement.replace(name, change.before.bytes, with: change.after.bytes)
      return true
    } catch {
      let reason = error.code == EBUSY ? "it was changed in the meantime" : error.reason
      SourceFiles.write("error: `\(Log.escape(name))` cannot be written: \(reason)\n", to: 2)
      return false
    }
  }

  /// As they can be typed into a shell.
  private func printArguments(_ changes: [Fixer.Change]) {
    guard !changes.isEmpty else { return }
    let words = changes.map { change in
      let text = String(decoding: change.after.bytes, as: UTF8.self)
      let quoted = "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
      return "\(change.before.name.prefix(2)) \(quoted)"
    }
    // Services first, as they are written by most.
    let ordered = words.filter { $0.hasPrefix("-L") } + words.filter { !$0.hasPrefix("-L") }
    SourceFiles.write(ordered.joined(separator: " ") + "\n", to: 1)
  }
}
