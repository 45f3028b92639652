import Configuration
import Testing

@Suite("SARIF") struct SARIFTests {
  @Test("Results have rules, places, fixes and suppressions")
  func results() throws {
    let text =
      relayServer().with("- name: relay", "- name: relay # culvert: accept CV0708 it is ours")
      + "log: {levle: debug}\n"
    let report = check(text, name: "/etc/a b.yaml", strict: true)
    let sarif = SARIF.render(
      report.diagnostics, sources: report.sources, accepted: report.accepted, version: "1.2.3")
    for part in [
      #"{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"tool":{"driver":{"#,
      #""name":"culvert","version":"1.2.3","rules":[{"id":"CV0102""#,
      #""columnKind":"unicodeCodePoints","invocations":[{"executionSuccessful":true,"exitCode":1}]"#,
      #"{"ruleId":"CV0102","ruleIndex":0,"level":"error","message":{"text":"unknown key `levle` in the log\nwrite `level`"}"#,
      #""artifactLocation":{"uri":"file:///etc/a%20b.yaml"},"region":{"startLine":8,"startColumn":7,"endLine":8,"endColumn":12,"byteOffset":"#,
      #""replacements":[{"deletedRegion":{"startLine":8,"#, #""insertedContent":{"text":"level"}"#,
    ] {
      #expect(sarif.contains(part), "\(part)\n\(sarif)")
    }
    let alone = check(text.with("log: {levle: debug}\n", ""), posture: true)
    let suppressed = SARIF.render([], sources: alone.sources, accepted: alone.accepted, version: "1")
    #expect(suppressed.contains(#""suppressions":[{"kind":"inSource","justification":"it is ours"}]"#), "\(suppressed)")
    #expect(suppressed.contains(#""properties":{"tags":["security"]}"#))
    #expect(SARIF.render([], sources: alone.sources, version: "1").contains(#""results":[]"#))
  }
}
