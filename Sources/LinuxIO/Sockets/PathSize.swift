import CLinux
import Glibc
@_spi(SocketLayer) import Values

/// The largest payload of UDP that reaches an endpoint in one piece, bytes, by what the kernel knows of the way there
/// now; `nil` where it knows none. It is asked by a socket that sends nothing.
public func largestDatagram(to remote: Endpoint) -> Int? {
  let address = remote.address.canonical
  let descriptor = culvert_socket(address.family == .ipv4 ? 4 : 6, 1)
  guard descriptor >= 0 else { return nil }
  defer { Glibc.close(descriptor) }
  var to = culvert_endpoint(Endpoint(address, port: remote.port, scope: remote.scope), for: address.family)
  guard culvert_connect(descriptor, &to) == 0 else { return nil }
  return wholePayload(of: descriptor, address.family, header: 8)
}
