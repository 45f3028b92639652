import CLinux
import LinuxIO
import RecordedMachines
import STUN
import TURN
import Values

/// A TURN relay at work: the machine (`TurnServer`) with its sockets.
///
/// ```
///   clients ─▶ listeners ─▶ messages ─▶ machine ─▶ answers
///                        └▶ channel data ─▶ machine.forward ─▶ outbox ─▶ relayed sockets ─▶ peers
///   peers ─▶ relayed sockets ─▶ machine.arrival ─▶ outbox (or a client's stream) ─▶ clients
/// ```
///
/// Several listeners share a relay: a client's allocation is counted once, whichever way it came. Each relayed address is
/// a socket of its own, so that the kernel does what a relay must: it keeps the port, and tells who has it.
public final class TurnRelay: DatagramSocketHandler, TurnFlusher {
  let loop: EventLoop
  let log: Log
  private let arena: ReceiveArena
  var machine: RecordedTurnServer
  private var listeners: [UInt16: UDPSocket] = [:]
  private var nextListener: UInt16 = 1
  private var numbers: [ObjectIdentifier: UInt16] = [:]
  /// By slot of an allocation, then by relayed address.
  private var relayed: [[RelayedSocket?]] = []
  private let outbox = TurnOutbox()
  private var isFlushDue = false
  private var timer: LoopTimer?
  private var clockTimer: LoopTimer?
  private var streams: [TurnFlow: TurnStreamClient] = [:]
  /// Those over DTLS, by their numbers.
  private var dtls: [UInt16: TurnDTLSListener] = [:]
  /// Streams without an allocation: of clients that have not proved anything yet, or that have nothing any more.
  private let waiting: HalfOpenTable
  private let patience: TimeSpan
  private(set) var peers: TurnPeerConnections?
  /// How clients' packets came when they made their allocations, and the last of peers'.
  private var sightings: [AllocationID: Sighting] = [:]
  /// Of the allocations that there were.
  private var kinds: Set<AllocationKind> = []
  private var complaints = ComplaintLimiter<String>()
  /// Told when a channel of datagrams begins and ends, so that something else may forward it.
  public var forwarder: (any TurnForwarder)?
  /// Called when the last allocation has ended while the relay is draining: by each of its listeners' owners.
  private var drained: [() -> Void] = []
  private var sequence: UInt64

  private static let clockInterval = TimeSpan.seconds(10)

  struct Sighting {
    var client: Receipt
    var flow: TurnFlow
    var user: String
    /// A few: what `culvert path` shows.
    var peers: [Receipt] = []
  }

  /// - Parameters:
  ///   - outgoing: how sockets to peers leave this host.
  ///   - patience: how long a client's stream may be without an allocation.
  public init(
    loop: EventLoop, arena: ReceiveArena, joints: StreamJoint.Shared, log: Log, settings: TurnSettings,
    users: TurnUsers, policy: EgressPolicy, outgoing: SocketOptions = SocketOptions(),
    patience: TimeSpan = .seconds(30)
  ) {
    self.loop = loop
    self.patience = patience
    waiting = HalfOpenTable(loop: loop)
    self.arena = arena
    self.log = log
    self.policy = policy
    self.outgoing = outgoing
    var random = SystemRandomNumberGenerator()
    sequence = random.next()
    machine = RecordedTurnServer(
      settings, users: users, random: SystemRandomNumberGenerator(), loop.recorder, about: settings.realm, at: loop.now,
      unixSeconds: culvert_realtime_ns() / 1_000_000_000
    ) { policy.judge($0)?.reason }
    timer = loop.makeTimer { [weak self] in self?.expire() }
    clockTimer = loop.makeTimer { [weak self] in self?.tellTime() }
    peers = TurnPeerConnections(relay: self, joints: joints)
    tellTime()
  }

  private func tellTime() {
    machine.setClock(unixSeconds: culvert_realtime_ns() / 1_000_000_000, at: loop.now)
    clockTimer?.arm(after: Self.clockInterval)
  }

  // MARK: Listeners

  /// Serves clients on a socket; the number names the listener in flows.
  public func serve(_ socket: UDPSocket, as number: UInt16) {
    listeners[number] = socket
    numbers[ObjectIdentifier(socket)] = number
    socket.handler = self
  }

  /// Serves clients over DTLS.
  func serve(_ listener: TurnDTLSListener) { dtls[listener.number] = listener }

  public func reserveListener() -> UInt16 {
    defer { nextListener &+= 1 }
    return nextListener
  }

  /// Tells NATs by these places (RFC 5780): the listener 0 is the one of that number, the others get numbers of their
  /// own.
  public func serve(_ alternates: TurnAlternates, main: UInt16) -> TurnAlternates {
    let numbered = alternates.numbered { $0 == 0 ? main : reserveListener() }
    machine.addAlternates(numbered)
    return numbered
  }

  /// A client's stream, of TCP or TLS.
  public func serve(_ stream: any ByteStream, listener: UInt16) {
    guard let remote = stream.receipt.remote, let local = stream.receipt.local else { return stream.close() }
    let isTLS = stream.layers.contains {
      if case .tls = $0 { return true }
      return false
    }
    let flow = TurnFlow(listener: listener, transport: isTLS ? .tls : .tcp, remote: remote, local: local)
    let client = TurnStreamClient(relay: self, stream: stream, flow: flow)
    expectNothing(of: streams[flow])
    streams[flow] = client
    expectAllocation(of: client)
    client.start()
  }

  /// Ends a client's stream if it has no allocation in time.
  private func expectAllocation(of client: TurnStreamClient) {
    waiting.add(ObjectIdentifier(client), from: client.flow.remote.address, within: patience) {
      [weak self, weak client] _ in
      guard let self, let client else { return }
      client.close()
      self.streamEnded(client.flow)
    }
  }

  /// A client has an allocation, or a connection with a peer, or its stream is gone.
  private func expectNothing(of client: TurnStreamClient?) {
    if let client { waiting.remove(ObjectIdentifier(client)) }
  }

  /// Stops listening, at these sockets too. Allocations that came this way have nobody to answer any more, and end in
  /// time.
  public func endListener(_ number: UInt16, sockets: [UDPSocket]) {
    for socket in sockets {
      if let own = numbers.removeValue(forKey: ObjectIdentifier(socket)) { listeners[own] = nil }
    }
    machine.removeAlternates(with: number)
    for (flow, stream) in streams where flow.listener == number {
      expectNothing(of: stream)
      stream.close()
    }
    outbox.flush()
    streams = streams.filter { $0.key.listener != number }
    dtls.removeValue(forKey: number)?.close()
  }

  // MARK: What there is

  public var counters: TurnCounters {
    peers?.countAll()
    return machine.counters
  }
  public var allocationCount: Int { machine.allocationCount }
  public var unsent: UInt64 { outbox.unsent }
  /// Streams that were ended as their clients had no allocation in time, or were too many without one.
  public var endedStrangers: UInt64 { waiting.expiries }

  /// No new allocations from now on; `done` is called when there is none left.
  public func drain(_ done: @escaping () -> Void) {
    machine.isDraining = true
    drained.append(done)
    tellDrained()
  }

  private func tellDrained() {
    guard machine.isDraining, machine.allocationCount == 0 else { return }
    let waiting = drained
    drained = []
    for done in waiting { done() }
  }

  public var settings: TurnSettings { machine.settings }
  public private(set) var policy: EgressPolicy
  /// How sockets to peers leave this host, from now on.
  public var outgoing: SocketOptions

  /// Allocations by how their clients came and what they were given: every kind that there was.
  public var allocationsByKind: [(kind: AllocationKind, count: Int)] {
    let counts = machine.kinds
    return kinds.union(counts.keys).map { (kind: $0, count: counts[$0] ?? 0) }
      .sorted { $0.kind.description < $1.kind.description }
  }

  /// What a new file says, or the host has; allocations that there are live on.
  ///
  /// - Parameter users: `nil` when they are as they were.
  public func renew(_ settings: TurnSettings, users: TurnUsers? = nil, policy: EgressPolicy) {
    self.policy = policy
    machine.renew(settings, users: users, at: loop.now) { policy.judge($0)?.reason }
    settle()
  }

  public func close() {
    timer?.cancel()
    clockTimer?.cancel()
    forwarder = nil
    outbox.flush()
    for row in relayed { for socket in row { socket?.close() } }
    relayed = []
    peers?.closeAll()
    for stream in streams.values {
      expectNothing(of: stream)
      stream.close()
    }
    streams = [:]
    for listener in dtls.values { listener.close() }
    dtls = [:]
    listeners = [:]
    numbers = [:]
  }

  // MARK: From clients

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    guard let number = numbers[ObjectIdentifier(socket)] else { return }
    let port = socket.receipt.local?.port ?? 0
    let address = arrival.local ?? socket.receipt.local?.address ?? .anyIPv4
    let flow = TurnFlow(
      listener: number, transport: .udp, remote: arrival.remote, local: Endpoint(address, port: port))
    var index = 0
    while index < batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      if ChannelData.isLikely(packet) {
        index = relayRun(batch, from: index, flow, ecn: arrival.ecn)
        continue
      }
      index += 1
      handle(packet, flow, ecn: arrival.ecn) { socket.receipt(of: arrival, at: self.loop.now) }
    }
  }

  public func batchesEnded(on socket: any DatagramSocket) { endRound() }

  public func socketWritable(_ socket: any DatagramSocket) {}

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    if complaints.isDue("socket", "\(error)", at: loop.now) { log.debug("a client's socket: \(error)") }
  }

  /// A socket has been read, and is about to be read again, or another.
  private func endRound() {
    guard outbox.keep(), !isFlushDue else { return }
    isFlushDue = true
    loop.requestFlush(self)
  }

  /// At the end of a turn.
  public func flush() {
    isFlushDue = false
    outbox.flush()
  }

  /// Channel data of one channel, as far as it goes on; returns where something else begins.
  private func relayRun(_ batch: borrowing PacketBatch, from start: Int, _ flow: TurnFlow, ecn: UInt8) -> Int {
    guard let head = ChannelData(UnsafeRawBufferPointer(batch[start])) else {
      machine.countMalformed()
      return start + 1
    }
    var end = start + 1
    var bytes = head.data.count
    while end < batch.count, let next = ChannelData(UnsafeRawBufferPointer(batch[end])), next.number == head.number {
      bytes += next.data.count
      end += 1
    }
    guard
      let forward = machine.forward(
        channel: head.number, from: flow, packets: end - start, bytes: bytes, at: loop.now),
      let destination = destination(of: forward, ecn: ecn)
    else { return end }
    for index in start..<end {
      guard let data = ChannelData(UnsafeRawBufferPointer(batch[index])) else { continue }
      outbox.add(data.data, to: destination)
    }
    return end
  }

  private func destination(of forward: TurnServer.Forward, ecn: UInt8) -> TurnOutbox.Destination? {
    guard let socket = socket(forward.id, forward.relay) else { return nil }
    return TurnOutbox.Destination(
      socket: socket.socket, remote: forward.peer, local: nil, ecn: ecn, lane: Int(forward.id.slot) * 2)
  }

  /// A message, or one piece of channel data, of any client.
  func handle(_ packet: UnsafeRawBufferPointer, _ flow: TurnFlow, ecn: UInt8, receipt: () -> Receipt) {
    if ChannelData.isLikely(packet) {
      guard let data = ChannelData(packet) else { return machine.countMalformed() }
      guard
        let forward = machine.forward(
          channel: data.number, from: flow, packets: 1, bytes: data.data.count, at: loop.now),
        let destination = destination(of: forward, ecn: ecn)
      else { return }
      return outbox.add(data.data, to: destination)
    }
    let request = machine.receive(packet, from: flow, at: loop.now)
    if let request, let destination = destination(of: request.forward, ecn: ecn) {
      if request.dontFragment {
        // In order with what came before it.
        outbox.flush()
        destination.socket.with(.never) {
          outbox.add(request.data, to: destination)
          outbox.flush()
        }
      } else {
        outbox.add(request.data, to: destination)
      }
    }
    settle(receipt)
  }

  /// Takes from the machine what it wants done, and arms its timer.
  func settle() { settle { nil } }

  private func settle(_ receipt: () -> Receipt?) {
    while let event = machine.pollEvent() { follow(event, receipt) }
    while let answer = machine.pollTransmit() { send(answer) }
    guard let deadline = machine.nextDeadline() else { return timer?.cancel() ?? () }
    timer?.arm(at: max(deadline, loop.now))
  }

  private func expire() {
    machine.handleTimeout(at: loop.now)
    settle()
  }

  private func send(_ answer: TurnServer.Transmit) {
    let flow = answer.flow
    if flow.transport.isStream {
      streams[flow]?.send(message: answer.bytes)
      return
    }
    if flow.transport == .dtls { return dtls[flow.listener]?.send(message: answer.bytes, to: flow) ?? () }
    guard let socket = listeners[flow.listener] else { return }
    let outcome = answer.bytes.withUnsafeBytes {
      socket.send($0, segment: $0.count, to: flow.remote, from: flow.local.address, ecn: 0)
    }
    if case .failed(let error) = outcome, complaints.isDue("\(flow.remote)", "\(error)", at: loop.now) {
      log.debug("cannot answer \(flow.remote): \(error)")
    }
  }

  // MARK: From peers

  /// A socket at a relayed address.
  final class RelayedSocket: DatagramSocketHandler {
    let id: AllocationID
    let index: Int
    let socket: UDPSocket
    private unowned let relay: TurnRelay

    init(relay: TurnRelay, id: AllocationID, index: Int, socket: UDPSocket) {
      self.relay = relay
      self.id = id
      self.index = index
      self.socket = socket
      socket.takesEmpty = true
      socket.requestICMPErrors()
      socket.handler = self
    }

    func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
      relay.deliver(batch, arrival, self)
    }

    func batchesEnded(on socket: any DatagramSocket) { relay.endRound() }
    func socketWritable(_ socket: any DatagramSocket) {}
    /// A peer that is not there any more, or a packet that is too large for its link: what UDP loses.
    func socketReported(_ error: SystemError, on socket: any DatagramSocket) {}
    func socketReported(_ error: ICMPError, on socket: any DatagramSocket) { relay.report(error, on: id) }
    func close() { socket.close() }
  }

  private func report(_ error: ICMPError, on id: AllocationID) {
    guard
      let report = ICMPReport(type: error.type, code: error.code, mtu: error.mtu, family: error.remote.address.family)
    else { return }
    machine.icmpError(report, about: error.remote, on: id, at: loop.now)
    settle()
  }

  private func deliver(_ batch: borrowing PacketBatch, _ arrival: Arrival, _ from: RelayedSocket) {
    var bytes = 0
    for index in 0..<batch.count { bytes += batch.slot(index).length }
    guard
      let delivery = machine.arrival(
        on: from.id, relay: from.index, from: arrival.remote, packets: batch.count, bytes: bytes, at: loop.now)
    else { return }
    see(from, arrival)
    if delivery.flow.transport.isStream {
      guard let stream = streams[delivery.flow] else { return }
      for index in 0..<batch.count { stream.send(UnsafeRawBufferPointer(batch[index]), delivery, transaction()) }
      return
    }
    if delivery.flow.transport == .dtls {
      return dtls[delivery.flow.listener]?.send(batch, delivery, ecn: arrival.ecn) ?? ()
    }
    guard let socket = listeners[delivery.flow.listener] else { return }
    let destination = TurnOutbox.Destination(
      socket: socket, remote: delivery.flow.remote, local: delivery.flow.local.address, ecn: arrival.ecn,
      lane: Int(from.id.slot) * 2 + 1)
    for index in 0..<batch.count {
      let data = UnsafeRawBufferPointer(batch[index])
      if let channel = delivery.channel {
        addChannelData(data, channel, to: destination)
      } else {
        addIndication(data, delivery.peer, to: destination)
      }
    }
  }

  private func addChannelData(_ data: UnsafeRawBufferPointer, _ channel: UInt16, to destination: TurnOutbox.Destination)
  {
    guard let room = room(ChannelData.headerSize) else { return }
    ChannelData.writeHeader(channel, length: data.count, into: room)
    outbox.add(data, header: UnsafeRawBufferPointer(start: room, count: ChannelData.headerSize), to: destination)
  }

  private func addIndication(_ data: UnsafeRawBufferPointer, _ peer: Endpoint, to destination: TurnOutbox.Destination) {
    let size = DataIndication.size(peer.family, data.count)
    guard let room = room(size) else { return }
    DataIndication.write(data, from: peer, transaction(), into: UnsafeMutableRawBufferPointer(start: room, count: size))
    outbox.add(UnsafeRawBufferPointer(start: room, count: size), to: destination)
  }

  /// Room in the outbox, which is emptied for it where it must be.
  private func room(_ count: Int) -> UnsafeMutableRawPointer? {
    if let room = outbox.room(count) { return room }
    outbox.flush()
    return outbox.room(count)
  }

  /// Of an indication: nobody answers it, so it need not be hard to guess.
  func transaction() -> TransactionID {
    sequence &+= 1
    return TransactionID(high: UInt32(truncatingIfNeeded: sequence >> 32), low: sequence &* 0x9E37_79B9_7F4A_7C15)
  }

  private func see(_ from: RelayedSocket, _ arrival: Arrival) {
    guard let seen = sightings[from.id]?.peers else { return }
    if seen.contains(where: { $0.remote == arrival.remote }) { return }
    guard seen.count < 16 else { return }
    sightings[from.id]?.peers.append(from.socket.receipt(of: arrival, at: loop.now))
  }

  func socket(_ id: AllocationID, _ index: Int) -> RelayedSocket? {
    guard Int(id.slot) < relayed.count, index < relayed[Int(id.slot)].count, let socket = relayed[Int(id.slot)][index],
      socket.id == id
    else { return nil }
    return socket
  }

  // MARK: Events

  private func follow(_ event: TurnEvent, _ receipt: () -> Receipt?) {
    switch event {
    case .bind(let id, let index, let local, let isTCP): bind(id, index, local, isTCP)
    case .close(let id, let index): closeRelayed(id, index)
    case .began(let id): began(id, receipt)
    case .moved(let id, let old):
      if let receipt = receipt() { sightings[id]?.client = receipt }
      if let flow = machine.flow(of: id) {
        sightings[id]?.flow = flow
        expectNothing(of: streams[flow])
        forwarder?.moved(id, to: flow)
      }
      // One that has ended since, in the same message, is looked after there.
      if let left = streams[old], machine.flow(of: id) != nil { expectAllocation(of: left) }
      log.info("an allocation moved", ["from": old.remote, "to": machine.flow(of: id)?.remote.description ?? "?"])
    case .channelBound(let id, let index, let number, let peer, _):
      guard let forwarder, let flow = machine.flow(of: id), flow.transport == .udp, let socket = socket(id, index),
        let local = socket.socket.receipt.local
      else { return }
      forwarder.begin(ForwardedChannel(id: id, flow: flow, number: number, relayed: local, peer: peer))
    case .channelEnded(let id, _, let number, let peer): forwarder?.end(id, number: number, peer: peer)
    case .connect(let id, let connection, let peer): peers?.connect(id, connection, to: peer)
    case .join(let connection, let flow):
      // Its answer has to leave first: from then on the stream is the peer's.
      while let answer = machine.pollTransmit() { send(answer) }
      guard let client = streams.removeValue(forKey: flow) else { return }
      expectNothing(of: client)
      peers?.join(connection, client)
    case .drop(let connection): peers?.drop(connection)
    case .refused(let flow, let method, let code, let detail):
      if complaints.isDue("\(flow.remote.address)", "\(code.number)", at: loop.now) {
        log.warn("refused", ["client": flow.remote, "request": method, "answer": code, "because": detail])
      }
    }
  }

  private func bind(_ id: AllocationID, _ index: Int, _ local: Endpoint, _ isTCP: Bool) {
    while relayed.count <= Int(id.slot) { relayed.append([]) }
    if relayed[Int(id.slot)].count <= index {
      relayed[Int(id.slot)].append(
        contentsOf: repeatElement(nil, count: index + 1 - relayed[Int(id.slot)].count))
    }
    if isTCP {
      machine.bound(id, relay: index, peers?.listen(id, at: local) ?? false, at: loop.now)
      return
    }
    do {
      let socket = try UDPSocket(loop: loop, arena: arena, at: local, options: outgoing)
      relayed[Int(id.slot)][index] = RelayedSocket(relay: self, id: id, index: index, socket: socket)
      machine.bound(id, relay: index, true, at: loop.now)
    } catch {
      log.debug("cannot allocate \(local): \(error)")
      machine.bound(id, relay: index, false, at: loop.now)
    }
  }

  private func closeRelayed(_ id: AllocationID, _ index: Int?) {
    guard Int(id.slot) < relayed.count else { return }
    // What is noted may be for these sockets.
    outbox.flush()
    for place in relayed[Int(id.slot)].indices where index == nil || index == place {
      guard let socket = relayed[Int(id.slot)][place], socket.id == id else { continue }
      socket.close()
      relayed[Int(id.slot)][place] = nil
    }
    guard index == nil else { return }
    peers?.unlisten(id)
    if let sighting = sightings.removeValue(forKey: id) {
      if let left = streams[sighting.flow] { expectAllocation(of: left) }
      log.info("allocation ended", ["client": sighting.client.remote?.description ?? "?", "user": sighting.user])
    }
    tellDrained()
  }

  private func began(_ id: AllocationID, _ receipt: () -> Receipt?) {
    if let flow = machine.flow(of: id) { expectNothing(of: streams[flow]) }
    guard let status = machine.status(of: id), let receipt = receipt() else { return }
    sightings[id] = Sighting(client: receipt, flow: status.flow, user: status.username)
    if let kind = machine.kind(of: id) { kinds.insert(kind) }
    log.info(
      "allocation",
      [
        "client": status.flow.remote, "transport": "\(status.flow.transport)", "user": status.username,
        "relayed": status.relays.map(\.external.description).joined(separator: ","),
      ])
  }

  /// A client's stream, or its session over DTLS.
  func streamEnded(_ flow: TurnFlow) {
    expectNothing(of: streams.removeValue(forKey: flow))
    machine.closed(flow, at: loop.now)
    settle()
  }

  func flushOutbox() { outbox.flush() }

  func count(_ traffic: TurnTraffic, of id: AllocationID, _ translation: TurnTranslation) {
    machine.count(traffic, of: id, translation)
  }

  /// Of an allocation that lives.
  func count(_ traffic: TurnTraffic, of id: AllocationID, peer family: AddressFamily) {
    guard let flow = machine.flow(of: id) else { return }
    count(traffic, of: id, TurnTranslation(client: flow.remote.address.canonical.family, peer: family))
  }

  /// Whether a channel's peer may send, and the channel lives.
  func mayReceive(_ id: AllocationID, channel number: UInt16) -> Bool {
    machine.mayReceive(id, channel: number, at: loop.now)
  }

  // MARK: Paths

  /// Of each listener, the paths that were shown last, by their names: their facts are asked for next.
  private var shown: [UInt16: [String: AllocationID]] = [:]

  /// Allocations with both their legs: the client's as our listener saw it, the peers' as our relayed sockets did.
  public func paths(listener: UInt16, limit: Int = 64) -> [(name: String, path: Path)] {
    peers?.countAll()
    let statuses = machine.statuses(listener: listener, limit: limit)
    shown[listener] = Dictionary(statuses.map { (name(of: $0), $0.id) }, uniquingKeysWith: { first, _ in first })
    return statuses.map { (name(of: $0), path(of: $0)) }
  }

  private func name(of status: AllocationStatus) -> String {
    "allocation \(status.relays.map(\.external.description).joined(separator: " and "))"
      + (status.username.isEmpty ? "" : " of \(status.username)")
  }

  private func path(of status: AllocationStatus) -> Path {
    let sighting = sightings[status.id]
    let stream = streams[status.flow]?.stream
    let layers: [Layer] =
      (stream?.layers ?? dtls[status.flow.listener]?.layers(of: status.flow) ?? [.udp]) + [.turn]
    let traffic = Traffic(forward: status.traffic.bytesToPeers, back: status.traffic.bytesToClient)
    var legs = [
      Leg(
        from: .client, to: .us, local: sighting?.client.remoteFact, remote: sighting?.client.localFact,
        transport: layers, traffic: traffic, roundTrip: stream?.roundTrip)
    ]
    let seen = sighting?.peers ?? []
    for receipt in seen {
      guard let remote = receipt.remote else { continue }
      legs.append(
        Leg(
          from: .us, to: .peer(remote.description), local: receipt.localFact, remote: receipt.remoteFact,
          transport: [.udp]))
    }
    for peer in status.peers where !seen.contains(where: { $0.remote == peer.endpoint }) {
      legs.append(
        Leg(
          from: .us, to: .peer(peer.endpoint.description),
          local: socket(status.id, peer.relay)?.socket.receipt.localFact,
          remote: TurnReport.told(peer.endpoint, by: status.username, at: status.begin), transport: [.udp]))
    }
    return Path(legs: legs, since: status.begin)
  }

  /// Of an allocation by the name that its path was given.
  public func facts(of connection: String) -> [(key: String, value: String)] {
    guard let id = shown.values.lazy.compactMap({ $0[connection] }).first, let status = machine.status(of: id) else {
      return []
    }
    var facts: [(key: String, value: String)] = []
    if status.relays.contains(where: { $0.local.address != $0.external.address }) {
      facts.append(("bound at", status.relays.map(\.local.description).joined(separator: ", ")))
    }
    if !status.permitted.isEmpty {
      facts.append(("permitted", status.permitted.prefix(16).map(\.description).joined(separator: ", ")))
    }
    if !status.peers.isEmpty {
      facts.append(
        (
          "channels",
          status.peers.prefix(16).map { "0x\(String($0.channel, radix: 16)) \($0.endpoint)" }.joined(separator: ", ")
        ))
    }
    let left = (status.expiry - loop.now).nanoseconds / 1_000_000_000
    facts.append(("ends", "in \(TimeSpan.seconds(max(0, left))) unless refreshed"))
    let traffic = status.traffic
    facts.append(("packets", "\(traffic.packetsToPeers) to peers, \(traffic.packetsToClient) to the client"))
    return facts
  }
}

/// Something that forwards channels in our place.
public protocol TurnForwarder: AnyObject {
  /// How, where and how many, in a few words.
  var status: String { get }
  /// A channel is bound, or bound again.
  func begin(_ channel: ForwardedChannel)
  /// An allocation's client is elsewhere; its channels are as they were.
  func moved(_ id: AllocationID, to flow: TurnFlow)
  func end(_ id: AllocationID, number: UInt16, peer: Endpoint)
}

/// A channel between a client on UDP and a peer.
public struct ForwardedChannel: Sendable, Hashable {
  public let id: AllocationID
  public let flow: TurnFlow
  public let number: UInt16
  public let relayed: Endpoint
  public let peer: Endpoint
}
