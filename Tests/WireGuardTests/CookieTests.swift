import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

@Suite struct CookieTests {
  /// Always under load.
  private static var busy: LoadLimits {
    var limits = LoadLimits()
    limits.burst = 0
    return limits
  }

  @Test("Under load an initiation is answered by a cookie, and the next try with the cookie is taken")
  func cookie() throws {
    let two = try Two(limits: Self.busy)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    #expect(two.b.outcomes == [.cookieDemanded] && two.a.outcomes == [.cookieTaken])
    #expect(two.world.log(.cookieReply).map(\.count) == [64])
    let first = try #require(two.world.log(.initiation).first)
    #expect(first.suffix(16).allSatisfy { $0 == 0 })
    two.world.run(.seconds(5))
    let second = try #require(two.world.log(.initiation).last)
    #expect(!second.suffix(16).allSatisfy { $0 == 0 })
    #expect(two.b.outcomes == [.cookieDemanded, .initiationTaken] && two.b.delivered == two.there())
    // The response is not asked for one here: only `b` is under load.
    #expect(two.a.outcomes == [.cookieTaken, .responseTaken])
  }

  @Test("A cookie is the source's: it helps nobody at another address or port")
  func bound() throws {
    let two = try Two(limits: Self.busy)
    two.world.send(two.a, two.there())
    two.world.run(.milliseconds(5_500))
    let withCookie = try #require(two.world.log(.initiation).last)
    for other in ["192.0.2.1:51821", "192.0.2.9:51820", "[2001:db8::1]:51820"] {
      two.b.outcomes = []
      two.b.receive([withCookie], from: try endpoint(other), at: two.world.now)
      #expect(two.b.outcomes == [.cookieDemanded])
    }
  }

  @Test("Forged cookie replies change nothing: not those with a changed byte, not a second one, not one for nobody")
  func forged() throws {
    let two = try Two(limits: Self.busy)
    let stranger = try endpoint("198.51.100.66:666")
    // One that answers nothing.
    var random = SeededGenerator(40)
    two.a.receive([[3, 0, 0, 0] + random.bytes(60)], from: stranger, at: two.world.now)
    two.world.send(two.a, two.there())
    two.world.run(.milliseconds(11))
    let reply = try #require(two.world.log(.cookieReply).first)
    for place in reply.indices where place >= 4 {
      var changed = reply
      changed[place] ^= 0x40
      two.a.receive([changed], from: stranger, at: two.world.now)
      check(two.a.outcomes.last == (place < 8 ? .unexpected : .forged), "byte \(place)")
    }
    check(!two.a.peerHasCookie(two.aPeer, at: two.world.now), "a forged cookie was taken")
    two.a.receive([reply], from: stranger, at: two.world.now)
    #expect(two.a.outcomes.last == .cookieTaken)
    two.a.receive([reply], from: stranger, at: two.world.now)
    #expect(two.a.outcomes.last == .forged)
    #expect(two.a.device.status(of: two.aPeer)?.endpoint == two.b.address)
    two.world.run(.seconds(6))
    #expect(two.b.delivered == two.there())
  }

  @Test("A cookie is used for less than two minutes, and taken as long as anybody may use it")
  func age() throws {
    let two = try Two(limits: Self.busy)
    var random = SeededGenerator(41)
    var checker = CookieChecker(for: two.b.publicKey)
    var jar = CookieJar(of: two.b.publicKey)
    func message(_ jar: inout CookieJar, at now: Instant) -> [UInt8] {
      var bytes = [1, 0, 0, 0] + random.bytes(144)
      bytes.withUnsafeMutableBytes { jar.sign($0, mac1Offset: InitiationMessage.mac1Offset, at: now) }
      return bytes
    }
    func isRight(_ bytes: [UInt8], at now: Instant) -> Bool {
      bytes.withUnsafeBytes {
        checker.isMAC1Right($0, mac1Offset: InitiationMessage.mac1Offset)
          && checker.isMAC2Right($0, mac1Offset: InitiationMessage.mac1Offset, from: two.a.address, at: now)
      }
    }
    func ask(_ bytes: [UInt8], at now: Instant) {
      var reply = [UInt8](repeating: 0, count: 64)
      var generator = SeededGenerator(42)
      let isMade = reply.withUnsafeMutableBytes { room in
        bytes.withUnsafeBytes { bytes in
          guard let base = room.baseAddress else { return false }
          return checker.writeReply(
            to: bytes, mac1Offset: InitiationMessage.mac1Offset, sender: 1, from: two.a.address, at: now, into: base,
            using: &generator)
        }
      }
      #expect(isMade)
      let isTaken = reply.withUnsafeBytes { reply in CookieReplyMessage(reply).map { jar.take($0, at: now) } ?? false }
      #expect(isTaken)
    }
    // The secret is 119 seconds old when the cookie is made, and is drawn anew a second later.
    let other = message(&jar, at: seconds(0))
    ask(other, at: seconds(0))
    ask(message(&jar, at: seconds(119)), at: seconds(119))
    for age in [0, 1, 60, 114] {
      let now = seconds(Double(119 + age))
      check(isRight(message(&jar, at: now), at: now), "after \(age) s")
      if age == 1 {
        var another = CookieJar(of: two.b.publicKey)
        swap(&jar, &another)
        ask(message(&jar, at: now), at: now)
        swap(&jar, &another)
      }
    }
    let late = message(&jar, at: seconds(119 + 115.5))
    #expect(late.suffix(16).allSatisfy { $0 == 0 })
    check(!jar.hasCookie(at: seconds(240)), "an old cookie")
    // And a secret of long ago is none.
    let early = message(&jar, at: seconds(119))
    check(!isRight(early, at: seconds(1_000)), "an old secret")
  }

  @Test("A source that has shown its cookie gets so many handshakes a second and no more; another is not touched by it")
  func perSource() throws {
    var limits = Self.busy
    limits.perSource = 20
    limits.perSourceBurst = 5
    var random = SeededGenerator(43)
    var guardian = LoadGuard(limits, using: &random, at: seconds(0))
    let source = try endpoint("192.0.2.7:1")
    func judge(_ source: Endpoint, _ now: Double) -> LoadGuard.Verdict? {
      guardian.count(at: seconds(now)) ? guardian.judge(from: source, hasCookie: true, at: seconds(now)) : nil
    }
    for number in 0..<5 { check(judge(source, 0) == .take, "\(number)") }
    #expect(judge(source, 0) == .drop && judge(source, 0.02) == .drop)
    #expect(judge(source, 0.051) == .take && judge(source, 0.051) == .drop)
    // Another port is the same source, another address is not; of IPv6, a /64 is one.
    #expect(judge(try endpoint("192.0.2.7:2"), 0.051) == .drop)
    #expect(judge(try endpoint("[::ffff:192.0.2.7]:2"), 0.051) == .drop)
    #expect(judge(try endpoint("192.0.2.8:1"), 0.051) == .take)
    for number in 0..<5 { check(judge(try endpoint("[2001:db8::\(number + 1)]:1"), 0.1) == .take, "\(number)") }
    #expect(judge(try endpoint("[2001:db8::9999]:1"), 0.1) == .drop)
    #expect(judge(try endpoint("[2001:db8:0:1::1]:1"), 0.1) == .take)
    var taken = 0
    for step in 0..<1_000 where judge(source, 1 + Double(step) / 100) == .take { taken += 1 }
    #expect((200...206).contains(taken))
  }

  @Test("A device is under load when its bucket is empty, for a second at least; cookie replies have a bucket too")
  func load() throws {
    var limits = LoadLimits()
    limits.handshakes = 100
    limits.burst = 50
    limits.cookies = 1_000
    var random = SeededGenerator(44)
    var guardian = LoadGuard(limits, using: &random, at: seconds(0))
    let source = try endpoint("192.0.2.7:1")
    func judge(_ now: Instant) -> LoadGuard.Verdict {
      guardian.count(at: now) ? guardian.judge(from: source, hasCookie: false, at: now) : .take
    }
    var verdicts: [LoadGuard.Verdict: Int] = [:]
    for _ in 0..<2_000 { verdicts[judge(seconds(0)), default: 0] += 1 }
    #expect(verdicts == [.take: 50, .demandCookie: 1_000, .drop: 950])
    check(guardian.isUnderLoad(at: seconds(0.99)) && !guardian.isUnderLoad(at: seconds(1)), "calm")
    #expect(judge(seconds(2)) == .take)
    // A flood that goes on keeps it under load, whatever the bucket gains meanwhile.
    var taken = 0
    for step in 0..<100_000 where judge(seconds(3 + Double(step) / 50_000)) == .take { taken += 1 }
    #expect(taken <= 60)
  }

  @Test("50,000 strangers with a right MAC grow nothing, and a peer comes through with its cookie")
  func flood() throws {
    let two = try Two(limits: LoadLimits())
    let message = try Self.initiation(of: two, seed: 50)
    two.a.device.setWallClock(WallTime(seconds: 1_800_000_000), at: two.world.now)
    func flood(_ count: Int) {
      for number in 0..<count {
        let source = Endpoint(.v4(0xC633_0000 &+ UInt32(number & 0xFFFF)), port: UInt16(number % 60_000 + 1))
        _ = message.withUnsafeBytes { two.b.device.receive($0, from: source, at: two.world.now) }
        if number % 50 == 0 { two.world.now = two.world.now + .milliseconds(1) }
        if number % 100 == 99 {
          two.b.settle(at: two.world.now)
          two.b.sent.removeAll()
        }
      }
    }
    flood(25_000)
    check(two.b.device.isUnderLoad(at: two.world.now), "no load")
    two.world.send(two.a, two.there())
    two.world.run(.milliseconds(20))
    #expect(two.a.outcomes == [.cookieTaken])
    two.world.run(.milliseconds(4_400))
    flood(25_000)
    two.world.run(.seconds(1))
    #expect(two.b.delivered == two.there())
    #expect(two.b.device.indices.count == 1 && two.b.device.wakeCount == 1)
  }

  /// An initiation with a right `mac1` of somebody whom `b` does not know.
  private static func initiation(of two: Two, seed: UInt64) throws -> [UInt8] {
    let stranger = End("stranger", at: try endpoint("198.51.100.1:1"), seed: seed, now: two.world.now)
    try stranger.add(two.b, ["0.0.0.0/0"], endpoint: two.b.address)
    stranger.send(two.there(), at: two.world.now)
    return try #require(stranger.sent.first?.bytes)
  }
}

extension End {
  func peerHasCookie(_ id: PeerID, at now: Instant) -> Bool { device.peers[id]?.jar.hasCookie(at: now) ?? false }
}
