import CulvertLink
import LinuxIO
import QUICCodec
import TLSCodec
import Values

/// The dialers `quic`, `icmp` and `icmp6`: streams of one shared connection, over UDP or inside ICMP echo messages.
///
/// The connection is made for the first stream and shared by those that follow. When it ends, the next stream makes a
/// new one; `reset` ends it because somebody above found that nothing comes back. A stream beyond what the other end
/// allows at a time, a hundred at a GOST, waits until another one has ended.
public final class QUICDialer: Dialer {
  public enum Carrier: Sendable {
    case udp
    /// With the echo identifier from the node's port, or a random one for 0, as GOST does.
    case icmp(AddressFamily)
  }

  private let loop: EventLoop
  private let arena: ReceiveArena
  private let sendBuffer: SendBuffer
  private let resolver: Resolver
  private let target: NodeTarget
  private let carrier: Carrier
  private let credentials: TLSCredentials
  private let serverName: String?
  private let settings: QUICSettings
  private let timeout: TimeSpan
  private let log: Log
  private var client: QUICClient?
  private var isConnecting = false
  private var waiting: [Attempt<any ByteStream>] = []
  private var isClosed = false

  public init(
    loop: EventLoop, arena: ReceiveArena, sendBuffer: SendBuffer, log: Log, target: NodeTarget, carrier: Carrier,
    credentials: TLSCredentials, serverName: String?, settings: QUICSettings, timeout: TimeSpan = DialTiming.attempt
  ) {
    self.loop = loop
    self.arena = arena
    self.sendBuffer = sendBuffer
    self.log = log
    self.target = target
    self.carrier = carrier
    self.credentials = credentials
    self.serverName = serverName
    self.settings = settings
    self.timeout = timeout
    resolver = Resolver(loop: loop)
  }

  public func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    let attempt = Attempt<any ByteStream>(
      loop: loop, limit: timeout,
      onTimeout: { [weak self] in self?.timedOut() ?? TransportFailure(.timeout, "closed") },
      completion)
    // Behind those who wait already.
    if let client = self.client, client.isConnected, waiting.isEmpty {
      loop.later { [weak self] in self?.open([attempt], on: client.session) }
      return
    }
    waiting.append(attempt)
    if !isConnecting, self.client?.isConnected != true { connect() }
  }

  /// Those that the other end allows no stream now wait on, in their order.
  private func open(_ attempts: [Attempt<any ByteStream>], on session: QUICSession) {
    for (index, attempt) in attempts.enumerated() where attempt.isPending {
      do throws(QUICError) {
        attempt.complete(.success(try session.openStream()))
      } catch {
        if case .streamLimit = error {
          waiting = attempts[index...].filter(\.isPending) + waiting
          return
        }
        attempt.complete(.failure(TransportFailure(.refused, "\(target.address): \(error)")))
      }
    }
  }

  private func openWaiting(on session: QUICSession) {
    let attempts = waiting
    waiting = []
    open(attempts, on: session)
  }

  private func connect() {
    isConnecting = true
    endClient()
    target.resolve(resolver) { [weak self] result in
      guard let self, !self.isClosed, self.isConnecting else { return }
      switch result {
      case .failure(let failure): self.failAll(failure)
      case .success(let endpoints): self.start(endpoints)
      }
    }
  }

  private func start(_ endpoints: [Endpoint]) {
    var last = TransportFailure(.unreachable, "\(target.address.host) has no address")
    for endpoint in endpoints {
      do throws(SystemError) {
        let (socket, remote, room) = try makeSocket(to: endpoint)
        begin(socket, remote, settings(for: room))
        return
      } catch {
        last = TransportFailure(error)
      }
    }
    failAll(last)
  }

  private func makeSocket(
    to endpoint: Endpoint
  ) throws(SystemError) -> (socket: any DatagramSocket, remote: Endpoint, room: Int?) {
    switch carrier {
    case .udp:
      var options = target.options
      options.bufferSize = 4 << 20
      let socket = try UDPSocket(loop: loop, arena: arena, to: endpoint, options: options)
      return (socket, endpoint, socket.wholeDatagram)
    case .icmp(let family):
      let identifier = endpoint.port == 0 ? UInt16.random(in: 1...UInt16.max) : endpoint.port
      let remote = Endpoint(endpoint.address, port: identifier, scope: endpoint.scope)
      var options = target.options
      options.bufferSize = 4 << 20
      let socket = try ICMPSocket(
        loop: loop, arena: arena, family: family, side: .client(identifier: identifier, remote: remote), local: nil,
        options: options)
      return (socket, remote, socket.wholeDatagram)
    }
  }

  /// Packets that leave whole, in both directions: QUIC must not be sent in fragments (RFC 9000, section 14), which many
  /// networks drop. The kernel would make them of a probe that is larger than the link.
  private func settings(for room: Int?) -> QUICSettings {
    guard let room, room >= 1200, room < settings.maximumPacket else { return settings }
    var settings = settings
    settings.maximumPacket = room
    settings.maximumReceivedPacket = room
    return settings
  }

  private func begin(_ socket: any DatagramSocket, _ remote: Endpoint, _ settings: QUICSettings) {
    let client: QUICClient
    do {
      client = try QUICClient(
        loop: loop, socket: socket, sendBuffer: sendBuffer, credentials: credentials, serverName: serverName,
        settings: settings, remote: remote)
    } catch {
      socket.close()
      failAll(TransportFailure(.local, "\(error)"))
      return
    }
    self.client = client
    client.session.connected = { [weak self, weak client] in
      guard let self, let client else { return }
      self.isConnecting = false
      self.openWaiting(on: client.session)
    }
    client.session.streamsAvailable = { [weak self, weak client] in
      guard let self, let client else { return }
      self.openWaiting(on: client.session)
    }
    client.session.closed = { [weak self] reason in
      guard let self else { return }
      let wasConnecting = self.isConnecting
      let address = self.target.address
      self.endClient()
      if wasConnecting {
        self.failAll(TransportFailure(.refused, "\(address): \(reason)"))
      } else if self.waiting.contains(where: \.isPending) {
        self.connect()
      }
    }
  }

  private func timedOut() -> TransportFailure {
    let report = client?.lastReport.map { " (the kernel reported: \($0))" } ?? ""
    waiting.removeAll { !$0.isPending }
    // The node does answer, so that nothing of it is given up for this.
    if client?.isConnected == true {
      return TransportFailure(
        .refused, "\(target.address) allows no more streams at a time, and none has ended within \(timeout)")
    }
    if isConnecting {
      isConnecting = false
      endClient()
    }
    return TransportFailure(.timeout, silence() + report)
  }

  /// What silence can mean, most likely first.
  private func silence() -> String {
    switch carrier {
    case .udp:
      "no answer from quic \(target.address) within \(timeout); most likely first: no quic listener there; a firewall "
        + "drops UDP to that port; the address is wrong. They cannot be told apart from here"
    case .icmp(let family):
      "no answer from \(family == .ipv4 ? "icmp" : "icmp6") \(target.address.host) within \(timeout); most likely first: "
        + "no \(family == .ipv4 ? "icmp" : "icmp6") listener runs there; a firewall drops echo messages; the address is "
        + "wrong. They cannot be told apart from here"
    }
  }

  private func failAll(_ failure: TransportFailure) {
    isConnecting = false
    let attempts = waiting
    waiting = []
    for attempt in attempts { attempt.complete(.failure(failure)) }
  }

  private func endClient() {
    client?.close()
    client = nil
  }

  public func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
    loop.later {
      completion(.failure(TransportFailure(.local, "this transport carries datagrams only behind relay")))
    }
  }

  public func reset() {
    guard !isConnecting else { return }
    endClient()
    if waiting.contains(where: \.isPending) { connect() }
  }

  /// A node that lives has acknowledged the request, whatever becomes of it.
  public func suspect(since: Instant) {
    guard !isConnecting, let client, client.session.receipt.at < since else { return }
    client.session.failStreams(TransportFailure(.lost, "the node \(target.name) has not been heard for a while"))
    endClient()
    if waiting.contains(where: \.isPending) { connect() }
  }

  public func close() {
    isClosed = true
    isConnecting = false
    for attempt in waiting { attempt.cancel() }
    waiting = []
    endClient()
  }

  public func reportedLegs(of stream: any ByteStream) -> [Leg]? {
    guard let stream = stream as? QUICByteStream, stream.session.isCulvert,
      let report = stream.session.report(for: stream.id)
    else { return nil }
    return [report.leg(from: .hop(target.name), reportedBy: target.name, at: loop.now)]
  }

  public func reportedFailure(of stream: any ByteStream) -> String? {
    guard let stream = stream as? QUICByteStream, stream.session.isCulvert else { return nil }
    return stream.session.notice(for: stream.id)
  }
}

/// A client's connection with its socket and timer.
private final class QUICClient: DatagramSocketHandler, TurnFlusher {
  private let loop: EventLoop
  private let socket: any DatagramSocket
  private let connection: QUICConnection
  private var pump: QUICPump
  private var timer: LoopTimer?
  private var isFlushQueued = false
  private var isClosed = false
  private(set) var lastReport: String?

  let session: QUICSession

  init(
    loop: EventLoop, socket: any DatagramSocket, sendBuffer: SendBuffer, credentials: TLSCredentials,
    serverName: String?, settings: QUICSettings, remote: Endpoint
  ) throws(QUICCloseReason) {
    self.loop = loop
    self.socket = socket
    let local = socket.receipt.local ?? Endpoint(remote.family == .ipv4 ? .anyIPv4 : .anyIPv6, port: 0)
    connection = try QUICConnection(
      client: credentials, serverName: serverName, settings: settings, local: local, remote: remote, at: loop.now)
    pump = QUICPump(socket: socket, sendBuffer: sendBuffer, isClient: true)
    let relay = FlushRelay()
    session = QUICSession(loop: loop, socket: socket, connection: connection) { relay.client?.requestFlush() }
    relay.client = self
    socket.handler = self
    timer = loop.makeTimer { [weak self] in self?.deadline() }
    requestFlush()
  }

  /// Ties the session's wish for a flush to the client, which exists only after it.
  private final class FlushRelay {
    weak var client: QUICClient?
  }

  var isConnected: Bool { connection.facts != nil && !session.isOver }

  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    guard !isClosed else { return }
    session.receipt = socket.receipt(of: arrival, at: loop.now)
    let local = connection.localEndpoint
    for index in 0..<batch.count {
      connection.handle(
        UnsafeRawBufferPointer(batch[index]), from: connection.remoteEndpoint, to: local, ecn: arrival.ecn,
        at: loop.now)
    }
    handleEvents()
    requestFlush()
  }

  func socketWritable(_ socket: any DatagramSocket) { if pump.isBlocked { requestFlush() } }

  func socketReported(_ error: SystemError, on socket: any DatagramSocket) { lastReport = "\(error)" }

  private func deadline() {
    connection.handleTimeout(at: loop.now)
    handleEvents()
    requestFlush()
  }

  private func handleEvents() {
    while !isClosed, let event = connection.pollEvent() { session.handle(event) }
  }

  func requestFlush() {
    guard !isFlushQueued, !isClosed else { return }
    isFlushQueued = true
    loop.requestFlush(self)
  }

  func flush() {
    isFlushQueued = false
    guard !isClosed else { return }
    drain()
    handleEvents()
    if !isClosed { timer?.arm(at: connection.nextDeadline()) }
  }

  private func drain() {
    let now = loop.refreshNow()
    pump.drain { connection.pollTransmit(into: $0, at: now) }
  }

  func close() {
    guard !isClosed else { return }
    session.close()
    drain()
    isClosed = true
    timer?.cancel()
    timer = nil
    socket.handler = nil
    socket.close()
  }
}
