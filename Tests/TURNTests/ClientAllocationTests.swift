import STUN
import TURN
import Testing
import Values

@Suite("A TURN client's allocation")
struct ClientAllocationTests {
  private static let peer = endpoint("203.0.113.7:51820")
  private static let peer6 = endpoint("[2001:db8:7::7]:51820")

  private static func settings(
    _ families: TURNClientSettings.Families = .ipv4, mobility: Bool = false
  ) -> TURNClientSettings {
    TURNClientSettings(
      credentials: .password(username: "user", password: "secret"), families: families, mobility: mobility)
  }

  @Test("The first request proves nothing, the second is signed with what the server asked for")
  func challenge() throws {
    let bench = ClientBench()
    bench.stand()
    #expect(bench.isStanding && bench.server.count(.allocate) == 2)
    try reading(bench.server.requests[0].bytes) { first in
      #expect(!first.hasIntegrity && first[.username] == nil && first.byte(.requestedTransport) == 17)
      #expect(first[.requestedAddressFamily] == nil && first[.additionalAddressFamily] == nil)
      #expect(first[.mobilityTicket] == nil && first.number(.lifetime) == 600)
    }
    try reading(bench.server.requests[1].bytes) { second in
      #expect(second.text(.username) == "user" && second.text(.realm) == "example.org")
      #expect(second.bytes(.nonce) == bench.server.nonce && second.integrities == [.sha1])
      #expect(second[.passwordAlgorithms] == nil)
    }
    let allocation = try #require(bench.allocation)
    #expect(allocation.relayed == [endpoint("192.0.2.9:50000")] && allocation.mapped == endpoint("198.51.100.1:4000"))
  }

  @Test("An address that answered waits for its owner, and leaves nothing behind when another one is taken")
  func race() {
    let bench = ClientBench()
    bench.proceeds = false
    bench.client.begin(at: bench.now)
    bench.settle()
    bench.run(milliseconds: 5000)
    #expect(bench.count { $0 == .answered } == 1 && bench.server.requests.count == 1)
    bench.client.release(at: bench.now)
    bench.settle()
    bench.run(milliseconds: 5000)
    #expect(bench.server.requests.count == 1 && bench.server.allocations == 0)
  }

  @Test("A server that asks for nothing gives an allocation at once")
  func open() {
    let bench = ClientBench(TURNClientSettings(credentials: nil))
    bench.server.asksForCredentials = false
    bench.stand()
    #expect(bench.isStanding && bench.server.requests.count == 1 && bench.count { $0 == .answered } == 1)
  }

  @Test("Where the nonce promises algorithms, SHA-256 is taken, and the list goes back as it came")
  func algorithms() throws {
    let bench = ClientBench()
    let features = NonceFeatures(hasPasswordAlgorithms: true, hasUsernameAnonymity: false)
    bench.server.nonce = "\(features.prefix)abc".bytes
    bench.server.algorithms = [.md5, .sha256]
    bench.stand()
    #expect(bench.isStanding, "\(String(describing: bench.failure))")
    try reading(bench.server.requests[1].bytes) { request in
      #expect(request.bytes(.passwordAlgorithm) == [0, 2, 0, 0] && request.integrities == [.sha256])
      #expect(request.bytes(.passwordAlgorithms) == [0, 1, 0, 0, 0, 2, 0, 0])
    }
  }

  @Test("A list that was taken out on the way is noticed, and nothing is signed with less")
  func downgrade() {
    let bench = ClientBench()
    let features = NonceFeatures(hasPasswordAlgorithms: true, hasUsernameAnonymity: false)
    bench.server.nonce = "\(features.prefix)abc".bytes
    bench.stand()
    #expect(bench.failure == .downgraded && bench.server.requests.count == 1)
  }

  @Test("A stale nonce costs one round, wrong credentials end it, and there is no third way")
  func nonces() {
    let stale = ClientBench()
    stale.stand()
    stale.server.nonce = "another".bytes
    stale.add(Self.peer)
    stale.settle()
    stale.run(milliseconds: 500)
    #expect(stale.count { $0 == .peerReady(Self.peer) } == 1 && stale.server.count(.channelBind) == 2)

    let wrong = ClientBench()
    wrong.server.password = "other"
    wrong.stand()
    #expect(wrong.failure == .unauthorised && wrong.server.requests.count == 2)

    let nobody = ClientBench(TURNClientSettings(credentials: nil))
    nobody.stand()
    #expect(nobody.failure == .unauthorised && nobody.server.requests.count == 1)
  }

  @Test("A nonce that is always stale ends after some rounds")
  func endless() {
    let bench = ClientBench()
    bench.server.isFickle = true
    bench.stand()
    #expect(bench.failure == .unauthorised && bench.server.requests.count <= 8)
  }

  @Test("Credentials from a secret carry their time, and are the secret's signature of it")
  func timeLimited() throws {
    let bench = ClientBench(TURNClientSettings(credentials: .secret("north", user: "ann")))
    let name = "\(1_000_000 + 86_400):ann"
    bench.server.password = TimeLimitedCredentials.password(username: name, secret: "north")
    bench.stand()
    #expect(bench.isStanding && bench.server.usernames == [name])
  }

  @Test("An unanswered request leaves after 0, 0.5 and 1.5 seconds, and after 3 it is over")
  func schedule() {
    let bench = ClientBench()
    bench.server.isDead = true
    bench.stand(within: 10_000)
    #expect(bench.sent.map { $0.at } == [at(0), at(500), at(1500)])
    #expect(Set(bench.sent.map { $0.bytes }).count == 1)
    #expect(
      bench.failure == .silent(hint: nil) && bench.time { if case .failed = $0 { true } else { false } } == at(3000))
  }

  @Test("Over a stream nothing is sent twice")
  func stream() {
    let bench = ClientBench(isStream: true)
    bench.server.isDead = true
    bench.stand(within: 10_000)
    #expect(bench.sent.count == 1 && bench.failure == .silent(hint: nil))
  }

  @Test("An answer with another key is as if it had not come, and its error is only a hint")
  func forged() {
    let bench = ClientBench()
    bench.server.isForger = true
    bench.server.families = []
    bench.stand(within: 10_000)
    #expect(bench.failure == .silent(hint: .familyNotSupported) && bench.ignored >= 1)
    #expect(bench.now < at(1000))
  }

  @Test("Families are asked for as they are wanted", arguments: [TURNClientSettings.Families.ipv4, .ipv6, .both])
  func families(_ families: TURNClientSettings.Families) throws {
    let bench = ClientBench(Self.settings(families))
    bench.stand()
    try reading(bench.server.requests[1].bytes) { request in
      #expect(request.byte(.requestedAddressFamily) == (families == .ipv6 ? 2 : nil))
      #expect(request.byte(.additionalAddressFamily) == (families == .both ? 2 : nil))
    }
    let has = try #require(bench.allocation).relayed.map(\.family)
    #expect(has == (families == .both ? [.ipv4, .ipv6] : families == .ipv6 ? [.ipv6] : [.ipv4]))
    #expect(bench.add(Self.peer) == (families != .ipv6))
    #expect(bench.add(Self.peer6) == (families != .ipv4))
    bench.settle()
    // What is not wanted is not asked for either.
    let asked = try bench.server.requests.filter { $0.method == .channelBind }.map {
      try reading($0.bytes) { $0.xorAddress(.xorPeerAddress)?.family }
    }
    bench.run(milliseconds: 100)
    #expect(asked.allSatisfy { families == .both || $0 == (families == .ipv6 ? .ipv6 : .ipv4) })
  }

  @Test("Of two families one may be refused; what needs it is told why")
  func partial() throws {
    let bench = ClientBench(Self.settings(.both))
    bench.server.families = [.ipv4]
    bench.add(Self.peer6)
    bench.stand()
    let allocation = try #require(bench.allocation)
    #expect(allocation.relayed.map(\.family) == [.ipv4] && allocation.refused?.family == .ipv6)
    #expect(allocation.refused?.error == .familyNotSupported)
    #expect(bench.count { $0 == .peerRefused(Self.peer6, .familyNotSupported) } == 1)
    #expect(!bench.add(Self.peer6) && bench.server.count(.channelBind) == 0)
  }

  @Test("A server without the family refuses in its own words")
  func noFamily() {
    let bench = ClientBench(Self.settings(.ipv6))
    bench.server.families = [.ipv4]
    bench.stand()
    #expect(bench.failure == .refused(.familyNotSupported))
  }

  @Test("Another server is named to the owner, who goes there or does not")
  func alternate() {
    let bench = ClientBench()
    bench.server.alternate = endpoint("[2001:db8::5]:3478")
    bench.stand(within: 1000)
    #expect(bench.count { $0 == .alternate(endpoint("[2001:db8::5]:3478"), domain: nil) } == 1 && bench.isOver)
  }

  @Test("With a ticket an allocation comes along to another address, with its channels")
  func mobility() throws {
    let bench = ClientBench(Self.settings(mobility: true))
    bench.server.grantsMobility = true
    bench.add(Self.peer)
    bench.stand()
    bench.run(milliseconds: 100)
    let relayed = try #require(bench.allocation).relayed
    bench.move(to: 2)
    bench.run(milliseconds: 100)
    #expect(bench.allocation?.relayed == relayed && bench.server.allocations == 1 && bench.isStanding)
    #expect(bench.count { if case .allocated(_, isSame: true) = $0 { true } else { false } } == 1)
    #expect(bench.send([1, 2, 3], to: Self.peer) == .framed)
    bench.run(milliseconds: 100)
    #expect(bench.server.relayed.last?.bytes == [1, 2, 3] && bench.server.unentitled == 0)
    // And once more, with the ticket that the first move brought.
    bench.move(to: 3, isStream: true)
    bench.run(milliseconds: 100)
    #expect(bench.allocation?.relayed == relayed && bench.server.allocations == 1 && bench.isStanding)
  }

  @Test("Without a ticket, or when the server takes it for nothing, a move makes a new allocation")
  func immobility() {
    let forbidden = ClientBench(Self.settings(mobility: true))
    forbidden.server.forbidsMobility = true
    forbidden.stand()
    #expect(forbidden.isStanding)
    for bench in [forbidden, ClientBench(Self.settings(mobility: true)), ClientBench()] {
      if !bench.isStanding {
        bench.server.grantsMobility = true
        bench.stand()
      }
      if bench.server.grantsMobility { bench.server.allocation?.ticket = [99] }
      bench.move(to: 2)
      bench.run(milliseconds: 200)
      #expect(bench.isStanding && bench.server.allocations == 2)
      #expect(bench.count { $0 == .lost(.forgotten) } == 1)
    }
  }

  @Test("A NAT that gave us another address is noticed by the next question, and the ticket heals it")
  func rebinding() throws {
    let bench = ClientBench(Self.settings(mobility: true))
    bench.server.grantsMobility = true
    bench.add(Self.peer)
    bench.stand()
    bench.run(milliseconds: 100)
    bench.address = 2
    for _ in 0..<30 {
      _ = bench.send([7], to: Self.peer)
      bench.run(milliseconds: 100)
    }
    #expect(bench.isStanding && bench.server.allocations == 1 && bench.server.allocation?.owner == 2)
  }

  @Test("What was given back is gone at the server, and nobody waits for it")
  func release() {
    let bench = ClientBench()
    bench.stand()
    bench.client.release(at: bench.now)
    bench.settle()
    bench.run(milliseconds: 100)
    #expect(bench.server.allocation == nil && bench.isOver && bench.failure == nil)
  }

  @Test("Nothing that arrives makes the machine trap, or believe what is not proven")
  func garbage() {
    var dice = Dice(5)
    let bench = ClientBench()
    bench.add(Self.peer)
    bench.stand()
    bench.run(milliseconds: 100)
    let seeds = bench.server.requests.map(\.bytes) + [channelData(0x4000, [1, 2, 3])]
    let relayed = bench.allocation?.relayed
    for _ in 0..<20_000 {
      var bytes = seeds[Int(dice.next() % UInt64(seeds.count))]
      for _ in 0..<(1 + dice.next() % 4) where !bytes.isEmpty {
        let place = Int(dice.next() % UInt64(bytes.count))
        switch dice.next() % 3 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: dice.next())
        case 1: bytes.removeLast(min(bytes.count, Int(dice.next() % 9)))
        // An answer of any kind.
        default: bytes[0] ^= 1
        }
      }
      bench.inject(bytes)
    }
    #expect(bench.isStanding && bench.allocation?.relayed == relayed && bench.failure == nil)
  }
}
