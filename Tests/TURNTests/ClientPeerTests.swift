import STUN
import TURN
import Testing
import Values

@Suite("A TURN client's peers")
struct ClientPeerTests {
  private static let peer = endpoint("203.0.113.7:51820")
  private static let other = endpoint("203.0.113.8:51820")

  private static func standing(_ peers: Endpoint...) -> ClientBench {
    let bench = ClientBench()
    for peer in peers { bench.add(peer) }
    bench.stand()
    bench.run(milliseconds: 100)
    return bench
  }

  @Test("Before its channel stands a peer is reached by indications, after that with four bytes in front")
  func channels() throws {
    let bench = ClientBench()
    bench.stand()
    bench.add(Self.peer)
    bench.settle()
    bench.latency = 0
    #expect(bench.send([1, 2, 3], to: Self.peer) == .unbound)
    bench.run(milliseconds: 100)
    #expect(bench.send([4, 5, 6, 7, 8], to: Self.peer) == .framed)
    bench.run(milliseconds: 100)
    #expect(
      bench.server.relayed.map(\.peer) == [Self.peer, Self.peer] || bench.server.relayed.map(\.peer) == [Self.peer])
    #expect(bench.server.relayed.last?.bytes == [4, 5, 6, 7, 8])
    bench.fromPeer([9, 9], Self.peer)
    bench.fromPeer([8], endpoint("203.0.113.7:1"))
    bench.run(milliseconds: 100)
    #expect(Set(bench.received.map(\.peer)) == [Self.peer, endpoint("203.0.113.7:1")])
    #expect(bench.received.contains { $0.bytes == [9, 9] } && bench.received.contains { $0.bytes == [8] })
  }

  @Test("What the server was told of a peer by ICMP is told on, and no more of it is kept than can be read")
  func icmpErrors() throws {
    let bench = Self.standing(Self.peer)
    let report = try #require(ICMPReport(type: 3, code: 3, mtu: 0, family: .ipv4))
    var batch = PacketBatch(capacity: 16_384, maximumCount: 128)
    for _ in 0..<100 {
      var writer = STUNWriter(.indication, .data, TransactionID(high: 1, low: 2))
      writer.add(.xorPeerAddress, xor: Self.peer)
      writer.add(report)
      _ = writer.bytes.withUnsafeBytes { batch.append(copying: $0) }
    }
    bench.client.receive(batch, at: bench.now)
    var told = 0
    while let event = bench.client.pollEvent() {
      #expect(event == .peerReported(Self.peer, report))
      told += 1
    }
    #expect((1...64).contains(told) && bench.client.nextRun(&batch) == nil)
  }

  @Test("A channel's header goes into the room in front, and packets of one size end up back to back")
  func inPlace() {
    let bench = Self.standing(Self.peer)
    var batch = PacketBatch(capacity: 16_384, maximumCount: 16, headroom: TURNClient.headroom)
    for index in 0..<8 {
      _ = [UInt8](repeating: UInt8(index), count: 100).withUnsafeBytes { batch.append(copying: $0) }
    }
    let before = batch[3].baseAddress
    let framing = bench.client.frame(&batch, to: Self.peer, at: bench.now)
    #expect(framing == .framed)
    let (count, run, fourth) = (batch.count, batch.equalRun(from: 0, limit: 64, byteLimit: 65_000), batch[3])
    #expect(count == 8 && run == 8 && fourth.baseAddress == before.map { $0 - 4 } && fourth.count == 104)
    #expect([UInt8](fourth).elementsEqual(channelData(0x4000, [UInt8](repeating: 3, count: 100))))
    let other = bench.client.frame(&batch, to: Self.other, at: bench.now)
    #expect(other == .unbound)
  }

  @Test("Packets that came together are handed on in runs of one peer, where they lie")
  func runs() {
    let bench = Self.standing(Self.peer, Self.other)
    var batch = PacketBatch(capacity: 16_384, maximumCount: 16)
    for (number, byte) in [(0x4000, 1), (0x4000, 2), (0x4001, 3), (0x4000, 4), (0x4ABC, 5)] as [(UInt16, UInt8)] {
      _ = channelData(number, [byte, byte]).withUnsafeBytes { batch.append(copying: $0) }
    }
    let start = batch[0].baseAddress
    bench.client.receive(batch, at: bench.now)
    var seen: [(Endpoint, [[UInt8]])] = []
    var first: UnsafeMutableRawPointer?
    while let peer = bench.client.nextRun(&batch) {
      if first == nil { first = batch[0].baseAddress }
      seen.append((peer, (0..<batch.count).map { [UInt8](batch[$0]) }))
    }
    #expect(seen.map(\.0) == [Self.peer, Self.other, Self.peer] && first == start.map { $0 + 4 })
    #expect(seen.map(\.1) == [[[1, 1], [2, 2]], [[3, 3]], [[4, 4]]])
    #expect(bench.ignored == 1)
  }

  @Test("Over a stream packets are padded to four bytes, and come back however the stream is cut")
  func stream() {
    let bench = ClientBench(isStream: true)
    bench.add(Self.peer)
    bench.stand()
    bench.run(milliseconds: 100)
    var batch = PacketBatch(capacity: 16_384, maximumCount: 16)
    for count in 0..<6 { _ = [UInt8](repeating: 7, count: count).withUnsafeBytes { batch.append(copying: $0) } }
    var bytes: [UInt8] = []
    let framing = bench.client.append(batch, to: Self.peer, into: &bytes, at: bench.now)
    #expect(framing == .framed)
    #expect(bytes.count == 4 + 8 + 8 + 8 + 8 + 12 && bytes.prefix(8).elementsEqual([0x40, 0, 0, 0, 0x40, 0, 0, 1]))
    for cut in 1...bytes.count {
      var (filled, rest, sizes) = (0, bytes[...], [Int]())
      while !rest.isEmpty {
        let piece = rest.prefix(cut)
        rest = rest.dropFirst(cut)
        batch.storage[filled..<(filled + piece.count)].copyBytes(from: piece)
        filled += piece.count
        guard case .bytes(let consumed) = bench.client.receive(stream: batch, filled: filled, at: bench.now) else {
          Issue.record("broken")
          return
        }
        while bench.client.nextRun(&batch) != nil { for index in 0..<batch.count { sizes.append(batch[index].count) } }
        let left = Array(batch.storage[consumed..<filled])
        batch.storage.copyBytes(from: left)
        filled = left.count
      }
      #expect(sizes == [0, 1, 2, 3, 4, 5] && filled == 0)
    }
    batch.storage[0] = 0xFF
    let consumed = bench.client.receive(stream: batch, filled: 8, at: bench.now)
    #expect(consumed == .broken)
  }

  @Test("A peer that the server forbids is told of, and not asked for again")
  func forbidden() {
    let bench = ClientBench()
    bench.server.forbidden = [Self.peer.address]
    bench.stand()
    bench.add(Self.peer)
    bench.client.permit(Self.peer.address, at: bench.now)
    bench.settle()
    bench.run(milliseconds: 600_000)
    #expect(bench.count { $0 == .peerRefused(Self.peer, .forbidden) } == 1 && bench.server.count(.channelBind) == 1)
    #expect(bench.count { if case .permissionRefused = $0 { true } else { false } } >= 1 && bench.isStanding)
  }

  @Test("Without channels a server still relays, by indications and a permission that is kept")
  func withoutChannels() {
    let bench = ClientBench()
    bench.server.refusesChannels = true
    bench.add(Self.peer)
    bench.stand()
    bench.client.permit(Self.peer.address, at: bench.now)
    bench.settle()
    bench.run(milliseconds: 200)
    for _ in 0..<20 {
      #expect(bench.send([1], to: Self.peer) == .unbound)
      bench.run(milliseconds: 60_000)
    }
    #expect(bench.server.relayed.count == 20 && bench.server.unentitled == 0)
    #expect(bench.count { $0 == .peerReady(Self.peer) } >= 1)
  }

  @Test("A number is a peer's until nobody can mistake it for another's")
  func numbers() throws {
    let bench = Self.standing(Self.peer)
    func numbers() throws -> [UInt16] {
      try bench.server.requests.filter { $0.method == .channelBind }.map { request in
        try reading(request.bytes) { try #require($0.channelNumber) }
      }
    }
    bench.client.remove(peer: Self.peer)
    bench.add(Self.other)
    bench.settle()
    bench.run(milliseconds: 1000)
    bench.client.remove(peer: Self.other)
    bench.add(Self.peer)
    bench.settle()
    bench.run(milliseconds: 1000)
    #expect(try numbers() == [0x4000, 0x4001])
    #expect(bench.count { $0 == .peerReady(Self.peer) } == 2)
    // All numbers in use: the next peer waits for nothing, and is reached by indications.
    for index in 0..<5000 {
      bench.add(Endpoint(.v4(0x0A00_0000 + UInt32(index)), port: 9))
    }
    #expect(Set(bench.wantedPeers).count == 4095)
    bench.client.release(at: bench.now)
  }
}

@Suite("The race of a server's addresses")
struct ServerRaceTests {
  private static let v4 = [IPAddress("192.0.2.1"), IPAddress("192.0.2.2")].compactMap { $0 }
  private static let v6 = [IPAddress("2001:db8::1"), IPAddress("2001:db8::2")].compactMap { $0 }

  private static func steps(_ race: inout ServerRace) -> [ServerRace.Step] {
    var steps: [ServerRace.Step] = []
    while let step = race.pollStep() { steps.append(step) }
    return steps
  }

  @Test("Families take turns, the preferred one first, and a forbidden one is not there")
  func order() {
    let all = Self.v6 + Self.v4
    func candidates(_ policy: FamilyPolicy) -> [IPAddress] { ServerRace(all, policy, at: at(0)).candidates }
    #expect(candidates(.any) == [Self.v6[0], Self.v4[0], Self.v6[1], Self.v4[1]])
    #expect(candidates(.preferIPv4) == [Self.v4[0], Self.v6[0], Self.v4[1], Self.v6[1]])
    #expect(candidates(.preferIPv6) == candidates(.any) && candidates(.ipv4) == Self.v4)
    #expect(candidates(.ipv6) == Self.v6)
    #expect(ServerRace(all + all, .any, at: at(0)).candidates.count == 4)
  }

  @Test("The next one begins a quarter of a second later, or when one fails; the first that answers wins")
  func timing() {
    var race = ServerRace(Self.v6 + Self.v4, .any, at: at(0))
    #expect(Self.steps(&race) == [.start(0)] && race.nextDeadline() == at(250))
    race.handleTimeout(at: at(249))
    #expect(Self.steps(&race).isEmpty)
    race.handleTimeout(at: at(250))
    #expect(Self.steps(&race) == [.start(1)])
    race.failed(0, at: at(260))
    #expect(Self.steps(&race) == [.start(2)])
    let answers = [race.answered(0), race.answered(1), race.answered(2)]
    #expect(answers == [false, true, false])
    race.handleTimeout(at: at(9000))
    #expect(Self.steps(&race).isEmpty && race.nextDeadline() == nil)
  }

  @Test("When all have failed, or there is none, it is lost")
  func lost() {
    var race = ServerRace(Self.v4, .any, at: at(0))
    race.failed(0, at: at(1))
    race.failed(1, at: at(2))
    #expect(Self.steps(&race) == [.start(0), .start(1), .lost])
    var none = ServerRace(Self.v4, .ipv6, at: at(0))
    #expect(Self.steps(&none) == [.lost])
  }
}
