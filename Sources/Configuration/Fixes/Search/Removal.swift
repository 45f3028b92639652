/// An entry taken out of a mapping, with its line or its comma.
struct Removal {
  let text: TextLines

  private var file: SourceFile { text.file }

  func edit(_ entry: YAMLEntry, in mapping: YAMLNode) -> Diagnostic.Fix.Edit? {
    guard entry.value.anchor == nil, entry.key.span.file == file.id else { return nil }
    let start = entry.key.span.start
    let end = max(entry.value.span.end, entry.key.span.end)
    if file.slice(mapping.span.start..<mapping.span.start + 1).first == UInt8(ascii: "{") {
      guard let entries = mapping.mapping, let index = entries.firstIndex(where: { $0.key.span == entry.key.span })
      else { return nil }
      if index + 1 < entries.count { return edit(start, entries[index + 1].key.span.start) }
      if index > 0 { return edit(max(entries[index - 1].value.span.end, entries[index - 1].key.span.end), end) }
      return edit(start, end)
    }
    guard let first = text.index(at: start), let last = text.index(at: max(start, end - 1)) else { return nil }
    let line = text.lines[first]
    guard line.text == start else {
      // The first key of a list's item keeps the dash, when another follows.
      guard line.range.lowerBound + line.keyColumn == start, let entries = mapping.mapping,
        let next = entries.first(where: { $0.key.span.start > start })
      else { return nil }
      return edit(start, next.key.span.start)
    }
    return edit(text.bytes(first..<last + 1).lowerBound, text.bytes(first..<last + 1).upperBound)
  }

  private func edit(_ start: Int, _ end: Int) -> Diagnostic.Fix.Edit {
    .init(SourceSpan(file: file.id, start: start, end: max(start, end)), "")
  }
}
