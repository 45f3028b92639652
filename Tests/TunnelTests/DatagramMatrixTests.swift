/// UDP forwards over everything that can carry datagrams: boundaries, contents and sources stay what they were, whatever
/// the size, and an empty datagram harms nobody even where the way cannot say it.
import Testing

extension Tunnels {
  @Suite("UDP over everything")
  struct DatagramMatrixTests {
    private static let ways = [
      "relay/tcp", "relay/tls", "relay/ws", "relay/wss", "relay/mtcp", "relay/mtls", "relay/mws", "relay/mwss",
      "relay/quic", "relay/icmp", "relay/icmp6", "socks5/tcp", "socks5/tls", "socks5-udp/tcp", "http/tcp", "http/tls",
      "straight",
    ]

    @Test("UDP forwards", arguments: Peer.all)
    func forwards(_ peer: Peer) throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      let server = peer == .gostServer ? nil : try net.culvert("server", Self.server)
      if peer == .gostServer { try net.gost("server", Self.server) }
      let client = peer == .gostClient ? nil : try net.culvert("client", Self.client)
      if peer == .gostClient { try net.gost("client", Self.client) }
      // GOST's buffers are 4,096 bytes long.
      let sizes = peer == .culvert ? [1, 3, 100, 1400, 9000, 60_000] : [1, 3, 100, 1400, 4000]
      for (place, way) in Self.ways.enumerated() {
        let port = "127.0.0.1:\(9000 + place)"
        guard net.comesBack("client", port, within: 5) else {
          #expect(Bool(false), "\(way) carries nothing\n\(net.story)")
          continue
        }
        if peer == .culvert { try net.empty("client", port) }
        // A datagram of 60,000 bytes does not fit into one of SOCKS5's own.
        try net.expectDatagrams("client", port, sources: 4, sizes: way == "socks5-udp/tcp" ? sizes.dropLast() : sizes)
        guard way == "relay/tcp", let server else { continue }
        // Both legs of a relay's datagrams are counted, while the last sessions still stand.
        let path = try server.path("relay-tcp --json")
        #expect(path.contains(/"to":\{"role":"target"[^\n]*"bytes":\{"forth":[1-9]\d*,"back":[1-9]/), "\(path)")
        #expect(path.contains(/"from":\{"role":"client"[^\n]*"bytes":\{"forth":[1-9]\d*,"back":[1-9]/), "\(path)")
      }
      if let client { #expect(client.stop() == .exit(0), net.story) }
    }

    private static var server: String {
      Write.file(
        ways.filter { $0 != "straight" && $0 != "socks5-udp/tcp" }.map { way in
          let words = way.split(separator: "/").map(String.init)
          return Write.service(
            way.replacing("/", with: "-"), ":\(port(way))",
            "{type: \(words[0]), metadata: {\(words[0] == "relay" ? "nodelay" : "udp"): true}}",
            on: words[1])
        })
    }

    private static var client: String {
      let services = ways.enumerated().map { place, way in
        let chain = way == "straight" ? "" : ", chain: \(way.replacing("/", with: "-"))"
        return Write.service(
          way.replacing("/", with: "-"), "127.0.0.1:\(9000 + place)", "{type: udp\(chain)}",
          on: "{type: udp, metadata: {keepalive: true, readBufferSize: 65535}}", to: "10.99.0.2:7000")
      }
      let chains = ways.filter { $0 != "straight" }.map { way in
        let words = way.split(separator: "/").map(String.init)
        let host = (words[1] == "icmp6" ? Family.v6 : .v4).address(2)
        let connector =
          switch words[0] {
          case "relay": "{type: relay, metadata: {nodelay: true}}"
          case "socks5-udp": "{type: socks5, metadata: {relay: udp}}"
          default: words[0]
          }
        return Write.chain(
          way.replacing("/", with: "-"), [Write.node("node", "\(host):\(port(way))", connector, over: words[1])])
      }
      return Write.file(services, chains)
    }

    private static func port(_ way: String) -> Int {
      if way.contains("icmp") { return 0 }
      return 8400 + (ways.firstIndex(of: way == "socks5-udp/tcp" ? "socks5/tcp" : way) ?? 0)
    }
  }
}

extension Net {
  /// Sends empty datagrams, which may or may not come back.
  fileprivate func empty(_ host: String, _ place: String) throws {
    let words = place.split(separator: ":")
    let sent = try run(
      host,
      "python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        + "[s.sendto(b\\\"\\\", (\\\"\(words[0])\\\", \(words[1]))) for _ in range(5)]\"")
    #expect(sent.isGood, "\(sent.output)")
  }
}
