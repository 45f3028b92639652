/// WireGuard of others at the far end, in both roles, through what a session goes through: moves, new keys, silence, load.
/// And Wireshark as the judge of what is on the wire.
import Glibc
import Testing

extension Tunnels {
  @Suite("WireGuard with others", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardPeerTests {
    /// Which program is at which end.
    enum Foreign: String, CaseIterable, CustomTestStringConvertible, Sendable {
      case none, client, server

      var testDescription: String { self == .none ? "Culvert alone" : "wireguard-go is the \(rawValue)" }
      var host: String? { self == .none ? nil : rawValue }

      static var possible: [Foreign] { WireGuardTools.wireguardGo == nil ? [.none] : allCases }
    }

    // MARK: Wireshark

    @Test(
      "With the log of our keys Wireshark opens the capture, down to the echoes inside",
      .enabled(if: WireGuardTools.hasTshark, "needs tshark"), arguments: Foreign.possible)
    func keyLog(_ foreign: Foreign) throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let wire = "\(net.directory)/wire.pcap"
      let witness = try net.start("server", "timeout 20 tcpdump -i eth0 --immediate-mode -U -w \(wire) udp port 51822")
      try #require(witness.says("listening on", within: 5) != nil)
      // One end alone writes its keys: in either role they open both directions.
      let writer = foreign == .client ? "server" : "client"
      let file = "\(net.directory)/keys.log"
      var programs = ["client": Machine.culvert + " wireguard", "server": Machine.culvert + " wireguard"]
      programs[writer] = "env WG_KEYLOGFILE=\(file) \(Machine.culvert) wireguard"
      if let host = foreign.host { programs[host] = WireGuardTools.wireguardGo }
      var logs: [String: Program] = [:]
      for host in ["client", "server"] {
        logs[host] = try net.wireguard(host, "wg0", program: programs[host])
        try net.setUp(host, ends)
      }
      for (host, other) in [("client", "server"), ("server", "client")] {
        try net.must(host, "wg set wg0 peer \(ends.key(other)) preshared-key \(ends.file("psk"))")
      }
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint 10.99.0.2:51822")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("server", "fd07::1") != nil, net.story)
      witness.signal(SIGINT)
      _ = witness.wait(within: 5)
      let opened = try shell(
        "tshark -r \(wire) -o wg.keylog_file:\(file) -T fields -e icmp.type -e icmpv6.type 2>/dev/null"
      ).output
      for echo in ["8\t", "0\t", "\t128", "\t129"] {
        #expect(opened.split(separator: "\n").contains { $0 == echo }, "\(echo): \(opened)\n\(net.story.rawValue)")
      }
      let closed = try shell("tshark -r \(wire) -T fields -e icmp.type -e icmpv6.type 2>/dev/null").output
      #expect(!closed.contains("8"), "\(closed)")
      #expect(try shell("stat -c %a \(file)").output == "600\n")
      #expect(logs[writer]?.log.contains("KEYS ARE WRITTEN TO A FILE") == true)
      let other = writer == "client" ? "server" : "client"
      #expect(logs[other]?.log.contains("KEYS") == false)
    }

    @Test("A file for keys that is none, or a link, is refused, and the device works")
    func keyLogRefused() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let link = "\(net.directory)/link"
      _ = try shell("ln -s \(net.directory)/target \(link)")
      let program = try net.wireguard(
        "one", "wg0", program: "env WG_KEYLOGFILE=\(link) \(Machine.culvert) wireguard")
      #expect(program.log.contains("no keys are logged"), "\(program.log)")
      #expect(access("\(net.directory)/target", F_OK) != 0)
    }

    // MARK: Recordings

    @Test("A recording of a service has its timers and handshakes, no key and no byte of a message, and is run again")
    func recorded() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.wireguard("server", "wg0")
      try net.setUp("server", ends)
      let psk = try shell("cat \(ends.file("psk"))").output.trimmed
      try net.must("server", "wg set wg0 peer \(ends.key("client")) preshared-key \(ends.file("psk"))")
      let file = try net.file(
        net.named("wg0", "client") + ".conf",
        """
        [Interface]
        PrivateKey = \(ends.secret("client"))
        Address = 10.7.0.1/24

        [Peer]
        PublicKey = \(ends.key("server"))
        PresharedKey = \(psk)
        AllowedIPs = 10.7.0.2/32
        Endpoint = 10.99.0.2:51822
        PersistentKeepalive = 1

        """)
      _ = try shell("chmod 600 \(file)")
      let tape = "\(net.directory)/tape.jsonl"
      let client = try net.start(
        "client", "\(Machine.culvert) run -C \(file) --socket \(net.directory)/client.sock --record \(tape)",
        title: "client")
      try #require(client.says("running", within: 10) != nil, net.story)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      try net.must("client", "ping -q -c 20 -i 0.01 -W 2 10.7.0.2")
      client.signal(SIGTERM)
      #expect(client.wait(within: 5) == .exit(0), net.story)
      let replayed = try shell("\(Machine.culvert) replay \(tape)").output
      #expect(replayed.hasSuffix(": all outcomes equal\n"), "\(replayed)")
      let text = try shell("cat \(tape)").output
      for words in ["wireguard.timers", "initiation-sent", "handshake-completed", #""read":"responseTaken""#] {
        #expect(text.contains(words), "\(words): \(text)")
      }
      for secret in [ends.secret("client"), psk] {
        let digits = try shell("echo '\(secret)' | base64 -d | od -An -v -tx1 | tr -d ' \\n'").output
        #expect(digits.count == 64 && !text.contains(digits) && !text.contains(secret))
      }
    }

    // MARK: wireguard-go

    @Test(
      "wireguard-go: moves, new preshared keys under traffic, another key, and keepalives",
      .enabled(if: WireGuardTools.wireguardGo != nil, "needs wireguard-go (CULVERT_WIREGUARD_GO names the program)"),
      arguments: ["client", "server"])
    func life(_ foreign: String) throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends, foreign: foreign)
      let (client, server) = (ends.key("client"), ends.key("server"))
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let flow = try Flow(net, from: "client", to: "10.7.0.2")
      // Moves: another port, another family, and the answering end too.
      try net.must("client", "wg set wg0 listen-port 9999")
      #expect(recoveries(of: [flow], within: 5) != [nil], net.story)
      #expect(try net.endpoint("server") == "10.99.0.1:9999")
      try net.must("client", "wg set wg0 peer \(server) endpoint '[fd00:1::2]:51822'")
      #expect(recoveries(of: [flow], within: 5) != [nil], net.story)
      #expect(try net.endpoint("server") == "[fd00:1::1]:9999")
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
      // A new preshared key at both ends while traffic runs: no packet is lost, and the session stays.
      let handshake = try net.at("client", "wg show wg0 latest-handshakes").output
      let replies = flow.replies
      for (host, other) in [("client", server), ("server", client)] {
        try net.must(host, "wg set wg0 peer \(other) preshared-key \(ends.file("psk"))")
      }
      #expect(eventually(within: 5) { flow.replies > replies + 10 } != nil, net.story)
      #expect(try net.at("client", "wg show wg0 latest-handshakes").output == handshake)
      // A handshake with it: the end that is not ours begins it, as it has lost its sessions, and its packets wait.
      let other = foreign == "client" ? "server" : "client"
      let place = foreign == "client" ? "10.99.0.2:51822" : "10.99.0.1:9999"
      try net.must(foreign, "wg set wg0 peer \(ends.key(other)) remove")
      try net.must(
        foreign,
        "wg set wg0 peer \(ends.key(other)) preshared-key \(ends.file("psk")) endpoint \(place) persistent-keepalive 1 "
          + "allowed-ips 10.7.0.\(ends.number(other))/32,fd07::\(ends.number(other))/128")
      #expect(recoveries(of: [flow], within: 12) != [nil], net.story)
      flow.end()
      // Its keepalives are heard when nothing else is, by the second.
      let before = try net.transfer(other).received
      #expect(eventually(within: 8, every: 0.1) { ((try? net.transfer(other).received) ?? 0) >= before + 96 } != nil)
    }

    @Test(
      "wireguard-go under load is given the cookie that it wants, and ours gives one that it takes",
      .enabled(if: WireGuardTools.wireguardGo != nil, "needs wireguard-go (CULVERT_WIREGUARD_GO names the program)"),
      arguments: ["client", "server"])
    func cookies(_ foreign: String) throws {
      let net = try Net(["client", "server", "stranger"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      for host in ["client", "server"] {
        try net.wireguard(host, "wg0", program: host == foreign ? WireGuardTools.wireguardGo : nil)
        try net.setUp(host, ends)
      }
      let wire = "\(net.directory)/wire.pcap"
      let witness = try net.start("client", "timeout 60 tcpdump -i eth0 --immediate-mode -U -w \(wire) udp port 51821")
      try #require(witness.says("listening on", within: 5) != nil)
      // Ours gives so many cookies a second that everybody has one.
      let rate = foreign == "server" ? 30_000 : 8_000
      let tool = "python3 \(Machine.tools)/wireguard_attacks.py"
      let attack = try net.start(
        "stranger", "\(tool) flood 10.99.0.2 51822 '\(ends.key("server"))' \(rate) 25", title: "flood")
      try #require(attack.says("ready", within: 5) != nil, net.story)
      let begun = eventually(within: 5) {
        let sent = (try? net.run("stranger", "cat /sys/class/net/eth0/statistics/tx_bytes").output.trimmed) ?? ""
        return Int(sent) ?? 0 > 1_000_000
      }
      #expect(begun != nil)
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint 10.99.0.2:51822")
      #expect(net.ping("client", "10.7.0.2", within: 20) != nil, net.story)
      attack.kill()
      witness.signal(SIGINT)
      _ = witness.wait(within: 5)
      // A cookie reply, and behind it an initiation with a second MAC.
      let seen = try shell("tshark -r \(wire) -T fields -e wg.type -e wg.mac2 2>/dev/null").output
      let lines = seen.split(separator: "\n").map(String.init)
      let none = String(repeating: "0", count: 32)
      let reply = lines.firstIndex { $0.hasPrefix("3") }
      let initiation = lines.lastIndex { $0.hasPrefix("1\t") && !$0.hasSuffix(none) }
      #expect(reply != nil && initiation != nil && reply ?? 0 < initiation ?? 0, "\(seen)")
    }
  }
}
