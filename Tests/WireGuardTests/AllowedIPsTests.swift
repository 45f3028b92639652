import Testing
import Values

@testable import WireGuard

/// Cryptokey routing: tables that the kernel's self-test also goes through, made anew, and a slow list that knows better.
@Suite struct AllowedIPsTests {
  private let a = PeerID(rawValue: 1)
  private let b = PeerID(rawValue: 2)
  private let c = PeerID(rawValue: 3)
  private let d = PeerID(rawValue: 4)
  private let e = PeerID(rawValue: 5)
  private let f = PeerID(rawValue: 6)

  @Test("The longest prefix wins among those that lie in each other, in both families")
  func nested() throws {
    var table = AllowedIPs()
    for (text, peer) in [
      ("192.168.4.0/24", a), ("192.168.4.4/32", b), ("192.168.0.0/16", c), ("192.95.5.64/27", d),
      ("192.95.5.65/27", c), ("0.0.0.0/0", e), ("64.15.112.0/20", f), ("64.15.123.211/25", a),
      ("10.0.0.0/25", a), ("10.0.0.128/25", b), ("10.1.0.0/30", a), ("10.1.0.4/30", b), ("10.1.0.8/29", c),
      ("10.1.0.16/29", d),
      ("2607:5300:6000:6b00::c05f:543/128", d), ("2607:5300:6000:6b00::/64", c), ("::/0", e),
      ("::/32", f), ("2404:6800:4004:800:dead:beef:dead:beef/64", a),
      ("2404:6800:4004:800:dead:beef:dead:beef/128", b), ("2404:6800:4004:806:dead:beef:dead:beef/128", a),
      ("2404:6800::/32", f),
    ] {
      table.insert(try prefix(text), for: peer)
    }
    // The second of two with the same network has it.
    #expect(table.count == 21)
    for (text, peer) in [
      ("192.168.4.20", a), ("192.168.4.0", a), ("192.168.4.4", b), ("192.168.200.182", c), ("192.95.5.68", c),
      ("192.95.5.96", e), ("1.1.1.1", e), ("64.15.116.26", f), ("64.15.127.3", f), ("64.15.123.128", a),
      ("64.15.123.129", a), ("64.15.124.1", f), ("10.0.0.52", a), ("10.0.0.220", b), ("10.1.0.2", a), ("10.1.0.6", b),
      ("10.1.0.10", c), ("10.1.0.20", d), ("10.1.0.24", e), ("255.255.255.255", e), ("0.0.0.0", e),
      ("2607:5300:6000:6b00::c05f:543", d), ("2607:5300:6000:6b00::c02e:1ee", c), ("2607:5300:6000:6b01::", e),
      ("2404:6800:4004:806::1006", f), ("2404:6800:4004:806:0:1234:0:5678", f), ("2404:67ff:4004:806:0:1234:0:5678", e),
      ("2404:6801:4004:806:0:1234:0:5678", e), ("2404:6800:4004:800:0:1234:0:5678", a),
      ("2404:6800:4004:800::", a), ("2404:6800:4004:800:1010:1010:1010:1010", a),
      ("2404:6800:4004:800:dead:beef:dead:beef", b), ("::1234", f), ("::1:0:0:0", f), ("1::", e),
    ] {
      check(table.lookup(try address(text)) == peer, "\(text)")
    }
  }

  @Test("Without a default what lies outside belongs to nobody, and the families do not mix")
  func outside() throws {
    var table = AllowedIPs()
    #expect(table.isEmpty && table.lookup(.v4(0x0102_0304)) == nil && table.lookup(.v6(0)) == nil)
    table.insert(try prefix("1.0.0.0/32"), for: a)
    table.insert(try prefix("64.0.0.0/32"), for: a)
    table.insert(try prefix("128.0.0.0/32"), for: a)
    table.insert(try prefix("192.0.0.0/32"), for: a)
    table.insert(try prefix("255.0.0.0/32"), for: a)
    table.remove(try prefix("192.0.0.0/32"), of: a)
    for text in ["192.0.0.0", "1.0.0.1", "0.0.0.0", "100::", "4000::", "::"] {
      check(table.lookup(try address(text)) == nil, text)
    }
    #expect(table.lookup(try address("128.0.0.0")) == a)
    table.insert(try prefix("::/0"), for: b)
    #expect(table.lookup(try address("9.9.9.9")) == nil)
    #expect(table.lookup(try address("9::")) == b)
    // A mapped address is an IPv6 one.
    #expect(table.lookup(try address("::ffff:128.0.0.0")) == b)
  }

  @Test("A prefix has one peer: it moves, host bits do not count, and only its owner loses it")
  func moving() throws {
    var table = AllowedIPs()
    check(table.insert(try prefix("10.0.0.0/8"), for: a) == nil, "new")
    check(table.insert(try prefix("10.9.8.7/8"), for: b) == a, "moved")
    #expect(table.count == 1 && table.prefixes(of: a).isEmpty)
    #expect(table.prefixes(of: b).map(\.description) == ["10.0.0.0/8"])
    for (text, peer) in [("10.0.0.0/8", a), ("10.0.0.0/9", b), ("10.0.0.0/7", b), ("fd00::/8", b)] {
      check(!table.remove(try prefix(text), of: peer), text)
    }
    #expect(table.lookup(try address("10.1.2.3")) == b)
    check(table.remove(try prefix("10.0.0.0/8"), of: b), "its own")
    #expect(table.isEmpty && table.lookup(.v4(0x0A01_0203)) == nil)
  }

  @Test("The lengths 0 and full, and every length between, on one address")
  func lengths() throws {
    for (text, width) in [("170.85.170.85", 32), ("aaaa:5555:aaaa:5555:aaaa:5555:aaaa:5555", 128)] {
      var table = AllowedIPs()
      let target = try address(text)
      var random = SeededGenerator(1)
      for length in (0...width).shuffled(using: &random) {
        let prefix = try #require(IPPrefix(address: target, length: length))
        table.insert(prefix, for: PeerID(rawValue: UInt32(length + 1)))
      }
      for length in (0...width).reversed() {
        check(table.lookup(target) == PeerID(rawValue: UInt32(length + 1)), "length \(length)")
        // The address that differs in the bit behind the prefix.
        if length < width {
          let other: IPAddress =
            switch target {
            case .v4(let bits): .v4(bits ^ 1 << UInt32(width - 1 - length))
            case .v6(let bits): .v6(bits ^ 1 << UInt128(width - 1 - length))
            }
          check(table.lookup(other) == PeerID(rawValue: UInt32(length + 1)), "beside length \(length)")
        }
        let prefix = try #require(IPPrefix(address: target, length: length))
        check(table.remove(prefix, of: PeerID(rawValue: UInt32(length + 1))), "removing \(length)")
      }
      #expect(table.isEmpty)
    }
  }

  @Test(
    "It agrees with a slow list through thousands of insertions, moves, removals and look-ups", arguments: [0, 1, 2, 3])
  func oracle(_ seed: UInt64) throws {
    var random = SeededGenerator(seed)
    var table = AllowedIPs()
    var list: [IPPrefix: PeerID] = [:]
    // Few bits differ, so that prefixes lie in each other.
    func someAddress() -> IPAddress {
      if seed % 2 == 0 {
        return .v4(
          random.chance(3)
            ? UInt32(truncatingIfNeeded: random.next())
            : UInt32(random.number(0...0xFFF)) << UInt32(random.number(0...20)))
      }
      let low = UInt128(random.next() & 0xFFF) << UInt128(random.number(0...116))
      return .v6(random.chance(3) ? UInt128(random.next()) << 64 | UInt128(random.next()) : low)
    }
    func somePrefix() throws -> IPPrefix {
      let address = someAddress()
      return try #require(IPPrefix(address: address, length: random.number(0...address.bitWidth))).network
    }
    for _ in 0..<1_500 {
      let peer = PeerID(rawValue: UInt32(random.number(1...12)))
      switch random.number(0...9) {
      case 0...5:
        let prefix = try somePrefix()
        check(table.insert(prefix, for: peer) == list.updateValue(peer, forKey: prefix), "inserting \(prefix)")
      case 6, 7:
        let prefix =
          try random.chance(2)
          ? somePrefix() : (list.keys.sorted { $0.description < $1.description }.first ?? somePrefix())
        let isOwn = list[prefix] == peer
        if isOwn { list[prefix] = nil }
        check(table.remove(prefix, of: peer) == isOwn, "removing \(prefix)")
      case 8 where random.chance(40):
        table.removeAll(of: peer)
        list = list.filter { $0.value != peer }
      default: break
      }
      for _ in 0..<3 {
        let address = someAddress()
        let best = list.filter { $0.key.contains(address) }.max { $0.key.length < $1.key.length }?.value
        check(table.lookup(address) == best, "\(address)")
      }
    }
    #expect(table.count == list.count && list.count > 100)
    for number in 1...12 {
      let peer = PeerID(rawValue: UInt32(number))
      #expect(Set(table.prefixes(of: peer)) == Set(list.filter { $0.value == peer }.keys))
      table.removeAll(of: peer)
    }
    #expect(table.isEmpty)
  }
}
