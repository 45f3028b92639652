import STUN
import Values

/// Who may use a relay: users with passwords, and whoever shows time-limited credentials that were made with one of the
/// secrets. Several secrets, so that one can be replaced while credentials of the old one are about.
///
/// The type has no description, so that nothing of it is printed by accident.
public struct TurnUsers: Sendable {
  /// What is kept of a user.
  public enum Secret: Sendable, Hashable {
    case password(String)
    /// The MD5 of name, realm and password, as coturn's files may have it: good for that algorithm alone.
    case key([UInt8])
  }

  private let users: [String: Secret]
  private let hashes: [[UInt8]: String]
  private let secrets: [String]

  public init(realm: String, users: [String: Secret] = [:], secrets: [String] = []) {
    self.users = users
    self.secrets = secrets
    hashes = Dictionary(
      users.keys.map { (UserHash.of(username: $0, realm: realm), $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// Whether every name can be found by its hash.
  var canHideNames: Bool { secrets.isEmpty }

  public var isEmpty: Bool { users.isEmpty && secrets.isEmpty }

  /// Of USERHASH. Time-limited names are known to nobody beforehand and cannot be hidden so.
  func name(ofHash hash: [UInt8]) -> String? { hashes[hash] }

  /// The keys of which one has to fit, and the name by which the user's quotas go; empty for strangers.
  func keys(
    of name: String, realm: String, _ algorithm: PasswordAlgorithm, _ integrity: STUNIntegrity, unixSeconds: Int64
  ) -> (keys: [STUNKey], quotaName: String, isExpired: Bool) {
    switch users[name] {
    case .password(let password)?:
      return ([algorithm.key(username: name, realm: realm, password: password, integrity)], name, false)
    case .key(let bytes)?:
      return (algorithm == .md5 ? [STUNKey(bytes, integrity)] : [], name, false)
    case nil: break
    }
    guard !secrets.isEmpty, let expiry = TimeLimitedCredentials.expiry(of: name) else { return ([], name, false) }
    let user = TimeLimitedCredentials.user(of: name)
    let keys = secrets.map {
      algorithm.key(
        username: name, realm: realm, password: TimeLimitedCredentials.password(username: name, secret: $0), integrity)
    }
    return (keys, user.isEmpty ? name : user, expiry < unixSeconds)
  }
}
