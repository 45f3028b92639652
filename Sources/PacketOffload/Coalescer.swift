import Values

/// Merges the packets of a batch that belong together into few large ones, so that the kernel walks its stack once for
/// 64 KiB instead of once for each 1,420 bytes.
///
/// `plan` goes through the batch once. Each packet joins the open run of its flow, or begins a run, or passes alone;
/// a table of the flows seen in this batch finds the run, so that interleaved flows merge as well as a single one.
/// Then each run becomes a group of pieces for one `writev`: a virtio header, the first packet, and of each following
/// packet the payload, where it lies. Nothing is copied. The first packet's header is rewritten in place: total
/// length, checksums, PSH of the last one.
///
/// Rules, which are those of the kernel's own GRO where it has them:
/// - Within a flow, order is kept: runs are written in the order of their first packets, a flow has one open run, and
///   whatever cannot join it closes it. A fragment closes all runs, as its flow is not known. Between flows order is
///   not kept.
/// - A run only takes what segmentation would give back, byte for byte (but for the identification of packets with
///   DF, which means nothing: RFC 6864), with right checksums. A packet with a wrong one passes alone and untouched, so that
///   the host sees and counts it. The first packet of a run is only verified when a second wants to join.
/// - A shorter packet or one with PSH ends the run; 65,535 bytes and `maximumRun` packets (for UDP
///   `maximumUDPRun`) limit it.
///
/// Nothing is kept from one batch to the next but buffers and counters, so no packet ever waits.
///
/// Safety: the tables belong to the coalescer, hold `maximumCount` entries, and are freed in `deinit`; a batch with
/// more packets is refused by a precondition, and indices into them come only from counting. `groups` and `pieces`
/// point into the coalescer and the batch: they are valid until the next `plan`, or until the batch changes.
public struct Coalescer: ~Copyable {
  /// The most packets in one run: with the headers' two pieces well under the 1,024 pieces that `writev` takes.
  public static let maximumRun = 512
  /// The same for UDP: the kernel refuses super-packets of more than `UDP_MAX_SEGMENTS` (linux/udp.h), which is 128
  /// now and was 64.
  public static let maximumUDPRun = 64
  /// A flow that finds so many places of the table taken passes unmerged.
  static let maximumProbes = 8

  /// The most packets that a batch may have.
  public let maximumCount: Int
  /// Packets that were merged into another one's write, and writes, since the beginning.
  public private(set) var mergedPackets: UInt64 = 0
  public private(set) var writes: UInt64 = 0
  /// Packets passed on alone because a checksum was wrong.
  public private(set) var wrongChecksums: UInt64 = 0
  /// Packets dropped because they are not IP packets: writing them would fail.
  public private(set) var malformed: UInt64 = 0

  private let runs: UnsafeMutablePointer<Run>
  /// For each packet the next of its run.
  private let next: UnsafeMutablePointer<Int32>
  /// Run numbers by flow hash; an entry is valid when its generation is the batch's.
  private let table: UnsafeMutablePointer<TableEntry>
  private let tableMask: Int
  private let headerBytes: UnsafeMutableRawPointer
  private let groupStorage: UnsafeMutablePointer<WriteGroup>
  private let pieceStorage: UnsafeMutablePointer<WritePiece>
  private var runCount = 0
  private var pieceCount = 0
  private var generation: UInt32 = 0

  private struct TableEntry {
    var generation: UInt32
    var run: Int32
  }

  /// Virtio headers lie 16 bytes apart, so that none crosses a cache line.
  private static let headerStride = 16

  public init(maximumCount: Int) {
    precondition(maximumCount > 0 && maximumCount <= 65_536)
    self.maximumCount = maximumCount
    var tableSize = 16
    while tableSize < maximumCount &* 2 { tableSize &*= 2 }
    tableMask = tableSize &- 1
    runs = .allocate(capacity: maximumCount)
    next = .allocate(capacity: maximumCount)
    table = .allocate(capacity: tableSize)
    table.initialize(repeating: TableEntry(generation: 0, run: 0), count: tableSize)
    headerBytes = .allocate(byteCount: maximumCount &* Coalescer.headerStride, alignment: 64)
    groupStorage = .allocate(capacity: maximumCount)
    pieceStorage = .allocate(capacity: maximumCount &* 2)
  }

  deinit {
    runs.deallocate()
    next.deallocate()
    table.deallocate()
    headerBytes.deallocate()
    groupStorage.deallocate()
    pieceStorage.deallocate()
  }

  /// The writes to make, in order.
  public var groups: UnsafeBufferPointer<WriteGroup> { UnsafeBufferPointer(start: groupStorage, count: runCount) }

  /// The pieces of all groups, one group's after another's.
  public var pieces: UnsafeBufferPointer<WritePiece> { UnsafeBufferPointer(start: pieceStorage, count: pieceCount) }

  /// Plans the writes for the IP packets of a batch. Headers of packets in the batch are rewritten.
  public mutating func plan(_ batch: inout PacketBatch, offloads: TunOffloads) {
    precondition(batch.count <= maximumCount)
    runCount = 0
    pieceCount = 0
    nextGeneration()
    sort(batch, offloads)
    for index in 0..<runCount { emit(index, batch) }
    writes &+= UInt64(runCount)
  }

  /// Puts the headers of a merged group back as they came and gives the batch's indices of its packets, in order, for
  /// a device that has refused the whole. Not for use twice on a group.
  public mutating func takeApart(_ group: Int, of batch: inout PacketBatch, each: (Int) -> Void) {
    precondition(group >= 0 && group < runCount)
    let run = runs[group]
    if run.packets > 1 { restore(run, batch) }
    var index = run.first
    for _ in 0..<run.packets {
      each(Int(index))
      index = next[Int(index)]
    }
  }

  private mutating func nextGeneration() {
    generation &+= 1
    if generation == 0 {
      // After 2^32 batches an entry could look fresh.
      table.update(repeating: TableEntry(generation: 0, run: 0), count: tableMask &+ 1)
      generation = 1
    }
  }
}

// MARK: - Sorting packets into runs

extension Coalescer {
  private mutating func sort(_ batch: borrowing PacketBatch, _ offloads: TunOffloads) {
    let can = offloads.contains(.checksum) ? offloads : []
    // The run that the packet before joined: bulk traffic finds it without hashing.
    var recent = -1
    for index in 0..<batch.count {
      next[index] = -1
      let segment = FlowSegment(UnsafeRawBufferPointer(batch[index]))
      switch segment.role {
      case .malformed:
        malformed &+= 1
        continue
      case .stranger:
        beginAlone(index)
        continue
      case .anyFlow:
        closeAll()
        beginAlone(index)
        continue
      case .barrier:
        if let run = find(segment, batch, recent).run { runs[run].isOpen = false }
        beginAlone(index)
        continue
      case .candidate:
        break
      }
      guard Coalescer.merges(segment, can) else {
        beginAlone(index)
        continue
      }
      let place = find(segment, batch, recent)
      if let run = place.run, join(run, segment, index, batch) {
        recent = run
        continue
      }
      guard let slot = place.slot else {
        beginAlone(index)
        continue
      }
      recent = runCount
      begin(segment, index)
      table[slot] = TableEntry(generation: generation, run: Int32(truncatingIfNeeded: recent))
      runs[recent].slot = Int32(truncatingIfNeeded: slot)
    }
  }

  @inline(__always)
  private static func merges(_ segment: FlowSegment, _ can: TunOffloads) -> Bool {
    switch segment.kind {
    case .tcp4: can.contains(.tso4)
    case .tcp6: can.contains(.tso6)
    case .udp4: can.contains(.uso4)
    case .udp6: can.contains(.uso6)
    case .alone: false
    }
  }

  /// The flow's latest run, and the place in the table where it stands or would stand; no place when too many are
  /// taken.
  @inline(__always)
  private func find(
    _ segment: FlowSegment, _ batch: borrowing PacketBatch, _ recent: Int
  ) -> (run: Int?, slot: Int?) {
    if recent >= 0, segment.isSameFlow(as: head(of: recent, batch), runs[recent]) {
      return (recent, Int(runs[recent].slot))
    }
    var slot = Int(truncatingIfNeeded: segment.hash) & tableMask
    for _ in 0..<Coalescer.maximumProbes {
      let entry = table[slot]
      guard entry.generation == generation else { return (nil, slot) }
      let run = Int(entry.run)
      if segment.isSameFlow(as: head(of: run, batch), runs[run]) { return (run, slot) }
      slot = (slot &+ 1) & tableMask
    }
    return (nil, nil)
  }

  @inline(__always)
  private func head(of run: Int, _ batch: borrowing PacketBatch) -> UnsafeRawPointer {
    UnsafeRawPointer(batch.base(Int(runs[run].first)))
  }

  /// Adds a packet to its flow's run; false when it must begin a new one. The run is closed then.
  @inline(__always)
  private mutating func join(
    _ index: Int, _ segment: FlowSegment, _ packet: Int, _ batch: borrowing PacketBatch
  ) -> Bool {
    let run = runs + index
    guard run.pointee.isOpen else { return false }
    let total = Int(run.pointee.headers) &+ Int(run.pointee.payload) &+ segment.payload
    guard segment.continues(head(of: index, batch), run.pointee), total <= IPField.maximumPacket,
      run.pointee.packets < Int32(segment.isTCP ? Coalescer.maximumRun : Coalescer.maximumUDPRun)
    else {
      run.pointee.isOpen = false
      return false
    }
    if !run.pointee.isVerified {
      guard FlowSegment(UnsafeRawBufferPointer(batch[Int(run.pointee.first)])).isIntact else {
        wrongChecksums &+= 1
        run.pointee.isOpen = false
        return false
      }
      run.pointee.isVerified = true
    }
    guard segment.isIntact else {
      wrongChecksums &+= 1
      run.pointee.isOpen = false
      beginAlone(packet)
      return true
    }
    next[Int(run.pointee.last)] = Int32(truncatingIfNeeded: packet)
    run.pointee.last = Int32(truncatingIfNeeded: packet)
    run.pointee.packets &+= 1
    run.pointee.payload &+= Int32(truncatingIfNeeded: segment.payload)
    if segment.payload < Int(run.pointee.segment) || segment.pushes { run.pointee.isOpen = false }
    mergedPackets &+= 1
    return true
  }

  @inline(__always)
  private mutating func begin(_ segment: FlowSegment, _ packet: Int) {
    var run = Run()
    run.kind = segment.kind
    run.isOpen = !segment.pushes
    run.first = Int32(truncatingIfNeeded: packet)
    run.last = run.first
    run.transport = Int32(truncatingIfNeeded: segment.transport)
    run.headers = Int32(truncatingIfNeeded: segment.headers)
    run.segment = Int32(truncatingIfNeeded: segment.payload)
    run.payload = run.segment
    runs[runCount] = run
    runCount &+= 1
  }

  @inline(__always)
  private mutating func beginAlone(_ packet: Int) {
    var run = Run()
    run.first = Int32(truncatingIfNeeded: packet)
    run.last = run.first
    runs[runCount] = run
    runCount &+= 1
  }

  private mutating func closeAll() {
    for index in 0..<runCount { runs[index].isOpen = false }
  }
}

// MARK: - Runs into groups

extension Coalescer {
  @inline(__always)
  private mutating func emit(_ index: Int, _ batch: borrowing PacketBatch) {
    let headerPlace = headerBytes + index &* Coalescer.headerStride
    let first = batch[Int(runs[index].first)]
    let begin = pieceCount
    var bytes = VirtioNetHeader.size &+ first.count
    var header = VirtioNetHeader()
    if runs[index].packets > 1 { header = merge(index, batch) }
    header.write(to: UnsafeMutableRawBufferPointer(start: headerPlace, count: VirtioNetHeader.size))
    add(headerPlace, VirtioNetHeader.size)
    add(batch.base(Int(runs[index].first)), first.count)
    let skip = Int(runs[index].headers)
    var packet = next[Int(runs[index].first)]
    while packet >= 0 {
      let follower = batch[Int(packet)]
      add(batch.base(Int(packet)) + skip, follower.count &- skip)
      bytes &+= follower.count &- skip
      packet = next[Int(packet)]
    }
    (groupStorage + index).initialize(
      to: WriteGroup(pieces: begin..<pieceCount, packets: Int(runs[index].packets), bytes: bytes))
  }

  @inline(__always)
  private mutating func add(_ base: UnsafeMutableRawPointer, _ count: Int) {
    (pieceStorage + pieceCount).initialize(to: WritePiece(base, count))
    pieceCount &+= 1
  }

  /// Rewrites the first packet's header for the whole run and gives the virtio header to go before it.
  private mutating func merge(_ index: Int, _ batch: borrowing PacketBatch) -> VirtioNetHeader {
    let run = runs + index
    let packet = batch.base(Int(run.pointee.first))
    let kind = run.pointee.kind
    let transport = Int(run.pointee.transport)
    let headers = Int(run.pointee.headers)
    let total = headers &+ Int(run.pointee.payload)
    let upper = packet + transport
    if kind.isIPv4 {
      run.pointee.originalHeaderChecksum = UnsafeRawPointer(packet).number16(IPField.v4Checksum)
      setIPv4Length(packet, total)
    } else {
      packet.store(UInt16(truncatingIfNeeded: total &- IPField.v6Header), at: IPField.v6PayloadLength)
    }
    let transportLength = UInt16(truncatingIfNeeded: total &- transport)
    var pseudo = TransportChecksum.pseudoHeader(
      UnsafeRawPointer(packet), isIPv4: kind.isIPv4, protocolNumber: kind.protocolNumber)
    pseudo.add(transportLength)
    let place = kind.isTCP ? TCPField.checksum : UDPField.checksum
    run.pointee.originalChecksum = UnsafeRawPointer(upper).number16(place)
    upper.store(pseudo.folded, at: place)
    if kind.isTCP {
      let flags = UnsafeRawPointer(upper).byte(TCPField.flags)
      let last = UnsafeRawPointer(batch.base(Int(run.pointee.last))).byte(transport &+ TCPField.flags)
      run.pointee.originalFlags = flags
      upper.store(flags | (last & TCPField.push), at: TCPField.flags)
    } else {
      upper.store(transportLength, at: UDPField.length)
    }
    let gsoType: UInt8
    switch kind {
    case .tcp4: gsoType = VirtioNetHeader.gsoTCPv4
    case .tcp6: gsoType = VirtioNetHeader.gsoTCPv6
    case .udp4, .udp6: gsoType = VirtioNetHeader.gsoUDP
    case .alone: gsoType = VirtioNetHeader.gsoNone
    }
    return VirtioNetHeader(
      flags: VirtioNetHeader.needsChecksum, gsoType: gsoType, headerLength: UInt16(truncatingIfNeeded: headers),
      gsoSize: UInt16(truncatingIfNeeded: run.pointee.segment),
      checksumStart: UInt16(truncatingIfNeeded: transport), checksumOffset: UInt16(truncatingIfNeeded: place))
  }

  private func setIPv4Length(_ packet: UnsafeMutableRawPointer, _ total: Int) {
    packet.store(UInt16(truncatingIfNeeded: total), at: IPField.v4TotalLength)
    packet.store(UInt16(0), at: IPField.v4Checksum)
    var sum = InternetChecksum()
    sum.add(UnsafeRawPointer(packet).bytes(0, IPField.v4Header))
    packet.store(sum.value, at: IPField.v4Checksum)
  }

  private func restore(_ run: Run, _ batch: borrowing PacketBatch) {
    let packet = batch.base(Int(run.first))
    let length = Int(run.headers) &+ Int(run.segment)
    let upper = packet + Int(run.transport)
    if run.kind.isIPv4 {
      packet.store(UInt16(truncatingIfNeeded: length), at: IPField.v4TotalLength)
      packet.store(run.originalHeaderChecksum, at: IPField.v4Checksum)
    } else {
      packet.store(UInt16(truncatingIfNeeded: length &- IPField.v6Header), at: IPField.v6PayloadLength)
    }
    if run.kind.isTCP {
      upper.store(run.originalFlags, at: TCPField.flags)
      upper.store(run.originalChecksum, at: TCPField.checksum)
    } else {
      upper.store(UInt16(truncatingIfNeeded: length &- Int(run.transport)), at: UDPField.length)
      upper.store(run.originalChecksum, at: UDPField.checksum)
    }
  }
}

extension PacketBatch {
  /// The first byte of a packet; a packet of no bytes is never asked for.
  @inline(__always)
  func base(_ index: Int) -> UnsafeMutableRawPointer { storage.baseAddress.unsafelyUnwrapped + slot(index).offset }
}
