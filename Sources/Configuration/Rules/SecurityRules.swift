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
        service.handler.descriptor?.isAvailable == true, let tls = service.listener.tls
      else {
        continue
      }
      block(tls, of: listener, type: service.listener.type, isServer: true)
    }
    for node in configuration.allNodes {
      guard let dialer = node.dialer.descriptor, dialer.isAvailable, node.connector.descriptor?.isAvailable == true,
        let tls = node.dialer.tls
      else { continue }
      block(tls, of: dialer, type: node.dialer.type, isServer: false)
    }
    if let tls = configuration.tls { certificate(tls, isServer: true) }
  }

  private func reported(inside span: SourceSpan) -> Bool {
    report.diagnostics.contains { diagnostic in
      guard let place = diagnostic.primary?.span else { return false }
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

  private func block(_ tls: TLSConfiguration, of part: PartDescriptor, type: Located<String>, isServer: Bool) {
    guard part.encrypts else {
      report.add(
        Diagnostic(
          .tlsWithoutEffect, "a `tls` block has no effect on the \(part.kind.rawValue) `\(type.value)`",
          at: .init(type.span, "sends in the clear"), and: [.init(keySpan(tls), "never used")],
          notes: ["GOST ignores the block without a word"],
          fix: type.value == "tcp" && type.span.end - type.span.start == 3
            ? Diagnostic.Fix("write `tls`, here and at the other end", [.init(type.span, "tls")], isCertain: false)
            : nil))
      return
    }
    certificate(tls, isServer: isServer)
  }

  private func certificate(_ tls: TLSConfiguration, isServer: Bool) {
    if let only = tls.certFile ?? tls.keyFile, (tls.certFile == nil) != (tls.keyFile == nil) {
      let missing = tls.certFile == nil ? "certFile" : "keyFile"
      report.add(
        Diagnostic(
          .certificateWithoutKey, "a certificate and its key go together; `\(missing)` is missing",
          at: .init(only.span, "without `\(missing)`"),
          notes: isServer ? ["GOST would take a certificate that it makes itself"] : []))
    } else if isServer, let ca = tls.caFile, tls.certFile == nil {
      report.add(
        Diagnostic(
          .serverCAWithoutCertificate, "clients are not verified: `caFile` needs `certFile` and `keyFile` beside it",
          at: .init(ca.span, "GOST ignores it alone")))
    }
    let versions = ["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"]
    for version in [tls.minVersion, tls.maxVersion].compactMap({ $0 }) where !versions.contains(version.value) {
      let digit = version.value.last.map { "VersionTLS1\($0)" }
      let near = versions.first { $0 == digit } ?? NearNames.best(for: version.value, among: versions)
      report.add(
        Diagnostic(
          .tlsVersions, "unknown TLS version `\(printable(version.value))`", at: .init(version.span, "not a version"),
          notes: ["GOST ignores a version that it does not know"],
          help: near == nil ? ["the versions are \(quotedList(versions))"] : [],
          fix: near.map { .replace(version.span, with: $0, "write `\($0)`") }))
    }
    if let low = tls.minVersion, let high = tls.maxVersion, let from = versions.firstIndex(of: low.value),
      let to = versions.firstIndex(of: high.value), from > to
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
