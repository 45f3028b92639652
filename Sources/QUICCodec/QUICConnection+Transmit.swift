/// From queued bytes to packets: runs of equal size, side by side in the caller's buffer.
///
/// A packet is filled with datagrams first, because they age, and then with the streams in turns; ngtcp2 adds what it
/// has to say itself. A packet that ends a run without fitting into it (a larger probe, another path, another ECN
/// mark) is already sealed and cannot be taken back: it is held and leaves first in the next call.
import CNgtcp2
import Values

extension QUICConnection {
  /// Writes packets to send into `buffer`, or says that there are none now. Call until it does; each call's packets
  /// go out with one system call where the kernel splits (`UDP_SEGMENT`).
  ///
  /// - Parameter buffer: at least 1500 bytes, or `maximumPacket` where that is more; 64 KiB make full use of a run.
  public func pollTransmit(into buffer: UnsafeMutableRawBufferPointer, at now: Instant) -> QUICTransmit? {
    let ts = tick(now)
    guard let base = buffer.baseAddress else { return nil }
    guard let conn else { return lastWords(buffer) }
    if let held = takeHeld(into: buffer) { return held }
    let usual = ngtcp2_conn_get_path_max_tx_udp_payload_size(conn)
    let largest = min(max(ngtcp2_conn_get_max_tx_udp_payload_size(conn), usual), buffer.count)
    guard usual <= buffer.count else { return nil }
    let limit = min(buffer.count, max(ngtcp2_conn_get_send_quantum(conn), usual), 65_000)
    releaseWaiting()

    var used = 0
    var segment = 0
    var ecn: UInt32 = 0
    while used == 0 || used + usual <= limit {
      let room = min(largest, buffer.count - used)
      var info = ngtcp2_pkt_info()
      let path = used == 0 ? firstPath : nextPath
      let written = writePacket(conn, path, &info, base + used, room, ts)
      if written < 0 {
        end(with: Int32(truncatingIfNeeded: written), ts)
        break
      }
      if written == 0 { break }
      if used == 0 {
        segment = written
        ecn = info.ecn
        used = written
        // A short packet ends the run, but datagrams have a size of their own and come in flights of it.
        if written != usual, !streamsGoFirst { break }
      } else if written > segment || info.ecn != ecn || ngtcp2_path_eq(firstPath.path, nextPath.path) == 0 {
        hold(base + used, written, path, info.ecn)
        break
      } else {
        used += written
        if written < segment { break }
      }
    }
    if let conn = self.conn { ngtcp2_conn_update_pkt_tx_time(conn, ts) }
    if datagramSenderWaits, outgoingDatagrams.used <= datagramAllowance / 2 {
      datagramSenderWaits = false
      post(.datagramsSendable)
    }
    guard used > 0, let ends = firstPath.endpoints else { return self.conn == nil ? lastWords(buffer) : nil }
    return QUICTransmit(
      length: used, segmentSize: segment, local: ends.local, remote: ends.remote, ecn: UInt8(truncatingIfNeeded: ecn))
  }

  /// One packet: its length, 0 when nothing can be sent now, or an error that ends the connection.
  private func writePacket(
    _ conn: OpaquePointer, _ path: PathStorage, _ info: inout ngtcp2_pkt_info, _ target: UnsafeMutableRawPointer,
    _ room: Int, _ ts: UInt64
  ) -> Int {
    let bytes = target.assumingMemoryBound(to: UInt8.self)
    let streamsFirst = streamsGoFirst && !ready.isEmpty
    streamsGoFirst = false
    if state == .connected {
      while !streamsFirst, !outgoingDatagrams.isEmpty, let datagram = outgoingDatagrams.first() {
        var vector = ngtcp2_vec(base: Self.mutable(datagram.baseAddress), len: datagram.count)
        var accepted: Int32 = 0
        // The library asserts that a vector is not empty.
        let count = datagram.count > 0 ? 1 : 0
        // A packet that cannot hold a second one of the kind is complete at once.
        let flags = 2 * datagram.count < room ? NGTCP2_WRITE_DATAGRAM_FLAG_MORE : 0
        let written = culvert_write_datagram(
          conn, path.path, &info, bytes, room, &accepted, flags, &vector, count, ts)
        // A packet may go out without the datagram, which is then tried again in the next.
        let refused = written == Int(NGTCP2_ERR_INVALID_STATE) || written == Int(NGTCP2_ERR_INVALID_ARGUMENT)
        let hopeless = written == 0 && datagram.count > (maximumDatagramSize ?? 0)
        if accepted != 0 || refused || hopeless { outgoingDatagrams.removeFirst() }
        if accepted != 0 { streamsGoFirst = true }
        if written == Int(NGTCP2_ERR_WRITE_MORE) || refused || hopeless { continue }
        return written
      }
      while let stream = nextReady() {
        let written = writeStream(stream, conn, path, &info, bytes, room, ts)
        if let written { return written }
      }
    }
    return culvert_write_stream(conn, path.path, &info, bytes, room, nil, 0, -1, nil, 0, ts)
  }

  /// Puts a stream's next bytes into the packet; `nil` when there is room for more in it.
  private func writeStream(
    _ stream: QUICStream, _ conn: OpaquePointer, _ path: PathStorage, _ info: inout ngtcp2_pkt_info,
    _ target: UnsafeMutablePointer<UInt8>, _ room: Int, _ ts: UInt64
  ) -> Int? {
    let first = stream.send.contiguous(from: stream.sent)
    let second = stream.send.contiguous(from: stream.sent &+ UInt64(first.count))
    let reachesEnd = stream.sent &+ UInt64(first.count + second.count) == stream.send.end
    var flags = NGTCP2_WRITE_STREAM_FLAG_MORE
    let finishes = stream.finishRequested && reachesEnd
    if finishes { flags |= NGTCP2_WRITE_STREAM_FLAG_FIN }
    var vectors = (
      ngtcp2_vec(base: Self.mutable(first.baseAddress), len: first.count),
      ngtcp2_vec(base: Self.mutable(second.baseAddress), len: second.count)
    )
    let count = second.count > 0 ? 2 : first.count > 0 ? 1 : 0
    var taken = -1
    // The pointer must cover both vectors: one to the first alone lets the optimiser leave the second unwritten.
    let written = withUnsafePointer(to: &vectors) { both in
      both.withMemoryRebound(to: ngtcp2_vec.self, capacity: 2) { start in
        culvert_write_stream(conn, path.path, &info, target, room, &taken, flags, stream.id, start, count, ts)
      }
    }
    if taken >= 0 {
      stream.sent &+= UInt64(taken)
      if finishes, stream.sent == stream.send.end { stream.finishSent = true }
      if !stream.hasSomethingToSend { withdraw(stream) }
    }
    switch Int32(truncatingIfNeeded: written) {
    case NGTCP2_ERR_WRITE_MORE:
      return nil
    case NGTCP2_ERR_STREAM_DATA_BLOCKED:
      withdraw(stream)
      stream.isBlocked = true
      waiting.append(stream)
      return nil
    case NGTCP2_ERR_STREAM_SHUT_WR, NGTCP2_ERR_STREAM_NOT_FOUND:
      withdraw(stream)
      if !stream.sendClosed {
        stream.sendClosed = true
        post(.streamStopped(stream.id))
      }
      return nil
    default:
      turn &+= 1
      return written
    }
  }

  private func nextReady() -> QUICStream? {
    guard !ready.isEmpty else { return nil }
    if turn >= ready.count { turn = 0 }
    return ready[turn]
  }

  /// Streams that waited try again after something came. ngtcp2 says nothing when the connection's window grows, nor
  /// when the other end stops a stream that has nothing in flight: only trying tells.
  private func releaseWaiting() {
    guard retriesWaiting else { return }
    retriesWaiting = false
    guard !waiting.isEmpty else { return }
    let released = waiting
    waiting.removeAll(keepingCapacity: true)
    for stream in released {
      stream.isBlocked = false
      enqueue(stream)
    }
  }

  // ngtcp2's vectors are declared mutable and only read.
  private static func mutable(_ pointer: UnsafeRawPointer?) -> UnsafeMutablePointer<UInt8>? {
    pointer.map { UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: UInt8.self) }
  }

  private func hold(_ packet: UnsafeMutableRawPointer, _ length: Int, _ path: PathStorage, _ ecn: UInt32) {
    guard let ends = path.endpoints else { return }
    heldPacket.removeAll(keepingCapacity: true)
    heldPacket.append(contentsOf: UnsafeRawBufferPointer(start: packet, count: length))
    heldTransmit = QUICTransmit(
      length: length, segmentSize: length, local: ends.local, remote: ends.remote,
      ecn: UInt8(truncatingIfNeeded: ecn))
  }

  private func takeHeld(into buffer: UnsafeMutableRawBufferPointer) -> QUICTransmit? {
    guard let held = heldTransmit, held.length <= buffer.count else { return nil }
    heldPacket.withUnsafeBytes { buffer.copyMemory(from: $0) }
    heldTransmit = nil
    return held
  }

  private func lastWords(_ buffer: UnsafeMutableRawBufferPointer) -> QUICTransmit? {
    guard closingPending else { return nil }
    closingPending = false
    guard closingPacket.count <= buffer.count else { return nil }
    closingPacket.withUnsafeBytes { buffer.copyMemory(from: $0) }
    return QUICTransmit(
      length: closingPacket.count, segmentSize: closingPacket.count, local: localEndpoint, remote: remoteEndpoint,
      ecn: 0)
  }
}
