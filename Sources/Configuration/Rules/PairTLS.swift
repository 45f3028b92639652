import PartDescriptors
import Values

/// What comes before the first byte of the protocol: a PROXY header, TLS. Two ends that do not agree there never get to
/// speak, and each logs a handshake that failed.
extension PairRules {
  func handshake(_ node: NodeConfiguration, _ match: Match) {
    proxyHeader(node, match)
    guard let dialer = node.dialer.descriptor, let listener = match.service.listener.descriptor, node.encrypts,
      listener.encrypts
    else { return }
    let server = match.service.listener.tls ?? match.end.tls
    clientCertificate(node, server, match.service)
    versions(node, match.service)
    if dialer.key("maxIdleTimeout") != nil { protocols(node, dialer, match.service) }
  }

  private func proxyHeader(_ node: NodeConfiguration, _ match: Match) {
    guard node.proxyProtocol != nil, !match.service.expectsProxyHeader,
      node.dialer.descriptor?.abilities.contains(.proxyProtocol) == true
    else { return }
    let place = node.metadata.entry("proxyProtocol")?.valueSpan ?? node.addr.span
    report.add(
      Diagnostic(
        .peerProxyHeader, "the client sends a PROXY header, and \(match.service.title) expects none",
        at: .init(place, "sent before everything else"),
        and: [.init(match.service.listener.type.span, "takes it for its own protocol")],
        notes: ["each connection fails with its first bytes"],
        help: ["write `proxyProtocol: 1` into the `metadata` of the service, or remove it here"]))
  }

  /// A server's `caFile` beside its certificate asks clients for one.
  private func clientCertificate(
    _ node: NodeConfiguration, _ server: TLSConfiguration?, _ service: ServiceConfiguration
  ) {
    guard let server, let authority = server.caFile, server.certFile != nil, node.dialer.tls?.certFile == nil else {
      return
    }
    report.add(
      Diagnostic(
        .peerTLS, "\(service.title) asks its clients for a certificate, and this one has none",
        at: .init(node.dialer.tls?.span.firstByte ?? node.dialer.type.span, "`certFile` and `keyFile` are missing"),
        and: [.init(authority.span, "signs the clients' certificates")],
        help: ["give the dialer's `tls` a `certFile` and a `keyFile` that this authority has signed"]))
  }

  private func versions(_ node: NodeConfiguration, _ service: ServiceConfiguration) {
    func number(_ text: Located<String>?) -> Int? { text.flatMap { TLSVersions.number(of: $0.value) } }
    let (client, server) = (node.dialer.tls, service.listener.tls)
    for (low, high) in [(client?.minVersion, server?.maxVersion), (server?.minVersion, client?.maxVersion)] {
      guard let low, let high, let from = number(low), let to = number(high), from > to else { continue }
      report.add(
        Diagnostic(
          .peerTLS, "the client and \(service.title) have no TLS version in common",
          at: .init(low.span, "at least this"), and: [.init(high.span, "at most this")]))
    }
  }

  /// QUIC needs a protocol that both ends name.
  private func protocols(_ node: NodeConfiguration, _ dialer: PartDescriptor, _ service: ServiceConfiguration) {
    let usual = ["h3", "quic/v1"]
    let own = node.dialer.tls?.alpn ?? []
    // The listeners `icmp` and `icmp6` take the usual ones, whatever is written.
    let written = dialer.portMeaning == .echoIdentifier ? [] : service.listener.tls?.alpn ?? []
    let served = written.isEmpty ? usual : written.map(\.value)
    let asked = own.isEmpty ? usual : own.map(\.value)
    guard !asked.contains(where: served.contains), let first = own.first ?? written.first else { return }
    report.add(
      Diagnostic(
        .peerTLS, "the client and \(service.title) have no protocol in common: QUIC needs one in `alpn`",
        at: .init(own.first?.span ?? node.dialer.type.span, "asks for \(quotedList(asked))"),
        and: [.init(written.first?.span ?? service.listener.type.span, "takes \(quotedList(served))")],
        fix: own.count == 1 && served.count == 1
          ? Diagnostic.Fix("write `\(printable(served[0]))`", [.init(first.span, served[0])], isCertain: false) : nil))
  }
}

/// GOST's names of TLS versions, in any case.
enum TLSVersions {
  static let names = ["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"]

  /// 0 to 3 for TLS 1.0 to 1.3.
  static func number(of text: String) -> Int? { names.firstIndex { $0.lowercased() == text.lowercased() } }
}

extension SourceSpan {
  /// A collection's place for a label.
  fileprivate var firstByte: SourceSpan { SourceSpan(file: file, start: start, end: start + 1) }
}
