import CryptoPrimitives
import Values
import WireGuard

enum WireGuardPlace: Int, CaseIterable {
  // Two devices and what happens on the way between them.
  case handshake, delivered, malformed, wrongMAC, forgedHandshake, replayedHandshake, unexpected
  case forgedTransport, replayedTransport, unknownIndex, notIP, foreignSource, roamed, cookie, cookieTaken, gaveUp
  // The table of prefixes, and what `wg` says.
  case found, moved, removed, get, set, refused
}

/// First byte: two devices with somebody between them, the table of prefixes, or requests of `wg`.
func fuzzWireGuard(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 4 {
  case 0, 1: try checkDevices(&feed, &marks)
  case 2: try checkPrefixes(&feed, &marks)
  default: try checkControl(&feed, &marks)
  }
}

// MARK: - Two devices

/// Calls of a byte or two: packets are sent, messages on the way are delivered, changed, cut, doubled or lost, time
/// passes. What a host gets was sent by the other, as it was and once; and when the trouble is over, packets arrive.
private func checkDevices(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let pair = DevicePair(isBusy: feed.byte() & 1 == 1)
  var calls = 0
  while !feed.isEmpty, calls < 200 {
    calls += 1
    try pair.call(feed.byte(), &feed, &marks)
  }
  try pair.recover(&marks)
}

/// A small generator, the same for all inputs.
private struct Numbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

private final class DeviceEnd {
  var device: Device
  var inbound = Inbound()
  var outbound = Outbound(mtu: 200)
  var messages: [(bytes: [UInt8], to: Endpoint)] = []
  var delivered: [[UInt8]] = []
  var isHeard = false
  private var outgoing = PacketBatch(
    capacity: 1 << 16, maximumCount: 200, headroom: 16, tailroom: Outbound.tailroom(mtu: 200))

  init(seed: UInt64, limits: LoadLimits, at now: Instant) {
    device = Device(limits: limits, random: Numbers(state: seed), at: now)
    var random = Numbers(state: seed &+ 99)
    device.setPrivateKey(SecretKey(using: &random), at: now)
    device.setWallClock(WallTime(seconds: 1_000), at: now)
  }

  func send(_ packet: [UInt8], at now: Instant) {
    outgoing.removeAll()
    guard packet.withUnsafeBytes({ outgoing.append(copying: $0) }) else { return }
    outbound.seal(&outgoing, at: now) { _, _ in }
    flush()
    settle(at: now)
  }

  /// Returns what came of a handshake message.
  func receive(_ bytes: [UInt8], from source: Endpoint, at now: Instant) throws(Breach) -> Device.Outcome? {
    let outcome = try exactly(bytes) { memory throws(Breach) -> Device.Outcome? in
      var batch = PacketBatch(capacity: max(bytes.count, 1), maximumCount: 1)
      guard batch.append(copying: UnsafeRawBufferPointer(memory)) else { return nil }
      var isHandshake = false
      inbound.open(&batch, from: source, at: now) { _ in
        isHandshake = true
      } talk: { content, peer, index in
        device.receiveTalk(content, from: peer, localIndex: index, at: now)
      }
      for index in 0..<batch.count { delivered.append(Array(batch[index])) }
      return isHandshake ? device.receive(UnsafeRawBufferPointer(memory), from: source, at: now) : nil
    }
    settle(at: now)
    return outcome
  }

  func settle(at now: Instant) {
    var isMoving = true
    while isMoving {
      isMoving = false
      while let report = outbound.pollReport() { device.handle(report, at: now) }
      while let report = inbound.pollReport() { device.handle(report, at: now) }
      while let event = device.pollEvent() {
        isMoving = true
        obey(event, at: now)
      }
      var room = [UInt8](repeating: 0, count: 148)
      while let (size, to) = room.withUnsafeMutableBytes({ device.pollTransmit(into: $0) }) {
        messages.append((Array(room[..<size]), to))
      }
      while let talk = device.pollTalk() {
        isMoving = true
        if outbound.seal(talk, into: &outgoing, at: now) { flush() }
      }
    }
  }

  var roams = 0
  var givesUp = 0

  private func obey(_ event: Device.Event, at now: Instant) {
    switch event {
    case .receiveKey(let index): if let key = device.takeReceiveKey(index) { inbound.install(key) }
    case .sendKey(_, let index): if let key = device.takeSendKey(index) { outbound.install(key) }
    case .dropSendKey(let peer): outbound.dropKey(of: peer)
    case .retire(let index): inbound.retire(index)
    case .keepalive(let peer): release(peer, true, at: now)
    case .release(let peer): release(peer, false, at: now)
    case .gaveUp(let peer):
      givesUp += 1
      outbound.dropWaiting(of: peer)
    case .endpoint(let peer, let endpoint, let why):
      if why == .roamed { roams += 1 }
      outbound.setEndpoint(endpoint, of: peer)
    case .handshakeCompleted: isHeard = true
    case .postQuantum: break
    case .pathLimit(let peer, let limit): outbound.setLimit(limit, of: peer)
    case .allowedIPsChanged:
      inbound.allowedIPs = device.allowedIPs
      outbound.allowedIPs = device.allowedIPs
    case .removed(let peer): outbound.remove(peer)
    }
  }

  private func release(_ peer: PeerID, _ orKeepalive: Bool, at now: Instant) {
    var isDone = false
    while !isDone {
      isDone = outbound.release(peer, orKeepalive: orKeepalive, into: &outgoing, at: now)
      flush()
    }
  }

  private func flush() {
    for run in outbound.runs {
      for index in run.first..<(run.first + run.count) { messages.append((Array(outgoing[index]), run.endpoint)) }
    }
  }
}

private final class DevicePair {
  private var now = Instant(nanoseconds: 1_000_000_000)
  private let ends: [DeviceEnd]
  private let places: [Endpoint]
  private var sent: [Set<[UInt8]>] = [[], []]
  private var number: UInt16 = 0

  init(isBusy: Bool) {
    var limits = LoadLimits()
    if isBusy { limits.burst = 0 }
    ends = [DeviceEnd(seed: 1, limits: LoadLimits(), at: now), DeviceEnd(seed: 2, limits: limits, at: now)]
    places = [Endpoint(.v4(0xC000_0201), port: 1), Endpoint(.v4(0xC000_0202), port: 2)]
    for side in 0...1 {
      guard let key = ends[1 - side].device.publicKey, let peer = ends[side].device.addPeer(key),
        let prefix = IPPrefix(address: .v4(0x0A00_0002 - UInt32(side)), length: 32)
      else { continue }
      ends[side].device.allow(prefix, for: peer)
      ends[side].device.setEndpoint(places[1 - side], of: peer)
      ends[side].settle(at: now)
    }
  }

  func call(_ call: UInt8, _ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    let side = Int(call >> 7)
    switch call & 15 {
    case 0, 1: send(side, size: 24 + Int(feed.byte()) % 170)
    case 2: sendOdd(side, feed.bytes(28))
    case 3: ends[side].messages.removeAll()
    case 4:
      now = now + .milliseconds(Int64(feed.byte()) * 100)
      for end in ends {
        end.device.handleTimeout(at: now)
        end.settle(at: now)
      }
    case 5:
      // Bytes of a stranger's.
      let type = feed.byte() % 5
      let size = [0, 148, 92, 64, 32][Int(type)]
      var bytes = [type, 0, 0, 0] + feed.bytes(60)
      while bytes.count < size { bytes.append(UInt8(truncatingIfNeeded: bytes.count)) }
      try deliver(bytes, to: side, from: Endpoint(.v4(0xC633_6401), port: 7), isOurs: false, &marks)
    case 6, 7: try deliverChanged(side, &feed, &marks)
    case 8: try deliverFirst(side, from: Endpoint(.v4(0xCB00_7101), port: 9), twice: false, &marks)
    case 9: try deliverFirst(side, from: places[side], twice: true, &marks)
    default: try deliverFirst(side, from: places[side], twice: false, &marks)
    }
  }

  private func send(_ side: Int, size: Int) {
    number &+= 1
    var packet: [UInt8] = [0x45, 0, 0, UInt8(truncatingIfNeeded: size), 0, 0, 0, 0, 64, 17, 0, 0]
    packet.append(bigEndian: 0x0A00_0001 + UInt32(side))
    packet.append(bigEndian: 0x0A00_0002 - UInt32(side))
    packet.append(bigEndian: number)
    while packet.count < size { packet.append(UInt8(truncatingIfNeeded: packet.count)) }
    sent[side].insert(packet)
    ends[side].send(packet, at: now)
  }

  /// What a host should not send: it reaches the peer with any header but its destination, and is judged there.
  private func sendOdd(_ side: Int, _ bytes: [UInt8]) {
    var packet = bytes
    while packet.count < 28 { packet.append(0) }
    packet[0] = 0x45
    for (place, byte) in [10, 0, 0, UInt8(2 - side)].enumerated() { packet[16 + place] = byte }
    // If it passes, then as the header has it.
    let size = Int(packet[2]) << 8 | Int(packet[3])
    if (20...packet.count).contains(size) { sent[side].insert(Array(packet[..<size])) }
    ends[side].send(packet, at: now)
  }

  private func deliverFirst(_ side: Int, from source: Endpoint, twice: Bool, _ marks: inout Marks) throws(Breach) {
    guard let message = ends[side].messages.first else { return }
    ends[side].messages.removeFirst()
    try deliver(message.bytes, to: 1 - side, from: source, isOurs: true, &marks)
    if twice { try deliver(message.bytes, to: 1 - side, from: source, isOurs: true, &marks) }
  }

  private func deliverChanged(_ side: Int, _ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    guard let message = ends[side].messages.first else { return }
    var bytes = message.bytes
    let place = Int(feed.byte()) % bytes.count
    switch feed.byte() % 4 {
    case 0: bytes = Array(bytes[..<place])
    case 1: bytes += bytes
    default: bytes[place] ^= max(feed.byte(), 1)
    }
    try deliver(bytes, to: 1 - side, from: Endpoint(.v4(0xC633_6402), port: 8), isOurs: false, &marks)
  }

  private func deliver(
    _ bytes: [UInt8], to side: Int, from source: Endpoint, isOurs: Bool, _ marks: inout Marks
  ) throws(Breach) {
    let end = ends[side]
    let before = end.inbound.drops
    let roams = end.roams
    let outcome = try end.receive(bytes, from: source, at: now)
    try checkDelivered(side, &marks)
    note(before, end.inbound.drops, &marks)
    if end.givesUp > 0 { marks.reach(WireGuardPlace.gaveUp) }
    if end.roams > roams {
      // The last bytes of a handshake message are a MAC that only a device under load looks at.
      try check(
        isOurs || outcome == .initiationTaken || outcome == .responseTaken, "a changed message moved the endpoint")
      marks.reach(WireGuardPlace.roamed)
    }
    switch outcome {
    case .initiationTaken?, .responseTaken?: marks.reach(WireGuardPlace.handshake)
    case .cookieTaken?: marks.reach(WireGuardPlace.cookieTaken)
    case .cookieDemanded?, .limited?: marks.reach(WireGuardPlace.cookie)
    case .malformed?: marks.reach(WireGuardPlace.malformed)
    case .wrongMAC?: marks.reach(WireGuardPlace.wrongMAC)
    case .replayed?: marks.reach(WireGuardPlace.replayedHandshake)
    case .unexpected?: marks.reach(WireGuardPlace.unexpected)
    case .forged?: marks.reach(WireGuardPlace.forgedHandshake)
    // It would take a third with a key of its own.
    case .unknownPeer?, nil: break
    }
  }

  private func note(_ before: Inbound.Drops, _ after: Inbound.Drops, _ marks: inout Marks) {
    if after.malformed > before.malformed { marks.reach(WireGuardPlace.malformed) }
    if after.unknown > before.unknown { marks.reach(WireGuardPlace.unknownIndex) }
    if after.forged > before.forged { marks.reach(WireGuardPlace.forgedTransport) }
    if after.replayed > before.replayed { marks.reach(WireGuardPlace.replayedTransport) }
    if after.notIP > before.notIP { marks.reach(WireGuardPlace.notIP) }
    if after.foreignSource > before.foreignSource { marks.reach(WireGuardPlace.foreignSource) }
  }

  private func checkDelivered(_ side: Int, _ marks: inout Marks) throws(Breach) {
    for packet in ends[side].delivered {
      // Removed from what was sent: a second one would not be found.
      try check(sent[1 - side].remove(packet) != nil, "a packet that was not sent, or twice: \(packet)")
      try check(packet[12...15].elementsEqual([10, 0, 0, UInt8(2 - side)]), "a foreign source")
      marks.reach(WireGuardPlace.delivered)
    }
    ends[side].delivered = []
  }

  /// After four minutes without anybody between them each gets what the other sends.
  func recover(_ marks: inout Marks) throws(Breach) {
    for end in ends { end.messages = [] }
    try pass(.seconds(240), &marks)
    sent = [[], []]
    for side in 0...1 { send(side, size: 60) }
    try pass(.seconds(40), &marks)
    try check(sent == [[], []], "what was sent at last did not arrive")
  }

  /// Lets time pass, each timer in its moment: two that always acted in the same one would never agree.
  private func pass(_ span: TimeSpan, _ marks: inout Marks) throws(Breach) {
    let until = now + span
    try exchange(&marks)
    var steps = 0
    while let next = ends.compactMap({ $0.device.nextDeadline()?.0 }).min(), next <= until {
      steps += 1
      try check(steps < 10_000, "time stands still")
      now = max(now, next)
      for end in ends {
        guard let (due, _) = end.device.nextDeadline(), due <= now else { continue }
        end.device.handleTimeout(at: now)
        end.settle(at: now)
      }
      try exchange(&marks)
    }
    now = until
  }

  private func exchange(_ marks: inout Marks) throws(Breach) {
    for _ in 0..<20 {
      for side in 0...1 {
        let messages = ends[side].messages
        ends[side].messages = []
        for message in messages {
          try deliver(message.bytes, to: 1 - side, from: places[side], isOurs: true, &marks)
        }
      }
    }
  }
}

// MARK: - Prefixes

/// Calls of eight bytes: a prefix is given to a peer, taken away, or an address looked up; a list knows better.
private func checkPrefixes(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  var table = AllowedIPs()
  var list: [IPPrefix: PeerID] = [:]
  var peers: [PeerID] = []
  var device = Device(random: Numbers(state: 3), at: Instant(nanoseconds: 0))
  for number in 1...4 {
    if let key = PublicKey([UInt8](repeating: UInt8(number), count: 32)), let id = device.addPeer(key) {
      peers.append(id)
    }
  }
  while !feed.isEmpty {
    let call = feed.byte()
    let peer = peers[Int(call >> 2 & 3)]
    let bits = feed.number32()
    let address: IPAddress = call & 0x80 == 0 ? .v4(bits) : .v6(UInt128(bits) << UInt128(feed.byte() % 97))
    guard let prefix = IPPrefix(address: address, length: Int(feed.byte()) % (address.bitWidth + 1))?.network else {
      continue
    }
    switch call & 3 {
    case 0, 1:
      let before = table.insert(prefix, for: peer)
      try check(before == list.updateValue(peer, forKey: prefix), "inserting \(prefix)")
      if before != nil { marks.reach(WireGuardPlace.moved) }
    case 2:
      let isOwn = list[prefix] == peer
      if isOwn { list[prefix] = nil }
      try check(table.remove(prefix, of: peer) == isOwn, "removing \(prefix)")
      if isOwn { marks.reach(WireGuardPlace.removed) }
    default: break
    }
    let best = list.filter { $0.key.contains(address) }.max { $0.key.length < $1.key.length }?.value
    try check(table.lookup(address) == best, "\(address)")
    if best != nil { marks.reach(WireGuardPlace.found) }
    try check(table.count == list.count, "\(table.count) prefixes")
  }
  for peer in peers {
    try check(Set(table.prefixes(of: peer)) == Set(list.filter { $0.value == peer }.keys), "the prefixes of \(peer)")
    table.removeAll(of: peer)
  }
  try check(table.isEmpty, "something is left")
}

// MARK: - Control

/// Requests in pieces are what they are in one; what was set is printed, and printed the same when it is set again.
private func checkControl(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let sizes = feed.bytes(2)
  let text = feed.all()
  let whole = try requests([text[...]], &marks)
  let inPieces = try requests(pieces(text, sizes: sizes), &marks)
  try check(whole == inPieces, "pieces read otherwise")
  var again = Device(random: Numbers(state: 5), at: Instant(nanoseconds: 0))
  var reader = ControlReader()
  let printed = Array("set=1\n".utf8) + whole.dropLast("errno=0\n\n".utf8.count) + [0x0A]
  let settable = String(decoding: printed, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    .filter { line in !["last_handshake", "tx_bytes", "rx_bytes"].contains { line.hasPrefix($0) } }
    .joined(separator: "\n")
  try check(Array(settable.utf8).withUnsafeBytes { reader.receive($0) }, "too long")
  guard case .set(let change)? = reader.next() else {
    throw Breach(description: "what we print is refused: \(settable)")
  }
  again.apply(change, at: Instant(nanoseconds: 0))
  let second = again.description(listenPort: change.listenPort ?? 0, firewallMark: change.firewallMark ?? 0)
  try check(withoutCounters(second) == withoutCounters(whole), "set again it is another")
}

private func withoutCounters(_ text: [UInt8]) -> [Substring] {
  String(decoding: text, as: UTF8.self).split(separator: "\n").filter { !$0.hasPrefix("tx_bytes") }
}

/// The device after all requests, printed.
private func requests(_ pieces: [ArraySlice<UInt8>], _ marks: inout Marks) throws(Breach) -> [UInt8] {
  var device = Device(random: Numbers(state: 4), at: Instant(nanoseconds: 0))
  var reader = ControlReader()
  var port: UInt16 = 0
  var mark: UInt32 = 0
  for piece in pieces {
    try check(
      try exactly(piece) { memory throws(Breach) in reader.receive(UnsafeRawBufferPointer(memory)) }, "too long")
    while let request = reader.next() {
      switch request {
      case .get: marks.reach(WireGuardPlace.get)
      case .refused: marks.reach(WireGuardPlace.refused)
      case .set(let change):
        marks.reach(WireGuardPlace.set)
        port = change.listenPort ?? port
        mark = change.firewallMark ?? mark
        device.apply(change, at: Instant(nanoseconds: 0))
      }
    }
  }
  return device.description(listenPort: port, firewallMark: mark)
}
