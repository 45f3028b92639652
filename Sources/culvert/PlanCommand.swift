import ArgumentParser
import Configuration
import Daemon
import LinuxIO

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Print what running would do on this host, without doing it.",
    discussion: """
      Interfaces, routes, sockets, names, capabilities and files, each chain hop by hop with its sizes, and what on this
      host stands in the way. Nothing is changed, and nothing leaves the host but questions to its resolver. The exit code
      is that of `check`.

      EXAMPLE
        culvert plan client.yaml
        culvert plan -L socks5://:1080 -F relay+quic://example.com:443
        culvert plan client.yaml --no-resolve --json
      """)

  @Argument(
    help: ArgumentHelp(
      "Configuration files; several are one configuration. `-` is standard input.", valueName: "file"),
    completion: .file())
  var files: [String] = []

  @OptionGroup var input: ConfigurationInput

  @Flag(help: "The plan and the findings as one JSON object; docs/plan.md describes it.")
  var json = false

  @Option(help: "The findings alone, as `check` prints them.", completion: .list(Check.Format.allCases.map(\.rawValue)))
  var format: Check.Format?

  @Flag(help: "Warnings about security are errors, unless the file accepts them with a reason.")
  var strict = false

  @Flag(name: .customLong("no-resolve"), help: "Ask no resolver for the names in the files.")
  var noResolve = false

  @Flag(
    name: .customLong("no-reflection-filter"),
    help: "As `run` takes it: leave the kernel's echo replies to our ICMP envelopes alone.")
  var noReflectionFilter = false

  func validate() throws {
    if json, format != nil { throw ValidationError("`--json` and `--format` exclude each other") }
    if files.isEmpty, input.isEmpty { throw ValidationError("give at least one configuration file, or `-L`") }
  }

  func run() throws {
    var options = SourceFiles.Options(strict: strict)
    options.host = noResolve ? .withoutNames : .whole
    let (report, host) = SourceFiles.checkOnHost(files + input.files, arguments: input.arguments, options: options)
    let plan = plan(report, host)
    if let format {
      SourceFiles.printDiagnostics(report, format: format.shape, to: .standardOutput)
    } else if json {
      SourceFiles.write(PlanJSON.render(plan, report), to: 1)
    } else {
      var text = plan.map { PlanText($0, colors: SourceFiles.hasColors(.standardOutput)).render() } ?? ""
      if !text.isEmpty, !report.diagnostics.isEmpty || !report.accepted.isEmpty { text += "\n" }
      SourceFiles.write(text, to: 1)
      SourceFiles.printDiagnostics(report, format: .text, to: .standardOutput)
    }
    if report.exitCode != 0 { throw ExitCode(report.exitCode) }
  }

  /// `nil` where the files themselves are wrong: there is nothing that could be run.
  private func plan(_ report: CheckReport, _ host: HostFacts?) -> Plan? {
    guard let configuration = report.configuration, let host,
      !report.diagnostics.contains(where: { $0.severity <= .notYet && !$0.code.isEnvironment })
    else { return nil }
    var plan = PlanBuilder(configuration, host).build()
    if noReflectionFilter { plan.filteredFamilies = [] }
    plan.files += HostSurvey.ownFiles
    plan.filterRules = HostSurvey.filterRules(plan.filteredFamilies)
    return plan
  }
}
