import ArgumentParser
import Configuration
import LinuxIO

struct Schema: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema", abstract: "Print the configuration's JSON Schema (2020-12), for editors.",
    discussion: """
      With the Red Hat YAML extension or another client of yaml-language-server, a
      first line in the file is enough:
        # yaml-language-server: $schema=/etc/culvert.schema.json

      EXAMPLE
        culvert schema > /etc/culvert.schema.json
      """)

  func run() { SourceFiles.write(ConfigurationSchema.render(), to: 1) }
}

struct Completions: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completions", abstract: "Print a script that lets a shell complete culvert's words.",
    discussion: """
      EXAMPLE
        culvert completions bash > /usr/share/bash-completion/completions/culvert
        culvert completions zsh > /usr/share/zsh/vendor-completions/_culvert
        culvert completions fish > ~/.config/fish/completions/culvert.fish
      """)

  enum Shell: String, ExpressibleByArgument, CaseIterable { case bash, zsh, fish }

  @Argument(help: "The shell: bash, zsh or fish.")
  var shell: Shell

  func run() throws {
    guard let model = CommandModel.make(), let script = CompletionScript(model) else { throw ExitCode(1) }
    switch shell {
    case .bash: SourceFiles.write(script.bash, to: 1)
    case .zsh: SourceFiles.write(script.zsh, to: 1)
    case .fish: SourceFiles.write(script.fish, to: 1)
    }
  }
}

struct Manual: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "manual", abstract: "Print the manual page, as roff.",
    discussion: """
      EXAMPLE
        culvert manual > /usr/local/share/man/man1/culvert.1
        culvert manual | man -l -
      """)

  func run() throws {
    guard let model = CommandModel.make() else { throw ExitCode(1) }
    SourceFiles.write(ManualPage(root: model, version: Version.number, date: Version.date).text, to: 1)
  }
}
