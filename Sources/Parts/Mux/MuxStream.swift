import LinuxIO
import Smux
import Values

/// A stream of a multiplexed session.
///
/// `finish` ends our direction behind what was written; whether the other end goes on after that is up to it. Another
/// Culvert does, and smux from 1.5.55 on; earlier ones, GOST's among them, take it for the end of the whole stream and
/// send no more.
///
/// When the other end has closed the stream, what arrived is read to its end. What is written after that goes nowhere,
/// as on TCP, and the owner is told by `streamFailed`: not before it has read everything.
public final class MuxStream: ByteStream, DescriptorHandler {
  private let session: MuxSession
  private let id: UInt32
  private var isClosed = false
  private var isFinished = false
  /// The owner waits for `streamWritable`.
  private var wroteShort = false
  /// What was written went nowhere.
  private var isBroken = false
  private var isFailing = false
  private var failure: TransportFailure?
  public weak var observer: (any ByteStreamObserver)?

  init(session: MuxSession, id: UInt32) {
    self.session = session
    self.id = id
  }

  deinit { close() }

  public var layers: [Layer] { session.layers }
  public var receipt: Receipt { session.receipt }
  public var roundTrip: TimeSpan? { session.roundTrip }

  public func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    if let failure { return .failed(failure) }
    guard !isClosed else { return .failed(TransportFailure(.local, "closed")) }
    switch session.read(id, into: buffer) {
    case .bytes(let count):
      failIfBroken()
      return .bytes(count)
    case .blocked: return .blocked
    case .end: return .end
    }
  }

  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed, !isFinished, failure == nil, !bytes.isEmpty else { return bytes.count }
    let count = session.write(id, bytes)
    wroteShort = count < bytes.count
    if !wroteShort, session.isDeaf(id) {
      isBroken = true
      failIfBroken()
    }
    return count
  }

  public func readLater() {
    guard !isClosed else { return }
    session.loop.readAgain(self)
  }

  public func finish() {
    guard !isClosed, !isFinished else { return }
    isFinished = true
    wroteShort = false
    session.finish(id)
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    session.close(id)
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) { becameReadable() }

  /// Bytes that arrived and were not read.
  var unread: Int { session.unread(id) }

  // MARK: From the session

  func becameReadable() {
    guard !isClosed, failure == nil else { return }
    observer?.streamReadable(self)
  }

  func becameWritable() {
    guard !isClosed, wroteShort else { return }
    wroteShort = false
    observer?.streamWritable(self)
  }

  /// The other end reads no more.
  func wasAbandoned() {
    guard wroteShort else { return }
    isBroken = true
    failIfBroken()
  }

  func sessionEnded(_ failure: TransportFailure) {
    guard !isClosed, self.failure == nil else { return }
    if session.isPeerFinished(id) {
      wasAbandoned()
    } else {
      self.failure = failure
      observer?.streamFailed(self, failure)
    }
  }

  /// Tells the owner that it writes in vain, once it has read everything, and never from inside a call of its own.
  private func failIfBroken() {
    guard isBroken, !isFailing, unread == 0 else { return }
    isFailing = true
    session.loop.later { [weak self] in
      guard let self, !self.isClosed, self.failure == nil else { return }
      let failure = TransportFailure(.lost, "the other end closed the stream")
      self.failure = failure
      self.observer?.streamFailed(self, failure)
    }
  }
}
