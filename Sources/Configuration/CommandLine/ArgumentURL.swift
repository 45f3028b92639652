import Values

/// An argument of `-L` or `-F` in its parts: `[scheme://][user[:password]@][host:port][/targets][?key=value&…]`.
///
/// It is cut as GOST cuts it, which is not quite RFC 3986: the host is everything up to the first `/` or `?`, with port
/// ranges and comma lists inside; the user ends at the last `@`; the path stays escaped; and in the query `+` is a
/// space. Where GOST drops something in silence (a fragment behind `#`, a pair with `;`, an escape that is none), here
/// is an error, because what was dropped is now and then a password.
struct ArgumentURL: Sendable {
  struct Pair: Sendable {
    let key: ArgumentText
    let value: ArgumentText
    /// Whether there was a `=`.
    let hasValue: Bool
  }

  /// The whole argument without blanks around it.
  let whole: ArgumentText
  /// `nil` where none was written.
  let scheme: ArgumentText?
  /// `nil` where there is no `@`.
  let user: ArgumentText?
  /// `nil` where the user has no `:` behind it.
  let password: ArgumentText?
  let host: ArgumentText
  let path: ArgumentText
  let pairs: [Pair]

  /// Longer ones are not looked at.
  static let longest = 64 << 10

  /// `nil` after a report.
  init?(_ argument: ArgumentText, _ report: Report) {
    guard Self.isText(argument, report) else { return nil }
    let whole = argument.trimmed { $0 == 0x20 || $0 == 0x09 }
    guard !whole.isEmpty else {
      report.add(
        Diagnostic(
          .badArgument, "an empty argument says nothing", at: .init(argument.span),
          help: ["write what is meant, such as `-L http://:8080` or `-F relay+tls://example.com:443`"]))
      return nil
    }
    let (scheme, rest) = Self.cutScheme(whole)
    let query = rest.firstIndex(of: "?")
    let place = rest.prefix(upTo: query ?? rest.bytes.endIndex)
    let slash = place.firstIndex(of: "/")
    let authority = place.prefix(upTo: slash ?? place.bytes.endIndex)
    let at = authority.lastIndex(of: "@")
    if at == nil, let fault = Self.cutPassword(authority, rest) {
      report.add(fault)
      return nil
    }
    if let hash = whole.firstIndex(of: "#") {
      let span = whole[hash..<hash + 1].span
      report.add(
        Diagnostic(
          .badArgument, "a `#` ends an address, and all behind it would be left out",
          at: .init(span, "GOST stops reading here, without a word"),
          fix: .replace(span, with: "%23", "write `%23` where a `#` is meant")))
      return nil
    }
    self.whole = whole
    self.scheme = scheme
    host = authority.suffix(from: at.map { $0 + 1 } ?? authority.bytes.startIndex)
    path = slash.map { place.suffix(from: $0) } ?? place.suffix(from: place.bytes.endIndex)
    var isGood = true
    func decoded(_ text: ArgumentText, inQuery: Bool) -> ArgumentText {
      let result = text.decoded(inQuery: inQuery)
      if let fault = result.fault {
        report.add(
          Diagnostic(
            .badArgument, "a `%` begins an escape of two hexadecimal digits",
            at: .init(fault, "not an escape"),
            fix: .replace(
              SourceSpan(file: fault.file, start: fault.start, end: fault.start + 1), with: "%25",
              "write `%25` where a `%` is meant")))
        isGood = false
      } else if let bytes = result.text?.bytes, ByteFault.first(in: Array(bytes)) != nil {
        report.add(
          Diagnostic(
            .badArgument, "escapes stand for letters, not for control characters or bytes that are no UTF-8",
            at: .init(text.span, "not text when it is decoded")))
        isGood = false
      }
      return result.text ?? text
    }
    if let at {
      let info = authority.prefix(upTo: at)
      let colon = info.firstIndex(of: ":")
      user = decoded(info.prefix(upTo: colon ?? info.bytes.endIndex), inQuery: false)
      password = colon.map { decoded(info.suffix(from: $0 + 1), inQuery: false) }
    } else {
      user = nil
      password = nil
    }
    pairs = (query.map { rest.suffix(from: $0 + 1).split(on: "&") } ?? []).filter { !$0.isEmpty }.map { pair in
      if let semicolon = pair.firstIndex(of: ";") {
        let span = pair[semicolon..<semicolon + 1].span
        report.add(
          Diagnostic(
            .badArgument, "GOST leaves out a key and its value that have a `;` in them", at: .init(span, "here"),
            fix: .replace(span, with: "%3B", "write `%3B` where a `;` is meant")))
        isGood = false
      }
      let equals = pair.firstIndex(of: "=")
      return Pair(
        key: decoded(pair.prefix(upTo: equals ?? pair.bytes.endIndex), inQuery: true),
        value: decoded(pair.suffix(from: equals.map { $0 + 1 } ?? pair.bytes.endIndex), inQuery: true),
        hasValue: equals != nil)
    }
    if !isGood { return nil }
  }

  /// The address alone, with the escape of an IPv6 zone (`%25`) taken out.
  func address(_ text: ArgumentText) -> ArgumentText {
    guard text.firstIndex(of: "%25") != nil, let decoded = text.decoded(inQuery: false).text,
      ByteFault.first(in: Array(decoded.bytes)) == nil
    else { return text }
    return decoded
  }

  // MARK: Cutting

  private static func isText(_ argument: ArgumentText, _ report: Report) -> Bool {
    if argument.bytes.count > longest {
      report.add(
        Diagnostic(
          .badArgument, "an argument of \(argument.bytes.count) bytes; at most \(longest) are read",
          help: ["write a configuration file: `culvert -C FILE`"]))
      return false
    }
    let bytes = Array(argument.bytes)
    var fault: (offset: Int, what: String)?
    switch ByteFault.first(in: bytes) {
    case .invalid(let offset): fault = (offset, "not UTF-8")
    case .control(let offset, _): fault = (offset, "a control character")
    case nil: fault = bytes.firstIndex { $0 == 0x0A || $0 == 0x0D }.map { ($0, "a line end") }
    }
    guard let fault else { return true }
    report.add(
      Diagnostic(
        .badArgument, "\(fault.what) cannot stand in an argument",
        at: .init(argument[fault.offset..<fault.offset + 1].span, fault.what)))
    return false
  }

  private static func cutScheme(_ whole: ArgumentText) -> (ArgumentText?, ArgumentText) {
    guard let colon = whole.firstIndex(of: "://"), colon > whole.bytes.startIndex else { return (nil, whole) }
    let scheme = whole.prefix(upTo: colon)
    let isName = scheme.bytes.allSatisfy {
      (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
        || [0x2B, 0x2D, 0x2E, 0x5F].contains($0)
    }
    return isName ? (scheme, whole.suffix(from: colon + 3)) : (nil, whole)
  }

  /// `user:pass/word@host`: a password that has to be escaped looks like a host, with a port that is none.
  private static func cutPassword(_ authority: ArgumentText, _ rest: ArgumentText) -> Diagnostic? {
    let behind = rest.suffix(from: authority.bytes.endIndex)
    guard let separator = behind.bytes.first, behind.firstIndex(of: "@") != nil,
      let colon = authority.firstIndex(of: ":"), authority.bytes.first != UInt8(ascii: "["),
      !authority.suffix(from: colon + 1).bytes.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2D })
    else { return nil }
    let mark = String(UnicodeScalar(separator))
    let escape = separator == UInt8(ascii: "/") ? "%2F" : "%3F"
    let span = behind[behind.bytes.startIndex..<behind.bytes.startIndex + 1].span
    return Diagnostic(
      .badArgument, "a `\(mark)` in a user name or a password has to be escaped",
      at: .init(span, "the address ends here"), fix: .replace(span, with: escape, "write `\(escape)`"))
  }
}

extension ArgumentURL {
  /// Where secrets stand in an argument, well written or not: this looks at nothing but the marks around them, so that
  /// an argument that cannot be read is printed without them too.
  static func secrets(in bytes: [UInt8]) -> [Range<Int>] {
    var secrets: [Range<Int>] = []
    let text = ArgumentText(bytes, in: FileID(number: 0))
    let start = text.firstIndex(of: "://").map { $0 + 3 } ?? 0
    let end = bytes[start...].firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? bytes.count
    // A password that was not escaped goes on behind the first `/` or `?`.
    if let at = bytes[start..<end].lastIndex(of: UInt8(ascii: "@")) ?? bytes[end...].lastIndex(of: UInt8(ascii: "@")) {
      if let colon = bytes[start..<min(at, end)].firstIndex(of: UInt8(ascii: ":")) {
        secrets.append(colon + 1..<at)
      } else if bytes.starts(with: "ss".utf8), at < end {
        secrets.append(start..<at)
      }
    }
    if let query = bytes[start...].firstIndex(of: UInt8(ascii: "?")) {
      for pair in text.suffix(from: query + 1).split(on: "&") {
        guard let equals = pair.firstIndex(of: "=") else { continue }
        let key = pair.prefix(upTo: equals)
        guard isSecret((key.decoded(inQuery: true).text ?? key).text) else { continue }
        let span = pair.suffix(from: equals + 1).span
        secrets.append(span.start..<span.end)
      }
    }
    return secrets.filter { !$0.isEmpty }
  }

  /// `key` alone is the file of a TLS key.
  private static func isSecret(_ key: String) -> Bool {
    var key = key.lowercased()
    if key == "key" { return false }
    for prefix in ["handler.", "listener.", "service.", "connector.", "dialer.", "node.", "hop."]
    where key.hasPrefix(prefix) { key = String(key.dropFirst(prefix.count)) }
    return key == "auth" || secretKeys.contains(key)
  }
}
