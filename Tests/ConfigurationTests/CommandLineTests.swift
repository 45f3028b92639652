import Configuration
import Testing

/// Checks a line of arguments as the program would get them.
private func check(arguments: String, files: [(name: String, bytes: [UInt8])] = []) -> CheckReport {
  Checker.check(files, arguments: split(arguments)).withoutPosture
}

private func split(_ line: String) -> CommandLineArguments {
  var arguments = CommandLineArguments()
  var flag = ""
  for word in line.split(separator: " ").map(String.init) {
    switch flag {
    case "-L": arguments.services.append(word)
    case "-F": arguments.nodes.append(word)
    default:
      flag = word
      continue
    }
    flag = ""
  }
  return arguments
}

private func text(_ line: String, as format: ConfigurationText.Format) -> String? {
  ConfigurationText.render(sources: [], arguments: split(line), as: format).text
}

@Suite struct ExpansionTests {
  @Test("Arguments become the configuration that GOST makes of them", arguments: ExpansionTable.rows.indices)
  func table(_ index: Int) throws {
    let row = ExpansionTable.rows[index]
    let json = try #require(text(row.arguments, as: .json), "\(row.arguments)")
    #expect(json.filter { !"\" \n".contains($0) } == row.expected.filter { $0 != " " }, "\(row.arguments)")
  }

  @Test("The table is whole")
  func size() { #expect(ExpansionTable.rows.count > 80 && ExpansionTable.rows.allSatisfy { !$0.expected.isEmpty }) }

  @Test("What is printed as YAML is read back as the same configuration", arguments: ExpansionTable.rows.indices)
  func roundTrip(_ index: Int) throws {
    let row = ExpansionTable.rows[index]
    let yaml = try #require(text(row.arguments, as: .yaml))
    let again = ConfigurationText.render(
      sources: [("a.yaml", Array(yaml.utf8))], arguments: CommandLineArguments(), as: .json)
    #expect(again.text == text(row.arguments, as: .json), "\(yaml)")
    // The rules find the same in the long form; what is left out on the way is told of the argument alone.
    let told: Set<DiagnosticCode> = [.keyWithoutEffect, .duplicateKey]
    let short = Set(check(arguments: row.arguments).codes).subtracting(told)
    let long = Set(Checker.check([("a.yaml", Array(yaml.utf8))]).withoutPosture.codes).subtracting(told)
    #expect(short == long, "\(row.arguments)\n\(yaml)")
  }

  @Test("Values keep their type in the long form: text from a query is quoted, numbers of fields are not")
  func types() throws {
    let yaml = try #require(
      text("-L tun://:0/10.0.0.1:8421?keepalive=true&ttl=15&name=no&retries=3 -F http://h:1?maxFails=2", as: .yaml))
    #expect(yaml.contains("keepalive: \"true\"\n"))
    #expect(yaml.contains("ttl: \"15\"\n"))
    #expect(yaml.contains("name: \"no\"\n"))
    #expect(yaml.contains("retries: 3\n"))
    #expect(yaml.contains("maxFails: 2\n"))
    #expect(yaml.hasPrefix("services:\n- name: service-0\n  addr: :0\n"))
  }

  @Test("A worker's targets have its number in their names, as GOST has it")
  func worker() throws {
    var arguments = split("-L tcp://:8080/a:80")
    arguments.worker = "1"
    let json = try #require(ConfigurationText.render(sources: [], arguments: arguments, as: .json).text)
    #expect(json.contains("\"go-1@target-0\""))
  }

  @Test("Arguments without faults run: the daemon gets what a file would give it")
  func model() throws {
    let report = check(
      arguments: "-L tun://:0/10.0.0.1:8421?net=10.0.0.2/24,fd00::2/64&mtu=1350&passphrase=abc"
        + " -F relay+tls://u:p%40w@server.example.com:8443?secure=true")
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    #expect(report.mayRun)
    let service = try #require(report.configuration?.services.first)
    #expect(service.handler.type.value == "tun" && service.listener.type.value == "tun")
    #expect(service.listener.metadata.prefixes("net").map { "\($0)" } == ["10.0.0.2/24", "fd00::2/64"])
    #expect(service.listener.metadata.int("mtu") == 1350)
    #expect(service.handler.metadata.secret("passphrase")?.reveal() == "abc")
    #expect(service.forwarder?.nodes.first?.addr.value == "10.0.0.1:8421")
    let node = try #require(report.configuration?.chain(named: "chain-0")?.node)
    #expect(node.connector.auth?.username.value == "u" && node.connector.auth?.password?.value.reveal() == "p@w")
    #expect(node.dialer.tls?.secure?.value == true)
    #expect(node.addr.value == "server.example.com:8443")
  }
}

@Suite struct ArgumentFaultTests {
  struct Case: CustomTestStringConvertible {
    let line: String
    let code: DiagnosticCode
    /// `line:column text` of the place.
    let place: String
    /// The argument after the fix; `nil` where there is none.
    let fixed: String?

    init(_ line: String, _ code: DiagnosticCode, _ place: String, _ fixed: String? = nil) {
      (self.line, self.code, self.place, self.fixed) = (line, code, place, fixed)
    }

    var testDescription: String { line }
  }

  static let cases = [
    Case("-L relya://u:p@:8443", .unknownPart, "1:1 relya", "relay://u:p@:8443"),
    Case("-L relay+tsl://:8443", .unknownPart, "1:7 tsl", "relay+tls://:8443"),
    Case("-L tls+relay://:8443", .unknownPart, "1:1 tls+relay", "relay+tls://:8443"),
    Case("-L tls+mws://:8443", .unknownPart, "1:1 tls+mws"),
    Case("-L relay+socks5://:8443", .unknownPart, "1:7 socks5"),
    Case("-L relay+ws+tls://:8443", .badArgument, "1:1 relay+ws+tls", "relay+wss://:8443"),
    Case("-L a+b+c+d://:8443", .badArgument, "1:1 a+b+c+d"),
    Case("-L +tls://:8443", .unknownPart, "1:1 "),
    Case("-L relay://u:a/b@:8443", .badArgument, "1:12 /", "relay://u:a%2Fb@:8443"),
    Case("-L relay://u:a?b@:8443", .badArgument, "1:12 ?", "relay://u:a%3Fb@:8443"),
    Case("-L relay://u:a#b@:8443", .badArgument, "1:12 #", "relay://u:a%23b@:8443"),
    Case("-L relay://u:a%b@:8443", .badArgument, "1:12 %b", "relay://u:a%25b@:8443"),
    Case("-L relay://u:a%00@:8443", .badArgument, "1:11 a%00"),
    Case("-L http://:80?authBasicRealm=a;b", .badArgument, "1:28 ;", "http://:80?authBasicRealm=a%3Bb"),
    Case("-L http://:80?=1", .badArgument, "1:13 1"),
    Case("-L http://:80?auth=%25", .badArgument, "1:17 %25"),
    Case("-L relay+tls://:8443?keepalvie=true", .unknownKey, "1:19 keepalvie", "relay+tls://:8443?keepalive=true"),
    Case(
      "-L tcp://:84?listener.keepalvie=1", .unknownKey, "1:11 listener.keepalvie", "tcp://:84?listener.keepalive=1"),
    Case("-L relay://:84?bypss=10.0.0.0/8", .unknownKey, "1:13 bypss", "relay://:84?bypass=10.0.0.0/8"),
    Case("-L relay://:84?dialer.keepalive=1", .unknownKey, "1:13 dialer.keepalive"),
    Case("-L tls://:1?handler.keepalive=1&listener.keepalive=x&keepalive=1", .wrongType, "1:49 x"),
    Case("-L relay+tls://:84?nodelay=true&nodelay=false", .duplicateKey, "1:30 nodelay"),
    Case("-L https://:443?cert=a&tls.certFile=b&key=c", .duplicateKey, "1:14 cert"),
    Case("-L relay+tls://:84?nodelay", .keyWithoutEffect, "1:17 nodelay"),
    Case("-L socks5+tcp://:1080/h:80", .keyWithoutEffect, "1:1 socks5"),
    Case("-L http://:80?strategy=rand", .keyWithoutEffect, "1:12 strategy=rand"),
    Case("-L http://u:p@:80?auth=dTpw", .duplicateKey, "1:16 auth"),
    Case("-L http://:80?hosts=a", .valueOutOfRange, "1:18 a"),
    Case("-L tcp://:8000-8002/a:1,b:2", .valueOutOfRange, "1:17 /a:1,b:2"),
    Case("-L tcp://:90-80/a:1", .valueOutOfRange, "1:8 90-80"),
    Case("-L tcp://:1-60000/a:1", .valueOutOfRange, "1:8 1-60000"),
    Case("-L tcp://:1/a:5-2", .valueOutOfRange, "1:12 5-2"),
    Case("-L tcp://:99999/a:1", .badAddress, "1:7 :99999"),
    Case("-L tcp://:80/a:1,b", .badAddress, "1:15 b"),
    // The rules of files, with their places in the argument.
    Case("-L tun://:8421?net=10.0.0.1/24&mtu=abc", .wrongType, "1:33 abc"),
    Case("-L tun://:8421?net=10.0.0.1/24,10.1.0.300/24", .badPrefix, "1:29 10.1.0.300/24"),
    Case("-L tun://:8421?net=10.0.0.1%2F24,10.1.0.300/24", .badPrefix, "1:17 10.0.0.1%2F24,10.1.0.300/24"),
    Case("-L https://:443?cert=a.pem", .certificateWithoutKey, "1:19 a.pem"),
    Case("-L relay://:84 -L relay://:84", .duplicateListenAddress, "1:9 :84"),
  ]

  @Test("A fault in an argument has its code, its place and its fix", arguments: cases)
  func fault(_ fault: Case) throws {
    let report = check(arguments: fault.line)
    let found = try #require(report.first(fault.code), "\(report.rendered)")
    #expect(report.place(fault.code) == fault.place, "\(report.rendered)")
    #expect((found.fix == nil) == (fault.fixed == nil), "\(report.rendered)")
    if let fixed = fault.fixed {
      #expect(report.fixed(fault.code) == fixed)
      #expect(!check(arguments: "-L " + fixed).codes.contains(fault.code))
    }
  }

  @Test("A fault in a node names its own argument")
  func nodes() throws {
    let report = check(
      arguments: "-L tun://:0/10.0.0.1:8421?net=10.0.0.2/24 -F relay+tls://h:1 -F relay+icmp6://192.0.2.1:0/x")
    let path = try #require(report.first(.keyWithoutEffect)?.primary?.span)
    #expect(report.sources.place(of: path) == "-F #2:1:26")
    #expect(check(arguments: "-L http://127.0.0.1:80 -F relya://h:1").place(.unknownPart) == "1:1 relya")
    #expect(
      check(arguments: "-L http://127.0.0.1:80 -F tun://h:1").first(.unknownPart)?.primary?.text.contains("-L") == true)
    #expect(check(arguments: "-F http://h:1").codes == [.nothingToDo])
    #expect(check(arguments: "-L http://127.0.0.1:80 -F relay+icmp6://192.0.2.1:0").codes == [.familyMismatch])
  }

  @Test("An empty argument, one of control characters and one that is too long are refused")
  func unreadable() {
    for text in ["", "  ", "http://a\u{7}:80", "http://a\n:80", String(repeating: "x", count: 65_537)] {
      let report = Checker.check([], arguments: CommandLineArguments(services: [text]))
      #expect(report.codes == [.badArgument])
      #expect(report.exitCode == 1 && !report.mayRun)
    }
  }

  @Test("A fix that would change both parts of a scheme is told in words")
  func sharedScheme() throws {
    // `relay` instead of `auto` means another handler behind the same listener.
    let report = check(arguments: "-L tls://:8443?cert=a.pem&bind=true")
    for finding in report.diagnostics {
      for edit in finding.fix?.edits ?? [] { #expect(report.sources.text(of: edit.span) != "tls") }
    }
  }

  @Test(
    "No secret of an argument is ever printed",
    arguments: [
      "-L relay+tls://user:hunter2@:8443?x=1", "-L relya://user:hunter2@:8443", "-L relay://user:hunter2/3@:8443",
      "-L relay://user:a?hunter2@:8443", "-L relay://user:hunter2#x@:8443", "-L relay://user:hunter2%zz@:8443?y=1",
      "-L http://:80?auth=hunter2", "-L http://:80?Auth=hunter2&x=1", "-L tun://:1?passphrase=hunter2",
      "-L tun://:1?handler.token=hunter2&handler.passphrase=hunter2", "-L ss://hunter2@:80?x=1",
      "-L http://:80 -F quic://h:1?dialer.cipherKey=hunter2&x=1", "-L a+b+c://u:hunter2@:1?x=1",
      "-L tun://:1?pass%70hrase=hunter2&x=1",
    ])
  func secrets(_ line: String) {
    let report = check(arguments: line)
    #expect(!report.diagnostics.isEmpty)
    #expect(!report.rendered.contains("hunter2"), "\(report.rendered)")
    let json = DiagnosticJSON.render(report.diagnostics, sources: report.sources)
    #expect(!json.contains("hunter2"), "\(json)")
  }
}

@Suite struct MergeTests {
  private let file = (
    name: "a.yaml",
    bytes: Array(
      """
      services:
      - name: web
        addr: 127.0.0.1:80
        handler: {type: http}
        listener: {type: tcp}
      log: {level: warn}
      """.utf8)
  )

  @Test("A file and arguments are one configuration, the arguments behind the file")
  func both() throws {
    let report = check(arguments: "-L socks5://127.0.0.1:1080", files: [file])
    #expect(report.configuration?.services.map(\.name.value) == ["web", "service-0"])
    #expect(report.diagnostics.isEmpty, "\(report.rendered)")
    let text = try #require(
      ConfigurationText.render(sources: [file, file], arguments: split("-L socks5://:1080"), as: .yaml).text)
    #expect(text.ranges(of: "- name:").count == 3)
    #expect(text.ranges(of: "log:").count == 1)
  }

  @Test("A generated name that a file has too is an error, as in GOST")
  func clash() throws {
    let other = (
      name: "b.yaml", bytes: Array(String(decoding: file.bytes, as: UTF8.self).replacing("web", with: "service-0").utf8)
    )
    let report = check(arguments: "-L socks5://127.0.0.1:1080", files: [other])
    #expect(report.codes == [.duplicateName], "\(report.rendered)")
  }

  @Test("The last of each single block is in force")
  func singletons() throws {
    let text = try #require(
      ConfigurationText.render(
        sources: [file, ("{}", Array(#"{"log": {"level": "error"}}"#.utf8))], arguments: CommandLineArguments(),
        as: .yaml
      ).text)
    #expect(text.contains("level: error") && !text.contains("warn"))
  }

  @Test("A configuration that cannot be read is not printed")
  func unreadable() {
    let result = ConfigurationText.render(
      sources: [("a.yaml", Array("a: [".utf8))], arguments: CommandLineArguments(), as: .json)
    #expect(result.text == nil && result.report.exitCode == 2)
  }
}
