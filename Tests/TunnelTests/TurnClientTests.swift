/// A TURN server in the middle: our client at one that is not ours, and at ours; WireGuard through it, and every leg that
/// is printed held against what tcpdump saw.
import Glibc
import Testing

extension Tunnels {
  @Suite("TURN clients", .enabled(if: Turn.missing.isEmpty, Turn.reason))
  struct TurnClientTests {
    // MARK: Two legs

    @Test(
      "A client without IPv6 reaches a peer over IPv6: each leg that is printed is the one on the wire",
      arguments: Turn.Relay.allCases)
    func seed(_ relay: Turn.Relay) throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      try net.set("client", "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
      try net.set("server", "ip -4 addr flush dev eth0")
      let relaying = try net.relay(relay, "relay", ["10.99.0.2", "fd00:1::2"])
      let seen = try ["client", "relay", "server"].reduce(into: [:]) { $0[$1] = try net.capture($1, "udp or tcp") }
      let ends = try WireGuardEnds(net)
      let server = try net.culvert("server", Files.wireGuard(ends, "server", addr: ":51820"))
      let client = try net.culvert(
        "client", Files.wireGuard(ends, "client", endpoint: "[fd00:1::3]:51820", through: Files.node("10.99.0.2")))
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("client", "fd07::2") != nil, net.story)
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)

      let legs = try client.legs(of: "server")
      try #require(legs.count == 2, "\(legs) \(net.story)")
      let (own, far) = (legs[0], legs[1])
      #expect((own.from, own.to, own.family, own.layers) == ("us", "relay", "IPv4", "udp+turn"))
      #expect((own.localEvidence, own.remoteEvidence) == ("observed", "observed") && own.remote == "10.99.0.2.3478")
      #expect((far.from, far.to, far.family, far.layers) == ("relay", "peer", "IPv6", "udp+wireguard"))
      #expect((far.localEvidence, far.remoteEvidence) == ("reported", "told") && far.remote == "fd00:1::3.51820")
      let flows = seen.mapValues { $0.flows }
      for leg in legs {
        let hosts = leg.from == "us" ? ["client", "relay"] : ["relay", "server"]
        for host in hosts {
          #expect(flows[host]?.contains(leg.flow) == true, "\(leg) on \(host): \(flows[host] ?? [])")
          #expect(flows[host]?.contains(leg.flow.reversed) == true, "\(leg) back on \(host)")
        }
      }
      // And nothing else crossed: two legs are two flows, and each host saw only its own.
      #expect(flows["client"] == [own.flow, own.flow.reversed], "\(flows["client"] ?? [])")
      #expect(flows["server"] == [far.flow, far.flow.reversed], "\(flows["server"] ?? [])")
      #expect(flows["relay"]?.count == 4, "\(flows["relay"] ?? [])")

      // The other end sees the relay's address as its peer's, by its own socket.
      let there = try #require(try server.legs(of: "client").first)
      #expect(there.remote == far.local && there.remoteEvidence == "observed", "\(there)")
      let text = try client.path()
      #expect(text.contains("(the first reported by relay, the second told to it)"), "\(text)")
      if let relaying { try expectSame(relaying, own, far) }
    }

    /// Our relay tells the same two legs from its side.
    private func expectSame(_ relay: Culvert, _ own: PrintedLeg, _ far: PrintedLeg) throws {
      let legs = try relay.legs(of: "")
      let text = try relay.path()
      let first = legs.first { $0.family == "IPv4" }
      let second = legs.first { $0.family == "IPv6" }
      #expect(first.map { [$0.local, $0.remote].contains(own.local) } == true, "\(legs) \(text)")
      #expect(second.map { Set([$0.local, $0.remote]) } == [far.local, far.remote], "\(legs) \(text)")
    }

    // MARK: A relay that is not ours

    @Test(
      "coturn carries datagrams for us over UDP, TCP and TLS, from either family to either",
      arguments: ["udp", "tcp", "tls"])
    func coturn(_ transport: String) throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      let key = "\(net.directory)/key.pem"
      let made = try shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=relay.test -addext subjectAltName=DNS:relay.test "
          + "-days 2 -keyout \(key) -out \(net.directory)/cert.pem")
      try #require(made.isGood, "\(made.output)")
      try net.coturn("relay", ["10.99.0.2", "fd00:1::2"], "--cert \(net.directory)/cert.pem --pkey \(key)")
      try net.targets("server", as: "server")
      var (services, chains): ([String], [String]) = ([], [])
      var port = 9000
      for server in Family.allCases {
        for peer in Family.allCases {
          let name = "\(server)-\(peer)"
          let secure =
            transport == "tls"
            ? "tls: {secure: true, serverName: relay.test, caFile: \(net.directory)/cert.pem}, " : ""
          services.append(
            Write.service(
              name, "127.0.0.1:\(port)", "{type: udp, chain: \(name)}", on: "udp", to: "\(peer.address(3)):7000"))
          chains.append(
            Write.chain(
              name,
              [Files.node(server.address(2), port: secure.isEmpty ? 3478 : 5349, "transport: \(transport)", secure)]))
          port += 10
        }
      }
      let client = try net.culvert("client", Write.file(services, chains))
      for (place, service) in services.enumerated() {
        #expect(net.comesBack("client", "127.0.0.1:\(9000 + place * 10)"), "\(service) \(net.story)")
      }
      try net.expectDatagrams("client", "127.0.0.1:9010", sizes: [0, 1, 100, 1200, 1400])
      let legs = try client.legs(of: "fd00:1::3")
      #expect(
        legs.count == 3
          && legs[1].layers == (transport == "udp" ? "udp+turn" : transport == "tcp" ? "tcp+turn" : "tcp+tls+turn"),
        "\(legs)")
    }

    @Test(
      "A coturn that is killed and started again is found, and the tunnel is mended within three seconds",
      arguments: ["udp", "tcp"])
    func restart(_ transport: String) throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      let addresses = ["10.99.0.2", "fd00:1::2"]
      let first = try net.coturn("relay", addresses)
      let ends = try WireGuardEnds(net)
      try net.culvert("server", Files.wireGuard(ends, "server", addr: ":51820"))
      let client = try net.culvert(
        "client",
        Files.wireGuard(
          ends, "client", endpoint: "10.99.0.3:51820", through: Files.node("10.99.0.2", "transport: \(transport)")))
      try #require(net.ping("client", "10.7.0.2") != nil, net.story)
      let pings = try net.start("client", "ping -n -i 0.1 10.7.0.2", title: "ping")
      try #require(pings.says("icmp_seq=10 ", within: 10) != nil, net.story)
      let before = try client.legs(of: "server").last?.local
      first.signal(SIGKILL)
      _ = first.wait(within: 5)
      try net.coturn("relay", addresses, as: "coturn-again")
      let back = net.ping("client", "10.7.0.2", within: 10)
      print("mended after \(back ?? -1) s")
      #expect(back.map { $0 < 3 } == true, "\(back ?? -1) \(net.story)")
      #expect(try client.legs(of: "server").last?.local != before)
      // The other end finds us as well.
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
    }

    @Test(
      "With a ticket the allocation outlives another address of ours",
      // coturn 4.6 moves an allocation from one TCP connection to another, and never says so.
      arguments: [(Turn.Relay.coturn, "udp"), (.ours, "udp"), (.ours, "tcp")])
    func mobility(_ relay: Turn.Relay, _ transport: String) throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      try net.relay(relay, "relay", ["10.99.0.2", "fd00:1::2"], over: transport)
      let ends = try WireGuardEnds(net)
      let server = try net.culvert("server", Files.wireGuard(ends, "server", addr: ":51820"))
      let client = try net.culvert(
        "client",
        Files.wireGuard(
          ends, "client", endpoint: "10.99.0.3:51820",
          through: Files.node("10.99.0.2", "mobility: true, transport: \(transport)")))
      try #require(net.ping("client", "10.7.0.2") != nil, net.story)
      let before = try client.legs(of: "server")
      try net.set("client", "ip addr del 10.99.0.1/24 dev eth0; ip addr add 10.99.0.77/24 dev eth0")
      #expect(client.says("the allocation moved along", within: 10) != nil, net.story)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      let after = try client.legs(of: "server")
      #expect(after.last?.local == before.last?.local && before.last?.local.isEmpty == false, "\(before) \(after)")
      #expect(after.first?.local.hasPrefix("10.99.0.77.") == true, "\(after)")
      // The other end has noticed nothing.
      #expect(server.count("because=roamed") == 1, net.story)
    }

    @Test("Peers reach a listener at an allocation, as far as the file permits them")
    func listener() throws {
      let net = try Net(["client", "relay", "server", "stranger"])
      defer { net.close() }
      try net.coturn("relay", ["10.99.0.2", "fd00:1::2"])
      try net.targets("client", as: "client", "127.0.0.1")
      let client = try net.culvert(
        "client",
        """
        services:
        - name: game
          addr: :0
          handler: {type: udp}
          listener:
            type: turn
            auth: {username: ann, password: correct-horse}
            metadata: {server: "10.99.0.2:3478", permit: [10.99.0.3, "fd00:1::3"], allocation: both, ttl: 30s}
          forwarder: {nodes: [{name: own, addr: "127.0.0.1:7000"}]}
        """)
      // coturn gives two allocations for two families, others one with both.
      let hasTwo = eventually(within: 10) {
        client.log.contains("10.99.0.2:") && client.log.contains("at=[fd00:1::2]:")
      }
      try #require(hasTwo != nil, net.story)
      let relayed =
        try client.path().split(separator: "\n").first { $0.contains("listening: ") }
        .map { $0.split(separator: " ").dropFirst().map { String($0.filter { $0 != "," }) } } ?? []
      try #require(relayed.count == 2, "\(relayed)")
      for place in relayed {
        #expect(net.comesBack("server", place), "\(place) \(net.story)")
        #expect(!net.comesBack("stranger", place, within: 0.5), "\(place)")
      }
      try net.expectDatagrams("server", relayed[0], sizes: [1, 100, 1200])
      let legs = try client.legs(of: "udp 10.99.0.3")
      #expect(legs.count == 3 && legs[0].to == "relay" && legs[1].to == "us", "\(legs)")
      let told = try client.path()
      #expect(told.contains("permitted: 10.99.0.3, fd00:1::3"), "\(told)")
    }

    @Test("A TUN reaches its server through a relay")
    func tun() throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      try net.coturn("relay", ["10.99.0.2", "fd00:1::2"])
      try net.culvert("server", Configurations.server())
      let client = try net.culvert(
        "client",
        """
        services:
        - name: tun-client
          addr: :0
          handler: {type: tun, chain: way}
          listener: {type: tun, metadata: {net: "10.90.57.1/24,fd90:57::1/64"}}
          forwarder: {nodes: [{name: target, addr: "[fd00:1::3]:8421"}]}
        chains:
        \(Write.chain("way", [Files.node("10.99.0.2")]))
        """)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(net.ping("client", Configurations.inner6) != nil, net.story)
      let legs = try client.legs()
      #expect(legs.count == 2 && legs[0].layers == "udp+turn" && legs[1].family == "IPv6", "\(legs)")
      #expect(legs.last?.remote == "fd00:1::3.8421" && legs.last?.remoteEvidence == "told", "\(legs)")
    }

    @Test("A server that sends its clients elsewhere is followed, and wrong credentials are said to be wrong")
    func alternate() throws {
      let net = try Net(["client", "relay", "server", "other"])
      defer { net.close() }
      try net.coturn("relay", ["10.99.0.2"], "--alternate-server=10.99.0.4:3478")
      try net.coturn("other", ["10.99.0.4"], as: "coturn-other")
      try net.targets("server", as: "server")
      let client = try net.culvert(
        "client",
        Write.file(
          [
            Write.service("good", "127.0.0.1:9000", "{type: udp, chain: good}", on: "udp", to: "10.99.0.3:7000"),
            Write.service("bad", "127.0.0.1:9100", "{type: udp, chain: bad}", on: "udp", to: "10.99.0.3:7000"),
          ],
          [
            Write.chain("good", [Files.node("10.99.0.2")]),
            Write.chain("bad", [Files.node("10.99.0.4").replacing("correct-horse", with: "wrong")]),
          ]))
      #expect(net.comesBack("client", "127.0.0.1:9000"), net.story)
      let legs = try client.legs(of: "10.99.0.3")
      #expect(legs.dropFirst().first?.remote == "10.99.0.4.3478", "\(legs) \(net.story)")
      #expect(client.log.contains("sends us to another relay=relay from=10.99.0.2:3478 to=10.99.0.4:3478"), net.story)
      #expect(!net.comesBack("client", "127.0.0.1:9100", within: 0.5))
      #expect(client.says("the server does not take the credentials", within: 5) != nil, net.story)
    }

    // MARK: Families

    @Test("Of a server's addresses the one that answers first is used, the preferred family's with a head start")
    func race() throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      try net.coturn("relay", ["10.99.0.2", "fd00:1::2"])
      try net.targets("server", as: "server")
      let names = try net.hostsFile(
        "fd00:1::2 both.test\n10.99.0.2 both.test\nfd00:1::99 dead.test\n10.99.0.2 dead.test\n")
      let cases = [
        ("both.test", "prefer-ipv6", "IPv6"), ("both.test", "prefer-ipv4", "IPv4"), ("dead.test", "any", "IPv4"),
        ("dead.test", "prefer-ipv6", "IPv4"),
      ]
      let client = try net.culvert(
        "client",
        Write.file(
          cases.enumerated().map { place, _ in
            Write.service(
              "s\(place)", "127.0.0.1:90\(place)0", "{type: udp, chain: c\(place)}", on: "udp",
              to: "10.99.0.3:7000")
          },
          cases.enumerated().map { place, item in
            Write.chain("c\(place)", [Files.node(item.0, "family: \(item.1)")])
          }), prefix: names)
      for (place, item) in cases.enumerated() {
        #expect(net.comesBack("client", "127.0.0.1:90\(place)0", within: 3), "\(item) \(net.story)")
        let line = client.log.split(separator: "\n").first {
          $0.contains(" s\(place): the relay gives an address")
        }
        let isIPv6 = line?.contains("→ [fd00:1::2]:3478") == true
        #expect(line != nil && isIPv6 == (item.2 == "IPv6"), "\(item) \(line ?? "")")
      }
    }

    @Test(
      "What the policy forbids is not looked up, asked for or sent, and the path says where that is written",
      arguments: ["ipv4", "ipv6"])
    func policy(_ family: String) throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      try net.coturn("relay", ["10.99.0.2", "fd00:1::2"])
      try net.targets("server", as: "server")
      let names = try net.file("names.py", Files.nameServer)
      let server = try net.start("relay", "python3 \(names)", title: "names")
      try #require(server.says("ready", within: 10) != nil, net.story)
      let resolvers = try net.file("resolv.conf", "nameserver fd00:1::2\nnameserver 10.99.0.2\noptions timeout:1\n")
      let seen = try net.capture("client", "udp or tcp")
      let node = Files.node("relay.test", "family: \(family), allocation: \(family)")
      let client = try net.culvert(
        "client",
        Write.file(
          [
            Write.service("echo", "127.0.0.1:9000", "{type: udp, chain: way}", on: "udp", to: "server.test:7000"),
            Write.service(
              "forbidden", "127.0.0.1:9100", "{type: udp, chain: way}", on: "udp",
              to: family == "ipv4" ? "six.test:7000" : "four.test:7000"),
          ], [Write.chain("way", [node])]),
        prefix: "unshare -m sh -c 'mount --bind \(resolvers) /etc/resolv.conf && exec \"$@\"' -")
      #expect(net.comesBack("client", "127.0.0.1:9000"), net.story)
      #expect(!net.comesBack("client", "127.0.0.1:9100", within: 1), net.story)
      let legs = try client.legs(of: "server.test")
      let place = "\(net.directory)/client.yaml:"
      #expect(legs.count == 3 && legs[1].forbidden.contains(place), "\(legs) \(net.story)")
      let told = try client.path()
      #expect(told.contains("is forbidden by policy (\(place)"), "\(told)")
      let other = family == "ipv4" ? "IP6 " : "IP "
      #expect(seen.lines(with: " \(other)").filter { !$0.contains(" 127.0.0.1") } == [], "\(seen.program.log)")
      let question = family == "ipv4" ? " AAAA? " : " A? "
      #expect(seen.lines(with: question) == [] && !seen.flows.isEmpty, "\(seen.program.log)")
      #expect(seen.lines(with: family == "ipv4" ? " A? " : " AAAA? ").count >= 2, "\(seen.program.log)")
      #expect(client.log.contains("forbidden by policy"), "\(client.log)")
    }
  }
}

private enum Files {
  /// A node with the dialer `turn`.
  static func node(_ address: String, port: Int = 3478, _ metadata: String = "", _ dialer: String = "") -> String {
    """
    {name: relay, addr: "\(address):\(port)", connector: {type: turn, auth: {username: ann, password: correct-horse}},
          dialer: {type: turn, \(dialer)metadata: {\(metadata)}}}
    """
  }

  /// A service with an interface that has 10.7.0.n and fd07::n, and the other end as its peer.
  static func wireGuard(
    _ ends: WireGuardEnds, _ host: String, addr: String = "", endpoint: String? = nil, through node: String? = nil
  ) -> String {
    let other = host == "client" ? "server" : "client"
    let (own, theirs) = (ends.number(host), ends.number(other))
    return """
      services:
      - name: ct\(getpid() % 100_000)\(host.prefix(1))
        addr: "\(addr)"
        handler:
          type: wireguard
          \(node == nil ? "" : "chain: way")
          metadata: {privateKey: \(ends.secret(host)), postQuantum: false, probeMTU: false}
        listener:
          type: wireguard
          metadata: {net: "10.7.0.\(own)/24, fd07::\(own)/64", mtu: 1280}
        peers:
        - name: \(other)
          publicKey: \(ends.key(other))
          allowedIPs: 10.7.0.\(theirs)/32, fd07::\(theirs)/128
          \(endpoint.map { "endpoint: \"\($0)\"\n    persistentKeepalive: 25s" } ?? "")

      """ + (node.map { "chains:\n" + Write.chain("way", [$0]) } ?? "")
  }

  /// Knows four names, on both families, and says which it was asked for.
  static let nameServer = """
    import selectors, socket, struct
    names = {b"relay.test": ("10.99.0.2", "fd00:1::2"), b"server.test": ("10.99.0.3", "fd00:1::3"),
      b"four.test": ("10.99.0.3", None), b"six.test": (None, "fd00:1::3")}
    def answer(query):
      name, place = b"", 12
      while query[place]:
        name += query[place + 1:place + 1 + query[place]] + b"."
        place += 1 + query[place]
      kind = struct.unpack(">H", query[place + 1:place + 3])[0]
      question = query[12:place + 5]
      known = names.get(name[:-1].lower())
      address = known and (known[0] if kind == 1 else known[1] if kind == 28 else None)
      data = b""
      if address:
        packed = socket.inet_pton(socket.AF_INET if kind == 1 else socket.AF_INET6, address)
        data = b"\\xc0\\x0c" + struct.pack(">HHIH", kind, 1, 1, len(packed)) + packed
      return query[:2] + struct.pack(">HHHHH", 0x8180 | (0 if known else 3), 1, 1 if data else 0, 0, 0) + question + data
    watch = selectors.DefaultSelector()
    for family, address in ((socket.AF_INET, "10.99.0.2"), (socket.AF_INET6, "fd00:1::2")):
      one = socket.socket(family, socket.SOCK_DGRAM)
      one.bind((address, 53))
      watch.register(one, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
      for key, _ in watch.select():
        query, source = key.fileobj.recvfrom(1500)
        key.fileobj.sendto(answer(query), source)
    """
}
