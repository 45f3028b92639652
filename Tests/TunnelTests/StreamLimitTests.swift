/// More connections at once than a QUIC connection may have streams: those beyond wait for others to end, as a GOST, which
/// takes a hundred at a time, makes all its clients do. Every one of them arrives whole.
import Testing

extension Tunnels {
  @Suite("More streams than are allowed at a time")
  struct StreamLimitTests {
    @Test("Fifty connections over a QUIC connection that takes four streams")
    func waiting() throws {
      let net = try Net()
      defer { net.close() }
      try net.targets("server")
      try net.culvert(
        "server",
        """
        services:
        - name: relay
          addr: ":8443"
          handler: {type: relay}
          listener: {type: quic, metadata: {maxStreams: 4}}

        """)
      let client = try net.culvert("client", Self.client)
      try net.expectStreams("client", ["quic=127.0.0.1:8000,127.0.0.1:8001"], options: "--size 100000")
      #expect(client.stop() == .exit(0), net.story)
    }

    private static let client = """
      services:
      - name: exchange
        addr: 127.0.0.1:8000
        handler: {type: tcp, chain: there}
        listener: {type: tcp}
        forwarder: {nodes: [{name: target, addr: "10.99.0.2:7000"}]}
      - name: greeting
        addr: 127.0.0.1:8001
        handler: {type: tcp, chain: there}
        listener: {type: tcp}
        forwarder: {nodes: [{name: target, addr: "10.99.0.2:7001"}]}
      chains:
      - name: there
        hops:
        - name: hop
          nodes:
          - name: node
            addr: "10.99.0.2:8443"
            connector: {type: relay}
            dialer: {type: quic}

      """
  }
}
