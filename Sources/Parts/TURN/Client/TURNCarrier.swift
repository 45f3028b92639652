import LinuxIO
import TURN
import Values

/// Datagrams to one peer through an allocation.
final class TURNCarrier: DatagramCarrier {
  private let session: TURNSession
  let peer: Endpoint
  private let role: Role
  weak var receiver: (any DatagramReceiver)?
  private var forth: UInt64 = 0
  private var back: UInt64 = 0
  private var isClosed = false
  private var farReport: String?

  init(session: TURNSession, peer: Endpoint, role: Role) {
    self.session = session
    self.peer = peer
    self.role = role
  }

  var headroom: Int { TURNClient.headroom }
  var packetLimit: Int? { session.end?.packetLimit }
  /// What was said last of the way to the peer, or of the way to the relay.
  var lastReport: String? {
    get { farReport ?? session.end?.lastReport }
    set { farReport = newValue }
  }
  /// The relay speaks TURN, or there would be no carrier.
  var nodeAnswered: Bool? { session.allocation != nil }

  var legs: [Leg] {
    [session.ownLeg(traffic: Traffic(forward: forth, back: back)), session.farLeg(to: peer, role)]
  }

  func send(_ batch: inout PacketBatch) -> Bool {
    guard !isClosed else { return true }
    for index in 0..<batch.count { forth &+= UInt64(batch.slot(index).length) }
    return session.send(&batch, to: peer)
  }

  func take(_ batch: inout PacketBatch) {
    farReport = nil
    for index in 0..<batch.count { back &+= UInt64(batch.slot(index).length) }
    receiver?.carrierReceived(&batch, from: self)
  }

  func writable() { receiver?.carrierWritable(self) }
  func renewed() { receiver?.carrierRenewed(self) }

  func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    isClosed = true
    receiver?.carrierFailed(self, failure)
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    receiver = nil
    session.remove(self)
  }
}
