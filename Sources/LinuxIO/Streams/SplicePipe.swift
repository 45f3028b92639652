import CLinux
import Glibc
import Values

/// A kernel pipe through which bytes pass from one TCP connection to another without ever being copied to us.
///
/// One direction of a joined pair borrows a pipe while bytes are on their way and gives it back when it is empty, so
/// that idle connections hold none.
public final class SplicePipe {
  private let readEnd: Int32
  private let writeEnd: Int32
  /// Bytes that are in the pipe.
  public private(set) var pending = 0

  /// What a pipe is asked to hold; root gets it, others what the system grants.
  private static let capacity = 1 << 20

  fileprivate init?() {
    var ends: [Int32] = [-1, -1]
    guard culvert_pipe(&ends, Int32(Self.capacity)) == 0 else { return nil }
    readEnd = ends[0]
    writeEnd = ends[1]
  }

  deinit {
    Glibc.close(readEnd)
    Glibc.close(writeEnd)
  }

  /// Takes what the connection has, up to what the pipe holds. With bytes pending, `.blocked` may also mean that the pipe
  /// is full.
  public func fill(from stream: TCPStream) -> StreamRead {
    guard !stream.isClosed else { return .failed(TransportFailure(.local, "closed")) }
    while true {
      let count = culvert_splice(stream.descriptor, writeEnd, Self.capacity)
      if count > 0 {
        pending += count
        return .bytes(count)
      }
      if count == 0 { return .end }
      if errno == EINTR { continue }
      if errno == EAGAIN { return .blocked }
      return .failed(TransportFailure(SystemError("read")))
    }
  }

  public enum Drained: Sendable {
    case all
    /// The connection takes no more now.
    case some
    case failed(TransportFailure)
  }

  /// Gives the connection what it takes.
  public func drain(to stream: TCPStream) -> Drained {
    guard !stream.isClosed else { return .failed(TransportFailure(.local, "closed")) }
    while pending > 0 {
      let count = culvert_splice(readEnd, stream.descriptor, pending)
      if count > 0 {
        pending -= count
        continue
      }
      if count < 0, errno == EINTR { continue }
      if count == 0 || errno == EAGAIN { return .some }
      return .failed(TransportFailure(SystemError("write")))
    }
    return .all
  }
}

/// Pipes that wait for their next direction. One for each loop.
public final class SplicePipePool {
  private var idle: [SplicePipe] = []

  /// Pipes that are kept; a busy moment may make more.
  private static let kept = 16

  public init() {}

  /// `nil` when the process has no descriptors left: bytes are then copied.
  public func take() -> SplicePipe? { idle.popLast() ?? SplicePipe() }

  /// Takes an empty pipe back; one with bytes in it is closed.
  public func put(_ pipe: SplicePipe) {
    if pipe.pending == 0, idle.count < Self.kept { idle.append(pipe) }
  }
}
