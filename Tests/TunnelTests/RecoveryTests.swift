/// Whatever happens outside, traffic flows again within five seconds of the network being back, without anybody's
/// help and whatever `ttl` says: no configuration here has a keepalive.
///
/// Each trouble is made in small internets of their own at once, one for each carrier, because most of a recovery is waiting.
/// A ping runs through each tunnel all the time, so that nothing is hidden by a pause.
import Glibc
import Testing

extension Tunnels {
  @Suite("Recovery")
  struct RecoveryTests {
    /// What the user is promised, in seconds.
    static let promise = 5.0

    @Test("The server is killed and started again")
    func serverKilled() throws {
      try inEachCarrier { tunnels in
        for tunnel in tunnels { tunnel.server.crash() }
        usleep(1_500_000)
        for tunnel in tunnels { try tunnel.restartServer() }
      }
    }

    @Test("The server is ended with SIGTERM and started again")
    func serverRestarted() throws {
      try inEachCarrier { tunnels in
        for tunnel in tunnels {
          #expect(tunnel.server.stop() == .exit(0), tunnel.net.story)
          try tunnel.restartServer()
        }
      }
    }

    @Test(
      "The network is away for thirty seconds: the client's own link, or somewhere on the way, where nobody sees it")
    func networkAway() throws {
      let cut = "table inet cut { chain everything { type filter hook prerouting priority -300; iifname eth0 drop; }; }"
      try inEachCarrier(times: 2) { tunnels in
        let (linked, silent) = (tunnels.prefix(tunnels.count / 2), tunnels.suffix(tunnels.count / 2))
        for tunnel in silent { try tunnel.net.set("server", "echo \"\(cut)\" | nft -f -") }
        for tunnel in linked { try tunnel.net.set("client", "ip link set eth0 down") }
        sleep(30)
        for tunnel in silent { try tunnel.net.set("server", "nft delete table inet cut") }
        // The kernel takes IPv6 addresses away with a link; whoever configures the network brings them back.
        for tunnel in linked {
          try tunnel.net.set(
            "client", "ip link set eth0 up && ip addr replace fd00:1::1/64 dev eth0 nodad")
        }
      }
    }

    @Test("The client's addresses change")
    func addressChanged() throws {
      try inEachCarrier { tunnels in
        for tunnel in tunnels {
          try tunnel.net.set(
            "client",
            "ip addr del 10.99.0.1/24 dev eth0 && ip addr del fd00:1::1/64 dev eth0 && "
              + "ip addr add 10.99.0.9/24 dev eth0 && ip addr add fd00:1::9/64 dev eth0 nodad")
        }
      } afterwards: { tunnel in
        let json = try tunnel.client.path("--json")
        #expect(json.contains(tunnel.carrier == .icmp6 ? "\"fd00:1::9\"" : "\"10.99.0.9\""), "\(json)")
      }
    }

    /// Builds a tunnel over each carrier, makes the trouble, and measures from the moment that it is over.
    private func inEachCarrier(
      times: Int = 1, _ trouble: ([Tunnel]) throws -> Void, afterwards: (Tunnel) throws -> Void = { _ in },
      location: SourceLocation = #_sourceLocation
    ) throws {
      let tunnels = try (0..<times).flatMap { _ in try Carrier.allCases.map(Tunnel.init) }
      defer { for tunnel in tunnels { tunnel.net.close() } }
      let flows = try tunnels.map { tunnel in
        try #require(tunnel.net.ping("client", Configurations.inner4) != nil, tunnel.net.story)
        return try Flow(tunnel.net, from: "client", to: Configurations.inner4)
      }
      try #require(!recoveries(of: flows, within: 5).contains { $0 == nil }, "no traffic before the trouble")
      try trouble(tunnels)
      let times = recoveries(of: flows, within: 15)
      for (tunnel, time) in zip(tunnels, times) {
        let text = time.map { "\(($0 * 100).rounded() / 100) s" } ?? "never"
        print("recovery over \(tunnel.carrier.testDescription): \(text)")
        #expect(
          time.map { $0 <= Self.promise } ?? false, "\(tunnel.carrier.testDescription): \(text)\n\(tunnel.net.story)",
          sourceLocation: location)
        #expect(tunnel.client.program.ended == nil)
        try afterwards(tunnel)
        #expect(tunnel.client.stop() == .exit(0), tunnel.net.story)
      }
    }
  }

  /// A client and a server over one carrier, in a net of their own.
  private final class Tunnel {
    let carrier: Carrier
    let net: Net
    private(set) var server: Culvert
    let client: Culvert

    init(_ carrier: Carrier) throws {
      self.carrier = carrier
      net = try Net()
      server = try net.culvert("server", carrier.server)
      client = try net.culvert("client", carrier.client)
    }

    func restartServer() throws { server = try net.culvert("server", carrier.server) }
  }
}
