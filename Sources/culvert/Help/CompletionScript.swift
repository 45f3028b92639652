/// Scripts that let a shell complete `culvert`'s words, made of what `--help` knows.
///
/// The options of `run` are offered without its name as well, because `culvert -L … -F …` is how GOST's users write it;
/// that, and the name of a file where one is wanted, is what these scripts have over those that the parser of options
/// writes by itself.
struct CompletionScript {
  let root: CommandModel
  /// The command that may be left out.
  let implied: CommandModel

  init?(_ root: CommandModel) {
    guard let implied = root.subcommand("run") else { return nil }
    self.root = root
    self.implied = implied
  }

  private var others: [CommandModel] { root.subcommands.filter { $0.name != implied.name } }

  // MARK: bash

  var bash: String {
    let names = root.subcommands.map(\.name)
    var lines = [
      "# culvert's completions for bash: save as culvert in /usr/share/bash-completion/completions, or source it.",
      "_culvert() {",
      "  local current=$2 previous=$3 command=\(implied.name) options='' words='' files=''",
      "  COMPREPLY=()",
      "  if [[ $COMP_CWORD -gt 1 ]]; then",
      "    case ${COMP_WORDS[1]} in",
      "    \(names.joined(separator: " | "))) command=${COMP_WORDS[1]} ;;",
      "    esac",
      "  fi",
      "  case $command:$previous in",
    ]
    for command in root.subcommands {
      for option in command.switches where option.kind == .option {
        let places = option.names.map { "\(command.name):\($0)" }.joined(separator: " | ")
        switch option.completion {
        case .words: lines.append("  \(places)) words=\(Self.quoted(option.words.joined(separator: " "))) ;;")
        case .files: lines.append("  \(places)) files=-f ;;")
        case .folders: lines.append("  \(places)) files=-d ;;")
        case .none: lines.append("  \(places)) return ;;")
        }
      }
    }
    lines += ["  *)", "    case $command in"]
    for command in root.subcommands {
      let options = command.switches.flatMap(\.names).joined(separator: " ")
      var line = "    \(command.name)) options=\(Self.quoted(options))"
      let positional = command.positionals.first
      switch positional?.completion {
      case .words?: line += " words=\(Self.quoted(positional?.words.joined(separator: " ") ?? ""))"
      case .files?: line += " files=-f"
      case .folders?: line += " files=-d"
      case .none?, nil:
        // What takes files up to the next option takes another one.
        if command.switches.contains(where: { $0.takesSeveral && $0.completion == .files }) { line += " files=-f" }
      }
      lines.append(line + " ;;")
    }
    lines += [
      "    esac",
      "    [[ $COMP_CWORD -gt 1 ]] || words=\(Self.quoted(names.joined(separator: " "))) files=''",
      "    ;;",
      "  esac",
      "  if [[ -n $options && $current == -* ]]; then",
      "    mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")",
      "  elif [[ -n $words ]]; then",
      "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")",
      "  elif [[ -n $files ]]; then",
      "    compopt -o filenames 2>/dev/null",
      "    mapfile -t COMPREPLY < <(compgen \"$files\" -- \"$current\")",
      "  fi",
      "}",
      "complete -F _culvert culvert",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: zsh

  var zsh: String {
    var lines = [
      "#compdef culvert",
      "# culvert's completions for zsh: save as _culvert in a folder of $fpath.",
      "_culvert() {",
      "  local -a commands",
      "  commands=(",
    ]
    for command in root.subcommands {
      lines.append("    " + Self.quoted(command.name + ":" + Self.escaped(command.summary, ":")))
    }
    lines += [
      "  )",
      "  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then",
      "    _describe -t commands command commands",
      "    return",
      "  fi",
      "  case $words[2] in",
    ]
    for command in others {
      lines +=
        ["  \(command.name))", "    shift words", "    (( CURRENT-- ))"] + Self.arguments(of: command) + ["    ;;"]
    }
    lines += ["  *)", "    [[ $words[2] != \(implied.name) ]] || { shift words; (( CURRENT-- )) }"]
    lines += Self.arguments(of: implied) + ["    ;;", "  esac", "}"]
    lines += [
      "if [[ $funcstack[1] == _culvert ]]; then", "  _culvert \"$@\"", "else", "  compdef _culvert culvert", "fi",
    ]
    return lines.joined(separator: "\n") + "\n"
  }

  private static func arguments(of command: CommandModel) -> [String] {
    var specs: [String] = []
    for option in command.options {
      let action: String =
        switch option.completion {
        case .words: "(\(option.words.joined(separator: " ")))"
        case .files: "_files"
        case .folders: "_files -/"
        case .none: " "
        }
      let value = ":" + escaped(option.valueName, ":") + ":" + action
      if option.kind == .positional {
        specs.append(quoted((option.isRepeating ? "*" : "") + value))
        continue
      }
      for name in option.names {
        // One name rules out the others.
        let excluded = option.isRepeating ? "*" : "(\(option.names.joined(separator: " ")))"
        let text = "\(excluded)\(name)[\(escaped(option.summary, "[]:"))]"
        specs.append(quoted(text + (option.kind == .option ? value : "")))
      }
    }
    if specs.isEmpty { return ["    _message 'no more arguments'"] }
    return ["    _arguments \\"] + specs.dropLast().map { "      \($0) \\" } + specs.suffix(1).map { "      \($0)" }
  }

  // MARK: fish

  var fish: String {
    var lines = [
      "# culvert's completions for fish: save as culvert.fish in ~/.config/fish/completions.",
      "complete -c culvert -f",
    ]
    for command in root.subcommands {
      lines.append(
        "complete -c culvert -n __fish_use_subcommand -a \(command.name) -d \(Self.fishQuoted(command.summary))")
    }
    for command in root.subcommands {
      let condition =
        command.name == implied.name
        ? "not __fish_seen_subcommand_from \(others.map(\.name).joined(separator: " "))"
        : "__fish_seen_subcommand_from \(command.name)"
      for option in command.options {
        var words = ["complete -c culvert -n \(Self.fishQuoted(condition))"]
        for name in option.names {
          words.append(name.hasPrefix("--") ? "-l \(name.dropFirst(2))" : "-s \(name.dropFirst())")
        }
        switch option.completion {
        case .words:
          words.append(
            (option.kind == .positional ? "-a " : "-x -a ") + Self.fishQuoted(option.words.joined(separator: " ")))
        case .files, .folders: words.append(option.kind == .positional ? "-F" : "-r -F")
        case .none:
          if option.kind == .positional { continue }
          if option.kind == .option { words.append("-x") }
        }
        words.append("-d \(Self.fishQuoted(option.summary))")
        lines.append(words.joined(separator: " "))
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: Quoting

  private static func quoted(_ text: String) -> String {
    "'" + text.map { $0 == "'" ? "'\\''" : String($0) }.joined() + "'"
  }

  private static func fishQuoted(_ text: String) -> String { "'" + escaped(text, "'") + "'" }

  private static func escaped(_ text: String, _ special: String) -> String {
    text.map { $0 == "\\" || special.contains($0) ? "\\\($0)" : String($0) }.joined()
  }
}
