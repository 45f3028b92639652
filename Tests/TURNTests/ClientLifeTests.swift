import STUN
import TURN
import Testing
import Values

@Suite("A TURN client over time")
struct ClientLifeTests {
  private static let peers = [endpoint("203.0.113.7:51820"), endpoint("203.0.113.8:51820"), endpoint("203.0.113.8:9")]

  private static func hasEvent(_ event: TURNClientEvent) -> Bool {
    if case .failed = event { return true }
    if case .lost = event { return true }
    return false
  }

  @Test("Over two hours nothing at the server ever ends, and packets pass all the time")
  func longLife() {
    let bench = ClientBench()
    for peer in Self.peers { bench.add(peer) }
    bench.client.permit(endpoint("203.0.113.99:0").address, at: bench.now)
    bench.stand()
    bench.run(milliseconds: 100)
    for minute in 0..<120 {
      for peer in Self.peers { #expect(bench.send([UInt8(minute)], to: peer) == .framed) }
      bench.fromPeer([UInt8(minute)], endpoint("203.0.113.99:7"))
      bench.run(milliseconds: 60_000)
    }
    #expect(bench.server.relayed.count == 360 && bench.server.unentitled == 0 && bench.received.count == 120)
    #expect(bench.count(Self.hasEvent) == 0 && bench.server.allocations == 1)
    // Each channel every four minutes and one permission, and no more.
    #expect((85...100).contains(bench.server.count(.channelBind)) && bench.server.count(.createPermission) < 35)
  }

  @Test("A short lifetime is refreshed at its half", arguments: [20, 90, 600] as [Int64])
  func lifetimes(_ seconds: Int64) {
    let bench = ClientBench()
    bench.server.largestLifetime = seconds
    bench.stand()
    bench.run(milliseconds: 3_600_000)
    #expect(bench.isStanding && bench.server.allocations == 1 && bench.count(Self.hasEvent) == 0)
  }

  @Test(
    "On a wire that loses a fifth, doubles and reorders, everything comes to stand",
    arguments: 1...40 as ClosedRange<UInt64>)
  func badWire(_ seed: UInt64) {
    let bench = ClientBench(seed: seed)
    (bench.loss, bench.doubling, bench.latency) = (20, 20, 200)
    for peer in Self.peers { bench.add(peer) }
    bench.stand(within: 10_000)
    guard bench.failure == nil else {
      // Three losses in a row: the owner begins anew.
      #expect(bench.failure == .silent(hint: nil))
      return
    }
    for _ in 0..<100 {
      for peer in Self.peers {
        _ = bench.send([1], to: peer)
        bench.fromPeer([2], peer)
      }
      bench.run(milliseconds: 100)
    }
    #expect(bench.isStanding && bench.server.allocations == 1 && bench.count(Self.hasEvent) == 0)
    #expect(Self.peers.allSatisfy { bench.hasChannel(to: $0) })
    #expect(bench.server.relayed.count > 200 && bench.received.count > 150 && bench.server.unentitled < 40)
    #expect(bench.count { if case .peerReady = $0 { true } else { false } } == 3)
  }

  @Test("A server that falls silent is found within three seconds, while packets leave")
  func silence() throws {
    let bench = ClientBench()
    bench.add(Self.peers[0])
    bench.stand()
    for _ in 0..<50 {
      _ = bench.send([1], to: Self.peers[0])
      bench.fromPeer([2], Self.peers[0])
      bench.run(milliseconds: 20)
    }
    bench.server.isDead = true
    let died = bench.now
    for _ in 0..<500 where bench.failure == nil {
      _ = bench.send([1], to: Self.peers[0])
      bench.run(milliseconds: 20)
    }
    #expect(bench.failure == .silent(hint: nil))
    let found = try #require(bench.time { if case .failed = $0 { true } else { false } })
    #expect(found - died <= .milliseconds(3100), "\(found - died)")
  }

  @Test("While packets come nobody asks; with packets in one direction alone a question is enough")
  func questions() {
    let bench = ClientBench()
    bench.add(Self.peers[0])
    bench.stand()
    bench.run(milliseconds: 100)
    let before = bench.server.count(.refresh)
    for _ in 0..<300 {
      _ = bench.send([1], to: Self.peers[0])
      bench.fromPeer([2], Self.peers[0])
      bench.run(milliseconds: 100)
    }
    #expect(bench.server.count(.refresh) == before)
    for _ in 0..<300 {
      _ = bench.send([1], to: Self.peers[0])
      bench.run(milliseconds: 100)
    }
    #expect((20...30).contains(bench.server.count(.refresh) - before) && bench.isStanding)
  }

  @Test("An idle client asks every twenty seconds, which keeps the way open")
  func idle() {
    let bench = ClientBench()
    bench.stand()
    bench.run(milliseconds: 100_000)
    #expect((4...6).contains(bench.server.count(.refresh)) && bench.isStanding)
  }

  @Test(
    "A server that began anew is noticed within two seconds, also when it does not prove that; peers get their channels",
    arguments: [true, false])
  func restart(_ provesErrors: Bool) throws {
    let bench = ClientBench()
    bench.server.provesErrors = provesErrors
    for peer in Self.peers { bench.add(peer) }
    bench.stand()
    bench.run(milliseconds: 200)
    bench.server.restart()
    let died = bench.now
    for _ in 0..<200 {
      _ = bench.send([1], to: Self.peers[0])
      bench.run(milliseconds: 20)
    }
    #expect(bench.isStanding && bench.server.allocations == 2 && bench.failure == nil)
    let lost = try #require(bench.time { $0 == .lost(.forgotten) })
    #expect(lost - died <= .milliseconds(provesErrors ? 1200 : 1500), "\(lost - died)")
    let count = bench.server.relayed.count
    for peer in Self.peers { #expect(bench.send([9], to: peer) == .framed) }
    bench.run(milliseconds: 100)
    #expect(bench.server.relayed.count == count + 3)
  }

  @Test("Credentials that expired make an allocation with new ones")
  func expired() {
    let bench = ClientBench(TURNClientSettings(credentials: .secret("north", user: "")))
    let day: Int64 = 86_400
    bench.server.password = TimeLimitedCredentials.password(username: "\(1_000_000 + day)", secret: "north")
    bench.stand()
    bench.run(milliseconds: 1_000_000)
    // From now on the server wants a later name.
    bench.server.password = "none"
    bench.server.asksForCredentials = true
    bench.run(milliseconds: 21_000)
    #expect(bench.count { $0 == .lost(.credentials) } == 1)
    let name = bench.sent.last.flatMap { sent in try? reading(sent.bytes) { $0.text(.username) } }
    #expect(name != nil && name != "\(1_000_000 + day)", "\(name ?? "none")")
  }

  @Test("An answer that was lost does not make a server dead that still sends packets")
  func lostAnswers() {
    let bench = ClientBench()
    bench.add(Self.peers[0])
    bench.stand()
    bench.run(milliseconds: 100)
    // Until the next refresh, requests die and data does not.
    for second in 0..<1200 {
      bench.server.nonce = bench.server.nonce
      bench.loss = second % 3 == 0 ? 60 : 0
      _ = bench.send([1], to: Self.peers[0])
      bench.loss = 0
      bench.fromPeer([2], Self.peers[0])
      bench.run(milliseconds: 1000)
    }
    #expect(bench.isStanding && bench.count(Self.hasEvent) == 0)
  }
}
