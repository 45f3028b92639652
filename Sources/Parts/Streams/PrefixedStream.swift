import LinuxIO
import Values

/// A stream whose first bytes were read by somebody else already: whoever reads a protocol's head reads too far, and
/// what he read belongs to the next one.
///
/// It gives those bytes back first and is transparent from then on (`settled`).
public final class PrefixedStream: ByteStream, ByteStreamObserver {
  private let loop: EventLoop
  private let below: any ByteStream
  private var prefix: [UInt8]
  private var offset = 0
  private let claimed: Endpoint?
  public weak var observer: (any ByteStreamObserver)?

  /// - Parameter claimedClient: see `ByteStream`.
  public init(loop: EventLoop, _ below: any ByteStream, prefix: [UInt8], claimedClient: Endpoint? = nil) {
    self.loop = loop
    claimed = claimedClient
    self.below = below
    self.prefix = prefix
    below.observer = self
  }

  /// The stream itself where nothing was read too far.
  public static func wrap(
    loop: EventLoop, _ below: any ByteStream, prefix: UnsafeRawBufferPointer
  ) -> any ByteStream {
    prefix.isEmpty ? below : PrefixedStream(loop: loop, below, prefix: Array(prefix))
  }

  public var layers: [Layer] { below.layers }
  public var receipt: Receipt { below.receipt }
  public var roundTrip: TimeSpan? { below.roundTrip }
  public var claimedClient: Endpoint? { claimed ?? below.claimedClient }
  public var settled: any ByteStream { prefix.isEmpty ? below.settled : self }

  public func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    guard !prefix.isEmpty, !buffer.isEmpty else { return below.read(into: buffer) }
    let count = min(buffer.count, prefix.count - offset)
    prefix.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<(offset + count)])) }
    offset += count
    if offset == prefix.count { prefix = [] }
    return .bytes(count)
  }

  public func write(_ bytes: UnsafeRawBufferPointer) -> Int { below.write(bytes) }
  public func finish() { below.finish() }

  public func close() {
    below.observer = nil
    below.close()
  }

  public func readLater() {
    guard !prefix.isEmpty else {
      below.readLater()
      return
    }
    loop.later { [weak self] in
      guard let self else { return }
      self.observer?.streamReadable(self)
    }
  }

  public func streamReadable(_ stream: any ByteStream) { observer?.streamReadable(self) }
  public func streamWritable(_ stream: any ByteStream) { observer?.streamWritable(self) }
  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) {
    observer?.streamFailed(self, failure)
  }
}
