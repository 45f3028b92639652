import Values

/// A piece of memory to write, laid out as the kernel's `struct iovec` (a pointer, then a length), so that the pieces
/// of a group are handed to `writev` as they are. Empty pieces are never made.
@frozen
public struct WritePiece {
  public let base: UnsafeRawPointer
  public let count: Int

  @inlinable
  init(_ base: UnsafeRawPointer, _ count: Int) {
    self.base = base
    self.count = count
  }
}

/// One write to the device: a virtio header and one packet, which may be several merged into one.
public struct WriteGroup: Sendable {
  /// The group's pieces in `Coalescer.pieces`. The first is the 10 bytes of the virtio header; a device without
  /// virtio headers takes those after it.
  public let pieces: Range<Int>
  /// Packets in the group.
  public let packets: Int
  /// Bytes in all pieces, the virtio header included.
  public let bytes: Int

  /// A device that refuses a merged packet can be given its parts: see `Coalescer.takeApart`.
  @inlinable
  public var isMerged: Bool { packets > 1 }
}

/// What a run of packets has become, kept while a batch is planned.
///
/// Numbers are small on purpose: a run is touched for every packet.
struct Run {
  enum Kind: UInt8 {
    /// Passed on as it is.
    case alone
    case tcp4
    case tcp6
    case udp4
    case udp6

    @inline(__always)
    var isIPv4: Bool { self == .tcp4 || self == .udp4 }
    @inline(__always)
    var isTCP: Bool { self == .tcp4 || self == .tcp6 }
    @inline(__always)
    var protocolNumber: UInt8 { isTCP ? ProtocolNumber.tcp : ProtocolNumber.udp }
  }

  var kind = Kind.alone
  /// Later packets of the flow may join.
  var isOpen = false
  /// The first packet's checksum was found right.
  var isVerified = false
  /// TCP flags of the first packet, and its checksums, as they were: what `takeApart` puts back.
  var originalFlags: UInt8 = 0
  var originalChecksum: UInt16 = 0
  var originalHeaderChecksum: UInt16 = 0
  /// Where the flow stands in the table.
  var slot: Int32 = 0
  /// First and last packet of the run, as indices in the batch.
  var first: Int32 = 0
  var last: Int32 = 0
  var packets: Int32 = 1
  /// Where the transport header and the payload begin, in bytes, the same in all packets.
  var transport: Int32 = 0
  var headers: Int32 = 0
  /// Payload bytes of each packet but the last, and in all.
  var segment: Int32 = 0
  var payload: Int32 = 0
}
