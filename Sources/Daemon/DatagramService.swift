import Configuration
import LinuxIO
import Parts
import Values

/// A service whose clients send datagrams: the listener `udp`, or `rudp` without a chain, with a forward.
final class DatagramService: RunningService {
  let name: String
  let summary: String
  private let log: Log
  private let configuration: ServiceConfiguration
  private let handler: UDPForwardHandler
  private var listener: UDPSessionListener?
  private var isStopped = false
  private var hasRunHooks = false

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.configuration = configuration
    log = context.log.named(name)
    summary = "\(configuration.handler.type.value.lowercased()) over \(configuration.listener.type.value.lowercased())"
    do throws(StartReason) {
      handler = try HandlerBuilding(context: context, configuration: whole, log: log).datagramForward(
        for: configuration)
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    do {
      let handler = handler
      listener = try UDPSessionListener(
        loop: context.loop, arena: context.arena, log: log, local: try listenEndpoint(configuration, family: nil),
        options: SocketOptions(bufferSize: QUICDefaults.socketBuffer),
        limits: sessionLimits(configuration.listener.metadata)
      ) { handler.accept($0) }
    } catch {
      throw StartFailure(service: name, reason: "\(error)")
    }
    hasRunHooks = true
    Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
    Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    log.info("listening", ["udp": listener?.receipt.local?.description ?? configuration.addr.value])
  }

  // MARK: RunningService

  var paths: [(name: String, path: Path)] { handler.paths }
  var isUp: Bool? { nil }

  var details: [(key: String, value: String)] {
    var list = [("listening", listener?.receipt.local?.description ?? "stopped")]
    if let count = listener?.sessionCount, count > 0 { list.append(("sessions", "\(count)")) }
    let own: [(what: String, count: UInt64)] = [
      ("ways that did not open", handler.failedOpenings), ("ways that were lost", handler.lostWays),
      ("datagrams", handler.dropped),
    ]
    let dropped = (listener?.dropped ?? []) + own.filter { $0.count > 0 }
    if !dropped.isEmpty { list.append(("dropped", describe(dropped))) }
    return list
  }

  func networkChanged() {}

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    listener?.close()
    listener = nil
    handler.close()
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}

/// The keys of a listener of datagrams over GOST's defaults.
func sessionLimits(_ metadata: Metadata) -> DatagramSessionLimits {
  DatagramSessionLimits(timeToLive: metadata.duration("ttl") ?? DatagramSessionLimits.defaultTimeToLive)
}

extension HandlerBuilding {
  /// The handlers `udp`, `forward` and `rudp` on datagrams.
  func datagramForward(for service: ServiceConfiguration) throws(StartReason) -> UDPForwardHandler {
    let group = try forwardTargets(of: service)
    let built = try RouteBuilding(context: context, configuration: configuration, log: log).way(
      for: service, chain: service.handler.chain, policy: .unrestricted, guardian: nil)
    return UDPForwardHandler(
      loop: context.loop, log: log, way: built.way, targets: group.targets.map(\.address), selector: group.selector,
      settings: UDPForwardHandler.Settings(queue: service.listener.metadata.int("readQueueSize") ?? 128))
  }
}
