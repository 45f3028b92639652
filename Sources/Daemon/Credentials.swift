import CLinux
import Configuration
import LinuxIO
import TLSCodec
import Values

/// TLS credentials from a file's `tls` blocks, with GOST's defaults: a server without a certificate makes one, a client
/// verifies only when `secure` says so.
enum CredentialLoading {
  static func server(_ block: TLSConfiguration?, fallback: TLSConfiguration?) throws(StartReason) -> TLSCredentials {
    let block = block ?? fallback
    let options = try options(block)
    do throws(TLSError) {
      if let certificate = block?.certFile, let key = block?.keyFile {
        return try TLSCredentials.server(
          certificate: try read(certificate.value), key: try read(key.value),
          clientAuthorities: try block?.caFile.map { (file) throws(TLSError) in try read(file.value) },
          options: options)
      }
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

  static func client(_ block: TLSConfiguration?) throws(StartReason) -> TLSCredentials {
    let options = try options(block)
    do throws(TLSError) {
      let authorities = try block?.caFile.map { (file) throws(TLSError) in try read(file.value) }
      let trust: TLSTrust
      if block?.secure?.value == true {
        trust = .chainAndName(authorities: authorities)
      } else if let authorities {
        trust = .chain(authorities: authorities)
      } else {
        trust = .anyone
      }
      var identity: (certificate: [UInt8], key: [UInt8])?
      if let certificate = block?.certFile, let key = block?.keyFile {
        identity = (try read(certificate.value), try read(key.value))
      }
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
    if let version = block?.minVersion { options.minimumVersion = try parse(version.value) }
    if let version = block?.maxVersion { options.maximumVersion = try parse(version.value) }
    return options
  }

  private static func parse(_ text: String) throws(StartReason) -> TLSVersion {
    switch text.uppercased() {
    case "VERSIONTLS12", "TLS1.2", "TLS12": return .tls12
    case "VERSIONTLS13", "TLS1.3", "TLS13": return .tls13
    default: throw StartReason("TLS version \(text) is not supported; use VersionTLS12 or VersionTLS13")
    }
  }
}

/// A reason without its service, which the caller knows.
struct StartReason: Error, CustomStringConvertible {
  let text: String
  init(_ text: String) { self.text = text }
  var description: String { text }
}
