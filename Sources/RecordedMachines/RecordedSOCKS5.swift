import Recording
import SOCKS
import Values

/// Both ends of a SOCKS5 handshake on tape. User and password are covered wherever they stand: in what arrives, in what
/// is sent, and in the seed, which has their lengths.

public struct RecordedSOCKS5Server: Replayable {
  public static var kind: String { "socks5.server" }

  private var machine: SOCKS5Server
  private let tape: Tape?
  private var track = ByteTrack()
  /// It threw. Nobody asks it again, and nothing more is written: what was taken out could count from here on.
  private var isOver = false
  private var awaited = SOCKS5Bytes.greeting

  public init(wantsPassword: Bool, hasTLS: Bool, _ recorder: Recorder?, about: @autoclosure () -> String) {
    machine = SOCKS5Server(wantsPassword: wantsPassword, hasTLS: hasTLS)
    tape = recorder?.tape(Self.kind, about: about()) { line in
      line.flag("password", wantsPassword)
      line.flag("tls", hasTLS)
    }
  }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> (SOCKS5Server.Step, consumed: Int) {
    guard let tape else { return try machine.step(bytes) }
    let result: Result<(SOCKS5Server.Step, consumed: Int), SOCKSError>
    do { result = .success(try machine.step(bytes)) } catch { result = .failure(error) }
    if tape.isRolling, !isOver { write(tape, bytes, result) }
    return try result.get()
  }

  private mutating func write(
    _ tape: Tape, _ bytes: UnsafeRawBufferPointer, _ result: Result<(SOCKS5Server.Step, consumed: Int), SOCKSError>
  ) {
    var window = bytes
    if case .success((let step, let consumed)) = result, !step.isNeed {
      window = UnsafeRawBufferPointer(rebasing: bytes.prefix(consumed))
    }
    let shown = awaited.redact(window)
    tape.call("step", { track.write(shown, to: &$0) }) { line in
      switch result {
      case .success((let step, let consumed)):
        line.number("consumed", consumed)
        Self.describe(step, &line)
      case .failure(let error): line.text("error", "\(error)")
      }
    }
    guard case .success((let step, _)) = result else {
      isOver = true
      return
    }
    guard !step.isNeed else { return }
    track = ByteTrack()
    switch step {
    case .send(let choice), .startTLS(let choice): awaited = .awaited(behind: choice)
    default: awaited = .message
    }
  }

  private static func describe(_ step: SOCKS5Server.Step, _ line: inout RecordLine) {
    switch step {
    case .needs(let count): line.number("needs", count)
    case .send(let bytes): line.data("send", bytes)
    case .startTLS(let bytes): line.data("tls-behind", bytes)
    case .credentials(let given):
      line.number("user", given.user.count)
      line.number("password", given.password.count)
    case .request(let request):
      line.number("command", request.command.rawValue)
      line.text("address", request.address.recorded)
    case .refuse(let bytes, let why):
      line.data("refuse", bytes)
      line.text("why", "\(why)")
    }
  }

  public mutating func answer(isAllowed: Bool) -> SOCKS5Server.Step {
    let step = machine.answer(isAllowed: isAllowed)
    tape?.call("answer", { $0.flag("allowed", isAllowed) }) { Self.describe(step, &$0) }
    return step
  }

  // MARK: Replay

  private var buffer: [UInt8] = []

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    self.init(wantsPassword: try seed.flag("password"), hasTLS: try seed.flag("tls"), recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    switch call.name {
    case "step":
      buffer = try ByteTrack.read(call.inputs, behind: buffer)
      let bytes = buffer
      let isWaiting = bytes.withUnsafeBytes { raw in (try? step(raw))?.0.isNeed ?? false }
      if !isWaiting { buffer = [] }
    case "answer": _ = answer(isAllowed: try call.inputs.flag("allowed"))
    default: throw call.unknown(Self.kind)
    }
  }
}

public struct RecordedSOCKS5Client: Replayable {
  public static var kind: String { "socks5.client" }

  private var machine: SOCKS5Client
  private let tape: Tape?
  private var track = ByteTrack()
  /// It threw. Nobody asks it again, and nothing more is written: what was taken out could count from here on.
  private var isOver = false
  private var awaited = SOCKS5Bytes.pair

  /// `nil` when the host, the user or the password does not fit into its length.
  public init?(
    request: SOCKS5Request, credentials: SOCKS5Credentials?, offersTLS: Bool, _ recorder: Recorder?,
    about: @autoclosure () -> String
  ) {
    guard let machine = SOCKS5Client(request: request, credentials: credentials, offersTLS: offersTLS) else {
      return nil
    }
    self.machine = machine
    tape = recorder?.tape(Self.kind, about: about()) { line in
      line.number("command", request.command.rawValue)
      line.text("host", request.address.host)
      line.number("port", request.address.port)
      if let credentials {
        line.number("user", credentials.user.count)
        line.number("password", credentials.password.count)
      }
      line.flag("tls", offersTLS)
    }
  }

  public var greeting: [UInt8] {
    let bytes = machine.greeting
    tape?.call("greeting", out: { $0.data("send", bytes) })
    return bytes
  }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> (SOCKS5Client.Step, consumed: Int) {
    guard let tape else { return try machine.step(bytes) }
    let result: Result<(SOCKS5Client.Step, consumed: Int), SOCKSError>
    do { result = .success(try machine.step(bytes)) } catch { result = .failure(error) }
    if tape.isRolling, !isOver { write(tape, bytes, result) }
    return try result.get()
  }

  private mutating func write(
    _ tape: Tape, _ bytes: UnsafeRawBufferPointer, _ result: Result<(SOCKS5Client.Step, consumed: Int), SOCKSError>
  ) {
    var window = bytes
    if case .success((let step, let consumed)) = result, !step.isNeed {
      window = UnsafeRawBufferPointer(rebasing: bytes.prefix(consumed))
    }
    let shown = awaited.redact(window)
    tape.call("step", { track.write(shown, to: &$0) }) { line in
      switch result {
      case .success((let step, let consumed)):
        line.number("consumed", consumed)
        switch step {
        case .needs(let count): line.number("needs", count)
        case .send(let bytes): line.data("send", SOCKS5Bytes.coverSent(bytes))
        case .startTLS: line.flag("tls", true)
        case .reply(let reply):
          line.text("status", "\(reply.status)")
          line.text("address", reply.address.recorded)
        case .failed(let why): line.text("failed", "\(why)")
        }
      case .failure(let error): line.text("error", "\(error)")
      }
    }
    guard case .success((let step, _)) = result else {
      isOver = true
      return
    }
    guard !step.isNeed else { return }
    track = ByteTrack()
    if case .send(let bytes) = step { awaited = bytes.first == 1 ? .pair : .message }
  }

  public mutating func secured() -> [UInt8] {
    let bytes = machine.secured()
    awaited = bytes.first == 1 ? .pair : .message
    tape?.call("secured", out: { $0.data("send", SOCKS5Bytes.coverSent(bytes)) })
    return bytes
  }

  // MARK: Replay

  private var buffer: [UInt8] = []

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    var credentials: SOCKS5Credentials?
    if seed.has("user") {
      credentials = SOCKS5Credentials(
        user: SOCKS5Bytes.standIn(try seed.number("user", in: 0...255)),
        password: SOCKS5Bytes.standIn(try seed.number("password", in: 0...255)))
    }
    let request = SOCKS5Request(
      SOCKS5Command(rawValue: try seed.number("command")),
      HostPort(host: try seed.text("host"), port: try seed.number("port")))
    guard
      let made = RecordedSOCKS5Client(
        request: request, credentials: credentials, offersTLS: try seed.flag("tls"), recorder, about: about)
    else { throw RecordingError("a host that SOCKS5 cannot say") }
    self = made
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    switch call.name {
    case "greeting": _ = greeting
    case "secured": _ = secured()
    case "step":
      buffer = try ByteTrack.read(call.inputs, behind: buffer)
      let bytes = buffer
      let isWaiting = bytes.withUnsafeBytes { raw in (try? step(raw))?.0.isNeed ?? false }
      if !isWaiting { buffer = [] }
    default: throw call.unknown(Self.kind)
    }
  }
}

extension SOCKS5Server.Step {
  fileprivate var isNeed: Bool { if case .needs = self { true } else { false } }
}

extension SOCKS5Client.Step {
  fileprivate var isNeed: Bool { if case .needs = self { true } else { false } }
}

/// What may stand in a line of the bytes of a SOCKS5 handshake, by what is awaited.
enum SOCKS5Bytes {
  /// `05 | NMETHODS | METHODS`.
  case greeting
  /// `01 | ULEN | USER | PLEN | PASS`.
  case credentials
  /// `05 | METHOD`, `01 | STATUS`.
  case pair
  /// `05 | CMD or REP | 00 | address`.
  case message

  func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var message = StandIn(bytes)
    let first = message.keep()
    switch self {
    case .credentials where first == 1:
      message.coverCounted()
      message.coverCounted()
    case .greeting where first == SOCKS5.version: message.keep(Int(message.keep() ?? 0))
    case .pair where first == SOCKS5.version || first == 1: message.keep(1)
    case .message where first == SOCKS5.version:
      message.keep(2)
      switch message.keep() {
      case 1?: message.keep(4 + 2)
      case 3?: message.keep(Int(message.keep() ?? 0) + 2)
      case 4?: message.keep(16 + 2)
      default: break
      }
    // Another protocol: its first byte is all that was looked at.
    default: break
    }
    message.coverRest()
    return message.bytes
  }

  /// Of what a client sends only its credentials begin with 1.
  static func coverSent(_ bytes: [UInt8]) -> [UInt8] {
    bytes.first == 1 ? bytes.withUnsafeBytes(SOCKS5Bytes.credentials.redact) : bytes
  }

  /// What a server waits for behind its choice of a method.
  static func awaited(behind choice: [UInt8]) -> SOCKS5Bytes {
    choice == SOCKS5Choice(.password).encode() || choice == SOCKS5Choice(.tlsPassword).encode()
      ? .credentials : .message
  }

  static func standIn(_ count: Int) -> [UInt8] { [UInt8](repeating: UInt8(ascii: "x"), count: count) }
}
