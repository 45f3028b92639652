import PartDescriptors
import Values

/// Collects what the readers and the rules find, up to a number that nobody reads to the end: a hostile file may have
/// a hundred thousand faults, and each costs memory and time.
final class Report {
  static let limit = 200
  /// Items of all lists together: services, chains, hops, nodes, users, names.
  static let mostItems = 10_000

  private(set) var diagnostics: [Diagnostic] = []
  private(set) var leftOut = 0
  private var itemsRead = 0
  private var isOverfull = false
  /// The files, for fixes that have to fit in.
  var sources = SourceMap()

  /// Whether more of the same kind would be left out. Readers stop looking for near names then.
  var isFull: Bool { diagnostics.count >= Self.limit && diagnostics.contains { $0.severity == .error } }

  /// Whether a fix that was given writes a key inside of a span: that it is missing has been said then.
  func mends(_ key: String, inside span: SourceSpan) -> Bool {
    diagnostics.contains { diagnostic in
      diagnostic.fix?.edits.contains {
        $0.replacement == key && $0.span.file == span.file && $0.span.start >= span.start && $0.span.end <= span.end
      } ?? false
    }
  }

  /// Whether a key inside of a span was said to stand in the wrong place: what is missing where it belongs has been said
  /// then.
  func hasMisplacedKey(inside span: SourceSpan) -> Bool {
    has(.misplacedKey, inside: span)
  }

  /// A fix that gives a mapping a first key: a line, indented as the others, or an entry in braces.
  func fix(inserting key: String, _ value: String, into mapping: SourceSpan, _ title: String? = nil) -> Diagnostic.Fix?
  {
    guard let file = sources.file(mapping.file), mapping.end > mapping.start + 1 else { return nil }
    let isFlow = file.slice(mapping.start..<mapping.start + 1).first == UInt8(ascii: "{")
    let place = isFlow ? mapping.start + 1 : mapping.start
    let indent = String(repeating: " ", count: file.position(at: mapping.start).column - 1)
    let text = isFlow ? "\"\(key)\": \"\(value)\", " : "\(key): \(value)\n\(indent)"
    return Diagnostic.Fix(
      title ?? "write `\(key)`", [.init(SourceSpan(file: mapping.file, start: place, end: place), text)])
  }

  /// Whether an error of a code was found inside of a span.
  func has(_ code: DiagnosticCode, inside span: SourceSpan) -> Bool {
    diagnostics.contains { diagnostic in
      guard diagnostic.code == code, diagnostic.severity == .error, let place = diagnostic.primary?.span else {
        return false
      }
      return place.file == span.file && place.start >= span.start && place.end <= span.end
    }
  }

  /// Whether something stands in an argument of the command line, where a file's advice is no help.
  func isArgument(_ span: SourceSpan) -> Bool { sources.file(span.file)?.isArgument == true }

  func leaveOut() { leftOut += 1 }

  /// The items of a list that there is still room for; what is more is said once. Each item becomes a part of the model,
  /// which takes many times the memory of what was written for it.
  func fitting(_ items: [YAMLNode], of name: String, atMost most: Int) -> [YAMLNode] {
    let room = max(0, min(most, Self.mostItems - itemsRead))
    itemsRead += min(items.count, room)
    if items.count > room, !isOverfull {
      isOverfull = true
      add(
        Diagnostic(
          .tooManyValues, "`\(name)` has \(items.count) items, and there is room for \(room)",
          at: .init(items[room].span, "too many from here")))
    }
    return Array(items.prefix(room))
  }

  /// The first of each severity is always kept, so that the exit code is right.
  func add(_ diagnostic: Diagnostic) {
    if diagnostics.count >= Self.limit, diagnostics.contains(where: { $0.severity == diagnostic.severity }) {
      leftOut += 1
    } else {
      diagnostics.append(diagnostic)
    }
  }

  /// What was found, in file order, each fix fit for the file.
  var findings: [Diagnostic] {
    var ordered = diagnostics.inFileOrder().map { $0.keepingQuotes(in: sources).showingAliases(in: sources) }
    if leftOut > 0, let last = ordered.popLast() {
      var closing = last
      closing.notes.append("there is more: only the first \(Self.limit) findings are reported")
      ordered.append(closing)
    }
    return ordered
  }
}

extension Diagnostic {
  /// What is wrong with an anchored value may be wrong only where an alias puts it.
  fileprivate func showingAliases(in sources: SourceMap) -> Diagnostic {
    guard severity == .error, let place = primary?.span else { return self }
    let aliases = sources.aliases(around: place)
    if aliases.isEmpty { return self }
    var copy = self
    copy.secondary += aliases.map { .init($0, "comes in here") }
    return copy
  }
}

/// A mapping whose keys were checked against a shape: typed access to its values, each wrong type reported once.
struct ObjectReader {
  let node: YAMLNode
  let shape: Shape
  let report: Report
  let isJSON: Bool
  private var entries: [String: YAMLEntry] = [:]

  var span: SourceSpan { node.span }

  /// `judgesPlacement` is false for a part that is not there yet: what it would do with a key is not known here.
  /// `nil` when the node is not a mapping (reported) or null. `neighbours` are places that a stray key may have been
  /// meant for, the likeliest first.
  init?(
    _ node: YAMLNode?, _ shape: Shape, _ report: Report, isJSON: Bool, neighbours: [Neighbour] = [],
    judgesPlacement: Bool = true
  ) {
    guard let node, !node.isNull else { return nil }
    guard let mapping = node.mapping else {
      report.add(
        Diagnostic(
          .wrongType, "\(shape.title) is a mapping of keys to values, not \(node.kind)",
          at: .init(node.span, node.kind),
          help: ["its keys are \(quotedList(shape.names))"],
          fix: Self.typeFix(node, shape) ?? Self.spaceFix(node, shape)))
      return nil
    }
    self.node = node
    self.shape = shape
    self.report = report
    self.isJSON = isJSON
    for entry in mapping { take(entry, neighbours, judgesPlacement) }
  }

  private mutating func take(_ entry: YAMLEntry, _ neighbours: [Neighbour], _ judgesPlacement: Bool) {
    guard let field = shape.field(entry.name) else {
      // Where anchors are kept, by a custom that GOST's reader allows as well.
      if shape.title == Grammar.root.title, entry.name.hasPrefix("x-") { return }
      if report.isFull {
        report.leaveOut()
        return
      }
      report.add(Self.unknown(entry, in: shape.title, known: shape.names, neighbours: neighbours))
      return
    }
    switch field.state {
    case .read: entries[field.name] = entry
    case .silent: break
    case .notYet:
      // Nothing written is nothing asked for.
      if entry.value.isEmpty || entry.value.scalar?.bool == false || entry.value.scalar?.int == 0 { return }
      report.add(Self.notYet(entry, field.name, in: shape.title))
    case .withoutEffect(let why):
      if entry.value.isEmpty { return }
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`\(field.name)` has no effect in \(shape.title)", .warning,
          at: .init(entry.key.span, "has no effect"), notes: [why], help: ["remove it"]))
    case .belongs(let place, let why):
      entries[field.name] = entry
      if entry.value.isEmpty || !judgesPlacement { return }
      report.add(
        Diagnostic(
          .misplacedKey, "`\(field.name)` has no effect in \(shape.title); it belongs in `\(place)`",
          at: .init(entry.key.span, "move this to `\(place)`"), notes: [why]))
    }
  }

  /// `handler: tun` means a part by its type alone.
  private static func typeFix(_ node: YAMLNode, _ shape: Shape) -> Diagnostic.Fix? {
    guard let scalar = node.scalar, scalar.style == .plain, node.anchor == nil,
      let kind = PartKind.allCases.first(where: { shape.title == "a \($0.rawValue)" }),
      PartCatalog.find(kind, scalar.text) != nil
    else { return nil }
    return .replace(node.span, with: "{type: \(scalar.text)}", "write it as the `type`")
  }

  /// `type:relay` is text in YAML; with a space it is a key and its value.
  private static func spaceFix(_ node: YAMLNode, _ shape: Shape) -> Diagnostic.Fix? {
    guard let scalar = node.scalar, scalar.style == .plain, let colon = scalar.text.firstIndex(of: ":"),
      shape.field(String(scalar.text[..<colon])) != nil, !scalar.text.contains("\n")
    else { return nil }
    let place = node.span.start + scalar.text[...colon].utf8.count
    // Not certain: behind another key, or before what YAML reads as more than text, the space makes no mapping.
    return Diagnostic.Fix(
      "put a space behind the colon", [.init(SourceSpan(file: node.span.file, start: place, end: place), " ")],
      isCertain: false)
  }

  func has(_ name: String) -> Bool { entries[name].map { !$0.value.isNull } ?? false }

  func value(_ name: String) -> YAMLNode? { entries[name].map(\.value).flatMap { $0.isNull ? nil : $0 } }

  func keySpan(_ name: String) -> SourceSpan? { entries[name]?.key.span }

  /// A scalar as text, numbers and booleans as written.
  func text(_ name: String) -> Located<String>? {
    guard let value = value(name) else { return nil }
    guard let scalar = value.scalar else {
      wrongType(value, name, "text")
      return nil
    }
    return Located(scalar.text, at: value.span)
  }

  func secret(_ name: String) -> Located<Secret>? { text(name).map { $0.map { Secret($0) } } }

  func int(_ name: String, _ range: ClosedRange<Int>) -> Located<Int>? {
    guard let value = value(name) else { return nil }
    guard let scalar = value.scalar, let number = scalar.int ?? Int(scalar.text) else {
      wrongType(value, name, "a whole number")
      return nil
    }
    guard range.contains(number) else {
      report.add(ValueReader.outOfRange(name, value.span, range))
      return nil
    }
    return Located(number, at: value.span)
  }

  func bool(_ name: String) -> Located<Bool>? {
    guard let value = value(name) else { return nil }
    guard let scalar = value.scalar, let bool = ValueReader.goBool(scalar) else {
      report.add(ValueReader.notBool(name, value))
      return nil
    }
    return Located(bool, at: value.span)
  }

  func duration(_ name: String) -> TimeSpan? {
    guard let value = value(name) else { return nil }
    let key = MetadataKey.duration(name)
    guard
      case .duration(let span)? = ValueReader(report: report, isJSON: false).read(value, as: key, named: name)?.value
    else {
      return nil
    }
    // Outside of metadata GOST takes a number as Go's own unit; its JSON export writes such numbers.
    guard let number = value.scalar?.int, number != 0 else { return span }
    if number < 1_000_000 {
      report.add(
        Diagnostic(
          .numberReadAsZero, "a number without a unit counts nanoseconds here", .warning,
          at: .init(value.span, "\(number) ns"), notes: ["only in `metadata` it counts seconds"],
          fix: .replace(value.span, with: "\(number)s", "write `\(number)s`")))
    }
    return TimeSpan(nanoseconds: Int64(number))
  }

  /// A list; a single value of GOST's list keys is an error, as viper's reader makes it one item only by chance.
  func list(_ name: String, atMost most: Int = Report.mostItems) -> [YAMLNode] {
    guard let value = value(name) else { return [] }
    guard let items = value.sequence else {
      report.add(
        Diagnostic(
          .wrongType, "`\(name)` in \(shape.title) is a list, not \(value.kind)", at: .init(value.span, value.kind),
          help: ["put a `-` before each item"]))
      return []
    }
    return report.fitting(items, of: name, atMost: most)
  }

  func texts(_ name: String) -> [Located<String>] {
    list(name).compactMap { item in
      guard let scalar = item.scalar, !scalar.isNull else {
        wrongType(item, name, "text in each item")
        return nil
      }
      return Located(scalar.text, at: item.span)
    }
  }

  private func wrongType(_ value: YAMLNode, _ name: String, _ expected: String) {
    report.add(
      Diagnostic(
        .wrongType, "`\(name)` in \(shape.title) takes \(expected), not \(value.kind)",
        at: .init(value.span, value.kind)))
  }

  // MARK: Diagnostics for keys

  static func unknown(
    _ entry: YAMLEntry, in title: String, known: [String], neighbours: [Neighbour], near: String? = nil
  ) -> Diagnostic {
    let name = printable(entry.name)
    // A list under the name of one of its items.
    let plural = entry.value.sequence == nil ? nil : known.first { $0.lowercased() == entry.name.lowercased() + "s" }
    if plural == nil, let place = neighbours.first(where: { $0.has(entry.name) }) {
      return Diagnostic(
        .misplacedKey, "`\(name)` is not a key of \(title); it belongs \(place.isTop ? "at" : "in") \(place.shown)",
        at: .init(entry.key.span, "move this to \(place.shown)"), notes: ["GOST ignores it here without a word"])
    }
    if let near = plural ?? near ?? NearNames.best(for: entry.name, among: known) {
      return Diagnostic(
        .unknownKey, "unknown key `\(name)` in \(title)", at: .init(entry.key.span, "did you mean `\(near)`?"),
        fix: .replace(entry.key.span, with: near, "write `\(near)`"))
    }
    for neighbour in neighbours {
      if let near = NearNames.best(for: entry.name, among: neighbour.names) {
        return Diagnostic(
          .unknownKey, "unknown key `\(name)` in \(title)",
          at: .init(entry.key.span, "not a key of \(title)"),
          help: ["\(neighbour.shown) has a key `\(near)`"])
      }
    }
    return Diagnostic(
      .unknownKey, "unknown key `\(name)` in \(title)", at: .init(entry.key.span, "not a key of \(title)"),
      help: known.isEmpty ? ["\(title) has no keys"] : ["its keys are \(quotedList(known))"])
  }

  static func notYet(_ entry: YAMLEntry, _ name: String, in title: String) -> Diagnostic {
    var diagnostic = Diagnostic(
      .keyNotYet, "`\(name)` in \(title) is not yet supported", .notYet,
      at: .init(entry.key.span, "GOST has it, Culvert not yet"))
    diagnostic.subject = Grammar.concept(of: name)
    return diagnostic
  }
}

extension MetadataKey {
  static func duration(_ name: String) -> MetadataKey { MetadataKey(named: name, .duration) }
}

/// `` `a`, `b` and `c` ``; a long list is cut.
func quotedList(_ names: [String], limit: Int = 14) -> String {
  let quoted = names.prefix(limit).map { "`\($0)`" }
  if names.count > limit { return quoted.joined(separator: ", ") + ", …" }
  guard let last = quoted.last, quoted.count > 1 else { return quoted.first ?? "" }
  return quoted.dropLast().joined(separator: ", ") + " and " + last
}
