import CLinux
import Glibc

/// Starting a program as a child, without Swift code between clone and exec.
enum Launch {
  struct Failure: Error, CustomStringConvertible {
    let attempt: String
    let code: Int32
    var description: String { "cannot \(attempt): \(String(cString: strerror(code)))" }
  }

  /// Starts a program; descriptors of -1 are /dev/null. The child is killed when the calling thread ends. Returns its
  /// process id.
  static func start(
    _ path: String, _ arguments: [String], output: Int32, control: Int32 = -1, namespaces: UInt64 = 0
  ) throws(Failure) -> Int32 {
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    words.append(nil)
    defer { words.forEach { free($0) } }
    let child = path.withCString { path in
      words.withUnsafeBufferPointer { words -> Int32 in
        guard let list = words.baseAddress else { return -EINVAL }
        var launch = culvert_launch(
          path: path, arguments: list, input: -1, output: output, error: output,
          control: control, namespaces: namespaces, death_signal: SIGKILL)
        return culvert_launch(&launch)
      }
    }
    if child < 0 { throw Failure(attempt: "start \(arguments.first ?? path)", code: -child) }
    return child
  }
}
