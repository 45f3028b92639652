/// Programs that a test starts: each in a process group of its own, its output kept in an unlinked file that can be
/// read while it runs. Nothing here waits for ever: whoever waits names a deadline, and a program that misses it is
/// ended by its own number.
import Glibc
import Testing

/// How a program ended.
enum Ending: Equatable, CustomStringConvertible {
  case exit(Int32)
  case signal(Int32)

  var description: String {
    switch self {
    case .exit(let code): "exit \(code)"
    case .signal(let number): "signal \(number)"
    }
  }
}

/// Seconds of the monotonic clock.
func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Asks until it is so, and says how many seconds that took; `nil` when the time is over.
func eventually(within limit: Double, every pause: Double = 0.02, _ isSo: () -> Bool) -> Double? {
  let start = now()
  while true {
    if isSo() { return now() - start }
    if now() - start > limit { return nil }
    usleep(UInt32(pause * 1e6))
  }
}

final class Program {
  let title: String
  let pid: pid_t
  private let output: Int32
  private var ending: Ending?

  struct CannotStart: Error {
    let title: String
    let code: Int32
  }

  /// Starts `/bin/sh -c command`. A command that begins with `exec` becomes the program itself, so that a signal to
  /// `pid` is one to the program.
  init(_ command: String, title: String? = nil) throws {
    self.title = title ?? command
    let place = "/tmp/culvert-test-out-\(UInt64.random(in: 0 ... .max))"
    output = open(place, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_APPEND, 0o600)
    guard output >= 0 else { throw CannotStart(title: self.title, code: errno) }
    unlink(place)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
    let words = ["/bin/sh", "-c", command]
    let environment = [
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "LC_ALL=C", "SWIFT_BACKTRACE=enable=no", "HOME=/tmp",
    ]
    var arguments = words.map { strdup($0) } + [nil]
    var variables = environment.map { strdup($0) } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, &attributes, &arguments, &variables)
    guard code == 0 else {
      close(output)
      throw CannotStart(title: self.title, code: code)
    }
    pid = child
  }

  deinit {
    kill()
    close(output)
  }

  /// What it has printed so far.
  var log: String {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = pread(output, &chunk, chunk.count, off_t(bytes.count))
      guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += chunk.prefix(count)
    }
  }

  var lines: [String] { log.split(separator: "\n").map(String.init) }

  /// How it ended; `nil` while it runs.
  var ended: Ending? {
    if let ending { return ending }
    var status: Int32 = 0
    guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
    ending = status & 0x7F == 0 ? .exit(status >> 8 & 0xFF) : .signal(status & 0x7F)
    return ending
  }

  func signal(_ number: Int32) { if ended == nil { Glibc.kill(pid, number) } }

  /// Waits for its end; `nil` when the time is over.
  func wait(within limit: Double) -> Ending? {
    _ = eventually(within: limit, every: 0.005) { ended != nil }
    return ended
  }

  /// Ends it and what it started.
  func kill() {
    guard ended == nil else { return }
    Glibc.kill(-pid, SIGKILL)
    _ = wait(within: 5)
  }

  /// Waits until its output has that text; `nil` when it ended or time is over.
  func says(_ text: String, within limit: Double) -> Double? {
    let found = eventually(within: limit) { log.contains(text) || ended != nil }
    return log.contains(text) ? found ?? limit : nil
  }
}

/// What a command printed and how it ended.
struct Outcome {
  let output: String
  /// `nil` when it had to be ended.
  let ending: Ending?

  var isGood: Bool { ending == .exit(0) }
}

/// Runs a command to its end.
@discardableResult
func shell(_ command: String, within limit: Double = 20) throws -> Outcome {
  let program = try Program(command)
  let ending = program.wait(within: limit)
  program.kill()
  return Outcome(output: program.log, ending: ending)
}
