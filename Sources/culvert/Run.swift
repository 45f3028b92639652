import ArgumentParser
import Configuration
import Daemon
import Glibc
import LinuxIO
import Values

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Check configuration files, then run their services until SIGINT or SIGTERM.",
    discussion: """
      Files are GOST v3 configuration in YAML or JSON; several are merged. Nothing starts when the check finds an error.

      EXAMPLE
        culvert run -C client.yaml
        culvert run -C server.yaml --name office --log-format json
      """)

  @Option(
    name: .customShort("C"), parsing: .upToNextOption,
    help: ArgumentHelp("Configuration files; `-` is standard input.", valueName: "file"))
  var files: [String] = []

  @Option(help: "Names the control socket /run/culvert/NAME.sock.")
  var name = "culvert"

  @Option(help: "The control socket's place, instead of /run/culvert/NAME.sock.")
  var socket: String?

  @Option(help: "trace, debug, info, warn or error; overrides the file's `log`.")
  var logLevel: String?

  @Option(help: "text or json; overrides the file's `log`.")
  var logFormat: String?

  @Flag(name: .customShort("D"), help: "Log at level debug; twice (-D -D, -DD): trace.")
  var debug: Int

  @Flag(
    name: .customLong("no-reflection-filter"),
    help: "Leave the kernel's echo replies to our ICMP envelopes alone: no nftables rule.")
  var noReflectionFilter = false

  func validate() throws {
    if files.isEmpty {
      throw ValidationError("give at least one configuration file: culvert run -C FILE")
    }
    if let logLevel, Log.Level(name: logLevel) == nil {
      throw ValidationError("`\(logLevel)` is no log level; use trace, debug, info, warn or error")
    }
    if let logFormat, logFormat != "text", logFormat != "json" {
      throw ValidationError("`\(logFormat)` is no log format; use text or json")
    }
  }

  func run() throws {
    let report = SourceFiles.check(files)
    SourceFiles.printDiagnostics(report, format: .text, to: .standardError)
    guard report.mayRun, let configuration = report.configuration else { throw ExitCode(max(1, report.exitCode)) }
    let log: Log
    do throws(SystemError) {
      log = try makeLog(configuration.log)
    } catch {
      SourceFiles.write("error: the log cannot be written: \(error)\n", to: 2)
      throw ExitCode(1)
    }
    let loop: EventLoop
    let signals: SignalWatch
    do throws(SystemError) {
      loop = try EventLoop()
      signals = try SignalWatch(loop: loop, signals: [SIGINT, SIGTERM, SIGHUP]) { number in
        if number == SIGHUP {
          log.warn("SIGHUP: reloading is not there yet; nothing changed")
        } else {
          log.info("ending", ["signal": number == SIGINT ? "SIGINT" : "SIGTERM"])
          loop.stop()
        }
      }
    } catch {
      log.error("\(error)")
      throw ExitCode(1)
    }
    var options = Daemon.Options()
    options.filtersReflection = !noReflectionFilter
    options.name = name
    options.controlSocket = socket ?? getenv("CULVERT_SOCKET").map { String(cString: $0) }
    let daemon = Daemon(loop: loop, log: log, options: options)
    do throws(StartFailure) {
      try daemon.start(configuration)
    } catch {
      log.error("\(error)")
      throw ExitCode(1)
    }
    withExtendedLifetime(signals) { loop.run() }
    daemon.stop()
    log.info("ended")
  }

  private func makeLog(_ block: LogConfiguration?) throws(SystemError) -> Log {
    var level = block?.level.flatMap { Log.Level(name: $0.rawValue) } ?? .info
    if debug == 1 { level = .debug }
    if debug > 1 { level = .trace }
    if let logLevel, let chosen = Log.Level(name: logLevel) { level = chosen }
    var format: Log.Format = block?.format == .json ? .json : .text
    if let logFormat { format = logFormat == "json" ? .json : .text }
    return Log(level: level, format: format, output: try Self.output(block?.output?.value))
  }

  /// GOST's `log.output`: stderr, stdout, none, or a file to append to.
  private static func output(_ place: String?) throws(SystemError) -> (String) -> Void {
    switch place {
    case nil, "", "stderr"?: return Log.standardError
    case "stdout"?: return { SourceFiles.write($0, to: 1) }
    case "none"?: return { _ in }
    case let path?:
      let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
      guard descriptor >= 0 else { throw SystemError("open \(path)") }
      return { SourceFiles.write($0, to: descriptor) }
    }
  }
}

extension Log.Level {
  init?(name: String) {
    switch name.lowercased() {
    case "trace": self = .trace
    case "debug": self = .debug
    case "info": self = .info
    case "warn", "warning": self = .warn
    case "error", "fatal": self = .error
    default: return nil
    }
  }
}
