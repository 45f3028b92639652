import PartDescriptors

/// The configuration's JSON Schema (draft 2020-12), for editors: what `culvert schema` prints.
///
/// It is made of what the loader reads by: the grammar's shapes for which keys stand where, the descriptors for the
/// types of parts and the keys of their metadata, `Block` for how the values of the other keys are read. An editor
/// completes names as they are spelt here. GOST takes them in any case of letters, so that one spelt otherwise is
/// allowed too, without a word about its value.
///
/// The metadata of a part follow its type: each type has a definition of its own (`handler-tun-metadata`), chosen by
/// `if` and `then` in the part's. A key of the part on the other side of a service or node is accepted, because GOST's own export writes each key to both; a key that would do nothing is deprecated with the reason.
public enum ConfigurationSchema {
  public static func render() -> String { schema.printed() + "\n" }

  private static var schema: JSONValue {
    var definitions = SchemaWords(Block.all.map { ($0.name, .object(object($0))) })
    for (name, keys, sides) in Block.metadata {
      definitions.append((name, .object(metadata(keys, others: sides))))
    }
    for kind in PartKind.allCases {
      let names = Set(PartCatalog.parts(kind).flatMap(\.keys).flatMap(\.names)).sorted()
      definitions.append(
        (
          namesDefinition(of: kind),
          .object([
            ("description", .text("Keys of a \(kind.rawValue), which have no effect elsewhere.")),
            ("pattern", .text(ValueSchemas.anyCase(names))),
          ])
        ))
      for part in PartCatalog.parts(kind) where part.availability == .available {
        definitions.append((definition(of: part), .object(metadata(part.keys, others: [otherSide(of: kind)]))))
      }
    }
    var words: SchemaWords = [
      ("$schema", .text("https://json-schema.org/draft/2020-12/schema")), ("title", .text("Culvert")),
    ]
    words += object(Block.root)
    words.append(("$defs", .object(definitions)))
    return .object(words)
  }

  // MARK: Blocks

  private static func object(_ block: Block) -> SchemaWords {
    var properties: SchemaWords = []
    var kind: PartKind?
    for field in block.shape.fields {
      let key = block.key(field.name)
      if case .partType(let of)? = key?.holds { kind = of }
      properties.append((field.name, .object(property(field, key))))
    }
    // A key that one type has and another has not stands in a second shape of the same block.
    let names = block.shape.fields.map(\.name)
    var patterns: SchemaWords = [(ValueSchemas.anyCase(names), .truth(true))]
    // Where anchors are kept.
    if block.name == Block.root.name { patterns.append(("^x-", .truth(true))) }
    var words: SchemaWords = [
      ("description", .text(sentence(block.summary))), ("type", .texts(["object", "null"])),
      ("properties", .object(properties)), ("patternProperties", .object(patterns)),
      ("additionalProperties", .truth(false)),
    ]
    if let kind { words.append(("allOf", .array(byType(kind, block)))) }
    words += needs(block.name)
    return words
  }

  private static func property(_ field: Shape.Field, _ key: Block.Key?) -> SchemaWords {
    switch field.state {
    case .read:
      return key.map { [("description", .text(sentence($0.summary)))] + value($0.holds) } ?? []
    case .notYet: return [("description", .text("Not yet supported by Culvert."))]
    case .silent:
      return [("description", .text("GOST writes it here; it changes nothing.")), ("deprecated", .truth(true))]
    case .withoutEffect(let why): return withoutEffect(why)
    case .belongs(let place, let why):
      return [
        ("description", .text("It belongs in `\(place)`: \(why).")), ("deprecated", .truth(true)),
      ]
    }
  }

  private static func value(_ holding: Block.Holding) -> SchemaWords {
    switch holding {
    case .text: ValueSchemas.scalar
    case .word(let words, let isClosed):
      ValueSchemas.choice(
        [[("enum", .texts(words))]]
          + (isClosed
            ? [ValueSchemas.pattern(ValueSchemas.anyCase(words)), ValueSchemas.emptyText, ValueSchemas.null]
            : [ValueSchemas.scalar]))
    case .number(let range):
      ValueSchemas.choice(
        ValueSchemas.numbers(range, orZero: false) + [ValueSchemas.quotedNumber(orEmpty: false), ValueSchemas.null])
    case .truth:
      ValueSchemas.choice([ValueSchemas.truth, ValueSchemas.quotedTruth(orEmpty: false), ValueSchemas.null])
    case .duration:
      ValueSchemas.choice([ValueSchemas.seconds, ValueSchemas.durationText(orEmpty: false), ValueSchemas.null])
    case .texts: ValueSchemas.choice([ValueSchemas.listOfScalars, ValueSchemas.null])
    case .object(let name), .metadata(let name): [reference(name)]
    case .list(let name):
      [("type", .texts(["array", "null"])), ("items", .object([reference(name)]))]
    case .partMetadata: [("type", .texts(["object", "null"]))]
    case .partType(let kind): types(kind)
    }
  }

  // MARK: Parts

  /// Each name with what it is; the types that are not there yet are named too, and said to be so.
  private static func types(_ kind: PartKind) -> SchemaWords {
    var forms: [SchemaWords] = []
    for part in PartCatalog.parts(kind) {
      for name in part.names {
        let alias = name == part.name ? "" : "Another name of `\(part.name)`: "
        let later = part.availability == .available ? "" : " (not yet supported by Culvert)"
        forms.append([("const", .text(name)), ("description", .text(sentence(alias + part.summary + later)))])
      }
    }
    return ValueSchemas.choice(forms + [ValueSchemas.emptyText, ValueSchemas.null])
  }

  /// What follows from the type of a part.
  private static func byType(_ kind: PartKind, _ block: Block) -> [JSONValue] {
    PartCatalog.parts(kind).filter { $0.availability == .available }.map { part in
      let isDefault = part.names.contains(Grammar.defaultType(kind))
      let names: [JSONValue] = part.names.map { .text($0) } + (isDefault ? [.text(""), .null] : [])
      var condition: SchemaWords = [
        ("properties", .object([("type", .object([("enum", .array(names))]))]))
      ]
      if !isDefault { condition.append(("required", .texts(["type"]))) }
      var then: SchemaWords = [("metadata", .object([reference(definition(of: part))]))]
      for field in Grammar.shape(kind, part).fields {
        if case .belongs = field.state {
          then.append((field.name, .object(property(field, nil) + ValueSchemas.nothing)))
        }
      }
      return .object([("if", .object(condition)), ("then", .object([("properties", .object(then))]))])
    }
  }

  private static func definition(of part: PartDescriptor) -> String { "\(part.kind.rawValue)-\(part.name)-metadata" }

  private static func otherSide(of kind: PartKind) -> PartKind {
    switch kind {
    case .handler: .listener
    case .listener: .handler
    case .connector: .dialer
    case .dialer: .connector
    }
  }

  private static func namesDefinition(of kind: PartKind) -> String { "\(kind.rawValue)-names" }

  // MARK: Metadata

  private static func metadata(_ keys: [MetadataKey], others: [PartKind]) -> SchemaWords {
    var properties: SchemaWords = []
    var names: [String] = []
    for key in keys {
      for name in key.names {
        names.append(name)
        properties.append((name, .object(property(key, named: name))))
      }
    }
    let own: JSONValue = .object(names.isEmpty ? [("const", .null)] : [("pattern", .text(ValueSchemas.anyCase(names)))])
    let allowed = others.map { JSONValue.object([reference(namesDefinition(of: $0))]) }
    return [
      ("type", .texts(["object", "null"])), ("properties", .object(properties)),
      ("propertyNames", allowed.isEmpty ? own : .object([("anyOf", .array([own] + allowed))])),
    ]
  }

  private static func property(_ key: MetadataKey, named name: String) -> SchemaWords {
    let alias = name == key.name ? "" : "Another name of `\(key.name)`"
    switch key.availability {
    case .available:
      let text = [alias, key.summary].filter { !$0.isEmpty }.joined(separator: ": ")
      return [("description", .text(sentence(text)))] + ValueSchemas.metadata(key.type)
    case .notYet:
      let text = [alias, key.summary].filter { !$0.isEmpty }.joined(separator: ": ")
      return [
        ("description", .text((text.isEmpty ? "" : sentence(text) + " ") + "Not yet supported by Culvert."))
      ]
    case .withoutEffect(let why): return withoutEffect(why)
    }
  }

  private static func withoutEffect(_ why: String) -> SchemaWords {
    [("description", .text("No effect: \(why).")), ("deprecated", .truth(true))]
  }

  // MARK: What must be there

  private static func needs(_ name: String) -> SchemaWords {
    let address: JSONValue = .object([
      ("required", .texts(["addr"])),
      ("properties", .object([("addr", .object([("not", .object([("enum", .array([.text(""), .null]))]))]))])),
    ])
    switch name {
    case "target":
      return [
        ("if", .object([("not", .object([("required", .texts(["matcher"]))]))])), ("then", address),
      ]
    case "node":
      // What dials the target itself has no address of its own.
      let straight = PartCatalog.parts(.dialer).filter { $0.portMeaning == .none }.flatMap(\.names)
      let isStraight: JSONValue = .object([
        (
          "properties",
          .object([
            (
              "dialer",
              .object([
                ("type", .text("object")), ("required", .texts(["type"])),
                ("properties", .object([("type", .object([("enum", .texts(straight))]))])),
              ])
            )
          ])
        ), ("required", .texts(["dialer"])),
      ])
      return [("if", isStraight), ("else", address)]
    default: return []
    }
  }

  private static func reference(_ name: String) -> SchemaWords.Word {
    ("$ref", .text("#/$defs/\(name)"))
  }

  /// A line of a descriptor as a sentence.
  private static func sentence(_ line: String) -> String {
    guard let first = line.first else { return "" }
    let end = line.hasSuffix(".") ? "" : "."
    return (first == "`" ? String(first) : first.uppercased()) + line.dropFirst() + end
  }
}
