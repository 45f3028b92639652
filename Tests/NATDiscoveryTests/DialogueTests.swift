/// Round trips and allocations with a server that says what a test wants, and the lifetime of what a NAT remembers.
import CryptoPrimitives
import STUN
import Testing
import Values

@testable import NATDiscovery

@Suite("Dialogues with a relay")
struct DialogueTests {
  typealias Answer = (STUNMessage) -> [UInt8]?

  private static let realm = "example.org"
  private static let relayed = endpoint("203.0.113.1:50000")

  /// Runs a dialogue to its end with a server that answers each request at once.
  private func run(_ question: RelayDialogue.Question, _ answer: Answer) throws -> (RelayDialogue, requests: Int) {
    var now = Instant(nanoseconds: 0)
    var machine = RelayDialogue(question, secret: Array(repeating: 3, count: 16), at: now)
    var requests = 0
    for _ in 0..<200 where !machine.isOver {
      while let bytes = machine.pollTransmit(at: now) {
        requests += 1
        let reply = bytes.withUnsafeBytes { raw in STUNMessage(raw).flatMap { answer($0) } }
        now = now + .milliseconds(12)
        if let reply { _ = reply.withUnsafeBytes { machine.handle($0, at: now) } }
      }
      guard !machine.isOver else { break }
      now = max(now, try #require(machine.nextDeadline, "it waits for nothing"))
      machine.handleTimeout(at: now)
    }
    try #require(machine.isOver, "it does not end")
    #expect(now.nanoseconds < 15_000_000_000)
    return (machine, requests)
  }

  private func challenge(_ request: STUNMessage, nonce: String = "abc", algorithms: Bool = false) -> [UInt8] {
    var writer = STUNWriter(.unauthenticated, to: request)
    writer.add(.realm, Self.realm)
    if algorithms {
      writer.add(
        .nonce, NonceFeatures(hasPasswordAlgorithms: true, hasUsernameAnonymity: false).prefix + nonce)
      writer.add(.passwordAlgorithms, PasswordAlgorithm.encoded([.md5, .sha256]))
    } else {
      writer.add(.nonce, nonce)
    }
    return writer.bytes
  }

  private func binding(_ request: STUNMessage) -> [UInt8] {
    var writer = STUNWriter(.success, to: request)
    writer.add(.xorMappedAddress, xor: endpoint("198.51.100.7:1234"))
    return writer.bytes
  }

  private func granted(_ request: STUNMessage, _ key: STUNKey?) -> [UInt8] {
    var writer = STUNWriter(.success, to: request)
    if request.method == .allocate {
      writer.add(.xorRelayedAddress, xor: Self.relayed)
      writer.add(.lifetime, UInt32(600))
    }
    if let key { writer.add(integrity: key) }
    return writer.bytes
  }

  private func key(_ password: String, _ algorithm: PasswordAlgorithm, _ integrity: STUNIntegrity) -> STUNKey {
    algorithm.key(username: "ann", realm: Self.realm, password: password, integrity)
  }

  private let ann = RelayDialogue.Credentials(username: "ann", password: "secret")

  @Test("Round trips are measured one after the other, on datagrams and on streams", arguments: [false, true])
  func samples(_ isStream: Bool) throws {
    let (machine, requests) = try run(.init(isStream: isStream, samples: 5)) { binding($0) }
    #expect(machine.roundTrips == Array(repeating: .milliseconds(12), count: 5))
    #expect(machine.mapped == endpoint("198.51.100.7:1234"))
    #expect(requests == 5 && machine.allocation == .notAsked)
  }

  @Test("An allocation is granted to a name, by either password algorithm, and given back", arguments: [false, true])
  func allocation(_ isNew: Bool) throws {
    let key = isNew ? key("secret", .sha256, .sha256) : key("secret", .md5, .sha1)
    var released = false
    let (machine, _) = try run(
      .init(isStream: false, samples: 1, asksAllocation: true, family: .ipv6, credentials: ann)
    ) { request in
      if request.method == .binding { return binding(request) }
      guard request.hasIntegrity else {
        #expect(request.byte(.requestedTransport) == 17 && request.byte(.requestedAddressFamily) == 2)
        return challenge(request, algorithms: isNew)
      }
      #expect(request.isAuthentic(key))
      #expect(request.text(.username) == "ann")
      if isNew { #expect(request.bytes(.passwordAlgorithm) == [0, 2, 0, 0]) }
      if request.method == .refresh { released = request.number(.lifetime) == 0 }
      return granted(request, key)
    }
    #expect(machine.allocation == .granted(relayed: Self.relayed, lifetime: .seconds(600)))
    #expect(released)
  }

  @Test("A stale nonce is replaced, but not for ever")
  func staleNonce() throws {
    var number = 0
    func stale(_ request: STUNMessage) -> [UInt8] {
      number += 1
      var writer = STUNWriter(.staleNonce, to: request)
      writer.add(.realm, Self.realm)
      writer.add(.nonce, "nonce \(number)")
      return writer.bytes
    }
    let question = RelayDialogue.Question(isStream: true, samples: 0, asksAllocation: true, credentials: ann)
    let (once, _) = try run(question) { request in
      guard request.hasIntegrity else { return challenge(request) }
      return number == 0 ? stale(request) : granted(request, key("secret", .md5, .sha1))
    }
    #expect(once.allocation == .granted(relayed: Self.relayed, lifetime: .seconds(600)))
    let (ever, requests) = try run(question) { $0.hasIntegrity ? stale($0) : challenge($0) }
    #expect(ever.allocation == .refused(code: 438, reason: "Stale Nonce"))
    #expect(requests < 6)
  }

  @Test("Refusals are told with the server's code and words")
  func refusals() throws {
    let question = RelayDialogue.Question(isStream: true, samples: 1, asksAllocation: true)
    let (asked, _) = try run(question) { $0.method == .binding ? binding($0) : challenge($0) }
    #expect(asked.allocation == .needsCredentials(realm: Self.realm) && asked.allocation.isRelay)
    var named = question
    named.credentials = ann
    let (wrong, _) = try run(named) { $0.method == .binding ? binding($0) : challenge($0) }
    #expect(wrong.allocation == .refused(code: 401, reason: "Unauthenticated"))
    let (full, _) = try run(named) { request in
      guard request.method != .binding else { return binding(request) }
      return request.hasIntegrity ? STUNWriter(.quotaReached, to: request).bytes : challenge(request)
    }
    #expect(full.allocation == .refused(code: 486, reason: "Allocation Quota Reached"))
    let (plain, _) = try run(question) { request in
      request.method == .binding ? binding(request) : STUNWriter(.badRequest, to: request).bytes
    }
    #expect(plain.allocation == .refused(code: 400, reason: "Bad Request") && !plain.allocation.isRelay)
  }

  @Test("A grant that is not signed with the password is not believed")
  func unsigned() throws {
    let (machine, _) = try run(.init(isStream: true, samples: 0, asksAllocation: true, credentials: ann)) { request in
      request.hasIntegrity ? granted(request, key("another", .md5, .sha1)) : challenge(request)
    }
    #expect(machine.allocation == .strange("its answer is not signed with the password"))
  }

  @Test("A server that says nothing, or only nonsense, is given up", arguments: [false, true])
  func silence(_ isStream: Bool) throws {
    let question = RelayDialogue.Question(isStream: isStream, samples: 3, asksAllocation: true)
    let (machine, _) = try run(question) { _ in nil }
    #expect(machine.allocation == .silent && !machine.wasAnswered)
    let (deaf, _) = try run(question) { $0.method == .binding ? binding($0) : nil }
    #expect(deaf.allocation == .silent && deaf.wasAnswered)
    let (odd, _) = try run(question) { request in
      // The answer to one request with the number of another.
      STUNWriter(.success, request.method == .binding ? .allocate : .binding, request.transaction).bytes
    }
    #expect(odd.allocation == .silent)
  }

  // MARK: Lifetime

  private func lifetime(
    _ nat: SimulatedNAT, upTo limit: Int64 = 40, _ change: (World) -> Void = { _ in }
  ) throws -> (Judgement<BindingLifetime>, seconds: Double) {
    let world = World(nat)
    change(world)
    let start = world.now
    let spans = LifetimeProbe.spans(upTo: .seconds(limit))
    var machine = LifetimeProbe(
      server: world.server.first, spans: spans, secret: Array(repeating: 5, count: 16), at: start)
    for _ in 0..<5000 where !machine.isFinished {
      while let packet = machine.pollTransmit(at: world.now) { world.send(packet) }
      _ = world.step(
        until: machine.nextDeadline,
        { bytes, from, socket, now in
          _ = bytes.withUnsafeBytes { machine.handle($0, from: from, on: socket, at: now) }
        }, told: { _, _ in })
      machine.handleTimeout(at: world.now)
    }
    try #require(machine.isFinished, "it does not end")
    return (machine.result, (world.now - start).inSeconds)
  }

  @Test("A lifetime is found between two times", arguments: [4, 10, 30])
  func lifetimes(_ seconds: Int64) throws {
    var nat = SimulatedNAT(mapping: .anyone, filtering: .addressAndPort)
    nat.lifetime = .seconds(seconds)
    let (result, duration) = try lifetime(nat)
    let found = try #require(result.value, "\(result)")
    #expect(found.atLeast <= .seconds(seconds))
    #expect(try #require(found.lessThan) >= .seconds(seconds))
    #expect(duration < Double(seconds) * 1.7 + 3)
  }

  @Test("What outlives the limit is said to, and a server that cannot help leads to unknown")
  func unknownLifetimes() throws {
    let nat = SimulatedNAT(mapping: .anyone, filtering: .addressAndPort)
    #expect(try lifetime(nat, upTo: 8).0 == .known(BindingLifetime(atLeast: .seconds(8), lessThan: nil)))
    let (refused, seconds) = try lifetime(nat) { $0.server.knowsResponsePort = false }
    #expect(refused.reason?.contains("420") == true, "\(refused)")
    #expect(seconds < 1)
    let (silent, _) = try lifetime(nat) { $0.loss = 100 }
    #expect(silent == .unknown("the server did not answer"))
  }

  // MARK: Words

  @Test("Servers are read as RFC 7064 and RFC 7065 write them")
  func words() throws {
    let cases: [(String, host: String, String, isRelay: Bool?)] = [
      ("example.org", "example.org", "udp 3478, tcp 3478, tls 5349", nil),
      ("192.0.2.1:443", "192.0.2.1", "udp 443, tcp 443, tls 443", nil),
      ("2001:db8::1", "2001:db8::1", "udp 3478, tcp 3478, tls 5349", nil),
      ("[2001:db8::1]:80", "2001:db8::1", "udp 80, tcp 80, tls 80", nil),
      ("stun:example.org", "example.org", "udp 3478, tcp 3478", false),
      ("stuns:example.org:443", "example.org", "tls 443", false),
      ("turn:example.org:3479?transport=udp", "example.org", "udp 3479", true),
      ("turn:[2001:db8::1]:3478?transport=tcp", "2001:db8::1", "tcp 3478", true),
      ("TURN:example.org", "example.org", "udp 3478, tcp 3478", true),
      ("turns://example.org", "example.org", "tls 5349", true),
      ("turns:example.org:443?transport=tcp", "example.org", "tls 443", true),
    ]
    for (text, host, ports, isRelay) in cases {
      let word = try ServerWord(text)
      #expect(word.host == host && word.isRelay == isRelay, "\(text)")
      #expect(word.ports.map { "\($0.transport) \($0.port)" }.joined(separator: ", ") == ports, "\(text)")
    }
    for text in [
      "", ":", "host:", "host:0", "host:70000", "a:b:c", "[::1", "turn:", "turn:h?transport=sctp",
      "turns:h?transport=udp", "stun:h?transport=udp", "turn:u@h", "a b", "h/p", String(repeating: "a", count: 400),
    ] {
      #expect(throws: ServerWord.Refusal.self, "\(text)") { try ServerWord(text) }
    }
  }
}
