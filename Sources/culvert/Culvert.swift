import ArgumentParser
import LinuxIO

/// `culvert`: what a user types. Subcommands print; what they do lives below.
@main
struct Culvert: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "culvert",
    abstract: "A network tunnel that runs GOST v3 files, says why before it fails, and tells the truth about the path.",
    discussion: """
      EXAMPLE
        culvert check server.yaml      look at a file before anything runs
        culvert -C server.yaml         run it (short for `culvert run -C …`)
        culvert path                   ask the daemon which way packets take
        culvert lab DIRECTORY          run hosts in namespaces, with proof
      """,
    subcommands: [
      Run.self, Check.self, PathCommand.self, LabCommand.self, Explain.self, VersionCommand.self, LabHostCommand.self,
    ],
    defaultSubcommand: Run.self)

  static func main() {
    let arguments = CommandLine.arguments.dropFirst()
    // GOST's own spelling, which no subcommand shares.
    if Array(arguments) == ["-V"] {
      print(Version.text)
      return
    }
    if arguments.isEmpty {
      print(helpMessage())
      return
    }
    main(Array(arguments))
  }
}

/// The program's name and version.
enum Version {
  static let number = "0.1.0"
  static let text = "culvert \(number) (Linux, speaks GOST 3.2.6)"
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version", abstract: "Print the version.",
    discussion: """
      EXAMPLE
        culvert version
      """)

  func run() { print(Version.text) }
}
