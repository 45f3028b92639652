import ProxyProtocol
import Testing
import Values

/// PROXY headers: the examples of HAProxy's specification, what HAProxy-speaking programs send, every split, and what is
/// no header.
@Suite struct ProxyProtocolTests {
  private static let signature = hex("0d0a0d0a000d0a515549540a")

  /// Reads a header with bytes of the client behind it, in every prefix and every split.
  private func read(_ header: [UInt8]) throws -> ProxyHeader {
    let stream = header + Array("GET / HTTP/1.1\r\n".utf8)
    for length in 0..<header.count {
      guard case .needs(let count) = try decode(Array(stream[..<length])) else {
        Issue.record("a header of \(header.count) bytes is read from \(length)")
        continue
      }
      #expect(count > 0 && length + count <= header.count, "at \(length) it asks for \(count)")
    }
    var found: ProxyHeader?
    for length in header.count...stream.count {
      guard case .header(let read, let consumed) = try decode(Array(stream[..<length])) else {
        Issue.record("\(length) bytes are not enough")
        continue
      }
      #expect(consumed == header.count)
      #expect(found == nil || found == read)
      found = read
    }
    return try #require(found)
  }

  private func decode(_ bytes: [UInt8]) throws(ProxyProtocolError) -> ProxyDecoding {
    // In memory of exactly its size.
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    return try ProxyHeader.decode(UnsafeRawBufferPointer(copy))
  }

  private func endpoint(_ text: String) throws -> Endpoint { try #require(Endpoint(text)) }

  @Test(
    "The lines of the specification",
    arguments: [
      ("TCP4 255.255.255.255 255.255.255.255 65535 65535", "255.255.255.255:65535", "255.255.255.255:65535"),
      ("TCP4 192.168.0.1 192.168.0.11 56324 443", "192.168.0.1:56324", "192.168.0.11:443"),
      (
        "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
      ),
      ("TCP6 2001:db8::1 ::1 1 0", "[2001:db8::1]:1", "[::1]:0"),
    ])
  func lines(_ words: String, _ source: String, _ destination: String) throws {
    let bytes = Array("PROXY \(words)\r\n".utf8)
    let header = try read(bytes)
    #expect(
      header
        == ProxyHeader(
          version: .one,
          origin: .client(transport: .stream, source: try endpoint(source), destination: try endpoint(destination))))
    #expect(header.client == (try endpoint(source)))
    #expect(header.encode() == bytes)
  }

  @Test func `a client that is not known`() throws {
    let longest =
      "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
    #expect(longest.utf8.count == 107)
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN 1 2 3\r\n", longest] {
      let header = try read(Array(line.utf8))
      #expect(header == ProxyHeader(version: .one, origin: .unknown))
      #expect(header.client == nil)
    }
    #expect(ProxyHeader(version: .one, origin: .unknown).encode() == Array("PROXY UNKNOWN\r\n".utf8))
    #expect(ProxyHeader(version: .one, source: nil, destination: nil).encode() == Array("PROXY UNKNOWN\r\n".utf8))
  }

  @Test func `binary headers of both families, for streams and datagrams`() throws {
    let ipv4 = hex("c0000201 c6336402 dc04 01bb")
    let ipv6 = hex("20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb")
    for (family, block, source, destination) in [
      (UInt8(0x10), ipv4, "192.0.2.1:56324", "198.51.100.2:443"),
      (0x20, ipv6, "[2001:db8::1]:56324", "[2001:db8::2]:443"),
    ] {
      for (low, transport) in [(UInt8(1), ProxyHeader.Transport.stream), (2, .datagram)] {
        let bytes = Self.signature + [0x21, family | low, 0, UInt8(block.count)] + block
        let header = try read(bytes)
        #expect(
          header
            == ProxyHeader(
              version: .two, source: try endpoint(source), destination: try endpoint(destination),
              transport: transport))
        #expect(header.encode() == bytes)
        // The same with extensions: an ALPN and one of no type that we know.
        let more = hex("01 0002 6832 | ee 0000")
        let extended = Self.signature + [0x21, family | low, 0, UInt8(block.count + more.count)] + block + more
        #expect(try read(extended) == header)
      }
    }
  }

  @Test func `binary headers that name no client`() throws {
    // A health check, empty and with an address block that means nothing.
    #expect(try read(Self.signature + hex("20 00 0000")) == ProxyHeader(version: .two, origin: .local))
    #expect(try read(Self.signature + hex("20 11 0003 010203")) == ProxyHeader(version: .two, origin: .local))
    for bytes in [
      hex("21 00 0000"), hex("21 00 0002 0102"), hex("21 10 0000"), hex("21 01 0000"),
      hex("21 31 00d8") + [UInt8](repeating: 0x2F, count: 216), hex("21 32 00d8") + [UInt8](repeating: 0, count: 216),
    ] {
      #expect(try read(Self.signature + bytes) == ProxyHeader(version: .two, origin: .unknown))
    }
    #expect(ProxyHeader(version: .two, origin: .local).encode() == Self.signature + hex("20 00 0000"))
    #expect(ProxyHeader(version: .two, origin: .unknown).encode() == Self.signature + hex("21 00 0000"))
  }

  @Test(
    "What is no header says why",
    arguments: [
      (Array("GET / HTTP/1.1\r\n".utf8), .noHeader), (Array("POST / HTTP/1.1\r\n".utf8), .noHeader),
      (hex("160301"), .noHeader), (hex("0d0a0d0a000d0a515549540d"), .noHeader), (hex("0d0a0d0b"), .noHeader),
      (Array("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n".utf8), .malformedLine("neither TCP4, TCP6 nor UNKNOWN")),
      (Array("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n".utf8), .malformedLine("neither TCP4, TCP6 nor UNKNOWN")),
      (Array("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".utf8), .malformedLine("not two addresses and two ports")),
      (Array("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n".utf8), .malformedLine("not two addresses and two ports")),
      (Array("PROXY TCP4 ::1 1.2.3.4 1 1\r\n".utf8), .malformedLine("an address that is no IPv4 address")),
      (Array("PROXY TCP4 1.2.3.4 1.2.3.400 1 1\r\n".utf8), .malformedLine("an address that is no IPv4 address")),
      (Array("PROXY TCP6 ::1 1.2.3.4 1 1\r\n".utf8), .malformedLine("an address that is no IPv6 address")),
      (Array("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".utf8), .malformedLine("a port that is none")),
      (Array("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n".utf8), .malformedLine("a port that is none")),
      (Array("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n".utf8), .malformedLine("a port that is none")),
      (Array("PROXY UNKNOWN\n".utf8), .malformedLine("it does not end with CR LF")),
      (Array("PROXY UNKNOWN\u{7}\r\n".utf8), .malformedLine("a byte that is no text")),
      (Array("PROXY UNKNOWN ".utf8) + [UInt8](repeating: 0x41, count: 93), .longLine),
      (Array("PROXY UNKNOWN ".utf8) + [UInt8](repeating: 0x41, count: 500), .longLine),
      (Array("PROXY UNKNOWN ".utf8) + [UInt8](repeating: 0x41, count: 92) + [10], .longLine),
      (signature + hex("11 11 000c"), .unknownVersion(1)), (signature + hex("22 11 000c"), .unknownCommand(2)),
      (signature + hex("21 11 0ff1"), .tooLong(4097)), (signature + hex("21 11 ffff"), .tooLong(65_551)),
      (signature + hex("21 11 000b 0102030405060708090a0b"), .shortAddresses(needed: 12, given: 11)),
      (signature + hex("21 21 000c 0102030405060708090a0b0c"), .shortAddresses(needed: 36, given: 12)),
      (signature + hex("21 13 0000"), .unknownFamily(0x13)), (signature + hex("21 41 0000"), .unknownFamily(0x41)),
      (signature + hex("21 11 000e 0102030405060708090a0b0c 0100"), .malformedExtension),
      (signature + hex("21 11 000f 0102030405060708090a0b0c 010001"), .malformedExtension),
    ] as [([UInt8], ProxyProtocolError)])
  func refused(_ bytes: [UInt8], _ error: ProxyProtocolError) {
    #expect(!error.description.isEmpty)
    #expect(throws: error) { try decode(bytes) }
    // More bytes make it no better, and a beginning of it is never taken.
    #expect(throws: ProxyProtocolError.self) { try decode(bytes + [0x41, 0x42]) }
    for length in bytes.indices {
      if case .header? = try? decode(Array(bytes[..<length])) { Issue.record("taken after \(length) bytes") }
    }
  }

  @Test func `the longest header is read, and asked for whole`() throws {
    let size = ProxyHeader.maximumSize - 16
    let value = size - 12 - 3
    let block = hex("01020304 05060708 0001 0002") + [0xE0, UInt8(value >> 8), UInt8(value & 0xFF)]
    let bytes = Self.signature + [0x21, 0x11, UInt8(size >> 8), UInt8(size & 0xFF)] + block
    #expect(try decode(bytes) == .needs(value))
    let whole = bytes + [UInt8](repeating: 9, count: value)
    guard case .header(let header, let consumed) = try decode(whole) else {
      Issue.record("not read")
      return
    }
    #expect(consumed == ProxyHeader.maximumSize)
    #expect(header.client == (try endpoint("1.2.3.4:1")))
  }

  @Test func `addresses of two families are written in one`() throws {
    let (ipv4, ipv6) = (try endpoint("192.0.2.1:7"), try endpoint("[2001:db8::2]:8"))
    let mapped = Endpoint(.v6(ipv4.address.mapped), port: 7)
    for version in [ProxyHeader.Version.one, .two] {
      let mixed = try read(ProxyHeader(version: version, source: ipv4, destination: ipv6).encode())
      #expect(mixed.client == mapped)
      // What a socket of both families shows mapped is IPv4.
      let plain = try read(ProxyHeader(version: version, source: mapped, destination: ipv4).encode())
      #expect(plain.client == ipv4)
    }
    #expect(
      ProxyHeader(version: .one, source: ipv4, destination: ipv6).encode()
        == Array("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 7 8\r\n".utf8))
    #expect(
      ProxyHeader(version: .one, source: ipv4, destination: ipv4, transport: .datagram).encode()
        == Array("PROXY UNKNOWN\r\n".utf8))
  }

  @Test func `no mutilation of a header traps`() throws {
    var refused = 0
    let source = try endpoint("[2001:db8::1]:56324")
    for version in [ProxyHeader.Version.one, .two] {
      let bytes = ProxyHeader(version: version, source: source, destination: source).encode()
      for other in mutilations(bytes + hex("03 0004 01020304")) {
        do {
          if case .header(_, let consumed) = try decode(other) { #expect(consumed <= other.count) }
        } catch { refused += 1 }
      }
    }
    #expect(refused > 200)
  }
}
