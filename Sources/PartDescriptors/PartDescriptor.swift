import Values

/// What a part is, written once: the checker, the help, `explain`, the schema and the registry of running parts all
/// read these values, so no truth about a part stands in two places.
///
/// Every type name that GOST has is here, so that one that Culvert does not have yet can be refused by name, and a
/// misspelt one can be told from both. Metadata keys are listed in full for the available parts only.
public struct PartDescriptor: Sendable {
  public let kind: PartKind
  /// Lower case; the first is the canonical one.
  public let names: [String]
  public let availability: Availability
  /// One line for help and diagnostics, without a full stop.
  public let summary: String
  public let keys: [MetadataKey]
  /// What passes between this part and its neighbour.
  public let carries: Carriage
  /// For a handler the protocols that it understands, for a connector those that it speaks. Listeners and dialers
  /// speak none: `transport` says what they are on the wire.
  public let speaks: [WireProtocol]
  /// For a listener or dialer, the name by which its other end is found: a dialer reaches a listener of the same
  /// transport.
  public let transport: String?
  /// The only address family that the part works with.
  public let family: AddressFamily?
  public let authentication: Authentication
  /// What the part adds to each packet.
  public let overhead: Overhead
  /// Whether a port in its address is a port: the number is an echo identifier for ICMP, and nothing for a device.
  public let portMeaning: PortMeaning
  /// Whether its traffic is encrypted.
  public let encrypts: Bool
  /// What a part can do beyond connecting streams.
  public let abilities: Set<Ability>

  /// The canonical name.
  public var name: String { names.first ?? "" }

  init(
    _ kind: PartKind, _ names: [String], _ availability: Availability, _ summary: String,
    keys: [MetadataKey] = [], carries: Carriage = .streams, speaks: [WireProtocol] = [], transport: String? = nil,
    family: AddressFamily? = nil, authentication: Authentication = .ignored, overhead: Overhead = .none,
    portMeaning: PortMeaning = .port, encrypts: Bool = false, abilities: Set<Ability> = []
  ) {
    self.kind = kind
    self.names = names
    self.availability = availability
    self.summary = summary
    self.keys = keys
    self.carries = carries
    self.speaks = speaks
    self.transport = transport
    self.family = family
    self.authentication = authentication
    self.overhead = overhead
    self.portMeaning = portMeaning
    self.encrypts = encrypts
    self.abilities = abilities
  }

  /// The descriptor of a metadata key by any of its names, case-insensitively.
  public func key(_ name: String) -> MetadataKey? { keys.first { $0.answers(to: name) } }
}

public enum PartKind: String, Sendable, CaseIterable {
  case listener, handler, connector, dialer
}

public enum Availability: Sendable {
  case available
  /// GOST has it, Culvert does not have it yet.
  case notYet
}

/// What a part can do beyond connecting streams.
public enum Ability: Sendable, Hashable {
  /// A connector: datagrams to the target, with their boundaries kept.
  case datagrams
  /// A connector: a port at the far end, for the listeners `rtcp` and `rudp`.
  case bind
  /// A handler: it sends to the targets of its service's `forwarder`.
  case forwards
  /// A handler: it goes where its clients want, so that whoever may use it reaches what this host reaches.
  case proxies
  /// A listener: its connections begin with a PROXY protocol header when the service asks for one.
  case proxyProtocol
  /// A listener: it binds at the last node of `listener.chain`.
  case remote
  /// A listener: it has credentials of its own, which it sends to a server.
  case signsIn
  /// A connector or a handler: it has TLS of its own, with a `tls` block of its own.
  case tls
  /// A transport whose two ends share one `mux` session among many streams.
  case multiplexes
}

/// What passes through a part.
public enum Carriage: Sendable {
  case streams
  case datagrams
  /// A handler that takes what its listener gives, and passes it on as it is.
  case streamsOrDatagrams
  /// The packets of an interface.
  case device
  /// A handler whose protocol has a form for each: STUN and TURN.
  case both
}

/// A protocol between a connector and a handler.
public enum WireProtocol: String, Sendable, CaseIterable {
  case relay, tunnel, router, tun, tap, wireGuard, turn
  case http, http2, http3, masque
  case socks4, socks5
  case shadowsocks, shadowsocksUDP
  case sni, ssh, dns, file, api, metrics
  /// Bytes as they are: the far end decides where they go.
  case raw

  /// As a user writes it.
  public var title: String {
    switch self {
    case .relay: "relay"
    case .tunnel: "tunnel"
    case .router: "router"
    case .tun: "TUN over UDP"
    case .tap: "TAP over UDP"
    case .wireGuard: "WireGuard"
    case .turn: "TURN"
    case .http: "HTTP"
    case .http2: "HTTP/2"
    case .http3: "HTTP/3"
    case .masque: "MASQUE"
    case .socks4: "SOCKS4"
    case .socks5: "SOCKS5"
    case .shadowsocks: "Shadowsocks"
    case .shadowsocksUDP: "Shadowsocks over UDP"
    case .sni: "SNI"
    case .ssh: "SSH"
    case .dns: "DNS"
    case .file: "HTTP file requests"
    case .api: "the web API"
    case .metrics: "metrics requests"
    case .raw: "plain bytes"
    }
  }
}

/// How a part treats `auth` and authers (`gost.md` A.6).
public enum Authentication: Sendable {
  /// It asks for, or sends, a user name and a password.
  case credentials
  /// It asks for a user name alone, and its clients send no password: SOCKS4.
  case userName
  /// The user is the inner address and the password the passphrase: a `tun` handler.
  case passphrase
  /// GOST reads the setting and does nothing with it.
  case ignored
}

public enum PortMeaning: Sendable {
  case port
  /// ICMP: the identifier of the echo requests, 0 for a random one.
  case echoIdentifier
  /// Nothing: a device, standard input.
  case none
}

/// A key of `metadata`.
public struct MetadataKey: Sendable {
  /// The first is the canonical one; GOST takes the first of them that is written.
  public let names: [String]
  public let type: MetadataType
  public let availability: KeyAvailability
  /// One line for help and schema.
  public let summary: String

  public var name: String { names.first ?? "" }

  init(_ names: String, _ type: MetadataType, _ availability: KeyAvailability = .available, _ summary: String = "") {
    self.names = names.split(separator: "|").map(String.init)
    self.type = type
    self.availability = availability
    self.summary = summary
  }

  /// A key of a structured block (not of `metadata`) that is read by the same rules.
  public init(named name: String, _ type: MetadataType) { self.init(name, type) }

  public func answers(to name: String) -> Bool {
    let name = name.lowercased()
    return names.contains { $0.lowercased() == name }
  }
}

public enum KeyAvailability: Sendable, Equatable {
  case available
  case notYet
  /// Accepted, and changes nothing: GOST does nothing with it either, or Culvert has nothing that it could change. The
  /// reason.
  case withoutEffect(String)
}

/// How a value is read (`gost.md` B.3).
public enum MetadataType: Sendable, Equatable {
  case bool
  case int(ClosedRange<Int>)
  /// `10`, `"10"` (seconds) or `10s`; not negative.
  case duration
  case string
  case secret
  /// A list of text; one text counts as a list of one where GOST says so.
  case strings
  /// Text with comma-separated prefixes.
  case prefixes
  case address
  /// Text with comma-separated addresses.
  case addresses
  /// A list, or comma-separated text, of `prefix [gateway]`.
  case routes
  /// A list, or comma-separated text, of addresses and prefixes.
  case networks
  /// A list, or comma-separated text, of `TargetPattern`s.
  case targets
  /// A list, or comma-separated text, of addresses.
  case addressList
  /// A list, or comma-separated text, of addresses with ports.
  case endpoints
  /// A list, or comma-separated text, of addresses as others see them, each with the host's own behind a slash.
  case externals
  /// A range of ports such as `49152-65535`.
  case ports
  /// Bytes a second, such as `10MB`; K is 1,024 as in GOST's limiters.
  case rate
  /// Text, or a list of texts, that is never printed.
  case secrets
  /// A mapping of text to text, such as the lines of an HTTP header.
  case texts
  /// One of some words, case-sensitively; `later` are those that GOST has and Culvert does not have yet.
  case choice([String], later: [String])
  /// Text that begins with a slash.
  case path
  /// Not looked into: the key is refused anyway.
  case anything

  /// What is expected, in a user's words.
  public var expectation: String {
    switch self {
    case .bool: "`true` or `false`"
    case .int(let range):
      range.upperBound == Int(Int32.max)
        ? "a whole number from \(range.lowerBound) up"
        : "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .duration: "a duration such as `10s`, or seconds"
    case .string, .secret: "text"
    case .strings: "a list of text"
    case .prefixes: "addresses with prefix lengths, such as `10.0.0.1/24`, separated by commas"
    case .address: "an IP address"
    case .addresses: "IP addresses, separated by commas"
    case .networks: "a list of addresses and networks such as `10.0.0.0/8`"
    case .targets: "a list of targets such as `10.0.0.0/8`, `10.0.0.0/8:22` or `all`"
    case .addressList: "a list of IP addresses"
    case .endpoints: "a list of addresses with ports such as `192.0.2.1:3478`"
    case .externals: "a list of addresses such as `203.0.113.5` or `203.0.113.5/10.0.0.5`"
    case .ports: "a range of ports such as `49152-65535`"
    case .rate: "bytes a second, such as `10MB`"
    case .secrets: "text, or a list of texts"
    case .texts: "a mapping of names to texts"
    case .choice(let words, _): words.map { "`\($0)`" }.joined(separator: " or ")
    case .path: "a path that begins with `/`"
    case .routes: "a list of routes such as `10.0.0.0/8` or `10.0.0.0/8 10.1.0.1`"
    case .anything: "a value"
    }
  }
}
