import CLinux
import Values

/// A policy routing rule: packets with a mark look in a table of their own.
public struct RoutingRule: Hashable, Sendable {
  public var family: AddressFamily
  /// The mark that packets carry (SO_MARK), 0 for no condition.
  public var mark: UInt32
  public var mask: UInt32
  /// Applies to the packets that do *not* match.
  public var inverted: Bool
  /// The table that is looked up.
  public var table: UInt32
  /// Rules are asked from the smallest; `nil` puts it before all others but the local table.
  public var priority: UInt32?
  /// Ignores routes of the table whose prefix is this long or shorter: 0 skips a default route.
  public var suppressedPrefixLength: UInt32?

  public init(
    family: AddressFamily, mark: UInt32 = 0, mask: UInt32 = .max, inverted: Bool = false, table: UInt32,
    priority: UInt32? = nil, suppressedPrefixLength: UInt32? = nil
  ) {
    self.family = family
    self.mark = mark
    self.mask = mask
    self.inverted = inverted
    self.table = table
    self.priority = priority
    self.suppressedPrefixLength = suppressedPrefixLength
  }
}

extension RoutingRule: CustomStringConvertible {
  public var description: String {
    var text = inverted ? "not " : ""
    if mark != 0 { text += "fwmark 0x\(String(mark, radix: 16)) " }
    text += "lookup \(table)"
    if let suppressedPrefixLength { text += " suppress_prefixlength \(suppressedPrefixLength)" }
    if let priority { text += " priority \(priority)" }
    return text
  }
}

extension NetlinkSocket {
  public func addRule(_ rule: RoutingRule) throws(NetlinkError) {
    try change(
      rule, type: RTM_NEWRULE, flags: NLM_F_CREATE | NLM_F_EXCL, attempt: "add the \(rule.family) rule \(rule)")
  }

  public func deleteRule(_ rule: RoutingRule) throws(NetlinkError) {
    try change(rule, type: RTM_DELRULE, flags: 0, attempt: "delete the \(rule.family) rule \(rule)")
  }

  /// The rules that look at marks: the mark and its mask, and whether they concern the packets without it.
  public func markRules(
    _ family: AddressFamily
  ) throws(NetlinkError) -> [(mark: UInt32, mask: UInt32, isInverted: Bool)] {
    var message = NetlinkMessage(type: UInt16(RTM_GETRULE), flags: UInt16(NLM_F_DUMP))
    // struct fib_rule_hdr
    message.append(family.netlinkCode)
    for _ in 0..<11 { message.append(UInt8(0)) }
    return try dump(message, attempt: "list \(family) rules").compactMap { reply in
      let attributes = reply.attributes(after: 12)
      guard reply.type == RTM_NEWRULE, let mark = attributes.number(FRA_FWMARK, as: UInt32.self) else { return nil }
      let flags = reply.payload.number(at: 8, as: UInt32.self) ?? 0
      return (mark, attributes.number(FRA_FWMASK, as: UInt32.self) ?? .max, flags & 2 != 0)
    }
  }

  private func change(_ rule: RoutingRule, type: Int, flags: Int32, attempt: String) throws(NetlinkError) {
    var message = NetlinkMessage(type: UInt16(type), flags: UInt16(flags | NLM_F_ACK))
    // struct fib_rule_hdr
    message.append(rule.family.netlinkCode)
    for _ in 0..<3 { message.append(UInt8(0)) }
    message.append(rule.table < 256 ? UInt8(rule.table) : 0)
    message.append(UInt16(0))
    message.append(UInt8(1))  // FR_ACT_TO_TBL
    message.append(UInt32(rule.inverted ? 2 : 0))  // FIB_RULE_INVERT
    message.attribute(FRA_TABLE, host: rule.table)
    if rule.mark != 0 {
      message.attribute(FRA_FWMARK, host: rule.mark)
      message.attribute(FRA_FWMASK, host: rule.mask)
    }
    if let priority = rule.priority { message.attribute(FRA_PRIORITY, host: priority) }
    if let length = rule.suppressedPrefixLength { message.attribute(FRA_SUPPRESS_PREFIXLEN, host: length) }
    try perform(message, attempt: attempt)
  }
}
