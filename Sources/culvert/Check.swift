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
        culvert check server.yaml --strict --format json
        culvert check server.yaml --fix --dry-run
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json, sarif }

  @Argument(
    help: ArgumentHelp(
      "Configuration files; several are one configuration. `-` is standard input.", valueName: "file"),
    completion: .file())
  var files: [String] = []

  @OptionGroup var input: ConfigurationInput

  @Option(
    name: .customLong("with"), parsing: .upToNextOption,
    help: ArgumentHelp("The other ends' files: checks all against each other.", valueName: "peerfile"),
    completion: .file())
  var peers: [String] = []

  @Option(help: "How the findings are printed; docs/check.md describes the JSON.")
  var format = Format.text

  @Flag(help: "Warnings about security are errors, unless the file accepts them with a reason.")
  var strict = false

  @Flag(help: "The files are pieces of files: what they refer to may be elsewhere.")
  var fragment = false

  @Flag(help: "Apply the fixes that are certain, write the files, and show the difference.")
  var fix = false

  @Flag(name: .customLong("dry-run"), help: "With --fix: show the difference and write nothing.")
  var dryRun = false

  func validate() throws {
    if dryRun, !fix { throw ValidationError("`--dry-run` goes with `--fix`") }
    if files.isEmpty, input.isEmpty { throw ValidationError("give at least one configuration file, or `-L`") }
  }

  func run() throws {
    let options = SourceFiles.Options(strict: strict, fragment: fragment)
    if fix {
      let mend = Mend(
        names: files + input.files, arguments: input.arguments, peers: peers, options: options, format: format.shape,
        isDry: dryRun)
      let code = mend.run()
      if code != 0 { throw ExitCode(code) }
      return
    }
    let report = SourceFiles.check(files + input.files, arguments: input.arguments, with: peers, options: options)
    SourceFiles.printDiagnostics(report, format: format.shape, to: .standardOutput)
    if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    if format == .text, report.diagnostics.isEmpty, report.accepted.isEmpty { print("no problems found") }
  }
}

extension Check.Format {
  var shape: SourceFiles.Format {
    switch self {
    case .text: .text
    case .json: .json
    case .sarif: .sarif
    }
  }
}
