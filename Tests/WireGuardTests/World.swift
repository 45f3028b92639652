import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

/// A device with its two pumps, as the program runs them, but without sockets, threads or a clock.
final class End {
  let name: String
  var address: Endpoint
  var device: Device
  var inbound = Inbound()
  var outbound: Outbound
  /// Packets for the host, messages for the network, and everything that the device has said.
  var delivered: [[UInt8]] = []
  var sent: [(bytes: [UInt8], to: Endpoint)] = []
  /// The outer congestion bits of the messages that the last batches were made of.
  var sentMarks: [UInt8] = []
  var events: [Device.Event] = []
  var outcomes: [Device.Outcome] = []
  /// What was said beside packets.
  var said: [(at: Instant, talk: Talk)] = []
  var unreachable = 0
  /// Packets that were refused because of the path's MTU, with that.
  var refused: [(size: Int, limit: Int)] = []
  /// Its pump is a plain one: nothing of what is said reaches the device.
  var isDeaf = false
  /// When a session was made last.
  var lastSession: Instant?
  /// Of probes that leave the host.
  var linkMTU = Int.max
  private var outgoing: PacketBatch
  private var incoming = PacketBatch(capacity: 1 << 18, maximumCount: 64)

  init(
    _ name: String, at address: Endpoint, seed: UInt64, mtu: Int = 1420, limits: LoadLimits = LoadLimits(),
    talk: TalkSettings = .none, now: Instant
  ) {
    self.name = name
    self.address = address
    var random = SeededGenerator(seed)
    let key = SecretKey(using: &random)
    device = Device(limits: limits, random: random, at: now)
    device.setTalk(talk, at: now)
    device.setPrivateKey(key, at: now)
    device.setWallClock(WallTime(seconds: 1_700_000_000), at: now)
    outbound = Outbound(mtu: mtu)
    outgoing = PacketBatch(
      capacity: 1 << 18, maximumCount: 200, headroom: WireGuardLimit.headerSize, tailroom: Outbound.tailroom(mtu: mtu))
  }

  var publicKey: PublicKey { device.publicKey ?? X25519.publicKey(of: SecretKey()) }

  @discardableResult
  func add(_ other: End, _ allowed: [String], endpoint: Endpoint? = nil) throws -> PeerID {
    let added = device.addPeer(other.publicKey)
    let id = try #require(added)
    for text in allowed { device.allow(try prefix(text), for: id) }
    if let endpoint { device.setEndpoint(endpoint, of: id) }
    settle(at: Instant(nanoseconds: 0))
    return id
  }

  /// Packets of the host.
  func send(_ packets: [[UInt8]], at now: Instant) {
    var rest = packets[...]
    while !rest.isEmpty {
      outgoing.removeAll()
      while let next = rest.first, next.withUnsafeBytes({ outgoing.append(copying: $0) }) { rest.removeFirst() }
      outbound.seal(&outgoing, at: now) { _, _ in
        unreachable += 1
      } oversized: { packet, _, limit in
        refused.append((packet.count, limit))
        return true
      }
      flush()
    }
    settle(at: now)
  }

  /// Datagrams of one sender that arrive together.
  func receive(_ datagrams: [[UInt8]], from source: Endpoint, ecn: UInt8 = ECN.incapable, at now: Instant) {
    incoming.removeAll()
    for datagram in datagrams { #expect(datagram.withUnsafeBytes { incoming.append(copying: $0) }) }
    var messages: [[UInt8]] = []
    inbound.open(&incoming, from: source, ecn: ecn, at: now) {
      messages.append(Array($0))
    } talk: { content, peer, index in
      !isDeaf && device.receiveTalk(content, from: peer, localIndex: index, at: now)
    }
    for index in 0..<incoming.count { delivered.append(Array(incoming[index])) }
    for message in messages {
      outcomes.append(message.withUnsafeBytes { device.receive($0, from: source, at: now) })
    }
    settle(at: now)
  }

  func timeout(at now: Instant) {
    device.handleTimeout(at: now)
    settle(at: now)
  }

  /// Carries reports, events and messages between the three, until there is nothing more.
  func settle(at now: Instant) {
    var isMoving = true
    while isMoving {
      isMoving = false
      while let report = outbound.pollReport() {
        device.handle(report, at: now)
        isMoving = true
      }
      while let report = inbound.pollReport() {
        device.handle(report, at: now)
        isMoving = true
      }
      while let event = device.pollEvent() {
        events.append(event)
        if case .handshakeCompleted = event { lastSession = now }
        obey(event, at: now)
        isMoving = true
      }
      var room = [UInt8](repeating: 0, count: 148)
      while let (size, to) = room.withUnsafeMutableBytes({ device.pollTransmit(into: $0) }) {
        sent.append((Array(room[..<size]), to))
        isMoving = true
      }
      while let talk = device.pollTalk() {
        isMoving = true
        if talk.isProbe, talk.size > linkMTU {
          device.probeDidNotFit(talk, at: now)
        } else if outbound.seal(talk, into: &outgoing, at: now) {
          said.append((now, talk))
          flush()
        }
      }
    }
  }

  private func obey(_ event: Device.Event, at now: Instant) {
    switch event {
    case .receiveKey(let index):
      if let key = device.takeReceiveKey(index) { inbound.install(key) }
    case .sendKey(_, let index):
      if let key = device.takeSendKey(index) { outbound.install(key) }
    case .dropSendKey(let peer): outbound.dropKey(of: peer)
    case .retire(let index): inbound.retire(index)
    case .keepalive(let peer): release(peer, orKeepalive: true, at: now)
    case .release(let peer): release(peer, orKeepalive: false, at: now)
    case .gaveUp(let peer): outbound.dropWaiting(of: peer)
    case .endpoint(let peer, let endpoint, _): outbound.setEndpoint(endpoint, of: peer)
    case .handshakeCompleted, .postQuantum: break
    case .pathLimit(let peer, let limit): outbound.setLimit(limit, of: peer)
    case .allowedIPsChanged:
      inbound.allowedIPs = device.allowedIPs
      outbound.allowedIPs = device.allowedIPs
    case .removed(let peer): outbound.remove(peer)
    }
  }

  private func release(_ peer: PeerID, orKeepalive: Bool, at now: Instant) {
    var isDone = false
    while !isDone {
      isDone = outbound.release(peer, orKeepalive: orKeepalive, into: &outgoing, at: now)
      flush()
    }
  }

  private func flush() {
    for run in outbound.runs {
      sentMarks += [UInt8](repeating: run.ecn, count: run.count)
      for index in run.first..<(run.first + run.count) { sent.append((Array(outgoing[index]), run.endpoint)) }
    }
  }

  func count(_ type: MessageType) -> Int {
    sent.filter { $0.bytes.withUnsafeBytes { MessageType(of: $0) } == type }.count
  }

  var completed: Int { events.count { if case .handshakeCompleted = $0 { true } else { false } } }
}

/// Ends and the datagrams between them, in simulated time.
final class World {
  var now = Instant(nanoseconds: 1_000_000_000)
  var ends: [End] = []
  /// How long a datagram takes; several times for copies, none for a loss.
  var fate: (_ bytes: [UInt8], _ from: Endpoint, _ to: Endpoint) -> [TimeSpan] = { _, _, _ in [.milliseconds(10)] }
  /// Everything that was sent.
  var log: [(at: Instant, bytes: [UInt8], from: Endpoint, to: Endpoint)] = []
  private var wires: [(at: Instant, number: Int, bytes: [UInt8], from: Endpoint, to: Endpoint)] = []
  private var counter = 0

  func end(
    _ name: String, _ address: String, mtu: Int = 1420, limits: LoadLimits = LoadLimits(), talk: TalkSettings = .none
  ) throws -> End {
    let end = End(
      name, at: try endpoint(address), seed: UInt64(ends.count + 1) &* 7919, mtu: mtu, limits: limits, talk: talk,
      now: now)
    ends.append(end)
    return end
  }

  func collect() {
    for end in ends {
      for (bytes, to) in end.sent {
        log.append((now, bytes, end.address, to))
        for delay in fate(bytes, end.address, to) {
          counter += 1
          wires.append((now + delay, counter, bytes, end.address, to))
        }
      }
      end.sent.removeAll()
    }
  }

  /// Puts a datagram on its way that nobody's device has sent.
  func inject(_ bytes: [UInt8], from: Endpoint, to: Endpoint) {
    counter += 1
    wires.append((now, counter, bytes, from, to))
  }

  func send(_ end: End, _ packets: [[UInt8]]) {
    end.send(packets, at: now)
    collect()
  }

  /// Lets time pass; everything due on the way happens.
  func run(_ span: TimeSpan) {
    let until = now + span
    collect()
    var steps = 0
    while true {
      steps += 1
      if steps > 1_000_000 {
        Issue.record("time stands still at \(now.nanoseconds)")
        return
      }
      var next = until
      for wire in wires where wire.at < next { next = wire.at }
      for end in ends {
        if let (instant, _) = end.device.nextDeadline(), instant < next { next = max(instant, now) }
      }
      now = max(next, now)
      var isQuiet = true
      let due = wires.filter { $0.at <= now }.sorted { ($0.at, $0.number) < ($1.at, $1.number) }
      wires.removeAll { $0.at <= now }
      for wire in due {
        isQuiet = false
        ends.first { $0.address == wire.to }?.receive([wire.bytes], from: wire.from, at: now)
      }
      for end in ends {
        if let (instant, _) = end.device.nextDeadline(), instant <= now {
          isQuiet = false
          end.timeout(at: now)
        }
      }
      collect()
      if isQuiet, now >= until { return }
    }
  }

  func log(_ type: MessageType, from end: End? = nil) -> [[UInt8]] {
    log.filter { entry in
      (end == nil || entry.from == end?.address) && entry.bytes.withUnsafeBytes { MessageType(of: $0) } == type
    }.map(\.bytes)
  }
}

/// Two ends that know each other: `a` is 10.0.0.1 and fd00::1, `b` is 10.0.0.2 and fd00::2, and `a` knows where `b` is.
struct Two {
  let world = World()
  let a: End
  let b: End
  let aPeer: PeerID
  let bPeer: PeerID
  let aAddress: IPAddress
  let bAddress: IPAddress

  init(
    mtu: Int = 1420, limits: LoadLimits = LoadLimits(), bothKnow: Bool = false,
    talk: (TalkSettings, TalkSettings)? = nil
  ) throws {
    a = try world.end("a", "192.0.2.1:51820", mtu: mtu, talk: talk?.0 ?? .none)
    b = try world.end("b", "192.0.2.2:51820", mtu: mtu, limits: limits, talk: talk?.1 ?? .none)
    aPeer = try a.add(b, ["10.0.0.2/32", "fd00::2/128"], endpoint: b.address)
    bPeer = try b.add(a, ["10.0.0.1/32", "fd00::1/128"], endpoint: bothKnow ? a.address : nil)
    aAddress = try address("10.0.0.1")
    bAddress = try address("10.0.0.2")
  }

  /// `b` is started anew: the key is the same, and all else is forgotten.
  func restartB(talk: TalkSettings) throws -> End {
    let fresh = End("b", at: b.address, seed: 2 &* 7919, talk: talk, now: world.now)
    fresh.device.setWallClock(WallTime(seconds: 1_700_000_500), at: world.now)
    try fresh.add(a, ["10.0.0.1/32", "fd00::1/128"], endpoint: b.device.status(of: bPeer)?.endpoint)
    world.ends.removeAll { $0 === b }
    world.ends.append(fresh)
    return fresh
  }

  func there(_ count: Int = 1, size: Int = 100, from number: Int = 0) -> [[UInt8]] {
    (0..<count).map { packet(from: aAddress, to: bAddress, size: size, number: UInt32(number + $0)) }
  }

  func back(_ count: Int = 1, size: Int = 100, from number: Int = 0) -> [[UInt8]] {
    (0..<count).map { packet(from: bAddress, to: aAddress, size: size, number: UInt32(number + $0)) }
  }
}
