import PartDescriptors

/// The keys of an argument's query, taken one by one by those who know them; what is left is metadata.
///
/// GOST copies a key that it has no meaning for into the metadata of handler, listener and service alike (or connector,
/// dialer, node and hop), and each part looks for what it knows. Here a key goes where it is known, and one that nobody
/// knows is an error. A prefix (`listener.`) sends it to one place only. Case does not count.
struct QueryKeys {
  struct Key {
    /// As typed, and in lower case.
    let name: Located<String>
    let lowercased: String
    let value: ArgumentText

    var located: Located<String> { value.located }
  }

  /// A place where a key may belong.
  struct Place {
    /// Its prefix without the dot, which names it.
    let name: String
    let keys: [MetadataKey]
    /// Whether it is not known what it knows: a part that is not there yet. Nothing is judged there.
    let isOpen: Bool

    init(_ name: String, _ keys: [MetadataKey], isOpen: Bool = false) {
      self.name = name
      self.keys = keys
      self.isOpen = isOpen
    }

    init(_ kind: PartKind, _ type: String) {
      let descriptor = PartCatalog.find(kind, type)
      self.init(kind.rawValue, descriptor?.keys ?? [], isOpen: descriptor?.availability != .available)
    }

    func key(_ name: String) -> MetadataKey? { keys.first { $0.answers(to: name) } }
  }

  private var keys: [Key] = []
  private let report: Report
  /// Names that were asked for, for near names.
  private var known: [String] = []

  init(_ url: ArgumentURL, _ report: Report) {
    self.report = report
    var seen: [String: SourceSpan] = [:]
    for pair in url.pairs {
      if report.isFull { break }
      let key = Key(name: pair.key.located, lowercased: pair.key.text.lowercased(), value: pair.value)
      guard !key.lowercased.isEmpty else {
        report.add(Diagnostic(.badArgument, "a value without a key", at: .init(pair.value.span, "no key before `=`")))
        continue
      }
      if let first = seen[key.lowercased] {
        report.add(
          Diagnostic(
            .duplicateKey, "`\(printable(pair.key.text))` stands twice, and GOST takes the first", .warning,
            at: .init(key.name.span, "never used"), and: [.init(first, "this one is in force")],
            help: ["remove one; several values of one key are written with commas, where it takes several"]))
        continue
      }
      seen[key.lowercased] = key.name.span
      if !pair.hasValue || pair.value.isEmpty {
        report.add(
          Diagnostic(
            .keyWithoutEffect, "`\(printable(pair.key.text))` has no value, and is not read", .warning,
            at: .init(key.name.span, "no value"), help: ["write `\(printable(pair.key.text))=true`, or the value meant"]
          ))
        continue
      }
      keys.append(key)
    }
  }

  /// Takes a key by any of its names, the first of which GOST prefers.
  mutating func take(_ names: String...) -> Key? {
    known += names
    var found: Key?
    for name in names {
      guard let index = keys.firstIndex(where: { $0.lowercased == name.lowercased() }) else { continue }
      let key = keys.remove(at: index)
      guard let first = found else {
        found = key
        continue
      }
      report.add(
        Diagnostic(
          .duplicateKey,
          "`\(printable(key.name.value))` and `\(printable(first.name.value))` are two names of one setting",
          .warning, at: .init(key.name.span, "never used"), and: [.init(first.name.span, "this one is in force")],
          help: ["remove one of them"]))
    }
    return found
  }

  /// Gives every key that is left to the places that know it: their metadata, by the name of the place.
  mutating func distribute(among places: [Place], at span: SourceSpan, parts: String) -> [String: Tree] {
    var trees: [String: Tree] = [:]
    // What is meant for one place goes first: it is in force there.
    let parted = keys.map { (key: $0, place: Self.prefix(of: $0, among: places)) }
    for (key, (only, name)) in parted.filter({ $0.place.0 != nil }) + parted.filter({ $0.place.0 == nil }) {
      if report.isFull { break }
      let candidates = only.map { [$0] } ?? places
      for place in targets(of: name, among: candidates) where trees[place.name]?.has(name) != true {
        trees[place.name, default: Tree.gathered(in: span)].set(
          name, Tree.text(key.located), key: key.name.span)
      }
      if !candidates.contains(where: { $0.isOpen || $0.key(name) != nil }) {
        report.add(unknown(key, name, only, places, parts))
      }
    }
    keys = []
    return trees
  }

  private static func prefix(of key: Key, among places: [Place]) -> (Place?, String) {
    for place in places where key.lowercased.hasPrefix(place.name + ".") {
      return (place, String(key.name.value.dropFirst(place.name.count + 1)))
    }
    return (nil, key.name.value)
  }

  /// Where the key does something, or will one day; else one place that says why it does nothing.
  private func targets(of name: String, among places: [Place]) -> [Place] {
    let working = places.filter { place in
      guard let key = place.key(name) else { return false }
      if case .withoutEffect = key.availability { return false }
      return true
    }
    let open = places.filter { $0.isOpen && $0.key(name) == nil }
    if !working.isEmpty || !open.isEmpty {
      // Nodes inherit what their hop has.
      return working.filter { $0.name != "hop" || working.count == 1 || places.count == 1 } + open
    }
    return Array(places.filter { $0.key(name) != nil }.prefix(1))
  }

  private func unknown(_ key: Key, _ name: String, _ only: Place?, _ places: [Place], _ parts: String) -> Diagnostic {
    let shown = printable(key.name.value)
    let title = only.map { "the \($0.name) of `\(parts)`" } ?? "`\(parts)`"
    let names = (only.map { [$0] } ?? places).flatMap(\.keys).filter { $0.availability == .available }.flatMap(\.names)
    let near = NearNames.best(for: name, among: names + (only == nil ? known : []))
    let elsewhere = only == nil ? nil : places.first { $0.key(name) != nil }
    let prefixes = places.map { "`\($0.name).`" }.joined(separator: ", ")
    let isPrefix =
      only == nil
      && ["handler", "listener", "service", "connector", "dialer", "node", "hop"].contains {
        key.lowercased.hasPrefix($0 + ".")
      }
    var help: [String] = []
    if let elsewhere { help = ["`\(elsewhere.name).\(printable(name))` is a key"] }
    if isPrefix { help = ["the prefixes of this option are \(prefixes)"] }
    let prefix = only.map { "\($0.name)." } ?? ""
    return Diagnostic(
      .unknownKey, "unknown key `\(shown)`: \(title) has none of that name",
      at: .init(key.name.span, near.map { "did you mean `\(prefix)\($0)`?" } ?? "not a key here"),
      notes: near == nil ? ["GOST ignores a key that it does not know"] : [], help: near == nil ? help : [],
      fix: near.map { .replace(key.name.span, with: prefix + $0, "write `\(prefix)\($0)`") })
  }
}
