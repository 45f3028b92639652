/// A network for the machine alone: a NAT of any kind that RFC 4787 has, a server with two addresses and two ports, and
/// a wire that loses, delays and swaps packets by a fixed sequence of random numbers.
import STUN
import Values

@testable import NATDiscovery

func endpoint(_ text: String) -> Endpoint { Endpoint(text) ?? Endpoint(.anyIPv4, port: 0) }

/// Numbers that are the same in each run.
struct Dice: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}

struct SimulatedNAT {
  enum Rule: CaseIterable { case anyone, address, addressAndPort }

  static let kinds = Rule.allCases.flatMap { mapping in Rule.allCases.map { (mapping, $0) } }

  /// `nil` translates nothing: a firewall, or nothing at all.
  var mapping: Rule?
  /// `nil` lets everything in, asked for or not.
  var filtering: Rule?
  var hairpins = false
  var keepsPorts = false
  var externals = [IPAddress("198.51.100.7") ?? .anyIPv4]
  /// A socket is forgotten that has sent nothing for so long.
  var lifetime: TimeSpan?

  private struct Flow: Hashable {
    let inside: Endpoint
    let address: IPAddress?
    let port: UInt16?
  }

  private var flows: [Flow: Endpoint] = [:]
  private var insides: [Endpoint: Endpoint] = [:]
  private var sentTo: [Endpoint: Set<Endpoint>] = [:]
  private var sentAt: [Endpoint: Instant] = [:]
  private var nextPort: UInt16 = 20_000

  init(mapping: Rule?, filtering: Rule?) {
    self.mapping = mapping
    self.filtering = filtering
  }

  private static func key(_ rule: Rule, _ inside: Endpoint, _ remote: Endpoint) -> Flow {
    Flow(
      inside: inside, address: rule == .anyone ? nil : remote.address, port: rule == .addressAndPort ? remote.port : nil
    )
  }

  mutating func outside(of inside: Endpoint, to remote: Endpoint, at now: Instant) -> Endpoint {
    var outside = inside
    if let mapping {
      let flow = Self.key(mapping, inside, remote)
      if let known = flows[flow] {
        outside = known
      } else {
        let taken = insides.keys.contains { $0.port == inside.port }
        if !keepsPorts || taken { nextPort += 7 }
        let external = externals[flows.count % externals.count]
        outside = Endpoint(external, port: keepsPorts && !taken ? inside.port : nextPort)
        flows[flow] = outside
      }
    }
    insides[outside] = inside
    sentTo[outside, default: []].insert(remote)
    sentAt[outside] = now
    return outside
  }

  /// Who gets what comes to an outside address; `nil` when nobody does.
  func inside(of outside: Endpoint, from source: Endpoint, at now: Instant) -> Endpoint? {
    guard let inside = insides[outside] ?? (mapping == nil && filtering == nil ? outside : nil) else { return nil }
    if let lifetime, let sent = sentAt[outside], now - sent > lifetime { return nil }
    let known = sentTo[outside] ?? []
    let passes =
      switch filtering {
      case nil, .anyone?: true
      case .address?: known.contains { $0.address == source.address }
      case .addressAndPort?: known.contains(source)
      }
    return passes ? inside : nil
  }
}

/// RFC 5780's server, or one that only pretends.
struct SimulatedServer {
  enum Manner: CaseIterable {
    case honest, noOther, otherIsFirst, otherIsLoopback, otherIsPrivate, ignoresChange, refusesChange, refusesBinding
    case answersFromElsewhere, noAddress, garbage, wrongTransaction, echo, otherIsDead, twice, saysLoopback,
      saysMulticast
  }

  let first = endpoint("203.0.113.1:3478")
  let second = endpoint("203.0.113.2:3479")
  var manner = Manner.honest
  var knowsResponsePort = true

  func owns(_ address: IPAddress) -> Bool { address == first.address || address == second.address }

  private func named() -> Endpoint? {
    switch manner {
    case .noOther: nil
    case .otherIsFirst: first
    case .otherIsLoopback: endpoint("127.0.0.1:3479")
    case .otherIsPrivate: endpoint("10.1.1.1:3479")
    default: second
    }
  }

  func answer(_ bytes: [UInt8], to client: Endpoint, at own: Endpoint) -> [(
    from: Endpoint, to: Endpoint, bytes: [UInt8]
  )] {
    if manner == .otherIsDead, own != first { return [] }
    if manner == .echo { return [(own, client, bytes)] }
    if manner == .garbage { return [(own, client, bytes.map { ~$0 })] }
    let change = bytes.withUnsafeBytes { STUNMessage($0)?.number(.changeRequest) } ?? 0
    let responsePort = bytes.withUnsafeBytes { STUNMessage($0)?.number(.responsePort) }.map { UInt16($0 >> 16) }
    if responsePort != nil, !knowsResponsePort { return [(own, client, failure(.unknownAttribute, bytes))] }
    if change != 0, manner == .refusesChange { return [(own, client, failure(.unknownAttribute, bytes))] }
    if manner == .refusesBinding { return [(own, client, failure(.forbidden, bytes))] }
    let answer: [UInt8] = bytes.withUnsafeBytes { raw in
      guard let request = STUNMessage(raw), request.kind == .request else { return [] }
      var writer =
        manner == .wrongTransaction
        ? STUNWriter(.success, .binding, TransactionID(high: 1, low: 2)) : STUNWriter(.success, to: request)
      switch manner {
      case .noAddress: break
      case .saysLoopback: writer.add(.xorMappedAddress, xor: endpoint("127.0.0.1:22"))
      case .saysMulticast: writer.add(.xorMappedAddress, xor: endpoint("224.0.0.251:5353"))
      default: writer.add(.xorMappedAddress, xor: client)
      }
      if let other = named() { writer.add(.otherAddress, plain: other) }
      writer.addFingerprint()
      return writer.bytes
    }
    guard !answer.isEmpty else { return [] }
    var from = own
    if manner != .ignoresChange {
      let other = own.address == first.address ? second.address : first.address
      let port = own.port == first.port ? second.port : first.port
      from = Endpoint(change & 4 != 0 ? other : own.address, port: change & 2 != 0 ? port : own.port)
    }
    if manner == .answersFromElsewhere { from = second }
    let to = Endpoint(client.address, port: responsePort ?? client.port)
    return Array(repeating: (from, to, answer), count: manner == .twice ? 3 : 1)
  }

  private func failure(_ error: STUNErrorCode, _ bytes: [UInt8]) -> [UInt8] {
    bytes.withUnsafeBytes { STUNMessage($0).map { STUNWriter(error, to: $0).bytes } ?? [] }
  }
}

/// The wire between: what is sent comes after a while, perhaps.
final class World {
  var nat: SimulatedNAT
  var server = SimulatedServer()
  var dice = Dice(state: 1)
  /// One way, and how much longer a packet may take.
  var delay = TimeSpan.milliseconds(10)
  var jitter = TimeSpan.zero
  /// Of a hundred packets, one way.
  var loss: UInt64 = 0
  /// Larger packets vanish; `tells` has our kernel hear of it.
  var pathMTU: Int?
  var tells = false
  private(set) var now = Instant(nanoseconds: 1_000_000_000)
  private(set) var sent: [Endpoint] = []

  static let locals: [ProbeSocket: Endpoint] = [
    .mapping: endpoint("192.168.1.5:4001"), .filtering: endpoint("192.168.1.5:4002"),
    .hairpin: endpoint("192.168.1.5:4003"), .size: endpoint("192.168.1.5:4004"), .asker: endpoint("192.168.1.5:4005"),
  ]

  private enum Arrival {
    /// From outside, for an address of ours that others see.
    case outside(from: Endpoint, to: Endpoint, bytes: [UInt8])
    case atServer(from: Endpoint, to: Endpoint, bytes: [UInt8])
    case told(Int)
  }

  private var queue: [(at: Instant, number: Int, what: Arrival)] = []
  private var number = 0

  init(_ nat: SimulatedNAT) { self.nat = nat }

  static func local(_ socket: ProbeSocket) -> Endpoint {
    if case .idle(let number) = socket { return Endpoint(.v4(0xC0A8_0105), port: UInt16(4100 + number)) }
    return locals[socket] ?? endpoint("192.168.1.5:4999")
  }

  private static func socket(at local: Endpoint) -> ProbeSocket? {
    if local.port >= 4100 { return .idle(Int(local.port) - 4100) }
    return locals.first { $0.value == local }?.key
  }

  private func put(_ what: Arrival, after span: TimeSpan) {
    number += 1
    queue.append((now + span, number, what))
  }

  private func travel() -> TimeSpan? {
    if loss > 0, dice.next() % 100 < loss { return nil }
    let extra = jitter.nanoseconds > 0 ? Int64(dice.next() % UInt64(jitter.nanoseconds)) : 0
    return delay + TimeSpan(nanoseconds: extra)
  }

  func send(_ packet: ProbePacket) {
    sent.append(packet.remote)
    if packet.socket == .size, let pathMTU, packet.bytes.count + 28 > pathMTU {
      if tells { put(.told(pathMTU), after: delay) }
      return
    }
    let outside = nat.outside(of: Self.local(packet.socket), to: packet.remote, at: now)
    guard let span = travel() else { return }
    if nat.externals.contains(packet.remote.address) {
      if nat.hairpins { put(.outside(from: outside, to: packet.remote, bytes: packet.bytes), after: span) }
    } else if server.owns(packet.remote.address) {
      put(.atServer(from: outside, to: packet.remote, bytes: packet.bytes), after: span)
    }
  }

  /// Moves on to the next arrival or to the deadline, and hands over what arrives.
  func step(
    until deadline: Instant?, _ deliver: ([UInt8], Endpoint, ProbeSocket, Instant) -> Void, told: (Int, Instant) -> Void
  ) -> Bool {
    queue.sort { ($0.at, $0.number) < ($1.at, $1.number) }
    guard let next = queue.first, deadline.map({ next.at <= $0 }) ?? true else {
      guard let deadline else { return false }
      now = max(now, deadline)
      return true
    }
    queue.removeFirst()
    now = max(now, next.at)
    switch next.what {
    case .told(let size): told(size, now)
    case .outside(let from, let to, let bytes):
      if let inside = nat.inside(of: to, from: from, at: now), let socket = Self.socket(at: inside) {
        deliver(bytes, from, socket, now)
      }
    case .atServer(let from, let to, let bytes):
      for answer in server.answer(bytes, to: from, at: to) {
        guard let span = travel() else { continue }
        put(.outside(from: answer.from, to: answer.to, bytes: answer.bytes), after: span)
      }
    }
    return true
  }

  /// Runs a machine to its end; `nil` when it does not end within the time.
  func discover(
    _ settings: NATDiscovery.Settings = NATDiscovery.Settings(), within limit: TimeSpan = .seconds(10)
  ) -> (result: DiscoveryResult, seconds: Double)? {
    var machine = NATDiscovery(
      server: server.first, locals: Self.locals, settings: settings, secret: Array(repeating: 7, count: 16), at: now)
    let start = now
    var isOver = false
    while !isOver {
      while let packet = machine.pollTransmit(at: now) { send(packet) }
      let moved = step(
        until: machine.nextDeadline,
        { bytes, from, socket, now in
          _ = bytes.withUnsafeBytes { machine.handle($0, from: from, on: socket, at: now) }
        }, told: { machine.handlePathMTU($0, at: $1) })
      machine.handleTimeout(at: now)
      while let event = machine.pollEvent() {
        if event == .finished || event == .gaveUp { isOver = true }
      }
      guard moved || isOver, now - start <= limit else { return nil }
    }
    return (machine.result, (now - start).inSeconds)
  }
}
