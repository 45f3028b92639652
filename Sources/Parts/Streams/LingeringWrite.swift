import LinuxIO
import Values

/// The last bytes of a stream whose owner has finished and closed it: they leave as the stream below takes them, which
/// is then closed. A reader that takes nothing has half a minute.
final class LingeringWrite: ByteStreamObserver {
  private let stream: any ByteStream
  private var writer: StreamWriter
  private var timer: LoopTimer?
  private var keptAlive: LingeringWrite?

  private static let patience = TimeSpan.seconds(30)

  static func start(loop: EventLoop, _ stream: any ByteStream, rest: [UInt8]) {
    let write = LingeringWrite(stream)
    write.keptAlive = write
    stream.observer = write
    write.timer = loop.makeTimer { [weak write] in write?.end() }
    write.timer?.arm(after: patience)
    if rest.withUnsafeBytes({ write.writer.write($0) }) { write.finish() }
  }

  private init(_ stream: any ByteStream) {
    self.stream = stream
    writer = StreamWriter(stream: stream)
  }

  private func finish() {
    stream.finish()
    end()
  }

  private func end() {
    guard keptAlive != nil else { return }
    keptAlive = nil
    timer?.cancel()
    stream.observer = nil
    stream.close()
  }

  func streamReadable(_ stream: any ByteStream) {
    // Nobody reads any more; what comes is thrown away, so that the connection does not end in a reset.
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      for _ in 0..<16 {
        guard case .bytes = stream.read(into: buffer) else { return }
      }
    }
  }

  func streamWritable(_ stream: any ByteStream) {
    if writer.drain() { finish() }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }
}
