import CryptoPrimitives
import Values

/// MACs and cookies (section 5.4.4 and 5.4.7): what keeps strangers silent outside, and a flood cheap.
///
/// `mac1` proves that the sender knows whom it speaks to; without it a message is not there. Under load a device also
/// wants `mac2`: a MAC with a cookie that only the owner of the source address can have read. The cookie itself is a
/// MAC of that address with a secret of the device, so that nothing is stored for anybody.
///
/// ```
///   initiation, mac2 = 0       ────────▶  under load: cookie = MAC(secret, address)
///                              ◀────────  cookie, sealed with a key of our public key, bound to the mac1 of the message
///   next try (5 s later), mac2 ────────▶  mac2 is right: taken, if the address has not had its share
/// ```
///
/// The secret is drawn anew every two minutes and the one before it is still taken, as a cookie may be used for two
/// minutes after it came.
enum MAC {
  static let size = 16

  /// The key that MACs towards the owner of a public key are made with: a hash of a label and the key.
  static func key(_ label: String, of owner: PublicKey) -> [UInt8] {
    BLAKE2s.hash(Array(label.utf8) + owner.bytes)
  }

  /// Writes the MAC of `bytes` into 16 bytes.
  static func make(
    _ bytes: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
  ) {
    BLAKE2s.hash(bytes, key: key, into: room)
  }

  static func isRight(
    _ mac: UnsafeRawBufferPointer, of bytes: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer
  ) -> Bool {
    withMAC(of: bytes, key: key) { Bytes.areEqual($0, mac) }
  }

  static func withMAC<Result>(
    of bytes: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result {
    var room = SIMD16<UInt8>(repeating: 0)
    return withUnsafeMutableBytes(of: &room) { room in
      make(bytes, key: key, into: room)
      return body(UnsafeRawBufferPointer(room))
    }
  }
}

/// The side that is asked: checks MACs and makes cookie replies. It allocates nothing after it was made.
struct CookieChecker: ~Copyable {
  private let mac1Key: [UInt8]
  private let cookieKey: SecretKey
  private var secret = SecretKey()
  private var previousSecret = SecretKey()
  private var secretBirth: Instant?
  private let nonceStart = SecretKey()
  private var nonceNumber: UInt64 = 0
  private var previousEnd: Instant?

  init(for ours: PublicKey) {
    mac1Key = MAC.key(Label.mac1, of: ours)
    cookieKey = SecretKey(MAC.key(Label.cookie, of: ours)) ?? SecretKey()
  }

  /// `mac1Offset` is where the two MACs of a message begin.
  func isMAC1Right(_ datagram: UnsafeRawBufferPointer, mac1Offset: Int) -> Bool {
    guard let mac = Self.part(datagram, mac1Offset), let bytes = Self.head(datagram, mac1Offset) else { return false }
    return mac1Key.withUnsafeBytes { MAC.isRight(mac, of: bytes, key: $0) }
  }

  /// Whether the message carries a second MAC at all: right or not.
  static func hasMAC2(_ datagram: UnsafeRawBufferPointer, mac1Offset: Int) -> Bool {
    guard let mac = part(datagram, mac1Offset &+ MAC.size) else { return false }
    return mac.loadUnaligned(as: SIMD16<UInt8>.self) != SIMD16(repeating: 0)
  }

  /// Whether the message carries a MAC with a cookie that we gave to its source.
  func isMAC2Right(
    _ datagram: UnsafeRawBufferPointer, mac1Offset: Int, from source: Endpoint, at now: Instant
  ) -> Bool {
    let offset = mac1Offset &+ MAC.size
    guard let mac = Self.part(datagram, offset), let bytes = Self.head(datagram, offset) else { return false }
    if let birth = secretBirth, now - birth < WireGuardLimit.cookieSecretTime * 2,
      Self.withCookie(of: source, secret, { MAC.isRight(mac, of: bytes, key: $0) })
    {
      return true
    }
    guard let end = previousEnd, now < end else { return false }
    return Self.withCookie(of: source, previousSecret) { MAC.isRight(mac, of: bytes, key: $0) }
  }

  /// Writes the 64 bytes of a reply to a message whose MACs begin at `mac1Offset`.
  mutating func writeReply(
    to datagram: UnsafeRawBufferPointer, mac1Offset: Int, sender: UInt32, from source: Endpoint, at now: Instant,
    into room: UnsafeMutableRawPointer, using random: inout some RandomNumberGenerator
  ) -> Bool {
    guard let mac1 = Self.part(datagram, mac1Offset) else { return false }
    renewSecret(at: now, using: &random)
    room.store32(MessageType.cookieReply.rawValue, at: 0)
    room.store32(sender, at: CookieReplyMessage.receiverOffset)
    let nonce = room.room(CookieReplyMessage.nonceOffset, XChaChaPoly.nonceSize)
    // Random from its first to its last, and never the same: to draw each costs more than the rest of a reply.
    nonceNumber &+= 1
    nonceStart.withUnsafeBytes { nonce.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<nonce.count])) }
    nonce.storeBytes(
      of: nonce.loadUnaligned(as: UInt64.self) &+ nonceNumber, as: UInt64.self)
    let sealed = room.room(CookieReplyMessage.cookieOffset, MAC.size &+ PacketCipher.tagSize)
    Self.withCookie(of: source, secret) { sealed.copyMemory(from: $0) }
    return XChaChaPoly.seal(sealed, key: cookieKey, nonce: UnsafeRawBufferPointer(nonce), associated: mac1)
  }

  private mutating func renewSecret(at now: Instant, using random: inout some RandomNumberGenerator) {
    if let birth = secretBirth, now - birth < WireGuardLimit.cookieSecretTime { return }
    swap(&secret, &previousSecret)
    previousEnd = secretBirth.map { $0 + WireGuardLimit.cookieSecretTime * 2 }
    secret.draw(using: &random)
    nonceStart.draw(using: &random)
    secretBirth = now
  }

  /// The cookie of a source: a MAC of its address and port.
  private static func withCookie<Result>(
    of source: Endpoint, _ secret: borrowing SecretKey, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result {
    let mapped = source.address.mapped.bigEndian
    let port = source.port.bigEndian
    var room = SIMD32<UInt8>(repeating: 0)
    return withUnsafeMutableBytes(of: &room) { room in
      room.storeBytes(of: mapped, as: UInt128.self)
      room.storeBytes(of: port, toByteOffset: 16, as: UInt16.self)
      return secret.withUnsafeBytes { key in
        MAC.withMAC(of: UnsafeRawBufferPointer(rebasing: room[..<18]), key: key, body)
      }
    }
  }

  private static func part(_ datagram: UnsafeRawBufferPointer, _ offset: Int) -> UnsafeRawBufferPointer? {
    guard offset >= 0, datagram.count &- offset >= MAC.size else { return nil }
    return UnsafeRawBufferPointer(rebasing: datagram[offset..<(offset &+ MAC.size)])
  }

  private static func head(_ datagram: UnsafeRawBufferPointer, _ count: Int) -> UnsafeRawBufferPointer? {
    guard count >= 0, count <= datagram.count else { return nil }
    return UnsafeRawBufferPointer(rebasing: datagram[..<count])
  }
}

/// The side that asks: puts MACs under what we send to one peer, and keeps the cookie that it gave us.
struct CookieJar: ~Copyable {
  private let mac1Key: [UInt8]
  private let cookieKey: SecretKey
  private var lastMAC1 = SIMD16<UInt8>(repeating: 0)
  /// Only an answer to something is opened, and one answer for each message.
  private var awaitsReply = false
  private var cookie = SIMD16<UInt8>(repeating: 0)
  private var cookieBirth: Instant?

  init(of peer: PublicKey) {
    mac1Key = MAC.key(Label.mac1, of: peer)
    cookieKey = SecretKey(MAC.key(Label.cookie, of: peer)) ?? SecretKey()
  }

  /// Writes both MACs at the end of a handshake message.
  mutating func sign(_ message: UnsafeMutableRawBufferPointer, mac1Offset: Int, at now: Instant) {
    precondition(message.count == mac1Offset &+ 2 &* MAC.size)
    let first = UnsafeMutableRawBufferPointer(rebasing: message[mac1Offset..<(mac1Offset &+ MAC.size)])
    let second = UnsafeMutableRawBufferPointer(rebasing: message[(mac1Offset &+ MAC.size)...])
    mac1Key.withUnsafeBytes {
      MAC.make(UnsafeRawBufferPointer(rebasing: message[..<mac1Offset]), key: $0, into: first)
    }
    lastMAC1 = UnsafeRawBufferPointer(first).loadUnaligned(as: SIMD16<UInt8>.self)
    awaitsReply = true
    if let birth = cookieBirth,
      now - birth < WireGuardLimit.cookieSecretTime + TimeSpan(nanoseconds: -WireGuardLimit.cookieLatency.nanoseconds)
    {
      withUnsafeBytes(of: cookie) {
        MAC.make(
          UnsafeRawBufferPointer(rebasing: message[..<(mac1Offset &+ MAC.size)]), key: $0, into: second)
      }
    } else {
      second.initializeMemory(as: UInt8.self, repeating: 0)
    }
  }

  /// Takes a cookie out of a reply; false when it is forged, or an answer to nothing.
  mutating func take(_ reply: CookieReplyMessage, at now: Instant) -> Bool {
    guard awaitsReply else { return false }
    var room = SIMD32<UInt8>(repeating: 0)
    let isOpen = withUnsafeMutableBytes(of: &room) { room in
      room.copyMemory(from: reply.sealedCookie)
      return withUnsafeBytes(of: lastMAC1) {
        XChaChaPoly.open(room, key: cookieKey, nonce: reply.nonce, associated: $0)
      }
    }
    guard isOpen else { return false }
    cookie = room.lowHalf
    cookieBirth = now
    awaitsReply = false
    return true
  }

  /// Whether the next message will carry a cookie.
  func hasCookie(at now: Instant) -> Bool {
    cookieBirth.map { now - $0 < WireGuardLimit.cookieSecretTime } ?? false
  }
}
