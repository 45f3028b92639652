import LinuxIO
import PacketOffload
import RecordedMachines
import TunProtocol
import Values

/// The handler `tun` with a forwarder: the client's end of a tunnel.
///
/// Two pumps on one carrier. Out: the device's packets are read into a batch that has the carrier's headroom and leave
/// in it; while the carrier is full, what the device brings waits in a fair queue (`PacketBacklog`). In: what the
/// carrier brings is sorted (handshakes to the machine, packets to the device) and written.
///
/// `TunClient` says when to announce and when to give up; this handler dials, and says why it could not. The same
/// reason is said once, then every half minute while it lasts, so that a night without a network fills no disk.
public final class TunClientHandler: TunPortOwner, DatagramReceiver {
  public struct Settings: Sendable {
    public let target: HostPort
    public let addresses: [IPPrefix]
    public let passphrase: [UInt8]
    public let keepalive: TimeSpan?

    public init(target: HostPort, addresses: [IPPrefix], passphrase: [UInt8], keepalive: TimeSpan?) {
      self.target = target
      self.addresses = addresses
      self.passphrase = passphrase
      self.keepalive = keepalive
    }
  }

  private let loop: EventLoop
  private let log: Log
  private let settings: Settings
  private let route: any Way
  /// The chain's node, for a log line; `nil` without a chain.
  private let nodeName: String?
  private let port: TunPort
  private var machine: RecordedTunClient
  private var queue: CarrierQueue?
  private var isDialing = false
  private var isClosed = false
  private var machineTimer: LoopTimer?
  private var redialTimer: LoopTimer?
  private var outgoing: [Int: PacketBatchBox] = [:]
  private var complaints = ComplaintLimiter<String>()
  private var joinedSince: Instant?
  private var carrierSince: Instant?
  /// Called when the server answered for the first time or the tunnel was lost.
  public var stateChanged: ((Bool) -> Void)?

  public private(set) var sentPackets: UInt64 = 0
  public private(set) var receivedPackets: UInt64 = 0
  public private(set) var sentBytes: UInt64 = 0
  public private(set) var receivedBytes: UInt64 = 0
  /// Datagrams that were neither an IP packet nor a handshake's answer.
  public private(set) var malformed: UInt64 = 0
  /// Packets that waited for a full carrier and were dropped: too long, or too many.
  public var lostWaiting: UInt64 { lostWithCarriers &+ (queue?.lost ?? 0) }
  private var lostWithCarriers: UInt64 = 0
  /// Packets that came through congestion and could not be marked.
  public var congested: UInt64 { congestedBefore &+ (carrier?.congested ?? 0) }
  private var congestedBefore: UInt64 = 0

  private static let batchesPerTurn = 8
  private static let quickRedial = TimeSpan.milliseconds(100)

  public init(loop: EventLoop, log: Log, settings: Settings, route: any Way, nodeName: String?, port: TunPort) {
    self.loop = loop
    self.log = log
    self.settings = settings
    self.route = route
    self.nodeName = nodeName
    self.port = port
    machine = RecordedTunClient(
      addresses: settings.addresses.map(\.address), passphrase: settings.passphrase, keepalive: settings.keepalive,
      loop.recorder, about: "\(settings.target)")
    machineTimer = loop.makeTimer { [weak self] in self?.machineTimeout() }
    redialTimer = loop.makeTimer { [weak self] in self?.dial() }
    port.owner = self
  }

  public func start() { dial() }

  public var isJoined: Bool { machine.isJoined }

  private var carrier: (any DatagramCarrier)? { queue?.carrier }

  public var path: Path? {
    guard let carrier else { return nil }
    return Path(legs: carrier.legs, since: carrierSince ?? loop.now)
  }

  // MARK: Dialling

  private func dial() {
    guard !isClosed, !isDialing, carrier == nil else { return }
    isDialing = true
    route.openDatagrams(to: settings.target, for: nil) { [weak self] result in
      guard let self, !self.isClosed else {
        if case .success(let carrier) = result { carrier.close() }
        return
      }
      self.isDialing = false
      switch result {
      case .success(let carrier): self.opened(carrier)
      case .failure(let failure):
        self.complain(self.dialFailureText(failure))
        self.route.reset()
        self.redialTimer?.arm(after: DialTiming.pause)
      }
    }
  }

  private func opened(_ carrier: any DatagramCarrier) {
    queue = CarrierQueue(loop: loop, carrier: carrier)
    carrierSince = loop.now
    carrier.receiver = self
    machine.handle(.carrierOpened, at: loop.now)
    settle()
    port.readLater()
  }

  private func lose(_ reason: String, redialAfter pause: TimeSpan = DialTiming.pause) {
    // What waited for that carrier is old by the time that there is another.
    closeQueue()
    let wasJoined = joinedSince != nil
    joinedSince = nil
    machine.handle(.carrierClosed, at: loop.now)
    machineTimer?.cancel()
    if wasJoined { stateChanged?(false) }
    complain(reason)
    redialTimer?.arm(after: pause)
  }

  /// The network came back or changed: do not wait for timers.
  ///
  /// - Parameter hostAddresses: what the host has now. A carrier whose own address is gone is dead, and dialled anew at
  ///   once; any other is asked whether it still reaches the server.
  public func networkChanged(hostAddresses: Set<IPAddress>) {
    guard let carrier else {
      if !isDialing { redialTimer?.arm(after: Self.quickRedial) }
      return
    }
    if let own = carrier.legs.first?.local?.value.address.canonical, !own.isUnspecified, !hostAddresses.contains(own) {
      route.reset()
      lose("our address \(own) is gone", redialAfter: Self.quickRedial)
      return
    }
    machine.handle(.networkChanged, at: loop.now)
    settle()
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    machineTimer?.cancel()
    redialTimer?.cancel()
    closeQueue()
    route.close()
  }

  private func closeQueue() {
    guard let queue else { return }
    lostWithCarriers &+= queue.lost
    congestedBefore &+= queue.carrier.congested
    queue.close()
    self.queue = nil
  }

  // MARK: The machine

  private func machineTimeout() {
    machine.handleTimeout(at: loop.now)
    settle()
  }

  /// Does what the machine wants: announcements, events, the next timer.
  private func settle() {
    while let announcement = machine.pollTransmit() { sendControl(announcement) }
    while let event = machine.pollEvent() {
      switch event {
      case .joined(let observed):
        joinedSince = loop.now
        complaints = ComplaintLimiter()
        log.info(
          "tunnel is up", ["server": settings.target, "seen-as": observed, "via": nodeName ?? "direct"])
        stateChanged?(true)
      case .giveUp(let unanswered):
        let report = carrier?.lastReport
        let nodeAnswered = carrier?.nodeAnswered
        let answered = machine.wasAnswered
        route.reset()
        // Silence has cost enough time already.
        lose(
          silenceText(unanswered: unanswered, answeredBefore: answered, report: report, nodeAnswered: nodeAnswered),
          redialAfter: Self.quickRedial)
        return
      }
    }
    machineTimer?.arm(at: machine.nextDeadline()?.0)
  }

  private func sendControl(_ datagram: [UInt8]) {
    guard let queue else { return }
    let box = batch(for: queue.carrier.headroom)
    box.batch.removeAll()
    _ = datagram.withUnsafeBytes { box.batch.append(copying: $0) }
    queue.sendFirst(&box.batch)
  }

  private func batch(for headroom: Int) -> PacketBatchBox {
    if let box = outgoing[headroom] { return box }
    let box = PacketBatchBox(capacity: 192 * 1024, maximumCount: 256, headroom: headroom)
    outgoing[headroom] = box
    return box
  }

  // MARK: The pumps

  public func tunReadable(_ port: TunPort) {
    guard !isClosed else { return }
    let box = batch(for: carrier?.headroom ?? 0)
    for _ in 0..<Self.batchesPerTurn {
      box.batch.removeAll()
      let more = port.read(into: &box.batch)
      if !box.batch.isEmpty, let queue {
        clampSegments(of: &box.batch)
        sentPackets &+= UInt64(box.batch.count)
        sentBytes &+= UInt64(box.batch.end)
        machine.handle(.sent, at: loop.now)
        queue.send(&box.batch)
        machineTimer?.arm(at: machine.nextDeadline()?.0)
      }
      if !more { return }
    }
    port.readLater()
  }

  public func carrierWritable(_ carrier: any DatagramCarrier) {
    guard let queue, carrier === queue.carrier else { return }
    queue.carrierWritable(using: &batch(for: carrier.headroom).batch)
  }

  public func carrierReceived(_ batch: inout PacketBatch, from carrier: any DatagramCarrier) {
    guard carrier === self.carrier else { return }
    var control = false
    var index = 0
    while index < batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      if TunHandshake.isHandshake(packet) {
        if case .answer(let observed) = TunHandshake.classify(packet) {
          machine.handle(.answered(observed: observed), at: loop.now)
          control = true
        } else {
          malformed &+= 1
        }
        batch.removeSlot(at: index)
      } else if IPPacketView.destination(of: packet) == nil {
        malformed &+= 1
        batch.removeSlot(at: index)
      } else {
        receivedBytes &+= UInt64(packet.count)
        index += 1
      }
    }
    if !batch.isEmpty {
      clampSegments(of: &batch)
      receivedPackets &+= UInt64(batch.count)
      machine.handle(.heard, at: loop.now)
      port.write(&batch)
    }
    if control { settle() } else { machineTimer?.arm(at: machine.nextDeadline()?.0) }
  }

  /// The largest packet that crosses in a frame of its own now, bytes; `nil` where packets have none.
  public var packetLimit: Int? { carrier?.packetLimit }

  /// What TCP flows announce in either direction is lowered to what the carrier carries without waiting.
  private func clampSegments(of batch: inout PacketBatch) {
    guard let limit = packetLimit, limit < port.device.mtu else { return }
    for index in 0..<batch.count where batch[index].count < 128 { MSSClamp.clamp(batch[index], mtu: limit) }
  }

  public func carrierFailed(_ carrier: any DatagramCarrier, _ failure: TransportFailure) {
    guard carrier === self.carrier else { return }
    lose(failure.reason)
  }

  // MARK: What the user reads

  private func complain(_ reason: String) {
    guard complaints.isDue("", reason, at: loop.now) else { return }
    log.warn("tunnel is down: \(reason)")
  }

  private func dialFailureText(_ failure: TransportFailure) -> String {
    guard let node = nodeName else { return failure.reason }
    return "node \(node): \(failure.reason)"
  }

  private func silenceText(
    unanswered: Int, answeredBefore: Bool, report: String?, nodeAnswered: Bool?
  ) -> String {
    let target = settings.target
    if answeredBefore {
      return
        "\(target) answered before and now answers nothing; the server is gone or the network is cut; dialling again"
    }
    if let report { return "nothing answers at \(target): \(report)" }
    let start: String
    switch (nodeName, nodeAnswered) {
    case (let node?, false?): start = "node \(node) took the connection and has not said a byte"
    case (let node?, _): start = "node \(node) answered, but nothing came back from \(target)"
    case (nil, _): start = "nothing came back from \(target)"
    }
    // A relay of GOST says its first byte with the target's: its silence may be the target's silence.
    let stranger = nodeAnswered == false ? "the other end does not speak relay; " : ""
    return start
      + " after \(unanswered) announcements; most likely first: no tun service listens at \(target); \(stranger)"
      + "its auther wants another passphrase; another client holds one of our net addresses; a firewall drops UDP. "
      + "They cannot be told apart from here: the server's log says which"
  }
}

/// A batch that a class can keep.
final class PacketBatchBox {
  var batch: PacketBatch

  init(capacity: Int, maximumCount: Int, headroom: Int) {
    batch = PacketBatch(capacity: capacity, maximumCount: maximumCount, headroom: headroom)
  }
}
