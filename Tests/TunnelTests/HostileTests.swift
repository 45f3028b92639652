/// What strangers may send, and what a broken network makes of our own packets, is dropped and counted. A tunnel that
/// stands goes on meanwhile, a new client gets in afterwards, and the program neither grows nor loses descriptors.
import Glibc
import Testing

extension Tunnels {
  @Suite("Hostile packets")
  struct HostileTests {
    private static let hostile = "python3 \(Machine.tools)/hostile.py"

    @Test("Broken and lying echo messages, from four bytes on, to both ends", arguments: [Carrier.icmp, .icmp6])
    func echoes(_ carrier: Carrier) throws {
      try underAttack(over: carrier, counting: "echo messages that are no envelopes", "QUIC packets") { net in
        let (server, client) = carrier == .icmp ? ("10.99.0.2", "10.99.0.1") : ("fd00:1::2", "fd00:1::1")
        try net.set("stranger", "\(Self.hostile) echo \(server) 4000")
        try net.set("stranger", "\(Self.hostile) echo \(client) 500")
      }
    }

    @Test("Broken handshakes, IP packets and noise to a TUN server's port")
    func datagramsToTun() throws {
      try underAttack(over: .udp, counting: "malformed", "unknownSender") { net in
        try net.set("stranger", "\(Self.hostile) datagrams 10.99.0.2 8421 6000")
        try net.set("stranger", "\(Self.hostile) datagrams fd00:1::2 8421 2000")
      }
    }

    @Test("A server that sends a client noise instead of packets")
    func noiseFromServer() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.start("server", "\(Self.hostile) server 10.99.0.2 8421 3000")
      try #require(server.says("ready", within: 5) != nil, net.story)
      let client = try net.culvert("client", Carrier.udp.client)
      try #require(client.says("tunnel is up", within: 5) != nil, net.story)
      try #require(server.says("3000", within: 10) != nil, net.story)
      #expect(client.isAlive, net.story)
      let path = try client.path("--json")
      let counted = try #require(path.firstMatch(of: /"dropped":"malformed (\d+)"/)?.output.1, "\(path)")
      #expect(Int(counted) ?? 0 > 1000, "\(path)")
      // What the check says before the start is no record of the log.
      let records = client.log.split(separator: "\n").filter { $0.first?.isNumber == true && $0.contains("Z ") }
      #expect((1..<10).contains(records.count), net.story)
      #expect(client.stop() == .exit(0), net.story)
    }

    @Test("Initials that are none, and other long and short headers, to a QUIC listener's port")
    func datagramsToQUIC() throws {
      try underAttack(over: .quic, counting: "QUIC packets") { net in
        try net.set("stranger", "\(Self.hostile) datagrams 10.99.0.2 8443 8000")
      }
    }

    @Test(
      "The client's own packets again, cut, lengthened and bent, with checksums that fit",
      arguments: [Carrier.udp, .quic, .icmp6])
    func ownPackets(_ carrier: Carrier) throws {
      try underAttack(over: carrier) { net in
        let replay = try net.start("client", "\(Self.hostile) replay eth0 1.5")
        try #require(replay.says("listening", within: 5) != nil, net.story)
        try net.run("client", "timeout 1.2 ping -n -q -i 0.002 -s 1000 \(Configurations.inner4)")
        #expect(replay.wait(within: 5) == .exit(0), net.story)
        let count = try #require(replay.lines.last.flatMap { Int($0) }, net.story)
        #expect(count > 500, "that many packets were bent: \(net.story)")
      }
    }

    @Test("Relay requests that are cut short, three times and a hundred times", arguments: [Carrier.tcp, .tls])
    func cutShort(_ carrier: Carrier) throws {
      try underAttack(over: carrier, counting: "refused requests") { net in
        let secure = carrier == .tls ? "tls" : ""
        try net.set("stranger", "\(Self.hostile) cut 10.99.0.2 8443 3 \(secure)")
        try net.set("stranger", "\(Self.hostile) cut 10.99.0.2 8443 100 \(secure)")
      }
    }

    @Test(
      "Streams of one QUIC connection that are cut short, three times and a hundred times: the next one works",
      .enabled(if: Machine.aioquic != nil, Machine.aioquicReason))
    func cutShortStreams() throws {
      try underAttack(over: .quic, counting: "refused requests") { net in
        let tool = "\(try #require(Machine.aioquic)) \(Machine.tools)/quic_stranger.py"
        for count in [3, 100] {
          let outcome = try net.run("stranger", "\(tool) cut 10.99.0.2 8443 \(count) 10.90.57.\(100 + count)")
          #expect(outcome.output == "answered\n", "\(count): \(outcome.output)")
        }
      }
    }

    @Test("Two hundred clients that begin a request and never end it are sent away, and cost little meanwhile")
    func held() throws {
      let settings = "metadata: {readTimeout: 2s}"
      try underAttack(over: .tcp, relayHandler: settings) { net in
        let holders = try net.start("stranger", "\(Self.hostile) hold 10.99.0.2 8443 200 20")
        try #require(holders.says("holding", within: 5) != nil, net.story)
        defer { holders.kill() }
        let count = {
          try net.run("server", "ss -Htn state established sport = :8443").output.ranges(of: "10.99.0.3").count
        }
        #expect(try count() > 150)
        let gone = eventually(within: 6, every: 0.1) { (try? count()) == 0 }
        let rest = try count()
        #expect(gone != nil, "\(rest) are still there")
      }
    }

    /// Keeps a ping through a tunnel while a stranger does its worst, and looks at everything afterwards.
    ///
    /// - Parameter counting: what `culvert path` must say that it dropped.
    private func underAttack(
      over carrier: Carrier, relayHandler: String = "", counting: String..., attack: (Net) throws -> Void
    ) throws {
      let net = try Net(["client", "server", "stranger"])
      defer { net.close() }
      let server = try net.culvert(
        "server", carrier.server.replacing("{type: relay}", with: "{type: relay, \(relayHandler)}"))
      var client = try net.culvert("client", carrier.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      let flow = try Flow(net, from: "client", to: Configurations.inner4)
      let memory = try server.memory("VmRSS")
      let descriptors = try server.descriptors()

      try attack(net)

      #expect(server.isAlive && client.isAlive, net.story)
      let recovery = recoveries(of: [flow], within: RecoveryTests.promise)
      #expect(recovery != [nil], "the tunnel still carries: \(net.story)")
      if carrier != .udp {
        // Plain UDP has nothing to know a stranger by; everywhere else the tunnel does not even falter.
        #expect(client.count("tunnel is down") == 0, net.story)
      }
      let path = try server.path("--json")
      for words in counting { #expect(path.contains(words), "\(path)") }
      // Memory that a flood of half-open clients needed may stay with the allocator, but is not much.
      let growth = try server.memory("VmRSS") - memory
      #expect(growth < 12 << 10, "grown by \(growth) KiB")
      flow.end()
      #expect(client.stop() == .exit(0), net.story)
      // With an address of its own: the server cannot know that the old client ended, and keeps its address a while.
      client = try net.culvert("client", Configurations.client(over: carrier, net: "10.90.57.8/24"))
      #expect(net.ping("client", Configurations.inner4, within: 5) != nil, "a new client gets in: \(net.story)")
      let settled = eventually(within: 5, every: 0.1) {
        (try? server.descriptors()).map { $0 <= descriptors + 1 } ?? false
      }
      let open = try server.descriptors()
      #expect(settled != nil, "\(open) descriptors are open, before it were \(descriptors)")
      print("hostile over \(carrier.testDescription): grew by \(growth) KiB")
      #expect(server.stop() == .exit(0), net.story)
      #expect(!server.log.contains("Fatal"), net.story)
    }
  }
}
