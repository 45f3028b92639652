import CulvertLink
import Values

enum LinkPlace: Int, CaseIterable {
  case hello, leg, notice, unknown, severalMessages, incomplete, malformed, tooLong, endpoint, transport
}

/// Four sizes of reads, then the stream.
func fuzzLink(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  let sizes = feed.bytes(4)
  let stream = feed.all()
  let whole = try read([stream[...]], &marks)
  let inPieces = try read(pieces(stream, sizes: sizes), &marks)
  if whole.error == nil {
    try check(inPieces.messages == whole.messages && inPieces.left == whole.left, "pieces read otherwise")
    if whole.left > 0 { marks.reach(LinkPlace.incomplete) }
  } else {
    // The whole is refused at once; in pieces, what stands before the fault may have been read.
    try check(inPieces.error == whole.error, "\(String(describing: inPieces.error))")
  }
  if whole.messages.count > 1 { marks.reach(LinkPlace.severalMessages) }
  for message in whole.messages + inPieces.messages { try checkAgain(message, &marks) }
  try checkCutting(String(decoding: stream, as: UTF8.self))
}

/// A text that is longer than a message may carry arrives cut off, between characters and as late as possible.
private func checkCutting(_ text: String) throws(Breach) {
  guard !text.isEmpty else { return }
  let long = String(repeating: text, count: 1_100 / text.utf8.count + 1)
  let bytes = LinkMessage.notice(stream: 4, text: long).encode()
  let decoded = try exactly(bytes) { memory throws(Breach) -> [LinkMessage] in
    do throws(LinkError) {
      return try LinkMessage.decode(UnsafeRawBufferPointer(memory)).0
    } catch { throw Breach(description: "own message is refused: \(error)") }
  }
  guard case .notice(4, let kept)? = decoded.first, decoded.count == 1 else {
    throw Breach(description: "\(decoded)")
  }
  try check(long.utf8.starts(with: kept.utf8), "another text")
  try check((1_021...1_024).contains(kept.utf8.count) || kept.utf8.count == long.utf8.count, "\(kept.utf8.count) bytes")
}

private func read(
  _ pieces: [ArraySlice<UInt8>], _ marks: inout Marks
) throws(Breach) -> (messages: [LinkMessage], left: Int, error: LinkError?) {
  var pending: [UInt8] = []
  var messages: [LinkMessage] = []
  for piece in pieces {
    pending += piece
    let before = pending
    let outcome = try exactly(before) { memory throws(Breach) -> Result<([LinkMessage], consumed: Int), LinkError> in
      do throws(LinkError) {
        return .success(try LinkMessage.decode(UnsafeRawBufferPointer(memory)))
      } catch { return .failure(error) }
    }
    switch outcome {
    case .success((let found, let consumed)):
      try check(consumed >= 0 && consumed <= pending.count, "took \(consumed) of \(pending.count)")
      try check(found.isEmpty || consumed > 0, "messages out of nothing")
      if consumed > 2, found.isEmpty { marks.reach(LinkPlace.unknown) }
      messages += found
      pending.removeFirst(consumed)
      // What is kept of a peer's bytes is bounded.
      try check(pending.count < 2 + LinkMessage.maximumLength, "\(pending.count) bytes are kept")
    case .failure(let error):
      switch error {
      case .malformed: marks.reach(LinkPlace.malformed)
      case .tooLong: marks.reach(LinkPlace.tooLong)
      }
      return (messages, pending.count, error)
    }
  }
  return (messages, pending.count, nil)
}

/// Encoding what was decoded gives the same message, but for names of layers, which are written shorter than they may
/// be read.
private func checkAgain(_ message: LinkMessage, _ marks: inout Marks) throws(Breach) {
  var isExact = true
  switch message {
  case .hello: marks.reach(LinkPlace.hello)
  case .notice: marks.reach(LinkPlace.notice)
  case .leg(_, let report):
    marks.reach(LinkPlace.leg)
    if report.local != nil || report.remote != nil { marks.reach(LinkPlace.endpoint) }
    if !report.transport.isEmpty { marks.reach(LinkPlace.transport) }
    isExact = report.transport.allSatisfy { $0.utf8.count <= 255 }
  }
  let bytes = message.encode()
  try check(bytes.count <= 2 + LinkMessage.maximumLength, "\(bytes.count) bytes")
  let decoded = try exactly(bytes) { memory throws(Breach) -> ([LinkMessage], consumed: Int) in
    do throws(LinkError) {
      return try LinkMessage.decode(UnsafeRawBufferPointer(memory))
    } catch { throw Breach(description: "own message is refused: \(error)") }
  }
  try check(decoded.consumed == bytes.count && decoded.0.count == 1, "\(decoded)")
  if isExact {
    try check(decoded.0 == [message], "\(message) became \(decoded.0)")
  } else {
    try check(decoded.0.first?.encode() == bytes, "encoding is not stable")
  }
}
