/// A key that stands twice: one of the two is taken out.
///
/// GOST's reader of YAML refuses such a file, unless the two differ in their case: then chance decides which one is in
/// force. Two that are the same in every letter are certain; of two that differ the first is kept, or the last.
struct DuplicateFixes {
  let text: TextLines

  func candidates(for diagnostic: Diagnostic) -> [Diagnostic.Fix] {
    guard diagnostic.code == .duplicateKey, let again = diagnostic.primary?.span, again.file == text.file.id,
      let before = diagnostic.secondary.first?.span, before.file == again.file
    else { return [] }
    let kept = lines(of: before)
    let dropped = lines(of: again)
    let isSame = kept != nil && kept.map(content) == dropped.map(content)
    let without = { (lines: Range<Int>, title: String) in
      Diagnostic.Fix(title, [.init(text.span(text.bytes(lines)), "")], isCertain: isSame)
    }
    let first = dropped.map { without($0, isSame ? "remove the second" : "keep the first") }
    let last = isSame ? nil : kept.map { without($0, "keep the last") }
    return [first, last].compactMap { $0 }
  }

  /// The lines of an entry that fills them.
  private func lines(of key: SourceSpan) -> Range<Int>? {
    guard let index = text.index(at: key.start), text.lines[index].text == key.start else { return nil }
    let line = text.lines[index]
    // In braces a line is an entry only when it ends with its comma.
    if text.file.bytes[key.start] == UInt8(ascii: "\"") {
      let isWhole = text.file.bytes[line.range].last == UInt8(ascii: ",")
      return isWhole ? index..<index + 1 : nil
    }
    return text.block(from: index)
  }

  /// The text without the indentation and what is not part of it.
  private func content(_ lines: Range<Int>) -> [[UInt8]] {
    lines.map { Array(text.file.slice(text.lines[$0].text..<text.lines[$0].range.upperBound)) }
  }
}
