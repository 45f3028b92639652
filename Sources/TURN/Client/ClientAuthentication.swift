import STUN
import Values

/// The client's part of the long-term credential mechanism (RFC 8489, section 9.2).
///
/// The first request goes without anything. The server answers 401 with its realm and a nonce, and from these the key is
/// made. A nonce that begins with a certain word says which features the server has, so that nobody on the way can take
/// PASSWORD-ALGORITHMS out and leave us with MD5: the nonce would promise what is not there (section 9.2.5). Where the
/// server names algorithms, SHA-256 is taken if it is among them, and all is guarded by MESSAGE-INTEGRITY-SHA256 alone.
///
/// 438 brings a new nonce. 401 to a request that was signed means wrong credentials, unless the nonce is another than the
/// one that was used: then the server began anew, and gets one more try.
struct ClientAuthentication {
  /// What a 401 or 438 leads to.
  enum Verdict: Equatable {
    case again
    case rejected
    case downgraded
    case malformed
  }

  private let credentials: TURNCredentials?
  private var made: (username: String, password: String)?
  private var realm: String?
  private var nonce: [UInt8] = []
  private var features = NonceFeatures(hasPasswordAlgorithms: false, hasUsernameAnonymity: false)
  /// As the server wrote them, to be sent back.
  private var algorithms: [UInt8]?
  private var algorithm = PasswordAlgorithm.md5
  private(set) var key: STUNKey?

  private static let largestNonce = 763

  init(_ credentials: TURNCredentials?) { self.credentials = credentials }

  /// Credentials made from a secret are made anew, for a new allocation.
  mutating func forgetName() {
    guard case .secret? = credentials?.kind else { return }
    made = nil
    key = nil
  }

  /// Signs a request, where the server has asked for that; the key that its answer has to be made with.
  mutating func sign(_ writer: inout STUNWriter, unixTime: Int64) -> STUNKey? {
    guard let realm, let credentials else { return nil }
    let (username, password) = made ?? credentials.made(at: unixTime)
    made = (username, password)
    let key =
      key
      ?? algorithm.key(
        username: username, realm: realm, password: password, algorithms == nil ? .sha1 : .sha256)
    self.key = key
    if features.hasUsernameAnonymity {
      writer.add(.userHash, UserHash.of(username: username, realm: realm))
    } else {
      writer.add(.username, username)
    }
    writer.add(.realm, realm)
    writer.add(.nonce, nonce)
    if let algorithms {
      writer.add(.passwordAlgorithms, algorithms)
      writer.add(.passwordAlgorithm, PasswordAlgorithm.encoded([algorithm]))
    }
    writer.add(integrity: key)
    return key
  }

  /// Takes what a 401 or a 438 says.
  ///
  /// - Parameter wasSigned: the request that it answers.
  mutating func take(_ error: STUNErrorCode, _ message: STUNMessage, wasSigned: Bool) -> Verdict {
    guard let realm = message.text(.realm) ?? (error.number == 438 ? self.realm : nil),
      let nonce = message.bytes(.nonce), !nonce.isEmpty, nonce.count <= Self.largestNonce
    else { return .malformed }
    guard credentials != nil else { return .rejected }
    // Wrong, unless another server sits there now.
    if error.number == 401, wasSigned, nonce == self.nonce, realm == self.realm { return .rejected }
    let features =
      NonceFeatures(nonce: nonce) ?? NonceFeatures(hasPasswordAlgorithms: false, hasUsernameAnonymity: false)
    var algorithms: [UInt8]?
    var algorithm = PasswordAlgorithm.md5
    if features.hasPasswordAlgorithms {
      guard let value = message[.passwordAlgorithms] else { return .downgraded }
      guard let list = PasswordAlgorithm.list(value) else { return .malformed }
      guard let best = list.contains(.sha256) ? .sha256 : list.first else { return .malformed }
      algorithms = [UInt8](value)
      algorithm = best
    }
    if realm != self.realm || algorithm != self.algorithm || (algorithms == nil) != (self.algorithms == nil) {
      key = nil
    }
    self.realm = realm
    self.nonce = nonce
    self.features = features
    self.algorithms = algorithms
    self.algorithm = algorithm
    return .again
  }
}
