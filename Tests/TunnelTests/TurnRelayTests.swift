/// The relay, judged by clients that we did not write: coturn's, and aioice.
import Glibc
import Testing

extension Tunnels {
  @Suite("TURN relay", .enabled(if: TurnTools.isThere, TurnTools.reason))
  struct TurnRelayTests {
    @Test(
      "coturn's client relays through it: over UDP, TCP and TLS, all four translations, channels, indications, mobility, TCP"
    )
    func uclient() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -L fd00:1::3 -p 3480", title: "peer")
      try #require(
        eventually(within: 5) { (try? net.run("peer", "ss -uln").output.contains("[fd00:1::3]:3480")) == true } != nil)
      let (v4, v6) = ("-e 10.99.0.3 10.99.0.2", "-e fd00:1::3 10.99.0.2")
      let runs = [
        "channels": v4, "indications": "-s \(v4)", "no fragments": "-g \(v4)", "one socket": "-c \(v4)",
        "tcp": "-t \(v4)", "tls": "-t -S -p 5349 \(v4)", "tls indications": "-t -S -s -p 5349 \(v4)",
        "6-4": "-e 10.99.0.3 fd00:1::2", "4-6": "-x \(v6)", "6-6": "-x -e fd00:1::3 fd00:1::2",
        "4-6 by tcp": "-t -x \(v6)", "mobility": "-M \(v4)", "secret": "-W north \(v4)", "extra requests": "-G \(v4)",
        "between clients": "-y 10.99.0.2", "connections": "-y -t -T 10.99.0.2",
        "connections by tls": "-y -t -T -S -p 5349 10.99.0.2",
      ]
      let programs = try runs.map { title, options in
        let user = options.contains("-W") ? "-u carol" : "-u ada -w secret"
        return (title, try net.start("client", "turnutils_uclient \(user) -r 3480 -n 10 -m 2 \(options)", title: title))
      }
      for (title, program) in programs {
        #expect(program.wait(within: 30) == .exit(0), "\(title)\n\(program.log.suffix(1500))")
        let counts = program.log.firstMatch(
          of: /tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n[^\n]*\n[^\n]*Total transmit/)
        #expect(
          counts.map { (Int($0.1) ?? 0) > 0 && (Int($0.2) ?? 0) >= (Int($0.1) ?? 0) } == true,
          "\(title)\n\(program.log.suffix(1500))")
      }
      // What they did is counted by the families of their legs.
      let path = try relay.path()
      for translation in ["4-4", "4-6", "6-4", "6-6"] { #expect(path.contains("relayed \(translation): "), "\(path)") }
    }

    @Test("The negative cases and the flood of coturn's client leave it at work")
    func negative() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      let wrong = try net.run(
        "client", "turnutils_uclient -u ada -w wrong -e 10.99.0.3 -n 1 -m 1 10.99.0.2", within: 20)
      #expect(!wrong.isGood && wrong.output.contains("Cannot complete Allocation"), "\(wrong.output.suffix(500))")
      let negative = try net.start(
        "client", "timeout 5 turnutils_uclient -R -u ada -w secret -e 10.99.0.3 -n 5 -m 1 10.99.0.2", title: "negative")
      let flood = try net.start(
        "client", "timeout 5 turnutils_uclient -O -u ada -w secret -e 10.99.0.3 -n 1 -m 5 10.99.0.2", title: "flood")
      _ = negative.wait(within: 30)
      _ = flood.wait(within: 30)
      let good = try net.run("client", "turnutils_uclient -u ada -w secret -y -n 3 -m 1 10.99.0.2", within: 30)
      #expect(good.isGood && good.output.contains("Total lost packets 0"), "\(good.output.suffix(800))")
      #expect(try relay.path().contains("refused: 4"), net.story)
    }

    @Test("coturn's STUN clients hear where they are, and that nothing stands between")
    func stun() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      try net.set("relay", "ip addr add 10.99.0.22/24 dev eth0")
      try net.relay("      alternate: [\"10.99.0.22:3479\"]\n")
      let told = try net.run("client", "turnutils_stunclient -p 3478 10.99.0.2", within: 10)
      #expect(told.output.contains("reflexive addr: 10.99.0.1:"), "\(told.output)")
      let six = try net.run("client", "turnutils_stunclient -p 3478 fd00:1::2", within: 10)
      #expect(six.output.contains("reflexive addr: [fd00:1::1]:") || six.output.contains("fd00:1::1:"), "\(six.output)")
      let discovery = try net.run("client", "turnutils_natdiscovery -m -f -L 10.99.0.1 10.99.0.2", within: 20)
      #expect(discovery.output.contains("No NAT!"), "\(discovery.output)")
      #expect(discovery.output.contains("Endpoint Independent Filtering"), "\(discovery.output)")
    }

    @Test("aioice allocates, binds a channel and is answered", .enabled(if: TurnTools.aioice, TurnTools.aioiceReason))
    func aioice() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      for transport in ["udp", "tcp"] {
        let outcome = try net.run(
          "client",
          "\(Machine.aioquic ?? "python3") \(Machine.tools)/turn_aioice.py 10.99.0.2 3478 \(transport) 10.99.0.3 3480",
          within: 30)
        #expect(outcome.isGood && outcome.output.contains("answered 20 of 20"), "\(outcome.output)")
      }
    }

    @Test("Ten thousand strangers cost less than a megabyte, and a client is served among them")
    func strangers() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      let warm = try net.run("client", "turnutils_uclient -u ada -w secret -y -n 2 -m 1 10.99.0.2", within: 20)
      #expect(warm.isGood)
      let before = try relay.memory("VmRSS")
      for kind in ["binding", "allocate", "forged"] {
        let sent = try net.run("relay", "python3 \(Machine.tools)/turn_strangers.py \(kind) 10000", within: 60)
        #expect(sent.isGood && sent.output.contains("sent 10000"), "\(sent.output)")
      }
      let after = try relay.memory("VmRSS")
      #expect(after - before < 1_000, "\(after) KiB after \(before)")
      let good = try net.run("client", "turnutils_uclient -u ada -w secret -y -n 2 -m 1 10.99.0.2", within: 20)
      #expect(good.isGood && good.output.contains("Total lost packets 0"), "\(good.output.suffix(500))")
    }

    @Test("A renewed certificate and other users come with a reload, and allocations go on")
    func reload() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      let long = try net.start(
        "client", "turnutils_uclient -u ada -w secret -t -S -p 5349 -e 10.99.0.3 -r 3480 -n 150 -m 1 10.99.0.2",
        title: "long")
      try #require(relay.says("transport=tls", within: 10) != nil, net.story)
      func serial() throws -> String {
        try net.run(
          "client", "echo | openssl s_client -connect 10.99.0.2:5349 2>/dev/null | openssl x509 -noout -serial"
        )
        .output
      }
      let first = try serial()
      try net.certificate("relay")
      let users = "- {username: dora, password: new}\n  - {username: ada, password: secret}"
      let reloaded = try relay.reload(net.relayFile("      userQuota: 9\n", users: users, listener: "relay-more"))
      #expect(reloaded.isGood && reloaded.output.contains("allocations go on"), "\(reloaded.output)")
      // One that comes with the reload is a listener of the same relay.
      let counts = try ["relay-udp", "relay-more"].map { name in
        try relay.path(name).firstMatch(of: /allocations: ([1-9]\d* now, \d+ made)/).map { String($0.1) }
      }
      #expect(counts[0] != nil && counts[0] == counts[1], "\(counts)")
      #expect(eventually(within: 5, every: 0.2) { (try? serial()) != first } != nil)
      let other = try net.run("client", "turnutils_uclient -u dora -w new -y -n 2 -m 1 10.99.0.2", within: 20)
      #expect(other.isGood, "\(other.output.suffix(500))")
      #expect(long.wait(within: 30) == .exit(0), net.story)
      #expect(long.log.contains("Total lost packets 0"), "\(long.log.suffix(800))")
    }

    @Test("After SIGTERM what there is may end by itself, nothing new is made, and then the relay ends")
    func drain() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay("      drain: 60s\n")
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      let long = try net.start(
        "client", "turnutils_uclient -t -u ada -w secret -e 10.99.0.3 -r 3480 -n 100 -m 1 10.99.0.2", title: "long")
      try #require(relay.says("allocation client=", within: 5) != nil, net.story)
      _ = eventually(within: 1) { false }
      relay.program.signal(SIGTERM)
      try #require(relay.says("draining", within: 5) != nil, net.story)
      let late = try net.run("client", "turnutils_uclient -u ada -w secret -y -n 1 -m 1 10.99.0.2", within: 10)
      #expect(!late.isGood && late.output.contains("508"), "\(late.output.suffix(300))")
      #expect(long.wait(within: 30) == .exit(0) && long.log.contains("Total lost packets 0"), "\(long.log.suffix(800))")
      // Its allocations end with its connections, and the relay with them: long before a minute is over.
      #expect(relay.program.wait(within: 10) == .exit(0), net.story)
    }

    @Test("What goes to peers leaves with the service's mark and by its interface, and not by the kernel's table")
    func outgoing() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      for line in [
        "nft add table inet seen", "nft 'add chain inet seen out { type filter hook output priority 0; }'",
        "nft 'add rule inet seen out meta mark 77 udp dport 3480 counter'",
        "nft 'add rule inet seen out meta mark 0 udp sport 3478 counter'",
      ] { try net.set("relay", line) }
      let relay = try net.culvert(
        "relay",
        """
        services:
        - name: relay
          addr: ":3478"
          metadata: {so_mark: 77, interface: eth0}
          handler:
            type: turn
            auth: {username: ada, password: secret}
            metadata: {realm: example.org, xdp: generic, egress.allow: ["10.99.0.0/24"]}
          listener: {type: udp}
        """)
      #expect(relay.says("the mark of the service", within: 5) != nil, net.story)
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      let client = try net.run(
        "client", "turnutils_uclient -u ada -w secret -e 10.99.0.3 -r 3480 -n 10 -m 1 10.99.0.2", within: 20)
      #expect(client.isGood && client.output.contains("Total lost packets 0"), "\(client.output.suffix(500))")
      let counted = try net.run("relay", "nft list chain inet seen out").output
      #expect(counted.matches(of: #/counter packets [1-9]\d*/#).count == 2, "\(counted)")
    }

    @Test("An address that the host gets has allocations, and is refused as a peer from then on, though it was one")
    func newAddress() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      try net.set("relay", "ip -6 addr del fd00:1::2/64 dev eth0")
      let relay = try net.relay()
      let flag = "\(net.directory)/changed"
      let client = try net.start(
        "client", "python3 \(Machine.tools)/turn_address.py 10.99.0.2 3478 10.99.0.9 \(flag)", title: "client")
      try #require(client.says("before: 440 0 0", within: 10) != nil, net.story)
      let seen = try net.capture("relay", "udp and dst host 10.99.0.9", interface: "any")
      try net.set("relay", "ip addr add 10.99.0.9/32 dev eth0")
      try net.set("relay", "ip -6 addr add fd00:1::2/64 dev eth0 nodad")
      try #require(relay.says("the host has other addresses", within: 10) != nil, net.story)
      try #require(relay.says("fd00:1::2", within: 10) != nil, net.story)
      _ = try net.file("changed", "")
      // A relayed address has permissions: of its ports those of allocations alone are reached.
      #expect(client.wait(within: 10) == .exit(0) && client.log.contains("after: 0 0 403"), net.story)
      #expect(seen.flows.isEmpty, "\(seen.program.log)")
    }

    @Test("What ICMP says of a client's packets the client is told, and nothing is lost over it")
    func icmpErrors() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      for line in [
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        "ip link add d0 mtu 1300 type veth peer name d1",
        "ip link set d0 up", "ip link set d1 up", "ip route add 203.0.113.0/24 dev d0",
        "ip -6 route add 2001:db8:9::/48 dev d0",
      ] {
        let outcome = try net.run("peer", line)
        try #require(outcome.isGood, "\(outcome.output)")
      }
      for line in ["ip route add default via 10.99.0.3", "ip -6 route add default via fd00:1::3"] {
        let outcome = try net.run("relay", line)
        try #require(outcome.isGood, "\(outcome.output)")
      }
      let relay = try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      try #require(
        eventually(within: 5) { (try? net.run("peer", "ss -uln").output.contains("10.99.0.3:3480")) == true } != nil)
      let outcome = try net.run("client", "python3 \(Machine.tools)/turn_icmp.py 10.99.0.2 3478 3480", within: 30)
      #expect(outcome.isGood && outcome.output.contains("all as they should be"), "\(outcome.output)\n\(net.story)")
      #expect(try relay.path().contains("ICMP errors told to clients"))
    }

    @Test("Over TLS and DTLS keys are agreed on anew for each session, with an RSA certificate as well")
    func forwardSecrecy() throws {
      let net = try Net(["client", "relay"])
      defer { net.close() }
      try net.certificate("relay", key: "rsa:2048")
      try net.culvert("relay", net.relayFile())
      for version in ["-tls1_2", "-dtls1_2"] {
        func cipher(_ name: String) throws -> String {
          try net.run(
            "client", "echo | timeout 5 openssl s_client \(version) -cipher \(name) -connect 10.99.0.2:5349 2>&1",
            within: 10
          ).output
        }
        let (sent, agreed) = (try cipher("AES128-GCM-SHA256"), try cipher("ECDHE-RSA-AES128-GCM-SHA256"))
        #expect(sent.contains("Cipher is (NONE)") && sent.contains("alert"), "\(version) \(sent)")
        #expect(agreed.contains("Cipher is ECDHE-RSA-AES128-GCM-SHA256"), "\(version) \(agreed)")
      }
    }

    @Test("Where a relay must not lead it does not, however the address is written")
    func forbidden() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      try net.relay()
      let outcome = try net.run("client", "python3 \(Machine.tools)/turn_forbidden.py 10.99.0.2 3478", within: 30)
      #expect(outcome.isGood && outcome.output.contains("all as they should be"), "\(outcome.output)")
    }
  }
}

enum TurnTools {
  static let isThere =
    ["turnutils_uclient", "turnutils_peer", "turnutils_stunclient", "turnutils_natdiscovery"].allSatisfy {
      (try? shell("command -v \($0)").isGood) ?? false
    }
  static let reason = Comment("needs coturn's programs (the Debian package `coturn`)")
  static let aioice = Machine.aioquic.map { (try? shell("\($0) -c 'import aioice'").isGood) ?? false } ?? false
  static let aioiceReason = Comment("needs a Python with aioice (scripts/test makes one)")
}

extension Net {
  /// A relay on the host `relay`, over UDP, TCP, TLS and DTLS.
  @discardableResult
  func relay(_ more: String = "") throws -> Culvert {
    try certificate("relay")
    return try culvert("relay", relayFile(more))
  }

  /// - Parameter listener: the name of one more, for UDP at port 3490.
  func relayFile(
    _ more: String = "", users: String = "- {username: ada, password: secret}", listener: String? = nil
  ) -> String {
    let handler = """
          type: turn
          auther: users
          metadata:
            realm: example.org
            secret: north
            tcpRelay: true
            mobility: true
            egress.allow: ["10.99.0.0/24", "fd00:1::/64"]
      \(more)
      """
    func service(_ name: String, _ port: Int, _ listener: String) -> String {
      "- name: \(name)\n  addr: :\(port)\n  handler:\n\(handler)  listener: \(listener)\n"
    }
    let tls = "{certFile: \(directory)/relay.crt, keyFile: \(directory)/relay.key}"
    return """
      services:
      \(service("relay-udp", 3478, "{type: udp}"))
      \(service("relay-tcp", 3478, "{type: tcp}"))
      \(service("relay-tls", 5349, "{type: tls, tls: \(tls)}"))
      \(service("relay-dtls", 5349, "{type: dtls, tls: \(tls)}"))
      \(listener.map { service($0, 3490, "{type: udp}") } ?? "")
      authers:
      - name: users
        auths:
        \(users)
      """
  }

  func certificate(_ name: String, key: String = "ec -pkeyopt ec_paramgen_curve:prime256v1") throws {
    let made = try shell(
      "openssl req -x509 -newkey \(key) -nodes -days 2 -subj /CN=\(name) "
        + "-keyout \(directory)/\(name).key -out \(directory)/\(name).crt 2>&1")
    try #require(made.isGood, "\(made.output)")
  }
}
