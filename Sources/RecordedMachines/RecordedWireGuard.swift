import Recording
import Values
import WireGuard

/// The timers of one WireGuard peer on tape: what happened to its sessions, when, and what was due.
///
/// A device cannot be run again from a recording that holds no keys: what it makes of a message follows from them. What
/// can be is when it speaks and when it gives up, which is what tunnels that stall are about. The messages themselves
/// stand beside it as notes: their type, where they went, and what came of them.
public struct RecordedPeerTimers: Replayable {
  public static var kind: String { "wireguard.timers" }

  private var machine = PeerTimers()
  private let tape: Tape?

  public init(_ recorder: Recorder?, about: @autoclosure () -> String) {
    tape = recorder?.tape(Self.kind, about: about(), seed: { _ in })
  }

  /// A call and all actions that follow. Calls that change nothing are left out.
  public mutating func make(_ call: PeerTimers.Call, at now: Instant) {
    let before = machine
    machine.make(call, at: now)
    var actions: [PeerTimers.Action] = []
    while let action = machine.pollAction() { actions.append(action) }
    guard let tape, machine != before || !actions.isEmpty else { return }
    let machine = machine
    tape.call(Self.name(of: call), at: now, { Self.write(call, to: &$0) }) { line in
      if !actions.isEmpty { line.texts("actions", actions.map { "\($0)" }) }
      line.number("attempts", machine.attempts)
      guard let (due, why) = machine.nextDeadline() else { return }
      line.instant("due", due)
      line.text("why", why.rawValue)
    }
  }

  private static func name(of call: PeerTimers.Call) -> String {
    switch call {
    case .told: "handle"
    case .timedOut: "timeout"
    case .begun: "begin"
    }
  }

  private static func write(_ call: PeerTimers.Call, to line: inout RecordLine) {
    switch call {
    case .told(let input, let lots):
      switch input {
      case .dataSent: line.text("input", "data-sent")
      case .dataReceived: line.text("input", "data-received")
      case .sent: line.text("input", "sent")
      case .received: line.text("input", "received")
      case .initiationSent: line.text("input", "initiation-sent")
      case .initiationHeldBack(let since):
        line.text("input", "initiation-held-back")
        line.instant("since", since)
      case .handshakeCompleted: line.text("input", "handshake-completed")
      case .sessionDerived: line.text("input", "session-derived")
      case .persistentKeepalive(let interval):
        line.text("input", "persistent-keepalive")
        line.span("interval", interval)
      case .stopped: line.text("input", "stopped")
      }
      line.number("lots", lots)
    case .timedOut(let lots): line.number("lots", lots)
    case .begun: break
    }
  }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    self.init(recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    let inputs = call.inputs
    switch call.name {
    case "handle": make(.told(try Self.input(inputs), lots: try inputs.number("lots")), at: call.at)
    case "timeout": make(.timedOut(lots: try inputs.number("lots")), at: call.at)
    case "begin": make(.begun, at: call.at)
    default: throw call.unknown(Self.kind)
    }
  }

  private static func input(_ inputs: RecordFields) throws(RecordingError) -> PeerTimers.Input {
    switch try inputs.text("input") {
    case "data-sent": .dataSent
    case "data-received": .dataReceived
    case "sent": .sent
    case "received": .received
    case "initiation-sent": .initiationSent
    case "initiation-held-back": .initiationHeldBack(since: Instant(nanoseconds: try inputs.number("since")))
    case "handshake-completed": .handshakeCompleted
    case "session-derived": .sessionDerived
    case "persistent-keepalive": .persistentKeepalive(try inputs.span("interval") ?? .zero)
    case "stopped": .stopped
    case let other: throw RecordingError("there is no input `\(other)`")
    }
  }
}

/// A WireGuard device on tape: the timers of each peer as machines, and as notes what was said in handshakes.
///
/// It holds no key, no index and no byte of a message, and nobody's packets. What strangers send is not noted: a flood
/// would fill the recording.
public final class WireGuardTape: DeviceWitness {
  private let recorder: Recorder
  private let name: String
  private var peers: [PeerID: RecordedPeerTimers] = [:]

  public init(_ recorder: Recorder, about name: String) {
    self.recorder = recorder
    self.name = name
  }

  public func timers(of peer: PeerID, are call: PeerTimers.Call, at now: Instant) {
    peers[peer, default: RecordedPeerTimers(recorder, about: "\(name) \(peer)")].make(call, at: now)
  }

  public func timersEnded(of peer: PeerID) { peers[peer] = nil }

  /// A handshake message that was read.
  public func note(_ outcome: Device.Outcome, size: Int, from source: Endpoint) {
    switch outcome {
    case .malformed, .wrongMAC, .cookieDemanded, .limited, .unknownPeer: return
    case .initiationTaken, .responseTaken, .cookieTaken, .replayed, .unexpected, .forged: break
    }
    recorder.note("wireguard") { line in
      line.text("device", name)
      line.text("read", "\(outcome)")
      line.number("size", size)
      line.text("from", "\(source)")
    }
  }

  /// A handshake message that was sent.
  public func note(sent size: Int, to destination: Endpoint) {
    // Cookie replies answer strangers.
    guard size > 64 else { return }
    recorder.note("wireguard") { line in
      line.text("device", name)
      line.number("sent", size)
      line.text("to", "\(destination)")
    }
  }

  /// What the device said of a peer.
  public func note(_ event: Device.Event) {
    let (peer, text): (PeerID, String)
    switch event {
    case .handshakeCompleted(let id): (peer, text) = (id, "handshake completed")
    case .gaveUp(let id): (peer, text) = (id, "given up")
    case .removed(let id): (peer, text) = (id, "removed")
    case .dropSendKey(let id): (peer, text) = (id, "session over")
    case .endpoint(let id, let endpoint, let why):
      (peer, text) = (id, "\(why.rawValue): \(endpoint.map { "\($0)" } ?? "nowhere")")
    default: return
    }
    recorder.note("wireguard") { line in
      line.text("device", name)
      line.text("peer", "\(peer)")
      line.text("is", text)
    }
  }
}
