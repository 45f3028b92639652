import Values

/// Cuts an IPv4 packet in pieces that fit (RFC 791, section 3.2), as a router does at a link that is narrower than the
/// packet. Only for packets whose sender allows it: those with DF, and IPv6's, are answered with ICMP.
///
/// A piece has the packet's header, with those options of its first that say so themselves (the copied flag), and a
/// multiple of 8 bytes of data, the last piece excepted. A piece may be cut again.
public enum IPv4Fragmenter {
  private static let moreFragments: UInt16 = 0x2000
  private static let dontFragment: UInt16 = 0x4000
  private static let placeMask: UInt16 = 0x1FFF
  private static let copied: UInt8 = 0x80
  private static let endOfOptions: UInt8 = 0
  private static let noOperation: UInt8 = 1

  /// Appends the pieces to a batch. False, and nothing appended, when the packet is not IPv4, must not be cut, or the
  /// batch is full.
  ///
  /// - Parameter mtu: of the pieces, at least 68 (RFC 791, section 3.2).
  public static func cut(_ packet: UnsafeRawBufferPointer, mtu: Int, into batch: inout PacketBatch) -> Bool {
    guard mtu >= 68, let view = try? IPPacketView(packet), view.family == .ipv4, view.totalLength > mtu else {
      return false
    }
    let field = view.base.number16(IPField.v4Fragment)
    guard field & dontFragment == 0 else { return false }
    let before = batch.count
    let end = view.totalLength
    var start = view.headerLength
    // Whole eights: a piece's place is counted in them.
    var place = Int(field & placeMask)
    var header = view.headerLength
    while start < end {
      let room = (mtu &- header) / 8 &* 8
      guard room > 0 else { return takeBack(before, &batch) }
      let isLast = end &- start <= mtu &- header
      let count = isLast ? end &- start : room
      guard place <= Int(placeMask), let piece = batch.reserve(header &+ count), let base = piece.baseAddress else {
        return takeBack(before, &batch)
      }
      if start == view.headerLength {
        base.copyMemory(from: view.base, byteCount: header)
      } else {
        writeHeader(of: view, to: base, size: header)
      }
      (base + header).copyMemory(from: view.base + start, byteCount: count)
      let more = !isLast || field & moreFragments != 0
      base.store(UInt16(truncatingIfNeeded: header &+ count), at: IPField.v4TotalLength)
      base.store(UInt16(truncatingIfNeeded: place) | (more ? moreFragments : 0), at: IPField.v4Fragment)
      base.store(UInt16(0), at: IPField.v4Checksum)
      var sum = InternetChecksum()
      sum.add(UnsafeRawPointer(base).bytes(0, header))
      base.store(sum.value, at: IPField.v4Checksum)
      start &+= count
      place &+= count / 8
      header = laterHeaderSize(of: view)
    }
    return true
  }

  private static func takeBack(_ count: Int, _ batch: inout PacketBatch) -> Bool {
    while batch.count > count { batch.removeLast() }
    return false
  }

  /// The fixed header and the options that go into every piece, filled up to a multiple of 4.
  private static func laterHeaderSize(of view: IPPacketView) -> Int {
    var size = IPField.v4Header
    forEachCopiedOption(of: view) { size &+= $0.count }
    return (size &+ 3) & ~3
  }

  private static func writeHeader(of view: IPPacketView, to base: UnsafeMutableRawPointer, size: Int) {
    base.copyMemory(from: view.base, byteCount: IPField.v4Header)
    var place = IPField.v4Header
    forEachCopiedOption(of: view) { option in
      if let from = option.baseAddress { (base + place).copyMemory(from: from, byteCount: option.count) }
      place &+= option.count
    }
    while place < size {
      base.store(endOfOptions, at: place)
      place &+= 1
    }
    base.store(UInt8(0x40) | UInt8(truncatingIfNeeded: size / 4), at: 0)
  }

  private static func forEachCopiedOption(of view: IPPacketView, _ body: (UnsafeRawBufferPointer) -> Void) {
    var place = IPField.v4Header
    while place < view.headerLength {
      let kind = view.base.byte(place)
      if kind == endOfOptions { return }
      if kind == noOperation {
        place &+= 1
        continue
      }
      guard place &+ 1 < view.headerLength else { return }
      let count = Int(view.base.byte(place &+ 1))
      guard count >= 2, place &+ count <= view.headerLength else { return }
      if kind & copied != 0 { body(view.base.bytes(place, count)) }
      place &+= count
    }
  }
}
