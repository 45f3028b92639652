/// The kernel answers every echo request with the same bytes, so that an upload over ICMP would come back as noise.
/// The program stops that for its own envelopes alone: it shows how, can be told not to, and undoes it at its end.
import Glibc
import Testing

extension Tunnels {
  @Suite("Reflection")
  struct ReflectionTests {
    private static let size = 20 << 20

    @Test(
      "20 MiB up bring little back, the rule is shown, and the host's own ping works",
      arguments: [Carrier.icmp, .icmp6])
    func filtered(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", carrier.server, options: "-D")
      try net.culvert("client", carrier.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      let back = try upload(net)
      print("\(carrier.testDescription): \(Self.size) bytes up, \(back) back")
      // Acknowledgements of the tunnel and of TCP inside it.
      #expect(back < Self.size / 4, "\(back) bytes came back for \(Self.size): \(net.story)")

      let table = try #require(server.log.firstMatch(of: /table inet (culvert_\w+)/)?.output.1, "\(server.log)")
      let rules = try net.run("server", "nft list table inet \(table)").output
      let type = carrier == .icmp ? "icmp type" : "icmpv6 type"
      #expect(rules.contains(type) && rules.contains("0x474f53540000"), "\(rules)")
      #expect(server.log.contains("0x474f53540000"), "the log shows the rule: \(server.log)")
      #expect(server.log.contains("--no-reflection-filter"), "and says how to refuse it: \(server.log)")

      for address in ["10.99.0.2", "fd00:1::2"] {
        for bytes in [56, 1200] {
          let answers = try net.run("client", "ping -n -c 3 -i 0.05 -W 1 -s \(bytes) \(address)").output
          #expect(answers.contains("3 received"), "\(answers)")
        }
        // A ping that looks a little like ours, but is none.
        let alike = try net.run("client", "ping -n -c 2 -i 0.05 -W 1 -p 474f5355 \(address)").output
        #expect(alike.contains("2 received"), "\(alike)")
      }
      let ignored = try net.run(
        "server", "cat /proc/sys/net/ipv4/icmp_echo_ignore_all /proc/sys/net/ipv6/icmp/echo_ignore_all"
      ).output
      #expect(ignored == "0\n0\n", "the host's answers are not switched off")

      #expect(server.stop() == .exit(0))
      #expect(try net.run("server", "nft list ruleset").output == "")
    }

    @Test("Refused by an option, there is no rule, and the upload comes back", arguments: [Carrier.icmp, .icmp6])
    func refused(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", carrier.server, options: "--no-reflection-filter")
      try net.culvert("client", carrier.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(try net.run("server", "nft list ruleset").output == "")
      #expect(!server.log.contains("nftables="), "\(server.log)")
      let back = try upload(net)
      #expect(back > Self.size, "the test would see a reflection: \(back)")
    }

    @Test("Without the privilege for it, one line says so and the tunnel works nevertheless")
    func withoutPrivilege() throws {
      let net = try Net()
      defer { net.close() }
      // The relay runs alone, without CAP_NET_ADMIN; the tunnel's server beside it.
      try net.culvert("server", Configurations.server(), as: "tun")
      let relay = try net.culvert(
        "server", Configurations.relay(.icmp6), prefix: "setpriv --bounding-set -net_admin --inh-caps -net_admin")
      try net.culvert("client", Carrier.icmp6.client)
      #expect(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(relay.count(" WARN ") == 1, "\(relay.log)")
      #expect(relay.log.contains("echo replies to our envelopes cannot be stopped"), "\(relay.log)")
      #expect(relay.log.contains("CAP_NET_ADMIN"), "\(relay.log)")
    }

    /// Bytes that arrive at the client's link while it sends through the tunnel.
    private func upload(_ net: Net) throws -> Int {
      let count = {
        let text = try net.run("client", "cat /sys/class/net/eth0/statistics/rx_bytes").output
        return try #require(Int(text.filter(\.isNumber)))
      }
      let before = try count()
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, Self.size)
      return try count() - before
    }
  }
}
