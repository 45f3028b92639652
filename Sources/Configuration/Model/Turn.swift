import PartDescriptors
import Values

/// TURN as the file has it, with every default in its place: what a server serves, and how a client reaches one.

/// A service with the handler `turn`.
public struct TurnServerConfiguration: Sendable {
  public var realm: String
  public var software: String?
  /// Users with passwords; a password that begins with `key:` is the key itself, in hexadecimal (`TurnUserKey`).
  public var users: [Credentials]
  /// Shared secrets of time-limited credentials, the first of which is the newest. Those of `secretFile` come on top.
  public var secrets: [Secret]
  public var secretFile: Located<String>?
  /// Binding alone; nothing is relayed.
  public var isStunOnly: Bool
  /// As written; see `ExternalAddress`.
  public var external: [ExternalAddress]
  /// Where allocations are made; empty: at all addresses of the host that others can be sent.
  public var addresses: [IPAddress]
  public var ports: ClosedRange<UInt16>
  public var family: FamilyPolicy
  public var lifetime: TimeSpan
  public var maxLifetime: TimeSpan
  public var allowsMobility: Bool
  public var relaysTCP: Bool
  /// Of these two the most exact entry that matches a peer decides; what neither covers is judged by the default.
  public var allow: [TargetPattern]
  public var deny: [TargetPattern]
  /// The addresses at which the services of the same file listen: no peer is one of these unless `allow` says so. An
  /// empty host stands for all addresses.
  public var own: [HostPort]
  /// `nil`: any number.
  public var userQuota: Int?
  public var sourceQuota: Int?
  public var totalQuota: Int?
  /// Bytes a second, in each direction.
  public var userBandwidth: Int?
  public var totalBandwidth: Int?
  /// How long allocations are kept after SIGTERM.
  public var drain: TimeSpan
  /// A second address and port of each family at most (RFC 5780).
  public var alternate: [Endpoint]
  public var xdp: TurnForwarding

  /// Whether clients have to prove who they are before anything is relayed.
  public var asksForCredentials: Bool { !users.isEmpty || !secrets.isEmpty || secretFile != nil }

  public static let defaultRealm = "culvert"
  /// RFC 8656, section 5: of the dynamic ports.
  public static let defaultPorts: ClosedRange<UInt16> = 49152...65535
  /// RFC 8656, section 3.2.
  public static let defaultLifetime = TimeSpan.seconds(600)
  public static let defaultMaxLifetime = TimeSpan.seconds(3600)
  public static let defaultDrain = TimeSpan.seconds(10)
}

/// Channel data in the kernel.
public enum TurnForwarding: String, Sendable, CaseIterable { case off, auto, driver, generic }

/// An address as others see it, and the host's own behind a translation: `203.0.113.5/10.0.0.5`, or the first alone.
public struct ExternalAddress: Sendable, Hashable, CustomStringConvertible {
  public let external: IPAddress
  /// `nil`: for every address of the host of that family.
  public let local: IPAddress?

  public init(external: IPAddress, local: IPAddress?) {
    self.external = external
    self.local = local
  }

  init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let external = parts.first.flatMap({ IPAddress($0) }) else { return nil }
    guard parts.count == 2 else {
      self.init(external: external, local: nil)
      return
    }
    guard let local = IPAddress(parts[1]) else { return nil }
    self.init(external: external, local: local)
  }

  public var description: String { local.map { "\(external)/\($0)" } ?? "\(external)" }
}

/// A password that is the key of long-term credentials itself: MD5 of `user:realm:password` (RFC 8489, section 9.2.2).
public enum TurnUserKey {
  public static let prefix = "key:"

  /// The sixteen bytes, where the password is a key.
  public static func bytes(of password: Secret) -> [UInt8]? {
    let text = password.reveal()
    guard text.hasPrefix(prefix) else { return nil }
    return bytes(hexadecimal: text.dropFirst(prefix.count))
  }

  /// `nil` unless it is 32 hexadecimal digits.
  static func bytes(hexadecimal text: some StringProtocol) -> [UInt8]? {
    let digits = text.utf8.map { byte -> UInt8? in
      switch byte {
      case 0x30...0x39: byte - 0x30
      case 0x41...0x46: byte - 0x37
      case 0x61...0x66: byte - 0x57
      default: nil
      }
    }
    let known = digits.compactMap { $0 }
    guard digits.count == 32, known.count == 32 else { return nil }
    return stride(from: 0, to: 32, by: 2).map { known[$0] << 4 | known[$0 + 1] }
  }
}

/// How a dialer or a listener `turn` reaches its server, and what it asks for.
public struct TurnClientConfiguration: Sendable {
  public enum Transport: String, Sendable, CaseIterable { case udp, tcp, tls }

  public var server: HostPort
  /// Where the server is written.
  public var span: SourceSpan
  public var transport: Transport
  public var username: String?
  /// `nil`: none, or one that is made of `secret` anew each time.
  public var password: Secret?
  public var secret: Secret?
  /// Of the leg to the server, and where it is written.
  public var family: FamilyPolicy
  public var familySpan: SourceSpan?
  public var allocation: AllocationFamilies
  public var allocationSpan: SourceSpan?
  public var wantsMobility: Bool
  public var lifetime: TimeSpan
  /// How a server's certificate is verified, with the transport `tls`.
  public var tls: TLSConfiguration?
  /// Of a listener: the addresses of peers that may send before they were sent to.
  public var permit: [IPAddress]
}

extension Configuration {
  /// What a service with the handler `turn` serves; `nil` for any other.
  public func turn(of service: ServiceConfiguration) -> TurnServerConfiguration? {
    guard service.handler.descriptor?.name == "turn" else { return nil }
    let metadata = service.handler.metadata
    let quota: (String) -> Int? = { name in metadata.int(name).flatMap { $0 > 0 ? $0 : nil } }
    let file = metadata.entry("secretFile").flatMap { entry in
      metadata.string("secretFile").map { Located($0, at: entry.valueSpan) }
    }
    return TurnServerConfiguration(
      realm: metadata.string("realm") ?? TurnServerConfiguration.defaultRealm, software: metadata.string("software"),
      users: credentials(of: service.handler), secrets: metadata.secrets("secret"), secretFile: file,
      isStunOnly: metadata.bool("stunOnly") == true, external: metadata.externals("external"),
      addresses: metadata.addresses("addresses"),
      ports: metadata.ports("ports") ?? TurnServerConfiguration.defaultPorts, family: metadata.familyPolicy,
      lifetime: metadata.duration("lifetime") ?? TurnServerConfiguration.defaultLifetime,
      maxLifetime: metadata.duration("maxLifetime") ?? TurnServerConfiguration.defaultMaxLifetime,
      allowsMobility: metadata.bool("mobility") == true, relaysTCP: metadata.bool("tcpRelay") == true,
      allow: metadata.targets("egress.allow"), deny: metadata.targets("egress.deny"),
      own: services.compactMap { own in
        guard own.listener.descriptor?.portMeaning == .port else { return nil }
        return own.address.flatMap { $0.port == 0 ? nil : $0 }
      },
      userQuota: quota("userQuota"), sourceQuota: quota("sourceQuota"), totalQuota: quota("totalQuota"),
      userBandwidth: metadata.rate("userBandwidth"), totalBandwidth: metadata.rate("totalBandwidth"),
      drain: drain(metadata), alternate: metadata.endpoints("alternate"),
      xdp: metadata.string("xdp").flatMap(TurnForwarding.init) ?? .off)
  }

  /// A zero is one: allocations end at once.
  private func drain(_ metadata: Metadata) -> TimeSpan {
    if case .duration(let span)? = metadata.entry("drain")?.value { return span }
    return TurnServerConfiguration.defaultDrain
  }
}

extension NodeConfiguration {
  /// Of a node with the dialer `turn`, whose address is that of the server.
  public var turn: TurnClientConfiguration? {
    guard dialer.descriptor?.name == "turn", let address else { return nil }
    return TurnClientConfiguration(
      server: address, at: addr.span, dialer.metadata, auth: connector.auth, tls: dialer.tls)
  }

  /// Whether what is sent to the node is encrypted.
  public var encrypts: Bool {
    dialer.descriptor?.encrypts == true || turn?.transport == .tls
  }
}

extension ServiceConfiguration {
  /// Of a service with the listener `turn`.
  public var turnClient: TurnClientConfiguration? {
    guard listener.descriptor?.name == "turn", let entry = listener.metadata.entry("server"),
      let address = listener.metadata.string("server").flatMap({ HostPort($0) })
    else { return nil }
    return TurnClientConfiguration(
      server: address, at: entry.valueSpan, listener.metadata, auth: listener.auth, tls: listener.tls)
  }
}

extension TurnClientConfiguration {
  fileprivate init(
    server: HostPort, at span: SourceSpan, _ metadata: Metadata, auth: Credentials?, tls: TLSConfiguration?
  ) {
    self.init(
      server: server, span: span, transport: metadata.string("transport").flatMap(Transport.init) ?? .udp,
      username: auth?.username.value, password: auth?.password?.value, secret: metadata.secret("secret"),
      family: metadata.familyPolicy, familySpan: metadata.entry("family")?.valueSpan,
      allocation: metadata.string("allocation").flatMap(AllocationFamilies.init) ?? .any,
      allocationSpan: metadata.entry("allocation")?.valueSpan, wantsMobility: metadata.bool("mobility") == true,
      lifetime: metadata.duration("lifetime") ?? TurnServerConfiguration.defaultLifetime, tls: tls,
      permit: metadata.addresses("permit"))
  }
}

extension Metadata {
  fileprivate var familyPolicy: FamilyPolicy { string("family").flatMap(FamilyPolicy.init) ?? .any }
}
