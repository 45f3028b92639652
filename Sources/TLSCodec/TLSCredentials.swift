/// Who we are and whom we trust, made once and shared by any number of sessions.
///
/// A server shows a certificate, read from PEM bytes or made on the spot; a client shows one only if it was given one.
/// Trust is GOST's: none by default, the chain alone where only an authority was given, chain and name where the file
/// says `secure`. The credentials hold GnuTLS's object and free it at the end; nothing here reads a file or a clock
/// (GnuTLS looks at the time itself when it verifies a chain).
///
/// Safety of the unchecked conformance: nothing is changed after `init`, and GnuTLS allows sessions on several threads
/// to share certificate credentials that do not change any more.
import CGnuTLS
import Values

public final class TLSCredentials: @unchecked Sendable {
  public let options: TLSOptions
  public let trust: TLSTrust
  let handle: gnutls_certificate_credentials_t
  let streamPriority: gnutls_priority_t
  let quicPriority: gnutls_priority_t
  let datagramPriority: gnutls_priority_t
  package let isServer: Bool

  /// A server's credentials: a PEM chain, leaf first, and its PEM key.
  ///
  /// With `clientAuthorities` (PEM) a client must show a certificate that they signed.
  public static func server(
    certificate: [UInt8], key: [UInt8], clientAuthorities: [UInt8]? = nil, options: TLSOptions = TLSOptions()
  ) throws(TLSError) -> TLSCredentials {
    let trust: TLSTrust = clientAuthorities.map { .chain(authorities: $0) } ?? .anyone
    return try TLSCredentials(
      isServer: true, identity: (certificate, key), trust: trust, options: options)
  }

  /// A server's credentials with a certificate made on the spot, as GOST makes one where the file names none.
  public static func selfSigned(
    _ certificate: SelfSignedCertificate, options: TLSOptions = TLSOptions()
  ) throws(TLSError) -> TLSCredentials {
    try server(certificate: certificate.certificate, key: certificate.key, options: options)
  }

  /// A client's credentials; `identity` is a PEM chain and key to show to servers that ask.
  public static func client(
    trust: TLSTrust = .anyone, identity: (certificate: [UInt8], key: [UInt8])? = nil,
    options: TLSOptions = TLSOptions()
  ) throws(TLSError) -> TLSCredentials {
    try TLSCredentials(isServer: false, identity: identity, trust: trust, options: options)
  }

  private init(
    isServer: Bool, identity: (certificate: [UInt8], key: [UInt8])?, trust: TLSTrust, options: TLSOptions
  ) throws(TLSError) {
    guard options.minimumVersion <= options.maximumVersion else {
      throw .badOptions("the lowest version is above the highest")
    }
    var allocated: gnutls_certificate_credentials_t?
    guard gnutls_certificate_allocate_credentials(&allocated) == 0, let handle = allocated else {
      throw .internalFailure("no memory for credentials")
    }
    var made: [gnutls_priority_t] = []
    do throws(TLSError) {
      try Self.load(identity, trust, into: handle)
      for text in [options.streamPriority, TLSOptions.quicPriority, TLSOptions.datagramPriority] {
        made.append(try Self.priority(text))
      }
    } catch {
      for priority in made { gnutls_priority_deinit(priority) }
      gnutls_certificate_free_credentials(handle)
      throw error
    }
    (streamPriority, quicPriority, datagramPriority) = (made[0], made[1], made[2])
    self.handle = handle
    self.isServer = isServer
    self.trust = trust
    self.options = options
  }

  deinit {
    gnutls_priority_deinit(streamPriority)
    gnutls_priority_deinit(quicPriority)
    gnutls_priority_deinit(datagramPriority)
    gnutls_certificate_free_credentials(handle)
  }

  private static func load(
    _ identity: (certificate: [UInt8], key: [UInt8])?, _ trust: TLSTrust, into handle: gnutls_certificate_credentials_t
  ) throws(TLSError) {
    if let identity {
      let code = withDatum(identity.certificate) { certificate in
        withDatum(identity.key) { key in
          gnutls_certificate_set_x509_key_mem2(handle, certificate, key, GNUTLS_X509_FMT_PEM, nil, 0)
        }
      }
      guard code >= 0 else { throw .badCertificate(gnutlsText(code)) }
    }
    switch trust {
    case .anyone: break
    case .chain(let authorities), .chainAndName(let authorities):
      if let authorities {
        let code = withDatum(authorities) {
          gnutls_certificate_set_x509_trust_mem(handle, $0, GNUTLS_X509_FMT_PEM)
        }
        guard code > 0 else {
          throw .badCertificate(code == 0 ? "there is no authority in the file" : gnutlsText(code))
        }
      } else {
        let code = gnutls_certificate_set_x509_system_trust(handle)
        guard code >= 0 else { throw .badCertificate("the system's authorities: \(gnutlsText(code))") }
      }
    }
  }

  private static func priority(_ text: String) throws(TLSError) -> gnutls_priority_t {
    var cache: gnutls_priority_t?
    let code = gnutls_priority_init(&cache, text, nil)
    guard code == 0, let cache else { throw .badOptions(gnutlsText(code)) }
    return cache
  }
}

/// Whom a session believes.
public enum TLSTrust: Hashable, Sendable {
  /// Any certificate, as GOST's clients do unless told otherwise. The facts then say that nothing was verified.
  case anyone
  /// The chain must lead to one of these authorities (PEM; `nil`: the system's); the name is not compared.
  case chain(authorities: [UInt8]?)
  /// The chain, and the certificate must be for the name that was asked for.
  case chainAndName(authorities: [UInt8]?)
}

/// Which kind of carrier a session is for.
package enum TLSCarrier {
  case stream
  case quic
  case datagrams
}

extension TLSCredentials {
  /// Whether a finished session's peer was verified; `nil` at a server that asks for no certificate.
  package var peerVerified: Bool? {
    if trust != .anyone { return true }
    return isServer ? nil : false
  }
}

/// A GnuTLS session with all that must live as long as it does: the credentials and the name to compare.
package final class GnuTLSSession {
  package let pointer: OpaquePointer
  package let credentials: TLSCredentials
  /// GnuTLS keeps the pointer to the expected name, not the text.
  private let expectedName: UnsafeMutableBufferPointer<CChar>?

  /// - Parameters:
  ///   - serverName: sent as the server name and, with `chainAndName`, compared; a client's only.
  ///   - applicationProtocols: offered or accepted, the first the most wanted; empty for none.
  package init(
    credentials: TLSCredentials, carrier: TLSCarrier, serverName: String?, applicationProtocols: [String]
  ) throws(TLSError) {
    // No tickets: we neither resume nor send early data, so each would be bytes on the wire for nothing.
    var flags = credentials.isServer ? UInt32(GNUTLS_SERVER) : UInt32(GNUTLS_CLIENT)
    flags |= GNUTLS_NO_TICKETS.rawValue
    switch carrier {
    case .stream: flags |= UInt32(GNUTLS_NONBLOCK)
    case .datagrams: flags |= UInt32(GNUTLS_DATAGRAM) | UInt32(GNUTLS_NONBLOCK) | GNUTLS_NO_SIGNAL.rawValue
    case .quic: flags |= GNUTLS_NO_END_OF_EARLY_DATA.rawValue | GNUTLS_NO_AUTO_SEND_TICKET.rawValue
    }
    var created: gnutls_session_t?
    let code = gnutls_init(&created, flags)
    guard code == 0, let session = created else { throw .internalFailure(gnutlsText(code)) }
    pointer = session
    self.credentials = credentials
    if !credentials.isServer, case .chainAndName = credentials.trust, let serverName {
      let text = Array(serverName.utf8CString)
      let copy = UnsafeMutableBufferPointer<CChar>.allocate(capacity: text.count)
      _ = copy.initialize(from: text)
      expectedName = copy
    } else {
      expectedName = nil
    }
    try configure(carrier: carrier, serverName: serverName, applicationProtocols: applicationProtocols)
  }

  deinit {
    gnutls_deinit(pointer)
    expectedName?.deallocate()
  }

  private func configure(
    carrier: TLSCarrier, serverName: String?, applicationProtocols: [String]
  ) throws(TLSError) {
    let priority =
      switch carrier {
      case .stream: credentials.streamPriority
      case .quic: credentials.quicPriority
      case .datagrams: credentials.datagramPriority
      }
    var code = gnutls_priority_set(pointer, priority)
    guard code == 0 else { throw .badOptions(gnutlsText(code)) }
    code = gnutls_credentials_set(pointer, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(credentials.handle))
    guard code == 0 else { throw .internalFailure(gnutlsText(code)) }
    try offer(applicationProtocols: applicationProtocols, on: pointer)
    if credentials.isServer {
      guard credentials.trust != .anyone else { return }
      gnutls_certificate_server_set_request(pointer, GNUTLS_CERT_REQUIRE)
      gnutls_session_set_verify_cert(pointer, nil, 0)
      return
    }
    // An address is never sent as a server name (RFC 6066, section 3), but it is compared with the certificate.
    if let serverName, !serverName.isEmpty, IPAddress(serverName) == nil {
      code = serverName.withCString { gnutls_server_name_set(pointer, GNUTLS_NAME_DNS, $0, serverName.utf8.count) }
      guard code == 0 else { throw .badOptions("the server name: \(gnutlsText(code))") }
    }
    switch credentials.trust {
    case .anyone: break
    case .chain: gnutls_session_set_verify_cert(pointer, nil, 0)
    case .chainAndName:
      guard let expectedName, expectedName.count > 1 else { throw .badOptions("verification needs the server's name") }
      gnutls_session_set_verify_cert(pointer, expectedName.baseAddress, 0)
    }
  }
}
