/// BLAKE2s (RFC 7693), with a key and without, for digests of 1 to 32 bytes.
///
/// Ours, because no library that we link has it with a key; it is not on the packet path, but every handshake message
/// of every stranger passes through it first. The message schedule (section 2.7) is spelled out, a line a round.
///
/// Safety: pointers are the caller's buffers, read inside their sizes only.
public struct BLAKE2s {
  /// A row of the state. Its elements are always listed to the initialiser: an array literal would be an array first.
  private typealias Row = SIMD4<UInt32>

  /// Bytes of a full digest, and of a block.
  public static let digestSize = 32
  public static let blockSize = 64

  private var low: Row
  private var high: Row
  private var total: UInt64 = 0
  /// The last block is kept until more bytes come, because the last one is treated otherwise.
  private var block = SIMD64<UInt8>(repeating: 0)
  private var filled = 0
  private let size: Int

  private static let ivLow = Row(0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A)
  private static let ivHigh = Row(0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19)

  /// - Parameters:
  ///   - size: of the digest, 1...32 bytes.
  ///   - key: 0...32 bytes.
  public init(
    size: Int = BLAKE2s.digestSize, key: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    precondition((1...Self.digestSize).contains(size) && key.count <= Self.digestSize)
    self.size = size
    low = Self.ivLow
    high = Self.ivHigh
    low[0] ^= 0x0101_0000 ^ UInt32(truncatingIfNeeded: key.count) << 8 ^ UInt32(truncatingIfNeeded: size)
    if key.count > 0 {
      withUnsafeMutableBytes(of: &block) { $0.copyMemory(from: key) }
      filled = Self.blockSize
    }
  }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard var source = bytes.baseAddress else { return }
    var left = bytes.count
    while left > 0 {
      if filled == Self.blockSize {
        total &+= UInt64(Self.blockSize)
        let words = block
        withUnsafeBytes(of: words) { compress($0, isLast: false) }
        filled = 0
      }
      let part = min(left, Self.blockSize &- filled)
      withUnsafeMutableBytes(of: &block) {
        UnsafeMutableRawBufferPointer(rebasing: $0[filled..<(filled &+ part)])
          .copyMemory(from: UnsafeRawBufferPointer(start: source, count: part))
      }
      filled &+= part
      source += part
      left &-= part
    }
  }

  /// Writes the digest: as many bytes as were asked for. The room must have them.
  public consuming func finish(_ digest: UnsafeMutableRawBufferPointer) {
    precondition(digest.count >= size)
    total &+= UInt64(truncatingIfNeeded: filled)
    let start = filled
    withUnsafeMutableBytes(of: &block) {
      _ = UnsafeMutableRawBufferPointer(rebasing: $0[start...]).initializeMemory(as: UInt8.self, repeating: 0)
    }
    let words = block
    withUnsafeBytes(of: words) { compress($0, isLast: true) }
    let state = (low, high)
    withUnsafeBytes(of: state) { digest.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<size])) }
  }

  /// A digest in one call.
  public static func hash(
    _ bytes: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    into digest: UnsafeMutableRawBufferPointer
  ) {
    var state = BLAKE2s(size: digest.count, key: key)
    state.update(bytes)
    state.finish(digest)
  }

  /// The same for arrays, for what is computed once.
  public static func hash(_ bytes: [UInt8], key: [UInt8] = [], size: Int = BLAKE2s.digestSize) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: size) { room, count in
      bytes.withUnsafeBytes { bytes in
        key.withUnsafeBytes { key in
          hash(
            bytes, key: key,
            into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(room)[..<size]))
        }
      }
      count = size
    }
  }
}

// MARK: - Compression (section 3.2)

extension BLAKE2s {
  private mutating func compress(_ block: UnsafeRawBufferPointer, isLast: Bool) {
    func word(_ index: Int) -> UInt32 {
      UInt32(littleEndian: block.loadUnaligned(fromByteOffset: index &* 4, as: UInt32.self))
    }
    let (m0, m1, m2, m3) = (word(0), word(1), word(2), word(3))
    let (m4, m5, m6, m7) = (word(4), word(5), word(6), word(7))
    let (m8, m9, m10, m11) = (word(8), word(9), word(10), word(11))
    let (m12, m13, m14, m15) = (word(12), word(13), word(14), word(15))
    var work = Work(low, high, total: total, isLast: isLast)
    work.round(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)
    work.round(m14, m10, m4, m8, m9, m15, m13, m6, m1, m12, m0, m2, m11, m7, m5, m3)
    work.round(m11, m8, m12, m0, m5, m2, m15, m13, m10, m14, m3, m6, m7, m1, m9, m4)
    work.round(m7, m9, m3, m1, m13, m12, m11, m14, m2, m6, m5, m10, m4, m0, m15, m8)
    work.round(m9, m0, m5, m7, m2, m4, m10, m15, m14, m1, m11, m12, m6, m8, m3, m13)
    work.round(m2, m12, m6, m10, m0, m11, m8, m3, m4, m13, m7, m5, m15, m14, m1, m9)
    work.round(m12, m5, m1, m15, m14, m13, m4, m10, m0, m7, m6, m3, m9, m2, m8, m11)
    work.round(m13, m11, m7, m14, m12, m1, m3, m9, m5, m0, m15, m4, m8, m6, m2, m10)
    work.round(m6, m15, m14, m9, m11, m3, m0, m8, m12, m2, m13, m7, m1, m4, m10, m5)
    work.round(m10, m2, m8, m4, m7, m6, m1, m5, m15, m11, m9, m14, m3, m12, m13, m0)
    low = low ^ Row(work.v0, work.v1, work.v2, work.v3) ^ Row(work.v8, work.v9, work.v10, work.v11)
    high = high ^ Row(work.v4, work.v5, work.v6, work.v7) ^ Row(work.v12, work.v13, work.v14, work.v15)
  }

  /// The working state. Sixteen numbers by name: as vectors they took four times as long without AVX.
  private struct Work {
    var v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15: UInt32

    @inline(__always)
    init(_ low: Row, _ high: Row, total: UInt64, isLast: Bool) {
      (v0, v1, v2, v3) = (low[0], low[1], low[2], low[3])
      (v4, v5, v6, v7) = (high[0], high[1], high[2], high[3])
      (v8, v9, v10, v11) = (BLAKE2s.ivLow[0], BLAKE2s.ivLow[1], BLAKE2s.ivLow[2], BLAKE2s.ivLow[3])
      v12 = BLAKE2s.ivHigh[0] ^ UInt32(truncatingIfNeeded: total)
      v13 = BLAKE2s.ivHigh[1] ^ UInt32(truncatingIfNeeded: total >> 32)
      v14 = BLAKE2s.ivHigh[2] ^ (isLast ? .max : 0)
      v15 = BLAKE2s.ivHigh[3]
    }

    /// Columns with the first eight words, diagonals with the others.
    @inline(__always)
    mutating func round(
      _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ e: UInt32, _ f: UInt32, _ g: UInt32, _ h: UInt32,
      _ i: UInt32, _ j: UInt32, _ k: UInt32, _ l: UInt32, _ m: UInt32, _ n: UInt32, _ o: UInt32, _ p: UInt32
    ) {
      Self.mix(&v0, &v4, &v8, &v12, a, b)
      Self.mix(&v1, &v5, &v9, &v13, c, d)
      Self.mix(&v2, &v6, &v10, &v14, e, f)
      Self.mix(&v3, &v7, &v11, &v15, g, h)
      Self.mix(&v0, &v5, &v10, &v15, i, j)
      Self.mix(&v1, &v6, &v11, &v12, k, l)
      Self.mix(&v2, &v7, &v8, &v13, m, n)
      Self.mix(&v3, &v4, &v9, &v14, o, p)
    }

    /// The function G (section 3.1).
    @inline(__always)
    private static func mix(
      _ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32, _ d: inout UInt32, _ x: UInt32, _ y: UInt32
    ) {
      a = a &+ b &+ x
      d = turned(d ^ a, 16)
      c = c &+ d
      b = turned(b ^ c, 12)
      a = a &+ b &+ y
      d = turned(d ^ a, 8)
      c = c &+ d
      b = turned(b ^ c, 7)
    }

    @inline(__always)
    private static func turned(_ word: UInt32, _ bits: UInt32) -> UInt32 { word &>> bits | word &<< (32 &- bits) }
  }
}
