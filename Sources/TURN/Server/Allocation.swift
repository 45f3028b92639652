import STUN
import Values

/// Names an allocation for as long as it lives; its place is used again with another generation.
public struct AllocationID: Hashable, Sendable, Codable {
  public let slot: UInt32
  public let generation: UInt32

  public init(slot: UInt32, generation: UInt32) {
    self.slot = slot
    self.generation = generation
  }
}

/// What a client has at the relay: one relayed address or two, who may send to it, and which peers have numbers.
struct Allocation {
  struct Relay {
    let family: AddressFamily
    /// Where the socket is bound, and as the world knows it.
    let local: Endpoint
    let external: Endpoint
    var expiry: Instant
    /// False once it has ended while the allocation's other address lives on.
    var isOpen = true
  }

  struct Permission {
    let address: IPAddress
    var expiry: Instant
  }

  struct Channel {
    let number: UInt16
    /// As the client names the peer.
    let peer: Endpoint
    /// As packets name it: another only when the peer is an allocation of ours behind a translator.
    let wire: Endpoint
    var expiry: Instant
    /// Of the peer's permission, kept here too so that one look is enough.
    var permittedUntil: Instant
    let relay: UInt8
    /// Its end was told; the number rests.
    var hasEnded = false
  }

  let id: AllocationID
  var flow: TurnFlow
  let username: String
  /// Index of the user's quotas.
  let user: Int
  var source: IPAddress
  let isTCP: Bool
  let begin: Instant
  /// Of the Allocate, or of the last Refresh that moved it: a repetition is answered as before.
  var transaction: TransactionID
  var relays: [Relay]
  var reservation: UInt64?
  var permissions: [Permission] = []
  var channels: [Channel] = []
  /// The last one given out, and the one before it, which is good until the last one is used: an answer may be lost.
  var ticket: [UInt8]?
  var formerTicket: [UInt8]?
  var traffic = TurnTraffic()
  /// Sockets that are not bound yet; the answer waits for them.
  var missing = 0
  /// When the relay looks after it next.
  var watchedAt: Instant?
  var connections = 0
  /// The peer of the last Send indication, which the policy has let pass.
  var judged: Endpoint?

  /// When something of it ends next.
  var nextEnd: Instant {
    var next = Instant.distantFuture
    for relay in relays where relay.isOpen { next = min(next, relay.expiry) }
    for permission in permissions { next = min(next, permission.expiry) }
    for channel in channels {
      next = min(next, channel.hasEnded ? channel.expiry + TurnLimit.channelRest : channel.expiry)
    }
    return next
  }

  func relay(of family: AddressFamily) -> Int? { relays.firstIndex { $0.family == family && $0.isOpen } }

  func isPermitted(_ address: IPAddress, at now: Instant) -> Bool {
    permissions.contains { $0.address == address && $0.expiry > now }
  }
}

/// Packets and bytes of data, without headers, in both directions.
public struct TurnTraffic: Sendable, Hashable, Codable {
  public var packetsToPeers: UInt64 = 0
  public var bytesToPeers: UInt64 = 0
  public var packetsToClient: UInt64 = 0
  public var bytesToClient: UInt64 = 0

  public init() {}

  static func + (left: TurnTraffic, right: TurnTraffic) -> TurnTraffic {
    var sum = left
    sum.packetsToPeers &+= right.packetsToPeers
    sum.bytesToPeers &+= right.bytesToPeers
    sum.packetsToClient &+= right.packetsToClient
    sum.bytesToClient &+= right.bytesToClient
    return sum
  }
}
