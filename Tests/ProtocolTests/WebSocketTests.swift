import Testing
import Values

@testable import WebSocket

/// Frames: the examples of RFC 6455, every split, what a peer may not do, and a mask that agrees with the slow one.
@Suite struct WebSocketTests {
  private static let hello = Array("Hello".utf8)

  /// Section 5.7's frames with the role that reads them.
  @Test(
    "The examples of RFC 6455 are read",
    arguments: [
      ("81 05 48 65 6c 6c 6f", WebSocketReceiver.Role.client),
      ("81 85 37 fa 21 3d 7f 9f 4d 51 58", .server),
      ("01 03 48 65 6c 80 02 6c 6f", .client),
      ("82 05 48 65 6c 6c 6f", .client),
    ])
  func examples(_ text: String, _ role: WebSocketReceiver.Role) throws {
    for way in splits(hex(text)) {
      var reader = WebSocketReader(role)
      for piece in way { try reader.read(piece) }
      #expect(reader.payload == Self.hello)
      #expect(reader.isAtBoundary)
    }
  }

  @Test func `the examples of RFC 6455 are written`() {
    #expect(webSocketFrame(.text, Self.hello) == hex("81 05 48 65 6c 6c 6f"))
    #expect(webSocketFrame(.text, Self.hello, mask: 0x3D21_FA37) == hex("81 85 37 fa 21 3d 7f 9f 4d 51 58"))
    #expect(webSocketFrame(.ping, Self.hello) == hex("89 05 48 65 6c 6c 6f"))
    #expect(webSocketFrame(.pong, Self.hello, mask: 0x3D21_FA37) == hex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"))
    let payload = [UInt8](repeating: 7, count: 65_536)
    #expect(webSocketFrame(.binary, Array(payload.prefix(256))) == hex("82 7e 01 00") + payload.prefix(256))
    #expect(webSocketFrame(.binary, payload) == hex("82 7f 00 00 00 00 00 01 00 00") + payload)
    #expect(webSocketFrame(.binary, Array(payload.prefix(125))) == hex("82 7d") + payload.prefix(125))
    #expect(webSocketFrame(.binary, Array(payload.prefix(126))) == hex("82 7e 00 7e") + payload.prefix(126))
    #expect(webSocketFrame(.binary, Array(payload.prefix(65_535))) == hex("82 7e ff ff") + payload.prefix(65_535))
    #expect(webSocketFrame(.binary, []) == hex("82 00"))
  }

  @Test func `the two long examples are read in every split`() throws {
    var random = SeededGenerator(3)
    for size in [256, 65_536] {
      let payload = random.bytes(size)
      for mask in [nil, UInt32(0x8040_2010)] {
        let bytes = webSocketFrame(.binary, payload, mask: mask)
        for way in splits(bytes, seeds: 1...3) {
          var reader = WebSocketReader(mask == nil ? .client : .server)
          for piece in way { try reader.read(piece) }
          #expect(reader.payload == payload)
        }
      }
    }
  }

  @Test func `a control frame stands between the fragments of a message and is taken out`() throws {
    // A fragmented message, a ping and a pong inside, an empty fragment, another message, and an end.
    let bytes =
      hex("01 03 48 65 6c | 89 02 68 69 | 00 00 | 8a 03 01 02 03 | 80 02 6c 6f | 82 00 | 82 01 21 | 89 00 ")
      + hex("88 06 03 e8 64 6f 6e 65 | 82 03 00 00 00")
    for way in splits(bytes) {
      var reader = WebSocketReader(.client)
      for piece in way { try reader.read(piece) }
      #expect(reader.payload == Self.hello + [0x21])
      // At once, only the last ping is answered.
      #expect(reader.pings == (way.count == 1 ? [[]] : reader.pings))
      #expect(reader.pings.last == [])
      #expect(reader.close == WebSocketReceiver.Close(code: .normal, reason: Array("done".utf8)))
    }
    var slow = WebSocketReader(.client)
    for byte in bytes { try slow.read([byte]) }
    #expect(slow.pings == [Array("hi".utf8), []])
  }

  @Test func `what we write is what the other end reads, whatever the sizes, keys and splits`() throws {
    for seed in 1...60 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed)
      let isClient = random.chance(2)
      var bytes: [UInt8] = []
      var expected: [UInt8] = []
      for _ in 0..<Int.random(in: 1...12, using: &random) {
        let payload = random.bytes(Int.random(in: 0...(random.chance(6) ? 70_000 : 300), using: &random))
        let mask = isClient ? UInt32.random(in: 0 ... .max, using: &random) : nil
        if random.chance(4) {
          bytes += webSocketFrame(.ping, Array(payload.prefix(125)), mask: mask)
        } else {
          bytes += webSocketFrame(.binary, payload, mask: mask)
          expected += payload
        }
      }
      for way in splits(bytes, seeds: seed...(seed + 2)) where way.count == 1 || way.count < 3_000 {
        var reader = WebSocketReader(isClient ? .server : .client)
        for piece in way { try reader.read(piece) }
        #expect(reader.payload == expected, "seed \(seed)")
        #expect(reader.isAtBoundary)
      }
    }
  }

  @Test(
    "What a peer may not do",
    arguments: [
      ("c2 00", .client, .reservedBits(4)), ("a2 00", .client, .reservedBits(2)), ("92 00", .client, .reservedBits(1)),
      ("83 00", .client, .unknownOpcode(3)), ("8f 00", .client, .unknownOpcode(15)),
      ("82 80 00 00 00 00", .client, .masked), ("82 00", .server, .notMasked), ("89 01 00", .server, .notMasked),
      ("09 00", .client, .fragmentedControl(.ping)), ("08 00", .client, .fragmentedControl(.close)),
      ("89 7e 00 7e", .client, .longControl(.ping)), ("88 7f", .client, .longControl(.close)),
      ("80 00", .client, .nothingToContinue), ("82 01 00 00 00", .client, .nothingToContinue),
      ("02 01 00 82 01 00", .client, .messageInMessage), ("01 00 01 00", .client, .messageInMessage),
      ("82 7f 00 00 00 01 00 00 00 01", .client, .frameTooLong(1 << 32 + 1)),
      ("82 7f ff ff ff ff ff ff ff ff", .client, .frameTooLong(.max)),
      ("82 ff 80 00 00 00 00 00 00 00 01 02 03 04", .server, .frameTooLong(1 << 63)),
      ("88 01 03", .client, .badClose(nil)), ("88 02 00 00", .client, .badClose(.init(rawValue: 0))),
      ("88 02 03 ed", .client, .badClose(.init(rawValue: 1005))),
      ("88 02 03 e7", .client, .badClose(.init(rawValue: 999))),
      ("88 02 0b b7", .client, .badClose(.init(rawValue: 2999))),
    ] as [(String, WebSocketReceiver.Role, WebSocketError)])
  func violations(_ text: String, _ role: WebSocketReceiver.Role, _ error: WebSocketError) {
    #expect(error.isViolation)
    let before = webSocketFrame(.binary, [1, 2, 3], mask: role == .server ? 1 : nil)
    for bytes in [hex(text), before + hex(text), hex(text) + before] {
      #expect(webSocketError(bytes, role) == error)
      var reader = WebSocketReader(role)
      #expect(throws: error) { for byte in bytes { try reader.read([byte]) } }
    }
  }

  @Test func `what is liberal: close codes in use, an empty close, lengths in more bytes than they need`() throws {
    for code in [1000, 1001, 1002, 1003, 1007, 1014, 3000, 4999] as [UInt16] {
      let bytes: [UInt8] = [0x88, 2, UInt8(code >> 8), UInt8(code & 0xFF)]
      #expect(try webSocketReading(bytes, .client).get().close?.code?.rawValue == code)
    }
    #expect(try webSocketReading(hex("88 00"), .client).get().close == .init(code: nil, reason: []))
    #expect(try webSocketReading(hex("82 7e 00 01 09"), .client).get().payload == [9])
    #expect(try webSocketReading(hex("82 7f 00 00 00 00 00 00 00 01 09"), .client).get().payload == [9])
    // The longest that is believed, of which little comes.
    let long = try webSocketReading(hex("82 7f 00 00 00 01 00 00 00 00 09"), .client).get()
    #expect(long.payload == [9])
    #expect(!long.isAtBoundary)
  }

  @Test func `an end is one between messages, or it is not`() throws {
    let bytes = hex("02 01 09 | 89 01 00 | 80 01 0a")
    let whole = try webSocketReading(bytes, .client).get()
    #expect(whole.isAtBoundary)
    for length in 1..<bytes.count {
      #expect(try !webSocketReading(Array(bytes[..<length]), .client).get().isAtBoundary, "\(length)")
    }
  }

  @Test func `the mask agrees with the slow one, in place, copied, and moved forwards, at any address`() {
    var random = SeededGenerator(11)
    for count in Array(0...200) + [1_000, 4_095, 65_537] {
      let key = UInt32.random(in: 0 ... .max, using: &random)
      let plain = random.bytes(count)
      let expected = plain.enumerated().map { $1 ^ UInt8(truncatingIfNeeded: key >> (8 * UInt32($0 % 4))) }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count + 300, alignment: 64)
      defer { memory.deallocate() }
      guard let base = memory.baseAddress else { return }
      for gap in [0, 1, 2, 3, 4, 7, 14, 63, 64, 100] {
        let from = gap + Int.random(in: 0...40, using: &random)
        memory.initializeMemory(as: UInt8.self, repeating: 0xEE)
        UnsafeMutableRawBufferPointer(rebasing: memory[from...]).copyBytes(from: plain)
        WebSocketMask(key: key).copy(base + from, to: base + (from - gap), count: count)
        #expect(Array(memory[(from - gap)..<(from - gap + count)]) == expected)
        #expect(memory[(from + count)...].allSatisfy { $0 == 0xEE }, "bytes behind the end are touched")
        #expect(memory[..<(from - gap)].allSatisfy { $0 == 0xEE })
      }
    }
  }

  @Test func `a frame that does not fit is not written`() {
    var space = [UInt8](repeating: 0xA5, count: 20)
    for room in 0..<11 {
      let count = space.withUnsafeMutableBytes { space in
        Self.hello.withUnsafeBytes {
          WebSocketFrame.write(
            .binary, $0, mask: 1, into: UnsafeMutableRawBufferPointer(rebasing: space[..<room]))
        }
      }
      #expect(count == 0)
    }
    #expect(space.allSatisfy { $0 == 0xA5 })
    #expect(webSocketFrame(.ping, [UInt8](repeating: 0, count: 126)) == [])
    #expect(webSocketFrame(.ping, [UInt8](repeating: 0, count: 125)).count == 127)
    let close = space.withUnsafeMutableBytes { WebSocketFrame.writeClose(.protocolError, mask: nil, into: $0) }
    #expect(Array(space[..<close]) == hex("88 02 03 ea"))
  }

  @Test func `no mutilation of a conversation traps, and none is read beyond its bytes`() {
    let conversation =
      webSocketFrame(.binary, Array(0..<140), mask: 0x1234_5678) + webSocketFrame(.ping, [1, 2], mask: 5)
      + webSocketFrame(.text, [9, 9, 9], mask: 6) + webSocketFrame(.close, hex("03e8 6f6b"), mask: 7)
    var violations = 0
    for bytes in mutilations(conversation) {
      switch webSocketReading(bytes, .server) {
      case .success(let reader): #expect(reader.payload.count <= bytes.count)
      case .failure(let error):
        violations += 1
        #expect(error.isViolation && !error.description.isEmpty)
      }
    }
    #expect(violations > 100)
  }
}
