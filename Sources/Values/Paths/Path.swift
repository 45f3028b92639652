/// The way that a connection takes, leg by leg.
///
/// A leg joins two roles. What is known of it stands in facts; what is not known is `nil` and printed as unknown,
/// never guessed. The family of a leg is computed from an endpoint, so it cannot disagree with one.
public struct Path: Sendable {
  public let legs: [Leg]
  public let since: Instant

  public init(legs: [Leg], since: Instant) {
    self.legs = legs
    self.since = since
  }
}

/// Who stands at an end of a leg.
public enum Role: Hashable, Sendable {
  case us
  /// A client that came to a listener of ours.
  case client
  /// A node of a chain, by its name in the file.
  case hop(String)
  /// A relay that carries for a peer.
  case relay(String)
  case peer(String)
  /// What the connection is for.
  case target(String)
}

extension Role: CustomStringConvertible {
  public var description: String {
    switch self {
    case .us: "us"
    case .client: "client"
    case .hop(let name): "hop \(name)"
    case .relay(let name): "relay \(name)"
    case .peer(let name): "peer \(name)"
    case .target(let name): "target \(name)"
    }
  }

  public var kind: String {
    switch self {
    case .us: "us"
    case .client: "client"
    case .hop: "hop"
    case .relay: "relay"
    case .peer: "peer"
    case .target: "target"
    }
  }

  public var name: String? {
    switch self {
    case .us, .client: nil
    case .hop(let name), .relay(let name), .peer(let name), .target(let name): name
    }
  }
}

/// One stretch of a path between two programs.
public struct Leg: Sendable {
  public let from: Role
  public let to: Role
  public let local: Fact<Endpoint>?
  public let remote: Fact<Endpoint>?
  /// From the packet outwards in: `icmp6`, then `quic`, then `relay`. Empty when unknown.
  public let transport: [Layer]
  /// What crossed the leg for this connection, where we carried it.
  public let traffic: Traffic?
  /// The round trip between the leg's ends as the transport measures it; `nil` where it does not, or not yet.
  public let roundTrip: TimeSpan?
  /// The family that the file keeps off this leg; `nil` where both may be used.
  public let forbidden: ForbiddenFamily?

  public init(
    from: Role, to: Role, local: Fact<Endpoint>?, remote: Fact<Endpoint>?, transport: [Layer],
    traffic: Traffic? = nil, roundTrip: TimeSpan? = nil, forbidden: ForbiddenFamily? = nil
  ) {
    self.from = from
    self.to = to
    self.local = local
    self.remote = remote
    self.transport = transport
    self.traffic = traffic
    self.roundTrip = roundTrip
    self.forbidden = forbidden
  }

  /// The same leg with what was counted on it.
  public func with(_ traffic: Traffic) -> Leg {
    Leg(
      from: from, to: to, local: local, remote: remote, transport: transport, traffic: traffic, roundTrip: roundTrip,
      forbidden: forbidden)
  }

  /// The family of the packets on this leg, where an endpoint is known.
  public var family: AddressFamily? { (remote ?? local)?.value.address.canonical.family }

  /// The weakest evidence among the leg's facts; `nil` when nothing is known.
  public var evidence: Evidence? { (remote ?? local)?.evidence }
}

/// A family that a policy of the file keeps off a leg, and where the file says so.
public struct ForbiddenFamily: Hashable, Sendable {
  public let family: AddressFamily
  /// As messages name a place: `client.yaml:14`.
  public let place: String

  public init(_ family: AddressFamily, place: String) {
    self.family = family
    self.place = place
  }
}

extension ForbiddenFamily: CustomStringConvertible {
  public var description: String { "\(family) is forbidden by policy (\(place))" }
}

/// Bytes of payload that crossed a leg: `forward` from its first end to its second, `back` the other way.
public struct Traffic: Hashable, Sendable {
  public let forward: UInt64
  public let back: UInt64

  public init(forward: UInt64, back: UInt64) {
    self.forward = forward
    self.back = back
  }
}

/// One layer of a leg's transport with what was negotiated on it.
public enum Layer: Hashable, Sendable {
  case tcp
  case udp
  /// ICMP or ICMPv6 echo messages with GOST's envelope.
  case icmpEcho(family: AddressFamily, identifier: UInt16)
  case quic(version: UInt32, applicationProtocol: String)
  case tls(TLSFacts)
  case webSocket
  /// Streams multiplexed by smux, of protocol version 1 or 2.
  case smux(version: Int)
  case relay
  case http
  case socks4
  case socks5
  case wireGuard
  /// Channel data, or Send and Data indications, of a TURN allocation.
  case turn
}

/// What a handshake of TLS, or of DTLS, settled.
public struct TLSFacts: Hashable, Sendable {
  /// As GnuTLS names it: `TLS1.3`, `DTLS1.2`.
  public let version: String
  public let cipherSuite: String
  public let applicationProtocol: String?
  /// Whether the other end's certificate was verified; `nil` at a server that asks for none.
  public let peerVerified: Bool?

  public init(version: String, cipherSuite: String, applicationProtocol: String?, peerVerified: Bool?) {
    self.version = version
    self.cipherSuite = cipherSuite
    self.applicationProtocol = applicationProtocol
    self.peerVerified = peerVerified
  }

  /// Whether it is TLS for datagrams.
  public var isDatagrams: Bool { version.hasPrefix("DTLS") }
}
