import Recording
import Values

/// A machine that writes down what it goes through, and can go through it again.
///
/// Each is a thin wrapper with the calls of the machine inside. Without a recorder a call costs one comparison more;
/// with one it writes its inputs, makes the call, and writes what came out. `replay` reads the inputs of such a line
/// and makes the call *through the wrapper*, which writes the line again: a replay is right when the two lines have the
/// same bytes. So there is one description of a machine's inputs and outcomes, and a member that is written and not
/// read, or read and not written, is a difference in the first test.
///
/// What is taken out of a line (`HeadDecoder.redact`, `ByteShape`) has to leave the same line when it is taken out of
/// what is left.
public protocol Replayable: ~Copyable, SendableMetatype {
  /// As the birth's line has it.
  static var kind: String { get }

  /// Makes a machine from the seed of its birth, which it writes to the recorder again.
  init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError)

  mutating func replay(_ call: RecordCall) throws(RecordingError)
}

/// A call of a machine, as a line has it.
public struct RecordCall {
  public let name: String
  public let at: Instant
  public let inputs: RecordFields

  /// For a name that the machine does not have.
  func unknown(_ kind: String) -> RecordingError { RecordingError("a \(kind) has no call `\(name)`") }
}

/// A replayable machine of any kind, as the replay holds it.
class ReplayedMachine {
  func replay(_ call: RecordCall) throws(RecordingError) {}
}

/// The maker of machines of one kind.
struct MachineKind: Sendable {
  let name: String
  /// As many may be there at once, where one is large.
  let most: Int?
  let make: @Sendable (RecordFields, Recorder, String) throws(RecordingError) -> ReplayedMachine

  private final class Box<Machine: Replayable & ~Copyable>: ReplayedMachine {
    var machine: Machine

    init(_ machine: consuming Machine) { self.machine = machine }

    override func replay(_ call: RecordCall) throws(RecordingError) { try machine.replay(call) }
  }

  init<Machine: Replayable & ~Copyable>(_ type: Machine.Type, most: Int? = nil) {
    name = type.kind
    self.most = most
    make = { (seed, recorder, about) throws(RecordingError) in
      Box(try Machine(seed: seed, recorder: recorder, about: about))
    }
  }

  /// Every kind that there is.
  static let all: [MachineKind] = [
    MachineKind(RecordedTunClient.self), MachineKind(RecordedTunRegistry.self), MachineKind(RecordedSmux.self),
    MachineKind(RecordedSOCKS5Server.self), MachineKind(RecordedSOCKS5Client.self),
    MachineKind(RecordedDecoder<SOCKS4RequestDecoder>.self), MachineKind(RecordedDecoder<SOCKS4ReplyDecoder>.self),
    MachineKind(RecordedDecoder<SOCKS5ReplyDecoder>.self), MachineKind(RecordedDecoder<RelayRequestDecoder>.self),
    MachineKind(RecordedDecoder<RelayResponseDecoder>.self), MachineKind(RecordedDecoder<HTTPRequestDecoder>.self),
    MachineKind(RecordedDecoder<HTTPResponseDecoder>.self), MachineKind(RecordedHTTPBody.self),
    MachineKind(RecordedWebSocketClient.self), MachineKind(RecordedWebSocketServer.self),
    MachineKind(RecordedWebSocketReceiver.self), MachineKind(RecordedDecoder<ProxyHeaderDecoder>.self),
    MachineKind(RecordedDecoder<LinkDecoder>.self), MachineKind(RecordedNodeSelector.self),
    MachineKind(RecordedFairQueue.self), MachineKind(RecordedPeerTimers.self),
    MachineKind(RecordedTurnServer.self, most: 256), MachineKind(RecordedTURNClient.self),
  ]
}
