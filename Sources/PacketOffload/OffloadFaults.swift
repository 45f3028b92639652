/// Why a packet was dropped instead of being cut or merged. Each has its own counter: a tunnel that loses packets says
/// which way, not just that it does.
public enum OffloadFault: Int, CaseIterable, Sendable {
  /// Fewer bytes than a virtio header has.
  case shortRead
  /// Not an IP packet: empty, another version, or a header that is not all there.
  case notIP
  /// The total length does not agree with the bytes.
  case length
  /// A kind of segmentation that was never asked for.
  case unknownOffload
  /// To be cut, but into pieces of no size.
  case segmentSize
  /// `hdr_len` beyond the packet.
  case headerHint
  /// The transport header is missing, cut short, or of another protocol than the segmentation asks for; a fragment.
  case transport
  /// `csum_start` or `csum_offset` outside the packet, or not at the transport header that is to be cut.
  case checksumPlace
  /// A segment larger than an empty batch.
  case tooLarge

  /// For `culvert path` and metrics.
  public var name: String {
    switch self {
    case .shortRead: "short read"
    case .notIP: "not IP"
    case .length: "length mismatch"
    case .unknownOffload: "unknown offload"
    case .segmentSize: "segment size"
    case .headerHint: "header length"
    case .transport: "transport header"
    case .checksumPlace: "checksum place"
    case .tooLarge: "too large for a batch"
    }
  }
}

/// One counter a fault, in place.
public struct OffloadFaultCounts: Sendable {
  private var counts: [9 of UInt64] = .init(repeating: 0)

  public init() {}

  public subscript(fault: OffloadFault) -> UInt64 { counts[fault.rawValue] }

  public var total: UInt64 { OffloadFault.allCases.reduce(0) { $0 &+ self[$1] } }

  mutating func count(_ fault: OffloadFault) { counts[fault.rawValue] &+= 1 }
}
