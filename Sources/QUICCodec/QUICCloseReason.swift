/// Why a connection ended, in a form to act on and in words to read.
import CNgtcp2
import TLSCodec

public struct QUICCloseReason: Error, Hashable, Sendable {
  public enum Cause: Hashable, Sendable {
    /// We closed it with an application code.
    case closedByUs(code: UInt64)
    /// The other end's application closed it.
    case closedByPeer(code: UInt64, reason: String)
    /// The other end's QUIC ended it with a transport error (RFC 9000, section 20.1).
    case peerError(code: UInt64, reason: String)
    /// The other end ended the handshake with a TLS alert.
    case peerAlert(TLSAlert, reason: String)
    /// We ended the handshake: our TLS did not accept what it saw.
    case tls(TLSError)
    /// Nothing answered; `heard` says whether anything at all did.
    case handshakeTimeout(heard: Bool)
    /// Nothing came for the idle timeout.
    case idleTimeout
    /// The other end knows nothing of the connection: it was restarted, or forgot (RFC 9000, section 10.3).
    case statelessReset
    /// The other end speaks no version of QUIC that we speak.
    case versions([UInt32])
    /// The other end broke the protocol: our transport error code and the library's words.
    case protocolViolation(code: UInt64, text: String)
    /// No path to the other end works any more.
    case noPath
    /// The library or the system failed us.
    case failed(String)
  }

  public let cause: Cause

  public init(_ cause: Cause) { self.cause = cause }

  public var blame: TLSBlame {
    switch cause {
    case .closedByUs, .failed: .us
    case .closedByPeer, .peerError, .peerAlert, .versions, .protocolViolation, .statelessReset: .peer
    case .tls(let error): error.blame
    case .handshakeTimeout, .idleTimeout, .noPath: .network
    }
  }

  /// Whether nothing went wrong.
  public var isClean: Bool {
    switch cause {
    case .closedByUs(let code): code == 0
    case .closedByPeer(let code, _): code == 0
    case .peerError(let code, _): code == UInt64(NGTCP2_NO_ERROR)
    default: false
    }
  }
}

extension QUICCloseReason: CustomStringConvertible {
  public var description: String {
    switch cause {
    case .closedByUs(let code):
      "closed by us\(code == 0 ? "" : " with code \(code)")"
    case .closedByPeer(let code, let reason):
      "closed by the other end\(code == 0 ? "" : " with application code \(code)")\(quoted(reason))"
    case .peerError(let code, let reason):
      "the other end ended the connection: \(Self.transportName(code))\(quoted(reason))"
    case .peerAlert(let alert, let reason):
      if alert == .noApplicationProtocol {
        "the other end speaks none of our application protocols (TLS alert \(alert))"
      } else {
        "the other end refused the handshake: TLS alert \(alert)\(quoted(reason))"
      }
    case .tls(let error): "the handshake failed: \(error)"
    case .handshakeTimeout(let heard):
      heard
        ? "the handshake timed out: the other end answered, but never completed it"
        : "the handshake timed out: nothing answered"
    case .idleTimeout: "nothing was heard from the other end for the idle timeout"
    case .statelessReset: "the other end does not know this connection any more (stateless reset): it was restarted"
    case .versions(let offered):
      "the other end speaks no version of QUIC that we speak; it offers "
        + (offered.isEmpty ? "none" : offered.map { "0x" + String($0, radix: 16) }.joined(separator: ", "))
    case .protocolViolation(let code, let text):
      "the other end broke the QUIC protocol: \(Self.transportName(code)), \(text)"
    case .noPath: "no network path to the other end works any more"
    case .failed(let text): "the QUIC library failed: \(text)"
    }
  }

  private func quoted(_ reason: String) -> String { reason.isEmpty ? "" : ": \"\(reason)\"" }

  /// The registered name of a transport error code (RFC 9000, section 20.1).
  static func transportName(_ code: UInt64) -> String {
    switch code {
    case 0x00: "no error"
    case 0x01: "internal error"
    case 0x02: "connection refused"
    case 0x03: "flow control error"
    case 0x04: "stream limit error"
    case 0x05: "stream state error"
    case 0x06: "final size error"
    case 0x07: "frame encoding error"
    case 0x08: "transport parameter error"
    case 0x09: "connection id limit error"
    case 0x0A: "protocol violation"
    case 0x0B: "invalid token"
    case 0x0C: "application error"
    case 0x0D: "crypto buffer exceeded"
    case 0x0E: "key update error"
    case 0x0F: "AEAD limit reached"
    case 0x10: "no viable path"
    case 0x100...0x1FF: "TLS alert \(TLSAlert(number: UInt8(truncatingIfNeeded: code)))"
    default: "transport error \(code)"
    }
  }
}

extension QUICCloseReason {
  /// What the CONNECTION_CLOSE frame of the other end says. Its text is untrusted: it is cut and cleaned.
  static func received(_ error: ngtcp2_connection_close_error) -> QUICCloseReason {
    let reason = error.reason.map { cleaned(UnsafeBufferPointer(start: $0, count: min(error.reasonlen, 200))) } ?? ""
    switch error.type {
    case NGTCP2_CONNECTION_CLOSE_ERROR_CODE_TYPE_APPLICATION:
      return QUICCloseReason(.closedByPeer(code: error.error_code, reason: reason))
    default:
      if (0x100...0x1FF).contains(error.error_code) {
        return QUICCloseReason(
          .peerAlert(TLSAlert(number: UInt8(truncatingIfNeeded: error.error_code)), reason: reason))
      }
      return QUICCloseReason(.peerError(code: error.error_code, reason: reason))
    }
  }

  private static func cleaned(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    let text = String(decoding: bytes, as: UTF8.self)
    return String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
  }
}
