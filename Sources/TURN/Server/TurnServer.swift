import CryptoPrimitives
import STUN
import Values

/// A TURN relay (RFC 8656) without its sockets: who has which allocation, who may send through it, and what is answered.
///
/// ```
///   client ──STUN──▶ receive ──▶ answers (pollTransmit), events (pollEvent): bind, close, connect …
///   client ──ChannelData──▶ forward ──▶ which relayed socket, to which peer
///   peer ──▶ arrival ──▶ which client, in which channel or as an indication
/// ```
///
/// Control and data are apart. What a client asks for goes through `receive`, a message at a time. Data goes through
/// `forward` and `arrival`, which are asked once for a run of packets that belong together, look something up, count and
/// answer where to; the bytes stay with the caller.
///
/// Safe by default:
/// - Nothing is kept about anybody whose address is not proven: nonces are signed, not remembered (`TurnNonce`). What
///   strangers are sent is small, and has a budget for each source (`SourceBudget`).
/// - A peer's address is judged by the policy that is handed in, whatever it is written as, when it is permitted and when
///   a channel is bound. The relay's own addresses are reached at the ports of its allocations alone.
/// - Permissions, channels and connections of an allocation are bounded (`TurnLimit.peers`).
/// - What stands behind a message's integrity does not exist (`STUNMessage`).
///
/// Two allocations of one relay may talk: packets then go over the host's loopback, under the addresses that clients know
/// (`Allocation.Channel.wire`).
public struct TurnServer {
  public typealias Judge = (Endpoint) -> String?

  /// An answer, or an indication.
  public struct Transmit: Sendable, Hashable {
    /// The listener in here may be another than the request came by (RFC 5780).
    public let flow: TurnFlow
    public let bytes: [UInt8]
  }

  /// Where data of a client goes.
  public struct Forward: Sendable, Hashable {
    public let id: AllocationID
    public let relay: Int
    public let peer: Endpoint
  }

  /// Where data of a peer goes.
  public struct Delivery: Sendable, Hashable {
    public let flow: TurnFlow
    /// `nil` for a Data indication, which names the peer.
    public let channel: UInt16?
    public let peer: Endpoint
  }

  public internal(set) var counters = TurnCounters()
  public internal(set) var settings: TurnSettings
  /// No new allocations are made (drain).
  public var isDraining = false

  var users: TurnUsers
  var nonces: TurnNonce
  var budget: SourceBudget
  var random: any RandomNumberGenerator
  private var secrets: (any RandomNumberGenerator)?
  var judge: Judge
  private var clock: (at: Instant, unixSeconds: Int64)

  var allocations: [Allocation?] = []
  var freeSlots: [UInt32] = []
  var generations: [UInt32] = []
  var byFlow: [TurnFlow: AllocationID] = [:]
  /// Relayed addresses as the world knows them.
  var byRelayed: [Endpoint: AllocationID] = [:]
  var byTicket: [[UInt8]: AllocationID] = [:]
  var pools: [IPAddress: PortPool] = [:]
  var reservations: [UInt64: Reservation] = [:]
  var userStates = UserStates()
  var bySource: [IPAddress: Int] = [:]
  /// Of what goes to peers, and to clients.
  var totalBuckets: [TokenBucket] = []
  var connections: [ConnectionID: PeerConnection] = [:]
  var pending: [AllocationID: PendingAllocate] = [:]

  private var ends = EndQueue()
  private var transmits: [Transmit] = []
  private var events: [TurnEvent] = []
  /// The flow that sent last, as most packets come in runs.
  private var recent: (flow: TurnFlow, id: AllocationID)?

  struct Reservation {
    let address: RelayAddress
    let port: UInt16
    let expiry: Instant
  }

  /// - Parameters:
  ///   - judge: says why data may not go to an endpoint; `nil` when it may. A port of 0 asks for the address alone.
  ///   - secrets: where what no recording may have is drawn from, if that is another place.
  ///   - unixSeconds: wall time, for time-limited credentials; kept right by `setClock`.
  public init(
    _ settings: TurnSettings, users: TurnUsers, random: any RandomNumberGenerator,
    secrets: (any RandomNumberGenerator)? = nil, at now: Instant, unixSeconds: Int64, judge: @escaping Judge
  ) {
    self.settings = settings
    self.users = users
    self.random = random
    self.secrets = secrets
    self.judge = judge
    clock = (now, unixSeconds)
    nonces = TurnNonce(secret: [], begin: now, hidesNames: users.canHideNames)
    budget = SourceBudget(seed: self.random.next())
    var secret: [UInt8] = []
    for _ in 0..<4 { secret.append(bigEndian: drawSecret()) }
    nonces = TurnNonce(secret: secret, begin: now, hidesNames: users.canHideNames)
    openPools()
    totalBuckets = TokenBucket.pair(settings.totalBandwidth, at: now)
  }

  mutating func drawSecret() -> UInt64 { secrets?.next() ?? random.next() }

  // MARK: Control

  /// Wall time; to be told now and then, as it may be set.
  public mutating func setClock(unixSeconds: Int64, at now: Instant) { clock = (now, unixSeconds) }

  func unixSeconds(at now: Instant) -> Int64 { clock.unixSeconds + (now - clock.at).nanoseconds / 1_000_000_000 }

  /// Four more places at which NATs can be told (RFC 5780), by their listeners' numbers.
  public mutating func addAlternates(_ alternates: TurnAlternates) { settings.alternates.append(alternates) }

  /// A listener is gone, and with it what answers from its place.
  public mutating func removeAlternates(with listener: UInt16) {
    settings.alternates.removeAll { $0.corners.joined().contains { $0.listener == listener } }
  }

  /// What a Send indication asks for: the caller sends the data.
  public struct SendRequest {
    public let forward: Forward
    public let data: UnsafeRawBufferPointer
    public let dontFragment: Bool
  }

  /// A message of a client, of whatever it may be. The bytes are its own, and so are those of the answer.
  ///
  /// - Parameter proof: what it proves, where that was found out before or comes from a recording.
  public mutating func receive(
    _ bytes: UnsafeRawBufferPointer, from flow: TurnFlow, proof: TurnProof? = nil, at now: Instant
  ) -> SendRequest? {
    guard let message = STUNMessage(bytes), message.isFingerprintRight != false else {
      drop(.malformed)
      return nil
    }
    switch (message.kind, message.method) {
    case (.request, .binding): answerBinding(message, flow, at: now)
    case (.indication, .send) where !settings.isSTUNOnly: return send(message, flow, at: now)
    // A keepalive.
    case (.indication, .binding): break
    case (.request, _): handleRequest(message, flow, proof, at: now)
    default: drop(.unexpected)
    }
    return nil
  }

  /// A client's stream has ended: so has its allocation (RFC 8656, section 3.1), unless it may come back.
  public mutating func closed(_ flow: TurnFlow, at now: Instant) {
    guard let id = byFlow[flow], let allocation = self[id] else { return }
    if allocation.ticket == nil { end(id) }
  }

  /// The answer to `bind`.
  public mutating func bound(_ id: AllocationID, relay: Int, _ isGood: Bool, at now: Instant) {
    finishBinding(id, relay: relay, isGood, at: now)
  }

  public mutating func handleTimeout(at now: Instant) {
    while let (id, at) = ends.popDue(at: now) {
      // Of an allocation that has ended, or that is looked after earlier.
      guard self[id]?.watchedAt == at else { continue }
      allocations[Int(id.slot)]?.watchedAt = nil
      if let next = sweep(id, at: now) { watch(id, at: next) }
    }
    for (token, reservation) in reservations where reservation.expiry <= now {
      pools[reservation.address.local]?.free(reservation.port)
      reservations[token] = nil
    }
    expireConnections(at: now)
  }

  public func nextDeadline() -> Instant? {
    if !transmits.isEmpty || !events.isEmpty { return Instant(nanoseconds: .min) }
    var next = ends.next
    for reservation in reservations.values { next = min(next ?? .distantFuture, reservation.expiry) }
    for connection in connections.values {
      if let deadline = connection.deadline { next = min(next ?? .distantFuture, deadline) }
    }
    return next
  }

  public mutating func pollTransmit() -> Transmit? { transmits.isEmpty ? nil : transmits.removeFirst() }
  public mutating func pollEvent() -> TurnEvent? { events.isEmpty ? nil : events.removeFirst() }

  // MARK: Data

  /// Data in a channel: so many packets, of so many bytes together without their headers.
  public mutating func forward(
    channel number: UInt16, from flow: TurnFlow, packets: Int, bytes: Int, at now: Instant
  ) -> Forward? {
    guard let id = allocationID(of: flow) else {
      drop(.noAllocation, packets)
      return nil
    }
    let slot = Int(id.slot)
    guard let index = allocations[slot]?.channels.firstIndex(where: { $0.number == number }),
      let channel = allocations[slot]?.channels[index], channel.expiry > now
    else {
      drop(.noChannel, packets)
      return nil
    }
    return passed(toPeer: channel.wire, Int(channel.relay), id, flow, packets, bytes, at: now)
  }

  /// Data that arrived at a relayed address.
  public mutating func arrival(
    on id: AllocationID, relay: Int, from source: Endpoint, packets: Int, bytes: Int, at now: Instant
  ) -> Delivery? {
    let slot = Int(id.slot)
    guard slot < allocations.count, let flow = allocations[slot]?.flow, allocations[slot]?.id == id else {
      drop(.noAllocation, packets)
      return nil
    }
    if let index = allocations[slot]?.channels.firstIndex(where: { $0.wire == source }),
      let channel = allocations[slot]?.channels[index], channel.expiry > now
    {
      guard channel.permittedUntil > now else {
        drop(.noPermission, packets)
        return nil
      }
      guard passed(toClient: id, flow, source.family, packets, bytes, at: now) else { return nil }
      return Delivery(flow: flow, channel: channel.number, peer: channel.peer)
    }
    let peer = worldly(source)
    guard allocations[slot]?.isPermitted(peer.address.canonical, at: now) == true else {
      drop(.noPermission, packets)
      return nil
    }
    guard passed(toClient: id, flow, source.family, packets, bytes, at: now) else { return nil }
    return Delivery(flow: flow, channel: nil, peer: peer)
  }

  /// An ICMP error about data of a client (RFC 8656, section 11.5): the client is told if it may send there. Who says so
  /// cannot be proven, and need not be: the error names a packet that this relay sent.
  public mutating func icmpError(_ report: ICMPReport, about peer: Endpoint, on id: AllocationID, at now: Instant) {
    let peer = worldly(peer)
    guard let allocation = self[id], !allocation.isTCP, allocation.isPermitted(peer.address, at: now) else {
      return drop(.noPermission)
    }
    var indication = STUNWriter(.indication, .data, TransactionID(using: &random))
    indication.add(.xorPeerAddress, xor: peer)
    indication.add(report)
    counters.icmpErrors &+= 1
    queue(indication.bytes, to: allocation.flow)
  }

  private mutating func allocationID(of flow: TurnFlow) -> AllocationID? {
    if let recent, recent.flow == flow { return recent.id }
    guard let id = byFlow[flow] else { return nil }
    recent = (flow, id)
    return id
  }

  /// Counts what goes to a peer, if it may.
  mutating func passed(
    toPeer peer: Endpoint, _ relay: Int, _ id: AllocationID, _ flow: TurnFlow, _ packets: Int, _ bytes: Int,
    at now: Instant
  ) -> Forward? {
    guard admit(id, bytes, .toPeers, at: now) else {
      drop(.overBandwidth, packets)
      return nil
    }
    allocations[Int(id.slot)]?.traffic.packetsToPeers &+= UInt64(packets)
    allocations[Int(id.slot)]?.traffic.bytesToPeers &+= UInt64(bytes)
    let translation = TurnTranslation(client: flow.remote.address.canonical.family, peer: peer.family)
    counters[translation].packetsToPeers &+= UInt64(packets)
    counters[translation].bytesToPeers &+= UInt64(bytes)
    return Forward(id: id, relay: relay, peer: peer)
  }

  private mutating func passed(
    toClient id: AllocationID, _ flow: TurnFlow, _ family: AddressFamily, _ packets: Int, _ bytes: Int, at now: Instant
  ) -> Bool {
    guard admit(id, bytes, .toClient, at: now) else {
      drop(.overBandwidth, packets)
      return false
    }
    allocations[Int(id.slot)]?.traffic.packetsToClient &+= UInt64(packets)
    allocations[Int(id.slot)]?.traffic.bytesToClient &+= UInt64(bytes)
    let translation = TurnTranslation(client: flow.remote.address.canonical.family, peer: family)
    counters[translation].packetsToClient &+= UInt64(packets)
    counters[translation].bytesToClient &+= UInt64(bytes)
    return true
  }

  /// Whether a channel's peer may send, and the channel lives.
  public func mayReceive(_ id: AllocationID, channel number: UInt16, at now: Instant) -> Bool {
    self[id]?.channels.contains { $0.number == number && $0.expiry > now && $0.permittedUntil > now } ?? false
  }

  /// Data that something else forwarded in our name, to be counted here too; the allocation may have ended since.
  public mutating func count(_ traffic: TurnTraffic, of id: AllocationID, _ translation: TurnTranslation) {
    if let allocation = self[id] { allocations[Int(id.slot)]?.traffic = allocation.traffic + traffic }
    counters[translation] = counters[translation] + traffic
  }

  enum Direction: Int { case toPeers, toClient }

  private mutating func admit(
    _ id: AllocationID, _ bytes: Int, _ direction: Direction, at now: Instant
  ) -> Bool {
    if !totalBuckets.isEmpty, !totalBuckets[direction.rawValue].take(bytes, at: now) { return false }
    guard settings.userBandwidth != nil, let user = allocations[Int(id.slot)]?.user else { return true }
    return userStates.take(bytes, direction, of: user, at: now)
  }

  // MARK: What there is

  public var allocationCount: Int { byFlow.count }
  /// Ports that allocations or reservations have.
  public var usedPorts: Int { pools.values.reduce(0) { $0 + $1.used } }

  public var statuses: [AllocationStatus] {
    allocations.compactMap { $0.map(Self.status) }
  }

  /// Those of a listener's clients, so many at most.
  public func statuses(listener: UInt16, limit: Int) -> [AllocationStatus] {
    var found: [AllocationStatus] = []
    for case let one? in allocations where one.flow.listener == listener && found.count < limit {
      found.append(Self.status(of: one))
    }
    return found
  }

  /// How many allocations there are of each kind.
  public var kinds: [AllocationKind: Int] {
    allocations.reduce(into: [:]) { kinds, one in
      if let one { kinds[AllocationKind(one), default: 0] += 1 }
    }
  }

  /// `nil` when it has ended.
  public func kind(of id: AllocationID) -> AllocationKind? { self[id].map(AllocationKind.init) }

  private static func status(of one: Allocation) -> AllocationStatus {
    AllocationStatus(
      id: one.id, flow: one.flow, username: one.username,
      relays: one.relays.map { ($0.local, $0.external) }, permitted: one.permissions.map(\.address),
      peers: one.channels.map { .init(endpoint: $0.peer, channel: $0.number, relay: Int($0.relay)) },
      traffic: one.traffic, begin: one.begin, expiry: one.relays.map(\.expiry).max() ?? one.begin, isTCP: one.isTCP)
  }

  /// Whether a client has an allocation by a flow.
  public func hasAllocation(by flow: TurnFlow) -> Bool { byFlow[flow] != nil }

  /// Where an allocation's client is.
  public func flow(of id: AllocationID) -> TurnFlow? { self[id]?.flow }

  /// Something that was no message and no channel data.
  public mutating func countMalformed() { drop(.malformed) }

  public func status(of id: AllocationID) -> AllocationStatus? { self[id].map(Self.status) }

  subscript(id: AllocationID) -> Allocation? {
    guard Int(id.slot) < allocations.count, let allocation = allocations[Int(id.slot)], allocation.id == id else {
      return nil
    }
    return allocation
  }

  // MARK: Queues

  mutating func queue(_ event: TurnEvent) { events.append(event) }

  mutating func queue(_ bytes: [UInt8], to flow: TurnFlow) { transmits.append(Transmit(flow: flow, bytes: bytes)) }

  mutating func drop(_ reason: TurnDrop, _ count: Int = 1) { counters.drops[reason, default: 0] &+= UInt64(count) }

  /// Looks after an allocation then, or when that has been agreed already: an entry for each allocation, as a rule.
  mutating func watch(_ id: AllocationID, at instant: Instant) {
    guard let allocation = self[id] else { return }
    if let earlier = allocation.watchedAt, earlier <= instant { return }
    allocations[Int(id.slot)]?.watchedAt = instant
    ends.push(id, at: instant)
  }

  mutating func forgetRecent() { recent = nil }
}

/// When something ends next, for each allocation that there is; entries of former ends are passed over.
struct EndQueue {
  private var heap: [(at: Instant, id: AllocationID)] = []

  var next: Instant? { heap.first?.at }

  mutating func push(_ id: AllocationID, at instant: Instant) {
    heap.append((instant, id))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].at < heap[parent].at else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  mutating func popDue(at now: Instant) -> (id: AllocationID, at: Instant)? {
    guard let first = heap.first, first.at <= now else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      var parent = 0
      while true {
        let left = 2 * parent + 1
        guard left < heap.count else { break }
        let child = left + 1 < heap.count && heap[left + 1].at < heap[left].at ? left + 1 : left
        guard heap[child].at < heap[parent].at else { break }
        heap.swapAt(child, parent)
        parent = child
      }
    }
    return (first.id, first.at)
  }
}

/// Users who have allocations: how many, and how much they may send.
struct UserStates {
  private struct State {
    var count = 0
    var buckets: [TokenBucket] = []
  }

  private var indices: [String: Int] = [:]
  private var states: [State?] = []
  private var names: [String] = []
  private var free: [Int] = []

  func count(of name: String) -> Int { indices[name].flatMap { states[$0]?.count } ?? 0 }

  mutating func enter(_ name: String, rate: Int?, at now: Instant) -> Int {
    if let index = indices[name] {
      states[index]?.count += 1
      return index
    }
    let state = State(count: 1, buckets: TokenBucket.pair(rate, at: now))
    let index: Int
    if let reused = free.popLast() {
      index = reused
      states[index] = state
      names[index] = name
    } else {
      index = states.count
      states.append(state)
      names.append(name)
    }
    indices[name] = index
    return index
  }

  mutating func leave(_ index: Int) {
    guard index < states.count, states[index] != nil else { return }
    states[index]?.count -= 1
    guard states[index]?.count == 0 else { return }
    indices[names[index]] = nil
    states[index] = nil
    names[index] = ""
    free.append(index)
  }

  mutating func take(
    _ bytes: Int, _ direction: TurnServer.Direction, of index: Int, at now: Instant
  ) -> Bool {
    guard index < states.count, states[index]?.buckets.isEmpty == false else { return true }
    return states[index]?.buckets[direction.rawValue].take(bytes, at: now) == true
  }

  mutating func setRate(_ rate: Int?, at now: Instant) {
    for index in states.indices where states[index] != nil {
      states[index]?.buckets = TokenBucket.pair(rate, at: now)
    }
  }
}
