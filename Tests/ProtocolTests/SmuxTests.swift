import Testing
import Values

@testable import Smux

/// One end of a session and what its owner saw.
final class SmuxEnd {
  var session: SmuxSession
  var opened: [UInt32] = []
  var data: [UInt32: [UInt8]] = [:]
  var ended: Set<UInt32> = []
  var abandoned: Set<UInt32> = []
  /// What left, for the wire.
  var sent: [UInt8] = []
  var now = Instant(nanoseconds: 0)
  /// Bytes of the first read of a stream, and whether anything is read at all when it arrives.
  var firstRead = Int.max
  var reads = true

  init(_ side: SmuxSession.Side, _ settings: SmuxSettings = SmuxSettings()) {
    session = SmuxSession(side: side, settings: settings, at: Instant(nanoseconds: 0))
  }

  func receive(_ bytes: some Collection<UInt8>) throws {
    // A copy that is gone when this returns: a session that kept a pointer would read freed memory.
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    defer {
      poll()
      session.settle()
    }
    try session.receive(UnsafeRawBufferPointer(copy), at: now)
  }

  func poll() {
    while let event = session.pollEvent() {
      switch event {
      case .opened(let id): opened.append(id)
      case .abandoned(let id): abandoned.insert(id)
      case .readable(let id): if reads { readAll(id) }
      }
    }
  }

  func readAll(_ id: UInt32) { while read(id, 1_000_000) {} }

  /// Reads once; false when there was nothing.
  @discardableResult
  func read(_ id: UInt32, _ limit: Int) -> Bool {
    let isFirst = data[id] == nil
    var buffer = [UInt8](repeating: 0, count: isFirst ? min(firstRead, limit) : limit)
    switch buffer.withUnsafeMutableBytes({ session.read(id, into: $0) }) {
    case .bytes(let count):
      data[id, default: []] += buffer[..<count]
      return count > 0
    case .end: ended.insert(id)
    case .blocked: break
    }
    return false
  }

  @discardableResult
  func write(_ id: UInt32, _ bytes: [UInt8]) -> Int { bytes.withUnsafeBytes { session.write(id, $0) } }

  /// Everything that is to be written below, taken away.
  @discardableResult
  func drain(_ limit: Int = .max) -> [UInt8] {
    let bytes = Array(session.output.prefix(limit))
    session.consumeOutput(bytes.count)
    sent += bytes
    return bytes
  }

  // What `#expect` asks goes through here: it cannot hold what is not copyable.
  var wantsInput: Bool { session.wantsInput }
  var output: [UInt8] { Array(session.output) }
  var streamCount: Int { session.streamCount }
  var counts: SmuxCounts { session.counts }
  var failure: SmuxError? { session.failure }
  var settings: SmuxSettings { session.settings }
  var nextDeadline: Instant? { session.nextDeadline() }

  func state(_ id: UInt32) -> StreamState? { session.streams[id] }
  func unread(_ id: UInt32) -> Int { session.unread(id) }
  func isAbandoned(_ id: UInt32) -> Bool { session.isAbandoned(id) }
  func nextWriter() -> UInt32? { session.nextWriter() }
  func open() throws -> UInt32 { try #require(openOrNot()) }
  func openOrNot() -> UInt32? { session.open() }

  func pass(to second: Int64) throws {
    now = Instant(nanoseconds: 0) + .seconds(second)
    try session.handleTimeout(at: now)
  }
}

/// A frame as it stands on the wire.
func smuxFrame(_ version: UInt8, _ command: UInt8, _ stream: UInt32, _ payload: [UInt8] = []) -> [UInt8] {
  let length = payload.count
  return [version, command, UInt8(length & 255), UInt8(length >> 8)]
    + (0..<4).map { UInt8(truncatingIfNeeded: stream >> (8 * $0)) } + payload
}

/// The frames of a whole stream of them.
func smuxFrames(_ bytes: [UInt8]) -> [(command: UInt8, stream: UInt32, payload: [UInt8])] {
  var frames: [(command: UInt8, stream: UInt32, payload: [UInt8])] = []
  var rest = bytes[...]
  while rest.count >= 8 {
    let head = Array(rest.prefix(8))
    let length = Int(head[2]) | Int(head[3]) << 8
    let stream = (0..<4).reduce(UInt32(0)) { $0 | UInt32(head[4 + $1]) << (8 * $1) }
    frames.append((head[1], stream, Array(rest.dropFirst(8).prefix(length))))
    rest = rest.dropFirst(8 + length)
  }
  return frames
}

let bothSmuxVersions = SmuxVersion.allCases

@Suite("Smux: frames, captures, ends of streams, windows, time")
struct SmuxTests {
  // MARK: Vectors

  @Test("The bytes of version 1: SYN, PSH, FIN, NOP")
  func versionOne() throws {
    let end = SmuxEnd(.client)
    let stream = try end.open()
    #expect(stream == 3)
    #expect(end.drain() == hex("0100000003000000"))
    #expect(end.write(stream, Array("hi".utf8)) == 2)
    #expect(end.drain() == hex("01020200030000006869"))
    end.session.close(stream)
    #expect(end.drain() == hex("0101000003000000"))
    try end.pass(to: 10)
    #expect(end.drain() == hex("0103000000000000"))
    let server = try SmuxEnd(.server).open()
    #expect(server == 2)
  }

  @Test("The bytes of version 2: UPD at the first read, with what was read and the window")
  func versionTwo() throws {
    let end = SmuxEnd(.client, SmuxSettings(version: .two, streamBuffer: 1 << 20))
    let stream = try end.open()
    #expect(end.drain() == hex("0200000003000000"))
    try end.receive(hex("0202020003000000 6869"))
    #expect(end.data[stream] == Array("hi".utf8))
    #expect(end.drain() == hex("0204080003000000 02000000 00001000"))
  }

  // MARK: Captures

  /// Plays one side of a recorded session: what the other side sent goes in, in one of the splits, and is read, first
  /// `firstRead` bytes and then all; what this side sent is done by the calls that mean it. Our bytes must be GOST's.
  private func play(
    _ messages: [Transcript.Message], as side: Transcript.Side, _ muxSide: SmuxSession.Side, _ version: SmuxVersion,
    way: Int
  ) throws -> SmuxEnd {
    let end = SmuxEnd(muxSide, SmuxSettings(version: version))
    end.firstRead = 4
    end.reads = false
    for message in messages {
      guard message.side == side else {
        for piece in splits(message.bytes)[way] { try end.receive(piece) }
        for stream in [UInt32(3), 5] where end.unread(stream) > 0 { end.readAll(stream) }
        for stream in [UInt32(3), 5] where end.state(stream)?.marks.contains(.peerFinished) == true {
          end.readAll(stream)
        }
        end.drain()
        continue
      }
      for frame in smuxFrames(message.bytes) {
        switch frame.command {
        case 0: #expect(end.openOrNot() == frame.stream)
        case 1: end.session.close(frame.stream)
        case 2: #expect(end.write(frame.stream, frame.payload) == frame.payload.count)
        default: #expect(frame.command == 4)
        }
        end.drain()
      }
    }
    #expect(end.sent == messages.filter { $0.side == side }.flatMap(\.bytes))
    #expect(end.streamCount == 0)
    return end
  }

  private let file = Array(repeatElement(Array("hello from the file\n".utf8), count: 200).joined())

  @Test("GOST's relay+mtcp (version 2), either side played, in every split")
  func mtcp() throws {
    let messages = Transcript.relayMTCP.connections[0]
    for way in 0..<22 {
      let client = try play(messages, as: .client, .client, .two, way: way)
      #expect(client.data.keys.sorted() == [3, 5])
      for id: UInt32 in [3, 5] { #expect(client.data[id]?.suffix(4_000) == file[...]) }
      #expect(client.ended == [3, 5])
      let server = try play(messages, as: .server, .server, .two, way: way)
      #expect(server.opened == [3, 5])
      for id: UInt32 in [3, 5] {
        #expect(server.data[id]?.starts(with: hex("0101000a 02000701 0a630002 1f40")) == true)
      }
    }
  }

  @Test("GOST's relay+mws (version 1), either side played, in every split")
  func mws() throws {
    let messages = Transcript.relayMWS.connections[0]
    for way in 0..<22 {
      let client = try play(messages, as: .client, .client, .one, way: way)
      #expect(client.data[3]?.suffix(4_000) == file[...])
      let server = try play(messages, as: .server, .server, .one, way: way)
      #expect(server.opened == [3])
    }
  }

  @Test("GOST's relay bind (version 1): the server of the connection is the client of the mux")
  func bind() throws {
    let messages = Array(Transcript.relayBindTCP.connections[0].dropFirst(2))
    for way in 0..<22 {
      let server = try play(messages, as: .server, .client, .one, way: way)
      for id: UInt32 in [3, 5] { #expect(server.data[id]?.suffix(4_000) == file[...]) }
      let client = try play(messages, as: .client, .server, .one, way: way)
      #expect(client.opened == [3, 5])
      #expect(client.data[3]?.starts(with: hex("0100000a020007017f000001acc4474554")) == true)
    }
  }

  // MARK: The end of a stream

  @Test("What arrived before a FIN is read after it", arguments: bothSmuxVersions)
  func readAfterFinish(_ version: SmuxVersion) throws {
    let v = UInt8(version.rawValue)
    let end = SmuxEnd(.server, SmuxSettings(version: version))
    end.reads = false
    try end.receive(smuxFrame(v, 0, 3) + smuxFrame(v, 2, 3, [1, 2, 3]) + smuxFrame(v, 1, 3) + smuxFrame(v, 2, 3, [9]))
    #expect(end.unread(3) == 3)
    #expect(end.state(3)?.marks.contains(.peerFinished) == true)
    end.read(3, 2)
    end.readAll(3)
    #expect(end.data[3] == [1, 2, 3])
    #expect(end.ended == [3])
    #expect(end.counts.strayBytes == 1)
    // Nobody waits for an update any more.
    #expect(smuxFrames(end.drain()).isEmpty)
  }

  @Test("Between two of us a finished direction leaves the other one open, without end", arguments: bothSmuxVersions)
  func halfClose(_ version: SmuxVersion) throws {
    let client = SmuxEnd(.client, SmuxSettings(version: version))
    let server = SmuxEnd(.server, SmuxSettings(version: version))
    let stream = try client.open()
    client.write(stream, Array("question".utf8))
    client.session.finish(stream)
    #expect(smuxFrames(client.output).map(\.command) == [0, 2, 2, 1])
    try server.receive(client.drain())
    #expect(server.data[stream] == Array("question".utf8))
    #expect(server.ended == [stream])
    var total = 0
    for second in 1...100 {
      try server.pass(to: Int64(second))
      try client.pass(to: Int64(second))
      try server.receive(client.drain())
      server.session.consumeOutput(.max)
      server.poll()
      let taken = server.write(stream, [UInt8](repeating: 7, count: 30_000))
      #expect(taken == 30_000)
      total += taken
      try client.receive(server.drain())
      try server.receive(client.drain())
    }
    #expect(server.abandoned.isEmpty)
    #expect(client.data[stream]?.count == total)
    server.session.close(stream)
    try client.receive(server.drain())
    #expect(client.ended == [stream])
  }

  @Test("A stream that is closed after its direction was finished says a second FIN, and the writer is told")
  func closedForGood() throws {
    let client = SmuxEnd(.client)
    let server = SmuxEnd(.server)
    let stream = try client.open()
    client.session.finish(stream)
    try server.receive(client.drain())
    #expect(server.abandoned.isEmpty)
    client.session.close(stream)
    #expect(client.output.elementsEqual(hex("0101000003000000")))
    try server.receive(client.drain())
    #expect(server.abandoned == [stream])
    #expect(server.write(stream, [1]) == 1)
    #expect(server.output.isEmpty)
    server.session.close(stream)
    #expect(server.drain() == hex("0101000003000000"))
  }

  @Test("A FIN without a word is half of a close for ten seconds or 256 KiB, and then a whole one")
  func linger() throws {
    for bytesFirst in [false, true] {
      let end = SmuxEnd(.server)
      try end.receive(smuxFrame(1, 0, 3) + smuxFrame(1, 1, 3))
      #expect(end.write(3, [1, 2]) == 2)
      #expect(end.drain() == smuxFrame(1, 2, 3, [1, 2]))
      if bytesFirst {
        var left = 1 << 20
        while end.abandoned.isEmpty, left > 0 {
          left -= end.write(3, [UInt8](repeating: 1, count: 10_000))
          end.drain()
          end.poll()
        }
        #expect((1 << 20) - left == 270_000)
      } else {
        try end.pass(to: 9)
        end.poll()
        #expect(end.abandoned.isEmpty)
        try end.pass(to: 10)
        end.poll()
        end.drain()
      }
      #expect(end.abandoned == [3])
      #expect(end.write(3, [1, 2]) == 2)
      #expect(end.drain().isEmpty)
    }
  }

  @Test("An update after a FIN shows that somebody reads on")
  func readsOn() throws {
    let end = SmuxEnd(.server, SmuxSettings(version: .two))
    try end.receive(smuxFrame(2, 0, 3) + smuxFrame(2, 1, 3))
    #expect(end.write(3, [UInt8](repeating: 0, count: 100)) == 100)
    try end.receive(smuxFrame(2, 4, 3, hex("64000000 00000100")))
    try end.pass(to: 29)
    end.poll()
    #expect(end.abandoned.isEmpty)
  }

  // MARK: Windows

  @Test("Version 2 writes 256 KiB, and then as far as updates go")
  func window() throws {
    let end = SmuxEnd(.client, SmuxSettings(version: .two))
    let stream = try end.open()
    let data = [UInt8](repeating: 5, count: 100_000)
    var total = 0
    for _ in 0..<10 {
      total += end.write(stream, data)
      end.drain()
      while let writer = end.nextWriter() {
        total += end.write(writer, data)
        end.drain()
      }
    }
    #expect(total == SmuxSession.initialWindow)
    #expect(end.write(stream, [1]) == 0)
    try end.receive(smuxFrame(2, 4, 3, hex("00000400 10000000")))
    #expect(end.nextWriter() == stream)
    #expect(end.write(stream, data) == 16)
    #expect(end.nextWriter() == nil)
    // An older update than the last one takes nothing back.
    try end.receive(smuxFrame(2, 4, 3, hex("01000000 11000000")))
    #expect(end.nextWriter() == stream)
    #expect(end.write(stream, data) == 1)
  }

  @Test("Updates go out at the first read and after every half of the buffer")
  func updates() throws {
    let end = SmuxEnd(.server, SmuxSettings(version: .two, streamBuffer: 1_000))
    try end.receive(smuxFrame(2, 0, 3))
    var consumed: [UInt32] = []
    for _ in 0..<30 {
      try end.receive(smuxFrame(2, 2, 3, [UInt8](repeating: 0, count: 100)))
      for frame in smuxFrames(end.drain()) {
        #expect(frame.command == 4 && frame.stream == 3)
        #expect(Array(frame.payload[4...]) == hex("e8030000"))
        consumed.append((0..<4).reduce(0) { $0 | UInt32(frame.payload[$1]) << (8 * $1) })
      }
    }
    #expect(consumed == [100, 600, 1_100, 1_600, 2_100, 2_600])
  }

  @Test("The counters of a window wrap at 4 GiB")
  func wrap() throws {
    let writer = SmuxEnd(.client, SmuxSettings(version: .two, maximumFrame: 65_535, streamBuffer: 1 << 20))
    let reader = SmuxEnd(.server, SmuxSettings(version: .two, maximumFrame: 65_535, streamBuffer: 1 << 20))
    let stream = try writer.open()
    try reader.receive(writer.drain())
    // As if 4 GiB less a little had gone before.
    let before = UInt32.max - 1_000_000
    let ours = try #require(writer.state(stream))
    (ours.sent, ours.peerConsumed) = (before, before)
    let theirs = try #require(reader.state(stream))
    (theirs.received, theirs.consumed, theirs.reported) = (before, before, before)
    for _ in 0..<100 {
      #expect(writer.write(stream, [UInt8](repeating: 3, count: 60_000)) == 60_000)
      try reader.receive(writer.drain())
      try writer.receive(reader.drain())
    }
    #expect(reader.data[stream]?.count == 6_000_000)
    #expect(ours.sent == before &+ 6_000_000)
    #expect(ours.sent < before)
    #expect(ours.peerConsumed < before)
  }

  @Test("A session that is not read takes nothing from below until it is", arguments: bothSmuxVersions)
  func bucket(_ version: SmuxVersion) throws {
    let v = UInt8(version.rawValue)
    let end = SmuxEnd(.server, SmuxSettings(version: version, receiveBuffer: 1_000))
    end.reads = false
    try end.receive(smuxFrame(v, 0, 3) + smuxFrame(v, 2, 3, [UInt8](repeating: 1, count: 999)))
    #expect(end.wantsInput)
    try end.receive(smuxFrame(v, 2, 3, [1]))
    #expect(!end.wantsInput)
    end.read(3, 1)
    #expect(end.wantsInput)
    try end.receive(smuxFrame(v, 2, 3, [1]))
    #expect(!end.wantsInput)
    end.session.close(3)
    #expect(end.wantsInput)
    #expect(end.unread(3) == 0)
  }

  // MARK: Fairness

  @Test("Who waits for room gets one frame after the other's", arguments: bothSmuxVersions)
  func roundRobin(_ version: SmuxVersion) throws {
    let end = SmuxEnd(.client, SmuxSettings(version: version, maximumFrame: 1_000))
    let streams = try (0..<4).map { _ in try end.open() }
    end.drain()
    let bulk = [UInt8](repeating: 0, count: 200_000)
    var left = Dictionary(uniqueKeysWithValues: streams.map { ($0, 60_000) })
    func write(_ id: UInt32) { left[id, default: 0] -= end.write(id, Array(bulk.prefix(left[id, default: 0]))) }
    end.write(streams[0], bulk)
    for id in streams { write(id) }
    var order: [UInt32] = []
    while left.values.contains(where: { $0 > 0 }) {
      let before = left
      order += smuxFrames(end.drain()).map(\.stream)
      while let id = end.nextWriter() {
        write(id)
      }
      try #require(left != before)
    }
    order += smuxFrames(end.drain()).map(\.stream)
    // Once all four wait, every four frames are one of each.
    let contended = order.drop { $0 == streams[0] }.prefix(40)
    #expect(contended.count == 40)
    for start in stride(from: contended.startIndex, to: contended.endIndex, by: 4) {
      #expect(Set(contended[start..<start + 4]).count == 4, "\(Array(contended))")
    }
  }

  @Test("Small writes of one stream share a frame until it leaves, up to the largest frame")
  func merging() throws {
    let end = SmuxEnd(.client, SmuxSettings(maximumFrame: 10))
    let one = try end.open()
    let other = try end.open()
    for stream in [one, other] { end.write(stream, [0]) }
    end.drain()
    for byte: UInt8 in 1...4 { end.write(one, [byte]) }
    end.write(other, [9])
    end.write(one, [5, 6])
    end.drain(3)
    end.write(one, [7])
    end.drain(5)
    for byte: UInt8 in 8...20 { end.write(one, [byte]) }
    end.drain()
    let frames = smuxFrames(end.sent).dropFirst(4)
    #expect(frames.map(\.stream) == [one, other, one, one])
    #expect(frames.map(\.payload.count) == [4, 1, 10, 6])
    #expect(frames.filter { $0.stream == one }.flatMap(\.payload) == Array(1...20))
  }

  @Test("A stream's first write keeps its frame for itself: GOST drops what stands behind a SOCKS5 reply in one")
  func firstFrame() throws {
    let end = SmuxEnd(.client)
    let stream = try end.open()
    end.write(stream, [1, 2, 3])
    end.write(stream, [4])
    end.write(stream, [5])
    end.drain()
    #expect(smuxFrames(end.sent).dropFirst().map(\.payload) == [[1, 2, 3], [4, 5]])
  }

  @Test("A frame that has begun to leave gets no more bytes")
  func mergingIntoSent() throws {
    let end = SmuxEnd(.client)
    let stream = try end.open()
    end.drain()
    end.write(stream, [1, 2, 3])
    end.drain(1)
    end.write(stream, [4])
    end.drain()
    #expect(smuxFrames(Array(end.sent.dropFirst(8))).map(\.payload) == [[1, 2, 3], [4]])
  }

  // MARK: Time

  @Test("A sign of life every ten seconds; silence for a whole span of thirty ends the session")
  func keepalive() throws {
    let quiet = SmuxEnd(.client)
    let talking = SmuxEnd(.client)
    var idle = 0
    var died: Int64?
    for second in Int64(1)...200 {
      #expect(talking.nextDeadline.map { $0 >= Instant(nanoseconds: 0) + .seconds(second) } == true)
      try talking.pass(to: second)
      idle += smuxFrames(talking.drain()).filter { $0.command == 3 }.count
      if second % 29 == 0 { try talking.receive(hex("0103000000000000")) }
      guard died == nil else { continue }
      do { try quiet.pass(to: second) } catch {
        #expect(error as? SmuxError == .silent)
        #expect(quiet.failure?.blame == .network)
        died = second
      }
    }
    #expect(idle == 20)
    #expect(died == 30)
    #expect(quiet.nextDeadline == nil)
    #expect(throws: SmuxError.silent) { try quiet.receive([1]) }
  }

  @Test("A session whose streams are not read is not dead, and one without keepalive never dies")
  func notDead() throws {
    let full = SmuxEnd(.server, SmuxSettings(receiveBuffer: 10))
    full.reads = false
    try full.receive(smuxFrame(1, 0, 3) + smuxFrame(1, 2, 3, [UInt8](repeating: 0, count: 10)))
    for second in Int64(1)...200 { try full.pass(to: second) }
    // Read at last: the span in which nothing could be heard does not count.
    full.read(3, 10)
    try full.pass(to: 211)
    let still = SmuxEnd(.client, SmuxSettings(keepaliveInterval: nil))
    #expect(still.nextDeadline == nil)
    try still.pass(to: 1_000)
    #expect(still.drain().isEmpty)
  }

  @Test("While output waits there is no second sign of life")
  func idleOnlyWhenEmpty() throws {
    let end = SmuxEnd(.client)
    for second in Int64(1)...29 { try end.pass(to: second) }
    #expect(end.drain() == hex("0103000000000000"))
  }

  // MARK: Floods and faults

  @Test("Streams beyond the limit are refused and counted; what is said without listening is bounded")
  func floodOfStreams() throws {
    let end = SmuxEnd(.server, SmuxSettings(maximumStreams: 10))
    var id: UInt32 = 1
    var chunks = 0
    while end.wantsInput, chunks < 1_000 {
      var chunk: [UInt8] = []
      for _ in 0..<100 {
        id += 2
        chunk += smuxFrame(1, 0, id) + smuxFrame(1, 2, id, [1]) + smuxFrame(1, 1, id)
      }
      try end.receive(chunk)
      chunks += 1
    }
    #expect(chunks < 1_000)
    #expect(end.streamCount == 10)
    #expect(end.opened.count == 10)
    #expect(end.output.count < 300_000)
    #expect(end.counts.refusedStreams == UInt64(chunks * 100 - 10))
    #expect(end.counts.strayFrames == 2 * end.counts.refusedStreams)
    let frames = smuxFrames(end.drain())
    #expect(frames.allSatisfy { $0.command == 1 })
    #expect(frames.count == chunks * 100 - 10)
    #expect(end.wantsInput)
    // A place that is given back can be taken.
    end.session.close(3)
    try end.receive(smuxFrame(1, 0, id + 2))
    #expect(end.opened.last == id + 2)
  }

  @Test("Frames for no stream are dropped and counted", arguments: bothSmuxVersions)
  func strays(_ version: SmuxVersion) throws {
    let v = UInt8(version.rawValue)
    let end = SmuxEnd(.server, SmuxSettings(version: version))
    try end.receive(smuxFrame(v, 2, 3, [1, 2, 3]) + smuxFrame(v, 1, 5) + smuxFrame(v, 2, 4, []))
    if version == .two { try end.receive(smuxFrame(2, 4, 3, hex("ffffffff ffffffff"))) }
    #expect(end.counts.strayFrames == (version == .two ? 4 : 3))
    #expect(end.counts.strayBytes == 3)
    #expect(end.output.isEmpty)
    #expect(end.wantsInput)
  }

  struct Fault: Sendable, CustomTestStringConvertible {
    let version: SmuxVersion
    let bytes: [UInt8]
    let error: SmuxError
    let blame: SmuxError.Blame
    var testDescription: String { "\(error)" }
  }

  static let breaches = [
    Fault(version: .one, bytes: smuxFrame(2, 0, 3), error: .version(2, expected: 1), blame: .configuration),
    Fault(version: .two, bytes: smuxFrame(1, 0, 3), error: .version(1, expected: 2), blame: .configuration),
    Fault(version: .one, bytes: Array("HTTP/1.1".utf8), error: .version(72, expected: 1), blame: .peer),
    Fault(version: .one, bytes: smuxFrame(1, 5, 3), error: .unknownCommand(5), blame: .peer),
    Fault(
      version: .one, bytes: smuxFrame(1, 4, 3, [UInt8](repeating: 0, count: 8)), error: .unknownCommand(4),
      blame: .peer),
    Fault(
      version: .two, bytes: smuxFrame(2, 4, 3, [1, 2]), error: .length(command: 4, 2), blame: .peer),
    Fault(version: .two, bytes: smuxFrame(2, 0, 3, [1]), error: .length(command: 0, 1), blame: .peer),
    Fault(version: .two, bytes: smuxFrame(2, 1, 3, [1]), error: .length(command: 1, 1), blame: .peer),
    Fault(version: .two, bytes: smuxFrame(2, 3, 0, [1]), error: .length(command: 3, 1), blame: .peer),
    Fault(version: .one, bytes: smuxFrame(1, 0, 2), error: .foreignStream(2), blame: .configuration),
    Fault(version: .one, bytes: smuxFrame(1, 0, 0), error: .foreignStream(0), blame: .configuration),
    Fault(
      version: .one, bytes: smuxFrame(1, 0, 3) + smuxFrame(1, 0, 3), error: .streamReopened(3), blame: .peer),
    Fault(
      version: .two, bytes: smuxFrame(2, 0, 3) + smuxFrame(2, 4, 3, hex("01000000 00000100")),
      error: .consumedTooMuch(stream: 3), blame: .peer),
    Fault(
      version: .two,
      bytes: smuxFrame(2, 0, 3)
        + Array(repeatElement(smuxFrame(2, 2, 3, [UInt8](repeating: 0, count: 65_535)), count: 9).joined()),
      error: .windowExceeded(stream: 3), blame: .peer),
  ]

  @Test("What breaks the protocol ends the session and names who is to blame", arguments: breaches)
  func faults(_ fault: Fault) throws {
    for size in [1, 3, 8, 1_000, 10_000_000] where fault.bytes.count < 10_000 || size > 8 {
      let end = SmuxEnd(.server, SmuxSettings(version: fault.version))
      end.reads = false
      #expect(throws: fault.error) {
        for start in stride(from: 0, to: fault.bytes.count, by: size) {
          try end.receive(fault.bytes[start..<min(start + size, fault.bytes.count)])
        }
      }
      #expect(end.failure == fault.error)
      #expect(!end.wantsInput)
      #expect(end.openOrNot() == nil)
      // It stays as it is, and nothing more is said.
      #expect(throws: fault.error) { try end.receive(smuxFrame(UInt8(fault.version.rawValue), 0, 99)) }
      #expect(end.write(3, [1]) == 1)
      end.session.finish(3)
      end.session.close(3)
      #expect(end.output.isEmpty)
    }
    #expect(fault.error.blame == fault.blame)
  }

  @Test("Settings out of range are moved into it")
  func settings() throws {
    let mad = SmuxSettings(
      version: .two, keepaliveInterval: .seconds(60), keepaliveTimeout: TimeSpan(nanoseconds: -5),
      maximumFrame: 1 << 40, receiveBuffer: -1, streamBuffer: .max, maximumStreams: 0)
    let end = SmuxEnd(.client, mad)
    #expect(end.settings.maximumFrame == 65_535)
    #expect(end.settings.keepaliveTimeout == .seconds(60))
    #expect(end.settings.receiveBuffer == 1)
    #expect(end.settings.streamBuffer == 1 << 30)
    #expect(end.settings.maximumStreams == 1)
    let stream = try end.open()
    #expect(end.write(stream, [UInt8](repeating: 0, count: 70_000)) == 70_000)
    #expect(smuxFrames(end.drain()).map(\.payload.count) == [0, 65_535, 4_465])
  }
}
