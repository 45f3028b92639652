/// Recordings of whole runs: what was recorded while real packets crossed runs again, bit for bit, and has nothing in it
/// that is nobody's business.
import Glibc
import Testing

extension Tunnels {
  @Suite("Record and replay")
  struct RecordTests {
    /// What must not stand in a recording: what users typed, rightly and wrongly, and what they transferred.
    private static let secrets = [
      "relay-pa55word", "p4ssphrase-abc", "socks-pa55word", "http-pa55word!", "wr0ng-password", "c00kie-of-a-session",
      "qu3ry-of-a-page", "t0ken-in-a-header", "PAYLOAD-of-a-user",
    ]

    @Test("What both ends recorded of a lab run is equal when it is run again")
    func lab() throws {
      let place = "/tmp/culvert-test-lab-\(getpid())"
      defer { _ = try? shell("rm -rf \(place)") }
      let yaml = """
        hosts: {server: {run: server.yaml}, client: {run: client.yaml}}
        links: [{between: [client, server], families: [ipv4]}]
        names: {vpn.example.com: server}
        proofs:
        - ping: {from: client, to: 10.77.0.1, count: 5}
        - transfer: {from: client, to: server, address: 'fd77::1', size: 2MiB}
        - restart: {host: server, for: 1s}
        - ping: {from: client, to: 10.77.0.1, within: 10s}

        """
      let made = try shell(
        "mkdir \(place) && cp \(Machine.examples)/tun-over-tls/*.yaml \(place) && cat >\(place)/lab.yaml <<'END'\n\(yaml)END\n"
      )
      try #require(made.isGood, "\(made.output)")
      let run = try shell("\(Machine.culvert) lab \(place) --record \(place)/recordings 2>&1", within: 90)
      try #require(run.isGood, "\(run.output)")
      for name in ["client", "server", "server-2"] {
        let report = try Self.replay("\(place)/recordings/\(name).jsonl")
        #expect(report.hasSuffix(": all outcomes equal\n"), "\(name): \(report)")
        let last = try shell("tail -n 1 \(place)/recordings/\(name).jsonl").output
        #expect(last.contains("\"over\":\"SIGTERM\""), "\(last)")
      }
      // The passphrase of the example, and what the transfer's first bytes would be: random, so nothing to look for.
      let found = try shell("cat \(place)/*.yaml | grep -o 'pass[a-z]*: *[^,} ]*'").output
      for line in found.split(separator: "\n") {
        let secret = line.split(separator: ":").last.map { $0.drop { $0 == " " } } ?? ""
        try Self.expectNone([String(secret)], in: "\(place)/recordings/*")
      }
    }

    @Test("Every machine that there is, at both ends: recorded under traffic, equal in the replay, without a secret")
    func everything() throws {
      let net = try Net(["client", "server"])
      defer { net.close() }
      try net.targets("server")
      let server = try net.culvert("server", Self.server, options: "--record \(net.directory)/server.jsonl")
      let client = try net.culvert("client", Self.client, options: "--record \(net.directory)/client.jsonl")
      let web = try net.start("server", "python3 \(Machine.tools)/web.py 10.99.0.2 8000", title: "web")
      try #require(web.says("ready", within: 10) != nil, net.story)

      #expect(net.ping("client", "10.90.57.30") != nil, net.story)
      _ = try net.run("client", "ping -c 20 -i 0.02 -s 1200 -p 5041594c4f4144 10.90.57.30")
      for port in [9001, 9002, 9003, 9004, 9005, 9006] {
        let name = try net.greetings("client", "127.0.0.1:\(port)").first?.name
        #expect(name == "target", "\(port)\(net.story)")
      }
      for _ in 0..<4 { _ = try net.greetings("client", "127.0.0.1:9001") }
      // The server's host has a port of the client's: what connects there goes the way back.
      #expect(try net.greetings("server", "127.0.0.1:9100").first?.name == "target", net.story)
      try Self.browse(net)

      #expect(client.stop() == .exit(0), net.story)
      #expect(server.stop() == .exit(0), net.story)
      for end in ["client", "server"] {
        let report = try Self.replay("\(net.directory)/\(end).jsonl")
        #expect(report.hasSuffix(": all outcomes equal\n"), "\(end): \(report)")
      }
      try Self.expectNone(Self.secrets, in: "\(net.directory)/*.jsonl")
      let kinds = try shell(
        "cat \(net.directory)/*.jsonl | grep -o '\"new\":\"[a-z0-9.]*\"' | cut -d'\"' -f4 | sort -u"
      ).output
      let expected = [
        "fair.queue", "http.body", "http.request", "http.response", "link", "node.selector", "proxy", "relay.request",
        "relay.response", "smux", "socks4.reply", "socks4.request", "socks5.client", "socks5.reply", "socks5.server",
        "tun.client", "tun.registry", "websocket.client", "websocket.receiver", "websocket.server",
      ]
      #expect(kinds.split(separator: "\n").map(String.init) == expected)
      #expect(try shell("stat -c %a \(net.directory)/client.jsonl").output == "600\n")

      // It reads as what happened, and a changed outcome is found.
      let shown = try shell("\(Machine.culvert) replay --print \(net.directory)/client.jsonl").output
      for words in ["tunnel is up", "tun.client handle input=answered", "quic: event=connected"] {
        #expect(shown.contains(words), "\(words)")
      }
      let changed = try shell(
        "sed 's/\"payload\":\\([1-9]\\)/\"payload\":9\\1/' \(net.directory)/client.jsonl >\(net.directory)/changed; "
          + "\(Machine.culvert) replay \(net.directory)/changed; echo exit $?")
      #expect(
        changed.output.contains("websocket.receiver") && changed.output.hasSuffix("exit 1\n"), "\(changed.output)")
    }

    /// Through the proxies with right and wrong passwords, cookies, queries and something to upload.
    private static func browse(_ net: Net) throws {
      let script = """
        echo PAYLOAD-of-a-user >\(net.directory)/upload
        get() { curl -sS -m 10 --noproxy '' -H 'Cookie: id=c00kie-of-a-session' -H 'X-Key: t0ken-in-a-header' "$@"; }
        say() { get "$@"; echo; }
        get -x http://us3r:http-pa55word!@10.99.0.2:8080 http://10.99.0.2:8000/chunked/20000/qu3ry-of-a-page | wc -c
        say -x http://us3r:http-pa55word!@10.99.0.2:8080 'http://10.99.0.2:8000/none?q=qu3ry-of-a-page'
        say -x http://us3r:http-pa55word!@10.99.0.2:8080 -T \(net.directory)/upload http://10.99.0.2:8000/digest
        get -x http://us3r:http-pa55word!@10.99.0.2:8080 -p http://10.99.0.2:8000/bytes/100 | wc -c
        say -x http://us3r:wr0ng-password@10.99.0.2:8080 http://10.99.0.2:8000/bytes/100
        get -x socks5h://us3r:socks-pa55word@10.99.0.2:1080 http://10.99.0.2:8000/bytes/101 | wc -c
        say -x socks5h://us3r:wr0ng-password@10.99.0.2:1080 http://10.99.0.2:8000/bytes/101
        get -x socks4a://socks-pa55word@10.99.0.2:1084 http://10.99.0.2:8000/bytes/102 | wc -c
        """
      let outcome = try net.run("client", "sh \(try net.file("browse.sh", script)) 2>&1", within: 60)
      let lines = outcome.output.split(separator: "\n")
      #expect(lines.first == "20000" && lines.contains("100") && lines.contains("101"), "\(outcome.output)\(net.story)")
    }

    // MARK: Ends and refusals

    @Test("A program that crashes leaves its last turn; a recording that is cut off runs as far as it goes")
    func crash() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one")
      let file = Write.file([
        Write.service(
          "near", "127.0.0.1:9000", "tcp", to: "10.99.0.1:7001,10.99.0.1:7001",
          selector: "selector: {strategy: random}, ")
      ])
      let culvert = try net.culvert("one", file, options: "--record \(net.directory)/crash.jsonl")
      for _ in 0..<20 { #expect(try net.greetings("one", "127.0.0.1:9000").first?.name == "target") }
      culvert.program.signal(SIGSEGV)
      #expect(culvert.program.wait(within: 5) == .signal(SIGSEGV), net.story)
      let report = try Self.replay("\(net.directory)/crash.jsonl")
      #expect(report.contains(" 40 calls: all outcomes equal\nthere is no last line"), "\(report)")
    }

    @Test("A place where no recording can be is refused before anything starts, and what lies there stays")
    func refused() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let file = try net.file(
        "one.yaml", Write.file([Write.service("near", "127.0.0.1:9000", "tcp", to: "10.99.0.1:7001")]))
      let text = try net.file("notes.txt", "my notes\n")
      for (place, reason) in [
        ("/nowhere/x", "No such file"), (net.directory, "Is a directory"), ("/dev/null", "Invalid argument"),
        (text, "File exists"),
      ] {
        let outcome = try net.run("one", "\(Machine.culvert) run -C \(file) --record \(place) 2>&1", within: 10)
        #expect(
          outcome.output.contains("error: there can be no recording: record to \(place): \(reason)"),
          "\(outcome.output)")
        #expect(!outcome.isGood && !outcome.output.contains("listening"), "\(outcome.output)")
      }
      #expect(try shell("cat \(text)").output == "my notes\n")
      let first = try net.culvert(
        "one", try shell("cat \(file)").output, options: "--record \(net.directory)/one.jsonl")
      let second = try net.run(
        "one", "\(Machine.culvert) run -L tcp://:9001/10.99.0.1:1 --record \(net.directory)/one.jsonl 2>&1", within: 10)
      #expect(second.output.contains("busy") && !second.isGood, "\(second.output)")
      #expect(first.stop() == .exit(0))
      // Its own recording is begun anew.
      let again = try net.culvert(
        "one", try shell("cat \(file)").output, options: "--record \(net.directory)/one.jsonl")
      #expect(again.stop() == .exit(0))
      #expect(try Self.replay("\(net.directory)/one.jsonl").contains("all outcomes equal"))
    }

    @Test("Workers have a recording each")
    func workers() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let record = "--record \(net.directory)/w.jsonl"
      let program = try net.start(
        "one",
        "\(Machine.culvert) -L tcp://127.0.0.1:9000/10.99.0.1:1 \(record) --socket \(net.directory)/0.sock -- "
          + "-L tcp://127.0.0.1:9001/10.99.0.1:1 \(record) --socket \(net.directory)/1.sock", title: "workers")
      try #require(eventually(within: 10) { program.log.ranges(of: "running").count == 2 } != nil, net.story)
      program.signal(SIGTERM)
      #expect(program.wait(within: 10) == .exit(0), net.story)
      for number in 0...1 {
        #expect(try Self.replay("\(net.directory)/w.jsonl.\(number)").contains("all outcomes equal"))
      }
    }

    @Test("A disk that is full ends the recording, not the program")
    func fullDisk() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one")
      let file = Write.file([Write.service("near", "127.0.0.1:9000", "tcp", to: "10.99.0.1:7001")])
      let small = "\(net.directory)/small"
      let culvert = try net.culvert(
        "one", file, options: "--record \(small)/full.jsonl",
        prefix: "unshare -m sh -c 'mkdir \(small) && mount -t tmpfs -o size=4k tmpfs \(small) && exec \"$@\"' -")
      for _ in 0..<15 { #expect(try net.greetings("one", "127.0.0.1:9000").first?.name == "target") }
      #expect(
        culvert.says("the recording has ended, everything else goes on: record to \(small)/full.jsonl", within: 5)
          != nil, net.story)
      #expect(culvert.stop() == .exit(0))
    }

    // MARK: The two ends

    private static func replay(_ path: String) throws -> String {
      try shell("\(Machine.culvert) replay \(path) 2>&1", within: 60).output
    }

    /// Looks for texts as they are, in Base64 however they are aligned, and in hexadecimal.
    private static func expectNone(_ secrets: [String], in files: String) throws {
      let list = secrets.map { "'\($0)'" }.joined(separator: ", ")
      let script = """
        import base64, glob, sys
        text = b"".join(open(name, "rb").read() for name in glob.glob(sys.argv[1]))
        assert len(text) > 1000
        for secret in [\(list)]:
            plain = secret.encode()
            forms = [plain, plain.hex().encode(), plain.hex().upper().encode()]
            for lead in range(3):
                forms.append(base64.b64encode(b"A" * lead + plain)[lead + 1:-4])
            for form in forms:
                if len(form) > 3 and form in text:
                    print(secret, form)
        """
      let found = try shell("python3 - '\(files)' <<'END'\n\(script)\nEND\n", within: 60)
      #expect(found.isGood && found.output.isEmpty, "\(found.output)")
    }

    private static let server = Write.file(
      [
        """
        - name: tun
          addr: :8421
          handler: {type: tun, auther: clients}
          listener: {type: tun, metadata: {name: tuns, net: '10.90.57.30/24,fd90:57::30/64'}}

        """,
        relay("ws", "{type: ws, metadata: {path: /way-in, header: {X-Key: t0ken-in-a-header}}}", 8441),
        relay("mtls", "{type: mtls}", 8442), relay("quic", "{type: quic}", 8443),
        Write.service(
          "socks", ":1080",
          "{type: socks5, auth: {username: us3r, password: socks-pa55word}, metadata: {bind: true, udp: true}}"),
        Write.service("socks4", ":1084", "{type: socks4a}"),
        Write.service("http", ":8080", "{type: http, auth: {username: us3r, password: 'http-pa55word!'}}"),
        Write.service("front", ":8445", "tcp", to: "10.99.0.2:7001", more: "  metadata: {proxyProtocol: 1}\n"),
      ], [],
      """
      authers:
      - name: clients
        auths:
        - {username: 10.90.57.32, password: p4ssphrase-abc}
        - {username: 'fd90:57::32', password: p4ssphrase-abc}

      """)

    private static func relay(_ name: String, _ listener: String, _ port: Int) -> String {
      Write.service(
        "relay-\(name)", ":\(port)", "{type: relay, auth: {username: us3r, password: relay-pa55word}}", on: listener)
    }

    private static func node(_ name: String, _ port: Int, _ dialer: String, metadata: String = "") -> String {
      Write.node(
        name, "10.99.0.2:\(port)", "{type: relay, auth: {username: us3r, password: relay-pa55word}}",
        over: "{type: \(dialer)\(metadata)}")
    }

    private static func through(_ chain: String, _ port: Int) -> String {
      Write.service("to-\(port)", "127.0.0.1:\(port)", "{type: tcp, chain: \(chain)}", to: "10.99.0.2:7001")
    }

    private static let client: String = {
      let ws = node("ws", 8441, "ws", metadata: ", metadata: {path: /way-in, header: {X-Key: t0ken-in-a-header}}")
      let mtls = node("mtls", 8442, "mtls")
      let socks = Write.node(
        "socks", "10.99.0.2:1080", "{type: socks5, auth: {username: us3r, password: socks-pa55word}}")
      return Write.file(
        [
          """
          - name: tun
            addr: ":0"
            handler: {type: tun, chain: ws, metadata: {keepalive: true, ttl: 5s, passphrase: p4ssphrase-abc}}
            listener: {type: tun, metadata: {name: tunc, net: '10.90.57.32/24,fd90:57::32/64'}}
            forwarder: {nodes: [{name: s, addr: '127.0.0.1:8421'}]}

          """, through("both", 9001), through("quic", 9002), through("socks", 9003), through("http", 9004),
          through("socks4", 9005),
          Write.service("proxied", "127.0.0.1:9006", "{type: tcp, metadata: {proxyProtocol: 2}}", to: "10.99.0.2:8445"),
          Write.service("back", "127.0.0.1:9100", "rtcp", on: "{type: rtcp, chain: socks}", to: "10.99.0.2:7001"),
        ],
        [
          Write.chain("ws", [ws]), Write.chain("both", ["\(ws), \(mtls)"], selector: "selector: {strategy: random}"),
          Write.chain("quic", [node("quic", 8443, "quic")]), Write.chain("socks", [socks]),
          Write.chain(
            "http",
            [Write.node("http", "10.99.0.2:8080", "{type: http, auth: {username: us3r, password: 'http-pa55word!'}}")]),
          Write.chain("socks4", [Write.node("socks4", "10.99.0.2:1084", "socks4a")]),
        ])
    }()
  }
}
