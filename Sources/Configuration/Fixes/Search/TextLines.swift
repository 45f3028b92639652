/// A file as lines with their indentation, for fixes of files that cannot be read as a tree.
///
/// What is a line of a text that goes over several, and not YAML at all, is not known here: whoever makes a fix of
/// these lines tries it out.
struct TextLines {
  struct Line {
    /// Bytes of the file, without the line's end.
    let range: Range<Int>
    /// Behind the line's end.
    let end: Int
    /// Spaces before the text; a tab ends them.
    let indent: Int
    /// Where the text begins, behind spaces and tabs.
    let text: Int
    /// Where what follows the dashes of a list begins, counted in columns from 0; `indent` without dashes.
    let keyColumn: Int
    /// Nothing, or a comment alone.
    let isBlank: Bool

    var beginsItem: Bool { keyColumn > indent }
  }

  let file: SourceFile
  let lines: [Line]

  init(_ file: SourceFile) {
    self.file = file
    let bytes = file.bytes
    var lines: [Line] = []
    lines.reserveCapacity(file.lineCount)
    for number in 1...max(1, file.lineCount) {
      guard let range = file.line(number) else { break }
      let end = file.line(number + 1)?.lowerBound ?? bytes.count
      let content = bytes[range]
      let indent = content.prefix { $0 == 0x20 }.count
      let text = content.firstIndex { $0 != 0x20 && $0 != 0x09 } ?? range.upperBound
      var key = text
      while key + 1 < range.upperBound, bytes[key] == UInt8(ascii: "-"), bytes[key + 1] == 0x20 {
        key = bytes[(key + 1)..<range.upperBound].firstIndex { $0 != 0x20 } ?? range.upperBound
      }
      lines.append(
        Line(
          range: range, end: end, indent: indent, text: text, keyColumn: indent + key - text,
          isBlank: text == range.upperBound || bytes[text] == UInt8(ascii: "#")))
    }
    self.lines = lines
  }

  /// The index of the line that holds an offset.
  func index(at offset: Int) -> Int? {
    let index = file.position(at: offset).line - 1
    return lines.indices.contains(index) ? index : nil
  }

  /// The nearest line above that holds more than a comment.
  func above(_ index: Int) -> Int? {
    lines[..<index].lastIndex { !$0.isBlank }
  }

  func below(_ index: Int) -> Int? {
    lines[min(index + 1, lines.count)...].firstIndex { !$0.isBlank }
  }

  /// The lines of an entry that begins on a line: that line and all that are indented deeper, items of a list also
  /// where they stand in the column of their key. Blank lines behind it are not its own.
  func block(from index: Int) -> Range<Int> {
    let first = lines[index]
    var end = index + 1
    var next = end
    while next < lines.count {
      let line = lines[next]
      if !line.isBlank {
        guard line.indent > first.indent || !first.beginsItem && line.indent == first.indent && line.beginsItem else {
          break
        }
        end = next + 1
      }
      next += 1
    }
    return index..<end
  }

  /// The bytes of some lines, their ends included.
  func bytes(_ lines: Range<Int>) -> Range<Int> {
    guard let first = lines.first, let last = lines.last else { return 0..<0 }
    return self.lines[first].range.lowerBound..<self.lines[last].end
  }

  func span(_ range: Range<Int>) -> SourceSpan {
    SourceSpan(file: file.id, start: range.lowerBound, end: range.upperBound)
  }

  /// An edit that lets the text of a line begin in a column, counted from 0.
  func indenting(_ index: Int, to column: Int) -> Diagnostic.Fix.Edit {
    let line = lines[index]
    return .init(span(line.range.lowerBound..<line.text), String(repeating: " ", count: max(0, column)))
  }

  /// Whether a text that must not be printed lies in a range.
  func holdsSecret(_ range: Range<Int>) -> Bool {
    file.concealed.contains { $0.overlaps(range) }
  }
}
