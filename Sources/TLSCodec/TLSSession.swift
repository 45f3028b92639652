/// TLS over any byte stream, without the stream: ciphertext goes in and out by hand.
///
/// The life of bytes. What the socket read is put in by `receive`, or straight into `inputSpace` to save a copy;
/// GnuTLS pulls records from there when plaintext is asked for by `read`. What is `write`n becomes records in
/// `pendingOutput`, which the owner sends and `consumeOutput`s. After each call the owner looks at three things:
/// `pendingOutput`, `state`, and whether `read` still gives something.
///
/// Closing is by halves, as TCP's: `close` says close_notify after all that was written and leaves reading open; the
/// peer's close_notify makes `read` say `.end` and leaves writing open (RFC 8446, section 6.1). A stream that ends
/// without one is told by `receiveEnd` and fails as `.truncated`.
///
/// Traps. GnuTLS keeps a half-done send when its transport refuses bytes; ours never refuses, `write` stops taking
/// plaintext before the output grows instead. The session's pointer to `self` is unretained: it is used only inside
/// calls on `self`, and GnuTLS's session dies with it.
import CGnuTLS
import Values

public final class TLSSession {
  public enum State: Hashable, Sendable {
    case handshake
    case open
    /// We said close_notify; reading may go on.
    case closed
    case failed(TLSError)
  }

  public enum ReadResult: Hashable, Sendable {
    case bytes(Int)
    case wouldBlock
    /// The peer said that nothing follows.
    case end
    case failed(TLSError)
  }

  /// Plaintext is taken while less than this waits in `pendingOutput`, in bytes; a record more may follow.
  public static let outputLimit = 64 * 1024
  /// Ciphertext is taken while less than this waits to be read, in bytes.
  public static let inputLimit = 256 * 1024

  public private(set) var state: State = .handshake
  /// What the handshake settled; `nil` until it has.
  public private(set) var facts: TLSFacts?

  private let tls: GnuTLSSession
  private var input = LinearBuffer()
  private var output = LinearBuffer()
  private var inputEnded = false
  private var readingEnded = false
  private let keyLog: ((String) -> Void)?

  /// A client's first words are in `pendingOutput` at once.
  ///
  /// - Parameters:
  ///   - serverName: a client's: the name to send and, if the trust says so, to compare with the certificate.
  ///   - applicationProtocols: the first the most wanted; with any given, no overlap ends the handshake.
  ///   - keyLog: gets one line a secret, in the format that tshark reads.
  public init(
    credentials: TLSCredentials, serverName: String? = nil, applicationProtocols: [String] = [],
    keyLog: ((String) -> Void)? = nil
  ) throws(TLSError) {
    tls = try GnuTLSSession(
      credentials: credentials, carrier: .stream, serverName: serverName, applicationProtocols: applicationProtocols)
    self.keyLog = keyLog
    installTransport()
    if !credentials.isServer { advanceHandshake() }
  }

  public var applicationProtocol: String? { facts?.applicationProtocol }

  /// Takes ciphertext; returns how much was taken: less than all only when `inputLimit` is reached, and then the rest
  /// waits until `read` made room.
  @discardableResult
  public func receive(_ ciphertext: UnsafeRawBufferPointer) -> Int {
    let room = min(ciphertext.count, max(0, Self.inputLimit - input.count))
    guard room > 0 else { return 0 }
    input.append(UnsafeRawBufferPointer(rebasing: ciphertext[..<room]))
    if state == .handshake { advanceHandshake() }
    return room
  }

  /// Room to read ciphertext into without a copy, at least `minimum` bytes; empty when `inputLimit` is reached. Say
  /// by `inputFilled` how much came before any other call.
  public func inputSpace(_ minimum: Int = 16 * 1024) -> UnsafeMutableRawBufferPointer {
    guard input.count < Self.inputLimit else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
    return input.writable(minimum)
  }

  public func inputFilled(_ count: Int) {
    input.filled(count)
    if state == .handshake { advanceHandshake() }
  }

  /// The stream below ended. Without a close_notify before it, that is `.truncated`.
  public func receiveEnd() {
    inputEnded = true
    if state == .handshake { advanceHandshake() }
  }

  /// Plaintext into `buffer`, as many records as fit.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> ReadResult {
    switch state {
    case .handshake: return .wouldBlock
    case .failed(let error): return .failed(error)
    case .open, .closed: break
    }
    guard !readingEnded else { return .end }
    guard let base = buffer.baseAddress, buffer.count > 0 else { return .wouldBlock }
    var total = 0
    while total < buffer.count {
      let got = gnutls_record_recv(tls.pointer, base + total, buffer.count - total)
      if got > 0 {
        total += got
        continue
      }
      if got == 0 {
        readingEnded = true
        return total > 0 ? .bytes(total) : .end
      }
      let code = Int32(truncatingIfNeeded: got)
      if code == GNUTLS_E_AGAIN { break }
      if code == GNUTLS_E_INTERRUPTED || code == GNUTLS_E_WARNING_ALERT_RECEIVED { continue }
      if code == GNUTLS_E_REHANDSHAKE {
        // A TLS 1.2 peer asks for renegotiation, which nobody needs and which has a bad history: refused.
        _ = gnutls_alert_send(tls.pointer, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION)
        continue
      }
      fail(code)
      break
    }
    if total > 0 { return .bytes(total) }
    if case .failed(let error) = state { return .failed(error) }
    return .wouldBlock
  }

  /// Takes plaintext and returns how much; 0 while the handshake lasts, when `outputLimit` is reached, and when the
  /// session is closed or failed.
  public func write(_ plaintext: UnsafeRawBufferPointer) -> Int {
    guard state == .open, let base = plaintext.baseAddress else { return 0 }
    var total = 0
    while total < plaintext.count, output.count < Self.outputLimit {
      let sent = gnutls_record_send(tls.pointer, base + total, plaintext.count - total)
      if sent > 0 {
        total += sent
        continue
      }
      let code = Int32(truncatingIfNeeded: sent)
      if code == GNUTLS_E_INTERRUPTED { continue }
      if code != GNUTLS_E_AGAIN { fail(code) }
      break
    }
    return total
  }

  /// Ciphertext that waits to be sent; valid until the next call on the session.
  public var pendingOutput: UnsafeRawBufferPointer { output.readable }

  public func consumeOutput(_ count: Int) { output.consume(count) }

  /// Whether the buffers hold memory that an idle session can do without.
  public var isRoomy: Bool { input.isRoomy || output.isRoomy }

  /// Gives back the memory of empty buffers; for an owner that saw nothing happen for a while.
  public func trim() {
    input.trim()
    output.trim()
  }

  /// Says that nothing more will be written. Reading goes on until the peer ends it.
  public func close() {
    guard state == .open else {
      if state == .handshake { state = .closed }
      return
    }
    _ = gnutls_bye(tls.pointer, GNUTLS_SHUT_WR)
    state = .closed
  }

  /// Whether the peer said that nothing follows.
  public var peerClosed: Bool { readingEnded }

  private func installTransport() {
    let me = Unmanaged.passUnretained(self).toOpaque()
    gnutls_session_set_ptr(tls.pointer, me)
    gnutls_transport_set_ptr(tls.pointer, me)
    gnutls_transport_set_pull_function(tls.pointer) { transport, data, length in
      guard let transport, let data else { return 0 }
      let session = Unmanaged<TLSSession>.fromOpaque(transport).takeUnretainedValue()
      return session.pull(into: UnsafeMutableRawBufferPointer(start: data, count: length))
    }
    gnutls_transport_set_push_function(tls.pointer) { transport, data, length in
      guard let transport else { return 0 }
      let session = Unmanaged<TLSSession>.fromOpaque(transport).takeUnretainedValue()
      session.output.append(UnsafeRawBufferPointer(start: data, count: length))
      return length
    }
    guard keyLog != nil else { return }
    gnutls_session_set_keylog_function(tls.pointer) { pointer, label, secret in
      guard let pointer, let label, let secret, let owner = gnutls_session_get_ptr(pointer) else { return 0 }
      let session = Unmanaged<TLSSession>.fromOpaque(owner).takeUnretainedValue()
      if let line = keyLogLine(session: pointer, label: label, secret: secret) { session.keyLog?(line) }
      return 0
    }
  }

  private func pull(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let available = input.readable
    let count = min(available.count, buffer.count)
    guard count > 0 else { return inputEnded ? 0 : culvert_gnutls_would_block(tls.pointer) }
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: available[..<count]))
    input.consume(count)
    return count
  }

  private func advanceHandshake() {
    while true {
      let code = gnutls_handshake(tls.pointer)
      if code == 0 {
        state = .open
        facts = tlsFacts(of: tls.pointer, peerVerified: tls.credentials.peerVerified)
        return
      }
      if code == GNUTLS_E_AGAIN { return }
      if gnutls_error_is_fatal(code) != 0 {
        fail(code)
        return
      }
    }
  }

  private func fail(_ code: Int32) {
    let error = tlsError(code, session: tls.pointer)
    // The other end learns the cause by an alert; the transport always takes it.
    if code != GNUTLS_E_FATAL_ALERT_RECEIVED, code != GNUTLS_E_PREMATURE_TERMINATION {
      _ = gnutls_alert_send_appropriate(tls.pointer, code)
    }
    state = .failed(error)
  }
}
