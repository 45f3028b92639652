import Values

/// Reads `host:port` and says what is wrong with one that cannot be read.
enum AddressText {
  struct Problem: Error {
    let label: String
    var help: [String] = []
    /// What was probably meant.
    var replacement: String?
    var isMissingPort = false
  }

  static func read(_ text: String) -> Result<HostPort, Problem> {
    if let scheme = text.range(ofScheme: "://") {
      let rest = String(text[scheme...])
      return .failure(
        Problem(
          label: "an address has no scheme", help: ["the transport is the type of the listener or dialer"],
          replacement: HostPort(rest) != nil ? rest : nil))
    }
    if let literal = IPAddress(text) {
      if let (host, port) = unbracketed(text) {
        return .failure(Problem(label: "an IPv6 address stands in brackets", replacement: "[\(host)]:\(port)"))
      }
      return .failure(
        Problem(
          label: "the port is missing",
          help: ["write \(literal.family == .ipv6 ? "`[\(text)]:PORT`" : "`\(text):PORT`")"], isMissingPort: true))
    }
    guard let address = HostPort(text) else { return .failure(unreadable(text)) }
    if let problem = hostProblem(address) { return .failure(problem) }
    return .success(address)
  }

  /// `2001:db8::1:8421` is a whole address; with brackets it would be the address and port that were probably meant.
  private static func unbracketed(_ text: String) -> (host: Substring, port: UInt16)? {
    guard let colon = text.lastIndex(of: ":"), text[..<colon].last != ":",
      let port = UInt16(text[text.index(after: colon)...]), port >= 1000, IPAddress(text[..<colon]) != nil
    else { return nil }
    return (text[..<colon], port)
  }

  private static func unreadable(_ text: String) -> Problem {
    if text.contains(where: { $0 == " " || $0 == "\t" }) { return Problem(label: "a space in an address") }
    let colons = text.filter { $0 == ":" }.count
    if text.hasPrefix("["), !text.contains("]") { return Problem(label: "the `]` is missing") }
    if colons > 1, !text.contains("[") {
      // A literal with a port behind it: the last group is the port.
      if let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]),
        IPAddress(text[..<colon]) != nil
      {
        return Problem(
          label: "an IPv6 address stands in brackets", replacement: "[\(text[..<colon])]:\(port)")
      }
      return Problem(label: "more than one `:`", help: ["an IPv6 address stands in brackets: `[2001:db8::1]:8421`"])
    }
    if colons == 0 {
      let isNumber = !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
      if isNumber {
        return Problem(
          label: UInt16(text) == nil ? "not a port, and the `:` is missing" : "a `:` before the port is missing",
          replacement: UInt16(text) == nil ? nil : ":\(text)")
      }
      return Problem(label: "the port is missing", help: ["write `\(printable(text)):PORT`"], isMissingPort: true)
    }
    let port = text.split(separator: ":", omittingEmptySubsequences: false).last ?? ""
    if port.isEmpty { return Problem(label: "the port is missing", isMissingPort: false) }
    return Problem(label: "`\(printable(String(port)))` is not a port, a number from 0 to 65535")
  }

  private static func hostProblem(_ address: HostPort) -> Problem? {
    var host = address.host
    if host.isEmpty || IPAddress(host) != nil { return nil }
    if let percent = host.firstIndex(of: "%"), IPAddress(host[..<percent]) != nil,
      host.index(after: percent) < host.endIndex
    {
      return nil
    }
    if host.contains(":") { return Problem(label: "`\(printable(host))` is not an IPv6 address") }
    if host.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2E }) {
      return Problem(label: "`\(printable(host))` is not an IPv4 address")
    }
    if host.hasSuffix(".") { host.removeLast() }
    let labels = host.split(separator: ".", omittingEmptySubsequences: false)
    let bad = host.unicodeScalars.first {
      !($0.value >= 0x80 || $0.properties.isAlphabetic || ("0"..."9").contains($0) || "-_.".unicodeScalars.contains($0))
    }
    if let bad { return Problem(label: "`\(escaped(bad))` cannot stand in a host name") }
    if labels.contains(where: { $0.isEmpty || $0.utf8.count > 63 }) || host.utf8.count > 253 {
      return Problem(label: "not a host name")
    }
    return nil
  }
}

extension String {
  /// The index behind the first `separator`, when it stands before any other punctuation of an address.
  fileprivate func range(ofScheme separator: String) -> String.Index? {
    guard let colon = firstIndex(of: ":"), self[colon...].hasPrefix(separator) else { return nil }
    return index(colon, offsetBy: separator.count)
  }
}
