import RecordedMachines
import Recording
import STUN
import TURN
import Testing
import Values

/// A client of a relay's machine, over a wire that loses: what was recorded of it.
@Suite("A recorded TURN client") struct TURNClientTapeTests {
  private static let password = "cl1ent-pa55word"

  @Test(
    "Allocations, peers, moves, silence and another server by lots are equal when they are run again",
    arguments: 1...12 as ClosedRange<UInt64>)
  func byLots(_ seed: UInt64) throws {
    let studio = Studio()
    let scene = Scene(studio, seed)
    for _ in 0..<300 { scene.step() }
    let (secrets, heard, sent) = (scene.secrets, scene.heard, scene.sent)
    scene.end()
    let bytes = studio.finish()
    try expectSame(bytes, machines: 1, calls: 20...5_000)
    for secret in [Self.password, "PAYLOAD", "alice-in-wonderland"] { expectNone(secret, in: bytes) }
    #expect(secrets.count > 5, "\(secrets.count)")
    for secret in secrets {
      let digits = Array(secret.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined().utf8)
      let isThere = bytes.contains(run: digits)
      #expect(!isThere, "\(String(decoding: digits, as: UTF8.self))")
    }
    // What left is counted in sums; what came is too, but for what came with an answer.
    let text = String(decoding: bytes, as: UTF8.self)
    func sum(_ call: String) -> Int {
      text.split(separator: "\n").filter { $0.contains("\"do\":\"\(call)\"") }.reduce(0) { sum, line in
        sum + line.matches(of: /"[^ "]+ (?:\d+|channel|indications) (\d+) \d+"/).reduce(0) { $0 + (Int($1.1) ?? 0) }
      }
    }
    #expect(sum("sent") == sent)
    #expect(sum("heard") <= heard)
    if heard > 40 { #expect(sum("heard") > 0) }
  }

  @Test("A changed byte of an answer, of whether it was proven or of what was asked is found")
  func changed() throws {
    let studio = Studio()
    let scene = Scene(studio, 5)
    for _ in 0..<200 { scene.step() }
    scene.end()
    let text = String(decoding: studio.finish(), as: UTF8.self)
    for (before, after) in [
      ("0 right\":\"", "0 wrong\":\""), ("0 right\":\"01", "0 right\":\"00"),
      ("\"do\":\"transmit\",\"out\":{\"message\":\"00", "\"do\":\"transmit\",\"out\":{\"message\":\"01"),
      ("\"event\":[\"allocated\",\"new\"", "\"event\":[\"allocated\",\"same\""),
      ("\"do\":\"add\",\"in\":{\"peer\":\"203", "\"do\":\"add\",\"in\":{\"peer\":\"213"),
    ] {
      let place = try #require(text.firstRange(of: before), "\(before)")
      let report = try replayed(Array((text[..<place.lowerBound] + after + text[place.upperBound...]).utf8))
      #expect(!report.differences.isEmpty, "\(before)")
    }
  }

  /// The client, its relay, and three peers.
  private final class Scene {
    private var dice: Dice
    private let studio: Studio
    private var machine: RecordedTURNClient?
    private var server: TurnServer
    private var isStream: Bool
    private var port: UInt16 = 5_000
    private var wait: [[UInt8]] = []
    private(set) var secrets: Set<[UInt8]> = []
    private(set) var heard = 0
    private(set) var sent = 0

    private static let relay = IPAddress.v4(0xC633_6401)
    private static let peers = (1...3).map { Endpoint(.v4(0xCB00_7100 + UInt32($0)), port: 7_000) }

    init(_ studio: Studio, _ seed: UInt64) {
      self.studio = studio
      dice = Dice(seed)
      isStream = seed % 4 == 0
      let isMade = seed % 3 == 0
      server = Self.server(at: studio.now)
      let settings = TURNClientSettings(
        credentials: isMade
          ? .secret(password, user: "alice-in-wonderland")
          : .password(username: "alice-in-wonderland", password: password),
        mobility: seed % 2 == 0)
      machine = RecordedTURNClient(
        settings, isStream: isStream, random: SystemRandomNumberGenerator(), unixTime: 1_800_000_000, studio.recorder,
        about: "the relay", at: studio.now)
      machine?.begin(at: studio.now)
      machine?.proceed(at: studio.now)
    }

    private static func server(at now: Instant) -> TurnServer {
      var settings = TurnSettings()
      settings.realm = "example.org"
      settings.software = "a relay"
      settings.addresses = [RelayAddress(local: relay)]
      settings.isMobile = true
      let users = TurnUsers(
        realm: "example.org", users: ["alice-in-wonderland": .password(password)], secrets: [password])
      return TurnServer(
        settings, users: users, random: SystemRandomNumberGenerator(), at: now, unixSeconds: 1_800_000_000
      ) { $0.address == peers[2].address ? "not to that one" : nil }
    }

    private var flow: TurnFlow {
      TurnFlow(
        listener: 1, transport: isStream ? .tcp : .udp, remote: Endpoint(.v4(0xC000_0201), port: port),
        local: Endpoint(Self.relay, port: 3_478))
    }

    func end() { machine = nil }

    func step() {
      studio.wait(dice.chance(20) ? .seconds(Int64(dice.below(300))) : .milliseconds(Int64(dice.below(400))))
      let peer = dice.pick(Self.peers)
      switch dice.below(14) {
      case 0, 1: machine?.add(peer: peer, at: studio.now)
      case 2 where dice.chance(3): machine?.remove(peer: peer)
      case 3: machine?.permit(peer.address, at: studio.now)
      case 4 where dice.chance(6): server = Self.server(at: studio.now)
      case 5 where dice.chance(5):
        port += 1
        machine?.setWallClock(unixTime: 1_800_000_000 + Int64(port), at: studio.now)
        machine?.moved(isStream: isStream, at: studio.now)
      case 6...8: send(to: peer)
      case 9...11: arrive(from: peer)
      default: machine?.handleTimeout(at: studio.now)
      }
      settle()
    }

    private func send(to peer: Endpoint) {
      var batch = PacketBatch(capacity: 4_096, maximumCount: 8, headroom: TURNClient.headroom)
      let count = dice.below(6) + 1
      for _ in 0..<count { _ = Array("PAYLOAD".utf8).withUnsafeBytes { batch.append(copying: $0) } }
      var frames: [UInt8] = []
      let framing =
        isStream
        ? machine?.append(batch, to: peer, into: &frames, at: studio.now)
        : machine?.frame(&batch, to: peer, at: studio.now)
      switch framing {
      case .framed: sent += count
      case .unbound:
        let message = Array("PAYLOAD".utf8).withUnsafeBytes { machine?.indication($0, to: peer, at: studio.now) }
        if message != nil { sent += 1 }
      case .nowhere, nil: break
      }
    }

    /// Packets of a peer, as the relay passes them on.
    private func arrive(from peer: Endpoint) {
      guard let id = server.statuses.last?.id else { return }
      if dice.chance(4), let report = ICMPReport(type: 3, code: 3, mtu: 0, family: .ipv4) {
        server.icmpError(report, about: peer, on: id, at: studio.now)
      }
      for _ in 0...dice.below(3) {
        guard let delivery = server.arrival(on: id, relay: 0, from: peer, packets: 1, bytes: 8, at: studio.now) else {
          return
        }
        if let channel = delivery.channel {
          wait.append([UInt8(channel >> 8), UInt8(channel & 255), 0, 8] + Array("PAYLOAD!".utf8))
        } else {
          var writer = STUNWriter(.indication, .data, TransactionID(using: &dice))
          writer.add(.xorPeerAddress, xor: delivery.peer)
          writer.add(.data, "PAYLOAD")
          wait.append(writer.bytes)
        }
      }
    }

    private func settle() {
      for _ in 0..<8 {
        while let message = machine?.pollTransmit() {
          see(message)
          if dice.chance(9) { continue }
          message.withUnsafeBytes { _ = server.receive($0, from: flow, at: studio.now) }
        }
        while let event = server.pollEvent() {
          if case .bind(let id, let relay, _, _) = event { server.bound(id, relay: relay, true, at: studio.now) }
        }
        while let answer = server.pollTransmit() {
          if dice.chance(9) || answer.flow != flow { continue }
          see(answer.bytes)
          wait.append(answer.bytes)
          // Somebody on the way changes one.
          if dice.chance(20), let last = wait.last { wait.append(last.dropLast() + [last[last.count - 1] ^ 1]) }
        }
        guard !wait.isEmpty else { break }
        receive()
      }
      while machine?.pollEvent() != nil {}
      _ = machine?.nextDeadline()
    }

    /// All that is on its way, in one batch.
    private func receive() {
      var batch = PacketBatch(capacity: 65_536, maximumCount: 64)
      var filled = 0
      for bytes in wait {
        if isStream {
          let room = UnsafeMutableRawBufferPointer(rebasing: batch.storage[filled...])
          room.copyBytes(from: bytes)
          filled += bytes.count
        } else {
          _ = bytes.withUnsafeBytes { batch.append(copying: $0) }
        }
      }
      wait = []
      if isStream {
        _ = machine?.receive(stream: batch, filled: filled, at: studio.now)
      } else {
        machine?.receive(batch, at: studio.now)
      }
      while machine?.nextRun(&batch) != nil { heard += batch.count }
    }

    private func see(_ bytes: [UInt8]) {
      bytes.withUnsafeBytes { bytes in
        guard let message = STUNMessage(bytes) else { return }
        for attribute in [STUNAttribute.mobilityTicket, .userHash] {
          if let value = message.bytes(attribute), value.count >= 16 { secrets.insert(value) }
        }
      }
      if bytes.count > 56, bytes[bytes.count - 24] == 0, bytes[bytes.count - 23] == 8 {
        secrets.insert(Array(bytes.suffix(20)))
      }
      if bytes.count > 56, bytes[bytes.count - 36] == 0, bytes[bytes.count - 35] == 0x1C {
        secrets.insert(Array(bytes.suffix(32)))
      }
    }
  }
}
