import Glibc
import LinuxIO
import NATDiscovery
import Parts
import TLSCodec
import Values

/// Asks servers what this network allows, all at once and within a time: each address of each server over UDP, TCP and
/// TLS and with ICMP echoes. What it finds is a `NetworkReport`; nothing on this host is changed, and nothing is sent to
/// anybody but the servers, their second addresses (RFC 5780) and the resolver.
///
/// A run is short and alone in its process, so it has a loop of its own and returns when it is over. Each probe ends by
/// itself; the time limit is for what is slower than anybody waits for, and then the report has what is known.
public final class NetworkCheck {
  /// A server with what is known of how to ask it.
  public struct Target {
    public let word: ServerWord
    /// Which families may be used at all; what is forbidden is neither resolved nor asked.
    public let policy: FamilyPolicy
    public let credentials: RelayDialogue.Credentials?

    public init(_ word: ServerWord, policy: FamilyPolicy = .any, credentials: RelayDialogue.Credentials? = nil) {
      self.word = word
      self.policy = policy
      self.credentials = credentials
    }
  }

  public struct Options {
    /// For everything but a lifetime.
    public var timeout = TimeSpan.seconds(10)
    /// The longest silence that a binding is tested with; `nil` leaves its lifetime alone.
    public var lifetime: TimeSpan?
    /// Authorities in PEM for the servers' certificates, in place of the system's.
    public var authorities: [UInt8]?

    public init() {}
  }

  /// The most addresses of one server that are asked, of each family.
  private static let addressesPerFamily = 2

  private let targets: [Target]
  private let options: Options
  let loop: EventLoop
  let arena = ReceiveArena()
  let sharedSockets = SharedSockets()
  let trust: TLSTrust
  private var report = NetworkReport()
  private var probes: [(server: Int, endpoint: Int, transport: Int?, probe: any NetworkProbe)] = []
  private var lookups = 0
  private var madeCredentials: [TLSTrust: TLSCredentials] = [:]
  private var lifetimes: [AddressFamily: LifetimeSession] = [:]

  public init(_ targets: [Target], _ options: Options) throws(SystemError) {
    self.targets = targets
    self.options = options
    trust = .chainAndName(authorities: options.authorities)
    loop = try EventLoop()
  }

  /// Blocks until everything is known, or the time is over.
  public func run() -> NetworkReport {
    let start = loop.refreshNow()
    report.families = HostNetwork.families()
    report.servers = targets.map { ServerReport($0.word) }
    for (place, target) in targets.enumerated() { look(up: target, place) }
    let limit = options.lifetime.map { max(options.timeout, $0 + .seconds(8)) } ?? options.timeout
    let timer = loop.makeTimer { [weak self] in self?.loop.stop() }
    timer.arm(after: limit)
    stopIfDone()
    withExtendedLifetime(timer) { loop.run() }
    collect()
    report.duration = loop.refreshNow() - start
    return report
  }

  private func look(up target: Target, _ place: Int) {
    lookups += 1
    Resolver(loop: loop).resolve(target.word.host, family: target.policy.only) { [weak self] result in
      guard let self else { return }
      self.lookups -= 1
      switch result {
      case .failure(let failure): self.report.servers[place].failure = "\(failure)"
      case .success(let addresses): self.begin(target, place, addresses)
      }
      self.stopIfDone()
    }
  }

  private func begin(_ target: Target, _ row: Int, _ addresses: [IPAddress]) {
    let wanted = AddressFamily.allCases.flatMap { family in
      addresses.map(\.canonical).filter { $0.family == family }.prefix(Self.addressesPerFamily)
    }
    for address in wanted {
      let number = report.servers[row].endpoints.count
      var endpoint = EndpointReport(address)
      for place in target.word.ports {
        let transport = place.transport
        let server = Endpoint(address, port: place.port)
        endpoint.transports.append(TransportReport(transport, to: server))
        let ask = ProbeQuestion(
          server: server, name: target.word.host, isRelay: target.word.isRelay != false,
          credentials: target.credentials)
        let probe: any NetworkProbe =
          transport == .udp ? DatagramProbe(self, ask) : StreamProbe(self, ask, isSecure: transport == .tls)
        probes.append((row, number, endpoint.transports.count - 1, probe))
      }
      report.servers[row].endpoints.append(endpoint)
      probes.append((row, number, nil, EchoProbe(self, address)))
    }
    for (server, _, _, probe) in probes where server == row { probe.begin() }
  }

  /// A server answers over UDP: the first of its family is asked how long it is remembered.
  func answered(_ server: Endpoint, from local: Endpoint) {
    guard let limit = options.lifetime, lifetimes[server.family] == nil else { return }
    let session = LifetimeSession(self, server, from: local, upTo: limit)
    lifetimes[server.family] = session
    session.begin()
  }

  /// A probe, or what else is waited for, may have ended. It is looked at later, as more may come from the same call.
  func noteProgress() { loop.later { [weak self] in self?.stopIfDone() } }

  /// Made once for each trust: the system's authorities are many.
  func credentials(_ trust: TLSTrust) throws(TLSError) -> TLSCredentials {
    if let known = madeCredentials[trust] { return known }
    let made = try TLSCredentials.client(trust: trust)
    madeCredentials[trust] = made
    return made
  }

  private func stopIfDone() {
    guard lookups == 0, probes.allSatisfy({ $0.probe.isDone }), lifetimes.values.allSatisfy(\.isDone) else { return }
    loop.later { [weak self] in self?.loop.stop() }
  }

  private func collect() {
    for (server, endpoint, transport, probe) in probes {
      if let transport {
        probe.write(to: &report.servers[server].endpoints[endpoint].transports[transport])
      } else if let echo = probe as? EchoProbe {
        report.servers[server].endpoints[endpoint].echo = echo.report
      }
      probe.close()
    }
    for place in report.families.indices {
      guard options.lifetime != nil else { continue }
      let session = lifetimes[report.families[place].family]
      report.families[place].lifetime = session?.result ?? .unknown("no server of this family answered over UDP")
    }
    for session in lifetimes.values { session.close() }
  }
}

/// What a probe is to find out.
struct ProbeQuestion {
  let server: Endpoint
  /// As it was given, for certificates.
  let name: String
  /// Whether an allocation is asked for.
  let isRelay: Bool
  let credentials: RelayDialogue.Credentials?

  /// The allocations to ask for, by their family: without a name one that will be refused, which tells as much as the
  /// server does.
  var allocations: [AddressFamily?] {
    guard isRelay else { return [] }
    return credentials == nil ? [nil] : [.ipv4, .ipv6]
  }
}

/// One thing that is asked; it ends by itself.
protocol NetworkProbe: AnyObject {
  var isDone: Bool { get }
  func begin()
  func write(to report: inout TransportReport)
  func close()
}

/// Numbers that nobody can guess.
enum ProbeSecret {
  static func make() -> [UInt8] {
    var random = SystemRandomNumberGenerator()
    return (0..<4).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
  }
}
