import CryptoPrimitives
import STUN
import Values

/// Nonces that prove where a client is without a word being kept about it: the time, and a signature of the time and of
/// the client's address with a secret of the relay's (RFC 8489, section 9.2; attack row 8).
///
/// The port is not signed: a client of RFC 6062 shows the nonce of its control connection on a second one, and who can
/// hear at one port of an address can hear at the others.
///
/// ```
///   obMatJos2 | features (4) | Base64 of: seconds (4 bytes) | signature (8 bytes)
/// ```
struct TurnNonce {
  private let secret: [UInt8]
  private let features: String
  private let begin: Instant

  static let size = 29

  /// - Parameter hidesNames: clients are asked to hide names, and must then; where names are made with a secret nobody
  ///   could tell whose they are.
  init(secret: [UInt8], begin: Instant, hidesNames: Bool) {
    self.secret = secret
    self.begin = begin
    features = NonceFeatures(hasPasswordAlgorithms: true, hasUsernameAnonymity: hidesNames).prefix
  }

  /// Those that were made before are old with this.
  func hidingNames(_ hidesNames: Bool) -> TurnNonce {
    TurnNonce(secret: secret, begin: begin, hidesNames: hidesNames)
  }

  func make(for flow: TurnFlow, at now: Instant) -> String {
    let seconds = age(now)
    var bytes: [UInt8] = []
    bytes.append(bigEndian: seconds)
    bytes += signature(seconds, flow)
    return features + Base64.encode(bytes)
  }

  /// Whether it was made here for this flow, and is not too old.
  func isGood(_ nonce: UnsafeRawBufferPointer, for flow: TurnFlow, at now: Instant) -> Bool {
    guard nonce.count == Self.size, nonce.starts(with: features.utf8),
      let bytes = Base64.decode(Array(nonce.dropFirst(features.utf8.count))), bytes.count == 12
    else { return false }
    let seconds = bytes.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let age = Int64(age(now)) - Int64(seconds)
    guard age >= 0, age <= TurnLimit.nonce.nanoseconds / 1_000_000_000 else { return false }
    return signature(seconds, flow).withUnsafeBytes { expected in
      bytes.withUnsafeBytes { ConstantTime.areEqual(expected, UnsafeRawBufferPointer(rebasing: $0[4...])) }
    }
  }

  private func age(_ now: Instant) -> UInt32 {
    UInt32(clamping: (now - begin).nanoseconds / 1_000_000_000)
  }

  private func signature(_ seconds: UInt32, _ flow: TurnFlow) -> [UInt8] {
    var text: [UInt8] = []
    text.append(bigEndian: seconds)
    text.append(bigEndian: flow.remote.address.mapped)
    let tag = text.withUnsafeBytes {
      HMACSHA256.tag(key: secret, $0, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    return Array(tag.prefix(8))
  }
}
