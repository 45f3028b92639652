import Values

/// The 10 bytes that stand before each packet on a TUN device opened with `IFF_VNET_HDR` (`struct virtio_net_hdr` of
/// linux/virtio_net.h; virtio 1.2, section 5.1.6).
///
/// The kernel says with it what it left undone: a checksum that only holds the pseudo-header (`needsChecksum`), and a
/// packet that is still to be cut into segments (`gsoType`). We say the same to the kernel when we hand it a merged
/// packet. A TUN device uses the host's byte order unless told otherwise; every machine we run on is little-endian,
/// and the codec is little-endian whatever the machine.
///
/// `headerLength` is a hint: a kernel that forwards a packet puts the length of its first memory fragment there. We
/// parse the headers ourselves and only refuse a value beyond the packet.
public struct VirtioNetHeader: Equatable, Sendable {
  /// Bytes on the wire; `TUNSETVNETHDRSZ` of 10, the default.
  public static let size = 10

  /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`
  public static let needsChecksum: UInt8 = 1
  /// `VIRTIO_NET_HDR_F_DATA_VALID`
  public static let dataValid: UInt8 = 2
  /// `VIRTIO_NET_HDR_GSO_NONE`
  public static let gsoNone: UInt8 = 0
  /// `VIRTIO_NET_HDR_GSO_TCPV4`
  public static let gsoTCPv4: UInt8 = 1
  /// `VIRTIO_NET_HDR_GSO_UDP`: UFO, which we never ask for.
  public static let gsoUDPFragments: UInt8 = 3
  /// `VIRTIO_NET_HDR_GSO_TCPV6`
  public static let gsoTCPv6: UInt8 = 4
  /// `VIRTIO_NET_HDR_GSO_UDP_L4`, Linux 6.2
  public static let gsoUDP: UInt8 = 5
  /// `VIRTIO_NET_HDR_GSO_ECN`: the first segment carries CWR.
  public static let gsoECN: UInt8 = 0x80

  public var flags: UInt8
  /// One of the `gso…` numbers, `gsoECN` or'ed in.
  public var gsoType: UInt8
  /// IP and transport header in bytes, as a hint.
  public var headerLength: UInt16
  /// Payload bytes of each segment but the last.
  public var gsoSize: UInt16
  /// Where checksumming begins, in bytes from the start of the packet.
  public var checksumStart: UInt16
  /// Where the 16-bit checksum lies, in bytes from `checksumStart`.
  public var checksumOffset: UInt16

  @inlinable
  public init(
    flags: UInt8 = 0, gsoType: UInt8 = 0, headerLength: UInt16 = 0, gsoSize: UInt16 = 0, checksumStart: UInt16 = 0,
    checksumOffset: UInt16 = 0
  ) {
    self.flags = flags
    self.gsoType = gsoType
    self.headerLength = headerLength
    self.gsoSize = gsoSize
    self.checksumStart = checksumStart
    self.checksumOffset = checksumOffset
  }

  /// `nil` when fewer than 10 bytes are there.
  @inline(__always)
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count >= VirtioNetHeader.size else { return nil }
    flags = base.byte(0)
    gsoType = base.byte(1)
    headerLength = base.number16(2).byteSwapped
    gsoSize = base.number16(4).byteSwapped
    checksumStart = base.number16(6).byteSwapped
    checksumOffset = base.number16(8).byteSwapped
  }

  /// Writes 10 bytes; false and nothing when there is less room.
  @inline(__always)
  @discardableResult
  public func write(to bytes: UnsafeMutableRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress, bytes.count >= VirtioNetHeader.size else { return false }
    base.store(flags, at: 0)
    base.store(gsoType, at: 1)
    base.store(headerLength.byteSwapped, at: 2)
    base.store(gsoSize.byteSwapped, at: 4)
    base.store(checksumStart.byteSwapped, at: 6)
    base.store(checksumOffset.byteSwapped, at: 8)
    return true
  }
}

/// What a TUN device takes from us unfinished, in the bits of `TUNSETOFFLOAD` (linux/if_tun.h), so that the value
/// asked for and granted is the value passed on.
public struct TunOffloads: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  @inlinable
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `TUN_F_CSUM`, without which there is none of the others.
  public static let checksum = TunOffloads(rawValue: 0x01)
  /// `TUN_F_TSO4`
  public static let tso4 = TunOffloads(rawValue: 0x02)
  /// `TUN_F_TSO6`
  public static let tso6 = TunOffloads(rawValue: 0x04)
  /// `TUN_F_USO4`, Linux 6.2; the kernel grants it only together with `uso6`.
  public static let uso4 = TunOffloads(rawValue: 0x20)
  /// `TUN_F_USO6`, Linux 6.2
  public static let uso6 = TunOffloads(rawValue: 0x40)

  public static let tcp: TunOffloads = [.checksum, .tso4, .tso6]
  public static let all: TunOffloads = [.checksum, .tso4, .tso6, .uso4, .uso6]
}
