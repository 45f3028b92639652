import Configuration
import Testing

@Suite("Pieces of files") struct FragmentTests {
  @Test("A piece is read where it can stand, and what it leaves to the rest is a note at most")
  func pieces() {
    let pieces: [(String, [DiagnosticCode])] = [
      ("type: tun\nchain: c\nmetadata: {keepAlive: true}\n", [.missingReference]),
      ("handler:\n  type: relay\n  auth: {username: a, password: b}\n", []),
      ("listener:\n  type: tun\n  metadata: {net: 10.0.0.1/24}\n", []),
      (
        "handler: {type: tun, chain: c}\nlistener: {type: tun, metadata: {net: 10.0.0.1/24}}\nforwarder: {nodes: [{addr: 'h:1'}]}\n",
        [.missingReference]
      ),
      ("chains:\n- name: c\n  hops: [{nodes: [{addr: 'h:1', connector: {type: relay}, dialer: {type: tcp}}]}]\n", []),
      ("- name: c\n  hops: [{nodes: [{addr: 'h:1', connector: {type: relay}, dialer: {type: tcp}}]}]\n", []),
      ("- name: c\n  hops: [{name: elsewhere}]\n", [.missingReference]),
      ("name: n\naddr: h:1\nconnector: {type: relay}\ndialer: {type: tls}\n", []),
      ("- addr: h:1\n  connector: {type: relay}\n  dialer: {type: tls}\n", []),
      ("dialer:\n  type: tls\n  tls: {secure: true}\n", []),
      ("connector:\n  type: socks5\n", []),
      ("forwarder:\n  nodes: [{name: t, addr: '192.0.2.1:80'}]\n", []),
      ("nodes: [{name: t, addr: '192.0.2.1:80', connector: {type: relay}, dialer: {type: tcp}}]\n", []),
      ("- {username: a, password: b}\n", []),
      ("authers: [{name: a, auths: [{username: b, password: c}]}]\n", []),
      ("username: a\npassword: b\n", []),
      ("log: {level: debug}\n", []),
      ("tls: {certFile: c.pem, keyFile: k.pem}\n", []),
      ("strategy: round\nmaxFails: 1\n", []),
      (
        #"{"name":"s","addr":":1","handler":{"type":"tun"},"listener":{"type":"tun","metadata":{"net":"10.0.0.1/24"}}}"#,
        []
      ),
      (
        "services:\n- name: a\n  addr: :80\n  handler: {type: http, auther: people}\n",
        [.missingReference]
      ),
    ]
    for (text, codes) in pieces {
      let report = fragment(text).withoutPosture
      #expect(report.codes == codes, "\(text)\(report.rendered)")
      #expect(report.exitCode == 0, "\(text)\(report.rendered)")
      #expect(report.diagnostics.allSatisfy { $0.severity == .note })
    }
  }

  @Test("What is wrong in a piece is still an error, at its place")
  func wrong() {
    let handler = fragment("handler:\n  type: relay\n  metadata: {binnd: true}\n")
    #expect(handler.codes == [.unknownKey] && handler.place(.unknownKey) == "3:14 binnd", "\(handler.rendered)")
    #expect(fragment("dialer: {type: tsl}\n").codes == [.unknownPart])
    let node = fragment("- addr: '192.0.2.1:0'\n  connector: {type: relay}\n  dialer: {type: icmp6}\n")
    #expect(node.codes.contains(.familyMismatch), "\(node.rendered)")
    #expect(fragment("a: [\n").exitCode == 2)
    #expect(fragment("").exitCode == 0)
    #expect(fragment("nothing: known\n").codes == [.unknownKey])
  }

  @Test("Without the option a piece is no file")
  func plain() {
    #expect(check("handler: {type: relay}\n").exitCode == 1)
  }

  private func fragment(_ text: String) -> CheckReport {
    Checker.check([(name: "a.yaml", bytes: Array(text.utf8))], fragment: true)
  }
}
