import Values

/// GOST's TUN handshake: how a client says which inner addresses are behind its datagrams.
///
/// ```
/// announcement   "GOST" | passphrase, 16 bytes, zero padded | one or more addresses of 16 bytes (IPv4 mapped)
/// answer         "GOST" | the address the server saw, 16 bytes
/// ```
///
/// Everything else on the wire is an IP packet, one a datagram, with no header of its own. A packet that begins with
/// `GOST` and is longer than an answer is an announcement; an IPv4 packet could begin so only with a header of 28
/// bytes, type of service 0x4F and a total length of 21,332, which no tunnel's MTU carries.
public enum TunHandshake {
  public static let magic: UInt32 = 0x474F_5354
  public static let passphraseSize = 16
  static let answerSize = 20
  /// More addresses than a client can sensibly have; a longer list is refused, which bounds a server's work.
  static let maximumAddresses = 64

  /// What a datagram is.
  public enum Kind: Equatable, Sendable {
    case announcement(Announcement)
    case answer(observed: IPAddress)
    case packet
    /// Begins like a handshake and is none.
    case malformed
  }

  public struct Announcement: Equatable, Sendable {
    /// The passphrase without its padding.
    public let passphrase: [UInt8]
    public let addresses: [IPAddress]

    public init(passphrase: [UInt8], addresses: [IPAddress]) {
      self.passphrase = passphrase
      self.addresses = addresses
    }
  }

  /// Whether a datagram begins like a handshake: the only test that a data packet pays for.
  @inlinable
  public static func isHandshake(_ datagram: UnsafeRawBufferPointer) -> Bool {
    datagram.count >= 20 && UInt32(bigEndian: datagram.loadUnaligned(as: UInt32.self)) == magic
  }

  public static func classify(_ datagram: UnsafeRawBufferPointer) -> Kind {
    guard isHandshake(datagram) else { return .packet }
    var reader = ByteReader(datagram)
    _ = reader.readUInt32()
    if datagram.count == answerSize {
      guard let bits = reader.readUInt128() else { return .malformed }
      return .answer(observed: IPAddress(mapped: bits))
    }
    guard let padded = reader.readBytes(passphraseSize), reader.remaining > 0, reader.remaining % 16 == 0,
      reader.remaining / 16 <= maximumAddresses
    else { return .malformed }
    var passphrase = Array(padded)
    while passphrase.last == 0 { passphrase.removeLast() }
    var addresses: [IPAddress] = []
    while let bits = reader.readUInt128() { addresses.append(IPAddress(mapped: bits)) }
    return .announcement(Announcement(passphrase: passphrase, addresses: addresses))
  }

  public static func encode(_ announcement: Announcement) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(bigEndian: magic)
    let passphrase = announcement.passphrase.prefix(passphraseSize)
    bytes += passphrase + [UInt8](repeating: 0, count: passphraseSize - passphrase.count)
    for address in announcement.addresses { bytes.append(bigEndian: address.mapped) }
    return bytes
  }

  public static func encodeAnswer(observed: IPAddress) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(bigEndian: magic)
    bytes.append(bigEndian: observed.mapped)
    return bytes
  }
}
