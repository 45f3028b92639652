import CLinux
import Glibc
import Values

/// A firewall on a cable: what arrives by an interface and is of one of these protocols disappears without a word, before
/// this host or another one behind it gets it. The lab plays networks with it that let some protocols through only.
///
/// The table belongs to the filter's netlink socket, so that it goes with the process (see `ReflectionFilter`).
public final class LinkFilter {
  /// What is dropped. The numbers are those of IP's protocol field (IANA).
  public enum Dropped: String, CaseIterable, Sendable {
    case tcp, udp, icmp, icmp6

    var number: UInt8 {
      switch self {
      case .tcp: 6
      case .udp: 17
      case .icmp: 1
      case .icmp6: 58
      }
    }
  }

  private let socket: NetlinkSocket

  /// - Parameter interface: its name; it may come later.
  public init(interface: String, drops: [Dropped]) throws(NetlinkError) {
    socket = try NetlinkSocket(protocolNumber: NETLINK_NETFILTER, name: "the kernel's packet filter socket")
    let table = "culvert_link_\(interface)"
    // The kernel compares the name in a register of 16 bytes.
    let name = Array(interface.utf8.prefix(15)) + [UInt8](repeating: 0, count: 16 - min(15, interface.utf8.count))
    var messages = [
      Nftables.batchBegin(), Nftables.newTable(table, owned: true),
      Nftables.newChain("prerouting", table: table, hook: Nftables.preRouting, priority: -300),
    ]
    for dropped in drops {
      messages.append(
        Nftables.newRule(
          table: table, chain: "prerouting",
          [.loadArrival, .equals(name), .loadProtocol, .equals([dropped.number]), .counter, .drop]))
    }
    messages.append(Nftables.batchEnd())
    try socket.performTogether(
      messages, silent: [0, messages.count - 1], attempt: "install the packet filter table \(table)")
  }
}
