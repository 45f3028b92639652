import LinuxIO
import Testing
import Values

@testable import Parts

@Suite("Datagrams to any target from this host")
struct DirectAssociationTests {
  private final class Observer: DatagramAssociationObserver {
    var received: [[UInt8]] = []
    var sources: [HostPort] = []
    func datagramArrived(
      _ payload: UnsafeRawBufferPointer, from source: HostPort, on association: any DatagramAssociation
    ) {
      received.append(Array(payload))
      sources.append(source)
    }
    func associationFailed(_ association: any DatagramAssociation, _ failure: TransportFailure) {}
  }

  /// Answers look-ups when the test says so.
  private final class Names {
    var asked: [String] = []
    var pending: [(Result<[IPAddress], Resolver.Failure>) -> Void] = []
    func lookup(_ host: String, _ completion: @escaping (Result<[IPAddress], Resolver.Failure>) -> Void) {
      asked.append(host)
      pending.append(completion)
    }
  }

  private let loop: EventLoop
  private let observer = Observer()
  private let names = Names()

  init() throws { loop = try EventLoop() }

  private func association(
    _ policy: EgressPolicy = .unrestricted, options: SocketOptions = SocketOptions()
  ) -> DirectAssociation {
    let association = DirectAssociation(
      loop: loop, arena: ReceiveArena(), options: options, policy: policy, lookup: names.lookup)
    association.observer = observer
    return association
  }

  private func send(_ payload: [UInt8], _ association: DirectAssociation, to target: HostPort) {
    payload.withUnsafeBytes { association.send($0, to: target) }
  }

  @Test("Datagrams of every size cross both ways, empty and greatest ones too", arguments: ["127.0.0.1", "::1"])
  func sizes(host: String) throws {
    let peer = try UDPPeer(loop, at: HostPort(host: host, port: 0).description)
    peer.answers = { [$0] }
    let association = association()
    defer { association.close() }
    let sizes = [0, 1, 512, 512, 100, 0, 1472, 1472, 1473, 9000, 16_384, 16_385, 65_507, 3]
    for (index, size) in sizes.enumerated() {
      send([UInt8](repeating: UInt8(index), count: size), association, to: peer.address)
    }
    #expect(runs(loop) { observer.received.count == sizes.count })
    #expect(peer.received.map(\.count) == sizes, "in order")
    #expect(observer.received == peer.received)
    #expect(peer.received.enumerated().allSatisfy { index, payload in payload.allSatisfy { $0 == UInt8(index) } })
    #expect(Set(observer.sources) == [peer.address])
    #expect(association.dropped == 0)
    let leg = try #require(association.legs.first)
    #expect(leg.remote?.value == peer.local && leg.transport == [.udp])
    #expect(leg.traffic == Traffic(forward: UInt64(sizes.reduce(0, +)), back: UInt64(sizes.reduce(0, +))))
  }

  @Test("One association talks to many in both families, and each hears its own")
  func many() throws {
    let peers = try (0..<10).map { try UDPPeer(loop, at: $0 % 2 == 0 ? "127.0.0.1:0" : "[::1]:0") }
    for peer in peers { peer.answers = { [$0 + [99]] } }
    let association = association()
    defer { association.close() }
    for round in 0..<20 {
      for (index, peer) in peers.enumerated() { send([UInt8(index), UInt8(round)], association, to: peer.address) }
    }
    #expect(runs(loop) { observer.received.count == 200 })
    for (index, peer) in peers.enumerated() {
      #expect(peer.received == (0..<20).map { [UInt8(index), UInt8($0)] })
    }
    for (payload, source) in zip(observer.received, observer.sources) {
      #expect(peers[Int(payload[0])].address == source && payload.last == 99)
    }
  }

  @Test("Datagrams wait for a name, leave in order, and ask once")
  func name() throws {
    let peer = try UDPPeer(loop)
    let association = association()
    defer { association.close() }
    let target = HostPort(host: "peer.example", port: peer.local.port)
    for number in 0..<5 { send([UInt8(number)], association, to: target) }
    #expect(names.asked == ["peer.example"])
    names.pending[0](.success([peer.local.address]))
    for number in 5..<8 { send([UInt8(number)], association, to: target) }
    #expect(runs(loop) { peer.received.count == 8 })
    #expect(peer.received == (0..<8).map { [UInt8($0)] })
    #expect(names.asked.count == 1 && association.dropped == 0)
  }

  @Test("A name without an address drops what waited, and is not asked about again at once")
  func noSuchName() {
    let association = association()
    defer { association.close() }
    let target = HostPort(host: "nobody.example", port: 9)
    for _ in 0..<3 { send([1], association, to: target) }
    names.pending[0](.failure(.failed("no such name")))
    #expect(association.dropped == 3)
    send([1], association, to: target)
    #expect(association.dropped == 4 && names.asked.count == 1)
    #expect(association.lastReport == "cannot resolve nobody.example: no such name")
  }

  @Test("What waits for names is bounded in number and in bytes, and so are the look-ups")
  func waiting() {
    let association = association()
    defer { association.close() }
    for _ in 0..<100 { send([1], association, to: HostPort(host: "slow.example", port: 9)) }
    #expect(association.dropped == UInt64(100 - DirectAssociation.maximumWaiting))
    names.pending[0](.failure(.failed("no")))
    let before = association.dropped
    let large = [UInt8](repeating: 0, count: 60_000)
    for _ in 0..<10 { send(large, association, to: HostPort(host: "other.example", port: 9)) }
    #expect(association.dropped - before == UInt64(10 - DirectAssociation.maximumWaitingBytes / 60_000))
    for number in 0..<100 { send([1], association, to: HostPort(host: "n\(number).example", port: 9)) }
    #expect(names.asked.count == 1 + DirectAssociation.maximumLookups)
  }

  @Test("A scan of many targets leaves a bounded table")
  func scan() throws {
    let association = association(.open())
    defer { association.close() }
    // All refused, so that nothing leaves this host.
    for number in 0..<5_000 {
      let host = IPAddress.v4(0x7F00_0000 + UInt32(number)).description
      send([1], association, to: HostPort(host: host, port: 9))
    }
    #expect(association.knownDestinations <= DirectAssociation.maximumDestinations)
    #expect(association.dropped == 5_000)
  }

  @Test("The policy judges every address that a name has, and says so once")
  func policy() throws {
    let peer = try UDPPeer(loop)
    let allowed = try #require(EgressRule("127.0.0.1:\(peer.local.port)"))
    let association = association(.open(exceptions: [allowed]))
    defer { association.close() }
    var refusals: [String] = []
    association.refused = { refusal, _ in refusals.append(refusal.reason) }
    let port = peer.local.port
    for _ in 0..<3 {
      send([1], association, to: HostPort(host: "169.254.169.254", port: 80))
      send([1], association, to: HostPort(host: "::ffff:127.0.0.2", port: port))
    }
    #expect(association.dropped == 6 && refusals.count == 2)
    #expect(refusals.first == "169.254.169.254:80 is not reached from here: it is the cloud's metadata service")
    send([2], association, to: HostPort(host: "mixed.example", port: port))
    names.pending[0](.success([.v4(0x7F00_0002), .v4(0x7F00_0001)]))
    #expect(runs(loop) { peer.received == [[2]] })
    send([3], association, to: HostPort(host: "rebound.example", port: port))
    names.pending[1](.success([.v6(1)]))
    #expect(association.dropped == 7 && refusals.count == 3)
  }

  @Test("An address to which nothing can be sent is passed by for the name's next one")
  func nextAddress() throws {
    let peer = try UDPPeer(loop)
    // From a loopback address the kernel sends to loopback addresses only.
    let association = association(options: SocketOptions(interface: "127.0.0.1"))
    defer { association.close() }
    let target = HostPort(host: "two.example", port: peer.local.port)
    send([1], association, to: target)
    names.pending[0](.success([try #require(IPAddress("192.0.2.1")), peer.local.address]))
    loop.run(until: loop.refreshNow() + .milliseconds(5))
    #expect(association.dropped == 1)
    send([2], association, to: target)
    #expect(runs(loop) { peer.received == [[2]] })
    #expect(peer.sources.first?.address == .v4(0x7F00_0001))
  }

  @Test("A target without a port, and everything after the end, is dropped; an empty host is this one")
  func edges() throws {
    let peer = try UDPPeer(loop)
    let association = association()
    send([1], association, to: HostPort(host: "127.0.0.1", port: 0))
    send([2], association, to: HostPort(host: "", port: peer.local.port))
    association.close()
    association.close()
    send([3], association, to: peer.address)
    #expect(runs(loop) { peer.received == [[2]] }, "what was sent before the end leaves")
    #expect(association.dropped == 2)
  }
}

@Suite("A carrier over an association")
struct AssociationCarrierTests {
  private final class Receiver: DatagramReceiver {
    var batches: [[[UInt8]]] = []
    var failures: [TransportFailure] = []
    func carrierReceived(_ batch: inout PacketBatch, from carrier: any DatagramCarrier) {
      batches.append((0..<batch.count).map { Array(batch[$0]) })
    }
    func carrierWritable(_ carrier: any DatagramCarrier) {}
    func carrierFailed(_ carrier: any DatagramCarrier, _ failure: TransportFailure) { failures.append(failure) }
  }

  private let loop: EventLoop
  private let association = KeptAssociation()
  private let receiver = Receiver()

  init() throws { loop = try EventLoop() }

  private func carrier(_ host: String) -> AssociationCarrier {
    let carrier = AssociationCarrier(
      loop: loop, association: association, target: HostPort(host: host, port: 53))
    carrier.receiver = receiver
    return carrier
  }

  /// One turn, at whose end carriers deliver.
  private func turn() { loop.run(until: loop.refreshNow() + .microseconds(1)) }

  @Test("Every datagram of a batch goes to the target, and those of a turn come as one batch")
  func bothWays() {
    let carrier = carrier("192.0.2.1")
    var batch = PacketBatch(capacity: 1000, maximumCount: 10)
    for payload in [[1, 1], [], [2]] as [[UInt8]] { _ = payload.withUnsafeBytes { batch.append(copying: $0) } }
    let takesMore = carrier.send(&batch)
    #expect(takesMore)
    #expect(association.sent.map(\.payload) == [[1, 1], [], [2]])
    #expect(association.sent.allSatisfy { $0.target == HostPort(host: "192.0.2.1", port: 53) })
    for payload in [[7], [], [8, 8]] as [[UInt8]] {
      association.deliver(payload, from: HostPort(host: "192.0.2.1", port: 53))
    }
    #expect(runs(loop) { receiver.batches == [[[7], [], [8, 8]]] })
    carrier.close()
    #expect(association.isClosed)
  }

  @Test("Datagrams from elsewhere are dropped; behind a name only the port can be compared")
  func strangers() {
    let literal = carrier("192.0.2.1")
    association.deliver([1], from: HostPort(host: "192.0.2.2", port: 53))
    association.deliver([2], from: HostPort(host: "192.0.2.1", port: 54))
    association.deliver([3], from: HostPort(host: "::ffff:192.0.2.1", port: 53))
    #expect(literal.strangers == 2)
    turn()
    let named = carrier("dns.example")
    association.deliver([4], from: HostPort(host: "192.0.2.9", port: 53))
    association.deliver([5], from: HostPort(host: "192.0.2.9", port: 5353))
    turn()
    #expect(named.strangers == 1)
    #expect(receiver.batches == [[[3]], [[4]]])
  }

  @Test("The greatest datagrams come whole, many in one turn")
  func greatest() {
    let carrier = carrier("192.0.2.1")
    for number in 0..<5 {
      association.deliver(
        [UInt8](repeating: UInt8(number), count: 65_507), from: HostPort(host: "192.0.2.1", port: 53))
    }
    turn()
    #expect(carrier.strangers == 0)
    #expect(receiver.batches.flatMap { $0 }.map(\.count) == [65_507, 65_507, 65_507, 65_507, 65_507])
    #expect(receiver.batches.flatMap { $0 }.map { $0[65_506] } == [0, 1, 2, 3, 4])
  }

  @Test("The association's end is the carrier's, once, after what came before it")
  func end() {
    let carrier = carrier("192.0.2.1")
    association.deliver([1], from: HostPort(host: "192.0.2.1", port: 53))
    for _ in 0..<2 { carrier.associationFailed(association, TransportFailure(.lost, "gone")) }
    turn()
    #expect(receiver.batches == [[[1]]] && receiver.failures.count == 1)
    #expect(association.isClosed)
  }
}
