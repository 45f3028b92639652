import ArgumentParser
import Configuration

/// The commands and their options as `--help` knows them, for what else is made of them: completions and the manual.
///
/// The parser of options describes itself in JSON (`--experimental-dump-help`), which is the only way to that knowledge
/// that it offers. JSON is YAML, and there is a reader for that here.
struct CommandModel {
  struct Option {
    enum Kind { case positional, option, flag }

    let kind: Kind
    /// With their dashes: `-C`, `--format`.
    let names: [String]
    let valueName: String
    let summary: String
    let defaultValue: String?
    let isOptional: Bool
    let isRepeating: Bool
    /// The words that it takes, where they are known.
    let words: [String]
    let completion: Completion
    /// Whether it takes what follows up to the next option.
    let takesSeveral: Bool
  }

  enum Completion { case none, words, files, folders }

  let name: String
  let summary: String
  let discussion: String
  let options: [Option]
  let subcommands: [CommandModel]

  var positionals: [Option] { options.filter { $0.kind == .positional } }
  var switches: [Option] { options.filter { $0.kind != .positional } }

  func subcommand(_ name: String) -> CommandModel? { subcommands.first { $0.name == name } }

  /// `nil` when the parser's own description is not what it was.
  static func make() -> CommandModel? {
    var map = SourceMap()
    let id = map.add(name: "help.json", bytes: Array(Culvert._dumpHelp().utf8))
    return YAMLReader.read(id, in: &map).root?["command"].flatMap { CommandModel($0) }
  }

  init?(_ node: YAMLNode) {
    guard let name = node["commandName"]?.scalar?.text else { return nil }
    self.name = name
    summary = node["abstract"]?.scalar?.text ?? ""
    discussion = node["discussion"]?.scalar?.text ?? ""
    options = (node["arguments"]?.sequence ?? []).filter(Self.isShown).compactMap { Option($0) }
    subcommands = (node["subcommands"]?.sequence ?? []).filter(Self.isShown).compactMap { CommandModel($0) }
  }

  private static func isShown(_ node: YAMLNode) -> Bool { node["shouldDisplay"]?.scalar?.bool != false }
}

extension CommandModel.Option {
  init?(_ node: YAMLNode) {
    switch node["kind"]?.scalar?.text {
    case "positional": kind = .positional
    case "option": kind = .option
    case "flag": kind = .flag
    default: return nil
    }
    names = (node["names"]?.sequence ?? []).compactMap { name in
      name["name"]?.scalar.map { (name["kind"]?.scalar?.text == "long" ? "--" : "-") + $0.text }
    }
    valueName = node["valueName"]?.scalar?.text ?? "value"
    summary = node["abstract"]?.scalar?.text ?? ""
    defaultValue = node["defaultValue"]?.scalar?.text
    isOptional = node["isOptional"]?.scalar?.bool == true
    isRepeating = node["isRepeating"]?.scalar?.bool == true
    takesSeveral = node["parsingStrategy"]?.scalar?.text == "upToNextOption"
    let kinds = node["completionKind"]
    let listed = kinds?["list"]?["values"]?.sequence ?? node["allValues"]?.sequence ?? []
    words = listed.compactMap { $0.scalar?.text }
    if !words.isEmpty {
      completion = .words
    } else if kinds?["file"] != nil {
      completion = .files
    } else if kinds?["directory"] != nil {
      completion = .folders
    } else {
      completion = .none
    }
  }
}
