import CryptoPrimitives
import Values

/// What the user sets, and what is shown to him.
extension Device {
  public var publicKey: PublicKey? { identity?.publicKey }

  /// A copy of our private key, for those who may see it.
  public var privateKey: SecretKey? {
    identity?.privateKey.copy()
  }

  /// Sets our key, or takes it away. All sessions end, as they belong to the old one; a peer that has our key goes. To
  /// set the same key again changes nothing.
  public mutating func setPrivateKey(_ key: consuming SecretKey?, at now: Instant) {
    if let key {
      // As every X25519 takes it anyhow: so it is shown, and two that come to the same are one.
      X25519.clamp(key)
      if let identity, SecretKey.areEqual(identity.privateKey, key) { return }
      let identity = Identity(key)
      let ours = identity.publicKey
      checker = CookieChecker(for: ours)
      self.identity = identity
      if let id = byKey[ours] { removePeer(id) }
    } else {
      identity = nil
      checker = nil
    }
    for id in peerIDs {
      guard let peer = peers[id] else { continue }
      forgetKeys(of: peer)
      peer.lastHandshakeSent = nil
      agree(with: peer)
    }
  }

  private mutating func agree(with peer: Peer) {
    peer.canAgree = identity.map { X25519.agree($0.privateKey, peer.publicKey, into: peer.staticStatic) } ?? false
    if !peer.canAgree { peer.staticStatic.wipe() }
    // Nothing that was said under another key counts.
    if let old = peer.talk {
      old.end()
      hear(peer)
    }
    peer.talk = identity.map {
      PeerTalk(
        ours: $0.publicKey, theirs: peer.publicKey, settings: talk, token: UInt32(truncatingIfNeeded: random.next()))
    }
  }

  /// In the order in which they were added.
  public var peerIDs: [PeerID] { peers.keys.sorted { $0.rawValue < $1.rawValue } }

  public func peer(_ key: PublicKey) -> PeerID? { byKey[key] }

  /// Adds a peer; the one that has the key already, where there is one; `nil` for our own key.
  @discardableResult
  public mutating func addPeer(_ key: PublicKey) -> PeerID? {
    if let id = byKey[key] { return id }
    guard key != identity?.publicKey else { return nil }
    let id = nextPeerID()
    let peer = Peer(id, key)
    agree(with: peer)
    peers[id] = peer
    byKey[key] = id
    return id
  }

  public mutating func removePeer(_ id: PeerID) {
    guard let peer = peers[id] else { return }
    forgetKeys(of: peer)
    wakes.remove(peer)
    peers[id] = nil
    byKey[peer.publicKey] = nil
    witness?.timersEnded(of: id)
    if !allowedIPs.prefixes(of: id).isEmpty {
      allowedIPs.removeAll(of: id)
      events.append(.allowedIPsChanged)
    }
    events.append(.removed(id))
  }

  /// All zeros for none. It counts from the next handshake on; the session goes on.
  public mutating func setPresharedKey(_ key: borrowing SecretKey, of id: PeerID) {
    guard let peer = peers[id] else { return }
    key.withUnsafeBytes { peer.preshared.write($0) }
  }

  /// A copy of it; all zeros for none.
  public func presharedKey(of id: PeerID) -> SecretKey? { peers[id]?.preshared.copy() }

  public mutating func setEndpoint(_ endpoint: Endpoint, of id: PeerID, why: EndpointChange = .configured) {
    guard let peer = peers[id], peer.endpoint != endpoint else { return }
    peer.endpoint = endpoint
    events.append(.endpoint(id, endpoint, why))
    peer.talk?.pathChanged()
  }

  /// Whole seconds in the protocol's tools; zero for none. Where there was none the first is sent at once.
  public mutating func setPersistentKeepalive(_ interval: TimeSpan, of id: PeerID, at now: Instant) {
    guard let peer = peers[id], peer.timers.persistentInterval != interval else { return }
    let isFirst = peer.timers.persistentInterval == .zero
    tell(peer, .persistentKeepalive(interval), at: now)
    if isFirst, interval > .zero { perform(.keepalive, peer, at: now) }
    noteDeadline(of: peer)
  }

  /// The peer can be reached now: one that is to hear from us all the time does so at once.
  public mutating func greet(_ id: PeerID, at now: Instant) {
    guard let peer = peers[id], peer.timers.persistentInterval > .zero, !peer.canSend(at: now) else { return }
    perform(.keepalive, peer, at: now)
    noteDeadline(of: peer)
  }

  /// The way to the peer was lost and found again, so that the peer may have been away as well and know of no session:
  /// makes a new one, instead of waiting until the silence is long enough to tell.
  public mutating func renew(_ id: PeerID, at now: Instant) {
    guard let peer = peers[id], peer.canSend(at: now) else { return }
    initiate(peer, at: now)
  }

  public mutating func allow(_ prefix: IPPrefix, for id: PeerID) {
    guard peers[id] != nil else { return }
    allowedIPs.insert(prefix, for: id)
    events.append(.allowedIPsChanged)
  }

  public mutating func disallow(_ prefix: IPPrefix, for id: PeerID) {
    if allowedIPs.remove(prefix, of: id) { events.append(.allowedIPsChanged) }
  }

  public mutating func disallowAll(for id: PeerID) {
    guard !allowedIPs.prefixes(of: id).isEmpty else { return }
    allowedIPs.removeAll(of: id)
    events.append(.allowedIPsChanged)
  }

  public func status(of id: PeerID) -> PeerStatus? {
    guard let peer = peers[id] else { return nil }
    return PeerStatus(
      id: id, publicKey: peer.publicKey, hasPresharedKey: !peer.preshared.isZero, endpoint: peer.endpoint,
      persistentKeepalive: peer.timers.persistentInterval, lastHandshake: peer.lastHandshake,
      roundTrip: peer.talk?.prober.roundTrip ?? peer.roundTrip, receivedBytes: peer.receivedBytes,
      sentBytes: peer.sentBytes, isCulvert: peer.talk?.isKnown == true,
      isPostQuantum: peer.current?.talk.isPostQuantum == true, pathMTU: peer.talk?.prober.limit)
  }

  /// The wall clock's time of an instant, for what is shown.
  public func wallClock(at instant: Instant) -> WallTime { wallTime(at: instant) }
}
