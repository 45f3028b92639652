import Recording
import Smux
import Values

/// One end of a smux session on tape: every call of its owner, the headers of all frames in both directions, and of
/// payload the length.
public struct RecordedSmux: Replayable, ~Copyable {
  public static var kind: String { "smux" }

  private var machine: SmuxSession
  private let tape: Tape?
  private var arriving: SmuxShape
  private var leaving: SmuxShape
  /// What was handed in since the last `settle`, in a replay.
  private var lent: [UnsafeMutableRawBufferPointer] = []

  public init(
    side: SmuxSession.Side, settings: SmuxSettings, at now: Instant, _ recorder: Recorder?,
    about: @autoclosure () -> String
  ) {
    machine = SmuxSession(side: side, settings: settings, at: now)
    let version = UInt8(clamping: settings.version.rawValue)
    arriving = SmuxShape(version: version)
    leaving = SmuxShape(version: version)
    guard let recorder else {
      tape = nil
      return
    }
    let settings = machine.settings
    tape = recorder.tape(Self.kind, about: about()) { line in
      line.text("side", side == .client ? "client" : "server")
      line.number("began", now.nanoseconds)
      line.number("version", settings.version.rawValue)
      line.span("interval", settings.keepaliveInterval)
      line.span("timeout", settings.keepaliveTimeout)
      line.number("frame", settings.maximumFrame)
      line.number("buffer", settings.receiveBuffer)
      line.number("stream-buffer", settings.streamBuffer)
      line.number("streams", settings.maximumStreams)
    }
  }

  deinit { for buffer in lent { buffer.deallocate() } }

  // MARK: Questions, which change nothing

  public var settings: SmuxSettings { machine.settings }
  public var counts: SmuxCounts { machine.counts }
  public var wantsInput: Bool { machine.wantsInput }
  public var output: UnsafeRawBufferPointer { machine.output }
  public var isRoomy: Bool { machine.isRoomy }
  public func unread(_ id: UInt32) -> Int { machine.unread(id) }
  public func isPeerFinished(_ id: UInt32) -> Bool { machine.isPeerFinished(id) }
  public func isAbandoned(_ id: UInt32) -> Bool { machine.isAbandoned(id) }
  public func nextDeadline() -> Instant? { machine.nextDeadline() }

  // MARK: Calls

  public mutating func receive(_ bytes: UnsafeRawBufferPointer, at now: Instant) throws(SmuxError) {
    guard let tape, tape.isRolling else { return try machine.receive(bytes, at: now) }
    let shape = arriving.take(bytes)
    let isBegun = tape.begin("receive", at: now) { $0.shape("bytes", shape) }
    let error = Self.error { () throws(SmuxError) in try machine.receive(bytes, at: now) }
    if isBegun { end(tape, error) }
    if let error { throw error }
  }

  public mutating func handleTimeout(at now: Instant) throws(SmuxError) {
    guard let tape, tape.isRolling else { return try machine.handleTimeout(at: now) }
    let isBegun = tape.begin("timeout", at: now)
    let error = Self.error { () throws(SmuxError) in try machine.handleTimeout(at: now) }
    if isBegun { end(tape, error) }
    if let error { throw error }
  }

  private static func error(_ body: () throws(SmuxError) -> Void) -> SmuxError? {
    do throws(SmuxError) { try body() } catch { return error }
    return nil
  }

  private func end(_ tape: Tape, _ error: SmuxError?) {
    let due = machine.nextDeadline()
    let wants = machine.wantsInput
    let output = machine.output.count
    tape.end { line in
      if let error { line.text("error", "\(error)") }
      if output > 0 { line.number("output", output) }
      if !wants { line.flag("wants", false) }
      line.instant("due", due)
    }
  }

  public mutating func pollEvent() -> SmuxEvent? {
    let event = machine.pollEvent()
    tape?.call(
      "event",
      out: { line in
        switch event {
        case .opened(let id)?: line.number("opened", id)
        case .readable(let id)?: line.number("readable", id)
        case .abandoned(let id)?: line.number("abandoned", id)
        case nil: line.flag("none", true)
        }
      })
    return event
  }

  public mutating func settle() {
    machine.settle()
    tape?.call("settle")
  }

  public mutating func open() -> UInt32? {
    let id = machine.open()
    tape?.call("open", out: { $0.number("stream", id ?? 0) })
    return id
  }

  public mutating func read(_ id: UInt32, into buffer: UnsafeMutableRawBufferPointer) -> SmuxRead {
    let result = machine.read(id, into: buffer)
    guard let tape else { return result }
    let output = machine.output.count
    tape.call(
      "read",
      { line in
        line.number("stream", id)
        line.number("room", buffer.count)
      }
    ) { line in
      switch result {
      case .bytes(let count): line.number("bytes", count)
      case .blocked: line.flag("blocked", true)
      case .end: line.flag("end", true)
      }
      if output > 0 { line.number("output", output) }
    }
    return result
  }

  public mutating func write(_ id: UInt32, _ bytes: UnsafeRawBufferPointer) -> Int {
    let accepted = machine.write(id, bytes)
    guard let tape else { return accepted }
    let output = machine.output.count
    tape.call(
      "write",
      { line in
        line.number("stream", id)
        line.number("bytes", bytes.count)
      }
    ) { line in
      line.number("taken", accepted)
      line.number("output", output)
    }
    return accepted
  }

  public mutating func finish(_ id: UInt32) {
    machine.finish(id)
    tape?.call("finish", { $0.number("stream", id) })
  }

  public mutating func close(_ id: UInt32) {
    machine.close(id)
    tape?.call("close", { $0.number("stream", id) })
  }

  public mutating func consumeOutput(_ count: Int) {
    guard let tape, tape.isRolling else { return machine.consumeOutput(count) }
    let taken = UnsafeRawBufferPointer(rebasing: machine.output.prefix(max(0, count)))
    let shape = leaving.take(taken)
    machine.consumeOutput(count)
    tape.call("consume", { $0.number("bytes", count) }) { $0.shape("sent", shape) }
  }

  public mutating func nextWriter() -> UInt32? {
    let id = machine.nextWriter()
    tape?.call("writer", out: { $0.number("stream", id ?? 0) })
    return id
  }

  public mutating func trim() {
    machine.trim()
    tape?.call("trim")
  }

  // MARK: Replay

  /// What a recording may make a session hold, in bytes.
  private static let largestBuffer = 64 << 20
  /// The most that one call moves.
  private static let largestCall = 16 << 20

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    guard let version = SmuxVersion(rawValue: try seed.number("version")) else {
      throw RecordingError("a version of smux that there is not")
    }
    let settings = SmuxSettings(
      version: version, keepaliveInterval: try seed.span("interval"),
      keepaliveTimeout: try seed.span("timeout") ?? .zero, maximumFrame: try seed.number("frame"),
      receiveBuffer: try seed.number("buffer", in: 1...Self.largestBuffer),
      streamBuffer: try seed.number("stream-buffer"), maximumStreams: try seed.number("streams"))
    self.init(
      side: try seed.text("side") == "client" ? .client : .server, settings: settings,
      at: Instant(nanoseconds: try seed.number("began")), recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    let inputs = call.inputs
    switch call.name {
    case "receive":
      // No owner hands in what is not wanted, and this is what bounds the memory.
      guard machine.wantsInput, lent.count < 64 else { throw RecordingError("bytes that were not wanted") }
      let bytes = try inputs.shape("bytes").bytes
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
      buffer.copyBytes(from: bytes)
      lent.append(buffer)
      try? receive(UnsafeRawBufferPointer(buffer), at: call.at)
    case "settle":
      settle()
      for buffer in lent { buffer.deallocate() }
      lent = []
    case "timeout": try? handleTimeout(at: call.at)
    case "event": _ = pollEvent()
    case "open": _ = open()
    case "read":
      let size = try inputs.number("room", in: 0...Self.largestCall)
      let id: UInt32 = try inputs.number("stream")
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
      _ = read(id, into: buffer)
      buffer.deallocate()
    case "write":
      let bytes = [UInt8](repeating: 0, count: try inputs.number("bytes", in: 0...Self.largestCall))
      let id: UInt32 = try inputs.number("stream")
      bytes.withUnsafeBytes { _ = write(id, $0) }
    case "finish": finish(try inputs.number("stream"))
    case "close": close(try inputs.number("stream"))
    case "consume": consumeOutput(try inputs.number("bytes"))
    case "writer": _ = nextWriter()
    case "trim": trim()
    default: throw call.unknown(Self.kind)
    }
  }
}

/// Tells the headers of smux's frames from their payload.
struct SmuxShape {
  private let version: UInt8
  private var header: [UInt8] = []
  private var shown = 0
  private var hidden = 0
  /// What follows is no smux.
  private var isBroken = false

  init(version: UInt8) { self.version = version }

  mutating func take(_ bytes: UnsafeRawBufferPointer) -> ByteShape {
    var shape = ByteShape()
    var index = 0
    while index < bytes.count {
      let left = bytes.count - index
      if isBroken {
        shape.leave(left)
        return shape
      }
      if hidden > 0 {
        let count = min(hidden, left)
        shape.leave(count)
        hidden -= count
        index += count
      } else {
        shape.keep(bytes[index])
        if shown > 0 { shown -= 1 } else { take(bytes[index]) }
        index += 1
      }
    }
    return shape
  }

  /// A byte of a header: `VERSION | COMMAND | LENGTH u16 LE | STREAM u32 LE`.
  private mutating func take(_ byte: UInt8) {
    header.append(byte)
    guard header.count == 8 else { return }
    let length = Int(header[2]) | Int(header[3]) << 8
    let command = header[1]
    let isRight = header[0] == version
    header = []
    switch command {
    case 2 where isRight: hidden = length
    case 4 where isRight && version == 2 && length == 8: shown = length
    case 0 where isRight && length == 0, 1 where isRight && length == 0, 3 where isRight && length == 0: break
    default: isBroken = true
    }
  }
}
