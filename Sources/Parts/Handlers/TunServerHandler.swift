import LinuxIO
import PacketOffload
import RecordedMachines
import TunProtocol
import Values

/// The handler `tun` without a forwarder: the server's end, one UDP socket and one device for many clients.
///
/// In: a batch of one sender comes; announcements go to the registry, packets are let through only if their source
/// belongs to the sender, and go to another client or to the device. Out: the device's packets are grouped by client
/// and leave as runs. The registry's refusals are logged once for each client and cause, because the client cannot
/// know them and somebody has to say so.
public final class TunServerHandler: TunPortOwner, DatagramSocketHandler {
  public struct Settings {
    public let addresses: [IPPrefix]
    public let routes: [(IPPrefix, gateway: IPAddress)]
    public let pointToPoint: Bool
    /// The auther's answer for a user (an inner address as text) with a passphrase; `nil` without an auther.
    public fileprivate(set) var isAllowed: ((_ user: String, _ passphrase: [UInt8]) -> Bool)?
    /// Whether the auther has that user: for our log alone, a client is told neither.
    public fileprivate(set) var isKnown: (_ user: String) -> Bool

    public init(
      addresses: [IPPrefix], routes: [(IPPrefix, gateway: IPAddress)], pointToPoint: Bool,
      isAllowed: ((String, [UInt8]) -> Bool)?, isKnown: @escaping (String) -> Bool
    ) {
      self.addresses = addresses
      self.routes = routes
      self.pointToPoint = pointToPoint
      self.isAllowed = isAllowed
      self.isKnown = isKnown
    }
  }

  private let loop: EventLoop
  private let log: Log
  private var settings: Settings
  private let port: TunPort
  private let socket: UDPSocket
  private var registry: RecordedTunRegistry
  private var senders: [Endpoint: Sender] = [:]
  private var complaints = ComplaintLimiter<Endpoint>()
  private let outgoing = PacketBatchBox(capacity: 192 * 1024, maximumCount: 256, headroom: 0)
  private var isClosed = false
  private var lastLookup: (address: IPAddress, key: Endpoint?)?
  /// Where refused announcements came in, for as long as the registry keeps them, and the timer that decides them anew.
  private var claimants: [Endpoint: Arrival] = [:]
  private var claimTimer: LoopTimer?

  public private(set) var drops = [Int](repeating: 0, count: TunRegistry<Endpoint>.Drop.allCases.count)
  public private(set) var receivedPackets: UInt64 = 0
  public private(set) var sentPackets: UInt64 = 0

  private static let batchesPerTurn = 8

  /// A client as its last announcement came.
  private struct Sender {
    let receipt: Receipt
    /// It puts congestion marks of the outer header into the packets inside (`TunnelECN`).
    let carriesMarks: Bool
  }

  public init(
    loop: EventLoop, arena: ReceiveArena, log: Log, settings: Settings, local: Endpoint, options: SocketOptions,
    port: TunPort
  ) throws(SystemError) {
    self.loop = loop
    self.log = log
    self.settings = settings
    self.port = port
    registry = RecordedTunRegistry(
      ownAddresses: settings.addresses.map(\.address), routes: settings.routes, pointToPoint: settings.pointToPoint,
      loop.recorder, about: "\(local)")
    socket = try UDPSocket(loop: loop, arena: arena, at: local, options: options)
    socket.handler = self
    port.owner = self
    claimTimer = loop.makeTimer { [weak self] in self?.settleClaims() }
  }

  public var localEndpoint: Endpoint? { socket.receipt.local }

  /// One path for each client.
  public var paths: [(name: String, path: Path)] {
    registry.all.map { client in
      let receipt = senders[client.key]?.receipt
      let leg = Leg(
        from: .us, to: .client, local: receipt?.localFact, remote: receipt?.remoteFact, transport: [.udp])
      let name = client.addresses.map(\.description).joined(separator: ",")
      return (name, Path(legs: [leg], since: client.since))
    }
  }

  /// Other credentials from now on. Clients that announced themselves by what is no longer good have to do so again.
  ///
  /// - Parameter isRevoked: by a user's name, an inner address.
  public func renew(
    isAllowed: ((_ user: String, _ passphrase: [UInt8]) -> Bool)?, isKnown: @escaping (_ user: String) -> Bool,
    isRevoked: (_ user: String) -> Bool
  ) {
    settings.isAllowed = isAllowed
    settings.isKnown = isKnown
    for client in registry.all where client.addresses.contains(where: { isRevoked($0.description) }) {
      registry.remove(client.key)
      senders[client.key] = nil
    }
    lastLookup = nil
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    claimTimer?.cancel()
    socket.close()
  }

  // MARK: From the clients

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    var index = 0
    let sender = arrival.remote
    // Batches are mostly one flow: an address that was let through, and one that is not a client's, are looked up once.
    var admitted: IPAddress?
    var run = ForwardRun()
    while index < batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      if TunHandshake.isHandshake(packet) {
        handshake(packet, arrival)
        admitted = nil
        batch.removeSlot(at: index)
        continue
      }
      guard let source = IPPacketView.source(of: packet), let destination = IPPacketView.destination(of: packet) else {
        drop(.malformed, sender, nil)
        batch.removeSlot(at: index)
        continue
      }
      if source != admitted {
        if let reason = registry.admit(source: source, from: sender, at: loop.now) {
          drop(reason, sender, source)
          batch.removeSlot(at: index)
          continue
        }
        admitted = source
      }
      if arrival.ecn != ECN.incapable, !ECN.decapsulate(batch[index], outer: arrival.ecn) {
        drop(.congestion, sender, source)
        batch.removeSlot(at: index)
        continue
      }
      if !settings.pointToPoint, let other = lookup(destination), other != sender {
        let slot = batch.slot(index)
        let ecn = ECN.bits(of: packet)
        if !run.take(offset: slot.offset, length: slot.length, to: other, ecn: ecn) {
          send(&run, of: batch)
          _ = run.take(offset: slot.offset, length: slot.length, to: other, ecn: ecn)
        }
        batch.removeSlot(at: index)
        continue
      }
      index += 1
    }
    send(&run, of: batch)
    guard !batch.isEmpty else { return }
    receivedPackets &+= UInt64(batch.count)
    port.write(&batch)
  }

  /// Packets from one client to another leave as they came: those that lie behind each other as one run.
  private func send(_ run: inout ForwardRun, of batch: borrowing PacketBatch) {
    guard let client = run.client, run.count > 0 else { return }
    sentPackets &+= UInt64(run.count)
    let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(batch.storage)[run.start..<run.end])
    let sender = senders[client]
    _ = socket.send(
      bytes, segment: run.segment, to: client, from: sender?.receipt.local?.address,
      ecn: sender?.carriesMarks == true ? run.ecn : ECN.incapable)
    run = ForwardRun()
  }

  private func handshake(_ packet: UnsafeRawBufferPointer, _ arrival: Arrival) {
    guard case .announcement(let announcement) = TunHandshake.classify(packet) else {
      drop(.malformed, arrival.remote, nil)
      return
    }
    var isAllowed: ((IPAddress) -> Bool)?
    if let check = settings.isAllowed {
      isAllowed = { check($0.description, announcement.passphrase) }
    }
    let outcome = registry.announce(announcement, from: arrival.remote, isAllowed: isAllowed, at: loop.now)
    if case .refused(.heldByAnother) = outcome {
      if claimants.count < TunRegistry<Endpoint>.maximumClaims { claimants[arrival.remote] = arrival }
      armClaimTimer()
    }
    answer(announcement, arrival, outcome)
  }

  private func settleClaims() {
    for (key, announcement, outcome) in registry.settleClaims(at: loop.now) {
      guard let arrival = claimants.removeValue(forKey: key) else { continue }
      answer(announcement, arrival, outcome)
    }
    armClaimTimer()
  }

  private func armClaimTimer() {
    if let due = registry.nextDeadline() { claimTimer?.arm(at: due) } else { claimants = [:] }
  }

  private func answer(
    _ announcement: TunHandshake.Announcement, _ arrival: Arrival, _ outcome: TunRegistry<Endpoint>.Outcome
  ) {
    lastLookup = nil
    switch outcome {
    case .refused(let reason):
      let text = refusalText(reason)
      if complaints.isDue(arrival.remote, text, at: loop.now) {
        log.warn("refused a client: \(text)", ["client": arrival.remote])
      }
    case .accepted(let isNew, let displaced):
      claimants[arrival.remote] = nil
      senders[arrival.remote] = Sender(
        receipt: socket.receipt(of: arrival, at: loop.now), carriesMarks: TunnelECN.isUnderstood(arrival.ecn))
      for other in displaced { senders[other] = nil }
      if isNew {
        let addresses = announcement.addresses.map(\.description).joined(separator: ",")
        if let old = displaced.first {
          log.info("client came back", ["client": arrival.remote, "addresses": addresses, "before": old])
        } else {
          log.info("client joined", ["client": arrival.remote, "addresses": addresses])
        }
      }
      let answer = TunHandshake.encodeAnswer(observed: arrival.remote.address)
      answer.withUnsafeBytes {
        let ecn = TunnelECN.isUnderstood(arrival.ecn) ? TunnelECN.ofHandshake : ECN.incapable
        _ = socket.send($0, segment: $0.count, to: arrival.remote, from: arrival.local, ecn: ecn)
      }
    }
  }

  private func refusalText(_ reason: TunRegistry<Endpoint>.Refusal) -> String {
    if case .wrongPassphrase(let address) = reason, !settings.isKnown(address.description) {
      return "the auther has no user \(address); every inner address of a client needs one"
    }
    return "\(reason)"
  }

  private func drop(_ reason: TunRegistry<Endpoint>.Drop, _ sender: Endpoint, _ source: IPAddress?) {
    drops[reason.rawValue] &+= 1
    // Neighbour discovery and multicast of a fresh interface come with a link-local source; nobody misses them.
    if let source, source.isLinkLocal || source.isUnspecified { return }
    guard complaints.isDue(sender, "\(reason)", at: loop.now) else { return }
    switch reason {
    case .unknownSender:
      log.debug("dropping packets of a sender that has not announced itself", ["sender": sender])
    case .foreignSource:
      log.warn(
        "dropping packets whose source address is not the sender's",
        ["sender": sender, "source": source?.description ?? "none"])
    case .malformed: log.debug("dropping datagrams that are not IP packets", ["sender": sender])
    case .congestion:
      log.debug("dropping packets that went through congestion and cannot be marked", ["sender": sender])
    case .noRoute: break
    }
  }

  public func socketWritable(_ socket: any DatagramSocket) {}

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    // One client's unreachable address must not end the others' tunnel.
    log.debug("a client could not be reached: \(error)")
  }

  // MARK: From the device

  public func tunReadable(_ port: TunPort) {
    guard !isClosed else { return }
    for _ in 0..<Self.batchesPerTurn {
      outgoing.batch.removeAll()
      let more = port.read(into: &outgoing.batch)
      sendOutgoing()
      if !more { return }
    }
    port.readLater()
  }

  private func sendOutgoing() {
    let count = outgoing.batch.count
    let storage = UnsafeRawBufferPointer(outgoing.batch.storage)
    var index = 0
    while index < count {
      guard let client = clientOfPacket(index) else {
        index += 1
        continue
      }
      var end = index + 1
      while end < count, clientOfPacket(end) == client { end += 1 }
      sentPackets &+= UInt64(end - index)
      let sender = senders[client]
      let from = sender?.receipt.local?.address
      while index < end {
        var run = min(end - index, outgoing.batch.equalRun(from: index, limit: 64, byteLimit: 65_000))
        var ecn = ECN.incapable
        if sender?.carriesMarks == true { (run, ecn) = outgoing.batch.equallyMarked(from: index, count: run) }
        let first = outgoing.batch.slot(index)
        let last = outgoing.batch.slot(index + run - 1)
        let bytes = UnsafeRawBufferPointer(rebasing: storage[first.offset..<(last.offset + last.length)])
        if case .failed(let error) = socket.send(bytes, segment: first.length, to: client, from: from, ecn: ecn),
          complaints.isDue(client, "\(error)", at: loop.now)
        {
          log.debug("a client could not be reached: \(error)", ["client": client])
        }
        index += run
      }
    }
  }

  private func clientOfPacket(_ index: Int) -> Endpoint? {
    guard let destination = IPPacketView.destination(of: UnsafeRawBufferPointer(outgoing.batch[index])) else {
      return nil
    }
    if let client = lookup(destination) { return client }
    drops[TunRegistry<Endpoint>.Drop.noRoute.rawValue] &+= 1
    // One key for all of them: a scan of the tunnel's network is one line, not thousands.
    if !destination.isMulticast, complaints.isDue(Endpoint(.anyIPv4, port: 0), "no client", at: loop.now) {
      log.info("no client has announced the address that a packet goes to", ["destination": destination])
    }
    return nil
  }

  private func lookup(_ destination: IPAddress) -> Endpoint? {
    if let lastLookup, lastLookup.address == destination { return lastLookup.key }
    let key = registry.client(for: destination)
    lastLookup = (destination, key)
    return key
  }
}

/// Consecutive packets of equal size for one client, but for the last, which may be shorter: what one segmented send
/// carries.
private struct ForwardRun {
  private(set) var client: Endpoint?
  private(set) var start = 0
  private(set) var end = 0
  private(set) var segment = 0
  private(set) var ecn: UInt8 = 0
  private(set) var count = 0
  private var isComplete = false

  /// False when the packet cannot join and the run has to leave first.
  mutating func take(offset: Int, length: Int, to other: Endpoint, ecn bits: UInt8) -> Bool {
    if count == 0 {
      client = other
      start = offset
      segment = length
      ecn = bits
    } else if client != other || ecn != bits || offset != end || length > segment || isComplete || count == 64
      || end - start + length > 65_000
    {
      return false
    }
    end = offset + length
    count += 1
    isComplete = length < segment
    return true
  }
}

/// Says when a complaint may be logged: the first time, and then every half minute while it lasts. Bounded, because
/// strangers choose the keys.
struct ComplaintLimiter<Key: Hashable> {
  private struct Complaint: Hashable {
    let key: Key
    let text: String
  }

  private var last: [Complaint: Instant] = [:]
  private static var interval: TimeSpan { .seconds(30) }
  private static var limit: Int { 1024 }

  mutating func isDue(_ key: Key, _ text: String, at now: Instant) -> Bool {
    let complaint = Complaint(key: key, text: text)
    if let at = last[complaint], now - at < Self.interval { return false }
    if last.count >= Self.limit { last = last.filter { now - $0.value < Self.interval } }
    if last.count >= Self.limit { return false }
    last[complaint] = now
    return true
  }
}
