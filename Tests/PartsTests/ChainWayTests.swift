import LinuxIO
import NodeSelection
import RelayProtocol
import Testing
import Values

@testable import Parts

/// A node in memory: a dialer that gives wires, or fails, and remembers.
private final class MemoryDialer: Dialer {
  let loop: EventLoop
  var failure: TransportFailure?
  private(set) var dialled = 0
  private(set) var resets = 0
  /// What was asked of the hops before, where there are some.
  private(set) var asked: [HostPort] = []
  /// The far ends of the streams that were given.
  private(set) var ends: [Wire] = []
  private let address: HostPort

  init(_ loop: EventLoop, address: HostPort = HostPort(host: "192.0.2.1", port: 1)) {
    self.loop = loop
    self.address = address
  }

  func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    dialled += 1
    if let failure {
      loop.later { completion(.failure(failure)) }
    } else if let source {
      asked.append(address)
      source(address, completion)
    } else {
      let (near, far) = Wire.pair(loop: loop)
      ends.append(far)
      loop.later { completion(.success(near)) }
    }
  }

  func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {}
  func reset() { resets += 1 }
  func close() {}
  func reportedLegs(of stream: any ByteStream) -> [Leg]? { nil }
  func reportedFailure(of stream: any ByteStream) -> String? { nil }
}

@Suite struct ChainWayTests {
  private let loop: EventLoop
  private let target = HostPort(host: "example.com", port: 443)

  init() throws { loop = try EventLoop() }

  private func way(
    _ hops: [[MemoryDialer]], _ strategy: NodeSelector.Strategy = .fifo,
    connector: ((EventLoop) -> any Connector)? = nil
  ) -> ChainWay {
    let make = connector ?? { ForwardConnector(loop: $0) }
    return ChainWay(
      loop: loop,
      hops: hops.enumerated().map { number, dialers in
        ChainWay.Hop(
          name: "hop-\(number)",
          nodes: dialers.enumerated().map { index, dialer in
            ChainWay.Node(
              name: "node-\(number)-\(index)", address: HostPort(host: "192.0.2.\(number)", port: 1),
              kind: .dialled(dialer, make(loop)))
          },
          selector: NodeSelector(
            strategy: strategy, nodes: dialers.map { _ in NodeSelector.Node() }, seed: 1))
      },
      direct: DirectWay(loop: loop, arena: ReceiveArena(), options: SocketOptions(), policy: .unrestricted))
  }

  private func open(_ way: ChainWay) -> Result<RoutedStream, TransportFailure>? {
    var result: Result<RoutedStream, TransportFailure>?
    way.openStream(to: target, for: nil) { result = $0 }
    #expect(loop.run { result == nil })
    return result
  }

  @Test func aNodeThatCannotBeReachedIsPassedByAndRemembered() throws {
    let dead = MemoryDialer(loop)
    dead.failure = TransportFailure(.refused, "connection refused")
    let alive = MemoryDialer(loop)
    let way = way([[dead, alive]])
    let first = try #require(try open(way)?.get())
    #expect(first.legs().first?.to == .hop("node-0-1"))
    _ = open(way)
    #expect(dead.dialled == 1)
    #expect(alive.dialled == 2)
    #expect(dead.resets == 1)
  }

  @Test func whenNobodyIsLeftTheLastFailureIsToldWithItsNode() {
    let one = MemoryDialer(loop)
    let other = MemoryDialer(loop)
    one.failure = TransportFailure(.timeout, "no answer")
    other.failure = TransportFailure(.refused, "connection refused")
    guard case .failure(let failure)? = open(way([[one, other]])) else {
      Issue.record("it opened")
      return
    }
    #expect(failure.reason == "node node-0-1: connection refused")
    #expect(one.dialled == 1 && other.dialled == 1)
  }

  @Test func eachHopIsReachedThroughTheOneBefore() throws {
    let first = MemoryDialer(loop)
    let second = MemoryDialer(loop, address: HostPort(host: "192.0.2.9", port: 9))
    let way = way([[first], [second]], connector: { RelayConnector(loop: $0, credentials: nil) })
    let routed = try #require(try open(way)?.get())
    #expect(second.asked == [HostPort(host: "192.0.2.9", port: 9)])
    // Both requests lie on the one connection to the first node, one behind the other.
    let end = try #require(first.ends.first)
    let owner = Owner(end)
    #expect(loop.run { owner.received.count < 36 })
    let expected =
      (RelayRequest.connect(to: HostPort(host: "192.0.2.9", port: 9), over: .tcp).encode() ?? [])
      + (RelayRequest.connect(to: target, over: .tcp).encode() ?? [])
    #expect(owner.received == expected)
    let legs = routed.legs()
    #expect(legs.map(\.to) == [.hop("node-0-0"), .hop("node-1-0"), .target("example.com:443")])
    #expect(legs.map(\.from) == [.us, .hop("node-0-0"), .hop("node-1-0")])
    #expect(legs[1].transport == [.relay])
    #expect(legs[1].remote == nil && legs[2].transport.isEmpty)
    // Both answer, and then bytes are the target's.
    owner.send([1, 0, 0, 0, 1, 0, 0, 0, 42])
    let mine = Owner(routed.stream)
    #expect(loop.run { mine.received.isEmpty })
    #expect(mine.received == [42])
  }

  @Test func aRelayThatSaysNoEndsTheStreamWithItsReason() throws {
    let node = MemoryDialer(loop)
    let way = way([[node]], connector: { RelayConnector(loop: $0, credentials: ("u", "p")) })
    let routed = try #require(try open(way)?.get())
    let mine = Owner(routed.stream)
    let end = try #require(node.ends.first)
    let owner = Owner(end)
    owner.send([1, 2, 0, 0])
    #expect(loop.run { mine.failure == nil })
    #expect(mine.failure == TransportFailure(.refused, "the relay refused: unauthorized"))
  }

  @Test func aResponseMayComeInAnySplit() throws {
    for split in 1..<12 {
      let node = MemoryDialer(loop)
      let way = way([[node]], connector: { RelayConnector(loop: $0, credentials: nil) })
      let routed = try #require(try open(way)?.get())
      let mine = Owner(routed.stream)
      let owner = Owner(try #require(node.ends.first))
      let bytes: [UInt8] = [1, 0, 0, 4, 9, 0, 1, 7, 65, 66, 67, 68]
      owner.send(Array(bytes[..<split]))
      loop.run(until: loop.now + .milliseconds(2))
      owner.send(Array(bytes[split...]))
      #expect(loop.run { mine.received.count < 4 })
      #expect(mine.received == [65, 66, 67, 68])
    }
  }

  @Test func aNodeThatRejectsIsADeadEnd() {
    let hop = ChainWay.Hop(
      name: "h", nodes: [ChainWay.Node(name: "no", address: nil, kind: .transparent(rejects: true))],
      selector: NodeSelector(strategy: .round, nodes: [NodeSelector.Node()], seed: 1))
    let way = ChainWay(
      loop: loop, hops: [hop],
      direct: DirectWay(loop: loop, arena: ReceiveArena(), options: SocketOptions(), policy: .unrestricted))
    guard case .failure(let failure)? = open(way) else {
      Issue.record("it opened")
      return
    }
    #expect(failure.kind == .forbidden)
  }
}

@Suite struct TCPRaceTests {
  @Test func theFamiliesTakeTurnsBeginningWithTheResolversChoice() throws {
    let texts = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::3]:1", "192.0.2.2:1"]
    let order = TCPRace.interleaved(texts.compactMap { Endpoint($0) })
    #expect(
      order.map(\.description) == [
        "[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1", "[2001:db8::3]:1",
      ])
  }

  @Test func aDeadAddressIsPassedByWithinAQuarterOfASecond() throws {
    let loop = try EventLoop()
    var accepted: TCPStream?
    let listener = try TCPListener(loop: loop, at: Endpoint(.v4(0x7f00_0001), port: 0)) { accepted = $0 }
    let port = try #require(listener.receipt.local?.port)
    // Nothing listens on the first address.
    let race = [Endpoint(.v4(0x7f00_0002), port: port), Endpoint(.v4(0x7f00_0001), port: port)]
    var result: Result<TCPStream, TransportFailure>?
    let running = TCPRace(loop: loop, to: race, options: SocketOptions()) { result = $0 }
    #expect(loop.run { result == nil || accepted == nil })
    #expect(try #require(try result?.get()).receipt.remote == race[1])
    withExtendedLifetime(running) { listener.close() }
  }
}
