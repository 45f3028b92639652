import Values

/// A stream of bytes both ways, with its backpressure, on whatever carries it: TCP, TLS, a QUIC stream.
///
/// The owner sets `observer` and then reads until `.blocked` each time that it is told that there is something to read.
/// A write takes what fits and says how much; after a short write the observer is told when more fits. Everything
/// happens on one loop's thread, and nothing is called back from inside `read` or `write`.
public protocol ByteStream: AnyObject {
  var observer: (any ByteStreamObserver)? { get set }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead

  /// Returns the bytes accepted. Fewer than given means that `streamWritable` will be called.
  func write(_ bytes: UnsafeRawBufferPointer) -> Int

  /// Ends our direction; the other goes on.
  func finish()

  /// Ends both directions at once and tells nobody. After `finish` what was written before still leaves, for half a
  /// minute at most; without it the other end may miss some.
  func close()

  /// The layers from the packet inwards, as they were negotiated.
  var layers: [Layer] { get }

  /// The two ends as the socket below saw them.
  var receipt: Receipt { get }

  /// Waits for `streamReadable` to be worth calling again although there may be bytes already: for a reader that
  /// stopped before `.blocked`, and for a new owner, who cannot know what the one before him was told.
  func readLater()

  /// The stream that may take this one's place from now on: the one below, once this one has nothing left to add,
  /// take off or give back. Two streams that settle on plain TCP are joined in the kernel.
  var settled: any ByteStream { get }

  /// The round trip to the other end of the transport as it measures it; `nil` where it does not, or not yet.
  var roundTrip: TimeSpan? { get }

  /// Whom a PROXY protocol header named as the client; a claim of the proxy in front of us, not something seen.
  var claimedClient: Endpoint? { get }
}

extension ByteStream {
  public var settled: any ByteStream { self }
  public var roundTrip: TimeSpan? { nil }
  public var claimedClient: Endpoint? { nil }

  /// Whom the stream is from: as a trusted proxy says, else as the socket saw.
  public var client: Endpoint? { claimedClient ?? receipt.remote }
}

public enum StreamRead: Sendable {
  case bytes(Int)
  /// Nothing now; `streamReadable` follows.
  case blocked
  /// The other end finished its direction.
  case end
  case failed(TransportFailure)
}

public protocol ByteStreamObserver: AnyObject {
  func streamReadable(_ stream: any ByteStream)
  func streamWritable(_ stream: any ByteStream)
  /// The stream is gone in both directions; nothing follows.
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure)
}

/// Why a connection could not be made or did not last.
public struct TransportFailure: Error, Hashable, Sendable {
  public enum Kind: Hashable, Sendable {
    /// The other end said no: connection refused, a TLS alert, an unknown application protocol.
    case refused
    /// Nothing came back.
    case timeout
    /// It was there and went away.
    case lost
    /// There is no way to the address, or no such address.
    case unreachable
    /// We may not do it.
    case permission
    /// Our own policy says no: the target is one that this service does not go to.
    case forbidden
    /// The other end broke the protocol.
    case violation
    /// We closed it.
    case local
  }

  public let kind: Kind
  /// One sentence without a full stop, fit for a log line.
  public let reason: String

  public init(_ kind: Kind, _ reason: String) {
    self.kind = kind
    self.reason = reason
  }

  public init(_ error: SystemError) {
    let kind: Kind =
      switch error.code {
      case 111: .refused
      case 110: .timeout
      case 101, 113, 99, 97: .unreachable
      case 1, 13: .permission
      default: .lost
      }
    self.init(kind, "\(error)")
  }
}

extension TransportFailure: CustomStringConvertible {
  public var description: String { reason }
}
