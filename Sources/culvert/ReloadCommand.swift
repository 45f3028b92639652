import ArgumentParser
import Daemon

struct ReloadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reload", abstract: "Have the running daemon read its configuration again.",
    discussion: """
      The daemon checks the files that it was started with and changes only what
      changed: what is as before keeps its sockets and connections. When the check
      finds an error nothing changes, and it is printed here. SIGHUP does the same.
      More: docs/reload.md.

      EXAMPLE
        culvert reload
        culvert reload --dry-run
      """)

  @Flag(name: .customLong("dry-run"), help: "Only say what would change.")
  var isTrial = false

  @Option(
    help: "The daemon's control socket; otherwise CULVERT_SOCKET, otherwise all in /run/culvert.", completion: .file())
  var socket: String?

  func run() throws {
    let answers = ControlSockets.ask(chosen: socket, isTrial ? "reload --dry-run" : "reload")
    guard !answers.isEmpty else { throw ExitCode(1) }
    var code: Int32 = 0
    for (path, text) in answers {
      let answer =
        ControlAnswer(text) ?? ControlAnswer(1, "error: \(path) gave no answer; the daemon's log may say more\n")
      let heading = answers.count > 1 ? "\(path): " : ""
      SourceFiles.write(heading + answer.text, to: answer.code == 0 ? 1 : 2)
      if code == 0 { code = answer.code }
    }
    if code != 0 { throw ExitCode(code) }
  }
}
