import LinuxIO
import RecordedMachines
import Smux
import Values

/// One end of a session of smux on a stream: opens streams, takes those that the other end opens, and moves the bytes
/// of all of them. What the protocol asks for is in `SmuxSession`; here are its stream below, its timers and its owners.
///
/// **In.** Bytes go from below into one buffer, their streams' readers are told at once and read from there; what they
/// leave is copied aside. While too much is left nothing is read from below, so that the sender is slowed down by the
/// stream below; each read of a stream looks whether that is over.
///
/// **Out.** What is written in a turn of the loop leaves at its end in as few writes as may be. A stream that got less
/// than it wanted is told by `streamWritable` when its turn comes: one frame each, so that none starves.
///
/// **Ownership.** Whoever made a session holds it; so do its streams. It holds no stream: one that nobody holds any more
/// is closed. When the session ends, `closed` is called once and then every stream fails, but for those that the other
/// end had finished before: what arrived of them is read to its end.
///
/// An idle session holds no buffers; a stream that is read as it arrives never does.
public final class MuxSession: ByteStreamObserver, TurnFlusher, DescriptorHandler {
  let loop: EventLoop
  private let below: any ByteStream
  private var machine: RecordedSmux
  private var accept: ((any ByteStream) -> Void)?
  private var closed: ((TransportFailure) -> Void)?
  private var streams: [UInt32: Held] = [:]
  private var buffer: UnsafeMutableRawBufferPointer?
  private var timer: LoopTimer?
  private var trimTimer: LoopTimer?
  private var wasUsed = false
  /// Below took less than given and will say when it takes more.
  private var belowIsFull = false
  /// There may be more to read below than was asked for.
  private var isStopped = false
  private var flushIsRequested = false
  private(set) var isOver = false

  /// A session that was quiet for this long gives its buffers back.
  private static let quiet = TimeSpan.seconds(1)
  /// Bytes read from below at once.
  private static let readSize = 65_536
  private static let roundsPerTurn = 16

  private struct Held {
    unowned let stream: MuxStream
  }

  /// Takes the stream over. Streams that the other end opens are closed at once where there is no `accept`.
  /// - Parameter closed: the session is over, and why; not called after `close`.
  public init(
    loop: EventLoop, below: any ByteStream, side: SmuxSession.Side, settings: SmuxSettings,
    accept: ((any ByteStream) -> Void)?, closed: @escaping (TransportFailure) -> Void
  ) {
    self.loop = loop
    self.below = below
    self.accept = accept
    self.closed = closed
    machine = RecordedSmux(
      side: side, settings: settings, at: loop.now, loop.recorder, about: below.recordedName)
    below.observer = self
    below.readLater()
    let timer = loop.makeTimer { [weak self] in self?.timedOut() }
    self.timer = timer
    timer.arm(at: machine.nextDeadline())
  }

  deinit {
    timer?.cancel()
    trimTimer?.cancel()
    buffer?.deallocate()
    guard !isOver else { return }
    below.observer = nil
    below.close()
  }

  /// Opens a stream, which may be written to at once; `nil` when the session is over or has no more numbers.
  public func openStream() -> (any ByteStream)? {
    guard !isOver, let id = machine.open() else { return nil }
    requestFlush()
    return hold(id)
  }

  /// Streams that stand, of either end.
  public var streamCount: Int { streams.count }

  public var counts: SmuxCounts { machine.counts }

  /// Streams of the other end beyond what the settings allow.
  public var refusedStreams: UInt64 { machine.counts.refusedStreams }

  /// Ends the session behind what was written. Its streams fail, `closed` is not called.
  public func close() {
    guard !isOver else { return }
    closed = nil
    isOver = true
    let rest = Array(machine.output)
    below.observer = nil
    if rest.isEmpty {
      below.finish()
      below.close()
    } else {
      LingeringWrite.start(loop: loop, below, rest: rest)
    }
    loop.later { self.tellStreams(TransportFailure(.local, "the session of this stream was closed")) }
  }

  private func hold(_ id: UInt32) -> MuxStream {
    let stream = MuxStream(session: self, id: id)
    streams[id] = Held(stream: stream)
    return stream
  }

  // MARK: From below

  public func streamReadable(_ stream: any ByteStream) { pump() }

  public func streamWritable(_ stream: any ByteStream) {
    belowIsFull = false
    flush()
  }

  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  private func pump() {
    guard !isOver else { return }
    noteUse()
    isStopped = false
    var rounds = 0
    while machine.wantsInput {
      guard rounds < Self.roundsPerTurn else {
        below.readLater()
        break
      }
      rounds += 1
      switch below.read(into: space()) {
      case .bytes(let count):
        take(count)
        if isOver { return }
      case .blocked:
        requestFlush()
        return
      case .end:
        fail(TransportFailure(.lost, "the other end closed the connection of the session"))
        return
      case .failed(let failure):
        fail(failure)
        return
      }
    }
    isStopped = !machine.wantsInput
    requestFlush()
  }

  private func space() -> UnsafeMutableRawBufferPointer {
    if let buffer { return buffer }
    let made = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.readSize, alignment: 64)
    buffer = made
    return made
  }

  private func take(_ count: Int) {
    guard let buffer else { return }
    var failure: SmuxError?
    do throws(SmuxError) {
      try machine.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: loop.now)
    } catch { failure = error }
    tell()
    machine.settle()
    if let failure { fail(TransportFailure(failure)) }
    if !isOver { timer?.arm(at: machine.nextDeadline()) }
  }

  /// Tells the owners of the streams what happened.
  private func tell() {
    while let event = machine.pollEvent() {
      switch event {
      case .opened(let id):
        if let accept, !isOver { accept(hold(id)) } else { machine.close(id) }
      case .readable(let id): streams[id]?.stream.becameReadable()
      case .abandoned(let id): streams[id]?.stream.wasAbandoned()
      }
    }
  }

  private func timedOut() {
    guard !isOver else { return }
    do throws(SmuxError) { try machine.handleTimeout(at: loop.now) } catch {
      fail(TransportFailure(error))
      return
    }
    tell()
    requestFlush()
    timer?.arm(at: machine.nextDeadline())
  }

  private func fail(_ failure: TransportFailure) {
    guard !isOver else { return }
    isOver = true
    timer?.cancel()
    below.observer = nil
    below.close()
    let closed = closed
    self.closed = nil
    accept = nil
    closed?(failure)
    tellStreams(failure)
  }

  private func tellStreams(_ failure: TransportFailure) {
    timer?.cancel()
    accept = nil
    // One that is told may close others.
    for stream in streams.values.map(\.stream) { stream.sessionEnded(failure) }
  }

  // MARK: Out

  private func requestFlush() {
    guard !flushIsRequested, !belowIsFull, !isOver else { return }
    flushIsRequested = true
    loop.requestFlush(self)
  }

  public func flush() {
    flushIsRequested = false
    guard !isOver else { return }
    noteUse()
    var rounds = 0
    repeat {
      let output = machine.output
      if !output.isEmpty {
        let written = below.write(output)
        machine.consumeOutput(written)
        if written < output.count { belowIsFull = true }
      }
      while let id = machine.nextWriter() { streams[id]?.stream.becameWritable() }
      rounds += 1
    } while !machine.output.isEmpty && !belowIsFull && !isOver && rounds < Self.roundsPerTurn
    readOn()
    // The loop flushes until nobody asks for it any more, so the rest has to wait for its next turn.
    if !machine.output.isEmpty, !belowIsFull { loop.readAgain(self) }
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) { flush() }

  /// Takes from below again, if that was stopped and is no longer called for.
  private func readOn() {
    guard isStopped, !isOver, machine.wantsInput else { return }
    isStopped = false
    below.readLater()
  }

  // MARK: For the streams

  var layers: [Layer] { below.layers + [.smux(version: machine.settings.version.rawValue)] }
  var receipt: Receipt { below.receipt }
  var roundTrip: TimeSpan? { below.roundTrip }

  func read(_ id: UInt32, into buffer: UnsafeMutableRawBufferPointer) -> SmuxRead {
    let result = machine.read(id, into: buffer)
    // It may have made an update.
    if !machine.output.isEmpty { requestFlush() }
    readOn()
    return result
  }

  func write(_ id: UInt32, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isOver else { return bytes.count }
    let count = machine.write(id, bytes)
    requestFlush()
    return count
  }

  func finish(_ id: UInt32) {
    guard !isOver else { return }
    machine.finish(id)
    requestFlush()
  }

  func close(_ id: UInt32) {
    streams[id] = nil
    machine.close(id)
    requestFlush()
    readOn()
  }

  func unread(_ id: UInt32) -> Int { machine.unread(id) }
  func isPeerFinished(_ id: UInt32) -> Bool { machine.isPeerFinished(id) }

  /// Whether nobody reads what is written.
  func isDeaf(_ id: UInt32) -> Bool { isOver || machine.isAbandoned(id) }

  // MARK: Memory

  /// Called at every use; the timer runs only while there is something to give back.
  private func noteUse() {
    wasUsed = true
    guard trimTimer == nil, buffer != nil || machine.isRoomy else { return }
    let timer = loop.makeTimer { [weak self] in self?.trimIfQuiet() }
    timer.arm(after: Self.quiet)
    trimTimer = timer
  }

  private func trimIfQuiet() {
    guard !wasUsed else {
      wasUsed = false
      trimTimer?.arm(after: Self.quiet)
      return
    }
    trimTimer = nil
    machine.trim()
    buffer?.deallocate()
    buffer = nil
  }
}

extension TransportFailure {
  init(_ error: SmuxError) {
    let kind: Kind =
      switch error.blame {
      case .network: .lost
      case .peer, .configuration: .violation
      }
    self.init(kind, "mux: \(error)")
  }
}
