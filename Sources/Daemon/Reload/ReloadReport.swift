import LinuxIO

/// What a reload did to each service, or would do.
public struct ReloadReport {
  public enum Kind: Sendable {
    /// As the file has it already.
    case untouched
    /// It followed the file, with its socket.
    case followed
    /// It ended and began again.
    case restarted
    case started
    case ended
  }

  public struct Change {
    public let service: String
    public let kind: Kind
    /// What of it changed.
    let what: String
    let note: String?
  }

  public let changes: [Change]

  public func count(_ kind: Kind) -> Int { changes.lazy.filter { $0.kind == kind }.count }

  public var changesNothing: Bool { count(.untouched) == changes.count }

  /// A summary in one line, and one line for each service that is not left alone.
  ///
  /// - Parameter isTrial: nothing was done yet.
  public func text(isTrial: Bool) -> String {
    if changesNothing { return isTrial ? "would change nothing\n" : "nothing changed: all is as the files have it\n" }
    let counts: [(Kind, String)] = [
      (.followed, "changed"), (.restarted, "restarted"), (.started, "started"), (.ended, "ended"),
      (.untouched, "untouched"),
    ]
    let summary = counts.compactMap { count($0.0) > 0 ? "\(count($0.0)) \($0.1)" : nil }.joined(separator: ", ")
    var lines = [(isTrial ? "would reload: " : "reloaded: ") + summary]
    let width = changes.filter { $0.kind != .untouched }.map { Log.escape($0.service).count }.max() ?? 0
    for change in changes where change.kind != .untouched {
      let name = Log.escape(change.service)
      let padding = String(repeating: " ", count: max(0, min(width, 40) - name.count))
      lines.append("  \(name)\(padding)  \(change.text(isTrial: isTrial))")
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension ReloadReport.Change {
  fileprivate func text(isTrial: Bool) -> String {
    let tail = note.map { "; \($0)" } ?? ""
    return switch kind {
    case .untouched: "untouched"
    case .followed: "changed in place (\(what))\(tail)"
    case .restarted: (isTrial ? "to be restarted (\(what))" : "restarted (\(what))") + tail
    case .started: isTrial ? "to be started" : "started"
    case .ended: (isTrial ? "to be ended" : "ended") + tail
    }
  }
}

/// A reload that did not come to pass.
public struct ReloadFailure: Error, Sendable {
  /// The service that could not begin, and why.
  public let cause: StartFailure
  /// Services that had to end for it and run again, with what they were.
  public let interrupted: [String]
  /// Services that had to end for it and did not begin again.
  public let lost: [StartFailure]

  init(_ cause: StartFailure, interrupted: [String], lost: [StartFailure]) {
    self.cause = cause
    self.interrupted = interrupted
    self.lost = lost
  }

  /// One line for the cause, and what it cost.
  public var text: String {
    var lines = ["error: \(cause)"]
    for failure in lost { lines.append("error: \(failure); it ran before, and does not run any more") }
    let names = interrupted.map(Log.escape).joined(separator: ", ")
    if !names.isEmpty { lines.append("interrupted and running again as before: \(names)") }
    lines.append(lost.isEmpty ? "nothing was changed" : "what else was running is as it was")
    return lines.joined(separator: "\n") + "\n"
  }
}
