import CryptoPrimitives
import Testing

@Suite struct CryptoTests {
  // MARK: BLAKE2s

  @Test("SHA-1 hashes what FIPS 180-4's examples and RFC 6455, section 1.3, show")
  func sha1() {
    #expect(SHA1.digest(Array("abc".utf8)) == hex("a9993e364706816aba3e25717850c26c9cd0d89d"))
    #expect(SHA1.digest([]) == hex("da39a3ee5e6b4b0d3255bfef95601890afd80709"))
    #expect(
      SHA1.digest(Array("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
        == hex("b37a4f2cc0624f1690f64606cf385945b2bec4ea"))
  }

  @Test("BLAKE2s hashes what RFC 7693 shows in appendix B")
  func blakeExample() {
    #expect(text(BLAKE2s.hash(Array("abc".utf8))) == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
  }

  @Test("BLAKE2s passes the self-test of RFC 7693, appendix E: all digest sizes, with key and without")
  func blakeSelfTest() {
    func sequence(_ count: Int, _ seed: Int) -> [UInt8] {
      var a = 0xDEAD_4BAD &* UInt32(seed)
      var b: UInt32 = 1
      return (0..<count).map { _ in
        let t = a &+ b
        a = b
        b = t
        return UInt8(t >> 24)
      }
    }
    var all: [UInt8] = []
    for size in [16, 20, 28, 32] {
      for count in [0, 3, 64, 65, 255, 1024] {
        let message = sequence(count, count)
        all += BLAKE2s.hash(message, size: size)
        all += BLAKE2s.hash(message, key: sequence(size, size), size: size)
      }
    }
    #expect(text(BLAKE2s.hash(all)) == "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe")
  }

  @Test(
    "BLAKE2s agrees with Python's hashlib at the edges of a block",
    arguments: [
      (0, "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"),
      (1, "40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1"),
      (63, "c65382513f07460da39833cb666c5ed82e61b9e998f4b0c4287cee56c3cc9bcd"),
      (64, "8975b0577fd35566d750b362b0897a26c399136df07bababbde6203ff2954ed4"),
      (65, "21fe0ceb0052be7fb0f004187cacd7de67fa6eb0938d927677f2398c132317a8"),
      (127, "ddbfea75cc467882eb3483ce5e2e756a4f4701b76b445519e89f22d60fa86e06"),
      (128, "0c311f38c35a4fb90d651c289d486856cd1413df9b0677f53ece2cd9e477c60a"),
      (129, "46a73a8dd3e70f59d3942c01df599def783c9da82fd83222cd662b53dce7dbdf"),
    ])
  func blakeBlocks(_ count: Int, _ digest: String) {
    let message = (0..<count).map { UInt8($0) }
    #expect(text(BLAKE2s.hash(message, key: (0..<32).map { UInt8($0) })) == digest)
  }

  @Test("BLAKE2s in any pieces is BLAKE2s of the whole")
  func blakePieces() {
    var random = SeededGenerator(1)
    for _ in 0..<200 {
      let message = random.bytes(random.number(0...300))
      var state = BLAKE2s()
      var rest = message[...]
      while !rest.isEmpty {
        let piece = Array(rest.prefix(random.number(0...80)))
        piece.withUnsafeBytes { state.update($0) }
        rest = rest.dropFirst(piece.count)
      }
      var digest = [UInt8](repeating: 0, count: 32)
      digest.withUnsafeMutableBytes { state.finish($0) }
      check(digest == BLAKE2s.hash(message), "\(message.count) bytes")
    }
  }

  @Test("HMAC and the key derivation agree with Python's hmac")
  func derivation() {
    let key = (0..<32).map { UInt8($0) }
    var digest = [UInt8](repeating: 0, count: 32)
    var state = key.withUnsafeBytes { HMACBLAKE2s(key: $0) }
    Array("culvert".utf8).withUnsafeBytes { state.update($0) }
    digest.withUnsafeMutableBytes { state.finish($0) }
    #expect(text(digest) == "887cf271910fdb8cfa25e1928c73cf9ad294f7d6c7f4086e9d686d818c861371")

    guard let secret = SecretKey(key) else {
      Issue.record("no key")
      return
    }
    let first = SecretKey()
    let second = SecretKey()
    let third = SecretKey()
    Array("input".utf8).withUnsafeBytes { KDF.derive(secret, $0, into: first, second, third) }
    let outputs = [
      "87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040",
      "538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824",
      "9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9",
    ]
    let texts = [first.text, second.text, third.text]
    #expect(texts == outputs)
    // The key may be the first output's box.
    Array("input".utf8).withUnsafeBytes { KDF.derive(secret, $0, into: secret, second) }
    check(secret.text == outputs[0] && second.text == outputs[1], "in place")
  }

  // MARK: X25519

  @Test("X25519 agrees on what RFC 7748 shows in section 6.1")
  func agreement() throws {
    let alice = try secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    let bob = try secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    let alicePublic = X25519.publicKey(of: alice)
    let bobPublic = X25519.publicKey(of: bob)
    #expect(text(alicePublic.bytes) == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    #expect(text(bobPublic.bytes) == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    check(X25519.sharedSecret(alice, bobPublic)?.text == shared, "Alice's")
    check(X25519.sharedSecret(bob, alicePublic)?.text == shared, "Bob's")
  }

  @Test("X25519 a thousand times over gives what RFC 7748 says in section 5.2")
  func iterated() throws {
    var k = hex("0900000000000000000000000000000000000000000000000000000000000000")
    var u = k
    for round in 1...1_000 {
      let point = try #require(PublicKey(u))
      let shared = X25519.sharedSecret(try secret(text(k)), point)?.text
      let result = try #require(shared)
      u = k
      k = hex(result)
      if round == 1 { #expect(result == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079") }
    }
    #expect(text(k) == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")
  }

  @Test("X25519 gives what Wycheproof's edge cases say, and refuses points of low order")
  func wycheproofAgreement() throws {
    let records = Wycheproof.records(Wycheproof.x25519)
    #expect(records.count > 60)
    var refused = 0
    for record in records {
      let point = try #require(PublicKey(hex(record["p"] ?? "")))
      let shared = X25519.sharedSecret(try secret(record["s"] ?? ""), point)?.text
      if record["r"] == String(repeating: "0", count: 64) {
        refused += 1
        check(shared == nil, "\(record["i"] ?? ""): low order")
      } else {
        check(shared == record["r"], "\(record["i"] ?? "")")
      }
    }
    #expect(refused > 20)
  }

  @Test("Clamping sets the bits that the function would set")
  func clamping() throws {
    var random = SeededGenerator(2)
    for _ in 0..<20 {
      let key = SecretKey(using: &random)
      let before = X25519.publicKey(of: key)
      X25519.clamp(key)
      let bytes = hex(key.text)
      #expect(bytes[0] & 7 == 0 && bytes[31] & 0xC0 == 0x40)
      #expect(X25519.publicKey(of: key) == before)
    }
  }

  // MARK: ChaCha20-Poly1305

  @Test("ChaCha20-Poly1305 seals what RFC 8439 shows in section 2.8.2")
  func sealing() throws {
    let plain = Array(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
        .utf8)
    let sealed = try cipher(
      "chacha", true, key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
      nonce: "070000004041424344454647", associated: "50515253c0c1c2c3c4c5c6c7",
      plain + [UInt8](repeating: 0, count: 16))
    #expect(
      text(try #require(sealed)) == """
        d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
        3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
        92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
        3ff4def08e4b7a9de576d26586cec64b6116\
        1ae10b594f09e26a7e902ecbd0600691
        """)
  }

  @Test("Both ciphers do with Wycheproof's edge cases what it says", arguments: ["chacha", "xchacha"])
  func wycheproofCiphers(_ name: String) throws {
    let records = Wycheproof.records(name == "chacha" ? Wycheproof.chacha : Wycheproof.xchacha)
    #expect(records.count > 30 && records.contains { $0["v"] == "0" })
    for record in records {
      func field(_ name: Character) -> String { record[name] ?? "" }
      let opened = try cipher(
        name, false, key: field("k"), nonce: field("n"), associated: field("a"), hex(field("c") + field("t")))
      if field("v") == "1" {
        check(opened.map { text($0.dropLast(16)) } == field("m"), "\(field("i")): open")
        let sealed = try cipher(
          name, true, key: field("k"), nonce: field("n"), associated: field("a"),
          hex(field("m")) + [UInt8](repeating: 0, count: 16))
        check(sealed.map { text($0) } == field("c") + field("t"), "\(field("i")): seal")
      } else {
        check(opened == nil, "\(field("i")): taken")
      }
    }
  }

  @Test("A nonce or a text of a wrong size is refused")
  func sizes() throws {
    let key = String(repeating: "00", count: 32)
    for name in ["chacha", "xchacha"] {
      for size in [0, 8, 11, 13, 23, 25] {
        #expect(
          try cipher(
            name, true, key: key, nonce: String(repeating: "00", count: size), associated: "",
            [UInt8](repeating: 0, count: 32)) == nil)
      }
      let right = String(repeating: "00", count: name == "chacha" ? 12 : 24)
      #expect(try cipher(name, false, key: key, nonce: right, associated: "", [UInt8](repeating: 0, count: 15)) == nil)
    }
  }

  @Test("A kept key seals as a new one does, with its counter in the last eight bytes of the nonce")
  func keptKey() throws {
    var random = SeededGenerator(3)
    let key = SecretKey(using: &random)
    let kept = PacketCipher(key)
    for counter in [0, 1, 0x0102_0304_0506_0708, UInt64.max] {
      for size in [0, 1, 15, 16, 63, 64, 65, 1420, 9000] {
        let plain = random.bytes(size)
        var room = plain + [UInt8](repeating: 0, count: 16)
        let isSealed = room.withUnsafeMutableBytes { room in
          room.baseAddress.map { kept.seal($0, count: size, counter: counter) } ?? false
        }
        #expect(isSealed)
        let nonce = "00000000" + text((0..<8).map { UInt8(truncatingIfNeeded: counter >> (8 * $0)) })
        let other = try cipher("chacha", false, key: key.text, nonce: nonce, associated: "", room)
        check(other.map { Array($0.dropLast(16)) } == plain, "\(size) bytes")
        let isOpened = room.withUnsafeMutableBytes { room in
          room.baseAddress.map { kept.open($0, count: size, counter: counter) } ?? false
        }
        check(isOpened && room.prefix(size).elementsEqual(plain), "\(size) bytes opened")
        room[0] ^= 1
        let isTaken = room.withUnsafeMutableBytes { room in
          room.baseAddress.map { kept.open($0, count: size, counter: counter) } ?? false
        }
        check(!isTaken, "\(size) bytes changed")
      }
    }
  }

  @Test("A kept key and a new one agree on every size up to a full frame, and on sums that carry far")
  func everySize() {
    var random = SeededGenerator(5)
    for size in Array(0...1600) + [2047, 2048, 2049, 4095, 4096, 9000, 65_519] {
      let key = SecretKey(using: &random)
      let kept = PacketCipher(key)
      let counter: UInt64 = random.next()
      // What is random seldom carries from limb to limb: bytes that are all ones do.
      let plain = size % 3 == 0 ? [UInt8](repeating: 0xFF, count: size) : random.bytes(size)
      // One byte more, which is nobody's.
      var ours = plain + [UInt8](repeating: 0x5A, count: 17)
      let isSealed = ours.withUnsafeMutableBytes { room in
        room.baseAddress.map { kept.seal($0, count: size, counter: counter) } ?? false
      }
      var theirs = plain + [UInt8](repeating: 0, count: 16)
      let nonce = [0, 0, 0, 0] + (0..<8).map { UInt8(truncatingIfNeeded: counter >> (8 * $0)) }
      theirs.withUnsafeMutableBytes { room in
        _ = nonce.withUnsafeBytes {
          ChaChaPoly.seal(room, key: key, nonce: $0, associated: UnsafeRawBufferPointer(start: nil, count: 0))
        }
      }
      check(isSealed && ours.elementsEqual(theirs + [0x5A]), "\(size) bytes sealed")
      let place = size + Int(counter % 16)
      ours[place] ^= 1 << UInt8(counter >> 8 & 7)
      let isTaken = ours.withUnsafeMutableBytes { room in
        room.baseAddress.map { kept.open($0, count: size, counter: counter) } ?? false
      }
      check(!isTaken, "\(size) bytes with a wrong tag")
      let isOpened = theirs.withUnsafeMutableBytes { room in
        room.baseAddress.map { kept.open($0, count: size, counter: counter) } ?? false
      }
      check(isOpened && theirs.prefix(size).elementsEqual(plain), "\(size) bytes opened")
    }
  }

  // MARK: Keys

  @Test("Keys are compared, copied and wiped; other sizes are none")
  func keys() throws {
    var random = SeededGenerator(4)
    let key = SecretKey(using: &random)
    let copy = key.copy()
    check(SecretKey.areEqual(key, copy) && !key.isZero, "a copy")
    copy.wipe()
    check(copy.isZero && !SecretKey.areEqual(key, copy) && !key.isZero, "a wiped copy")
    check(SecretKey().isZero, "a new key")
    for size in [0, 31, 33] {
      let isKey = SecretKey([UInt8](repeating: 1, count: size)) != nil
      #expect(!isKey && PublicKey([UInt8](repeating: 1, count: size)) == nil)
    }
    let left: [UInt8] = [1, 2, 3]
    for (right, isSame) in [([1, 2, 3], true), ([1, 2, 4], false), ([1, 2], false), ([], false)] as [([UInt8], Bool)] {
      #expect(left.withUnsafeBytes { left in right.withUnsafeBytes { Bytes.areEqual(left, $0) } } == isSame)
    }
  }

  // MARK: Helpers

  private func secret(_ text: String) throws -> SecretKey {
    guard let key = SecretKey(hex(text)) else { throw NoKey() }
    return key
  }

  private struct NoKey: Error {}

  /// Seals or opens in place; `nil` when it was refused.
  private func cipher(
    _ name: String, _ isSealing: Bool, key: String, nonce: String, associated: String, _ content: [UInt8]
  ) throws -> [UInt8]? {
    let key = try secret(key)
    var room = content
    let isDone = room.withUnsafeMutableBytes { room in
      hex(nonce).withUnsafeBytes { nonce in
        hex(associated).withUnsafeBytes { associated in
          switch (name, isSealing) {
          case ("chacha", true): ChaChaPoly.seal(room, key: key, nonce: nonce, associated: associated)
          case ("chacha", false): ChaChaPoly.open(room, key: key, nonce: nonce, associated: associated)
          case (_, true): XChaChaPoly.seal(room, key: key, nonce: nonce, associated: associated)
          case (_, false): XChaChaPoly.open(room, key: key, nonce: nonce, associated: associated)
          }
        }
      }
    }
    return isDone ? room : nil
  }
}

extension SecretKey {
  var text: String { withUnsafeBytes { WireGuardTests.text($0) } }
}
