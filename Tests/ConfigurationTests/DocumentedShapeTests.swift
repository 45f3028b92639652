import Configuration
import Testing
import Values

/// Shapes that GOST's documentation has in one page or another: what is good passes, what is not there yet is told once
/// for each thing that is missing, and nothing follows from it.
@Suite("Shapes of GOST's documentation") struct DocumentedShapeTests {
  @Test("Nodes that come from a file, an address or a plugin are not yet there, and no hop without nodes")
  func loadedHops() {
    for loader in [
      "file: {path: /etc/gost/nodes}", "redis: {addr: '127.0.0.1:6379', key: n}", "plugin: {addr: ':8000'}",
    ] {
      let report = check(
        proxy(chain: "out")
          + "hops:\n- name: far\n  nodes: []\n  \(loader)\nchains:\n- name: out\n  hops: [{name: far}]\n")
      #expect(report.codes == [.keyNotYet], "\(report.rendered)")
      #expect(report.exitCode == 3)
    }
    let several = check(
      proxy(chain: "out")
        + """
        hops:
        - name: far
          reload: 10s
          file: {path: /etc/gost/nodes}
          http: {url: "http://127.0.0.1:8000"}
        chains:
        - name: out
          hops: [{name: far}]

        """)
    #expect(several.codes == [.keyNotYet, .keyNotYet, .keyNotYet], "\(several.rendered)")
    #expect(several.exitCode == 3)
  }

  @Test("A target by name alone is one behind a connector that is not there yet, and none elsewhere")
  func namesAsTargets() {
    let tunnel = forward(target: "printer.office", connector: "tunnel")
    #expect(check(tunnel).codes == [.partNotYet], "\(check(tunnel).rendered)")
    #expect(check(forward(target: nil, connector: "tunnel")).codes == [.partNotYet])
    #expect(check(forward(target: "printer.office", connector: "relay")).codes == [.badAddress])
    let listening = """
      services:
      - name: web
        addr: web
        handler: {type: rtcp}
        listener: {type: rtcp, chain: out}
        forwarder: {nodes: [{name: t, addr: "192.0.2.1:80"}]}
      chains:
      - name: out
        hops: [{nodes: [{addr: "h.example.com:443", connector: {type: CONNECTOR}, dialer: {type: tcp}}]}]

      """
    #expect(check(listening.with("CONNECTOR", "tunnel")).codes == [.partNotYet])
    #expect(check(listening.with("CONNECTOR", "relay")).codes == [.badAddress])
    let device = tunClient(target: "host-1", connector: "router")
    #expect(check(device).codes == [.partNotYet], "\(check(device).rendered)")
  }

  @Test("A relay at the end of a chain may have the target; its own file tells whether it has")
  func targetsOfRelays() {
    let client = forward(target: nil, connector: "relay")
    let alone = check(client)
    #expect(alone.codes == [.missingForwarder] && alone.exitCode == 0 && alone.mayRun, "\(alone.rendered)")
    let relay = relayServer(listener: "tcp")
    #expect(check(client, with: relay).codes == [.missingForwarder, .peerHasNoTarget])
    #expect(check(client, with: relay + "  forwarder: {nodes: [{addr: '192.0.2.1:80'}]}\n").exitCode == 0)
    #expect(check(forward(target: ":0", connector: "relay")).codes == [.missingForwarder])
    #expect(check(forward(target: nil, connector: "http")).exitCode == 1)
  }

  @Test("What is missing because it stands elsewhere, or with something that is missing, is not told twice")
  func cascades() {
    let listener = forward(target: nil, connector: "forward").with("chain: out}", "}").with(
      "listener: {type: tcp}", "listener: {type: tcp, chain: out}")
    #expect(check(listener).codes == [.misplacedKey], "\(check(listener).rendered)")
    let nodes = """
      chains:
      - name: out
        nodes:
        - {addr: "h.example.com:443", connector: {type: relay}, dialer: {type: tcp}}

      """
    #expect(check(proxy(chain: "out") + nodes).codes == [.misplacedKey])
    #expect(check(forward(target: nil, connector: "http").with("name: out", "name: in")).codes == [.missingReference])
    let slipped = forward(target: "192.0.2.1:80", connector: "http").with(
      "\nchains:\n- name: out\n  hops", "\n  chains:\n  - name: out\n    hops")
    #expect(check(slipped).codes == [.misplacedKey], "\(check(slipped).rendered)")
    #expect(check(slipped).rendered.contains("it belongs at the top level"))
  }

  @Test("A misspelt key in a good file is one error, whatever is missing then")
  func misspeltKeys() {
    var broken = 0
    for (number, file) in (UserFile.accepted + UserFile.proxies).enumerated() {
      let lines = file.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      for (index, line) in lines.enumerated() where (index + number) % 3 == 0 {
        // `type: tun` in a line of its own, or the first key behind a `-`.
        guard let key = line.split(separator: ":").first?.split(separator: " ").last, line.contains("\(key):"),
          key.count > 3, key.unicodeScalars.allSatisfy({ $0.properties.isAlphabetic })
        else { continue }
        let swapped = String(key.dropLast(2)) + String(key.suffix(2).reversed())
        guard swapped != key else { continue }
        var copy = lines
        copy[index] = line.with("\(key):", "\(swapped):")
        let report = check(copy.joined(separator: "\n"), name: file.name)
        let errors = report.diagnostics.filter { $0.severity <= .notYet }
        guard errors.contains(where: { $0.code == .unknownKey }) else { continue }
        broken += 1
        #expect(errors.count == 1, "\(file.name):\(index + 1)\n\(report.rendered)")
      }
    }
    #expect(broken > 200, "\(broken)")
  }

  @Test("A half of a pair that was left out is told as that, with the type that is needed")
  func missingTypes() {
    let server = tunServer().with("  listener:\n    type: tun\n", "  listener:\n")
    #expect(check(server).codes == [.handlerListenerMismatch], "\(check(server).rendered)")
    #expect(
      check(server).fixed(.handlerListenerMismatch)?.contains("  listener:\n    type: tun\n    metadata:") == true)
    let flow =
      "services: [{name: a, addr: ':1', handler: {metadata: {p2p: true}}, listener: {type: tun, metadata: {net: 10.0.0.1/24}}}]\n"
    #expect(check(flow).codes == [.handlerListenerMismatch])
    #expect(check(check(flow).fixed(.handlerListenerMismatch) ?? "").exitCode == 0)
    let path = tunClient(dialer: "wss", node: ["  metadata: {path: /x}"]).with("        type: wss\n", "")
    #expect(check(path).codes == [.missingKey], "\(check(path).rendered)")
    #expect(check(path).first(.missingKey)?.primary?.text.contains("`wss`") == true)
  }

  /// `gost … -O yaml` copies the keys of an argument to every `metadata` there is, and leaves those that it has used.
  @Test("What GOST exports is accepted, with the keys that it copies")
  func exports() {
    let node = """
      services:
      - name: service-0
        addr: 127.0.0.1:8080
        handler: {type: http, chain: chain-0, metadata: {ignoreChain: "false", proxyProtocol: ""}}
        listener: {type: tcp, metadata: {ignoreChain: "false", proxyProtocol: ""}}
        metadata: {ignoreChain: "false", proxyProtocol: ""}
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: h.example.com:8443
            connector: {type: socks5, auth: {username: u, password: long-enough}, metadata: {notls: "true", path: /x}}
            dialer: {type: wss, tls: {secure: true, serverName: h.example.com}, metadata: {notls: "true", path: /x}}
            metadata: {notls: "true", path: /x}
          metadata: {notls: "true", path: /x, auth: dTpw, secure: "true", serverName: h.example.com}

      """
    let report = check(node)
    #expect(report.exitCode == 0 && report.codes.allSatisfy { $0 == .keyWithoutEffect }, "\(report.rendered)")
    // Not what stands in one place only, or is unknown everywhere.
    #expect(check(node.with("path: /x, auth", "paht: /x, auth")).codes.contains(.unknownKey))
    #expect(check(node.with("notls:", "nottls:")).exitCode == 1)
    let service = """
      services:
      - name: service-0
        addr: 127.0.0.1:8080
        bypass: bypass-0
        handler: {type: http}
        listener: {type: tcp, metadata: {bypass: 10.0.0.0/8}}
        metadata: {bypass: 10.0.0.0/8}
      bypasses:
      - {name: bypass-0, matchers: [10.0.0.0/8]}

      """
    let used = check(service)
    #expect(used.exitCode == 3 && used.codes.contains(.keyNotYet), "\(used.rendered)")
    #expect(check(service.with("    metadata: {bypass: 10.0.0.0/8}\n", "")).exitCode == 3)
    #expect(check(service.with("  metadata: {bypass: 10.0.0.0/8}\n", "")).exitCode == 1, "one place is a mistake")
    let later = """
      services:
      - name: service-0
        addr: 127.0.0.1:8080
        handler: {type: http, metadata: {kcp.mtu: "1350"}}
        listener: {type: kcp, metadata: {kcp.mtu: "1350"}}
        metadata: {kcp.mtu: "1350"}

      """
    #expect(check(later).codes == [.partNotYet], "\(check(later).rendered)")
    #expect(check(later.with("http, metadata: {kcp.mtu", "http, metadata: {kpc.mtu")).exitCode == 1)
  }

  @Test("One thing that is missing is told once, and its other places are shown")
  func once() throws {
    let services = (1...8).map { number in
      "- name: s\(number)\n  addr: 127.0.0.1:\(8000 + number)\n  handler: {type: http}\n  listener: {type: tcp}\n  bypass: b\n"
    }
    let report = check("services:\n" + services.joined() + "bypasses:\n- name: b\n  matchers: [10.0.0.0/8]\n")
    let found = try #require(report.first(.keyNotYet))
    #expect(report.codes == [.keyNotYet] && report.exitCode == 3, "\(report.rendered)")
    #expect(found.secondary.count == 4 && found.notes == ["and in 4 more places"], "\(report.rendered)")
    let two = check(
      proxy().with("http}", "ss}") + proxy(name: "q", port: 8081).with("services:\n", "").with("http}", "ss}"))
    #expect(two.codes == [.partNotYet] && two.first(.partNotYet)?.secondary.count == 1, "\(two.rendered)")
    let pair = check(proxy().with("{type: http}", "{type: http2}").with("{type: tcp}", "{type: http2}"))
    #expect(pair.codes == [.partNotYet, .partNotYet], "a handler and a listener are two")
  }

  @Test("A piece with a selector or a loader alone is good where it can stand")
  func pieces() {
    for text in ["selector: {strategy: round, maxFails: 1}\n", "selector: {strategy: hash}\n"] {
      let report = Checker.check([(name: "a.yaml", bytes: Array(text.utf8))], fragment: true)
      #expect(report.exitCode == 0 && report.diagnostics.isEmpty, "\(report.rendered)")
    }
    let text = "http: {url: 'http://127.0.0.1:8000'}\n"
    let report = Checker.check([(name: "a.yaml", bytes: Array(text.utf8))], fragment: true)
    #expect(report.codes == [.keyNotYet] && report.exitCode == 3, "\(report.rendered)")
  }

  @Test("Arguments of the documentation: a longer range of targets, a quota, names that are refused")
  func arguments() {
    func codes(_ service: String) -> [DiagnosticCode] {
      Checker.check([], arguments: CommandLineArguments(services: [service])).withoutPosture.codes
    }
    let ranges = Checker.check([], arguments: CommandLineArguments(services: ["tcp://:8000-8001/192.0.2.1:9000-9005"]))
    #expect(ranges.codes == [.keyWithoutEffect] && ranges.exitCode == 0, "\(ranges.rendered)")
    #expect(
      ranges.configuration?.services.map { $0.forwarder?.nodes.map(\.addr.value) ?? [] } == [
        ["192.0.2.1:9000"], ["192.0.2.1:9001"],
      ])
    #expect(codes("tcp://:8000-8005/192.0.2.1:9000-9001") == [.valueOutOfRange])
    #expect(codes("http://127.0.0.1:8080?quotas=month") == [.keyNotYet])
    #expect(
      codes("http+tls://127.0.0.1:8443?rejectUnknownSNI=true&serverNames=example.com") == [.keyNotYet, .keyNotYet])
  }

  @Test("What is wrong with several arguments is told at once")
  func severalArguments() {
    let report = Checker.check(
      [],
      arguments: CommandLineArguments(
        services: ["rely://:1", "http://:99999", "http://127.0.0.1:8080?udpp=true"],
        nodes: ["relay+tls://h.example.com:1?foo=1"]))
    #expect(report.codes == [.unknownKey, .unknownPart, .badAddress, .unknownKey], "\(report.rendered)")
    // Without the chain nothing is said of what goes through it.
    let chain = Checker.check(
      [], arguments: CommandLineArguments(services: ["tcp://:80?foo=1"], nodes: ["rely+tls://h.example.com:1"]))
    #expect(chain.codes == [.unknownPart, .unknownKey] && chain.exitCode == 1, "\(chain.rendered)")
  }

  private func proxy(name: String = "p", port: Int = 8080, chain: String? = nil) -> String {
    """
    services:
    - name: \(name)
      addr: 127.0.0.1:\(port)
      handler: {type: http\(chain.map { ", chain: \($0)" } ?? "")}
      listener: {type: tcp}

    """
  }

  private func forward(target: String?, connector: String) -> String {
    """
    services:
    - name: web
      addr: :8080
      handler: {type: tcp, chain: out}
      listener: {type: tcp}
    \(target.map { "  forwarder: {nodes: [{name: t, addr: \"\($0)\"}]}\n" } ?? "")chains:
    - name: out
      hops: [{nodes: [{addr: "h.example.com:8443", connector: {type: \(connector)}, dialer: {type: tcp}}]}]

    """
  }
}
