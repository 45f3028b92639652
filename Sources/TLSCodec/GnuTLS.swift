/// The places where GnuTLS's conventions are turned into Swift's: error numbers, texts, facts.
import CGnuTLS
import Values

/// What a failed GnuTLS call on a session means.
package func tlsError(_ code: Int32, session: OpaquePointer?) -> TLSError {
  switch code {
  case GNUTLS_E_FATAL_ALERT_RECEIVED, GNUTLS_E_WARNING_ALERT_RECEIVED:
    guard let session else { return .internalFailure(gnutlsText(code)) }
    let alert = TLSAlert(number: UInt8(truncatingIfNeeded: gnutls_alert_get(session).rawValue))
    return alert == .noApplicationProtocol ? .noCommonApplicationProtocol : .alertReceived(alert)
  case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR, GNUTLS_E_CERTIFICATE_ERROR:
    return .certificateRefused(session.map(verificationText) ?? gnutlsText(code))
  case GNUTLS_E_NO_CERTIFICATE_FOUND, GNUTLS_E_CERTIFICATE_REQUIRED:
    return .certificateRefused("it has none to show")
  case GNUTLS_E_NO_APPLICATION_PROTOCOL:
    return .noCommonApplicationProtocol
  case GNUTLS_E_NO_CIPHER_SUITES, GNUTLS_E_UNKNOWN_CIPHER_SUITE, GNUTLS_E_NO_COMMON_KEY_SHARE,
    GNUTLS_E_UNSUPPORTED_VERSION_PACKET, GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM,
    GNUTLS_E_INSUFFICIENT_SECURITY, GNUTLS_E_NO_PRIORITIES_WERE_SET:
    return .nothingInCommon(gnutlsText(code))
  case GNUTLS_E_UNEXPECTED_PACKET_LENGTH, GNUTLS_E_UNEXPECTED_PACKET, GNUTLS_E_RECORD_OVERFLOW:
    return .notTLS
  case GNUTLS_E_PREMATURE_TERMINATION:
    return .truncated
  case GNUTLS_E_INVALID_SESSION, GNUTLS_E_SESSION_EOF:
    return .closed
  case GNUTLS_E_MEMORY_ERROR, GNUTLS_E_INTERNAL_ERROR, GNUTLS_E_RANDOM_FAILED, GNUTLS_E_INVALID_REQUEST:
    return .internalFailure(gnutlsText(code))
  default:
    return .protocolViolation(gnutlsText(code))
  }
}

/// What our own alert, with which a QUIC handshake ended, says about the other end: the glue between the two libraries
/// keeps the alert and drops GnuTLS's error.
package func handshakeError(alert: TLSAlert, session: OpaquePointer) -> TLSError {
  if alert == .noApplicationProtocol { return .noCommonApplicationProtocol }
  if gnutls_session_get_verify_cert_status(session) != 0, gnutls_session_get_verify_cert_status(session) != .max {
    return .certificateRefused(verificationText(session))
  }
  switch alert.name {
  case "certificate_required", "no_certificate": return .certificateRefused("it has none to show")
  case "handshake_failure", "protocol_version", "insufficient_security", "missing_extension":
    return .nothingInCommon("our alert was \(alert)")
  default: return .protocolViolation("our alert was \(alert)")
  }
}

func gnutlsText(_ code: Int32) -> String {
  gnutls_strerror(code).map { String(cString: $0) } ?? "GnuTLS error \(code)"
}

private func verificationText(_ session: OpaquePointer) -> String {
  var text = gnutls_datum_t()
  let status = gnutls_session_get_verify_cert_status(session)
  guard gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0, let data = text.data
  else { return "its verification failed" }
  defer { culvert_gnutls_free(data) }
  let bytes = UnsafeBufferPointer(start: data, count: Int(text.size))
  var words = String(decoding: bytes, as: UTF8.self)
  for prefix in ["The certificate is NOT trusted. ", "The certificate is NOT trusted."] where words.hasPrefix(prefix) {
    words.removeFirst(prefix.count)
  }
  while let last = words.last, last == " " || last == "." || last == "\0" || last == "\n" { words.removeLast() }
  return words.isEmpty ? "it is not trusted" : words
}

/// What the handshake of a session settled.
package func tlsFacts(of session: OpaquePointer, peerVerified: Bool?) -> TLSFacts {
  let version = gnutls_protocol_get_name(gnutls_protocol_get_version(session)).map { String(cString: $0) }
  let suite = gnutls_ciphersuite_get(session).map { String(cString: $0) }
  return TLSFacts(
    version: version ?? "unknown", cipherSuite: suite ?? "unknown", applicationProtocol: selectedProtocol(of: session),
    peerVerified: peerVerified)
}

/// The application protocol that the handshake chose; `nil` where none was.
package func selectedProtocol(of session: OpaquePointer) -> String? {
  var chosen = gnutls_datum_t()
  guard gnutls_alpn_get_selected_protocol(session, &chosen) == 0, let data = chosen.data else { return nil }
  return String(decoding: UnsafeBufferPointer(start: data, count: Int(chosen.size)), as: UTF8.self)
}

/// Offers application protocols, the first the most wanted. A server's order decides, as in Go's TLS, and no overlap
/// ends the handshake.
package func offer(applicationProtocols: [String], on session: OpaquePointer) throws(TLSError) {
  guard !applicationProtocols.isEmpty else { return }
  let names = applicationProtocols.map { Array($0.utf8) }
  guard names.allSatisfy({ (1...255).contains($0.count) }) else {
    throw .badOptions("an application protocol's name has 1 to 255 bytes")
  }
  // One arena for all names: the datums point into it only for the length of the call, which copies them.
  var arena = names.flatMap { $0 }
  let code = arena.withUnsafeMutableBufferPointer { bytes in
    var offset = 0
    var datums: [gnutls_datum_t] = []
    for name in names {
      datums.append(gnutls_datum_t(data: bytes.baseAddress.map { $0 + offset }, size: UInt32(name.count)))
      offset += name.count
    }
    let flags = GNUTLS_ALPN_MANDATORY.rawValue | GNUTLS_ALPN_SERVER_PRECEDENCE.rawValue
    return gnutls_alpn_set_protocols(session, datums, UInt32(datums.count), flags)
  }
  guard code == 0 else { throw .badOptions(gnutlsText(code)) }
}

/// Runs `body` with a datum that points at `bytes`.
func withDatum<Result>(_ bytes: [UInt8], _ body: (UnsafePointer<gnutls_datum_t>) -> Result) -> Result {
  var copy = bytes
  return copy.withUnsafeMutableBufferPointer { buffer in
    var datum = gnutls_datum_t(data: buffer.baseAddress, size: UInt32(buffer.count))
    return withUnsafePointer(to: &datum, body)
  }
}

/// One line in the key log's format (client random in hex), for tools that decrypt captures.
package func keyLogLine(session: OpaquePointer, label: UnsafePointer<CChar>, secret: UnsafeRawPointer) -> String? {
  let datum = secret.assumingMemoryBound(to: gnutls_datum_t.self).pointee
  var client = gnutls_datum_t()
  var server = gnutls_datum_t()
  gnutls_session_get_random(session, &client, &server)
  guard let random = client.data, let key = datum.data else { return nil }
  let hex = { (start: UnsafeMutablePointer<UInt8>, count: UInt32) in
    UnsafeBufferPointer(start: start, count: Int(count)).map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined()
  }
  return "\(String(cString: label)) \(hex(random, client.size)) \(hex(key, datum.size))"
}

/// Random bytes from the library's generator; `false` when the system has none to give.
package func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
  guard let base = bytes.baseAddress else { return true }
  return gnutls_rnd(GNUTLS_RND_RANDOM, base, bytes.count) == 0
}
