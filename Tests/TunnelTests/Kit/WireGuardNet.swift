/// What the tests of WireGuard are made with: the tools of others, two ends with their keys, and a device on a host.
import Glibc
import Testing

/// What these tests are made with.
enum WireGuardTools {
  static let missing: [String] = ["wg", "wg-quick"].filter { (try? shell("command -v \($0)").isGood) != true }
  static let reason: Comment = "needs wg and wg-quick (Debian: wireguard-tools)"
  static let hasTshark = (try? shell("command -v tshark && command -v tcpdump").isGood) == true
  /// A wireguard-go, of 2025 or newer where speed counts.
  static let wireguardGo: String? = getenv("CULVERT_WIREGUARD_GO").map { String(cString: $0) }
}

/// Two ends with their keys.
struct WireGuardEnds {
  private let directory: String
  private let publics: [String: String]

  init(_ net: Net) throws {
    directory = net.directory
    var publics: [String: String] = [:]
    for name in ["client", "server"] {
      let made = try shell("umask 077; wg genkey > \(directory)/\(name).key; wg pubkey < \(directory)/\(name).key")
      try #require(made.isGood, "\(made.output)")
      publics[name] = made.output.trimmed
    }
    _ = try shell("umask 077; wg genpsk > \(directory)/psk.key")
    self.publics = publics
  }

  func number(_ host: String) -> Int { host == "client" ? 1 : 2 }
  func file(_ name: String) -> String { "\(directory)/\(name).key" }
  func key(_ host: String) -> String { publics[host] ?? "" }
  /// The command that gives a host's device its port, its key and its peer.
  func settings(_ host: String) -> String {
    let other = host == "client" ? "server" : "client"
    return "wg set wg0 listen-port 5182\(number(host)) private-key \(file(host)) peer \(key(other)) "
      + "allowed-ips 10.7.0.\(number(other))/32,fd07::\(number(other))/128"
  }

  func secret(_ host: String) -> String { ((try? shell("cat \(file(host))").output) ?? "").trimmed }
}

extension Net {
  /// A command with `wg0` and `wg1` by the names that they have on this host: the hosts of a net share one `/var/run`,
  /// where the sockets are.
  func named(_ command: String, _ host: String) -> String {
    // As words: a key has any three characters amid its own, once in some thousands.
    command.replacing(/\bwg0\b/, with: "cw\(getpid() % 100_000)\(host.prefix(1))")
      .replacing(/\bwg1\b/, with: "cx\(getpid() % 100_000)\(host.prefix(1))")
  }

  @discardableResult
  func at(_ host: String, _ command: String, within limit: Double = 20) throws -> Outcome {
    try run(host, named(command, host), within: limit)
  }

  func must(_ host: String, _ command: String, location: SourceLocation = #_sourceLocation) throws {
    try set(host, named(command, host), location: location)
  }

  /// Starts a device in the foreground, and waits until `wg` can talk to it.
  ///
  /// - Parameter isPlain: it says nothing to other Culverts, for tests that count what is on the wire.
  @discardableResult
  func wireguard(_ host: String, _ interface: String, program: String? = nil, isPlain: Bool = false) throws -> Program {
    let ours = "\(Machine.culvert) wireguard -f --log-level debug\(isPlain ? " --plain" : "") \(interface)"
    let command = program.map { "env LOG_LEVEL=verbose \($0) -f \(interface)" } ?? ours
    let started = try start(host, named(command, host), title: "\(host) \(interface)")
    let isThere = eventually(within: 10) { (try? at(host, "wg show \(interface)").isGood) == true }
    try #require(isThere != nil, "\(started.log)")
    return started
  }

  /// Sets up a device that runs: 10.7.0.n and fd07::n, with the other end as its peer.
  func setUp(_ host: String, _ ends: WireGuardEnds) throws {
    try must(host, ends.settings(host))
    try must(
      host,
      "ip addr add 10.7.0.\(ends.number(host))/24 dev wg0; ip addr add fd07::\(ends.number(host))/64 dev wg0 nodad; "
        + "ip link set wg0 up mtu 1420")
  }

  /// A tunnel between the two hosts; the client knows where the server is.
  @discardableResult
  func tunnel(_ ends: WireGuardEnds, foreign: String? = nil, isPlain: Bool = false) throws -> [String: Program] {
    var programs: [String: Program] = [:]
    for host in ["client", "server"] {
      programs[host] = try wireguard(
        host, "wg0", program: host == foreign ? WireGuardTools.wireguardGo : nil, isPlain: isPlain)
      try setUp(host, ends)
    }
    try must("client", "wg set wg0 peer \(ends.key("server")) endpoint 10.99.0.2:51822")
    return programs
  }
}

extension StringProtocol {
  var trimmed: String { String(drop { $0.isWhitespace }.prefix { !$0.isWhitespace }) }
}
