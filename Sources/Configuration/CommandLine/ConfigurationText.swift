/// A configuration as one text: what `-O` prints.
///
/// Files and arguments are put together as they are for a run: lists appended, the last of each single block in force.
/// Nothing is judged but what cannot be read, so that a configuration with parts that are not there yet can be
/// converted too; and secrets are printed, because the text is meant to be run.
public enum ConfigurationText {
  public enum Format: String, Sendable, CaseIterable { case yaml, json }

  /// The text is `nil` when the diagnostics, which have the reason, are errors.
  public static func render(
    sources: [(name: String, bytes: [UInt8])], arguments: CommandLineArguments, as format: Format
  ) -> (text: String?, report: CheckReport) {
    var map = SourceMap()
    let report = Report()
    var merged: [YAMLEntry] = []
    for source in sources {
      let id = map.add(name: source.name, bytes: source.bytes)
      let (root, diagnostics) = SourceReader.read(id, in: &map)
      diagnostics.forEach(report.add)
      merge(root?.mapping ?? [], into: &merged)
    }
    if !arguments.isEmpty { merge(arguments.expand(into: &map, report).root?.mapping ?? [], into: &merged) }
    report.sources = map
    let findings = report.findings
    let isGood = !findings.contains { $0.severity == .error }
    return (
      isGood ? text(merged, as: format) : nil,
      CheckReport(configuration: nil, diagnostics: findings, sources: map)
    )
  }

  private static func merge(_ entries: [YAMLEntry], into merged: inout [YAMLEntry]) {
    for entry in entries where !entry.value.isNull {
      guard let index = merged.firstIndex(where: { $0.name.lowercased() == entry.name.lowercased() }) else {
        merged.append(entry)
        continue
      }
      if let items = merged[index].value.sequence, let more = entry.value.sequence {
        merged[index].value.content = .sequence(items + more)
      } else {
        merged[index].value = entry.value
      }
    }
  }

  static func text(_ entries: [YAMLEntry], as format: Format) -> String {
    switch format {
    case .yaml:
      var lines: [String] = []
      write(entries, indent: 0, to: &lines)
      return lines.isEmpty ? "{}\n" : lines.joined(separator: "\n") + "\n"
    case .json: return json(.mapping(entries), indent: 0) + "\n"
    }
  }

  // MARK: YAML

  private static func write(_ entries: [YAMLEntry], indent: Int, to lines: inout [String]) {
    let pad = String(repeating: " ", count: indent)
    for entry in entries { write(entry.value, after: "\(pad)\(word(entry.name)):", indent: indent, to: &lines) }
  }

  private static func write(_ value: YAMLNode, after start: String, indent: Int, to lines: inout [String]) {
    switch value.content {
    case .scalar(let scalar): lines.append("\(start) \(literal(scalar))")
    case .mapping(let entries) where entries.isEmpty: lines.append("\(start) {}")
    case .mapping(let entries):
      lines.append(start)
      write(entries, indent: indent + 2, to: &lines)
    case .sequence(let items) where items.isEmpty: lines.append("\(start) []")
    case .sequence(let items):
      lines.append(start)
      for item in items {
        var block: [String] = []
        switch item.content {
        case .mapping(let entries) where !entries.isEmpty: write(entries, indent: indent + 2, to: &block)
        default: write(item, after: String(repeating: " ", count: indent + 1), indent: indent + 2, to: &block)
        }
        guard let first = block.first else { continue }
        let dash = String(repeating: " ", count: indent) + "- "
        lines.append(dash + first.dropFirst(dash.count))
        lines += block.dropFirst()
      }
    }
  }

  /// What was written plain stays so, whatever it is; text is quoted unless it could be nothing else.
  private static func literal(_ scalar: YAMLScalar) -> String {
    switch scalar.style {
    case .plain where scalar.isNull: "null"
    case .plain where isWord(scalar.text) || scalar.bool != nil || scalar.int != nil || scalar.double != nil:
      scalar.text
    default: word(scalar.text)
    }
  }

  private static func word(_ text: String) -> String { isWord(text) ? text : JSONWriter.quoted(text) }

  private static func isWord(_ text: String) -> Bool {
    guard let first = text.utf8.first, let last = text.utf8.last, last != UInt8(ascii: ":"),
      isLetter(first) || first == UInt8(ascii: "/") || first == UInt8(ascii: ":") && text.utf8.count > 1,
      text.utf8.allSatisfy({ isLetter($0) || isDigit($0) || "_./+:@-".utf8.contains($0) })
    else { return false }
    return !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(text.lowercased())
  }

  private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte | 0x20) }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  // MARK: JSON

  private static func json(_ content: YAMLNode.Content, indent: Int) -> String {
    let pad = String(repeating: " ", count: indent + 2)
    let end = "\n" + String(repeating: " ", count: indent)
    switch content {
    case .scalar(let scalar): return json(scalar)
    case .sequence(let items):
      if items.isEmpty { return "[]" }
      return "[\n" + items.map { pad + json($0.content, indent: indent + 2) }.joined(separator: ",\n") + end + "]"
    case .mapping(let entries):
      if entries.isEmpty { return "{}" }
      return "{\n"
        + entries.map { "\(pad)\(JSONWriter.quoted($0.name)): \(json($0.value.content, indent: indent + 2))" }
        .joined(separator: ",\n") + end + "}"
    }
  }

  private static func json(_ scalar: YAMLScalar) -> String {
    if scalar.isNull { return "null" }
    if let bool = scalar.bool { return "\(bool)" }
    if let int = scalar.int { return "\(int)" }
    if let double = scalar.double, double.isFinite { return "\(double)" }
    return JSONWriter.quoted(scalar.text)
  }
}
