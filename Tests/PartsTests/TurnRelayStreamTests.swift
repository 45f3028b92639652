import LinuxIO
import STUN
import TURN
import Testing
@_spi(SocketLayer) import Values

@testable import Parts

/// Streams of a relay's clients who have nothing there.
@Suite("A relay's streams") struct TurnRelayStreamTests {
  private let loop: EventLoop
  private let relay: TurnRelay

  private static let server = Endpoint(.v4(0x7F00_0001), port: 3_478)

  init() throws {
    loop = try EventLoop()
    var settings = TurnSettings()
    settings.isOpen = true
    settings.isMobile = true
    settings.addresses = [RelayAddress(local: Self.server.address)]
    relay = TurnRelay(
      loop: loop, arena: ReceiveArena(), joints: StreamJoint.Shared(loop: loop), log: Log(level: .error),
      settings: settings, users: TurnUsers(realm: settings.realm), policy: .relaying(), patience: .milliseconds(1_500))
  }

  @Test("A client that never asks for an allocation is sent away in time, and so is one whose allocation has ended")
  func strangers() throws {
    let (silent, asking, other) = (client(1), client(2), client(3))
    let begin = loop.now
    ask(asking.far, .allocate) { $0.add(.requestedTransport, byte: 17) }
    // Answered gladly, and no reason to stay.
    ask(other.far, .binding)
    #expect(loop.run { !silent.near.isClosed || !other.near.isClosed })
    #expect(loop.now - begin >= .milliseconds(1_500) && loop.now - begin < .seconds(30))
    #expect(relay.endedStrangers == 2 && relay.allocationCount == 1 && !asking.near.isClosed)
    ask(asking.far, .refresh) { $0.add(.lifetime, UInt32(0)) }
    #expect(loop.run { relay.allocationCount == 1 })
    let ended = loop.now
    #expect(loop.run { !asking.near.isClosed })
    #expect(loop.now - ended >= .milliseconds(1_490) && relay.endedStrangers == 3)
    relay.close()
  }

  @Test("A client that comes back by another stream with its ticket goes on by that one, and the old one is ended")
  func moved() throws {
    let first = client(1)
    let ticket = allocateWithTicket(first.far)
    // The way to it is broken: the stream ends, the allocation stays.
    first.far.finish()
    #expect(loop.run { !first.near.isClosed })
    #expect(relay.allocationCount == 1)
    let second = client(2)
    ask(second.far, .refresh) { $0.add(.mobilityTicket, ticket) }
    #expect(ticket != self.ticket(second.far) && relay.allocationCount == 1)
    // It stays with its new stream for longer than a stranger may.
    let later = loop.now + .milliseconds(1_800)
    #expect(loop.run { loop.now < later })
    #expect(!second.near.isClosed && relay.allocationCount == 1 && relay.endedStrangers == 0)
    relay.close()
  }

  @Test("A client that comes back by another stream to give its allocation back leaves two strangers, each ended once")
  func released() throws {
    let first = client(1)
    let ticket = allocateWithTicket(first.far)
    let second = client(2)
    ask(second.far, .refresh) {
      $0.add(.mobilityTicket, ticket)
      $0.add(.lifetime, UInt32(0))
    }
    #expect(loop.run { relay.allocationCount == 1 })
    #expect(loop.run { !first.near.isClosed || !second.near.isClosed })
    #expect(relay.endedStrangers == 2)
    relay.close()
  }

  private func client(_ number: UInt16) -> (near: Wire, far: Wire) {
    let (near, far) = Wire.pair(loop: loop)
    near.receipt = Receipt(
      local: Self.server, remote: Endpoint(Self.server.address, port: 40_000 + number), at: loop.now)
    relay.serve(near, listener: 1)
    return (near, far)
  }

  private func allocateWithTicket(_ far: Wire) -> [UInt8] {
    ask(far, .allocate) {
      $0.add(.requestedTransport, byte: 17)
      $0.add(.mobilityTicket)
    }
    return ticket(far)
  }

  /// Of the next answer that has one.
  private func ticket(_ far: Wire) -> [UInt8] {
    var ticket: [UInt8] = []
    #expect(
      loop.run {
        ticket = Self.read(far) { $0.bytes(.mobilityTicket) } ?? ticket
        return ticket.isEmpty
      })
    return ticket
  }

  private func ask(_ far: Wire, _ method: STUNMethod, _ compose: (inout STUNWriter) -> Void = { _ in }) {
    var random = SystemRandomNumberGenerator()
    var writer = STUNWriter(.request, method, TransactionID(using: &random))
    compose(&writer)
    writer.bytes.withUnsafeBytes { _ = far.write($0) }
  }

  private static func read<Value>(_ far: Wire, _ body: (STUNMessage) -> Value?) -> Value? {
    far.incoming.withUnsafeBytes { STUNMessage($0).flatMap(body) }
  }
}
