import ArgumentParser
import CLinux
import Daemon
import Glibc
import LinuxIO

struct WireGuardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wireguard", abstract: "Make a WireGuard interface that `wg` and `wg-quick` set up.",
    discussion: """
      The same as the program's other name, culvert-wireguard. It goes to the
      background once the interface and its socket are there, and ends when either is
      removed. More: docs/wireguard.md.

      EXAMPLE
        culvert wireguard wg0
        WG_QUICK_USERSPACE_IMPLEMENTATION=culvert-wireguard wg-quick up wg0
      """)

  /// The name by which the program is this command.
  static let otherName = "culvert-wireguard"

  @Argument(help: "The interface's name, up to 15 characters.")
  var interface: String

  @Flag(name: .shortAndLong, help: "Stay in the foreground.")
  var foreground = false

  @Flag(help: "Say nothing but packets to other Culverts: no path MTU, no post-quantum keys (or CULVERT_PLAIN=1).")
  var plain = false

  @Option(
    help: "trace, debug, info, warn or error; otherwise LOG_LEVEL (verbose, debug, error, silent).",
    completion: .list(["trace", "debug", "info", "warn", "error"]))
  var logLevel: String?

  func run() throws {
    let word = foreground ? -1 : culvert_detach()
    if !foreground, word < 0 { try fail("cannot go to the background: \(SystemError("fork").reason)") }
    let log = Log(level: level, format: .text)
    let loop: EventLoop
    let program: WireGuardProgram
    let signals: SignalWatch
    do {
      loop = try EventLoop()
      signals = try SignalWatch(loop: loop, signals: [SIGINT, SIGTERM]) { _ in loop.stop() }
      program = try WireGuardProgram(interface, isPlain: isPlain, loop: loop, log: log) { loop.stop() }
    } catch {
      try fail("\(error)")
    }
    StartupMemory.release()
    if word >= 0, culvert_detached(word) != 0 {
      log.warn("cannot let go of the terminal: \(SystemError("detach").reason)")
    }
    withExtendedLifetime(signals) { loop.run() }
    program.stop()
  }

  private func fail(_ reason: String) throws -> Never {
    SourceFiles.write("error: \(Log.escape(reason))\n", to: 2)
    throw ExitCode(1)
  }

  private var isPlain: Bool { plain || getenv("CULVERT_PLAIN").map { String(cString: $0) } == "1" }

  private var level: Log.Level {
    if let logLevel, let level = Log.Level(name: logLevel) { return level }
    return switch getenv("LOG_LEVEL").map({ String(cString: $0) }) {
    case "verbose"?, "debug"?: .debug
    case "error"?, "silent"?: .error
    default: .info
    }
  }

  func validate() throws {
    if let logLevel, Log.Level(name: logLevel) == nil {
      throw ValidationError("`\(logLevel)` is no log level; use trace, debug, info, warn or error")
    }
  }
}
