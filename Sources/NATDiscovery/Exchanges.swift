import CryptoPrimitives
import STUN
import Values

/// A socket of the check. What a NAT does depends on what a socket has sent before, so each question has its own; the
/// owner opens them, and knows them by these names.
public enum ProbeSocket: Hashable, Sendable {
  /// Asks several addresses for what they see. One for all servers of a family, so that their answers can be compared.
  case mapping
  /// Never sends to an address but the server's first, so that nothing but the NAT's own rule lets others in.
  case filtering
  /// Talks to `mapping` by the addresses that both have outside.
  case hairpin
  /// Connected to the server; what it sends is never cut in pieces.
  case size
  /// Sends once, and then waits to see how long it is remembered.
  case idle(Int)
  /// Asks the server to answer to another socket's port.
  case asker
}

/// What is to be sent.
public struct ProbePacket: Sendable, Equatable {
  public let socket: ProbeSocket
  public let remote: Endpoint
  public let bytes: [UInt8]
}

/// When a request is sent again, and when its answer is no longer waited for.
struct Pace: Sendable, Equatable {
  /// Between the first two sends; each further gap is twice the one before, while that is below 800 ms.
  let gap: TimeSpan
  /// How often it is sent, at least once.
  let sends: Int

  /// The first words to a server of which nothing is known: given up after 3.2 s, when five got no answer.
  static let contact = Pace(gap: .milliseconds(250), sends: 5)

  /// For a server that is known to answer within a round trip.
  static func after(_ roundTrip: TimeSpan, sends: Int) -> Pace {
    Pace(gap: max(.milliseconds(120), min(.milliseconds(500), roundTrip * 3)), sends: sends)
  }

  /// The wait after send number `count`, from 1.
  func wait(after count: Int) -> TimeSpan {
    min(max(.milliseconds(800), gap), gap * Int64(1 << max(0, min(count - 1, 4))))
  }
}

/// Draws the numbers by which answers are known: nobody who does not see the requests can guess one, and the same secret
/// gives the same numbers.
struct TransactionSource: Sendable {
  private let secret: [UInt8]
  private var count: UInt64 = 0

  init(secret: [UInt8]) { self.secret = secret }

  mutating func next() -> TransactionID {
    count &+= 1
    var input = secret
    input.append(bigEndian: count)
    return SHA256.digest(input).withUnsafeBytes { digest in
      TransactionID(
        high: digest.loadUnaligned(as: UInt32.self), low: digest.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
  }
}

/// Requests that wait for their answers (RFC 8489, section 6.2.1). Each is sent a few times and then given up, so
/// whatever is asked comes to an end; an answer that comes later is still known for what it is.
struct Exchanges<Tag: Hashable & Sendable>: Sendable {
  struct Open: Sendable {
    let tag: Tag
    let socket: ProbeSocket
    let remote: Endpoint
    let bytes: [UInt8]
    let pace: Pace
    var sends = 0
    var firstSent: Instant?
    /// The next send, or the end.
    var due: Instant
    var isGivenUp = false
  }

  private var open: [TransactionID: Open] = [:]
  /// In the order in which they were asked, so that the same input gives the same output.
  private var order: [TransactionID] = []

  mutating func ask(
    _ tag: Tag, _ transaction: TransactionID, _ bytes: [UInt8], from socket: ProbeSocket, to remote: Endpoint,
    _ pace: Pace, at now: Instant
  ) {
    open[transaction] = Open(tag: tag, socket: socket, remote: remote, bytes: bytes, pace: pace, due: now)
    order.append(transaction)
  }

  /// The request that an answer belongs to, also one that was given up.
  func request(of transaction: TransactionID) -> Open? { open[transaction] }

  /// The answer is there.
  mutating func close(_ transaction: TransactionID) {
    open[transaction] = nil
    order.removeAll { $0 == transaction }
  }

  /// Nothing is sent, or waited for, any more where the tag fits.
  mutating func giveUp(where fits: (Tag) -> Bool) {
    for transaction in order where open[transaction].map({ fits($0.tag) }) == true {
      open[transaction]?.isGivenUp = true
    }
  }

  /// Whether something is waited for.
  func waits(_ fits: (Tag) -> Bool) -> Bool {
    order.contains { open[$0].map { !$0.isGivenUp && fits($0.tag) } == true }
  }

  var nextDeadline: Instant? {
    order.compactMap { transaction in open[transaction].flatMap { $0.isGivenUp ? nil : $0.due } }.min()
  }

  /// What is due to be sent; call it until it is `nil`.
  mutating func pollTransmit(at now: Instant) -> ProbePacket? {
    for transaction in order {
      guard var one = open[transaction], !one.isGivenUp, one.due <= now, one.sends < one.pace.sends else { continue }
      one.sends += 1
      if one.firstSent == nil { one.firstSent = now }
      one.due = now + one.pace.wait(after: one.sends)
      open[transaction] = one
      return ProbePacket(socket: one.socket, remote: one.remote, bytes: one.bytes)
    }
    return nil
  }

  /// Gives up what was sent as often as it may and not answered, and tells of it.
  mutating func expire(at now: Instant) -> [Tag] {
    var expired: [Tag] = []
    for transaction in order {
      guard let one = open[transaction], !one.isGivenUp, one.due <= now, one.sends >= one.pace.sends else { continue }
      open[transaction]?.isGivenUp = true
      expired.append(one.tag)
    }
    return expired
  }
}

/// A Binding request with what the tests need.
enum BindingRequest {
  static func bytes(
    _ transaction: TransactionID, changeAddress: Bool = false, changePort: Bool = false, responsePort: UInt16? = nil,
    packetSize: Int? = nil, headers: Int = 0
  ) -> [UInt8] {
    var writer = STUNWriter(.request, .binding, transaction)
    if changeAddress || changePort {
      writer.add(.changeRequest, UInt32((changeAddress ? 4 : 0) | (changePort ? 2 : 0)))
    }
    if let responsePort { writer.add(.responsePort, UInt32(responsePort) << 16) }
    if let packetSize {
      let count = packetSize - headers - writer.bytes.count - 4
      if count >= 0 { writer.add(filler, repeatElement(0, count: count & ~3)) }
    }
    return writer.bytes
  }

  /// Makes a request large. Servers pass over what they do not know here, and answer with few bytes; PADDING would have
  /// them answer with as many, or refuse (RFC 5780, section 7.6).
  static let filler = STUNAttribute(rawValue: 0xC0DE)
}
