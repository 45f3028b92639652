import Configuration
import Values

enum YAMLPlace: Int, CaseIterable {
  case good, warned, refused, unreadable, notYet, withPeer, withHost, concealed, fixed, json
}

/// One configuration, and behind each byte 0x1E the file of another end. A file that begins with a brace is JSON.
func fuzzYAML(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  let texts = bytes.split(separator: 0x1E, maxSplits: 2, omittingEmptySubsequences: false).map(Array.init)
  let own = texts.first ?? []
  let name = own.first == UInt8(ascii: "{") ? "own.json" : "own.yaml"
  let peers = texts.dropFirst().enumerated().map { (name: "peer\($0.offset).yaml", bytes: $0.element) }
  let report = Checker.check([(name: name, bytes: own)], with: peers)
  if name == "own.json" { marks.reach(YAMLPlace.json) }
  if !peers.isEmpty { marks.reach(YAMLPlace.withPeer) }
  switch report.exitCode {
  case 0: marks.reach(report.diagnostics.isEmpty ? YAMLPlace.good : .warned)
  case 1: marks.reach(YAMLPlace.refused)
  case 2: marks.reach(YAMLPlace.unreadable)
  case 3: marks.reach(YAMLPlace.notYet)
  default: throw Breach(description: "exit code \(report.exitCode)")
  }
  try check(report.mayRun == (report.exitCode == 0), "exit code \(report.exitCode), may run: \(report.mayRun)")
  try checkSpans(report)
  let text = try checkPrinting(report)
  try checkSecrets(report, text, &marks)

  // The same again: nothing depends on the order of a dictionary.
  let again = Checker.check([(name: name, bytes: own)], with: peers)
  let secondText = DiagnosticRenderer(sources: again.sources, width: 60).render(again.diagnostics)
  try check(text.terminal == secondText, "two checks say different things")

  if let configuration = report.configuration {
    // A host on which as much as possible is wrong.
    var network = NetworkFacts()
    network.interfaces = [
      InterfaceFacts(
        name: "eth0", addresses: [.host(.v4(0xC000_0201)), .host(.v6(0x2001_0DB8 << 96 | 1))], mtu: 1280,
        reversePathFilter: 1)
    ]
    network.capabilities = []
    network.isIPv6OffForNew = true
    network.forwarding = []
    for port in configuration.wantedPorts { network.boundSockets.append(BoundSocket(.tcp, .anyIPv6, port)) }
    var facts = HostFacts(network: network)
    for (index, name) in configuration.namesOfOneFamily.prefix(8).enumerated() {
      facts.resolved[name] = [[.v4(0xC000_0202)], [.v6(0x2001_0DB8 << 96 | 2)], []][index % 3]
    }
    if !facts.resolved.isEmpty { marks.reach(YAMLPlace.withHost) }
    for question in configuration.wayQuestions(facts.resolved) {
      facts.network?.ways[question] = question.mark == 0 ? .via(interface: "eth0", gateway: nil) : HostWay.none
    }
    for file in configuration.readFiles { facts.unreadable[file.value] = "No such file or directory" }
    let withHost = Checker.check([(name: name, bytes: own)], host: facts)
    try checkSpans(withHost)
    _ = try checkPrinting(withHost)
    let plan = PlanBuilder(configuration, facts).build()
    let printed = PlanText(plan).render()
    try check(
      printed.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control },
      "a plan moves the cursor")
    try check(!PlanJSON.render(plan, withHost).isEmpty, "a plan has no JSON")
  }
  try checkFixes(report, name, own, peers, &marks)
}

func checkSpans(_ report: CheckReport) throws(Breach) {
  for diagnostic in report.diagnostics {
    let spans =
      [diagnostic.primary?.span].compactMap { $0 } + diagnostic.secondary.map(\.span)
      + (diagnostic.fix?.edits.map(\.span) ?? [])
    for span in spans {
      let file = try need(report.sources.file(span.file), "\(diagnostic.code.rawValue) in no file")
      try check(span.start <= span.end && span.end <= file.bytes.count, "\(diagnostic.code.rawValue) at \(span)")
    }
    try check(!diagnostic.message.isEmpty && !diagnostic.message.contains("\n"), "\(diagnostic.code.rawValue)")
  }
}

func checkPrinting(_ report: CheckReport) throws(Breach) -> (terminal: String, json: String) {
  let terminal = DiagnosticRenderer(sources: report.sources, width: 60).render(report.diagnostics)
  let json = DiagnosticJSON.render(report.diagnostics, sources: report.sources)
  // No C0 or C1 control but the line end: a file must not be able to speak to the terminal.
  for scalar in terminal.unicodeScalars {
    try check(scalar == "\n" || !isControl(scalar), "U+\(String(scalar.value, radix: 16)) is printed")
  }
  for scalar in json.unicodeScalars.dropLast() {
    try check(!isControl(scalar) || scalar.value >= 0x7F, "U+\(String(scalar.value, radix: 16)) in JSON")
  }
  try check(json.hasSuffix("\n") && isOneObject(json), "not one JSON object")
  return (terminal, json)
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool {
  scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
}

/// Whether brackets match outside of texts, and texts end.
private func isOneObject(_ json: String) -> Bool {
  var open: [UInt8] = []
  var isText = false
  var isEscaped = false
  var objects = 0
  for byte in json.utf8 {
    if isText {
      if isEscaped {
        isEscaped = false
      } else if byte == UInt8(ascii: "\\") {
        isEscaped = true
      } else if byte == UInt8(ascii: "\"") {
        isText = false
      }
      continue
    }
    switch byte {
    case UInt8(ascii: "\""): isText = true
    case UInt8(ascii: "{"), UInt8(ascii: "["): open.append(byte + 2)
    case UInt8(ascii: "}"), UInt8(ascii: "]"):
      guard open.popLast() == byte else { return false }
      if open.isEmpty { objects += 1 }
    default: break
    }
  }
  return open.isEmpty && !isText && objects == 1
}

/// The text of a password that stands nowhere else in the files is nowhere in what is printed.
func checkSecrets(
  _ report: CheckReport, _ text: (terminal: String, json: String), _ marks: inout Marks,
  _ place: some RawRepresentable<Int> = YAMLPlace.concealed
) throws(Breach) {
  let secrets = report.configuration.map(secrets) ?? []
  let files = report.sources.files.map { String(decoding: $0.bytes, as: UTF8.self) }
  for secret in secrets.map({ $0.reveal() }) where secret.utf8.count >= 10 && !secret.contains("\n") {
    guard files.reduce(0, { $0 + $1.ranges(of: secret).count }) == 1 else { continue }
    marks.reach(place)
    try check(!text.terminal.contains(secret) && !text.json.contains(secret), "the secret `\(secret)` is printed")
    try check(!"\(String(describing: report.configuration))".contains(secret), "the model prints `\(secret)`")
  }
}

/// All secrets of a configuration, found by walking through it: `Secret` shows nothing of itself to a mirror.
func secrets(_ value: Any) -> [Secret] {
  if let secret = value as? Secret { return [secret] }
  return Mirror(reflecting: value).children.flatMap { secrets($0.value) }
}

/// A fix that a program may apply without asking does not break the file.
private func checkFixes(
  _ report: CheckReport, _ name: String, _ own: [UInt8], _ peers: [(name: String, bytes: [UInt8])],
  _ marks: inout Marks
) throws(Breach) {
  guard let file = report.sources.files.first, report.exitCode != 2 else { return }
  for diagnostic in report.diagnostics.prefix(10) {
    guard let fix = diagnostic.fix, fix.isCertain, fix.edits.allSatisfy({ $0.span.file == file.id }) else { continue }
    var bytes = own
    for edit in fix.edits.sorted(by: { $0.span.start > $1.span.start }) {
      bytes.replaceSubrange(edit.span.start..<edit.span.end, with: Array(edit.replacement.utf8))
    }
    marks.reach(YAMLPlace.fixed)
    let after = Checker.check([(name: name, bytes: bytes)], with: peers)
    try check(
      after.exitCode != 2,
      """
      the fix of \(diagnostic.code.rawValue) (\(fix.title)) makes the file unreadable:
      \(DiagnosticRenderer(sources: after.sources, width: 80).render(after.diagnostics))
      """)
  }
}
