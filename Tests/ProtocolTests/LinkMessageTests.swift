import CulvertLink
import Testing
import Values

/// The link between two Culverts: messages come back whole, and a hostile peer costs nothing.
@Suite struct LinkMessageTests {
  static let messages: [LinkMessage] = [
    .hello(version: 1, name: "gate"),
    .hello(version: 255, name: ""),
    .leg(
      stream: 4,
      LegReport(
        target: "192.0.2.1:8421", local: Endpoint("10.0.0.1:40000"), remote: Endpoint("[2001:db8::1]:8421"),
        transport: ["udp"])),
    .leg(stream: UInt64.max, LegReport(target: "", local: nil, remote: nil, transport: [])),
    .leg(
      stream: 0,
      LegReport(
        target: "näher.example", local: nil, remote: Endpoint("1.2.3.4:1"),
        transport: ["a", "b", "c", "d", "e", "f", "g", "h"])),
    .notice(stream: 8, text: "the address 10.90.57.1 is this server's own"),
  ]

  static func decode(_ bytes: [UInt8]) throws -> (messages: [LinkMessage], consumed: Int) {
    let result = try bytes.withUnsafeBytes { try LinkMessage.decode($0) }
    return (result.0, result.consumed)
  }

  @Test func `messages have their documented form`() {
    #expect(LinkMessage.hello(version: 1, name: "gate").encode() == hex("0008 01 01 0004 67617465"))
    #expect(LinkMessage.notice(stream: 8, text: "no").encode() == hex("000d 03 0000000000000008 0002 6e6f"))
    #expect(
      LinkMessage.leg(
        stream: 4, LegReport(target: "t", local: Endpoint("10.0.0.1:1"), remote: nil, transport: ["udp"])
      ).encode() == hex("001a 02 0000000000000004 0001 74 04 0a000001 0001 00 01 0003 756470"))
  }

  @Test func `messages come back in every split`() throws {
    let stream = Self.messages.flatMap { $0.encode() }
    for pieces in splits(stream) {
      var pending: [UInt8] = []
      var read: [LinkMessage] = []
      for piece in pieces {
        pending += piece
        let (messages, consumed) = try Self.decode(pending)
        read += messages
        pending.removeFirst(consumed)
      }
      #expect(read == Self.messages)
      #expect(pending == [])
    }
  }

  @Test func `types of a later version are skipped`() throws {
    let stream = hex("0003 63 0102") + hex("0000") + LinkMessage.hello(version: 1, name: "x").encode()
    let result = try Self.decode(stream)
    #expect(result.messages == [.hello(version: 1, name: "x")])
    #expect(result.consumed == stream.count)
  }

  @Test func `fields of a later version behind the known ones are skipped`() throws {
    #expect(try Self.decode(hex("000a 01 01 0004 67617465 ffff")).messages == [.hello(version: 1, name: "gate")])
  }

  @Test func `a length beyond the limit is an error at once`() {
    #expect(throws: LinkError.tooLong(4_097)) { try Self.decode(hex("1001")) }
    #expect(throws: LinkError.tooLong(65_535)) { try Self.decode(hex("ffff 01")) }
    #expect(throws: Never.self) { try Self.decode(hex("1000 01")) }
  }

  @Test(arguments: [
    "01", "01 01", "01 01 00", "01 01 0001", "01 01 0002 ff", "01 01 0002 fffe", "03 00000000",
    "03 0000000000000000", "03 0000000000000000 0002 6e", "02 0102030405", "02 0000000000000000 0000 05",
    "02 0000000000000000 0000 04 0102", "02 0000000000000000 0000 00 06 20010db8",
    "02 0000000000000000 0000 00 00", "02 0000000000000000 0000 00 00 09", "02 0000000000000000 0000 00 00 01",
  ])
  func `a message that does not have its form names its type`(text: String) {
    let body = hex(text)
    #expect(throws: LinkError.malformed(type: body[0])) { try Self.decode([0, UInt8(body.count)] + body) }
  }

  @Test func `a string longer than its bound is an error, however many bytes are there`() {
    let body = hex("01 01 0401") + [UInt8](repeating: 0x61, count: 1_025)
    #expect(throws: LinkError.malformed(type: 1)) {
      try Self.decode([UInt8(body.count >> 8), UInt8(body.count & 0xFF)] + body)
    }
  }

  @Test func `whatever a user's texts are, the peer can read the message`() throws {
    // Long, and with a character of several bytes on every possible cut.
    for padding in 0..<4 {
      let text = String(repeating: "x", count: padding) + String(repeating: "漢🙂é", count: 800)
      let endpoint = Endpoint("[2001:db8::1]:1")
      for message: LinkMessage in [
        .notice(stream: 1, text: text), .hello(version: 1, name: text),
        .leg(
          stream: 1,
          LegReport(
            target: text, local: endpoint, remote: endpoint, transport: Array(repeating: text, count: 20))),
      ] {
        let bytes = message.encode()
        let result = try Self.decode(bytes)
        #expect(result.messages.count == 1)
        #expect(result.consumed == bytes.count)
      }
    }
  }

  @Test func `mutilated messages never trap`() {
    var read = 0
    for message in Self.messages {
      for bytes in mutilations(message.encode()) {
        guard let result = try? Self.decode(bytes) else { continue }
        #expect(result.consumed <= bytes.count)
        #expect(result.messages.count <= bytes.count / 2)
        read += result.messages.count
      }
    }
    #expect(read > 100)
  }

  @Test func `a reported leg has the sender's word as its evidence`() throws {
    let report = LegReport(
      target: "192.0.2.1:8421", local: nil, remote: Endpoint("192.0.2.1:8421"), transport: ["udp", "magic", "tcp"])
    let at = Instant(nanoseconds: 5)
    let leg = report.leg(from: .hop("node"), reportedBy: "gate", at: at)
    #expect(leg.local == nil)
    #expect(leg.remote?.evidence == .reported(by: "gate"))
    #expect(leg.remote?.at == at)
    #expect(leg.evidence == .reported(by: "gate"))
    #expect(leg.to == .target("192.0.2.1:8421"))
    #expect(leg.transport == [.udp, .tcp])
    #expect(leg.family == .ipv4)
  }
}
