import Values

extension ProxyHeader {
  /// The header for a connection that is passed on. Without both endpoints it says that the client is not known.
  public init(version: Version, source: Endpoint?, destination: Endpoint?, transport: Transport = .stream) {
    guard let source, let destination else {
      self.init(version: version, origin: .unknown)
      return
    }
    self.init(version: version, origin: .client(transport: transport, source: source, destination: destination))
  }

  /// The bytes. Version 1 has no words for datagrams nor for a proxy's own connections: both become UNKNOWN.
  ///
  /// Two addresses of different families, as where a proxy translates, are both written as IPv6, the IPv4 one mapped; an
  /// IPv4 address that a socket of both families shows mapped is written as IPv4.
  public func encode() -> [UInt8] {
    switch version {
    case .one: Array(line.utf8)
    case .two: binary
    }
  }

  private var line: String {
    guard case .client(.stream, let source, let destination) = origin else { return "PROXY UNKNOWN\r\n" }
    let (from, to) = Self.alike(source.address, destination.address)
    let word = from.family == .ipv4 ? "TCP4" : "TCP6"
    return "PROXY \(word) \(from) \(to) \(source.port) \(destination.port)\r\n"
  }

  private var binary: [UInt8] {
    var block: [UInt8] = []
    let command: UInt8
    let family: UInt8
    switch origin {
    case .local: (command, family) = (0x20, 0)
    case .unknown: (command, family) = (0x21, 0)
    case .client(let transport, let source, let destination):
      let (from, to) = Self.alike(source.address, destination.address)
      for address in [from, to] {
        switch address {
        case .v4(let bits): block.append(bigEndian: bits)
        case .v6(let bits): block.append(bigEndian: bits)
        }
      }
      block.append(bigEndian: source.port)
      block.append(bigEndian: destination.port)
      command = 0x21
      family = (from.family == .ipv4 ? 0x10 : 0x20) | (transport == .stream ? 1 : 2)
    }
    var bytes = Self.signature + [command, family]
    bytes.append(bigEndian: UInt16(truncatingIfNeeded: block.count))
    return bytes + block
  }

  /// Both addresses in one family.
  private static func alike(_ one: IPAddress, _ other: IPAddress) -> (IPAddress, IPAddress) {
    let (one, other) = (one.canonical, other.canonical)
    return one.family == other.family ? (one, other) : (.v6(one.mapped), .v6(other.mapped))
  }
}
