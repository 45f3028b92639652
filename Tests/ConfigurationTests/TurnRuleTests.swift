import PartDescriptors
import Testing
import Values

@testable import Configuration

/// TURN in files: the server's settings as the daemon takes them, and what is said of those that cannot be.
@Suite("TURN in files") struct TurnRuleTests {
  private static func server(
    _ metadata: String..., auth: String = "{username: alice, password: wonderland}", addr: String = ":3478",
    listener: String = "{type: udp}"
  ) -> String {
    """
    services:
    - name: relay
      addr: "\(addr)"
      handler:
        type: turn
        \(auth.isEmpty ? "" : "auth: \(auth)")
        metadata:
          mobility: true
    \(metadata.map { "      \($0)" }.joined(separator: "\n"))
      listener: \(listener)

    """
  }

  @Test("A server has every setting of its file, and the defaults of the RFC where there is none")
  func settings() throws {
    let report = check(
      Self.server(
        "realm: example.org", "secret: [mVbU1xkRm2vJ8w5Yp0Qd3T7h, Zc6NfKsamVbU1xkRm2vJ8w5Y]", "software: relay 7",
        "external: [203.0.113.5/10.0.0.5, \"2001:db8::5\"]", "addresses: 10.0.0.5,fd00::5", "ports: 50000-50999",
        "lifetime: 300s", "maxLifetime: 20m", "tcpRelay: false", "egress.allow: [10.1.0.0/16, \"10.2.0.1:53\"]",
        "egress.deny: 198.51.100.0/24", "userQuota: 5", "sourceQuota: 0", "totalQuota: 900", "userBandwidth: 1.5MB",
        "totalBandwidth: 1G", "drain: 0s", "alternate: 192.0.2.2:3479", "family: prefer-ipv6", "xdp: off"))
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    let configuration = try #require(report.configuration)
    let turn = try #require(configuration.services.first.flatMap(configuration.turn))
    #expect(turn.realm == "example.org")
    #expect(turn.software == "relay 7")
    #expect(turn.users.map(\.username.value) == ["alice"])
    #expect(turn.secrets.map { $0.reveal() } == ["mVbU1xkRm2vJ8w5Yp0Qd3T7h", "Zc6NfKsamVbU1xkRm2vJ8w5Y"])
    #expect(turn.external.map(\.description) == ["203.0.113.5/10.0.0.5", "2001:db8::5"])
    #expect(turn.addresses.map(\.description) == ["10.0.0.5", "fd00::5"])
    #expect(turn.ports == 50000...50999)
    #expect(turn.lifetime == .seconds(300))
    #expect(turn.maxLifetime == .seconds(1200))
    #expect(turn.allowsMobility && !turn.relaysTCP && !turn.isStunOnly && turn.asksForCredentials)
    #expect(turn.allow.map(\.description) == ["10.1.0.0/16", "10.2.0.1/32:53"])
    #expect(turn.deny.map(\.description) == ["198.51.100.0/24"])
    #expect(turn.userQuota == 5 && turn.sourceQuota == nil && turn.totalQuota == 900)
    #expect(turn.userBandwidth == 1_572_864 && turn.totalBandwidth == 1_073_741_824)
    #expect(turn.drain == .zero)
    #expect(turn.alternate.map(\.description) == ["192.0.2.2:3479"])
    #expect(turn.family == .preferIPv6 && turn.xdp == .off)
    #expect(turn.own == [HostPort(host: "", port: 3478)])

    let plain = try #require(check(Self.server()).configuration)
    let usual = try #require(plain.services.first.flatMap(plain.turn))
    #expect(usual.realm == "culvert" && usual.software == nil && usual.ports == 49152...65535)
    #expect(usual.lifetime == .seconds(600) && usual.maxLifetime == .seconds(3600) && usual.drain == .seconds(10))
    #expect(usual.userQuota == nil && usual.totalBandwidth == nil && usual.family == .any)
  }

  @Test("A relay that asks nobody does not start, but on loopback, or where it relays nothing")
  func open() {
    #expect(check(Self.server(auth: "")).codes == [.turnWithoutCredentials])
    #expect(check(Self.server(auth: "", addr: "127.0.0.1:3478")).exitCode == 0)
    #expect(check(Self.server("secretFile: /etc/relay.secret", auth: "")).codes.isEmpty)
    let stun =
      "services: [{name: s, addr: ':3478', handler: {type: turn, metadata: {stunOnly: true}}, listener: {type: udp}}]"
    #expect(check(stun).codes.isEmpty)
  }

  @Test("A relay takes no chain, and says so, unless its service ignores it; on the command line it is told how")
  func chains() {
    let chain =
      "chains: [{name: c, hops: [{nodes: [{addr: 'h:1', connector: {type: relay}, dialer: {type: tcp}}]}]}]\n"
    func file(_ more: String) -> String {
      "services:\n- {name: r, addr: ':3478', \(more)handler: {type: turn, chain: c, "
        + "auth: {username: ann, password: long-enough}}, listener: {type: udp}}\n" + chain
    }
    let refused = check(file(""))
    #expect(refused.codes == [.turnChain] && refused.exitCode == 1, "\(refused.rendered)")
    #expect(!check(file("metadata: {ignoreChain: true}, ")).codes.contains(.turnChain))
    func line(_ query: String) -> CheckReport {
      Checker.check(
        [],
        arguments: CommandLineArguments(
          services: ["turn://ann:long-enough@:3478\(query)", "http://127.0.0.1:8080"], nodes: ["relay://192.0.2.1:1"]))
    }
    #expect(line("").codes.contains(.turnChain) && line("").rendered.contains("ignoreChain=true"))
    #expect(!line("?ignoreChain=true").codes.contains(.turnChain), "\(line("?ignoreChain=true").rendered)")
  }

  @Test(
    "Settings that cannot be are told where they stand",
    arguments: [
      ("ports: 1024-65535", DiagnosticCode.turnPorts, "1024-65535"),
      ("ports: 65535-49152", .valueOutOfRange, "65535-49152"), ("ports: 0-10", .valueOutOfRange, "0-10"),
      ("ports: many", .valueOutOfRange, "many"), ("realm: 'a \"b\"'", .turnRealm, "'a \"b\"'"),
      ("realm: \"a\\tb\"", .turnRealm, "\"a\\tb\""), ("secret: [short]", .turnSecret, "short"),
      ("external: 203.0.113.5/fd00::5", .turnExternal, "203.0.113.5/fd00::5"),
      ("external: [203.0.113.5, 203.0.113.6]", .turnExternal, "203.0.113.6"),
      ("external: 203.0.113.5/10.0.0.5,203.0.113.6/10.0.0.5", .turnExternal, "203.0.113.6/10.0.0.5"),
      ("external: 127.0.0.1", .turnExternal, "127.0.0.1"),
      ("external: relay.example.org", .badAddress, "relay.example.org"),
      ("addresses: 0.0.0.0", .badAddress, "0.0.0.0"), ("alternate: 192.0.2.2:3478", .turnAlternate, "192.0.2.2:3478"),
      ("alternate: ['192.0.2.2:3479', '192.0.2.3:3479']", .turnAlternate, "'192.0.2.3:3479'"),
      ("alternate: 192.0.2.2", .badAddress, "192.0.2.2"), ("lifetime: 2h", .turnLifetime, "2h"),
      ("maxLifetime: 5m", .turnLifetime, "5m"), ("egress.allow: all", .egressOpen, "all"),
      ("egress.allow: [\"::/0\"]", .egressOpen, "\"::/0\""), ("tcpRelay: true", .keyWithoutEffect, "tcpRelay"),
      ("userBandwidth: 10Mbit", .valueOutOfRange, "10Mbit"), ("userBandwidth: -1", .valueOutOfRange, "-1"),
      ("xdp: native", .valueOutOfRange, "native"), ("family: both", .valueOutOfRange, "both"),
    ])
  func refused(_ line: String, _ code: DiagnosticCode, _ place: String) {
    let report = check(Self.server(line))
    #expect(report.codes == [code], "\(report.rendered)")
    #expect(report.place(code)?.hasSuffix(" " + place) == true, "\(report.place(code) ?? "")")
  }

  @Test("A policy of families and the addresses beside it have to agree")
  func families() {
    #expect(check(Self.server("family: ipv4", "external: 2001:db8::5")).codes == [.turnFamily])
    #expect(check(Self.server("family: ipv6", "addresses: 192.0.2.1")).codes == [.turnFamily])
    #expect(check(Self.server("family: prefer-ipv6", "addresses: 192.0.2.1", "external: 203.0.113.5")).codes.isEmpty)
    #expect(check(Self.server("addresses: 10.0.0.6", "external: 203.0.113.5/10.0.0.5")).codes == [.turnExternal])
  }

  @Test("Users that nobody can be: keys that are none, or of no realm; names that are read as a time")
  func users() {
    let key = "key:72f86f2053703faa0f521ce71cfe6f59"
    let auth = "{username: alice, password: \"\(key)\"}"
    #expect(check(Self.server(auth: auth)).codes == [.turnUser])
    let good = check(Self.server("realm: example.org", auth: auth))
    #expect(good.codes.isEmpty)
    let password = good.configuration?.services.first?.handler.auth?.password?.value
    #expect(
      password.flatMap(TurnUserKey.bytes) == [
        0x72, 0xf8, 0x6f, 0x20, 0x53, 0x70, 0x3f, 0xaa, 0x0f, 0x52, 0x1c, 0xe7, 0x1c, 0xfe, 0x6f, 0x59,
      ])
    #expect(check(Self.server("realm: a", auth: auth.with("59\"", "\""))).codes == [.turnUser])
    #expect(TurnUserKey.bytes(of: Secret("key:" + String(repeating: "x", count: 32))) == nil)
    let secret = "secret: mVbU1xkRm2vJ8w5Yp0Qd3T7h"
    let timed = "{username: \"1700000000:bob\", password: wonderland}"
    #expect(check(Self.server(secret, auth: timed)).codes == [.turnUser])
    #expect(check(Self.server(auth: timed)).codes.isEmpty)
    #expect(
      check(Self.server(auth: "{username: \(String(repeating: "n", count: 509)), password: wonderland}")).codes == [
        .turnUser
      ])
  }

  @Test("The server stands on udp, tcp, tls and dtls")
  func listeners() {
    #expect(check(Self.server(listener: "{type: tcp}")).codes.isEmpty)
    #expect(check(Self.server("tcpRelay: true", listener: "{type: tls}")).codes.isEmpty)
    #expect(check(Self.server(listener: "{type: dtls}")).codes.isEmpty)
    #expect(check(Self.server("tcpRelay: true", listener: "{type: dtls}")).codes == [.keyWithoutEffect])
    #expect(check(Self.server("xdp: auto", listener: "{type: dtls}")).codes == [.keyWithoutEffect])
    let newer = check(Self.server(listener: "{type: dtls, tls: {options: {minVersion: VersionTLS13}}}"))
    #expect(newer.codes == [.tlsVersions] && newer.fixed(.tlsVersions)?.contains("VersionTLS12") == true)
    #expect(check(Self.server(listener: "{type: quic}")).codes == [.handlerListenerMismatch])
    #expect(
      check(Self.server(listener: "{type: quic}")).fixed(.handlerListenerMismatch)?.contains("{type: tls}") == true)
    #expect(check(Self.server(listener: "{type: turn}")).codes == [.handlerListenerMismatch])
    #expect(check(Self.server("xdp: auto", listener: "{type: tcp}")).codes == [.keyWithoutEffect])
    #expect(check(Self.server("alternate: 192.0.2.2:3479", listener: "{type: tls}")).codes == [.keyWithoutEffect])
    #expect(check(Self.server() + "  forwarder: {nodes: [{addr: 192.0.2.1:1}]}\n").codes == [.forwarderIgnored])
  }

  @Test("Nothing but the server stands on dtls yet, and no node is dialled by it")
  func datagrams() {
    for handler in ["relay", "auto", "socks5", "udp", "tcp", "forward"] {
      let report = check("services: [{name: a, addr: ':5349', handler: {type: \(handler)}, listener: {type: dtls}}]")
      #expect(report.first(.partNotYet)?.message.contains("`dtls` with the handler `\(handler)`") == true)
      #expect(!report.codes.contains(.handlerListenerMismatch), "\(report.codes)")
    }
    let node = check("hops: [{name: h, nodes: [{name: n, addr: '192.0.2.1:1', dialer: {type: dtls}}]}]")
    #expect(node.codes.contains(.partNotYet))
    // A port of UDP is not that of TCP with the same number, and is that of another service over UDP.
    func both(_ listener: String) -> [DiagnosticCode] {
      check(
        Self.server(listener: "{type: dtls}")
          + "- {name: b, addr: ':3478', handler: {type: relay, auth: {username: a, password: wonderland}}, "
          + "listener: {type: \(listener)}}\n"
      ).codes
    }
    #expect(both("tls").isEmpty)
    #expect(!both("quic").isEmpty)
  }

  @Test("Beside `stunOnly` nothing that is for relaying has an effect")
  func stunOnly() {
    let report = check(Self.server("stunOnly: true", "ports: 50000-50999"))
    #expect(report.codes == [.ignoredAuthentication, .keyWithoutEffect], "\(report.rendered)")
  }

  @Test("Secrets of a list are not printed")
  func concealed() {
    let report = check(Self.server("secret:", "- first-short", "- second-short"))
    #expect(report.codes == [.turnSecret, .turnSecret])
    #expect(!report.rendered.contains("short\n") && !report.rendered.contains("first-"), "\(report.rendered)")
  }
}

/// Clients of a TURN server.
@Suite("Clients of TURN in files") struct TurnClientRuleTests {
  private func node(_ dialer: String = "", connector: String = "type: turn, auth: {username: u, password: wonderland}")
    -> String
  {
    """
    services:
    - {name: dns, addr: ":53", handler: {type: udp, chain: out}, listener: {type: udp},
       forwarder: {nodes: [{addr: "192.0.2.53:53"}]}}
    chains:
    - name: out
      hops:
      - nodes:
        - addr: turn.example.org:3478
          connector: {\(connector)}
          dialer: {type: turn\(dialer)}

    """
  }

  private func listener(_ metadata: String, rest: String = "", addr: String = ":0") -> String {
    """
    services:
    - name: game
      addr: "\(addr)"
      handler: {type: udp}
      listener:
        type: turn
        auth: {username: u, password: wonderland}
        metadata: {\(metadata)}
        \(rest)
      forwarder: {nodes: [{addr: "127.0.0.1:9"}]}

    """
  }

  @Test("A node and a listener say how their server is reached, and what is asked of it")
  func settings() throws {
    let report = check(
      node(
        ", tls: {secure: true}, metadata: {transport: tls, family: ipv4, allocation: ipv6, mobility: true, lifetime: 5m}"
      ))
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    let client = try #require(report.configuration?.chains.first?.node?.turn)
    #expect(client.server == HostPort(host: "turn.example.org", port: 3478))
    #expect(client.transport == .tls && client.family == .ipv4 && client.allocation == .ipv6)
    #expect(client.username == "u" && client.password?.reveal() == "wonderland" && client.secret == nil)
    #expect(client.wantsMobility && client.lifetime == .seconds(300) && client.tls?.secure?.value == true)

    let other = check(listener("server: 'turn.example.org:3478', permit: [203.0.113.7], allocation: both"))
    #expect(other.diagnostics.isEmpty, "\(other.rendered)")
    let own = try #require(other.configuration?.services.first?.turnClient)
    #expect(own.transport == .udp && own.allocation == .both && own.username == "u")
    #expect(own.permit.map(\.description) == ["203.0.113.7"])
    let sockets = try #require(other.configuration).dialSockets(try #require(other.configuration?.services.first))
    #expect(sockets.first?.address == own.server && sockets.first?.transport == .udp)
  }

  @Test("The short form has them too")
  func shortForm() throws {
    let arguments = CommandLineArguments(
      services: ["udp://:53/192.0.2.53:53", "turn://u:wonderland@:3478", "turn+tls://u:wonderland@:5349?realm=a"],
      nodes: ["turn://u:wonderland@turn.example.org:3478?transport=tcp&allocation=ipv6"])
    let configuration = try #require(Checker.check([], arguments: arguments).configuration)
    #expect(configuration.services.map(\.handler.type.value) == ["udp", "turn", "turn"])
    #expect(configuration.services.map(\.listener.type.value) == ["udp", "udp", "tls"])
    let client = try #require(configuration.chains.first?.node?.turn)
    #expect(client.transport == .tcp && client.allocation == .ipv6 && client.username == "u")
    let listener = CommandLineArguments(
      services: ["udp+turn://u:wonderland@:0/127.0.0.1:9?server=turn.example.org:3478"])
    let report = Checker.check([], arguments: listener)
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    #expect(report.configuration?.services.first?.turnClient?.username == "u")
  }

  @Test("What a client cannot do is told before it tries")
  func refused() {
    #expect(check(node(connector: "type: turn")).codes == [.turnWithoutCredentials])
    #expect(check(node(", metadata: {secret: mVbU1xkRm2vJ8w5Yp0Qd3T7h}", connector: "type: turn")).codes.isEmpty)
    #expect(check(node(connector: "type: relay")).codes == [.connectorDialerMismatch])
    #expect(check(node(", tls: {caFile: a.pem}")).codes == [.tlsWithoutEffect])
    #expect(
      check(node().with("handler: {type: udp", "handler: {type: tcp").with("{type: udp},", "{type: tcp},")).codes == [
        .connectorCannotCarry
      ])
    #expect(check(node(", metadata: {transport: tls}"), posture: true).codes == [.unverifiedTLS])
    let literal = node(", metadata: {family: ipv6}").with("turn.example.org", "192.0.2.1")
    #expect(check(literal).codes == [.turnFamily])
    let second = node().with(
      "  - nodes:", "  - nodes: [{addr: 'a:1', connector: {type: relay}, dialer: {type: tls}}]\n  - nodes:")
    #expect(check(second).codes == [.chainOrder])

    #expect(check(listener("ttl: 30s")).codes == [.missingReference])
    #expect(check(listener("server: turn.example.org")).codes == [.badAddress])
    #expect(check(listener("server: 'a:3478'", addr: ":5000")).codes == [.portWithoutMeaning])
    #expect(check(listener("server: 'a:3478', allocation: ipv4, permit: ['2001:db8::7']")).codes == [.turnFamily])
    #expect(check(listener("server: 'a:3478', permit: [10.0.0.0/8]")).codes == [.badAddress])
    #expect(check(listener("server: 'a:3478'", rest: "chain: x")).codes == [.misplacedKey])
  }

  @Test("Two ends are held against each other: transport, port and user")
  func pair() {
    let server = """
      services:
      - {name: relay, addr: ":3478", handler: {type: turn, auth: {username: u, password: wonderland}}, listener: {type: udp}}

      """
    #expect(check(node(), with: server).codes.isEmpty)
    #expect(check(node(", metadata: {transport: tcp}"), with: server).codes == [.peerHasNoListener])
    #expect(check(node(), with: server.with("username: u", "username: v")).codes == [.peerAuthentication])
    #expect(check(node(), with: server.with("3478", "3479")).codes == [.peerListensElsewhere])
    #expect(
      check(
        node(),
        with: server.with("type: turn", "type: udp").with(", auth: {username: u, password: wonderland}", "")
          .with("listener: {type: udp}}", "listener: {type: udp}, forwarder: {nodes: [{addr: 'a:1'}]}}")
      ).codes == [.peerDoesNotSpeak])
  }
}
