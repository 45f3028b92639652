import Values

/// What the coalescer needs to know about one packet, found in one look at its headers.
///
/// Only the plain cases are candidates: no IPv4 options, no IPv6 extension headers, no fragments, TCP with data and
/// with no flag but ACK and PSH, UDP with data and a checksum. All else passes on alone, but it still matters which
/// flow it belongs to: what follows it in that flow must not be merged with what went before it, or it would be
/// overtaken.
///
/// Safety: `classify` checks every offset against the packet's length before reading there; the comparisons with the
/// head of a run read only headers that `classify` has found complete in both.
struct FlowSegment {
  enum Role {
    /// Not an IP packet or cut short.
    case malformed
    /// Belongs to no flow that is ever merged.
    case stranger
    /// Might belong to any flow between two hosts: a fragment, or unreadable extension headers.
    case anyFlow
    /// Belongs to a TCP or UDP flow and must stay as it is.
    case barrier
    /// May be merged.
    case candidate
  }

  var role = Role.stranger
  var isIPv4 = true
  var isTCP = true
  let base: UnsafeRawPointer
  let length: Int
  var transport = 0
  var headers = 0
  var payload = 0

  @inline(__always)
  init(_ packet: UnsafeRawBufferPointer) {
    base = packet.baseAddress ?? UnsafeRawPointer(bitPattern: 1).unsafelyUnwrapped
    length = packet.count
    role = classify()
  }

  var kind: Run.Kind { isTCP ? (isIPv4 ? .tcp4 : .tcp6) : (isIPv4 ? .udp4 : .udp6) }

  @inline(__always)
  private mutating func classify() -> Role {
    // 28 and 48 bytes: an IP header and what both TCP and UDP have at least.
    if length >= IPField.v4Header &+ UDPField.header, base.byte(0) == 0x45 {
      guard Int(base.number16(IPField.v4TotalLength)) == length,
        base.number16(IPField.v4Fragment) & 0xBFFF == 0
      else { return classifySlowly() }
      transport = IPField.v4Header
      return classifyTransport(base.byte(IPField.v4Protocol))
    }
    if length >= IPField.v6Header &+ UDPField.header, base.byte(0) >> 4 == 6 {
      guard IPField.v6Header &+ Int(base.number16(IPField.v6PayloadLength)) == length else { return classifySlowly() }
      let next = base.byte(IPField.v6NextHeader)
      guard next == ProtocolNumber.tcp || next == ProtocolNumber.udp || next == ProtocolNumber.icmp6 else {
        return classifySlowly()
      }
      isIPv4 = false
      transport = IPField.v6Header
      return classifyTransport(next)
    }
    return classifySlowly()
  }

  /// With `transport` known, and 8 bytes behind it.
  @inline(__always)
  private mutating func classifyTransport(_ protocolNumber: UInt8) -> Role {
    switch protocolNumber {
    case ProtocolNumber.tcp:
      isTCP = true
      guard length &- transport >= TCPField.minimumHeader else { return .barrier }
      let offsetAndFlags = base.number16(transport &+ TCPField.dataOffset)
      headers = transport &+ Int(offsetAndFlags >> 12) &* 4
      payload = length &- headers
      // The four reserved bits (one of them AccECN's AE) count as flags.
      guard headers &- transport >= TCPField.minimumHeader, payload > 0,
        offsetAndFlags & 0x0FFF & ~UInt16(TCPField.push) == UInt16(TCPField.ack)
      else { return .barrier }
      return .candidate
    case ProtocolNumber.udp:
      isTCP = false
      headers = transport &+ UDPField.header
      payload = length &- headers
      guard payload > 0, Int(base.number16(transport &+ UDPField.length)) == length &- transport,
        base.word16(transport &+ UDPField.checksum) != 0
      else { return .barrier }
      return .candidate
    default:
      return .stranger
    }
  }

  /// Options, extension headers, fragments, wrong lengths.
  @inline(never)
  private mutating func classifySlowly() -> Role {
    guard let view = try? IPPacketView(base.bytes(0, length)) else { return .malformed }
    guard let upper = view.upperLayer, !upper.isFragment else { return .anyFlow }
    guard upper.protocolNumber == ProtocolNumber.tcp || upper.protocolNumber == ProtocolNumber.udp else {
      return .stranger
    }
    guard view.totalLength &- upper.offset >= 4 else { return .anyFlow }
    isIPv4 = view.family == .ipv4
    isTCP = upper.protocolNumber == ProtocolNumber.tcp
    transport = upper.offset
    return .barrier
  }

  /// A number that is the same for all packets of a flow. Not secret: a table that is made to collide costs a bounded
  /// number of comparisons and some merging.
  @inline(__always)
  var hash: UInt64 {
    var value = UInt64(base.word32(transport)) | (isTCP ? 1 << 32 : 0)
    if isIPv4 {
      value ^= base.word64(IPField.v4Source) &* 0x9E37_79B9_7F4A_7C15
    } else {
      var mixed = base.word64(8) &* 0x9E37_79B9_7F4A_7C15
      mixed = (mixed ^ (mixed >> 29)) &+ base.word64(16)
      mixed = (mixed &* 0xBF58_476D_1CE4_E5B9) ^ base.word64(24)
      mixed = (mixed ^ (mixed >> 31)) &* 0x94D0_49BB_1331_11EB &+ base.word64(32)
      value ^= mixed
    }
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    return value ^ (value >> 32)
  }

  /// Whether the run's first packet `head` has the same addresses, ports and protocol.
  @inline(__always)
  func isSameFlow(as head: UnsafeRawPointer, _ run: Run) -> Bool {
    guard run.kind.isIPv4 == isIPv4, run.kind.isTCP == isTCP,
      head.word32(Int(run.transport)) == base.word32(transport)
    else { return false }
    if isIPv4 { return head.word64(IPField.v4Source) == base.word64(IPField.v4Source) }
    return head.word64(8) == base.word64(8) && head.word64(16) == base.word64(16)
      && head.word64(24) == base.word64(24) && head.word64(32) == base.word64(32)
  }

  /// Whether this candidate's headers say what the next segment of the run's super-packet would say, so that cutting
  /// the super-packet again gives this packet back. `head` is of the same flow.
  @inline(__always)
  func continues(_ head: UnsafeRawPointer, _ run: Run) -> Bool {
    guard Int(run.headers) == headers, payload <= Int(run.segment) else { return false }
    if isIPv4 {
      guard head.word16(0) == base.word16(0), head.word16(6) == base.word16(6), head.word16(8) == base.word16(8) else {
        return false
      }
      // Without DF the identification matters (RFC 6864, section 4), and segmentation counts it up.
      if base.byte(IPField.v4Fragment) & 0x40 == 0 {
        let expected = head.number16(IPField.v4Identification) &+ UInt16(truncatingIfNeeded: run.packets)
        guard base.number16(IPField.v4Identification) == expected else { return false }
      }
    } else {
      // Version, traffic class, flow label; next header is compared as part of the flow.
      guard head.word32(0) == base.word32(0), head.byte(7) == base.byte(7) else { return false }
    }
    guard isTCP else { return true }
    let ours = base + transport
    let theirs = head + transport
    let expected = theirs.number32(TCPField.sequence) &+ UInt32(truncatingIfNeeded: run.payload)
    let pushMask = UInt32(bigEndian: ~(UInt32(TCPField.push) << 16))
    guard ours.number32(TCPField.sequence) == expected,
      ours.word32(TCPField.acknowledgment) == theirs.word32(TCPField.acknowledgment),
      (ours.word32(TCPField.dataOffset) ^ theirs.word32(TCPField.dataOffset)) & pushMask == 0,
      ours.word16(18) == theirs.word16(18)
    else { return false }
    var offset = TCPField.minimumHeader
    while offset < headers &- transport {
      guard ours.word32(offset) == theirs.word32(offset) else { return false }
      offset &+= 4
    }
    return true
  }

  /// PSH asks that what came so far is delivered: nothing is merged behind it.
  @inline(__always)
  var pushes: Bool { isTCP && base.byte(transport &+ TCPField.flags) & TCPField.push != 0 }

  /// Both checksums. IPv4's is looked at because a merged header gets a new one, which would hide a wrong one.
  @inline(__always)
  var isIntact: Bool {
    if isIPv4 {
      var sum = InternetChecksum()
      sum.add(base.bytes(0, IPField.v4Header))
      guard sum.folded == 0xFFFF else { return false }
    }
    return TransportChecksum.isValid(
      base, isIPv4: isIPv4, protocolNumber: isTCP ? ProtocolNumber.tcp : ProtocolNumber.udp, transport: transport,
      length: length &- transport)
  }
}
