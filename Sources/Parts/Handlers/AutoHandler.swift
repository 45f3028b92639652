import LinuxIO
import Values

/// The handler `auto`: SOCKS4, SOCKS5 or HTTP by the client's first byte, each with the same credentials.
///
/// GOST passes TLS on by its server name without asking anybody for a password; here that is refused, like anything else
/// that is none of the three.
public final class AutoHandler: StreamHandler {
  private let http: HTTPHandler
  private let socks4: SOCKS4Handler
  private let socks5: SOCKS5Handler

  /// All of one core.
  public init(http: HTTPHandler, socks4: SOCKS4Handler, socks5: SOCKS5Handler) {
    self.http = http
    self.socks4 = socks4
    self.socks5 = socks5
  }

  public var core: HandlerCore { http.core }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    HeadReader<UInt8>.start(
      core: core, stream: stream,
      // The byte stays where it is, for whom it is for.
      decode: { bytes in bytes.first.map { .message($0, consumed: 0) } ?? .needsMore },
      refuse: { _, stream in stream.close() },
      completion: { [weak self] byte, stream in
        guard let self else {
          stream.close()
          return
        }
        self.dispatch(byte, stream, report)
      })
  }

  private func dispatch(_ byte: UInt8, _ stream: any ByteStream, _ report: ClientReport) {
    switch byte {
    case 4: socks4.accept(stream, report: report)
    case 5: socks5.accept(stream, report: report)
    case 1:
      refuse(stream, report, "it speaks relay, most likely; the handler `auto` does not: use `relay` in its place")
    case 0x16:
      refuse(stream, report, "it speaks TLS, which nothing here takes: use the listener `tls`, or `http` in the client")
    // An empty line may stand in front of a request.
    case 0x0D, 0x21...0x7E: http.accept(stream, report: report)
    default:
      refuse(
        stream, report, "it speaks neither SOCKS nor HTTP: its first byte is 0x\(String(byte, radix: 16))")
    }
  }

  private func refuse(_ stream: any ByteStream, _ report: ClientReport, _ reason: String) {
    core.refused(reason, from: stream.client)
    report.failure(reason)
    core.dismiss(stream, with: HTTPHandler.notUnderstood)
  }

  public var paths: [(name: String, path: Path)] { core.paths + http.own.paths + socks5.own.paths }
  public var dropped: [(what: String, count: UInt64)] { core.dropped + http.own.dropped + socks5.own.dropped }
  public var standing: Int { core.standing + http.own.count + socks5.own.count }

  public func close() {
    socks5.close()
    http.close()
  }
}
