import STUN
import Values

/// How a client reaches the relay.
public enum TurnTransport: UInt8, Sendable, Hashable, Codable, CaseIterable {
  case udp, tcp, tls, dtls

  /// Whether messages come as a stream, and channel data is padded.
  public var isStream: Bool { self == .tcp || self == .tls }
}

/// The five-tuple by which a client's allocation is known (RFC 8656, section 3.2), and the listener at which it came.
public struct TurnFlow: Hashable, Sendable, Codable {
  public let listener: UInt16
  public let transport: TurnTransport
  public let remote: Endpoint
  public let local: Endpoint

  public init(listener: UInt16, transport: TurnTransport, remote: Endpoint, local: Endpoint) {
    self.listener = listener
    self.transport = transport
    self.remote = remote
    self.local = local
  }
}

/// An address at which allocations are made, and the one that the world knows it by where a translator stands between.
public struct RelayAddress: Hashable, Sendable, Codable {
  public let local: IPAddress
  public let external: IPAddress

  public init(local: IPAddress, external: IPAddress? = nil) {
    self.local = local
    self.external = external ?? local
  }
}

/// What a relay is to do. Times are in nanoseconds as everywhere, rates in bytes a second.
public struct TurnSettings: Sendable {
  public var realm = "culvert"
  /// Written into answers to authenticated clients; `nil` to say nothing.
  public var software: String?
  public var addresses: [RelayAddress] = []
  /// Of allocations for clients that name none (RFC 8656, section 7.2: IPv4).
  public var defaultFamily = AddressFamily.ipv4
  /// Of allocations.
  public var ports: ClosedRange<UInt16> = 49_152...65_535
  /// When a client asks for nothing, or for less (RFC 8656, section 3.2).
  public var lifetime = TimeSpan.seconds(600)
  public var maximumLifetime = TimeSpan.seconds(3_600)
  public var isMobile = false
  /// RFC 6062.
  public var relaysTCP = false
  /// Whether anybody may use it without credentials. For tests of one's own on loopback.
  public var isOpen = false
  /// Only Binding is answered.
  public var isSTUNOnly = false
  /// Allocations; `nil` for as many as there are ports.
  public var userQuota: Int?
  public var sourceQuota: Int?
  public var totalQuota: Int?
  /// Of each direction; `nil` for no limit.
  public var userBandwidth: Int?
  public var totalBandwidth: Int?
  /// Behaviour discovery (RFC 5780), for each family: who answers for each combination of changes.
  public var alternates: [TurnAlternates] = []

  public init() {}
}

/// The four sockets of RFC 5780: two addresses with two ports each, as listeners.
public struct TurnAlternates: Sendable {
  /// Listener and endpoint at [address][port].
  public let corners: [[(listener: UInt16, endpoint: Endpoint)]]

  /// - Parameter corners: two rows, of two addresses, with two ports each.
  public init?(_ corners: [[(listener: UInt16, endpoint: Endpoint)]]) {
    guard corners.count == 2, corners.allSatisfy({ $0.count == 2 }) else { return nil }
    self.corners = corners
  }

  /// The same places with other listeners.
  public func numbered(_ number: (UInt16) -> UInt16) -> TurnAlternates {
    TurnAlternates(numbered: corners.map { row in row.map { (number($0.listener), $0.endpoint) } })
  }

  private init(numbered corners: [[(listener: UInt16, endpoint: Endpoint)]]) { self.corners = corners }

  /// Where the answer leaves, and the address of OTHER-ADDRESS; `nil` when the request came to none of the four.
  func answer(
    at local: Endpoint, changesAddress: Bool, changesPort: Bool
  ) -> (from: (listener: UInt16, endpoint: Endpoint), other: Endpoint)? {
    for address in 0..<2 {
      for port in 0..<2 where corners[address][port].endpoint == local {
        return (
          corners[changesAddress ? 1 - address : address][changesPort ? 1 - port : port],
          corners[1 - address][1 - port].endpoint
        )
      }
    }
    return nil
  }
}

/// The numbers of the papers, and of ours.
public enum TurnLimit {
  /// RFC 8656, section 9.
  public static let permission = TimeSpan.seconds(300)
  /// RFC 8656, section 12.
  public static let channel = TimeSpan.seconds(600)
  /// How long a channel's number and peer are kept for each other after its end (RFC 8656, section 12).
  public static let channelRest = TimeSpan.seconds(300)
  /// Of a reserved port (RFC 8656, section 7.2).
  public static let reservation = TimeSpan.seconds(30)
  /// Of a nonce (RFC 8656, section 5, recommends an hour at most).
  public static let nonce = TimeSpan.seconds(600)
  /// Until a ConnectionBind must have come (RFC 6062, sections 4.3 and 5.2).
  public static let connection = TimeSpan.seconds(30)
  /// Permissions, and channels, of an allocation.
  public static let peers = 256
  /// Connections of an allocation with peers over TCP.
  public static let connections = 64
  /// Ports that are tried before there is none.
  static let attempts = 24
  /// Bytes of an answer to somebody who has not proved who it is, without SOFTWARE.
  public static let challenge = 120
  /// What one source is sent in answers that need no proof: bytes a second, and at once.
  public static let sourceRate = 16_384
  public static let sourceBurst = 65_536
}
