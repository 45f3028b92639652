/// What a QUIC connection tells its owner, and the small values it speaks in.
import TLSCodec
import Values

public enum QUICEvent: Sendable, Equatable {
  /// The handshake is done: streams may be opened and written.
  case connected(QUICFacts)
  /// The other end opened a stream.
  case streamOpened(Int64)
  /// There is something to read: bytes, the end, or a reset.
  case streamReadable(Int64)
  /// There is room again after `write` took less than it was given.
  case streamWritable(Int64)
  /// The other end cut its half of the stream short with this code; unread bytes are gone.
  case streamReset(Int64, UInt64)
  /// The other end wants no more of what we write; `write` takes nothing any more.
  case streamStopped(Int64)
  /// Both halves are over and read; the number means nothing any more.
  case streamClosed(Int64)
  /// `openStream`, which said that the limit was reached, would work again.
  case streamsAvailable
  /// `receiveDatagram` has something.
  case datagramReadable
  /// The datagrams that waited have left, after `datagramsAreMany` said that they were too many.
  case datagramsSendable
  /// The packets take another path now: the client's address changed, or ours did.
  case pathChanged(local: Endpoint, remote: Endpoint)
  /// The last event of a connection.
  case closed(QUICCloseReason)
}

/// What the handshake settled.
public struct QUICFacts: Sendable, Hashable {
  public let version: UInt32
  public let applicationProtocol: String
  public let tls: TLSFacts
}

/// Packets to send in one go: `length` bytes of the buffer that was handed in, back to back in packets of
/// `segmentSize` bytes of which only the last may be shorter (what `UDP_SEGMENT` takes).
public struct QUICTransmit: Sendable, Hashable {
  public let length: Int
  public let segmentSize: Int
  public let local: Endpoint
  public let remote: Endpoint
  /// The two ECN bits to send with (RFC 3168).
  public let ecn: UInt8
}

public enum QUICReadResult: Sendable, Hashable {
  case bytes(Int)
  case wouldBlock
  /// The other end finished the stream and all was read.
  case end
  /// The other end cut the stream short with this code, or it is not known (any more).
  case reset(UInt64)
}

/// Why a verb of a connection was refused.
public enum QUICError: Error, Hashable, Sendable {
  /// The other end allows no more streams at a time; `.streamsAvailable` tells when that changes.
  case streamLimit
  /// The handshake is not done yet.
  case notConnected
  /// The connection is over.
  case closed(QUICCloseReason)
  /// There is no such stream (any more).
  case unknownStream
  /// Not possible now; the text says why.
  case refused(String)
}

extension QUICError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .streamLimit: "the other end allows no more streams at a time"
    case .notConnected: "the QUIC handshake is not done yet"
    case .closed(let reason): "\(reason)"
    case .unknownStream: "there is no such stream"
    case .refused(let text): text
    }
  }
}
