import Values

/// A FQ-CoDel queue (RFC 8290) for the packets of a tunnel whose carrier takes nothing more at the moment.
///
/// A stream that is full has to be waited for. If the device is not read meanwhile, its ring fills: hundreds of entries
/// of up to 64 KiB, all in one line, and a ping stands behind seconds of somebody's upload. So the pump goes on
/// reading and puts the packets here, and when the carrier takes more, they leave in a better order than they came:
///
/// 1. A packet's addresses, protocol and ports are hashed with a secret seed to one of `flows` flows, and it is copied
///    to the end of that flow's log. Within a flow nothing is ever reordered.
/// 2. A flow that was idle is *fresh*: it goes before all others until it has sent a quantum. So a ping, a keystroke,
///    an ACK, the first packets of anything pass by whatever is standing here. Then it is *old*, and old flows take
///    turns, a quantum each (RFC 8290, section 4.2).
/// 3. On its way out every packet is judged by its flow's CoDel (RFC 8289): when packets have stayed above `target`
///    for an `interval`, one is dropped, or marked if it says that its sender understands, and then more and more
///    often until the standing queue is gone. ECT(1) is marked as soon as a packet has stayed above the target (RFC
///    8290, section 5.2.7), since its senders expect many gentle marks (RFC 9331, section 5.2); it is never dropped
///    where ECT(0) would be marked.
/// 4. When all packets together reach `limit`, the oldest packet of the fattest flow goes (see `BacklogIndex`).
///
/// The quantum trades the wait of a flow that is just above "sparse" (up to a quantum for each bulk flow) against runs
/// of equal segments, which the other end merges into one write and a datagram socket sends as one. No fixed number
/// is right: four packets are 0.05 ms at 1 Gb/s and 48 ms at 1 Mb/s. So it is what the carrier has lately taken in a
/// millisecond, but not less than a packet (1,514 bytes) and not more than 24,000 bytes, which is 16 full segments:
/// beyond that, merging saves hardly anything more. `ServiceRate` measures it.
///
/// The target is not raised for slow links, where one packet takes longer than 5 ms: CoDel leaves a backlog of one
/// packet alone anyway, and with that, senders in simulation use 0.5 to 2 Mb/s as fully with either target.
///
/// Fragments are told apart by addresses and protocol alone. Their identification would make each datagram a flow of
/// its own, fresh every time, and whoever sends fragments would be served before everybody else.
///
/// What has been dequeued can no longer overtake: take as little as the carrier will send at once (`atMost`), and ask
/// again. The same holds for the socket's own buffer behind it.
///
/// Memory: packets lie in chunks of 2 KiB which are recycled; a table entry is made for a flow when it is first seen.
/// In steady state nothing is allocated. `trim` gives back what is not needed; an empty, trimmed queue holds nothing
/// but itself. Every operation takes a constant time for each packet that goes in or out.
///
/// Safety: flows are found by index and chunks by pointer, and both come from here, never from a packet. What a packet
/// says is read once, with every offset checked (`PacketTraits`), and only decides which flow it belongs to and
/// whether it may be marked.
public struct FairQueue: ~Copyable {
  /// The most that all packets may take, with 16 to 31 bytes of bookkeeping for each, in bytes. Chunks that are partly
  /// filled come on top: less than 4 KiB for each flow that has packets.
  public let limit: Int
  /// How long packets may stay for a whole `interval` before CoDel acts.
  public let target: TimeSpan
  public let interval: TimeSpan
  /// The bounds of what a flow may send in its turn, in bytes.
  public let quantumRange: ClosedRange<Int>

  /// The number of packets here, and their bytes.
  public private(set) var count = 0
  public private(set) var bytes = 0
  /// Packets ever taken in and given out. What came in went out, was dropped, overflowed, or is still here.
  public private(set) var enqueued: UInt64 = 0
  public private(set) var dequeued: UInt64 = 0
  /// Packets that CoDel dropped.
  public private(set) var dropped: UInt64 = 0
  /// Packets that left with a congestion mark that they did not have when they came.
  public private(set) var marked: UInt64 = 0
  /// Packets that had to go because the limit was reached, or that are larger than an IP packet or an empty batch.
  public private(set) var overflowed: UInt64 = 0

  private let key: SipHash.Key
  private var table: FlowTable
  private var chunks = ChunkStore()
  private var backlog: BacklogIndex
  private var fresh = FlowList()
  private var old = FlowList()
  private var rate = ServiceRate()
  /// Bytes that the packets take with their bookkeeping; compared with the limit.
  private var charged = 0
  private var quantum: Int

  /// A packet of the usual size: a backlog that is no larger is not a queue (RFC 8289, section 5.6).
  static let usualPacket = 1_514
  /// What IP can say without jumbograms: IPv6's fixed header and 65,535 bytes.
  static let maximumPacket = 65_575
  static let maximumLimit = 1 << 30
  static let maximumFlows = 1 << 15
  /// Even the largest packet is paid for after a few hundred rounds.
  static let leastQuantum = 256

  /// - Parameters:
  ///   - seed: a secret number, so that nobody outside can choose ports that fall together with somebody's flow.
  ///   - limit: bytes of memory for packets, 4,096 to 2^30 (values beyond are brought into the range).
  ///   - flows: the number of flows told apart, 1 to 32,768.
  ///   - target: time that a packet may wait without CoDel acting.
  ///   - interval: the time in which senders can react: a long round trip.
  ///   - quantum: bytes a flow may send in its turn, 256 at least; the carrier's rate chooses from the range.
  public init(
    seed: UInt64, limit: Int, flows: Int = 1024, target: TimeSpan = .milliseconds(5),
    interval: TimeSpan = .milliseconds(100), quantum: ClosedRange<Int> = 1_514...24_000
  ) {
    self.limit = min(max(limit, 4_096), Self.maximumLimit)
    self.target = max(target, TimeSpan(nanoseconds: 1))
    self.interval = max(interval, TimeSpan(nanoseconds: 1))
    quantumRange = max(quantum.lowerBound, Self.leastQuantum)...max(quantum.upperBound, Self.leastQuantum)
    self.quantum = quantumRange.lowerBound
    key = SipHash.Key(seed: seed)
    table = FlowTable(buckets: min(max(flows, 1), Self.maximumFlows))
    backlog = BacklogIndex()
  }

  deinit {
    for index in 0..<table.used { table.flows[index].log.deallocate() }
  }

  public var isEmpty: Bool { count == 0 }

  /// Copies a packet in. It may cost this or another packet its place: see `overflowed`.
  public mutating func enqueue(_ packet: UnsafeRawBufferPointer, at now: Instant) {
    enqueue(packet, traits(of: packet), at: now)
  }

  /// What the queue reads of a packet. It needs the key, which no recording has.
  public func traits(of packet: UnsafeRawBufferPointer) -> PacketTraits { PacketTraits(of: packet, key: key) }

  /// The same for a packet whose traits were read before.
  @inline(__always)
  public mutating func enqueue(_ packet: UnsafeRawBufferPointer, _ traits: PacketTraits, at now: Instant) {
    enqueued &+= 1
    guard packet.count <= Self.maximumPacket, PacketLog.size(ofRecord: packet.count) <= limit else {
      overflowed &+= 1
      return
    }
    let index = table.flow(for: traits.hash)
    let size = PacketLog.size(ofRecord: packet.count)
    let flow = table.flows + index
    flow.pointee.log.append(packet, marking: traits.marking, at: now, from: &chunks)
    count &+= 1
    bytes &+= packet.count
    charge(index, size)
    if flow.pointee.list == .none {
      flow.pointee.deficit = quantum
      flow.pointee.list = .fresh
      fresh.append(index, table.flows)
    }
    while charged > limit, let fattest = backlog.fattest {
      remove(from: fattest, copyingTo: nil)
      overflowed &+= 1
    }
  }

  /// Copies all packets of a batch in, in their order.
  public mutating func enqueue(contentsOf batch: borrowing PacketBatch, at now: Instant) {
    for index in 0..<batch.count { enqueue(UnsafeRawBufferPointer(batch[index]), at: now) }
  }

  /// Appends packets to the batch until it is full, `atMost` bytes of packets were taken (but one packet at least), or
  /// none is left. A packet that not even an empty batch can take is dropped.
  ///
  /// - Returns: the number of packets appended.
  @discardableResult
  public mutating func dequeue(into batch: inout PacketBatch, at now: Instant, atMost byteLimit: Int = .max) -> Int {
    if rate.resume(at: now) { adapt() }
    var taken = 0
    var takenBytes = 0
    while let index = nextFlow() {
      let record = table.flows[index].log.first
      guard taken == 0 || record.length <= byteLimit &- takenBytes else { break }
      guard let room = batch.reserve(record.length) else {
        guard batch.isEmpty else { break }
        remove(from: index, copyingTo: nil)
        overflowed &+= 1
        continue
      }
      let verdict = judge(index, record, at: now)
      if verdict == .drop {
        batch.removeLast()
        remove(from: index, copyingTo: nil)
        dropped &+= 1
        continue
      }
      table.flows[index].deficit &-= PacketLog.size(ofRecord: record.length)
      remove(from: index, copyingTo: room.baseAddress)
      if verdict == .mark, record.marking.apply(to: room) { marked &+= 1 }
      taken &+= 1
      takenBytes &+= record.length
    }
    dequeued &+= UInt64(taken)
    rate.pause(after: takenBytes, isBacklogged: count > 0)
    return taken
  }

  /// Gives back the memory that no packet uses; of an empty queue all of it, and what was learnt about flows with it.
  /// For the owner to call when there was nothing to do for a while.
  public mutating func trim() {
    chunks.releaseUnused()
    guard count == 0 else { return }
    table.reset()
    backlog.reset()
    fresh = FlowList()
    old = FlowList()
  }

  /// Bytes of memory held at the moment, the queue itself aside.
  public var footprint: Int { chunks.footprint &+ table.footprint }

  /// Allocations made so far; in steady state it stands still.
  var allocations: Int { chunks.allocations &+ table.allocations }

  /// What the flow of this packet has waiting, in bytes with bookkeeping.
  mutating func backlog(ofFlowOf packet: UnsafeRawBufferPointer) -> Int {
    table.flows[table.flow(for: PacketTraits(of: packet, key: key).hash)].bytes
  }
}

// MARK: - Whose turn it is

extension FairQueue {
  /// The flow to take the next packet from: it has one, and has not used up its turn. RFC 8290, section 4.2.
  private mutating func nextFlow() -> Int? {
    let flows = table.flows
    while true {
      let isFresh = !fresh.isEmpty
      guard let index = isFresh ? fresh.first : old.first else { return nil }
      let flow = flows + index
      if flow.pointee.deficit <= 0 {
        flow.pointee.deficit &+= quantum
        take(isFresh)
        flow.pointee.list = .old
        old.append(index, flows)
      } else if flow.pointee.bytes == 0 {
        flow.pointee.codel.ranEmpty()
        take(isFresh)
        // A fresh flow does not become idle, and by its next packet fresh again, before the others had their turn.
        if isFresh, !old.isEmpty {
          flow.pointee.list = .old
          old.append(index, flows)
        } else {
          flow.pointee.list = .none
        }
      } else {
        return index
      }
    }
  }

  @inline(__always)
  private mutating func take(_ isFresh: Bool) {
    if isFresh { fresh.removeFirst(table.flows) } else { old.removeFirst(table.flows) }
  }

  /// A new measurement of the carrier's rate: what follows from it.
  private mutating func adapt() {
    quantum = min(max(rate.bytes(in: .milliseconds(1)), quantumRange.lowerBound), quantumRange.upperBound)
  }
}

// MARK: - Packets

extension FairQueue {
  private enum Verdict { case pass, mark, drop }

  private mutating func judge(_ index: Int, _ record: PacketLog.Record, at now: Instant) -> Verdict {
    let flow = table.flows + index
    let sojourn = now - record.arrival
    let size = PacketLog.size(ofRecord: record.length)
    // With no more than a packet behind it, to drop or mark this one would only leave the carrier idle.
    let isAbove = sojourn >= target && flow.pointee.bytes &- size > max(Self.usualPacket, record.length)
    let isDue = flow.pointee.codel.isSignalDue(isAbove: isAbove, at: now, interval: interval)
    if isDue { return record.marking.isPossible ? .mark : .drop }
    return isAbove && record.marking.isScalable ? .mark : .pass
  }

  /// Takes a flow's first packet out.
  @inline(__always)
  private mutating func remove(from index: Int, copyingTo room: UnsafeMutableRawPointer?) {
    let length = table.flows[index].log.removeFirst(copyingTo: room, to: &chunks)
    count &-= 1
    bytes &-= length
    charge(index, -PacketLog.size(ofRecord: length))
  }

  @inline(__always)
  private mutating func charge(_ index: Int, _ size: Int) {
    charged &+= size
    table.flows[index].bytes &+= size
    backlog.update(index, table.flows)
  }
}
