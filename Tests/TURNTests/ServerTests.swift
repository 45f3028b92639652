import STUN
import TURN
import Testing
import Values

@Suite("The relay's machine")
struct TurnServerTests {
  // MARK: Who asks

  @Test("Strangers are told realm and nonce; with them and a password an allocation is made, in every way of saying it")
  func credentials() {
    for (algorithm, integrity, hides) in [
      (nil, .sha1, false), (.md5, .sha1, true), (.sha256, .sha256, false), (.sha256, .sha256, true),
      (.sha256, .sha1, false),
    ] as [(PasswordAlgorithm?, STUNIntegrity, Bool)] {
      var kit = ServerKit()
      let who = ServerKit.Credentials(algorithm: algorithm, integrity: integrity, hidesName: hides)
      let answer = kit.allocate(as: who)
      #expect(answer.code == 0 && answer.lifetime == 600, "\(String(describing: algorithm)) \(integrity) \(hides)")
      #expect(answer.relayed.first?.address == ServerKit.v4 && (answer.relayed.first?.port ?? 0) >= 49_152)
      #expect(answer.read { $0.xorAddress(.xorMappedAddress) } == ServerKit.flow().remote)
      #expect(kit.server.allocationCount == 1)
    }
  }

  @Test("A wrong password, name, realm or list of algorithms, and an old or foreign nonce, are refused by their codes")
  func refusals() {
    var kit = ServerKit()
    #expect(kit.allocate(as: .init(password: "wrong")).code == 401)
    #expect(kit.allocate(as: .init(name: "eve")).code == 401)
    #expect(kit.allocate(as: .init(name: "eve", hidesName: true)).code == 401)
    #expect(kit.allocate(as: .init(realm: "elsewhere")).code == 401)
    let nonce = kit.nonce(ServerKit.flow())
    let foreign = kit.request(.allocate, ServerKit.flow(9), nonce: nonce) { $0.add(.requestedTransport, byte: 17) }
    #expect(foreign.code == 438)
    // Another port of the same host is the same client, as far as anybody can tell (RFC 6062's second connection).
    let port = kit.request(.allocate, ServerKit.flow(port: 9), nonce: nonce) { $0.add(.requestedTransport, byte: 17) }
    #expect(port.code == 0)
    kit.now = kit.now + TurnLimit.nonce + .seconds(1)
    let old = kit.request(.allocate, nonce: nonce) { $0.add(.requestedTransport, byte: 17) }
    #expect(old.code == 438 && old.read { $0.bytes(.nonce) } != nonce)
    var made = nonce
    made[20] ^= 1
    #expect(kit.request(.allocate, nonce: made) { $0.add(.requestedTransport, byte: 17) }.code == 438)
    // Bidding down: the list is not what was offered.
    let less = kit.request(.allocate) { writer in
      writer.add(.requestedTransport, byte: 17)
      writer.add(.passwordAlgorithms, PasswordAlgorithm.encoded([.md5]))
      writer.add(.passwordAlgorithm, PasswordAlgorithm.encoded([.md5]))
    }
    #expect(less.code == 400)
    #expect(kit.server.allocationCount == 1)
  }

  @Test("Names are to be hidden only where every name can be found by its hash: not where they are made with a secret")
  func hiddenNames() {
    var kit = ServerKit()
    #expect(NonceFeatures(nonce: kit.nonce(ServerKit.flow()))?.hasUsernameAnonymity == true)
    let secrets = TurnUsers(realm: "example.org", users: ["ada": .password(ServerKit.password)], secrets: ["north"])
    let old = kit.nonce(ServerKit.flow())
    kit.server.renew(ServerKit.settings(), users: secrets, at: kit.now, judge: { _ in nil })
    let features = NonceFeatures(nonce: kit.nonce(ServerKit.flow()))
    #expect(features?.hasUsernameAnonymity == false && features?.hasPasswordAlgorithms == true)
    // Who holds a nonce of before is told to take another, and does not go on by the old word.
    #expect(kit.request(.allocate, nonce: old) { $0.add(.requestedTransport, byte: 17) }.code == 438)
  }

  @Test("Time-limited credentials are good until their time and with any of the secrets; the allocation outlives them")
  func timeLimited() {
    let users = TurnUsers(realm: "example.org", secrets: ["new", "old"])
    func who(_ secret: String, _ seconds: Int64) -> ServerKit.Credentials {
      let name = TimeLimitedCredentials.username(expiry: ServerKit.unixSeconds + seconds, user: "ada")
      return .init(name: name, password: TimeLimitedCredentials.password(username: name, secret: secret))
    }
    var kit = ServerKit(users: users)
    #expect(kit.allocate(ServerKit.flow(1), as: who("new", 60)).code == 0)
    #expect(kit.allocate(ServerKit.flow(2), as: who("old", 60)).code == 0)
    #expect(kit.allocate(ServerKit.flow(3), as: who("older", 60)).code == 401)
    #expect(kit.allocate(ServerKit.flow(4), as: who("new", -1)).code == 401)
    kit.pass(100)
    #expect(kit.allocate(ServerKit.flow(5), as: who("new", 60)).code == 401)
    #expect(kit.request(.refresh, ServerKit.flow(1), as: who("new", 60)).code == 0)
  }

  // MARK: Allocations

  @Test("What is asked for is looked at in the RFC's order, and refused by the RFC's codes")
  func allocateRules() {
    var kit = ServerKit()
    let flow = ServerKit.flow()
    #expect(kit.request(.allocate, flow).code == 400)
    #expect(kit.request(.allocate, flow) { $0.add(.requestedTransport, byte: 6) }.code == 442)
    #expect(kit.request(.allocate, flow) { $0.add(.requestedTransport, byte: 132) }.code == 442)
    #expect(kit.allocate(flow) { $0.add(.requestedAddressFamily, byte: 3) }.code == 440)
    for clash in [
      { (writer: inout STUNWriter) in
        writer.add(.requestedAddressFamily, byte: 1)
        writer.add(.additionalAddressFamily, byte: 2)
      },
      { $0.add(.additionalAddressFamily, byte: 1) },
      {
        $0.add(.evenPort, [0x80])
        $0.add(.additionalAddressFamily, byte: 2)
      },
      {
        $0.add(.evenPort, [0x80])
        $0.add(.reservationToken, UInt64(1))
      },
      {
        $0.add(.requestedAddressFamily, byte: 1)
        $0.add(.reservationToken, UInt64(1))
      },
      { $0.add(.reservationToken, UInt32(1)) },
    ] { #expect(kit.allocate(flow, clash).code == 400) }
    #expect(kit.allocate(flow) { $0.add(.reservationToken, UInt64(1)) }.code == 508)
    #expect(kit.allocate(flow) { $0.add(.mobilityTicket) }.code == 405)
    let unknown = kit.allocate(flow) { $0.add(STUNAttribute(rawValue: 0x7F01), UInt32(0)) }
    #expect(unknown.code == 420 && unknown.read { $0.listedUnknown } == [STUNAttribute(rawValue: 0x7F01)])
    #expect(kit.allocate(flow) { $0.add(.dontFragment) }.code == 0)
    #expect(kit.allocate(flow).code == 437)
    #expect(kit.request(.refresh, flow, as: .init(name: "bob", password: "other")).code == 441)
    #expect(kit.request(.refresh, ServerKit.flow(2)).code == 437)
    #expect(kit.request(.refresh, ServerKit.flow(2)) { $0.add(.lifetime, UInt32(0)) }.code == 0)
    #expect(kit.request(.data, flow).code == 400 && kit.server.allocationCount == 1)
  }

  @Test("A repeated Allocate is answered as before, and makes nothing")
  func repeated() {
    var kit = ServerKit()
    let transaction = TransactionID(high: 1, low: 2)
    let first = kit.request(.allocate, transaction: transaction) { $0.add(.requestedTransport, byte: 17) }
    let again = kit.request(.allocate, transaction: transaction) { $0.add(.requestedTransport, byte: 17) }
    #expect(first.code == 0 && again.code == 0 && first.relayed == again.relayed && kit.server.allocationCount == 1)
  }

  @Test("Both families come at once or one by one, live for themselves, and one that is not there is said so")
  func families() {
    var kit = ServerKit()
    let both = kit.allocate { $0.add(.additionalAddressFamily, byte: 2) }
    #expect(both.relayed.map(\.address) == [ServerKit.v4, ServerKit.v6])
    let six = kit.allocate(ServerKit.flow(2)) { $0.add(.requestedAddressFamily, byte: 2) }
    #expect(six.relayed.map(\.address) == [ServerKit.v6])
    // A channel of the wrong family.
    #expect(kit.bind(0x4000, ServerKit.peer(), ServerKit.flow(2)) == 443)
    // One family ends.
    let over = kit.request(.refresh) { writer in
      writer.add(.requestedAddressFamily, byte: 1)
      writer.add(.lifetime, UInt32(0))
    }
    #expect(over.code == 0 && kit.server.usedPorts == 2)
    #expect(kit.request(.refresh) { $0.add(.requestedAddressFamily, byte: 1) }.code == 443)
    #expect(kit.bind(0x4000, ServerKit.peer()) == 443)
    #expect(kit.bind(0x4000, Endpoint(.v6(0x2001_0DB8 << 96 | 99), port: 1)) == 0)

    var narrow = ServerKit(ServerKit.settings { $0.addresses = [RelayAddress(local: ServerKit.v4)] })
    let one = narrow.allocate { $0.add(.additionalAddressFamily, byte: 2) }
    #expect(one.code == 0 && one.relayed.count == 1 && one.read { $0.error(.addressErrorCode) } == .familyNotSupported)
    #expect(narrow.allocate(ServerKit.flow(2)) { $0.add(.requestedAddressFamily, byte: 2) }.code == 440)
  }

  @Test("An even port has a neighbour that is kept for its token, once, for thirty seconds")
  func evenPort() throws {
    var kit = ServerKit()
    let even = kit.allocate { $0.add(.evenPort, [0x80]) }
    let token = try #require(even.read { $0.longNumber(.reservationToken) })
    let port = try #require(even.relayed.first?.port)
    #expect(port % 2 == 0)
    let next = kit.allocate(ServerKit.flow(2)) { $0.add(.reservationToken, token) }
    #expect(next.relayed.first?.port == port + 1)
    #expect(kit.allocate(ServerKit.flow(3)) { $0.add(.reservationToken, token) }.code == 508)
    let other = kit.allocate(ServerKit.flow(4)) { $0.add(.evenPort, [0x80]) }
    let late = try #require(other.read { $0.longNumber(.reservationToken) })
    let used = kit.server.usedPorts
    kit.pass(31)
    #expect(kit.server.usedPorts == used - 1)
    #expect(kit.allocate(ServerKit.flow(5)) { $0.add(.reservationToken, late) }.code == 508)
  }

  @Test("A port that somebody else has is passed over; where none can be bound the answer is 508 and nothing stays")
  func takenPorts() {
    var kit = ServerKit(ServerKit.settings { $0.ports = 50_000...50_009 })
    kit.isTaken = { $0.port != 50_007 }
    let answer = kit.allocate()
    #expect(answer.code == 0 && answer.relayed.first?.port == 50_007)
    #expect(kit.allocate(ServerKit.flow(2)).code == 508)
    #expect(kit.server.allocationCount == 1 && kit.server.usedPorts == 1)
  }

  @Test("Lifetimes are between the usual and the longest; allocations end at their time, or at once when it is 0")
  func lifetimes() {
    var kit = ServerKit()
    #expect(kit.allocate { $0.add(.lifetime, UInt32(10)) }.lifetime == 600)
    #expect(kit.allocate(ServerKit.flow(2)) { $0.add(.lifetime, UInt32.max) }.lifetime == 3_600)
    kit.pass(599)
    #expect(kit.server.allocationCount == 2)
    #expect(kit.request(.refresh) { $0.add(.lifetime, UInt32(1_000)) }.lifetime == 1_000)
    kit.pass(999)
    #expect(kit.server.allocationCount == 2)
    kit.pass(2)
    #expect(kit.server.allocationCount == 1)
    #expect(kit.request(.refresh, ServerKit.flow(2)) { $0.add(.lifetime, UInt32(0)) }.lifetime == 0)
    #expect(kit.server.allocationCount == 0 && kit.server.usedPorts == 0)
  }

  @Test("Quotas of user, source and relay hold exactly, and places are free again afterwards")
  func quotas() {
    var kit = ServerKit(
      ServerKit.settings {
        $0.userQuota = 3
        $0.sourceQuota = 4
        $0.totalQuota = 6
      })
    var codes: [Int] = []
    for port in 1...5 as ClosedRange<UInt16> { codes.append(kit.allocate(ServerKit.flow(port: port)).code) }
    #expect(codes == [0, 0, 0, 486, 486])
    let bob = ServerKit.Credentials(name: "bob", password: "other")
    codes = (10...12 as ClosedRange<UInt16>).map { kit.allocate(ServerKit.flow(port: $0), as: bob).code }
    #expect(codes == [0, 486, 486])
    codes = (1...3 as ClosedRange<UInt16>).map { kit.allocate(ServerKit.flow(7, port: $0), as: bob).code }
    #expect(codes == [0, 0, 486])
    kit.server.closed(ServerKit.flow(port: 1), at: kit.now)
    #expect(kit.allocate(ServerKit.flow(8)).code == 0)
    kit.pass(700)
    #expect(kit.server.allocationCount == 0 && kit.server.usedPorts == 0)
  }

  @Test("While draining nothing new is made, and what there is goes on")
  func draining() {
    var kit = ServerKit()
    _ = kit.allocate()
    kit.server.isDraining = true
    #expect(kit.allocate(ServerKit.flow(2)).code == 508 && kit.request(.refresh).code == 0)
  }

  // MARK: Permissions, channels, data

  @Test(
    "Nothing passes without a permission, and nothing after its five minutes; a channel lasts ten, and rests five more")
  func times() throws {
    var kit = ServerKit()
    kit.allocate()
    let id = try #require(kit.lastBegun)
    let peer = ServerKit.peer()
    #expect(kit.arrival(id, peer) == nil && kit.indicate(peer) == nil)
    #expect(kit.permit(peer) == 0)
    #expect(kit.arrival(id, peer)?.channel == .some(nil) && kit.indicate(peer)?.forward.peer == peer)
    // Of the address, whatever the port.
    #expect(kit.arrival(id, ServerKit.peer(port: 1)) != nil && kit.arrival(id, ServerKit.peer(2)) == nil)
    #expect(kit.bind(0x4001, peer) == 0)
    #expect(kit.arrival(id, peer)?.channel == 0x4001)
    kit.pass(301)
    #expect(kit.arrival(id, peer) == nil && kit.indicate(peer) == nil)
    #expect(kit.forward(0x4001) == peer)
    #expect(kit.permit(peer) == 0)
    #expect(kit.arrival(id, peer)?.channel == 0x4001)
    kit.pass(290)
    #expect(kit.request(.refresh).code == 0)
    #expect(kit.forward(0x4001) == peer)
    kit.pass(20)
    #expect(kit.forward(0x4001) == nil)
    #expect(kit.events.contains { if case .channelEnded(id, _, 0x4001, _) = $0 { true } else { false } })
    #expect(kit.bind(0x4001, ServerKit.peer(2)) == 400 && kit.bind(0x4002, peer) == 400)
    _ = kit.request(.refresh) { $0.add(.lifetime, UInt32(3_600)) }
    #expect(kit.bind(0x4001, peer) == 0)
    kit.pass(600 + 301)
    #expect(kit.bind(0x4001, ServerKit.peer(2)) == 0 && kit.bind(0x4002, peer) == 0)
  }

  @Test("Channels have one peer and peers one channel; numbers of others are refused")
  func channels() {
    var kit = ServerKit()
    kit.allocate()
    #expect(kit.bind(0x4000, ServerKit.peer()) == 0 && kit.bind(0x4000, ServerKit.peer()) == 0)
    #expect(kit.bind(0x4000, ServerKit.peer(2)) == 400 && kit.bind(0x4001, ServerKit.peer()) == 400)
    for number in [0, 0x3FFF, 0x8000, 0xFFFF] as [UInt16] { #expect(kit.bind(number, ServerKit.peer(3)) == 400) }
    #expect(kit.bind(0x4002, ServerKit.peer(3, port: 0)) == 400)
    #expect(kit.request(.channelBind) { $0.add(channel: 0x4003) }.code == 400)
    #expect(kit.request(.createPermission).code == 400)
    #expect(kit.bind(0x4000, ServerKit.peer(), ServerKit.flow(5)) == 437)
    #expect(kit.forward(0x4005) == nil && kit.server.counters.drops[.noChannel] == 1)
  }

  @Test("Bandwidth of a user is a limit for each direction, and is there again a second later")
  func bandwidth() throws {
    var kit = ServerKit(ServerKit.settings { $0.userBandwidth = 10_000 })
    kit.allocate()
    let id = try #require(kit.lastBegun)
    _ = kit.bind(0x4000, ServerKit.peer())
    var passed = 0
    for _ in 0..<20 where kit.forward(0x4000, bytes: 1_000) != nil { passed += 1 }
    #expect(passed == 10)
    passed = 0
    for _ in 0..<200 where kit.arrival(id, ServerKit.peer()) != nil { passed += 1 }
    #expect(passed == 100)
    kit.now = kit.now + .milliseconds(500)
    passed = 0
    for _ in 0..<20 where kit.forward(0x4000, bytes: 1_000) != nil { passed += 1 }
    #expect(passed == 5 && kit.server.counters.drops[.overBandwidth] == 125)
  }

  @Test("What is counted is data, by the families of both legs")
  func counters() throws {
    var kit = ServerKit()
    kit.allocate { $0.add(.requestedAddressFamily, byte: 2) }
    let id = try #require(kit.lastBegun)
    let peer = Endpoint(.v6(0x2001_0DB8 << 96 | 99), port: 1)
    _ = kit.bind(0x4000, peer)
    _ = kit.forward(0x4000, bytes: 700)
    _ = kit.arrival(id, peer)
    let traffic = try #require(kit.server.counters.translations.first)
    #expect(traffic.key.description == "4-6" && traffic.value.bytesToPeers == 700 && traffic.value.bytesToClient == 100)
    #expect(kit.server.status(of: id)?.traffic == traffic.value)
  }

  @Test(
    "Behaviour discovery is answered from the address and port that were asked for, and refused without a second one")
  func discovery() throws {
    let (a1, a2) = (ServerKit.v4, IPAddress.v4(0xC633_6402))
    let corners = [a1, a2].enumerated().map { row, address in
      [3_478, 3_479].enumerated().map { column, port in
        (listener: UInt16(1 + row * 2 + column), endpoint: Endpoint(address, port: UInt16(port)))
      }
    }
    var kit = ServerKit()
    func ask(_ change: UInt32, _ kit: inout ServerKit) -> TurnServer.Transmit? {
      var writer = STUNWriter(.request, .binding, TransactionID(high: 1, low: 1))
      writer.add(.changeRequest, change)
      writer.bytes.withUnsafeBytes { _ = kit.server.receive($0, from: ServerKit.flow(), at: kit.now) }
      return kit.server.pollTransmit()
    }
    let refused = try #require(ask(2, &kit))
    #expect(ServerKit.Answer(refused.bytes, nil).code == 420)
    kit.server.addAlternates(try #require(TurnAlternates(corners)))
    for (change, listener) in [(0, 1), (2, 2), (4, 3), (6, 4)] as [(UInt32, UInt16)] {
      let answer = try #require(ask(change, &kit))
      let corner = corners.joined().first { $0.listener == listener }
      #expect(answer.flow.listener == listener && answer.flow.local == corner?.endpoint)
      let read = ServerKit.Answer(answer.bytes, nil)
      #expect(read.read { $0.address(.responseOrigin) } == corner?.endpoint)
      #expect(read.read { $0.address(.otherAddress) } == Endpoint(a2, port: 3_479))
    }
  }

  // MARK: Behind a translator

  @Test("Behind a cloud's translator clients hear the outer address, and two of them reach each other through it")
  func external() throws {
    let inner = IPAddress.v4(0x0A00_0005)
    var kit = ServerKit(
      ServerKit.settings { $0.addresses = [RelayAddress(local: inner, external: ServerKit.v4)] },
      judge: { $0.address == inner ? "private" : nil })
    let first = try #require(kit.allocate(ServerKit.flow(1)).relayed.first)
    let firstID = try #require(kit.lastBegun)
    let second = try #require(kit.allocate(ServerKit.flow(2)).relayed.first)
    #expect(first.address == ServerKit.v4 && second.address == ServerKit.v4)
    #expect(kit.events.contains { if case .bind(_, _, let local, _) = $0 { local.address == inner } else { false } })
    #expect(kit.bind(0x4000, second, ServerKit.flow(1)) == 0)
    #expect(kit.forward(0x4000) == Endpoint(inner, port: second.port))
    let back = kit.arrival(firstID, Endpoint(inner, port: second.port))
    #expect(back?.channel == 0x4000 && back?.peer == second)
  }

  // MARK: Mobility

  @Test(
    "An allocation follows its ticket to another address with everything it has; a ticket is good until the next one was used"
  )
  func mobility() throws {
    var kit = ServerKit(ServerKit.settings { $0.isMobile = true })
    let made = kit.allocate { $0.add(.mobilityTicket) }
    let id = try #require(kit.lastBegun)
    let ticket = try #require(made.read { $0.bytes(.mobilityTicket) })
    // coturn's client takes it for a text that ends at a zero byte, of 32 bytes at most.
    #expect(ticket.count <= 32 && ticket.allSatisfy { (0x21...0x7E).contains($0) }, "\(ticket)")
    _ = kit.bind(0x4000, ServerKit.peer())
    let moved = kit.request(.refresh, ServerKit.flow(9), transaction: TransactionID(high: 7, low: 7)) {
      $0.add(.mobilityTicket, ticket)
    }
    let next = try #require(moved.read { $0.bytes(.mobilityTicket) })
    #expect(moved.code == 0 && next != ticket && kit.server.allocationCount == 1)
    #expect(kit.forward(0x4000, ServerKit.flow(9)) == ServerKit.peer() && kit.forward(0x4000) == nil)
    #expect(kit.arrival(id, ServerKit.peer())?.flow == ServerKit.flow(9))
    // The answer was lost: the same request again.
    let again = kit.request(.refresh, ServerKit.flow(9), transaction: TransactionID(high: 7, low: 7)) {
      $0.add(.mobilityTicket, ticket)
    }
    #expect(again.code == 0 && again.read { $0.bytes(.mobilityTicket) } == next)
    // Or it was lost and the client is elsewhere by now; it still has the ticket before.
    let lost = kit.request(.refresh, ServerKit.flow(10)) { $0.add(.mobilityTicket, ticket) }
    #expect(lost.code == 0 && lost.read { $0.bytes(.mobilityTicket) } == next)
    let last = kit.request(.refresh, ServerKit.flow(9)) { $0.add(.mobilityTicket, next) }
    let newest = try #require(last.read { $0.bytes(.mobilityTicket) })
    #expect(newest != next)
    #expect(kit.request(.refresh, ServerKit.flow(10)) { $0.add(.mobilityTicket, ticket) }.code == 400)
    let bob = ServerKit.Credentials(name: "bob", password: "other")
    #expect(kit.request(.refresh, ServerKit.flow(11), as: bob) { $0.add(.mobilityTicket, newest) }.code == 441)
    // Over a stream that has ended it is still there for a while.
    kit.server.closed(ServerKit.flow(9), at: kit.now)
    #expect(kit.request(.refresh, ServerKit.flow(12)) { $0.add(.mobilityTicket, newest) }.code == 0)
  }

  @Test("A ticket is text, as coturn's client takes it for a C string")
  func ticketsAreText() {
    for port in 0..<64 {
      var kit = ServerKit(ServerKit.settings { $0.isMobile = true })
      let answer = kit.allocate(ServerKit.flow(port: 5_000 + UInt16(port))) { $0.add(.mobilityTicket) }
      let ticket = answer.read { $0.bytes(.mobilityTicket) } ?? []
      #expect(ticket.count == 32 && ticket.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
    }
  }

  @Test("An ICMP error is told to the client that may send there, whatever the port, and to nobody else")
  func icmpErrors() throws {
    var kit = ServerKit()
    _ = kit.allocate()
    let id = try #require(kit.lastBegun)
    let report = try #require(ICMPReport(type: 3, code: 3, mtu: 0, family: .ipv4))
    kit.server.icmpError(report, about: ServerKit.peer(), on: id, at: kit.now)
    #expect(kit.settle().isEmpty && kit.server.counters.icmpErrors == 0)
    #expect(kit.permit(ServerKit.peer(port: 0)) == 0)
    kit.server.icmpError(report, about: ServerKit.peer(), on: id, at: kit.now)
    let told = kit.settle()
    #expect(told.count == 1 && kit.server.counters.icmpErrors == 1)
    (told.first ?? []).withUnsafeBytes { bytes in
      let message = STUNMessage(bytes)
      #expect(message?.kind == .indication && message?.method == .data && message?[.data] == nil)
      #expect(message?.icmpReport?.peer == ServerKit.peer() && message?.icmpReport?.report == report)
    }
    kit.pass(400)
    kit.server.icmpError(report, about: ServerKit.peer(), on: id, at: kit.now)
    #expect(kit.settle().isEmpty)
    kit.pass(4_000)
    kit.server.icmpError(report, about: ServerKit.peer(), on: id, at: kit.now)
    #expect(kit.settle().isEmpty && kit.server.counters.icmpErrors == 1)
  }

  @Test("Allocations are counted by transport and families, and listed by listener, as many as are wanted")
  func kinds() {
    var kit = ServerKit()
    for host in 1...3 as ClosedRange<UInt32> { _ = kit.allocate(ServerKit.flow(host)) }
    _ = kit.allocate(ServerKit.flow(4, .tcp)) { $0.add(.additionalAddressFamily, byte: 2) }
    let kinds = kit.server.kinds.map { "\($0.value) \($0.key)" }.sorted()
    #expect(kinds == ["1 tcp IPv4 to IPv4+IPv6", "3 udp IPv4 to IPv4"])
    #expect(kit.lastBegun.flatMap { kit.server.kind(of: $0) }?.relayed == [.ipv4, .ipv6])
    #expect(kit.server.statuses(listener: 1, limit: 64).count == 4)
    #expect(kit.server.statuses(listener: 1, limit: 2).map(\.flow) == [ServerKit.flow(1), ServerKit.flow(2)])
    #expect(kit.server.statuses(listener: 2, limit: 64).isEmpty)
    #expect(kit.request(.refresh, ServerKit.flow(2)) { $0.add(.lifetime, UInt32(0)) }.code == 0)
    #expect(kit.server.kinds.values.sorted() == [1, 2])
  }

  // MARK: Renewal

  @Test("What the policy refuses from now on ends at once; what is at an address that is given out no more lives on")
  func renewal() throws {
    var kit = ServerKit(ServerKit.settings { $0.relaysTCP = true })
    _ = kit.allocate()
    let id = try #require(kit.lastBegun)
    let (bound, permitted, fine) = (ServerKit.peer(1), ServerKit.peer(2), ServerKit.peer(3))
    #expect(kit.bind(0x4000, bound) == 0 && kit.bind(0x4001, fine) == 0 && kit.permit(permitted) == 0)
    let stream = ServerKit.flow(2, .tcp)
    #expect(kit.request(.allocate, stream) { $0.add(.requestedTransport, byte: 6) }.code == 0)
    for peer in [permitted, fine] { _ = kit.request(.connect, stream) { $0.add(.xorPeerAddress, xor: peer) } }
    var connections: [Endpoint: ConnectionID] = [:]
    for case .connect(_, let connection, let peer) in kit.events { connections[peer] = connection }
    kit.server.connected(try #require(connections[fine]), true, at: kit.now)
    _ = kit.settle()
    kit.events = []

    let other = IPAddress.v4(0xC633_6402)
    let settings = ServerKit.settings { $0.addresses = [RelayAddress(local: other)] }
    let refused = [bound.address, permitted.address]
    #expect(kit.server.judgedPeers.count == 6)
    kit.server.renew(settings, at: kit.now, judge: { refused.contains($0.address) ? "not any more" : nil })
    let answers = kit.settle()

    #expect(kit.forward(0x4000) == nil && kit.arrival(id, bound) == nil && kit.arrival(id, permitted) == nil)
    #expect(kit.forward(0x4001) == fine && kit.arrival(id, fine)?.channel == 0x4001)
    let dropped = try #require(connections[permitted])
    #expect(kit.events == [.channelEnded(id, relay: 0, number: 0x4000, peer: bound), .drop(dropped)])
    // Who waits for the connection is told that there will be none.
    #expect(answers.count == 1 && ServerKit.Answer(answers.first ?? [], nil).code == 447)
    #expect(kit.bind(0x4000, bound) == 403 && kit.permit(permitted) == 403 && kit.permit(fine) == 0)

    #expect(kit.allocate(ServerKit.flow(3)).relayed.map(\.address) == [other])
    #expect(kit.allocate(ServerKit.flow(4)) { $0.add(.requestedAddressFamily, byte: 2) }.code == 440)
    #expect(kit.request(.refresh).code == 0)
    // The address is back, and with it the ports that were not free.
    kit.server.renew(ServerKit.settings { $0.relaysTCP = true }, at: kit.now, judge: { _ in nil })
    #expect(kit.allocate(ServerKit.flow(5)).relayed.map(\.address) == [ServerKit.v4])
    #expect(kit.permit(permitted) == 0)
  }

  @Test("A permission that came with a channel is judged with its port, as it was when it was bound")
  func renewalOfPorts() throws {
    let judge: TurnServer.Judge = { $0.port == 7_000 ? nil : "that port alone" }
    var kit = ServerKit(judge: judge)
    _ = kit.allocate()
    let id = try #require(kit.lastBegun)
    #expect(kit.bind(0x4000, ServerKit.peer()) == 0 && kit.permit(ServerKit.peer(2)) == 403)
    kit.server.renew(ServerKit.settings(), at: kit.now, judge: judge)
    #expect(kit.forward(0x4000) == ServerKit.peer() && kit.arrival(id, ServerKit.peer()) != nil)
  }
}

extension ServerKit {
  mutating func permit(_ peer: Endpoint, _ flow: TurnFlow = ServerKit.flow()) -> Int {
    request(.createPermission, flow) { $0.add(.xorPeerAddress, xor: peer) }.code
  }

  mutating func bind(_ number: UInt16, _ peer: Endpoint, _ flow: TurnFlow = ServerKit.flow()) -> Int {
    request(.channelBind, flow) { writer in
      writer.add(channel: number)
      writer.add(.xorPeerAddress, xor: peer)
    }.code
  }

  mutating func forward(_ number: UInt16, _ flow: TurnFlow = ServerKit.flow(), bytes: Int = 100) -> Endpoint? {
    server.forward(channel: number, from: flow, packets: 1, bytes: bytes, at: now)?.peer
  }

  mutating func arrival(_ id: AllocationID, _ peer: Endpoint) -> TurnServer.Delivery? {
    server.arrival(on: id, relay: 0, from: peer, packets: 1, bytes: 100, at: now)
  }

  mutating func indicate(_ peer: Endpoint, _ flow: TurnFlow = ServerKit.flow()) -> TurnServer.SendRequest? {
    var writer = STUNWriter(.indication, .send, TransactionID(high: 0, low: 0))
    writer.add(.xorPeerAddress, xor: peer)
    writer.add(.data, [1, 2, 3])
    return writer.bytes.withUnsafeBytes { server.receive($0, from: flow, at: now) }
  }
}
