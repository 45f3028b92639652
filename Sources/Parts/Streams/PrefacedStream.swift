import LinuxIO
import Values

/// A stream that sends something of its own before its owner's bytes, and is transparent from then on.
final class PrefacedStream: ByteStream, ByteStreamObserver {
  private let below: any ByteStream
  private var preface: StreamWriter?
  private var isFinishing = false
  weak var observer: (any ByteStreamObserver)?

  init(_ below: any ByteStream, preface: [UInt8]) {
    self.below = below
    below.observer = self
    var writer = StreamWriter(stream: below)
    if !preface.withUnsafeBytes({ writer.write($0) }) { self.preface = writer }
  }

  var layers: [Layer] { below.layers }
  var receipt: Receipt { below.receipt }
  var roundTrip: TimeSpan? { below.roundTrip }
  var claimedClient: Endpoint? { below.claimedClient }
  var settled: any ByteStream { preface == nil ? below.settled : self }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead { below.read(into: buffer) }
  func write(_ bytes: UnsafeRawBufferPointer) -> Int { preface == nil ? below.write(bytes) : 0 }

  func finish() {
    isFinishing = true
    if preface == nil { below.finish() }
  }

  func close() {
    below.observer = nil
    below.close()
  }

  func readLater() { below.readLater() }
  func streamReadable(_ stream: any ByteStream) { observer?.streamReadable(self) }

  func streamWritable(_ stream: any ByteStream) {
    if var writer = preface {
      guard writer.drain() else {
        preface = writer
        return
      }
      preface = nil
      if isFinishing { below.finish() }
    }
    observer?.streamWritable(self)
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { observer?.streamFailed(self, failure) }
}
