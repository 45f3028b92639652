/// GOST's command line as the program takes it: the short form, workers, the usual file, variables, and configurations
/// from other places than a file.
import Glibc
import Testing

extension Tunnels {
  @Suite("The command line")
  struct CommandLineTests {
    @Test("A tunnel runs from -L and -F alone, in Go's spellings of flags")
    func shortForm() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.start(
        "server",
        "\(Machine.culvert) -L='tun://:8421?net=10.90.57.30/24' --L relay+tcp://u:p@:8443 -DD "
          + "--socket \(net.directory)/server.sock")
      try #require(server.says("running", within: 10) != nil, net.story)
      let client = try net.start(
        "client",
        "\(Machine.culvert) run -L 'tun://:0/10.90.57.30:8421?net=10.90.57.2/24' --F=relay+tcp://u:p@10.99.0.2:8443 "
          + "--socket \(net.directory)/client.sock")
      try #require(client.says("running", within: 10) != nil, net.story)
      #expect(net.ping("client", "10.90.57.30") != nil, net.story)
    }

    @Test("Parts between lone `--` run in processes of their own, and end together")
    func workers() throws {
      let net = try Net(["one"])
      defer { net.close() }
      func start() throws -> (Program, [pid_t]) {
        let command = [1001, 1002].map { "-L relay+tcp://127.0.0.1:\($0) --socket \(net.directory)/\($0).sock" }
        let program = try net.start("one", "\(Machine.culvert) " + command.joined(separator: " -- "))
        let running = eventually(within: 10) { program.log.ranges(of: "running").count == 2 }
        try #require(running != nil, net.story)
        let children = try shell("cat /proc/\(program.pid)/task/*/children").output
        let workers = children.split(separator: " ").compactMap { pid_t($0.filter(\.isNumber)) }
        try #require(workers.count == 2, net.story)
        return (program, workers)
      }
      // One that nobody has waited for is a zombie, and has ended too.
      func areGone(_ workers: [pid_t]) -> Bool {
        workers.allSatisfy { worker in
          (try? shell("cut -d ' ' -f 3 /proc/\(worker)/stat 2>/dev/null").output).map { $0.isEmpty || $0 == "Z\n" }
            ?? false
        }
      }

      // Each knows its number.
      let (asked, first) = try start()
      for (number, worker) in first.enumerated() {
        #expect(try shell("tr '\\0' '\\n' < /proc/\(worker)/environ").output.contains("_GOST_ID=\(number)\n"))
      }
      asked.signal(SIGTERM)
      #expect(asked.wait(within: 5) == .exit(0), net.story)
      #expect(areGone(first))

      // One that fails takes the others with it.
      let (failed, second) = try start()
      kill(second[0], SIGKILL)
      #expect(failed.wait(within: 5) == .exit(137), net.story)
      #expect(areGone(second))

      // None outlives the one that started it.
      let (killed, third) = try start()
      killed.signal(SIGKILL)
      #expect(eventually(within: 5) { areGone(third) } != nil)

      // One that cannot start is a failure of all.
      let outcome = try net.run(
        "one",
        "\(Machine.culvert) -L relay+tcp://127.0.0.1:1001 --socket \(net.directory)/a.sock -- -L relya://:1002",
        within: 10)
      #expect(outcome.ending == .exit(1), "\(outcome.output)")
      #expect(outcome.output.contains("did you mean `relay`?"))
    }

    @Test("Without -C and -L the usual file runs, and without one there is help")
    func usualFile() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let home = "\(net.directory)/home"
      try #require(try shell("mkdir -p \(home)/.gost \(home)/here && ls /etc/gost; true").isGood)
      // A machine that has GOST's own file would run that.
      guard access("/etc/gost", F_OK) != 0 else { return }
      func run(_ arguments: String = "") throws -> Outcome {
        try net.run("one", "cd \(home)/here && HOME=\(home) \(Machine.culvert) \(arguments)", within: 10)
      }
      let help = try run()
      #expect(help.isGood && help.output.contains("USAGE: culvert"))
      let bare = try run("-D")
      #expect(bare.ending == .exit(64) && bare.output.contains("gost.yml"), "\(bare.output)")

      // The order of folders, and of names in a folder.
      for (place, name) in [
        ("here/gost.yml", "gost.yml"), ("here/gost.json", "gost.json"), (".gost/gost.yml", "\(home)/.gost/gost.yml"),
      ] {
        _ = try net.file("home/\(place)", #"{"services": [{"name": "\#(place)", "nonsense": 1}]}"#)
        let outcome = try run()
        #expect(outcome.ending == .exit(1), "\(outcome.output)")
        #expect(outcome.output.contains("--> \(name):1:"), "\(outcome.output)")
      }
    }

    @Test("GOST's variables: the level of the log, and those that are not there yet")
    func variables() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let program = try net.start(
        "one",
        "env GOST_LOGGER_LEVEL=error GOST_API=:1 \(Machine.culvert) -D -L relay+tcp://127.0.0.1:1001 "
          + "--socket \(net.directory)/a.sock")
      // The flag wins over the variable.
      #expect(program.says("GOST_API is set", within: 10) != nil, net.story)
      #expect(program.says("running", within: 10) != nil, net.story)
      let quiet = try net.start(
        "one",
        "env GOST_LOGGER_LEVEL=error \(Machine.culvert) -L relay+tcp://127.0.0.1:1002 --socket \(net.directory)/b.sock")
      #expect(eventually(within: 10) { access("\(net.directory)/b.sock", F_OK) == 0 } != nil, net.story)
      quiet.signal(SIGTERM)
      #expect(quiet.wait(within: 5) == .exit(0))
      #expect(!quiet.log.contains("running"), net.story)
    }

    @Test("What is not there yet is refused by name")
    func refused() throws {
      let refused = [
        ("-api :18080 -L http://:1", 3, "`-api`"), ("-L http://:1 -metrics=:1", 3, "`-metrics`"),
        ("-C a.yaml -R 30s", 3, "`-R`"), ("-C https://127.0.0.1/a.yaml", 3, "`https://` is not yet supported"),
        ("-L http://:1 -O toml", 64, "`toml` is no format"), ("-L", 64, "-L"),
        ("-L http://:1 -- -api :1", 3, "`-api`"),
      ]
      for (arguments, code, reason) in refused {
        let outcome = try shell("\(Machine.culvert) \(arguments)", within: 10)
        #expect(outcome.ending == .exit(Int32(code)), "\(arguments): \(outcome.output)")
        #expect(outcome.output.contains(reason), "\(arguments): \(outcome.output)")
      }
      #expect(try shell("\(Machine.culvert) -V").output.hasPrefix("culvert "))
    }

    @Test("-O prints what was meant as one file, with its secrets, and the file is good")
    func printed() throws {
      let arguments = "-L relay+tls://user:geheim@:8443 -L tcp://127.0.0.1:22/10.0.0.1:22 -F relay+tcp://h:1"
      for format in ["yaml", "json"] {
        let outcome = try shell("\(Machine.culvert) \(arguments) -O \(format) 2>/dev/null")
        #expect(outcome.isGood && outcome.output.contains("geheim"), "\(outcome.output)")
        let again = try shell("\(Machine.culvert) \(arguments) -O=\(format) | \(Machine.culvert) run -C - -O \(format)")
        #expect(again.output == outcome.output)
      }
      let checked = try shell("\(Machine.culvert) check \(arguments) -C '{\"log\":{\"level\":\"wran\"}}'")
      #expect(checked.ending == .exit(1) && checked.output.contains("--> -C #1:1:17"), "\(checked.output)")
      let wrong = try shell("\(Machine.culvert) -L relya://:1 -O yaml")
      #expect(wrong.ending == .exit(1) && wrong.output.contains("relay"))
    }

    @Test("A configuration comes over HTTP, by way of redirections, and is refused when it is cut off")
    func fetched() throws {
      let net = try Net(["one"])
      defer { net.close() }
      let server = try net.file("server.py", Self.server)
      let program = try net.start("one", "python3 \(server)")
      try #require(program.says("ready", within: 10) != nil, net.story)
      func fetch(_ path: String) throws -> Outcome {
        try net.run("one", "\(Machine.culvert) -C http://me:geheim@127.0.0.1:8000\(path) -O json", within: 10)
      }
      for path in ["/good.yaml", "/moved", "/good.yaml?x=1"] {
        let outcome = try fetch(path)
        #expect(outcome.isGood && outcome.output.contains("\"me:geheim\""), "\(path): \(outcome.output)")
      }
      for (path, reason) in [
        ("/none", "the server answers 404"), ("/cut", "of 1000 bytes"), ("/loop", "redirections"),
        ("/secure", "`https://` is not yet supported"), ("/nonsense", "not HTTP"),
      ] {
        let outcome = try fetch(path)
        #expect(!outcome.isGood && outcome.output.contains(reason), "\(path): \(outcome.output)")
        #expect(!outcome.output.contains("geheim"), "\(outcome.output)")
      }
      let nobody = try net.run("one", "\(Machine.culvert) -C http://127.0.0.1:9/a.yaml", within: 10)
      #expect(nobody.ending == .exit(2) && nobody.output.contains("Connection refused"), "\(nobody.output)")
    }

    /// Answers with the credentials that it was given as a service's name.
    private static let server = """
      import base64, http.server
      class Handler(http.server.BaseHTTPRequestHandler):
          def log_message(self, *words): pass
          def do_GET(self):
              path = self.path.split("?")[0]
              user = base64.b64decode(self.headers.get("Authorization", "Basic ").split()[1]).decode()
              body = ("services: [{name: '%s', addr: ':1'}]" % user).encode()
              moves = {"/loop": "/loop", "/secure": "https://127.0.0.1/"}
              moves["/moved"] = "http://me:geheim@127.0.0.1:8000/good.yaml"
              if path == "/nonsense":
                  self.wfile.write(b"hello\\n\\n")
                  return
              if path in moves:
                  self.send_response(302)
                  self.send_header("Location", moves[path])
                  self.send_header("Content-Length", "0")
                  self.end_headers()
                  return
              self.send_response(404 if path == "/none" else 200)
              self.send_header("Content-Length", "1000" if path == "/cut" else str(len(body)))
              self.end_headers()
              self.wfile.write(body)
      server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
      print("ready", flush=True)
      server.serve_forever()
      """
  }
}
