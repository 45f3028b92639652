/// Diagnostics as text for a terminal: the header, the place, the line with a gutter, the marked span, the fix.
///
/// Everything that comes from a file passes `escaped` (control characters can neither colour nor move the cursor),
/// secrets become asterisks of one length, tabs become spaces, wide characters count two cells, and a line that is
/// longer than the terminal is cut around the span.
public struct DiagnosticRenderer: Sendable {
  public var sources: SourceMap
  public var colors: Bool
  /// Terminal cells in a line; at least 40 are used.
  public var width: Int

  public init(sources: SourceMap, colors: Bool = false, width: Int = 100) {
    self.sources = sources
    self.colors = colors
    self.width = max(40, width)
  }

  /// All of them with blank lines between, then one line that counts them.
  public func render(_ diagnostics: [Diagnostic], accepted: Int = 0) -> String {
    (diagnostics.map(render) + [summary(diagnostics, accepted: accepted).map { $0 + "\n" }].compactMap { $0 }).joined(
      separator: "\n")
  }

  /// One diagnostic, ending with a newline.
  public func render(_ diagnostic: Diagnostic) -> String {
    var lines = header(diagnostic)
    let gutter = gutterWidth(diagnostic)
    lines += snippets(diagnostic, gutter: gutter)
    let pad = String(repeating: " ", count: gutter)
    for note in diagnostic.notes {
      lines += wrapped(note, prefix: "\(pad) \(paint("=", .gutter)) note: ", cells: gutter + 9)
    }
    for help in diagnostic.help {
      lines += wrapped(help, prefix: "\(pad) \(paint("=", .gutter)) help: ", cells: gutter + 9)
    }
    if let fix = diagnostic.fix { lines += preview(fix, as: "help", gutter: gutter) }
    for fix in diagnostic.alternatives { lines += preview(fix, as: "or", gutter: gutter) }
    return lines.joined(separator: "\n") + "\n"
  }

  /// `2 errors, 1 warning, 1 accepted`, or `nil` when there is nothing to count.
  public func summary(_ diagnostics: [Diagnostic], accepted: Int = 0) -> String? {
    var parts: [String] = []
    for (severity, one, many) in [
      (Diagnostic.Severity.error, "error", "errors"), (.notYet, "not yet", "not yet"),
      (.warning, "warning", "warnings"),
    ] {
      let count = diagnostics.count(severity)
      if count > 0 { parts.append("\(count) \(count == 1 ? one : many)") }
    }
    if accepted > 0 { parts.append("\(accepted) accepted") }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  /// Where to go on, for somebody at a terminal: an example of `explain`, and how many fixes `--fix` would apply.
  public func hint(_ diagnostics: [Diagnostic]) -> String? {
    guard let first = diagnostics.first(where: { $0.severity <= .warning }) else { return nil }
    let fixes = diagnostics.count { $0.fix?.isCertain == true }
    let more = "`culvert explain \(first.code.rawValue)` says more"
    if fixes == 0 { return more }
    return more
      + "; `culvert check --fix` applies \(fixes == 1 ? "one fix" : "\(fixes) fixes"), `--dry-run` shows \(fixes == 1 ? "it" : "them")"
  }

  // MARK: Header

  private func header(_ diagnostic: Diagnostic) -> [String] {
    let word = diagnostic.severity.word
    let tag = "\(word)[\(diagnostic.code.rawValue)]"
    let rows = Self.wrap(diagnostic.message, width - cellWidth(tag) - 2)
    let indent = String(repeating: " ", count: 4)
    return rows.enumerated().map { index, row in
      index == 0
        ? paint(tag, .severity(diagnostic.severity)) + paint(": " + row, .bold) : indent + paint(row, .bold)
    }
  }

  private func wrapped(_ text: String, prefix: String, cells: Int) -> [String] {
    let indent = String(repeating: " ", count: cells)
    return Self.wrap(text, width - cells).enumerated().map { ($0 == 0 ? prefix : indent) + $1 }
  }

  /// Breaks at spaces; a word that is longer than a line stays whole.
  static func wrap(_ text: String, _ width: Int) -> [String] {
    var rows: [String] = []
    var row = ""
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
      if !row.isEmpty, cellWidth(row) + 1 + cellWidth(String(word)) > max(20, width) {
        rows.append(row)
        row = String(word)
      } else {
        row += (row.isEmpty ? "" : " ") + word
      }
    }
    rows.append(row)
    return rows
  }

  // MARK: Snippets

  private func gutterWidth(_ diagnostic: Diagnostic) -> Int {
    let spans = ([diagnostic.primary].compactMap { $0 } + diagnostic.secondary).map(\.span)
    let fixes = ([diagnostic.fix].compactMap { $0 } + diagnostic.alternatives).flatMap(\.edits).map(\.span)
    let last = (spans + fixes).compactMap { sources.file($0.file)?.position(at: $0.start).line }.max() ?? 1
    return String(last).count
  }

  private func snippets(_ diagnostic: Diagnostic, gutter: Int) -> [String] {
    guard let primary = diagnostic.primary else { return [] }
    let pad = String(repeating: " ", count: gutter)
    var marks = [Mark(label: primary, isPrimary: true)]
    marks += diagnostic.secondary.map { Mark(label: $0, isPrimary: false) }
    var rows: [String] = []
    var files: [FileID] = []
    for mark in marks where !files.contains(mark.label.span.file) { files.append(mark.label.span.file) }
    for file in files {
      guard let source = sources.file(file) else { continue }
      let inFile = marks.filter { $0.label.span.file == file }
      guard let first = inFile.first else { continue }
      let arrow = file == primary.span.file ? "-->" : ":::"
      let position = source.position(at: first.label.span.start)
      rows.append(
        "\(pad)\(paint(arrow, .gutter)) \(printable(source.name, limit: 200)):\(position.line):\(position.column)")
      rows.append("\(pad) \(paint("|", .gutter))")
      rows += lines(of: source, marks: inFile, severity: diagnostic.severity, gutter: gutter)
    }
    if !diagnostic.notes.isEmpty || !diagnostic.help.isEmpty { rows.append("\(pad) \(paint("|", .gutter))") }
    return rows
  }

  private struct Mark {
    let label: Diagnostic.Label
    let isPrimary: Bool
  }

  private func lines(of source: SourceFile, marks: [Mark], severity: Diagnostic.Severity, gutter: Int) -> [String] {
    var byLine: [Int: [Mark]] = [:]
    for mark in marks { byLine[source.position(at: mark.label.span.start).line, default: []].append(mark) }
    let numbers = byLine.keys.sorted()
    var rows: [String] = []
    var previous: Int?
    for number in numbers {
      if let previous {
        if number == previous + 2 {
          rows.append(sourceRow(source, previous + 1, gutter: gutter, window: 0, near: 0))
        } else if number > previous + 1 {
          rows.append(paint("...", .gutter))
        }
      }
      previous = number
      rows += marked(source, number, byLine[number] ?? [], severity: severity, gutter: gutter)
    }
    return rows
  }

  private func sourceRow(_ source: SourceFile, _ number: Int, gutter: Int, window: Int, near offset: Int) -> String {
    let cells = LineCells(source, number, near: offset)
    let label = String(number)
    let pad = String(repeating: " ", count: gutter - label.count)
    let text = cells.visible(from: window, width: room(gutter))
    return "\(pad)\(paint(label + " |", .gutter))\(text.isEmpty ? "" : " " + text)"
  }

  private func room(_ gutter: Int) -> Int { max(20, width - gutter - 3) }

  /// A source line and the rows of marks and labels below it.
  private func marked(
    _ source: SourceFile, _ number: Int, _ marks: [Mark], severity: Diagnostic.Severity, gutter: Int
  ) -> [String] {
    let offset = (marks.first { $0.isPrimary } ?? marks.first)?.label.span.start ?? 0
    let cells = LineCells(source, number, near: offset)
    let spans: [(mark: Mark, start: Int, end: Int)] = marks.map { mark in
      let start = cells.column(at: mark.label.span.start)
      return (mark, start, max(start + 1, min(cells.column(at: mark.label.span.end), cells.width + 1)))
    }.sorted { ($0.start, $0.end) < ($1.start, $1.end) }
    let room = room(gutter)
    let anchor = spans.first { $0.mark.isPrimary } ?? spans.first
    let window = cells.window(
      start: anchor?.start ?? 0, end: anchor?.end ?? 0, width: room, label: cellWidth(anchor?.mark.label.text ?? ""))
    var rows = [sourceRow(source, number, gutter: gutter, window: window, near: offset)]
    let prefix = String(repeating: " ", count: gutter) + " " + paint("|", .gutter)

    // Underlines, all in one row; where two overlap the primary is on top.
    var canvas: [(character: Character, style: Style)] = []
    for span in spans.filter({ !$0.mark.isPrimary }) + spans.filter({ $0.mark.isPrimary }) {
      let style: Style = span.mark.isPrimary ? .severity(severity) : .gutter
      let start = max(0, span.start - window)
      let end = min(room, max(start + 1, span.end - window))
      guard start < end else { continue }
      while canvas.count < end { canvas.append((" ", .plain)) }
      for column in start..<end { canvas[column] = (span.mark.isPrimary ? "^" : "-", style) }
    }
    var underline = paint(canvas)
    var rest = spans.filter { !$0.mark.label.text.isEmpty }
    if let last = rest.last, cellWidth(last.mark.label.text) + canvas.count + 1 <= room,
      last.end - window >= canvas.count
    {
      underline += " " + paint(last.mark.label.text, last.mark.isPrimary ? .severity(severity) : .gutter)
      rest.removeLast()
    }
    rows.append(prefix + " " + underline)
    for span in rest.reversed() {
      let style: Style = span.mark.isPrimary ? .severity(severity) : .gutter
      // Below the mark; one that is too long for that ends at the window's end, if it begins in its right half.
      let column = max(0, min(span.start - window, max(room / 2, room - cellWidth(span.mark.label.text))))
      let indent = String(repeating: " ", count: column)
      for row in Self.wrap(span.mark.label.text, room - column) {
        rows.append("\(prefix) \(indent)\(paint(row, style))")
      }
    }
    return rows
  }

  // MARK: Fix

  /// What is not certain says so: `--fix` leaves it to the reader.
  private func preview(_ fix: Diagnostic.Fix, as word: String, gutter: Int) -> [String] {
    let pad = String(repeating: " ", count: gutter)
    let isPlain = fix.isCertain || word == "or" || [" if ", "such as this"].contains { fix.title.contains($0) }
    let title = isPlain ? fix.title : fix.title + ", if that is meant"
    var rows = ["\(paint(word, .help))\(paint(": " + title, .bold))"]
    rows.append("\(pad) \(paint("|", .gutter))")
    var rest = fix.edits.sorted { ($0.span.file, $0.span.start) < ($1.span.file, $1.span.start) }[...]
    var previous = fix.edits.first?.span.file
    while let first = rest.first, let file = sources.file(first.span.file) {
      if first.span.file != previous {
        rows.append("\(pad)\(paint(":::", .gutter)) \(printable(file.name, limit: 200))")
      }
      previous = first.span.file
      if let lines = wholeLines(first, in: file, gutter: gutter) {
        rows += lines
        rest = rest.dropFirst()
        continue
      }
      let number = file.position(at: first.span.start).line
      let onLine = rest.prefix {
        $0.span.file == file.id && file.position(at: $0.span.start).line == number
          && wholeLines($0, in: file, gutter: gutter) == nil
      }
      rows += patched(file, number, Array(onLine), gutter: gutter)
      rest = rest.dropFirst(onLine.count)
    }
    return rows
  }

  private static let mostLines = 8

  /// For an edit that takes out whole lines, or puts some in: each with a sign before it. `nil` for another one.
  private func wholeLines(_ edit: Diagnostic.Fix.Edit, in file: SourceFile, gutter: Int) -> [String]? {
    let start = file.position(at: edit.span.start)
    let end = file.position(at: edit.span.end)
    let isAtLine = { (place: SourcePosition) in place.column == 1 || place.offset == file.bytes.count }
    guard isAtLine(start), isAtLine(end) else { return nil }
    if edit.replacement.isEmpty, start.column == 1, end.offset > start.offset {
      let last = end.column == 1 ? end.line - 1 : end.line
      return (start.line...max(start.line, last)).prefix(Self.mostLines).map { number in
        let text = LineCells(file, number, near: 0).visible(from: 0, width: room(gutter))
        return row(number, "-", text, gutter: gutter)
      }
    }
    guard edit.span.start == edit.span.end, edit.replacement.hasSuffix("\n"), edit.replacement.count > 1 else {
      return nil
    }
    let first = start.column == 1 ? start.line : start.line + 1
    let lines = edit.replacement.split(separator: "\n", omittingEmptySubsequences: true).prefix(Self.mostLines)
    return lines.enumerated().map { index, line in
      let cells = LineCells(bytes: Array(line.utf8)[...], base: 0, concealed: [], cut: (false, false))
      return row(first + index, "+", cells.visible(from: 0, width: room(gutter)), gutter: gutter)
    }
  }

  private func row(_ number: Int, _ sign: String, _ text: String, gutter: Int) -> String {
    let label = String(number)
    let space = String(repeating: " ", count: max(0, gutter - label.count))
    return "\(space)\(paint(label + " " + sign, .help)) \(text)"
  }

  /// A line as it will be, with marks below what is new.
  private func patched(_ source: SourceFile, _ number: Int, _ edits: [Diagnostic.Fix.Edit], gutter: Int) -> [String] {
    guard let whole = source.line(number), let first = edits.first else { return [] }
    let line = LineCells.part(
      of: whole, around: first.span.start..<max(first.span.start, edits.last?.span.end ?? 0), in: source)
    let pad = String(repeating: " ", count: gutter)
    var bytes: [UInt8] = []
    var concealed: [Range<Int>] = []
    var changed: [Range<Int>] = []
    var position = line.lowerBound
    func keep(to end: Int) {
      let end = max(position, min(end, line.upperBound))
      for range in source.concealed {
        let kept = range.clamped(to: position..<end)
        if !kept.isEmpty {
          let shift = bytes.count - position
          concealed.append(kept.lowerBound + shift..<kept.upperBound + shift)
        }
      }
      bytes += source.slice(position..<end)
      position = end
    }
    for edit in edits {
      keep(to: edit.span.start)
      changed.append(bytes.count..<bytes.count + edit.replacement.utf8.count)
      bytes += Array(edit.replacement.utf8)
      position = max(position, min(edit.span.end, line.upperBound))
    }
    keep(to: line.upperBound)

    var rows: [String] = []
    var offset = 0
    for (index, text) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).prefix(8).enumerated() {
      let range = offset..<offset + text.count
      let cells = LineCells(
        bytes: bytes[range], base: offset, concealed: concealed,
        cut: (
          index == 0 && line.lowerBound > whole.lowerBound,
          range.upperBound == bytes.count && line.upperBound < whole.upperBound
        ))
      let marks = changed.map { $0.clamped(to: range) }.filter { piece in !bytes[piece].allSatisfy { $0 == 0x20 } }
        .map { cells.column(at: $0.lowerBound)..<cells.column(at: $0.upperBound) }.filter { !$0.isEmpty }
      let window = cells.window(
        start: marks.first?.lowerBound ?? 0, end: marks.last?.upperBound ?? 0, width: room(gutter))
      let label = String(number + index)
      let shown = cells.visible(from: window, width: room(gutter))
      let space = String(repeating: " ", count: max(0, gutter - label.count))
      rows.append("\(space)\(paint(label + " |", .gutter)) \(shown)")
      var underline = ""
      for mark in marks where mark.lowerBound - window < room(gutter) {
        underline += String(repeating: " ", count: max(0, mark.lowerBound - window - underline.count))
        underline += String(
          repeating: "~", count: max(0, min(mark.upperBound - window, room(gutter)) - underline.count))
      }
      if !underline.isEmpty { rows.append("\(pad) \(paint("|", .gutter)) \(paint(underline, .help))") }
      offset += text.count + 1
    }
    return rows
  }

  // MARK: Colours

  private enum Style: Equatable {
    case plain, bold, gutter, help
    case severity(Diagnostic.Severity)

    var code: String {
      switch self {
      case .plain: "0"
      case .bold: "1"
      case .gutter: "1;34"
      case .help: "1;32"
      case .severity(.error): "1;31"
      case .severity(.notYet): "1;35"
      case .severity(.warning): "1;33"
      case .severity(.note): "1;36"
      }
    }
  }

  private func paint(_ text: String, _ style: Style) -> String {
    colors && style != .plain && !text.isEmpty ? "\u{1B}[\(style.code)m\(text)\u{1B}[0m" : text
  }

  private func paint(_ canvas: [(character: Character, style: Style)]) -> String {
    var result = ""
    var run = ""
    var style = Style.plain
    for cell in canvas {
      if cell.style != style {
        result += paint(run, style)
        run = ""
        style = cell.style
      }
      run.append(cell.character)
    }
    return result + paint(run, style)
  }
}

extension Diagnostic.Severity {
  /// As it is printed.
  public var word: String {
    switch self {
    case .error: "error"
    case .notYet: "not yet"
    case .warning: "warning"
    case .note: "note"
    }
  }
}
