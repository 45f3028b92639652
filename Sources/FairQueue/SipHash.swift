/// SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF"), with one round for a word and three at the end.
///
/// Who knows the seed can choose ports so that his packets share another one's flow; who does not know it, cannot.
/// Any keyed function of that kind would do; this one needs a dozen instructions for a word and no tables. The standard
/// library's hasher is the same function, but its seed is its own, and two runs would differ.
struct SipHash {
  struct Key {
    let first: UInt64
    let second: UInt64

    init(first: UInt64, second: UInt64) {
      self.first = first
      self.second = second
    }

    /// Both halves follow from the seed, which holds the whole secret; the constants only make them differ.
    init(seed: UInt64) {
      first = seed
      second = (seed ^ (seed >> 31)) &* 0x9E37_79B9_7F4A_7C15 &+ 0xD1B5_4A32_D192_ED03
    }
  }

  private var a: UInt64
  private var b: UInt64
  private var c: UInt64
  private var d: UInt64

  @inline(__always)
  init(_ key: Key) {
    a = key.first ^ 0x736F_6D65_7073_6575
    b = key.second ^ 0x646F_7261_6E64_6F6D
    c = key.first ^ 0x6C79_6765_6E65_7261
    d = key.second ^ 0x7465_6462_7974_6573
  }

  /// Eight bytes of the message, the first one lowest.
  @inline(__always)
  mutating func add(_ word: UInt64) {
    d ^= word
    mix()
    a ^= word
  }

  /// The message's last bytes, up to seven, and the length of all of it in bytes.
  @inline(__always)
  mutating func finish(_ rest: UInt64, length: Int) -> UInt64 {
    add(rest & 0x00FF_FFFF_FFFF_FFFF | UInt64(truncatingIfNeeded: length) << 56)
    c ^= 0xFF
    mix()
    mix()
    mix()
    return a ^ b ^ c ^ d
  }

  @inline(__always)
  private mutating func mix() {
    a &+= b
    b = b << 13 | b >> 51
    b ^= a
    a = a << 32 | a >> 32
    c &+= d
    d = d << 16 | d >> 48
    d ^= c
    a &+= d
    d = d << 21 | d >> 43
    d ^= a
    c &+= b
    b = b << 17 | b >> 47
    b ^= c
    c = c << 32 | c >> 32
  }
}
