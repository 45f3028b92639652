/// `culvert netcheck` in networks of known kinds: NATs of nftables, firewalls, narrow paths and relays. coturn is the
/// server, and its own `turnutils_natdiscovery` looks at the same NATs at the same time.
import Testing

/// What these tests are made with.
enum Coturn {
  static let missing = ["turnserver", "turnutils_natdiscovery"].filter {
    (try? shell("command -v \($0)").isGood) != true
  }
  static let reason: Comment = "needs turnserver and turnutils_natdiscovery (Debian: coturn)"
}

/// A server at 10.99.0.1 and 10.99.0.201 (fd00:1::1, fd00:1::c9), and for each kind a router with a client behind it:
/// 192.168.77.2, fd77::2.
private final class Routers {
  let net: Net
  let kinds: [String]

  init(_ kinds: [String]) throws {
    self.kinds = kinds
    net = try Net(["server"] + kinds.flatMap { ["r-\($0)", "c-\($0)"] })
    var commands = [
      "ip -n \(net.name("server")) addr add 10.99.0.201/24 dev eth0",
      "ip -n \(net.name("server")) addr add fd00:1::c9/64 dev eth0 nodad",
    ]
    for (place, kind) in kinds.enumerated() {
      let (router, client) = (net.name("r-\(kind)"), net.name("c-\(kind)"))
      commands += [
        "ip -n \(client) link del eth0",
        "ip -n \(client) link add lan type veth peer name lan netns \(router)",
        "ip -n \(client) addr add 192.168.77.2/24 dev lan; ip -n \(router) addr add 192.168.77.1/24 dev lan",
        "ip -n \(client) addr add fd77:\(place + 1)::2/64 dev lan nodad",
        "ip -n \(router) addr add fd77:\(place + 1)::1/64 dev lan nodad",
        "ip -n \(client) link set lan up; ip -n \(router) link set lan up",
        "ip -n \(client) route add default via 192.168.77.1; ip -n \(client) route add default via fd77:\(place + 1)::1",
        "ip netns exec \(router) sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        "ip -n \(net.name("server")) route add fd77:\(place + 1)::/64 via fd00:1::\(hexadecimal(place * 2 + 2))",
      ]
    }
    let built = try shell("set -e\n" + commands.joined(separator: "\n"))
    try #require(built.isGood, "\(built.output)")
  }

  private func hexadecimal(_ number: Int) -> String { String(number, radix: 16) }

  /// The router's address at the server's side.
  func outside(_ kind: String) -> String { "10.99.0.\((kinds.firstIndex(of: kind) ?? 0) * 2 + 2)" }

  /// Only for a kind that does not translate: the server knows the way back to its client.
  func routeBack(_ kind: String) throws {
    try net.set("server", "ip route replace 192.168.77.0/24 via \(outside(kind))")
  }

  /// Rules of nftables on a router, without the words around them: chains by their names.
  func rules(_ kind: String, _ chains: [(String, String)], sets: String = "") throws {
    let bodies = chains.map { name, body in
      let hook =
        switch name {
        case "post": "type nat hook postrouting priority 100;"
        case "pre": "type nat hook prerouting priority -100;"
        case "out": "type filter hook output priority 0;"
        default: "type filter hook forward priority 0;"
        }
      return "chain \(name)1 {\n\(hook)\n\(body)\n}\n"
    }
    let path = try net.file("\(kind).nft", "table inet t {\n\(sets)\n\(bodies.joined())}\n")
    try net.set("r-\(kind)", "nft -f \(path)")
  }

  @discardableResult
  func coturn(
    _ addresses: [String] = ["10.99.0.1", "10.99.0.201", "fd00:1::1", "fd00:1::c9"], ports: (Int, Int) = (3478, 5349),
    options: [String] = [], as name: String = "coturn"
  ) throws -> Program {
    let made = try shell(
      "cd \(net.directory) && [ -s cert.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem "
        + "-out cert.pem -days 2 -subj /CN=relay.test -addext subjectAltName=IP:10.99.0.1,DNS:relay.test 2>&1")
    try #require(made.isGood, "\(made.output)")
    let lines =
      [
        "listening-port=\(ports.0)", "tls-listening-port=\(ports.1)", "alt-listening-port=\(ports.0 + 1)",
        "alt-tls-listening-port=\(ports.1 + 1)", "realm=example.org", "cert=\(net.directory)/cert.pem",
        "pkey=\(net.directory)/key.pem", "no-cli", "no-dtls", "no-multicast-peers",
        "userdb=\(net.directory)/\(name).db",
        "pidfile=\(net.directory)/\(name).pid", "log-file=stdout",
      ] + addresses.map { "listening-ip=\($0)" } + options
    let path = try net.file("\(name).conf", lines.joined(separator: "\n") + "\n")
    let program = try net.start("server", "turnserver -c \(path)", title: name)
    let address = addresses.last.map { $0.contains(":") ? "[\($0)]" : $0 } ?? ""
    let listens = eventually(within: 10, every: 0.05) {
      (try? net.run("server", "ss -Hlnut").output.contains("\(address):\(ports.0) ")) == true
    }
    try #require(listens != nil, "\(program.log)")
    return program
  }

  /// Starts a check behind a router.
  func netcheck(_ kind: String, _ words: String) throws -> Program {
    try net.start("c-\(kind)", "\(Machine.culvert) netcheck \(words)", title: kind)
  }

  /// What it printed, when it has ended.
  func end(_ program: Program, within limit: Double = 20) throws -> String {
    try #require(program.wait(within: limit) != nil, "\(program.title) does not end: \(program.log)")
    return program.log
  }
}

extension Tunnels {
  @Suite("Checks of the network", .enabled(if: Coturn.missing.isEmpty, Coturn.reason))
  struct NetcheckTests {
    /// The value of a key of the first NAT in a report.
    private func value(_ key: String, _ json: String) -> String {
      guard let nat = json.firstRange(of: "\"nat\":{"),
        let place = json[nat.upperBound...].firstRange(of: "\"\(key)\":\"")
      else { return "nothing" }
      return String(json[place.upperBound...].prefix { $0 != "\"" })
    }

    private func outcome(_ transport: String, _ json: String) -> String {
      guard let place = json.firstRange(of: "{\"transport\":\"\(transport)\",\"outcome\":\"") else { return "nothing" }
      return String(json[place.upperBound...].prefix { $0 != "\"" })
    }

    // MARK: NATs

    @Test("Each kind of NAT that nftables makes is told, and coturn's own tool tells the same")
    func kinds() throws {
      let expected: [(kind: String, mapping: String, filtering: String, hairpin: String, ports: String)] = [
        ("masquerade", "endpoint-independent", "address-and-port-dependent", "no", "yes"),
        ("range", "endpoint-independent", "address-and-port-dependent", "no", "no"),
        ("random", "address-and-port-dependent", "address-and-port-dependent", "no", "no"),
        ("fully", "address-and-port-dependent", "address-and-port-dependent", "no", "no"),
        ("byaddress", "address-dependent", "address-and-port-dependent", "no", "no"),
        ("cone", "endpoint-independent", "endpoint-independent", "no", "yes"),
        ("hairpin", "endpoint-independent", "endpoint-independent", "yes", "yes"),
        ("restricted", "endpoint-independent", "address-dependent", "no", "yes"),
        ("firewall", "no-nat", "address-and-port-dependent", "unknown", "yes"),
      ]
      let routers = try Routers(expected.map(\.kind))
      let net = routers.net
      defer { net.close() }
      let inward = "iifname eth0 ip daddr 10.99.0.0/24 meta l4proto udp"
      try routers.rules("masquerade", [("post", "oifname eth0 masquerade")])
      try routers.rules("range", [("post", "oifname eth0 meta l4proto udp masquerade to :20000-29999")])
      try routers.rules("random", [("post", "oifname eth0 masquerade random")])
      try routers.rules("fully", [("post", "oifname eth0 masquerade fully-random")])
      try routers.rules(
        "byaddress",
        [
          (
            "post",
            "oifname eth0 ip daddr 10.99.0.1 meta l4proto udp masquerade to :10000-19999\n"
              + "oifname eth0 meta l4proto udp masquerade to :20000-29999"
          )
        ])
      try routers.rules("cone", [("post", "oifname eth0 masquerade"), ("pre", "\(inward) dnat ip to 192.168.77.2")])
      try routers.rules(
        "hairpin",
        [
          ("post", "ip saddr 192.168.77.0/24 masquerade"),
          ("pre", "ip daddr \(routers.outside("hairpin")) meta l4proto udp dnat ip to 192.168.77.2"),
        ])
      try routers.rules(
        "restricted",
        [
          ("post", "oifname eth0 masquerade"),
          ("forward", "iifname lan meta l4proto udp update @seen { ip daddr . udp sport }"),
          ("pre", "\(inward) ip saddr . udp dport @seen dnat ip to 192.168.77.2"),
        ], sets: "set seen {\ntype ipv4_addr . inet_service\nflags dynamic,timeout\ntimeout 60s\n}")
      try routers.rules("firewall", [("forward", "ct state established,related accept\niifname lan accept\ndrop")])
      try routers.routeBack("firewall")
      try routers.coturn(options: ["no-auth"])
      var checks: [(ours: Program, theirs: Program)] = []
      for (kind, _, _, _, _) in expected {
        checks.append(
          (
            try routers.netcheck(kind, "stun:10.99.0.1 --json"),
            try net.start("c-\(kind)", "turnutils_natdiscovery -m -f 10.99.0.1", title: "\(kind), natdiscovery")
          ))
      }
      // As coturn's tool words it.
      let theirs = [
        "endpoint-independent": "Endpoint Independent", "address-dependent": "Address Dependent",
        "address-and-port-dependent": "Address and Port Dependent",
      ]
      for (check, (kind, mapping, filtering, hairpin, ports)) in zip(checks, expected) {
        let json = try routers.end(check.ours)
        #expect(value("mapping", json) == mapping, "\(kind): \(json)")
        #expect(value("filtering", json) == filtering, "\(kind): \(json)")
        #expect(value("hairpin", json) == hairpin, "\(kind): \(json)")
        #expect(value("portPreservation", json) == ports, "\(kind): \(json)")
        let outside = kind == "firewall" ? "192.168.77.2" : routers.outside(kind)
        #expect(json.contains("\"outside\":[\"\(outside)\"]"), "\(kind): \(json)")
        let isEasy = ["endpoint-independent", "no-nat"].contains(mapping)
        #expect(outcome("wireguard-behind-nat", json) == (isEasy ? "works" : "unlikely"), "\(kind): \(json)")
        #expect(outcome("wireguard", json) == "works" && outcome("quic", json) == "works", "\(kind): \(json)")
        // It does not know of hosts without a translation.
        let report = try routers.end(check.theirs)
        if let word = theirs[mapping] { #expect(report.contains("NAT with \(word) Mapping!"), "\(kind): \(report)") }
        if let word = theirs[filtering] {
          #expect(report.contains("NAT with \(word) Filtering!"), "\(kind): \(report)")
        }
      }
    }

    @Test("Two servers without second addresses tell together whether a mapping depends on the address")
    func twoServers() throws {
      let routers = try Routers(["masquerade", "random"])
      defer { routers.net.close() }
      try routers.rules("masquerade", [("post", "oifname eth0 masquerade")])
      try routers.rules("random", [("post", "oifname eth0 masquerade random")])
      try routers.coturn(["10.99.0.1"], options: ["no-auth"], as: "one")
      try routers.coturn(["10.99.0.201"], options: ["no-auth"], as: "other")
      let one = try routers.netcheck("masquerade", "stun:10.99.0.1 --json")
      let both = try ["masquerade", "random"].map { try routers.netcheck($0, "stun:10.99.0.1 stun:10.99.0.201 --json") }
      let alone = try routers.end(one)
      #expect(value("mapping", alone) == "unknown", "\(alone)")
      #expect(value("mappingReason", alone) == "the server has no second address", "\(alone)")
      for (program, mapping) in zip(both, ["endpoint-independent", "dependent"]) {
        let json = try routers.end(program)
        #expect(value("mapping", json) == mapping, "\(json)")
        #expect(json.contains("\"mappingBy\":[\"10.99.0.1:3478\",\"10.99.0.201:3478\"]"), "\(json)")
        #expect(value("filtering", json) == "unknown", "\(json)")
      }
    }

    @Test("Our own relay tells NATs by its second address, in both families, and how long they remember")
    func ownRelay() throws {
      let expected = [
        ("masquerade", "endpoint-independent", "address-and-port-dependent"),
        ("random", "address-and-port-dependent", "address-and-port-dependent"),
        ("cone", "endpoint-independent", "endpoint-independent"),
      ]
      let routers = try Routers(expected.map(\.0))
      let net = routers.net
      defer { net.close() }
      try routers.rules("masquerade", [("post", "oifname eth0 masquerade")])
      try routers.net.set("r-masquerade", "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2")
      try routers.rules("random", [("post", "oifname eth0 masquerade random")])
      try routers.rules(
        "cone",
        [
          ("post", "oifname eth0 masquerade"),
          ("pre", "iifname eth0 ip daddr 10.99.0.0/24 meta l4proto udp dnat ip to 192.168.77.2"),
        ])
      let services = [
        ("tcp", "10.99.0.1", "10.99.0.201"), ("udp", "10.99.0.1", "10.99.0.201"),
        ("udp", "[fd00:1::1]", "[fd00:1::c9]"),
      ].enumerated().map { place, service in
        Write.service(
          "turn-\(place)", "\(service.1):3478",
          "{type: turn, auth: {username: ann, password: secret}, metadata: {realm: example.org, "
            + "alternate: [\"\(service.2):3479\"]}}", on: service.0)
      }
      try net.culvert("server", Write.file(services))
      let checks = try expected.map { kind, _, _ in
        let lifetime = kind == "masquerade" ? "--lifetime 4" : ""
        return try routers.netcheck(
          kind, "turn:10.99.0.1 turn:[fd00:1::1]?transport=udp --user ann --password secret --json \(lifetime)")
      }
      for (program, (kind, mapping, filtering)) in zip(checks, expected) {
        let json = try routers.end(program)
        #expect(value("mapping", json) == mapping, "\(kind): \(json)")
        #expect(value("filtering", json) == filtering, "\(kind): \(json)")
        #expect(json.contains("\"secondAddress\":\"10.99.0.201:3479\""), "\(kind): \(json)")
        #expect(json.contains("\"secondAddress\":\"[fd00:1::c9]:3479\""), "\(kind): \(json)")
        // The rules translate IPv6 as well.
        #expect(
          json.contains("\"mapping\":\"\(mapping)\",\"mappingBy\":[\"[fd00:1::1]:3478\"]"), "\(kind): \(json)")
        #expect(json.ranges(of: "\"pathMTU\":{\"state\":\"whole\",\"bytes\":1500").count == 2, "\(kind): \(json)")
        #expect(json.ranges(of: "{\"family\":\"ipv4\",\"state\":\"granted\"").count == 3, "\(kind): \(json)")
        if kind == "masquerade" {
          #expect(json.contains(/"lifetime":\{"atLeastSeconds":[12],"lessThanSeconds":[235]\}/), "\(json)")
        }
      }
    }

    @Test("A binding's lifetime is measured where the user asks for it")
    func lifetime() throws {
      let routers = try Routers(["short"])
      defer { routers.net.close() }
      try routers.rules("short", [("post", "oifname eth0 masquerade")])
      try routers.net.set("r-short", "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2")
      try routers.coturn(options: ["no-auth"])
      let json = try routers.end(try routers.netcheck("short", "stun:10.99.0.1 --lifetime 5 --json"))
      // The kernel looks every second or so.
      #expect(json.contains(/"lifetime":\{"atLeastSeconds":[12],"lessThanSeconds":[235]\}/), "\(json)")
    }

    // MARK: Firewalls and paths

    @Test("What a firewall lets through is told from what it drops, transport by transport")
    func firewalls() throws {
      let kinds = ["icmp", "https", "v6", "none", "noudp"]
      let routers = try Routers(kinds)
      defer { routers.net.close() }
      for kind in kinds where kind != "v6" { try routers.rules(kind, [("post", "oifname eth0 masquerade")]) }
      func only(_ kind: String, _ accepted: String) throws {
        let path = try routers.net.file(
          "\(kind)2.nft", "table inet f {\nchain c {\ntype filter hook forward priority 0;\n\(accepted)\ndrop\n}\n}\n")
        try routers.net.set("r-\(kind)", "nft -f \(path)")
      }
      try only("icmp", "meta l4proto icmp accept")
      try only("https", "tcp dport 443 accept\ntcp sport 443 accept")
      try only("v6", "meta nfproto ipv6 accept")
      try only("none", "")
      try only("noudp", "meta l4proto tcp accept\nmeta l4proto icmp accept")
      try routers.coturn(ports: (3478, 443), options: ["no-auth"])
      let servers = "10.99.0.1:3478 turns:10.99.0.1:443 [fd00:1::1]:3478 --ca \(routers.net.directory)/cert.pem --json"
      let checks = try kinds.map { try routers.netcheck($0, servers) }
      let names = ["udp", "tcp", "tls", "quic", "icmp", "icmp6", "wireguard", "relay"]
      let (yes, no, open) = ("works", "unlikely", "unknown")
      let expected: [[String]] = [
        [no, no, no, no, yes, open, no, open],
        [no, yes, yes, no, no, open, no, yes],
        [yes, yes, yes, yes, open, yes, yes, yes],
        Array(repeating: open, count: 8),
        [no, yes, yes, no, yes, no, no, yes],
      ]
      for (program, words) in zip(checks, expected) {
        let json = try routers.end(program)
        for (name, word) in zip(names, words) {
          #expect(outcome(name, json) == word, "\(program.title), \(name): \(json)")
        }
        #expect(program.ended == .exit(program.title == "none" ? 1 : 0))
        let milliseconds = json.firstMatch(of: /"milliseconds":(\d+)/).flatMap { Int($0.1) } ?? .max
        #expect(milliseconds < 10_500, "\(json)")
      }
    }

    @Test("A narrow path is found, and told from a black hole")
    func sizes() throws {
      let routers = try Routers(["told", "hole", "whole"])
      defer { routers.net.close() }
      for kind in ["told", "hole"] { try routers.net.set("r-\(kind)", "ip link set eth0 mtu 1300") }
      for kind in ["told", "whole"] { try routers.rules(kind, [("post", "oifname eth0 masquerade")]) }
      try routers.rules(
        "hole",
        [
          ("post", "oifname eth0 masquerade"),
          ("out", "icmp type destination-unreachable drop\nicmpv6 type packet-too-big drop"),
        ])
      try routers.coturn(options: ["no-auth"])
      let checks = try ["told", "hole", "whole"].map {
        (try routers.netcheck($0, "stun:10.99.0.1 stun:[fd00:1::1] --json"), $0)
      }
      let words = [
        "told": "{\"state\":\"told\",\"bytes\":1300,\"linkMTU\":1500}",
        "hole": "{\"state\":\"black-hole\",\"bytes\":1300,\"linkMTU\":1500}",
        "whole": "{\"state\":\"whole\",\"bytes\":1500,\"linkMTU\":1500}",
      ]
      for (program, kind) in checks {
        let json = try routers.end(program)
        #expect(json.ranges(of: "\"pathMTU\":\(words[kind] ?? "")").count == 2, "\(kind): \(json)")
      }
    }

    // MARK: Relays

    @Test("Relays grant allocations of both families to those with a name, over each transport")
    func relays() throws {
      let routers = try Routers(["direct"])
      let net = routers.net
      defer { net.close() }
      try routers.routeBack("direct")
      try routers.coturn(options: ["lt-cred-mech", "user=ann:secret", "relay-ip=10.99.0.1", "relay-ip=fd00:1::1"])
      try routers.coturn(
        ["10.99.0.201"], ports: (4478, 6349), options: ["use-auth-secret", "static-auth-secret=shared"], as: "other")
      let ca = "--ca \(net.directory)/cert.pem"
      let good = try routers.netcheck(
        "direct",
        "turn:10.99.0.1 turns:10.99.0.1 turn:[fd00:1::1]?transport=udp --user ann --password secret \(ca) --json")
      let wrong = try routers.netcheck("direct", "turn:10.99.0.1?transport=udp --user ann --password wrong --json")
      let nobody = try routers.netcheck("direct", "turn:10.99.0.1?transport=tcp --json")
      let secret = try routers.netcheck("direct", "turn:10.99.0.201:4478 --secret shared --user ann --json")
      let strange = try routers.netcheck("direct", "turns:10.99.0.1")
      let json = try routers.end(good)
      #expect(
        json.ranges(of: "{\"family\":\"ipv4\",\"state\":\"granted\",\"relayed\":\"10.99.0.1:").count == 4, "\(json)")
      #expect(
        json.ranges(of: "{\"family\":\"ipv6\",\"state\":\"granted\",\"relayed\":\"[fd00:1::1]:").count == 4, "\(json)")
      #expect(outcome("relay", json) == "works" && outcome("tls", json) == "works", "\(json)")
      #expect(!json.contains("certificateProblem"), "\(json)")
      let refused = try routers.end(wrong)
      #expect(refused.contains("\"state\":\"refused\",\"code\":401"), "\(refused)")
      #expect(outcome("relay", refused) == "fails", "\(refused)")
      let asked = try routers.end(nobody)
      #expect(asked.contains("\"state\":\"needs-credentials\",\"realm\":\"example.org\""), "\(asked)")
      #expect(outcome("relay", asked) == "unknown", "\(asked)")
      let timed = try routers.end(secret)
      #expect(timed.contains("\"state\":\"granted\",\"relayed\":\"10.99.0."), "\(timed)")
      let text = try routers.end(strange)
      #expect(text.contains("certificate not accepted: The certificate issuer is unknown"), "\(text)")
      #expect(
        text.contains(/tls +10\.99\.0\.1:5349: answers in [\d.]+ ms, TLS1\.[23], sees 192\.168\.77\.2:/), "\(text)")
    }

    @Test("Without privileges echoes are unknown, and the rest is found out all the same")
    func unprivileged() throws {
      let routers = try Routers(["direct"])
      defer { routers.net.close() }
      try routers.routeBack("direct")
      try routers.coturn(options: ["no-auth"])
      let program = try routers.net.start(
        "c-direct",
        "setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "
          + "\(Machine.culvert) netcheck stun:10.99.0.1 --json")
      let json = try routers.end(program)
      #expect(json.contains("an ICMP echo needs CAP_NET_RAW, or a group in net.ipv4.ping_group_range"), "\(json)")
      #expect(outcome("icmp", json) == "unknown" && outcome("udp", json) == "works", "\(json)")
      #expect(value("mapping", json) == "no-nat", "\(json)")
    }

    // MARK: Words

    @Test("Servers come from a configuration, and no server is built in")
    func configuration() throws {
      let routers = try Routers(["direct"])
      let net = routers.net
      defer { net.close() }
      try routers.routeBack("direct")
      try routers.coturn(options: ["lt-cred-mech", "user=ann:secret", "relay-ip=10.99.0.1"])
      let node = { (host: String, transport: String) in
        "{name: \(transport), addr: \"\(host):3478\", connector: {type: turn, auth: {username: ann, password: secret}}, "
          + "dialer: {type: turn, metadata: {transport: \(transport), family: ipv4}}}"
      }
      let path = try net.file(
        "client.yaml",
        """
        services:
        - name: forward
          addr: 127.0.0.1:9000
          handler: {type: udp, chain: out}
          listener: {type: udp}
          forwarder: {nodes: [{name: target, addr: "10.99.0.1:9"}]}
        chains:
        - name: out
          hops: [{name: hop, nodes: [\(node("10.99.0.1", "udp")), \(node("10.99.0.1", "tcp"))]}]

        """)
      let json = try routers.end(try routers.netcheck("direct", "-C \(path) --json"))
      #expect(json.contains("\"server\":\"turn:10.99.0.1:3478?transport=udp\""), "\(json)")
      #expect(json.contains("\"server\":\"turn:10.99.0.1:3478?transport=tcp\""), "\(json)")
      #expect(json.ranges(of: "{\"family\":\"ipv4\",\"state\":\"granted\"").count == 2, "\(json)")
      let none = try net.run("c-direct", "\(Machine.culvert) netcheck")
      #expect(none.ending == .exit(64) && none.output.contains("none is built in"), "\(none.output)")
      let bad = try net.run("c-direct", "\(Machine.culvert) netcheck turns:10.99.0.1?transport=udp")
      #expect(bad.ending == .exit(64) && bad.output.contains("DTLS is not supported"), "\(bad.output)")
      let nowhere = try net.run("c-direct", "\(Machine.culvert) netcheck stun:192.0.2.1 --timeout 1 --json")
      #expect(nowhere.ending == .exit(1) && outcome("udp", nowhere.output) == "unknown", "\(nowhere.output)")
    }
  }
}
