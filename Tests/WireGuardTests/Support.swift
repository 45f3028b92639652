import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

/// SplitMix64: the same on every machine, so that a seed is enough to repeat a test. Not for secrets.
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

  mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }

  mutating func chance(_ one: Int) -> Bool { number(1...one) == 1 }
}

/// Gives chosen bytes, for vectors that name the ephemeral keys.
struct ChosenBytes: RandomNumberGenerator {
  private var words: [UInt64]

  init(_ bytes: [UInt8]) {
    words = stride(from: 0, to: bytes.count, by: 8).map { start in
      bytes[start..<(start + 8)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
  }

  mutating func next() -> UInt64 { words.isEmpty ? 0 : words.removeFirst() }
}

func hex(_ text: some StringProtocol) -> [UInt8] {
  var bytes: [UInt8] = []
  var high: UInt8?
  for character in text {
    guard let digit = character.hexDigitValue else { continue }
    if let first = high {
      bytes.append(first << 4 | UInt8(digit))
      high = nil
    } else {
      high = UInt8(digit)
    }
  }
  return bytes
}

func text(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef")
  return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}

func seconds(_ count: Double) -> Instant { Instant(nanoseconds: Int64(count * 1e9)) }

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

func endpoint(_ text: String) throws -> Endpoint { try #require(Endpoint(text)) }

/// An IP packet of a size, header and numbered content.
func packet(from source: IPAddress, to destination: IPAddress, size: Int, number: UInt32 = 0) -> [UInt8] {
  var bytes: [UInt8]
  switch (source, destination) {
  case (.v4(let from), .v4(let to)):
    bytes = [0x45, 0] + [UInt8(size >> 8), UInt8(size & 255)] + [0, 0, 0, 0, 64, 17, 0, 0]
    bytes.append(bigEndian: from)
    bytes.append(bigEndian: to)
  case (.v6(let from), .v6(let to)):
    bytes = [0x60, 0, 0, 0] + [UInt8((size - 40) >> 8), UInt8((size - 40) & 255)] + [17, 64]
    bytes.append(bigEndian: from)
    bytes.append(bigEndian: to)
  default: return []
  }
  bytes.append(bigEndian: number)
  while bytes.count < size { bytes.append(UInt8(truncatingIfNeeded: bytes.count)) }
  return Array(bytes.prefix(size))
}

/// `#expect` for loops of many thousands: it takes its operands apart only for what failed.
func check(_ holds: Bool, _ what: @autoclosure () -> String, _ location: SourceLocation = #_sourceLocation) {
  if !holds { Issue.record("\(what())", sourceLocation: location) }
}
