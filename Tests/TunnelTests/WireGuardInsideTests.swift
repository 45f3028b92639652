/// What two Culverts say to each other inside a WireGuard tunnel, on real paths; and that others hear nothing of it.
import Glibc
import Testing

extension Tunnels {
  @Suite("Inside of WireGuard", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardInsideTests {
    // MARK: Keys

    @Test("Two Culverts soon have a session with a post-quantum key, and again after one was started anew")
    func postQuantum() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let programs = try net.tunnel(ends)
      let client = try #require(programs["client"])
      let server = try #require(programs["server"])
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      for program in [client, server] {
        #expect(program.says("the session is post-quantum", within: 15) != nil, net.story)
      }
      // No packet is lost over it, nor over a preshared key of the user's.
      try net.must("client", "ping -q -c 20 -i 0.05 -W 1 10.7.0.2")
      for host in ["client", "server"] {
        let other = host == "client" ? "server" : "client"
        try net.must(host, "wg set wg0 peer \(ends.key(other)) preshared-key \(ends.file("psk"))")
      }
      try net.must("client", "ping -q -c 20 -i 0.05 -W 1 10.7.0.2")

      // The other end forgets everything. It speaks first, and is understood at once.
      server.kill()
      _ = server.wait(within: 5)
      let gone = eventually(within: 5) { (try? net.at("server", "ip link show wg0").isGood) != true }
      try #require(gone != nil)
      let fresh = try net.wireguard("server", "wg0")
      try net.setUp("server", ends)
      try net.must(
        "server",
        "wg set wg0 peer \(ends.key("client")) preshared-key \(ends.file("psk")) endpoint 10.99.0.1:51821")
      let seconds = net.ping("server", "10.7.0.1")
      #expect((seconds ?? 99) < 2, "\(seconds ?? -1)\n\(net.story.rawValue)")
      #expect(client.says("the session is not post-quantum any more", within: 2) != nil, net.story)
      #expect(fresh.says("the session is post-quantum", within: 15) != nil, net.story)
    }

    // MARK: The path

    @Test("A path that swallows what is large is found out, and nothing larger leaves; what is inside adapts")
    func narrowPath() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.narrow(to: 1300)
      let programs = try net.tunnel(ends)
      let client = try #require(programs["client"])
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // 1,300 less 20, 8 and 32, in whole sixteens.
      #expect(client.settles(on: 1232, within: 5) != nil, net.story)
      #expect(programs["server"]?.settles(on: 1232, within: 5) != nil, net.story)

      let file = "\(net.directory)/wire.pcap"
      let witness = try net.start("client", "timeout 25 tcpdump -i eth0 --immediate-mode -U -w \(file) ip")
      try #require(witness.says("listening on", within: 5) != nil)
      // The host heard of the capture as of a change of its network, and asks once more: with large probes, until it knows.
      var began = ""
      let calm = eventually(within: 20) {
        began = (try? shell("date +%s.%N").output.trimmed) ?? ""
        _ = try? net.at("client", "ping -q -n -c 10 -i 0.1 -W 1 10.7.0.2")
        return largest(in: file, since: began).map { $0 <= 1300 } == true
      }
      try #require(calm != nil, net.story)
      #expect(client.settles(on: 1232, within: 5) != nil, net.story)
      // Who says that nobody may cut it is told the size; who does not gets it cut inside. IPv6 below 1,280 has to pass.
      let told = try net.at("client", "ping -n -c 1 -W 1 -M do -s 1392 10.7.0.2")
      #expect(told.output.contains("mtu = 1232") || told.output.contains("mtu=1232"), "\(told.output)")
      try net.must("client", "ip route flush cache; ping -n -c 3 -i 0.1 -W 1 -M dont -s 1392 10.7.0.2")
      try expectTransfer(net, from: "client", to: "server", "10.7.0.2", 8 << 20)
      try expectTransfer(net, from: "server", to: "client", "10.7.0.1", 8 << 20)
      witness.signal(SIGINT)
      _ = witness.wait(within: 5)
      let size = largest(in: file, since: began)
      #expect(size.map { $0 <= 1300 && $0 > 1200 } == true, "\(size ?? -1)")
    }

    /// The length in bytes of the largest IPv4 packet with UDP that was captured after that time.
    private func largest(in capture: String, since began: String) -> Int? {
      let sizes = try? shell(
        "tcpdump -nttr \(capture) -v udp 2>/dev/null | sed -n 's/^\\([0-9.]*\\) .*proto UDP (17), length \\([0-9]*\\).*/\\1 \\2/p' "
          + "| awk '$1 > \(began) {print $2}' | sort -n | tail -1"
      )
      return sizes.flatMap { Int($0.output.trimmed) }
    }

    @Test("IPv6 packets of 1,280 bytes pass a path that is too narrow for them, in pieces outside")
    func narrowForIPv6() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.narrow(to: 1300)
      let programs = try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(programs["client"]?.settles(on: 1232, within: 5) != nil, net.story)
      // A router on the way that cuts what may be cut: without DF the link itself does.
      try net.set("client", "ip link set eth0 mtu 1300")
      try net.set("server", "ip link set eth0 mtu 1300")
      try net.must("client", "ping -n -c 3 -i 0.1 -W 1 -s 1232 fd07::2")
    }

    @Test("A black hole that opens under traffic is found within seconds, and the transfer goes on")
    func blackHole() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let programs = try net.tunnel(ends)
      let client = try #require(programs["client"])
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(client.settles(on: 1420, within: 5) != nil, net.story)
      // A steady stream of full packets that are told not to be cut.
      let stream = try net.start(
        "client", net.named("ping -q -n -i 0.02 -W 1 -M do -s 1392 10.7.0.2 -w 30", "client"), title: "stream")
      _ = eventually(within: 1) { false }
      let before = client.limits.count
      try net.narrow(to: 1300)
      let seconds = eventually(within: 8) { client.limits.count > before }
      #expect((seconds ?? 99) < 3.5, "\(seconds ?? -1)\n\(net.story.rawValue)")
      #expect(client.settles(on: 1232, within: 5) != nil, net.story)
      stream.kill()
      try expectTransfer(net, from: "client", to: "server", "10.7.0.2", 4 << 20)
      // The path is wide again: whoever knows of a change asks at once.
      for host in ["client", "server"] { try net.set(host, "nft delete table inet hole") }
      try net.set("client", "ip addr add 10.99.0.77/32 dev eth0")
      let grown = eventually(within: 8, every: 0.1) {
        _ = try? net.at("client", "ping -q -c 2 -i 0.01 -W 0.2 -s 1000 10.7.0.2")
        return client.limits.last == 1420
      }
      #expect(grown != nil, net.story)
    }

    @Test("One packet in ten lost each way is no black hole")
    func loss() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let programs = try net.tunnel(ends)
      let client = try #require(programs["client"])
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(client.settles(on: 1420, within: 5) != nil, net.story)
      for host in ["client", "server"] {
        try net.set(
          host,
          "nft 'add table inet loss; add chain inet loss in { type filter hook input priority 0; }; "
            + "add rule inet loss in udp dport 51821-51822 numgen random mod 10 < 1 drop'")
      }
      let before = client.limits
      _ = try net.at("client", "ping -q -n -c 1200 -i 0.01 -W 1 -s 1392 10.7.0.2", within: 40)
      #expect(client.limits == before, "\(client.limits)")
    }

    @Test("The host's own narrow link is known without a probe's loss")
    func ownLink() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      for host in ["client", "server"] { try net.set(host, "ip link set eth0 mtu 1400") }
      let programs = try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(programs["client"]?.settles(on: 1328, within: 5) != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", "10.7.0.2", 8 << 20)
    }

    // MARK: Others

    @Test(
      "wireguard-go at the other end is sent not a byte more, and has nothing to complain of",
      .enabled(if: WireGuardTools.wireguardGo != nil, "needs wireguard-go (CULVERT_WIREGUARD_GO names the program)"),
      arguments: ["client", "server"])
    func others(_ host: String) throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let programs = try net.tunnel(ends, foreign: host)
      try net.must("client", "ping -c 10 -i 0.5 -W 2 10.7.0.2")
      for (side, bytes) in [("client", (92 + 10 * 128, 148 + 10 * 128)), ("server", (148 + 10 * 128, 92 + 10 * 128))] {
        let words = try net.at(side, "wg show wg0 transfer").output.split { $0.isWhitespace }
        #expect(words.dropFirst().map { Int($0) } == [bytes.0, bytes.1], "\(side): \(words)")
      }
      let log = programs[host]?.log ?? ""
      #expect(log.contains("handshake"), "it speaks of what it does: \(log)")
      for word in ["invalid", "Invalid", "unknown", "disallowed", "Failed"] {
        #expect(!log.contains(word), "\(word): \(log)")
      }
      // A narrow path is then the kernel's business: packets leave in pieces where it knows of it.
      for side in ["client", "server"] { try net.set(side, "ip link set eth0 mtu 1300") }
      try net.must("client", "ping -n -c 3 -i 0.1 -W 1 -s 1392 10.7.0.2")
    }
  }
}

extension Net {
  /// Packets to WireGuard's ports that are larger vanish, in both directions. The cable cuts what was handed to it in one
  /// piece, as any other does: else the rule would see the whole.
  fileprivate func narrow(to size: Int) throws {
    for host in ["client", "server"] {
      try set(
        host,
        "ip link set eth0 gso_max_segs 1; nft 'add table inet hole; add chain inet hole in { type filter hook prerouting priority -300; }; "
          + "add rule inet hole in udp dport 51821-51822 meta length > \(size) drop'")
    }
  }
}

extension Program {
  /// The limits that a device has logged.
  fileprivate var limits: [Int] {
    lines.filter { $0.contains("path MTU") }.compactMap { line in
      line.firstRange(of: "mtu=").flatMap { Int(line[$0.upperBound...].prefix { $0.isNumber }) }
    }
  }

  /// Seconds until the last limit is that.
  fileprivate func settles(on limit: Int, within seconds: Double) -> Double? {
    eventually(within: seconds, every: 0.05) { limits.last == limit }
  }
}
