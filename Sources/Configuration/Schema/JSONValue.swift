/// A JSON value that is built in memory and printed once; the members of an object keep their order.
enum JSONValue: Sendable {
  case text(String)
  case number(Int)
  case truth(Bool)
  case null
  case array([JSONValue])
  case object(SchemaWords)

  static func texts(_ texts: [String]) -> JSONValue { .array(texts.map { .text($0) }) }

  /// An array or object that holds no other stands on one line.
  func printed(indent: Int = 0) -> String {
    let pad = String(repeating: " ", count: indent + 2)
    let end = "\n" + String(repeating: " ", count: indent)
    switch self {
    case .text(let text): return JSONWriter.quoted(text)
    case .number(let number): return "\(number)"
    case .truth(let truth): return "\(truth)"
    case .null: return "null"
    case .array(let items):
      if items.allSatisfy(\.isFlat) { return "[" + items.map { $0.printed() }.joined(separator: ", ") + "]" }
      return "[\n" + items.map { pad + $0.printed(indent: indent + 2) }.joined(separator: ",\n") + end + "]"
    case .object(let object):
      let members = object.words
      if members.isEmpty { return "{}" }
      return "{\n"
        + members.map { "\(pad)\(JSONWriter.quoted($0.name)): \($0.value.printed(indent: indent + 2))" }
        .joined(separator: ",\n") + end + "}"
    }
  }

  private var isFlat: Bool {
    switch self {
    case .text, .number, .truth, .null: true
    case .array(let items): items.isEmpty
    case .object(let members): members.words.isEmpty
    }
  }
}

/// A schema under construction: keywords in the order of writing.
struct SchemaWords: Sendable, ExpressibleByArrayLiteral {
  typealias Word = (name: String, value: JSONValue)

  private(set) var words: [Word]

  init(_ words: [Word] = []) { self.words = words }
  init(arrayLiteral words: Word...) { self.words = words }

  mutating func append(_ word: Word) { words.append(word) }

  static func + (left: SchemaWords, right: SchemaWords) -> SchemaWords { SchemaWords(left.words + right.words) }
  static func += (left: inout SchemaWords, right: SchemaWords) { left.words += right.words }
}
