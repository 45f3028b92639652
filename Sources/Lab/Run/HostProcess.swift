import CLinux
import Glibc
import Values

/// The lab's side of a host: the child process, the talk with it, and its log.
///
/// The log is an anonymous file in memory, so that nothing of a run is left on disk, whatever ends it.
final class HostProcess {
  let name: String
  let process: Int32
  private let channel: LabChannel
  private let log: Int32
  private let signals: Int32
  private var isGone = false

  enum Failure: Error, CustomStringConvertible {
    /// The host said no.
    case refused(host: String, reason: String)
    /// The host ended or does not answer.
    case silent(host: String, reason: String)
    /// A signal asked the lab to end.
    case interrupted

    var description: String {
      switch self {
      case .refused(let host, let reason): "\(host): \(reason)"
      case .silent(let host, let reason): "\(host): \(reason)"
      case .interrupted: "interrupted"
      }
    }
  }

  /// - Parameters:
  ///   - executable: this program.
  ///   - signals: a descriptor whose readiness means that the lab must end.
  init(name: String, executable: String, directory: String, signals: Int32) throws(Launch.Failure) {
    self.name = name
    self.signals = signals
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
      throw Launch.Failure(attempt: "make a socket pair", code: errno)
    }
    log = culvert_memory_file("culvert-lab-\(name)")
    defer { close(pair[1]) }
    channel = LabChannel(descriptor: pair[0])
    let kinds = [CULVERT_NEW_NETWORK, CULVERT_NEW_MOUNTS, CULVERT_NEW_PROCESSES, CULVERT_NEW_HOSTNAME, CULVERT_NEW_IPC]
    process = try Launch.start(
      executable, ["culvert", "lab-host", directory], output: log, control: pair[1],
      namespaces: kinds.reduce(0) { $0 | UInt64($1) })
  }

  deinit {
    kill()
    if log >= 0 { close(log) }
  }

  /// Sends a request without waiting.
  func send(_ words: [String]) throws(Failure) {
    do {
      try channel.send(LabMessage(words))
    } catch {
      throw gone()
    }
  }

  /// Waits for the answer to the oldest request: its words behind `ok`.
  func answer(within patience: TimeSpan) throws(Failure) -> ArraySlice<String> {
    let message = try next(within: patience)
    if message.verb == "error" { throw .refused(host: name, reason: message[1]) }
    return message.words.dropFirst()
  }

  /// Waits for a `step` that comes before the answer.
  func step(within patience: TimeSpan) throws(Failure) -> String {
    let message = try next(within: patience)
    if message.verb == "step" { return message[1] }
    throw .refused(host: name, reason: message[1])
  }

  @discardableResult
  func ask(_ words: [String], within patience: TimeSpan = .seconds(10)) throws(Failure) -> ArraySlice<String> {
    try send(words)
    return try answer(within: patience)
  }

  private func next(within patience: TimeSpan) throws(Failure) -> LabMessage {
    do {
      return try channel.receive(until: Clock.now + patience, interrupt: signals)
    } catch LabChannel.Failure.interrupted {
      throw .interrupted
    } catch LabChannel.Failure.timedOut {
      throw .silent(host: name, reason: "no answer within \(patience)")
    } catch {
      throw gone()
    }
  }

  private func gone() -> Failure {
    .silent(host: name, reason: "the host's process has ended\(lastLines(4).first.map { ": \($0)" } ?? "")")
  }

  /// Ends the host and everything in it, and waits until the process is gone.
  func kill() {
    guard !isGone else { return }
    isGone = true
    Glibc.kill(process, SIGKILL)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
  }

  /// The end of what the host's programs wrote; after a crash, the lines around its beginning, because a backtrace is
  /// long and what matters stands on top.
  func lastLines(_ count: Int) -> [String] {
    var status = stat()
    guard log >= 0, fstat(log, &status) == 0 else { return [] }
    let size = min(Int(status.st_size), 64 << 10)
    var bytes = [UInt8](repeating: 0, count: max(size, 1))
    let got = pread(log, &bytes, size, status.st_size - off_t(size))
    guard got > 0 else { return [] }
    let text = String(decoding: bytes.prefix(got), as: UTF8.self)
    let lines = text.split(separator: "\n")
    let crash = lines.firstIndex { $0.hasPrefix("*** ") || $0.contains("Fatal error:") }
    return (crash.map { lines[max(0, $0 - 4)...].prefix(count) } ?? lines.suffix(count)).map { line in
      String(String.UnicodeScalarView(line.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
    }
  }
}
