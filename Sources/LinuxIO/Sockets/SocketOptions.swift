import CLinux
import Glibc
import Values

/// What a file asks of a socket: the interface to leave by and the firewall mark (`interface`, `so_mark`).
public struct SocketOptions: Hashable, Sendable {
  /// An interface's name, or a local address to send from.
  public var interface: String?
  /// SO_MARK; 0 for none.
  public var mark: UInt32
  /// Bytes for SO_RCVBUF and SO_SNDBUF; 0 leaves the system's default.
  public var bufferSize: Int

  public init(interface: String? = nil, mark: UInt32 = 0, bufferSize: Int = 0) {
    self.interface = interface
    self.mark = mark
    self.bufferSize = bufferSize
  }

  func apply(to descriptor: Int32, family: AddressFamily) throws(SystemError) {
    if mark != 0 {
      guard culvert_set_option(descriptor, SOL_SOCKET, SO_MARK, Int32(bitPattern: mark)) == 0 else {
        throw SystemError("set so_mark \(mark)")
      }
    }
    if bufferSize > 0 {
      // The FORCE forms pass the system's limit and need CAP_NET_ADMIN; the plain ones take what the limit allows.
      let size = Int32(clamping: bufferSize)
      if culvert_set_option(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, size) != 0 {
        _ = culvert_set_option(descriptor, SOL_SOCKET, SO_RCVBUF, size)
      }
      if culvert_set_option(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, size) != 0 {
        _ = culvert_set_option(descriptor, SOL_SOCKET, SO_SNDBUF, size)
      }
    }
    guard let interface else { return }
    if let address = IPAddress(interface) {
      guard address.family == family else { return }
      var local = culvert_endpoint(Endpoint(address, port: 0), for: family)
      guard culvert_bind(descriptor, &local) == 0 else { throw SystemError("send from \(interface)") }
    } else {
      guard culvert_bind_to_device(descriptor, interface) == 0 else {
        throw SystemError("leave by interface \(interface)")
      }
    }
  }
}

/// A bound socket: kind 0 TCP, 1 UDP, 2 raw ICMP.
func boundSocket(kind: Int32, at local: Endpoint, options: SocketOptions, operation: String) throws(SystemError)
  -> Int32
{
  let descriptor = culvert_socket(local.family == .ipv4 ? 4 : 6, kind)
  guard descriptor >= 0 else { throw SystemError(operation) }
  do throws(SystemError) {
    try options.apply(to: descriptor, family: local.family)
    if kind == 0 { _ = culvert_set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) }
    if local.family == .ipv6, kind != 2 {
      _ = culvert_set_option(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, local.address.isUnspecified ? 0 : 1)
    }
    var address = culvert_endpoint(local, for: local.family)
    guard culvert_bind(descriptor, &address) == 0 else { throw SystemError(operation) }
  } catch {
    Glibc.close(descriptor)
    throw error
  }
  return descriptor
}
