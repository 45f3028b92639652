/// The verbs on streams and datagrams.
import CNgtcp2
import Values

extension QUICConnection {
  /// Opens a bidirectional stream. The other end sees it with its first byte.
  public func openStream() throws(QUICError) -> Int64 {
    guard let conn else { throw closedError }
    guard state == .connected else { throw .notConnected }
    var id: Int64 = -1
    switch ngtcp2_conn_open_bidi_stream(conn, &id, nil) {
    case 0: break
    case NGTCP2_ERR_STREAM_ID_BLOCKED:
      streamLimitReached = true
      throw .streamLimit
    default: throw .refused("no memory for a stream")
    }
    let stream = QUICStream(id: id)
    streams[id] = stream
    ngtcp2_conn_set_stream_user_data(conn, id, Unmanaged.passUnretained(stream).toOpaque())
    return id
  }

  /// Takes bytes to send and returns how many; fewer than given when the stream's buffer is full, and then
  /// `.streamWritable` follows. Takes nothing of a stream that is finished, reset, stopped or unknown.
  public func write(_ id: Int64, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard conn != nil, let stream = streams[id], !stream.sendClosed, !stream.finishRequested else { return 0 }
    let taken = min(room(of: stream), bytes.count)
    if taken < bytes.count { stream.writerWaits = true }
    guard taken > 0 else { return 0 }
    stream.send.append(UnsafeRawBufferPointer(rebasing: bytes[..<taken]), pool: pool)
    enqueue(stream)
    return taken
  }

  /// How many bytes `write` would take now.
  public func writableCount(_ id: Int64) -> Int {
    guard conn != nil, let stream = streams[id], !stream.sendClosed, !stream.finishRequested else { return 0 }
    return room(of: stream)
  }

  func room(of stream: QUICStream) -> Int { max(0, settings.sendBuffer - stream.send.count) }

  /// What leaves within a time at the present rate: the congestion window crosses in a round trip.
  private func bytes(in time: TimeSpan) -> Int {
    guard let conn else { return 0 }
    var stat = ngtcp2_conn_stat()
    culvert_conn_stat(conn, &stat)
    let roundTrip = max(stat.smoothed_rtt, 1_000)
    return Int(min(Double(stat.cwnd) * Double(time.nanoseconds) / Double(roundTrip), 1e9))
  }

  /// Says that nothing follows what was written.
  public func finish(_ id: Int64) {
    guard conn != nil, let stream = streams[id], !stream.sendClosed, !stream.finishRequested else { return }
    stream.finishRequested = true
    enqueue(stream)
  }

  /// Cuts our half short: what was not delivered is lost, and the other end learns the code.
  public func reset(_ id: Int64, code: UInt64 = 0) {
    guard let conn, let stream = streams[id], !stream.sendClosed else { return }
    stream.sendClosed = true
    withdraw(stream)
    _ = ngtcp2_conn_shutdown_stream_write(conn, id, code)
    host?.touch(self)
  }

  /// Wants no more of what the other end sends; what came and was not read is gone, and its room in the windows is
  /// given back.
  public func stopSending(_ id: Int64, code: UInt64 = 0) {
    guard let stream = streams[id], !stream.discards else { return }
    stream.discards = true
    discardUnread(stream)
    if let conn { _ = ngtcp2_conn_shutdown_stream_read(conn, id, code) }
    retireIfOver(stream)
    host?.touch(self)
  }

  /// Gives a stream up in both directions.
  public func abandon(_ id: Int64, code: UInt64 = 0) {
    reset(id, code: code)
    stopSending(id, code: code)
  }

  /// What the other end sent on the stream. After `.streamReadable` read until `.wouldBlock`: the event comes again
  /// only with new bytes. Works on a closed connection for what came before its end.
  public func read(_ id: Int64, into buffer: UnsafeMutableRawBufferPointer) -> QUICReadResult {
    guard let stream = streams[id], !stream.discards else { return .reset(0) }
    if let code = stream.resetCode {
      stream.endDelivered = true
      retireIfOver(stream)
      return .reset(code)
    }
    var total = 0
    while total < buffer.count {
      let piece = stream.receive.contiguous(from: stream.receive.start)
      let part = min(piece.count, buffer.count - total)
      guard part > 0, let source = piece.baseAddress, let target = buffer.baseAddress else { break }
      (target + total).copyMemory(from: source, byteCount: part)
      stream.receive.drop(to: stream.receive.start &+ UInt64(part), pool: pool)
      total += part
    }
    if total > 0 {
      consumed(total, of: stream)
      return .bytes(total)
    }
    if stream.receivedEnd, stream.receive.count == 0 {
      stream.endDelivered = true
      retireIfOver(stream)
      return .end
    }
    return conn == nil ? .reset(0) : .wouldBlock
  }

  /// The next received bytes where they lie, for a reader that can use them there; empty when `read` would give none.
  /// Valid until the next call on the connection; `skip` them afterwards.
  public func peek(_ id: Int64) -> UnsafeRawBufferPointer {
    guard let stream = streams[id], !stream.discards, stream.resetCode == nil else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return stream.receive.contiguous(from: stream.receive.start)
  }

  /// Counts bytes that were `peek`ed as read.
  public func skip(_ id: Int64, _ count: Int) {
    guard let stream = streams[id], count > 0 else { return }
    let part = min(count, stream.receive.count)
    stream.receive.drop(to: stream.receive.start &+ UInt64(part), pool: pool)
    consumed(part, of: stream)
  }

  // MARK: Datagrams (RFC 9221)

  /// The largest datagram that fits into a packet now; `nil` when the other end takes none. Falls when the path does.
  public var maximumDatagramSize: Int? {
    guard let conn, state == .connected, let remote = ngtcp2_conn_get_remote_transport_params(conn),
      remote.pointee.max_datagram_frame_size > 3, let dcid = ngtcp2_conn_get_dcid(conn)
    else { return nil }
    // A short header with a four-byte packet number, the frame's type and two-byte length, the AEAD's tag.
    let overhead = 1 + dcid.pointee.datalen + 4 + 3 + 16
    let fits = ngtcp2_conn_get_path_max_tx_udp_payload_size(conn) - overhead
    return min(fits, Int(clamping: remote.pointee.max_datagram_frame_size) - 3)
  }

  /// `false` when the datagram cannot be sent: too large, none taken by the other end, or the queue is full.
  public func sendDatagram(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let limit = maximumDatagramSize, bytes.count <= limit, outgoingDatagrams.append(bytes) else { return false }
    host?.touch(self)
    return true
  }

  /// Whether more datagrams wait than leave within `datagramDelay` at the present rate. A sender that hears so stops;
  /// `.datagramsSendable` follows.
  public func datagramsAreMany() -> Bool {
    guard outgoingDatagrams.used > datagramAllowance else { return false }
    datagramSenderWaits = true
    return true
  }

  /// How long a datagram should wait for its turn at the most.
  static let datagramDelay = TimeSpan.milliseconds(3)

  /// Bytes that leave within `datagramDelay`: the congestion window crosses in a round trip. Never less than a few
  /// packets, never more than half the ring, so that a batch always fits behind what waits.
  var datagramAllowance: Int {
    min(max(bytes(in: Self.datagramDelay), 16 << 10), settings.datagramQueue / 2)
  }

  /// The oldest datagram that came, and its length; `nil` when there is none. One that is larger than the buffer is
  /// cut to it.
  public func receiveDatagram(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
    guard let datagram = incomingDatagrams.first() else { return nil }
    let part = min(datagram.count, buffer.count)
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: datagram[..<part]))
    incomingDatagrams.removeFirst()
    return part
  }

  /// The oldest datagram where it lies; valid until the next call on the connection. `dropDatagram` it afterwards.
  public func peekDatagram() -> UnsafeRawBufferPointer? { incomingDatagrams.first() }

  public func dropDatagram() { incomingDatagrams.removeFirst() }

  // MARK: Inside

  func enqueue(_ stream: QUICStream) {
    guard !stream.isReady, !stream.isBlocked, stream.hasSomethingToSend else { return }
    stream.isReady = true
    ready.append(stream)
    host?.touch(self)
  }

  /// Takes the stream out of the lists of those that want to send.
  func withdraw(_ stream: QUICStream) {
    if stream.isReady, let index = ready.firstIndex(where: { $0 === stream }) {
      ready.remove(at: index)
      stream.isReady = false
    }
    if stream.isBlocked {
      waiting.removeAll { $0 === stream }
      stream.isBlocked = false
    }
  }

  private func consumed(_ count: Int, of stream: QUICStream) {
    guard let conn else { return }
    _ = ngtcp2_conn_extend_max_stream_offset(conn, stream.id, UInt64(count))
    ngtcp2_conn_extend_max_offset(conn, UInt64(count))
    host?.touch(self)
  }

  func discardUnread(_ stream: QUICStream) {
    let unread = stream.receive.count
    guard unread > 0 else { return }
    stream.receive.drop(to: .max, pool: pool)
    if let conn { ngtcp2_conn_extend_max_offset(conn, UInt64(unread)) }
  }

  /// Forgets a stream that is over, and lets the other end open another in its place.
  func retireIfOver(_ stream: QUICStream) {
    guard stream.isOver, streams.removeValue(forKey: stream.id) != nil else { return }
    withdraw(stream)
    stream.send.drop(to: .max, pool: pool)
    stream.receive.drop(to: .max, pool: pool)
    if let conn, ngtcp2_conn_is_local_stream(conn, stream.id) == 0 {
      ngtcp2_conn_extend_max_streams_bidi(conn, 1)
    }
    post(.streamClosed(stream.id))
  }
}
