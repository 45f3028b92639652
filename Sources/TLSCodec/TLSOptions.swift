/// The versions of TLS that we speak.
public enum TLSVersion: Int, Hashable, Comparable, Sendable, CaseIterable {
  case tls10 = 0x0301
  case tls11 = 0x0302
  case tls12 = 0x0303
  case tls13 = 0x0304

  public static func < (left: TLSVersion, right: TLSVersion) -> Bool { left.rawValue < right.rawValue }

  var priority: String {
    switch self {
    case .tls10: "VERS-TLS1.0"
    case .tls11: "VERS-TLS1.1"
    case .tls12: "VERS-TLS1.2"
    case .tls13: "VERS-TLS1.3"
    }
  }
}

/// What a credential allows on its sessions, beyond whom it trusts.
public struct TLSOptions: Hashable, Sendable {
  public var minimumVersion: TLSVersion
  public var maximumVersion: TLSVersion

  public init(minimumVersion: TLSVersion = .tls12, maximumVersion: TLSVersion = .tls13) {
    self.minimumVersion = minimumVersion
    self.maximumVersion = maximumVersion
  }

  /// GnuTLS's priority string: AES-128-GCM first, because the processor does it in hardware and it is what Go's TLS
  /// prefers too; then AES-256-GCM and ChaCha20. Below TLS 1.2 there is no AEAD, so CBC suites join only there. A key that
  /// is sent under the certificate's, which opens all sessions to whoever gets that one later, is not taken: no RSA.
  var streamPriority: String {
    var text = "NORMAL:-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
    if minimumVersion < .tls12 { text += ":+AES-128-CBC:+AES-256-CBC" }
    text += ":-VERS-ALL"
    for version in TLSVersion.allCases.reversed() where (minimumVersion...maximumVersion).contains(version) {
      text += ":+\(version.priority)"
    }
    return text
  }

  /// QUIC is TLS 1.3 only, without the middlebox disguise (RFC 9001, sections 4.2 and 8.4).
  static let quicPriority =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
    + ":%DISABLE_TLS13_COMPAT_MODE"

  /// DTLS 1.2 is all that there is: what is older has no AEAD, and GnuTLS has not 1.3. Keys are agreed on by elliptic
  /// curves alone, and our order decides, not the client's.
  static let datagramPriority =
    "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
    + ":-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:%SERVER_PRECEDENCE"
}
