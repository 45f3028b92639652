/// Who has proved that datagrams reach him: the cookies of DTLS (RFC 6347, section 4.2.1).
///
/// A ClientHello may come from anybody in anybody's name, and what it asks for (keys, a certificate, memory) is dear. So
/// the first is answered with a few bytes that only its true sender gets to see, made of a key, both endpoints and the
/// time; the second brings them back, and only then is there a session. Nothing is kept between the two, and the answer
/// is shorter than what it answers.
///
/// A cookie is good for one to two minutes. Who has read one on the wire could ask in its owner's name for as long.
import CGnuTLS
import Values

public struct DTLSCookies: Sendable {
  public enum Verdict: Sendable {
    /// Not the beginning of a session.
    case none
    /// It could be anybody; this is to be answered.
    case unproven(answer: [UInt8])
    case proven(DTLSHello)
  }

  private let key: [UInt8]
  /// How long cookies of one kind are given out, seconds; they are taken for as long again.
  private static let span: Int64 = 60

  /// With a key that nobody knows.
  public init() throws(TLSError) {
    var key = [UInt8](repeating: 0, count: 32)
    guard key.withUnsafeMutableBytes({ fillRandom($0) }) else { throw .internalFailure("no random bytes for a key") }
    self.key = key
  }

  /// Whether a datagram that belongs to no session, or that could begin another, is a ClientHello, and what its cookie
  /// says of its sender.
  public func judge(
    _ datagram: UnsafeRawBufferPointer, from remote: Endpoint, to local: Endpoint, at now: Instant
  ) -> Verdict {
    guard DTLSHello.isHello(datagram), let message = datagram.baseAddress else { return .none }
    let turn = now.nanoseconds / 1_000_000_000 / Self.span
    var name = Self.name(remote, local)
    return withKey { key in
      var state = gnutls_dtls_prestate_st()
      for each in [turn, turn &- 1] {
        Self.set(each, in: &name)
        let code = name.withUnsafeMutableBytes {
          // The message is not written to.
          gnutls_dtls_cookie_verify(
            key, $0.baseAddress, $0.count, UnsafeMutableRawPointer(mutating: message), datagram.count, &state)
        }
        if code == 0 { return .proven(DTLSHello(state: state)) }
        guard code == GNUTLS_E_BAD_COOKIE else { return .none }
      }
      Self.set(turn, in: &name)
      // The answer's record has the number of the request's.
      state = gnutls_dtls_prestate_st(record_seq: UInt32(datagram[10]), hsk_read_seq: 0, hsk_write_seq: 0)
      let answer = Answer()
      let code = name.withUnsafeMutableBytes {
        gnutls_dtls_cookie_send(
          key, $0.baseAddress, $0.count, &state, Unmanaged.passUnretained(answer).toOpaque()
        ) { place, data, length in
          guard let place, let data else { return -1 }
          let bytes = UnsafeRawBufferPointer(start: data, count: length)
          Unmanaged<Answer>.fromOpaque(place).takeUnretainedValue().bytes.append(contentsOf: bytes)
          return length
        }
      }
      return withExtendedLifetime(answer) {
        code >= 0 && !answer.bytes.isEmpty && answer.bytes.count <= datagram.count
          ? .unproven(answer: answer.bytes) : .none
      }
    }
  }

  private final class Answer { var bytes: [UInt8] = [] }

  private func withKey<Result>(_ body: (UnsafeMutablePointer<gnutls_datum_t>) -> Result) -> Result {
    var copy = key
    return copy.withUnsafeMutableBufferPointer { bytes in
      var datum = gnutls_datum_t(data: bytes.baseAddress, size: UInt32(bytes.count))
      return withUnsafeMutablePointer(to: &datum, body)
    }
  }

  /// Both endpoints, and room for the time.
  private static func name(_ remote: Endpoint, _ local: Endpoint) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(52)
    for endpoint in [remote, local] {
      withUnsafeBytes(of: endpoint.address.mapped.bigEndian) { bytes.append(contentsOf: $0) }
      withUnsafeBytes(of: endpoint.port.bigEndian) { bytes.append(contentsOf: $0) }
    }
    return bytes + [UInt8](repeating: 0, count: 8)
  }

  private static func set(_ turn: Int64, in name: inout [UInt8]) {
    withUnsafeBytes(of: turn.bigEndian) { name.replaceSubrange((name.count - 8)..., with: $0) }
  }
}

/// A ClientHello whose cookie was right: what a session begins with.
public struct DTLSHello: Sendable {
  let state: gnutls_dtls_prestate_st

  /// A record of type handshake.
  private static let handshake: UInt8 = 22
  private static let clientHello: UInt8 = 1

  /// Whether a datagram is for DTLS at all (RFC 7983, section 7).
  public static func isDTLS(_ datagram: UnsafeRawBufferPointer) -> Bool {
    datagram.first.map { (20...63).contains($0) } ?? false
  }

  /// Whether a datagram begins with an unencrypted ClientHello that is whole. One in pieces is none: its cookie could
  /// not be looked at without keeping the pieces, so clients send it whole (RFC 6347, section 4.2.1).
  public static func isHello(_ datagram: UnsafeRawBufferPointer) -> Bool {
    // The headers of a record and of a message, and what of the message stands in front of the session's identifier.
    guard datagram.count > 13 + 12 + 35, datagram[0] == handshake, datagram[1] == 0xFE, datagram[3] == 0,
      datagram[4] == 0, datagram[13] == clientHello
    else { return false }
    let record = Int(datagram[11]) << 8 | Int(datagram[12])
    let whole = number(datagram, at: 14)
    return 13 + record <= datagram.count && 12 + whole <= record && number(datagram, at: 19) == 0
      && number(datagram, at: 22) == whole
  }

  /// Three bytes.
  private static func number(_ bytes: UnsafeRawBufferPointer, at place: Int) -> Int {
    Int(bytes[place]) << 16 | Int(bytes[place + 1]) << 8 | Int(bytes[place + 2])
  }
}
