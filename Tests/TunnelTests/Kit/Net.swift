/// A small internet for one test: hosts as named network namespaces, joined by one cable or by one switch.
///
/// Names carry the number of the test's process, so that two runs never meet, and the next run sweeps what a crashed
/// one left. Nothing touches the machine's own network.
import Glibc
import Testing

/// The outermost suite: every test of a tunnel is inside, so that they run one after the other. Two cores bear one
/// tunnel at a time, and times are part of what is tested.
@Suite("Tunnels", .serialized, .enabled(if: Machine.obstacle == nil, Machine.reason))
enum Tunnels {}

/// What these tests need of the machine.
enum Machine {
  /// The program under test: `CULVERT_BINARY`, or the one that was built beside the tests.
  static let culvert: String = {
    if let chosen = getenv("CULVERT_BINARY") { return String(cString: chosen) }
    var path = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count - 1)
    let own = String(decoding: path.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return own.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/culvert"
  }()

  /// The folder of scripts beside these tests.
  static let tools = folder(above: 2) + "/Tools"
  static let examples = folder(above: 4) + "/examples"

  /// A Python with aioquic, for a QUIC that shares nothing with ours: `CULVERT_AIOQUIC_PYTHON`, the one that
  /// `scripts/test` makes, or the system's; `nil` when none of them has it.
  static let aioquic: String? = [
    getenv("CULVERT_AIOQUIC_PYTHON").map { String(cString: $0) },
    folder(above: 4) + "/.build/test-venv/bin/python3", "/usr/bin/python3",
  ].compactMap { $0 }.first { (try? shell("\($0) -c 'import aioquic'").isGood) ?? false }

  static let aioquicReason = Comment("needs a Python with aioquic (scripts/test makes one, or CULVERT_AIOQUIC_PYTHON)")

  private static func folder(above levels: Int) -> String {
    "\(#filePath)".split(separator: "/").dropLast(levels).map { "/\($0)" }.joined()
  }

  /// Why the tests cannot run here; `nil` when they can.
  static let obstacle: String? = {
    guard getuid() == 0 else { return "root is needed to make network namespaces" }
    guard access("/dev/net/tun", R_OK | W_OK) == 0 else { return "/dev/net/tun is missing" }
    for tool in ["ip", "tc", "ping", "python3", "tcpdump", "nft", "setpriv"] {
      guard let found = try? shell("command -v \(tool)"), found.isGood else { return "`\(tool)` is not installed" }
    }
    guard access(culvert, X_OK) == 0 else { return "the program \(culvert) is not built (or set CULVERT_BINARY)" }
    sweep()
    let probe = "cvt\(getpid())probe"
    guard let made = try? shell("ip netns add \(probe) && ip netns del \(probe)"), made.isGood else {
      return "network namespaces cannot be made here"
    }
    return nil
  }()

  static let reason = Comment(rawValue: "tunnels are tested in network namespaces: \(obstacle ?? "")")

  /// Removes the namespaces of test processes that are gone, with what still runs in them.
  private static func sweep() {
    guard let list = try? shell("ip netns list") else { return }
    for line in list.output.split(separator: "\n") {
      guard let name = line.split(separator: " ").first, name.hasPrefix("cvt"),
        let owner = Int32(name.dropFirst(3).prefix { $0.isNumber }), Glibc.kill(owner, 0) != 0
      else { continue }
      _ = try? shell("for p in $(ip netns pids \(name)); do kill -9 $p; done; ip netns del \(name)")
    }
  }
}

final class Net {
  let hosts: [String]
  /// For configuration files and control sockets; gone with the net.
  let directory: String
  private let prefix: String
  private(set) var programs: [Program] = []
  private static let number = Counter()

  private final class Counter: @unchecked Sendable {
    private var value = 0
    private var lock = pthread_mutex_t()
    init() { pthread_mutex_init(&lock, nil) }
    func next() -> Int {
      pthread_mutex_lock(&lock)
      defer { pthread_mutex_unlock(&lock) }
      value += 1
      return value
    }
  }

  struct CannotBuild: Error { let output: String }

  /// Two hosts get one cable; any other number a switch. Host number n (from 1) has 10.99.0.n/24 and fd00:1::n/64 on
  /// `eth0`.
  init(_ hosts: [String] = ["client", "server"]) throws {
    self.hosts = hosts
    prefix = "cvt\(getpid())x\(Self.number.next())"
    directory = "/tmp/culvert-test-\(prefix)"
    mkdir(directory, 0o755)
    var commands = hosts.map { "ip netns add \(name($0)); ip -n \(name($0)) link set lo up" }
    if hosts.count == 2 {
      commands.append(
        "ip -n \(name(hosts[0])) link add eth0 address 02:00:00:00:00:01 type veth "
          + "peer name eth0 address 02:00:00:00:00:02 netns \(name(hosts[1]))")
    } else {
      commands.append("ip netns add \(name("switch")); ip -n \(name("switch")) link add br0 type bridge")
      commands.append("ip -n \(name("switch")) link set br0 up")
      for (place, host) in hosts.enumerated() {
        commands.append(
          "ip -n \(name(host)) link add eth0 type veth peer name p\(place) netns \(name("switch")); "
            + "ip -n \(name("switch")) link set p\(place) up master br0")
      }
    }
    for (place, host) in hosts.enumerated() {
      commands.append(
        "ip -n \(name(host)) addr add 10.99.0.\(place + 1)/24 dev eth0; "
          + "ip -n \(name(host)) addr add fd00:1::\(place + 1)/64 dev eth0 nodad; "
          + "ip -n \(name(host)) link set eth0 up")
    }
    let built = try shell("set -e; " + commands.joined(separator: "\n"))
    guard built.isGood else {
      close()
      throw CannotBuild(output: built.output)
    }
  }

  deinit { close() }

  func name(_ host: String) -> String { "\(prefix)-\(host)" }

  /// Ends everything that was started here and removes the namespaces.
  func close() {
    for program in programs { program.kill() }
    programs = []
    _ = try? shell(
      (hosts + (hosts.count != 2 ? ["switch"] : [])).map { "ip netns del \(name($0))" }.joined(separator: "; ")
        + "; rm -r \(directory)")
  }

  /// Runs a command on a host to its end.
  @discardableResult
  func run(_ host: String, _ command: String, within limit: Double = 20) throws -> Outcome {
    try shell("ip netns exec \(name(host)) sh -c '\(Self.quoted(command))'", within: limit)
  }

  /// Runs a command on a host that has to succeed.
  func set(_ host: String, _ command: String, location: SourceLocation = #_sourceLocation) throws {
    let outcome = try run(host, command)
    try #require(outcome.isGood, "\(command): \(outcome.output)", sourceLocation: location)
  }

  /// Starts a program on a host; it is ended with the net.
  func start(_ host: String, _ command: String, title: String? = nil) throws -> Program {
    let program = try Program(
      "exec ip netns exec \(name(host)) sh -c '\(Self.quoted("exec " + command))'", title: title ?? command)
    programs.append(program)
    return program
  }

  private static func quoted(_ command: String) -> String { command.replacing("'", with: "'\\''") }

  /// Writes a file into the net's directory and says where it is.
  func file(_ name: String, _ text: String) throws -> String {
    let path = "\(directory)/\(name)"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    defer { Glibc.close(descriptor) }
    let bytes = Array(text.utf8)
    try #require(write(descriptor, bytes, bytes.count) == bytes.count)
    return path
  }

  /// A library of `Tools` to load into programs, compiled with the compiler of the Swift toolchain or of the system.
  func compiled(_ name: String) throws -> String {
    let library = "\(directory)/\(name).so"
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    let found = try shell(
      """
      export PATH="$PATH:\(path)"
      swift=$(command -v swift) && PATH="$PATH:$(dirname "$(readlink -f "$swift")")"
      for compiler in clang gcc cc; do
        command -v $compiler >/dev/null || continue
        $compiler -shared -fPIC -O2 -o \(library) \(Machine.tools)/\(name).c && exit 0
      done
      exit 1
      """)
    try #require(found.isGood, "no C compiler made \(name): \(found.output)")
    return library
  }

  /// Seconds until a ping is answered; `nil` when none is within the limit.
  func ping(_ host: String, _ address: String, within limit: Double = 8) -> Double? {
    eventually(within: limit, every: 0.01) {
      (try? run(host, "ping -n -c 1 -W 0.25 \(address)", within: 2).isGood) ?? false
    }
  }

  /// What all programs printed, for a failure's message.
  var story: Comment {
    Comment(rawValue: programs.map { "── \($0.title)\n\($0.log.suffix(4000))" }.joined(separator: "\n"))
  }
}
