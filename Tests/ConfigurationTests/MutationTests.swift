import Configuration
import Testing

/// Files cut off and changed at every byte: the loader ends, its spans lie inside the files, and what it prints is
/// printable.
@Suite struct MutationTests {
  static let files: [String] = [
    Examples.server, Examples.client,
    "{\"services\":[{\"name\":\"vpn\",\"addr\":\":8421\",\"handler\":{\"type\":\"tun\",\"metadata\":{\"ttl\":10}},"
      + "\"listener\":{\"type\":\"tun\",\"metadata\":{\"net\":\"10.0.0.1/24\",\"routes\":[\"10.1.0.0/16 10.0.0.2\"]}}}]}",
    "x: &a {auth: {username: ann, password: pä55}}\nservices:\n- name: r\n  handler:\n    <<: *a\n    type: relay\n  listener: *a\n"
      + "  metadata:\n    preUp: [\"a b\", |\n      c\n      ]\n",
    """
    services:
    - name: s
      addr: :1
      handler:
        type: rtcp
        chain: c
        metadata: {proxyProtocol: 1}
      listener:
        type: rtcp
      forwarder: {nodes: [{addr: :2, network: tcp, metadata: {weight: 2}}], selector: {strategy: ha}}
    - handler: {type: auto, metadata: {skipauth: 10.0.0.0/8, egress.allow: "all,[::1]:1-2", udp.minPort: 9}}
      listener: {type: mws, metadata: {path: x, header: {A: b}, mux.keepaliveTimeout: 1}}
    chains:
    - name: c
      hops: [{nodes: [{addr: "a:1", connector: {type: socks4}, dialer: {type: direct}}]}, {nodes: [{addr: "[::1]:2"}]}]
    """,
  ]

  @Test("A file cut off at any byte is judged", arguments: files.indices)
  func truncated(_ index: Int) {
    let bytes = Array(Self.files[index].utf8)
    for end in 0...bytes.count { judge(Array(bytes[..<end])) }
  }

  @Test("A file with any byte changed, added or removed is judged", arguments: files.indices)
  func changed(_ index: Int) {
    let bytes = Array(Self.files[index].utf8)
    for offset in bytes.indices {
      for byte: UInt8 in [
        0x00, 0x09, 0x0A, 0x20, 0x22, 0x23, 0x26, 0x2A, 0x2D, 0x3A, 0x5B, 0x7B, 0x7D, 0x80, 0xE2, 0xFF,
      ] {
        var copy = bytes
        copy[offset] = byte
        judge(copy)
      }
      var shorter = bytes
      shorter.remove(at: offset)
      judge(shorter)
      var longer = bytes
      longer.insert(bytes[offset], at: offset)
      judge(longer)
    }
  }

  @Test("The other end's file cut off at any byte is judged")
  func truncatedPeer() {
    let peer = Array(Examples.server.utf8)
    let own = Array(Examples.client.utf8)
    for end in 0...peer.count { judge(own, with: Array(peer[..<end])) }
  }

  @Test("A piece that begins and ends at any byte is judged, and mended without a fault", arguments: files.indices)
  func pieces(_ index: Int) {
    let bytes = Array(Self.files[index].utf8)
    for start in stride(from: 0, to: bytes.count, by: 17) {
      for end in stride(from: start, through: bytes.count, by: 29) {
        let piece = Array(bytes[start..<end])
        let report = Checker.check([(name: "m.yaml", bytes: piece)], strict: true, fragment: true)
        let isSound = report.diagnostics.allSatisfy { diagnostic in
          let span = diagnostic.primary?.span
          return (span?.end ?? 0) <= piece.count && diagnostic.code != .nothingToDo
        }
        #expect(isSound, "\(String(decoding: piece, as: UTF8.self))\n\(report.rendered)")
      }
    }
    let half = Array(bytes[..<(bytes.count / 2)])
    let outcome = Fixer.fix([(name: "m.yaml", bytes: half)], fragment: true)
    #expect(SARIF.render(outcome.report.diagnostics, sources: outcome.report.sources, version: "1").hasSuffix("}\n"))
  }

  @Test("Random text of YAML's characters is judged")
  func random() {
    var state: UInt64 = 0x2545_F491_4F6C_DD1D
    let alphabet = Array("services:chainnodes -?:,[]{}#&*!|>'\"%@`\n\n  \t\\0x1aäß\u{2028}".utf8)
    for _ in 0..<2_000 {
      var bytes: [UInt8] = []
      for _ in 0..<60 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        bytes.append(alphabet[Int(state % UInt64(alphabet.count))])
      }
      judge(bytes)
    }
  }

  private func judge(_ bytes: [UInt8], with peer: [UInt8]? = nil) {
    let report = Checker.check([(name: "m.yaml", bytes: bytes)], with: peer.map { [(name: "p.yaml", bytes: $0)] } ?? [])
    var isSound = (0...3).contains(report.exitCode)
    for diagnostic in report.diagnostics {
      let spans =
        [diagnostic.primary?.span].compactMap { $0 } + diagnostic.secondary.map(\.span)
        + (diagnostic.fix?.edits.map(\.span) ?? [])
      for span in spans {
        let count = report.sources.file(span.file)?.bytes.count ?? -1
        if span.start > span.end || span.end > count { isSound = false }
      }
    }
    let text = DiagnosticRenderer(sources: report.sources, width: 60).render(report.diagnostics)
    // C0 and C1 controls other than the line end.
    if text.unicodeScalars.contains(where: { $0.value < 0x20 && $0 != "\n" || (0x7F...0x9F).contains($0.value) }) {
      isSound = false
    }
    if !isSound { Issue.record("\(String(decoding: bytes, as: UTF8.self))\n\(text)") }
  }
}

@Suite struct SizeTests {
  @Test("Tens of thousands of faults on one line are judged in time, and the first ones are reported")
  func manyFaults() {
    let text = "{" + (0..<25_000).map { "a\($0): 1" }.joined(separator: ",") + "}"
    let clock = ContinuousClock()
    let took = clock.measure {
      let report = check(text)
      #expect(report.diagnostics.count == 200)
      #expect(report.diagnostics.last?.notes.contains { $0.contains("there is more") } == true)
      #expect(report.rendered.split(separator: "\n").allSatisfy { $0.count <= 110 })
    }
    #expect(took < .seconds(20))
  }

  @Test("A thousand services are judged in time")
  func manyServices() {
    var text = "services:\n"
    for index in 0..<1_000 {
      text += """
        - {name: s\(index), addr: ':\(10_000 + index)', handler: {type: tun, chain: c\(index)}, \
        listener: {type: tun, metadata: {net: 10.\(index / 256).\(index % 256).1/24}}, \
        forwarder: {nodes: [{addr: 'h:\(index + 1)'}]}}

        """
    }
    text += "chains:\n"
    for index in 0..<1_000 {
      text +=
        "- {name: c\(index), hops: [{nodes: [{addr: 'h:\(index + 1)', connector: {type: relay}, dialer: {type: tcp}}]}]}\n"
    }
    let clock = ContinuousClock()
    let took = clock.measure { #expect(check(text).diagnostics.isEmpty) }
    #expect(took < .seconds(20))
  }
}
