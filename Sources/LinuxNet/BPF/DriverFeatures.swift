import CLinux

/// What an interface's driver can do for programs (XDP), as the kernel tells since Linux 6.3 (its netlink family
/// `netdev`, of which the specification is Documentation/netlink/specs/netdev.yaml).
struct DriverFeatures: OptionSet {
  let rawValue: UInt64

  /// Runs programs and does what they say.
  static let basic = DriverFeatures(rawValue: 1 << 0)
  /// Sends what programs of other interfaces hand to it. For one end of a virtual pair: the other end takes it.
  static let sendsForOthers = DriverFeatures(rawValue: 1 << 2)

  /// Of an interface of the calling thread's network namespace; `nil` when the kernel does not tell.
  static func of(interface: UInt32) -> DriverFeatures? {
    do {
      let socket = try NetlinkSocket(protocolNumber: 16, name: "the kernel's generic netlink socket")
      var question = NetlinkMessage(type: 0x10, flags: UInt16(NLM_F_ACK))
      question.append(genericHeader: 3)  // CTRL_CMD_GETFAMILY
      question.attribute(2, text: "netdev")  // CTRL_ATTR_FAMILY_NAME
      let families = try socket.query(question, attempt: "look up what drivers can do")
      guard let family = families.lazy.compactMap({ $0.attributes(after: 4).number(1, as: UInt16.self) }).first else {
        return nil
      }
      question = NetlinkMessage(type: family, flags: UInt16(NLM_F_ACK))
      question.append(genericHeader: 1)  // NETDEV_CMD_DEV_GET
      question.attribute(1, host: interface)  // NETDEV_A_DEV_IFINDEX
      let devices = try socket.query(question, attempt: "look up what drivers can do")
      return devices.lazy.compactMap { $0.attributes(after: 4).number(3, as: UInt64.self) }.first
        .map { DriverFeatures(rawValue: $0) }
    } catch {
      return nil
    }
  }
}

extension NetlinkMessage {
  /// `struct genlmsghdr`.
  fileprivate mutating func append(genericHeader command: UInt8) {
    append(command)
    append(UInt8(1))
    append(UInt16(0))
  }
}
