import Values

/// SOCKS, versions 4, 4a and 5, with what GOST adds to it: messages to and from bytes, and two small machines for the
/// handshakes of version 5.
///
/// A decoder takes any prefix of a message and says how many bytes are missing, so that messages may arrive in any
/// split; it never takes more than one message, since what follows may belong to TLS or to the target. Names are kept
/// as they came but for those that could not be a host's: a control byte or a blank would travel on into a log line,
/// a header of HTTP, or a C string that ends early.
///
/// An address is `ATYP | ADDR | PORT` (RFC 1928, section 5): four bytes of IPv4, sixteen of IPv6, or a name behind its
/// length.
public enum SOCKSAddress {
  static let ipv4: UInt8 = 1
  static let name: UInt8 = 3
  static let ipv6: UInt8 = 4

  /// The bytes of an address; `nil` when the host is longer than 255 bytes or no host at all. No host is 0.0.0.0.
  public static func encode(_ target: HostPort) -> [UInt8]? {
    var bytes: [UInt8] = []
    switch target.literal {
    case .v4(let bits)?:
      bytes.append(ipv4)
      bytes.append(bigEndian: bits)
    case .v6(let bits)?:
      bytes.append(ipv6)
      bytes.append(bigEndian: bits)
    case nil:
      if target.host.isEmpty {
        bytes += [ipv4, 0, 0, 0, 0]
      } else {
        let host = Array(target.host.utf8)
        guard host.count <= 255, isHost(target.host) else { return nil }
        bytes.append(name)
        bytes.append(UInt8(host.count))
        bytes += host
      }
    }
    bytes.append(bigEndian: target.port)
    return bytes
  }

  /// The host and port in exactly these bytes.
  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> HostPort {
    guard let length = try length(bytes), length == bytes.count else { throw .malformedAddress }
    var reader = ByteReader(bytes)
    let host: String
    switch reader.readUInt8() {
    case ipv4?:
      guard let bits = reader.readUInt32() else { throw .malformedAddress }
      host = IPAddress.v4(bits).description
    case ipv6?:
      guard let bits = reader.readUInt128() else { throw .malformedAddress }
      host = IPAddress.v6(bits).description
    default:
      guard let count = reader.readUInt8(), let text = reader.readBytes(Int(count)),
        let decoded = String(validating: text, as: UTF8.self), isHost(decoded)
      else { throw .malformedName }
      host = decoded
    }
    guard let port = reader.readUInt16() else { throw .malformedAddress }
    return HostPort(host: host, port: port)
  }

  /// The length of the address at the beginning of the bytes; `nil` when they do not say yet.
  static func length(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> Int? {
    guard let type = bytes.first else { return nil }
    switch type {
    case ipv4: return 1 + 4 + 2
    case ipv6: return 1 + 16 + 2
    case name: return bytes.count > 1 ? 2 + Int(bytes[1]) + 2 : nil
    default: throw .addressType(type)
    }
  }

  /// Whether a text may stand where a host is wanted: nothing that breaks a line, a header or a C string. Empty is "this
  /// host", which some commands mean.
  static func isHost(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { $0.value > 0x20 && !(0x7F...0xA0).contains($0.value) }
  }

  /// Decodes a message that is a fixed head and an address behind it.
  static func message<Message>(
    _ bytes: UnsafeRawBufferPointer, head: Int,
    _ make: (UnsafeRawBufferPointer, HostPort) throws(SOCKSError) -> Message
  ) throws(SOCKSError) -> SOCKSDecoding<Message> {
    // Type and, in a name, its length: what has to be there to know more.
    guard bytes.count > head else { return .needs(head + 2 - bytes.count) }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[head...])
    guard let length = try length(rest) else { return .needs(1) }
    guard rest.count >= length else { return .needs(length - rest.count) }
    let address = try decode(UnsafeRawBufferPointer(rebasing: rest[..<length]))
    return .message(try make(bytes, address), consumed: head + length)
  }
}

/// What a decoder makes of the beginning of a stream.
public enum SOCKSDecoding<Message> {
  /// At least this many bytes more.
  case needs(Int)
  /// A whole message and the bytes it took.
  case message(Message, consumed: Int)
}

/// Why bytes are not SOCKS. The sender of the bytes is to blame in every case.
public enum SOCKSError: Error, Equatable, Sendable {
  /// The first byte is not the version's.
  case version(UInt8)
  /// The credentials are not those of RFC 1929.
  case credentialsVersion(UInt8)
  /// An address of a type that there is not.
  case addressType(UInt8)
  case malformedAddress
  /// A name that no host has.
  case malformedName
  /// A user or name of SOCKS4 that does not end.
  case endless
  /// The server chose a method that was not offered.
  case method(UInt8)
}

extension SOCKSError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .version(let byte): "the version byte is 0x\(String(byte, radix: 16))"
    case .credentialsVersion(let byte): "the credentials begin with 0x\(String(byte, radix: 16)), not 1"
    case .addressType(let byte): "there is no address type 0x\(String(byte, radix: 16))"
    case .malformedAddress: "the address does not have its form"
    case .malformedName: "the host's name has bytes that no name has"
    case .endless: "a text goes on for more than 255 bytes"
    case .method(let byte): "the server chose method 0x\(String(byte, radix: 16)), which was not offered"
    }
  }
}
