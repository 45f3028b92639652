import Recording
import TunProtocol
import Values

/// The client's side of a TUN tunnel on tape. The passphrase is its length.
///
/// Each batch of packets is an input, and most of them change nothing: those are left out, since a machine that is as
/// it was before does whatever it does next in either case.
public struct RecordedTunClient: Replayable {
  public static var kind: String { "tun.client" }

  private var machine: TunClient
  private let tape: Tape?
  private let passphrase: Int

  public init(
    addresses: [IPAddress], passphrase: [UInt8], keepalive: TimeSpan?, _ recorder: Recorder?,
    about: @autoclosure () -> String
  ) {
    machine = TunClient(addresses: addresses, passphrase: passphrase, keepalive: keepalive)
    self.passphrase = min(passphrase.count, TunHandshake.passphraseSize)
    tape = recorder?.tape(Self.kind, about: about()) { line in
      line.texts("addresses", addresses.map(\.description))
      line.number("passphrase", passphrase.count)
      line.span("keepalive", keepalive)
    }
  }

  public var isJoined: Bool { machine.isJoined }
  public var wasAnswered: Bool { machine.wasAnswered }
  public func nextDeadline() -> (Instant, String)? { machine.nextDeadline() }

  public mutating func handle(_ input: TunClient.Input, at now: Instant) {
    guard let tape else { return machine.handle(input, at: now) }
    let before = machine
    machine.handle(input, at: now)
    guard machine != before else { return }
    let machine = machine
    tape.call("handle", at: now, { Self.write(input, to: &$0) }) { Self.describe(machine, &$0) }
  }

  public mutating func handleTimeout(at now: Instant) {
    machine.handleTimeout(at: now)
    guard let tape else { return }
    let machine = machine
    tape.call("timeout", at: now, out: { Self.describe(machine, &$0) })
  }

  private static func describe(_ machine: TunClient, _ line: inout RecordLine) {
    line.flag("joined", machine.isJoined)
    guard let (due, why) = machine.nextDeadline() else { return }
    line.instant("due", due)
    line.text("why", why)
  }

  public mutating func pollTransmit() -> [UInt8]? {
    let bytes = machine.pollTransmit()
    if let bytes {
      let size = passphrase
      tape?.call(
        "transmit",
        out: { line in
          // "GOST" | passphrase | addresses.
          var shown = bytes
          for index in 4..<(4 + size) where index < shown.count { shown[index] = UInt8(ascii: "x") }
          line.data("bytes", shown)
        })
    }
    return bytes
  }

  public mutating func pollEvent() -> TunClient.Event? {
    let event = machine.pollEvent()
    if let event {
      tape?.call(
        "event",
        out: { line in
          switch event {
          case .joined(let observed): line.text("joined", "\(observed)")
          case .giveUp(let unanswered): line.number("give-up", unanswered)
          }
        })
    }
    return event
  }

  private static func write(_ input: TunClient.Input, to line: inout RecordLine) {
    switch input {
    case .carrierOpened: line.text("input", "opened")
    case .carrierClosed: line.text("input", "closed")
    case .sent: line.text("input", "sent")
    case .heard: line.text("input", "heard")
    case .answered(let observed):
      line.text("input", "answered")
      line.text("observed", "\(observed)")
    case .networkChanged: line.text("input", "network-changed")
    }
  }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    var addresses: [IPAddress] = []
    for text in try seed.texts("addresses") {
      guard let address = IPAddress(text) else { throw RecordingError("`\(text)` is no address") }
      addresses.append(address)
    }
    self.init(
      addresses: addresses, passphrase: SOCKS5Bytes.standIn(try seed.number("passphrase", in: 0...4096)),
      keepalive: try seed.span("keepalive"), recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    switch call.name {
    case "handle": handle(try Self.input(call.inputs), at: call.at)
    case "timeout": handleTimeout(at: call.at)
    case "transmit": _ = pollTransmit()
    case "event": _ = pollEvent()
    default: throw call.unknown(Self.kind)
    }
  }

  private static func input(_ inputs: RecordFields) throws(RecordingError) -> TunClient.Input {
    switch try inputs.text("input") {
    case "opened": return .carrierOpened
    case "closed": return .carrierClosed
    case "sent": return .sent
    case "heard": return .heard
    case "answered": return .answered(observed: try inputs.address("observed"))
    case "network-changed": return .networkChanged
    case let other: throw RecordingError("there is no input `\(other)`")
    }
  }
}
