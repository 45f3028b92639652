import Glibc
import PartDescriptors
import Testing

@testable import Configuration

/// The schema against a validator that shares no code with ours: Python's `jsonschema`, which `scripts/test` puts into
/// the tests' Python. Where there is none, the tests say that they were skipped.
@Suite("The JSON Schema", .enabled(if: Validator.python != nil, "no Python with jsonschema: see scripts/lib.sh"))
struct SchemaTests {
  @Test("The schema is one, and every good file keeps to it")
  func good() throws {
    let files = CorpusTests.originals.compactMap { Validator.document(name: $0.name, text: $0.text) }
    #expect(files.count == CorpusTests.originals.count)
    let verdicts = try #require(Validator.verdicts(files))
    for (file, verdict) in zip(files, verdicts) { #expect(verdict.isEmpty, "\(file.name): \(verdict)") }
  }

  @Test("A value that the loader refuses by its type is refused by the schema, and no other")
  func types() throws {
    let samples = [
      "x", "12", "-1", "true", "10s", "\"\"", "~", "[]", "[x]", "{}", "{a: b}", "[[x]]", "10.0.0.1/24", "\"7\"", "1.5",
      "[1, 2]", "{a: [b]}", "yes", "\"true\"", "/x",
    ]
    var cases: [(name: String, json: String, isRefused: Bool)] = []
    for place in Self.places {
      for sample in samples {
        let text = place.with("VALUE", sample)
        let report = check(text)
        let errors = report.diagnostics.filter { $0.severity == .error }.map(\.code)
        let isRefused = errors.contains { [.wrongType, .unknownKey, .missingKey].contains($0) }
        guard report.configuration != nil, let document = Validator.document(name: text, text: text) else { continue }
        // What is wrong with a value only beside another, or within its text, the schema may let pass.
        if !isRefused, !errors.isEmpty { continue }
        cases.append((text, document.json, isRefused))
      }
    }
    #expect(cases.count > 1_000)
    let verdicts = try #require(Validator.verdicts(cases.map { ($0.name, $0.json) }))
    var wrong: [String] = []
    for (one, verdict) in zip(cases, verdicts) where one.isRefused == verdict.isEmpty {
      wrong.append("\(one.isRefused ? "not refused" : "refused: \(verdict)")\n\(one.name)")
    }
    #expect(wrong.isEmpty, "\(wrong.count) of \(cases.count):\n\(wrong.prefix(20).joined(separator: "\n"))")
  }

  @Test("Keys that nobody knows are refused in every block")
  func unknownKeys() throws {
    let texts = Self.keyed.map { $0.text.with("\($0.key): VALUE", "quux: 1") }
    let documents = texts.compactMap { Validator.document(name: $0, text: $0) }
    #expect(documents.count == texts.count)
    let verdicts = try #require(Validator.verdicts(documents))
    for (file, verdict) in zip(documents, verdicts) { #expect(!verdict.isEmpty, "\(file.name)") }
  }

  @Test("Every key that is read has its kind of value and its line")
  func complete() {
    for block in [Block.root] + Block.all {
      for field in block.shape.fields {
        guard case .read = field.state else { continue }
        #expect(block.key(field.name)?.summary.isEmpty == false, "\(block.name): \(field.name)")
      }
    }
  }

  /// Files with `VALUE` at each key that the schema types.
  private static let places = keyed.map(\.text)

  private static let keyed: [(key: String, text: String)] = {
    let roots: [(block: String, lines: [String])] = [
      ("configuration", []), ("service", ["services:", "- "]), ("forwarder", ["services:", "- forwarder:", "    "]),
      ("target", ["services:", "- forwarder:", "    nodes:", "    - "]), ("chain", ["chains:", "- "]),
      ("hop", ["hops:", "- "]), ("node", ["hops:", "- nodes:", "  - "]), ("auther", ["authers:", "- "]),
      ("auth", ["authers:", "- auths:", "  - "]), ("selector", ["hops:", "- selector:", "    "]),
      ("sockopts", ["hops:", "- sockopts:", "    "]), ("tls", ["tls:", "  "]),
      ("tls-options", ["tls:", "  options:", "    "]), ("log", ["log:", "  "]),
      ("log-rotation", ["log:", "  rotation:", "    "]),
    ]
    var places: [(key: String, text: String)] = []
    for (name, lines) in roots {
      let block = name == "configuration" ? Block.root : Block.all.first { $0.name == name }
      let prefix = lines.last ?? ""
      let pad = String(prefix.map { _ in " " })
      for key in block?.keys ?? [] {
        let rest = ["node", "target"].contains(name) && key.name != "addr" ? "\n\(pad)addr: a:1" : ""
        places.append((key.name, (lines.dropLast() + ["\(prefix)\(key.name): VALUE\(rest)"]).joined(separator: "\n")))
      }
    }
    for kind in PartKind.allCases {
      for part in PartCatalog.parts(kind) where part.availability == .available {
        for key in part.keys {
          let inner = "\(kind.rawValue): {type: \(part.name), metadata: {\(key.name): VALUE}}"
          switch kind {
          case .handler, .listener: places.append((key.name, "services:\n- \(inner)"))
          case .connector, .dialer: places.append((key.name, "hops:\n- nodes:\n  - addr: a:1\n    \(inner)"))
          }
        }
      }
    }
    return places
  }()
}

/// Python's validator in a child process.
enum Validator {
  static let python: String? = {
    let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
    let package = parts.joined(separator: "/")
    let candidates = [
      getenv("CULVERT_AIOQUIC_PYTHON").map { String(cString: $0) }, package + "/.build/test-venv/bin/python3",
      "python3",
    ].compactMap { $0 }
    return candidates.first {
      system("'\($0)' -c 'import jsonschema; jsonschema.Draft202012Validator' 2>/dev/null") == 0
    }
  }()

  /// A file as JSON, by the reader that the loader has.
  static func document(name: String, text: String) -> (name: String, json: String)? {
    let (json, _) = ConfigurationText.render(
      sources: [(name: name, bytes: Array(text.utf8))], arguments: CommandLineArguments(), as: .json)
    return json.map { (name, $0) }
  }

  /// For each document what is wrong with it, empty for nothing; `nil` when the schema itself is not one.
  static func verdicts(_ documents: [(name: String, json: String)]) -> [String]? {
    guard let python else { return nil }
    let script = """
      import json, sys
      from jsonschema import Draft202012Validator
      schema, documents = json.load(sys.stdin)
      Draft202012Validator.check_schema(schema)
      validator = Draft202012Validator(schema)
      for document in documents:
          errors = ["/".join(map(str, e.absolute_path)) + ": " + e.message[:150] for e in validator.iter_errors(document)]
          print(json.dumps("; ".join(errors))[1:-1])
      """
    let stem = "/tmp/culvert-schema-\(getpid())-\(documents.count)"
    defer { for end in ["in", "out", "py"] { unlink("\(stem).\(end)") } }
    let input = "[\(ConfigurationSchema.render()), [\(documents.map(\.json).joined(separator: ","))]]"
    guard write(input, to: "\(stem).in"), write(script, to: "\(stem).py"),
      system("'\(python)' '\(stem).py' < '\(stem).in' > '\(stem).out'") == 0
    else { return nil }
    guard let output = read("\(stem).out") else { return nil }
    let lines = output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    return lines.count == documents.count ? lines : nil
  }

  private static func write(_ text: String, to path: String) -> Bool {
    guard let file = fopen(path, "w") else { return false }
    defer { fclose(file) }
    return fputs(text, file) >= 0
  }

  private static func read(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
    return String(decoding: bytes, as: UTF8.self)
  }
}
