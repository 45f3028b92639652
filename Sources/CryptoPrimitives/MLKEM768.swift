import CBoringSSL

/// ML-KEM-768 (FIPS 203): a key agreement that no quantum computer is known to break, in one message each way. One end
/// sends a public key, the other draws a secret and seals it for that key.
///
/// ```
///   private key ──public key (1,184 bytes)──▶ encapsulate ──▶ secret
///   secret ◀──── decapsulate ◀──ciphertext (1,088 bytes)────────┘
/// ```
///
/// A private key is kept as its seed, from which it is made anew where it is used: that costs microseconds, and there is
/// one small piece of memory to wipe.
///
/// A ciphertext that was not made for a key opens as well, as a secret that nobody else has (implicit rejection): whoever
/// uses a secret has to find out whether the other end has it.
public enum MLKEM768 {
  /// Sizes in bytes.
  public static let publicKeySize = Int(CULVERT_MLKEM_PUBLIC)
  public static let ciphertextSize = Int(CULVERT_MLKEM_TEXT)
  static let seedSize = Int(CULVERT_MLKEM_SEED)

  /// Safety: the memory belongs to the value; `deinit` wipes it.
  public struct PrivateKey: ~Copyable, @unchecked Sendable {
    private let seed: UnsafeMutableRawPointer

    /// Draws a key. The generator must be one for secrets.
    public init(using random: inout some RandomNumberGenerator) {
      seed = .allocate(byteCount: MLKEM768.seedSize, alignment: 16)
      fillRandom(seed, MLKEM768.seedSize, using: &random)
    }

    /// Of a seed, d and z; `nil` when it is not 64 bytes.
    public init?(seed source: [UInt8]) {
      guard source.count == MLKEM768.seedSize else { return nil }
      seed = .allocate(byteCount: MLKEM768.seedSize, alignment: 16)
      let target = UnsafeMutableRawBufferPointer(start: seed, count: MLKEM768.seedSize)
      source.withUnsafeBytes { target.copyMemory(from: $0) }
    }

    deinit {
      culvert_wipe(seed, MLKEM768.seedSize)
      seed.deallocate()
    }

    public var publicKey: [UInt8] {
      [UInt8](unsafeUninitializedCapacity: MLKEM768.publicKeySize) { room, count in
        guard let base = room.baseAddress else { return }
        culvert_mlkem_public(base, seed)
        count = MLKEM768.publicKeySize
      }
    }

    /// The secret of a ciphertext; `nil` when its size is wrong.
    public borrowing func decapsulate(_ ciphertext: [UInt8]) -> SecretKey? {
      guard ciphertext.count == MLKEM768.ciphertextSize else { return nil }
      let secret = SecretKey()
      let bytes = secret.bytes
      ciphertext.withUnsafeBytes { text in
        if let base = text.baseAddress { culvert_mlkem_decapsulate(bytes, base, seed) }
      }
      return secret
    }
  }

  /// Draws a secret and writes it sealed for a public key; `nil` when that is none: another size, or not reduced
  /// (FIPS 203, section 7.2). The generator must be one for secrets.
  public static func encapsulate(
    to publicKey: [UInt8], into ciphertext: inout [UInt8], using random: inout some RandomNumberGenerator
  ) -> SecretKey? {
    guard publicKey.count == publicKeySize else { return nil }
    let entropy = SecretKey(using: &random)
    let secret = SecretKey()
    let (from, to) = (entropy.bytes, secret.bytes)
    var isMade = false
    ciphertext = [UInt8](unsafeUninitializedCapacity: ciphertextSize) { room, count in
      publicKey.withUnsafeBytes { key in
        if let text = room.baseAddress, let key = key.baseAddress {
          isMade = culvert_mlkem_encapsulate(text, to, key, from) == 1
        }
      }
      count = isMade ? ciphertextSize : 0
    }
    guard withExtendedLifetime(entropy, { isMade }) else { return nil }
    return secret
  }
}
