/// Builds the tree that a file would have given.
struct Tree {
  private(set) var entries: [YAMLEntry] = []
  private let place: SourceSpan
  private var isGathered = false

  /// `place` is the argument, or the part of it that the mapping stands for.
  init(at place: SourceSpan) { self.place = place }

  /// A mapping whose place is that of its entries: metadata, whose keys stand between others.
  static func gathered(in argument: SourceSpan) -> Tree {
    var tree = Tree(at: argument)
    tree.isGathered = true
    return tree
  }

  var isEmpty: Bool { entries.isEmpty }

  /// From the first to the last of what was written for it.
  var span: SourceSpan {
    guard isGathered, let first = entries.first else { return place }
    return entries.reduce(first.key.span) { $0.joined(with: $1.key.span).joined(with: $1.value.span) }
  }

  var node: YAMLNode { YAMLNode(content: .mapping(entries), span: span) }

  /// Whether a key is set, in any case of letters.
  func has(_ name: String) -> Bool {
    let name = name.lowercased()
    return entries.contains { $0.name.lowercased() == name }
  }

  /// Sets a key. `key` is where it was written; a key that nobody wrote has the place of its value.
  mutating func set(_ name: String, _ value: YAMLNode?, key: SourceSpan? = nil) {
    guard let value else { return }
    entries.append(
      YAMLEntry(
        key: YAMLNode(content: .scalar(YAMLScalar(text: name, style: .argument)), span: key ?? value.span),
        value: value))
  }

  mutating func set(_ name: String, _ value: Located<String>?, key: SourceSpan? = nil) {
    set(name, value.map(Tree.text), key: key)
  }

  mutating func set(_ name: String, _ tree: Tree, key: SourceSpan? = nil) {
    if !tree.isEmpty { set(name, tree.node, key: key) }
  }

  mutating func set(_ name: String, list: [YAMLNode], key: SourceSpan? = nil) {
    guard let first = list.first else { return }
    let span = list.dropFirst().reduce(first.span) { $0.joined(with: $1.span) }
    set(name, YAMLNode(content: .sequence(list), span: span), key: key)
  }

  /// The entries of another that this one does not have.
  mutating func add(_ other: Tree?) {
    for entry in other?.entries ?? [] where !has(entry.name) { set(entry.name, entry.value, key: entry.key.span) }
  }

  static func text(_ value: Located<String>) -> YAMLNode {
    YAMLNode(content: .scalar(YAMLScalar(text: value.value, style: .argument)), span: value.span)
  }

  /// A value of a key that is not metadata: a number and a boolean are written as such.
  static func typed(_ value: Located<String>) -> YAMLNode {
    let isNumber = !value.value.isEmpty && value.value.utf8.allSatisfy { (0x30...0x39).contains($0) }
    return isNumber || ["true", "false"].contains(value.value) ? plain(value.value, at: value.span) : text(value)
  }

  /// A number or a boolean, as a file would have it.
  static func plain(_ text: String, at span: SourceSpan) -> YAMLNode {
    YAMLNode(content: .scalar(YAMLScalar(text: text, style: .plain)), span: span)
  }
}
