/// One stream as the connection keeps it: what was written and not acknowledged, what came and was not read, and
/// which halves are over.
///
/// `ngtcp2` holds an unretained pointer to the stream from its opening to its `stream_close` callback; the
/// connection's table keeps the stream at least that long.
final class QUICStream {
  let id: Int64

  // What we send.
  var send = ByteQueue()
  /// The offset after the last byte that was put into a packet.
  var sent: UInt64 = 0
  var finishRequested = false
  var finishSent = false
  /// We reset our half, or the other end wants no more of it.
  var sendClosed = false
  /// In the connection's list of streams with something to send.
  var isReady = false
  /// Waits for the other end's flow control on this stream.
  var isBlocked = false
  /// `write` took less than it was given, so the writer waits for an event.
  var writerWaits = false

  // What we receive.
  var receive = ByteQueue()
  var receivedEnd = false
  /// `read` has returned the end or the reset.
  var endDelivered = false
  var resetCode: UInt64?
  /// Nobody wants the rest.
  var discards = false
  /// An event about it is in the queue.
  var readableQueued = false
  var writableQueued = false

  /// `ngtcp2` is done with the stream.
  var isTransportClosed = false

  init(id: Int64) { self.id = id }

  var hasSomethingToSend: Bool {
    !sendClosed && (sent < send.end || finishRequested && !finishSent)
  }

  /// Nothing of the stream is of use to anyone any more.
  var isOver: Bool {
    isTransportClosed && (discards || endDelivered || resetCode != nil)
  }
}
