import CBoringSSL

/// The Diffie-Hellman function of RFC 7748, section 5.
public enum X25519 {
  /// The public key of a private one; any 32 bytes are a private key, as the function itself clamps them.
  public static func publicKey(of secret: borrowing SecretKey) -> PublicKey {
    withUnsafeTemporaryAllocation(byteCount: PublicKey.size, alignment: 16) { room in
      // Safe: the room has the size of a key, and so it has an address.
      guard let base = room.baseAddress else { return PublicKey(secret.bytes) }
      culvert_x25519_public(base, secret.bytes)
      return PublicKey(UnsafeRawPointer(base))
    }
  }

  /// What the two ends share; `nil` when the other's key is a point of low order, which gives zeros (section 6.1).
  public static func sharedSecret(_ secret: borrowing SecretKey, _ other: PublicKey) -> SecretKey? {
    let shared = SecretKey()
    guard agree(secret, other, into: shared) else { return nil }
    return shared
  }

  /// The same into a box that is there. False when the result is zeros.
  public static func agree(
    _ secret: borrowing SecretKey, _ other: PublicKey, into shared: borrowing SecretKey
  ) -> Bool {
    other.withUnsafeBytes { other in
      guard let base = other.baseAddress else { return false }
      return culvert_x25519(shared.bytes, secret.bytes, base) == 1
    }
  }

  /// Sets and clears the bits that the function ignores (section 5), as `wg genkey` writes its keys.
  public static func clamp(_ secret: borrowing SecretKey) {
    let first = secret.bytes.load(as: UInt8.self) & 248
    let last = secret.bytes.load(fromByteOffset: 31, as: UInt8.self) & 127 | 64
    secret.bytes.storeBytes(of: first, as: UInt8.self)
    secret.bytes.storeBytes(of: last, toByteOffset: 31, as: UInt8.self)
  }
}
