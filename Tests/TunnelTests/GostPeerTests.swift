/// Tunnels with a GOST 3.2.6 at one end, as `Peers/gost_peer.py` plays it: written from GOST's wire and not from ours,
/// and proved beside the recordings of the real program in `GostReplayTests`.
///
/// The peer says FAULT for whatever the real program would not have taken, even where the tunnel works.
import Glibc
import Testing

/// The program that plays GOST, and the Python that it needs for QUIC.
enum GostPeer {
  /// The folder of the peers and of the recordings.
  static let folder =
    "\(#filePath)".split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/Peers"

  /// A Python with aioquic: `CULVERT_AIOQUIC_PYTHON`, the one that `scripts/test` makes, or the system's; `nil` when
  /// none of them has it.
  static let python: String? = {
    let package = folder.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
    let candidates = [
      getenv("CULVERT_AIOQUIC_PYTHON").map { String(cString: $0) }, package + "/.build/test-venv/bin/python3",
      "/usr/bin/python3",
    ]
    return candidates.compactMap { $0 }.first { (try? shell("\($0) -c \"import aioquic\"").isGood) ?? false }
  }()

  static let reason: Comment =
    "GOST is played by a Python that needs aioquic (scripts/test makes one, or set CULVERT_AIOQUIC_PYTHON)"

  static let serverNet = "10.90.57.30/24,fd90:57::30/64"
  static let clientNet = "10.90.57.1/24,fd90:57::1/64"
}

extension Net {
  /// Starts GOST as a server of a carrier on a host and waits until it runs.
  @discardableResult
  func gostServer(
    _ carrier: Carrier, net: String = GostPeer.serverNet, options: String = "", on host: String = "server"
  ) throws -> Program {
    let listen = carrier == .icmp || carrier == .icmp6 ? ":0" : ":8443"
    return try gost(host, "server --carrier \(carrier.rawValue) --listen \(listen) --net \(net) \(options)")
  }

  /// Starts GOST as a client of a carrier on a host and waits until it runs.
  @discardableResult
  func gostClient(
    _ carrier: Carrier, net: String = GostPeer.clientNet, node: String? = nil, target: String? = nil,
    options: String = "", on host: String = "client"
  ) throws -> Program {
    let target = target ?? (carrier == .udp ? carrier.node : "\(Configurations.inner4):8421")
    return try gost(
      host,
      "client --carrier \(carrier.rawValue) --node \(node ?? carrier.node) --target \(target) --net \(net) \(options)")
  }

  private func gost(_ host: String, _ arguments: String) throws -> Program {
    let python = try #require(GostPeer.python)
    let program = try start(host, "\(python) \(GostPeer.folder)/gost_peer.py \(arguments) --tun tun0", title: "gost")
    try #require(program.says("READY", within: 10) != nil, story)
    return program
  }
}

extension Tunnels {
  @Suite("GOST at one end", .enabled(if: GostPeer.python != nil, GostPeer.reason))
  struct GostPeerTests {
    @Test("A GOST server with a Culvert client", arguments: Carrier.allCases)
    func server(_ carrier: Carrier) throws {
      try inNet { net in
        try net.gostServer(carrier)
        try net.culvert("client", carrier.client)
        try expectTunnel(net)
      }
    }

    @Test("A Culvert server with a GOST client", arguments: Carrier.allCases)
    func client(_ carrier: Carrier) throws {
      try inNet { net in
        try net.culvert("server", carrier.server)
        try net.gostClient(carrier, options: "--keepalive --ttl 2")
        try expectTunnel(net)
      }
    }

    /// The client's, the server's, or both: GOST itself hangs with the first.
    @Test("Any mix of `nodelay`", arguments: [(true, true), (true, false), (false, true)])
    func nodelay(atClient: Bool, atServer: Bool) throws {
      try inNet { net in
        try net.gostServer(.tcp, options: atServer ? "--nodelay" : "")
        let node = atClient ? "{type: relay, metadata: {nodelay: true}}" : "{type: relay}"
        try net.culvert("client", Carrier.tcp.client.replacing("{type: relay}", with: node))
        try expectPings(net)
      }
      try inNet { net in
        let handler = atServer ? "{type: relay, metadata: {nodelay: true}}" : "{type: relay}"
        try net.culvert("server", Carrier.tcp.server.replacing("{type: relay}", with: handler))
        try net.gostClient(.tcp, options: atClient ? "--nodelay" : "")
        try expectPings(net)
      }
    }

    /// As GOST's own examples have it: the target is the relay's host, and the file names no host.
    @Test("A target without a host", arguments: [Carrier.tcp, .icmp6])
    func targetWithoutHost(_ carrier: Carrier) throws {
      try inNet { net in
        try net.culvert("server", carrier.server)
        try net.gostClient(carrier, target: ":8421")
        try expectPings(net)
      }
      try inNet { net in
        try net.gostServer(carrier)
        try net.culvert("client", carrier.client.replacing("\(Configurations.inner4):8421", with: ":8421"))
        try expectPings(net)
      }
    }

    @Test("IPv6 outside", arguments: [Carrier.udp, .tcp, .tls, .quic])
    func overIPv6(_ carrier: Carrier) throws {
      let node = "[fd00:1::2]:\(carrier == .udp ? 8421 : 8443)"
      try inNet { net in
        try net.culvert("server", carrier.server)
        try net.gostClient(carrier, node: node, target: carrier == .udp ? node : nil)
        try expectPings(net)
      }
      try inNet { net in
        try net.gostServer(carrier)
        try net.culvert("client", Configurations.client(over: carrier, node: node))
        try expectPings(net)
      }
    }

    @Test("A relay with user and password, and a TUN with a passphrase for each address")
    func authentication() throws {
      try inNet { net in
        try net.gostServer(.tcp, options: "--auth u:p --passphrase 10.90.57.1=word,fd90:57::1=word")
        try net.culvert(
          "client",
          Configurations.client(over: .tcp, handler: "metadata: {passphrase: word}")
            .replacing("{type: relay}", with: "{type: relay, auth: {username: u, password: p}}"))
        try expectPings(net)
      }
      try inNet { net in
        try net.culvert(
          "server",
          Configurations.server(handler: "auther: known", relays: [.tcp])
            .replacing("{type: relay}", with: "{type: relay, auth: {username: u, password: p}}") + """

              authers:
              - name: known
                auths: [{username: 10.90.57.1, password: word}, {username: "fd90:57::1", password: word}]
              """)
        let stranger = try net.gostClient(.tcp, options: "--auth u:x --passphrase word")
        #expect(stranger.says("status 2", within: 5) != nil, net.story)
        stranger.kill()
        try net.gostClient(.tcp, options: "--auth u:p --passphrase word")
        try expectPings(net)
      }
    }

    @Test("Point to point")
    func pointToPoint() throws {
      try inNet { net in
        try net.gostServer(.udp, options: "--p2p")
        try net.culvert("client", Configurations.client(over: .udp, handler: "metadata: {p2p: true}"))
        try expectPings(net)
      }
      try inNet { net in
        try net.culvert("server", Configurations.server(handler: "metadata: {p2p: true}"))
        try net.gostClient(.udp)
        try expectPings(net)
      }
    }

    @Test("A Culvert and a GOST client reach each other through either server", arguments: ["culvert", "gost"])
    func severalClients(_ server: String) throws {
      try inNet(["first", "server", "second"]) { net in
        if server == "gost" {
          try net.gostServer(.tcp)
        } else {
          try net.culvert("server", Carrier.tcp.server)
        }
        try net.culvert("first", Carrier.tcp.client)
        try net.gostClient(.tcp, net: "10.90.57.2/24,fd90:57::2/64", on: "second")
        try #require(net.ping("first", Configurations.inner4) != nil, net.story)
        for address in ["10.90.57.2", "fd90:57::2"] { #expect(net.ping("first", address) != nil, net.story) }
        for address in ["10.90.57.1", "fd90:57::1"] { #expect(net.ping("second", address) != nil, net.story) }
      }
    }

    @Test("An `mtu` that is larger than the link's goes over UDP in fragments")
    func largeMTU() throws {
      try inNet { net in
        try net.gostServer(.udp, options: "--mtu 1500")
        try net.culvert("client", Configurations.client(over: .udp, listener: "mtu: 1500"))
        try #require(net.ping("client", Configurations.inner4) != nil, net.story)
        try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 1 << 20)
      }
    }

    // MARK: Recovery

    /// GOST's client gives a connection up after three times its `ttl` and dials a second later.
    private static let ttl = 3
    private static let deadline = Double(3 * ttl + 2)

    @Test("A GOST server is killed and started again: the Culvert client finds it")
    func serverRestarted() throws {
      try inEachCarrier { net, carrier in
        let server = try net.gostServer(carrier)
        try net.culvert("client", carrier.client)
        return {
          server.kill()
          try net.gostServer(carrier)
        }
      }
    }

    @Test("A Culvert server is killed and started again: the GOST client finds it")
    func culvertServerRestarted() throws {
      try inEachCarrier { net, carrier in
        let server = try net.culvert("server", carrier.server)
        try net.gostClient(carrier, options: "--keepalive --ttl \(Self.ttl)")
        return {
          server.crash()
          try net.culvert("server", carrier.server)
        }
      }
    }

    /// It announces itself once, while the Culvert server still holds its address for the killed one.
    @Test("A GOST client without keepAlive is killed and started again at once")
    func clientRestarted() throws {
      try inEachCarrier(within: 5) { net, carrier in
        try net.culvert("server", carrier.server)
        let client = try net.gostClient(carrier)
        return {
          client.kill()
          try net.gostClient(carrier)
        }
      }
    }

    // MARK: Helpers

    /// A net for one tunnel, and afterwards no word of a fault from whoever played GOST.
    private func inNet(
      _ hosts: [String] = ["client", "server"], location: SourceLocation = #_sourceLocation,
      _ body: (Net) throws -> Void
    ) throws {
      let net = try Net(hosts)
      defer { net.close() }
      try body(net)
      for program in net.programs where program.title == "gost" {
        #expect(!program.log.contains("FAULT"), net.story, sourceLocation: location)
        #expect(!program.log.contains("Traceback"), net.story, sourceLocation: location)
      }
    }

    private func expectPings(_ net: Net, location: SourceLocation = #_sourceLocation) throws {
      try #require(net.ping("client", Configurations.inner4) != nil, net.story, sourceLocation: location)
      #expect(net.ping("client", Configurations.inner6) != nil, net.story, sourceLocation: location)
      #expect(net.ping("server", "10.90.57.1") != nil, net.story, sourceLocation: location)
    }

    private func expectTunnel(_ net: Net) throws {
      try expectPings(net)
      #expect(net.ping("server", "fd90:57::1") != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 1 << 20)
      try expectTransfer(net, from: "server", to: "client", "10.90.57.1", 1 << 20)
    }

    /// Builds a tunnel over each carrier at once, because most of a recovery is waiting; `build` hands out the trouble.
    private func inEachCarrier(
      within limit: Double = deadline, location: SourceLocation = #_sourceLocation,
      _ build: (Net, Carrier) throws -> (() throws -> Void)
    ) throws {
      var nets: [Net] = []
      defer { for net in nets { net.close() } }
      var troubles: [() throws -> Void] = []
      for carrier in Carrier.allCases {
        let net = try Net()
        nets.append(net)
        troubles.append(try build(net, carrier))
      }
      for net in nets {
        try #require(net.ping("client", Configurations.inner4) != nil, net.story, sourceLocation: location)
      }
      for ((net, carrier), trouble) in zip(zip(nets, Carrier.allCases), troubles) {
        // The far end has just heard the near one: what it holds for it is fresh.
        try #require(net.ping("client", Configurations.inner4) != nil, net.story, sourceLocation: location)
        try trouble()
        let time = net.ping("client", Configurations.inner4, within: limit)
        let text = time.map { "\(($0 * 100).rounded() / 100) s" } ?? "never"
        print("recovery over \(carrier.testDescription): \(text)")
        #expect(time != nil, "\(carrier.testDescription)\n\(net.story)", sourceLocation: location)
      }
    }
  }
}
