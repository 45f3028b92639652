import FairQueue
import Recording
import Values

/// The queue before a full carrier on tape: of each packet its length, its flow and its congestion bits, a batch in one
/// line.
///
/// A flow is the hash of its addresses and ports under the queue's secret key. The key is not written, so nobody can
/// tell from a recording who talked to whom; the hash alone decides what the queue does. To show that a replay hands
/// out the packets in the same order, its packets carry their flow where the payload would be.
public struct RecordedFairQueue: Replayable, ~Copyable {
  public static var kind: String { "fair.queue" }

  private var machine: FairQueue
  private let tape: Tape?
  /// Packets have no addresses in a replay, but their flow at their end.
  private var isReplay = false
  private var room: PacketBatch?

  public init(seed: UInt64, limit: Int, _ recorder: Recorder?, about: @autoclosure () -> String) {
    machine = FairQueue(seed: seed, limit: limit)
    tape = recorder?.tape(Self.kind, about: about()) { $0.number("limit", limit) }
  }

  public var isEmpty: Bool { machine.isEmpty }
  public var dropped: UInt64 { machine.dropped }
  public var overflowed: UInt64 { machine.overflowed }

  /// Copies all packets of a batch in, in their order.
  public mutating func enqueue(contentsOf batch: borrowing PacketBatch, at now: Instant) {
    guard let tape, tape.isRolling else { return machine.enqueue(contentsOf: batch, at: now) }
    var traits: [PacketTraits] = []
    for index in 0..<batch.count { traits.append(machine.traits(of: UnsafeRawBufferPointer(batch[index]))) }
    var lengths: [Int] = []
    for index in 0..<batch.count { lengths.append(batch.slot(index).length) }
    enqueue(tape, traits, lengths, at: now) { machine, index in
      machine.enqueue(UnsafeRawBufferPointer(batch[index]), traits[index], at: now)
    }
  }

  private mutating func enqueue(
    _ tape: Tape, _ traits: [PacketTraits], _ lengths: [Int], at now: Instant,
    _ put: (inout FairQueue, Int) -> Void
  ) {
    let isBegun = tape.begin("enqueue", at: now) { line in
      line.numbers("lengths", lengths)
      line.texts("flows", traits.map { String($0.hash, radix: 16) })
      if traits.contains(where: { $0.markingCode != 0 }) {
        line.numbers("ecn", traits.map { Int($0.markingCode) })
      }
    }
    for index in traits.indices { put(&machine, index) }
    if isBegun { end(tape) }
  }

  /// Packets that leave, into an empty batch.
  public mutating func dequeue(into batch: inout PacketBatch, at now: Instant, atMost limit: Int) {
    guard let tape, tape.isRolling else {
      machine.dequeue(into: &batch, at: now, atMost: limit)
      return
    }
    let (capacity, most, headroom) = (batch.capacity, batch.maximumCount, batch.headroom)
    let isBegun = tape.begin("dequeue", at: now) { line in
      line.number("at-most", limit)
      line.number("capacity", capacity)
      line.number("packets", most)
      line.number("headroom", headroom)
    }
    machine.dequeue(into: &batch, at: now, atMost: limit)
    guard isBegun else { return }
    var lengths: [Int] = []
    var flows: [String] = []
    for index in 0..<batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      lengths.append(packet.count)
      guard packet.count >= Self.shortest else { continue }
      let flow = isReplay ? Self.flow(of: packet) : machine.traits(of: packet).hash
      flows.append(String(flow, radix: 16))
    }
    end(tape) { line in
      line.numbers("lengths", lengths)
      line.texts("flows", flows)
    }
  }

  private func end(_ tape: Tape, _ more: (inout RecordLine) -> Void = { _ in }) {
    let (count, bytes) = (machine.count, machine.bytes)
    let (dropped, marked, overflowed) = (machine.dropped, machine.marked, machine.overflowed)
    tape.end { line in
      more(&line)
      line.number("waiting", count)
      line.number("bytes", bytes)
      if dropped > 0 { line.number("dropped", dropped) }
      if marked > 0 { line.number("marked", marked) }
      if overflowed > 0 { line.number("overflowed", overflowed) }
    }
  }

  public mutating func trim() {
    machine.trim()
    tape?.call("trim")
  }

  // MARK: Replay

  /// A packet that has room for its flow behind what a congestion mark changes.
  private static let shortest = 48
  private static let largestLimit = 64 << 20
  private static let largestBatch = 4 << 20

  private static func flow(of packet: UnsafeRawBufferPointer) -> UInt64 {
    packet.loadUnaligned(fromByteOffset: packet.count - 8, as: UInt64.self)
  }

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    self.init(seed: 0, limit: try seed.number("limit", in: 0...Self.largestLimit), recorder, about: about)
    isReplay = true
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    let inputs = call.inputs
    guard let tape else { return }
    switch call.name {
    case "enqueue":
      let lengths = try inputs.numbers("lengths", in: 0...65_575 + 1)
      var flows: [UInt64] = []
      for text in try inputs.texts("flows") {
        guard let flow = UInt64(text, radix: 16) else { throw RecordingError("`\(text)` is no flow") }
        flows.append(flow)
      }
      let codes = inputs.has("ecn") ? try inputs.numbers("ecn", in: 0...3) : lengths.map { _ in 0 }
      guard flows.count == lengths.count, codes.count == lengths.count else {
        throw RecordingError("packets that are not whole")
      }
      let traits = zip(flows, codes).map { PacketTraits(hash: $0, markingCode: UInt8(truncatingIfNeeded: $1)) }
      var packet = [UInt8](repeating: 0, count: lengths.max() ?? 0)
      enqueue(tape, traits, lengths, at: call.at) { machine, index in
        let length = lengths[index]
        packet.withUnsafeMutableBytes { bytes in
          if length >= Self.shortest {
            bytes.storeBytes(of: traits[index].hash, toByteOffset: length - 8, as: UInt64.self)
          }
          machine.enqueue(UnsafeRawBufferPointer(rebasing: bytes[..<length]), traits[index], at: call.at)
        }
      }
    case "dequeue":
      let capacity = try inputs.number("capacity", in: 1...Self.largestBatch)
      let most = try inputs.number("packets", in: 1...65_536)
      let headroom = try inputs.number("headroom", in: 0...4096)
      var batch = take(capacity, most, headroom)
      batch.removeAll()
      dequeue(into: &batch, at: call.at, atMost: try inputs.number("at-most", in: 0...Int.max))
      room = consume batch
    case "trim": trim()
    default: throw call.unknown(Self.kind)
    }
  }

  /// The batch of the last call, or another where that has another size.
  private mutating func take(_ capacity: Int, _ most: Int, _ headroom: Int) -> PacketBatch {
    if let last = room.take(), last.capacity == capacity, last.maximumCount == most, last.headroom == headroom {
      return last
    }
    return PacketBatch(capacity: capacity, maximumCount: most, headroom: headroom)
  }
}
