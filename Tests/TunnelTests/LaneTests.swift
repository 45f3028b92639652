import Testing

extension Tunnels {
  /// Between two Culverts a relayed tunnel's packets travel as DATAGRAM frames: a lost outer packet costs the inner
  /// flows that packet, and nothing waits for it. A stream would bring every ping back, later.
  @Suite("The lane beside a stream")
  struct LaneTests {
    @Test("Lost outer packets are lost pings, and TCP announces segments that fit a frame")
    func lossy() throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert("server", Configurations.server(relays: [.quic]))
      let client = try net.culvert("client", Configurations.client(over: .quic))
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 4 << 20)

      let listener = try net.start("server", "python3 \(Machine.tools)/segment.py listen \(Configurations.inner4) 5002")
      try #require(listener.says("ready", within: 5) != nil, net.story)
      let segment = try net.run(
        "client", "python3 \(Machine.tools)/segment.py connect \(Configurations.inner4) 5002"
      ).output
      let size = try #require(Int(segment.filter(\.isNumber)), "\(segment)")
      // An MTU of 1,420 would be 1,380 and, less the timestamps, 1,368.
      #expect(size > 1_200 && size < 1_368, "\(segment)")

      // Every tenth of the tunnel's own packets is lost on its way in, at both ends.
      for host in ["client", "server"] {
        let port = host == "server" ? "dport" : "sport"
        try net.set(
          host,
          "nft add table inet loss && nft add chain inet loss input \"{ type filter hook input priority 0; }\" "
            + "&& nft add rule inet loss input udp \(port) 8443 numgen random mod 10 0 drop")
      }
      let pings = try net.run("client", "ping -n -q -i 0.01 -c 300 -W 1 \(Configurations.inner4)").output
      let received = try #require(pings.firstMatch(of: /(\d+) received/)?.1, "\(pings)")
      let count = try #require(Int(received))
      #expect(count < 300 && count > 180, "\(pings)")
      for host in ["client", "server"] { try net.set(host, "nft delete table inet loss") }
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 4 << 20)
      #expect(client.stop() == .exit(0), net.story)
    }
  }
}
