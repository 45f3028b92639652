import CryptoPrimitives
import Testing
import Values

@testable import Configuration

/// Files of `wg-quick`, and services with a WireGuard interface.
@Suite("WireGuard in files") struct WireGuardFileTests {
  static let own = ExampleFile.privateKey
  static let peer = ExampleFile.peerKey
  static let other = ExampleFile.otherKey

  static let whole = """
    # The office.
    [Interface]
    PrivateKey = \(own)  # secret
    address = 10.7.0.1/24, fd07::1/64
    Address = 10.8.0.1
    LISTENPORT=51820
    FwMark = 0xca6c
    DNS = 10.7.0.53, fd07::53, office.example
    MTU = 1400
    Table = off
    PostUp = iptables -A FORWARD -i %i -j ACCEPT; echo "up \\ %i"
    PostUp = true
    PreDown = iptables -D FORWARD -i %i -j ACCEPT
    SaveConfig = false

    [Peer]
    PublicKey = \(peer)
    PresharedKey = \(other)
    AllowedIPs = 10.7.0.2/32, fd07::2/128
    AllowedIPs = 192.168.9.0/24
    Endpoint = [2001:db8::7]:51820
    PersistentKeepalive = 25

    [Peer]
    PublicKey = \(other)
    AllowedIPs =
    AllowedIPs = 10.7.0.3
    PersistentKeepalive = off
    """

  private func load(_ text: String, name: String = "/etc/wireguard/office.conf") -> CheckReport {
    Checker.check([(name: name, bytes: Array(text.utf8))])
  }

  @Test("A file of wg-quick becomes a service with all that it says")
  func everything() throws {
    let report = load(Self.whole)
    #expect(report.diagnostics.isEmpty, "\(report.diagnostics.map(\.message))")
    let service = try #require(report.configuration?.services.first)
    #expect(service.name.value == "office")
    #expect(service.interfaceName == "office")
    #expect(service.isWireGuard)
    #expect(service.address == HostPort(host: "", port: 51820))
    #expect(service.mark?.value == 0xca6c)
    #expect(service.handler.metadata.secret("privateKey")?.reveal() == Self.own)
    #expect(service.nets.map(\.value.description) == ["10.7.0.1/24", "fd07::1/64", "10.8.0.1/32"])
    let listener = service.listener.metadata
    #expect(listener.addresses("dns").map(\.description) == ["10.7.0.53", "fd07::53"])
    #expect(listener.strings("domains") == ["office.example"])
    #expect(listener.int("mtu") == 1400)
    #expect(listener.string("table") == "off")
    #expect(service.tunRoutes.isEmpty)
    #expect(
      service.metadata.strings("postUp") == [
        #"sh -c "iptables -A FORWARD -i office -j ACCEPT; echo \"up \\ office\"""#, #"sh -c "true""#,
      ])
    #expect(service.metadata.strings("preDown") == [#"sh -c "iptables -D FORWARD -i office -j ACCEPT""#])
    let peers = service.peers
    try #require(peers.count == 2)
    #expect(peers[0].settings.string("publicKey") == Self.peer)
    #expect(peers[0].settings.secret("presharedKey")?.reveal() == Self.other)
    #expect(peers[0].allowedIPs.map(\.value.description) == ["10.7.0.2/32", "fd07::2/128", "192.168.9.0/24"])
    #expect(peers[0].endpoint?.value == "[2001:db8::7]:51820")
    #expect(peers[0].settings.duration("persistentKeepalive") == .seconds(25))
    #expect(peers[1].allowedIPs.map(\.value.description) == ["10.7.0.3/32"])
    #expect(peers[1].endpoint == nil)
    #expect(peers[1].settings.duration("persistentKeepalive") == nil)
  }

  @Test("A place in the file is the place in the file, and keys are not shown")
  func places() throws {
    let text = Self.whole.replacing("192.168.9.0/24", with: "192.168.9.1/24")
    let report = load(text)
    let found = try #require(report.diagnostics.first)
    #expect(report.diagnostics.count == 1)
    #expect(found.code == .networkAddress)
    #expect(found.primary.map { report.sources.text(of: $0.span) } == "192.168.9.1/24")
    #expect(found.primary.flatMap { report.sources.position(of: $0.span)?.start.line } == 20)
    let broken = load(text.replacing(Self.own, with: String(Self.own.dropLast())))
    let shown = DiagnosticRenderer(sources: broken.sources, colors: false, width: 100).render(broken.diagnostics)
    #expect(broken.codes.contains(.wireGuardKey))
    #expect(!shown.contains(Self.own.prefix(20)))
    #expect(shown.contains("PrivateKey = *"))
  }

  @Test("Routes are what peers may send from and no address of the interface covers")
  func routes() throws {
    let service = try #require(load(Self.whole.replacing("Table = off\n", with: "")).configuration?.services.first)
    #expect(service.tunRoutes.map(\.destination.description) == ["192.168.9.0/24"])
  }

  enum Mistakes {
    static let all: [(what: String, from: String, to: String, code: DiagnosticCode, line: Int)] = [
      ("an unknown key", "MTU = 1400", "MTTU = 1400", .unknownKey, 9),
      ("a key of the other section", "MTU = 1400", "AllowedIPs = 10.0.0.0/8", .misplacedKey, 9),
      ("an unknown section", "[Peer]\nPublicKey = \(peer)", "[Pear]\nPublicKey = \(peer)", .unknownKey, 16),
      ("a line without `=`", "MTU = 1400", "MTU 1400", .unknownKey, 9),
      ("a key twice", "MTU = 1400", "MTU = 1400\nmtu = 1420", .duplicateKey, 10),
      ("a port that is none", "LISTENPORT=51820", "LISTENPORT=70000", .valueOutOfRange, 6),
      ("a mark that is none", "FwMark = 0xca6c", "FwMark = red", .valueOutOfRange, 7),
      ("an MTU that is none", "MTU = 1400", "MTU = 14", .valueOutOfRange, 9),
      ("an address that is none", "10.8.0.1", "10.8.0.256", .badPrefix, 5),
      ("a table by number", "Table = off", "Table = 51", .keyNotYet, 10),
      ("SaveConfig", "SaveConfig = false", "SaveConfig = true", .keyNotYet, 14),
      (
        "a key in hexadecimal", "PublicKey = \(peer)", "PublicKey = " + String(repeating: "a1", count: 32),
        .wireGuardKey, 17
      ),
      ("a public key of its own", "PublicKey = \(peer)", "PublicKey = \(ExampleFile.ownKey)", .ownPublicKey, 17),
      ("one key for two", "PublicKey = \(other)", "PublicKey = \(peer)", .duplicatePeer, 25),
      ("an address for two", "AllowedIPs = 10.7.0.3", "AllowedIPs = 10.7.0.2", .sharedAllowedIP, 27),
      ("a peer without addresses", "AllowedIPs = 10.7.0.3", "", .peerWithoutAllowedIPs, 25),
      ("a keepalive that is none", "PersistentKeepalive = 25", "PersistentKeepalive = 25s", .valueOutOfRange, 22),
      ("an endpoint without a port", "[2001:db8::7]:51820", "2001:db8::7", .badAddress, 21),
      ("an endpoint inside", "[2001:db8::7]:51820", "10.7.0.2:51820", .endpointInsideTunnel, 21),
      ("no private key", "PrivateKey = \(own)  # secret", "", .missingKey, 2),
      ("a second interface", "[Peer]\nPublicKey = \(other)", "[Interface]\nMTU = 1400", .duplicateKey, 24),
    ]
  }

  @Test("Each mistake is told at its line", arguments: Mistakes.all.indices)
  func mistakes(_ index: Int) throws {
    let (what, from, to, code, line) = Mistakes.all[index]
    try #require(Self.whole.contains(from), "\(what)")
    let report = load(Self.whole.replacing(from, with: to, maxReplacements: 1))
    let found = try #require(report.diagnostics.first { $0.code == code }, "\(what): \(report.codes)")
    #expect(found.primary.flatMap { report.sources.position(of: $0.span)?.start.line } == line, "\(what)")
    #expect(!report.diagnostics.contains { $0.notes.contains { $0.hasPrefix("GOST") } }, "\(what)")
  }

  @Test("A private key that a file names is not asked for in the file, and both at once are one too many")
  func keyFiles() {
    let inline = ExampleFile.wireGuard()
    let file = inline.replacing("privateKey: \(Self.own)", with: "privateKeyFile: /etc/culvert/wg.key")
    #expect(load(file, name: "a.yaml").codes.isEmpty)
    let both = inline.replacing(
      "privateKey: \(Self.own)", with: "privateKey: \(Self.own)\n      privateKeyFile: /etc/culvert/wg.key")
    #expect(load(both, name: "a.yaml").codes == [.duplicateKey])
  }

  @Test("Peers of another kind of service have no effect, and a wireguard half needs the other")
  func halves() {
    let proxy = ExampleFile.wireGuard().replacing("type: wireguard", with: "type: socks5")
    #expect(load(proxy, name: "a.yaml").codes.contains(.unknownKey))
    let half = ExampleFile.wireGuard().replacing(
      "listener:\n    type: wireguard", with: "listener:\n    type: tun")
    #expect(load(half, name: "a.yaml").codes.contains(.handlerListenerMismatch))
  }

  @Test("A file of wg-quick is known by its first words, and no YAML is taken for one")
  func kinds() {
    #expect(load(Self.whole, name: "anything").configuration?.services.first?.name.value == "wg0")
    #expect(load("services: []\n", name: "x.conf").codes == [.nothingToDo])
    #expect(load("PrivateKey = x\n", name: "x.conf").codes.contains(.misplacedKey))
    #expect(load("[Peer]\nPublicKey = \(Self.peer)\n").codes.contains(.missingKey))
    #expect(load("", name: "x.conf").exitCode != 0)
  }

  @Test("Two ends that belong together are fine, also one as wg-quick has it, and a hub with other peers besides")
  func pairs() {
    let here = ExampleFile.wireGuard(peers: [
      .init(), .init(publicKey: Self.other, allowed: "10.0.0.3/32", endpoint: nil),
    ])
    let there = """
      [Interface]
      PrivateKey = \(ExampleFile.peerPrivateKey)
      Address = 10.0.0.2/24
      ListenPort = 51820
      [Peer]
      PublicKey = \(ExampleFile.ownKey)
      AllowedIPs = 10.0.0.0/24
      """
    let report = Checker.check(
      [(name: "here.yaml", bytes: Array(here.utf8))], with: [(name: "there.conf", bytes: Array(there.utf8))])
    #expect(report.diagnostics.isEmpty, "\(report.diagnostics.map(\.message))")
    let elsewhere = Checker.check(
      [(name: "here.yaml", bytes: Array(here.utf8))],
      with: [(name: "there.conf", bytes: Array(there.replacing("51820", with: "51821").utf8))])
    #expect(elsewhere.codes == [.peerListensElsewhere])
  }

  @Test("What a .conf file says can be written as YAML, and means the same")
  func translated() throws {
    let text = try #require(
      ConfigurationText.render(
        sources: [(name: "office.conf", bytes: Array(Self.whole.utf8))], arguments: CommandLineArguments(), as: .yaml
      ).text)
    let back = load(text, name: "office.yaml")
    #expect(back.diagnostics.isEmpty, "\(back.diagnostics.map(\.message))\n\(text)")
    let first = try #require(load(Self.whole).configuration)
    let second = try #require(back.configuration)
    #expect(NormalForm.text(of: first) == NormalForm.text(of: second))
  }
}
