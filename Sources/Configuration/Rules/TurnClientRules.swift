import PartDescriptors
import Values

/// Clients of a TURN server: nodes with the dialer `turn`, and services with the listener `turn`.
///
/// The two legs of a client have a family each: `family` is that of the way to the server, `allocation` that of the
/// relayed address. One IPv4 and the other IPv6 is what a relay with both is for; a policy that an address in the same
/// file contradicts is a mistake.
struct TurnClientRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for node in configuration.allNodes where node.dialer.descriptor?.name == "turn" {
      guard node.connector.descriptor?.name == "turn", let client = node.turn else { continue }
      credentials(client, of: "the node", auth: node.connector.auth, at: node.connector.type, node.dialer.metadata)
      family(client)
    }
    for service in configuration.services where service.listener.descriptor?.name == "turn" {
      guard service.handler.descriptor?.isAvailable == true, service.handler.descriptor?.name != "turn" else {
        continue
      }
      server(service)
      port(service)
      guard let client = service.turnClient else { continue }
      credentials(
        client, of: "the listener", auth: service.listener.auth, at: service.listener.type, service.listener.metadata)
      family(client)
      permit(service, client)
    }
  }

  private func server(_ service: ServiceConfiguration) {
    guard let entry = service.listener.metadata.entry("server"), let text = service.listener.metadata.string("server")
    else {
      if !report.mends("server", inside: service.span) {
        report.add(
          Diagnostic(
            .missingReference, "the listener `turn` needs the `server` whose address it takes",
            at: .init(service.listener.type.span, "`metadata.server` is missing"),
            help: ["write `server: turn.example.org:3478` into its `metadata`"]))
      }
      return
    }
    switch AddressText.read(text) {
    case .failure(let problem):
      report.add(
        Diagnostic(
          .badAddress, "`\(printable(text))` is not an address with a port", at: .init(entry.valueSpan, problem.label),
          help: problem.help,
          fix: problem.replacement.map { .replace(entry.valueSpan, with: $0, "write `\(printable($0))`") }))
    case .success(let address):
      guard address.port == 0 || address.host.isEmpty else { return }
      report.add(
        Diagnostic(
          .badAddress, "a TURN server has a host and a port",
          at: .init(entry.valueSpan, address.host.isEmpty ? "no host" : "port 0"),
          help: ["3478 is the usual port, and 5349 the one of TLS"]))
    }
  }

  /// The server chooses the port of an allocation.
  private func port(_ service: ServiceConfiguration) {
    guard let address = service.address, address.port != 0 || !address.host.isEmpty, !service.addr.value.isEmpty else {
      return
    }
    report.add(
      Diagnostic(
        .portWithoutMeaning, "the server chooses the address and the port of \(service.title)", .warning,
        at: .init(service.addr.span, "has no effect"), notes: ["`culvert path` shows which they are"],
        fix: .replace(service.addr.span, with: ":0", "write `:0`")))
  }

  private func credentials(
    _ client: TurnClientConfiguration, of who: String, auth: Credentials?, at type: Located<String>,
    _ metadata: Metadata
  ) {
    if let entry = metadata.entry("secret"), let password = auth?.password, !password.value.isEmpty {
      report.add(
        Diagnostic(
          .ignoredAuthentication, "`password` has no effect beside `secret`", .warning,
          at: .init(password.span, "never used"), and: [.init(entry.key.span, "passwords are made of it")],
          help: ["remove one of the two"]))
    } else if client.username == nil, client.secret == nil, !reported(type.span) {
      report.add(
        Diagnostic(
          .turnWithoutCredentials, "\(who) has no credentials, and a TURN server relays for nobody without some",
          .warning, at: .init(type.span, "`auth` is missing beside this"),
          help: [
            report.isArgument(type.span)
              ? "write `user:password@` before the address, or `?secret=…`"
              : "give it `auth` with `username` and `password`, or the server's `secret` in the `metadata`"
          ]))
    }
  }

  private func reported(_ span: SourceSpan) -> Bool {
    report.diagnostics.contains { $0.primary?.span == span && $0.severity == .error }
  }

  private func family(_ client: TurnClientConfiguration) {
    guard let literal = client.server.literal?.canonical, !client.family.allows(literal.family),
      let place = client.familySpan
    else { return }
    report.add(
      Diagnostic(
        .turnFamily, "`family` forbids \(literal.family), and the server's address is an \(literal.family) one",
        at: .init(client.span, "never sent to"), and: [.init(place, "forbids it")],
        notes: ["`family` is that of the leg to the server; that of the relayed address is `allocation`"],
        help: ["write the server's name or its other address, or another `family`"]))
  }

  private func permit(_ service: ServiceConfiguration, _ client: TurnClientConfiguration) {
    guard let entry = service.listener.metadata.entry("permit"),
      let only = client.allocation.policy.only
    else { return }
    for (index, address) in client.permit.enumerated() where address.canonical.family != only {
      report.add(
        Diagnostic(
          .turnFamily, "no \(address.canonical.family) peer reaches an \(only) allocation",
          at: .init(entry.itemSpan(index), "an \(address.canonical.family) address"),
          and: client.allocationSpan.map { [.init($0, "the relayed address")] } ?? [],
          help: ["write `allocation: both`, or remove the address"]))
    }
  }
}
