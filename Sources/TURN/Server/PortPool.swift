/// The ports of one address that allocations may have: a bit each.
///
/// Ports are drawn, so that nobody can say which port the next allocation gets (RFC 8656, section 7.2); where a drawn one
/// is taken, the next free one is.
struct PortPool {
  private let range: ClosedRange<UInt16>
  private var bits: [UInt64]
  private(set) var used = 0

  init(_ range: ClosedRange<UInt16>) {
    self.range = range
    bits = [UInt64](repeating: 0, count: (range.count + 63) / 64)
  }

  enum Kind { case any, even, pair }

  /// A free port, which is taken with this; of a pair the even one, the next is taken too. `nil` when there is none.
  mutating func take(_ kind: Kind, using random: inout some RandomNumberGenerator) -> UInt16? {
    let count = range.count
    let start = Int(random.next(upperBound: UInt64(count)))
    for step in 0..<count {
      let index = (start + step) % count
      guard isFree(index) else { continue }
      let port = range.lowerBound + UInt16(index)
      if kind != .any, port & 1 == 1 { continue }
      if kind == .pair {
        guard index + 1 < count, isFree(index + 1) else { continue }
        mark(index + 1)
      }
      mark(index)
      return port
    }
    return nil
  }

  mutating func free(_ port: UInt16) {
    guard range.contains(port) else { return }
    let index = Int(port - range.lowerBound)
    guard !isFree(index) else { return }
    bits[index / 64] &= ~(1 << UInt64(index % 64))
    used -= 1
  }

  func isTaken(_ port: UInt16) -> Bool { range.contains(port) && !isFree(Int(port - range.lowerBound)) }

  private func isFree(_ index: Int) -> Bool { bits[index / 64] & 1 << UInt64(index % 64) == 0 }

  private mutating func mark(_ index: Int) {
    bits[index / 64] |= 1 << UInt64(index % 64)
    used += 1
  }
}
