import SOCKS
import Values

enum SOCKSPlace: Int, CaseIterable {
  case greeting, credentials, request, reply, four, fourByName, fourReply, incomplete, malformed
  case served, refused, secured, answered, failed
  case frames, emptyFrame, badName, badFrames, datagram
}

/// First byte: a message of each kind, a client at a server, a server at a client, frames of datagrams, or a datagram.
func fuzzSOCKS(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 11 {
  case 0: try message(feed.all(), &marks, .greeting, SOCKS5Greeting.decode) { $0.encode() }
  case 1: try message(feed.all(), &marks, .credentials, SOCKS5Credentials.decode) { $0.encode() }
  case 2: try message(feed.all(), &marks, .request, SOCKS5Request.decode) { $0.encode() }
  case 3: try message(feed.all(), &marks, .reply, SOCKS5Reply.decode) { $0.encode() }
  case 4: try four(feed.all(), &marks)
  case 5: try message(feed.all(), &marks, .fourReply, SOCKS4Reply.decode) { $0.encode() }
  case 6: try serve(&feed, &marks)
  case 7: try ask(&feed, &marks)
  case 8, 9: try frames(&feed, &marks)
  default: try datagram(feed.all(), &marks)
  }
}

private enum Outcome<Message> {
  case needs(Int)
  case message(Message, Int)
  case failure(SOCKSError)
}

private typealias Decode<Message> = (UnsafeRawBufferPointer) throws(SOCKSError) -> SOCKSDecoding<Message>

private func outcome<Message>(
  _ bytes: some Collection<UInt8>, _ decode: Decode<Message>
) throws(Breach) -> Outcome<Message> {
  try exactly(bytes) { memory throws(Breach) -> Outcome<Message> in
    do throws(SOCKSError) {
      switch try decode(UnsafeRawBufferPointer(memory)) {
      case .needs(let count): return .needs(count)
      case .message(let message, let consumed): return .message(message, consumed)
      }
    } catch { return .failure(error) }
  }
}

/// The beginning of a message never says anything that the whole takes back; what is written of what was read reads the
/// same.
private func message<Message: Equatable>(
  _ bytes: [UInt8], _ marks: inout Marks, _ place: SOCKSPlace, _ decode: Decode<Message>,
  _ encode: (Message) -> [UInt8]?
) throws(Breach) {
  let whole = try outcome(bytes, decode)
  switch whole {
  case .needs(let count):
    marks.reach(SOCKSPlace.incomplete)
    try check(count > 0, "needs \(count)")
  case .failure: marks.reach(SOCKSPlace.malformed)
  case .message(let message, let consumed):
    marks.reach(place)
    try check(consumed > 0 && consumed <= bytes.count, "took \(consumed) of \(bytes.count)")
    let again = try need(encode(message), "cannot be encoded: \(message)")
    guard case .message(let second, let length) = try outcome(again, decode), length == again.count else {
      throw Breach(description: "what was encoded is no message: \(again)")
    }
    // An address may be written in several ways; from the second time on it is written in one.
    try check(encode(second) == again, "\(message) became \(second)")
  }
  for length in Set((0..<bytes.count).prefix(300)) {
    switch (try outcome(bytes[..<length], decode), whole) {
    case (.needs(let count), .message(_, let consumed)):
      try check(count > 0 && length + count <= consumed, "at \(length) needs \(count) of \(consumed)")
    case (.needs(let count), _): try check(count > 0, "at \(length) needs \(count)")
    case (.message(_, let early), .message(_, let consumed)): try check(early == consumed, "\(early), \(consumed)")
    case (.failure(let early), .failure(let late)): try check(early == late, "\(early), then \(late)")
    default: throw Breach(description: "at \(length) of \(bytes.count): another outcome")
    }
  }
}

private func four(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  try message(bytes, &marks, .four, SOCKS4Request.decode) { $0.encode() }
  if case .message(let request, _) = try outcome(bytes, SOCKS4Request.decode), request.address.literal == nil {
    marks.reach(SOCKSPlace.fourByName)
  }
}

/// Choices of the server, sizes of reads, then the client's bytes: however they are cut, the server does the same.
private func serve(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let choices = feed.byte()
  let sizes = feed.bytes(3)
  let stream = feed.all()
  let whole = try served([stream[...]], choices, &marks)
  let cut = try served(pieces(stream, sizes: sizes), choices, &marks)
  // An address that cannot be read is refused with all that came; what came depends on the cut.
  try check(whole.steps == cut.steps, "\(whole.steps) and \(cut.steps)")
}

private func served(
  _ reads: [ArraySlice<UInt8>], _ choices: UInt8, _ marks: inout Marks
) throws(Breach) -> (steps: [String], left: Int) {
  var server = SOCKS5Server(wantsPassword: choices & 1 != 0, hasTLS: choices & 2 != 0)
  var pending: [UInt8] = []
  var steps: [String] = []
  var didLogIn = choices & 1 == 0
  for read in reads {
    pending += read
    reading: while true {
      var result: Result<(SOCKS5Server.Step, consumed: Int), SOCKSError>
      do throws(SOCKSError) {
        result = .success(try step(&server, pending))
      } catch { result = .failure(error) }
      guard case .success((var step, let consumed)) = result else {
        marks.reach(SOCKSPlace.malformed)
        return (steps + ["\(result)"], pending.count)
      }
      try check(consumed >= 0 && consumed <= pending.count, "took \(consumed) of \(pending.count)")
      pending.removeFirst(consumed)
      if case .credentials(let given) = step {
        let isAllowed = given.user == given.password
        didLogIn = didLogIn || isAllowed
        step = server.answer(isAllowed: isAllowed)
      }
      switch step {
      case .needs(let count):
        try check(count > 0, "needs \(count)")
        break reading
      case .startTLS:
        marks.reach(SOCKSPlace.secured)
        try check(choices & 2 != 0, "TLS without a certificate")
      case .request:
        marks.reach(SOCKSPlace.served)
        try check(didLogIn, "a request without a password")
        return (steps + ["\(step)"], pending.count)
      case .refuse:
        marks.reach(SOCKSPlace.refused)
        return (steps + ["\(step)"], pending.count)
      case .send, .credentials: break
      }
      steps.append("\(step)")
      try check(steps.count < 8, "\(steps)")
    }
  }
  return (steps, pending.count)
}

private func step(
  _ server: inout SOCKS5Server, _ bytes: [UInt8]
) throws(SOCKSError) -> (SOCKS5Server.Step, consumed: Int) {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return try server.step(UnsafeRawBufferPointer(copy))
}

/// Choices of the client, sizes of reads, then the server's bytes.
private func ask(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let choices = feed.byte()
  let sizes = feed.bytes(3)
  let stream = feed.all()
  let whole = try asked([stream[...]], choices, &marks)
  let cut = try asked(pieces(stream, sizes: sizes), choices, &marks)
  try check(whole == cut, "\(whole) and \(cut)")
}

private func asked(
  _ reads: [ArraySlice<UInt8>], _ choices: UInt8, _ marks: inout Marks
) throws(Breach) -> [String] {
  let credentials = SOCKS5Credentials(user: [1], password: [2])
  var client = try need(
    SOCKS5Client(
      request: SOCKS5Request(.connect, HostPort(host: "a", port: 1)), credentials: choices & 1 != 0 ? credentials : nil,
      offersTLS: choices & 2 != 0), "no client")
  var pending: [UInt8] = []
  var steps: [String] = []
  for read in reads {
    pending += read
    reading: while true {
      let step: SOCKS5Client.Step
      do throws(SOCKSError) {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: pending.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyBytes(from: pending)
        let (next, consumed) = try client.step(UnsafeRawBufferPointer(copy))
        step = next
        pending.removeFirst(min(consumed, pending.count))
      } catch {
        marks.reach(SOCKSPlace.malformed)
        return steps + ["\(error)"]
      }
      steps.append("\(step)")
      switch step {
      case .needs(let count):
        try check(count > 0, "needs \(count)")
        steps.removeLast()
        break reading
      case .startTLS:
        try check(choices & 2 != 0, "TLS that was not offered")
        steps.append("\(client.secured())")
      case .reply:
        marks.reach(SOCKSPlace.answered)
        return steps
      case .failed:
        marks.reach(SOCKSPlace.failed)
        return steps
      case .send: break
      }
      try check(steps.count < 8, "\(steps)")
    }
  }
  return steps
}

/// Sizes of reads, then frames: found the same in any split, and written as they were read.
private func frames(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let sizes = feed.bytes(4)
  let stream = feed.all()
  let whole = try scan([stream[...]])
  let cut = try scan(pieces(stream, sizes: sizes))
  try check(whole.payloads == cut.payloads && whole.error == cut.error, "pieces read otherwise")
  if whole.error != nil { marks.reach(SOCKSPlace.badFrames) }
  if !whole.payloads.isEmpty { marks.reach(SOCKSPlace.frames) }
  for (address, payload) in zip(whole.addresses, whole.payloads) {
    if payload.isEmpty { marks.reach(SOCKSPlace.emptyFrame) }
    let name: HostPort? = try exactly(address) { memory throws(Breach) in
      try? SOCKSAddress.decode(UnsafeRawBufferPointer(memory))
    }
    guard let name else {
      marks.reach(SOCKSPlace.badName)
      continue
    }
    let encoded = try need(SOCKSAddress.encode(name), "cannot be encoded: \(name)")
    var bytes: [UInt8] = []
    let isFramed = try exactly(payload) { memory throws(Breach) in
      DatagramTunnel.append(UnsafeRawBufferPointer(memory), address: encoded, to: &bytes)
    }
    try check(isFramed == !payload.isEmpty, "an empty datagram is framed")
    if isFramed {
      let again = try scan([bytes[...]])
      try check(again.payloads == [payload] && again.addresses == [encoded], "\(bytes)")
    }
  }
}

private func scan(
  _ reads: [ArraySlice<UInt8>]
) throws(Breach) -> (addresses: [[UInt8]], payloads: [[UInt8]], error: SOCKSError?) {
  var pending: [UInt8] = []
  var addresses: [[UInt8]] = []
  var payloads: [[UInt8]] = []
  for read in reads {
    pending += read
    var offset = 0
    reading: while true {
      let rest = pending[offset...]
      switch try outcome(rest, { bytes throws(SOCKSError) in try DatagramTunnel.frame(in: bytes, at: 0) }) {
      case .needs(let count):
        try check(count > 0, "needs \(count)")
        break reading
      case .failure(let error): return (addresses, payloads, error)
      case .message(let frame, let consumed):
        try check(consumed <= rest.count && frame.payload.upperBound == consumed, "\(frame) in \(consumed)")
        addresses.append(Array(rest.dropFirst(frame.address.lowerBound).prefix(frame.address.count)))
        payloads.append(Array(rest.dropFirst(frame.payload.lowerBound).prefix(frame.payload.count)))
        offset += consumed
      }
    }
    pending.removeFirst(offset)
  }
  return (addresses, payloads, nil)
}

private func datagram(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  let parts = try exactly(bytes) { memory throws(Breach) in SOCKS5Datagram.parts(UnsafeRawBufferPointer(memory)) }
  guard let parts else { return }
  marks.reach(SOCKSPlace.datagram)
  try check(parts.address.upperBound == parts.payload.lowerBound && parts.payload.upperBound == bytes.count, "\(parts)")
  var again: [UInt8] = []
  SOCKS5Datagram.appendHeader(address: Array(bytes[parts.address]), to: &again)
  try check(again.dropFirst(2) == bytes[2..<parts.payload.lowerBound], "\(again)")
}
