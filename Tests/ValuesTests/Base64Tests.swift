import Testing
import Values

/// The vectors of RFC 4648, section 10, and what neither end may take.
@Suite struct Base64Tests {
  static let vectors = [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"),
  ]

  @Test("The RFC's vectors, with padding and without", arguments: vectors)
  func matches(_ plain: String, _ text: String) {
    let bare = text.filter { $0 != "=" }
    for alphabet in [Base64.Alphabet.standard, .url] {
      #expect(Base64.encode(plain.utf8, alphabet: alphabet) == text)
      #expect(Base64.encode(plain.utf8, alphabet: alphabet, isPadded: false) == bare)
      #expect(Base64.decode(text, alphabet: alphabet) == Array(plain.utf8))
      #expect(Base64.decode(bare, alphabet: alphabet) == Array(plain.utf8))
    }
  }

  @Test func `the alphabets differ in their last two digits and take no others`() {
    let bytes: [UInt8] = [0xFB, 0xFF, 0xBF]
    #expect(Base64.encode(bytes) == "+/+/")
    #expect(Base64.encode(bytes, alphabet: .url) == "-_-_")
    #expect(Base64.decode("+/+/") == bytes)
    #expect(Base64.decode("-_-_", alphabet: .url) == bytes)
    #expect(Base64.decode("-_-_") == nil)
    #expect(Base64.decode("+/+/", alphabet: .url) == nil)
  }

  @Test(
    "What is not Base64 is refused",
    arguments: [
      "Z", "Zg=", "Zg===", "Zm8==", "Zm9v=", "=", "====", "Zg==Zg==", "Z=g=", "Zm 9v", "Zm9v\n", "Zm9v\u{0}", "Zm9é",
    ])
  func refused(_ text: String) { #expect(Base64.decode(text) == nil) }

  @Test func `every byte at every place of a group comes back`() {
    for length in 1...4 {
      for place in 0..<length {
        for byte in UInt8.min...UInt8.max {
          var bytes = [UInt8](repeating: 0xA5, count: length)
          bytes[place] = byte
          for alphabet in [Base64.Alphabet.standard, .url] {
            for isPadded in [true, false] {
              let text = Base64.encode(bytes, alphabet: alphabet, isPadded: isPadded)
              #expect(Base64.decode(text, alphabet: alphabet) == bytes)
            }
          }
        }
      }
    }
  }
}
