import Glibc
import Values

/// Asks the daemon of this host over its control socket, as `culvert path` does.
enum ControlQuery {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  static let directory = "/run/culvert"

  /// Whether a daemon takes connections.
  static var isAnswering: Bool {
    guard let connection = try? connect() else { return false }
    close(connection)
    return true
  }

  /// The JSON text of the paths, of one service or of all.
  static func path(service: String?) throws(Failure) -> String {
    let connection = try connect()
    defer { close(connection) }
    let request = Array("path --json\(service.map { " \($0)" } ?? "")\n".utf8)
    guard send(connection, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
      throw Failure(description: "the control socket does not take the question")
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    let deadline = Clock.now + .seconds(5)
    while answer.count < 8 << 20 {
      var wait = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
      let left = deadline - Clock.now
      guard left > .zero, poll(&wait, 1, Int32(clamping: left.nanoseconds / 1_000_000 + 1)) >= 0 else {
        throw Failure(description: "the control socket did not finish its answer within 5 s")
      }
      guard wait.revents != 0 else { continue }
      let count = recv(connection, &chunk, chunk.count, 0)
      if count <= 0 { break }
      answer += chunk.prefix(count)
    }
    return String(decoding: answer, as: UTF8.self)
  }

  private static func connect() throws(Failure) -> Int32 {
    guard let list = opendir(directory) else { throw Failure(description: "\(directory) is missing") }
    defer { closedir(list) }
    while let entry = readdir(list) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name.hasSuffix(".sock") else { continue }
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      let path = Array("\(directory)/\(name)".utf8)
      guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { continue }
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
      let connection = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      guard connection >= 0 else { continue }
      let code = withUnsafePointer(to: address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Glibc.connect(connection, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      if code == 0 { return connection }
      close(connection)
    }
    throw Failure(description: "no daemon answers in \(directory)")
  }
}
