import ArgumentParser
import Configuration
import Glibc
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
    version: Version.text,
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
    if let first = arguments.first, let (reason, code) = misunderstanding(first) {
      SourceFiles.write("error: \(reason)\n", to: 2)
      Glibc.exit(code)
    }
    main(Array(arguments))
  }

  /// What a first word means that is neither a command nor an option of `run`: said in one line instead of a list of
  /// options. With the exit code: 3 is "not yet", as for files, 64 is wrong usage (sysexits.h).
  private static func misunderstanding(_ word: String) -> (reason: String, code: Int32)? {
    let shown = Log.escape(word)
    if word.hasPrefix("-L") || word.hasPrefix("-F") {
      return ("`\(word.prefix(2))` is not yet supported; `gost -L … -F … -O yaml` writes the file that is meant", 3)
    }
    let flag = word.split(separator: "=", maxSplits: 1).first.map(String.init) ?? word
    if ["-O", "-R", "-api", "-metrics"].contains(flag) { return ("`\(flag)` of GOST is not yet supported", 3) }
    guard !word.hasPrefix("-") else { return nil }
    let names = ["help"] + configuration.subcommands.compactMap { $0.configuration.commandName }
    if names.contains(word) { return nil }
    if access(word, F_OK) == 0 { return ("`\(shown)` is a file; run it with `culvert -C \(shown)`", 64) }
    let near = NearNames.best(for: word, among: names.filter { $0 != "lab-host" })
    return ("`\(shown)` is no command; \(near.map { "did you mean `\($0)`?" } ?? "`culvert --help` lists them")", 64)
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
