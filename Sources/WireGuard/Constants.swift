import Values

/// The numbers of the paper ("WireGuard: Next Generation Kernel Network Tunnel", section 6.1) under its names, and below
/// them those that the paper leaves to whoever builds one.
public enum WireGuardLimit {
  /// A key that has sealed so many messages is replaced …
  public static let rekeyAfterMessages: UInt64 = 1 << 60
  /// … and one that has sealed so many is not used any more: the window needs the room above it.
  public static let rejectAfterMessages: UInt64 = .max - (1 << 13)
  /// The initiator replaces a key of this age when it sends …
  public static let rekeyAfterTime = TimeSpan.seconds(120)
  /// … and nobody uses one of this age.
  public static let rejectAfterTime = TimeSpan.seconds(180)
  /// So long a handshake is tried again and again.
  public static let rekeyAttemptTime = TimeSpan.seconds(90)
  /// So long an initiation waits for its response.
  public static let rekeyTimeout = TimeSpan.seconds(5)
  /// So long after data came the other end hears from us, even if there is nothing to say.
  public static let keepaliveTimeout = TimeSpan.seconds(10)

  /// Added to every wait for a response, so that two ends that began at once do not do so again (section 6.4).
  public static let maximumJitter = TimeSpan.milliseconds(333)
  /// Of the secret behind cookies, and of a cookie (section 5.4.7).
  public static let cookieSecretTime = TimeSpan.seconds(120)
  /// A cookie is not used in its last seconds, as it has to arrive.
  public static let cookieLatency = TimeSpan.seconds(5)
  /// Keys and handshakes are forgotten after so much time without a new session (section 6.3).
  public static let forgetAfterTime = rejectAfterTime * 3
  /// Initiations of one peer closer together than this are a flood.
  public static let initiationInterval = TimeSpan.milliseconds(20)

  /// Contents are padded to a multiple of this many bytes (section 5.4.6).
  public static let padding = 16
  /// The header of a transport message.
  public static let headerSize = 16
  /// Header and tag: what a message adds to its content.
  public static let overhead = 32
  /// Counters that the window remembers (RFC 6479).
  public static let windowSize: UInt64 = 8192
}

/// How far a device lets strangers go.
public struct LoadLimits: Sendable, Equatable {
  /// Handshake messages a second, and at once, that are answered without asking for a cookie.
  public var handshakes = 500
  public var burst = 1_000
  /// So long a device stays under load after it was.
  public var calm = TimeSpan.seconds(1)
  /// Under load: handshake messages a second, and at once, for each address that has shown its cookie (for IPv6 for
  /// each /64).
  public var perSource = 20
  public var perSourceBurst = 5
  /// Cookie replies a second; beyond that there is no answer at all.
  public var cookies = 10_000
  /// Addresses that are counted at a time.
  public var sources = 4_096

  public init() {}
}

/// Strings that go into hashes (section 5.4).
enum Label {
  static let construction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
  static let identifier = "WireGuard v1 zx2c4 Jason@zx2c4.com"
  static let mac1 = "mac1----"
  static let cookie = "cookie--"
}
