import Recording
import STUN
import TURN
import Values

/// STUN messages as a recording may have them: the header, which attributes there are and how long each is, and the values
/// of those that are nobody's secret and nobody's data.
///
/// Names of users, tags, tickets, what peers send and what nobody knows are left out (`*20`), the nonce and the realm where
/// they are the machine's own. In a replay zeros stand there. FINGERPRINT would tell of what it guards and is left out too;
/// `bytes(of:)` makes the one that fits what is left.
enum STUNStandIn {
  /// Values that stay.
  static let plain: Set<STUNAttribute> = [
    .errorCode, .unknownAttributes, .passwordAlgorithm, .passwordAlgorithms, .mappedAddress, .xorMappedAddress,
    .alternateServer, .alternateDomain, .channelNumber, .lifetime, .xorPeerAddress, .xorRelayedAddress,
    .requestedAddressFamily, .evenPort, .requestedTransport, .dontFragment, .reservationToken,
    .additionalAddressFamily, .addressErrorCode, .icmp, .connectionID, .changeRequest, .responsePort, .responseOrigin,
    .otherAddress,
  ]
  /// And those beside them that a client has from a server, which draws and words them.
  static let told = plain.union([.realm, .nonce, .software])

  /// - Parameters:
  ///   - bytes: a whole message, as `STUNMessage` has found it to be.
  ///   - ticket: what stands for a ticket; without one it is left out.
  static func shape(
    of bytes: UnsafeRawBufferPointer, keeping kept: Set<STUNAttribute>, ticket: ([UInt8]) -> [UInt8]? = { _ in nil }
  ) -> ByteShape {
    var shape = ByteShape()
    shape.keep(bytes.prefix(STUNMessage.headerSize))
    forEach(in: bytes) { attribute, offset, size, padded in
      shape.keep(bytes[(offset - 4)..<offset])
      let value = bytes[offset..<(offset + size)]
      if kept.contains(attribute) {
        shape.keep(value)
      } else if attribute == .mobilityTicket, let shown = ticket(Array(value)) {
        shape.keep(shown)
      } else {
        return shape.leave(padded)
      }
      // Padding may be anything.
      shape.keep(repeatElement(0, count: padded - size))
    }
    return shape
  }

  /// A message again, with zeros for what was left out.
  static func bytes(of shape: ByteShape) -> [UInt8] {
    var bytes = shape.bytes
    var fingerprint: Int?
    bytes.withUnsafeBytes { bytes in
      forEach(in: bytes) { attribute, offset, size, _ in
        if attribute == .fingerprint, size == 4 { fingerprint = offset }
      }
    }
    if let fingerprint {
      let sum = bytes.withUnsafeBytes {
        STUNFingerprint.value(of: UnsafeRawBufferPointer(rebasing: $0[..<(fingerprint - 4)]))
      }
      for place in 0..<4 { bytes[fingerprint + place] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * place)) }
    }
    return bytes
  }

  /// All attributes, of those behind what guards a message too: place and size of the value, and the size with padding.
  private static func forEach(
    in bytes: UnsafeRawBufferPointer, _ body: (STUNAttribute, Int, Int, Int) -> Void
  ) {
    var offset = STUNMessage.headerSize
    while offset + 4 <= bytes.count {
      let attribute = STUNAttribute(rawValue: UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1]))
      let size = Int(bytes[offset + 2]) << 8 | Int(bytes[offset + 3])
      let padded = (size + 3) & ~3
      guard offset + 4 + padded <= bytes.count else { return }
      body(attribute, offset + 4, size, padded)
      offset += 4 + padded
    }
  }
}

/// Lots of a machine on tape. Inside a call they follow from a number that is recorded with it, so that the call can be
/// made again; outside of one they are the system's own.
final class Lots: RandomNumberGenerator {
  private var state: UInt64?
  private var system: any RandomNumberGenerator

  /// - Parameter system: for calls that are not recorded, and for the numbers of those that are.
  init(_ system: any RandomNumberGenerator) { self.system = system }

  /// A number for the next call.
  func draw() -> UInt64 { system.next() }

  func begin(_ seed: UInt64) { state = seed }
  func end() { state = nil }

  func next() -> UInt64 {
    guard let last = state else { return system.next() }
    let sum = last &+ 0x9E37_79B9_7F4A_7C15
    state = sum
    var value = (sum ^ sum >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}

/// What a replay draws outside of calls: nothing that counts.
struct ReplayedLots: RandomNumberGenerator {
  private var last: UInt64 = 0

  mutating func next() -> UInt64 {
    last &+= 0x9E37_79B9_7F4A_7C15
    return last
  }
}

/// Numbers that no recording may have: each is known there by its place in their order. In a replay they are what stands
/// for them.
final class HiddenLots: RandomNumberGenerator {
  private var places: [UInt64: UInt64] = [:]
  private var system: (any RandomNumberGenerator)?

  /// - Parameter system: `nil` in a replay.
  init(_ system: (any RandomNumberGenerator)?) { self.system = system }

  func next() -> UInt64 {
    let place = UInt64(places.count)
    let number = system?.next() ?? Self.standIn(place)
    places[number] = place
    return number
  }

  private static func standIn(_ place: UInt64) -> UInt64 { 0x7469_636B_0000_0000 | place }

  /// What stands for a ticket that was drawn here; `nil` for another.
  func standIn(for ticket: [UInt8]) -> [UInt8]? {
    guard let words = TurnTicket.words(in: ticket) else { return nil }
    let shown = words.compactMap { places[$0].map(Self.standIn) }
    return shown.count == words.count ? TurnTicket.text(of: shown) : nil
  }
}

extension RecordLine {
  mutating func bits(_ name: String, _ value: UInt64) { text(name, String(value, radix: 16)) }
}

extension Endpoint {
  /// As `description` writes it, with the interface of a link-local address behind a `%`.
  init(recorded text: some StringProtocol) throws(RecordingError) {
    if let percent = text.firstIndex(of: "%"), let bracket = text.lastIndex(of: "]"), percent < bracket,
      let scope = UInt32(text[text.index(after: percent)..<bracket]),
      let endpoint = Endpoint(String(text[..<percent]) + String(text[bracket...]))
    {
      self.init(endpoint.address, port: endpoint.port, scope: scope)
    } else if let endpoint = Endpoint(text) {
      self = endpoint
    } else {
      throw RecordingError("`\(text)` is no endpoint")
    }
  }
}
