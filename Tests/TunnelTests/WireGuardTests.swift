/// `culvert-wireguard` by the tools that its users have: `wg` and `wg-quick` of the WireGuard project, unmodified, and
/// programs of others at the far end.
import Glibc
import Testing

extension Tunnels {
  @Suite("WireGuard", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardTests {
    // MARK: Keys

    @Test("Keys are those of `wg`: each reads what the other makes")
    func keys() throws {
      let ours = try shell("\(Machine.culvert) genkey").output
      #expect(ours.count == 45, "\(ours)")
      let theirs = try shell("wg genkey").output
      for key in [ours, theirs] {
        let text = key.trimmed
        let left = try shell("printf %s '\(text)' | wg pubkey").output
        #expect(try shell("printf '%s\\n' '\(text)' | \(Machine.culvert) pubkey").output == left)
      }
      #expect(try shell("\(Machine.culvert) genkey").output != ours)
      #expect(try shell("\(Machine.culvert) genpsk").output.count == 45)
      let wrong = try shell("echo abc | \(Machine.culvert) pubkey")
      #expect(wrong.ending == .exit(1) && wrong.output.contains("44 characters"), "\(wrong.output)")
    }

    // MARK: wg

    @Test("`wg set`, `show`, `setconf` and `syncconf` set up a tunnel and show what it does, over both families")
    func tools() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      for (host, other) in [("client", "server"), ("server", "client")] {
        try net.wireguard(host, "wg0")
        try net.must(
          host,
          "wg set wg0 listen-port 5182\(ends.number(host)) private-key \(ends.file(host)) "
            + "peer \(ends.key(other)) preshared-key \(ends.file("psk")) "
            + "allowed-ips 10.7.0.\(ends.number(other))/32,fd07::\(ends.number(other))/128")
        try net.must(
          host,
          "ip addr add 10.7.0.\(ends.number(host))/24 dev wg0; ip addr add fd07::\(ends.number(host))/64 dev wg0 nodad; "
            + "ip link set wg0 up")
      }
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint '[fd00:1::2]:51822'")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("server", "fd07::1") != nil, net.story)
      let shown = try net.at("server", "wg show wg0").output
      #expect(shown.contains("endpoint: [fd00:1::1]:51821"), "\(shown)")
      #expect(shown.contains("preshared key: (hidden)") && shown.contains("latest handshake: "), "\(shown)")
      #expect(try net.at("server", "wg show wg0 peers").output == ends.key("client") + "\n")

      // Another family outside, by moving.
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint 10.99.0.2:51822")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(try net.at("server", "wg show wg0 endpoints").output.contains("10.99.0.1:51821"))

      // What the tools write down they read back to the same.
      let written = try net.at("server", "wg showconf wg0").output
      #expect(written.contains("AllowedIPs = 10.7.0.1/32, fd07::1/128"), "\(written)")
      let file = try net.file("device.conf", written)
      for verb in ["setconf", "syncconf"] {
        try net.must("server", "wg \(verb) wg0 \(file)")
        #expect(try net.at("server", "wg showconf wg0").output == written)
        // `setconf` takes every session away, as with the kernel's device, and the end that sends makes a new one.
        #expect(net.ping("server", "10.7.0.1") != nil, "after \(verb)\n\(net.story.rawValue)")
      }

      // A mistake changes nothing.
      let socket = "/var/run/wireguard/wg0.sock"
      let refused = try net.at(
        "server",
        "printf 'set=1\\nlisten_port=1234\\nfwmark=0x10\\n\\n' | timeout 2 nc -N -U \(socket)")
      #expect(refused.output == "errno=-22\n\n", "\(refused.output)")
      #expect(try net.at("server", "wg showconf wg0").output == written)
    }

    @Test("Bytes are counted as on the wire, and keepalives are sent when they are due")
    func counters() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends, isPlain: true)
      // 5 pings of 84 bytes, padded to 96, with 32 around, and a handshake of 148 and 92.
      _ = try net.at("client", "ping -c 5 -i 0.2 10.7.0.2")
      let transfer = try net.at("client", "wg show wg0 transfer").output.split(separator: "\t")
      #expect(transfer.dropFirst().map { $0.trimmed } == ["\(92 + 5 * 128)", "\(148 + 5 * 128)"], "\(transfer)")
      try net.must("client", "wg set wg0 peer \(ends.key("server")) persistent-keepalive 1")
      let before = try net.at("client", "wg show wg0 transfer").output
      let grown = eventually(within: 5, every: 0.2) {
        (try? net.at("client", "wg show wg0 transfer").output) != before
      }
      #expect(grown != nil)
    }

    // MARK: wg-quick

    @Test("`wg-quick up` and `down` work unmodified, with routes, MTU and hooks, and leave nothing")
    func wgQuick() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.wireguard("server", "wg0")
      try net.must(
        "server",
        "wg set wg0 listen-port 51822 private-key \(ends.file("server")) "
          + "peer \(ends.key("client")) allowed-ips 10.7.0.1/32; "
          + "ip addr add 10.7.0.2/24 dev wg0; ip addr add 10.8.0.1/32 dev wg0; ip link set wg0 up")
      let file = try net.file(
        "cvq0.conf",
        """
        [Interface]
        PrivateKey = \(ends.secret("client"))
        Address = 10.7.0.1/24
        MTU = 1380
        PostUp = touch \(net.directory)/up-%i

        [Peer]
        PublicKey = \(ends.key("server"))
        AllowedIPs = 10.7.0.0/24, 10.8.0.0/24
        Endpoint = 10.99.0.2:51822

        """)
      let name = try Self.link(net)
      let quick = "WG_QUICK_USERSPACE_IMPLEMENTATION=\(name) wg-quick"
      let before = try net.state("client")
      let up = try net.at("client", "\(quick) up \(file)", within: 20)
      #expect(up.isGood, "\(up.output)")
      #expect(access("\(net.directory)/up-cvq0", F_OK) == 0)
      #expect(try net.at("client", "ip -o link show cvq0").output.contains("mtu 1380"))
      #expect(net.ping("client", "10.7.0.2") != nil, "\(up.output)")
      #expect(net.ping("client", "10.8.0.1") != nil, "by the route of its allowed IPs")
      let down = try net.at("client", "\(quick) down \(file)", within: 20)
      #expect(down.isGood, "\(down.output)")
      let clean = eventually(within: 5) { (try? net.state("client")) == before }
      let after = try net.state("client")
      #expect(clean != nil, "\(after)\n\(before)")
      #expect(access("/var/run/wireguard/cvq0.sock", F_OK) != 0)
      let left = eventually(within: 5) { (try? shell("pgrep -f '^\(name) cvq0$'").isGood) == false }
      #expect(left != nil, "the program is still there")
    }

    @Test("It ends when its socket is removed, and refuses a name that is taken or cannot be")
    func ends() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let program = try net.wireguard("one", "wg0")
      let again = try net.at("one", "\(Machine.culvert) wireguard -f wg0")
      #expect(again.ending == .exit(1) && again.output.contains("error: "), "\(again.output)")
      let long = try net.at("one", "\(Machine.culvert) wireguard a-name-that-is-too-long")
      #expect(long.ending == .exit(1) && long.output.hasPrefix("error: "), "\(long.output)")
      try net.must("one", "rm /var/run/wireguard/wg0.sock")
      #expect(program.wait(within: 5) == .exit(0), net.story)
      #expect(try !net.at("one", "ip link show wg0").isGood)
    }

    // MARK: What a device does with packets

    @Test("Packets for nobody are answered with ICMP, and packets from another's addresses are dropped")
    func routing() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let nobody = try net.at("client", "ping -c 1 -W 2 10.7.0.77")
      #expect(nobody.output.contains("Destination Host Unreachable"), "\(nobody.output)")
      // The other end lets only 10.7.0.1 in.
      try net.must("client", "ip addr add 10.7.0.9/32 dev wg0")
      #expect(try !net.at("client", "ping -c 1 -W 1 -I 10.7.0.9 10.7.0.2").isGood)
      #expect(net.ping("client", "10.7.0.2") != nil)
    }

    @Test("A peer that moves to another address is followed, both ways, without a lost session")
    func roaming() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let handshake = try net.at("server", "wg show wg0 latest-handshakes").output
      try net.must("client", "ip addr del 10.99.0.1/24 dev eth0; ip addr add 10.99.0.77/24 dev eth0")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(try net.at("server", "wg show wg0 endpoints").output.contains("10.99.0.77:"))
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      #expect(try net.at("server", "wg show wg0 latest-handshakes").output == handshake)
    }

    @Test("A router's mark on the way reaches the flow inside, both ways and over both families")
    func congestionMarks() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      for host in ["client", "server"] {
        try net.must(host, "sysctl -qw net.ipv4.tcp_ecn=1")
        for family in ["ip", "ip6"] {
          try net.must(
            host,
            """
            nft "add table \(family) router
            add counter \(family) router markable
            add chain \(family) router out { type filter hook output priority 0; }
            add rule \(family) router out udp sport { 51821, 51822 } \(family) ecn ect0 counter name markable
            add rule \(family) router out udp sport { 51821, 51822 } \(family) ecn ect0 numgen random mod 20 0 \
              \(family) ecn set ce"
            """)
        }
      }
      try net.tunnel(ends)
      try #require(net.ping("client", "10.7.0.2") != nil, net.story)
      for (family, place) in [("ip", "10.99.0.2"), ("ip6", "[fd00:1::2]")] {
        try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint \(place):51822")
        for (from, to, address) in [("client", "server", "10.7.0.2"), ("server", "client", "fd07::1")] {
          let before = try marksHeard(net, from)
          // By chance; and a large batch is one packet to this router.
          for _ in 0..<8 where try marksHeard(net, from) == before {
            try expectTransfer(net, from: from, to: to, address, 8 << 20)
          }
          #expect(try marksHeard(net, from) > before, "\(family) from the \(from)")
          let counted = try net.at(from, "nft list counter \(family) router markable").output
          #expect(try #require(Int(counted.firstMatch(of: /bytes (\d+)/)?.1 ?? "")) > 4 << 20, "\(counted)")
        }
      }
    }

    /// Marks that a host's own TCP has heard of.
    private func marksHeard(_ net: Net, _ host: String) throws -> Int {
      let text = try net.at(host, "nstat -asz TcpExtTCPDeliveredCE").output
      return try #require(Int(text.firstMatch(of: /TcpExtTCPDeliveredCE +(\d+)/)?.1 ?? ""), "\(text)")
    }

    @Test(
      "The capture is decrypted by Wireshark's dissector with our key",
      .enabled(if: WireGuardTools.hasTshark, "needs tshark"))
    func dissected() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let file = "\(net.directory)/wire.pcap"
      let witness = try net.start("server", "timeout 20 tcpdump -i eth0 --immediate-mode -U -w \(file) udp port 51822")
      try #require(witness.says("listening on", within: 5) != nil)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      _ = try net.at("client", "ping -c 3 -i 0.1 -s 1000 -p 63756c76657274 10.7.0.2")
      witness.signal(SIGINT)
      _ = witness.wait(within: 5)
      // The responder's static key opens the initiation, where the initiator says who it is.
      let seen = try shell(
        "tshark -r \(file) -o 'uat:wg_keys:\"Private\",\"\(ends.secret("server"))\"' -T fields -e wg.type -e wg.static "
          + "2>/dev/null")
      #expect(seen.output.contains("1\t\(ends.key("client"))\n"), "\(seen.output)")
      #expect(seen.output.split(separator: "\n").contains { $0.hasPrefix("4") }, "\(seen.output)")
    }

    // MARK: Others at the far end

    @Test(
      "wireguard-go is at the other end, in both roles, over both families",
      .enabled(if: WireGuardTools.wireguardGo != nil, "needs wireguard-go (CULVERT_WIREGUARD_GO names the program)"),
      arguments: ["client", "server"])
    func foreign(_ host: String) throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends, foreign: host)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("server", "fd07::1") != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", "10.7.0.2", 32 << 20)
      try expectTransfer(net, from: "server", to: "client", "fd07::1", 32 << 20)
      // A new PSK takes effect with the next handshake, and no packet is lost meanwhile.
      let flow = try Flow(net, from: "client", to: "10.7.0.2")
      for end in ["client", "server"] {
        let other = end == "client" ? "server" : "client"
        try net.must(end, "wg set wg0 peer \(ends.key(other)) preshared-key \(ends.file("psk"))")
      }
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      flow.end()
    }

    /// The program by its other name.
    private static func link(_ net: Net) throws -> String {
      let name = "\(net.directory)/culvert-wireguard"
      let made = try shell("ln -sf \(Machine.culvert) \(name)")
      try #require(made.isGood, "\(made.output)")
      return name
    }
  }
}
