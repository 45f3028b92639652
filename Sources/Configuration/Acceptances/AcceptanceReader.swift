import Values

/// Finds the acceptances of one file: in its comments, and below `x-culvert`.
///
/// libyaml drops comments, so they are looked for in the bytes: a `#` at the start of a line or behind a space that
/// lies in no scalar of the tree is one. Scalars are what may hold a `#` and not begin a comment.
struct AcceptanceReader {
  let file: SourceFile
  let root: YAMLNode?
  let report: Report

  func read() -> [Acceptance] {
    let written = comments.flatMap(acceptances) + (root.map(listed) ?? [])
    return written
  }

  /// For an argument of `--accept`: `CODE[,CODE…]=REASON`.
  func argument() -> [Acceptance] {
    let whole = trimmed(0..<file.bytes.count)
    guard let equals = file.bytes[whole].firstIndex(of: UInt8(ascii: "=")) else {
      bad("an acceptance without a reason", whole, "why?")
      return []
    }
    let list = trimmed(whole.lowerBound..<equals)
    guard !list.isEmpty else {
      bad("an acceptance names no code", whole, "accept what?")
      return []
    }
    let reason = text(trimmed(equals + 1..<whole.upperBound))
    return codes(list).compactMap { acceptance(text($0), span($0), reason: reason, .everything) }
  }

  // MARK: Comments

  /// The word behind the `#` by which a comment is ours.
  private static let mark = Array("culvert:".utf8)

  /// Byte ranges behind the `#`, up to the line's end.
  private var comments: [Range<Int>] {
    // Most files have none, and need no list of scalars.
    guard contains(Self.mark) else { return [] }
    let scalars = ScalarSpans(root, in: file.id)
    var found: [Range<Int>] = []
    for number in 1...max(1, file.lineCount) {
      guard let line = file.line(number) else { break }
      var offset = line.lowerBound
      while let hash = file.bytes[offset..<line.upperBound].firstIndex(of: UInt8(ascii: "#")) {
        offset = hash + 1
        let isAtStart = hash == line.lowerBound || Self.isSpace(file.bytes[hash - 1])
        guard isAtStart, !scalars.contain(hash) else { continue }
        let text = trimmed(hash + 1..<line.upperBound)
        if file.bytes[text].starts(with: Self.mark) { found.append(text) }
        break
      }
    }
    return found
  }

  private func contains(_ pattern: [UInt8]) -> Bool {
    var offset = 0
    while let start = file.bytes[offset...].firstIndex(of: pattern[0]) {
      if file.bytes[start...].starts(with: pattern) { return true }
      offset = start + 1
    }
    return false
  }

  /// `culvert: accept CODE[,CODE…] reason`
  private func acceptances(_ comment: Range<Int>) -> [Acceptance] {
    let verb = word(from: comment.lowerBound + Self.mark.count, to: comment.upperBound)
    guard !verb.isEmpty, text(verb) == "accept" else {
      let near = NearNames.best(for: text(verb), among: ["accept"])
      bad(
        verb.isEmpty ? "a comment for Culvert says nothing" : "`\(printable(text(verb)))` is nothing that Culvert does",
        verb.isEmpty ? comment : verb, "what to do", fix: near.map { .replace(span(verb), with: $0, "write `\($0)`") })
      return []
    }
    var list = word(from: verb.upperBound, to: comment.upperBound)
    while file.bytes[list].last == UInt8(ascii: ":") { list = list.lowerBound..<list.upperBound - 1 }
    guard !list.isEmpty else {
      bad("an acceptance names no code", verb, "accept what?")
      return []
    }
    let reason = trimmed(list.upperBound..<comment.upperBound, also: "-:–—")
    let scope = Acceptance.Scope.range(block(from: anchor(of: comment)))
    return codes(list).compactMap { place in
      acceptance(text(place), span(place), reason: text(reason), scope)
    }
  }

  private func codes(_ list: Range<Int>) -> [Range<Int>] {
    file.bytes[list].split(separator: UInt8(ascii: ",")).map { $0.startIndex..<$0.endIndex }
  }

  private func acceptance(
    _ text: String, _ span: SourceSpan, reason: String, _ scope: Acceptance.Scope
  ) -> Acceptance? {
    guard let code = DiagnosticCode(rawValue: text.uppercased()) else {
      let near = NearNames.best(for: text.uppercased(), among: DiagnosticCode.allCases.map(\.rawValue))
      report.add(
        Diagnostic(
          .badAcceptance, "there is no code `\(printable(text))`",
          at: .init(span, near.map { "did you mean `\($0)`?" } ?? "not a code"),
          help: ["write the code that stands in brackets behind `warning`"]))
      return nil
    }
    guard reason.unicodeScalars.contains(where: { $0.properties.isAlphabetic }) else {
      report.add(
        Diagnostic(
          .badAcceptance, "\(code.rawValue) is accepted without a reason", at: .init(span, "why?"),
          help: ["write the reason: \(form(code.rawValue, "only this office reaches the port"))"]))
      return nil
    }
    return Acceptance(code: code, reason: reason, span: span, scope: scope)
  }

  private func bad(_ message: String, _ range: Range<Int>, _ label: String, fix: Diagnostic.Fix? = nil) {
    report.add(
      Diagnostic(
        .badAcceptance, message, at: .init(span(range), label),
        help: fix == nil ? ["write \(form("CV0708", "the reason"))"] : [], fix: fix))
  }

  private func form(_ code: String, _ reason: String) -> String {
    file.isArgument ? "`--accept \(code)=\"\(reason)\"`" : "`# culvert: accept \(code) \(reason)`"
  }

  // MARK: What a comment covers

  /// The line that a comment is about: its own where something stands before it, else the next that is not empty.
  private func anchor(of comment: Range<Int>) -> Int {
    var number = file.position(at: comment.lowerBound).line
    while number <= file.lineCount, let line = file.line(number), isEmpty(line) { number += 1 }
    return number
  }

  /// From a line to the end of what is indented below it. Items of a list may stand below their key without more
  /// indentation.
  private func block(from number: Int) -> Range<Int> {
    guard let first = file.line(number) else { return file.bytes.count..<file.bytes.count }
    let indent = indentation(first)
    let isItem = beginsItem(first)
    var end = first.upperBound
    var next = number + 1
    while next <= file.lineCount, let line = file.line(next) {
      if !isEmpty(line) {
        let isInside = indentation(line) > indent || !isItem && indentation(line) == indent && beginsItem(line)
        guard isInside else { break }
        end = line.upperBound
      }
      next += 1
    }
    return first.lowerBound..<end
  }

  private func indentation(_ line: Range<Int>) -> Int {
    file.bytes[line].prefix { $0 == UInt8(ascii: " ") }.count
  }

  private func beginsItem(_ line: Range<Int>) -> Bool {
    let text = file.bytes[line].drop { $0 == UInt8(ascii: " ") }
    return text.first == UInt8(ascii: "-") && text.dropFirst().first.map(Self.isSpace) ?? true
  }

  /// Whether nothing but a comment stands on a line.
  private func isEmpty(_ line: Range<Int>) -> Bool {
    let first = file.bytes[line].first { !Self.isSpace($0) }
    return first == nil || first == UInt8(ascii: "#")
  }

  // MARK: x-culvert

  private func listed(_ root: YAMLNode) -> [Acceptance] {
    guard let node = root["x-culvert"],
      let object = ObjectReader(node, Grammar.ownBlock, report, isJSON: false)
    else { return [] }
    return object.list("accept").compactMap { item in
      guard let object = ObjectReader(item, Grammar.acceptance, report, isJSON: false) else { return nil }
      guard let code = object.text("code") else {
        report.add(
          Diagnostic(
            .badAcceptance, "an acceptance names no code", at: .init(item.span, "accept what?"),
            help: ["write `code`, the one that stands in brackets behind `warning`"]))
        return nil
      }
      var scope = Acceptance.Scope.file
      if let name = object.text("name") {
        let object = named(name.value, in: root)
        scope = object.map { .range($0.span.start..<max($0.span.end, $0.span.start + 1)) } ?? .nothing
        if object == nil {
          report.add(
            Diagnostic(
              .badAcceptance, "nothing in this file is named `\(printable(name.value))`",
              at: .init(name.span, "no such service, chain, hop or auther"),
              help: ["leave `name` out where the whole file is meant"]))
        }
      }
      return acceptance(code.value, code.span, reason: object.text("reason")?.value ?? "", scope)
    }
  }

  private func named(_ name: String, in root: YAMLNode) -> YAMLNode? {
    for list in ["services", "chains", "hops", "authers"] {
      for item in root[list]?.sequence ?? [] where item["name"]?.scalar?.text == name { return item }
    }
    return nil
  }

  // MARK: Text

  private func word(from start: Int, to end: Int) -> Range<Int> {
    let rest = trimmed(start..<max(start, end))
    let length = file.bytes[rest].prefix { !Self.isSpace($0) }.count
    return rest.lowerBound..<rest.lowerBound + length
  }

  /// Without the spaces around it, and without some marks before it.
  private func trimmed(_ range: Range<Int>, also marks: String = "") -> Range<Int> {
    var range = range.clamped(to: 0..<file.bytes.count)
    while let last = file.bytes[range].last, Self.isSpace(last) { range = range.lowerBound..<range.upperBound - 1 }
    while let first = file.bytes[range].first {
      let mark = marks.unicodeScalars.first { file.bytes[range].starts(with: String($0).utf8) }
      let length = Self.isSpace(first) ? 1 : mark.map { String($0).utf8.count } ?? 0
      if length == 0 { break }
      range = range.lowerBound + length..<range.upperBound
    }
    return range
  }

  private func text(_ range: Range<Int>) -> String { String(decoding: file.slice(range), as: UTF8.self) }

  private func span(_ range: Range<Int>) -> SourceSpan {
    SourceSpan(file: file.id, start: range.lowerBound, end: range.upperBound)
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}

/// Where a tree has its keys and values.
private struct ScalarSpans {
  /// Sorted by where they begin. Those of one file do not overlap.
  private var ranges: [Range<Int>] = []

  init(_ root: YAMLNode?, in file: FileID) {
    var stack = [root].compactMap { $0 }
    while let node = stack.popLast() {
      // What an alias stands for is found where it was written.
      if node.anchor != nil { continue }
      switch node.content {
      case .scalar: if node.span.file == file, node.span.start < node.span.end { ranges.append(range(node)) }
      case .sequence(let items): stack += items
      case .mapping(let entries):
        for entry in entries {
          if entry.key.span.start < entry.key.span.end { ranges.append(range(entry.key)) }
          stack.append(entry.value)
        }
      }
    }
    ranges.sort { $0.lowerBound < $1.lowerBound }
  }

  private func range(_ node: YAMLNode) -> Range<Int> { node.span.start..<node.span.end }

  func contain(_ offset: Int) -> Bool {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].lowerBound <= offset { low = middle + 1 } else { high = middle }
    }
    return low > 0 && ranges[low - 1].contains(offset)
  }
}
