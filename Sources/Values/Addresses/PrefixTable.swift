/// Longest-prefix match from an address to a value.
///
/// One dictionary for each prefix length in use, probed from the longest: tunnels have a handful of lengths (host
/// routes, a few networks, a default), so a look-up is a few hash probes and an insertion never rebuilds anything.
public struct PrefixTable<Value> {
  private var ipv4 = Levels()
  private var ipv6 = Levels()

  fileprivate struct Levels {
    /// Lengths in use, longest first.
    var lengths: [Int] = []
    var values: [Int: [IPAddress: Value]] = [:]
  }

  public init() {}

  /// Sets the value of a prefix (host bits are ignored) and returns what stood there.
  @discardableResult
  public mutating func insert(_ value: Value, for prefix: IPPrefix) -> Value? {
    let network = prefix.network
    if network.family == .ipv4 { return Self.insert(value, network, &ipv4) }
    return Self.insert(value, network, &ipv6)
  }

  private static func insert(_ value: Value, _ network: IPPrefix, _ levels: inout Levels) -> Value? {
    if levels.values[network.length] == nil {
      let place = levels.lengths.firstIndex { $0 < network.length } ?? levels.lengths.count
      levels.lengths.insert(network.length, at: place)
    }
    return levels.values[network.length, default: [:]].updateValue(value, forKey: network.address)
  }

  @discardableResult
  public mutating func remove(_ prefix: IPPrefix) -> Value? {
    let network = prefix.network
    if network.family == .ipv4 { return Self.remove(network, &ipv4) }
    return Self.remove(network, &ipv6)
  }

  private static func remove(_ network: IPPrefix, _ levels: inout Levels) -> Value? {
    guard let removed = levels.values[network.length]?.removeValue(forKey: network.address) else { return nil }
    if levels.values[network.length]?.isEmpty == true {
      levels.values[network.length] = nil
      levels.lengths.removeAll { $0 == network.length }
    }
    return removed
  }

  /// The value of the longest prefix that contains the address.
  public func lookup(_ address: IPAddress) -> Value? {
    switch address {
    case .v4: Self.lookup(address, ipv4)
    case .v6: Self.lookup(address, ipv6)
    }
  }

  private static func lookup(_ address: IPAddress, _ levels: Levels) -> Value? {
    for length in levels.lengths {
      if let value = levels.values[length]?[address.masked(to: length)] { return value }
    }
    return nil
  }

  public subscript(prefix: IPPrefix) -> Value? {
    let levels = prefix.family == .ipv4 ? ipv4 : ipv6
    return levels.values[prefix.length]?[prefix.network.address]
  }

  public var isEmpty: Bool { ipv4.lengths.isEmpty && ipv6.lengths.isEmpty }
}

extension PrefixTable.Levels: Sendable where Value: Sendable {}
extension PrefixTable: Sendable where Value: Sendable {}
