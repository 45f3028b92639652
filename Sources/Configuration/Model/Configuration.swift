import PartDescriptors
import Values

/// The configuration as the daemon takes it: plain structs, references by name, places where a rule may point.
///
/// A value of this type comes from `ConfigurationLoader`. It is complete only when no diagnostic is an error or a
/// "not yet": a caller that runs it asks `LoadResult.mayRun` first.
public struct Configuration: Sendable {
  public var services: [ServiceConfiguration] = []
  public var chains: [ChainConfiguration] = []
  /// Hops that chains refer to by name.
  public var hops: [HopConfiguration] = []
  public var authers: [AutherConfiguration] = []
  /// The default certificate of all listeners.
  public var tls: TLSConfiguration?
  public var log: LogConfiguration?
  /// Where its pieces stand, for what has to name a place while it runs.
  public var sources = SourceMap()

  public init() {}

  public func chain(named name: String) -> ChainConfiguration? { chains.first { $0.name.value == name } }

  public func hop(named name: String) -> HopConfiguration? { hops.first { $0.name.value == name } }

  public func auther(named name: String) -> AutherConfiguration? { authers.first { $0.name.value == name } }

  /// The hops of a chain in order, those by reference looked up. A missing one is left out (and was an error).
  public func hops(of chain: ChainConfiguration) -> [HopConfiguration] {
    chain.hops.compactMap { item in
      switch item {
      case .inline(let hop): hop
      case .reference(let name): hop(named: name.value)
      }
    }
  }

  /// The chain that a service's targets are reached through; `nil`: straight from here.
  public func chain(of service: ServiceConfiguration) -> ChainConfiguration? {
    service.ignoresChains ? nil : service.handler.chain.flatMap { chain(named: $0.value) }
  }

  /// The chain at whose last node a service listens; `nil`: it listens here.
  public func listenerChain(of service: ServiceConfiguration) -> ChainConfiguration? {
    service.ignoresChains ? nil : service.listener.chain.flatMap { chain(named: $0.value) }
  }

  /// The credentials that a handler asks for: those of its authers, or its own `auth` where it names none, as GOST has
  /// it. Empty: it asks for none.
  public func credentials(of handler: HandlerConfiguration) -> [Credentials] {
    if handler.authers.isEmpty { return handler.auth.map { [$0] } ?? [] }
    return handler.authers.compactMap { auther(named: $0.value) }.flatMap(\.credentials)
  }
}

/// A listener with a handler behind it.
public struct ServiceConfiguration: Sendable {
  public var name: Located<String>
  /// As written, such as `:8421`; `""` when the file has none.
  public var addr: Located<String>
  public var handler: HandlerConfiguration
  public var listener: ListenerConfiguration
  public var forwarder: ForwarderConfiguration?
  /// Whom a WireGuard interface talks to.
  public var peers: [PeerConfiguration] = []
  /// Keys of `PartCatalog.service`: `interface so_mark preUp postUp preDown postDown dialTimeout`.
  public var metadata: Metadata
  public var span: SourceSpan

  /// `addr` in its parts; `nil` when it is not an address (and was an error). A listener that has no ports may be given
  /// a host alone.
  public var address: HostPort? {
    if addr.value.isEmpty { return HostPort(host: "", port: 0) }
    return HostPort(addr.value, in: listener.descriptor)
  }

  /// The files that its secrets are read from: the keys of a WireGuard interface and its peers, those of a TURN server.
  public var secretFiles: [Located<String>] {
    ([(handler.metadata, "privateKeyFile"), (handler.metadata, "secretFile")]
      + peers.map { ($0.settings, "presharedKeyFile") }).compactMap {
        metadata, name in
        metadata.string(name).flatMap { text in
          metadata.entry(name).map { Located(text, at: $0.valueSpan) }
        }
      }
  }

  /// Whether accepted connections begin with a PROXY protocol header, of either version.
  public var expectsProxyHeader: Bool { (metadata.int("proxyProtocol") ?? 0) > 0 }

  /// `ignoreChain`: the chains of this service are written and not used.
  public var ignoresChains: Bool { metadata.bool("ignoreChain") == true }

  /// The interface that outgoing sockets are bound to: `metadata.interface`, else the old `interface`.
  public var interface: Located<String>?
  /// The mark on outgoing sockets: `metadata.so_mark`, else the old `sockopts.mark`.
  public var mark: Located<UInt32>?
}

public struct HandlerConfiguration: Sendable {
  public var type: Located<String>
  /// `nil` when the type is unknown (and was an error).
  public var descriptor: PartDescriptor?
  public var chain: Located<String>?
  /// `auther` and `authers` together.
  public var authers: [Located<String>]
  public var auth: Credentials?
  /// The certificate of SOCKS5's private TLS methods; `nil` for the default one.
  public var tls: TLSConfiguration?
  /// How often dialling is tried again after it failed.
  public var retries: Int
  public var metadata: Metadata
  public var span: SourceSpan
}

public struct ListenerConfiguration: Sendable {
  public var type: Located<String>
  public var descriptor: PartDescriptor?
  /// Of the listeners that bind at the last node of a chain: `rtcp`, `rudp`.
  public var chain: Located<String>?
  /// Of the listener that signs in at a server: `turn`.
  public var auth: Credentials?
  public var tls: TLSConfiguration?
  public var metadata: Metadata
  public var span: SourceSpan
}

/// A peer of a WireGuard interface.
public struct PeerConfiguration: Sendable {
  /// Keys of `PartCatalog.peerKeys`.
  public var settings: Metadata
  public var span: SourceSpan

  /// For logs and `culvert path`: its name, else the beginning of its key as `wg` users say it.
  public var title: String { settings.string("name") ?? String((settings.string("publicKey") ?? "").prefix(8)) + "…" }

  public var allowedIPs: [Located<IPPrefix>] {
    guard let entry = settings.entry("allowedIPs"), case .prefixes(let prefixes) = entry.value else { return [] }
    return prefixes.enumerated().map { Located($1, at: entry.itemSpan($0)) }
  }

  /// As written; `nil` where the peer comes to us.
  public var endpoint: Located<String>? {
    settings.entry("endpoint").flatMap { entry in settings.string("endpoint").map { Located($0, at: entry.valueSpan) } }
  }
}

/// Where a client end sends: the TUN server, or the fixed target of a relay.
public struct ForwarderConfiguration: Sendable {
  public var nodes: [ForwardNodeConfiguration]
  public var selector: SelectorConfiguration?
  /// Whether its targets are those of a hop by name, which is not there yet (and was reported).
  var refersToHop: Bool
  public var span: SourceSpan
}

public struct ForwardNodeConfiguration: Sendable {
  public var name: Located<String>?
  /// As written; `address` has its parts.
  public var addr: Located<String>
  /// `tcp` or `udp`; that of the listener when it is absent.
  public var network: Located<String>?
  /// `weight backup maxFails failTimeout`; see `Selection.Candidate`.
  public var metadata: Metadata

  public var address: HostPort? { HostPort(addr.value) }
}

public struct ChainConfiguration: Sendable {
  public enum Hop: Sendable {
    case inline(HopConfiguration)
    case reference(Located<String>)
  }

  public var name: Located<String>
  public var hops: [Hop]
  public var span: SourceSpan
}

public struct HopConfiguration: Sendable {
  /// A hop written inside its chain may have no name; then `""` at the hop's place.
  public var name: Located<String>
  public var nodes: [NodeConfiguration]
  public var selector: SelectorConfiguration?
  /// Whether nodes come from a file, an address or a plugin as well, which is not there yet (and was reported).
  var isLoaded: Bool
  /// `interface` and `so_mark`, inherited by the nodes.
  public var metadata: Metadata
  public var span: SourceSpan
}

public struct NodeConfiguration: Sendable {
  public var name: Located<String>
  public var addr: Located<String>
  public var connector: ConnectorConfiguration
  public var dialer: DialerConfiguration
  public var metadata: Metadata
  /// The node's own, else its hop's.
  public var interface: Located<String>?
  public var mark: Located<UInt32>?
  /// The version of the PROXY protocol header that is sent to the node; `nil`: none. The node's own, else its hop's.
  public var proxyProtocol: Int?
  public var span: SourceSpan

  /// Whether this is no node but the way straight from here: `direct` or `virtual`.
  public var isDirect: Bool { connector.descriptor?.name == "direct" }

  /// Whether this is a dead end on purpose.
  public var rejects: Bool { isDirect && connector.metadata.string("action") == "reject" }

  /// `addr` in its parts; for ICMP the port is the echo identifier, 0 for a random one. `nil` for a node that dials
  /// the target itself (`isDirect`) and has no address.
  public var address: HostPort? { HostPort(addr.value, in: dialer.descriptor) }
}

extension HostPort {
  /// `host:port`; for a part that has no ports, as with ICMP, also a host alone, with port 0.
  init?(_ text: String, in part: PartDescriptor?) {
    if let address = HostPort(text) {
      self = address
    } else if part?.portMeaning == .echoIdentifier, let address = HostPort(Self.withPortZero(text)) {
      self = address
    } else {
      return nil
    }
  }

  static func withPortZero(_ host: String) -> String {
    IPAddress(host)?.family == .ipv6 ? "[\(host)]:0" : "\(host):0"
  }
}

public struct ConnectorConfiguration: Sendable {
  public var type: Located<String>
  public var descriptor: PartDescriptor?
  public var auth: Credentials?
  /// How SOCKS5's private TLS methods verify the node; `nil`: not at all, as GOST has it.
  public var tls: TLSConfiguration?
  public var metadata: Metadata
  public var span: SourceSpan
}

public struct DialerConfiguration: Sendable {
  public var type: Located<String>
  public var descriptor: PartDescriptor?
  public var tls: TLSConfiguration?
  public var metadata: Metadata
  public var span: SourceSpan
}

public struct SelectorConfiguration: Sendable {
  public var strategy: Located<String>?
  /// `round` for a strategy that GOST does not know either (and was reported).
  var meaning: Selection.Strategy
  public var maxFails: Int?
  public var failTimeout: TimeSpan?
  public var span: SourceSpan
}

public struct AutherConfiguration: Sendable {
  public var name: Located<String>
  public var credentials: [Credentials]
  public var span: SourceSpan
}

public struct Credentials: Sendable {
  public var username: Located<String>
  /// `nil` when the file has none; GOST then takes the empty password.
  public var password: Located<Secret>?
  public var span: SourceSpan

  public init(username: Located<String>, password: Located<Secret>?, span: SourceSpan) {
    self.username = username
    self.password = password
    self.span = span
  }

  public func matches(_ other: Credentials) -> Bool {
    username.value == other.username.value
      && (password?.value ?? Secret("")) == (other.password?.value ?? Secret(""))
  }
}

/// A `tls` block. Which fields matter depends on the side: a listener has a certificate, a dialer verifies one.
public struct TLSConfiguration: Sendable {
  public var certFile: Located<String>?
  public var keyFile: Located<String>?
  public var caFile: Located<String>?
  /// A dialer verifies the certificate only when this is true (GOST's default is false).
  public var secure: Located<Bool>?
  public var serverName: Located<String>?
  public var minVersion: Located<String>?
  public var maxVersion: Located<String>?
  public var cipherSuites: [Located<String>] = []
  /// The place of the key `options`, where it is written.
  var optionsSpan: SourceSpan?
  public var alpn: [Located<String>] = []
  /// How long a generated certificate is valid.
  public var validity: TimeSpan?
  public var commonName: String?
  public var organization: String?
  public var span: SourceSpan
}

public struct LogConfiguration: Sendable {
  public enum Level: String, Sendable, CaseIterable { case trace, debug, info, warn, error, fatal }
  public enum Format: String, Sendable, CaseIterable { case json, text }

  public struct Rotation: Sendable {
    /// Mebibytes.
    public var maxSize: Int?
    /// Days.
    public var maxAge: Int?
    public var maxBackups: Int?
    public var localTime: Bool?
    public var compress: Bool?
  }

  /// `stderr`, `stdout`, `none`, or a file.
  public var output: Located<String>?
  public var level: Level?
  public var format: Format?
  public var rotation: Rotation?
  public var span: SourceSpan
}
