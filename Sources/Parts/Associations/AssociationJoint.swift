import LinuxIO
import Values

/// Two associations joined: a client's datagrams go to the targets that it names, and the answers go back with the
/// addresses that they came from. The end of either ends both.
///
/// A datagram that one side cannot take is dropped there and counted there; neither holds up the other.
public final class AssociationJoint: DatagramAssociationObserver {
  /// The client's.
  public let near: any DatagramAssociation
  /// The one to the targets.
  public let far: any DatagramAssociation
  private var ended: (() -> Void)?

  /// - Parameter ended: called once, from the loop, unless the joint is closed before.
  public init(_ near: any DatagramAssociation, _ far: any DatagramAssociation, ended: @escaping () -> Void) {
    self.near = near
    self.far = far
    self.ended = ended
    near.observer = self
    far.observer = self
  }

  deinit { close() }

  public var dropped: UInt64 { near.dropped &+ far.dropped }

  public func datagramArrived(
    _ payload: UnsafeRawBufferPointer, from source: HostPort, on association: any DatagramAssociation
  ) {
    guard ended != nil else { return }
    (association === near ? far : near).send(payload, to: source)
  }

  public func associationFailed(_ association: any DatagramAssociation, _ failure: TransportFailure) {
    guard let ended else { return }
    close()
    ended()
  }

  /// Ends both and tells nobody.
  public func close() {
    guard ended != nil else { return }
    ended = nil
    near.observer = nil
    far.observer = nil
    near.close()
    far.close()
  }
}
