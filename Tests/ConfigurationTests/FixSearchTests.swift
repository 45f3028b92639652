import Configuration
import Testing

/// Fixes that are found by trying: what is offered, that it passes, and what is never offered.
@Suite("Fixes that are tried out") struct FixSearchTests {
  @Test("A key that slipped is offered the column in which the file is good")
  func slips() {
    let good = relayServer(["auth:", "  username: ann", "  password: 0tHKhzDGbAcBKmhx"])
    for (line, slipped) in [
      ("    auth:\n", "  auth:\n"), ("    auth:\n", "   auth:\n"), ("      username", "    username"),
      ("      password", "        password"), ("  handler:\n", "handler:\n"), ("    auth:\n", "\tauth:\n"),
    ] {
      let report = check(good.with(line, slipped))
      #expect(mended(report) == good, "\(report.rendered)")
    }
    // A block that was moved as a whole comes back as a whole.
    let block = good.with("    auth:\n      username: ann\n      password", "  auth:\n    username: ann\n    password")
    #expect(mended(check(block)) == good, "\(check(block).rendered)")
  }

  @Test("A key in the wrong mapping is offered a move to the one that takes it, with its comment")
  func moves() {
    let good = tunServer(handler: ["keepAlive: true  # ours"])
    let up = good.with("    metadata:\n      keepAlive: true  # ours\n", "    keepAlive: true  # ours\n")
    #expect(mended(check(up)) == good, "\(check(up).rendered)")
    let down = good.with("  addr: :8421\n", "").with("  handler:\n", "  handler:\n    addr: :8421\n")
    #expect(mended(check(down)) == good, "\(check(down).rendered)")
  }

  @Test("Of a key that stands twice in the same words the second goes for certain; else the reader chooses")
  func duplicates() throws {
    let good = tunServer(listener: ["mtu: 1400"])
    let same = check(good.with("      mtu: 1400\n", "      mtu: 1400\n      mtu: 1400\n"))
    #expect(mended(same) == good && same.first(.duplicateKey)?.fix?.isCertain == true)
    let other = try #require(
      check(good.with("      mtu: 1400\n", "      mtu: 1300\n      mtu: 1400\n")).first(.duplicateKey))
    #expect(other.fix?.title == "keep the first" && other.fix?.isCertain == false)
    #expect(other.alternatives.map(\.title) == ["keep the last"])
  }

  @Test("Types that were exchanged are exchanged back")
  func types() {
    let good = relayServer()
    #expect(
      mended(
        check(good.with("type: relay", "type: tls").with("listener:\n    type: tls", "listener:\n    type: relay")))
        == good)
  }

  @Test(
    "What is no text where text stands, and the like, is offered the form that is wanted",
    arguments: [
      ("type: tun\n  listener", "type: [tun]\n  listener", "type: tun\n  listener"),
      ("name: vpn", "name: [vpn", nil), ("name: vpn", "name: [v, p]", "name: \"[v, p]\""),
      ("addr: :8421", "addr: {}", "addr: :8421"), ("mtu: 1400", "mtu: {}", ""),
      ("mtu: 1400", "mtu: [1400]", "mtu: 1400"),
      ("net: 10.0.0.1/24", "net: {}", "net: 192.168.123.1/24"),
    ] as [(String, String, String?)])
  func values(_ right: String, _ wrong: String, _ fixed: String?) throws {
    let good = tunServer(listener: ["mtu: 1400"])
    let report = check(good.with(right, wrong))
    #expect(report.exitCode != 0)
    let wanted = fixed.map { good.with($0.isEmpty ? "      \(right)\n" : right, $0) }
    #expect(mended(report) == wanted, "\(report.rendered)")
    #expect(report.diagnostics.allSatisfy { $0.fix?.isCertain != true })
  }

  @Test("A byte that is not UTF-8 is taken out, or read as Latin-1 inside a word")
  func bytes() throws {
    let bytes = Array(tunServer().utf8)
    let place = try #require(bytes.firstIndex(of: UInt8(ascii: "p")))
    let broken = Array(bytes[..<place]) + [0x81, 0x92, 0x20] + bytes[place...]
    let report = Checker.check([(name: "a.yaml", bytes: broken)])
    #expect(report.first(.invalidUTF8)?.fix?.title == "remove the 2 bytes")
    let letter = Checker.check([(name: "a.yaml", bytes: Array(bytes[..<(place + 1)]) + [0xE4] + bytes[(place + 1)...])])
    #expect(letter.first(.invalidUTF8)?.fix?.title == "read it as Latin-1: `ä`")
    #expect(letter.first(.invalidUTF8)?.alternatives.map(\.title) == ["remove the byte"])
  }

  @Test(
    "Nothing that protects is offered to be left out",
    arguments: [
      ("auth:", "auth: banana"), ("auth:", "auth: {username: {}, password: x}"), ("auther:", "auther: [nobody]"),
      ("chain:", "chain: {}"), ("tls:", "tls: 7"), ("metadata:", "metadata: {egress.deny: {}}"),
    ])
  func protections(_ key: String, _ line: String) {
    for text in [relayServer([line]), relayServer([line], listener: "tls") + "    tls: {caFile: {}}\n"] {
      let report = check(text)
      #expect(report.exitCode != 0)
      for fix in report.diagnostics.flatMap({ [$0.fix].compactMap { $0 } + $0.alternatives }) {
        let after = applied(fix, to: text)
        #expect(after.contains(key.dropLast()), "\(fix.title)\n\(after)")
        #expect(text.contains("caFile") == after.contains("caFile"), "\(fix.title)\n\(after)")
      }
    }
    // A dialer verifies no less than before.
    let client = tunClient(node: ["  tls: {secure: [1, 2]}"])
    #expect(mended(check(client))?.contains("secure: true") == true, "\(check(client).rendered)")
  }

  @Test("A guess is never written by --fix, and its text is in JSON and on the terminal")
  func guesses() {
    let broken = tunServer(listener: ["mtu: 1300", "mtu: 1400"])
    let outcome = Fixer.fix([(name: "a.yaml", bytes: Array(broken.utf8))])
    #expect(outcome.applied.isEmpty && outcome.files.first?.isChanged == false)
    let report = check(broken)
    #expect(
      report.rendered == """
        error[CV0101]: the key `mtu` stands twice in one mapping
          --> a.yaml:11:7
           |
        10 |       mtu: 1300
           |       --- first here
        11 |       mtu: 1400
           |       ^^^ again here
           |
           = note: only one of the two values could be in force, and a reader cannot see which
           = help: keep one of them
        help: keep the first, if that is meant
           |
        11 -       mtu: 1400
        or: keep the last
           |
        10 -       mtu: 1300

        1 error

        """, "\(report.rendered)")
    let json = DiagnosticJSON.render(report.diagnostics, sources: report.sources)
    #expect(json.contains(#""fix":{"title":"keep the first","certain":false,"edits":[{"#), "\(json)")
    #expect(json.contains(#""alternatives":[{"title":"keep the last","certain":false,"edits":[{"#), "\(json)")
  }

  @Test("A moved secret stands in no replacement")
  func secrets() {
    let text = relayServer(["auth:", "  username: ann"]).with(
      "      username: ann\n", "      username: ann\n    password: 0tHKhzDGbAcBKmhx\n")
    let report = check(text)
    #expect(report.exitCode == 1 && !report.rendered.contains("0tHK"), "\(report.rendered)")
    let edits = report.diagnostics.flatMap { [$0.fix].compactMap { $0 } + $0.alternatives }.flatMap(\.edits)
    #expect(!edits.isEmpty && edits.allSatisfy { !$0.replacement.contains("0tHK") })
  }

  /// The file after the fix of the first error that has one.
  private func mended(_ report: CheckReport) -> String? {
    guard let fix = report.diagnostics.first(where: { $0.severity <= .notYet && $0.fix != nil })?.fix,
      let file = report.sources.files.first
    else { return nil }
    let text = applied(fix, to: String(decoding: file.bytes, as: UTF8.self))
    #expect(check(text, name: file.name).exitCode == 0, "\(text)")
    return text
  }

  private func applied(_ fix: Diagnostic.Fix, to text: String) -> String {
    var bytes = Array(text.utf8)
    for edit in fix.edits.sorted(by: { ($0.span.start, $0.span.end) > ($1.span.start, $1.span.end) }) {
      bytes.replaceSubrange(edit.span.start..<edit.span.end, with: Array(edit.replacement.utf8))
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
