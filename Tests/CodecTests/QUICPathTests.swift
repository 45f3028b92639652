import QUICCodec
import TLSCodec
import Testing
import Values

@Suite("QUIC: paths and hostile packets")
struct QUICPathTests {
  private func connected(seed: UInt64 = 1) throws -> (SimulatedWire, QUICConnection, QUICConnection) {
    let wire = try SimulatedWire(seed: seed, server: .listener)
    let client = try wire.connect(TestCredentials.client())
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    // A moment for the confirmation and the spare connection IDs.
    wire.run(for: .seconds(1))
    return (wire, client, try #require(wire.accepted.first))
  }

  private func expectEcho(_ wire: SimulatedWire, _ client: QUICConnection) throws {
    wire.onServer = { connection, event in
      guard case .streamReadable(let id) = event else { return }
      let (bytes, result) = connection.readAll(id)
      connection.write(id, bytes)
      if result == .end { connection.finish(id) }
    }
    let id = try client.openStream()
    let message = [UInt8].pattern(100_000, seed: 5)
    client.write(id, message)
    client.finish(id)
    var got: [UInt8] = []
    #expect(
      wire.run(for: .seconds(20)) {
        got += client.readAll(id).bytes
        return got.count >= message.count
      })
    #expect(same(got, message))
  }

  @Test("a client behind a NAT that gives it another port and address is followed")
  func rebinding() throws {
    let (wire, client, server) = try connected()
    for round in 1...5 {
      let outside = Endpoint(.v6(0x2001_0DB8 << 96 | UInt128(0x100 + round)), port: UInt16(1000 + round))
      wire.translated[SimulatedWire.clientAddress] = outside
      try expectEcho(wire, client)
      #expect(server.remoteEndpoint == outside)
      #expect(
        wire.serverNews.contains {
          $0.event == .pathChanged(local: SimulatedWire.serverAddress, remote: outside)
        })
    }
  }

  @Test("a client moves to another local address and the connection goes on")
  func migration() throws {
    let (wire, client, server) = try connected()
    let elsewhere = Endpoint(.v6(0x2001_0DB8 << 96 | 77), port: 4321)
    try client.migrate(to: elsewhere, at: wire.now)
    #expect(client.localEndpoint == elsewhere)
    try expectEcho(wire, client)
    #expect(server.remoteEndpoint == elsewhere)
    #expect(throws: QUICError.self) { try client.migrate(to: elsewhere, at: wire.now) }
  }

  @Test("a copy of a packet from another address takes nobody's connection over")
  func replayFromElsewhere() throws {
    let (wire, client, server) = try connected()
    var copies: [[UInt8]] = []
    wire.tamper = { flight in
      if flight.to == SimulatedWire.serverAddress { copies.append(flight.bytes) }
      return true
    }
    try expectEcho(wire, client)
    let thief = Endpoint(.v6(0xBAD), port: 666)
    for copy in copies.prefix(200) { wire.inject(copy, from: thief, to: SimulatedWire.serverAddress) }
    wire.run(for: .seconds(5))
    #expect(server.remoteEndpoint == SimulatedWire.clientAddress)
    wire.tamper = nil
    try expectEcho(wire, client)
  }

  @Test("random packets kill neither endpoint nor connection", arguments: 1...4)
  func randomPackets(seed: UInt64) throws {
    let (wire, client, server) = try connected(seed: seed)
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<3000 {
      let size = Int.random(in: 0...1500, using: &generator)
      var bytes = [UInt8].pattern(size, seed: generator.next())
      // Half of them look like QUIC: a plausible first byte and version 1.
      if size > 20, Bool.random(using: &generator) {
        bytes[0] = [0xC0, 0xD0, 0xE0, 0xF0, 0x40].randomElement(using: &generator) ?? 0
        bytes.replaceSubrange(1..<6, with: [0, 0, 0, 1, UInt8.random(in: 0...20, using: &generator)])
      }
      let anyone = Endpoint(.v6(UInt128(generator.next())), port: 9)
      wire.inject(bytes, from: anyone, to: SimulatedWire.serverAddress)
      wire.inject(bytes, from: SimulatedWire.clientAddress, to: SimulatedWire.serverAddress)
      wire.inject(bytes, from: SimulatedWire.serverAddress, to: SimulatedWire.clientAddress)
    }
    wire.run(for: .seconds(1))
    #expect(client.state == .connected && server.state == .connected)
    try expectEcho(wire, client)
  }

  @Test("packets truncated or changed on the way, at every offset, are as good as lost", arguments: 1...6)
  func mutatedPackets(seed: UInt64) throws {
    let wire = try SimulatedWire(seed: seed, server: QUICSettings(handshakeTimeout: .seconds(100)))
    var generator = SeededGenerator(seed: seed)
    var copies: [(bytes: [UInt8], from: Endpoint, to: Endpoint)] = []
    // From the first packet on, each real one is followed by damaged copies of it.
    wire.tamper = { flight in
      copies.append((flight.bytes, flight.from, flight.to))
      return true
    }
    let client = try wire.connect(TestCredentials.client(), QUICSettings(handshakeTimeout: .seconds(100)))
    var stirred = 0
    let stir = {
      for copy in copies {
        for _ in 0..<4 {
          var bytes = copy.bytes
          switch Int.random(in: 0..<3, using: &generator) {
          case 0: bytes.removeLast(Int.random(in: 1...bytes.count, using: &generator))
          case 1:
            let place = offset(in: bytes, below: bytes.count, &generator)
            bytes[place] ^= UInt8.random(in: 1...255, using: &generator)
          default:
            let place = offset(in: bytes, below: min(bytes.count, 40), &generator)
            bytes[place] = UInt8.random(in: 0...255, using: &generator)
            bytes += [UInt8](repeating: 0, count: Int.random(in: 0...30, using: &generator))
          }
          wire.inject(bytes, from: copy.from, to: copy.to)
          stirred += 1
        }
      }
      copies = []
    }
    #expect(
      wire.run(for: .seconds(90)) {
        stir()
        return client.state == .connected && wire.accepted.count == 1
      })
    var got = 0
    wire.onServer = { connection, event in
      if case .streamReadable(let id) = event { got += connection.readAll(id).bytes.count }
    }
    let id = try client.openStream()
    client.write(id, .pattern(200_000))
    #expect(
      wire.run(for: .seconds(60)) {
        stir()
        return got == 200_000
      })
    #expect(stirred > 500)
    #expect(client.state == .connected)
    #expect(wire.accepted[0].state == .connected)
  }

  /// A place to damage. Not the version: a packet of another version is answered with the versions that we speak,
  /// and a client in its handshake has to believe that, because nothing protects it (RFC 9000, section 6.2).
  private func offset(in bytes: [UInt8], below limit: Int, _ generator: inout SeededGenerator) -> Int {
    let place = Int.random(in: 0..<limit, using: &generator)
    return bytes[0] & 0x80 != 0 && (1...4).contains(place) ? 0 : place
  }

  @Test("every truncation of a first packet is dropped and leaves nothing behind")
  func truncatedInitial() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client())
    var initial: [UInt8] = []
    wire.tamper = { flight in
      if initial.isEmpty { initial = flight.bytes }
      return false
    }
    wire.run(for: .milliseconds(1)) { !initial.isEmpty }
    #expect(initial.count >= 1200)
    wire.clients = []
    for length in 0..<initial.count {
      wire.inject(Array(initial[..<length]), from: SimulatedWire.clientAddress, to: SimulatedWire.serverAddress)
    }
    wire.run(for: .milliseconds(1))
    #expect(wire.endpoint?.connectionCount == 0)
    #expect(client.state == .handshake)
  }

  @Test("a first packet with any one byte changed begins nothing that stays")
  func damagedInitial() throws {
    let wire = try SimulatedWire(server: .listener)
    _ = try wire.connect(TestCredentials.client())
    var initial: [UInt8] = []
    wire.tamper = { flight in
      if initial.isEmpty { initial = flight.bytes }
      return false
    }
    wire.run(for: .milliseconds(1)) { !initial.isEmpty }
    wire.clients = []
    for place in 0..<initial.count {
      var bytes = initial
      bytes[place] ^= 0x55
      wire.inject(bytes, from: SimulatedWire.clientAddress, to: SimulatedWire.serverAddress)
    }
    wire.run(for: .seconds(30))
    #expect(wire.accepted.isEmpty)
    #expect(wire.endpoint?.connectionCount == 0)
  }

  @Test("a damaged copy with a token that looks like ours does not end the real client's handshake")
  func damagedToken() throws {
    let wire = try SimulatedWire(server: .listener)
    let client = try wire.connect(TestCredentials.client())
    wire.tamper = { flight in
      guard flight.bytes[0] & 0xF0 == 0xC0, flight.to == SimulatedWire.serverAddress else { return true }
      // The token's length comes after the two IDs; 0xB6 is how a Retry token of ours begins.
      let place = 7 + Int(flight.bytes[5]) + Int(flight.bytes[6 + Int(flight.bytes[5])])
      var copy = flight.bytes
      copy[place] = 1
      copy[place + 1] = 0xB6
      wire.inject(copy, from: flight.from, to: flight.to)
      return true
    }
    #expect(wire.run(for: .seconds(5)) { client.state == .connected })
    wire.tamper = nil
    #expect(wire.endpoint?.counters.dropped ?? 0 > 0)
    #expect(wire.endpoint?.counters.refused == 0)
  }

  @Test("a flood of first packets is bounded, and a real client still gets in")
  func flood() throws {
    var limits = QUICEndpoint.Limits()
    limits.retryFrom = 20
    limits.halfOpen = 40
    let wire = try SimulatedWire(server: .listener, limits: limits)
    for port in 1...200 {
      // Clients that never answer.
      _ = try wire.connect(
        TestCredentials.client(), from: Endpoint(.v6(0x2001_0DB8 << 96 | 999), port: UInt16(port)))
    }
    wire.pump()
    wire.clients = []
    wire.run(for: .milliseconds(100))
    #expect((wire.endpoint?.connectionCount ?? 0) == 20)
    let client = try wire.connect(TestCredentials.client())
    #expect(wire.run(for: .seconds(2)) { client.state == .connected })
    #expect((wire.endpoint?.counters.retriesSent ?? 0) >= 180)
  }
}
