import Values

/// One end of a smux session: many streams in one, without I/O.
///
/// **In.** The owner hands over what it read from below (`receive`), in any split and in a buffer as large as it likes.
/// Payloads are not copied: each stream notes the pieces of that buffer that are its own, the owner takes the events
/// (`pollEvent`) and lets the readers read (`read`, the one copy), and then calls `settle`, which copies aside what
/// nobody read. From there on the buffer is the owner's again. A stream that is read as it arrives costs no memory.
///
/// **Out.** Everything leaves through one run of bytes (`output`, `consumeOutput`), so that many frames are one write.
/// `write` puts data there while there is room, and takes less than given when there is none, when the stream's
/// window is closed, or when others wait. Who got less stands in a line; when room comes back, `nextWriter` names the
/// first, which may write one frame before the next one's turn. So nothing is buffered a stream, and a bulk stream
/// delays another by one frame of each that waits.
///
/// **Flow control.** Version 2 has a window a stream: 256 KiB at first, then what each `update` says; we send one at
/// the first read and after every half of `streamBuffer`. Both versions have a bound for the whole session: while
/// `receiveBuffer` bytes wait to be read, `wantsInput` is false and the owner reads nothing from below. In version 1
/// that is all there is, so a stream that is not read stops the session in the end, as the protocol has it.
///
/// **The end of a stream.** Smux says FIN. Up to 1.5.53 it means that the sender is gone from the stream in both
/// directions; since 1.5.55 it may also mean that only its own direction is over, and on the wire the two are alike.
/// We read what came before a FIN and then report the end. What is written after it:
/// - The other end said before that it reads on: an empty data frame and then FIN. That is how we end one direction
///   (`finish`). Every version of smux takes an empty data frame for nothing, none sends one, so it tells our own end
///   the truth and others nothing.
/// - It said nothing: it may be either. Writes go out for `lingerTime`, and for `lingerBytes` at most in version 1,
///   unless an `update` shows that somebody reads; then the stream is `abandoned`. A GOST gives the other direction
///   ten seconds after a half-close too.
/// - A second FIN: it is gone altogether. We send one when a stream is closed after its direction was finished.
/// What is written to an abandoned stream vanishes, and the owner is told.
///
/// **Floods.** Streams beyond `maximumStreams` are refused with a FIN, frames for no stream are dropped; both are
/// counted. What the other end can make us say without listening is bounded: with `controlBacklog` bytes more than
/// the room for data in `output`, `wantsInput` is false. A window that is overrun ends the session.
///
/// **Time** is an argument. A frame that breaks the protocol makes `receive` throw and ends the session.
public struct SmuxSession: ~Copyable {
  public enum Side: Sendable {
    /// Opens odd streams from 3 on.
    case client
    /// Opens even streams from 2 on.
    case server
  }

  /// The window of a stream in version 2 until the first `update`, bytes.
  public static let initialWindow = 262_144
  /// How long a stream is written to after a FIN that may have been a close, and in version 1 how much.
  public static let lingerTime = TimeSpan.seconds(10)
  public static let lingerBytes = 262_144
  /// Bytes of control frames that may wait in `output` behind its data.
  static let controlBacklog = 65_536

  public let side: Side
  public let settings: SmuxSettings
  public private(set) var counts = SmuxCounts()
  /// Why the session ended, when `receive` or `handleTimeout` threw.
  public private(set) var failure: SmuxError?

  private(set) var streams: [UInt32: StreamState] = [:]
  private var nextStream: UInt32
  private var incoming = 0

  // In.
  private var expected = Expected.header
  /// A header or the payload of an `update` that arrived in part, and how many bytes of it.
  private var word: UInt64 = 0
  private var wordFill = 0
  private var frame = SmuxFrame(version: 0, command: .idle, stream: 0)
  private var payloadLeft = 0
  private var payloadStream: StreamState?
  private var pieces: [Piece] = []
  private var events: [SmuxEvent] = []
  private var nextEvent = 0
  private var unread = 0

  // Out.
  private var out = ByteRun()
  private let outputRoom: Int
  /// The stream and the payload's length of the frame at the end of `output`, if that is data.
  private var lastFrame: (stream: UInt32, length: Int) = (0, 0)
  private var line: [StreamState] = []
  private var lineHead = 0
  private var lineCount = 0
  private var served: UInt32 = 0
  private var servedLeft = 0

  // Time.
  private var nextIdle: Instant?
  private var nextCheck: Instant?
  private var wasHeard = false
  private var lingering: [(stream: StreamState, until: Instant)] = []
  private var lingeringHead = 0

  private enum Expected {
    case header, update, payload
  }

  /// A piece of the caller's buffer that belongs to a stream.
  private struct Piece {
    var stream: StreamState
    var start: UnsafeRawPointer
    var count: Int
    var next: Int
  }

  public init(side: Side, settings: SmuxSettings = SmuxSettings(), at now: Instant) {
    self.side = side
    let settings = settings.inRange
    self.settings = settings
    nextStream = side == .client ? 3 : 2
    outputRoom = max(131_072, 4 * (settings.maximumFrame + SmuxFrame.headerSize))
    if let interval = settings.keepaliveInterval {
      nextIdle = now + interval
      nextCheck = now + settings.keepaliveTimeout
    }
  }

  // MARK: In

  /// Whether to read from below: not while too much waits to be read, or to be sent.
  public var wantsInput: Bool {
    failure == nil && unread < settings.receiveBuffer && out.count < outputRoom + Self.controlBacklog
  }

  /// Takes all of the bytes, which must stay as they are until `settle`. Then: events, reads, `settle`.
  public mutating func receive(_ bytes: UnsafeRawBufferPointer, at now: Instant) throws(SmuxError) {
    if let failure { throw failure }
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    wasHeard = true
    do throws(SmuxError) {
      var offset = 0
      while offset < bytes.count {
        let left = bytes.count &- offset
        if expected == .payload {
          let count = min(payloadLeft, left)
          try arrived(base + offset, count)
          offset &+= count
          payloadLeft &-= count
          if payloadLeft == 0 {
            expected = .header
            payloadStream = nil
          }
        } else if wordFill == 0, left >= 8 {
          let word = UInt64(littleEndian: (base + offset).loadUnaligned(as: UInt64.self))
          offset &+= 8
          try take(word, at: now)
        } else {
          word |= UInt64((base + offset).load(as: UInt8.self)) << UInt64(truncatingIfNeeded: 8 &* wordFill)
          wordFill &+= 1
          offset &+= 1
          guard wordFill == 8 else { continue }
          let whole = word
          word = 0
          wordFill = 0
          try take(whole, at: now)
        }
      }
    } catch {
      failure = error
      throw error
    }
  }

  private mutating func take(_ word: UInt64, at now: Instant) throws(SmuxError) {
    if expected == .update {
      expected = .header
      try update(consumed: UInt32(truncatingIfNeeded: word), window: UInt32(truncatingIfNeeded: word >> 32))
      return
    }
    frame = SmuxFrame(word: word)
    let version = UInt8(truncatingIfNeeded: settings.version.rawValue)
    guard frame.version == version else { throw .version(frame.version, expected: version) }
    guard let command = SmuxCommand(rawValue: frame.command), command != .update || version == 2 else {
      throw .unknownCommand(frame.command)
    }
    let isRightLength =
      switch command {
      case .push: true
      case .update: frame.length == SmuxFrame.updateSize
      case .open, .finish, .idle: frame.length == 0
      }
    guard isRightLength else {
      throw .length(command: frame.command, UInt16(truncatingIfNeeded: frame.length))
    }
    switch command {
    case .open: try opened(frame.stream)
    case .finish: peerFinished(frame.stream, at: now)
    case .idle: break
    case .update: expected = .update
    case .push:
      payloadStream = streams[frame.stream]
      if let stream = payloadStream {
        if frame.length == 0 { stream.marks.insert(.halfCloseAhead) } else { stream.marks.remove(.halfCloseAhead) }
      } else {
        counts.strayFrames &+= 1
      }
      payloadLeft = frame.length
      if payloadLeft > 0 { expected = .payload } else { payloadStream = nil }
    }
  }

  /// Our numbers are odd at the client, even at the server; 0 is nobody's.
  private func isOurs(_ stream: UInt32) -> Bool { (stream & 1 == 1) == (side == .client) }

  private mutating func opened(_ id: UInt32) throws(SmuxError) {
    guard id != 0, !isOurs(id) else { throw .foreignStream(id) }
    guard streams[id] == nil else { throw .streamReopened(id) }
    guard incoming < settings.maximumStreams else {
      counts.refusedStreams &+= 1
      control(.finish, id)
      return
    }
    incoming += 1
    streams[id] = StreamState(id: id)
    events.append(.opened(id))
  }

  private mutating func peerFinished(_ id: UInt32, at now: Instant) {
    guard let stream = streams[id] else {
      counts.strayFrames &+= 1
      return
    }
    if stream.marks.contains(.peerFinished) {
      abandon(stream)
      return
    }
    stream.marks.insert(.peerFinished)
    if stream.marks.contains(.halfCloseAhead) {
      stream.marks.insert(.readsOn)
    } else if !stream.marks.contains(.finished) {
      stream.lingerBytes = Self.lingerBytes
      lingering.append((stream, now + Self.lingerTime))
    }
    announce(stream)
  }

  private mutating func abandon(_ stream: StreamState) {
    guard !stream.marks.contains(.abandoned) else { return }
    stream.marks.insert(.abandoned)
    leaveLine(stream)
    stream.marks.remove(.atWindow)
    events.append(.abandoned(stream.id))
  }

  private mutating func update(consumed: UInt32, window: UInt32) throws(SmuxError) {
    guard let stream = streams[frame.stream] else {
      counts.strayFrames &+= 1
      return
    }
    guard Int32(bitPattern: stream.sent &- consumed) >= 0 else { throw .consumedTooMuch(stream: stream.id) }
    // Two readers at the other end may send theirs in the wrong order; what was read stays read.
    if Int32(bitPattern: consumed &- stream.peerConsumed) > 0 { stream.peerConsumed = consumed }
    stream.peerWindow = Int(min(window, UInt32(Int32.max)))
    if stream.marks.contains(.peerFinished) { stream.marks.insert(.readsOn) }
    if stream.marks.contains(.atWindow), windowRoom(stream) > 0 {
      stream.marks.remove(.atWindow)
      joinLine(stream)
    }
  }

  /// Payload of the present frame.
  private mutating func arrived(_ start: UnsafeRawPointer, _ count: Int) throws(SmuxError) {
    guard let stream = payloadStream, !stream.marks.contains(.closed), !stream.marks.contains(.peerFinished) else {
      counts.strayBytes &+= UInt64(truncatingIfNeeded: count)
      return
    }
    stream.received &+= UInt32(truncatingIfNeeded: count)
    // The other end may not have heard of what was read since, and its window may still be the first one. Twice that:
    // real smux checks its window and then writes, so that two of its writers may overrun it together.
    if settings.version == .two,
      Int(stream.received &- stream.reported) > 2 * max(Self.initialWindow, settings.streamBuffer)
    {
      throw .windowExceeded(stream: stream.id)
    }
    unread &+= count
    stream.unread &+= count
    if stream.lastPiece >= 0 {
      pieces[stream.lastPiece].next = pieces.count
    } else {
      stream.firstPiece = pieces.count
    }
    stream.lastPiece = pieces.count
    pieces.append(Piece(stream: stream, start: start, count: count, next: -1))
    announce(stream)
  }

  private mutating func announce(_ stream: StreamState) {
    guard !stream.marks.contains(.announced) else { return }
    stream.marks.insert(.announced)
    events.append(.readable(stream.id))
  }

  /// What happened, in order; streams that were closed since are left out.
  public mutating func pollEvent() -> SmuxEvent? {
    while nextEvent < events.count {
      let event = events[nextEvent]
      nextEvent &+= 1
      guard let stream = streams[event.stream] else { continue }
      if case .readable = event { stream.marks.remove(.announced) }
      return event
    }
    events.removeAll(keepingCapacity: true)
    nextEvent = 0
    return nil
  }

  /// Copies aside what was not read of the buffer given to `receive`, which is the caller's again.
  public mutating func settle() {
    for piece in pieces {
      guard !piece.stream.marks.contains(.closed) else { continue }
      piece.stream.kept.append(UnsafeRawBufferPointer(start: piece.start, count: piece.count))
      piece.stream.firstPiece = -1
      piece.stream.lastPiece = -1
    }
    pieces.removeAll(keepingCapacity: true)
  }

  // MARK: Streams

  /// Opens a stream; `nil` when the session is over or has given out all its numbers.
  public mutating func open() -> UInt32? {
    guard failure == nil, nextStream < UInt32.max - 1 else { return nil }
    let id = nextStream
    nextStream += 2
    streams[id] = StreamState(id: id)
    control(.open, id)
    return id
  }

  /// Streams that we have not closed.
  public var streamCount: Int { streams.count }

  public func isOpen(_ id: UInt32) -> Bool { streams[id] != nil }

  /// Copies out what arrived on a stream, in order.
  public mutating func read(_ id: UInt32, into buffer: UnsafeMutableRawBufferPointer) -> SmuxRead {
    guard let stream = streams[id] else { return .end }
    guard let target = buffer.baseAddress, buffer.count > 0 else { return .bytes(0) }
    guard stream.unread > 0 else { return stream.marks.contains(.peerFinished) ? .end : .blocked }
    var count = min(stream.kept.count, buffer.count)
    if count > 0, let source = stream.kept.readable.baseAddress {
      target.copyMemory(from: source, byteCount: count)
      stream.kept.consume(count)
      stream.kept.trim()
    }
    while count < buffer.count, stream.firstPiece >= 0 {
      let index = stream.firstPiece
      let taken = min(pieces[index].count, buffer.count &- count)
      (target + count).copyMemory(from: pieces[index].start, byteCount: taken)
      count &+= taken
      pieces[index].start += taken
      pieces[index].count &-= taken
      guard pieces[index].count == 0 else { break }
      stream.firstPiece = pieces[index].next
      if stream.firstPiece < 0 { stream.lastPiece = -1 }
    }
    wasRead(stream, count)
    return .bytes(count)
  }

  private mutating func wasRead(_ stream: StreamState, _ count: Int) {
    stream.unread &-= count
    release(count)
    guard settings.version == .two else { return }
    stream.consumed &+= UInt32(truncatingIfNeeded: count)
    let isFirst = !stream.marks.contains(.wasRead)
    stream.marks.insert(.wasRead)
    guard isFirst || Int(stream.consumed &- stream.reported) >= settings.streamBuffer / 2 else { return }
    stream.reported = stream.consumed
    guard !stream.marks.contains(.peerFinished), failure == nil else { return }
    let version = UInt8(truncatingIfNeeded: settings.version.rawValue)
    out.append(word: SmuxFrame(version: version, command: .update, length: 8, stream: stream.id).word)
    out.append(word: UInt64(stream.consumed) | UInt64(UInt32(truncatingIfNeeded: settings.streamBuffer)) << 32)
    lastFrame = (0, 0)
  }

  /// Bytes leave the session's bucket.
  private mutating func release(_ count: Int) {
    // Who was not listened to could not be heard.
    if unread >= settings.receiveBuffer { wasHeard = true }
    unread &-= count
  }

  /// Bytes that arrived on a stream and were not read.
  public func unread(_ id: UInt32) -> Int { streams[id]?.unread ?? 0 }

  /// Whether the other end finished its direction; there may be bytes left to read.
  public func isPeerFinished(_ id: UInt32) -> Bool { streams[id]?.marks.contains(.peerFinished) ?? true }

  /// Whether the other end reads no more.
  public func isAbandoned(_ id: UInt32) -> Bool { streams[id]?.marks.contains(.abandoned) ?? true }

  /// Puts data into `output` and returns how many bytes. Fewer than given: `nextWriter` will name the stream. What is
  /// written to a stream that is finished, abandoned or gone is taken and forgotten.
  public mutating func write(_ id: UInt32, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard let stream = streams[id], failure == nil,
      stream.marks.isDisjoint(with: [.finished, .abandoned]), let base = bytes.baseAddress, bytes.count > 0
    else { return bytes.count }
    let isServed = served == id
    if lineCount > 0, !isServed {
      joinLine(stream)
      return 0
    }
    var allowance = min(bytes.count, windowRoom(stream))
    if lineCount > 0 { allowance = min(allowance, servedLeft) }
    var accepted = 0
    while accepted < allowance {
      let count = min(allowance &- accepted, settings.maximumFrame)
      guard out.count &+ count &+ SmuxFrame.headerSize <= outputRoom else { break }
      push(stream, UnsafeRawBufferPointer(start: base + accepted, count: count))
      accepted &+= count
    }
    if isServed { servedLeft &-= min(accepted, servedLeft) }
    if stream.marks.contains(.peerFinished), !stream.marks.contains(.readsOn) {
      stream.lingerBytes &-= accepted
      if stream.lingerBytes <= 0, settings.version == .one {
        abandon(stream)
        return bytes.count
      }
    }
    if accepted < bytes.count {
      if windowRoom(stream) == 0 { stream.marks.insert(.atWindow) } else { joinLine(stream) }
    }
    return accepted
  }

  /// Bytes that the other end's window lets us write now.
  private func windowRoom(_ stream: StreamState) -> Int {
    guard settings.version == .two else { return .max }
    return max(0, stream.peerWindow &- Int(stream.sent &- stream.peerConsumed))
  }

  /// One frame of data, or more bytes for the frame that the stream has at the end of `output`.
  ///
  /// A stream's first write keeps its frame for itself: it often says what the stream is for, and GOST's client of a
  /// SOCKS5 mux bind takes that word with one read and drops what came in the same frame.
  private mutating func push(_ stream: StreamState, _ bytes: UnsafeRawBufferPointer) {
    let before = stream.sent
    stream.sent &+= UInt32(truncatingIfNeeded: bytes.count)
    var length = bytes.count
    if lastFrame.stream == stream.id, before != UInt32(truncatingIfNeeded: lastFrame.length),
      out.count >= lastFrame.length &+ SmuxFrame.headerSize,
      lastFrame.length &+ length <= settings.maximumFrame
    {
      length &+= lastFrame.length
      out.append(bytes)
      out.patch(UInt16(truncatingIfNeeded: length), beforeEnd: length &+ SmuxFrame.headerSize &- 2)
    } else {
      let version = UInt8(truncatingIfNeeded: settings.version.rawValue)
      out.append(word: SmuxFrame(version: version, command: .push, length: length, stream: stream.id).word)
      out.append(bytes)
    }
    lastFrame = (stream.id, length)
  }

  private mutating func control(_ command: SmuxCommand, _ stream: UInt32) {
    let version = UInt8(truncatingIfNeeded: settings.version.rawValue)
    out.append(word: SmuxFrame(version: version, command: command, stream: stream).word)
    lastFrame = (0, 0)
  }

  /// Ends our direction behind what was written. The other one goes on as far as the other end goes along.
  public mutating func finish(_ id: UInt32) {
    guard let stream = streams[id], !stream.marks.contains(.finished), failure == nil else { return }
    stream.marks.insert(.finished)
    stream.marks.remove(.atWindow)
    leaveLine(stream)
    if !stream.marks.contains(.peerFinished) { control(.push, id) }
    control(.finish, id)
  }

  /// Ends both directions behind what was written, and forgets the stream.
  public mutating func close(_ id: UInt32) {
    guard let stream = streams.removeValue(forKey: id) else { return }
    if !isOurs(id) { incoming -= 1 }
    leaveLine(stream)
    if failure == nil, !(stream.marks.contains(.finished) && stream.marks.contains(.peerFinished)) {
      control(.finish, id)
    }
    release(stream.unread)
    stream.marks.insert(.closed)
    stream.kept.consume(.max)
    stream.kept.trim()
  }

  // MARK: Out

  /// What is to be written below; valid until the next change.
  public var output: UnsafeRawBufferPointer { out.readable }

  public mutating func consumeOutput(_ count: Int) { out.consume(count) }

  /// The next stream that got less than it wanted and may write now, one frame if others wait. Ask until `nil` each
  /// time that `output` has shrunk or bytes were received.
  public mutating func nextWriter() -> UInt32? {
    served = 0
    while lineHead < line.count {
      guard out.count &+ settings.maximumFrame &+ SmuxFrame.headerSize <= outputRoom else { return nil }
      let stream = line[lineHead]
      lineHead &+= 1
      if lineHead >= 64, lineHead &* 2 >= line.count {
        line.removeFirst(lineHead)
        lineHead = 0
      }
      guard stream.marks.contains(.inLine) else { continue }
      leaveLine(stream)
      served = stream.id
      servedLeft = settings.maximumFrame
      return stream.id
    }
    line.removeAll(keepingCapacity: true)
    lineHead = 0
    return nil
  }

  private mutating func joinLine(_ stream: StreamState) {
    guard !stream.marks.contains(.inLine) else { return }
    stream.marks.insert(.inLine)
    lineCount += 1
    line.append(stream)
  }

  /// Its place in the line stays and is passed over.
  private mutating func leaveLine(_ stream: StreamState) {
    guard stream.marks.contains(.inLine) else { return }
    stream.marks.remove(.inLine)
    lineCount -= 1
  }

  // MARK: Time

  /// When to call `handleTimeout`; `nil`: never.
  public func nextDeadline() -> Instant? {
    guard failure == nil else { return nil }
    var earliest = Instant.distantFuture
    if let nextIdle { earliest = min(earliest, nextIdle) }
    if let nextCheck { earliest = min(earliest, nextCheck) }
    if lingeringHead < lingering.count { earliest = min(earliest, lingering[lingeringHead].until) }
    return earliest == .distantFuture ? nil : earliest
  }

  public mutating func handleTimeout(at now: Instant) throws(SmuxError) {
    if let failure { throw failure }
    while lingeringHead < lingering.count, lingering[lingeringHead].until <= now {
      let stream = lingering[lingeringHead].stream
      lingeringHead += 1
      if stream.marks.isDisjoint(with: [.closed, .readsOn, .finished]) { abandon(stream) }
    }
    if lingeringHead == lingering.count || lingeringHead >= 64 {
      lingering.removeFirst(lingeringHead)
      lingeringHead = 0
    }
    if let check = nextCheck, check <= now {
      // While the streams are not read nothing is listened to, and nothing can be heard.
      if !wasHeard, unread < settings.receiveBuffer {
        failure = .silent
        throw .silent
      }
      wasHeard = false
      nextCheck = now + settings.keepaliveTimeout
    }
    if let idle = nextIdle, let interval = settings.keepaliveInterval, idle <= now {
      // What waits to be sent is a sign of life, or is not read either.
      if out.isEmpty { control(.idle, 0) }
      nextIdle = now + interval
    }
  }

  /// Whether `trim` would give something back.
  public var isRoomy: Bool { out.holdsMemory }

  /// Gives back the memory that only a busy session needs.
  public mutating func trim() {
    out.trim()
    if pieces.isEmpty { pieces = [] }
    if events.isEmpty { events = [] }
    if line.isEmpty { line = [] }
    lastFrame = (0, 0)
  }
}

/// What happened to a stream.
public enum SmuxEvent: Hashable, Sendable {
  /// The other end opened it.
  case opened(UInt32)
  /// There is something to read, or the end.
  case readable(UInt32)
  /// The other end reads no more; what is still there to read can be read.
  case abandoned(UInt32)

  public var stream: UInt32 {
    switch self {
    case .opened(let stream), .readable(let stream), .abandoned(let stream): stream
    }
  }
}

public enum SmuxRead: Hashable, Sendable {
  case bytes(Int)
  /// Nothing now; a `readable` event follows.
  case blocked
  /// The other end finished its direction, or the stream is closed.
  case end
}
