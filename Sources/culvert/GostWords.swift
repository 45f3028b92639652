import Configuration
import Glibc
import LinuxIO

/// The command line as GOST's users write it, made fit for the parser of options.
///
/// GOST's flags are Go's: `-L URL`, `-L=URL`, `--L URL` and `--L=URL` are one, and `-DD` is a flag of its own. A lone
/// `--` splits the words in several programs. All this holds for `run`, which may be left out, for `check` and for `plan`; the
/// other commands are Culvert's own.
struct GostWords {
  /// The words for the parser, the command's name included where it was written.
  var words: [String]
  let command: Command

  enum Command { case run, check, plan, other }

  /// A word that ends the program before it begins, with the exit code: 3 is "not yet", 64 is wrong usage.
  struct Refusal: Error {
    let reason: String
    let code: Int32
  }

  init(_ arguments: [String]) throws(Refusal) {
    switch arguments.first {
    case "run"?: command = .run
    case "check"?: command = .check
    case "plan"?: command = .plan
    case let first?: command = first.hasPrefix("-") && !["-h", "--help", "--version"].contains(first) ? .run : .other
    case nil: command = .run
    }
    words = arguments
    if command != .other { words = try Self.translated(arguments) }
  }

  /// Whether nothing says what to run.
  var namesNothing: Bool {
    command == .run && !words.contains { ["-L", "-F", "-C", "-h", "--help", "--version"].contains($0) }
  }

  var asksForVersion: Bool { command == .run && words.contains("-V") }

  /// The words of each program that a lone `--` makes, without the command's name.
  var programs: [[String]] {
    guard command == .run else { return [words] }
    let rest = words.first == "run" ? words.dropFirst() : words[...]
    return rest.split(separator: "--").map { Array($0) }
  }

  private static let valued: Set<String> = ["L", "F", "C", "O"]
  private static let plain: Set<String> = ["D", "DD", "V"]
  private static let missing: Set<String> = ["R", "api", "metrics"]

  private static func translated(_ arguments: [String]) throws(Refusal) -> [String] {
    var words: [String] = []
    var index = arguments.startIndex
    while index < arguments.endIndex {
      let word = arguments[index]
      index += 1
      guard let (name, value) = flag(word) else {
        words.append(word)
        continue
      }
      if missing.contains(name) { throw Refusal(reason: "`-\(name)` of GOST is not yet supported", code: 3) }
      if plain.contains(name) {
        switch value {
        case nil, "true"?, "1"?, "t"?: words += name == "DD" ? ["-D", "-D"] : ["-\(name)"]
        case "false"?, "0"?, "f"?: break
        case _?: throw Refusal(reason: "`-\(name)` takes no value but `true` and `false`", code: 64)
        }
        continue
      }
      words.append("-\(name)")
      if let value {
        words.append(value)
      } else if index < arguments.endIndex {
        // Whatever it looks like, it is the value.
        words.append(arguments[index])
        index += 1
      }
    }
    return words
  }

  private static func flag(_ word: String) -> (name: String, value: String?)? {
    guard word.hasPrefix("-") else { return nil }
    let bare = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
    let parts = bare.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = parts.first.map(String.init) ?? ""
    guard valued.contains(name) || plain.contains(name) || missing.contains(name) else { return nil }
    return (name, parts.count > 1 ? String(parts[1]) : nil)
  }
}

/// The file that GOST runs when it is told nothing.
enum UsualFile {
  /// `gost.json`, `gost.yaml` or `gost.yml`, the first of them in the first folder that has one.
  static func find() -> String? {
    let home = getenv("HOME").map { String(cString: $0) }
    for folder in ["/etc/gost", home.map { $0 + "/.gost" }, "."].compactMap({ $0 }) {
      for name in ["gost.json", "gost.yaml", "gost.yml"] {
        let path = folder == "." ? name : "\(folder)/\(name)"
        if access(path, F_OK) == 0 { return path }
      }
    }
    return nil
  }
}
