import Values

/// The server's table: which client is behind which inner address, and who may say so.
///
/// GOST lets the last announcement win, forwards packets of anybody, and drops what it does not like without a word.
/// Here an address belongs to the client that announced it, a packet must come from the client that its source address
/// belongs to, and every refusal has a reason that the owner logs (once for each cause and client, not for each packet).
///
/// **Taking an address over.** With an auther, the passphrase decides: who proves it gets the address at once, from
/// wherever. Without one nobody can prove anything, and a client's new socket after a restart or a new network looks
/// like a thief's. So a holder that is alive keeps the address: it passes on only when the holder has been silent for
/// `silence`. A client that restarts waits that long at most.
///
/// **A refused announcement is kept for that time**, because GOST's client says it once for a connection and, without
/// `keepAlive`, never again: whoever owns the table arms a timer for `nextDeadline()` and calls `settleClaims(at:)`,
/// which decides the refused ones anew, once.
public struct TunRegistry<Key: Hashable & Sendable>: Sendable {
  /// How long a holder must have been silent before another client may have its address, without an auther.
  public static var silence: TimeSpan { .seconds(2) }
  /// Clients beyond this are refused: an announcement costs a stranger nothing and must cost us little.
  public static var maximumClients: Int { 16_384 }
  /// Refused announcements beyond this are not kept.
  public static var maximumClaims: Int { 256 }

  public struct Client: Sendable {
    public let key: Key
    public var addresses: [IPAddress]
    public let since: Instant
    public var lastHeard: Instant
  }

  public enum Outcome: Equatable, Sendable {
    /// Answer it. `isNew` when the key or its addresses were not there before; `displaced` are clients that lost one.
    case accepted(isNew: Bool, displaced: [Key])
    case refused(Refusal)
  }

  /// Why an announcement is not answered.
  public enum Refusal: Equatable, Hashable, Sendable {
    /// The address is the server's own: both ends have the same `net` address.
    case serversOwnAddress(IPAddress)
    /// The auther does not know this address with this passphrase.
    case wrongPassphrase(IPAddress)
    /// Another client that is alive has it.
    case heldByAnother(IPAddress)
    case tooManyClients
  }

  /// Why a packet of a client goes nowhere.
  public enum Drop: Int, Hashable, Sendable, CaseIterable {
    /// The sender has not announced itself.
    case unknownSender
    /// The source address belongs to somebody else or to nobody.
    case foreignSource
    /// No client and no route has the destination.
    case noRoute
    /// Not an IP packet.
    case malformed
    /// Went through congestion, and its sender would not understand a mark (RFC 6040).
    case congestion
  }

  /// Where an inner address is.
  public enum Destination: Equatable, Sendable {
    case client(Key)
    case device
  }

  /// An announcement that was refused for a holder's sake, and when the holder will have been silent for long enough.
  private struct Claim {
    let announcement: TunHandshake.Announcement
    let due: Instant
    /// Earlier ones are decided first: two may want the same address.
    let number: UInt64
  }

  private let ownAddresses: Set<IPAddress>
  private let pointToPoint: Bool
  private var clients: [Key: Client] = [:]
  private var holders: [IPAddress: Key] = [:]
  private var claims: [Key: Claim] = [:]
  private var nextClaim: UInt64 = 0
  /// Networks behind clients: the gateway is a client's inner address.
  private var routes = PrefixTable<IPAddress>()

  /// - Parameters:
  ///   - routes: networks with the inner address of the client that they are behind.
  ///   - pointToPoint: one client at a time, no look-up: what comes in goes to it (`p2p`).
  public init(ownAddresses: [IPAddress], routes: [(IPPrefix, gateway: IPAddress)], pointToPoint: Bool) {
    self.ownAddresses = Set(ownAddresses)
    self.pointToPoint = pointToPoint
    for (prefix, gateway) in routes { self.routes.insert(gateway, for: prefix) }
  }

  /// Takes an announcement. `isAllowed` is the auther's answer for an address with the announcement's passphrase; pass
  /// `nil` when there is no auther.
  public mutating func announce(
    _ announcement: TunHandshake.Announcement, from key: Key, isAllowed: ((IPAddress) -> Bool)?, at now: Instant
  ) -> Outcome {
    let outcome = decide(announcement, from: key, isAllowed: isAllowed, at: now)
    if case .refused(.heldByAnother(let address)) = outcome, let holder = holders[address],
      let client = clients[holder], claims[key] != nil || claims.count < Self.maximumClaims
    {
      claims[key] = Claim(announcement: announcement, due: client.lastHeard + Self.silence, number: nextClaim)
      nextClaim &+= 1
    } else {
      claims[key] = nil
    }
    return outcome
  }

  /// When the next refused announcement can be decided anew.
  public func nextDeadline() -> Instant? { claims.values.lazy.map(\.due).min() }

  /// Decides the refused announcements whose time has come, for good: a holder that was heard since is alive.
  public mutating func settleClaims(at now: Instant) -> [(key: Key, announcement: TunHandshake.Announcement, Outcome)] {
    let due = claims.filter { $0.value.due <= now }.sorted { $0.value.number < $1.value.number }
    return due.map { key, claim in
      claims[key] = nil
      return (key, claim.announcement, decide(claim.announcement, from: key, isAllowed: nil, at: now))
    }
  }

  private mutating func decide(
    _ announcement: TunHandshake.Announcement, from key: Key, isAllowed: ((IPAddress) -> Bool)?, at now: Instant
  ) -> Outcome {
    for address in announcement.addresses {
      if ownAddresses.contains(address) { return .refused(.serversOwnAddress(address)) }
      if let isAllowed, !isAllowed(address) { return .refused(.wrongPassphrase(address)) }
    }
    var displaced: [Key] = []
    for address in announcement.addresses {
      guard let holder = holders[address], holder != key, let client = clients[holder] else { continue }
      if isAllowed == nil, now - client.lastHeard < Self.silence { return .refused(.heldByAnother(address)) }
      if !displaced.contains(holder) { displaced.append(holder) }
    }
    if pointToPoint {
      for (other, client) in clients where other != key && !displaced.contains(other) {
        if isAllowed == nil, now - client.lastHeard < Self.silence, let held = client.addresses.first {
          return .refused(.heldByAnother(held))
        }
        displaced.append(other)
      }
    }
    guard clients[key] != nil || clients.count - displaced.count < Self.maximumClients else {
      return .refused(.tooManyClients)
    }
    for other in displaced { remove(other) }
    let known = clients[key]
    for address in known?.addresses ?? [] where !announcement.addresses.contains(address) { holders[address] = nil }
    for address in announcement.addresses { holders[address] = key }
    clients[key] = Client(
      key: key, addresses: announcement.addresses, since: known?.since ?? now, lastHeard: now)
    return .accepted(isNew: known?.addresses != announcement.addresses, displaced: displaced)
  }

  /// Whether a packet with this source may come from this client; notes that the client is alive.
  public mutating func admit(source: IPAddress, from key: Key, at now: Instant) -> Drop? {
    guard var client = clients[key] else { return .unknownSender }
    // Written back whole: to change it in place, a dictionary allocates three times, and this is the packet path.
    client.lastHeard = now
    clients[key] = client
    if pointToPoint || holders[source] == key { return nil }
    if let gateway = routes.lookup(source), holders[gateway] == key { return nil }
    return .foreignSource
  }

  /// The client that an inner address is behind; `nil` when none is.
  public func client(for destination: IPAddress) -> Key? {
    if pointToPoint { return clients.keys.first }
    if let key = holders[destination] { return key }
    if let gateway = routes.lookup(destination) { return holders[gateway] }
    return nil
  }

  public subscript(key: Key) -> Client? { clients[key] }

  public mutating func remove(_ key: Key) {
    guard let client = clients.removeValue(forKey: key) else { return }
    for address in client.addresses where holders[address] == key { holders[address] = nil }
  }

  public var all: [Client] { Array(clients.values) }
  public var count: Int { clients.count }
}

extension TunRegistry.Refusal: CustomStringConvertible {
  public var description: String {
    switch self {
    case .serversOwnAddress(let address):
      "\(address) is this server's own address; give the client another one in its net"
    case .wrongPassphrase(let address):
      "the auther does not accept the user \(address) with the passphrase that was sent"
    case .heldByAnother(let address):
      "\(address) belongs to another client that is alive; two clients have the same net address"
    case .tooManyClients: "the table of clients is full"
    }
  }
}
