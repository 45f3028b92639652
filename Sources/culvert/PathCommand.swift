import ArgumentParser

struct PathCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "path", abstract: "Ask the running daemon which way its packets take.",
    discussion: """
      Each connection is printed leg by leg, with what was seen and by whom. What nobody saw is printed as unknown.

      EXAMPLE
        culvert path
        culvert path tun-client --json
      """)

  @Argument(help: "Only this service.")
  var service: String?

  @Flag(help: "Machine-readable, with a schema version (docs/path.md).")
  var json = false

  @Option(
    help: "The daemon's control socket; otherwise CULVERT_SOCKET, otherwise all in /run/culvert.", completion: .file())
  var socket: String?

  func run() throws {
    var words = ["path"]
    if json { words.append("--json") }
    if let service { words.append(service) }
    let answers = ControlSockets.ask(chosen: socket, words.joined(separator: " "))
    guard !answers.isEmpty else { throw ExitCode(1) }
    SourceFiles.write(answers.map(\.answer).joined(separator: "\n"), to: 1)
  }
}
