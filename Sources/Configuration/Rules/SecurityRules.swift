import PartDescriptors
import Values

/// Settings that look like protection and are none.
struct SecurityRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for auther in configuration.authers where auther.credentials.isEmpty && !reported(inside: auther.span) {
      report.add(
        Diagnostic(
          .autherWithoutUsers, "the auther `\(printable(auther.name.value))` has no users",
          at: .init(auther.name.span, "no users"),
          help: ["give it `auths`, a list of `username` and `password`"]))
    }
    for auther in configuration.authers { users(auther) }
    for service in configuration.services {
      guard let listener = service.listener.descriptor, listener.isAvailable,
        service.handler.descriptor?.isAvailable == true
      else { continue }
      openness(service)
      numbers(service)
      if let tls = service.handler.tls { certificate(tls, isServer: true) }
      guard let tls = service.listener.tls else { continue }
      let client = service.turnClient
      block(
        tls, of: listener, type: service.listener.type, isServer: listener.name != "turn",
        encrypts: listener.encrypts || client?.transport == .tls)
    }
    for node in configuration.allNodes {
      guard let dialer = node.dialer.descriptor, dialer.isAvailable, node.connector.descriptor?.isAvailable == true
      else { continue }
      if let tls = node.connector.tls { certificate(tls, isServer: false) }
      guard let tls = node.dialer.tls else { continue }
      block(tls, of: dialer, type: node.dialer.type, isServer: false, encrypts: node.encrypts)
    }
    if let tls = configuration.tls {
      certificate(tls, isServer: true)
      if let options = tls.optionsSpan {
        report.add(
          Diagnostic(
            .keyWithoutEffect, "`options` has no effect in the top-level `tls`", .warning,
            at: .init(options, "has no effect here"),
            notes: ["GOST takes a listener's `options` from its own `tls` block only"],
            help: ["write it into the `tls` of the listener"]))
      }
    }
  }

  // MARK: Open proxies

  /// A proxy or a relay that anybody may use who reaches it. A relay with a forwarder is none: it goes to one target.
  private func openness(_ service: ServiceConfiguration) {
    // Not by `egress(of:)`, which looks at every service for each.
    guard service.handler.descriptor?.abilities.contains(.proxies) == true, configuration.isOpen(service),
      !reported(inside: service.span)
    else { return }
    let allow = service.handler.metadata.targets("egress.allow")
    let asks = !configuration.credentials(of: service.handler).isEmpty
    // An auther without users was reported.
    if !asks, !service.handler.authers.isEmpty { return }
    let type = service.handler.type
    let isRelay = service.handler.descriptor?.name == "relay"
    if isRelay, service.forwarder?.nodes.isEmpty == false { return }
    let what = isRelay ? "a relay" : "a proxy"
    if asks, let entry = service.handler.metadata.entry("skipauth") {
      report.add(
        Diagnostic(
          .openProxy, "\(service.title) lets everybody in: `skipauth` covers every address", .warning,
          at: .init(entry.valueSpan, "every address"), and: [.init(type.span, what)],
          help: ["write the networks whose hosts need no credentials"]))
    } else {
      let isWritten = !service.addr.value.isEmpty
      let isEcho = service.listener.descriptor?.portMeaning == .echoIdentifier
      let whom =
        isEcho ? "can ping this host" : "reaches \(isWritten ? "`\(printable(service.addr.value))`" : "it")"
      report.add(
        Diagnostic(
          .openProxy, "\(service.title) is \(what) for everybody who \(whom)", .warning,
          at: .init(isWritten && !isEcho ? service.addr.span : type.span, "asks for no credentials"),
          notes: ["targets that only this host should reach are refused to its clients"],
          help: [
            (report.isArgument(type.span)
              ? "write `user:password@` before the address" : "give the handler `auth` or an `auther`")
              + (isEcho ? "" : ", or listen on `127.0.0.1`")
          ]))
    }
    if let entry = service.handler.metadata.entry("egress.allow"),
      let index = allow.firstIndex(where: { $0.ports == nil && $0.network.map { $0.length == 0 } ?? true })
    {
      report.add(
        Diagnostic(
          .egressOpen, "everybody may reach everything through \(service.title), this host's own services too",
          .warning,
          at: .init(entry.itemSpans.indices.contains(index) ? entry.itemSpans[index] : entry.valueSpan, "every target"),
          and: [.init(type.span, "asks for no credentials")],
          help: ["allow the networks that are meant, or ask for credentials"]))
    }
  }

  /// Numbers that everybody may read who reaches the page.
  private func numbers(_ service: ServiceConfiguration) {
    guard service.handler.descriptor?.name == "metrics" else { return }
    // On a command line the chain is everybody's.
    if let chain = service.handler.chain, !service.ignoresChains, !report.isArgument(chain.span) {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`chain` has no effect on the handler `\(service.handler.type.value)`", .warning,
          at: .init(chain.span, "has no effect"), and: [.init(service.handler.type.span, "leads nowhere")],
          help: ["remove it"]))
    }
    guard !service.listensOnLoopbackOnly,
      configuration.credentials(of: service.handler).isEmpty, service.handler.authers.isEmpty,
      !reported(inside: service.span)
    else { return }
    report.add(
      Diagnostic(
        .openMetrics,
        "\(service.title) tells everybody who reaches `\(printable(service.addr.value))` what is counted", .warning,
        at: .init(service.addr.span, "asks for no credentials"),
        notes: ["the page has the names of the services, how many clients they have, and what those move"],
        help: ["listen on `127.0.0.1`, or give the handler `auth`"]))
  }

  private func reported(inside span: SourceSpan) -> Bool {
    report.diagnostics.contains { diagnostic in
      guard diagnostic.severity <= .notYet, let place = diagnostic.primary?.span else { return false }
      return place.file == span.file && place.start >= span.start && place.end <= span.end
    }
  }

  private func users(_ auther: AutherConfiguration) {
    var first: [String: SourceSpan] = [:]
    for user in auther.credentials {
      if let previous = first[user.username.value] {
        report.add(
          Diagnostic(
            .duplicateName, "two users of one auther are named `\(printable(user.username.value))`",
            at: .init(user.username.span, "again here"), and: [.init(previous, "first here")],
            notes: ["only the last password would count"]))
      } else {
        first[user.username.value] = user.username.span
      }
    }
  }

  private func block(
    _ tls: TLSConfiguration, of part: PartDescriptor, type: Located<String>, isServer: Bool, encrypts: Bool
  ) {
    guard encrypts else {
      // GOST's own export gives every dialer a block with the server's name: nothing that a user relies on.
      let isHarmless = tls.certFile == nil && tls.keyFile == nil && tls.caFile == nil && tls.secure?.value != true
      if isHarmless, tls.optionsSpan == nil, !isServer || tls.serverName == nil { return }
      report.add(
        Diagnostic(
          .tlsWithoutEffect, "a `tls` block has no effect on the \(part.kind.rawValue) `\(type.value)`",
          isHarmless ? .warning : .error,
          at: .init(type.span, "sends in the clear"), and: [.init(keySpan(tls), "never used")],
          notes: ["GOST ignores the block without a word"],
          help: part.name == "turn" ? ["write `transport: tls` into the `metadata`"] : [],
          fix: type.value == "tcp" && type.span.end - type.span.start == 3
            ? Diagnostic.Fix("write `tls`, here and at the other end", [.init(type.span, "tls")], isCertain: false)
            : nil))
      return
    }
    certificate(tls, isServer: isServer)
    options(tls, of: part, type: type)
  }

  private func options(_ tls: TLSConfiguration, of part: PartDescriptor, type: Located<String>) {
    let isQUIC = ["quic", "icmp", "icmp6"].contains(part.name)
    if let suite = tls.cipherSuites.first {
      report.add(
        isQUIC
          ? Diagnostic(
            .keyWithoutEffect, "`cipherSuites` has no effect on the \(part.kind.rawValue) `\(type.value)`", .warning,
            at: .init(suite.span, "has no effect"),
            notes: ["QUIC speaks TLS 1.3, whose cipher suites GOST does not let choose"], help: ["remove it"])
          : Diagnostic(
            .keyNotYet, "choosing `cipherSuites` is not yet supported", .notYet,
            at: .init(suite.span, "GOST has it, Culvert not yet"),
            notes: ["Culvert offers AES-GCM and ChaCha20-Poly1305, with forward secrecy alone"]))
    }
    if part.kind == .listener, part.portMeaning == .echoIdentifier, let protocolName = tls.alpn.first {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`alpn` has no effect on the listener `\(type.value)`", .warning,
          at: .init(protocolName.span, "has no effect"),
          notes: ["GOST's listener takes `h3` and `quic/v1`, whatever is written"], help: ["remove it"]))
    }
    if part.name == "dtls", let low = tls.minVersion, TLSVersions.number(of: low.value).map({ $0 > 2 }) == true {
      report.add(
        Diagnostic(
          .tlsVersions, "there is no DTLS above 1.2", at: .init(low.span, "too new"),
          and: [.init(type.span, "speaks DTLS 1.2")],
          fix: .replace(low.span, with: "VersionTLS12", "write `VersionTLS12`")))
    }
    if isQUIC, let high = tls.maxVersion, TLSVersions.number(of: high.value).map({ $0 < 3 }) == true {
      report.add(
        Diagnostic(
          .tlsVersions, "QUIC needs TLS 1.3", at: .init(high.span, "too old"),
          and: [.init(type.span, "speaks QUIC")], fix: .replace(high.span, with: "VersionTLS13", "write `VersionTLS13`")
        ))
    }
  }

  private func certificate(_ tls: TLSConfiguration, isServer: Bool) {
    if let only = tls.certFile ?? tls.keyFile, (tls.certFile == nil) != (tls.keyFile == nil) {
      let missing = tls.certFile == nil ? "certFile" : "keyFile"
      if report.mends(missing, inside: tls.span) { return }
      report.add(
        Diagnostic(
          .certificateWithoutKey, "a certificate and its key go together; `\(missing)` is missing",
          at: .init(only.span, "without `\(missing)`"),
          notes: isServer ? ["GOST would take a certificate that it makes itself"] : []))
    } else if isServer, let secure = tls.secure, secure.value, tls.caFile == nil {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "no client is verified: `secure` is for dialers", .warning,
          at: .init(secure.span, "has no effect here"),
          notes: ["a listener verifies its clients by `caFile`, beside `certFile` and `keyFile`"],
          help: ["remove it, or write the `caFile` that signed the clients' certificates"]))
    } else if isServer, let ca = tls.caFile, tls.certFile == nil {
      report.add(
        Diagnostic(
          .serverCAWithoutCertificate, "clients are not verified: `caFile` needs `certFile` and `keyFile` beside it",
          at: .init(ca.span, "GOST ignores it alone")))
    }
    let versions = TLSVersions.names
    if let low = tls.minVersion, let number = TLSVersions.number(of: low.value), number < 2 {
      report.add(
        Diagnostic(
          .tlsVersions, "TLS 1.0 and 1.1 are not spoken: 1.2 is the oldest", .warning,
          at: .init(low.span, "as if it were `VersionTLS12`"),
          notes: ["both are deprecated by RFC 8996"],
          fix: .replace(low.span, with: versions[2], "write `\(versions[2])`")))
    }
    if let high = tls.maxVersion, let number = TLSVersions.number(of: high.value), number < 2 {
      report.add(
        Diagnostic(
          .tlsVersions, "TLS 1.0 and 1.1 are not spoken: 1.2 is the oldest", at: .init(high.span, "too old"),
          notes: ["both are deprecated by RFC 8996"]))
    }
    for version in [tls.minVersion, tls.maxVersion].compactMap({ $0 })
    where !version.value.isEmpty && TLSVersions.number(of: version.value) == nil {
      let digit = version.value.last.map { "VersionTLS1\($0)" }
      let near = versions.first { $0 == digit } ?? NearNames.best(for: version.value, among: versions)
      report.add(
        Diagnostic(
          .tlsVersions, "unknown TLS version `\(printable(version.value))`", at: .init(version.span, "not a version"),
          notes: ["GOST ignores a version that it does not know"],
          help: near == nil ? ["the versions are \(quotedList(versions))"] : [],
          fix: near.map { .replace(version.span, with: $0, "write `\($0)`") }))
    }
    if let low = tls.minVersion, let high = tls.maxVersion, let from = TLSVersions.number(of: low.value),
      let to = TLSVersions.number(of: high.value), from > to
    {
      report.add(
        Diagnostic(
          .tlsVersions, "no TLS version lies between `minVersion` and `maxVersion`",
          at: .init(high.span, "older than `minVersion`"),
          and: [.init(low.span, "the oldest that is allowed")]))
    }
  }

  private func keySpan(_ tls: TLSConfiguration) -> SourceSpan {
    SourceSpan(file: tls.span.file, start: tls.span.start, end: tls.span.start + 1)
  }
}
