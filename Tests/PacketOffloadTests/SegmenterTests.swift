import PacketOffload
import Testing
import Values

@Suite struct SegmenterTests {
  @Test(arguments: [(true, true), (true, false), (false, true), (false, false)])
  func `random super-packets are cut as the slow reference cuts them, in batches of any size`(
    isIPv4: Bool, isTCP: Bool
  ) {
    var dice = Dice(isIPv4 ? 10 : 11)
    for round in 0..<60 {
      let flow = Flow(
        isIPv4: isIPv4, isTCP: isTCP, options: [0, 12, 20, 40].randomElement(using: &dice) ?? 0,
        dontFragment: Bool.random(using: &dice), dice: &dice)
      let segment = round % 5 == 0 ? Int.random(in: 1...40, using: &dice) : Int.random(in: 41...1_500, using: &dice)
      let limit = round % 10 == 1 ? 65_000 : segment * 9
      let payload = dice.bytes(Int.random(in: 1...min(limit, 65_000), using: &dice))
      let flags: UInt8 = [0x10, 0x18, 0x19, 0x98, 0x50].randomElement(using: &dice) ?? 0x10
      let read = flow.read(payload, segment: segment, flags: flags)
      var parts = flow.parts
      parts.payload = payload
      if isTCP { parts.transport[13] = flags }
      let expected = parts.segments(of: segment)
      let headroom = Int.random(in: 0...3, using: &dice)
      let made = segments(
        read, capacity: Int.random(in: 1_700...20_000, using: &dice), slots: Int.random(in: 1...64, using: &dice),
        headroom: headroom)
      #expect(made == expected)
      #expect(made.allSatisfy(isSound))
      #expect(made.flatMap { Parts($0).payload } == payload)
    }
  }

  @Test func `FIN and PSH stand on the last segment and CWR on the first`() {
    var dice = Dice(12)
    let flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let made = segments(flow.read(dice.bytes(300), segment: 100, flags: 0x99))
    #expect(made.map { Parts($0).transport[13] } == [0x90, 0x10, 0x19])
    let one = segments(flow.read(dice.bytes(100), segment: 100, flags: 0x99))
    #expect(one.map { Parts($0).transport[13] } == [0x99])
  }

  @Test func `the sequence number and the identification wrap around`() {
    var dice = Dice(13)
    var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    flow.parts.transport.replaceSubrange(4..<8, with: [0xFF, 0xFF, 0xFF, 0x9C])
    flow.parts.network.replaceSubrange(4..<6, with: [0xFF, 0xFF])
    let made = segments(flow.read(dice.bytes(300), segment: 100))
    #expect(made.map { Array(Parts($0).transport[4..<8]) } == [[255, 255, 255, 156], [0, 0, 0, 0], [0, 0, 0, 100]])
    #expect(made.map { word($0, 4) } == [0xFFFF, 0, 1])
    #expect(made.allSatisfy(isSound))
  }

  @Test func `IPv4 options and IPv6 extension headers are carried in every segment`() {
    var dice = Dice(14)
    for isTCP in [true, false] {
      var four = Flow(isIPv4: true, isTCP: isTCP, dice: &dice)
      four.parts.network[0] = 0x47
      four.parts.network += [0x94, 4, 0, 0, 1, 1, 1, 1]
      var six = Flow(isIPv4: false, isTCP: isTCP, dice: &dice)
      six.parts.network[6] = 60
      six.parts.network += [isTCP ? 6 : 17, 0, 1, 4, 0, 0, 0, 0]
      for flow in [four, six] {
        let payload = dice.bytes(2_500)
        var parts = flow.parts
        parts.payload = payload
        #expect(segments(flow.read(payload, segment: 999)) == parts.segments(of: 999))
      }
    }
  }

  @Test func `a batch without room keeps the place, and nothing is lost or doubled`() {
    var dice = Dice(15)
    let flow = Flow(isIPv4: false, isTCP: true, dice: &dice)
    let payload = dice.bytes(30_000)
    let read = flow.read(payload, segment: 1_000, flags: 0x18)
    var segmenter = Segmenter()
    var batch = PacketBatch(capacity: 5_000, maximumCount: 100)
    var calls = 0
    var gathered: [[UInt8]] = []
    read.withUnsafeBytes { bytes in
      let begun = segmenter.begin(bytes)
      #expect(begun && !segmenter.isFinished)
      while true {
        calls += 1
        let finished = segmenter.fill(&batch)
        gathered += packets(in: batch)
        batch.removeAll()
        if finished { break }
      }
    }
    #expect(segmenter.isFinished)
    #expect(calls == 8)
    #expect(gathered.flatMap { Parts($0).payload } == payload)
    #expect(segmenter.packets == 30)
    #expect(segmenter.superPackets == 1)
  }

  @Test func `several reads share a batch, and without headroom equal segments lie back to back`() {
    var dice = Dice(16)
    let flow = Flow(isIPv4: true, isTCP: false, dice: &dice)
    var segmenter = Segmenter()
    var batch = PacketBatch(capacity: 50_000, maximumCount: 100)
    for _ in 0..<2 {
      flow.read(dice.bytes(5_000), segment: 1_000).withUnsafeBytes { bytes in
        let begun = segmenter.begin(bytes)
        let filled = segmenter.fill(&batch)
        #expect(begun && filled)
      }
    }
    #expect(batch.count == 10)
    #expect(batch.equalRun(from: 0, limit: 64, byteLimit: 65_000) == 10)
  }

  @Test func `a whole packet passes unchanged, and an unfinished checksum is finished`() {
    var dice = Dice(17)
    for isIPv4 in [true, false] {
      for isTCP in [true, false] {
        let flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
        for size in [0, 1, 2, 63, 64, 65, 1_001] {
          var parts = flow.parts
          parts.payload = dice.bytes(size)
          let plain = [UInt8](repeating: 0, count: 10)
          #expect(segments(plain + parts.finished()) == [parts.finished()])
          let header = VirtioNetHeader(
            flags: 1, checksumStart: UInt16(flow.transportOffset), checksumOffset: isTCP ? 16 : 6)
          #expect(segments(wire(header) + parts.unfinished()) == [parts.finished()])
        }
      }
    }
  }

  @Test func `bytes behind the total length are left out`() {
    var dice = Dice(18)
    var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let packet = flow.next(dice.bytes(50))
    #expect(segments([UInt8](repeating: 0, count: 10) + packet + [1, 2, 3]) == [packet])
  }

  @Test func `a UDP checksum that comes out as zero is sent as all ones, cut or whole`() {
    var dice = Dice(19)
    let flow = Flow(isIPv4: true, isTCP: false, dice: &dice)
    var parts = flow.parts
    parts.payload = [0, 0]
    // The payload that makes the sum 0xFFFF, so that its complement is 0.
    let rest = word(parts.finished(), flow.transportOffset + 6)
    parts.payload = [UInt8(rest >> 8), UInt8(rest & 0xFF)]
    let whole = VirtioNetHeader(flags: 1, checksumStart: 20, checksumOffset: 6)
    #expect(word(segments(wire(whole) + parts.unfinished())[0], 26) == 0xFFFF)
    let cut = segments(flow.read(parts.payload + parts.payload, segment: 2))
    #expect(cut.count == 2)
    #expect(cut.allSatisfy { word($0, 26) == 0xFFFF && isSound($0) })
  }

  @Test func `what does not fit together is dropped and counted by its reason`() {
    var dice = Dice(20)
    let tcp = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let six = Flow(isIPv4: false, isTCP: true, dice: &dice)
    let good = tcp.read(dice.bytes(3_000), segment: 1_000)
    func changed(_ read: [UInt8], _ offset: Int, _ values: UInt8...) -> [UInt8] {
      var copy = read
      for (index, value) in values.enumerated() { copy[offset + index] = value }
      return copy
    }
    let cases: [(OffloadFault, [UInt8])] = [
      (.shortRead, []),
      (.shortRead, Array(good[..<9])),
      (.notIP, Array(good[..<10])),
      (.notIP, Array(good[..<29])),
      (.notIP, changed(good, 10, 0x55)),
      (.notIP, changed(good, 10, 0x43)),
      (.length, Array(good[..<500])),
      (.length, changed(good, 12, 0, 19)),
      (.length, changed(good, 12, 0, 52)),
      (.unknownOffload, changed(good, 1, 3)),
      (.unknownOffload, changed(good, 1, 77)),
      (.segmentSize, changed(good, 4, 0, 0)),
      (.headerHint, changed(good, 2, 0xFF, 0xFF)),
      (.transport, changed(good, 1, 4)),
      (.transport, changed(good, 1, 5)),
      (.transport, changed(good, 1, 0x84)),
      (.transport, changed(six.read([1, 2], segment: 1), 1, 1)),
      (.transport, changed(good, 19, 17)),
      (.transport, changed(good, 16, 0x20)),
      (.transport, changed(good, 17, 0x01)),
      (.transport, changed(good, 42, 0x40)),
      (.transport, changed(tcp.read([1], segment: 1), 42, 0xF0)),
      (.checksumPlace, changed(good, 6, 19, 0)),
      (.checksumPlace, changed(good, 6, 0xFF, 0xFF)),
      (.checksumPlace, changed(good, 8, 6, 0)),
      (.checksumPlace, changed(good, 8, 0xFF, 0xFF)),
      (.checksumPlace, changed(changed(good, 1, 0), 6, 0xFF, 0xFF)),
      (.checksumPlace, changed(changed(good, 1, 0), 6, 19, 0)),
      (.checksumPlace, changed(changed(good, 1, 0), 8, 0xFF, 0xFF)),
    ]
    for (reason, read) in cases {
      var segmenter = Segmenter()
      let made = segments(read, with: &segmenter)
      #expect(made.isEmpty, "\(reason)")
      for fault in OffloadFault.allCases {
        #expect(segmenter.faults[fault] == (fault == reason ? 1 : 0), "\(reason), \(fault)")
      }
      #expect(segmenter.faults.total == 1)
      #expect(segmenter.isFinished)
    }
    #expect(segments(good).count == 3)
  }

  @Test func `a segment larger than an empty batch is dropped instead of waiting for ever`() {
    var dice = Dice(21)
    let flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    var segmenter = Segmenter()
    let large = segments(flow.read(dice.bytes(3_000), segment: 1_400), with: &segmenter, capacity: 1_000)
    #expect(large.isEmpty)
    #expect(segmenter.faults[.tooLarge] == 1)
    let small = segments(flow.read(dice.bytes(600), segment: 300), with: &segmenter, capacity: 1_000)
    #expect(small.count == 2)
  }

  @Test func `hdr_len is only a hint`() {
    var dice = Dice(22)
    let flow = Flow(isIPv4: false, isTCP: true, dice: &dice)
    let payload = dice.bytes(2_000)
    let read = flow.read(payload, segment: 700)
    for hint: [UInt8] in [[0, 0], [20, 0], [0xD0, 0x07]] {
      var changed = read
      changed.replaceSubrange(2..<4, with: hint)
      #expect(segments(changed) == segments(read))
    }
  }

  @Test func `no byte at any offset makes it trap or write outside, and what comes out are packets`() {
    var dice = Dice(23)
    var produced = 0
    var dropped: UInt64 = 0
    for (isIPv4, isTCP) in [(true, true), (true, false), (false, true), (false, false)] {
      let flow = Flow(isIPv4: isIPv4, isTCP: isTCP, dice: &dice)
      for read in [
        flow.read(dice.bytes(500), segment: 120),
        wire(VirtioNetHeader(flags: 1, checksumStart: UInt16(flow.transportOffset), checksumOffset: isTCP ? 16 : 6))
          + flow.read(dice.bytes(90), segment: 9)[10...],
      ] {
        for offset in 0..<(10 + flow.headers + 2) {
          for value in [0, 1, 0x7F, 0x80, 0xFE, 0xFF, UInt8(truncatingIfNeeded: dice.next())] {
            for cut in [read.count, max(1, offset)] {
              var mutated = read
              mutated[offset] = value
              let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: cut, alignment: 1)
              defer { copy.deallocate() }
              copy.copyBytes(from: mutated[..<cut])
              var segmenter = Segmenter()
              var batch = PacketBatch(capacity: 3_000, maximumCount: 7)
              guard segmenter.begin(UnsafeRawBufferPointer(copy)) else {
                dropped += segmenter.faults.total
                continue
              }
              while true {
                let finished = segmenter.fill(&batch)
                for packet in packets(in: batch) {
                  #expect((try? packet.withUnsafeBytes { try IPPacketView($0).totalLength }) == packet.count)
                  produced += 1
                }
                batch.removeAll()
                if finished { break }
              }
            }
          }
        }
      }
    }
    #expect(produced > 1_000)
    #expect(dropped > 1_000)
  }
}
