import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

/// Preshared keys made by ML-KEM-768 inside of sessions.
@Suite struct PostQuantumTests {
  private static let talking = TalkSettings(pathMTU: false, mtu: 1420)

  @Test("The first session makes a secret, the second uses it five seconds later, and each that follows has its own")
  func rotation() throws {
    let two = try Two(talk: (Self.talking, Self.talking))
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    #expect(!two.isPostQuantum.a && !two.isPostQuantum.b, "the first is one of X25519 alone")
    two.world.run(.seconds(6))
    #expect(two.isPostQuantum.a && two.isPostQuantum.b)
    var names: [UInt8] = []
    for _ in 0..<600 {
      two.world.send(two.a, two.there())
      two.world.send(two.b, two.back())
      two.world.run(.seconds(1))
      check(two.isPostQuantum.a && two.isPostQuantum.b, "\(two.world.now.nanoseconds)")
      if let name = two.a.device.peers[two.aPeer]?.talk?.rotation.name, name != names.last { names.append(name) }
    }
    #expect(two.a.delivered.count == 600 && two.b.delivered.count == 601, "nothing was lost")
    #expect(names.count == 5, "a secret in each session: \(names)")
    #expect(two.a.device.peers[two.aPeer]?.talk?.rotation.name == two.b.device.peers[two.bPeer]?.talk?.rotation.name)
    #expect(two.a.events.filter { if case .postQuantum(_, true) = $0 { true } else { false } }.count == 1)
    #expect(!two.a.events.contains { if case .postQuantum(_, false) = $0 { true } else { false } })
  }

  @Test("It is not made where one end does not want it, and is dropped where one end does not any more")
  func settings() throws {
    let without = TalkSettings(postQuantum: false, mtu: 1420)
    for (left, right) in [(Self.talking, without), (without, Self.talking)] {
      let two = try Two(talk: (left, right))
      for _ in 0..<140 {
        two.world.send(two.a, two.there())
        two.world.run(.seconds(1))
      }
      #expect(!two.isPostQuantum.a && !two.isPostQuantum.b)
      #expect(two.b.delivered.count == 140)
    }
    let two = try Two(talk: (Self.talking, Self.talking))
    two.world.send(two.a, two.there())
    two.world.run(.seconds(8))
    #expect(two.isPostQuantum.a)
    two.b.device.setTalk(without, at: two.world.now)
    for _ in 0..<140 {
      two.world.send(two.a, two.there())
      two.world.run(.seconds(1))
    }
    #expect(!two.isPostQuantum.a && !two.isPostQuantum.b)
    #expect(two.b.delivered.count == 141)
    #expect(two.a.events.contains { if case .postQuantum(_, false) = $0 { true } else { false } })
  }

  @Test("An end that was started anew has lost the secret: the next handshake succeeds at once, whoever begins it")
  func restart() throws {
    for isBegunByB in [true, false] {
      let two = try Two(talk: (Self.talking, Self.talking))
      two.world.send(two.a, two.there())
      two.world.run(.seconds(8))
      #expect(two.isPostQuantum.a)
      let fresh = try two.restartB(talk: Self.talking)
      let began = two.world.now
      if isBegunByB {
        two.world.send(fresh, two.back(1, from: 7))
        two.world.run(.seconds(1))
        #expect(two.a.delivered.count == 1, "with the first initiation")
      } else {
        // The end that knows nothing of it finds out by silence, as always: 15 seconds and jitter.
        two.world.send(two.a, two.there())
        two.world.run(.seconds(16))
        two.world.send(two.a, two.there())
        two.world.run(.seconds(1))
        #expect(fresh.delivered.count >= 1)
        #expect(two.world.log(.initiation, from: two.a).count <= 4, "none was in vain")
      }
      #expect(!two.isPostQuantum.a, "and says so")
      two.world.run(.seconds(6))
      #expect(two.isPostQuantum.a, "\(isBegunByB), \((two.world.now - began).inSeconds)")
      #expect(fresh.device.peerIDs.first.flatMap { fresh.device.status(of: $0)?.isPostQuantum } == true)
      #expect(!two.a.outcomes.contains(.forged) && !fresh.outcomes.contains(.forged))
    }
  }

  @Test("The configured key protects as before: with a secret of both, ends whose keys differ make no session")
  func configuredKey() throws {
    let two = try Two(talk: (Self.talking, Self.talking))
    var random = SeededGenerator(6)
    let key = SecretKey(using: &random)
    two.a.device.setPresharedKey(key, of: two.aPeer)
    two.b.device.setPresharedKey(key, of: two.bPeer)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(8))
    #expect(two.isPostQuantum.a && two.a.completed == 2)
    two.a.device.setPresharedKey(SecretKey(using: &random), of: two.aPeer)
    for _ in 0..<200 {
      two.world.send(two.a, two.there())
      two.world.run(.seconds(1))
    }
    #expect(two.a.completed == 2 && two.a.outcomes.contains(.forged))
    two.a.device.setPresharedKey(key, of: two.aPeer)
    two.world.send(two.a, two.there())
    two.world.run(.seconds(14))
    #expect(two.a.completed > 2, "and do when they are the same again")
    #expect(two.isPostQuantum.a)
  }

  @Test("A session's key depends on the secret and on the configured key, each by itself")
  func derivation() throws {
    var random = SeededGenerator(7)
    let (left, right) = try Self.exchange(seed: 7)
    let (other, _) = try Self.exchange(seed: 8)
    let none = SecretKey()
    let configured = SecretKey(using: &random)
    let keys = [
      shown(left.preshared(named: left.name, configured: none, isTheirs: false)),
      shown(left.preshared(named: left.name, configured: configured, isTheirs: false)),
      shown(other.preshared(named: other.name, configured: none, isTheirs: false)),
      shown(other.preshared(named: other.name, configured: configured, isTheirs: false)),
    ]
    #expect(Set(keys.compactMap { $0 }).count == 4)
    #expect(shown(right.preshared(named: left.name, configured: configured, isTheirs: true)) == keys[1])
    #expect(shown(left.preshared(named: 0, configured: configured, isTheirs: true)) == nil)
    #expect(shown(left.preshared(named: left.name &+ 1, configured: configured, isTheirs: true)) == nil)
  }

  @Test("Each piece of an exchange may be lost, doubled or late: in the end both have the secret, or neither uses it")
  func losses() throws {
    for seed in UInt64(0)..<60 {
      let two = try Two(talk: (Self.talking, Self.talking))
      var random = SeededGenerator(seed)
      two.world.fate = { _, _, _ in
        if random.number(1...100) <= 25 { return [] }
        let delay = TimeSpan.milliseconds(Int64(random.number(5...400)))
        return random.chance(10) ? [delay, delay + .milliseconds(700)] : [delay]
      }
      for _ in 0..<400 {
        two.world.send(two.a, two.there())
        if random.chance(3) { two.world.send(two.b, two.back()) }
        two.world.run(.seconds(1))
      }
      let received = two.b.delivered.count
      check(received > 250, "\(seed): \(received)")
      check(
        !two.a.outcomes.contains(.forged) && !two.b.outcomes.contains(.forged), "\(seed): a key was not the other's")
      check(two.a.inbound.drops.forged == 0 && two.b.inbound.drops.forged == 0, "\(seed)")
      check(two.isPostQuantum.a, "\(seed): at the end")
    }
  }

  @Test("Whoever drops what is large prevents secrets, and is seen: sessions go on, and say that they have none")
  func suppression() throws {
    let two = try Two(talk: (Self.talking, Self.talking))
    two.world.fate = { bytes, _, _ in bytes.count > 500 ? [] : [.milliseconds(10)] }
    for _ in 0..<300 {
      two.world.send(two.a, two.there())
      two.world.run(.seconds(1))
    }
    #expect(two.b.delivered.count == 300)
    #expect(!two.isPostQuantum.a && !two.isPostQuantum.b)
    #expect(two.a.said.count < 100, "\(two.a.said.count): it is not tried for ever")

    // With a secret of both, what is on the way cannot have them do without.
    let safe = try Two(talk: (Self.talking, Self.talking))
    safe.world.send(safe.a, safe.there())
    safe.world.run(.seconds(8))
    safe.world.fate = { bytes, _, _ in bytes.count > 500 ? [] : [.milliseconds(10)] }
    for _ in 0..<300 {
      safe.world.send(safe.a, safe.there())
      safe.world.run(.seconds(1))
      check(safe.isPostQuantum.a && safe.isPostQuantum.b, "\(safe.world.now.nanoseconds)")
    }
  }

  @Test("What is said out of turn or made up leads to nothing")
  func nonsense() throws {
    var random = SeededGenerator(9)
    let (left, right) = try Self.exchange(seed: 9)
    let name = left.name
    let statics = Self.statics()
    let binding = SecretKey()
    for _ in 0..<3_000 {
      let size = [16, 552, 592, 600, 1].randomElement(using: &random) ?? 1
      let place = [0, 552, 592, 9, 65_535].randomElement(using: &random) ?? 0
      let bytes = random.bytes(size)
      let message: TalkMessage =
        switch random.number(0...2) {
        case 0: .kemKey(place: place, bytes)
        case 1: .kemText(place: place, bytes)
        default: .kemDone(bytes)
        }
      let end = random.chance(2) ? left : right
      end.receive(message, binding: binding, statics: statics, at: Instant(nanoseconds: 0), using: &random)
      while end.pollOutput() != nil {}
    }
    #expect(left.name == name && right.name == name)
  }

  // MARK: Helpers

  private static func statics() -> (PublicKey, PublicKey) {
    var random = SeededGenerator(1)
    return (X25519.publicKey(of: SecretKey(using: &random)), X25519.publicKey(of: SecretKey(using: &random)))
  }

  /// Two that have made a secret.
  private static func exchange(seed: UInt64) throws -> (SecretRotation, SecretRotation) {
    var random = SeededGenerator(seed)
    let left = SecretRotation()
    let right = SecretRotation()
    let now = Instant(nanoseconds: 0)
    let binding = SecretKey(using: &random)
    left.begin(at: now, using: &random)
    var isMoving = true
    while isMoving {
      isMoving = false
      for (from, to) in [(left, right), (right, left)] {
        while let output = from.pollOutput() {
          isMoving = true
          if case .send(let message) = output {
            to.receive(message, binding: binding, statics: statics(), at: now, using: &random)
          }
        }
      }
    }
    try #require(left.name != 0 && left.name == right.name)
    return (left, right)
  }
}

extension Two {
  fileprivate var isPostQuantum: (a: Bool, b: Bool) {
    (
      a.device.status(of: aPeer)?.isPostQuantum == true,
      b.device.status(of: bPeer)?.isPostQuantum == true
    )
  }
}

private func shown(_ secret: consuming SecretKey?) -> String? {
  guard let secret else { return nil }
  return secret.withUnsafeBytes { text($0) }
}
