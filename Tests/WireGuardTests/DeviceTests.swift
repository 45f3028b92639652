import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

@Suite struct DeviceTests {
  @Test("A packet waits for the handshake, arrives as it was, and the answer comes back")
  func handshake() throws {
    let two = try Two()
    let packets = two.there(3)
    two.world.send(two.a, packets)
    #expect(two.a.outbound.waitingCount(of: two.aPeer) == 3)
    two.world.run(.milliseconds(100))
    #expect(two.b.delivered == packets)
    #expect(two.a.completed == 1 && two.b.completed == 1)
    #expect(two.a.outbound.waitingCount(of: two.aPeer) == 0)
    two.world.send(two.b, two.back(2))
    two.world.run(.milliseconds(100))
    #expect(two.a.delivered == two.back(2))
    #expect(two.world.log(.initiation).count == 1 && two.world.log(.response).count == 1)
    #expect(two.a.device.status(of: two.aPeer)?.roundTrip == .milliseconds(20))
  }

  @Test("Without anything to send the initiator proves the session with an empty packet")
  func confirmation() throws {
    let two = try Two()
    two.a.device.setPersistentKeepalive(.seconds(25), of: two.aPeer, at: two.world.now)
    two.a.settle(at: two.world.now)
    two.world.run(.milliseconds(100))
    #expect(two.b.completed == 1)
    #expect(two.world.log(.transport).map(\.count) == [32])
  }

  @Test("Both address families are carried, and what is neither is dropped")
  func families() throws {
    let two = try Two()
    let six = packet(from: try address("fd00::1"), to: try address("fd00::2"), size: 200)
    two.world.send(two.a, [six] + two.there() + [[0x10] + [UInt8](repeating: 0, count: 60), []])
    two.world.run(.seconds(1))
    #expect(two.b.delivered == [six] + two.there())
    #expect(two.a.outbound.drops.notIP == 2)
  }

  @Test("No route and no endpoint are told apart, and the host is told")
  func unreachable() throws {
    let two = try Two()
    two.world.send(two.a, [packet(from: two.aAddress, to: try address("10.9.9.9"), size: 100)])
    two.world.send(two.b, two.back())
    #expect(two.a.unreachable == 1 && two.a.outbound.drops.unroutable == 1)
    #expect(two.b.unreachable == 1 && two.b.outbound.drops.noEndpoint == 1)
    two.world.run(.seconds(1))
    #expect(two.world.log.isEmpty)
  }

  @Test("A lost initiation and a lost response are sent again, each time with another key")
  func losses() throws {
    let two = try Two()
    var left = 3
    two.world.fate = { _, _, _ in
      left -= 1
      return left >= 0 ? [] : [.milliseconds(10)]
    }
    two.world.send(two.a, two.there())
    two.world.run(.seconds(30))
    #expect(two.b.delivered == two.there())
    let initiations = two.world.log(.initiation)
    #expect(initiations.count == 4)
    #expect(Set(initiations.map { Array($0[8..<40]) }).count == 4)
    #expect(Set(initiations.map { Array($0[4..<8]) }).count == 4)
  }

  @Test("Packets that come in any order, and twice, are each delivered once")
  func reordering() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    var random = SeededGenerator(5)
    two.world.fate = { _, _, _ in
      (0..<random.number(1...3)).map { _ in .microseconds(Int64(random.number(1...90_000))) }
    }
    two.world.send(two.a, two.there(500, from: 1))
    two.world.run(.seconds(1))
    #expect(Set(two.b.delivered).count == 501 && two.b.delivered.count == 501)
    #expect(two.b.inbound.drops.replayed > 300)
  }

  @Test("Every message replayed once changes nothing: no packet, no answer, no endpoint")
  func replay() throws {
    let two = try Two()
    two.world.send(two.a, two.there(20))
    two.world.run(.seconds(1))
    two.world.send(two.b, two.back(20))
    two.world.run(.seconds(1))
    let log = two.world.log
    let delivered = (two.a.delivered.count, two.b.delivered.count)
    let stranger = try endpoint("198.51.100.66:666")
    for entry in log { two.world.inject(entry.bytes, from: stranger, to: entry.to) }
    two.world.run(.milliseconds(1))
    #expect(two.world.log.count == log.count)
    #expect((two.a.delivered.count, two.b.delivered.count) == delivered)
    #expect(two.a.device.status(of: two.aPeer)?.endpoint == two.b.address)
    #expect(two.b.device.status(of: two.bPeer)?.endpoint == two.a.address)
    two.world.send(two.a, two.there(1, from: 77))
    two.world.run(.seconds(1))
    #expect(two.b.delivered.last == two.there(1, from: 77).first)
  }

  @Test("The initiator renews a session that is two minutes old, and no packet is lost over it")
  func renewal() throws {
    let two = try Two()
    var number = 0
    for _ in 0..<400 {
      two.world.send(two.a, two.there(2, from: number))
      two.world.send(two.b, two.back(2, from: number))
      number += 2
      two.world.run(.seconds(1))
    }
    // The first packet of `b` finds no endpoint.
    #expect(two.b.delivered == two.there(800))
    #expect(two.a.delivered == two.back(798, from: 2))
    #expect(two.world.log(.initiation, from: two.a).count == 4)
    #expect(two.world.log(.initiation, from: two.b).isEmpty)
  }

  @Test("The responder does not renew by age, so that the two do not meet")
  func responderWaits() throws {
    let two = try Two(bothKnow: true)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    for second in 0..<170 {
      two.world.send(two.b, two.back(1, from: second))
      two.world.run(.seconds(1))
    }
    // `a` only receives: it renews in the session's last 15 seconds.
    #expect(two.world.log(.initiation, from: two.b).isEmpty)
    #expect(two.world.log(.initiation, from: two.a).count == 2)
    #expect(two.a.delivered.count == 170)
  }

  @Test("A key of three minutes is refused by both pumps, and a new one is made when there is something to send")
  func expiry() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.milliseconds(100))
    let old = two.there(1, from: 5)
    var stolen: [UInt8] = []
    two.world.fate = { bytes, _, _ in
      if bytes.count > 100 { stolen = bytes }
      return []
    }
    two.world.send(two.a, old)
    two.world.fate = { _, _, _ in [.milliseconds(10)] }
    two.world.now = two.world.now + .seconds(181)
    // What was sealed in time is not opened any more.
    two.world.inject(stolen, from: two.a.address, to: two.b.address)
    two.world.run(.milliseconds(1))
    #expect(two.b.inbound.drops.unknown == 1 && two.b.delivered.count == 1)
    two.world.send(two.a, two.there(1, from: 9))
    two.world.run(.seconds(20))
    #expect(two.b.delivered.last == two.there(1, from: 9).first)
    #expect(two.world.log(.initiation).count >= 2)
  }

  @Test("Two that begin at once end with one session that works, and both have their packets")
  func simultaneous() throws {
    for round in 0..<20 {
      let two = try Two(bothKnow: true)
      var random = SeededGenerator(UInt64(round))
      two.world.fate = { _, _, _ in [.milliseconds(Int64(random.number(5...40)))] }
      two.world.send(two.a, two.there(3))
      two.world.send(two.b, two.back(3))
      two.world.run(.seconds(40))
      #expect(Set(two.b.delivered) == Set(two.there(3)) && Set(two.a.delivered) == Set(two.back(3)), "round \(round)")
      two.world.send(two.a, two.there(1, from: 9))
      two.world.send(two.b, two.back(1, from: 9))
      two.world.run(.seconds(1))
      #expect(two.b.delivered.count == 4 && two.a.delivered.count == 4, "round \(round)")
    }
  }

  @Test(
    "A peer that does not answer is asked 19 times in 90 seconds and more, then given up, and what waited is dropped")
  func givingUp() throws {
    let two = try Two()
    two.world.fate = { _, _, _ in [] }
    two.world.send(two.a, two.there(200))
    #expect(two.a.outbound.waitingCount(of: two.aPeer) == Outbound.maximumWaiting)
    #expect(two.a.outbound.drops.overflowed == UInt64(200 - Outbound.maximumWaiting))
    two.world.run(.seconds(300))
    #expect(two.a.events.contains(.gaveUp(two.aPeer)))
    #expect(two.a.outbound.waitingCount(of: two.aPeer) == 0)
    let times = two.world.log.map(\.at)
    #expect(times.count == 19)
    #expect(times[18] - times[0] > .seconds(90) && times[18] - times[0] < .seconds(97))
    // Of what waited the newest are kept.
    two.world.fate = { _, _, _ in [.milliseconds(10)] }
    two.world.send(two.a, two.there(130))
    two.world.run(.seconds(1))
    #expect(two.b.delivered.elementsEqual(two.there(128, from: 2)))
  }

  @Test("What is forgotten after nine minutes is gone, and the next packet begins anew")
  func forgetting() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    #expect(two.a.inbound.keyCount == 1)
    two.world.run(.seconds(541))
    #expect(two.a.inbound.keyCount == 0 && two.b.inbound.keyCount == 0)
    #expect(two.a.events.contains(.dropSendKey(two.aPeer)))
    #expect(two.a.device.indices.isEmpty && two.b.device.indices.isEmpty)
    two.world.send(two.a, two.there(1, from: 3))
    two.world.run(.seconds(1))
    #expect(two.b.delivered.count == 2)
  }

  @Test("A clock that jumps an hour ahead costs one handshake; a wall clock that is set back costs nothing")
  func clocks() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(30))
    two.world.now = two.world.now + .seconds(3_600)
    two.a.device.setWallClock(WallTime(seconds: 1_000_000_000), at: two.world.now)
    two.world.send(two.a, two.there(1, from: 1))
    two.world.run(.seconds(2))
    #expect(two.b.delivered.count == 2)
    #expect(two.world.log(.initiation).count == 2)
    #expect(two.b.outcomes == [.initiationTaken, .initiationTaken])
  }

  @Test("Handshakes of many minutes leave no index, key or wake behind")
  func noLeak() throws {
    let two = try Two(bothKnow: true)
    for _ in 0..<60 {
      two.world.send(two.a, two.there())
      two.world.send(two.b, two.back())
      two.world.run(.seconds(120))
    }
    for end in [two.a, two.b] {
      #expect(end.device.indices.count <= 4 && end.inbound.keyCount <= 3)
      #expect(end.device.sendKeys.isEmpty && end.device.receiveKeys.isEmpty)
      #expect(end.device.wakeCount == 1)
    }
  }

  @Test("A preshared key that differs is no session; one that changes costs nothing until the next handshake")
  func presharedKey() throws {
    let two = try Two()
    var random = SeededGenerator(9)
    let key = SecretKey(using: &random)
    two.a.device.setPresharedKey(key, of: two.aPeer)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(4))
    #expect(two.b.delivered.isEmpty && two.a.outcomes == [.forged])
    two.b.device.setPresharedKey(key, of: two.bPeer)
    two.world.run(.seconds(4))
    #expect(two.b.delivered.count == 1)
    #expect(two.a.device.status(of: two.aPeer)?.hasPresharedKey == true)
    // A change under way: the session carries on.
    let other = SecretKey(using: &random)
    two.a.device.setPresharedKey(other, of: two.aPeer)
    for second in 0..<100 {
      two.world.send(two.a, two.there(1, from: second + 1))
      two.world.run(.seconds(1))
    }
    #expect(two.b.delivered.count == 101 && two.world.log(.initiation).count == 2)
    two.b.device.setPresharedKey(other, of: two.bPeer)
    for second in 100..<200 {
      two.world.send(two.a, two.there(1, from: second + 1))
      two.world.run(.seconds(1))
    }
    #expect(two.b.delivered.count == 201 && two.world.log(.initiation).count == 3)
  }

  @Test("A new private key ends the sessions, and a peer with our own key goes")
  func privateKey() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    var random = SeededGenerator(10)
    let key = SecretKey(using: &random)
    let added = two.a.device.addPeer(X25519.publicKey(of: key))
    let id = try #require(added)
    two.a.device.allow(try prefix("10.5.0.0/16"), for: id)
    two.a.device.setPrivateKey(key, at: two.world.now)
    two.a.settle(at: two.world.now)
    #expect(two.a.inbound.keyCount == 0 && two.a.device.peerIDs == [two.aPeer])
    let own = two.a.device.addPeer(two.a.publicKey)
    #expect(own == nil)
    two.world.send(two.a, two.there(1, from: 1))
    two.world.run(.seconds(3))
    #expect(two.b.delivered.count == 1 && two.b.outcomes.last == .unknownPeer)
    let again = try two.b.add(two.a, ["10.0.0.1/32"])
    two.world.run(.seconds(6))
    #expect(two.b.delivered.count == 2)
    #expect(two.b.device.allowedIPs.lookup(two.aAddress) == again)
    two.b.device.setPrivateKey(nil, at: two.world.now)
    two.b.settle(at: two.world.now)
    #expect(two.b.device.publicKey == nil && two.b.inbound.keyCount == 0)
  }

  @Test("A peer that is removed takes its sessions and addresses with it, and its reports concern nobody")
  func removal() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    two.b.device.removePeer(two.bPeer)
    two.b.device.handle(
      Inbound.Report(peer: two.bPeer, localIndex: 1, packets: 1, source: two.a.address), at: two.world.now)
    two.b.device.handle(Outbound.Report(peer: two.bPeer, packets: 1, isWaiting: true), at: two.world.now)
    two.b.settle(at: two.world.now)
    #expect(two.b.inbound.keyCount == 0 && two.b.device.allowedIPs.isEmpty && two.b.device.indices.isEmpty)
    two.world.send(two.a, two.there(1, from: 1))
    two.world.run(.seconds(1))
    #expect(two.b.delivered.count == 1 && two.b.inbound.drops.unknown == 1)
    let again = try two.b.add(two.a, ["10.0.0.1/32"])
    #expect(again != two.bPeer)
  }

  @Test("A million packets both ways with losses, disorder and renewals arrive at most once, and unchanged")
  func million() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    two.a.delivered = []
    two.b.delivered = []
    var random = SeededGenerator(11)
    var sent = 0
    var received = 0
    var seen = Set<UInt32>()
    // Batches straight from pump to pump: the simulated wires would take most of the time.
    for round in 0..<1_000 {
      two.world.now = two.world.now + .milliseconds(500)
      two.a.send(two.there(1_000, size: 60, from: sent), at: two.world.now)
      sent += 1_000
      var messages = two.a.sent
      two.a.sent = []
      if random.chance(4) { messages.swapAt(random.number(0...messages.count - 1), 0) }
      if random.chance(8) { messages.remove(at: random.number(1...messages.count - 1)) }
      var pieces = messages[...]
      while !pieces.isEmpty {
        two.b.receive(pieces.prefix(64).map(\.bytes), from: two.a.address, at: two.world.now)
        pieces = pieces.dropFirst(64)
      }
      for bytes in two.b.delivered {
        received += 1
        let number = bytes[20..<24].reduce(0) { $0 << 8 | UInt32($1) }
        check(bytes == two.there(1, size: 60, from: Int(number))[0], "packet \(number)")
        if round % 100 == 0 { check(seen.insert(number).inserted, "packet \(number) twice") }
      }
      two.b.delivered = []
      let answers = two.b.sent
      two.b.sent = []
      for (bytes, _) in answers { two.a.receive([bytes], from: two.b.address, at: two.world.now) }
      two.a.timeout(at: two.world.now)
      two.b.timeout(at: two.world.now)
      let more = two.b.sent
      two.b.sent = []
      for (bytes, _) in more { two.a.receive([bytes], from: two.b.address, at: two.world.now) }
    }
    #expect(sent == 1_000_000)
    #expect(received > 998_000 && received < 1_000_000)
    #expect(two.a.completed >= 4)
  }
}
