/// Recordings of a relay under coturn's client, and of our client at coturn's relay: they run again bit for bit, and have no
/// secret in them.
import Glibc
import Testing

extension Tunnels {
  @Suite("Record and replay of TURN", .enabled(if: TurnTools.isThere && Turn.missing.isEmpty, TurnTools.reason))
  struct TurnRecordTests {
    @Test("What coturn's client did at our relay is equal when it is run again, and no secret is in it")
    func relay() throws {
      let net = try Net(["client", "relay"])
      defer { net.close() }
      try net.certificate("relay")
      let file = "\(net.directory)/relay.jsonl"
      let users = "- {username: ada, password: r3lay-pa55word}"
      let relay = try net.culvert(
        "relay",
        net.relayFile("      drain: 0s\n", users: users).replacing("secret: north", with: "secret: s3cret-of-all"),
        options: "--record \(file) --log-level debug")
      let runs = [
        "channels": "-y -u ada -w r3lay-pa55word", "indications": "-y -s -u ada -w r3lay-pa55word",
        "mobility": "-M -y -u ada -w r3lay-pa55word", "connections": "-y -t -T -u ada -w r3lay-pa55word",
        "tls": "-t -S -p 5349 -y -u ada -w r3lay-pa55word", "secret": "-y -u carol -W s3cret-of-all",
      ]
      let wrong = try net.start(
        "client", "turnutils_uclient -y -n 1 -m 1 -u ada -w wr0ng-password 10.99.0.2", title: "wrong")
      let programs = try runs.map { title, options in
        (title, try net.start("client", "turnutils_uclient -n 5 -m 2 \(options) 10.99.0.2", title: title))
      }
      for (title, program) in programs {
        #expect(program.wait(within: 30) == .exit(0), "\(title)\n\(program.log.suffix(800))")
      }
      #expect(relay.says("answer=\"401 Unauthenticated\"", within: 10) != nil, net.story)
      wrong.signal(SIGKILL)
      #expect(relay.stop() == .exit(0), net.story)

      try Self.expectEqual(file, kind: "turn.server")
      try Self.expectNone(
        ["r3lay-pa55word", "s3cret-of-all", "wr0ng-password"], name: "ada", realm: "example.org",
        password: "r3lay-pa55word", in: file)
      try Self.expectFound(file, #"s/"is":"user","name":"ada"/"is":"wrong"/"#, at: "receive")
      // A byte of a relayed address in an answer.
      try Self.expectFound(file, #"s/\("do":"transmit".*001600080001\)[0-9a-e]/\1f/"#, at: "transmit")
      let shown = try shell("\(Machine.culvert) replay --print \(file)").output
      for words in ["turn.server receive flow=", "name=ada", "data channel="] {
        #expect(shown.contains(words), "\(words)")
      }
    }

    @Test("What our client did at coturn's relay is equal when it is run again, and no secret is in it")
    func client() throws {
      let net = try Net(["client", "relay", "server"])
      defer { net.close() }
      try net.coturn("relay", ["10.99.0.2"])
      try net.targets("server", as: "server")
      let file = "\(net.directory)/client.jsonl"
      let transports = ["udp", "tcp"]
      let client = try net.culvert(
        "client",
        Write.file(
          transports.enumerated().map { place, name in
            Write.service(name, "127.0.0.1:90\(place)0", "{type: udp, chain: \(name)}", on: "udp", to: "10.99.0.3:7000")
          } + [
            """
            - name: game
              addr: :0
              handler: {type: udp}
              listener:
                type: turn
                auth: {username: ann, password: correct-horse}
                metadata: {server: "10.99.0.2:3478", permit: [10.99.0.3], mobility: true}
              forwarder: {nodes: [{name: own, addr: "127.0.0.1:7000"}]}

            """,
            Write.service("bad", "127.0.0.1:9100", "{type: udp, chain: bad}", on: "udp", to: "10.99.0.3:7000"),
          ],
          transports.map { Write.chain($0, [Self.node($0, "correct-horse")]) } + [
            Write.chain("bad", [Self.node("udp", "wr0ng-password")])
          ]), options: "--record \(file)")
      try net.targets("client", as: "client", "127.0.0.1")
      for place in transports.indices {
        #expect(net.comesBack("client", "127.0.0.1:90\(place)0"), net.story)
        try net.expectDatagrams("client", "127.0.0.1:90\(place)0", sizes: [0, 100, 1200])
      }
      let listening = try #require(client.log.firstMatch(of: /peers reach us [^\n]* at=10\.99\.0\.2:(\d+)/), net.story)
      #expect(net.comesBack("server", "10.99.0.2:\(listening.1)"), net.story)
      #expect(!net.comesBack("client", "127.0.0.1:9100", within: 0.5))
      #expect(client.stop() == .exit(0), net.story)

      try Self.expectEqual(file, kind: "turn.client")
      try Self.expectNone(
        ["correct-horse", "wr0ng-password"], name: "ann", realm: "example.org", password: "correct-horse", in: file)
      try Self.expectFound(file, #"s/ right":"/ wrong":"/"#, at: "receive")
      try Self.expectFound(file, #"s/\("event":\["allocated","new","10.99.0.\)2/\18/"#, at: "event")
    }

    private static func node(_ transport: String, _ password: String) -> String {
      Write.node(
        "relay", "10.99.0.2:3478", "{type: turn, auth: {username: ann, password: \(password)}}",
        over: "{type: turn, metadata: {transport: \(transport)}}")
    }

    // MARK: Judgement

    private static func expectEqual(_ file: String, kind: String) throws {
      let report = try shell("\(Machine.culvert) replay \(file) 2>&1", within: 60).output
      #expect(report.hasSuffix(": all outcomes equal\n"), "\(report)")
      let lives = try shell(
        "grep -c '\"new\":\"\(kind)\"' \(file); grep -o '\"id\":[0-9]*,\"end\"' \(file) | sort -u | wc -l; "
          + "grep -o '\"id\":[0-9]*,\"new\"' \(file) | sort -u | wc -l"
      ).output.split(separator: "\n")
      // Each machine ended before the recording did.
      #expect(lives.count == 3 && lives[0] != "0" && lives[1] == lives[2], "\(lives)")
    }

    /// The first line that it fits is changed, and the replay says so.
    private static func expectFound(_ file: String, _ change: String, at call: String) throws {
      let outcome = try shell(
        "sed '0,/\(change.split(separator: "/")[1])/\(change)' \(file) >\(file).changed; "
          + "cmp -s \(file) \(file).changed && echo the same; "
          + "\(Machine.culvert) replay \(file).changed; echo exit $?", within: 60
      ).output
      #expect(
        outcome.contains("in `\(call)`") && outcome.hasSuffix("exit 1\n") && !outcome.contains("the same"),
        "\(change): \(outcome.prefix(2_000))")
    }

    /// Neither passwords, nor the key that is made of one, in any way that they may be written.
    private static func expectNone(
      _ secrets: [String], name: String, realm: String, password: String, in file: String
    ) throws {
      let list = secrets.map { "b'\($0)'" }.joined(separator: ", ")
      let script = """
        import base64, hashlib, sys
        text = open(sys.argv[1], "rb").read()
        assert len(text) > 1000
        whole = b"\(name):\(realm):\(password)"
        secrets = [\(list)] + [hashlib.md5(whole).digest(), hashlib.sha256(whole).digest()]
        for secret in secrets:
            forms = [secret, secret.hex().encode(), secret.hex().upper().encode()]
            for lead in range(3):
                forms.append(base64.b64encode(b"A" * lead + secret)[lead + 1:-4])
            for form in forms:
                if form in text:
                    print("found", secret, form)
        print("looked for", len(secrets))
        """
      let found = try shell("python3 - '\(file)' <<'END'\n\(script)\nEND\n", within: 60).output
      #expect(found == "looked for \(secrets.count + 2)\n", "\(found)")
    }
  }
}
