import Values

/// The ICMP message that tells a host inside the tunnel what became of its packet: it does not fit ("fragmentation
/// needed" of RFC 792 with the next-hop MTU of RFC 1191, section 4; "packet too big" of RFC 4443, section 3.2), or there
/// is nobody who would take it ("host unreachable"; "address unreachable" of RFC 4443, section 3.1).
///
/// Whether to send one, and how often, is the caller's business: RFC 1812, section 4.3.2.8 and RFC 4443, section
/// 2.4 (f) ask for a limit, and IPv4 packets without DF may be fragmented instead. What must never be answered is
/// refused here: ICMP errors, fragments but the first, and packets whose source is no single host; otherwise two
/// routers could answer each other for ever.
public enum ICMPErrorReply {
  public enum Reason: Hashable, Sendable {
    /// The largest packet that fits, in bytes.
    case tooBig(mtu: Int)
    case unreachable
  }

  /// No reply is longer, in bytes: a buffer of this size always suffices.
  public static let maximumReply = 1_280

  /// RFC 1812, section 4.3.2.3: as much of the original as fits in 576 bytes.
  private static let maximumReplyIPv4 = 576
  /// RFC 8200, section 5: every IPv6 link takes it, and hosts ignore a smaller MTU (RFC 8201, section 4).
  private static let minimumMTUIPv6 = 1_280
  private static let icmpHeader = 8
  private static let hopLimit: UInt8 = 64
  /// Precedence "internetwork control" (RFC 1812, section 4.3.2.5).
  private static let typeOfService: UInt8 = 0xC0

  /// Writes the reply to `packet`, from the address of this end of the tunnel, and returns its length; `nil` when the
  /// packet must not be answered, the families differ, or the room is too small.
  public static func write(
    _ reason: Reason, answering packet: UnsafeRawBufferPointer, from router: IPAddress,
    to room: UnsafeMutableRawBufferPointer
  ) -> Int? {
    guard let view = try? IPPacketView(packet), mayAnswer(view, reason), router.family == view.family,
      let reply = room.baseAddress
    else { return nil }
    switch (router, view.source) {
    case (.v4(let from), .v4(let to)): return writeIPv4(view, reason, from: from, to: to, reply, room.count)
    case (.v6(let from), .v6(let to)): return writeIPv6(view, reason, from: from, to: to, reply, room.count)
    default: return nil
    }
  }

  private static func writeIPv4(
    _ view: IPPacketView, _ reason: Reason, from: UInt32, to: UInt32, _ reply: UnsafeMutableRawPointer, _ room: Int
  ) -> Int? {
    let header = IPField.v4Header
    let quoted = min(view.totalLength, maximumReplyIPv4 &- header &- icmpHeader)
    let total = header &+ icmpHeader &+ quoted
    guard total <= room else { return nil }
    reply.initializeMemory(as: UInt8.self, repeating: 0, count: header &+ icmpHeader)
    reply.store(UInt8(0x45), at: 0)
    reply.store(typeOfService, at: 1)
    reply.store(UInt16(truncatingIfNeeded: total), at: IPField.v4TotalLength)
    reply.store(UInt16(0x4000), at: IPField.v4Fragment)
    reply.store(hopLimit, at: IPField.v4TimeToLive)
    reply.store(ProtocolNumber.icmp, at: IPField.v4Protocol)
    reply.store(from, at: IPField.v4Source)
    reply.store(to, at: IPField.v4Destination)
    var networkSum = InternetChecksum()
    networkSum.add(UnsafeRawPointer(reply).bytes(0, header))
    reply.store(networkSum.value, at: IPField.v4Checksum)
    let icmp = reply + header
    // Destination unreachable: fragmentation needed and DF set, or the host.
    icmp.store(UInt8(3), at: 0)
    switch reason {
    case .tooBig(let mtu):
      icmp.store(UInt8(4), at: 1)
      icmp.store(UInt16(clamping: mtu), at: 6)
    case .unreachable: icmp.store(UInt8(1), at: 1)
    }
    (icmp + icmpHeader).copyMemory(from: view.base, byteCount: quoted)
    var sum = InternetChecksum()
    sum.add(UnsafeRawPointer(icmp).bytes(0, icmpHeader &+ quoted))
    icmp.store(sum.value, at: 2)
    return total
  }

  private static func writeIPv6(
    _ view: IPPacketView, _ reason: Reason, from: UInt128, to: UInt128, _ reply: UnsafeMutableRawPointer, _ room: Int
  ) -> Int? {
    let header = IPField.v6Header
    let quoted = min(view.totalLength, maximumReply &- header &- icmpHeader)
    let total = header &+ icmpHeader &+ quoted
    guard total <= room else { return nil }
    reply.initializeMemory(as: UInt8.self, repeating: 0, count: header &+ icmpHeader)
    reply.store(UInt8(0x60), at: 0)
    reply.store(UInt16(truncatingIfNeeded: icmpHeader &+ quoted), at: IPField.v6PayloadLength)
    reply.store(ProtocolNumber.icmp6, at: IPField.v6NextHeader)
    reply.store(hopLimit, at: IPField.v6HopLimit)
    reply.store(from, at: IPField.v6Source)
    reply.store(to, at: IPField.v6Destination)
    let icmp = reply + header
    switch reason {
    case .tooBig(let mtu):
      icmp.store(UInt8(2), at: 0)
      icmp.store(UInt32(clamping: max(mtu, minimumMTUIPv6)), at: 4)
    case .unreachable:
      icmp.store(UInt8(1), at: 0)
      icmp.store(UInt8(3), at: 1)
    }
    (icmp + icmpHeader).copyMemory(from: view.base, byteCount: quoted)
    var sum = TransportChecksum.pseudoHeader(
      UnsafeRawPointer(reply), isIPv4: false, protocolNumber: ProtocolNumber.icmp6)
    sum.add(UInt16(truncatingIfNeeded: icmpHeader &+ quoted))
    sum.add(UnsafeRawPointer(icmp).bytes(0, icmpHeader &+ quoted))
    icmp.store(sum.value, at: 2)
    return total
  }

  /// RFC 1122, section 3.2.2 and RFC 4443, section 2.4 (e).
  private static func mayAnswer(_ view: IPPacketView, _ reason: Reason) -> Bool {
    let source = view.source
    guard !source.isUnspecified, !source.isMulticast, let upper = view.upperLayer, upper.fragmentOffset == 0 else {
      return false
    }
    switch (source, view.destination) {
    case (.v4(let from), .v4(let to)):
      // No loopback, class E or broadcast source, no broadcast or multicast destination.
      if from >> 24 == 127 || from >> 28 == 0xF || from >> 24 == 0 || to >> 28 >= 0xE { return false }
      guard upper.protocolNumber == ProtocolNumber.icmp else { return true }
      guard view.totalLength > upper.offset else { return false }
      let type = view.base.byte(upper.offset)
      // Unreachable, source quench, redirect, time exceeded, parameter problem.
      return ![3, 4, 5, 11, 12].contains(type)
    default:
      // Multicast destinations are told of a size alone: path MTU discovery works for them too.
      if source == .v6(1) || view.destination.isMulticast && reason == .unreachable { return false }
      guard upper.protocolNumber == ProtocolNumber.icmp6 else { return true }
      guard view.totalLength > upper.offset else { return false }
      let type = view.base.byte(upper.offset)
      return type >= 128 && type != 137
    }
  }
}
