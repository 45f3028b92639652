import Values

@testable import FairQueue

// Packets as arrays of bytes, and the obvious ways to look at them. Nothing here uses the module for what a test then
// compares with it.

/// A small generator with a seed, so that a failing case can be run again (SplitMix64).
struct Dice: RandomNumberGenerator {
  var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

enum ECN: UInt8, CaseIterable { case none = 0, ect1, ect0, ce }

/// Whole packets of one flow. `number` is written into the first four bytes behind the ports, so that packets of a flow
/// can be told apart.
struct Forge {
  var isIPv4 = true
  var protocolNumber: UInt8 = 6
  var host: UInt8 = 1
  var port: UInt16 = 1
  var ecn = ECN.none

  var headerLength: Int { isIPv4 ? 20 : 40 }

  func packet(_ number: UInt32, size: Int) -> [UInt8] {
    var packet: [UInt8]
    if isIPv4 {
      packet = [0x45, ecn.rawValue, 0, 0, 0, 0, 0x40, 0, 64, protocolNumber, 0, 0, 10, 0, 0, host, 10, 9, 9, 9]
    } else {
      packet = [0x60, ecn.rawValue << 4, 0, 0, 0, 0, protocolNumber, 64]
      packet += [
        0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host, 0xFD, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
      ]
    }
    packet += [UInt8(port >> 8), UInt8(port & 0xFF), 0x1F, 0x90]
    packet += (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }
    packet += [UInt8](repeating: 0, count: max(0, size - packet.count))
    Self.complete(&packet)
    return packet
  }

  /// Sets the length and, in IPv4, the header's checksum.
  static func complete(_ packet: inout [UInt8]) {
    let isIPv4 = packet[0] >> 4 == 4
    let length = isIPv4 ? packet.count : packet.count - 40
    packet[isIPv4 ? 2 : 4] = UInt8(length >> 8)
    packet[isIPv4 ? 3 : 5] = UInt8(length & 0xFF)
    guard isIPv4 else { return }
    packet[10] = 0
    packet[11] = 0
    let sum = ~slowSum(Array(packet[..<(Int(packet[0] & 15) * 4)]))
    packet[10] = UInt8(sum >> 8)
    packet[11] = UInt8(sum & 0xFF)
  }

  static func number(of packet: [UInt8]) -> UInt32 {
    let start = (packet[0] >> 4 == 4 ? 20 : 40) + 4
    return packet[start..<(start + 4)].reduce(0) { $0 << 8 | UInt32($1) }
  }

  static func port(of packet: [UInt8]) -> UInt16 {
    let start = packet[0] >> 4 == 4 ? 20 : 40
    return UInt16(packet[start]) << 8 | UInt16(packet[start + 1])
  }

  static func ecn(of packet: [UInt8]) -> ECN {
    ECN(rawValue: packet[0] >> 4 == 4 ? packet[1] & 3 : packet[1] >> 4 & 3) ?? .none
  }
}

/// RFC 1071 as its text says it.
func slowSum(_ bytes: [UInt8]) -> UInt16 {
  var sum: UInt32 = 0
  for index in stride(from: 0, to: bytes.count, by: 2) {
    sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
    sum = (sum & 0xFFFF) + (sum >> 16)
  }
  return UInt16(sum)
}

/// A queue and a batch to take packets out with, at a time that the test sets.
struct Bench: ~Copyable {
  var queue: FairQueue
  var now = Instant(nanoseconds: 1_000_000_000_000)
  var batch: PacketBatch

  init(_ queue: consuming FairQueue, capacity: Int = 256 * 1024, maximumCount: Int = 512, headroom: Int = 0) {
    self.queue = queue
    batch = PacketBatch(capacity: capacity, maximumCount: maximumCount, headroom: headroom)
  }

  mutating func put(_ packet: [UInt8]) { packet.withUnsafeBytes { queue.enqueue($0, at: now) } }

  mutating func put(_ packet: [UInt8], at time: Instant) { packet.withUnsafeBytes { queue.enqueue($0, at: time) } }

  /// What one call gives.
  mutating func take(atMost bytes: Int = .max) -> [[UInt8]] {
    batch.removeAll()
    queue.dequeue(into: &batch, at: now, atMost: bytes)
    return (0..<batch.count).map { Array(batch[$0]) }
  }

  /// The next packet alone.
  mutating func takeOne() -> [UInt8]? { take(atMost: 1).first }

  /// Sends the next packet over a link of this rate: time goes on by what that takes.
  mutating func transmit(bytesPerSecond: Double) -> [UInt8]? {
    guard let packet = takeOne() else { return nil }
    now = now + TimeSpan(nanoseconds: Int64(Double(packet.count) / bytesPerSecond * 1e9))
    return packet
  }

  mutating func wait(_ span: TimeSpan) { now = now + span }

  mutating func backlog(_ packet: [UInt8]) -> Int { packet.withUnsafeBytes { queue.backlog(ofFlowOf: $0) } }
}

func traits(_ packet: [UInt8], seed: UInt64 = 1) -> PacketTraits {
  packet.withUnsafeBytes { PacketTraits(of: $0, key: SipHash.Key(seed: seed)) }
}
