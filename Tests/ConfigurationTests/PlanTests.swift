/// Plans of made-up hosts: what is printed, and that the sizes are those of the parts.
import Configuration
import PartDescriptors
import Testing
import Values

@Suite struct PlanTests {
  private func plan(_ text: String, _ host: HostFacts = HostRuleTests.facts()) throws -> Plan {
    let report = check(text, host: host)
    return PlanBuilder(try #require(report.configuration), host).build()
  }

  @Test("A TUN client's plan is read at a glance")
  func text() throws {
    var host = HostRuleTests.facts {
      let node = HostRuleTests.address("2001:db8:1::7")
      $0.ways[WayQuestion(node, interface: "eth0")] = .via(interface: "eth0", gateway: HostRuleTests.address("fe80::1"))
      $0.ways[WayQuestion(node)] = .via(interface: "eth0", gateway: HostRuleTests.address("fe80::1"))
      $0.capabilities = [.administerNetwork]
    }
    host.resolved = ["relay.example.com": [HostRuleTests.address("2001:db8:1::7"), HostRuleTests.address("192.0.2.7")]]
    let file = tunClient(
      net: "10.0.0.2/24,fd00::2/64", target: "vpn.example:8421", addr: "relay.example.com:0", dialer: "icmp6",
      node: ["metadata: {interface: eth0}"], listener: ["name: vpn0", "route: 10.8.0.0/16,::/0", "dns: 10.0.0.1"]
    )
    .with("  forwarder:\n", "  metadata: {postUp: [\"nft -f /etc/vpn.nft\"]}\n  forwarder:\n")
    let text = PlanText(try plan(file, host)).render()
    #expect(
      text == """
        vpn: TUN client
          interface    vpn0, MTU 1420 (the default)
          addresses    10.0.0.2/24, fd00::2/64
          routes       10.8.0.0/16
                       ::/0
          outside      2001:db8:1::7  by eth0 via fe80::1
          resolver     10.0.0.1, by resolvectl
          way          chain out
                       1  node  relay.example.com:0, 2001:db8:1::7, IPv6, by eth0
                          dialer     icmp6  +43  QUIC inside ICMPv6 echo, encrypted, certificate not verified
                          connector  relay       GOST's relay protocol
                       -> vpn.example:8421
          packets      +91 bytes each: IPv6 40, ICMPv6 8, envelope 10, QUIC 33
                       up to 1373 bytes cross whole over eth0, MTU 1500; larger ones take a stream, TCP is held below
                       with GOST at the other end all take a stream
          postUp       nft -f /etc/vpn.nft

        sockets
          dial  raw ICMPv6  relay.example.com  vpn, node node, by eth0, a random identifier

        names
          relay.example.com  2001:db8:1::7, 192.0.2.7  by this host, at each dial      vpn
          vpn.example                                  by the node node, at each dial  vpn

        capabilities
          CAP_NET_ADMIN  held     the interface of vpn, its addresses and routes
          CAP_NET_RAW    missing  raw ICMP sockets of vpn

        files
          /dev/net/tun  opened  TUN interfaces

        """)
  }

  @Test("Sizes are the parts' own: QUIC on links of several MTUs, plain UDP, streams")
  func sizes() throws {
    func packets(_ file: String, link: Int, family: String) throws -> Plan.Packets {
      let node = HostRuleTests.address(family)
      let host = HostRuleTests.facts {
        $0.interfaces = [InterfaceFacts(name: "eth0", mtu: link)]
        $0.ways[WayQuestion(node)] = .via(interface: "eth0", gateway: nil)
      }
      return try #require(try plan(file, host).services.first?.ways.first?.packets)
    }
    for link in [1280, 1400, 1492, 1500, 9000] {
      let quic = try packets(tunClient(addr: "192.0.2.7:443", dialer: "quic"), link: link, family: "192.0.2.7")
      #expect(quic.largest == PacketCarrier.udp.innerPacket(link: link, .ipv4) && quic.beyond == .stream)
      let echo = try packets(tunClient(addr: "192.0.2.7:0", dialer: "icmp"), link: link, family: "192.0.2.7")
      #expect(echo.largest == PacketCarrier.echo.innerPacket(link: link, .ipv4))
      let plain = tunServer("10.0.0.2/24", addr: ":0") + "  forwarder: {nodes: [{addr: \"[2001:db8::7]:8421\"}]}\n"
      let udp = try packets(plain, link: link, family: "2001:db8::7")
      #expect(udp.largest == link - 48 && udp.beyond == .fragments && udp.layers.reduce(0) { $0 + $1.bytes } == 48)
    }
    // Never more than was set, and never more than the link has.
    #expect(PacketCarrier.udp.packet(link: 9000, .ipv6) == 1444 && PacketCarrier.udp.packet(link: 1500, .ipv6) == 1444)
    #expect(PacketCarrier.echo.packet(link: 1500, .ipv6) == 1406)
    for link in 1280...1500 {
      for family in AddressFamily.allCases {
        let packet = PacketCarrier.udp.packet(link: link, family)
        #expect(packet <= link - PacketSizes.ipHeader(family) - 8 && packet >= 1200)
      }
    }
    let tls = try packets(tunClient(addr: "192.0.2.7:443", dialer: "tls"), link: 1500, family: "192.0.2.7")
    #expect(tls.largest == nil && tls.layers.map(\.bytes) == [22, 2] && tls.layers.map(\.name) == ["tls", "relay"])
  }

  @Test("A WireGuard interface's routes are its peers', its sizes its own, and behind a chain it has no port")
  func wireGuard() throws {
    let node = HostRuleTests.address("192.0.2.7")
    let host = HostRuleTests.facts { $0.ways[WayQuestion(node)] = .via(interface: "eth0", gateway: nil) }
    let key = "bsGH2f/P2mbjft2PzjspYuqu+9L9YCVmnl91Yfg8kXg="
    let straight = """
      services:
      - name: wg0
        addr: :51820
        handler: {type: wireguard, metadata: {privateKeyFile: /etc/wg.key}}
        listener: {type: wireguard, metadata: {net: 10.0.0.1/24}}
        peers:
        - {publicKey: \(key), allowedIPs: "10.0.0.2/32,10.9.0.0/16,192.0.2.0/24", endpoint: "192.0.2.7:51820"}
      """
    let first = try plan(straight, host)
    let interface = try #require(first.services.first?.interface)
    #expect(interface.name == "wg0" && interface.mtu == 1420)
    #expect(interface.routes.map(\.destination.description) == ["10.9.0.0/16", "192.0.2.0/24"])
    #expect(interface.exceptions.map(\.node) == [node])
    #expect(first.sockets.map { "\($0.use) \($0.transport) \($0.address)" }.first == "listen udp [::]:51820")
    let packets = try #require(first.services.first?.ways.first?.packets)
    #expect(packets.layers.map(\.bytes) == [20, 8, 32] && packets.largest == 1440)
    #expect(first.files.map(\.path).contains("/var/run/wireguard/wg0.sock"))
    #expect(first.files.map(\.path).contains("/etc/wg.key"))
    let chain =
      "chains: [{name: out, hops: [{nodes: [{name: n, addr: \"192.0.2.7:8443\", connector: {type: relay}, "
      + "dialer: {type: tls}}]}]}]"
    let second = try plan(
      straight.with("  addr: :51820\n", "").with(
        "type: wireguard, metadata: {priv", "type: wireguard, chain: out, metadata: {priv")
        + "\n" + chain, host)
    #expect(!second.sockets.contains { $0.use == .listen })
    #expect(second.services.first?.ways.first?.packets?.layers.map(\.bytes) == [22, 2, 32])
  }

  @Test("A route beside an equal one goes in halves, and a node inside the routes stays outside")
  func routes() throws {
    let node = HostRuleTests.address("198.51.100.7")
    let file = tunClient(addr: "198.51.100.7:443", listener: ["route: 0.0.0.0/0"])
    let host = HostRuleTests.facts {
      $0.ways[WayQuestion(node)] = .via(interface: "eth0", gateway: HostRuleTests.address("192.0.2.1"))
    }
    let interface = try #require(try plan(file, host).services.first?.interface)
    #expect(interface.routes.first?.set.map(\.description) == ["0.0.0.0/1", "128.0.0.0/1"])
    #expect(interface.exceptions.map(\.node) == [node] && interface.exceptions.first?.interface == "eth0")
    // A default route with a metric is no equal one.
    let other = HostRuleTests.facts {
      $0.routes = [RouteFacts(HostRuleTests.prefix("0.0.0.0/0"), interface: "eth0", metric: 100)]
    }
    #expect(try plan(file, other).services.first?.interface?.routes.first?.set.map(\.description) == ["0.0.0.0/0"])
  }

  @Test("Each hop says who dials it, and names are resolved by the node before")
  func hops() throws {
    let arguments = CommandLineArguments(
      services: ["tcp://:2222/db.example:22"],
      nodes: ["relay+tls://a.example:443,b.example:443?strategy=random", "socks5+ws://c.example:80"])
    let report = Checker.check([], arguments: arguments, host: HostRuleTests.facts())
    let plan = PlanBuilder(try #require(report.configuration), HostRuleTests.facts()).build()
    let way = try #require(plan.services.first?.ways.first)
    #expect(way.hops.map(\.strategy) == ["random", nil])
    #expect(way.hops.flatMap(\.nodes).map(\.dialledBy) == [nil, nil, "node-0 or node-1"])
    #expect(way.hops.flatMap(\.nodes).map(\.certificate) == [.unverified, .unverified, .none])
    // A connector adds nothing to the bytes of a connection.
    #expect(way.hops.flatMap(\.nodes).map(\.connector.overhead) == [0, 0, 0])
    #expect(
      plan.names.map(\.resolver) == [.here, .here, .node("node-0 or node-1"), .node("node-0")],
      "\(plan.names)")
    #expect(
      plan.sockets.map { "\($0.use) \($0.transport) \($0.address)" } == [
        "listen tcp [::]:2222", "dial tcp a.example:443", "dial tcp b.example:443",
      ])
    #expect(plan.services.first?.interface == nil && plan.filteredFamilies.isEmpty)
  }

  @Test("Ports that clients ask for, ports of other hosts, and services that dial straight are told apart")
  func sockets() throws {
    func sockets(_ services: [String], _ nodes: [String] = []) throws -> [String] {
      let report = Checker.check(
        [], arguments: CommandLineArguments(services: services, nodes: nodes), host: HostRuleTests.facts())
      let plan = PlanBuilder(try #require(report.configuration), HostRuleTests.facts()).build()
      return plan.sockets.map { "\($0.use) \($0.transport) \($0.address)" }
    }
    #expect(
      try sockets(["socks5://127.0.0.1:1080?udp=true&bind=true&udp.bindRange.min=4000&udp.bindRange.max=4010"]) == [
        "listen tcp 127.0.0.1:1080", "listen udp a port of 4000-4010", "listen tcp the port that is asked for",
        "dial tcp what clients ask for",
      ])
    #expect(
      try sockets(["rtcp://:2222/127.0.0.1:22"], ["relay+wss://192.0.2.7:443"]) == [
        "dial tcp 192.0.2.7:443", "dial tcp 127.0.0.1:22",
      ])
    #expect(try sockets(["relay+icmp6://:0"]) == ["listen icmp6 ::", "dial tcp what clients ask for"])
    #expect(try sockets(["udp://:53/192.0.2.7:53"]) == ["listen udp [::]:53", "dial udp 192.0.2.7:53"])
  }

  @Test("The JSON is one object with the findings inside, and their exit code")
  func json() throws {
    let text = tunClient(addr: "198.51.100.7:443")
    let host = HostRuleTests.facts { $0.tunAccess = .missing }
    let report = check(text, host: host)
    let json = PlanJSON.render(PlanBuilder(try #require(report.configuration), host).build(), report)
    #expect(json.hasPrefix("{\"schema\":\"culvert.plan/1\",\"exit\":1,\"services\":[{\"name\":\"vpn\""))
    #expect(json.contains("\"diagnostics\":[{\"code\":\"CV1006\",\"severity\":\"error\""))
    #expect(json.contains("\"mtu\":1420,\"mtuWritten\":false"))
    // It is read by our own reader of YAML, of which JSON is a part.
    var map = SourceMap()
    let id = map.add(name: "plan.json", bytes: Array(json.utf8))
    let (root, diagnostics) = YAMLReader.read(id, in: &map)
    #expect(diagnostics.isEmpty && root?["services"]?.sequence?.count == 1)
    #expect(PlanJSON.render(nil, report).contains("\"services\":[],"))
  }

  @Test("What comes from a file cannot colour or move the cursor, and no secret is printed")
  func printable() throws {
    let report = Checker.check(
      [],
      arguments: CommandLineArguments(
        services: ["tun://:0/10.0.0.1:8421?net=10.0.0.2/24&passphrase=verysecret"],
        nodes: ["relay+tls://user:verysecret@\u{1B}[31mevil:443"]), host: HostRuleTests.facts())
    guard let configuration = report.configuration else { return }
    let plan = PlanBuilder(configuration, HostRuleTests.facts()).build()
    let text = PlanText(plan).render() + PlanJSON.render(plan, report)
    #expect(!text.contains("verysecret") && !text.contains("\u{1B}"))
    #expect(PlanText(plan, colors: true).render().contains("\u{1B}[1m"))
  }
}
