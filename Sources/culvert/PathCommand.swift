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

  @Option(help: "The daemon's control socket; otherwise CULVERT_SOCKET, otherwise all in /run/culvert.")
  var socket: String?

  func run() throws {
    let chosen = socket ?? getenv("CULVERT_SOCKET").map { String(cString: $0) }
    let sockets = chosen.map { [$0] } ?? Self.socketsInRun()
    var answers: [String] = []
    var failure: SystemError?
    for path in sockets {
      do throws(SystemError) {
        answers.append(try ask(path))
      } catch {
        failure = error
      }
    }
    if answers.isEmpty {
      let reason = failure.map { "\($0)" } ?? "no control socket in /run/culvert"
      SourceFiles.write("error: no daemon answers: \(reason)\n", to: 2)
      SourceFiles.write("help: is `culvert run` up on this host? `--socket PATH` names another place\n", to: 2)
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

  private static func socketsInRun() -> [String] {
    guard let directory = opendir("/run/culvert") else { return [] }
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".sock") { found.append("/run/culvert/\(name)") }
    }
    return found.sorted()
  }
}
