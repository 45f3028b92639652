import CulvertLink
import LinuxIO
import Values

/// How streams arrive: on connections of their own (`ConnectionListener`), or as streams of QUIC
/// (`QUICStreamListener`). Each hands its streams to a handler, and
/// with them a way to tell the client about the leg behind us, where the client can hear it.
public protocol StreamListener: AnyObject {
  /// The local end as the kernel has it.
  var receipt: Receipt { get }
  /// What arrived and was of no use, by what it was; only kinds that came.
  var dropped: [(what: String, count: UInt64)] { get }
  func close()
}

/// Takes a new stream, and a way to tell its client what only we can know.
public typealias StreamAcceptor = (any ByteStream, ClientReport) -> Void

/// What a relay tells a client that can hear it: another Culvert. To any other client it says nothing.
public struct ClientReport {
  /// The leg behind us.
  let leg: (Leg) -> Void
  /// Why a request failed, in a sentence.
  let failure: (String) -> Void

  public static var unheard: ClientReport { ClientReport(leg: { _ in }, failure: { _ in }) }
}
