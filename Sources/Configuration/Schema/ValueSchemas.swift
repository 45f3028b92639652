import PartDescriptors

/// What JSON Schema can say of one value, in every form that the readers take (`ValueReader`, `ObjectReader`).
///
/// The readers are liberal as GOST is: a number may stand in quotes, a boolean may be a number, an empty value is one
/// that was not written. A schema that refused these would mark good files as bad, so it takes them, and says in the
/// description what is meant. What it cannot say (whether a text is an address) is left to `culvert check`.
enum ValueSchemas {
  /// Of a key of `metadata`. There an empty text is one that was not written, and so is a zero.
  static func metadata(_ type: MetadataType) -> SchemaWords {
    switch type {
    case .bool: choice([truth, quotedTruth(orEmpty: true), null])
    case .int(let range): choice(numbers(range, orZero: true) + [quotedNumber(orEmpty: true), null])
    case .duration: choice([seconds, durationText(orEmpty: true), null])
    case .string, .secret: scalar
    case .strings: choice([listOfScalars, emptyText, null])
    case .prefixes: choice([pattern("^\(commas("[0-9A-Fa-f:.]+/[0-9.]+"))$"), null])
    case .address: choice([pattern("^[ \\t\\r\\n]*([0-9A-Fa-f:.]+)?[ \\t\\r\\n]*$"), null])
    case .addresses: choice([pattern("^\(commas("[0-9A-Fa-f:.]+"))$"), null])
    case .routes:
      listOrCommas("[0-9A-Fa-f:.]+/[0-9.]+([ \\t]+[0-9A-Fa-f:.]+)?")
    case .networks: listOrCommas("[0-9A-Fa-f:.]+(/[0-9.]+)?")
    case .targets, .endpoints, .externals: listOrCommas("[^,]*[^, \\t]")
    case .addressList: listOrCommas("[0-9A-Fa-f:.]+")
    case .ports, .rate: scalar
    case .secrets: choice([scalar, listOfScalars])
    case .texts:
      choice([
        [
          ("type", .text("object")),
          ("propertyNames", .object(pattern("^[0-9A-Za-z!#$%&'*+.^_`|~-]+$"))),
          ("additionalProperties", .object(scalar)),
        ], emptyText, null,
      ])
    case .choice(let words, let later):
      choice(
        [
          [("enum", .texts(words))]
        ] + (later.isEmpty ? [] : [[("enum", .texts(later)), ("description", .text("not yet supported by Culvert"))]])
          + [emptyText, null])
    case .path: choice([pattern("^(/[^\\u0000-\\u0020\\u007f]*)?$"), null])
    case .anything: []
    }
  }

  // MARK: Kinds of values

  /// Any scalar: what is text for GOST may look like a number.
  static let scalar: SchemaWords = [("type", .texts(["string", "number", "boolean", "null"]))]
  static let null: SchemaWords = [("type", .text("null"))]
  static let emptyText: SchemaWords = [("const", .text(""))]
  static let truth: SchemaWords = [("type", .texts(["boolean", "integer"]))]
  static let seconds: SchemaWords = [("type", .text("number")), ("minimum", .number(0))]
  static let listOfScalars: SchemaWords = [
    ("type", .text("array")), ("items", .object([("type", .texts(["string", "number", "boolean"]))])),
  ]
  /// What can have no effect, for a key that works elsewhere.
  static let nothing: SchemaWords = [("enum", .array([.null, .text(""), .array([]), .object([])]))]

  static func quotedTruth(orEmpty: Bool) -> SchemaWords {
    [
      (
        "enum",
        .texts(
          ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"] + (orEmpty ? [""] : []))
      )
    ]
  }

  static func quotedNumber(orEmpty: Bool) -> SchemaWords { pattern("^[+-]?[0-9][0-9_]*$" + (orEmpty ? "|^$" : "")) }

  static func durationText(orEmpty: Bool) -> SchemaWords {
    let number = "([0-9]+\\.?[0-9]*|\\.[0-9]+)"
    return pattern("^\\+?(\(number)(ns|us|µs|μs|ms|s|m|h))+$|^[+-]?0$|^[0-9]+$" + (orEmpty ? "|^$" : ""))
  }

  static func numbers(_ range: ClosedRange<Int>, orZero: Bool) -> [SchemaWords] {
    let all: SchemaWords = [
      ("type", .text("integer")), ("minimum", .number(range.lowerBound)), ("maximum", .number(range.upperBound)),
    ]
    return orZero && !range.contains(0) ? [all, [("const", .number(0))]] : [all]
  }

  /// One of several forms; a form alone is itself.
  static func choice(_ forms: [SchemaWords]) -> SchemaWords {
    if let only = forms.first, forms.count == 1 { return only }
    return [("anyOf", .array(forms.map { .object($0) }))]
  }

  static func pattern(_ pattern: String) -> SchemaWords { [("type", .text("string")), ("pattern", .text(pattern))] }

  private static func commas(_ item: String) -> String {
    let blank = "[ \\t\\r\\n]*"
    let place = "\(blank)(\(item))?\(blank)"
    return "\(place)(,\(place))*"
  }

  private static func listOrCommas(_ item: String) -> SchemaWords {
    let blank = "[ \\t\\r\\n]*"
    return choice([
      [("type", .text("array")), ("items", .object(pattern("^\(blank)(\(item))?\(blank)$")))],
      pattern("^\(commas(item))$"), null,
    ])
  }

  /// A pattern that one of some names matches in any case of letters.
  static func anyCase(_ names: [String]) -> String {
    let spelt = names.map { name in
      name.map { letter in
        let (lower, upper) = (letter.lowercased(), letter.uppercased())
        if lower != upper { return "[\(lower)\(upper)]" }
        return letter.isNumber || letter == "_" ? String(letter) : "\\\(letter)"
      }.joined()
    }
    return "^(\(spelt.joined(separator: "|")))$"
  }
}
