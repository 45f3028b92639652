/// A YAML or JSON document as a tree in which every key and value knows its place.
///
/// Values keep their text: what is a number or a boolean is decided by the one who asks, because GOST's typing
/// depends on the key (`gost.md` B.3). An alias is replaced by what it names; the node then carries the alias's own
/// span, and `anchor` tells where the value was written. Nodes inside an aliased tree keep the spans of the anchor.
public struct YAMLNode: Sendable {
  public enum Content: Sendable {
    case scalar(YAMLScalar)
    case sequence([YAMLNode])
    case mapping([YAMLEntry])
  }

  public var content: Content
  /// Where the node stands; for an alias, `*name` itself.
  public var span: SourceSpan
  /// For an alias, where the value that it names stands.
  public var anchor: SourceSpan?

  public init(content: Content, span: SourceSpan, anchor: SourceSpan? = nil) {
    self.content = content
    self.span = span
    self.anchor = anchor
  }

  public var scalar: YAMLScalar? {
    if case .scalar(let scalar) = content { scalar } else { nil }
  }

  public var sequence: [YAMLNode]? {
    if case .sequence(let items) = content { items } else { nil }
  }

  public var mapping: [YAMLEntry]? {
    if case .mapping(let entries) = content { entries } else { nil }
  }

  /// Whether nothing was written: an empty value, `~`, `null`.
  public var isNull: Bool { scalar?.isNull ?? false }

  /// Whether the node holds nothing that could have an effect: null, `[]`, `{}`.
  public var isEmpty: Bool {
    switch content {
    case .scalar(let scalar): scalar.isNull || scalar.text.isEmpty
    case .sequence(let items): items.isEmpty
    case .mapping(let entries): entries.isEmpty
    }
  }

  /// The entry of a mapping by its key, case-insensitively.
  public func entry(_ key: String) -> YAMLEntry? {
    let key = key.lowercased()
    return mapping?.first { $0.name.lowercased() == key }
  }

  public subscript(_ key: String) -> YAMLNode? { entry(key)?.value }

  /// What the node is, in a user's words: `a list`, `text`, `a number`.
  public var kind: String {
    switch content {
    case .sequence: "a list"
    case .mapping: "a mapping"
    case .scalar(let scalar): scalar.kind
    }
  }
}

/// A key and its value.
public struct YAMLEntry: Sendable {
  public let key: YAMLNode
  public var value: YAMLNode

  /// The key's text.
  public var name: String { key.scalar?.text ?? "" }
}

/// A scalar: its text after unquoting, and how it was written.
public struct YAMLScalar: Sendable {
  /// `argument` is text from the command line, which is never a number or a boolean by itself.
  public enum Style: Sendable { case plain, quoted, block, argument }

  public let text: String
  public let style: Style

  public init(text: String, style: Style) {
    self.text = text
    self.style = style
  }

  public var isNull: Bool {
    style == .plain && ["", "~", "null", "Null", "NULL"].contains(text)
  }

  /// A boolean of YAML 1.2 (`yes` and `on` are text, as GOST's reader has it).
  public var bool: Bool? {
    guard style == .plain else { return nil }
    switch text {
    case "true", "True", "TRUE": return true
    case "false", "False", "FALSE": return false
    default: return nil
    }
  }

  /// An integer: decimal, `0x`, `0o` or `0b`, underscores between digits.
  public var int: Int? {
    guard style == .plain else { return nil }
    var digits = Substring(text)
    var negative = false
    if let sign = digits.first, sign == "-" || sign == "+" {
      negative = sign == "-"
      digits = digits.dropFirst()
    }
    var radix = 10
    for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] where digits.hasPrefix(prefix) {
      radix = base
      digits = digits.dropFirst(2)
    }
    guard let first = digits.utf8.first, first != UInt8(ascii: "_"), first != UInt8(ascii: "-"),
      first != UInt8(ascii: "+"), let number = Int(digits.filter { $0 != "_" }, radix: radix)
    else { return nil }
    return negative ? -number : number
  }

  /// A number with a fraction or an exponent.
  public var double: Double? {
    guard style == .plain, int == nil, let first = text.utf8.first,
      (0x30...0x39).contains(first) || [0x2B, 0x2D, 0x2E].contains(first), text.utf8.allSatisfy(isFloatByte)
    else { return nil }
    return Double(text)
  }

  /// What the scalar is, in a user's words.
  public var kind: String {
    if isNull { return "nothing" }
    if bool != nil { return "a boolean" }
    if int != nil || double != nil { return "a number" }
    return "text"
  }
}

private func isFloatByte(_ byte: UInt8) -> Bool {
  (0x30...0x39).contains(byte) || [0x2B, 0x2D, 0x2E, 0x45, 0x65].contains(byte)
}
