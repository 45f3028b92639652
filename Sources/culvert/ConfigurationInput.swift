import ArgumentParser
import Configuration
import Glibc
import LinuxIO

/// Where a configuration comes from: `-C`, `-L` and `-F`, for the commands that take one.
struct ConfigurationInput: ParsableArguments {
  @Option(
    name: .customShort("C"), parsing: .upToNextOption,
    help: ArgumentHelp(
      "Configuration: a file, an http:// address, JSON in place that begins with `{`, or `-` for standard input.",
      valueName: "file"), completion: .file())
  var files: [String] = []

  @Option(
    name: .customShort("L"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A service: handler+listener://user:password@:port/target?key=value; may be repeated.", valueName: "address"))
  var services: [String] = []

  @Option(
    name: .customShort("F"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "The next hop on the way out: connector+dialer://user:password@host:port?key=value.", valueName: "address"))
  var nodes: [String] = []

  @Option(
    name: .customLong("accept"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Accept a warning in all that is given, by its code and with the reason; may be repeated.",
      valueName: "code=reason"))
  var acceptances: [String] = []

  /// The options of `culvert relay`, which is `run` with them in place of addresses.
  var relay: [RelayOption]? = nil

  var arguments: CommandLineArguments {
    CommandLineArguments(services: services, nodes: nodes, worker: Self.worker, acceptances: acceptances, relay: relay)
  }

  /// The number of this process among the workers of one command line.
  static var worker: String? { getenv("_GOST_ID").map { String(cString: $0) } }

  var isEmpty: Bool { files.isEmpty && services.isEmpty && nodes.isEmpty && relay == nil }
}
