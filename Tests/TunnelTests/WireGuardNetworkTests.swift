/// `culvert-wireguard` in the networks that devices are put into: hosts that move, routers that forget, routes that lead
/// back into the tunnel, namespaces, rules by mark. The scenarios are those by which WireGuard in the kernel is tested.
import Glibc
import Testing

extension Tunnels {
  @Suite("WireGuard in networks", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardNetworkTests {
    // MARK: What is on the wire

    @Test("Both ends count the same bytes: handshake, padded packets, and what surrounds them")
    func bytes() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends, isPlain: true)
      try net.must("client", "ping -c 10 -i 0.01 -W 2 10.7.0.2")
      // 148 and 92 for the handshake, and 10 times 84 bytes padded to 96 with 32 around.
      #expect(try net.transfer("client") == Transfer(received: 92 + 10 * 128, sent: 148 + 10 * 128))
      #expect(try net.transfer("server") == Transfer(received: 148 + 10 * 128, sent: 92 + 10 * 128))
    }

    @Test("Padding stays within the MTU, and a full packet of the usual MTU fits an Ethernet link over both families")
    func padding() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends, isPlain: true)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // A router that swallows what is 1,360 bytes long: 1,297 padded to 1,300 are, and to 1,299 are not.
      try net.set(
        "server",
        "nft 'add table inet router; add chain inet router in { type filter hook input priority 0; }; "
          + "add rule inet router in meta length 1360 drop'")
      for (mtu, passes) in [(1_300, false), (1_299, true)] {
        for host in ["client", "server"] { try net.must(host, "ip link set wg0 mtu \(mtu)") }
        let settled = eventually(within: 5, every: 0.05) {
          (try? net.at("client", "ping -c 1 -W 0.5 -M do -s 1269 10.7.0.2").isGood) == passes
        }
        #expect(settled != nil, "at \(mtu)\n\(net.story.rawValue)")
      }
      try net.set("server", "nft flush ruleset")
      for host in ["client", "server"] { try net.must(host, "ip link set wg0 mtu 1420") }
      for place in ["10.99.0.2:51822", "[fd00:1::2]:51822"] {
        try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint '\(place)'")
        #expect(net.ping("client", "10.7.0.2") != nil, net.story)
        // In one piece: the router counts fragments.
        try net.must("client", "ping -c 3 -i 0.05 -W 2 -M do -s 1392 10.7.0.2")
        try net.must("client", "ping -c 3 -i 0.05 -W 2 -M do -s 1372 fd07::2")
      }
      let fragments = try net.run("server", "nstat -asz IpReasmReqds Ip6ReasmReqds").output
      #expect(fragments.ranges(of: /\ 0 +0\.0/).count == 2, "\(fragments)")
      // As large as the kernel tests them.
      for host in ["client", "server"] { try net.must(host, "ip link set wg0 mtu 34736") }
      try net.must("client", "ping -c 2 -i 0.05 -W 2 -s 30000 10.7.0.2")
      try expectTransfer(net, from: "client", to: "server", "10.7.0.2", 16 << 20)
    }

    // MARK: Those who move

    @Test("A peer is followed to another port and another family, and a socket moves while packets are on their way")
    func movingSockets() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let handshake = try net.at("server", "wg show wg0 latest-handshakes").output
      let server = ends.key("server")
      try net.must("client", "wg set wg0 listen-port 9999")
      #expect(net.ping("client", "fd07::2") != nil, net.story)
      #expect(try net.endpoint("server") == "10.99.0.1:9999")
      try net.must("client", "wg set wg0 listen-port 9998 peer \(server) endpoint '[fd00:1::2]:51822'")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(try net.endpoint("server") == "[fd00:1::1]:9998")
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      // To where the end with the fixed endpoint has moved nobody follows but by its packets.
      try net.must("server", "wg set wg0 listen-port 9997")
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      #expect(try net.endpoint("client") == "[fd00:1::2]:9997")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // No session was lost over all this.
      #expect(try net.at("server", "wg show wg0 latest-handshakes").output == handshake)
    }

    @Test(
      "An address that goes away is not held on to, answers leave from where they were asked, and new routes are used")
    func sticky() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      let (client, server) = (ends.key("client"), ends.key("server"))
      try net.set("client", "sysctl -qw net.ipv4.conf.all.promote_secondaries=1")
      for (place, old, new) in [
        ("10.99.0.2:51822", "10.99.0.1/24", "10.99.0.10/24"), ("[fd00:1::2]:51822", "fd00:1::1/64", "fd00:1::10/64"),
      ] {
        try net.must("client", "wg set wg0 peer \(server) endpoint '\(place)'")
        #expect(net.ping("client", "10.7.0.2") != nil, net.story)
        try net.set("client", "ip addr add \(new) dev eth0 nodad; ip addr del \(old) dev eth0")
        #expect(net.ping("client", "10.7.0.2") != nil, "after \(old) has gone\n\(net.story.rawValue)")
        try net.set("client", "ip addr add \(old) dev eth0 nodad")
      }
      // Whichever address of the client is asked answers, an address of another interface too.
      try net.set(
        "client", "ip link add other type bridge; ip addr add 10.50.0.1/24 dev other; ip link set other up")
      try net.set("server", "ip route add 10.50.0.0/24 dev eth0")
      for place in ["10.99.0.1", "[fd00:1::1]", "10.99.0.10", "[fd00:1::10]", "10.50.0.1"] {
        try net.must("server", "wg set wg0 peer \(client) endpoint '\(place):51821'")
        #expect(net.ping("server", "10.7.0.1") != nil, "\(place)\n\(net.story.rawValue)")
        #expect(try net.endpoint("server") == "\(place):51821")
      }
      // A better route comes, by another link: it is taken, and the address of its own with it.
      try net.set(
        "client",
        "ip link add eth1 type veth peer name eth1 netns \(net.name("server")); ip addr add 10.99.1.3/24 dev eth1; "
          + "ip link set eth1 up; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0")
      try net.set(
        "server",
        "ip link set eth1 up; ip addr add 10.99.1.2/24 dev eth1; "
          + "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0")
      try net.must("client", "wg set wg0 peer \(server) endpoint 10.99.0.2:51822")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      try net.set("client", "ip route add 10.99.0.2/32 dev eth1 src 10.99.1.3")
      let moved = eventually(within: 5, every: 0.05) {
        _ = try? net.at("client", "ping -c 1 -W 0.2 10.7.0.2")
        return (try? net.endpoint("server")) == "10.99.1.3:51821"
      }
      let place = try net.endpoint("server")
      #expect(moved != nil, "\(place)\n\(net.story.rawValue)")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
    }

    @Test("An interface that is moved to another namespace works on from there, and ends there")
    func movedAway() throws {
      let net = try Net(["client", "server", "inside"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let program = try net.wireguard("client", "wg0")
      try net.wireguard("server", "wg0")
      try net.setUp("server", ends)
      // The program's sockets stay where it was started; the host inside has no other way out.
      try net.set("inside", "ip link del eth0")
      let name = net.named("wg0", "client")
      try net.set("client", "ip link set \(name) netns \(net.name("inside"))")
      try net.must("client", ends.settings("client") + " endpoint 10.99.0.2:51822")
      try net.set("inside", "ip addr add 10.7.0.1/24 dev \(name); ip link set \(name) up mtu 1420")
      #expect(net.ping("inside", "10.7.0.2") != nil, net.story)
      try expectTransfer(net, from: "inside", to: "server", "10.7.0.2", 8 << 20)
      #expect(program.log.contains("moved to another namespace"))
      // Its MTU is followed there.
      try net.set("inside", "ip link set \(name) mtu 1300")
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      // Moved on and renamed, and taken away.
      try net.set("inside", "ip link set \(name) down; ip link set \(name) netns \(net.name("server"))")
      #expect(try net.at("client", "wg show wg0").isGood, net.story)
      try net.set("server", "ip link del \(name)")
      #expect(program.wait(within: 5) == .exit(0), net.story)
    }

    @Test("A link that goes down and comes up again carries on, both ways")
    func downAndUp() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      for host in ["client", "server"] {
        let other = host == "client" ? "server" : "client"
        try net.must(host, "ip link set wg0 down")
        #expect(try !net.at(other, "ping -c 2 -i 0.05 -W 0.2 10.7.0.\(ends.number(host))").isGood)
        try net.must(host, "ip link set wg0 up")
        #expect(net.ping(host, "10.7.0.\(ends.number(other))") != nil, net.story)
        #expect(net.ping(other, "10.7.0.\(ends.number(host))") != nil, net.story)
      }
      try expectTransfer(net, from: "server", to: "client", "10.7.0.1", 4 << 20)
    }

    // MARK: Routers and routes

    @Test("Keepalives keep a way through a router that translates addresses and forgets after two seconds")
    func translation() throws {
      let net = try Net(["client", "router", "server"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.set(
        "client",
        "ip addr flush dev eth0; ip addr add 192.168.1.100/24 dev eth0; ip route add default via 192.168.1.1")
      try net.set(
        "router",
        """
        ip addr add 192.168.1.1/24 dev eth0; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 \
          net.ipv4.conf.eth0.send_redirects=0
        nft 'add table ip router; add chain ip router out { type nat hook postrouting priority 100; }
        add rule ip router out ip saddr 192.168.1.0/24 ip daddr 10.99.0.3 snat to 10.99.0.2'
        sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2
        """)
      try net.wireguard("client", "wg0")
      try net.wireguard("server", "wg0")
      for host in ["client", "server"] { try net.setUp(host, ends) }
      let server = ends.key("server")
      try net.must("client", "wg set wg0 peer \(server) endpoint 10.99.0.3:51822 persistent-keepalive 1")
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      #expect(try net.endpoint("server").hasPrefix("10.99.0.2:"))
      // Longer than the router remembers, without a packet of the hosts'.
      let before = try net.transfer("client").sent
      let kept = eventually(within: 10, every: 0.1) {
        ((try? net.transfer("client").sent) ?? 0) >= before + 3 * 32
      }
      #expect(kept != nil)
      #expect(try net.at("server", "ping -c 1 -W 2 10.7.0.1").isGood, net.story)
      // Without keepalives it is forgotten, and the server's packets lead nowhere.
      try net.must("client", "wg set wg0 peer \(server) persistent-keepalive 0")
      let forgotten = eventually(within: 10, every: 0.2) {
        (try? net.run("router", "grep -c dport=51822 /proc/net/nf_conntrack").isGood) != true
      }
      #expect(forgotten != nil)
      #expect(try !net.at("server", "ping -c 1 -W 1 10.7.0.1").isGood)
    }

    @Test(
      "All of a host's traffic goes through the tunnel by rules that except the device's own mark, over both families")
    func marks() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      try net.must("server", "ip addr add 192.168.99.7/32 dev lo; ip addr add abab::1111/128 dev lo")
      try net.must(
        "client", "wg set wg0 fwmark 51820 peer \(ends.key("server")) allowed-ips 0.0.0.0/0,::/0")
      for family in ["-4", "-6"] {
        try net.must(
          "client",
          "ip \(family) route add default dev wg0 table 51820; ip \(family) rule add not fwmark 51820 table 51820; "
            + "ip \(family) rule add table main suppress_prefixlength 0")
      }
      try net.set("client", "sysctl -qw net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.eth0.rp_filter=0")
      // Answers to the host's own address outside, which the server reaches inside only.
      for address in ["192.168.99.7", "abab::1111"] {
        #expect(net.ping("client", address) != nil, "\(address)\n\(net.story.rawValue)")
        try net.must("client", "ping -q -c 100 -i 0.002 -W 2 \(address)")
      }
      #expect(try net.at("client", "wg show wg0 fwmark").output == "0xca6c\n")
      // Programs with a mark of their own, and one that is bound to the device.
      try net.must("client", "ping -m 1 -c 1 -W 2 192.168.99.7; ping -I wg0 -c 1 -W 2 192.168.99.7")
      // Another mark, at once.
      try net.must("client", "wg set wg0 fwmark 0")
      #expect(try net.at("client", "wg show wg0 fwmark").output == "off\n")
    }

    @Test(
      "A packet for nobody, or for a peer without key or place, is answered by ICMP; a host behind a router hears it")
    func unreachable() throws {
      let net = try Net(["behind", "client", "server"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.wireguard("client", "wg0")
      try net.setUp("client", ends)
      // The peer has no endpoint, and nobody has the others.
      for (address, family) in [("10.7.0.2", ""), ("10.7.0.77", ""), ("fd07::2", "-6"), ("fd07::77", "-6")] {
        let told = try net.at("client", "ping \(family) -n -c 1 -W 2 \(address)").output
        #expect(told.contains("Unreachable") || told.contains("unreachable"), "\(address): \(told)")
      }
      // Without a private key nothing is known to be reachable either, but nothing breaks: packets wait, and are few.
      try net.must("client", "wg set wg0 private-key /dev/null peer \(ends.key("server")) endpoint 10.99.0.3:51822")
      #expect(try !net.at("client", "ping -q -c 300 -i 0.002 -W 0.3 10.7.0.2").isGood)
      #expect(try net.transfer("client") == Transfer(received: 0, sent: 0))
      // From behind a router that translates addresses, the error finds its way back.
      try net.must("client", "wg set wg0 private-key \(ends.file("client")) peer \(ends.key("server")) remove")
      try net.must(
        "client",
        "sysctl -qw net.ipv4.ip_forward=1; nft 'add table ip router; "
          + "add chain ip router out { type nat hook postrouting priority 100; }; "
          + "add rule ip router out oifname wg0 masquerade'")
      try net.set("behind", "ip route add 10.7.0.0/24 via 10.99.0.2")
      let behind = try net.run("behind", "ping -n -c 1 -W 2 10.7.0.2").output
      #expect(behind.contains("Destination Host Unreachable"), "\(behind)")
    }

    @Test(
      "A route of a device's own packets into itself harms nothing: they are dropped, and it works again without it")
    func loops() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let server = ends.key("server")
      try net.tunnel(ends)
      try net.must("client", "wg set wg0 peer \(server) allowed-ips 10.7.0.2/32,fd07::2/128,10.99.0.2/32,fd00:1::2/128")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // By an endpoint inside the tunnel, and by a route of the endpoint into it.
      for (make, mend) in [
        ("wg set wg0 peer \(server) endpoint 10.7.0.2:51822", "wg set wg0 peer \(server) endpoint 10.99.0.2:51822"),
        ("wg set wg0 peer \(server) endpoint '[fd07::2]:51822'", "wg set wg0 peer \(server) endpoint 10.99.0.2:51822"),
        ("ip route add 10.99.0.2/32 dev wg0", "ip route del 10.99.0.2/32 dev wg0"),
      ] {
        try net.must("client", make)
        let before = try net.transfer("client").sent
        #expect(try !net.at("client", "ping -q -c 10 -i 0.01 -W 0.3 -s 1300 10.7.0.2").isGood)
        #expect(try net.transfer("client").sent - before < 70_000, "\(make)")
        try net.must("client", mend)
        #expect(net.ping("client", "10.7.0.2") != nil, "after \(make)\n\(net.story.rawValue)")
      }
      // A peer whose place is behind itself, without a session.
      try net.must(
        "client",
        "wg set wg0 peer $(wg genkey | wg pubkey) allowed-ips 10.8.0.2/32 endpoint 10.8.0.2:5; "
          + "ip route add 10.8.0.0/24 dev wg0")
      let before = try net.transfer("client").sent
      #expect(try !net.at("client", "ping -q -c 10 -i 0.01 -W 0.3 10.8.0.2").isGood)
      #expect(try net.transfer("client").sent - before < 70_000)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
    }

    @Test("A device inside of a device carries everything, and one peer is reached through another of the same device")
    func deviceInDevice() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      for host in ["client", "server"] {
        let other = host == "client" ? "server" : "client"
        try net.wireguard(host, "wg1")
        try net.must(
          host,
          "wg set wg1 listen-port 5 private-key \(ends.file(other)) peer \(ends.key(host)) "
            + "allowed-ips 10.8.0.\(ends.number(other))/32 endpoint '[fd07::\(ends.number(other))]:5'; "
            + "ip addr add 10.8.0.\(ends.number(host))/24 dev wg1; ip link set wg1 up mtu 1340")
      }
      #expect(net.ping("client", "10.8.0.2") != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", "10.8.0.2", 8 << 20)
      try expectTransfer(net, from: "server", to: "client", "10.8.0.1", 8 << 20)
      // The inner device's key is the outer server's, so this peer of the outer device is the inner device.
      let onion = try shell("wg genkey").output.trimmed
      let key = try net.file("onion.key", onion + "\n")
      let onionPublic = try shell("wg pubkey < \(key)").output.trimmed
      try net.must(
        "server",
        "wg set wg1 private-key \(key) peer \(ends.key("server")) remove; "
          + "wg set wg1 peer \(ends.key("client")) allowed-ips 10.9.0.1/32; ip addr add 10.9.0.2/24 dev wg1")
      try net.must(
        "client",
        "wg set wg0 peer \(onionPublic) allowed-ips 10.9.0.2/32 endpoint 10.7.0.2:5; ip addr add 10.9.0.1/24 dev wg0")
      #expect(net.ping("client", "10.9.0.2") != nil, net.story)
      #expect(net.ping("server", "10.9.0.1") != nil, net.story)
    }
  }
}

/// The bytes of the one peer, as `wg` shows them.
struct Transfer: Equatable {
  var received: Int
  var sent: Int
}

extension Net {
  /// Of the first peer.
  func transfer(_ host: String) throws -> Transfer {
    let words = try at(host, "wg show wg0 transfer").output.split { $0.isWhitespace }
    try #require(words.count >= 3)
    return Transfer(received: Int(words[1]) ?? -1, sent: Int(words[2]) ?? -1)
  }

  /// Where the first peer is.
  func endpoint(_ host: String) throws -> String {
    let words = try at(host, "wg show wg0 endpoints").output.split { $0.isWhitespace }
    return words.count >= 2 ? String(words[1]) : ""
  }
}
