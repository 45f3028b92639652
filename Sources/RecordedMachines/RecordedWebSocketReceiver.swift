import Recording
import Values
import WebSocket

/// The reading of frames on tape: their headers, masks and the codes of close frames; payload is a number.
public struct RecordedWebSocketReceiver: Replayable {
  public static var kind: String { "websocket.receiver" }

  private var machine: WebSocketReceiver
  private let tape: Tape?
  private var frames: FrameShape?
  /// It threw. Nobody asks it again, and nothing more is written: what was taken out could count from here on.
  private var isOver = false

  public init(role: WebSocketReceiver.Role, _ recorder: Recorder?, about: @autoclosure () -> String) {
    machine = WebSocketReceiver(role: role)
    guard let recorder else {
      tape = nil
      return
    }
    frames = FrameShape(isServer: role == .server)
    tape = recorder.tape(Self.kind, about: about()) { $0.text("role", role == .client ? "client" : "server") }
  }

  public var isAtBoundary: Bool { machine.isAtBoundary }
  public var close: WebSocketReceiver.Close? { machine.close }
  public var controlFrames: UInt64 { machine.controlFrames }

  public mutating func takePing() -> [UInt8]? {
    let ping = machine.takePing()
    if let ping, !isOver { tape?.call("ping", out: { $0.number("bytes", ping.count) }) }
    return ping
  }

  public mutating func receive(_ bytes: UnsafeMutableRawBufferPointer) throws(WebSocketError) -> Int {
    guard let tape, tape.isRolling, !isOver else { return try machine.receive(bytes) }
    let shape = frames?.take(UnsafeRawBufferPointer(bytes)) ?? ByteShape()
    let isBegun = tape.begin("receive") { $0.shape("bytes", shape) }
    let result: Result<Int, WebSocketError>
    do { result = .success(try machine.receive(bytes)) } catch {
      result = .failure(error)
      isOver = true
    }
    if isBegun {
      let machine = machine
      tape.end { line in
        switch result {
        case .success(let count): line.number("payload", count)
        case .failure(let error): line.text("error", "\(error)")
        }
        if !machine.isAtBoundary { line.flag("boundary", false) }
        if machine.controlFrames > 0 { line.number("control", machine.controlFrames) }
        if let close = machine.close {
          line.number("closed", close.code?.rawValue ?? 0)
          line.number("reason", close.reason.count)
        }
      }
    }
    return try result.get()
  }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    self.init(role: try seed.text("role") == "client" ? .client : .server, recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    switch call.name {
    case "ping": _ = takePing()
    case "receive":
      var bytes = try call.inputs.shape("bytes").bytes
      bytes.withUnsafeMutableBytes { _ = try? receive($0) }
    default: throw call.unknown(Self.kind)
    }
  }
}

/// Tells the headers of frames from their payload (RFC 6455, section 5.2).
struct FrameShape {
  private let isServer: Bool
  private var header: [UInt8] = []
  /// Bytes of the payload that may be shown, and that may not.
  private var shown = 0
  private var hidden: UInt64 = 0
  private var isBroken = false

  init(isServer: Bool) { self.isServer = isServer }

  mutating func take(_ bytes: UnsafeRawBufferPointer) -> ByteShape {
    var shape = ByteShape()
    var index = 0
    while index < bytes.count {
      if isBroken {
        shape.leave(bytes.count - index)
        return shape
      }
      if shown > 0 {
        shape.keep(bytes[index])
        shown -= 1
        index += 1
      } else if hidden > 0 {
        let count = Int(min(hidden, UInt64(bytes.count - index)))
        shape.leave(count)
        hidden -= UInt64(count)
        index += count
      } else {
        shape.keep(bytes[index])
        header.append(bytes[index])
        index += 1
        enter()
      }
    }
    return shape
  }

  private mutating func enter() {
    guard header.count >= 2 else { return }
    let (first, second) = (header[0], header[1])
    let kind = WebSocketFrame.Kind(rawValue: first & 0x0F)
    guard first & 0x70 == 0, let kind, (second & 0x80 != 0) == isServer else {
      isBroken = true
      return
    }
    let lengthSize = second & 0x7F == 127 ? 8 : second & 0x7F == 126 ? 2 : 0
    guard header.count == 2 + lengthSize + (isServer ? 4 : 0) else { return }
    var length = UInt64(second & 0x7F)
    if lengthSize > 0 { length = header[2..<(2 + lengthSize)].reduce(0) { $0 << 8 | UInt64($1) } }
    header = []
    guard length <= WebSocketReceiver.maximumFrame else {
      isBroken = true
      return
    }
    shown = kind == .close ? Int(min(length, 2)) : 0
    hidden = length - UInt64(shown)
  }
}
