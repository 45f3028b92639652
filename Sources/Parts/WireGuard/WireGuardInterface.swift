import CLinux
import CryptoPrimitives
import LinuxIO
import LinuxNet
import PacketOffload
import RecordedMachines
import Values
import WireGuard

/// A WireGuard device at work: the machine (`WireGuard.Device`) between a TUN and a UDP socket.
///
/// ```
///   TUN ──▶ batch ──▶ Outbound: whose, sealed in place ──▶ runs of one peer ──▶ UDP_SEGMENT ──▶ socket
///   TUN ◀── merged ◀── Inbound: opened in place, source checked ◀────────────── UDP_GRO ◀───── socket
///                        │ handshake messages, reports                            ▲ handshake messages
///                        ▼                                                        │
///                      Device ──── keys, endpoints, allowed IPs (events) ─────────┘
/// ```
///
/// Both pumps run to completion on the loop's thread. A batch that the socket does not take whole waits where it lies, and
/// the TUN is not read meanwhile, so that the hosts' own queues see the congestion.
///
/// Where the peers are reached through a chain, their messages go by carriers of that chain instead of the socket
/// (`PeerCarriers`). While one of those is full, packets of hosts wait unsealed in a fair queue, as a slow stream would
/// otherwise make a ping stand behind an upload.
///
/// What is larger than the path to its peer takes, as far as the machine has found that out (`PathProber`), is answered
/// with ICMP, so that its sender sends less; TCP is told before, in what it announces (`MSSClamp`). IPv4 packets that may
/// be cut are cut here, inside. IPv6 packets up to 1,280 bytes have to pass any link: where the path is narrower they
/// leave whole and may be cut outside.
///
/// An answer leaves from the address that its peer sent to last, so that a host with several addresses is one peer to the
/// other end. When that address is gone the kernel chooses again.
public final class WireGuardInterface: TunPortOwner, DatagramSocketHandler {
  /// What somebody beside the packets wants to know.
  public enum News: Sendable {
    /// The peer is reached elsewhere from now on.
    case moved(PeerID, Endpoint?, Device.EndpointChange)
    /// Both ends have a new session.
    case joined(PeerID)
    /// The peer has not answered for 90 seconds.
    case silent(PeerID)
    case removed(PeerID)
    /// The largest packet that the path to the peer takes, in bytes; `nil` where it is not known.
    case pathMTU(PeerID, Int?)
    /// The session in use has, or has no longer, a key that is safe from quantum computers.
    case postQuantum(PeerID, Bool)
  }

  private let loop: EventLoop
  private let receiveArena: ReceiveArena
  private let log: Log
  public let port: TunPort
  public private(set) var device: Device
  private var outbound: Outbound
  private var inbound = Inbound()
  private var socket: UDPSocket?
  private var carriers: PeerCarriers?
  /// What waits for a full carrier.
  private var backlog: PacketBacklog?
  private var timer: LoopTimer?
  private var isClosed = false

  /// What leaves from the TUN, and where sending of it goes on once the socket has room.
  private var outgoing: PacketBatch
  private var held: Held?
  /// What leaves by the machine's wish: packets that waited for a key, and keepalives.
  private var released: PacketBatch
  private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: WireGuardInterface.roomSize, alignment: 16)
  /// Packets that are too large for their peers' paths, in pieces or as they are.
  private var pieces: PacketBatch
  /// Of peers whose path is narrower than the TUN.
  private var limits: [PeerID: Int] = [:]
  /// Replies to hosts inside, written to the TUN at the end of a batch.
  private var replies: PacketBatch
  private var repliesLeft = WireGuardInterface.repliesPerSecond
  private var replySecond: Int64 = 0

  private var sightings: [PeerID: Sighting] = [:]
  private var complaints = ComplaintLimiter<String>()
  /// What is recorded of the device.
  private var tape: WireGuardTape?
  /// Packets that came back so far.
  private var loops: UInt64 = 0
  public var heard: ((News) -> Void)?

  private var listenAddress: IPAddress?
  private var outerInterface: String?
  /// Of the UDP socket; `nil` while there is none.
  public private(set) var listenPort: UInt16?
  public private(set) var mark: UInt32 = 0
  /// Messages that no socket and no carrier took.
  public var unsent: UInt64 { unsentBySocket &+ (carriers?.unsent ?? 0) }
  private var unsentBySocket: UInt64 = 0
  /// Packets that waited for a full carrier and were dropped: too long, or too many.
  public var lostWaiting: UInt64 { backlog?.lost ?? 0 }
  public private(set) var outcomes: [Device.Outcome: UInt64] = [:]

  /// Where a peer's packets come and go, as the socket has it.
  private struct Sighting {
    var arrival: Arrival?
    /// The address to send from.
    var local: IPAddress?
    var since: Instant
    var why: Device.EndpointChange
  }

  private struct Held {
    /// The next message of `outgoing`.
    var next: Int
    var runs: [Outbound.Run]
  }

  private static let batchesPerTurn = 8
  private static let batchSize = 256 * 1024
  /// An initiation, and as many messages as one send takes.
  private static let largestMessage = 148
  private static let roomSize = 64 * largestMessage
  /// To hosts inside, per second: RFC 4443, section 2.4 (f).
  private static let repliesPerSecond = 100
  private static let socketBuffer = 4 << 20
  /// Every IPv6 link takes packets of this size (RFC 8200, section 5).
  private static let minimumMTUIPv6 = 1280
  /// No TCP header without data makes a packet larger.
  private static let largestSYN = 128

  /// - Parameters:
  ///   - port: of a TUN that is up, or will be.
  ///   - random: a generator for secrets.
  public init(
    loop: EventLoop, arena: ReceiveArena, log: Log, port: TunPort, random: any RandomNumberGenerator
  ) {
    self.loop = loop
    receiveArena = arena
    self.log = log
    self.port = port
    let mtu = port.device.mtu
    device = Device(random: random, at: loop.now)
    outbound = Outbound(mtu: mtu)
    outgoing = Self.batch(mtu)
    released = Self.batch(mtu)
    pieces = Self.batch(mtu)
    replies = PacketBatch(capacity: 32 * ICMPErrorReply.maximumReply, maximumCount: 32)
    if let recorder = loop.recorder {
      let tape = WireGuardTape(recorder, about: port.device.name)
      self.tape = tape
      device.witness = tape
    }
    if let keyLog = WireGuardKeyLog.ofEnvironment(log) { device.keyLog = { keyLog.write($0) } }
    device.setTalk(TalkSettings(mtu: mtu), at: loop.now)
    tellTime()
    timer = loop.makeTimer { [weak self] in self?.timeout() }
    port.owner = self
  }

  deinit { room.deallocate() }

  private static func batch(_ mtu: Int) -> PacketBatch {
    PacketBatch(
      capacity: batchSize, maximumCount: 256, headroom: WireGuardLimit.headerSize,
      tailroom: Outbound.tailroom(mtu: mtu))
  }

  // MARK: Settings

  /// Changes the machine's settings, and does what follows from them.
  public func change<Result>(_ body: (inout Device, Instant) throws -> Result) rethrows -> Result {
    defer { settle() }
    return try body(&device, loop.now)
  }

  /// Opens the socket, or moves it: to a port, 0 for any, with a firewall mark on what leaves.
  ///
  /// - Parameters:
  ///   - address: of this host; `nil` for all, or those that it listens at already.
  ///   - interface: by which messages leave, or a local address to send from.
  public func listen(
    on wanted: UInt16, mark: UInt32, at address: IPAddress? = nil, interface: String? = nil
  ) throws(SystemError) {
    if let address { listenAddress = address }
    if let interface { outerInterface = interface }
    if let socket {
      if wanted == listenPort, mark == self.mark { return }
      // The same port with another mark: the old socket has to let go of it first.
      if wanted == listenPort {
        socket.close()
        self.socket = nil
      }
    }
    let everywhere: IPAddress = HostFamilies.hasIPv6 ? .anyIPv6 : .anyIPv4
    let fresh = try UDPSocket(
      loop: loop, arena: receiveArena, at: Endpoint(listenAddress ?? everywhere, port: wanted),
      options: SocketOptions(interface: outerInterface, mark: mark, bufferSize: Self.socketBuffer))
    socket?.close()
    fresh.handler = self
    socket = fresh
    listenPort = fresh.receipt.local?.port
    self.mark = mark
    held = nil
    for id in sightings.keys { sightings[id]?.local = nil }
  }

  /// Brings messages to peers through a chain: to those whose endpoints are made by `endpoint(behindChain:)`.
  public func carry(over way: any Way) {
    let backlog = PacketBacklog(loop: loop)
    self.backlog = backlog
    carriers = PeerCarriers(
      loop: loop, log: log, way: way,
      received: { [weak self] batch, endpoint in self?.messagesArrived(&batch, from: endpoint, nil) },
      writable: { [weak self] in self?.carriersWritable() },
      reopened: { [weak self] in self?.renew(at: $0) })
  }

  /// Of peers that are gone, or elsewhere.
  private func forgetCarriers() {
    guard let carriers else { return }
    carriers.keep(only: Set(device.peerIDs.compactMap { device.status(of: $0)?.endpoint }))
  }

  private func renew(at endpoint: Endpoint) {
    change { device, now in
      for id in device.peerIDs where device.status(of: id)?.endpoint == endpoint { device.renew(id, at: now) }
    }
  }

  /// The endpoint that stands for a peer behind the chain; `nil` without a chain.
  public func endpoint(behindChain target: HostPort) -> Endpoint? { carriers?.add(target) }

  /// Opens a socket on any port where there is a key and none was asked for, as the kernel's device does when it is set
  /// up.
  public func listenIfNeeded() {
    guard socket == nil, device.publicKey != nil, !isClosed else { return }
    do throws(SystemError) {
      try listen(on: 0, mark: mark)
    } catch {
      log.error("\(error)")
    }
  }

  /// The TUN's MTU changed: contents are padded no further.
  public func mtuChanged(_ mtu: Int) {
    guard mtu != outbound.mtu else { return }
    outbound.mtu = mtu
    outgoing = Self.batch(mtu)
    released = Self.batch(mtu)
    pieces = Self.batch(mtu)
    held = nil
    change { device, now in
      var talk = device.talk
      talk.mtu = mtu
      device.setTalk(talk, at: now)
    }
  }

  /// The host's addresses or routes changed: the kernel chooses anew where packets leave from, and the paths are others.
  public func networkChanged() {
    for id in sightings.keys { sightings[id]?.local = nil }
    device.networkChanged()
    carriers?.networkChanged()
  }

  /// What is said to other Culverts beside packets; both are on at first.
  public func setTalk(postQuantum: Bool, pathMTU: Bool) {
    change { device, now in
      device.setTalk(TalkSettings(postQuantum: postQuantum, pathMTU: pathMTU, mtu: outbound.mtu), at: now)
    }
  }

  private func tellTime() {
    let nanoseconds = culvert_realtime_ns()
    let time = WallTime(seconds: nanoseconds / 1_000_000_000, nanoseconds: Int32(nanoseconds % 1_000_000_000))
    device.setWallClock(time, at: loop.now)
  }

  // MARK: Out

  public func tunReadable(_ port: TunPort) {
    guard !isClosed, held == nil else { return }
    for _ in 0..<Self.batchesPerTurn {
      outgoing.removeAll()
      let more = port.read(into: &outgoing)
      if !outgoing.isEmpty {
        if let backlog, carriers?.isFull == true || !backlog.isEmpty {
          backlog.add(outgoing)
        } else {
          sealOutgoing()
        }
        guard held == nil else { return }
      }
      if !more { return }
    }
    port.readLater()
  }

  /// A carrier has room: what waits leaves until one is full again.
  private func carriersWritable() {
    guard !isClosed, held == nil, let backlog else { return }
    while carriers?.isFull == false {
      outgoing.removeAll()
      guard backlog.take(into: &outgoing) else { return }
      sealOutgoing()
      guard held == nil else { return }
    }
  }

  private func sealOutgoing() {
    let now = loop.now
    if !limits.isEmpty { clamp(&outgoing, isOutgoing: true) }
    outbound.seal(&outgoing, at: now) { packet, _ in
      tell(.unreachable, packet)
    } oversized: { packet, _, limit in
      refuse(packet, limit)
    }
    sendOutgoing(from: 0, outbound.runs)
    if outbound.drops.looped != loops { tellOfLoop() }
    if !pieces.isEmpty { sendPieces(at: now) }
    while let report = outbound.pollReport() { device.handle(report, at: now) }
    settle()
    flushReplies()
  }

  private func sendOutgoing(from first: Int, _ runs: [Outbound.Run]) {
    held = nil
    for run in runs where run.first + run.count > first {
      let start = max(first, run.first)
      if let stop = send(run, from: start, of: outgoing) {
        held = Held(next: stop, runs: runs)
        return
      }
    }
  }

  /// Sends the messages of a run. The first that the socket had no room for, or `nil` when all are gone.
  private func send(_ run: Outbound.Run, from first: Int, of batch: borrowing PacketBatch) -> Int? {
    if let carriers, carriers.has(run.endpoint) {
      carriers.send(batch, first..<(run.first + run.count), to: run.endpoint)
      return nil
    }
    guard let socket else {
      unsentBySocket &+= UInt64(run.first + run.count - first)
      return nil
    }
    let storage = UnsafeRawBufferPointer(batch.storage)
    var index = first
    let end = run.first + run.count
    while index < end {
      let count = min(end - index, max(1, batch.equalRun(from: index, limit: 64, byteLimit: 65_000)))
      let head = batch.slot(index)
      let tail = batch.slot(index + count - 1)
      let bytes = UnsafeRawBufferPointer(rebasing: storage[head.offset..<(tail.offset + tail.length)])
      var outcome = socket.send(
        bytes, segment: head.length, to: run.endpoint, from: sightings[run.peer]?.local, ecn: run.ecn)
      if case .failed = outcome, sightings[run.peer]?.local != nil {
        // The address that the peer sent to is gone.
        sightings[run.peer]?.local = nil
        outcome = socket.send(bytes, segment: head.length, to: run.endpoint, from: nil, ecn: run.ecn)
      }
      switch outcome {
      case .sent: index += count
      case .blocked(let sent): return index + sent / max(1, head.length)
      case .failed(let error):
        unsentBySocket &+= UInt64(count)
        complain("cannot send to \(run.endpoint): \(error)", of: run.peer)
        index += count
      }
    }
    return nil
  }

  /// What waits for nothing is sent at once; without room in the socket it is lost, as on any full link.
  private func sendPieces(at now: Instant) {
    outbound.seal(&pieces, at: now) { _, _ in }
    for run in outbound.runs {
      if let socket {
        _ = socket.with(.anywhere) { send(run, from: run.first, of: pieces) }
      } else {
        _ = send(run, from: run.first, of: pieces)
      }
    }
    pieces.removeAll()
  }

  /// A packet does not fit; true when something else was done than to send it.
  private func refuse(_ packet: UnsafeRawBufferPointer, _ limit: Int) -> Bool {
    if IPPacketView.destination(of: packet)?.family == .ipv6, packet.count <= Self.minimumMTUIPv6 {
      return pieces.append(copying: packet)
    }
    if !IPv4Fragmenter.cut(packet, mtu: limit, into: &pieces) { tell(.tooBig(mtu: limit), packet) }
    return true
  }

  /// Lowers what TCP announces, either way, to what the path takes from us. Only for peers with a narrow path.
  private func clamp(_ batch: inout PacketBatch, isOutgoing: Bool) {
    for index in 0..<batch.count where batch.slot(index).length <= Self.largestSYN {
      let packet = UnsafeRawBufferPointer(batch[index])
      guard let other = isOutgoing ? IPPacketView.destination(of: packet) : IPPacketView.source(of: packet),
        packet[other.family == .ipv4 ? 9 : 6] == 6, let peer = outbound.allowedIPs.lookup(other),
        let limit = limits[peer]
      else { continue }
      MSSClamp.clamp(batch[index], mtu: max(limit, other.family == .ipv6 ? Self.minimumMTUIPv6 : 0))
    }
  }

  public func socketWritable(_ socket: any DatagramSocket) {
    guard let held else { return }
    sendOutgoing(from: held.next, held.runs)
    guard self.held == nil else { return }
    carriersWritable()
    port.readLater()
  }

  /// Sends what waits for a peer.
  private func release(_ peer: PeerID, orKeepalive: Bool) {
    var isDone = false
    var asks = orKeepalive
    while !isDone {
      isDone = outbound.release(peer, orKeepalive: asks, into: &released, at: loop.now)
      asks = false
      // Without room in the socket these are lost, as on any full link; they are few.
      for run in outbound.runs {
        if let stop = send(run, from: run.first, of: released) {
          unsentBySocket &+= UInt64(run.first + run.count - stop)
        }
      }
    }
    while let report = outbound.pollReport() { device.handle(report, at: loop.now) }
  }

  // MARK: In

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    messagesArrived(&batch, from: arrival.remote, arrival)
  }

  /// - Parameter arrival: `nil` for what came through a chain.
  private func messagesArrived(_ batch: inout PacketBatch, from source: Endpoint, _ arrival: Arrival?) {
    guard !isClosed else { return }
    let now = loop.now
    inbound.open(&batch, from: source, ecn: arrival?.ecn ?? ECN.incapable, at: now) { message in
      let outcome = device.receive(message, from: source, at: now)
      outcomes[outcome, default: 0] &+= 1
      tape?.note(outcome, size: message.count, from: source)
    } talk: { content, peer, index in
      device.receiveTalk(content, from: peer, localIndex: index, at: now)
    }
    while let report = inbound.pollReport() {
      if let arrival { see(report.peer, arrival, at: now) }
      device.handle(report, at: now)
    }
    if !batch.isEmpty {
      if !limits.isEmpty { clamp(&batch, isOutgoing: false) }
      port.write(&batch)
    }
    settle(arrival)
  }

  private func see(_ peer: PeerID, _ arrival: Arrival, at now: Instant) {
    if let known = sightings[peer]?.arrival, known.remote == arrival.remote, known.local == arrival.local { return }
    sightings[peer, default: Sighting(since: now, why: .roamed)].arrival = arrival
    sightings[peer]?.local = arrival.local.flatMap { $0.isMulticast ? nil : $0 }
  }

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    // Forgeries of ICMP errors show here too: sessions do not end by them.
    log.trace("the socket reported: \(error)")
  }

  // MARK: The machine

  private func timeout() {
    tellTime()
    device.handleTimeout(at: loop.now)
    settle()
  }

  /// Does what the machine wants, until it wants nothing. `arrival`: of what made it want something.
  private func settle(_ arrival: Arrival? = nil) {
    while true {
      var isIdle = true
      while let event = device.pollEvent() {
        isIdle = false
        tape?.note(event)
        handle(event)
      }
      if transmit(arrival) { isIdle = false }
      while let talk = device.pollTalk() {
        isIdle = false
        say(talk)
      }
      if isIdle { break }
    }
    timer?.arm(at: device.nextDeadline()?.0)
  }

  /// Sends what the machine says inside the tunnel. A probe must arrive whole or not at all.
  private func say(_ talk: Talk) {
    guard outbound.seal(talk, into: &released, at: loop.now), let run = outbound.runs.first else { return }
    if talk.isProbe, let limit = carriers?.messageLimit(to: run.endpoint), released[run.first].count > limit {
      device.probeDidNotFit(talk, at: loop.now)
    } else if talk.isProbe, let socket, carriers?.has(run.endpoint) != true {
      let message = UnsafeRawBufferPointer(released[run.first])
      let outcome = socket.with(.never) {
        socket.send(
          message, segment: message.count, to: run.endpoint, from: sightings[run.peer]?.local, ecn: 0)
      }
      if case .failed(let error) = outcome, error.isTooLarge { device.probeDidNotFit(talk, at: loop.now) }
    } else {
      // In pieces if need be: what is said in few words must not depend on what is found out by it.
      _ = send(run, from: run.first, of: released)
    }
    while let report = outbound.pollReport() { device.handle(report, at: loop.now) }
  }

  /// Sends the machine's messages: those to one place together, as a flood from there gets as many answers. False when
  /// there are none.
  private func transmit(_ arrival: Arrival?) -> Bool {
    var filled = 0
    var last: (size: Int, destination: Endpoint)?
    while let (size, destination) = device.pollTransmit(into: UnsafeMutableRawBufferPointer(rebasing: room[filled...]))
    {
      if filled > 0, let last, last.size != size || last.destination != destination {
        sendMessages(filled, last, arrival)
        room.copyMemory(from: UnsafeRawBufferPointer(rebasing: room[filled..<(filled + size)]))
        filled = 0
      }
      tape?.note(sent: size, to: destination)
      filled += size
      last = (size, destination)
      if filled + Self.largestMessage > room.count {
        sendMessages(filled, (size, destination), arrival)
        filled = 0
      }
    }
    guard let last else { return false }
    if filled > 0 { sendMessages(filled, last, arrival) }
    return true
  }

  private func sendMessages(_ filled: Int, _ last: (size: Int, destination: Endpoint), _ arrival: Arrival?) {
    let destination = last.destination
    if let carriers, carriers.has(destination) {
      for start in stride(from: 0, to: filled, by: max(1, last.size)) {
        carriers.send(UnsafeRawBufferPointer(rebasing: room[start..<(start + last.size)]), to: destination)
      }
      return
    }
    guard let socket else { return unsentBySocket &+= UInt64(filled / max(1, last.size)) }
    let local = arrival?.remote == destination ? arrival?.local : nil
    let from = local.flatMap { $0.isMulticast ? nil : $0 }
    let messages = UnsafeRawBufferPointer(rebasing: room[..<filled])
    if case .failed(let error) = socket.send(messages, segment: last.size, to: destination, from: from, ecn: 0) {
      unsentBySocket &+= 1
      if complaints.isDue(destination.description, "\(error)", at: loop.now) {
        log.warn("cannot send to \(destination): \(error)")
      }
    }
  }

  private func handle(_ event: Device.Event) {
    switch event {
    case .receiveKey(let index): if let key = device.takeReceiveKey(index) { inbound.install(key) }
    case .sendKey(_, let index): if let key = device.takeSendKey(index) { outbound.install(key) }
    case .dropSendKey(let peer): outbound.dropKey(of: peer)
    case .retire(let index): inbound.retire(index)
    case .keepalive(let peer): release(peer, orKeepalive: true)
    case .release(let peer): release(peer, orKeepalive: false)
    case .gaveUp(let peer):
      outbound.dropWaiting(of: peer)
      heard?(.silent(peer))
    case .endpoint(let peer, let endpoint, let why):
      outbound.setEndpoint(endpoint, of: peer)
      forgetCarriers()
      let arrival = sightings[peer]?.arrival
      let isSame = arrival?.remote == endpoint
      sightings[peer] = Sighting(
        arrival: isSame ? arrival : nil, local: isSame ? sightings[peer]?.local : nil, since: loop.now, why: why)
      heard?(.moved(peer, endpoint, why))
    case .handshakeCompleted(let peer): heard?(.joined(peer))
    case .pathLimit(let peer, let limit):
      outbound.setLimit(limit, of: peer)
      limits[peer] = limit.flatMap { $0 < outbound.mtu ? $0 : nil }
      log.debug("path MTU", ["peer": peer, "mtu": limit.map { "\($0)" } ?? "unknown"])
      heard?(.pathMTU(peer, limit))
    case .postQuantum(let peer, let isOn):
      log.debug(isOn ? "the session is post-quantum" : "the session is not post-quantum any more", ["peer": peer])
      heard?(.postQuantum(peer, isOn))
    case .allowedIPsChanged:
      outbound.allowedIPs = device.allowedIPs
      inbound.allowedIPs = device.allowedIPs
    case .removed(let peer):
      outbound.remove(peer)
      forgetCarriers()
      sightings[peer] = nil
      limits[peer] = nil
      heard?(.removed(peer))
    }
  }

  // MARK: Replies to hosts inside

  /// The reply comes from the address that the packet did not reach: one from an address of this host would be dropped
  /// by its kernel, as nothing from outside may come from there.
  private func tell(_ reason: ICMPErrorReply.Reason, _ packet: UnsafeRawBufferPointer) {
    let second = loop.now.nanoseconds / 1_000_000_000
    if second != replySecond {
      replySecond = second
      repliesLeft = Self.repliesPerSecond
    }
    guard repliesLeft > 0, let other = IPPacketView.destination(of: packet),
      let reply = replies.reserve(ICMPErrorReply.maximumReply)
    else { return }
    guard let size = ICMPErrorReply.write(reason, answering: packet, from: other, to: reply) else {
      replies.removeLast()
      return
    }
    repliesLeft -= 1
    replies.shrinkLast(to: size)
  }

  private func flushReplies() {
    guard !replies.isEmpty else { return }
    port.write(&replies)
    replies.removeAll()
  }

  private func tellOfLoop() {
    loops = outbound.drops.looped
    if complaints.isDue("loop", "", at: loop.now) {
      log.warn("a packet of the tunnel came back into it and was dropped: the route to a peer leads through the tunnel")
    }
  }

  private func complain(_ text: String, of peer: PeerID) {
    if complaints.isDue("\(peer)", text, at: loop.now) { log.warn(text, ["peer": peer]) }
  }

  // MARK: What is known

  public var inboundDrops: Inbound.Drops { inbound.drops }
  public var outboundDrops: Outbound.Drops { outbound.drops }
  public var receipt: Receipt? { socket?.receipt }

  /// The legs to a peer: those of a chain, the last of which carries WireGuard to it; else the one of our socket.
  public func legs(to peer: PeerStatus, named name: String) -> [Leg] {
    guard let endpoint = peer.endpoint, let carriers, carriers.has(endpoint) else {
      return [leg(to: peer, named: name)]
    }
    let legs = carriers.legs(to: endpoint)
    let traffic = Traffic(forward: peer.sentBytes, back: peer.receivedBytes)
    guard let last = legs.last else {
      return [
        Leg(
          from: .us, to: .peer(name), local: nil, remote: nil, transport: [.wireGuard], traffic: traffic)
      ]
    }
    // WireGuard's round trip is that of the whole way, and so it is none of a leg.
    return legs.dropLast() + [
      Leg(
        from: last.from, to: .peer(name), local: last.local, remote: last.remote,
        transport: last.transport + [.wireGuard], traffic: traffic, forbidden: last.forbidden)
    ]
  }

  /// The leg to a peer: with the endpoints of what came from it, where something has; otherwise what was set.
  private func leg(to peer: PeerStatus, named name: String) -> Leg {
    let sighting = sightings[peer.id]
    let traffic = Traffic(forward: peer.sentBytes, back: peer.receivedBytes)
    if let arrival = sighting?.arrival, arrival.remote == peer.endpoint, let socket {
      let receipt = socket.receipt(of: arrival, at: sighting?.since ?? loop.now)
      return Leg(
        from: .us, to: .peer(name), local: receipt.localFact, remote: receipt.remoteFact,
        transport: [.udp, .wireGuard],
        traffic: traffic, roundTrip: peer.roundTrip)
    }
    return Leg(
      from: .us, to: .peer(name), local: nil,
      remote: peer.endpoint.map { .configured($0, at: sighting?.since ?? loop.now) }, transport: [.udp, .wireGuard],
      traffic: traffic, roundTrip: peer.roundTrip)
  }

  /// Since when a peer is where it is, and why.
  public func place(of peer: PeerID) -> (since: Instant, why: Device.EndpointChange)? {
    sightings[peer].map { ($0.since, $0.why) }
  }

  /// The socket; the TUN is its owner's.
  public func close() {
    guard !isClosed else { return }
    isClosed = true
    timer?.cancel()
    timer = nil
    socket?.close()
    socket = nil
    carriers?.close()
    carriers = nil
    backlog?.close()
    heard = nil
  }
}
