internal import CYAML

/// From bytes to a tree, through libyaml's event interface.
///
/// The life of a document: its bytes are checked (size, UTF-8, control characters), a byte order mark is stepped
/// over, and libyaml turns the rest into events. Each event carries marks that count *characters*; a table turns
/// them into byte offsets. The builder keeps a stack of open collections, never the call stack, so that depth is a
/// number that it compares with a limit. An alias copies the finished node (a reference in memory), and the size of
/// the tree after expansion is summed up on the way, so that an alias bomb ends as a diagnostic long before anybody
/// walks it.
///
/// JSON is read by the same way: all that GOST's files hold in JSON is YAML too.
///
/// Traps: libyaml ends a block collection at the *next* token, so the ends of block collections are taken from
/// their last child. NEL, LS and PS are line breaks for libyaml and not for an editor; only offsets are taken from
/// it, lines are ours.
public enum YAMLReader {
  public struct Limits: Sendable {
    public var bytes = 1 << 20
    public var depth = 64
    /// Nodes, each alias counted as all that it stands for.
    public var nodes = 60_000
    public var scalarBytes = 64 << 10

    public init() {}
  }

  /// Reads a file of the map. The tree is `nil` when a diagnostic says why, or when the document is empty.
  /// Texts under keys that name a secret are concealed in `sources`.
  public static func read(
    _ id: FileID, in sources: inout SourceMap, limits: Limits = Limits()
  ) -> (root: YAMLNode?, diagnostics: [Diagnostic]) {
    guard let file = sources.file(id) else { return (nil, []) }
    if let diagnostic = fault(in: file, limits: limits) { return (nil, [diagnostic]) }
    let builder = YAMLBuilder(file: file, limits: limits)
    do throws(YAMLFault) {
      let root = try builder.build()
      for span in builder.secrets { sources.conceal(span) }
      for (alias, value) in builder.uses { sources.note(alias: alias, of: value) }
      return (root, builder.diagnostics)
    } catch {
      for span in builder.secrets { sources.conceal(span) }
      return (nil, builder.diagnostics + [error.diagnostic])
    }
  }

  static func fault(in file: SourceFile, limits: Limits) -> Diagnostic? {
    if file.bytes.count > limits.bytes {
      return Diagnostic(
        .fileTooLarge, "`\(file.name)` has \(file.bytes.count) bytes; at most \(limits.bytes) are read")
    }
    let span = { (offset: Int, length: Int) in SourceSpan(file: file.id, start: offset, end: offset + length) }
    if file.bytes.starts(with: [0xFF, 0xFE]) || file.bytes.starts(with: [0xFE, 0xFF]) {
      return Diagnostic(
        .invalidUTF8, "`\(file.name)` is UTF-16; a configuration is UTF-8", at: .init(span(0, 2), "byte order mark"),
        help: ["save the file as UTF-8"])
    }
    switch ByteFault.first(in: file.bytes) {
    case .invalid(let offset):
      let byte = String(file.bytes[offset], radix: 16, uppercase: true)
      return Diagnostic(
        .invalidUTF8, "byte 0x\(byte) is not UTF-8", at: .init(span(offset, 1), "not UTF-8 from here"),
        help: ["save the file as UTF-8"])
    case .control(let offset, let scalar):
      let hex = String(scalar, radix: 16, uppercase: true)
      let code = "U+" + String(repeating: "0", count: max(0, 4 - hex.count)) + hex
      let what = Unicode.Scalar(scalar)?.properties.name ?? Self.controlNames[scalar] ?? "a control character"
      return Diagnostic(
        .controlCharacter, "\(code) (\(what)) may not stand in a configuration",
        at: .init(span(offset, scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : 3), "remove this character"),
        fix: .replace(span(offset, scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : 3), with: "", "remove the character"))
    case nil: return nil
    }
  }

  private static let controlNames: [UInt32: String] = [
    0x00: "a null byte", 0x07: "bell", 0x08: "backspace", 0x0B: "vertical tab", 0x0C: "form feed", 0x1B: "escape",
    0x7F: "delete",
  ]
}

/// Why reading stopped.
struct YAMLFault: Error {
  let diagnostic: Diagnostic
}

/// Turns the events of one document into a tree.
private final class YAMLBuilder {
  let file: SourceFile
  let limits: YAMLReader.Limits
  private(set) var diagnostics: [Diagnostic] = []
  private(set) var secrets: [SourceSpan] = []
  /// Aliases, each with the value that it stands for; the first ones.
  private(set) var uses: [(alias: SourceSpan, value: SourceSpan)] = []

  private let offsets: CharacterOffsets
  private var stack: [OpenCollection] = []
  private var anchors: [String: Built] = [:]
  private var openAnchors: [String: SourceSpan] = [:]
  private var expandedNodes = 0

  /// A finished node and the number of nodes in it after expansion.
  private struct Built {
    var node: YAMLNode
    var size: Int
  }

  private struct OpenCollection {
    var anchor: String?
    var span: SourceSpan
    var isFlow: Bool
    var isMapping: Bool
    var items: [YAMLNode] = []
    var entries: [YAMLEntry] = []
    var key: YAMLNode?
    var names: [String: SourceSpan] = [:]
    /// Values of `<<`, applied when the mapping ends so that its own keys win.
    var merges: [YAMLNode] = []
    var size = 1
    /// Keys that were reported as duplicates and are dropped.
    var dropsNext = false
  }

  init(file: SourceFile, limits: YAMLReader.Limits) {
    self.file = file
    self.limits = limits
    offsets = CharacterOffsets(file.bytes)
  }

  func build() throws(YAMLFault) -> YAMLNode? {
    var parser = yaml_parser_t()
    guard yaml_parser_initialize(&parser) == 1 else {
      throw fault(.syntax, "there is no memory for reading `\(file.name)`", nil)
    }
    defer { yaml_parser_delete(&parser) }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING)
    let start = offsets.start
    let result: Result<YAMLNode?, YAMLFault> = file.bytes.withUnsafeBufferPointer { buffer in
      // An empty buffer has no base address, and libyaml wants one.
      var nothing: UInt8 = 0
      return withUnsafePointer(to: &nothing) { fallback in
        yaml_parser_set_input_string(&parser, buffer.baseAddress.map { $0 + start } ?? fallback, buffer.count - start)
        do throws(YAMLFault) { return .success(try events(of: &parser)) } catch { return .failure(error) }
      }
    }
    return try result.get()
  }

  private func events(of parser: inout yaml_parser_t) throws(YAMLFault) -> YAMLNode? {
    var root: Built?
    var documents = 0
    while true {
      var event = yaml_event_t()
      guard yaml_parser_parse(&parser, &event) == 1 else { throw syntaxFault(parser) }
      defer { yaml_event_delete(&event) }
      let span = self.span(event.start_mark, event.end_mark)
      var finished: Built?
      switch event.type {
      case YAML_STREAM_END_EVENT: return root?.node
      case YAML_DOCUMENT_START_EVENT:
        documents += 1
        if documents > 1 {
          throw fault(
            .severalDocuments, "a second document begins here; one file is one configuration", span,
            help: ["put the second document into a file of its own and give both: `-C one.yaml -C two.yaml`"])
        }
      case YAML_ALIAS_EVENT: finished = try alias(text(event.data.alias.anchor), span)
      case YAML_SCALAR_EVENT: finished = try scalar(event.data.scalar, span)
      case YAML_SEQUENCE_START_EVENT:
        let data = event.data.sequence_start
        try open(
          anchor: data.anchor.map { text($0) }, tag: data.tag.map { text($0) }, span,
          isFlow: data.style == YAML_FLOW_SEQUENCE_STYLE, isMapping: false)
      case YAML_MAPPING_START_EVENT:
        let data = event.data.mapping_start
        try open(
          anchor: data.anchor.map { text($0) }, tag: data.tag.map { text($0) }, span,
          isFlow: data.style == YAML_FLOW_MAPPING_STYLE, isMapping: true)
      case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: finished = close(span)
      default: break
      }
      if let finished {
        if stack.isEmpty { root = finished } else { try attach(finished) }
      }
    }
  }

  // MARK: Nodes

  private func scalar(_ data: yaml_event_t.__Unnamed_union_data.__Unnamed_struct_scalar, _ span: SourceSpan)
    throws(YAMLFault) -> Built
  {
    if data.length > limits.scalarBytes {
      throw fault(
        .scalarTooLong, "a value of \(data.length) bytes; at most \(limits.scalarBytes) are read",
        SourceSpan(file: span.file, start: span.start, end: min(span.end, span.start + 40)))
    }
    let text = String(decoding: UnsafeBufferPointer(start: data.value, count: data.length), as: UTF8.self)
    var style: YAMLScalar.Style =
      switch data.style {
      case YAML_PLAIN_SCALAR_STYLE: .plain
      case YAML_LITERAL_SCALAR_STYLE, YAML_FOLDED_SCALAR_STYLE: .block
      default: .quoted
      }
    if let tag = data.tag.map({ self.text($0) }) {
      switch tag {
      case "!", "tag:yaml.org,2002:str": style = style == .plain ? .quoted : style
      case "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:null":
        style = .plain
      default: report(tag: tag, span, text: data.style == YAML_PLAIN_SCALAR_STYLE ? text : nil)
      }
    }
    if style == .plain, data.tag == nil { lookForDash(in: span) }
    // A block scalar ends where the next token begins.
    let node = YAMLNode(
      content: .scalar(YAMLScalar(text: text, style: style)), span: style == .block ? trimmed(span) : span)
    try count(1, span)
    let built = Built(node: node, size: 1)
    if let anchor = data.anchor { anchors[self.text(anchor)] = built }
    return built
  }

  /// A text without quotes may go on in lines below that are indented deeper, and a line that was to begin an item of a
  /// list is swallowed by it.
  private func lookForDash(in span: SourceSpan) {
    let text = file.slice(span.start..<span.end)
    guard var line = text.firstIndex(of: 0x0A) else { return }
    while let start = text[line...].firstIndex(where: { $0 > 0x20 }) {
      if text[start] == UInt8(ascii: "-"), text[start...].dropFirst().first == 0x20 {
        let place = SourceSpan(file: file.id, start: start, end: start + 1)
        note(
          Diagnostic(
            .dashInText, "this `-` begins no item: the line is part of the text above it",
            at: .init(place, "indented deeper than the text's first line"),
            and: [.init(SourceSpan(file: file.id, start: span.start, end: line), "the text begins here")],
            notes: ["the whole is one text, as GOST reads it too"],
            help: ["begin it in the column of the other items, or put the text in quotes"]))
        return
      }
      guard let next = text[start...].firstIndex(of: 0x0A) else { return }
      line = next
    }
  }

  private func alias(_ name: String, _ span: SourceSpan) throws(YAMLFault) -> Built {
    if let open = openAnchors[name] {
      throw fault(
        .unknownAnchor, "`*\(name)` stands inside the value that it names", span,
        secondary: [.init(open, "`&\(name)` begins here")])
    }
    guard var built = anchors[name] else {
      let near = NearNames.best(for: name, among: anchors.keys.sorted())
      throw fault(
        .unknownAnchor, "no value is named `&\(name)`", span, label: "this alias names nothing",
        fix: near.map { .replace(span, with: "*\($0)", "write `*\($0)`") })
    }
    try count(built.size, span)
    if uses.count < 1_000 { uses.append((span, built.node.span)) }
    built.node.anchor = built.node.anchor ?? built.node.span
    built.node.span = span
    return built
  }

  private func open(anchor: String?, tag: String?, _ span: SourceSpan, isFlow: Bool, isMapping: Bool) throws(YAMLFault)
  {
    if stack.count >= limits.depth {
      throw fault(.tooDeep, "values are nested more than \(limits.depth) deep", span)
    }
    try count(1, span)
    if let tag, !["!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"].contains(tag) {
      report(tag: tag, span, text: nil)
    }
    if let anchor {
      anchors[anchor] = nil
      openAnchors[anchor] = span
    }
    stack.append(OpenCollection(anchor: anchor, span: span, isFlow: isFlow, isMapping: isMapping))
  }

  private func close(_ end: SourceSpan) -> Built? {
    guard var collection = stack.popLast() else { return nil }
    merge(into: &collection)
    var span = collection.span
    if collection.isFlow {
      span = span.joined(with: end)
    } else {
      // What a merge brought in stands before this mapping and does not stretch it.
      let ends = collection.entries.filter { $0.key.span.start >= span.start }.map(\.value.span.end)
      let last = max(ends.max() ?? 0, collection.items.map(\.span.end).max() ?? 0)
      span = SourceSpan(file: span.file, start: span.start, end: max(last, span.end))
    }
    let node = YAMLNode(
      content: collection.isMapping ? .mapping(collection.entries) : .sequence(collection.items), span: span)
    let built = Built(node: node, size: collection.size)
    if let anchor = collection.anchor {
      openAnchors[anchor] = nil
      anchors[anchor] = built
    }
    return built
  }

  /// Gives a finished node to the collection that is open.
  private func attach(_ built: Built) throws(YAMLFault) {
    let last = stack.count - 1
    stack[last].size += built.size
    guard stack[last].isMapping else {
      stack[last].items.append(built.node)
      return
    }
    guard let key = stack[last].key else {
      guard let scalar = built.node.scalar else {
        throw fault(
          .syntax, "\(built.node.kind) cannot be a key", built.node.span, label: "a key is text",
          help: ["quote it if it is meant as text; `{…}` and `[…]` begin a mapping and a list"])
      }
      stack[last].key = built.node
      if scalar.text == "<<", scalar.style == .plain { return }
      if let previous = stack[last].names.updateValue(built.node.span, forKey: scalar.text.lowercased()) {
        stack[last].dropsNext = true
        note(
          Diagnostic(
            .duplicateKey, "the key `\(printable(scalar.text))` stands twice in one mapping",
            at: .init(built.node.span, "again here"), and: [.init(previous, "first here")],
            notes: ["only one of the two values could be in force, and a reader cannot see which"],
            help: ["keep one of them"]))
        stack[last].names[scalar.text.lowercased()] = previous
      }
      return
    }
    stack[last].key = nil
    if let text = key.scalar?.text, secretKeys.contains(text.lowercased()) {
      for node in built.node.sequence ?? [built.node] where node.scalar != nil {
        secrets.append(node.anchor ?? node.span)
      }
    }
    if key.scalar?.text == "<<", key.scalar?.style == .plain {
      stack[last].merges.append(built.node)
    } else if stack[last].dropsNext {
      stack[last].dropsNext = false
    } else {
      stack[last].entries.append(YAMLEntry(key: key, value: built.node))
    }
  }

  /// YAML's merge key: entries of the named mappings that this one does not have itself.
  private func merge(into collection: inout OpenCollection) {
    for value in collection.merges {
      let sources: [YAMLNode] = value.mapping != nil ? [value] : value.sequence ?? []
      if sources.isEmpty || sources.contains(where: { $0.mapping == nil }) {
        note(
          Diagnostic(
            .wrongType, "`<<` takes a mapping or a list of mappings, not \(value.kind)",
            at: .init(value.span, "\(value.kind)"), help: ["name a mapping: `<<: *name`"]))
        continue
      }
      for entry in sources.flatMap({ $0.mapping ?? [] })
      where collection.names.updateValue(entry.key.span, forKey: entry.name.lowercased()) == nil {
        collection.entries.append(entry)
      }
    }
  }

  private func count(_ nodes: Int, _ span: SourceSpan) throws(YAMLFault) {
    expandedNodes += nodes
    if expandedNodes > limits.nodes {
      throw fault(
        .tooManyValues, "the file has more than \(limits.nodes) values after its aliases are expanded", span,
        label: "the limit is passed here")
    }
  }

  private func report(tag: String, _ span: SourceSpan, text: String?) {
    note(
      Diagnostic(
        .unknownTag, "the tag `\(printable(tag))` has no meaning in a configuration", at: .init(span, "a tag"),
        fix: text.map { .replace(span, with: $0, "remove the tag") }))
  }

  private func note(_ diagnostic: Diagnostic) {
    if diagnostics.count < Report.limit { diagnostics.append(diagnostic) }
  }

  // MARK: Faults

  private func syntaxFault(_ parser: yaml_parser_t) -> YAMLFault {
    let problem = parser.problem.map { String(cString: $0) } ?? "it is not YAML"
    let context = parser.context.map { String(cString: $0) }
    var mark = parser.problem_mark
    if parser.error == YAML_READER_ERROR { mark = parser.mark }
    let offset = offsets.byte(at: Int(clamping: mark.index))
    return SyntaxAdvice.diagnose(
      file: file, offset: offset, problem: problem, context: context,
      contextOffset: context == nil ? nil : offsets.byte(at: Int(clamping: parser.context_mark.index)))
  }

  private func fault(
    _ code: DiagnosticCode, _ message: String, _ span: SourceSpan?, label: String = "",
    secondary: [Diagnostic.Label] = [], help: [String] = [], fix: Diagnostic.Fix? = nil
  ) -> YAMLFault {
    YAMLFault(
      diagnostic: Diagnostic(
        code, message, at: span.map { .init($0, label) }, and: secondary, help: help, fix: fix))
  }

  // MARK: Marks

  private func span(_ start: yaml_mark_t, _ end: yaml_mark_t) -> SourceSpan {
    SourceSpan(
      file: file.id, start: offsets.byte(at: Int(clamping: start.index)),
      end: offsets.byte(at: Int(clamping: end.index)))
  }

  private func trimmed(_ span: SourceSpan) -> SourceSpan {
    var end = min(span.end, file.bytes.count)
    while end > span.start, [0x20, 0x0A, 0x0D, 0x09].contains(file.bytes[end - 1]) { end -= 1 }
    return SourceSpan(file: span.file, start: span.start, end: end)
  }

  private func text(_ pointer: UnsafeMutablePointer<UInt8>?) -> String {
    pointer.map { String(cString: $0) } ?? ""
  }
}

/// libyaml's marks count characters; files are bytes.
private struct CharacterOffsets {
  /// The first byte that libyaml sees: 3 behind a byte order mark.
  let start: Int
  /// The byte offset of each character; empty when the text is ASCII.
  private let table: [Int32]
  private let count: Int

  init(_ bytes: [UInt8]) {
    start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    count = bytes.count
    guard bytes.contains(where: { $0 >= 0x80 }) else {
      table = []
      return
    }
    var table: [Int32] = []
    table.reserveCapacity(bytes.count)
    for offset in start..<bytes.count where bytes[offset] & 0xC0 != 0x80 { table.append(Int32(clamping: offset)) }
    self.table = table
  }

  func byte(at character: Int) -> Int {
    if table.isEmpty { return min(start + character, count) }
    return table.indices.contains(character) ? Int(table[character]) : count
  }
}

/// Keys whose values are never printed.
let secretKeys: Set<String> = [
  "privatekey", "presharedkey",
  "password", "passphrase", "tun.token", "token", "key", "cipherkey", "secret", "secrets", "tun.passphrase", "kcp.key",
]
