import Glibc
import PacketOffload
import Testing
import Values

@Suite struct CoalescerTests {
  @Test func `packets of one flow become one write that segmentation turns back`() {
    var dice = Dice(30)
    for (isIPv4, isTCP) in [(true, true), (true, false), (false, true), (false, false)] {
      var flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
      var originals = (0..<20).map { _ in flow.next(dice.bytes(1_200)) }
      originals.append(flow.next(dice.bytes(77), flags: 0x18))
      let made = writes(originals)
      #expect(made.count == 1)
      #expect(segments(made[0]) == originals)
      #expect(expand(made[0]) == originals)
      #expect(
        VirtioNetHeader(
          flags: 1, gsoType: isTCP ? (isIPv4 ? 1 : 4) : 5, headerLength: UInt16(flow.headers), gsoSize: 1_200,
          checksumStart: UInt16(flow.transportOffset), checksumOffset: isTCP ? 16 : 6)
          == made[0].withUnsafeBytes { VirtioNetHeader($0) })
      let packet = Array(made[0][10...])
      let parts = Parts(packet)
      // What the kernel expects: finished but for the transport checksum, which holds the pseudo-header's sum.
      #expect(packet == parts.unfinished())
      if isTCP { #expect(parts.transport[13] == 0x18) }
    }
  }

  @Test func `interleaved flows of all kinds merge as well as single ones, each in its order`() {
    var dice = Dice(31)
    for round in 0..<30 {
      let count = Int.random(in: 2...24, using: &dice)
      var flows = (0..<count).map { index in
        Flow(
          isIPv4: index % 2 == 0, isTCP: index % 3 != 0, options: index % 5 == 0 ? 0 : 12,
          dontFragment: round % 2 == 0, dice: &dice)
      }
      let sizes = flows.map { _ in Int.random(in: 1...1_400, using: &dice) }
      var sent: [Int: [[UInt8]]] = [:]
      var originals: [[UInt8]] = []
      for _ in 0..<200 {
        let index = Int.random(in: 0..<count, using: &dice)
        let packet = flows[index].next(dice.bytes(sizes[index]))
        originals.append(packet)
        sent[index, default: []].append(packet)
      }
      let made = writes(originals)
      // As many writes as 65,535 bytes each ask for.
      let needed = sent.reduce(0) { sum, entry in
        let flow = flows[entry.key]
        let most = min((65_535 - flow.headers) / sizes[entry.key], flow.isTCP ? 512 : 64)
        return sum + (entry.value.count + most - 1) / most
      }
      #expect(made.count == needed)
      for (index, flow) in flows.enumerated() {
        let ports = Array(flow.parts.transport[..<4])
        let got = made.flatMap { segments($0) }.filter { Array(Parts($0).transport[..<4]) == ports }
        #expect(got == sent[index] ?? [])
      }
    }
  }

  @Test func `any mix of flags, sizes, losses and wrong checksums comes out complete and in order within each flow`() {
    var dice = Dice(32)
    var merged: UInt64 = 0
    for _ in 0..<40 {
      let count = Int.random(in: 1...6, using: &dice)
      var flows = (0..<count).map { index in
        Flow(isIPv4: Bool.random(using: &dice), isTCP: index % 3 != 2, dontFragment: index % 2 == 0, dice: &dice)
      }
      var originals: [[UInt8]] = []
      for _ in 0..<120 {
        let index = Int.random(in: 0..<count, using: &dice)
        let choice: [UInt8] = [0x10, 0x10, 0x10, 0x10, 0x10, 0x18, 0x11, 0x02, 0x50, 0x90]
        let flags = choice.randomElement(using: &dice) ?? 0x10
        let size = [0, 1, 500, 1_000, 1_000, 1_000, 1_000, 1_000].randomElement(using: &dice) ?? 1_000
        var packet = flows[index].next(dice.bytes(size), flags: flags)
        switch Int.random(in: 0..<24, using: &dice) {
        case 0: continue
        case 1: packet[packet.count - 1] ^= 0x40
        case 2 where flows[index].isIPv4: packet[11] ^= 1
        case 3 where flows[index].isIPv4: packet[8] &-= 1
        default: break
        }
        originals.append(packet)
      }
      var batch = batch(of: originals)
      var coalescer = Coalescer(maximumCount: 128)
      coalescer.plan(&batch, offloads: .all)
      merged += coalescer.mergedPackets
      let out = writes(coalescer).flatMap(expand)
      #expect(out.count == originals.count)
      for flow in flows {
        let ports = Array(flow.parts.transport[..<4])
        let mine = { (packet: [UInt8]) in
          (packet[0] >> 4 == 4) == flow.isIPv4 && Array(packet[flow.transportOffset...].prefix(4)) == ports
        }
        #expect(out.filter(mine).map(settled) == originals.filter(mine).map(settled))
      }
      #expect(coalescer.mergedPackets + UInt64(coalescer.groups.count) == UInt64(originals.count))
    }
    #expect(merged > 200)
  }

  @Test func `whichever header bit differs, the packets come out as they went in`() {
    var dice = Dice(33)
    for (isIPv4, isTCP) in [(true, true), (true, false), (false, true), (false, false)] {
      for dontFragment in [true, false] {
        var flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dontFragment: dontFragment, dice: &dice)
        let first = flow.next(dice.bytes(200))
        let second = flow.next(dice.bytes(200))
        let third = flow.next(dice.bytes(200))
        #expect(writes([first, second, third]).count == 1)
        for bit in 0..<(flow.headers * 8) {
          var raw = second
          raw[bit / 8] ^= 1 << UInt8(bit % 8)
          // Once with checksums that are wrong now, once with right ones where the packet still parses.
          var variants = [raw]
          if raw[0] == second[0] || !isIPv4 {
            var parts = Parts(second)
            let flipped = Array(raw[..<flow.headers])
            parts.network = Array(flipped[..<flow.transportOffset])
            parts.transport = Array(flipped[flow.transportOffset...])
            variants.append(parts.finished())
          }
          for variant in variants {
            let originals = [first, variant, third]
            let made = writes(originals).flatMap(expand)
            let isPacket = (try? variant.withUnsafeBytes { _ = try IPPacketView($0) }) != nil
            let expected = isPacket ? originals : [first, third]
            // A packet that has become one of another flow may be overtaken; within the flow nothing is.
            if made.count == 3, made[1] == third || settled(made[1]) == settled(third) {
              #expect([made[0], made[2], made[1]].map(settled) == expected.map(settled))
              // With another header length, the ports are elsewhere.
              #expect(flowKey(variant) != flowKey(first) || variant[0] != first[0])
            } else if isIPv4, dontFragment {
              #expect(made.map(settled) == expected.map(settled), "bit \(bit % 8) of byte \(bit / 8)")
            } else {
              #expect(made == expected, "bit \(bit % 8) of byte \(bit / 8)")
            }
          }
        }
      }
    }
  }

  /// The packet without what segmentation may change: the identification of IPv4 packets with DF means nothing (RFC
  /// 6864) and is counted up.
  private func settled(_ packet: [UInt8]) -> [UInt8] {
    guard packet[0] >> 4 == 4, packet[6] & 0x40 != 0 else { return packet }
    var copy = packet
    put(0, 4, in: &copy)
    put(0, 10, in: &copy)
    return copy
  }

  /// Protocol, addresses and ports of a packet without options and extension headers.
  private func flowKey(_ packet: [UInt8]) -> [UInt8] {
    packet[0] >> 4 == 4 ? [packet[9]] + packet[12..<24] : [packet[6]] + packet[8..<44]
  }

  @Test func `a packet with a wrong checksum passes alone and untouched, wherever it stands`() {
    var dice = Dice(34)
    for (isIPv4, isTCP) in [(true, true), (true, false), (false, true), (false, false)] {
      for bad in 0..<5 {
        var flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
        var originals = (0..<5).map { _ in flow.next(dice.bytes(600)) }
        originals[bad][flow.headers + 300] ^= 1
        var batch = batch(of: originals)
        var coalescer = Coalescer(maximumCount: 8)
        coalescer.plan(&batch, offloads: .all)
        let made = writes(coalescer)
        #expect(made.contains([UInt8](repeating: 0, count: 10) + originals[bad]))
        #expect(made.flatMap(expand) == originals)
        #expect(coalescer.wrongChecksums == 1)
      }
    }
  }

  @Test func `a wrong IPv4 header checksum is not repaired by merging`() {
    var dice = Dice(35)
    for bad in 0..<3 {
      var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
      var originals = (0..<3).map { _ in flow.next(dice.bytes(600)) }
      originals[bad][10] ^= 0x10
      #expect(writes(originals).contains([UInt8](repeating: 0, count: 10) + originals[bad]))
    }
  }

  @Test func `what is never merged passes as it is`() {
    var dice = Dice(36)
    let zero = [UInt8](repeating: 0, count: 10)
    func pass(_ originals: [[UInt8]], _ comment: Comment) {
      #expect(writes(originals) == originals.map { zero + $0 }, comment)
    }
    for flags: UInt8 in [0x00, 0x02, 0x11, 0x12, 0x14, 0x30, 0x50, 0x90] {
      var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
      pass((0..<3).map { _ in flow.next(dice.bytes(100), flags: flags) }, "flags \(flags)")
    }
    var pure = Flow(isIPv4: false, isTCP: true, dice: &dice)
    pass((0..<3).map { _ in pure.next([]) }, "pure ACK")
    var options = Flow(isIPv4: true, isTCP: true, dice: &dice)
    options.parts.network[0] = 0x46
    options.parts.network += [1, 1, 1, 1]
    pass((0..<3).map { _ in options.next(dice.bytes(100)) }, "IPv4 options")
    var extended = Flow(isIPv4: false, isTCP: false, dice: &dice)
    extended.parts.network[6] = 60
    extended.parts.network += [17, 0, 1, 4, 0, 0, 0, 0]
    pass((0..<3).map { _ in extended.next(dice.bytes(100)) }, "extension headers")
    var fragments = Flow(isIPv4: true, isTCP: false, dice: &dice)
    fragments.parts.network[6] = 0x20
    pass((0..<3).map { _ in fragments.next(dice.bytes(104)) }, "fragments")
    var silent = Flow(isIPv4: true, isTCP: false, dice: &dice)
    pass(
      (0..<3).map { _ in
        var packet = silent.next(dice.bytes(100))
        put(0, 26, in: &packet)
        return packet
      }, "UDP without checksum")
    var short = Flow(isIPv4: true, isTCP: true, dice: &dice)
    pass((0..<4).map { short.next(dice.bytes(100 + $0)) }, "each longer than the one before")
    var trailing = Flow(isIPv4: true, isTCP: true, dice: &dice)
    pass((0..<3).map { _ in trailing.next(dice.bytes(100)) + [0] }, "bytes behind the packet")
    pass([[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 1, 0, 1]], "ping")
  }

  @Test func `what cannot be merged is not overtaken by what follows it in its flow`() {
    var dice = Dice(37)
    var flow = Flow(isIPv4: true, isTCP: false, dontFragment: false, dice: &dice)
    var barrier = flow
    barrier.parts.network[6] = 0x20
    let before = [flow.next(dice.bytes(500)), flow.next(dice.bytes(500))]
    let fragment = barrier.next(dice.bytes(504))
    let after = [flow.next(dice.bytes(500)), flow.next(dice.bytes(500))]
    let made = writes(before + [fragment] + after)
    #expect(made.count == 3)
    #expect(made.flatMap(expand) == before + [fragment] + after)
    // A datagram without checksum belongs to the flow and stands in its order.
    var bare = flow.next(dice.bytes(500))
    put(0, 26, in: &bare)
    let again = writes(before + [bare] + after)
    #expect(again.count == 3)
    #expect(again.flatMap(expand) == before + [bare] + after)
  }

  @Test func `other flows go on merging around a ping`() {
    var dice = Dice(38)
    var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let ping: [UInt8] = [
      0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0, 1, 0, 1,
    ]
    let made = writes([flow.next(dice.bytes(800)), ping, flow.next(dice.bytes(800))])
    #expect(made.map(\.count) == [10 + 52 + 1_600, 38])
  }

  @Test func `a merged packet stays within 65,535 bytes and within the pieces that one write takes`() {
    var dice = Dice(39)
    for isIPv4 in [true, false] {
      var flow = Flow(isIPv4: isIPv4, isTCP: true, dice: &dice)
      let large = (0..<100).map { _ in flow.next(dice.bytes(1_400)) }
      let made = writes(large)
      #expect(made.count == 3)
      #expect(made.allSatisfy { $0.count <= 10 + 65_535 })
      #expect(made.flatMap(expand) == large)
    }
    var tiny = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let originals = (0..<1_200).map { _ in tiny.next(dice.bytes(3)) }
    var batch = batch(of: originals)
    var coalescer = Coalescer(maximumCount: 1_200)
    coalescer.plan(&batch, offloads: .all)
    #expect(coalescer.groups.map(\.packets) == [512, 512, 176])
    #expect(coalescer.groups.allSatisfy { $0.pieces.count <= 1_024 })
    #expect(writes(coalescer).flatMap(expand) == originals)
    var small = Flow(isIPv4: false, isTCP: false, dice: &dice)
    let datagrams = (0..<150).map { _ in small.next(dice.bytes(10)) }
    #expect(writes(datagrams).map { expand($0).count } == [64, 64, 22])
  }

  @Test func `only what the device takes is merged`() {
    var dice = Dice(40)
    for (isIPv4, isTCP, offload) in [
      (true, true, TunOffloads.tso4), (false, true, .tso6), (true, false, .uso4), (false, false, .uso6),
    ] {
      var flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
      let originals = (0..<4).map { _ in flow.next(dice.bytes(900)) }
      let apart = originals.map { [UInt8](repeating: 0, count: 10) + $0 }
      #expect(writes(originals, offloads: [.checksum, offload]).count == 1)
      #expect(writes(originals, offloads: TunOffloads.all.subtracting(offload)) == apart)
      #expect(writes(originals, offloads: [offload]) == apart)
      #expect(writes(originals, offloads: []) == apart)
    }
  }

  @Test func `a refused write is taken apart into the packets that came`() {
    var dice = Dice(41)
    for (isIPv4, isTCP) in [(true, true), (true, false), (false, true), (false, false)] {
      var flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
      var other = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
      let mine = [700, 700, 700, 33].map { flow.next(dice.bytes($0), flags: $0 == 33 ? 0x18 : 0x10) }
      let theirs = (0..<2).map { _ in other.next(dice.bytes(300)) }
      var batch = batch(of: [mine[0], theirs[0], mine[1], mine[2], theirs[1], mine[3]])
      var coalescer = Coalescer(maximumCount: 6)
      coalescer.plan(&batch, offloads: .all)
      #expect(coalescer.groups.map(\.packets) == [4, 2])
      #expect(coalescer.groups.map(\.isMerged) == [true, true])
      var indices: [Int] = []
      coalescer.takeApart(0, of: &batch) { indices.append($0) }
      #expect(indices == [0, 2, 3, 5])
      #expect(indices.map { Array(batch[$0]) } == mine)
    }
  }

  @Test func `what is no packet is dropped and counted, as writing it would fail`() {
    var dice = Dice(42)
    var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let packet = flow.next(dice.bytes(100))
    var batch = batch(of: [[], [0x55, 1, 2], packet, Array(packet[..<40]), [UInt8](repeating: 0, count: 64)])
    var coalescer = Coalescer(maximumCount: 8)
    coalescer.plan(&batch, offloads: .all)
    #expect(writes(coalescer) == [[UInt8](repeating: 0, count: 10) + packet])
    #expect(coalescer.malformed == 4)
  }

  @Test func `a coalescer is used again and again without remembering`() {
    var dice = Dice(43)
    var coalescer = Coalescer(maximumCount: 16)
    var flow = Flow(isIPv4: false, isTCP: true, dice: &dice)
    for round in 1...50 {
      let originals = (0..<(1 + round % 16)).map { _ in flow.next(dice.bytes(64)) }
      var batch = batch(of: originals)
      coalescer.plan(&batch, offloads: .all)
      #expect(coalescer.groups.count == 1)
      #expect(writes(coalescer).flatMap(expand) == originals)
    }
    #expect(coalescer.writes == 50)
  }

  @Test func `more flows than the table probes for lose merging but no packet and no order`() {
    var dice = Dice(44)
    var flows = (0..<300).map { _ in Flow(isIPv4: true, isTCP: true, dice: &dice) }
    var originals: [[UInt8]] = []
    for _ in 0..<3 {
      for index in flows.indices { originals.append(flows[index].next(dice.bytes(100))) }
    }
    let out = writes(originals).flatMap(expand)
    for flow in flows {
      let ports = Array(flow.parts.transport[..<4])
      #expect(out.filter { Array($0[20..<24]) == ports } == originals.filter { Array($0[20..<24]) == ports })
    }
    #expect(writes(originals).count < 330)
  }

  @Test func `a piece lies in memory as the kernel's iovec does`() {
    #expect(MemoryLayout<WritePiece>.size == MemoryLayout<iovec>.size)
    #expect(MemoryLayout<WritePiece>.stride == MemoryLayout<iovec>.stride)
    #expect(MemoryLayout<WritePiece>.offset(of: \.base) == MemoryLayout<iovec>.offset(of: \.iov_base))
    #expect(MemoryLayout<WritePiece>.offset(of: \.count) == MemoryLayout<iovec>.offset(of: \.iov_len))
  }

  @Test func `random bytes and cut packets make no trap, and every packet comes out at most once`() {
    var dice = Dice(45)
    for _ in 0..<300 {
      var originals: [[UInt8]] = []
      var flow = Flow(isIPv4: Bool.random(using: &dice), isTCP: Bool.random(using: &dice), dice: &dice)
      for _ in 0..<20 {
        var packet = flow.next(dice.bytes(40))
        switch Int.random(in: 0..<4, using: &dice) {
        case 0: packet = dice.bytes(Int.random(in: 0...80, using: &dice))
        case 1: packet = Array(packet.prefix(Int.random(in: 0...packet.count, using: &dice)))
        case 2: packet[Int.random(in: 0..<packet.count, using: &dice)] = UInt8(truncatingIfNeeded: dice.next())
        default: break
        }
        originals.append(packet)
      }
      var batch = batch(of: originals)
      var coalescer = Coalescer(maximumCount: 32)
      coalescer.plan(&batch, offloads: .all)
      let out = writes(coalescer).flatMap(expand)
      #expect(UInt64(out.count) + coalescer.malformed == 20)
      #expect(out.allSatisfy { packet in originals.contains { $0.dropFirst(12) == packet.dropFirst(12) } })
    }
  }
}
