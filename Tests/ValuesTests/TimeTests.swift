import Testing
import Values

/// Instants and spans: they saturate, and a span's text is exact.
@Suite struct TimeTests {
  @Test(
    arguments: [
      (0, "0s"), (1, "1ns"), (999, "999ns"), (1_000, "1us"), (250_000_000, "250ms"), (10_000_000_000, "10s"),
      (1_500_000_000, "1.5s"), (90_000_000_000, "1m30s"), (60_000_000_000, "1m"), (3_600_000_000_000, "1h"),
      (3_601_000_000_000, "1h0m1s"), (5_400_000_000_000, "1h30m"), (-10_000_000_000, "-10s"), (-1_000_000, "-1ms"),
      (3_600_001_000_000, "1h0m0.001s"), (1_500, "0.0000015s"), (Int64.max, "2562047h47m16.854775807s"),
      (Int64.min, "-2562047h47m16.854775808s"),
    ] as [(Int64, String)])
  func `a span is written as Go writes it`(nanoseconds: Int64, text: String) {
    #expect(TimeSpan(nanoseconds: nanoseconds).description == text)
  }

  @Test func `a span's text says exactly its length`() throws {
    var random = SeededGenerator(8)
    for _ in 0..<20_000 {
      let scale = [1, 1_000, 1_000_000, 1_000_000_000, 60_000_000_000][random.number(0...4)]
      let span = TimeSpan(nanoseconds: Int64(random.number(-100_000...100_000)) * Int64(scale))
      check(Self.nanoseconds(span.description) == span.nanoseconds, "\(span)")
    }
  }

  /// Go's notation, read the slow way.
  private static func nanoseconds(_ text: String) -> Int64? {
    let units: [(String, Int64)] = [
      ("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
      ("h", 3_600_000_000_000),
    ]
    var rest = Substring(text)
    let isNegative = rest.hasPrefix("-")
    if isNegative { rest.removeFirst() }
    var total: Int64 = 0
    while !rest.isEmpty {
      let number = rest.prefix { $0.isNumber || $0 == "." }
      rest = rest.dropFirst(number.count)
      let name = rest.prefix { $0.isLetter }
      rest = rest.dropFirst(name.count)
      guard let unit = units.first(where: { $0.0 == name })?.1 else { return nil }
      let parts = number.split(separator: ".")
      guard let whole = parts.first.flatMap({ Int64($0) }) else { return nil }
      total += whole * unit
      if parts.count == 2 {
        guard let fraction = Int64(parts[1] + String(repeating: "0", count: 9 - parts[1].count)) else { return nil }
        total += fraction * (unit / 1_000_000_000)
      }
    }
    return isNegative ? -total : total
  }

  @Test func `sums and products saturate`() {
    #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
    #expect(Instant(nanoseconds: .min) + TimeSpan(nanoseconds: -1) == Instant(nanoseconds: .min))
    #expect(TimeSpan.seconds(Int64.max).nanoseconds == Int64.max)
    #expect(TimeSpan.seconds(Int64.min).nanoseconds == Int64.min)
    #expect((TimeSpan(nanoseconds: Int64.max) + .seconds(1)).nanoseconds == Int64.max)
    #expect((TimeSpan(nanoseconds: Int64.min) * 2).nanoseconds == Int64.min)
    #expect((TimeSpan.seconds(3) * -2) == .seconds(-6))
  }

  @Test func `the far future is later than everything, from everywhere`() {
    #expect(Instant.distantFuture - Instant(nanoseconds: -5) > .seconds(1))
    #expect(Instant(nanoseconds: Int64.min) - Instant(nanoseconds: 5) < .zero)
    #expect(Instant(nanoseconds: 9) - Instant(nanoseconds: 4) == TimeSpan(nanoseconds: 5))
  }

  @Test func `units`() {
    #expect(TimeSpan.seconds(1) == .milliseconds(1_000))
    #expect(TimeSpan.milliseconds(1) == .microseconds(1_000))
    #expect(TimeSpan.milliseconds(1_500).inSeconds == 1.5)
    #expect(TimeSpan.milliseconds(1) < .seconds(1))
  }
}
