/// Proxies, judged by programs that we did not write: curl, netcat, OpenSSH with dropbear, Python's web server. What no
/// common program speaks (SOCKS5's UDP, GOST's additions) `Tools/proxy_clients.py` does, written from the documents.
import Glibc
import Testing

extension Tunnels {
  @Suite("Proxies", .enabled(if: Proxies.missing.isEmpty, Comment(rawValue: "needs \(Proxies.missing)")))
  struct ProxyTests {
    // MARK: curl

    /// Ways in which curl uses a proxy, with `PROXY` for its user, password, host and port.
    private static let ways = [
      "-x http://PROXY", "-p -x http://PROXY", "-x socks5://PROXY", "-x socks5h://PROXY",
    ]

    @Test("curl over HTTP, CONNECT, SOCKS5 with names and addresses, and SOCKS4, each at its own port and all at one")
    func curl() throws {
      try inProxies { net in
        var commands: [(String, String)] = []
        for (place, way) in Self.ways.enumerated() {
          for port in [1080, place < 2 ? 8080 : 1085] {
            let proxy = way.replacing("PROXY", with: "u:p@10.99.0.2:\(port)")
            commands.append((proxy, "http://10.99.0.3:8000/bytes/300000"))
            commands.append((proxy, "http://10.99.0.3:8000/chunked/300000"))
            commands.append((proxy, "https://10.99.0.3:8443/bytes/300000"))
            commands.append((proxy, "http://[fd00:1::3]:8000/bytes/300000"))
          }
        }
        for port in [1080, 1084] {
          commands.append(("-x socks4://only@10.99.0.2:\(port)", "http://10.99.0.3:8000/bytes/300000"))
          commands.append(("-x socks4a://only@10.99.0.2:\(port)", "http://far.test:8000/bytes/300000"))
        }
        commands.append(("-x http://u:p@10.99.0.2:8080", "http://far.test:8000/bytes/300000"))
        commands.append(("-x http://u:p@10.99.0.2:8080", "https://far.test:8443/bytes/300000"))
        commands.append(("-x socks5h://u:p@10.99.0.2:1085", "https://far.test:8443/bytes/300000"))
        commands.append(("-x http://u:p@10.99.0.2:8080", "http://10.99.0.3:8000/until-close"))
        commands.append(("-x http://u:p@[fd00:1::2]:8080", "http://10.99.0.3:8000/bytes/300000"))
        let straight = try net.run("far", "curl -sS http://10.99.0.3:8000/bytes/300000 | sha256sum").output
        let closed = try net.run("far", "curl -sS http://10.99.0.3:8000/until-close | sha256sum").output
        let script = commands.map { "curl -sS -k -m 10 --noproxy '' \($0) \($1) | sha256sum" }.joined(separator: "\n")
        let path = try net.file("script.sh", script)
        let lines = try net.run("client", "sh \(path) 2>&1", within: 60).output.split(separator: "\n").map { "\($0)\n" }
        try #require(lines.count == commands.count, "\(lines)\(net.story)")
        for (line, command) in zip(lines, commands) {
          let right = command.1.hasSuffix("close") ? closed : straight
          #expect(line == right, "\(command)\(net.story)")
        }
      }
    }

    @Test("Wrong passwords and none are refused by every protocol, at ports of their own and at the one of `auto`")
    func credentials() throws {
      try inProxies { net in
        var proxies: [String] = []
        for port in [1080, 8080, 1084, 1085] {
          for way in Self.ways + ["-x socks4://PROXY", "-x socks4a://PROXY"] {
            for user in ["", "u:x@", "U:p@", "u:@", "u@", "x:p@", ":p@", "u:pp@", "only:p@"] {
              // SOCKS4 has no password, and this user has none either: everybody may.
              if way.contains("socks4"), user == "only:p@" { continue }
              proxies.append(way.replacing("PROXY", with: "\(user)10.99.0.2:\(port)"))
            }
          }
        }
        let list = try net.file("proxies", proxies.map { $0 + "\n" }.joined())
        let outcome = try net.run(
          "client",
          "xargs -P 8 -I{} sh -c \"curl -s -m 5 -o /dev/null -w \\\"%{http_code} {}\\n\\\" {} http://10.99.0.3:8000/head\" "
            + "<\(list)", within: 60)
        let lines = outcome.output.split(separator: "\n")
        #expect(lines.count == proxies.count, "\(lines.count) of \(proxies.count): \(outcome.output.suffix(500))")
        for line in lines { #expect(!line.hasPrefix("200"), "\(line)") }
        let asked = try net.run(
          "client", "curl -sS -m 5 -o /dev/null -w %{http_code} -x http://10.99.0.2:1080 http://10.99.0.3:8000/head")
        #expect(asked.output == "407", "\(asked.output)")
        // TLS to `auto` is not passed on by its server name without a password, as GOST does.
        let secure = try net.run(
          "client", "curl -sS -k -m 5 --resolve far.test:1080:10.99.0.2 https://far.test:1080/head 2>&1")
        #expect(!secure.isGood, "\(secure.output)")
        let relay = try net.run(
          "client", "python3 \(Machine.tools)/proxy_clients.py ask relay 10.99.0.2:1080 - 10.99.0.3:8000")
        #expect(!relay.output.contains("yes"), "\(relay.output)")
        for command in ["udp", "udp-tunnel"] {
          let asked = try net.run(
            "client", "python3 \(Machine.tools)/proxy_clients.py ask \(command) 10.99.0.2:1080 - 10.99.0.3:7000")
          #expect(asked.output.contains("no method"), "\(asked.output)")
        }
      }
    }

    @Test("Several requests of one connection, uploads with a length and in chunks, and headers that are for us alone")
    func persistence() throws {
      try inProxies { net in
        let proxy = "-x http://u:p@10.99.0.2:8080"
        let urls = (1...5).map { "http://10.99.0.3:8000/bytes/\($0)0000" }.joined(separator: " ")
        let several = try net.run(
          "client", "curl -v -sS -m 10 \(proxy) \(urls) http://far.test:8000/head 2>&1 >/dev/null")
        #expect(several.isGood, "\(several.output)\(net.story)")
        #expect(several.output.ranges(of: "Re-using existing connection").count == 5, "\(several.output)")

        let head = try net.run("client", "curl -sS -m 10 \(proxy) http://10.99.0.3:8000/head").output
        #expect(head.hasPrefix("GET /head HTTP/1.1\n"), "\(head)")
        #expect(head.contains("Host: 10.99.0.3:8000"), "\(head)")
        #expect(!head.lowercased().contains("proxy-"), "\(head)")

        try net.set("client", "head -c 1500000 /dev/urandom >\(net.directory)/body")
        let digest = try net.run("client", "sha256sum <\(net.directory)/body").output.prefix(64)
        for way in ["--data-binary @", "-H 'Transfer-Encoding: chunked' --data-binary @", "-T "] {
          let uploaded = try net.run(
            "client", "curl -sS -m 10 \(proxy) \(way)\(net.directory)/body http://10.99.0.3:8000/digest")
          #expect(uploaded.output == digest, "\(way): \(uploaded.output)\(net.story)")
        }
        let gone = try net.run(
          "client", "curl -sS -m 10 -o /dev/null -w %{http_code} \(proxy) http://10.99.0.3:9/x")
        #expect(gone.output == "502" || gone.output == "503", "\(gone.output)")
        let tunnel = try net.run(
          "client", "curl -sS -m 10 -p -o /dev/null -w %{http_connect} \(proxy) http://10.99.0.3:9/x 2>/dev/null")
        #expect(tunnel.output == "502" || tunnel.output == "503", "\(tunnel.output)")
      }
    }

    // MARK: Others

    @Test("netcat through SOCKS4, SOCKS5 and CONNECT, and a server that speaks first")
    func netcat() throws {
      try inProxies { net in
        for (version, port) in [("4", 1081), ("5", 1081), ("connect", 1081)] {
          let program = try net.start("client", "nc -X \(version) -x 10.99.0.2:\(port) 10.99.0.3 7001", title: "nc")
          #expect(program.says("hello far 10.99.0.2", within: 5) != nil, "\(version): \(program.log)\(net.story)")
          program.kill()
        }
      }
    }

    @Test("OpenSSH to dropbear with each of netcat's protocols as ProxyCommand, a MiB both ways at once")
    func ssh() throws {
      try inProxies { net in
        let folder = net.directory
        let keys = try shell(
          "ssh-keygen -q -t ed25519 -N '' -f \(folder)/key && dropbearkey -t ed25519 -f \(folder)/hostkey && "
            + "head -c 1048576 /dev/urandom >\(folder)/body && sha256sum <\(folder)/body")
        try #require(keys.isGood, "\(keys.output)")
        let digest = try #require(keys.output.split(separator: "\n").last)
        let server = try net.start(
          "far",
          "unshare -m sh -c 'mount -t tmpfs -o mode=700 tmpfs /root && cd /root && mkdir -m 700 .ssh && "
            + "cp \(folder)/key.pub .ssh/authorized_keys && chmod 600 .ssh/authorized_keys && "
            + "exec dropbear -F -E -p 22 -r \(folder)/hostkey -P \(folder)/dropbear.pid'", title: "dropbear")
        try #require(server.says("Not backgrounding", within: 5) != nil, net.story)
        for version in ["4", "5", "connect"] {
          let outcome = try net.run(
            "client",
            "ssh -F none -i \(folder)/key -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o BatchMode=yes "
              + "-o LogLevel=ERROR -o 'ProxyCommand=nc -X \(version) -x 10.99.0.2:1081 %h %p' root@10.99.0.3 cat "
              + "<\(folder)/body | sha256sum", within: 20)
          #expect(outcome.output.split(separator: "\n").last == digest, "\(version): \(outcome.output)\(net.story)")
        }
      }
    }

    @Test("UDP through SOCKS5, by UDP and inside the connection, and BIND")
    func datagrams() throws {
      try inProxies { net in
        let tool = "python3 \(Machine.tools)/proxy_clients.py"
        for port in [1080, 1085] {
          for target in ["10.99.0.3:7000", "[fd00:1::3]:7000"] {
            let udp = try net.run("client", "\(tool) associate 10.99.0.2:\(port) u:p \(target) 1 100 1400 9000")
            #expect(udp.output == "all came back\n", "\(port) \(target): \(udp.output)\(net.story)")
            let tunnel = try net.run("client", "\(tool) tunnel 10.99.0.2:\(port) u:p \(target) 1 100 1400 60000")
            #expect(tunnel.output == "all came back\n", "\(port) \(target): \(tunnel.output)\(net.story)")
          }
        }
        let bind = try net.run("client", "\(tool) bind 10.99.0.2:1085 u:p")
        #expect(bind.output == "all came back\n", "\(bind.output)\(net.story)")
        let stray = try net.run("client", "\(tool) stray 10.99.0.2:1085 u:p 10.99.0.3:7000")
        #expect(stray.output == "the good one came back\n", "\(stray.output)\(net.story)")
      }
    }

    @Test("GOST's own clients through each of them", .enabled(if: Gost.program != nil, Gost.reason))
    func gost() throws {
      try inProxies { net in
        let nodes = [
          ("http", 8080, "http", "u, password: p"), ("socks5", 1085, "socks5", "u, password: p"),
          ("socks4", 1084, "socks4", "only"), ("auto-http", 1080, "http", "u, password: p"),
          ("auto-socks5", 1080, "socks5", "u, password: p"),
          ("notls", 1085, "{type: socks5, metadata: {notls: true}, auth: {username: u, password: p}}", ""),
        ]
        let services = nodes.enumerated().flatMap { place, node in
          (0...1).map { number in
            Write.service(
              "\(node.0)-\(number)", "127.0.0.1:\(9000 + 10 * place + number)", "{type: tcp, chain: \(node.0)}",
              to: "10.99.0.3:\(7000 + number)")
          }
        }
        let chains = nodes.map { name, port, type, user in
          let connector = user.isEmpty ? type : "{type: \(type), auth: {username: \(user)}}"
          return Write.chain(name, [Write.node("node", "10.99.0.2:\(port)", connector)])
        }
        try net.gost("client", Write.file(services, chains))
        try net.expectStreams(
          "client",
          nodes.enumerated().map { place, node in
            "\(node.0)=127.0.0.1:\(9000 + 10 * place),127.0.0.1:\(9001 + 10 * place)"
          })
      }
    }

    // MARK: Helpers

    /// A client, a proxy with everything (`far.test` is a name that only it knows), and a far host with servers.
    private func inProxies(_ body: (Net) throws -> Void) throws {
      let net = try Net(["client", "proxy", "far"])
      defer { net.close() }
      try net.targets("far", as: "far")
      let made = try shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=far.test "
          + "-keyout \(net.directory)/tls.key -out \(net.directory)/tls.pem")
      try #require(made.isGood, "\(made.output)")
      for words in [
        "10.99.0.3 8000", "fd00:1::3 8000", "10.99.0.3 8443 \(net.directory)/tls.pem \(net.directory)/tls.key",
      ] {
        let server = try net.start("far", "python3 \(Machine.tools)/web.py \(words)")
        try #require(server.says("ready", within: 10) != nil, net.story)
      }
      let known = "auther: known, metadata: {udp: true, bind: true}"
      let proxy = try net.culvert(
        "proxy",
        Write.file(
          [
            Write.service("auto", ":1080", "{type: auto, \(known)}"),
            Write.service("open", ":1081", "auto"),
            Write.service("http", ":8080", "{type: http, auther: known}"),
            Write.service("socks4", ":1084", "{type: socks4, auther: known}"),
            Write.service("socks5", ":1085", "{type: socks5, \(known)}"),
          ], [], "authers:\n- name: known\n  auths: [{username: u, password: p}, {username: only}]\n"),
        prefix: try net.hostsFile("127.0.0.1 localhost\n10.99.0.3 far.test\n"))
      try body(net)
      #expect(proxy.isAlive, net.story)
      #expect(proxy.stop() == .exit(0), net.story)
    }
  }
}

enum Proxies {
  /// Programs of other people that the tests of proxies take and this machine does not have.
  static let missing: [String] = ["curl", "nc", "ssh", "ssh-keygen", "dropbear", "dropbearkey", "openssl"].filter {
    !((try? shell("command -v \($0)").isGood) ?? false)
  }
}
