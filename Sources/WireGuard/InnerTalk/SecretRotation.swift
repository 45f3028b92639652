import CryptoPrimitives
import Values

/// Makes the secrets that are mixed into a peer's preshared key, one in each session, and knows which of them both ends
/// have.
///
/// ```
///   session's initiator                                     session's responder
///   draws a key pair      ── public key, in pieces ──▶      draws a secret for it: pending
///   opens it: current     ◀── ciphertext and proof ──
///                         ── proof ──────────────────▶      the pending one becomes current
/// ```
///
/// The secret q of an exchange is derived from what ML-KEM gave, from a secret of the session in which they spoke (so
/// that it is worth no less than the session was) and from a hash of both static keys, the public key and the
/// ciphertext. The preshared key of a later handshake is derived from the configured one and q: who wants to know it has
/// to break both.
///
/// Which one a handshake uses: an initiation names by one byte, in its encrypted and authenticated timestamp, the newest
/// secret of which its sender knows that the other end has it. A responder that has it uses it; one that has it not (any
/// more), or is asked for none, uses the configured key alone. An initiator reads the response with the one that it
/// named, and then without: the second succeeds where the other end has lost its memory, and then this end forgets
/// its secrets too. Nobody on the way can change what the initiation names, nor make a response.
///
/// So whoever is on the way can prevent that secrets are made, by dropping what is large, and can drop initiations until
/// the fourth in a row, which names none; both are seen in what is shown of the peer. By changing or replaying anything
/// he cannot have an end use less than both have.
final class SecretRotation {
  /// A secret and the byte by which it is named.
  private final class Secret {
    let key = SecretKey()
    /// 1...255.
    var name: UInt8 = 0
  }

  enum Output: Equatable {
    case send(TalkMessage)
    /// There is a secret that both ends have.
    case adopted
  }

  /// Made by us; the other end has not yet shown that it has it.
  private var pending: Secret?
  private var current: Secret?
  /// The other end may name it still.
  private var previous: Secret?

  private var keyPair: KeyPair?
  private var publicKey: [UInt8] = []
  private var gathered = Gathered()
  /// Our ciphertext with its proof, while the other end may ask for it again.
  private var text: [UInt8] = []
  private var isOwner = false
  private var isDone = false
  private var proof: [UInt8] = []
  private var tries = 0
  private var deadline: Instant?
  private var outputs: [Output] = []

  /// For a box that may be empty.
  private final class KeyPair {
    let key: MLKEM768.PrivateKey
    init(_ key: consuming MLKEM768.PrivateKey) { self.key = key }
  }

  private struct Gathered {
    var bytes: [UInt8] = []
    /// The places that are there.
    var places: Set<Int> = []

    mutating func take(_ piece: [UInt8], at place: Int, of total: Int) -> Bool {
      if bytes.isEmpty { bytes = Array(repeating: 0, count: total) }
      guard piece.count == total / 2, place == 0 || place == total / 2 else { return false }
      bytes.replaceSubrange(place..<(place + piece.count), with: piece)
      places.insert(place)
      return places.count == 2
    }
  }

  static let textSize = MLKEM768.ciphertextSize + TalkMessage.proofSize
  private static let maximumTries = 6
  private static let firstWait = TimeSpan.seconds(1)
  private static let label = Array("Culvert WireGuard ML-KEM-768".utf8)

  // MARK: Handshakes

  /// The name of the newest secret that both ends have; 0 for none.
  var name: UInt8 { current?.name ?? 0 }

  /// The preshared key of a handshake that names a secret, made of the configured one; `nil` when the secret is not here.
  ///
  /// - Parameter isTheirs: the other end has named it, so it has it.
  func preshared(named name: UInt8, configured: borrowing SecretKey, isTheirs: Bool) -> SecretKey? {
    guard name != 0 else { return nil }
    if isTheirs, let pending, pending.name == name { confirm() }
    guard let secret = [current, previous].compactMap({ $0 }).first(where: { $0.name == name }) else { return nil }
    let key = SecretKey()
    secret.key.withUnsafeBytes { KDF.derive(configured, $0, into: key) }
    return key
  }

  /// The other end has none of these any more, or is another.
  func forget() {
    pending = nil
    current = nil
    previous = nil
    abandon()
  }

  // MARK: The exchange

  /// Begins an exchange in a session, as its initiator.
  func begin(at now: Instant, using random: inout some RandomNumberGenerator) {
    abandon()
    let key = MLKEM768.PrivateKey(using: &random)
    publicKey = key.publicKey
    keyPair = KeyPair(key)
    isOwner = true
    offer(at: now)
  }

  /// The session is over, or the other end does not take part.
  func abandon() {
    keyPair = nil
    publicKey = []
    gathered = Gathered()
    text = []
    proof = []
    isOwner = false
    isDone = false
    tries = 0
    deadline = nil
  }

  /// - Parameters:
  ///   - binding: the session's.
  ///   - statics: the static keys of the session's initiator and responder.
  func receive(
    _ message: TalkMessage, binding: borrowing SecretKey, statics: (PublicKey, PublicKey), at now: Instant,
    using random: inout some RandomNumberGenerator
  ) {
    switch message {
    case .kemKey(let place, let bytes): takeKey(bytes, place, binding, statics, at: now, using: &random)
    case .kemText(let place, let bytes): takeText(bytes, place, binding, statics)
    case .kemDone(let proof):
      guard !isOwner, pending != nil, !self.proof.isEmpty, areEqual(proof, self.proof) else { return }
      confirm()
    case .hello, .helloAnswer, .probe, .probeAnswer: break
    }
  }

  func handleTimeout(at now: Instant) {
    guard let deadline, deadline <= now else { return }
    self.deadline = nil
    if isOwner { offer(at: now) } else { answer(at: now) }
  }

  func nextDeadline() -> Instant? { deadline }

  /// Poll after each call, until `nil`.
  func pollOutput() -> Output? { outputs.isEmpty ? nil : outputs.removeFirst() }

  // MARK: Steps

  private func offer(at now: Instant) {
    guard tries < Self.maximumTries else {
      abandon()
      return
    }
    for (place, piece) in halves(publicKey) { outputs.append(.send(.kemKey(place: place, piece))) }
    waitOnceMore(at: now)
  }

  private func answer(at now: Instant) {
    guard tries < Self.maximumTries, pending != nil, !text.isEmpty else { return }
    for (place, piece) in halves(text) { outputs.append(.send(.kemText(place: place, piece))) }
    waitOnceMore(at: now)
  }

  private func waitOnceMore(at now: Instant) {
    deadline = now + Self.firstWait * Int64(1 << min(tries, 4))
    tries += 1
  }

  private func takeKey(
    _ bytes: [UInt8], _ place: Int, _ binding: borrowing SecretKey, _ statics: (PublicKey, PublicKey), at now: Instant,
    using random: inout some RandomNumberGenerator
  ) {
    guard !isOwner else { return }
    if !text.isEmpty {
      // Once for both pieces: the other end asks again because it has not got all.
      if place == 0, pending != nil { answer(at: now) }
      return
    }
    guard gathered.take(bytes, at: place, of: MLKEM768.publicKeySize) else { return }
    let key = gathered.bytes
    gathered = Gathered()
    // A name must not be that of another secret: nobody could tell which one is meant.
    let taken = [current, previous].compactMap { $0?.name }
    for _ in 0..<16 {
      var ciphertext: [UInt8] = []
      guard let shared = MLKEM768.encapsulate(to: key, into: &ciphertext, using: &random) else { return }
      let (secret, proofs) = Self.derive(shared, key, ciphertext, binding, statics)
      guard !taken.contains(secret.name) else { continue }
      pending = secret
      text = ciphertext + proofs.responder
      proof = proofs.initiator
      tries = 0
      answer(at: now)
      return
    }
  }

  private func takeText(
    _ bytes: [UInt8], _ place: Int, _ binding: borrowing SecretKey, _ statics: (PublicKey, PublicKey)
  ) {
    guard isOwner else { return }
    if isDone {
      if place == 0 { outputs.append(.send(.kemDone(proof))) }
      return
    }
    guard let keyPair, gathered.take(bytes, at: place, of: Self.textSize) else { return }
    let whole = gathered.bytes
    gathered = Gathered()
    let ciphertext = Array(whole[..<MLKEM768.ciphertextSize])
    guard let shared = keyPair.key.decapsulate(ciphertext) else { return }
    let (secret, proofs) = Self.derive(shared, publicKey, ciphertext, binding, statics)
    guard areEqual(Array(whole[MLKEM768.ciphertextSize...]), proofs.responder) else { return }
    self.keyPair = nil
    publicKey = []
    proof = proofs.initiator
    isDone = true
    deadline = nil
    previous = current
    current = secret
    outputs.append(.send(.kemDone(proof)))
    outputs.append(.adopted)
  }

  /// The other end has the pending one.
  private func confirm() {
    previous = current
    current = pending
    pending = nil
    text = []
    gathered = Gathered()
    deadline = nil
    outputs.append(.adopted)
  }

  private func halves(_ bytes: [UInt8]) -> [(Int, [UInt8])] {
    let half = bytes.count / 2
    return [(0, Array(bytes[..<half])), (half, Array(bytes[half...]))]
  }

  /// HKDF with the session's secret as its salt, then with a hash of all that was said; the proofs are those of two ends
  /// that have the same.
  private static func derive(
    _ shared: borrowing SecretKey, _ publicKey: [UInt8], _ ciphertext: [UInt8], _ binding: borrowing SecretKey,
    _ statics: (PublicKey, PublicKey)
  ) -> (Secret, (responder: [UInt8], initiator: [UInt8])) {
    let secret = Secret()
    let proofs = SecretKey()
    let name = SecretKey()
    shared.withUnsafeBytes { KDF.derive(binding, $0, into: secret.key) }
    let transcript = BLAKE2s.hash(label + statics.0.bytes + statics.1.bytes + publicKey + ciphertext)
    transcript.withUnsafeBytes { KDF.derive(secret.key, $0, into: secret.key, proofs, name) }
    secret.name = name.withUnsafeBytes { ($0.first ?? 0) % 255 + 1 }
    let bytes = proofs.withUnsafeBytes { Array($0) }
    return (secret, (Array(bytes[..<TalkMessage.proofSize]), Array(bytes[TalkMessage.proofSize...])))
  }

  private func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.withUnsafeBytes { left in right.withUnsafeBytes { Bytes.areEqual(left, $0) } }
  }
}
