import Values

/// One entry of `egress.allow` or `egress.deny` (`TargetPattern` in the file): addresses, and the ports on them.
public struct EgressRule: Sendable, Hashable {
  /// `nil` for every address.
  public let prefix: IPPrefix?
  public let ports: ClosedRange<UInt16>

  public init(prefix: IPPrefix?, ports: ClosedRange<UInt16> = 0...65_535) {
    self.prefix = prefix.map(Self.canonical)
    self.ports = ports
  }

  /// What a proxy may reach of a service in the same file that anybody may use: its port, at its own address or, where
  /// it listens on all of them, on loopback. Never more: on every address, the port 80 of a service would open that of
  /// the cloud's metadata service.
  public static func own(_ listener: HostPort) -> [EgressRule] {
    let ports = listener.port...listener.port
    let ipv4 = EgressRule(prefix: IPPrefix(address: .v4(0x7F00_0000), length: 8), ports: ports)
    let ipv6 = EgressRule(prefix: .host(.v6(1)), ports: ports)
    if listener.host.isEmpty || listener.host == "localhost" { return [ipv4, ipv6] }
    // Nobody knows yet where a name listens.
    guard let address = listener.literal else { return [] }
    if !address.isUnspecified { return [EgressRule(prefix: .host(address), ports: ports)] }
    return address.family == .ipv4 ? [ipv4] : [ipv4, ipv6]
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
