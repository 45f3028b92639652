import Testing

/// Rules that a file either keeps or breaks.
enum Rule {
  /// What traps when it is wrong. The exceptions stand below with their reasons.
  static let traps = [
    "fatalError", "preconditionFailure", "assertionFailure", "unsafelyUnwrapped", "unsafeDowncast", "unsafeBitCast",
  ]

  /// A file and what it may use all the same, and why.
  static let exceptions: [(path: String, what: String, why: String)] = [
    (
      "Sources/PacketOffload/Coalescer.swift", "unsafelyUnwrapped",
      "the batch's memory is allocated in its initialiser and always has an address; asked for once a packet"
    ),
    (
      "Sources/PacketOffload/FlowSegment.swift", "unsafelyUnwrapped",
      "the pointer made of the number 1 is never nil; it stands for a packet of no bytes and is never read"
    ),
  ]

  /// What makes two runs differ: nothing of it on the floors whose modules a simulator runs.
  static let surprises = [
    "SystemRandomNumberGenerator", "ContinuousClock", "SuspendingClock", "Task", "actor", "await", "AsyncStream",
    "Hasher", "ProcessInfo",
  ]

  /// Uses that take the system's generator unless one is handed in.
  static let draws = [".random(", ".randomElement(", ".shuffled(", ".shuffle("]

  static func traps(in file: SourceFile) -> [String] {
    let code = SourceCode(file.text)
    var found: [String] = []
    for what in traps where !exceptions.contains(where: { $0.path == file.path && $0.what == what }) {
      found += code.lines(with: what).map { "\(file.path):\($0): \(what)" }
    }
    return found + code.forces.map { "\(file.path):\($0): a force (`!`)" }
  }

  static func surprises(in file: SourceFile) -> [String] {
    guard Module.named(file.module)?.floor.isDeterministic == true else { return [] }
    let code = SourceCode(file.text)
    var found = surprises.flatMap { what in code.lines(with: what).map { "\(file.path):\($0): \(what)" } }
    for draw in draws {
      found += code.lines(with: draw).filter { !code.lines[$0 - 1].contains("using:") }
        .map { "\(file.path):\($0): \(draw)…) without a generator" }
    }
    return found
  }

  static func length(of file: SourceFile) -> Int {
    file.text.split(separator: "\n", omittingEmptySubsequences: false).count - 1
  }
}

@Suite struct RuleTests {
  @Test("Nothing in the program forces a value or gives up")
  func traps() {
    let found = Checkout.sources.flatMap(Rule.traps)
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test("Every exception is used")
  func exceptions() {
    for (path, what, _) in Rule.exceptions {
      let file = Checkout.sources.first { $0.path == path }
      #expect(file.map { SourceCode($0.text).lines(with: what).isEmpty } == false, "\(path): \(what)")
    }
  }

  @Test("Values and protocols ask no clock and draw no lots")
  func determinism() {
    let found = Checkout.sources.flatMap(Rule.surprises)
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test("No file of the program has more than 800 lines")
  func length() {
    let long = Checkout.sources.filter { Rule.length(of: $0) > 800 }.map(\.path)
    #expect(long.isEmpty)
    #expect(Rule.length(of: SourceFile(path: "", text: String(repeating: "\n", count: 801))) == 801)
  }

  @Test("Nothing is left for later")
  func later() {
    let found = Checkout.sources.flatMap { file in
      file.text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().filter { _, line in
        line.split { !$0.isLetter }.contains { ["TODO", "FIXME", "XXX", "HACK"].contains($0) }
      }.map { "\(file.path):\($0.offset + 1)" }
    }
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test("No tracked file knows the machine that it was written on")
  func places() {
    #expect(Checkout.tracked.contains("Package.swift"))
    // In two halves, or this file would be one that knows.
    let places = ["/wo" + "rk/", "/ro" + "ot/", "/opt/" + "swift", "/ho" + "me/"]
    let found = Checkout.tracked.flatMap { path -> [String] in
      guard let file = Checkout.read(path) else { return [] }
      return places.filter(file.text.contains).map { "\(path): \($0)" }
    }
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test(
    "Planted breaches are found",
    arguments: [
      "let a = b!", "let a = b()!", "let a = b[0]!", "let a = try! b()", "let a = b as! C", "var a: Int!",
      "fatalError()", "preconditionFailure(\"no\")", "let a = \"\\(b!)\"", "let a = unsafeBitCast(b, to: C.self)",
    ])
  func plantedTraps(_ line: String) {
    #expect(!Rule.traps(in: SourceFile(path: "Sources/Parts/Planted.swift", text: line)).isEmpty)
  }

  @Test(
    "Planted surprises are found",
    arguments: [
      "let a = Int.random(in: 0..<9)", "var g = SystemRandomNumberGenerator()", "let n = ContinuousClock.now",
      "let a = b.shuffled()", "Task { }", "let a = b.randomElement()",
    ])
  func plantedSurprises(_ line: String) {
    #expect(!Rule.surprises(in: SourceFile(path: "Sources/TunProtocol/Planted.swift", text: line)).isEmpty)
    #expect(Rule.surprises(in: SourceFile(path: "Sources/LinuxIO/Planted.swift", text: line)).isEmpty)
  }

  @Test("What only looks like a breach is none")
  func looks() {
    let text = """
      // fatalError is not called, and b! is not forced. import Foundation
      let a = !b, c = d != e, f = (!g), h = "really! \\(i) fatalError()"
      let myfatalError = 1 ; let j = k.random(in: 0..<9, using: &l)
      guard !m, n || !o else { return }
      """
    let file = SourceFile(path: "Sources/Values/Good.swift", text: text)
    #expect(Rule.traps(in: file).isEmpty)
    #expect(Rule.surprises(in: file).isEmpty)
  }
}
