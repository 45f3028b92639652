import CLinux
import Glibc
import Values

/// A network interface as the kernel describes it.
public struct Link: Hashable, Sendable {
  public let index: UInt32
  public let name: String
  /// In bytes.
  public let mtu: Int
  /// IFF_ flags.
  public let flags: UInt32
  /// ARPHRD_ of linux/if_arp.h.
  public let hardware: UInt16
  /// `tun`, `veth`; `nil` for devices of hardware.
  public let kind: String?

  /// Set up by the administrator.
  public var isUp: Bool { flags & UInt32(IFF_UP) != 0 }
  /// Up and able to carry: the peer of a veth is up, the cable is in.
  public var isRunning: Bool { flags & UInt32(IFF_RUNNING) != 0 }
  public var isLoopback: Bool { flags & UInt32(IFF_LOOPBACK) != 0 }
  /// Its packets have Ethernet's headers.
  public var isEthernet: Bool { hardware == 1 }

  init?(_ reply: NetlinkReply) {
    guard let index = reply.payload.number(at: 4, as: UInt32.self),
      let flags = reply.payload.number(at: 8, as: UInt32.self),
      let hardware = reply.payload.number(at: 2, as: UInt16.self)
    else { return nil }
    let attributes = reply.attributes(after: 16)
    guard let name = attributes.text(IFLA_IFNAME) else { return nil }
    self.index = index
    self.name = name
    self.flags = flags
    self.hardware = hardware
    mtu = Int(attributes.number(IFLA_MTU, as: UInt32.self) ?? 0)
    kind = attributes.nested(IFLA_LINKINFO)?.text(IFLA_INFO_KIND)
  }
}

/// Whose network namespace an interface goes to.
public enum NamespaceTarget: Sendable {
  /// A process that lives in it.
  case process(Int32)
  /// An open descriptor of `/proc/…/ns/net`.
  case descriptor(Int32)
}

extension NetlinkSocket {
  /// The interface of that name, `nil` when there is none.
  public func link(named name: String) throws(NetlinkError) -> Link? {
    guard name.utf8.count <= 15 else { return nil }
    var message = Self.linkMessage(RTM_GETLINK, flags: NLM_F_ACK, index: 0)
    message.attribute(IFLA_IFNAME, text: name)
    return try one(message, attempt: "look up interface \(name)")
  }

  /// The interface of that index, `nil` when there is none.
  public func link(index: UInt32) throws(NetlinkError) -> Link? {
    try one(Self.linkMessage(RTM_GETLINK, flags: NLM_F_ACK, index: index), attempt: "look up interface \(index)")
  }

  /// All interfaces of the namespace.
  public func links() throws(NetlinkError) -> [Link] {
    try dump(Self.linkMessage(RTM_GETLINK, flags: NLM_F_DUMP, index: 0), attempt: "list interfaces")
      .compactMap { $0.type == RTM_NEWLINK ? Link($0) : nil }
  }

  private func one(_ message: NetlinkMessage, attempt: String) throws(NetlinkError) -> Link? {
    do {
      return try query(message, attempt: attempt).lazy.compactMap { Link($0) }.first
    } catch  where error.isNotThere {
      return nil
    }
  }

  /// Creates two ends of a cable. Each end may be born in another namespace, so that nothing appears in this one.
  public func createVethPair(
    _ name: String, peer: String, namespace: NamespaceTarget? = nil, peerNamespace: NamespaceTarget? = nil
  ) throws(NetlinkError) {
    var message = Self.linkMessage(RTM_NEWLINK, flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, index: 0)
    message.attribute(IFLA_IFNAME, text: name)
    message.namespace(namespace)
    message.nested(IFLA_LINKINFO) { info in
      info.attribute(IFLA_INFO_KIND, Array("veth".utf8))
      info.nested(IFLA_INFO_DATA) { data in
        data.nested(1, flag: false) { peerInfo in  // VETH_INFO_PEER: a whole link message
          peerInfo.appendLinkHeader(index: 0, flags: 0, change: 0)
          peerInfo.attribute(IFLA_IFNAME, text: peer)
          peerInfo.namespace(peerNamespace)
        }
      }
    }
    try perform(message, attempt: "create the interfaces \(name) and \(peer)")
  }

  /// Deletes an interface; deleting one end of a veth pair deletes both.
  public func deleteLink(_ link: Link) throws(NetlinkError) {
    try perform(
      Self.linkMessage(RTM_DELLINK, flags: NLM_F_ACK, index: link.index), attempt: "delete interface \(link.name)")
  }

  public func setUp(_ link: Link, _ up: Bool = true) throws(NetlinkError) {
    let flag = UInt32(IFF_UP)
    var message = NetlinkMessage(type: UInt16(RTM_NEWLINK), flags: UInt16(NLM_F_ACK))
    message.appendLinkHeader(index: link.index, flags: up ? flag : 0, change: flag)
    try perform(message, attempt: "set interface \(link.name) \(up ? "up" : "down")")
  }

  public func rename(_ link: Link, to name: String) throws(NetlinkError) {
    var message = Self.linkMessage(RTM_NEWLINK, flags: NLM_F_ACK, index: link.index)
    message.attribute(IFLA_IFNAME, text: name)
    try perform(message, attempt: "rename interface \(link.name) to \(name)")
  }

  /// `mtu` in bytes.
  public func setMTU(_ link: Link, _ mtu: Int) throws(NetlinkError) {
    var message = Self.linkMessage(RTM_NEWLINK, flags: NLM_F_ACK, index: link.index)
    message.attribute(IFLA_MTU, host: UInt32(clamping: mtu))
    try perform(message, attempt: "set the mtu of \(link.name) to \(mtu)")
  }

  public func move(_ link: Link, to namespace: NamespaceTarget) throws(NetlinkError) {
    var message = Self.linkMessage(RTM_NEWLINK, flags: NLM_F_ACK, index: link.index)
    message.namespace(namespace)
    try perform(message, attempt: "move interface \(link.name) to another namespace")
  }

  /// Keeps the kernel from giving the interface an IPv6 link-local address of its own, and with it from sending
  /// router solicitations and multicast reports into a tunnel that has no use for them.
  public func disableLinkLocalAddress(_ link: Link) throws(NetlinkError) {
    var message = Self.linkMessage(RTM_NEWLINK, flags: NLM_F_ACK, index: link.index)
    message.nested(IFLA_AF_SPEC) { families in
      families.nested(AF_INET6) { $0.attribute(IFLA_INET6_ADDR_GEN_MODE, host: UInt8(IN6_ADDR_GEN_MODE_NONE.rawValue)) }
    }
    try perform(message, attempt: "switch off the link-local address of \(link.name)")
  }

  private static func linkMessage(_ type: Int, flags: Int32, index: UInt32) -> NetlinkMessage {
    var message = NetlinkMessage(type: UInt16(type), flags: UInt16(flags))
    message.appendLinkHeader(index: index, flags: 0, change: 0)
    return message
  }
}

extension NetlinkMessage {
  /// struct ifinfomsg.
  fileprivate mutating func appendLinkHeader(index: UInt32, flags: UInt32, change: UInt32) {
    append(UInt8(0))
    append(UInt8(0))
    append(UInt16(0))
    append(index)
    append(flags)
    append(change)
  }

  fileprivate mutating func namespace(_ target: NamespaceTarget?) {
    switch target {
    case .process(let id)?: attribute(IFLA_NET_NS_PID, host: UInt32(bitPattern: id))
    case .descriptor(let descriptor)?: attribute(IFLA_NET_NS_FD, host: UInt32(bitPattern: descriptor))
    case nil: break
    }
  }
}
