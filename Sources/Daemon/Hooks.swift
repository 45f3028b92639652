import CLinux
import Glibc
import LinuxIO

/// The commands of `preUp`, `postUp`, `preDown` and `postDown`, run one after the other.
///
/// As in GOST there is no shell: a command is split into words, quotes and backslashes as a shell has them, and the
/// program that the first word names is run with the others. So a `;` or `{` of an `nft` command needs no quotes, and
/// who wants a shell writes `sh -c "…"`. A command that fails is logged and the service goes on: the commands are the
/// user's, and a missing `iptables` rule must not take a tunnel down.
enum Hooks {
  static func run(_ commands: [String], _ phase: String, log: Log) {
    for command in commands {
      guard let words = words(command) else {
        log.warn("\(phase) command did not run: a quote is not closed", ["command": command])
        continue
      }
      guard !words.isEmpty else { continue }
      if let problem = run(words) {
        log.warn("\(phase) command failed: \(problem)", ["command": command])
      } else {
        log.debug("\(phase) command done", ["command": command])
      }
    }
  }

  /// Runs a program to its end; what went wrong, in words.
  static func run(_ words: [String]) -> String? {
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { arguments.forEach { free($0) } }
    let status = culvert_run_program(&arguments)
    if status < 0 { return String(cString: strerror(errno)) }
    if status & 0x7F != 0 { return "ended by signal \(status & 0x7F)" }
    return status == 0 ? nil : "exit code \(status >> 8 & 0xFF)"
  }

  /// The words of a command, `nil` when a quote is not closed. A `#` that begins a word begins a comment.
  static func words(_ command: String) -> [String]? {
    var words: [String] = []
    var word: String?
    var quote: Character?
    var isEscaped = false
    for character in command {
      if isEscaped {
        word = (word ?? "") + String(character)
        isEscaped = false
      } else if let open = quote {
        if character == open {
          quote = nil
        } else if character == "\\", open == "\"" {
          isEscaped = true
        } else {
          word = (word ?? "") + String(character)
        }
      } else if character == "\\" {
        isEscaped = true
        word = word ?? ""
      } else if character == "\"" || character == "'" {
        quote = character
        word = word ?? ""
      } else if character.isWhitespace {
        if let whole = word { words.append(whole) }
        word = nil
      } else if character == "#", word == nil {
        break
      } else {
        word = (word ?? "") + String(character)
      }
    }
    guard quote == nil, !isEscaped else { return nil }
    if let whole = word { words.append(whole) }
    return words
  }
}
