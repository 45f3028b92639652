import PacketOffload
import Values

enum OffloadPlace: Int, CaseIterable {
  case tcpIPv4, tcpIPv6, udpIPv4, udpIPv6, whole, finished, extensionHeaders, severalFills
  case shortRead, notIP, length, unknownOffload, segmentSize, headerHint, transport, checksumPlace
  case merged, mergedSeveralFlows, alone, wrongChecksum, malformed, longRun, withoutOffloads
  case clamped, answeredIPv4, answeredIPv6
}

/// First byte: a read of a TUN device, a batch of packets to merge, or one packet that does not fit.
func fuzzOffload(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 3 {
  case 0: try checkRead(&feed, &marks)
  case 1: try checkBatch(&feed, &marks)
  default: try checkPacket(&feed, &marks)
  }
}

// MARK: - Reads to segments

/// A byte that sizes the batches, then the read: the virtio header and the packet.
private func checkRead(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let choice = Int(feed.byte())
  let read = feed.all()
  let (made, fault) = try cut(read, capacity: 70_000, slots: 256, headroom: 0)
  let (again, secondFault) = try cut(
    read, capacity: read.count + 64 + choice, slots: choice % 5 + 1, headroom: choice & 1 == 0 ? 0 : 2)
  try check(made == again && fault == secondFault, "\(made.count) and \(again.count) packets from the same read")
  if made.count > choice % 5 + 1 { marks.reach(OffloadPlace.severalFills) }
  if let fault {
    try check(made.isEmpty, "a read was dropped, and gave \(made.count) packets")
    switch fault {
    case .shortRead: marks.reach(OffloadPlace.shortRead)
    case .notIP: marks.reach(OffloadPlace.notIP)
    case .length: marks.reach(OffloadPlace.length)
    case .unknownOffload: marks.reach(OffloadPlace.unknownOffload)
    case .segmentSize: marks.reach(OffloadPlace.segmentSize)
    case .headerHint: marks.reach(OffloadPlace.headerHint)
    case .transport: marks.reach(OffloadPlace.transport)
    case .checksumPlace: marks.reach(OffloadPlace.checksumPlace)
    case .tooLarge: throw Breach(description: "too large for a batch that has room")
    }
    return
  }
  let packet = Array(read[10...])
  let size = Int(read[4]) | Int(read[5]) << 8
  if read[1] & 0x7F == 0 {
    try check(made == [try whole(packet, read)], "a whole packet came out otherwise")
    marks.reach(read[0] & 1 == 0 ? OffloadPlace.whole : .finished)
  } else {
    let slow = try need(SlowPacket(packet), "cut, and not TCP or UDP")
    try check(made == slow.segments(of: size), "\(made.count) segments differ from the slow way's")
    try check(made.reduce(0) { $0 + $1.count - slow.headers } == slow.bytes.count - slow.headers, "payload is lost")
    for segment in made {
      try check(SlowPacket(segment)?.isSound == true, "a segment's checksums are wrong")
    }
    switch (slow.isTCP, slow.isIPv4) {
    case (true, true): marks.reach(OffloadPlace.tcpIPv4)
    case (true, false): marks.reach(OffloadPlace.tcpIPv6)
    case (false, true): marks.reach(OffloadPlace.udpIPv4)
    case (false, false): marks.reach(OffloadPlace.udpIPv6)
    }
    if slow.transport > 40 { marks.reach(OffloadPlace.extensionHeaders) }
  }
  if made.count <= 600 { try checkMerging(made, .all, &marks) }
}

private func cut(
  _ read: [UInt8], capacity: Int, slots: Int, headroom: Int
) throws(Breach) -> ([[UInt8]], OffloadFault?) {
  try exactly(read) { memory throws(Breach) -> ([[UInt8]], OffloadFault?) in
    var segmenter = Segmenter()
    var batch = PacketBatch(capacity: capacity, maximumCount: slots, headroom: headroom)
    var packets: [[UInt8]] = []
    if segmenter.begin(UnsafeRawBufferPointer(memory)) {
      while true {
        let isDone = segmenter.fill(&batch)
        for index in 0..<batch.count { packets.append(Array(batch[index])) }
        if isDone { break }
        try check(!batch.isEmpty, "an empty batch that is full")
        batch.removeAll()
      }
    }
    try check(segmenter.isFinished && segmenter.packets == UInt64(packets.count), "\(segmenter.packets) packets")
    let faults = OffloadFault.allCases.filter { segmenter.faults[$0] > 0 }
    try check(segmenter.faults.total == UInt64(faults.count) && faults.count <= 1, "\(faults)")
    return (packets, faults.first)
  }
}

/// A packet that needs no cutting, the checksum finished where the read asks for it.
private func whole(_ packet: [UInt8], _ read: [UInt8]) throws(Breach) -> [UInt8] {
  let total = packet[0] >> 4 == 4 ? word(packet, 2) : 40 + word(packet, 4)
  var expected = Array(packet[..<total])
  guard read[0] & 1 != 0 else { return expected }
  let start = Int(read[6]) | Int(read[7]) << 8
  let offset = Int(read[8]) | Int(read[9]) << 8
  try check(start + offset + 2 <= total, "the checksum's place is outside, and nobody said so")
  let value = Int(~slowSum(expected[start...]))
  put(value == 0 && offset == 6 ? 0xFFFF : value, start + offset, in: &expected)
  return expected
}

// MARK: - Packets to merged writes

/// Which offloads, the packets' sizes, then choices: which flow goes on and how.
private func checkBatch(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let choice = feed.byte()
  let offloads: TunOffloads = [.all, .all, .tcp, []][Int(choice & 3)]
  let size = Int(feed.byte()) * 6 + 1
  var flows = (0..<4).map { Flow($0, dontFragment: choice & 4 != 0, options: choice & 8 != 0) }
  var packets: [[UInt8]] = []
  var total = 0
  while !feed.isEmpty, packets.count < 300, total < 140_000 {
    let what = feed.byte()
    let repeats = what & 0x40 != 0 ? Int(feed.byte()) + 1 : 1
    for turn in 0..<repeats where packets.count < 300 && total < 140_000 {
      if what & 0x20 != 0 {
        packets.append(feed.bytes(Int(feed.byte())))
        if packets.last?.isEmpty == true { packets[packets.count - 1] = [0] }
      } else {
        var flags: UInt8 = 0x10
        var length = size
        switch what >> 2 & 3 {
        case 1: length = Int(feed.byte())
        case 2: flags = feed.byte()
        default: break
        }
        if what & 0x10 != 0 { flows[Int(what & 3)].skip() }
        var packet = flows[Int(what & 3)].next(length, flags: flags)
        if what >> 2 & 3 == 3 {
          // A byte of the headers is another, with the checksums of before or with right ones.
          packet[feed.number16() % min(packet.count, 80)] ^= feed.byte()
          if what & 0x80 != 0, var slow = SlowPacket(packet), slow.bytes.count == packet.count {
            slow.finish()
            packet = slow.bytes
          }
        }
        packets.append(packet)
      }
      total += packets.last?.count ?? 0
      if turn > 64, feed.isEmpty, what & 0x20 != 0 { break }
    }
  }
  guard !packets.isEmpty else { return }
  if offloads.isEmpty { marks.reach(OffloadPlace.withoutOffloads) }
  try checkMerging(packets, offloads, &marks)
}

/// One direction of a conversation that makes packets with right checksums.
private struct Flow {
  private var header: [UInt8]
  private let transport: Int
  private let isTCP: Bool
  private var sequence: Int
  private var identification = 0xFFF0
  private var filler: UInt8 = 0

  init(_ number: Int, dontFragment: Bool, options: Bool) {
    isTCP = number < 2
    let isIPv4 = number % 2 == 0
    transport = isIPv4 ? 20 : 40
    sequence = 0xFFFF_F000 + number
    let last = UInt8(number)
    header =
      isIPv4
      ? [0x45, 0, 0, 0, 0, 0, dontFragment ? 0x40 : 0, 0, 64, isTCP ? 6 : 17, 0, 0, 10, 0, 0, last, 10, 0, 0, 9]
      : [0x60, 0, 0, 0, 0, 0, isTCP ? 6 : 17, 64] + [0xFD] + [UInt8](repeating: 0, count: 14) + [last] + [0xFD]
        + [UInt8](repeating: 0, count: 14) + [9]
    header += [0x13, 0x88, 0x13, 0x89]
    guard isTCP else {
      header += [0, 0, 0, 0]
      return
    }
    header += [0, 0, 0, 0, 1, 2, 3, 4, options ? 0x80 : 0x50, 0, 0x10, 0, 0, 0, 0, 0]
    if options { header += [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] }
  }

  mutating func skip() { sequence += 1 }

  mutating func next(_ length: Int, flags: UInt8) -> [UInt8] {
    var packet = header
    if transport == 20 {
      put(identification, 4, in: &packet)
      identification += 1
    }
    if isTCP {
      put(sequence >> 16, transport + 4, in: &packet)
      put(sequence, transport + 6, in: &packet)
      packet[transport + 13] = flags
      sequence += length
    }
    for _ in 0..<length {
      filler = filler &* 5 &+ 17
      packet.append(filler)
    }
    // The length must stand before the packet can be read.
    if transport == 20 { put(packet.count, 2, in: &packet) } else { put(packet.count - 40, 4, in: &packet) }
    guard var slow = SlowPacket(packet) else { return packet }
    slow.finish()
    return slow.bytes
  }
}

/// What the kernel makes of the planned writes is what went in: every packet, in the order of its flow, bit for bit
/// but for an identification that means nothing.
private func checkMerging(_ originals: [[UInt8]], _ offloads: TunOffloads, _ marks: inout Marks) throws(Breach) {
  guard !originals.isEmpty else { return }
  var batch = PacketBatch(
    capacity: originals.reduce(1) { $0 + $1.count + 2 }, maximumCount: originals.count, headroom: 2)
  for packet in originals {
    let fits = packet.withUnsafeBytes { batch.append(copying: $0) }
    try check(fits, "the batch is full")
  }
  var coalescer = Coalescer(maximumCount: originals.count)
  coalescer.plan(&batch, offloads: offloads)

  let isPacket = originals.map { packet in packet.withUnsafeBytes { (try? IPPacketView($0)) != nil } }
  let good = zip(originals, isPacket).filter(\.1).map(\.0)
  try check(coalescer.malformed == UInt64(originals.count - good.count), "\(coalescer.malformed) malformed")
  if coalescer.malformed > 0 { marks.reach(OffloadPlace.malformed) }
  if coalescer.wrongChecksums > 0 { marks.reach(OffloadPlace.wrongChecksum) }

  var out: [[UInt8]] = []
  var place = 0
  var mergedKeys: Set<[UInt8]> = []
  for group in coalescer.groups {
    try check(group.pieces.lowerBound == place && group.pieces.upperBound > place, "pieces \(group.pieces)")
    place = group.pieces.upperBound
    var write: [UInt8] = []
    for index in group.pieces {
      let piece = coalescer.pieces[index]
      try check(piece.count > 0, "an empty piece")
      write += UnsafeRawBufferPointer(start: piece.base, count: piece.count)
    }
    try check(write.count == group.bytes, "\(write.count) bytes, said \(group.bytes)")
    let packets = try expand(write, offloads)
    try check(packets.count == group.packets, "\(packets.count) packets, said \(group.packets)")
    if group.isMerged {
      marks.reach(OffloadPlace.merged)
      if let key = packets.first.flatMap(flowKey) { mergedKeys.insert(key) }
      if group.packets >= Coalescer.maximumUDPRun { marks.reach(OffloadPlace.longRun) }
    } else {
      marks.reach(OffloadPlace.alone)
    }
    out += packets
  }
  if mergedKeys.count > 1 { marks.reach(OffloadPlace.mergedSeveralFlows) }
  try check(place == coalescer.pieces.count, "\(place) of \(coalescer.pieces.count) pieces")
  try check(out.count == good.count, "\(out.count) packets from \(good.count)")

  var expected: [[UInt8]?: [[UInt8]]] = [:]
  for packet in good { expected[flowKey(packet), default: []].append(settled(packet)) }
  var found: [[UInt8]?: [[UInt8]]] = [:]
  for packet in out { found[flowKey(packet), default: []].append(settled(packet)) }
  try check(found == expected, "packets of a flow differ, or their order")

  // A device that refuses a merged write gets the packets as they came.
  var taken: [Int] = []
  for group in coalescer.groups.indices { coalescer.takeApart(group, of: &batch) { taken.append($0) } }
  try check(taken.sorted() == originals.indices.filter { isPacket[$0] }, "taken apart: \(taken)")
  for (index, packet) in originals.enumerated() {
    try check(Array(batch[index]) == packet, "packet \(index) is not as it came")
  }
}

/// What a kernel makes of a write, in the slow way, with the checks that it makes itself.
private func expand(_ write: [UInt8], _ offloads: TunOffloads) throws(Breach) -> [[UInt8]] {
  let packet = Array(write[10...])
  guard write[1] != 0 else {
    try check(write[..<10].allSatisfy { $0 == 0 }, "a header for a packet that is whole: \(write[..<10])")
    return [packet]
  }
  let slow = try need(SlowPacket(packet), "a merged write that is not TCP or UDP")
  try check(slow.bytes.count == packet.count && packet.count <= 65_535, "\(packet.count) bytes")
  let kind: (UInt8, TunOffloads) =
    slow.isTCP ? (slow.isIPv4 ? (1, .tso4) : (4, .tso6)) : (5, slow.isIPv4 ? .uso4 : .uso6)
  try check(write[0] == 1 && write[1] == kind.0 && offloads.contains(kind.1), "\(write[..<10]) with \(offloads)")
  let numbers = [2, 4, 6, 8].map { Int(write[$0]) | Int(write[$0 + 1]) << 8 }
  try check(numbers[0] == slow.headers && numbers[2] == slow.transport, "\(numbers)")
  try check(numbers[2] + numbers[3] == slow.checksumPlace && numbers[1] > 0, "\(numbers)")
  try check(word(packet, slow.checksumPlace) == Int(slowSum(slow.pseudoHeader)), "the pseudo-header's sum is wrong")
  if slow.isIPv4 { try check(slowSum(packet[..<20]) == 0xFFFF, "the IPv4 header's checksum is wrong") }
  return slow.segments(of: numbers[1])
}

// MARK: - Packets that do not fit

/// The MTU, whether checksums are put right first, then the packet.
private func checkPacket(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let mtu = feed.number16()
  let isFinished = feed.byte() & 1 == 1
  var packet = feed.all()
  if isFinished, var slow = SlowPacket(packet), slow.bytes.count == packet.count {
    slow.finish()
    packet = slow.bytes
  }
  try checkClamp(packet, mtu: mtu, &marks)
  for router in [IPAddress.v4(0x0A00_0001), .v6(0xFD << 120 | 1)] {
    try checkReply(packet, mtu: mtu, from: router, &marks)
  }
}

private func checkClamp(_ packet: [UInt8], mtu: Int, _ marks: inout Marks) throws(Breach) {
  let (didChange, after) = try exactly(packet) { memory throws(Breach) in
    (MSSClamp.clamp(memory, mtu: mtu), Array(memory))
  }
  let changed = packet.indices.filter { packet[$0] != after[$0] }
  try check(didChange || changed.isEmpty, "changed in secret: \(changed)")
  guard didChange else { return }
  marks.reach(OffloadPlace.clamped)
  let before = try need(SlowPacket(packet), "clamped, and not TCP")
  let now = try need(SlowPacket(after), "no packet any more")
  // The option lies in the options; beside it only the checksum may change.
  let other = changed.filter { $0 != before.checksumPlace && $0 != before.checksumPlace + 1 }
  try check(before.isTCP && !other.isEmpty && other.count <= 2, "changed at \(changed)")
  try check(other.allSatisfy { $0 >= before.transport + 20 && $0 < before.headers }, "changed at \(changed)")
  if before.isSound { try check(now.isSound, "the checksum was right and is wrong") }
  let isStable = try exactly(after) { memory throws(Breach) in !MSSClamp.clamp(memory, mtu: mtu) }
  try check(isStable, "clamped twice")
}

private func checkReply(_ packet: [UInt8], mtu: Int, from router: IPAddress, _ marks: inout Marks) throws(Breach) {
  func reply(_ packet: [UInt8], room: Int) throws(Breach) -> [UInt8]? {
    try exactly([UInt8](repeating: 0xA5, count: room)) { room throws(Breach) -> [UInt8]? in
      try exactly(packet) { memory throws(Breach) -> [UInt8]? in
        let length = ICMPErrorReply.write(
          .tooBig(mtu: mtu), answering: UnsafeRawBufferPointer(memory), from: router, to: room)
        guard let length else { return nil }
        try check(length <= room.count, "\(length) bytes in \(room.count)")
        return Array(room[..<length])
      }
    }
  }
  guard let answer = try reply(packet, room: ICMPErrorReply.maximumReply) else { return }
  marks.reach(router.family == .ipv4 ? OffloadPlace.answeredIPv4 : .answeredIPv6)
  let same = try reply(packet, room: answer.count)
  try check(same == answer, "in a room of its size it is another reply")
  try check(try reply(packet, room: answer.count - 1) == nil, "a room one byte too small was enough")
  let (source, destination, total) = try need(
    answer.withUnsafeBytes { memory in (try? IPPacketView(memory)).map { ($0.source, $0.destination, $0.totalLength) }
    },
    "the reply is no packet")
  let asked = packet.withUnsafeBytes { IPPacketView.source(of: $0) }
  try check(source == router && destination == asked && total == answer.count, "\(source) to \(destination)")
  let header = router.family == .ipv4 ? 20 : 40
  if router.family == .ipv4 {
    try check(slowSum(answer[..<20]) == 0xFFFF && slowSum(answer[20...]) == 0xFFFF, "wrong checksums")
    try check(answer.count <= 576 && word(answer, 26) == min(mtu, 0xFFFF), "the MTU is not said")
  } else {
    let length = answer.count - 40
    let pseudo = Array(answer[8..<40]) + [UInt8(length >> 8), UInt8(length & 0xFF), 0, 58]
    try check(slowSum(pseudo + answer[40...]) == 0xFFFF, "wrong checksum")
    try check(answer.count <= 1_280 && word(answer, 46) == max(mtu, 1_280), "the MTU is not said")
  }
  try check(packet.starts(with: answer[(header + 8)...]), "the quoted packet is another")
  // Two routers must never answer each other.
  try check(try reply(answer, room: ICMPErrorReply.maximumReply) == nil, "an error is answered with an error")
}
