/// What is known of one flow.
struct Flow {
  enum List: UInt8 { case none, fresh, old }

  var log = PacketLog()
  var codel = CoDel()
  /// What its packets take, with bookkeeping, in bytes.
  var bytes = 0
  /// What it may still send before its turn ends, in bytes; counted with the bookkeeping, so that a packet of no bytes
  /// is not for nothing.
  var deficit = 0
  var list = List.none
  /// The flow behind it in its list.
  var next = FlowIndex.none
  /// Its place among the flows with about as much waiting (`BacklogIndex`).
  var backlogClass: UInt8 = 0
  var previousPeer = FlowIndex.none
  var nextPeer = FlowIndex.none
}

/// A flow's place in the table in 16 bits.
struct FlowIndex: Equatable {
  private let raw: UInt16

  static let none = FlowIndex(raw: .max)

  private init(raw: UInt16) { self.raw = raw }

  @inline(__always)
  init(_ index: Int) { raw = UInt16(truncatingIfNeeded: index) }

  @inline(__always)
  var value: Int? { raw == .max ? nil : Int(raw) }
}

/// The flows that were seen since the table was last reset, and which hash leads to which.
///
/// A hash leads to a bucket, two flows of one bucket are the same flow to us, and a bucket gets an entry when its first
/// packet comes. So a tunnel with three connections holds 2 KB of buckets and a handful of entries, not a thousand. An
/// entry stays when its flow is idle: CoDel remembers how hard it had to press (RFC 8289, section 5.5).
struct FlowTable: ~Copyable {
  let buckets: Int
  /// Entries 0..<`used` are made.
  private(set) var flows: UnsafeMutablePointer<Flow>
  private(set) var used = 0
  private(set) var allocations = 0
  private var capacity = 0
  private var entries: UnsafeMutablePointer<FlowIndex>
  private var hasEntries = false

  private static let firstCapacity = 8

  /// - Parameter buckets: 1 to 32,768.
  init(buckets: Int) {
    self.buckets = buckets
    flows = .allocate(capacity: 0)
    entries = .allocate(capacity: 0)
  }

  // Flows and indexes are trivial: there is nothing to deinitialise.
  deinit {
    flows.deallocate()
    entries.deallocate()
  }

  var footprint: Int {
    capacity &* MemoryLayout<Flow>.stride &+ (hasEntries ? buckets &* MemoryLayout<FlowIndex>.stride : 0)
  }

  /// The entry for a hash; made when there is none. Pointers from before are no longer valid then.
  @inline(__always)
  mutating func flow(for hash: UInt64) -> Int {
    let bucket = Int(truncatingIfNeeded: ((hash >> 32) &* UInt64(truncatingIfNeeded: buckets)) >> 32)
    if hasEntries, let index = entries[bucket].value { return index }
    return add(at: bucket)
  }

  /// Forgets all flows. They must be empty.
  mutating func reset() {
    flows.deallocate()
    entries.deallocate()
    flows = .allocate(capacity: 0)
    entries = .allocate(capacity: 0)
    hasEntries = false
    used = 0
    capacity = 0
  }

  @inline(never)
  private mutating func add(at bucket: Int) -> Int {
    if !hasEntries {
      entries.deallocate()
      entries = .allocate(capacity: buckets)
      entries.initialize(repeating: .none, count: buckets)
      hasEntries = true
      allocations &+= 1
    }
    if used == capacity {
      let larger = min(max(capacity &* 2, Self.firstCapacity), max(buckets, Self.firstCapacity))
      let moved = UnsafeMutablePointer<Flow>.allocate(capacity: larger)
      moved.moveInitialize(from: flows, count: used)
      flows.deallocate()
      flows = moved
      capacity = larger
      allocations &+= 1
    }
    (flows + used).initialize(to: Flow())
    entries[bucket] = FlowIndex(used)
    used &+= 1
    return used &- 1
  }
}

/// Flows that wait for their turn, first come, first served; linked through `Flow.next`.
struct FlowList {
  private var head = FlowIndex.none
  private var tail = FlowIndex.none

  @inline(__always)
  var isEmpty: Bool { head == .none }
  @inline(__always)
  var first: Int? { head.value }

  @inline(__always)
  mutating func append(_ index: Int, _ flows: UnsafeMutablePointer<Flow>) {
    flows[index].next = .none
    if let last = tail.value { flows[last].next = FlowIndex(index) } else { head = FlowIndex(index) }
    tail = FlowIndex(index)
  }

  @inline(__always)
  mutating func removeFirst(_ flows: UnsafeMutablePointer<Flow>) {
    guard let index = head.value else { return }
    head = flows[index].next
    if head == .none { tail = .none }
  }
}
