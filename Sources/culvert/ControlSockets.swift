import CLinux
import Glibc
import LinuxIO

/// Where running daemons are asked: their control sockets.
enum ControlSockets {
  static let directory = "/run/culvert"

  /// The one that was chosen, by option or by `CULVERT_SOCKET`; otherwise all in the usual place.
  static func find(chosen: String?) throws(SystemError) -> [String] {
    if let chosen = chosen ?? getenv("CULVERT_SOCKET").map({ String(cString: $0) }) { return [chosen] }
    guard let directory = opendir(Self.directory) else {
      if errno == ENOENT { return [] }
      throw SystemError("look into \(Self.directory)")
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

  /// One request and its answer.
  static func ask(_ path: String, _ request: String) throws(SystemError) -> String {
    let descriptor = culvert_unix_connect(path)
    guard descriptor >= 0 else { throw SystemError("ask \(path)") }
    defer { close(descriptor) }
    SourceFiles.write(request + "\n", to: descriptor)
    return String(decoding: try FileReading.readAll(descriptor, name: path), as: UTF8.self)
  }

  /// Asks all that there are; those that nobody answers at are left out, unless it is all of them.
  static func ask(chosen: String?, _ request: String) -> [(path: String, answer: String)] {
    var answers: [(path: String, answer: String)] = []
    var failure: SystemError?
    do throws(SystemError) {
      for path in try find(chosen: chosen) {
        do throws(SystemError) {
          answers.append((path, try ask(path, request)))
        } catch {
          failure = error
        }
      }
    } catch {
      failure = error
    }
    if answers.isEmpty { complain(failure) }
    return answers
  }

  private static func complain(_ failure: SystemError?) {
    let reason = failure.map { "\($0)" } ?? "no control socket in \(directory)"
    SourceFiles.write("error: no daemon answers: \(reason)\n", to: 2)
    SourceFiles.write(
      failure?.code == EACCES
        ? "help: the control sockets are for root alone\n"
        : "help: is `culvert run` up on this host? `--socket PATH` names another place\n", to: 2)
  }
}
