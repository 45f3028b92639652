import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

/// What two Culverts say to each other inside a tunnel, and what others notice of it: nothing.
@Suite struct TalkTests {
  // MARK: Who hears what

  @Test("Two that talk know each other after the first exchange; of two of whom one does not, neither says a word")
  func discovery() throws {
    let on = TalkSettings(postQuantum: false, pathMTU: false, mtu: 1420)
    #expect(!on.isOn)
    for (left, right) in [(true, true), (true, false), (false, true), (false, false)] {
      let settings = (left ? Self.talking : .none, right ? Self.talking : .none)
      let two = try Two(talk: settings)
      two.world.send(two.a, two.there())
      two.world.run(.seconds(8))
      let both = left && right
      #expect(two.a.device.status(of: two.aPeer)?.isCulvert == both, "\(left) \(right)")
      #expect(two.b.device.status(of: two.bPeer)?.isCulvert == both, "\(left) \(right)")
      #expect(two.b.delivered.count == 1)
      if !both {
        #expect(two.a.said.isEmpty && two.b.said.isEmpty)
        #expect(two.world.log(.transport).count == 1, "no packet but the one")
      }
      for end in [two.a, two.b] { #expect(end.inbound.drops == Inbound.Drops(), "\(end.name)") }
    }
  }

  @Test("Handshake messages have their sizes, and timestamps grow, with a mark and without")
  func timestamps() {
    var random = SeededGenerator(5)
    var last = Timestamp.zero
    var lastBytes: [UInt8] = []
    for step in 0..<2_000 {
      let time = WallTime(seconds: 1_700_000_000 + Int64(step / 50), nanoseconds: Int32(random.number(0...999_999_999)))
      let mark: UInt8? = random.chance(3) ? nil : UInt8(random.number(0...255))
      let next = Timestamp(time, mark: mark).after(last)
      check(next > last && next.mark == mark, "\(step)")
      var bytes = [UInt8](repeating: 0, count: Timestamp.size)
      bytes.withUnsafeMutableBytes { if let base = $0.baseAddress { next.store(to: base) } }
      check(lastBytes.lexicographicallyPrecedes(bytes), "\(step): in bytes, as others compare")
      let nanoseconds = bytes[8...].reduce(0) { $0 << 8 | Int($1) }
      check(nanoseconds < 1_000_000_000 && (mark != nil || nanoseconds & 0xFF_FFFF == 0), "\(step): \(nanoseconds)")
      last = next
      lastBytes = bytes
    }
  }

  @Test("A clock that shows raw nanoseconds is taken for a Culvert once in 65,536 times, and then drops four packets")
  func falseMark() throws {
    var taken = 0
    for nanoseconds in stride(from: Int32(1), to: 999_999_999, by: 997) {
      var bytes = [UInt8](repeating: 0, count: 12)
      bytes.withUnsafeMutableBytes { room in
        room.storeBytes(of: UInt32(nanoseconds).bigEndian, toByteOffset: 8, as: UInt32.self)
      }
      if bytes.withUnsafeBytes({ $0.baseAddress.map { Timestamp($0).mark } ?? nil }) != nil { taken += 1 }
    }
    #expect(taken > 5 && taken < 40, "of a million: \(taken)")

    // One that sends such a timestamp and knows nothing of it: its initiation is ours, its pump a plain one.
    let two = try Two(talk: (Self.talking, Self.talking))
    two.a.isDeaf = true
    two.world.send(two.a, two.there())
    two.world.run(.seconds(60))
    #expect(two.b.said.count == 4, "\(two.b.said.count)")
    #expect(two.a.inbound.drops.notIP == 4)
    #expect(two.b.device.status(of: two.bPeer)?.isCulvert == false)
    two.world.send(two.b, two.back())
    two.world.run(.seconds(1))
    #expect(two.a.delivered.count == 1)
  }

  @Test("The knowledge is the session's: an end that becomes a plain WireGuard with the same key is told nothing more")
  func becomesPlain() throws {
    let two = try Two(talk: (Self.talking, Self.talking))
    two.world.send(two.a, two.there())
    two.world.run(.seconds(2))
    #expect(two.a.device.status(of: two.aPeer)?.isCulvert == true)
    let plain = try two.restartB(talk: .none)
    let before = two.a.said.count
    two.world.send(two.a, two.there())
    two.world.run(.seconds(40))
    #expect(plain.delivered.count > 0 || two.a.completed == 2, "a session was made")
    two.world.send(two.a, two.there(20, size: 1400))
    two.world.run(.seconds(10))
    #expect(two.a.device.status(of: two.aPeer)?.isCulvert == false)
    #expect(two.a.device.status(of: two.aPeer)?.pathMTU == nil)
    #expect(plain.inbound.drops.notIP == 0)
    let after = two.a.said.dropFirst(before).filter { $0.at > (two.a.lastSession ?? $0.at) }
    #expect(after.isEmpty, "\(after.count)")
  }

  @Test("Both begin at once: one session is left, and in it both know each other")
  func crossing() throws {
    let two = try Two(bothKnow: true, talk: (Self.talking, Self.talking))
    two.a.send(two.there(), at: two.world.now)
    two.b.send(two.back(), at: two.world.now)
    two.world.run(.seconds(20))
    for _ in 0..<4 {
      two.world.send(two.a, two.there())
      two.world.send(two.b, two.back())
      two.world.run(.seconds(1))
    }
    #expect(two.a.device.status(of: two.aPeer)?.isCulvert == true)
    #expect(two.b.device.status(of: two.bPeer)?.isCulvert == true)
    #expect(two.a.inbound.drops.notIP == 0 && two.b.inbound.drops.notIP == 0)
  }

  // MARK: Timers

  @Test("What is said keeps no session alive: idle ends fall silent within seconds, and stay so")
  func silence() throws {
    let two = try Two(talk: (Self.talking, Self.talking))
    two.world.send(two.a, two.there())
    two.world.run(.seconds(30))
    let count = two.world.log.count
    let sessions = two.a.completed
    #expect(sessions <= 2, "one, and one with a secret")
    two.world.run(.seconds(900))
    #expect(
      two.world.log.count == count, "\(two.world.log.dropFirst(count).map { ($0.at.nanoseconds, $0.bytes.count) })")
    #expect(two.a.completed == sessions)
    #expect(two.a.device.nextDeadline() == nil && two.b.device.nextDeadline() == nil)
  }

  @Test("One-way traffic is answered by keepalives as it is without talk, and renewed by its sender alone")
  func oneWay() throws {
    var counts: [Int] = []
    for settings in [TalkSettings.none, Self.talking] {
      let two = try Two(talk: (settings, settings))
      for second in 0..<400 {
        two.world.send(two.a, two.there(1, from: second))
        two.world.run(.seconds(1))
      }
      #expect(two.b.delivered.count == 400)
      #expect(two.b.count(.initiation) == 0 && two.world.log(.initiation, from: two.b).isEmpty)
      counts.append(two.world.log(.initiation, from: two.a).count)
    }
    #expect(counts[0] == 4 && counts[1] == 5, "\(counts): one more, for the first secret")
  }

  static let talking = TalkSettings(mtu: 1420)
}
