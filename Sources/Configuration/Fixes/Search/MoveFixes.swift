import PartDescriptors

/// A key that stands where it does nothing: the mappings nearby in which it would have an effect.
///
/// Lines are moved whole, so that comments behind them come along. Where the moved text holds a secret, the lines
/// between the two places are moved instead: a fix is printed, and its replacements are plain text.
struct MoveFixes {
  let text: TextLines
  let outline: Outline
  private static let mostPlaces = 6

  func candidates(for diagnostic: Diagnostic) -> [Diagnostic.Fix] {
    guard let primary = diagnostic.primary?.span else { return [] }
    var fixes: [Diagnostic.Fix] = []
    // Of two keys of one name either may be the one that came from elsewhere.
    let keys = [primary] + (diagnostic.code == .duplicateKey ? diagnostic.secondary.map(\.span) : [])
    for key in keys {
      let name = String(decoding: text.file.slice(key.start..<key.end), as: UTF8.self)
      let source = keys.lazy.compactMap { outline.scope(withKeyAt: $0)?.index }.first
      guard let source, let lines = lines(of: key) else { continue }
      for (place, fix) in destinations(name, from: source).compactMap({ moving(lines, name, to: $0) }) {
        fixes.append(.init("move `\(printable(name))` to `\(place)`", fix, isCertain: false))
      }
    }
    return fixes + removals(primary)
  }

  /// A key without a value, and one that stands with the same value where it has an effect, as GOST's own export writes
  /// each key to all parts: nothing changes when it goes.
  private func removals(_ key: SourceSpan) -> [Diagnostic.Fix] {
    guard let (source, entry) = outline.scope(withKeyAt: key), entry.value.anchor == nil else { return [] }
    let around = outline.enclosing("service", of: source) ?? outline.enclosing("node", of: source)
    let isTwice = outline.values.contains { value in
      guard let around, value.scope != source, value.entry.key.span != key,
        let scalar = entry.value.scalar, value.entry.value.scalar?.text == scalar.text,
        outline.scopes[value.scope].takes(value.entry.name),
        outline.enclosing(outline.scopes[around].name, of: value.scope) == around
      else { return false }
      return NearNames.best(for: entry.name, among: [value.entry.name]) != nil
    }
    guard isTwice || entry.value.isEmpty, let edit = Removal(text: text).edit(entry, in: outline.scopes[source].node)
    else { return [] }
    return [
      .init(
        isTwice ? "remove it: it is in force elsewhere" : "remove it: without a value it says nothing", [edit],
        isCertain: false)
    ]
  }

  private struct Destination {
    /// The scope, or the part that is to have metadata.
    let scope: Int
    var needsMetadata = false
  }

  private func destinations(_ name: String, from source: Int) -> [Destination] {
    var found: [Destination] = []
    for (index, scope) in outline.scopes.enumerated() where outline.distance(source, index) <= 4 {
      if index != source, scope.takes(name), scope.entry(name) == nil, scope.node.mapping != nil || scope.node.isNull {
        found.append(Destination(scope: index))
      }
      if let part = scope.part, scope.entry("metadata") == nil, scope.node.mapping != nil,
        part.key(name)?.availability == .available
      {
        found.append(Destination(scope: index, needsMetadata: true))
      }
    }
    return Array(
      found.sorted { outline.distance(source, $0.scope) < outline.distance(source, $1.scope) }.prefix(Self.mostPlaces))
  }

  /// The lines of an entry whose key begins its line.
  private func lines(of key: SourceSpan) -> Range<Int>? {
    guard key.file == text.file.id, let index = text.index(at: key.start), text.lines[index].text == key.start,
      text.lines[index].indent == key.start - text.lines[index].range.lowerBound
    else { return nil }
    return text.block(from: index)
  }

  private func moving(
    _ lines: Range<Int>, _ name: String, to destination: Destination
  ) -> (place: String, edits: [Diagnostic.Fix.Edit])? {
    let scope = outline.scopes[destination.scope]
    let title = title(of: destination)
    if let first = scope.node.mapping?.first(where: { !isInside($0.key.span, lines) }) {
      guard let index = text.index(at: first.key.span.start) else { return nil }
      let line = text.lines[index]
      let isOnLine = line.range.lowerBound + line.keyColumn == first.key.span.start
      if !isOnLine { return destination.needsMetadata ? nil : inserting(lines, into: scope).map { (title, $0) } }
      let end = end(ofEntryFrom: index, column: line.keyColumn)
      let head = destination.needsMetadata ? String(repeating: " ", count: line.keyColumn) + "metadata:" : nil
      return (title, edits(lines, before: end, column: line.keyColumn + (head == nil ? 0 : 2), head: head))
    }
    // An empty value: the key's own line is where its mapping begins.
    guard scope.node.isNull, scope.node.span.start == scope.node.span.end, let key = scope.entry?.key.span,
      let index = text.index(at: key.start)
    else { return nil }
    return (title, edits(lines, before: index + 1, column: text.lines[index].keyColumn + 2, head: nil))
  }

  private func title(of destination: Destination) -> String {
    let scope = outline.scopes[destination.scope]
    if destination.needsMetadata { return scope.name + ".metadata" }
    guard scope.name == "metadata", let parent = scope.parent else { return scope.name }
    return outline.scopes[parent].name + ".metadata"
  }

  private func isInside(_ span: SourceSpan, _ lines: Range<Int>) -> Bool {
    text.index(at: span.start).map(lines.contains) ?? false
  }

  /// The line behind an entry whose key stands in a column.
  private func end(ofEntryFrom index: Int, column: Int) -> Int {
    var end = index + 1
    for next in index + 1..<max(index + 1, text.lines.count) where !text.lines[next].isBlank {
      let line = text.lines[next]
      guard line.indent > column || line.indent == column && line.beginsItem else { break }
      end = next + 1
    }
    return end
  }

  /// Lines taken out and put before another, the text of the first in a column.
  private func edits(_ lines: Range<Int>, before place: Int, column: Int, head: String?) -> [Diagnostic.Fix.Edit] {
    let shift = column - text.lines[lines.lowerBound].indent
    if !text.holdsSecret(text.bytes(lines)) {
      var moved = head.map { $0 + "\n" } ?? ""
      for index in lines {
        let line = text.lines[index]
        let content = text.file.slice(line.text..<line.range.upperBound)
        if !content.isEmpty {
          moved += String(repeating: " ", count: max(0, line.indent + shift)) + String(decoding: content, as: UTF8.self)
        }
        moved += "\n"
      }
      return [
        .init(text.span(text.bytes(lines)), ""), insertion(moved, before: place),
      ]
    }
    // The others move around it.
    let isBehind = place > lines.upperBound
    guard head == nil, isBehind || place < lines.lowerBound else { return [] }
    let between = isBehind ? lines.upperBound..<place : place..<lines.lowerBound
    guard !text.holdsSecret(text.bytes(between)) else { return [] }
    let content = String(decoding: text.file.slice(text.bytes(between)), as: UTF8.self)
    return [
      .init(text.span(text.bytes(between)), ""),
      insertion(
        content.hasSuffix("\n") ? content : content + "\n",
        before: isBehind ? lines.lowerBound : lines.upperBound),
    ] + lines.filter { !text.lines[$0].isBlank }.map { text.indenting($0, to: text.lines[$0].indent + shift) }
  }

  private func insertion(_ content: String, before line: Int) -> Diagnostic.Fix.Edit {
    if text.lines.indices.contains(line) {
      let start = text.lines[line].range.lowerBound
      return .init(text.span(start..<start), content)
    }
    let end = text.file.bytes.count
    let needsEnd = text.file.bytes.last.map { $0 != 0x0A } ?? false
    return .init(text.span(end..<end), (needsEnd ? "\n" : "") + content)
  }

  /// Into a mapping between braces: one line that has no comma in it.
  private func inserting(_ lines: Range<Int>, into scope: Outline.Scope) -> [Diagnostic.Fix.Edit]? {
    let start = scope.node.span.start
    guard lines.count == 1, text.file.slice(start..<start + 1).first == UInt8(ascii: "{"),
      !text.holdsSecret(text.bytes(lines))
    else { return nil }
    let line = text.lines[lines.lowerBound]
    let content = String(decoding: text.file.slice(line.text..<line.range.upperBound), as: UTF8.self)
    guard !content.contains("#"), !content.contains(",") else { return nil }
    return [
      .init(text.span(text.bytes(lines)), ""), .init(text.span(start + 1..<start + 1), content.trimmed + ", "),
    ]
  }
}
