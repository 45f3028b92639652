/// What ngtcp2 calls: each callback finds the connection or the stream behind its pointer, notes what happened, and
/// returns. None of them can fail on what the network sent.
import CNgtcp2
import TLSCodec
import Values

private func connection(_ pointer: UnsafeMutableRawPointer?) -> QUICConnection? {
  pointer.map { Unmanaged<QUICConnection>.fromOpaque($0).takeUnretainedValue() }
}

private func stream(_ pointer: UnsafeMutableRawPointer?) -> QUICStream? {
  pointer.map { Unmanaged<QUICStream>.fromOpaque($0).takeUnretainedValue() }
}

func quicCallbacks() -> ngtcp2_callbacks {
  var callbacks = ngtcp2_callbacks()
  callbacks.client_initial = ngtcp2_crypto_client_initial_cb
  callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb
  callbacks.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb
  callbacks.encrypt = ngtcp2_crypto_encrypt_cb
  callbacks.decrypt = ngtcp2_crypto_decrypt_cb
  callbacks.hp_mask = ngtcp2_crypto_hp_mask_cb
  callbacks.recv_retry = ngtcp2_crypto_recv_retry_cb
  callbacks.update_key = ngtcp2_crypto_update_key_cb
  callbacks.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb
  callbacks.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb
  callbacks.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb
  callbacks.version_negotiation = ngtcp2_crypto_version_negotiation_cb
  setIdentityCallbacks(&callbacks)
  setConnectionCallbacks(&callbacks)
  setStreamCallbacks(&callbacks)
  return callbacks
}

private func setIdentityCallbacks(_ callbacks: inout ngtcp2_callbacks) {
  callbacks.rand = { target, length, _ in
    guard let target else { return }
    _ = fillRandom(UnsafeMutableRawBufferPointer(start: target, count: length))
  }
  callbacks.get_new_connection_id = { _, cid, token, length, user in
    guard let owner = connection(user), let cid, let token, let made = owner.newConnectionID(length: length, token)
    else { return NGTCP2_ERR_CALLBACK_FAILURE }
    cid.pointee = made
    return 0
  }
  callbacks.remove_connection_id = { _, cid, user in
    guard let owner = connection(user), let cid else { return 0 }
    owner.host?.remove(cid.pointee, of: owner)
    return 0
  }
}

private func setConnectionCallbacks(_ callbacks: inout ngtcp2_callbacks) {
  callbacks.handshake_completed = { _, user in
    guard let owner = connection(user), let conn = owner.conn else { return NGTCP2_ERR_CALLBACK_FAILURE }
    let facts = tlsFacts(of: owner.tls.pointer, peerVerified: owner.tls.credentials.peerVerified)
    // An end that offers nothing at all passes GnuTLS's own check (RFC 9001, section 8.1).
    guard let chosen = facts.applicationProtocol else {
      owner.handshakeRefusal = .noCommonApplicationProtocol
      return NGTCP2_ERR_CALLBACK_FAILURE
    }
    let version = ngtcp2_conn_get_negotiated_version(conn)
    owner.becomeConnected(QUICFacts(version: version, applicationProtocol: chosen, tls: facts))
    return 0
  }
  callbacks.recv_version_negotiation = { _, _, versions, count, user in
    guard let owner = connection(user), let versions else { return 0 }
    owner.offeredVersions = Array(UnsafeBufferPointer(start: versions, count: min(count, 16)))
    return 0
  }
  callbacks.recv_stateless_reset = { _, _, user in
    connection(user)?.sawStatelessReset = true
    return 0
  }
  callbacks.path_validation = { _, _, _, _, user in
    connection(user)?.pathMayHaveChanged = true
    return 0
  }
  callbacks.extend_max_local_streams_bidi = { _, _, user in
    guard let owner = connection(user), owner.streamLimitReached else { return 0 }
    owner.streamLimitReached = false
    owner.post(.streamsAvailable)
    return 0
  }
  callbacks.recv_datagram = { _, _, data, length, user in
    guard let owner = connection(user) else { return 0 }
    owner.received(datagram: UnsafeRawBufferPointer(start: data, count: length))
    return 0
  }
}

private func setStreamCallbacks(_ callbacks: inout ngtcp2_callbacks) {
  callbacks.stream_open = { conn, id, user in
    guard let owner = connection(user) else { return 0 }
    let opened = QUICStream(id: id)
    owner.streams[id] = opened
    ngtcp2_conn_set_stream_user_data(conn, id, Unmanaged.passUnretained(opened).toOpaque())
    owner.post(.streamOpened(id))
    return 0
  }
  callbacks.recv_stream_data = { _, flags, _, _, data, length, user, streamUser in
    guard let owner = connection(user), let stream = stream(streamUser) else { return 0 }
    owner.received(
      UnsafeRawBufferPointer(start: data, count: length), last: flags & NGTCP2_STREAM_DATA_FLAG_FIN != 0, on: stream)
    return 0
  }
  callbacks.acked_stream_data_offset = { _, _, offset, length, user, streamUser in
    guard let owner = connection(user), let stream = stream(streamUser) else { return 0 }
    owner.acknowledged(to: offset &+ length, on: stream)
    return 0
  }
  callbacks.stream_reset = { _, id, _, code, user, streamUser in
    guard let owner = connection(user), let stream = stream(streamUser) else { return 0 }
    owner.received(resetWith: code, on: stream)
    return 0
  }
  callbacks.stream_close = { _, _, _, _, user, streamUser in
    guard let owner = connection(user), let stream = stream(streamUser) else { return 0 }
    owner.transportClosed(stream)
    return 0
  }
}

extension QUICConnection {
  func received(_ bytes: UnsafeRawBufferPointer, last: Bool, on stream: QUICStream) {
    if stream.discards {
      if let conn { ngtcp2_conn_extend_max_offset(conn, UInt64(bytes.count)) }
      return
    }
    stream.receive.append(bytes, pool: pool)
    if last { stream.receivedEnd = true }
    postReadable(stream)
  }

  func received(resetWith code: UInt64, on stream: QUICStream) {
    guard stream.resetCode == nil else { return }
    discardUnread(stream)
    stream.resetCode = code
    if !stream.discards { post(.streamReset(stream.id, code)) }
  }

  func received(datagram: UnsafeRawBufferPointer) {
    guard incomingDatagrams.append(datagram) else {
      droppedDatagrams &+= 1
      return
    }
    guard !datagramEventQueued else { return }
    datagramEventQueued = true
    post(.datagramReadable)
  }

  func acknowledged(to offset: UInt64, on stream: QUICStream) {
    stream.send.drop(to: min(offset, stream.sent), pool: pool)
    // Not for every packet's worth of room: a writer is woken for a quarter of the buffer, or when it is empty.
    guard stream.writerWaits, !stream.writableQueued,
      stream.send.count == 0 || room(of: stream) >= settings.sendBuffer / 4
    else { return }
    stream.writerWaits = false
    stream.writableQueued = true
    post(.streamWritable(stream.id))
  }

  func transportClosed(_ stream: QUICStream) {
    stream.isTransportClosed = true
    withdraw(stream)
    stream.sendClosed = true
    stream.send.drop(to: .max, pool: pool)
    retireIfOver(stream)
  }

  private func postReadable(_ stream: QUICStream) {
    guard !stream.readableQueued else { return }
    stream.readableQueued = true
    post(.streamReadable(stream.id))
  }

  func newConnectionID(length: Int, _ token: UnsafeMutablePointer<UInt8>) -> ngtcp2_cid? {
    if let host { return host.newID(for: self, token: token) }
    // A client's packets come to its own socket: nobody looks its IDs up, and nobody resets for it.
    let size = Int(NGTCP2_STATELESS_RESET_TOKENLEN)
    guard fillRandom(UnsafeMutableRawBufferPointer(start: token, count: size)) else { return nil }
    return ngtcp2_cid.random(length: length, fill: fillRandom)
  }
}

/// GnuTLS's key log for a QUIC session, whose pointer is ngtcp2's reference.
let quicKeyLog: gnutls_keylog_func = { session, label, secret in
  guard let session, let label, let secret, let pointer = gnutls_session_get_ptr(session) else { return 0 }
  let reference = pointer.assumingMemoryBound(to: culvert_reference.self)
  guard let owner = connection(reference.pointee.owner) else { return 0 }
  if let line = keyLogLine(session: session, label: label, secret: secret) {
    owner.settings.keyLog?(line)
  }
  return 0
}
