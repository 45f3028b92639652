import LinuxIO
import Parts
import Values

/// A service at work, owned by the daemon and swapped alone: nothing of it is shared with another service but the
/// loop, so that a reload can stop one and start its successor while the others keep their sockets and connections.
protocol RunningService: AnyObject {
  var name: String { get }
  /// What a user reads beside the name: `tun client`, `relay over icmp6`.
  var summary: String { get }
  /// The connections that it has now.
  var paths: [(name: String, path: Path)] { get }
  /// Facts for `culvert path` about one of these connections, by its name, that belong to none of its legs.
  func facts(of connection: String) -> [(key: String, value: String)]
  /// Facts for `culvert path` that belong to no leg, in order: interface, offloads, counters.
  var details: [(key: String, value: String)] { get }
  /// Adds what it counts to the page of metrics.
  func count(on page: inout MetricsPage)
  /// The interface that it has made on this host, if that is what it does.
  var interfaceName: String? { get }
  /// Whether a tunnel stands; `nil` where the question has no sense.
  var isUp: Bool? { get }
  /// How the service would take what a new file says of it without giving up its socket or interface; `nil` when it has
  /// to be replaced by a new one. Nothing changes before the `commit` of what is returned is called, and what can go
  /// wrong has gone wrong by then.
  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover?
  /// The host's links, addresses or routes changed.
  func networkChanged()
  /// Ends everything and gives back what was taken from the system.
  func stop()
}

extension RunningService {
  func facts(of connection: String) -> [(key: String, value: String)] { [] }
  func count(on page: inout MetricsPage) {}
  var interfaceName: String? { nil }
}

/// What a service does to follow a new file.
struct Takeover {
  /// Said to the user, such as "3 connections go on".
  let note: String?
  let commit: () -> Void
}

/// Why a service did not start, in one line.
public struct StartFailure: Error, Hashable, Sendable {
  public let service: String
  public let reason: String

  public init(service: String, reason: String) {
    self.service = service
    self.reason = reason
  }
}

extension StartFailure: CustomStringConvertible {
  public var description: String { "service \(service): \(reason)" }
}

/// What all services of a loop share.
public final class ServiceContext {
  public let loop: EventLoop
  public let log: Log
  public let arena = ReceiveArena()
  public let sendBuffer = SendBuffer()
  public let joints: StreamJoint.Shared
  public let resetSecret: [UInt8]
  let turnRelays = TurnRelays()
  /// The page of metrics as it is now; the daemon says how it comes.
  var metrics: () -> String = { "" }

  public init(loop: EventLoop, log: Log) {
    joints = StreamJoint.Shared(loop: loop)
    self.loop = loop
    self.log = log
    resetSecret = ResetSecret.load(log: log)
  }
}
