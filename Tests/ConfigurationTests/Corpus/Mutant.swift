import Configuration

/// A file with one mistake in it, and the mutator's record of where that stands.
struct Mutant: Sendable {
  enum Kind: String, CaseIterable, Sendable {
    case misspelt, moved, wrongType, cutReference, swappedTypes, otherFamily, duplicate, indentation, aliasBomb
    case deepNesting, hugeScalar, invalidBytes
  }

  let kind: Kind
  /// The file's name, and what was done to it.
  let name: String
  let bytes: [UInt8]
  /// Lines of the changed file, counted from 1.
  let lines: Set<Int>

  /// Whether all that the original said can still be read in the file: values were not replaced, nor names.
  var keepsMeaning: Bool {
    switch kind {
    case .misspelt, .moved, .duplicate, .indentation, .invalidBytes: true
    case .wrongType, .cutReference, .swappedTypes, .otherFamily, .aliasBomb, .deepNesting, .hugeScalar: false
    }
  }
}

/// Makes the mistakes that people make, and those that attackers make.
///
/// It reads the tree only to know where keys and values stand, changes bytes, and writes down the lines. What it does
/// is decided by the places alone, so that the same files give the same mutants.
struct Mutator {
  let file: String
  let bytes: [UInt8]
  private(set) var mutants: [Mutant] = []

  /// A key and its value, where both were written in place.
  private struct Site {
    let path: [String]
    let key: SourceSpan
    let value: YAMLNode
    let name: String
    /// The entry around the mapping that this one stands in.
    let parent: SourceSpan?
  }

  private var sites: [Site] = []
  /// Scalars of several lines.
  private var texts: [SourceSpan] = []
  private var seen: Set<Int> = []
  private let lineStarts: [Int]

  init(file: String, text: String) {
    self.file = file
    bytes = Array(text.utf8)
    var starts = [0]
    for (offset, byte) in bytes.enumerated() where byte == 0x0A { starts.append(offset + 1) }
    lineStarts = starts
    var map = SourceMap()
    let id = map.add(name: file, bytes: bytes)
    guard let root = YAMLReader.read(id, in: &map).root else { return }
    walk(root, [], parent: nil)
    misspell()
    move()
    mistype(root)
    cutReferences()
    swapTypes()
    changeFamilies()
    duplicate()
    slip()
    attack()
  }

  private mutating func walk(_ node: YAMLNode, _ path: [String], parent: SourceSpan?) {
    guard node.anchor == nil else { return }
    if node.scalar != nil, bytes(node.span).contains(0x0A) { texts.append(node.span) }
    for item in node.sequence ?? [] { walk(item, path + ["-"], parent: parent) }
    for entry in node.mapping ?? [] where seen.insert(entry.key.span.start).inserted {
      // Names of headers and of what only holds anchors are free.
      if path.isEmpty, entry.name.hasPrefix("x-") { continue }
      sites.append(
        Site(path: path, key: entry.key.span, value: entry.value, name: entry.name, parent: parent))
      if !["header", "ws.header"].contains(entry.name) {
        walk(entry.value, path + [entry.name], parent: entry.key.span)
      }
    }
  }

  // MARK: What people do

  private mutating func misspell() {
    for (index, site) in sites.enumerated() {
      let name = Array(site.name.utf8)
      guard name.count > 2, bytes(site.key) == name else { continue }
      let at = 1 + index % (name.count - 1)
      var shorter = name
      shorter.remove(at: at)
      var longer = name
      longer.insert(name[at], at: at)
      var swapped = name
      swapped.swapAt(at - 1, at)
      var other = name
      other[at] = name[at] == UInt8(ascii: "q") ? UInt8(ascii: "j") : UInt8(ascii: "q")
      for changed in [shorter, longer, swapped, other] where changed != name {
        replace(site.key, with: changed, .misspelt, "\(site.name) -> \(String(decoding: changed, as: UTF8.self))")
      }
    }
  }

  private mutating func move() {
    for site in sites {
      guard let line = lineOfItsOwn(site) else { continue }
      let text = bytes[lineStarts[line]..<end(ofLine: line)]
      let content = Array(text.drop { $0 == 0x20 })
      // Up: before the key around it.
      if let parent = site.parent, let above = startsLine(parent), above < line {
        let moved = spaces(parent.start - lineStarts[above]) + content
        rewrite(
          [(line, nil), (above, moved + Array(bytes[lineStarts[above]..<end(ofLine: above)]))], .moved, [above, line]
        ) {
          "\(site.name) up"
        }
      }
      // Down: into a block of the same mapping.
      for other in sites where other.path == site.path && other.parent?.start == site.parent?.start {
        guard let inner = sites.first(where: { $0.parent?.start == other.key.start }),
          let head = startsLine(other.key), let first = startsLine(inner.key), first == head + 1, head != line
        else { continue }
        let moved = spaces(inner.key.start - lineStarts[first]) + content
        rewrite(
          [(line, nil), (head, Array(bytes[lineStarts[head]..<end(ofLine: head)]) + moved)], .moved, [head + 1, line]
        ) { "\(site.name) down into \(other.name)" }
        break
      }
    }
  }

  private mutating func mistype(_ root: YAMLNode) {
    for site in sites where site.value.anchor == nil && !site.value.isNull {
      let isScalar = site.value.scalar != nil
      for text in isScalar ? ["[1, 2]", "{a: b}"] : ["banana", "7"] where !isPart(ofBlockScalar: site.value) {
        replace(site.value.span, with: Array(text.utf8), .wrongType, "\(site.name): \(text)")
      }
      if let scalar = site.value.scalar, scalar.int != nil || scalar.bool != nil || scalar.text.hasSuffix("s"),
        ["ttl", "keepalive", "mtu", "retries", "maxFails", "failTimeout", "bind", "nodelay", "secure", "p2p"].contains(
          site.name.lowercased())
      {
        for text in ["banana", "1.5.2", "-"] {
          replace(site.value.span, with: Array("\"\(text)\"".utf8), .wrongType, "\(site.name): \(text)")
        }
      }
    }
  }

  private mutating func cutReferences() {
    for site in sites {
      guard let scalar = site.value.scalar, site.value.anchor == nil, scalar.style != .block, !scalar.text.isEmpty
      else {
        continue
      }
      let text = Array(scalar.text.utf8)
      let isReference =
        ["chain", "auther"].contains(site.name) && ["handler", "listener"].contains(site.path.last ?? "")
      let isDefinition =
        site.name == "name" && [["chains", "-"], ["authers", "-"], ["hops", "-"]].contains(site.path)
      guard isReference || isDefinition else { continue }
      for changed in [text + Array("-x".utf8), Array(text.dropLast())] where !changed.isEmpty {
        let quoted = [UInt8(ascii: "\"")] + changed + [UInt8(ascii: "\"")]
        var lines: [Int] = []
        if isDefinition {
          let uses = sites.filter {
            $0.value.scalar?.text == scalar.text
              || $0.value.sequence?.contains { $0.scalar?.text == scalar.text } == true
          }
          // A name that nobody uses is not a reference.
          guard uses.count > 1 else { continue }
          lines = uses.flatMap { [line(of: $0.value.span.start), line(of: max($0.key.start, $0.value.span.end - 1))] }
        }
        replace(
          site.value.span, with: quoted, .cutReference, "\(site.name): \(String(decoding: changed, as: UTF8.self))",
          lines)
      }
    }
  }

  private mutating func swapTypes() {
    let types = sites.filter { $0.name == "type" && $0.value.anchor == nil && $0.value.scalar != nil }
    for one in types {
      let strangers = ["handler": "icmp6", "listener": "relay", "connector": "tls", "dialer": "socks5"]
      if let stranger = strangers[one.path.last ?? ""] {
        replace(one.value.span, with: Array(stranger.utf8), .swappedTypes, "type: \(stranger)")
      }
      for (first, second) in [("handler", "listener"), ("connector", "dialer")] where one.path.last == first {
        guard let parent = sites.first(where: { $0.key.start == one.parent?.start }),
          let other = types.first(where: { type in
            type.path == one.path.dropLast() + [second]
              && sites.contains { $0.key.start == type.parent?.start && $0.parent?.start == parent.parent?.start }
              && abs(line(of: type.key.start) - line(of: one.key.start)) < 12
          }), bytes(one.value.span) != bytes(other.value.span)
        else { continue }
        let edits = [(one.value.span, bytes(other.value.span)), (other.value.span, bytes(one.value.span))]
        apply(
          edits, .swappedTypes, "\(first) and \(second)",
          [line(of: one.value.span.start), line(of: other.value.span.start)])
      }
    }
  }

  private mutating func changeFamilies() {
    for site in sites where site.name == "addr" && site.path.last == "-" && site.path.contains("hops") {
      let dialer = sites.first { type in
        type.name == "type" && type.path.last == "dialer"
          && sites.contains { $0.key.start == type.parent?.start && $0.parent?.start == site.parent?.start }
          && abs(line(of: type.key.start) - line(of: site.key.start)) < 12
      }
      switch dialer?.value.scalar?.text {
      case "icmp6": replace(site.value.span, with: Array("\"192.0.2.7:0\"".utf8), .otherFamily, "IPv4 for icmp6")
      case "icmp": replace(site.value.span, with: Array("\"[2001:db8::7]:0\"".utf8), .otherFamily, "IPv6 for icmp")
      default: break
      }
    }
    for site in sites where ["gw", "tun.gw"].contains(site.name) {
      guard let text = site.value.scalar?.text else { continue }
      let other = text.contains(":") ? "192.0.2.7" : "\"2001:db8::7\""
      replace(site.value.span, with: Array(other.utf8), .otherFamily, "gw: \(other)")
    }
  }

  private mutating func duplicate() {
    for site in sites {
      guard let line = lineOfItsOwn(site) else { continue }
      let text = Array(bytes[lineStarts[line]..<end(ofLine: line)])
      rewrite([(line, text + text)], .duplicate, [line, line + 1]) { "\(site.name) twice" }
    }
  }

  private mutating func slip() {
    for line in lineStarts.indices.dropLast() {
      let text = Array(bytes[lineStarts[line]..<end(ofLine: line)])
      let indent = text.prefix { $0 == 0x20 }.count
      guard text.count > indent + 1, text[indent] != UInt8(ascii: "#"), !isInsideText(line) else { continue }
      for shift in [-2, -1, 1, 2] where indent + shift >= 0 {
        rewrite([(line, spaces(indent + shift) + text[indent...])], .indentation, [line]) {
          "line \(line + 1) by \(shift)"
        }
      }
      rewrite([(line, [0x09] + text[indent...])], .indentation, [line]) { "line \(line + 1) by a tab" }
    }
  }

  // MARK: What attackers do

  private mutating func attack() {
    let isFlow = bytes.first == UInt8(ascii: "{")
    if !isFlow {
      for width in [10, 40] {
        var bomb = "x-0: &a0 [\(Array(repeating: "1", count: width).joined(separator: ", "))]\n"
        for level in 1...8 {
          let item = "*a\(level - 1)"
          bomb += "x-\(level): &a\(level) [\(Array(repeating: item, count: width).joined(separator: ", "))]\n"
        }
        let start = bytes.last == 0x0A ? bytes : bytes + [0x0A]
        let first = start.count { $0 == 0x0A } + 1
        add(.aliasBomb, "width \(width)", start + Array(bomb.utf8), Set(first...(first + 9)))
      }
    }
    let scalars = sites.filter { $0.value.scalar != nil && $0.value.anchor == nil && $0.value.scalar?.style != .block }
    for (index, site) in scalars.enumerated() where index % 5 == 0 {
      let text: String =
        index % 2 == 0
        ? String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
        : String(repeating: "{a: ", count: 100) + "1" + String(repeating: "}", count: 100)
      replace(site.value.span, with: Array(text.utf8), .deepNesting, site.name)
      replace(site.value.span, with: Array(repeating: UInt8(ascii: "a"), count: 70_000), .hugeScalar, site.name)
    }
    let bad: [[UInt8]] = [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xE2, 0x82], [0x07], [0xF5, 0x80, 0x80, 0x80]]
    for (index, sequence) in bad.enumerated() {
      let offset = bytes.count * (index + 1) / (bad.count + 1)
      let changed = Array(bytes[..<offset]) + sequence + bytes[offset...]
      add(.invalidBytes, "\(sequence)", changed, [line(of: offset)])
    }
  }

  // MARK: Edits

  private func bytes(_ span: SourceSpan) -> [UInt8] { Array(bytes[span.start..<span.end]) }

  private func line(of offset: Int) -> Int { lineStarts.count { $0 <= offset } }

  private func end(ofLine index: Int) -> Int {
    index + 1 < lineStarts.count ? lineStarts[index + 1] : bytes.count
  }

  private func spaces(_ count: Int) -> [UInt8] { Array(repeating: 0x20, count: max(0, count)) }

  /// The index of the line that begins with the span.
  private func startsLine(_ span: SourceSpan) -> Int? {
    let index = line(of: span.start) - 1
    return bytes[lineStarts[index]..<span.start].allSatisfy { $0 == 0x20 } ? index : nil
  }

  /// The index of the line that holds an entry and nothing else.
  private func lineOfItsOwn(_ site: Site) -> Int? {
    guard let index = startsLine(site.key), site.value.scalar != nil, site.value.span.end <= end(ofLine: index),
      site.value.anchor == nil, bytes[end(ofLine: index) - 1] == 0x0A, bytes[site.key.start] != UInt8(ascii: "\"")
    else { return nil }
    return index
  }

  /// Whether a line is the second or a later one of a text, where spaces are the text's own.
  private func isInsideText(_ index: Int) -> Bool {
    texts.contains { lineStarts[index] > $0.start && lineStarts[index] < $0.end }
  }

  private func isPart(ofBlockScalar node: YAMLNode) -> Bool { node.scalar?.style == .block }

  private mutating func replace(
    _ span: SourceSpan, with text: [UInt8], _ kind: Mutant.Kind, _ what: String, _ lines: [Int] = []
  ) {
    apply([(span, text)], kind, what, [line(of: span.start)] + lines)
  }

  private mutating func apply(
    _ edits: [(SourceSpan, [UInt8])], _ kind: Mutant.Kind, _ what: String, _ lines: [Int]
  ) {
    var changed = bytes
    for (span, text) in edits.sorted(by: { $0.0.start > $1.0.start }) {
      // A block ends at the next token: what stands between is not its own.
      var text = text
      if bytes(span).contains(0x0A), bytes(span).last == 0x0A { text.append(0x0A) }
      changed.replaceSubrange(span.start..<span.end, with: text)
    }
    add(kind, what, changed, Set(lines))
  }

  /// Lines by index, each replaced or removed; the marks are indices in the file as it was.
  private mutating func rewrite(
    _ edits: [(line: Int, text: [UInt8]?)], _ kind: Mutant.Kind, _ marks: [Int], _ what: () -> String
  ) {
    var changed: [UInt8] = []
    for index in lineStarts.indices {
      let text = bytes[lineStarts[index]..<end(ofLine: index)]
      if let edit = edits.first(where: { $0.line == index }) { changed += edit.text ?? [] } else { changed += text }
    }
    add(kind, what(), changed, Set(marks.map { $0 + 1 }))
  }

  private mutating func add(_ kind: Mutant.Kind, _ what: String, _ changed: [UInt8], _ lines: Set<Int>) {
    mutants.append(Mutant(kind: kind, name: "\(file): \(kind.rawValue) \(what)", bytes: changed, lines: lines))
  }
}
