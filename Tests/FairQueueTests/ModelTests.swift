import Testing
import Values

@testable import FairQueue

/// The queue once more, with arrays, following RFC 8290 and RFC 8289 step by step; the quantum is fixed.
private final class Model {
  struct Packet {
    let bytes: [UInt8]
    let arrival: Instant
    let marking: Marking
    var size: Int { (bytes.count + 16 + 15) / 16 * 16 }
  }

  final class Flow {
    var packets: [Packet] = []
    var deficit = 0
    var isListed = false
    var firstAbove: Instant?
    var dropNext = Instant(nanoseconds: .min)
    var count = 0
    var lastCount = 0
    var isDropping = false
    var size: Int { packets.reduce(0) { $0 + $1.size } }
  }

  var flows: [Int: Flow] = [:]
  var fresh: [Int] = []
  var old: [Int] = []
  var dropped = 0
  var marked = 0
  let buckets: Int
  let quantum: Int
  let target: TimeSpan
  let interval: TimeSpan

  init(buckets: Int, quantum: Int, target: TimeSpan, interval: TimeSpan) {
    self.interval = interval
    self.buckets = buckets
    self.quantum = quantum
    self.target = target
  }

  var count: Int { flows.values.reduce(0) { $0 + $1.packets.count } }
  var size: Int { flows.values.reduce(0) { $0 + $1.size } }

  func flow(_ key: Int) -> Flow {
    if let flow = flows[key] { return flow }
    let flow = Flow()
    flows[key] = flow
    return flow
  }

  func key(_ packet: [UInt8]) -> Int { (Int(traits(packet).hash >> 32) * buckets) >> 32 }

  func enqueue(_ packet: [UInt8], at now: Instant) {
    let flow = flow(key(packet))
    flow.packets.append(Packet(bytes: packet, arrival: now, marking: traits(packet).marking))
    if !flow.isListed {
      flow.isListed = true
      flow.deficit = quantum
      fresh.append(key(packet))
    }
  }

  /// The flow whose turn it is.
  @discardableResult
  func select() -> Flow? {
    while true {
      let isFresh = !fresh.isEmpty
      guard let key = fresh.first ?? old.first else { return nil }
      let flow = flow(key)
      if flow.deficit > 0, !flow.packets.isEmpty { return flow }
      if isFresh { fresh.removeFirst() } else { old.removeFirst() }
      if flow.deficit <= 0 {
        flow.deficit += quantum
        old.append(key)
      } else {
        flow.firstAbove = nil
        flow.isDropping = false
        if isFresh, !old.isEmpty { old.append(key) } else { flow.isListed = false }
      }
    }
  }

  /// What leaves next, as it looks then; `nil` when there is nothing.
  func dequeue(at now: Instant) -> [UInt8]? {
    while let flow = select() {
      guard let packet = codel(flow, now) else { continue }
      flow.deficit -= (packet.count + 31) / 16 * 16
      return packet
    }
    return nil
  }

  private func control(_ time: Instant, _ count: Int) -> Instant {
    time + TimeSpan(nanoseconds: Int64(Double(interval.nanoseconds) / Double(count).squareRoot()))
  }

  private func look(_ flow: Flow, _ now: Instant) -> (packet: Packet, isOK: Bool)? {
    guard !flow.packets.isEmpty else {
      flow.firstAbove = nil
      return nil
    }
    let packet = flow.packets.removeFirst()
    if now - packet.arrival < target || flow.size <= max(1514, packet.bytes.count) {
      flow.firstAbove = nil
      return (packet, false)
    }
    guard let first = flow.firstAbove else {
      flow.firstAbove = now + interval
      return (packet, false)
    }
    return (packet, now >= first)
  }

  private func codel(_ flow: Flow, _ now: Instant) -> [UInt8]? {
    guard var (packet, isOK) = look(flow, now) else {
      flow.isDropping = false
      return nil
    }
    if flow.isDropping {
      if !isOK { flow.isDropping = false }
      while flow.isDropping, now >= flow.dropNext {
        if now - flow.dropNext > interval { flow.dropNext = now }
        flow.count += 1
        flow.dropNext = control(flow.dropNext, flow.count)
        if let marked = mark(packet) { return marked }
        dropped += 1
        guard let next = look(flow, now) else {
          flow.isDropping = false
          return nil
        }
        (packet, isOK) = next
        if !isOK { flow.isDropping = false }
      }
    } else if isOK {
      let delta = flow.count - flow.lastCount
      flow.count = delta > 1 && now - flow.dropNext < interval * 16 ? delta : 1
      flow.lastCount = flow.count
      flow.dropNext = control(now, flow.count)
      flow.isDropping = true
      if let marked = mark(packet) { return marked }
      dropped += 1
      guard let next = look(flow, now) else {
        flow.isDropping = false
        return nil
      }
      (packet, isOK) = next
      if !isOK { flow.isDropping = false }
    }
    if packet.marking.isScalable, now - packet.arrival >= target, flow.size > max(1514, packet.bytes.count) {
      return mark(packet)
    }
    return packet.bytes
  }

  private func mark(_ packet: Packet) -> [UInt8]? {
    guard packet.marking.isPossible else { return nil }
    guard packet.marking.rawValue & 3 != 3 else { return packet.bytes }
    marked += 1
    var bytes = packet.bytes
    if bytes[0] >> 4 == 4 {
      bytes[1] |= 3
      let sum = ~slowSum([~bytes[10], ~bytes[11], ~packet.bytes[0], ~packet.bytes[1], bytes[0], bytes[1]])
      bytes[10] = UInt8(sum >> 8)
      bytes[11] = UInt8(sum & 0xFF)
    } else {
      bytes[1] |= 0x30
    }
    return bytes
  }
}

@Suite struct ModelTests {
  /// Packets of all kinds, some of them broken: of one of `flows` flows.
  private static func packet(_ dice: inout Dice, flows: Int, number: UInt32) -> [UInt8] {
    let forge = Forge(
      isIPv4: dice.below(2) == 0, protocolNumber: [6, 17, 1, 58, 47, 50, 44, 0][dice.below(8)],
      host: UInt8(dice.below(3)), port: UInt16(dice.below(flows)), ecn: ECN.allCases[dice.below(4)])
    let size = dice.below(3) == 0 ? 40 + dice.below(60) : dice.below(10) == 0 ? dice.below(6000) : 1400
    var packet = forge.packet(number, size: max(size, forge.headerLength + 8))
    switch dice.below(8) {
    case 0: packet[dice.below(min(packet.count, 48))] = UInt8(dice.below(256))
    case 1: for _ in 0..<4 { packet[dice.below(packet.count)] ^= 1 << UInt8(dice.below(8)) }
    case 2: packet = Array(packet[..<(2 + dice.below(packet.count - 2))])
    case 3: packet = Array(packet[..<(packet.count - dice.below(12))])
    case 4: packet += dice.bytes(dice.below(20))
    default: break
    }
    return packet
  }

  @Test(
    "In every order of calls, what leaves is what a slow model of the RFCs lets go, byte for byte",
    arguments: 0..<40 as Range<UInt64>)
  func model(_ seed: UInt64) {
    var dice = Dice(seed)
    let buckets = [1, 3, 16, 1024][Int(seed) % 4]
    let limit = seed % 3 == 0 ? 40_000 : 1 << 24
    let quantum = [256, 1514, 6000][Int(seed) % 3]
    let target = TimeSpan.milliseconds(3)
    let interval = TimeSpan.milliseconds(20)
    let model = Model(buckets: buckets, quantum: quantum, target: target, interval: interval)
    var queue = FairQueue(
      seed: 1, limit: limit, flows: buckets, target: target, interval: interval, quantum: quantum...quantum)
    var now = Instant(nanoseconds: 1_000_000_000)
    // A packet of each flow, to ask the queue about it.
    var samples: [Int: [UInt8]] = [:]
    var lost = 0
    var taken = 0
    var number: UInt32 = 0
    for round in 0..<1500 {
      let burst = dice.below(20) == 0 ? 40 : dice.below(5)
      for _ in 0..<burst {
        let packet = Self.packet(&dice, flows: 6, number: number)
        number += 1
        samples[model.key(packet)] = packet
        model.enqueue(packet, at: now)
        let before = queue.overflowed
        packet.withUnsafeBytes { queue.enqueue($0, at: now) }
        guard queue.overflowed != before else { continue }
        // Who lost it? Where it was one packet, one of the fattest must have lost it.
        #expect(model.size > limit)
        let lostNow = queue.overflowed - before
        for _ in 0..<lostNow {
          let most = model.flows.values.map(\.size).max() ?? 0
          let victims = model.flows.filter { key, flow in
            guard let sample = samples[key] else { return false }
            return sample.withUnsafeBytes { queue.backlog(ofFlowOf: $0) } < flow.size
          }
          guard let victim = victims.values.max(by: { $0.size < $1.size }) else { break }
          #expect(lostNow > 1 || victim.size * 9 >= most * 8)
          victim.packets.removeFirst()
          lost += 1
        }
        #expect(model.size <= limit)
      }
      now = now + .microseconds(Int64(dice.below(dice.below(50) == 0 ? 400_000 : 2_000)))
      let slots = dice.below(30) == 0 ? 1000 : 1 + dice.below(5)
      var batch = PacketBatch(capacity: 1 << 20, maximumCount: slots, headroom: dice.below(3))
      queue.dequeue(into: &batch, at: now)
      for index in 0..<batch.count {
        let expected = model.dequeue(at: now)
        guard expected == Array(batch[index]) else {
          Issue.record("round \(round): another packet left than the model says")
          return
        }
        taken += 1
      }
      // A full batch makes the queue look whose turn it would be; an empty queue drops what it must first.
      if batch.count < slots { #expect(model.dequeue(at: now) == nil) } else { model.select() }
      #expect(queue.count == model.count)
      #expect(queue.bytes == model.flows.values.reduce(0) { $0 + $1.packets.reduce(0) { $0 + $1.bytes.count } })
      #expect(Int(queue.dropped) == model.dropped)
      #expect(Int(queue.marked) == model.marked)
      #expect(Int(queue.overflowed) == lost)
      #expect(queue.enqueued == queue.dequeued + queue.dropped + queue.overflowed + UInt64(queue.count))
      if dice.below(200) == 0 {
        let isEmpty = queue.isEmpty
        queue.trim()
        if isEmpty {
          model.flows = [:]
          model.fresh = []
          model.old = []
        }
      }
    }
    #expect(taken > 1000)
    #expect(queue.enqueued == UInt64(number))
    if limit > 1 << 20 { #expect(queue.dropped + queue.marked > 20, "\(queue.dropped) \(queue.marked)") }
    if limit < 1 << 20 { #expect(queue.overflowed > 20) }
  }

  @Test("Arbitrary bytes at arbitrary times pass unharmed, or are dropped and counted")
  func noise() {
    var dice = Dice(99)
    var queue = FairQueue(seed: 2, limit: 50_000, flows: 7)
    var batch = PacketBatch(capacity: 20_000, maximumCount: 8, headroom: 2)
    for _ in 0..<30_000 {
      let packet = dice.bytes(dice.below(dice.below(20) == 0 ? 30_000 : 100))
      let now = dice.below(3) == 0 ? Int64(bitPattern: dice.next()) : Int64(dice.below(1_000_000_000))
      packet.withUnsafeBytes { queue.enqueue($0, at: Instant(nanoseconds: now)) }
      if dice.below(4) == 0 {
        batch.removeAll()
        queue.dequeue(into: &batch, at: Instant(nanoseconds: Int64(bitPattern: dice.next())), atMost: dice.below(5000))
      }
    }
    #expect(queue.enqueued == queue.dequeued + queue.dropped + queue.overflowed + UInt64(queue.count))
    #expect(queue.dequeued > 10_000)
  }
}
