/// A server's side of many QUIC connections on one socket: finds the connection of each packet by its destination ID,
/// lets new ones in, and answers what belongs to none.
///
/// The life of a packet. A short header, or a long one with an ID of ours, goes to its connection. An unknown short
/// header is a connection that we forgot, most likely in a restart: a stateless reset tells the client at once instead
/// of after its idle timeout. A long header of an unknown version is answered with the versions that we speak. An
/// Initial packet begins a connection: freely while few are half open, after a Retry that proves the client's address
/// when many are, not at all beyond the limit. Anything else is dropped and counted.
///
/// The owner polls as with a single connection: after any call on the endpoint or on one of its connections,
/// `pollTransmit` and `pollEvent` until they give nothing, then sleep until `nextDeadline`.
///
/// Traps. Every answer without a connection is smaller than what it answers and their rate is bounded, so that the
/// endpoint neither amplifies nor argues with another endpoint for ever.
import CNgtcp2
import TLSCodec
import Values

public final class QUICEndpoint {
  public struct Limits: Sendable {
    /// From this many half-open connections on, clients must prove their address by a Retry.
    public var retryFrom = 64
    /// Half-open connections at a time; further ones are refused.
    public var halfOpen = 512
    /// Connections at a time; further ones are refused.
    public var connections = 4096
    /// Answers without a connection (resets, refusals, Retry, versions) in one second.
    public var answersPerSecond = 500

    public init() {}
  }

  /// News of one of the connections. The first is `.connected`, where the owner learns of it, or `.closed` when its
  /// handshake failed, which is worth a log line at most.
  public struct News {
    public let connection: QUICConnection
    public let event: QUICEvent
  }

  public struct Counters: Sendable, Hashable {
    /// Packets that were no QUIC, or of no connection and no beginning of one.
    public var dropped: UInt64 = 0
    public var resetsSent: UInt64 = 0
    public var retriesSent: UInt64 = 0
    public var versionsSent: UInt64 = 0
    public var refused: UInt64 = 0
    public var accepted: UInt64 = 0
  }

  public let limits: Limits
  public private(set) var counters = Counters()

  private var credentials: TLSCredentials
  private var settings: QUICSettings
  private let secret: [UInt8]
  private let host: QUICHost
  private var connections: [QUICConnection] = []
  /// When each connection wants to be woken, at the same index.
  private var deadlines: [Int64] = []
  private var halfOpen = 0
  private var answers: [Answer] = []
  private var answerBudget: Int
  private var budgetSecond: Int64 = 0
  private var latest: Int64 = 0

  private struct Answer {
    let bytes: [UInt8]
    let local: Endpoint
    let remote: Endpoint
  }

  /// - Parameter secret: at least 16 bytes, the same before and after a restart; reset and Retry tokens follow from it.
  public init(
    credentials: TLSCredentials, settings: QUICSettings, secret: [UInt8], limits: Limits = Limits()
  ) {
    self.credentials = credentials
    self.settings = settings
    self.secret = secret
    self.limits = limits
    answerBudget = limits.answersPerSecond
    host = QUICHost(secret: secret)
  }

  deinit { host.close() }

  public var connectionCount: Int { connections.count }

  /// What connections that begin from now on get; those that stand are as they were.
  public func renew(credentials: TLSCredentials, settings: QUICSettings) {
    self.credentials = credentials
    self.settings = settings
  }

  /// One UDP payload that came `from` somebody `to` us, with its two ECN bits.
  public func handle(
    _ datagram: UnsafeRawBufferPointer, from remote: Endpoint, to local: Endpoint, ecn: UInt8, at now: Instant
  ) {
    tick(now)
    guard let bytes = datagram.bindMemory(to: UInt8.self).baseAddress, datagram.count > 0 else { return }
    var ids = ngtcp2_version_cid()
    switch ngtcp2_pkt_decode_version_cid(&ids, bytes, datagram.count, QUICHost.idLength) {
    case 0: break
    case NGTCP2_ERR_VERSION_NEGOTIATION:
      offerVersions(ids, length: datagram.count, remote, local)
      return
    default:
      counters.dropped &+= 1
      return
    }
    let id = UnsafeBufferPointer(start: ids.dcid, count: ids.dcidlen)
    let isLong = bytes[0] & 0x80 != 0
    if let found = host.connection(id: id) ?? (isLong ? host.connection(firstID: id) : nil) {
      found.handle(datagram, from: remote, to: local, ecn: ecn, at: now)
      settle(found)
    } else if isLong {
      accept(datagram, bytes, from: remote, to: local, ecn: ecn, at: now)
    } else {
      sendReset(id, length: datagram.count, remote, local)
    }
  }

  public func handleTimeout(at now: Instant) {
    tick(now)
    var index = 0
    while index < connections.count {
      let connection = connections[index]
      if deadlines[index] <= now.nanoseconds {
        connection.handleTimeout(at: now)
        settle(connection)
        if connection.isFinished(at: now), !connection.isEventful {
          forget(connection)
          continue
        }
        reschedule(connection)
      }
      index += 1
    }
  }

  /// When `handleTimeout` has to be called next: at once while something waits to be polled.
  public func nextDeadline() -> Instant? {
    if !host.touched.isEmpty || !answers.isEmpty { return Instant(nanoseconds: latest) }
    guard let first = deadlines.min(), first != .max else { return nil }
    return Instant(nanoseconds: first)
  }

  /// Packets to send, one connection's at a time; `nil` when there are none.
  public func pollTransmit(into buffer: UnsafeMutableRawBufferPointer, at now: Instant) -> QUICTransmit? {
    tick(now)
    if let answer = answers.popLast() {
      guard answer.bytes.count <= buffer.count else { return nil }
      answer.bytes.withUnsafeBytes { buffer.copyMemory(from: $0) }
      return QUICTransmit(
        length: answer.bytes.count, segmentSize: answer.bytes.count, local: answer.local, remote: answer.remote,
        ecn: 0)
    }
    while let connection = host.touched.last {
      if let transmit = connection.pollTransmit(into: buffer, at: now) {
        // Taken in turns: the others go before this one's next run.
        if host.touched.count > 1 {
          host.touched.removeLast()
          host.touched.insert(connection, at: 0)
        }
        return transmit
      }
      host.touched.removeLast()
      connection.isTouched = false
      settle(connection)
      if connection.isFinished(at: now), !connection.isEventful { forget(connection) } else { reschedule(connection) }
    }
    return nil
  }

  public func pollEvent() -> News? {
    while let connection = host.eventful.first {
      if let event = connection.pollEvent() { return News(connection: connection, event: event) }
      host.eventful.removeFirst()
      connection.isEventful = false
      if connection.state == .closed { reschedule(connection) }
    }
    return nil
  }

  /// Closes all connections, for a server that ends in order; poll and send what they say before going.
  public func close(code: UInt64 = 0, reason: String = "", at now: Instant) {
    for connection in connections { connection.close(code: code, reason: reason, at: now) }
  }

  // MARK: New connections

  private func accept(
    _ datagram: UnsafeRawBufferPointer, _ bytes: UnsafePointer<UInt8>, from remote: Endpoint, to local: Endpoint,
    ecn: UInt8, at now: Instant
  ) {
    var header = ngtcp2_pkt_hd()
    let verdict = ngtcp2_accept(&header, bytes, datagram.count)
    guard verdict == 0 || verdict == NGTCP2_ERR_RETRY, datagram.count >= Int(NGTCP2_MAX_UDP_PAYLOAD_SIZE) else {
      counters.dropped &+= 1
      return
    }
    var birth = QUICBirth(server: UInt64(clamping: latest), version: header.version)
    birth.peerID = header.scid
    birth.originalID = header.dcid
    let wantsProof = halfOpen >= limits.retryFrom || verdict == NGTCP2_ERR_RETRY
    if let original = originalID(of: header, remote), let token = header.token.base {
      birth.originalID = original
      birth.retryID = header.dcid
      birth.token = Array(UnsafeBufferPointer(start: token, count: header.token.len))
    } else if wantsProof {
      // A token that is none of ours is refused only where we ask for one: nothing has shown yet that this packet is
      // more than a damaged copy, and the refusal would end the real client's handshake.
      if hasRetryToken(header) {
        refuse(header, code: UInt64(NGTCP2_INVALID_TOKEN), remote, local)
      } else {
        sendRetry(header, remote, local)
      }
      return
    }
    guard halfOpen < limits.halfOpen, connections.count < limits.connections else {
      refuse(header, code: UInt64(NGTCP2_CONNECTION_REFUSED), remote, local)
      return
    }
    guard let own = host.unusedID() else { return }
    var token = [UInt8](repeating: 0, count: Int(NGTCP2_STATELESS_RESET_TOKENLEN))
    guard token.withUnsafeMutableBufferPointer({ $0.baseAddress.map { host.resetToken(for: own, $0) } == true })
    else { return }
    birth.ownID = own
    birth.resetToken = token
    admit(birth, header.dcid, datagram, from: remote, to: local, ecn: ecn, at: now)
  }

  private func admit(
    _ birth: QUICBirth, _ first: ngtcp2_cid, _ datagram: UnsafeRawBufferPointer, from remote: Endpoint,
    to local: Endpoint, ecn: UInt8, at now: Instant
  ) {
    guard
      let connection = try? QUICConnection(
        server: credentials, settings: settings, local: local, remote: remote, birth: birth, host: host)
    else {
      counters.dropped &+= 1
      return
    }
    connection.handle(datagram, from: remote, to: local, ecn: ecn, at: now)
    // A first packet that was forged or damaged leaves nothing behind.
    if connection.conn == nil, connection.closingPacket.isEmpty {
      counters.dropped &+= 1
      host.touched.removeAll { $0 === connection }
      host.eventful.removeAll { $0 === connection }
      host.forget(connection)
      return
    }
    counters.accepted &+= 1
    host.register(connection, id: birth.ownID)
    host.register(connection, first: first)
    connection.slot = connections.count
    connection.isHalfOpen = true
    halfOpen += 1
    connections.append(connection)
    deadlines.append(.max)
    settle(connection)
    reschedule(connection)
  }

  private func settle(_ connection: QUICConnection) {
    guard connection.isHalfOpen, connection.state != .handshake else { return }
    connection.isHalfOpen = false
    halfOpen -= 1
  }

  private func reschedule(_ connection: QUICConnection) {
    guard connection.slot >= 0, connection.slot < deadlines.count else { return }
    let deadline = connection.nextDeadline()?.nanoseconds ?? (connection.state == .closed ? latest : .max)
    deadlines[connection.slot] = deadline
  }

  private func forget(_ connection: QUICConnection) {
    let slot = connection.slot
    guard slot >= 0, slot < connections.count else { return }
    settle(connection)
    host.forget(connection)
    connection.slot = -1
    let last = connections.removeLast()
    let deadline = deadlines.removeLast()
    guard slot < connections.count else { return }
    connections[slot] = last
    deadlines[slot] = deadline
    last.slot = slot
  }

  // MARK: Answers without a connection

  private func offerVersions(_ ids: ngtcp2_version_cid, length: Int, _ remote: Endpoint, _ local: Endpoint) {
    guard length >= Int(NGTCP2_MAX_UDP_PAYLOAD_SIZE) else {
      counters.dropped &+= 1
      return
    }
    // The reserved version keeps clients honest about ignoring what they do not know (RFC 9000, section 15).
    var versions: [UInt32] = [0x1A2A_3A4A, NGTCP2_PROTO_VER_V1]
    let sent = answer(remote, local) { target, room in
      ngtcp2_pkt_write_version_negotiation(
        target, room, UInt8.random(in: 0...255), ids.scid, ids.scidlen, ids.dcid, ids.dcidlen, &versions,
        versions.count)
    }
    if sent { counters.versionsSent &+= 1 }
  }

  private func sendReset(_ id: UnsafeBufferPointer<UInt8>, length: Int, _ remote: Endpoint, _ local: Endpoint) {
    let token = Int(NGTCP2_STATELESS_RESET_TOKENLEN)
    // Shorter than what it answers, or two endpoints could reset each other for ever (RFC 9000, section 10.3.3).
    let noise = min(length - token - 1, 64)
    guard noise >= Int(NGTCP2_MIN_STATELESS_RESET_RANDLEN), id.count == QUICHost.idLength else {
      counters.dropped &+= 1
      return
    }
    var cid = ngtcp2_cid()
    ngtcp2_cid_init(&cid, id.baseAddress, id.count)
    var secretToken = [UInt8](repeating: 0, count: token)
    var random = [UInt8](repeating: 0, count: noise)
    guard random.withUnsafeMutableBytes(fillRandom),
      secretToken.withUnsafeMutableBufferPointer({ $0.baseAddress.map { host.resetToken(for: cid, $0) } == true })
    else { return }
    let sent = answer(remote, local) { target, room in
      ngtcp2_pkt_write_stateless_reset(target, room, secretToken, random, random.count)
    }
    if sent { counters.resetsSent &+= 1 }
  }

  private func sendRetry(_ header: ngtcp2_pkt_hd, _ remote: Endpoint, _ local: Endpoint) {
    guard var retry = ngtcp2_cid.random(length: QUICHost.idLength, fill: fillRandom) else { return }
    var header = header
    var token = [UInt8](repeating: 0, count: 128)
    let length = withSocketAddress(remote) { address, size in
      ngtcp2_crypto_generate_retry_token(
        &token, secret, secret.count, header.version, address, size, &retry, &header.dcid, UInt64(clamping: latest))
    }
    guard length > 0 else { return }
    let sent = answer(remote, local) { target, room in
      ngtcp2_crypto_write_retry(
        target, room, header.version, &header.scid, &retry, &header.dcid, token, length)
    }
    if sent { counters.retriesSent &+= 1 }
  }

  /// The ID of the packet that a Retry token of ours answered; `nil` when the token is not ours, not this address's,
  /// or older than ten seconds.
  private func originalID(of header: ngtcp2_pkt_hd, _ remote: Endpoint) -> ngtcp2_cid? {
    guard hasRetryToken(header) else { return nil }
    var header = header
    var original = ngtcp2_cid()
    let verdict = withSocketAddress(remote) { address, size in
      ngtcp2_crypto_verify_retry_token(
        &original, header.token.base, header.token.len, secret, secret.count, header.version, address, size,
        &header.dcid, 10_000_000_000, UInt64(clamping: latest))
    }
    return verdict == 0 ? original : nil
  }

  private func hasRetryToken(_ header: ngtcp2_pkt_hd) -> Bool {
    guard let token = header.token.base, header.token.len > 0 else { return false }
    return token[0] == UInt8(NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY)
  }

  private func refuse(_ header: ngtcp2_pkt_hd, code: UInt64, _ remote: Endpoint, _ local: Endpoint) {
    var header = header
    let sent = answer(remote, local) { target, room in
      ngtcp2_crypto_write_connection_close(
        target, room, header.version, &header.scid, &header.dcid, code, nil, 0)
    }
    if sent { counters.refused &+= 1 }
  }

  private func answer(
    _ remote: Endpoint, _ local: Endpoint, _ write: (UnsafeMutablePointer<UInt8>?, Int) -> Int
  ) -> Bool {
    let second = latest / 1_000_000_000
    if second != budgetSecond {
      budgetSecond = second
      answerBudget = limits.answersPerSecond
    }
    guard answerBudget > 0, answers.count < 256 else {
      counters.dropped &+= 1
      return false
    }
    var bytes = [UInt8](repeating: 0, count: Int(NGTCP2_MAX_UDP_PAYLOAD_SIZE))
    let length = bytes.withUnsafeMutableBufferPointer { write($0.baseAddress, $0.count) }
    guard length > 0 else { return false }
    answerBudget -= 1
    bytes.removeSubrange(length...)
    answers.append(Answer(bytes: bytes, local: local, remote: remote))
    return true
  }

  private func tick(_ now: Instant) { latest = max(latest, max(1, now.nanoseconds)) }
}

/// The address as the C library has it. The pointer is to the whole union: Swift's view of one of its members is a copy
/// of that member's size, which is too short for an IPv6 address.
private func withSocketAddress<Result>(
  _ endpoint: Endpoint, _ body: (UnsafePointer<ngtcp2_sockaddr>, ngtcp2_socklen) -> Result
) -> Result {
  var plain = culvert_endpoint(endpoint)
  var storage = ngtcp2_sockaddr_union()
  let size = culvert_sockaddr_set(&storage, &plain)
  return withUnsafePointer(to: &storage) { whole in
    body(UnsafeRawPointer(whole).assumingMemoryBound(to: ngtcp2_sockaddr.self), size)
  }
}
