import Testing

extension Tunnels {
  /// A link that is slower than what wants through it: the carrier is full all the time, and what waits for it waits
  /// in our fair queue.
  @Suite("A slow link")
  struct SlowLinkTests {
    @Test(
      "While one flow fills the link both ways, pings pass by it, and announcements in between stop nothing",
      arguments: [Carrier.tcp, .tls, .quic, .icmp6])
    func pings(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert("server", carrier.server)
      try net.culvert("client", carrier.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      for host in ["client", "server"] {
        try net.set(host, "tc qdisc replace dev eth0 root tbf rate 20mbit burst 20kb latency 30ms")
      }
      // An address that comes or goes is a change of the network, and the client asks whether its way still stands.
      let change = "ip addr add 10.98.0.1/32 dev eth0; sleep 0.1; ip addr del 10.98.0.1/32 dev eth0; sleep 0.1"
      let changes = try net.start("client", "sh -c \"while :; do \(change); done\"")
      defer { changes.kill() }
      for (from, to, address) in [
        ("client", "server", Configurations.inner4), ("server", "client", "10.90.57.1"),
      ] {
        let ping = try net.start("client", "ping -n -q -i 0.05 -c 50 -W 2 \(Configurations.inner4)", title: "ping")
        try expectTransfer(net, from: from, to: to, address, 6 << 20)
        #expect(ping.wait(within: 10) == .exit(0), net.story)
        let received = try #require(ping.log.firstMatch(of: /(\d+) received/)?.1, "\(ping.log)")
        let average = try #require(ping.log.firstMatch(of: /= [\d.]+\/([\d.]+)\//)?.1, "\(ping.log)")
        print("\(carrier.testDescription) at 20 Mb/s from the \(from): \(received) of 50 pings, \(average) ms")
        // 6 MiB take 2.5 s: a queue without turns would hold 2 MiB of them, 800 ms, before each ping.
        #expect(try #require(Int(received)) > 40, "\(ping.log)")
        #expect(try #require(Double(average)) < 200, "\(ping.log)")
        #expect(changes.ended == nil, "the network changes all the time: \(changes.log)")
      }
    }
  }
}
