import CLinux
import Configuration
import Glibc
import LinuxIO
import TLSCodec
import Values

/// TLS credentials from a file's `tls` blocks, with GOST's defaults: a client verifies only when `secure` says so, and a
/// server without a certificate of its own takes the first of
///
/// 1. that of the file's top-level `tls`,
/// 2. `cert.pem` and `key.pem` in the working directory,
/// 3. `auto-ca-cert.pem` and `auto-ca-key.pem` in `$HOME/.gost`, which GOST keeps there,
/// 4. one made on the spot.
///
/// `options` are those of the listener's own block, whoever brings the certificate.
enum CredentialLoading {
  static func server(
    _ own: TLSConfiguration?, fallback: TLSConfiguration?, log: Log
  ) throws(StartReason) -> TLSCredentials {
    let options = try options(own)
    let block = own?.certificate == nil ? fallback : own
    do throws(TLSError) {
      if let (certificate, key) = block?.certificate {
        return try TLSCredentials.server(
          certificate: try read(certificate), key: try read(key),
          clientAuthorities: try block?.authorities.map { (file) throws(TLSError) in try read(file) },
          options: options)
      }
      if let found = standard(options, log) { return found }
      return try TLSCredentials.selfSigned(
        try SelfSignedCertificate(
          commonName: block?.commonName ?? "gost.run", organization: block?.organization ?? "GOST",
          now: culvert_realtime_ns() / 1_000_000_000,
          validity: block?.validity.map { $0.nanoseconds / 1_000_000_000 } ?? 365 * 86_400),
        options: options)
    } catch {
      throw StartReason("the server's certificate: \(error)")
    }
  }

  /// The files that `server` reads for the same blocks, there or not.
  static func files(of own: TLSConfiguration?, fallback: TLSConfiguration?) -> [String] {
    let block = own?.certificate == nil ? fallback : own
    if block?.certificate != nil { return block?.files ?? [] }
    return standardPlaces.flatMap { [$0.certificate, $0.key] }
  }

  /// Where GOST looks for a certificate and its key when a file names none, first things first.
  static var standardPlaces: [(certificate: String, key: String)] {
    var places = [(certificate: "cert.pem", key: "key.pem")]
    if let home = getenv("HOME").map({ String(cString: $0) }), !home.isEmpty {
      places.append(("\(home)/.gost/auto-ca-cert.pem", "\(home)/.gost/auto-ca-key.pem"))
    }
    return places
  }

  /// A certificate from one of these places; one that cannot be used is passed by, as GOST does.
  private static func standard(_ options: TLSOptions, _ log: Log) -> TLSCredentials? {
    for (certificate, key) in standardPlaces where access(certificate, F_OK) == 0 {
      do {
        let found = try TLSCredentials.server(
          certificate: try read(certificate), key: try read(key), options: options)
        log.info("no certificate is named; taking the one that lies ready", ["certificate": certificate])
        return found
      } catch {
        log.warn("a certificate that lies ready cannot be used: \(error)", ["certificate": certificate])
      }
    }
    return nil
  }

  static func client(_ block: TLSConfiguration?) throws(StartReason) -> TLSCredentials {
    let options = try options(block)
    do throws(TLSError) {
      let authorities = try block?.authorities.map { (file) throws(TLSError) in try read(file) }
      let trust: TLSTrust
      if block?.secure?.value == true {
        trust = .chainAndName(authorities: authorities)
      } else if let authorities {
        trust = .chain(authorities: authorities)
      } else {
        trust = .anyone
      }
      var identity: (certificate: [UInt8], key: [UInt8])?
      if let (certificate, key) = block?.certificate { identity = (try read(certificate), try read(key)) }
      return try TLSCredentials.client(trust: trust, identity: identity, options: options)
    } catch {
      throw StartReason("the client's TLS settings: \(error)")
    }
  }

  private static func read(_ path: String) throws(TLSError) -> [UInt8] {
    do {
      return try FileReading.read(path)
    } catch {
      throw .badOptions("\(error)")
    }
  }

  private static func options(_ block: TLSConfiguration?) throws(StartReason) -> TLSOptions {
    var options = TLSOptions()
    if let version = block?.minVersion, !version.value.isEmpty { options.minimumVersion = try parse(version.value) }
    if let version = block?.maxVersion, !version.value.isEmpty { options.maximumVersion = try parse(version.value) }
    return options
  }

  /// The check has refused every other word, and an older version as the highest.
  private static func parse(_ text: String) throws(StartReason) -> TLSVersion {
    switch text.uppercased() {
    case "VERSIONTLS10", "VERSIONTLS11", "VERSIONTLS12": return .tls12
    case "VERSIONTLS13": return .tls13
    default: throw StartReason("TLS version \(text) is not supported; use VersionTLS12 or VersionTLS13")
    }
  }
}

extension TLSConfiguration {
  /// The paths of a certificate and its key, where both are written.
  fileprivate var certificate: (certificate: String, key: String)? {
    guard let certificate = certFile?.value, let key = keyFile?.value, !certificate.isEmpty, !key.isEmpty else {
      return nil
    }
    return (certificate, key)
  }

  /// All files that the block names.
  var files: [String] { [certFile, keyFile, caFile].compactMap { $0?.value }.filter { !$0.isEmpty } }

  fileprivate var authorities: String? { caFile.flatMap { $0.value.isEmpty ? nil : $0.value } }
}

/// A reason without its service, which the caller knows.
struct StartReason: Error, CustomStringConvertible {
  let text: String
  init(_ text: String) { self.text = text }
  var description: String { text }
}
