import Values

/// Bytes on a packet's way: what each part adds to it, and how large it may be so that it travels whole.
///
/// These numbers are the truth and no copy of it: the daemon sets its interfaces and carriers by them, `culvert plan`
/// prints them, and a test compares both with a running tunnel.
public enum PacketSizes {
  /// The MTU of a TUN interface where the file names none, bytes: GOST's, which fits UDP over an Ethernet link.
  public static let defaultMTU = 1420
  /// Bytes of a UDP header.
  public static let udpHeader = 8
  /// What WireGuard adds to a packet, bytes: its header and the tag. Contents are padded to 16 bytes besides, but never
  /// beyond the interface's MTU.
  public static let wireGuardHeader = 32
  /// The header of TURN's ChannelData, bytes (RFC 8656, section 12.4).
  public static let channelHeader = 4
  /// What one end has of a datagram's length in a stream, bytes: relay's framing.
  public static let streamFrame = 2

  /// Bytes of an IP header without options or extensions.
  public static func ipHeader(_ family: AddressFamily) -> Int { family == .ipv4 ? 20 : 40 }
}

/// Bytes added to a packet on its way, besides IP and the carrier's own header.
public struct Overhead: Sendable, Equatable {
  /// Bytes a packet, or a piece of a stream.
  public let bytes: Int
  /// For a carrier that sends packets of its own.
  public let packets: PacketCarrier?

  public init(bytes: Int, packets: PacketCarrier? = nil) {
    self.bytes = bytes
    self.packets = packets
  }

  public static let none = Overhead(bytes: 0)
}

/// QUIC's packets, over UDP or inside ICMP, and the packets of a tunnel that cross in them one by one: as DATAGRAM frames
/// (RFC 9221), between two Culverts. What does not fit into a frame takes the stream.
public struct PacketCarrier: Sendable, Equatable {
  /// Bytes between the IP header and a QUIC packet: UDP's, or ICMP's and the envelope's.
  public let header: Int
  /// The largest QUIC packet that is sent, bytes.
  public let largest: Int

  /// Bytes of a QUIC packet that are not the packet inside: the short header with an eight-byte connection identifier
  /// and a four-byte number, the frame's type and length, the stream's number, the AEAD's tag.
  public static let frame = 1 + 8 + 4 + 3 + 1 + 16

  /// What a path is probed with (RFC 8899), in rising order: the sizes that the QUIC library knows, of which a
  /// connection takes the largest that arrives. Before the probes it sends 1,200 bytes.
  public static let probes = [1200, 1232, 1342, 1406, 1444]

  /// Over UDP: the IPv6 payload of an Ethernet link.
  public static let udp = PacketCarrier(header: PacketSizes.udpHeader, largest: 1452)
  /// Inside ICMP or ICMPv6 echo messages: an Ethernet link's 1,500 bytes less the IPv6 header (40), the ICMP header (8)
  /// and the envelope (10).
  public static let echo = PacketCarrier(header: 18, largest: 1442)

  /// The size of a QUIC packet on a link, bytes, once the path was probed.
  ///
  /// - Parameter link: the MTU of the link, bytes.
  public func packet(link: Int, _ family: AddressFamily) -> Int {
    let room = min(largest, link - PacketSizes.ipHeader(family) - header)
    return Self.probes.last { $0 <= room } ?? 1200
  }

  /// The largest packet of a tunnel that crosses such a link whole, bytes.
  public func innerPacket(link: Int, _ family: AddressFamily) -> Int { packet(link: link, family) - Self.frame }
}
