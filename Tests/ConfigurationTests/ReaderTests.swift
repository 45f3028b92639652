import Configuration
import Testing

@Suite struct ReaderTests {
  private func read(_ text: String, limits: YAMLReader.Limits = .init()) -> (YAMLNode?, [Diagnostic], SourceMap) {
    read(Array(text.utf8), limits: limits)
  }

  private func read(_ bytes: [UInt8], limits: YAMLReader.Limits = .init()) -> (YAMLNode?, [Diagnostic], SourceMap) {
    var sources = SourceMap()
    let id = sources.add(name: "t.yaml", bytes: bytes)
    let (root, diagnostics) = YAMLReader.read(id, in: &sources, limits: limits)
    return (root, diagnostics, sources)
  }

  @Test("Every key and value has the span of its text")
  func spans() throws {
    let (root, diagnostics, sources) = read("a:\n  b: \"x y\"\n  c: [1, {d: 'e'}]\nf: plain text # comment\n")
    #expect(diagnostics.isEmpty)
    let map = try #require(root)
    let text = { (node: YAMLNode?) in node.map { sources.text(of: $0.span) } }
    #expect(text(map.entry("a")?.key) == "a")
    #expect(text(map["a"]) == "b: \"x y\"\n  c: [1, {d: 'e'}]")
    #expect(text(map["a"]?["b"]) == "\"x y\"")
    #expect(map["a"]?["b"]?.scalar?.text == "x y")
    #expect(text(map["a"]?["c"]) == "[1, {d: 'e'}]")
    #expect(text(map["a"]?["c"]?.sequence?[1]["d"]) == "'e'")
    #expect(text(map["f"]) == "plain text")
  }

  @Test("Lines and columns count characters, in a file with wide ones and a byte order mark")
  func positions() throws {
    let (root, _, sources) = read("\u{FEFF}käse: größe\n日本: [ü, x]\r\nz: 1\n")
    let root2 = try #require(root)
    let x = try #require(root2["日本"]?.sequence?[1])
    let (_, start, end) = try #require(sources.position(of: x.span))
    #expect(sources.text(of: x.span) == "x")
    #expect((start.line, start.column, end.column) == (2, 9, 10))
    let z = try #require(root2["z"])
    #expect(sources.position(of: z.span)?.start.line == 3)
    #expect(sources.text(of: z.span) == "1")
  }

  @Test("An alias has its own span and knows its anchor; a merge key adds what is not there")
  func aliases() throws {
    let (root, diagnostics, sources) = read(
      "base: &base {ttl: 10s, keepAlive: true}\none: *base\ntwo:\n  <<: *base\n  ttl: 5s\n")
    #expect(diagnostics.isEmpty)
    let one = try #require(root?["one"])
    #expect(sources.text(of: one.span) == "*base")
    #expect(one.anchor.map { sources.text(of: $0) } == "&base {ttl: 10s, keepAlive: true}")
    #expect(one["ttl"]?.scalar?.text == "10s")
    #expect(root?["two"]?["ttl"]?.scalar?.text == "5s")
    #expect(root?["two"]?["keepAlive"]?.scalar?.bool == true)
  }

  @Test("Block texts end at their last character")
  func blocks() {
    let (root, _, sources) = read("a: |\n  one\n  two\n\nb: 1\n")
    #expect(root?["a"].map { sources.text(of: $0.span) } == "|\n  one\n  two")
    #expect(root?["a"]?.scalar?.text == "one\ntwo\n")
  }

  @Test("JSON is read by the same reader")
  func json() {
    let (root, diagnostics, _) = read("{\"a\":{\"b\":[1,true,null,\"x\\u00e4\\n\"]},\t\"c\": -1.5e3}")
    #expect(diagnostics.isEmpty)
    let items = root?["a"]?["b"]?.sequence
    #expect(items?[0].scalar?.int == 1)
    #expect(items?[1].scalar?.bool == true)
    #expect(items?[2].isNull == true)
    #expect(items?[3].scalar?.text == "xä\n")
    #expect(root?["c"]?.scalar?.double == -1500)
  }

  @Test(
    "Scalars are typed as YAML 1.2 has them",
    arguments: [
      ("12", 12), ("-7", -7), ("+7", 7), ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("1_000", 1000), ("_1", nil),
      ("1.5", nil), ("--1", nil), ("", nil), ("99999999999999999999", nil), ("0x", nil), ("-", nil),
    ] as [(String, Int?)])
  func integers(_ text: String, _ expected: Int?) {
    #expect(YAMLScalar(text: text, style: .plain).int == expected)
    #expect(YAMLScalar(text: text, style: .quoted).int == nil)
  }

  @Test("`yes` and `on` are text")
  func booleans() {
    for word in ["yes", "on", "y", "no"] { #expect(YAMLScalar(text: word, style: .plain).bool == nil) }
    #expect(YAMLScalar(text: "TRUE", style: .plain).bool == true)
  }

  @Test(
    "What cannot be read becomes one diagnostic",
    arguments: [
      ("a: [1, 2", DiagnosticCode.syntax), ("a: \"x", .syntax), ("\ta: 1", .syntax), ("a:\n\tb: 1", .syntax),
      ("a: b: c", .syntax), ("a: 1\n b: 2", .syntax), ("- a\nb: 1", .syntax), ("{a: 1", .syntax), ("a: @x", .syntax),
      ("a: \"\\q\"", .syntax), ("? [x]\n: 1", .syntax), ("a: *x", .unknownAnchor), ("a: &x [*x]", .unknownAnchor),
      ("a: 1\n---\nb: 1", .severalDocuments), ("a: 1\n...\n---\n", .severalDocuments),
      ("%YAML 9.0\n---\na: 1", .syntax),
    ] as [(String, DiagnosticCode)])
  func faults(_ text: String, _ code: DiagnosticCode) {
    let (root, diagnostics, sources) = read(text)
    #expect(root == nil)
    #expect(diagnostics.map(\.code) == [code])
    #expect(diagnostics.exitCode == 2)
    let span = diagnostics.first?.primary?.span
    #expect(span != nil && (span?.end ?? .max) <= text.utf8.count)
    #expect(DiagnosticRenderer(sources: sources).render(diagnostics).contains("t.yaml:"))
  }

  @Test("A duplicate key is found in any case, and the first one stays")
  func duplicates() {
    let (root, diagnostics, _) = read("a: 1\nb: {x: 1, X: 2}\nA: 3\n")
    #expect(diagnostics.map(\.code) == [.duplicateKey, .duplicateKey])
    #expect(root?["a"]?.scalar?.text == "1")
    #expect(root?["b"]?["x"]?.scalar?.text == "1")
  }

  @Test("Bytes that are no text are named with their place")
  func encoding() {
    for bytes: [UInt8] in [
      [0x61, 0x3A, 0x20, 0xFF], [0x61, 0xC3], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
      [0xE2, 0x82], [0x80], [0xFE, 0xFF, 0x00, 0x61],
    ] {
      let (root, diagnostics, _) = read(bytes)
      #expect(root == nil && diagnostics.map(\.code) == [.invalidUTF8], "\(bytes)")
    }
    for text in ["a: \u{0}", "a: \u{1B}[31m", "a\u{7F}", "a: \u{85}\u{81}"] {
      #expect(read(text).1.map(\.code) == [.controlCharacter])
    }
  }

  @Test("Limits hold at their edge and not before it")
  func limits() {
    let nested = { (depth: Int) in String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    #expect(read(nested(64)).1.isEmpty)
    #expect(read(nested(65)).1.map(\.code) == [.tooDeep])
    var limits = YAMLReader.Limits()
    limits.nodes = 10
    #expect(read("[1,2,3,4,5,6,7,8,9]", limits: limits).1.isEmpty)
    #expect(read("[1,2,3,4,5,6,7,8,9,10]", limits: limits).1.map(\.code) == [.tooManyValues])
    limits = .init()
    limits.scalarBytes = 4
    #expect(read("a: abcd", limits: limits).1.isEmpty)
    #expect(read("a: abcde", limits: limits).1.map(\.code) == [.scalarTooLong])
    limits.bytes = 4
    #expect(read("a: 1", limits: limits).1.isEmpty)
    #expect(read("a: 12", limits: limits).1.map(\.code) == [.fileTooLarge])
  }

  @Test("An alias bomb ends at once")
  func bomb() {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...40 {
      text += "a\(level): &a\(level) [\([String](repeating: "*a\(level - 1)", count: 10).joined(separator: ", "))]\n"
    }
    let clock = ContinuousClock()
    let took = clock.measure { #expect(read(text).1.map(\.code) == [.tooManyValues]) }
    #expect(took < .seconds(1))
  }

  @Test("Thousands of brackets, quotes and anchors end at once")
  func pathological() {
    let clock = ContinuousClock()
    for piece in ["[", "{", "- ", "? ", "&a ", "!a ", "'", "\"", "a: ", "*a ", "|\n", "{a: ", "[a, ", "\\", "#"] {
      let text = String(repeating: piece, count: 200_000 / piece.utf8.count)
      let took = clock.measure { _ = check(text) }
      #expect(took < .seconds(5), "\(piece)")
    }
  }
}
