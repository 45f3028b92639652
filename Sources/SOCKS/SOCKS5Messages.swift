import Values

/// The messages of SOCKS5 (RFC 1928, RFC 1929) with GOST's numbers among them.
///
/// ```
/// greeting     05 | NMETHODS | METHODS          choice   05 | METHOD
/// credentials  01 | ULEN | USER | PLEN | PASS   verdict  01 | STATUS
/// request      05 | CMD | 00 | address          reply    05 | REP | 00 | address
/// ```
public enum SOCKS5 {
  public static let version: UInt8 = 5
  static let credentialsVersion: UInt8 = 1
}

/// How a client shows who it is.
public struct SOCKS5Method: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let none = SOCKS5Method(rawValue: 0x00)
  public static let password = SOCKS5Method(rawValue: 0x02)
  /// GOST's: TLS begins behind the choice.
  public static let tls = SOCKS5Method(rawValue: 0x80)
  /// GOST's: TLS, and in it user and password. A server answers so to `tls` when it wants a password.
  public static let tlsPassword = SOCKS5Method(rawValue: 0x82)
  /// A constant of GOST's that nothing uses.
  public static let mux = SOCKS5Method(rawValue: 0x88)
  public static let unacceptable = SOCKS5Method(rawValue: 0xFF)
}

/// What a request asks for.
public struct SOCKS5Command: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let connect = SOCKS5Command(rawValue: 1)
  public static let bind = SOCKS5Command(rawValue: 2)
  public static let associate = SOCKS5Command(rawValue: 3)
  /// Tor's: the address of a name.
  public static let resolve = SOCKS5Command(rawValue: 0xF0)
  /// Tor's: the name of an address.
  public static let resolvePointer = SOCKS5Command(rawValue: 0xF1)
  /// GOST's: bind, and hand out what connects as streams of smux.
  public static let muxBind = SOCKS5Command(rawValue: 0xF2)
  /// GOST's: datagrams on this stream (`DatagramTunnel`).
  public static let datagramTunnel = SOCKS5Command(rawValue: 0xF3)
}

extension SOCKS5Command: CustomStringConvertible {
  public var description: String {
    switch self {
    case .connect: "CONNECT"
    case .bind: "BIND"
    case .associate: "UDP ASSOCIATE"
    case .resolve: "RESOLVE"
    case .resolvePointer: "RESOLVE_PTR"
    case .muxBind: "mux BIND (0xF2)"
    case .datagramTunnel: "UDP over TCP (0xF3)"
    default: "command 0x\(String(rawValue, radix: 16))"
    }
  }
}

/// How a request ended.
public struct SOCKS5Status: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let succeeded = SOCKS5Status(rawValue: 0)
  public static let generalFailure = SOCKS5Status(rawValue: 1)
  public static let notAllowed = SOCKS5Status(rawValue: 2)
  public static let networkUnreachable = SOCKS5Status(rawValue: 3)
  public static let hostUnreachable = SOCKS5Status(rawValue: 4)
  public static let connectionRefused = SOCKS5Status(rawValue: 5)
  public static let timeToLiveExpired = SOCKS5Status(rawValue: 6)
  public static let commandNotSupported = SOCKS5Status(rawValue: 7)
  public static let addressNotSupported = SOCKS5Status(rawValue: 8)
}

extension SOCKS5Status: CustomStringConvertible {
  public var description: String {
    switch self {
    case .succeeded: "succeeded"
    case .generalFailure: "general failure"
    case .notAllowed: "not allowed"
    case .networkUnreachable: "network unreachable"
    case .hostUnreachable: "host unreachable"
    case .connectionRefused: "connection refused"
    case .timeToLiveExpired: "TTL expired"
    case .commandNotSupported: "command not supported"
    case .addressNotSupported: "address type not supported"
    default: "status \(rawValue)"
    }
  }
}

public struct SOCKS5Greeting: Hashable, Sendable {
  public let methods: [SOCKS5Method]

  /// At most 255 methods are offered.
  public init(methods: [SOCKS5Method]) { self.methods = Array(methods.prefix(255)) }

  public func encode() -> [UInt8] { [SOCKS5.version, UInt8(methods.count)] + methods.map(\.rawValue) }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS5Greeting> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(2) }
    guard version == SOCKS5.version else { throw .version(version) }
    guard let count = reader.readUInt8() else { return .needs(1) }
    guard let methods = reader.readBytes(Int(count)) else { return .needs(Int(count) - reader.remaining) }
    return .message(
      SOCKS5Greeting(methods: methods.map(SOCKS5Method.init(rawValue:))), consumed: reader.offset)
  }
}

public struct SOCKS5Choice: Hashable, Sendable {
  public let method: SOCKS5Method

  public init(_ method: SOCKS5Method) { self.method = method }

  public func encode() -> [UInt8] { [SOCKS5.version, method.rawValue] }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS5Choice> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(2) }
    guard version == SOCKS5.version else { throw .version(version) }
    guard let method = reader.readUInt8() else { return .needs(1) }
    return .message(SOCKS5Choice(SOCKS5Method(rawValue: method)), consumed: 2)
  }
}

/// RFC 1929. A user and a password of at most 255 bytes each; GOST sends them empty when it has none.
public struct SOCKS5Credentials: Hashable, Sendable {
  public let user: [UInt8]
  public let password: [UInt8]

  public init(user: [UInt8], password: [UInt8]) {
    self.user = user
    self.password = password
  }

  /// `nil` when one does not fit its length.
  public func encode() -> [UInt8]? {
    guard user.count <= 255, password.count <= 255 else { return nil }
    return [SOCKS5.credentialsVersion, UInt8(user.count)] + user + [UInt8(password.count)] + password
  }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS5Credentials> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(3) }
    guard version == SOCKS5.credentialsVersion else { throw .credentialsVersion(version) }
    guard let userLength = reader.readUInt8() else { return .needs(2) }
    guard let user = reader.readBytes(Int(userLength)) else { return .needs(Int(userLength) + 1 - reader.remaining) }
    guard let passwordLength = reader.readUInt8() else { return .needs(1) }
    guard let password = reader.readBytes(Int(passwordLength)) else {
      return .needs(Int(passwordLength) - reader.remaining)
    }
    return .message(
      SOCKS5Credentials(user: Array(user), password: Array(password)), consumed: reader.offset)
  }
}

/// The answer to credentials: zero is yes.
public struct SOCKS5Verdict: Hashable, Sendable {
  public let isAllowed: Bool

  public init(isAllowed: Bool) { self.isAllowed = isAllowed }

  public func encode() -> [UInt8] { [SOCKS5.credentialsVersion, isAllowed ? 0 : 1] }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS5Verdict> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(2) }
    // Some servers write the version of SOCKS here; the status says what counts.
    guard version == SOCKS5.credentialsVersion || version == SOCKS5.version else { throw .credentialsVersion(version) }
    guard let status = reader.readUInt8() else { return .needs(1) }
    return .message(SOCKS5Verdict(isAllowed: status == 0), consumed: 2)
  }
}

public struct SOCKS5Request: Hashable, Sendable {
  public let command: SOCKS5Command
  public let address: HostPort

  public init(_ command: SOCKS5Command, _ address: HostPort) {
    self.command = command
    self.address = address
  }

  /// `nil` when the host does not fit.
  public func encode() -> [UInt8]? {
    SOCKSAddress.encode(address).map { [SOCKS5.version, command.rawValue, 0] + $0 }
  }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS5Request> {
    if let version = bytes.first, version != SOCKS5.version { throw .version(version) }
    return try SOCKSAddress.message(bytes, head: 3) { bytes, address in
      SOCKS5Request(SOCKS5Command(rawValue: bytes[1]), address)
    }
  }
}

public struct SOCKS5Reply: Hashable, Sendable {
  public let status: SOCKS5Status
  public let address: HostPort

  public init(_ status: SOCKS5Status, _ address: HostPort = HostPort(host: "0.0.0.0", port: 0)) {
    self.status = status
    self.address = address
  }

  /// An address that does not fit is written as none: the status has to arrive.
  public func encode() -> [UInt8] {
    let bytes = SOCKSAddress.encode(address) ?? [SOCKSAddress.ipv4, 0, 0, 0, 0, 0, 0]
    return [SOCKS5.version, status.rawValue, 0] + bytes
  }

  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<SOCKS5Reply> {
    if let version = bytes.first, version != SOCKS5.version { throw .version(version) }
    return try SOCKSAddress.message(bytes, head: 3) { bytes, address in
      SOCKS5Reply(SOCKS5Status(rawValue: bytes[1]), address)
    }
  }
}
