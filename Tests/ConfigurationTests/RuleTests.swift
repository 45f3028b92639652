import Configuration
import PartDescriptors
import Testing
import Values

/// Each rule once more beside its page's example: the edges, the places, the fixes, and what must not be refused.
@Suite struct RuleTests {
  // MARK: Keys and values

  @Test(
    "A value in any form that GOST documents is read",
    arguments: [
      ("keepAlive: true", true), ("KEEPALIVE: 1", true), ("keepalive: \"true\"", true), ("tun.keepAlive: 't'", true),
      ("keepAlive: 0", false), ("keepAlive: False", false),
    ])
  func booleans(_ line: String, _ expected: Bool) throws {
    let report = check(tunServer(handler: [line]))
    #expect(report.diagnostics.isEmpty)
    #expect(report.configuration?.services.first?.handler.metadata.bool("keepalive") == expected)
  }

  @Test(
    "A duration in any form that GOST documents is read",
    arguments: [
      ("10", 10_000), ("\"10\"", 10_000), ("10s", 10_000), ("1m30s", 90_000), ("1.5s", 1500), ("250ms", 250),
      ("1h", 3_600_000),
    ] as [(String, Int64)])
  func durations(_ text: String, _ milliseconds: Int64) {
    let report = check(tunServer(handler: ["keepAlive: true", "ttl: \(text)"]))
    #expect(report.diagnostics.isEmpty)
    #expect(report.configuration?.services.first?.handler.metadata.duration("ttl") == .milliseconds(milliseconds))
  }

  @Test(
    "A value that GOST would read as nothing is an error with its fix",
    arguments: [
      ("keepAlive: yes", "keepAlive: true", DiagnosticCode.wrongType),
      ("keepAlive: off", "keepAlive: false", .wrongType),
      ("ttl: 10 seconds", "ttl: 10s", .wrongType), ("ttl: 2d", "ttl: 48h", .wrongType),
      ("ttl: 5min", "ttl: 5m", .wrongType),
      ("ttl: soon", nil, .wrongType), ("ttl: -5s", nil, .valueOutOfRange), ("ttl: [1]", nil, .wrongType),
      ("keepAlive: {}", nil, .wrongType), ("passphrase: [x]", nil, .wrongType),
      ("keepAliev: true", "keepalive: true", .unknownKey),
    ] as [(String, String?, DiagnosticCode)])
  func badValues(_ line: String, _ fixed: String?, _ code: DiagnosticCode) {
    let text = tunServer(handler: [line])
    let report = check(text)
    #expect(report.codes.first == code)
    #expect(report.exitCode == 1)
    let isCertain = report.first(code)?.fix?.isCertain == true
    #expect((isCertain ? report.fixed(code) : nil) == fixed.map { text.with(line, $0) })
  }

  @Test("Numbers in JSON metadata are taken, with a warning; quoted ones without")
  func jsonNumbers() {
    let json = """
      {"services":[{"name":"vpn","addr":":8421","handler":{"type":"tun","metadata":{"keepAlive":true,"ttl":10}},
      "listener":{"type":"tun","metadata":{"net":"10.0.0.1/24","mtu":1400}}}]}
      """
    let report = check(json, name: "a.json")
    #expect(report.exitCode == 0)
    #expect(report.codes == [.numberReadAsZero, .numberReadAsZero])
    #expect(report.configuration?.services.first?.listener.metadata.int("mtu") == 1400)
    #expect(check(report.fixed(.numberReadAsZero) ?? "", name: "a.json").codes == [.numberReadAsZero])
    #expect(check(json, name: "a.yaml").diagnostics.isEmpty)
  }

  @Test("A fix in JSON keeps the quotes")
  func jsonFix() {
    let json =
      "{\"services\":[{\"name\":\"r\",\"adr\":\":8443\",\"handler\":{\"type\":\"relya\"},\"listener\":{\"type\":\"tls\"}}]}"
    let report = check(json, name: "a.json")
    #expect(report.fixed(.unknownKey) == json.with("\"adr\"", "\"addr\""))
    #expect(report.fixed(.unknownPart) == json.with("\"relya\"", "\"relay\""))
  }

  @Test("A leading zero is octal for GOST, and refused for a number")
  func octal() {
    let report = check(tunServer(listener: ["mtu: 01400"]))
    #expect(report.fixed(.wrongType) == tunServer(listener: ["mtu: 1400"]))
  }

  @Test("Keys of the grammar are case-insensitive, metadata keys too")
  func cases() {
    #expect(
      check("SERVICES:\n- Name: r\n  Addr: :8443\n  Handler: {Type: relay}\n  Listener: {TYPE: tls}\n").diagnostics
        .isEmpty)
  }

  @Test(
    "A stray key is sent where it belongs",
    arguments: [
      ("    net: 10.0.0.9/24", "listener.metadata"), ("    forwarder: {}", "service"),
      ("    keepAlive: true", "handler.metadata"),
    ])
  func strays(_ line: String, _ place: String) {
    let text = tunServer().with("    type: tun\n  listener", "    type: tun\n\(line)\n  listener")
    let report = check(text)
    #expect(report.codes == [.misplacedKey])
    #expect(report.first(.misplacedKey)?.message.contains("`\(place)`") == true)
  }

  @Test("A key that also stands where it works is only a warning, as in GOST's own export")
  func exportedTwice() {
    let report = check(
      tunServer(handler: ["net: 10.0.0.1/24", "mtu: 1400"], ).with(
        "net: 10.0.0.1/24\n  listener", "net: 10.0.0.1/24\n  listener") + "      mtu: 1400\n")
    #expect(report.codes == [.keyWithoutEffect, .keyWithoutEffect])
    #expect(report.exitCode == 0)
    #expect(check(tunServer(handler: ["net: 10.0.0.7/24"])).codes == [.misplacedKey])
  }

  @Test("Everything that GOST has and Culvert lacks is refused by name, once each")
  func notYet() {
    let text =
      relayServer(["metadata: {sniffing: true, mux.version: 2, nodelay: true}"])
      + "api: {addr: ':18080'}\nbypasses: [{name: b}]\n"
    let report = check(text)
    #expect(report.codes == [.keyNotYet, .keyNotYet, .keyNotYet])
    #expect(report.exitCode == 3)
    #expect(check(relayServer(["metadata: {sniffing: false}"]) + "bypasses: []\napi:\n").exitCode == 0)
  }

  @Test("Every type name of GOST is known", arguments: PartKind.allCases)
  func partNames(_ kind: PartKind) {
    let names = PartCatalog.names(kind)
    #expect(Set(names).count == names.count)
    for part in PartCatalog.parts(kind) {
      for key in part.keys { #expect(part.keys.count { $0.answers(to: key.name) } == 1, "\(part.name) \(key.name)") }
    }
    let available = PartCatalog.parts(kind).filter { $0.availability == .available }.map(\.name)
    let expected: [PartKind: [String]] = [
      .listener: [
        "tun", "wireguard", "udp", "tcp", "tls", "dtls", "quic", "icmp", "icmp6", "ws", "wss", "mws", "mwss", "mtls",
        "mtcp", "rtcp", "rudp", "turn",
      ],
      .handler: [
        "tun", "wireguard", "turn", "metrics", "relay", "auto", "http", "socks4", "socks5", "tcp", "udp", "forward",
        "rtcp",
        "rudp",
      ],
      .connector: ["relay", "forward", "tcp", "http", "socks4", "socks5", "turn", "direct"],
      .dialer: [
        "udp", "tcp", "tls", "quic", "icmp", "icmp6", "ws", "wss", "mws", "mwss", "mtls", "mtcp", "wireguard",
        "turn", "direct",
      ],
    ]
    #expect(available == expected[kind])
  }

  @Test("A handler that is another kind of part is told so")
  func otherKind() {
    let report = check(relayServer(listener: "relay"))
    #expect(report.codes == [.unknownPart])
    #expect(report.first(.unknownPart)?.message == "`relay` is a handler, not a listener")
    #expect(check(relayServer(listener: "TLS")).fixed(.unknownPart) == relayServer(listener: "tls"))
    #expect(check(relayServer(listener: "kcp")).codes == [.partNotYet])
  }

  @Test("A missing handler is GOST's `auto`")
  func defaults() {
    let report = check("services:\n- name: a\n  addr: :1080\n")
    #expect(report.exitCode == 0)
    #expect(report.configuration?.services.first?.handler.descriptor?.name == "auto")
    #expect(report.configuration?.services.first?.listener.descriptor?.name == "tcp")
  }

  // MARK: References

  @Test("A hop may be named in a chain and written elsewhere")
  func hops() {
    let client = tunClient()
    let named = client.with("  - name: first\n    nodes:\n", "  - name: first\nhops:\n- name: first\n  nodes:\n")
      .with("    - name: node\n      addr", "  - name: node\n    addr").with("      connector:", "    connector:")
      .with("        type: relay", "      type: relay").with("      dialer:", "    dialer:").with(
        "        type: tls", "      type: tls")
    #expect(check(named).diagnostics.isEmpty, "\(named)\(check(named).rendered)")
    let cut = named.with("- name: first\n  nodes", "- name: frist\n  nodes")
    #expect(check(cut).place(.missingReference) == "18:11 first")
  }

  @Test("Names are given once")
  func duplicateNames() {
    #expect(check(tunClient() + "- name: out\n  hops: []\n").codes.contains(.duplicateName))
    #expect(check(relayServer(["auth: {username: '', password: x}"])).codes == [.emptyUserName])
    let twice =
      relayServer(["auther: u"])
      + "authers:\n- name: u\n  auths:\n  - {username: a, password: x}\n  - {username: a, password: y}\n"
    #expect(check(twice).codes == [.duplicateName])
  }

  // MARK: Addresses

  @Test(
    "An address that cannot be read says why",
    arguments: [
      ("example.com", nil), ("'example.com:'", nil), ("example.com:x", nil), ("example.com:70000", nil),
      ("tcp://example.com:8443", "example.com:8443"), ("2001:db8::1:8443", "\"[2001:db8::1]:8443\""),
      ("10.0.0.300:8443", nil),
      ("exa mple.com:8443", nil), ("a..b:8443", nil), ("ex/ample:8443", nil), ("'[2001:db8::1:8443'", nil),
      ("8443", ":8443"),
    ] as [(String, String?)])
  func badAddresses(_ addr: String, _ fixed: String?) {
    let report = check(tunClient(addr: addr))
    #expect(report.codes == [.badAddress])
    #expect(report.fixed(.badAddress) == fixed.map { tunClient(addr: $0) })
  }

  @Test(
    "Good addresses are good",
    arguments: [
      "example.com:8443", "\"[2001:db8::1]:8443\"", "192.0.2.1:8443", ":8443", "a_b.c-d.e:1", "münchen.de:443",
      "\"[fe80::1%eth0]:443\"",
    ])
  func goodAddresses(_ addr: String) {
    #expect(check(tunClient(addr: addr)).diagnostics.isEmpty)
  }

  @Test("An ICMP node and an ICMP listener need no port, and a TLS node does")
  func echoPort() {
    #expect(check(tunClient(addr: "example.com:0", dialer: "icmp")).diagnostics.isEmpty)
    #expect(check(tunClient(addr: "example.com:7", dialer: "icmp")).diagnostics.isEmpty)
    #expect(check(tunClient(addr: "example.com")).codes == [.badAddress])
    for addr in ["example.com", "2001:db8::1"] {
      let report = check(tunClient(addr: addr, dialer: "icmp6"))
      #expect(report.diagnostics.isEmpty)
      #expect(report.configuration?.chains.first?.node?.address == HostPort(host: addr, port: 0))
      #expect(check(relayServer(listener: "icmp6", addr: addr)).diagnostics.isEmpty)
    }
    #expect(check(tunClient(addr: "192.0.2.1", dialer: "icmp6")).codes == [.familyMismatch])
    #expect(check(tunClient(addr: "exa mple", dialer: "icmp6")).codes == [.badAddress])
    #expect(check(tunClient(addr: "example.com:0", dialer: "quic")).codes == [.missingPort])
  }

  @Test("A literal of the other family is an error, with the other dialer as fix")
  func families() {
    let wrong = tunClient(addr: "\"[2001:db8::1]:0\"", dialer: "icmp")
    let report = check(wrong)
    #expect(report.codes == [.familyMismatch])
    #expect(report.fixed(.familyMismatch) == tunClient(addr: "\"[2001:db8::1]:0\"", dialer: "icmp6"))
    #expect(check(tunClient(addr: "\"[2001:db8::1]:0\"", dialer: "icmp6")).diagnostics.isEmpty)
    #expect(check(relayServer(listener: "icmp6", addr: "192.0.2.1:0")).codes == [.familyMismatch])
    #expect(check(relayServer(listener: "icmp6", addr: "\"[::]:0\"")).diagnostics.isEmpty)
  }

  @Test("A name with addresses of the other family only is an error once the resolver has spoken")
  func resolvedFamilies() throws {
    let v4 = try #require(IPAddress("192.0.2.1"))
    let v6 = try #require(IPAddress("2001:db8::1"))
    let text = tunClient(addr: "h.example:0", dialer: "icmp6")
    #expect(check(text, host: HostFacts(resolved: ["h.example": [v4]])).codes == [.resolvedFamilyMismatch])
    #expect(check(text, host: HostFacts(resolved: ["h.example": [v4, v6]])).diagnostics.isEmpty)
    #expect(check(text, host: HostFacts(resolved: ["h.example": []])).codes == [.unresolvedName])
    #expect(check(text, host: HostFacts(resolved: [:])).diagnostics.isEmpty)
    #expect(
      check(tunClient(addr: "h.example:443", dialer: "quic"), host: HostFacts(resolved: ["h.example": [v4]]))
        .diagnostics.isEmpty)
  }

  @Test("Listeners clash by protocol and address, not by port alone")
  func clashes() {
    let second = { (listener: String, addr: String) in
      "- name: second\n  addr: \(addr)\n  handler: {type: relay}\n  listener: {type: \(listener)}\n"
    }
    #expect(check(relayServer() + second("tcp", ":8443")).codes == [.duplicateListenAddress])
    #expect(check(relayServer() + second("quic", ":8443")).diagnostics.isEmpty)
    #expect(check(relayServer(addr: "127.0.0.1:8443") + second("tcp", "127.0.0.2:8443")).diagnostics.isEmpty)
    #expect(check(relayServer(addr: "127.0.0.1:8443") + second("tcp", "'[::1]:8443'")).diagnostics.isEmpty)
    #expect(
      check(relayServer(addr: "0.0.0.0:8443") + second("tcp", "127.0.0.2:8443")).codes == [.duplicateListenAddress])
    #expect(check(relayServer(listener: "icmp", addr: ":0") + second("icmp6", ":0")).diagnostics.isEmpty)
    #expect(check(relayServer(listener: "icmp", addr: ":0") + second("icmp", ":0")).codes == [.duplicateListenAddress])
  }

  // MARK: TUN

  @Test(
    "`net` in any form that GOST documents is read",
    arguments: [
      "10.0.0.1/24", "10.0.0.1/24,fd00::1/64", "\"10.0.0.1/24, fd00::1/64\"", "10.0.0.1/32", "10.0.0.1/31",
      "10.0.0.1/24,",
    ])
  func nets(_ net: String) {
    #expect(check(tunServer(net)).diagnostics.isEmpty)
  }

  @Test("A bad entry of `net` is marked alone, and nothing else is said of it")
  func badNets() {
    let report = check(tunServer("10.0.0.1/24,10.0.0.x/24"))
    #expect(report.codes == [.badPrefix])
    #expect(report.place(.badPrefix) == "9:24 10.0.0.x/24")
    #expect(check(tunServer("10.0.0.1")).fixed(.badPrefix) == tunServer("10.0.0.1/24"))
    #expect(check(tunServer("10.0.0.1/255.255.255.0")).fixed(.badPrefix) == tunServer("10.0.0.1/24"))
    #expect(check(tunServer("[10.0.0.1/24, fd00::1/64]")).fixed(.wrongType) == tunServer("10.0.0.1/24,fd00::1/64"))
  }

  @Test("`route` and `routes` in any form that GOST documents are read")
  func routes() throws {
    let report = check(
      tunServer(
        "10.0.0.1/24",
        listener: [
          "gw: 10.0.0.2", "route: 192.168.0.0/16,172.16.0.0/12", "routes:", "- 10.100.0.0/16",
          "- 10.101.0.0/16 10.0.0.3",
        ]))
    #expect(report.diagnostics.isEmpty)
    let metadata = try #require(report.configuration?.services.first?.listener.metadata)
    #expect(metadata.prefixes("route").map(\.description) == ["192.168.0.0/16", "172.16.0.0/12"])
    #expect(metadata.address("gw") == IPAddress("10.0.0.2"))
    #expect(metadata.routes("routes").map(\.gateway) == [nil, IPAddress("10.0.0.3")])
    #expect(check(tunServer(listener: ["routes: 10.100.0.0/16,10.101.0.0/16 10.0.0.3"])).diagnostics.isEmpty)
    #expect(check(tunServer(listener: ["routes: [10.1.0.0/16 10.0.0.3 x]"])).codes == [.badPrefix])
    #expect(check(tunServer(listener: ["routes: [10.1.0.0/16 10.9.0.3]"])).codes == [.gatewayOutsideNet])
    #expect(check(tunServer(listener: ["gw: 10.0.0.1"])).codes == [.gatewayOutsideNet])
    #expect(check(tunServer(listener: ["gw: 10.0.0.2/24"])).fixed(.badAddress) == tunServer(listener: ["gw: 10.0.0.2"]))
    #expect(check(tunServer(listener: ["route: 10.1.2.3/16"])).codes == [.networkAddress])
    #expect(check(tunServer(listener: ["route: 0.0.0.0/0"])).diagnostics.isEmpty)
    #expect(check(tunServer(listener: ["route: '::/0'"])).codes == [.routeFamily])
  }

  @Test("Addresses that no interface can have are refused, odd ones named")
  func oddNets() {
    #expect(check(tunServer("10.0.0.0/24")).codes == [.networkAddress])
    #expect(check(tunServer("10.0.0.255/24")).exitCode == 0)
    #expect(check(tunServer("224.0.0.1/24")).exitCode == 1)
    #expect(check(tunServer("127.0.0.1/8")).exitCode == 1)
    #expect(check(tunServer("10.0.0.1/24,10.0.0.1/24")).codes == [.overlappingNetworks])
  }

  @Test("A target inside the tunnel is right behind a chain, and wrong without")
  func targets() {
    #expect(check(tunClient(target: "10.0.0.1:8421")).diagnostics.isEmpty)
    let direct = tunClient(target: "10.0.0.1:8421").with("    chain: out\n", "")
    #expect(check(direct).codes.contains(.forwarderInsideTunnel))
    #expect(check(tunClient(target: "10.0.0.2:8421")).codes == [.forwarderIsSelf])
    #expect(check(tunClient(addr: "10.0.0.77:8443")).codes == [.forwarderInsideTunnel])
    #expect(check(tunClient(target: "vpn.example.com:0")).codes == [.missingPort])
    #expect(check(tunClient(target: "vpn")).codes == [.targetWithoutPortNotYet])
  }

  @Test("A passphrase of 16 bytes is good, one of 17 is not, at either end")
  func passphrases() {
    let sixteen = "abcdefghijklmnop"
    #expect(check(tunServer(handler: ["passphrase: \(sixteen)"])).codes == [.clientOnlyKey])
    let client = { (phrase: String) in
      tunClient().with("    chain: out\n", "    chain: out\n    metadata: {passphrase: \(phrase)}\n")
    }
    #expect(check(client(sixteen)).diagnostics.isEmpty)
    #expect(check(client(sixteen + "q")).codes == [.passphraseTooLong])
    #expect(check(client(sixteen + "q")).diagnostics.map(\.severity) == [.warning], "GOST sends sixteen of them")
    #expect(check(client("ääääääääß")).codes == [.passphraseTooLong])
    let server = tunServer().with("    type: tun\n  listener", "    type: tun\n    auther: u\n  listener")
    let users = { (password: String) in
      server + "authers:\n- name: u\n  auths:\n  - {username: 10.0.0.2, password: \(password)}\n"
    }
    #expect(check(users(sixteen)).diagnostics.isEmpty)
    #expect(check(users(sixteen + "q")).codes == [.passphraseTooLong])
    #expect(check(users(sixteen + "q")).diagnostics.map(\.severity) == [.error])
  }

  @Test("Names of interfaces are what Linux takes, each once")
  func interfaceNames() {
    #expect(check(tunServer(listener: ["name: tun%d"])).diagnostics.isEmpty)
    #expect(check(tunServer(listener: ["name: abcdefghijklmno"])).diagnostics.isEmpty)
    #expect(check(tunServer(listener: ["name: a/b"])).codes == [.interfaceName])
    let two =
      tunServer(listener: ["name: vpn0"])
      + tunServer("10.1.0.1/24", listener: ["name: vpn0"], addr: ":8422").with("services:\n", "").with(
        "name: vpn\n", "name: vpn2\n")
    #expect(check(two).codes == [.duplicateName])
  }

  @Test("`so_mark` and `interface` come from the new place, the old one, or the hop")
  func socketOptions() throws {
    let old = relayServer() + "  interface: eth0\n  sockopts: {mark: 7}\n"
    let service = try #require(check(old).configuration?.services.first)
    #expect(service.interface?.value == "eth0" && service.mark?.value == 7)
    let new = relayServer() + "  metadata: {interface: eth1, so_mark: 0x10, preUp: [ip link], dialTimeout: 5s}\n"
    let report = check(new)
    #expect(report.diagnostics.isEmpty)
    #expect(report.configuration?.services.first?.mark?.value == 16)
    #expect(report.configuration?.services.first?.metadata.strings("preUp") == ["ip link"])
    let hop = tunClient().with(
      "    nodes:\n    - name: node", "    metadata: {so_mark: 9}\n    nodes:\n    - name: node")
    let configuration = try #require(check(hop).configuration)
    #expect(configuration.chains.first.flatMap { configuration.hops(of: $0).first?.nodes.first?.mark?.value } == 9)
    #expect(
      check(relayServer() + "  metadata: {preUp: ip link}\n").fixed(.wrongType) == relayServer()
        + "  metadata: {preUp: [ip link]}\n")
  }

  // MARK: Pairs

  @Test("Ports are compared where there are ports")
  func peerPorts() {
    let server = tunServer() + relayServer().with("services:\n", "")
    #expect(check(tunClient(), with: server).diagnostics.isEmpty)
    let report = check(tunClient(addr: "relay.example.com:443"), with: server)
    #expect(report.codes == [.peerListensElsewhere])
    #expect(report.fixed(.peerListensElsewhere) == tunClient())
    let echo = tunServer() + relayServer(listener: "icmp", addr: ":0").with("services:\n", "")
    #expect(check(tunClient(addr: "h.example:77", dialer: "icmp"), with: echo).diagnostics.isEmpty)
    #expect(
      check(tunClient(addr: "h.example:77", dialer: "icmp6"), with: echo).fixed(.peerHasNoListener)
        == tunClient(addr: "h.example:77", dialer: "icmp"))
  }

  @Test("Credentials of the two ends are compared and never shown")
  func peerCredentials() {
    let server = { (user: String, password: String) in
      tunServer() + relayServer(["auth: {username: \(user), password: \(password)}"]).with("services:\n", "")
    }
    let client = tunClient().with(
      "        type: relay\n", "        type: relay\n        auth: {username: ann, password: pa55}\n")
    #expect(check(client, with: server("ann", "pa55")).diagnostics.isEmpty)
    let wrong = check(client, with: server("ann", "other66"))
    #expect(wrong.codes == [.peerAuthentication])
    #expect(!wrong.rendered.contains("pa55") && !wrong.rendered.contains("other66"))
    #expect(
      check(client, with: server("bob", "pa55")).first(.peerAuthentication)?.message.contains("knows no user `ann`")
        == true)
    #expect(check(tunClient(), with: server("ann", "x")).codes == [.peerAuthentication])
    #expect(check(client, with: tunServer() + relayServer().with("services:\n", "")).diagnostics.isEmpty)
  }

  @Test("A server with a chain of its own to somewhere else is no mistake of the pair")
  func onwardChains() {
    let onward =
      "chains:\n- name: next\n  hops:\n  - nodes:\n    - addr: exit.example.com:443\n      connector: {type: relay}\n      dialer: {type: quic}\n"
    let middle = relayServer(["chain: next"]) + onward
    #expect(check(tunClient(target: "192.0.2.9:8421"), with: middle).diagnostics.isEmpty)
    #expect(check(middle, with: tunClient(target: "192.0.2.9:8421")).diagnostics.isEmpty)
  }

  @Test("A tunnel over plain UDP is followed without a chain")
  func directTunnel() {
    let client = tunClient(target: "vpn.example.com:8421").with("    chain: out\n", "").with("chains:", "unused:")
    let plain =
      String(
        client.prefix { _ in true }.split(separator: "\n").prefix { !$0.hasPrefix("unused") }.joined(separator: "\n")
      )
      .with("    type: tun\n  listener", "    type: tun\n    metadata: {keepAlive: true}\n  listener") + "\n"
    #expect(check(plain, with: tunServer()).diagnostics.isEmpty, "\(plain)")
    #expect(check(plain, with: tunServer("10.0.0.2/24")).codes == [.sameInnerAddress])
    #expect(check(plain, with: tunServer(addr: ":9999")).codes == [.targetNotServed])
    #expect(
      check(plain, with: tunServer(), plain.with("10.0.0.2/24", "10.0.0.2/32")).codes == [
        .sameInnerAddress, .outsidePeerNetwork,
      ])
  }
}

/// Slips that users make, and the one thing that is said about each.
@Suite struct SlipTests {
  @Test("`auths` in a handler is sent to the authers")
  func auths() {
    let report = check(relayServer(["auths: [{username: a, password: b}]"]))
    #expect(report.codes == [.misplacedKey])
    #expect(report.first(.misplacedKey)?.message.contains("`authers[]`") == true)
  }

  @Test("A type one level too high is one finding")
  func shallowType() {
    #expect(check(relayServer().with("    type: relay", "  type: relay")).codes == [.misplacedKey])
  }

  @Test("A missing space behind a colon is put there by the fix")
  func missingSpace() {
    #expect(check(relayServer().with("type: relay", "type:relay")).fixed(.wrongType) == relayServer())
  }

  @Test("A key that is indented too deep goes back by the fix")
  func tooDeep() {
    #expect(check(relayServer().with("  addr:", "    addr:")).fixed(.syntax) == relayServer())
  }

  @Test("A tab in the indentation becomes spaces by the fix")
  func tab() {
    let report = check(relayServer().with("    type: relay", "\t\ttype: relay"))
    #expect(report.fixed(.syntax) == relayServer())
  }

  @Test("A text that begins with a star is told to be quoted")
  func star() {
    let report = check(tunClient(addr: "*.example.com:443"))
    #expect(report.codes == [.syntax])
    #expect(report.place(.syntax) == "21:13 *")
  }
}
