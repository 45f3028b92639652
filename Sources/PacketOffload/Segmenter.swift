import Values

/// Turns what one `read` of a TUN device with virtio headers gives into packets that can travel.
///
/// The kernel hands over packets it has not finished: a TCP stream's next 64 KiB under one header, a burst of equal
/// UDP datagrams under one header, and single packets whose checksum holds only the pseudo-header. A `Segmenter` cuts
/// and finishes them. `begin` parses the read once, works out what is the same in all segments and the sums over it;
/// `fill` then appends segments to a batch, each made by copying the header, patching what differs (length,
/// identification, sequence number, flags), and copying the payload while summing it: the payload is touched once.
///
/// A batch that fills up in the middle of a read stops `fill`; the position is kept, and the next call goes on with an
/// emptied batch. So the bytes of the read must stay where they are until `fill` returns true.
///
/// What differs between segments, as the kernel's own segmentation does it: IPv4 identification counts up; the
/// sequence number advances by the payload; FIN and PSH stand only on the last, CWR only on the first (RFC 3168,
/// section 6.1.2). Nothing of the header that the kernel left half done is used: lengths and sums are computed anew.
///
/// Safety: `begin` establishes that all headers and the payload lie inside the read, and everything after it only
/// uses offsets below these bounds; writes go to rooms that the batch has reserved with the exact length. The read is
/// not trusted although it comes from the kernel: what does not fit together is dropped, and counted by its reason.
public struct Segmenter {
  private enum Job { case none, whole, tcp, udp }

  /// Reads that were dropped, by reason.
  public private(set) var faults = OffloadFaultCounts()
  /// Reads that had to be cut.
  public private(set) var superPackets: UInt64 = 0
  /// Packets appended to batches.
  public private(set) var packets: UInt64 = 0

  private var job = Job.none
  private var base: UnsafeRawPointer?
  private var isIPv4 = true
  /// Header of IP with extensions and options, in bytes.
  private var transport = 0
  /// All headers, in bytes.
  private var headers = 0
  /// Payload bytes in all, of each segment, and done.
  private var payload = 0
  private var segment = 0
  private var position = 0
  private var index: UInt16 = 0
  /// The sums over what does not change.
  private var networkSum = InternetChecksum()
  private var transportSum = InternetChecksum()
  /// For `Job.whole`: where checksumming begins and where its result goes; `nil` when nothing is to be done.
  private var checksumRange: (start: Int, place: Int)?

  public init() {}

  /// Nothing is left of the last read.
  public var isFinished: Bool { job == .none }

  /// Takes one read: a virtio header and a packet. False when it was dropped and counted. The bytes must stay in place
  /// until `fill` returns true. The read before must be finished.
  @discardableResult
  public mutating func begin(_ read: UnsafeRawBufferPointer) -> Bool {
    precondition(isFinished)
    do throws(OffloadFault) {
      try parse(read)
      return true
    } catch {
      job = .none
      faults.count(error)
      return false
    }
  }

  /// Forgets what is left of the read.
  public mutating func cancel() { job = .none }

  /// Appends packets until the read is used up (true) or the batch is full (false: empty it and call again).
  public mutating func fill(_ batch: inout PacketBatch) -> Bool {
    let done: Bool
    switch job {
    case .none: return true
    case .whole: done = copyWhole(into: &batch)
    case .tcp: done = cut(into: &batch, isTCP: true)
    case .udp: done = cut(into: &batch, isTCP: false)
    }
    if !done, batch.isEmpty {
      // Not even an empty batch takes it: waiting would be for ever.
      faults.count(.tooLarge)
      job = .none
      return true
    }
    if done { job = .none }
    return done
  }
}

// MARK: - Parsing

extension OffloadFault: Error {}

extension Segmenter {
  private mutating func parse(_ read: UnsafeRawBufferPointer) throws(OffloadFault) {
    guard let header = VirtioNetHeader(read) else { throw .shortRead }
    let packet = UnsafeRawBufferPointer(rebasing: read[VirtioNetHeader.size...])
    let view: IPPacketView
    do throws(IPPacketView.Fault) { view = try IPPacketView(packet) } catch {
      throw error == .length ? .length : .notIP
    }
    guard Int(header.headerLength) <= view.totalLength else { throw .headerHint }
    base = packet.baseAddress
    isIPv4 = view.family == .ipv4
    position = 0
    index = 0
    switch header.gsoType & ~VirtioNetHeader.gsoECN {
    case VirtioNetHeader.gsoNone:
      try parseWhole(header, view)
    case VirtioNetHeader.gsoTCPv4:
      guard isIPv4 else { throw .transport }
      try parseTCP(header, view)
    case VirtioNetHeader.gsoTCPv6:
      guard !isIPv4 else { throw .transport }
      try parseTCP(header, view)
    case VirtioNetHeader.gsoUDP:
      try parseUDP(header, view)
    default:
      throw .unknownOffload
    }
  }

  private mutating func parseWhole(_ header: VirtioNetHeader, _ view: IPPacketView) throws(OffloadFault) {
    checksumRange = nil
    payload = view.totalLength
    if header.flags & VirtioNetHeader.needsChecksum != 0 {
      let start = Int(header.checksumStart)
      let place = start &+ Int(header.checksumOffset)
      guard start >= view.headerLength, place &+ 2 <= view.totalLength else { throw .checksumPlace }
      checksumRange = (start, place)
    }
    job = .whole
  }

  private mutating func parseTCP(_ header: VirtioNetHeader, _ view: IPPacketView) throws(OffloadFault) {
    try locate(header, view, protocolNumber: ProtocolNumber.tcp, minimum: TCPField.minimumHeader)
    let tcp = view.base + transport
    let tcpHeader = Int(tcp.byte(TCPField.dataOffset) >> 4) &* 4
    guard tcpHeader >= TCPField.minimumHeader, transport &+ tcpHeader <= view.totalLength else { throw .transport }
    try place(header, view, transportHeader: tcpHeader, checksumOffset: TCPField.checksum)
    var sum = TransportChecksum.pseudoHeader(view.base, isIPv4: isIPv4, protocolNumber: ProtocolNumber.tcp)
    sum.add(tcp.bytes(0, TCPField.sequence))
    sum.add(tcp.bytes(TCPField.acknowledgment, 4))
    sum.add(tcp.number16(TCPField.window))
    sum.add(tcp.bytes(TCPField.checksum &+ 2, tcpHeader &- TCPField.checksum &- 2))
    transportSum = sum
    job = .tcp
    superPackets &+= 1
  }

  private mutating func parseUDP(_ header: VirtioNetHeader, _ view: IPPacketView) throws(OffloadFault) {
    try locate(header, view, protocolNumber: ProtocolNumber.udp, minimum: UDPField.header)
    try place(header, view, transportHeader: UDPField.header, checksumOffset: UDPField.checksum)
    var sum = TransportChecksum.pseudoHeader(view.base, isIPv4: isIPv4, protocolNumber: ProtocolNumber.udp)
    sum.add((view.base + transport).bytes(0, UDPField.length))
    transportSum = sum
    job = .udp
    superPackets &+= 1
  }

  /// Finds the transport header: of the right protocol, `minimum` bytes of it there, in no fragment.
  private mutating func locate(
    _ header: VirtioNetHeader, _ view: IPPacketView, protocolNumber: UInt8, minimum: Int
  ) throws(OffloadFault) {
    guard header.gsoSize > 0 else { throw .segmentSize }
    guard let upper = view.upperLayer, upper.protocolNumber == protocolNumber, !upper.isFragment,
      view.totalLength &- upper.offset >= minimum
    else { throw .transport }
    transport = upper.offset
  }

  /// Checks the kernel's idea of the checksum's place against ours and sums the IP header.
  private mutating func place(
    _ header: VirtioNetHeader, _ view: IPPacketView, transportHeader: Int, checksumOffset: Int
  ) throws(OffloadFault) {
    if header.flags & VirtioNetHeader.needsChecksum != 0 {
      guard Int(header.checksumStart) == transport, Int(header.checksumOffset) == checksumOffset else {
        throw .checksumPlace
      }
    }
    headers = transport &+ transportHeader
    payload = view.totalLength &- headers
    segment = Int(header.gsoSize)
    guard payload > 0 else { throw .length }
    if isIPv4 {
      var sum = InternetChecksum()
      sum.add(view.base.bytes(0, 2))
      sum.add(view.base.bytes(IPField.v4Fragment, 4))
      sum.add(view.base.bytes(IPField.v4Source, view.headerLength &- IPField.v4Source))
      networkSum = sum
    }
  }
}

// MARK: - Cutting

extension Segmenter {
  @inline(__always)
  private mutating func cut(into batch: inout PacketBatch, isTCP: Bool) -> Bool {
    guard let base else { return true }
    let tcp = base + transport
    let sequence = isTCP ? tcp.number32(TCPField.sequence) : 0
    let offsetAndFlags = isTCP ? tcp.number16(TCPField.dataOffset) : 0
    let identification = isIPv4 ? base.number16(IPField.v4Identification) : 0
    while position < payload {
      let size = min(segment, payload &- position)
      guard let room = batch.reserve(headers &+ size), let packet = room.baseAddress else { return false }
      packet.copyMemory(from: base, byteCount: headers)
      patchNetwork(packet, length: headers &+ size, identification: identification &+ index)

      let upper = packet + transport
      let transportLength = UInt16(truncatingIfNeeded: headers &- transport &+ size)
      var sum = transportSum
      sum.add(transportLength)
      sum.add(copying: base.bytes(headers &+ position, size), to: packet + headers)
      if isTCP {
        var flags = offsetAndFlags
        if position > 0 { flags &= ~UInt16(TCPField.cwr) }
        if position &+ size < payload { flags &= ~UInt16(TCPField.fin | TCPField.push) }
        let number = sequence &+ UInt32(truncatingIfNeeded: position)
        upper.store(number, at: TCPField.sequence)
        upper.store(flags, at: TCPField.dataOffset)
        sum.add(flags)
        sum.add(UInt16(truncatingIfNeeded: number >> 16))
        sum.add(UInt16(truncatingIfNeeded: number))
        upper.store(sum.value, at: TCPField.checksum)
      } else {
        // The length is summed twice: in the pseudo-header and in the header.
        sum.add(transportLength)
        upper.store(transportLength, at: UDPField.length)
        let value = sum.value
        upper.store(value == 0 ? 0xFFFF : value, at: UDPField.checksum)
      }
      position &+= size
      index &+= 1
      packets &+= 1
    }
    return true
  }

  @inline(__always)
  private func patchNetwork(_ packet: UnsafeMutableRawPointer, length: Int, identification: UInt16) {
    if isIPv4 {
      let total = UInt16(truncatingIfNeeded: length)
      packet.store(total, at: IPField.v4TotalLength)
      packet.store(identification, at: IPField.v4Identification)
      var sum = networkSum
      sum.add(total)
      sum.add(identification)
      packet.store(sum.value, at: IPField.v4Checksum)
    } else {
      packet.store(UInt16(truncatingIfNeeded: length &- IPField.v6Header), at: IPField.v6PayloadLength)
    }
  }

  /// A packet that needs no cutting: copied, and its checksum finished where the kernel left it to us.
  private mutating func copyWhole(into batch: inout PacketBatch) -> Bool {
    guard let base else { return true }
    guard let room = batch.reserve(payload), let packet = room.baseAddress else { return false }
    if let (start, place) = checksumRange {
      packet.copyMemory(from: base, byteCount: start)
      // The field holds the pseudo-header's sum, so that it is summed with the rest.
      var sum = InternetChecksum()
      sum.add(copying: base.bytes(start, payload &- start), to: packet + start)
      let value = sum.value
      // 0 says "no checksum" in UDP, whose field alone lies at 6 (RFC 768); elsewhere it is a sum like any other.
      packet.store(value == 0 && place &- start == UDPField.checksum ? 0xFFFF : value, at: place)
    } else {
      packet.copyMemory(from: base, byteCount: payload)
    }
    packets &+= 1
    return true
  }
}
