import Testing
import Values

@testable import NodeSelection
@testable import Parts

@Suite("What an open proxy dials")
struct EgressPolicyTests {
  private static func rule(_ text: String) throws -> EgressRule { try #require(EgressRule(text)) }

  @Test(
    "What is reached only from where the proxy stands is refused, however it is written",
    arguments: [
      ("127.0.0.1", "loopback"), ("127.255.255.255", "loopback"), ("::1", "loopback"),
      ("::ffff:127.0.0.1", "loopback"), ("::ffff:7f00:1", "loopback"), ("::127.0.0.1", "loopback"),
      ("::ffff:0:127.0.0.1", "loopback"), ("2002:7f00:1::", "loopback"), ("2002:7f00:1:5:6:7:8:9", "loopback"),
      ("64:ff9b::127.0.0.1", "loopback"), ("64:ff9b::7f00:1", "loopback"),
      ("64:ff9b:1::127.0.0.1", "loopback"), ("64:ff9b:1:7f00:0:100::", "loopback"),
      ("64:ff9b:1:7f:0:1::", "loopback"), ("64:ff9b:1:ab:7f:0:100:0", "loopback"),
      ("2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback"),
      ("2001:db8::5efe:127.0.0.1", "loopback"), ("2001:db8::200:5efe:127.0.0.1", "loopback"),
      ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"), ("::", "unspecified"),
      ("::ffff:0.0.0.0", "unspecified"), ("64:ff9b::", "unspecified"), ("2002::1", "unspecified"),
      ("169.254.0.1", "link-local"), ("169.254.255.255", "link-local"), ("fe80::1", "link-local"),
      ("febf:ffff::1", "link-local"), ("::ffff:169.254.1.1", "link-local"), ("64:ff9b::169.254.1.1", "link-local"),
      ("169.254.169.254", "metadata"), ("::ffff:169.254.169.254", "metadata"), ("::a9fe:a9fe", "metadata"),
      ("64:ff9b::a9fe:a9fe", "metadata"), ("2002:a9fe:a9fe::", "metadata"),
      ("fd00:ec2::254", "metadata"), ("100.100.100.200", "metadata"), ("::ffff:100.100.100.200", "metadata"),
      ("168.63.129.16", "metadata"), ("fd20:ce::254", "metadata"),
      ("224.0.0.1", "multicast"), ("239.255.255.250", "multicast"), ("ff02::1", "multicast"),
      ("ff0e::1", "multicast"), ("::ffff:224.0.0.251", "multicast"),
      ("255.255.255.255", "broadcast"), ("::ffff:255.255.255.255", "broadcast"),
    ])
  func refused(text: String, kind: String) throws {
    let address = try #require(IPAddress(text))
    for port in [UInt16(0), 1, 80, 65_535] {
      let refusal = try #require(EgressPolicy.open().judge(address, port: port), "\(text)")
      #expect(refusal.reason.contains(kind), "\(refusal.reason)")
      #expect(!refusal.reason.contains("\n") && !refusal.reason.hasSuffix("."))
    }
    #expect(EgressPolicy.unrestricted.judge(address, port: 80) == nil)
  }

  @Test(
    "Everything else may be dialled, and so may private networks: a proxy into one is what many are for",
    arguments: [
      "1.1.1.1", "126.255.255.255", "128.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1",
      "169.253.255.255", "169.255.0.0", "223.255.255.255", "240.0.0.1", "1.0.0.0", "100.100.100.199",
      "2001:db8::1", "2606:4700::1111", "fd00::1", "fec0::1", "fe7f::1", "64:ff9b::8.8.8.8",
      "64:ff9b:1::8.8.8.8", "64:ff9b:1:808:8:800::", "2002:808:808::1", "::ffff:8.8.8.8", "::8.8.8.8",
      "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ])
  func allowed(text: String) throws {
    #expect(EgressPolicy.open().judge(try #require(IPAddress(text)), port: 443) == nil)
  }

  @Test(
    "A TURN relay leads to no private network either, and to nothing else of its own host, unless that is allowed",
    arguments: [
      "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.254", "192.0.0.8",
      "198.18.0.1", "240.0.0.1", "fc00::1", "fdff::1", "fec0::1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1",
      "2002:a00:1::", "2002:c0a8:101::1", "127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "224.0.0.1",
    ])
  func relaying(text: String) throws {
    let address = try #require(IPAddress(text))
    #expect(EgressPolicy.relaying().judge(address, port: 443) != nil)
    let all = EgressPolicy.relaying(exceptions: [try Self.rule("all")])
    #expect(all.judge(address, port: 443) == nil)
  }

  @Test("A TURN relay leads to public addresses, and to its own host only where that address alone is allowed")
  func relayingOwn() throws {
    let own = try #require(IPAddress("203.0.113.7"))
    for text in [
      "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "2606:4700::1", "203.0.113.8",
    ] {
      #expect(EgressPolicy.relaying(own: [own]).judge(try #require(IPAddress(text)), port: 1) == nil, "\(text)")
    }
    let mapped = try #require(IPAddress("::ffff:203.0.113.7"))
    for address in [own, mapped] {
      #expect(EgressPolicy.relaying(own: [own]).judge(address, port: 22) != nil)
      let around = EgressPolicy.relaying(exceptions: [try Self.rule("203.0.113.0/24")], own: [own])
      #expect(around.judge(address, port: 22) != nil)
      let exactly = EgressPolicy.relaying(exceptions: [try Self.rule("203.0.113.7:80")], own: [own])
      #expect(exactly.judge(address, port: 80) == nil && exactly.judge(address, port: 22) != nil)
    }
  }

  @Test("The refusal names the target as it was asked for and what it means")
  func words() throws {
    let policy = EgressPolicy.open()
    #expect(
      policy.judge(try #require(IPAddress("127.0.0.1")), port: 22)?.reason
        == "127.0.0.1:22 is not reached from here: it is a loopback address")
    #expect(
      policy.judge(try #require(IPAddress("64:ff9b::7f00:1")), port: 22)?.reason
        == "[64:ff9b::7f00:1]:22, which means 127.0.0.1, is not reached from here: it is a loopback address")
  }

  @Test("A rule of allow opens its addresses and ports in every encoding, and nothing else")
  func exceptions() throws {
    let policy = EgressPolicy.open(exceptions: [try Self.rule("127.0.0.1:8421"), try Self.rule("[::1]:53")])
    let mapped = try #require(IPAddress("::ffff:127.0.0.1"))
    #expect(policy.judge(.v4(0x7F00_0001), port: 8421) == nil)
    #expect(policy.judge(mapped, port: 8421) == nil)
    #expect(policy.judge(.v6(1), port: 53) == nil)
    #expect(policy.judge(.v4(0x7F00_0001), port: 8422) != nil)
    #expect(policy.judge(.v4(0x7F00_0002), port: 8421) != nil)
    #expect(policy.judge(.v6(1), port: 8421) != nil)
    #expect(policy.judge(.v4(0x7F00_0001), port: 53) != nil)
  }

  @Test("Of two rules the more exact decides, and deny where they are equally exact")
  func exactness() throws {
    let policy = EgressPolicy.open(
      exceptions: [try Self.rule("10.1.0.0/16"), try Self.rule("127.0.0.0/8"), try Self.rule("10.2.0.0/16:80")],
      denials: [
        try Self.rule("10.0.0.0/8"), try Self.rule("127.0.0.1:22"), try Self.rule("10.2.0.0/16:80-90"),
        try Self.rule("*:25"), try Self.rule("10.1.7.0/24"), try Self.rule("10.1.0.0/16:9-9"),
      ])
    func isRefused(_ text: String, _ port: UInt16) throws -> Bool {
      policy.judge(try #require(IPAddress(text)), port: port) != nil
    }
    #expect(try isRefused("10.3.0.1", 80))
    #expect(try !isRefused("10.1.0.1", 80))
    #expect(try isRefused("10.1.7.1", 80))
    #expect(try isRefused("10.1.0.1", 9))
    #expect(try !isRefused("10.2.0.1", 80))
    #expect(try isRefused("10.2.0.1", 81))
    #expect(try isRefused("127.0.0.1", 22))
    #expect(try !isRefused("127.0.0.1", 23))
    #expect(try isRefused("8.8.8.8", 25) && isRefused("2001:db8::1", 25))
    #expect(try !isRefused("10.1.0.1", 25), "a longer prefix is more exact than every address on one port")
    let equal = EgressPolicy.open(exceptions: [try Self.rule("10.0.0.0/8")], denials: [try Self.rule("10.0.0.0/8")])
    #expect(equal.judge(.v4(0x0A00_0001), port: 1) != nil)
  }

  @Test("A trusting policy knows only the file's rules")
  func trusting() throws {
    let policy = EgressPolicy.trusting(denials: [try Self.rule("10.0.0.0/8")])
    #expect(policy.judge(.v4(0x7F00_0001), port: 1) == nil)
    #expect(policy.judge(.v4(0x0A00_0001), port: 1) != nil)
  }

  @Test("The list is whole: every line of it was read")
  func list() { #expect(EgressPolicy.denied.count == 18) }

  @Test("Mapped prefixes are the IPv4 prefixes that they map, and no prefix is every address")
  func mapped() throws {
    let rule = EgressRule(prefix: IPPrefix("::ffff:10.0.0.0/104"))
    #expect(rule.prefix?.description == "10.0.0.0/8")
    #expect(EgressRule(prefix: IPPrefix("::/0")).prefix?.description == "::/0")
    #expect(EgressRule(prefix: nil).matches(.v6(5), port: 1) && EgressRule(prefix: nil).matches(.v4(5), port: 0))
  }

  @Test(
    "A service of the same file is reached where it listens and on loopback, and its port nowhere else",
    arguments: [
      (":80", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]),
      ("0.0.0.0:80", ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"]),
      ("[::]:80", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]),
      ("localhost:80", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]),
      ("127.0.0.1:80", ["127.0.0.1", "::ffff:127.0.0.1"]), ("[::1]:80", ["::1"]), ("web.example:80", []),
    ])
  func ownServices(listener: String, reached: [String]) throws {
    let policy = EgressPolicy.open(exceptions: EgressRule.own(try #require(HostPort(listener))))
    let all = [
      "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1",
      "fd00:ec2::254", "100.100.100.200",
    ]
    for text in all {
      let address = try #require(IPAddress(text))
      #expect((policy.judge(address, port: 80) == nil) == reached.contains(text), "\(text)")
      #expect(policy.judge(address, port: 81) != nil)
    }
  }

  /// The same judgement made slowly: on bits as characters, with the rules sorted by hand.
  @Test("The judge agrees with a slow one on forty thousand addresses near the edges of everything")
  func oracle() throws {
    var dice = SplitMix(state: 2026)
    let oracle = Oracle()
    for round in 0..<40 {
      let rules = { (dice: inout SplitMix) in (0..<Int.random(in: 0...4, using: &dice)).map { _ in Self.rule(&dice) } }
      let exceptions = rules(&dice)
      let denials = rules(&dice)
      let policy = EgressPolicy.open(exceptions: exceptions, denials: denials)
      for _ in 0..<(round == 0 ? 10_000 : 800) {
        let address = Self.address(&dice)
        let port = UInt16.random(in: 0...12, using: &dice)
        let expected = oracle.refuses(address, port, exceptions, denials)
        guard (policy.judge(address, port: port) != nil) != expected else { continue }
        Issue.record("\(address):\(port) refused: \(!expected); allow \(exceptions), deny \(denials)")
        return
      }
    }
  }

  private static func rule(_ dice: inout SplitMix) -> EgressRule {
    let ports = [0...65_535, 5...5, 3...9, 0...10] as [ClosedRange<UInt16>]
    let base = address(&dice)
    let length = Int.random(in: 0...base.bitWidth, using: &dice)
    return EgressRule(
      prefix: Int.random(in: 0..<8, using: &dice) == 0 ? nil : IPPrefix(address: base, length: length),
      ports: ports.randomElement(using: &dice) ?? 5...5)
  }

  /// An address in, beside or one bit away from what the list has, in one of the encodings.
  private static func address(_ dice: inout SplitMix) -> IPAddress {
    let prefix = EgressPolicy.denied.randomElement(using: &dice)?.prefix ?? .host(.anyIPv4)
    switch prefix.address {
    case .v6(let bits):
      var bits = bits
      if prefix.length < 128 { bits |= dice.next(upperBound: UInt128(1) << UInt128(128 - prefix.length)) }
      if Bool.random(using: &dice) { bits ^= 1 << UInt128.random(in: 0..<128, using: &dice) }
      return .v6(bits)
    case .v4(let start):
      var bits = start
      if prefix.length < 32 { bits |= UInt32.random(in: 0..<(1 << UInt32(32 - prefix.length)), using: &dice) }
      if Bool.random(using: &dice) { bits ^= 1 << UInt32.random(in: 0..<32, using: &dice) }
      let v4 = UInt128(bits)
      let junk = UInt128(dice.next())
      switch Int.random(in: 0..<12, using: &dice) {
      case 0: return .v6(0xFFFF_0000_0000 | v4)
      case 1: return .v6(v4)
      case 2: return .v6(0xFFFF_0000_0000_0000 | v4)
      case 3: return .v6(0x2002 << 112 | v4 << 80 | junk)
      case 4: return .v6(0x64_FF9B << 96 | v4)
      case 5: return .v6(0x64_FF9B_0001 << 80 | v4)
      case 6: return .v6(0x64_FF9B_0001 << 80 | (v4 >> 16) << 64 | (v4 & 0xFFFF) << 40)
      case 7: return .v6(0x64_FF9B_0001 << 80 | (v4 >> 24) << 64 | (v4 & 0xFF_FFFF) << 32)
      case 8: return .v6(0x64_FF9B_0001 << 80 | v4 << 24 | junk << 64 & 0xFFFF << 64)
      case 9: return .v6(0x2001_0000 << 96 | junk << 32 | (v4 ^ 0xFFFF_FFFF))
      case 10: return .v6(0x2001_0DB8 << 96 | 0x5EFE << 32 | v4)
      default: return .v4(bits)
      }
    }
  }

  private struct Oracle {
    /// Written a second time, as text, from the documentation.
    private let denied: [(bits: String, family: AddressFamily)]

    init() {
      let texts = [
        "127.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "100.100.100.200/32",
        "192.0.0.192/32", "168.63.129.16/32", "::/127", "fe80::/10", "ff00::/8", "fd00:ec2::254/128",
        "fd00:ec2::23/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128",
      ]
      denied = texts.compactMap { IPPrefix($0) }.map { (String(Self.bits($0.address).prefix($0.length)), $0.family) }
    }

    private static func bits(_ address: IPAddress) -> String {
      let digits: String
      switch address {
      case .v4(let bits): digits = String(bits, radix: 2)
      case .v6(let bits): digits = String(bits, radix: 2)
      }
      return String(repeating: "0", count: address.bitWidth - digits.count) + digits
    }

    func refuses(_ address: IPAddress, _ port: UInt16, _ exceptions: [EgressRule], _ denials: [EgressRule]) -> Bool {
      meanings(Self.bits(address)).contains { meaning in
        let family: AddressFamily = meaning.count == 32 ? .ipv4 : .ipv6
        let rules = exceptions.map { ($0, false) } + denials.map { ($0, true) }
        let matching = rules.filter { rule, _ in
          guard rule.ports.contains(port) else { return false }
          guard let prefix = rule.prefix else { return true }
          return prefix.family == family && meaning.hasPrefix(Self.bits(prefix.address).prefix(prefix.length))
        }
        let ranked = matching.map { rule, denies in
          ((rule.prefix?.length ?? -1) * 1_000_000 - rule.ports.count * 2 + (denies ? 1 : 0), denies)
        }
        if let best = ranked.max(by: { $0.0 < $1.0 }) { return best.1 }
        return denied.contains { $0.family == family && meaning.hasPrefix($0.bits) }
      }
    }

    private func meanings(_ bits: String) -> [String] {
      guard bits.count == 128 else { return [bits] }
      let all = Array(bits)
      func hex(_ text: String) -> String {
        text.compactMap { $0.hexDigitValue }.map {
          let digits = String($0, radix: 2)
          return String(repeating: "0", count: 4 - digits.count) + digits
        }.joined()
      }
      func cut(_ range: Range<Int>) -> String { String(all[range]) }
      if bits.hasPrefix(hex("00000000000000000000FFFF")) { return [cut(96..<128)] }
      var found = [bits]
      if bits.hasPrefix(hex("000000000000000000000000")), cut(96..<127).contains("1") { found.append(cut(96..<128)) }
      if bits.hasPrefix(hex("0000000000000000FFFF0000")) { found.append(cut(96..<128)) }
      if bits.hasPrefix(hex("2002")) { found.append(cut(16..<48)) }
      if bits.hasPrefix(hex("0064FF9B0000000000000000")) { found.append(cut(96..<128)) }
      if bits.hasPrefix(hex("0064FF9B0001")) {
        let places = [cut(96..<128), cut(48..<64) + cut(72..<88), cut(56..<64) + cut(72..<96), cut(72..<104)]
        found += places.filter { !$0.hasPrefix("00000000") }
      }
      if bits.hasPrefix(hex("20010000")) { found.append(String(all[96...].map { $0 == "0" ? "1" : "0" })) }
      if cut(64..<96) == hex("00005EFE") || cut(64..<96) == hex("02005EFE") { found.append(cut(96..<128)) }
      return found
    }
  }
}

extension EgressRule {
  /// As the file has it.
  init?(_ text: String) {
    guard let pattern = TargetPattern(text) else { return nil }
    self.init(prefix: pattern.network, ports: pattern.ports ?? 0...UInt16.max)
  }
}
