import STUN
import Testing
import Values

/// The messages of RFC 5769, and that of RFC 8489, appendix B.1, as erratum 6268 corrects it.
@Suite("STUN by its RFCs' vectors")
struct STUNVectorTests {
  private static let request = bytes(
    """
    00010058 2112a442 b7e7a701 bc34d686 fa87dfae
    80220010 5354554e 20746573 7420636c 69656e74
    00240004 6e0001ff 80290008 932ff9b1 51263b36
    00060009 6576746a 3a683676 59202020
    00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    80280004 e57a3bcf
    """)
  private static let responseIPv4 = bytes(
    """
    0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200008 0001a147 e112a643
    00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
    80280004 c07d4c96
    """)
  private static let responseIPv6 = bytes(
    """
    01010048 2112a442 b7e7a701 bc34d686 fa87dfae
    8022000b 74657374 20766563 746f7220
    00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
    00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
    80280004 c8fb0b4c
    """)
  private static let longTerm = bytes(
    """
    00010060 2112a442 78ad3433 c6ad72c0 29da412e
    00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
    0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
    0014000b 6578616d 706c652e 6f726700
    00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666
    """)
  private static let longTermSHA256 = bytes(
    """
    00010090 2112a442 78ad3433 c6ad72c0 29da412e
    001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
    00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476 79363473 41000000
    0014000b 6578616d 706c652e 6f726700
    001d0004 00020000
    001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 93092 78cc6518e65
    """)
  private static let shortKey = STUNKey.shortTerm(password: "VOkJxbRl1RmTxUk/WvJxBt")
  private static let name = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}"

  @Test("A request of short-term credentials is read, and is authentic with its password alone")
  func shortTerm() throws {
    try Self.request.withUnsafeBytes { packet in
      let message = try #require(STUNMessage(packet))
      #expect(message.kind == .request && message.method == .binding)
      #expect(message.transaction == TransactionID(high: 0xB7E7_A701, low: 0xBC34_D686_FA87_DFAE))
      #expect(message.text(.software) == "STUN test client" && message.text(.username) == "evtj:h6vY")
      #expect(message.number(.priority) == 0x6E00_01FF && message.longNumber(.iceControlled) == 0x932F_F9B1_5126_3B36)
      #expect(message.isAuthentic(Self.shortKey) && message.isFingerprintRight == true)
      #expect(!message.isAuthentic(.shortTerm(password: "VOkJxbRl1RmTxUk/WvJxBT")))
      #expect(!message.isAuthentic(.shortTerm(password: "VOkJxbRl1RmTxUk/WvJxBt", .sha256)))
    }
  }

  @Test("Responses give the address of either family back", arguments: [false, true])
  func responses(_ isIPv6: Bool) throws {
    try (isIPv6 ? Self.responseIPv6 : Self.responseIPv4).withUnsafeBytes { packet in
      let message = try #require(STUNMessage(packet))
      #expect(message.kind == .success && message.text(.software) == "test vector")
      let expected = isIPv6 ? "[2001:db8:1234:5678:11:2233:4455:6677]:32853" : "192.0.2.1:32853"
      #expect(message.xorAddress(.xorMappedAddress)?.description == expected)
      #expect(message.isAuthentic(Self.shortKey) && message.isFingerprintRight == true)
    }
  }

  @Test("A request of long-term credentials is authentic with the key of name, realm and password")
  func longTerm() throws {
    try Self.longTerm.withUnsafeBytes { packet in
      let message = try #require(STUNMessage(packet))
      #expect(message.text(.username) == Self.name && message.text(.realm) == "example.org")
      let key = PasswordAlgorithm.md5.key(username: Self.name, realm: "example.org", password: "TheMatrIX", .sha1)
      #expect(message.isAuthentic(key) && message.isFingerprintRight == nil)
    }
  }

  @Test("A request with a hashed name and SHA-256 is authentic, and its nonce says what the server can do")
  func longTermSHA256() throws {
    try Self.longTermSHA256.withUnsafeBytes { packet in
      let message = try #require(STUNMessage(packet))
      #expect(message[.userHash].map(Array.init) == UserHash.of(username: Self.name, realm: "example.org"))
      #expect(message[.passwordAlgorithm].flatMap { PasswordAlgorithm.list($0) } == [.sha256])
      let nonce = try #require(message.bytes(.nonce))
      let features = try #require(NonceFeatures(nonce: nonce))
      #expect(!features.hasPasswordAlgorithms && !features.hasUsernameAnonymity && nonce.count == 41)
      let key = PasswordAlgorithm.sha256.key(username: Self.name, realm: "example.org", password: "TheMatrIX", .sha256)
      #expect(message.isAuthentic(key))
    }
  }

  @Test("What we write is what the RFC has, byte for byte")
  func written() {
    let transaction = TransactionID(high: 0xB7E7_A701, low: 0xBC34_D686_FA87_DFAE)
    var writer = STUNWriter(.success, .binding, transaction)
    writer.add(.xorMappedAddress, xor: Endpoint(.v4(0xC000_0201), port: 32_853))
    #expect(writer.bytes.suffix(12).elementsEqual(Self.bytes("00200008 0001a147 e112a643")))
    var long = STUNWriter(.request, .binding, TransactionID(high: 0x78AD_3433, low: 0xC6AD_72C0_29DA_412E))
    long.add(.username, Self.name)
    long.add(.nonce, "f//499k954d6OL34oL9FSTvy64sA")
    long.add(.realm, "example.org")
    long.add(
      integrity: PasswordAlgorithm.md5.key(username: Self.name, realm: "example.org", password: "TheMatrIX", .sha1))
    #expect(long.bytes.elementsEqual(Self.longTerm))
  }

  static func bytes(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }
}
