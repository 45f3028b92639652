import Values

/// SOCKS4, and 4a with names.
///
/// ```
/// request   04 | CMD | PORT | IPv4 | USER 00 [| NAME 00]      reply   00 | CODE | PORT | IPv4
/// ```
///
/// A name follows when the address is 0.0.0.x with x not zero. User and name end where their zero is, so each is held to
/// 255 bytes.
public struct SOCKS4Request: Hashable, Sendable {
  public struct Command: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let connect = Command(rawValue: 1)
    public static let bind = Command(rawValue: 2)
  }

  public static let version: UInt8 = 4
  static let longestText = 255

  public let command: Command
  public let address: HostPort
  public let user: [UInt8]

  public init(_ command: Command, _ address: HostPort, user: [UInt8] = []) {
    self.command = command
    self.address = address
    self.user = user
  }

  /// `nil` for what SOCKS4 cannot say: an IPv6 address, a name where `allowsName` is false (4a), a user or a name that is
  /// too long or has a zero in it. An IPv6 address goes as a name to a server of 4a.
  public func encode(allowsName: Bool = true) -> [UInt8]? {
    guard user.count <= Self.longestText, !user.contains(0) else { return nil }
    var bytes: [UInt8] = [Self.version, command.rawValue]
    bytes.append(bigEndian: address.port)
    if case .v4(let bits)? = address.literal, bits == 0 || bits >> 8 != 0 {
      bytes.append(bigEndian: bits)
      return bytes + user + [0]
    }
    let name = Array(address.host.utf8)
    guard allowsName, !name.isEmpty, name.count <= Self.longestText, SOCKSAddress.isHost(address.host) else {
      return nil
    }
    return bytes + [0, 0, 0, 1] + user + [0] + name + [0]
  }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS4Request> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(9) }
    guard version == Self.version else { throw .version(version) }
    guard let command = reader.readUInt8(), let port = reader.readUInt16(), let bits = reader.readUInt32() else {
      return .needs(9 - bytes.count)
    }
    let hasName = bits != 0 && bits >> 8 == 0
    guard let user = try text(&reader) else { return .needs(hasName ? 2 : 1) }
    var host = IPAddress.v4(bits).description
    if hasName {
      guard let name = try text(&reader) else { return .needs(1) }
      guard let decoded = String(validating: name, as: UTF8.self), !decoded.isEmpty, SOCKSAddress.isHost(decoded) else {
        throw .malformedName
      }
      host = decoded
    }
    return .message(
      SOCKS4Request(Command(rawValue: command), HostPort(host: host, port: port), user: Array(user)),
      consumed: reader.offset)
  }

  /// The bytes before the next zero, which is taken as well; `nil` while there is none.
  private static func text(_ reader: inout ByteReader) throws(SOCKSError) -> UnsafeRawBufferPointer? {
    var probe = reader
    let rest = probe.readRest()
    guard let end = rest.prefix(longestText + 1).firstIndex(of: 0) else {
      if rest.count > longestText { throw .endless }
      return nil
    }
    let text = reader.readBytes(end)
    _ = reader.readUInt8()
    return text
  }
}

public struct SOCKS4Reply: Hashable, Sendable {
  public struct Code: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let granted = Code(rawValue: 90)
    public static let rejected = Code(rawValue: 91)
    /// The server asked the client's host who that is, and nobody answered.
    public static let noIdentity = Code(rawValue: 92)
    public static let wrongUser = Code(rawValue: 93)
  }

  public let code: Code
  public let address: Endpoint

  public init(_ code: Code, _ address: Endpoint = Endpoint(.anyIPv4, port: 0)) {
    self.code = code
    self.address = address
  }

  /// An IPv6 address, which there is no room for, is written as none.
  public func encode() -> [UInt8] {
    var bytes: [UInt8] = [0, code.rawValue]
    bytes.append(bigEndian: address.port)
    if case .v4(let bits) = address.address.canonical {
      bytes.append(bigEndian: bits)
    } else {
      bytes += [0, 0, 0, 0]
    }
    return bytes
  }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS4Reply> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(8) }
    // Zero by the specification; a few servers write 4.
    guard version == 0 || version == SOCKS4Request.version else { throw .version(version) }
    guard let code = reader.readUInt8(), let port = reader.readUInt16(), let bits = reader.readUInt32() else {
      return .needs(8 - bytes.count)
    }
    return .message(
      SOCKS4Reply(Code(rawValue: code), Endpoint(.v4(bits), port: port)), consumed: 8)
  }
}

extension SOCKS4Reply.Code: CustomStringConvertible {
  public var description: String {
    switch self {
    case .granted: "granted"
    case .rejected: "rejected or failed"
    case .noIdentity: "the server cannot ask who the user is"
    case .wrongUser: "the user is not allowed"
    default: "code \(rawValue)"
    }
  }
}
