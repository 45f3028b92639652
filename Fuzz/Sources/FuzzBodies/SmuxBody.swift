import Smux
import Values

enum SmuxPlace: Int, CaseIterable {
  case opened, data, ended, abandoned, refused, stray, update, full
  case version, unknownCommand, length, foreignStream, reopened, consumedTooMuch, silent
  case twoEnds, shortWrite, secondWriter, halfClosed, carried
}

/// First byte: bytes for one end, or calls at two ends that talk to each other. Second: the settings.
func fuzzSmux(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  let isPair = feed.byte() % 2 == 1
  let choices = feed.byte()
  let settings = SmuxSettings(
    version: choices & 1 == 0 ? .one : .two, maximumFrame: choices & 2 == 0 ? 100 : 32_768,
    receiveBuffer: choices & 4 == 0 ? 4 << 20 : 1_000, streamBuffer: choices & 8 == 0 ? 100 : 65_536,
    maximumStreams: choices & 16 == 0 ? 3 : 1_024)
  if isPair {
    try checkPair(&feed, settings, &marks)
  } else {
    let side: SmuxSession.Side = choices & 32 == 0 ? .server : .client
    let sizes = feed.bytes(4)
    let stream = feed.all()
    let whole = try read([stream[...]], side, settings, &marks)
    let inPieces = try read(pieces(stream, sizes: sizes), side, settings, &marks)
    try check(whole == inPieces, "pieces read otherwise: \(whole) and \(inPieces)")
  }
}

/// What an end makes of bytes, when all is read at the end.
private struct Outcome: Equatable {
  var opened: [UInt32] = []
  var data: [UInt32: [UInt8]] = [:]
  var ended: Set<UInt32> = []
  var abandoned: Set<UInt32> = []
  var counts = SmuxCounts()
  var failure: SmuxError?
}

private let start = Instant(nanoseconds: 0)

private func read(
  _ pieces: [ArraySlice<UInt8>], _ side: SmuxSession.Side, _ settings: SmuxSettings, _ marks: inout Marks
) throws(Breach) -> Outcome {
  var session = SmuxSession(side: side, settings: settings, at: start)
  // One stream of ours, so that there are windows and updates for what we write.
  let ours = try need(session.open(), "no stream")
  let written = [UInt8](repeating: 7, count: 200)
  _ = written.withUnsafeBytes { session.write(ours, $0) }
  var outcome = Outcome()
  for piece in pieces {
    let before = session.counts
    try exactly(piece) { memory throws(Breach) in
      do throws(SmuxError) { try session.receive(UnsafeRawBufferPointer(memory), at: start) } catch {
        outcome.failure = error
      }
      session.settle()
    }
    if session.counts.refusedStreams > before.refusedStreams { marks.reach(SmuxPlace.refused) }
    if session.counts.strayFrames > before.strayFrames { marks.reach(SmuxPlace.stray) }
    if outcome.failure != nil { break }
  }
  if !session.wantsInput, outcome.failure == nil { marks.reach(SmuxPlace.full) }
  while let event = session.pollEvent() {
    switch event {
    case .opened(let id):
      marks.reach(SmuxPlace.opened)
      outcome.opened.append(id)
    case .abandoned(let id):
      marks.reach(SmuxPlace.abandoned)
      outcome.abandoned.insert(id)
    case .readable: break
    }
  }
  try check(session.streamCount == outcome.opened.count + 1, "\(session.streamCount) streams")
  try check(outcome.opened.count <= settings.maximumStreams, "\(outcome.opened.count) streams opened")
  var buffer = [UInt8](repeating: 0, count: 37)
  for id in outcome.opened + [ours] {
    var data: [UInt8] = []
    let promised = session.unread(id)
    var isOver = false
    while !isOver {
      switch buffer.withUnsafeMutableBytes({ session.read(id, into: $0) }) {
      case .bytes(let count):
        try check(count > 0 && count <= buffer.count, "read \(count)")
        data += buffer[..<count]
      case .blocked: isOver = true
      case .end:
        outcome.ended.insert(id)
        isOver = true
      }
    }
    try check(data.count == promised, "\(data.count) of \(promised)")
    if !data.isEmpty { marks.reach(SmuxPlace.data) }
    outcome.data[id] = data
    session.close(id)
  }
  if !outcome.ended.isEmpty { marks.reach(SmuxPlace.ended) }
  try check(session.streamCount == 0, "streams are left")
  outcome.counts = session.counts
  try checkFailure(outcome, &session, &marks)
  try checkOutput(session.output, version: UInt8(settings.version.rawValue))
  return outcome
}

private func checkFailure(
  _ outcome: Outcome, _ session: inout SmuxSession, _ marks: inout Marks
) throws(Breach) {
  try check(session.failure == outcome.failure, "\(String(describing: session.failure))")
  switch outcome.failure {
  case nil: try check(session.wantsInput, "all was read, and nothing is wanted")
  case .version: marks.reach(SmuxPlace.version)
  case .unknownCommand: marks.reach(SmuxPlace.unknownCommand)
  case .length: marks.reach(SmuxPlace.length)
  case .foreignStream: marks.reach(SmuxPlace.foreignStream)
  case .streamReopened: marks.reach(SmuxPlace.reopened)
  case .consumedTooMuch: marks.reach(SmuxPlace.consumedTooMuch)
  // It takes more bytes than an input should have.
  case .windowExceeded: break
  case .silent: throw Breach(description: "silent")
  }
}

/// What leaves is whole frames of our version.
private func checkOutput(_ output: UnsafeRawBufferPointer, version: UInt8) throws(Breach) {
  var offset = 0
  while offset < output.count {
    try check(output.count - offset >= 8, "half a header")
    try check(output[offset] == version && output[offset + 1] <= 4, "header")
    offset += 8 + Int(output[offset + 2]) + Int(output[offset + 3]) << 8
  }
  try check(offset == output.count, "half a frame")
}

/// Calls at two ends, one byte each or two: what is read is what was written, in order.
private func checkPair(_ feed: inout Feed, _ settings: SmuxSettings, _ marks: inout Marks) throws(Breach) {
  marks.reach(SmuxPlace.twoEnds)
  let pair = Pair(settings)
  while !feed.isEmpty {
    let call = feed.byte()
    try pair.call(call, with: feed.byte(), &marks)
  }
  try pair.settle(&marks)
}

/// Streams are made by the client and known to both; every byte's value follows from its place in its stream.
private final class Pair {
  private var client: SmuxSession
  private var server: SmuxSession
  private var now = start
  private var wires: [[UInt8]] = [[], []]
  private var streams: [UInt32] = []
  private var written: [[UInt32: Int]] = [[:], [:]]
  private var read: [[UInt32: Int]] = [[:], [:]]
  private var finished: [Set<UInt32>] = [[], []]
  private var closed: [Set<UInt32>] = [[], []]
  private var isOver = false

  init(_ settings: SmuxSettings) {
    client = SmuxSession(side: .client, settings: settings, at: start)
    server = SmuxSession(side: .server, settings: settings, at: start)
  }

  private func with<Result>(_ side: Int, _ body: (inout SmuxSession) -> Result) -> Result {
    side == 0 ? body(&client) : body(&server)
  }

  func call(_ call: UInt8, with argument: UInt8, _ marks: inout Marks) throws(Breach) {
    guard !isOver else { return }
    let side = Int(call >> 7)
    let chosen = streams.isEmpty ? nil : streams[Int(argument >> 5) % streams.count]
    let stream = chosen.flatMap { id in with(side) { $0.isOpen(id) } ? id : nil }
    let size = 1 << (Int(argument & 31) % 18)
    switch call & 7 {
    case 0:
      if streams.count - closed[0].intersection(closed[1]).count < 3, let id = client.open() {
        streams.append(id)
        try deliverAll()
      }
    case 1: if let stream { write(side, stream, size, &marks) }
    case 2:
      if let writer = with(side, { $0.nextWriter() }) {
        marks.reach(SmuxPlace.secondWriter)
        write(side, writer, size, &marks)
      }
    case 3: if let stream { try take(side, stream, size, &marks) }
    case 4:
      if let stream {
        finished[side].insert(stream)
        with(side) { $0.finish(stream) }
        marks.reach(SmuxPlace.halfClosed)
      }
    case 5:
      if let stream {
        finished[side].insert(stream)
        closed[side].insert(stream)
        with(side) { $0.close(stream) }
      }
    case 6: try pass(TimeSpan.milliseconds(Int64(size)), &marks)
    default:
      send(side, size)
      try deliver(to: 1 - side, size)
    }
  }

  private func write(_ side: Int, _ stream: UInt32, _ size: Int, _ marks: inout Marks) {
    let place = written[side][stream, default: 0]
    let bytes = (0..<min(size, 4_096)).map { UInt8(truncatingIfNeeded: (place + $0) ^ Int(stream)) }
    let isHeard = !finished[side].contains(stream) && !with(side) { $0.isAbandoned(stream) }
    let count = bytes.withUnsafeBytes { bytes in with(side) { $0.write(stream, bytes) } }
    if count < bytes.count { marks.reach(SmuxPlace.shortWrite) }
    if isHeard { written[side][stream] = place + count }
  }

  /// Reads once; false when there was nothing.
  @discardableResult
  private func take(_ side: Int, _ stream: UInt32, _ size: Int, _ marks: inout Marks) throws(Breach) -> Bool {
    guard with(side, { $0.isOpen(stream) }) else { return false }
    var buffer = [UInt8](repeating: 0, count: size)
    let before = with(side) { $0.output.count }
    switch buffer.withUnsafeMutableBytes({ buffer in with(side) { $0.read(stream, into: buffer) } }) {
    case .blocked: break
    case .end:
      try check(finished[1 - side].contains(stream), "an end that nobody made")
      try check(read[side][stream, default: 0] == written[1 - side][stream, default: 0], "an end before the end")
    case .bytes(let count):
      let place = read[side][stream, default: 0]
      try check(place + count <= written[1 - side][stream, default: 0], "more than was written")
      for index in 0..<count where buffer[index] != UInt8(truncatingIfNeeded: (place + index) ^ Int(stream)) {
        throw Breach(description: "stream \(stream): byte \(place + index)")
      }
      read[side][stream] = place + count
      marks.reach(SmuxPlace.carried)
      if with(side, { $0.output.count }) > before { marks.reach(SmuxPlace.update) }
      return true
    }
    return false
  }

  private func send(_ side: Int, _ size: Int) {
    let bytes = with(side) { Array($0.output.prefix(size)) }
    with(side) { $0.consumeOutput(bytes.count) }
    wires[side] += bytes
  }

  private func deliver(to side: Int, _ size: Int) throws(Breach) {
    guard with(side, { $0.wantsInput }) else { return }
    let bytes = wires[1 - side].prefix(size)
    let failure = try exactly(bytes) { memory throws(Breach) -> SmuxError? in
      with(side) { session in
        defer { session.settle() }
        do throws(SmuxError) { try session.receive(UnsafeRawBufferPointer(memory), at: now) } catch { return error }
        while session.pollEvent() != nil {}
        return nil
      }
    }
    wires[1 - side].removeFirst(bytes.count)
    if let failure { throw Breach(description: "our own end breaks the protocol: \(failure)") }
  }

  private func deliverAll() throws(Breach) {
    for side in 0...1 {
      send(side, .max)
      try deliver(to: 1 - side, .max)
    }
  }

  private func pass(_ span: TimeSpan, _ marks: inout Marks) throws(Breach) {
    now = now + span
    for side in 0...1 {
      let failure = with(side) { session -> SmuxError? in
        guard let deadline = session.nextDeadline(), deadline <= now else { return nil }
        do throws(SmuxError) { try session.handleTimeout(at: now) } catch { return error }
        return nil
      }
      guard let failure else { continue }
      try check(failure == .silent, "\(failure)")
      marks.reach(SmuxPlace.silent)
      isOver = true
    }
  }

  /// Everything is carried and read: nothing is lost and nothing is left under way.
  func settle(_ marks: inout Marks) throws(Breach) {
    guard !isOver else { return }
    for _ in 0..<20 {
      try deliverAll()
      for side in 0...1 {
        for stream in streams {
          while try take(side, stream, 1 << 14, &marks) {}
        }
      }
    }
    try check(wires == [[], []] && client.output.isEmpty && server.output.isEmpty, "something does not leave")
    for side in 0...1 {
      for stream in streams where !closed[side].contains(stream) && !closed[1 - side].contains(stream) {
        try check(
          read[side][stream, default: 0] == written[1 - side][stream, default: 0], "bytes of stream \(stream) are lost")
      }
    }
  }
}
