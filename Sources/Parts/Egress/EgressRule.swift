import Values

/// One entry of `egress.allow` or `egress.deny`: addresses, and the ports on them.
///
/// Written as a prefix or an address with an optional port or range of ports: `10.0.0.0/8`, `127.0.0.1:8080`,
/// `192.0.2.0/24:8000-8010`, `fd00::/8`, `[::1]:53`, `[2001:db8::/32]:443`. `*` stands for every address, as in `*:25`.
public struct EgressRule: Sendable, Hashable {
  /// `nil` for every address.
  public let prefix: IPPrefix?
  public let ports: ClosedRange<UInt16>

  public init(prefix: IPPrefix?, ports: ClosedRange<UInt16> = 0...65_535) {
    self.prefix = prefix.map(Self.canonical)
    self.ports = ports
  }

  /// What a service of the same file listens on.
  public init(_ endpoint: Endpoint) {
    self.init(prefix: .host(endpoint.address), ports: endpoint.port...endpoint.port)
  }

  public func matches(_ address: IPAddress, port: UInt16) -> Bool {
    ports.contains(port) && prefix?.contains(address) != false
  }

  /// Of two rules that match, the greater one decides.
  var exactness: Exactness {
    // The lengths of the two families are never compared: an address matches prefixes of its own family only.
    Exactness(length: prefix?.length ?? -1, portsLeftOut: 65_535 - Int(ports.upperBound - ports.lowerBound))
  }

  struct Exactness: Comparable {
    let length: Int
    let portsLeftOut: Int

    static func < (left: Exactness, right: Exactness) -> Bool {
      (left.length, left.portsLeftOut) < (right.length, right.portsLeftOut)
    }
  }

  /// A prefix of mapped addresses as the IPv4 prefix that it is.
  private static func canonical(_ prefix: IPPrefix) -> IPPrefix {
    guard case .v4(let bits) = prefix.address.canonical, prefix.family == .ipv6, prefix.length >= 96 else {
      return prefix
    }
    return IPPrefix(address: .v4(bits), length: prefix.length - 96) ?? prefix
  }
}

/// Why a text is not a rule; each description says what to write instead.
public enum EgressRuleError: Error, Hashable, Sendable, CustomStringConvertible {
  case empty
  /// What stands before the port is neither an address nor a prefix.
  case notAPrefix(String)
  /// A name: rules are compared with addresses.
  case name(String)
  case notAPort(String)
  case backwards(String)
  /// An IPv6 address with a port but without brackets.
  case bracketsMissing(String)
  case bracketOpen(String)

  public var description: String {
    switch self {
    case .empty: "an empty rule; write an address or a prefix, such as `10.0.0.0/8` or `127.0.0.1:8080`"
    case .notAPrefix(let text): "`\(text)` is neither an address nor a prefix such as `10.0.0.0/8` or `fd00::/8`"
    case .name(let text): "`\(text)` is a name, and targets are judged by their addresses; write those"
    case .notAPort(let text): "`\(text)` is neither a port from 1 to 65535 nor a range such as `8000-8010`"
    case .backwards(let text): "the range of ports `\(text)` ends before it begins"
    case .bracketsMissing(let text): "an IPv6 address with a port needs brackets, such as `[::1]:53`, not `\(text)`"
    case .bracketOpen(let text): "the bracket of `\(text)` is not closed, or something other than a port follows it"
    }
  }
}

extension EgressRule {
  /// Reads a rule.
  public init(_ text: String) throws(EgressRuleError) {
    guard !text.isEmpty else { throw .empty }
    let (host, port) = try Self.divide(text)
    var ports: ClosedRange<UInt16> = 0...65_535
    if let port { ports = try Self.readPorts(port) }
    if host == "*" {
      self.init(prefix: nil, ports: ports)
    } else if let prefix = IPPrefix(host) {
      self.init(prefix: prefix, ports: ports)
    } else if host.utf8.contains(where: { (0x67...0x7A).contains($0 | 0x20) }), !host.contains("/") {
      throw .name(host)
    } else {
      throw port != nil && host.contains(":") && !text.hasPrefix("[") ? .bracketsMissing(text) : .notAPrefix(host)
    }
  }

  /// The part for the addresses and, if there is one, the part for the ports.
  private static func divide(_ text: String) throws(EgressRuleError) -> (host: String, port: String?) {
    if text.hasPrefix("[") {
      guard let close = text.firstIndex(of: "]") else { throw .bracketOpen(text) }
      let host = String(text[text.index(after: text.startIndex)..<close])
      let rest = text[text.index(after: close)...]
      if rest.isEmpty { return (host, nil) }
      guard rest.hasPrefix(":") else { throw .bracketOpen(text) }
      return (host, String(rest.dropFirst()))
    }
    guard let colon = text.lastIndex(of: ":") else { return (text, nil) }
    if text.firstIndex(of: ":") == colon {
      return (String(text[..<colon]), String(text[text.index(after: colon)...]))
    }
    // Several colons: IPv6, and what follows a length cannot belong to it.
    if IPPrefix(text) != nil { return (text, nil) }
    let host = String(text[..<colon])
    if IPPrefix(host) != nil { throw .bracketsMissing(text) }
    return (text, nil)
  }

  private static func readPorts(_ text: String) throws(EgressRuleError) -> ClosedRange<UInt16> {
    let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    func number(_ part: Substring) -> UInt16? {
      guard (1...5).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let port = UInt16(part), port > 0
      else { return nil }
      return port
    }
    guard let first = ends.first.flatMap(number), let last = ends.last.flatMap(number) else { throw .notAPort(text) }
    guard first <= last else { throw .backwards(text) }
    return first...last
  }
}
