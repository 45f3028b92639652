import CryptoPrimitives
import Values

/// What Wireshark's dissector needs to open a capture (its preference `wg.keylog_file`): a line a key, for each
/// handshake that this device took part in.
///
/// ```
///   LOCAL_STATIC_PRIVATE_KEY = …       of this device
///   REMOTE_STATIC_PUBLIC_KEY = …       of the peer
///   LOCAL_EPHEMERAL_PRIVATE_KEY = …    of this handshake
///   PRESHARED_KEY = …                  where there is one
/// ```
///
/// Whoever has these lines can read what the sessions carried, and with the first of them be this device. So there is a
/// log only where somebody asks for it, for a network in which nothing is secret; nothing is made for it otherwise.
extension Device {
  /// Takes the lines of one handshake, before its first message leaves.
  public typealias KeyLog = (UnsafeRawBufferPointer) -> Void

  /// - Parameter name: of the secret that the handshake names; the key that is made of it is logged too.
  func logKeys(of state: borrowing NoiseState, with peer: Peer, named name: UInt8?) {
    guard let keyLog, let identity else { return }
    var text: [UInt8] = []
    // Enough for all: what is appended is never copied elsewhere.
    text.reserveCapacity(512)
    func line(_ name: String, _ key: UnsafeRawBufferPointer) {
      text.append(contentsOf: name.utf8)
      text.append(contentsOf: " = ".utf8)
      text.append(contentsOf: Base64.encode(key).utf8)
      text.append(0x0A)
    }
    identity.privateKey.withUnsafeBytes { line("LOCAL_STATIC_PRIVATE_KEY", $0) }
    peer.publicKey.withUnsafeBytes { line("REMOTE_STATIC_PUBLIC_KEY", $0) }
    state.withEphemeral { line("LOCAL_EPHEMERAL_PRIVATE_KEY", $0) }
    if let rotated = rotatedKey(of: peer, named: name, isTheirs: false) {
      rotated.withUnsafeBytes { line("PRESHARED_KEY", $0) }
    }
    if !peer.preshared.isZero { peer.preshared.withUnsafeBytes { line("PRESHARED_KEY", $0) } }
    text.withUnsafeMutableBytes { bytes in
      keyLog(UnsafeRawBufferPointer(bytes))
      Bytes.wipe(bytes)
    }
  }
}
