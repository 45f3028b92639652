import CLinux
import Values

/// An address on an interface.
public struct InterfaceAddress: Hashable, Sendable {
  /// The address with the length of its network.
  public let prefix: IPPrefix
  /// The interface's index.
  public let device: UInt32
  /// The far end of a point-to-point link, where one was given.
  public let peer: IPAddress?

  init?(_ reply: NetlinkReply) {
    guard let length = reply.payload.number(at: 1, as: UInt8.self),
      let device = reply.payload.number(at: 4, as: UInt32.self)
    else { return nil }
    let attributes = reply.attributes(after: 8)
    // On IPv4 point-to-point links ADDRESS is the peer and LOCAL ours; on IPv6 LOCAL is there only with a peer.
    let first = attributes.address(IFA_ADDRESS)
    let local = attributes.address(IFA_LOCAL)
    guard let address = local ?? first, let prefix = IPPrefix(address: address, length: Int(length)) else { return nil }
    self.prefix = prefix
    self.device = device
    peer = local != nil && first != local ? first : nil
  }
}

extension NetlinkSocket {
  /// Adds an address; the kernel adds the route to its network. IPv6 addresses skip duplicate detection, because a
  /// tunnel and a lab cable have nobody to ask and traffic should not wait a second for it.
  public func addAddress(_ prefix: IPPrefix, peer: IPAddress? = nil, to link: Link) throws(NetlinkError) {
    try changeAddress(
      RTM_NEWADDR, flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, prefix, peer, link,
      attempt: "add \(prefix) to \(link.name)")
  }

  public func removeAddress(_ prefix: IPPrefix, from link: Link) throws(NetlinkError) {
    try changeAddress(RTM_DELADDR, flags: NLM_F_ACK, prefix, nil, link, attempt: "remove \(prefix) from \(link.name)")
  }

  /// The addresses of an interface, or of all.
  public func addresses(of link: Link? = nil) throws(NetlinkError) -> [InterfaceAddress] {
    var message = NetlinkMessage(type: UInt16(RTM_GETADDR), flags: UInt16(NLM_F_DUMP))
    message.appendAddressHeader(family: 0, length: 0, flags: 0, device: 0)
    return try dump(message, attempt: "list addresses")
      .compactMap { $0.type == RTM_NEWADDR ? InterfaceAddress($0) : nil }
      .filter { link == nil || $0.device == link?.index }
  }

  private func changeAddress(
    _ type: Int, flags: Int32, _ prefix: IPPrefix, _ peer: IPAddress?, _ link: Link, attempt: String
  ) throws(NetlinkError) {
    var message = NetlinkMessage(type: UInt16(type), flags: UInt16(flags))
    let isIPv6 = prefix.family == .ipv6
    message.appendAddressHeader(
      family: prefix.family.netlinkCode, length: UInt8(prefix.length), flags: isIPv6 ? UInt8(IFA_F_NODAD) : 0,
      device: link.index)
    message.attribute(IFA_LOCAL, address: prefix.address)
    message.attribute(IFA_ADDRESS, address: peer ?? prefix.address)
    if case .v4(let bits) = prefix.address, type == RTM_NEWADDR, prefix.length < 31, peer == nil {
      message.attribute(IFA_BROADCAST, address: .v4(bits | (UInt32.max >> UInt32(prefix.length))))
    }
    try perform(message, attempt: attempt)
  }
}

extension NetlinkMessage {
  /// struct ifaddrmsg.
  fileprivate mutating func appendAddressHeader(family: UInt8, length: UInt8, flags: UInt8, device: UInt32) {
    append(family)
    append(length)
    append(flags)
    append(UInt8(0))
    append(device)
  }
}
