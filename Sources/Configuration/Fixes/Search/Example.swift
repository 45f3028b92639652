/// A value that is given as an example, written as the file around it is: YAML on one line, or JSON.
indirect enum Example {
  case text(String)
  /// A boolean, or a number.
  case word(String)
  case list([Example])
  case mapping([(name: String, value: Example)])

  func written(asJSON isJSON: Bool) -> String {
    switch self {
    case .text(let text): isJSON || Self.needsQuotes(text) ? JSONWriter.quoted(text) : text
    case .word(let word): word
    case .list(let items): "[" + items.map { $0.written(asJSON: isJSON) }.joined(separator: ", ") + "]"
    case .mapping(let entries):
      "{"
        + entries.map { "\(isJSON ? JSONWriter.quoted($0.name) : $0.name): \($0.value.written(asJSON: isJSON))" }
        .joined(separator: ", ") + "}"
    }
  }

  /// Whether YAML would read more than a text in it, between brackets too.
  private static func needsQuotes(_ text: String) -> Bool {
    guard let first = text.utf8.first, let last = text.utf8.last else { return true }
    let isWord = YAMLScalar(text: text, style: .plain)
    return isWord.kind != "text" || "-?:,[]{}#&*!|>'\"%@` ".utf8.contains(first) && text.utf8.count < 2
      || "?,[]{}#&*!|>'\"%@` ".utf8.contains(first) || ": ".utf8.contains(last)
      || text.utf8.contains { ",[]{}#\"".utf8.contains($0) || $0 < 0x20 } || text.contains(": ")
  }
}
