import LinuxIO
import Values

/// A client of a proxy that sends datagrams to any target: its association joined with one of the way out.
final class AssociationSession: ProxySession {
  private let client: any ByteStream
  private let layer: Layer
  private let name: String
  private let joint: AssociationJoint
  private let since: Instant

  /// On the client's own stream (`StreamAssociation`).
  convenience init(
    core: HandlerCore, client: any ByteStream, layer: Layer, far: any DatagramAssociation,
    name: String = "datagrams to any target", ended: @escaping (AssociationSession) -> Void
  ) {
    self.init(
      core: core, client: client, layer: layer,
      near: StreamAssociation(loop: core.loop, stream: client, legs: { [] }), far: far, name: name, ended: ended)
  }

  init(
    core: HandlerCore, client: any ByteStream, layer: Layer, near: any DatagramAssociation,
    far: any DatagramAssociation, name: String, ended: @escaping (AssociationSession) -> Void
  ) {
    self.client = client
    self.layer = layer
    self.name = name
    since = core.loop.now
    let box = Weak<AssociationSession>()
    joint = AssociationJoint(near, far) {
      if let session = box.value { ended(session) }
    }
    box.value = self
    core.log.debug("carrying datagrams", ["client": client.client?.description ?? "unknown", "connection": name])
  }

  var paths: [(name: String, path: Path)] {
    [(name, Path(legs: [Leg(client: client, speaking: layer)] + joint.far.legs, since: since))]
  }

  var lost: UInt64 { joint.dropped }

  func close() { joint.close() }
}
