/// Names that are good for a time, in every order that applications write them: our relay takes what coturn takes.
import Glibc
import Testing

extension Tunnels {
  @Suite("Time-limited credentials", .enabled(if: TurnTools.isThere && Turn.missing.isEmpty, TurnTools.reason))
  struct TurnCredentialTests {
    @Test("The time stands before the name or behind it, or alone, and what is over is over: here as at coturn's relay")
    func orders() throws {
      let net = try Net(["client", "relay", "other"])
      defer { net.close() }
      try net.relay()
      let coturn = try net.start(
        "other",
        "turnserver -n --use-auth-secret --static-auth-secret=north --realm=example.org -L 10.99.0.3 -E 10.99.0.3 "
          + "--no-tls --no-dtls --no-cli --allow-loopback-peers --log-file=stdout --pidfile=\(net.directory)/other.pid "
          + "--userdb=\(net.directory)/other.db", title: "coturn")
      try #require(coturn.says("IO method", within: 10) != nil, net.story)
      let now = Int(time(nil))
      let names = [
        ("\(now + 600):carol", true), ("carol:\(now + 600)", true), ("\(now + 600)", true), (":\(now + 600)", true),
        ("\(now - 600):carol", false), ("carol:\(now - 600)", false), ("carol", false),
      ]
      let programs = try names.flatMap { name, isGood in
        try ["10.99.0.2", "10.99.0.3"].map { server in
          let password = try shell("printf %s '\(name)' | openssl dgst -sha1 -hmac north -binary | base64").output
            .filter { !$0.isWhitespace }
          let program = try net.start(
            "client", "turnutils_uclient -y -n 1 -m 1 -u '\(name)' -w '\(password)' \(server)",
            title: "\(name) at \(server)")
          return (name: name, server: server, isGood: isGood, program: program)
        }
      }
      for one in programs where one.isGood {
        #expect(
          one.program.wait(within: 30) == .exit(0), "\(one.name) at \(one.server): \(one.program.log.suffix(600))")
      }
      // Who is refused asks on for as long as it is let.
      for one in programs where !one.isGood {
        let refused = eventually(within: 10) {
          one.program.log.contains("Cannot complete Allocation") || one.program.log.contains("error 401")
        }
        #expect(refused != nil, "\(one.name) at \(one.server): \(one.program.log.suffix(600))")
        one.program.signal(SIGKILL)
      }
    }
  }
}
