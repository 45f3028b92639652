import STUN
import Values

/// What a relay wants of whoever drives it. Events are taken in order, each before the next packet is handed in.
public enum TurnEvent: Sendable, Hashable {
  /// Bind a socket at the address, and say with `bound` whether it worked. Two for an allocation of both families.
  case bind(AllocationID, relay: Int, Endpoint, isTCP: Bool)
  /// Close one relayed socket, or all of them and what hangs on them.
  case close(AllocationID, relay: Int?)
  /// A client has an allocation now.
  case began(AllocationID)
  /// It came back from elsewhere (RFC 8016).
  case moved(AllocationID, from: TurnFlow)
  case channelBound(AllocationID, relay: Int, number: UInt16, peer: Endpoint, isNew: Bool)
  case channelEnded(AllocationID, relay: Int, number: UInt16, peer: Endpoint)
  /// RFC 6062: connect from the relayed address, and say with `connected`.
  case connect(AllocationID, ConnectionID, peer: Endpoint)
  /// RFC 6062: from here on the client's stream and the peer's are one.
  case join(ConnectionID, TurnFlow)
  /// RFC 6062: close a connection with a peer.
  case drop(ConnectionID)
  case refused(TurnFlow, STUNMethod, STUNErrorCode, detail: String)
}

/// CONNECTION-ID of RFC 6062.
public struct ConnectionID: Hashable, Sendable, Codable {
  public let number: UInt32

  public init(number: UInt32) { self.number = number }
}

/// Why something was not relayed or answered.
public enum TurnDrop: String, Sendable, Hashable, Codable, CaseIterable {
  case malformed, noAllocation, noPermission, noChannel, wrongFamily, ownAddress, forbidden, overBandwidth
  case overSourceBudget, unexpected
}

/// What a relay counts, for metrics: all of it has few names.
public struct TurnCounters: Sendable {
  public var allocations: UInt64 = 0
  /// Data by the client's family and the peer's: "4-4", "4-6", "6-4", "6-6"; those that there was.
  public var translations: [TurnTranslation: TurnTraffic] {
    var found: [TurnTranslation: TurnTraffic] = [:]
    for client in AddressFamily.allCases {
      for peer in AddressFamily.allCases {
        let traffic = self[TurnTranslation(client: client, peer: peer)]
        if traffic != TurnTraffic() { found[TurnTranslation(client: client, peer: peer)] = traffic }
      }
    }
    return found
  }

  /// Counted for every run of packets, so it is a place and no search.
  private var byFamilies = [TurnTraffic](repeating: TurnTraffic(), count: 4)

  subscript(translation: TurnTranslation) -> TurnTraffic {
    get { byFamilies[translation.place] }
    set { byFamilies[translation.place] = newValue }
  }
  /// Error answers by code.
  public var refusals: [Int: UInt64] = [:]
  public var drops: [TurnDrop: UInt64] = [:]
  public var bindings: UInt64 = 0
  /// ICMP errors about what was sent to peers, told to clients.
  public var icmpErrors: UInt64 = 0
}

public struct TurnTranslation: Hashable, Sendable, Codable, CustomStringConvertible {
  public let client: AddressFamily
  public let peer: AddressFamily

  public init(client: AddressFamily, peer: AddressFamily) {
    self.client = client
    self.peer = peer
  }

  public var description: String { "\(client.rawValue)-\(peer.rawValue)" }

  fileprivate var place: Int { (client == .ipv4 ? 0 : 2) + (peer == .ipv4 ? 0 : 1) }
}

/// How a client came to its allocation, and which addresses it was given.
public struct AllocationKind: Hashable, Sendable, CustomStringConvertible {
  public let transport: TurnTransport
  public let client: AddressFamily
  public let hasIPv4: Bool
  public let hasIPv6: Bool

  init(_ allocation: Allocation) {
    transport = allocation.flow.transport
    client = allocation.flow.remote.address.canonical.family
    hasIPv4 = allocation.relays.contains { $0.family == .ipv4 }
    hasIPv6 = allocation.relays.contains { $0.family == .ipv6 }
  }

  /// One or two.
  public var relayed: [AddressFamily] { (hasIPv4 ? [.ipv4] : []) + (hasIPv6 ? [.ipv6] : []) }

  /// `udp IPv4 to IPv6`.
  public var description: String {
    "\(transport) \(client) to \(relayed.map(\.description).joined(separator: "+"))"
  }
}

/// An allocation as it may be shown.
public struct AllocationStatus: Sendable {
  public struct Peer: Sendable {
    public let endpoint: Endpoint
    public let channel: UInt16
    public let relay: Int
  }

  public let id: AllocationID
  public let flow: TurnFlow
  public let username: String
  public let relays: [(local: Endpoint, external: Endpoint)]
  public let permitted: [IPAddress]
  public let peers: [Peer]
  public let traffic: TurnTraffic
  public let begin: Instant
  public let expiry: Instant
  public let isTCP: Bool
}
