import CryptoPrimitives
// The standard library composes text without Foundation, under this name.
@_spi(_Unicode) import Swift
import Values

/// How a password becomes the key of the long-term mechanism (RFC 8489, section 18.5).
public enum PasswordAlgorithm: UInt16, Sendable, Hashable, Codable, CaseIterable {
  case md5 = 1
  case sha256 = 2

  /// Reads PASSWORD-ALGORITHMS: pairs of a number and parameters, which both known ones have none of. Unknown ones are
  /// left out; `nil` when the list is not well formed.
  public static func list(_ value: UnsafeRawBufferPointer) -> [PasswordAlgorithm]? {
    var reader = ByteReader(value)
    var found: [PasswordAlgorithm] = []
    while reader.remaining > 0 {
      guard let number = reader.readUInt16(), let count = reader.readUInt16() else { return nil }
      guard reader.readBytes((Int(count) + 3) & ~3) != nil || reader.remaining < 4 else { return nil }
      if count == 0, let one = PasswordAlgorithm(rawValue: number) { found.append(one) }
    }
    return found
  }

  /// As it stands in PASSWORD-ALGORITHM, and in a row in PASSWORD-ALGORITHMS.
  public static func encoded(_ list: [PasswordAlgorithm]) -> [UInt8] {
    list.flatMap { [UInt8(0), UInt8($0.rawValue), 0, 0] }
  }

  /// The key: a digest of the name, the realm and the password with colons between (section 9.2.2).
  public func key(username: String, realm: String, password: String, _ integrity: STUNIntegrity) -> STUNKey {
    STUNKey(stored(username: username, realm: realm, password: password), integrity)
  }

  /// What a server may keep in place of the password.
  public func stored(username: String, realm: String, password: String) -> [UInt8] {
    let text = Array("\(username):\(OpaqueString.prepared(realm)):\(OpaqueString.prepared(password))".utf8)
    return self == .md5 ? MD5.digest(text) : SHA256.digest(text)
  }
}

/// USERHASH (section 14.4): a user named so that strangers on the way do not learn the name.
public enum UserHash {
  public static func of(username: String, realm: String) -> [UInt8] {
    SHA256.digest(Array("\(username):\(OpaqueString.prepared(realm))".utf8))
  }
}

/// The nonce's own words (section 9.2): `obMatJos2`, then four characters of Base64 that hold 24 bits of features. With
/// them a client knows that what it was offered was not taken out on the way.
public struct NonceFeatures: Sendable, Hashable {
  public static let cookie = "obMatJos2"
  public var hasPasswordAlgorithms: Bool
  public var hasUsernameAnonymity: Bool

  public init(hasPasswordAlgorithms: Bool, hasUsernameAnonymity: Bool) {
    self.hasPasswordAlgorithms = hasPasswordAlgorithms
    self.hasUsernameAnonymity = hasUsernameAnonymity
  }

  /// `nil` for a nonce without the cookie, or with another number of characters behind it than there must be.
  public init?(nonce: some Collection<UInt8>) {
    guard nonce.count >= 13, nonce.starts(with: Self.cookie.utf8) else { return nil }
    let text = String(decoding: nonce.dropFirst(9).prefix(4), as: UTF8.self)
    guard let bits = Base64.decode(text), bits.count == 3 else { return nil }
    hasPasswordAlgorithms = bits[0] & 0x80 != 0
    hasUsernameAnonymity = bits[0] & 0x40 != 0
  }

  /// The thirteen characters that a nonce begins with.
  public var prefix: String {
    let first: UInt8 = (hasPasswordAlgorithms ? 0x80 : 0) | (hasUsernameAnonymity ? 0x40 : 0)
    return Self.cookie + Base64.encode([first, 0, 0])
  }
}

/// Names and passwords of users as they are compared: other spaces become the usual one, and what can be written in
/// several ways is written in the composed one (OpaqueString, RFC 8265, section 4.2).
public enum OpaqueString {
  public static func prepared(_ text: String) -> String {
    if text.utf8.allSatisfy({ $0 < 0x80 }) { return text }
    var scalars = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      scalars.append(scalar.properties.generalCategory == .spaceSeparator ? " " : scalar)
    }
    var composed = String.UnicodeScalarView()
    composed.append(contentsOf: String(scalars)._nfc)
    return String(composed)
  }
}

/// Credentials that are good for a time and known to nobody beforehand (draft-uberti-behave-turn-rest, which every TURN
/// server speaks): the name is a time of expiry and perhaps a user's name, the password a signature of it with a secret
/// that relay and application share.
public enum TimeLimitedCredentials {
  /// `expiry` is in seconds since 1970.
  public static func username(expiry: Int64, user: String = "") -> String {
    user.isEmpty ? "\(expiry)" : "\(expiry):\(user)"
  }

  public static func password(username: String, secret: String) -> String {
    let name = Array(username.utf8)
    return Base64.encode(
      name.withUnsafeBytes {
        HMACSHA1.tag(key: Array(secret.utf8), $0, UnsafeRawBufferPointer(start: nil, count: 0))
      })
  }

  /// When such a name expires: its first, or its last, part between colons that is a number, as both orders are in use.
  public static func expiry(of username: String) -> Int64? {
    let parts = username.split(separator: ":", omittingEmptySubsequences: false)
    if let first = parts.first, let number = seconds(first) { return number }
    return parts.last.flatMap { seconds($0) }
  }

  /// The name of the user for whom it was made: what is not the time.
  public static func user(of username: String) -> String {
    guard let colon = username.firstIndex(of: ":") else { return seconds(username[...]) == nil ? username : "" }
    if seconds(username[..<colon]) != nil { return String(username[username.index(after: colon)...]) }
    guard let last = username.lastIndex(of: ":"), seconds(username[username.index(after: last)...]) != nil else {
      return username
    }
    return String(username[..<last])
  }

  private static func seconds(_ text: Substring) -> Int64? {
    guard (1...15).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int64(text)
  }
}
