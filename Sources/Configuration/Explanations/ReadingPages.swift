/// Pages about files that cannot be read (CV00xx). `culvert check` ends with 2 for these.
extension Explanations {
  static let readingPages: [Explanation] = [
    Explanation(
      .fileUnreadable, "a file cannot be opened",
      [
        "The file does not exist, is a directory, or this user may not read it. The reason behind the colon is the system's.",
        "Check the path and its permissions. With `-C -` the configuration is read from standard input.",
      ]),
    Explanation(
      .invalidUTF8, "not UTF-8",
      [
        "A configuration is UTF-8 text. The marked byte cannot stand where it does: the file was saved in another encoding (UTF-16 or Latin-1), or is no text at all.",
        "Save the file as UTF-8, without or with a byte order mark.",
      ]),
    Explanation(
      .syntax, "not YAML",
      [
        "The text cannot be read as YAML or JSON from the marked place on. The slips behind most of these: a tab in the indentation, a `:` without a space behind it, a quote or bracket that is never closed, and lines of one mapping that begin in different columns.",
        "Nothing behind the first such place is judged, so there may be more to see after the fix.",
      ],
      wrong: .init("services:\n- name: vpn\n   addr: :8421"), right: .init(ExampleFile.server())),
    Explanation(
      .controlCharacter, "a control character",
      [
        "YAML allows no control characters but line ends and tabs. Such a character is invisible in most editors and comes from copying out of a terminal or a web page.",
        "Remove it.",
      ]),
    Explanation(
      .fileTooLarge, "a file is too large",
      [
        "At most 1 MiB is read. A configuration of that size is a mistake: a log or a binary was named instead."
      ]),
    Explanation(
      .tooDeep, "nested too deep",
      [
        "Values may be nested 64 deep; GOST's grammar needs about a dozen. The limit keeps a hostile file from using up memory."
      ]),
    Explanation(
      .tooManyValues, "too many values",
      [
        "A file may hold 60,000 values, each alias counted as all that it stands for, with 10,000 items of lists and 4,096 services among them. A few lines of aliases to aliases can expand to billions of values; reading stops before that."
      ]),
    Explanation(
      .severalDocuments, "several documents in one file",
      [
        "`---` begins a second YAML document. GOST reads the first and ignores the rest without a word.",
        "Put each into a file of its own and give them all with `-C`; their lists are joined.",
      ],
      wrong: .init(ExampleFile.server() + "\n---\nlog:\n  level: debug"),
      right: .init(ExampleFile.server() + "\nlog:\n  level: debug")),
    Explanation(
      .unknownAnchor, "an alias names nothing",
      [
        "`*name` stands for the value that was marked with `&name` earlier in the same file. No value has that mark, or the alias stands inside the very value that it names."
      ],
      wrong: .init("services:\n- *vpn"), right: .init(ExampleFile.server())),
    Explanation(
      .scalarTooLong, "a value is too long",
      ["A single value may have 64 KiB. Nothing in a configuration is that long."]),
  ]
}
