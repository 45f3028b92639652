import LinuxIO
import Values

/// Datagrams to and from any target by way of one place: UDP sockets of this host, or a proxy that was asked to send
/// for us (SOCKS5's UDP ASSOCIATE, relay's associate, GOST's UDP over a stream).
///
/// A carrier (`DatagramCarrier`) has one far end and batches; an association says with each datagram where it goes or
/// comes from. What cannot leave is dropped and counted: it is UDP.
public protocol DatagramAssociation: AnyObject {
  /// Not kept alive by the association.
  var observer: (any DatagramAssociationObserver)? { get set }

  func send(_ payload: UnsafeRawBufferPointer, to target: HostPort)

  /// Datagrams that could not leave, or came and were of no use.
  var dropped: UInt64 { get }

  /// The legs that are known, ours first.
  var legs: [Leg] { get }

  /// Ends it and tells nobody.
  func close()
}

public protocol DatagramAssociationObserver: AnyObject {
  /// The payload is valid inside the call.
  func datagramArrived(
    _ payload: UnsafeRawBufferPointer, from source: HostPort, on association: any DatagramAssociation)
  /// It is gone; nothing follows.
  func associationFailed(_ association: any DatagramAssociation, _ failure: TransportFailure)
}
