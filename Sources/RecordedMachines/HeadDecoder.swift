import Recording
import Values

/// What a decoder makes of the bytes that have come so far.
public enum HeadStep<Message> {
  /// Some more are needed; how many at least, where that is known.
  case needs(Int?)
  case message(Message, consumed: Int)
}

/// Something that finds a message at the beginning of bytes that grow: it is asked again with all of them until it has
/// one. Most handshakes are read so, with memory of how far was looked or without any.
public protocol HeadDecoder {
  associatedtype Message
  associatedtype Failure: Error

  static var kind: String { get }

  init(seed: RecordFields) throws(RecordingError)

  func seed(_ line: inout RecordLine)

  mutating func step(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> HeadStep<Message>

  /// The bytes without what is secret or somebody's data, byte for byte as many. What is left leads to the same
  /// outcome, and has nothing more to leave out.
  func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8]

  static func describe(_ message: Message, _ line: inout RecordLine)

  /// Without words of the other end.
  static func describe(_ failure: Failure) -> String
}

extension HeadDecoder {
  public func seed(_ line: inout RecordLine) {}
  public static func describe(_ failure: Failure) -> String { "\(failure)" }
}

/// A decoder on tape. Only what is new since the last call is written, and nothing of what stands behind the message.
public struct RecordedDecoder<Decoder: HeadDecoder>: Replayable {
  public static var kind: String { Decoder.kind }

  public private(set) var decoder: Decoder
  private let tape: Tape?
  private var track = ByteTrack()
  /// It threw. Nobody asks it again, and nothing more is written: what was taken out could count from here on.
  private var isOver = false

  public init(_ decoder: Decoder, _ recorder: Recorder?, about: @autoclosure () -> String) {
    self.decoder = decoder
    if let recorder {
      tape = recorder.tape(Decoder.kind, about: about(), seed: decoder.seed)
    } else {
      tape = nil
    }
  }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(Decoder.Failure) -> HeadStep<Decoder.Message> {
    guard let tape else { return try decoder.step(bytes) }
    let result: Result<HeadStep<Decoder.Message>, Decoder.Failure>
    do { result = .success(try decoder.step(bytes)) } catch { result = .failure(error) }
    if tape.isRolling, !isOver { write(tape, bytes, result) }
    return try result.get()
  }

  private mutating func write(
    _ tape: Tape, _ bytes: UnsafeRawBufferPointer, _ result: Result<HeadStep<Decoder.Message>, Decoder.Failure>
  ) {
    var window = bytes
    if case .success(.message(_, let consumed)) = result {
      window = UnsafeRawBufferPointer(rebasing: bytes.prefix(consumed))
    }
    let shown = decoder.redact(window)
    tape.call("decode", { track.write(shown, to: &$0) }) { line in
      switch result {
      case .success(.needs(let count)):
        if let count { line.number("needs", count) } else { line.flag("needs-more", true) }
      case .success(.message(let message, let consumed)):
        line.number("consumed", consumed)
        Decoder.describe(message, &line)
      case .failure(let error): line.text("error", Decoder.describe(error))
      }
    }
    switch result {
    case .success(.needs): break
    case .success(.message): track = ByteTrack()
    case .failure: isOver = true
    }
  }

  // MARK: Replay

  private var buffer: [UInt8] = []

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    self.init(try Decoder(seed: seed), recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    guard call.name == "decode" else { throw call.unknown(Self.kind) }
    buffer = try ByteTrack.read(call.inputs, behind: buffer)
    let bytes = buffer
    // What it says is written by the call itself.
    let isWaiting = bytes.withUnsafeBytes { raw in
      if case .needs? = try? step(raw) { true } else { false }
    }
    if !isWaiting { buffer = [] }
  }
}

/// Bytes that grow from call to call: how many of those that were written last time still hold, and what is new.
struct ByteTrack {
  private var shown: [UInt8] = []

  /// More bytes than any head has that is waited for.
  static let longest = 256 * 1024

  mutating func write(_ bytes: [UInt8], to line: inout RecordLine) {
    var kept = 0
    let most = min(shown.count, bytes.count)
    while kept < most, shown[kept] == bytes[kept] { kept += 1 }
    if kept > 0 { line.number("keep", kept) }
    line.data("add", Array(bytes[kept...]))
    shown = bytes
  }

  static func read(_ inputs: RecordFields, behind before: [UInt8]) throws(RecordingError) -> [UInt8] {
    let kept = inputs.has("keep") ? try inputs.number("keep", in: 0...before.count) : 0
    let bytes = before[..<kept] + (try inputs.data("add"))
    guard bytes.count <= longest else { throw RecordingError("a head of more than \(longest) bytes") }
    return Array(bytes)
  }
}

extension HostPort {
  /// As a line has it.
  var recorded: String { description }
}
