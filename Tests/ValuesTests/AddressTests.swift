import Glibc
import Testing
import Values

/// Addresses as text, against the examples of the RFCs and against the C library.
@Suite struct AddressTests {
  /// RFC 5952, sections 1, 2, 4 and 5; RFC 4291, section 2.2.
  static let texts: [(text: String, printed: String)] = [
    ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("2001:db8::1:0:0:1", "2001:db8::1:0:0:1"),
    ("2001:db8::0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("2001:DB8:0:0:1::1", "2001:db8::1:0:0:1"),
    ("2001:db8:aaaa:bbbb:cccc:dddd:eeee:0001", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1"),
    ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
    ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
    ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
    ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("2001:db8:aaaa:bbbb:cccc:dddd:eeee:AAAA", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaaa"),
    ("0:0:0:0:0:ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ("::ffff:c000:0201", "::ffff:192.0.2.1"),
    ("ABCD:EF01:2345:6789:ABCD:EF01:2345:6789", "abcd:ef01:2345:6789:abcd:ef01:2345:6789"),
    ("FF01:0:0:0:0:0:0:101", "ff01::101"), ("0:0:0:0:0:0:0:1", "::1"), ("0:0:0:0:0:0:0:0", "::"),
    ("::", "::"), ("1::", "1::"), ("::13.1.68.3", "::d01:4403"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
    ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
    ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"), ("192.0.2.1", "192.0.2.1"),
  ]

  @Test func `the examples of the RFCs are read and printed`() {
    for (text, printed) in Self.texts {
      #expect(IPAddress(text)?.description == printed, "\(text)")
      #expect(IPAddress(printed) == IPAddress(text))
    }
  }

  @Test(arguments: [
    "", ".", ":", ":::", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.04", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4",
    "1.2.3.-4", "0x1.2.3.4", "1.2.3.", ".1.2.3", "1..2.3", "1234.1.1.1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
    "1::2::3", "1:::2", ":1::2", "1::2:", ":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
    "1:2:3:4::5:6:7:8", "12345::", "g::", "::1%eth0", "[::1]", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256",
    "1.2.3.4::", "1:1.2.3.4:2", "1:2:3:4:5:6:7:1.2.3.4", "::1/64", "١.٢.٣.٤",
    "0000:0000:0000:0000:0000:ffff:255.255.255.2555",
  ]) func `what is no address is refused`(text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test func `printing and reading agree with the C library for random addresses`() {
    var random = SeededGenerator(1)
    for _ in 0..<20_000 {
      let bits = random.sparse()
      let address = IPAddress.v6(bits)
      check(IPAddress(address.description) == address, "\(address) does not come back")
      check(Self.libraryReads(address.description) == address, "\(address) is read otherwise by the library")
      // The library still writes the deprecated ::a.b.c.d for every address below 2^32; RFC 5952 does not.
      guard bits >> 32 != 0 || bits < 0x1_0000 else { continue }
      check(address.description == Self.libraryPrints(address), "\(address) is not \(Self.libraryPrints(address))")
    }
    for _ in 0..<2_000 {
      let address = IPAddress.v4(UInt32.random(in: 0...UInt32.max, using: &random))
      check(IPAddress(address.description) == address, "\(address) does not come back")
      check(address.description == Self.libraryPrints(address), "\(address) is not \(Self.libraryPrints(address))")
    }
  }

  @Test func `reading agrees with the C library for broken texts`() {
    var random = SeededGenerator(2)
    let letters = Array("0123456789abcdefABCDEF::::....")
    var valid = 0
    for _ in 0..<20_000 {
      var text = Array(
        random.chance(3)
          ? IPAddress.v4(UInt32.random(in: 0...UInt32.max, using: &random)).description
          : IPAddress.v6(random.sparse()).description)
      for _ in 0..<random.number(0...3) {
        let place = random.number(0...max(0, text.count - 1))
        let letter = letters[random.number(0...letters.count - 1)]
        switch random.number(0...2) {
        case 0 where !text.isEmpty: text.remove(at: place)
        case 1 where !text.isEmpty: text[place] = letter
        default: text.insert(letter, at: min(place, text.count))
        }
      }
      let written = String(text)
      let read = IPAddress(written)
      check(read == Self.libraryReads(written), "`\(written)` is read as \(read.map { "\($0)" } ?? "nothing")")
      if read != nil { valid += 1 }
    }
    #expect(valid > 4_000 && valid < 16_000)
  }

  @Test func `a v4-mapped address is its own value until it is made canonical`() throws {
    let mapped = try #require(IPAddress("::ffff:192.0.2.1"))
    let plain = IPAddress.v4(0xC000_0201)
    #expect(mapped != plain)
    #expect(mapped.canonical == plain)
    #expect(plain.mapped == 0xFFFF_C000_0201)
    #expect(IPAddress(mapped: plain.mapped) == plain)
    let long = try #require(IPAddress("2001:db8::1"))
    #expect(long.canonical == long && IPAddress(mapped: long.mapped) == long)
  }

  @Test func `kinds of addresses`() throws {
    let kinds: [(String, KeyPath<IPAddress, Bool>, Bool)] = [
      ("127.255.255.255", \.isLoopback, true), ("128.0.0.1", \.isLoopback, false), ("::1", \.isLoopback, true),
      ("::2", \.isLoopback, false), ("::ffff:127.0.0.1", \.isLoopback, true),
      ("224.0.0.1", \.isMulticast, true), ("239.255.255.255", \.isMulticast, true), ("240.0.0.1", \.isMulticast, false),
      ("223.0.0.1", \.isMulticast, false), ("ff02::1", \.isMulticast, true), ("fe80::1", \.isMulticast, false),
      ("169.254.1.1", \.isLinkLocal, true), ("169.255.1.1", \.isLinkLocal, false), ("fe80::1", \.isLinkLocal, true),
      ("febf::1", \.isLinkLocal, true), ("fec0::1", \.isLinkLocal, false),
      ("0.0.0.0", \.isUnspecified, true), ("::", \.isUnspecified, true), ("::1", \.isUnspecified, false),
    ]
    for (text, kind, expected) in kinds { #expect(try #require(IPAddress(text))[keyPath: kind] == expected, "\(text)") }
  }

  @Test func `addresses are in order: IPv4 first, then by number`() {
    let texts = ["0.0.0.1", "9.0.0.0", "10.0.0.0", "::", "::ffff:1.2.3.4", "2001:db8::", "ff02::1"]
    let addresses = texts.compactMap { IPAddress($0) }
    #expect(addresses.reversed().sorted() == addresses)
  }

  @Test func `endpoints and host-port pairs`() {
    #expect(Endpoint("192.0.2.1:443")?.description == "192.0.2.1:443")
    #expect(Endpoint("[2001:db8::1]:0")?.description == "[2001:db8::1]:0")
    #expect(Endpoint(.v6(0xFE80 << 112 | 1), port: 1, scope: 3).description == "[fe80::1%3]:1")
    #expect(Endpoint("192.0.2.1:443") != Endpoint("192.0.2.1:444"))
    #expect(Endpoint("192.0.2.1:443")?.address == .v4(0xC000_0201))
    for text in [
      "name:1", ":1", "1.2.3.4", "1.2.3.4:", "2001:db8::1:443", "[::1]", "[::1:443", "1.2.3.4:65536", "1.2.3.4:+1",
    ] {
      #expect(Endpoint(text) == nil, "\(text)")
    }
    #expect(HostPort(":8421") == HostPort(host: "", port: 8421))
    #expect(HostPort("example.com:0") == HostPort(host: "example.com", port: 0))
    #expect(HostPort("[2001:db8::1]:443") == HostPort(host: "2001:db8::1", port: 443))
    #expect(HostPort("[2001:db8::1]:443")?.description == "[2001:db8::1]:443")
    #expect(HostPort(host: "example.com", port: 1).literal == nil)
    for text in ["", "example.com", "example.com:", "example.com:x", "a:b:1", "[::1:1", "h:123456", "h: 1", "h:-1"] {
      #expect(HostPort(text) == nil, "\(text)")
    }
  }

  private static func libraryReads(_ text: String) -> IPAddress? {
    var bytes = [UInt8](repeating: 0, count: 16)
    let isIPv6 = text.utf8.contains(UInt8(ascii: ":"))
    guard inet_pton(isIPv6 ? AF_INET6 : AF_INET, text, &bytes) == 1 else { return nil }
    let bits = bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
    return isIPv6 ? .v6(bits) : .v4(UInt32(bits >> 96))
  }

  private static func libraryPrints(_ address: IPAddress) -> String {
    var bytes: [UInt8] = []
    switch address {
    case .v4(let bits): bytes.append(bigEndian: bits)
    case .v6(let bits): bytes.append(bigEndian: bits)
    }
    var text = [CChar](repeating: 0, count: 64)
    inet_ntop(address.family == .ipv4 ? AF_INET : AF_INET6, bytes, &text, 64)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
