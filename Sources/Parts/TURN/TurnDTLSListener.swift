import LinuxIO
import STUN
import TLSCodec
import TURN
import Values

/// Clients of a relay that come over DTLS (RFC 7350): one socket, and a session for each of them.
///
/// ```
///   socket ─▶ a session's records ─▶ relay.handle, each as over UDP ─▶ outbox, answers
///          └▶ of no session: a cookie is asked for; a session for who brings it back
///   relay ─▶ send ─▶ a session's output ─▶ socket, at the end of the turn
/// ```
///
/// A stranger costs nothing that stays: until its address is proven (`DTLSCookies`) there is an answer that is shorter
/// than its question, and a budget for each source. Handshakes are as many and as long as the table of
/// half-open ones lets them, sessions as many for each source as `Limits` says, and a session without an allocation
/// ends when nothing has come for a while.
///
/// A client may begin anew at the same address and port, because it was started again. Its new session stands beside
/// the old one until the handshake is over, so that nobody ends a session with bytes that he has read somewhere
/// (RFC 6347, section 4.2.8).
///
/// Nothing but DTLS is spoken here: a STUN message in the clear is dropped.
///
/// Safety: opened records stand in `room` until the outbox is flushed, and nothing is put over them before.
public final class TurnDTLSListener: DatagramSocketHandler, TurnFlusher {
  public struct Limits: Sendable {
    /// Handshakes at once, in all and of one source.
    public var handshakes = 2_048
    public var handshakesOfSource = 256
    /// Sessions at once, in all and of one source; each takes about 24 KiB.
    public var sessions = 16_384
    public var sessionsOfSource = 1_024
    /// How long a handshake may take.
    public var handshake = TimeSpan.seconds(8)
    /// Silence after which a session without an allocation ends.
    public var idle = TimeSpan.seconds(120)
    /// How often a session is looked after.
    public var look = TimeSpan.seconds(30)
    /// Bytes of UDP's payload where the kernel does not know the path: IPv6's least packet.
    public var datagram = 1_232

    public init() {}
  }

  private unowned let relay: TurnRelay
  private let loop: EventLoop
  private let log: Log
  private let socket: UDPSocket
  private let limits: Limits
  let number: UInt16
  private var security: TLSSecurity
  private let cookies: DTLSCookies
  /// Of bytes that strangers are asked for cookies with.
  private var budget: SourceBudget
  private var clients: [TurnFlow: Client] = [:]
  /// Sessions of each source, without those that are beside another.
  private var bySource: [IPAddress: Int] = [:]
  private let halfOpen: HalfOpenTable
  private var drops = Drops()
  private var unflushed: [Client] = []
  private var isFlushing = false
  private let room: UnsafeMutableRawBufferPointer
  private var used = 0
  /// For one message to a client: larger than any datagram and what stands in front of it.
  private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 66_000, alignment: 16)
  private var isClosed = false

  private static let roomSize = 512 * 1024
  /// Bytes of output that are not held back until the turn ends.
  private static let outputSize = 60_000

  private struct Drops {
    var foreign: UInt64 = 0
    var useless: UInt64 = 0
    var unsent: UInt64 = 0
    var tooLarge: UInt64 = 0
    var failed: UInt64 = 0
    var slow: UInt64 = 0
    var idle: UInt64 = 0
    var overLimit: UInt64 = 0
    var overBudget: UInt64 = 0
  }

  /// A session, and perhaps the one that is about to take its place.
  private final class Client {
    let flow: TurnFlow
    let source: IPAddress
    var session: DTLSSession
    var successor: DTLSSession?
    var receipt: Receipt
    var heardAt: Instant
    var ecn: UInt8 = 0
    var isNoted = false
    var timer: LoopTimer?

    init(_ flow: TurnFlow, _ source: IPAddress, _ session: DTLSSession, _ receipt: Receipt) {
      self.flow = flow
      self.source = source
      self.session = session
      self.receipt = receipt
      heardAt = receipt.at
    }

    /// The session whose handshake is under way.
    var unfinished: DTLSSession? { successor ?? (session.state == .handshake ? session : nil) }
  }

  /// - Throws: when there are no random bytes for the cookies' key.
  public init(
    relay: TurnRelay, socket: UDPSocket, listener number: UInt16, security: TLSSecurity, log: Log,
    limits: Limits = Limits()
  ) throws(TLSError) {
    self.relay = relay
    self.limits = limits
    self.socket = socket
    self.number = number
    self.security = security
    self.log = log
    loop = relay.loop
    cookies = try DTLSCookies()
    var random = SystemRandomNumberGenerator()
    budget = SourceBudget(seed: random.next())
    halfOpen = HalfOpenTable(
      loop: relay.loop, maximum: limits.handshakes, maximumFromOne: limits.handshakesOfSource)
    room = .allocate(byteCount: Self.roomSize, alignment: 16)
    socket.handler = self
    relay.serve(self)
  }

  deinit {
    room.deallocate()
    scratch.deallocate()
  }

  /// What sessions from now on are made with; those that there are go on.
  public func renew(_ security: TLSSecurity) { self.security = security }

  /// Ends all sessions, and says so to their clients. The socket is the caller's.
  public func close() {
    guard !isClosed else { return }
    isClosed = true
    socket.handler = nil
    for client in clients.values {
      client.timer?.cancel()
      halfOpen.remove(ObjectIdentifier(client))
      client.session.close()
      flush(client)
    }
    clients = [:]
    bySource = [:]
  }

  public var sessionCount: Int { clients.count }

  public var dropped: [(what: String, count: UInt64)] {
    [
      ("datagrams that are no DTLS", drops.foreign), ("records of no use", drops.useless),
      ("datagrams larger than the path takes", drops.tooLarge), ("unsent over DTLS", drops.unsent),
      ("DTLS handshakes", drops.failed), ("DTLS handshakes that took too long", drops.slow),
      ("DTLS sessions over the limit", drops.overLimit), ("idle DTLS sessions", drops.idle),
      ("cookies over a source's budget", drops.overBudget),
    ].filter { $0.1 > 0 }
  }

  // MARK: From clients

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    let port = socket.receipt.local?.port ?? 0
    let address = arrival.local ?? socket.receipt.local?.address ?? .anyIPv4
    let flow = TurnFlow(
      listener: number, transport: .dtls, remote: arrival.remote, local: Endpoint(address, port: port))
    for index in 0..<batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      guard DTLSHello.isDTLS(packet) else {
        drops.foreign &+= 1
        continue
      }
      if let client = clients[flow] {
        take(packet, client, arrival)
      } else {
        begin(packet, flow, arrival)
      }
    }
  }

  public func batchesEnded(on socket: any DatagramSocket) {
    relay.flushOutbox()
    used = 0
  }

  public func socketWritable(_ socket: any DatagramSocket) {}

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {}

  /// From an endpoint without a session.
  private func begin(_ packet: UnsafeRawBufferPointer, _ flow: TurnFlow, _ arrival: Arrival) {
    switch cookies.judge(packet, from: flow.remote, to: flow.local, at: loop.now) {
    case .none: drops.foreign &+= 1
    case .unproven(let answer): ask(flow, answer)
    case .proven(let hello):
      let source = SourceBudget.name(of: flow.remote.address)
      guard clients.count < limits.sessions, bySource[source, default: 0] < limits.sessionsOfSource,
        let session = session(hello, flow)
      else {
        drops.overLimit &+= 1
        return
      }
      let client = Client(flow, source, session, socket.receipt(of: arrival, at: loop.now))
      clients[flow] = client
      bySource[source, default: 0] += 1
      client.timer = loop.makeTimer { [weak self, weak client] in
        if let client { self?.look(after: client) }
      }
      awaitHandshake(of: client)
      open(packet, session, client, arrival)
    }
  }

  private func ask(_ flow: TurnFlow, _ answer: [UInt8]) {
    let header = flow.remote.address.canonical.family == .ipv4 ? 28 : 48
    guard budget.take(answer.count + header, for: flow.remote.address, at: loop.now) else {
      drops.overBudget &+= 1
      return
    }
    _ = answer.withUnsafeBytes {
      socket.send($0, segment: $0.count, to: flow.remote, from: flow.local.address, ecn: 0)
    }
  }

  private func session(_ hello: DTLSHello, _ flow: TurnFlow) -> DTLSSession? {
    var settings = DTLSSession.Settings()
    settings.handshakeTimeout = limits.handshake
    do {
      return try DTLSSession(
        credentials: security.credentials, hello: hello,
        largestDatagram: largestDatagram(to: flow.remote) ?? limits.datagram,
        applicationProtocols: security.applicationProtocols, settings: settings, at: loop.now)
    } catch {
      log.debug("no DTLS session: \(error)")
      return nil
    }
  }

  private func awaitHandshake(of client: Client) {
    halfOpen.add(ObjectIdentifier(client), from: client.source, within: limits.handshake) {
      [weak self, weak client] _ in
      guard let self, let client, let session = client.unfinished else { return }
      session.close()
      self.drops.slow &+= 1
      self.settle(session, client)
    }
  }

  /// From an endpoint with a session.
  private func take(_ packet: UnsafeRawBufferPointer, _ client: Client, _ arrival: Arrival) {
    let session = client.session
    guard session.state == .open else { return open(packet, session, client, arrival) }
    if DTLSHello.isHello(packet) {
      switch cookies.judge(packet, from: client.flow.remote, to: client.flow.local, at: loop.now) {
      case .none: drops.foreign &+= 1
      case .unproven(let answer): ask(client.flow, answer)
      case .proven(let hello):
        if client.successor == nil {
          guard let successor = self.session(hello, client.flow) else {
            drops.overLimit &+= 1
            return
          }
          client.successor = successor
          awaitHandshake(of: client)
        }
        if let successor = client.successor { open(packet, successor, client, arrival) }
      }
      return
    }
    let before = session.dropped
    open(packet, session, client, arrival)
    guard session.dropped != before else { return }
    guard let successor = client.successor else {
      drops.useless &+= 1
      return
    }
    open(packet, successor, client, arrival)
  }

  private func open(
    _ packet: UnsafeRawBufferPointer, _ session: DTLSSession, _ client: Client, _ arrival: Arrival
  ) {
    if Self.roomSize - used < max(packet.count, DTLSSession.largestRecord) {
      relay.flushOutbox()
      used = 0
    }
    let space = UnsafeMutableRawBufferPointer(rebasing: room[used...])
    let before = session.state
    let flow = client.flow
    used += session.receive(packet, at: loop.now, into: space) { message in
      client.heardAt = loop.now
      relay.handle(message, flow, ecn: arrival.ecn) { self.socket.receipt(of: arrival, at: self.loop.now) }
    }
    if session.hasOutput { note(client) }
    if session.state != before || session.state == .handshake { settle(session, client) }
  }

  // MARK: The life of a session

  /// After anything that may have changed a session's state.
  private func settle(_ session: DTLSSession, _ client: Client) {
    switch session.state {
    case .handshake: client.timer?.arm(at: session.nextDeadline)
    case .open:
      halfOpen.remove(ObjectIdentifier(client))
      client.heardAt = loop.now
      record("the handshake is done", session, client)
      if session === client.successor { succeed(client, session) }
      client.timer?.arm(after: limits.look)
    case .closed, .failed:
      if case .failed(let error) = session.state {
        if error == .handshakeTimedOut { drops.slow &+= 1 } else { drops.failed &+= 1 }
        log.debug("a DTLS session ended: \(error)", ["client": client.flow.remote])
        record("\(error)", session, client)
      }
      halfOpen.remove(ObjectIdentifier(client))
      guard session === client.successor else { return end(client) }
      flush(client)
      client.successor = nil
      client.timer?.arm(after: limits.look)
    }
  }

  /// As of TLS: the library is not run again, and a recording has how its handshakes ended.
  private func record(_ event: String, _ session: DTLSSession, _ client: Client) {
    loop.recorder?.note("tls") { line in
      line.text("event", event)
      line.text("client", "\(client.flow.remote)")
      guard let facts = session.facts else { return }
      line.text("version", facts.version)
      line.text("cipher", facts.cipherSuite)
    }
  }

  /// The client has begun anew, and knows nothing of what it had.
  private func succeed(_ client: Client, _ session: DTLSSession) {
    flush(client)
    client.session = session
    client.successor = nil
    relay.streamEnded(client.flow)
  }

  private func end(_ client: Client) {
    guard clients[client.flow] === client else { return }
    flush(client)
    client.timer?.cancel()
    clients[client.flow] = nil
    let left = bySource[client.source, default: 1] - 1
    bySource[client.source] = left > 0 ? left : nil
    relay.streamEnded(client.flow)
  }

  /// A flight of a handshake may have to be sent again; a session may be idle, or its path another.
  private func look(after client: Client) {
    if let session = client.unfinished {
      session.handleTimeout(at: loop.now)
      if session.hasOutput { note(client) }
      return settle(session, client)
    }
    let session = client.session
    guard session.state == .open else { return settle(session, client) }
    if !relay.machine.hasAllocation(by: client.flow), loop.now - client.heardAt >= limits.idle {
      drops.idle &+= 1
      session.close()
      return end(client)
    }
    session.trim()
    if let size = largestDatagram(to: client.flow.remote) { session.setLargestDatagram(size) }
    client.timer?.arm(after: limits.look)
  }

  // MARK: To clients

  /// The layers of a client's leg.
  func layers(of flow: TurnFlow) -> [Layer] {
    [.udp] + (clients[flow]?.session.facts.map { [.tls($0)] } ?? [])
  }

  func send(message: [UInt8], to flow: TurnFlow) {
    guard let client = clients[flow] else { return }
    message.withUnsafeBytes { write($0, client, ecn: 0) }
  }

  /// Data of a peer, as it arrived.
  func send(_ batch: borrowing PacketBatch, _ delivery: TurnServer.Delivery, ecn: UInt8) {
    guard let client = clients[delivery.flow] else { return }
    for index in 0..<batch.count {
      let data = UnsafeRawBufferPointer(batch[index])
      write(message(of: data, delivery), client, ecn: ecn)
    }
  }

  /// Data of a peer as its client is told: in a channel, not padded, or in an indication.
  private func message(
    of data: UnsafeRawBufferPointer, _ delivery: TurnServer.Delivery
  ) -> UnsafeRawBufferPointer {
    guard let base = scratch.baseAddress else { return data }
    guard let channel = delivery.channel else {
      let size = min(scratch.count, DataIndication.size(delivery.peer.family, data.count))
      DataIndication.write(
        data, from: delivery.peer, relay.transaction(), into: UnsafeMutableRawBufferPointer(rebasing: scratch[..<size]))
      return UnsafeRawBufferPointer(start: base, count: size)
    }
    ChannelData.writeHeader(channel, length: data.count, into: base)
    if let source = data.baseAddress {
      (base + ChannelData.headerSize).copyMemory(from: source, byteCount: data.count)
    }
    return UnsafeRawBufferPointer(start: base, count: ChannelData.headerSize + data.count)
  }

  private func write(_ message: UnsafeRawBufferPointer, _ client: Client, ecn: UInt8) {
    if ecn != client.ecn {
      flush(client)
      client.ecn = ecn
    }
    switch client.session.write(message) {
    case .written:
      note(client)
      if client.session.outputSize >= Self.outputSize { flush(client) }
    case .tooLarge: drops.tooLarge &+= 1
    case .refused:
      drops.unsent &+= 1
      // What it failed of ends it, and not in the midst of what others send.
      if client.session.state != .open { client.timer?.arm(at: loop.now) }
    }
  }

  private func note(_ client: Client) {
    guard !client.isNoted else { return }
    client.isNoted = true
    unflushed.append(client)
    guard !isFlushing else { return }
    isFlushing = true
    loop.requestFlush(self)
  }

  public func flush() {
    isFlushing = false
    for client in unflushed {
      client.isNoted = false
      flush(client)
    }
    unflushed.removeAll(keepingCapacity: true)
  }

  private func flush(_ client: Client) {
    flush(client.session, client)
    if let successor = client.successor { flush(successor, client) }
  }

  private func flush(_ session: DTLSSession, _ client: Client) {
    session.drain { bytes, segment in
      let outcome = socket.send(
        bytes, segment: segment, to: client.flow.remote, from: client.flow.local.address, ecn: client.ecn)
      if case .sent = outcome { return }
      drops.unsent &+= UInt64((bytes.count + segment - 1) / segment)
    }
  }
}
