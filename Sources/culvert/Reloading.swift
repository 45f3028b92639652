import Configuration
import Daemon
import Glibc
import LinuxIO

/// What `run` does on SIGHUP and when `culvert reload` asks: the same files once more, the same check, and what has
/// changed since.
///
/// Reading and checking happen on a thread of their own: a file may come from a slow server, and packets do not wait for
/// it. One reload is under way at a time; who asks meanwhile gets the next one.
final class Reloading {
  private let input: (files: [String], arguments: CommandLineArguments)
  private let options: SourceFiles.Options
  private let loop: EventLoop
  private let log: Log
  private unowned let daemon: Daemon
  /// The file's `log` changed, or its output may have been moved away to be opened anew.
  private let logChanged: (LogConfiguration?) -> Void
  private var isBusy = false
  private var waiting: [Request] = []

  private struct Request {
    let isTrial: Bool
    let completion: (ControlAnswer) -> Void
  }

  private static let stack = 8 << 20

  init(
    files: [String], arguments: CommandLineArguments, options: SourceFiles.Options, loop: EventLoop, log: Log,
    daemon: Daemon, logChanged: @escaping (LogConfiguration?) -> Void
  ) {
    input = (files, arguments)
    self.options = options
    self.loop = loop
    self.log = log
    self.daemon = daemon
    self.logChanged = logChanged
  }

  /// SIGHUP: the answer goes to the log, and findings to standard error, as when the program started.
  func reloadBySignal() {
    log.info("reloading", ["signal": "SIGHUP"])
    reload(isTrial: false) { answer in
      if answer.code != 0 { SourceFiles.write(answer.text, to: 2) }
    }
  }

  func reload(isTrial: Bool, _ completion: @escaping (ControlAnswer) -> Void) {
    waiting.append(Request(isTrial: isTrial, completion: completion))
    if !isBusy { next() }
  }

  private func next() {
    guard !waiting.isEmpty else { return }
    let request = waiting.removeFirst()
    guard !input.files.contains("-") else {
      finish(
        request,
        ControlAnswer(
          1, "error: the configuration came from standard input, which cannot be read again; nothing changed\n"))
      return
    }
    isBusy = true
    let (files, arguments) = input
    var options = options
    options.ownInterfaces = daemon.interfaces
    let judged = options
    let submitter = loop.submitter
    let box = Box { [weak self] (report: CheckReport) in self?.checked(report, request) }
    let started = DetachedThread.start(stack: Self.stack) {
      let report = SourceFiles.check(files, arguments: arguments, options: judged)
      submitter.submit { box.value(report) }
    }
    if !started { finish(request, ControlAnswer(1, "error: no thread for the check; nothing changed\n")) }
  }

  /// Carries a closure of the loop's thread through another thread, which never calls it.
  private final class Box: @unchecked Sendable {
    let value: (CheckReport) -> Void
    init(_ value: @escaping (CheckReport) -> Void) { self.value = value }
  }

  private func checked(_ report: CheckReport, _ request: Request) {
    let findings = DiagnosticRenderer(sources: report.sources, colors: false, width: 100).render(
      report.diagnostics, accepted: report.accepted.count)
    let shown = findings.isEmpty || findings.hasSuffix("\n") ? findings : findings + "\n"
    guard report.mayRun, let configuration = report.configuration else {
      log.error("the new configuration is refused; nothing changed", ["errors": report.errorCount])
      finish(request, ControlAnswer(max(1, report.exitCode), shown + "\nnothing changed\n"))
      return
    }
    do throws(ReloadFailure) {
      let outcome = try daemon.reload(configuration, isTrial: request.isTrial)
      if !request.isTrial {
        logChanged(configuration.log)
        say(outcome)
      }
      finish(request, ControlAnswer(0, shown + outcome.text(isTrial: request.isTrial)))
    } catch {
      log.error("the new configuration does not start: \(error.cause)")
      for lost in error.lost { log.error("a service that ran does not start again: \(lost)") }
      finish(request, ControlAnswer(1, shown + error.text))
    }
  }

  private func say(_ outcome: ReloadReport) {
    log.info(
      "reloaded",
      [
        "changed": outcome.count(.followed), "restarted": outcome.count(.restarted),
        "started": outcome.count(.started), "ended": outcome.count(.ended), "untouched": outcome.count(.untouched),
      ])
  }

  private func finish(_ request: Request, _ answer: ControlAnswer) {
    isBusy = false
    request.completion(answer)
    next()
  }
}

extension CheckReport {
  fileprivate var errorCount: Int { diagnostics.lazy.filter { $0.severity == .error || $0.severity == .notYet }.count }
}
