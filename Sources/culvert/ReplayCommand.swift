import ArgumentParser
import Glibc
import LinuxIO
import RecordedMachines
import Recording
import Values

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay", abstract: "Run a recording's machines again and compare every outcome.",
    discussion: """
      A recording comes from `culvert run --record FILE`, `culvert relay --record
      FILE` or `culvert lab --record DIRECTORY`. It holds no payload and no secrets:
      docs/record.md says what it holds. Nothing is sent and nothing on this host
      changes.
      Exit code: 0 all outcomes are equal, 1 one differs, 2 the recording cannot be read.

      EXAMPLE
        culvert replay problem.jsonl
        culvert replay problem.jsonl --print --from 12.5 --to 14
        culvert replay problem.jsonl --print --machine 7
      """)

  @Argument(help: "The recording; `-` is standard input.", completion: .file())
  var file: String

  @Flag(name: .customLong("print"), help: "Print what happened, a line for each call.")
  var prints = false

  @Option(help: ArgumentHelp("Only this machine.", valueName: "number"))
  var machine: Int?

  @Option(help: ArgumentHelp("Print from here on: seconds since the recording began.", valueName: "seconds"))
  var from: Double?

  @Option(help: ArgumentHelp("Print up to here.", valueName: "seconds"))
  var to: Double?

  func validate() throws {
    if !prints, from != nil || to != nil { throw ValidationError("`--from` and `--to` go with `--print`") }
  }

  func run() throws {
    let screening = Screening(command: self)
    do {
      try RecordingLines.read(file, screening.take, rest: screening.takeRest)
    } catch let error as RecordingError {
      let line = screening.report.lines
      SourceFiles.write("error: \(Log.escape(file)): line \(max(1, line)): \(Log.escape(error.description))\n", to: 2)
      throw ExitCode(2)
    } catch let error as SystemError {
      SourceFiles.write("error: \(Log.escape("\(error)"))\n", to: 2)
      throw ExitCode(2)
    }
    guard screening.report.beginning != nil else {
      SourceFiles.write("error: \(Log.escape(file)) is empty\n", to: 2)
      throw ExitCode(2)
    }
    screening.flush()
    SourceFiles.write(screening.summary, to: 1)
    if !screening.report.differences.isEmpty { throw ExitCode(1) }
  }
}

/// One pass over a recording: replay, and what is printed on the way.
private final class Screening {
  private let command: ReplayCommand
  private var replay = Replay()
  private var timeline: Timeline
  private var pending = ""

  init(command: ReplayCommand) {
    self.command = command
    replay.only = command.machine
    timeline = Timeline(only: command.machine)
  }

  var report: Replay.Report { replay.report }

  func take(_ line: ArraySlice<UInt8>) throws {
    try replay.feed(line)
    if command.prints { try show(line) }
  }

  func takeRest(_ rest: ArraySlice<UInt8>) throws {
    guard let what = replay.unfinished(rest) else { return }
    if command.prints { try show(rest + [UInt8(ascii: "}")]) }
    flush()
    // First the word, then the call: it may end this program as well.
    SourceFiles.write("the program that was recorded ended inside \(Log.escape(what)); making that call again\n", to: 1)
    replay.feed(rest: rest)
    SourceFiles.write("the call came to its end here\n", to: 1)
  }

  private func show(_ line: some Collection<UInt8>) throws {
    guard let (text, at) = try timeline.read(line) else { return }
    if let from = command.from, at.inSeconds < from { return }
    if let to = command.to, at.inSeconds > to { return }
    pending += Log.escape(text) + "\n"
    if pending.utf8.count > 1 << 16 { flush() }
  }

  func flush() {
    SourceFiles.write(pending, to: 1)
    pending = ""
  }

  var summary: String {
    let report = replay.report
    var text = ""
    for difference in report.differences.prefix(3) { text += Self.describe(difference, report) }
    if report.differences.count > 3 { text += "and \(report.differences.count - 3) more machines differ\n" }
    let differing = report.differences.count
    text += "replayed \(Self.count(report.machines, "machine")), \(Self.count(report.calls, "call")): "
    text +=
      differing == 0
      ? "all outcomes equal\n" : "\(Self.count(differing, "machine")) \(differing == 1 ? "differs" : "differ")\n"
    if differing > 0, let program = report.program, program != Version.number {
      text +=
        "recorded by culvert \(Log.escape(program)), replayed by \(Version.number): a difference may be a change "
        + "of the program\n"
    }
    if report.cut > 0 {
      text += "\(Self.count(report.cut, "machine")) filled a share of the recording and ends early in it\n"
    }
    if report.over == nil { text += "there is no last line: the program was killed, or is still running\n" }
    return text
  }

  private static func describe(_ difference: Replay.Difference, _ report: Replay.Report) -> String {
    let since = report.beginning.map { (difference.at - $0).inSeconds } ?? 0
    return """
      \(difference.kind) \(difference.machine) differs at \(since) s, line \(difference.line), in `\(Log.escape(difference.call))`
        recorded  \(Log.escape(difference.expected))
        now       \(difference.got.isEmpty ? "nothing" : Log.escape(difference.got))

      """
  }

  private static func count(_ number: Int, _ what: String) -> String {
    // Groups of three digits.
    var digits = String(number)
    var place = digits.count - 3
    while place > 0 {
      digits.insert(",", at: digits.index(digits.startIndex, offsetBy: place))
      place -= 3
    }
    return "\(digits) \(what)\(number == 1 ? "" : "s")"
  }
}

/// The lines of a file, one after the other, however large it is.
private enum RecordingLines {
  static func read(
    _ path: String, _ line: (ArraySlice<UInt8>) throws -> Void, rest: (ArraySlice<UInt8>) throws -> Void
  ) throws {
    let descriptor = path == "-" ? dup(0) : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError("read \(path)") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw SystemError("read \(path)") }
      if count == 0 { break }
      bytes += chunk[..<count]
      var start = bytes.startIndex
      while let end = bytes[start...].firstIndex(of: 0x0A) {
        try line(bytes[start..<end])
        start = end + 1
      }
      bytes.removeFirst(start)
      guard bytes.count <= RecordValue.longestLine else {
        throw RecordingError("a line of more than \(RecordValue.longestLine) bytes")
      }
    }
    try rest(bytes[...])
  }
}
