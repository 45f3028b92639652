import CLinux
@_spi(SocketLayer) import Values

/// Between our endpoints and the C structure that the shims take.

extension culvert_endpoint {
  /// The endpoint in a socket's own family: an IPv4 address becomes v4-mapped for an IPv6 socket.
  init(_ endpoint: Endpoint, for family: AddressFamily) {
    self.init()
    port = endpoint.port
    scope = endpoint.scope
    switch (endpoint.address, family) {
    case (.v4(let bits), .ipv4):
      self.family = 4
      withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: bits.bigEndian, as: UInt32.self) }
    case (let any, _):
      self.family = 6
      withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: any.mapped.bigEndian, as: UInt128.self) }
    }
  }

  /// The packet's source address; an IPv4 one stays IPv4 even on a dual-stack socket, as IP_PKTINFO has it.
  init(source: IPAddress) {
    self.init()
    switch source.canonical {
    case .v4(let bits):
      family = 4
      withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: bits.bigEndian, as: UInt32.self) }
    case .v6(let bits):
      family = 6
      withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: bits.bigEndian, as: UInt128.self) }
    }
  }

  /// The endpoint in its canonical form: v4-mapped addresses of a dual-stack socket become IPv4.
  var endpoint: Endpoint? {
    switch family {
    case 4:
      let bits = withUnsafeBytes(of: address) { UInt32(bigEndian: $0.loadUnaligned(as: UInt32.self)) }
      return Endpoint(.v4(bits), port: port)
    case 6:
      let bits = withUnsafeBytes(of: address) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) }
      return Endpoint(IPAddress.v6(bits).canonical, port: port, scope: scope)
    default: return nil
    }
  }
}

/// What the kernel says of a socket's two ends.
func receipt(of descriptor: Int32, at now: Instant) -> Receipt {
  var local = culvert_endpoint()
  var remote = culvert_endpoint()
  let hasLocal = culvert_local_endpoint(descriptor, &local) == 0
  let hasRemote = culvert_remote_endpoint(descriptor, &remote) == 0
  return Receipt(local: hasLocal ? local.endpoint : nil, remote: hasRemote ? remote.endpoint : nil, at: now)
}
