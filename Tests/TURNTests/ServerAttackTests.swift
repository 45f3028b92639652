import STUN
import TURN
import Testing
import Values

/// Rows of the table of attacks that a relay is open to, by number.
@Suite("Attacks on the relay's machine")
struct ServerAttackTests {
  @Test("1: what strangers are sent is small, and limited for each source whatever its ports")
  func reflection() {
    for realm in ["a", "example.org", String(repeating: "r", count: 32)] {
      for hasFingerprint in [false, true] {
        var kit = ServerKit(ServerKit.settings { $0.realm = realm })
        var writer = STUNWriter(.request, .allocate, TransactionID(high: 1, low: 1))
        writer.add(.requestedTransport, byte: 17)
        if hasFingerprint { writer.addFingerprint() }
        let answer = kit.send(writer.bytes, ServerKit.flow()).first ?? []
        #expect(!answer.isEmpty && answer.count <= 120, "\(realm): \(answer.count)")
      }
    }
    for flow in [ServerKit.flow(), Self.flowIPv6] {
      for extra in 0..<3 {
        let header = flow.remote.family == .ipv4 ? 28 : 48
        var writer = STUNWriter(.request, .binding, TransactionID(high: 1, low: 1))
        if extra > 0 { writer.add(.software, [UInt8](repeating: 0x61, count: extra * 8)) }
        var kit = ServerKit(ServerKit.settings { $0.software = "a long name of a program" })
        let answer = kit.send(writer.bytes, flow).first ?? []
        #expect(!answer.isEmpty && answer.count + header <= 2 * (writer.bytes.count + header))
      }
    }
    var kit = ServerKit()
    let binding = STUNWriter(.request, .binding, TransactionID(high: 1, low: 1)).bytes
    let allocate = STUNWriter(.request, .allocate, TransactionID(high: 1, low: 1)).bytes
    var bytes = 0
    for turn in 0..<20_000 {
      let flow = ServerKit.flow(port: UInt16(truncatingIfNeeded: turn))
      bytes += kit.send(turn % 2 == 0 ? binding : allocate, flow).reduce(0) { $0 + $1.count + 28 }
    }
    #expect(bytes <= TurnLimit.sourceBurst, "\(bytes)")
    #expect((kit.server.counters.drops[.overSourceBudget] ?? 0) > 10_000)
    // Others are answered meanwhile, and so is this one a little later.
    #expect(kit.send(binding, ServerKit.flow(77)).count == 1)
    kit.now = kit.now + .seconds(1)
    #expect(kit.send(binding, ServerKit.flow()).count == 1)
  }

  private static let flowIPv6 = TurnFlow(
    listener: 1, transport: .udp, remote: Endpoint(.v6(0x2001_0DB8 << 96 | 0xFFFF), port: 1),
    local: Endpoint(ServerKit.v6, port: 3_478))

  @Test("2 to 5: a peer is judged in its canonical form, wherever it is named")
  func judged() {
    var asked: [Endpoint] = []
    let inner = IPAddress.v4(0x7F00_0001)
    let book = Book()
    var kit = ServerKit(judge: { endpoint in
      book.asked.append(endpoint)
      return endpoint.address == inner ? "loopback" : nil
    })
    kit.allocate { $0.add(.additionalAddressFamily, byte: 2) }
    for address in [inner, IPAddress.v6(0xFFFF_7F00_0001)] {
      #expect(kit.permit(Endpoint(address, port: 1)) == 403)
      #expect(kit.bind(0x4000, Endpoint(address, port: 1)) == 403)
      #expect(kit.indicate(Endpoint(address, port: 1)) == nil)
    }
    asked = book.asked
    #expect(asked.allSatisfy { $0.address == inner } && asked.count == 4)
    // One bad peer of several spoils the request, and nothing of it is done.
    let several = kit.request(.createPermission) { writer in
      writer.add(.xorPeerAddress, xor: ServerKit.peer())
      writer.add(.xorPeerAddress, xor: Endpoint(inner, port: 0))
    }
    #expect(several.code == 403 && kit.indicate(ServerKit.peer()) == nil)
  }

  private final class Book {
    var asked: [Endpoint] = []
  }

  @Test("6: of the relay's own addresses only the ports of its allocations are reached")
  func own() throws {
    var kit = ServerKit()
    kit.allocate()
    let other = try #require(kit.allocate(ServerKit.flow(2)).relayed.first)
    for port in [22, 3_478, 49_151] as [UInt16] {
      #expect(kit.bind(0x4000, Endpoint(ServerKit.v4, port: port)) == 403)
    }
    #expect(kit.permit(Endpoint(ServerKit.v4, port: 22)) == 0, "a permission is for an address")
    #expect(kit.indicate(Endpoint(ServerKit.v4, port: 22)) == nil && kit.indicate(other) != nil)
    #expect(kit.server.counters.drops[.ownAddress] == 1)
    #expect(kit.bind(0x4000, other) == 0)
  }

  @Test("8: ten thousand strangers leave nothing behind, and a client is served in between")
  func spoofed() {
    var kit = ServerKit()
    for turn in 0..<10_000 as Range<UInt32> {
      let flow = TurnFlow(
        listener: 1, transport: .udp, remote: Endpoint(.v4(0x0B00_0000 + turn), port: 9),
        local: Endpoint(ServerKit.v4, port: 3_478))
      var writer = STUNWriter(.request, .allocate, TransactionID(high: turn, low: 1))
      writer.add(.requestedTransport, byte: 17)
      if turn % 2 == 0 {
        writer.add(.username, "ada")
        writer.add(.realm, "example.org")
        writer.add(.nonce, "obMatJos2wAAAAAAAAAAAAAAAAAAA")
        writer.add(integrity: PasswordAlgorithm.md5.key(username: "ada", realm: "example.org", password: "x", .sha1))
      }
      #expect(kit.send(writer.bytes, flow).count <= 1)
    }
    #expect(kit.server.allocationCount == 0 && kit.server.usedPorts == 0 && kit.server.nextDeadline() == nil)
    #expect(kit.events.isEmpty && kit.allocate().code == 0)
  }

  @Test("9: whoever moves allocations about gets no more of them than the quota says")
  func mobilityFlood() throws {
    var kit = ServerKit(
      ServerKit.settings {
        $0.isMobile = true
        $0.userQuota = 2
      })
    var ticket = try #require(kit.allocate { $0.add(.mobilityTicket) }.read { $0.bytes(.mobilityTicket) })
    for turn in 0..<1_000 as Range<UInt32> {
      let flow = ServerKit.flow(10 + turn % 40, port: UInt16(6_000 + turn))
      let moved = kit.request(.refresh, flow) { $0.add(.mobilityTicket, ticket) }
      ticket = try #require(moved.read { $0.bytes(.mobilityTicket) })
      kit.now = kit.now + .milliseconds(200)
    }
    #expect(kit.server.allocationCount == 1 && kit.server.usedPorts == 1)
    let codes = (0..<3 as Range<UInt32>).map { kit.allocate(ServerKit.flow(200 + $0)).code }
    #expect(codes == [0, 486, 486])
    kit.pass(4_000)
    #expect(kit.server.allocationCount == 0 && kit.server.usedPorts == 0 && kit.server.nextDeadline() == nil)
  }

  @Test("10: ports come back after every kind of allocation")
  func ports() {
    var kit = ServerKit(ServerKit.settings { $0.ports = 50_000...50_031 })
    for turn in 0..<2_000 {
      let flow = ServerKit.flow(UInt32(turn % 50))
      let answer = kit.allocate(flow) { writer in
        switch turn % 4 {
        case 0: writer.add(.evenPort, [0x00])
        case 1: writer.add(.evenPort, [0x80])
        case 2: writer.add(.additionalAddressFamily, byte: 2)
        default: break
        }
      }
      #expect(answer.code == 0)
      #expect(kit.request(.refresh, flow) { $0.add(.lifetime, UInt32(0)) }.code == 0)
      kit.pass(2)
    }
    kit.pass(31)
    #expect(kit.server.usedPorts == 0)
  }

  @Test("11: permissions and channels of an allocation are bounded, and there is room again when they are over")
  func peers() {
    var kit = ServerKit()
    kit.allocate()
    for host in 0..<UInt32(TurnLimit.peers) {
      #expect(kit.permit(Endpoint(.v4(0xCB00_0000 + host), port: 1)) == 0)
      kit.now = kit.now + .milliseconds(20)
    }
    #expect(kit.permit(ServerKit.peer()) == 508 && kit.bind(0x4000, ServerKit.peer()) == 508)
    // The same ones may be named again.
    #expect(kit.permit(Endpoint(.v4(0xCB00_0000), port: 9)) == 0)
    let many = kit.request(.createPermission, ServerKit.flow(2)) { writer in
      for host in 0..<300 as Range<UInt32> { writer.add(.xorPeerAddress, xor: Endpoint(.v4(host + 1), port: 1)) }
    }
    #expect(many.code == 437)
    kit.pass(305)
    #expect(kit.permit(ServerKit.peer()) == 0)
    // One address, many ports: channels.
    for port in 1..<UInt16(TurnLimit.peers + 1) {
      #expect(kit.bind(0x4000 + port, ServerKit.peer(port: port)) == 0)
      kit.now = kit.now + .milliseconds(20)
    }
    #expect(kit.bind(0x4FFF, ServerKit.peer(port: 9_999)) == 508)
  }

  @Test("17: whatever comes is answered, dropped and counted, and never a trap")
  func random() {
    var kit = ServerKit()
    kit.allocate()
    _ = kit.bind(0x4000, ServerKit.peer())
    var random = SystemRandomNumberGenerator()
    let seeds = [
      STUNWriter(.request, .allocate, TransactionID(high: 1, low: 1)).bytes,
      STUNWriter(.indication, .send, TransactionID(high: 1, low: 1)).bytes + [0, 0x12, 0, 8, 0, 1, 1, 1, 1, 1, 1, 1],
      STUNWriter(.request, .binding, TransactionID(high: 1, low: 1)).bytes + [0, 3, 0, 4, 0, 0, 0, 6],
    ]
    for turn in 0..<30_000 {
      var bytes = seeds[turn % seeds.count] + (0..<Int.random(in: 0...40)).map { _ in UInt8.random(in: 0...255) }
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      if turn % 2 == 0, bytes.count >= 20 {
        bytes.removeLast(bytes.count % 4)
        bytes[2] = UInt8((bytes.count - 20) >> 8)
        bytes[3] = UInt8(truncatingIfNeeded: bytes.count - 20)
      }
      kit.send(bytes, ServerKit.flow(UInt32(turn % 3)))
    }
    #expect((kit.server.counters.drops[.malformed] ?? 0) > 1_000 && kit.server.allocationCount == 1)
  }

  @Test("18: what a peer sends decides nothing but where it goes")
  func strayPeers() throws {
    var kit = ServerKit()
    kit.allocate()
    let id = try #require(kit.lastBegun)
    let before = kit.server.status(of: id)?.permitted.count
    for host in 0..<1_000 as Range<UInt32> { #expect(kit.arrival(id, Endpoint(.v4(host), port: 1)) == nil) }
    #expect(kit.server.status(of: id)?.permitted.count == before && kit.server.counters.drops[.noPermission] == 1_000)
    #expect(kit.arrival(AllocationID(slot: id.slot, generation: id.generation &+ 1), ServerKit.peer()) == nil)
    #expect(kit.arrival(AllocationID(slot: 99, generation: 1), ServerKit.peer()) == nil)
  }

  @Test("24: names with control characters or no text at all harm nothing")
  func names() {
    var kit = ServerKit()
    for name in ["a\nb", "\u{0}", "%s%n", String(repeating: "x", count: 508), "\u{1B}[31m"] {
      #expect(kit.allocate(as: .init(name: name)).code == 401)
    }
    #expect(kit.allocate(as: .init(name: String(repeating: "x", count: 600))).code == 401)
    var writer = STUNWriter(.request, .allocate, TransactionID(high: 1, low: 1))
    writer.add(.username, [0xFF, 0xFE])
    writer.add(.realm, "example.org")
    writer.add(.nonce, kit.nonce(ServerKit.flow()))
    writer.add(integrity: STUNKey([1], .sha1))
    #expect(ServerKit.Answer(kit.send(writer.bytes, ServerKit.flow()).first ?? [], nil).code == 401)
  }

  @Test("29: what is put behind the integrity on the way has no effect")
  func appended() throws {
    var kit = ServerKit()
    kit.allocate()
    let answer = kit.request(.refresh) {
      $0.add(.lifetime, UInt32(900))
    } after: {
      $0.add(.lifetime, UInt32(0))
      $0.addFingerprint()
    }
    #expect(answer.lifetime == 900 && kit.server.allocationCount == 1)
    let without = kit.request(.refresh, after: { $0.add(.lifetime, UInt32(0)) })
    #expect(without.lifetime == 600 && kit.server.allocationCount == 1)
    let peers = kit.request(.createPermission) {
      $0.add(.xorPeerAddress, xor: ServerKit.peer())
    } after: {
      $0.add(.xorPeerAddress, xor: ServerKit.peer(9))
    }
    let id = try #require(kit.lastBegun)
    #expect(peers.code == 0 && kit.server.status(of: id)?.permitted == [ServerKit.peer().address])
  }
}
