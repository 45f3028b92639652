/// Chains of several hops over mixed transports, and groups of nodes of which one is chosen for each connection: a dead
/// node costs nobody a connection, and each strategy keeps its word.
import Testing

extension Tunnels {
  @Suite("Hops")
  struct HopTests {
    private static let chains: [(name: String, hops: [String])] = [
      ("tls-ws", ["relay/tls", "relay/ws"]),
      ("wss-mtls", ["relay/wss", "relay/mtls"]),
      ("mws-mwss", ["relay/mws", "relay/mwss"]),
      ("three", ["relay/tls", "relay/mtcp", "relay/wss"]),
      ("socks5-http", ["socks5/tcp", "http/tls"]),
      ("mixed", ["http/wss", "socks5/mws", "relay/tcp"]),
      ("socks4-quic", ["relay/quic", "socks4/tcp"]),
      ("muxes", ["relay/mtls", "socks5/mws", "http/mtcp"]),
      ("icmp-first", ["relay/icmp6", "relay/tls"]),
    ]

    @Test("Two and three hops over mixed transports", arguments: Peer.all)
    func hops(_ peer: Peer) throws {
      let net = try Net(["client", "first", "second", "third", "far"])
      defer { net.close() }
      try net.targets("far")
      for (place, host) in ["first", "second", "third"].enumerated() {
        // With GOST at one end, the hop in the middle is ours in any case.
        if peer == .gostServer, place != 1 {
          try net.gost(host, Self.everything)
        } else {
          try net.culvert(host, Self.everything)
        }
      }
      // GOST's client cuts off large exchanges where a multiplexing hop stands before the last of three, also with
      // itself at every hop.
      let chains = Self.chains.filter { peer != .gostClient || !["three", "mixed"].contains($0.name) }
      let services = chains.enumerated().flatMap { place, chain in
        [
          Write.service(
            "\(chain.name)-wait", "127.0.0.1:\(9000 + 2 * place)", "{type: tcp, chain: \(chain.name)}",
            to: "10.99.0.5:7000"),
          Write.service(
            "\(chain.name)-first", "127.0.0.1:\(9001 + 2 * place)", "{type: tcp, chain: \(chain.name)}",
            to: "10.99.0.5:7001"),
        ]
      }
      let configuration = Write.file(services, chains.map { Write.chain($0.name, Self.nodes($0.hops)) })
      if peer == .gostClient {
        try net.gost("client", configuration)
      } else {
        try net.culvert("client", configuration)
      }
      try net.expectStreams(
        "client",
        chains.enumerated().map { place, chain in
          "\(chain.name)=127.0.0.1:\(9000 + 2 * place),127.0.0.1:\(9001 + 2 * place)"
        })
    }

    @Test("`path` shows each hop of a connection, with its bytes and our round trip")
    func path() throws {
      let net = try Net(["client", "first", "second", "far"])
      defer { net.close() }
      try net.targets("far")
      for host in ["first", "second"] { try net.culvert(host, Self.everything) }
      let client = try net.culvert(
        "client",
        Write.file(
          [Write.service("forward", "127.0.0.1:9000", "{type: tcp, chain: two}", to: "10.99.0.4:7001")],
          [Write.chain("two", Self.nodes(["relay/tls", "relay/ws"]))]))
      let user = try net.start(
        "client", "python3 \(Machine.tools)/streams.py hold 127.0.0.1:9000", title: "user")
      try #require(user.says("hello", within: 10) != nil, net.story)
      let json = try client.path("--json")
      #expect(
        json.contains("\"from\":{\"role\":\"us\",\"name\":null},\"to\":{\"role\":\"hop\",\"name\":\"node-0\"}"),
        "\(json)")
      #expect(
        json.contains("\"from\":{\"role\":\"hop\",\"name\":\"node-0\"},\"to\":{\"role\":\"hop\",\"name\":\"node-1\"}"),
        "\(json)")
      #expect(json.contains("\"role\":\"target\",\"name\":\"10.99.0.4:7001\""), "\(json)")
      #expect(json.contains("\"layer\":\"websocket\""), "\(json)")
      #expect(json.contains(/"roundTripMicroseconds":[1-9]/), "\(json)")
      #expect(json.contains(/"bytes":\{"forth":\d+,"back":[1-9]/), "\(json)")
      #expect(json.contains("\"address\":\"10.99.0.2\",\"port\":8402,\"evidence\":\"observed\""), "\(json)")
    }

    // MARK: Groups

    @Test("`round` spreads connections evenly, and a dead node costs nobody one", arguments: [false, true])
    func round(ofTargets: Bool) throws {
      try inGroup("round", ofTargets: ofTargets) { net, group in
        let spread = try net.greetings("client", "127.0.0.1:9000", 6).map(\.mark)
        #expect(Set(spread).count == 3, "\(spread)\(net.story)")
        for mark in Set(spread) { #expect(spread.filter { $0 == mark }.count == 2, "\(spread)") }
        group.kill("second")
        let left = try net.greetings("client", "127.0.0.1:9000", 8).map(\.mark)
        #expect(Set(left) == ["first", "third"], "\(left)\(net.story)")
        #expect(left.filter { $0 == "first" }.count >= 3 && left.filter { $0 == "third" }.count >= 3, "\(left)")
      }
    }

    @Test("`fifo` stays with the first that is alive, and comes back to it", arguments: [false, true])
    func fifo(ofTargets: Bool) throws {
      try inGroup("fifo", ofTargets: ofTargets, failTimeout: 1) { net, group in
        try #expect(Set(net.greetings("client", "127.0.0.1:9000", 4).map(\.mark)) == ["first"], net.story)
        group.kill("first")
        try #expect(Set(net.greetings("client", "127.0.0.1:9000", 4).map(\.mark)) == ["second"], net.story)
        try group.start("first")
        let back = eventually(within: 8, every: 0.2) {
          (try? net.greetings("client", "127.0.0.1:9000").map(\.mark)) == ["first"]
        }
        #expect(back != nil, "it never came back\n\(net.story)")
      }
    }

    @Test("`hash` keeps a client at its node while that is alive", arguments: [false, true])
    func hash(ofTargets: Bool) throws {
      try inGroup("hash", ofTargets: ofTargets) { net, group in
        let before = Set(try net.greetings("client", "127.0.0.1:9000", 6).map(\.mark))
        #expect(before.count == 1, "\(before)\(net.story)")
        group.kill(try #require(before.first))
        let after = Set(try net.greetings("client", "127.0.0.1:9000", 6).map(\.mark))
        #expect(after.count == 1 && after.isDisjoint(with: before) && !after.contains("nobody"), "\(after)\(net.story)")
      }
    }

    @Test("`random` goes by the weights")
    func random() throws {
      let weights = ["second": "weight: 50", "third": "weight: 1", "first": "weight: 1"]
      try inGroup("random", ofTargets: false, metadata: weights) { net, _ in
        let marks = try net.greetings("client", "127.0.0.1:9000", 30).map(\.mark)
        #expect(marks.filter { $0 == "second" }.count >= 20, "\(marks)")
        #expect(!marks.contains("nobody"), "\(marks)\(net.story)")
      }
    }

    @Test("A backup is used only while all others are dead", arguments: [false, true])
    func backup(ofTargets: Bool) throws {
      try inGroup("round", ofTargets: ofTargets, metadata: ["third": "backup: true"]) { net, group in
        try #expect(Set(net.greetings("client", "127.0.0.1:9000", 6).map(\.mark)) == ["first", "second"], net.story)
        group.kill("first")
        try #expect(Set(net.greetings("client", "127.0.0.1:9000", 4).map(\.mark)) == ["second"], net.story)
        group.kill("second")
        try #expect(Set(net.greetings("client", "127.0.0.1:9000", 4).map(\.mark)) == ["third"], net.story)
      }
    }

    @Test("Where every node is dead a connection ends soon, and the next node that lives is found")
    func allDead() throws {
      try inGroup("round", ofTargets: false) { net, group in
        for host in ["first", "second", "third"] { group.kill(host) }
        let start = now()
        try #expect(net.greetings("client", "127.0.0.1:9000").map(\.mark) == ["nobody"])
        #expect(now() - start < 5, "\(now() - start) s")
        try group.start("third")
        let found = eventually(within: 5, every: 0.1) {
          (try? net.greetings("client", "127.0.0.1:9000").map(\.mark)) == ["third"]
        }
        #expect(found != nil, net.story)
      }
    }

    // MARK: Helpers

    /// The members of a group, by host.
    private final class Group {
      private let starting: (String) throws -> Program
      private var running: [String: Program] = [:]

      init(_ starting: @escaping (String) throws -> Program) { self.starting = starting }

      func start(_ host: String) throws { running[host] = try starting(host) }
      func kill(_ host: String) { running[host]?.kill() }
    }

    /// Three nodes, or three targets, in a group.
    private func inGroup(
      _ strategy: String, ofTargets: Bool, failTimeout: Int = 30, metadata: [String: String] = [:],
      _ body: (Net, Group) throws -> Void
    ) throws {
      let hosts = ["first", "second", "third"]
      let net = try Net(["client", "first", "second", "third", "far"])
      defer { net.close() }
      if !ofTargets { try net.targets("far") }
      let group = Group { host in
        ofTargets
          ? try net.targets(host, as: host)
          : try net.culvert(
            host, Write.file([Write.service("relay", ":8443", "{type: relay, metadata: {nodelay: true}}", on: "tls")])
          ).program
      }
      for host in hosts { try group.start(host) }
      let more = { (host: String) in metadata[host].map { "metadata: {\($0)}" } ?? "" }
      let selector = "selector: {strategy: \(strategy), maxFails: 1, failTimeout: \(failTimeout)s}"
      if ofTargets {
        let targets = hosts.enumerated().map { "10.99.0.\($0 + 2):7001 \(more($1))" }.joined(separator: ",")
        try net.culvert(
          "client",
          Write.file([Write.service("forward", "127.0.0.1:9000", "tcp", to: targets, selector: "\(selector), ")]))
      } else {
        let nodes = hosts.enumerated().map { place, host in
          Write.node(
            host, "10.99.0.\(place + 2):8443", "{type: relay, metadata: {nodelay: true}}", over: "tls",
            more: more(host).isEmpty ? "" : ", \(more(host))")
        }
        try net.culvert(
          "client",
          Write.file(
            [Write.service("forward", "127.0.0.1:9000", "{type: tcp, chain: group}", to: "10.99.0.5:7001")],
            [Write.chain("group", [nodes.joined(separator: ", ")], selector: selector)]))
      }
      try body(net, group)
    }

    /// Every protocol of a proxy over every transport that the chains need, each at a port of its own.
    private static var everything: String {
      Write.file(
        Proxy.allCases.flatMap { proxy in
          Transport.allCases.filter { $0 != .icmp && $0 != .icmp6 || proxy == .relay }.map { transport in
            Write.service(
              "\(proxy.rawValue)-\(transport.rawValue)", ":\(Self.port(proxy, transport))",
              proxy == .relay ? "{type: relay, metadata: {nodelay: true}}" : proxy.rawValue, on: transport.rawValue)
          }
        })
    }

    private enum Proxy: String, CaseIterable {
      case relay, http, socks5, socks4
    }

    private static func port(_ proxy: Proxy, _ transport: Transport) -> Int {
      transport.port == 0 ? 0 : transport.port + 20 * (Proxy.allCases.firstIndex(of: proxy) ?? 0)
    }

    /// Nodes for hops written as `protocol/transport`, the first of them at host number 2.
    private static func nodes(_ hops: [String]) -> [String] {
      hops.enumerated().map { place, hop in
        let words = hop.split(separator: "/").map(String.init)
        guard let proxy = Proxy(rawValue: words[0]), let transport = Transport(rawValue: words[1]) else { return hop }
        let host = (transport == .icmp6 ? Family.v6 : .v4).address(place + 2)
        return Write.node(
          "node-\(place)", "\(host):\(port(proxy, transport))",
          proxy == .relay ? "{type: relay, metadata: {nodelay: true}}" : proxy.rawValue, over: transport.rawValue)
      }
    }
  }
}

/// Who stands at the ends of a test.
enum Peer: String, CaseIterable, CustomTestStringConvertible, Sendable {
  case culvert, gostServer, gostClient

  /// Those that can be here.
  static var all: [Peer] { Gost.program == nil ? [.culvert] : allCases }

  var testDescription: String {
    switch self {
    case .culvert: "Culvert alone"
    case .gostServer: "GOST at the far end"
    case .gostClient: "GOST at the near end"
    }
  }
}

extension Greeting {
  /// Which of the hosts first, second and third it came from, or through.
  fileprivate var mark: String {
    if ["first", "second", "third"].contains(name) { return name }
    switch client {
    case "10.99.0.2": return "first"
    case "10.99.0.3": return "second"
    case "10.99.0.4": return "third"
    default: return "nobody"
    }
  }
}
