import Testing
import Values

/// Prefixes and the table of prefixes, against slow definitions.
@Suite struct PrefixTests {
  /// The first `length` bits of an address, one by one.
  private static func bits(_ address: IPAddress, _ length: Int) -> [Bool] {
    switch address {
    case .v4(let bits): (0..<length).map { bits >> UInt32(31 - $0) & 1 == 1 }
    case .v6(let bits): (0..<length).map { bits >> UInt128(127 - $0) & 1 == 1 }
    }
  }

  private static func contains(_ prefix: IPPrefix, _ address: IPAddress) -> Bool {
    prefix.family == address.family && bits(prefix.address, prefix.length) == bits(address, prefix.length)
  }

  /// Few distinct leading bits, so that prefixes nest.
  private static func address(_ random: inout SeededGenerator) -> IPAddress {
    if random.chance(2) { return .v4(UInt32(random.number(0...3)) << 30 | UInt32(random.number(0...7))) }
    return .v6(UInt128(random.number(0...3)) << 126 | UInt128(random.number(0...7)))
  }

  private static func prefix(_ random: inout SeededGenerator) throws -> IPPrefix {
    let address = address(&random)
    let lengths = [0, 1, 2, 3, 29, 30, 31, 32, 125, 126, 127, 128].filter { $0 <= address.bitWidth }
    return try #require(IPPrefix(address: address, length: lengths[random.number(0...lengths.count - 1)]))
  }

  @Test func `prefixes are read and printed`() {
    #expect(IPPrefix("192.168.123.2/24")?.description == "192.168.123.2/24")
    #expect(IPPrefix("192.168.123.2/24")?.network.description == "192.168.123.0/24")
    #expect(IPPrefix("2001:0DB8:0000:CD30:0000:0000:0000:0000/60")?.description == "2001:db8:0:cd30::/60")
    #expect(IPPrefix("2001:DB8:0:CD30:123:4567:89AB:CDEF/60")?.network == IPPrefix("2001:DB8:0:CD30::/60"))
    #expect(IPPrefix("10.0.0.1")?.length == 32)
    #expect(IPPrefix("::1")?.length == 128)
    #expect(IPPrefix("0.0.0.0/0")?.contains(.v4(0xFFFF_FFFF)) == true)
    #expect(IPPrefix("::/0")?.contains(.v6(UInt128.max)) == true)
    #expect(IPPrefix.host(.v4(1)).description == "0.0.0.1/32")
  }

  @Test(arguments: [
    "", "/", "/24", "10.0.0.1/", "10.0.0.1/33", "::/129", "10.0.0.1/-1", "10.0.0.1/+1", "10.0.0.1/24/1",
    "10.0.0.1/0024",
    "10.0.0.1/ 8", "10.0.0/24", "2001:0DB8:0:CD3/60", "10.0.0.1/255.255.255.0", "name/24",
  ]) func `what is no prefix is refused`(text: String) {
    #expect(IPPrefix(text) == nil)
  }

  @Test func `a length outside the family is refused`() {
    #expect(IPPrefix(address: .v4(0), length: 33) == nil)
    #expect(IPPrefix(address: .v4(0), length: -1) == nil)
    #expect(IPPrefix(address: .v6(0), length: 129) == nil)
    #expect(IPPrefix(address: .v6(0), length: 128) != nil)
  }

  @Test func `containing and overlapping agree with the bits`() throws {
    var random = SeededGenerator(3)
    for _ in 0..<4_000 {
      let prefix = try Self.prefix(&random)
      let address = Self.address(&random)
      check(prefix.contains(address) == Self.contains(prefix, address), "\(prefix) \(address)")
      let other = try Self.prefix(&random)
      let shorter = prefix.length < other.length ? prefix : other
      let longer = prefix.length < other.length ? other : prefix
      check(prefix.overlaps(other) == Self.contains(shorter, longer.address), "\(prefix) \(other)")
      check(Self.contains(prefix, prefix.network.address), "\(prefix) is not in its own network")
      check(
        Self.bits(prefix.network.address, prefix.address.bitWidth)[prefix.length...].allSatisfy { !$0 }, "\(prefix)")
    }
  }

  @Test func `masks at the ends of their range`() {
    #expect(IPAddress.v4(UInt32.max).masked(to: -5) == .v4(0))
    #expect(IPAddress.v4(UInt32.max).masked(to: 1) == .v4(0x8000_0000))
    #expect(IPAddress.v4(UInt32.max).masked(to: 99) == .v4(UInt32.max))
    #expect(IPAddress.v6(UInt128.max).masked(to: 0) == .v6(0))
    #expect(IPAddress.v6(UInt128.max).masked(to: 64) == .v6(UInt128(UInt64.max) << 64))
    #expect(IPAddress.v6(UInt128.max).masked(to: 128) == .v6(UInt128.max))
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func `the table agrees with a list, through insertions and removals`(seed: UInt64) throws {
    var random = SeededGenerator(seed)
    var table = PrefixTable<Int>()
    var list: [IPPrefix: Int] = [:]
    for step in 0..<400 {
      let prefix = try Self.prefix(&random)
      if random.chance(3) {
        let removed = table.remove(prefix)
        check(removed == list.removeValue(forKey: prefix.network), "seed \(seed), step \(step)")
      } else {
        let replaced = table.insert(step, for: prefix)
        check(replaced == list.updateValue(step, forKey: prefix.network), "seed \(seed), step \(step)")
      }
      check(table[prefix] == list[prefix.network], "seed \(seed), step \(step)")
      check(table.isEmpty == list.isEmpty, "seed \(seed), step \(step)")
      let address = Self.address(&random)
      let longest = list.filter { Self.contains($0.key, address) }.max { $0.key.length < $1.key.length }
      check(table.lookup(address) == longest?.value, "seed \(seed), step \(step), \(address)")
    }
    for prefix in list.keys { #expect(table.remove(prefix) != nil) }
    #expect(table.isEmpty)
  }
}
