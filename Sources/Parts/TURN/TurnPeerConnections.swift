import LinuxIO
import STUN
import TURN
import Values

/// Connections with peers over TCP (RFC 6062): listeners at relayed addresses, connections from them, and what joins a
/// client's stream with a peer's.
///
/// Nothing is read of a peer before its client has a stream for it: what it sends waits in the kernel.
final class TurnPeerConnections {
  private unowned let relay: TurnRelay
  private let joints: StreamJoint.Shared
  private var listeners: [AllocationID: TCPListener] = [:]
  private var waiting: [ConnectionID: TCPStream] = [:]
  private var joined: [ConnectionID: Joined] = [:]

  private struct Joined {
    let joint: StreamJoint
    let id: AllocationID
    let family: AddressFamily
    var counted = Traffic(forward: 0, back: 0)
  }

  init(relay: TurnRelay, joints: StreamJoint.Shared) {
    self.relay = relay
    self.joints = joints
  }

  func listen(_ id: AllocationID, at local: Endpoint) -> Bool {
    var options = relay.outgoing
    options.sharesPort = true
    let listener = try? TCPListener(loop: relay.loop, at: local, options: options) { [weak self] stream in
      self?.accepted(stream, id)
    }
    listeners[id] = listener
    return listener != nil
  }

  func unlisten(_ id: AllocationID) { listeners.removeValue(forKey: id)?.close() }

  private func accepted(_ stream: TCPStream, _ id: AllocationID) {
    guard let remote = stream.receipt.remote,
      let connection = relay.machine.accepted(on: id, from: remote, at: relay.loop.now)
    else { return stream.close() }
    waiting[connection] = stream
    relay.settle()
  }

  func connect(_ id: AllocationID, _ connection: ConnectionID, to peer: Endpoint) {
    var options = relay.outgoing
    options.sharesPort = true
    options.source = listeners[id]?.receipt.local
    let stream = try? TCPStream(loop: relay.loop, to: peer, options: options) { [weak self] failure in
      guard let self else { return }
      if failure != nil { self.waiting[connection] = nil }
      self.relay.machine.connected(connection, failure == nil, at: self.relay.loop.now)
      self.relay.settle()
    }
    guard let stream else {
      relay.machine.connected(connection, false, at: relay.loop.now)
      return
    }
    waiting[connection] = stream
  }

  func join(_ connection: ConnectionID, _ client: TurnStreamClient) {
    let stream = client.release()
    guard let peer = waiting.removeValue(forKey: connection),
      let (id, endpoint) = relay.machine.allocation(of: connection)
    else {
      stream.close()
      return
    }
    let joint = StreamJoint(shared: joints, stream, peer) { [weak self] _ in self?.ended(connection) }
    joined[connection] = Joined(joint: joint, id: id, family: endpoint.family)
    joint.start()
  }

  private func ended(_ connection: ConnectionID) {
    count(connection)
    joined[connection] = nil
    relay.machine.disconnected(connection)
  }

  /// What went through since it was last counted.
  private func count(_ connection: ConnectionID) {
    guard let one = joined[connection] else { return }
    var traffic = TurnTraffic()
    traffic.bytesToPeers = one.joint.traffic.forward &- one.counted.forward
    traffic.bytesToClient = one.joint.traffic.back &- one.counted.back
    relay.count(traffic, of: one.id, peer: one.family)
    joined[connection]?.counted = one.joint.traffic
  }

  func countAll() { for connection in joined.keys { count(connection) } }

  func drop(_ connection: ConnectionID) {
    waiting.removeValue(forKey: connection)?.close()
    count(connection)
    joined.removeValue(forKey: connection)?.joint.close()
  }

  func closeAll() {
    for listener in listeners.values { listener.close() }
    for stream in waiting.values { stream.close() }
    for one in joined.values { one.joint.close() }
    listeners = [:]
    waiting = [:]
    joined = [:]
  }
}
