/// HMAC (RFC 2104) with BLAKE2s, and the key derivation that Noise makes of it (HKDF, RFC 5869, without an info).
///
/// WireGuard's paper calls the derivation KDF₁, KDF₂ and KDF₃: from a key and an input come one, two or three outputs
/// of 32 bytes. They go straight into their boxes, and what lies between is wiped.
public struct HMACBLAKE2s {
  private var inner = BLAKE2s()
  private var outer = BLAKE2s()

  /// - Parameter key: at most a block (64 bytes).
  public init(key: UnsafeRawBufferPointer) {
    precondition(key.count <= BLAKE2s.blockSize)
    var pad = SIMD64<UInt8>(repeating: 0)
    withUnsafeMutableBytes(of: &pad) { $0.copyMemory(from: key) }
    let innerPad = pad ^ SIMD64<UInt8>(repeating: 0x36)
    let outerPad = pad ^ SIMD64<UInt8>(repeating: 0x5C)
    withUnsafeBytes(of: innerPad) { inner.update($0) }
    withUnsafeBytes(of: outerPad) { outer.update($0) }
    withUnsafeMutableBytes(of: &pad) { Bytes.wipe($0) }
  }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) { inner.update(bytes) }

  /// Writes 32 bytes.
  public consuming func finish(_ digest: UnsafeMutableRawBufferPointer) {
    var middle = SIMD32<UInt8>(repeating: 0)
    withUnsafeMutableBytes(of: &middle) { inner.finish($0) }
    withUnsafeBytes(of: middle) { outer.update($0) }
    outer.finish(digest)
  }
}

/// The derivation of keys from keys.
public enum KDF {
  /// KDF₁ to KDF₃: writes the first outputs into the boxes that are given. `key` may be one of them.
  public static func derive(
    _ key: borrowing SecretKey, _ input: UnsafeRawBufferPointer, into first: borrowing SecretKey
  ) {
    withMaster(key, input) { master in expand(master, nil, 1, into: first) }
  }

  public static func derive(
    _ key: borrowing SecretKey, _ input: UnsafeRawBufferPointer, into first: borrowing SecretKey,
    _ second: borrowing SecretKey
  ) {
    withMaster(key, input) { master in
      expand(master, nil, 1, into: first)
      expand(master, UnsafeRawBufferPointer(start: first.bytes, count: SecretKey.size), 2, into: second)
    }
  }

  public static func derive(
    _ key: borrowing SecretKey, _ input: UnsafeRawBufferPointer, into first: borrowing SecretKey,
    _ second: borrowing SecretKey, _ third: borrowing SecretKey
  ) {
    withMaster(key, input) { master in
      expand(master, nil, 1, into: first)
      expand(master, UnsafeRawBufferPointer(start: first.bytes, count: SecretKey.size), 2, into: second)
      expand(master, UnsafeRawBufferPointer(start: second.bytes, count: SecretKey.size), 3, into: third)
    }
  }

  private static func withMaster(
    _ key: borrowing SecretKey, _ input: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void
  ) {
    var master = SIMD32<UInt8>(repeating: 0)
    var state = HMACBLAKE2s(key: UnsafeRawBufferPointer(start: key.bytes, count: SecretKey.size))
    state.update(input)
    withUnsafeMutableBytes(of: &master) { master in
      state.finish(master)
      body(UnsafeRawBufferPointer(master))
      Bytes.wipe(master)
    }
  }

  private static func expand(
    _ master: UnsafeRawBufferPointer, _ before: UnsafeRawBufferPointer?, _ number: UInt8,
    into output: borrowing SecretKey
  ) {
    var state = HMACBLAKE2s(key: master)
    if let before { state.update(before) }
    withUnsafeBytes(of: number) { state.update($0) }
    state.finish(UnsafeMutableRawBufferPointer(start: output.bytes, count: SecretKey.size))
  }
}
