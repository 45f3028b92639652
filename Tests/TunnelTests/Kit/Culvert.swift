/// The program under test on a host of the net, and the configurations that the tests give it.
import Glibc
import Testing

/// A running `culvert run`.
final class Culvert {
  let net: Net
  let host: String
  let program: Program
  let socket: String
  private let name: String

  fileprivate init(_ net: Net, _ host: String, _ name: String, _ program: Program, socket: String) {
    self.net = net
    self.host = host
    self.name = name
    self.program = program
    self.socket = socket
  }

  var log: String { program.log }

  var isAlive: Bool { program.ended == nil }

  /// Seconds until its log has that text.
  func says(_ text: String, within limit: Double) -> Double? { program.says(text, within: limit) }

  /// How often its log has that text.
  func count(_ text: String) -> Int { log.ranges(of: text).count }

  /// `culvert path`, with an empty answer when nobody answers.
  func path(_ arguments: String = "") throws -> String {
    let asked = try net.run(host, "\(Machine.culvert) path --socket \(socket) \(arguments)", within: 5)
    return asked.isGood ? asked.output : ""
  }

  /// Gives it another configuration, in the file that it was started with, and has it follow.
  func reload(_ configuration: String, _ arguments: String = "") throws -> Outcome {
    _ = try net.file("\(name).yaml", configuration)
    return try net.run(host, "\(Machine.culvert) reload --socket \(socket) \(arguments)", within: 20)
  }

  /// A row of `/proc/PID/status` in KiB, such as `VmRSS` and `VmHWM`.
  func memory(_ row: String) throws -> Int {
    let status = try shell("grep ^\(row): /proc/\(program.pid)/status").output
    return try #require(Int(status.filter(\.isNumber)), "\(status)")
  }

  /// Descriptors that it has open.
  func descriptors() throws -> Int {
    try shell("ls /proc/\(program.pid)/fd").output.split(separator: "\n").count
  }

  /// SIGTERM, and how it ended; `nil` when it did not within two seconds.
  func stop() -> Ending? {
    program.signal(SIGTERM)
    return program.wait(within: 2)
  }

  /// SIGKILL.
  func crash() {
    program.signal(SIGKILL)
    _ = program.wait(within: 5)
  }
}

extension Net {
  /// Starts the program with that configuration and waits until it says that it runs.
  ///
  /// - Parameters:
  ///   - prefix: words before the program: a program that becomes it.
  ///   - name: of its files and its control socket, where a host runs two.
  @discardableResult
  func culvert(
    _ host: String, _ configuration: String, options: String = "", prefix: String = "", as name: String? = nil
  ) throws -> Culvert {
    let name = name ?? host
    let path = try file("\(name).yaml", configuration)
    let socket = "\(directory)/\(name).sock"
    let command = "\(prefix) \(Machine.culvert) run -C \(path) --socket \(socket) \(options)"
    let program = try start(host, command, title: name)
    let culvert = Culvert(self, host, name, program, socket: socket)
    try #require(program.says("running", within: 10) != nil, "\(name) does not run: \(program.log)")
    return culvert
  }

  /// Words before a program that make it see another `/etc/hosts`.
  func hostsFile(_ text: String) throws -> String {
    let path = try file("hosts", text)
    return "unshare -m sh -c 'mount --bind \(path) /etc/hosts && exec \"$@\"' -"
  }

  /// Runs the program with a configuration that it should refuse, to its end.
  func refused(_ host: String, _ configuration: String, prefix: String = "") throws -> Outcome {
    let path = try file("refused.yaml", configuration)
    return try run(
      host, "\(prefix) \(Machine.culvert) run -C \(path) --socket \(directory)/refused.sock", within: 5)
  }
}

/// What carries the tunnel's datagrams between the two ends.
enum Carrier: String, CaseIterable, CustomTestStringConvertible, Sendable {
  case udp, tcp, tls, quic, icmp, icmp6

  var testDescription: String { self == .udp ? "plain udp" : "relay+\(rawValue)" }

  /// The outer address of the server, host number 2.
  var node: String {
    switch self {
    case .udp: "10.99.0.2:8421"
    case .icmp: "10.99.0.2:0"
    case .icmp6: "[fd00:1::2]:0"
    case .tcp, .tls, .quic: "10.99.0.2:8443"
    }
  }

  /// The server's services.
  var server: String { Configurations.server(relays: self == .udp ? [] : [self]) }

  /// The client's service and chain.
  var client: String { Configurations.client(over: self) }
}

enum Configurations {
  static let inner4 = "10.90.57.30"
  static let inner6 = "fd90:57::30"

  /// A tun server, with a relay for each carrier: tcp on 8443, tls on 8443 or, beside tcp, 8444, quic on 8443/udp.
  static func server(
    net: String = "10.90.57.30/24,fd90:57::30/64", handler: String = "", listener: String = "", extra: String = "",
    relays: [Carrier] = []
  ) -> String {
    let tlsPort = relays.contains(.tcp) ? 8444 : 8443
    let services = relays.map { relay in
      let port = relay == .tls ? tlsPort : relay == .icmp || relay == .icmp6 ? 0 : 8443
      return """
        - name: relay-\(relay.rawValue)
          addr: :\(port)
          handler: {type: relay}
          listener: {type: \(relay.rawValue)}

        """
    }
    return """
      services:
      - name: tun
        addr: :8421
        handler: {type: tun, \(handler)}
        listener: {type: tun, metadata: {net: "\(net)", \(listener)}}
        \(extra)
      \(services.joined())
      """
  }

  /// One relay alone.
  static func relay(_ carrier: Carrier, addr: String? = nil, handler: String = "") -> String {
    let port = carrier == .icmp || carrier == .icmp6 ? 0 : 8443
    return """
      services:
      - name: relay
        addr: "\(addr ?? ":\(port)")"
        handler: {type: relay, \(handler)}
        listener: {type: \(carrier.rawValue)}

      """
  }

  /// A tun client over a carrier.
  static func client(
    over carrier: Carrier, net: String = "10.90.57.1/24,fd90:57::1/64", handler: String = "", listener: String = "",
    extra: String = "", node: String? = nil
  ) -> String {
    let address = node ?? carrier.node
    let service = """
      services:
      - name: tun-client
        addr: :0
        handler: {type: tun\(carrier == .udp ? "" : ", chain: way"), \(handler)}
        listener: {type: tun, metadata: {net: "\(net)", \(listener)}}
        forwarder: {nodes: [{name: target, addr: "\(carrier == .udp ? address : "\(inner4):8421")"}]}
        \(extra)

      """
    guard carrier != .udp else { return service }
    return service + """
      chains:
      - name: way
        hops: [{name: hop, nodes: [{name: node, addr: "\(address)", connector: {type: relay}, \
      dialer: {type: \(carrier.rawValue)}}]}]

      """
  }
}
