import Configuration
import PartDescriptors
import Testing
import Values

/// The rules about proxies, forwards and chains of several hops: their edges, their fixes, and what must not be
/// refused.
@Suite struct ProxyRuleTests {
  // MARK: Model

  @Test("Selections have GOST's defaults, and a node's own settings come first")
  func selections() throws {
    let text = service("http", chain: "c") + chain([["a", "b"]])
    let plain = try #require(check(text).configuration)
    let hop = try #require(plain.chains.first.flatMap { plain.hops(of: $0).first })
    #expect(hop.selection == Selection(strategy: .round, maxFails: 1, failTimeout: .seconds(10)))
    let nodes = text.with("    nodes:\n", "    selector: {strategy: ha, maxFails: 3, failTimeout: 1m}\n    nodes:\n")
      .with("name: b,", "name: b, metadata: {weight: 3, backup: true, maxFails: 7, failTimeout: 5s},")
    let set = try #require(check(nodes).configuration)
    let chosen = try #require(set.chains.first.flatMap { set.hops(of: $0).first })
    #expect(chosen.selection == Selection(strategy: .fifo, maxFails: 3, failTimeout: .seconds(60)))
    let candidates = chosen.nodes.map { chosen.selection.candidate($0.metadata) }
    #expect(candidates.map(\.weight) == [1, 3] && candidates.map(\.isBackup) == [false, true])
    #expect(candidates.map(\.maxFails) == [3, 7] && candidates.map(\.failTimeout) == [.seconds(60), .seconds(5)])
  }

  @Test(
    "Every strategy of GOST is known, and those that are not there yet are refused by name",
    arguments: [
      ("round", .round), ("rr", .round), ("random", .random), ("rand", .random), ("fifo", .fifo), ("ha", .fifo),
      ("hash", .hash), ("parallel", nil), ("lowestlatency", nil), ("lowest", nil), ("ll", nil),
    ] as [(String, Selection.Strategy?)])
  func strategies(_ name: String, _ meaning: Selection.Strategy?) {
    let text =
      service("tcp", targets: ["192.0.2.1:80", "192.0.2.2:80"]) + "    selector: {strategy: \(name)}\n"
    let report = check(text)
    #expect(report.codes == (meaning == nil ? [.keyNotYet] : []))
    #expect(report.exitCode == (meaning == nil ? 3 : 0))
    if let meaning { #expect(report.configuration?.services.first?.forwarder?.selection.strategy == meaning) }
    #expect(check(text.with(": \(name)", ": fiffo")).fixed(.valueOutOfRange) == text.with(": \(name)", ": fifo"))
  }

  @Test("What a handler, a listener and a node say arrives in the model")
  func model() throws {
    let text = """
      services:
      - name: p
        addr: :1080
        handler:
          type: socks5
          retries: 2
          auth: {username: a, password: b}
          tls: {certFile: c.pem, keyFile: k.pem}
          metadata: {skipauth: [127.0.0.1, 10.0.0.0/8], header: 1}
        listener: {type: wss, metadata: {path: /x, header: {A: b, C: 1, D: }}}
        metadata: {proxyProtocol: 1, ignoreChain: false}
      """.with(", header: 1", "")
    let configuration = try #require(check(text).configuration)
    #expect(check(text).diagnostics.isEmpty, "\(check(text).rendered)")
    let service = try #require(configuration.services.first)
    #expect(service.handler.retries == 2 && service.handler.tls?.certFile?.value == "c.pem")
    #expect(service.handler.metadata.prefixes("skipauth").map(\.description) == ["127.0.0.1/32", "10.0.0.0/8"])
    #expect(service.listener.metadata.string("ws.path") == "/x")
    #expect(
      service.listener.metadata.texts("header") == [
        NamedText(name: "A", text: "b"), NamedText(name: "C", text: "1"), NamedText(name: "D", text: ""),
      ])
    #expect(service.expectsProxyHeader && !service.ignoresChains)
    #expect(configuration.chain(of: service) == nil && configuration.listenerChain(of: service) == nil)
    let remote = try #require(check(Self.remote()).configuration)
    #expect(remote.listenerChain(of: remote.services[0])?.name.value == "c")
    #expect(remote.chain(of: remote.services[0]) == nil)
    let ignored = try #require(
      check(service: "tcp", chain: "c", metadata: "ignoreChain: true").configuration)
    #expect(ignored.services[0].handler.chain?.value == "c" && ignored.chain(of: ignored.services[0]) == nil)
  }

  @Test("A header of the PROXY protocol comes from the node or its hop, and zero is none")
  func proxyProtocol() throws {
    let text = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a", "b"]])
    let hop = text.with("    nodes:\n", "    metadata: {proxyProtocol: 2}\n    nodes:\n").with(
      "name: b,", "name: b, metadata: {proxyProtocol: 0},")
    let configuration = try #require(check(hop).configuration)
    #expect(check(hop).diagnostics.isEmpty)
    #expect(
      configuration.chains.first.flatMap { configuration.hops(of: $0).first?.nodes.map(\.proxyProtocol) } == [2, nil])
    #expect(check(hop.with("proxyProtocol: 2", "proxyProtocol: 3")).codes == [.valueOutOfRange])
    let second =
      service("http", addr: "127.0.0.1:1", chain: "c")
      + chain([["a"], ["b"]]).with("name: b,", "name: b, metadata: {proxyProtocol: 1},")
    #expect(check(second).codes == [.keyWithoutEffect])
    let quic = text.with("dialer: {type: tcp}", "dialer: {type: quic}").with(
      "name: a,", "name: a, metadata: {proxyProtocol: 1},")
    #expect(check(quic).codes == [.keyWithoutEffect])
    #expect(check(relayServer(listener: "quic") + "  metadata: {proxyProtocol: 1}\n").codes == [.keyWithoutEffect])
    #expect(check(relayServer(listener: "mwss") + "  metadata: {proxyProtocol: 2}\n").diagnostics.isEmpty)
  }

  // MARK: Values

  @Test(
    "A value that GOST would read as nothing is refused",
    arguments: [
      ("http", "header: x", DiagnosticCode.wrongType), ("http", "header: {A: [1]}", .wrongType),
      ("http", "header: {'A B': x}", .valueOutOfRange), ("http", "header: {A: \"x\\r\\nB: y\"}", .valueOutOfRange),
      ("http", "hash: hots", .valueOutOfRange),
      ("http", "probeResist: 'code:404'", .keyNotYet), ("http", "bind: true", .unknownKey),
      ("http", "egress.deny: example.com", .badPrefix), ("http", "egress.allow: [10.0.0.0/8:x]", .badPrefix),
      ("socks5", "mux.version: 3", .valueOutOfRange), ("socks5", "mux.type: yamux", .keyNotYet),
      ("socks5", "mux.type: smucks", .valueOutOfRange), ("socks5", "tor: true", .keyNotYet),
      ("socks5", "udp.minPort: 70000", .valueOutOfRange),
      ("socks5", "{udp.minPort: 20000, udp.maxPort: 10000}", .valueOutOfRange),
      ("socks5", "mux.keepaliveTimeout: 5s", .valueOutOfRange),
      ("socks5", "mux.keepaliveInterval: 1m", .valueOutOfRange),
      ("socks5", "mux.maxStreamBuffer: 5000000", .valueOutOfRange),
      ("socks5", "mux.maxFrameSize: 65536", .valueOutOfRange),
      ("socks5", "udp.minPort: 20000", .keyWithoutEffect), ("socks5", "publicAddr: proxy.example.com", .keyNotYet),
      ("relay", "sniffing: true", .keyNotYet), ("socks4", "udp: true", .unknownKey),
    ])
  func values(_ handler: String, _ line: String, _ code: DiagnosticCode) {
    let report = check(service: handler, addr: "127.0.0.1:1080", handlerMetadata: line)
    #expect(report.codes == [code], "\(report.rendered)")
  }

  @Test(
    "A value in any form is read",
    arguments: [
      ("socks5", "{mux.keepaliveTimeout: 5s, mux.keepaliveDisabled: true}"), ("auto", "udp: true"),
      ("socks5", "{mux.maxStreamBuffer: 65536, mux.maxReceiveBuffer: 65536}"), ("http", "egress.allow: all"),
      ("http", "egress.allow: '127.0.0.0/8, [::1]:80, 10.0.0.0/8:22'"), ("relay", "egress.deny: [all]"),
      ("http", "header: {}"), ("socks5", "{udpResolveDomain: false, tor: false}"),
    ])
  func goodValues(_ handler: String, _ line: String) {
    let report = check(service: handler, addr: "127.0.0.1:1080", handlerMetadata: line)
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
  }

  @Test("A path begins with a slash, and the fix puts it there")
  func paths() {
    let text = relayServer(listener: "ws\n    metadata: {path: chat}")
    #expect(check(text).codes == [.valueOutOfRange])
    #expect(check(text).fixed(.valueOutOfRange) == text.with("chat", "/chat"))
    #expect(check(text.with("chat", "/chat/v1")).diagnostics.isEmpty)
  }

  // MARK: Pairs of parts

  @Test("Handlers that take anything fit every listener, others need streams", arguments: ["tcp", "udp", "forward"])
  func forwardHandlers(_ handler: String) {
    for listener in ["tcp", "tls", "udp", "wss", "mtcp", "quic"] {
      #expect(check(service: handler, listener: listener, targets: ["192.0.2.1:53"]).diagnostics.isEmpty, "\(listener)")
    }
    #expect(check(service: "socks5", listener: "udp", addr: "127.0.0.1:1").codes == [.handlerListenerMismatch])
    #expect(check(service: "socks5", listener: "rudp", addr: "127.0.0.1:1").codes.contains(.handlerListenerMismatch))
    #expect(check(service: "http", listener: "tun", addr: "127.0.0.1:1").codes.contains(.handlerListenerMismatch))
    let text = service("rtcp", targets: ["192.0.2.1:53"])
    #expect(check(text).codes == [.handlerListenerMismatch])
    #expect(check(text).fixed(.handlerListenerMismatch) == text.with("listener: {type: tcp", "listener: {type: rtcp"))
  }

  @Test("`direct` stands at both halves of a node or at neither")
  func directPairs() {
    let text = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a"]])
    let half = text.with("connector: {type: relay}", "connector: {type: virtual}")
    #expect(check(half).codes == [.connectorDialerMismatch])
    #expect(check(half).fixed(.connectorDialerMismatch) == half.with("dialer: {type: tcp}", "dialer: {type: virtual}"))
    #expect(check(text.with("dialer: {type: tcp}", "dialer: {type: direct}")).codes == [.connectorDialerMismatch])
    let both = half.with("dialer: {type: tcp}", "dialer: {type: direct}")
    #expect(check(both).diagnostics.isEmpty)
    #expect(check(both.with(" addr: a.example.com:443,", "")).diagnostics.isEmpty)
    #expect(check(text.with(" addr: a.example.com:443,", "")).codes == [.missingKey])
    let configuration = check(both.with("{type: virtual}", "{type: virtual, metadata: {action: reject}}")).configuration
    let node = configuration?.chains.first?.node
    #expect(node?.isDirect == true && node?.rejects == true)
  }

  @Test("Credentials that are never asked for or never sent are named")
  func credentials() {
    let users = "authers:\n- name: u\n  auths:\n  - {username: ann, password: x}\n"
    #expect(
      check(service("tcp", targets: ["192.0.2.1:1"], handler: "auth: {username: a, password: b}")).codes == [
        .ignoredAuthentication
      ])
    #expect(
      check(service("udp", listener: "udp", targets: ["192.0.2.1:1"], handler: "auther: u") + users).exitCode == 1)
    #expect(check(service("socks4", handler: "auth: {username: a, password: b}")).codes == [.passwordNeverSent])
    #expect(check(service("socks4", handler: "auth: {username: a}")).diagnostics.isEmpty)
    #expect(check(service("auto", handler: "auth: {username: a, password: b}")).diagnostics.isEmpty)
    #expect(
      check(service: "http", addr: "127.0.0.1:1", handlerMetadata: "skipauth: 10.0.0.0/8").codes == [.keyWithoutEffect])
    let node = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a"]])
    let socks4 = node.with("connector: {type: relay}", "connector: {type: socks4, auth: {username: a, password: b}}")
    #expect(check(socks4).codes == [.ignoredAuthentication])
    #expect(check(socks4).exitCode == 0)
    #expect(
      check(node.with("connector: {type: relay}", "connector: {type: tcp, auth: {username: a, password: b}}")).exitCode
        == 1)
  }

  @Test("`tls` belongs to the handler and the connector of SOCKS5, and to no other")
  func ownTLS() {
    let block = "tls: {certFile: c.pem, keyFile: k.pem}"
    for handler in ["socks5", "socks", "auto"] {
      #expect(check(service(handler, addr: "127.0.0.1:1", handler: block)).diagnostics.isEmpty)
    }
    #expect(check(service("http", addr: "127.0.0.1:1", handler: block)).codes == [.misplacedKey])
    #expect(
      check(service("socks5", addr: "127.0.0.1:1", handler: "tls: {certFile: c.pem}")).codes == [.certificateWithoutKey]
    )
    let node = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a"]])
    #expect(check(node.with("{type: relay}", "{type: socks5, tls: {secure: true}}")).diagnostics.isEmpty)
    #expect(check(node.with("{type: relay}", "{type: relay, tls: {secure: true}}")).codes == [.misplacedKey])
  }

  // MARK: Chains

  @Test(
    "A hop that is not the first is reached by a stream",
    arguments: [
      ("tcp", nil, 0), ("tls", nil, 0), ("ws", nil, 0), ("mwss", nil, 0), ("mtcp", nil, 0),
      ("quic", .chainOrder, 3), ("icmp", .chainOrder, 1), ("icmp6", .chainOrder, 1),
    ] as [(String, DiagnosticCode?, Int32)])
  func furtherHops(_ dialer: String, _ code: DiagnosticCode?, _ exit: Int32) {
    let text = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a"], ["b"]])
    let lines = text.split(separator: "\n").map { line in
      line.contains("name: b,") ? String(line).with("dialer: {type: tcp}", "dialer: {type: \(dialer)}") : String(line)
    }
    let report = check(lines.joined(separator: "\n"))
    #expect(report.codes == (code.map { [$0] } ?? []), "\(report.rendered)")
    #expect(report.exitCode == exit)
    let first = text.split(separator: "\n").map { line in
      line.contains("name: a,") ? String(line).with("dialer: {type: tcp}", "dialer: {type: \(dialer)}") : String(line)
    }
    #expect(check(first.joined(separator: "\n")).exitCode == 0)
  }

  @Test("`direct` and `udp` stand where they can")
  func places() {
    let text = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a"], ["b"]])
    let direct = { (name: String) in
      text.split(separator: "\n").map { line in
        line.contains("name: \(name),")
          ? String(line).with("{type: tcp}", "{type: direct}").with("{type: relay}", "{type: direct}") : String(line)
      }.joined(separator: "\n")
    }
    #expect(check(direct("a")).diagnostics.isEmpty)
    #expect(check(direct("b")).codes == [.chainOrder])
    let datagrams =
      service("udp", listener: "udp", chain: "c", targets: ["192.0.2.1:53"])
      + chain([["a"]])
      .with("{type: tcp}", "{type: udp}").with("{type: relay}", "{type: forward}")
    #expect(check(datagrams).diagnostics.isEmpty)
    let second = datagrams + chain([["a"], ["b"]]).split(separator: "\n").dropFirst(6).joined(separator: "\n")
    #expect(check(second).codes == [.chainOrder])
    let behind =
      service("udp", listener: "udp", chain: "c", targets: ["192.0.2.1:53"])
      + chain([["a"], ["b"]]).split(separator: "\n").map { line in
        line.contains("name: b,")
          ? String(line).with("{type: tcp}", "{type: udp}").with("{type: relay}", "{type: forward}") : String(line)
      }.joined(separator: "\n")
    #expect(check(behind).codes == [.chainOrder])
    #expect(check(behind).exitCode == 1)
    let streams =
      service("tcp", chain: "c", targets: ["192.0.2.1:53"])
      + chain([["a"]]).with("{type: tcp}", "{type: udp}").with("{type: relay}", "{type: forward}")
    #expect(check(streams).codes == [.connectorCannotCarry])
  }

  @Test(
    "Datagrams need a connector that carries them",
    arguments: [
      ("relay", true), ("socks5", true), ("http", true), ("socks4", false), ("forward", false), ("tcp", false),
    ])
  func datagrams(_ connector: String, _ carries: Bool) {
    let udp =
      service("udp", listener: "udp", chain: "c", targets: ["192.0.2.1:53"])
      + chain([["a"]]).with("{type: relay}", "{type: \(connector)}")
    #expect(check(udp).codes == (carries ? [] : [.connectorCannotCarry]))
    #expect(check(tunClient(connector: connector)).codes == (carries ? [] : [.connectorCannotCarry]))
    let proxy =
      service("socks5", addr: "127.0.0.1:1", chain: "c", handler: "metadata: {udp: true}")
      + chain([["a"]]).with("{type: relay}", "{type: \(connector)}")
    #expect(check(proxy).codes == (carries ? [] : [.connectorCannotCarry]))
    #expect(check(proxy).exitCode == 0)
    let every =
      service("udp", listener: "udp", chain: "c", targets: ["192.0.2.1:53"])
      + chain([["a", "b"]]).with(
        "name: b, addr: b.example.com:443, connector: {type: relay}",
        "name: b, addr: b.example.com:443, connector: {type: \(connector)}")
    #expect(check(every).codes == (carries ? [] : [.connectorCannotCarry]))
  }

  @Test("SOCKS4 is asked for no IPv6 address, of a target or of the next node")
  func socks4Families() {
    let text = service("tcp", chain: "c", targets: ["'[2001:db8::1]:80'"]) + chain([["a"]])
    #expect(check(text).diagnostics.isEmpty)
    let socks4 = text.with("{type: relay}", "{type: socks4}")
    #expect(check(socks4).codes == [.familyMismatch])
    #expect(check(socks4).fixed(.familyMismatch) == text.with("{type: relay}", "{type: socks5}"))
    #expect(check(socks4.with("2001:db8::1", "::ffff:192.0.2.1")).diagnostics.isEmpty)
    let hops = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a"], ["b"]])
    let next = hops.with("a.example.com:443, connector: {type: relay}", "a.example.com:443, connector: {type: socks4}")
    #expect(check(next).diagnostics.isEmpty)
    #expect(check(next.with("b.example.com:443", "'[2001:db8::1]:443'")).codes == [.familyMismatch])
    #expect(check(hops.with("b.example.com:443", "'[2001:db8::1]:443'")).diagnostics.isEmpty)
  }

  @Test("A backup among backups and a weight without chance change nothing, and it is said")
  func choices() {
    let text = service("http", addr: "127.0.0.1:1", chain: "c") + chain([["a", "b"]])
    #expect(check(text.with("name: b,", "name: b, metadata: {backup: true},")).diagnostics.isEmpty)
    #expect(
      check(
        text.with("name: b,", "name: b, metadata: {backup: true},").with(
          "name: a,", "name: a, metadata: {backup: true},")
      ).codes
        == [.keyWithoutEffect])
    let weighted = text.with("name: b,", "name: b, metadata: {weight: 2},")
    #expect(check(weighted).codes == [.keyWithoutEffect])
    #expect(check(weighted.with("    nodes:\n", "    selector: {strategy: rand}\n    nodes:\n")).diagnostics.isEmpty)
    #expect(check(weighted.with("weight: 2", "weight: -1")).codes == [.valueOutOfRange])
  }

  // MARK: Forwards

  @Test("A forward has a target, or a chain whose last node decides")
  func targets() {
    #expect(check(service: "tcp").codes == [.missingForwarder])
    #expect(check(service("tcp") + "  forwarder: {nodes: []}\n").codes == [.missingForwarder])
    let decided = service("tcp", chain: "c") + chain([["a"]]).with("{type: relay}", "{type: forward}")
    #expect(check(decided).diagnostics.isEmpty)
    #expect(check(decided.with("{type: forward}", "{type: relay}")).codes == [.missingForwarder])
    #expect(check(service: "tcp", targets: ["192.0.2.1:0"]).codes == [.missingPort])
    #expect(check(service: "relay", addr: ":1", targets: ["192.0.2.1:1", "192.0.2.2:1"]).diagnostics.isEmpty)
    let ignored = service("socks5", addr: "127.0.0.1:1", targets: ["192.0.2.1:1"])
    #expect(check(ignored).codes == [.forwarderIgnored])
    #expect(check(service("socks5", addr: "127.0.0.1:1") + "  forwarder: {nodes: []}\n").diagnostics.isEmpty)
  }

  @Test("A target's network is that of its listener")
  func networks() {
    let text = { (listener: String, network: String) in
      service("tcp", listener: listener, targets: ["192.0.2.1:53"]).with(
        "addr: 192.0.2.1:53", "addr: 192.0.2.1:53\n      network: \(network)")
    }
    #expect(check(text("tcp", "tcp")).diagnostics.isEmpty && check(text("udp", "udp")).diagnostics.isEmpty)
    #expect(check(text("tcp", "udp")).codes == [.keyNotYet])
    #expect(check(text("tcp", "unix")).codes == [.keyNotYet])
    #expect(check(text("tcp", "tpc")).fixed(.valueOutOfRange) == text("tcp", "tcp"))
  }

  @Test(
    "A forward to itself is seen through every spelling of this host",
    arguments: [
      (":8080", ":8080", true), (":8080", "127.0.0.1:8080", true), (":8080", "localhost:8080", true),
      (":8080", "'[::1]:8080'", true), ("127.0.0.1:8080", ":8080", true), ("127.0.0.1:8080", "localhost:8080", true),
      ("192.0.2.7:8080", "192.0.2.7:8080", true), ("0.0.0.0:8080", "127.0.0.2:8080", true),
      (":8080", ":8081", false), ("127.0.0.1:8080", "127.0.0.2:8080", false), ("192.0.2.7:8080", ":8080", false),
      ("0.0.0.0:8080", "'[::1]:8080'", false), (":8080", "192.0.2.7:8080", false),
      ("'[::1]:8080'", "127.0.0.1:8080", false),
    ])
  func loops(_ addr: String, _ target: String, _ isLoop: Bool) {
    #expect(check(service: "tcp", addr: addr, targets: [target]).codes == (isLoop ? [.forwarderIsSelf] : []))
    #expect(check(service("tcp", addr: addr, chain: "c", targets: [target]) + chain([["a"]])).diagnostics.isEmpty)
  }

  static func remote(_ connector: String = "relay", listener: String = "rtcp") -> String {
    """
    services:
    - name: remote
      addr: :2222
      handler:
        type: \(listener)
      listener:
        type: \(listener)
        chain: c
      forwarder:
        nodes:
        - addr: 127.0.0.1:22

    """ + chain([["a"]]).with("{type: relay}", "{type: \(connector)}")
  }

  @Test("A remote listener needs a node that binds", arguments: ["rtcp", "rudp"])
  func binding(_ listener: String) {
    for connector in ["relay", "socks5"] {
      #expect(check(Self.remote(connector, listener: listener)).diagnostics.isEmpty)
    }
    for connector in ["http", "socks4", "forward"] {
      #expect(check(Self.remote(connector, listener: listener)).codes == [.connectorCannotBind])
    }
    let several = Self.remote("socks5", listener: listener).with(
      "chains:\n- name: c\n  hops:\n",
      "chains:\n- name: c\n  hops:\n  - nodes:\n    - {name: z, addr: z.example.com:1, connector: {type: http}}\n")
    #expect(check(several).diagnostics.isEmpty)
  }

  @Test("A remote listener's chain is moved from the handler by the fix, whole lines only")
  func wrongSide() {
    let right = Self.remote()
    let wrong = right.with("    type: rtcp\n    chain: c\n", "    type: rtcp\n").with(
      "  handler:\n    type: rtcp\n", "  handler:\n    type: rtcp\n    chain: c\n")
    #expect(check(wrong).codes == [.chainOnWrongSide])
    #expect(check(wrong).place(.chainOnWrongSide) == "6:12 c")
    #expect(check(wrong).fixed(.chainOnWrongSide) == right)
    let flow = wrong.with("    type: rtcp\n    chain: c\n", "    {type: rtcp, chain: c}\n")
    #expect(check(flow).codes == [.chainOnWrongSide])
    #expect(check(flow).first(.chainOnWrongSide)?.fix == nil)
    let neither = right.with("    chain: c\n", "")
    #expect(check(neither).codes == [.remoteWithoutChain, .unusedObject])
    #expect(check(neither).exitCode == 0)
    #expect(check(right.with("chain: c\n", "chain: d\n")).codes == [.missingReference])
    #expect(
      check(service("tcp", listener: "tcp, chain: c", targets: ["192.0.2.1:1"]) + chain([["a"]])).codes == [
        .misplacedKey
      ])
  }

  // MARK: Two ends

  @Test(
    "A session has one version at both ends, and 2 is the default of `mtcp` alone",
    arguments: [
      ("mtcp", "", "", true), ("mtcp", "mux.version: 2", "", true), ("mtcp", "mux.version: 1", "", false),
      ("mwss", "", "", true), ("mwss", "mux.version: 1", "", true), ("mwss", "", "mux.version: 2", false),
      ("mtls", "mux.version: 2", "mux.version: 2", true), ("mws", "mux.version: 2", "mux.version: 1", false),
    ])
  func sessions(_ transport: String, _ own: String, _ other: String, _ fits: Bool) {
    let server = service("socks5", listener: "\(transport), metadata: {\(other)}", addr: ":443")
    let client =
      service("tcp", chain: "c", targets: ["192.0.2.1:1"])
      + chain([["a"]])
      .with("{type: relay}", "{type: socks5}").with("{type: tcp}", "{type: \(transport), metadata: {\(own)}}")
    let report = check(client, with: server)
    #expect(report.codes == (fits ? [] : [.peerMux]), "\(report.rendered)")
    if !fits, !own.isEmpty {
      #expect(check(report.fixed(.peerMux) ?? "", with: server).diagnostics.isEmpty)
    }
  }

  @Test("A WebSocket's path is compared with the listener's")
  func peerPaths() {
    let server = { (line: String) in service("relay", listener: "wss, metadata: {\(line)}", addr: ":443") }
    let client = { (line: String) in
      service("tcp", chain: "c", targets: ["192.0.2.1:1"])
        + chain([["a"]]).with("{type: tcp}", "{type: wss, metadata: {\(line)}}")
    }
    #expect(check(client(""), with: server("path: /ws")).diagnostics.isEmpty)
    #expect(check(client("path: /ws?key=1"), with: server("")).diagnostics.isEmpty)
    #expect(check(client("path: /a"), with: server("path: /b")).fixed(.peerPath) == client("path: /b"))
    #expect(check(client(""), with: server("path: /b")).codes == [.peerPath])
  }

  @Test("A port at the far end and datagrams through it have to be served there")
  func peerServices() {
    let server = { (handler: String, line: String) in
      service(handler, addr: ":443", handler: "metadata: {\(line)}")
    }
    #expect(check(Self.remote(), with: server("relay", "bind: true")).diagnostics.isEmpty)
    #expect(check(Self.remote(), with: server("relay", "")).codes == [.peerDoesNotBind])
    #expect(check(Self.remote(), with: server("relay", "bind: false")).codes == [.peerDoesNotBind])
    #expect(check(Self.remote("socks5"), with: server("auto", "udp: true")).codes == [.peerDoesNotBind])
    #expect(check(Self.remote("socks5"), with: server("auto", "bind: true")).diagnostics.isEmpty)
    #expect(check(Self.remote("socks5"), with: server("socks5", "bind: true, mux.version: 2")).codes == [.peerMux])
    let udp = { (connector: String) in
      service("udp", listener: "udp", chain: "c", targets: ["192.0.2.1:53"])
        + chain([["a"]]).with("{type: relay}", "{type: \(connector)}")
    }
    #expect(check(udp("relay"), with: server("relay", "")).diagnostics.isEmpty)
    #expect(check(udp("socks5"), with: server("socks5", "")).codes == [.peerServesNoUDP])
    #expect(check(udp("http"), with: server("auto", "udp: true")).diagnostics.isEmpty)
    #expect(check(udp("http"), with: server("http", "udp: false")).codes == [.peerServesNoUDP])
    #expect(check(udp("http"), with: server("relay", "")).codes == [.peerDoesNotSpeak])
  }

  @Test("Users of proxies are compared as those of relays are, SOCKS4's by name")
  func peerUsers() {
    let client = { (connector: String, auth: String) in
      service("tcp", chain: "c", targets: ["192.0.2.1:1"])
        + chain([["a"]]).with(
          "{type: relay}", auth.isEmpty ? "{type: \(connector)}" : "{type: \(connector), auth: {\(auth)}}")
    }
    let server = { (handler: String, auth: String) in service(handler, addr: ":443", handler: "auth: {\(auth)}") }
    let users = "username: ann, password: x"
    for handler in ["http", "socks5", "auto"] {
      let connector = handler == "auto" ? "socks5" : handler
      #expect(check(client(connector, users), with: server(handler, users)).diagnostics.isEmpty)
      #expect(check(client(connector, ""), with: server(handler, users)).codes == [.peerAuthentication])
      #expect(
        check(client(connector, "username: ann, password: y"), with: server(handler, users)).codes == [
          .peerAuthentication
        ])
    }
    #expect(check(client("socks4", "username: ann"), with: server("socks4", "username: ann")).diagnostics.isEmpty)
    #expect(
      check(client("socks4", "username: bob"), with: server("socks4", "username: ann")).codes == [.peerAuthentication])
    let never = check(client("socks4", "username: ann"), with: server("auto", users))
    #expect(never.codes == [.peerAuthentication])
    #expect(never.fixed(.peerAuthentication) == client("socks5", "username: ann"))
    let skipping = service("http", addr: ":443", handler: "auth: {\(users)}, metadata: {skipauth: 10.0.0.0/8}")
    #expect(check(client("http", ""), with: skipping).diagnostics.isEmpty)
    #expect(check(skipping.with("10.0.0.0/8", "10.0.0.0/33")).codes == [.badPrefix])
  }

  @Test("Hops are followed one by one")
  func peerHops() {
    let client =
      service("tcp", chain: "c", targets: ["192.0.2.1:1"])
      + chain([["a"], ["b"]]).with("b.example.com:443", "b.example.com:444")
    let first = service("relay", addr: ":443")
    #expect(check(client, with: first, service("relay", addr: ":444")).diagnostics.isEmpty)
    #expect(
      check(client, with: first, service("auto", addr: ":444", handler: "auth: {username: a, password: b}")).codes == [
        .peerDoesNotSpeak
      ])
  }
}

/// A service on `:8080`, with the parts of its blocks in braces.
func service(
  _ handler: String, listener: String = "tcp", addr: String = ":8080", chain: String? = nil, targets: [String] = [],
  handler more: String = ""
) -> String {
  let parts = ["type: \(handler)", chain.map { "chain: \($0)" }, more.isEmpty ? nil : more].compactMap { $0 }
  var text = """
    services:
    - name: svc
      addr: \(addr)
      handler: {\(parts.joined(separator: ", "))}
      listener: {type: \(listener)}

    """
  if !targets.isEmpty { text += "  forwarder:\n    nodes:\n" + targets.map { "    - addr: \($0)\n" }.joined() }
  return text
}

/// The chain `c`: hops of nodes by name, each `relay` over TCP to its own host's port 443.
func chain(_ hops: [[String]]) -> String {
  "chains:\n- name: c\n  hops:\n"
    + hops.enumerated().map { index, nodes in
      "  - name: h\(index)\n    nodes:\n"
        + nodes.map {
          "    - {name: \($0), addr: \($0).example.com:443, connector: {type: relay}, dialer: {type: tcp}}\n"
        }.joined()
    }.joined()
}

private func check(
  service handler: String, listener: String = "tcp", addr: String = ":8080", chain name: String? = nil,
  targets: [String] = [], handlerMetadata: String = "", metadata: String = ""
) -> CheckReport {
  var more = ""
  if !handlerMetadata.isEmpty {
    more = "metadata: " + (handlerMetadata.hasPrefix("{") ? handlerMetadata : "{\(handlerMetadata)}")
  }
  var text = service(handler, listener: listener, addr: addr, chain: name, targets: targets, handler: more)
  if !metadata.isEmpty { text += "  metadata: {\(metadata)}\n" }
  if name != nil { text += chain([["a"]]) }
  return check(text)
}

/// What an open proxy may reach, as the file has it.
@Suite struct EgressTests {
  @Test("A proxy is open where others reach it and it asks for nothing")
  func openness() throws {
    let isOpen = { (addr: String, handler: String) -> Bool? in
      let configuration = check(service("socks5", addr: addr, handler: handler)).configuration
      return configuration.flatMap { whole in whole.services.first.flatMap { whole.egress(of: $0)?.isOpen } }
    }
    #expect(isOpen(":1080", "") == true && isOpen("192.0.2.1:1080", "") == true && isOpen("'[::]:1080'", "") == true)
    for addr in ["127.0.0.1:1080", "localhost:1080", "'[::1]:1080'", "127.9.9.9:1080", "'[::ffff:127.0.0.1]:1080'"] {
      #expect(isOpen(addr, "") == false, "\(addr)")
    }
    let auth = "auth: {username: a, password: b}"
    #expect(isOpen(":1080", auth) == false)
    #expect(isOpen(":1080", auth + ", metadata: {skipauth: 10.0.0.0/8}") == false)
    #expect(isOpen(":1080", auth + ", metadata: {skipauth: '10.0.0.0/8, ::/0'}") == true)
  }

  @Test("An open proxy is warned of, a relay is not, and what allows everything is")
  func warnings() {
    for handler in ["http", "socks4", "socks5", "auto"] {
      #expect(check(service(handler)).codes == [.openProxy])
      #expect(check(service(handler)).exitCode == 0)
      #expect(check(service(handler, addr: "127.0.0.1:1")).diagnostics.isEmpty)
    }
    #expect(check(service("relay")).diagnostics.isEmpty)
    for entry in ["all", "0.0.0.0/0", "'::/0'", "'*'", "[10.0.0.0/8, all]"] {
      #expect(check(service("relay", handler: "metadata: {egress.allow: \(entry)}")).codes == [.egressOpen], "\(entry)")
    }
    #expect(check(service("relay", handler: "metadata: {egress.allow: 'all:25'}")).diagnostics.isEmpty)
    #expect(check(service("relay", addr: "127.0.0.1:1", handler: "metadata: {egress.allow: all}")).diagnostics.isEmpty)
    let skipped = service("http", handler: "auth: {username: a, password: b}, metadata: {skipauth: 0.0.0.0/0}")
    #expect(check(skipped).codes == [.openProxy])
    #expect(check(skipped).place(.openProxy) == "4:80 0.0.0.0/0")
  }

  @Test("The same file's listeners are exceptions where a client gains nothing by them")
  func ownListeners() throws {
    let text = """
      services:
      - {name: relay, addr: ":8443", handler: {type: relay}, listener: {type: icmp6}}
      - {name: vpn, addr: "127.0.0.1:8421", handler: {type: tun}, listener: {type: tun, metadata: {net: 10.0.0.1/24}}}
      - {name: open, addr: ":8000", handler: {type: relay}, listener: {type: tls}}
      - {name: mine, addr: "127.0.0.1:1080", handler: {type: socks5}, listener: {type: tcp}}
      - name: asks
        addr: "127.0.0.1:1081"
        handler: {type: socks5, auth: {username: a, password: b}}
        listener: {type: tcp}
      """
    let configuration = try #require(check(text).configuration)
    let egress = try #require(configuration.egress(of: configuration.services[0]))
    #expect(egress.isOpen && egress.allow.isEmpty && egress.deny.isEmpty)
    // A proxy for this host alone would be a way around the policy, and echo requests have no port.
    #expect(egress.own.map(\.description) == ["127.0.0.1:8421", ":8000", "127.0.0.1:1081"])
    #expect(configuration.egress(of: configuration.services[1]) == nil)
  }

  @Test("Exceptions and refusals arrive in the model")
  func lists() throws {
    let text = service(
      "relay", handler: "metadata: {egress.allow: ['127.0.0.1:8080', 'fd00::/8'], egress.deny: '10.0.0.0/8, all:25'}")
    let configuration = try #require(check(text).configuration)
    let egress = try #require(configuration.egress(of: configuration.services[0]))
    #expect(egress.allow.map(\.description) == ["127.0.0.1/32:8080", "fd00::/8"])
    #expect(egress.deny.map(\.description) == ["10.0.0.0/8", "all:25"])
  }
}
