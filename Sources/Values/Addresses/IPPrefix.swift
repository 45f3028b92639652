/// An address with a prefix length: a network, or an interface address inside its network.
public struct IPPrefix: Hashable, Sendable {
  private let packed: PackedAddress
  /// 0...32 for IPv4, 0...128 for IPv6.
  public let length: Int

  /// `nil` when the length is outside the family's range.
  public init?(address: IPAddress, length: Int) {
    guard (0...address.bitWidth).contains(length) else { return nil }
    self.init(uncheckedAddress: address, length: length)
  }

  /// Reads `address/length`; a lone address is a host prefix.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = parts.first, let address = IPAddress(first) else { return nil }
    var length = address.bitWidth
    if parts.count == 2 {
      guard (1...3).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let number = Int(parts[1])
      else { return nil }
      length = number
    }
    self.init(address: address, length: length)
  }

  public static func host(_ address: IPAddress) -> IPPrefix {
    IPPrefix(uncheckedAddress: address, length: address.bitWidth)
  }

  private init(uncheckedAddress: IPAddress, length: Int) {
    packed = PackedAddress(uncheckedAddress)
    self.length = length
  }

  /// The address as written; host bits are kept, because `192.168.123.2/24` names an interface.
  public var address: IPAddress { packed.address }

  public var family: AddressFamily { address.family }

  /// The prefix with its host bits cleared.
  public var network: IPPrefix { IPPrefix(uncheckedAddress: address.masked(to: length), length: length) }

  public func contains(_ other: IPAddress) -> Bool {
    other.family == family && other.masked(to: length) == address.masked(to: length)
  }

  public func overlaps(_ other: IPPrefix) -> Bool {
    guard family == other.family else { return false }
    let shorter = min(length, other.length)
    return address.masked(to: shorter) == other.address.masked(to: shorter)
  }
}

extension IPPrefix: Codable {
  private enum CodingKeys: CodingKey {
    case address, length
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    let address = try values.decode(IPAddress.self, forKey: .address)
    let length = try values.decode(Int.self, forKey: .length)
    guard let prefix = IPPrefix(address: address, length: length) else {
      throw DecodingError.dataCorruptedError(forKey: .length, in: values, debugDescription: "length out of range")
    }
    self = prefix
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(address, forKey: .address)
    try values.encode(length, forKey: .length)
  }
}

extension IPPrefix: CustomStringConvertible {
  public var description: String { "\(address)/\(length)" }
}

extension IPAddress {
  /// The address with all but its first `length` bits cleared; `length` is clamped to the family's range.
  @inlinable
  public func masked(to length: Int) -> IPAddress {
    switch self {
    case .v4(let bits): .v4(length <= 0 ? 0 : bits & (UInt32.max << UInt32(32 - min(length, 32))))
    case .v6(let bits): .v6(length <= 0 ? 0 : bits & (UInt128.max << UInt128(128 - min(length, 128))))
    }
  }
}

extension IPPrefix {
  /// The two prefixes one bit longer that together are this one; `nil` for a host prefix.
  public var halves: [IPPrefix]? {
    guard length < address.bitWidth else { return nil }
    let low = network.address
    let high: IPAddress =
      switch low {
      case .v4(let bits): .v4(bits | 1 << UInt32(31 - length))
      case .v6(let bits): .v6(bits | 1 << UInt128(127 - length))
      }
    let halves = [low, high].compactMap { IPPrefix(address: $0, length: length + 1) }
    return halves.count == 2 ? halves : nil
  }
}
