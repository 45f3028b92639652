/// Finds the flow with the most waiting, in constant time.
///
/// To look at all flows whenever the limit is reached is what a flood would make us do all the time, and an exact order
/// would have to be repaired with every packet. So flows with packets are filed by size: eight classes for each
/// doubling. A flow moves when its class changes, and any flow of the highest class that has one is within an eighth of
/// the fattest.
///
/// Classes are doubly linked lists through the flows; one bit for each class says that there is somebody. Class 0 is
/// that of the empty, who are in no list.
struct BacklogIndex: ~Copyable {
  /// The unit is 16 bytes, and 2^30 bytes the limit of all (plus the packet that goes beyond it).
  static let classes = 208

  private let heads: UnsafeMutablePointer<FlowIndex>
  private var occupied = SIMD4<UInt64>()

  init() {
    heads = .allocate(capacity: Self.classes)
    heads.initialize(repeating: .none, count: Self.classes)
  }

  deinit { heads.deallocate() }

  /// A flow whose backlog is at least eight ninths of the largest; `nil` when all are empty.
  var fattest: Int? {
    var word = 3
    while word >= 0 {
      if occupied[word] != 0 { return heads[word &* 64 &+ 63 &- occupied[word].leadingZeroBitCount].value }
      word &-= 1
    }
    return nil
  }

  /// Files a flow anew after its `bytes` changed.
  @inline(__always)
  mutating func update(_ index: Int, _ flows: UnsafeMutablePointer<Flow>) {
    let size = Self.sizeClass(of: flows[index].bytes)
    if size != Int(flows[index].backlogClass) { move(index, to: size, flows) }
  }

  /// Forgets all flows.
  mutating func reset() {
    heads.update(repeating: .none, count: Self.classes)
    occupied = SIMD4()
  }

  /// Up to 7 units each size has its class; from there, the three bits behind the highest one count.
  @inline(__always)
  static func sizeClass(of bytes: Int) -> Int {
    let units = bytes >> 4
    guard units >= 8 else { return max(units, 0) }
    let exponent = Int.bitWidth &- 1 &- units.leadingZeroBitCount
    return min((exponent &- 2) &* 8 &+ (units >> (exponent &- 3) & 7), classes &- 1)
  }

  private mutating func move(_ index: Int, to size: Int, _ flows: UnsafeMutablePointer<Flow>) {
    let flow = flows + index
    let from = Int(flow.pointee.backlogClass)
    if from != 0 {
      let before = flow.pointee.previousPeer
      let after = flow.pointee.nextPeer
      if let after = after.value { flows[after].previousPeer = before }
      if let before = before.value {
        flows[before].nextPeer = after
      } else {
        heads[from] = after
        if after == .none { occupied[from >> 6] &= ~(1 << UInt64(from & 63)) }
      }
    }
    flow.pointee.backlogClass = UInt8(truncatingIfNeeded: size)
    guard size != 0 else { return }
    let first = heads[size]
    flow.pointee.previousPeer = .none
    flow.pointee.nextPeer = first
    if let first = first.value { flows[first].previousPeer = FlowIndex(index) }
    heads[size] = FlowIndex(index)
    occupied[size >> 6] |= 1 << UInt64(size & 63)
  }
}
