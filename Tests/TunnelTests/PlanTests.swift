/// `culvert plan` on hosts that are made for it: it finds each obstacle, its plan is what the running program does, and
/// it leaves no trace.
import Glibc
import Testing

extension Tunnels {
  @Suite("culvert plan")
  struct PlanTests {
    /// What a plan finds, as `CODE severity`, and how it ended.
    private func findings(
      _ net: Net, _ host: String, _ configuration: String, options: String = "--no-resolve", prefix: String = ""
    ) throws -> (found: Set<String>, exit: Ending?, text: String) {
      let path = try net.file("plan.yaml", configuration)
      let outcome = try net.run(host, "\(prefix) \(Machine.culvert) plan \(path) \(options)")
      let heads = outcome.output.matches(of: /(?m)^(error|warning)\[(CV10\d\d)\]/)
      return (Set(heads.map { "\($0.2) \($0.1)" }), outcome.ending, outcome.output)
    }

    private func expect(
      _ wanted: Set<String>, exit: Int32, _ net: Net, _ configuration: String, prefix: String = "",
      location: SourceLocation = #_sourceLocation
    ) throws {
      let plan = try findings(net, "host", configuration, prefix: prefix)
      #expect(plan.found == wanted && plan.exit == .exit(exit), "\(plan.text)", sourceLocation: location)
    }

    @Test("Each obstacle of a host is found, at its place, and run refuses for the same reason")
    func obstacles() throws {
      let net = try Net(["host"])
      defer { net.close() }
      let relay = Configurations.relay(.tls)
      try expect([], exit: 0, net, relay)
      let holder = try net.start(
        "host",
        "python3 -c \"import socket,time; s=socket.create_server((str(), 8443)); print(1, flush=True); time.sleep(90)\""
      )
      try #require(holder.says("1", within: 5) != nil)
      let taken = try findings(net, "host", relay)
      #expect(taken.found == ["CV1001 error"] && taken.exit == .exit(1), "\(taken.text)")
      #expect(taken.text.contains("plan.yaml:3:9") && taken.text.contains("in use by `python3`"), "\(taken.text)")
      // The rest of the plan is there all the same.
      #expect(taken.text.contains("relay: relay over tls"), "\(taken.text)")
      let refused = try net.refused("host", relay)
      #expect(refused.ending == .exit(1) && refused.output.contains("error[CV1001]"), "\(refused.output)")
      holder.kill()

      try expect(["CV1003 error"], exit: 1, net, Configurations.server(listener: "name: eth0"))
      try expect(["CV1002 error"], exit: 1, net, Configurations.relay(.tls, addr: "198.51.100.1:8443"))
      try expect(["CV1011 warning"], exit: 0, net, Configurations.server(net: "10.99.0.77/24"))
      try expect(
        ["CV1007 warning"], exit: 0, net, Configurations.client(over: .tls, node: "198.51.100.1:443"))
      try expect(
        ["CV1007 warning"], exit: 0, net, Configurations.client(over: .icmp6, node: "[2001:db8::1]:0"))
      try expect(
        ["CV1012 warning"], exit: 0, net,
        Configurations.client(over: .tls, extra: "metadata: {so_mark: 9}"))
      try expect(
        ["CV1014 warning"], exit: 0, net,
        Configurations.client(over: .tls, extra: "metadata: {interface: wlan0}"))
      let certificate = relay.replacing(
        "{type: tls}", with: "{type: tls, tls: {certFile: /none.pem, keyFile: /none.pem}}")
      try expect(["CV1015 error"], exit: 1, net, certificate)
      try expect(
        ["CV1009 warning"], exit: 0, net,
        Configurations.server(listener: "routes: [\"10.8.0.0/16 10.90.57.2\"]"))
      try net.set("host", "sysctl -qw net.ipv4.ip_forward=1")
      try expect([], exit: 0, net, Configurations.server(listener: "routes: [\"10.8.0.0/16 10.90.57.2\"]"))
      try net.set("host", "ip link set eth0 mtu 1400")
      try expect(["CV1016 warning"], exit: 0, net, Configurations.client(over: .udp))

      try net.set("host", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
      try expect(["CV1005 error"], exit: 1, net, Configurations.server())
      try expect(["CV1005 warning"], exit: 0, net, Configurations.relay(.icmp6))
      try expect(["CV1005 error"], exit: 1, net, Configurations.client(over: .icmp6, net: "10.90.57.1/24"))
    }

    @Test("Missing rights are found, each by what it is for")
    func rights() throws {
      let net = try Net(["host"])
      defer { net.close() }
      let without = { (capability: String) in "setpriv --bounding-set -\(capability) --inh-caps -\(capability)" }
      try expect(["CV1004 error"], exit: 1, net, Configurations.server(), prefix: without("net_admin"))
      try expect(["CV1004 error"], exit: 1, net, Configurations.client(over: .icmp), prefix: without("net_raw"))
      try expect(
        ["CV1004 error"], exit: 1, net, Configurations.relay(.tcp, addr: ":80"), prefix: without("net_bind_service"))
      try expect(["CV1004 warning"], exit: 0, net, Configurations.relay(.icmp), prefix: without("net_admin"))
      let hidden = "unshare -m sh -c 'mount -t tmpfs none /dev/net && exec \"$@\"' -"
      try expect(["CV1006 error"], exit: 1, net, Configurations.server(), prefix: hidden)
      let few = "prlimit --nofile=64"
      let range = Write.file((1...80).map { Write.service("s\($0)", ":\(20_000 + $0)", "tcp", to: "10.99.0.9:1") })
      try expect(["CV1013 error"], exit: 1, net, range, prefix: few)
      try expect([], exit: 0, net, range)
    }

    @Test("Strict reverse-path filtering is found where the kernel would drop the answers, and the kernel does")
    func reversePath() throws {
      let net = try Net()
      defer { net.close() }
      // Two ways to the server: the socket leaves by the one that packets to it would not take.
      try net.set(
        "client",
        "ip link add other type veth peer name far && ip link set other up && ip link set far up "
          + "&& ip route add 10.99.0.2/32 dev other && sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1"
      )
      let file = Configurations.client(over: .tcp, extra: "metadata: {interface: eth0}")
      let strict = try findings(net, "client", file)
      #expect(strict.found == ["CV1010 warning"], "\(strict.text)")
      try net.culvert("server", Configurations.server(relays: [.tcp]))
      let connect =
        "timeout 5 python3 -c \"import socket; s=socket.socket(); s.settimeout(1.5); "
        + "s.setsockopt(1, 25, b\\\"eth0\\\"); s.connect((\\\"10.99.0.2\\\", 8443)); print(\\\"connected\\\")\""
      #expect(try !net.run("client", connect).output.contains("connected"))
      try net.set("client", "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=2")
      let loose = try findings(net, "client", file)
      #expect(loose.found == [], "\(loose.text)")
      #expect(try net.run("client", connect).output.contains("connected"))
    }

    @Test("A name is asked for unless that is refused, and who resolves it is said")
    func names() throws {
      let net = try Net(["host"])
      defer { net.close() }
      let hosts = try net.hostsFile("10.99.0.2 relay.example\n10.99.0.3 v4.example\n")
      let good = Configurations.client(over: .tls, node: "relay.example:8443")
      let plan = try findings(net, "host", good, options: "", prefix: hosts)
      #expect(
        plan.found == [] && plan.text.contains("relay.example  10.99.0.2  by this host, at each dial"), "\(plan.text)")
      let bad = try findings(
        net, "host", Configurations.client(over: .tls, node: "gone.example:1"), options: "", prefix: hosts)
      #expect(bad.found == ["CV1008 warning"] && bad.exit == .exit(0), "\(bad.text)")
      let silent = try findings(net, "host", Configurations.client(over: .tls, node: "gone.example:1"), prefix: hosts)
      #expect(silent.found == [] && silent.text.contains("gone.example  by this host"), "\(silent.text)")
      // Of the other family, which is an error of the file with this host's resolver.
      let family = try findings(
        net, "host", Configurations.client(over: .icmp6, node: "v4.example:0"), options: "", prefix: hosts)
      #expect(family.text.contains("error[CV0404]") && family.exit == .exit(1), "\(family.text)")
    }

    @Test("A plan is what the program then does", arguments: Carrier.allCases)
    func proven(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      // A default route makes the tunnel's own go in halves, and the node inside it gets an exception.
      try net.set("client", "ip route add default via 10.99.0.2; ip route add default via fd00:1::2 metric 1")
      let server = Configurations.server(
        listener: "name: tun7, mtu: 1380, routes: [\"192.168.50.0/24 10.90.57.1\"]",
        relays: [.tcp, .tls, .quic, .icmp, .icmp6].filter { $0 == carrier || $0 == .tcp })
      let client = Configurations.client(over: carrier, listener: "route: \"0.0.0.0/0,::/0,192.168.60.0/24\"")
      for (host, file) in [("server", server), ("client", client)] {
        let path = try net.file("\(host)-planned.yaml", file)
        let plan = try net.run(host, "\(Machine.culvert) plan \(path) --json > \(net.directory)/\(host).json")
        let text = try shell("cat \(net.directory)/\(host).json").output
        #expect(plan.ending == .exit(0), "\(text)")
        try net.culvert(host, file)
      }
      // TLS on 8443 or 8444: the client of these tests has the node of the first.
      if carrier != .tls { try #require(net.ping("client", Configurations.inner4) != nil, net.story) }
      for host in ["server", "client"] where host == "server" || carrier != .tls {
        let running = try #require(net.programs.first { $0.title == host })
        var told = ""
        _ = eventually(within: 10, every: 0.2) {
          told =
            (try? net.run(host, "python3 \(Machine.tools)/plan.py \(net.directory)/\(host).json \(running.pid)").output)
            ?? ""
          return told == "true\n"
        }
        #expect(told == "true\n", "\(host): \(told)\n\(net.story)")
      }
    }

    @Test(
      "The largest packet that crosses whole is the running program's, on links of several MTUs",
      arguments: [Carrier.quic, .icmp, .icmp6], [1500, 1400])
    func sizes(_ carrier: Carrier, _ link: Int) throws {
      let net = try Net()
      defer { net.close() }
      for host in ["client", "server"] { try net.set(host, "ip link set eth0 mtu \(link)") }
      let path = try net.file("planned.yaml", carrier.client)
      let plan = try net.run("client", "\(Machine.culvert) plan \(path) --json").output
      let planned = try #require(plan.firstMatch(of: /"largest":(\d+)/)?.1, "\(plan)")
      try net.culvert("server", carrier.server)
      let client = try net.culvert("client", carrier.client)
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      // The path is probed once the connection stands.
      var found = ""
      _ = eventually(within: 20, every: 0.2) {
        found = (try? client.path("tun-client"))?.firstMatch(of: /whole up to: (\d+)/).map { String($0.1) } ?? ""
        return found == planned
      }
      let shown = try client.path("tun-client")
      #expect(found == planned, "\(shown)\(net.story)")
    }

    @Test("A plan changes nothing on the host, and sends nothing but questions to the resolver")
    func traceless() throws {
      let net = try Net(["host"])
      defer { net.close() }
      let relay = Write.service("relay", "", "relay", on: "icmp")
      let client = Configurations.client(
        over: .icmp6, listener: "name: tun9, route: \"::/0\"", node: "gone.example:0")
      let path = try net.file("plan.yaml", client.replacing("services:\n", with: "services:\n" + relay))
      let before = try net.state("host") + shell("ls -la /run/culvert /var/lib/culvert; lsmod | cut -d' ' -f1").output
      let plan = try net.run("host", "\(Machine.culvert) plan \(path)")
      #expect(plan.output.contains("tun9"), "\(plan.output)")
      let after = try net.state("host") + shell("ls -la /run/culvert /var/lib/culvert; lsmod | cut -d' ' -f1").output
      #expect(before == after, "\(before)\n\(after)")
      guard try shell("command -v strace").isGood else { return }
      let calls = try net.run(
        "host",
        "strace -f -qq -e trace=bind,connect,sendto,sendmsg,sendmmsg,openat,ioctl,setsockopt,unlink,mkdir,rename "
          + "-o \(net.directory)/trace \(Machine.culvert) plan \(path) >/dev/null; cat \(net.directory)/trace")
      let odd = calls.output.split(separator: "\n").filter { line in
        if line.contains("bind(") { return !line.contains("AF_NETLINK") }
        if line.contains("connect(") || line.contains("sendto(") || line.contains("sendm") {
          let isDNS = line.contains("htons(53)") || line.contains("AF_UNIX") || line.contains("AF_NETLINK")
          // A question to the resolver on a connected socket names no address.
          return !isDNS && !line.contains("gone") && !line.contains("sin_port=htons(0)") && line.contains("AF_INET")
        }
        if line.contains("openat(") {
          return line.contains("O_WRONLY") || line.contains("O_RDWR") || line.contains("O_CREAT")
            || line.contains("net/tun")
        }
        if line.contains("setsockopt(") { return line.contains("SO_MARK") || line.contains("SO_BINDTODEVICE") }
        return line.contains("TUNSET") || line.contains("unlink(") || line.contains("mkdir(")
          || line.contains("rename(")
      }
      #expect(odd.isEmpty, "\(odd.joined(separator: "\n"))")
      #expect(calls.output.contains("openat("), "\(calls.output)")
    }
  }
}
