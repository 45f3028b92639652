/// Which packets take the tunnel, to whom, and from whom they are taken.
///
/// `route`, `routes` and `gw` at both ends, networks behind clients, many clients that speak with each other by their
/// inner addresses, `p2p`, passphrases and the taking over of an address.
import Glibc
import Testing

extension Tunnels {
  @Suite("Routing")
  struct RoutingTests {
    // MARK: Networks behind the ends

    @Test("`route` by `gw` and `routes` by gateways of their own lead to networks behind both ends")
    func networksBehind() throws {
      let net = try Net()
      defer { net.close() }
      try net.set("client", "ip addr add 192.168.50.1/32 dev lo && ip addr add 192.168.51.1/32 dev lo")
      try net.set("client", "ip addr add fd50::1/128 dev lo")
      try net.set("server", "ip addr add 192.168.70.1/32 dev lo && ip addr add fd70::1/128 dev lo")
      try net.culvert(
        "server",
        Configurations.server(
          listener: "route: 192.168.50.0/24, gw: 10.90.57.1, "
            + "routes: [\"192.168.51.0/24 10.90.57.1\", \"fd50::/64 fd90:57::1\"]"))
      let client = try net.culvert(
        "client", Configurations.client(over: .udp, listener: "route: \"192.168.70.0/24,fd70::/64\""))
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      for address in ["192.168.50.1", "192.168.51.1", "fd50::1"] {
        #expect(net.ping("server", address, within: 3) != nil, "\(address): \(net.story)")
      }
      for address in ["192.168.70.1", "fd70::1"] {
        #expect(net.ping("client", address, within: 3) != nil, "\(address): \(net.story)")
      }
      // What a client sends from the network behind it is taken, because the server routes that network to it.
      let from = try net.run("client", "ping -n -c 1 -W 2 -I 192.168.50.1 \(Configurations.inner4)")
      #expect(from.isGood, "\(from.output)")
      #expect(client.stop() == .exit(0))
    }

    @Test("A point-to-point server sends every packet to its one client")
    func pointToPoint() throws {
      let net = try Net()
      defer { net.close() }
      try net.set("client", "ip addr add 192.168.50.1/32 dev lo")
      // Without p2p nobody would know who has 192.168.50.1, and would take it from nobody.
      try net.culvert(
        "server", Configurations.server(handler: "metadata: {p2p: true}", listener: "route: 192.168.50.0/24"))
      try net.culvert("client", Configurations.client(over: .udp))
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(net.ping("server", "192.168.50.1", within: 3) != nil, net.story)
      let from = try net.run("client", "ping -n -c 1 -W 2 -I 192.168.50.1 \(Configurations.inner4)")
      #expect(from.isGood, "\(from.output)")
    }

    @Test("Three clients over three carriers reach the server and each other by their inner addresses")
    func manyClients() throws {
      let carriers: [(host: String, carrier: Carrier)] = [("a", .udp), ("b", .tls), ("c", .icmp6)]
      let net = try Net(["server", "a", "b", "c"])
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server(relays: [.tls, .icmp6]))
      for (place, (host, carrier)) in carriers.enumerated() {
        let node = carrier.node.replacing("10.99.0.2", with: "10.99.0.1").replacing("fd00:1::2", with: "fd00:1::1")
        let inner = "10.90.57.\(place + 1)/24,fd90:57::\(place + 1)/64"
        try net.culvert(host, Configurations.client(over: carrier, net: inner, node: node))
      }
      for (host, _) in carriers {
        for address in [
          "10.90.57.30", "10.90.57.1", "10.90.57.2", "10.90.57.3", "fd90:57::1", "fd90:57::2", "fd90:57::3",
        ] {
          #expect(net.ping(host, address, within: 4) != nil, "\(host) to \(address): \(net.story)")
        }
      }
      try expectTransfer(net, from: "a", to: "c", "10.90.57.3", 2 << 20)
      try expectTransfer(net, from: "c", to: "b", "fd90:57::2", 2 << 20)
      let path = try server.path()
      for place in 1...3 { #expect(path.contains("10.90.57.\(place),fd90:57::\(place)"), "\(path)") }
    }

    // MARK: Who may have an address

    @Test("With the right passphrase a tunnel comes up, and an address moves to whoever has it, at once")
    func takeoverByPassphrase() throws {
      let net = try Net(["server", "first", "second", "thief"])
      defer { net.close() }
      let authers = """
        authers:
        - name: people
          auths: [{username: 10.90.57.1, password: sesame}]

        """
      let server = try net.culvert("server", Configurations.server(handler: "auther: people") + authers)
      func join(_ host: String, _ passphrase: String) throws -> Culvert {
        try net.culvert(
          host,
          Configurations.client(
            over: .udp, net: "10.90.57.1/24", handler: "metadata: {passphrase: \(passphrase)}", node: "10.99.0.1:8421"))
      }
      let first = try join("first", "sesame")
      try #require(net.ping("first", Configurations.inner4) != nil, net.story)
      let thief = try join("thief", "simsim")
      #expect(server.says("does not accept", within: 3) != nil, net.story)
      #expect(!thief.log.contains("tunnel is up"), net.story)
      #expect(net.ping("first", Configurations.inner4, within: 1) != nil, "a wrong passphrase changes nothing")
      #expect(first.stop() == .exit(0))
      _ = try join("second", "sesame")
      let taken = net.ping("second", Configurations.inner4)
      #expect(taken.map { $0 < 1.5 } ?? false, "the right passphrase waits for nobody: \(net.story)")
    }

    @Test("Without an auther an address moves only when its holder has been silent for two seconds")
    func takeoverBySilence() throws {
      let net = try Net(["server", "first", "second"])
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server())
      let configuration = Configurations.client(over: .udp, node: "10.99.0.1:8421")
      let first = try net.culvert("first", configuration)
      try #require(net.ping("first", Configurations.inner4) != nil, net.story)
      let flow = try Flow(net, from: "first", to: Configurations.inner4)
      let second = try net.culvert("second", configuration)
      #expect(server.says("belongs to another client that is alive", within: 3) != nil, net.story)
      #expect(recoveries(of: [flow], within: 2) != [nil], net.story)
      #expect(!second.log.contains("tunnel is up"), net.story)
      flow.end()
      first.crash()
      #expect(second.says("tunnel is up", within: 6) != nil, net.story)
      #expect(net.ping("second", Configurations.inner4, within: 2) != nil, net.story)
    }

    // MARK: The way of the tunnel's own packets

    @Test("A full tunnel takes everything but its own packets, over IPv4 and IPv6", arguments: [Carrier.quic, .icmp6])
    func fullTunnel(_ carrier: Carrier) throws {
      let net = try Net(["client", "router", "server"])
      defer { net.close() }
      try net.putServerBehindRouter()
      // All three are on one link, so the router would tell the client of a shorter way.
      let redirects = ["ipv4.conf.all", "ipv4.conf.eth0", "ipv6.conf.eth0"].map { "net.\($0).accept_redirects=0" }
      try net.set("client", "sysctl -qw \(redirects.joined(separator: " "))")
      let before = try net.state("client")
      let node = carrier == .icmp6 ? "2001:db8:7::7" : "198.51.100.7"
      try net.culvert("server", carrier.server)
      let client = try net.culvert(
        "client",
        Configurations.client(
          over: carrier, listener: "route: \"0.0.0.0/0,::/0\"", node: carrier == .icmp6 ? "[\(node)]:0" : "\(node):8443"
        ))
      #expect(net.ping("client", "203.0.113.5") != nil, net.story)
      #expect(net.ping("client", "2001:db8:5::5", within: 3) != nil, net.story)
      let way = { (address: String) in try net.run("client", "ip route get \(address)").output }
      #expect(try way("203.0.113.5").contains("dev tun0"))
      #expect(try way("2001:db8:5::5").contains("dev tun0"))
      #expect(try way(node).contains("dev eth0"))
      #expect(client.log.contains("exception route keeps the tunnel's own packets outside"), net.story)
      try expectTransfer(net, from: "client", to: "server", "203.0.113.5", 2 << 20)

      // The host moves to another router, as a laptop does: the exception follows, and traffic goes on.
      try net.set("router", "ip addr add 10.99.0.77/24 dev eth0 && ip addr add fd00:1::77/64 dev eth0 nodad")
      let flow = try Flow(net, from: "client", to: "203.0.113.5")
      try #require(recoveries(of: [flow], within: 3) != [nil], net.story)
      try net.set(
        "client",
        "ip route replace default via 10.99.0.77 && ip -6 route replace default via fd00:1::77 metric 1024")
      let gateway = carrier == .icmp6 ? "via fd00:1::77" : "via 10.99.0.77"
      #expect(eventually(within: 3) { (try? way(node).contains(gateway)) ?? false } != nil, net.story)
      #expect(recoveries(of: [flow], within: RecoveryTests.promise) != [nil], net.story)
      flow.end()
      try net.set(
        "client",
        "ip route replace default via 10.99.0.2 && ip -6 route replace default via fd00:1::2 metric 1024")
      #expect(client.stop() == .exit(0), net.story)
      try expectSame(before, net.state("client"))
    }

    @Test("A way that the kernel only remembers, from a router's redirect, is nobody's route to the node")
    func redirected() throws {
      let net = try Net(["client", "router", "server"])
      defer { net.close() }
      try net.putServerBehindRouter()
      try net.culvert("server", Carrier.quic.server)
      let client = try net.culvert(
        "client", Configurations.client(over: .quic, listener: "route: 0.0.0.0/0", node: "198.51.100.7:8443"))
      let flow = try Flow(net, from: "client", to: "203.0.113.5")
      // The router tells the client to send to the server directly; the kernel keeps that beside the routes.
      let told = eventually(within: 10, every: 0.1) {
        (try? net.run("client", "ping -n -c 1 -W 0.1 198.51.100.7; ip route get 198.51.100.7").output)?
          .contains("redirected") ?? false
      }
      try #require(told != nil, net.story)
      // Any change makes the exception look at the routes again.
      try net.set("client", "ip addr add 192.0.2.1/32 dev lo")
      usleep(600_000)
      #expect(try net.run("client", "ip route show 198.51.100.7").output.contains("via 10.99.0.2"), net.story)
      #expect(!client.log.contains("exception route moved"), net.story)
      #expect(recoveries(of: [flow], within: 2) != [nil], net.story)
    }

    @Test("A tunnel that could reach its node only through itself says so instead of swallowing itself")
    func noLoop() throws {
      let net = try Net()
      defer { net.close() }
      let client = try net.culvert(
        "client", Configurations.client(over: .udp, listener: "route: 0.0.0.0/0", node: "203.0.113.9:8421"))
      #expect(client.says("WARN", within: 5) != nil, net.story)
      usleep(500_000)
      let before = try net.run("client", "cat /sys/class/net/tun0/statistics/tx_packets").output
      usleep(1_500_000)
      let after = try net.run("client", "cat /sys/class/net/tun0/statistics/tx_packets").output
      let packets = try #require(Int(after.filter(\.isNumber))) - #require(Int(before.filter(\.isNumber)))
      #expect(packets < 20, "\(packets) packets went round: \(net.story)")
    }

    @Test("`so_mark` lets the host's own rules choose the way to the node")
    func mark() throws {
      let net = try Net()
      defer { net.close() }
      try net.set("server", "ip addr add 198.51.100.7/32 dev lo")
      // Only marked packets know the way.
      try net.set(
        "client", "ip route add 198.51.100.7 via 10.99.0.2 table 100 && ip rule add fwmark 66 lookup 100")
      try net.culvert("server", Carrier.tcp.server)
      let unmarked = try net.culvert("client", Configurations.client(over: .tcp, node: "198.51.100.7:8443"))
      #expect(unmarked.says("unreachable", within: 5) != nil, net.story)
      #expect(unmarked.stop() == .exit(0))
      try net.culvert(
        "client",
        Configurations.client(over: .tcp, extra: "metadata: {so_mark: 66}", node: "198.51.100.7:8443"))
      #expect(net.ping("client", Configurations.inner4) != nil, net.story)
    }

    @Test("`interface` binds the tunnel's own packets to a link, so that a full tunnel needs no exception")
    func boundInterface() throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert("server", Configurations.server())
      let client = try net.culvert(
        "client",
        Configurations.client(over: .udp, listener: "route: 0.0.0.0/0", extra: "metadata: {interface: eth0}"))
      #expect(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(!client.log.contains("exception route"), net.story)
      let sockets = try net.run("client", "ss -Hun").output
      #expect(sockets.contains("%eth0"), "\(sockets)")
    }
  }
}

extension Net {
  /// Gives the server an address for the node and one that stands for the internet, which the client reaches only by
  /// the router.
  fileprivate func putServerBehindRouter() throws {
    try set("router", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    try set("server", "ip addr add 198.51.100.7/32 dev lo && ip addr add 2001:db8:7::7/128 dev lo")
    try set("server", "ip addr add 203.0.113.5/32 dev lo && ip addr add 2001:db8:5::5/128 dev lo")
    try set("router", "ip route add 198.51.100.7 via 10.99.0.3 && ip route add 2001:db8:7::7 via fd00:1::3")
    try set("client", "ip route add default via 10.99.0.2 && ip route add default via fd00:1::2")
  }
}
