import Testing
import TunProtocol
import Values

/// The TUN handshake against the vectors of gost.md C.0.
@Suite struct TunHandshakeTests {
  static let announcement = hex(
    "474f5354 | 70617373 000000000000000000000000 | 00000000000000000000ffffc0a87b02")
  static let answer = hex("474f5354 | 00000000000000000000ffffcb007105")

  static func classify(_ bytes: [UInt8]) -> TunHandshake.Kind { bytes.withUnsafeBytes(TunHandshake.classify) }

  @Test func `an announcement is written and read`() throws {
    let address = try #require(IPAddress("192.168.123.2"))
    let value = TunHandshake.Announcement(passphrase: Array("pass".utf8), addresses: [address])
    #expect(TunHandshake.encode(value) == Self.announcement)
    #expect(Self.classify(Self.announcement) == .announcement(value))
  }

  @Test func `an answer is written and read`() throws {
    let address = try #require(IPAddress("203.0.113.5"))
    #expect(TunHandshake.encodeAnswer(observed: address) == Self.answer)
    #expect(Self.classify(Self.answer) == .answer(observed: address))
    let long = try #require(IPAddress("2001:db8::5"))
    #expect(Self.classify(TunHandshake.encodeAnswer(observed: long)) == .answer(observed: long))
  }

  @Test func `a long passphrase is cut, a full one has no padding, and none is all zero`() throws {
    let addresses = try [#require(IPAddress("10.0.0.1"))]
    let full = Array("0123456789abcdef".utf8)
    let cut = TunHandshake.encode(.init(passphrase: full + [1, 2, 3], addresses: addresses))
    #expect(cut == TunHandshake.encode(.init(passphrase: full, addresses: addresses)))
    #expect(Self.classify(cut) == .announcement(.init(passphrase: full, addresses: addresses)))
    let none = TunHandshake.encode(.init(passphrase: [], addresses: addresses))
    #expect(Array(none[4..<20]) == [UInt8](repeating: 0, count: 16))
    #expect(Self.classify(none) == .announcement(.init(passphrase: [], addresses: addresses)))
  }

  @Test func `the list of addresses has bounds`() {
    let address = IPAddress.v4(0x0A00_0001)
    for count in [1, 2, 64] {
      let value = TunHandshake.Announcement(passphrase: [1], addresses: Array(repeating: address, count: count))
      #expect(Self.classify(TunHandshake.encode(value)) == .announcement(value))
    }
    let many = TunHandshake.Announcement(passphrase: [1], addresses: Array(repeating: address, count: 65))
    #expect(Self.classify(TunHandshake.encode(many)) == .malformed)
  }

  @Test func `packets are packets, also those that begin like a handshake and end too early`() {
    #expect(Self.classify([]) == .packet)
    #expect(Self.classify(hex("474f5354")) == .packet)
    #expect(Self.classify(Array(Self.answer.dropLast())) == .packet)
    #expect(Self.classify(hex("45000014 00000000 4001 0000 0a000001 0a000002")) == .packet)
    for length in 21..<36 { #expect(Self.classify(Array(Self.announcement[..<length])) == .malformed) }
    #expect(Self.classify(Self.announcement + [0]) == .malformed)
  }

  @Test func `mutilated handshakes never trap and stay bounded`() {
    for bytes in mutilations(Self.announcement) + mutilations(Self.answer) {
      switch Self.classify(bytes) {
      case .announcement(let value):
        #expect(value.addresses.count == (bytes.count - 20) / 16)
        #expect(TunHandshake.encode(value) == bytes)
      case .answer(let observed):
        #expect(TunHandshake.encodeAnswer(observed: observed) == bytes)
      case .packet, .malformed: break
      }
    }
  }

  @Test func `random announcements survive writing and reading`() {
    for seed in 1...300 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed)
      var passphrase = random.bytes(Int.random(in: 0...16, using: &random))
      while passphrase.last == 0 { passphrase.removeLast() }
      let addresses = (0..<Int.random(in: 1...64, using: &random)).map { _ -> IPAddress in
        random.chance(2)
          ? .v4(UInt32.random(in: 0...UInt32.max, using: &random))
          : .v6(UInt128.random(in: 1 << 64...UInt128.max, using: &random))
      }
      let value = TunHandshake.Announcement(passphrase: passphrase, addresses: addresses)
      #expect(Self.classify(TunHandshake.encode(value)) == .announcement(value), "seed \(seed)")
    }
  }
}
