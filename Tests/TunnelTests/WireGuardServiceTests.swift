/// WireGuard interfaces as services of a file: what `wg-quick` does by a file of its own, and what it cannot do: messages
/// over a chain, a chain over a peer, a file that changes while it runs.
import Glibc
import Testing

extension Tunnels {
  @Suite("WireGuard services", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardServiceTests {
    // MARK: Files

    @Test("A file of wg-quick and a file of ours make one tunnel, over both families, and the way is told as it is")
    func conf() throws {
      let net = try Net()
      defer { net.close() }
      let keys = try Keys(net)
      let server = try net.culvert("server", keys.server(peers: keys.peer("client", 1)))
      let conf = """
        [Interface]
        PrivateKey = \(keys.secret("client"))
        Address = 10.7.0.1/24, fd07::1
        MTU = 1380
        PostUp = echo up %i "quoted" > \(net.directory)/up
        PreDown = echo down %i > \(net.directory)/down

        [Peer]
        PublicKey = \(keys.key("server"))
        PresharedKey = \(keys.secret("psk"))
        AllowedIPs = 10.7.0.2/32, fd07::2/128, 192.168.70.0/24
        Endpoint = 10.99.0.2:51820
        PersistentKeepalive = 25
        """
      let name = keys.interface("client")
      let file = try net.file("\(name).conf", conf)
      _ = try shell("chmod 600 \(file)")
      let checked = try net.run("client", "\(Machine.culvert) check \(file)")
      #expect(checked.isGood && checked.output.contains("no problems"), "\(checked.output)")
      let client = try net.start(
        "client", "\(Machine.culvert) run -C \(file) --socket \(net.directory)/client.sock", title: "client")
      try #require(client.says("running", within: 10) != nil, net.story)

      // The first packet is ours: the keepalive is on.
      #expect(server.says("peer is reached peer=client at=10.99.0.1:", within: 10) != nil, net.story)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("client", "fd07::2") != nil, net.story)
      #expect(try net.run("client", "ip link show \(name)").output.contains("mtu 1380"))
      #expect(try net.run("client", "ip route get 192.168.70.5").output.contains("dev \(name)"))
      #expect(try shell("cat \(net.directory)/up").output == "up \(name) quoted\n")

      // What `culvert path` says is what the sockets and `wg` say.
      let path = try server.path("--json")
      let shown = try net.run("server", "wg show \(keys.interface("server")) dump").output
      let place = try #require(shown.split(separator: "\n").last?.split(separator: "\t").dropFirst(2).first)
      let port = try #require(place.split(separator: ":").last)
      #expect(
        path.contains("\"remote\":{\"address\":\"10.99.0.1\",\"port\":\(port),\"evidence\":\"observed\""), "\(path)")
      #expect(path.contains("\"transport\":[{\"layer\":\"udp\"},{\"layer\":\"wireguard\"}]"), "\(path)")
      #expect(path.contains("\"public key\":\"\(keys.key("client"))\""), "\(path)")

      // Five seconds after the first session comes one with a secret of ML-KEM.
      #expect(eventually(within: 20, every: 0.5) { (try? server.path().contains("pq: yes")) == true } != nil, net.story)
      // The server asks for what its own interface takes, while there is traffic.
      let found = eventually(within: 20, every: 0.3) {
        _ = net.ping("server", "10.7.0.1")
        return (try? server.path().contains("    mtu: 1420")) == true
      }
      #expect(found != nil, net.story)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)

      client.signal(SIGTERM)
      #expect(client.wait(within: 3) == .exit(0), net.story)
      #expect(try shell("cat \(net.directory)/down").output == "down \(name)\n")
      #expect(try !net.run("client", "ip link show \(name)").isGood)
    }

    @Test("Two Culverts that are told not to say nothing beside WireGuard")
    func quiet() throws {
      let net = try Net()
      defer { net.close() }
      let keys = try Keys(net)
      func quiet(_ file: String) -> String {
        file.replacing("privateKey:", with: "postQuantum: false\n      probeMTU: false\n      privateKey:")
      }
      let server = try net.culvert("server", quiet(keys.server(peers: keys.peer("client", 1))))
      try net.culvert(
        "client", quiet(keys.client(peers: keys.peer("server", 2, endpoint: "10.99.0.2:51820"))))
      try #require(net.ping("client", "10.7.0.2") != nil, net.story)
      // A handshake, and a ping each way: what would come beside them comes within a second.
      let late = eventually(within: 8, every: 0.5) { (try? server.path().contains("pq: yes")) == true }
      #expect(late == nil)
      #expect(try !server.path().contains("    mtu:"))
    }

    @Test("A key of a file that is this end's own, or none, is told before anything starts")
    func keyFiles() throws {
      let net = try Net(["server"])
      defer { net.close() }
      let keys = try Keys(net)
      let own = keys.server(peers: keys.peer("server", 1))
        .replacing("privateKey: \(keys.secret("server"))", with: "privateKeyFile: \(keys.file("server"))")
      let refused = try net.refused("server", own)
      #expect(
        !refused.isGood && refused.output.contains("peer server has this end's own public key"), "\(refused.output)")
      let broken = try net.file("broken.key", "abc\n")
      let none = own.replacing(keys.file("server"), with: broken)
      #expect(try net.refused("server", none).output.contains("private key is no WireGuard key"))
      let missing = try net.refused("server", own.replacing(keys.file("server"), with: "/nowhere/key"))
      #expect(missing.output.contains("/nowhere/key"), "\(missing.output)")
      #expect(try !net.run("server", "ip link show \(keys.interface("server"))").isGood)
    }

    // MARK: Routes

    @Test("A peer that is allowed everything takes everything but the tunnel's own packets, and gives it back")
    func everything() throws {
      let net = try Net()
      defer { net.close() }
      let keys = try Keys(net)
      try net.culvert("server", keys.server(peers: keys.peer("client", 1)))
      try net.set("server", "ip addr add 203.0.113.7/32 dev lo")
      let before = try net.run("client", "ip route; ip -6 route").output
      let client = try net.culvert(
        "client",
        keys.client(
          peers: keys.peer("server", 2, endpoint: "10.99.0.2:51820", allowed: "0.0.0.0/0, ::/0, 10.99.0.0/25")))
      #expect(net.ping("client", "203.0.113.7") != nil, net.story)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // The half of the link's own network is more exact than that network: without an exception it would swallow both.
      #expect(try net.run("client", "ip route get 10.99.0.2").output.contains("dev eth0"))
      #expect(try net.run("client", "ip route get 10.99.0.3").output.contains("dev \(keys.interface("client"))"))
      // A peer that moves is followed past the tunnel.
      try net.set(
        "server",
        "ip addr add 10.99.0.9/24 dev eth0; ip addr del 10.99.0.2/24 dev eth0; ip addr add 10.99.0.9/24 dev eth0 || true"
      )
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      #expect(client.says("at=10.99.0.9:51820 because=roamed", within: 5) != nil, net.story)
      #expect(try net.run("client", "ip route get 10.99.0.9").output.contains("dev eth0"))
      #expect(net.ping("client", "203.0.113.7") != nil, net.story)
      #expect(try net.run("client", "ip route get 198.51.100.1").output.contains("dev \(keys.interface("client"))"))
      #expect(client.stop() == .exit(0), net.story)
      #expect(try net.run("client", "ip route; ip -6 route").output == before)
    }

    // MARK: Names

    @Test("A peer whose name had a wrong address is found when the name has the right one and the network changes")
    func names() throws {
      let net = try Net()
      defer { net.close() }
      let keys = try Keys(net)
      try net.culvert("server", keys.server(peers: keys.peer("client", 1)))
      let hosts = try net.hostsFile("10.99.0.77 vpn.test\n")
      let client = try net.culvert(
        "client", keys.client(peers: keys.peer("server", 2, endpoint: "vpn.test:51820")), prefix: hosts)
      try #require(client.says("at=10.99.0.77:51820 because=resolved", within: 10) != nil, net.story)
      // The same file, as it is mounted.
      _ = try net.file("hosts", "10.99.0.2 vpn.test\n")
      try net.set("client", "ip addr add 10.99.0.55/24 dev eth0")
      #expect(client.says("at=10.99.0.2:51820 because=resolved", within: 10) != nil, net.story)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(try client.path().contains("there since") && client.path().contains("resolved"))
    }

    // MARK: Chains

    enum Ways: String, CaseIterable, Sendable { case tls, quic, icmp6 }

    @Test(
      "Where UDP is blocked WireGuard goes over a chain, and what crosses is that chain alone", arguments: Ways.allCases
    )
    func carried(_ way: Ways) throws {
      let net = try Net()
      defer { net.close() }
      let keys = try Keys(net)
      let relay = Write.service(
        "relay", way == .icmp6 ? "[::]:0" : ":8443",
        "{type: relay, auth: {username: ann, password: correct-horse}, metadata: {egress.allow: [127.0.0.1:51820]}}",
        on: way.rawValue)
      try net.culvert("server", keys.server(peers: keys.peer("client", 1)) + relay)
      // QUIC is UDP itself; beside it WireGuard's port is closed.
      try net.set(
        "client",
        "nft 'table inet block { chain out { type filter hook output priority 0; oifname eth0 udp dport "
          + "\(way == .quic ? "!= 8443" : "0-65535") drop; }; }'")
      let node = Write.node(
        "node", way == .icmp6 ? "[fd00:1::2]:0" : "10.99.0.2:8443",
        "{type: relay, auth: {username: ann, password: correct-horse}}", over: way.rawValue)
      let client = try net.culvert(
        "client",
        keys.client(
          chain: "way", peers: keys.peer("server", 2, endpoint: "127.0.0.1:51820")
        ) + "chains:\n" + Write.chain("way", [node]))
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("client", "fd07::2") != nil, net.story)
      try net.targets("server", port: 7000, as: "target", "10.7.0.2")
      try net.expectStreams("client", ["inner=10.7.0.2:7000,10.7.0.2:7001"])
      let path = try client.path()
      #expect(path.contains("leg 1  us → hop node") && path.contains("hop node → peer server"), "\(path)")
      #expect(path.contains("messages go through the chain"), "\(path)")

      // The relay goes and comes back: the session goes on with the next carrier.
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
    }

    @Test("A proxy goes to a node through the interface, and to no other way")
    func dialer() throws {
      let net = try Net()
      defer { net.close() }
      let keys = try Keys(net)
      let socks = Write.service("socks", "10.7.0.2:1080", "socks5")
      try net.culvert("server", keys.server(peers: keys.peer("client", 1)) + socks)
      try net.targets("server", port: 7000, as: "target", "10.99.0.2")
      let proxy = Write.service("forward", "127.0.0.1:9000", "{type: tcp, chain: inner}", to: "10.99.0.2:7001")
      let chain = Write.chain(
        "inner",
        [
          Write.node(
            "socks", "10.7.0.2:1080", "{type: socks5, metadata: {notls: true}}",
            over: "{type: wireguard, metadata: {service: \(keys.interface("client"))}}")
        ])
      let client = try net.culvert(
        "client",
        keys.client(peers: keys.peer("server", 2, endpoint: "10.99.0.2:51820")) + proxy + "chains:\n" + chain)
      let user = try net.start("client", "python3 \(Machine.tools)/streams.py talk 127.0.0.1:9000", title: "user")
      try #require(user.says("answer 1", within: 10) != nil, net.story)
      let path = try client.path("forward")
      #expect(path.contains("WireGuard / TCP"), "\(path)")
      #expect(path.contains("10.7.0.1:") && path.contains("→ 10.7.0.2:1080"), "\(path)")
    }

    // MARK: Reload

    @Test("A reload adds, changes and takes away peers, and the sessions of others go on")
    func reload() throws {
      let net = try Net(["server", "client", "third"])
      defer { net.close() }
      let keys = try Keys(net)
      let server = try net.culvert("server", keys.server(peers: keys.peer("client", 1)))
      try net.culvert(
        "client", keys.client(peers: keys.peer("server", 2, endpoint: "10.99.0.1:51820")))
      try net.culvert(
        "third",
        keys.end("third", 3, peers: keys.peer("server", 2, endpoint: "10.99.0.1:51820")))
      try #require(net.ping("client", "10.7.0.2") != nil, net.story)
      func handshake() throws -> String {
        try net.run("server", "wg show \(keys.interface("server")) latest-handshakes").output
      }
      let before = try handshake()
      let index = try net.run("server", "cat /sys/class/net/\(keys.interface("server"))/ifindex").output

      let more = try server.reload(
        keys.server(peers: keys.peer("client", 1) + keys.peer("third", 3, allowed: "10.7.0.3/32, 10.70.0.0/16")))
      #expect(more.isGood && more.output.contains("1 changed"), "\(more.output)")
      #expect(net.ping("third", "10.7.0.2") != nil, net.story)
      #expect(try net.run("server", "ip route get 10.70.1.1").output.contains("dev \(keys.interface("server"))"))
      #expect(try net.run("client", "ping -c 1 -W 1 10.7.0.2").isGood, net.story)
      #expect(try handshake().contains(before.dropLast()), "the session of the client is another one")

      let fewer = try server.reload(keys.server(peers: keys.peer("third", 3)))
      #expect(fewer.isGood, "\(fewer.output)")
      #expect(try !net.run("client", "ping -c 1 -W 1 10.7.0.2").isGood)
      #expect(try net.run("third", "ping -c 1 -W 2 10.7.0.2").isGood, net.story)
      #expect(try !net.run("server", "ip route get 10.70.1.1").output.contains(keys.interface("server")))
      #expect(try net.run("server", "cat /sys/class/net/\(keys.interface("server"))/ifindex").output == index)
      #expect(try server.reload(keys.server(peers: keys.peer("third", 3))).output.contains("nothing changed"))
    }
  }
}

/// Keys of three ends, and the services that have them.
private struct Keys {
  private let directory: String
  private let publics: [String: String]
  private let secrets: [String: String]

  init(_ net: Net) throws {
    directory = net.directory
    var publics: [String: String] = [:]
    var secrets: [String: String] = [:]
    for name in ["client", "server", "third", "psk"] {
      let path = "\(directory)/\(name).key"
      let made = try shell("umask 077; wg genkey > \(path); cat \(path); wg pubkey < \(path)")
      try #require(made.isGood, "\(made.output)")
      let lines = made.output.split(separator: "\n").map(String.init)
      secrets[name] = lines.first
      publics[name] = lines.last
    }
    self.publics = publics
    self.secrets = secrets
  }

  func key(_ host: String) -> String { publics[host] ?? "" }
  func secret(_ host: String) -> String { secrets[host] ?? "" }
  func file(_ host: String) -> String { "\(directory)/\(host).key" }
  /// Hosts of a net share `/var/run`, where sockets for `wg` have the names of interfaces.
  func interface(_ host: String) -> String { "cs\(getpid() % 100_000)x\(directory.utf8.last ?? 0)\(host.prefix(1))" }

  func server(peers: String) -> String { end("server", 2, addr: ":51820", peers: peers) }
  func client(chain: String? = nil, peers: String) -> String { end("client", 1, chain: chain, peers: peers) }

  /// The beginning of a file: a service with an interface that has 10.7.0.n and fd07::n.
  func end(_ host: String, _ number: Int, addr: String = "", chain: String? = nil, peers: String) -> String {
    """
    services:
    - name: \(interface(host))
      addr: "\(addr)"
      handler:
        type: wireguard
        metadata:
          privateKey: \(secret(host))
    \(chain.map { "    chain: \($0)" } ?? "")
      listener:
        type: wireguard
        metadata:
          net: 10.7.0.\(number)/24, fd07::\(number)/64
      peers:
    \(peers)
    """
  }

  func peer(_ host: String, _ number: Int, endpoint: String? = nil, allowed: String? = nil) -> String {
    """
      - name: \(host)
        publicKey: \(key(host))
        presharedKey: \(secret("psk"))
        allowedIPs: \(allowed ?? "10.7.0.\(number)/32, fd07::\(number)/128")
    \(endpoint.map { "    endpoint: \"\($0)\"" } ?? "")

    """
  }
}
