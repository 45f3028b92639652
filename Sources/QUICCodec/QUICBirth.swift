/// How an ngtcp2 connection is made: settings and transport parameters in the library's form, and the callbacks.
import CNgtcp2
import TLSCodec
import Values

/// What is known when a connection is born; for a server that is what the first packet said.
struct QUICBirth {
  var now: UInt64
  var isClient: Bool
  var version: UInt32 = NGTCP2_PROTO_VER_V1
  /// The other end's connection ID, which a client invents for the time until the server chose one.
  var peerID = ngtcp2_cid()
  var ownID = ngtcp2_cid()
  /// What the client's very first packet was addressed to, and after a Retry what its second was.
  var originalID = ngtcp2_cid()
  var retryID: ngtcp2_cid?
  var token: [UInt8] = []
  var resetToken: [UInt8] = []

  init(client now: UInt64) {
    self.now = now
    isClient = true
  }

  init(server now: UInt64, version: UInt32) {
    self.now = now
    self.version = version
    isClient = false
  }

  func makeConnection(
    settings wanted: QUICSettings, path: UnsafePointer<ngtcp2_path>, owner: UnsafeMutableRawPointer
  ) throws(QUICCloseReason) -> OpaquePointer {
    var callbacks = quicCallbacks()
    var params = parameters(wanted)
    var peer = peerID
    var own = ownID
    if isClient {
      guard let first = ngtcp2_cid.random(length: 16, fill: fillRandom),
        let second = ngtcp2_cid.random(length: QUICHost.idLength, fill: fillRandom)
      else { throw QUICCloseReason(.failed("the system has no random bytes")) }
      peer = first
      own = second
    }
    var made: OpaquePointer?
    var tokenCopy = token
    let result = tokenCopy.withUnsafeMutableBufferPointer { tokenBytes in
      var settings = self.settings(wanted)
      if !tokenBytes.isEmpty { settings.token = ngtcp2_vec(base: tokenBytes.baseAddress, len: tokenBytes.count) }
      return isClient
        ? culvert_client_new(&made, &peer, &own, path, version, &callbacks, &settings, &params, owner)
        : culvert_server_new(&made, &peer, &own, path, version, &callbacks, &settings, &params, owner)
    }
    guard result == 0, let made else { throw QUICCloseReason(.failed("no memory for a connection")) }
    return made
  }

  /// Joins the TLS session and the connection.
  func bind(
    _ tls: GnuTLSSession, to conn: OpaquePointer?, reference: UnsafeMutablePointer<culvert_reference>,
    keyLog: Bool
  ) throws(QUICCloseReason) {
    let session = tls.pointer
    let result =
      isClient
      ? ngtcp2_crypto_gnutls_configure_client_session(session)
      : ngtcp2_crypto_gnutls_configure_server_session(session)
    guard result == 0 else { throw QUICCloseReason(.failed("GnuTLS takes no QUIC extension")) }
    gnutls_session_set_ptr(session, reference)
    ngtcp2_conn_set_tls_native_handle(conn, UnsafeMutableRawPointer(session))
    if keyLog { gnutls_session_set_keylog_function(session, quicKeyLog) }
  }

  private func settings(_ wanted: QUICSettings) -> ngtcp2_settings {
    var settings = ngtcp2_settings()
    culvert_settings_default(&settings)
    settings.initial_ts = now
    settings.cc_algo = wanted.congestionControl == .bbr ? NGTCP2_CC_ALGO_BBR2 : NGTCP2_CC_ALGO_CUBIC
    settings.initial_rtt = UInt64(clamping: max(wanted.initialRTT.nanoseconds, 1_000_000))
    settings.max_tx_udp_payload_size = min(max(wanted.maximumPacket, 1200), 65_527)
    settings.no_tx_udp_payload_size_shaping = wanted.pathMTUDiscovery ? 0 : 1
    settings.no_pmtud = wanted.pathMTUDiscovery ? 0 : 1
    settings.max_window = wanted.maximumConnectionWindow
    settings.max_stream_window = wanted.maximumStreamWindow
    settings.handshake_timeout =
      wanted.handshakeTimeout > .zero ? UInt64(clamping: wanted.handshakeTimeout.nanoseconds) : .max
    return settings
  }

  private func parameters(_ wanted: QUICSettings) -> ngtcp2_transport_params {
    var params = ngtcp2_transport_params()
    culvert_params_default(&params)
    params.initial_max_streams_bidi = UInt64(max(0, wanted.maximumStreams))
    params.initial_max_streams_uni = 0
    params.initial_max_stream_data_bidi_local = wanted.streamWindow
    params.initial_max_stream_data_bidi_remote = wanted.streamWindow
    params.initial_max_data = wanted.connectionWindow
    params.max_idle_timeout = UInt64(clamping: max(0, wanted.idleTimeout.nanoseconds))
    params.max_datagram_frame_size = wanted.maximumDatagramFrame
    if let most = wanted.maximumReceivedPacket { params.max_udp_payload_size = UInt64(min(max(most, 1200), 65_527)) }
    params.active_connection_id_limit = 7
    params.grease_quic_bit = 0
    guard !isClient else { return params }
    params.original_dcid = originalID
    if let retryID {
      params.retry_scid = retryID
      params.retry_scid_present = 1
    }
    if resetToken.count == Int(NGTCP2_STATELESS_RESET_TOKENLEN) {
      params.stateless_reset_token_present = 1
      withUnsafeMutableBytes(of: &params.stateless_reset_token) { $0.copyBytes(from: resetToken) }
    }
    return params
  }
}
