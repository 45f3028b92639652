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
      of its own. SIGHUP, or `culvert reload`, reads the files again and changes
      only what changed. More: docs/command-line.md, docs/reload.md.

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

  @OptionGroup var options: RunOptions

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
  }

  func run() throws {
    if let output, let format = ConfigurationText.Format(rawValue: output) { return try print(as: format) }
    if ConfigurationInput.worker != nil { Workers.follow() }
    let checkOptions = SourceFiles.Options(strict: options.strict, host: .obstacles)
    let report = SourceFiles.check(input.files, arguments: input.arguments, options: checkOptions)
    SourceFiles.printDiagnostics(report, format: .text, to: .standardError)
    guard report.mayRun, let configuration = report.configuration else { throw ExitCode(max(1, report.exitCode)) }
    let log = Log(level: level(configuration.log), format: format(configuration.log))
    let output = LogOutput()
    do throws(SystemError) {
      log.output = try output.open(configuration.log?.output?.value)
    } catch {
      SourceFiles.write("error: the log cannot be written: \(error)\n", to: 2)
      throw ExitCode(1)
    }
    warnOfEnvironment(log)
    let loop: EventLoop
    let signals: SignalWatch
    var reloading: Reloading?
    var draining: ((@escaping () -> Void) -> Void)?
    var ending = "ended"
    do throws(SystemError) {
      loop = try EventLoop()
      signals = try SignalWatch(loop: loop, signals: [SIGINT, SIGTERM, SIGHUP]) { number in
        if number == SIGHUP {
          reloading?.reloadBySignal()
        } else {
          let isFirst = ending == "ended"
          ending = number == SIGINT ? "SIGINT" : "SIGTERM"
          log.info("ending", ["signal": ending])
          // A second signal does not wait.
          if let draining, isFirst, number == SIGTERM { draining { loop.stop() } } else { loop.stop() }
        }
      }
    } catch {
      log.error("\(error)")
      throw ExitCode(1)
    }
    let recorded: RecordingFile?
    do throws(SystemError) {
      recorded = try self.options.recording.start(loop, log, configuration)
    } catch {
      SourceFiles.write("error: there can be no recording: \(Log.escape("\(error)"))\n", to: 2)
      throw ExitCode(1)
    }
    var options = Daemon.Options()
    options.filtersReflection = !noReflectionFilter
    options.version = Version.number
    options.name = self.options.name ?? (ConfigurationInput.worker.map { "culvert-\($0)" } ?? "culvert")
    options.controlSocket = self.options.socket ?? getenv("CULVERT_SOCKET").map { String(cString: $0) }
    let daemon = Daemon(loop: loop, log: log, options: options)
    do throws(StartFailure) {
      try daemon.start(configuration)
    } catch {
      log.error("\(error)")
      recorded?.end(loop, log, "a service did not start")
      throw ExitCode(1)
    }
    draining = { daemon.drain($0) }
    reloading = Reloading(
      files: input.files, arguments: input.arguments, options: checkOptions, loop: loop, log: log, daemon: daemon
    ) { block in
      log.level = level(block)
      log.format = format(block)
      do throws(SystemError) {
        log.output = try output.open(block?.output?.value)
      } catch {
        log.error("the new log cannot be written, the old one goes on: \(error)")
      }
    }
    daemon.reloader = { isTrial, completion in reloading?.reload(isTrial: isTrial, completion) }
    withExtendedLifetime(signals) { loop.run() }
    daemon.reloader = nil
    reloading = nil
    draining = nil
    daemon.stop()
    log.info("ended")
    recorded?.end(loop, log, ending)
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

  private func level(_ block: LogConfiguration?) -> Log.Level {
    if let logLevel = options.logLevel, let chosen = Log.Level(name: logLevel) { return chosen }
    if debug > 1 { return .trace }
    if debug == 1 { return .debug }
    if let chosen = Self.variable("GOST_LOGGER_LEVEL").flatMap({ Log.Level(name: $0) }) { return chosen }
    return block?.level.flatMap { Log.Level(name: $0.rawValue) } ?? .info
  }

  private func format(_ block: LogConfiguration?) -> Log.Format {
    if let logFormat = options.logFormat { return logFormat == "json" ? .json : .text }
    return block?.format == .json ? .json : .text
  }
}

/// GOST's `log.output`: stderr, stdout, none, or a file to append to.
///
/// Opened anew at each reload, so that a file that was moved away (logrotate) is left to those who moved it.
private final class LogOutput {
  private var descriptor: Int32 = -1

  /// On failure the place that was opened before stays open.
  func open(_ place: String?) throws(SystemError) -> (String) -> Void {
    var next: Int32 = -1
    defer {
      if descriptor >= 0, descriptor != next { close(descriptor) }
      descriptor = next
    }
    switch place {
    case nil, "", "stderr"?: return Log.standardError
    case "stdout"?: return { SourceFiles.write($0, to: 1) }
    case "none"?: return { _ in }
    case let path?:
      let opened = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
      guard opened >= 0 else {
        next = descriptor
        throw SystemError("open \(path)")
      }
      next = opened
      return { SourceFiles.write($0, to: opened) }
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
