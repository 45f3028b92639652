/// The difference of two texts as `diff -u` shows it: three lines around each change, colours where asked for.
///
/// It is for people: control characters are escaped and secrets are asterisks, as on every line that Culvert quotes.
public struct UnifiedDiff: Sendable {
  public var colors: Bool
  private static let context = 3

  public init(colors: Bool = false) { self.colors = colors }

  /// Empty when nothing changed.
  public func render(_ change: Fixer.Change) -> String {
    let before = Self.lines(change.before)
    let after = Self.lines(change.after)
    let steps = Self.steps(before, after)
    guard steps.contains(where: { $0.kind != .same }) else { return "" }
    let name = printable(change.before.name, limit: 200)
    var rows = [paint("--- \(name)", "1"), paint("+++ \(name)", "1")]
    for hunk in Self.hunks(steps) {
      let part = steps[hunk]
      let old = part.filter { $0.kind != .added }
      let new = part.filter { $0.kind != .removed }
      rows.append(
        paint(
          "@@ -\(Self.range(old.map(\.old), part.first?.old)) +\(Self.range(new.map(\.new), part.first?.new)) @@", "36")
      )
      for step in part {
        switch step.kind {
        case .same: rows.append(" " + Self.text(change.before, step.old))
        case .removed: rows.append(paint("-" + Self.text(change.before, step.old), "31"))
        case .added: rows.append(paint("+" + Self.text(change.after, step.new), "32"))
        }
      }
    }
    return rows.joined(separator: "\n") + "\n"
  }

  private struct Step {
    enum Kind { case same, removed, added }
    let kind: Kind
    /// Lines from 1: of the old text, and of the new one; of the other text the next line where a line is in one only.
    let old: Int
    let new: Int
  }

  private static func lines(_ file: SourceFile) -> [[UInt8]] {
    // A line end at the end of the file begins no line.
    guard !file.bytes.isEmpty else { return [] }
    return (1...file.lineCount).map { number in file.line(number).map { Array(file.slice($0)) } ?? [] }
  }

  private static func steps(_ before: [[UInt8]], _ after: [[UInt8]]) -> [Step] {
    var removed: Set<Int> = []
    var added: Set<Int> = []
    for change in after.difference(from: before) {
      switch change {
      case .remove(let offset, _, _): removed.insert(offset)
      case .insert(let offset, _, _): added.insert(offset)
      }
    }
    var steps: [Step] = []
    var old = 0
    var new = 0
    while old < before.count || new < after.count {
      if removed.contains(old) {
        steps.append(Step(kind: .removed, old: old + 1, new: new + 1))
        old += 1
      } else if added.contains(new) {
        steps.append(Step(kind: .added, old: old + 1, new: new + 1))
        new += 1
      } else {
        steps.append(Step(kind: .same, old: old + 1, new: new + 1))
        old += 1
        new += 1
      }
    }
    return steps
  }

  /// Changes with what is around them; two that are near each other are one.
  private static func hunks(_ steps: [Step]) -> [Range<Int>] {
    var hunks: [Range<Int>] = []
    for (index, step) in steps.enumerated() where step.kind != .same {
      let range = max(0, index - context)..<min(steps.count, index + context + 1)
      if let last = hunks.last, range.lowerBound <= last.upperBound {
        hunks[hunks.count - 1] = last.lowerBound..<range.upperBound
      } else {
        hunks.append(range)
      }
    }
    return hunks
  }

  /// `first,count`, where a count of one is left out; the line before for none, as `diff` has it.
  private static func range(_ lines: [Int], _ place: Int?) -> String {
    guard let first = lines.first else { return "\(max(0, (place ?? 1) - 1)),0" }
    return lines.count == 1 ? "\(first)" : "\(first),\(lines.count)"
  }

  private static func text(_ file: SourceFile, _ number: Int) -> String {
    LineCells(file, number, near: 0).visible(from: 0, width: 1 << 20)
  }

  private func paint(_ text: String, _ code: String) -> String {
    colors ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }
}
