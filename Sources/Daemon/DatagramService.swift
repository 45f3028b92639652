import Configuration
import LinuxIO
import Parts
import Values

/// A service whose clients send datagrams: the listener `udp`, or `rudp` without a chain, or `turn`, with a forward.
final class DatagramService: RunningService {
  let name: String
  private(set) var summary: String
  private let log: Log
  private let context: ServiceContext
  private var configuration: ServiceConfiguration
  private var handler: UDPForwardHandler
  private var listener: (any DatagramListener)?
  private var isStopped = false
  private var hasRunHooks = false

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.configuration = configuration
    self.context = context
    log = context.log.named(name)
    summary = Self.summary(of: configuration)
    do throws(StartReason) {
      handler = try HandlerBuilding(context: context, configuration: whole, log: log).datagramForward(
        for: configuration)
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    do throws(StartReason) {
      listener = try listen(whole.sources)
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    hasRunHooks = true
    Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
    Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    log.info("listening", ["udp": listener?.place ?? configuration.addr.value])
  }

  private func listen(_ sources: SourceMap) throws(StartReason) -> any DatagramListener {
    let limits = sessionLimits(configuration.listener.metadata)
    let accept: DatagramAcceptor = { [weak self] in self?.handler.accept($0) }
    if let turn = configuration.turnClient {
      let options = SocketOptions(
        interface: configuration.interface?.value, mark: configuration.mark?.value ?? 0)
      return TURNListener(
        loop: context.loop, arena: context.arena, log: log,
        server: try turnServer(turn, name: turn.server.host, in: sources, options: options, guardian: nil),
        permit: turn.permit,
        limits: limits, accept: accept)
    }
    do {
      return try UDPSessionListener(
        loop: context.loop, arena: context.arena, log: log, local: try listenEndpoint(configuration, family: nil),
        options: SocketOptions(bufferSize: QUICDefaults.socketBuffer), limits: limits, accept: accept)
    } catch {
      throw StartReason("\(error)")
    }
  }

  private static func summary(of service: ServiceConfiguration) -> String {
    "\(service.handler.type.value.lowercased()) over \(service.listener.type.value.lowercased())"
  }

  // MARK: RunningService

  var paths: [(name: String, path: Path)] { (listener?.paths ?? []) + handler.paths }
  var isUp: Bool? { nil }

  var details: [(key: String, value: String)] {
    var list = [("listening", listener?.place ?? "stopped")] + (listener?.details ?? [])
    if let count = listener?.sessionCount, count > 0 { list.append(("sessions", "\(count)")) }
    let own: [(what: String, count: UInt64)] = [
      ("ways that did not open", handler.failedOpenings), ("ways that were lost", handler.lostWays),
      ("datagrams", handler.dropped),
    ]
    let dropped = (listener?.dropped ?? []) + own.filter { $0.count > 0 }
    if !dropped.isEmpty { list.append(("dropped", describe(dropped))) }
    return list
  }

  func networkChanged() {
    listener?.networkChanged()
    handler.networkChanged()
  }

  /// A client of datagrams cannot tell when it is through, so that what it sends goes the new way at once.
  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover? {
    guard !difference.replaces, let listener else { return nil }
    let service = new.service
    let limits = sessionLimits(service.listener.metadata)
    var successor: UDPForwardHandler?
    if difference.changesHandler || difference.contains(.listener) {
      successor = try HandlerBuilding(context: context, configuration: new.whole, log: log).datagramForward(
        for: service)
    }
    return Takeover(note: nil) { [self] in
      configuration = service
      summary = Self.summary(of: service)
      listener.renew(limits)
      guard let successor else { return }
      let old = handler
      handler = successor
      listener.endSessions()
      old.close()
    }
  }

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
