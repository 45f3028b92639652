/// libyaml's syntax errors in a user's words.
///
/// libyaml names the rule of its grammar that failed, often lines behind the slip. The few slips that make up most
/// of all YAML errors are looked for here at the place itself: a tab that indents, a colon without a space, an
/// unclosed quote, a line that is indented unlike its siblings.
enum SyntaxAdvice {
  static func diagnose(file: SourceFile, offset: Int, problem: String, context: String?, contextOffset: Int?)
    -> YAMLFault
  {
    let offset = min(offset, file.bytes.count)
    let here = SourceSpan(file: file.id, start: offset, end: min(offset + 1, file.bytes.count))
    func fault(
      _ message: String, at span: SourceSpan, _ label: String, secondary: [Diagnostic.Label] = [], help: [String] = [],
      fix: Diagnostic.Fix? = nil, isAboutColumns: Bool = true
    ) -> YAMLFault {
      var diagnostic = Diagnostic(.syntax, message, at: .init(span, label), and: secondary, help: help, fix: fix)
      diagnostic.isAboutColumns = isAboutColumns
      return YAMLFault(diagnostic: diagnostic)
    }

    if let tab = indentingTab(file, near: offset) {
      return fault(
        "a tab indents this line, and YAML takes only spaces", at: tab, "a tab",
        fix: .replace(
          tab, with: String(repeating: "  ", count: tab.end - tab.start), "write spaces, of which two a level are usual"
        ))
    }
    if problem.contains("found unexpected end of stream"), let start = contextOffset,
      context?.contains("quoted") == true
    {
      let quote = SourceSpan(file: file.id, start: start, end: start + 1)
      return fault(
        "this quote is never closed", at: quote, "the text begins here and has no end", isAboutColumns: false)
    }
    if problem.contains("did not find expected ',' or"), let start = contextOffset {
      let bracket = SourceSpan(file: file.id, start: start, end: start + 1)
      let open = String(decoding: file.slice(start..<start + 1), as: UTF8.self)
      let closing = open == "{" ? "}" : "]"
      return fault(
        "`,` or `\(closing)` is missing here", at: here, "expected `,` or `\(closing)`",
        secondary: [.init(bracket, "for this `\(open)`")], isAboutColumns: false)
    }
    if problem.contains("mapping values are not allowed") {
      if let (indentation, wanted, sibling) = deeperThanSibling(file, at: offset) {
        let isNext = file.position(at: sibling.start).line + 1 == file.position(at: offset).line
        return fault(
          "this line is indented deeper than the one that it belongs to", at: lineSpan(file, at: offset),
          isNext ? "the line above ends with a value, and nothing can stand below it" : "indented deeper",
          secondary: isNext ? [] : [.init(sibling, "this ends with a value, and nothing can stand below it")],
          help: ["begin the keys of one mapping in the same column"],
          fix: Diagnostic.Fix(
            "begin it in column \(wanted + 1)", [.init(indentation, String(repeating: " ", count: wanted))],
            isCertain: false))
      }
      return fault(
        "a `:` stands where no value can follow", at: here, "a second `: ` on one line, or wrong indentation",
        help: ["quote a text that holds `: `, or align the line with its siblings"])
    }
    if problem.contains("could not find expected ':'") {
      let line = lineSpan(file, at: contextOffset ?? offset)
      return fault(
        "this line is neither `key: value` nor part of a text", at: line, "`:` is missing",
        help: ["write `key: value`, with a space behind the colon"])
    }
    if problem.contains("did not find expected key") || problem.contains("did not find expected '-' indicator") {
      let line = lineSpan(file, at: offset)
      var secondary: [Diagnostic.Label] = []
      if let start = contextOffset, start < line.start {
        secondary.append(.init(SourceSpan(file: file.id, start: start, end: start + 1), "the block that it breaks off"))
      }
      if let shallower = shallowerLine(file, above: line.start) {
        secondary.append(.init(shallower, "or this one, which stands further left"))
      }
      return fault(
        "this line is indented unlike the lines that it belongs to", at: line,
        "wrong indentation, or a stray character",
        secondary: secondary, help: ["give the keys of one mapping, and the dashes of one list, the same column"])
    }
    if problem.contains("did not find expected <document start>"), let first = firstLine(file), first.start < offset {
      return fault(
        "this line stands further left than the first one", at: lineSpan(file, at: offset), "wrong indentation",
        secondary: [.init(first, "or this one, which stands further right")],
        help: ["give the keys of one mapping, and the dashes of one list, the same column"])
    }
    if problem.contains("block sequence entries are not allowed") {
      return fault(
        "a `-` stands where no list can begin", at: here, "not the start of a list",
        help: ["begin the list on a line of its own"])
    }
    if problem.contains("did not find expected alphabetic or numeric character"), let start = contextOffset {
      let sign = String(decoding: file.slice(start..<start + 1), as: UTF8.self)
      let what = sign == "*" ? "an alias" : sign == "&" ? "an anchor" : "a tag"
      return fault(
        "`\(printable(sign))` begins \(what) here, and no name follows",
        at: SourceSpan(file: file.id, start: start, end: start + 1),
        "not the start of a text", help: ["quote a text that begins with `\(printable(sign))`"],
        isAboutColumns: false)
    }
    if problem.contains("did not find expected node content"), file.bytes[offset...].allSatisfy({ $0 <= 0x20 }) {
      let end = file.bytes.lastIndex { $0 > 0x20 } ?? 0
      return fault(
        "the file ends between brackets",
        at: SourceSpan(file: file.id, start: end, end: min(end + 1, file.bytes.count)),
        "nothing comes behind this", help: ["close every `{` by a `}` and every `[` by a `]`"],
        isAboutColumns: false)
    }
    if problem.contains("did not find expected node content"), let colon = bareColon(file, at: offset) {
      let text = String(decoding: file.slice(colon.start..<colon.end), as: UTF8.self)
      return fault(
        "between brackets a text that begins with `:` needs quotes", at: colon, "read as an empty key",
        fix: .replace(colon, with: "\"\(text)\"", "write `\"\(printable(text))\"`"))
    }
    if problem.contains("cannot start any token") || problem.contains("tab character"),
      file.slice(here.start..<here.end).first == 0x09
    {
      return fault(
        "a tab stands where YAML takes only spaces", at: here, "a tab", fix: .replace(here, with: "", "remove it"))
    }
    if problem.contains("cannot start any token") {
      return fault(
        "`\(printable(String(decoding: file.slice(here.start..<here.end), as: UTF8.self)))` cannot begin a value",
        at: here, "quote a text that begins with this character",
        isAboutColumns: false)
    }
    if problem.contains("unknown escape character") {
      return fault(
        "this escape has no meaning in a quoted text", at: here, "unknown escape",
        help: ["write `\\\\` for a backslash, or use single quotes"],
        isAboutColumns: false)
    }
    let line = lineSpan(file, at: offset)
    return fault(
      "this is not YAML: \(problem)\(context.map { " \($0)" } ?? "")", at: line.start < line.end ? line : here, "")
  }

  /// For `{addr: :8421}`, where the parser stopped at the second colon: that colon with what it was to begin.
  private static func bareColon(_ file: SourceFile, at offset: Int) -> SourceSpan? {
    guard let line = file.line(file.position(at: offset).line), line.contains(offset),
      file.bytes[offset] == UInt8(ascii: ":"), file.bytes[line.lowerBound..<offset].last == 0x20
    else { return nil }
    let end = file.bytes[offset..<line.upperBound].firstIndex { ",]} ".utf8.contains($0) } ?? line.upperBound
    return end > offset + 1 ? SourceSpan(file: file.id, start: offset, end: end) : nil
  }

  /// A run of tabs in the indentation of the line at the offset or of the one before.
  private static func indentingTab(_ file: SourceFile, near offset: Int) -> SourceSpan? {
    let number = file.position(at: offset).line
    for candidate in [number, number - 1] {
      guard let line = file.line(candidate) else { continue }
      let indentation = file.bytes[line].prefix { $0 == 0x20 || $0 == 0x09 }
      guard let first = indentation.firstIndex(of: 0x09), indentation.endIndex < line.upperBound else { continue }
      let end = file.bytes[first..<line.upperBound].firstIndex { $0 != 0x09 } ?? line.upperBound
      return SourceSpan(file: file.id, start: first, end: end)
    }
    return nil
  }

  /// For a `key:` that is indented deeper than a finished `key: value` above it: its indentation, the column where that
  /// key begins, and that line.
  private static func deeperThanSibling(_ file: SourceFile, at offset: Int) -> (SourceSpan, Int, SourceSpan)? {
    let number = file.position(at: offset).line
    guard let line = file.line(number) else { return nil }
    let indent = file.bytes[line].prefix { $0 == 0x20 }.count
    var above = number - 1
    while let candidate = file.line(above) {
      let text = file.bytes[candidate]
      let content = text.drop { $0 == 0x20 }
      if content.isEmpty || content.first == UInt8(ascii: "#") {
        above -= 1
        continue
      }
      // The dashes of a list belong to the indentation.
      let key = text.drop { $0 == 0x20 || $0 == 0x2D }
      let wanted = key.startIndex - text.startIndex
      guard let colon = key.firstIndex(of: UInt8(ascii: ":")), colon + 1 < key.endIndex, indent > wanted else {
        return nil
      }
      let indentation = SourceSpan(file: file.id, start: line.lowerBound, end: line.lowerBound + indent)
      return (indentation, wanted, lineSpan(file, at: candidate.lowerBound))
    }
    return nil
  }

  /// The nearest line above that is indented less than the one at the offset: the other one that may be wrong.
  private static func shallowerLine(_ file: SourceFile, above offset: Int) -> SourceSpan? {
    let place = file.position(at: offset)
    let beginsItem = offset < file.bytes.count && file.bytes[offset] == UInt8(ascii: "-")
    var number = place.line - 1
    while let line = file.line(number) {
      let text = file.bytes[line]
      let indent = text.prefix { $0 == 0x20 }.count
      if indent < text.count, text[text.startIndex + indent] != UInt8(ascii: "#") {
        let isItem = text[text.startIndex + indent] == UInt8(ascii: "-")
        // A key in the column of a list's dashes ends the list.
        if indent < place.column - 1 || indent == place.column - 1 && isItem != beginsItem {
          return lineSpan(file, at: line.lowerBound)
        }
      }
      number -= 1
    }
    return nil
  }

  /// The first line that holds more than a comment.
  private static func firstLine(_ file: SourceFile) -> SourceSpan? {
    var number = 1
    while let line = file.line(number) {
      let content = file.bytes[line].drop { $0 == 0x20 }
      if let first = content.first, first != UInt8(ascii: "#"), first != 0x0D {
        return lineSpan(file, at: line.lowerBound)
      }
      number += 1
    }
    return nil
  }

  /// The text of the line, without its indentation.
  private static func lineSpan(_ file: SourceFile, at offset: Int) -> SourceSpan {
    var number = file.position(at: offset).line
    while number > 1, let line = file.line(number), file.bytes[line].allSatisfy({ $0 == 0x20 }) { number -= 1 }
    guard let line = file.line(number) else { return SourceSpan(file: file.id, start: offset, end: offset) }
    let start = file.bytes[line].firstIndex { $0 != 0x20 && $0 != 0x09 } ?? line.lowerBound
    var end = line.upperBound
    while end > start, file.bytes[end - 1] == 0x20 { end -= 1 }
    return SourceSpan(file: file.id, start: start, end: end)
  }
}
