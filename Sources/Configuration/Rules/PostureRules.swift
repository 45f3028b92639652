import PartDescriptors
import Values

/// What GOST leaves open in silence and a user may have wanted so: certificates that nobody verifies, tunnels in the
/// clear, users without a password. Warnings, which a file may accept with a reason and `--strict` makes errors.
///
/// Nothing is said of an object that has an error, whose settings are not what they will be, nor of ways that do not
/// leave this host.
struct PostureRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for node in configuration.allNodes where !isReported(node.span) {
      guard node.encrypts, node.dialer.descriptor?.isAvailable == true,
        node.connector.descriptor?.isAvailable == true
      else { continue }
      certificate(
        node.dialer.tls, of: node.address, node.name.value.isEmpty ? "the node" : "`\(printable(node.name.value))`",
        at: node.dialer.type)
    }
    for service in configuration.services where !isReported(service.span) {
      guard let client = service.turnClient, client.transport == .tls else { continue }
      certificate(client.tls, of: client.server, "the TURN server", at: service.listener.type)
    }
    for service in configuration.services where !isReported(service.span) {
      if service.isTunServer { server(service) }
      if service.isTunClient {
        client(service)
        if let entry = service.handler.metadata.entry("passphrase"), case .secret(let secret) = entry.value,
          isShort(secret)
        {
          short(Located(secret, at: entry.valueSpan), "passphrase")
        }
      }
    }
    passwords()
  }

  // MARK: Certificates

  private func certificate(
    _ tls: TLSConfiguration?, of address: HostPort?, _ title: String, at type: Located<String>
  ) {
    guard !isLoopback(address) else { return }
    // With a `caFile` alone the chain is verified and the name is not.
    if tls?.secure?.value == true || tls?.caFile != nil { return }
    report.add(
      Diagnostic(
        .unverifiedTLS, "whoever answers for \(title) is believed: its certificate is not verified", .warning,
        at: .init(tls?.secure?.span ?? type.span, "any certificate will do"),
        notes: ["GOST verifies only where it is told to; somebody on the way could read and change everything"],
        help: [
          (report.isArgument(type.span)
            ? "write `?secure=true`, and `ca=FILE`" : "give the dialer `tls` with `secure: true`, and with `caFile`")
            + " where no public authority signed the certificate"
        ]))
  }

  // MARK: Tunnels

  private func server(_ service: ServiceConfiguration) {
    guard let address = service.address, address.port != 0, !service.listensOnLoopbackOnly else { return }
    report.add(
      Diagnostic(
        .plainTunnel,
        "\(service.title) takes packets in the clear from everybody who reaches `\(printable(service.addr.value))`",
        .warning, at: .init(service.addr.span, "UDP, neither encrypted nor authenticated"),
        notes: ["one forged datagram is a packet inside the tunnel's network"],
        help: [
          "listen on `127.0.0.1:\(address.port)`, which clients reach through a relay over `tls`, `quic` or `icmp`"
        ]))
  }

  private func client(_ service: ServiceConfiguration) {
    guard let targets = service.forwarder?.nodes, let target = targets.first else { return }
    if configuration.goesStraight(service) {
      guard !targets.allSatisfy({ isLoopback($0.address) }) else { return }
      report.add(
        Diagnostic(
          .plainTunnel, "the packets of \(service.title) cross the network in the clear", .warning,
          at: .init(target.addr.span, "UDP, neither encrypted nor authenticated"),
          notes: ["whoever is on the way can read them and add some"],
          help: ["go through a `chain` whose node dials `tls`, `quic` or `icmp`"]))
      return
    }
    let hops = configuration.route(of: service) ?? []
    let nodes = hops.flatMap(\.nodes)
    guard let chain = service.handler.chain, !nodes.isEmpty, nodes.allSatisfy(isJudged),
      !hops.contains(where: { $0.nodes.allSatisfy(isPrivate) }), !nodes.allSatisfy({ isLoopback($0.address) })
    else { return }
    report.add(
      Diagnostic(
        .plainTunnel, "the packets of \(service.title) cross the network in the clear", .warning,
        at: .init(chain.span, "no hop of this chain encrypts"),
        and: nodes.first.map { [.init($0.dialer.type.span, "sends in the clear")] } ?? [],
        notes: ["whoever is on the way can read them and add some"],
        help: ["let a node dial `tls`, `quic` or `icmp`, and its other end listen with the same"]))
  }

  private func isJudged(_ node: NodeConfiguration) -> Bool {
    node.dialer.descriptor?.isAvailable == true && node.connector.descriptor?.isAvailable == true
      && !isReported(node.span)
  }

  /// SOCKS5 between two GOSTs speaks TLS by itself, over any dialer.
  private func isPrivate(_ node: NodeConfiguration) -> Bool {
    node.dialer.descriptor?.encrypts == true || node.connector.descriptor?.name == "socks5"
  }

  // MARK: Passwords

  private func passwords() {
    var judged: Set<SourceSpan> = []
    for service in configuration.services {
      // SOCKS4 has no passwords: the name is the secret.
      guard let handler = service.handler.descriptor, handler.isAvailable, handler.name != "socks4",
        !service.listensOnLoopbackOnly, !isReported(service.span)
      else { continue }
      for user in configuration.credentials(of: service.handler) {
        if let password = user.password, isShort(password.value), judged.insert(user.username.span).inserted {
          short(password, "password")
        }
      }
      for user in configuration.credentials(of: service.handler)
      where (user.password?.value ?? Secret("")) == Secret("") && judged.insert(user.username.span).inserted {
        let name = printable(user.username.value)
        report.add(
          Diagnostic(
            .emptyPassword, "whoever knows the user name `\(name)` gets in: it has no password", .warning,
            at: .init(user.password?.span ?? user.username.span, "no password"),
            help: [
              service.isTun
                ? "give it a `password`, which the client sends as its `passphrase`" : "give it a `password`"
            ]))
      }
    }
  }

  /// NIST SP 800-63B, section 5.1.1.1: what is shorter can be guessed in time, even where guessing is slow.
  private static let leastSecretBytes = 8

  private func isShort(_ secret: Secret) -> Bool {
    secret != Secret("") && secret.byteCount < Self.leastSecretBytes
  }

  private func short(_ secret: Located<Secret>, _ what: String) {
    report.add(
      Diagnostic(
        .shortSecret,
        "a \(what) of \(secret.value.byteCount) \(secret.value.byteCount == 1 ? "byte" : "bytes") can be guessed",
        .warning, at: .init(secret.span, "fewer than \(Self.leastSecretBytes) bytes"),
        help: ["make one by `head -c 12 /dev/urandom | base64`, here and at the other end"]))
  }

  private func isLoopback(_ address: HostPort?) -> Bool {
    guard let address else { return false }
    return address.literal?.isLoopback ?? (address.host == "localhost")
  }

  private func isReported(_ span: SourceSpan) -> Bool {
    report.diagnostics.contains { diagnostic in
      guard diagnostic.severity <= .notYet, let place = diagnostic.primary?.span else { return false }
      return place.file == span.file && place.start >= span.start && place.end <= span.end
    }
  }
}
