import CBoringSSL

/// ChaCha20-Poly1305 (RFC 8439) with a key that is kept, for packets: sealed and opened in place, with a counter for a
/// nonce (four zero bytes and the counter in little-endian order), no allocation, nothing shared. Where the processor has
/// AVX-512, the code is our own (`WideChaChaPoly.c`) and takes half the time of BoringSSL's.
///
/// The state is memory of its own that is wiped in `deinit`. It is only read while sealing and opening.
///
/// Safety: the pointers are the caller's, who has `count` bytes and `tagSize` more at `text`; nothing is kept of them.
public struct PacketCipher: ~Copyable, @unchecked Sendable {
  /// What sealing adds, in bytes.
  public static let tagSize = 16
  private static let stateSize = culvert_cipher_size()

  private let state: UnsafeMutableRawPointer

  public init(_ key: borrowing SecretKey) {
    state = .allocate(byteCount: Self.stateSize, alignment: 16)
    // It fails for sizes of keys and tags that are none, and these are constants.
    let isMade = culvert_cipher_init(state, key.bytes) == 1
    precondition(isMade)
  }

  deinit {
    culvert_cipher_end(state)
    state.deallocate()
  }

  /// Seals `count` bytes at `text` and writes the tag behind them.
  @inline(__always)
  public borrowing func seal(_ text: UnsafeMutableRawPointer, count: Int, counter: UInt64) -> Bool {
    culvert_cipher_seal(state, counter, text, count) == 1
  }

  /// Opens `count` bytes at `text`, behind which the tag stands. When false the bytes are not what the other end
  /// sealed, and may have been overwritten.
  @inline(__always)
  public borrowing func open(_ text: UnsafeMutableRawPointer, count: Int, counter: UInt64) -> Bool {
    culvert_cipher_open(state, counter, text, count) == 1
  }
}

/// One text with one key, in place: `text` holds the plain bytes and 16 more for the tag.
public enum ChaChaPoly {
  /// `false` when the sizes are wrong: 12 bytes of nonce, at least 16 of text.
  @discardableResult
  public static func seal(
    _ text: UnsafeMutableRawBufferPointer, key: borrowing SecretKey, nonce: UnsafeRawBufferPointer,
    associated: UnsafeRawBufferPointer
  ) -> Bool {
    guard let sizes = Sizes(text, nonce, 12) else { return false }
    return culvert_chacha_seal(
      key.bytes, sizes.nonce, sizes.text, sizes.count, associated.baseAddress, associated.count) == 1
  }

  /// `false` when the text is not what was sealed; it has then been overwritten.
  public static func open(
    _ text: UnsafeMutableRawBufferPointer, key: borrowing SecretKey, nonce: UnsafeRawBufferPointer,
    associated: UnsafeRawBufferPointer
  ) -> Bool {
    guard let sizes = Sizes(text, nonce, 12) else { return false }
    return culvert_chacha_open(
      key.bytes, sizes.nonce, sizes.text, sizes.count, associated.baseAddress, associated.count) == 1
  }
}

/// The same with a nonce of 24 bytes, which may be drawn: draft-irtf-cfrg-xchacha, section 2.3.
public enum XChaChaPoly {
  public static let nonceSize = 24

  @discardableResult
  public static func seal(
    _ text: UnsafeMutableRawBufferPointer, key: borrowing SecretKey, nonce: UnsafeRawBufferPointer,
    associated: UnsafeRawBufferPointer
  ) -> Bool {
    guard let sizes = Sizes(text, nonce, nonceSize) else { return false }
    return culvert_xchacha_seal(
      key.bytes, sizes.nonce, sizes.text, sizes.count, associated.baseAddress, associated.count) == 1
  }

  public static func open(
    _ text: UnsafeMutableRawBufferPointer, key: borrowing SecretKey, nonce: UnsafeRawBufferPointer,
    associated: UnsafeRawBufferPointer
  ) -> Bool {
    guard let sizes = Sizes(text, nonce, nonceSize) else { return false }
    return culvert_xchacha_open(
      key.bytes, sizes.nonce, sizes.text, sizes.count, associated.baseAddress, associated.count) == 1
  }
}

/// Checked sizes of a call with one text.
private struct Sizes {
  let text: UnsafeMutableRawPointer
  let nonce: UnsafeRawPointer
  /// Without the tag.
  let count: Int

  init?(_ text: UnsafeMutableRawBufferPointer, _ nonce: UnsafeRawBufferPointer, _ nonceSize: Int) {
    guard let base = text.baseAddress, let number = nonce.baseAddress, nonce.count == nonceSize,
      text.count >= PacketCipher.tagSize
    else { return nil }
    self.text = base
    self.nonce = number
    count = text.count &- PacketCipher.tagSize
  }
}
