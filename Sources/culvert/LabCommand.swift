import ArgumentParser
import Lab

struct LabCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lab", abstract: "Run hosts in namespaces as lab.yaml says, and prove what they do.",
    discussion: """
      Needs root. Every host is a child process in its own network and mount namespace; nothing is left behind.
      Exit code: 0 all proofs hold, 1 one failed, 2 the lab could not run, 130 or 143 ended by a signal.
      docs/lab.md describes lab.yaml.

      EXAMPLE
        culvert lab examples/tun-over-icmp6
        culvert lab examples/tun-over-tls
        culvert lab examples/tun-over-tls --record recordings
      """)

  @Argument(help: "A directory with a lab.yaml.", completion: .directory)
  var directory: String

  @Option(
    name: .customLong("record"),
    help: ArgumentHelp("Keep a recording of each host in this folder, for `culvert replay`.", valueName: "folder"),
    completion: .directory)
  var recordings: String?

  func run() throws {
    let code = Lab.run(directory: directory, executable: "/proc/self/exe", recordings: recordings)
    if code != 0 { throw ExitCode(code) }
  }
}

/// One host of a lab, started by `culvert lab` itself.
struct LabHostCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "lab-host", shouldDisplay: false)

  @Argument(parsing: .captureForPassthrough)
  var arguments: [String] = []

  func run() throws {
    let code = LabHost.main(arguments: arguments)
    if code != 0 { throw ExitCode(code) }
  }
}
