import ArgumentParser
import CLinux
import Glibc
import LinuxIO

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
    var answers: [String] = []
    var failure: SystemError?
    for path in socketsToAsk(&failure) {
      do throws(SystemError) {
        answers.append(try ask(path))
      } catch {
        failure = error
      }
    }
    if answers.isEmpty {
      let reason = failure.map { "\($0)" } ?? "no control socket in \(Self.directory)"
      SourceFiles.write("error: no daemon answers: \(reason)\n", to: 2)
      SourceFiles.write(
        failure?.code == EACCES
          ? "help: the control sockets are for root alone\n"
          : "help: is `culvert run` up on this host? `--socket PATH` names another place\n", to: 2)
      throw ExitCode(1)
    }
    SourceFiles.write(answers.joined(separator: "\n"), to: 1)
  }

  private func ask(_ path: String) throws(SystemError) -> String {
    let descriptor = culvert_unix_connect(path)
    guard descriptor >= 0 else { throw SystemError("ask \(path)") }
    defer { close(descriptor) }
    var words = ["path"]
    if json { words.append("--json") }
    if let service { words.append(service) }
    SourceFiles.write(words.joined(separator: " ") + "\n", to: descriptor)
    return String(decoding: try FileReading.readAll(descriptor, name: path), as: UTF8.self)
  }

  private static let directory = "/run/culvert"

  private func socketsToAsk(_ failure: inout SystemError?) -> [String] {
    if let chosen = socket ?? getenv("CULVERT_SOCKET").map({ String(cString: $0) }) { return [chosen] }
    guard let directory = opendir(Self.directory) else {
      if errno != ENOENT { failure = SystemError("look into \(Self.directory)") }
      return []
    }
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".sock") { found.append("\(Self.directory)/\(name)") }
    }
    return found.sorted()
  }
}
