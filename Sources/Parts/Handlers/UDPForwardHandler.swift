import LinuxIO
import NodeSelection
import RecordedMachines
import Values

/// The handlers `udp` and `forward` over a listener of datagrams: each client's datagrams go to a target of the
/// forwarder, and the answers back.
///
/// A session begins with a choice of target and the opening of a way to it. Datagrams that come before the way stands
/// wait, as do those for which a full stream has no room; both in order, and few. A way that cannot be opened is an
/// account on the target's side, and the next target is tried; when none is left, what waits is dropped, and the client's
/// next datagrams try anew after a pause. The same happens to a way that ends while the client still sends.
///
/// UDP does not say that nobody is there, so a target counts as alive again once something came back from it, not
/// because a socket could be opened.
public final class UDPForwardHandler {
  public struct Settings: Sendable {
    /// Datagrams of one client that may wait, which is GOST's `readQueueSize`.
    public var queue: Int
    /// Bytes that may wait for all clients together.
    public var waitingBytes: Int
    /// Between a failure and the next attempt.
    public var pause: TimeSpan

    public init(queue: Int = 128, waitingBytes: Int = 16 << 20, pause: TimeSpan = DialTiming.pause) {
      self.queue = max(1, queue)
      self.waitingBytes = max(1 << 17, waitingBytes)
      self.pause = pause
    }
  }

  fileprivate let loop: EventLoop
  fileprivate let log: Log
  fileprivate let way: any Way
  fileprivate let targets: [HostPort]
  fileprivate let settings: Settings
  fileprivate var selector: RecordedNodeSelector
  private var forwards: [ObjectIdentifier: UDPForward] = [:]
  private var complaints = ComplaintLimiter<String>()
  /// Where datagrams get a carrier's headroom; made when the first carrier wants one.
  fileprivate let scratch = Scratch()
  fileprivate var waitingBytes = 0
  private var isClosed = false

  /// Ways that could not be opened.
  public fileprivate(set) var failedOpenings: UInt64 = 0
  /// Ways that ended before their client did.
  public fileprivate(set) var lostWays: UInt64 = 0
  /// Datagrams that waited in vain, or found no room to wait.
  public fileprivate(set) var dropped: UInt64 = 0

  fileprivate final class Scratch {
    var batch: PacketBatch?
  }

  /// - Parameters:
  ///   - targets: the forwarder's nodes, in the order that the selector has them.
  public init(
    loop: EventLoop, log: Log, way: any Way, targets: [HostPort], selector: NodeSelector,
    settings: Settings = Settings()
  ) {
    self.loop = loop
    self.log = log
    self.way = way
    self.targets = targets
    self.selector = RecordedNodeSelector(
      selector, loop.recorder, about: targets.map(\.description).joined(separator: " "))
    self.settings = settings
  }

  /// Takes a session over.
  public func accept(_ session: DatagramSession) {
    guard !isClosed else { return }
    let forward = UDPForward(handler: self, session: session)
    forwards[ObjectIdentifier(forward)] = forward
    session.receiver = forward
  }

  public var sessionCount: Int { forwards.count }

  public var paths: [(name: String, path: Path)] { forwards.values.compactMap(\.path) }

  /// The host's addresses or routes changed.
  public func networkChanged() { way.networkChanged() }

  /// Ends all sessions, and the way.
  public func close() {
    isClosed = true
    for forward in forwards.values { forward.close() }
    forwards = [:]
    way.close()
  }

  fileprivate func ended(_ forward: UDPForward) { forwards[ObjectIdentifier(forward)] = nil }

  fileprivate func complain(_ text: String, of session: DatagramSession) {
    guard complaints.isDue(session.client?.address.description ?? session.name, text, at: loop.now) else { return }
    log.warn(text, ["client": session.name])
  }

  /// The batch with a carrier's headroom before each datagram, in pieces.
  fileprivate func withHeadroom(
    _ headroom: Int, _ batch: inout PacketBatch, _ body: (inout PacketBatch) -> Void
  ) {
    var index = 0
    let count = batch.count
    // Taken out for the time of the call: what the body calls may come back here.
    var copy = takeScratch(headroom)
    while index < count {
      copy.removeAll()
      while index < count, copy.append(copying: UnsafeRawBufferPointer(batch[index])) { index += 1 }
      if copy.isEmpty { index += 1 } else { body(&copy) }
    }
    scratch.batch = consume copy
  }

  fileprivate func takeScratch(_ headroom: Int) -> PacketBatch {
    if let kept = scratch.batch.take(), kept.headroom == headroom { return kept }
    return PacketBatch(capacity: 192 * 1024, maximumCount: 256, headroom: headroom)
  }
}

/// One client's session and its way.
private final class UDPForward: DatagramSessionReceiver, DatagramReceiver {
  private enum State {
    /// Nothing has been asked for since; the next datagram does, after the instant.
    case idle(after: Instant)
    case opening
    case open(any DatagramCarrier)
    case closed
  }

  private unowned let handler: UDPForwardHandler
  private let session: DatagramSession
  private var state = State.idle(after: Instant(nanoseconds: .min))
  private var target: Int?
  private var tried: Set<Int> = []
  private var waiting: [[UInt8]] = []
  private var waitingBytes = 0
  private var isFull = false
  private var isProven = false

  /// What one client may have waiting, so that a few cannot take what is there for all.
  private static let maximumWaitingBytes = 512 * 1024

  init(handler: UDPForwardHandler, session: DatagramSession) {
    self.handler = handler
    self.session = session
  }

  var path: (name: String, path: Path)? {
    guard case .open(let carrier) = state, let target else { return nil }
    return (
      "udp \(session.name) to \(handler.targets[target])",
      Path(legs: session.legs + carrier.legs, since: session.since)
    )
  }

  // MARK: From the client

  func sessionReceived(_ batch: inout PacketBatch, on session: DatagramSession) {
    switch state {
    case .closed: return
    case .opening: wait(batch)
    case .idle(let after):
      guard handler.loop.now >= after else {
        handler.dropped &+= UInt64(batch.count)
        return
      }
      wait(batch)
      tried = []
      open()
    case .open(let carrier):
      if isFull { wait(batch) } else { send(&batch, carrier) }
    }
  }

  private func send(_ batch: inout PacketBatch, _ carrier: any DatagramCarrier) {
    if carrier.headroom == 0 {
      isFull = !carrier.send(&batch)
      return
    }
    handler.withHeadroom(carrier.headroom, &batch) { piece in
      // A carrier that is full still takes what it is given.
      if !carrier.send(&piece) { isFull = true }
    }
  }

  private func wait(_ batch: borrowing PacketBatch) {
    for index in 0..<batch.count {
      let length = batch.slot(index).length
      guard waiting.count < handler.settings.queue, waitingBytes + length <= Self.maximumWaitingBytes,
        handler.waitingBytes + length <= handler.settings.waitingBytes
      else {
        handler.dropped &+= 1
        continue
      }
      waiting.append(Array(batch[index]))
      account(length)
    }
  }

  private func account(_ bytes: Int) {
    waitingBytes += bytes
    handler.waitingBytes += bytes
  }

  private func dropWaiting() {
    handler.dropped &+= UInt64(waiting.count)
    forgetWaiting()
  }

  private func forgetWaiting() {
    waiting = []
    account(-waitingBytes)
  }

  /// Sends what waits until the carrier is full again.
  private func release() {
    guard case .open(let carrier) = state, !waiting.isEmpty, !isFull else { return }
    var batch = handler.takeScratch(carrier.headroom)
    var next = 0
    while next < waiting.count, !isFull {
      batch.removeAll()
      let start = next
      while next < waiting.count, waiting[next].withUnsafeBytes({ batch.append(copying: $0) }) { next += 1 }
      if next == start { next += 1 } else { isFull = !carrier.send(&batch) }
    }
    handler.scratch.batch = consume batch
    // The carrier may have ended meanwhile, and with it what waited.
    guard next <= waiting.count else { return }
    account(-waiting[..<next].reduce(0) { $0 + $1.count })
    if next == waiting.count { waiting = [] } else { waiting.removeFirst(next) }
  }

  // MARK: The way

  private func open() {
    let handler = handler
    let hash = session.client.map { NodeSelector.hash(of: $0.address) }
    guard let index = handler.selector.pick(hash: hash, at: handler.loop.now, excluding: tried),
      handler.targets.indices.contains(index)
    else {
      giveUp()
      return
    }
    target = index
    state = .opening
    handler.way.openDatagrams(to: handler.targets[index], for: session.client) { [weak self] result in
      guard let self, case .opening = self.state else {
        if case .success(let carrier) = result { carrier.close() }
        return
      }
      switch result {
      case .success(let carrier): self.opened(carrier)
      case .failure(let failure): self.failedToOpen(index, failure)
      }
    }
  }

  private func opened(_ carrier: any DatagramCarrier) {
    carrier.receiver = self
    state = .open(carrier)
    isFull = false
    isProven = false
    session.opened()
    if let target {
      handler.log.debug("forwarding datagrams", ["client": session.name, "target": handler.targets[target]])
    }
    release()
  }

  private func failedToOpen(_ index: Int, _ failure: TransportFailure) {
    handler.failedOpenings &+= 1
    handler.complain("cannot reach \(handler.targets[index]): \(failure)", of: session)
    handler.selector.failed(index, at: handler.loop.now)
    tried.insert(index)
    open()
  }

  /// Nothing can be reached now.
  private func giveUp() {
    dropWaiting()
    target = nil
    state = .idle(after: handler.loop.now + handler.settings.pause)
  }

  func carrierReceived(_ batch: inout PacketBatch, from carrier: any DatagramCarrier) {
    guard case .open(let own) = state, own === carrier else { return }
    if !isProven, let target {
      isProven = true
      handler.selector.succeeded(target)
    }
    session.send(&batch)
  }

  func carrierWritable(_ carrier: any DatagramCarrier) {
    guard case .open(let own) = state, own === carrier else { return }
    isFull = false
    release()
  }

  func carrierFailed(_ carrier: any DatagramCarrier, _ failure: TransportFailure) {
    guard case .open(let own) = state, own === carrier, let target else { return }
    handler.lostWays &+= 1
    handler.complain("lost the way to \(handler.targets[target]): \(failure)", of: session)
    if !isProven { handler.selector.failed(target, at: handler.loop.now) }
    carrier.receiver = nil
    carrier.close()
    isFull = false
    giveUp()
  }

  // MARK: The end

  func sessionEnded(_ session: DatagramSession) {
    close()
    handler.ended(self)
  }

  func close() {
    if case .open(let carrier) = state {
      carrier.receiver = nil
      carrier.close()
    }
    state = .closed
    dropWaiting()
    session.receiver = nil
    session.close()
  }
}
