/// Mistakes that no check of a file can find, because they are at the other end, in the network or on this host: each
/// is said in one line, soon, by the end that knows. What cannot be known is said to be unknown, with the causes that
/// remain.
import Glibc
import Testing

extension Tunnels {
  @Suite("Mistakes of users")
  struct MistakeTests {
    /// Seconds within which the user must have read why nothing works.
    static let patience = 5.0

    // MARK: The other end is not what it should be

    @Test("An other end that closes without a byte does not speak relay, and the client says so once")
    func closedWithoutByte() throws {
      let cases: [(String, Carrier)] = [("close", .tcp), ("close", .tls), ("reset", .tcp), ("reset", .tls)]
      try atOnce(cases) { net, mistake in
        try net.stranger(mistake.0, mistake.1)
      } then: { net, mistake, client in
        let said = client.says("the other end does not speak relay", within: Self.patience)
        #expect(said != nil, "\(mistake): \(net.story)")
      } later: { net, mistake, client in
        // Three more dials say nothing new.
        #expect(client.count(" WARN ") == 1, "\(mistake): \(net.story)")
        #expect(client.isAlive)
      }
    }

    @Test(
      "An other end that ends a QUIC stream without a byte does not speak relay",
      .enabled(if: Machine.aioquic != nil, Machine.aioquicReason))
    func closedStream() throws {
      let net = try Net()
      defer { net.close() }
      try net.certificate()
      let tool = "\(try #require(Machine.aioquic)) \(Machine.tools)/quic_stranger.py"
      let stranger = try net.start(
        "server", "\(tool) close 10.99.0.2 8443 \(net.directory)/cert.pem \(net.directory)/key.pem")
      try #require(stranger.says("ready", within: 5) != nil, net.story)
      let client = try net.culvert("client", Carrier.quic.client)
      #expect(client.says("the other end does not speak relay", within: Self.patience) != nil, net.story)
    }

    @Test("An other end that answers in another protocol is said to speak something else")
    func otherProtocol() throws {
      let net = try Net()
      defer { net.close() }
      try net.stranger("talk", .tcp)
      let client = try net.culvert("client", Carrier.tcp.client)
      #expect(client.says("does not speak relay", within: Self.patience) != nil, net.story)
    }

    @Test("A forward or a proxy over a node that does not let it in says the node's reason when it is used")
    func refusedWhenUsed() throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert(
        "server",
        """
        services:
        - {name: auto, addr: ":8441", handler: {type: auto}, listener: {type: tcp}}
        - {name: guarded, addr: ":8442", handler: {type: relay, auth: {username: u, password: p}}, listener: {type: tcp}}
        """)
      let chains = [("auto", 8441), ("guarded", 8442)].map { name, port in
        "- {name: \(name), hops: [{name: h, nodes: [{name: \(name)-node, addr: '10.99.0.2:\(port)', "
          + "connector: {type: relay}, dialer: {type: tcp}}]}]}"
      }
      let client = try net.culvert(
        "client",
        """
        services:
        - name: forward
          addr: 127.0.0.1:8001
          handler: {type: tcp, chain: auto}
          listener: {type: tcp}
          forwarder: {nodes: [{name: t, addr: "10.99.0.2:9"}]}
        - {name: proxy, addr: "127.0.0.1:8002", handler: {type: http, chain: guarded}, listener: {type: tcp}}
        chains:
        \(chains.joined(separator: "\n"))
        """)
      try net.run("client", "echo hello | nc -w 3 127.0.0.1 8001")
      #expect(client.says("does not speak relay", within: Self.patience) != nil, net.story)
      try net.run("client", "curl -s -m 3 -x http://127.0.0.1:8002 http://10.99.0.2:9/")
      #expect(client.says("the relay refused: unauthorized", within: Self.patience) != nil, net.story)
    }

    @Test("A silent other end: the causes that remain, most likely first")
    func silentRelay() throws {
      try atOnce([("silent", .tcp), ("silent", .tls)]) { net, mistake in
        try net.stranger(mistake.0, mistake.1)
      } then: { net, mistake, client in
        #expect(client.says("most likely first", within: Self.patience) != nil, net.story)
        #expect(client.log.contains("cannot be told apart from here"), net.story)
        #expect(client.log.contains("does not speak relay"), "one of the causes: \(client.log)")
      }
    }

    @Test("Nobody listens at the node")
    func nobodyListens() throws {
      try atOnce(Carrier.allCases.map { ("nobody", $0) }) { _, _ in
      } then: { net, mistake, client in
        // TCP and UDP are told by the kernel at the other end; behind ICMP it has nothing to say, and echoes.
        let words = mistake.1 == .icmp || mistake.1 == .icmp6 ? "most likely first" : "refused"
        #expect(client.says(words, within: Self.patience) != nil, net.story)
        #expect(client.count(" WARN ") == 1, net.story)
      }
    }

    @Test("Nothing comes back from the node at all")
    func blackHole() throws {
      let rules = """
        table inet hole { chain c { type filter hook prerouting priority -300; meta l4proto { tcp, udp, icmp } drop; \
        icmpv6 type echo-request drop; }; }
        """
      try atOnce(Carrier.allCases.map { ("hole", $0) }) { net, _ in
        try net.set("server", "echo '\(rules)' | nft -f -")
      } then: { net, mistake, client in
        #expect(client.says(" WARN ", within: Self.patience) != nil, net.story)
        #expect(client.log.contains("cannot be told apart from here"), net.story)
      }
    }

    /// Makes each mistake in a net of its own and starts a client there; then looks at each, and later again.
    private func atOnce(
      _ mistakes: [(String, Carrier)], _ prepare: (Net, (String, Carrier)) throws -> Void,
      then look: (Net, (String, Carrier), Culvert) throws -> Void,
      later: ((Net, (String, Carrier), Culvert) throws -> Void)? = nil
    ) throws {
      let nets = try mistakes.map { _ in try Net() }
      defer { for net in nets { net.close() } }
      for (net, mistake) in zip(nets, mistakes) { try prepare(net, mistake) }
      let clients = try zip(nets, mistakes).map { net, mistake in try net.culvert("client", mistake.1.client) }
      for (place, net) in nets.enumerated() { try look(net, mistakes[place], clients[place]) }
      guard let later else { return }
      usleep(3_500_000)
      for (place, net) in nets.enumerated() { try later(net, mistakes[place], clients[place]) }
    }

    // MARK: Passphrases and addresses

    private static let authers = """
      authers:
      - name: people
        auths: [{username: 10.90.57.1, password: sesame}, {username: "fd90:57::1", password: sesame}]

      """

    @Test("A wrong passphrase is said by the server, and as a cause by the client")
    func wrongPassphrase() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server(handler: "auther: people") + Self.authers)
      let client = try net.culvert(
        "client", Configurations.client(over: .udp, handler: "metadata: {passphrase: simsim}"))
      #expect(
        server.says("does not accept the user 10.90.57.1 with the passphrase", within: Self.patience) != nil, net.story)
      #expect(client.says("another passphrase", within: Self.patience) != nil, net.story)
      for secret in ["sesame", "simsim"] {
        #expect(!server.log.contains(secret) && !client.log.contains(secret), "secrets are not logged")
      }
    }

    @Test("An inner address that the server's auther does not know is said by the server")
    func unknownUser() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server(handler: "auther: people") + Self.authers)
      try net.culvert(
        "client",
        Configurations.client(over: .udp, net: "10.90.57.9/24", handler: "metadata: {passphrase: sesame}"))
      #expect(server.says("no user 10.90.57.9", within: Self.patience) != nil, net.story)
    }

    @Test("Two clients with one inner address: the server names both, the first goes on")
    func addressClash() throws {
      let net = try Net(["first", "second", "server"])
      defer { net.close() }
      let node = "10.99.0.3:8421"
      let server = try net.culvert("server", Configurations.server())
      try net.culvert("first", Configurations.client(over: .udp, node: node))
      try #require(net.ping("first", Configurations.inner4) != nil, net.story)
      let flow = try Flow(net, from: "first", to: Configurations.inner4)
      let second = try net.culvert("second", Configurations.client(over: .udp, node: node))
      #expect(
        server.says("10.90.57.1 belongs to another client that is alive", within: Self.patience) != nil, net.story)
      #expect(second.says("another client holds one of our net addresses", within: Self.patience) != nil, net.story)
      #expect(recoveries(of: [flow], within: 2) != [nil], "the first goes on: \(net.story)")
      #expect(try net.run("second", "ping -c 1 -W 0.5 \(Configurations.inner4)").isGood == false)
    }

    @Test("A client that takes the server's own address is told from the others")
    func serversAddress() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server())
      try net.culvert("client", Configurations.client(over: .udp, net: "10.90.57.30/24"))
      #expect(server.says("10.90.57.30 is this server's own address", within: Self.patience) != nil, net.story)
    }

    @Test("Packets for an inner address that no client has, and from one that is not the client's: the server says so")
    func unknownInnerAddress() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server())
      try net.culvert("client", Configurations.client(over: .udp))
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      try net.run("server", "ping -c 1 -W 0.2 10.90.57.77")
      #expect(server.says("no client has announced", within: 2) != nil, net.story)
      #expect(server.log.contains("destination=10.90.57.77"), net.story)
      try net.set("client", "ip addr add 10.90.57.66/32 dev lo")
      try net.run("client", "ping -c 1 -W 0.2 -I 10.90.57.66 \(Configurations.inner4)")
      #expect(server.says("source address is not the sender's", within: 2) != nil, net.story)
      #expect(server.log.contains("source=10.90.57.66"), net.story)
    }

    // MARK: Families

    @Test("A name that has only addresses of the other family is one line at once", arguments: [Carrier.icmp, .icmp6])
    func wrongFamily(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      let prefix = try net.hostsFile(carrier == .icmp ? "fd00:1::2 node.test\n" : "10.99.0.2 node.test\n")
      let client = try net.culvert(
        "client", Configurations.client(over: carrier, node: "node.test:0"), prefix: prefix)
      let (missing, other) = carrier == .icmp ? ("IPv4", "icmp6") : ("IPv6", "icmp")
      let said = client.says("node.test has no \(missing) address", within: Self.patience)
      #expect(said.map { $0 < 1 } ?? false, net.story)
      #expect(client.log.contains("use `type: \(other)`"), net.story)
      #expect(client.count(" WARN ") == 1, net.story)
    }

    @Test("A node's address of the other family is an error before anything runs", arguments: [Carrier.icmp, .icmp6])
    func wrongLiteral(_ carrier: Carrier) throws {
      let net = try Net(["client"])
      defer { net.close() }
      let node = carrier == .icmp ? "[fd00:1::2]:0" : "10.99.0.2:0"
      let outcome = try net.refused("client", Configurations.client(over: carrier, node: node))
      #expect(outcome.ending == .exit(1), "\(outcome.output)")
      #expect(outcome.output.contains(carrier == .icmp ? "type: icmp6" : "type: icmp"), "\(outcome.output)")
      #expect(!outcome.output.contains("interface is up"), "\(outcome.output)")
    }

    // MARK: This host

    @Test("A missing privilege is one line and a bad end")
    func missingPrivilege() throws {
      let net = try Net(["host"])
      defer { net.close() }
      let without = { (capability: String) in "setpriv --bounding-set -\(capability) --inh-caps -\(capability)" }
      try net.expectRefusal(
        Configurations.server(), prefix: without("net_admin"), "a TUN interface needs CAP_NET_ADMIN", "CV1004")
      try net.expectRefusal(
        Configurations.relay(.icmp6), prefix: without("net_raw"), "icmp6 needs CAP_NET_RAW", "CV1004")
      try net.expectRefusal(
        Configurations.relay(.tcp, addr: ":80"), prefix: without("net_bind_service"),
        "port 80 needs CAP_NET_BIND_SERVICE", "CV1004")
      try net.expectRefusal(
        Configurations.server(), prefix: "setpriv --reuid 65534 --clear-groups", "root", "CV100")
    }

    @Test("A port in use is one line that names it")
    func portInUse() throws {
      let net = try Net(["host"])
      defer { net.close() }
      for (kind, port) in [("SOCK_DGRAM", 8421), ("SOCK_STREAM", 8443), ("SOCK_DGRAM", 8443)] {
        let holder = try net.start(
          "host",
          "python3 -c \"import socket,time; s=socket.socket(socket.AF_INET, socket.\(kind)); "
            + "s.bind((str(), \(port))); s.listen() if s.type == socket.SOCK_STREAM else 0; "
            + "print(1, flush=True); time.sleep(60)\"")
        try #require(holder.says("1", within: 5) != nil)
        switch (kind, port) {
        case (_, 8421): try net.expectRefusal(Configurations.server(), "UDP port 8421 is in use by `python3`", "CV1001")
        case ("SOCK_STREAM", _):
          try net.expectRefusal(Configurations.relay(.tls), "TCP port 8443 is in use by `python3`", "CV1001")
        default: try net.expectRefusal(Configurations.relay(.quic), "UDP port 8443 is in use by `python3`", "CV1001")
        }
        holder.kill()
      }
    }

    @Test("An interface of that name is one line that names it, and the interface is left alone")
    func interfaceExists() throws {
      let net = try Net(["host"])
      defer { net.close() }
      try net.expectRefusal(Configurations.server(listener: "name: eth0"), "there is an interface `eth0`", "CV1003")
      try net.set("host", "ip tuntap add tun7 mode tun")
      let other = try net.culvert("host", Configurations.server(listener: "name: tun8"))
      try net.expectRefusal(
        Configurations.server(listener: "name: tun8").replacing(":8421", with: ":8422"), "there is an interface `tun8`",
        "CV1003")
      #expect(other.stop() == .exit(0))
      #expect(try net.run("host", "ip -br link").output.contains("eth0"))
    }

    @Test("A host that has IPv6 switched off is one line")
    func noIPv6() throws {
      let net = try Net(["host"])
      defer { net.close() }
      try net.set("host", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
      try net.expectRefusal(Configurations.server(), "fd90:57::30/64", "IPv6 is switched off", "CV1005")
      // A relay there cannot be reached by anybody, which is no error yet: IPv6 may be switched on later.
      let relay = try net.culvert("host", Configurations.relay(.icmp6))
      #expect(relay.log.contains("IPv6 is disabled on this host"), "\(relay.log)")
      #expect(relay.stop() == .exit(0))
      // What needs no IPv6 runs without a word about it.
      let plain = try net.culvert("host", Configurations.server(net: "10.90.57.30/24", relays: [.tcp]))
      #expect(!plain.log.contains("WARN"), "\(plain.log)")
      #expect(plain.stop() == .exit(0))
    }
  }
}

extension Net {
  /// Makes `cert.pem` and `key.pem` in the net's directory.
  fileprivate func certificate() throws {
    try set(
      "server",
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=stranger -days 2 "
        + "-out \(directory)/cert.pem -keyout \(directory)/key.pem")
  }

  /// A server on host "server" that takes a relay's port and is none.
  fileprivate func stranger(_ way: String, _ carrier: Carrier) throws {
    var certificate = ""
    if carrier == .tls {
      try self.certificate()
      certificate = "\(directory)/cert.pem \(directory)/key.pem"
    }
    let server = try start("server", "python3 \(Machine.tools)/strangers.py \(way) 10.99.0.2 8443 \(certificate)")
    try #require(server.says("ready", within: 5) != nil, story)
  }

  /// The program ends at once with a bad code and one error, which has these words and its place in the file.
  fileprivate func expectRefusal(
    _ configuration: String, prefix: String = "", _ words: String..., location: SourceLocation = #_sourceLocation
  ) throws {
    let outcome = try refused("host", configuration, prefix: prefix)
    #expect(outcome.ending == .exit(1), "\(outcome.output)", sourceLocation: location)
    let errors = outcome.output.split(separator: "\n").filter { $0.contains(" ERROR ") || $0.hasPrefix("error[") }
    #expect(errors.count == 1, "\(outcome.output)", sourceLocation: location)
    for word in words + ["refused.yaml:"] {
      #expect(outcome.output.contains(word), "\(word): \(outcome.output)", sourceLocation: location)
    }
    #expect(!outcome.output.contains("Fatal"), "\(outcome.output)", sourceLocation: location)
  }
}
