/// Recordings of GOST 3.2.6 played to Culvert on real sockets: one end of each conversation is Culvert, the other says
/// the recorded bytes in the recorded writes and compares what it hears with what the real other end said.
///
/// Where a recording holds a kernel's part (the answer to a ping), the kernel here has to give it again: the pings of
/// the recording are sent anew, byte for byte, into Culvert's tunnel.
import Glibc
import Testing

extension Tunnels {
  @Suite("Recordings of GOST")
  struct GostReplayTests {
    static let replay = GostPeer.folder + "/replay.py"

    /// The recorded ends' own `net`, as in the files that they ran with.
    private static let serverNet = "192.168.123.1/24,fd77::1/64"

    @Test("Its client's bytes over relay and TCP get its server's bytes from us")
    func clientOverTCP() throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert("server", Configurations.server(net: Self.serverNet, relays: [.tcp]))
      try expectSame(
        net, net.start("client", "python3 \(Self.replay) client tcp 10.99.0.2:8443 \(file("tun-relay-tcp"))"))
    }

    @Test(
      "Its client's datagrams over UDP get its server's from us, with an auther that knows the passphrase or with none")
    func clientOverUDP() throws {
      let net = try Net()
      defer { net.close() }
      let recording = file("tun-udp")
      let auther = """
        authers:
        - name: known
          auths: [{username: 192.168.123.2, password: pass}, {username: "fd77::2", password: pass}]
        """
      for handler in ["", "auther: known"] {
        let server = try net.culvert(
          "server",
          Configurations.server(net: Self.serverNet, handler: handler) + (handler.isEmpty ? "" : "\n" + auther))
        try expectSame(net, net.start("client", "python3 \(Self.replay) client udp 10.99.0.2:8421 \(recording)"))
        #expect(server.stop() == .exit(0))
      }
    }

    @Test("Its server's bytes over relay and TCP get its client's bytes from us")
    func serverOverTCP() throws {
      let net = try Net()
      defer { net.close() }
      let recording = file("tun-relay-tcp")
      let server = try net.start("server", "python3 \(Self.replay) server tcp 10.99.0.2:8443 \(recording)")
      try #require(server.says("READY", within: 5) != nil, net.story)
      try net.culvert(
        "client",
        """
        services:
        - name: tun
          addr: :0
          handler: {type: tun, chain: way, metadata: {keepAlive: true, ttl: 2s}}
          listener: {type: tun, metadata: {net: 192.168.123.2/24}}
          forwarder: {nodes: [{name: target, addr: "192.168.123.1:8421"}]}
        chains:
        - name: way
          hops:
          - name: hop
            nodes: [{name: node, addr: "10.99.0.2:8443", connector: {type: relay}, dialer: {type: tcp}}]
        """)
      // The recorded pings come after the second announcement: the request and two frames were heard then.
      try #require(eventually(within: 8) { server.log.components("as recorded") >= 3 } != nil, net.story)
      try expectSame(net, net.start("client", "python3 \(Self.replay) echo 192.168.123.1 \(recording)"))
      try expectSame(net, server)
    }

    @Test("Its server's datagrams over UDP get its client's from us, passphrase and both families included")
    func serverOverUDP() throws {
      let net = try Net()
      defer { net.close() }
      let recording = file("tun-udp")
      let server = try net.start("server", "python3 \(Self.replay) server udp 10.99.0.2:8421 \(recording)")
      try #require(server.says("READY", within: 5) != nil, net.story)
      try net.culvert(
        "client",
        """
        services:
        - name: tun
          addr: :0
          handler: {type: tun, metadata: {keepAlive: true, ttl: 2s, passphrase: pass}}
          listener: {type: tun, metadata: {net: "192.168.123.2/24,fd77::2/64"}}
          forwarder: {nodes: [{name: target, addr: "10.99.0.2:8421"}]}
        """)
      try #require(eventually(within: 8) { server.log.components("as recorded") >= 2 } != nil, net.story)
      for address in ["192.168.123.1", "fd77::1"] {
        try expectSame(net, net.start("client", "python3 \(Self.replay) echo \(address) \(recording)"))
      }
      try expectSame(net, server)
    }

    /// All of a QUIC conversation that can be said again: two packets, because Go's ClientHello does not fit into one.
    @Test("Its client's first flight inside ICMP is answered inside ICMP", arguments: [Carrier.icmp, .icmp6])
    func firstFlight(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      try net.culvert("server", Configurations.server(relays: [carrier]))
      let address = carrier == .icmp ? "10.99.0.2" : "fd00:1::2"
      let recording = file("first-flight-\(carrier.rawValue)")
      try expectSame(net, net.start("client", "python3 \(Self.replay) envelope \(address) \(recording)"))
    }

    private func file(_ name: String) -> String { "\(GostPeer.folder)/\(name).txt" }

    private func expectSame(
      _ net: Net, _ replay: Program, location: SourceLocation = #_sourceLocation
    ) throws {
      #expect(replay.wait(within: 25) == .exit(0), net.story, sourceLocation: location)
      #expect(replay.lines.last == "SAME", net.story, sourceLocation: location)
      replay.kill()
    }
  }
}
