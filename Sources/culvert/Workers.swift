import CLinux
import Glibc
import LinuxIO

/// Several programs for one command line: `culvert -L … -- -L …`.
///
/// Each part becomes a child with its number in `_GOST_ID`, and this process only watches over them. When one ends, the
/// others are ended too; a signal that asks for an end, or for a reload, is passed on to all. The children die with
/// this process, whatever ends it.
enum Workers {
  /// Seconds between asking a worker to end and ending it.
  private static let patience: Int64 = 10

  /// Runs the parts and returns when all have ended: with the exit code of the first that failed, else 0.
  static func run(_ parts: [[String]]) -> Int32 {
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD] { sigaddset(&signals, signal) }
    sigprocmask(SIG_BLOCK, &signals, nil)
    var running: [pid_t] = []
    var result: Int32 = 0
    var deadline: Int64?
    func end(_ signal: Int32) {
      for worker in running { kill(worker, signal) }
      if deadline == nil { deadline = culvert_monotonic_ns() + patience * 1_000_000_000 }
    }
    for (number, words) in parts.enumerated() {
      guard let worker = start(words, number: number) else {
        SourceFiles.write("error: worker \(number) does not start: \(SystemError("spawn").reason)\n", to: 2)
        result = 1
        end(SIGTERM)
        break
      }
      running.append(worker)
    }
    while !running.isEmpty {
      switch wait(for: &signals, until: deadline) {
      case SIGCHLD?: break
      case SIGHUP?: for worker in running { kill(worker, SIGHUP) }
      case let signal? where signal > 0: end(signal)
      case _?: break
      case nil: for worker in running { kill(worker, SIGKILL) }
      }
      for worker in running {
        var status: Int32 = 0
        guard waitpid(worker, &status, WNOHANG) == worker else { continue }
        running.removeAll { $0 == worker }
        let signal = status & 0x7F
        let code = signal == 0 ? status >> 8 & 0xFF : 128 + signal
        // Those that were asked to end by a signal did not fail by it.
        if result == 0, code != 0, deadline == nil || signal == 0 { result = code }
        if deadline == nil { end(SIGTERM) }
      }
    }
    return result
  }

  /// What a worker does first: it ends when the process that started it does.
  static func follow() { _ = culvert_die_with_parent(SIGTERM) }

  /// The next signal, 0 for a call that came to nothing; `nil` when the time is over.
  private static func wait(for signals: inout sigset_t, until deadline: Int64?) -> Int32? {
    guard let deadline else {
      let signal = sigwaitinfo(&signals, nil)
      return max(0, signal)
    }
    let left = max(0, deadline - culvert_monotonic_ns())
    var time = timespec(tv_sec: Int(left / 1_000_000_000), tv_nsec: Int(left % 1_000_000_000))
    let signal = sigtimedwait(&signals, nil, &time)
    if signal < 0, errno == EAGAIN { return nil }
    return max(0, signal)
  }

  private static func start(_ words: [String], number: Int) -> pid_t? {
    setenv("_GOST_ID", "\(number)", 1)
    var arguments = ([CommandLine.arguments.first ?? "culvert"] + words).map { strdup($0) } + [nil]
    defer { for text in arguments { free(text) } }
    let worker = culvert_start_program("/proc/self/exe", &arguments)
    return worker > 0 ? worker : nil
  }
}
