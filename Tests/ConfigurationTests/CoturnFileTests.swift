import Testing
import Values

@testable import Configuration

/// Files of coturn's: what each line becomes, and what is said of those that become nothing.
@Suite("Files of coturn") struct CoturnFileTests {
  private func load(_ text: String, name: String = "/etc/turnserver.conf") -> CheckReport {
    Checker.check([(name: name, bytes: Array(text.utf8))])
  }

  private func yaml(_ text: String) -> String {
    ConfigurationText.render(
      sources: [("/etc/turnserver.conf", Array(text.utf8))], arguments: CommandLineArguments(), as: .yaml
    ).text ?? ""
  }

  /// Beside a user, without what is said of every file that denies no private networks.
  private func findings(_ lines: String, user: Bool = true) -> [Diagnostic] {
    load(lines + (user ? "\nuser=alice:wonderland" : "")).diagnostics.filter {
      !$0.message.hasPrefix("peers in private networks")
    }
  }

  /// As an installer of a video conference writes it.
  private static let conference = """
    # The conference's relay
    use-auth-secret
    static-auth-secret=Wq7mT2vKx9pLc4RzNb81HsYd
    realm=meet.example.org
    cert=/etc/relay/fullchain.pem
    pkey=/etc/relay/privkey.pem
    no-multicast-peers
    no-cli
    no-tcp-relay
    no-tcp
    listening-port=3478
    tls-listening-port=5349
    external-ip=203.0.113.5/10.0.0.5
    no-tlsv1
    no-tlsv1_1
    denied-peer-ip=0.0.0.0-0.255.255.255
    denied-peer-ip=10.0.0.0-10.255.255.255
    denied-peer-ip=172.16.0.0-172.31.255.255
    denied-peer-ip=192.168.0.0-192.168.255.255
    allowed-peer-ip=10.0.0.5
    """

  @Test("The file of a video conference is a relay with a shared secret")
  func conference() throws {
    let report = load(Self.conference)
    #expect(report.exitCode == 0, "\(report.rendered)")
    #expect(report.diagnostics.allSatisfy { $0.severity == .note }, "\(report.rendered)")
    #expect(!report.rendered.contains("Wq7mT2"))
    let configuration = try #require(report.configuration)
    #expect(configuration.services.map(\.name.value) == ["relay-udp", "relay-tls", "relay-dtls"])
    #expect(configuration.services.map(\.addr.value) == [":3478", ":5349", ":5349"])
    #expect(configuration.services.last?.listener.tls?.certFile?.value == "/etc/relay/fullchain.pem")
    let turn = try #require(configuration.services.last.flatMap(configuration.turn))
    #expect(turn.realm == "meet.example.org")
    #expect(turn.secrets.map { $0.reveal() } == ["Wq7mT2vKx9pLc4RzNb81HsYd"])
    #expect(turn.external.map(\.description) == ["203.0.113.5/10.0.0.5"])
    #expect(turn.deny.map(\.description) == ["0.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])
    #expect(turn.allow.map(\.description) == ["10.0.0.5/32"])
    #expect(!turn.relaysTCP)
    // Findings point into the file.
    let place = report.sources.position(of: configuration.services[1].addr.span)
    #expect(place?.file == "/etc/turnserver.conf" && place?.start.line == 12)
  }

  /// With everything that is translated, as an administrator with two addresses has it.
  private static let whole = """
    listening-port = 3479
    tls-listening-port 5350
    alt-listening-port=3490
    rfc5780
    listening-ip=192.0.2.1
    listening-ip=192.0.2.2
    listening-ip=2001:db8::1
    aux-server=192.0.2.9:33478
    tcp-proxy-port=5555
    relay-ip=192.0.2.1
    relay-ip="2001:db8::1"
    external-ip=203.0.113.1/192.0.2.1
    min-port=50000
    max-port=50999
    lt-cred-mech
    user=alice:wonder:land
    user=bob:0xbc807ee29df3c9ffa736523fb2c4e8ee
    realm="example.org"
    user-quota=12
    total-quota=1200
    bps-capacity=1000000
    max-allocate-lifetime=300
    channel-lifetime=600
    permission-lifetime=300
    mobility
    software-attribute
    allocation-default-address-family="ipv6"
    cert=tls/cert.pem
    pkey=tls/key.pem
    CA-file=tls/clients.pem
    no-tlsv1_2
    log-file=/var/log/relay.log
    simple-log
    log-min-level=warning
    denied-peer-ip=198.51.100.7
    denied-peer-ip=2001:db8:1::-2001:db8:1:ffff:ffff:ffff:ffff:ffff
    rest-api-separator=:
    """

  @Test("Every option that has a counterpart is translated")
  func everything() throws {
    let report = load(Self.whole)
    #expect(report.diagnostics.allSatisfy { $0.severity == .note }, "\(report.rendered)")
    let configuration = try #require(report.configuration)
    let services = configuration.services.map { "\($0.name.value) \($0.addr.value)" }
    #expect(
      services == [
        "relay-udp 192.0.2.1:3479", "relay-tcp 192.0.2.1:3479", "relay-tls 192.0.2.1:5350",
        // UDP of the second address is the first one's, for questions about NAT.
        "relay-tcp-2 192.0.2.2:3479", "relay-tls-2 192.0.2.2:5350", "relay-udp-2 [2001:db8::1]:3479",
        "relay-tcp-3 [2001:db8::1]:3479", "relay-tls-3 [2001:db8::1]:5350", "relay-udp-3 192.0.2.9:33478",
        "relay-tcp-4 192.0.2.9:33478", "relay-tcp-5 192.0.2.1:5555", "relay-tcp-6 192.0.2.2:5555",
        "relay-tcp-7 [2001:db8::1]:5555",
      ])
    let proxied = configuration.services.filter(\.expectsProxyHeader).map(\.address?.port)
    #expect(proxied == [5555, 5555, 5555])
    let all = configuration.services.compactMap(configuration.turn)
    let turn = try #require(all.first)
    #expect(all.map(\.alternate.description).filter { $0 != "[]" } == ["[192.0.2.2:3490]"])
    #expect(turn.alternate.first.map(\.description) == "192.0.2.2:3490")
    #expect(all.map(\.relaysTCP) == all.map { _ in true })
    #expect(turn.addresses.map(\.description) == ["192.0.2.1", "2001:db8::1"])
    #expect(turn.ports == 50000...50999)
    #expect(turn.realm == "example.org" && turn.software == "culvert" && turn.allowsMobility)
    #expect(turn.users.map(\.username.value) == ["alice", "bob"])
    #expect(
      turn.users.map { $0.password?.value.reveal() } == ["wonder:land", "key:bc807ee29df3c9ffa736523fb2c4e8ee"])
    #expect(turn.userQuota == 12 && turn.totalQuota == 1200 && turn.totalBandwidth == 1_000_000)
    #expect(turn.maxLifetime == .seconds(300) && turn.lifetime == .seconds(300))
    #expect(turn.family == .preferIPv6)
    #expect(turn.deny.map(\.description) == ["198.51.100.7/32", "2001:db8:1::/48"])
    let tls = try #require(configuration.services[2].listener.tls)
    #expect(tls.certFile?.value == "/etc/tls/cert.pem" && tls.keyFile?.value == "/etc/tls/key.pem")
    #expect(tls.caFile?.value == "/etc/tls/clients.pem" && tls.minVersion?.value == "VersionTLS13")
    #expect(configuration.log?.output?.value == "/var/log/relay.log" && configuration.log?.level == .warn)
  }

  @Test("What is printed is a file that means the same")
  func printed() throws {
    for text in [Self.conference, Self.whole] {
      let again = Checker.check([("relay.yaml", Array(yaml(text).utf8))])
      #expect(again.exitCode == 0, "\(again.rendered)")
      let one = try #require(load(text).configuration)
      let two = try #require(again.configuration)
      #expect(one.services.count == two.services.count)
      for (left, right) in zip(one.services, two.services) {
        #expect(NormalForm.text(of: left) == NormalForm.text(of: right))
        #expect(
          NormalForm.text(of: one.credentials(of: left.handler))
            == NormalForm.text(of: two.credentials(of: right.handler)))
      }
    }
  }

  @Test(
    "What the relay would be open to without a line, or would not do, keeps it from starting",
    arguments: [
      "listening-device=eth1", "relay-device=eth1", "no-udp-relay", "oauth", "pkey-pwd=secret", "raw-public-keys",
      "rest-api-separator=_", "listening-port=99999", "min-port=0", "max-allocate-lifetime=soon",
      "listening-ip=eth0", "denied-peer-ip=10.0.0.9-10.0.0.1", "denied-peer-ip=example.org", "listening-prot=3478",
      "aux-server=192.0.2.1", "allocation-default-address-family=both", "log-min-level=loud", "user=bob",
      "min-port=60000\nmax-port=50000", "external-ip=203.0.113.5/2001:db8::5", "no-udp\nno-tcp",
    ])
  func refused(_ lines: String) {
    let found = findings(lines)
    let errors = found.filter { $0.severity == .error }
    #expect(errors.count == 1, "\(found.map(\.message))")
    let place = errors.first?.primary?.span
    #expect(place.map { $0.start < lines.utf8.count } == true, "\(errors.map(\.message))")
    #expect(errors.allSatisfy { $0.fix == nil })
  }

  @Test("Somebody has to be let in, and nobody in particular is an error")
  func nobody() {
    #expect(findings("realm=a\nno-auth", user: false).map(\.code) == [.turnWithoutCredentials])
    #expect(findings("realm=a", user: false).map(\.code) == [.turnWithoutCredentials])
    #expect(findings("realm=a\nstun-only", user: false).isEmpty)
    for base in ["userdb=/var/lib/turn/turndb", "db=/var/lib/turn/turndb", "redis-userdb=\"ip=127.0.0.1 password=x\""] {
      let found = findings("realm=a\n\(base)", user: false)
      #expect(found.map(\.code).contains(.coturnRefused), "\(found.map(\.message))")
      #expect(findings("realm=a\n\(base)").map(\.severity) == [.warning])
    }
    #expect(findings("use-auth-secret", user: false).map(\.code).contains(.coturnRefused))
    // A shared secret is in force alone, as in coturn.
    let both = load("static-auth-secret=Wq7mT2vKx9pLc4RzNb81HsYd\nuser=alice:wonderland")
    #expect(both.diagnostics.contains { $0.code == .ignoredAuthentication && $0.severity == .warning })
    #expect(both.configuration?.authers.isEmpty == true)
    #expect(findings("no-auth").map(\.code) == [.turnWithoutCredentials, .ignoredAuthentication])
    // A key belongs to a realm.
    #expect(load("user=bob:0xbc807ee29df3c9ffa736523fb2c4e8ee").codes.contains(.turnUser))
  }

  @Test("No option of coturn's is passed over: each is translated, or said to be left out, with its place")
  func complete() {
    let names = CoturnOption.all.map(\.name)
    #expect(Set(names).count == names.count)
    #expect(names.count > 140)
    let needsMore: Set<String> = ["user", "static-auth-secret"]
    for option in CoturnOption.all where !needsMore.contains(option.name) {
      let value =
        switch option.value {
        case .flag: ""
        case .text, .secret: "=192.0.2.77"
        }
      let text = "\(option.name)\(value)\nuser=alice:wonderland\nrealm=a"
      let report = load(text)
      let about = report.diagnostics.filter {
        $0.primary.map { $0.span.start < option.name.utf8.count + value.utf8.count } == true
      }
      if case .translated = option.fate { continue }
      #expect(
        about.contains { $0.code == .coturnLeftOut || $0.code == .coturnRefused }, "\(option.name): \(report.rendered)")
      let off = load(text.with("\(option.name)\n", "\(option.name)=off\n"))
      if case .flag = option.value {
        #expect(!off.diagnostics.contains { $0.message.hasPrefix("`\(option.name)`") }, "\(option.name)=off")
      }
      // What is no secret of the console's is not printed either.
      if case .secret = option.value { #expect(!report.rendered.contains("192.0.2.77"), "\(option.name)") }
    }
  }

  @Test("Translated switches that are off change nothing")
  func switches() {
    let plain = yaml("user=alice:wonderland")
    for name in [
      "no-udp", "no-tcp", "no-tls", "no-dtls", "no-tcp-relay", "mobility", "stun-only", "software-attribute",
      "keep-address-family",
      "allow-loopback-peers", "rfc5780", "Verbose", "syslog", "no-tlsv1_2",
    ] {
      for word in ["0", "no", "off", "false"] {
        #expect(yaml("user=alice:wonderland\n\(name)=\(word)") == plain, "\(name)")
      }
      #expect(CoturnOption.named(name) != nil)
    }
    #expect(yaml("user=alice:wonderland\nmobility=yes") != plain)
    #expect(yaml("user=alice:wonderland\nstun-only") != plain)
  }

  @Test("Warnings tell what is otherwise than in coturn")
  func otherwise() {
    #expect(findings("max-bps=64000").map(\.code) == [.coturnLeftOut])
    #expect(findings("permission-lifetime=30").map(\.code) == [.coturnLeftOut])
    #expect(findings("keep-address-family").map(\.code) == [.coturnLeftOut])
    #expect(findings("allow-loopback-peers").map(\.code) == [.egressOpen])
    #expect(findings("tls-listening-port=5349").map(\.code) == [.certificateWithoutKey])
    #expect(findings("rfc5780").map(\.code) == [.coturnLeftOut])
    #expect(findings("realm=a\nrealm=b").map(\.code) == [.duplicateKey])
    #expect(findings("realm=a\nrealm=a").isEmpty)
    #expect(findings("realm=").map(\.code) == [.missingKey])
    let shared = findings("cert=a\npkey=b\nlistening-port=5349\ntls-listening-port=5349")
    #expect(shared.map(\.code) == [.coturnLeftOut, .coturnLeftOut])
    #expect(shared.allSatisfy { $0.severity == .warning })
    // The more exact of two decides here, the allowed one in coturn.
    let both = findings("allowed-peer-ip=10.0.0.0-10.255.255.255\ndenied-peer-ip=10.1.0.0-10.1.255.255")
    #expect(both.map(\.code) == [.coturnLeftOut] && both.first?.severity == .warning)
    let same = findings("allowed-peer-ip=10.0.0.9\ndenied-peer-ip=10.0.0.9")
    #expect(same.map(\.code) == [.coturnLeftOut])
    #expect(!yaml("user=a:bbbbbbbb\nallowed-peer-ip=10.0.0.9\ndenied-peer-ip=10.0.0.9").contains("egress.deny"))
  }

  @Test("DTLS stands beside TLS unless the file says otherwise, and what is not asked for is told")
  func datagrams() throws {
    func transports(_ lines: String) -> [String] {
      let services = load("user=alice:wonderland\n\(lines)").configuration?.services ?? []
      return services.map { "\($0.listener.type.value) \($0.addr.value)" }
    }
    let certificate = "cert=/a.pem\npkey=/b.pem\nno-tcp\nno-udp\ntls-listening-port=5350"
    #expect(transports(certificate) == ["tls :5350", "dtls :5350"])
    #expect(findings(certificate).map(\.code) == [.coturnLeftOut])
    #expect(findings(certificate).first?.severity == .note)
    #expect(transports("\(certificate)\ndtls") == ["tls :5350", "dtls :5350"])
    #expect(findings("\(certificate)\ndtls").isEmpty && findings("\(certificate)\nno-dtls").isEmpty)
    #expect(transports("\(certificate)\nno-dtls") == ["tls :5350"])
    #expect(transports("\(certificate)\nno-dtls=0\nno-tls") == ["dtls :5350"])
    #expect(transports("no-tcp\ndtls") == ["udp :3478"])
    #expect(findings("no-tcp\ndtls").map(\.code) == [.certificateWithoutKey])
    #expect(transports("\(certificate)\nno-tlsv1_2") == ["tls :5350"])
    #expect(findings("\(certificate)\nno-tlsv1_2").map(\.severity) == [.note])
    // Only streams can ask for TCP allocations.
    let report = load("user=alice:wonderland\n\(certificate)\nno-tls")
    #expect(report.configuration.flatMap { whole in whole.services.first.flatMap(whole.turn) }?.relaysTCP == false)
  }

  @Test("Prometheus has a page where coturn has it, by its address, port, path and certificate")
  func prometheus() throws {
    func page(_ lines: String) -> ServiceConfiguration? {
      load("user=alice:wonderland\n\(lines)").configuration?.services.first { $0.name.value == "relay-metrics" }
    }
    let plain = try #require(page("prometheus"))
    #expect(plain.addr.value == ":9641" && plain.listener.type.value == "tcp" && plain.handler.type.value == "metrics")
    // coturn's page is for everybody too, and says nothing about it.
    #expect(findings("prometheus").map(\.code) == [.coturnLeftOut, .openMetrics])
    #expect(findings("prometheus").map(\.severity) == [.note, .warning])
    let other = try #require(
      page("prometheus\nprometheus-address=127.0.0.1\nprometheus-port=9700\nprometheus-path=/numbers"))
    #expect(other.addr.value == "127.0.0.1:9700" && other.handler.metadata.string("metrics.path") == "/numbers")
    #expect(page("prometheus\nprometheus-address=::1")?.addr.value == "[::1]:9641")
    #expect(findings("prometheus\nprometheus-address=127.0.0.1").map(\.severity) == [.note])
    let tls = try #require(page("prometheus\nprometheus-tls\nprometheus-cert=/a.pem\nprometheus-key=/b.pem"))
    #expect(tls.listener.type.value == "tls" && tls.listener.tls?.certFile?.value == "/a.pem")
    #expect(page("prometheus=0") == nil && findings("prometheus=0").isEmpty)
    // What would be in the clear, elsewhere, or nowhere.
    #expect(findings("prometheus\nprometheus-tls\nprometheus-cert=/a.pem").map(\.code) == [.certificateWithoutKey])
    #expect(findings("prometheus\nprometheus-address=relay").map(\.code) == [.badAddress])
    #expect(findings("prometheus\nprometheus-port=99999").contains { $0.code == .valueOutOfRange })
    #expect(findings("prometheus-port=9700").map(\.code) == [.keyWithoutEffect])
    #expect(findings("prometheus\nprometheus-username-labels").contains { $0.message.contains("names of users") })
  }

  @Test("Files are told apart by what is in them")
  func kinds() {
    #expect(
      load("Address = 10.0.0.1/24\n[Interface]\n", name: "wg0.conf").diagnostics.allSatisfy {
        !$0.message.contains("coturn")
      })
    #expect(load("user: alice\n", name: "a.yaml").diagnostics.allSatisfy { !$0.message.contains("coturn") })
    #expect(load("# only a comment\n").configuration?.services.isEmpty != false)
    #expect(load("\u{FEFF}user=alice:wonderland\r\nrealm=a\r\n", name: "x").configuration?.services.count == 2)
  }

  @Test("Mangled files are read, and what is said of them stands in them")
  func mangled() {
    let pieces = [
      "=", " ", "#", "\"", "0x", "-", "/", ":", "\n", "\u{0}", "\u{FEFF}", "99999999999999999999", "::", "é", "\r",
    ]
    let original = Array((Self.whole + "\n" + Self.conference).utf8)
    var state: UInt64 = 7
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(limit))
    }
    for _ in 0..<400 {
      var bytes = original
      for _ in 0...random(6) {
        let place = random(bytes.count)
        switch random(3) {
        case 0: bytes.replaceSubrange(place..<min(bytes.count, place + random(30)), with: [])
        case 1: bytes.insert(contentsOf: Array(pieces[random(pieces.count)].utf8), at: place)
        default: bytes[place] = UInt8(random(256))
        }
      }
      let report = Checker.check([("turnserver.conf", bytes)])
      for diagnostic in report.diagnostics {
        let span = diagnostic.primary?.span
        #expect(span.map { $0.start <= $0.end && $0.end <= bytes.count } != false, "\(diagnostic.message)")
      }
      // Unless it has become the value of another option.
      guard String(decoding: bytes, as: UTF8.self).contains("\nuser=alice:wonder:land\n") else { continue }
      #expect(!report.rendered.contains("wonder:land"), "\(report.rendered)")
    }
  }

  @Test("Ranges become the fewest networks that cover them exactly")
  func ranges() throws {
    let expected: [(String, [String])] = [
      ("10.0.0.0-10.255.255.255", ["10.0.0.0/8"]), ("192.0.2.1", ["192.0.2.1/32"]),
      ("0.0.0.0-255.255.255.255", ["0.0.0.0/0"]),
      ("192.0.2.1-192.0.2.6", ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"]),
      ("255.255.255.254-255.255.255.255", ["255.255.255.254/31"]), ("2001:db8::-2001:db8::ffff", ["2001:db8::/112"]),
      ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ["::/0"]), ("192.0.2.0/24", ["192.0.2.0/24"]),
      ("fd00::/8", ["fd00::/8"]),
    ]
    for (text, prefixes) in expected {
      #expect(AddressRange(text)?.prefixes.map(\.description) == prefixes, "\(text)")
    }
    for text in ["", "-", "10.0.0.2-10.0.0.1", "10.0.0.1-2001:db8::1", "10.0.0.1-10.0.0.2-10.0.0.3", "a-b"] {
      #expect(AddressRange(text) == nil, "\(text)")
    }
    // Each address of a range is in one network, and none besides.
    for (low, high) in [(3, 77), (0, 200), (128, 255), (5, 5)] {
      let range = try #require(AddressRange("198.51.100.\(low)-198.51.100.\(high)"))
      for last in 0...255 {
        let address = try #require(IPAddress("198.51.100.\(last)"))
        #expect(range.prefixes.count { $0.contains(address) } == ((low...high).contains(last) ? 1 : 0))
      }
    }
  }
}

/// The options of `culvert relay`.
@Suite("Options of a relay") struct RelayArgumentTests {
  private func check(_ options: [(String, String?)]) -> CheckReport {
    Checker.check([], arguments: CommandLineArguments(relay: options.map { RelayOption($0.0, $0.1) }))
  }

  @Test("Options become a configuration with UDP, TCP and TLS")
  func whole() throws {
    let report = check([
      ("user", "alice:wonder:land"), ("user", "bob:builder-of-houses"), ("realm", "example.org"), ("cert", "c.pem"),
      ("key", "k.pem"), ("external", "203.0.113.5/10.0.0.5,2001:db8::5"), ("ports", "50000-50999"),
      ("allow", "10.1.0.0/16"), ("allow", "10.2.0.1:53"), ("deny", "198.51.100.0/24"), ("user-quota", "5"),
      ("total-bandwidth", "1GB"), ("drain", "0s"), ("tcp-relay", nil), ("mobility", nil),
      ("alternate", "192.0.2.2:3479"), ("max-lifetime", "30m"),
    ])
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    let configuration = try #require(report.configuration)
    #expect(
      configuration.services.map { "\($0.name.value) \($0.addr.value)" } == [
        "relay-udp :3478", "relay-tcp :3478", "relay-tls :5349",
      ])
    let all = configuration.services.compactMap(configuration.turn)
    let turn = try #require(all.first)
    #expect(turn.users.map { $0.password?.value.reveal() } == ["wonder:land", "builder-of-houses"])
    #expect(turn.external.count == 2 && turn.ports == 50000...50999 && turn.allowsMobility)
    #expect(turn.allow.map(\.description) == ["10.1.0.0/16", "10.2.0.1/32:53"] && turn.deny.count == 1)
    #expect(turn.userQuota == 5 && turn.totalBandwidth == 1 << 30 && turn.drain == .zero)
    #expect(turn.maxLifetime == .seconds(1800))
    // They say the same, and so are one relay.
    let handlers = Set(configuration.services.map { NormalForm.text(of: $0.handler) })
    #expect(handlers.count == 1, "\(handlers)")
    #expect(all.allSatisfy { $0.relaysTCP && $0.alternate.count == 1 })
    #expect(configuration.services.last?.listener.tls?.certFile?.value == "c.pem")
  }

  @Test("Addresses, and what is not listened with, are as the options say")
  func listeners() throws {
    let report = check([
      ("listen", "192.0.2.1:3479"), ("listen", "[2001:db8::1]:3479"), ("no-tcp", nil), ("tls-listen", ":443"),
      ("cert", "c.pem"), ("key", "k.pem"), ("secret", "mVbU1xkRm2vJ8w5Yp0Qd3T7h"),
      ("secret", "Zc6NfKsamVbU1xkRm2vJ8w5Y"), ("metrics", "127.0.0.1:9641"),
    ])
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    #expect(
      report.configuration?.services.map { "\($0.name.value) \($0.addr.value)" } == [
        "relay-udp 192.0.2.1:3479", "relay-udp-2 [2001:db8::1]:3479", "relay-tls :443", "relay-metrics 127.0.0.1:9641",
      ])
    #expect(report.configuration?.services.last?.handler.type.value == "metrics")
    let turn = report.configuration.flatMap { whole in whole.services.first.flatMap(whole.turn) }
    #expect(turn?.secrets.count == 2)
  }

  @Test("DTLS is listened for where an option says so, with the certificate of TLS")
  func datagrams() throws {
    let report = check([
      ("user", "alice:wonderland"), ("dtls-listen", ":5349"), ("dtls-listen", "[2001:db8::1]:443"), ("cert", "c.pem"),
      ("key", "k.pem"), ("no-tcp", nil),
    ])
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    #expect(
      report.configuration?.services.map { "\($0.name.value) \($0.addr.value)" } == [
        "relay-udp :3478", "relay-tls :5349", "relay-dtls :5349", "relay-dtls-2 [2001:db8::1]:443",
      ])
    #expect(report.configuration?.services.last?.listener.tls?.keyFile?.value == "k.pem")
  }

  @Test("What is wrong is shown in the option that has it, and no secret with it")
  func mistakes() throws {
    let ports = check([("user", "alice:wonderland"), ("ports", "60000-50000")])
    let place = try #require(ports.diagnostics.first?.primary.flatMap { ports.sources.position(of: $0.span) })
    #expect(place.file == "--ports")
    let open = check([("realm", "a")])
    #expect(open.diagnostics.map(\.code) == [.turnWithoutCredentials])
    #expect(open.rendered.contains("--user NAME:PASSWORD"))
    let second = check([("user", "alice:wonderland"), ("user", "bob")])
    #expect(second.diagnostics.map(\.code) == [.turnUser] && second.rendered.contains("--user #2"))
    let weak = check([("secret", "northnorth")])
    #expect(weak.diagnostics.map(\.code) == [.turnSecret] && !weak.rendered.contains("northnorth"))
    #expect(check([("stun-only", nil)]).diagnostics.isEmpty)
  }
}
