import ICMPEnvelope
import Testing
import Values

/// The ICMP envelope against the vectors of gost.md C.0 and against everything else that arrives on a raw socket.
@Suite struct EnvelopeTests {
  static let request = hex("08 00 0750 1234 0001 | 474f5354 0000 0000 0005 | 68656c6c6f")
  static let reply = hex("00 00 0f4f 1234 0001 | 474f5354 0001 0000 0005 | 68656c6c6f")

  static func decode(
    _ bytes: [UInt8], _ direction: Envelope.Direction, _ family: AddressFamily = .ipv4
  ) -> Result<Envelope, Envelope.Rejection> {
    bytes.withUnsafeBytes { Envelope.decode($0, direction: direction, family: family) }
  }

  static func rejection(
    _ bytes: [UInt8], _ direction: Envelope.Direction = .request, _ family: AddressFamily = .ipv4
  ) -> Envelope.Rejection? {
    if case .failure(let rejection) = decode(bytes, direction, family) { return rejection }
    return nil
  }

  static func encode(
    _ payload: [UInt8], _ direction: Envelope.Direction, _ family: AddressFamily = .ipv4, identifier: UInt16 = 0x1234,
    sequence: UInt16 = 1
  ) -> [UInt8] {
    var header = [UInt8](repeating: 0xAA, count: Envelope.headerSize)
    header.withUnsafeMutableBytes { header in
      payload.withUnsafeBytes { payload in
        Envelope.encode(
          into: header, payload: payload, direction: direction, family: family, identifier: identifier,
          sequence: sequence)
      }
    }
    return header + payload
  }

  @Test func `a request and a reply are written with their checksums`() {
    #expect(Self.encode(Array("hello".utf8), .request) == Self.request)
    #expect(Self.encode(Array("hello".utf8), .reply) == Self.reply)
  }

  @Test func `over IPv6 the types are its own and the checksum is the kernel's`() {
    #expect(
      Self.encode(Array("hello".utf8), .request, .ipv6)
        == hex("80 00 0000 1234 0001 | 474f5354 0000 0000 0005 | 68656c6c6f"))
    #expect(
      Self.encode(Array("hello".utf8), .reply, .ipv6)
        == hex("81 00 0000 1234 0001 | 474f5354 0001 0000 0005 | 68656c6c6f"))
  }

  @Test func `a request and a reply are read`() throws {
    for (bytes, direction) in [(Self.request, Envelope.Direction.request), (Self.reply, .reply)] {
      let envelope = try Self.decode(bytes, direction).get()
      #expect(envelope.identifier == 0x1234)
      #expect(envelope.sequence == 1)
      #expect(envelope.payloadOffset == 18)
      #expect(envelope.payloadLength == 5)
    }
  }

  @Test func `what follows the length is ignored`() throws {
    #expect(try Self.decode(Self.request + [1, 2, 3], .request).get().payloadLength == 5)
  }

  @Test func `each kind of stranger is told apart`() {
    var bytes = Self.request
    bytes[8] = 0x48
    #expect(Self.rejection(bytes) == .noMagic)
    #expect(Self.rejection(Self.reply, .request) == .otherType)
    #expect(Self.rejection(Self.request, .request, .ipv6) == .otherType)
    var code = Self.request
    code[1] = 1
    #expect(Self.rejection(code) == .otherType)
    var flagged = Self.request
    flagged[13] = 1
    #expect(Self.rejection(flagged) == .wrongFlag)
    // The kernel's reflection: a reply without the flag.
    var reflected = Self.request
    reflected[0] = 0
    #expect(Self.rejection(reflected, .reply) == .wrongFlag)
    var nobody = Self.request
    nobody[4] = 0
    nobody[5] = 0
    #expect(Self.rejection(nobody) == .zeroIdentifier)
    // An ordinary ping of 56 bytes.
    #expect(Self.rejection([8, 0, 0, 0, 0, 1, 0, 1] + [UInt8](repeating: 0x20, count: 56)) == .noMagic)
  }

  @Test func `a message cut short anywhere is refused`() {
    for length in 0..<Self.request.count {
      #expect(Self.rejection(Array(Self.request[..<length])) == .truncated, "\(length) bytes")
    }
    // What ends GOST's listener: an ICMPv6 echo request of four bytes.
    #expect(Self.rejection(hex("80 00 0000"), .request, .ipv6) == .truncated)
    #expect(Self.rejection([], .reply) == .truncated)
  }

  @Test func `mutilated messages never reach outside their bytes`() {
    for bytes in mutilations(Self.request) + mutilations(Self.reply) {
      for direction in [Envelope.Direction.request, .reply] {
        guard case .success(let envelope) = Self.decode(bytes, direction) else { continue }
        #expect(envelope.payloadOffset + envelope.payloadLength <= bytes.count)
        #expect(envelope.identifier != 0)
      }
    }
  }

  @Test func `random payloads come back, with a checksum that adds up`() throws {
    for seed in 1...300 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed)
      let payload = random.bytes(Int.random(in: 0...1_500, using: &random))
      let family: AddressFamily = random.chance(2) ? .ipv4 : .ipv6
      let direction: Envelope.Direction = random.chance(2) ? .request : .reply
      let identifier = UInt16.random(in: 1...65_535, using: &random)
      let sequence = UInt16.random(in: 0...65_535, using: &random)
      let bytes = Self.encode(payload, direction, family, identifier: identifier, sequence: sequence)
      let envelope = try Self.decode(bytes, direction, family).get()
      #expect(envelope.identifier == identifier && envelope.sequence == sequence)
      #expect(Array(bytes[envelope.payloadOffset...]) == payload)
      guard family == .ipv4 else { continue }
      // RFC 1071, section 1: a message with its checksum in place sums to all ones.
      var words = stride(from: 0, to: bytes.count, by: 2).reduce(0) {
        $0 + Int(bytes[$1]) << 8 + ($1 + 1 < bytes.count ? Int(bytes[$1 + 1]) : 0)
      }
      while words > 0xFFFF { words = words >> 16 + words & 0xFFFF }
      #expect(words == 0xFFFF, "seed \(seed)")
    }
  }

  @Test func `the longest payload fits the length field`() throws {
    let bytes = Self.encode([UInt8](repeating: 1, count: 65_535), .request)
    #expect(try Self.decode(bytes, .request).get().payloadLength == 65_535)
  }
}
