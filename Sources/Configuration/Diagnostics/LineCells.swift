/// One source line as it is printed: each character's text, its width in cells, and its byte offset.
struct LineCells {
  private struct Cell {
    let text: String
    let width: Int
    /// From the start of the file.
    let offset: Int
    let column: Int
  }

  private var cells: [Cell] = []
  /// The whole line's width.
  private(set) var width = 0

  /// The part of a line (from 1) that a span at `offset` is shown in.
  init(_ source: SourceFile, _ number: Int, near offset: Int) {
    let line = source.line(number) ?? 0..<0
    let part = Self.part(of: line, around: offset..<offset, in: source)
    self.init(
      bytes: source.slice(part), base: part.lowerBound, concealed: source.concealed,
      cut: (part.lowerBound > line.lowerBound, part.upperBound < line.upperBound))
  }

  /// `base` is the offset of the first byte, in the terms of `concealed`; `cut` tells on which sides the line goes on.
  init(bytes: ArraySlice<UInt8>, base: Int, concealed: [Range<Int>], cut: (left: Bool, right: Bool) = (false, false)) {
    let line = Array(bytes)
    let hidden = Self.joined(
      concealed.map { $0.clamped(to: base..<base + line.count) }.filter { !$0.isEmpty }
        + SecretText.ranges(in: line).map { $0.lowerBound + base..<$0.upperBound + base })
    if cut.left { append("…", 1, base - 1) }
    var offset = base
    for scalar in String(decoding: line, as: UTF8.self).unicodeScalars {
      let length = UTF8.width(scalar)
      if let range = hidden.first(where: { $0.contains(offset) }) {
        // One length for all, so that the length is no secret told.
        if offset == range.lowerBound { append("******", 6, offset) } else { append("", 0, offset) }
      } else if scalar == "\t" {
        let spaces = 4 - width % 4
        append(String(repeating: " ", count: spaces), spaces, offset)
      } else {
        let text = escaped(scalar)
        append(text, text.unicodeScalars.count == 1 ? cellWidth(scalar) : text.count, offset)
      }
      offset += length
    }
    if cut.right { append("…", 1, offset) }
  }

  /// A line of half a megabyte is not laid out for a window of a hundred cells: some thousand bytes around the span
  /// are, whole characters.
  static func part(of line: Range<Int>, around span: Range<Int>, in source: SourceFile) -> Range<Int> {
    guard line.count > 4096 else { return line }
    var start = min(max(line.lowerBound, span.lowerBound - 1024), line.upperBound)
    var end = max(start, min(line.upperBound, span.upperBound + 2048))
    while start > line.lowerBound, source.bytes[start] & 0xC0 == 0x80 { start -= 1 }
    while end < line.upperBound, source.bytes[end] & 0xC0 == 0x80 { end += 1 }
    return start..<end
  }

  /// Ranges that touch or overlap as one, so that each secret is one run of asterisks.
  private static func joined(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last, range.lowerBound <= last.upperBound {
        result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  private mutating func append(_ text: String, _ cellCount: Int, _ offset: Int) {
    cells.append(Cell(text: text, width: cellCount, offset: offset, column: width))
    width += cellCount
  }

  /// The column, from 0, of the character at a byte offset; the line's width behind its end.
  func column(at offset: Int) -> Int {
    var low = 0
    var high = cells.count
    while low < high {
      let middle = (low + high) / 2
      if cells[middle].offset < offset { low = middle + 1 } else { high = middle }
    }
    return low < cells.count ? cells[low].column : width
  }

  /// The column at which a window of `room` cells begins so that it shows the span, and `label` more cells behind it
  /// where that leaves a third of the window before it.
  func window(start: Int, end: Int, width room: Int, label: Int = 0) -> Int {
    if width <= room || end <= room - 8 && end + label < room { return 0 }
    let third = max(0, start - room / 3)
    if end <= room - 8, label >= room - room / 3 { return 0 }
    return max(0, min(third, max(width - room + 1, end + 1 + label - room)))
  }

  /// The text from a column on, cut to `room` cells, with `…` where something is left out.
  func visible(from window: Int, width room: Int) -> String {
    var text = window > 0 ? "…" : ""
    var column = window > 0 ? window + 1 : 0
    // Where the line goes on behind the window, its last cell is the ellipsis.
    let limit = width > window + room ? window + room - 1 : window + room
    for cell in cells where cell.column >= column {
      if cell.column + cell.width > limit { return text + "…" }
      text += String(repeating: " ", count: cell.column - column) + cell.text
      column = cell.column + cell.width
    }
    return trimmed(text)
  }

  private func trimmed(_ text: String) -> String {
    var text = Substring(text)
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}

/// Finds secrets in a line that was never parsed (a syntax error may stand on the line of a password).
enum SecretText {
  private static let names = ["password", "passphrase", "token", "secret", "cipherkey"]
  /// Other ways to write the first, which are the ends of other words too: of `bypass` for one.
  private static let words = ["pass", "passwd", "pwd"]

  /// Ranges of values behind `password:` and its like.
  static func ranges(in line: [UInt8]) -> [Range<Int>] {
    let lower = line.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
    var found: [Range<Int>] = []
    for name in names + words {
      let pattern = Array(name.utf8)
      var index = 0
      while index + pattern.count <= lower.count {
        if lower[index..<index + pattern.count].elementsEqual(pattern),
          index == 0 || !(0x61...0x7A).contains(lower[index - 1]) || names.contains(name),
          let value = value(in: line, after: index + pattern.count)
        {
          found.append(value)
          index = value.upperBound
        } else {
          index += 1
        }
      }
    }
    return found
  }

  private static func value(in line: [UInt8], after index: Int) -> Range<Int>? {
    var index = index
    while index < line.count, [0x22, 0x27, 0x20].contains(line[index]) { index += 1 }
    guard index < line.count, line[index] == 0x3A else { return nil }
    index += 1
    while index < line.count, line[index] == 0x20 { index += 1 }
    guard index < line.count else { return nil }
    if line[index] == 0x22 || line[index] == 0x27 {
      let close = line[(index + 1)...].firstIndex(of: line[index]) ?? line.count
      return index..<min(close + 1, line.count)
    }
    let end = line[index...].firstIndex { $0 == 0x2C || $0 == 0x7D } ?? line.count
    return index < end ? index..<end : nil
  }
}
