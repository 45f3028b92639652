/// A program that follows a new file while it runs: what did not change keeps its sockets, interfaces and connections,
/// what changed follows, and what is wrong changes nothing.
import Glibc
import Testing

extension Tunnels {
  @Suite("Reload")
  struct ReloadTests {
    // MARK: What stays

    @Test("A service that did not change keeps its socket and its connections while others come, change and go")
    func untouched() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one")
      let quiet = Write.service("quiet", "127.0.0.1:9000", "tcp", to: "10.99.0.1:7001")
      func other(_ port: Int, _ target: Int = 7001) -> String {
        Write.service("other", "127.0.0.1:\(port)", "tcp", to: "10.99.0.1:\(target)")
      }
      let culvert = try net.culvert("one", Write.file([quiet, other(9001)]))
      let user = try net.start("one", "python3 \(Machine.tools)/streams.py talk 127.0.0.1:9000", title: "user")
      try #require(user.says("answer 1", within: 10) != nil, net.story)
      let socket = try Self.listener(net, 9000)

      // Another port: the old one is closed, the new one open.
      let moved = try culvert.reload("# a comment is no change\n" + Write.file([other(9002), quiet]))
      #expect(moved.isGood, "\(moved.output)")
      #expect(moved.output.contains("reloaded: 1 restarted, 1 untouched\n"), "\(moved.output)")
      #expect(try Self.listener(net, 9001) == "")
      #expect(try net.greetings("one", "127.0.0.1:9002").first?.name == "target")
      // One more, and one less.
      let more = Write.service("more", "127.0.0.1:9003", "tcp", to: "10.99.0.1:7001")
      #expect(try culvert.reload(Write.file([quiet, more])).output.contains("1 started, 1 ended, 1 untouched"))
      #expect(try net.greetings("one", "127.0.0.1:9003").first?.name == "target")
      #expect(try Self.listener(net, 9002) == "")

      #expect(try Self.listener(net, 9000) == socket, "the socket is another one")
      let said = user.log.ranges(of: "answer").count
      #expect(eventually(within: 5) { user.log.ranges(of: "answer").count > said + 5 } != nil, net.story)
      #expect(!user.log.contains("ended"), net.story)
      #expect(try culvert.reload(Write.file([quiet, more])).output.contains("nothing changed"))
      #expect(culvert.stop() == .exit(0), net.story)
    }

    @Test("A changed target holds for new connections, and those that stand go on; SIGHUP does what the command does")
    func followed() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one", as: "old")
      try net.targets("one", port: 7100, as: "new")
      func file(_ target: Int) -> String {
        Write.file([Write.service("forward", "127.0.0.1:9000", "tcp", to: "10.99.0.1:\(target)")])
      }
      let culvert = try net.culvert("one", file(7001))
      let user = try net.start("one", "python3 \(Machine.tools)/streams.py talk 127.0.0.1:9000", title: "user")
      try #require(user.says("answer 1", within: 10) != nil, net.story)
      let socket = try Self.listener(net, 9000)
      let trial = try culvert.reload(file(7101), "--dry-run")
      #expect(trial.output.contains("would reload: 1 changed"), "\(trial.output)")
      #expect(try net.greetings("one", "127.0.0.1:9000").first?.name == "old", "a trial changes nothing")
      culvert.program.signal(SIGHUP)
      try #require(culvert.says("reloaded changed=1", within: 10) != nil, net.story)
      #expect(try net.greetings("one", "127.0.0.1:9000").first?.name == "new")
      #expect(try Self.listener(net, 9000) == socket)
      let said = user.log.ranges(of: "answer").count
      #expect(eventually(within: 5) { user.log.ranges(of: "answer").count > said + 5 } != nil, net.story)
      #expect(try culvert.path().contains("connections from before a reload: 1"))
      user.kill()
      let gone = eventually(within: 10, every: 0.2) { (try? culvert.path().contains("from before")) == false }
      #expect(gone != nil, "what nobody uses any more is given up")
    }

    @Test("Datagrams go to the new target at once, through the same socket")
    func datagrams() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one", port: 7000, as: "old")
      func file(_ target: Int) -> String {
        Write.file([Write.service("forward", "127.0.0.1:9000", "udp", on: "udp", to: "10.99.0.1:\(target)")])
      }
      let culvert = try net.culvert("one", file(7200))
      #expect(!net.comesBack("one", "127.0.0.1:9000", within: 1))
      #expect(try culvert.reload(file(7000)).isGood)
      #expect(net.comesBack("one", "127.0.0.1:9000"), net.story)
      #expect(culvert.count("listening udp") == 1, net.story)
    }

    // MARK: TLS

    @Test("A renewed certificate is shown to new connections, and old ones stay", arguments: ["tls", "wss", "quic"])
    func certificate(_ transport: String) throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      func renew(_ name: String) throws {
        let made = try shell(
          "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=\(name) "
            + "-keyout \(net.directory)/key.pem -out \(net.directory)/cert.pem 2>&1")
        try #require(made.isGood, "\(made.output)")
        _ = try shell("chmod 600 \(net.directory)/key.pem")
      }
      try renew("first.test")
      let listener =
        "{type: \(transport), tls: {certFile: \(net.directory)/cert.pem, keyFile: \(net.directory)/key.pem}}"
      let configuration = Write.file([Write.service("relay", ":8443", "relay", on: listener)])
      let server = try net.culvert("server", configuration)
      try net.culvert(
        "client",
        Write.file(
          [Write.service("forward", "127.0.0.1:9000", "{type: tcp, chain: way}", to: "10.99.0.2:7001")],
          [Write.chain("way", [Write.node("node", "10.99.0.2:8443", over: transport)])]))
      let user = try net.start("client", "python3 \(Machine.tools)/streams.py talk 127.0.0.1:9000", title: "user")
      try #require(user.says("answer 1", within: 10) != nil, net.story)
      func shown() throws -> String {
        try net.run(
          "client", "openssl s_client -connect 10.99.0.2:8443 </dev/null 2>/dev/null | openssl x509 -noout -subject"
        ).output
      }
      if transport != "quic" { #expect(try shown().contains("first.test")) }
      try renew("second.test")
      let outcome = try server.reload(configuration)
      #expect(outcome.output.contains("changed in place (its listener)"), "\(outcome.output)")
      if transport != "quic" { #expect(try shown().contains("second.test")) }
      let said = user.log.ranges(of: "answer").count
      #expect(eventually(within: 5) { user.log.ranges(of: "answer").count > said + 5 } != nil, net.story)
      #expect(try net.greetings("client", "127.0.0.1:9000").first?.name == "target", net.story)

      // A key that does not belong to it is found before anything changes.
      _ = try shell("openssl genpkey -algorithm ed25519 -out \(net.directory)/key.pem")
      let refused = try server.reload(configuration)
      #expect(refused.ending == .exit(1), "\(refused.output)")
      #expect(refused.output.contains("nothing was changed"), "\(refused.output)")
      #expect(try net.greetings("client", "127.0.0.1:9000").first?.name == "target", net.story)
    }

    // MARK: Users

    @Test("A user who is taken out is cut off, and one who comes in disturbs nobody")
    func users() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one")
      func server(_ users: [String]) -> String {
        let list = users.map { "{username: \($0), password: \($0)-password}" }.joined(separator: ", ")
        return Write.file([Write.service("relay", "127.0.0.1:8443", "{type: relay, auther: users}")], [])
          + "authers: [{name: users, auths: [\(list)]}]\n"
      }
      func client(_ user: String, _ port: Int) -> String {
        Write.file(
          [Write.service("forward", "127.0.0.1:\(port)", "{type: tcp, chain: way}", to: "10.99.0.1:7001")],
          [
            Write.chain(
              "way",
              [
                Write.node(
                  "node", "127.0.0.1:8443",
                  "{type: relay, auth: {username: \(user), password: \(user)-password}}")
              ])
          ])
      }
      let relay = try net.culvert("one", server(["anna", "berta"]), as: "relay")
      try net.culvert("one", client("anna", 9000), as: "anna")
      try net.culvert("one", client("berta", 9001), as: "berta")
      let anna = try net.start("one", "python3 \(Machine.tools)/streams.py talk 127.0.0.1:9000", title: "anna")
      try #require(anna.says("answer 1", within: 10) != nil, net.story)
      let more = try relay.reload(server(["anna", "berta", "clara"]))
      #expect(more.output.contains("1 connection from before goes on"), "\(more.output)")
      let said = anna.log.ranges(of: "answer").count
      #expect(eventually(within: 5) { anna.log.ranges(of: "answer").count > said + 5 } != nil, net.story)

      let less = try relay.reload(server(["berta", "clara"]))
      #expect(less.isGood, "\(less.output)")
      #expect(anna.says("ended", within: 5) != nil, net.story)
      #expect(try net.greetings("one", "127.0.0.1:9000").first?.name != "target")
      #expect(try net.greetings("one", "127.0.0.1:9001").first?.name == "target", net.story)
    }

    // MARK: What is wrong

    @Test("A file with a mistake changes nothing and is told with its place; so is one that cannot start")
    func refused() throws {
      let net = try Net(["one"])
      defer { net.close() }
      try net.targets("one")
      let forward = Write.service("forward", "127.0.0.1:9000", "tcp", to: "10.99.0.1:7001")
      let second = Write.service("second", "127.0.0.1:9001", "tcp", to: "10.99.0.1:7001")
      let culvert = try net.culvert("one", Write.file([forward, second]))
      let user = try net.start("one", "python3 \(Machine.tools)/streams.py talk 127.0.0.1:9000", title: "user")
      try #require(user.says("answer 1", within: 10) != nil, net.story)

      let mistake = try culvert.reload(
        Write.file([forward.replacing("listener", with: "listner"), second.replacing("9001", with: "9002")]))
      #expect(mistake.ending == .exit(1), "\(mistake.output)")
      #expect(mistake.output.contains("one.yaml:5:3"), "\(mistake.output)")
      #expect(mistake.output.contains("nothing changed"), "\(mistake.output)")
      let later = try culvert.reload(Write.file([forward, Write.service("dns", ":5353", "dns", on: "dns")]))
      #expect(later.ending == .exit(3), "\(later.output)")
      let unreadable = try culvert.reload("services: [\n")
      #expect(unreadable.ending == .exit(2), "\(unreadable.output)")

      // Port 7001 is another program's, which the look at the host finds.
      let taken = try culvert.reload(
        Write.file([forward, Write.service("fourth", "10.99.0.1:7001", "tcp", to: "10.99.0.1:7000")]))
      #expect(taken.ending == .exit(1), "\(taken.output)")
      #expect(taken.output.contains("10.99.0.1:7001") && taken.output.contains("nothing changed"), "\(taken.output)")

      // A key of another certificate is found when the service starts. The second service, which had to go for the
      // third, is there again as it was.
      let made = try shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=a "
          + "-keyout /dev/null -out \(net.directory)/cert.pem 2>&1; umask 077; "
          + "openssl genpkey -algorithm ed25519 -out \(net.directory)/key.pem")
      try #require(made.isGood, "\(made.output)")
      let listener = "{type: tls, tls: {certFile: \(net.directory)/cert.pem, keyFile: \(net.directory)/key.pem}}"
      let unfit = try culvert.reload(
        Write.file([
          forward, second.replacing("9001", with: "9002"),
          Write.service("third", "127.0.0.1:9001", "tcp", to: "10.99.0.1:7001"),
          Write.service("fourth", "127.0.0.1:9004", "tcp", on: listener, to: "10.99.0.1:7000"),
        ]))
      #expect(unfit.ending == .exit(1), "\(unfit.output)")
      #expect(unfit.output.contains("fourth") && unfit.output.contains("nothing was changed"), "\(unfit.output)")
      #expect(try net.greetings("one", "127.0.0.1:9000").first?.name == "target")
      #expect(try net.greetings("one", "127.0.0.1:9001").first?.name == "target")
      #expect(try Self.listener(net, 9002) == "")
      #expect(!user.log.contains("ended"), net.story)

      // Two that change places do, since neither can wait for the other.
      let exchanged = try culvert.reload(
        Write.file([forward.replacing("9000", with: "9001"), second.replacing("9001", with: "9000")]))
      #expect(exchanged.output.contains("reloaded: 2 restarted"), "\(exchanged.output)")
      for port in [9000, 9001] {
        #expect(try net.greetings("one", "127.0.0.1:\(port)").first?.name == "target", net.story)
      }
      #expect(culvert.isAlive)
    }

    @Test("A configuration from standard input cannot be read again, and is told so")
    func standardInput() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let path = try net.file("input.yaml", Write.file([Write.service("forward", "127.0.0.1:9000", "http")]))
      let socket = "\(net.directory)/one.sock"
      let program = try net.start("one", "\(Machine.culvert) run -C - --socket \(socket) < \(path)")
      try #require(program.says("running", within: 10) != nil, net.story)
      let outcome = try net.run("one", "\(Machine.culvert) reload --socket \(socket)")
      #expect(outcome.ending == .exit(1))
      #expect(outcome.output.contains("standard input, which cannot be read again"), "\(outcome.output)")
    }

    // MARK: Tunnels

    @Test("A tunnel's client follows to another node and its server takes a user, and no interface goes away")
    func tunnel() throws {
      let net = try Net(["client", "server", "second"])
      defer { net.close() }
      func server(_ users: [String]) -> String {
        let list = users.map { "{username: \($0), password: passphrase-long}" }.joined(separator: ", ")
        return Configurations.server(handler: "auther: users", relays: [.tcp])
          + "authers: [{name: users, auths: [\(list)]}]\n"
      }
      func client(_ node: String) -> String {
        Configurations.client(
          over: .tcp, handler: "metadata: {passphrase: passphrase-long, keepAlive: true, ttl: 2s}",
          listener: "name: tunc", node: node)
      }
      let first = try net.culvert("server", server(["10.90.57.1", "\"fd90:57::1\""]))
      try net.culvert("second", server(["10.90.57.1", "\"fd90:57::1\""]))
      let culvert = try net.culvert("client", client("10.99.0.2:8443"))
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      func index(_ host: String) throws -> String {
        try net.run(host, "ip -o link show | grep -o '^[0-9]*: tun[^:]*'").output
      }
      let (own, far) = (try index("client"), try index("server"))
      try #require(own.contains("tunc"), "\(own)")

      // A user more at the server: its client stays as it is.
      let joined = first.count("client joined")
      let more = try first.reload(server(["10.90.57.1", "\"fd90:57::1\"", "10.90.57.9"]))
      #expect(more.output.contains("the interface and its clients stay"), "\(more.output)")
      #expect(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(first.count("client joined") == joined)
      #expect(try index("server") == far)

      // Another node for the client.
      let moved = try culvert.reload(client("10.99.0.3:8443"))
      #expect(moved.output.contains("the interface stays"), "\(moved.output)")
      #expect(net.ping("client", Configurations.inner4) != nil, net.story)
      #expect(try index("client") == own)
      #expect(try culvert.path().contains("10.99.0.3:8443"), net.story)

      // And away with the user: nothing of him passes any more.
      #expect(try culvert.reload(client("10.99.0.2:8443")).isGood)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      let less = try first.reload(server(["10.90.57.9"]))
      #expect(less.isGood, "\(less.output)")
      #expect(first.says("the auther has no user 10.90.57.1", within: 10) != nil, net.story)
      #expect(net.ping("client", Configurations.inner4, within: 2) == nil, net.story)

      // A tunnel that leaves takes its interface along.
      let quiet = Write.file([Write.service("quiet", "127.0.0.1:9000", "http")])
      #expect(try culvert.reload(quiet).output.contains("1 started, 1 ended"))
      #expect(try !index("client").contains("tunc"))
    }

    @Test("A port at another host stays open while what is behind it changes")
    func remotePort() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("client", as: "old")
      try net.targets("client", port: 7100, as: "new")
      try net.culvert(
        "server", Write.file([Write.service("relay", ":8443", "{type: relay, metadata: {bind: true}}")]))
      func client(_ target: Int) -> String {
        Write.file(
          [Write.service("port", ":9000", "rtcp", on: "{type: rtcp, chain: way}", to: "10.99.0.1:\(target)")],
          [Write.chain("way", [Write.node("node", "10.99.0.2:8443")])])
      }
      let culvert = try net.culvert("client", client(7001))
      func answers(_ name: String) -> Bool {
        eventually(within: 10, every: 0.1) {
          (try? net.greetings("server", "10.99.0.2:9000").first?.name) == name
        } != nil
      }
      try #require(answers("old"), net.story)
      #expect(try culvert.reload(client(7101)).isGood)
      #expect(answers("new"), net.story)
      #expect(culvert.count("the port is open at the other end") == 1, net.story)
    }

    // MARK: The log

    @Test("A log that was moved away is left, and a new one begun; its level follows the file")
    func log() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let place = "\(net.directory)/culvert.log"
      func file(_ level: String) -> String {
        Write.file([Write.service("forward", "127.0.0.1:9000", "http")]) + "log: {output: \(place), level: \(level)}\n"
      }
      let path = try net.file("logged.yaml", file("info"))
      let socket = "\(net.directory)/one.sock"
      let program = try net.start("one", "\(Machine.culvert) run -C \(path) --socket \(socket)")
      func has(_ file: String, _ text: String) -> Bool {
        eventually(within: 10) { (try? shell("grep -q '\(text)' \(file)").isGood) == true } != nil
      }
      try #require(has(place, "running"), net.story)
      _ = try shell("mv \(place) \(place).1")
      program.signal(SIGHUP)
      #expect(has(place, "reloaded"), net.story)
      _ = try net.file("logged.yaml", file("error"))
      #expect(try net.run("one", "\(Machine.culvert) reload --socket \(socket)").isGood)
      let lines = try shell("wc -l < \(place)").output
      #expect(try net.run("one", "\(Machine.culvert) reload --socket \(socket)").isGood)
      #expect(try shell("wc -l < \(place)").output == lines, "nothing but errors is logged any more")
      program.signal(SIGTERM)
      #expect(program.wait(within: 5) == .exit(0))
    }

    /// The inode of what listens on a TCP port; empty where nothing does.
    private static func listener(_ net: Net, _ port: Int) throws -> String {
      let found = try net.run("one", "ss -Hlnte sport = :\(port)").output
      return found.firstRange(of: "ino:").map { String(found[$0.upperBound...].prefix { $0.isNumber }) } ?? ""
    }
  }
}
