import LinuxIO
import TURN
import Values

/// A TURN server as the file has it, for a node of a chain or for a listener.
public struct TURNServer {
  public enum Transport {
    case udp
    case tcp
    /// The layer over TCP, for a server of that name; `nil` for the one that the file has.
    case tls((_ name: String?) -> StreamUpgrade)
  }

  /// What paths call the relay.
  public let name: String
  public let target: NodeTarget
  public let transport: Transport
  public let credentials: TURNCredentials?
  public let allocation: AllocationFamilies
  /// The family that the file keeps off the allocation.
  public let forbiddenBehind: ForbiddenFamily?
  public let lifetime: TimeSpan
  public let mobility: Bool

  public init(
    name: String, target: NodeTarget, transport: Transport, credentials: TURNCredentials?,
    allocation: AllocationFamilies, forbiddenBehind: ForbiddenFamily?, lifetime: TimeSpan, mobility: Bool
  ) {
    self.name = name
    self.target = target
    self.transport = transport
    self.credentials = credentials
    self.allocation = allocation
    self.forbiddenBehind = forbiddenBehind
    self.lifetime = lifetime
    self.mobility = mobility
  }

  /// What the machine is to ask for.
  func settings(_ families: TURNClientSettings.Families) -> TURNClientSettings {
    TURNClientSettings(credentials: credentials, families: families, lifetime: lifetime, mobility: mobility)
  }

  /// The families of an allocation through which peers of one family are reached.
  func families(for family: AddressFamily) -> TURNClientSettings.Families {
    if allocation == .both { return .both }
    return family == .ipv4 ? .ipv4 : .ipv6
  }

  /// Why a peer of a family is not reached through the relay; `nil` when it may be.
  func objection(to family: AddressFamily) -> TransportFailure? {
    guard !allocation.policy.allows(family) else { return nil }
    let words = forbiddenBehind.map { "\($0)" } ?? "\(family) is forbidden by policy"
    return TransportFailure(.forbidden, "at the relay \(name) \(words)")
  }
}
