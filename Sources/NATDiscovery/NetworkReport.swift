import Values

/// What a check of the network found: of this host, of each server over each transport, and of what lies between. Facts
/// only; `verdicts` says what follows from them.
public struct NetworkReport: Sendable {
  public var families: [FamilyReport] = []
  public var servers: [ServerReport] = []
  /// How long it all took.
  public var duration = TimeSpan.zero

  public init() {}

  /// Whether anything came back from a server, if only an echo.
  public var isAnything: Bool {
    transports.contains { $0.reaches || $0.connects }
      || servers.flatMap(\.endpoints).contains { if case .answered = $0.echo { true } else { false } }
  }

  /// Every transport of every address of every server.
  public var transports: [TransportReport] { servers.flatMap(\.endpoints).flatMap(\.transports) }
}

/// One family on this host.
public struct FamilyReport: Sendable {
  public struct Address: Sendable, Hashable {
    public let address: IPAddress
    public let interface: String

    public init(_ address: IPAddress, on interface: String) {
      self.address = address
      self.interface = interface
    }
  }

  public let family: AddressFamily
  /// Why there can be none: the kernel has it not, or it is switched off.
  public var obstacle: String?
  /// Those that can be used outside of one link.
  public var addresses: [Address] = []
  /// The interface and the gateway of the default route; `nil` without one.
  public var defaultRoute: (interface: String, gateway: IPAddress?)?
  public var lifetime: Judgement<BindingLifetime>?

  public init(_ family: AddressFamily) { self.family = family }
}

/// One server as the user named it.
public struct ServerReport: Sendable {
  public let word: ServerWord
  /// Why it has no address; `nil` where it has.
  public var failure: String?
  public var endpoints: [EndpointReport] = []

  public init(_ word: ServerWord) { self.word = word }
}

/// One address of a server.
public struct EndpointReport: Sendable {
  public let address: IPAddress
  public var transports: [TransportReport] = []
  public var echo: EchoReport = .notTried("it was not tried")

  public init(_ address: IPAddress) { self.address = address }
}

/// An ICMP echo to a server.
public enum EchoReport: Sendable, Hashable {
  case notTried(String)
  /// So many requests of each size, none came back.
  case silent(requests: Int)
  /// Something on the way, or our own kernel, refused.
  case refused(String)
  /// Whether one with 1,200 bytes of data came back too.
  case answered(TimeSpan, large: Bool)
}

/// One transport to one address.
public struct TransportReport: Sendable {
  public enum State: Sendable, Hashable {
    /// The time was over before anything was known.
    case pending
    /// It answers as a STUN server.
    case answered
    /// The connection, or the session, stands, and STUN is not spoken.
    case connected(String)
    /// Somebody said no: a refusal, an alert.
    case refused(String)
    /// We cannot even send: no route, no address of that family, not permitted.
    case unreachable(String)
    /// Nothing came back.
    case silent(String)
  }

  public let transport: ServerWord.Transport
  public let server: Endpoint
  public var state = State.pending
  public var local: Endpoint?
  public var mapped: Endpoint?
  public var roundTrips: [TimeSpan] = []
  public var lost = 0
  /// Whether connections of this transport reach the server, whatever it speaks.
  public var reaches = false
  /// Of TCP and TLS: whether the connection below stands.
  public var connects = false
  /// Of TLS: its version, and why its certificate was not accepted.
  public var session: String?
  public var certificate: String?
  /// Of UDP: what it told of the NAT and of sizes.
  public var discovery: DiscoveryResult?
  /// What became of allocations, by their family; `nil` is the server's choice.
  public var allocations: [(family: AddressFamily?, outcome: RelayDialogue.Allocation)] = []

  public init(_ transport: ServerWord.Transport, to server: Endpoint) {
    self.transport = transport
    self.server = server
  }

  public var roundTrip: TimeSpan? { DiscoveryResult.median(roundTrips) }
  public var isAnswered: Bool { state == .answered }
}

// MARK: A family's NAT

/// What all servers of one family together tell of the NAT.
public struct NATReport: Sendable {
  public let family: AddressFamily
  public let mapping: Judgement<MappingBehaviour>
  /// Who told, servers that gave it away.
  public let mappingBy: [Endpoint]
  public let filtering: Judgement<FilteringBehaviour>
  public let hairpin: Judgement<Bool>
  public let portPreservation: Judgement<Bool>
  public let externals: [IPAddress]
  public let oddities: [String]
}

extension NetworkReport {
  /// `nil` where no server of the family answered over UDP.
  public func nat(_ family: AddressFamily) -> NATReport? {
    let results = transports.filter { $0.server.family == family }.compactMap(\.discovery)
      .filter { $0.contact != .pending && $0.mapped != nil }
    guard let first = results.first else { return nil }
    func best<Value>(_ judgements: [Judgement<Value>], or other: Judgement<Value>) -> Judgement<Value> {
      judgements.first { $0.value != nil } ?? judgements.first ?? other
    }
    var mapping = best(results.map(\.mapping), or: first.mapping)
    var tellers = results.filter { $0.mapping.value != nil && $0.mapping == mapping }.prefix(1).map(\.server)
    if mapping.value == nil, let (value, servers) = Self.compare(results) {
      mapping = .known(value)
      tellers = servers
    }
    var oddities = results.flatMap { result in result.oddities.map { "\(result.server): \($0)" } }
    let values = Set(results.compactMap(\.mapping.value))
    if values.count > 1 {
      oddities.append(
        "servers tell different mappings: "
          + results.compactMap { result in result.mapping.value.map { "\(result.server) \($0.rawValue)" } }
          .joined(separator: ", "))
    }
    return NATReport(
      family: family, mapping: mapping, mappingBy: tellers,
      filtering: best(results.map(\.filtering), or: first.filtering),
      hairpin: best(results.map(\.hairpin), or: first.hairpin),
      portPreservation: best(results.map(\.portPreservation), or: first.portPreservation),
      externals: results.reduce(into: Set<IPAddress>()) { $0.formUnion($1.externals) }.sorted(), oddities: oddities)
  }

  /// What two servers without second addresses tell together: they saw the same socket.
  private static func compare(_ results: [DiscoveryResult]) -> (MappingBehaviour, [Endpoint])? {
    for (place, one) in results.enumerated() {
      for other in results[(place + 1)...]
      where one.server.address != other.server.address && one.local == other.local {
        return (one.mapped == other.mapped ? .endpointIndependent : .dependent, [one.server, other.server])
      }
    }
    return nil
  }
}
