/// Endpoints between our value and the C library's socket addresses.
import CNgtcp2
import Values

extension culvert_endpoint {
  init(_ endpoint: Endpoint) {
    self.init()
    port = endpoint.port
    scope = endpoint.scope
    switch endpoint.address {
    case .v4(let bits):
      family = 4
      withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: bits.bigEndian, as: UInt32.self) }
    case .v6(let bits):
      family = 6
      withUnsafeMutableBytes(of: &address) { $0.storeBytes(of: bits.bigEndian, as: UInt128.self) }
    }
  }

  /// `nil` where the C side held no address.
  var endpoint: Endpoint? {
    switch family {
    case 4:
      let bits = withUnsafeBytes(of: address) { UInt32(bigEndian: $0.loadUnaligned(as: UInt32.self)) }
      return Endpoint(.v4(bits), port: port)
    case 6:
      let bits = withUnsafeBytes(of: address) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) }
      return Endpoint(.v6(bits), port: port, scope: scope)
    default: return nil
    }
  }
}

/// A path in memory that does not move, because the C struct points into itself. A plain pointer, so that the packet
/// path counts no references; its owner frees it.
struct PathStorage {
  private let pointer: UnsafeMutablePointer<ngtcp2_path_storage>

  init() {
    pointer = .allocate(capacity: 1)
    pointer.initialize(to: ngtcp2_path_storage())
    ngtcp2_path_storage_zero(pointer)
  }

  func deallocate() { pointer.deallocate() }

  var path: UnsafeMutablePointer<ngtcp2_path> {
    UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: ngtcp2_path.self)
  }

  func set(local: Endpoint, remote: Endpoint) {
    var from = culvert_endpoint(local)
    var to = culvert_endpoint(remote)
    culvert_path_set(pointer, &from, &to)
  }

  var endpoints: (local: Endpoint, remote: Endpoint)? { Self.endpoints(of: path) }

  static func endpoints(of path: UnsafePointer<ngtcp2_path>) -> (local: Endpoint, remote: Endpoint)? {
    var local = culvert_endpoint()
    var remote = culvert_endpoint()
    withUnsafePointer(to: path.pointee.local) { culvert_sockaddr_get($0, &local) }
    withUnsafePointer(to: path.pointee.remote) { culvert_sockaddr_get($0, &remote) }
    guard let ours = local.endpoint, let theirs = remote.endpoint else { return nil }
    return (ours, theirs)
  }
}

extension ngtcp2_cid {
  /// A random connection ID; `nil` when the system has no random bytes.
  static func random(length: Int, fill: (UnsafeMutableRawBufferPointer) -> Bool) -> ngtcp2_cid? {
    var cid = ngtcp2_cid()
    cid.datalen = min(length, Int(NGTCP2_MAX_CIDLEN))
    let filled = withUnsafeMutableBytes(of: &cid.data) { bytes in
      fill(UnsafeMutableRawBufferPointer(rebasing: bytes[..<cid.datalen]))
    }
    return filled ? cid : nil
  }
}
