import CLinux
import Glibc
import Values

/// What changed in the host's network.
public enum NetworkChange: Hashable, Sendable {
  case link(Link)
  case linkGone(Link)
  case address(InterfaceAddress)
  case addressGone(InterfaceAddress)
  case route(Route)
  case routeGone(Route)
  /// The kernel had more to say than the socket could hold: whatever was derived from changes must be read anew.
  case missed
}

/// A descriptor that becomes readable when links, addresses or routes change.
///
/// It belongs to an event loop: wait for the descriptor to be readable, then take all with `changes()`.
public final class NetlinkMonitor {
  /// Nonblocking, owned by the monitor.
  public let descriptor: Int32
  private var buffer = [UInt8](repeating: 0, count: 1 << 16)

  public init() throws(NetlinkError) {
    let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE
    descriptor = culvert_netlink_open(NETLINK_ROUTE, UInt32(groups), 1)
    if descriptor < 0 { throw NetlinkError(attempt: "watch the host's network", code: -descriptor) }
  }

  deinit { close(descriptor) }

  /// All changes that wait now; empty when there are none.
  public func changes() -> [NetworkChange] {
    var changes: [NetworkChange] = []
    while true {
      let count = culvert_netlink_receive(descriptor, &buffer, buffer.count)
      if count == -Int(ENOBUFS) || count == -Int(EMSGSIZE) {
        changes.append(.missed)
        continue
      }
      guard count > 0 else { return changes }
      changes += NetlinkReply.parse(ArraySlice(Array(buffer.prefix(count)))).compactMap(Self.change)
    }
  }

  private static func change(_ reply: NetlinkReply) -> NetworkChange? {
    switch Int(reply.type) {
    case RTM_NEWLINK: Link(reply).map { .link($0) }
    case RTM_DELLINK: Link(reply).map { .linkGone($0) }
    case RTM_NEWADDR: InterfaceAddress(reply).map { .address($0) }
    case RTM_DELADDR: InterfaceAddress(reply).map { .addressGone($0) }
    case RTM_NEWROUTE: Route(reply).map { .route($0) }
    case RTM_DELROUTE: Route(reply).map { .routeGone($0) }
    default: nil
    }
  }
}
