import Values

/// The relay protocol, version 1: one request and one response in front of a stream.
///
/// ```
/// request   VER 01 | CMD and flags | FEALEN u16 | features       response  VER 01 | STATUS | FEALEN u16 | features
/// feature   TYPE | LEN u16 | data
/// ```
///
/// The request says what the stream is for (connect to a target, over TCP or UDP), the response says whether that is
/// done, and then the stream carries bytes, or datagrams with a 16-bit length in front of each (`DatagramFraming`).
/// The response may be read late: GOST sends it with the first bytes from the target unless `nodelay` is set, so a
/// client that waits for it before it sends can hang for ever, and one that does not wait works with every server.
///
/// Features of a type we do not know are kept as they are and skipped: GOST 3.2.6 fails on them, later versions do not.
public enum RelayVersion {
  public static let one: UInt8 = 1
}

/// What a request asks for: the low four bits of its second byte.
public struct RelayCommand: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let connect = RelayCommand(rawValue: 1)
  public static let bind = RelayCommand(rawValue: 2)
  public static let associate = RelayCommand(rawValue: 3)

  static let mask: UInt8 = 0x0F
  /// Set for UDP; deprecated in favour of the network feature, and still sent by GOST.
  static let datagramFlag: UInt8 = 0x80
}

/// How a request ended.
public struct RelayStatus: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let ok = RelayStatus(rawValue: 0)
  public static let badRequest = RelayStatus(rawValue: 1)
  public static let unauthorized = RelayStatus(rawValue: 2)
  public static let forbidden = RelayStatus(rawValue: 3)
  public static let timeout = RelayStatus(rawValue: 4)
  public static let serviceUnavailable = RelayStatus(rawValue: 5)
  public static let hostUnreachable = RelayStatus(rawValue: 6)
  public static let networkUnreachable = RelayStatus(rawValue: 7)
  public static let internalError = RelayStatus(rawValue: 8)
}

extension RelayStatus: CustomStringConvertible {
  public var description: String {
    switch self {
    case .ok: "ok"
    case .badRequest: "bad request"
    case .unauthorized: "unauthorized"
    case .forbidden: "forbidden"
    case .timeout: "timeout"
    case .serviceUnavailable: "service unavailable"
    case .hostUnreachable: "host unreachable"
    case .networkUnreachable: "network unreachable"
    case .internalError: "internal error"
    default: "status \(rawValue)"
    }
  }
}

/// What kind of connection a request is for.
public struct RelayNetwork: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let tcp = RelayNetwork(rawValue: 0)
  public static let udp = RelayNetwork(rawValue: 1)
  public static let ip = RelayNetwork(rawValue: 2)
  public static let unix = RelayNetwork(rawValue: 0x10)
  public static let serial = RelayNetwork(rawValue: 0x11)
}

/// One feature of a request or response.
public enum RelayFeature: Hashable, Sendable {
  /// Type 1. User and password, at most 255 bytes each.
  case userAuth(user: [UInt8], password: [UInt8])
  /// Type 2. A host (address or name, at most 255 bytes) and a port.
  case address(HostPort)
  /// Type 3. A tunnel or connector identifier with its flags, kept as bytes.
  case tunnel([UInt8])
  /// Type 4.
  case network(RelayNetwork)
  /// A type that we do not know.
  case unknown(type: UInt8, data: [UInt8])
}

public struct RelayRequest: Hashable, Sendable {
  public let command: RelayCommand
  public let datagramFlag: Bool
  public let features: [RelayFeature]

  public init(command: RelayCommand, datagramFlag: Bool, features: [RelayFeature]) {
    self.command = command
    self.datagramFlag = datagramFlag
    self.features = features
  }

  /// A connect request with its features in GOST's order: network (for UDP only), credentials, address.
  public static func connect(
    to target: HostPort, over network: RelayNetwork, credentials: (user: String, password: String)? = nil
  ) -> RelayRequest {
    var features: [RelayFeature] = network == .tcp ? [] : [.network(network)]
    if let credentials {
      features.append(
        .userAuth(user: Array(credentials.user.utf8), password: Array(credentials.password.utf8)))
    }
    features.append(.address(target))
    return RelayRequest(command: .connect, datagramFlag: network == .udp, features: features)
  }

  /// The network feature, or UDP where only the old flag says so.
  public var network: RelayNetwork {
    for case .network(let network) in features { return network }
    return datagramFlag ? .udp : .tcp
  }

  public var address: HostPort? {
    for case .address(let address) in features { return address }
    return nil
  }

  public var credentials: (user: [UInt8], password: [UInt8])? {
    for case .userAuth(let user, let password) in features { return (user, password) }
    return nil
  }
}

public struct RelayResponse: Hashable, Sendable {
  public let status: RelayStatus
  public let features: [RelayFeature]

  public init(status: RelayStatus, features: [RelayFeature] = []) {
    self.status = status
    self.features = features
  }
}

/// Why bytes are not a relay message. The sender of the bytes is to blame in every case.
public enum RelayError: Error, Equatable, Sendable {
  /// The first byte is not 1: the other end speaks something else.
  case version(UInt8)
  /// A feature's length runs past the features' own length.
  case truncatedFeature(type: UInt8)
  /// A known feature whose data does not have its form.
  case malformedFeature(type: UInt8)
}

extension RelayError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .version(let byte): "the first byte is 0x\(String(byte, radix: 16)), not the relay protocol's version 1"
    case .truncatedFeature(let type): "feature \(type) runs past the end of the message"
    case .malformedFeature(let type): "feature \(type) does not have its form"
    }
  }
}
