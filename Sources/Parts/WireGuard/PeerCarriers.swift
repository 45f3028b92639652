import LinuxIO
import Values

/// The datagrams of peers that are reached through a chain: where UDP is blocked, WireGuard's messages go as datagrams of
/// a relay, over TLS, QUIC or ICMP, and come out of the chain's last node as UDP.
///
/// ```
///   message for 192.0.2.7:51820 ─▶ line of that endpoint ─▶ carrier (opened by the way) ─▶ … ─▶ 192.0.2.7:51820
/// ```
///
/// To the machine a peer behind a chain is at the endpoint that the file names, and stays there; what a carrier brings
/// counts as coming from that endpoint. A line opens its carrier when there is something to send, and again, after a
/// pause, when it was lost. Sessions do not notice: WireGuard's messages stand for themselves.
///
/// A name is resolved where the chain ends. The machine knows addresses alone, so that such an endpoint has a stand-in
/// (`standIn`), from a prefix that no host has.
///
/// A carrier that is full still takes what it is given, and says when it has room; the owner of the packets stops until
/// then (`isFull`).
final class PeerCarriers {
  private let loop: EventLoop
  private let log: Log
  private let way: any Way
  private var lines: [Endpoint: Line] = [:]
  private var nextStandIn: UInt128 = 1
  private var complaints = ComplaintLimiter<String>()
  fileprivate var received: ((inout PacketBatch, Endpoint) -> Void)?
  fileprivate var writable: (() -> Void)?
  fileprivate var reopened: ((Endpoint) -> Void)?
  /// Messages that found no carrier.
  private(set) var unsent: UInt64 = 0

  /// - Parameters:
  ///   - received: messages of the peer at that endpoint.
  ///   - writable: there may be room again.
  ///   - reopened: the way to that endpoint stands again after it was lost.
  init(
    loop: EventLoop, log: Log, way: any Way, received: @escaping (inout PacketBatch, Endpoint) -> Void,
    writable: @escaping () -> Void, reopened: @escaping (Endpoint) -> Void
  ) {
    self.loop = loop
    self.log = log
    self.way = way
    self.received = received
    self.writable = writable
    self.reopened = reopened
  }

  /// Adds a peer that is reached through the chain; its endpoint for the machine.
  func add(_ target: HostPort) -> Endpoint {
    let endpoint: Endpoint
    if let literal = IPAddress(target.host) {
      endpoint = Endpoint(literal.canonical, port: target.port)
    } else if let known = lines.first(where: { $0.value.target == target }) {
      return known.key
    } else {
      endpoint = standIn(target.port)
    }
    if lines[endpoint] == nil { lines[endpoint] = Line(self, endpoint, target) }
    return endpoint
  }

  /// 100::/64, which is for discarding (RFC 6666).
  private func standIn(_ port: UInt16) -> Endpoint {
    defer { nextStandIn &+= 1 }
    return Endpoint(.v6(UInt128(0x0100) << 112 | nextStandIn), port: port)
  }

  func has(_ endpoint: Endpoint) -> Bool { lines[endpoint] != nil }

  /// Whether a carrier waits for room.
  var isFull: Bool { lines.values.contains(where: \.isFull) }

  /// Ends the carriers of all other endpoints.
  func keep(only endpoints: Set<Endpoint>) {
    for (endpoint, line) in lines where !endpoints.contains(endpoint) {
      line.close()
      lines[endpoint] = nil
    }
  }

  /// Sends messages of a batch, to an endpoint that is one of these (`has`).
  func send(_ batch: borrowing PacketBatch, _ range: Range<Int>, to endpoint: Endpoint) {
    guard let line = lines[endpoint] else { return }
    line.send(batch, range)
  }

  func send(_ message: UnsafeRawBufferPointer, to endpoint: Endpoint) { lines[endpoint]?.send(message) }

  /// What is known of the way to an endpoint; none while there is no carrier.
  func legs(to endpoint: Endpoint) -> [Leg] { lines[endpoint]?.legs ?? [] }

  /// The largest message that crosses in a packet of its own; `nil` where sizes do not matter, or nothing is open.
  func messageLimit(to endpoint: Endpoint) -> Int? { lines[endpoint]?.messageLimit }

  /// The host's addresses or routes changed.
  func networkChanged() { way.networkChanged() }

  func close() {
    for line in lines.values { line.close() }
    lines = [:]
    received = nil
    writable = nil
    reopened = nil
    way.close()
  }

  // MARK: One endpoint

  private final class Line: DatagramReceiver {
    private unowned let owner: PeerCarriers
    let endpoint: Endpoint
    let target: HostPort
    private var state = State.idle(after: Instant(nanoseconds: .min))
    private(set) var isFull = false
    private var wasLost = false
    /// What came while the carrier was opened: a handshake, and the first packets behind it.
    private var waiting: [[UInt8]] = []
    private var scratch: PacketBatchBox?

    private enum State {
      case idle(after: Instant)
      case opening
      case open(any DatagramCarrier)
      case closed
    }

    private static let mostWaiting = 16

    init(_ owner: PeerCarriers, _ endpoint: Endpoint, _ target: HostPort) {
      self.owner = owner
      self.endpoint = endpoint
      self.target = target
    }

    var legs: [Leg] {
      guard case .open(let carrier) = state else { return [] }
      return carrier.legs
    }

    var messageLimit: Int? {
      guard case .open(let carrier) = state else { return nil }
      return carrier.packetLimit
    }

    func send(_ batch: borrowing PacketBatch, _ range: Range<Int>) {
      guard case .open(let carrier) = state else {
        for index in range { send(UnsafeRawBufferPointer(batch[index])) }
        return
      }
      let box = room(for: carrier)
      for index in range {
        let message = UnsafeRawBufferPointer(batch[index])
        if box.batch.append(copying: message) { continue }
        pass(box, to: carrier)
        if !box.batch.append(copying: message) { owner.unsent &+= 1 }
      }
      pass(box, to: carrier)
    }

    func send(_ message: UnsafeRawBufferPointer) {
      switch state {
      case .closed: return
      case .open(let carrier):
        let box = room(for: carrier)
        if box.batch.append(copying: message) { pass(box, to: carrier) } else { owner.unsent &+= 1 }
      case .opening: wait(message)
      case .idle(let after):
        guard owner.loop.now >= after else {
          owner.unsent &+= 1
          return
        }
        wait(message)
        open()
      }
    }

    /// An empty batch with the carrier's headroom.
    private func room(for carrier: any DatagramCarrier) -> PacketBatchBox {
      if let scratch, scratch.batch.headroom == carrier.headroom { return scratch }
      let box = PacketBatchBox(capacity: 288 * 1024, maximumCount: 256, headroom: carrier.headroom)
      scratch = box
      return box
    }

    private func pass(_ box: PacketBatchBox, to carrier: any DatagramCarrier) {
      if !box.batch.isEmpty, !carrier.send(&box.batch) { isFull = true }
      box.batch.removeAll()
    }

    private func wait(_ message: UnsafeRawBufferPointer) {
      if waiting.count == Self.mostWaiting {
        waiting.removeFirst()
        owner.unsent &+= 1
      }
      waiting.append(Array(message))
    }

    private func open() {
      state = .opening
      owner.way.openDatagrams(to: target, for: nil) { [weak self] result in
        guard let self, case .opening = self.state else {
          if case .success(let carrier) = result { carrier.close() }
          return
        }
        switch result {
        case .success(let carrier): self.opened(carrier)
        case .failure(let failure): self.lost("cannot reach \(self.target): \(failure)")
        }
      }
    }

    private func opened(_ carrier: any DatagramCarrier) {
      carrier.receiver = self
      state = .open(carrier)
      isFull = false
      owner.log.info("the way to a peer is open", ["endpoint": target])
      let messages = waiting
      waiting = []
      for message in messages { message.withUnsafeBytes { send($0) } }
      if wasLost { owner.reopened?(endpoint) }
      wasLost = false
    }

    private func lost(_ text: String) {
      owner.unsent &+= UInt64(waiting.count)
      waiting = []
      isFull = false
      wasLost = true
      state = .idle(after: owner.loop.now + DialTiming.pause)
      if owner.complaints.isDue("\(target)", text, at: owner.loop.now) { owner.log.warn(text) }
      owner.writable?()
    }

    func carrierReceived(_ batch: inout PacketBatch, from carrier: any DatagramCarrier) {
      guard case .open(let own) = state, own === carrier else { return }
      owner.received?(&batch, endpoint)
    }

    func carrierWritable(_ carrier: any DatagramCarrier) {
      guard case .open(let own) = state, own === carrier else { return }
      isFull = false
      owner.writable?()
    }

    func carrierRenewed(_ carrier: any DatagramCarrier) {
      guard case .open(let own) = state, own === carrier else { return }
      owner.reopened?(endpoint)
    }

    func carrierFailed(_ carrier: any DatagramCarrier, _ failure: TransportFailure) {
      guard case .open(let own) = state, own === carrier else { return }
      carrier.receiver = nil
      carrier.close()
      lost("lost the way to \(target): \(failure)")
    }

    func close() {
      if case .open(let carrier) = state {
        carrier.receiver = nil
        carrier.close()
      }
      state = .closed
      waiting = []
    }
  }
}
