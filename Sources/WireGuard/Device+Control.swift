import CryptoPrimitives
import Values

/// What `wg` asks of a device, done and answered.
extension Device {
  /// Carries out what a `set` says of keys and peers. Port and mark belong to the owner of the socket, who sets them
  /// first: if it cannot, nothing is changed.
  public mutating func apply(_ change: ControlChange, at now: Instant) {
    if let box = change.privateKey {
      if box.key.isZero { setPrivateKey(nil, at: now) } else { setPrivateKey(box.key.copy(), at: now) }
    }
    if change.replacesPeers {
      for id in peerIDs { removePeer(id) }
    }
    for peer in change.peers { apply(peer, at: now) }
  }

  private mutating func apply(_ change: ControlChange.Peer, at now: Instant) {
    if change.isRemoved {
      if let id = peer(change.publicKey) { removePeer(id) }
      return
    }
    if change.isUpdateOnly, peer(change.publicKey) == nil { return }
    // Our own key makes no peer, and what is said of it concerns nobody.
    guard let id = addPeer(change.publicKey) else { return }
    if let box = change.presharedKey { setPresharedKey(box.key, of: id) }
    if let endpoint = change.endpoint { setEndpoint(endpoint, of: id) }
    if change.replacesAllowedIPs { disallowAll(for: id) }
    for (prefix, isAdded) in change.allowedIPs {
      if isAdded { allow(prefix, for: id) } else { disallow(prefix, for: id) }
    }
    if let interval = change.persistentKeepalive { setPersistentKeepalive(interval, of: id, at: now) }
  }

  /// The answer to a `get`. It holds the private key: wipe it when it was sent.
  public func description(listenPort: UInt16, firewallMark: UInt32) -> [UInt8] {
    var text: [UInt8] = []
    if let identity {
      text.append(contentsOf: "private_key=".utf8)
      identity.privateKey.withUnsafeBytes { Hexadecimal.append($0, to: &text) }
      text.append(0x0A)
    }
    line(&text, "listen_port", listenPort)
    if firewallMark != 0 { line(&text, "fwmark", firewallMark) }
    for id in peerIDs {
      guard let peer = peers[id] else { continue }
      text.append(contentsOf: "public_key=".utf8)
      peer.publicKey.withUnsafeBytes { Hexadecimal.append($0, to: &text) }
      text.append(contentsOf: "\npreshared_key=".utf8)
      peer.preshared.withUnsafeBytes { Hexadecimal.append($0, to: &text) }
      text.append(contentsOf: "\nprotocol_version=1\n".utf8)
      if let endpoint = peer.endpoint { line(&text, "endpoint", endpoint) }
      let handshake = peer.lastHandshake.map { wallTime(at: $0) }
      line(&text, "last_handshake_time_sec", max(handshake?.seconds ?? 0, 0))
      line(&text, "last_handshake_time_nsec", handshake?.nanoseconds ?? 0)
      line(&text, "tx_bytes", peer.sentBytes)
      line(&text, "rx_bytes", peer.receivedBytes)
      line(&text, "persistent_keepalive_interval", peer.timers.persistentInterval.nanoseconds / 1_000_000_000)
      for prefix in allowedIPs.prefixes(of: id) { line(&text, "allowed_ip", prefix) }
    }
    text.append(contentsOf: ControlError.success)
    return text
  }
}

private func line(_ text: inout [UInt8], _ key: String, _ value: some CustomStringConvertible) {
  text.append(contentsOf: "\(key)=\(value)\n".utf8)
}
