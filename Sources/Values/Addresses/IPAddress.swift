/// IP addresses as plain values: compared, hashed and printed without a system call.
public enum AddressFamily: UInt8, Hashable, Sendable, Codable, CaseIterable {
  case ipv4 = 4
  case ipv6 = 6
}

extension AddressFamily: CustomStringConvertible {
  public var description: String { self == .ipv4 ? "IPv4" : "IPv6" }
}

/// An IPv4 or IPv6 address. A v4-mapped IPv6 address (`::ffff:a.b.c.d`) is a different value from the IPv4 address
/// that it maps; `canonical` joins the two.
public enum IPAddress: Hashable, Sendable {
  /// The address in host order: `0x7F00_0001` is 127.0.0.1.
  case v4(UInt32)
  /// The address in host order; the first byte on the wire is the most significant.
  case v6(UInt128)

  @inlinable
  public var family: AddressFamily {
    switch self {
    case .v4: .ipv4
    case .v6: .ipv6
    }
  }

  /// The number of bits in an address of this family: 32 or 128.
  @inlinable
  public var bitWidth: Int { family == .ipv4 ? 32 : 128 }

  /// The IPv4 address inside a v4-mapped one (RFC 4291, section 2.5.5.2), else the address itself.
  @inlinable
  public var canonical: IPAddress {
    if case .v6(let bits) = self, bits >> 32 == 0xFFFF { return .v4(UInt32(truncatingIfNeeded: bits)) }
    return self
  }

  /// The address as 16 bytes, an IPv4 address v4-mapped: the form of GOST's TUN handshake.
  @inlinable
  public var mapped: UInt128 {
    switch self {
    case .v4(let bits): 0xFFFF_0000_0000 | UInt128(bits)
    case .v6(let bits): bits
    }
  }

  /// The inverse of `mapped`.
  @inlinable
  public init(mapped: UInt128) { self = IPAddress.v6(mapped).canonical }

  @inlinable
  public var isUnspecified: Bool {
    switch self {
    case .v4(let bits): bits == 0
    case .v6(let bits): bits == 0
    }
  }

  public var isLoopback: Bool {
    switch canonical {
    case .v4(let bits): bits >> 24 == 127
    case .v6(let bits): bits == 1
    }
  }

  public var isMulticast: Bool {
    switch canonical {
    case .v4(let bits): bits >> 28 == 0xE
    case .v6(let bits): bits >> 120 == 0xFF
    }
  }

  public var isLinkLocal: Bool {
    switch canonical {
    case .v4(let bits): bits >> 16 == 0xA9FE
    case .v6(let bits): bits >> 118 == 0x3FA
    }
  }

  public static let anyIPv4 = IPAddress.v4(0)
  public static let anyIPv6 = IPAddress.v6(0)
}

extension IPAddress: Comparable {
  /// IPv4 before IPv6, then by number.
  public static func < (left: IPAddress, right: IPAddress) -> Bool {
    switch (left, right) {
    case (.v4(let a), .v4(let b)): a < b
    case (.v6(let a), .v6(let b)): a < b
    case (.v4, .v6): true
    case (.v6, .v4): false
    }
  }
}

extension IPAddress: Codable {
  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let address = IPAddress(text) else {
      throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "not an IP address"))
    }
    self = address
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
