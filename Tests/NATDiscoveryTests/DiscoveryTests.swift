/// The whole check against each kind of NAT, over wires that lose and swap packets, and with servers that lie.
import STUN
import Testing
import Values

@testable import NATDiscovery

@Suite("NAT discovery")
struct DiscoveryTests {
  private static func name(_ rule: SimulatedNAT.Rule) -> String {
    switch rule {
    case .anyone: "endpoint-independent"
    case .address: "address-dependent"
    case .addressAndPort: "address-and-port-dependent"
    }
  }

  @Test("Each of the nine kinds of RFC 4787 is told, within two seconds", arguments: SimulatedNAT.kinds)
  func kinds(_ mapping: SimulatedNAT.Rule, _ filtering: SimulatedNAT.Rule) throws {
    let world = World(SimulatedNAT(mapping: mapping, filtering: filtering))
    let (result, seconds) = try #require(world.discover())
    #expect(result.contact == .answered)
    #expect(result.mapping.value?.rawValue == Self.name(mapping))
    #expect(result.filtering.value?.rawValue == Self.name(filtering))
    #expect(result.hairpin == .known(false))
    #expect(result.portPreservation == .known(false))
    #expect(result.roundTrips.count >= 5)
    #expect(result.roundTrip == .milliseconds(20))
    #expect(seconds < 2)
  }

  @Test(
    "Each kind is told while one packet of seven is lost and packets overtake each other", arguments: SimulatedNAT.kinds
  )
  func losses(_ mapping: SimulatedNAT.Rule, _ filtering: SimulatedNAT.Rule) throws {
    // Silence and loss cannot be told apart for certain: what is known must be right but for a rare run of losses.
    var wrong = 0
    var unknown = 0
    for seed in 1...60 {
      let world = World(SimulatedNAT(mapping: mapping, filtering: filtering))
      world.dice = Dice(state: UInt64(seed))
      world.loss = 7
      world.jitter = .milliseconds(60)
      let (result, _) = try #require(world.discover(), "seed \(seed)")
      if let value = result.mapping.value {
        if value.rawValue != Self.name(mapping) { wrong += 1 }
      } else {
        unknown += 1
      }
      if let value = result.filtering.value {
        if value.rawValue != Self.name(filtering) { wrong += 1 }
      } else {
        unknown += 1
      }
    }
    #expect(wrong <= 1 && unknown <= 3, "\(wrong) wrong, \(unknown) unknown of 120")
  }

  @Test("Without translation it is no NAT: open, or a firewall", arguments: [SimulatedNAT.Rule?.none, .addressAndPort])
  func firewall(_ filtering: SimulatedNAT.Rule?) throws {
    let world = World(SimulatedNAT(mapping: nil, filtering: filtering))
    let (result, _) = try #require(world.discover())
    #expect(result.mapping == .known(.noTranslation))
    #expect(result.filtering == .known(filtering == nil ? .endpointIndependent : .addressAndPortDependent))
    #expect(result.portPreservation == .known(true))
    #expect(result.hairpin == .unknown("nothing is translated"))
  }

  @Test("A NAT that turns packets around is seen, also by its own filter", arguments: SimulatedNAT.Rule.allCases)
  func hairpin(_ filtering: SimulatedNAT.Rule) throws {
    var nat = SimulatedNAT(mapping: .anyone, filtering: filtering)
    nat.hairpins = true
    nat.keepsPorts = true
    let world = World(nat)
    let (result, _) = try #require(world.discover())
    #expect(result.hairpin == .known(true))
    #expect(result.portPreservation == .known(true))
  }

  @Test("Several outside addresses are told")
  func pool() throws {
    var nat = SimulatedNAT(mapping: .address, filtering: .anyone)
    nat.externals = [IPAddress("198.51.100.7"), IPAddress("198.51.100.8")].compactMap { $0 }
    let world = World(nat)
    let (result, _) = try #require(world.discover())
    #expect(result.externals.count == 2)
    #expect(result.mapping == .known(.addressDependent))
  }

  @Test("A long way takes longer and is judged the same", arguments: [150, 350, 600])
  func slow(_ delay: Int) throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .addressAndPort))
    world.delay = .milliseconds(Int64(delay))
    let (result, _) = try #require(world.discover())
    #expect(result.mapping == .known(.endpointIndependent))
    #expect(result.filtering == .known(.addressAndPortDependent))
  }

  @Test("Where nothing answers the check ends in four seconds and says so")
  func silence() throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .anyone))
    world.loss = 100
    let (result, seconds) = try #require(world.discover())
    #expect(result.contact == .silent(requests: 5))
    #expect(result.mapping == .unknown("the server did not answer"))
    #expect(seconds < 4)
  }

  @Test("What the kernel says of the connected socket ends the wait")
  func refusal() {
    let now = Instant(nanoseconds: 0)
    var machine = NATDiscovery(
      server: endpoint("203.0.113.1:3478"), locals: World.locals, secret: Array(repeating: 1, count: 16), at: now)
    while machine.pollTransmit(at: now) != nil {}
    machine.handleRefusal("Connection refused", on: .size, at: now)
    #expect(machine.pollEvent() == .gaveUp)
    #expect(machine.result.contact == .unreachable("Connection refused"))
  }

  // MARK: Servers

  @Test("A server's claim that cannot be true leads to unknown, with the reason, and never to a wrong verdict")
  func claims() throws {
    let reasons: [(SimulatedServer.Manner, mapping: String, filtering: String)] = [
      (.noOther, "the server has no second address", "the server has no second address"),
      (.otherIsFirst, "it is the server's first", "it is the server's first"),
      (.otherIsLoopback, "loopback", "loopback"),
      (.otherIsPrivate, "it is private and the server is not", "it is private and the server is not"),
      (.otherIsDead, "the server's second address does not answer", "second address"),
      (.ignoresChange, "", "the server answers from its first address when it is asked for the second"),
      (.refusesChange, "", "420"),
      (.refusesBinding, "the server refused: 403", "no second address"),
      (.noAddress, "holds no address", ""),
    ]
    for (manner, mapping, filtering) in reasons {
      let world = World(SimulatedNAT(mapping: .anyone, filtering: .addressAndPort))
      world.server.manner = manner
      let (result, _) = try #require(world.discover(), "\(manner)")
      if mapping.isEmpty {
        #expect(result.mapping == .known(.endpointIndependent), "\(manner)")
      } else {
        #expect(result.mapping.reason?.contains(mapping) == true, "\(manner): \(result.mapping)")
      }
      if !filtering.isEmpty {
        #expect(result.filtering.reason?.contains(filtering) == true, "\(manner): \(result.filtering)")
      }
    }
  }

  @Test(
    "Answers that are none count as silence", arguments: [SimulatedServer.Manner.garbage, .wrongTransaction, .echo])
  func nonsense(_ manner: SimulatedServer.Manner) throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .addressAndPort))
    world.server.manner = manner
    let (result, _) = try #require(world.discover())
    #expect(result.contact == .silent(requests: 5))
  }

  @Test("An answer from another address than was asked is told and not believed")
  func elsewhere() throws {
    let world = World(SimulatedNAT(mapping: nil, filtering: nil))
    world.server.manner = .answersFromElsewhere
    let (result, _) = try #require(world.discover())
    #expect(result.contact == .silent(requests: 5))
  }

  @Test("Answers that come three times change nothing")
  func twice() throws {
    let world = World(SimulatedNAT(mapping: .address, filtering: .address))
    world.server.manner = .twice
    let (result, _) = try #require(world.discover())
    #expect(result.mapping == .known(.addressDependent))
    #expect(result.filtering == .known(.addressDependent))
  }

  @Test("Whatever a server says, packets go to few places, and none of them is on this host")
  func places() throws {
    for manner in SimulatedServer.Manner.allCases {
      let world = World(SimulatedNAT(mapping: .anyone, filtering: .anyone))
      world.server.manner = manner
      _ = try #require(world.discover(), "\(manner)")
      #expect(Set(world.sent).count <= 6, "\(manner): \(Set(world.sent))")
      #expect(!world.sent.contains { $0.address.isLoopback || $0.address.isMulticast }, "\(manner)")
      #expect(world.sent.count < 80, "\(manner): \(world.sent.count)")
    }
  }

  @Test("Any bytes at any time on any socket neither trap nor keep it from ending")
  func anyBytes() throws {
    var dice = Dice(state: 99)
    for _ in 0..<300 {
      var now = Instant(nanoseconds: 0)
      var machine = NATDiscovery(
        server: endpoint("203.0.113.1:3478"), locals: World.locals,
        settings: NATDiscovery.Settings(linkMTU: Int(dice.next() % 70_000)), secret: [1, 2, 3], at: now)
      var turns = 0
      var isOver = false
      while !isOver, turns < 3000 {
        turns += 1
        while let packet = machine.pollTransmit(at: now) {
          guard dice.next() % 2 == 0 else { continue }
          // The request itself with some bytes turned, as an answer from one of a few places.
          var bytes = packet.bytes
          if dice.next() % 3 > 0 { bytes[0] = 1 }
          for _ in 0..<Int(dice.next() % 4) where !bytes.isEmpty {
            bytes[Int(dice.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: dice.next())
          }
          let from = dice.next() % 2 == 0 ? packet.remote : endpoint("203.0.113.2:3479")
          let socket = [packet.socket, .mapping, .filtering, .hairpin, .size][Int(dice.next() % 5)]
          _ = bytes.withUnsafeBytes { machine.handle($0, from: from, on: socket, at: now) }
          if dice.next() % 8 == 0 { machine.handlePathMTU(Int(dice.next() % 3000), at: now) }
        }
        while let event = machine.pollEvent() {
          if event == .finished || event == .gaveUp { isOver = true }
        }
        if isOver { break }
        now = max(now, machine.nextDeadline ?? now)
        machine.handleTimeout(at: now)
        while let event = machine.pollEvent() {
          if event == .finished || event == .gaveUp { isOver = true }
        }
      }
      try #require(isOver, "it does not end")
      #expect(now.nanoseconds < 20_000_000_000)
    }
  }

  // MARK: Sizes

  @Test("The largest packet is found to four bytes where larger ones vanish", arguments: [576, 1280, 1300, 1371, 1499])
  func blackHole(_ mtu: Int) throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .anyone))
    world.pathMTU = mtu
    let (result, seconds) = try #require(world.discover(.init(linkMTU: 1500)))
    let size = try #require(result.size.value)
    #expect(size.isBlackHole)
    #expect(size.largest == mtu / 4 * 4)
    #expect(size.pathMTU == mtu / 4 * 4)
    #expect(seconds < 4)
  }

  @Test("What a router says of the size is believed when a packet of that size passes", arguments: [1300, 1371, 1492])
  func told(_ mtu: Int) throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .anyone))
    world.pathMTU = mtu
    world.tells = true
    let (result, _) = try #require(world.discover(.init(linkMTU: 1500)))
    let size = try #require(result.size.value)
    #expect(!size.isBlackHole && size.isTold)
    #expect(size.pathMTU == mtu)
  }

  @Test("A router's word is not believed when a larger packet passes, and not at all below what passed")
  func liars() {
    var search = SizeSearch(linkMTU: 1500)
    #expect(search.begin(.ipv4) == [576, 1280, 1500])
    #expect(search.heard(884) == [884])
    // What had been sent before arrives late.
    _ = search.answered(1280)
    #expect(search.told == nil && search.known == 1280)
    #expect(search.smallestRefused == nil && !search.isDecided)
    #expect(search.heard(600).isEmpty && search.told == nil)
    _ = search.answered(1500)
    #expect(search.isDecided && search.smallestRefused == nil)
  }

  @Test("A path that takes what the link takes is found in a round trip", arguments: [1280, 1420, 1500, 9000, 65_536])
  func whole(_ mtu: Int) throws {
    let world = World(SimulatedNAT(mapping: .anyone, filtering: .anyone))
    let (result, _) = try #require(world.discover(.init(linkMTU: mtu)))
    #expect(result.size.value?.pathMTU == min(mtu, 65_535))
    #expect(result.size.value?.refused == nil)
  }

  @Test("Losses do not make a path look narrow")
  func lossySize() throws {
    for seed in 1...40 {
      let world = World(SimulatedNAT(mapping: .anyone, filtering: .anyone))
      world.dice = Dice(state: UInt64(seed))
      world.loss = 10
      let (result, _) = try #require(world.discover(.init(linkMTU: 1500)))
      guard let size = result.size.value else { continue }
      #expect(size.pathMTU > 1400, "seed \(seed): \(size)")
    }
  }
}
