import CLinux
import Values

/// A socket of this network namespace that has a port, as the kernel lists it (sock_diag(7)).
public struct ListedSocket: Hashable, Sendable {
  public enum Transport: UInt8, Sendable, CaseIterable { case tcp = 6, udp = 17 }

  public let transport: Transport
  /// `::` for one that takes every address.
  public let address: IPAddress
  public let port: UInt16
  /// Of an IPv6 socket: whether it takes no IPv4. The kernel says so of those that listen.
  public let isIPv6Only: Bool
  /// By which a process that holds it is found: `/proc/PID/fd` has links to `socket:[INODE]`.
  public let inode: UInt32

  init?(_ reply: NetlinkReply, _ transport: Transport) {
    let message = reply.payload
    guard let code = message.number(at: 0, as: UInt8.self), let family = AddressFamily(netlinkCode: code),
      let port = message.number(at: 4, as: UInt16.self), let inode = message.number(at: 68, as: UInt32.self),
      message.count >= 72,
      let address = IPAddress(wireBytes: message.dropFirst(8).prefix(family == .ipv4 ? 4 : 16))
    else { return nil }
    self.transport = transport
    self.address = address
    self.port = UInt16(bigEndian: port)
    self.inode = inode
    isIPv6Only = reply.attributes(after: 72).number(Self.ipv6Only, as: UInt8.self) == 1
  }

  /// INET_DIAG_SKV6ONLY.
  private static let ipv6Only = 11
}

/// Looks at who has which port, without taking one.
public final class SocketTable {
  private let netlink: NetlinkSocket
  /// SOCK_DIAG_BY_FAMILY.
  private static let request: UInt16 = 20
  /// NETLINK_SOCK_DIAG.
  private static let diagnosis: Int32 = 4
  private static let listening: UInt32 = 1 << 10

  public init() throws(NetlinkError) {
    netlink = try NetlinkSocket(protocolNumber: Self.diagnosis, name: "the kernel's list of sockets")
  }

  /// TCP sockets that listen, and all UDP sockets.
  public func bound() throws(NetlinkError) -> [ListedSocket] {
    var found: [ListedSocket] = []
    for transport in ListedSocket.Transport.allCases {
      for family in AddressFamily.allCases {
        // struct inet_diag_req_v2: family, protocol, extensions, padding, states, and an identity of zeroes.
        var message = NetlinkMessage(type: Self.request, flags: UInt16(NLM_F_DUMP))
        message.append(family.netlinkCode)
        message.append(transport.rawValue)
        message.append(UInt16(0))
        message.append(transport == .tcp ? Self.listening : UInt32.max)
        for _ in 0..<6 { message.append(UInt64(0)) }
        found += try netlink.dump(message, attempt: "list \(family) sockets")
          .compactMap { $0.type == Self.request ? ListedSocket($0, transport) : nil }
      }
    }
    return found.filter { $0.port != 0 }
  }
}
