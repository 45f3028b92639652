/// What strangers, and peers that mean no good, can do to a WireGuard device: nothing that anybody notices. The attacks
/// are those of the project's table of attack classes, rows 12 to 17, each against the program itself; what a clock and a
/// machine can do comes behind them. What the machine makes of the same without a network is in `WireGuardTests`.
import Glibc
import Testing

extension Tunnels {
  @Suite("WireGuard under attack", .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
  struct WireGuardAttackTests {
    private static let tool = "python3 \(Machine.tools)/wireguard_attacks.py"

    // MARK: The table

    @Test("Replay (12): every frame of a tunnel sent once more, both ways, delivers nothing and moves nobody")
    func replay() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let captures = try ["client", "server"].map { host in
        (host, try net.capture(on: host, "udp port 51822 and inbound", "\(host).pcap"))
      }
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      try net.must("client", "ping -c 50 -i 0.005 -W 2 -s 1000 10.7.0.2")
      try net.must("server", "ping -c 50 -i 0.005 -W 2 10.7.0.1")
      let place = try net.endpoint("server")
      let handshakes = try net.at("server", "wg show wg0 latest-handshakes").output
      let before = try (
        net.transfer("client"), net.transfer("server"), net.packets("client"), net.packets("server")
      )
      for (host, capture) in captures {
        capture.program.signal(SIGINT)
        _ = capture.program.wait(within: 5)
        // What arrived at a host was sent by the other, and is sent by it again.
        let sender = host == "client" ? "server" : "client"
        let sent = try net.run(sender, "\(Self.tool) replay \(capture.file) eth0").output
        #expect((sent.firstMatch(of: /replayed (\d+)/)?.1).flatMap { Int($0) } ?? 0 >= 101, "\(sent)")
      }
      // The device answers `wg` after what arrived before.
      #expect(try net.transfer("client") == before.0 && net.transfer("server") == before.1)
      #expect(try net.packets("client") == before.2 && net.packets("server") == before.3)
      #expect(try net.endpoint("server") == place)
      #expect(try net.at("server", "wg show wg0 latest-handshakes").output == handshakes)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
    }

    @Test("Forged cookie replies (13), for every index that may be, end no handshake and move no endpoint")
    func cookies() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      // A handshake is under way: the other end is deaf for now.
      try net.must("server", "wg set wg0 listen-port 51999")
      _ = try net.at("client", "ping -c 1 -W 0.2 10.7.0.2")
      for source in [51_822, 666] {
        let sent = try net.run("server", "\(Self.tool) cookies 10.99.0.2 \(source) 10.99.0.1 51821 3000").output
        #expect(sent.contains("sent 3000"), "\(sent)")
      }
      #expect(try net.endpoint("client") == "10.99.0.2:51822")
      try net.must("server", "wg set wg0 listen-port 51822")
      #expect(net.ping("client", "10.7.0.2", within: 12) != nil, net.story)
    }

    @Test(
      "A flood of handshakes (14), 50,000 a second with a right MAC, leaves a session nine tenths of its throughput")
    func flood() throws {
      let net = try Net(["client", "server", "stranger"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // The same packets to a device of nobody: what it costs the machine to carry them is none of ours.
      try net.set("server", "ip addr add 10.99.0.200/24 dev eth0")
      try net.set(
        "server",
        "nft 'add table inet filter; add chain inet filter in { type filter hook input priority 0; }; "
          + "add rule inet filter in ip daddr 10.99.0.200 udp dport 51822 drop'")
      let key = ends.key("server")
      var shares: [Double] = []
      for _ in 0..<8 where (shares.max() ?? 0) < 0.9 {
        let quiet = try throughput(net, floodTo: "10.99.0.200", key)
        let loud = try throughput(net, floodTo: "10.99.0.2", key)
        shares.append(loud / quiet)
        print("a flood of handshakes: \(Int(quiet)) MB/s without, \(Int(loud)) MB/s with it")
      }
      #expect(shares.max() ?? 0 >= 0.9, "\(shares)\n\(net.story.rawValue)")
    }

    @Test("Strangers cost no memory: 100,000 initiations with a right MAC, and noise, allocate nothing")
    func allocations() throws {
      let net = try Net(["stranger", "server"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let library = try net.compiled("allocations")
      let file = "\(net.directory)/allocations"
      try net.wireguard(
        "server", "wg0",
        program: "env LD_PRELOAD=\(library) CULVERT_ALLOCATIONS=\(file) \(Machine.culvert) wireguard")
      try net.setUp("server", ends)
      let counter = try AllocationCounter(file)
      let key = ends.key("server")
      let attack = "\(Self.tool) flood 10.99.0.2 51822 '\(key)' 50000"
      // Buffers, and whatever is made once.
      _ = try net.run("stranger", "\(attack) 0.5; \(Self.tool) noise 10.99.0.2 51822 '\(key)'")
      // Calm again, so that the first of the next are read to their end, with the work of a handshake.
      usleep(1_500_000)
      counter.keepsSites = true
      let before = counter.calls[0]
      let sent = try net.run("stranger", "\(attack) 2; \(Self.tool) noise 10.99.0.2 51822 '\(key)'")
      let made = counter.calls[0] - before
      print("allocations over 100,000 initiations: \(made)")
      let count = sent.output.firstMatch(of: /sent (\d+)/).flatMap { Int($0.1) } ?? 0
      #expect(count > 80_000, "\(sent.output)")
      #expect(made < 1_000, "\(counter.sites)")
    }

    /// MB/s of one TCP stream through the tunnel while somebody floods an address with initiations.
    private func throughput(_ net: Net, floodTo address: String, _ key: String) throws -> Double {
      let attack = try net.start(
        "stranger", "\(Self.tool) flood \(address) 51822 '\(key)' 50000 1.8", title: "flood of \(address)")
      defer { attack.kill() }
      try #require(attack.says("ready", within: 5) != nil, net.story)
      let drain = try net.start("server", "python3 \(Machine.tools)/transfer.py drain 10.7.0.2 5001", title: "drain")
      defer { drain.kill() }
      try #require(drain.says("ready", within: 5) != nil, net.story)
      let start = now()
      let blast = try net.run("client", "python3 \(Machine.tools)/transfer.py blast 10.7.0.2 5001 1")
      let seconds = now() - start
      #expect(attack.wait(within: 10) == .exit(0), net.story)
      let sent = try #require(attack.log.firstMatch(of: /sent (\d+)/).flatMap { Int($0.1) }, "\(attack.log)")
      #expect(sent > 60_000, "\(attack.log)")
      return (Double(blast.output.trimmed) ?? 0) / seconds / 1e6
    }

    @Test(
      "Spoofed sources inside (15) are dropped, of a peer's neighbours too, and counted as what they are: authentic")
    func spoofed() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      // The client may be all of 10.7.0.0/24, but for the one address that is another peer's.
      let (client, other) = (ends.key("client"), try shell("wg genkey | wg pubkey").output.trimmed)
      try net.must("server", "wg set wg0 peer \(client) allowed-ips 10.7.0.0/24,fd07::1/128")
      try net.must("server", "wg set wg0 peer \(other) allowed-ips 10.7.0.9/32")
      try net.must(
        "client",
        "for a in 10.7.0.8 10.7.0.9 10.6.0.1; do ip addr add $a/32 dev wg0; done; "
          + "ip addr add fd07::9/128 dev wg0 nodad")
      let before = try net.packets("server")
      for address in ["10.7.0.9", "10.6.0.1", "fd07::9"] {
        let target = address.contains(":") ? "fd07::2" : "10.7.0.2"
        #expect(try !net.at("client", "ping -q -c 5 -i 0.01 -W 0.2 -I \(address) \(target)").isGood, "\(address)")
      }
      #expect(try net.packets("server") == before)
      #expect(try net.at("client", "ping -c 1 -W 2 -I 10.7.0.8 10.7.0.2").isGood, net.story)
      // Where the other peer is gone, its address is the client's.
      try net.must("server", "wg set wg0 peer \(other) remove")
      #expect(try net.at("client", "ping -c 1 -W 2 -I 10.7.0.9 10.7.0.2").isGood, net.story)
    }

    @Test("Odd packets inside (16), with extension headers, options and unknown protocols, come out as they went in")
    func inner() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      try net.tunnel(ends)
      #expect(net.ping("client", "fd07::2") != nil, net.story)
      let watch = try net.start("server", net.named("\(Self.tool) watch wg0 3", "server"), title: "watch")
      try #require(watch.says("ready", within: 5) != nil, net.story)
      let sent = try net.at("client", "\(Self.tool) inner wg0 10.7.0.1 10.7.0.2 fd07::1 fd07::2")
      let packets = sent.output.split(separator: "\n").map(String.init)
      try #require(sent.isGood && packets.count > 140, "\(sent.output.suffix(500))")
      let came = eventually(within: 5, every: 0.1) { Set(watch.lines).isSuperset(of: packets) }
      let missing = packets.filter { !watch.lines.contains($0) }
      #expect(came != nil, "\(missing.prefix(5))")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
    }

    @Test(
      "Malformed, oversized and joined datagrams (17) harm nobody, and a stranger hears nothing",
      arguments: Family.allCases)
    func noise(_ family: Family) throws {
      let net = try Net(["client", "server", "stranger"])
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let answers = try net.capture(on: "stranger", "src port 51822 or icmp[icmptype] == icmp-unreach", "answers.pcap")
      let server = try net.wireguard("server", "wg0")
      try net.wireguard("client", "wg0")
      for host in ["client", "server"] { try net.setUp(host, ends) }
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint \(family.address(2)):51822")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let flow = try Flow(net, from: "client", to: "10.7.0.2")
      let address = family == .v4 ? "10.99.0.2" : "fd00:1::2"
      let sent = try net.run("stranger", "\(Self.tool) noise \(address) 51822 '\(ends.key("server"))'")
      #expect(sent.output.contains("sent "), "\(sent.output)")
      #expect(recoveries(of: [flow], within: 5) != [nil], net.story)
      #expect(server.ended == nil, net.story)
      answers.program.signal(SIGINT)
      _ = answers.program.wait(within: 5)
      #expect(try shell("tcpdump -n -r \(answers.file) 2>/dev/null").output == "")
      #expect(try net.endpoint("server").hasSuffix(":51821"))
    }

    // MARK: The machine's own surprises

    @Test("A machine that sleeps for an hour, and wall clocks that jump a day, cost a handshake at most")
    func clocks() throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      let library = try net.compiled("clocks")
      let clocks = try Clocks(net)
      try net.wireguard("server", "wg0")
      try net.wireguard(
        "client", "wg0", program: "env LD_PRELOAD=\(library) CULVERT_CLOCKS=\(clocks.file) \(Machine.culvert) wireguard"
      )
      for host in ["client", "server"] { try net.setUp(host, ends) }
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint 10.99.0.2:51822")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      let first = try net.transfer("server")
      // The session is too old when it wakes: the first packet makes another, which the server sees as 148 bytes.
      clocks.jump(life: 3_600, wall: 3_600)
      #expect(net.ping("client", "10.7.0.2", within: 8) != nil, net.story)
      let second = try net.transfer("server")
      #expect(second.received - first.received >= 148 + 128, "\(first) \(second)")
      // The wall clock is set back a day; another sleep, and the server still takes what is newer than before.
      for wall in [-86_400, 86_400, -3_600] as [Int64] {
        clocks.jump(life: 0, wall: wall)
        #expect(net.ping("client", "10.7.0.2", within: 2) != nil, "after \(wall) s\n\(net.story.rawValue)")
        clocks.jump(life: 200, wall: 200)
        #expect(net.ping("client", "10.7.0.2", within: 7) != nil, "after \(wall) s\n\(net.story.rawValue)")
      }
    }

    @Test("A host without IPv6 has a device all the same", arguments: ["no sockets", "switched off"])
    func noIPv6(_ how: String) throws {
      let net = try Net()
      defer { net.close() }
      let ends = try WireGuardEnds(net)
      var program: String?
      if how == "no sockets" {
        program = "env LD_PRELOAD=\(try net.compiled("clocks")) CULVERT_NO_IPV6=1 \(Machine.culvert) wireguard"
      } else {
        try net.set("server", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
      }
      try net.wireguard("client", "wg0")
      try net.wireguard("server", "wg0", program: program)
      try net.setUp("client", ends)
      try net.must("server", ends.settings("server") + "; ip addr add 10.7.0.2/24 dev wg0; ip link set wg0 up mtu 1420")
      try net.must("client", "wg set wg0 peer \(ends.key("server")) endpoint 10.99.0.2:51822")
      #expect(net.ping("client", "10.7.0.2") != nil, net.story)
      #expect(net.ping("server", "10.7.0.1") != nil, net.story)
    }
  }
}

extension Net {
  /// A capture that is written as packets come.
  fileprivate func capture(on host: String, _ filter: String, _ name: String) throws -> (program: Program, file: String)
  {
    let file = "\(directory)/\(name)"
    let direction = filter.hasSuffix(" and inbound")
    let rest = direction ? String(filter.dropLast(" and inbound".count)) : filter
    let program = try start(
      host, "timeout 60 tcpdump \(direction ? "-Q in " : "")-i eth0 --immediate-mode -U -w \(file) '\(rest)'",
      title: "capture at \(host)")
    try #require(program.says("listening on", within: 5) != nil, "\(program.log)")
    return (program, file)
  }

  /// Packets that came out of the tunnel of a host.
  fileprivate func packets(_ host: String) throws -> Int {
    let shown = try run(host, named("cat /sys/class/net/wg0/statistics/rx_packets", host)).output
    return try #require(Int(shown.trimmed), "\(shown)")
  }
}

/// How far the clocks of a program are ahead that runs with `Tools/clocks.c`.
private final class Clocks {
  let file: String
  private let memory: UnsafeMutablePointer<Int64>

  init(_ net: Net) throws {
    file = try net.file("clocks", String(repeating: "\0", count: 16))
    let descriptor = open(file, O_RDWR)
    defer { Glibc.close(descriptor) }
    let mapped = mmap(nil, 16, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    memory = try #require(mapped == MAP_FAILED ? nil : mapped).bindMemory(to: Int64.self, capacity: 2)
  }

  deinit { munmap(memory, 16) }

  /// Seconds by which the clock of the machine's life and the wall clock go ahead.
  func jump(life: Int64, wall: Int64) {
    memory[0] += life * 1_000_000_000
    memory[1] += wall * 1_000_000_000
  }
}
