/// The exclusive-or with four bytes over and over that every frame from a client goes through (RFC 6455, section 5.3).
///
/// It hides nothing; it keeps a page's script from writing bytes that a proxy on the way takes for HTTP. It touches every
/// byte that a client sends and a server reads, so it is done 64 bytes at a time and together with the copy that the
/// byte needs anyway.
struct WebSocketMask: Equatable {
  /// The four bytes as they stand in the frame, the first in the lowest eight bits.
  private(set) var key: UInt32

  init(key: UInt32) { self.key = key }

  /// The four bytes of a frame's header.
  init(_ first: UInt8, _ second: UInt8, _ third: UInt8, _ fourth: UInt8) {
    key = UInt32(first) | UInt32(second) << 8 | UInt32(third) << 16 | UInt32(fourth) << 24
  }

  /// Makes the key begin where a run of `count` bytes ended, for a payload that comes in pieces.
  mutating func advance(by count: Int) {
    let bits = UInt32(truncatingIfNeeded: count & 3) &* 8
    guard bits > 0 else { return }
    key = key >> bits | key << (32 &- bits)
  }

  /// Copies `count` bytes and masks, or unmasks, them on the way.
  ///
  /// The two places may be the same or overlap as long as the target does not lie behind the source: each block is
  /// loaded whole before it is stored, the blocks go forwards, and what a store overwrites was loaded before. Neither
  /// has to be aligned. Both must have `count` bytes.
  func copy(_ source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, count: Int) {
    let word = UInt64(key.littleEndian) | UInt64(key.littleEndian) << 32
    var offset = 0
    if count >= 64 {
      let wide = SIMD8<UInt64>(repeating: word)
      while offset &+ 64 <= count {
        let block = source.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
        target.storeBytes(of: block ^ wide, toByteOffset: offset, as: SIMD8<UInt64>.self)
        offset &+= 64
      }
    }
    while offset &+ 8 <= count {
      let block = source.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      target.storeBytes(of: block ^ word, toByteOffset: offset, as: UInt64.self)
      offset &+= 8
    }
    // Fewer than eight bytes are left, and they begin at a multiple of four.
    while offset < count {
      let byte = source.load(fromByteOffset: offset, as: UInt8.self)
      let part = UInt8(truncatingIfNeeded: key >> (UInt32(truncatingIfNeeded: offset & 3) &* 8))
      target.storeBytes(of: byte ^ part, toByteOffset: offset, as: UInt8.self)
      offset &+= 1
    }
  }
}
