import PartDescriptors
import Values

/// Values of metadata, typed as GOST documents them (`gost.md` B.3).
///
/// GOST reads metadata leniently and silently: a value of another type becomes zero and the default is used. Here the
/// forms that GOST documents are read, a number that only its JSON reader loses is read with a warning, and the rest
/// are errors.
struct ValueReader {
  let report: Report
  /// In JSON files GOST reads every number as a float, and floats in metadata as zero.
  let isJSON: Bool
  /// The key as the user wrote it, for messages.
  private(set) var writtenName = ""

  init(report: Report, isJSON: Bool) {
    self.report = report
    self.isJSON = isJSON
  }

  struct Result {
    let value: Metadata.Value
    var itemSpans: [SourceSpan] = []
  }

  /// The typed value, or `nil` after a report.
  func read(_ node: YAMLNode, as key: MetadataKey, named name: String) -> Result? {
    var reader = self
    reader.writtenName = printable(name)
    return reader.read(node, key)
  }

  private func read(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    switch key.type {
    case .bool: return bool(node, key).map { Result(value: .bool($0)) }
    case .int(let range): return int(node, key, range).map { Result(value: .int($0)) }
    case .duration: return duration(node, key).map { Result(value: .duration($0)) }
    case .string: return text(node, key).map { Result(value: .string($0)) }
    case .secret: return text(node, key).map { Result(value: .secret(Secret($0))) }
    case .strings: return strings(node, key)
    case .prefixes: return prefixes(node, key)
    case .address: return address(node, key).map { Result(value: .address($0)) }
    case .addresses, .addressList: return addresses(node, key)
    case .endpoints: return endpoints(node, key)
    case .externals: return externals(node, key)
    case .ports: return ports(node, key).map { Result(value: .ports($0)) }
    case .rate: return rate(node, key).map { Result(value: .rate($0)) }
    case .secrets: return secrets(node, key)
    case .routes: return routes(node, key)
    case .networks: return networks(node, key)
    case .targets: return targets(node, key)
    case .texts: return texts(node, key)
    case .choice(let words, let later): return choice(node, key, words, later).map { Result(value: .string($0)) }
    case .path: return path(node, key).map { Result(value: .string($0)) }
    case .anything: return nil
    }
  }

  // MARK: Scalars

  /// Go's `ParseBool`, and integers.
  static func goBool(_ scalar: YAMLScalar) -> Bool? {
    if let bool = scalar.bool { return bool }
    if let int = scalar.int { return int != 0 }
    switch scalar.text {
    case "1", "t", "T", "TRUE", "true", "True": return true
    case "0", "f", "F", "FALSE", "false", "False": return false
    default: return nil
    }
  }

  static func notBool(_ name: String, _ node: YAMLNode) -> Diagnostic {
    let word = node.scalar?.text.lowercased() ?? ""
    let meant = ["yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"][word]
    let near = meant ?? NearNames.best(for: word, among: ["true", "false"])
    return Diagnostic(
      .wrongType, "`\(name)` takes `true` or `false`, not \(node.kind)", at: .init(node.span, "not a boolean"),
      notes: meant == nil ? [] : ["GOST reads `\(printable(node.scalar?.text ?? ""))` as text, and so as `false`"],
      fix: near.map { .replace(node.span, with: $0, "write `\($0)`") })
  }

  static func outOfRange(_ name: String, _ span: SourceSpan, _ range: ClosedRange<Int>) -> Diagnostic {
    Diagnostic(
      .valueOutOfRange, "`\(name)` takes \(MetadataType.int(range).expectation)", at: .init(span, "out of range"))
  }

  private func bool(_ node: YAMLNode, _ key: MetadataKey) -> Bool? {
    guard let scalar = node.scalar, let bool = Self.goBool(scalar) else {
      report.add(Self.notBool(writtenName, node))
      return nil
    }
    if isJSON, scalar.style == .plain, scalar.int != nil { warnZero(node, key, "\(bool)") }
    return bool
  }

  private func int(_ node: YAMLNode, _ key: MetadataKey, _ range: ClosedRange<Int>) -> Int? {
    guard let scalar = node.scalar, let number = wholeNumber(scalar), scalar.bool == nil else {
      report.add(wrongType(node, key))
      return nil
    }
    if let decimal = leadingZeroFix(scalar) {
      report.add(
        Diagnostic(
          .wrongType, "`\(writtenName)`: a number with a leading zero is octal in YAML", at: .init(node.span, "octal"),
          fix: .replace(node.span, with: decimal, "write `\(decimal)`")))
      return nil
    }
    if scalar.style == .plain, isJSON || scalar.int == nil { warnZero(node, key, "\"\(number)\"") }
    // For GOST zero is "not written": the default is taken.
    if number == 0, !range.contains(0) { return nil }
    guard range.contains(number) else {
      report.add(Self.outOfRange(writtenName, node.span, range))
      return nil
    }
    return number
  }

  private func wholeNumber(_ scalar: YAMLScalar) -> Int? {
    if let int = scalar.int { return int }
    if let double = scalar.double, double == double.rounded(), abs(double) < 1e15 { return Int(double) }
    return scalar.style == .plain ? nil : decimal(scalar.text)
  }

  private func decimal(_ text: String) -> Int? {
    text.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2D } ? Int(text) : nil
  }

  private func leadingZeroFix(_ scalar: YAMLScalar) -> String? {
    guard scalar.style == .plain, scalar.text.count > 1, scalar.text.hasPrefix("0"),
      scalar.text.utf8.allSatisfy({ (0x30...0x39).contains($0) })
    else { return nil }
    let digits = String(scalar.text.drop { $0 == "0" })
    return digits.isEmpty ? "0" : digits
  }

  private func duration(_ node: YAMLNode, _ key: MetadataKey) -> TimeSpan? {
    guard let scalar = node.scalar, scalar.bool == nil else {
      report.add(wrongType(node, key))
      return nil
    }
    let span: TimeSpan
    if let seconds = scalar.int ?? decimal(scalar.text) {
      if isJSON, scalar.style == .plain { warnZero(node, key, "\"\(seconds)s\"") }
      span = .seconds(Int64(seconds))
    } else if let seconds = scalar.double, abs(seconds) < 9e9 {
      warnZero(node, key, "\(seconds)s")
      span = TimeSpan(nanoseconds: Int64(seconds * 1e9))
    } else if let parsed = GoDuration.parse(scalar.text) {
      span = parsed
    } else {
      var fix: Diagnostic.Fix?
      let compact = scalar.text.filter { $0 != " " }.lowercased()
      let unit = compact.drop { $0.isNumber || $0 == "." }
      let number = compact.dropLast(unit.count)
      let units = [
        "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
        "hour": "h", "hours": "h", "hr": "h", "s": "s", "m": "m", "h": "h", "ms": "ms", "msec": "ms",
      ]
      if let short = units[String(unit)], !number.isEmpty {
        fix = .replace(node.span, with: "\(number)\(short)", "write `\(number)\(short)`")
      } else if unit == "d", let days = Int(number), days < 10_000 {
        fix = .replace(node.span, with: "\(days * 24)h", "write `\(days * 24)h`")
      }
      report.add(wrongType(node, key, fix: fix))
      return nil
    }
    guard span >= .zero else {
      report.add(
        Diagnostic(.valueOutOfRange, "`\(writtenName)` cannot be negative", at: .init(node.span, "a negative duration"))
      )
      return nil
    }
    return span
  }

  func text(_ node: YAMLNode, _ key: MetadataKey) -> String? {
    guard let scalar = node.scalar else {
      report.add(wrongType(node, key))
      return nil
    }
    // A number is formatted again by GOST, and `0123` is 83 then.
    if scalar.style == .plain, scalar.int != nil || scalar.double != nil,
      String(scalar.int ?? -1) != scalar.text
        || leadingZeroFix(scalar) != nil
    {
      report.add(
        Diagnostic(
          .numberAsText, "`\(writtenName)` is text, and GOST reads this as a number and writes it anew", .warning,
          at: .init(node.span, "quote it"),
          fix: key.type == .secret || key.type == .secrets
            ? Diagnostic.Fix(
              "put it in quotes",
              [.init(start(of: node.span), "\""), .init(end(of: node.span), "\"")])
            : .replace(node.span, with: "\"\(scalar.text)\"", "put it in quotes")))
    }
    return scalar.text
  }

  private func start(of span: SourceSpan) -> SourceSpan {
    SourceSpan(file: span.file, start: span.start, end: span.start)
  }
  private func end(of span: SourceSpan) -> SourceSpan { SourceSpan(file: span.file, start: span.end, end: span.end) }

  // MARK: Lists and addresses

  private func strings(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = node.sequence else {
      if let scalar = node.scalar, !scalar.text.isEmpty {
        report.add(
          Diagnostic(
            .wrongType, "`\(writtenName)` takes a list, not text", at: .init(node.span, "text"),
            notes: ["GOST ignores a text here without a word"],
            fix: Diagnostic.Fix(
              "make it a list of one", [.init(start(of: node.span), "["), .init(end(of: node.span), "]")],
              isCertain: !scalar.text.contains { ",[]{}".contains($0) } || scalar.style == .quoted)))
      } else {
        report.add(wrongType(node, key))
      }
      return nil
    }
    var values: [String] = []
    for item in items {
      guard let scalar = item.scalar, !scalar.isNull else {
        report.add(
          Diagnostic(
            .wrongType, "each item of `\(writtenName)` is text, not \(item.kind)", at: .init(item.span, item.kind)))
        continue
      }
      values.append(scalar.text)
    }
    return Result(value: .strings(values), itemSpans: items.map(\.span))
  }

  private func prefixes(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = commaItems(node, key, mayBeList: false) else { return nil }
    var prefixes: [IPPrefix] = []
    var spans: [SourceSpan] = []
    for item in items {
      guard let prefix = prefix(item, key) else { continue }
      prefixes.append(prefix)
      spans.append(item.span)
    }
    return Result(value: .prefixes(prefixes), itemSpans: spans)
  }

  /// Addresses and networks, as `skipauth` takes them.
  private func networks(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = commaItems(node, key, mayBeList: true) else { return nil }
    var networks: [IPPrefix] = []
    var spans: [SourceSpan] = []
    for item in items {
      guard let network = IPPrefix(item.value) else {
        report.add(
          Diagnostic(
            .badPrefix, "`\(printable(item.value))` in `\(writtenName)` is not an address or a network",
            at: .init(item.span, "neither `10.0.0.1` nor `10.0.0.0/8`"),
            notes: ["GOST skips what it cannot read, and goes on without it"]))
        continue
      }
      networks.append(network)
      spans.append(item.span)
    }
    return Result(value: .prefixes(networks), itemSpans: spans)
  }

  private func targets(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = commaItems(node, key, mayBeList: true) else { return nil }
    var targets: [TargetPattern] = []
    var spans: [SourceSpan] = []
    for item in items {
      guard let target = TargetPattern(item.value) else {
        let isName = item.value.utf8.contains { $0 > 0x66 } && item.value.contains(".")
        report.add(
          Diagnostic(
            .badPrefix, "`\(printable(item.value))` in `\(writtenName)` is not a network with or without ports",
            at: .init(item.span, isName ? "a name" : "not a network"),
            notes: isName ? ["targets are judged by the address to which their name resolves"] : [],
            help: ["write `10.0.0.0/8`, `192.0.2.1:443`, `[fd00::/8]:8000-8100` or `all`"]))
        continue
      }
      targets.append(target)
      spans.append(item.span)
    }
    return Result(value: .targets(targets), itemSpans: spans)
  }

  private func texts(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let mapping = node.mapping else {
      report.add(wrongType(node, key))
      return nil
    }
    var texts: [NamedText] = []
    for entry in mapping {
      guard let scalar = entry.value.scalar else {
        report.add(
          Diagnostic(
            .wrongType, "`\(printable(entry.name))` in `\(writtenName)` takes text, not \(entry.value.kind)",
            at: .init(entry.value.span, entry.value.kind)))
        continue
      }
      guard isHeader(entry, scalar) else { continue }
      texts.append(NamedText(name: entry.name, text: scalar.isNull ? "" : scalar.text))
    }
    return Result(value: .texts(texts), itemSpans: mapping.map(\.key.span))
  }

  /// A name and a value that can stand in an HTTP header (RFC 9110, section 5).
  private func isHeader(_ entry: YAMLEntry, _ scalar: YAMLScalar) -> Bool {
    let isToken =
      !entry.name.isEmpty
      && entry.name.utf8.allSatisfy {
        (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || "!#$%&'*+-.^_`|~".utf8.contains($0)
      }
    guard isToken else {
      report.add(
        Diagnostic(
          .valueOutOfRange, "`\(printable(entry.name))` cannot be the name of a header",
          at: .init(entry.key.span, "letters, digits and `-`")))
      return false
    }
    guard !scalar.text.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F }) else {
      report.add(
        Diagnostic(
          .valueOutOfRange, "a control character in the header `\(printable(entry.name))`",
          at: .init(entry.value.span, "a header is one line")))
      return false
    }
    return true
  }

  private func choice(_ node: YAMLNode, _ key: MetadataKey, _ words: [String], _ later: [String]) -> String? {
    guard let text = text(node, key) else { return nil }
    if words.contains(text) { return text }
    if later.contains(text) {
      report.add(
        Diagnostic(
          .keyNotYet, "`\(writtenName): \(text)` is not yet supported", .notYet,
          at: .init(node.span, "GOST has it, Culvert not yet")))
      return nil
    }
    let near = NearNames.best(for: text, among: words + later)
    report.add(
      Diagnostic(
        .valueOutOfRange, "`\(writtenName)` takes \(key.type.expectation)", at: .init(node.span, "not one of them"),
        notes: ["GOST takes its default for another word"],
        fix: near.map { .replace(node.span, with: $0, "write `\($0)`") }))
    return nil
  }

  private func path(_ node: YAMLNode, _ key: MetadataKey) -> String? {
    guard let text = text(node, key) else { return nil }
    if text.hasPrefix("/"), !text.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) { return text }
    let bare = text.trimmed
    let isFixed = !bare.isEmpty && !bare.utf8.contains { $0 <= 0x20 || $0 == 0x7F }
    report.add(
      Diagnostic(
        .valueOutOfRange, "`\(writtenName)` takes a path that begins with `/`", at: .init(node.span, "not a path"),
        fix: isFixed
          ? .replace(
            node.span, with: bare.hasPrefix("/") ? bare : "/\(bare)",
            "write `\(printable(bare.hasPrefix("/") ? bare : "/\(bare)"))`") : nil))
    return nil
  }

  private func routes(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = commaItems(node, key, mayBeList: true) else { return nil }
    var routes: [ConfiguredRoute] = []
    var spans: [SourceSpan] = []
    for item in items {
      let words = item.value.split { $0 == " " || $0 == "\t" }
      guard let first = words.first, words.count <= 2 else {
        report.add(
          Diagnostic(
            .badPrefix, "`\(printable(item.value))` is not a route", at: .init(item.span, "more than two words"),
            help: ["a route is a network, and behind a space its gateway: `10.0.0.0/8 10.1.0.1`"]))
        continue
      }
      let network = words.count == 1 ? item : Located(String(first), at: part(of: item.span, 0, first.utf8.count))
      guard let destination = prefix(network, key) else { continue }
      var gateway: IPAddress?
      if words.count == 2 {
        let offset = item.value.utf8.count - words[1].utf8.count
        guard let address = IPAddress(words[1]) else {
          report.add(badGateway(String(words[1]), part(of: item.span, offset, item.value.utf8.count)))
          continue
        }
        gateway = address
      }
      routes.append(ConfiguredRoute(destination: destination, gateway: gateway))
      spans.append(item.span)
    }
    return Result(value: .routes(routes), itemSpans: spans)
  }

  private func part(of span: SourceSpan, _ from: Int, _ to: Int) -> SourceSpan {
    SourceSpan(file: span.file, start: min(span.end, span.start + from), end: min(span.end, span.start + to))
  }

  private func address(_ node: YAMLNode, _ key: MetadataKey) -> IPAddress? {
    guard let text = text(node, key) else { return nil }
    if let address = IPAddress(text.trimmed) { return address }
    report.add(badGateway(text, node.span))
    return nil
  }

  private func addresses(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = commaItems(node, key, mayBeList: key.type == .addressList) else { return nil }
    var addresses: [IPAddress] = []
    for item in items {
      if let address = IPAddress(item.value) {
        addresses.append(address)
      } else {
        report.add(
          Diagnostic(
            .badAddress, "`\(printable(item.value))` in `\(writtenName)` is not an IP address",
            at: .init(item.span, "not an IP address"), notes: ["GOST skips what it cannot read"]))
      }
    }
    return Result(value: .addresses(addresses), itemSpans: items.map(\.span))
  }

  private func badGateway(_ text: String, _ span: SourceSpan) -> Diagnostic {
    let bare = text.split(separator: "/").first.map(String.init) ?? ""
    return Diagnostic(
      .badAddress, "`\(printable(text))` is not an IP address", at: .init(span, "not an IP address"),
      notes: ["GOST skips a gateway that it cannot read, and the routes go without one"],
      fix: text.contains("/") && IPAddress(bare) != nil ? .replace(span, with: bare, "write `\(bare)`") : nil)
  }

  private func prefix(_ item: Located<String>, _ key: MetadataKey) -> IPPrefix? {
    let text = item.value
    let expectation = "an address with a prefix length, such as `10.0.0.1/24` or `fd00::1/64`"
    if let prefix = IPPrefix(text), text.contains("/") { return prefix }
    var help = ["write \(expectation)"]
    var fix: Diagnostic.Fix?
    var label = "not \(expectation)"
    if let address = IPAddress(text) {
      let length = key.name == "net" ? (address.family == .ipv4 ? 24 : 64) : address.bitWidth
      label = "the prefix length is missing"
      help = []
      fix = Diagnostic.Fix(
        "write `\(text)/\(length)`", [.init(item.span, "\(text)/\(length)")], isCertain: false)
    } else if let slash = text.firstIndex(of: "/"), let address = IPAddress(text[..<slash]) {
      let length = text[text.index(after: slash)...]
      if let mask = IPAddress(length), let bits = mask.prefixLength {
        label = "a mask, not a prefix length"
        fix = .replace(item.span, with: "\(address)/\(bits)", "write `\(address)/\(bits)`")
        help = []
      } else {
        label = "a prefix length of \(address.family) is a number from 0 to \(address.bitWidth)"
        help = []
      }
    } else if let slash = text.firstIndex(of: "/") {
      label = "`\(printable(String(text[..<slash])))` is not an IP address"
      help = []
    } else if text.contains(":"), text.contains(".") {
      help.append("several are separated by commas")
    }
    report.add(
      Diagnostic(
        .badPrefix, "`\(printable(text))` in `\(writtenName)` is not a network address", at: .init(item.span, label),
        notes: ["GOST skips what it cannot read, and goes on without it"], help: help, fix: fix))
    return nil
  }

  /// The items of comma-separated text (or of a list), each with its place; blank ones are left out.
  func commaItems(_ node: YAMLNode, _ key: MetadataKey, mayBeList: Bool) -> [Located<String>]? {
    if let items = node.sequence {
      guard mayBeList else {
        let joined = items.compactMap { $0.scalar?.text }
        report.add(
          Diagnostic(
            .wrongType, "`\(writtenName)` takes text with commas, not a list", at: .init(node.span, "a list"),
            notes: ["GOST reads a list here as nothing"],
            fix: joined.count == items.count && !items.isEmpty
              ? .replace(node.span, with: joined.joined(separator: ","), "write one text") : nil))
        return nil
      }
      return items.compactMap { item in
        guard let scalar = item.scalar else {
          report.add(
            Diagnostic(
              .wrongType, "each item of `\(writtenName)` is text, not \(item.kind)", at: .init(item.span, item.kind),
              help: ["write \(key.type.expectation)"]))
          return nil
        }
        let text = scalar.text.trimmed
        return text.isEmpty ? nil : Located(text, at: item.span)
      }
    }
    guard let scalar = node.scalar else {
      report.add(wrongType(node, key))
      return nil
    }
    // Where the text stands in the file as it is, its parts have places of their own.
    let quotes = scalar.style == .quoted ? 1 : 0
    let exact = node.span.end - node.span.start == scalar.text.utf8.count + 2 * quotes
    var items: [Located<String>] = []
    var offset = 0
    for piece in scalar.text.split(separator: ",", omittingEmptySubsequences: false) {
      let text = String(piece).trimmed
      if !text.isEmpty {
        let lead = piece.utf8.prefix { $0 == 0x20 || $0 == 0x09 }.count
        let start = node.span.start + quotes + offset + lead
        let place =
          exact
          ? SourceSpan(file: node.span.file, start: start, end: start + text.utf8.count)
          : self.place(of: text, in: node.span, behind: items.last?.span) ?? node.span
        items.append(Located(text, at: place))
      }
      offset += piece.utf8.count + 1
    }
    return items
  }

  /// Where a part of a text stands that goes over several lines: from its first word to its last.
  private func place(of text: String, in span: SourceSpan, behind previous: SourceSpan?) -> SourceSpan? {
    guard let file = report.sources.file(span.file) else { return nil }
    var offset = previous.map { $0.end < span.end ? $0.end : span.start } ?? span.start
    var start: Int?
    for word in text.split(whereSeparator: { $0 == " " || $0 == "\n" }).prefix(64) {
      let rest = file.slice(offset..<max(offset, span.end))
      guard let place = rest.indices.first(where: { rest[$0...].starts(with: word.utf8) }) else { return nil }
      start = start ?? place
      offset = place + word.utf8.count
    }
    return start.map { SourceSpan(file: span.file, start: $0, end: offset) }
  }

  // MARK: Reports

  private func wrongType(_ node: YAMLNode, _ key: MetadataKey, fix: Diagnostic.Fix? = nil) -> Diagnostic {
    Diagnostic(
      .wrongType, "`\(writtenName)` takes \(key.type.expectation), not \(node.kind)", at: .init(node.span, node.kind),
      fix: fix)
  }

  private func warnZero(_ node: YAMLNode, _ key: MetadataKey, _ quoted: String) {
    report.add(
      Diagnostic(
        .numberReadAsZero, "Culvert takes this number, and GOST would read it as zero", .warning,
        at: .init(node.span, isJSON ? "a bare number in JSON metadata" : "a fraction"),
        fix: .replace(node.span, with: quoted, "write `\(quoted)`, which both read")))
  }
}

extension String {
  /// Without spaces, tabs and line ends at both ends.
  var trimmed: String {
    let blank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\n" || $0 == "\r" }
    var text = self[...].drop(while: blank)
    while let last = text.last, blank(last) { text.removeLast() }
    return String(text)
  }
}

extension IPAddress {
  /// For a mask such as `255.255.255.0`, its length.
  var prefixLength: Int? {
    guard case .v4(let bits) = self else { return nil }
    let length = (~bits).leadingZeroBitCount
    return self == IPAddress.v4(.max).masked(to: length) ? length : nil
  }
}
