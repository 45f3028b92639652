import Configuration
import Testing
import Values

/// The way of a tunnel's own packets, and what the two ends of a relay expect of each other.
@Suite("The way of a tunnel's own packets") struct TunnelPathTests {
  @Test("A route that covers the node is a note, one to the node alone an error")
  func routes() {
    let node = "203.0.113.7:8443"
    let cases: [(route: String, addr: String, severity: Diagnostic.Severity?)] = [
      ("0.0.0.0/0", node, .note), ("203.0.113.0/24", node, .note), ("203.0.113.7/32", node, .error),
      ("198.51.100.0/24", node, nil), ("0.0.0.0/0", "relay.example.com:8443", .note),
      ("10.0.0.0/8", "relay.example.com:8443", nil), ("0.0.0.0/0", "127.0.0.1:8443", nil),
      ("0.0.0.0/0", "localhost:8443", nil),
    ]
    for (route, addr, severity) in cases {
      for line in ["route: \(route)", "routes: [\(route)]"] {
        let report = check(tunClient(addr: addr, listener: [line]))
        #expect(report.first(.routeIntoTunnel)?.severity == severity, "\(line) \(addr)\n\(report.rendered)")
        #expect(report.exitCode == (severity == .error ? 1 : 0))
      }
    }
    #expect(
      check(
        tunClient(
          net: "fd00::2/64", target: "\"[fd00::1]:8421\"", addr: "\"[2001:db8::7]:443\"", listener: ["route: \"::/0\""])
      )
      .place(.routeIntoTunnel) == "11:15 ::/0")
    // Every node of the first hop counts, and each route once.
    let two = tunClient(addr: node, listener: ["route: 203.0.113.0/24"]).with(
      "    - name: node\n",
      "    - {addr: \"203.0.113.9:8443\", connector: {type: relay}, dialer: {type: tls}}\n    - name: node\n")
    #expect(check(two).first(.routeIntoTunnel)?.secondary.count == 2, "\(check(two).rendered)")
    #expect(check(two).codes == [.routeIntoTunnel])
    // The one with a way of its own does not.
    let bound = tunClient(addr: node, listener: ["route: 203.0.113.7/32"]).with(
      "      addr: \(node)\n", "      addr: \(node)\n      metadata: {interface: eth0}\n")
    #expect(check(bound).diagnostics.isEmpty, "\(check(bound).rendered)")
  }

  @Test("A mark with a route that covers the node needs a rule of the host")
  func marks() {
    func client(_ metadata: String, route: String = "0.0.0.0/0") -> String {
      tunClient(listener: ["route: \(route)"]).with("  forwarder:\n", "  metadata: {\(metadata)}\n  forwarder:\n")
    }
    let report = check(client("so_mark: 51"))
    #expect(report.codes == [.interfaceIntoTunnel] && report.exitCode == 0, "\(report.rendered)")
    #expect(report.place(.interfaceIntoTunnel) == "12:23 51")
    #expect(check(client("so_mark: 51, preUp: [ip rule add fwmark 51 lookup 7]")).diagnostics.isEmpty)
    #expect(check(client("so_mark: 51", route: "10.9.0.0/16")).diagnostics.isEmpty)
    #expect(check(client("so_mark: 51, interface: eth0")).diagnostics.isEmpty)
    // Where the host's rules are known they are what counts.
    var network = NetworkFacts()
    func codes() -> [DiagnosticCode] { check(client("so_mark: 51"), host: HostFacts(network: network)).codes }
    #expect(codes().contains(.interfaceIntoTunnel))
    network.markRules = [MarkRule(family: .ipv4, mark: 52)]
    #expect(codes().contains(.interfaceIntoTunnel))
    network.markRules = [MarkRule(family: .ipv4, mark: 51)]
    #expect(!codes().contains(.interfaceIntoTunnel))
  }

  @Test("Two tunnels that leave through each other are named, one through the other is not")
  func circles() {
    func tunnel(_ number: Int, through interface: String) -> String {
      """
      - name: t\(number)
        addr: :0
        handler: {type: tun, metadata: {keepAlive: true}}
        listener: {type: tun, metadata: {net: 10.\(number).0.2/24, name: vpn\(number)}}
        forwarder: {nodes: [{name: s, addr: "vpn\(number).example.com:8421"}]}
        metadata: {interface: \(interface)}

      """
    }
    let circle = "services:\n" + tunnel(1, through: "vpn2") + tunnel(2, through: "vpn1")
    #expect(check(circle).codes == [.interfaceIntoTunnel], "\(check(circle).rendered)")
    #expect(check(circle).exitCode == 1)
    #expect(check("services:\n" + tunnel(1, through: "vpn2") + tunnel(2, through: "eth0")).diagnostics.isEmpty)
    #expect(check("services:\n" + tunnel(1, through: "vpn1")).codes == [.interfaceIntoTunnel])
  }

  @Test("One route in two tunnels is named")
  func sameRoute() {
    let second = tunServer("10.1.0.1/24", listener: ["route: 192.168.0.0/16"], addr: ":8422").with("services:\n", "")
      .with("name: vpn", "name: vpn2")
    let report = check(tunServer(listener: ["routes: [192.168.0.0/16]"]) + second)
    #expect(report.codes == [.overlappingNetworks] && report.exitCode == 0, "\(report.rendered)")
    #expect(check(tunServer(listener: ["routes: [192.168.0.0/24]"]) + second).diagnostics.isEmpty)
  }

  @Test("A client over plain UDP that is silent is named, with the number of seconds too")
  func keepalive() {
    func client(_ metadata: String, target: String = "203.0.113.7:8421") -> CheckReport {
      check(
        """
        services:
        - name: vpn
          addr: :0
          handler: {type: tun, metadata: {\(metadata)}}
          listener: {type: tun, metadata: {net: 10.0.0.2/24}}
          forwarder: {nodes: [{name: s, addr: "\(target)"}]}

        """)
    }
    #expect(client("").codes == [.keepaliveTooLate])
    #expect(client("keepAlive: false").place(.keepaliveTooLate) == "4:46 false")
    #expect(client("keepAlive: true").diagnostics.isEmpty)
    #expect(client("keepAlive: true, ttl: 119s").diagnostics.isEmpty)
    #expect(client("keepAlive: true, ttl: 2m").place(.keepaliveTooLate) == "4:57 2m")
    #expect(client("ttl: 10s").codes == [.ttlWithoutKeepalive])
    #expect(client("", target: "127.0.0.1:8421").diagnostics.isEmpty)
    #expect(check(tunClient()).diagnostics.isEmpty, "a chain that breaks is dialled again")
    let quic = tunClient(dialer: "quic", node: ["  metadata: {ttl: 60s}"])
    #expect(check(quic).codes == [.keepaliveTooLate], "\(check(quic).rendered)")
    #expect(check(quic.with("60s", "10s")).diagnostics.isEmpty)
    #expect(check(quic.with("60s", "60s, maxIdleTimeout: 90s")).diagnostics.isEmpty)
    #expect(check(quic.with("60s", "60s, keepAlive: false")).diagnostics.isEmpty)
    let listener = relayServer(listener: "icmp6", addr: ":0").with(
      "icmp6\n", "icmp6\n    metadata: {ttl: 20s, maxIdleTimeout: 15s}\n")
    #expect(check(listener).codes == [.keepaliveTooLate])
  }

  @Test("An MTU that fits in no packet of plain UDP is named, in a stream any fits")
  func mtu() {
    func client(_ mtu: Int, target: String) -> CheckReport {
      check(
        """
        services:
        - name: vpn
          addr: :0
          handler: {type: tun, metadata: {keepAlive: true}}
          listener: {type: tun, metadata: {net: 10.0.0.2/24, mtu: \(mtu)}}
          forwarder: {nodes: [{name: s, addr: "\(target)"}]}

        """)
    }
    #expect(client(1472, target: "203.0.113.7:8421").diagnostics.isEmpty)
    let four = client(1473, target: "203.0.113.7:8421")
    #expect(
      four.codes == [.mtuTooLarge] && four.exitCode == 0 && four.fixed(.mtuTooLarge)?.contains("mtu: 1472") == true)
    #expect(client(1452, target: "[2001:db8::7]:8421").diagnostics.isEmpty)
    #expect(client(1453, target: "[2001:db8::7]:8421").codes == [.mtuTooLarge])
    #expect(client(1472, target: "vpn.example.com:8421").diagnostics.isEmpty)
    #expect(client(65_500, target: "203.0.113.7:8421").exitCode == 0)
    #expect(client(65_508, target: "203.0.113.7:8421").exitCode == 1)
    #expect(client(9000, target: "127.0.0.1:8421").diagnostics.isEmpty)
    #expect(check(tunClient(listener: ["mtu: 9000"])).diagnostics.isEmpty)
    let socks = tunClient(addr: "203.0.113.7:1080", connector: "socks5", listener: ["mtu: 1460"]).with(
      "type: socks5\n", "type: socks5\n        metadata: {relay: udp}\n")
    #expect(check(socks).codes == [.mtuTooLarge], "\(check(socks).rendered)")
    #expect(check(socks.with("1460", "1450")).diagnostics.isEmpty)
  }

  @Test("A relay with a target of its own serves those who want that one")
  func ownTargets() {
    let relay = relayServer(listener: "tls") + "  forwarder: {nodes: [{name: t, addr: '127.0.0.1:8421'}]}\n"
    #expect(check(tunClient(), with: relay).diagnostics.isEmpty)
    #expect(check(tunClient(target: "10.0.0.1:9999"), with: relay).codes == [.peerHasOwnTarget])
    let proxy = """
      services:
      - name: p
        addr: 127.0.0.1:8080
        handler: {type: http, chain: out}
        listener: {type: tcp}
      chains:
      - name: out
        hops: [{nodes: [{addr: "h.example.com:8443", connector: {type: relay}, dialer: {type: tls}}]}]

      """
    let report = check(proxy, with: relay)
    #expect(report.codes == [.peerHasOwnTarget] && report.exitCode == 1, "\(report.rendered)")
    #expect(check(proxy, with: relayServer()).diagnostics.isEmpty)
    let both = relay.with("type: relay\n", "type: relay\n    metadata: {bind: true}\n")
    #expect(check(both).codes == [.keyWithoutEffect], "\(check(both).rendered)")
  }

  @Test("`nodelay` on one side is named whichever side it is")
  func nodelay() {
    let client = tunClient(target: "192.0.2.9:8421")
    let on = client.with("type: relay\n", "type: relay\n        metadata: {nodelay: true}\n")
    let server = relayServer(["metadata: {nodelay: true}"])
    #expect(check(client, with: relayServer()).diagnostics.isEmpty)
    #expect(check(on, with: relayServer()).codes == [.nodelayOnOneSide])
    #expect(check(client, with: server).first(.nodelayOnOneSide)?.message == "`nodelay` is on at the server only")
    #expect(check(on, with: server).diagnostics.isEmpty)
  }

  @Test("Two ends whose TLS does not agree, or one of which sends a header that the other does not expect")
  func handshakes() {
    let client = tunClient(target: "192.0.2.9:8421")
    func tls(_ lines: String) -> String { client.with("type: tls\n", "type: tls\n        tls: {\(lines)}\n") }
    func server(_ lines: String) -> String { relayServer() + "    tls: {certFile: c.pem, keyFile: k.pem, \(lines)}\n" }
    #expect(check(client, with: server("caFile: a.pem")).codes == [.peerTLS])
    #expect(check(tls("certFile: a.pem, keyFile: b.pem"), with: server("caFile: a.pem")).diagnostics.isEmpty)
    let old = server("options: {maxVersion: VersionTLS12}")
    #expect(check(tls("options: {minVersion: versiontls13}"), with: old).codes == [.peerTLS])
    #expect(check(tls("options: {minVersion: VersionTLS12}"), with: old).diagnostics.isEmpty)

    let quic = client.with("type: tls", "type: quic")
    let taken = relayServer(listener: "quic") + "    tls: {options: {alpn: [own]}}\n"
    #expect(check(quic, with: taken).codes == [.peerTLS], "\(check(quic, with: taken).rendered)")
    #expect(check(quic, with: relayServer(listener: "quic")).diagnostics.isEmpty)
    let own = quic.with("type: quic\n", "type: quic\n        tls: {options: {alpn: [own, h3]}}\n")
    #expect(
      check(own, with: taken).diagnostics.isEmpty && check(own, with: relayServer(listener: "quic")).codes.isEmpty)

    let header = client.with("      connector:", "      metadata: {proxyProtocol: 1}\n      connector:")
    #expect(check(header, with: relayServer()).codes == [.peerProxyHeader])
    #expect(check(header, with: relayServer() + "  metadata: {proxyProtocol: 1}\n").diagnostics.isEmpty)
  }

  @Test("A client whose network is without the server's address needs a route to it")
  func smallNetwork() {
    let server = tunServer("10.0.0.1/16") + relayServer(listener: "tls").with("services:\n", "")
    #expect(check(tunClient(net: "10.0.5.2/16"), with: server).diagnostics.isEmpty)
    #expect(check(tunClient(net: "10.0.5.2/24"), with: server).codes == [.outsidePeerNetwork])
    #expect(check(tunClient(net: "10.0.5.2/24", listener: ["route: 10.0.0.0/16"]), with: server).diagnostics.isEmpty)
  }

  @Test("Clients of a proxy may send datagrams that the next proxy does not serve")
  func datagramsOfClients() {
    func proxy(_ metadata: String, chain: String = "") -> String {
      "services:\n- name: p\n  addr: \(chain.isEmpty ? ":1081" : "127.0.0.1:1080")\n  handler: {type: socks5\(chain), metadata: {\(metadata)}, auth: {username: u, password: long-enough}}\n  listener: {type: tcp}\n"
    }
    let client =
      proxy("udp: true", chain: ", chain: out")
      + "chains: [{name: out, hops: [{nodes: [{addr: \"h.example.com:1081\", connector: {type: socks5, auth: {username: u, password: long-enough}}, dialer: {type: tcp}}]}]}]\n"
    let without = check(client, with: proxy(""))
    #expect(without.codes == [.peerServesNoUDP] && without.exitCode == 0, "\(without.rendered)")
    #expect(check(client, with: proxy("udp: true")).diagnostics.isEmpty)
    #expect(check(client.with("udp: true", "udp: false"), with: proxy("")).diagnostics.isEmpty)
  }

  @Test("A port at the end of a chain is given once")
  func remotePorts() {
    func text(_ second: String, nodes: Int = 1) -> String {
      let node = "{addr: \"h.example.com:8443\", connector: {type: relay}, dialer: {type: tls}}"
      let services = [("a", ":2222"), ("b", second)].map { name, addr in
        "- name: \(name)\n  addr: \(addr)\n  handler: {type: rtcp}\n  listener: {type: rtcp, chain: out}\n  forwarder: {nodes: [{addr: '127.0.0.1:22'}]}\n"
      }
      return "services:\n" + services.joined()
        + "chains: [{name: out, hops: [{nodes: [\(Array(repeating: node, count: nodes).joined(separator: ", "))]}]}]\n"
    }
    #expect(check(text(":2222")).codes == [.duplicateListenAddress])
    #expect(check(text(":2223")).diagnostics.isEmpty)
    #expect(check(text(":2222", nodes: 2)).diagnostics.isEmpty, "each node may have its own")
  }

  @Test("What is written for sockets has no effect behind another hop, nor `secure` at a listener")
  func withoutEffect() {
    let node = "{addr: \"h.example.com:8443\", metadata: {so_mark: 7}, connector: {type: relay}, dialer: {type: tls}}"
    let plain = node.with(", metadata: {so_mark: 7}", "")
    func proxy(_ hops: String) -> String {
      "services:\n- {name: p, addr: '127.0.0.1:1080', handler: {type: http, chain: out}, listener: {type: tcp}}\nchains: [{name: out, hops: [\(hops)]}]\n"
    }
    #expect(check(proxy("{nodes: [\(node)]}, {nodes: [\(plain)]}")).diagnostics.isEmpty)
    #expect(check(proxy("{nodes: [\(plain)]}, {nodes: [\(node)]}")).codes == [.keyWithoutEffect])
    let tls = relayServer() + "    tls: {certFile: c.pem, keyFile: k.pem, secure: true}\n"
    #expect(check(tls).codes == [.keyWithoutEffect])
    #expect(check(tls.with("secure: true", "secure: true, caFile: ca.pem")).diagnostics.isEmpty)
  }

  @Test("Advice for arguments is how to write an argument")
  func argumentAdvice() {
    func help(_ service: String, _ nodes: [String] = []) -> String {
      Checker.check([], arguments: CommandLineArguments(services: [service], nodes: nodes)).diagnostics.flatMap(\.help)
        .joined(separator: "\n")
    }
    #expect(help("http://:8080").contains("`user:password@`"))
    #expect(help("tcp://:8080").contains("`:8080/192.0.2.1:80`"))
    #expect(help("http://127.0.0.1:8080", ["relay+tls://h.example.com:1"]).contains("`?secure=true`"))
    #expect(help("tun://:0/vpn.example.com:8421?net=10.0.0.2/24").contains("`keepAlive=true`"))
  }

  @Test("A file with secrets that others may read or change is named, one without is not")
  func files() {
    let text = relayServer(["auth: {username: ann, password: long-enough}"])
    for (mode, isLoose) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true), (0o602, true)] {
      let report = check(text, host: HostFacts(permissions: ["a.yaml": UInt32(mode)]))
      #expect(
        report.codes == (isLoose ? [.looseConfigurationFile] : []), "\(String(mode, radix: 8)) \(report.rendered)")
    }
    #expect(check(relayServer(), host: HostFacts(permissions: ["a.yaml": 0o666])).diagnostics.isEmpty)
    let peer = check(relayServer(), with: text, host: HostFacts(permissions: ["peer.yaml": 0o666]))
    #expect(!peer.codes.contains(.looseConfigurationFile), "the other end's file is looked at there")
  }

  @Test("A secret of fewer than 8 bytes is named where others could try it")
  func shortSecrets() {
    func codes(_ text: String) -> [DiagnosticCode] { check(text, posture: true).codes.filter { $0 == .shortSecret } }
    #expect(codes(relayServer(["auth: {username: ann, password: 7-bytes}"])) == [.shortSecret])
    #expect(codes(relayServer(["auth: {username: ann, password: 8--bytes}"])).isEmpty)
    #expect(codes(relayServer(["auth: {username: ann, password: x}"], addr: "127.0.0.1:8443")).isEmpty)
    let auther =
      relayServer(["auther: a"])
      + "authers: [{name: a, auths: [{username: b, password: c}, {username: d, password: e}]}]\n"
    #expect(codes(auther) == [.shortSecret, .shortSecret])
    #expect(
      codes(tunClient().with("chain: out\n  l", "chain: out\n    metadata: {passphrase: pass}\n  l")) == [.shortSecret])
    #expect(check(auther, strict: true).exitCode == 0)
  }
}
