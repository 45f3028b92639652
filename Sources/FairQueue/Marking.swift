import Values

/// How a packet can be told that there is congestion without losing it (RFC 3168, section 5), in one byte.
///
/// The two ECN bits of the packet as it came.
struct Marking: Equatable {
  let rawValue: UInt8

  /// Not an IP packet, or a sender that would not understand.
  static let impossible = Marking(rawValue: 0)

  init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Of a packet whose fixed header is complete.
  @inline(__always)
  init(of base: UnsafeRawPointer, isIPv4: Bool) {
    let byte = base.load(fromByteOffset: 1, as: UInt8.self)
    rawValue = isIPv4 ? byte & 3 : byte >> 4 & 3
  }

  /// ECT(0), ECT(1), or marked already, which is as good.
  var isPossible: Bool { rawValue & 3 != 0 }
  /// ECT(1): senders that expect to be marked often and give way a little each time (RFC 9331).
  var isScalable: Bool { rawValue & 3 == 1 }

  /// Sets CE. `packet` is the one that this was made of. False when it had it before, or cannot be marked.
  func apply(to packet: UnsafeMutableRawBufferPointer) -> Bool {
    guard isPossible, rawValue & 3 != 3, packet.count >= 20 else { return false }
    ECN.set(ECN.congested, in: packet)
    return true
  }
}
