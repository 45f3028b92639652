import Configuration
import Glibc
import LinuxNet
import Testing
import Values

@testable import Lab

@Suite("The lab's parts")
struct NetLabPartsTests {
  // MARK: - Reading

  static let good = """
    hosts:
      client: {run: client.yaml}
      server:
        run: server.yaml
    links:
    - families: [ipv6]
      between:
        client: 2001:db8:562::1/64
        server: 2001:db8:562::2/64
    - between: [client, server]
    names:
      ipv6.server.com: server
      both: [client, 192.0.2.7]
    proofs:
    - ping: {from: client, to: 10.90.57.30, count: 3, within: 4s}
    - transfer: {from: client, to: server, address: 10.90.57.30, size: 2KiB}
    - path: {host: client, service: tun-client, to: relay-node, family: ipv6, transport: [icmp6, quic]}
    - restart: {host: server, for: 2s}
    - cut: {between: [server, client]}
    - readdress: {host: client, from: 2001:db8:562::1/64, to: 2001:db8:562::9/64}
    """

  @Test("A lab is read: addresses are kept or chosen, names are resolved, interfaces are numbered")
  func reads() throws {
    let (found, diagnostics, _) = LabReader.read(name: "lab.yaml", bytes: Array(Self.good.utf8))
    #expect(diagnostics.isEmpty)
    let plan = try #require(found)
    #expect(plan.hosts.map(\.name) == ["client", "server"])
    #expect(plan.hosts.map(\.file) == ["client.yaml", "server.yaml"])
    #expect(plan.cables[0].families == [.ipv6])
    #expect(
      plan.cables[0].ends.map { $0.addresses.map(\.description) } == [["2001:db8:562::1/64"], ["2001:db8:562::2/64"]])
    #expect(plan.cables[1].ends.map(\.interface) == ["eth1", "eth1"])
    #expect(plan.cables[1].ends[1].addresses.map(\.description) == ["198.18.2.2/24", "2001:db8:2::2/64"])
    #expect(plan.names[0].addresses.map(\.description) == ["2001:db8:562::2", "198.18.2.2", "2001:db8:2::2"])
    #expect(plan.names[1].addresses.last == IPAddress("192.0.2.7"))
    guard case .ping(let ping) = plan.proofs[0].kind, case .transfer(let transfer) = plan.proofs[1].kind,
      case .path(let path) = plan.proofs[2].kind
    else {
      Issue.record("the proofs are of other kinds")
      return
    }
    #expect(ping.count == 3 && ping.within == .seconds(4))
    guard case .trouble(.restart("server", .seconds(2))) = plan.proofs[3].kind,
      case .trouble(.cut(0, .seconds(1))) = plan.proofs[4].kind,
      case .trouble(.readdress("client", _, IPPrefix("2001:db8:562::9/64"))) = plan.proofs[5].kind
    else {
      Issue.record("the trouble is of another kind")
      return
    }
    #expect(transfer.size == 2048)
    #expect(path.family == .ipv6 && path.transport == ["icmp6", "quic"] && path.evidence == nil)
  }

  @Test("A router, its clients and a firewall on a link are read")
  func routers() throws {
    let text = """
      hosts:
        router: {forwards: true}
        desk: {gateway: router}
      links:
      - between: [router, desk]
        drops: [udp, icmp6]
      proofs:
      - ping: {from: desk, to: 198.18.1.1}
      """
    let (found, diagnostics, _) = LabReader.read(name: "lab.yaml", bytes: Array(text.utf8))
    #expect(diagnostics.isEmpty)
    let plan = try #require(found)
    #expect(plan.hosts.map(\.forwards) == [true, false])
    #expect(plan.hosts.map { $0.gateway.map(\.description) } == [[], ["198.18.1.1", "2001:db8:1::1"]])
    #expect(plan.cables[0].drops == [.udp, .icmp6])
    for (old, new, code) in [
      ("forwards: true", "forwards: 1", "CV0104"), ("[udp, icmp6]", "[udp, gre]", "CV0105"),
      ("gateway: router", "gateway: nobody", "CV0202"), ("gateway: router", "gateway: desk", "CV0202"),
    ] {
      let broken = LabReader.read(name: "lab.yaml", bytes: Array(text.replacing(old, with: new).utf8))
      #expect(broken.plan == nil && broken.diagnostics.first?.code.rawValue == code, "\(new)")
    }
  }

  @Test(
    "A mistake in lab.yaml is told with its place",
    arguments: [
      ("run: server.yaml", "rum: server.yaml", "CV0102", 4),
      ("families: [ipv6]", "families: [ipv5]", "CV0105", 6),
      ("server: 2001:db8:562::2/64", "sever: 2001:db8:562::2/64", "CV0202", 9),
      ("2001:db8:562::1/64", "2001:db8:562::1", "CV0402", 8),
      ("2001:db8:562::1/64", "192.0.2.1/24", "CV0403", 8),
      ("between: [client, server]", "between: [client, client]", "CV0105", 10),
      ("ipv6.server.com: server", "ipv6.server.com: nobody", "CV0202", 12),
      ("to: 10.90.57.30", "to: there", "CV0401", 15),
      ("count: 3", "count: many", "CV0105", 15),
      ("size: 2KiB", "size: 2 apples", "CV0105", 16),
      (", address: 10.90.57.30", "", "CV0106", 16),
      ("- path", "- paths", "CV0102", 17),
      ("service: tun-client", "evidence: rumour", "CV0105", 17),
      ("host: server, for: 2s", "host: server, for: 2", "CV0105", 18),
      ("between: [server, client]", "between: [server]", "CV0202", 19),
      ("from: 2001:db8:562::1/64", "from: 2001:db8:562::7/64", "CV0202", 20),
    ])
  func mistakes(old: String, new: String, code: String, line: Int) throws {
    let parts = Self.good.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
    try #require(parts.count == 2)
    let text = parts.joined(separator: new)
    let (plan, diagnostics, sources) = LabReader.read(name: "lab.yaml", bytes: Array(text.utf8))
    #expect(plan == nil)
    let first = try #require(diagnostics.first)
    #expect(first.code.rawValue == code)
    let span = try #require(first.primary?.span)
    #expect(sources.position(of: span)?.start.line == line)
  }

  @Test("No cut of a lab file does harm")
  func truncated() {
    let bytes = Array(Self.good.utf8)
    for length in 0..<bytes.count {
      let (plan, diagnostics, _) = LabReader.read(name: "lab.yaml", bytes: Array(bytes.prefix(length)))
      #expect(plan != nil || !diagnostics.isEmpty)
    }
  }

  // MARK: - Digest

  @Test(
    "SHA-256 gives the digests of FIPS 180-4, in whatever pieces the bytes come",
    arguments: [
      ("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
      ("a", 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ])
  func digest(text: String, times: Int, expected: String) {
    let bytes = Array(String(repeating: text, count: times).utf8)
    for piece in [1 << 20, 4099, 64, 63, 7] where bytes.count / piece < 20_000 {
      var hash = SHA256()
      var offset = 0
      while offset < bytes.count {
        let end = min(offset + piece, bytes.count)
        bytes[offset..<end].withUnsafeBytes { hash.update($0) }
        offset = end
      }
      #expect(hash.finish() == expected)
    }
  }

  // MARK: - The witness

  /// A virtio header, then an Ethernet frame.
  static func frame(_ etherType: UInt16, _ packet: [UInt8], segment: UInt16 = 0, headers: UInt16 = 0) -> [UInt8] {
    var bytes: [UInt8] = [0, segment > 0 ? 5 : 0]
    for number in [headers, segment, 0, 0] { withUnsafeBytes(of: number) { bytes += $0 } }
    bytes += [UInt8](repeating: 2, count: 12)
    bytes.append(bigEndian: etherType)
    return bytes + packet
  }

  static func ipv6(_ next: UInt8, _ payload: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = [0x60, 0, 0, 0]
    bytes.append(bigEndian: UInt16(payload.count))
    bytes += [next, 64]
    bytes.append(bigEndian: UInt128(0x2001_0db8) << 96 | 1)
    bytes.append(bigEndian: UInt128(0x2001_0db8) << 96 | 2)
    return bytes + payload
  }

  static func ipv4(_ transport: UInt8, _ payload: [UInt8], options: Int = 0, fragment: UInt16 = 0) -> [UInt8] {
    var bytes: [UInt8] = [UInt8(0x45 + options), 0, 0, 0, 0, 0]
    bytes.append(bigEndian: fragment)
    bytes += [64, transport, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2] + [UInt8](repeating: 1, count: options * 4)
    return bytes + payload
  }

  static let echo6: [UInt8] = [128, 0, 0, 0, 0x12, 0x34, 0, 1]
  static let ports: [UInt8] = [0x20, 0xE5, 0xC0, 0x00, 0, 8, 0, 0]

  static func count(_ bytes: [UInt8]) -> Witness.Counts {
    var counts = Witness.Counts()
    bytes.withUnsafeBytes { Witness.count($0, size: $0.count, &counts) }
    return counts
  }

  @Test(
    "Packets are counted under their family and transport",
    arguments: [
      (frame(0x86DD, ipv6(58, echo6)), Witness.Kind.icmp6Echo),
      (frame(0x86DD, ipv6(58, [135, 0, 0, 0, 0, 0, 0, 0])), .neighbourDiscovery),
      (frame(0x86DD, ipv6(0, [58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0])), .neighbourDiscovery),
      (frame(0x86DD, ipv6(58, [1, 0, 0, 0, 0, 0, 0, 0])), .icmp6Other),
      (frame(0x86DD, ipv6(17, ports)), .udp6),
      (frame(0x86DD, ipv6(60, [6, 1] + [UInt8](repeating: 0, count: 14) + ports)), .tcp6),
      (frame(0x86DD, ipv6(44, ports)), .other6),
      (frame(0x0800, ipv4(1, [0, 0, 0, 0, 0x12, 0x34, 0, 1])), .icmpEcho),
      (frame(0x0800, ipv4(1, [3, 1, 0, 0, 0, 0, 0, 0])), .icmpOther),
      (frame(0x0800, ipv4(17, ports, options: 2)), .udp4),
      (frame(0x0800, ipv4(17, ports, fragment: 0x2001)), .other4),
      (frame(0x0806, [0, 1, 8, 0, 6, 4, 0, 1]), .arp),
      (frame(0x88CC, [0, 1]), .other),
    ])
  func kinds(bytes: [UInt8], kind: Witness.Kind) {
    let counts = Self.count(bytes)
    #expect(counts.kinds == [kind: Witness.Tally(packets: 1, bytes: bytes.count - 10)])
    // No cut of a frame does harm.
    for length in 0..<bytes.count { #expect(Self.count(Array(bytes.prefix(length))).kinds.count <= 1) }
  }

  @Test("A flow is the same in both directions and carries ports or the echo identifier")
  func flows() throws {
    let one = try #require(IPAddress("2001:db8::1"))
    let other = try #require(IPAddress("2001:db8::2"))
    #expect(
      Self.count(Self.frame(0x86DD, Self.ipv6(58, Self.echo6))).flows
        == [Witness.Flow(.icmp6Echo, Endpoint(other, port: 0x1234), Endpoint(one, port: 0x1234))])
    #expect(
      Self.count(Self.frame(0x86DD, Self.ipv6(17, Self.ports))).flows
        == [Witness.Flow(.udp6, Endpoint(one, port: 8421), Endpoint(other, port: 49152))])
  }

  @Test("An offloaded frame counts as the packets that it stands for")
  func offloaded() {
    let payload = [UInt8](repeating: 7, count: 3000)
    let headers = 14 + 40 + 8
    let bytes = Self.frame(0x86DD, Self.ipv6(17, Self.ports + payload), segment: 1200, headers: UInt16(headers))
    let tally = Self.count(bytes).kinds[.udp6]
    #expect(tally == Witness.Tally(packets: 3, bytes: 3000 + 3 * headers))
  }

  @Test("Counts survive the way from a host to the lab, and read as one line")
  func countsAsWords() {
    var counts = Self.count(Self.frame(0x86DD, Self.ipv6(58, Self.echo6)))
    counts.kinds[.neighbourDiscovery] = Witness.Tally(packets: 2, bytes: 172)
    counts.missed = 1
    let copy = Witness.Counts(words: counts.words[...])
    #expect(copy.kinds == counts.kinds && copy.flows == counts.flows && copy.missed == 1)
    #expect(
      copy.text == "IPv6: 3 packets, 234 B (ICMPv6 echo 1, neighbour discovery 2); IPv4: 0 packets; "
        + "1 packets were too fast to be looked at")
  }

  // MARK: - The path

  static func report(family: String = "IPv6", layer: String = "icmp6", evidence: String = "observed") -> String {
    """
    {"schema":1,"services":[{"name":"tun-client","summary":"x","up":true,"details":{},"connections":[{"name":"c",
    "seconds":1,"legs":[{"from":{"role":"us","name":null},"to":{"role":"hop","name":"relay-node"},
    "local":{"address":"2001:db8::1","port":4660,"evidence":"\(evidence)","interface":2},
    "remote":{"address":"2001:db8::2","port":4660,"evidence":"\(evidence)","interface":2},"family":"\(family)",
    "transport":[{"layer":"\(layer)","identifier":4660},{"layer":"quic","version":1,"alpn":"h3"},{"layer":"relay"}]},
    {"from":{"role":"hop","name":"relay-node"},"to":{"role":"target","name":"10.90.57.30:8421"},"local":null,
    "remote":null,"family":null,"transport":[]}]}]}]}
    """
  }

  static func expectation(
    to: String? = "relay-node", family: AddressFamily? = .ipv6, transport: [String] = ["icmp6", "relay"],
    evidence: String? = nil
  ) -> LabPlan.PathExpectation {
    LabPlan.PathExpectation(
      host: "client", service: "tun-client", to: to, family: family, transport: transport, evidence: evidence)
  }

  static let seen = count(frame(0x86DD, ipv6(58, echo6))).flows

  @Test("A path holds when the daemon's word, the file and the witness agree")
  func pathHolds() {
    #expect(PathProof.check(Self.report(), Self.expectation(), flows: Self.seen).faults.isEmpty)
    #expect(PathProof.check(Self.report(), Self.expectation(to: nil), flows: Self.seen).faults.isEmpty)
    let unknown = Self.expectation(to: "10.90.57.30:8421", family: nil, transport: [], evidence: "unknown")
    #expect(PathProof.check(Self.report(), unknown, flows: Self.seen).faults.isEmpty)
  }

  @Test("A path fails when one of the three disagrees, and says which")
  func pathFails() {
    func fault(_ json: String, _ expected: LabPlan.PathExpectation, _ flows: Set<Witness.Flow> = Self.seen) -> String {
      PathProof.check(json, expected, flows: flows).faults.first ?? "none"
    }
    #expect(fault(Self.report(), Self.expectation(family: .ipv4)) == "the leg to relay-node is IPv6, not IPv4")
    #expect(fault(Self.report(layer: "udp"), Self.expectation()).contains("is carried by udp / quic / relay"))
    #expect(fault(Self.report(), Self.expectation(transport: ["relay", "icmp6"])).contains("not by relay / icmp6"))
    #expect(fault(Self.report(), Self.expectation(), []).contains("was seen on the cables"))
    #expect(fault(Self.report(), Self.expectation(to: "elsewhere")) == "no leg leads to elsewhere")
    #expect(fault(Self.report(), Self.expectation(evidence: "reported")).contains("is observed, not reported"))
    #expect(fault("{\"schema\":1,\"services\":[]}", Self.expectation()).contains("no connection"))
    #expect(fault("nonsense", Self.expectation()).contains("not the JSON"))
  }

  // MARK: - The talk

  @Test("Messages arrive whole in any split, and one that is too long ends the talk")
  func messages() throws {
    var pair: [Int32] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    let lab = LabChannel(descriptor: pair[0])
    let host = LabChannel(descriptor: pair[1])
    try lab.send(LabMessage(["run", "", "a b\tc\n", "ü"]))
    try lab.send(LabMessage([]))
    #expect(try host.receive(until: Clock.now + .seconds(5)).words == ["run", "", "a b\tc\n", "ü"])
    #expect(try host.receive(until: Clock.now + .seconds(5)).words == [])
    #expect(throws: LabChannel.Failure.timedOut) { try host.receive(until: Clock.now) }
    let whole: [UInt8] = [0, 0, 0, 7, 0, 0, 0, 3, 0x61, 0x62, 0x63]
    for byte in whole {
      #expect(throws: LabChannel.Failure.timedOut) { try host.receive(until: Clock.now) }
      #expect(write(pair[0], [byte], 1) == 1)
    }
    #expect(try host.receive(until: Clock.now + .seconds(5)).words == ["abc"])
    #expect(write(pair[0], [0xFF, 0, 0, 0], 4) == 4)
    #expect(throws: LabChannel.Failure.closed) { try host.receive(until: Clock.now + .seconds(5)) }
  }

  // MARK: - Proofs on the loopback interface

  @Test(
    "A ping finds the host's own kernel, and nobody where nobody is",
    .enabled(if: NetSupport.hasNamespaces, NetSupport.reason), arguments: ["127.0.0.1", "::1"])
  func ping(target: String) throws {
    let address = try #require(IPAddress(target))
    try NetworkNamespace.make().run {
      let outcome = try EchoProof(to: address).run(count: 3, patience: .seconds(2))
      #expect(outcome.sent == 3 && outcome.received == 3)
      #expect(outcome.minimum <= outcome.average && outcome.average <= outcome.maximum)
      #expect(outcome.firstAnswer != nil)
      let nobody = try #require(IPAddress(address.family == .ipv4 ? "192.0.2.1" : "2001:db8::1"))
      let silence = try EchoProof(to: nobody).run(count: 3, patience: .milliseconds(150))
      #expect(silence.sent == 0 && silence.firstAnswer == nil)
    }
  }

  @Test("A transfer has the same digest at both ends", arguments: ["127.0.0.1", "::1"])
  func transfer(target: String) throws {
    let address = try #require(IPAddress(target))
    let receiver = try TransferProof.Receiver(at: address)
    let port = receiver.port
    let (sent, got) = try NetSupport.together(
      { try TransferProof.send(to: address, port: port, size: 1_000_001, seed: 42) }, { try receiver.run() })
    #expect(got.bytes == 1_000_001 && sent.bytes == got.bytes)
    #expect(got.digest == sent.digest)
    #expect(got.digest.count == 64)
  }
}
