/// Rules about the host, with hosts that were made up: each finding where it belongs, and silence where all is well.
import Configuration
import Testing
import Values

@Suite struct HostRuleTests {
  /// A host with one cable that has everything.
  static func facts(_ change: (inout NetworkFacts) -> Void = { _ in }) -> HostFacts {
    var network = NetworkFacts()
    network.interfaces = [
      InterfaceFacts(name: "lo", addresses: prefixes("127.0.0.1/8", "::1/128"), mtu: 65_536, isLoopback: true),
      InterfaceFacts(name: "eth0", addresses: prefixes("192.0.2.10/24", "2001:db8::10/64")),
    ]
    network.routes = [
      RouteFacts(prefix("0.0.0.0/0"), interface: "eth0", gateway: address("192.0.2.1")),
      RouteFacts(prefix("192.0.2.0/24"), interface: "eth0"),
    ]
    change(&network)
    return HostFacts(network: network)
  }

  static func address(_ text: String) -> IPAddress { IPAddress(text) ?? .anyIPv4 }
  static func prefix(_ text: String) -> IPPrefix { IPPrefix(text) ?? .host(.anyIPv4) }
  static func prefixes(_ texts: String...) -> [IPPrefix] { texts.map(prefix) }

  /// Codes of this host alone, as `CODE severity place`.
  private func findings(
    _ text: String, resolved: [String: [IPAddress]] = [:], _ change: (inout NetworkFacts) -> Void = { _ in }
  ) -> [String] {
    var host = Self.facts(change)
    host.resolved = resolved
    return told(check(text, host: host))
  }

  private func told(_ report: CheckReport) -> [String] {
    report.diagnostics.filter { $0.code.isEnvironment }.map { diagnostic in
      let text = diagnostic.primary.map { report.sources.text(of: $0.span) } ?? "nowhere"
      return "\(diagnostic.code.rawValue) \(diagnostic.severity.rawValue) \(text)"
    }
  }

  @Test("A host that has everything hears nothing")
  func nothing() {
    #expect(findings(tunServer() + relayServer().with("services:\n", "")) == [])
    #expect(
      findings(tunClient(addr: "192.0.2.7:443")) {
        $0.ways[WayQuestion(Self.address("192.0.2.7"))] = .via(interface: "eth0", gateway: nil)
      } == [])
    // Nobody looked: nobody knows.
    #expect(told(check(tunClient(addr: "no.example:443"), host: HostFacts())) == [])
  }

  @Test(
    "A port that is taken is an error at its address",
    arguments: [
      (":8443", "::", true, true), (":8443", "127.0.0.1", false, true), ("127.0.0.1:8443", "::", false, true),
      ("127.0.0.1:8443", "::", true, false), ("127.0.0.1:8443", "192.0.2.10", false, false),
      ("0.0.0.0:8443", "127.0.0.1", false, true), ("0.0.0.0:8443", "::1", false, false),
      ("192.0.2.10:8443", "0.0.0.0", false, true), ("\"[::1]:8443\"", "::", true, true),
    ])
  func taken(_ addr: String, _ other: String, _ isIPv6Only: Bool, _ isTaken: Bool) {
    let found = findings(relayServer(addr: addr)) {
      $0.boundSockets = [
        BoundSocket(.tcp, Self.address(other), 8443, isIPv6Only: isIPv6Only, owner: "`nginx`, process 812"),
        BoundSocket(.udp, Self.address(other), 8443), BoundSocket(.tcp, Self.address(other), 8444),
      ]
    }
    #expect(found == (isTaken ? ["CV1001 error \(addr)"] : []))
  }

  @Test("A relay's addresses are ones that this host has, and a pair's own address as well")
  func relayAddresses() {
    let relay = """
      services:
      - name: relay
        addr: :3478
        handler: {type: turn, auth: {username: u, password: wonderland}, metadata: {WHAT}}
        listener: {type: udp}

      """
    #expect(findings(relay.with("WHAT", "addresses: [192.0.2.10, '2001:db8::10']")) == [])
    #expect(findings(relay.with("WHAT", "addresses: [192.0.2.10, 192.0.2.11]")) == ["CV1002 error 192.0.2.11"])
    #expect(findings(relay.with("WHAT", "alternate: 192.0.2.12:3479")) == ["CV1002 error 192.0.2.12:3479"])
    #expect(findings(relay.with("WHAT", "external: 203.0.113.5/10.0.0.5")) == ["CV1002 warning 203.0.113.5/10.0.0.5"])
    #expect(findings(relay.with("WHAT", "external: 203.0.113.5/192.0.2.10")) == [])
    #expect(findings(relay.with("WHAT", "external: 203.0.113.5")) == [])
  }

  @Test("The owner of a port is named, and UDP ports are their own")
  func owner() {
    let report = check(
      relayServer(listener: "quic"),
      host: Self.facts { $0.boundSockets = [BoundSocket(.udp, .anyIPv4, 8443, owner: "`nginx`, process 812")] })
    #expect(report.first(.portInUse)?.message == "UDP port 8443 is in use by `nginx`, process 812")
    #expect(report.exitCode == 1)
    #expect(findings(relayServer(listener: "quic")) { $0.boundSockets = [BoundSocket(.tcp, .anyIPv4, 8443)] } == [])
  }

  @Test("An address to listen at is one of this host's, or of its tunnels")
  func here() {
    #expect(findings(relayServer(addr: "203.0.113.9:8443")) == ["CV1002 error 203.0.113.9:8443"])
    #expect(findings(relayServer(addr: "192.0.2.10:8443")) == [])
    // A route may make an address local that is on no interface.
    let local = WayQuestion(Self.address("203.0.113.9"))
    #expect(findings(relayServer(addr: "203.0.113.9:8443")) { $0.ways[local] = .local } == [])
    #expect(findings(relayServer(addr: "203.0.113.9:8443")) { $0.bindsForeign = [.ipv4] } == [])
    #expect(findings(tunServer() + relayServer(addr: "10.0.0.1:8443").with("services:\n", "")) == [])
    #expect(
      findings(relayServer(addr: "here.example:8443"), resolved: ["here.example": [Self.address("203.0.113.9")]])
        == ["CV1002 error here.example:8443"])
    #expect(
      findings(relayServer(addr: "gone.example:8443"), resolved: ["gone.example": []]) == [
        "CV1008 error gone.example:8443"
      ])
  }

  @Test("An interface of that name is an error")
  func interface() {
    #expect(findings(tunServer(listener: ["name: eth0"])) == ["CV1003 error eth0"])
    #expect(findings(tunServer(listener: ["name: eth1"])) == [])
  }

  @Test("Without /dev/net/tun there is no TUN, and that is said once")
  func device() {
    #expect(
      findings(tunServer()) {
        $0.tunAccess = .missing; $0.capabilities = []
      } == ["CV1006 error tun"])
    #expect(findings(tunServer()) { $0.tunAccess = .forbidden } == ["CV1006 error tun"])
    #expect(findings(relayServer()) { $0.tunAccess = .missing } == [])
  }

  @Test("Each missing capability is an error where it is needed")
  func capabilities() {
    #expect(findings(tunServer()) { $0.capabilities = [.rawSockets, .lowPorts] } == ["CV1004 error tun"])
    #expect(
      findings(relayServer(listener: "icmp", addr: ":0")) { $0.capabilities = [.administerNetwork] } == [
        "CV1004 error :0"
      ])
    #expect(
      findings(relayServer(listener: "icmp", addr: ":0")) { $0.capabilities = [.rawSockets] } == ["CV1004 warning :0"])
    #expect(findings(relayServer(addr: ":443")) { $0.capabilities = [] } == ["CV1004 error :443"])
    #expect(
      findings(relayServer(addr: ":443")) {
        $0.capabilities = []; $0.firstFreePort = 0
      } == [])
    #expect(findings(relayServer()) { $0.capabilities = [] } == [])
    let marked = relayServer() + "  metadata: {so_mark: 7}\n  forwarder: {nodes: [{addr: \"192.0.2.7:22\"}]}\n"
    #expect(findings(marked) { $0.capabilities = [] }.contains("CV1004 error 7"))
    #expect(!findings(marked) { $0.capabilities = [.rawSockets] }.contains("CV1004 error 7"))
  }

  @Test("What needs IPv6 is told where there is none, by how much depends on it")
  func family() {
    let off: (inout NetworkFacts) -> Void = {
      $0.isIPv6Off = true; $0.isIPv6OffForNew = true
    }
    let none: (inout NetworkFacts) -> Void = { $0.hasIPv6 = false }
    #expect(findings(tunServer("10.0.0.1/24,fd00::1/64"), off) == ["CV1005 error fd00::1/64"])
    #expect(findings(tunServer(), off) == [])
    // It may be switched on later.
    #expect(findings(relayServer(listener: "icmp6", addr: ":0"), off) == ["CV1005 warning :0"])
    #expect(findings(relayServer(listener: "icmp6", addr: ":0"), none) == ["CV1005 error :0"])
    #expect(findings(relayServer(addr: "\"[2001:db8::99]:8443\""), off) == ["CV1005 error \"[2001:db8::99]:8443\""])
    #expect(findings(tunClient(addr: "\"[2001:db8::7]:443\""), off) == ["CV1005 error \"[2001:db8::7]:443\""])
    #expect(findings(relayServer(), off) == [])
  }

  @Test("No route to a node is a warning, and none where the way is not asked or the tunnel leads there")
  func route() {
    let node = WayQuestion(Self.address("198.51.100.7"))
    #expect(
      findings(tunClient(addr: "198.51.100.7:443")) { $0.ways[node] = HostWay.none } == [
        "CV1007 warning 198.51.100.7:443"
      ])
    #expect(findings(tunClient(addr: "198.51.100.7:443")) { $0.ways[node] = .local } == [])
    #expect(findings(tunClient(addr: "198.51.100.7:443")) == [])
    let inside =
      tunServer() + "- name: web\n  addr: :80\n  handler: {type: tcp}\n  listener: {type: tcp}\n"
      + "  forwarder: {nodes: [{addr: \"10.0.0.2:80\"}]}\n"
    #expect(findings(inside) { $0.ways[WayQuestion(Self.address("10.0.0.2"))] = HostWay.none } == [])
  }

  @Test("A name that does not resolve is told where this host resolves it")
  func names() {
    #expect(
      findings(tunClient(addr: "gone.example:443"), resolved: ["gone.example": []]) == [
        "CV1008 warning gone.example:443"
      ])
    // Behind the first node it is not this host that asks.
    #expect(
      findings(tunClient(target: "gone.example:8421", addr: "192.0.2.7:443"), resolved: ["gone.example": []]) == [])
  }

  @Test("Strict reverse-path filtering is told where it would drop the answers")
  func reversePath() {
    let client = tunClient(addr: "198.51.100.7:443", node: ["metadata: {interface: wlan0}"])
    let node = Self.address("198.51.100.7")
    func ask(_ filter: Int, back: String) -> [String] {
      findings(client) {
        $0.interfaces.append(InterfaceFacts(name: "wlan0", reversePathFilter: filter))
        $0.ways[WayQuestion(node, interface: "wlan0")] = .via(interface: "wlan0", gateway: nil)
        $0.ways[WayQuestion(node)] = .via(interface: back, gateway: nil)
      }
    }
    #expect(ask(1, back: "eth0") == ["CV1010 warning wlan0"])
    #expect(ask(1, back: "wlan0") == [] && ask(2, back: "eth0") == [] && ask(0, back: "eth0") == [])
    // A service with a mark keeps no way outside for its node: the answer's way back would be the tunnel.
    let marked = tunClient(addr: "198.51.100.7:443", listener: ["route: 0.0.0.0/0"])
      .with("  forwarder:\n", "  metadata: {so_mark: 7}\n  forwarder:\n")
    func strict(_ facts: inout NetworkFacts) {
      facts.interfaces = [InterfaceFacts(name: "eth0", reversePathFilter: 1)]
      facts.markRules = [MarkRule(family: .ipv4, mark: 7)]
      facts.ways[WayQuestion(node, mark: 7)] = .via(interface: "eth0", gateway: nil)
      facts.ways[WayQuestion(node)] = .via(interface: "eth0", gateway: nil)
    }
    #expect(findings(marked, strict) == ["CV1010 warning 7"])
    #expect(
      findings(marked) {
        strict(&$0); $0.looksBackWithMark = true
      } == [])
  }

  @Test("A mark that no rule looks at is told, unless a command of the service may make the rule")
  func mark() {
    let text = tunClient(addr: "198.51.100.7:443", node: ["metadata: {so_mark: 7}"])
    #expect(findings(text) == ["CV1012 warning 7"])
    #expect(findings(text) { $0.markRules = [MarkRule(family: .ipv4, mark: 7)] } == [])
    #expect(findings(text) { $0.markRules = [MarkRule(family: .ipv4, mark: 8)] } == ["CV1012 warning 7"])
    #expect(findings(text) { $0.markRules = [MarkRule(family: .ipv4, mark: 8, isInverted: true)] } == [])
    #expect(findings(text) { $0.markRules = [MarkRule(family: .ipv4, mark: 3, mask: 3)] } == [])
    let hooked = text.with("  forwarder:\n", "  metadata: {preUp: [\"ip rule add fwmark 7 table 7\"]}\n  forwarder:\n")
    #expect(findings(hooked) == [])
  }

  @Test("Networks and routes that the host has elsewhere are told")
  func overlaps() {
    #expect(findings(tunServer("192.0.2.200/24")) == ["CV1011 warning 192.0.2.200/24"])
    #expect(findings(tunServer(listener: ["route: 192.0.2.0/24"])) == ["CV1011 warning 192.0.2.0/24"])
    let client = tunClient(addr: "198.51.100.7:443", listener: ["route: 0.0.0.0/0"])
    #expect(findings(client) == [])
    #expect(
      findings(client) { $0.routes.append(RouteFacts(Self.prefix("0.0.0.0/1"), interface: "wg0")) }
        == ["CV1011 warning 0.0.0.0/0"])
    // A Culvert's own, such as that of a client that was killed, keeps nobody's way.
    #expect(
      findings(tunServer("192.0.2.200/24")) {
        $0.routes = [RouteFacts(Self.prefix("192.0.2.0/24"), interface: "eth0", isException: true)]
      } == [])
  }

  @Test("Forwarding that is off is told where a server's routes need it, by family")
  func forwarding() {
    let text = tunServer(
      "10.0.0.1/24,fd00::1/64", listener: ["routes: [\"10.8.0.0/16 10.0.0.2\", \"fd08::/16 fd00::2\"]"])
    #expect(findings(text) { $0.forwarding = [.ipv6] } == ["CV1009 warning \"10.8.0.0/16 10.0.0.2\""])
    #expect(findings(text) { $0.forwarding = [] }.count == 2)
    #expect(findings(text) == [])
    #expect(findings(tunServer()) { $0.forwarding = [] } == [])
    #expect(findings(tunClient(addr: "192.0.2.7:443", listener: ["route: 10.8.0.0/16"])) { $0.forwarding = [] } == [])
  }

  @Test("A range of ports that needs more descriptors than there are is an error, once")
  func descriptors() {
    let range = Checker.check(
      [], arguments: CommandLineArguments(services: ["tcp://:2000-2999/192.0.2.7:80"]),
      host: Self.facts { $0.descriptorLimit = 512 })
    #expect(range.diagnostics.filter { $0.code == .descriptorLimit }.map(\.severity) == [.error])
    let enough = Checker.check(
      [], arguments: CommandLineArguments(services: ["tcp://:2000-2999/192.0.2.7:80"]), host: Self.facts())
    #expect(enough.first(.descriptorLimit) == nil)
  }

  @Test("An interface to leave by that is not there is told with those that are")
  func missingInterface() {
    let text = tunClient(addr: "198.51.100.7:443", node: ["metadata: {interface: wlan0}"])
    #expect(findings(text) == ["CV1014 warning wlan0"])
    #expect(check(text, host: Self.facts()).first(.interfaceMissing)?.help == ["the interfaces are `eth0`"])
  }

  @Test("A file that cannot be read is an error where it would be read, and nowhere else")
  func files() {
    var host = Self.facts()
    host.unreadable = ["c.pem": "No such file or directory"]
    let text = relayServer() + "    tls: {certFile: c.pem, keyFile: k.pem}\n"
    #expect(told(check(text, host: host)) == ["CV1015 error c.pem"])
    // A chain that no service uses is not opened.
    let unused =
      relayServer()
      + "chains:\n- name: out\n  hops:\n  - nodes:\n    - addr: 192.0.2.7:443\n      connector: {type: relay}\n"
      + "      dialer: {type: tls, tls: {caFile: c.pem}}\n"
    #expect(told(check(unused, host: host)) == [])
  }

  @Test("Packets that a link does not take whole are told with the MTU that fits")
  func size() {
    let text =
      tunServer("10.0.0.2/24", addr: ":0") + "  forwarder:\n    nodes:\n    - addr: 198.51.100.7:8421\n"
    let node = WayQuestion(Self.address("198.51.100.7"))
    func ask(_ mtu: Int) -> CheckReport {
      check(
        text,
        host: Self.facts {
          $0.interfaces = [InterfaceFacts(name: "eth0", mtu: mtu)]
          $0.ways[node] = .via(interface: "eth0", gateway: nil)
        })
    }
    #expect(told(ask(1500)) == [])
    #expect(told(ask(1448)) == [])
    #expect(told(ask(1400)) == ["CV1016 warning tun"])
    #expect(ask(1400).first(.packetsTooLarge)?.help == ["write `mtu: 1372` here and at the server"])
  }

  @Test("A warning about the host can be accepted in the file, an error cannot")
  func accepted() {
    let text = tunClient(
      addr: "198.51.100.7:443", node: ["metadata:", "  so_mark: 7  # culvert: accept CV1012 nftables looks at it"])
    let report = check(text, host: Self.facts())
    #expect(report.accepted.map(\.diagnostic.code) == [.markWithoutRule] && report.first(.markWithoutRule) == nil)
    // Elsewhere it may be needed: a file is not wrong for a host that is well.
    #expect(check(text, host: Self.facts { $0.markRules = [MarkRule(family: .ipv4, mark: 7)] }).diagnostics.isEmpty)
    #expect(check(text).diagnostics.isEmpty)
  }
}
