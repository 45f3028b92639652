/// Facts: a value, how we know it, and since when.
///
/// The words that Culvert prints about a path are made of these. A `Receipt` comes only from the socket layer and a
/// report only from an authenticated channel, so that a claim nobody saw does not compile: both initialisers are
/// system-programming interfaces that exactly one module each may import (`HouseTests` checks the imports).
public struct Fact<Value> {
  public let value: Value
  public let evidence: Evidence
  public let at: Instant

  init(value: Value, evidence: Evidence, at: Instant) {
    self.value = value
    self.evidence = evidence
    self.at = at
  }

  /// The configuration says so; nothing has crossed yet.
  public static func configured(_ value: Value, at: Instant) -> Fact {
    Fact(value: value, evidence: .configured, at: at)
  }

  /// The other end of an authenticated channel said so.
  @_spi(PeerReports)
  public static func reported(_ value: Value, by node: String, at: Instant) -> Fact {
    Fact(value: value, evidence: .reported(by: node), at: at)
  }

  /// We told the other end of an authenticated channel, which agreed: a relay sends where it was told to.
  @_spi(PeerReports)
  public static func told(_ value: Value, to node: String, at: Instant) -> Fact {
    Fact(value: value, evidence: .told(to: node), at: at)
  }
}

extension Fact: Sendable where Value: Sendable {}
extension Fact: Equatable where Value: Equatable {}

/// How a fact came to be known.
public enum Evidence: Equatable, Sendable {
  /// A socket of ours carried it.
  case observed(Receipt)
  /// The other end or a relay said so, over an authenticated channel.
  case reported(by: String)
  /// We told a relay so, over an authenticated channel, and it agreed.
  case told(to: String)
  /// The file says so; nothing has crossed yet.
  case configured
}

extension Evidence: CustomStringConvertible {
  public var description: String {
    switch self {
    case .observed: "observed"
    case .reported(let node): "reported by \(node)"
    case .told(let node): "told to \(node)"
    case .configured: "configured"
    }
  }
}

/// What the socket layer saw: the addresses of a socket or of a packet that arrived on it.
public struct Receipt: Equatable, Sendable {
  public let local: Endpoint?
  public let remote: Endpoint?
  /// The interface's index, 0 where the kernel did not say.
  public let interface: UInt32
  public let at: Instant

  @_spi(SocketLayer)
  public init(local: Endpoint?, remote: Endpoint?, interface: UInt32 = 0, at: Instant) {
    self.local = local
    self.remote = remote
    self.interface = interface
    self.at = at
  }

  public var localFact: Fact<Endpoint>? { local.map { Fact(value: $0, evidence: .observed(self), at: at) } }
  public var remoteFact: Fact<Endpoint>? { remote.map { Fact(value: $0, evidence: .observed(self), at: at) } }
}
