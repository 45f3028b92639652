import Configuration
import PartDescriptors
import Testing
import Values

@Suite struct ExampleTests {
  @Test("The main case's files are good, and the mistake is none by itself")
  func exitCodes() {
    #expect(!Examples.server.isEmpty && !Examples.client.isEmpty)
    #expect(check(Examples.server).exitCode == 0)
    #expect(check(Examples.client).exitCode == 0)
    #expect(check(Examples.client).diagnostics.isEmpty)
    #expect(check(Examples.serverAuto).exitCode == 0)
    #expect(check(Examples.serverAuto).codes == [.openProxy])
    #expect(check(Examples.client, with: Examples.server).exitCode == 0)
    #expect(check(Examples.server, with: Examples.client).exitCode == 0)
  }

  @Test("The model holds what the files say")
  func model() throws {
    let client = try #require(check(Examples.client).configuration)
    let service = try #require(client.services.first)
    #expect(service.name.value == "tun-client")
    #expect(service.address == HostPort(host: "", port: 0))
    #expect(service.handler.type.value == "tun" && service.handler.descriptor?.name == "tun")
    #expect(service.handler.metadata.bool("keepalive") == true)
    #expect(service.handler.metadata.duration("ttl") == .seconds(10))
    #expect(service.handler.metadata.bool("p2p") == nil)
    #expect(service.listener.metadata.prefixes("net") == [try #require(IPPrefix("10.90.57.1/24"))])
    #expect(service.forwarder?.nodes.first?.address == HostPort(host: "10.90.57.30", port: 8421))
    let chain = try #require(client.chain(named: "tun-chain"))
    let node = try #require(client.hops(of: chain).first?.nodes.first)
    #expect(node.address == HostPort(host: "ipv6.server.com", port: 0))
    #expect(node.connector.type.value == "relay" && node.dialer.descriptor?.family == .ipv6)
    #expect(client.namesOfOneFamily == ["ipv6.server.com"])
  }

  @Test("The mistake is pointed at where it is, with the fix")
  func mistake() throws {
    let report = check(Examples.client, name: "client.yaml", with: Examples.serverAuto)
    #expect(report.exitCode == 1)
    #expect(report.codes == [.peerDoesNotSpeak])
    #expect(
      report.rendered == """
        error[CV0601]: the client's node `relay-node` speaks relay to `icmp6-relay`, whose handler `auto`
            does not understand it
          --> peer.yaml:13:11
           |
        13 |     type: auto
           |           ^^^^ `auto` speaks SOCKS4, SOCKS5 and HTTP
          ::: client.yaml:26:15
           |
        26 |         type: relay
           |               ----- the client speaks relay here
           |
           = note: GOST starts both ends and never says so: the client logs `<nil>` and tries again for ever
        help: write `relay`
           |
        13 |     type: relay
           |           ~~~~~

        1 error

        """)
  }

  @Test("The mistake is seen from the server's side as well, and said once")
  func mistakeFromTheServer() {
    let report = check(Examples.serverAuto, with: Examples.client)
    #expect(report.codes == [.openProxy, .peerDoesNotSpeak])
    #expect(report.place(.peerDoesNotSpeak) == "13:11 auto")
    #expect(report.fixed(.peerDoesNotSpeak) == Examples.serverAuto.with("auto", "relay"))
  }

  @Test("The other end's \"not yet\" and warnings are not this file's")
  func peerSeverities() {
    let report = check(Examples.client, with: Examples.server.with("bind: true", "sniffing: true"))
    #expect(report.exitCode == 0 && report.diagnostics.isEmpty)
    #expect(check(Examples.client, with: Examples.server.with("type: relay", "type: relya")).exitCode == 1)
    #expect(check(Examples.client, with: "a: [").exitCode == 2)
  }

  @Test("Several files are one configuration")
  func merging() throws {
    let one =
      "services:\n- name: r\n  addr: :8443\n  handler: {type: relay, auther: users}\n  listener: {type: tls}\nlog: {level: info}\n"
    let two =
      "authers:\n- name: users\n  auths:\n  - {username: ann, password: pw}\nlog: {level: debug, format: json}\n"
    let report = Checker.check([(name: "one.yaml", bytes: Array(one.utf8)), (name: "two.yaml", bytes: Array(two.utf8))])
    #expect(report.exitCode == 0)
    let configuration = try #require(report.configuration)
    #expect(configuration.log?.level == .debug)
    #expect(configuration.credentials(of: configuration.services[0].handler).first?.password?.value.reveal() == "pw")
    let twice = Checker.check([
      (name: "one.yaml", bytes: Array(one.utf8)),
      (name: "two.yaml", bytes: Array((one + two.with("log:", "tls: {secure: true}\nlogg:")).utf8)),
    ])
    #expect(twice.codes.contains(.duplicateName) || twice.codes.contains(.duplicateKey))
  }

  @Test("A secret does not print itself, nor does the line that holds it")
  func secrets() throws {
    let secret = Secret("hunter2")
    #expect("\(secret)" == "******" && String(reflecting: secret) == "******")
    var dumped = ""
    dump(secret, to: &dumped)
    #expect(!dumped.contains("hunter2"))
    let text =
      relayServer(["auth: {username: ann, password: hunter2, passwort: hunter3x}"]) + "x: *y # password: hunter2\n"
    #expect(!check(text).rendered.contains("hunter2"))
    let report = check(relayServer(["auth: {username: ann, password: hunter2, extra: 1}"]))
    #expect(report.codes == [.unknownKey])
    #expect(!report.rendered.contains("hunter2") && report.rendered.contains("******"))
    #expect(!DiagnosticJSON.render(report.diagnostics, sources: report.sources).contains("hunter2"))
  }
}
