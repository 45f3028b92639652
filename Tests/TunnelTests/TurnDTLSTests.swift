/// Clients over DTLS, judged by coturn's client, OpenSSL, and a script that breaks every rule.
import Glibc
import Testing

extension Tunnels {
  @Suite("TURN over DTLS", .enabled(if: TurnTools.isThere, TurnTools.reason))
  struct TurnDTLSTests {
    @Test(
      "coturn's client relays over DTLS: channels, indications, both families, and beside TLS at one port")
    func uclient() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -L fd00:1::3 -p 3480", title: "peer")
      try #require(
        eventually(within: 5) { (try? net.run("peer", "ss -uln").output.contains("[fd00:1::3]:3480")) == true } != nil)
      let (v4, v6) = ("-e 10.99.0.3 10.99.0.2", "-e fd00:1::3 10.99.0.2")
      let runs = [
        "channels": v4, "indications": "-s \(v4)", "large": "-l 1300 \(v4)", "one socket": "-c \(v4)",
        "6-4": "-e 10.99.0.3 fd00:1::2", "4-6": "-x \(v6)", "6-6": "-x -e fd00:1::3 fd00:1::2",
        "6-6 indications": "-s -x -e fd00:1::3 fd00:1::2", "secret": "-W north \(v4)",
        "between clients": "-y 10.99.0.2", "tls": "-t \(v4)",
      ]
      let programs = try runs.map { title, options in
        let user = options.contains("-W") ? "-u carol" : "-u ada -w secret"
        let command = "turnutils_uclient \(user) -S -p 5349 -r 3480 -n 40 -m 2 \(options)"
        return (title, try net.start("client", command, title: title))
      }
      // While they speak the path tells how.
      try #require(relay.says("transport=dtls", within: 10) != nil, net.story)
      let printed = eventually(within: 5) {
        (try? relay.path("--json").contains(#"{"layer":"udp"},{"layer":"dtls","version":"DTLS1.2""#)) == true
          && (try? relay.path().contains("UDP / DTLS1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 / TURN")) == true
      }
      #expect(printed != nil, "\((try? relay.path()) ?? "")")
      for (title, program) in programs {
        #expect(program.wait(within: 30) == .exit(0), "\(title)\n\(program.log.suffix(1500))")
        let counts = program.log.firstMatch(
          of: /tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n[^\n]*\n[^\n]*Total transmit/)
        #expect(
          counts.map { (Int($0.1) ?? 0) > 0 && (Int($0.2) ?? 0) >= (Int($0.1) ?? 0) } == true,
          "\(title)\n\(program.log.suffix(1500))")
      }
      let path = try relay.path()
      for translation in ["4-4", "4-6", "6-4", "6-6"] { #expect(path.contains("relayed \(translation): "), "\(path)") }
      #expect(path.contains("allocations by family: dtls") || path.contains("allocations: 0 now"), "\(path)")
    }

    @Test("OpenSSL sees DTLS 1.2 and the file's certificate, and may begin anew at its port; what is older is refused")
    func openssl() throws {
      let net = try Net(["client", "relay"])
      defer { net.close() }
      let relay = try net.relay()
      func connect(_ options: String) throws -> String {
        try net.run("client", "echo | timeout 5 openssl s_client \(options) 2>&1", within: 10).output
      }
      let session = try connect("-dtls1_2 -connect 10.99.0.2:5349 -alpn stun.turn")
      #expect(session.contains("Protocol  : DTLSv1.2") && session.contains("Cipher    : ECDHE-ECDSA-AES128-GCM-SHA256"))
      #expect(session.contains("subject=CN = relay"), "\(session)")
      let six = try connect("-dtls1_2 -connect [fd00:1::2]:5349")
      #expect(six.contains("Protocol  : DTLSv1.2"), "\(six)")
      // DTLS 1.0, and a cipher that is no AEAD.
      for old in ["-dtls1 -cipher DEFAULT@SECLEVEL=0", "-dtls1_2 -cipher ECDHE-ECDSA-AES128-SHA"] {
        let refused = try connect("\(old) -connect 10.99.0.2:5349")
        #expect(refused.contains("Cipher is (NONE)") && refused.contains("alert"), "\(old)\n\(refused)")
      }
      // One that is gone without a word, and comes again from its port.
      let one = "openssl s_client -ign_eof -dtls1_2 -bind 10.99.0.1:5000 -connect 10.99.0.2:5349 </dev/null"
      for round in ["first", "second"] {
        let client = try net.start("client", one, title: round)
        #expect(client.says("Verify return code", within: 5) != nil, "\(round): \(client.log)")
        client.signal(SIGKILL)
        _ = client.wait(within: 5)
      }
      #expect(try relay.path().contains("DTLS handshakes 2"), "\((try? relay.path()) ?? "")")
    }

    @Test("A renewed certificate is shown from then on, and an allocation over DTLS goes on")
    func reload() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      let long = try net.start(
        "client", "turnutils_uclient -u ada -w secret -S -p 5349 -e 10.99.0.3 -r 3480 -n 100 -m 1 10.99.0.2",
        title: "long")
      try #require(relay.says("transport=dtls", within: 10) != nil, net.story)
      func serial() throws -> String {
        try net.run(
          "client",
          "echo | timeout 5 openssl s_client -dtls1_2 -connect 10.99.0.2:5349 2>/dev/null | openssl x509 -noout -serial"
        ).output
      }
      let first = try serial()
      #expect(first.contains("serial="))
      try net.certificate("relay")
      let reloaded = try relay.reload(net.relayFile())
      #expect(reloaded.isGood && reloaded.output.contains("allocations go on"), "\(reloaded.output)")
      #expect(eventually(within: 5, every: 0.2) { (try? serial()).map { $0 != first && !$0.isEmpty } == true } != nil)
      #expect(long.wait(within: 30) == .exit(0), net.story)
      #expect(long.log.contains("Total lost packets 0"), "\(long.log.suffix(800))")
    }

    @Test("Ten thousand strangers cost less than a megabyte; what is half done ends, and a client is served among them")
    func strangers() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      let good = "turnutils_uclient -u ada -w secret -S -p 5349 -y -n 2 -m 1 10.99.0.2"
      #expect(try net.run("client", good, within: 20).isGood)
      let script = "python3 \(Machine.tools)/turn_dtls.py"
      _ = try net.run("relay", "\(script) strangers 500", within: 60)
      let sessions = try Self.sessions(of: relay)
      let before = try relay.memory("VmRSS")
      let sent = try net.run("relay", "\(script) strangers 10000", within: 60)
      #expect(sent.isGood && sent.output.contains("sent 10000"), "\(sent.output)")
      let after = try relay.memory("VmRSS")
      #expect(after - before < 1_000, "\(after) KiB after \(before)")
      #expect(try Self.sessions(of: relay) == sessions)
      let answer = try net.run("client", "\(script) answer 10.99.0.2", within: 20)
      #expect(answer.isGood, "\(answer.output)")
      #expect(answer.output.contains(/44 bytes answer 1\d\d, cookie of 16/), "\(answer.output)")
      #expect(answer.output.contains("silence for 11"), "\(answer.output)")
      let answered = answer.output.firstMatch(of: /flood: (\d+) of 3000/).flatMap { Int($0.1) } ?? 3_000
      #expect((1...1_500).contains(answered), "\(answer.output)")
      #expect(try relay.path().contains("cookies over a source's budget"), "\((try? relay.path()) ?? "")")
      let halves = try net.run("relay", "\(script) halves ::1 40", within: 20)
      #expect(halves.isGood && halves.output.contains("half open 40"), "\(halves.output)")
      let six = try net.run("client", good.replacing("10.99.0.2", with: "fd00:1::2"), within: 20)
      #expect(six.isGood && six.output.contains("Total lost packets 0"), "\(six.output.suffix(500))")
      let ended = eventually(within: 15, every: 0.3) {
        (try? relay.path().contains("DTLS handshakes that took too long 40")) == true
      }
      #expect(ended != nil, "\((try? relay.path()) ?? "")")
    }

    private static func sessions(of relay: Culvert) throws -> Int {
      let path = try relay.path("relay-dtls")
      return try #require(path.firstMatch(of: /sessions: (\d+)/).flatMap { Int($0.1) }, "\(path)")
    }

    @Test("What is larger than the client's path takes is dropped and told, and leaves in no fragments")
    func large() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.relay()
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      try net.set("relay", "ip route add 10.99.0.1 dev eth0 mtu 1280")
      let capture = try net.capture("relay", "'src 10.99.0.2 and dst 10.99.0.1 and ip[6:2] & 0x3fff != 0'")
      let sent = try net.start(
        "client", "turnutils_uclient -u ada -w secret -S -p 5349 -e 10.99.0.3 -r 3480 -n 3 -l 1240 -m 1 10.99.0.2",
        title: "large")
      let told = eventually(within: 10, every: 0.2) {
        (try? relay.path().contains("datagrams larger than the path takes")) == true
      }
      #expect(told != nil, "\((try? relay.path()) ?? "") \(sent.log)")
      let whole = try net.run(
        "client", "turnutils_uclient -u ada -w secret -S -p 5349 -e 10.99.0.3 -r 3480 -n 3 -l 1200 -m 1 10.99.0.2",
        within: 20)
      #expect(whole.isGood && whole.output.contains("Total lost packets 0"), "\(whole.output.suffix(500))")
      #expect(capture.lines(with: "10.99.0.2").isEmpty, "\(capture.program.log)")
      sent.signal(SIGKILL)
    }
  }
}
