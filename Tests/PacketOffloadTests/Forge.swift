import PacketOffload
import Values

// The slow and obvious other half of every test here: packets are arrays of bytes, the checksum adds one word at a
// time, and segmentation builds each segment from the parsed parts. Nothing in this file uses the module's code for
// anything that a test then compares with it.

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

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// RFC 1071 as its text says it: 16-bit words, carries added back, odd byte padded on the right.
func slowSum(_ bytes: [UInt8]) -> UInt16 {
  var sum: UInt32 = 0
  var index = 0
  while index < bytes.count {
    let low = index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0
    sum += UInt32(bytes[index]) << 8 | low
    sum = (sum & 0xFFFF) + (sum >> 16)
    index += 2
  }
  return UInt16(sum)
}

func word(_ bytes: [UInt8], _ offset: Int) -> UInt16 { UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1]) }

func put(_ value: UInt16, _ offset: Int, in bytes: inout [UInt8]) {
  bytes[offset] = UInt8(value >> 8)
  bytes[offset + 1] = UInt8(value & 0xFF)
}

/// A packet taken apart. `extensions` are whole IPv6 extension headers, in order.
struct Parts {
  var isIPv4: Bool
  var network: [UInt8]
  var isTCP: Bool
  var transport: [UInt8]
  var payload: [UInt8]

  /// Only for packets without IPv6 extension headers, or with `networkLength` given.
  init(_ packet: [UInt8], networkLength: Int? = nil, isTCP: Bool? = nil) {
    isIPv4 = packet[0] >> 4 == 4
    let length = networkLength ?? (isIPv4 ? Int(packet[0] & 15) * 4 : 40)
    network = Array(packet[..<length])
    self.isTCP = isTCP ?? ((isIPv4 ? packet[9] : packet[6]) == 6)
    let header = self.isTCP ? Int(packet[length + 12] >> 4) * 4 : 8
    transport = Array(packet[length..<(length + header)])
    payload = Array(packet[(length + header)...])
  }

  var addresses: [UInt8] { Array(isIPv4 ? network[12..<20] : network[8..<40]) }

  func pseudoHeader(_ length: Int) -> [UInt8] {
    addresses + [UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length), 0, isTCP ? 6 : 17]
  }

  /// Lengths and checksums set right, the parts joined.
  func finished() -> [UInt8] {
    var packet = joined()
    let start = network.count
    let place = start + (isTCP ? 16 : 6)
    put(0, place, in: &packet)
    let value = ~slowSum(pseudoHeader(packet.count - start) + packet[start...])
    put(value == 0 && !isTCP ? 0xFFFF : value, place, in: &packet)
    return packet
  }

  /// As the kernel hands it over: the checksum holds the pseudo-header's sum.
  func unfinished() -> [UInt8] {
    var packet = joined()
    put(slowSum(pseudoHeader(packet.count - network.count)), network.count + (isTCP ? 16 : 6), in: &packet)
    return packet
  }

  private func joined() -> [UInt8] {
    var packet = network + transport + payload
    if isIPv4 {
      put(UInt16(packet.count), 2, in: &packet)
      put(0, 10, in: &packet)
      put(~slowSum(Array(packet[..<network.count])), 10, in: &packet)
    } else {
      put(UInt16(packet.count - 40), 4, in: &packet)
    }
    if !isTCP { put(UInt16(packet.count - network.count), network.count + 4, in: &packet) }
    return packet
  }

  /// What a network card would make of this super-packet.
  func segments(of size: Int) -> [[UInt8]] {
    var result: [[UInt8]] = []
    var offset = 0
    while offset < payload.count {
      var part = self
      let end = min(offset + size, payload.count)
      part.payload = Array(payload[offset..<end])
      if isIPv4 { put(word(network, 4) &+ UInt16(truncatingIfNeeded: result.count), 4, in: &part.network) }
      if isTCP {
        let sequence = (UInt32(word(transport, 4)) << 16 | UInt32(word(transport, 6))) &+ UInt32(offset)
        put(UInt16(sequence >> 16), 4, in: &part.transport)
        put(UInt16(sequence & 0xFFFF), 6, in: &part.transport)
        if end < payload.count { part.transport[13] &= ~0x09 }
        if offset > 0 { part.transport[13] &= ~0x80 }
      }
      result.append(part.finished())
      offset = end
    }
    return result
  }
}

/// One direction of a TCP or UDP flow that makes packets.
struct Flow {
  var parts: Parts

  var isIPv4: Bool { parts.isIPv4 }
  var isTCP: Bool { parts.isTCP }
  var transportOffset: Int { parts.network.count }
  var headers: Int { parts.network.count + parts.transport.count }

  init(isIPv4: Bool, isTCP: Bool, options: Int = 12, dontFragment: Bool = true, dice: inout Dice) {
    var packet: [UInt8] = []
    if isIPv4 {
      packet = [0x45, UInt8(dice.next() & 0xFC), 0, 0] + dice.bytes(2) + [dontFragment ? 0x40 : 0, 0]
      packet += [64, isTCP ? 6 : 17, 0, 0, 10] + dice.bytes(3) + [10] + dice.bytes(3)
    } else {
      packet = [0x60] + dice.bytes(3) + [0, 0, isTCP ? 6 : 17, 64, 0xFD] + dice.bytes(15) + [0xFD] + dice.bytes(15)
    }
    packet += dice.bytes(4)
    if isTCP {
      packet += dice.bytes(8) + [UInt8((20 + options) / 4 * 16), 0x10] + dice.bytes(2) + [0, 0, 0, 0]
      // NOPs and timestamps, as every Linux sends them.
      packet += options >= 12 ? [1, 1, 8, 10] + dice.bytes(8) : []
      packet += [UInt8](repeating: 1, count: options >= 12 ? options - 12 : options)
    } else {
      packet += [0, 0, 0, 0]
    }
    parts = Parts(packet)
  }

  /// The next packet of the flow, and the flow moves on.
  mutating func next(_ payload: [UInt8], flags: UInt8 = 0x10) -> [UInt8] {
    var part = parts
    part.payload = payload
    if isTCP { part.transport[13] = flags }
    if isIPv4 { put(word(parts.network, 4) &+ 1, 4, in: &parts.network) }
    if isTCP {
      let sequence = (UInt32(word(parts.transport, 4)) << 16 | UInt32(word(parts.transport, 6)))
      let after = sequence &+ UInt32(payload.count)
      put(UInt16(after >> 16), 4, in: &parts.transport)
      put(UInt16(after & 0xFFFF), 6, in: &parts.transport)
    }
    return part.finished()
  }

  /// A super-packet with its virtio header, as a TUN device gives it.
  func read(_ payload: [UInt8], segment: Int, flags: UInt8 = 0x10) -> [UInt8] {
    var part = parts
    part.payload = payload
    if isTCP { part.transport[13] = flags }
    let header = VirtioNetHeader(
      flags: 1, gsoType: isTCP ? (isIPv4 ? 1 : 4) : 5, headerLength: UInt16(headers), gsoSize: UInt16(segment),
      checksumStart: UInt16(transportOffset), checksumOffset: isTCP ? 16 : 6)
    return wire(header) + part.unfinished()
  }
}

/// The 10 bytes, written by hand.
func wire(_ header: VirtioNetHeader) -> [UInt8] {
  var bytes = [header.flags, header.gsoType]
  for value in [header.headerLength, header.gsoSize, header.checksumStart, header.checksumOffset] {
    bytes += [UInt8(value & 0xFF), UInt8(value >> 8)]
  }
  return bytes
}

/// Whether every checksum of a packet without IPv6 extension headers is right.
func isSound(_ packet: [UInt8]) -> Bool {
  let parts = Parts(packet)
  if parts.isIPv4 {
    guard Int(word(packet, 2)) == packet.count, slowSum(parts.network) == 0xFFFF else { return false }
  } else {
    guard Int(word(packet, 4)) + 40 == packet.count else { return false }
  }
  if !parts.isTCP, Int(word(parts.transport, 4)) != packet.count - parts.network.count { return false }
  return slowSum(parts.pseudoHeader(packet.count - parts.network.count) + parts.transport + parts.payload) == 0xFFFF
}

/// All packets of a batch.
func packets(in batch: borrowing PacketBatch) -> [[UInt8]] { (0..<batch.count).map { Array(batch[$0]) } }

/// Runs one read through a segmenter with batches of the given size.
func segments(
  _ read: [UInt8], with segmenter: inout Segmenter, capacity: Int = 200_000, slots: Int = 4_096, headroom: Int = 0
) -> [[UInt8]] {
  var batch = PacketBatch(capacity: capacity, maximumCount: slots, headroom: headroom)
  var result: [[UInt8]] = []
  read.withUnsafeBytes { bytes in
    guard segmenter.begin(bytes) else { return }
    while !segmenter.fill(&batch) {
      result += packets(in: batch)
      batch.removeAll()
    }
    result += packets(in: batch)
  }
  return result
}

func segments(_ read: [UInt8], capacity: Int = 200_000, slots: Int = 4_096, headroom: Int = 0) -> [[UInt8]] {
  var segmenter = Segmenter()
  return segments(read, with: &segmenter, capacity: capacity, slots: slots, headroom: headroom)
}

/// The writes that a coalescer plans, each as one array with the virtio header in front.
func writes(_ coalescer: borrowing Coalescer) -> [[UInt8]] {
  coalescer.groups.map { group in
    group.pieces.flatMap { index in
      let piece = coalescer.pieces[index]
      return Array(UnsafeRawBufferPointer(start: piece.base, count: piece.count))
    }
  }
}

func writes(_ packets: [[UInt8]], offloads: TunOffloads = .all) -> [[UInt8]] {
  var batch = batch(of: packets)
  var coalescer = Coalescer(maximumCount: max(1, packets.count))
  coalescer.plan(&batch, offloads: offloads)
  return writes(coalescer)
}

func batch(of packets: [[UInt8]], headroom: Int = 2) -> PacketBatch {
  let total = packets.reduce(64) { $0 + $1.count + headroom }
  var batch = PacketBatch(capacity: total, maximumCount: max(1, packets.count), headroom: headroom)
  for packet in packets { _ = packet.withUnsafeBytes { batch.append(copying: $0) } }
  return batch
}

/// What a kernel makes of a write, in the slow way.
func expand(_ write: [UInt8]) -> [[UInt8]] {
  let packet = Array(write[10...])
  guard write[1] != 0 else { return [packet] }
  return Parts(packet).segments(of: Int(write[4]) | Int(write[5]) << 8)
}
