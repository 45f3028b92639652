import Values

/// Files of coturn, `turnserver.conf`: read into the tree that a relay would have in YAML, as files of `wg-quick` are, so
/// that `check`, `run`, `plan` and `relay --from-coturn` take one as it is.
///
/// ```
///   listening-port=3478               services:
///   realm=example.org                 - name: relay-udp, addr: :3478, handler: {type: turn, metadata: …}
///   user=alice:wonderland      ──▶    - name: relay-tcp, …
///   cert=/etc/ssl/relay.pem           - name: relay-tls, addr: :5349, …
///   pkey=/etc/ssl/relay.key           authers: [{name: relay-users, auths: …}]
/// ```
///
/// The lines are read as coturn reads them: a name, then `=` or blanks, then the rest of the line; a `#` begins a comment
/// only at the beginning; quotes around a value are taken away; of an option that stands twice the last counts, unless it
/// is one of a list. What becomes of each option says `CoturnOption`, what it is translated to `CoturnTranslation`.
struct CoturnFile {
  struct Line {
    let key: Located<String>
    /// Without blanks and quotes around it; may be empty.
    let value: Located<String>
    let option: CoturnOption

    /// As coturn reads a switch: without a value it is on.
    var isOn: Bool {
      guard let first = value.value.lowercased().utf8.first else { return true }
      if "0nf".utf8.contains(first) { return false }
      return value.value.lowercased() != "off"
    }
  }

  private let file: SourceFile
  private(set) var lines: [Line] = []
  private(set) var diagnostics: [Diagnostic] = []
  private(set) var secrets: [SourceSpan] = []

  /// Whether a file is one: its first line that says something begins with the name of an option.
  static func isOne(_ file: SourceFile) -> Bool {
    for number in 1...max(1, file.lineCount) {
      guard let range = file.line(number) else { return false }
      var text = String(decoding: file.slice(range), as: UTF8.self)
      if text.hasPrefix("\u{FEFF}") { text.removeFirst() }
      text = text.trimmed
      if text.isEmpty || text.hasPrefix("#") { continue }
      let name = text.prefix { $0 != "=" && $0 != " " && $0 != "\t" }
      guard !name.hasSuffix(":") else { return false }
      return CoturnOption.named(String(name)) != nil || CoturnOption.aliases[String(name)] != nil
        || file.name.hasSuffix("turnserver.conf") && !name.hasPrefix("[")
    }
    return false
  }

  static func read(_ file: SourceFile) -> (root: YAMLNode?, diagnostics: [Diagnostic], secrets: [SourceSpan]) {
    var reader = CoturnFile(file: file)
    reader.split()
    reader.judge()
    var translation = CoturnTranslation(lines: reader.lines, file: file)
    let root = translation.root()
    return (root, reader.diagnostics + translation.diagnostics, reader.secrets)
  }

  private init(file: SourceFile) { self.file = file }

  // MARK: Lines

  private mutating func split() {
    for number in 1...max(1, file.lineCount) {
      guard let range = file.line(number), diagnostics.count < Report.limit, lines.count < Report.mostItems else {
        return
      }
      let line = trimmed(range)
      if line.isEmpty || file.bytes[line.lowerBound] == UInt8(ascii: "#") { continue }
      let isBetween: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == UInt8(ascii: "=") }
      let end = file.slice(line).firstIndex(where: isBetween) ?? line.upperBound
      let start = file.slice(end..<line.upperBound).firstIndex { !isBetween($0) } ?? line.upperBound
      var value = start..<line.upperBound
      // A quote that nothing closes goes as well.
      if !value.isEmpty, file.bytes[value.lowerBound] == UInt8(ascii: "\"") {
        value = value.lowerBound + 1..<value.upperBound
        if !value.isEmpty, file.bytes[value.upperBound - 1] == UInt8(ascii: "\"") {
          value = value.lowerBound..<value.upperBound - 1
        }
      }
      entry(line.lowerBound..<end, value)
    }
  }

  private mutating func entry(_ key: Range<Int>, _ value: Range<Int>) {
    let written = text(key)
    let name = CoturnOption.aliases[written] ?? written
    guard let option = CoturnOption.named(name) else {
      let near = NearNames.best(for: name, among: CoturnOption.all.map(\.name))
      // Whatever it is, it may be a secret; and a name that has a mark in it is more than a name.
      if !value.isEmpty { secrets.append(span(value)) }
      let mark = file.slice(key).firstIndex { !Self.isOfName($0) } ?? key.upperBound
      if mark < key.upperBound { secrets.append(span(mark..<key.upperBound)) }
      let written = text(key.lowerBound..<mark)
      diagnostics.append(
        Diagnostic(
          .unknownKey, "coturn has no option `\(printable(written))`",
          at: .init(span(key), near.map { "did you mean `\($0)`?" } ?? "no such option"),
          notes: ["coturn logs `Bad configuration format` and goes on without it"]))
      return
    }
    switch option.value {
    case .secret where option.name == "user":
      // The name is none.
      let colon = file.slice(value).firstIndex(of: UInt8(ascii: ":")).map { $0 + 1 } ?? value.lowerBound
      secrets.append(span(colon..<value.upperBound))
    case .secret: secrets.append(span(value))
    case .flag, .text: break
    }
    if case .text = option.value, value.isEmpty {
      diagnostics.append(
        Diagnostic(
          .missingKey, "`\(written)` has no value", .warning, at: .init(span(key), "left out"),
          help: ["remove the line, or write a value behind `=`"]))
      return
    }
    lines.append(
      Line(key: Located(written, at: span(key)), value: Located(text(value), at: span(value)), option: option))
  }

  private static func isOfName(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20) || "-_".utf8.contains(byte)
  }

  // MARK: What becomes of each

  private mutating func judge() {
    var first: [String: Line] = [:]
    for line in lines {
      if !line.option.isList, let other = first.updateValue(line, forKey: line.option.name),
        other.value.value != line.value.value
      {
        diagnostics.append(
          Diagnostic(
            .duplicateKey, "`\(line.option.name)` stands twice, and the last one counts", .warning,
            at: .init(line.key.span, "in force"), and: [.init(other.key.span, "has no effect")],
            help: ["keep one of them"]))
      }
      if case .flag = line.option.value, !line.isOn { continue }
      let name = "`\(line.option.name)`"
      switch line.option.fate {
      case .translated: break
      case .kept(let why):
        diagnostics.append(
          Diagnostic(
            .coturnLeftOut, "\(name) needs no word here: \(why)", .note, at: .init(line.key.span, "so it is anyway")))
      case .tuning(let why):
        diagnostics.append(
          Diagnostic(
            .coturnLeftOut, "\(name) is left out: \(why)", .note, at: .init(line.key.span, "changes nothing here")))
      case .leftOut(let why, let help):
        diagnostics.append(
          Diagnostic(
            .coturnLeftOut, "\(name) is left out: \(why)", .warning, at: .init(line.key.span, "not here"),
            help: help.map { [$0] } ?? ["remove the line where nothing depends on it"]))
      case .refused(let why, let help):
        diagnostics.append(
          Diagnostic(
            .coturnRefused, "\(name) cannot be left out in silence: \(why)", at: .init(line.key.span, "not here"),
            help: [help]))
      }
    }
  }

  // MARK: Bytes

  private func trimmed(_ range: Range<Int>) -> Range<Int> { file.trimmed(range) }

  private func span(_ range: Range<Int>) -> SourceSpan {
    SourceSpan(file: file.id, start: range.lowerBound, end: range.upperBound)
  }

  private func text(_ range: Range<Int>) -> String { String(decoding: file.slice(range), as: UTF8.self) }
}
