import ArgumentParser
import CLinux
import Configuration
import Daemon
import Glibc
import LinuxIO
import Recording

/// `--record`: what `run` adds for somebody who wants to see, or to show, what happened.
struct RecordOption: ParsableArguments {
  @Option(
    name: .customLong("record"),
    help: ArgumentHelp("Keep what every protocol machine goes through, for `culvert replay`.", valueName: "file"),
    completion: .file())
  var file: String?

  @Option(
    name: .customLong("record-limit"),
    help: ArgumentHelp("What a recording may have at most, in mebibytes.", valueName: "mib"))
  var limit = Recorder.defaultLimit >> 20

  func validate() throws {
    guard (1...1 << 20).contains(limit) else {
      throw ValidationError("`--record-limit \(limit)` is no size; use 1 to \(1 << 20) (mebibytes)")
    }
  }

  /// The file, made and empty, with everything that the loop and the log have to say from now on going into it; `nil`
  /// where nobody asked for one. A worker has a file of its own, with its number behind the name.
  func start(_ loop: EventLoop, _ log: Log, _ configuration: Configuration) throws(SystemError) -> RecordingFile? {
    guard let file else { return nil }
    let path = ConfigurationInput.worker.map { "\(file).\($0)" } ?? file
    let recording = try RecordingFile(
      path, limit: limit << 20, program: Version.number, secrets: configuration.secrets, loop: loop)
    let recorder = recording.recorder
    loop.recorder = recorder
    log.tap = { level, text in
      recorder.note("log") { line in
        line.text("level", level.name)
        line.text("text", text)
      }
    }
    recording.failed = { [unowned loop] error in
      loop.recorder = nil
      log.tap = nil
      log.warn("the recording has ended, everything else goes on: \(error)")
    }
    var system = utsname()
    if uname(&system) == 0 {
      recorder.note("system") { line in
        line.text("kernel", Self.text(system.release))
        line.text("machine", Self.text(system.machine))
      }
    }
    log.info("recording, without secrets and payload", ["file": path, "limit": "\(limit) MiB"])
    return recording
  }

  private static func text<Characters>(_ characters: Characters) -> String {
    withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

extension RecordingFile {
  /// The last line, when all machines have ended.
  func end(_ loop: EventLoop, _ log: Log, _ why: String) {
    log.tap = nil
    loop.recorder = nil
    finish(why)
  }
}
