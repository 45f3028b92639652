import Glibc
import LinuxNet
import Testing

/// The program under test and what it needs.
private enum LabProgram {
  static let reason: Comment = "needs root, /dev/net/tun and the built program beside the tests"

  static let path: String = {
    var path = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count - 1)
    let exe = String(decoding: path.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return exe.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/culvert"
  }()

  static let example: String = {
    let root = "\(#filePath)".split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
    return "\(root)/examples/tun-over-icmp6"
  }()

  static func example(_ name: String) -> String {
    example.replacing("tun-over-icmp6", with: name)
  }

  static let canRun = NetSupport.hasTun && access(path, X_OK) == 0
}

/// The whole program in the whole lab, as a user starts it.
@Suite("culvert lab", .serialized, .enabled(if: LabProgram.canRun, LabProgram.reason))
struct NetLabTests {
  /// The number of processes that are hosts of a lab in that directory.
  private func hosts(of directory: String) -> String {
    NetSupport.output("ps -eo args | grep -c '^culvert lab-host \(directory)$'").filter(\.isNumber)
  }

  @Test("The case of issue 562 holds: ping, both transfers, and a path over ICMPv6 that the witness confirms")
  func theCase() {
    let output = NetSupport.output("\(LabProgram.path) lab \(LabProgram.example); echo exit $?")
    #expect(output.hasSuffix("exit 0\n"), "\(output)")
    #expect(output.contains("ping client -> 10.90.57.30: 10 of 10"))
    #expect(output.contains("leg to relay-node is icmp6, IPv6"))
    #expect(output.contains("IPv4: 0 packets"))
    #expect(output.contains("all 4 proofs hold"))
    #expect(hosts(of: LabProgram.example) == "0")
  }

  @Test(
    "The other examples hold what they promise",
    arguments: ["tun-over-tls", "wireguard", "wireguard-sites", "wireguard-over-tls", "wireguard-over-turn"])
  func examples(_ name: String) {
    let output = NetSupport.output("\(LabProgram.path) lab \(LabProgram.example(name)); echo exit $?")
    #expect(output.hasSuffix("exit 0\n"), "\(output)")
    if name == "wireguard-over-tls" { #expect(!output.contains("UDP over IPv4"), "\(output)") }
    if name == "wireguard-over-turn" { #expect(output.contains("laptop -- relay: IPv6: 0 packets"), "\(output)") }
  }

  @Test("It stays up: both ends restarted, the cable cut, the client's address changed, traffic flows within 5 s")
  func trouble() throws {
    let directory = try copy { text in
      (text.split(separator: "proofs:", maxSplits: 1).first.map(String.init) ?? "") + """
        proofs:
        - ping: {from: client, to: 10.90.57.30, count: 3}
        - restart: {host: server, for: 1s}
        - ping: {from: client, to: 10.90.57.30, count: 3, within: 5s}
        - cut: {between: [client, server], for: 6s}
        - ping: {from: client, to: 10.90.57.30, count: 3, within: 5s}
        - readdress: {host: client, from: 2001:db8:562::1/64, to: 2001:db8:562::9/64}
        - ping: {from: client, to: 10.90.57.30, count: 3, within: 5s}
        - restart: {host: client, for: 0s}
        - ping: {from: server, to: 10.90.57.1, count: 3, within: 5s}
        - transfer: {from: server, to: client, address: 10.90.57.1, size: 1MiB}
        - path: {host: client, to: relay-node, family: ipv6, transport: [icmp6]}
        """
    }
    defer { _ = NetSupport.output("rm -r \(directory)") }
    let output = NetSupport.output("\(LabProgram.path) lab \(directory); echo exit $?")
    #expect(output.hasSuffix("exit 0\n"), "\(output)")
    #expect(output.contains("all 7 proofs hold"))
    #expect(output.contains("[2001:db8:562::9]"))
  }

  @Test("A full tunnel that covers its own node does not swallow its own packets")
  func fullTunnel() throws {
    let directory = try copy { text in
      text.replacing("- path", with: "- ping: {from: client, to: \"fd00:57::30\", count: 3}\n- path")
    }
    defer { _ = NetSupport.output("rm -r \(directory)") }
    // The route to the link's own network is the strictest form: it beats the kernel's route to the node.
    let output = NetSupport.output(
      """
      cd \(directory)
      sed -i 's|net: 10.90.57.1/24|&,fd00:57::1/64\\n      route: 2001:db8:562::/64,0.0.0.0/0,::/0|' client.yaml
      sed -i 's|net: 10.90.57.30/24|&,fd00:57::30/64|' server.yaml
      \(LabProgram.path) lab \(directory); echo exit $?
      """)
    #expect(output.hasSuffix("exit 0\n"), "\(output)")
    #expect(output.contains("all 5 proofs hold"))
  }

  @Test("A proof that fails is exit code 1, with the logs of the hosts")
  func failing() throws {
    let directory = try copy { $0.replacing("10.90.57.30, count: 10", with: "10.90.57.31, count: 1, within: 1s") }
    defer { _ = NetSupport.output("rm -r \(directory)") }
    let output = NetSupport.output("\(LabProgram.path) lab \(directory); echo exit $?")
    #expect(output.hasSuffix("exit 1\n"), "\(output)")
    #expect(output.contains("! no answer within 1s"))
    #expect(output.contains("log of client:"))
    #expect(output.contains("1 of 4 proofs failed"))
  }

  @Test("A file that cannot run is exit code 2, and says where the mistake is")
  func refused() throws {
    let directory = try copy { $0.replacing("from: client", with: "form: client") }
    defer { _ = NetSupport.output("rm -r \(directory)") }
    let output = NetSupport.output("\(LabProgram.path) lab \(directory); echo exit $?")
    #expect(output.contains("lab.yaml:15:"))
    #expect(output.hasSuffix("exit 2\n"), "\(output)")
  }

  @Test(
    "Nothing is left when a signal ends the lab in the middle", arguments: [("INT", 130), ("TERM", 143), ("KILL", 137)])
  func interrupted(signal: String, code: Int) throws {
    // A ping to nobody keeps the lab busy until the signal comes.
    let directory = try copy { $0.replacing("10.90.57.30, count: 10", with: "10.90.57.31, within: 60s") }
    defer { _ = NetSupport.output("rm -r \(directory)") }
    let output = NetSupport.output(
      """
      \(LabProgram.path) lab \(directory) > \(directory)/out & lab=$!
      for i in $(seq 200); do grep -q 'ready ' \(directory)/out && break; sleep 0.05; done
      kill -\(signal) $lab; wait $lab; echo exit $?
      for i in $(seq 100); do ps -eo args | grep -q '^culvert lab-host \(directory)$' || break; sleep 0.02; done
      cat \(directory)/out
      """)
    #expect(output.contains("exit \(code)\n"), "\(output)")
    #expect(output.contains("ready "))
    #expect(hosts(of: directory) == "0")
  }

  /// A copy of the example with another lab.yaml.
  private func copy(_ change: (String) -> String) throws -> String {
    let directory = NetSupport.output("mktemp -d /tmp/culvert-test-lab-XXXXXX").filter { $0 != "\n" }
    try #require(directory.hasPrefix("/tmp/culvert-test-lab-"))
    let text = change(NetSupport.output("cp \(LabProgram.example)/*.yaml \(directory); cat \(directory)/lab.yaml"))
    let file = open("\(directory)/lab.yaml", O_WRONLY | O_TRUNC)
    let bytes = Array(text.utf8)
    try #require(write(file, bytes, bytes.count) == bytes.count)
    close(file)
    return directory
  }
}
