import CryptoPrimitives
import Values

/// What the device says to peers inside of their sessions (`PeerTalk`), between the pumps and the peers' machines.
extension Device {
  /// What may be said from the next session on, and in sessions with those who are known.
  public mutating func setTalk(_ settings: TalkSettings, at now: Instant) {
    guard settings != talk else { return }
    talk = settings
    for id in peerIDs {
      guard let peer = peers[id], let talk = peer.talk else { continue }
      talk.change(settings, at: now, using: &random)
      hear(peer)
      noteDeadline(of: peer)
    }
  }

  /// Reads a content that came in a session and is no IP packet. False when it is not for us.
  public mutating func receiveTalk(
    _ content: UnsafeRawBufferPointer, from id: PeerID, localIndex: UInt32, at now: Instant
  ) -> Bool {
    guard let peer = peers[id], let talk = peer.talk,
      let session = peer.sessions.first(where: { $0.localIndex == localIndex })
    else { return false }
    let isTaken = talk.receive(content, in: session.talk, at: now, using: &random)
    hear(peer, at: now)
    noteDeadline(of: peer)
    return isTaken
  }

  /// The host could not send a probe: it is larger than its own link takes.
  public mutating func probeDidNotFit(_ talk: Talk, at now: Instant) {
    guard let peer = peers[talk.peer] else { return }
    peer.talk?.probeDidNotFit(size: talk.size, at: now)
    hear(peer)
    noteDeadline(of: peer)
  }

  /// The host's own addresses or routes changed.
  public mutating func networkChanged() {
    for peer in peers.values { peer.talk?.pathChanged() }
  }

  /// What is to be sealed next. Poll after each call, after the events, until `nil`.
  public mutating func pollTalk() -> Talk? {
    guard talksTaken < talks.count else { return nil }
    let talk = talks[talksTaken]
    talksTaken += 1
    if talksTaken == talks.count {
      talks.removeAll(keepingCapacity: true)
      talksTaken = 0
    }
    return talk
  }

  // MARK: Handshakes

  /// What an initiation says of us in its timestamp. Every fourth try in a row names no secret, for the case that it is
  /// the secret that keeps the other end from answering.
  func mark(for peer: Peer) -> UInt8? {
    guard talk.isOn, let rotation = peer.talk?.rotation else { return nil }
    return talk.postQuantum && peer.timers.attempts % 4 != 3 ? rotation.name : 0
  }

  /// The preshared key of a handshake that names a secret; `nil` for the configured one.
  func rotatedKey(of peer: Peer, named name: UInt8?, isTheirs: Bool) -> SecretKey? {
    guard talk.postQuantum, let name else { return nil }
    return peer.talk?.rotation.preshared(named: name, configured: peer.preshared, isTheirs: isTheirs)
  }

  // MARK: Sessions

  /// The peer's current session is another.
  mutating func beginTalk(_ peer: Peer, at now: Instant) {
    guard let session = peer.current, let talk = peer.talk else { return }
    if session.talk.isPostQuantum != peer.wasPostQuantum {
      peer.wasPostQuantum = session.talk.isPostQuantum
      events.append(.postQuantum(peer.id, peer.wasPostQuantum))
    }
    talk.begin(session.talk, at: now)
    hear(peer)
  }

  mutating func endTalk(_ peer: Peer) {
    if peer.wasPostQuantum {
      peer.wasPostQuantum = false
      events.append(.postQuantum(peer.id, false))
    }
    guard let talk = peer.talk else { return }
    talk.end()
    hear(peer)
  }

  /// Takes what a peer's machine wants. With a time it may want a handshake too.
  mutating func hear(_ peer: Peer, at now: Instant? = nil) {
    guard let talk = peer.talk else { return }
    while let message = talk.pollTransmit() {
      guard let session = talk.session else { continue }
      let content = message.bytes
      var size = content.count
      if case .probe(_, let whole) = message { size = max(size, whole) }
      let isProbe = size > content.count
      talks.append(
        Talk(peer: peer.id, localIndex: session.localIndex, content: content, size: size, isProbe: isProbe))
    }
    while let event = talk.pollEvent() {
      switch event {
      case .limit(let limit): events.append(.pathLimit(peer.id, limit))
      case .renewal: if let now { initiate(peer, at: now) }
      }
    }
  }
}
