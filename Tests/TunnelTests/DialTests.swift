/// Dials by TLS that must not stand, or must not cost anything: nodes that never answer, and certificates for others.
import Glibc
import Testing

extension Tunnels {
  @Suite("Dials over TLS")
  struct DialTests {
    @Test("A node that takes connections and never answers TLS is said so, and costs no descriptors")
    func silentNode() throws {
      let net = try Net()
      defer { net.close() }
      let server = try net.start("server", "python3 \(Machine.tools)/strangers.py silent 10.99.0.2 8443")
      try #require(server.says("ready", within: 5) != nil, net.story)
      // The handshake's own limit makes attempts short enough to see several.
      let client = try net.culvert("client", Self.client("metadata: {handshakeTimeout: 200ms}"))
      #expect(client.says("does not answer TLS within 200ms", within: 5) != nil, net.story)
      // Every attempt has a socket with a number of its own.
      let before = try Self.sockets(client)
      var seen = before
      var open = before
      let tried = eventually(within: 20) {
        open = (try? Self.sockets(client)) ?? []
        seen.formUnion(open)
        return seen.count >= before.count + 4
      }
      #expect(tried != nil, net.story)
      #expect(open.count <= before.count + 1, net.story)
    }

    @Test("With secure, a literal address must be in the certificate", arguments: [true, false])
    func literalAddress(_ isNamed: Bool) throws {
      let net = try Net()
      defer { net.close() }
      let names = isNamed ? "-addext subjectAltName=IP:10.99.0.2" : "-addext subjectAltName=DNS:relay"
      try net.set(
        "server",
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=relay -days 2 \(names) "
          + "-out \(net.directory)/cert.pem -keyout \(net.directory)/key.pem")
      let certificate = "tls: {certFile: \(net.directory)/cert.pem, keyFile: \(net.directory)/key.pem}"
      try net.culvert(
        "server",
        Configurations.server(relays: [.tls]).replacing(
          "listener: {type: tls}", with: "listener: {type: tls, \(certificate)}"))
      let client = try net.culvert("client", Self.client("tls: {secure: true, caFile: \(net.directory)/cert.pem}"))
      #expect(client.says(isNamed ? "tunnel is up" : "certificate", within: 5) != nil, net.story)
      #expect(client.log.contains("tunnel is up") == isNamed, net.story)
    }

    /// The usual client, with more in its dialer.
    private static func client(_ dialer: String) -> String {
      Carrier.tls.client.replacing("dialer: {type: tls}", with: "dialer: {type: tls, \(dialer)}")
    }

    private static func sockets(_ culvert: Culvert) throws -> Set<Substring> {
      let list = try shell("ls -l /proc/\(culvert.program.pid)/fd").output
      return Set(
        list.split(separator: "\n").compactMap { $0.split(separator: " ").last }.filter { $0.hasPrefix("socket:") })
    }
  }
}
