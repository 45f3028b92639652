import QUICCodec
import TLSCodec
import Testing
import Values

@Suite("QUIC: streams and datagrams")
struct QUICStreamTests {
  /// A wire with a connection on it.
  private func connected(
    seed: UInt64 = 1, client wanted: QUICSettings = .dialer, server: QUICSettings = .listener
  ) throws -> (SimulatedWire, QUICConnection, QUICConnection) {
    let wire = try SimulatedWire(seed: seed, server: server)
    let client = try wire.connect(TestCredentials.client(), wanted)
    #expect(wire.run { client.state == .connected && wire.accepted.count == 1 })
    return (wire, client, try #require(wire.accepted.first))
  }

  @Test(
    "8 MiB arrive whole in both directions at once under loss and reordering",
    arguments: [1, 2] as [UInt64], [QUICSettings.CongestionControl.cubic, .bbr])
  func bothWays(seed: UInt64, control: QUICSettings.CongestionControl) throws {
    var settings = QUICSettings.dialer
    settings.congestionControl = control
    let (wire, client, server) = try connected(seed: seed, client: settings, server: settings)
    wire.conditions = .init(latency: .milliseconds(5), jitter: .milliseconds(8), lossPerMille: 20)
    let up = [UInt8].pattern(8 << 20, seed: 1)
    let down = [UInt8].pattern(8 << 20, seed: 2)
    var upSent = 0
    var downSent = 0
    var upGot: [UInt8] = []
    var downGot: [UInt8] = []
    var ends = 0
    let id = try client.openStream()
    let feed = { (connection: QUICConnection, bytes: [UInt8], sent: inout Int) in
      guard sent < bytes.count else { return }
      sent += bytes[sent...].withUnsafeBytes { connection.write(id, $0) }
      if sent == bytes.count { connection.finish(id) }
    }
    wire.onClient = { connection, event in
      switch event {
      case .streamWritable: feed(connection, up, &upSent)
      case .streamReadable:
        let (bytes, result) = connection.readAll(id)
        downGot += bytes
        if result == .end { ends += 1 }
      default: break
      }
    }
    wire.onServer = { connection, event in
      switch event {
      case .streamOpened, .streamWritable: feed(connection, down, &downSent)
      case .streamReadable:
        let (bytes, result) = connection.readAll(id)
        upGot += bytes
        if result == .end { ends += 1 }
      default: break
      }
    }
    feed(client, up, &upSent)
    #expect(wire.run(for: .seconds(600)) { ends == 2 })
    #expect(same(upGot, up))
    #expect(same(downGot, down))
    #expect(wire.packetsLost > 100)
    #expect(client.state == .connected && server.state == .connected)
  }

  @Test("500 uploads that are cut short leave the connection as it was")
  func cutShortUploads() throws {
    let (wire, client, server) = try connected()
    let upload = [UInt8].pattern(600_000)
    var finished = 0
    wire.onServer = { connection, event in
      switch event {
      case .streamReadable(let id):
        // Reads a little and goes, in each of the ways that a handler can go.
        var piece = [UInt8](repeating: 0, count: 1000)
        _ = piece.withUnsafeMutableBytes { connection.read(id, into: $0) }
        switch finished % 3 {
        case 0: connection.abandon(id, code: 7)
        case 1:
          connection.stopSending(id, code: 7)
          connection.finish(id)
        default:
          connection.stopSending(id)
          connection.reset(id, code: 9)
        }
        finished += 1
      default: break
      }
    }
    for round in 0..<500 {
      let id = try client.openStream()
      client.write(id, upload)
      if round % 5 == 0 { client.finish(id) }
      #expect(wire.run(for: .seconds(10)) { finished == round + 1 })
      if round % 7 == 0 { client.abandon(id) } else { client.stopSending(id) }
      client.reset(id)
      #expect(
        wire.run(for: .seconds(10)) {
          wire.clientEvents.last == .streamClosed(id) || wire.clientEvents.contains(.streamClosed(id))
        })
      wire.clientEvents = []
      wire.serverNews = []
    }
    // The windows are whole again: one more upload of more than the connection's first window goes through.
    wire.onServer = nil
    var got = 0
    wire.onServer = { connection, event in
      if case .streamReadable(let id) = event { got += connection.readAll(id).bytes.count }
    }
    let id = try client.openStream()
    let large = [UInt8].pattern(3 << 20)
    client.write(id, large)
    client.finish(id)
    #expect(wire.run(for: .seconds(30)) { got == large.count })
    #expect(server.state == .connected)
  }

  @Test("300 uploads that the client resets with bytes unread leave the windows whole")
  func resetUploads() throws {
    let (wire, client, server) = try connected()
    let upload = [UInt8].pattern(400_000)
    for _ in 0..<300 {
      let id = try client.openStream()
      client.write(id, upload)
      // The server's application never reads: only the reset gives the window back.
      wire.run(for: .milliseconds(60))
      client.abandon(id, code: 3)
      #expect(wire.run(for: .seconds(10)) { wire.serverNews.contains { $0.event == .streamReset(id, 3) } })
      server.abandon(id)
      wire.clientEvents = []
      wire.serverNews = []
    }
    var got = 0
    wire.onServer = { connection, event in
      if case .streamReadable(let id) = event { got += connection.readAll(id).bytes.count }
    }
    let id = try client.openStream()
    client.write(id, .pattern(3 << 20))
    #expect(wire.run(for: .seconds(30)) { got == 3 << 20 })
  }

  @Test("at the limit of streams opening fails with the cause, and works again when one is over")
  func streamLimit() throws {
    var settings = QUICSettings.listener
    settings.maximumStreams = 10
    let (wire, client, server) = try connected(server: settings)
    var ids: [Int64] = []
    for _ in 0..<10 { ids.append(try client.openStream()) }
    #expect(throws: QUICError.streamLimit) { try client.openStream() }
    for id in ids { client.write(id, [1]) }
    wire.run(for: .seconds(1))
    #expect(!wire.clientEvents.contains(.streamsAvailable))
    client.finish(ids[0])
    wire.run(for: .seconds(1))
    #expect(server.readAll(ids[0]) == ([1], .end))
    server.finish(ids[0])
    #expect(wire.run(for: .seconds(5)) { client.readAll(ids[0]).result == .end })
    #expect(wire.run(for: .seconds(5)) { wire.clientEvents.contains(.streamsAvailable) })
    _ = try client.openStream()
  }

  @Test("1000 streams one after the other, each echoed whole")
  func manyStreams() throws {
    let (wire, client, _) = try connected()
    wire.onServer = { connection, event in
      guard case .streamReadable(let id) = event else { return }
      let (bytes, result) = connection.readAll(id)
      connection.write(id, bytes)
      if result == .end { connection.finish(id) }
    }
    var closed = 0
    var echoed: [Int64: [UInt8]] = [:]
    wire.onClient = { connection, event in
      switch event {
      case .streamReadable(let id): echoed[id, default: []] += connection.readAll(id).bytes
      case .streamClosed: closed += 1
      default: break
      }
    }
    for round in 0..<1000 {
      let id = try client.openStream()
      let message = [UInt8].pattern(200, seed: UInt64(round))
      client.write(id, message)
      client.finish(id)
      #expect(wire.run(for: .seconds(5)) { closed == round + 1 })
      #expect(echoed.removeValue(forKey: id) == message)
    }
  }

  @Test("a hundred streams at once share the connection and all arrive")
  func concurrentStreams() throws {
    let (wire, client, _) = try connected()
    wire.conditions.lossPerMille = 10
    var got: [Int64: [UInt8]] = [:]
    wire.onServer = { connection, event in
      if case .streamReadable(let id) = event { got[id, default: []] += connection.readAll(id).bytes }
    }
    var sent: [Int64: [UInt8]] = [:]
    for index in 0..<100 {
      let id = try client.openStream()
      let bytes = [UInt8].pattern(20_000 + index * 100, seed: UInt64(index))
      sent[id] = bytes
      client.write(id, bytes)
      client.finish(id)
    }
    #expect(wire.run(for: .seconds(60)) { got == sent })
  }

  @Test("a writer is held at the buffer's bound and woken when there is room")
  func backPressure() throws {
    var settings = QUICSettings.dialer
    settings.sendBuffer = 1 << 20
    let (wire, client, server) = try connected(client: settings)
    let id = try client.openStream()
    let bytes = [UInt8].pattern(3 << 20)
    // Nobody reads: the stream's window and the buffer fill.
    #expect(client.write(id, bytes) == 1 << 20)
    #expect(client.write(id, bytes) == 0)
    wire.run(for: .seconds(5))
    #expect(client.writableCount(id) > 0)
    #expect(wire.clientEvents.contains(.streamWritable(id)))
    var taken = 1 << 20
    var got: [UInt8] = []
    wire.onServer = { connection, event in
      if case .streamReadable = event { got += connection.readAll(id).bytes }
    }
    got += server.readAll(id).bytes
    while taken < bytes.count {
      taken += bytes[taken...].withUnsafeBytes { client.write(id, $0) }
      wire.clientEvents = []
      let before = got.count
      #expect(wire.run(for: .seconds(5)) { got.count > before })
    }
    #expect(wire.run(for: .seconds(5)) { got.count == bytes.count })
    #expect(same(got, bytes))
  }

  @Test("an unread stream holds back its sender, not the other streams")
  func oneStreamDoesNotBlockOthers() throws {
    let (wire, client, server) = try connected()
    let stuck = try client.openStream()
    client.write(stuck, .pattern(2 << 20))
    wire.run(for: .seconds(2))
    let other = try client.openStream()
    client.write(other, .pattern(300_000, seed: 9))
    client.finish(other)
    var got: [UInt8] = []
    wire.onServer = { connection, event in
      if case .streamReadable(other) = event { got += connection.readAll(other).bytes }
    }
    got += server.readAll(other).bytes
    #expect(wire.run(for: .seconds(10)) { got.count == 300_000 })
    #expect(same(got, .pattern(300_000, seed: 9)))
  }

  @Test("each direction ends by itself")
  func halfClose() throws {
    let (wire, client, server) = try connected()
    let id = try client.openStream()
    client.write(id, Array("question".utf8))
    client.finish(id)
    #expect(client.write(id, [1]) == 0)
    wire.run(for: .seconds(1))
    #expect(server.readAll(id) == (Array("question".utf8), .end))
    server.write(id, Array("answer".utf8))
    wire.run(for: .seconds(1))
    #expect(client.readAll(id) == (Array("answer".utf8), .wouldBlock))
    server.finish(id)
    wire.run(for: .seconds(1))
    #expect(client.readAll(id) == ([], .end))
    wire.run(for: .seconds(1))
    #expect(wire.clientEvents.last == .streamClosed(id))
    #expect(wire.serverNews.last?.event == .streamClosed(id))
  }

  @Test("a reset reaches the reader with its code")
  func resetCode() throws {
    let (wire, client, server) = try connected()
    let id = try client.openStream()
    client.write(id, [1, 2, 3])
    wire.run(for: .seconds(1))
    client.reset(id, code: 77)
    wire.run(for: .seconds(1))
    #expect(wire.serverNews.contains { $0.event == .streamReset(id, 77) })
    #expect(server.readAll(id).result == .reset(77))
  }

  @Test("a writer whose bytes nobody wants is told to stop")
  func stopped() throws {
    let (wire, client, server) = try connected()
    let id = try client.openStream()
    client.write(id, .pattern(4 << 20))
    wire.run(for: .seconds(1))
    server.stopSending(id, code: 5)
    #expect(wire.run(for: .seconds(5)) { wire.clientEvents.contains(.streamStopped(id)) })
    #expect(client.write(id, [1]) == 0)
  }

  @Test("what came before the end of the connection can still be read")
  func readAfterClose() throws {
    let (wire, client, server) = try connected()
    let id = try client.openStream()
    client.write(id, Array("last words".utf8))
    client.finish(id)
    wire.run(for: .seconds(1))
    client.close(at: wire.now)
    #expect(wire.run { server.state == .closed })
    #expect(server.readAll(id) == (Array("last words".utf8), .end))
  }

  @Test("streams cannot be opened before the handshake, nor after the end")
  func notConnected() throws {
    let wire = SimulatedWire()
    let client = try wire.connect(TestCredentials.client())
    #expect(throws: QUICError.notConnected) { try client.openStream() }
    client.close(at: wire.now)
    #expect(throws: QUICError.closed(QUICCloseReason(.closedByUs(code: 0)))) { try client.openStream() }
  }

  @Test("datagrams of every size up to the maximum arrive, both ways")
  func datagrams() throws {
    let (wire, client, server) = try connected()
    wire.run(for: .seconds(5))
    let limit = try #require(client.maximumDatagramSize)
    #expect(limit > 1100)
    var sent: [[UInt8]] = []
    for size in [0, 1, 100, 1000, limit - 1, limit] { sent.append(.pattern(size, seed: UInt64(size))) }
    for datagram in sent { #expect(client.sendDatagram(datagram)) }
    #expect(!client.sendDatagram(.pattern(limit + 1)))
    wire.run(for: .seconds(1))
    var got: [[UInt8]] = []
    while let datagram = server.receiveDatagram() { got.append(datagram) }
    #expect(Set(got) == Set(sent))
    #expect(server.sendDatagram([9, 9, 9]))
    wire.run(for: .seconds(1))
    #expect(client.receiveDatagram() == [9, 9, 9])
    #expect(wire.clientEvents.contains(.datagramReadable))
  }

  @Test("ten thousand datagrams beside a stream all arrive where nothing is lost")
  func manyDatagrams() throws {
    let (wire, client, server) = try connected()
    // A gigabit: over an endless one a whole window arrives before anybody can read.
    wire.conditions.rate = 125_000_000
    let id = try client.openStream()
    client.write(id, .pattern(1 << 20))
    var received = 0
    wire.onServer = { connection, event in
      switch event {
      case .datagramReadable: while connection.receiveDatagram() != nil { received += 1 }
      case .streamReadable(let id): _ = connection.readAll(id)
      default: break
      }
    }
    var sent = 0
    while sent < 10_000 {
      while sent < 10_000, client.sendDatagram(.pattern(40 + sent % 900, seed: UInt64(sent))) { sent += 1 }
      wire.run(for: .milliseconds(20))
    }
    wire.run(for: .seconds(5))
    #expect(received == 10_000)
    #expect(server.droppedDatagrams == 0)
  }

  @Test("a full queue of datagrams refuses more, and an unread one drops and counts")
  func boundedDatagrams() throws {
    var settings = QUICSettings.dialer
    settings.datagramQueue = 64 << 10
    let (wire, client, server) = try connected(client: settings, server: settings)
    var taken = 0
    while client.sendDatagram(.pattern(1000)) { taken += 1 }
    #expect(taken == 65)
    wire.run(for: .seconds(1))
    while client.sendDatagram(.pattern(1000)) { taken += 1 }
    wire.run(for: .seconds(1))
    #expect(server.droppedDatagrams == UInt64(taken) - 65)
  }

  @Test("a sender that brings datagrams faster than the path is told to wait, and when to go on")
  func datagramBackpressure() throws {
    let (wire, client, server) = try connected()
    wire.conditions.rate = 1_000_000
    var received = 0
    wire.onServer = { connection, event in
      if event == .datagramReadable { while connection.receiveDatagram() != nil { received += 1 } }
    }
    var sent = 0
    func fill() { while !client.datagramsAreMany(), client.sendDatagram(.pattern(1000)) { sent += 1 } }
    fill()
    #expect(sent < 60, "a fresh connection holds a few packets only")
    wire.onClient = { _, event in if event == .datagramsSendable { fill() } }
    wire.run(for: .seconds(10))
    // At a megabyte a second, the pump that waits for its turns still fills the path.
    #expect(received > 7_500, "\(received) of \(sent)")
    #expect(server.droppedDatagrams == 0)
  }

  @Test("a stream and datagrams that both have more than the path takes share it")
  func fairDatagrams() throws {
    let (wire, client, _) = try connected()
    wire.conditions.rate = 1_000_000
    let id = try client.openStream()
    var streamBytes = 0
    var datagramBytes = 0
    wire.onServer = { connection, event in
      switch event {
      case .datagramReadable: while let datagram = connection.receiveDatagram() { datagramBytes += datagram.count }
      case .streamReadable(let id): streamBytes += connection.readAll(id).bytes.count
      default: break
      }
    }
    func fill() {
      while !client.datagramsAreMany(), client.sendDatagram(.pattern(1000)) {}
      while client.write(id, .pattern(16 << 10)) > 0 {}
    }
    wire.onClient = { _, event in
      switch event {
      case .datagramsSendable, .streamWritable: fill()
      default: break
      }
    }
    fill()
    wire.run(for: .seconds(5))
    #expect(streamBytes > 1_000_000 && datagramBytes > 1_000_000, "\(streamBytes) and \(datagramBytes)")
  }

  @Test("datagrams are refused where the other end takes none")
  func datagramsOff() throws {
    var settings = QUICSettings.listener
    settings.maximumDatagramFrame = 0
    let (_, client, _) = try connected(server: settings)
    #expect(client.maximumDatagramSize == nil)
    #expect(!client.sendDatagram([1]))
  }
}
