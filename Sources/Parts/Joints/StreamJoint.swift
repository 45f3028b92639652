import LinuxIO
import Values

/// Two streams joined: what comes from one goes to the other, both ways, until both directions have ended.
///
/// Each direction reads only when what it read before has gone out, so a slow reader slows the sender and nobody else.
/// When one end finishes its direction the other is told so and may still answer: half-open connections are right, and
/// HTTP/1.0 clients and `nc -N` rely on them. A failure of either end ends both.
///
/// Bytes are copied through one buffer that all joints of a loop share. Once both streams have settled on plain TCP,
/// which most have after their handshakes, the kernel moves the bytes through a pipe and they never come here
/// (`SplicePipe`). An idle joint holds neither buffer nor pipe.
public final class StreamJoint: ByteStreamObserver {
  /// What all joints of a loop share.
  public final class Shared {
    let loop: EventLoop
    let pipes = SplicePipePool()
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 * 1024, alignment: 64)

    private var count = 0
    /// The most joints since free memory was last given back.
    private var most = 0
    private var memoryTimer: LoopTimer?

    /// So many joints fewer are worth the milliseconds that giving memory back takes.
    private static let crowd = 1000
    /// After the last of them has ended, until its buffers are free as well; and at least between two times.
    private static let patience = TimeSpan.seconds(2)

    public init(loop: EventLoop) { self.loop = loop }
    deinit { scratch.deallocate() }

    fileprivate func began() {
      count += 1
      most = max(most, count)
    }

    fileprivate func ended() {
      count -= 1
      guard most - count >= Self.crowd, memoryTimer == nil else { return }
      let timer = loop.makeTimer { [weak self] in self?.giveBack() }
      timer.arm(after: Self.patience)
      memoryTimer = timer
    }

    private func giveBack() {
      memoryTimer = nil
      most = count
      FreeMemory.giveBack()
    }
  }

  /// One way through the joint.
  private final class Direction {
    /// Bytes that the sink did not take, from `offset` on.
    var rest: [UInt8] = []
    var offset = 0
    var pipe: SplicePipe?
    var hasEnded = false
    var hasFinished = false
    var bytes: UInt64 = 0

    func empty() {
      rest = []
      pipe = nil
    }
  }

  private let shared: Shared
  private var left: any ByteStream
  private var right: any ByteStream
  private let forth = Direction()
  private let back = Direction()
  /// Both ends are plain TCP.
  private var plain: (left: TCPStream, right: TCPStream)?
  private var hasLooked = false
  private var ended: ((TransportFailure?) -> Void)?

  private static let roundsPerTurn = 16

  /// - Parameter ended: called once, from the loop, unless the joint is closed before; with the failure that ended it.
  public init(
    shared: Shared, _ left: any ByteStream, _ right: any ByteStream,
    ended: @escaping (TransportFailure?) -> Void
  ) {
    self.shared = shared
    self.left = left
    self.right = right
    self.ended = ended
    shared.began()
  }

  deinit { close() }

  /// Bytes that went from left to right and back.
  public var traffic: Traffic { Traffic(forward: forth.bytes, back: back.bytes) }

  /// Begins; both streams may have bytes already.
  public func start() {
    left.observer = self
    right.observer = self
    left.readLater()
    right.readLater()
  }

  /// Ends both streams and tells nobody.
  public func close() {
    guard ended != nil else { return }
    ended = nil
    shared.ended()
    left.observer = nil
    right.observer = nil
    left.close()
    right.close()
    forth.empty()
    back.empty()
  }

  private func end(_ failure: TransportFailure?) {
    guard let ended else { return }
    close()
    ended(failure)
  }

  // MARK: From the streams

  public func streamReadable(_ stream: any ByteStream) { pump(stream === left ? forth : back) }

  public func streamWritable(_ stream: any ByteStream) { pump(stream === right ? forth : back) }

  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end(failure) }

  // MARK: Moving

  private func pump(_ way: Direction) {
    guard ended != nil, !way.hasFinished, flush(way) else { return }
    guard !way.hasEnded else {
      finish(way)
      return
    }
    if plain == nil { settle() }
    if let plain {
      splice(way, from: way === forth ? plain.left : plain.right, to: way === forth ? plain.right : plain.left)
    } else {
      copy(way)
    }
  }

  /// Takes the place of streams that step aside.
  private func settle() {
    let first = left.settled
    let second = right.settled
    // Streams that stay what they are, TLS for one, are asked once what that is.
    guard first !== left || second !== right || !hasLooked else { return }
    hasLooked = true
    if first !== left {
      first.observer = self
      left = first
    }
    if second !== right {
      second.observer = self
      right = second
    }
    if let first = first as? TCPStream, let second = second as? TCPStream { plain = (first, second) }
  }

  private func copy(_ way: Direction) {
    let source = way === forth ? left : right
    let sink = way === forth ? right : left
    for _ in 0..<Self.roundsPerTurn {
      guard ended != nil else { return }
      switch source.read(into: shared.scratch) {
      case .bytes(let count):
        way.bytes &+= UInt64(count)
        let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(shared.scratch)[..<count])
        let taken = sink.write(bytes)
        if taken < count {
          way.rest.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[taken...]))
          return
        }
      case .blocked: return
      case .end:
        way.hasEnded = true
        finish(way)
        return
      case .failed(let failure):
        end(failure)
        return
      }
    }
    source.readLater()
  }

  private func splice(_ way: Direction, from source: TCPStream, to sink: TCPStream) {
    guard let pipe = shared.pipes.take() else {
      copy(way)
      return
    }
    for _ in 0..<Self.roundsPerTurn {
      switch pipe.fill(from: source) {
      case .bytes(let count):
        way.bytes &+= UInt64(count)
        switch pipe.drain(to: sink) {
        case .all: break
        case .some:
          way.pipe = pipe
          return
        case .failed(let failure):
          end(failure)
          return
        }
      case .blocked:
        shared.pipes.put(pipe)
        return
      case .end:
        shared.pipes.put(pipe)
        way.hasEnded = true
        finish(way)
        return
      case .failed(let failure):
        end(failure)
        return
      }
    }
    shared.pipes.put(pipe)
    source.readLater()
  }

  /// True when nothing waits for the sink.
  private func flush(_ way: Direction) -> Bool {
    if let pipe = way.pipe, let plain {
      switch pipe.drain(to: way === forth ? plain.right : plain.left) {
      case .all:
        way.pipe = nil
        shared.pipes.put(pipe)
      case .some: return false
      case .failed(let failure):
        end(failure)
        return false
      }
    }
    guard !way.rest.isEmpty else { return true }
    let sink = way === forth ? right : left
    way.offset += way.rest.withUnsafeBytes { sink.write(UnsafeRawBufferPointer(rebasing: $0[way.offset...])) }
    guard way.offset >= way.rest.count else { return false }
    way.rest = []
    way.offset = 0
    return true
  }

  private func finish(_ way: Direction) {
    way.hasFinished = true
    (way === forth ? right : left).finish()
    if forth.hasFinished, back.hasFinished { end(nil) }
  }
}
