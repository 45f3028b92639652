/// What a message is: the two bits of its class and the twelve of its method, which lie interleaved in the first two
/// bytes (RFC 8489, section 5).
public enum STUNClass: UInt16, Sendable, Hashable, Codable {
  case request = 0x000
  case indication = 0x010
  case success = 0x100
  case failure = 0x110
}

/// What is asked for. Unknown methods are kept.
public struct STUNMethod: RawRepresentable, Sendable, Hashable, Codable {
  /// 0...0xFFF.
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue & 0xFFF }

  /// RFC 8489.
  public static let binding = STUNMethod(rawValue: 0x001)
  /// RFC 8656.
  public static let allocate = STUNMethod(rawValue: 0x003)
  public static let refresh = STUNMethod(rawValue: 0x004)
  public static let send = STUNMethod(rawValue: 0x006)
  public static let data = STUNMethod(rawValue: 0x007)
  public static let createPermission = STUNMethod(rawValue: 0x008)
  public static let channelBind = STUNMethod(rawValue: 0x009)
  /// RFC 6062.
  public static let connect = STUNMethod(rawValue: 0x00A)
  public static let connectionBind = STUNMethod(rawValue: 0x00B)
  public static let connectionAttempt = STUNMethod(rawValue: 0x00C)
}

extension STUNMethod: CustomStringConvertible {
  public var description: String {
    switch self {
    case .binding: "Binding"
    case .allocate: "Allocate"
    case .refresh: "Refresh"
    case .send: "Send"
    case .data: "Data"
    case .createPermission: "CreatePermission"
    case .channelBind: "ChannelBind"
    case .connect: "Connect"
    case .connectionBind: "ConnectionBind"
    case .connectionAttempt: "ConnectionAttempt"
    default: "method \(rawValue)"
    }
  }
}

extension STUNClass {
  /// The message type of a method in this class.
  func type(of method: STUNMethod) -> UInt16 {
    let bits = method.rawValue
    return rawValue | bits & 0x000F | (bits & 0x0070) << 1 | (bits & 0x0F80) << 2
  }

  /// The class and method of a message type; `nil` when the first two bits are not zero.
  static func split(_ type: UInt16) -> (STUNClass, STUNMethod)? {
    guard type & 0xC000 == 0, let kind = STUNClass(rawValue: type & 0x0110) else { return nil }
    return (kind, STUNMethod(rawValue: type & 0x000F | (type & 0x00E0) >> 1 | (type & 0x3E00) >> 2))
  }
}

/// The type of an attribute. Those below 0x8000 must be understood, others may be passed over.
public struct STUNAttribute: RawRepresentable, Sendable, Hashable, Codable {
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// Who does not know it has to refuse the message.
  public var isComprehensionRequired: Bool { rawValue < 0x8000 }

  // RFC 8489, section 14.
  public static let mappedAddress = STUNAttribute(rawValue: 0x0001)
  public static let username = STUNAttribute(rawValue: 0x0006)
  public static let messageIntegrity = STUNAttribute(rawValue: 0x0008)
  public static let errorCode = STUNAttribute(rawValue: 0x0009)
  public static let unknownAttributes = STUNAttribute(rawValue: 0x000A)
  public static let realm = STUNAttribute(rawValue: 0x0014)
  public static let nonce = STUNAttribute(rawValue: 0x0015)
  public static let messageIntegritySHA256 = STUNAttribute(rawValue: 0x001C)
  public static let passwordAlgorithm = STUNAttribute(rawValue: 0x001D)
  public static let userHash = STUNAttribute(rawValue: 0x001E)
  public static let xorMappedAddress = STUNAttribute(rawValue: 0x0020)
  public static let passwordAlgorithms = STUNAttribute(rawValue: 0x8002)
  public static let alternateDomain = STUNAttribute(rawValue: 0x8003)
  public static let software = STUNAttribute(rawValue: 0x8022)
  public static let alternateServer = STUNAttribute(rawValue: 0x8023)
  public static let fingerprint = STUNAttribute(rawValue: 0x8028)
  // RFC 8656, section 18.
  public static let channelNumber = STUNAttribute(rawValue: 0x000C)
  public static let lifetime = STUNAttribute(rawValue: 0x000D)
  public static let xorPeerAddress = STUNAttribute(rawValue: 0x0012)
  public static let data = STUNAttribute(rawValue: 0x0013)
  public static let xorRelayedAddress = STUNAttribute(rawValue: 0x0016)
  public static let requestedAddressFamily = STUNAttribute(rawValue: 0x0017)
  public static let evenPort = STUNAttribute(rawValue: 0x0018)
  public static let requestedTransport = STUNAttribute(rawValue: 0x0019)
  public static let dontFragment = STUNAttribute(rawValue: 0x001A)
  public static let reservationToken = STUNAttribute(rawValue: 0x0022)
  public static let additionalAddressFamily = STUNAttribute(rawValue: 0x8000)
  public static let addressErrorCode = STUNAttribute(rawValue: 0x8001)
  public static let icmp = STUNAttribute(rawValue: 0x8004)
  /// RFC 6062.
  public static let connectionID = STUNAttribute(rawValue: 0x002A)
  /// RFC 8016.
  public static let mobilityTicket = STUNAttribute(rawValue: 0x8030)
  /// RFC 7635.
  public static let accessToken = STUNAttribute(rawValue: 0x001B)
  public static let thirdPartyAuthorization = STUNAttribute(rawValue: 0x802E)
  // RFC 5780, section 7.
  public static let changeRequest = STUNAttribute(rawValue: 0x0003)
  public static let padding = STUNAttribute(rawValue: 0x0026)
  public static let responsePort = STUNAttribute(rawValue: 0x0027)
  public static let responseOrigin = STUNAttribute(rawValue: 0x802B)
  public static let otherAddress = STUNAttribute(rawValue: 0x802C)
  // RFC 8445, section 16.1.
  public static let priority = STUNAttribute(rawValue: 0x0024)
  public static let useCandidate = STUNAttribute(rawValue: 0x0025)
  public static let iceControlled = STUNAttribute(rawValue: 0x8029)
  public static let iceControlling = STUNAttribute(rawValue: 0x802A)
}

/// The 96 bits by which a response is known (RFC 8489, section 5).
public struct TransactionID: Hashable, Sendable, Codable {
  public let high: UInt32
  public let low: UInt64

  public init(high: UInt32, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Drawn: it must not be guessed.
  public init(using random: inout some RandomNumberGenerator) {
    high = UInt32(truncatingIfNeeded: random.next())
    low = random.next()
  }
}

/// A code of ERROR-CODE with the sentence that goes with it.
public struct STUNErrorCode: Hashable, Sendable, Codable {
  /// 300...699.
  public let number: Int
  public let reason: String

  public init(_ number: Int, _ reason: String) {
    self.number = number
    self.reason = reason
  }

  // RFC 8489, section 14.8.
  public static let tryAlternate = STUNErrorCode(300, "Try Alternate")
  public static let badRequest = STUNErrorCode(400, "Bad Request")
  public static let unauthenticated = STUNErrorCode(401, "Unauthenticated")
  public static let unknownAttribute = STUNErrorCode(420, "Unknown Attribute")
  public static let staleNonce = STUNErrorCode(438, "Stale Nonce")
  public static let serverError = STUNErrorCode(500, "Server Error")
  // RFC 8656, section 19.
  public static let forbidden = STUNErrorCode(403, "Forbidden")
  public static let allocationMismatch = STUNErrorCode(437, "Allocation Mismatch")
  public static let familyNotSupported = STUNErrorCode(440, "Address Family not Supported")
  public static let wrongCredentials = STUNErrorCode(441, "Wrong Credentials")
  public static let unsupportedTransport = STUNErrorCode(442, "Unsupported Transport Protocol")
  public static let peerFamilyMismatch = STUNErrorCode(443, "Peer Address Family Mismatch")
  public static let quotaReached = STUNErrorCode(486, "Allocation Quota Reached")
  public static let insufficientCapacity = STUNErrorCode(508, "Insufficient Capacity")
  // RFC 6062, section 6.3.
  public static let connectionExists = STUNErrorCode(446, "Connection Already Exists")
  public static let connectionFailed = STUNErrorCode(447, "Connection Timeout or Failure")
  /// RFC 8016, section 3.2.
  public static let mobilityForbidden = STUNErrorCode(405, "Mobility Forbidden")
  /// RFC 8445, section 7.3.1.1.
  public static let roleConflict = STUNErrorCode(487, "Role Conflict")
}

extension STUNErrorCode: CustomStringConvertible {
  public var description: String { "\(number) \(reason)" }
}
