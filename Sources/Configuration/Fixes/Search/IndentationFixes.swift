/// A line that begins in the wrong column: the columns in which it could begin.
///
/// Those are the columns of what stands above it, from the line before outwards, one level deeper than that line, and
/// the column of the line below. Which of them is right is found by trying.
struct IndentationFixes {
  let text: TextLines
  /// More columns than this no file needs.
  private static let mostColumns = 10

  /// For each line that a diagnostic is about, or that stands next to one, the fixes for that line: likely lines first.
  func candidates(for diagnostic: Diagnostic) -> [[Diagnostic.Fix]] {
    var indices: [Int] = []
    func add(_ index: Int?) {
      guard let index, !text.lines[index].isBlank, !indices.contains(index) else { return }
      indices.append(index)
    }
    let own = ([diagnostic.primary].compactMap { $0 } + diagnostic.secondary).map(\.span)
      .filter { $0.file == text.file.id }.compactMap { text.index(at: $0.start) }
    own.forEach(add)
    for index in own.prefix(2) {
      add(text.above(index))
      add(text.below(index))
    }
    return indices.prefix(6).map(fixes)
  }

  private func fixes(_ index: Int) -> [Diagnostic.Fix] {
    let line = text.lines[index]
    var fixes: [Diagnostic.Fix] = []
    let block = text.block(from: index)
    for column in columns(index) {
      let title = "begin line \(index + 1) in column \(column + 1)"
      fixes.append(.init(title, [text.indenting(index, to: column)], isCertain: false))
      // With all that stands below it, where it was moved as a whole.
      let inner = block.dropFirst().filter { !text.lines[$0].isBlank }
      guard !inner.isEmpty, inner.count <= 200, line.text == line.range.lowerBound + line.indent else { continue }
      let shift = column - line.indent
      guard inner.allSatisfy({ text.lines[$0].indent + shift >= 0 }) else { continue }
      fixes.append(
        .init(
          "begin lines \(index + 1) to \(block.upperBound) \(abs(shift)) column\(abs(shift) == 1 ? "" : "s") further "
            + (shift > 0 ? "right" : "left"),
          [text.indenting(index, to: column)]
            + inner.map { text.indenting($0, to: text.lines[$0].indent + shift) }, isCertain: false))
    }
    return fixes
  }

  /// The likeliest first: that of a neighbour, then the nearest.
  private func columns(_ index: Int) -> [Int] {
    let line = text.lines[index]
    var columns: [Int] = []
    var neighbours: Set<Int> = []
    func add(_ column: Int) {
      if column != line.indent || line.text != line.range.lowerBound + line.indent, !columns.contains(column) {
        columns.append(column)
      }
    }
    if let below = text.below(index) {
      add(text.lines[below].indent)
      neighbours.insert(text.lines[below].indent)
    }
    var above = text.above(index)
    var limit = Int.max
    if let first = above {
      let line = text.lines[first]
      neighbours.insert(line.keyColumn)
      add(line.keyColumn)
      add(line.keyColumn + 2)
    } else {
      add(0)
    }
    while let current = above, columns.count < Self.mostColumns {
      let line = text.lines[current]
      if line.indent < limit {
        add(line.keyColumn)
        add(line.indent)
        limit = line.indent
      }
      if limit == 0 { break }
      above = text.above(current)
    }
    return columns.prefix(Self.mostColumns).enumerated().sorted { left, right in
      let a = (neighbours.contains(left.element) ? 0 : 1, abs(left.element - line.indent), left.offset)
      let b = (neighbours.contains(right.element) ? 0 : 1, abs(right.element - line.indent), right.offset)
      return a < b
    }.map(\.element)
  }
}
