import Values

/// What decides a packet's treatment: which flow it belongs to and how it may be marked. Read once, when it comes in.
///
/// The flow is a hash of addresses, protocol and four bytes that tell flows of these apart: the ports of TCP, UDP,
/// UDP-Lite, DCCP and SCTP, the security parameters index of ESP, the identifier of an echo (a running `ping`). Other
/// protocols have none, and so have fragments, of which only the first has ports: all fragments of one protocol between
/// two hosts are one flow. What is not an IP packet, or is cut short, shares one flow with all of its kind.
///
/// Safety: nothing is read beyond `packet.count`, and nothing but the fixed header beyond the length that the header
/// claims. At most eight extension headers are walked.
public struct PacketTraits: Sendable {
  /// Of the flow, under the queue's key.
  public let hash: UInt64
  let marking: Marking

  /// The two bits of ECN that the packet came with, 0...3; 0 also for what is no IP packet.
  public var markingCode: UInt8 { marking.rawValue }

  /// Traits that were read before.
  public init(hash: UInt64, markingCode: UInt8) {
    self.hash = hash
    marking = Marking(rawValue: markingCode & 3)
  }

  @inline(__always)
  init(of packet: UnsafeRawBufferPointer, key: SipHash.Key) {
    var hasher = SipHash(key)
    guard let base = packet.baseAddress, let upper = UpperHeader(base, count: packet.count) else {
      hash = hasher.finish(0, length: 0)
      marking = .impossible
      return
    }
    if upper.isIPv4 {
      hasher.add(base.loadUnaligned(fromByteOffset: 12, as: UInt64.self))
    } else {
      hasher.add(base.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      hasher.add(base.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      hasher.add(base.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
      hasher.add(base.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
    }
    let rest = UInt64(upper.selector) | UInt64(upper.protocolNumber) << 32
    hash = hasher.finish(rest, length: upper.isIPv4 ? 13 : 37)
    marking = Marking(of: base, isIPv4: upper.isIPv4)
  }
}

/// The header behind IP's: its protocol, and four bytes that tell flows apart, as they lie in memory.
private struct UpperHeader {
  let isIPv4: Bool
  let protocolNumber: UInt8
  let selector: UInt32

  /// `nil` for what is no IP packet or is cut short.
  @inline(__always)
  init?(_ base: UnsafeRawPointer, count: Int) {
    guard count >= 20 else { return nil }
    switch base.load(as: UInt8.self) >> 4 {
    case 4:
      let header = Int(base.load(as: UInt8.self) & 15) &* 4
      let total = Int(base.number16(2))
      guard header >= 20, header <= total, total <= count else { return nil }
      isIPv4 = true
      protocolNumber = base.load(fromByteOffset: 9, as: UInt8.self)
      if base.number16(6) & 0x3FFF != 0 {
        selector = 0
      } else {
        guard let found = Self.selector(base, protocolNumber, at: header, end: total) else { return nil }
        selector = found
      }
    case 6:
      guard count >= 40 else { return nil }
      let total = 40 &+ Int(base.number16(4))
      guard total <= count, let (number, offset, isFragment) = Self.walk(base, end: total) else { return nil }
      isIPv4 = false
      protocolNumber = number
      if isFragment {
        selector = 0
      } else {
        guard let found = Self.selector(base, number, at: offset, end: total) else { return nil }
        selector = found
      }
    default:
      return nil
    }
  }

  @inline(__always)
  private static func selector(
    _ base: UnsafeRawPointer, _ protocolNumber: UInt8, at offset: Int, end: Int
  ) -> UInt32? {
    switch protocolNumber {
    // TCP, UDP, DCCP, ESP, SCTP, UDP-Lite.
    case 6, 17, 33, 50, 132, 136:
      guard end &- offset >= 4 else { return nil }
      return base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    // ICMP and ICMPv6: an error has no identifier.
    case 1, 58:
      guard end &- offset >= 8 else { return nil }
      let type = base.load(fromByteOffset: offset, as: UInt8.self)
      guard protocolNumber == 1 ? type == 0 || type == 8 : type == 128 || type == 129 else { return 0 }
      return UInt32(base.loadUnaligned(fromByteOffset: offset &+ 4, as: UInt16.self))
    default:
      return 0
    }
  }

  /// RFC 8200, section 4: over extension headers. Lengths are in units of 8 bytes less one, of AH in words less two.
  @inline(__always)
  private static func walk(
    _ base: UnsafeRawPointer, end: Int
  ) -> (protocolNumber: UInt8, offset: Int, isFragment: Bool)? {
    let next = base.load(fromByteOffset: 6, as: UInt8.self)
    return next == 6 || next == 17 ? (next, 40, false) : walkSlowly(base, from: next, end: end)
  }

  @inline(never)
  private static func walkSlowly(
    _ base: UnsafeRawPointer, from first: UInt8, end: Int
  ) -> (protocolNumber: UInt8, offset: Int, isFragment: Bool)? {
    var next = first
    var offset = 40
    for _ in 0...8 {
      switch next {
      // Hop-by-hop, routing, fragment, AH, destination options, mobility, HIP, Shim6.
      case 0, 43, 44, 51, 60, 135, 139, 140:
        guard end &- offset >= 8 else { return nil }
        let kind = next
        next = base.load(fromByteOffset: offset, as: UInt8.self)
        if kind == 44 {
          // RFC 6946: with neither an offset nor more to come it is a whole packet.
          if base.number16(offset &+ 2) & 0xFFF9 != 0 { return (next, offset, true) }
          offset &+= 8
        } else {
          let length = Int(base.load(fromByteOffset: offset &+ 1, as: UInt8.self))
          offset &+= kind == 51 ? (length &+ 2) &* 4 : (length &+ 1) &* 8
        }
        guard offset <= end else { return nil }
      default:
        return (next, offset, false)
      }
    }
    return nil
  }
}

extension UnsafeRawPointer {
  @inline(__always)
  func number16(_ offset: Int) -> UInt16 {
    UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }
}
