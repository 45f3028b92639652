import LinuxIO
import Smux

final class MuxSession {
  enum Side { case client, server }
  init(
    loop: EventLoop, below: any ByteStream, side: Side, settings: SmuxSettings, accept: ((any ByteStream) -> Void)?,
    closed: @escaping (TransportFailure) -> Void
  ) {}
  func openStream() -> (any ByteStream)? { nil }
  var streamCount: Int { 0 }
  var refusedStreams: UInt64 { 0 }
  func close() {}
}
