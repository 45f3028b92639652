import LinuxIO
import TLSCodec
import TURN
import Testing
import Values

@testable import Parts

/// Sessions over DTLS that come to nothing, of OpenSSL's client.
@Suite("A relay's sessions over DTLS", .enabled(if: PeerProgram.succeeds(["openssl", "version"]), "needs openssl"))
struct TurnDTLSListenerTests {
  @Test("Idle sessions end, a source has as many as it may have, and its places are free again afterwards")
  func sessions() throws {
    let loop = try EventLoop()
    let arena = ReceiveArena()
    var settings = TurnSettings()
    settings.isOpen = true
    let relay = TurnRelay(
      loop: loop, arena: arena, joints: StreamJoint.Shared(loop: loop), log: Log(level: .error), settings: settings,
      users: TurnUsers(realm: settings.realm), policy: .relaying())
    let socket = try UDPSocket(
      loop: loop, arena: arena, at: Endpoint(.v4(0x7F00_0001), port: 0), options: SocketOptions())
    let place = try #require(socket.receipt.local)
    var limits = TurnDTLSListener.Limits()
    limits.sessionsOfSource = 2
    limits.idle = .seconds(5)
    limits.look = .milliseconds(100)
    let certificate = try SelfSignedCertificate(now: 1_800_000_000)
    let listener = try TurnDTLSListener(
      relay: relay, socket: socket, listener: relay.reserveListener(),
      security: TLSSecurity(credentials: try .selfSigned(certificate), serverName: nil, applicationProtocols: []),
      log: Log(level: .error), limits: limits)
    func client() -> PeerProgram? {
      PeerProgram(["openssl", "s_client", "-dtls1_2", "-ign_eof", "-connect", "\(place)"])
    }
    func count(_ what: String) -> UInt64 { listener.dropped.first { $0.what == what }?.count ?? 0 }

    let first = try #require(client())
    let second = try #require(client())
    #expect(loop.run { !first.printed.contains("Cipher is ECDHE") || !second.printed.contains("Cipher is ECDHE") })
    #expect(listener.sessionCount == 2)
    let third = try #require(client())
    #expect(loop.run { count("DTLS sessions over the limit") == 0 })
    #expect(listener.sessionCount == 2 && !third.printed.contains("Cipher is ECDHE"))
    #expect(loop.run { listener.sessionCount > 0 && count("idle DTLS sessions") < 2 })
    // Told, so that they need not find it out.
    #expect(loop.run { !first.printed.contains("closed") || !second.printed.contains("closed") })
    // The one that asked too early asks again by itself.
    #expect(loop.run { !third.printed.contains("Cipher is ECDHE") })
    listener.close()
    socket.close()
    relay.close()
  }
}
