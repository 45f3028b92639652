import QUICCodec
import TLSCodec
import Testing
import Values

@Suite("QUIC: handshake and end")
struct QUICHandshakeTests {
  @Test("client and server complete the handshake and know the same facts")
  func handshake() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client(), name: "gost.run")
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    let facts = try #require(client.facts)
    #expect(facts.version == 1)
    #expect(facts.applicationProtocol == "h3")
    #expect(facts.tls.version == "TLS1.3")
    #expect(facts.tls.cipherSuite.contains("AES_128_GCM"))
    #expect(facts.tls.peerVerified == false)
    #expect(wire.accepted[0].facts?.applicationProtocol == "h3")
    #expect(wire.accepted[0].facts?.tls.peerVerified == nil)
    #expect(wire.accepted[0].remoteEndpoint == SimulatedWire.clientAddress)
  }
}
