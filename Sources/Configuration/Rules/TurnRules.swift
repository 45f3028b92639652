import PartDescriptors
import Values

/// TURN servers: who may use one, at which addresses and ports it relays, and what it tells its clients about itself.
///
/// A relay on the internet is found within hours by those who look for one, and whoever may use it stands inside its
/// network. So what is said here is said before it starts: a relay that asks nobody for anything is an error, and what
/// would only fail at the first allocation (an external address of the other family, a realm that no header can hold)
/// is judged where it is written.
struct TurnRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for service in configuration.services where service.handler.descriptor?.name == "turn" {
      guard service.listener.descriptor?.isAvailable == true, let turn = configuration.turn(of: service) else {
        continue
      }
      let metadata = service.handler.metadata
      credentials(service, turn)
      realm(metadata)
      secrets(metadata)
      users(service, turn)
      ports(service, turn)
      external(metadata, turn)
      addresses(metadata, turn)
      alternate(service, turn)
      lifetime(metadata, turn)
      chain(service)
      withoutEffect(service, turn)
      openness(service, turn)
    }
  }

  // MARK: Who may use it

  private func credentials(_ service: ServiceConfiguration, _ turn: TurnServerConfiguration) {
    guard !turn.asksForCredentials, !turn.isStunOnly, !service.listensOnLoopbackOnly,
      // What is wrong with them has been said.
      service.handler.authers.isEmpty, !reported(inside: service.handler.span),
      !["auth", "auther", "secret"].contains(where: { report.mends($0, inside: service.span) })
    else { return }
    report.add(
      Diagnostic(
        .turnWithoutCredentials, "\(service.title) would relay for everybody who reaches it",
        at: .init(service.handler.type.span, "asks for no credentials"),
        notes: ["an open relay is found within hours, and what others send through it comes from this host"],
        help: [advice(at: service.handler.type.span)]))
  }

  /// In the words of whatever the relay was written in.
  private func advice(at span: SourceSpan) -> String {
    let file = report.sources.file(span.file)
    if file?.foreignFormat == .coturn { return "write `user=NAME:PASSWORD`, or `static-auth-secret=…`" }
    if file?.isArgument == true, file?.name.hasPrefix("--") == true {
      return "give `--user NAME:PASSWORD` or `--secret-file FILE`; `--stun-only` relays nothing"
    }
    return file?.isArgument == true
      ? "write `user:password@` before the address, or `?secret=…`"
      : "give the handler `auth` or an `auther`, or a `secret` in its `metadata`; `stunOnly: true` relays nothing"
  }

  private func realm(_ metadata: Metadata) {
    guard let entry = metadata.entry("realm"), let realm = metadata.string("realm") else { return }
    let label: String
    if realm.utf8.contains(UInt8(ascii: "\"")) || realm.utf8.contains(UInt8(ascii: "\\")) {
      label = "no quotes and no backslashes"
    } else if realm.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) {
      label = "no control characters"
    } else if realm.utf8.count > 32 {
      // 127 characters are allowed (RFC 8489, section 14.9), but the answer to strangers, which has it, is to stay small.
      label = "\(realm.utf8.count) bytes, at most 32"
    } else {
      return
    }
    report.add(
      Diagnostic(
        .turnRealm, "the realm cannot be sent to a client", at: .init(entry.valueSpan, label),
        notes: ["RFC 8489, section 14.9"], help: ["write a domain, such as `example.org`"]))
  }

  /// What an attacker who has one time-limited password can try out by himself.
  private static let leastSecretBytes = 16

  private func secrets(_ metadata: Metadata) {
    guard let entry = metadata.entry("secret") else { return }
    for (index, secret) in metadata.secrets("secret").enumerated() where secret.byteCount < Self.leastSecretBytes {
      report.add(
        Diagnostic(
          .turnSecret, "a secret of \(secret.byteCount) \(secret.byteCount == 1 ? "byte" : "bytes") can be guessed",
          .warning, at: .init(entry.itemSpan(index), "fewer than \(Self.leastSecretBytes) bytes"),
          notes: ["whoever was given one password can try secrets by himself, as many as his machine can"],
          help: ["make one by `head -c 24 /dev/urandom | base64`, here and where the passwords are made"]))
    }
  }

  private func users(_ service: ServiceConfiguration, _ turn: TurnServerConfiguration) {
    let hasSecret = !turn.secrets.isEmpty || turn.secretFile != nil
    for user in turn.users {
      let name = user.username.value
      let shown = printable(name)
      if name.utf8.count > 508 {
        report.add(
          Diagnostic(
            .turnUser, "a user name of \(name.utf8.count) bytes cannot be sent",
            at: .init(user.username.span, "at most 508 bytes"), notes: ["RFC 8489, section 14.3"]))
      } else if hasSecret, let first = name.split(separator: ":", omittingEmptySubsequences: false).first,
        !first.isEmpty, first.utf8.allSatisfy({ (0x30...0x39).contains($0) })
      {
        report.add(
          Diagnostic(
            .turnUser, "`\(shown)` is read as a time, so its password is never asked for",
            at: .init(user.username.span, "begins as time-limited credentials do"),
            and: (service.handler.metadata.entry("secret") ?? service.handler.metadata.entry("secretFile")).map {
              [.init($0.key.span, "lets in whoever has a password made of it")]
            } ?? [], help: ["give the user a name that is no number"]))
      }
      guard let password = user.password, password.value.reveal().hasPrefix(TurnUserKey.prefix) else { continue }
      if TurnUserKey.bytes(of: password.value) == nil {
        report.add(
          Diagnostic(
            .turnUser, "behind `key:` stand 32 hexadecimal digits: the MD5 of `user:realm:password`",
            at: .init(password.span, "not such a key"),
            help: ["`printf %s 'user:realm:password' | md5sum` prints it; or write the password itself"]))
      } else if service.handler.metadata.entry("realm") == nil {
        report.add(
          Diagnostic(
            .turnUser, "the key of `\(shown)` belongs to a realm, and none is written",
            at: .init(password.span, "of which realm?"),
            and: [.init(service.handler.type.span, "tells clients `culvert`")],
            help: ["write the `realm` for which the key was made into the `metadata` of the handler"]))
      }
    }
  }

  // MARK: Where it relays

  private func ports(_ service: ServiceConfiguration, _ turn: TurnServerConfiguration) {
    guard !turn.isStunOnly, let entry = service.handler.metadata.entry("ports") else { return }
    let own = configuration.listenSockets.filter { $0.transport == .udp || turn.relaysTCP && $0.transport == .tcp }
    guard let first = own.first(where: { $0.port != 0 && turn.ports.contains($0.port) }) else { return }
    let isOwn = first.service == service.name.value
    report.add(
      Diagnostic(
        .turnPorts,
        "the ports of allocations hold one at which \(isOwn ? service.title : "a service of this file") listens",
        .warning, at: .init(entry.valueSpan, "holds \(first.port)"),
        and: [.init(first.span, "listens at port \(first.port)")],
        notes: ["while the other is at the port no allocation gets it, and after a restart an allocation may be first"],
        help: ["without a word the ports are 49152-65535"]))
  }

  private func chain(_ service: ServiceConfiguration) {
    guard let chain = service.handler.chain, !service.ignoresChains else { return }
    let isArgument = report.isArgument(chain.span)
    report.add(
      Diagnostic(
        .turnChain, "\(service.title) relays straight from this host, and through no chain",
        at: .init(chain.span, "never taken"),
        and: [.init(service.handler.type.span, "its peers see this host's address")],
        notes: ["a relayed address is one of this host's, so what leaves from it cannot come from elsewhere"],
        help: [
          isArgument
            ? "write `?ignoreChain=true` at its address, if the others are to take the chain"
            : "remove it; `ignoreChain: true` in the service's `metadata` says the same"
        ]))
  }

  private func external(_ metadata: Metadata, _ turn: TurnServerConfiguration) {
    guard let entry = metadata.entry("external") else { return }
    var seen: [(address: ExternalAddress, span: SourceSpan)] = []
    for (index, address) in turn.external.enumerated() {
      let span = entry.itemSpan(index)
      let family = address.external.canonical.family
      if let local = address.local, local.canonical.family != family {
        report.add(
          Diagnostic(
            .turnExternal, "`\(address)` joins addresses of two families",
            at: .init(span, "\(family) outside, \(local.canonical.family) inside"),
            notes: ["a relay does not translate its own address between families"],
            help: ["write the \(family) address of this host behind the slash"]))
      } else if address.external.isUnspecified || address.external.isMulticast || address.external.isLoopback {
        report.add(
          Diagnostic(
            .turnExternal, "`\(address.external)` is not an address at which others reach this host",
            at: .init(span, "told to every client"), help: ["write the host's public address"]))
      } else if !turn.family.allows(family) {
        report.add(
          Diagnostic(
            .turnFamily, "`family` forbids \(family), and `\(address.external)` is an \(family) address",
            at: .init(span, "never told to a client"), and: place("family", metadata),
            help: ["remove one of the two"]))
      } else if let other = seen.first(where: {
        $0.address.external.canonical.family == family
          && ($0.address.local == nil || address.local == nil || $0.address.local == address.local)
      }) {
        report.add(
          Diagnostic(
            .turnExternal, "two external addresses for one address of this host",
            at: .init(span, "which of the two is told to clients?"), and: [.init(other.span, "the first one")],
            help: ["write each with the host's own address behind a slash: `203.0.113.5/10.0.0.5`"]))
      } else if let local = address.local, !turn.addresses.isEmpty,
        !turn.addresses.contains(where: { $0.canonical == local.canonical })
      {
        report.add(
          Diagnostic(
            .turnExternal, "no allocation is made at `\(local)`, whose external address this is",
            at: .init(span, "never used"), and: place("addresses", metadata),
            help: ["add it to `addresses`, or remove it here"]))
      } else {
        seen.append((address, span))
      }
    }
  }

  private func addresses(_ metadata: Metadata, _ turn: TurnServerConfiguration) {
    guard let entry = metadata.entry("addresses") else { return }
    for (index, address) in turn.addresses.enumerated() {
      let family = address.canonical.family
      if address.isUnspecified || address.isMulticast {
        report.add(
          Diagnostic(
            .badAddress, "allocations are made at addresses of this host, and `\(address)` is none",
            at: .init(entry.itemSpan(index), "tells clients nothing"),
            help: ["leave `addresses` out for all addresses of this host"]))
      } else if !turn.family.allows(family) {
        report.add(
          Diagnostic(
            .turnFamily, "`family` forbids \(family), and `\(address)` is an \(family) address",
            at: .init(entry.itemSpan(index), "no allocation is made here"), and: place("family", metadata),
            help: ["remove one of the two"]))
      }
    }
  }

  // MARK: What it tells about itself

  private func alternate(_ service: ServiceConfiguration, _ turn: TurnServerConfiguration) {
    guard let entry = service.handler.metadata.entry("alternate"), let address = service.address else { return }
    if service.listener.descriptor?.name != "udp" {
      // Services that say the same are one relay.
      if isShared(entry, of: service) { return }
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`alternate` has no effect on the listener `\(service.listener.type.value)`", .warning,
          at: .init(entry.key.span, "has no effect"), notes: ["clients find out about NAT by UDP alone"],
          help: ["write it at the service with the listener `udp`"]))
      return
    }
    var families: [AddressFamily: SourceSpan] = [:]
    for (index, other) in turn.alternate.enumerated() {
      let span = entry.itemSpan(index)
      if other.port == address.port {
        report.add(
          Diagnostic(
            .turnAlternate, "the second port has to be another one than the first",
            at: .init(span, "port \(other.port)"),
            and: [.init(service.addr.span, "port \(address.port)")],
            notes: ["a client tells from it whether its NAT looks at ports (RFC 5780)"],
            help: ["3479 is the usual one beside 3478"]))
      } else if address.literal?.canonical == other.address.canonical {
        report.add(
          Diagnostic(
            .turnAlternate, "the second address has to be another one than the first",
            at: .init(span, "the listener's own"), and: [.init(service.addr.span, "listens here")],
            notes: ["a client tells from it whether its NAT looks at addresses (RFC 5780)"],
            help: ["write another address of this host, or remove it"]))
      } else if let first = families.updateValue(span, forKey: other.address.canonical.family) {
        report.add(
          Diagnostic(
            .turnAlternate, "a service has one second address of each family", at: .init(span, "a third one"),
            and: [.init(first, "the second one")], help: ["keep one of them"]))
      }
    }
  }

  /// Whether a service with the listener `udp` says the same.
  private func isShared(_ entry: Metadata.Entry, of service: ServiceConfiguration) -> Bool {
    let name = entry.descriptor.name
    return configuration.services.contains { other in
      other.handler.descriptor?.name == "turn" && other.listener.descriptor?.name == "udp"
        && other.handler.metadata.endpoints(name) == service.handler.metadata.endpoints(name)
    }
  }

  private func lifetime(_ metadata: Metadata, _ turn: TurnServerConfiguration) {
    guard turn.lifetime > turn.maxLifetime, let entry = metadata.entry("lifetime") ?? metadata.entry("maxLifetime")
    else {
      return
    }
    report.add(
      Diagnostic(
        .turnLifetime, "allocations would begin with more than they may have",
        at: .init(entry.valueSpan, "`lifetime` is \(turn.lifetime), `maxLifetime` \(turn.maxLifetime)"),
        and: metadata.entry("lifetime") == nil ? [] : place("maxLifetime", metadata, "the most"),
        help: ["without a word `lifetime` is 600s and `maxLifetime` 3600s"]))
  }

  // MARK: Keys that do nothing

  private func withoutEffect(_ service: ServiceConfiguration, _ turn: TurnServerConfiguration) {
    let metadata = service.handler.metadata
    if turn.isStunOnly, let entry = metadata.entries.first(where: { Self.relaying.contains($0.descriptor.name) }) {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`\(entry.key.value)` has no effect beside `stunOnly`", .warning,
          at: .init(entry.key.span, "has no effect"), and: place("stunOnly", metadata, "relays nothing"),
          help: ["remove one of the two"]))
    }
    if turn.isStunOnly {
      if let span = service.handler.authers.first?.span ?? service.handler.auth?.username.span {
        report.add(
          Diagnostic(
            .ignoredAuthentication, "nobody is asked for credentials beside `stunOnly`", .warning,
            at: .init(span, "never asked for"), and: place("stunOnly", metadata, "answers everybody"),
            help: ["remove one of the two"]))
      }
      return
    }
    let isUDP = service.listener.descriptor?.name == "udp"
    let others = configuration.services.filter { $0.handler.descriptor?.name == "turn" }
    // Services that share their settings by an anchor are one relay.
    if turn.relaysTCP, others.allSatisfy({ $0.listener.descriptor?.carries == .datagrams }),
      let entry = metadata.entry("tcpRelay")
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`tcpRelay` has no effect: clients ask for TCP by TCP, and nothing listens for it",
          .warning,
          at: .init(entry.key.span, "has no effect"), and: [.init(service.listener.type.span, "takes datagrams")],
          notes: ["RFC 6062, section 4.1"], help: ["add a service with the listener `tcp` or `tls`, or remove it"]))
    }
    if !isUDP, turn.xdp != .off, !others.contains(where: { $0.listener.descriptor?.name == "udp" }),
      let entry = metadata.entry("xdp")
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`xdp` has no effect on the listener `\(service.listener.type.value)`", .warning,
          at: .init(entry.key.span, "has no effect"), notes: ["the kernel forwards channel data of UDP clients alone"],
          help: ["write it at a service with the listener `udp`, or remove it"]))
    }
  }

  private static let relaying: Set<String> = [
    "secret", "secretFile", "external", "addresses", "ports", "lifetime", "maxLifetime", "mobility", "tcpRelay",
    "egress.allow", "egress.deny", "userQuota", "sourceQuota", "totalQuota", "userBandwidth", "totalBandwidth", "xdp",
  ]

  // MARK: Where its clients may go

  private func openness(_ service: ServiceConfiguration, _ turn: TurnServerConfiguration) {
    guard !turn.isStunOnly, let entry = service.handler.metadata.entry("egress.allow"),
      let index = turn.allow.firstIndex(where: { $0.ports == nil && $0.network.map { $0.length == 0 } ?? true })
    else { return }
    report.add(
      Diagnostic(
        .egressOpen, "the clients of \(service.title) may reach everything that this host reaches", .warning,
        at: .init(entry.itemSpan(index), "every peer"),
        notes: ["without it private, local and metadata addresses are refused"],
        help: ["allow the networks that are meant, such as `10.1.0.0/16`"]))
  }

  // MARK: Places

  private func place(_ name: String, _ metadata: Metadata, _ label: String = "written here") -> [Diagnostic.Label] {
    metadata.entry(name).map { [.init($0.valueSpan, label)] } ?? []
  }

  private func reported(inside span: SourceSpan) -> Bool {
    report.diagnostics.contains { diagnostic in
      guard diagnostic.severity == .error, let place = diagnostic.primary?.span else { return false }
      return place.file == span.file && place.start >= span.start && place.end <= span.end
    }
  }
}
