import ArgumentParser
import Configuration
import Daemon
import Glibc
import LinuxIO
import Values

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Check a configuration, then run its services until SIGINT or SIGTERM.",
    discussion: """
      The configuration is GOST v3's: files in YAML or JSON (-C), or the short
      form (-L and -F); all that is given is merged. Nothing starts when the check
      finds an error. A lone -- between two sets of options runs each in a process
      of its own. More: docs/command-line.md.

      EXAMPLE
        culvert run -C client.yaml
        culvert run -C server.yaml --name office --log-format json
        culvert run -L tcp://:2222/10.0.0.1:22 -F relay+tls://example.com:8443
      """)

  @OptionGroup var input: ConfigurationInput

  @Option(
    name: .customShort("O"), parsing: .unconditional,
    help: ArgumentHelp("Print the configuration as one file and end: yaml or json.", valueName: "format"),
    completion: .list(ConfigurationText.Format.allCases.map(\.rawValue)))
  var output: String?

  @Flag(help: "Warnings about security are errors, unless the file accepts them with a reason.")
  var strict = false

  @Option(help: "Names the control socket /run/culvert/NAME.sock; culvert, with the number of a worker behind it.")
  var name: String?

  @Option(help: "The control socket's place, instead of /run/culvert/NAME.sock.")
  var socket: String?

  @Option(
    help: "trace, debug, info, warn or error; overrides the file's `log`.",
    completion: .list(["trace", "debug", "info", "warn", "error"]))
  var logLevel: String?

  @Option(help: "text or json; overrides the file's `log`.", completion: .list(["text", "json"]))
  var logFormat: String?

  @Flag(name: .customShort("D"), help: "Log at level debug; twice (-D -D, -DD): trace.")
  var debug: Int

  @Flag(
    name: .customLong("no-reflection-filter"),
    help: "Leave the kernel's echo replies to our ICMP envelopes alone: no nftables rule.")
  var noReflectionFilter = false

  func validate() throws {
    if input.isEmpty {
      throw ValidationError(
        "give a configuration: -C FILE, or -L; there is no gost.yml in /etc/gost, ~/.gost or here either")
    }
    if let output, ConfigurationText.Format(rawValue: output) == nil {
      throw ValidationError("`\(output)` is no format; use yaml or json")
    }
    if let logLevel, Log.Level(name: logLevel) == nil {
      throw ValidationError("`\(logLevel)` is no log level; use trace, debug, info, warn or error")
    }
    if let logFormat, logFormat != "text", logFormat != "json" {
      throw ValidationError("`\(logFormat)` is no log format; use text or json")
    }
  }

  func run() throws {
    if let output, let format = ConfigurationText.Format(rawValue: output) { return try print(as: format) }
    if ConfigurationInput.worker != nil { Workers.follow() }
    let report = SourceFiles.check(
      input.files, arguments: input.arguments, options: SourceFiles.Options(strict: strict))
    SourceFiles.printDiagnostics(report, format: .text, to: .standardError)
    guard report.mayRun, let configuration = report.configuration else { throw ExitCode(max(1, report.exitCode)) }
    let log: Log
    do throws(SystemError) {
      log = try makeLog(configuration.log)
    } catch {
      SourceFiles.write("error: the log cannot be written: \(error)\n", to: 2)
      throw ExitCode(1)
    }
    warnOfEnvironment(log)
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
    options.name = name ?? (ConfigurationInput.worker.map { "culvert-\($0)" } ?? "culvert")
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

  /// `-O`: the text alone on standard output, what was found on the other one.
  private func print(as format: ConfigurationText.Format) throws {
    let (text, report) = SourceFiles.text(input, as: format)
    SourceFiles.printDiagnostics(report, format: .text, to: .standardError)
    guard let text else { throw ExitCode(max(1, report.exitCode)) }
    SourceFiles.write(text, to: 1)
  }

  /// GOST's variables that ask for what is not there yet.
  private func warnOfEnvironment(_ log: Log) {
    for name in ["GOST_API", "GOST_METRICS", "GOST_PROFILING"] where Self.variable(name) != nil {
      log.warn("\(name) is set, and Culvert does not have that yet: ignored")
    }
    if let level = Self.variable("GOST_LOGGER_LEVEL"), Log.Level(name: level) == nil {
      log.warn("GOST_LOGGER_LEVEL is no log level: ignored", ["value": level])
    }
  }

  private static func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }

  private func makeLog(_ block: LogConfiguration?) throws(SystemError) -> Log {
    var level = block?.level.flatMap { Log.Level(name: $0.rawValue) } ?? .info
    if let chosen = Self.variable("GOST_LOGGER_LEVEL").flatMap({ Log.Level(name: $0) }) { level = chosen }
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
