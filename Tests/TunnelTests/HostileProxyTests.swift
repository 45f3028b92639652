/// What clients of proxies and listeners may not be able to do: hold them up, fill them, have a request read in two
/// ways, reach what only the proxy's host should reach, or end a session that others share. Each attack runs beside a
/// client who wants nothing but his connection.
import Testing

extension Tunnels {
  @Suite("Hostile clients of proxies")
  struct HostileProxyTests {
    private static let hostile = "python3 \(Machine.tools)/hostile_clients.py"
    private static let clients = "python3 \(Machine.tools)/proxy_clients.py"

    // MARK: Time and places

    @Test("Slow headers and handshakes are ended by the deadline, and others are served meanwhile")
    func slow() throws {
      let net = try Net(["client", "proxy", "far"])
      defer { net.close() }
      try net.targets("far")
      let proxy = try net.culvert("proxy", Self.everything(reading: "2s"))
      let kinds = [
        "8080=http", "8080=connect", "8080=bytes", "1080=http", "1080=socks4", "1080=socks5", "1080=bytes",
        "1085=socks5", "1085=bytes", "1084=socks4", "8443=relay", "8443=bytes", "8444=tls", "8444=bytes", "8445=ws",
        "8445=bytes", "8446=bytes", "8447=bytes",
      ]
      let attack = try net.start(
        "client", "\(Self.hostile) slow \(kinds.map { "10.99.0.2:\($0)" }.joined(separator: " "))", title: "slow")
      try expectService(net)
      #expect(attack.wait(within: 20) == .exit(0), net.story)
      #expect(attack.lines.count == kinds.count, "\(attack.log)")
      for line in attack.lines {
        // Those that say nothing at all end with the deadline, and so do those who say a byte now and then. A handshake
        // of TLS has a time of its own.
        let seconds = line.split(separator: " ").last.flatMap { Double($0) } ?? 99
        #expect(seconds < (line.contains(":844") ? 11.5 : 4), "\(line)\(net.story)")
      }
      try expectService(net)
      #expect(proxy.stop() == .exit(0), net.story)
    }

    @Test("Two thousand clients of one address that say nothing: others are served, and so is that address")
    func idle() throws {
      let net = try Net(["client", "proxy", "far", "flood"])
      defer { net.close() }
      try net.targets("far")
      let proxy = try net.culvert("proxy", Self.everything(reading: "30s"))
      let before = try proxy.memory("VmRSS")
      for port in [1080, 8443, 8444] {
        let flood = try net.start("flood", "\(Self.hostile) idle 10.99.0.2:\(port) 2000 20", title: "flood")
        try #require(flood.says("holding", within: 20) != nil, net.story)
        try expectService(net)
        let own = try net.run("flood", "\(Self.clients) ask socks5 10.99.0.2:1080 - 10.99.0.3:7000")
        #expect(own.output == "10.99.0.3:7000 yes\n", "\(port): \(own.output)\(net.story)")
        flood.kill()
      }
      let growth = try proxy.memory("VmRSS") - before
      #expect(growth < 64 << 10, "grown by \(growth) KiB")
      print("2,000 idle clients at three ports, one after the other: grew by \(growth) KiB")
      #expect(proxy.stop() == .exit(0), net.story)
    }

    @Test("Noise and beginnings of protocols with random ends, to every listener")
    func noise() throws {
      let net = try Net(["client", "proxy", "far"])
      defer { net.close() }
      try net.targets("far")
      let proxy = try net.culvert("proxy", Self.everything(reading: "5s"))
      for port in [1080, 1084, 1085, 8080, 8443, 8444, 8445, 8446] {
        try net.set("client", "\(Self.hostile) noise 10.99.0.2:\(port) 100")
      }
      try expectService(net)
      #expect(proxy.log.split(separator: "\n").count < 400, net.story)
      #expect(proxy.stop() == .exit(0), net.story)
    }

    // MARK: Requests

    @Test("Requests that two readers could take for different ones are refused, and no target sees them")
    func smuggled() throws {
      let net = try Net(["client", "proxy"])
      defer { net.close() }
      let proxy = try net.culvert("proxy", Self.everything(reading: "5s"))
      for port in [8080, 1080] {
        let outcome = try net.run("client", "\(Self.hostile) smuggle 10.99.0.2:\(port) 10.99.0.1 8000", within: 90)
        #expect(outcome.output == "clean\n", "\(outcome.output)\(net.story)")
      }
      #expect(proxy.isAlive, net.story)
    }

    // MARK: Targets

    /// Ways to say the proxy's own host and the cloud's metadata service.
    private static let forbidden = [
      "127.0.0.1:7000", "127.8.9.10:7000", "[::1]:7000", "[::ffff:127.0.0.1]:7000", "0.0.0.0:7000", "[::]:7000",
      "169.254.169.254:7000", "[::ffff:169.254.169.254]:7000", "[fe80::1]:7000", "loop.test:7000", "loop6.test:7000",
      "metadata.test:7000", "localhost:7000",
    ]

    @Test("An open proxy does not lend its place out, whatever protocol and spelling asks for it")
    func forbidden() throws {
      try inReach(handler: "") { net in
        for (protocolName, port) in Self.protocols {
          let asked = try ask(net, protocolName, port, "-", Self.targets(for: protocolName))
          for line in asked { #expect(line.contains(" no"), "\(protocolName): \(line)\(net.story)") }
          #expect(asked.count == Self.targets(for: protocolName).count)
          #expect(
            try ask(net, protocolName, port, "-", ["10.99.0.3:7000"]) == ["10.99.0.3:7000 yes"],
            "\(protocolName)\(net.story)")
        }
      }
    }

    @Test("With credentials, and where the file allows it, the same targets are reached")
    func allowed() throws {
      for handler in ["auth: {username: u, password: p}, ", "metadata: {egress.allow: [\"127.0.0.0/8:7000\"], "] {
        try inReach(handler: handler) { net in
          let user = handler.hasPrefix("auth") ? "u:p" : "-"
          for (protocolName, port) in Self.protocols where protocolName != "socks4" && protocolName != "socks4a" {
            #expect(
              try ask(net, protocolName, port, user, ["127.0.0.1:7000"]) == ["127.0.0.1:7000 yes"],
              "\(protocolName)\(net.story)")
            if !handler.hasPrefix("auth") {
              let others = try ask(net, protocolName, port, user, ["[::1]:7000", "127.0.0.1:7001"])
              for line in others { #expect(line.contains(" no"), "\(protocolName): \(line)\(net.story)") }
            }
          }
        }
      }
    }

    // MARK: Sessions

    @Test("Floods of smux frames end their own session at most", arguments: [1, 2])
    func muxFloods(_ version: Int) throws {
      let net = try Net(["client", "proxy", "far", "flood"])
      defer { net.close() }
      try net.targets("far")
      let proxy = try net.culvert(
        "proxy",
        Write.file([
          Write.service(
            "mux", ":8450", "relay", on: "{type: mtcp, metadata: {mux.version: \(version)}}")
        ]))
      try net.culvert(
        "client",
        Write.file(
          [Write.service("forward", "127.0.0.1:9000", "{type: tcp, chain: mux}", to: "10.99.0.3:7001")],
          [
            Write.chain(
              "mux",
              [
                Write.node(
                  "node", "10.99.0.2:8450", over: "{type: mtcp, metadata: {mux.version: \(version)}}")
              ])
          ]))
      #expect(try net.greetings("client", "127.0.0.1:9000").first?.name == "target", net.story)
      let before = try proxy.memory("VmRSS")
      let flood = try net.start("flood", "\(Self.hostile) mux 10.99.0.2:8450 \(version)", title: "flood")
      var served = 0
      let sent = eventually(within: 40, every: 0.2) {
        if (try? net.greetings("client", "127.0.0.1:9000").first?.name) == "target" { served += 1 }
        return flood.ended != nil
      }
      #expect(sent != nil && flood.log.contains("sent"), net.story)
      #expect(served > 3, net.story)
      #expect(try net.greetings("client", "127.0.0.1:9000").first?.name == "target", net.story)
      let growth = try proxy.memory("VmRSS") - before
      print("floods of smux v\(version): grew by \(growth) KiB, \(served) served meanwhile")
      #expect(growth < 96 << 10, "grown by \(growth) KiB")
      #expect(eventually(within: 8, every: 0.2) { (try? proxy.descriptors()).map { $0 < 40 } ?? false } != nil)
      #expect(proxy.stop() == .exit(0), net.story)
    }

    @Test("An upload that nobody reads is cut short a hundred times over one session, which still works")
    func cutShort() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      let transports: [Transport] = [.quic, .icmp6, .mtcp, .mtls]
      try net.culvert(
        "server",
        Write.file(transports.map { Write.service($0.rawValue, ":\($0.port)", "relay", on: $0.rawValue) }))
      // One service for each transport, so that whatever its clients ask for goes over one session.
      let client = try net.culvert(
        "client",
        Write.file(
          transports.enumerated().map { place, transport in
            Write.service(
              transport.rawValue, "127.0.0.1:\(1080 + place)", "{type: socks5, chain: \(transport.rawValue)}")
          },
          transports.map { transport in
            let host = (transport == .icmp6 ? Family.v6 : .v4).address(2)
            return Write.chain(
              transport.rawValue, [Write.node("node", "\(host):\(transport.port)", over: transport.rawValue)])
          }))
      for (place, transport) in transports.enumerated() {
        let target = "127.0.0.1:\(1080 + place)/10.99.0.2"
        let user = try net.start(
          "client", "python3 \(Machine.tools)/streams.py hold \(target):7001 60", title: "user")
        try #require(user.says("hello", within: 10) != nil, net.story)
        let cut = try net.run(
          "client", "python3 \(Machine.tools)/streams.py abandon \(target):7002 100 1000000", within: 60)
        #expect(cut.output == "abandoned\n", "\(transport): \(cut.output)\(net.story)")
        try net.expectStreams("client", ["\(transport.rawValue)=\(target):7000,\(target):7001"], within: 40)
        #expect(!user.log.contains("ended"), "the session of \(transport) was given up\n\(net.story)")
        user.kill()
      }
      #expect(client.stop() == .exit(0), net.story)
    }

    @Test(
      "A target that never answers costs its own client, and not those who share the session",
      arguments: ["relay", "http", "socks5"])
    func blackHole(_ proxy: String) throws {
      let net = try Net(["client", "proxy", "far"])
      defer { net.close() }
      try net.targets("far")
      try net.set(
        "proxy",
        "nft 'add table inet t; add chain inet t o { type filter hook output priority 0; }; "
          + "add rule inet t o ip daddr 10.99.0.3 tcp dport 9 drop'")
      try net.culvert(
        "proxy",
        Write.file([
          Write.service("quic", ":8443", proxy, on: "quic"), Write.service("mtcp", ":8443", proxy, on: "mtcp"),
        ]))
      try net.culvert(
        "client",
        Write.file(
          ["quic", "mtcp"].enumerated().map { place, transport in
            Write.service(transport, "127.0.0.1:\(1080 + place)", "{type: socks5, chain: \(transport)}")
          },
          ["quic", "mtcp"].map {
            Write.chain($0, [Write.node("node", "10.99.0.2:8443", Self.impatient(proxy), over: $0)])
          }))
      let places = (0...1).map { "127.0.0.1:\(1080 + $0)/10.99.0.3" }
      let users = try places.map { place in
        let user = try net.start(
          "client", "python3 \(Machine.tools)/streams.py hold \(place):7001 60", title: "user of \(place)")
        try #require(user.says("hello", within: 10) != nil, net.story)
        return user
      }
      let waiting = try places.map { place in
        try net.start("client", "timeout 4 python3 \(Machine.tools)/streams.py hold \(place):9", title: "waiting")
      }
      for waiting in waiting { _ = waiting.wait(within: 10) }
      for user in users { #expect(!user.log.contains("ended"), "\(user.title) lost his connection\n\(net.story)") }
      #expect(try net.greetings("client", "\(places[0]):7001").first?.name == "target", net.story)
    }

    /// A connector that waits two seconds for its node's answer, which relay does not wait for.
    private static func impatient(_ proxy: String) -> String {
      proxy == "relay" ? proxy : "{type: \(proxy), metadata: {timeout: 2s}}"
    }

    // MARK: PROXY headers

    @Test("PROXY headers of both versions are read where they are expected, and only there, and sent where asked for")
    func proxyProtocol() throws {
      let net = try Net(["client", "proxy", "far"])
      defer { net.close() }
      let web = try net.start("far", "python3 \(Machine.tools)/proxy_header.py serve 10.99.0.3 8000", title: "web")
      try #require(web.says("ready", within: 10) != nil, net.story)
      let metadata = { (version: Int) in "  metadata: {proxyProtocol: \(version)}\n" }
      let proxy = try net.culvert(
        "proxy",
        Write.file([
          Write.service(
            "in", ":9000", "{type: tcp, metadata: {proxyProtocol: 2}}", to: "10.99.0.3:8000", more: metadata(1)),
          Write.service(
            "in-tls", ":9001", "{type: tcp, metadata: {proxyProtocol: 1}}", on: "tls", to: "10.99.0.3:8000",
            more: metadata(2)),
          Write.service("out", ":9002", "{type: tcp, metadata: {proxyProtocol: 1}}", to: "10.99.0.3:8000"),
        ]))
      // curl sends a header of version 1; the target gets one of version 2 with the same client.
      let curl = try net.run("client", "curl -sS -m 5 --haproxy-protocol http://10.99.0.2:9000/")
      #expect(curl.output.hasPrefix("version 2 from 10.99.0.1 "), "\(curl.output)\(net.story)")
      let tls = try net.run(
        "client", "python3 \(Machine.tools)/proxy_header.py ask 10.99.0.2:9001 2 198.51.100.7:4242 tls")
      #expect(tls.output == "version 1 from 198.51.100.7 4242\n", "\(tls.output)\(net.story)")
      let six = try net.run(
        "client", "python3 \(Machine.tools)/proxy_header.py ask 10.99.0.2:9000 2 [2001:db8::7]:4242")
      #expect(six.output == "version 2 from 2001:db8::7 4242\n", "\(six.output)\(net.story)")
      let out = try net.run("client", "curl -sS -m 5 http://10.99.0.2:9002/")
      #expect(out.output.hasPrefix("version 1 from 10.99.0.1 "), "\(out.output)\(net.story)")
      // Where it is not expected it is the target's business: nothing of it is believed.
      let unexpected = try net.run(
        "client", "python3 \(Machine.tools)/proxy_header.py ask 10.99.0.2:9002 1 198.51.100.7:4242")
      #expect(unexpected.output.hasPrefix("version 1 from 10.99.0.1 "), "\(unexpected.output)\(net.story)")
      let none = try net.run("client", "curl -sS -m 5 http://10.99.0.2:9000/")
      #expect(none.output.hasPrefix("version 2 from 10.99.0.1 "), "as GOST has it: \(none.output)\(net.story)")
      for kind in ["broken", "long"] {
        let asked = try net.run(
          "client", "python3 \(Machine.tools)/proxy_header.py ask 10.99.0.2:9000 \(kind) 198.51.100.7:4242", within: 20)
        #expect(!asked.output.contains("version"), "\(kind): \(asked.output)\(net.story)")
      }
      #expect(proxy.stop() == .exit(0), net.story)
    }

    // MARK: Helpers

    private static let protocols = [
      ("http", 8080), ("socks4", 1084), ("socks4a", 1084), ("socks5", 1085), ("relay", 8443), ("udp", 1085),
      ("udp-tunnel", 1085), ("http", 1080), ("socks4a", 1080), ("socks5", 1080), ("udp", 1080),
    ]

    private static func targets(for protocolName: String) -> [String] {
      // SOCKS4 has no names and no IPv6.
      protocolName == "socks4" ? forbidden.filter { $0.first?.isNumber == true } : forbidden
    }

    private func ask(
      _ net: Net, _ protocolName: String, _ port: Int, _ user: String, _ targets: [String]
    ) throws -> [String] {
      let outcome = try net.run(
        "client",
        "\(Self.clients) ask \(protocolName) 10.99.0.2:\(port) \(user) \(targets.joined(separator: " "))", within: 60)
      return outcome.output.split(separator: "\n").map(String.init)
    }

    /// A proxy whose own host has servers on loopback that nobody else should reach.
    private func inReach(handler: String, _ body: (Net) throws -> Void) throws {
      let net = try Net(["client", "proxy", "far"])
      defer { net.close() }
      try net.targets("far")
      try net.set("proxy", "ip addr add 169.254.169.254/32 dev lo")
      try net.targets("proxy", as: "private", "127.0.0.1", "::1", "169.254.169.254")
      let isClosed = handler.contains("metadata")
      func with(_ metadata: String) -> String {
        isClosed
          ? handler + metadata + "}" : handler + "metadata: {\(metadata)}"
      }
      var services = [
        Write.service("auto", ":1080", "{type: auto, \(with("udp: true"))}"),
        Write.service("http", ":8080", "{type: http, \(with("udp: true"))}"),
        Write.service("socks5", ":1085", "{type: socks5, \(with("udp: true"))}"),
        Write.service("relay", ":8443", "{type: relay, \(with("readTimeout: 5s"))}"),
      ]
      // SOCKS4 has no passwords.
      if !handler.hasPrefix("auth") {
        services.append(Write.service("socks4", ":1084", "{type: socks4, \(with("readTimeout: 5s"))}"))
      }
      let proxy = try net.culvert(
        "proxy", Write.file(services),
        prefix: try net.hostsFile(
          "127.0.0.1 localhost loop.test\n::1 loop6.test\n169.254.169.254 metadata.test\n"))
      try body(net)
      #expect(proxy.isAlive, net.story)
    }

    /// What an honest client gets all the time.
    private func expectService(_ net: Net, location: SourceLocation = #_sourceLocation) throws {
      for (protocolName, port) in [("http", 8080), ("socks5", 1080), ("socks4", 1084), ("relay", 8443)] {
        let answer = try ask(net, protocolName, port, "-", ["10.99.0.3:7000"])
        #expect(answer == ["10.99.0.3:7000 yes"], "\(protocolName)\n\(net.story)", sourceLocation: location)
      }
    }

    /// A proxy of every kind on listeners of every kind.
    private static func everything(reading time: String) -> String {
      let reading = "metadata: {readTimeout: \(time)}"
      return Write.file([
        Write.service("auto", ":1080", "{type: auto, \(reading)}"),
        Write.service("http", ":8080", "{type: http, \(reading)}"),
        Write.service("socks4", ":1084", "{type: socks4, \(reading)}"),
        Write.service("socks5", ":1085", "{type: socks5, \(reading)}"),
        Write.service("relay", ":8443", "{type: relay, \(reading)}"),
        Write.service("tls", ":8444", "{type: relay, \(reading)}", on: "tls"),
        Write.service("ws", ":8445", "{type: relay, \(reading)}", on: "ws"),
        Write.service("mtls", ":8446", "{type: relay, \(reading)}", on: "mtls"),
        Write.service("header", ":8447", "{type: relay, \(reading)}", more: "  metadata: {proxyProtocol: 1}\n"),
      ])
    }
  }
}
