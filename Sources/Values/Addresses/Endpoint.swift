/// An address and a port: where a packet came from or goes to.
///
/// For ICMP carriers the port is the echo identifier, as GOST writes it. `scope` is the interface index of a
/// link-local IPv6 address (RFC 4007), 0 where there is none.
public struct Endpoint: Hashable, Sendable {
  @usableFromInline let packed: PackedAddress
  public let port: UInt16
  public let scope: UInt32

  @inlinable
  public init(_ address: IPAddress, port: UInt16, scope: UInt32 = 0) {
    packed = PackedAddress(address)
    self.port = port
    self.scope = scope
  }

  @inlinable
  public var address: IPAddress { packed.address }

  @inlinable
  public var family: AddressFamily { address.family }

  /// Reads `192.0.2.1:443` or `[2001:db8::1]:443`; names are not resolved here.
  public init?(_ text: some StringProtocol) {
    guard let split = HostPort(text), let address = IPAddress(split.host) else { return nil }
    self.init(address, port: split.port)
  }
}

extension Endpoint: CustomStringConvertible {
  public var description: String {
    switch address {
    case .v4: "\(address):\(port)"
    case .v6: scope == 0 ? "[\(address)]:\(port)" : "[\(address)%\(scope)]:\(port)"
    }
  }
}

extension Endpoint: Codable {
  private enum CodingKeys: CodingKey {
    case address, port, scope
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      try values.decode(IPAddress.self, forKey: .address), port: try values.decode(UInt16.self, forKey: .port),
      scope: try values.decode(UInt32.self, forKey: .scope))
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(address, forKey: .address)
    try values.encode(port, forKey: .port)
    try values.encode(scope, forKey: .scope)
  }
}

/// A host (a name, an address, or nothing) and a port, as GOST writes an `addr`: `:8421`, `example.com:0`,
/// `[2001:db8::1]:443`.
public struct HostPort: Hashable, Sendable, Codable {
  /// Without brackets; empty when only a port was given.
  public let host: String
  public let port: UInt16

  public init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// `nil` when the port is missing or not a number in 0...65535, or when a bracket is left open.
  public init?(_ text: some StringProtocol) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let portText = text[text.index(after: colon)...]
    guard (1...5).contains(portText.utf8.count), portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let port = UInt16(portText)
    else { return nil }
    var host = text[..<colon]
    if host.hasPrefix("[") {
      guard host.hasSuffix("]") else { return nil }
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    self.init(host: String(host), port: port)
  }

  public var literal: IPAddress? { IPAddress(host) }
}

extension HostPort: CustomStringConvertible {
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
