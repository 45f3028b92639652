import HTTPProxy
import Recording
import Values

/// The framing of a body on tape: of a body in chunks the lines around them, of any other only the number of bytes.
public struct RecordedHTTPBody: Replayable {
  public static var kind: String { "http.body" }

  private var machine: HTTPBody
  private let tape: Tape?
  private var chunks: ChunkShape?
  /// It threw. Nobody asks it again, and nothing more is written: what was taken out could count from here on.
  private var isOver = false

  public init(_ length: HTTPBody.Length, _ recorder: Recorder?, about: @autoclosure () -> String) {
    machine = HTTPBody(length)
    guard let recorder else {
      tape = nil
      return
    }
    if length == .chunked { chunks = ChunkShape() }
    tape = recorder.tape(Self.kind, about: about()) { line in
      switch length {
      case .none: line.text("length", "none")
      case .bytes(let count): line.text("length", "\(count)")
      case .chunked: line.text("length", "chunked")
      case .untilClose: line.text("length", "until-close")
      }
    }
  }

  public var isComplete: Bool { machine.isComplete }

  public mutating func take(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Int {
    guard let tape, tape.isRolling, !isOver else { return try machine.take(bytes) }
    let shape = chunks?.take(bytes)
    let isBegun = tape.begin("take") { line in
      if let shape { line.shape("bytes", shape) } else { line.number("count", bytes.count) }
    }
    let result: Result<Int, HTTPError>
    do { result = .success(try machine.take(bytes)) } catch {
      result = .failure(error)
      isOver = true
    }
    if isBegun {
      let isComplete = machine.isComplete
      tape.end { line in
        switch result {
        case .success(let count):
          line.number("taken", count)
          if isComplete { line.flag("complete", true) }
        case .failure(let error): line.text("error", "\(error)")
        }
      }
    }
    return try result.get()
  }

  public mutating func end() throws(HTTPError) {
    guard let tape, !isOver else { return try machine.end() }
    let result: Result<Void, HTTPError>
    do { result = .success(try machine.end()) } catch { result = .failure(error) }
    tape.call(
      "end",
      out: { line in
        if case .failure(let error) = result { line.text("error", "\(error)") } else { line.flag("complete", true) }
      })
    try result.get()
  }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    let length: HTTPBody.Length
    switch try seed.text("length") {
    case "none": length = .none
    case "chunked": length = .chunked
    case "until-close": length = .untilClose
    case let text:
      guard let count = UInt64(text) else { throw RecordingError("`\(text)` is no length of a body") }
      length = .bytes(count)
    }
    self.init(length, recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    switch call.name {
    case "take":
      let bytes =
        call.inputs.has("count")
        ? [UInt8](repeating: 0, count: try call.inputs.number("count", in: 0...RecordValue.longestLine))
        : try call.inputs.shape("bytes").bytes
      bytes.withUnsafeBytes { _ = try? take($0) }
    case "end": try? end()
    default: throw call.unknown(Self.kind)
    }
  }
}

/// Tells the lines around the chunks of a body from what is in them.
struct ChunkShape {
  private enum State {
    case size(UInt64, digits: Int)
    case `extension`(UInt64)
    case sizeEnd(UInt64)
    case data(UInt64)
    case dataEnd
    case trailerStart, trailerName, trailerValue
    /// The line end that is a line of its own was begun.
    case lastLine
    /// Behind the body, or behind what broke it: nothing is looked at any more.
    case over
  }

  private var state = State.size(0, digits: 0)

  mutating func take(_ bytes: UnsafeRawBufferPointer) -> ByteShape {
    var shape = ByteShape()
    var index = 0
    while index < bytes.count {
      switch state {
      case .data(let left):
        let count = Int(min(left, UInt64(bytes.count - index)))
        shape.leave(count)
        index += count
        state = left == UInt64(count) ? .dataEnd : .data(left - UInt64(count))
      case .over:
        shape.leave(bytes.count - index)
        return shape
      default:
        shape.keep(take(bytes[index]))
        index += 1
      }
    }
    return shape
  }

  /// The byte as it may be shown.
  private mutating func take(_ byte: UInt8) -> UInt8 {
    switch state {
    case .size(let size, let digits):
      if let digit = Self.digit(byte) {
        state = digits < 15 ? .size(size << 4 | digit, digits: digits + 1) : .over
      } else if byte == 0x0D, digits > 0 {
        state = .sizeEnd(size)
      } else if digits > 0, byte == UInt8(ascii: ";") || byte == 0x20 || byte == 0x09 {
        state = .extension(size)
      } else {
        state = .over
      }
      return byte
    case .extension(let size):
      if byte == 0x0D {
        state = .sizeEnd(size)
        return byte
      }
      return Self.cover(byte)
    case .sizeEnd(let size):
      state = byte != 0x0A ? .over : size == 0 ? .trailerStart : .data(size)
      return byte
    case .dataEnd:
      if byte == 0x0A { state = .size(0, digits: 0) } else if byte != 0x0D { state = .over }
      return byte
    case .trailerStart:
      state = byte == 0x0D ? .lastLine : byte == 0x0A ? .over : .trailerName
      return byte
    case .lastLine:
      state = byte == 0x0A ? .over : .trailerName
      return byte
    case .trailerName:
      if byte == UInt8(ascii: ":") { state = .trailerValue }
      if byte == 0x0A { state = .trailerStart }
      return byte
    case .trailerValue:
      if byte == 0x0A { state = .trailerStart }
      return Self.cover(byte)
    case .data, .over: return 0
    }
  }

  private static func cover(_ byte: UInt8) -> UInt8 { byte > 0x20 && byte != 0x7F ? UInt8(ascii: "x") : byte }

  private static func digit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case 0x30...0x39: UInt64(byte - 0x30)
    case 0x41...0x46: UInt64(byte - 0x41 + 10)
    case 0x61...0x66: UInt64(byte - 0x61 + 10)
    default: nil
    }
  }
}
