/// Ports of another host: `rtcp` and `rudp` bind at the last node of a chain and carry what comes there back to targets
/// here. As the forwards of the matrix: every byte accounted for, over several transports, with GOST at either end where
/// it is given.
import Testing

extension Tunnels {
  @Suite("Ports of other hosts")
  struct ReverseTests {
    /// What the port is asked for through.
    private static let ways = [
      "relay/tcp", "relay/tls", "relay/wss", "relay/mtcp", "relay/mtls", "relay/quic", "relay/icmp6", "socks5/tcp",
      "socks5/tls",
    ]

    @Test("rtcp over several transports", arguments: Peer.all)
    func rtcp(_ peer: Peer) throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("client")
      try start(net, "server", Self.server, isGost: peer == .gostServer)
      try start(net, "client", Self.client("rtcp"), isGost: peer == .gostClient)
      try net.expectStreams(
        "server",
        Self.ways.indices.map { place in
          "\(Self.ways[place])=10.99.0.2:\(9000 + 10 * place),10.99.0.2:\(9001 + 10 * place)"
        })
    }

    @Test("rudp over several transports, from several sources at once", arguments: Peer.all)
    func rudp(_ peer: Peer) throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("client")
      try start(net, "server", Self.server, isGost: peer == .gostServer)
      try start(net, "client", Self.client("rudp"), isGost: peer == .gostClient)
      for (place, way) in Self.ways.enumerated() {
        let sizes = peer == .culvert ? [1, 100, 1400, 9000, 60_000] : [1, 100, 1400, 4000]
        let port = "10.99.0.2:\(9000 + 10 * place)"
        try #require(net.comesBack("server", port), "\(way)\n\(net.story)")
        if peer == .gostClient {
          // GOST ends a session with its first answer, and what comes while it does that is lost.
          try net.expectDatagrams("server", port, sources: 1, sizes: [1400])
        } else {
          try net.expectDatagrams("server", port, sources: 8, sizes: sizes)
        }
      }
    }

    @Test("The other host's program is killed and started again: its ports are there again")
    func restart() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("client")
      let server = try net.culvert("server", Self.server)
      let client = try net.culvert("client", Self.client("rtcp"))
      var missing = Set(Self.ways.indices)
      var last = missing
      func allAnswer() -> Bool {
        last = missing
        missing = missing.filter { place in
          (try? net.greetings("server", "10.99.0.2:\(9001 + 10 * place)").first?.name) != "target"
        }
        return missing.isEmpty
      }
      try #require(eventually(within: 10, every: 0.1, allAnswer) != nil, net.story)
      server.crash()
      try net.culvert("server", Self.server)
      missing = Set(Self.ways.indices)
      let time = eventually(within: 20, every: 0.1, allAnswer)
      let slowest = last.map { Self.ways[$0] }.joined(separator: ", ")
      print("ports of another host came back within \(time.map { "\($0)" } ?? "never") s, the last \(slowest)")
      #expect(time != nil, "\(missing.map { Self.ways[$0] })\n\(net.story)")
      #expect(client.stop() == .exit(0), net.story)
    }

    @Test("A port that the other host may not give is refused, with its reason in the log, and nobody listens there")
    func refused() throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert(
        "server", Write.file([Write.service("relay", ":8443", "relay"), Write.service("socks", ":1080", "socks5")]))
      let client = try net.culvert(
        "client",
        Write.file(
          [
            Write.service("one", ":9000", "rtcp", on: "{type: rtcp, chain: relay}", to: "127.0.0.1:7000"),
            Write.service("two", ":9001", "rtcp", on: "{type: rtcp, chain: socks}", to: "127.0.0.1:7000"),
          ],
          [
            Write.chain("relay", [Write.node("relay", "10.99.0.2:8443")]),
            Write.chain("socks", [Write.node("socks", "10.99.0.2:1080", "socks5")]),
          ]))
      #expect(
        eventually(within: 5) { client.log.contains("orbidden") || client.log.contains("refuse") } != nil, net.story)
      let listening = try net.run("server", "ss -Hltn").output
      #expect(!listening.contains(":9000") && !listening.contains(":9001"), "\(listening)")
    }

    // MARK: Helpers

    private func start(_ net: Net, _ host: String, _ configuration: String, isGost: Bool) throws {
      if isGost { try net.gost(host, configuration) } else { try net.culvert(host, configuration) }
    }

    private static func port(_ way: String) -> Int {
      way.hasSuffix("icmp6") ? 0 : 8400 + (ways.firstIndex(of: way) ?? 0)
    }

    private static var server: String {
      Write.file(
        ways.map { way in
          let words = way.split(separator: "/").map(String.init)
          return Write.service(
            way.replacing("/", with: "-"), ":\(port(way))",
            "{type: \(words[0]), metadata: {bind: true, \(words[0] == "relay" ? "nodelay" : "udp"): true}}",
            on: words[1])
        })
    }

    /// A port of each way that waits for its client and one that speaks first; UDP has one.
    private static func client(_ type: String) -> String {
      let services = ways.enumerated().flatMap { place, way in
        let name = way.replacing("/", with: "-")
        return (type == "rudp" ? [0] : [0, 1]).map { number in
          Write.service(
            "\(name)-\(number)", "0.0.0.0:\(9000 + 10 * place + number)", type,
            on: "{type: \(type), chain: \(name)}", to: "10.99.0.1:\(7000 + number)")
        }
      }
      let chains = ways.map { way in
        let words = way.split(separator: "/").map(String.init)
        let host = (words[1] == "icmp6" ? Family.v6 : .v4).address(2)
        let connector = words[0] == "relay" ? "{type: relay, metadata: {nodelay: true}}" : words[0]
        return Write.chain(
          way.replacing("/", with: "-"), [Write.node("node", "\(host):\(port(way))", connector, over: words[1])])
      }
      return Write.file(services, chains)
    }
  }
}
