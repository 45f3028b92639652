import Configuration
import Testing

/// What GOST leaves open in silence is a warning, and an error under `--strict`.
@Suite("Posture") struct PostureTests {
  @Test("Every hole that GOST leaves is named, and nothing else")
  func holes() {
    let holes: [(String, [DiagnosticCode])] = [
      (relayServer(), [.openProxy]),
      (relayServer(addr: "127.0.0.1:8443"), []),
      (relayServer(["auth: {username: ann, password: long-enough}"]), []),
      (relayServer(["auth: {username: ann}"]), [.emptyPassword]),
      (relayServer(["auth: {username: ann, password: ''}"]), [.emptyPassword]),
      (relayServer() + "  forwarder: {nodes: [{addr: '192.0.2.1:80'}]}\n", []),
      (tunServer(), [.plainTunnel]),
      (tunServer(addr: "127.0.0.1:8421"), []),
      (tunServer(addr: "\"[::1]:8421\""), []),
      (tunClient(), [.unverifiedTLS]),
      (tunClient(node: ["  tls: {secure: true}"]), []),
      (tunClient(node: ["  tls: {secure: false}"]), [.unverifiedTLS]),
      (tunClient(node: ["  tls: {caFile: ca.pem}"]), []),
      (tunClient(addr: "127.0.0.1:8443"), []),
      (tunClient(dialer: "tcp"), [.plainTunnel]),
      (tunClient(addr: "127.0.0.1:8443", dialer: "tcp"), []),
      (
        tunClient(target: "192.0.2.1:8421").with("    chain: out\n", "").with("chains:", "x-chains:"),
        [.keepaliveTooLate, .plainTunnel]
      ),
      ("services:\n- {name: a, addr: ':1080', handler: {type: http}}\n", [.openProxy]),
    ]
    for (text, codes) in holes {
      let report = check(text, posture: true)
      #expect(report.codes == codes, "\(text)\(report.rendered)")
      #expect(report.exitCode == 0)
      let strict = check(text, strict: true)
      #expect(strict.codes == codes && strict.exitCode == (codes.isEmpty ? 0 : 1), "\(text)\(strict.rendered)")
    }
  }

  @Test("Strict leaves warnings that are no hole as they are")
  func others() {
    let unused =
      relayServer(["auth: {username: ann, password: long-enough}"])
      + "chains: [{name: c, hops: [{nodes: [{addr: 'h:1', connector: {type: relay}, dialer: {type: tcp}}]}]}]\n"
    let report = check(unused, strict: true)
    #expect(report.codes == [.unusedObject] && report.exitCode == 0, "\(report.rendered)")
  }

  @Test("A page of numbers for everybody is named, and is no hole")
  func numbers() {
    func service(_ addr: String, _ handler: String = "") -> String {
      "services:\n- {name: n, addr: '\(addr)', handler: {type: metrics\(handler)}, listener: {type: tcp}}\n"
    }
    for text in [service(":9641"), service("192.0.2.1:9641")] {
      let report = check(text, strict: true)
      #expect(report.codes == [.openMetrics] && report.exitCode == 0, "\(report.rendered)")
    }
    for text in [
      service("127.0.0.1:9641"), service("[::1]:9641"),
      service(":9641", ", auth: {username: prom, password: long-enough}, metadata: {path: /numbers}"),
    ] {
      #expect(check(text, strict: true).diagnostics.isEmpty, "\(text)")
    }
  }

  @Test("A page of numbers leads nowhere: a chain and a forwarder are said so")
  func leadsNowhere() throws {
    let service = "services:\n- {name: n, addr: '127.0.0.1:9641', handler: {type: metrics}, listener: {type: tcp}}\n"
    let chain =
      "chains: [{name: c, hops: [{nodes: [{addr: 'h:1', connector: {type: relay}, dialer: {type: tcp}}]}]}]\n"
    let chained = check(service.with("type: metrics", "type: metrics, chain: c") + chain)
    #expect(chained.codes == [.keyWithoutEffect] && chained.exitCode == 0, "\(chained.rendered)")
    let forwarded = check(service.with("{type: tcp}", "{type: tcp}, forwarder: {nodes: [{addr: '127.0.0.1:1'}]}"))
    #expect(forwarded.codes == [.forwarderIgnored] && forwarded.rendered.contains("answers by itself"))
    let host = HostRuleTests.facts()
    let plan = PlanBuilder(try #require(check(service, host: host).configuration), host).build()
    #expect(plan.services.first?.ways.isEmpty == true)
  }

  @Test("A relay on ICMP is open to whom can ping")
  func icmp() {
    let report = check(Examples.serverAuto.with("type: auto", "type: relay"), posture: true)
    let open = report.first(.openProxy)
    #expect(open?.message == "`icmp6-relay` is a relay for everybody who can ping this host", "\(report.rendered)")
    #expect(report.place(.openProxy) == "13:11 relay")
  }

  @Test("A key that others may read or replace is named, where it is looked at")
  func keys() {
    let text =
      relayServer(["auth: {username: ann, password: long-enough}"]) + "    tls: {certFile: c.pem, keyFile: k.pem}\n"
    for (mode, isLoose) in [
      (0o600, false), (0o400, false), (0o640, false), (0o644, true), (0o620, true), (0o602, true),
    ] {
      let report = check(text, host: HostFacts(permissions: ["k.pem": UInt32(mode), "c.pem": 0o644]), posture: true)
      #expect(report.codes == (isLoose ? [.looseKeyFile] : []), "\(mode) \(report.rendered)")
    }
    let accepted = text.with("k.pem}", "k.pem} # culvert: accept CV0714 nobody else has an account")
    #expect(check(accepted, host: HostFacts(permissions: ["k.pem": 0o644]), strict: true).diagnostics.isEmpty)
    #expect(check(accepted, strict: true).diagnostics.isEmpty)
  }

  @Test("The examples accept what they leave open")
  func examples() {
    for (text, count) in [(Examples.server, 2), (Examples.client, 1)] {
      let report = check(text, strict: true)
      #expect(report.diagnostics.isEmpty && report.accepted.count == count, "\(report.rendered)")
    }
  }

  @Test("An object with an error gets no word about what it leaves open")
  func cascades() {
    let report = check(relayServer(["reties: 3"]), posture: true)
    #expect(report.codes == [.unknownKey], "\(report.rendered)")
  }
}

/// Warnings that a file accepts.
@Suite("Acceptances") struct AcceptanceTests {
  private static let open = relayServer()

  @Test("A comment accepts the warnings of its line and of what is indented below it")
  func places() {
    let texts = [
      Self.open.with("  addr: :8443", "  addr: :8443 # culvert: accept CV0708 only the office gets here"),
      Self.open.with(
        "  addr: :8443", "  # culvert: accept CV0708 only the office gets here\n\n  # more\n  addr: :8443"),
      Self.open.with("- name: relay", "# culvert: accept CV0708: only the office gets here\n- name: relay"),
      Self.open.with("- name: relay", "- name: relay #culvert: accept cv0708 - only the office gets here"),
      "# culvert: accept CV0708 — only the office gets here\n" + Self.open,
      Self.open.with("- name: relay", "- name: 're#lay' # culvert: accept CV0708 only the office gets here"),
      Self.open + "x-culvert: {accept: [{code: CV0708, reason: only the office gets here}]}\n",
      Self.open + "x-culvert: {accept: [{code: CV0708, name: relay, reason: only the office gets here}]}\n",
      #"{"services":[{"name":"r","addr":":1","handler":{"type":"relay"},"listener":{"type":"tls"}}],"#
        + #""x-culvert":{"accept":[{"code":"CV0708","name":"r","reason":"only the office gets here"}]}}"#,
    ]
    for text in texts {
      let report = check(text, strict: true)
      #expect(report.diagnostics.isEmpty, "\(text)\(report.rendered)")
      #expect(report.exitCode == 0)
      #expect(report.accepted.map(\.reason) == ["only the office gets here"], "\(text)")
      #expect(report.accepted.map(\.diagnostic.code) == [.openProxy])
      let json = DiagnosticJSON.render(report.diagnostics, sources: report.sources, accepted: report.accepted)
      #expect(json.contains(#""accepted":[{"code":"CV0708","severity":"warning","security":true"#))
      #expect(json.contains(#""reason":"only the office gets here"}]"#))
      let renderer = DiagnosticRenderer(sources: report.sources)
      #expect(renderer.render(report.diagnostics, accepted: report.accepted.count) == "1 accepted\n")
    }
  }

  @Test("Two codes can stand in one comment, and each line answers for itself")
  func several() {
    let two = tunServer().with("  addr: :8421", "  addr: :8421 # culvert: accept CV0712 a cable between two racks")
    #expect(check(two, strict: true).diagnostics.isEmpty)
    let joined =
      "# culvert: accept CV0712,CV0708 a cable between two racks\n" + tunServer()
      + relayServer().with("services:\n", "")
    #expect(check(joined, strict: true).accepted.count == 2)
    // The second service does not profit from what the first accepts.
    let other =
      tunServer().with("- name: vpn", "- name: vpn # culvert: accept CV0708,CV0712 a cable between two racks")
      + relayServer().with("services:\n", "")
    let report = check(other, posture: true)
    #expect(report.codes == [.unusedAcceptance, .openProxy] && report.accepted.count == 1, "\(report.rendered)")
  }

  @Test("A # inside of a value is no comment")
  func values() {
    let text =
      Self.open.with("name: relay", "name: '# culvert: accept CV0708 no'")
      + "log: {output: \"a # culvert: accept CV0708 no\"}\n"
    let report = check(text, posture: true)
    #expect(report.codes == [.openProxy], "\(report.rendered)")
    let glued = Self.open.with("name: relay", "name: a#culvert:accept")
    #expect(check(glued, posture: true).codes == [.openProxy])
  }

  @Test("An acceptance that is none is an error, and what it meant still stands")
  func bad() {
    for (comment, place) in [
      ("# culvert: accept CV0708", "CV0708"), ("# culvert: accept CV0708 --- 1", "CV0708"),
      ("# culvert: accept CV9999 a reason", "CV9999"), ("# culvert: accept CV0708,CV9 a reason", "CV9"),
      ("# culvert: acept CV0708 a reason", "acept"), ("# culvert: accept", "accept"), ("# culvert:", "culvert:"),
    ] {
      let report = check(Self.open.with("addr: :8443", "addr: :8443 \(comment)"), posture: true)
      #expect(report.codes.contains(.badAcceptance) && report.exitCode == 1, "\(comment)\n\(report.rendered)")
      #expect(report.place(.badAcceptance)?.hasSuffix(" \(place)") == true, "\(report.place(.badAcceptance) ?? "")")
    }
    for block in [
      "{accept: [{code: CV0708}]}", "{accept: [{reason: because}]}",
      "{accept: [{code: CV0708, reason: because, name: other}]}", "{accept: [{code: CV1, reason: because}]}",
    ] {
      let report = check(Self.open + "x-culvert: \(block)\n", posture: true)
      #expect(report.codes.contains(.badAcceptance) && report.exitCode == 1, "\(block)\n\(report.rendered)")
    }
    #expect(check(Self.open + "x-culvert: {acept: []}\n").codes == [.unknownKey])
    #expect(check(Self.open + "x-culvert: 1\n").codes == [.wrongType])
  }

  @Test("An acceptance of an error or of nothing is named, and accepts nothing")
  func useless() {
    let error = check(Self.open.with("addr: :8443", "addr: :84x43 # culvert: accept CV0401 it is so"))
    #expect(error.codes == [.badAddress, .acceptanceOfError] && error.exitCode == 1, "\(error.rendered)")
    let unused = check(
      relayServer(["auth: {username: ann, password: long-enough} # culvert: accept CV0708 not needed"]), posture: true)
    #expect(unused.codes == [.unusedAcceptance] && unused.exitCode == 0, "\(unused.rendered)")
    // Beside an error nobody knows what would be found.
    let silent = check(relayServer(["reties: 3 # culvert: accept CV0708 not needed"]))
    #expect(silent.codes == [.unknownKey], "\(silent.rendered)")
    // What needs the other end's file is not missed without it.
    let pair = check(Examples.client.with("type: icmp6", "type: icmp6 # culvert: accept CV0609 the other end is ours"))
    #expect(pair.diagnostics.isEmpty, "\(pair.rendered)")
  }

  @Test("An argument accepts in addresses and in files, for all that is given")
  func arguments() {
    let acceptance = "CV0708,cv0711 = only the office gets here"
    let open = CommandLineArguments(
      services: ["relay+tls://:8443"], nodes: ["relay+tls://example.com:443"], acceptances: [acceptance])
    let report = Checker.check([], arguments: open, strict: true)
    #expect(report.diagnostics.isEmpty && report.exitCode == 0, "\(report.rendered)")
    #expect(
      report.accepted.map(\.diagnostic.code).sorted { $0.rawValue < $1.rawValue } == [.openProxy, .unverifiedTLS])
    #expect(report.accepted.allSatisfy { $0.isExternal && $0.reason == "only the office gets here" })
    let sarif = SARIF.render([], sources: report.sources, accepted: report.accepted, version: "1")
    #expect(
      sarif.contains(#""suppressions":[{"kind":"external","justification":"only the office gets here"}]"#), "\(sarif)")
    let file = [(name: "a.yaml", bytes: Array(Self.open.utf8))]
    let alone = Checker.check(
      file, arguments: CommandLineArguments(acceptances: ["CV0708=only the office gets here"]), strict: true)
    #expect(alone.diagnostics.isEmpty && alone.accepted.count == 1, "\(alone.rendered)")
    // Those of the other end are not ours to accept, and are not named either.
    let pair = Checker.check(
      file, arguments: CommandLineArguments(acceptances: ["CV0708=ours"]), with: file, strict: true)
    #expect(pair.codes == [] && pair.accepted.count == 1, "\(pair.rendered)")
    let fixed = Fixer.fix(
      [], arguments: CommandLineArguments(services: ["rellay+tls://:1"], acceptances: ["CV0708=ours"]), strict: true)
    #expect(fixed.report.exitCode == 0 && fixed.report.accepted.count == 1, "\(fixed.report.rendered)")
    #expect(fixed.arguments.count == 1)
  }

  @Test("An argument that accepts nothing says so, at itself")
  func badArguments() {
    let cases: [(String, DiagnosticCode, String)] = [
      ("CV0708", .badAcceptance, "CV0708"), ("CV0708=", .badAcceptance, "CV0708"),
      ("=because", .badAcceptance, "=because"), ("CV9999=because", .badAcceptance, "CV9999"),
      ("CV0712=because", .unusedAcceptance, "CV0712"), ("", .badAcceptance, ""),
    ]
    for (text, code, place) in cases {
      let report = Checker.check(
        [], arguments: CommandLineArguments(services: ["auto://127.0.0.1:8080"], acceptances: [text]))
      #expect(report.codes == [code], "\(text)\n\(report.rendered)")
      #expect(report.place(code) == "1:1 \(place)", "\(text)\n\(report.rendered)")
      #expect(report.rendered.contains("--> --accept #1:1:1"), "\(report.rendered)")
    }
    let strict = Checker.check([], arguments: CommandLineArguments(services: ["relay+tls://:8443"]), strict: true)
    #expect(strict.rendered.contains("`--accept CV0708=reason` accepts it"), "\(strict.rendered)")
  }

  @Test("The other end's acceptances are its own")
  func peers() {
    let peer = Examples.server.with("type: relay", "type: relay # culvert: accept CV0708")
    #expect(check(Examples.client, with: peer).exitCode == 0)
  }
}
