/// A certificate that vouches for itself, for servers that were given none.
///
/// GOST makes an ECDSA P-256 certificate for `gost.run` of the organisation GOST, valid for a year, and its clients
/// do not verify by default; ours has the same fields so that a user who pins or inspects it sees what they know.
import CGnuTLS

public struct SelfSignedCertificate: Sendable {
  /// PEM.
  public let certificate: [UInt8]
  /// PEM.
  public let key: [UInt8]

  /// Makes a new key and a certificate for it.
  ///
  /// - Parameters:
  ///   - now: wall time in seconds since 1970; the certificate is valid from an hour before it.
  ///   - validity: seconds from `now` on.
  public init(
    commonName: String = "gost.run", organization: String = "GOST", now: Int64, validity: Int64 = 365 * 86_400
  ) throws(TLSError) {
    var keyHandle: gnutls_x509_privkey_t?
    try check(gnutls_x509_privkey_init(&keyHandle))
    guard let privateKey = keyHandle else { throw .internalFailure("no memory for a key") }
    defer { gnutls_x509_privkey_deinit(privateKey) }
    // A curve is asked for as "bits" with the top bit set: GNUTLS_CURVE_TO_BITS is a macro with arguments.
    let curve = UInt32(1) << 31 | GNUTLS_ECC_CURVE_SECP256R1.rawValue
    try check(gnutls_x509_privkey_generate(privateKey, GNUTLS_PK_ECDSA, curve, 0))

    var certificateHandle: gnutls_x509_crt_t?
    try check(gnutls_x509_crt_init(&certificateHandle))
    guard let crt = certificateHandle else { throw .internalFailure("no memory for a certificate") }
    defer { gnutls_x509_crt_deinit(crt) }
    try Self.fill(crt, privateKey, commonName, organization, from: now - 3600, to: now + validity)
    try check(gnutls_x509_crt_sign2(crt, crt, privateKey, GNUTLS_DIG_SHA256, 0))

    certificate = try Self.exported { gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, $0) }
    key = try Self.pem(of: privateKey)
  }

  /// The key as RFC 5915 has it, the number in exactly 32 bytes. GnuTLS's own export writes half of all keys with a
  /// 33rd, because it takes the number for a signed one, and strict readers (Python's cryptography) refuse those.
  private static func pem(of key: gnutls_x509_privkey_t) throws(TLSError) -> [UInt8] {
    var x = gnutls_datum_t()
    var y = gnutls_datum_t()
    var number = gnutls_datum_t()
    try check(gnutls_x509_privkey_export_ecc_raw(key, nil, &x, &y, &number))
    defer { for part in [x, y, number] { culvert_gnutls_free(part.data) } }
    let fixed = { (datum: gnutls_datum_t) -> [UInt8] in
      let bytes = Array(UnsafeBufferPointer(start: datum.data, count: Int(datum.size)))
      return [UInt8](repeating: 0, count: max(0, 32 - bytes.count)) + bytes.suffix(32)
    }
    let prime256v1: [UInt8] = [0xA0, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]
    let head: [UInt8] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20]
    let point: [UInt8] = [0xA1, 0x44, 0x03, 0x42, 0x00, 0x04]
    let der = head + fixed(number) + prime256v1 + point + fixed(x) + fixed(y)
    return try exported { result in withDatum(der) { gnutls_pem_base64_encode2("EC PRIVATE KEY", $0, result) } }
  }

  private static func fill(
    _ crt: gnutls_x509_crt_t, _ key: gnutls_x509_privkey_t, _ name: String, _ organization: String,
    from: Int64, to: Int64
  ) throws(TLSError) {
    try check(gnutls_x509_crt_set_version(crt, 3))
    try check(gnutls_x509_crt_set_key(crt, key))
    var serial = [UInt8](repeating: 0, count: 16)
    guard serial.withUnsafeMutableBytes(fillRandom) else { throw .internalFailure("no random bytes") }
    serial[0] = serial[0] & 0x7F | 0x40
    try check(gnutls_x509_crt_set_serial(crt, serial, serial.count))
    try check(gnutls_x509_crt_set_activation_time(crt, Int(from)))
    try check(gnutls_x509_crt_set_expiration_time(crt, Int(to)))
    try check(set(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, organization))
    try check(set(crt, GNUTLS_OID_X520_COMMON_NAME, name))
    let alternative = Array(name.utf8)
    try check(
      gnutls_x509_crt_set_subject_alt_name(
        crt, GNUTLS_SAN_DNSNAME, alternative, UInt32(alternative.count), UInt32(GNUTLS_FSAN_SET)))
    try check(gnutls_x509_crt_set_basic_constraints(crt, 1, -1))
    let usage = UInt32(GNUTLS_KEY_DIGITAL_SIGNATURE) | UInt32(GNUTLS_KEY_KEY_CERT_SIGN)
    try check(gnutls_x509_crt_set_key_usage(crt, usage))
    try check(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0))
    try check(gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0))
  }

  private static func set(_ crt: gnutls_x509_crt_t, _ oid: String, _ text: String) -> Int32 {
    let bytes = Array(text.utf8)
    return gnutls_x509_crt_set_dn_by_oid(crt, oid, 0, bytes, UInt32(bytes.count))
  }

  private static func exported(_ export: (UnsafeMutablePointer<gnutls_datum_t>) -> Int32) throws(TLSError) -> [UInt8] {
    var datum = gnutls_datum_t()
    try check(export(&datum))
    guard let data = datum.data else { throw .internalFailure("nothing was exported") }
    defer { culvert_gnutls_free(data) }
    return Array(UnsafeBufferPointer(start: data, count: Int(datum.size)))
  }
}

private func check(_ code: Int32) throws(TLSError) {
  guard code >= 0 else { throw .internalFailure(gnutlsText(code)) }
}
