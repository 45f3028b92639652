import STUN
import Values

/// Connections with peers over TCP (RFC 6062).
///
/// ```
///   Connect ──connect──▶ connected ──▶ answered with an ID ──ConnectionBind on a stream of its own──▶ joined
///   a peer connects ──accepted──▶ ConnectionAttempt with an ID ──ConnectionBind──▶ joined
/// ```
///
/// Until a ConnectionBind comes nothing is read of the peer; if none comes in thirty seconds the peer's connection ends.
extension TurnServer {
  struct PeerConnection {
    let allocation: AllocationID
    let peer: Endpoint
    let username: String
    /// The request that waits for its answer, while we connect.
    var request: (head: STUNWriter, asker: Asker, hasIntegrity: Bool, hasFingerprint: Bool)?
    /// Until which a ConnectionBind must come; `nil` while connecting, and once joined.
    var deadline: Instant?
  }

  mutating func connect(_ message: STUNMessage, _ asker: Asker, at now: Instant) {
    guard let id = byFlow[asker.flow], let allocation = self[id], allocation.isTCP else {
      return fail(.allocationMismatch, message, asker, "there is no allocation for TCP")
    }
    guard let named = message.xorAddress(.xorPeerAddress), named.port != 0 else {
      return fail(.badRequest, message, asker, "no peer is named")
    }
    let peer = Endpoint(named.address.canonical, port: named.port)
    if let error = objection(to: peer, allocation) { return fail(error.code, message, asker, error.detail) }
    if connections.values.contains(where: { $0.allocation == id && $0.peer == peer }) {
      return fail(.connectionExists, message, asker, "\(peer) is connected already")
    }
    guard allocation.connections < TurnLimit.connections else {
      return fail(.insufficientCapacity, message, asker, "too many connections")
    }
    let connection = drawConnection()
    connections[connection] = PeerConnection(
      allocation: id, peer: peer, username: asker.name,
      request: (
        STUNWriter(.success, to: message), asker, message.hasIntegrity, message.isFingerprintRight != nil
      ))
    allocations[Int(id.slot)]?.connections += 1
    queue(.connect(id, connection, peer: wire(peer)))
  }

  /// The answer to `connect`.
  public mutating func connected(_ connection: ConnectionID, _ isGood: Bool, at now: Instant) {
    guard var state = connections[connection], let request = state.request else { return }
    state.request = nil
    var writer = request.head
    if isGood {
      writer.add(.connectionID, connection.number)
      state.deadline = now + TurnLimit.connection
      connections[connection] = state
    } else {
      writer = STUNWriter(failing: request.head, .connectionFailed)
      counters.refusals[STUNErrorCode.connectionFailed.number, default: 0] &+= 1
      forget(connection)
    }
    if let software = settings.software { writer.add(.software, software) }
    if request.hasIntegrity { writer.add(integrity: request.asker.key) }
    if request.hasFingerprint { writer.addFingerprint() }
    queue(writer.bytes, to: request.asker.flow)
  }

  /// A peer has connected to a relayed address; `nil` when it may not, and its connection is to be closed.
  public mutating func accepted(on id: AllocationID, from source: Endpoint, at now: Instant) -> ConnectionID? {
    let peer = worldly(source)
    guard let allocation = self[id], allocation.isTCP, allocation.isPermitted(peer.address, at: now),
      allocation.connections < TurnLimit.connections,
      !connections.values.contains(where: { $0.allocation == id && $0.peer == peer })
    else {
      drop(.noPermission)
      return nil
    }
    let connection = drawConnection()
    connections[connection] = PeerConnection(
      allocation: id, peer: peer, username: allocation.username, deadline: now + TurnLimit.connection)
    allocations[Int(id.slot)]?.connections += 1
    var writer = STUNWriter(.indication, .connectionAttempt, TransactionID(using: &random))
    writer.add(.connectionID, connection.number)
    writer.add(.xorPeerAddress, xor: peer)
    queue(writer.bytes, to: allocation.flow)
    return connection
  }

  mutating func bindConnection(_ message: STUNMessage, _ asker: Asker, at now: Instant) {
    guard asker.flow.transport.isStream, byFlow[asker.flow] == nil, let number = message.number(.connectionID),
      var state = connections[ConnectionID(number: number)], let deadline = state.deadline, deadline > now,
      state.username == asker.name
    else { return fail(.badRequest, message, asker, "no such connection waits") }
    state.deadline = nil
    connections[ConnectionID(number: number)] = state
    finish(STUNWriter(.success, to: message), message, asker)
    queue(.join(ConnectionID(number: number), asker.flow))
  }

  /// A peer's connection has ended, joined or not.
  public mutating func disconnected(_ connection: ConnectionID) { forget(connection) }

  /// Data of joined streams is counted with its allocation.
  public func allocation(of connection: ConnectionID) -> (id: AllocationID, peer: Endpoint)? {
    connections[connection].map { ($0.allocation, $0.peer) }
  }

  mutating func expireConnections(at now: Instant) {
    for connection in connectionsInOrder(where: { $0.deadline.map { $0 <= now } ?? false }) {
      forget(connection)
      queue(.drop(connection))
    }
  }

  /// In an order that does not depend on a hash.
  func connectionsInOrder(where isWanted: (PeerConnection) -> Bool) -> [ConnectionID] {
    connections.filter { isWanted($0.value) }.keys.sorted { $0.number < $1.number }
  }

  private mutating func forget(_ connection: ConnectionID) {
    guard let state = connections.removeValue(forKey: connection), self[state.allocation] != nil else { return }
    allocations[Int(state.allocation.slot)]?.connections -= 1
  }

  private mutating func drawConnection() -> ConnectionID {
    while true {
      let connection = ConnectionID(number: UInt32(truncatingIfNeeded: random.next()))
      if connections[connection] == nil { return connection }
    }
  }
}
