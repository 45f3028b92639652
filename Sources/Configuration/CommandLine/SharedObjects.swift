/// The objects that an argument's keys stand for, in lists of their own and with GOST's generated names: `bypass-0`,
/// `limiter-1`. One counter for each list, nodes first, as GOST counts.
struct SharedObjects {
  private(set) var lists: [(name: String, key: SourceSpan, items: [YAMLNode])] = []

  /// Adds an object and returns its name for a reference.
  private mutating func add(
    _ list: String, _ prefix: String, _ key: QueryKeys.Key, _ build: (inout Tree) -> Void
  ) -> Located<String> {
    let index = lists.firstIndex { $0.name == list } ?? lists.count
    if index == lists.count { lists.append((list, key.name.span, [])) }
    let name = Located("\(prefix)-\(lists[index].items.count)", at: key.value.span)
    var tree = Tree(at: key.value.span)
    tree.set("name", name)
    build(&tree)
    lists[index].items.append(tree.node)
    return name
  }

  /// `bypass` and `admission`: matchers, behind a `~` those that are let through.
  mutating func matchers(_ list: String, _ prefix: String, _ key: QueryKeys.Key) -> Located<String> {
    add(list, prefix, key) { tree in
      var value = key.value
      if value.hasPrefix("~") {
        let mark = value.prefix(upTo: value.bytes.startIndex + 1)
        tree.set("whitelist", Tree.plain("true", at: mark.span))
        value = value.suffix(from: value.bytes.startIndex + 1)
      }
      tree.set("matchers", list: value.items.map { Tree.text($0.located) })
    }
  }

  mutating func resolver(_ key: QueryKeys.Key, prefer: Located<String>?) -> Located<String> {
    add("resolvers", "resolver", key) { tree in
      tree.set(
        "nameservers",
        list: key.value.items.map { item in
          var server = Tree(at: item.span)
          server.set("addr", item.located)
          server.set("prefer", prefer)
          return server.node
        })
    }
  }

  /// `name:address` pairs.
  mutating func hosts(_ key: QueryKeys.Key, _ report: Report) -> Located<String> {
    add("hosts", "hosts", key) { tree in
      tree.set(
        "mappings",
        list: key.value.items.compactMap { item in
          guard let colon = item.firstIndex(of: ":") else {
            report.add(
              Diagnostic(
                .valueOutOfRange, "`\(printable(item.text))` in `hosts` is not `name:address`",
                at: .init(item.span, "no `:`"), notes: ["GOST leaves it out"]))
            return nil
          }
          var mapping = Tree(at: item.span)
          mapping.set("ip", item.suffix(from: colon + 1).located)
          mapping.set("hostname", item.prefix(upTo: colon).located)
          return mapping.node
        })
    }
  }

  /// `limiter.in`, `limiter.out` and their like for a connection: lines such as `$ 1MB 2MB`.
  mutating func limiter(
    all: (QueryKeys.Key?, QueryKeys.Key?), connection: (QueryKeys.Key?, QueryKeys.Key?)
  ) -> Located<String>? {
    let given = [all.0, all.1, connection.0, connection.1].compactMap { $0 }
    guard let key = given.first else { return nil }
    return add("limiters", "limiter", key) { tree in
      var lines: [YAMLNode] = []
      for (name, (incoming, outgoing)) in [("$", all), ("$$", connection)] {
        guard let first = incoming ?? outgoing else { continue }
        // What is not given is not limited. GOST leaves a gap there, and reads the limit of the other.
        let line = "\(name) \(incoming?.located.value ?? "0") \(outgoing?.located.value ?? "0")"
        lines.append(Tree.text(Located(line, at: first.value.span)))
      }
      tree.set("limits", list: lines)
    }
  }

  /// `climiter` and `rlimiter`: one number for all.
  mutating func count(_ list: String, _ prefix: String, _ key: QueryKeys.Key) -> Located<String> {
    add(list, prefix, key) { tree in
      tree.set("limits", list: [Tree.text(key.located.map { "$ \($0)" })])
    }
  }
}
