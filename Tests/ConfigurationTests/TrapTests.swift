import Configuration
import Glibc
import Testing
import Values

/// `docs/traps.md`: every row's example gives the row's code at the line that its comment marks, as gravely as the row
/// says.
@Suite("The table of traps") struct TrapTests {
  /// A row of the tables.
  struct Row: CustomTestStringConvertible, Sendable {
    let says: String
    let code: String?
    /// Where the example cannot have a comment.
    let line: Int?
    let example: String?
    let peer: String?

    var testDescription: String { example ?? says }
  }

  static let rows: [Row] = read("traps.md").split(separator: "\n").compactMap { text in
    guard text.hasPrefix("| "), !text.hasPrefix("| what GOST does |") else { return nil }
    let cells = text.dropFirst(2).dropLast(2).split(separator: " | ", omittingEmptySubsequences: false).map(String.init)
    guard cells.count == 5 else {
      return Row(says: String(text), code: "not a row", line: nil, example: nil, peer: nil)
    }
    let links = cells[4].split(separator: "(").dropFirst().compactMap {
      $0.split(separator: ")").first.map(String.init)
    }
    let words = cells[2].split(separator: " ")
    return Row(
      says: cells[1], code: words.first.map(String.init).flatMap { $0 == "—" ? nil : $0 },
      line: words.last.flatMap { Int($0.dropLast()) }, example: links.first, peer: links.dropFirst().first)
  }

  @Test("The example of a row gives its code where the comment is", arguments: rows)
  func row(_ row: Row) throws {
    guard let name = row.example else {
      #expect(row.code == nil, "a code without an example: \(row.says)")
      return
    }
    let code = try #require(row.code.flatMap { DiagnosticCode(text: $0) }, "\(row.says)")
    #expect(Explanations.page(for: code) != nil)
    let text = Self.read(name)
    let other = row.peer.map(Self.read)
    try #require(!text.isEmpty && other?.isEmpty != true)
    let report = Self.check(name, text, other, strict: false)
    let found = try #require(report.first(code), "\(name)\n\(report.rendered)")
    let place = try #require(found.primary.flatMap { report.sources.position(of: $0.span) })
    if let marked = Self.marked(code, in: text) {
      #expect(place.start.line == marked && !place.file.contains("other-end"), "\(name)\n\(report.rendered)")
    } else if let other, let marked = Self.marked(code, in: other) {
      #expect(place.start.line == marked && place.file.contains("other-end"), "\(name)\n\(report.rendered)")
    } else {
      #expect(place.start.line == row.line, "\(name)\n\(report.rendered)")
    }
    let severities: [(String, Diagnostic.Severity)] = [
      ("An error", .error), ("Every key is known or an error", .error), ("A warning", .warning), ("A note", .note),
      ("Not there yet", .notYet),
    ]
    let severity = try #require(severities.first { row.says.hasPrefix($0.0) }?.1, "\(row.says)")
    #expect(found.severity == severity, "\(name)\n\(report.rendered)")
    #expect(report.exitCode == (severity == .error ? 1 : severity == .notYet ? 3 : 0), "\(name)\n\(report.rendered)")
    if row.says.contains("*strict*") || row.says.contains("--strict") {
      #expect(Self.check(name, text, other, strict: true).first(code)?.severity == .error, "\(name)")
    }
  }

  @Test("Every example stands in the table, once")
  func examples() throws {
    let named = Self.rows.flatMap { [$0.example, $0.peer].compactMap { $0 } }
    let directory = try #require(opendir(Self.folder + "traps"))
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if !name.hasPrefix(".") { found.append("traps/" + name) }
    }
    #expect(found.sorted() == named.sorted())
    #expect(Self.rows.count > 90)
  }

  // MARK: Reading

  private static let folder =
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/") + "/docs/"

  private static func read(_ name: String) -> String {
    guard let file = fopen(folder + name, "r") else { return "" }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 1 << 17)
    let count = fread(&buffer, 1, buffer.count, file)
    return String(decoding: buffer[..<count], as: UTF8.self)
  }

  private static func marked(_ code: DiagnosticCode, in text: String) -> Int? {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    return lines.firstIndex { $0.hasSuffix("# \(code.rawValue)") }.map { lines[$0].hasPrefix("culvert ") ? 1 : $0 + 1 }
  }

  /// A file, or a line of shell with one `-L` in quotes.
  private static func check(_ name: String, _ text: String, _ other: String?, strict: Bool) -> CheckReport {
    if name.hasSuffix(".sh") {
      let argument = text.split(separator: "'").dropFirst().first.map(String.init) ?? ""
      return Checker.check([], arguments: CommandLineArguments(services: [argument]), strict: strict)
    }
    let own = name.split(separator: "/").last.map(String.init) ?? name
    return Checker.check(
      [(name: own, bytes: Array(text.utf8))],
      with: other.map { [(name: "other-end.yaml", bytes: Array($0.utf8))] } ?? [],
      host: facts(text), strict: strict)
  }

  /// `# here: FILE has mode 0644`, `# here: NAME resolves to ADDRESS`, `# here: there is no interface but lo`.
  private static func facts(_ text: String) -> HostFacts? {
    guard let line = text.split(separator: "\n").first, line.hasPrefix("# here: ") else { return nil }
    let words = line.dropFirst(8).split(separator: " ").map(String.init)
    if words.count == 4, words[1] == "has", let mode = UInt32(words[3], radix: 8) {
      return HostFacts(permissions: [words[0]: mode])
    }
    if words == ["there", "is", "no", "interface", "but", "lo"] {
      var network = NetworkFacts()
      network.interfaces = [InterfaceFacts(name: "lo", addresses: [])]
      return HostFacts(network: network)
    }
    if words.count == 4, words[1] == "resolves", let address = IPAddress(words[3]) {
      return HostFacts(resolved: [words[0]: [address]])
    }
    return nil
  }
}
