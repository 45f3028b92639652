import LinuxIO
import Testing
import Values

@testable import Parts
@testable import Smux

@Suite("Streams of a mux session over a stream")
struct MuxTests {
  private let loop: EventLoop
  private let held = Held()

  init() throws { loop = try EventLoop() }

  /// What must live as long as a test runs: a stream that nobody holds is closed, and the optimiser lets go of a local
  /// after its last use.
  private final class Held {
    var objects: [AnyObject] = []
  }

  /// Two ends of a session and who holds them.
  private final class Pair {
    var client: MuxSession?
    var server: MuxSession?
    /// What the server accepted, in order.
    var accepted: [Owner] = []
    private var opened: [Owner] = []
    var ends: [TransportFailure] = []
    let wires: (Wire, Wire)

    init(
      _ loop: EventLoop, _ held: Held, _ settings: SmuxSettings, serverSettings: SmuxSettings? = nil,
      capacity: Int = 10_000,
      accepts: Bool = true, reads: Bool = true
    ) {
      wires = Wire.pair(loop: loop, capacity: capacity)
      client = MuxSession(
        loop: loop, below: wires.0, side: .client, settings: settings, accept: nil,
        closed: { [weak self] in self?.ends.append($0) })
      let accept: (any ByteStream) -> Void = { [weak self] in
        let owner = Owner($0)
        owner.isReading = reads
        self?.accepted.append(owner)
      }
      server = MuxSession(
        loop: loop, below: wires.1, side: .server, settings: serverSettings ?? settings,
        accept: accepts ? accept : nil, closed: { [weak self] in self?.ends.append($0) })
      held.objects.append(self)
    }

    func open(_ count: Int, readSize: Int = 20_000) throws -> [Owner] {
      let owners = try (0..<count).map { _ in Owner(try #require(client?.openStream()), readSize: readSize) }
      opened += owners
      return owners
    }
  }

  private static let versions = SmuxVersion.allCases

  // MARK: Bytes

  @Test("A megabyte each way over fifty streams, and every stream ends where it was ended", arguments: versions)
  func fifty(_ version: SmuxVersion) throws {
    for (capacity, frame, buffer) in [(10_000, 32_768, 65_536), (200_000, 1_000, 3_000), (500, 10, 8)] {
      let settings = SmuxSettings(version: version, maximumFrame: frame, streamBuffer: buffer)
      let pair = Pair(loop, held, settings, capacity: capacity)
      let count = frame < 100 ? 3 : 50
      let size = frame < 100 ? 20_000 : 1 << 20 / 50
      let owners = try pair.open(count)
      #expect(owners.allSatisfy { $0.stream.layers == [.tcp, .smux(version: version.rawValue)] })
      for (index, owner) in owners.enumerated() { owner.send(bytes(size + index, index), finish: true) }
      #expect(loop.run { pair.accepted.count < count })
      for (index, owner) in pair.accepted.enumerated() { owner.send(bytes(size - index, index + 7), finish: true) }
      #expect(loop.run { !(owners + pair.accepted).allSatisfy(\.hasEnded) })
      for index in 0..<count {
        #expect(pair.accepted[index].has(size + index, index), "stream \(index)")
        #expect(owners[index].has(size - index, index + 7), "stream \(index)")
      }
      #expect((owners + pair.accepted).allSatisfy { $0.failure == nil })
      for owner in owners + pair.accepted { owner.stream.close() }
      #expect(pair.client?.streamCount == 0)
      #expect(pair.server?.streamCount == 0)
      #expect(pair.ends.isEmpty)
    }
  }

  @Test("A stream of version 2 that nobody reads holds up no other; one of version 1 does, until it is read")
  func stalled() throws {
    for version in Self.versions {
      let settings = SmuxSettings(version: version, receiveBuffer: 600_000)
      let pair = Pair(loop, held, settings, capacity: 100_000, reads: false)
      let owners = try pair.open(2)
      owners[0].send(bytes(2_000_000, 1), finish: true)
      #expect(loop.run { pair.accepted.count < 2 })
      loop.run(until: loop.refreshNow() + .milliseconds(20))
      let stuck = try #require(pair.accepted.first)
      let other = try #require(pair.accepted.last)
      other.isReading = true
      owners[1].send(bytes(500_000, 2), finish: true)
      if version == .two {
        #expect(loop.run { !other.hasEnded })
        #expect(other.has(500_000, 2))
        #expect(pair.server?.unread(3) == SmuxSession.initialWindow)
      } else {
        #expect(loop.run { pair.server?.unread(3) ?? 0 < 600_000 })
        loop.run(until: loop.refreshNow() + .milliseconds(5))
        #expect(!other.hasEnded)
        #expect(pair.server?.unread(3) ?? .max <= 665_536)
      }
      #expect(stuck.received.isEmpty)
      stuck.isReading = true
      #expect(loop.run { !stuck.hasEnded || !other.hasEnded })
      #expect(stuck.has(2_000_000, 1))
      #expect(other.has(500_000, 2))
    }
  }

  @Test("A bulk stream delays a small one by a frame, not by what it has to send", arguments: versions)
  func fair(_ version: SmuxVersion) throws {
    let pair = Pair(loop, held, SmuxSettings(version: version, maximumFrame: 2_000), capacity: 20_000)
    let owners = try pair.open(2)
    owners[0].send(bytes(3_000_000, 1), finish: true)
    owners[1].send(bytes(10_000, 2), finish: true)
    // Looked at in every turn: a millisecond is enough for everything.
    var ahead: Int?
    func look() {
      if ahead == nil, pair.accepted.count == 2, pair.accepted[1].hasEnded {
        ahead = pair.accepted[0].received.count
      } else if ahead == nil {
        loop.later(look)
      }
    }
    look()
    #expect(loop.run { pair.accepted.count < 2 || !pair.accepted.allSatisfy(\.hasEnded) })
    #expect(pair.accepted.last?.has(10_000, 2) == true)
    #expect(pair.accepted.first?.has(3_000_000, 1) == true)
    // What had filled the room before the small one came, and a frame for each of its own.
    #expect((ahead ?? .max) < 300_000)
  }

  @Test("The server opens streams as well")
  func fromServer() throws {
    let wires = Wire.pair(loop: loop)
    var accepted: [Owner] = []
    let client = MuxSession(
      loop: loop, below: wires.0, side: .client, settings: SmuxSettings(), accept: { accepted.append(Owner($0)) },
      closed: { _ in })
    let server = MuxSession(
      loop: loop, below: wires.1, side: .server, settings: SmuxSettings(), accept: nil, closed: { _ in })
    let owner = Owner(try #require(server.openStream()))
    held.objects = [client, server, owner]
    owner.send([1, 2, 3], finish: true)
    #expect(loop.run { accepted.first?.hasEnded != true })
    #expect(accepted.first?.received == [1, 2, 3])
    // And whoever accepts none closes at once what the other end opens.
    let unwanted = Owner(try #require(client.openStream()))
    #expect(loop.run { !unwanted.hasEnded })
    unwanted.send([1])
    #expect(server.streamCount == 1)
  }

  // MARK: Ends

  @Test("What was written before a close arrives, and then the end", arguments: versions)
  func closeAfterWrite(_ version: SmuxVersion) throws {
    let pair = Pair(loop, held, SmuxSettings(version: version))
    let owner = try #require(pair.open(1).first)
    owner.send(bytes(9_000, 3))
    owner.stream.close()
    #expect(loop.run { pair.accepted.first?.hasEnded != true })
    #expect(pair.accepted.first?.has(9_000, 3) == true)
    #expect(pair.client?.streamCount == 0)
  }

  @Test(
    "Who writes to a stream that the other end has closed is told, once it has read everything", arguments: versions)
  func writeAfterClose(_ version: SmuxVersion) throws {
    let pair = Pair(loop, held, SmuxSettings(version: version), reads: false)
    let owner = try #require(pair.open(1).first)
    owner.send([1, 2, 3])
    // A direction finished and then the stream closed: the other end need not guess.
    owner.stream.finish()
    owner.stream.close()
    #expect(loop.run { pair.accepted.first.map { $0.stream.isReady(3) } != true })
    let accepted = try #require(pair.accepted.first)
    loop.run(until: loop.refreshNow() + .milliseconds(5))
    accepted.send(bytes(1_000_000, 1))
    loop.run(until: loop.refreshNow() + .milliseconds(5))
    #expect(accepted.failure == nil)
    accepted.isReading = true
    #expect(loop.run { accepted.failure == nil })
    #expect(accepted.received == [1, 2, 3])
    #expect(accepted.failure?.kind == .lost)
    accepted.stream.close()
    #expect(pair.server?.streamCount == 0)
  }

  @Test("Who waits for room on a stream that the other end closes is told", arguments: versions)
  func closeUnderWriter(_ version: SmuxVersion) throws {
    let settings = SmuxSettings(version: version, receiveBuffer: 100_000)
    let pair = Pair(loop, held, settings)
    let owner = try #require(pair.open(1).first)
    owner.isReading = false
    #expect(loop.run { pair.accepted.isEmpty })
    let accepted = try #require(pair.accepted.first)
    accepted.send(bytes(1_000_000, 1))
    loop.run(until: loop.refreshNow() + .milliseconds(20))
    owner.stream.finish()
    owner.stream.close()
    #expect(loop.run { accepted.failure == nil })
    #expect(accepted.hasEnded)
  }

  @Test("Both ends close at once, in the middle of both directions", arguments: versions)
  func closeRace(_ version: SmuxVersion) throws {
    let pair = Pair(loop, held, SmuxSettings(version: version))
    for round in 0..<40 {
      let known = pair.accepted.count
      let owners = try pair.open(3)
      for owner in owners { owner.send(bytes(30_000 + round, round)) }
      #expect(loop.run { pair.accepted.count < known + 3 })
      let accepted = pair.accepted[known...]
      for owner in accepted { owner.send(bytes(30_000, 1), finish: round % 3 == 0) }
      loop.run(until: loop.refreshNow() + .microseconds(Int64(round) * 20))
      for owner in owners { owner.stream.close() }
      if round % 2 == 0 { loop.run(until: loop.refreshNow() + .microseconds(100)) }
      for owner in accepted { owner.stream.close() }
    }
    // The session is as good as new.
    let last = try #require(pair.open(1).first)
    last.send(bytes(100_000, 9), finish: true)
    #expect(loop.run { pair.accepted.last?.hasEnded != true || pair.accepted.last?.received.count != 100_000 })
    #expect(pair.client?.streamCount == 1 && pair.server?.streamCount == 1)
    #expect(pair.ends.isEmpty)
  }

  @Test("A stream that nobody holds is closed")
  func dropped() throws {
    let pair = Pair(loop, held, SmuxSettings())
    _ = pair.client?.openStream()
    #expect(pair.client?.streamCount == 0)
    let owner = try #require(pair.open(1).first)
    #expect(loop.run { pair.accepted.count < 2 })
    #expect(pair.accepted.first?.hasEnded == true || loop.run { pair.accepted.first?.hasEnded != true })
    pair.accepted.removeLast()
    #expect(loop.run { !owner.hasEnded })
    #expect(pair.server?.streamCount == 1)
  }

  // MARK: The end of the session

  @Test("When the connection ends every stream fails, but for those that had ended before", arguments: versions)
  func death(_ version: SmuxVersion) throws {
    let pair = Pair(loop, held, SmuxSettings(version: version), capacity: 1 << 20, reads: false)
    let owners = try pair.open(10)
    for owner in owners { owner.send(bytes(1_000, 4), finish: owner === owners[0]) }
    #expect(loop.run { pair.accepted.count < 10 })
    loop.run(until: loop.refreshNow() + .milliseconds(5))
    pair.wires.0.close()
    #expect(loop.run { pair.ends.isEmpty || pair.accepted.filter { $0.failure != nil }.count < 9 })
    #expect(pair.ends.map(\.kind) == [.lost])
    #expect(pair.server?.openStream() == nil)
    let ended = try #require(pair.accepted.first)
    #expect(ended.failure == nil)
    ended.isReading = true
    #expect(loop.run { !ended.hasEnded })
    #expect(ended.has(1_000, 4))
    // There is nobody to answer any more.
    ended.send([1])
    #expect(loop.run { ended.failure == nil })
  }

  @Test("A session that is closed sends what was written, fails its streams and calls nobody else")
  func closeSession() throws {
    let pair = Pair(loop, held, SmuxSettings(), capacity: 2_000)
    let owners = try pair.open(2)
    owners[0].send(bytes(50_000, 5), finish: true)
    pair.client?.close()
    #expect(owners.allSatisfy { $0.failure == nil })
    #expect(pair.client?.openStream() == nil)
    #expect(loop.run { pair.ends.isEmpty })
    #expect(owners.allSatisfy { $0.failure?.kind == .local })
    #expect(pair.ends.count == 1)
    let first = try #require(pair.accepted.first)
    #expect(first.hasEnded && first.has(50_000, 5))
    #expect(pair.accepted.last?.failure?.kind == .lost)
  }

  @Test("Sessions and streams that nobody holds any more leave nothing behind, whether closed or dropped")
  func memory() throws {
    for isClosed in [true, false] {
      weak var session: MuxSession?
      weak var stream: MuxStream?
      var wires: (Wire, Wire)?
      do {
        let pair = Pair(loop, Held(), SmuxSettings(version: .two))
        let owner = try #require(pair.open(3).first)
        owner.send(bytes(100_000, 1), finish: true)
        #expect(loop.run { pair.accepted.first?.hasEnded != true })
        session = pair.client
        stream = owner.stream as? MuxStream
        wires = pair.wires
        #expect(session != nil && stream != nil)
        if isClosed {
          pair.client?.close()
          pair.server?.close()
        }
      }
      #expect(loop.run { session != nil || stream != nil })
      #expect(wires?.0.isClosed == true && wires?.1.isClosed == true)
    }
  }

  @Test("Ends of different versions part, and each says why")
  func versionMismatch() throws {
    let pair = Pair(loop, held, SmuxSettings(version: .one), serverSettings: SmuxSettings(version: .two))
    let owner = try #require(pair.open(1).first)
    #expect(loop.run { pair.ends.count < 2 })
    #expect(pair.ends.first?.kind == .violation)
    #expect(pair.ends.first?.reason.contains("version 1, this one is set to version 2") == true)
    #expect(owner.failure?.kind == .lost)
    #expect(pair.accepted.isEmpty)
  }

  @Test("A session whose other end says nothing ends after its keepalive's timeout, having given signs of life")
  func silence() throws {
    let settings = SmuxSettings(keepaliveInterval: .milliseconds(20), keepaliveTimeout: .milliseconds(100))
    let wires = Wire.pair(loop: loop)
    var failure: TransportFailure?
    let lonely = MuxSession(
      loop: loop, below: wires.0, side: .client, settings: settings, accept: nil, closed: { failure = $0 })
    let stream = Owner(try #require(lonely.openStream()))
    held.objects = [lonely, stream, wires.0, wires.1]
    #expect(loop.run { failure == nil })
    #expect(stream.failure == failure)
    #expect(failure?.kind == .lost)
    #expect(failure?.reason.contains("keepalive") == true)
    let sent = wires.1.incoming
    #expect(sent.starts(with: [1, 0, 0, 0, 3, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0]))
    #expect(sent.count >= 24)
    #expect(wires.0.isClosed)
  }
}

private func bytes(_ count: Int, _ step: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: $0 &* step &+ $0 >> 8) }
}

extension Owner {
  /// Whether these bytes came and no others. A failed comparison of millions would be explained for minutes.
  fileprivate func has(_ count: Int, _ step: Int) -> Bool { received == bytes(count, step) }
}

extension ByteStream {
  /// Whether a stream of a session holds so many bytes that were not read.
  fileprivate func isReady(_ count: Int) -> Bool { (self as? MuxStream)?.unread == count }
}
