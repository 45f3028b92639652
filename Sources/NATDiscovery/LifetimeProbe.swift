import STUN
import Values

/// How long a NAT or a firewall remembers a socket that says nothing (RFC 5780, section 4.6), measured in both senses:
/// what is still remembered, and what is not any more.
public struct BindingLifetime: Hashable, Sendable {
  public let atLeast: TimeSpan
  /// `nil` when even the longest time was survived.
  public let lessThan: TimeSpan?
}

/// Measures it by many sockets at once: each asks once and is then silent for a time of its own, after which another
/// socket has the server send something to its port (RESPONSE-PORT). What arrives is remembered. The whole takes as long
/// as the first time that is too long, and a socket that is asked after is never asked again, so nothing refreshes it.
public struct LifetimeProbe: Sendable {
  enum Tag: Hashable, Sendable {
    case open(Int), ask(Int)
  }

  /// Times that are tried, up to a limit: the number of the socket counts from 1, number 0 is asked after at once.
  public static func spans(upTo limit: TimeSpan) -> [TimeSpan] {
    let usual: [Int64] = [1, 2, 3, 5, 8, 12, 20, 28, 40, 58, 90, 118, 150, 178, 238, 298, 420, 598]
    return usual.map { TimeSpan.seconds($0) }.filter { $0 <= limit }
  }

  private let server: Endpoint
  private let spans: [TimeSpan]
  private var transactions: TransactionSource
  private var exchanges = Exchanges<Tag>()
  private var ports: [Int: UInt16] = [:]
  /// When each socket is to be asked after.
  private var due: [Int: Instant] = [:]
  private var alive: Set<Int> = []
  private var dead: Set<Int> = []
  private var obstacle: String?
  public private(set) var isFinished = false

  /// - Parameter spans: as `spans(upTo:)` has them; the owner opens `idle(0)…idle(spans.count)` and `asker`.
  public init(server: Endpoint, spans: [TimeSpan], secret: [UInt8], at now: Instant) {
    self.server = server
    self.spans = spans
    transactions = TransactionSource(secret: secret)
    for number in 0...spans.count {
      let transaction = transactions.next()
      exchanges.ask(
        .open(number), transaction, BindingRequest.bytes(transaction), from: .idle(number), to: server, .contact,
        at: now)
    }
  }

  public mutating func handle(
    _ bytes: UnsafeRawBufferPointer, from source: Endpoint, on socket: ProbeSocket, at now: Instant
  ) -> Bool {
    guard let message = STUNMessage(bytes), message.method == .binding,
      let request = exchanges.request(of: message.transaction)
    else { return false }
    let answer = BindingAnswer(message)
    switch request.tag {
    case .open(let number):
      guard socket == request.socket, source == server else { return true }
      exchanges.close(message.transaction)
      guard let mapped = answer.mapped else {
        obstacle = answer.failure
        break
      }
      ports[number] = mapped.port
      due[number] = now + (number == 0 ? .zero : spans[number - 1])
    case .ask(let number):
      exchanges.close(message.transaction)
      if socket == .idle(number) {
        alive.insert(number)
      } else if let failure = answer.failure {
        obstacle = "the server cannot answer to another port: \(failure)"
      } else {
        obstacle = "the server answers to the port that it was asked from, whatever it is asked for"
      }
    }
    finishIfDone()
    return true
  }

  public mutating func handleTimeout(at now: Instant) {
    for (number, time) in due.sorted(by: { $0.key < $1.key }) where time <= now && !isFinished {
      due[number] = nil
      // Without an answer to what was asked at once, silence would mean nothing.
      guard let port = ports[number], number == 0 || alive.contains(0) else { continue }
      let transaction = transactions.next()
      exchanges.ask(
        .ask(number), transaction, BindingRequest.bytes(transaction, responsePort: port), from: .asker, to: server,
        Pace(gap: .milliseconds(200), sends: 3), at: now)
    }
    for tag in exchanges.expire(at: now) {
      switch tag {
      case .open(let number): if number == 0 { obstacle = obstacle ?? "the server did not answer" }
      case .ask(let number):
        dead.insert(number)
        if number == 0 { obstacle = obstacle ?? "what the server was asked to send to another port did not arrive" }
      }
    }
    finishIfDone()
  }

  public var nextDeadline: Instant? {
    guard !isFinished else { return nil }
    return [exchanges.nextDeadline, due.values.min()].compactMap { $0 }.min()
  }

  public mutating func pollTransmit(at now: Instant) -> ProbePacket? {
    isFinished ? nil : exchanges.pollTransmit(at: now)
  }

  public var result: Judgement<BindingLifetime> {
    if let obstacle { return .unknown(obstacle) }
    guard alive.contains(0) else { return .unknown("the time was over") }
    let longest = alive.max().map { $0 == 0 ? TimeSpan.zero : spans[$0 - 1] } ?? .zero
    let shortest = dead.filter { $0 > 0 && spans[$0 - 1] > longest }.min().map { spans[$0 - 1] }
    guard isFinished || shortest != nil else { return .unknown("the time was over; \(longest) is not too long") }
    return .known(BindingLifetime(atLeast: longest, lessThan: shortest))
  }

  private mutating func finishIfDone() {
    guard !isFinished else { return }
    // The shortest time that is too long: longer ones cannot be shorter.
    let isDecided = obstacle != nil || !dead.isEmpty
    if isDecided || (due.isEmpty && !exchanges.waits { _ in true }) { isFinished = true }
  }
}
