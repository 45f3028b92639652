import Configuration
import CryptoPrimitives
import LinuxIO
import Values
import WireGuard

/// What the file says of an interface and its peers, with the keys read.
struct WireGuardSettings {
  struct Peer {
    let title: String
    let publicKey: PublicKey
    /// All zeros for none.
    let presharedKey: ControlChange.SecretBox
    let allowedIPs: [IPPrefix]
    let endpoint: HostPort?
    let persistentKeepalive: TimeSpan
  }

  let privateKey: ControlChange.SecretBox
  let postQuantum: Bool
  let probesMTU: Bool
  let peers: [Peer]

  init(_ service: ServiceConfiguration) throws(StartReason) {
    let metadata = service.handler.metadata
    privateKey = try Self.key(metadata, "privateKey", "private key") ?? ControlChange.SecretBox(SecretKey())
    postQuantum = metadata.bool("postQuantum") != false
    // In a chain's carrier the size of a message says nothing of any path.
    probesMTU = metadata.bool("probeMTU") != false && (service.handler.chain == nil || service.ignoresChains)
    let own = X25519.publicKey(of: privateKey.key)
    var peers: [Peer] = []
    for peer in service.peers {
      guard let text = peer.settings.string("publicKey"), let bytes = Base64.decode(text), let key = PublicKey(bytes)
      else { throw StartReason("peer \(peer.title): bad public key") }
      // Of a key in a file this could not be seen before.
      if key == own { throw StartReason("peer \(peer.title) has this end's own public key") }
      peers.append(
        Peer(
          title: peer.title, publicKey: key,
          presharedKey: try Self.key(peer.settings, "presharedKey", "preshared key of peer \(peer.title)")
            ?? ControlChange.SecretBox(SecretKey()),
          allowedIPs: peer.allowedIPs.map(\.value.network),
          endpoint: peer.endpoint.flatMap { HostPort($0.value) },
          persistentKeepalive: peer.settings.duration("persistentKeepalive") ?? .zero))
    }
    self.peers = peers
  }

  /// From the file itself, or from the one that it names.
  private static func key(
    _ metadata: Metadata, _ name: String, _ what: String
  ) throws(StartReason) -> ControlChange.SecretBox? {
    let text: [UInt8]
    if let secret = metadata.secret(name) {
      text = Array(secret.reveal().utf8)
    } else if let path = metadata.string(name + "File") {
      do throws(SystemError) {
        text = try FileReading.read(path)
      } catch {
        throw StartReason("cannot read the \(what): \(error)")
      }
    } else {
      return nil
    }
    let digits = text.filter { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
    guard let bytes = Base64.decode(digits), let key = SecretKey(bytes) else {
      throw StartReason("the \(what) is no WireGuard key: 32 bytes in Base64 are expected")
    }
    return ControlChange.SecretBox(key)
  }
}
