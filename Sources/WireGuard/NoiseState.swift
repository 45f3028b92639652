import CryptoPrimitives

/// The handshake Noise_IKpsk2 (section 5.4; Noise revision 34, section 5) as its symmetric state and its two messages.
///
/// ```
///   initiator                                                    responder
///   C, H from construction, identifier, Sr                       the same
///   e:  Ei            ──────────── ephemeral ────────────▶       C,H
///   es: DH(Ei, Sr) ─▶ key, seals Si ── static ───────────▶       opened: now it is known who speaks
///   ss: DH(Si, Sr) ─▶ key, seals time ── payload ────────▶       opened: now it is known that it is true
///   C,H               ◀─────────── ephemeral ─────────────  e:   Er
///   ee: DH(Ei, Er), se: DH(Si, Er) ─▶ C                          the same
///   psk: C, τ, key from Q; H takes τ; opens nothing  ◀── empty ──     seals nothing
///   split: two keys of C                                         the same, the other way round
/// ```
///
/// A state is five boxes of 32 bytes that are made once and written again for each handshake. A device reads what
/// strangers send with a state that is there already, so that an initiation costs no memory before it is proven; when
/// it is, the state changes places with the peer's.
///
/// Payloads may have any size here, although WireGuard's are a timestamp and nothing, and the prologue may be another:
/// so the vectors of other Noise implementations run through this code as it is.
struct NoiseState: ~Copyable {
  /// C.
  private let chain = SecretKey()
  /// H.
  private let hash = SecretKey()
  /// κ.
  private let key = SecretKey()
  private let ephemeral = SecretKey()
  private let shared = SecretKey()

  static let tag = PacketCipher.tagSize
  /// Hashes of constants (section 5.4.1).
  private static let construction = BLAKE2s.hash(Array(Label.construction.utf8))
  private static let identifier = Array(Label.identifier.utf8)

  /// Sets C and H; `responder` is the public key of the end that answers.
  func start(responder: PublicKey, prologue: [UInt8] = NoiseState.identifier) {
    Self.construction.withUnsafeBytes { bytes in
      chain.write(bytes)
      hash.write(bytes)
    }
    prologue.withUnsafeBytes { mixHash($0) }
    responder.withUnsafeBytes { mixHash($0) }
  }

  /// The handshake's hash, for tests and for channel bindings.
  var handshakeHash: [UInt8] { hash.withUnsafeBytes { Array($0) } }

  /// For a log of keys.
  func withEphemeral(_ body: (UnsafeRawBufferPointer) -> Void) { ephemeral.withUnsafeBytes(body) }

  func copy(of other: borrowing NoiseState) {
    other.chain.withUnsafeBytes { chain.write($0) }
    other.hash.withUnsafeBytes { hash.write($0) }
    other.key.withUnsafeBytes { key.write($0) }
    other.ephemeral.withUnsafeBytes { ephemeral.write($0) }
  }

  /// Wipes everything.
  func forget() {
    chain.wipe()
    hash.wipe()
    key.wipe()
    ephemeral.wipe()
    shared.wipe()
  }

  // MARK: The first message

  /// Writes ephemeral, static and payload. The rooms are 32, 48 and the payload's size with 16 more.
  /// False when the responder's key is none.
  func writeInitiation(
    ephemeral ephemeralRoom: UnsafeMutableRawBufferPointer, static staticRoom: UnsafeMutableRawBufferPointer,
    payload: UnsafeRawBufferPointer, into payloadRoom: UnsafeMutableRawBufferPointer, from identity: Identity,
    staticStatic: borrowing SecretKey, to responder: PublicKey, using random: inout some RandomNumberGenerator
  ) -> Bool {
    ephemeral.draw(using: &random)
    writeEphemeral(ephemeralRoom)
    guard mixAgreement(ephemeral, responder) else { return false }
    identity.publicKey.withUnsafeBytes { seal($0, into: staticRoom) }
    staticStatic.withUnsafeBytes { KDF.derive(chain, $0, into: chain, key) }
    seal(payload, into: payloadRoom)
    return true
  }

  /// Opens the static key of the first message; `nil` when it was not meant for us.
  func readStatic(
    ephemeral remote: UnsafeRawBufferPointer, sealed: UnsafeRawBufferPointer, as identity: Identity
  ) -> PublicKey? {
    guard let remoteKey = PublicKey(remote) else { return nil }
    mixHash(remote)
    KDF.derive(chain, remote, into: chain)
    guard mixAgreement(identity.privateKey, remoteKey) else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: 48, alignment: 16) { room in
      guard open(sealed, in: room) else { return nil }
      return PublicKey(UnsafeRawBufferPointer(rebasing: room[..<32]))
    }
  }

  /// Opens the payload of the first message, in a room of its sealed size; false when it is not from that peer.
  func readPayload(
    _ sealed: UnsafeRawBufferPointer, in room: UnsafeMutableRawBufferPointer, staticStatic: borrowing SecretKey
  ) -> Bool {
    staticStatic.withUnsafeBytes { KDF.derive(chain, $0, into: chain, key) }
    return open(sealed, in: room)
  }

  // MARK: The second message

  /// Writes ephemeral and payload, for a peer whose first message was read.
  func writeResponse(
    ephemeral ephemeralRoom: UnsafeMutableRawBufferPointer, payload: UnsafeRawBufferPointer,
    into payloadRoom: UnsafeMutableRawBufferPointer, to remoteEphemeral: PublicKey, _ remoteStatic: PublicKey,
    preshared: borrowing SecretKey, using random: inout some RandomNumberGenerator
  ) -> Bool {
    ephemeral.draw(using: &random)
    writeEphemeral(ephemeralRoom)
    guard mixAgreement(ephemeral, remoteEphemeral), mixAgreement(ephemeral, remoteStatic) else { return false }
    mixPreshared(preshared)
    seal(payload, into: payloadRoom)
    return true
  }

  /// Reads the second message; false when it is no answer to ours.
  func readResponse(
    ephemeral remote: UnsafeRawBufferPointer, sealed: UnsafeRawBufferPointer,
    in room: UnsafeMutableRawBufferPointer, as identity: Identity, preshared: borrowing SecretKey
  ) -> Bool {
    guard let remoteKey = PublicKey(remote) else { return false }
    mixHash(remote)
    KDF.derive(chain, remote, into: chain)
    guard mixAgreement(ephemeral, remoteKey), mixAgreement(identity.privateKey, remoteKey) else { return false }
    mixPreshared(preshared)
    return open(sealed, in: room)
  }

  // MARK: The keys

  /// The initiator's sending key and its receiving key, and a third output of the same derivation, by which both ends can
  /// bind other secrets to the session; the state is wiped.
  func split(initiator: borrowing SecretKey, responder: borrowing SecretKey, binding: borrowing SecretKey) {
    KDF.derive(chain, UnsafeRawBufferPointer(start: nil, count: 0), into: initiator, responder, binding)
    forget()
  }

  // MARK: Steps

  private func writeEphemeral(_ room: UnsafeMutableRawBufferPointer) {
    X25519.publicKey(of: ephemeral).withUnsafeBytes { bytes in
      room.copyMemory(from: bytes)
      mixHash(bytes)
      KDF.derive(chain, bytes, into: chain)
    }
  }

  private func mixHash(_ bytes: UnsafeRawBufferPointer) {
    var state = BLAKE2s()
    hash.withUnsafeBytes { state.update($0) }
    state.update(bytes)
    hash.withMutableBytes { state.finish($0) }
  }

  /// Mixes a shared secret in and makes a key of it.
  private func mixAgreement(_ secret: borrowing SecretKey, _ other: PublicKey) -> Bool {
    guard X25519.agree(secret, other, into: shared) else { return false }
    shared.withUnsafeBytes { KDF.derive(chain, $0, into: chain, key) }
    shared.wipe()
    return true
  }

  private func mixPreshared(_ preshared: borrowing SecretKey) {
    preshared.withUnsafeBytes { KDF.derive(chain, $0, into: chain, shared, key) }
    shared.withUnsafeBytes { mixHash($0) }
    shared.wipe()
  }

  /// Seals with κ, a counter of 0 and H, and mixes the sealed bytes in.
  private func seal(_ plain: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer) {
    room.copyMemory(from: plain)
    withZeroNonce { nonce in
      hash.withUnsafeBytes { _ = ChaChaPoly.seal(room, key: key, nonce: nonce, associated: $0) }
    }
    mixHash(UnsafeRawBufferPointer(room))
  }

  private func open(_ sealed: UnsafeRawBufferPointer, in room: UnsafeMutableRawBufferPointer) -> Bool {
    guard room.count >= sealed.count else { return false }
    room.copyMemory(from: sealed)
    let text = UnsafeMutableRawBufferPointer(rebasing: room[..<sealed.count])
    let isOpen = withZeroNonce { nonce in
      hash.withUnsafeBytes { ChaChaPoly.open(text, key: key, nonce: nonce, associated: $0) }
    }
    mixHash(sealed)
    return isOpen
  }

  private func withZeroNonce<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    withUnsafeBytes(of: (UInt64(0), UInt32(0))) { body(UnsafeRawBufferPointer(rebasing: $0[..<12])) }
  }
}

/// A device's own keys. A class, so that they can be lent where the device may have none.
final class Identity: Sendable {
  let privateKey: SecretKey
  let publicKey: PublicKey

  init(_ privateKey: consuming SecretKey) {
    publicKey = X25519.publicKey(of: privateKey)
    self.privateKey = privateKey
  }

}
