import CryptoPrimitives
import Testing

@Suite struct MLKEMTests {
  @Test("ML-KEM-768 makes the keys, ciphertexts and secrets of Wycheproof's vectors, and opens them")
  func vectors() throws {
    let records = Wycheproof.records(Wycheproof.mlkem768)
    #expect(records.count == 40)
    for record in records {
      let name = record["i"] ?? ""
      let key = try privateKey(record)
      let publicKey = key.publicKey
      check(text(BLAKE2s.hash(publicKey)) == record["p"], "\(name): public key")
      var chosen = ChosenBytes(hex(record["m"] ?? ""))
      var ciphertext: [UInt8] = []
      let sent = MLKEM768.encapsulate(to: publicKey, into: &ciphertext, using: &chosen)
      check(text(BLAKE2s.hash(ciphertext)) == record["c"], "\(name): ciphertext")
      check(shown(sent) == record["k"], "\(name): secret")
      check(shown(key.decapsulate(ciphertext)) == record["k"], "\(name): opened")
    }
  }

  @Test("A ciphertext for another key opens to a secret that nobody else has")
  func rejected() throws {
    for record in Wycheproof.records(Wycheproof.mlkem768Rejected) {
      let key = try privateKey(record)
      #expect(shown(key.decapsulate(hex(record["c"] ?? ""))) == record["k"])
    }
    var random = SeededGenerator(3)
    let key = MLKEM768.PrivateKey(using: &random)
    var ciphertext: [UInt8] = []
    let sent = shown(MLKEM768.encapsulate(to: key.publicKey, into: &ciphertext, using: &random))
    #expect(sent != nil)
    for place in [0, 500, MLKEM768.ciphertextSize - 1] {
      var changed = ciphertext
      changed[place] ^= 1
      let opened = shown(key.decapsulate(changed))
      #expect(opened != nil && opened != sent)
    }
  }

  @Test("A public key with a coefficient that is not reduced is refused, and so is what has another size")
  func refused() throws {
    var random = SeededGenerator(4)
    let key = MLKEM768.PrivateKey(using: &random)
    var ciphertext: [UInt8] = []
    // 12 bits each, two in three bytes: the first 768 must be below 3329, 0xD01.
    for pair in [0, 7, 383] {
      for overflowed in [0xD01, 0xFFF] {
        var wrong = key.publicKey
        wrong[3 * pair] = UInt8(overflowed & 0xFF)
        wrong[3 * pair + 1] = wrong[3 * pair + 1] & 0xF0 | UInt8(overflowed >> 8)
        let none = MLKEM768.encapsulate(to: wrong, into: &ciphertext, using: &random) == nil
        #expect(none, "\(pair), \(overflowed)")
        #expect(ciphertext.isEmpty)
      }
    }
    for size in [0, 1183, 1185] {
      let none = MLKEM768.encapsulate(to: Array(repeating: 0, count: size), into: &ciphertext, using: &random) == nil
      #expect(none, "\(size)")
    }
    for size in [0, 1087, 1089] {
      let none = key.decapsulate(Array(repeating: 0, count: size)) == nil
      #expect(none, "\(size)")
    }
    let none = MLKEM768.PrivateKey(seed: Array(repeating: 0, count: 63)) == nil
    #expect(none)
  }
}

private func privateKey(_ record: [Character: String]) throws -> MLKEM768.PrivateKey {
  guard let key = MLKEM768.PrivateKey(seed: hex(record["d"] ?? "")) else { throw NoKey() }
  return key
}

private struct NoKey: Error {}

private func shown(_ secret: consuming SecretKey?) -> String? {
  guard let secret else { return nil }
  return secret.withUnsafeBytes { text($0) }
}
