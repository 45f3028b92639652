import LinuxIO
import Parts
import Values

/// Handlers that a reload replaced and that still have connections: they serve those until they end, and take no new
/// ones. A handler without any is closed within seconds, and with it the way that it took.
final class LeavingHandlers {
  private let loop: EventLoop
  private var handlers: [any StreamHandler] = []
  private var timer: LoopTimer?
  /// Connections that ended under handlers that are gone.
  private var servedBefore: UInt64 = 0

  private static let interval = TimeSpan.seconds(2)

  init(loop: EventLoop) { self.loop = loop }

  static func note(_ standing: Int, isCut: Bool) -> String? {
    guard standing > 0 else { return nil }
    let what = standing == 1 ? "1 connection" : "\(standing) connections"
    return isCut
      ? "\(what) ended: who is served, or where to, was narrowed"
      : "\(what) from before \(standing == 1 ? "goes" : "go") on under the old settings"
  }

  /// - Parameter isCut: its connections end now.
  func add(_ handler: any StreamHandler, isCut: Bool) {
    handlers.append(handler)
    if isCut {
      closeAll()
    } else {
      if timer == nil { timer = loop.makeTimer { [weak self] in self?.sweep() } }
      timer?.arm(after: Self.interval)
    }
  }

  var standing: Int { handlers.reduce(0) { $0 + $1.standing } }
  var served: UInt64 { handlers.reduce(servedBefore) { $0 + $1.core.served } }
  var paths: [(name: String, path: Path)] { handlers.flatMap(\.paths) }

  private func sweep() {
    for handler in handlers where handler.standing == 0 { end(handler) }
    handlers.removeAll { $0.standing == 0 }
    if !handlers.isEmpty { timer?.arm(after: Self.interval) }
  }

  func closeAll() {
    for handler in handlers { end(handler) }
    handlers = []
    timer?.cancel()
  }

  private func end(_ handler: any StreamHandler) {
    servedBefore &+= handler.core.served
    handler.close()
  }
}
