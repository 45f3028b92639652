import Glibc

/// A program whose output is read while the loop runs. It is ended with its object.
final class PeerProgram {
  private let process: pid_t
  private let output: Int32
  private var text = ""

  /// `nil` when it cannot be started.
  init?(_ arguments: [String]) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return nil }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    defer { posix_spawn_file_actions_destroy(&actions) }
    var copies = arguments.map { strdup($0) }
    copies.append(nil)
    defer { for copy in copies { free(copy) } }
    var child: pid_t = 0
    let started = posix_spawnp(&child, arguments[0], &actions, nil, copies, environ)
    close(ends[1])
    guard started == 0 else {
      close(ends[0])
      return nil
    }
    process = child
    output = ends[0]
    _ = fcntl(output, F_SETFL, O_NONBLOCK)
  }

  deinit {
    kill(process, SIGKILL)
    var status: Int32 = 0
    waitpid(process, &status, 0)
    close(output)
  }

  /// What it has printed so far.
  var printed: String {
    var piece = [UInt8](repeating: 0, count: 4096)
    while case let count = Glibc.read(output, &piece, piece.count), count > 0 {
      text += String(decoding: piece[..<count], as: UTF8.self)
    }
    return text
  }

  /// Runs a program to its end, at most half a minute, and says whether it ended well.
  static func succeeds(_ arguments: [String]) -> Bool {
    guard let child = PeerProgram(arguments) else { return false }
    var status: Int32 = 0
    for _ in 0..<3_000 {
      if waitpid(child.process, &status, WNOHANG) == child.process { return status == 0 }
      usleep(10_000)
    }
    return false
  }
}
