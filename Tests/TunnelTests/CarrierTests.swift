import Glibc
import Testing

extension Tunnels {
  /// A tunnel over each carrier, with both families inside, as two Culverts make it.
  @Suite("Carriers")
  struct CarrierTests {
    @Test("Both families, 16 MiB each way, and a path that says what the cable saw", arguments: Carrier.allCases)
    func carries(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", carrier.server)
      let client = try net.culvert("client", carrier.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(net.ping("client", Configurations.inner6) != nil, net.story)
      #expect(net.ping("server", "10.90.57.1") != nil, net.story)
      #expect(net.ping("server", "fd90:57::1") != nil, net.story)
      try expectTransfer(net, from: "client", to: "server", Configurations.inner4, 16 << 20)
      try expectTransfer(net, from: "server", to: "client", "10.90.57.1", 16 << 20)
      try expectTransfer(net, from: "client", to: "server", Configurations.inner6, 1 << 20)
      try expectPath(net, carrier, client)
      #expect(try server.path().contains("10.90.57.1,fd90:57::1"), "the server's path names its client")
      #expect(client.stop() == .exit(0))
      #expect(server.stop() == .exit(0))
    }

    /// What `culvert path --json` claims must be what tcpdump prints of the cable.
    private func expectPath(_ net: Net, _ carrier: Carrier, _ client: Culvert) throws {
      let witness = try net.start(
        "client", "timeout 10 tcpdump -i eth0 -nn -l -q -c 6 src 10.99.0.1 or src fd00:1::1 and not arp")
      try #require(witness.says("listening on", within: 5) != nil)
      let traffic = try net.start("client", "ping -n -i 0.05 -c 100 \(Configurations.inner4)")
      _ = witness.wait(within: 10)
      traffic.kill()
      let seen = witness.lines.filter { $0.contains(" > ") && !$0.contains("neighbor") }
      try #require(seen.count >= 4, "\(witness.log)")
      let json = try client.path("--json")
      #expect(json.hasPrefix("{\"schema\":1,"))
      let remote = carrier == .icmp6 ? "fd00:1::2" : "10.99.0.2"
      let local = carrier == .icmp6 ? "fd00:1::1" : "10.99.0.1"
      for line in seen {
        switch carrier {
        case .icmp, .icmp6:
          // 12:00:00.1 IP6 fd00:1::1 > fd00:1::2: ICMP6, echo request, id 4711, seq 3, length 70
          #expect(line.contains("\(local) > \(remote): ICMP"), "\(line)")
          let identifier = try #require(word(after: "id ", in: line), "\(line)")
          #expect(json.contains("{\"layer\":\"\(carrier.rawValue)\",\"identifier\":\(identifier)}"), "\(line)\n\(json)")
        case .udp, .tcp, .tls, .quic:
          // 12:00:00.1 IP 10.99.0.1.34567 > 10.99.0.2.8421: UDP, length 84
          let port = try #require(word(after: "IP \(local).", in: line), "\(line)")
          let far = carrier == .udp ? "8421" : "8443"
          #expect(line.contains(" > \(remote).\(far): \(carrier == .udp || carrier == .quic ? "UDP" : "tcp")"))
          #expect(
            json.contains("\"local\":{\"address\":\"\(local)\",\"port\":\(port),\"evidence\":\"observed\""),
            "\(line)\n\(json)")
          #expect(
            json.contains("\"remote\":{\"address\":\"\(remote)\",\"port\":\(far),\"evidence\":\"observed\""),
            "\(line)\n\(json)")
        }
      }
      #expect(json.contains("\"family\":\"\(carrier == .icmp6 ? "IPv6" : "IPv4")\""), "\(json)")
      switch carrier {
      case .udp: #expect(json.contains("\"transport\":[{\"layer\":\"udp\"}]"), "\(json)")
      case .tcp: #expect(json.contains("\"transport\":[{\"layer\":\"tcp\"},{\"layer\":\"relay\"}]"), "\(json)")
      case .tls: #expect(json.contains("\"transport\":[{\"layer\":\"tcp\"},{\"layer\":\"tls\""), "\(json)")
      case .quic, .icmp, .icmp6: #expect(json.contains("\"alpn\":\"culvert/1\""), "\(json)")
      }
      // The leg behind the relay: only QUIC between two Culverts has a way to say it, elsewhere it stays unknown.
      switch carrier {
      case .udp: #expect(json.components("\"from\":") == 1)
      case .tcp, .tls: #expect(json.contains("\"local\":null,\"remote\":null,\"family\":null"), "\(json)")
      case .quic, .icmp, .icmp6: #expect(json.contains("\"evidence\":\"reported\",\"by\":\"node\""), "\(json)")
      }
    }

    private func word(after mark: String, in line: String) -> String? {
      guard let range = line.firstRange(of: mark) else { return nil }
      let digits = line[range.upperBound...].prefix { $0.isNumber }
      return digits.isEmpty ? nil : String(digits)
    }
  }
}

extension String {
  /// How often a text occurs.
  func components(_ text: String) -> Int { ranges(of: text).count }
}

/// Sends bytes over one TCP connection and compares the digests of both ends.
func expectTransfer(
  _ net: Net, from: String, to: String, _ address: String, _ bytes: Int, within limit: Double = 30,
  location: SourceLocation = #_sourceLocation
) throws {
  let tool = "\(Machine.tools)/transfer.py"
  let receiver = try net.start(to, "python3 \(tool) receive \(address) 5001", title: "receiver")
  try #require(receiver.says("ready", within: 5) != nil, net.story, sourceLocation: location)
  let sender = try net.start(from, "python3 \(tool) send \(address) 5001 \(bytes) culvert", title: "sender")
  #expect(sender.wait(within: limit) == .exit(0), net.story, sourceLocation: location)
  #expect(receiver.wait(within: 5) == .exit(0), net.story, sourceLocation: location)
  let sent = sender.lines.last ?? ""
  #expect(sent.hasPrefix("\(bytes) "), net.story, sourceLocation: location)
  #expect(receiver.lines.last == sent, net.story, sourceLocation: location)
  sender.kill()
  receiver.kill()
}
