/// `culvert relay` as a program: files of coturn's that relay for coturn's own client, options, what is printed and how it
/// ends. What becomes of each line is tested with the configuration.
import Glibc
import Testing

extension Tunnels {
  @Suite("culvert relay")
  struct RelayCommandTests {
    private static let hasClient = (try? shell("command -v turnutils_uclient").isGood) == true

    /// An administrator's file; the host's own address is a private one here.
    private static let conf = """
      # relay of the office
      listening-port=3478
      realm=office.example
      lt-cred-mech
      user=alice:wonderland
      allowed-peer-ip=10.99.0.1
      min-port=50000
      max-port=50100
      no-cli
      simple-log
      """

    /// What coturn's client says: with time enough it sends between allocations of its own and counts what comes back.
    private func client(_ net: Net, _ options: String, within limit: Double) throws -> String {
      try net.run(
        "client", "timeout \(limit) turnutils_uclient -y -c -n 2 -m 1 -z 5 -l 120 \(options) 10.99.0.2",
        within: limit + 5
      ).output
    }

    /// Whether every message arrives.
    private func relays(_ net: Net, _ options: String) throws -> Bool {
      let output = try client(net, options, within: 15)
      return output.contains("tot_send_msgs=4, tot_recv_msgs=4\n") && output.contains("Total lost packets 0 (")
    }

    /// Whether the client gets as far as to send.
    private func allocates(_ net: Net, _ options: String) throws -> Bool {
      let output = try client(net, options, within: 1.5)
      return output.contains("start_mclient") && !output.contains("ERROR") && !output.contains("error 4")
    }

    /// Whether the client is told that it may not have this peer.
    private func isForbidden(_ net: Net, _ peer: String, _ user: String) throws -> Bool {
      let words = "timeout 1 turnutils_uclient -c -n 1 -m 1 -l 120 -e \(peer) \(user) 10.99.0.2"
      let output = try net.run("client", words, within: 6).output
      #expect(!output.contains("ERROR"), "\(output)")
      return output.contains("error 403")
    }

    private func start(_ net: Net, _ words: String) throws -> Program {
      let relay = try net.start(
        "server", "env -C \(net.directory) \(Machine.culvert) \(words) --socket \(net.directory)/relay.sock",
        title: "relay")
      try #require(relay.says("running", within: 10) != nil, net.story)
      return relay
    }

    @Test(
      "A turnserver.conf relays for coturn's client as it is, follows its changes, and as the file that is printed of it",
      .enabled(if: hasClient, "needs turnutils_uclient (Debian: coturn)"))
    func fromCoturn() throws {
      let net = try Net()
      defer { net.close() }
      let file = try net.file("turnserver.conf", Self.conf)
      let relay = try start(net, "relay --from-coturn \(file)")
      #expect(try relays(net, "-u alice -w wonderland"), net.story)
      #expect(try allocates(net, "-t -u alice -w wonderland"), net.story)
      #expect(try !isForbidden(net, "10.99.0.1", "-u alice -w wonderland"), net.story)
      #expect(try isForbidden(net, "10.99.0.9", "-u alice -w wonderland"), net.story)
      #expect(try !allocates(net, "-u bob -w builderbob"), net.story)

      // A user more, and one less.
      _ = try net.file(
        "turnserver.conf", Self.conf.split(separator: "alice:wonderland").joined(separator: "bob:builderbob"))
      relay.signal(SIGHUP)
      try #require(relay.says("reloaded", within: 10) != nil, net.story)
      #expect(try allocates(net, "-u bob -w builderbob"), net.story)
      #expect(try !allocates(net, "-u alice -w wonderland"), net.story)
      relay.signal(SIGINT)
      #expect(relay.wait(within: 5) == .exit(0), net.story)

      let printed = try net.run(
        "server", "cd \(net.directory) && \(Machine.culvert) relay --from-coturn \(file) --print >relay.yaml")
      #expect(printed.isGood && printed.output.contains("no-cli"), "\(printed.output)")
      let again = try start(net, "run -C relay.yaml")
      #expect(try allocates(net, "-u bob -w builderbob"), net.story)
      again.signal(SIGINT)
      #expect(again.wait(within: 5) == .exit(0), net.story)
    }

    @Test(
      "Options make a relay with UDP, TCP and TLS; private peers are refused until they are allowed",
      .enabled(if: hasClient, "needs turnutils_uclient (Debian: coturn)"))
    func options() throws {
      let net = try Net()
      defer { net.close() }
      let made = try net.run(
        "server",
        "cd \(net.directory) && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=relay "
          + "-days 2 -keyout key.pem -out cert.pem 2>&1 && printf 'mVbU1xkRm2vJ8w5Yp0Qd3T7h\\n' >secret && chmod 600 secret"
      )
      try #require(made.isGood, "\(made.output)")
      let common = "relay --realm office.example --secret-file secret --cert cert.pem --key key.pem --ports 50000-50100"
      // coturn's client makes the password of the secret itself.
      let user = "-W mVbU1xkRm2vJ8w5Yp0Qd3T7h -u carol"
      let closed = try start(net, common)
      #expect(try isForbidden(net, "10.99.0.1", user), net.story)
      closed.signal(SIGINT)
      #expect(closed.wait(within: 5) == .exit(0), net.story)
      let open = try start(net, "\(common) --allow 10.99.0.1")
      #expect(try !isForbidden(net, "10.99.0.1", user), net.story)
      #expect(try relays(net, user), net.story)
      #expect(try allocates(net, "-t \(user)"), net.story)
      #expect(try allocates(net, "-t -S -p 5349 \(user)"), net.story)
      open.signal(SIGINT)
      #expect(open.wait(within: 5) == .exit(0), net.story)
    }

    @Test("What cannot be is told with its place, and nothing starts")
    func mistakes() throws {
      func run(_ words: String) throws -> String {
        let outcome = try shell("\(Machine.culvert) relay \(words) </dev/null 2>&1; echo \"exit $?\"")
        return outcome.output
      }
      let open = try run("--realm office.example")
      #expect(open.contains("error[CV1201]") && open.contains("--secret-file") && open.hasSuffix("exit 1\n"), "\(open)")
      let ports = try run("--user alice:wonderland --ports 60000-50000")
      #expect(ports.contains("--> --ports:1:1") && ports.hasSuffix("exit 1\n"), "\(ports)")
      #expect(try run("--user alice:wonderland --check") == "no problems found\nexit 0\n")
      let weak = try run("--secret north-star --check --strict")
      #expect(weak.contains("CV1204") && !weak.contains("north-star"), "\(weak)")
      #expect(try run("--from-coturn x --realm a").hasSuffix("exit 64\n"))
      #expect(try run("--user a:bbbbbbbb --cert c.pem").hasSuffix("exit 64\n"))
      #expect(try run("--from-coturn /no/such/file --check").contains("CV0001"))
      let file = try shell("f=$(mktemp) && printf 'user=alice:wonderland\\nlistening-device=eth1\\n' >$f && echo $f")
        .output.trimmed
      defer { _ = try? shell("rm -f \(file)") }
      let refused = try run("--from-coturn \(file)")
      #expect(
        refused.contains("\(file):2:1") && refused.contains("listening-ip") && refused.hasSuffix("exit 1\n"),
        "\(refused)")
      #expect(try run("--from-coturn \(file) --print").hasSuffix("exit 1\n"))
      #expect(!refused.contains("wonderland"))
    }

    @Test("What is printed of options is the file that they mean")
    func printed() throws {
      let text = try shell("\(Machine.culvert) relay --user alice:wonderland --external 203.0.113.5 --print").output
      #expect(
        text.contains("name: relay-udp") && text.contains("name: relay-tcp") && text.contains("203.0.113.5"), "\(text)")
      let checked = try shell("\(Machine.culvert) relay --user alice:wonderland --print | \(Machine.culvert) check -")
      #expect(checked.output == "no problems found\n", "\(checked.output)")
    }

    @Test(
      "systemd takes the unit",
      .enabled(if: (try? shell("command -v systemd-analyze").isGood) == true, "needs systemd-analyze"))
    func unit() throws {
      let unit =
        "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/dist/culvert-relay.service"
      let outcome = try shell(
        "d=$(mktemp -d) && sed 's|/usr/local/bin/culvert|\(Machine.culvert)|' \(unit) >$d/culvert-relay.service && "
          + "systemd-analyze verify $d/culvert-relay.service; e=$?; rm -r $d; exit $e")
      #expect(outcome.isGood && outcome.output.isEmpty, "\(outcome.output)")
    }
  }
}
