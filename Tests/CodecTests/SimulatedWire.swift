/// A network in memory with its own time: one client (or several) and one endpoint, latency, loss and reordering from
/// a seed, so that a failing run is the same run again.
import QUICCodec
import TLSCodec
import Testing
import Values

/// A small generator whose whole state is its seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}

final class SimulatedWire {
  struct Conditions {
    /// One way.
    var latency: TimeSpan = .milliseconds(5)
    /// Added to some packets, so that they arrive late.
    var jitter: TimeSpan = .zero
    /// Of a thousand packets.
    var lossPerMille = 0
    /// Bytes in a second each way; 0 for no limit. What waits longer than 100 ms is dropped.
    var rate = 0
  }

  struct Flight {
    let at: Int64
    let order: Int
    var bytes: [UInt8]
    let from: Endpoint
    let to: Endpoint
  }

  static let serverAddress = Endpoint(.v6(0x2001_0DB8 << 96 | 1), port: 443)
  static let clientAddress = Endpoint(.v6(0x2001_0DB8 << 96 | 2), port: 50_000)

  var now = Instant(nanoseconds: 1_000_000_000)
  var conditions = Conditions()
  var endpoint: QUICEndpoint?
  var clients: [QUICConnection] = []
  /// The server's connections, in the order of their `.connected`.
  var accepted: [QUICConnection] = []
  var serverNews: [QUICEndpoint.News] = []
  var clientEvents: [QUICEvent] = []
  /// Called with each event as it comes; the place where a test's application lives.
  var onClient: ((QUICConnection, QUICEvent) -> Void)?
  var onServer: ((QUICConnection, QUICEvent) -> Void)?
  /// Sees every packet before it is sent, may change it, and says whether it goes out.
  var tamper: ((inout Flight) -> Bool)?
  /// Where a client's packets seem to come from, when a NAT stands between.
  var translated: [Endpoint: Endpoint] = [:]
  private(set) var packetsSent = 0
  private(set) var packetsLost = 0
  private(set) var largestPacket = 0

  private var flights: [Flight] = []
  private var generator: SeededGenerator
  private var order = 0
  private var instant = Instant(nanoseconds: 0)
  private var sentInInstant = 0
  private var linkFree: [Endpoint: Int64] = [:]
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)

  init(seed: UInt64 = 1) { generator = SeededGenerator(seed: seed) }

  deinit { buffer.deallocate() }

  func connect(
    _ credentials: TLSCredentials, _ settings: QUICSettings = .dialer, name: String? = nil,
    from local: Endpoint = SimulatedWire.clientAddress
  ) throws -> QUICConnection {
    let client = try QUICConnection(
      client: credentials, serverName: name, settings: settings, local: local, remote: Self.serverAddress, at: now)
    clients.append(client)
    return client
  }

  func inject(_ bytes: [UInt8], from: Endpoint, to: Endpoint) {
    order += 1
    flights.append(Flight(at: now.nanoseconds, order: order, bytes: bytes, from: from, to: to))
  }

  /// Runs until `done` says so or `limit` of simulated time is over; returns whether it was done.
  @discardableResult
  func run(for limit: TimeSpan = .seconds(60), until done: () -> Bool = { false }) -> Bool {
    let end = now + limit
    var rounds = 0
    while true {
      rounds += 1
      guard rounds < 500_000 else {
        Issue.record("half a million steps without an end, at \(now.nanoseconds)")
        return false
      }
      pump()
      if done() { return true }
      var next = flights.map(\.at).min() ?? .max
      for client in clients { next = min(next, client.nextDeadline()?.nanoseconds ?? .max) }
      next = min(next, endpoint?.nextDeadline()?.nanoseconds ?? .max)
      guard next <= end.nanoseconds else {
        now = end
        return done()
      }
      now = Instant(nanoseconds: max(now.nanoseconds, next))
      deliver()
      for client in clients where (client.nextDeadline() ?? .distantFuture) <= now { client.handleTimeout(at: now) }
      if let endpoint, (endpoint.nextDeadline() ?? .distantFuture) <= now { endpoint.handleTimeout(at: now) }
    }
  }

  /// Events to the applications and packets onto the wire until nobody has any.
  func pump() {
    var busy = true
    while busy {
      busy = false
      for client in clients {
        while let event = client.pollEvent() {
          busy = true
          clientEvents.append(event)
          onClient?(client, event)
        }
        while let transmit = client.pollTransmit(into: buffer, at: now) {
          busy = true
          send(transmit)
          if tooBusy() { return }
        }
      }
      while let news = endpoint?.pollEvent() {
        busy = true
        serverNews.append(news)
        if case .connected = news.event { accepted.append(news.connection) }
        onServer?(news.connection, news.event)
      }
      while let transmit = endpoint?.pollTransmit(into: buffer, at: now) {
        busy = true
        send(transmit)
        if tooBusy() { return }
      }
    }
  }

  /// A machine that sends without end in one instant is a fault, not a reason to hang.
  private func tooBusy() -> Bool {
    if instant != now {
      instant = now
      sentInInstant = 0
    }
    sentInInstant += 1
    guard sentInInstant > 50_000 else { return false }
    if sentInInstant == 50_001 { Issue.record("50000 sends in one instant") }
    return true
  }

  private func send(_ transmit: QUICTransmit) {
    var offset = 0
    while offset < transmit.length {
      let size = min(transmit.segmentSize, transmit.length - offset)
      let bytes = Array(buffer[offset..<(offset + size)])
      offset += size
      launch(bytes, from: translated[transmit.local] ?? transmit.local, to: transmit.remote)
    }
  }

  private func launch(_ bytes: [UInt8], from: Endpoint, to: Endpoint) {
    packetsSent += 1
    largestPacket = max(largestPacket, bytes.count)
    order += 1
    var at = now.nanoseconds
    if conditions.rate > 0 {
      let free = max(linkFree[from] ?? 0, at)
      guard free - at < 100_000_000 else {
        packetsLost += 1
        return
      }
      at = free + Int64(bytes.count) * 1_000_000_000 / Int64(conditions.rate)
      linkFree[from] = at
    }
    at += conditions.latency.nanoseconds
    if conditions.jitter > .zero, Int.random(in: 0..<4, using: &generator) == 0 {
      at += Int64.random(in: 0...conditions.jitter.nanoseconds, using: &generator)
    }
    if conditions.lossPerMille > 0, Int.random(in: 0..<1000, using: &generator) < conditions.lossPerMille {
      packetsLost += 1
      return
    }
    var flight = Flight(at: at, order: order, bytes: bytes, from: from, to: to)
    if let tamper, !tamper(&flight) {
      packetsLost += 1
      return
    }
    flights.append(flight)
  }

  private func deliver() {
    let due = flights.filter { $0.at <= now.nanoseconds }.sorted { ($0.at, $0.order) < ($1.at, $1.order) }
    guard !due.isEmpty else { return }
    flights.removeAll { $0.at <= now.nanoseconds }
    for flight in due {
      flight.bytes.withUnsafeBytes { bytes in
        if flight.to == Self.serverAddress {
          endpoint?.handle(bytes, from: flight.from, to: flight.to, ecn: 0, at: now)
        } else {
          let inside = translated.first { $0.value == flight.to }?.key ?? flight.to
          for client in clients where client.localEndpoint == inside {
            client.handle(bytes, from: flight.from, to: inside, ecn: 0, at: now)
          }
        }
      }
    }
  }
}

/// Credentials for tests, made once: keys cost milliseconds.
enum TestCredentials {
  static let wallClock: Int64 = 1_750_000_000
  static let certificate = try? SelfSignedCertificate(now: wallClock)

  static func server() throws -> TLSCredentials {
    guard let certificate else { throw TLSError.internalFailure("no certificate") }
    return try .selfSigned(certificate)
  }

  static func client(_ trust: TLSTrust = .anyone) throws -> TLSCredentials { try .client(trust: trust) }

  static let secret: [UInt8] = Array(0..<32)
}

extension SimulatedWire {
  /// A wire with an endpoint on it.
  convenience init(seed: UInt64 = 1, server: QUICSettings, limits: QUICEndpoint.Limits = .init()) throws {
    self.init(seed: seed)
    endpoint = QUICEndpoint(
      credentials: try TestCredentials.server(), settings: server, secret: TestCredentials.secret, limits: limits)
  }
}

extension Array where Element == UInt8 {
  /// Bytes that are different at each place and for each seed.
  static func pattern(_ count: Int, seed: UInt64 = 7) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
      Swift.withUnsafeBytes(of: generator.next()) { bytes.append(contentsOf: $0.prefix(count - bytes.count)) }
    }
    return bytes
  }
}

extension QUICConnection {
  /// Everything that can be read now, and how the reading ended.
  func readAll(_ id: Int64) -> (bytes: [UInt8], result: QUICReadResult) {
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      let result = piece.withUnsafeMutableBytes { read(id, into: $0) }
      guard case .bytes(let count) = result else { return (all, result) }
      all += piece[..<count]
    }
  }

  @discardableResult
  func write(_ id: Int64, _ bytes: [UInt8]) -> Int { bytes.withUnsafeBytes { write(id, $0) } }

  @discardableResult
  func sendDatagram(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { sendDatagram($0) } }

  func receiveDatagram() -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    guard let count = buffer.withUnsafeMutableBytes({ receiveDatagram(into: $0) }) else { return nil }
    return Array(buffer[..<count])
  }
}
