import Values

/// Files of `wg` and `wg-quick`, as `wg0.conf`: read into the tree that a service with a WireGuard interface would have
/// in YAML, so that everything behind (model, rules, plan, daemon) knows only one grammar.
///
/// ```
///   [Interface]                     services:
///   PrivateKey = …                  - name: wg0                        (the file's name)
///   Address = 10.0.0.1/24             addr: :51820
///   ListenPort = 51820                handler: {type: wireguard, metadata: {PrivateKey: …}}
///                            ──▶      listener: {type: wireguard, metadata: {name: wg0, Address: […]}}
///   [Peer]                            peers:
///   PublicKey = …                     - PublicKey: …
///   AllowedIPs = 10.0.0.2/32            AllowedIPs: [10.0.0.2/32]
/// ```
///
/// Keys keep the spelling of the file, and each node the place that it was written at, so that a diagnostic about a
/// peer's address points into the `.conf`. As in `wg`, names of sections and keys may be in any case of letters, a `#`
/// begins a comment wherever it stands, and `Address`, `AllowedIPs`, `DNS` and the commands may be given several times.
/// Other keys may not: `wg` takes the last without a word.
///
/// Commands are handed to a shell, as `wg-quick` does, with `%i` replaced by the interface's name.
struct WireGuardFile {
  private let file: SourceFile
  private var sections: [Section] = []
  private(set) var diagnostics: [Diagnostic] = []
  private(set) var secrets: [SourceSpan] = []

  private struct Section {
    enum Kind { case interface, peer, unknown }

    let kind: Kind
    let header: SourceSpan
    var lines: [Line] = []
  }

  private struct Line {
    let key: Located<String>
    /// Trimmed, without a comment; may be empty.
    let value: Located<String>
  }

  /// Whether a file is one: by its first line that says something, else by its name.
  static func isOne(_ file: SourceFile) -> Bool {
    guard let first = firstLine(of: file) else { return false }
    let word = first.lowercased()
    if word.hasPrefix("[interface]") || word.hasPrefix("[peer]") { return true }
    guard file.name.lowercased().hasSuffix(".conf") else { return false }
    return word.hasPrefix("[") || first.contains("=") && !first.contains(":")
  }

  private static func firstLine(of file: SourceFile) -> String? {
    for number in 1...max(1, file.lineCount) {
      guard let range = file.line(number) else { return nil }
      let text = String(decoding: file.slice(range), as: UTF8.self).trimmed
      if !text.isEmpty, !text.hasPrefix("#"), text != "\u{FEFF}" { return text }
    }
    return nil
  }

  /// The tree; `nil` where the file has no section, which a diagnostic says.
  static func read(_ file: SourceFile) -> (root: YAMLNode?, diagnostics: [Diagnostic], secrets: [SourceSpan]) {
    var reader = WireGuardFile(file: file)
    reader.split()
    let root = reader.tree()
    return (root, reader.diagnostics, reader.secrets)
  }

  private init(file: SourceFile) { self.file = file }

  // MARK: Lines

  private mutating func split() {
    for number in 1...max(1, file.lineCount) {
      guard let range = file.line(number), diagnostics.count < Report.limit else { return }
      let bytes = file.slice(range)
      let end = bytes.firstIndex(of: UInt8(ascii: "#")) ?? range.upperBound
      let line = trimmed(range.lowerBound..<end)
      if line.isEmpty { continue }
      if file.bytes[line.lowerBound] == UInt8(ascii: "[") { section(line) } else { entry(line) }
    }
  }

  private mutating func section(_ range: Range<Int>) {
    let name = text(range)
    let kind: Section.Kind
    switch name.lowercased() {
    case "[interface]": kind = .interface
    case "[peer]": kind = .peer
    default:
      kind = .unknown
      let near = NearNames.best(for: name, among: ["[Interface]", "[Peer]"])
      diagnostics.append(
        Diagnostic(
          .unknownKey, "a WireGuard file has the sections `[Interface]` and `[Peer]`, not `\(printable(name))`",
          at: .init(span(range), near.map { "did you mean `\($0)`?" } ?? "no such section"),
          fix: near.map { .replace(span(range), with: $0, "write `\($0)`") }))
    }
    if kind == .interface, let first = sections.first(where: { $0.kind == .interface }) {
      diagnostics.append(
        Diagnostic(
          .duplicateKey, "a WireGuard file describes one interface", at: .init(span(range), "again here"),
          and: [.init(first.header, "first here")], help: ["give the second one a file of its own"]))
    }
    sections.append(Section(kind: kind, header: span(range)))
  }

  private mutating func entry(_ range: Range<Int>) {
    guard let equals = file.slice(range).firstIndex(of: UInt8(ascii: "=")) else {
      diagnostics.append(
        Diagnostic(
          .unknownKey, "a line of a WireGuard file is `Key = value`", at: .init(span(range), "no `=`"),
          help: ["a comment begins with `#`"]))
      return
    }
    let key = trimmed(range.lowerBound..<equals)
    let value = trimmed(equals + 1..<range.upperBound)
    guard !sections.isEmpty else {
      diagnostics.append(
        Diagnostic(
          .misplacedKey, "`\(printable(text(key)))` stands before any section", at: .init(span(key), "of what?"),
          help: ["begin with `[Interface]`"]))
      sections.append(Section(kind: .unknown, header: span(key)))
      return
    }
    sections[sections.count - 1].lines.append(
      Line(key: Located(text(key), at: span(key)), value: Located(text(value), at: span(value))))
  }

  // MARK: The tree

  private static let interfaceKeys = [
    "PrivateKey", "ListenPort", "FwMark", "Address", "DNS", "MTU", "Table", "PreUp", "PostUp", "PreDown", "PostDown",
    "SaveConfig",
  ]
  private static let peerKeys = ["PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"]
  private static let repeated: Set<String> = [
    "address", "allowedips", "dns", "preup", "postup", "predown", "postdown",
  ]

  /// The file's name without its folder and its ending.
  private var interfaceName: String {
    let base = file.name.split(separator: "/").last.map(String.init) ?? file.name
    return base.lowercased().hasSuffix(".conf") ? String(base.dropLast(5)) : "wg0"
  }

  private mutating func tree() -> YAMLNode? {
    for section in sections where section.kind != .unknown { judge(section) }
    guard let interface = sections.first(where: { $0.kind == .interface }) else {
      if !sections.contains(where: { $0.kind == .unknown }) {
        let place = sections.first.map { Diagnostic.Label($0.header, "the first section") }
        diagnostics.append(
          Diagnostic(
            .missingKey, "`\(printable(file.name, limit: 200))` has no section `[Interface]`", at: place,
            help: ["it holds this end's `PrivateKey` and `Address`"]))
      }
      return nil
    }
    var service = Tree(at: whole)
    service.set("name", Located(interfaceName, at: interface.header))
    if let port = line("ListenPort", interface)?.value { service.set("addr", listenAddress(port)) }
    service.set("handler", handler(interface))
    service.set("listener", listener(interface))
    let peers = sections.filter { $0.kind == .peer }.map { peer($0) }
    if let first = peers.first {
      let all = peers.dropFirst().reduce(first.span) { $0.joined(with: $1.span) }
      service.set("peers", YAMLNode(content: .sequence(peers), span: all))
    }
    service.set("metadata", metadata(interface))
    var root = Tree(at: whole)
    root.set("services", list: [service.node])
    return root.node
  }

  private var whole: SourceSpan { SourceSpan(file: file.id, start: 0, end: file.bytes.count) }

  /// Keys that are none, and keys that stand twice.
  private mutating func judge(_ section: Section) {
    let known = section.kind == .interface ? Self.interfaceKeys : Self.peerKeys
    let other = section.kind == .interface ? Self.peerKeys : Self.interfaceKeys
    var first: [String: SourceSpan] = [:]
    for line in section.lines {
      let name = line.key.value.lowercased()
      if !known.contains(where: { $0.lowercased() == name }) {
        diagnostics.append(unknown(line, in: section, known: known, elsewhere: other))
      } else if !Self.repeated.contains(name), let previous = first[name] {
        diagnostics.append(
          Diagnostic(
            .duplicateKey, "`\(line.key.value)` stands twice in one section", at: .init(line.key.span, "again here"),
            and: [.init(previous, "first here")], notes: ["`wg` takes the last without a word"],
            help: ["keep one of them"]))
      }
      first[name] = first[name] ?? line.key.span
      if ["privatekey", "presharedkey"].contains(name) { secrets.append(line.value.span) }
    }
  }

  private func unknown(_ line: Line, in section: Section, known: [String], elsewhere: [String]) -> Diagnostic {
    let name = line.key.value
    let here = section.kind == .interface ? "[Interface]" : "[Peer]"
    let there = section.kind == .interface ? "[Peer]" : "[Interface]"
    if elsewhere.contains(where: { $0.lowercased() == name.lowercased() }) {
      return Diagnostic(
        .misplacedKey, "`\(name)` belongs in `\(there)`, not in `\(here)`",
        at: .init(line.key.span, "not in this section"),
        and: [.init(section.header, "this section")], help: ["move the line below a `\(there)`"])
    }
    let near = NearNames.best(for: name, among: known)
    return Diagnostic(
      .unknownKey, "unknown key `\(printable(name))` in `\(here)`",
      at: .init(line.key.span, near.map { "did you mean `\($0)`?" } ?? "no such key"),
      help: near == nil ? ["the keys are \(quotedList(known))"] : [],
      fix: near.map { .replace(line.key.span, with: $0, "write `\($0)`") })
  }

  private func line(_ name: String, _ section: Section) -> Line? {
    section.lines.first { $0.key.value.lowercased() == name.lowercased() && !$0.value.value.isEmpty }
  }

  private func lines(_ name: String, _ section: Section) -> [Line] {
    section.lines.filter { $0.key.value.lowercased() == name.lowercased() && !$0.value.value.isEmpty }
  }

  private mutating func listenAddress(_ port: Located<String>) -> Located<String>? {
    if UInt16(port.value) != nil { return Located(":\(port.value)", at: port.span) }
    diagnostics.append(
      Diagnostic(
        .valueOutOfRange, "`ListenPort` takes a port from 0 to 65535", at: .init(port.span, "not a port")))
    return nil
  }

  private func handler(_ section: Section) -> YAMLNode {
    var metadata = Tree.gathered(in: section.header)
    for line in lines("PrivateKey", section).prefix(1) { metadata.set(line.key.value, line.value, key: line.key.span) }
    return part(section, metadata)
  }

  private mutating func listener(_ section: Section) -> YAMLNode {
    var metadata = Tree.gathered(in: section.header)
    let name = interfaceName
    metadata.set("name", Located(name, at: section.header))
    if let first = lines("Address", section).first {
      metadata.set(first.key.value, list: items("Address", section), key: first.key.span)
    }
    if let line = line("MTU", section) {
      metadata.set(line.key.value, Tree.typed(line.value), key: line.key.span)
    }
    nameServers(section, &metadata)
    if let line = line("Table", section) { table(line, &metadata) }
    return part(section, metadata)
  }

  private func part(_ section: Section, _ metadata: Tree) -> YAMLNode {
    var part = Tree(at: section.header)
    part.set("type", Located("wireguard", at: section.header))
    part.set("metadata", metadata)
    return part.node
  }

  /// Addresses are name servers, what is none is a domain to search in.
  private func nameServers(_ section: Section, _ metadata: inout Tree) {
    let words = items("DNS", section)
    let servers = words.filter { IPAddress($0.scalar?.text ?? "") != nil }
    let domains = words.filter { IPAddress($0.scalar?.text ?? "") == nil }
    guard let key = lines("DNS", section).first?.key.span else { return }
    if let first = servers.first {
      let joined = servers.compactMap { $0.scalar?.text }.joined(separator: ",")
      let span = servers.dropFirst().reduce(first.span) { $0.joined(with: $1.span) }
      metadata.set("dns", Located(joined, at: span), key: key)
    }
    metadata.set("domains", list: domains, key: key)
  }

  private mutating func table(_ line: Line, _ metadata: inout Tree) {
    guard UInt32(line.value.value) != nil else {
      metadata.set(line.key.value, line.value, key: line.key.span)
      return
    }
    diagnostics.append(
      Diagnostic(
        .keyNotYet, "a `Table` by number is not yet supported", .notYet,
        at: .init(line.value.span, "a routing table"), help: ["write `Table = off`, and set the routes by `PostUp`"]))
  }

  private mutating func metadata(_ section: Section) -> Tree {
    var metadata = Tree.gathered(in: section.header)
    if let line = line("FwMark", section) { mark(line, &metadata) }
    for name in ["preUp", "postUp", "preDown", "postDown"] {
      let commands = lines(name, section)
      guard let first = commands.first else { continue }
      metadata.set(
        name, list: commands.map { Tree.text(Located(Self.shell($0.value.value, interfaceName), at: $0.value.span)) },
        key: first.key.span)
    }
    if let line = line("SaveConfig", section), line.value.value.lowercased() == "true" {
      diagnostics.append(
        Diagnostic(
          .keyNotYet, "`SaveConfig` is not yet supported", .notYet, at: .init(line.key.span, "writes to this file"),
          help: ["remove it; `wg showconf \(interfaceName)` prints what is set now"]))
    }
    return metadata
  }

  private mutating func mark(_ line: Line, _ metadata: inout Tree) {
    let text = line.value.value.lowercased()
    let number = text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
    if text == "off" { return }
    guard let number else {
      diagnostics.append(
        Diagnostic(
          .valueOutOfRange, "`FwMark` takes a number of 32 bits, or `off`", at: .init(line.value.span, "not a mark")))
      return
    }
    metadata.set("so_mark", Tree.plain("\(number)", at: line.value.span), key: line.key.span)
  }

  private mutating func peer(_ section: Section) -> YAMLNode {
    let span = section.lines.reduce(section.header) { $0.joined(with: $1.value.span) }
    var peer = Tree(at: span)
    for name in ["PublicKey", "PresharedKey", "Endpoint"] {
      if let line = line(name, section) { peer.set(line.key.value, line.value, key: line.key.span) }
    }
    if let first = lines("AllowedIPs", section).first {
      peer.set(first.key.value, list: items("AllowedIPs", section), key: first.key.span)
    }
    if let line = line("PersistentKeepalive", section), line.value.value.lowercased() != "off" {
      keepalive(line, &peer)
    }
    return peer.node
  }

  private mutating func keepalive(_ line: Line, _ peer: inout Tree) {
    guard UInt16(line.value.value) != nil else {
      diagnostics.append(
        Diagnostic(
          .valueOutOfRange, "`PersistentKeepalive` takes seconds from 0 to 65535, or `off`",
          at: .init(line.value.span, "not a number of seconds")))
      return
    }
    peer.set(line.key.value, line.value, key: line.key.span)
  }

  /// The items of all lines of a key, each with its place.
  private func items(_ name: String, _ section: Section) -> [YAMLNode] {
    lines(name, section).flatMap { line -> [YAMLNode] in
      var start = line.value.span.start
      var items: [YAMLNode] = []
      for piece in file.slice(start..<line.value.span.end).split(
        separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
      {
        let range = trimmed(start..<start + piece.count)
        if !range.isEmpty { items.append(Tree.text(Located(text(range), at: span(range)))) }
        start += piece.count + 1
      }
      return items
    }
  }

  /// A command for a shell, in the words of a hook.
  private static func shell(_ command: String, _ interface: String) -> String {
    var quoted = ""
    for character in command.replacing("%i", with: interface) {
      if character == "\"" || character == "\\" { quoted.append("\\") }
      quoted.append(character)
    }
    return "sh -c \"\(quoted)\""
  }

  // MARK: Bytes

  private func trimmed(_ range: Range<Int>) -> Range<Int> { file.trimmed(range) }

  private func span(_ range: Range<Int>) -> SourceSpan {
    SourceSpan(file: file.id, start: range.lowerBound, end: range.upperBound)
  }

  private func text(_ range: Range<Int>) -> String { String(decoding: file.slice(range), as: UTF8.self) }
}
