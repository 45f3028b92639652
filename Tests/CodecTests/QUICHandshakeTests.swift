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

  @Test("the handshake survives a third of its packets being lost", arguments: 1...8)
  func lossyHandshake(seed: UInt64) throws {
    let wire = try SimulatedWire(seed: seed, server: QUICSettings(handshakeTimeout: .seconds(60)))
    wire.conditions.lossPerMille = 333
    let client = try wire.connect(TestCredentials.client(), QUICSettings(handshakeTimeout: .seconds(60)))
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
  }

  @Test("the first protocol of the server's list that the client offers is chosen")
  func protocolOrder() throws {
    let wire = try SimulatedWire(server: QUICSettings(applicationProtocols: ["culvert/1", "h3", "quic/v1"]))
    let client = try wire.connect(
      TestCredentials.client(), QUICSettings(applicationProtocols: ["quic/v1", "h3", "culvert/1"]))
    #expect(wire.run { client.state == .connected })
    #expect(client.facts?.applicationProtocol == "culvert/1")
  }

  @Test("without a common protocol both ends say that ALPN is the cause")
  func protocolRefused() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client(), QUICSettings(applicationProtocols: ["foo"]))
    #expect(wire.run { client.state == .closed && wire.serverNews.count == 1 })
    let reason = try #require(client.closeReason)
    #expect(reason.cause == .peerAlert(.noApplicationProtocol, reason: ""))
    #expect(reason.blame == .peer)
    #expect("\(reason)".contains("no_application_protocol (120)"))
    #expect(
      wire.serverNews.first?.event == .closed(QUICCloseReason(.tls(.noCommonApplicationProtocol))))
  }

  @Test("a client that offers no protocol at all is refused")
  func noProtocolOffered() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client(), QUICSettings(applicationProtocols: []))
    #expect(wire.run { client.state == .closed && !wire.serverNews.isEmpty })
    #expect(client.closeReason?.cause == .tls(.noCommonApplicationProtocol))
    #expect(wire.accepted.isEmpty)
  }

  @Test("a verified name passes, another name is refused with the cause")
  func verification() throws {
    let certificate = try SelfSignedCertificate(commonName: "tunnel.example", now: wallClock())
    for (name, passes) in [("tunnel.example", true), ("other.example", false)] {
      let wire = SimulatedWire()
      wire.endpoint = QUICEndpoint(
        credentials: try .selfSigned(certificate), settings: .listener, secret: TestCredentials.secret)
      let client = try wire.connect(
        TestCredentials.client(.chainAndName(authorities: certificate.certificate)), name: name)
      wire.run(for: .seconds(5)) { client.state != .handshake }
      if passes {
        #expect(client.facts?.tls.peerVerified == true)
      } else {
        guard case .tls(.certificateRefused(let text)) = client.closeReason?.cause else {
          Issue.record("the reason is \(String(describing: client.closeReason))")
          continue
        }
        #expect(text.contains("name"))
        #expect(wire.run { wire.serverNews.contains { if case .closed = $0.event { true } else { false } } })
      }
    }
  }

  @Test("a handshake that nothing answers ends with its timeout and says so")
  func nothingAnswers() throws {
    let wire = SimulatedWire()
    let client = try wire.connect(TestCredentials.client(), QUICSettings(handshakeTimeout: .seconds(3)))
    let start = wire.now
    #expect(wire.run { client.state == .closed })
    #expect(client.closeReason?.cause == .handshakeTimeout(heard: false))
    #expect(wire.now - start >= .seconds(3) && wire.now - start < .seconds(4))
    #expect(client.isFinished(at: wire.now))
  }

  @Test("many half-open connections make a Retry, which the client answers")
  func retry() throws {
    var limits = QUICEndpoint.Limits()
    limits.retryFrom = 0
    let wire = try SimulatedWire(server: .listener, limits: limits)
    let client = try wire.connect(TestCredentials.client())
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    #expect(wire.endpoint?.counters.retriesSent == 1)
  }

  @Test("a Retry token of another address is refused")
  func retryTokenIsBoundToTheAddress() throws {
    var limits = QUICEndpoint.Limits()
    limits.retryFrom = 0
    let wire = try SimulatedWire(server: .listener, limits: limits)
    // The NAT gives the client another port between its first packet and the one with the token.
    let client = try wire.connect(TestCredentials.client(), QUICSettings(handshakeTimeout: .seconds(3)))
    wire.tamper = { [unowned wire] flight in
      if flight.from == SimulatedWire.serverAddress {
        wire.translated[SimulatedWire.clientAddress] = Endpoint(SimulatedWire.clientAddress.address, port: 1)
        return flight.bytes.count < 1200
      }
      return true
    }
    wire.translated[SimulatedWire.clientAddress] = SimulatedWire.clientAddress
    wire.run(for: .seconds(5)) { client.state == .closed }
    #expect(wire.endpoint?.counters.retriesSent == 1)
    #expect(client.state == .closed)
    #expect(wire.accepted.isEmpty)
  }

  @Test("beyond the limit of connections a client is refused at once")
  func refused() throws {
    var limits = QUICEndpoint.Limits()
    limits.connections = 0
    let wire = try SimulatedWire(server: .listener, limits: limits)
    let client = try wire.connect(TestCredentials.client())
    let start = wire.now
    #expect(wire.run { client.state == .closed })
    #expect(client.closeReason?.cause == .peerError(code: 2, reason: ""))
    #expect("\(try #require(client.closeReason))".contains("connection refused"))
    #expect(wire.now - start < .seconds(1))
  }

  @Test("an unknown version is answered with the versions that we speak")
  func versionNegotiation() throws {
    let wire = try SimulatedWire(server: .listener)
    // A long header of a version nobody has, 1200 bytes, IDs of 8 and 4 bytes.
    let first: [UInt8] = [0xC0, 0x0B, 0xAD, 0xCA, 0xFE, 8] + (1...8) + [4] + (11...14)
    let packet = first + [UInt8](repeating: 0, count: 1200 - first.count)
    var answer: [UInt8] = []
    wire.tamper = { flight in
      answer = flight.bytes
      return false
    }
    wire.inject(packet, from: SimulatedWire.clientAddress, to: SimulatedWire.serverAddress)
    wire.run(for: .seconds(1)) { !answer.isEmpty }
    #expect(answer.count > 15)
    #expect(answer.first.map { $0 & 0x80 } == 0x80)
    #expect(Array(answer[1..<5]) == [0, 0, 0, 0])
    // The IDs change places, and version 1 is in the list.
    #expect(Array(answer[5..<19]) == [4] + (11...14) + [8] + (1...8))
    #expect(stride(from: 19, to: answer.count, by: 4).contains { Array(answer[$0..<($0 + 4)]) == [0, 0, 0, 1] })
    #expect(wire.endpoint?.connectionCount == 0)
  }

  @Test("a client whose version the server does not speak says which it was offered")
  func clientVersionRefused() throws {
    let wire = SimulatedWire()
    let client = try wire.connect(TestCredentials.client())
    var initial: [UInt8] = []
    wire.tamper = { flight in
      if initial.isEmpty { initial = flight.bytes }
      return false
    }
    wire.run(for: .milliseconds(1)) { !initial.isEmpty }
    let destination = Array(initial[6..<(6 + Int(initial[5]))])
    let at = 6 + destination.count
    let source = Array(initial[(at + 1)..<(at + 1 + Int(initial[at]))])
    let answer: [UInt8] =
      [0xC0, 0, 0, 0, 0, UInt8(source.count)] + source + [UInt8(destination.count)] + destination
      + [0x6B, 0x33, 0x43, 0xCF]
    wire.inject(answer, from: SimulatedWire.serverAddress, to: SimulatedWire.clientAddress)
    #expect(wire.run(for: .seconds(1)) { client.state == .closed })
    #expect(client.closeReason?.cause == .versions([0x6B33_43CF]))
  }

  @Test("an idle connection ends at both ends after the smaller timeout")
  func idle() throws {
    let wire = try SimulatedWire(server: QUICSettings(idleTimeout: .seconds(20)))
    let client = try wire.connect(TestCredentials.client(), QUICSettings(idleTimeout: .seconds(90)))
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    let start = wire.now
    #expect(wire.run { client.state == .closed && wire.accepted[0].state == .closed })
    #expect(client.closeReason?.cause == .idleTimeout)
    #expect(wire.accepted[0].closeReason?.cause == .idleTimeout)
    #expect(wire.now - start > .seconds(19) && wire.now - start < .seconds(23))
    wire.run(for: .seconds(5))
    #expect(wire.endpoint?.connectionCount == 0)
  }

  @Test("keeping alive holds a connection open for ten idle timeouts")
  func keepAlive() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client(), .dialer)
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    wire.run(for: .seconds(300))
    #expect(client.state == .connected)
    #expect(wire.accepted[0].state == .connected)
  }

  @Test("an application code and its words reach the other end")
  func closedByPeer() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client())
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    wire.accepted[0].close(code: 42, reason: "out of service\u{1B}[2J", at: wire.now)
    #expect(wire.run { client.state == .closed })
    #expect(client.closeReason?.cause == .closedByPeer(code: 42, reason: "out of service [2J"))
    #expect(wire.accepted[0].closeReason?.cause == .closedByUs(code: 42))
    wire.run(for: .seconds(10))
    #expect(wire.endpoint?.connectionCount == 0)
    #expect(client.isFinished(at: wire.now))
  }

  @Test("after a restart of the server the client learns of it with its next packet")
  func statelessReset() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client())
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    let id = try client.openStream()
    client.write(id, .pattern(1000))
    wire.run(for: .seconds(1))
    wire.accepted = []
    wire.endpoint = QUICEndpoint(
      credentials: try TestCredentials.server(), settings: .listener, secret: TestCredentials.secret)
    let start = wire.now
    client.write(id, .pattern(100))
    #expect(wire.run { client.state == .closed })
    #expect(client.closeReason?.cause == .statelessReset)
    #expect(wire.now - start < .milliseconds(100))
    #expect(wire.endpoint?.counters.resetsSent == 1)
  }

  @Test("even the small packets of an idle client are answered with a reset")
  func statelessResetOfKeepAlive() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client(), .dialer)
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    wire.run(for: .seconds(1))
    wire.accepted = []
    wire.endpoint = QUICEndpoint(
      credentials: try TestCredentials.server(), settings: .listener, secret: TestCredentials.secret)
    #expect(wire.run(for: .seconds(12)) { client.state == .closed })
    #expect(client.closeReason?.cause == .statelessReset)
  }

  @Test("a reset with a token of another secret is not believed")
  func forgedReset() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client())
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    wire.accepted = []
    wire.endpoint = QUICEndpoint(
      credentials: try TestCredentials.server(), settings: .listener, secret: Array(100..<132))
    let id = try client.openStream()
    client.write(id, .pattern(1000))
    wire.run(for: .seconds(5))
    #expect((wire.endpoint?.counters.resetsSent ?? 0) > 0)
    #expect(client.state == .connected)
  }

  @Test("packets have the fixed size where the carrier cannot probe")
  func fixedPacketSize() throws {
    var settings = QUICSettings.dialer
    settings.fixPacketSize()
    let wire = try SimulatedWire(server: settings)
    let client = try wire.connect(TestCredentials.client(), settings)
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    let id = try client.openStream()
    client.write(id, .pattern(100_000))
    wire.run(for: .seconds(2))
    #expect(wire.largestPacket == 1280)
  }

  @Test("the path's packet size is found by probing up to the limit")
  func pathMTU() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client())
    wire.tamper = { $0.bytes.count <= 1400 }
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    let id = try client.openStream()
    client.write(id, .pattern(1_000_000))
    wire.run(for: .seconds(20))
    let size = try #require(client.statistics?.packetSize)
    #expect(size > 1200 && size <= 1400)
  }

  @Test("the key log has the lines that decrypt a capture")
  func keyLog() throws {
    let log = LineLog()
    let wire = try SimulatedWire(server: .listener)
    var settings = QUICSettings.dialer
    settings.keyLog = { log.append($0) }
    let client = try wire.connect(TestCredentials.client(), settings)
    #expect(wire.run { client.state == .connected })
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"] {
      #expect(log.lines.contains { $0.hasPrefix(label + " ") && $0.split(separator: " ").count == 3 })
    }
  }
}
