import Values
import WebSocket

enum WebSocketPlace: Int, CaseIterable {
  case payload, severalReads, ping, close, leftInFrame, reserved, opcode, mask, control, order, tooLong, badClose
  case request, answer, needsMore, notHTTP, tls, malformed, refusedRequest, refusedAnswer, written
}

/// First byte: frames as a client or as a server reads them, a request, an answer, or payload to be written.
func fuzzWebSocket(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 5 {
  case 0: try checkFrames(&feed, .client, &marks)
  case 1: try checkFrames(&feed, .server, &marks)
  case 2: try checkRequest(feed.all(), &marks)
  case 3: try checkAnswer(feed.all(), &marks)
  default: try checkWriting(&feed, &marks)
  }
}

/// What a reader saw, or what ended it.
private struct Reading: Equatable {
  var payload: [UInt8] = []
  var close: WebSocketReceiver.Close?
  var isAtBoundary = true
  var error: WebSocketError?
}

/// Four sizes of reads, then the stream.
private func checkFrames(
  _ feed: inout Feed, _ role: WebSocketReceiver.Role, _ marks: inout Marks
) throws(Breach) {
  let sizes = feed.bytes(4)
  let stream = feed.all()
  let whole = try read([stream[...]], role, &marks)
  let inPieces = try read(pieces(stream, sizes: sizes), role, &marks)
  try check(whole.error == inPieces.error, "\(String(describing: whole.error)), \(String(describing: inPieces.error))")
  if let error = whole.error {
    try check(error.isViolation, "\(error)")
    switch error {
    case .reservedBits: marks.reach(WebSocketPlace.reserved)
    case .unknownOpcode: marks.reach(WebSocketPlace.opcode)
    case .masked, .notMasked: marks.reach(WebSocketPlace.mask)
    case .fragmentedControl, .longControl: marks.reach(WebSocketPlace.control)
    case .nothingToContinue, .messageInMessage: marks.reach(WebSocketPlace.order)
    case .frameTooLong: marks.reach(WebSocketPlace.tooLong)
    case .badClose: marks.reach(WebSocketPlace.badClose)
    default: throw Breach(description: "a frame gives \(error)")
    }
  } else {
    try check(whole == inPieces, "pieces are read otherwise")
    let slow = slowPayload(stream)
    try check(whole.payload == slow, "\(whole.payload.count) bytes of payload in place of \(slow.count)")
  }
  try check(whole.payload.count + inPieces.payload.count <= 2 * stream.count, "more payload than bytes")
}

private func read(
  _ pieces: [ArraySlice<UInt8>], _ role: WebSocketReceiver.Role, _ marks: inout Marks
) throws(Breach) -> Reading {
  var receiver = WebSocketReceiver(role: role)
  var reading = Reading()
  for piece in pieces {
    let (count, payload, error) = try exactly(piece) { memory throws(Breach) -> (Int, [UInt8], WebSocketError?) in
      do throws(WebSocketError) {
        let count = try receiver.receive(memory)
        return (count, Array(memory.prefix(max(count, 0))), nil)
      } catch { return (0, [], error) }
    }
    try check(count >= 0 && count <= piece.count, "\(count) of \(piece.count)")
    if let error {
      reading.error = error
      return reading
    }
    reading.payload += payload
    if let ping = receiver.takePing() {
      marks.reach(WebSocketPlace.ping)
      try check(ping.count <= WebSocketFrame.maximumControlPayload, "a ping of \(ping.count)")
    }
  }
  reading.close = receiver.close
  reading.isAtBoundary = receiver.isAtBoundary
  if pieces.count > 1, !reading.payload.isEmpty { marks.reach(WebSocketPlace.severalReads) }
  if !reading.payload.isEmpty { marks.reach(WebSocketPlace.payload) }
  if !receiver.isAtBoundary { marks.reach(WebSocketPlace.leftInFrame) }
  if let close = receiver.close {
    marks.reach(WebSocketPlace.close)
    try check(close.reason.count <= 123 && close.code?.mayBeSent != false, "\(close)")
  }
  return reading
}

/// The slow way: one frame after another, each as a whole.
private func slowPayload(_ stream: [UInt8]) -> [UInt8] {
  var payload: [UInt8] = []
  var rest = stream[...]
  while rest.count >= 2 {
    let opcode = rest[rest.startIndex] & 15
    let second = rest[rest.startIndex + 1]
    let lengthSize = second & 127 == 127 ? 8 : second & 127 == 126 ? 2 : 0
    let keySize = second & 128 != 0 ? 4 : 0
    let head = 2 + lengthSize + keySize
    guard rest.count >= head else { return payload }
    let numbers = Array(rest.dropFirst(2).prefix(lengthSize))
    let length = lengthSize == 0 ? UInt64(second & 127) : numbers.reduce(0) { $0 << 8 | UInt64($1) }
    let key = Array(rest.dropFirst(2 + lengthSize).prefix(keySize))
    let body = rest.dropFirst(head).prefix(Int(clamping: length))
    if opcode == 8, body.count == length { return payload }
    if opcode <= 2 {
      payload += body.enumerated().map { key.isEmpty ? $1 : $1 ^ key[$0 % 4] }
    }
    guard body.count == length else { return payload }
    rest = rest.dropFirst(head + body.count)
  }
  return payload
}

/// What a message is written as is what the other end reads.
private func checkWriting(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let isClient = feed.byte() & 1 == 0
  let kind = WebSocketFrame.Kind(rawValue: [1, 2, 8, 9, 10][Int(feed.byte() % 5)]) ?? .binary
  let key: UInt32? = isClient ? feed.number32() : nil
  // The payload over and over, for lengths that need more than one byte.
  let repeats = [1, 1, 1, 130, 70_000][Int(feed.byte() % 5)]
  var payload = feed.all()
  if !payload.isEmpty {
    payload = Array(repeatElement(payload, count: min(repeats, 70_000 / payload.count + 1)).joined())
  }
  let head = WebSocketFrame.headerSize(payload: payload.count, isMasked: isClient)
  let mayBe = !kind.isControl || payload.count <= WebSocketFrame.maximumControlPayload
  for room in [head + payload.count, head + payload.count - 1] {
    let frame = try exactly([UInt8](repeating: 0xA5, count: room)) { space throws(Breach) in
      let count = payload.withUnsafeBytes { WebSocketFrame.write(kind, $0, mask: key, into: space) }
      return Array(space[..<count])
    }
    guard mayBe, room == head + payload.count else {
      try check(frame.isEmpty, "\(frame.count) bytes in \(room)")
      continue
    }
    try check(frame.count == room, "\(frame.count) bytes")
    let validClose = kind != .close || payload.isEmpty
    guard validClose else { continue }
    let reading = try read([frame[...]], isClient ? .server : .client, &marks)
    try check(reading.error == nil && reading.isAtBoundary, "\(String(describing: reading.error))")
    try check(reading.payload == (kind.isControl ? [] : payload), "another payload")
    marks.reach(WebSocketPlace.written)
  }
}

/// SHA-1 is handed in; anything will do that depends on its input.
private func digest(_ bytes: [UInt8]) -> [UInt8] {
  var state: UInt64 = 0xCBF2_9CE4_8422_2325
  return (0..<20).map { _ in
    for byte in bytes { state = (state ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return UInt8(truncatingIfNeeded: state >> 32)
  }
}

private func checkRequest(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  guard let server = try? WebSocketServerHandshake(path: "/ws") else { throw Breach(description: "no server") }
  let outcome = try headOutcome(bytes) {
    var server = server
    return { (bytes) throws(WebSocketError) in try server.read(bytes) }
  }
  switch outcome {
  case .needsMore: marks.reach(WebSocketPlace.needsMore)
  case .failure(let error):
    note(error, .refusedRequest, &marks)
    guard let refusal = WebSocketServerHandshake.refusal(for: error) else { return }
    try check(refusal.starts(with: Array("HTTP/1.1 ".utf8)) && refusal.suffix(4) == [13, 10, 13, 10], "\(refusal)")
  case .message(let request, let consumed):
    marks.reach(WebSocketPlace.request)
    try check(consumed <= bytes.count && request.path == "/ws", "\(request)")
    let answer = server.answer(to: request, sha1: digest)
    try check(answer.suffix(4) == [13, 10, 13, 10], "an answer without an end")
  }
}

private func checkAnswer(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  let client = try? WebSocketClientHandshake(
    host: "h", path: "/ws", nonce: [UInt8](repeating: 7, count: 16), sha1: { _ in [UInt8](repeating: 0, count: 20) })
  guard let client else { throw Breach(description: "no client") }
  let outcome = try headOutcome(bytes) {
    var client = client
    return { (bytes) throws(WebSocketError) in try client.read(bytes) }
  }
  switch outcome {
  case .needsMore: marks.reach(WebSocketPlace.needsMore)
  case .failure(let error): note(error, .refusedAnswer, &marks)
  case .message(_, let consumed):
    marks.reach(WebSocketPlace.answer)
    try check(consumed <= bytes.count, "\(consumed) of \(bytes.count)")
  }
}

private func note(_ error: WebSocketError, _ other: WebSocketPlace, _ marks: inout Marks) {
  switch error {
  case .notHTTP: marks.reach(WebSocketPlace.notHTTP)
  case .isTLS: marks.reach(WebSocketPlace.tls)
  case .malformedHead: marks.reach(WebSocketPlace.malformed)
  default: marks.reach(other)
  }
}

private enum HeadOutcome<Message> {
  case needsMore
  case message(Message, consumed: Int)
  case failure(WebSocketError)

  /// For a comparison; how much of the other end's words was there depends on how much had come.
  var summary: String {
    switch self {
    case .needsMore: "more"
    case .message(_, let consumed): "\(consumed)"
    case .failure(.notHTTP): "no HTTP"
    case .failure(.refused(let refusal)): "refused \(refusal.status)"
    case .failure(let error): "\(error)"
    }
  }
}

private typealias HeadRead<Message> = (UnsafeRawBufferPointer) throws(WebSocketError) -> WebSocketReading<Message>

/// A head that comes at once and one that grows say the same.
private func headOutcome<Message>(
  _ bytes: [UInt8], _ make: () -> HeadRead<Message>
) throws(Breach) -> HeadOutcome<Message> {
  let whole = try headOutcome(bytes, lengths: [bytes.count], make())
  let grown = try headOutcome(bytes, lengths: Array(stride(from: 1, to: bytes.count, by: 5)) + [bytes.count], make())
  try check(whole.summary == grown.summary, "\(whole.summary), then \(grown.summary)")
  return whole
}

private func headOutcome<Message>(
  _ bytes: [UInt8], lengths: [Int], _ read: HeadRead<Message>
) throws(Breach) -> HeadOutcome<Message> {
  for length in lengths {
    let outcome = try exactly(bytes[..<length]) { memory throws(Breach) -> HeadOutcome<Message> in
      do throws(WebSocketError) {
        switch try read(UnsafeRawBufferPointer(memory)) {
        case .needsMore: return .needsMore
        case .message(let message, let consumed): return .message(message, consumed: consumed)
        }
      } catch { return .failure(error) }
    }
    if case .needsMore = outcome { continue }
    return outcome
  }
  return .needsMore
}
