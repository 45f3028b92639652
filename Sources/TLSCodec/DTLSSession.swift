/// DTLS 1.2 over any datagrams, without the socket (RFC 6347).
///
/// The life of a datagram. What the socket read is put in by `receive`, which opens its records and hands each on as a
/// datagram of its own; what is `write`n becomes a record in the output, which the owner takes by `drain` after each call,
/// in runs as a socket sends them. Nothing waits inside: a datagram that came is looked at once, where it lies, and
/// forgotten.
///
/// A server's session begins with a ClientHello whose cookie was right (`DTLSCookies`), so that there is none for a sender
/// that made up its address. Lost flights of the handshake are sent again by time: the owner calls `handleTimeout` when
/// `nextDeadline` has come.
///
/// What is no record, what was forged, comes twice, or belongs to keys that are no more is dropped and counted: anybody
/// can send it, so it ends nothing (RFC 6347, section 4.1.2.7).
///
/// Traps. GnuTLS measures the time between flights by its own clock, so that a deadline is a request to ask it again, and
/// it may say that it is too early. Records larger than the path takes would leave in fragments of IP: `write` refuses
/// them. The session's pointer to `self` is unretained: it is used only inside calls on `self`, and GnuTLS's session dies
/// with it.
import CGnuTLS
import Values

public final class DTLSSession {
  public enum State: Hashable, Sendable {
    case handshake
    case open
    /// One of the ends said close_notify, and then so did the other.
    case closed
    case failed(TLSError)
  }

  public enum WriteResult: Hashable, Sendable {
    case written
    /// Larger than one datagram may be.
    case tooLarge
    /// The session is not open, or its output is not drained.
    case refused
  }

  public struct Settings: Sendable {
    /// How long the handshake may take.
    public var handshakeTimeout = TimeSpan.seconds(8)
    /// Until a flight is sent again for the first time (RFC 6347, section 4.2.4.1: a second).
    public var retransmission = TimeSpan.seconds(1)
    /// The largest datagram of the handshake, bytes: what passes everywhere.
    public var handshakeDatagram = 1_200

    public init() {}
  }

  /// The largest plaintext of a record, bytes.
  public static let largestRecord = 16_384
  /// Bytes that may wait in the output.
  private static let outputLimit = 512 * 1024
  /// GnuTLS's own limit, which is never reached, in milliseconds.
  private static let unlimited: UInt32 = 3_600_000

  public private(set) var state: State = .handshake
  /// What the handshake settled; `nil` until it has.
  public private(set) var facts: TLSFacts?
  /// Datagrams that came and were of no use.
  public private(set) var dropped: UInt64 = 0
  /// When the owner is to call `handleTimeout`.
  public private(set) var nextDeadline: Instant?

  private let tls: GnuTLSSession
  private let givingUpAt: Instant
  /// The largest datagram when the handshake is over, bytes.
  private var largestDatagram: Int
  private var incoming = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Whether GnuTLS has asked for more than there is.
  private var isDry = false
  private var output = LinearBuffer()
  private var lengths: [Int] = []

  /// A server's session. The ClientHello itself is to be put in next, by `receive`.
  ///
  /// - Parameters:
  ///   - largestDatagram: of UDP's payload, bytes: what the path takes without fragments.
  ///   - applicationProtocols: the first the most wanted; with any given, no overlap ends the handshake.
  public convenience init(
    credentials: TLSCredentials, hello: DTLSHello, largestDatagram: Int, applicationProtocols: [String] = [],
    settings: Settings = Settings(), at now: Instant
  ) throws(TLSError) {
    try self.init(
      credentials, nil, applicationProtocols, largestDatagram: largestDatagram, settings, at: now)
    var state = hello.state
    gnutls_dtls_prestate_set(tls.pointer, &state)
  }

  /// A client's session, whose first words are in the output at once.
  public convenience init(
    client credentials: TLSCredentials, serverName: String? = nil, largestDatagram: Int,
    applicationProtocols: [String] = [], settings: Settings = Settings(), at now: Instant
  ) throws(TLSError) {
    try self.init(
      credentials, serverName, applicationProtocols, largestDatagram: largestDatagram, settings, at: now)
    advanceHandshake(at: now)
  }

  private init(
    _ credentials: TLSCredentials, _ serverName: String?, _ applicationProtocols: [String], largestDatagram: Int,
    _ settings: Settings, at now: Instant
  ) throws(TLSError) {
    guard credentials.options.minimumVersion <= .tls12 else {
      throw .badOptions("there is no DTLS above 1.2, which is not allowed")
    }
    tls = try GnuTLSSession(
      credentials: credentials, carrier: .datagrams, serverName: serverName,
      applicationProtocols: applicationProtocols)
    self.largestDatagram = largestDatagram
    givingUpAt = now + settings.handshakeTimeout
    nextDeadline = givingUpAt
    let retransmission = max(1, settings.retransmission.nanoseconds / 1_000_000)
    gnutls_dtls_set_timeouts(tls.pointer, UInt32(clamping: retransmission), Self.unlimited)
    gnutls_dtls_set_mtu(tls.pointer, UInt32(clamping: min(settings.handshakeDatagram, largestDatagram)))
    installTransport()
  }

  public var applicationProtocol: String? { facts?.applicationProtocol }

  // MARK: In

  /// Takes a datagram. Each record's plaintext is put into `room`, one behind the other, and handed to `each`.
  ///
  /// - Parameter room: at least as long as the datagram; it is the caller's, and so is what stands in it afterwards.
  /// - Returns: how much of the room was taken.
  @discardableResult
  public func receive(
    _ datagram: UnsafeRawBufferPointer, at now: Instant, into room: UnsafeMutableRawBufferPointer,
    _ each: (UnsafeRawBufferPointer) -> Void
  ) -> Int {
    let before = state
    let written = lengths.count
    incoming = datagram
    defer { incoming = UnsafeRawBufferPointer(start: nil, count: 0) }
    if state == .handshake { advanceHandshake(at: now) }
    let taken = state == .open ? readRecords(into: room, each) : (count: 0, bytes: 0)
    if taken.count == 0, before != .handshake, state == before, lengths.count == written { dropped &+= 1 }
    return taken.bytes
  }

  private func readRecords(
    into room: UnsafeMutableRawBufferPointer, _ each: (UnsafeRawBufferPointer) -> Void
  ) -> (count: Int, bytes: Int) {
    var (count, used) = (0, 0)
    guard let base = room.baseAddress else { return (0, 0) }
    isDry = false
    while state == .open, used < room.count {
      let got = gnutls_record_recv(tls.pointer, base + used, room.count - used)
      if got > 0 {
        each(UnsafeRawBufferPointer(start: base + used, count: got))
        count += 1
        used += got
        continue
      }
      if got == 0 {
        // The other end's close_notify, which is answered (RFC 5246, section 7.2.1).
        close()
        continue
      }
      switch Int32(truncatingIfNeeded: got) {
      // A record of no use is told by the same number as that there is no more.
      case GNUTLS_E_AGAIN: if isDry { return (count, used) }
      case GNUTLS_E_INTERRUPTED, GNUTLS_E_WARNING_ALERT_RECEIVED: continue
      case GNUTLS_E_REHANDSHAKE:
        _ = gnutls_alert_send(tls.pointer, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION)
      case let code: fail(code)
      }
    }
    return (count, used)
  }

  // MARK: Out

  /// One datagram of plaintext becomes one of ciphertext.
  public func write(_ plaintext: UnsafeRawBufferPointer) -> WriteResult {
    guard state == .open, let base = plaintext.baseAddress, output.count < Self.outputLimit else { return .refused }
    guard plaintext.count <= largestWrite else { return .tooLarge }
    let sent = gnutls_record_send(tls.pointer, base, plaintext.count)
    if sent == plaintext.count { return .written }
    let code = Int32(truncatingIfNeeded: sent)
    if code == GNUTLS_E_LARGE_PACKET { return .tooLarge }
    if sent < 0, code != GNUTLS_E_AGAIN, code != GNUTLS_E_INTERRUPTED { fail(code) }
    return .refused
  }

  /// The largest plaintext that `write` takes, bytes; 0 until the handshake is over.
  public private(set) var largestWrite = 0

  /// The path takes more than it did, or less.
  public func setLargestDatagram(_ bytes: Int) {
    guard bytes != largestDatagram else { return }
    largestDatagram = bytes
    if state == .open { applyLargestDatagram() }
  }

  private func applyLargestDatagram() {
    gnutls_dtls_set_mtu(tls.pointer, UInt32(clamping: largestDatagram))
    largestWrite = Int(gnutls_dtls_get_data_mtu(tls.pointer))
  }

  /// Whether there is something to `drain`.
  public var hasOutput: Bool { !lengths.isEmpty }

  /// Bytes that wait to be taken.
  public var outputSize: Int { output.count }

  /// Hands on what is to be sent, in the order in which it came about: runs of datagrams of one size back to back, the
  /// last of each possibly shorter.
  public func drain(_ send: (_ bytes: UnsafeRawBufferPointer, _ segment: Int) -> Void) {
    var (index, offset) = (0, 0)
    while index < lengths.count {
      let segment = lengths[index]
      var size = 0
      while index < lengths.count, lengths[index] <= segment {
        size += lengths[index]
        index += 1
        if lengths[index - 1] < segment { break }
      }
      send(UnsafeRawBufferPointer(rebasing: output.readable[offset..<offset + size]), segment)
      offset += size
    }
    output.consume(offset)
    lengths.removeAll(keepingCapacity: true)
  }

  /// Gives back the memory of an empty output; for an owner that saw nothing happen for a while.
  public func trim() {
    guard lengths.isEmpty else { return }
    output.trim()
    lengths = []
  }

  // MARK: Time and end

  public func handleTimeout(at now: Instant) {
    guard let deadline = nextDeadline, deadline <= now, state == .handshake else { return }
    guard now < givingUpAt else { return end(.failed(.handshakeTimedOut)) }
    advanceHandshake(at: now)
  }

  /// Says that nothing follows, and takes nothing more.
  public func close() {
    if state == .open { _ = gnutls_bye(tls.pointer, GNUTLS_SHUT_WR) }
    if state == .open || state == .handshake { end(.closed) }
  }

  private func end(_ state: State) {
    self.state = state
    nextDeadline = nil
    largestWrite = 0
  }

  private func advanceHandshake(at now: Instant) {
    isDry = false
    while true {
      let code = gnutls_handshake(tls.pointer)
      if code == 0 {
        state = .open
        nextDeadline = nil
        facts = tlsFacts(of: tls.pointer, peerVerified: tls.credentials.peerVerified)
        applyLargestDatagram()
        return
      }
      if code == GNUTLS_E_AGAIN {
        if isDry || incoming.isEmpty { break }
        continue
      }
      if gnutls_error_is_fatal(code) != 0 { return fail(code) }
    }
    let wait = TimeSpan.milliseconds(Int64(max(1, gnutls_dtls_get_timeout(tls.pointer))))
    nextDeadline = min(givingUpAt, now + wait)
  }

  private func fail(_ code: Int32) {
    let error = tlsError(code, session: tls.pointer)
    if code != GNUTLS_E_FATAL_ALERT_RECEIVED { _ = gnutls_alert_send_appropriate(tls.pointer, code) }
    end(.failed(error))
  }

  // MARK: Transport

  private func installTransport() {
    let me = Unmanaged.passUnretained(self).toOpaque()
    gnutls_session_set_ptr(tls.pointer, me)
    gnutls_transport_set_ptr(tls.pointer, me)
    gnutls_transport_set_pull_function(tls.pointer) { transport, data, length in
      guard let transport, let data else { return 0 }
      let session = Unmanaged<DTLSSession>.fromOpaque(transport).takeUnretainedValue()
      return session.pull(into: UnsafeMutableRawBufferPointer(start: data, count: length))
    }
    gnutls_transport_set_pull_timeout_function(tls.pointer) { transport, _ in
      guard let transport else { return 0 }
      return Unmanaged<DTLSSession>.fromOpaque(transport).takeUnretainedValue().hasIncoming ? 1 : 0
    }
    gnutls_transport_set_push_function(tls.pointer) { transport, data, length in
      guard let transport else { return 0 }
      let session = Unmanaged<DTLSSession>.fromOpaque(transport).takeUnretainedValue()
      session.output.append(UnsafeRawBufferPointer(start: data, count: length))
      session.lengths.append(length)
      return length
    }
  }

  private var hasIncoming: Bool {
    if incoming.isEmpty { isDry = true }
    return !incoming.isEmpty
  }

  private func pull(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard !incoming.isEmpty else {
      isDry = true
      return culvert_gnutls_would_block(tls.pointer)
    }
    let count = min(incoming.count, buffer.count)
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: incoming[..<count]))
    incoming = UnsafeRawBufferPointer(start: nil, count: 0)
    return count
  }
}
