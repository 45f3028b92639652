import PartDescriptors

/// A file's tree with what the grammar has to say of it: which mapping is what, which keys each takes, and how the
/// value of each key is read.
///
/// Made of the tree and of the tables that the schema is made of. What stands where nothing can stand is left out.
struct Outline {
  /// A mapping, or what was written where one belongs.
  struct Scope {
    /// The name of its block: `handler`; `metadata` for all kinds of metadata.
    let name: String
    let node: YAMLNode
    /// The key whose value it is; `nil` for the file itself and for the items of lists.
    let entry: YAMLEntry?
    /// The scope around it; `nil` for the file itself.
    let parent: Int?
    /// A part by its type.
    let part: PartDescriptor?
    let block: Block?
    let keys: [MetadataKey]

    func entry(_ key: String) -> YAMLEntry? { node.entry(key) }

    /// Whether a key has an effect here.
    func takes(_ key: String) -> Bool {
      let name = key.lowercased()
      if let part {
        guard Grammar.shape(part.kind, part).isRead(name) else { return false }
        return true
      }
      if let block { return block.shape.isRead(name) }
      return keys.contains { $0.answers(to: name) && $0.availability == .available }
    }
  }

  enum Expectation {
    case block(Block.Holding)
    case metadata(MetadataKey)
  }

  struct Value {
    let scope: Int
    let entry: YAMLEntry
    let expects: Expectation
  }

  private(set) var scopes: [Scope] = []
  private(set) var values: [Value] = []

  /// Blocks by name.
  private static let blocks: [String: Block] = Dictionary(
    uniqueKeysWithValues: Block.all.map { ($0.name, $0) })

  init(_ root: YAMLNode) {
    walk(root, Block.root, entry: nil, parent: nil)
  }

  // MARK: Asking

  /// The value that a place is in, the innermost.
  func value(at span: SourceSpan) -> Value? {
    values.filter { value in
      let place = value.entry.value.span
      return value.entry.key.span == span
        || place.file == span.file && place.start <= span.start && span.end <= max(place.end, place.start)
    }.min { length($0) < length($1) }
  }

  private func length(_ value: Value) -> Int { value.entry.value.span.end - value.entry.value.span.start }

  /// The scope whose mapping has a key at a place.
  func scope(withKeyAt span: SourceSpan) -> (index: Int, entry: YAMLEntry)? {
    for (index, scope) in scopes.enumerated() {
      if let entry = scope.node.mapping?.first(where: { $0.key.span == span }) { return (index, entry) }
    }
    return nil
  }

  /// Those of a name below a scope, however deep.
  func scopes(named name: String, in ancestor: Int) -> [Int] {
    scopes.indices.filter { index in
      scopes[index].name == name && sequence(first: index, next: { scopes[$0].parent }).contains(ancestor)
    }
  }

  /// The nearest scope of a name around one, itself included.
  func enclosing(_ name: String, of index: Int) -> Int? {
    sequence(first: index) { scopes[$0].parent }.first { scopes[$0].name == name }
  }

  /// How far two scopes are from each other: steps up to the one around both, and down again.
  func distance(_ a: Int, _ b: Int) -> Int {
    let up = Array(sequence(first: a) { scopes[$0].parent })
    let down = Array(sequence(first: b) { scopes[$0].parent })
    for (steps, scope) in up.enumerated() {
      if let other = down.firstIndex(of: scope) { return steps + other }
    }
    return .max
  }

  /// Names of the items of a top-level list.
  func names(of list: String) -> [String] {
    let items = scopes.first?.entry(list)?.value.sequence ?? []
    return items.compactMap { $0["name"]?.scalar?.text }.filter { !$0.isEmpty }
  }

  /// Names that something refers to, and that no item of the kind has: `chain`, `auther`, `hop`.
  func missingNames(of kind: String) -> [String] {
    let known = Set(names(of: kind + "s"))
    var missing: [String] = []
    for value in values {
      let texts: [YAMLNode]
      switch (kind, value.entry.name.lowercased()) {
      case ("hop", "hops") where scopes[value.scope].name == "chain":
        texts = (value.entry.value.sequence ?? []).filter { $0["nodes"] == nil }.compactMap { $0["name"] }
      case (_, kind): texts = [value.entry.value]
      case (_, kind + "s"): texts = value.entry.value.sequence ?? []
      default: continue
      }
      for text in texts.compactMap({ $0.scalar?.text }) where !text.isEmpty && !known.contains(text) {
        if !missing.contains(text) { missing.append(text) }
      }
    }
    return missing
  }

  /// The part of a kind in the same service or node as a scope.
  func part(_ kind: PartKind, beside index: Int) -> PartDescriptor? {
    let around = kind == .handler || kind == .listener ? "service" : "node"
    guard let parent = enclosing(around, of: index) else { return nil }
    return scopes.first { $0.parent == parent && $0.name == kind.rawValue }?.part
  }

  // MARK: Walking

  private mutating func walk(_ node: YAMLNode, _ block: Block, entry: YAMLEntry?, parent: Int?) {
    // What an alias stands for is written elsewhere, and changed there.
    guard node.anchor == nil else { return }
    var part: PartDescriptor?
    if let kind = PartKind(rawValue: block.name) {
      let name = node["type"]?.scalar?.text ?? ""
      part = PartCatalog.find(kind, name.isEmpty ? Grammar.defaultType(kind) : name)
    }
    let index = scopes.count
    scopes.append(Scope(name: block.name, node: node, entry: entry, parent: parent, part: part, block: block, keys: []))
    for entry in node.mapping ?? [] {
      guard let name = block.shape.field(entry.name)?.name, let key = block.key(name) else { continue }
      values.append(Value(scope: index, entry: entry, expects: .block(key.holds)))
      switch key.holds {
      case .object(let name):
        if let inner = Self.blocks[name] { walk(entry.value, inner, entry: entry, parent: index) }
      case .list(let name):
        guard let inner = Self.blocks[name] else { continue }
        for item in entry.value.sequence ?? [] { walk(item, inner, entry: nil, parent: index) }
      case .metadata(let name):
        let keys = Block.metadata.first { $0.name == name }?.keys ?? []
        walk(metadata: entry, keys, parent: index)
      case .partMetadata: walk(metadata: entry, part?.keys ?? [], parent: index)
      case .text, .word, .number, .truth, .duration, .texts, .partType: break
      }
    }
  }

  private mutating func walk(metadata: YAMLEntry, _ keys: [MetadataKey], parent: Int) {
    guard metadata.value.anchor == nil else { return }
    let index = scopes.count
    scopes.append(
      Scope(name: "metadata", node: metadata.value, entry: metadata, parent: parent, part: nil, block: nil, keys: keys))
    for entry in metadata.value.mapping ?? [] {
      guard let key = keys.first(where: { $0.answers(to: entry.name) }) else { continue }
      values.append(Value(scope: index, entry: entry, expects: .metadata(key)))
    }
  }
}
