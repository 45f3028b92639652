import Values

/// A view over one IPv4 or IPv6 packet that somebody else owns.
///
/// `init` checks once what the fixed header promises: version, header length, total length. After that no accessor
/// can trap or read outside the packet, whatever the bytes say. What lies behind the fixed header (IPv6 extension
/// headers, ports) is walked only when asked for, each step checked against the total length, and the number of steps
/// is limited so that a packet made of thousands of 8-byte headers costs nothing.
///
/// A router that only needs an address uses the static `destination(of:)` and `source(of:)`, which look at the
/// version and at the size of the fixed header and at nothing else.
///
/// Safety: the view holds a pointer and is valid only as long as the buffer it was made from; it is never stored.
public struct IPPacketView {
  /// Why bytes are not an IP packet.
  public enum Fault: Error, Equatable, Sendable {
    case empty
    /// The version is neither 4 nor 6.
    case version
    /// Fewer bytes than the fixed header has, or a header length below it or beyond the packet.
    case header
    /// The total length is shorter than the header or longer than the bytes that are there.
    case length
  }

  /// What the IP header and its extensions lead to.
  public struct UpperLayer: Equatable, Sendable {
    /// The protocol number after all extension headers that were walked.
    public let protocolNumber: UInt8
    /// Where its header begins, in bytes from the start of the packet; for a later fragment, where its data begins.
    public let offset: Int
    /// The fragment's place in the original payload in bytes: 0 for the first fragment and for whole packets.
    public let fragmentOffset: Int
    /// More fragments follow.
    public let moreFragments: Bool

    /// An atomic fragment (RFC 6946) is a whole packet.
    public var isFragment: Bool { moreFragments || fragmentOffset != 0 }
  }

  /// More extension headers than this are not walked: legitimate packets have three or four.
  static let maximumExtensions = 12

  @usableFromInline let base: UnsafeRawPointer
  public let family: AddressFamily
  /// The IPv4 header with its options, or IPv6's 40 bytes without extension headers.
  public let headerLength: Int
  /// Header and payload as the header says; never more than the bytes given.
  public let totalLength: Int

  @inline(__always)
  public init(_ packet: UnsafeRawBufferPointer) throws(Fault) {
    guard let base = packet.baseAddress, packet.count > 0 else { throw .empty }
    self.base = base
    switch base.byte(0) >> 4 {
    case 4:
      guard packet.count >= IPField.v4Header else { throw .header }
      family = .ipv4
      headerLength = Int(base.byte(0) & 0x0F) &* 4
      totalLength = Int(base.number16(IPField.v4TotalLength))
      guard headerLength >= IPField.v4Header, headerLength <= packet.count else { throw .header }
    case 6:
      guard packet.count >= IPField.v6Header else { throw .header }
      family = .ipv6
      headerLength = IPField.v6Header
      totalLength = IPField.v6Header &+ Int(base.number16(IPField.v6PayloadLength))
    default:
      throw .version
    }
    guard totalLength >= headerLength, totalLength <= packet.count else { throw .length }
  }

  /// The destination without any other check than that the fixed header is there; `nil` for what is not IP.
  @inline(__always)
  public static func destination(of packet: UnsafeRawBufferPointer) -> IPAddress? {
    address(of: packet, v4: IPField.v4Destination, v6: IPField.v6Destination)
  }

  /// The source without any other check than that the fixed header is there; `nil` for what is not IP.
  @inline(__always)
  public static func source(of packet: UnsafeRawBufferPointer) -> IPAddress? {
    address(of: packet, v4: IPField.v4Source, v6: IPField.v6Source)
  }

  /// The packet's own bytes, without anything that follows its total length.
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: totalLength) }

  public var source: IPAddress {
    family == .ipv4 ? .v4(base.number32(IPField.v4Source)) : .v6(base.number128(IPField.v6Source))
  }

  public var destination: IPAddress {
    family == .ipv4 ? .v4(base.number32(IPField.v4Destination)) : .v6(base.number128(IPField.v6Destination))
  }

  /// Time to live, or hop limit.
  public var hopLimit: UInt8 { base.byte(family == .ipv4 ? IPField.v4TimeToLive : IPField.v6HopLimit) }

  /// The whole type-of-service or traffic-class octet.
  public var trafficClass: UInt8 {
    family == .ipv4 ? base.byte(1) : UInt8(truncatingIfNeeded: base.number16(0) >> 4)
  }

  /// 0...63 (RFC 2474).
  public var dscp: UInt8 { trafficClass >> 2 }

  /// 0 not ECN-capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced (RFC 3168, section 5).
  public var ecn: UInt8 { trafficClass & 3 }

  /// The IPv4 flag; always true for IPv6, which routers never fragment.
  public var dontFragment: Bool { family == .ipv6 || base.number16(IPField.v4Fragment) & 0x4000 != 0 }

  /// True for any fragment, the first one included; false for whole packets, for atomic fragments and where the
  /// extension headers cannot be walked.
  public var isFragment: Bool { upperLayer?.isFragment ?? false }

  /// The protocol number behind all extension headers; `nil` where those cannot be walked.
  public var protocolNumber: UInt8? { upperLayer?.protocolNumber }

  /// The protocol carried and where it begins; `nil` when an extension header is cut short or there are too many.
  public var upperLayer: UpperLayer? {
    if family == .ipv4 {
      let field = base.number16(IPField.v4Fragment)
      return UpperLayer(
        protocolNumber: base.byte(IPField.v4Protocol), offset: headerLength,
        fragmentOffset: Int(field & 0x1FFF) &* 8, moreFragments: field & 0x2000 != 0)
    }
    return walkExtensions()
  }

  /// Source and destination port of TCP and UDP; `nil` for other protocols, later fragments and cut-short headers.
  public var ports: (source: UInt16, destination: UInt16)? {
    guard let upper = upperLayer, upper.fragmentOffset == 0, totalLength &- upper.offset >= 4,
      upper.protocolNumber == ProtocolNumber.tcp || upper.protocolNumber == ProtocolNumber.udp
    else { return nil }
    return (base.number16(upper.offset), base.number16(upper.offset &+ 2))
  }

  /// RFC 8200, section 4. Every extension header but AH (RFC 4302) gives its length in units of 8 bytes less one.
  private func walkExtensions() -> UpperLayer? {
    var next = base.byte(IPField.v6NextHeader)
    var offset = IPField.v6Header
    var fragmentOffset = 0
    var moreFragments = false
    for _ in 0...IPPacketView.maximumExtensions {
      switch next {
      case ProtocolNumber.hopByHop, ProtocolNumber.routing, ProtocolNumber.destinationOptions,
        ProtocolNumber.mobility, ProtocolNumber.hostIdentity, ProtocolNumber.shim6:
        guard totalLength &- offset >= 8 else { return nil }
        next = base.byte(offset)
        offset &+= (Int(base.byte(offset &+ 1)) &+ 1) &* 8
      case ProtocolNumber.authentication:
        guard totalLength &- offset >= 8 else { return nil }
        next = base.byte(offset)
        offset &+= (Int(base.byte(offset &+ 1)) &+ 2) &* 4
      case ProtocolNumber.fragment:
        guard totalLength &- offset >= 8 else { return nil }
        let field = base.number16(offset &+ 2)
        next = base.byte(offset)
        fragmentOffset = Int(field & 0xFFF8)
        moreFragments = field & 1 != 0
        offset &+= 8
        if fragmentOffset != 0 {
          // What follows is data from the middle: it must not be read as a header.
          return UpperLayer(
            protocolNumber: next, offset: offset, fragmentOffset: fragmentOffset, moreFragments: moreFragments)
        }
      default:
        return UpperLayer(
          protocolNumber: next, offset: offset, fragmentOffset: fragmentOffset, moreFragments: moreFragments)
      }
      guard offset <= totalLength else { return nil }
    }
    return nil
  }

  @inline(__always)
  private static func address(of packet: UnsafeRawBufferPointer, v4: Int, v6: Int) -> IPAddress? {
    guard let base = packet.baseAddress, packet.count >= IPField.v4Header else { return nil }
    switch base.byte(0) >> 4 {
    case 4: return .v4(base.number32(v4))
    case 6: return packet.count >= IPField.v6Header ? .v6(base.number128(v6)) : nil
    default: return nil
    }
  }
}
