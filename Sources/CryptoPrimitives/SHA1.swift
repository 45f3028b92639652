import CBoringSSL

/// SHA-1 (FIPS 180-4, section 6.1): what WebSocket's handshake is built on. It protects nothing there, and nothing else
/// should use it.
public enum SHA1 {
  /// In bytes.
  public static let digestSize = 20

  public static func digest(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: digestSize) { room, count in
      // Safe: the room has the size of a digest, and so it has an address.
      guard let base = room.baseAddress else { return }
      bytes.withUnsafeBytes { culvert_sha1(base, $0.baseAddress, $0.count) }
      count = digestSize
    }
  }
}
