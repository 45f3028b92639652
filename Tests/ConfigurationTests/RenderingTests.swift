import Configuration
import Testing

/// What is printed, letter for letter.
@Suite struct RenderingTests {
  @Test("Several diagnostics stand in file order, each with its lines, and are counted")
  func several() {
    let report = check(
      """
      services:
      - name: vpn
        addr: :8421
        handler:
          type: tun
          metadata:
            keepAlive: yes
        listener:
          type: tunn
          metadata:
            net: 10.0.0.1/24
      log:
        levle: debug

      """, name: "server.yaml")
    #expect(
      report.rendered == """
        error[CV0104]: `keepAlive` takes `true` or `false`, not text
         --> server.yaml:7:18
          |
        7 |       keepAlive: yes
          |                  ^^^ not a boolean
          |
          = note: GOST reads `yes` as text, and so as `false`
        help: write `true`
          |
        7 |       keepAlive: true
          |                  ~~~~

        error[CV0301]: unknown listener `tunn`
         --> server.yaml:9:11
          |
        9 |     type: tunn
          |           ^^^^ did you mean `tun`?
        help: write `tun`
          |
        9 |     type: tun
          |           ~~~

        error[CV0102]: unknown key `levle` in the log
          --> server.yaml:13:3
           |
        13 |   levle: debug
           |   ^^^^^ did you mean `level`?
        help: write `level`
           |
        13 |   level: debug
           |   ~~~~~

        3 errors

        """)
  }

  @Test("Two labels on one line stand below each other")
  func sameLine() {
    let report = check("a: {b: 1, b: 2}\nservices: []\n")
    let first = report.diagnostics.first { $0.code == .duplicateKey }
    let text = first.map { DiagnosticRenderer(sources: report.sources).render($0) }
    #expect(
      text == """
        error[CV0101]: the key `b` stands twice in one mapping
         --> a.yaml:1:11
          |
        1 | a: {b: 1, b: 2}
          |     -     ^ again here
          |     first here
          |
          = note: only one of the two values could be in force, and a reader cannot see which
          = help: keep one of them

        """)
  }

  @Test("Wide characters, tabs and control characters keep the caret in its place")
  func wide() {
    let report = check("services: [{name: 日本, \tadr: x, handler: {type: relay}, listener: {type: tls}}]\n")
    let first = report.diagnostics.first { $0.code == .unknownKey }
    let text = first.map { DiagnosticRenderer(sources: report.sources, width: 120).render($0) }
    #expect(text?.contains("1 | services: [{name: 日本,     adr: x, handler") == true, "\(text ?? "")")
    #expect(text?.contains("  |                             ^^^ did you mean `addr`?") == true, "\(text ?? "")")
    let escaped = check("services:\n- na\u{200B}me: x\u{202E}y\n").rendered
    #expect(escaped.contains("na\\u{200b}me") && escaped.contains("x\\u{202e}y"))
    #expect(!escaped.contains("\u{202E}"))
  }

  @Test("A long line is cut around the span, and no line is wider than the terminal", arguments: [40, 60, 80])
  func width(_ width: Int) {
    let long =
      String(repeating: "10.0.0.1/24,", count: 30) + "10.0.0.x/24," + String(repeating: "10.1.0.1/24,", count: 30)
    let report = check(tunServer(long))
    let text = DiagnosticRenderer(sources: report.sources, width: width).render(report.diagnostics)
    #expect(text.contains("10.0.0.x/24"))
    for line in text.split(separator: "\n") where line.contains(" |") {
      #expect(line.count <= width, "\(line)")
    }
    #expect(text.contains("…"))
  }

  @Test("Colours come only when asked for, and change nothing else")
  func colors() {
    let report = check(Examples.client, with: Examples.serverAuto)
    let plain = report.rendered
    #expect(!plain.contains("\u{1B}"))
    let colored = DiagnosticRenderer(sources: report.sources, colors: true).render(report.diagnostics)
    var stripped = ""
    var isEscape = false
    for character in colored {
      if character == "\u{1B}" { isEscape = true }
      if !isEscape { stripped.append(character) }
      if isEscape, character == "m" { isEscape = false }
    }
    #expect(stripped == plain)
    #expect(colored.contains("\u{1B}[1;31merror[CV0601]\u{1B}[0m"))
  }

  @Test("JSON has every field, escaped")
  func json() {
    let report = check("services:\n- name: \"a\\\"b\"\n  adr: :1\n  handler: {type: relay}\n  listener: {type: tls}\n")
    #expect(
      DiagnosticJSON.render(report.diagnostics.filter { $0.code == .unknownKey }, sources: report.sources)
        == #"{"schema":"culvert.diagnostics/1","exit":1,"errors":1,"notYet":0,"warnings":0,"diagnostics":[{"code":"CV0102","severity":"error","security":false,"message":"unknown key `adr` in a service","file":"a.yaml","line":3,"column":3,"endLine":3,"endColumn":6,"label":"did you mean `addr`?","related":[],"notes":[],"help":[],"fix":{"title":"write `addr`","certain":true,"edits":[{"file":"a.yaml","start":27,"end":30,"replacement":"addr"}]}}],"accepted":[]}"#
        + "\n")
    #expect(JSONWriter.quoted("a\u{1}\"\\\n\u{2028}ü") == "\"a\\u0001\\\"\\\\\\n\\u2028ü\"")
  }

  @Test("The near name is the nearest, and none when nothing is near")
  func nearNames() {
    #expect(NearNames.best(for: "nett", among: ["mtu", "net", "name"]) == "net")
    #expect(NearNames.best(for: "keepalvie", among: ["keepalive", "ttl"]) == "keepalive")
    #expect(NearNames.best(for: "pass", among: ["username", "password"]) == "password")
    #expect(NearNames.best(for: "RELAY", among: ["relay"]) == "relay")
    #expect(NearNames.best(for: "foo", among: ["username", "password"]) == nil)
    #expect(NearNames.best(for: "", among: ["a"]) == nil)
  }

  @Test("A label on a line that is too long stands behind its mark, or begins below it")
  func labelsOfLongLines() throws {
    let nets = (0..<120).map { "10.\($0).0.1/24" }.joined(separator: ",")
    let text = tunServer("\"\(nets),10.200.0.1/99\"")
    let report = check(text)
    let rows = DiagnosticRenderer(sources: report.sources, width: 80).render(report.diagnostics).split(separator: "\n")
    let marks = try #require(rows.firstIndex { $0.contains("^^^") })
    let start = try #require(rows[marks].firstIndex(of: "^")).utf16Offset(in: rows[marks])
    let label = try #require(rows[(marks + 1)...].first).prefix { $0 == " " || $0 == "|" }.count
    #expect(rows[marks - 1].dropFirst(start).hasPrefix("10.200.0.1/99"), "\(rows[marks - 1])")
    #expect(label == start && rows[marks + 1].hasSuffix("a prefix length of IPv4 is a number from 0 to 32"))
    let short = tunServer("\"\(nets)\"", listener: []).with("net: \"", "nett: 5, net: \"")
      .with("    metadata:\n      nett", "    metadata: {nett").with("/24\"\n", "/24\", mtuu: 5}\n")
    let other = check(short)
    let rendered = DiagnosticRenderer(sources: other.sources, width: 60).render(try #require(other.diagnostics.last))
    #expect(rendered.contains("^^^^ did you mean `mtu`?"), "\(rendered)")
  }

  @Test("A fix that is a guess says so, and the hint counts the others")
  func guesses() {
    let text =
      relayServer(["chain: nosuch"]).with("type: relay", "type: relya") + """
        chains:
        - name: out
          hops: [{nodes: [{addr: "h.example.com:1", connector: {type: relay}, dialer: {type: tls, tls: {secure: true}}}]}]

        """
    let report = check(text)
    let renderer = DiagnosticRenderer(sources: report.sources)
    #expect(report.rendered.contains("help: write `out`, if that is meant\n"), "\(report.rendered)")
    #expect(report.rendered.contains("help: write `relay`\n"))
    #expect(
      renderer.hint(report.diagnostics)
        == "`culvert explain CV0301` says more; `culvert check --fix` applies one fix, `--dry-run` shows it")
    #expect(renderer.hint([]) == nil)
  }

  @Test("A type under a misspelt key is no default type")
  func misspeltType() {
    let report = check(relayServer().with("    type: tls", "    typ: tls\n    metadata: {backlog: 3}"))
    #expect(report.codes == [.unknownKey], "\(report.rendered)")
    let node = check(tunClient(dialer: "icmp6\n        metadata: {maxStreams: 3}").with("type: icmp6", "tpye: icmp6"))
    #expect(node.codes == [.unknownKey], "\(node.rendered)")
    #expect(node.fixed(.unknownKey)?.contains("type: icmp6") == true)
  }
}
