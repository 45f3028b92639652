import HTTPProxy
import Values

enum HTTPPlace: Int, CaseIterable {
  case request, response, incomplete, refused, tunnel, resource, noTarget, credentials, upgrade
  case ambiguous, counted, chunked, untilClose, whole, truncated, badChunk
}

/// First byte: a request, a response, or a body.
func fuzzHTTP(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 3 {
  case 0: try fuzzRequest(&feed, &marks)
  case 1: try fuzzResponse(&feed, &marks)
  default: try fuzzBody(&feed, &marks)
  }
}

/// What a parser made of a stream: the first head, and where it ended, or what is wrong.
private enum Outcome<Head: Equatable>: Equatable {
  case needsMore
  case head(Head, Int)
  case failure(HTTPError)
}

private typealias Parse<Head> = (inout HTTPHeadParser, UnsafeRawBufferPointer) throws(HTTPError) ->
  HTTPHeadParser
  .Outcome<Head>

private func parse<Head: Equatable>(
  _ reads: [ArraySlice<UInt8>], _ parse: Parse<Head>
) throws(Breach) -> Outcome<Head> {
  var parser = HTTPHeadParser()
  var pending: [UInt8] = []
  for read in reads {
    pending += read
    let outcome = try exactly(pending) { memory throws(Breach) -> Outcome<Head> in
      do throws(HTTPError) {
        switch try parse(&parser, UnsafeRawBufferPointer(memory)) {
        case .needsMore: return .needsMore
        case .head(let head, let consumed): return .head(head, consumed)
        }
      } catch { return .failure(error) }
    }
    if outcome != .needsMore { return outcome }
  }
  return .needsMore
}

/// Nothing that is passed on may be read as two by the next one: what is written reads as what was meant, and has one
/// empty line, at its end.
private func checkWritten(_ bytes: [UInt8]) throws(Breach) {
  let end = Array("\r\n\r\n".utf8)
  let first = bytes.indices.first { bytes[$0...].starts(with: end) }
  try check(first == bytes.count - 4, "a head that ends twice: \(String(decoding: bytes, as: UTF8.self))")
  for index in bytes.indices {
    if bytes[index] == 0x0A { try check(index > 0 && bytes[index - 1] == 0x0D, "a bare line feed") }
    if bytes[index] == 0x0D { try check(index + 1 < bytes.count && bytes[index + 1] == 0x0A, "a bare return") }
    try check(bytes[index] != 0, "a zero")
  }
}

private func fuzzRequest(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let sizes = feed.bytes(3)
  let stream = feed.all()
  let read: Parse<HTTPRequestHead> = { (parser, bytes) throws(HTTPError) in try parser.request(bytes) }
  let whole = try parse([stream[...]], read)
  let cut = try parse(pieces(stream, sizes: sizes), read)
  switch (whole, cut) {
  // What is wrong may show earlier than something else that is wrong.
  case (.failure, .failure): marks.reach(HTTPPlace.refused)
  default: try check(whole == cut, "\(whole) and \(cut)")
  }
  if whole == .needsMore { marks.reach(HTTPPlace.incomplete) }
  guard case .head(let head, let consumed) = whole else { return }
  marks.reach(HTTPPlace.request)
  try check(consumed <= min(stream.count, HTTPLimits.head + 8), "took \(consumed)")
  try check(head.headers.fields.count <= HTTPLimits.fields, "\(head.headers.fields.count) fields")
  let written = head.encode()
  try checkWritten(written)
  try check(try parse([written[...]], read) == .head(head, written.count), "read otherwise")
  if head.proxyCredentials != nil { marks.reach(HTTPPlace.credentials) }
  if head.upgrade != nil { marks.reach(HTTPPlace.upgrade) }
  do throws(HTTPError) { _ = try head.bodyLength() } catch { marks.reach(HTTPPlace.ambiguous) }
  switch head.destination {
  case .tunnel(let target)?:
    marks.reach(HTTPPlace.tunnel)
    try check(target.port != 0 && !target.host.isEmpty, "\(target)")
    let ours = try need(HTTPRequestHead.connect(to: target), "cannot be asked for: \(target)")
    try checkWritten(ours.encode())
    try check(ours.destination?.tunnel?.port == target.port, "\(target)")
  case .resource(let target, let authority, let path)?:
    marks.reach(HTTPPlace.resource)
    try check(target.port != 0 && !target.host.isEmpty && !path.isEmpty, "\(target)")
    let forwarded = try need(head.forwarded(authority: authority, path: path), "cannot be passed on")
    try checkWritten(forwarded.encode())
    try check(forwarded.headers["Host"].map(\.text) == [authority], "\(forwarded)")
    for field in ["Proxy-Authorization", "Proxy-Connection", "Keep-Alive"] {
      try check(!forwarded.headers.has(field), "\(field) travels on")
    }
    // The next one sees the body that we see.
    try check(length(of: forwarded) == length(of: head), "another length")
  case nil: marks.reach(HTTPPlace.noTarget)
  }
}

private func length(of head: HTTPRequestHead) -> Result<HTTPBody.Length, HTTPError> {
  do throws(HTTPError) {
    return .success(try head.bodyLength())
  } catch { return .failure(error) }
}

extension HTTPTarget {
  fileprivate var tunnel: HostPort? { if case .tunnel(let target) = self { target } else { nil } }
}

private func fuzzResponse(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let sizes = feed.bytes(3)
  let stream = feed.all()
  let read: Parse<HTTPResponseHead> = { (parser, bytes) throws(HTTPError) in try parser.response(bytes) }
  let whole = try parse([stream[...]], read)
  let cut = try parse(pieces(stream, sizes: sizes), read)
  switch (whole, cut) {
  case (.failure, .failure): marks.reach(HTTPPlace.refused)
  default: try check(whole == cut, "\(whole) and \(cut)")
  }
  if whole == .needsMore { marks.reach(HTTPPlace.incomplete) }
  guard case .head(let head, let consumed) = whole else { return }
  marks.reach(HTTPPlace.response)
  try check(consumed <= stream.count && (100...999).contains(head.status), "took \(consumed)")
  for isLast in [true, false] {
    let forwarded = head.forwarded(isLast: isLast)
    let written = forwarded.encode()
    try checkWritten(written)
    try check(try parse([written[...]], read) == .head(forwarded, written.count), "read otherwise")
  }
  do throws(HTTPError) {
    _ = try head.bodyLength(toMethod: "GET")
  } catch { marks.reach(HTTPPlace.ambiguous) }
}

/// The kind, sizes of reads, then the body: cut the same in any split.
private func fuzzBody(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let kind = feed.byte()
  let sizes = feed.bytes(3)
  let stream = feed.all()
  let length: HTTPBody.Length =
    switch kind % 4 {
    case 0: .bytes(UInt64(kind))
    case 1: .untilClose
    default: .chunked
    }
  switch length {
  case .bytes: marks.reach(HTTPPlace.counted)
  case .chunked: marks.reach(HTTPPlace.chunked)
  case .untilClose: marks.reach(HTTPPlace.untilClose)
  case .none: break
  }
  let whole = try take([stream[...]], length)
  let cut = try take(pieces(stream, sizes: sizes), length)
  guard whole.error == nil, cut.error == nil else {
    marks.reach(HTTPPlace.badChunk)
    try check(whole.error == cut.error, "\(whole) and \(cut)")
    return
  }
  try check(whole.count == cut.count && whole.isComplete == cut.isComplete, "\(whole) and \(cut)")
  if whole.isComplete { marks.reach(HTTPPlace.whole) } else { marks.reach(HTTPPlace.truncated) }
  try check(whole.isComplete || whole.count == stream.count, "bytes are left of a body that is not over")
}

private func take(
  _ reads: [ArraySlice<UInt8>], _ length: HTTPBody.Length
) throws(Breach) -> (count: Int, isComplete: Bool, error: HTTPError?) {
  var body = HTTPBody(length)
  var total = 0
  for read in reads {
    let result = try exactly(read) { memory throws(Breach) -> Result<Int, HTTPError> in
      do throws(HTTPError) {
        return .success(try body.take(UnsafeRawBufferPointer(memory)))
      } catch { return .failure(error) }
    }
    switch result {
    case .failure(let error): return (total, false, error)
    case .success(let count):
      try check(count >= 0 && count <= read.count, "took \(count) of \(read.count)")
      total += count
      if count < read.count { return (total, body.isComplete, nil) }
    }
  }
  return (total, body.isComplete, nil)
}
