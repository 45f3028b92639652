import SOCKS
import Testing
import Values

/// The messages of SOCKS, against bytes written out by hand from RFC 1928, RFC 1929 and the description of SOCKS4.
@Suite struct SOCKSTests {
  /// A decoder's outcome on the whole, after it has been shown every beginning of it: it must ask for more each time, and
  /// never for more than there is.
  private func read<Message>(
    _ bytes: [UInt8], _ decode: (UnsafeRawBufferPointer) throws -> SOCKSDecoding<Message>
  ) throws -> Message {
    for length in bytes.indices {
      switch try Array(bytes[..<length]).withUnsafeBytes({ bytes in try decode(bytes) }) {
      case .needs(let count): #expect(count > 0 && length + count <= bytes.count, "at \(length) needs \(count)")
      case .message: Issue.record("a message out of \(length) of \(bytes.count) bytes")
      }
    }
    // What follows is not touched.
    let (message, consumed) = try #require(
      try (bytes + [0x16, 3, 1]).withUnsafeBytes { bytes in try decode(bytes).whole })
    #expect(consumed == bytes.count)
    return message
  }

  @Test func `a greeting and the choice of a method`() throws {
    let greeting = try read(hex("05 03 00 02 80")) { bytes in try SOCKS5Greeting.decode(bytes) }
    #expect(greeting.methods == [.none, .password, .tls])
    #expect(greeting.encode() == hex("05 03 00 02 80"))
    let empty = try read(hex("05 00")) { bytes in try SOCKS5Greeting.decode(bytes) }
    #expect(empty.methods == [])
    let choice = try read(hex("05 82")) { bytes in try SOCKS5Choice.decode(bytes) }
    #expect(choice == SOCKS5Choice(.tlsPassword))
    #expect(SOCKS5Choice(.unacceptable).encode() == hex("05 ff"))
  }

  @Test func `credentials, also empty ones and of 255 bytes`() throws {
    let bytes = hex("01 04 75736572 04 70617373")
    let credentials = try read(bytes) { bytes in try SOCKS5Credentials.decode(bytes) }
    #expect(credentials == SOCKS5Credentials(user: Array("user".utf8), password: Array("pass".utf8)))
    #expect(credentials.encode() == bytes)
    for count in [0, 1, 255] {
      let long = SOCKS5Credentials(
        user: Array(repeating: 0xFF, count: count), password: Array(repeating: 0, count: count))
      let encoded = try #require(long.encode())
      #expect(try read(encoded) { bytes in try SOCKS5Credentials.decode(bytes) } == long)
    }
    #expect(SOCKS5Credentials(user: Array(repeating: 1, count: 256), password: []).encode() == nil)
    #expect(SOCKS5Credentials(user: [], password: Array(repeating: 1, count: 256)).encode() == nil)
    #expect(throws: SOCKSError.credentialsVersion(5)) {
      try hex("05 01 61 01 62").withUnsafeBytes { bytes in _ = try SOCKS5Credentials.decode(bytes) }
    }
    let verdict = try read(hex("01 00")) { bytes in try SOCKS5Verdict.decode(bytes) }
    #expect(verdict.isAllowed)
    #expect(try !read(hex("01 05")) { bytes in try SOCKS5Verdict.decode(bytes) }.isAllowed)
  }

  static let requests: [(String, SOCKS5Request)] = [
    ("05 01 00 01 c0000201 01bb", SOCKS5Request(.connect, HostPort(host: "192.0.2.1", port: 443))),
    (
      "05 01 00 03 0b 6578616d706c652e636f6d 0050",
      SOCKS5Request(.connect, HostPort(host: "example.com", port: 80))
    ),
    (
      "05 02 00 04 20010db8000000000000000000000001 ffff",
      SOCKS5Request(.bind, HostPort(host: "2001:db8::1", port: 65_535))
    ),
    ("05 03 00 01 00000000 0000", SOCKS5Request(.associate, HostPort(host: "0.0.0.0", port: 0))),
    ("05 f2 00 01 00000000 08ae", SOCKS5Request(.muxBind, HostPort(host: "0.0.0.0", port: 2_222))),
    ("05 f3 00 01 00000000 0000", SOCKS5Request(.datagramTunnel, HostPort(host: "0.0.0.0", port: 0))),
  ]

  @Test("Requests of every command and kind of address", arguments: requests)
  func request(_ text: String, _ request: SOCKS5Request) throws {
    let bytes = hex(text)
    #expect(try read(bytes) { bytes in try SOCKS5Request.decode(bytes) } == request)
    #expect(request.encode() == bytes)
  }

  @Test func `a name that is an address is written as one, and no host as 0.0.0.0`() throws {
    let literal = try read(hex("05 01 00 03 09 3132372e302e302e31 0016")) { bytes in
      try SOCKS5Request.decode(bytes)
    }
    #expect(literal.address == HostPort(host: "127.0.0.1", port: 22))
    #expect(literal.encode() == hex("05 01 00 01 7f000001 0016"))
    #expect(SOCKS5Request(.datagramTunnel, HostPort(host: "", port: 0)).encode() == hex("05 f3 00 01 00000000 0000"))
    let nameless = try read(hex("05 f2 00 03 00 08ae")) { bytes in try SOCKS5Request.decode(bytes) }
    #expect(nameless.address == HostPort(host: "", port: 2_222))
  }

  @Test func `names of 255 bytes pass and longer ones cannot be written`() throws {
    let longest = HostPort(host: String(repeating: "a", count: 255), port: 1)
    let bytes = try #require(SOCKS5Request(.connect, longest).encode())
    #expect(try read(bytes) { bytes in try SOCKS5Request.decode(bytes) }.address == longest)
    #expect(SOCKS5Request(.connect, HostPort(host: String(repeating: "a", count: 256), port: 1)).encode() == nil)
  }

  static let badNames = [
    "evil.com\0.good.com", "a\r\nX-Header: 1", "a b", "a\tb", "\u{7F}", "a\u{85}b", "a\u{A0}b", "\u{1B}[31m",
  ]

  @Test("A name that would break a log line, a header or a C string is none", arguments: badNames)
  func badName(_ name: String) {
    let bytes: [UInt8] = [5, 1, 0, 3, UInt8(name.utf8.count)] + Array(name.utf8) + [0, 80]
    #expect(throws: SOCKSError.malformedName) {
      try bytes.withUnsafeBytes { bytes in _ = try SOCKS5Request.decode(bytes) }
    }
    let four: [UInt8] = [4, 1, 0, 80, 0, 0, 0, 1, 0] + Array(name.utf8) + [0]
    let decoded = four.withUnsafeBytes { bytes in
      try? SOCKS4Request.decode(bytes).whole?.message.address.host
    }
    // In SOCKS4 a zero ends the name, and what follows belongs to the target.
    #expect(decoded == (name.hasPrefix("evil") ? "evil.com" : nil))
    #expect(SOCKS5Request(.connect, HostPort(host: name, port: 80)).encode() == nil)
    #expect(SOCKS4Request(.connect, HostPort(host: name, port: 80)).encode() == nil)
  }

  @Test func `not UTF-8, an unknown type of address and another version are refused`() {
    for (text, error) in [
      ("05 01 00 03 02 ff fe 0050", SOCKSError.malformedName), ("05 01 00 02 00 0050", .addressType(2)),
      ("05 01 00 00", .addressType(0)), ("04 01 00 01", .version(4)), ("16 03 01 00", .version(0x16)),
    ] {
      #expect(throws: error, "\(text)") {
        try hex(text).withUnsafeBytes { bytes in _ = try SOCKS5Request.decode(bytes) }
      }
    }
  }

  @Test func `replies, and one whose address cannot be written still arrives`() throws {
    let bytes = hex("05 05 00 01 00000000 0000")
    let reply = try read(bytes) { bytes in try SOCKS5Reply.decode(bytes) }
    #expect(reply == SOCKS5Reply(.connectionRefused))
    #expect(reply.encode() == bytes)
    let named = SOCKS5Reply(.succeeded, HostPort(host: "relay.example", port: 1_080))
    #expect(try read(named.encode()) { bytes in try SOCKS5Reply.decode(bytes) } == named)
    #expect(SOCKS5Reply(.succeeded, HostPort(host: "a b", port: 1)).encode() == hex("05 00 00 01 00000000 0000"))
  }

  static let fours: [(String, SOCKS4Request)] = [
    (
      "04 01 0050 c0000201 4672656400",
      SOCKS4Request(.connect, HostPort(host: "192.0.2.1", port: 80), user: Array("Fred".utf8))
    ),
    ("04 02 0015 00000000 00", SOCKS4Request(.bind, HostPort(host: "0.0.0.0", port: 21))),
    (
      "04 01 01bb 00000001 75 00 6578616d706c652e636f6d 00",
      SOCKS4Request(.connect, HostPort(host: "example.com", port: 443), user: Array("u".utf8))
    ),
  ]

  @Test("SOCKS4 by address and, in 4a, by name", arguments: fours)
  func four(_ text: String, _ request: SOCKS4Request) throws {
    let bytes = hex(text)
    #expect(try read(bytes) { bytes in try SOCKS4Request.decode(bytes) } == request)
    #expect(request.encode() == bytes)
  }

  @Test func `SOCKS4 without names cannot say a name or IPv6, 4a says both as names`() throws {
    let name = SOCKS4Request(.connect, HostPort(host: "example.com", port: 1))
    #expect(name.encode(allowsName: false) == nil)
    let six = SOCKS4Request(.connect, HostPort(host: "2001:db8::1", port: 1))
    #expect(six.encode(allowsName: false) == nil)
    let bytes = try #require(six.encode())
    #expect(try read(bytes) { bytes in try SOCKS4Request.decode(bytes) } == six)
    #expect(SOCKS4Request(.connect, HostPort(host: "192.0.2.1", port: 1), user: [1, 0, 2]).encode() == nil)
  }

  @Test func `a user and a name of SOCKS4 that do not end are refused at 255 bytes`() throws {
    for prefix in [hex("04 01 0050 c0000201"), hex("04 01 0050 00000001 00")] {
      let longest = prefix + Array(repeating: 0x61, count: 255)
      for length in prefix.count...longest.count {
        let decoding = try Array(longest[..<length]).withUnsafeBytes { bytes in
          try SOCKS4Request.decode(bytes)
        }
        #expect(decoding.whole == nil)
      }
      #expect(throws: SOCKSError.endless) {
        try (longest + [0x61]).withUnsafeBytes { bytes in _ = try SOCKS4Request.decode(bytes) }
      }
      let ended = try (longest + [0, 0x61, 0]).withUnsafeBytes { bytes in
        try SOCKS4Request.decode(bytes).whole
      }
      #expect(ended?.consumed == longest.count + 1)
    }
  }

  @Test func `replies of SOCKS4`() throws {
    let bytes = hex("00 5a 0050 c0000201")
    let reply = try read(bytes) { bytes in try SOCKS4Reply.decode(bytes) }
    #expect(reply == SOCKS4Reply(.granted, Endpoint(.v4(0xC000_0201), port: 80)))
    #expect(reply.encode() == bytes)
    #expect(SOCKS4Reply(.wrongUser).encode() == hex("00 5d 0000 00000000"))
    #expect(SOCKS4Reply(.granted, Endpoint(.anyIPv6, port: 1)).encode() == hex("00 5a 0001 00000000"))
  }

  @Test func `random and mutilated bytes are judged without a trap`() {
    var random = SeededGenerator(19)
    var inputs = (0..<4_000).map { _ in
      var bytes = random.bytes(Int.random(in: 0...40, using: &random))
      if !bytes.isEmpty { bytes[0] = [4, 5, 1, 0, bytes[0]].randomElement(using: &random) ?? 0 }
      return bytes
    }
    for (text, _) in Self.requests { inputs += mutilations(hex(text)) }
    for (text, _) in Self.fours { inputs += mutilations(hex(text)) }
    var messages = 0
    for input in inputs {
      input.withUnsafeBytes { bytes in
        if let request = try? SOCKS5Request.decode(bytes).whole {
          messages += 1
          #expect(request.consumed <= input.count)
          #expect(request.message.encode() != nil)
        }
        if let request = try? SOCKS4Request.decode(bytes).whole {
          messages += 1
          #expect(request.consumed <= input.count)
          #expect(request.message.encode() != nil)
        }
        _ = try? SOCKS5Greeting.decode(bytes)
        _ = try? SOCKS5Credentials.decode(bytes)
        _ = try? SOCKS5Reply.decode(bytes)
        _ = try? SOCKS4Reply.decode(bytes)
        if let parts = SOCKS5Datagram.parts(bytes) { #expect(parts.payload.upperBound == input.count) }
      }
    }
    #expect(messages > 100)
  }
}

extension SOCKSDecoding {
  var whole: (message: Message, consumed: Int)? {
    if case .message(let message, let consumed) = self { (message, consumed) } else { nil }
  }
}
