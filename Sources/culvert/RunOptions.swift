import ArgumentParser
import LinuxIO

/// What every command that runs services takes.
struct RunOptions: ParsableArguments {
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

  @OptionGroup var recording: RecordOption

  func validate() throws {
    if let logLevel, Log.Level(name: logLevel) == nil {
      throw ValidationError("`\(logLevel)` is no log level; use trace, debug, info, warn or error")
    }
    if let logFormat, logFormat != "text", logFormat != "json" {
      throw ValidationError("`\(logFormat)` is no log format; use text or json")
    }
  }
}
