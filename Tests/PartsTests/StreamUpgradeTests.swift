import LinuxIO
import TLSCodec
import Testing
import Values

@testable import Parts

@Suite("Layers over a stream")
struct StreamUpgradeTests {
  @Test("A TLS handshake that is given up leaves nothing behind")
  func abandoned() throws {
    let loop = try EventLoop()
    let below = Wire.pair(loop: loop)
    let security = TLSSecurity(
      credentials: try .client(), serverName: "example.com", applicationProtocols: [])
    var called = false
    weak var kept: (any ByteStream)?
    do {
      let stream = StreamUpgrade.tls(security).start(loop, below.0) { _ in called = true }
      kept = stream
      #expect(loop.run { below.1.incoming.isEmpty })
      stream.close()
    }
    #expect(loop.run { kept != nil })
    #expect(!called && below.0.isClosed)
  }
}
