/// The program leaves a host as it found it, soon, and leaves no secret and no broken line in its log.
import Glibc
import Testing

extension Tunnels {
  @Suite("Cleaning up, and the log")
  struct CleanupTests {
    /// A server and a client with all that the program can take from a host: interfaces, addresses, routes of both
    /// families, an exception route, a packet filter.
    private static let server = Configurations.server(
      listener: "name: tun7, route: 192.168.50.0/24, gw: 10.90.57.1", relays: [.tcp, .quic, .icmp, .icmp6])
    private static func client(_ carrier: Carrier) -> String {
      Configurations.client(over: carrier, listener: "route: \"0.0.0.0/0,::/0,192.168.70.1/32\"")
    }

    @Test("A control socket that somebody else has put in the place of its own is left to him")
    func foreignSocket() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let file = try net.file("proxy.yaml", Write.file([Write.service("proxy", "127.0.0.1:0", "http")]))
      let socket = "\(net.directory)/shared.sock"
      func start(_ title: String) throws -> Program {
        let program = try net.start("one", "\(Machine.culvert) run -C \(file) --socket \(socket)", title: title)
        try #require(program.says("running", within: 10) != nil, net.story)
        return program
      }
      let first = try start("first")
      _ = try shell("rm \(socket)")
      let second = try start("second")
      first.signal(SIGTERM)
      #expect(first.wait(within: 5) == .exit(0), net.story)
      #expect(try net.run("one", "\(Machine.culvert) path --socket \(socket)").isGood)
      second.signal(SIGTERM)
      #expect(second.wait(within: 5) == .exit(0), net.story)
      #expect(access(socket, F_OK) != 0, "its own it takes away")
    }

    @Test("SIGINT and SIGTERM end it within two seconds, and nothing is left", arguments: [SIGINT, SIGTERM])
    func nothingIsLeft(_ number: Int32) throws {
      let net = try Net()
      defer { net.close() }
      try net.set("client", "ip route add default via 10.99.0.2; ip route add default via fd00:1::2")
      // A route that has to make room comes back.
      try net.set("client", "ip route add 192.168.70.1/32 via 10.99.0.2")
      let before = try (net.state("server"), net.state("client"))
      let server = try net.culvert("server", Self.server)
      let client = try net.culvert("client", Self.client(.icmp6))
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      let during = try (net.state("server"), net.state("client"))
      for word in ["tun7", "10.90.57.30/24", "fd90:57::30/64", "192.168.50.0/24", "table inet culvert"] {
        #expect(during.0.contains(word), "\(word) is there meanwhile: \(during.0)")
      }
      for word in ["tun0", "0.0.0.0/1", "::/1", "fd00:1::2 dev eth0"] {
        let found = during.1.contains(word) || during.1.contains("default dev tun0")
        #expect(found, "\(word) is there meanwhile: \(during.1)")
      }
      let traffic = try Flow(net, from: "client", to: Configurations.inner4)
      for culvert in [client, server] {
        let start = now()
        culvert.program.signal(number)
        #expect(culvert.program.wait(within: 2) == .exit(0), net.story)
        print("ended within \(((now() - start) * 1000).rounded()) ms")
      }
      traffic.end()
      try expectSame(before.1, net.state("client"))
      try expectSame(before.0, net.state("server"))
      #expect(try shell("ls \(net.directory)/*.sock").output.contains("No such file"))
    }

    @Test("It ends within two seconds also while it cannot reach its node", arguments: Carrier.allCases)
    func endsWhileDialling(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      try net.set("server", "ip link set eth0 down")
      _ = eventually(within: 2) { (try? net.run("client", "ip link").output.contains("NO-CARRIER")) ?? false }
      let before = try net.state("client")
      let client = try net.culvert("client", Self.client(carrier))
      usleep(200_000)
      #expect(client.stop() == .exit(0), net.story)
      try expectSame(before, net.state("client"))
    }

    @Test("What a killed program leaves does not hinder the next one, and goes with it")
    func afterKill() throws {
      let net = try Net()
      defer { net.close() }
      try net.set("client", "ip route add default via 10.99.0.2")
      let before = try (net.state("server"), net.state("client"))
      for _ in 0..<2 {
        let server = try net.culvert("server", Self.server)
        let client = try net.culvert("client", Self.client(.quic))
        try #require(net.ping("client", Configurations.inner4) != nil, net.story)
        client.crash()
        server.crash()
      }
      // The kernel takes the interface and the owned packet filter itself.
      _ = eventually(within: 2) { (try? net.state("server")) == before.0 }
      try expectSame(before.0, net.state("server"))
      let server = try net.culvert("server", Self.server)
      let client = try net.culvert("client", Self.client(.quic))
      #expect(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(client.stop() == .exit(0))
      #expect(server.stop() == .exit(0))
      try expectSame(before.1, net.state("client"))
    }

    @Test("A service that cannot start takes the others back with it")
    func failedStart() throws {
      let net = try Net(["host"])
      defer { net.close() }
      let before = try net.state("host")
      // One that does not listen is not found before the start.
      let holder = try net.start(
        "host",
        "python3 -c \"import socket,time; s=socket.socket(); s.bind((str(), 8443)); print(1, flush=True); "
          + "time.sleep(60)\"")
      try #require(holder.says("1", within: 5) != nil)
      let outcome = try net.refused("host", Self.server)
      #expect(outcome.ending == .exit(1), "\(outcome.output)")
      #expect(outcome.output.contains("already in use"), "\(outcome.output)")
      try expectSame(before, net.state("host"))
    }

    // MARK: The log

    @Test(
      "Each record is one line, and no secret is in it, as text and as JSON, at every level",
      arguments: ["text", "json"])
    func log(_ format: String) throws {
      let net = try Net()
      defer { net.close() }
      let secrets = ["opensesame-tun", "opensesame-relay"]
      let server = """
        authers:
        - name: people
          auths: [{username: 10.90.57.1, password: \(secrets[0])}, {username: "fd90:57::1", password: \(secrets[0])}]
        - name: relays
          auths: [{username: bob, password: \(secrets[1])}]

        """
      let relay = Configurations.server(handler: "auther: people", relays: [.quic])
        .replacing("{type: relay}", with: "{type: relay, auther: relays}")
      let auth = "connector: {type: relay, auth: {username: bob, password: \(secrets[1])}}"
      let client = Configurations.client(over: .quic, handler: "metadata: {passphrase: \(secrets[0])}")
        .replacing("connector: {type: relay}", with: auth)
      let options = "--log-level trace --log-format \(format)"
      let running = try [
        net.culvert("server", relay + server, options: options), net.culvert("client", client, options: options),
      ]
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      // Strangers' bytes get into a log too: here a user name with a line end, a colour and a direction mark in it.
      let rude = client.replacing("username: bob", with: "username: \"x\\n2026 ERROR\\e[31m\\u202e\"")
      let stranger = try net.culvert(
        "client", rude.replacing("10.90.57.1/24,fd90:57::1/64", with: "10.90.57.5/24"),
        options: options, as: "rude")
      #expect(running[0].says("wrong user or password", within: 5) != nil, net.story)
      for culvert in running + [stranger] {
        let path = try culvert.path() + culvert.path("--json")
        #expect(culvert.stop() == .exit(0))
        for secret in secrets {
          #expect(!culvert.log.contains(secret), "a secret is in the log: \(culvert.log)")
          #expect(!path.contains(secret))
        }
        #expect(culvert.log.utf8.allSatisfy { $0 >= 0x20 || $0 == 0x0A }, "control characters are escaped")
        #expect(!culvert.log.unicodeScalars.contains("\u{202E}"))
        try expectRecords(culvert.log, format)
      }
    }

    private func expectRecords(_ log: String, _ format: String) throws {
      // What the check has to say comes before the log and is no record.
      let lines = log.split(separator: "\n").drop { $0.first != "{" && !$0.hasPrefix("20") }
      #expect(lines.count > 3, "\(log)")
      for line in lines {
        if format == "text" {
          #expect(line.contains(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (TRACE|DEBUG|INFO|WARN|ERROR) \S/), "\(line)")
        } else {
          #expect(line.hasPrefix("{\"time\":\"20") && line.hasSuffix("}"), "\(line)")
        }
      }
      guard format == "json" else { return }
      let place = "/tmp/culvert-test-records-\(getpid())"
      let file = open(place, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      defer { unlink(place) }
      let bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
      try #require(write(file, bytes, bytes.count) == bytes.count)
      close(file)
      let parsed = try shell(
        "python3 -c \"import json,sys\nfor line in open('\(place)', newline='\\n'):\n  r = json.loads(line)\n"
          + "  assert r['level'] in ('trace','debug','info','warn','error') and r['msg'], line\"")
      #expect(parsed.isGood, "\(parsed.output)")
    }
  }
}

/// Says which lines came and which went.
func expectSame(_ before: String, _ after: String, location: SourceLocation = #_sourceLocation) {
  let old = before.split(separator: "\n")
  let new = after.split(separator: "\n")
  #expect(new.filter { !old.contains($0) } == [], "left behind", sourceLocation: location)
  #expect(old.filter { !new.contains($0) } == [], "taken away", sourceLocation: location)
}

extension Net {
  /// Everything of a host's network that the program might touch, as text to compare.
  func state(_ host: String) throws -> String {
    let asked = try run(
      host,
      "ls /sys/class/net; cat /sys/class/net/*/mtu; ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; "
        + "nft list ruleset; sysctl -n net.ipv4.icmp_echo_ignore_all net.ipv6.icmp.echo_ignore_all")
    // Neighbours, lifetimes and states change by themselves.
    return asked.output.split(separator: "\n")
      .map { line in
        let words = line.split(separator: " ").filter { $0 != "tentative" && $0 != "linkdown" }
        return words.joined(separator: " ")
      }
      .filter { !$0.contains("fe80::") && !$0.contains("multicast") && !$0.contains("anycast") }
      .sorted().joined(separator: "\n")
  }
}
