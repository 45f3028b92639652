import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

/// What other implementations got wrong once, one test each.
@Suite struct TrapTests {
  // MARK: Padding

  @Test("Contents are padded to 16 bytes, but never beyond the MTU", arguments: [1_360, 1_420, 1_280])
  func padding(_ mtu: Int) throws {
    for (count, padded) in [
      (0, 0), (1, 16), (15, 16), (16, 16), (17, 32), (mtu - 20, min((mtu - 20 + 15) / 16 * 16, mtu)), (mtu - 1, mtu),
      (mtu, mtu), (mtu + 1, mtu + 1),
    ] {
      #expect(SendKey.paddedSize(count, mtu: mtu) == padded)
    }
    let two = try Two(mtu: mtu)
    for size in [20, 21, 36, 100, 1_000, mtu - 15, mtu - 1, mtu] {
      two.world.log = []
      two.world.send(two.a, two.there(1, size: size))
      two.world.run(.seconds(1))
      let message = try #require(two.world.log(.transport, from: two.a).last)
      #expect(message.count == SendKey.paddedSize(size, mtu: mtu) + 32)
      #expect(two.b.delivered.last == two.there(1, size: size).first)
    }
  }

  @Test("Full packets are sealed back to back, so that they leave as one send")
  func backToBack() throws {
    let two = try Two(mtu: 1_420)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    var batch = PacketBatch(
      capacity: 1 << 17, maximumCount: 64, headroom: WireGuardLimit.headerSize,
      tailroom: Outbound.tailroom(mtu: 1_420))
    for packet in two.there(40, size: 1_420) + two.there(1, size: 77) + two.there(5, size: 500) {
      #expect(packet.withUnsafeBytes { batch.append(copying: $0) })
    }
    two.a.outbound.seal(&batch, at: two.world.now) { _, _ in }
    #expect(batch.count == 46)
    #expect(batch.equalRun(from: 0, limit: 64, byteLimit: 65_535) == 41)
    #expect(batch.equalRun(from: 41, limit: 64, byteLimit: 65_535) == 5)
    #expect(two.a.outbound.runs.map(\.count) == [46])
  }

  @Test("What lies behind the inner packet is cut off, and what is cut short is dropped")
  func innerLength() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    two.b.delivered = []
    var long = two.there(1, size: 100)[0]
    long[3] = 90
    var short = two.there(1, size: 100)[0]
    short[3] = 200
    var tiny = two.there(1, size: 100)[0]
    tiny[3] = 19
    two.world.send(two.a, [long, short, tiny])
    two.world.run(.seconds(1))
    #expect(two.b.delivered == [Array(long.prefix(90))])
    #expect(two.b.inbound.drops.notIP == 2)
  }

  // MARK: Indices

  @Test("Indices are random 32-bit numbers: they neither count nor follow from each other")
  func indices() throws {
    let two = try Two()
    var seen: [UInt32] = []
    for round in 0..<64 {
      two.world.now = two.world.now + .seconds(200)
      two.world.send(two.a, two.there(1, from: round))
      two.world.run(.seconds(1))
    }
    for message in two.world.log(.initiation, from: two.a) {
      seen.append(message[4..<8].reversed().reduce(0) { $0 << 8 | UInt32($1) })
    }
    #expect(seen.count >= 64 && Set(seen).count == seen.count)
    // Each bit is set about half the time: with 64 draws, fewer than 8 or more than 56 means that it is stuck.
    for bit in 0..<32 {
      let count = seen.count { $0 >> UInt32(bit) & 1 == 1 }
      check(count > seen.count / 8 && count < seen.count * 7 / 8, "bit \(bit): \(count)")
    }
    let steps = zip(seen, seen.dropFirst()).map { $1 &- $0 }
    #expect(Set(steps).count == steps.count)
  }

  // MARK: Roaming

  @Test("Every authentic message moves the endpoint: data, keepalives, initiations and responses")
  func roaming() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    #expect(two.b.device.status(of: two.bPeer)?.endpoint == two.a.address)
    // Data.
    two.a.address = try endpoint("203.0.113.7:1024")
    two.world.send(two.a, two.there(1, from: 1))
    two.world.run(.milliseconds(100))
    #expect(two.b.device.status(of: two.bPeer)?.endpoint == two.a.address)
    #expect(two.b.events.contains(.endpoint(two.bPeer, two.a.address, .roamed)))
    two.world.send(two.b, two.back())
    two.world.run(.milliseconds(100))
    #expect(two.a.delivered.count == 1)
    // A keepalive, which `a` owes for what it received.
    two.a.address = try endpoint("[2001:db8::7]:1025")
    two.world.run(.seconds(11))
    #expect(two.b.device.status(of: two.bPeer)?.endpoint == two.a.address)
    // An initiation.
    two.world.now = two.world.now + .seconds(200)
    two.a.address = try endpoint("203.0.113.9:1026")
    two.world.send(two.a, two.there(1, from: 2))
    two.world.run(.milliseconds(15))
    #expect(two.b.device.status(of: two.bPeer)?.endpoint == two.a.address)
    // A response: `b` answers from elsewhere. Nobody must owe anybody a keepalive when the time jumps.
    two.world.run(.seconds(30))
    two.world.now = two.world.now + .seconds(200)
    let after = try endpoint("198.51.100.2:2000")
    two.world.send(two.a, two.there(1, from: 3))
    two.world.run(.zero)
    let initiation = try #require(two.world.log(.initiation, from: two.a).last)
    two.b.address = after
    two.b.receive([initiation], from: two.a.address, at: two.world.now)
    #expect(two.b.outcomes.last == .initiationTaken)
    two.world.run(.milliseconds(100))
    #expect(two.a.device.status(of: two.aPeer)?.endpoint == after)
  }

  @Test("Nothing that is not authentic moves the endpoint: not a byte changed, not a replay, not a cookie reply")
  func noRoaming() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    let stranger = try endpoint("198.51.100.66:666")
    var forged = try #require(two.world.log(.transport, from: two.a).last)
    two.world.inject(forged, from: stranger, to: two.b.address)
    forged[forged.count - 1] ^= 1
    two.world.inject(forged, from: stranger, to: two.b.address)
    forged[8] = 200
    two.world.inject(forged, from: stranger, to: two.b.address)
    two.world.run(.milliseconds(1))
    #expect(two.b.inbound.drops.replayed == 2 && two.b.inbound.drops.forged == 1)
    #expect(two.b.device.status(of: two.bPeer)?.endpoint == two.a.address)
    #expect(!two.b.events.contains(.endpoint(two.bPeer, stranger, .roamed)))
  }

  @Test("A cookie reply from elsewhere is taken when it is true, and moves nothing")
  func cookieRoaming() throws {
    var limits = LoadLimits()
    limits.burst = 0
    let two = try Two(limits: limits)
    two.world.send(two.a, two.there())
    two.world.run(.milliseconds(15))
    let reply = try #require(two.world.log(.cookieReply).first)
    let stranger = try endpoint("198.51.100.66:666")
    two.a.receive([reply], from: stranger, at: two.world.now)
    #expect(two.a.outcomes == [.cookieTaken])
    #expect(two.a.device.status(of: two.aPeer)?.endpoint == two.b.address)
    #expect(two.a.device.status(of: two.aPeer)?.receivedBytes == 0)
  }

  // MARK: Keepalives

  @Test("A keepalive answers data after ten seconds, and never another keepalive")
  func passiveKeepalive() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    two.world.log = []
    two.world.run(.seconds(100))
    // `b` received one packet and owes one keepalive; `a` does not answer it.
    #expect(two.world.log.map(\.bytes.count) == [32])
    #expect(two.world.log.map(\.from) == [two.b.address])
    let first = try #require(two.world.log.first)
    let wait = first.at - Instant(nanoseconds: 1_000_000_000)
    #expect(wait > .seconds(10) && wait < .milliseconds(10_100))
  }

  @Test("A keepalive is counted from what was received: what was sent meanwhile makes it needless")
  func keepaliveAfterSending() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    two.world.log = []
    for _ in 0..<20 {
      two.world.send(two.a, two.there())
      two.world.run(.seconds(1))
      two.world.send(two.b, two.back())
      two.world.run(.seconds(1))
    }
    #expect(two.world.log.allSatisfy { $0.bytes.count > 32 })
    two.world.log = []
    // Only `a` sends: `b` sends a keepalive every ten seconds or so, as long as there is data, and one for the rest.
    for _ in 0..<60 {
      two.world.send(two.a, two.there())
      two.world.run(.milliseconds(500))
    }
    two.world.run(.seconds(30))
    let keepalives = two.world.log.filter { $0.bytes.count == 32 }
    #expect(keepalives.allSatisfy { $0.from == two.b.address } && (3...4).contains(keepalives.count))
  }

  @Test("A persistent keepalive is sent only while nothing else is, and needs no packet to begin")
  func persistentKeepalive() throws {
    let two = try Two()
    two.a.device.setPersistentKeepalive(.seconds(25), of: two.aPeer, at: two.world.now)
    two.world.run(.seconds(1))
    #expect(two.world.log(.initiation).count == 1)
    two.world.log = []
    two.world.run(.seconds(100))
    #expect(two.world.log(.transport, from: two.a).count == 4)
    two.world.log = []
    for second in 0..<100 {
      two.world.send(two.b, two.back(1, from: second))
      two.world.run(.milliseconds(500))
      two.world.send(two.a, two.there(1, from: second))
      two.world.run(.milliseconds(500))
    }
    // The one empty packet proves the session that was renewed meanwhile.
    #expect(two.world.log(.transport).count { $0.count == 32 } == two.world.log(.initiation).count)
    #expect(two.world.log(.initiation).count == 1)
    // Switched off, it is not sent any more.
    two.a.device.setPersistentKeepalive(.zero, of: two.aPeer, at: two.world.now)
    two.world.run(.seconds(30))
    two.world.log = []
    two.world.run(.seconds(200))
    #expect(two.world.log.isEmpty)
  }

  @Test("An end that sends and hears nothing begins a new handshake after 15 seconds")
  func silence() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(12))
    two.world.log = []
    two.world.fate = { bytes, _, _ in
      bytes.withUnsafeBytes { MessageType(of: $0) } == .transport ? [] : [.milliseconds(10)]
    }
    two.world.send(two.a, two.there())
    let start = two.world.now
    two.world.run(.seconds(20))
    let initiation = try #require(two.world.log.first { $0.bytes.count == 148 })
    let wait = initiation.at - start
    #expect(wait >= .seconds(15) && wait <= .milliseconds(15_334))
  }

  // MARK: Jitter

  @Test("Every try of a handshake has jitter of its own, of up to a third of a second")
  func jitter() throws {
    let two = try Two()
    two.world.fate = { _, _, _ in [] }
    two.world.send(two.a, two.there())
    two.world.run(.seconds(100))
    let times = two.world.log.map(\.at)
    let waits = zip(times, times.dropFirst()).map { $1 - $0 }
    #expect(waits.count == 18)
    #expect(
      waits.allSatisfy {
        $0 >= WireGuardLimit.rekeyTimeout && $0 <= WireGuardLimit.rekeyTimeout + WireGuardLimit.maximumJitter
      })
    #expect(Set(waits).count == waits.count)
  }

  // MARK: Limits

  @Test("A key retires at its last message, and a session is renewed long before")
  func retirement() throws {
    let key = SecretKey()
    var send = SendKey(
      peer: PeerID(rawValue: 1), localIndex: 1, remoteIndex: 2, birth: seconds(0), key: key,
      counter: WireGuardLimit.rejectAfterMessages - 2)
    var room = [UInt8](repeating: 0, count: 64)
    let sizes = room.withUnsafeMutableBytes { room -> [Int?] in
      guard let base = room.baseAddress else { return [] }
      return (0..<4).map { _ in send.seal(base + 16, count: 16, mtu: 1_420) }
    }
    #expect(sizes == [48, 48, nil, nil])
    check(!send.isUsable(at: seconds(1)), "a key that is worn out")
    check(
      SendKey(peer: PeerID(rawValue: 1), localIndex: 1, remoteIndex: 2, birth: seconds(0), key: key).isUsable(
        at: seconds(179.9)), "young")
    check(
      !SendKey(peer: PeerID(rawValue: 1), localIndex: 1, remoteIndex: 2, birth: seconds(0), key: key).isUsable(
        at: seconds(180)), "old")

    // 2^60 messages are worth a new session to either end.
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(6))
    two.world.log = []
    two.b.device.handle(
      Outbound.Report(peer: two.bPeer, packets: 1, counter: WireGuardLimit.rekeyAfterMessages), at: two.world.now)
    two.b.settle(at: two.world.now)
    two.world.run(.milliseconds(5))
    #expect(two.world.log.isEmpty)
    two.b.device.handle(
      Outbound.Report(peer: two.bPeer, packets: 1, counter: WireGuardLimit.rekeyAfterMessages + 1), at: two.world.now)
    two.b.settle(at: two.world.now)
    two.world.run(.milliseconds(5))
    #expect(two.world.log(.initiation, from: two.b).count == 1)
  }

  @Test("Constants are the paper's")
  func constants() {
    #expect(WireGuardLimit.rekeyAfterMessages == 1_152_921_504_606_846_976)
    #expect(WireGuardLimit.rejectAfterMessages == 18_446_744_073_709_543_423)
    #expect(WireGuardLimit.rekeyAfterTime == .seconds(120) && WireGuardLimit.rejectAfterTime == .seconds(180))
    #expect(WireGuardLimit.rekeyAttemptTime == .seconds(90) && WireGuardLimit.rekeyTimeout == .seconds(5))
    #expect(WireGuardLimit.keepaliveTimeout == .seconds(10) && WireGuardLimit.cookieSecretTime == .seconds(120))
  }

  // MARK: Sources

  @Test("A peer cannot use an address inside its own network that belongs to another peer")
  func foreignSource() throws {
    let world = World()
    let hub = try world.end("hub", "192.0.2.1:51820")
    let wide = try world.end("wide", "192.0.2.2:51820")
    let narrow = try world.end("narrow", "192.0.2.3:51820")
    try hub.add(wide, ["10.1.0.0/16", "fd01::/32"])
    try hub.add(narrow, ["10.1.2.3/32", "fd01::3/128"])
    for end in [wide, narrow] { try end.add(hub, ["0.0.0.0/0", "::/0"], endpoint: hub.address) }
    let target = try address("10.0.0.1")
    let target6 = try address("fd00::1")
    let packets = [
      packet(from: try address("10.1.2.4"), to: target, size: 60),
      packet(from: try address("10.1.2.3"), to: target, size: 60),
      packet(from: try address("10.2.0.0"), to: target, size: 60),
      packet(from: try address("fd01::4"), to: target6, size: 60),
      packet(from: try address("fd01::3"), to: target6, size: 60),
      packet(from: try address("fd02::3"), to: target6, size: 60),
    ]
    world.send(wide, packets)
    world.run(.seconds(1))
    #expect(hub.delivered == [packets[0], packets[3]])
    #expect(hub.inbound.drops.foreignSource == 4)
    hub.delivered = []
    world.send(narrow, packets)
    world.run(.seconds(1))
    #expect(hub.delivered == [packets[1], packets[4]])
  }

  // MARK: Datagrams of all kinds

  @Test("Datagrams of every size and type, joined ones and huge ones, harm nobody: data goes on")
  func oddDatagrams() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    var random = SeededGenerator(30)
    let message = try #require(two.world.log(.transport, from: two.a).last)
    var odd: [[UInt8]] = [[], message + message, message + message + message]
    odd += [Array(message.dropLast()), message + [0]]
    for size in [1, 3, 4, 15, 16, 31, 32, 33, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1_500, 9_000, 65_507, 65_535] {
      for type in 0...6 { odd.append(Array(([UInt8(type), 0, 0, 0] + random.bytes(size)).prefix(size))) }
      odd.append(random.bytes(size))
    }
    for (place, bytes) in odd.enumerated() {
      two.b.receive([bytes], from: two.a.address, at: two.world.now)
      two.b.receive([two.there()[0], bytes], from: two.a.address, at: two.world.now)
      two.world.send(two.a, two.there(1, from: place + 1))
      two.world.run(.milliseconds(11))
      check(two.b.delivered.last == two.there(1, from: place + 1)[0], "after \(bytes.count) bytes")
    }
    #expect(two.b.delivered.count == odd.count + 1)
    #expect(two.b.outcomes.dropFirst().allSatisfy { $0 == .wrongMAC || $0 == .unexpected || $0 == .malformed })
  }

  @Test("Our own message to a peer is not sealed for it once more: the route to it leads into the tunnel")
  func loop() throws {
    let two = try Two()
    two.a.device.allow(try prefix("192.0.2.2/32"), for: two.aPeer)
    two.a.device.allow(try prefix("2001:db8::2/128"), for: two.aPeer)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    let message = try #require(two.world.log(.transport, from: two.a).last)
    let ports: [UInt8] = [0xCA, 0x6C, 0xCA, 0x6C, 0, UInt8(message.count + 8), 0, 0]
    let four = Array(
      packet(from: try address("192.0.2.1"), to: two.b.address.address, size: 20)[..<20] + ports + message)
    let six = Array(
      packet(from: try address("2001:db8::1"), to: try address("2001:db8::2"), size: 40)[..<40] + ports + message)
    var options = [0x46] + four[1...]
    options.insert(contentsOf: [1, 1, 1, 0], at: 20)
    two.world.log = []
    two.world.send(two.a, [four, six, options])
    #expect(two.world.log.isEmpty && two.a.outbound.drops.looped == 3)
    // To another index it is somebody else's: a tunnel inside of this one.
    var other = four
    other[20 + 8 + 4] ^= 1
    two.world.send(two.a, [other, Array(four.prefix(30))])
    #expect(two.world.log(.transport).count == 2 && two.a.outbound.drops.looped == 3)
  }

  // MARK: Silence

  @Test("A stranger hears nothing, whatever it sends, unless it knows the public key")
  func silenceToStrangers() throws {
    let two = try Two()
    let stranger = try world(two, "stranger", "198.51.100.9:9")
    // It knows `b`'s address, but takes another key for `b`'s.
    var random = SeededGenerator(31)
    let wrong = X25519.publicKey(of: SecretKey(using: &random))
    let added = stranger.device.addPeer(wrong)
    let peer = try #require(added)
    stranger.device.allow(try prefix("0.0.0.0/0"), for: peer)
    stranger.device.setEndpoint(two.b.address, of: peer)
    stranger.settle(at: two.world.now)
    two.world.send(stranger, two.there())
    two.world.run(.seconds(20))
    #expect(two.world.log(.initiation, from: stranger).count >= 3)
    #expect(two.b.outcomes.allSatisfy { $0 == .wrongMAC } && two.world.log.allSatisfy { $0.from == stranger.address })
    // With the right key, but unknown to `b`: still nothing.
    try stranger.add(two.b, ["0.0.0.0/0"], endpoint: two.b.address)
    two.world.log = []
    two.world.send(stranger, two.there())
    two.world.run(.seconds(20))
    #expect(two.b.outcomes.contains(.unknownPeer) && two.world.log.allSatisfy { $0.from == stranger.address })
    #expect(two.b.device.indices.isEmpty)
  }

  @Test("A peer's key of low order, or all zeros, is never agreed with")
  func lowOrder() throws {
    let two = try Two()
    let zero = try #require(PublicKey([UInt8](repeating: 0, count: 32)))
    let added = two.a.device.addPeer(zero)
    let peer = try #require(added)
    two.a.device.setEndpoint(two.b.address, of: peer)
    two.a.device.setPersistentKeepalive(.seconds(1), of: peer, at: two.world.now)
    two.world.run(.seconds(20))
    #expect(two.world.log.isEmpty)
  }

  private func world(_ two: Two, _ name: String, _ address: String) throws -> End { try two.world.end(name, address) }
}
