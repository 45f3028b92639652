import STUN
import Testing
import Values

@Suite("STUN messages")
struct STUNCodecTests {
  private static let transaction = TransactionID(high: 1, low: 2)
  private static let key = STUNKey(Array("key".utf8), .sha1)

  @Test("Methods and classes come back from the bits that they lie in")
  func types() throws {
    for method in [0x001, 0x003, 0x00C, 0x07F, 0x080, 0xABC, 0xFFF] as [UInt16] {
      for kind in [STUNClass.request, .indication, .success, .failure] {
        let written = STUNWriter(kind, STUNMethod(rawValue: method), Self.transaction).bytes
        try written.withUnsafeBytes { bytes in
          let message = try #require(STUNMessage(bytes))
          #expect(message.kind == kind && message.method.rawValue == method)
        }
      }
    }
    #expect(STUNWriter(.failure, .allocate, Self.transaction).bytes.prefix(2).elementsEqual([0x01, 0x13]))
  }

  @Test("Every attribute comes back as it was written")
  func attributes() throws {
    var writer = STUNWriter(.success, .allocate, Self.transaction)
    let (v4, v6) = (Endpoint(.v4(0x0102_0304), port: 5), Endpoint(.v6(0x2001_0DB8 << 96 | 7), port: 65_535))
    writer.add(.xorRelayedAddress, xor: v4)
    writer.add(.xorRelayedAddress, xor: v6)
    writer.add(.mappedAddress, plain: v6)
    writer.add(.lifetime, UInt32(600))
    writer.add(channel: 0x4ABC)
    writer.add(.requestedAddressFamily, byte: 2)
    writer.add(.reservationToken, UInt64(0x0102_0304_0506_0708))
    writer.add(.data, [1, 2, 3, 4, 5])
    writer.add(.dontFragment)
    writer.add(STUNErrorCode(437, "Allocation Mismatch"))
    writer.add(.familyNotSupported, for: .ipv6)
    writer.add(unknown: [.padding, STUNAttribute(rawValue: 0x7FFF), .priority])
    writer.add(integrity: Self.key)
    writer.addFingerprint()
    try writer.bytes.withUnsafeBytes { bytes in
      let message = try #require(STUNMessage(bytes))
      #expect(message.xorAddresses(.xorRelayedAddress, limit: 4) == [v4, v6])
      #expect(message.xorAddresses(.xorRelayedAddress, limit: 1) == [v4])
      #expect(message.address(.mappedAddress) == v6 && message.number(.lifetime) == 600)
      #expect(message.channelNumber == 0x4ABC && message.byte(.requestedAddressFamily) == 2)
      #expect(message.longNumber(.reservationToken) == 0x0102_0304_0506_0708)
      #expect(message.bytes(.data) == [1, 2, 3, 4, 5] && message.bytes(.dontFragment) == [])
      #expect(message.error() == .allocationMismatch)
      #expect(message.error(.addressErrorCode) == .familyNotSupported && message[.addressErrorCode]?.first == 2)
      #expect(message.listedUnknown == [.padding, STUNAttribute(rawValue: 0x7FFF), .priority])
      #expect(message.isAuthentic(Self.key) && message.isFingerprintRight == true)
      #expect(message.unknownAttributes(besides: [.data]).first == .xorRelayedAddress)
    }
  }

  @Test("What stands behind the integrity is ignored, whatever it is and however well it is made up")
  func afterIntegrity() throws {
    for type in (0...0x30).map({ UInt16($0) }) + (0x8000...0x8030).map({ UInt16($0) }) {
      let attribute = STUNAttribute(rawValue: type)
      if [.messageIntegritySHA256, .fingerprint].contains(attribute) { continue }
      var writer = STUNWriter(.request, .refresh, Self.transaction)
      writer.add(.username, "user")
      writer.add(integrity: Self.key)
      writer.add(attribute, UInt32(3_600))
      writer.addFingerprint()
      try writer.bytes.withUnsafeBytes { bytes in
        let message = try #require(STUNMessage(bytes))
        #expect(message.isAuthentic(Self.key) && message.isFingerprintRight == true)
        #expect(attribute == .username || message[attribute] == nil, "\(type)")
        #expect(message.text(.username) == "user")
        var seen: [STUNAttribute] = []
        message.forEach { one, _ in seen.append(one) }
        #expect(seen == [.username])
      }
    }
  }

  @Test("Both kinds of integrity stand side by side; a shorter tag of SHA-256 is one from 16 bytes on")
  func bothIntegrities() throws {
    let long = STUNKey(Array("key".utf8), .sha256)
    var writer = STUNWriter(.request, .allocate, Self.transaction)
    writer.add(.realm, "r")
    writer.add(integrity: Self.key)
    writer.add(integrity: long)
    writer.add(.lifetime, UInt32(1))
    writer.addFingerprint()
    try writer.bytes.withUnsafeBytes { bytes in
      let message = try #require(STUNMessage(bytes))
      #expect(message.integrities == [.sha1, .sha256] && message.isAuthentic(Self.key) && message.isAuthentic(long))
      #expect(message.number(.lifetime) == nil && message.isFingerprintRight == true)
    }
    for size in [12, 16, 18, 20, 28, 32] {
      // The header counts with the shorter attribute, so the tag is of another text than the full one.
      var short = STUNWriter(.request, .allocate, Self.transaction).bytes
      short[3] = UInt8(4 + size)
      let tag = short.withUnsafeBytes { Self.tag(key: "key", of: $0) }
      short += [0, 0x1C, 0, UInt8(size)] + tag.prefix(size)
      while short.count % 4 != 0 { short.append(0) }
      short[3] = UInt8(short.count - 20)
      let isGood = short.withUnsafeBytes { STUNMessage($0)?.isAuthentic(long) }
      #expect(isGood == (size >= 16 && size % 4 == 0), "\(size)")
    }
  }

  private static func tag(key: String, of bytes: UnsafeRawBufferPointer) -> [UInt8] {
    HMAC.sha256(key: Array(key.utf8), Array(bytes))
  }

  @Test("A changed bit anywhere is noticed by integrity or fingerprint, or is no message any more")
  func changedBits() {
    var writer = STUNWriter(.request, .binding, Self.transaction)
    writer.add(.username, "somebody")
    writer.add(integrity: Self.key)
    writer.addFingerprint()
    for bit in 0..<(writer.bytes.count * 8) {
      var changed = writer.bytes
      changed[bit / 8] ^= 1 << UInt8(bit % 8)
      let passes = changed.withUnsafeBytes { bytes in
        STUNMessage(bytes).map { $0.isAuthentic(Self.key) && $0.isFingerprintRight == true } ?? false
      }
      #expect(!passes, "bit \(bit)")
    }
  }

  @Test("No piece of a message is one, nor is one with a byte more, and random bytes never trap")
  func pieces() {
    var writer = STUNWriter(.request, .allocate, Self.transaction)
    writer.add(.username, "abcde")
    writer.add(.xorPeerAddress, xor: Endpoint(.v4(1), port: 2))
    writer.add(integrity: Self.key)
    for count in 0...writer.bytes.count {
      let isOne = Array(writer.bytes.prefix(count)).withUnsafeBytes { STUNMessage($0) != nil }
      #expect(isOne == (count == writer.bytes.count))
    }
    #expect((writer.bytes + [0, 0, 0, 0]).withUnsafeBytes { STUNMessage($0) == nil })
    var random = SystemRandomNumberGenerator()
    for _ in 0..<20_000 {
      var bytes = writer.bytes
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      bytes.withUnsafeBytes { bytes in
        guard let message = STUNMessage(bytes) else { return }
        _ = message.xorAddresses(.xorPeerAddress, limit: 8)
        _ = (message.error(), message.listedUnknown, message.text(.username), message.isFingerprintRight)
        _ = message.unknownAttributes(besides: [])
      }
    }
  }

  @Test("Lists of password algorithms are read with unknown ones and parameters, and not when cut")
  func algorithms() {
    func read(_ bytes: [UInt8]) -> [PasswordAlgorithm]? { bytes.withUnsafeBytes { PasswordAlgorithm.list($0) } }
    #expect(read(PasswordAlgorithm.encoded([.sha256, .md5])) == [.sha256, .md5])
    #expect(read([0, 9, 0, 2, 1, 2, 0, 0, 0, 1, 0, 0]) == [.md5])
    #expect(read([0, 1]) == nil && read([0, 1, 0, 8, 1, 2]) == nil)
    #expect(read([]) == [])
  }

  @Test("Time-limited credentials are those that OpenSSL computes, in either order of the name")
  func timeLimited() {
    // printf 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
    #expect(TimeLimitedCredentials.username(expiry: 1_700_000_000, user: "alice") == "1700000000:alice")
    #expect(
      TimeLimitedCredentials.password(username: "1700000000:alice", secret: "north") == "Cd/49soE35ICqcJF/bCTn8Z4OyE=")
    for (name, expiry, user) in [
      ("1700000000:alice", 1_700_000_000, "alice"), ("alice:1700000000", 1_700_000_000, "alice"),
      ("1700000000", 1_700_000_000, ""), ("alice", nil, "alice"), ("a:b", nil, "a:b"), ("5:6:7", 5, "6:7"),
    ] as [(String, Int64?, String)] {
      #expect(
        TimeLimitedCredentials.expiry(of: name) == expiry && TimeLimitedCredentials.user(of: name) == user, "\(name)")
    }
  }

  @Test("The words of a nonce are read back, and no other nonce has any")
  func nonces() {
    for (passwords, names) in [(true, false), (false, true), (true, true), (false, false)] {
      let features = NonceFeatures(hasPasswordAlgorithms: passwords, hasUsernameAnonymity: names)
      #expect(NonceFeatures(nonce: Array((features.prefix + "rest").utf8)) == features)
    }
    #expect(NonceFeatures(nonce: Array("obMatJos2AA".utf8)) == nil && NonceFeatures(nonce: Array("other".utf8)) == nil)
  }

  @Test("Names and passwords are compared in their composed form, with the usual space")
  func prepared() {
    #expect(OpaqueString.prepared("e\u{301}\u{3000}x") == "\u{E9} x")
    #expect(Array(OpaqueString.prepared("e\u{301}").utf8) == [0xC3, 0xA9] && OpaqueString.prepared("Ab c") == "Ab c")
  }
}

@Suite("Channel data and streams")
struct ChannelDataTests {
  @Test("Channel data is read with its padding, and not when it is cut or its number is another's")
  func channelData() throws {
    var bytes: [UInt8] = [0, 0, 0, 0, 1, 2, 3, 0]
    bytes.withUnsafeMutableBytes { room in
      if let base = room.baseAddress { ChannelData.writeHeader(0x4001, length: 3, into: base) }
    }
    #expect(bytes.prefix(4).elementsEqual([0x40, 0x01, 0, 3]))
    try bytes.withUnsafeBytes { packet in
      let data = try #require(ChannelData(packet))
      #expect(data.number == 0x4001 && Array(data.data) == [1, 2, 3])
    }
    #expect(Array(bytes.prefix(6)).withUnsafeBytes { ChannelData($0) == nil })
    for first in [0x00, 0x3F, 0x80, 0xC0] as [UInt8] {
      #expect(([first] + bytes.dropFirst()).withUnsafeBytes { ChannelData($0) == nil })
    }
  }

  @Test("A stream is cut into the same pieces wherever it is interrupted")
  func framing() {
    var message = STUNWriter(.request, .binding, TransactionID(high: 1, low: 2))
    message.add(.username, "abc")
    let stream = message.bytes + [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0] + message.bytes + [0x4F, 0xFF, 0, 0]
    let whole = [message.bytes.count, 9, message.bytes.count, 4]
    for piece in 1...stream.count {
      var (buffer, found, fed): ([UInt8], [Int], Int) = ([], [], 0)
      while fed < stream.count {
        let next = min(stream.count, fed + piece)
        buffer += stream[fed..<next]
        fed = next
        cutting: while true {
          switch buffer.withUnsafeBytes({ STUNStreamFramer.next($0) }) {
          case .frame(let count, let consumed):
            found.append(count)
            buffer.removeFirst(consumed)
          case .needs(let count):
            #expect(count > buffer.count)
            break cutting
          case .broken:
            Issue.record("broken at \(fed)")
            return
          }
        }
      }
      #expect(found == whole && buffer.isEmpty)
    }
    for bytes in [[0x80, 0, 0, 0], [0xC0, 0, 0, 0], [0, 1, 0, 3], [0, 1, 0xFF, 0xFC]] as [[UInt8]] {
      #expect(bytes.withUnsafeBytes { STUNStreamFramer.next($0, limit: 2_000) } == .broken)
    }
  }
}
