import Configuration
import Testing

@Suite("Fixes that are certain") struct FixerTests {
  @Test("Comments, order and quotes stay, and what is left is good")
  func whole() throws {
    let broken = """
      # The office's tunnel.
      services:
      - nmae: vpn   # ours
        addr: :8421
        handler: {type: tun, metadata: {keepAlive: yes}}

        listener:
          # a TUN
          type: "tunn"
          metadata:
            nett: 10.0.0.1/24  # the inside
      log:
        levle: debug

      """
    let outcome = fix(broken)
    #expect(
      text(outcome) == """
        # The office's tunnel.
        services:
        - name: vpn   # ours
          addr: :8421
          handler: {type: tun, metadata: {keepAlive: true}}

          listener:
            # a TUN
            type: "tun"
            metadata:
              net: 10.0.0.1/24  # the inside
        log:
          level: debug

        """)
    #expect(outcome.report.exitCode == 0, "\(outcome.report.rendered)")
    #expect(Set(outcome.applied) == [.unknownKey, .wrongType, .unknownPart], "\(outcome.applied)")
    let change = try #require(outcome.files.first)
    #expect(
      UnifiedDiff().render(change)
        == """
        --- a.yaml
        +++ a.yaml
        @@ -1,13 +1,13 @@
         # The office's tunnel.
         services:
        -- nmae: vpn   # ours
        +- name: vpn   # ours
           addr: :8421
        -  handler: {type: tun, metadata: {keepAlive: yes}}
        +  handler: {type: tun, metadata: {keepAlive: true}}

           listener:
             # a TUN
        -    type: "tunn"
        +    type: "tun"
             metadata:
        -      nett: 10.0.0.1/24  # the inside
        +      net: 10.0.0.1/24  # the inside
         log:
        -  levle: debug
        +  level: debug

        """.with("\n\n   listener", "\n \n   listener"))
  }

  @Test("A fix that would make a key stand twice is not applied")
  func twice() {
    let broken = tunServer().with("  addr: :8421\n", "  addr: :8421\n  adr: :8422\n")
    let outcome = fix(broken)
    #expect(text(outcome) == broken && outcome.applied.isEmpty)
    #expect(outcome.report.codes.contains(.unknownKey))
    // The others are applied all the same.
    let more = fix(broken.with("type: tun\n", "type: tunn\n"))
    #expect(text(more) == broken && more.applied == [.unknownPart, .unknownPart], "\(more.applied)")
  }

  @Test("What a syntax error hid is fixed as well")
  func hidden() {
    let outcome = fix(tunServer().with("  handler:\n", "\t\n  handlr:\n"))
    #expect(text(outcome) == tunServer().with("  handler:\n", "\n  handler:\n"), "\(outcome.report.rendered)")
  }

  @Test("A part that is written by its type alone gets the key")
  func types() {
    let short = "services:\n- name: r\n  addr: 127.0.0.1:1\n  handler: relay # ours\n  listener: tls\n"
    let outcome = fix(short)
    #expect(
      text(outcome)
        == short.with("handler: relay", "handler: {type: relay}").with("listener: tls", "listener: {type: tls}"))
    #expect(outcome.report.diagnostics.isEmpty, "\(outcome.report.rendered)")
    #expect(text(fix(short.with("relay", "nothing"))).contains("handler: nothing"))
  }

  @Test("A guess is never applied, and what the file accepts stays")
  func guesses() {
    let guess = tunClient().with("chain: out", "chain: elsewhere")
    let outcome = fix(guess)
    #expect(text(outcome) == guess && outcome.report.exitCode == 1)
    let accepted = relayServer(listener: "icmp").with(":8443", ":8 # culvert: accept CV0407 for old clients")
    #expect(
      check(accepted.with(" # culvert: accept CV0407 for old clients", ""), posture: true).codes.contains(
        .portWithoutMeaning))
    #expect(text(fix(accepted)) == accepted)
  }

  @Test("The other end's file is looked at and left alone")
  func peers() {
    let outcome = Fixer.fix(
      [(name: "client.yaml", bytes: Array(Examples.client.utf8))],
      with: [(name: "server.yaml", bytes: Array(Examples.serverAuto.utf8))])
    #expect(outcome.files.count == 1 && outcome.applied.isEmpty)
    let server = Fixer.fix(
      [(name: "server.yaml", bytes: Array(Examples.serverAuto.utf8))],
      with: [(name: "client.yaml", bytes: Array(Examples.client.utf8))])
    #expect(text(server) == Examples.serverAuto.with("auto", "relay") && server.applied == [.peerDoesNotSpeak])
  }

  @Test("Arguments are mended too")
  func arguments() {
    let outcome = Fixer.fix(
      [], arguments: CommandLineArguments(services: ["relay+tlss://:8443"], nodes: ["rellay+tls://h:1"]))
    let texts = outcome.arguments.map { String(decoding: $0.after.bytes, as: UTF8.self) }
    #expect(texts == ["relay+tls://h:1", "relay+tls://:8443"], "\(outcome.report.rendered)")
  }

  @Test("A secret is not printed by the difference")
  func secrets() throws {
    let misspelt = fix(relayServer(["auth:", "  user: ann", "  pass: hunter2"]))
    let shown = UnifiedDiff().render(try #require(misspelt.files.first))
    #expect(shown.contains("-      pass: ******\n") && shown.contains("+      password: ******\n"), "\(shown)")
    #expect(text(misspelt).contains("password: hunter2") && !shown.contains("hunter2"))
    let outcome = fix(relayServer(["auth: {usrname: ann, password: hunter2}"]))
    let diff = UnifiedDiff(colors: true).render(try #require(outcome.files.first))
    #expect(diff.contains("username") && diff.contains("******") && !diff.contains("hunter2"), "\(diff)")
    #expect(diff.contains("\u{1B}[31m-") && diff.contains("\u{1B}[32m+"))
    #expect(text(outcome).contains("hunter2"))
  }

  @Test("Every broken file that we know ends without a certain fix, or with one that would do harm, and never worse")
  func corpus() {
    let files =
      UserFile.refused.map(\.text) + Explanations.all.compactMap { $0.wrong?.file }
      + MutationTests.files.flatMap { file in
        // Each line without its last letter.
        file.split(separator: "\n", omittingEmptySubsequences: false).indices.map { index in
          var lines = file.split(separator: "\n", omittingEmptySubsequences: false)
          lines[index] = lines[index].dropLast()
          return lines.joined(separator: "\n")
        }
      }
    for file in files {
      let before = check(file, posture: true)
      let outcome = fix(file)
      #expect(
        outcome.report.exitCode != 2 || before.exitCode == 2, "\(file)\n---\n\(text(outcome))\(outcome.report.rendered)"
      )
      #expect(outcome.applied.isEmpty == !(outcome.files.first?.isChanged ?? false))
      let again = fix(text(outcome))
      #expect(again.applied.isEmpty, "\(file)\n---\n\(text(outcome))\n---\n\(text(again))")
    }
  }

  /// Files as users break them: what is said, in order, and nothing that follows from it.
  @Test("One cause gives one diagnostic")
  func causes() {
    let chain = tunClient(target: "192.0.2.1:8421")
    for (text, codes) in [
      (
        tunServer().with("  listener:\n", "    listener:\n").with(
          "    type: tun\n    metadata", "      type: tun\n      metadata"
        )
        .with("      net:", "        net:"), [.misplacedKey]
      ),
      (tunClient().with("chain: out", "chain: ou"), [.missingReference]),
      (tunClient().with("    nodes:\n    - name: node", "    node:\n    - name: node"), [.unknownKey]),
      (chain.with("- name: out", "- nmae: out"), [.unknownKey]),
      (chain.with("chains:", "chain:"), [.unknownKey]),
      (
        relayServer(["auther: users"]) + "auther:\n- name: users\n  auths: [{username: a, password: b}]\n",
        [.unknownKey]
      ),
      (tunClient().with("      addr: relay", "      adr: relay"), [.unknownKey]),
    ] as [(String, [DiagnosticCode])] {
      let report = check(text)
      #expect(report.codes == codes, "\(text)\(report.rendered)")
    }
  }

  private func fix(_ text: String) -> Fixer.Outcome { Fixer.fix([(name: "a.yaml", bytes: Array(text.utf8))]) }

  private func text(_ outcome: Fixer.Outcome) -> String {
    String(decoding: outcome.files.first?.after.bytes ?? [], as: UTF8.self)
  }
}
