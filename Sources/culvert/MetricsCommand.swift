import ArgumentParser

struct MetricsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Ask the running daemon for what it counts.",
    discussion: """
      In the text format of Prometheus, as the handler `metrics` answers over HTTP.
      docs/metrics.md says what is counted.

      EXAMPLE
        culvert metrics
        culvert metrics --socket /run/culvert/relay.sock
      """)

  @Option(
    help: "The daemon's control socket; otherwise CULVERT_SOCKET, otherwise the only one in /run/culvert.",
    completion: .file())
  var socket: String?

  func run() throws {
    let answers = ControlSockets.ask(chosen: socket, "metrics")
    guard let answer = answers.first else { throw ExitCode(1) }
    guard answers.count == 1 else {
      // Two pages are not one: names would come twice.
      SourceFiles.write("error: \(answers.count) daemons answer\n", to: 2)
      SourceFiles.write(
        "help: choose one: \(answers.map { "`--socket \($0.path)`" }.joined(separator: ", "))\n", to: 2)
      throw ExitCode(1)
    }
    SourceFiles.write(answer.answer, to: 1)
  }
}
