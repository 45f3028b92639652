import Configuration
import LinuxIO
import Parts
import Values

/// A service whose clients come on streams: a listener of streams with a handler behind it.
final class StreamService: RunningService {
  let name: String
  private(set) var summary: String
  /// The families whose echo requests this service answers, for the reflection filter.
  let echoFamilies: Set<AddressFamily>
  private let log: Log
  private let context: ServiceContext
  private var configuration: ServiceConfiguration
  private var handler: any StreamHandler
  private let leaving: LeavingHandlers
  private var listener: (any StreamListener)?
  private var isStopped = false
  private var hasRunHooks = false

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.configuration = configuration
    self.context = context
    log = context.log.named(name)
    leaving = LeavingHandlers(loop: context.loop)
    let type = configuration.listener.type.value.lowercased()
    summary = Self.summary(of: configuration)
    echoFamilies = type == "icmp" ? [.ipv4] : type == "icmp6" ? [.ipv6] : []
    do throws(StartReason) {
      handler = try HandlerBuilding(context: context, configuration: whole, log: log).handler(for: configuration)
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    do throws(StartReason) {
      listener = try ListenerBuilding(context: context, configuration: whole, log: log).listener(
        for: configuration
      ) { [weak self] stream, report in
        guard let self else {
          stream.close()
          return
        }
        self.handler.accept(stream, report: report)
      }
      // As in GOST: the port is taken, and nobody was served yet.
      hasRunHooks = true
      Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
      Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    } catch {
      stop()
      throw StartFailure(service: name, reason: error.text)
    }
    log.info("listening", [type: listener?.receipt.local?.description ?? configuration.addr.value])
    if echoFamilies.contains(.ipv6), HostFamilies.isIPv6Disabled {
      log.warn(
        "IPv6 is disabled on this host, so nobody can reach this listener (sysctl net.ipv6.conf.all.disable_ipv6)")
    }
  }

  private static func summary(of service: ServiceConfiguration) -> String {
    "\(service.handler.type.value.lowercased()) over \(service.listener.type.value.lowercased())"
  }

  // MARK: RunningService

  var paths: [(name: String, path: Path)] { handler.paths + leaving.paths }
  var isUp: Bool? { nil }

  var details: [(key: String, value: String)] {
    var list = [("listening", listener?.receipt.local?.description ?? "stopped")]
    let core = handler.core
    if core.connectionCount > 0 || core.served + leaving.served > 0 {
      list.append(("connections", "\(core.connectionCount) now, \(core.served + leaving.served) before"))
    }
    if leaving.standing > 0 { list.append(("connections from before a reload", "\(leaving.standing)")) }
    let dropped = (listener?.dropped ?? []) + handler.dropped
    if !dropped.isEmpty { list.append(("dropped", describe(dropped))) }
    return list
  }

  func count(on page: inout MetricsPage) {
    let core = handler.core
    // Whoever reads this page joins nothing.
    if !(handler is MetricsHandler) { count(core, on: &page) }
    for (what, count) in (listener?.dropped ?? []) + handler.dropped {
      page.add(
        "culvert_dropped_total", .counter, "What came and was of no use.", ["service": name, "reason": what], count)
    }
  }

  private func count(_ core: HandlerCore, on page: inout MetricsPage) {
    page.add(
      "culvert_connections", .gauge, "Connections that stand.", ["service": name],
      UInt64(core.connectionCount + leaving.standing))
    page.add(
      "culvert_connections_served_total", .counter, "Connections that stood and have ended.", ["service": name],
      core.served + leaving.served)
  }

  func networkChanged() {}

  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover? {
    guard !difference.replaces, let listener else { return nil }
    let service = new.service
    var renewal: (() -> Void)?
    if difference.contains(.listener) {
      let listeners = ListenerBuilding(context: context, configuration: new.whole, log: log)
      guard let found = try listeners.renewal(of: listener, service) else { return nil }
      renewal = found
    }
    var successor: (any StreamHandler)?
    if difference.changesHandler {
      successor = try HandlerBuilding(context: context, configuration: new.whole, log: log).handler(for: service)
    }
    let standing = handler.standing
    let isCut = difference.contains(.access)
    return Takeover(note: successor == nil ? nil : LeavingHandlers.note(standing, isCut: isCut)) { [self] in
      configuration = service
      summary = Self.summary(of: service)
      renewal?()
      guard let successor else { return }
      let old = handler
      handler = successor
      if isCut { leaving.closeAll() }
      leaving.add(old, isCut: isCut)
    }
  }

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    listener?.close()
    listener = nil
    handler.close()
    leaving.closeAll()
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}

/// `relay requests 3, QUIC packets 1`.
func describe(_ counts: [(what: String, count: UInt64)]) -> String {
  counts.map { "\($0.what) \($0.count)" }.joined(separator: ", ")
}
