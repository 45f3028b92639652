import Testing

extension Tunnels {
  /// A router that is full marks the outer header. Over plain UDP the flow inside has to hear of it; QUIC and TCP carriers
  /// keep it for themselves.
  @Suite("Congestion marks")
  struct CongestionMarkTests {
    /// Counts what leaves the client, and marks every fiftieth packet that may be.
    private static let router = """
      nft "add table inet router
      add counter inet router markable
      add counter inet router unmarkable
      add chain inet router out { type filter hook output priority 0; }
      add rule inet router out udp dport { 8421, 8443 } udp length > 200 ip ecn ect0 counter name markable
      add rule inet router out udp dport { 8421, 8443 } udp length > 200 ip ecn not-ect counter name unmarkable
      add rule inet router out udp dport 8421 udp length > 200 ip ecn ect0 numgen random mod 50 0 ip ecn set ce"
      """

    /// Bytes: a run of packets passes by as one.
    private func counter(_ net: Net, _ name: String) throws -> Int {
      let text = try net.run("client", "nft list counter inet router \(name)").output
      let digits = try #require(text.firstMatch(of: /packets \d+ bytes (\d+)/)?.1, "\(text)")
      return try #require(Int(digits))
    }

    /// Echoes of marks that the client's own TCP has heard.
    private func heard(_ net: Net) throws -> Int {
      let text = try net.run("client", "nstat -asz TcpExtTCPDeliveredCE").output
      let digits = try #require(text.firstMatch(of: /TcpExtTCPDeliveredCE +(\d+)/)?.1, "\(text)")
      return try #require(Int(digits))
    }

    private func prepare(_ net: Net) throws {
      for host in ["client", "server"] { try net.set(host, "sysctl -qw net.ipv4.tcp_ecn=1") }
      try net.set("client", Self.router)
    }

    @Test("Between two Culverts over plain UDP a mark on the way reaches the flow inside, and nothing is lost")
    func marked() throws {
      let net = try Net()
      defer { net.close() }
      try prepare(net)
      let server = try net.culvert("server", Carrier.udp.server)
      try net.culvert("client", Carrier.udp.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      let before = try heard(net)
      // The router marks by chance, and a transfer may be few large packets to it: now and then it marks none of them.
      for _ in 0..<5 where try heard(net) == before {
        try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 8 << 20)
      }
      #expect(try counter(net, "markable") > 4 << 20)
      #expect(try heard(net) > before)
      // A flow that does not understand marks leaves unmarkable, as it is.
      let unmarkable = try counter(net, "unmarkable")
      try net.set("client", "sysctl -qw net.ipv4.tcp_ecn=0")
      let markable = try counter(net, "markable")
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 8 << 20)
      #expect(try counter(net, "unmarkable") > unmarkable + (4 << 20))
      #expect(try counter(net, "markable") == markable)
      // A router that marks it nevertheless has lost it, and the server counts that.
      #expect(try !server.path().contains("congestion"))
      try net.set(
        "client",
        "nft \"add rule inet router out udp dport 8421 udp length > 200 numgen random mod 50 0 ip ecn set ce\"")
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 8 << 20)
      let path = try server.path()
      #expect(path.contains(/dropped: congestion \d+/), "\(path)")
    }

    @Test(
      "A GOST would throw a mark away, so nothing that goes to one can be marked", .enabled(if: GostPeer.python != nil))
    func gost() throws {
      let net = try Net()
      defer { net.close() }
      try prepare(net)
      let gost = try net.gostServer(.udp)
      try net.culvert("client", Carrier.udp.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 1 << 20)
      #expect(try counter(net, "markable") == 0)
      #expect(try counter(net, "unmarkable") > 1 << 19)
      gost.kill()
    }

    @Test("QUIC's own packets can be marked, over IPv4 too")
    func quic() throws {
      let net = try Net()
      defer { net.close() }
      try prepare(net)
      try net.culvert("server", Carrier.quic.server)
      try net.culvert("client", Carrier.quic.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 1 << 20)
      #expect(try counter(net, "markable") > 1 << 19)
    }
  }
}
