import CLinux
import Glibc
import Values

/// Stops the kernel from answering our own echo requests.
///
/// A server that speaks in ICMP echo messages has a rival: the kernel, which answers each request with the same bytes,
/// so that a whole upload comes back as noise. These answers are told from ours by the envelope inside them: a reply
/// of ours has the acknowledgement flag, the kernel's copy of a request has not. One rule a family drops exactly the
/// outgoing echo replies whose data begins with "GOST" and flags of zero. An ordinary ping has other data, so the
/// host's own ping keeps working, and nothing that comes in is touched.
///
/// The rules stand in a table of their own, which belongs to a netlink socket (NFT_TABLE_F_OWNER, Linux 5.12): the
/// kernel removes it when that socket closes, however the process ends, and no other program may change it. On an
/// older kernel the table has no owner and only `remove()` takes it away.
public final class ReflectionFilter {
  /// The name of the table, `culvert_4711`.
  public let table: String
  public let families: Set<AddressFamily>
  /// Whether the kernel removes the table when this process dies.
  public let isOwned: Bool

  private let socket: NetlinkSocket
  private var isPresent = true

  /// Installs the rules. An error means that nothing was installed: the caller may go on with a warning, because
  /// reflected packets cost bandwidth and nothing else.
  public init(families: Set<AddressFamily>) throws(NetlinkError) {
    self.families = families
    let socket = try NetlinkSocket(protocolNumber: NETLINK_NETFILTER, name: "the kernel's packet filter socket")
    self.socket = socket
    let base = "culvert_\(getpid())"
    var number = 1
    var owned = true
    while true {
      let name = number == 1 ? base : "\(base)_\(number)"
      do {
        try Self.install(socket, name, families, owned: owned)
        table = name
        isOwned = owned
        return
      } catch  where number < 16 && Self.isNameTaken(error) {
        number += 1
      } catch  where owned && (error.code == EINVAL || error.code == EOPNOTSUPP) {
        owned = false
      }
    }
  }

  deinit { remove() }

  /// Takes the rules away.
  public func remove() {
    guard isPresent else { return }
    isPresent = false
    // Should this fail, closing the socket removes an owned table.
    try? socket.performTogether(
      [Nftables.batchBegin(), Nftables.deleteTable(table), Nftables.batchEnd()], silent: [0, 2],
      attempt: "remove the packet filter table \(table)")
  }

  /// How many echo replies of the kernel were stopped.
  public func stoppedPackets() throws(NetlinkError) -> UInt64 {
    try socket.dump(Nftables.getRules(table: table), attempt: "read the counters of \(table)")
      .reduce(0) { $0 &+ (Nftables.packets(in: $1) ?? 0) }
  }

  /// The rules as `nft list table inet …` would show them, for the user to read before or after.
  public var text: String { Self.text(table: table, families: families) }

  public static func text(table: String, families: Set<AddressFamily>) -> String {
    let rules = families.sorted { $0.rawValue < $1.rawValue }.map { family in
      let type = family == .ipv4 ? "icmp" : "icmpv6"
      // The fields after the 8-byte header: "GOST", then flags of zero.
      return "    \(type) type echo-reply @th,64,48 0x474f53540000 counter drop\n"
    }
    return """
      table inet \(table) {
        chain output {
          type filter hook output priority raw; policy accept;
      \(rules.joined())  }
      }
      """
  }

  /// A table that another socket owns may not even be looked at, which is told as a missing privilege.
  private static func isNameTaken(_ error: NetlinkError) -> Bool {
    error.isAlreadyThere || (error.isMissingPrivilege && Capabilities.current().canAdministerNetwork)
  }

  private static func install(
    _ socket: NetlinkSocket, _ table: String, _ families: Set<AddressFamily>, owned: Bool
  ) throws(NetlinkError) {
    var messages = [
      Nftables.batchBegin(),
      Nftables.newTable(table, owned: owned),
      Nftables.newChain("output", table: table, hook: Nftables.localOut, priority: -300),
    ]
    for family in families.sorted(by: { $0.rawValue < $1.rawValue }) {
      let (protocolNumber, echoReply): (UInt8, UInt8) = family == .ipv4 ? (1, 0) : (58, 129)
      messages.append(
        Nftables.newRule(
          table: table, chain: "output",
          [
            .loadFamily, .equals([family.netlinkCode]),
            .loadProtocol, .equals([protocolNumber]),
            .loadTransport(offset: 0, length: 1), .equals([echoReply]),
            .loadTransport(offset: 8, length: 6), .equals(Array("GOST".utf8) + [0, 0]),
            .counter, .drop,
          ]))
    }
    messages.append(Nftables.batchEnd())
    try socket.performTogether(
      messages, silent: [0, messages.count - 1], attempt: "install the packet filter table \(table)")
  }
}
