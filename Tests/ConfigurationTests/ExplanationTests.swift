import Configuration
import Testing

@Suite struct ExplanationTests {
  @Test("Every code has a page, and every page its code", arguments: DiagnosticCode.allCases)
  func page(_ code: DiagnosticCode) throws {
    let page = try #require(Explanations.page(for: code))
    #expect(!page.title.isEmpty && !page.title.hasSuffix("."))
    let text = try #require(Explanations.text(for: code))
    #expect(text.hasPrefix("\(code.rawValue): "))
    #expect(Explanations.all.count { $0.code == code } == 1)
  }

  @Test("The wrong example of a page gives its code, the right one is good", arguments: Explanations.all.map(\.code))
  func examples(_ code: DiagnosticCode) throws {
    let page = try #require(Explanations.page(for: code))
    if let wrong = page.wrong {
      let report = run(wrong)
      #expect(report.codes.contains(code), "\(wrong.file)\n\(report.rendered)")
    }
    if let right = page.right {
      let report = run(right)
      #expect(!report.codes.contains(code), "\(right.file)\n\(report.rendered)")
      #expect(report.exitCode == 0, "\(right.file)\n\(report.rendered)")
    }
  }

  @Test("Every code that has no example is made by a file of its own")
  func codesWithoutExample() {
    let bomb = (1..<9).map { level in
      "a\(level): &a\(level) [" + [String](repeating: "*a\(level - 1)", count: 9).joined(separator: ",") + "]"
    }
    let producers: [DiagnosticCode: [Diagnostic]] = [
      .fileUnreadable: [ConfigurationLoader.unreadable(name: "x", reason: "No such file or directory")],
      .invalidUTF8: bytes([0x61, 0xFF]),
      .controlCharacter: bytes([0x61, 0x07]),
      .fileTooLarge: bytes([UInt8](repeating: 0x23, count: 1 << 20 | 1)),
      .tooDeep: check(String(repeating: "[", count: 100)).diagnostics,
      .tooManyValues: check("a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + bomb.joined(separator: "\n")).diagnostics,
      .scalarTooLong: check("a: " + String(repeating: "x", count: 70_000)).diagnostics,
      .badArgument: Checker.check([], arguments: CommandLineArguments(services: ["a+b+c://:1"])).diagnostics,
      .resolvedFamilyMismatch: check(
        Examples.client, host: HostFacts(resolved: ["ipv6.server.com": [.v4(0xC000_0201)]])
      ).diagnostics,
      .looseKeyFile: check(
        relayServer() + "    tls: {certFile: c.pem, keyFile: k.pem}\n", host: HostFacts(permissions: ["k.pem": 0o644])
      ).diagnostics,
      .looseConfigurationFile: check(
        relayServer(["auth: {username: ann, password: 0tHKhzDGbAcBKmhx}"]),
        host: HostFacts(permissions: ["a.yaml": 0o644])
      ).diagnostics,
    ]
    // Each of those about this host is made by `HostRuleTests`.
    for page in Explanations.all where page.wrong == nil && !page.code.isEnvironment {
      #expect(producers[page.code]?.contains { $0.code == page.code } == true, "\(page.code.rawValue)")
    }
  }

  @Test("A code is found by its number in any spelling")
  func spelling() {
    #expect(DiagnosticCode(text: "cv0601") == .peerDoesNotSpeak)
    #expect(DiagnosticCode(text: "601") == .peerDoesNotSpeak)
    #expect(DiagnosticCode(text: "CV9999") == nil)
    #expect(DiagnosticCode(text: "") == nil)
    #expect(DiagnosticCode(text: "CVCV0601") == nil)
  }

  private func run(_ example: Explanation.Example) -> CheckReport {
    if let peer = example.peer {
      check(example.file, with: peer, posture: true)
    } else {
      check(example.file, posture: true)
    }
  }

  private func bytes(_ bytes: [UInt8]) -> [Diagnostic] {
    Checker.check([(name: "a.yaml", bytes: bytes)]).diagnostics
  }
}
