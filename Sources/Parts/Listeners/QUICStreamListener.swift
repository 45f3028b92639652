import CulvertLink
import LinuxIO
import QUICCodec
import TLSCodec
import Values

/// The listeners `quic`, `icmp` and `icmp6`: one endpoint for all clients, over UDP or inside echo messages.
public final class QUICStreamListener: StreamListener, DatagramSocketHandler, TurnFlusher {
  private let loop: EventLoop
  private let log: Log
  private let socket: any DatagramSocket
  private let endpoint: QUICEndpoint
  private let accept: StreamAcceptor
  private var pump: QUICPump
  private var timer: LoopTimer?
  private var sessions: [ObjectIdentifier: QUICSession] = [:]
  private var currentArrival: Receipt?
  private var isFlushQueued = false
  private var isClosed = false
  private var failedHandshakes: UInt64 = 0

  public var receipt: Receipt { socket.receipt }

  public var dropped: [(what: String, count: UInt64)] {
    let counters = endpoint.counters
    let envelopes = (socket as? ICMPSocket)?.rejected.values.reduce(0, +) ?? 0
    return [
      ("echo messages that are no envelopes", UInt64(clamping: envelopes)), ("QUIC packets", counters.dropped),
      ("QUIC clients refused", counters.refused), ("QUIC handshakes", failedHandshakes),
    ].filter { $0.1 > 0 }
  }

  public init(
    loop: EventLoop, log: Log, socket: any DatagramSocket, sendBuffer: SendBuffer, credentials: TLSCredentials,
    settings: QUICSettings, secret: [UInt8], accept: @escaping StreamAcceptor
  ) {
    self.loop = loop
    self.log = log
    self.socket = socket
    self.accept = accept
    endpoint = QUICEndpoint(credentials: credentials, settings: settings, secret: secret)
    pump = QUICPump(socket: socket, sendBuffer: sendBuffer, isClient: false)
    socket.handler = self
    timer = loop.makeTimer { [weak self] in self?.deadline() }
  }

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    guard !isClosed else { return }
    let receipt = socket.receipt(of: arrival, at: loop.now)
    currentArrival = receipt
    let local = receipt.local ?? Endpoint(arrival.remote.family == .ipv4 ? .anyIPv4 : .anyIPv6, port: 0)
    for index in 0..<batch.count {
      endpoint.handle(
        UnsafeRawBufferPointer(batch[index]), from: arrival.remote, to: local, ecn: arrival.ecn, at: loop.now)
    }
    handleEvents()
    currentArrival = nil
    requestFlush()
  }

  public func socketWritable(_ socket: any DatagramSocket) { if pump.isBlocked { requestFlush() } }

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    // A client that is gone shows here, and whoever forges ICMP errors; QUIC's own timers decide.
    log.trace("the socket reported: \(error)")
  }

  private func deadline() {
    endpoint.handleTimeout(at: loop.now)
    handleEvents()
    requestFlush()
  }

  private func handleEvents() {
    while let news = endpoint.pollEvent() {
      let key = ObjectIdentifier(news.connection)
      switch news.event {
      case .connected: admit(news.connection)
      case .closed(let reason):
        guard let session = sessions.removeValue(forKey: key) else {
          failedHandshakes &+= 1
          log.debug("a QUIC handshake failed: \(reason)", ["client": news.connection.remoteEndpoint])
          continue
        }
        session.handle(news.event)
        continue
      case .pathChanged:
        if let arrival = currentArrival, arrival.remote == news.connection.remoteEndpoint {
          sessions[key]?.receipt = arrival
        }
      default: break
      }
      sessions[key]?.handle(news.event)
    }
  }

  private func admit(_ connection: QUICConnection) {
    let session = QUICSession(loop: loop, socket: socket, connection: connection) { [weak self] in
      self?.requestFlush()
    }
    if let currentArrival, currentArrival.remote == connection.remoteEndpoint { session.receipt = currentArrival }
    sessions[ObjectIdentifier(connection)] = session
    session.streamArrived = { [weak self, weak session] stream in
      let id = stream.id
      self?.accept(
        stream,
        ClientReport(
          leg: { session?.report($0, for: id) }, failure: { session?.report(failure: $0, for: id) }))
    }
  }

  private func requestFlush() {
    guard !isFlushQueued, !isClosed else { return }
    isFlushQueued = true
    loop.requestFlush(self)
  }

  public func flush() {
    isFlushQueued = false
    guard !isClosed else { return }
    drain()
    handleEvents()
    timer?.arm(at: endpoint.nextDeadline())
  }

  private func drain() {
    let now = loop.refreshNow()
    pump.drain { endpoint.pollTransmit(into: $0, at: now) }
  }

  /// What new connections get from now on; those that stand are as they were.
  public func renew(credentials: TLSCredentials, settings: QUICSettings) {
    endpoint.renew(credentials: credentials, settings: settings)
  }

  public func close() {
    guard !isClosed else { return }
    endpoint.close(reason: "the server ends", at: loop.now)
    drain()
    isClosed = true
    timer?.cancel()
    timer = nil
    sessions = [:]
    socket.handler = nil
    socket.close()
  }
}

extension QUICSession {
  /// Tells the client of the leg behind us, if it is a Culvert.
  fileprivate func report(_ leg: Leg, for stream: Int64) {
    guard isCulvert, let id = UInt64(exactly: stream), case .target(let target) = leg.to else { return }
    let names: [String] = leg.transport.compactMap {
      switch $0 {
      case .udp: "udp"
      case .tcp: "tcp"
      default: nil
      }
    }
    tell(
      .leg(
        stream: id,
        LegReport(target: target, local: leg.local?.value, remote: leg.remote?.value, transport: names)))
  }
}

extension QUICSession {
  /// Tells the client why its request failed, if it is a Culvert.
  fileprivate func report(failure text: String, for stream: Int64) {
    guard isCulvert, let id = UInt64(exactly: stream) else { return }
    tell(.notice(stream: id, text: text))
  }
}

/// A reference that does not keep its object.
final class Weak<Object: AnyObject> {
  weak var value: Object?
}
