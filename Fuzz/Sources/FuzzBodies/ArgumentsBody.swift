import Configuration

enum ArgumentsPlace: Int, CaseIterable {
  case good, warned, refused, notYet, printed, several, concealed, fixed
}

/// A command line: pieces between bytes 0x1E, those that begin with `F` are nodes, all others services.
func fuzzArguments(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var arguments = CommandLineArguments()
  for piece in bytes.split(separator: 0x1E, maxSplits: 8, omittingEmptySubsequences: false) {
    let text = String(decoding: piece.dropFirst(), as: UTF8.self)
    if piece.first == UInt8(ascii: "F") { arguments.nodes.append(text) } else { arguments.services.append(text) }
  }
  let report = Checker.check([], arguments: arguments)
  switch report.exitCode {
  case 0: marks.reach(report.diagnostics.isEmpty ? ArgumentsPlace.good : .warned)
  case 1: marks.reach(ArgumentsPlace.refused)
  case 3: marks.reach(ArgumentsPlace.notYet)
  // No argument is a file that cannot be read.
  default: throw Breach(description: "exit code \(report.exitCode)")
  }
  try check(report.mayRun == (report.exitCode == 0), "exit code \(report.exitCode), may run: \(report.mayRun)")
  if report.configuration?.services.count ?? 0 > 1 { marks.reach(ArgumentsPlace.several) }
  try checkSpans(report)
  let text = try checkPrinting(report)
  try checkSecrets(report, text, &marks, ArgumentsPlace.concealed)
  for diagnostic in report.diagnostics {
    for edit in diagnostic.fix?.edits ?? [] {
      marks.reach(ArgumentsPlace.fixed)
      try check(edit.span.end > edit.span.start, "a fix that only inserts: \(diagnostic.code.rawValue)")
      try check(!edit.replacement.contains("\n"), "a fix of several lines: \(diagnostic.code.rawValue)")
    }
  }

  // The long form is read back as the same tree.
  let yaml = ConfigurationText.render(sources: [], arguments: arguments, as: .yaml)
  guard let written = yaml.text, written.utf8.count < 1 << 18 else { return }
  marks.reach(ArgumentsPlace.printed)
  let json = try need(ConfigurationText.render(sources: [], arguments: arguments, as: .json).text, "YAML and no JSON")
  for (name, text) in [("a.yaml", written), ("a.json", json)] {
    let again = ConfigurationText.render(
      sources: [(name, Array(text.utf8))], arguments: CommandLineArguments(), as: .json)
    try check(again.text == json, "not the same again:\n\(text)")
  }
}
