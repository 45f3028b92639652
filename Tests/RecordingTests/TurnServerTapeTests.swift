import RecordedMachines
import Recording
import STUN
import TURN
import Testing
import Values

/// A relay whose clients do everything that there is, at random, and what was recorded of it.
@Suite("A recorded relay") struct TurnServerTapeTests {
  private static let password = "r3lay-pa55word"
  private static let secret = "s3cret-of-the-relay"

  @Test(
    "Allocations, moves, channels, connections and data by lots are equal when they are run again",
    arguments: 1...12 as ClosedRange<UInt64>)
  func byLots(_ seed: UInt64) throws {
    let studio = Studio()
    let scene = Scene(studio, seed)
    for _ in 0..<300 { scene.step() }
    #expect(scene.answered.contains(.success) && scene.answered.contains(.failure))
    let (secrets, relayed) = (scene.secrets, scene.relayedPackets)
    scene.end()
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1, calls: 100...5_000)
    for secret in [Self.password, Self.secret, "wr0ng-password", "PAYLOAD"] { expectNone(secret, in: bytes) }
    // Tickets, tags, nonces and keys, wherever they went.
    #expect(secrets.count > 100)
    for secret in secrets {
      let digits = Array(secret.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined().utf8)
      let isThere = bytes.contains(run: digits) || bytes.contains(run: secret)
      #expect(!isThere, "\(String(decoding: digits, as: UTF8.self))")
    }
    // Every packet is counted, though it has no line of its own.
    if relayed > 0 {
      let text = String(decoding: bytes, as: UTF8.self)
      let counted = text.matches(of: /"packets":(\d+),"bytes":\d+\},"out"/).reduce(0) { $0 + (Int($1.1) ?? 0) }
      #expect(counted == relayed)
    }
  }

  @Test("A relay with limits of bandwidth has a line for each run of packets, since what passes depends on when")
  func limits() throws {
    let studio = Studio()
    let scene = Scene(studio, 7) { $0.userBandwidth = 4_000 }
    for _ in 0..<300 { scene.step() }
    scene.end()
    try expectSame(studio.finish(), machines: 1)
  }

  @Test("A changed byte of what a client asked for, of what it proved or of what was answered is found")
  func changed() throws {
    let studio = Studio()
    let scene = Scene(studio, 3)
    for _ in 0..<120 { scene.step() }
    scene.end()
    let text = String(decoding: studio.finish(), as: UTF8.self)
    for (before, after) in [
      (#""is":"user""#, #""is":"wrong""#), (#""out":{"event":["bind","0.1""#, #""out":{"event":["bind","0.2""#),
      (#""good":true"#, #""good":false"#), (#""message":"0103"#, #""message":"0104"#),
      (#""do":"receive","in":{"flow":"udp 1 192.0.2.1"#, #""do":"receive","in":{"flow":"udp 1 192.0.2.9"#),
    ] {
      let place = try #require(text.firstRange(of: before), "\(before)")
      let changed = text[..<place.lowerBound] + after + text[place.upperBound...]
      let report = try replayed(Array(changed.utf8))
      #expect(!report.differences.isEmpty, "\(before)")
    }
  }

  /// Three clients at one relay.
  private final class Scene {
    private var dice: Dice
    private let studio: Studio
    private var machine: RecordedTurnServer?
    private var nonces: [TurnFlow: [UInt8]] = [:]
    private var ticket: [UInt8] = []
    private var ids: [AllocationID] = []
    private var connections: [ConnectionID] = []
    private var bound: [Endpoint] = []
    private(set) var secrets: Set<[UInt8]> = []
    private(set) var answered: Set<STUNClass> = []
    private(set) var relayedPackets = 0

    private static let v4 = IPAddress.v4(0xC633_6401)
    private static let peers = (1...3).map { Endpoint(.v4(0xCB00_7100 + UInt32($0)), port: 7_000) }
    private static let forbidden = Endpoint(.v4(0x0A00_0001), port: 80)

    init(_ studio: Studio, _ seed: UInt64, _ change: (inout TurnSettings) -> Void = { _ in }) {
      self.studio = studio
      dice = Dice(seed)
      var settings = TurnSettings()
      settings.realm = "example.org"
      settings.software = "the relay"
      settings.addresses = [
        RelayAddress(local: Self.v4),
        RelayAddress(local: .v6(0x2001_0DB8 << 96 | 1), external: .v6(0x2001_0DB8 << 96 | 2)),
      ]
      settings.ports = 50_000...50_040
      settings.isMobile = true
      settings.relaysTCP = true
      settings.userQuota = 2
      change(&settings)
      machine = RecordedTurnServer(
        settings, users: Self.users, random: SystemRandomNumberGenerator(), studio.recorder, about: "example.org",
        at: studio.now, unixSeconds: 1_800_000_000,
        judge: { $0.address == Self.forbidden.address ? "10.0.0.0/8 is private" : nil })
    }

    private static let users = TurnUsers(
      realm: "example.org", users: ["ada": .password(password), "bob": .password(password)], secrets: [secret])

    func end() { machine = nil }

    func step() {
      studio.wait(dice.chance(12) ? .seconds(Int64(dice.below(400))) : .milliseconds(Int64(dice.below(900))))
      let flow = flow()
      switch dice.below(16) {
      case 0...2: ask(.allocate, flow)
      case 3: ask(.refresh, flow)
      case 4, 5: ask(.createPermission, flow)
      case 6, 7: ask(.channelBind, flow)
      case 8: ask(.connect, flow)
      case 9: ask(.connectionBind, flow)
      case 10: ask(.binding, flow)
      case 11: send(flow)
      case 12:
        for _ in 0..<5 {
          let run = dice.below(8) + 1
          if machine?.forward(channel: 0x4000, from: flow, packets: run, bytes: run * 100, at: studio.now) != nil {
            relayedPackets += run
          }
        }
      case 13:
        guard let id = ids.last else { return }
        if machine?.arrival(on: id, relay: 0, from: dice.pick(Self.peers), packets: 2, bytes: 99, at: studio.now) != nil
        {
          relayedPackets += 2
        }
      case 14: connection(flow)
      default: other(flow)
      }
      settle()
    }

    private func flow() -> TurnFlow {
      TurnFlow(
        listener: 1, transport: dice.chance(3) ? .tcp : .udp,
        remote: Endpoint(.v4(0xC000_0201 + UInt32(dice.below(3))), port: 5_000), local: Endpoint(Self.v4, port: 3_478))
    }

    private func other(_ flow: TurnFlow) {
      switch dice.below(6) {
      case 3:
        guard let id = ids.last, let report = ICMPReport(type: 3, code: 4, mtu: 1_400, family: .ipv4) else { return }
        machine?.icmpError(report, about: dice.pick(Self.peers), on: id, at: studio.now)
      case 0: machine?.closed(flow, at: studio.now)
      case 1: machine?.isDraining = dice.chance(3)
      case 2:
        guard var settings = machine?.settings else { return }
        settings.userQuota = dice.below(3) + 1
        // Now and then something ends by it that was good before.
        let refused = dice.chance(3) ? dice.pick(Self.peers) : nil
        machine?.renew(
          settings, users: dice.chance(2) ? Self.users : nil, at: studio.now,
          judge: { $0.port == 80 || $0.address == refused?.address ? "not the web" : nil })
      default: machine?.handleTimeout(at: studio.now)
      }
    }

    private func connection(_ flow: TurnFlow) {
      if let id = ids.last, dice.chance(2) {
        if let one = machine?.accepted(on: id, from: dice.pick(Self.peers), at: studio.now) { connections.append(one) }
      } else if let one = connections.last {
        if dice.chance(2) {
          machine?.connected(one, !dice.chance(3), at: studio.now)
        } else {
          machine?.disconnected(one)
        }
      }
    }

    private func send(_ flow: TurnFlow) {
      var writer = STUNWriter(.indication, .send, TransactionID(using: &dice))
      writer.add(.xorPeerAddress, xor: dice.pick(Self.peers + [Self.forbidden]))
      writer.add(.data, "PAYLOAD")
      // One that must not be acted on.
      if dice.chance(5) { writer.add(STUNAttribute(rawValue: 0x0002), [1, 2, 3, 4]) }
      writer.bytes.withUnsafeBytes {
        if machine?.receive($0, from: flow, at: studio.now) != nil { relayedPackets += 1 }
      }
    }

    private func ask(_ method: STUNMethod, _ flow: TurnFlow) {
      var writer = STUNWriter(.request, method, TransactionID(using: &dice))
      let peer = dice.pick(Self.peers + (dice.chance(4) ? [Self.forbidden] : []))
      switch method {
      case .allocate:
        writer.add(.requestedTransport, byte: flow.transport.isStream && dice.chance(2) ? 6 : 17)
        if dice.chance(3) { writer.add(.requestedAddressFamily, byte: UInt8(dice.below(3) + 1)) }
        if dice.chance(2) { writer.add(.mobilityTicket) }
        if dice.chance(5) { writer.add(.evenPort, [0x80]) }
      case .refresh:
        if dice.chance(3) { writer.add(.lifetime, UInt32(dice.below(2) * 600)) }
        if !ticket.isEmpty, dice.chance(2) { writer.add(.mobilityTicket, dice.chance(3) ? dice.bytes(16) : ticket) }
      case .createPermission, .connect: writer.add(.xorPeerAddress, xor: peer)
      case .channelBind:
        writer.add(channel: 0x4000)
        writer.add(.xorPeerAddress, xor: peer)
      case .connectionBind: if let one = connections.last { writer.add(.connectionID, one.number) }
      default: if dice.chance(2) { writer.add(.software, "PAYLOAD") }
      }
      if let nonce = nonces[flow], !dice.chance(6), method != .binding {
        let name = dice.pick([
          "ada", "ada", "ada", "bob", TimeLimitedCredentials.username(expiry: 1_800_000_900, user: "eve"),
        ])
        var password = dice.chance(9) ? "wr0ng-password" : TurnServerTapeTests.password
        if name.hasSuffix("eve") {
          password = TimeLimitedCredentials.password(username: name, secret: TurnServerTapeTests.secret)
        }
        if dice.chance(4), !name.hasSuffix("eve") {
          writer.add(.userHash, UserHash.of(username: name, realm: "example.org"))
        } else {
          writer.add(.username, name)
        }
        writer.add(.realm, dice.chance(20) ? "elsewhere" : "example.org")
        writer.add(.nonce, nonce)
        let key = PasswordAlgorithm.md5.key(
          username: name, realm: "example.org", password: password, dice.chance(3) ? .sha256 : .sha1)
        writer.add(integrity: key)
        secrets.insert(PasswordAlgorithm.md5.stored(username: name, realm: "example.org", password: password))
      }
      if dice.chance(3) { writer.addFingerprint() }
      see(writer.bytes)
      writer.bytes.withUnsafeBytes { _ = machine?.receive($0, from: flow, at: studio.now) }
    }

    private func settle() {
      while let event = machine?.pollEvent() {
        switch event {
        case .bind(let id, let relay, _, _): machine?.bound(id, relay: relay, !dice.chance(5), at: studio.now)
        case .began(let id): ids.append(id)
        case .connect(_, let one, _): connections.append(one)
        default: break
        }
      }
      while let transmit = machine?.pollTransmit() {
        see(transmit.bytes)
        transmit.bytes.withUnsafeBytes {
          guard let message = STUNMessage($0) else { return }
          answered.insert(message.kind)
          if let nonce = message.bytes(.nonce) { nonces[transmit.flow] = nonce }
          if let drawn = message.bytes(.mobilityTicket) { ticket = drawn }
        }
      }
      _ = machine?.nextDeadline()
    }

    /// What is in a message that nobody may read.
    private func see(_ bytes: [UInt8]) {
      bytes.withUnsafeBytes { bytes in
        guard let message = STUNMessage(bytes) else { return }
        if let nonce = message.bytes(.nonce) { secrets.insert(Array(nonce.suffix(12))) }
        for attribute in [STUNAttribute.mobilityTicket, .messageIntegrity, .userHash] {
          if let value = message.bytes(attribute), value.count >= 16 { secrets.insert(value) }
        }
        // What guards a message counts for nothing in it.
        for start in stride(from: 20, to: bytes.count - 4, by: 4) where bytes[start] == 0 && bytes[start + 3] == 20 {
          if bytes[start + 1] == 8, start + 24 <= bytes.count {
            secrets.insert(Array(bytes[(start + 4)..<(start + 24)]))
          }
        }
      }
    }
  }
}
