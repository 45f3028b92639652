import Testing

/// SplitMix64: small, and the same on every machine, so that a seed in a failure is enough to repeat it.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }

  mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

  mutating func chance(_ one: Int) -> Bool { number(1...one) == 1 }

  /// An IPv6 address with the runs of zeros that make its text interesting.
  mutating func sparse() -> UInt128 {
    (0..<8).reduce(0) { bits, _ in
      bits << 16 | UInt128(chance(2) ? 0 : chance(4) ? 0xFFFF : UInt16.random(in: 0...UInt16.max, using: &self))
    }
  }
}

/// `#expect` for loops of many thousands: it takes its operands apart only for what failed.
func check(_ holds: Bool, _ what: @autoclosure () -> String, _ location: SourceLocation = #_sourceLocation) {
  if !holds { Issue.record("\(what())", sourceLocation: location) }
}
