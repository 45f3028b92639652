/// The manual page, section 1, made of what `--help` knows: roff with the macros of `man`.
struct ManualPage {
  let root: CommandModel
  let version: String
  /// As `2026-11-21`.
  let date: String

  var text: String {
    var lines = [
      ".\\\" Made by `culvert manual`.",
      ".TH CULVERT 1 \"\(date)\" \(quoted("culvert \(version)")) \(quoted("User Commands"))",
      ".SH NAME", "culvert \\- \(inline(lowered(root.summary)))",
      ".SH SYNOPSIS",
    ]
    lines += [".B culvert", "[\\fIoptions of run\\fR]", ".br"]
    for command in root.subcommands { lines += synopsis(command) + [".br"] }
    lines.removeLast()
    lines += [".SH DESCRIPTION", inline(root.summary)] + discussion(root.discussion)
    lines += [".SH COMMANDS"]
    for command in root.subcommands {
      lines += [".SS \(quoted("culvert \(command.name)"))"]
      if !command.summary.isEmpty { lines.append(inline(command.summary)) }
      if command.name == "run" { lines += [".PP", inline("The word `run` may be left out before an option.")] }
      lines += discussion(command.discussion)
      for option in command.options where !["--version", "--help"].contains(option.names.last) {
        lines += [".TP", term(option), inline(option.summary)]
        if let value = option.defaultValue { lines.append(inline("The default is `\(value)`.")) }
        if !option.words.isEmpty, option.words.count < 12 {
          lines.append(inline("One of \(option.words.map { "`\($0)`" }.joined(separator: ", "))."))
        }
      }
    }
    lines += [".SH OPTIONS OF EVERY COMMAND", ".TP", "\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "Show what a command takes."]
    lines += [".TP", "\\fB\\-\\-version\\fR", "Show the version."]
    lines += [
      ".SH FILES", ".TP", "\\fI/etc/gost/gost.json\\fR, \\fIgost.yaml\\fR, \\fIgost.yml\\fR",
      inline("What runs when nothing is given; then the same names in `~/.gost` and in the current folder."),
      ".TP", "\\fI/run/culvert/NAME.sock\\fR", "The control socket of a daemon.",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  private func synopsis(_ command: CommandModel) -> [String] {
    var words: [String] = []
    for option in command.options where !["--version", "--help"].contains(option.names.last) {
      let value = "\\fI\(escaped(option.valueName))\\fR"
      var word: String =
        switch option.kind {
        case .positional: value
        case .flag: "\\fB\(escaped(option.names.last ?? ""))\\fR"
        case .option: "\\fB\(escaped(option.names.last ?? ""))\\fR \(value)"
        }
      if option.isOptional { word = "[\(word)]" }
      words.append(word + (option.isRepeating ? " ..." : ""))
    }
    return [".B culvert \(escaped(command.name))"] + words
  }

  private func term(_ option: CommandModel.Option) -> String {
    let value = "\\fI\(escaped(option.valueName))\\fR"
    if option.kind == .positional { return value }
    let names = option.names.map { "\\fB\(escaped($0))\\fR" }.joined(separator: ", ")
    return option.kind == .option ? "\(names) \(value)" : names
  }

  /// Paragraphs; what is indented, and what stands under `EXAMPLE`, keeps its lines.
  private func discussion(_ text: String) -> [String] {
    var lines: [String] = []
    var isExample = false
    var needsBreak = true
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
      let isIndented = line.hasPrefix(" ")
      if isExample != isIndented {
        lines += isIndented ? [".PP", ".nf", ".RS 4"] : [".RE", ".fi"]
        isExample = isIndented
        needsBreak = !isIndented
      }
      if line.isEmpty {
        needsBreak = true
        continue
      }
      if needsBreak, !isIndented { lines.append(".PP") }
      needsBreak = false
      lines.append(
        isIndented ? guarded(escaped(String(line.drop { $0 == " " }))) : inline(line == "EXAMPLE" ? "Examples:" : line))
    }
    if isExample { lines += [".RE", ".fi"] }
    return lines
  }

  // MARK: roff

  /// Text with what stands in backquotes in bold.
  private func inline(_ text: String) -> String {
    var result = ""
    var isBold = false
    for piece in text.split(separator: "`", omittingEmptySubsequences: false) {
      if !piece.isEmpty { result += isBold ? "\\fB\(escaped(String(piece)))\\fR" : escaped(String(piece)) }
      isBold.toggle()
    }
    return guarded(result)
  }

  private func escaped(_ text: String) -> String {
    text.unicodeScalars.map { scalar in
      switch scalar {
      case "\\": "\\e"
      case "-": "\\-"
      case "`": "\\(ga"
      case "'": "\\(aq"
      case "~": "\\(ti"
      case "^": "\\(ha"
      default: scalar.isASCII ? String(scalar) : "\\[u\(hex(scalar.value))]"
      }
    }.joined()
  }

  private func hex(_ value: UInt32) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }

  /// A line that begins with a dot would be a request.
  private func guarded(_ line: String) -> String { line.hasPrefix(".") ? "\\&\(line)" : line }

  private func quoted(_ text: String) -> String { "\"\(escaped(text).filter { $0 != "\"" })\"" }

  private func lowered(_ text: String) -> String {
    let text = text.hasSuffix(".") ? String(text.dropLast()) : text
    return text.prefix(1).lowercased() + text.dropFirst()
  }
}
