import LinuxIO
import Values

/// A stream from which nothing is read for a moment, or until something is written to it; transparent from then on.
///
/// GOST's client of HTTP throws away what comes in one read with the answer to its CONNECT. A target that speaks first
/// is often faster than the client, so its first word is held back until the answer has surely been read.
final class HeldStream: ByteStream, ByteStreamObserver {
  private let below: any ByteStream
  private var timer: LoopTimer?
  weak var observer: (any ByteStreamObserver)?

  private static let moment = TimeSpan.milliseconds(5)

  init(loop: EventLoop, _ below: any ByteStream) {
    self.below = below
    below.observer = self
    let timer = loop.makeTimer { [weak self] in self?.release() }
    timer.arm(after: Self.moment)
    self.timer = timer
  }

  private func release() {
    guard timer != nil else { return }
    timer?.cancel()
    timer = nil
    below.readLater()
  }

  var layers: [Layer] { below.layers }
  var receipt: Receipt { below.receipt }
  var roundTrip: TimeSpan? { below.roundTrip }
  var claimedClient: Endpoint? { below.claimedClient }
  var settled: any ByteStream { timer == nil ? below.settled : self }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    timer == nil ? below.read(into: buffer) : .blocked
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    // The client speaks, so it has read the answer.
    release()
    return below.write(bytes)
  }

  func finish() { below.finish() }

  func close() {
    timer?.cancel()
    timer = nil
    below.observer = nil
    below.close()
  }

  func readLater() {
    if timer == nil { below.readLater() }
  }

  func streamReadable(_ stream: any ByteStream) {
    if timer == nil { observer?.streamReadable(self) }
  }

  func streamWritable(_ stream: any ByteStream) { observer?.streamWritable(self) }
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { observer?.streamFailed(self, failure) }
}
