import Values

/// Durations as Go writes them: `10s`, `1m30s`, `1.5h`, `250ms`.
enum GoDuration {
  /// `nil` when the text is not a duration. A sign is taken; the caller judges it.
  static func parse(_ text: String) -> TimeSpan? {
    var rest = Substring(text)
    var negative = false
    if let sign = rest.first, sign == "-" || sign == "+" {
      negative = sign == "-"
      rest = rest.dropFirst()
    }
    if rest == "0" { return .zero }
    guard !rest.isEmpty else { return nil }
    var total = 0.0
    while !rest.isEmpty {
      let number = rest.prefix { $0.isASCII && $0.isNumber || $0 == "." }
      guard !number.isEmpty, number.count <= 18, let value = Double(number), number != "." else { return nil }
      rest = rest.dropFirst(number.count)
      guard let (unit, seconds) = units.first(where: { rest.hasPrefix($0.0) }) else { return nil }
      rest = rest.dropFirst(unit.count)
      total += value * seconds
    }
    let nanoseconds = (total * 1e9).rounded()
    guard nanoseconds < 9.2e18 else { return nil }
    return TimeSpan(nanoseconds: negative ? -Int64(nanoseconds) : Int64(nanoseconds))
  }

  /// Longer names first, so that `ms` is not read as `m`.
  private static let units: [(String, Double)] = [
    ("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3600),
  ]
}
