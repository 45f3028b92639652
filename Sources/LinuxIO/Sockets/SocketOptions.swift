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
  /// Probes on idle TCP connections; `nil` for none.
  public var keepalive: TCPKeepalive?
  /// Whether other sockets of this user may have the same port: connections from the port of a listener.
  public var sharesPort = false
  /// The address and port to connect from.
  public var source: Endpoint?

  public init(interface: String? = nil, mark: UInt32 = 0, bufferSize: Int = 0, keepalive: TCPKeepalive? = nil) {
    self.interface = interface
    self.mark = mark
    self.bufferSize = bufferSize
    self.keepalive = keepalive
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
    if sharesPort {
      _ = culvert_set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
      _ = culvert_set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1)
    }
    if let source {
      var local = culvert_endpoint(source, for: family)
      guard culvert_bind(descriptor, &local) == 0 else { throw SystemError("send from \(source)") }
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

/// Probes that find out whether the other end of an idle TCP connection is still there (RFC 9293, section 3.8.4). The
/// defaults are those of Go's runtime, hence GOST's.
public struct TCPKeepalive: Hashable, Sendable {
  /// Silence before the first probe, at least a second.
  public var idle: TimeSpan
  /// Between probes, at least a second.
  public var interval: TimeSpan
  /// Unanswered probes before the connection is given up.
  public var count: Int

  public init(idle: TimeSpan = .seconds(15), interval: TimeSpan = .seconds(15), count: Int = 9) {
    self.idle = idle
    self.interval = interval
    self.count = count
  }

  /// Failure is not worth a word: without probes the connection works as well, only longer when it is dead.
  func apply(to descriptor: Int32) {
    _ = culvert_set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    _ = culvert_set_option(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, Self.seconds(idle))
    _ = culvert_set_option(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, Self.seconds(interval))
    _ = culvert_set_option(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, Int32(clamping: max(1, min(count, 127))))
    // Data in flight is subject to the same patience as silence is.
    let patience = Int64(Self.seconds(idle)) + Int64(Self.seconds(interval)) * Int64(count)
    _ = culvert_set_option(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: patience * 1000))
  }

  private static func seconds(_ span: TimeSpan) -> Int32 {
    Int32(clamping: max(1, min(span.nanoseconds / 1_000_000_000, 32_767)))
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
