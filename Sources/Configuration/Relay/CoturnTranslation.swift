import Values

/// From the lines of a `turnserver.conf` to a relay: where it listens, whom it lets in, where it relays.
///
/// The defaults are coturn's where they are part of what the file says (UDP and TCP at 3478, TLS and DTLS at 5349 where
/// there is a certificate, TCP relaying unless it is switched off), and Culvert's where coturn's are open: private networks
/// are refused as peers unless the file allows them by name.
struct CoturnTranslation {
  let lines: [CoturnFile.Line]
  let file: SourceFile
  private(set) var diagnostics: [Diagnostic] = []
  private var relay: RelayBlueprint

  init(lines: [CoturnFile.Line], file: SourceFile) {
    self.lines = lines
    self.file = file
    let start = lines.first?.key.span ?? SourceSpan(file: file.id, start: 0, end: 0)
    relay = RelayBlueprint(at: start)
  }

  mutating func root() -> YAMLNode? {
    guard !lines.isEmpty else { return nil }
    relay.handlerPlace = last("no-auth")?.key.span
    settings()
    credentials()
    peers()
    limits()
    certificate()
    log()
    metricsPage()
    listeners()
    return relay.root
  }

  // MARK: Lines

  /// The one that counts.
  private func last(_ name: String) -> CoturnFile.Line? { lines.last { $0.option.name == name } }

  private func all(_ name: String) -> [CoturnFile.Line] { lines.filter { $0.option.name == name } }

  private func isOn(_ name: String) -> Bool { last(name)?.isOn ?? false }

  private mutating func add(
    _ code: DiagnosticCode, _ message: String, _ severity: Diagnostic.Severity = .error,
    at line: CoturnFile.Line, _ label: String, help: [String] = [], notes: [String] = []
  ) {
    diagnostics.append(
      Diagnostic(
        code, message, severity, at: .init(line.value.value.isEmpty ? line.key.span : line.value.span, label),
        notes: notes, help: help))
  }

  /// A number as coturn reads it: the digits that a value begins with.
  private mutating func number(_ line: CoturnFile.Line, _ range: ClosedRange<Int>) -> Int? {
    let text = line.value.value
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let rest = String(text.dropFirst(digits.count)).trimmed
    guard !digits.isEmpty, rest.isEmpty || rest.hasPrefix("#"), let number = Int(digits), range.contains(number) else {
      add(
        .valueOutOfRange, "`\(line.option.name)` takes a number from \(range.lowerBound) to \(range.upperBound)",
        at: line,
        "not such a number")
      return nil
    }
    return number
  }

  private mutating func set(_ name: String, _ line: CoturnFile.Line, to text: String) {
    relay.metadata.set(name, Located(text, at: line.value.span), key: line.key.span)
  }

  private mutating func switchOn(_ name: String, _ line: CoturnFile.Line) {
    relay.metadata.set(name, Tree.plain("true", at: line.key.span), key: line.key.span)
  }

  // MARK: Where it listens

  private static let defaultPort = 3478
  private static let defaultTLSPort = 5349

  private mutating func listeners() {
    let port = last("listening-port").map { ($0, number($0, 0...65535)) }
    let tlsPort = last("tls-listening-port").map { ($0, number($0, 0...65535)) }
    let plain = port?.1.flatMap { $0 == 0 ? nil : $0 } ?? Self.defaultPort
    let encrypted = tlsPort?.1.flatMap { $0 == 0 ? nil : $0 } ?? Self.defaultTLSPort
    let place = port?.0.value.span ?? relay.place
    let hosts = hosts(at: place)
    let hasUDP = !isOn("no-udp")
    let hasTLS = wantsTLS()
    var hasTCP = !isOn("no-tcp")
    if hasTCP, hasTLS, plain == encrypted, let line = tlsPort?.0 ?? port?.0 {
      hasTCP = false
      add(
        .coturnLeftOut, "port \(encrypted) is for TLS alone: coturn looks at each connection, whether it is plain",
        .warning, at: line, "the same as `listening-port`", help: ["give TLS a port of its own, 5349 as a rule"])
    }
    let hasDTLS = wantsDTLS(at: encrypted, besideUDP: hasUDP && plain == encrypted)
    let alternate = hasUDP ? alternateAddress(hosts, plain) : nil
    let tlsPlace = tlsPort?.0.value.span
    for host in hosts {
      let isSecond = alternate?.isTaken(host) == true
      if hasUDP, !isSecond { listen("udp", host, plain, alternate?.metadata(of: host)) }
      if hasTCP { listen("tcp", host, plain) }
      for (transport, isWanted) in [("tls", hasTLS), ("dtls", hasDTLS)] where isWanted {
        listen(transport, Host(text: host.text, span: hosts.count > 1 ? host.span : tlsPlace ?? host.span), encrypted)
      }
    }
    for line in all("aux-server") {
      guard let endpoint = Endpoint(line.value.value), endpoint.port != 0 else {
        add(.badAddress, "`aux-server` takes an address with a port", at: line, "not such an address")
        continue
      }
      for transport in ["udp", "tcp"] where transport == "udp" ? hasUDP : hasTCP {
        relay.listeners.append(
          .init(transport: transport, address: Located("\(endpoint)", at: line.value.span)))
      }
    }
    proxied(hosts)
    if relay.listeners.contains(where: { !["udp", "dtls"].contains($0.transport) }), !isOn("no-tcp-relay"),
      !isOn("stun-only")
    {
      relay.metadata.set("tcpRelay", Tree.plain("true", at: relay.place))
    }
    if relay.listeners.isEmpty, let line = last("no-udp") ?? last("no-tcp") {
      diagnostics.append(
        Diagnostic(
          .nothingToDo, "nothing is left to listen with",
          at: .init(line.key.span, "neither UDP, nor TCP, nor TLS or DTLS with a certificate"),
          help: ["remove the line"]))
    }
  }

  private struct Host {
    /// As it stands before the colon of an address; empty for every address.
    let text: String
    let span: SourceSpan
    var address: IPAddress? { IPAddress(text.filter { $0 != "[" && $0 != "]" }) }
  }

  private mutating func hosts(at place: SourceSpan) -> [Host] {
    var hosts: [Host] = []
    for line in all("listening-ip") {
      guard let address = IPAddress(line.value.value) else {
        add(.badAddress, "`listening-ip` takes an address of this host", at: line, "not an address")
        continue
      }
      hosts.append(Host(text: address.family == .ipv6 ? "[\(address)]" : "\(address)", span: line.value.span))
    }
    let wild = hosts.filter { $0.address?.isUnspecified == true }
    // Both wildcards are everything, and one of them takes the addresses of its family along.
    if hosts.isEmpty { return [Host(text: "", span: place)] }
    if Set(wild.compactMap { $0.address?.family }).count == 2 { return [Host(text: "", span: wild[0].span)] }
    guard let only = wild.first, let family = only.address?.family else { return hosts }
    return [only] + hosts.filter { $0.address?.family != family }
  }

  private mutating func listen(_ transport: String, _ host: Host, _ port: Int, _ metadata: Tree? = nil) {
    relay.listeners.append(
      .init(transport: transport, address: Located("\(host.text):\(port)", at: host.span), metadata: metadata))
  }

  private mutating func proxied(_ hosts: [Host]) {
    guard let line = last("tcp-proxy-port"), let port = number(line, 1...65535) else { return }
    for host in hosts {
      relay.listeners.append(
        .init(
          transport: "tcp", address: Located("\(host.text):\(port)", at: line.value.span), expectsProxyHeader: true))
    }
  }

  // MARK: Prometheus

  private static let metricsPort = 9641
  private static let metricsDetails = [
    "prometheus-port", "prometheus-address", "prometheus-path", "prometheus-tls", "prometheus-cert", "prometheus-key",
  ]

  private mutating func metricsPage() {
    guard let line = last("prometheus"), line.isOn else {
      for detail in Self.metricsDetails.compactMap({ last($0) }) {
        add(
          .keyWithoutEffect, "`\(detail.option.name)` has no effect without `prometheus`", .warning, at: detail,
          "nothing listens", help: ["write `prometheus`, or remove the line"])
      }
      return
    }
    var host = ""
    if let line = last("prometheus-address") {
      guard let address = IPAddress(line.value.value) else {
        return add(.badAddress, "`prometheus-address` takes an address of this host", at: line, "not an address")
      }
      if !address.isUnspecified { host = address.family == .ipv6 ? "[\(address)]" : "\(address)" }
    }
    let port = last("prometheus-port").flatMap { number($0, 1...65535) } ?? Self.metricsPort
    let place = last("prometheus-port") ?? last("prometheus-address")
    var page = RelayBlueprint.MetricsPage(
      address: Located("\(host):\(port)", at: place?.value.span ?? line.key.span))
    if let path = last("prometheus-path"), path.value.value != "/metrics" { page.path = path.value }
    if let line = last("prometheus-tls"), line.isOn {
      guard let certificate = last("prometheus-cert"), let key = last("prometheus-key") else {
        return add(
          .certificateWithoutKey, "Prometheus is to come over TLS, and there is no certificate for it", at: line,
          "wants `prometheus-cert` and `prometheus-key`", help: ["write both, or remove the line"])
      }
      var tls = Tree.gathered(in: line.key.span)
      tls.set("certFile", Located(path(certificate.value.value), at: certificate.value.span), key: certificate.key.span)
      tls.set("keyFile", Located(path(key.value.value), at: key.value.span), key: key.key.span)
      page.tls = tls
    }
    relay.metricsPage = page
    add(
      .coturnLeftOut, "what Prometheus reads has names of its own", .note, at: line, "other names than coturn's",
      help: ["docs/metrics.md lists them"])
  }

  // MARK: A second address

  private struct Alternate {
    let first: Host
    let second: Host
    let port: Int
    let place: SourceSpan

    func isTaken(_ host: Host) -> Bool { host.span == second.span }

    func metadata(of host: Host) -> Tree? {
      guard host.span == first.span else { return nil }
      var tree = Tree.gathered(in: place)
      tree.set("alternate", Located("\(second.text):\(port)", at: place))
      return tree
    }
  }

  /// coturn answers questions about NAT (RFC 5780) where it has two addresses of one family.
  private mutating func alternateAddress(_ hosts: [Host], _ port: Int) -> Alternate? {
    guard !isOn("no-rfc5780"), let line = last("rfc5780").flatMap({ $0.isOn ? $0 : nil }) ?? last("alt-listening-port")
    else { return nil }
    let written = last("alt-listening-port").flatMap { number($0, 0...65535) } ?? 0
    for (index, first) in hosts.enumerated() {
      guard let family = first.address?.family, first.address?.isUnspecified == false,
        let second = hosts.dropFirst(index + 1).first(where: { $0.address?.family == family })
      else { continue }
      add(
        .coturnLeftOut, "UDP at `\(second.text)` is listened for as the second address of `\(first.text)`", .note,
        at: line, "with the ports of both")
      return Alternate(first: first, second: second, port: written == 0 ? port + 1 : written, place: line.key.span)
    }
    add(
      .coturnLeftOut, "`\(line.option.name)` has no effect: there are not two addresses of one family to answer from",
      .warning, at: line, "needs two", help: ["write two lines `listening-ip`, or remove it"])
    return nil
  }

  // MARK: TLS

  private mutating func wantsTLS() -> Bool {
    if isOn("no-tls") { return false }
    if last("cert") != nil, last("pkey") != nil { return true }
    guard let line = last("tls-listening-port") ?? last("cert") ?? last("pkey") else { return false }
    let missing = last("cert") == nil ? "cert" : "pkey"
    add(
      .certificateWithoutKey, "nothing listens for TLS: `\(missing)` is missing", .warning, at: line, "without effect",
      help: ["write `\(missing)=FILE`, or remove the line"], notes: ["coturn starts without TLS as well, and logs it"])
    return false
  }

  /// What is over UDP. coturn did it unless told not to, and later ones only where `dtls` says so: a file may be for
  /// either, so that the clients of both are served.
  private mutating func wantsDTLS(at port: Int, besideUDP isTaken: Bool) -> Bool {
    guard let certificate = last("cert"), last("pkey") != nil, !isOn("no-dtls") else {
      if let line = last("dtls"), line.isOn, !isOn("no-dtls") {
        add(
          .certificateWithoutKey, "nothing listens for DTLS: it takes `cert` and `pkey`", .warning, at: line,
          "without effect", help: ["write both, or remove the line"])
      }
      return false
    }
    let line = last("dtls") ?? last("tls-listening-port") ?? certificate
    if isTaken {
      add(
        .coturnLeftOut, "port \(port) is for UDP in the clear: coturn looks at each datagram, whether it is DTLS",
        .warning, at: last("listening-port") ?? line, "not for DTLS",
        help: ["give TLS and DTLS a port of their own, 5349 as a rule"])
      return false
    }
    if let tls = last("no-tlsv1_2"), tls.isOn {
      add(
        .coturnLeftOut, "nothing listens for DTLS: there is none above 1.2, which `no-tlsv1_2` forbids", .note,
        at: tls, "for DTLS too")
      return false
    }
    if last("dtls")?.isOn != true {
      add(
        .coturnLeftOut, "DTLS is listened for as well, at port \(port) of UDP", .note, at: line,
        "as coturn did with a certificate", help: ["`no-dtls` keeps it closed; clients use it rarely"],
        notes: ["the latest versions of coturn do it where the file has `dtls`"])
    }
    return true
  }

  private mutating func certificate() {
    for (name, key) in [("cert", "certFile"), ("pkey", "keyFile"), ("CA-file", "caFile")] {
      guard let line = last(name) else { continue }
      relay.tls.set(key, Located(path(line.value.value), at: line.value.span), key: line.key.span)
    }
    if let line = last("no-tlsv1_2"), line.isOn {
      var options = Tree(at: line.key.span)
      options.set("minVersion", Located("VersionTLS13", at: line.key.span))
      relay.tls.set("options", options, key: line.key.span)
    }
  }

  /// A path that is not absolute begins where the file is.
  private func path(_ text: String) -> String {
    guard !text.hasPrefix("/"), let slash = file.name.lastIndex(of: "/") else { return text }
    return file.name[...slash] + text
  }

  // MARK: Who may use it

  private mutating func credentials() {
    let users = all("user")
    let secrets = all("static-auth-secret")
    let usesSecret = last("use-auth-secret") != nil || !secrets.isEmpty
    if !secrets.isEmpty {
      relay.metadata.set(
        "secret", list: secrets.map { Tree.text($0.value) }, key: secrets.first?.key.span)
    }
    if usesSecret {
      if let first = users.first {
        add(
          .ignoredAuthentication, "nobody comes in by a password of `user`: a shared secret is in force", .warning,
          at: first, "left out, as coturn leaves it out", help: ["remove the lines `user`"])
      }
      if secrets.isEmpty, let line = last("use-auth-secret") {
        add(
          .coturnRefused, "no secret is written, and no database is read, so nobody could come in", at: line,
          "of which secret?", help: ["write `static-auth-secret=…`"])
      }
    } else if let line = last("no-auth"), line.isOn {
      if let first = users.first {
        add(.ignoredAuthentication, "`user` has no effect beside `no-auth`", .warning, at: first, "never asked for")
      }
    } else {
      for line in users { user(line) }
    }
    databases(hasOthers: !relay.users.isEmpty || !secrets.isEmpty, usesSecret: usesSecret)
    if let line = last("rest-api-separator"), line.value.value.first.map({ $0 != ":" }) == true {
      add(
        .coturnRefused, "names of time-limited credentials have a `:` in them, and clients would send another mark",
        at: line, "another separator", help: ["let the web application write `TIME:NAME`, and remove the line"])
    }
  }

  private mutating func user(_ line: CoturnFile.Line) {
    let text = line.value.value
    let name = text.prefix { $0 != ":" }
    let password = String(text.dropFirst(name.utf8.count == text.utf8.count ? name.count : name.count + 1))
    guard !name.isEmpty, !password.trimmed.isEmpty else {
      add(
        .turnUser, "`user` takes `NAME:PASSWORD` or `NAME:0xKEY`", at: line, "not such a user",
        notes: ["coturn logs it and goes on without the user"])
      return
    }
    let span = line.value.span
    let split = span.start + name.utf8.count
    let secret = password.trimmed
    let isKey = secret.hasPrefix("0x")
    relay.users.append(
      .init(
        name: Located(String(name), at: SourceSpan(file: span.file, start: span.start, end: split)),
        password: Located(
          isKey ? TurnUserKey.prefix + secret.dropFirst(2) : secret,
          at: SourceSpan(file: span.file, start: split + 1, end: span.end))))
  }

  private mutating func databases(hasOthers: Bool, usesSecret: Bool) {
    for name in ["userdb", "psql-userdb", "mysql-userdb", "mongo-userdb", "redis-userdb"] {
      guard let line = last(name) else { continue }
      if hasOthers {
        diagnostics.append(
          Diagnostic(
            .coturnLeftOut, "`\(name)` is left out: users and secrets are read from files alone", .warning,
            at: .init(line.key.span, "not here"),
            help: ["`turnadmin -l` lists what is in it; whoever is not in this file cannot come in"]))
      } else if !(usesSecret && last("use-auth-secret") != nil) {
        diagnostics.append(
          Diagnostic(
            .coturnRefused, "`\(name)` holds the users, and no database is read, so nobody could come in",
            at: .init(line.key.span, "not here"),
            help: [
              "`turnadmin -l` lists the users with their keys: write each as `user=NAME:0xKEY`, and the `realm`"
            ]))
      }
    }
  }

  // MARK: Settings

  private mutating func settings() {
    if let line = last("realm") { set("realm", line, to: line.value.value) }
    if let line = last("stun-only"), line.isOn { switchOn("stunOnly", line) }
    if let line = last("mobility"), line.isOn { switchOn("mobility", line) }
    if let line = last("software-attribute"), line.isOn {
      relay.metadata.set("software", Located("culvert", at: line.key.span), key: line.key.span)
    }
    let externals = all("external-ip")
    if let first = externals.first {
      relay.metadata.set("external", list: externals.map { Tree.text($0.value) }, key: first.key.span)
    }
    let addresses = all("relay-ip")
    if let first = addresses.first {
      relay.metadata.set("addresses", list: addresses.map { Tree.text($0.value) }, key: first.key.span)
    }
    family()
    let low = last("min-port")
    let high = last("max-port")
    guard let place = high ?? low else { return }
    let from = low.flatMap { number($0, 1...65535) } ?? Int(TurnServerConfiguration.defaultPorts.lowerBound)
    let to = high.flatMap { number($0, 1...65535) } ?? Int(TurnServerConfiguration.defaultPorts.upperBound)
    guard from <= to else {
      add(.turnPorts, "no port lies between `min-port` and `max-port`", at: place, "from \(from) to \(to)")
      return
    }
    set("ports", place, to: "\(from)-\(to)")
  }

  private mutating func family() {
    var line = last("allocation-default-address-family")
    var word = line?.value.value ?? "ipv4"
    if let keep = last("keep-address-family"), keep.isOn { (line, word) = (keep, "keep") }
    guard let line else { return }
    switch word {
    case "ipv4": break
    case "ipv6": relay.metadata.set("family", Located("prefer-ipv6", at: line.value.span), key: line.key.span)
    case "keep":
      add(
        .coturnLeftOut, "a client that asks for no family is given IPv4, as RFC 8656 has it, whatever it came by",
        .warning, at: line, "not here", help: ["let clients ask for a family (REQUESTED-ADDRESS-FAMILY)"])
    default:
      add(.valueOutOfRange, "`\(line.option.name)` takes `ipv4`, `ipv6` or `keep`", at: line, "none of them")
    }
  }

  // MARK: Peers

  private mutating func peers() {
    let allowed = ranges("allowed-peer-ip")
    let denied = ranges("denied-peer-ip")
    var allow = allowed.flatMap { items($0.range, $0.line) }
    if let line = last("allow-loopback-peers"), line.isOn {
      allow += ["127.0.0.0/8", "::1/128"].map { Tree.text(Located($0, at: line.key.span)) }
      diagnostics.append(
        Diagnostic(
          .egressOpen, "clients reach what listens at this host's loopback addresses", .warning,
          at: .init(line.key.span, "for tests alone"), help: ["remove it where others can reach the relay"]))
    }
    var deny: [YAMLNode] = []
    for (line, range) in denied {
      if let other = allowed.first(where: { $0.range == range }) {
        // coturn's rule where both are the same.
        diagnostics.append(
          Diagnostic(
            .coturnLeftOut, "`\(line.value.value)` is denied and allowed, and coturn allows it", .warning,
            at: .init(line.value.span, "has no effect"), and: [.init(other.line.value.span, "in force")],
            help: ["remove one of the two"]))
        continue
      }
      if let other = allowed.first(where: { $0.range.contains(range) }) {
        diagnostics.append(
          Diagnostic(
            .coturnLeftOut, "`\(line.value.value)` is refused: the more exact of two entries decides here", .warning,
            at: .init(line.value.span, "in force"),
            and: [.init(other.line.value.span, "coturn would allow it because of this")],
            help: ["remove the line where coturn's way was meant"]))
      }
      deny += items(range, line)
    }
    if let first = allowed.first?.line ?? last("allow-loopback-peers"), !allow.isEmpty {
      relay.metadata.set("egress.allow", list: allow, key: first.key.span)
    }
    if let first = denied.first?.line, !deny.isEmpty {
      relay.metadata.set("egress.deny", list: deny, key: first.key.span)
    }
    guard !isOn("stun-only"), allowed.isEmpty, let first = lines.first else { return }
    let privateNetworks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].compactMap { AddressRange($0) }
    if privateNetworks.allSatisfy({ network in denied.contains { $0.range.contains(network) } }) { return }
    diagnostics.append(
      Diagnostic(
        .coturnPrivatePeers, "peers in private networks are refused, which coturn allows where no line denies them",
        .note,
        at: denied.first.map { .init($0.line.key.span, "denies some itself") }
          ?? .init(first.key.span, "no line denies them"),
        help: ["`allowed-peer-ip=10.1.0.0-10.1.255.255` lets clients reach such a network"]))
  }

  private mutating func ranges(_ name: String) -> [(line: CoturnFile.Line, range: AddressRange)] {
    var ranges: [(line: CoturnFile.Line, range: AddressRange)] = []
    for line in all(name) {
      guard let range = AddressRange(line.value.value) else {
        add(
          .badPrefix, "`\(name)` takes an address or a range of addresses", at: line, "neither of them",
          help: ["write `192.0.2.1` or `192.0.2.0-192.0.2.255`"])
        continue
      }
      if line.value.value.contains("/") {
        add(
          .coturnLeftOut, "coturn reads no prefix lengths here, so the line had no effect; now it has", .warning,
          at: line,
          "a network")
      }
      ranges.append((line, range))
    }
    return ranges
  }

  private func items(_ range: AddressRange, _ line: CoturnFile.Line) -> [YAMLNode] {
    range.prefixes.map { prefix in
      let isOne = prefix.length == prefix.address.bitWidth
      return Tree.text(Located(isOne ? "\(prefix.address)" : "\(prefix)", at: line.value.span))
    }
  }

  // MARK: Limits

  private mutating func limits() {
    for (name, key) in [("user-quota", "userQuota"), ("total-quota", "totalQuota")] {
      guard let line = last(name), let number = number(line, 0...Int(Int32.max)), number > 0 else { continue }
      relay.metadata.set(key, Tree.plain("\(number)", at: line.value.span), key: line.key.span)
    }
    for (name, key) in [("max-bps", "userBandwidth"), ("bps-capacity", "totalBandwidth")] {
      guard let line = last(name), let number = number(line, 0...999_999_999_999), number > 0 else { continue }
      set(key, line, to: "\(number)")
      if name == "max-bps" {
        add(
          .coturnLeftOut, "`max-bps` is for all of a user's allocations together, and coturn has it for each", .warning,
          at: line, "bytes a second of a user", help: ["write a multiple of it where users have several at once"])
      }
    }
    if let line = last("max-allocate-lifetime"), let number = number(line, 1...Int(Int32.max)) {
      set("maxLifetime", line, to: "\(number)s")
      let usual = Int(TurnServerConfiguration.defaultLifetime.inSeconds)
      if number < usual { set("lifetime", line, to: "\(number)s") }
    }
    for (name, seconds) in [("channel-lifetime", 600), ("permission-lifetime", 300)] {
      guard let line = last(name), let number = number(line, 0...Int(Int32.max)), number != seconds else { continue }
      add(
        .coturnLeftOut, "`\(name)` is left out: it is \(seconds) seconds, by which clients go (RFC 8656)", .warning,
        at: line,
        "not \(seconds)", help: ["remove the line"])
    }
  }

  // MARK: The log

  private mutating func log() {
    if let line = last("log-file"), !isOn("syslog"), line.value.value != "syslog" {
      let place = line.value.value
      relay.log.set(
        "output", Located(["-", "stdout"].contains(place) ? "stdout" : place, at: line.value.span), key: line.key.span)
    } else if let line = last("syslog") ?? last("log-file"), line.isOn {
      add(
        .coturnLeftOut, "the log goes to standard error, which systemd keeps; nothing is sent to syslog", .note,
        at: line,
        "not here")
    }
    if let line = last("log-min-level") {
      let words = ["debug": "debug", "info": "info", "warning": "warn", "error": "error"]
      if let word = words[line.value.value.lowercased()] {
        relay.log.set("level", Located(word, at: line.value.span), key: line.key.span)
      } else {
        add(.valueOutOfRange, "`log-min-level` takes `debug`, `info`, `warning` or `error`", at: line, "none of them")
      }
    } else if let line = last("Verbose"), line.isOn {
      relay.log.set("level", Located("debug", at: line.key.span), key: line.key.span)
    }
  }
}
