import CBoringSSL

/// MD5 (RFC 1321): how STUN's long-term credentials make a key of a password (RFC 8489, section 9.2.2). Nothing else
/// should use it.
public enum MD5 {
  /// In bytes.
  public static let digestSize = 16

  public static func digest(_ bytes: [UInt8]) -> [UInt8] {
    digested(bytes, digestSize) { culvert_md5($0, $1, $2) }
  }
}

/// SHA-256 (FIPS 180-4, section 6.2).
public enum SHA256 {
  /// In bytes.
  public static let digestSize = 32

  public static func digest(_ bytes: [UInt8]) -> [UInt8] {
    digested(bytes, digestSize) { culvert_sha256($0, $1, $2) }
  }
}

private func digested(
  _ bytes: [UInt8], _ size: Int, _ body: (UnsafeMutableRawPointer, UnsafeRawPointer?, Int) -> Void
) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: size) { room, count in
    // Safe: the room has the size of a digest, and so it has an address.
    guard let base = room.baseAddress else { return }
    bytes.withUnsafeBytes { body(base, $0.baseAddress, $0.count) }
    count = size
  }
}

/// HMAC (RFC 2104) with SHA-1, of a text in two pieces.
public enum HMACSHA1 {
  public static let tagSize = 20

  public static func tag(key: [UInt8], _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> [UInt8] {
    tagged(key, first, second, tagSize)
  }
}

/// HMAC (RFC 2104) with SHA-256, of a text in two pieces.
public enum HMACSHA256 {
  public static let tagSize = 32

  public static func tag(key: [UInt8], _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> [UInt8] {
    tagged(key, first, second, tagSize)
  }
}

private func tagged(
  _ key: [UInt8], _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer, _ size: Int
) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: size) { room, count in
    guard let base = room.baseAddress else { return }
    key.withUnsafeBytes {
      culvert_hmac(
        base, size, $0.baseAddress, $0.count, first.baseAddress, first.count, second.baseAddress, second.count)
    }
    count = size
  }
}

/// Comparing what only one end may know.
public enum ConstantTime {
  /// In a time that does not say where they differ; of unequal sizes at once.
  public static func areEqual(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    guard left.count == right.count else { return false }
    guard let a = left.baseAddress, let b = right.baseAddress else { return left.count == 0 }
    return culvert_equal(a, b, left.count) == 1
  }
}
