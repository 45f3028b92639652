/// What the program writes for other programs: completions for shells, the manual page, the schema. Each is judged by
/// the program that it is for, where that is installed.
import Glibc
import Testing

extension Tunnels {
  @Suite("Completions, manual and schema")
  struct HelpTests {
    @Test("Shells take their completions", arguments: ["bash", "zsh", "fish"])
    func syntax(_ name: String) throws {
      let script = try shell("\(Machine.culvert) completions \(name)").output
      #expect(script.contains("-L") || script.contains("-s L"), "\(script)")
      guard try shell("command -v \(name)").isGood else { return }
      let outcome = try shell(
        "\(Machine.culvert) completions \(name) > $$.\(name) && \(name) -n $$.\(name); e=$?; rm $$.\(name); exit $e")
      #expect(outcome.isGood, "\(outcome.output)")
    }

    @Test(
      "bash completes commands, options, words and files",
      arguments: [
        ("culvert ''", "check"), ("culvert sch", "schema"), ("culvert -", "-L"), ("culvert run -", "-F"),
        ("culvert check --format j", "json"), ("culvert check --w", "--with"), ("culvert completions z", "zsh"),
        ("culvert -C /etc/hos", "/etc/hosts"), ("culvert check /etc/hos", "/etc/hosts"),
        ("culvert explain CV010", "CV0101"), ("culvert -D --log-level d", "debug"),
      ])
    func bash(_ typed: String, _ expected: String) throws {
      let script = """
        . /dev/fd/3; COMP_WORDS=(\(typed)); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _culvert culvert "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\\n' "${COMPREPLY[@]}"
        """
      let quoted = "'" + script.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
      let outcome = try shell("\(Machine.culvert) completions bash | bash -c \(quoted) 3<&0")
      let offered = outcome.output.split(separator: "\n").map(String.init)
      #expect(offered.contains(expected), "\(typed): \(outcome.output)")
    }

    @Test("The manual page has every command and option, and reads without a warning")
    func manual() throws {
      let page = try shell("\(Machine.culvert) manual").output
      for word in [
        ".TH CULVERT 1", ".SH NAME", "culvert check", "culvert schema", "\\-\\-with", "\\-L", "\\-F", "\\-C",
      ] {
        #expect(page.contains(word), "\(word)")
      }
      guard try shell("command -v mandoc").isGood else { return }
      let lint = try shell("\(Machine.culvert) manual | mandoc -T lint -W warning")
      #expect(lint.isGood && lint.output.isEmpty, "\(lint.output)")
    }

    @Test("The schema is JSON of draft 2020-12")
    func schema() throws {
      let outcome = try shell(
        "\(Machine.culvert) schema | python3 -c 'import json, sys; s = json.load(sys.stdin); "
          + "print(s[\"$schema\"], len(s[\"$defs\"]))'")
      #expect(outcome.output.hasPrefix("https://json-schema.org/draft/2020-12/schema "), "\(outcome.output)")
    }
  }
}
