/// What the program costs in memory: idle, and while it carries as much as it can.
///
/// Resident memory as the kernel counts it, the program's own pages and those of its libraries. The figures are
/// printed, so that a run can be compared with the one before.
import Glibc
import Testing

extension Tunnels {
  @Suite("Memory")
  struct MemoryTests {
    /// In KiB.
    private static let idle = 15 << 10
    private static let busy = 30 << 10
    /// Seconds after which what only the start needed has been given back.
    private static let start = 5.0

    @Test("Idle and at full rate, both ends stay small", arguments: [Carrier.udp, .tls, .quic, .icmp6])
    func resident(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      let ends = try [net.culvert("server", carrier.server), net.culvert("client", carrier.client)]
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      _ = eventually(within: Self.start, every: 0.1) {
        ends.allSatisfy { ((try? $0.memory("VmRSS")) ?? .max) < Self.idle }
      }
      let idle = try ends.map { try $0.memory("VmRSS") }
      let up = try rate(net, from: "client", to: "server", Configurations.inner4)
      let down = try rate(net, from: "server", to: "client", "10.90.57.1")
      let peak = try ends.map { try $0.memory("VmHWM") }
      print(
        "memory over \(carrier.testDescription), KiB: server \(idle[0]) to \(peak[0]), client \(idle[1]) to \(peak[1]), "
          + "at \(up) Mb/s up and \(down) down")
      for value in idle { #expect(value < Self.idle, "\(value) KiB") }
      for value in peak { #expect(value < Self.busy, "\(value) KiB") }
    }

    @Test("A thousand clients of one server are served, at less than 5 KB each")
    func crowd() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.culvert("server", Configurations.server(net: "10.90.57.30/16"))
      _ = eventually(within: Self.start, every: 0.1) { ((try? server.memory("VmRSS")) ?? .max) < Self.idle }
      // Its own memory: code that comes back into use is nobody's.
      let before = try server.memory("RssAnon")
      let clients = 1000
      let crowd = try net.start(
        "client",
        "sh -c \"ulimit -n 4096; sleep 60 | python3 \(Machine.tools)/crowd.py 10.99.0.2 8421 \(clients) 10.90.57.30\"")
      defer { crowd.kill() }
      try #require(crowd.says("\(clients)", within: 30) != nil, net.story)
      #expect(crowd.lines.last == "\(clients) \(clients)", net.story)
      let each = Double(try server.memory("RssAnon") - before) * 1024 / Double(clients)
      print("a client costs \(Int(each)) bytes")
      #expect(each < 5_000)
      let path = try server.path()
      #expect(path.contains("10.90.64.1") && path.contains("10.90.67.232"), "all are in its path")
      #expect(server.stop() == .exit(0), net.story)
    }

    /// Mb/s of one connection that sends as much as it can.
    private func rate(_ net: Net, from: String, to: String, _ address: String) throws -> Int {
      let seconds = 1.0
      let tool = "python3 \(Machine.tools)/transfer.py"
      let drain = try net.start(to, "\(tool) drain \(address) 5001")
      try #require(drain.says("ready", within: 5) != nil, net.story)
      let blast = try net.start(from, "\(tool) blast \(address) 5001 \(seconds)")
      try #require(blast.wait(within: 15) == .exit(0), net.story)
      try #require(drain.wait(within: 15) == .exit(0), net.story)
      return Int(Double(Int(drain.lines.last ?? "") ?? 0) * 8 / seconds / 1e6)
    }
  }
}
