import Testing

/// The targets of the manifest with what they depend on, read from its text: the manifest is written with the two
/// helpers `floor` and `tests`, one call a module.
struct Manifest {
  /// Dependencies by the target's name, tests left out.
  private(set) var targets: [String: Set<String>] = [:]

  init(_ text: String) {
    // Comments first: a bracket in one is not code. Texts must stay, they are the names.
    let code = text.split(separator: "\n").map { $0.prefix(upTo: $0.firstRange(of: "//")?.lowerBound ?? $0.endIndex) }
      .joined(separator: "\n")
    for opening in ["floor(", ".target(", ".systemLibrary(", ".executableTarget("] {
      for range in code.ranges(of: opening) {
        guard let body = Self.bracket(code[range.upperBound...]) else { continue }
        // What lives beside the program, such as the bodies of the fuzzers, is on no floor.
        if body.contains("path: \"Fuzz/") { continue }
        // What a module in C takes from another package it includes; there are no import lines to compare with.
        let names = Self.quoted(body.replacing(".product(name: \"Crypto\", package: \"swift-crypto\")", with: ""))
        guard let name = names.first else { continue }
        // Of a system library, what is quoted behind its name are packages.
        let hasDependencies = opening != ".systemLibrary("
        var dependencies = hasDependencies ? names.dropFirst() : []
        if opening == ".executableTarget(" {
          let list = body.firstRange(of: "dependencies:").flatMap { Self.bracket(body[$0.upperBound...], after: "[") }
          dependencies = ArraySlice(
            Self.quoted((list ?? "").replacing(", package: \"swift-argument-parser\"", with: "")))
        }
        targets[name] = Set(dependencies)
      }
    }
  }

  /// What stands between a bracket that is open (or opens next, after `opening`) and the one that closes it.
  private static func bracket(_ text: Substring, after opening: Character? = nil) -> Substring? {
    var rest = text
    if let opening {
      guard let start = text.firstIndex(of: opening) else { return nil }
      rest = text[text.index(after: start)...]
    }
    var depth = 1
    for index in rest.indices {
      if "([".contains(rest[index]) { depth += 1 }
      if ")]".contains(rest[index]) { depth -= 1 }
      if depth == 0 { return rest[..<index] }
    }
    return nil
  }

  private static func quoted(_ text: some StringProtocol) -> [String] {
    text.split(separator: "\"", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }
      .map { String($0.element) }
  }
}

@Suite struct ManifestTests {
  static let manifest = Manifest(Checkout.read("Package.swift")?.text ?? "")

  @Test("The manifest declares the modules that the floors list")
  func modules() {
    #expect(Self.manifest.targets.keys.sorted() == Module.all.map(\.name).sorted())
  }

  @Test("What the manifest lets a module import, its floor lets it import", arguments: Module.all.map(\.name))
  func allowed(_ name: String) throws {
    let module = try #require(Module.named(name))
    let declared = try #require(Self.manifest.targets[name])
    #expect(declared.compactMap(module.objection).isEmpty, "\(name) declares \(declared.sorted())")
  }

  @Test("A module imports exactly what the manifest declares", arguments: Module.all.map(\.name))
  func used(_ name: String) throws {
    let declared = try #require(Self.manifest.targets[name])
    let imported = Checkout.sources.filter { $0.module == name }.flatMap { SourceCode($0.text).imports.map(\.module) }
    #expect(Set(imported).subtracting(Module.system).subtracting([Module.language]) == declared)
  }

  @Test("A planted dependency is read, and one in a comment is not")
  func planted() throws {
    let manifest = Manifest(
      """
      targets: [
        floor("Values", ["Daemon"]),  // floor("Other", ["No"])
        .target(name: "CLinux"),
        .target(name: "CBoringSSL", dependencies: [.product(name: "Crypto", package: "swift-crypto")]),
        .systemLibrary(name: "CYAML", pkgConfig: "yaml", providers: [.apt(["libyaml-dev"])]),
        floor(
          "Parts",
          [
            "Values", "LinuxIO",
            "LinuxNet",
          ]),
        .executableTarget(
          name: "culvert",
          dependencies: ["Values", .product(name: "ArgumentParser", package: "swift-argument-parser")],
          linkerSettings: [.unsafeFlags(["-static-stdlib"])]),
        tests("ValuesTests", ["Values"]),
      ]
      """)
    #expect(
      manifest.targets == [
        "Values": ["Daemon"], "CLinux": [], "CBoringSSL": [], "CYAML": [], "Parts": ["Values", "LinuxIO", "LinuxNet"],
        "culvert": ["Values", "ArgumentParser"],
      ])
    #expect(Module.named("Values")?.objection(to: "Daemon") != nil)
  }

  @Test("CONTRIBUTING's table of the floors names every module but the bindings of C libraries, on its floor")
  func contributing() throws {
    let text = try #require(Checkout.read("CONTRIBUTING.md")?.text)
    var rows: [String: String] = [:]
    for line in text.split(separator: "\n") where line.hasPrefix("| ") && line.contains("`") {
      let cells = line.split(separator: "|")
      guard cells.count >= 2 else { continue }
      for name in cells[1].split(separator: "`").filter({ !$0.allSatisfy(\.isWhitespace) }) {
        rows[String(name)] = cells[0].split(separator: " ").joined()
      }
    }
    for module in Module.all where !Module.bindings.contains(module.name) {
      #expect(rows[module.name] == module.floor.rawValue)
    }
  }
}
