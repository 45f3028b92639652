/// The name that was probably meant: the nearest by edit distance, where one is near enough.
public enum NearNames {
  /// The best candidate for a misspelt name, or `nil`. Case does not count; ties go to the first.
  public static func best(for name: String, among candidates: some Sequence<String>) -> String? {
    let wanted = Array(name.lowercased().unicodeScalars.prefix(64))
    guard !wanted.isEmpty else { return nil }
    // A third of the letters may be wrong, at least one.
    let limit = max(1, wanted.count / 3)
    var best: (name: String, distance: Int)?
    for candidate in candidates {
      let distance = Self.distance(wanted, Array(candidate.lowercased().unicodeScalars.prefix(64)))
      guard distance <= limit || isAbbreviation(wanted, candidate) else { continue }
      if distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.name
  }

  /// `pass` for `password`, `route` for `routes`.
  private static func isAbbreviation(_ name: [Unicode.Scalar], _ candidate: String) -> Bool {
    let other = Array(candidate.lowercased().unicodeScalars)
    return name.count >= 4 && other.count >= 4 && (other.starts(with: name) || name.starts(with: other))
  }

  /// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
  static func distance(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
    if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
    var beforePrevious: [Int] = []
    var previous = Array(0...b.count)
    for i in 1...a.count {
      var current = [i]
      current.reserveCapacity(b.count + 1)
      for j in 1...b.count {
        var value = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { value = min(value, beforePrevious[j - 2] + 1) }
        current.append(value)
      }
      beforePrevious = previous
      previous = current
    }
    return previous[b.count]
  }
}
