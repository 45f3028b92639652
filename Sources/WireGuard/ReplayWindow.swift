/// Which counters have been seen (RFC 6479): the highest, and one bit for each of the 8,192 below it.
///
/// The bits lie in a ring of words that is one word longer than the window at least, so that moving forward clears
/// whole words and shifts nothing. Here the ring is the next power of two, which makes the place of a counter a mask.
///
/// `accepts` before a message is opened saves the work for an old one; `insert` after it was opened is what counts, as
/// only an authentic counter may move the window.
///
/// Safety: the ring belongs to the window; places in it are masked.
struct ReplayWindow: ~Copyable, @unchecked Sendable {
  private static let words = 256
  private static let mask = UInt64(words - 1)

  private let ring: UnsafeMutablePointer<UInt64>
  /// One above the highest counter seen: 0 while there is none.
  private(set) var next: UInt64 = 0

  init() {
    ring = .allocate(capacity: Self.words)
    ring.initialize(repeating: 0, count: Self.words)
  }

  deinit { ring.deallocate() }

  /// Whether a counter is new and not too old.
  @inline(__always)
  func accepts(_ counter: UInt64) -> Bool {
    if counter >= WireGuardLimit.rejectAfterMessages { return false }
    if counter >= next { return true }
    if next &- counter > WireGuardLimit.windowSize { return false }
    return ring[Int(truncatingIfNeeded: counter >> 6 & Self.mask)] & (1 << (counter & 63)) == 0
  }

  /// Marks a counter as seen; false when it may not be taken.
  @inline(__always)
  mutating func insert(_ counter: UInt64) -> Bool {
    guard accepts(counter) else { return false }
    let word = counter >> 6
    if counter >= next {
      // Words between the one of the highest counter so far and the new one's belong to an older round of the ring.
      let last = next == 0 ? 0 : (next &- 1) >> 6
      var cleared = min(word &- last, UInt64(Self.words))
      var place = word
      while cleared > 0 {
        ring[Int(truncatingIfNeeded: place & Self.mask)] = 0
        place &-= 1
        cleared &-= 1
      }
      next = counter &+ 1
    }
    ring[Int(truncatingIfNeeded: word & Self.mask)] |= 1 << (counter & 63)
    return true
  }
}
