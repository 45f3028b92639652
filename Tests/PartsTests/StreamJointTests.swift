import LinuxIO
import Testing
import Values

@testable import Parts

// Long arrays are compared without `==`, because a failed one is printed with its differences, which takes for ever.
@Suite struct StreamJointTests {
  private let loop: EventLoop
  private let shared: StreamJoint.Shared

  init() throws {
    loop = try EventLoop()
    shared = StreamJoint.Shared(loop: loop)
  }

  private static func noise(_ count: Int, _ seed: UInt64) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 33)
    }
  }

  @Test func bytesGoBothWaysWholeAndInOrderThroughStreamsThatTakeLittleAtATime() {
    let (client, near) = Wire.pair(loop: loop)
    let (far, server) = Wire.pair(loop: loop)
    var ended = 0
    let joint = StreamJoint(shared: shared, near, far) { _ in ended += 1 }
    joint.start()
    let left = Owner(client)
    let right = Owner(server)
    let up = Self.noise(400_000, 1)
    let down = Self.noise(300_000, 2)
    left.send(up, finish: true)
    right.send(down, finish: true)
    #expect(loop.run { ended == 0 })
    #expect(loop.run { !left.hasEnded || !right.hasEnded })
    #expect(right.received.elementsEqual(up))
    #expect(left.received.elementsEqual(down))
    #expect(joint.traffic == Traffic(forward: 400_000, back: 300_000))
  }

  @Test func aDirectionThatHasEndedLeavesTheOtherOpen() {
    let (client, near) = Wire.pair(loop: loop)
    let (far, server) = Wire.pair(loop: loop)
    var ended = false
    let joint = StreamJoint(shared: shared, near, far) { _ in ended = true }
    joint.start()
    let left = Owner(client)
    let right = Owner(server)
    left.send([1, 2, 3], finish: true)
    #expect(loop.run { !right.hasEnded })
    #expect(right.received == [1, 2, 3])
    #expect(!ended)
    right.send(Self.noise(50_000, 3), finish: true)
    #expect(loop.run { !left.hasEnded })
    #expect(left.received.elementsEqual(Self.noise(50_000, 3)))
    #expect(loop.run { !ended })
  }

  @Test func aReaderThatTakesNothingStopsTheSenderAndLosesNothing() {
    let (client, near) = Wire.pair(loop: loop)
    let (far, server) = Wire.pair(loop: loop)
    let joint = StreamJoint(shared: shared, near, far) { _ in }
    joint.start()
    let left = Owner(client)
    let right = Owner(server)
    right.isReading = false
    let bytes = Self.noise(500_000, 4)
    left.send(bytes, finish: true)
    loop.run(until: loop.now + .milliseconds(50))
    // Two wires of 10,000 bytes, one read of ours on its way between them.
    #expect(joint.traffic.forward < 200_000)
    #expect(right.received.isEmpty)
    right.isReading = true
    #expect(loop.run { !right.hasEnded })
    #expect(right.received.elementsEqual(bytes))
  }

  @Test func anEndThatFailsEndsBothAndIsToldOnce() {
    let (_, near) = Wire.pair(loop: loop)
    let (far, server) = Wire.pair(loop: loop)
    var failures: [TransportFailure?] = []
    let joint = StreamJoint(shared: shared, near, far) { failures.append($0) }
    joint.start()
    let right = Owner(server)
    joint.streamFailed(near, TransportFailure(.lost, "gone"))
    joint.streamFailed(near, TransportFailure(.lost, "gone"))
    #expect(loop.run { !right.hasEnded })
    #expect(failures == [TransportFailure(.lost, "gone")])
    #expect(near.isClosed && far.isClosed)
  }

  /// A pair of real connections on loopback.
  private func tcpPair() throws -> (TCPStream, TCPStream) {
    var accepted: TCPStream?
    let listener = try TCPListener(loop: loop, at: Endpoint(.v4(0x7f00_0001), port: 0)) { accepted = $0 }
    let port = try #require(listener.receipt.local?.port)
    var connected = false
    let stream = try TCPStream(
      loop: loop, to: Endpoint(.v4(0x7f00_0001), port: port), options: SocketOptions()
    ) { failure in connected = failure == nil }
    #expect(loop.run { !connected || accepted == nil })
    listener.close()
    return (stream, try #require(accepted))
  }

  @Test func plainStreamsAreJoinedInTheKernelAlsoBehindBytesThatWereReadTooFar() throws {
    let (client, near) = try tcpPair()
    let (far, server) = try tcpPair()
    var ended = false
    let prefixed = PrefixedStream(loop: loop, near, prefix: [1, 2, 3])
    let joint = StreamJoint(shared: shared, prefixed, far) { _ in ended = true }
    joint.start()
    let left = Owner(client)
    let right = Owner(server)
    let up = Self.noise(5_000_000, 5)
    let down = Self.noise(3_000_000, 6)
    left.send(up, finish: true)
    right.send(down, finish: true)
    #expect(loop.run { !ended || !left.hasEnded || !right.hasEnded })
    #expect(right.received.elementsEqual([1, 2, 3] + up))
    #expect(left.received.elementsEqual(down))
    #expect(joint.traffic == Traffic(forward: 5_000_003, back: 3_000_000))
  }

  @Test func aSlowReaderOfAKernelJoinLosesNothingEither() throws {
    let (client, near) = try tcpPair()
    let (far, server) = try tcpPair()
    let joint = StreamJoint(shared: shared, near, far) { _ in }
    joint.start()
    let left = Owner(client)
    let right = Owner(server)
    right.isReading = false
    let bytes = Self.noise(20_000_000, 7)
    left.send(bytes, finish: true)
    loop.run(until: loop.now + .milliseconds(200))
    #expect(joint.traffic.forward < 20_000_000)
    right.isReading = true
    #expect(loop.run { !right.hasEnded })
    #expect(right.received.count == bytes.count)
    #expect(right.received.elementsEqual(bytes))
  }

  /// The kernel raises SIGPIPE for a splice to a connection that had been finished from the other end and was then reset.
  @Test func aTargetThatGoesAwayInTheMiddleEndsAKernelJoinAndNotTheProcess() throws {
    let (client, near) = try tcpPair()
    let (far, server) = try tcpPair()
    var failures: [TransportFailure?] = []
    let joint = StreamJoint(shared: shared, near, far) { failures.append($0) }
    joint.start()
    let left = Owner(client)
    // Nobody reads at the target, so that its close is a reset.
    left.send([1, 2, 3])
    server.finish()
    #expect(loop.run { !left.hasEnded || joint.traffic.forward < 3 })
    left.send(Self.noise(100_000, 8))
    server.close()
    #expect(loop.run { failures.isEmpty })
    #expect(failures.count == 1)
    #expect(failures.first??.kind == .lost)
  }

  /// A failed write takes the error off the socket, and whoever asks the socket later hears of an orderly end.
  @Test func aWriteToAConnectionThatWasResetIsToldToItsOwnerAsAFailure() throws {
    let (client, near) = try tcpPair()
    let left = Owner(client)
    left.send([1, 2, 3])
    near.close()
    left.send(Self.noise(1_000, 9))
    #expect(loop.run { left.failure == nil })
    #expect(left.failure?.kind == .lost)
  }
}

@Suite struct HalfOpenTableTests {
  private final class Key {}
  private let loop: EventLoop

  init() throws { loop = try EventLoop() }

  @Test func aClientThatSaysNothingHasToGoWhenItsTimeIsUp() {
    let table = HalfOpenTable(loop: loop)
    let keys = [Key(), Key()]
    var gone: [Int] = []
    for (index, key) in keys.enumerated() {
      table.add(ObjectIdentifier(key), from: .v4(1), within: .milliseconds(20)) { _ in gone.append(index) }
    }
    table.remove(ObjectIdentifier(keys[0]))
    #expect(loop.run { gone.isEmpty })
    #expect(gone == [1])
    #expect(table.count == 0)
    #expect(table.expiries == 1)
  }

  @Test func aClientThatIsAddedAgainBeginsAnewAndIsEndedOnce() {
    let table = HalfOpenTable(loop: loop)
    let key = Key()
    var gone: [Int] = []
    for index in 0..<3 {
      table.add(ObjectIdentifier(key), from: .v4(1), within: .milliseconds(20)) { _ in gone.append(index) }
    }
    #expect(table.count == 1)
    #expect(loop.run { gone.isEmpty })
    #expect(gone == [2] && table.count == 0 && table.expiries == 1)
    table.add(ObjectIdentifier(key), from: .v4(1), within: .seconds(60)) { _ in gone.append(3) }
    table.remove(ObjectIdentifier(key))
    #expect(table.count == 0)
  }

  @Test func aSourceThatFillsTheTableCrowdsOutItselfAndNobodyElse() {
    let table = HalfOpenTable(loop: loop, maximum: 100, maximumFromOne: 10)
    let other = Key()
    var otherGone = false
    table.add(ObjectIdentifier(other), from: .v4(2), within: .seconds(60)) { _ in otherGone = true }
    let keys = (0..<1000).map { _ in Key() }
    var gone: [Int] = []
    for (index, key) in keys.enumerated() {
      table.add(ObjectIdentifier(key), from: .v4(1), within: .seconds(60)) { _ in gone.append(index) }
    }
    #expect(table.count == 100)
    #expect(!otherGone)
    #expect(gone == Array(0..<901))
  }

  @Test func aCrowdThatComesAtOnceIsLetIn_andMakesRoomOnceItIsSlow() {
    let table = HalfOpenTable(loop: loop, maximum: 1000, maximumFromOne: 10, patience: .milliseconds(30))
    let keys = (0..<201).map { _ in Key() }
    var gone: [Int] = []
    for (index, key) in keys.enumerated() {
      if index == 200 { loop.run(until: loop.refreshNow() + .milliseconds(40)) }
      table.add(ObjectIdentifier(key), from: .v4(1), within: .seconds(60)) { _ in gone.append(index) }
      if index == 199 { #expect(gone.isEmpty) }
    }
    #expect(gone == [0])
  }

  @Test func aFullTableMakesRoomByTheOneThatHasWaitedLongest() {
    let table = HalfOpenTable(loop: loop, maximum: 5, maximumFromOne: 5)
    let keys = (0..<8).map { _ in Key() }
    var gone: [Int] = []
    for (index, key) in keys.enumerated() {
      table.add(ObjectIdentifier(key), from: .v4(UInt32(index)), within: .seconds(60)) { _ in gone.append(index) }
    }
    #expect(gone == [0, 1, 2])
    table.close()
    #expect(Set(gone) == Set(0..<8))
  }
}
