import LinuxIO
import NodeSelection
import Testing
import Values

@testable import Parts

@Suite("UDP forwards")
struct UDPForwardTests {
  private let loop: EventLoop
  private let arena = ReceiveArena()
  private let log = Log(level: .error)

  init() throws { loop = try EventLoop() }

  private func handler(
    _ way: TestWay, _ targets: [HostPort], strategy: NodeSelector.Strategy = .fifo, queue: Int = 128
  ) -> UDPForwardHandler {
    UDPForwardHandler(
      loop: loop, log: log, way: way, targets: targets,
      selector: NodeSelector(strategy: strategy, nodes: targets.map { _ in NodeSelector.Node() }, seed: 1),
      settings: UDPForwardHandler.Settings(queue: queue, pause: .milliseconds(30)))
  }

  private func listener(
    _ handler: UDPForwardHandler, at text: String = "127.0.0.1:0",
    _ limits: DatagramSessionLimits = DatagramSessionLimits()
  ) throws -> UDPSessionListener {
    try UDPSessionListener(
      loop: loop, arena: arena, log: log, local: endpoint(text), options: SocketOptions(), limits: limits,
      accept: handler.accept)
  }

  private func local(_ listener: UDPSessionListener) throws -> Endpoint { try #require(listener.receipt.local) }

  private let nowhere = HostPort(host: "192.0.2.1", port: 9)

  @Test("Datagrams of every size cross both ways, empty and greatest ones too", arguments: ["127.0.0.1:0", "[::1]:0"])
  func sizes(text: String) throws {
    let target = try UDPPeer(loop, at: text)
    target.answers = { [$0] }
    let handler = handler(TestWay.direct(loop), [target.address])
    let listener = try listener(handler, at: text)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    let sizes = [0, 1, 1200, 1200, 1200, 7, 0, 1473, 65_507, 9000, 65_507, 5]
    for (index, size) in sizes.enumerated() {
      let payload = [UInt8](repeating: UInt8(index), count: size)
      #expect(client.socket.sendOne(payload))
      #expect(runs(loop) { client.received.count == index + 1 }, "\(size)")
      #expect(client.received.last == payload)
    }
    #expect(target.received == client.received)
    #expect(listener.dropped.isEmpty && handler.dropped == 0)
    let path = try #require(handler.paths.first)
    #expect(path.path.legs.count == 2)
    #expect(path.path.legs[0].local?.value == client.local && path.path.legs[0].from == .client)
    #expect(path.path.legs[0].traffic?.forward == UInt64(sizes.reduce(0, +)))
    #expect(path.path.legs[1].remote?.value == target.local)
    #expect(path.name.contains(target.address.description))
  }

  @Test("A thousand equal datagrams of one client arrive whole and in order, and their answers too")
  func stream() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0] }
    let handler = handler(TestWay.direct(loop), [target.address])
    let listener = try listener(handler)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    for burst in 0..<50 {
      var bytes: [UInt8] = []
      for index in 0..<20 { bytes += [UInt8(burst), UInt8(index)] + [UInt8](repeating: 7, count: 1198) }
      let outcome = bytes.withUnsafeBytes { client.socket.send($0, segment: 1200, to: nil, from: nil, ecn: 0) }
      guard case .sent = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(runs(loop) { client.received.count == (burst + 1) * 20 })
    }
    let expected = (0..<1000).map { [UInt8($0 / 20), UInt8($0 % 20)] }
    #expect(target.received.map { Array($0.prefix(2)) } == expected)
    #expect(client.received.map { Array($0.prefix(2)) } == expected)
    #expect(client.received.allSatisfy { $0.count == 1200 })
  }

  @Test("A client that is answered twice gets both answers, and sends again on the same session")
  func severalAnswers() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0 + [1], $0 + [2], $0 + [3]] }
    let way = TestWay.direct(loop)
    let listener = try listener(handler(way, [target.address]))
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([10]))
    #expect(runs(loop) { client.received.count == 3 })
    #expect(client.socket.sendOne([20]))
    #expect(runs(loop) { client.received.count == 6 })
    #expect(way.asked.count == 1 && Set(target.sources).count == 1)
  }

  @Test("An answer that looks like a packet and met congestion is neither dropped nor changed")
  func congestionMarks() throws {
    let target = try UDPPeer(loop)
    let listener = try listener(handler(TestWay.direct(loop), [target.address]))
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([1]))
    #expect(runs(loop) { !target.sources.isEmpty })
    // The beginning of an IPv4 header of a sender that understands marks, and of one that does not.
    let answers: [[UInt8]] = [2, 0].map { [0x45, $0, 0, 20] + [UInt8](repeating: 0, count: 16) }
    for answer in answers {
      let outcome = answer.withUnsafeBytes {
        target.socket.send($0, segment: $0.count, to: target.sources[0], from: nil, ecn: ECN.congested)
      }
      guard case .sent = outcome else {
        Issue.record("\(outcome)")
        return
      }
    }
    #expect(runs(loop) { client.received.count == 2 })
    #expect(client.received == answers)
  }

  @Test("Each client has its own session, and gets its own answers")
  func clients() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0] }
    let handler = handler(TestWay.direct(loop), [target.address])
    let listener = try listener(handler)
    defer { listener.close() }
    let at = try local(listener)
    let clients = try (0..<50).map { _ in try UDPPeer(loop, connectedTo: at) }
    for (index, client) in clients.enumerated() { #expect(client.socket.sendOne([UInt8(index)])) }
    #expect(runs(loop) { clients.allSatisfy { !$0.received.isEmpty } })
    #expect(clients.enumerated().allSatisfy { index, client in client.received == [[UInt8(index)]] })
    #expect(listener.sessionCount == 50 && handler.sessionCount == 50)
    #expect(Set(target.sources).count == 50)
  }

  @Test("An answer leaves from the address that was asked")
  func answeringAddress() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0] }
    let listener = try listener(handler(TestWay.direct(loop), [target.address]), at: "[::]:0")
    defer { listener.close() }
    let port = try local(listener).port
    for text in ["127.0.0.1", "127.3.2.1", "::1"] {
      // A connected socket hears nothing from any other address.
      let client = try UDPPeer(loop, connectedTo: Endpoint(try #require(IPAddress(text)), port: port))
      #expect(client.socket.sendOne([1]))
      #expect(runs(loop) { client.received == [[1]] }, "\(text)")
    }
  }

  @Test("A session ends a time to live after its last datagram; the next one begins another")
  func timeToLive() throws {
    let target = try UDPPeer(loop)
    // Silent at first, so that it is the client's datagrams that keep the session alive.
    target.answers = { $0 == [2] ? [$0] : [] }
    let way = TestWay.direct(loop)
    let handler = handler(way, [target.address])
    let listener = try listener(handler, DatagramSessionLimits(timeToLive: .milliseconds(300)))
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    let begin = loop.refreshNow()
    // Kept alive beyond several times its time to live.
    while loop.refreshNow() - begin < .milliseconds(700) {
      #expect(client.socket.sendOne([1]))
      loop.run(until: loop.now + .milliseconds(20))
    }
    #expect(way.asked.count == 1 && listener.sessionCount == 1)
    let silent = loop.refreshNow()
    #expect(runs(loop) { listener.sessionCount == 0 })
    #expect(loop.refreshNow() - silent >= .milliseconds(250))
    #expect(handler.sessionCount == 0 && handler.paths.isEmpty)
    let count = client.received.count
    #expect(client.socket.sendOne([2]))
    #expect(runs(loop) { client.received.count == count + 1 })
    #expect(way.asked.count == 2)
  }

  @Test("Ten thousand sources meet two limits, and leave nothing behind")
  func floods() throws {
    let way = TestWay(loop: loop)
    let handler = handler(way, [nowhere])
    let listener = try listener(
      handler, DatagramSessionLimits(timeToLive: .milliseconds(400), sessions: 3000, backlog: 1000))
    defer { listener.close() }
    let at = try local(listener)
    let first = loop.refreshNow()
    let payload = [UInt8](repeating: 1, count: 64)
    for number in 0..<10_000 {
      let source = IPAddress.v4(0x7F01_0000 + UInt32(number)).description
      let client = try UDPSocket(loop: loop, arena: arena, to: at, options: SocketOptions(interface: source))
      _ = client.sendOne(payload)
      client.close()
      if number % 64 == 63 { loop.run(until: loop.refreshNow() + .microseconds(1)) }
    }
    #expect(runs(loop) { !listener.dropped.isEmpty })
    #expect(listener.sessionCount <= 1000)
    #expect(handler.sessionCount == listener.sessionCount)
    #expect(handler.dropped == 0 || loop.now - first > .milliseconds(400))
    #expect(runs(loop) { listener.sessionCount == 0 })
    #expect(handler.sessionCount == 0)
    let refused = listener.dropped.first { $0.what.contains("new clients") }?.count ?? 0
    #expect(refused > 0 && refused + UInt64(way.asked.count) <= 10_000)
  }

  @Test("A session whose way stands leaves the backlog and counts in all")
  func backlog() throws {
    let way = TestWay(loop: loop)
    let listener = try listener(
      handler(way, [nowhere]), DatagramSessionLimits(timeToLive: .seconds(60), sessions: 3, backlog: 1))
    defer { listener.close() }
    let at = try local(listener)
    let clients = try (0..<5).map { _ in try UDPPeer(loop, connectedTo: at) }
    // A client that is not used any more may be gone, and its socket with it.
    defer { withExtendedLifetime(clients) {} }
    for round in 0..<3 {
      #expect(clients[round].socket.sendOne([1]))
      #expect(runs(loop) { way.pending.count == round + 1 })
      #expect(clients[4].socket.sendOne([1]))
      #expect(runs(loop) { listener.dropped.first?.count == UInt64(round + 1) }, "one may wait at a time")
      way.pending[round](.success(KeptCarrier()))
    }
    #expect(clients[4].socket.sendOne([1]))
    #expect(runs(loop) { listener.dropped.first?.count == 4 }, "three are all")
    #expect(listener.sessionCount == 3)
  }

  @Test("Datagrams wait for the way, in order and no more than the queue holds")
  func waitsForTheWay() throws {
    let way = TestWay(loop: loop)
    let carrier = KeptCarrier(headroom: 2)
    let handler = handler(way, [nowhere], queue: 10)
    let listener = try listener(handler)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    for number in 0..<15 { #expect(client.socket.sendOne([UInt8(number)])) }
    #expect(runs(loop) { handler.dropped == 5 && !way.pending.isEmpty })
    way.pending[0](.success(carrier))
    #expect(carrier.sent == (0..<10).map { [UInt8($0)] })
    #expect(client.socket.sendOne([100]))
    #expect(runs(loop) { carrier.sent.last == [100] })
    #expect(carrier.hadHeadroom)
    carrier.deliver([[1, 2], [], [3]])
    #expect(runs(loop) { client.received.count == 3 })
    #expect(client.received == [[1, 2], [], [3]])
    #expect(way.clients.first == client.local)
  }

  @Test("A full carrier makes datagrams wait until it takes more", arguments: [0, 2])
  func fullCarrier(headroom: Int) throws {
    let way = TestWay(loop: loop)
    let carrier = KeptCarrier(headroom: headroom)
    way.give = { _ in .success(carrier) }
    let handler = handler(way, [nowhere], queue: 300)
    let listener = try listener(handler)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([0]))
    #expect(runs(loop) { carrier.sent == [[0]] })
    carrier.answers = [false]
    #expect(client.socket.sendOne([1]))
    #expect(runs(loop) { carrier.sent.count == 2 })
    for number in 2..<250 { #expect(client.socket.sendOne([UInt8(number)])) }
    #expect(client.socket.sendOne([]))
    loop.run(until: loop.refreshNow() + .milliseconds(20))
    #expect(carrier.sent.count == 2)
    carrier.answers = [false]
    carrier.receiver?.carrierWritable(carrier)
    #expect(carrier.sent.count > 2)
    while carrier.sent.count < 251 {
      let before = carrier.sent.count
      carrier.receiver?.carrierWritable(carrier)
      try #require(carrier.sent.count > before)
    }
    #expect(carrier.sent == (0..<250).map { [UInt8($0)] } + [[]])
    #expect(carrier.hadHeadroom && handler.dropped == 0)
  }

  @Test("What has waited and left makes room for as much again")
  func roomAgain() throws {
    let way = TestWay(loop: loop)
    let carrier = KeptCarrier(headroom: 2)
    way.give = { _ in .success(carrier) }
    let handler = handler(way, [nowhere])
    let listener = try listener(handler)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    let payload = [UInt8](repeating: 3, count: 60_000)
    #expect(client.socket.sendOne(payload))
    #expect(runs(loop) { carrier.sent.count == 1 })
    // Far more than may wait at a time, one after the other.
    for round in 1...15 {
      carrier.answers = [false]
      #expect(client.socket.sendOne([0]))
      #expect(runs(loop) { carrier.sent.last == [0] })
      #expect(client.socket.sendOne(payload))
      loop.run(until: loop.refreshNow() + .milliseconds(3))
      #expect(carrier.sent.count == 2 * round)
      #expect(
        runs(loop) {
          carrier.receiver?.carrierWritable(carrier)
          return carrier.sent.count == 1 + 2 * round
        })
    }
    #expect(handler.dropped == 0)
  }

  @Test("Answers alone keep a session alive")
  func answersKeepAlive() throws {
    let way = TestWay(loop: loop)
    let carrier = KeptCarrier()
    way.give = { _ in .success(carrier) }
    let listener = try listener(handler(way, [nowhere]), DatagramSessionLimits(timeToLive: .milliseconds(300)))
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([1]))
    #expect(runs(loop) { !carrier.sent.isEmpty })
    let begin = loop.refreshNow()
    while loop.refreshNow() - begin < .milliseconds(700) {
      carrier.deliver([[7]])
      loop.run(until: loop.now + .milliseconds(20))
    }
    #expect(listener.sessionCount == 1 && !carrier.isClosed)
    #expect(runs(loop) { listener.sessionCount == 0 })
    #expect(carrier.isClosed)
  }

  @Test("A target that cannot be reached gives way to the next, which later clients are spared")
  func nextTarget() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0] }
    let way = TestWay.direct(loop)
    let direct = way.give
    let dead = HostPort(host: "dead.example", port: 1)
    way.give = { $0 == dead ? .failure(TransportFailure(.unreachable, "no way")) : direct($0) }
    let handler = handler(way, [dead, target.address])
    let listener = try listener(handler)
    defer { listener.close() }
    let first = try UDPPeer(loop, connectedTo: local(listener))
    #expect(first.socket.sendOne([1]))
    #expect(runs(loop) { first.received == [[1]] }, "what waited goes to the next target")
    let second = try UDPPeer(loop, connectedTo: local(listener))
    #expect(second.socket.sendOne([2]))
    #expect(runs(loop) { second.received == [[2]] })
    #expect(way.asked == [dead, target.address, target.address])
    #expect(handler.failedOpenings == 1)
  }

  @Test("When no target can be reached, datagrams are dropped and counted, and tried again after a pause")
  func noTarget() throws {
    let way = TestWay(loop: loop)
    let carrier = KeptCarrier()
    var isUp = false
    way.give = { _ in isUp ? .success(carrier) : .failure(TransportFailure(.unreachable, "no way")) }
    let handler = handler(way, [nowhere, HostPort(host: "192.0.2.2", port: 9)])
    let listener = try listener(handler)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([1]))
    #expect(runs(loop) { handler.failedOpenings == 2 })
    #expect(handler.dropped == 1)
    isUp = true
    #expect(
      runs(loop) {
        _ = client.socket.sendOne([2])
        return carrier.sent.contains([2])
      })
    #expect(!carrier.sent.contains([1]))
  }

  @Test("A way that ends is opened anew for the next datagram")
  func lostWay() throws {
    let way = TestWay(loop: loop)
    var carriers: [KeptCarrier] = []
    way.give = { _ in
      carriers.append(KeptCarrier())
      return .success(carriers[carriers.count - 1])
    }
    let handler = handler(way, [nowhere])
    let listener = try listener(handler)
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([1]))
    #expect(runs(loop) { carriers.first?.sent == [[1]] })
    let lost = carriers[0]
    lost.receiver?.carrierFailed(lost, TransportFailure(.lost, "gone"))
    #expect(lost.isClosed && lost.receiver == nil && handler.lostWays == 1)
    #expect(
      runs(loop) {
        _ = client.socket.sendOne([2])
        return carriers.count == 2 && carriers[1].sent.contains([2])
      })
    #expect(listener.sessionCount == 1)
    handler.close()
    #expect(carriers[1].isClosed && listener.sessionCount == 0)
  }

  @Test("A way that comes after its client has gone is closed")
  func lateWay() throws {
    let way = TestWay(loop: loop)
    let handler = handler(way, [nowhere])
    let listener = try listener(handler, DatagramSessionLimits(timeToLive: .milliseconds(20), backlog: 1))
    defer { listener.close() }
    let client = try UDPPeer(loop, connectedTo: local(listener))
    #expect(client.socket.sendOne([1]))
    #expect(runs(loop) { !way.pending.isEmpty && listener.sessionCount == 0 })
    let carrier = KeptCarrier()
    way.pending[0](.success(carrier))
    #expect(carrier.isClosed && carrier.sent.isEmpty)
    #expect(client.socket.sendOne([2]))
    #expect(runs(loop) { way.pending.count == 2 }, "its place in the backlog is free again")
  }

  @Test("Under hash a client's sessions go to one target")
  func hash() throws {
    let way = TestWay(loop: loop)
    way.give = { _ in .success(KeptCarrier()) }
    let targets = (1...7).map { HostPort(host: "192.0.2.\($0)", port: 9) }
    let listener = try listener(handler(way, targets, strategy: .hash))
    defer { listener.close() }
    let at = try local(listener)
    for source in ["127.0.0.1", "127.9.9.9", "127.0.0.1", "127.9.9.9"] {
      let client = try UDPPeer(loop, connectedTo: at, from: source)
      let before = way.asked.count
      #expect(client.socket.sendOne([1]))
      #expect(runs(loop) { way.asked.count == before + 1 })
    }
    #expect(way.asked[0] == way.asked[2] && way.asked[1] == way.asked[3])
    let index = Int(NodeSelector.hash(of: .v4(0x7F00_0001)) % 7)
    #expect(way.asked[0] == targets[index])
  }
}

@Suite("UDP forwards from a far port")
struct RemoteUDPTests {
  private final class FarPort: RemoteListener {
    let address = HostPort(host: "198.51.100.1", port: 5353)
    var accepted: ((any ByteStream, HostPort?) -> Void)?
    var failed: ((TransportFailure) -> Void)?
    let kept = KeptAssociation()
    var association: (any DatagramAssociation)? { kept }
    var legs: [Leg] { [] }
    var isClosed = false
    func close() { isClosed = true }
  }

  private let loop: EventLoop
  private let log = Log(level: .error)

  init() throws { loop = try EventLoop() }

  private func remote(_ target: HostPort, _ limits: DatagramSessionLimits = DatagramSessionLimits())
    -> (RemoteUDPHandler, UDPForwardHandler)
  {
    let forward = UDPForwardHandler(
      loop: loop, log: log, way: TestWay.direct(loop), targets: [target],
      selector: NodeSelector(strategy: .round, nodes: [NodeSelector.Node()], seed: 1))
    return (RemoteUDPHandler(loop: loop, log: log, forward: forward, limits: limits), forward)
  }

  @Test("Each source has its session, its answers go back to it, and it ends after its time to live")
  func sessions() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0 + [1], $0 + [2]] }
    let (handler, forward) = remote(target.address, DatagramSessionLimits(timeToLive: .milliseconds(100)))
    let port = FarPort()
    #expect(handler.accept(port))
    let sources = [
      HostPort(host: "203.0.113.1", port: 1000), HostPort(host: "2001:db8::1", port: 1000),
      HostPort(host: "client.example", port: 7),
    ]
    for (index, source) in sources.enumerated() { port.kept.deliver([UInt8(index)], from: source) }
    port.kept.deliver([], from: sources[0])
    #expect(runs(loop) { port.kept.sent.count == 8 })
    for (index, source) in sources.enumerated() {
      let answers = port.kept.sent.filter { $0.target == source }.map(\.payload)
      let own = [[UInt8(index), 1], [UInt8(index), 2]]
      #expect(answers == (index == 0 ? own + [[1], [2]] : own))
    }
    #expect(handler.sessionCount == 3 && forward.paths.count == 3)
    #expect(runs(loop) { handler.sessionCount == 0 })
    #expect(forward.sessionCount == 0)
  }

  @Test("The end of the port ends the sessions and is told; a new port takes over")
  func portEnds() throws {
    let target = try UDPPeer(loop)
    target.answers = { [$0] }
    let (handler, forward) = remote(target.address)
    let first = FarPort()
    var failures: [TransportFailure] = []
    first.failed = { failures.append($0) }
    #expect(handler.accept(first))
    let source = HostPort(host: "203.0.113.1", port: 1000)
    first.kept.deliver([1], from: source)
    #expect(runs(loop) { first.kept.sent.count == 1 })
    first.kept.observer?.associationFailed(first.kept, TransportFailure(.lost, "gone"))
    #expect(failures.count == 1 && handler.sessionCount == 0 && forward.sessionCount == 0)
    let second = FarPort()
    #expect(handler.accept(second))
    second.kept.deliver([2], from: source)
    #expect(runs(loop) { second.kept.sent.map(\.payload) == [[2]] })
    #expect(first.kept.sent.count == 1)
    handler.close()
    #expect(second.isClosed && handler.sessionCount == 0 && second.kept.observer == nil)
  }

  @Test("Ten thousand sources at the far port meet the limit")
  func flood() throws {
    let (handler, forward) = remote(
      HostPort(host: "unreachable.example", port: 9), DatagramSessionLimits(sessions: 100, backlog: 50))
    let port = FarPort()
    #expect(handler.accept(port))
    for number in 0..<10_000 {
      port.kept.deliver([1], from: HostPort(host: IPAddress.v4(UInt32(number)).description, port: 9))
    }
    #expect(handler.sessionCount == 50 && forward.sessionCount == 50 && handler.refused == 9950)
    handler.close()
    #expect(forward.sessionCount == 0)
  }
}
