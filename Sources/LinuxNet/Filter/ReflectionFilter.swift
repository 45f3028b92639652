import CLinux
import Glibc
import ICMPEnvelope
import Values

/// Stops the kernel from answering our own echo requests.
///
/// A server that speaks in ICMP echo messages has a rival: the kernel, which answers each request with the same bytes,
/// so that a whole upload comes back as noise. A request of ours is told from an ordinary ping by the envelope inside
/// it: its data begins with "GOST" and flags of zero. One rule a family concerns exactly these, so the host's own ping
/// keeps working.
///
/// There are two ways, and the first that the kernel takes is used. **Quietly**: the rule stands at the very end of
/// the way in, behind every firewall, and changes the message's type into one for experiments. Our socket takes both
/// types; the kernel discards in silence what it does not know. On the wire nothing changes. This saves the kernel the
/// making of an answer, a tenth of all the work of an ICMP tunnel. **By dropping**: the rule stands at the beginning
/// of the way out and drops the kernel's copy of a request; a reply of ours has the acknowledgement flag and passes.
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
  public let way: Way

  public enum Way: Sendable {
    /// Requests lose their type on the way in.
    case quietly
    /// The kernel's answers are dropped on the way out.
    case dropping
  }

  private let socket: NetlinkSocket
  private var isPresent = true

  /// Installs the rules. An error means that nothing was installed: the caller may go on with a warning, because
  /// reflected packets cost bandwidth and nothing else.
  ///
  /// - Parameter preferred: the way to try first.
  public init(families: Set<AddressFamily>, preferred: Way = .quietly) throws(NetlinkError) {
    self.families = families
    let socket = try NetlinkSocket(protocolNumber: NETLINK_NETFILTER, name: "the kernel's packet filter socket")
    self.socket = socket
    let base = "culvert_\(getpid())"
    var number = 1
    var owned = true
    var way = preferred
    while true {
      let name = number == 1 ? base : "\(base)_\(number)"
      do {
        try Self.install(socket, name, families, way, owned: owned)
        table = name
        isOwned = owned
        self.way = way
        return
      } catch  where number < 16 && Self.isNameTaken(error) {
        number += 1
      } catch  where owned && (error.code == EINVAL || error.code == EOPNOTSUPP) {
        owned = false
      } catch  where way == .quietly && !error.isMissingPrivilege {
        way = .dropping
        owned = true
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

  /// How many echo replies of the kernel were spared or stopped.
  public func stoppedPackets() throws(NetlinkError) -> UInt64 {
    try socket.dump(Nftables.getRules(table: table), attempt: "read the counters of \(table)")
      .reduce(0) { $0 &+ (Nftables.packets(in: $1) ?? 0) }
  }

  /// The rules as `nft list table inet …` would show them, for the user to read before or after.
  public var text: String { Self.text(table: table, families: families, way) }

  /// The same on one line, which `nft` takes as well.
  public var line: String { Self.line(text) }

  public static func line(_ text: String) -> String {
    text.split(separator: "\n").map { line in
      let words = line.drop { $0 == " " }
      return words.last == "{" || words.last == "}" || words.last == ";" ? words : words + ";"
    }.joined(separator: " ")
  }

  public static func text(table: String, families: Set<AddressFamily>, _ way: Way) -> String {
    let rules = families.sorted { $0.rawValue < $1.rawValue }.map { family in
      let type = family == .ipv4 ? "icmp" : "icmpv6"
      // The fields after the 8-byte header: "GOST", then flags of zero.
      let data = "@th,64,48 0x474f53540000 counter"
      return switch way {
      case .quietly: "    \(type) type echo-request \(data) \(type) type set \(Envelope.quietRequestType(family))\n"
      case .dropping: "    \(type) type echo-reply \(data) drop\n"
      }
    }
    let (chain, priority) = way == .quietly ? ("input", "\(lastPriority)") : ("output", "raw")
    return """
      table inet \(table) {
        chain \(chain) {
          type filter hook \(chain) priority \(priority); policy accept;
      \(rules.joined())  }
      }
      """
  }

  /// Behind every filter, mangling and security table; only connection tracking comes later.
  private static let lastPriority: Int32 = 250

  /// A table that another socket owns may not even be looked at, which is told as a missing privilege.
  private static func isNameTaken(_ error: NetlinkError) -> Bool {
    error.isAlreadyThere || (error.isMissingPrivilege && Capabilities.current().canAdministerNetwork)
  }

  private static func install(
    _ socket: NetlinkSocket, _ table: String, _ families: Set<AddressFamily>, _ way: Way, owned: Bool
  ) throws(NetlinkError) {
    var messages = [Nftables.batchBegin(), Nftables.newTable(table, owned: owned)]
    let chain = way == .quietly ? "input" : "output"
    messages.append(
      way == .quietly
        ? Nftables.newChain(chain, table: table, hook: Nftables.localIn, priority: lastPriority)
        : Nftables.newChain(chain, table: table, hook: Nftables.localOut, priority: -300))
    for family in families.sorted(by: { $0.rawValue < $1.rawValue }) {
      let protocolNumber: UInt8 = family == .ipv4 ? 1 : 58
      let direction: Envelope.Direction = way == .quietly ? .request : .reply
      let verdict: [Nftables.Expression] =
        switch way {
        case .quietly:
          [.load([Envelope.quietRequestType(family)]), .storeTransport(offset: 0, length: 1, checksumOffset: 2)]
        case .dropping: [.drop]
        }
      messages.append(
        Nftables.newRule(
          table: table, chain: chain,
          [
            .loadFamily, .equals([family.netlinkCode]),
            .loadProtocol, .equals([protocolNumber]),
            .loadTransport(offset: 0, length: 1), .equals([direction.messageType(family)]),
            .loadTransport(offset: 8, length: 6), .equals(Array("GOST".utf8) + [0, 0]),
            .counter,
          ] + verdict))
    }
    messages.append(Nftables.batchEnd())
    try socket.performTogether(
      messages, silent: [0, messages.count - 1], attempt: "install the packet filter table \(table)")
  }
}
