/// Which targets a rule about them means: a network or every address, and some ports or all of them.
///
/// `10.0.0.0/8`, `192.0.2.1`, `10.0.0.0/8:22`, `[fd00::/8]:8000-8100`, `all`, `all:25`; `*` is `all`. An IPv6 network with ports
/// stands in brackets, as an IPv6 address with a port does. A v4-mapped address is the IPv4 address that it maps.
public struct TargetPattern: Hashable, Sendable {
  /// `nil`: every address of both families.
  public let network: IPPrefix?
  /// `nil`: every port.
  public let ports: ClosedRange<UInt16>?

  public init(network: IPPrefix?, ports: ClosedRange<UInt16>?) {
    self.network = network
    self.ports = ports
  }

  /// `nil` when the text is none of the forms above.
  public init?(_ text: some StringProtocol) {
    var host = Substring(text)
    var ports: Substring?
    if host.hasPrefix("[") {
      guard let end = host.lastIndex(of: "]") else { return nil }
      let rest = host[host.index(after: end)...]
      guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
      if !rest.isEmpty { ports = rest.dropFirst() }
      host = host[host.index(after: host.startIndex)..<end]
      guard host.contains(":") else { return nil }
    } else if let colon = host.firstIndex(of: ":"), colon == host.lastIndex(of: ":") {
      ports = host[host.index(after: colon)...]
      host = host[..<colon]
    }
    var range: ClosedRange<UInt16>?
    if let ports {
      guard let parsed = Self.range(ports) else { return nil }
      range = parsed
    }
    if host == "*" || host.lowercased() == "all" {
      self.init(network: nil, ports: range)
    } else if let network = IPPrefix(host), network.address.canonical == network.address || network.length >= 96 {
      self.init(network: Self.canonical(network).network, ports: range)
    } else {
      return nil
    }
  }

  public func covers(_ address: IPAddress, port: UInt16) -> Bool {
    if let ports, !ports.contains(port) { return false }
    guard let network else { return true }
    return network.contains(address.canonical)
  }

  /// `22` or `8000-8100`.
  private static func range(_ text: Substring) -> ClosedRange<UInt16>? {
    let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard let low = parts.first.flatMap(number) else { return nil }
    guard parts.count == 2 else { return low...low }
    guard let high = number(parts[1]), low <= high else { return nil }
    return low...high
  }

  private static func number(_ text: Substring) -> UInt16? {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt16(text)
  }

  private static func canonical(_ prefix: IPPrefix) -> IPPrefix {
    let address = prefix.address.canonical
    guard address.family != prefix.family else { return prefix }
    return IPPrefix(address: address, length: prefix.length - 96) ?? .host(address)
  }
}

extension TargetPattern: CustomStringConvertible {
  public var description: String {
    let host = network.map(\.description) ?? "all"
    guard let ports else { return host }
    let shown = ports.lowerBound == ports.upperBound ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    return host.contains(":") ? "[\(host)]:\(shown)" : "\(host):\(shown)"
  }
}
