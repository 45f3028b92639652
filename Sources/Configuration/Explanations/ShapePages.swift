/// Pages about keys, values, names and references (CV01xx, CV02xx).
extension Explanations {
  static let shapePages: [Explanation] = [
    Explanation(
      .duplicateKey, "a key stands twice",
      [
        "Two values are given for one setting, under the same key or under two of its names (`ttl` and `tun.ttl`). Keys are compared without regard to case, as GOST does. Only one of the two could be in force."
      ],
      wrong: .init(ExampleFile.server(listener: ["mtu: 1400", "MTU: 1300"])),
      right: .init(ExampleFile.server(listener: ["mtu: 1400"]))),
    Explanation(
      .unknownKey, "an unknown key",
      [
        "GOST ignores keys that it does not know, without a word: a misspelt `net` gives an interface without an address, a misspelt `auther` an open proxy. Culvert does not start such a file.",
        "When a key of nearly that name exists it is offered; otherwise the keys that may stand there are listed.",
      ],
      wrong: .init(ExampleFile.server(net: nil, listener: ["nett: 10.0.0.1/24"])), right: .init(ExampleFile.server())),
    Explanation(
      .misplacedKey, "a key in the wrong place",
      [
        "The key exists, but not here: `net` is a key of the listener's metadata, `chain` of the handler, `auth` of the connector. GOST ignores it where it stands.",
        "Move it to the place that is named.",
      ],
      wrong: .init(ExampleFile.server(net: nil, handler: ["net: 10.0.0.1/24"])), right: .init(ExampleFile.server())),
    Explanation(
      .wrongType, "a value of the wrong type",
      [
        "A list stands where text is expected, text where a number is, and so on. GOST reads such a value as nothing and takes its default.",
        "Booleans are `true` and `false` (`yes` and `on` are text in GOST's YAML). Durations are `10s`, `1m30s`, or a number of seconds. `net` and `route` are one text with commas, `routes` and `preUp` are lists.",
      ],
      wrong: .init(ExampleFile.server(listener: ["mtu: large"])),
      right: .init(ExampleFile.server(listener: ["mtu: 1400"]))),
    Explanation(
      .valueOutOfRange, "a value out of range",
      [
        "The value has the right type and cannot be used: an MTU above 65535, a negative duration, a log level that does not exist."
      ],
      wrong: .init(ExampleFile.server(listener: ["mtu: 70000"])),
      right: .init(ExampleFile.server(listener: ["mtu: 1400"]))),
    Explanation(
      .missingKey, "a required key is missing",
      ["A node or target needs its `addr`: without one there is nothing to dial."],
      wrong: .init(
        ExampleFile.client(target: nil) + "\n  forwarder:\n    nodes:\n    - name: server"),
      right: .init(ExampleFile.client())),
    Explanation(
      .keyNotYet, "a key that is not yet supported",
      [
        "GOST has this setting and Culvert does not have it yet. It is refused rather than ignored, because a file that would not do what it says does not start. A file whose only findings are of this kind makes `culvert check` end with 3.",
        "Remove the key to go on without it.",
      ],
      wrong: .init(ExampleFile.relay(handler: ["sniffing: true"])), right: .init(ExampleFile.relay())),
    Explanation(
      .keyWithoutEffect, "a key without effect",
      [
        "The key is accepted and changes nothing: GOST's documentation names it but GOST does not read it here, or it is meant for another system, or the same value stands where it works (GOST's own export writes each key to several places), or it is a detail of something that Culvert does another way or does not have yet. The reason stands under it."
      ],
      wrong: .init(ExampleFile.server(handler: ["bufferSize: 1500"])), right: .init(ExampleFile.server())),
    Explanation(
      .numberReadAsZero, "a number that GOST reads as zero",
      [
        "Culvert takes the number as it stands. GOST reads numbers in the metadata of a JSON file, and fractions anywhere in metadata, as zero, and then takes its default. The file would do different things in the two programs.",
        "Outside of metadata, as in `failTimeout` and `validity`, a duration without a unit counts nanoseconds, in both programs: a small number there is hardly what was meant.",
        "Put the number in quotes, use YAML, or write the unit; both programs read that.",
      ],
      wrong: .init(ExampleFile.client(handler: ["keepAlive: true", "ttl: 2.5"])),
      right: .init(ExampleFile.client(handler: ["keepAlive: true", "ttl: 2500ms"]))),
    Explanation(
      .nothingToDo, "no services",
      [
        "The file has no `services`, so there is nothing to run. A file with only `authers` or `chains` is read together with another: `-C a.yaml -C b.yaml`."
      ],
      wrong: .init("log:\n  level: debug"), right: .init(ExampleFile.server())),
    Explanation(
      .numberAsText, "a number where text is meant",
      [
        "The value is text for this key, and YAML reads it as a number: `0123` is octal, `1e3` a thousand. GOST turns the number back into text, `83` and `1000`, so the two ends of a tunnel may end up with different passphrases.",
        "Put it in quotes.",
      ],
      wrong: .init(ExampleFile.client(handler: ["passphrase: 0123"])),
      right: .init(ExampleFile.client(handler: ["passphrase: \"0123\""]))),
    Explanation(
      .unknownTag, "an unknown tag",
      [
        "A YAML tag such as `!secret` asks the reader to treat the value in a special way, and no such way is known here."
      ],
      wrong: .init(ExampleFile.server(net: "!cidr 10.0.0.1/24")), right: .init(ExampleFile.server())),
    Explanation(
      .dashInText, "an item that is part of the text above it",
      [
        "A text without quotes may go on in the lines below it, where they are indented deeper. A line that was to begin the next item of a list, and slipped to the right, is so swallowed: two commands become one, and GOST says nothing.",
        "Begin the line in the column of the other items. A text that is meant to have such a line needs quotes.",
      ],
      wrong: .init(ExampleFile.server() + "\n  metadata:\n    preUp:\n    - echo one\n      - echo two"),
      right: .init(ExampleFile.server() + "\n  metadata:\n    preUp:\n    - echo one\n    - echo two")),
    Explanation(
      .duplicateName, "a name is given twice",
      [
        "Two services, chains, hops, authers, users or interfaces have one name. GOST stops in the middle of loading, with what it started so far still running, or silently takes one of the two."
      ],
      wrong: .init(
        ExampleFile.server() + "\n"
          + ExampleFile.relay().replacing("services:\n", "").replacing("relay\n  addr", "vpn\n  addr")),
      right: .init(ExampleFile.server() + "\n" + ExampleFile.relay().replacing("services:\n", ""))),
    Explanation(
      .missingReference, "a reference to something that is not there",
      [
        "`chain`, `auther` or a hop's name refers to an object that no file defines. GOST reads a missing chain as \"connect directly\", around the proxy, and a missing auther as \"let everybody in\"."
      ],
      wrong: .init(ExampleFile.client(chain: ExampleFile.chain()).replacing("chain: out", "chain: oout")),
      right: .init(ExampleFile.client(chain: ExampleFile.chain()))),
    Explanation(
      .emptyName, "an object without a name",
      [
        "GOST builds a service without a name and never serves it. A chain, hop or auther without a name cannot be referred to."
      ],
      wrong: .init(ExampleFile.server().replacing("- name: vpn\n  addr", "- addr")), right: .init(ExampleFile.server())),
    Explanation(
      .unusedObject, "an object that nothing uses",
      [
        "A chain, hop or auther is defined and nothing refers to it. Often the reference is what is missing: `handler.chain`, `handler.auther`."
      ],
      wrong: .init(ExampleFile.client() + "\n" + ExampleFile.chain().joined(separator: "\n")),
      right: .init(ExampleFile.client(chain: ExampleFile.chain()))),
    Explanation(
      .emptyChain, "a chain without hops, or a hop without nodes",
      ["Nothing would be dialled, and GOST would connect directly, around the chain."],
      wrong: .init(ExampleFile.client(chain: ["chains:", "- name: out", "  hops: []"])),
      right: .init(ExampleFile.client(chain: ExampleFile.chain()))),
  ]
}

extension String {
  /// All occurrences replaced: the standard library's own needs the string processing module.
  func replacing(_ text: String, _ replacement: String) -> String {
    var result = ""
    var rest = self[...]
    while let range = rest.firstRange(ofText: text) {
      result += rest[..<range.lowerBound] + replacement
      rest = rest[range.upperBound...]
    }
    return result + rest
  }
}

extension Substring {
  fileprivate func firstRange(ofText text: String) -> Range<Index>? {
    guard !text.isEmpty else { return nil }
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
      start = index(after: start)
    }
    return nil
  }
}
