import CryptoPrimitives
import Testing

@testable import WireGuard

/// The handshake against the vector of another Noise implementation (cacophony's `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`,
/// as the Noise community publishes it): other prologue and payloads than WireGuard's, the same code.
@Suite struct NoiseTests {
  private static let prologue = hex("4a6f686e2047616c74")
  private static let preshared = "54686973206973206d7920417573747269616e20706572737065637469766521"
  private static let initiator = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"
  private static let initiatorEphemeral = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"
  private static let responder = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"
  private static let responderEphemeral = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"
  private static let responderPublic = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62"
  private static let hash = "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5"
  private static let messages = [
    (
      "4c756477696720766f6e204d69736573",
      """
      ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c9\
      4a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee9310\
      9008399a21f7e13f
      """
    ),
    (
      "4d757272617920526f746862617264",
      """
      95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c06\
      32f365717edbf34d33e87a
      """
    ),
    ("462e20412e20486179656b", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"),
    ("4361726c204d656e676572", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"),
    ("4a65616e2d426170746973746520536179", "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d"),
    (
      "457567656e2042f6686d20766f6e2042617765726b",
      "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292"
    ),
  ]

  @Test("Both ends write and read the messages of cacophony's vector, byte for byte")
  func cacophony() throws {
    let ends = (try identity(Self.initiator), try identity(Self.responder))
    #expect(text(ends.1.publicKey.bytes) == Self.responderPublic)
    guard let preshared = SecretKey(hex(Self.preshared)) else { throw Missing() }
    let left = NoiseState()
    let right = NoiseState()
    left.start(responder: ends.1.publicKey, prologue: Self.prologue)
    right.start(responder: ends.1.publicKey, prologue: Self.prologue)

    // → e, es, s, ss
    let (firstPayload, first) = (hex(Self.messages[0].0), hex(Self.messages[0].1))
    guard let agreed = X25519.sharedSecret(ends.0.privateKey, ends.1.publicKey) else { throw Missing() }
    var random = ChosenBytes(hex(Self.initiatorEphemeral))
    var message = [UInt8](repeating: 0, count: 80 + firstPayload.count + 16)
    let isWritten = message.withUnsafeMutableBytes { room in
      firstPayload.withUnsafeBytes { payload in
        left.writeInitiation(
          ephemeral: .init(rebasing: room[..<32]), static: .init(rebasing: room[32..<80]), payload: payload,
          into: .init(rebasing: room[80...]), from: ends.0, staticStatic: agreed, to: ends.1.publicKey,
          using: &random)
      }
    }
    #expect(isWritten && text(message) == text(first))
    let initiator = first.withUnsafeBytes { bytes in
      right.readStatic(ephemeral: .init(rebasing: bytes[..<32]), sealed: .init(rebasing: bytes[32..<80]), as: ends.1)
    }
    #expect(initiator == ends.0.publicKey)
    var room = [UInt8](repeating: 0, count: first.count - 80)
    let isRead = first.withUnsafeBytes { bytes in
      room.withUnsafeMutableBytes { right.readPayload(.init(rebasing: bytes[80...]), in: $0, staticStatic: agreed) }
    }
    #expect(isRead && room.prefix(firstPayload.count).elementsEqual(firstPayload))

    // ← e, ee, se, psk
    let (secondPayload, second) = (hex(Self.messages[1].0), hex(Self.messages[1].1))
    random = ChosenBytes(hex(Self.responderEphemeral))
    let remote = try #require(PublicKey(Array(first.prefix(32))))
    message = [UInt8](repeating: 0, count: second.count)
    let isAnswered = message.withUnsafeMutableBytes { room in
      secondPayload.withUnsafeBytes { payload in
        right.writeResponse(
          ephemeral: .init(rebasing: room[..<32]), payload: payload, into: .init(rebasing: room[32...]), to: remote,
          ends.0.publicKey, preshared: preshared, using: &random)
      }
    }
    #expect(isAnswered && text(message) == text(second))
    room = [UInt8](repeating: 0, count: second.count - 32)
    let isAccepted = second.withUnsafeBytes { bytes in
      room.withUnsafeMutableBytes {
        left.readResponse(
          ephemeral: .init(rebasing: bytes[..<32]), sealed: .init(rebasing: bytes[32...]), in: $0, as: ends.0,
          preshared: preshared)
      }
    }
    #expect(isAccepted && room.prefix(secondPayload.count).elementsEqual(secondPayload))
    check(text(left.handshakeHash) == Self.hash && text(right.handshakeHash) == Self.hash, "the hashes")

    // Transport: the initiator's messages and the responder's take turns.
    let fromInitiator = SecretKey()
    let fromResponder = SecretKey()
    let one = SecretKey()
    let other = SecretKey()
    left.split(initiator: fromInitiator, responder: fromResponder, binding: one)
    let a = SecretKey()
    let b = SecretKey()
    right.split(initiator: a, responder: b, binding: other)
    check(SecretKey.areEqual(a, fromInitiator) && SecretKey.areEqual(b, fromResponder), "both ends' keys")
    check(SecretKey.areEqual(one, other) && !SecretKey.areEqual(one, a) && !SecretKey.areEqual(one, b), "the binding")
    let forward = PacketCipher(fromInitiator)
    let back = PacketCipher(fromResponder)
    for (number, (payload, sealed)) in Self.messages.dropFirst(2).enumerated() {
      let plain = hex(payload)
      var room = plain + [UInt8](repeating: 0, count: 16)
      let isSealed = room.withUnsafeMutableBytes { room in
        guard let base = room.baseAddress else { return false }
        let counter = UInt64(number / 2)
        return number % 2 == 0
          ? forward.seal(base, count: plain.count, counter: counter)
          : back.seal(base, count: plain.count, counter: counter)
      }
      #expect(isSealed && text(room) == sealed)
    }
  }

  @Test("After the keys are made nothing of the handshake is left in it")
  func forgotten() throws {
    let state = NoiseState()
    state.start(responder: try identity(Self.responder).publicKey)
    state.split(initiator: SecretKey(), responder: SecretKey(), binding: SecretKey())
    check(state.handshakeHash.allSatisfy { $0 == 0 }, "the hash")
  }

  private struct Missing: Error {}

  private func identity(_ text: String) throws -> Identity {
    guard let key = SecretKey(hex(text)) else { throw Missing() }
    return Identity(key)
  }
}
