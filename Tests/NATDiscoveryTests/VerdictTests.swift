/// What follows from facts: each verdict stands on one that is named, and where there is none it is unknown.
import Testing
import Values

@testable import NATDiscovery

@Suite("Verdicts")
struct VerdictTests {
  private func server(
    _ word: String, _ address: String, echo: EchoReport = .silent(requests: 3), _ transports: [TransportReport]
  ) throws -> ServerReport {
    var report = ServerReport(try ServerWord(word))
    var endpoint = EndpointReport(try #require(IPAddress(address)))
    endpoint.echo = echo
    endpoint.transports = transports
    report.endpoints = [endpoint]
    return report
  }

  private func transport(
    _ transport: ServerWord.Transport, _ place: String, _ state: TransportReport.State, connects: Bool = false
  ) -> TransportReport {
    var report = TransportReport(transport, to: endpoint(place))
    report.state = state
    report.reaches = state == .answered
    report.connects = connects || (state == .answered && transport != .udp)
    return report
  }

  private func report(_ servers: [ServerReport]) -> NetworkReport {
    var report = NetworkReport()
    report.servers = servers
    return report
  }

  private func verdict(_ transport: Verdict.Transport, _ report: NetworkReport) throws -> Verdict {
    try #require(report.verdicts.first { $0.transport == transport })
  }

  @Test("Without a single answer everything is unknown")
  func nothing() throws {
    #expect(report([]).verdicts.allSatisfy { $0.outcome == .unknown })
    let silent = try server(
      "stun:192.0.2.1", "192.0.2.1",
      [
        transport(.udp, "192.0.2.1:3478", .silent("no answer")),
        transport(.tcp, "192.0.2.1:3478", .silent("no answer")),
      ])
    let found = report([silent])
    #expect(found.verdicts.allSatisfy { $0.outcome == .unknown }, "\(found.verdicts)")
    #expect(!found.isAnything)
    #expect(found.verdicts.count == Verdict.Transport.allCases.count)
    #expect(found.verdicts.allSatisfy { !$0.reason.isEmpty })
  }

  @Test("Silence is evidence only beside an answer, and what it can mean is named")
  func silence() throws {
    let found = report([
      try server(
        "192.0.2.1", "192.0.2.1",
        [
          transport(.udp, "192.0.2.1:3478", .silent("5 requests got no answer")),
          transport(.tcp, "192.0.2.1:3478", .answered),
        ])
    ])
    let udp = try verdict(.udp, found)
    #expect(udp.outcome == .unlikely)
    #expect(udp.reason.contains("192.0.2.1:3478 answers over tcp") && udp.reason.contains("most likely first"))
    for other in [Verdict.Transport.quic, .wireguard, .wireguardBehindNAT] {
      #expect(try verdict(other, found).outcome == .unlikely)
    }
    #expect(try verdict(.icmp, found).outcome == .unlikely)
    #expect(
      try verdict(.icmp6, found)
        == Verdict(transport: .icmp6, outcome: .unknown, reason: "no server has an IPv6 address"))
    #expect(try verdict(.tcp, found).outcome == .works)
  }

  @Test("An echo alone is an answer too, and a refusal is not a closed way")
  func echoes() throws {
    let found = report([
      try server(
        "stun:192.0.2.1", "192.0.2.1", echo: .answered(.milliseconds(3), large: true),
        [
          transport(.udp, "192.0.2.1:3478", .silent("5 requests got no answer")),
          transport(.tcp, "192.0.2.1:3478", .refused("Connection refused")),
        ])
    ])
    #expect(found.isAnything)
    #expect(try verdict(.icmp, found).outcome == .works)
    #expect(try verdict(.udp, found).outcome == .unlikely)
    #expect(try verdict(.tcp, found).outcome == .unknown)
    let small = report([try server("stun:192.0.2.1", "192.0.2.1", echo: .answered(.milliseconds(3), large: false), [])])
    #expect(try verdict(.icmp, small).outcome == .fails)
    let forbidden = report([try server("stun:192.0.2.1", "192.0.2.1", echo: .notTried("it needs CAP_NET_RAW"), [])])
    #expect(try verdict(.icmp, forbidden).outcome == .unknown)
  }

  @Test("A session of TLS is evidence for TCP, also one that came to nothing")
  func tlsIsTCP() throws {
    let found = report([
      try server(
        "192.0.2.1", "192.0.2.1",
        [
          transport(.tcp, "192.0.2.1:3478", .silent("no answer")),
          transport(.tls, "192.0.2.1:443", .silent("no handshake"), connects: true),
        ])
    ])
    #expect(try verdict(.tcp, found).outcome == .works)
    #expect(try verdict(.tls, found).outcome != .works)
  }

  @Test("Relays: a grant works, a realm alone is unknown, a refusal fails with its words")
  func relays() throws {
    func relay(_ outcome: RelayDialogue.Allocation) throws -> Verdict {
      var udp = transport(.udp, "192.0.2.1:3478", .answered)
      udp.allocations = [(.ipv6, outcome)]
      return try verdict(.relay, report([try server("turn:192.0.2.1", "192.0.2.1", [udp])]))
    }
    #expect(try relay(.granted(relayed: endpoint("[2001:db8::2]:50000"), lifetime: .seconds(600))).outcome == .works)
    let named = try relay(.needsCredentials(realm: "example.org"))
    #expect(named.outcome == .unknown && named.reason.contains("example.org"))
    let refused = try relay(.refused(code: 440, reason: "Address Family not Supported"))
    #expect(
      refused.outcome == .fails && refused.reason.contains("allocation of IPv6: 440 Address Family not Supported"))
    #expect(try relay(.silent).outcome == .unknown)
    #expect(try relay(.notAsked).outcome == .unknown)
  }

  @Test("QUIC works where packets as large as its first pass, and fails where they do not", arguments: [1200, 1500])
  func quic(_ size: Int) throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .addressAndPort))
    world.pathMTU = size
    let (result, _) = try #require(world.discover(.init(linkMTU: 1500)))
    var udp = transport(.udp, "203.0.113.1:3478", .answered)
    udp.discovery = result
    let found = report([try server("stun:203.0.113.1", "203.0.113.1", [udp])])
    #expect(try verdict(.quic, found).outcome == (size >= 1228 ? .works : .fails))
    #expect(try verdict(.wireguardBehindNAT, found).outcome == .works)
  }

  @Test("Two servers that saw the same socket tell of the mapping, two sockets do not")
  func comparison() throws {
    func look(_ manner: SimulatedServer.Manner, _ mapping: SimulatedNAT.Rule) throws -> DiscoveryResult {
      let world = World(SimulatedNAT(mapping: mapping, filtering: .anyone))
      world.server.manner = manner
      return try #require(world.discover()).result
    }
    var one = transport(.udp, "203.0.113.1:3478", .answered)
    one.discovery = try look(.noOther, .anyone)
    #expect(one.discovery?.mapping.value == nil)
    var found = report([try server("stun:203.0.113.1", "203.0.113.1", [one])])
    #expect(found.nat(.ipv4)?.mapping == .unknown("the server has no second address"))
    #expect(found.nat(.ipv6) == nil)
    // The same facts from another server: the same socket, seen the same.
    var other = DiscoveryResult(server: endpoint("203.0.113.9:3478"))
    other.contact = .answered
    other.local = one.discovery?.local
    other.mapped = one.discovery?.mapped
    var second = transport(.udp, "203.0.113.9:3478", .answered)
    second.discovery = other
    found = report([
      try server("stun:203.0.113.1", "203.0.113.1", [one]), try server("stun:203.0.113.9", "203.0.113.9", [second]),
    ])
    #expect(found.nat(.ipv4)?.mapping == .known(.endpointIndependent))
    #expect(found.nat(.ipv4)?.mappingBy.count == 2)
    other.mapped = endpoint("198.51.100.7:1")
    second.discovery = other
    found.servers[1] = try server("stun:203.0.113.9", "203.0.113.9", [second])
    #expect(found.nat(.ipv4)?.mapping == .known(.dependent))
    #expect(try verdict(.wireguardBehindNAT, found).outcome == .unlikely)
    other.local = endpoint("192.168.1.5:9")
    second.discovery = other
    found.servers[1] = try server("stun:203.0.113.9", "203.0.113.9", [second])
    #expect(found.nat(.ipv4)?.mapping.value == nil)
  }
}
