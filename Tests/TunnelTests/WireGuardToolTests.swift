/// What `wg` asks of a device beyond the usual: very many prefixes and peers, keys that come and go, keys that are none,
/// and changes while packets are on their way.
import Glibc
import Testing

extension Tunnels {
  @Suite("WireGuard by its tool", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardToolTests {
    @Test("Thousands of prefixes of one peer, and many peers with many, are taken and shown as they are")
    func many() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.wireguard("one", "wg0")
      let keys = try shell("for i in $(seq 41); do wg genkey; done").output.split(separator: "\n").map(String.init)
      var lines = ["[Interface]", "PrivateKey = \(keys[0])", "[Peer]", "PublicKey = \(keys[1])"]
      for high in 1...64 {
        for low in 0...255 { lines.append("AllowedIPs = \(high).\(low).0.0/16, \(high)::\(low)/128") }
      }
      try net.must("one", "wg setconf wg0 \(try net.file("one.conf", lines.joined(separator: "\n") + "\n"))")
      let shown = try net.at("one", "wg show wg0 allowed-ips").output.split { $0.isWhitespace }
      #expect(shown.count == 64 * 256 * 2 + 1 && Set(shown).count == shown.count)

      lines = ["[Interface]", "PrivateKey = \(keys[0])"]
      for (place, key) in keys.dropFirst().enumerated() {
        lines += ["[Peer]", "PublicKey = \(key)"]
        for low in 1...52 { lines.append("AllowedIPs = \(place + 1).\(low).0.0/16") }
      }
      try net.must("one", "wg setconf wg0 \(try net.file("many.conf", lines.joined(separator: "\n") + "\n"))")
      let peers = try net.at("one", "wg show wg0 allowed-ips").output.split(separator: "\n")
      #expect(peers.count == 40 && peers.allSatisfy { $0.split { $0.isWhitespace }.count == 53 })
      // A prefix that a peer takes is another's no more; what is replaced is gone.
      try net.must("one", "wg set wg0 peer '\(keys[1])' allowed-ips 2.1.0.0/16")
      let moved = try net.at("one", "wg show wg0 allowed-ips").output
      #expect(moved.contains("\(keys[1])\t2.1.0.0/16\n"), "\(moved.prefix(300))")
      #expect(moved.ranges(of: "2.1.0.0/16").count == 1 + moved.ranges(of: "12.1.0.0/16").count * 3)
      try net.must("one", "wg set wg0 peer '\(keys[1])' allowed-ips ''")
      #expect(try net.at("one", "wg show wg0 allowed-ips").output.contains("\(keys[1])\t(none)\n"))
    }

    @Test("Keys are taken away, and changed for that of a peer, which goes; a device that is not there is an error")
    func keys() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.wireguard("one", "wg0")
      let peer = ends.key("server")
      func shown(_ what: String) throws -> String { try net.at("one", "wg show wg0 \(what)").output.trimmed }
      try net.must(
        "one", "wg set wg0 private-key \(ends.file("client")) peer '\(peer)' preshared-key \(ends.file("psk"))")
      #expect(try shown("private-key") == ends.secret("client"))
      #expect(try net.at("one", "wg show wg0 preshared-keys").output == "\(peer)\t\(ends.secret("psk"))\n")
      try net.must("one", "wg set wg0 private-key /dev/null peer '\(peer)' preshared-key /dev/null")
      #expect(try shown("private-key") == "(none)")
      #expect(try net.at("one", "wg show wg0 preshared-keys").output == "\(peer)\t(none)\n")
      try net.must("one", "wg set wg0 private-key \(ends.file("server"))")
      #expect(try shown("public-key") == peer && shown("peers") == "")
      try net.must("one", "wg set wg0 peer '\(peer)'")
      #expect(try shown("peers") == "")
      try net.must("one", "wg set wg0 private-key \(ends.file("client")); wg set wg0 peer '\(peer)'")
      #expect(try shown("peers") == peer)
      // The bits that its use ignores.
      let odd = "/" + ends.secret("client").dropFirst()
      try net.must("one", "wg set wg0 private-key \(try net.file("odd.key", odd + "\n"))")
      #expect(try shown("private-key") == "+" + odd.dropFirst())
      #expect(try !net.at("one", "wg show nobody-has-this").isGood)
    }

    @Test("Peers whose keys are points of low order are kept, and never spoken to")
    func lowOrder() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.wireguard("client", "wg0")
      try net.must("client", "wg set wg0 private-key \(ends.file("client")); ip link set wg0 up")
      let witness = try net.start("server", "timeout 30 tcpdump -l -n -i eth0 --immediate-mode udp port 1111")
      try #require(witness.says("listening on", within: 5) != nil)
      let points =
        ["AAAA", "AQAA"].map { $0 + String(repeating: "A", count: 39) + "=" } + [
          "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=", "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
          "7P///////////////////////////////////////38=", "7f///////////////////////////////////////38=",
          "7v///////////////////////////////////////38=",
        ]
      for point in points {
        try net.must("client", "wg set wg0 peer '\(point)' persistent-keepalive 1 endpoint 10.99.0.2:1111")
      }
      #expect(try net.at("client", "wg show wg0 peers").output.split(separator: "\n").count == points.count)
      // One that can be spoken to shows that the witness sees what is sent.
      try net.must(
        "client", "wg set wg0 peer '\(ends.key("server"))' persistent-keepalive 1 endpoint 10.99.0.2:1111")
      #expect(witness.says("length 148", within: 10) != nil)
      #expect(witness.log.ranges(of: "UDP").count == witness.log.ranges(of: "length 148").count)
      #expect(witness.log.ranges(of: "length 148").count == 1, "\(witness.log)")
    }

    @Test("Peers come and go, and the tunnel's own is set again, while packets are on their way: none is lost")
    func underTraffic() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let ping = try net.start("client", "ping -n -q -i 0.01 -c 200 -W 2 10.7.0.2", title: "pings")
      let server = ends.key("server")
      for round in 1...40 {
        try net.must(
          "client",
          "k=$(wg genkey | wg pubkey); wg set wg0 peer $k allowed-ips 10.8.\(round).0/24 endpoint 10.99.0.9:9 "
            + "peer '\(server)' allowed-ips 10.7.0.2/32,fd07::2/128 endpoint 10.99.0.2:51822; "
            + (round % 2 == 0 ? "wg set wg0 peer $k remove" : "wg set wg0 peer $k allowed-ips 10.7.0.2/31"))
      }
      #expect(ping.wait(within: 20) == .exit(0), "\(ping.log)")
      #expect(ping.log.contains(" 0% packet loss"), "\(ping.log)")
      #expect(try net.at("client", "wg show wg0 peers").output.split(separator: "\n").count == 21)
    }
  }
}
