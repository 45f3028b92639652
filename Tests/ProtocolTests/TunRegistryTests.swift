import Testing
import TunProtocol
import Values

/// The server's table: who is behind which address, who may take one over, and what goes nowhere.
@Suite struct TunRegistryTests {
  typealias Registry = TunRegistry<Int>

  static let own = IPAddress.v4(0x0A00_0001)
  static let first = IPAddress.v4(0x0A00_0002)
  static let second = IPAddress.v4(0x0A00_0003)
  static let long = IPAddress.v6(0xFD77 << 112 | 2)

  static func registry(routes: [(IPPrefix, gateway: IPAddress)] = [], pointToPoint: Bool = false) -> Registry {
    Registry(ownAddresses: [own], routes: routes, pointToPoint: pointToPoint)
  }

  static func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

  static func says(_ addresses: IPAddress..., passphrase: String = "") -> TunHandshake.Announcement {
    .init(passphrase: Array(passphrase.utf8), addresses: addresses)
  }

  @Test func `a client is found behind each of its addresses`() {
    var registry = Self.registry()
    let outcome = registry.announce(Self.says(Self.first, Self.long), from: 1, isAllowed: nil, at: Self.at(0))
    #expect(outcome == .accepted(isNew: true, displaced: []))
    #expect(registry.client(for: Self.first) == 1)
    #expect(registry.client(for: Self.long) == 1)
    #expect(registry.client(for: Self.second) == nil)
    #expect(registry[1]?.addresses == [Self.first, Self.long])
    #expect(registry.count == 1)
  }

  @Test func `a repeated announcement is not news, and a changed one gives the old address back`() {
    var registry = Self.registry()
    _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
    #expect(
      registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(5))
        == .accepted(isNew: false, displaced: []))
    #expect(registry[1]?.since == Self.at(0))
    #expect(registry[1]?.lastHeard == Self.at(5))
    #expect(
      registry.announce(Self.says(Self.second), from: 1, isAllowed: nil, at: Self.at(6))
        == .accepted(isNew: true, displaced: []))
    #expect(registry.client(for: Self.first) == nil)
    #expect(registry.client(for: Self.second) == 1)
  }

  @Test func `without an auther an address passes on only when its holder is silent`() {
    var registry = Self.registry()
    _ = registry.announce(Self.says(Self.first, Self.long), from: 1, isAllowed: nil, at: Self.at(0))
    #expect(
      registry.announce(Self.says(Self.first), from: 2, isAllowed: nil, at: Self.at(1_999))
        == .refused(.heldByAnother(Self.first)))
    #expect(registry.admit(source: Self.first, from: 1, at: Self.at(1_999)) == nil)
    #expect(
      registry.announce(Self.says(Self.first), from: 2, isAllowed: nil, at: Self.at(3_998))
        == .refused(.heldByAnother(Self.first)))
    #expect(registry.client(for: Self.first) == 1)
    #expect(registry.count == 1)
    #expect(
      registry.announce(Self.says(Self.first), from: 2, isAllowed: nil, at: Self.at(3_999))
        == .accepted(isNew: true, displaced: [1]))
    #expect(registry.client(for: Self.first) == 2)
    // The displaced client is gone with all its addresses.
    #expect(registry.client(for: Self.long) == nil)
    #expect(registry.admit(source: Self.long, from: 1, at: Self.at(4_000)) == .unknownSender)
  }

  @Test func `an announcement that came too early is decided once more, as GOST's client says it only once`() {
    var registry = Self.registry()
    #expect(registry.nextDeadline() == nil)
    _ = registry.announce(Self.says(Self.first, Self.long), from: 1, isAllowed: nil, at: Self.at(0))
    let again = Self.says(Self.first, Self.long)
    #expect(
      registry.announce(again, from: 2, isAllowed: nil, at: Self.at(300)) == .refused(.heldByAnother(Self.first)))
    #expect(registry.nextDeadline() == Self.at(2_000))
    #expect(registry.settleClaims(at: Self.at(1_999)).isEmpty)
    let settled = registry.settleClaims(at: Self.at(2_000))
    #expect(settled.map(\.key) == [2])
    #expect(settled.map(\.announcement) == [again])
    #expect(settled.map(\.2) == [.accepted(isNew: true, displaced: [1])])
    #expect(registry.client(for: Self.long) == 2)
    #expect(registry.nextDeadline() == nil)
  }

  @Test func `an early announcement is forgotten when the holder was heard since, or when it was said again in time`() {
    var registry = Self.registry()
    _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
    _ = registry.announce(Self.says(Self.first), from: 2, isAllowed: nil, at: Self.at(300))
    #expect(registry.admit(source: Self.first, from: 1, at: Self.at(900)) == nil)
    #expect(registry.settleClaims(at: Self.at(2_000)).map(\.2) == [.refused(.heldByAnother(Self.first))])
    #expect(registry.nextDeadline() == nil)
    #expect(registry.client(for: Self.first) == 1)
    _ = registry.announce(Self.says(Self.first), from: 3, isAllowed: nil, at: Self.at(2_800))
    #expect(registry.nextDeadline() == Self.at(2_900))
    #expect(
      registry.announce(Self.says(Self.first), from: 3, isAllowed: nil, at: Self.at(2_950))
        == .accepted(isNew: true, displaced: [1]))
    #expect(registry.nextDeadline() == nil)
  }

  @Test func `of two early announcements for one address the earlier one wins, every time`() {
    // A dictionary's order is another one in each of these tables.
    for _ in 0..<50 {
      var registry = Self.registry()
      _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
      for key in 2...6 { _ = registry.announce(Self.says(Self.first), from: key, isAllowed: nil, at: Self.at(300)) }
      let settled = registry.settleClaims(at: Self.at(2_000))
      #expect(settled.map(\.key) == [2, 3, 4, 5, 6])
      #expect(registry.client(for: Self.first) == 2)
    }
  }

  @Test func `refused announcements are kept within a bound`() {
    var registry = Self.registry(pointToPoint: true)
    _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
    for key in 2..<2_000 { _ = registry.announce(Self.says(Self.second), from: key, isAllowed: nil, at: Self.at(1)) }
    #expect(registry.settleClaims(at: Self.at(5_000)).count == Registry.maximumClaims)
    #expect(registry.count == 1)
  }

  @Test func `with an auther who proves the passphrase has the address at once`() {
    var registry = Self.registry()
    let auther: (IPAddress) -> Bool = { $0 == Self.first }
    #expect(
      registry.announce(Self.says(Self.first), from: 1, isAllowed: auther, at: Self.at(0))
        == .accepted(isNew: true, displaced: []))
    #expect(
      registry.announce(Self.says(Self.first), from: 2, isAllowed: auther, at: Self.at(1))
        == .accepted(isNew: true, displaced: [1]))
    #expect(registry.client(for: Self.first) == 2)
    #expect(
      registry.announce(Self.says(Self.second), from: 3, isAllowed: auther, at: Self.at(2))
        == .refused(.wrongPassphrase(Self.second)))
    // One address of several is enough to refuse, and nothing has changed then.
    #expect(
      registry.announce(Self.says(Self.first, Self.second), from: 3, isAllowed: auther, at: Self.at(2))
        == .refused(.wrongPassphrase(Self.second)))
    #expect(registry.client(for: Self.first) == 2)
    #expect(registry[3] == nil)
  }

  @Test func `the server's own address is refused before anything else`() {
    var registry = Self.registry()
    #expect(
      registry.announce(Self.says(Self.first, Self.own), from: 1, isAllowed: { _ in true }, at: Self.at(0))
        == .refused(.serversOwnAddress(Self.own)))
    #expect(registry.count == 0)
    #expect(registry.client(for: Self.first) == nil)
  }

  @Test func `point to point has one client, and everything goes to it`() {
    var registry = Self.registry(pointToPoint: true)
    #expect(registry.client(for: Self.first) == nil)
    _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
    #expect(registry.client(for: Self.long) == 1)
    #expect(registry.admit(source: Self.second, from: 1, at: Self.at(0)) == nil)
    #expect(registry.admit(source: Self.second, from: 2, at: Self.at(0)) == .unknownSender)
    // Another client, with another address: there is room for one.
    #expect(
      registry.announce(Self.says(Self.second), from: 2, isAllowed: nil, at: Self.at(1_000))
        == .refused(.heldByAnother(Self.first)))
    #expect(
      registry.announce(Self.says(Self.second), from: 2, isAllowed: nil, at: Self.at(2_000))
        == .accepted(isNew: true, displaced: [1]))
    #expect(
      registry.announce(Self.says(Self.first), from: 3, isAllowed: { _ in true }, at: Self.at(2_001))
        == .accepted(isNew: true, displaced: [2]))
    #expect(registry.count == 1)
    #expect(registry.client(for: Self.first) == 3)
  }

  @Test func `networks behind clients follow their gateway, the longest prefix first`() throws {
    let wide = try #require(IPPrefix("172.16.0.0/12"))
    let narrow = try #require(IPPrefix("172.20.0.0/16"))
    var registry = Self.registry(routes: [(wide, gateway: Self.first), (narrow, gateway: Self.second)])
    let inWide = try #require(IPAddress("172.17.0.9"))
    let inNarrow = try #require(IPAddress("172.20.0.9"))
    #expect(registry.client(for: inWide) == nil)
    _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
    _ = registry.announce(Self.says(Self.second), from: 2, isAllowed: nil, at: Self.at(0))
    #expect(registry.client(for: inWide) == 1)
    #expect(registry.client(for: inNarrow) == 2)
    #expect(registry.admit(source: inWide, from: 1, at: Self.at(1)) == nil)
    #expect(registry.admit(source: inNarrow, from: 1, at: Self.at(1)) == .foreignSource)
    // An address that a client announced is nearer than any network.
    _ = registry.announce(Self.says(inNarrow), from: 3, isAllowed: nil, at: Self.at(1))
    #expect(registry.client(for: inNarrow) == 3)
    registry.remove(2)
    #expect(registry.client(for: try #require(IPAddress("172.20.0.1"))) == nil)
  }

  @Test func `a packet must come from the client that has its source`() {
    var registry = Self.registry()
    #expect(registry.admit(source: Self.first, from: 1, at: Self.at(0)) == .unknownSender)
    _ = registry.announce(Self.says(Self.first), from: 1, isAllowed: nil, at: Self.at(0))
    _ = registry.announce(Self.says(Self.second), from: 2, isAllowed: nil, at: Self.at(0))
    #expect(registry.admit(source: Self.first, from: 1, at: Self.at(1)) == nil)
    #expect(registry.admit(source: Self.second, from: 1, at: Self.at(1)) == .foreignSource)
    #expect(registry.admit(source: Self.own, from: 1, at: Self.at(1)) == .foreignSource)
    #expect(registry.admit(source: Self.first, from: 3, at: Self.at(1)) == .unknownSender)
  }

  @Test func `the table is bounded, and a full one still takes those that are in it`() {
    var registry = Self.registry()
    for client in 0..<Registry.maximumClients {
      let address = IPAddress.v4(0x0B00_0000 + UInt32(client))
      #expect(
        registry.announce(Self.says(address), from: client, isAllowed: nil, at: Self.at(0))
          == .accepted(isNew: true, displaced: []))
    }
    #expect(
      registry.announce(Self.says(Self.first), from: -1, isAllowed: nil, at: Self.at(9)) == .refused(.tooManyClients))
    #expect(registry.client(for: Self.first) == nil)
    #expect(
      registry.announce(Self.says(Self.first), from: 5, isAllowed: nil, at: Self.at(9))
        == .accepted(isNew: true, displaced: []))
    // A silent one's place may be taken over with its address.
    #expect(
      registry.announce(Self.says(.v4(0x0B00_0000)), from: -2, isAllowed: nil, at: Self.at(2_000))
        == .accepted(isNew: true, displaced: [0]))
    #expect(registry.count == Registry.maximumClients)
    registry.remove(7)
    #expect(
      registry.announce(Self.says(Self.second), from: -1, isAllowed: nil, at: Self.at(9))
        == .accepted(isNew: true, displaced: []))
  }

  @Test func `refusals say what to do`() {
    #expect(Registry.Refusal.serversOwnAddress(Self.own).description.contains("10.0.0.1"))
    #expect(Registry.Refusal.wrongPassphrase(Self.first).description.contains("auther"))
    #expect(Registry.Refusal.heldByAnother(Self.first).description.contains("another client"))
  }

  /// The same life in the table and in a plain list of who announced what and when was heard: both must agree on every
  /// outcome, on every look-up, and on every packet.
  @Test(arguments: 1...80 as ClosedRange<UInt64>) func `random lives agree with a plain list`(seed: UInt64) {
    var random = SeededGenerator(seed)
    let pointToPoint = random.chance(4)
    let hasAuther = random.chance(2)
    var registry = Self.registry(pointToPoint: pointToPoint)
    var oracle = Oracle(pointToPoint: pointToPoint)
    var now: Int64 = 0
    let pool = (1...6).map { IPAddress.v4(0x0A00_0000 + UInt32($0)) }
    for _ in 0..<200 {
      now += Int64.random(in: 0...900, using: &random)
      let key = Int.random(in: 1...5, using: &random)
      switch Int.random(in: 0..<6, using: &random) {
      case 0...2:
        let addresses = (0..<Int.random(in: 1...3, using: &random)).map { _ in
          pool.randomElement(using: &random) ?? pool[0]
        }
        let proven = random.chance(4) ? [] : Set(pool)
        let isAllowed: ((IPAddress) -> Bool)? = hasAuther ? { proven.contains($0) } : nil
        let outcome = registry.announce(
          .init(passphrase: [], addresses: addresses), from: key, isAllowed: isAllowed, at: Self.at(now))
        let agrees = oracle.agrees(outcome, addresses, key, hasAuther ? proven : nil, now)
        #expect(agrees, "seed \(seed) at \(now): \(outcome)")
      case 3, 4:
        let source = pool.randomElement(using: &random) ?? pool[0]
        #expect(
          registry.admit(source: source, from: key, at: Self.at(now)) == oracle.admit(source, key, now), "seed \(seed)")
      default:
        registry.remove(key)
        oracle.clients[key] = nil
      }
      #expect(registry.count == oracle.clients.count, "seed \(seed)")
      for address in pool { #expect(registry.client(for: address) == oracle.client(address), "seed \(seed)") }
    }
  }

  private struct Oracle {
    let pointToPoint: Bool
    var clients: [Int: (addresses: [IPAddress], heard: Int64)] = [:]

    func client(_ address: IPAddress) -> Int? {
      pointToPoint ? clients.keys.first : clients.first { $0.value.addresses.contains(address) }?.key
    }

    mutating func admit(_ source: IPAddress, _ key: Int, _ now: Int64) -> Registry.Drop? {
      guard clients[key] != nil else { return .unknownSender }
      clients[key]?.heard = now
      return pointToPoint || clients[key]?.addresses.contains(source) == true ? nil : .foreignSource
    }

    /// Checks the outcome and, when it was an acceptance, follows it.
    mutating func agrees(
      _ outcome: Registry.Outcome, _ addresses: [IPAddress], _ key: Int, _ proven: Set<IPAddress>?, _ now: Int64
    ) -> Bool {
      let rivals = clients.filter { other in
        other.key != key && (pointToPoint || other.value.addresses.contains { addresses.contains($0) })
      }
      let clash = addresses.contains(TunRegistryTests.own)
      let unproven = proven.map { proven in addresses.contains { !proven.contains($0) } } ?? false
      let held = proven == nil && rivals.contains { now - $0.value.heard < 2_000 }
      switch outcome {
      case .refused(.serversOwnAddress(let address)): return clash && address == TunRegistryTests.own
      case .refused(.wrongPassphrase(let address)): return unproven && addresses.contains(address)
      case .refused(.heldByAnother(let address)):
        return !clash && held && rivals.values.contains { $0.addresses.contains(address) }
      case .refused(.tooManyClients): return false
      case .accepted(let isNew, let displaced):
        let expectedNew = clients[key]?.addresses != addresses
        for rival in rivals.keys { clients[rival] = nil }
        clients[key] = (addresses, now)
        return !clash && !unproven && !held && isNew == expectedNew && Set(displaced) == Set(rivals.keys)
      }
    }
  }
}
