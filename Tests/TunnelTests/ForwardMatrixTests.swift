/// Every transport under relay carries TCP port forwards without a byte changed: a MiB both ways at once, fifty
/// connections at once, and a server that speaks first, over IPv4 and IPv6. Two Culverts do it here; with the real GOST
/// at either end where one is given, which is what makes the same mistake on both sides visible.
///
/// One program serves all transports and one has a chain and two forwards for each, so that the matrix costs two starts.
import Testing

extension Tunnels {
  @Suite("Every transport")
  struct ForwardMatrixTests {
    @Test("Two Culverts")
    func both() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      let server = try net.culvert("server", Matrix.server())
      let client = try net.culvert("client", Matrix.client())
      try net.expectStreams("client", Matrix.forwards)
      #expect(client.stop() == .exit(0), net.story)
      #expect(server.stop() == .exit(0), net.story)
    }

    @Test("A GOST server", .enabled(if: Gost.program != nil, Gost.reason))
    func gostServer() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      try net.gost("server", Matrix.server())
      try net.culvert("client", Matrix.client())
      try net.expectStreams("client", Matrix.forwards)
    }

    @Test("A GOST client", .enabled(if: Gost.program != nil, Gost.reason))
    func gostClient() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      try net.culvert("server", Matrix.server())
      try net.gost("client", Matrix.client())
      try net.expectStreams("client", Matrix.forwards)
    }
  }
}

/// The configurations of the matrix, which GOST takes as well.
private enum Matrix {
  /// What is to be passed through, as `expectStreams` takes it.
  static var forwards: [String] {
    all.map { transport, family in
      let ports = transport.forward(family)
      return "\(transport.rawValue)-\(family.rawValue)=127.0.0.1:\(ports.exchange),127.0.0.1:\(ports.greeting)"
    }
  }

  /// A relay over every transport. GOST needs `nodelay` at both ends for a server that speaks first.
  static func server() -> String {
    "services:\n"
      + Transport.allCases.map { transport in
        """
        - name: \(transport.rawValue)
          addr: ":\(transport.port)"
          handler: {type: relay, metadata: {nodelay: true}}
          listener: {type: \(transport.rawValue)}

        """
      }.joined()
  }

  static func client() -> String {
    let services = all.map { transport, family in
      let (name, ports) = ("\(transport.rawValue)-\(family.rawValue)", transport.forward(family))
      return [("wait", ports.exchange, 7000), ("first", ports.greeting, 7001)].map { who, port, target in
        """
        - name: \(name)-\(who)
          addr: 127.0.0.1:\(port)
          handler: {type: tcp, chain: \(name)}
          listener: {type: tcp}
          forwarder: {nodes: [{name: target, addr: "\(family.address(2)):\(target)"}]}

        """
      }.joined()
    }
    let chains = all.map { transport, family in
      """
      - name: \(transport.rawValue)-\(family.rawValue)
        hops:
        - name: hop
          nodes:
          - name: node
            addr: "\(family.address(2)):\(transport.port)"
            connector: {type: relay, metadata: {nodelay: true}}
            dialer: {type: \(transport.rawValue)}

      """
    }
    return "services:\n" + services.joined() + "chains:\n" + chains.joined()
  }

  private static var all: [(Transport, Family)] {
    Transport.allCases.flatMap { transport in transport.families.map { (transport, $0) } }
  }
}
