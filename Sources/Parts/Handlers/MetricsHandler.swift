import HTTPProxy
import LinuxIO
import Values

/// The handler `metrics`: one page with what is counted, for whoever asks for it with HTTP, as Prometheus does.
///
/// A connection has one request, and ends with its answer: who asks twice a minute gains nothing by keeping one. Slow and
/// crowding clients are dealt with as everywhere (`HandlerCore.admit`).
public final class MetricsHandler: StreamHandler {
  public let core: HandlerCore
  private let path: [UInt8]
  private let page: () -> String

  public static let defaultPath = "/metrics"

  private static let realm = "culvert"
  /// What asks for numbers has a few lines to say.
  private static let maximumRequest = 16 * 1024

  /// - Parameters:
  ///   - path: where the page is; any other is not found.
  ///   - page: in the text format of Prometheus, version 0.0.4.
  public init(core: HandlerCore, path: String = defaultPath, page: @escaping () -> String) {
    self.core = core
    self.path = Array(path.utf8)
    self.page = page
  }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    var parser = HTTPHeadParser()
    HeadReader<HTTPRequestHead>.start(
      core: core, stream: stream, maximum: Self.maximumRequest,
      decode: { bytes in
        do throws(HTTPError) {
          switch try parser.request(bytes) {
          case .needsMore: return .needsMore
          case .head(let head, let consumed): return .message(head, consumed: consumed)
          }
        } catch {
          return .wrong("\(error)")
        }
      },
      refuse: { [core] reason, stream in
        Dismissal.start(loop: core.loop, stream, HTTPResponseHead.answer(400, reason, isLast: true))
      },
      completion: { [weak self] head, stream in
        guard let self else { return stream.close() }
        self.answer(head, stream)
      })
  }

  private func answer(_ head: HTTPRequestHead, _ stream: any ByteStream) {
    let hasBody = head.method != "HEAD"
    func dismiss(_ status: Int, _ text: String, _ extra: [(name: String, value: String)] = []) {
      Dismissal.start(
        loop: core.loop, stream,
        HTTPResponseHead.answer(status, text, isLast: true, extra: extra, hasBody: hasBody))
    }
    if let isAllowed = core.authenticator(for: stream) {
      let given = head.headers["Authorization"].first.flatMap { HTTPBasic.decode($0.value) }
      guard let given, isAllowed(given.user, given.password) else {
        if given != nil { core.refused("wrong user or password", from: stream.client) }
        return dismiss(
          401, "this page asks for a user and a password",
          [("WWW-Authenticate", HTTPBasic.challenge(realm: Self.realm).value)])
      }
    }
    guard head.method == "GET" || head.method == "HEAD" else {
      return dismiss(405, "this page is read with GET", [("Allow", "GET, HEAD")])
    }
    guard head.target.prefix(while: { $0 != UInt8(ascii: "?") }).elementsEqual(path) else {
      return dismiss(404, "the numbers are at \(String(decoding: path, as: UTF8.self))")
    }
    let body = Array(page().utf8)
    var answer = HTTPResponseHead(status: 200, reason: "OK".utf8)
    answer.headers.append("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
    answer.headers.append("Content-Length", "\(body.count)")
    answer.headers.append("Connection", "close")
    LingeringWrite.start(loop: core.loop, stream, rest: answer.encode() + (hasBody ? body : []))
  }
}
