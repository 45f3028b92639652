import ArgumentParser
import Configuration
import LinuxIO

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Say what is wrong with configuration files, where, why, and how to mend it.",
    discussion: """
      Exit code: 0 good (warnings allowed), 1 errors, 2 a file cannot be read, 3 nothing but parts that are not there yet.

      EXAMPLE
        culvert check client.yaml
        culvert check client.yaml --with server.yaml
        culvert check -L relay+tls://:8443 -F relay+quic://example.com:443
        culvert check server.yaml --format json
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

  @Argument(
    help: ArgumentHelp(
      "Configuration files; several are one configuration. `-` is standard input.", valueName: "file"))
  var files: [String] = []

  @OptionGroup var input: ConfigurationInput

  @Option(
    name: .customLong("with"), parsing: .upToNextOption,
    help: ArgumentHelp("The other ends' files: checks all against each other.", valueName: "peerfile"))
  var peers: [String] = []

  @Option(help: "How the findings are printed; docs/check.md describes the JSON.")
  var format = Format.text

  func validate() throws {
    if files.isEmpty, input.isEmpty { throw ValidationError("give at least one configuration file, or `-L`") }
  }

  func run() throws {
    let report = SourceFiles.check(files + input.files, arguments: input.arguments, with: peers)
    SourceFiles.printDiagnostics(report, format: format == .json ? .json : .text, to: .standardOutput)
    if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    if format == .text, report.diagnostics.isEmpty { print("no problems found") }
  }
}
