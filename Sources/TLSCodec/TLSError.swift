/// Why a TLS session or a credential did not work, and whose doing it was.
///
/// The cases are what a reader can act on; GnuTLS's own number and words survive only in the text of the cases that
/// name nothing better.
public enum TLSError: Error, Hashable, Sendable {
  /// A certificate, key or authority of ours cannot be read or does not fit; the text says which and why.
  case badCertificate(String)
  /// A version range or another option that leaves nothing to negotiate.
  case badOptions(String)
  /// The other end's certificate did not pass our verification; the text says how it failed.
  case certificateRefused(String)
  /// The other end ended the session with this alert.
  case alertReceived(TLSAlert)
  /// The two ends have no application protocol in common (RFC 7301, section 3.2).
  case noCommonApplicationProtocol
  /// The two ends have no version, cipher suite or group in common.
  case nothingInCommon(String)
  /// What arrived is not TLS.
  case notTLS
  /// A DTLS handshake was not over in time.
  case handshakeTimedOut
  /// The stream ended without a close_notify alert, so that a cut cannot be told from an end (RFC 8446, section 6.1).
  case truncated
  /// The other end broke the protocol.
  case protocolViolation(String)
  /// The session was closed or has failed before.
  case closed
  /// The library or the system failed us.
  case internalFailure(String)

  /// Who is to blame.
  public var blame: TLSBlame {
    switch self {
    case .badCertificate, .badOptions: .configuration
    case .certificateRefused, .alertReceived, .noCommonApplicationProtocol, .nothingInCommon, .notTLS,
      .protocolViolation:
      .peer
    case .truncated, .handshakeTimedOut: .network
    case .closed, .internalFailure: .us
    }
  }
}

/// Whose doing an error is.
public enum TLSBlame: String, Hashable, Sendable {
  case peer
  case network
  case us
  case configuration
}

extension TLSError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .badCertificate(let text): "the certificate or key cannot be used: \(text)"
    case .badOptions(let text): "the TLS options cannot be used: \(text)"
    case .certificateRefused(let text): "the other end's certificate was refused: \(text)"
    case .alertReceived(let alert): "the other end refused with the TLS alert \(alert)"
    case .noCommonApplicationProtocol: "the two ends have no application protocol (ALPN) in common"
    case .nothingInCommon(let text): "the two ends have no TLS parameters in common: \(text)"
    case .notTLS: "the other end does not speak TLS"
    case .handshakeTimedOut: "the other end did not finish its handshake"
    case .truncated: "the connection ended in the middle of a TLS session"
    case .protocolViolation(let text): "the other end broke the TLS protocol: \(text)"
    case .closed: "the TLS session is closed"
    case .internalFailure(let text): "the TLS library failed: \(text)"
    }
  }
}

/// A TLS alert by its number (RFC 8446, section 6; the registry names the rest).
public struct TLSAlert: Hashable, Sendable {
  public let number: UInt8

  public init(number: UInt8) { self.number = number }

  public static let closeNotify = TLSAlert(number: 0)
  public static let handshakeFailure = TLSAlert(number: 40)
  public static let noApplicationProtocol = TLSAlert(number: 120)

  /// The registered name, or `nil` for a number that has none.
  public var name: String? {
    switch number {
    case 0: "close_notify"
    case 10: "unexpected_message"
    case 20: "bad_record_mac"
    case 21: "decryption_failed"
    case 22: "record_overflow"
    case 30: "decompression_failure"
    case 40: "handshake_failure"
    case 41: "no_certificate"
    case 42: "bad_certificate"
    case 43: "unsupported_certificate"
    case 44: "certificate_revoked"
    case 45: "certificate_expired"
    case 46: "certificate_unknown"
    case 47: "illegal_parameter"
    case 48: "unknown_ca"
    case 49: "access_denied"
    case 50: "decode_error"
    case 51: "decrypt_error"
    case 60: "export_restriction"
    case 70: "protocol_version"
    case 71: "insufficient_security"
    case 80: "internal_error"
    case 86: "inappropriate_fallback"
    case 90: "user_canceled"
    case 100: "no_renegotiation"
    case 109: "missing_extension"
    case 110: "unsupported_extension"
    case 111: "certificate_unobtainable"
    case 112: "unrecognized_name"
    case 113: "bad_certificate_status_response"
    case 114: "bad_certificate_hash_value"
    case 115: "unknown_psk_identity"
    case 116: "certificate_required"
    case 120: "no_application_protocol"
    default: nil
    }
  }
}

extension TLSAlert: CustomStringConvertible {
  /// The name and the number: `no_application_protocol (120)`.
  public var description: String { name.map { "\($0) (\(number))" } ?? "\(number)" }
}
