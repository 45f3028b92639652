/// A relay that hands its channels to the kernel, between coturn's client and its echoing peer, on one flat network.
import Glibc
import Testing

/// What these tests need.
private enum CoturnTools {
  static let missing = ["turnutils_uclient", "turnutils_peer", "ethtool"].filter {
    (try? shell("command -v \($0)").isGood) != true
  }
  static let reason: Comment = "needs turnutils_uclient and turnutils_peer (Debian: coturn) and ethtool"
}

extension Tunnels {
  @Suite("TURN channels in the kernel", .enabled(if: CoturnTools.missing.isEmpty, CoturnTools.reason))
  struct TurnKernelTests {
    private static func file(_ more: String = "xdp: auto") -> String {
      """
      services:
      - name: relay
        addr: ":3478"
        handler:
          type: turn
          auth: {username: anna, password: correct-horse}
          metadata: {realm: example.org, egress.allow: ["10.0.0.0/8", "fd00::/8"], \(more)}
        listener: {type: udp}
      """
    }

    @Test(
      "The kernel forwards what coturn's client sends and is sent, the relay counts it, and a killed one leaves nothing"
    )
    func life() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      // A virtual pair leaves checksums to a card that it has not; what has none goes through the relay.
      for host in ["client", "peer"] { try net.set(host, "ethtool -K eth0 tx off") }
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -L fd00:1::3")
      let relay = try net.culvert("relay", Self.file())
      #expect(
        relay.says("channels are forwarded in the kernel how=\"generic mode on eth0\"", within: 5) != nil, net.story)

      for (peer, options, translation) in [("10.99.0.3", "-X", "4-4"), ("fd00:1::3", "-x", "4-6")] {
        let sent = try net.run(
          "client",
          "timeout 20 turnutils_uclient -c \(options) -n 200 -z 2 -m 1 -l 300 -e \(peer) -u anna -w correct-horse "
            + "10.99.0.2",
          within: 25)
        #expect(sent.output.contains("Total lost packets 0 "), "\(sent.output) \(net.story)")
        let path = try relay.path()
        let line = path.split(separator: "\n").first { $0.contains("relayed \(translation): ") } ?? ""
        let words = line.split(separator: " ")
        // Its client sends each message once; the peer answers each.
        #expect(words.count > 9 && (Int(words[2]) ?? 0) >= 200 && (Int(words[9]) ?? 0) >= 200, "\(path)")
      }
      // Of each direction of each run all but the first went past the relay, if nothing took ten seconds.
      let path = try relay.path()
      let line = path.split(separator: "\n").first { $0.contains("in the kernel: ") } ?? ""
      let forwarded = line.split(separator: " ").dropLast().last.flatMap { Int($0) } ?? 0
      #expect(line.contains("generic mode on eth0, 0 channels, ") && forwarded >= 700, "\(path)")

      #expect(try net.run("relay", "ip link show eth0").output.contains("xdp"))
      relay.crash()
      #expect(try !net.run("relay", "ip link show eth0").output.contains("xdp"))
    }

    @Test("The kernel follows a client that moves, and a peer that a reload denies is reached no more, nor answers")
    func changes() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      for host in ["client", "peer"] { try net.set(host, "ethtool -K eth0 tx off") }
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3", title: "peer")
      let file = { (more: String) in
        Self.file("xdp: generic, mobility: true\(more)").split(separator: "anna").joined(separator: "ada")
          .split(separator: "correct-horse").joined(separator: "secret")
      }
      let relay = try net.culvert("relay", file(""))
      let flag = "\(net.directory)/denied"
      let client = try net.start(
        "client", "python3 \(Machine.tools)/turn_roam.py 10.99.0.2 3478 10.99.0.3 3480 \(flag)", title: "client")
      try #require(client.says("moved 50 left 0", within: 20) != nil, "\(client.log) \(net.story)")
      #expect(client.log.contains("first 50"), "\(client.log)")
      let forwarded = {
        let line = try relay.path().split(separator: "\n").first { $0.contains("in the kernel: ") } ?? ""
        return line.split(separator: " ").dropLast().last.flatMap { Int($0) } ?? 0
      }
      // All but the first of each direction of each way; the kernel is asked for its counts now and then.
      let isCounted = eventually(within: 10, every: 0.2) { ((try? forwarded()) ?? 0) >= 190 } != nil
      let path = try relay.path()
      #expect(isCounted, "\(path)")
      #expect(try relay.reload(file(", egress.deny: [10.99.0.3]")).isGood, net.story)
      let seen = try net.capture("relay", "udp and host 10.99.0.3")
      _ = try net.file("denied", "")
      #expect(client.wait(within: 20) == .exit(0) && client.log.contains("denied 0 403"), "\(client.log) \(net.story)")
      #expect(seen.flows.isEmpty, "\(seen.program.log)")
      #expect(try relay.path().contains("0 channels"), net.story)
    }

    @Test(
      "Where it cannot be, `auto` says so and relays, a mode by name does not start, and limits keep it in our hands")
    func obstacles() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      // The switch takes nothing from programs.
      let refused = try net.refused("relay", Self.file("xdp: driver"))
      #expect(!refused.isGood && refused.output.contains("its other end takes nothing"), "\(refused.output)")
      let limited = try net.culvert("relay", Self.file("xdp: generic, userBandwidth: 1MB"))
      #expect(limited.says("it would not keep to the bandwidth limits", within: 5) != nil, net.story)
      #expect(try !net.run("relay", "ip link show eth0").output.contains("xdp"))
    }
  }
}
