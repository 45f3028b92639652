import CryptoPrimitives
import Values

/// Initiations, responses and cookie replies, read and written; and the sessions that come of them.
extension Device {
  // MARK: Ours

  /// Sends an initiation, unless one was sent in the last five seconds.
  ///
  /// - Parameter isRetry: it is a further try of the handshake under way, so that its tries go on being counted.
  mutating func initiate(_ peer: Peer, isRetry: Bool = false, at now: Instant) {
    if !isRetry { tellOfBeginning(peer, at: now) }
    if let last = peer.lastHandshakeSent, now - last < WireGuardLimit.rekeyTimeout {
      tell(peer, .initiationHeldBack(since: last), at: now)
      noteDeadline(of: peer)
      return
    }
    guard let endpoint = peer.endpoint, sendInitiation(to: peer, at: endpoint, now) else { return }
    peer.lastHandshakeSent = now
    peer.sentBytes &+= UInt64(InitiationMessage.size)
    tell(peer, .initiationSent, at: now)
    tell(peer, .sent, at: now)
    noteDeadline(of: peer)
  }

  private mutating func sendInitiation(to peer: Peer, at endpoint: Endpoint, _ now: Instant) -> Bool {
    guard let identity, peer.canAgree,
      let message = outbox.add(InitiationMessage.size, to: endpoint)
    else { return false }
    forgetHandshake(of: peer)
    let index = drawIndex(for: peer)
    let mark = mark(for: peer)
    peer.newestSent = Timestamp(wallTime(at: now), mark: mark).after(peer.newestSent)
    message.store32(MessageType.initiation.rawValue, at: 0)
    message.store32(index, at: InitiationMessage.senderOffset)
    peer.noise.start(responder: peer.publicKey)
    let isMade = withTimestamp(peer.newestSent) { timestamp in
      peer.noise.writeInitiation(
        ephemeral: message.room(InitiationMessage.ephemeralOffset, 32),
        static: message.room(InitiationMessage.staticOffset, 48), payload: timestamp,
        into: message.room(InitiationMessage.timestampOffset, 28), from: identity,
        staticStatic: peer.staticStatic, to: peer.publicKey, using: &random)
    }
    guard isMade else {
      outbox.takeBack()
      indices[index] = nil
      return false
    }
    logKeys(of: peer.noise, with: peer, named: mark)
    peer.jar.sign(message.room(0, InitiationMessage.size), mac1Offset: InitiationMessage.mac1Offset, at: now)
    peer.handshake = .initiated(index, mark: mark)
    return true
  }

  /// The handshake under way is none any more.
  mutating func forgetHandshake(of peer: Peer) {
    if case .initiated(let index, _) = peer.handshake { indices[index] = nil }
    peer.handshake = .none
    peer.noise.forget()
  }

  // MARK: Theirs

  mutating func receiveInitiation(
    _ datagram: UnsafeRawBufferPointer, from source: Endpoint, at now: Instant
  ) -> Outcome {
    guard let message = InitiationMessage(datagram) else { return .malformed }
    if let refusal = admit(
      datagram, mac1Offset: InitiationMessage.mac1Offset, sender: message.sender, from: source, at: now)
    {
      return refusal
    }
    guard let identity else { return .wrongMAC }
    scratch.start(responder: identity.publicKey)
    guard let key = scratch.readStatic(ephemeral: message.ephemeral, sealed: message.sealedStatic, as: identity),
      let id = byKey[key], let peer = peers[id], peer.canAgree, let remoteEphemeral = PublicKey(message.ephemeral)
    else { return .unknownPeer }
    guard let timestamp = readTimestamp(message, of: peer) else { return .forged }
    let isFlood = peer.lastInitiationTaken.map { now - $0 < WireGuardLimit.initiationInterval } ?? false
    guard timestamp > peer.newestTaken, !isFlood else { return .replayed }
    peer.newestTaken = timestamp
    peer.lastInitiationTaken = now
    peer.receivedBytes &+= UInt64(InitiationMessage.size)
    move(peer, to: source)
    tell(peer, .received, at: now)
    // Two that began at once forget their own: each will answer the other, and jitter decides the next round.
    forgetHandshake(of: peer)
    respond(to: peer, remoteEphemeral, remoteIndex: message.sender, mark: talk.isOn ? timestamp.mark : nil, at: now)
    noteDeadline(of: peer)
    return .initiationTaken
  }

  private func readTimestamp(_ message: InitiationMessage, of peer: Peer) -> Timestamp? {
    withUnsafeTemporaryAllocation(byteCount: Timestamp.size + NoiseState.tag, alignment: 8) { room in
      guard let base = room.baseAddress,
        scratch.readPayload(message.sealedTimestamp, in: room, staticStatic: peer.staticStatic)
      else { return nil }
      return Timestamp(UnsafeRawPointer(base))
    }
  }

  /// - Parameter mark: what the initiation said of its sender, where it is a Culvert.
  private mutating func respond(
    to peer: Peer, _ remoteEphemeral: PublicKey, remoteIndex: UInt32, mark: UInt8?, at now: Instant
  ) {
    guard let endpoint = peer.endpoint, let message = outbox.add(ResponseMessage.size, to: endpoint) else { return }
    let index = drawIndex(for: peer)
    message.store32(MessageType.response.rawValue, at: 0)
    message.store32(index, at: ResponseMessage.senderOffset)
    message.store32(remoteIndex, at: ResponseMessage.receiverOffset)
    let rotated = rotatedKey(of: peer, named: mark, isTheirs: true)
    let isPostQuantum = rotated != nil
    let preshared = rotated ?? peer.preshared.copy()
    let isMade = scratch.writeResponse(
      ephemeral: message.room(ResponseMessage.ephemeralOffset, 32),
      payload: UnsafeRawBufferPointer(start: nil, count: 0), into: message.room(ResponseMessage.emptyOffset, 16),
      to: remoteEphemeral, peer.publicKey, preshared: preshared, using: &random)
    guard isMade else {
      outbox.takeBack()
      indices[index] = nil
      return
    }
    logKeys(of: scratch, with: peer, named: mark)
    peer.jar.sign(message.room(0, ResponseMessage.size), mac1Offset: ResponseMessage.mac1Offset, at: now)
    peer.lastHandshakeSent = now
    peer.sentBytes &+= UInt64(ResponseMessage.size)
    begin(
      peer, isInitiator: false, localIndex: index, remoteIndex: remoteIndex, isMarked: mark != nil,
      isPostQuantum: isPostQuantum, at: now)
    tell(peer, .sent, at: now)
  }

  mutating func receiveResponse(
    _ datagram: UnsafeRawBufferPointer, from source: Endpoint, at now: Instant
  ) -> Outcome {
    guard let message = ResponseMessage(datagram) else { return .malformed }
    if let refusal = admit(
      datagram, mac1Offset: ResponseMessage.mac1Offset, sender: message.sender, from: source, at: now)
    {
      return refusal
    }
    guard let id = indices[message.receiver], let peer = peers[id],
      case .initiated(message.receiver, let mark) = peer.handshake
    else { return .unexpected }
    guard let identity else { return .wrongMAC }
    let rotated = rotatedKey(of: peer, named: mark, isTheirs: false)
    let wasNamed = rotated != nil
    var isPostQuantum = false
    if let rotated { isPostQuantum = readResponse(message, of: peer, as: identity, preshared: rotated) }
    if !isPostQuantum {
      guard readResponse(message, of: peer, as: identity, preshared: peer.preshared) else { return .forged }
      // The other end has not got what we named: it was started anew, or is no Culvert any more.
      if wasNamed { peer.talk?.rotation.forget() }
    }
    peer.receivedBytes &+= UInt64(ResponseMessage.size)
    move(peer, to: source)
    // The index lives on as the session's.
    peer.handshake = .none
    peer.noise.forget()
    begin(
      peer, isInitiator: true, localIndex: message.receiver, remoteIndex: message.sender, isMarked: mark != nil,
      isPostQuantum: isPostQuantum, at: now)
    if let sent = peer.lastHandshakeSent { peer.roundTrip = now - sent }
    tell(peer, .received, at: now)
    complete(peer, at: now)
    beginTalk(peer, at: now)
    if let span = peer.roundTrip { peer.talk?.measured(span) }
    events.append(.keepalive(peer.id))
    noteDeadline(of: peer)
    return .responseTaken
  }

  private func readResponse(
    _ message: ResponseMessage, of peer: Peer, as identity: Identity, preshared: borrowing SecretKey
  ) -> Bool {
    // On a copy: a forged response must leave the handshake as it is.
    scratch.copy(of: peer.noise)
    return withUnsafeTemporaryAllocation(byteCount: NoiseState.tag, alignment: 8) { room in
      scratch.readResponse(
        ephemeral: message.ephemeral, sealed: message.sealedEmpty, in: room, as: identity, preshared: preshared)
    }
  }

  mutating func receiveCookie(_ datagram: UnsafeRawBufferPointer, at now: Instant) -> Outcome {
    guard let message = CookieReplyMessage(datagram) else { return .malformed }
    guard let id = indices[message.receiver], let peer = peers[id] else { return .unexpected }
    // No endpoint moves by it and no timer hears of it: anybody on the way could have sent one (section 5.4.7).
    return peer.jar.take(message, at: now) ? .cookieTaken : .forged
  }

  // MARK: Sessions

  /// Makes the two keys of the session whose handshake `scratch` holds, and puts the session where it belongs.
  private mutating func begin(
    _ peer: Peer, isInitiator: Bool, localIndex: UInt32, remoteIndex: UInt32, isMarked: Bool, isPostQuantum: Bool,
    at now: Instant
  ) {
    let first = SecretKey()
    let second = SecretKey()
    let binding = SecretKey()
    scratch.split(initiator: first, responder: second, binding: binding)
    let send: SendKey
    let receive: ReceiveKey
    if isInitiator {
      send = SendKey(peer: peer.id, localIndex: localIndex, remoteIndex: remoteIndex, birth: now, key: first)
      receive = ReceiveKey(peer: peer.id, localIndex: localIndex, birth: now, key: second)
    } else {
      send = SendKey(peer: peer.id, localIndex: localIndex, remoteIndex: remoteIndex, birth: now, key: second)
      receive = ReceiveKey(peer: peer.id, localIndex: localIndex, birth: now, key: first)
    }
    receiveKeys[localIndex] = KeyBox(receive: receive)
    events.append(.receiveKey(localIndex: localIndex))
    let session = Peer.Session(
      localIndex: localIndex, birth: now, isInitiator: isInitiator,
      talk: SessionTalk(
        localIndex: localIndex, isInitiator: isInitiator, isMarked: isMarked, isPostQuantum: isPostQuantum,
        binding: binding))
    if isInitiator {
      // A session of the peer's that was never used may still be: it takes the place of the one before.
      if let next = peer.next {
        retire(peer.previous)
        peer.previous = next
        peer.next = nil
        peer.nextSendKey = nil
        retire(peer.current)
      } else {
        retire(peer.previous)
        peer.previous = peer.current
      }
      peer.current = session
      handOver(send, of: peer)
    } else {
      retire(peer.next)
      peer.next = session
      peer.nextSendKey = consume send
      retire(peer.previous)
      peer.previous = nil
    }
    tell(peer, .sessionDerived, at: now)
  }

  /// The initiator has used the session that we answered with: it is the current one now.
  mutating func confirm(_ peer: Peer, _ next: Peer.Session, at now: Instant) {
    retire(peer.previous)
    peer.previous = peer.current
    peer.current = next
    peer.next = nil
    if let key = peer.nextSendKey.take() { handOver(key, of: peer) }
    complete(peer, at: now)
    events.append(.release(peer.id))
    beginTalk(peer, at: now)
  }

  private mutating func complete(_ peer: Peer, at now: Instant) {
    tell(peer, .handshakeCompleted, at: now)
    peer.isRenewing = false
    peer.lastHandshake = now
    events.append(.handshakeCompleted(peer.id))
  }

  private mutating func handOver(_ key: consuming SendKey, of peer: Peer) {
    let index = key.localIndex
    sendKeys[index] = KeyBox(send: key)
    events.append(.sendKey(peer.id, localIndex: index))
  }

  mutating func retire(_ session: Peer.Session?) {
    guard let session else { return }
    indices[session.localIndex] = nil
    receiveKeys[session.localIndex] = nil
    sendKeys[session.localIndex] = nil
    events.append(.retire(localIndex: session.localIndex))
  }

  /// Wipes all keys of a peer and the handshake under way.
  mutating func forgetKeys(of peer: Peer) {
    forgetHandshake(of: peer)
    forgetSessions(of: peer)
  }

  private mutating func forgetSessions(of peer: Peer) {
    for session in peer.sessions { retire(session) }
    if peer.current != nil { events.append(.dropSendKey(peer.id)) }
    peer.previous = nil
    peer.current = nil
    peer.next = nil
    peer.nextSendKey = nil
    endTalk(peer)
  }

  // MARK: Timers

  mutating func perform(_ action: PeerTimers.Action, _ peer: Peer, at now: Instant) {
    switch action {
    case .retry: initiate(peer, isRetry: true, at: now)
    case .initiate: initiate(peer, at: now)
    case .keepalive:
      if peer.canSend(at: now) {
        events.append(.keepalive(peer.id))
      } else {
        initiate(peer, at: now)
      }
    case .giveUp:
      forgetHandshake(of: peer)
      events.append(.gaveUp(peer.id))
    // Not the handshake: after a sleep it may have begun in this very moment. If nobody answers it is given up.
    case .forget: forgetSessions(of: peer)
    }
  }

  /// Whoever began a session and only receives renews it in its last seconds: 15 before it is refused.
  mutating func renewWhereOld(_ peer: Peer, at now: Instant) {
    guard let session = peer.current, session.isInitiator, !peer.isRenewing else { return }
    let lead = WireGuardLimit.keepaliveTimeout + WireGuardLimit.rekeyTimeout
    guard now - session.birth + lead >= WireGuardLimit.rejectAfterTime else { return }
    peer.isRenewing = true
    initiate(peer, at: now)
  }
}

private func withTimestamp(_ time: Timestamp, _ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
  withUnsafeTemporaryAllocation(byteCount: Timestamp.size, alignment: 8) { room in
    guard let base = room.baseAddress else { return false }
    time.store(to: base)
    return body(UnsafeRawBufferPointer(room))
  }
}
