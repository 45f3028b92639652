import CGnuTLS

/// Digests by GnuTLS, for protocols that are handed theirs in.
public enum Digests {
  /// SHA-1, 20 bytes: what WebSocket's handshake is built on. It protects nothing there, and nothing else should use it.
  /// `nil` where the library's policy forbids it.
  public static func sha1(_ bytes: [UInt8]) -> [UInt8]? {
    var digest = [UInt8](repeating: 0, count: 20)
    let code = digest.withUnsafeMutableBytes { target in
      bytes.withUnsafeBytes { gnutls_hash_fast(GNUTLS_DIG_SHA1, $0.baseAddress, $0.count, target.baseAddress) }
    }
    return code == 0 ? digest : nil
  }
}
