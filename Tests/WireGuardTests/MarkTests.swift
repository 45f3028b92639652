import Testing
import Values

@testable import WireGuard

/// Congestion marks through the machine. What a pair of bits becomes is the table of `TunnelECNTests`; here is where the
/// bits come from and go.
@Suite("Congestion marks in WireGuard")
struct MarkTests {
  private func marked(_ packet: [UInt8], _ bits: UInt8) -> [UInt8] {
    var packet = packet
    packet.withUnsafeMutableBytes { ECN.set(bits, in: $0) }
    return packet
  }

  @Test("The outer header has the packet's own bits, and a batch is parted only where they change")
  func sealing() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    two.a.sentMarks = []
    let marks: [UInt8] = [2, 2, 2, 0, 0, 1, 3, 3, 2]
    let packets = zip(two.there(marks.count), marks).map { marked($0, $1) }
    var batch = PacketBatch(
      capacity: 1 << 16, maximumCount: 64, headroom: WireGuardLimit.headerSize,
      tailroom: Outbound.tailroom(mtu: 1_420))
    for packet in packets { #expect(packet.withUnsafeBytes { batch.append(copying: $0) }) }
    two.a.outbound.seal(&batch, at: two.world.now) { _, _ in }
    #expect(two.a.outbound.runs.map(\.ecn) == [2, 0, 1, 3, 2])
    #expect(two.a.outbound.runs.map(\.count) == [3, 2, 1, 2, 1])
    // In order, and back to back: equal ones still leave in one send.
    #expect(two.a.outbound.runs.map(\.first) == [0, 3, 5, 6, 8])
    #expect(batch.equalRun(from: 0, limit: 64, byteLimit: 65_535) == marks.count)
  }

  @Test("A packet that waited for a key leaves with its bits, and a keepalive with none")
  func waiting() throws {
    let two = try Two()
    two.world.send(two.a, zip(two.there(3), [2, 0, 3]).map { marked($0, $1) })
    two.world.run(.seconds(1))
    #expect(two.a.sentMarks == [2, 0, 3])
    // The other end got data and sent none: it answers with a keepalive.
    two.b.sentMarks = []
    two.world.run(.seconds(12))
    #expect(two.b.sentMarks == [0])
  }

  @Test("A mark of the outer header reaches the packet inside, or drops what would not understand it")
  func opening() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    for (outer, expected) in [
      (UInt8(0), [UInt8(0), 1, 2, 3]), (1, [0, 1, 1, 3]), (2, [0, 1, 2, 3]), (3, [3, 3, 3]),
    ] {
      two.b.delivered = []
      two.a.sent = []
      let dropped = two.b.inbound.drops.congested
      let before = two.b.device.status(of: two.bPeer)?.receivedBytes
      let packets = zip(two.there(4), UInt8(0)...3).map { marked($0, $1) }
      two.a.send(packets, at: two.world.now)
      two.b.receive(two.a.sent.map(\.bytes), from: two.a.address, ecn: outer, at: two.world.now)
      #expect(two.b.delivered.map { $0.withUnsafeBytes { ECN.bits(of: $0) } } == expected, "outer \(outer)")
      #expect(two.b.inbound.drops.congested == dropped + (outer == 3 ? 1 : 0))
      // Dropped or not, they were authentic: a sign of life, and counted.
      let after = two.b.device.status(of: two.bPeer)?.receivedBytes
      #expect((after ?? 0) - (before ?? 0) == UInt64(two.a.sent.map(\.bytes.count).reduce(0, +)))
    }
  }
}
