/// BLAKE2s (RFC 7693), with a key and without, for digests of 1 to 32 bytes.
///
/// Ours, because no library at hand has it with a key; it is not on the packet path. The four rows of the state are
/// vectors, so that one step of `mix` works on four columns, and then, the rows turned against each other, on the four
/// diagonals. The message schedule (section 2.7) is spelled out, a line a round.
///
/// Safety: pointers are the caller's buffers, read inside their sizes only.
public struct BLAKE2s {
  /// Bytes of a full digest, and of a block.
  public static let digestSize = 32
  public static let blockSize = 64

  private var low: SIMD4<UInt32>
  private var high: SIMD4<UInt32>
  private var total: UInt64 = 0
  /// The last block is kept until more bytes come, because the last one is treated otherwise.
  private var block = SIMD64<UInt8>(repeating: 0)
  private var filled = 0
  private let size: Int

  private static let ivLow = SIMD4<UInt32>(0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A)
  private static let ivHigh = SIMD4<UInt32>(0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19)

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
    for index in filled..<Self.blockSize { block[index] = 0 }
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
    let counter = SIMD4<UInt32>(
      UInt32(truncatingIfNeeded: total), UInt32(truncatingIfNeeded: total >> 32), isLast ? .max : 0, 0)
    var rows = Rows(a: low, b: high, c: Self.ivLow, d: Self.ivHigh ^ counter)
    rows.round([m0, m2, m4, m6], [m1, m3, m5, m7], [m8, m10, m12, m14], [m9, m11, m13, m15])
    rows.round([m14, m4, m9, m13], [m10, m8, m15, m6], [m1, m0, m11, m5], [m12, m2, m7, m3])
    rows.round([m11, m12, m5, m15], [m8, m0, m2, m13], [m10, m3, m7, m9], [m14, m6, m1, m4])
    rows.round([m7, m3, m13, m11], [m9, m1, m12, m14], [m2, m5, m4, m15], [m6, m10, m0, m8])
    rows.round([m9, m5, m2, m10], [m0, m7, m4, m15], [m14, m11, m6, m3], [m1, m12, m8, m13])
    rows.round([m2, m6, m0, m8], [m12, m10, m11, m3], [m4, m7, m15, m1], [m13, m5, m14, m9])
    rows.round([m12, m1, m14, m4], [m5, m15, m13, m10], [m0, m6, m9, m8], [m7, m3, m2, m11])
    rows.round([m13, m7, m12, m3], [m11, m14, m1, m9], [m5, m15, m8, m2], [m0, m4, m6, m10])
    rows.round([m6, m14, m11, m0], [m15, m9, m3, m8], [m12, m13, m1, m10], [m2, m7, m4, m5])
    rows.round([m10, m8, m7, m1], [m2, m4, m6, m5], [m15, m9, m3, m13], [m11, m14, m12, m0])
    low = low ^ rows.a ^ rows.c
    high = high ^ rows.b ^ rows.d
  }

  /// The working state as its four rows.
  private struct Rows {
    var a, b, c, d: SIMD4<UInt32>

    /// Columns with the first two vectors of words, diagonals with the others.
    @inline(__always)
    mutating func round(
      _ first: SIMD4<UInt32>, _ second: SIMD4<UInt32>, _ third: SIMD4<UInt32>, _ fourth: SIMD4<UInt32>
    ) {
      mix(first, second)
      b = [b[1], b[2], b[3], b[0]]
      c = [c[2], c[3], c[0], c[1]]
      d = [d[3], d[0], d[1], d[2]]
      mix(third, fourth)
      b = [b[3], b[0], b[1], b[2]]
      c = [c[2], c[3], c[0], c[1]]
      d = [d[1], d[2], d[3], d[0]]
    }

    /// The function G (section 3.1) on four lanes.
    @inline(__always)
    private mutating func mix(_ x: SIMD4<UInt32>, _ y: SIMD4<UInt32>) {
      a = a &+ b &+ x
      d = Self.turned(d ^ a, 16)
      c = c &+ d
      b = Self.turned(b ^ c, 12)
      a = a &+ b &+ y
      d = Self.turned(d ^ a, 8)
      c = c &+ d
      b = Self.turned(b ^ c, 7)
    }

    @inline(__always)
    private static func turned(_ row: SIMD4<UInt32>, _ bits: UInt32) -> SIMD4<UInt32> {
      (row &>> bits) | (row &<< (32 &- bits))
    }
  }
}
