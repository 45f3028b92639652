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
        culvert plan server.yaml       look at what it would do on this host
        culvert -C server.yaml         run it (short for `culvert run -C …`)
        culvert -L … -F …              the same in GOST's short form
        culvert path                   ask the daemon which way packets take
        culvert netcheck HOST          find out what this network allows
        culvert metrics                ask it for numbers, for Prometheus
        culvert reload                 have it follow its files; only what changed is touched
        culvert lab DIRECTORY          run hosts in namespaces, with proof
        culvert relay --user …         a STUN and TURN server; --from-coturn FILE takes coturn's file
      """,
    version: Version.text,
    subcommands: [
      Run.self, Check.self, PlanCommand.self, PathCommand.self, MetricsCommand.self, ReloadCommand.self,
      NetcheckCommand.self,
      LabCommand.self, ReplayCommand.self,
      Explain.self,
      Schema.self,
      Completions.self, Manual.self,
      RelayCommand.self,
      WireGuardCommand.self, GenerateKey.self, DerivePublicKey.self, GeneratePresharedKey.self, VersionCommand.self,
      LabHostCommand.self,
    ],
    defaultSubcommand: Run.self)

  static func main() {
    var arguments = Array(CommandLine.arguments.dropFirst())
    if CommandLine.arguments.first?.split(separator: "/").last.map(String.init) == WireGuardCommand.otherName {
      arguments.insert("wireguard", at: 0)
    }
    if let first = arguments.first, let (reason, code) = misunderstanding(first) { refuse(reason, code) }
    do throws(GostWords.Refusal) {
      var given = try GostWords(arguments)
      if given.asksForVersion {
        print(Version.text)
        return
      }
      let programs = given.programs
      if programs.count > 1 { Glibc.exit(Workers.run(programs)) }
      if given.command == .run { given.words = ["run"] + (programs.first ?? []) }
      if given.namesNothing {
        if let file = UsualFile.find() {
          SourceFiles.write("culvert: no -C and no -L: running \(Log.escape(file))\n", to: 2)
          given.words += ["-C", file]
        } else if arguments.isEmpty {
          print(helpMessage())
          return
        }
      }
      main(given.words)
    } catch {
      refuse(error.reason, error.code)
    }
  }

  private static func refuse(_ reason: String, _ code: Int32) -> Never {
    SourceFiles.write("error: \(reason)\n", to: 2)
    Glibc.exit(code)
  }

  /// What a first word means that is neither a command nor an option of `run`: said in one line instead of a list of
  /// options. With the exit code: 3 is "not yet", as for files, 64 is wrong usage (sysexits.h).
  private static func misunderstanding(_ word: String) -> (reason: String, code: Int32)? {
    let shown = Log.escape(word)
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
  static let date = "2026-11-21"
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
